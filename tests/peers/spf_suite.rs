//! The test suite that came with RFC 7208 (openspf.org, release 2014.04, by Stuart Gathman and others, BSD licence), as the
//! source package of pyspf on PyPI carries it: `tests/run` fetches it, nothing of it is kept here.

use crate::support::spf_zone::SpfZone;
use crate::support::{Peer, missing, openspf, python};
use postseal::dns::Kind;
use postseal::verdict::spf_walk::{Sender, check_host};
use serde_json::Value;
use std::process::Command;

/// YAML of several documents on standard input, JSON on standard output.
const TO_JSON: &str = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";

#[tokio::test]
async fn check_host_finds_what_the_suite_of_the_standard_expects() {
    if missing(&[Peer::OpenSpf]) {
        return;
    }
    let suite = std::fs::File::open(openspf()).unwrap();
    let json = Command::new(python()).args(["-c", TO_JSON]).stdin(suite).output().unwrap();
    let scenarios: Vec<Value> = serde_json::from_slice(&json.stdout).unwrap();
    let (mut cases, mut wrong) = (0, Vec::new());
    for scenario in &scenarios {
        let zone = zone(&scenario["zonedata"]);
        for (name, test) in scenario["tests"].as_object().unwrap() {
            cases += 1;
            let text = |key: &str| test[key].as_str().unwrap_or_default();
            let (local, domain) = text("mailfrom").rsplit_once('@').unwrap_or(("", text("mailfrom")));
            let domain = if domain.is_empty() { text("helo") } else { domain };
            let outcome = check_host(&zone, text("host").parse().unwrap(), Sender { local, domain, helo: text("helo") }).await;
            let result = outcome.result.as_str();
            let fits = match &test["result"] {
                Value::Array(several) => several.iter().any(|one| one == result),
                one => one == result,
            };
            // "DEFAULT" is the receiver's own text: there is none of the domain's.
            let explanation = test["explanation"].as_str().filter(|text| *text != "DEFAULT");
            let explained = test.get("explanation").is_none() || outcome.explanation.as_deref().map(str::to_lowercase) == explanation.map(str::to_lowercase);
            if !fits || !explained {
                wrong.push(format!("{} / {name}: expected {} {explanation:?}, found {outcome:?}", scenario["description"], test["result"]));
            }
        }
    }
    assert!(cases > 182, "the suite has {cases} cases only");
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
}

/// Records of type SPF stand for TXT records where a name has none of these; `NONE` for no record; `TIMEOUT` for silence.
fn zone(data: &Value) -> SpfZone {
    let mut zone = SpfZone::default();
    for (name, records) in data.as_object().unwrap() {
        let records = records.as_array().unwrap();
        let has_txt = records.iter().any(|record| record.get("TXT").is_some());
        let mut answered = Vec::new();
        for record in records {
            let Some((kind, value)) = record.as_object().and_then(|record| record.iter().next()) else { continue };
            let kind = match kind.as_str() {
                "SPF" if has_txt => continue,
                "SPF" => "TXT",
                other => other,
            };
            let value = match value {
                Value::Array(parts) if kind == "MX" => format!("{} {}", parts[0], mail_host(parts[1].as_str().unwrap())),
                Value::Array(parts) => parts.iter().map(|part| part.as_str().unwrap()).collect(),
                one => one.as_str().unwrap().to_owned(),
            };
            if value != "NONE" {
                answered.push(kind.to_owned());
                zone.add(name, kind, &value);
                if mail_host(name) != *name && kind == "A" {
                    zone.add(&mail_host(name), kind, &value);
                }
            }
        }
        if records.iter().any(|record| record == "TIMEOUT") {
            let silent = [Kind::Txt, Kind::A, Kind::Aaaa, Kind::Mx, Kind::Ptr].into_iter().filter(|kind| !answered.contains(&kind.to_string()));
            silent.for_each(|kind| zone.silence(name, Some(kind)));
        }
    }
    zone
}

/// Two cases have mail go to a host named "foo:bar/baz.example.com", which is about the name in the record. No host can be named so, and
/// `dns` leaves such MX records out: the host has the same addresses under a name of its own here.
fn mail_host(name: &str) -> String {
    name.replace([':', '/'], "-")
}
