//! Addresses that are not written to any more: the real program, from the failure that says so to the mail that is not sent.

use crate::support::http;
use crate::support::next_hop::{At, NextHop, Received, Rule, Say, Script};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use postseal::mail::EnhancedCode;
use postseal::mail::dsn::{Action, Report};
use serde_json::{Value, json};
use std::process::Output;
use std::time::Duration;

const GONE: &str = "550 5.1.1 no such user here";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_is_unknown_is_not_written_to_again() {
    let hop = NextHop::start(Script::modern().rule(Rule::at(At::rcpt("gone@example.net")).times(1).then([Say(GONE)])));
    let relay = started(&hop, "");
    submit(&relay, "<app@example.com>", &["<gone@example.net>", "<here@example.net>"], &message("first"));
    until(|| events(&relay, "suppression.added").len() == 1 && notices(&hop).len() == 1).await;
    let added = &events(&relay, "suppression.added")[0];
    assert_eq!(
        (added["recipient"].as_str(), added["scope"].as_str(), added["reason"].as_str()),
        (Some("gone@example.net"), Some("example.com"), Some("user-unknown"))
    );

    // The next submission: accepted, one recipient settled as failed with a notice, the other delivered.
    let tracked = format!("X-Postseal-Track-Id: order-7\r\n{}", message("second"));
    submit(&relay, "<app@example.com> ENVID=x1", &["<Gone@example.net> ORCPT=rfc822;was@example.org", "<here@example.net>"], &tracked);
    until(|| notices(&hop).len() == 2 && submissions(&hop).len() == 2).await;
    let rcpts: Vec<_> = submissions(&hop).into_iter().map(|taken| taken.rcpts).collect();
    assert_eq!(rcpts, [["RCPT TO:<here@example.net>"], ["RCPT TO:<here@example.net>"]]);
    let notice = notices(&hop).remove(1);
    assert_eq!(notice.rcpts, ["RCPT TO:<app@example.com>"]);
    let told = Report::parse(&notice.octets).unwrap();
    assert_eq!(told.envid.as_deref(), Some("x1"));
    let [of_gone] = &told.recipients[..] else { panic!("{told:?}") };
    assert_eq!((of_gone.last.text.as_str(), of_gone.action, of_gone.status), ("Gone@example.net", Action::Failed, Some(EnhancedCode::new(5, 1, 1))));
    assert_eq!(of_gone.original.as_ref().map(|original| original.text.as_str()), Some("was@example.org"));
    let words = &of_gone.diagnostic.as_ref().unwrap().text;
    let today = &postseal::clock::now().to_rfc3339()[..10];
    for expected in [
        "suppression list of example.com",
        &format!("since {today}"),
        "user-unknown",
        "postseal suppression remove gone@example.net --scope example.com",
        "no such user here",
    ] {
        assert!(words.contains(expected), "{expected}: {words}");
    }
    until(|| !events(&relay, "mail.suppressed").is_empty()).await;
    let [line] = &events(&relay, "mail.suppressed")[..] else { panic!() };
    assert_eq!((line["recipient"].as_str(), line["track_id"].as_str()), (Some("Gone@example.net"), Some("order-7")));
    let [event] = &api_events(&relay, "mail.suppressed")[..] else { panic!() };
    let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(
        [text("recipient"), text("reason"), text("scope"), text("track_id"), text("status")],
        ["Gone@example.net", "user-unknown", "example.com", "order-7", "5.1.1"]
    );
    assert!(text("since").starts_with(today), "{event}");

    // The address works again: a person lifts it, and mail goes there.
    assert_eq!(said(&relay, &["remove", "GONE@example.net", "--scope", "example.com"]).lines().last(), Some("1 address is taken off the list"));
    submit(&relay, "<app@example.com>", &["<gone@example.net>"], &message("third"));
    until(|| submissions(&hop).iter().any(|taken| taken.rcpts == ["RCPT TO:<gone@example.net>"])).await;
    assert!(failed(&relay, &["remove", "gone@example.net"]).contains("gone@example.net is not on the list"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_says_nothing_of_the_address_puts_nobody_on_the_list() {
    let script = Script::modern()
        .when(At::rcpt("policy@example.net"), [Say("550 5.7.1 not from you")])
        .when(At::rcpt("listed@example.net"), [Say("554 5.7.1 your address is on a blocklist")])
        .when(At::rcpt("later@example.net"), [Say("450 4.1.1 unknown for the moment")])
        .when(At::rcpt("odd@example.net"), [Say("550 go away")])
        // After the final dot, for two at once; then alone: the second is taken.
        .rule(Rule::at(At::Message).in_session(0).in_transaction(1).then([Say("550 5.1.1 one of them is unknown")]));
    let hop = NextHop::start(script);
    let relay = started(&hop, "");
    submit(&relay, "<app@example.com>", &["<warm@example.net>"], &message("warm"));
    until(|| submissions(&hop).len() == 1).await;
    submit(&relay, "<app@example.com>", &["<a@example.net>", "<b@example.net>"], &message("two"));
    until(|| submissions(&hop).len() == 3).await;
    for to in ["policy", "listed", "later", "odd"] {
        submit(&relay, "<app@example.com>", &[&format!("<{to}@example.net>")], &message(to));
    }
    until(|| events(&relay, "attempt.failed").len() == 3 && events(&relay, "attempt.deferred").len() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(events(&relay, "suppression.added"), Vec::<Value>::new());
    assert_eq!(lines(&relay, &["list"]), Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_refused_for_its_only_recipient_puts_him_there() {
    let hop = NextHop::start(Script::modern().rule(Rule::at(At::Message).times(1).then([Say("550 5.1.1 no such user, I looked after the dot")])));
    let relay = started(&hop, "");
    submit(&relay, "<app@example.com>", &["<late@example.net>"], &message("alone"));
    until(|| events(&relay, "suppression.added").len() == 1).await;
    // A null sender hears nothing, and the address is spared all the same.
    submit(&relay, "<>", &["<late@example.net>"], &message("null"));
    submit(&relay, "<app@example.com>", &["<late@example.net> NOTIFY=NEVER"], &message("never"));
    until(|| events(&relay, "mail.suppressed").len() == 2).await;
    until(|| {
        let status: Value = serde_json::from_str(&http::get(&relay.admin(), "/api/v1/status").body).unwrap();
        status["spool"]["mails"] == 0 && notices(&hop).len() == 1
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!((notices(&hop).len(), submissions(&hop).len()), (1, 0), "the notice of the failure alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_identity_may_have_them_refused_where_that_is_certain() {
    let hop = NextHop::start(Script::modern());
    let relay = started(&hop, "suppressed = \"refuse\"\nstreams = [\"news\"]\n[streams.news]\nretry = [\"1h\"]");
    said(&relay, &["add", "gone@example.net", "--scope", "example.com", "--reason", "user-unknown", "--until", "lasting"]);
    said(&relay, &["add", "tired@example.net", "--scope", "example.com/news", "--note", "asked on the phone"]);
    tokio::task::block_in_place(|| {
        let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
        assert!(client.command("MAIL FROM:<app@example.com>").unwrap().starts_with("250"));
        let reply = client.command("RCPT TO:<Gone@example.net>").unwrap();
        let today = &postseal::clock::now().to_rfc3339()[..10];
        assert!(
            reply.starts_with("550 5.1.1 <gone@example.net> is on the suppression list of example.com since ")
                && reply.contains(today)
                && reply.contains("user-unknown"),
            "{reply}"
        );
        // In one stream of two: not known before the message.
        assert!(client.command("RCPT TO:<tired@example.net>").unwrap().starts_with("250"));
        assert!(client.command("RCPT TO:<here@example.net>").unwrap().starts_with("250"));
        assert!(client.command("DATA").unwrap().starts_with("354"));
        client.write(&format!("X-Postseal-Stream: news\r\n{}", message("news"))).unwrap();
        assert!(client.command(".").unwrap().starts_with("250"));
    });
    until(|| notices(&hop).len() == 1 && submissions(&hop).len() == 1).await;
    let told = Report::parse(&notices(&hop)[0].octets).unwrap();
    assert_eq!((told.recipients[0].last.text.as_str(), told.recipients[0].status), ("tired@example.net", Some(EnhancedCode::new(5, 7, 1))));
    assert!(told.recipients[0].diagnostic.as_ref().unwrap().text.contains("asked on the phone"), "{told:?}");
    until(|| events(&relay, "recipient.refused").len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_goes_out_and_comes_in_again_and_its_faults_are_named() {
    let hop = NextHop::start(Script::modern());
    let relay = started(&hop, "");
    let rows: String = (0..2500).map(|number| format!("n{number}@example.net,user-unknown\r\n")).collect();
    let file = relay.path().join("list.csv");
    std::fs::write(&file, format!("Email,Reason\r\n{rows}")).unwrap();
    let list = file.to_str().unwrap();
    assert!(failed(&relay, &["import", list]).contains("scope is missing; expected a column scope, or --scope"));
    assert_eq!(said(&relay, &["import", list, "--scope", "example.com", "--dry-run"]), "2,500 addresses would be sent, 0 faulty lines left out\n");
    assert_eq!(lines(&relay, &["list"]).len(), 0, "a dry run sends nothing");
    assert_eq!(said(&relay, &["import", list, "--scope", "example.com"]), "2,500 addresses added, 0 renewed, 0 were there and stay as they are\n");
    assert_eq!(lines(&relay, &["list", "--limit", "0"]).len(), 2500);
    assert_eq!(lines(&relay, &["list", "--recipient", "N7@example.net"])[0]["reason"], "user-unknown");
    assert!(said(&relay, &["list", "--limit", "5"]).contains("there may be more: --after "));
    said(&relay, &["add", "\"a, b\"@example.org", "--scope", "example.org/news", "--note", "said \"no\""]);

    for (format, name) in [("csv", "out.csv"), ("ndjson", "out.ndjson")] {
        let exported = said(&relay, &["export", "--format", format]);
        std::fs::write(relay.path().join(name), &exported).unwrap();
        assert!(failed(&relay, &["remove", "--all"]).contains("2,501 addresses would be removed; there is no terminal to ask"));
        assert!(said(&relay, &["remove", "--all", "--yes"]).ends_with("2,501 addresses are taken off the list\n"));
        assert_eq!(lines(&relay, &["list"]).len(), 0);
        assert!(said(&relay, &["import", name]).starts_with("2,501 addresses added, 0 renewed"));
        assert_eq!(said(&relay, &["export", "--format", format]), exported, "{format}");
    }
    std::fs::write(&file, "recipient,scope,since\na@example.net,example.com,\nnobody,example.com,\nb@example.net,exa mple,\nc@example.net,example.com,now\n")
        .unwrap();
    let told = failed(&relay, &["import", list]);
    for words in [
        "list.csv:3: \"nobody\" is not an address",
        "list.csv:4: \"exa mple\" is no scope",
        "list.csv:5: since is \"now\"",
        "3 of 4 lines are faulty; nothing was sent",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
    assert_eq!(lines(&relay, &["list", "--recipient", "a@example.net"]).len(), 0);
    assert!(said(&relay, &["import", list, "--skip-faulty"]).starts_with("1 address added"));
    assert!(failed(&relay, &["add", "nobody", "--scope", "example.com"]).contains("\"nobody\" is not an address"));
    assert!(failed(&relay, &["remove"]).contains("nothing was selected; name addresses or filters, or say --all"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_api_says_what_it_expects() {
    let hop = NextHop::start(Script::modern());
    let relay = started(&hop, "");
    let admin = relay.admin();
    let post = |path: &str, body: Value| http::post(&admin, &format!("/api/v1/suppressions{path}"), &body.to_string());
    let good = json!({ "scope": "example.com", "recipient": "a@example.net" });
    for (path, body, status, words) in [
        ("", json!({}), 422, "missing field"),
        ("", json!({ "entries": [] }), 400, "0 entries"),
        ("", json!({ "entries": vec![good.clone(); 1001] }), 400, "1001 entries"),
        ("", json!({ "entries": [good, { "scope": "x y", "recipient": "a@b.example" }, { "scope": "example.com" }] }), 422, "entry 2: recipient is missing"),
        ("/lift", json!({ "entries": [{ "scope": "example.com" }] }), 422, "missing field"),
    ] {
        let answer = post(path, body);
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.body.contains(words), "{words}: {}", answer.body);
    }
    for (query, words) in
        [("reason=bad", "is no reason"), ("recipient=nobody", "is not an address"), ("after=%21", "the cursor names no place"), ("colour=red", "unknown field")]
    {
        let answer = http::get(&admin, &format!("/api/v1/suppressions?{query}"));
        assert!(answer.status == 400 && answer.body.contains(words), "{words}: {}", answer.body);
    }
    let empty: Value = serde_json::from_str(&http::get(&admin, "/api/v1/suppressions").body).unwrap();
    assert_eq!(empty, json!({ "items": [], "next": null, "damaged": [], "entries": 0, "entries_max": 1_000_000 }), "nothing of a faulty page was taken");
}

fn started(hop: &NextHop, identity: &str) -> RelayProcess {
    let config = format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [domains."example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "opportunistic"
        connections_max = 1
        [deliver]
        retry = ["1h"]
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        {identity}
        "#,
        hop.address().ip(),
        hop.address().port()
    );
    tokio::task::block_in_place(|| {
        let mut relay = RelayProcess::new(&config);
        relay.start();
        relay
    })
}

fn submit(relay: &RelayProcess, from: &str, to: &[&str], message: &str) {
    tokio::task::block_in_place(|| {
        let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
        let commands = std::iter::once(format!("MAIL FROM:{from}")).chain(to.iter().map(|to| format!("RCPT TO:{to}")));
        for command in commands {
            let reply = client.command(&command).unwrap();
            assert!(reply.starts_with("250"), "{command}: {reply}");
        }
        assert!(client.command("DATA").unwrap().starts_with("354"));
        client.write(message).unwrap();
        let reply = client.command(".").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    });
}

fn suppression(relay: &RelayProcess, arguments: &[&str]) -> Output {
    tokio::task::block_in_place(|| {
        let url = format!("http://{}", relay.admin());
        relay.postseal(&[&["suppression"], arguments, &["--url", &url]].concat())
    })
}

/// What a command that succeeds prints.
fn said(relay: &RelayProcess, arguments: &[&str]) -> String {
    let output = suppression(relay, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that fails says of it.
fn failed(relay: &RelayProcess, arguments: &[&str]) -> String {
    let output = suppression(relay, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8(output.stderr).unwrap()
}

fn lines(relay: &RelayProcess, arguments: &[&str]) -> Vec<Value> {
    said(relay, &[arguments, &["--json"]].concat()).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn events(relay: &RelayProcess, event: &str) -> Vec<Value> {
    relay.log().into_iter().filter(|line| line["event"] == event).collect()
}

fn api_events(relay: &RelayProcess, kind: &str) -> Vec<Value> {
    let page: Value = serde_json::from_str(&http::get(&relay.admin(), &format!("/api/v1/events?kind={kind}")).body).unwrap();
    page["items"].as_array().unwrap().clone()
}

fn submissions(hop: &NextHop) -> Vec<Received> {
    hop.messages().into_iter().filter(|received| received.taken && !is_notice(received)).collect()
}

fn notices(hop: &NextHop) -> Vec<Received> {
    hop.messages().into_iter().filter(|received| received.taken && is_notice(received)).collect()
}

/// To the application. The mail of a null sender is none.
fn is_notice(received: &Received) -> bool {
    received.mail.starts_with("MAIL FROM:<>") && received.rcpts == ["RCPT TO:<app@example.com>"]
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
