//! `postseal check`, as somebody uses it who has saved a message.

use crate::support::dns::Dns;
use crate::support::odd_signatures;
use serde_json::Value;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// "Show original" of Gmail, shortened, with LF line ends.
const GMAIL: &str = "Delivered-To: jane@gmail.com
Received: by 2002:a05:6a10:1 with SMTP id x;
        Sun, 22 Nov 2026 01:18:46 -0800 (PST)
Return-Path: <btoken@b.example.com>
Received: from mail.example.com (mail.example.com. [192.0.2.25])
        by mx.google.com with ESMTPS id abc
        for <jane@gmail.com>; Sun, 22 Nov 2026 01:18:45 -0800 (PST)
Received-SPF: pass (google.com: domain of btoken@b.example.com designates 192.0.2.25 as permitted sender) client-ip=192.0.2.25;
Authentication-Results: mx.google.com;
       dkim=pass header.i=@example.com header.s=c0 header.b=abcdefgh;
       spf=pass (google.com: domain of btoken@b.example.com designates 192.0.2.25 as permitted sender) smtp.mailfrom=btoken@b.example.com;
       dmarc=pass (p=REJECT sp=REJECT dis=NONE) header.from=example.com
";
const ZONE: &str = "b.example.com TXT \"v=spf1 ip4:192.0.2.25 -all\"
_dmarc.example.com TXT \"v=DMARC1; p=reject\"
";

/// A folder without a configuration.
struct Desk {
    folder: TempDir,
    resolver: String,
}

impl Desk {
    fn new(dns: &Dns) -> Self {
        Self { folder: tempfile::tempdir().unwrap(), resolver: dns.address().to_string() }
    }

    fn check(&self, message: &[u8], args: &[&str]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_postseal"))
            .args(["check", "--resolver", &self.resolver])
            .args(args)
            .current_dir(self.folder.path())
            .env_remove("POSTSEAL_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let message = message.to_vec();
        let writing = std::thread::spawn(move || drop(stdin.write_all(&message)));
        let output = child.wait_with_output().unwrap();
        writing.join().unwrap();
        output
    }

    /// What `--json` says, which the schema must know.
    fn json(&self, message: &[u8], args: &[&str]) -> (i32, Value) {
        let output = self.check(message, &[&["--json"], args].concat());
        let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let mut faults = Vec::new();
        held_against(&report, &schema(), "report", &mut faults);
        assert!(faults.is_empty(), "{}", faults.join("\n"));
        (output.status.code().unwrap(), report)
    }
}

fn schema() -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_postseal")).args(["check", "--json-schema"]).output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The part of JSON Schema that the schema is written in.
fn held_against(value: &Value, schema: &Value, place: &str, faults: &mut Vec<String>) {
    let is = |kind: &str| match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("the schema has the type {other}"),
    };
    let kinds: Vec<&str> = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        kind => vec![kind.as_str().unwrap()],
    };
    if !kinds.iter().any(|kind| is(kind)) {
        faults.push(format!("{place}: {value} is none of {kinds:?}"));
    }
    if let Some(known) = schema["enum"].as_array()
        && !known.contains(value)
    {
        faults.push(format!("{place}: {value} is none of {known:?}"));
    }
    for (at, item) in value.as_array().into_iter().flatten().enumerate() {
        held_against(item, &schema["items"], &format!("{place}[{at}]"), faults);
    }
    let Some(members) = value.as_object() else { return };
    let empty = serde_json::Map::new();
    let properties = schema["properties"].as_object().unwrap_or(&empty);
    for (name, member) in members {
        match properties.get(name) {
            Some(schema) => held_against(member, schema, &format!("{place}.{name}"), faults),
            None => faults.push(format!("{place}.{name} is not in the schema")),
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !members.contains_key(name) {
            faults.push(format!("{place}.{name} is required"));
        }
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn zone_of_keys() -> String {
    let records = odd_signatures::all().into_iter().take(1).flat_map(|case| case.records.into_iter().map(move |record| (case.selector.clone(), record)));
    records
        .map(|(selector, record)| format!("{selector}._domainkey.example.com TXT \"{}\" \"{}\"\n", &record[..100], &record[100..]))
        .collect::<Vec<_>>()
        .concat()
}

/// A signed message of example.com with LF line ends.
fn signed() -> String {
    odd_signatures::all().swap_remove(0).message.replace("\r\n", "\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_saved_from_gmail_is_judged_as_gmail_judged_it() {
    let dns = Dns::serve(&format!("{ZONE}{}", zone_of_keys())).await;
    let desk = Desk::new(&dns);
    let saved = format!("{GMAIL}{}", signed());
    let file = desk.folder.path().join("original.eml");
    std::fs::write(&file, &saved).unwrap();
    let (code, report) = desk.json(b"", &[&file.display().to_string(), "--trust", "mx.google.com"]);
    assert_eq!(code, 0, "{report:#}");
    assert_eq!((&report["spf"]["result"], &report["spf"]["aligned"], &report["dmarc"]["result"]), (&"pass".into(), &true.into(), &"pass".into()));
    assert_eq!(report["dkim"][0]["result"], "pass", "LF line ends are read as CR LF: {report:#}");
    let first = &report["dkim"][0];
    assert_eq!((&first["domain"], &first["selector"], &first["algorithm"]), (&"example.com".into(), &"c0".into(), &"rsa-sha256".into()));
    assert_eq!((&first["aligned"], &first["author"], &first["key_bits"]), (&true.into(), &true.into(), &1024.into()));
    let weaknesses: Vec<&str> = first["weaknesses"].as_array().unwrap().iter().map(|weakness| weakness["id"].as_str().unwrap()).collect();
    assert_eq!(weaknesses, ["unsigned-fields", "from-not-oversigned", "short-key"]);
    assert_eq!((&report["dmarc"]["policy"], &report["arc"]["result"], &report["gmail"]["verdict"]), (&"reject".into(), &"none".into(), &"pass".into()));
    assert_eq!(report["gmail"]["codes"].as_array().map(Vec::len), Some(0));
    assert_eq!(report["sources"]["client_ip"], serde_json::json!({ "value": "192.0.2.25", "source": "Received by mx.google.com" }));
    assert_eq!((&report["seen_by"][0]["host"], report["missing"].as_array().map(Vec::len)), (&"mx.google.com".into(), Some(0)));

    let said = text(&desk.check(saved.as_bytes(), &["--trust", "mx.google.com"]).stdout);
    for line in
        ["SPF:      pass      b.example.com, aligned", "author signature, aligned", "MAIL FROM:<btoken@b.example.com> (from Return-Path)", "Outcome:  accepted"]
    {
        assert!(said.contains(line), "{line} is not in\n{said}");
    }
}

/// Where receivers differ, an operator is told so, and which of them is right.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_opinion_is_told_where_it_differs() {
    let cases = odd_signatures::all();
    let records = cases
        .iter()
        .flat_map(|case| case.records.iter().map(move |record| (&case.selector, record)))
        .map(|(selector, record)| {
            let strings: Vec<String> = record.as_bytes().chunks(200).map(|part| format!("\"{}\"", text(part))).collect();
            format!("{selector}._domainkey.example.com TXT {}\n", strings.join(" "))
        })
        .collect::<Vec<_>>()
        .concat();
    let dns = Dns::serve(&format!("{ZONE}{records}")).await;
    let desk = Desk::new(&dns);
    let typed = ["--mail-from", "x@b.example.com", "--client-ip", "192.0.2.25"];
    for (name, ours, theirs, decides) in [
        ("plain", "pass", None, ""),
        ("names DKIM-Signature", "pass", Some("fail"), "RFC 6376 §3.5 (h=)"),
        ("key with v last", "permerror", Some("pass"), "RFC 6376 §3.6.1, §6.1.2 (step 5)"),
        ("From unsigned", "permerror", Some("pass"), "RFC 6376 §6.1.1 (From)"),
        ("a tag twice", "neutral", Some("pass"), "RFC 6376 §6.1.1"),
        ("body changed", "fail", Some("neutral"), "RFC 8601 §2.7.1"),
        ("no key", "permerror", None, ""),
    ] {
        let message = &cases.iter().find(|case| case.name == name).unwrap().message;
        let report = desk.json(message.as_bytes(), &typed).1;
        let (result, second) = (&report["dkim"][0]["result"], &report["dkim"][0]["second_opinion"]);
        assert_eq!((result.as_str(), second["result"].as_str()), (Some(ours), theirs), "{name}: {report:#}");
        assert_eq!((second["decides"].as_str().unwrap_or_default(), second["verifier"].as_str()), (decides, theirs.map(|_| "mail-auth")), "{name}");
        assert_eq!(report["arc"]["second_opinion"], Value::Null, "{name}");
        let said = text(&desk.check(message.as_bytes(), &typed).stdout).split_whitespace().collect::<Vec<_>>().join(" ");
        let line = theirs.map(|theirs| format!("receivers differ: mail-auth, which Stalwart and others use, says {theirs}"));
        assert_eq!(line.as_deref().is_some_and(|line| said.contains(line) && said.contains(&format!("{decides} decides"))), theirs.is_some(), "{name}: {said}");
        assert_eq!(said.contains("receivers differ"), theirs.is_some(), "{name}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_file_does_not_tell_is_said_to_be_missing_and_may_be_typed() {
    let dns = Dns::serve(&format!("{ZONE}{}", zone_of_keys())).await;
    let desk = Desk::new(&dns);
    let (code, report) = desk.json(signed().as_bytes(), &[]);
    assert_eq!((code, &report["spf"]["result"], &report["gmail"]["verdict"], &report["outcome"]), (3, &"none".into(), &"unknown".into(), &"unknown".into()));
    assert_eq!(report["missing"].as_array().map(Vec::len), Some(2), "{report:#}");
    let untrusted = desk.json(format!("{GMAIL}{}", signed()).as_bytes(), &[]).1;
    assert!(untrusted["missing"][0].as_str().unwrap().contains("--trust mx.google.com"), "{untrusted:#}");
    let typed = ["--mail-from", "<x@b.example.com>", "--client-ip", "192.0.2.25", "--helo", "mail.example.com"];
    assert_eq!(desk.json(signed().as_bytes(), &typed).0, 0);
    let (code, elsewhere) = desk.json(signed().as_bytes(), &["--mail-from", "x@b.example.com", "--client-ip", "198.51.100.1"]);
    assert_eq!((code, &elsewhere["spf"]["result"], &elsewhere["gmail"]["codes"]), (2, &"fail".into(), &serde_json::json!(["4.7.27", "5.7.27"])));
    let (code, small) = desk.json(signed().as_bytes(), &["--mail-from", "x@b.example.com", "--client-ip", "198.51.100.1", "--not-bulk"]);
    assert_eq!((code, &small["bulk"], &small["gmail"]["verdict"]), (0, &false.into(), &"pass".into()));
    let (_, null) = desk.json(signed().as_bytes(), &["--mail-from", "<>", "--client-ip", "192.0.2.25", "--helo", "b.example.com"]);
    assert_eq!((&null["spf"]["identity"], &null["spf"]["result"], &null["spf"]["domain"]), (&"helo".into(), &"pass".into(), &"b.example.com".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_receiver_takes_is_refused_whatever_the_dns_says() {
    let dns = Dns::serve(ZONE).await;
    let desk = Desk::new(&dns);
    let typed = ["--mail-from", "x@b.example.com", "--client-ip", "192.0.2.25"];
    let (code, two) = desk.json(format!("From: b@example.com\n{}", signed()).as_bytes(), &typed);
    assert_eq!((code, &two["dmarc"]["result"], &two["gmail"]["verdict"], &two["matrix"]), (2, &"permerror".into(), &"fail".into(), &Value::Null));
    assert!(two["message"]["fault"].as_str().unwrap().contains("2 authors") && two["gmail"]["codes"] == serde_json::json!(["550 5.7.1"]), "{two:#}");
    let unnamed = signed().replace("Message-ID:", "X-Id:");
    assert!(desk.json(unnamed.as_bytes(), &typed).1["form"][0]["text"].as_str().unwrap().contains("Message-ID"));
    let said = text(&desk.check(format!("From: b@example.com\n{}", signed()).as_bytes(), &typed).stdout);
    assert!(said.contains("no verdict") && said.contains("refused by one receiver at least"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dns_that_does_not_answer_decides_nothing() {
    let dns = Dns::serve("example.com SERVFAIL\nb.example.com SERVFAIL\n_dmarc.example.com SERVFAIL\nc0._domainkey.example.com SERVFAIL\n").await;
    let desk = Desk::new(&dns);
    let typed = ["--mail-from", "x@b.example.com", "--client-ip", "192.0.2.25"];
    let (code, report) = desk.json(signed().as_bytes(), &typed);
    assert_eq!((code, &report["outcome"], &report["gmail"]["verdict"]), (3, &"unknown".into(), &"unknown".into()));
    for mechanism in ["spf", "dmarc"] {
        assert_eq!(report[mechanism]["result"], "temperror", "{mechanism}");
    }
    assert_eq!(report["dkim"][0]["result"], "temperror");
    let unsigned = "From: a@example.com\nMessage-ID: <1@example.com>\nDate: Sun, 22 Nov 2026 01:18:45 +0000\n\nHello\n";
    assert_eq!(desk.json(unsigned.as_bytes(), &typed).0, 2, "without a signature no answer helps a bulk sender");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_said_to_be_none() {
    let dns = Dns::serve(ZONE).await;
    let desk = Desk::new(&dns);
    let folder = desk.folder.path().display().to_string();
    let gone = desk.folder.path().join("gone.eml").display().to_string();
    for (message, args, why) in [
        (&b""[..], &[][..], "standard input is empty"),
        (b"\n\n", &["-"], "standard input is empty"),
        (b"", &[folder.as_str()], "is a directory; expected the file of one message"),
        (b"", &[gone.as_str()], "gone.eml cannot be read: No such file"),
        (b"\x00\x01\x1b[31m\xff\n", &[], "this is no message: header line 1 has no colon"),
        (b"hello, world\n", &[], "this is no message: header line 1 has no colon"),
        (b"\r\nbody alone\r\n", &[], "it has no header"),
        (b"From: a@b.c\n\nx", &["--config", gone.as_str()], "gone.eml"),
    ] {
        let output = desk.check(message, args);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(4) && output.stdout.is_empty() && said.contains(why), "{why}: {output:?}");
        assert!(!said.trim_end().contains(|c: char| c.is_control()), "{said:?}");
    }
    for args in [&["--client-ip", "300.1.2.3"][..], &["--mail-from", "nobody"], &["--resolver", "ns"], &["--bulk", "--not-bulk"]] {
        assert_eq!(desk.check(b"From: a@example.com\n\nx", args).status.code(), Some(2), "{args:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_message_reaches_the_terminal_as_control() {
    let dns = Dns::serve(ZONE).await;
    let desk = Desk::new(&dns);
    let nasty = "From: \"\x1b[31mred\u{202e}\" <a@example.com>\nSubject: \x1b]0;title\x07 \u{200b}x\nMessage-ID: <\x1b@x>\nDKIM-Signature: v=1; a=\x1b[1m; d=\x1b; s=\x07\n\nx\n";
    let output = desk.check(nasty.as_bytes(), &["--mail-from", "x@b.example.com", "--client-ip", "192.0.2.25"]);
    let said = text(&output.stdout);
    assert!(output.status.code() == Some(2) && !said.contains(|c: char| c != '\n' && c.is_control()) && !said.contains('\u{202e}'), "{said:?}");
}
