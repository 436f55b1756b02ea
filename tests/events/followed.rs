//! The journal over the API and by `postseal events`: found, filtered, followed through restarts, without gap or repetition.

use super::{config, send};
use crate::support::http::{self, get};
use crate::support::next_hop::{At, NextHop, Say, Script};
use crate::support::relay_process::RelayProcess;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

fn hop() -> NextHop {
    let gone = At::Rcpt(Some("gone@example.net".to_owned()));
    NextHop::start(Script::modern().when(gone, [Say("550 5.1.1 no such user here")]))
}

/// A relay to which two mails were given, one of which bounced; both are settled.
fn two_mails() -> (NextHop, RelayProcess) {
    let hop = hop();
    let mut relay = RelayProcess::new(&config(&hop, ""));
    relay.start();
    send(&relay, "you@example.net", "order-1");
    // The first mail's end is to stand before whatever the second tells.
    let admin = relay.admin();
    let began = Instant::now();
    while get(&admin, "/api/v1/events?kind=mail.delivered").json()["items"] == Value::Array(vec![]) {
        assert!(began.elapsed() < Duration::from_mins(1), "the first mail is not delivered: {:#?}", relay.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    send(&relay, "gone@example.net", "order-2");
    relay.wait_for("mail.bounced");
    (hop, relay)
}

fn kinds(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_journal_is_read_page_by_page_and_every_event_names_the_mail_as_the_application_does() {
    let (_hop, mut relay) = two_mails();
    let admin = relay.admin();
    let all = get(&admin, "/api/v1/events?track_id=order-2").json();
    assert_eq!(kinds(&all), ["mail.accepted", "mail.bounced"]);
    let bounced = &all["items"][1];
    for (name, value) in [
        ("track_id", "order-2"),
        ("recipient", "gone@example.net"),
        ("reason", "user-unknown"),
        ("status", "5.1.1"),
        ("reply", "550 5.1.1 no such user here"),
        ("author_domain", "example.com"),
        ("identity", "app"),
        ("when", "delivery"),
        ("stream", "default"),
    ] {
        assert_eq!(bounced[name], value, "{name} in {bounced}");
    }
    assert!(bounced["permanent"] == true && bounced["attempts"] == 1 && bounced["message_id"].as_str().is_some_and(|id| id.starts_with('<')), "{bounced}");

    let first = get(&admin, "/api/v1/events?limit=2").json();
    let next = first["next"].as_str().unwrap();
    let rest = get(&admin, &format!("/api/v1/events?after={next}")).json();
    assert_eq!(kinds(&first)[..], ["mail.accepted", "mail.delivered"]);
    // The notice to the submitter is a mail of its own.
    assert_eq!(&kinds(&rest)[..2], ["mail.accepted", "mail.bounced"]);
    assert!(rest["items"][2]["class"] == "notice" && rest["next"].is_null(), "{rest}");

    let last_id = bounced["id"].as_str().unwrap();
    assert_eq!(get(&admin, &format!("/api/v1/events?since={last_id}&kind=mail.bounced")).json()["items"], Value::Array(vec![]), "not printed again");
    let time = bounced["time"].as_str().unwrap();
    assert_eq!(kinds(&get(&admin, &format!("/api/v1/events?since={time}&recipient=gone@example.net")).json()), ["mail.bounced"]);
    let mail = bounced["mail_id"].as_str().unwrap();
    assert_eq!(kinds(&get(&admin, &format!("/api/v1/mails/{mail}/events")).json()), ["mail.accepted", "mail.bounced"]);
    let found = get(&admin, "/api/v1/mails?recipient=GONE@example.net").json();
    assert_eq!((kinds(&found), &found["items"][0]["mail_id"]), (vec!["mail.bounced"], &bounced["mail_id"]));
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_questions_are_told_what_was_expected() {
    let hop = hop();
    let mut relay = RelayProcess::new(&config(&hop, ""));
    relay.start();
    let admin = relay.admin();
    for (query, status, told) in [
        ("/events?since=yesterday", 404, "since is \"yesterday\""),
        ("/events?since=12-3", 404, "the id of an event, as in"),
        ("/events?kind=mail.lost", 404, "expected one of mail.accepted, mail.deferred"),
        ("/events?mail=1", 404, "expected ten characters"),
        ("/events?recipient=nobody", 404, "expected user@example.com"),
        ("/events?limit=0", 400, "1 to 1000"),
        ("/events?limit=1001", 400, "1 to 1000"),
        ("/events?colour=red", 400, "colour"),
        ("/events/follow?limit=5", 400, "since"),
        ("/mails", 400, "recipient"),
        ("/mails/0000000001/events", 404, "nothing is known of a mail 0000000001"),
    ] {
        let answer = get(&admin, &format!("/api/v1{query}"));
        assert!(answer.status == status && answer.body.contains(&told.replace('"', "\\\"")), "{query}: {} {}", answer.status, answer.body);
    }
    for (arguments, told) in [
        (&["--since", "yesterday"][..], "expected how long ago, as in 15m, 1h or 2d"),
        (&["--kind", "mail.lost"], "expected one of mail.accepted"),
        (&["--mail", "1"], "expected ten characters"),
    ] {
        let output = relay.postseal(&[&["events", "--config", &relay.config().display().to_string()], arguments].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(told), "{arguments:?}: {error}");
    }
    relay.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_printed_like_the_log_or_as_the_api_gives_them() {
    let (_hop, mut relay) = two_mails();
    let run = |arguments: &[&str]| {
        let output = relay.postseal(&[&["events", "--config", &relay.config().display().to_string()], arguments].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let text = run(&["--kind", "mail.bounced"]);
    let (time, rest) = text.split_once(' ').unwrap();
    assert!(time.len() == 24 && rest.starts_with("info  mail.bounced         mail_id="), "{text}");
    assert!(text.contains(" recipient=gone@example.net ") && text.contains(" track_id=order-2 ") && text.contains(" reason=user-unknown "), "{text}");
    assert!(text.contains("reply=\"550 5.1.1 no such user here\"") && text.ends_with('\n') && text.lines().count() == 1, "{text}");
    let json = run(&["--json", "--recipient", "you@example.net"]);
    let events: Vec<Value> = json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(events.iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>(), ["mail.accepted", "mail.delivered"]);
    assert!(json.starts_with("{\"id\":\"1-"), "{json}");
    assert_eq!(run(&["--since", "2100-01-01T00:00:00Z"]), "");
    relay.stop();
}

/// `postseal events --follow --json`, and what it has said.
struct Followed {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Followed {
    fn begin(relay: &RelayProcess, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
        command.args(["events", "--follow", "--json", "--config"]).arg(relay.config()).args(arguments);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (output, said) = (BufReader::new(child.stdout.take().unwrap()), lines.clone());
        std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| said.lock().unwrap().push(line)));
        Self { child, lines }
    }

    fn until(&self, count: usize) -> Vec<Value> {
        let started = Instant::now();
        loop {
            let lines = self.lines.lock().unwrap().clone();
            if lines.len() >= count {
                return lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
            }
            assert!(started.elapsed() < Duration::from_mins(1), "{count} expected: {lines:#?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_follows_misses_nothing_and_hears_nothing_twice_when_the_relay_comes_back() {
    const ROUNDS: usize = 3;
    let hop = hop();
    let mut relay = RelayProcess::new(&config(&hop, ""));
    relay.start();
    // From the beginning, so that it does not matter when the process comes to ask.
    let followed = Followed::begin(&relay, &["--since", "0", "--kind", "mail.accepted,mail.delivered"]);
    for round in 1..=ROUNDS {
        send(&relay, "you@example.net", &format!("{round}-a"));
        send(&relay, "me@example.net", &format!("{round}-b"));
        if round == 1 {
            followed.until(1); // it is connected when the relay goes
        }
        if round == 2 {
            relay.kill();
        } else {
            assert_eq!(relay.stop().0, Some(0));
        }
        relay.start();
    }
    let events = followed.until(4 * ROUNDS);
    let numbers: Vec<u64> = events.iter().map(|event| event["id"].as_str().unwrap().split_once('-').unwrap().0.parse().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "in order, none twice: {numbers:?}");
    let journal = get(&relay.admin(), "/api/v1/events?kind=mail.accepted,mail.delivered").json();
    assert_eq!(journal["items"].as_array().unwrap(), &events, "all that is in the journal");
    for round in 1..=ROUNDS {
        for mail in ["a", "b"] {
            let of = events.iter().filter(|event| event["track_id"] == format!("{round}-{mail}"));
            assert_eq!(of.map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>(), ["mail.accepted", "mail.delivered"], "{round}-{mail}");
        }
    }
    relay.stop();
}

/// An answer that goes on, line by line.
fn open(admin: &str, path: &str, more: &str) -> BufReader<std::net::TcpStream> {
    let mut stream = http::connect(admin).unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {admin}\r\n{more}\r\n").as_bytes()).unwrap();
    BufReader::new(stream)
}

fn line_with(reader: &mut impl BufRead, part: &str) -> String {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it ended before {part:?}");
        if line.contains(part) {
            return line.trim_end().to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_follows_by_server_sent_events_from_the_last_one_it_saw() {
    let (_hop, mut relay) = two_mails();
    let admin = relay.admin();
    let mut followed = open(&admin, "/api/v1/events/follow", "Accept: text/event-stream\r\nLast-Event-ID: 1\r\n");
    line_with(&mut followed, "content-type: text/event-stream");
    assert_eq!(line_with(&mut followed, "event:"), "event: heartbeat", "it hears at once that it is heard");
    let id = line_with(&mut followed, "id: 2-");
    let kind = line_with(&mut followed, "event:");
    let data = line_with(&mut followed, "data:");
    let event: Value = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
    let told = ["id", "type", "track_id"].map(|name| event[name].as_str().unwrap());
    assert_eq!([format!("id: {}", told[0]), format!("event: {}", told[1])], [id, kind]);
    // Whether the first mail was delivered before the second was accepted is chance.
    assert!([["mail.delivered", "order-1"], ["mail.accepted", "order-2"]].iter().any(|expected| told[1..] == expected[..]), "{told:?}");
    // A drain is not held up by those who follow, and ends what they read.
    let asked = Instant::now();
    assert_eq!(relay.stop().0, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(40), "{:?}", asked.elapsed());
    std::io::copy(&mut followed, &mut std::io::sink()).unwrap();
}

/// What is told of an event is what its schema says, and the schema knows all of it.
#[tokio::test(flavor = "multi_thread")]
async fn events_are_as_their_schema_says() {
    let (_hop, mut relay) = two_mails();
    let schema = get(&relay.admin(), "/api/v1/events/schema.json").json();
    let known = schema["properties"].as_object().unwrap();
    let page = get(&relay.admin(), "/api/v1/events").json();
    let events = page["items"].as_array().unwrap();
    assert!(events.len() >= 4);
    for event in events {
        for required in schema["required"].as_array().unwrap() {
            assert!(event[required.as_str().unwrap()].is_string(), "{required} in {event}");
        }
        for (name, value) in event.as_object().unwrap() {
            let of = known.get(name).unwrap_or_else(|| panic!("the schema does not know {name}"));
            let is = match of["type"].as_str().unwrap() {
                "string" => value.is_string(),
                "integer" => value.is_u64(),
                "boolean" => value.is_boolean(),
                other => panic!("{other}"),
            };
            assert!(is, "{name} in {event}");
            if let Some(words) = of["enum"].as_array() {
                assert!(words.contains(value), "{name} in {event}");
            }
        }
    }
    let kinds: Vec<_> = postseal::spool::journal::Kind::ALL.iter().map(|kind| Value::from(kind.as_str())).collect();
    assert_eq!(known["type"]["enum"].as_array().unwrap(), &kinds);
    relay.stop();
}
