//! Spans as the relay posts them, read by OpenTelemetry's own definition of OTLP (PyPI: opentelemetry-proto).

use crate::support::relay_process::RelayProcess;
use crate::support::{Peer, Process, folder, free_port, missing, python, wait_or_tell};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::path::Path;

#[test]
fn a_collector_of_opentelemetry_takes_every_span() {
    if missing(&[Peer::OtlpDefinition]) {
        return;
    }
    let (desk, port) = (folder("collector"), free_port());
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/support/collector.py").display().to_string();
    let collector = Process::spawn("the collector", &python(), &[&script, &port.to_string()], &desk.path().join("log")).wait_for_word("listening");
    let mut relay = RelayProcess::new(&CONFIG.replace("PORT", &port.to_string()));
    relay.start();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let mut client = BufReader::new(TcpStream::connect(relay.address("submission")).unwrap());
    let message = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01\r\nFrom: app@example.com\r\nTo: you@example.net\r\n\r\nHello\r\n.\r\n");
    for line in ["", "HELO x\r\n", "MAIL FROM:<app@example.com>\r\n", "RCPT TO:<you@example.net>\r\n", "DATA\r\n", &message] {
        client.get_mut().write_all(line.as_bytes()).unwrap();
        let mut reply = String::new();
        client.read_line(&mut reply).unwrap();
        assert!(reply.starts_with(['2', '3']), "{line:?}: {reply}");
    }
    // Each is told when it has ended, in whichever post comes next.
    let expected = [
        format!("span accept {trace} 00f067aa0ba902b7 2 0 0"),
        format!("span prepare {trace} "),
        format!("span commit {trace} "),
        format!("span attempt {trace} "),
    ];
    let spans = wait_or_tell(
        || {
            let log = collector.log();
            assert!(!log.contains("refused"), "{log}");
            expected.iter().all(|expected| log.contains(expected)).then_some(log)
        },
        || format!("{expected:?} in {}", collector.log()),
    );
    assert!(spans.lines().any(|line| line.starts_with("span attempt") && line.ends_with(" 3 2 1")), "a client's, deferred, of one recipient: {spans}");
    assert_eq!(relay.stop().0, Some(0));
}

/// Nobody is at the next hop.
const CONFIG: &str = r#"
[server]
hostname = "relay.example.com"
[listeners.submission]
address = "127.0.0.1:0"
tls = "none"
[identities.app]
networks = ["127.0.0.0/8"]
author_domains = ["example.com"]
[routes]
default = "hop"
[smart_hosts.hop]
host = "127.0.0.1"
port = 9
tls = "opportunistic"
[spool]
reserve_octets = "64 MiB"
wal_octets_max = "32 MiB"
[otlp]
endpoint = "http://127.0.0.1:PORT"
"#;
