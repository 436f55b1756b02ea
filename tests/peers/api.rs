//! The API of a running relay, called by schemathesis: as its OpenAPI document says and as it does not, one call after another and in
//! the orders that the document suggests. Each answer must be one that the document describes, what is wrong must be refused, and
//! nothing may break.

use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use crate::support::{Peer, missing, python, run};
use std::process::Command;

/// Mail stays in the spool, for nobody listens at the next hop.
const CONFIG: &str = r#"
[server]
hostname = "relay.example.com"
[listeners.submission]
address = "127.0.0.1:0"
tls = "none"
[identities.app]
networks = ["127.0.0.0/8"]
author_domains = ["example.com"]
[domains."example.org"]
parked = true
[routes]
default = "hop"
[smart_hosts.hop]
host = "127.0.0.1"
port = 1
tls = "opportunistic"
[spool]
reserve_octets = "64 MiB"
wal_octets_max = "32 MiB"
[resolver]
nameservers = ["127.0.0.1:9"]
"#;

#[test]
fn every_answer_is_one_that_the_document_describes() {
    if missing(&[Peer::Schemathesis]) {
        return;
    }
    let mut relay = RelayProcess::new(CONFIG);
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    for number in 0..5 {
        let (first, second) = (format!("a{number}@example.net"), format!("b{number}@example.edu"));
        let reply = client.send("app@example.com", &[&first, &second], &message(&format!("mail {number}"))).unwrap();
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let document = format!("http://{}/api/v1/openapi.json", relay.admin());
    // An answer that goes on for ever is not for it: tests/events reads that.
    let typed = [
        "-m",
        "schemathesis.cli",
        "run",
        &document,
        "--exclude-path",
        "/api/v1/events/follow",
        "--checks",
        "all",
        // Filters are plain strings in the document; which of them is a domain, an id or a known word only the relay knows, and says so with 400.
        "--exclude-checks",
        "positive_data_acceptance",
        "--max-examples",
        EXAMPLES,
        "--seed",
        SEED,
        "--no-color",
    ];
    let (code, told) = run(Command::new(python()).args(typed).current_dir(relay.path()), b"");
    assert_eq!(code, 0, "{told}");
    assert!(told.contains("Stateful") && !told.contains(" 0 generated"), "{told}");
    let (code, log) = relay.stop();
    assert_eq!(code, Some(0));
    let broke: Vec<_> = log.iter().filter(|event| event["level"] == "error" && event["event"] != "config.rejected").collect();
    assert!(broke.is_empty(), "{broke:?}");
}

/// Calls of each operation and phase, at most.
const EXAMPLES: &str = "25";
/// What is tried is the same each time.
const SEED: &str = "1";
