//! Many clients that mean harm, or one with much patience: what the relay holds stays bounded, and a client that behaves hardly notices.
//!
//! Every bound is a figure: resident memory before and at its height, and how long a well-behaved submission takes before and meanwhile. They
//! are printed; with the program built for release they are a fraction of these.

use super::rig::{Credulous, Rude, config, count_replies, started};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const MIB: u64 = 1 << 20;

/// A relay that one address may flood.
fn flooded(listener: &str, more: &str) -> (Credulous, RelayProcess) {
    let hop = Credulous::start(&["8BITMIME", "PIPELINING"], b"250 ok\r\n");
    let listener = format!("connections_max = 50000\nconnections_per_client_max = 50000\n{listener}");
    let relay = started(&config(hop.address(), &listener, more).replace("level = \"debug\"", "level = \"info\""));
    (hop, relay)
}

/// Descriptors for this process and the relay it starts.
fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Octets that the relay keeps in memory.
fn resident(relay: &RelayProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// How long it takes to submit a message over a connection of its own: the median of some.
#[allow(clippy::disallowed_methods, reason = "measures")]
fn latency(address: &str) -> Duration {
    let mut taken: Vec<Duration> = (0..15)
        .map(|_| {
            let begun = Instant::now();
            let mut client = SmtpClient::connect(address).unwrap();
            let reply = client.send("app@example.com", &["you@example.net"], &message("well-behaved")).unwrap();
            assert!(reply.starts_with("250 "), "{reply}");
            begun.elapsed()
        })
        .collect();
    taken.sort();
    taken[taken.len() / 2]
}

/// Holds both bounds: memory above `before`, and a well-behaved client's patience.
fn assert_unharmed(what: &str, relay: &RelayProcess, before: (u64, Duration), more_octets_max: u64) {
    let (memory, calm) = before;
    let meanwhile = latency(&relay.address("submission"));
    let now = resident(relay);
    let more = now.saturating_sub(memory);
    println!("{what}: resident {} -> {} MiB, a submission {calm:?} -> {meanwhile:?}", memory / MIB, now / MIB);
    assert!(more <= more_octets_max, "{what}: {} MiB more, at most {} are expected", more / MIB, more_octets_max / MIB);
    assert!(meanwhile <= calm * 10 + Duration::from_millis(300), "{what}: a submission takes {meanwhile:?} instead of {calm:?}");
}

/// Memory and latency when nobody does harm, once warm.
fn calm(relay: &RelayProcess) -> (u64, Duration) {
    let address = relay.address("submission");
    latency(&address);
    let latency = latency(&address);
    (resident(relay), latency)
}

#[test]
fn ten_thousand_idle_connections_cost_little_and_harm_nobody() {
    let descriptors = raise_descriptors();
    let count = usize::try_from(descriptors.saturating_sub(500)).unwrap_or(usize::MAX).min(10_000);
    assert!(count >= 500, "{descriptors} descriptors are too few to test anything");
    let (_hop, mut relay) = flooded("", "");
    let before = calm(&relay);
    let address = relay.address("submission");
    let mut idle: Vec<TcpStream> = Vec::with_capacity(count);
    for number in 0..count {
        let mut stream = TcpStream::connect(&address).unwrap_or_else(|error| panic!("connection {number}: {error}"));
        stream.write_all(b"EHLO idle.test\r\n").unwrap();
        idle.push(stream);
    }
    // All are served: each has its greeting and the reply to EHLO.
    for stream in &mut idle {
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut heard = Vec::new();
        while count_replies(&heard) < 2 {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "closed after {:?}", String::from_utf8_lossy(&heard));
            heard.extend_from_slice(&part[..length]);
        }
    }
    let each = resident(&relay).saturating_sub(before.0) / idle.len() as u64;
    println!("{count} idle connections: {each} octets each");
    assert_unharmed("idle connections", &relay, before, idle.len() as u64 * 24 * 1024);
    drop(idle);
    assert_eq!(relay.stop().0, Some(0));
}

/// Who dribbles a command or a message is let go in time, however busy he looks, and holds nobody up.
#[test]
#[allow(clippy::disallowed_methods, reason = "measures")]
fn clients_that_trickle_are_let_go_in_time() {
    raise_descriptors();
    let (_hop, mut relay) =
        flooded("idle_timeout = \"3s\"\ncommand_timeout = \"3s\"\ndata_timeout = \"3s\"\nmessage_timeout = \"4s\"\nhandshake_timeout = \"3s\"", "");
    let before = calm(&relay);
    let address = relay.address("submission");
    let mut dribbling: Vec<(Rude, bool)> = (0..400)
        .map(|number| {
            let mut client = Rude::connect(&address);
            let in_message = number % 2 == 0;
            if in_message {
                client.ask("EHLO slow.test");
                client.ask("MAIL FROM:<app@example.com>");
                client.ask("RCPT TO:<you@example.net>");
                assert!(client.ask("DATA").starts_with("354 "));
            }
            (client, in_message)
        })
        .collect();
    let begun = Instant::now();
    let mut told = false;
    while begun.elapsed() < Duration::from_secs(5) {
        for (client, _) in &mut dribbling {
            client.say(b"X");
        }
        std::thread::sleep(Duration::from_millis(200));
        if !told && begun.elapsed() > Duration::from_secs(1) {
            assert_unharmed("trickling clients", &relay, before, 400 * 64 * 1024);
            told = true;
        }
    }
    for (mut client, in_message) in dribbling {
        let last = client.rest();
        assert!(last.starts_with("421 4.4.2 timed out") || last.is_empty(), "{in_message}: {last}");
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "they were held for {:?}", begun.elapsed());
    assert_eq!(relay.stop().0, Some(0));
}

/// What has no end: a line, a greeting, a header, a message, its chunks, its recipients, its MIME. Each is answered or cut, none is kept.
#[test]
fn what_has_no_end_is_not_kept() {
    raise_descriptors();
    let (_hop, mut relay) = flooded("message_octets_max = \"8 MiB\"\nrefusals_max = 200000", "");
    let before = calm(&relay);
    let address = relay.address("submission");

    // A command line of 64 MiB, and an EHLO of a megabyte.
    for line in [
        [b"NOOP ".to_vec(), vec![b'x'; 64 << 20]].concat(),
        [b"EHLO ".to_vec(), vec![b'x'; 1 << 20]].concat(),
        [b"AUTH PLAIN ".to_vec(), vec![b'A'; 8 << 20]].concat(),
    ] {
        let mut client = Rude::connect(&address);
        client.say(&line);
        client.say(b"\r\n");
        assert!(client.hear(1).starts_with("500 5.5.2 the line is too long"));
    }
    assert_unharmed("endless lines", &relay, before, 24 * MIB);

    // A header, a line and a body that go on for eight times what is allowed.
    let field: String = (0..60_000).fold(String::new(), |mut text, number| {
        let _ = write!(text, "X-Field-{number}: nothing\r\n");
        text
    });
    for (what, unit) in
        [("header", field.into_bytes()), ("line", vec![b'x'; 1 << 20]), ("body", b"\r\n0123456789012345678901234567890123456789".repeat(20_000))]
    {
        let mut client = transaction(&address);
        assert!(client.ask("DATA").starts_with("354 "));
        for _ in 0..(64 << 20) / unit.len() {
            client.say(&unit);
        }
        client.say(b"\r\n.\r\n");
        let reply = client.hear(1);
        assert!(reply.starts_with("552 5.3.4 "), "{what}: {reply}");
        assert!(client.ask("NOOP").starts_with("250 "), "{what}");
    }
    assert_unharmed("endless messages", &relay, before, 40 * MIB);

    // Chunks without end, empty ones and large ones.
    let mut client = transaction(&address);
    client.say(&b"BDAT 0\r\n".repeat(20_000));
    assert_eq!(count_replies(client.hear(20_000).as_bytes()), 20_000);
    client.say(&[&b"BDAT 1000000\r\n"[..], &vec![b'x'; 1_000_000]].concat().repeat(9));
    let replies = client.hear(9);
    assert!(replies.contains("\r\n550 5.6.0 line 1 of the message is longer than ") && replies.ends_with("503 5.5.1 send MAIL first\r\n"), "{replies}");
    assert!(client.ask("NOOP").starts_with("250 "), "the octets of a refused chunk are no commands");
    assert_unharmed("endless chunks", &relay, before, 40 * MIB);

    // A hundred thousand recipients in one transaction: a thousand are taken.
    let mut client = transaction(&address);
    let mut taken = 0;
    for batch in 0..100 {
        let lines: String = (0..1000).fold(String::new(), |mut text, number| {
            let _ = write!(text, "RCPT TO:<you-{batch}-{number}@example.net>\r\n");
            text
        });
        client.say(lines.as_bytes());
        let replies = client.hear(1000);
        taken += replies.lines().filter(|line| line.starts_with("250 ")).count();
        assert_eq!(count_replies(replies.as_bytes()), 1000);
    }
    assert_eq!(taken, 999, "one was there before");
    assert_unharmed("a hundred thousand recipients", &relay, before, 40 * MIB);

    // MIME within MIME, and parts beside parts.
    let nest: String = (0..20_000).fold("From: app@example.com\r\nMIME-Version: 1.0\r\n".to_owned(), |mut text, depth| {
        let _ = write!(text, "Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n");
        text
    });
    let parts = format!(
        "From: app@example.com\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n{}--b--\r\n",
        "--b\r\n\r\n\u{e4}\r\n".repeat(500_000)
    );
    let nest = format!("{nest}\r\n\u{e4}\r\n"); // what is 7-bit throughout is not taken apart
    for (what, content) in [("deep", nest), ("many", parts)] {
        let mut client = transaction(&address);
        assert!(client.ask("DATA").starts_with("354 "));
        client.say(content.as_bytes());
        client.say(b".\r\n");
        let reply = client.hear(1);
        assert!(reply.starts_with("55"), "{what}: {reply}");
    }
    assert_unharmed("MIME without end", &relay, before, 60 * MIB);
    assert_eq!(relay.stop().0, Some(0));
}

/// As many recipients as an operator may allow: each is kept, and in the spool.
#[test]
#[allow(clippy::disallowed_methods, reason = "measures")]
fn a_hundred_thousand_recipients_are_taken_where_they_are_allowed() {
    let hop = Credulous::start(&["8BITMIME"], b"250 ok\r\n");
    let allowed = config(hop.address(), "recipients_max = 100000", "")
        .replace("author_domains = [", "recipients_max = 100000\n        recipients_per_minute_ceiling = 1000000\n        author_domains = [");
    let mut relay = started(&allowed.replace("level = \"debug\"", "level = \"info\""));
    let before = calm(&relay);
    let mut client = transaction(&relay.address("submission"));
    for batch in 0..100 {
        let count = if batch == 0 { 999 } else { 1000 }; // one is there already
        let lines: String = (0..count).fold(String::new(), |mut text, number| {
            let _ = write!(text, "RCPT TO:<you-{batch}-{number}@example.net>\r\n");
            text
        });
        client.say(lines.as_bytes());
        let replies = client.hear(count);
        assert!(replies.lines().all(|line| line.starts_with("250 ")), "{batch}");
    }
    assert!(client.ask("RCPT TO:<one-more@example.net>").starts_with("452 4.5.3 "));
    assert!(client.ask("DATA").starts_with("354 "));
    let begun = Instant::now();
    let later = (postseal::clock::now() + Duration::from_hours(1)).to_rfc3339();
    client.say(format!("From: app@example.com\r\nSubject: all\r\nX-Postseal-Deliver-After: {later}\r\n\r\nHello\r\n.\r\n").as_bytes());
    assert_unharmed("a hundred thousand recipients being spooled", &relay, before, 400 * MIB);
    let reply = client.hear(1);
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    println!("spooled in {:?}", begun.elapsed());
    assert_eq!(relay.stop().0, Some(0));
}

/// Handshakes that begin and do not end, and clients that come only to shake hands.
#[test]
#[allow(clippy::disallowed_methods, reason = "measures")]
fn handshakes_without_end_are_let_go_and_floods_of_them_are_borne() {
    raise_descriptors();
    let hop = Credulous::start(&["8BITMIME"], b"250 ok\r\n");
    let secure = "[listeners.secure]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\nhandshake_timeout = \"3s\"\nconnections_max = 5000\nconnections_per_client_max = 5000\n\
        [tls.certificates.relay]\nchain = \"relay.pem\"\nkey = \"relay.key\"\n";
    let mut relay = RelayProcess::new(&config(hop.address(), "", secure).replace("level = \"debug\"", "level = \"info\""));
    let made = rcgen::generate_simple_self_signed(["relay.example.com".to_owned()]).unwrap();
    std::fs::write(relay.path().join("relay.pem"), made.cert.pem()).unwrap();
    std::fs::write(relay.path().join("relay.key"), made.signing_key.serialize_pem()).unwrap();
    relay.start();
    let before = calm(&relay);
    let secure = relay.address("secure");

    let begun = Instant::now();
    let half_open: Vec<TcpStream> = (0..1000)
        .map(|number| {
            let mut stream = TcpStream::connect(&secure).unwrap();
            // A record that announces more than comes; every third says nothing at all.
            if number % 3 > 0 {
                stream.write_all(b"\x16\x03\x01\x3f\xff\x01\x00\x3f\xfb\x03\x03").unwrap();
            }
            stream
        })
        .collect();
    assert_unharmed("half-open handshakes", &relay, before, 1000 * 64 * 1024);
    for mut stream in half_open {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "they were held for {:?}", begun.elapsed());

    let flood = std::thread::spawn(move || {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = rustls::RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.resumption = rustls::client::Resumption::disabled();
        let config = std::sync::Arc::new(config);
        let begun = Instant::now();
        let mut hands = 0_u32;
        while begun.elapsed() < Duration::from_secs(4) {
            let mut stream = TcpStream::connect(&secure).unwrap();
            let mut connection = rustls::ClientConnection::new(config.clone(), "relay.example.com".try_into().unwrap()).unwrap();
            connection.complete_io(&mut stream).unwrap();
            hands += 1;
        }
        hands
    });
    std::thread::sleep(Duration::from_millis(500));
    assert_unharmed("a flood of handshakes", &relay, before, 64 * MIB);
    println!("{} handshakes", flood.join().unwrap());
    assert_eq!(relay.stop().0, Some(0));
}

/// A client with a transaction open and one recipient taken.
fn transaction(address: &str) -> Rude {
    let mut client = Rude::connect(address);
    client.ask("EHLO client.test");
    assert!(client.ask("MAIL FROM:<app@example.com>").starts_with("250 "));
    assert!(client.ask("RCPT TO:<you@example.net>").starts_with("250 "));
    client
}
