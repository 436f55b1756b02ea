//! Who may ask: requests in, who it is or why not out.

use super::office::{Admin, local, token};
use crate::support::http;
use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use postseal::admin::guard::{self, Access, Caller, FormKey};
use postseal::admin::{Settings, form};
use postseal::mail::Timestamp;

/// `request`: its first line without version, then header fields.
fn judged(settings: &Settings, request: &str) -> String {
    let mut lines = request.lines();
    let (method, uri) = lines.next().unwrap().split_once(' ').unwrap();
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    }
    match Access::of(settings).judge(&method.parse::<Method>().unwrap(), &uri.parse::<Uri>().unwrap(), &headers) {
        Ok(Caller::Local) => "local".to_owned(),
        Ok(Caller::Stranger) => "stranger".to_owned(),
        Ok(Caller::Token(name)) => format!("token {name}"),
        Err(denial) => format!("{} {}", denial.status().as_u16(), denial.code()),
    }
}

fn check(settings: &Settings, request: &str, expected: &str) {
    assert_eq!(judged(settings, request), expected, "{request}");
}

fn remote() -> Settings {
    let tokens = vec![token("ops", "postseal_ops", false), token("eyes", "postseal_eyes", true)];
    Settings { address: "192.0.2.1:8025".parse().unwrap(), tokens, ..local() }
}

#[test]
fn only_our_own_names_are_answered() {
    let hosts = [
        ("127.0.0.1:8025", "local"),
        ("127.0.0.1", "local"),
        ("[::1]:8025", "local"),
        ("192.0.2.77", "local"),
        ("localhost:8025", "local"),
        ("LocalHost", "local"),
        ("relay.example.com", "local"),
        ("relay.example.com.:8025", "local"),
        ("evil.example", "421 host"),
        ("localhost.evil.example:8025", "421 host"),
        ("127.0.0.1.evil.example", "421 host"),
        ("[relay.example.com]", "421 host"),
        ("", "421 host"),
    ];
    for (host, expected) in hosts {
        check(&local(), &format!("GET /api/v1/status\nHost: {host}"), expected);
    }
    check(&local(), "GET /healthz", "421 host");
    check(&local(), "GET /\nHost: localhost\nHost: evil.example", "421 host");
    check(&local(), "GET http://evil.example/\nHost: localhost", "421 host");
    let named = Settings { names: vec!["Mail.Internal".to_owned()], ..local() };
    check(&named, "GET /\nHost: mail.internal:8025", "local");
}

#[test]
fn a_foreign_page_changes_nothing() {
    let changes = [
        ("Sec-Fetch-Site: same-origin", "local"),
        ("Sec-Fetch-Site: none", "local"),
        ("Sec-Fetch-Site: same-site", "403 foreign"),
        ("Sec-Fetch-Site: cross-site", "403 foreign"),
        ("Origin: http://localhost:8025", "local"),
        ("Origin: http://localhost:3000", "403 foreign"),
        ("Origin: https://evil.example", "403 foreign"),
        ("Origin: null", "403 foreign"),
        ("Sec-Fetch-Site: same-origin\nOrigin: https://evil.example", "403 foreign"),
    ];
    for (says, expected) in changes {
        for method in ["POST", "PUT", "PATCH", "DELETE"] {
            check(&local(), &format!("{method} /api/v1/reload\nHost: localhost:8025\n{says}"), expected);
        }
    }
    // Looking is free: the answer is not given to the page.
    check(&local(), "GET /api/v1/status\nHost: localhost:8025\nSec-Fetch-Site: cross-site", "local");
    // A token does not help a page that has a browser send it.
    check(&remote(), "POST /api/v1/reload\nHost: 192.0.2.1\nAuthorization: Bearer postseal_ops\nSec-Fetch-Site: cross-site", "403 foreign");
}

#[test]
fn a_token_is_needed_from_afar() {
    let asks = [
        ("GET /api/v1/status\nHost: 192.0.2.1", "401 no_token"),
        ("POST /api/v1/reload\nHost: 192.0.2.1", "401 no_token"),
        ("GET /readyz\nHost: 192.0.2.1", "stranger"),
        ("HEAD /healthz\nHost: 192.0.2.1", "stranger"),
        ("POST /readyz\nHost: 192.0.2.1", "401 no_token"),
        ("GET /readyz/\nHost: 192.0.2.1", "401 no_token"),
        ("GET /metrics\nHost: 192.0.2.1", "401 no_token"),
        ("GET /api/v1/status\nHost: 192.0.2.1\nAuthorization: Bearer postseal_ops", "token ops"),
        ("POST /api/v1/reload\nHost: 192.0.2.1\nAuthorization: bearer  postseal_ops", "token ops"),
        ("GET /api/v1/status\nHost: 192.0.2.1\nAuthorization: Bearer postseal_eyes", "token eyes"),
        ("POST /api/v1/reload\nHost: 192.0.2.1\nAuthorization: Bearer postseal_eyes", "403 read_only"),
        ("GET /readyz\nHost: 192.0.2.1\nAuthorization: Bearer postseal_eyes", "token eyes"),
        ("GET /readyz\nHost: 192.0.2.1\nAuthorization: Bearer postseal_wrong", "401 wrong_token"),
        ("GET /\nHost: 192.0.2.1\nAuthorization: Bearer postseal_op", "401 wrong_token"),
        ("GET /\nHost: 192.0.2.1\nAuthorization: Bearer ", "401 wrong_token"),
        ("GET /\nHost: 192.0.2.1\nAuthorization: Bearer postseal_ops\nAuthorization: Bearer postseal_wrong", "401 wrong_token"),
        // "any:postseal_ops" and "postseal_ops:", in base64
        ("GET /\nHost: 192.0.2.1\nAuthorization: Basic YW55OnBvc3RzZWFsX29wcw==", "token ops"),
        ("GET /\nHost: 192.0.2.1\nAuthorization: Basic cG9zdHNlYWxfb3BzOg==", "401 wrong_token"),
        ("GET /\nHost: 192.0.2.1\nAuthorization: Digest postseal_ops", "401 wrong_token"),
    ];
    for (request, expected) in asks {
        check(&remote(), request, expected);
    }
}

#[test]
fn on_loopback_a_token_is_a_choice_unless_a_proxy_brings_somebody() {
    let with_token = Settings { tokens: remote().tokens, ..local() };
    check(&with_token, "GET /api/v1/status\nHost: localhost", "local");
    check(&with_token, "GET /api/v1/status\nHost: localhost\nAuthorization: Bearer postseal_ops", "token ops");
    check(&with_token, "GET /api/v1/status\nHost: localhost\nAuthorization: Bearer postseal_wrong", "401 wrong_token");
    for proxied in ["X-Forwarded-For: 203.0.113.9", "Forwarded: for=203.0.113.9", "Via: 1.1 proxy", "X-Real-IP: 203.0.113.9"] {
        check(&with_token, &format!("GET /api/v1/status\nHost: localhost\n{proxied}"), "401 no_token");
        check(&with_token, &format!("GET /readyz\nHost: localhost\n{proxied}"), "stranger");
    }
    let always = Settings { token_always: true, ..with_token };
    check(&always, "GET /api/v1/status\nHost: localhost", "401 no_token");
    check(&always, "GET /readyz\nHost: localhost", "stranger");
    check(&always, "GET /api/v1/status\nHost: localhost\nAuthorization: Bearer postseal_eyes", "token eyes");
}

#[test]
fn a_hash_is_read_as_it_is_written_and_shows_nothing() {
    let made = guard::token(&[0xa5; 32]);
    assert!(made.starts_with("postseal_") && made.len() == "postseal_".len() + 43, "{made}");
    let hash = guard::written(&made);
    let kept = token("ops", &made, false);
    assert!(kept.is(&made) && !kept.is(&hash) && guard::parse(&hash) == Some(kept.digest) && guard::parse(&hash.to_uppercase()).is_none());
    assert!(guard::parse(&made).is_none() && guard::parse(&hash[..hash.len() - 2]).is_none() && guard::parse(&format!("{hash}00")).is_none());
    assert_eq!(format!("{kept:?}"), "Token(\"ops\", read_only: false)");
}

#[test]
fn tokens_of_forms_end_and_are_of_one_run() {
    let (key, other) = (FormKey::new(&[1; 32]), FormKey::new(&[2; 32]));
    let at = |hours: i64| Timestamp::from_unix_seconds(hours * 3600);
    let shown = key.token(at(24));
    assert_eq!(form::TOKEN_FIELD, "form_token");
    assert!([24, 30, 47].iter().all(|hours| key.is_good(&shown, at(*hours))));
    assert!([23, 48, 100].iter().all(|hours| !key.is_good(&shown, at(*hours))));
    assert!(!other.is_good(&shown, at(24)) && !key.is_good("", at(24)) && !key.is_good(&shown[..62], at(24)));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_tells_a_browser_what_it_may_do() {
    let admin = Admin::start(|_| {});
    let host = &admin.address;
    let asks = [
        format!("GET /readyz HTTP/1.1\nHost: {host}\n"),
        format!("GET /nowhere HTTP/1.1\nHost: {host}\n"),
        "GET /readyz HTTP/1.1\nHost: evil.example\n".to_owned(),
    ];
    let statuses: Vec<u16> = asks
        .iter()
        .map(|head| {
            let answer = http::ask(host, head, "");
            assert!(answer.header("content-security-policy").contains("frame-ancestors 'none'"), "{head}");
            assert!(answer.header("content-security-policy").starts_with("default-src 'none'"), "{head}");
            for (name, value) in
                [("x-content-type-options", "nosniff"), ("cache-control", "no-store"), ("x-frame-options", "DENY"), ("referrer-policy", "no-referrer")]
            {
                assert_eq!(answer.header(name), value, "{head}");
            }
            assert_eq!(answer.header("access-control-allow-origin"), "");
            answer.status
        })
        .collect();
    assert_eq!(statuses, [200, 404, 421]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_says_what_was_expected_and_how_to_log_in() {
    let admin = Admin::start(|settings| *settings = Settings { token_always: true, tokens: remote().tokens, ..local() });
    let refused = http::get(&admin.address, "/api/v1/status");
    assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer realm=\"postseal\""));
    assert_eq!(
        refused.body,
        r#"{"error":{"code":"no_token","message":"a token is needed","expected":"a header \"Authorization: Bearer TOKEN\", with a token that `postseal admin token` made"}}"#
    );
    let page = http::get(&admin.address, "/queue");
    assert!(page.status == 401 && page.header("www-authenticate").starts_with("Basic "), "a browser asks its person: {page:?}");
    let let_in = http::ask(&admin.address, &format!("GET /api/v1/status HTTP/1.1\nHost: {}\nAuthorization: Bearer postseal_eyes\n", admin.address), "");
    assert_eq!(let_in.status, 200);
}

/// What a form of a foreign page can have a browser send: a POST without JSON.
#[tokio::test(flavor = "multi_thread")]
async fn what_changes_something_takes_json_alone() {
    let admin = Admin::start(|_| {});
    let host = &admin.address;
    for kind in ["", "Content-Type: text/plain\n", "Content-Type: application/x-www-form-urlencoded\n", "Content-Type: multipart/form-data; boundary=x\n"] {
        let answer = http::ask(host, &format!("POST /api/v1/reload HTTP/1.1\nHost: {host}\n{kind}"), "{}");
        assert_eq!((answer.status, answer.json()["error"]["code"].as_str()), (415, Some("content_type")), "{kind}");
    }
    let taken = http::post(host, "/api/v1/reload", "{}");
    assert_eq!((taken.status, taken.body.as_str()), (200, r#"{"reloaded":true}"#));
    for (body, expected) in [("{\"force\":true}", 422), ("{", 400), ("[]", 422), ("7", 422)] {
        assert_eq!(http::post(host, "/api/v1/reload", body).status, expected, "{body}");
    }
}
