//! From a running relay's backup to a relay that runs on it: held, told loudly, let go by one command.

use crate::support::next_hop::{At, NextHop, Received, Say, Script};
use crate::support::ports::free_port;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Output;

fn subjects(messages: &[Received]) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for received in messages.iter().filter(|received| received.taken) {
        let text = String::from_utf8_lossy(&received.octets).into_owned();
        *found.entry(text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap_or_default().to_owned()).or_default() += 1;
    }
    found
}

fn told(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn send(relay: &RelayProcess, to: &str, subject: &str) {
    let reply = SmtpClient::connect(&relay.address("submission")).unwrap().send("app@example.com", &[to], &message(subject)).unwrap();
    assert!(reply.starts_with("250"), "{reply}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_after_the_backup_is_not_sent_again_until_a_person_says_so() {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let busy = NextHop::start_at(address, Script::modern().when(At::Mail, [Say("451 4.3.0 not now")]));
    let mut relay = RelayProcess::new(&config(address));
    let configured = relay.config().display().to_string();
    relay.start();
    for number in 0..3 {
        send(&relay, "you@example.net", &format!("old-{number}"));
    }
    relay.wait_until("attempt.deferred", |_| relay.log().iter().filter(|event| event["event"] == "attempt.deferred").count() >= 3);
    let made = relay.postseal(&["spool", "backup", "backup", "--config", &configured]);
    assert!(made.status.success() && told(&made).contains("3 mails for 3 recipients"), "{}", told(&made));

    // After the backup all of it is delivered.
    drop(busy);
    while std::net::TcpStream::connect(address).is_ok() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await; // its listener closes in its own time
    }
    let hop = NextHop::start_at(address, Script::modern());
    relay.stop();
    relay.start();
    hop.until(|sessions| sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken).count() == 3).await;
    relay.stop();

    // The disk is lost; the backup is all there is.
    let refused = relay.postseal(&["spool", "restore", "backup", "--config", &configured]);
    assert!(!refused.status.success() && told(&refused).contains("is not empty"), "{}", told(&refused));
    std::fs::rename(relay.path().join("spool"), relay.path().join("lost")).unwrap();
    let restored = relay.postseal(&["spool", "restore", "backup", "--config", &configured]);
    assert!(restored.status.success() && told(&restored).contains("mail for 3 recipients is held"), "{}", told(&restored));
    relay.start();
    assert_eq!(relay.wait_for("spool.held")["recipients"], 3);
    send(&relay, "you@example.net", "new");
    hop.until(|sessions| sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken).count() == 4).await;
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // what reqwest wants of whoever uses it
    let admin = format!("http://{}", relay.admin());
    let status: serde_json::Value = reqwest::get(format!("{admin}/api/v1/status")).await.unwrap().json().await.unwrap();
    assert!(status["held"].as_str().unwrap().starts_with("mail for 3 recipients is held since the spool was restored at 20"), "{status}");
    assert_eq!(status["ready"], true, "new mail is taken: {status}");
    let once = |hop: &NextHop| subjects(&hop.messages()).into_values().all(|count| count == 1);
    assert!(once(&hop), "{:?}", subjects(&hop.messages()));

    // A person says so.
    let released = relay.postseal(&["spool", "release", "--url", &admin]);
    assert!(released.status.success() && told(&released).contains("mail for 3 recipients is due"), "{}", told(&released));
    let status: serde_json::Value = reqwest::get(format!("{admin}/api/v1/status")).await.unwrap().json().await.unwrap();
    assert_eq!(status["held"], serde_json::Value::Null);
    hop.until(|sessions| sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken).count() == 7).await;
    relay.stop();
    relay.start();
    assert!(!relay.log().iter().any(|event| event["event"] == "spool.held"), "it was let go");
    let again = relay.postseal(&["spool", "check", "lost"]);
    assert!(again.status.success(), "{}", told(&again));
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_stands_still_lets_go_too() {
    let hop = NextHop::start(Script::modern().when(At::Mail, [Say("451 4.3.0 not now")]));
    let mut relay = RelayProcess::new(&config(hop.address()));
    let configured = relay.config().display().to_string();
    relay.start();
    send(&relay, "you@example.net", "one");
    relay.wait_for("attempt.deferred");
    relay.kill(); // with a log that nobody has folded in
    let made = relay.postseal(&["spool", "backup", "backup", "--config", &configured]);
    assert!(told(&made).contains("1 mails for 1 recipients"), "{}", told(&made));
    std::fs::remove_dir_all(relay.path().join("spool")).unwrap();
    assert!(relay.postseal(&["spool", "restore", "backup", "--config", &configured]).status.success());
    let released = relay.postseal(&["spool", "release", "--config", &configured]);
    assert!(told(&released).contains("mail for 1 recipients is due"), "{}", told(&released));
    let nothing = relay.postseal(&["spool", "release", "--config", &configured]);
    assert!(nothing.status.success() && told(&nothing).contains("nothing was held"), "{}", told(&nothing));
    relay.start();
    relay.wait_for("attempt.deferred");
    assert_eq!(relay.stop().0, Some(0));
}

fn config(hop: SocketAddr) -> String {
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
        [domains."example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "opportunistic"
        [deliver]
        retry = ["1s"]
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        "#,
        hop.ip(),
        hop.port()
    )
}
