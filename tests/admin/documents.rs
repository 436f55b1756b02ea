//! The OpenAPI document and the routes, each held to the other.

use super::office::Admin;
use crate::support::http;
use postseal::admin::api::openapi::document;
use std::collections::BTreeSet;
use std::path::Path;

/// `get /api/v1/status` and so on, as the document has them.
fn described() -> BTreeSet<String> {
    let paths = document()["paths"].as_object().unwrap();
    paths.iter().flat_map(|(path, methods)| methods.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))).collect()
}

/// The same, as the sources have them: `.route("/status", get(…))`.
fn routed() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/api")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            found.extend(routes_in(&std::fs::read_to_string(path).unwrap()));
        }
    }
    found
}

fn routes_in(text: &str) -> Vec<String> {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ").replace(".route( ", ".route(");
    let mut found = Vec::new();
    for part in flat.split(".route(\"").skip(1) {
        let (path, rest) = part.split_once('"').unwrap();
        let methods = ["get", "post", "put", "patch", "delete"];
        found.extend(methods.iter().filter(|method| calls(rest, method)).map(|method| format!("{method} /api/v1{path}")));
    }
    found
}

/// Whether `name(` is among the calls up to the end of the route.
fn calls(rest: &str, name: &str) -> bool {
    let end = rest.find(" }").or_else(|| rest.find(".route(")).unwrap_or(rest.len());
    let wanted = format!("{name}(");
    rest[..end].match_indices(&wanted).any(|(at, _)| rest[..at].ends_with([' ', '.']))
}

#[test]
fn every_route_is_described_and_what_is_described_is_routed() {
    assert_eq!(
        routes_in("x.route(\"/a\", get(f::<S>).post(g)) .route( \"/b/{id}\", delete(h), ) }"),
        ["get /api/v1/a", "post /api/v1/a", "delete /api/v1/b/{id}"]
    );
    assert_eq!(described(), routed());
}

#[test]
fn every_reference_of_the_document_leads_somewhere() {
    fn walk(value: &serde_json::Value, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(members) => {
                found.extend(members.get("$ref").and_then(|target| target.as_str()).map(str::to_owned));
                members.values().for_each(|value| walk(value, found));
            }
            serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, found)),
            _ => {}
        }
    }
    let mut references = Vec::new();
    walk(document(), &mut references);
    assert!(references.len() > 10);
    for reference in references {
        assert!(document().pointer(reference.trim_start_matches('#')).is_some(), "{reference}");
    }
    let names: Vec<&str> = document()["paths"]
        .as_object()
        .unwrap()
        .values()
        .flat_map(|path| path.as_object().unwrap().values())
        .map(|of| of["operationId"].as_str().unwrap())
        .collect();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "an operationId stands twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_document_is_served() {
    let admin = Admin::start(|_| {});
    let served = http::get(&admin.address, "/api/v1/openapi.json");
    assert_eq!((served.status, served.json()), (200, document().clone()));
    assert_eq!(served.json()["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// Whoever adds a call that changes something and takes it without JSON opens it to pages of other sites.
#[tokio::test(flavor = "multi_thread")]
async fn no_described_change_is_taken_without_json() {
    let admin = Admin::start(|_| {});
    for call in described() {
        let (method, path) = call.split_once(' ').unwrap();
        if method == "get" {
            continue;
        }
        let path: String = path.split('/').map(|part| if part.starts_with('{') { "x" } else { part }).collect::<Vec<_>>().join("/");
        let head = format!("{} {path} HTTP/1.1\nHost: {}\nContent-Type: text/plain\n", method.to_uppercase(), admin.address);
        let answer = http::ask(&admin.address, &head, "{}");
        assert!([400, 404, 415].contains(&answer.status), "{call}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_there_is_not_is_answered_as_a_problem() {
    let admin = Admin::start(|_| {});
    let nowhere = http::get(&admin.address, "/api/v1/nowhere");
    assert_eq!((nowhere.status, nowhere.json()["error"]["code"].as_str()), (404, Some("unknown")));
    let wrong = http::ask(&admin.address, &format!("DELETE /api/v1/status HTTP/1.1\nHost: {}\n", admin.address), "");
    assert_eq!((wrong.status, wrong.json()["error"]["code"].as_str(), wrong.header("allow")), (405, Some("method"), "GET,HEAD"));
    for (query, code) in [("limit=0", "invalid"), ("limit=1001", "invalid"), ("limit=x", "parameters"), ("size=3", "parameters")] {
        let answer = http::get(&admin.address, &format!("/api/v1/domains?{query}"));
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (400, Some(code)), "{query}");
    }
    for query in ["limit=1", "limit=1000", "after=example.com", "after="] {
        assert_eq!(http::get(&admin.address, &format!("/api/v1/domains?{query}")).status, 200, "{query}");
    }
}
