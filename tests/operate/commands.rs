//! The commands beside `serve`, as somebody uses them who has just come.

use crate::support::relay_process::RelayProcess;
use std::io::Write;
use std::process::{Command, Output, Stdio};

const CONFIG: &str = r#"
    [server]
    hostname = "relay.example.com"
    [listeners.submission]
    address = "127.0.0.1:0"
    tls = "none"
    [identities.app]
    networks = ["127.0.0.0/8"]
    author_domains = ["example.com"]
    [domains."example.com"]
    ed25519 = true
"#;
const LETTER: &str = "From: App <app@example.com>\nTo: you@example.net\nSubject: hello\nMessage-ID: <1@example.com>\n\nHello\n";

fn sign(relay: &RelayProcess, message: &str, more: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_postseal"))
        .arg("sign")
        .args(more)
        .current_dir(relay.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(message.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

#[track_caller]
fn refused(output: &Output, why: &str) {
    assert!(output.status.code() == Some(1) && output.stdout.is_empty() && text(&output.stderr).contains(why), "{output:?}");
}

#[test]
fn key_create_makes_what_is_missing_and_prints_the_records_again() {
    let relay = RelayProcess::new(&CONFIG.replace("ed25519 = true", ""));
    let records = |output: &Output| text(&output.stdout).lines().filter(|line| line.contains("v=DKIM1")).map(str::to_owned).collect::<Vec<_>>();
    let again = relay.postseal(&["key", "create", "example.com"]);
    assert!(again.status.success() && text(&again.stderr).contains("--another"), "{again:?}");
    assert_eq!(records(&again).len(), 1);

    // Ed25519 is turned on later: the RSA key that is there stays the only one.
    std::fs::write(relay.config(), CONFIG).unwrap();
    let both = records(&relay.postseal(&["key", "create", "example.com"]));
    assert_eq!(both[..1], records(&again));
    assert!(both.len() == 2 && both[1].contains("k=ed25519"), "{both:?}");

    let another = relay.postseal(&["key", "create", "example.com", "--another"]);
    assert_eq!(records(&another).len(), 4);
    refused(&relay.postseal(&["key", "create", "example"]), "expected an author domain");
    refused(&relay.postseal(&["key", "list", "--keys", "nowhere"]), "`postseal key create DOMAIN`");
}

#[test]
fn of_two_key_create_at_once_one_makes_the_first_key() {
    let relay = RelayProcess::new(CONFIG);
    let keys = tempfile::tempdir().unwrap();
    let keyring = keys.path().join("keys");
    let create = || relay.postseal(&["key", "create", "example.net", "--keys", keyring.to_str().unwrap()]);
    let outputs = std::thread::scope(|scope| [(); 2].map(|()| scope.spawn(create)).map(|thread| thread.join().unwrap()));
    assert!(outputs.iter().all(|output| output.status.success()), "{outputs:?}");
    let list = relay.postseal(&["key", "list", "--keys", keyring.to_str().unwrap()]);
    assert_eq!(text(&list.stdout).matches("active").count(), 1, "{list:?}");
}

#[test]
fn an_empty_keyring_is_told_as_such() {
    let relay = RelayProcess::new(CONFIG);
    let keys = tempfile::tempdir().unwrap();
    let list = relay.postseal(&["key", "list", "--keys", keys.path().to_str().unwrap()]);
    assert!(list.status.success() && list.stdout.is_empty() && text(&list.stderr).contains("`postseal key create DOMAIN`"), "{list:?}");
}

#[test]
fn sign_seals_as_the_relay_does_for_the_route_of_the_recipient() {
    let relay = RelayProcess::new(&format!("{CONFIG}\n[routes]\nrecipients.\"smart.example\" = \"hop\"\n[smart_hosts.hop]\nhost = \"smart.example\"\n"));
    let by_mx = text(&sign(&relay, LETTER, &[]).stdout);
    let algorithms: Vec<_> =
        by_mx.lines().filter_map(|line| line.strip_prefix("DKIM-Signature: v=1; a=")).map(|line| line.split(';').next().unwrap()).collect();
    assert_eq!(algorithms, ["ed25519-sha256", "rsa-sha256"], "{by_mx}");
    assert!(by_mx.contains("\r\nARC-Seal: i=1;") && by_mx.ends_with("\r\n\r\nHello\r\n"), "{by_mx}");
    let by_smart_host = text(&sign(&relay, LETTER, &["--to", "you@smart.example"]).stdout);
    assert!(by_smart_host.contains("a=rsa-sha256") && !by_smart_host.contains("a=ed25519-sha256"), "{by_smart_host}");
}

#[test]
fn sign_says_why_the_relay_would_refuse() {
    let relay = RelayProcess::new(CONFIG);
    refused(&sign(&relay, &LETTER.replace("app@example.com>\nTo", "app@other.example>\nTo"), &[]), "may not send as other.example, only as: example.com");
    refused(&sign(&relay, &LETTER.replace("From: App <app@example.com>\n", ""), &[]), "From");
    refused(&sign(&relay, "", &[]), "From");
    refused(&sign(&relay, "no header at all\n", &[]), "empty line between header and body");
    refused(&sign(&relay, LETTER, &["--identity", "nobody"]), "there is no identity \"nobody\"; known: app");
    std::fs::remove_dir_all(relay.path().join("keys")).unwrap();
    refused(&sign(&relay, LETTER, &[]), "`postseal key create example.com`");
}

#[test]
fn sign_leaves_what_is_signed_already_alone_and_says_so() {
    let relay = RelayProcess::new(CONFIG);
    let once = text(&sign(&relay, &LETTER.replace("Hello", "H\u{e9}llo"), &[]).stdout);
    let twice = sign(&relay, &once, &[]);
    let error = text(&twice.stderr);
    assert!(error.contains("carries signatures already") && error.contains("its ARC chain is not continued"), "{error}");
    let twice = text(&twice.stdout);
    assert_eq!(twice.matches("ARC-Seal: i=").count(), 1, "{twice}");
    let below = twice.find("ARC-Seal: i=").unwrap();
    assert_eq!(twice[below..], once[once.find("ARC-Seal: i=").unwrap()..], "what was there is there octet for octet");
}

#[test]
fn a_configuration_that_is_not_there_is_said_to_be_missing() {
    let relay = RelayProcess::new(CONFIG);
    for command in [&["serve"][..], &["config", "check"], &["sign"], &["key", "list"]] {
        let missing = relay.postseal(&[command, &["--config", "nowhere.toml"]].concat());
        refused(&missing, "nowhere.toml: cannot be read");
    }
}
