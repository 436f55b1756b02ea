//! `postseal doctor` as somebody uses it who has just come.

use super::house::zone;
use super::schema::{fault, schema};
use crate::support::dns::Dns;
use crate::support::relay_process::RelayProcess;
use postseal::dns::Data;
use postseal::dns::records::equivalent;
use serde_json::Value;
use std::process::Output;

const CONFIG: &str = r#"
    [server]
    hostname = "mx1.example.com"
    [listeners.submission]
    address = "127.0.0.1:0"
    tls = "none"
    [identities.app]
    networks = ["127.0.0.0/8"]
    author_domains = ["example.com"]
    [domains."parked.example"]
    parked = true
    [deliver]
    source_v4 = "192.0.2.25"
    source_v6 = "2001:db8::25"
    [resolver]
    timeout = "2s"
    attempts = 0
"#;

/// A folder with a configuration and a key, and the zone with that key's records.
async fn house(config: &str, instead: &str) -> (RelayProcess, Dns) {
    let relay = tokio::task::block_in_place(|| RelayProcess::new(config));
    let line = relay.records().lines().find(|line| line.contains("_domainkey")).unwrap();
    let (owner, data) = line.split_once(". IN TXT ").unwrap();
    let dns = Dns::serve(&format!("{}\n{owner} TXT {data}\n", zone(&format!("- ps1._domainkey.example.com TXT\n{instead}")))).await;
    (relay, dns)
}

fn doctor(relay: &RelayProcess, dns: &Dns, more: &[&str]) -> Output {
    let server = dns.address().to_string();
    tokio::task::block_in_place(|| relay.postseal(&[&["doctor", "--resolver", &server], more].concat()))
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_domain_it_looks_at_all_of_the_configuration() {
    let parked = "parked.example TXT \"v=spf1 -all\"\n*.parked.example TXT \"v=spf1 -all\"\n*._domainkey.parked.example TXT \"v=DKIM1; p=\"\n\
                  _dmarc.parked.example TXT \"v=DMARC1; p=reject; rua=mailto:dmarc@example.com\"\ndefault._bimi.parked.example TXT \"v=BIMI1; l=; a=;\"\nparked.example MX 0 .";
    let (relay, dns) = house(CONFIG, parked).await;
    let all = doctor(&relay, &dns, &[]);
    let shown = text(&all.stdout);
    assert!(all.status.code() == Some(0) && shown.contains("configured as parked, complete") && shown.contains("both aligned"), "{shown}{}", text(&all.stderr));
    assert!(shown.contains("The relay mx1.example.com") && shown.contains("Gmail      ready") && !shown.contains('\u{1b}'), "{shown}");
    let one = text(&doctor(&relay, &dns, &["parked.example"]).stdout);
    assert!(one.contains("configured as parked") && !one.contains("both aligned"), "{one}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_the_worst() {
    let (relay, dns) = house(&CONFIG.replace("[domains.\"parked.example\"]\n    parked = true", ""), "").await;
    let code = |more: &[&str]| doctor(&relay, &dns, more).status.code();
    assert_eq!(code(&["--strict"]), Some(0));
    let key = text(relay.records().as_bytes());
    let line = key.lines().find(|line| line.contains("_domainkey")).unwrap();
    let (owner, data) = line.split_once(". IN TXT ").unwrap();
    let serve = |instead: &str| dns.replace(&format!("{}\n{owner} TXT {data}\n", zone(&format!("- ps1._domainkey.example.com TXT\n{instead}"))));
    serve("_dmarc.example.com TXT \"v=DMARC1; p=none\"");
    assert_eq!((code(&[]), code(&["--strict"])), (Some(0), Some(1)), "a warning");
    serve("_dmarc.example.com TXT \"v=DMARC1; p=none\"\nexample.com SERVFAIL MX");
    assert_eq!((code(&[]), code(&["--strict"])), (Some(3), Some(3)), "unknown, and a warning");
    serve("- b.example.com TXT\nexample.com SERVFAIL MX");
    assert_eq!((code(&[]), code(&["--not-bulk"])), (Some(2), Some(3)), "a failure, and unknown");
    serve("- b.example.com TXT");
    assert_eq!((code(&["--bulk"]), code(&["--not-bulk"])), (Some(2), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn json_holds_to_the_schema_that_it_prints() {
    let (relay, dns) = house(CONFIG, "- b.example.com TXT").await;
    let printed: Value = serde_json::from_slice(&tokio::task::block_in_place(|| relay.postseal(&["doctor", "--json-schema"])).stdout).unwrap();
    assert_eq!(printed, schema());
    let json: Value = serde_json::from_slice(&doctor(&relay, &dns, &["--json"]).stdout).unwrap();
    assert_eq!(fault(&json, &printed, &printed, ""), None);
    assert_eq!((json["status"].as_str(), json["providers"][0]["status"].as_str()), (Some("fail"), Some("fail")));
    let names: Vec<_> = json["parts"].as_array().unwrap().iter().map(|part| part["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["example.com", "parked.example", "mx1.example.com"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_configuration_it_knows_what_is_typed() {
    let (relay, dns) = house(CONFIG, "").await;
    std::fs::remove_file(relay.config()).unwrap();
    let bare = doctor(&relay, &dns, &["example.com"]);
    assert_eq!(bare.status.code(), Some(3), "{}", text(&bare.stdout));
    for word in ["--selector", "--bounce-domain", "--address"] {
        assert!(text(&bare.stdout).contains(word), "{word}");
    }
    let selector = relay.records().lines().find_map(|line| line.split_once("._domainkey")).unwrap().0.to_owned();
    let told = [
        "example.com",
        "--selector",
        &selector,
        "--bounce-domain",
        "b.example.com",
        "--address",
        "192.0.2.25",
        "--address",
        "2001:db8::25",
        "--helo",
        "mx1.example.com",
    ];
    let told = doctor(&relay, &dns, &told);
    assert_eq!(told.status.code(), Some(0), "{}", text(&told.stdout));
    assert!(text(&told.stdout).contains("both aligned"));
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_say_what_to_do() {
    let (relay, dns) = house(CONFIG, "").await;
    let refused = |more: &[&str], code: i32, why: &str| {
        let output = doctor(&relay, &dns, more);
        let error = text(&output.stderr);
        assert!(output.status.code() == Some(code) && output.stdout.is_empty() && error.contains(why), "{more:?}: {output:?}");
    };
    refused(&["example"], 4, "\"example\" has a single label; expected a domain");
    refused(&["--config", "nowhere.toml"], 4, "nowhere.toml: cannot be read");
    refused(&["--selector", "a b"], 4, "is no selector; expected a name");
    refused(&["no domain"], 2, "is not a domain name");
    refused(&["--bulk", "--not-bulk"], 2, "cannot be used with");
    let typo = doctor(&relay, &dns, &["exmaple.com"]);
    assert!(typo.status.code() == Some(2) && text(&typo.stdout).contains("check the spelling"), "{typo:?}");
    std::fs::remove_file(relay.config()).unwrap();
    refused(&[], 4, "name a domain, as in `postseal doctor example.com`");
    let run = |arguments: &[&str]| tokio::task::block_in_place(|| relay.postseal(arguments));
    let bad = run(&["doctor", "--resolver", "ns.example.com", "example.com"]);
    assert!(bad.status.code() == Some(2) && text(&bad.stderr).contains("expected an IP address"), "{bad:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_server_that_is_down_makes_everything_unknown() {
    let (relay, dns) = house(CONFIG, "").await;
    let gone = dns.address().to_string();
    drop(dns);
    let output = tokio::task::block_in_place(|| relay.postseal(&["doctor", "--resolver", &gone, "example.com"]));
    let shown = text(&output.stdout);
    assert!(output.status.code() == Some(3) && shown.contains("--resolver") && !shown.contains("    fail "), "{shown}");
}

/// What is to be pasted is right: it is what `dns records` prints, and with it in the zone nothing fails any more.
#[tokio::test(flavor = "multi_thread")]
async fn remedies_are_the_records_of_the_domain_and_mend_what_failed() {
    let nothing =
        "- example.com TXT\n- b.example.com MX\n- b.example.com TXT\n- mx1.example.com TXT\n- _dmarc.example.com TXT\n- ps1._domainkey.example.com TXT";
    let (relay, dns) = house(&CONFIG.replace("[domains.\"parked.example\"]\n    parked = true", ""), "").await;
    let mut served = zone(nothing);
    dns.replace(&served);
    let wanted = tokio::task::block_in_place(|| relay.postseal(&["dns", "records", "example.com", "--format", "json"]));
    let wanted: Value = serde_json::from_slice(&wanted.stdout).unwrap_or_else(|error| panic!("{error}: {wanted:?}"));
    let wanted = wanted["records"].as_array().unwrap();
    let mut pasted = std::collections::BTreeMap::new();
    // What hides behind a name that does not exist comes to light when it does.
    for round in 0..3 {
        let json: Value = serde_json::from_slice(&doctor(&relay, &dns, &["--json"]).stdout).unwrap();
        let findings: Vec<&Value> = json["parts"].as_array().unwrap().iter().flat_map(|part| part["findings"].as_array().unwrap()).collect();
        if round == 0 {
            let failed: Vec<&str> = findings.iter().filter(|finding| finding["status"] == "fail").map(|finding| finding["rule"].as_str().unwrap()).collect();
            for rule in ["soa-exists", "dkim", "dmarc"] {
                assert!(failed.contains(&rule), "{rule} is not in {failed:?}");
            }
        }
        for finding in findings {
            for record in finding["remedy"]["records"].as_array().into_iter().flatten() {
                let text = |name: &str| record[name].as_str().unwrap().to_owned();
                pasted.insert((text("name"), text("type")), (text("value"), text("zone"), finding["rule"].clone()));
            }
        }
        let lines: Vec<String> =
            pasted.iter().map(|((name, kind), (_, line, _))| format!("{name} {kind} {}", line.split_once(&format!(" {kind} ")).unwrap().1)).collect();
        served = format!("{}\n{}\n", zone(nothing), lines.join("\n"));
        dns.replace(&served);
    }
    // An author domain needs no SPF record for mail that leaves under the bounce domain, so the set has none.
    for ((name, kind), (value, ..)) in pasted.iter().filter(|(_, (.., rule))| rule != "spf-author") {
        let same_place: Vec<&str> = wanted
            .iter()
            .filter(|record| record["name"] == name.as_str() && record["type"] == kind.as_str())
            .map(|record| record["value"].as_str().unwrap())
            .collect();
        let data = |text: &str| Data::Txt(text.trim_end_matches('.').to_owned());
        assert!(same_place.iter().any(|text| equivalent(&data(text), &data(value))), "{name} {kind} {value}: dns records has {same_place:?}");
    }
    let json: Value = serde_json::from_slice(&doctor(&relay, &dns, &["--json"]).stdout).unwrap();
    assert_eq!(json["status"], "ok", "{served}\n{json:#}");
}
