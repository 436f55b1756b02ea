//! The end of a relay whose disk does not last: what waits goes to the upstream postseal, and the ledger is exact.

use crate::support::next_hop::{At, NextHop, Received, Say, Script, Wait};
use crate::support::ports::free_port;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const MAILS: usize = 40;

/// A sidecar with a full queue: its next hops by route `hop` defer everybody.
struct Sidecar {
    relay: RelayProcess,
    _hop: NextHop,
}

impl Sidecar {
    fn start(upstream: SocketAddr, more: &str) -> Self {
        let hop = NextHop::start(Script::modern().when(At::Mail, [Say("451 4.3.0 not now")]));
        let mut relay = RelayProcess::new(&sidecar(hop.address(), upstream, more));
        relay.start();
        Self { relay, _hop: hop }
    }

    /// Submits so many mails to two recipients each, and waits until all were tried once.
    fn fill(&self, mails: usize) {
        let mut client = SmtpClient::connect(&self.relay.address("submission")).unwrap();
        for number in 0..mails {
            let reply = client.send("app@example.com", &["a@one.example", "b@two.example"], &message(&format!("mail-{number}"))).unwrap();
            assert!(reply.starts_with("250"), "{reply}");
        }
        let deferred = || self.relay.log().iter().filter(|event| event["event"] == "attempt.deferred").count();
        let began = Instant::now();
        while deferred() < 2 * mails {
            assert!(began.elapsed() < Duration::from_mins(1), "only {} were tried", deferred());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// How often each recipient of each subject has arrived.
fn arrived(messages: &[Received]) -> BTreeMap<(String, String), usize> {
    let mut arrived = BTreeMap::new();
    for received in messages.iter().filter(|received| received.taken) {
        let text = String::from_utf8_lossy(&received.octets).into_owned();
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned();
        for rcpt in &received.rcpts {
            let address = rcpt.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
            *arrived.entry((subject.clone(), address)).or_default() += 1;
        }
    }
    arrived
}

fn all_once(mails: usize) -> BTreeMap<(String, String), usize> {
    (0..mails).flat_map(|number| ["a@one.example", "b@two.example"].map(|to| ((format!("mail-{number}"), to.to_owned()), 1))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_waits_goes_to_the_central_postseal_and_from_there_to_its_recipients_once() {
    let hop = NextHop::start(Script::modern());
    let mut central = RelayProcess::new(&central(hop.address()));
    central.start();
    let mut sidecar = Sidecar::start(central.address("submission").parse().unwrap(), "");
    sidecar.fill(MAILS);
    let (code, log) = sidecar.relay.stop();
    assert_eq!(code, Some(0));
    let told = log.iter().find(|event| event["event"] == "queue.handed_over").unwrap_or_else(|| panic!("{log:#?}"));
    assert_eq!((told["recipients"].as_u64(), told["left"].as_u64(), told["level"].as_str()), (Some(2 * MAILS as u64), Some(0), Some("info")), "{told}");

    hop.until(|sessions| {
        sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken).map(|received| received.rcpts.len()).sum::<usize>()
            >= 2 * MAILS
    })
    .await;
    assert_eq!(arrived(&hop.messages()), all_once(MAILS), "none lost, none twice");
    let from = hop.messages()[0].mail.clone();
    assert!(from.starts_with("MAIL FROM:<b") && from.contains("@b.example.com>"), "the central postseal's own bounce address: {from}");
    central.wait_until("mail.accepted", |_| central.log().iter().filter(|event| event["event"] == "mail.accepted").count() >= MAILS);

    // Nothing is left that a restart of the sidecar would send again.
    sidecar.relay.start();
    assert_eq!(sidecar.relay.wait_for("spool.opened")["mails"], 0);
    assert_eq!((sidecar.relay.stop().0, central.stop().0), (Some(0), Some(0)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_envelope_goes_along_as_it_was_submitted() {
    let mut script = Script::modern();
    script.capabilities.push("DSN".to_owned());
    let upstream = NextHop::start(script);
    let mut sidecar = Sidecar::start(upstream.address(), "");
    let mut client = SmtpClient::connect(&sidecar.relay.address("submission")).unwrap();
    client.command("MAIL FROM:<app@example.com> RET=HDRS ENVID=order+2B7").unwrap();
    client.command("RCPT TO:<a@one.example> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;A@one.example").unwrap();
    client.command("DATA").unwrap();
    client.write(&message("whole").replace("Subject:", "X-Postseal-Track-Id: order-7\r\nX-Postseal-Deliver-After: +2h\r\nSubject:")).unwrap();
    assert!(client.command(".").unwrap().starts_with("250"));
    drop(client);
    assert_eq!(sidecar.relay.stop().0, Some(0)); // it was not due yet
    let messages = upstream.messages();
    assert_eq!(messages.len(), 1);
    let (mail, rcpt) = (&messages[0].mail, &messages[0].rcpts[0]);
    assert!(mail.starts_with("MAIL FROM:<app@example.com>") && mail.contains("RET=HDRS") && mail.contains("ENVID=order+2B7"), "{mail}");
    assert!(rcpt.contains("NOTIFY=SUCCESS,FAILURE") && rcpt.contains("ORCPT=rfc822;A@one.example"), "{rcpt}");
    let text = String::from_utf8_lossy(&messages[0].octets).into_owned();
    assert!(text.starts_with("X-Postseal-Track-Id: order-7\r\nX-Postseal-Deliver-After: 20"), "{text}");
    assert!(text.contains("DKIM-Signature: ") && text.contains("d=example.com;"), "sealed, as it was spooled: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_is_down_keeps_nobody_waiting_and_the_loss_is_told() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut sidecar = Sidecar::start(nobody, "handover = \"2s\"");
    sidecar.fill(3);
    let began = Instant::now();
    let (code, log) = sidecar.relay.stop();
    assert_eq!(code, Some(0));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    let told = log.iter().find(|event| event["event"] == "queue.handed_over").unwrap();
    assert_eq!((told["recipients"].as_u64(), told["left"].as_u64()), (Some(0), Some(6)), "{told}");
    assert_eq!(told["level"], "warn", "this disk stays, so nothing is lost: {told}");
    // And nothing was: the next start has it all, due at once.
    sidecar.relay.start();
    assert_eq!(sidecar.relay.wait_for("spool.opened")["mails"], 3);
    let deferred = |relay: &RelayProcess| relay.log().iter().filter(|event| event["event"] == "attempt.deferred").count();
    let began = Instant::now();
    while deferred(&sidecar.relay) < 6 {
        assert!(began.elapsed() < Duration::from_mins(1), "not tried again: {:#?}", sidecar.relay.log());
        std::thread::sleep(Duration::from_millis(10));
    }
    sidecar.relay.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_disk_that_does_not_last_what_is_left_is_told_as_lost() {
    let Ok(memory) = tempfile::TempDir::new_in("/dev/shm") else {
        eprintln!("skipped: no /dev/shm here");
        return;
    };
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let hop = NextHop::start(Script::modern().when(At::Mail, [Say("451 4.3.0 not now")]));
    let spool = format!("file_systems = \"volatile\"\ndirectory = \"{}\"\nreserve_octets", memory.path().display());
    let mut relay = RelayProcess::new(&self::sidecar(hop.address(), nobody, "handover = \"1s\"").replace("reserve_octets", &spool));
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    assert!(client.send("app@example.com", &["a@one.example"], &message("lost")).unwrap().starts_with("250"));
    relay.wait_for("attempt.deferred");
    drop(client);
    let (code, log) = relay.stop();
    assert_eq!(code, Some(0));
    let told = log.iter().find(|event| event["event"] == "queue.handed_over").unwrap();
    assert_eq!((told["left"].as_u64(), told["level"].as_str()), (Some(1), Some("error")), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upstream_gets_what_there_is_time_for_and_the_rest_stays() {
    let upstream = NextHop::start(Script::modern().when(At::Message, [Wait(Duration::from_millis(400)), Say("250 2.0.0 taken")]));
    let mut sidecar = Sidecar::start(upstream.address(), "handover = \"4s\"");
    let central = std::fs::read_to_string(sidecar.relay.config()).unwrap().replace("connections_max = 8", "connections_max = 1");
    std::fs::write(sidecar.relay.config(), central).unwrap();
    sidecar.relay.signal("HUP");
    sidecar.relay.wait_for("config.reloaded");
    sidecar.fill(16);
    let (code, log) = sidecar.relay.stop();
    assert_eq!(code, Some(0));
    let told = log.iter().find(|event| event["event"] == "queue.handed_over").unwrap();
    let (given, left) = (told["recipients"].as_u64().unwrap(), told["left"].as_u64().unwrap());
    assert!(given > 0 && left > 0 && given + left == 32, "{told}");
    let first = arrived(&upstream.messages());
    assert_eq!(first.values().sum::<usize>() as u64, given, "what the upstream answered is settled, and nothing else");

    // The rest goes the next time; nothing goes twice.
    let text = std::fs::read_to_string(sidecar.relay.config()).unwrap().replace("handover = \"4s\"", "handover = \"40s\"");
    std::fs::write(sidecar.relay.config(), text).unwrap();
    sidecar.relay.start();
    let (code, log) = sidecar.relay.stop();
    assert_eq!(code, Some(0));
    assert_eq!(log.iter().find(|event| event["event"] == "queue.handed_over").unwrap()["left"], 0);
    assert_eq!(arrived(&upstream.messages()), all_once(16));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_by_the_upstream_stays_and_the_others_go() {
    let upstream = NextHop::start(Script::modern().when(At::Rcpt(Some("b@two.example".to_owned())), [Say("550 5.7.1 not from you")]));
    let mut sidecar = Sidecar::start(upstream.address(), "handover = \"30s\"");
    sidecar.fill(4);
    let began = Instant::now();
    let (code, log) = sidecar.relay.stop();
    assert_eq!(code, Some(0));
    assert!(began.elapsed() < Duration::from_secs(30), "who is refused is not waited for: {:?}", began.elapsed());
    let told = log.iter().find(|event| event["event"] == "queue.handed_over").unwrap();
    assert_eq!((told["recipients"].as_u64(), told["left"].as_u64()), (Some(4), Some(4)), "{told}");
    assert!(arrived(&upstream.messages()).iter().all(|((_, to), count)| to == "a@one.example" && *count == 1));
    let asked = upstream.sessions().iter().flat_map(|session| session.commands.clone()).filter(|command| command.line.contains("b@two.example")).count();
    assert!(asked <= 8, "asked {asked} times for four recipients");
    sidecar.relay.start();
    assert_eq!(sidecar.relay.wait_for("spool.opened")["mails"], 4);
    sidecar.relay.kill();
}

fn sidecar(hop: SocketAddr, upstream: SocketAddr, more: &str) -> String {
    format!(
        r#"
        [server]
        hostname = "sidecar.example.com"
        upstream = "central"
        {more}
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [domains."example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "opportunistic"
        [smart_hosts.central]
        host = "{}"
        port = {}
        tls = "opportunistic"
        connections_max = 8
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        "#,
        hop.ip(),
        hop.port(),
        upstream.ip(),
        upstream.port()
    )
}

fn central(hop: SocketAddr) -> String {
    format!(
        r#"
        [server]
        hostname = "central.example.com"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.sidecar]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        trusted_upstream = true
        [domains."example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "opportunistic"
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [resolver]
        nameservers = ["127.0.0.1:9"]
        timeout = "50ms"
        attempts = 0
        "#,
        hop.ip(),
        hop.port()
    )
}
