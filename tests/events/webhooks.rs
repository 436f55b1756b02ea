//! Webhooks of a real relay, and a receiver that does as it is told: signed, in order, again until they are taken, and never in the way.

use super::{config, send};
use crate::support::next_hop::{NextHop, Script};
use crate::support::receiver::{Got, Receiver, Reply};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const SECRET: &str = "whsec_ZXhhbXBsZSBvbmx5OiBtYWtlIHlvdXIgb3du";
const OLD_SECRET: &str = "whsec_dGhlIG9uZSBvZiBsYXN0IHllYXIsIGdvb2QgYnll";

fn hook(receiver: &Receiver, more: &str) -> String {
    format!(
        r#"
        [webhooks.crm]
        url = "{}"
        secret = "{SECRET}"
        kinds = []
        retry_min = "10ms"
        retry_max = "50ms"
        {more}
        "#,
        receiver.url()
    )
}

fn ids(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["id"].as_str().unwrap().split_once('-').unwrap().0.parse().unwrap()).collect()
}

fn delivered(got: &[Got]) -> usize {
    got.iter().filter(|got| got.taken).flat_map(Got::events).filter(|event| event["type"] == "mail.delivered").count()
}

/// Whether one of the signatures was made with this secret: HMAC-SHA-256 (RFC 2104) written out, apart from the relay's own.
fn is_signed_by(got: &Got, secret: &str) -> bool {
    use aws_lc_rs::digest::{SHA256, digest};
    let mut key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
    key.resize(64, 0);
    let padded = |pad: u8| key.iter().map(|octet| octet ^ pad).collect::<Vec<u8>>();
    let content = format!("{}.{}.{}", got.headers["webhook-id"], got.headers["webhook-timestamp"], got.body);
    let inner = digest(&SHA256, &[padded(0x36), content.into_bytes()].concat());
    let outer = digest(&SHA256, &[padded(0x5c), inner.as_ref().to_vec()].concat());
    let expected = format!("v1,{}", BASE64_STANDARD.encode(outer));
    got.headers["webhook-signature"].split(' ').any(|signature| signature == expected)
}

#[tokio::test(flavor = "multi_thread")]
async fn events_come_signed_over_tls_whose_certificate_is_proven() {
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::tls());
    let config = config(&hop, &hook(&receiver, &format!("previous_secret = \"{OLD_SECRET}\"")));
    let mut relay = RelayProcess::new(&format!("{config}\n[deliver.tls]\nca_file = \"receiver.pem\"\n"));
    std::fs::write(relay.path().join("receiver.pem"), receiver.certificate()).unwrap();
    relay.start();
    send(&relay, "you@example.net", "order-1");
    let got = receiver.until(|got| delivered(got) == 1).await;
    for one in &got {
        assert_eq!((one.line.as_str(), one.headers["content-type"].as_str()), ("POST /hook", "application/json"));
        assert!(one.headers["user-agent"].starts_with("postseal/"));
        assert!(is_signed_by(one, SECRET) && is_signed_by(one, OLD_SECRET) && !is_signed_by(one, "whsec_AAAA"), "{one:?}");
    }
    let events: Vec<Value> = got.iter().flat_map(Got::events).collect();
    assert_eq!(events.iter().map(|event| event["type"].as_str().unwrap()).collect::<Vec<_>>(), ["mail.accepted", "mail.delivered"]);
    assert!(events.iter().all(|event| event["track_id"] == "order-1" && event["recipient"] == "you@example.net"), "{events:?}");
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_nobody_vouches_for_gets_nothing() {
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::tls());
    let mut relay = RelayProcess::new(&config(&hop, &hook(&receiver, "")));
    relay.start();
    send(&relay, "you@example.net", "order-1");
    let failed = relay.wait_for("webhook.failed");
    assert!(failed["error"].as_str().unwrap().contains("certificate"), "{failed}");
    assert_eq!(receiver.got().len(), 0);
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_taken_comes_again_as_it_was_and_in_order() {
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::start());
    let refusals = [Reply::Status(500, ""), Reply::Close, Reply::Status(302, "Location: http://127.0.0.1:1/\r\n"), Reply::Status(400, ""), Reply::Flood];
    receiver.then(refusals.clone());
    let mut relay = RelayProcess::new(&config(&hop, &hook(&receiver, "batch_max = 3")));
    relay.start();
    for number in 0..10 {
        send(&relay, "you@example.net", &format!("order-{number}"));
    }
    let got = receiver.until(|got| delivered(got) == 10).await;
    let (refused, taken) = got.split_at(refusals.len());
    for again in &refused[1..] {
        assert_eq!((&again.headers["webhook-id"], &again.body), (&refused[0].headers["webhook-id"], &refused[0].body));
        assert!(is_signed_by(again, SECRET));
    }
    assert_eq!((&taken[0].headers["webhook-id"], &taken[0].body), (&refused[0].headers["webhook-id"], &refused[0].body));
    let events: Vec<Value> = taken.iter().flat_map(Got::events).collect();
    assert_eq!(ids(&events), (1..=20).collect::<Vec<_>>(), "each once, in order");
    assert!(taken.iter().all(|got| got.events().len() <= 3));
    relay.wait_for("webhook.recovered");
    let log = relay.log();
    let told = |name: &str| log.iter().filter(|event| event["event"] == name).cloned().collect::<Vec<_>>();
    assert_eq!(told("webhook.failed").len(), 1, "the first failure, not each");
    assert_eq!(told("webhook.failed")[0]["webhook"], "crm");
    assert_eq!(told("webhook.recovered")[0]["attempts"], refusals.len() + 1);
    assert_eq!(relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_says_when_it_can_be_asked_again() {
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::start());
    receiver.then([Reply::Status(503, "Retry-After: 1\r\n")]);
    let mut relay = RelayProcess::new(&config(&hop, &hook(&receiver, "")));
    relay.start();
    let began = Instant::now();
    send(&relay, "you@example.net", "order-1");
    receiver.until(|got| got.len() > 1).await;
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    relay.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_left_alone_until_a_reload() {
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::start());
    receiver.then([Reply::Status(410, "")]);
    let mut relay = RelayProcess::new(&config(&hop, &hook(&receiver, "")));
    relay.start();
    send(&relay, "you@example.net", "order-1");
    relay.wait_for("webhook.stopped");
    relay.wait_for("attempt.delivered");
    assert_eq!(receiver.got().len(), 1);
    page_says(&relay, |page| page.contains("Webhook crm does not answer") && page.contains("it wants no more")).await;
    relay.signal("HUP");
    receiver.until(|got| delivered(got) == 1).await;
    page_says(&relay, |page| !page.contains("Webhook crm")).await;
    relay.stop();
}

/// Waits until the page of what needs a person is so; it is gathered anew every few seconds.
async fn page_says(relay: &RelayProcess, such: impl Fn(&str) -> bool) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default(); // what reqwest wants of whoever uses it
    let (url, began) = (format!("http://{}/attention", relay.admin()), Instant::now());
    loop {
        let page = reqwest::get(&url).await.unwrap().text().await.unwrap();
        if such(&page) {
            return;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{page}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_gets_what_it_asks_for_and_no_notices_of_ours() {
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::start());
    let only = hook(&receiver, "").replace("kinds = []", "kinds = [\"mail.accepted\"]");
    let mut relay = RelayProcess::new(&config(&hop, &only));
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    client.command("MAIL FROM:<app@example.com>").unwrap();
    client.command("RCPT TO:<you@example.net> NOTIFY=SUCCESS").unwrap();
    client.command("DATA").unwrap();
    client.write(&format!("{}.\r\n", message("one"))).unwrap();
    assert!(client.reply().unwrap().starts_with("250 "));
    relay.wait_for("notice.made");
    send(&relay, "you@example.net", "last");
    let got = receiver.until(|got| got.iter().flat_map(Got::events).any(|event| event["track_id"] == "last")).await;
    let events: Vec<Value> = got.iter().flat_map(Got::events).collect();
    assert!(events.iter().all(|event| event["type"] == "mail.accepted" && event["class"].is_null()), "{events:?}");
    assert_eq!(events.len(), 2);
    relay.stop();
}

/// The receiver never answers; everything else goes on as if it were not there.
#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_no_mail_and_no_drain() {
    const MAILS: usize = 50;
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::start());
    receiver.otherwise(Reply::Hang);
    let mut relay = RelayProcess::new(&config(&hop, &hook(&receiver, "timeout = \"10m\"")));
    relay.start();
    send(&relay, "you@example.net", "first");
    receiver.until(|got| got.len() == 1).await;
    for number in 0..MAILS {
        send(&relay, "you@example.net", &format!("order-{number}"));
    }
    hop.until(|sessions| sessions.iter().flat_map(|session| &session.transactions).count() == MAILS + 1).await;
    assert_eq!(receiver.got().len(), 1, "one request at a time");
    let asked = Instant::now();
    assert_eq!(relay.stop().0, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(40), "{:?}", asked.elapsed());
}

/// Killed again and again in the middle: every event is taken at least once, first takings in order, and a mail's end is told once it is
/// in the spool.
#[tokio::test(flavor = "multi_thread")]
async fn no_event_is_lost_by_kill_9() {
    const ROUNDS: usize = 5;
    const MAILS: usize = 20;
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::start());
    let mut relay = RelayProcess::new(&config(&hop, &hook(&receiver, "batch_max = 4")));
    let mut sent = BTreeSet::new();
    for round in 0..ROUNDS {
        relay.start();
        for number in 0..MAILS {
            let track_id = format!("{round}-{number}");
            send(&relay, "you@example.net", &track_id);
            sent.insert(track_id);
            if number == MAILS / 2 {
                receiver.then([Reply::Close, Reply::Status(500, "")]);
            }
        }
        relay.kill();
    }
    relay.start();
    let all_told = |got: &[Got]| {
        let events: Vec<Value> = got.iter().filter(|got| got.taken).flat_map(Got::events).collect();
        let of = |kind: &str| -> BTreeSet<String> {
            events.iter().filter(|event| event["type"] == kind).map(|event| event["track_id"].as_str().unwrap().to_owned()).collect()
        };
        of("mail.accepted") == sent && of("mail.delivered") == sent
    };
    let got = receiver.until(all_told).await;
    let mut first = BTreeMap::new();
    for (place, event) in got.iter().filter(|got| got.taken).flat_map(Got::events).enumerate() {
        let number: u64 = ids(std::slice::from_ref(&event))[0];
        let known = first.entry(number).or_insert((place, event.clone()));
        assert_eq!(known.1, event, "an id stands for one event");
    }
    let places: Vec<usize> = first.values().map(|(place, _)| *place).collect();
    assert!(places.is_sorted(), "in order: {places:?}");
    assert_eq!(first.keys().copied().collect::<Vec<_>>(), (1..=first.len() as u64).collect::<Vec<_>>(), "none is missing");
    let ends = first.values().filter(|(_, event)| event["type"] == "mail.delivered").count();
    assert_eq!(ends, sent.len(), "one end for each mail");
    relay.stop();
}

/// As many events as are kept wait for a receiver: nothing is lost. One step further, what was erased is counted and said as an error.
#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_that_overflows_says_how_much_is_lost() {
    const EVENTS_MAX: usize = 1000;
    let (hop, receiver) = (NextHop::start(Script::modern()), Receiver::start());
    receiver.otherwise(Reply::Status(500, ""));
    let kept = format!("[events]\nevents_max = {EVENTS_MAX}\n{}", hook(&receiver, ""));
    let mut relay = RelayProcess::new(&config(&hop, &kept));
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    let recipients: Vec<String> = (0..100).map(|number| format!("r{number}@example.net")).collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let delivered = |relay: &RelayProcess| relay.log().iter().filter(|event| event["event"] == "attempt.delivered").count();
    let send_to_all = |client: &mut SmtpClient, relay: &RelayProcess, so_far: usize| {
        assert!(client.send("app@example.com", &recipients, &message("many")).unwrap().starts_with("250 "));
        let began = Instant::now();
        while delivered(relay) < so_far {
            assert!(began.elapsed() < Duration::from_mins(1), "{} of {so_far}", delivered(relay));
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    // Five mails to a hundred: an event for each acceptance and each delivery.
    for mail in 1..=5 {
        send_to_all(&mut client, &relay, mail * 100);
    }
    receiver.until(|got| got.len() > 2).await;
    assert!(!relay.log().iter().any(|event| event["event"] == "webhook.overflowed"), "as many as are kept");
    send_to_all(&mut client, &relay, 600);
    let lost = relay.wait_for("webhook.overflowed");
    assert_eq!((&lost["level"], &lost["webhook"]), (&Value::from("error"), &Value::from("crm")));
    receiver.otherwise(Reply::Status(204, ""));
    let got = receiver.until(|got| got.iter().filter(|got| got.taken).flat_map(Got::events).any(|event| ids(&[event])[0] == 1200)).await;
    let told = got.iter().filter(|got| got.taken).flat_map(Got::events).count();
    let counted = || relay.log().iter().filter(|event| event["event"] == "webhook.overflowed").map(|event| event["events"].as_u64().unwrap()).sum::<u64>();
    relay.wait_until("webhook.overflowed", |_| told as u64 + counted() >= 1200);
    let counted = counted();
    assert_eq!(told as u64 + counted, 1200, "told or counted as lost, each of them");
    assert!((200..=200 + 64).contains(&counted), "{counted}");
    relay.stop();
}
