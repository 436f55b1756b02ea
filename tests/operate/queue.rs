//! A person and the queue: the real program with a next hop that defers, asked and ordered about by `postseal queue` and by the API.

use crate::support::http;
use crate::support::next_hop::{At, NextHop, Received, Say, Script};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use postseal::mail::dsn::{Action, Report};
use serde_json::{Value, json};
use std::process::Output;
use std::time::Duration;

const FULL: &str = "452 4.2.2 mailbox full, try tomorrow";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_finds_holds_releases_and_retries_what_a_receiver_defers() {
    let (hop, spare) = (deferring(), NextHop::start(Script::modern()));
    let relay = started(&hop, &spare);
    for to in ["<a@one.example>", "<b@two.example>"] {
        submit(&relay, to, &message("greetings"));
    }
    until(|| events(&relay, "attempt.deferred").len() == 2).await;

    let [sum] = &lines(&relay, &["list"])[..] else { panic!() };
    assert_eq!((sum["key"].as_str(), sum["recipients"].as_u64(), sum["waiting"].as_u64()), (Some("hop"), Some(2), Some(2)), "{sum}");
    let [row] = &lines(&relay, &["list", "--domain", "one.example", "--reason", "mailbox-full", "--provider", "hop", "--status", "4.2"])[..] else { panic!() };
    assert_eq!((row["recipient"].as_str(), row["state"].as_str(), row["attempts"].as_u64()), (Some("a@one.example"), Some("waiting"), Some(1)), "{row}");
    assert_eq!((row["last"]["text"].as_str(), row["last"]["host"].as_str()), (Some(FULL), Some("127.0.0.1")), "{row}");
    assert_eq!(lines(&relay, &["list", "--domain", "one.example", "--reason", "policy"]), Vec::<Value>::new());

    assert_eq!(said(&relay, &["hold", "--domain", "one.example", "--dry-run"]).lines().last(), Some("1 recipient would be held"));
    assert_eq!(lines(&relay, &["list", "--state", "held"]), Vec::<Value>::new(), "a dry run changes nothing");
    assert_eq!(said(&relay, &["hold", "--domain", "one.example"]), "1 recipient is held\n");
    assert_eq!(said(&relay, &["hold", "--domain", "one.example"]), "no recipient is held\n");
    let [held] = &lines(&relay, &["list", "--state", "held"])[..] else { panic!() };
    assert_eq!((held["recipient"].as_str(), held["next_at"].as_str()), (Some("a@one.example"), None));

    // Retried: the one that is not held is tried at once, and deferred again.
    assert_eq!(said(&relay, &["retry", "--all"]), "1 recipient is due now\n");
    until(|| events(&relay, "attempt.deferred").len() == 3).await;
    assert_eq!(events(&relay, "attempt.deferred")[2]["recipient"], "b@two.example");
    assert_eq!(said(&relay, &["release", held["mail_id"].as_str().unwrap()]), "1 recipient is released\n");
    until(|| events(&relay, "attempt.deferred").len() == 4).await;
    assert_eq!(events(&relay, "attempt.deferred")[3]["recipient"], "a@one.example");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancelled_mail_is_told_to_its_submitter_and_remembered() {
    let (hop, spare) = (deferring(), NextHop::start(Script::modern()));
    let relay = started(&hop, &spare);
    submit(&relay, "<a@one.example>", &message("order 7"));
    submit(&relay, "<b@two.example>", &message("order 8"));
    until(|| events(&relay, "attempt.deferred").len() == 2).await;
    let [row] = &lines(&relay, &["list", "--recipient", "a@one.example"])[..] else { panic!() };
    let id = row["mail_id"].as_str().unwrap();

    assert_eq!(said(&relay, &["cancel", id, "--note", "wrong list"]), "1 recipient is cancelled\n");
    let notice = one_notice(&hop).await;
    let told = Report::parse(&notice.octets).unwrap();
    let [who] = &told.recipients[..] else { panic!("{told:?}") };
    assert_eq!((who.last.text.as_str(), who.action), ("a@one.example", Action::Failed));
    assert!(String::from_utf8_lossy(&notice.octets).contains("cancelled by an operator: wrong list"));
    until(|| events(&relay, "mail.cancelled").len() == 1).await;
    let shown: Value = serde_json::from_str(&said(&relay, &["show", id, "--json"])).unwrap();
    let [remembered] = &shown["history"]["recipients"].as_array().unwrap()[..] else { panic!("{shown}") };
    assert_eq!((remembered["outcome"].as_str(), remembered["text"].as_str()), (Some("cancelled"), Some("cancelled by an operator: wrong list")));
    assert!(said(&relay, &["show", id]).contains("cancelled"));

    assert_eq!(said(&relay, &["cancel", "--domain", "two.example", "--silent"]), "1 recipient is cancelled\n");
    // The next hop has the notice of the first a moment before the relay has settled it.
    until(|| said(&relay, &["list"]) == "nothing waits\n").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(notices(&hop).len(), 1, "nobody is told of what was cancelled in silence");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rerouted_mail_goes_by_the_new_route_under_a_seal_for_it() {
    let (hop, spare) = (deferring(), NextHop::start(Script::modern()));
    let relay = started(&hop, &spare);
    submit(&relay, "<a@one.example>", &message("by another way"));
    until(|| events(&relay, "attempt.deferred").len() == 1).await;
    assert!(failed(&relay, &["reroute", "--all", "--to", "nowhere"]).contains("there is no route \"nowhere\"; expected one of mx, hop, spare"));
    assert_eq!(said(&relay, &["reroute", "--domain", "one.example", "--to", "spare"]), "1 recipient is rerouted\n");
    until(|| spare.messages().iter().any(|received| received.taken)).await;
    let arrived = spare.messages().into_iter().find(|received| received.taken).unwrap();
    assert_eq!(arrived.rcpts, ["RCPT TO:<a@one.example>"]);
    let tried = events(&relay, "attempt.deferred");
    assert_eq!(tried[0]["recipient"], "a@one.example");
    // spare rewrites Date, so its seal leaves that unsigned; hop's had it.
    let header = String::from_utf8_lossy(&arrived.octets).split("\r\n\r\n").next().unwrap().replace("\r\n", "");
    let signed =
        header.split("DKIM-Signature:").nth(1).and_then(|field| field.split("h=").nth(1)).and_then(|list| list.split(';').next()).unwrap().to_ascii_lowercase();
    assert!(signed.contains("subject") && !signed.contains("date"), "{signed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_is_shown_and_its_octets_only_when_asked_for() {
    let (hop, spare) = (deferring(), NextHop::start(Script::modern()));
    let relay = started(&hop, &spare);
    submit(&relay, "<a@one.example>", &message("secrets"));
    until(|| events(&relay, "attempt.deferred").len() == 1).await;
    let [row] = &lines(&relay, &["list", "--recipients"])[..] else { panic!() };
    let id = row["mail_id"].as_str().unwrap();
    let shown = said(&relay, &["show", id]);
    for words in
        ["a@one.example", "waits, next attempt in", "mailbox full, try tomorrow", "<app@example.com>", "sealed by", "._domainkey.example.com", "1 attempt"]
    {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    assert!(!shown.contains("Hello, this is"), "{shown}");
    let header = said(&relay, &["show", id, "--headers"]);
    assert!(header.starts_with("DKIM-Signature:") || header.starts_with("ARC-Seal:"), "{header}");
    assert!(header.contains("Subject: secrets") && !header.contains("Hello, this is"), "{header}");
    assert!(said(&relay, &["show", id, "--message"]).contains("Hello, this is"));
    assert!(failed(&relay, &["show", "0000000000"]).contains("there is no mail 0000000000, nor is it remembered"));
    assert!(failed(&relay, &["show", "x"]).contains("\"x\" is not a mail id"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_is_refused_with_what_was_expected() {
    let (hop, spare) = (deferring(), NextHop::start(Script::modern()));
    let relay = started(&hop, &spare);
    for (arguments, words) in [
        (&["hold"][..], "nothing was selected; name mail ids or filters, or say --all"),
        (&["list", "--provider", "nobody"], "there is no provider \"nobody\"; expected one of apple, google, "),
        (&["list", "--reason", "bad-luck"], "reason is \"bad-luck\"; expected one of user-unknown, "),
        (&["list", "--status", "2.0"], "\"2.0\" is no status; expected the beginning"),
        (&["list", "--state", "lost"], "state is \"lost\"; expected one of waiting, leased, held, quarantined"),
        (&["list", "--by", "colour"], "by is \"colour\"; expected one of provider, domain, queue, reason, stream"),
        (&["list", "--sender", "a b"], "sender is \"a b\""),
        (&["list", "--recipients", "--after", "page two"], "after is \"page two\"; expected what the page before gave as next"),
    ] {
        let told = failed(&relay, arguments);
        assert!(told.contains(words), "{arguments:?}: {told}");
    }
    let admin = relay.admin();
    for (path, body, status, words) in [
        ("/hold", json!({}), 400, "nothing was selected"),
        ("/hold", json!({ "selection": { "colour": "red" } }), 400, "there is no filter \\\"colour\\\""),
        ("/hold", json!({ "all": true, "silent": true }), 400, "silent says nothing to hold"),
        ("/cancel", json!({ "all": true, "note": "two\nlines" }), 400, "the note is not one line of text"),
        ("/reroute", json!({ "all": true }), 400, "to is missing"),
        ("/hold", json!({ "all": true, "limit": 501 }), 400, "limit is 501"),
        ("/melt", json!({ "all": true }), 404, "there is no action"),
    ] {
        let answer = http::post(&admin, &format!("/api/v1/queue{path}"), &body.to_string());
        assert_eq!(answer.status, status, "{path} {body}");
        assert!(answer.body.contains(words), "{path} {body}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_goes_page_by_page_and_many_are_asked_about() {
    let (hop, spare) = (deferring(), NextHop::start(Script::modern()));
    let relay = started(&hop, &spare);
    let to: Vec<String> = (0..12).map(|number| format!("<u{number}@one.example>")).collect();
    for to in &to {
        submit(&relay, to, &message("many"));
    }
    until(|| events(&relay, "attempt.deferred").len() == 12).await;
    let admin = relay.admin();
    let (mut after, mut pages) = (Value::Null, Vec::new());
    loop {
        let body = json!({ "selection": { "domain": "one.example" }, "limit": 5, "after": after });
        let page = http::post(&admin, "/api/v1/queue/hold", &body.to_string()).json();
        pages.push(page["done"].as_u64().unwrap());
        after = page["next"].clone();
        if after.is_null() {
            break;
        }
    }
    assert_eq!(pages, [5, 5, 2]);
    assert!(failed(&relay, &["cancel", "--all"]).contains("12 recipients would be cancelled; there is no terminal to ask: --yes does it"));
    assert_eq!(lines(&relay, &["list", "--recipients"]).len(), 12);
    assert_eq!(said(&relay, &["cancel", "--all", "--yes", "--silent"]), "12 recipients are cancelled\n");
    assert_eq!(lines(&relay, &["list", "--recipients"]).len(), 0);
}

fn deferring() -> NextHop {
    let full = (0..12).map(|number| format!("u{number}@one.example")).chain(["a@one.example".into(), "b@two.example".into()]);
    NextHop::start(full.fold(Script::modern(), |script, to| script.when(At::rcpt(&to), [const { Say(FULL) }; 9])))
}

fn started(hop: &NextHop, spare: &NextHop) -> RelayProcess {
    let (ip, port, spare_port) = (hop.address().ip(), hop.address().port(), spare.address().port());
    let config = format!(
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
    host = "{ip}"
    port = {port}
    tls = "opportunistic"
    [smart_hosts.spare]
    host = "{ip}"
    port = {spare_port}
    tls = "opportunistic"
    unsigned_fields = ["Date"]
    [spool]
    reserve_octets = "64 MiB"
    wal_octets_max = "32 MiB"
    "#
    );
    tokio::task::block_in_place(|| {
        let mut relay = RelayProcess::new(&config);
        relay.start();
        relay
    })
}

fn submit(relay: &RelayProcess, to: &str, message: &str) {
    tokio::task::block_in_place(|| {
        let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
        for command in ["MAIL FROM:<app@example.com>".to_owned(), format!("RCPT TO:{to}")] {
            let reply = client.command(&command).unwrap();
            assert!(reply.starts_with("250"), "{command}: {reply}");
        }
        assert!(client.command("DATA").unwrap().starts_with("354"));
        client.write(message).unwrap();
        let reply = client.command(".").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    });
}

fn queue(relay: &RelayProcess, arguments: &[&str]) -> Output {
    tokio::task::block_in_place(|| {
        let url = format!("http://{}", relay.admin());
        relay.postseal(&[&["queue"], arguments, &["--url", &url]].concat())
    })
}

/// What a command that succeeds prints.
fn said(relay: &RelayProcess, arguments: &[&str]) -> String {
    let output = queue(relay, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that fails says of it.
fn failed(relay: &RelayProcess, arguments: &[&str]) -> String {
    let output = queue(relay, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn lines(relay: &RelayProcess, arguments: &[&str]) -> Vec<Value> {
    said(relay, &[arguments, &["--json"]].concat()).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(relay: &RelayProcess, event: &str) -> Vec<Value> {
    relay.log().into_iter().filter(|line| line["event"] == event).collect()
}

fn notices(hop: &NextHop) -> Vec<Received> {
    hop.messages().into_iter().filter(|received| received.taken && received.mail.starts_with("MAIL FROM:<>")).collect()
}

async fn one_notice(hop: &NextHop) -> Received {
    until(|| !notices(hop).is_empty()).await;
    notices(hop).remove(0)
}

/// Fails after a minute.
async fn until(shows: impl Fn() -> bool) {
    for _ in 0..6000 {
        if shows() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}
