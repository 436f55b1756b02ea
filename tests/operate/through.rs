//! `through` mode, the real program: the client hears what the next hop says, and nothing is kept.

use crate::support::next_hop::{At, Close, NextHop, Received, Say, Script, Wait};
use crate::support::ports::free_port;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Sends one message to these and gives the reply that ended it.
fn send(relay: &RelayProcess, to: &[&str], subject: &str) -> String {
    SmtpClient::connect(&relay.address("submission")).unwrap().send("app@example.com", to, &message(subject)).unwrap()
}

fn started(script: Script, more: &str) -> (NextHop, RelayProcess) {
    let hop = NextHop::start(script);
    let mut relay = RelayProcess::new(&config(hop.address(), more));
    relay.start();
    (hop, relay)
}

fn subjects(messages: &[Received]) -> Vec<String> {
    let taken = messages.iter().filter(|received| received.taken);
    let subject = |octets: &[u8]| String::from_utf8_lossy(octets).lines().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned));
    taken.filter_map(|received| subject(&received.octets)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_250_means_that_the_next_hop_has_the_sealed_message_with_its_envelope_as_it_was() {
    let (hop, mut relay) = started(Script::modern(), "");
    let reply = send(&relay, &["a@one.example", "b@two.example"], "through");
    assert!(reply.starts_with("250 2.0.0 "), "{reply}");
    let messages = hop.messages(); // it is there already: nothing is waited for
    assert_eq!(subjects(&messages), ["through"]);
    assert!(messages[0].mail.starts_with("MAIL FROM:<app@example.com>"), "{}", messages[0].mail);
    assert_eq!(messages[0].rcpts.len(), 2, "{:?}", messages[0].rcpts);
    let text = String::from_utf8_lossy(&messages[0].octets).into_owned();
    assert!(text.contains("DKIM-Signature: ") && text.contains("d=example.com;"), "{text}");
    let passed = relay.wait_for("mail.passed");
    assert_eq!((passed["recipients"].as_u64(), passed["route"].as_str()), (Some(2), Some("central")), "{passed}");
    let (code, log) = relay.stop();
    assert_eq!(code, Some(0));
    assert!(!log.iter().any(|event| event["event"] == "mail.accepted"), "nothing was spooled: {log:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_used_again() {
    let (hop, relay) = started(Script::modern(), "");
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    for number in 0..5 {
        assert!(client.send("app@example.com", &["a@one.example"], &message(&format!("n{number}"))).unwrap().starts_with("250"));
    }
    let carrying: Vec<usize> = hop.sessions().iter().map(|session| session.transactions.len()).filter(|count| *count > 0).collect();
    assert_eq!(carrying, [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_hears_the_next_hops_own_words() {
    for (at, said, told) in [
        (At::Message, "550 5.7.1 we do not like it", "550 5.7.1 127.0.0.1 said: 550 5.7.1 we do not like it"),
        (At::Message, "452 4.3.1 disk full", "452 4.3.1 127.0.0.1 said: 452 4.3.1 disk full"),
        (At::Message, "421 4.3.2 going down", "451 4.3.2 127.0.0.1 said: 421 4.3.2 going down"),
        (At::Mail, "550 5.7.1 not you", "550 5.7.1 127.0.0.1 said: 550 5.7.1 not you"),
        (At::Mail, "530 5.7.0 who are you", "451 4.3.5 127.0.0.1 said: 530 5.7.0 who are you"),
        (At::Greeting, "554 5.7.1 blocked", "451 4.7.1 127.0.0.1 said: 554 5.7.1 blocked"),
    ] {
        let (hop, relay) = started(Script::modern().when(at, [Say(said)]), "");
        assert_eq!(send(&relay, &["a@one.example"], "refused"), told);
        assert_eq!(subjects(&hop.messages()), [""; 0]);
        let refused = relay.wait_for("mail.refused");
        assert_eq!(refused["reply"], told);
    }
}

/// One reply answers for all recipients: so nobody gets what somebody was refused.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_recipient_is_named_and_nobody_gets_the_message() {
    for script in [Script::modern(), Script::offering(["PIPELINING"]), Script::offering([])] {
        let capabilities = script.capabilities.clone();
        let script = script.when(At::Rcpt(Some("b@two.example".to_owned())), [Say("550 5.1.1 no such user")]);
        let (hop, relay) = started(script, "");
        let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
        let reply = client.send("app@example.com", &["a@one.example", "b@two.example", "c@three.example"], &message("all or none")).unwrap();
        assert_eq!(reply, "550 5.1.1 b@two.example was refused, so it was sent to nobody: 127.0.0.1 said: 550 5.1.1 no such user");
        let without = client.send("app@example.com", &["a@one.example", "c@three.example"], &message("without")).unwrap();
        assert!(without.starts_with("250 "), "{without}");
        assert_eq!(subjects(&hop.messages()), ["without"], "{capabilities:?}");
        let empty = hop.messages().iter().filter(|received| received.complete && received.octets.is_empty()).count();
        assert_eq!(empty, 0, "an empty message was sent");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn more_recipients_than_the_next_hop_takes_are_for_the_clients_next_transaction() {
    let (hop, relay) = started(Script::modern(), "recipients_per_transaction_max = 2");
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    client.command("MAIL FROM:<app@example.com>").unwrap();
    for (to, code) in [("a@x.example", "250"), ("b@x.example", "250"), ("c@x.example", "452 4.5.3")] {
        let reply = client.command(&format!("RCPT TO:<{to}>")).unwrap();
        assert!(reply.starts_with(code), "{to}: {reply}");
    }
    client.command("DATA").unwrap();
    client.write(&message("two")).unwrap();
    assert!(client.command(".").unwrap().starts_with("250"));
    assert_eq!(hop.messages()[0].rcpts.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_next_hop_the_client_keeps_its_message() {
    let nobody = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let mut relay = RelayProcess::new(&config(nobody, ""));
    relay.start();
    let reply = send(&relay, &["a@one.example"], "kept by its client");
    assert!(reply.starts_with("451 4.4.1 127.0.0.1: "), "{reply}");
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_before_the_end_is_harmless_and_after_it_is_told_as_doubtful() {
    let broken = Script::modern().when(At::Message, [Close]);
    let (hop, relay) = started(broken, "");
    let reply = send(&relay, &["a@one.example"], "doubtful");
    assert!(reply.starts_with("451 4.4.2 ") && reply.ends_with("; it may have arrived"), "{reply}");
    let failed = relay.wait_for("passage.failed");
    assert_eq!((failed["unknown_end"].as_bool(), failed["level"].as_str()), (Some(true), Some("warn")), "{failed}");
    assert_eq!(hop.messages().len(), 1, "and it was not sent again behind the client's back");

    let early = Script::modern().when(At::Rcpt(None), [Close]);
    let (_hop, relay) = started(early, "");
    let reply = send(&relay, &["a@one.example"], "harmless");
    assert!(reply.starts_with("451 4.4.") && !reply.contains("may have arrived"), "{reply}");
    assert_ne!(relay.wait_for("passage.failed")["unknown_end"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_longer_than_the_time_out() {
    let (_hop, relay) = started(Script::modern().when(At::Message, [Wait(Duration::from_mins(10))]), "\n[through]\ntimeout = \"2s\"");
    let began = Instant::now();
    let reply = send(&relay, &["a@one.example"], "slow");
    assert!(reply.starts_with("451 4.4.2 ") && reply.ends_with("it may have arrived"), "{reply}");
    assert!(began.elapsed() >= Duration::from_millis(1900) && began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

    // With too little time left for an answer, the message is not sent at all.
    let (hop, relay) = started(Script::modern().when(At::Mail, [Wait(Duration::from_millis(1700)), Say("250 2.1.0 ok")]), "\n[through]\ntimeout = \"2s\"");
    let reply = send(&relay, &["a@one.example"], "late");
    assert!(reply.starts_with("451 4.") && !reply.contains("may have arrived"), "{reply}");
    assert_eq!(subjects(&hop.messages()), [""; 0]);
}

/// So many clients at a time, and what each was told.
fn crowd(relay: &RelayProcess, clients: usize) -> Vec<String> {
    let clients: Vec<_> = (0..clients)
        .map(|number| {
            let address = relay.address("submission");
            std::thread::spawn(move || {
                SmtpClient::connect(&address).unwrap().send("app@example.com", &["a@one.example"], &message(&format!("n{number}"))).unwrap()
            })
        })
        .collect();
    clients.into_iter().map(|client| client.join().unwrap()).collect()
}

fn slow() -> Script {
    Script::modern().when(At::Message, [Wait(Duration::from_millis(1500)), Say("250 2.0.0 taken")])
}

#[tokio::test(flavor = "multi_thread")]
async fn as_many_connections_are_opened_as_the_next_hop_may_have() {
    for (most, more) in [(8, ""), (5, "connections_max = 5")] {
        let (hop, relay) = started(slow(), more);
        let replies = crowd(&relay, 8);
        assert!(replies.iter().all(|reply| reply.starts_with("250")), "{replies:?}");
        let carrying = hop.sessions().iter().filter(|session| !session.transactions.is_empty()).count();
        assert!((4..=most).contains(&carrying), "{carrying} of {most}");
    }
}

/// Its own bound is lower than what it may have by ours: whoever is greeted with 421 waits for a connection that carries mail.
#[tokio::test(flavor = "multi_thread")]
async fn a_next_hop_that_takes_fewer_connections_is_given_fewer() {
    let (hop, relay) = started(slow().sessions_max(3), "");
    let replies = crowd(&relay, 9);
    assert!(replies.iter().all(|reply| reply.starts_with("250")), "{replies:?}");
    assert_eq!(subjects(&hop.messages()).len(), 9);
    assert_eq!(relay.wait_for("provider.slowed")["provider"].as_str(), Some("central"));
    let greeted = hop.sessions().len();
    let replies = crowd(&relay, 9);
    assert!(replies.iter().all(|reply| reply.starts_with("250")), "{replies:?}");
    assert!(hop.sessions().len() - greeted < greeted, "it was asked as often as before: {} after {greeted}", hop.sessions().len());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_connection_takes_nothing_from_the_rate() {
    let slow = Script::modern().when(At::Message, [Wait(Duration::from_millis(1200)), Say("250 2.0.0 taken")]);
    let (_hop, relay) = started(slow, "connections_max = 1\nmessages_per_second_max = 1");
    let began = Instant::now();
    let replies = crowd(&relay, 6);
    assert!(replies.iter().all(|reply| reply.starts_with("250")), "{replies:?}");
    // The connection is slower than the rate, and never waits for it.
    assert!(began.elapsed() < Duration::from_millis(11_500), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_under_way_are_bounded_and_wait_their_turn() {
    let slow = Script::modern().when(At::Message, [Wait(Duration::from_millis(300)), Say("250 2.0.0 taken")]);
    let (hop, relay) = started(slow, "\n[through]\ntransactions_max = 2");
    let address = relay.address("submission");
    let clients: Vec<_> = (0..6)
        .map(|number| {
            let address = address.clone();
            std::thread::spawn(move || {
                SmtpClient::connect(&address).unwrap().send("app@example.com", &["a@one.example"], &message(&format!("n{number}"))).unwrap()
            })
        })
        .collect();
    let replies: Vec<String> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    assert!(replies.iter().all(|reply| reply.starts_with("250")), "{replies:?}");
    assert_eq!(hop.messages().len(), 6);
    assert!(hop.sessions().iter().filter(|session| !session.transactions.is_empty()).count() <= 2, "more than two were under way");

    let (hop, relay) = started(Script::modern().when(At::Message, [Wait(Duration::from_mins(1))]), "\n[through]\ntransactions_max = 1\ntimeout = \"5s\"");
    let address = relay.address("submission");
    let first = std::thread::spawn(move || SmtpClient::connect(&address).unwrap().send("app@example.com", &["a@one.example"], &message("first")).unwrap());
    hop.until(|sessions| sessions.iter().any(|session| session.transactions.iter().any(|transaction| transaction.complete))).await;
    let mut relay = relay;
    let began = Instant::now();
    let second = send(&relay, &["a@one.example"], "second");
    assert!(second.starts_with("451 4."), "{second}");
    assert!(began.elapsed() < Duration::from_secs(20));
    assert!(first.join().unwrap().starts_with("451 4.4.2"));
    relay.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_waits_for_the_answer_that_a_client_waits_for() {
    let slow = Script::modern().when(At::Message, [Wait(Duration::from_secs(1)), Say("250 2.0.0 taken")]);
    let (hop, mut relay) = started(slow, "");
    let address = relay.address("submission");
    let client = std::thread::spawn(move || SmtpClient::connect(&address).unwrap().send("app@example.com", &["a@one.example"], &message("last")).unwrap());
    hop.until(|sessions| sessions.iter().any(|session| session.transactions.iter().any(|transaction| transaction.complete))).await;
    assert_eq!(relay.stop().0, Some(0));
    assert!(client.join().unwrap().starts_with("250"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_is_gone_when_its_mail_went_through_is_told_of() {
    let slow = Script::modern().when(At::Message, [Wait(Duration::from_mins(1)), Say("250 2.0.0 taken")]);
    let hop = NextHop::start(slow);
    let mut relay = RelayProcess::new(&config(hop.address(), "").replace("[server]", "[server]\ndrain = \"500ms\""));
    relay.start();
    let address = relay.address("submission");
    let client = std::thread::spawn(move || SmtpClient::connect(&address).unwrap().send("app@example.com", &["a@one.example"], &message("gone")));
    hop.until(|sessions| sessions.iter().any(|session| session.transactions.iter().any(|transaction| transaction.complete))).await;
    relay.signal("TERM"); // the dialogue ends after half a second, the next hop answers after a minute
    let told = client.join().unwrap();
    assert!(told.as_ref().is_err() || told.as_ref().is_ok_and(|reply| reply.starts_with("421")), "{told:?}");
    drop(relay);
}

/// The sidecar's usual surroundings: a root that nobody may write, a volume that does not last, no secret of bounce tokens.
#[tokio::test(flavor = "multi_thread")]
async fn no_disk_is_needed() {
    let hop = NextHop::start(Script::modern());
    let mut relay =
        RelayProcess::new(&config(hop.address(), "\n[spool]\ndirectory = \"/proc/no/such/place\"").replace("[spool]\n        mode = \"through\"", ""));
    let text = std::fs::read_to_string(relay.config()).unwrap().replace("directory =", "mode = \"through\"\ndirectory =");
    std::fs::write(relay.config(), text).unwrap();
    std::fs::remove_dir_all(relay.path().join("keys/token")).unwrap(); // `key create` made it
    relay.start();
    assert!(send(&relay, &["a@one.example"], "diskless").starts_with("250"));
    assert!(!relay.path().join("keys/token").exists(), "a secret was made that nobody needs");
    assert_eq!(relay.stop().0, Some(0));
    assert_eq!(subjects(&hop.messages()), ["diskless"]);
}

fn config(hop: SocketAddr, more: &str) -> String {
    format!(
        r#"
        [server]
        hostname = "sidecar.example.com"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [routes]
        default = "central"
        [spool]
        mode = "through"
        [smart_hosts.central]
        host = "{}"
        port = {}
        tls = "opportunistic"
        reverse_path = "keep"
        {more}
        "#,
        hop.ip(),
        hop.port()
    )
}
