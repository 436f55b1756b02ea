//! Start, reload, drain: the real program asked to by signals.

use crate::support::next_hop::{At, NextHop, Say, Script, Wait};
use crate::support::ports::free_port;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use base64::prelude::{BASE64_STANDARD, Engine};
use rustls_pki_types::CertificateDer;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

const THREE_SECONDS: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_tells_its_listeners_and_that_it_is_ready_one_json_object_a_line() {
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, ""));
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    let reply = client.send("app@example.com", &["you@example.net"], &message("one")).unwrap();
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    hop.until(|sessions| taken(sessions, "one") == 1).await;
    client.command("MAIL FROM:<app@example.com>").unwrap();
    let reply = client.command("RCPT TO:<\u{1b}[2J@example.net>").unwrap();
    assert!(reply.starts_with("500 5.5.2 "), "{reply}");
    drop(client); // an open transaction would be waited for
    let (code, log) = relay.stop();
    assert_eq!(code, Some(0));
    for event in &log {
        let all = ["time", "level", "event"].iter().all(|field| event[*field].is_string());
        assert!(all, "not an event: {event}");
    }
    let names: Vec<_> = log.iter().filter_map(|event| event["event"].as_str()).collect();
    for expected in ["spool.opened", "listener.opened", "relay.started", "mail.accepted", "drain.started", "relay.stopped"] {
        assert!(names.contains(&expected), "no {expected} in {names:?}");
    }
    assert!(!log.iter().any(|event| event.to_string().contains("Hello, this is")), "a body was logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_without_a_key_is_told_at_start_refused_with_the_remedy_and_sent_once_a_reload_finds_one() {
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, "").replace("[\"example.com\"]", "[\"example.com\", \"second.example\"]"));
    relay.start();
    relay.wait_until("config.warned", |event| event["warning"].as_str().is_some_and(|text| text.contains("`postseal key create second.example`")));

    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    let second = message("two").replace("app@example.com", "app@second.example");
    let reply = client.send("app@second.example", &["you@example.net"], &second).unwrap();
    assert!(reply.starts_with("550 5.7.0 ") && reply.contains("`postseal key create second.example`"), "{reply}");

    succeeds(&relay.postseal(&["key", "create", "second.example", "--config", &relay.config().display().to_string()]));
    relay.signal("HUP");
    relay.wait_for("config.reloaded");
    let reply = client.send("app@second.example", &["you@example.net"], &second).unwrap();
    assert!(reply.starts_with("250 "), "a connection that was open: {reply}");
    hop.until(|sessions| taken(sessions, "two") == 1).await;
    assert!(text_of(&hop, "two").contains("d=second.example;"));
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_signs_with_the_keys_that_are_there_now() {
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, ""));
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    assert!(client.send("app@example.com", &["you@example.net"], &message("before")).unwrap().starts_with("250"));
    hop.until(|sessions| taken(sessions, "before") == 1).await;
    let (first, second) = (selectors(&relay), {
        succeeds(&relay.postseal(&["key", "create", "example.com", "--another", "--active", "--config", &relay.config().display().to_string()]));
        selectors(&relay)
    });
    let old = &first[0];
    let new = second.iter().find(|selector| *selector != old).unwrap();
    let states = relay.path().join("keys/example.com/keys.toml");
    let retired = std::fs::read_to_string(&states).unwrap().replacen("state = \"active\"", "state = \"retiring\"", 1);
    std::fs::write(&states, retired).unwrap();

    relay.signal("HUP");
    relay.wait_for("config.reloaded");
    assert!(client.send("app@example.com", &["you@example.net"], &message("after")).unwrap().starts_with("250"));
    hop.until(|sessions| taken(sessions, "after") == 1).await;
    let (before, after) = (text_of(&hop, "before"), text_of(&hop, "after"));
    assert!(before.contains(&format!("s={old};")) && !before.contains(&format!("s={new};")), "{before}");
    assert!(after.contains(&format!("s={new};")) && !after.contains(&format!("s={old};")), "{after}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_takes_users_and_their_new_passwords() {
    let hop = NextHop::start(Script::modern());
    let with = |hash: &str| {
        let users = format!("[users.alice]\nidentity = \"app\"\ncredential = \"{hash}\"\n");
        config(&hop, &users).replace("networks = [\"127.0.0.0/8\"]", "").replace("tls = \"none\"", "tls = \"none\"\nauth_without_tls = true")
    };
    let mut relay = RelayProcess::new(&with(&hash("old password")));
    relay.start();
    let address = relay.address("submission");
    let log_in = |password: &str| {
        let mut client = SmtpClient::connect(&address).unwrap();
        client.command(&format!("AUTH PLAIN {}", BASE64_STANDARD.encode(format!("\0alice\0{password}")))).unwrap()
    };
    assert!(log_in("old password").starts_with("235 "));
    let mut client = SmtpClient::connect(&address).unwrap();
    assert_eq!(client.command("AUTH PLAIN").unwrap(), "334", "no response yet: the client is asked for it");
    assert!(client.command("*").unwrap().starts_with("501 "));
    assert!(client.command("AUTH PLAIN =").unwrap().starts_with("501 5.5.2 "), "an empty response is one, and holds no password");
    assert!(log_in("new password").starts_with("535 "));

    std::fs::write(relay.config(), with(&hash("new password"))).unwrap();
    relay.signal("HUP");
    relay.wait_for("config.reloaded");
    assert!(log_in("new password").starts_with("235 "));
    assert!(log_in("old password").starts_with("535 "), "what was verified before the reload is not remembered");
    let stranger = SmtpClient::connect(&address).unwrap().command("MAIL FROM:<app@example.com>").unwrap();
    assert!(stranger.starts_with("530 5.7.0 "), "{stranger}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_shows_the_certificate_that_is_there_now_and_keeps_the_old_one_when_it_is_broken() {
    let hop = NextHop::start(Script::modern());
    let tls = "[tls.certificates.main]\nchain = \"chain.pem\"\nkey = \"chain.key\"\n[listeners.secure]\naddress = \"127.0.0.1:0\"\ntls = \"implicit\"\n";
    let mut relay = RelayProcess::new(&config(&hop, tls));
    let write = |relay: &RelayProcess| {
        let made = rcgen::generate_simple_self_signed(["relay.example.com".to_owned()]).unwrap();
        std::fs::write(relay.path().join("chain.pem"), made.cert.pem()).unwrap();
        std::fs::write(relay.path().join("chain.key"), made.signing_key.serialize_pem()).unwrap();
        made.cert.der().clone()
    };
    let first = write(&relay);
    relay.start();
    let address = relay.address("secure");
    assert_eq!(shown(&address), first);

    std::fs::write(relay.path().join("chain.pem"), "no certificate").unwrap();
    relay.signal("HUP");
    let rejected = relay.wait_for("config.rejected");
    assert!(rejected["error"].as_str().unwrap().contains("chain.pem"), "{rejected}");
    assert_eq!(shown(&address), first);

    let second = write(&relay);
    relay.signal("HUP");
    relay.wait_for("config.reloaded");
    assert_eq!(shown(&address), second);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_opens_changes_and_closes_listeners() {
    let hop = NextHop::start(Script::modern());
    let (one, two) = (free_address(), free_address());
    let listener = |name: &str, address: SocketAddr, more: &str| format!("[listeners.{name}]\naddress = \"{address}\"\ntls = \"none\"\n{more}\n");
    let with = |listeners: &str| config(&hop, "").replace("[listeners.submission]\n        address = \"127.0.0.1:0\"\n        tls = \"none\"", listeners);
    let reload = |relay: &RelayProcess, listeners: &str, times: usize| {
        std::fs::write(relay.config(), with(listeners)).unwrap();
        relay.signal("HUP");
        relay.wait_until("config.reloaded", |_| relay.log().iter().filter(|event| event["event"] == "config.reloaded").count() >= times);
    };
    let mut relay = RelayProcess::new(&with(&listener("one", one, "")));
    relay.start();
    let mut open = SmtpClient::connect(&one.to_string()).unwrap();

    // A bound of a listener changes, and its name: the socket stays, and so does who is connected.
    reload(&relay, &listener("uno", one, "connections_per_client_max = 2"), 1);
    assert!(open.command("NOOP").unwrap().starts_with("250 "));
    let second = SmtpClient::connect(&one.to_string()).unwrap();
    assert!(SmtpClient::connect(&one.to_string()).is_err(), "the new bound holds, and who was there before counts");
    drop(second);

    // Another is opened.
    reload(&relay, &(listener("uno", one, "") + &listener("two", two, "")), 2);
    assert!(SmtpClient::connect(&two.to_string()).is_ok());

    // One cannot be opened: nothing changes, although the other could be closed.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    std::fs::write(relay.config(), with(&listener("three", taken.local_addr().unwrap(), ""))).unwrap();
    relay.signal("HUP");
    let rejected = relay.wait_for("config.rejected");
    assert!(rejected["error"].as_str().unwrap().contains("\"three\" cannot listen at"), "{rejected}");
    assert!(SmtpClient::connect(&one.to_string()).is_ok() && SmtpClient::connect(&two.to_string()).is_ok());

    // One is closed: who is connected is told.
    reload(&relay, &listener("two", two, ""), 3);
    assert!(open.reply().unwrap().starts_with("421 4.3.2 "));
    relay.wait_until("listener.closed", |event| event["listener"] == "uno");
    assert!(TcpStream::connect(one).is_err());
    assert!(SmtpClient::connect(&two.to_string()).is_ok());
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_file_changes_nothing_and_every_fault_of_it_is_told() {
    let hop = NextHop::start(Script::modern());
    let good = config(&hop, "");
    let mut relay = RelayProcess::new(&good);
    relay.start();
    let address = relay.address("submission");
    let half = good.replace("hostname =", "hostnam =").replace("author_domains =", "author_domain =");
    for (broken, faults) in [(half.as_str(), vec!["hostnam", "author_domain"]), ("this is [no TOML", vec!["expected"]), ("", vec!["identities"])] {
        std::fs::write(relay.config(), broken).unwrap();
        relay.signal("HUP");
        for fault in faults {
            let told = relay.wait_until("config.rejected", |event| event["error"].as_str().is_some_and(|error| error.contains(fault)));
            assert_eq!(told["level"], "error");
        }
        assert!(SmtpClient::connect(&address).unwrap().send("app@example.com", &["you@example.net"], &message("kept")).unwrap().starts_with("250"));
    }
    std::fs::remove_file(relay.config()).unwrap();
    relay.signal("HUP");
    relay.wait_until("config.rejected", |event| event["error"].as_str().is_some_and(|error| error.contains("No such file")));
    std::fs::write(relay.config(), &good).unwrap();
    relay.signal("HUP");
    relay.wait_for("config.reloaded");
    assert_eq!(relay.stop().0, Some(0));
}

/// No new connections: the socket closes a moment after the signal.
fn refused(address: &str) {
    let began = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(began.elapsed() < Duration::from_mins(1), "new connections are still taken");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn going_down_lets_an_open_message_end_and_sends_idle_clients_away() {
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, ""));
    relay.start();
    let address = relay.address("submission");
    let mut idle = SmtpClient::connect(&address).unwrap();
    let mut busy = SmtpClient::connect(&address).unwrap();
    for line in ["MAIL FROM:<app@example.com>", "RCPT TO:<you@example.net>", "DATA"] {
        busy.command(line).unwrap();
    }
    busy.write("From: app@example.com\r\nTo: you@example.net\r\nSubject: half\r\n\r\nHello\r\n").unwrap();
    relay.signal("TERM");
    assert!(idle.reply().unwrap().starts_with("421 4.3.2 "));
    assert!(idle.reply().is_err(), "closed");
    refused(&address);
    let reply = busy.command(".").unwrap();
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    assert!(busy.reply().unwrap().starts_with("421 4.3.2 "));
    let (code, _) = relay.stop();
    assert_eq!(code, Some(0));
    if taken(&hop.sessions(), "half") == 0 {
        relay.start(); // it was promised: what did not go out before the end goes out now
        hop.until(|sessions| taken(sessions, "half") == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn going_down_waits_for_the_reply_to_a_final_dot_and_the_mail_is_not_sent_twice() {
    let hop = NextHop::start(Script::modern().when(At::Message, [Wait(Duration::from_secs(2)), Say("250 2.0.0 taken")]));
    let mut relay = RelayProcess::new(&config(&hop, ""));
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    assert!(client.send("app@example.com", &["you@example.net"], &message("slow")).unwrap().starts_with("250"));
    hop.until(|sessions| sessions.iter().any(|session| session.transactions.iter().any(|transaction| !transaction.octets.is_empty()))).await;
    let (code, log) = relay.stop();
    assert_eq!(code, Some(0));
    assert!(log.iter().any(|event| event["event"] == "relay.stopped"), "{log:?}");
    assert_eq!(taken(&hop.sessions(), "slow"), 1);
    relay.start();
    tokio::time::sleep(THREE_SECONDS).await;
    assert_eq!(taken(&hop.sessions(), "slow"), 1, "sent twice");
    assert_eq!(relay.stop().0, Some(0));
}

/// A client that says nothing more in the middle of its message, and a next hop that never answers: both are given `server.drain`.
#[tokio::test(flavor = "multi_thread")]
async fn going_down_takes_no_longer_than_it_may() {
    let hop = NextHop::start(Script::modern().when(At::Message, [Wait(Duration::from_mins(10))]));
    let mut relay = RelayProcess::new(&config(&hop, "").replace("hostname = ", "drain = \"1s\"\n        hostname = "));
    relay.start();
    let address = relay.address("submission");
    let mut client = SmtpClient::connect(&address).unwrap();
    assert!(client.send("app@example.com", &["you@example.net"], &message("stuck")).unwrap().starts_with("250"));
    hop.until(|sessions| sessions.iter().any(|session| session.transactions.iter().any(|transaction| !transaction.octets.is_empty()))).await;
    for line in ["MAIL FROM:<app@example.com>", "RCPT TO:<you@example.net>", "DATA", "Subject: never whole"] {
        if line.starts_with("Sub") { client.write(line).unwrap() } else { drop(client.command(line).unwrap()) }
    }
    let began = Instant::now();
    let (code, _) = relay.stop();
    assert_eq!(code, Some(0));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(client.reply().unwrap().starts_with("421 4.3.2 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_one_spool_is_refused_and_the_first_goes_on() {
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, ""));
    relay.start();
    let second = relay.postseal(&["serve", "--config", &relay.config().display().to_string()]);
    let error = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{error}");
    assert!(error.starts_with("postseal: ") && error.contains("spool"), "{error}");
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    assert!(client.send("app@example.com", &["you@example.net"], &message("first")).unwrap().starts_with("250"));
    assert_eq!(relay.stop().0, Some(0));
}

#[test]
fn a_relay_that_cannot_start_says_why_and_ends_with_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let relay = RelayProcess::new(&of("127.0.0.1:9".parse().unwrap(), "").replace("127.0.0.1:0", &address.to_string()));
    let refused = relay.postseal(&["serve", "--config", &relay.config().display().to_string()]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains(&format!("listener \"submission\" cannot listen at {address}")), "{error}");
}

/// DNS trouble is not the client's fault, and most applications do not try again.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_whose_signatures_nobody_can_look_up_is_taken_and_passed_on_as_it_is() {
    let hop = NextHop::start(Script::modern());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let resolver = format!("[resolver]\nnameservers = [\"{}\"]\ntimeout = \"100ms\"\nattempts = 1\n", silent.local_addr().unwrap());
    let mut relay = RelayProcess::new(&config(&hop, &resolver));
    relay.start();
    let signed = signed(&relay, &message("signed").replace("Hello", "H\u{e9}llo"));
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    let reply = client.send("app@example.com", &["you@example.net"], &signed).unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    hop.until(|sessions| taken(sessions, "signed") == 1).await;
    let text = text_of(&hop, "signed");
    assert!(text.ends_with(&signed[signed.find("ARC-Seal: i=1;").unwrap()..]), "{text}");
    assert_eq!(text.matches("a=rsa-sha256; c=relaxed/relaxed; d=example.com;").count(), 3, "the two that were there, and the new one: {text}");
    assert!(!text.contains("ARC-Seal: i=2"), "a chain that could not be verified is not continued: {text}");
}

/// How many messages of this subject were taken.
fn taken(sessions: &[crate::support::next_hop::Session], subject: &str) -> usize {
    let all = sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken);
    all.filter(|received| has_subject(&received.octets, subject)).count()
}

fn has_subject(octets: &[u8], subject: &str) -> bool {
    String::from_utf8_lossy(octets).contains(&format!("\r\nSubject: {subject}\r\n"))
}

/// The message of this subject.
fn text_of(hop: &NextHop, subject: &str) -> String {
    let found = hop.messages().into_iter().find(|received| has_subject(&received.octets, subject)).unwrap();
    String::from_utf8_lossy(&found.octets).into_owned()
}

/// The selectors of example.com, as `key list` tells them.
fn selectors(relay: &RelayProcess) -> Vec<String> {
    let listed = relay.postseal(&["key", "list", "--json", "--config", &relay.config().display().to_string()]);
    succeeds(&listed);
    let keys: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
    keys.iter().map(|key| key["selector"].as_str().unwrap().to_owned()).collect()
}

fn hash(password: &str) -> String {
    let hash = fed(Command::new(env!("CARGO_BIN_EXE_postseal")).args(["user", "hash"]), &format!("{password}\n"));
    hash.trim_end().to_owned()
}

/// A message sealed once already, with the relay's own keys.
fn signed(relay: &RelayProcess, message: &str) -> String {
    fed(Command::new(env!("CARGO_BIN_EXE_postseal")).args(["sign", "--config"]).arg(relay.config()), message)
}

/// What a command prints that is given this.
fn fed(command: &mut Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    succeeds(&done);
    String::from_utf8(done.stdout).unwrap()
}

#[track_caller]
fn succeeds(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// An address nobody listens at.
fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// The certificate that a listener with implicit TLS shows; it must be good for the session that follows.
fn shown(address: &str) -> CertificateDer<'static> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(crate::support::anyone::Anyone))
        .with_no_client_auth();
    let session = rustls::ClientConnection::new(Arc::new(config), "relay.example.com".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(session, TcpStream::connect(address).unwrap());
    let mut greeting = [0; 4];
    stream.read_exact(&mut greeting).unwrap();
    assert_eq!(&greeting, b"220 ");
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

fn config(hop: &NextHop, more: &str) -> String {
    of(hop.address(), more)
}

fn of(hop: SocketAddr, more: &str) -> String {
    format!(
        r#"
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
        host = "{}"
        port = {}
        tls = "opportunistic"
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        {more}
        "#,
        hop.ip(),
        hop.port()
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_drain_at_once() {
    let hop = NextHop::start(Script::modern());
    let mut relay = RelayProcess::new(&config(&hop, "").replace("[server]", "[server]\ndrain = \"5m\""));
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    client.command("MAIL FROM:<app@example.com>").unwrap();
    client.command("RCPT TO:<you@example.net>").unwrap();
    assert!(client.command("DATA").unwrap().starts_with("354 "));
    relay.signal("TERM");
    relay.wait_for("drain.started");
    let (code, log) = relay.stop(); // the message would keep it for minutes
    assert_eq!(code, Some(0));
    let names: Vec<_> = log.iter().filter_map(|event| event["event"].as_str()).collect();
    assert!(names.contains(&"drain.cut") && !names.contains(&"relay.stopped"), "{names:?}");
}
