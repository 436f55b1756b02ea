//! The JSON that `check` and `doctor` print, held against the schemas that they print, by a validator that others wrote: jsonschema of PyPI.

use crate::support::dns::Dns;
use crate::support::{Peer, folder, missing, odd_signatures, python, run};
use std::path::Path;
use std::process::{Command, Output};

/// Schema and reports as files: the schema is one, and holds of each; it would not hold of a report with a member more or less.
const VALIDATE: &str = "
import copy, json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
for path in sys.argv[2:]:
    report = json.load(open(path))
    faults = [f'{path}: {fault.json_path}: {fault.message}' for fault in validator.iter_errors(report)]
    assert not faults, '\\n'.join(faults)
    for member in report:
        less = {name: value for name, value in report.items() if name != member}
        assert not validator.is_valid(less), f'{path}: {member} is not required'
    assert not validator.is_valid(report | {'more': 1}), f'{path}: anything may be added'
print('held', len(sys.argv) - 2)
";

#[tokio::test(flavor = "multi_thread")]
async fn the_reports_of_check_hold_to_their_schema() {
    if missing(&[Peer::JsonSchema]) {
        return;
    }
    let cases = odd_signatures::all();
    let keys = cases.iter().flat_map(|case| case.records.iter().map(move |record| (&case.selector, record)));
    let keys: String = keys.map(|(selector, record)| format!("{selector}._domainkey.example.com TXT {}\n", strings(record))).collect::<Vec<_>>().concat();
    let dns = Dns::serve(&format!("{keys}b.example.com TXT \"v=spf1 ip4:192.0.2.25 -all\"\n_dmarc.example.com TXT \"v=DMARC1; p=reject\"\n")).await;
    let desk = folder("schemas");
    let resolver = dns.address().to_string();
    let mut reports = Vec::new();
    let chained = format!("ARC-Seal: i=1; a=rsa-sha256; cv=none; d=example.com; s=c0; b=YQ==\r\n{}", cases[0].message);
    let several = cases[0].message.replace("From: App <app@example.com>", "From: a@example.com, b@example.net");
    for (number, message) in cases.iter().map(|case| &case.message).chain([&chained, &several]).enumerate() {
        let (mail, report) = (desk.path().join(format!("{number}.eml")), desk.path().join(format!("{number}.json")));
        std::fs::write(&mail, message).unwrap();
        let mail = mail.display().to_string();
        let typed = ["check", "--json", "--resolver", &resolver, "--mail-from", "x@b.example.com", "--client-ip", "192.0.2.25", &mail];
        std::fs::write(&report, postseal(desk.path(), &typed).stdout).unwrap();
        reports.push(report.display().to_string());
    }
    held(desk.path(), "check", &reports);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_reports_of_doctor_hold_to_their_schema() {
    if missing(&[Peer::JsonSchema]) {
        return;
    }
    let dns = Dns::serve("example.com TXT \"v=spf1 +all\"\n_dmarc.example.com TXT \"v=DMARC1 p=none\"\nb.example.com SERVFAIL\n").await;
    let desk = folder("schemas");
    let resolver = dns.address().to_string();
    let mut reports = Vec::new();
    let all = ["--selector", "s1", "--bounce-domain", "b.example.com", "--address", "127.0.0.1", "--helo", "mx1.example.com"];
    for (number, more) in [&all[..], &[]].into_iter().enumerate() {
        let report = desk.path().join(format!("{number}.json"));
        std::fs::write(&report, postseal(desk.path(), &[&["doctor", "--json", "--resolver", &resolver, "example.com"], more].concat()).stdout).unwrap();
        reports.push(report.display().to_string());
    }
    held(desk.path(), "doctor", &reports);
}

/// As a zone file has a text: in strings of 200 octets.
fn strings(text: &str) -> String {
    text.as_bytes().chunks(200).map(|part| format!("\"{}\"", String::from_utf8_lossy(part))).collect::<Vec<_>>().join(" ")
}

fn postseal(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
    tokio::task::block_in_place(|| command.args(args).current_dir(folder).env_remove("POSTSEAL_CONFIG").output().unwrap())
}

#[track_caller]
fn held(folder: &Path, command: &str, reports: &[String]) {
    let schema = folder.join("schema.json");
    std::fs::write(&schema, postseal(folder, &[command, "--json-schema"]).stdout).unwrap();
    let (code, said) = run(Command::new(python()).args(["-c", VALIDATE, &schema.display().to_string()]).args(reports), b"");
    assert_eq!((code, said.trim()), (0, format!("held {}", reports.len()).as_str()));
}
