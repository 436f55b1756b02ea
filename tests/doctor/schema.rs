//! The JSON holds to its schema. As much of JSON Schema as the schema uses is checked here; an unknown keyword is a fault.

use super::house::{examined, examined_relay, relay, subject, zone};
use postseal::doctor::{Kind, Part, Report, all_rules, report::SCHEMA};
use serde_json::{Value, json};

/// The first thing in `value` that the schema does not allow.
pub fn fault(value: &Value, schema: &Value, root: &Value, at: &str) -> Option<String> {
    let keywords = schema.as_object().unwrap();
    for (keyword, rule) in keywords {
        let holds = match keyword.as_str() {
            "$schema" | "$id" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let place = rule.as_str().unwrap().strip_prefix('#').unwrap();
                if let Some(fault) = fault(value, root.pointer(place).unwrap(), root, at) {
                    return Some(fault);
                }
                true
            }
            "type" => rule.as_array().map_or_else(|| vec![rule], |types| types.iter().collect()).iter().any(|kind| is(value, kind.as_str().unwrap())),
            "const" => value == rule,
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "minLength" => value.as_str().is_none_or(|text| text.len() as u64 >= rule.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
            "pattern" => {
                assert_eq!(rule, "^[a-z0-9-]+$", "this pattern is not known here");
                value.as_str().is_none_or(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'))
            }
            "required" => value.as_object().is_none_or(|object| rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))),
            "additionalProperties" => value.as_object().is_none_or(|object| object.keys().all(|name| schema["properties"].get(name).is_some())),
            "properties" => {
                for (name, inner) in value.as_object().into_iter().flatten() {
                    if let Some(fault) = rule.get(name).and_then(|rule| fault(inner, rule, root, &format!("{at}/{name}"))) {
                        return Some(fault);
                    }
                }
                true
            }
            "items" => {
                for (number, item) in value.as_array().into_iter().flatten().enumerate() {
                    if let Some(fault) = fault(item, rule, root, &format!("{at}/{number}")) {
                        return Some(fault);
                    }
                }
                true
            }
            other => panic!("the keyword {other} is not known here"),
        };
        if !holds {
            return Some(format!("{at}: {keyword} {rule} does not hold for {value}"));
        }
    }
    None
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the type {other} is not known here"),
    }
}

pub fn schema() -> Value {
    serde_json::from_str(SCHEMA).unwrap()
}

#[tokio::test]
async fn every_report_holds_to_the_schema() {
    let schema = schema();
    let all_bad = "b.example.com NOTHING\n- ps1._domainkey.example.com TXT\n_dmarc.example.com SERVFAIL\n- 25.2.0.192.in-addr.arpa PTR";
    for (instead, bulk) in [("", true), (all_bad, true), (all_bad, false), ("example.com SILENT", true)] {
        let zone = zone(instead);
        let parts = vec![
            Part { kind: Kind::Domain, name: "example.com".to_owned(), findings: examined(&zone, subject(), bulk).await },
            Part { kind: Kind::Relay, name: "mx1.example.com".to_owned(), findings: examined_relay(&zone, relay()).await },
        ];
        let json = Report { bulk, parts }.json();
        assert_eq!(fault(&json, &schema, &schema, ""), None);
    }
}

#[test]
fn the_schema_refuses_what_it_should() {
    let schema = schema();
    let good = Report::default().json();
    assert_eq!(fault(&good, &schema, &schema, ""), None);
    for (pointer, bad) in
        [("/version", json!(2)), ("/status", json!("good")), ("/providers", json!([])), ("/bulk", json!("yes")), ("/parts", json!([{"kind": "domain"}]))]
    {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).unwrap() = bad;
        assert!(fault(&changed, &schema, &schema, "").is_some(), "{pointer}");
    }
    let mut more = good;
    more["surprise"] = json!(1);
    assert!(fault(&more, &schema, &schema, "").is_some());
}

#[test]
fn rules_have_names_of_their_own_and_say_why() {
    let rules = all_rules();
    for (place, rule) in rules.iter().enumerate() {
        assert!(!rules[..place].iter().any(|other| other.id == rule.id), "{} comes twice", rule.id);
        assert!(rule.why.len() > 20 && !rule.why.ends_with('.') && rule.id.len() < 15, "{}", rule.id);
        assert!(rule.demands.windows(2).all(|two| two[0].by < two[1].by), "{}: in the order of the providers, each once", rule.id);
    }
    assert!(rules.len() > 20);
}
