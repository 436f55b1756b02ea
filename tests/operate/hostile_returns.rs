//! The listener for bounces as those see it who mean no good: made-up and worn-out addresses, notices about strangers, circles, floods, messages
//! built to break readers, and a machine that dies under load.

use crate::support::next_hop::{NextHop, Script};
use crate::support::ports::free_port;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use postseal::clock;
use postseal::mail::{Domain, MailId, Timestamp};
use postseal::readdress::{Ring, TokenContents, TokenSecret};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A relay with token secrets that the test knows, where its mail goes, and where the house reads.
struct House {
    relay: RelayProcess,
    out: NextHop,
    home: NextHop,
}

impl House {
    fn start(settings: &str) -> Self {
        Self::with(|_, home| format!("host = \"127.0.0.1\"\nport = {home}"), "", settings)
    }

    /// `way` gives the lines of the smart host that leads home, from the ports of the submission listener or bounce listener and of the house.
    fn with(way: impl Fn([u16; 2], u16) -> String, more: &str, settings: &str) -> Self {
        let (out, home) = (NextHop::start(Script::modern()), NextHop::start(Script::modern()));
        let ports = [free_port(), free_port()];
        let config = config(&out, ports, &way(ports, home.address().port()), more, settings);
        let mut relay = tokio::task::block_in_place(|| RelayProcess::new(&config));
        let secrets = relay.path().join("keys/token");
        if !secrets.exists() {
            std::fs::create_dir_all(&secrets).unwrap();
            std::fs::set_permissions(&secrets, std::fs::Permissions::from_mode(0o700)).unwrap();
        }
        for entry in std::fs::read_dir(&secrets).unwrap().flatten() {
            std::fs::remove_file(entry.path()).unwrap();
        }
        for (id, _, created) in SECRETS {
            write_secret(&secrets, id, created);
        }
        tokio::task::block_in_place(|| relay.start());
        Self { relay, out, home }
    }

    /// Submits, and gives the bounce address under which it left.
    async fn sent(&self, to: &str, subject: &str) -> String {
        let reply = self.submit(to, subject);
        assert!(reply.starts_with("250 "), "{reply}");
        let left = || self.out.messages().into_iter().find(|received| text(&received.octets).contains(&format!("Subject: {subject}\r\n")));
        until("it left", || left().is_some()).await;
        left().unwrap().mail.split(['<', '>']).nth(1).unwrap().to_owned()
    }

    fn submit(&self, to: &str, subject: &str) -> String {
        let address = self.relay.address("submission");
        // A forwarder's identity adds neither.
        let text = format!("Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{subject}@example.com>\r\n{}", message(subject));
        tokio::task::block_in_place(|| SmtpClient::connect(&address).unwrap().send("app@example.com", &[to], &text).unwrap())
    }

    fn bounces(&self) -> SmtpClient {
        SmtpClient::connect(&self.relay.address("bounces")).unwrap()
    }

    /// The reply that ended a message to the listener for bounces.
    fn bounce(&self, to: &str, message: &str) -> String {
        tokio::task::block_in_place(|| self.bounces().send("", &[to], message).unwrap())
    }

    /// What the house got, and what left for the world.
    fn counts(&self) -> (usize, usize) {
        (self.home.messages().iter().filter(|received| received.taken).count(), self.out.messages().len())
    }

    fn ask(&self, arguments: &[&str]) -> Vec<Value> {
        tokio::task::block_in_place(|| {
            let url = format!("http://{}", self.relay.admin());
            let done = self.relay.postseal(&[arguments, &["--json", "--url", &url]].concat());
            assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
            text(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        })
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        self.ask(&["events", "--since", "1h", "--kind", kind])
    }

    fn held(&self) -> Vec<Value> {
        self.ask(&["queue", "list", "--state", "held"])
    }

    fn suppressed(&self) -> Vec<String> {
        self.ask(&["suppression", "list"]).iter().map(|entry| entry["recipient"].as_str().unwrap().to_owned()).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_address_but_a_true_one_is_taken_and_nothing_leaves_for_the_others() {
    let house = House::start("refused_recipients_max = 1000000");
    let domain = Domain::parse("b.example.com").unwrap();
    let now = clock::now();
    let at = |ids: &[u8], days: i64, domain: &Domain| {
        let moment = Timestamp::from_unix_seconds(now.unix_seconds() + days * 86_400);
        format!("{}@b.example.com", ring(ids).make(&contents(7), domain, moment))
    };
    let good = at(&[2, 1], 0, &domain);
    let local = good.split_once('@').unwrap().0.to_owned();
    let mut cases = vec![
        (good.clone(), "250"),
        (good.to_uppercase(), "250"),
        (at(&[1, 2], 0, &domain), "250"), // by the secret before
        (at(&[2, 1], -29, &domain), "250"),
        (at(&[2, 1], -32, &domain), "550 5.1.1 this bounce address has expired"),
        (at(&[2, 1], -400, &domain), "550 5.1.1 this bounce address has expired"),
        (at(&[2, 1], 1, &domain), "250"), // a relay whose midnight was before ours
        (at(&[2, 1], 2, &domain), UNKNOWN),
        (at(&[2, 1], 100, &domain), UNKNOWN),
        (at(&[3], 0, &domain), UNKNOWN), // a secret of nobody
        (at(&[4], 0, &domain), UNKNOWN), // another's secret under the number of ours
        (at(&[2], 0, &Domain::parse("b.example.org").unwrap()), UNKNOWN),
        (format!("{local}@b.example.org"), UNKNOWN),
        (format!("{local}@example.com"), UNKNOWN),
        (format!("{local}@a.b.example.com"), UNKNOWN),
        (format!("\"{local}\"@b.example.com"), "250"), // the same address (RFC 5321 §4.1.2)
        (format!("{local}+x@b.example.com"), UNKNOWN),
        ("postmaster@b.example.com".to_owned(), "250"),
        ("Abuse@B.Example.Com".to_owned(), "250"),
        ("app@example.com".to_owned(), UNKNOWN),
        ("you@example.net".to_owned(), UNKNOWN),
        ("you%example.net@b.example.com".to_owned(), UNKNOWN),
        ("@relay.example.com:you@example.net".to_owned(), "5"),
    ];
    let alphabet = "abcdefghijklmnopqrstuvwxyz234567";
    for place in 0..local.len() {
        for letter in alphabet.chars().filter(|letter| !local[place..].starts_with(*letter)) {
            cases.push((format!("{}{letter}{}@b.example.com", &local[..place], &local[place + 1..]), UNKNOWN));
        }
    }
    assert_eq!(cases.len(), 23 + 41 * 31);
    let replies = tokio::task::block_in_place(|| {
        let mut client = house.bounces();
        client.command("MAIL FROM:<>").unwrap();
        cases.iter().map(|(to, _)| client.command(&format!("RCPT TO:<{to}>")).unwrap()).collect::<Vec<_>>()
    });
    for ((to, expect), reply) in cases.iter().zip(&replies) {
        assert!(reply.starts_with(expect), "{to}: {reply}, not {expect}");
    }

    // The older secret leaves the ring.
    let old = cases[2].0.clone();
    std::fs::remove_file(house.relay.path().join("keys/token/1.secret")).unwrap();
    house.relay.signal("HUP");
    tokio::task::block_in_place(|| house.relay.wait_for("config.reloaded"));
    assert!(house.bounce(&old, &notice("you@example.net", 1)).starts_with(UNKNOWN));
    assert_eq!(house.counts(), (0, 0), "no backscatter, ever");
    assert!(house.held().is_empty() && house.events("mail.returned").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_replayed_is_taken_within_bounds_of_count_and_size_and_tells_nothing_new() {
    let house = House::start("address_messages_max = 3\naddress_octets_max = \"1 MiB\"");
    let (many, large) = (house.sent("gone@example.net", "many").await, house.sent("full@example.net", "large").await);
    let replies: Vec<String> = (0..5).map(|_| house.bounce(&many, &notice("gone@example.net", 1))).collect();
    assert!(replies[..3].iter().all(|reply| reply.starts_with("250 ")) && replies[3..].iter().all(|reply| reply.starts_with("552 5.2.2 ")), "{replies:?}");
    let big = notice("full@example.net", 1) + &format!("{}\r\n", "x".repeat(70)).repeat(6500);
    let replies: Vec<String> = (0..3).map(|_| house.bounce(&large, &big)).collect();
    assert!(replies[..2].iter().all(|reply| reply.starts_with("250 ")) && replies[2].starts_with("552 5.2.2 "), "{replies:?}");
    assert!(house.bounce(&large, &notice("full@example.net", 1)).starts_with("250 "), "a small one still fits");
    until("they came home", || house.counts().0 == 6).await;
    let told: Vec<Value> = house.events("mail.bounced").iter().map(|event| event["recipient"].clone()).collect();
    assert_eq!((told, house.events("mail.returned").len()), (vec!["gone@example.net".into(), "full@example.net".into()], 6));
    assert_eq!(house.suppressed().len(), 2);
    assert_eq!(house.counts(), (6, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_about_a_stranger_silences_nobody() {
    let house = House::start("");
    let path = house.sent("gone@example.net", "mine").await;
    let victims: Vec<String> = (0..50).map(|number| format!("ceo-{number}@example.net")).collect();
    for stranger in victims.iter().take(5) {
        assert!(house.bounce(&path, &notice(stranger, 1)).starts_with("250 "));
    }
    // Many at a time, in one notice.
    let groups: String = victims
        .iter()
        .map(|victim| format!("\r\nFinal-Recipient: rfc822; {victim}\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 user unknown\r\n"))
        .collect();
    let head = notice("x@example.net", 1);
    let (before, after) = (&head[..head.find("\r\nFinal-Recipient").unwrap()], &head[head.find("--b1\r\nContent-Type: text/rfc822").unwrap()..]);
    assert!(house.bounce(&path, &format!("{before}{groups}{after}")).starts_with("250 "));
    let bounced = house.events("mail.bounced");
    assert!(!bounced.is_empty() && bounced.iter().all(|event| event["proven"] == false), "{bounced:#?}");
    assert!(house.suppressed().is_empty(), "{:?}", house.suppressed());
    // A complaint that nobody signed, about whom it was sent to, and about another.
    for named in ["gone@example.net", "ceo-1@example.net"] {
        let complaint = format!(
            "From: fbl@example.net\r\nSubject: complaint\r\nMIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=f\r\n\r\n\
             --f\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: x/1\r\nVersion: 1\r\nOriginal-Rcpt-To: <{named}>\r\n\r\n--f--\r\n"
        );
        assert!(house.bounce(&path, &complaint).starts_with("250 "));
    }
    let complained = house.events("mail.complained");
    assert!(!complained.is_empty() && complained.iter().all(|event| event["proven"] == false), "{complained:#?}");
    assert!(house.suppressed().is_empty(), "{:?}", house.suppressed());
    // And the true one.
    assert!(house.bounce(&path, &notice("gone@example.net", 1)).starts_with("250 "));
    assert_eq!(house.suppressed(), ["gone@example.net"]);
    assert!(house.submit("ceo-1@example.net", "still").starts_with("250 "));
    until("the stranger's mail left", || house.out.messages().iter().any(|received| text(&received.octets).contains("Subject: still"))).await;
}

/// The way home leads to our own listeners; and each ends where a person sees it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ways_home_that_lead_to_ourselves_end() {
    let home = |port: u16| format!("host = \"127.0.0.1\"\nport = {port}");
    // The submission listener, by a client that may send as nobody in the house: its From is a stranger's.
    let house = House::with(|[submission, _], _| home(submission), "", "");
    ends_in_the_quarantine(&house, "app@example.com").await;
    // The same, by an identity that passes on whatever it is given.
    let forward = "[identities.loop]\nnetworks = [\"127.0.0.0/8\"]\nmode = \"forward\"\nforward_domain = \"example.com\"";
    let house = House::with(|[submission, _], _| home(submission), forward, "");
    let path = house.sent("gone@example.net", "forwarded").await;
    assert!(house.bounce(&path, &notice("gone@example.net", 1)).starts_with("250 "));
    settled(&house).await;
    let (_, out) = house.counts();
    assert!(out <= 2, "once as any mail to that address: {out}");
    // The listener for bounces: nobody there has that name.
    let house = House::with(|[_, bounces], _| home(bounces), "", "");
    ends_in_the_quarantine(&house, "app@example.com").await;
    // The listener for bounces, to an address that it takes, which leads to itself.
    let house = House::with(|[_, bounces], _| home(bounces), "", "postmaster = \"postmaster@b.example.com\"");
    assert!(house.bounce("postmaster@b.example.com", &notice("x@example.net", 1)).starts_with("250 "));
    settled(&house).await;
    let taken = house.relay.log().iter().filter(|line| line["event"] == "return.accepted").count();
    assert_eq!((taken, house.held().len(), house.counts().1), (3, 1, 0), "as often as own_hops_max");
    // Original senders at the bounce domain itself are no way round it.
    let house = House::with(|[_, bounces], _| home(bounces), "", "[returns.senders]\n\".example.com\" = \"abuse@b.example.com\"");
    let path = house.sent("gone@example.net", "stand-in").await;
    assert!(house.bounce(&path, &notice("gone@example.net", 1)).starts_with("250 "));
    settled(&house).await;
    let taken = house.relay.log().iter().filter(|line| line["event"] == "return.accepted").count();
    assert!(taken <= 4 && house.counts().1 == 1, "{taken}");
}

/// A mailbox server that answers whatever it gets, to the bounce address, as a new bounce that hides where it has been.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mailbox_server_that_bounces_what_comes_home_is_heard_a_while() {
    let house = House::start("address_messages_max = 10");
    let path = house.sent("gone@example.net", "echo").await;
    let mut reply = house.bounce(&path, &notice("app@example.com", 0));
    let mut rounds = 0_u64;
    while reply.starts_with("250 ") {
        rounds += 1;
        assert!(rounds <= 10, "it never ends");
        until("it is at home", || house.counts().0 as u64 == rounds).await;
        reply = house.bounce(&path, &notice("app@example.com", rounds));
    }
    assert!(reply.starts_with("552 5.2.2 "), "{reply}");
    settled(&house).await;
    assert_eq!((rounds, house.counts()), (10, (10, 1)), "one for one, and nothing else leaves");
}

async fn ends_in_the_quarantine(house: &House, to: &str) {
    let path = house.sent("gone@example.net", "circle").await;
    assert!(house.bounce(&path, &notice("gone@example.net", 1)).starts_with("250 "));
    settled(house).await;
    let held = house.held();
    assert_eq!(held.iter().map(|held| held["recipient"].as_str().unwrap()).collect::<Vec<_>>(), [to], "{held:#?}");
    assert_eq!(house.counts().1, 1, "nothing but the mail itself left");
    assert!(house.relay.log().iter().all(|line| line["event"] != "notice.made"));
}

/// Nothing is on its way any more: what is in the queue is held.
async fn settled(house: &House) {
    let quiet = || {
        let queue = house.ask(&["queue", "list"]);
        queue.iter().all(|row| row["recipients"] == row["held"])
    };
    let mut since = 0;
    for _ in 0..1200 {
        since = if quiet() { since + 1 } else { 0 };
        if since == 4 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it goes on: {:#?}", house.ask(&["queue", "list"]));
}

/// Messages that are built to cost their reader: each is answered in time and with bounded memory, and others go on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_built_to_break_readers_cost_little_and_hold_up_nobody() {
    let house = House::start("address_messages_max = 1000\naddress_octets_max = \"1 GiB\"");
    let path = house.sent("you@example.net", "victim").await;
    let before = peak_octets(&house.relay);
    let megabyte = "x".repeat(76) + "\r\n";
    let megabyte = megabyte.repeat((1 << 20) / megabyte.len());
    let multipart = |boundary: &str| format!("Content-Type: multipart/report; report-type=delivery-status; boundary=\"{boundary}\"\r\n\r\n");
    let head = "From: MAILER-DAEMON@mx.example.net\r\nSubject: Undelivered Mail Returned to Sender\r\nMIME-Version: 1.0\r\n";
    let deep: String = (0..1000).map(|level| format!("{}--d{level}\r\n", multipart(&format!("d{level}")))).collect();
    let messages_in_messages = "Content-Type: message/rfc822\r\n\r\n".repeat(1000);
    let parts = "--p\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n".repeat(10_000);
    let groups: String =
        (0..100_000).map(|number| format!("Final-Recipient: rfc822; u{number}@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n")).collect();
    let bomb = |encoding: &str, body: &str| format!("{head}Content-Type: text/plain\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{body}");
    let cases = [
        ("a thousand multiparts in each other", format!("{head}{deep}end\r\n")),
        ("a thousand messages in each other", format!("{head}{messages_in_messages}end\r\n")),
        ("ten thousand parts", format!("{head}{}{parts}--p--\r\n", multipart("p"))),
        (
            "a hundred thousand recipients",
            format!("{head}{}--p\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\n{groups}--p--\r\n", multipart("p")),
        ),
        ("ten thousand boundaries", format!("{head}Content-Type: multipart/mixed{}\r\n\r\n--x\r\n", "; boundary=x".repeat(10_000))),
        ("base64 of 30 MB", bomb("base64", &("QUFB".repeat(19) + "\r\n").repeat(380_000))),
        ("quoted-printable of 20 MB", bomb("quoted-printable", &("=41".repeat(24) + "=\r\n").repeat(270_000))),
        ("encoded words of 2 MB", format!("{head}X: {}\r\n\r\nend\r\n", "=?utf-8?B?QUFB?=\r\n ".repeat(100_000))),
        ("a header of 3 MB", format!("{head}{}\r\nend\r\n", format!("X-Filler: {}\r\n", "y".repeat(60)).repeat(42_000))),
        ("a field of 900 KB", format!("{head}X: {}\r\n\r\nend\r\n", "z".repeat(900_000))),
        ("a line of 900 KB", format!("{head}\r\n{}\r\n", "z".repeat(900_000))),
        ("33 MB of text", format!("{head}\r\n{}", megabyte.repeat(33))),
        (
            "a report of a report of 1 MB",
            format!("{head}{}--p\r\nContent-Type: message/rfc822\r\n\r\n{head}{}--q\r\n{megabyte}", multipart("p"), multipart("q")),
        ),
        ("nothing but CR and dots", format!("{head}\r\n{}", "..\r\n".repeat(500_000))),
    ];
    let others = Others::start(&house);
    let mut slow = Vec::new();
    for (name, hostile) in &cases {
        let began = Instant::now();
        let reply = house.bounce(&path, hostile);
        let took = began.elapsed();
        println!("{name}: {} KB, {} ms: {reply}", hostile.len() / 1000, took.as_millis());
        assert!(["250 ", "552 ", "554 ", "550 "].iter().any(|start| reply.starts_with(start)), "{name}: {reply}");
        if took > Duration::from_secs(45) {
            slow.push((*name, took));
        }
    }
    // Above what the listener takes: told before a byte of it where the client says how much, and at its end otherwise.
    let reply = tokio::task::block_in_place(|| house.bounces().command(&format!("MAIL FROM:<> SIZE={}", 50 << 20)).unwrap());
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let reply = house.bounce(&path, &format!("{head}\r\n{}", megabyte.repeat(50)));
    assert!(reply.starts_with("552 5.3.4"), "{reply}");
    let (count, slowest) = others.stop();
    let grown = peak_octets(&house.relay).saturating_sub(before);
    println!("the relay's peak grew by {} MiB; {count} submissions meanwhile, the slowest {} ms", grown >> 20, slowest.as_millis());
    assert!(slow.is_empty(), "{slow:?}");
    assert!(grown < 400 << 20, "{} MiB", grown >> 20);
    assert!(count > 10 && slowest < Duration::from_secs(30), "{count} {slowest:?}");
}

/// Every 250 of a bounce is a promise: it is at home in the end, whatever happened to the relay, and its events tell it once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_kill_loses_a_bounce_that_was_taken() {
    let mut house = House::start("address_messages_max = 100000\nmessages_per_minute = 1000000");
    let mut paths = Vec::new();
    for number in 0..8 {
        paths.push(house.sent(&format!("gone-{number}@example.net"), &format!("mail-{number}")).await);
    }
    let (taken, unsure) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(Mutex::new(BTreeSet::new())));
    let (over, numbers) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let address = house.relay.address("bounces");
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let (address, paths, taken, unsure, over, numbers) = (address.clone(), paths.clone(), taken.clone(), unsure.clone(), over.clone(), numbers.clone());
            std::thread::spawn(move || {
                while !over.load(Ordering::SeqCst) {
                    let Ok(mut client) = SmtpClient::connect(&address) else {
                        std::thread::sleep(Duration::from_millis(5));
                        continue;
                    };
                    while !over.load(Ordering::SeqCst) {
                        let number = numbers.fetch_add(1, Ordering::SeqCst);
                        let path = usize::try_from(number).unwrap() % paths.len();
                        match client.send("", &[&paths[path]], &notice(&format!("gone-{path}@example.net"), number)) {
                            Ok(reply) if reply.starts_with("250 ") => assert!(taken.lock().unwrap().insert(number)),
                            Ok(reply) => assert!(reply.starts_with('4'), "{reply}"),
                            Err(_) => {
                                unsure.lock().unwrap().insert(number);
                                break;
                            }
                        }
                    }
                }
            })
        })
        .collect();
    for _ in 0..KILLS {
        let wanted = taken.lock().unwrap().len() + 60;
        until("some are taken", || taken.lock().unwrap().len() >= wanted).await;
        tokio::task::block_in_place(|| {
            house.relay.kill();
            house.relay.start();
        });
    }
    over.store(true, Ordering::SeqCst);
    tokio::task::block_in_place(|| senders.into_iter().for_each(|sender| sender.join().unwrap()));
    let taken = taken.lock().unwrap().clone();
    let unsure = unsure.lock().unwrap().clone();
    let at_home = || {
        let mut counts = BTreeMap::<u64, usize>::new();
        for received in house.home.messages().iter().filter(|received| received.taken) {
            let text = text(&received.octets);
            let number = text.lines().find_map(|line| line.strip_prefix("X-Number: ")).unwrap().trim().parse().unwrap();
            *counts.entry(number).or_default() += 1;
        }
        counts
    };
    // What was on its way at a kill is tried again when its lease ends.
    let missing = || taken.iter().filter(|number| !at_home().contains_key(number)).count();
    let patience = Instant::now();
    while missing() > 0 {
        assert!(patience.elapsed() < Duration::from_mins(3), "{} of {} never came home", missing(), taken.len());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    settled(&house).await;
    let counts = at_home();
    let again: usize = counts.values().map(|count| count - 1).sum();
    println!("{} taken, {} in doubt, {} at home, {again} of them again, {KILLS} kills", taken.len(), unsure.len(), counts.len());
    assert!(counts.keys().all(|number| taken.contains(number) || unsure.contains(number)), "nothing was made up");
    assert!(again <= KILLS * DELIVERIES_AT_A_TIME, "{again}: only what was on its way at a kill comes again");
    assert_eq!(house.events("mail.bounced").len(), paths.len(), "each failed recipient is told of once");
    assert_eq!(house.events("mail.returned").len(), counts.len(), "and each that came back, once");
    assert_eq!(house.suppressed().len(), paths.len());
}

/// Random recipients at the listener for bounces are refused by two hashes; those who submit hardly notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_random_recipients_does_not_slow_submissions() {
    let house = House::start("refused_recipients_max = 1000000");
    for warm in 0..20 {
        house.submit("you@example.net", &format!("warm-{warm}"));
    }
    // So many a second, or as many as an unoptimised relay can refuse beside other tests.
    let rate: u32 = std::env::var("POSTSEAL_FLOOD").map_or(1_000, |rate| rate.parse().unwrap());
    let submissions = if rate > 1_000 { 1_000 } else { 100 };
    let latencies = |house: &House| -> [Duration; 2] {
        tokio::task::block_in_place(|| {
            let mut client = SmtpClient::connect(&house.relay.address("submission")).unwrap();
            // The flood comes in packets, and is to be met as it is.
            let since = Instant::now();
            let mut took: Vec<Duration> = (0..1_000_000)
                .take_while(|number| *number < submissions || since.elapsed() < Duration::from_secs(2))
                .map(|number| {
                    let began = Instant::now();
                    let reply = client.send("app@example.com", &["you@example.net"], &message(&format!("m-{number}"))).unwrap();
                    assert!(reply.starts_with("250 "), "{reply}");
                    began.elapsed()
                })
                .collect();
            took.sort();
            [took[took.len() / 2], took[took.len() * 99 / 100]]
        })
    };
    let quiet = latencies(&house);
    let flood = Flood::start(&house.relay.address("bounces"), 4, rate);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (asked, began) = (flood.asked.load(Ordering::Relaxed), Instant::now());
    let flooded = latencies(&house);
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap().max(1);
    let reached = (flood.asked.load(Ordering::Relaxed) - asked) * 1000 / elapsed_ms;
    flood.stop();
    println!(
        "submissions, median and 99th percentile: {:?} and {:?} in peace, {:?} and {:?} under {reached} random recipients a second",
        quiet[0], quiet[1], flooded[0], flooded[1]
    );
    assert!(reached > u64::from(rate) / 4, "no flood: {reached} a second");
    assert!(flooded[0] < quiet[0] * 10 + Duration::from_millis(100), "{quiet:?} {flooded:?}");
}

/// Connections that ask for random recipients, a hundred in a packet.
struct Flood {
    over: Arc<AtomicBool>,
    asked: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(address: &str, connections: u32, rate: u32) -> Self {
        let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let pause = Duration::from_secs(1) * PACKET * connections / rate;
        let threads = (0..connections)
            .map(|number| {
                let (address, over, asked) = (address.to_owned(), over.clone(), asked.clone());
                std::thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        let _ = flood(&address, u64::from(number), pause, &over, &asked);
                    }
                })
            })
            .collect();
        Self { over, asked, threads }
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        tokio::task::block_in_place(|| self.threads.into_iter().for_each(|thread| thread.join().unwrap()));
    }
}

/// One connection, until the relay ends it.
fn flood(address: &str, seed: u64, pause: Duration, over: &AtomicBool, asked: &AtomicU64) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    let mut replies = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    replies.read_line(&mut line)?;
    stream.write_all(b"HELO flood.example\r\nMAIL FROM:<>\r\n")?;
    for _ in 0..2 {
        replies.read_line(&mut line)?;
    }
    let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = Instant::now();
    while !over.load(Ordering::Relaxed) {
        let mut packet = String::new();
        for _ in 0..PACKET {
            packet.push_str("RCPT TO:<b");
            for _ in 0..40 {
                chance ^= chance << 13;
                chance ^= chance >> 7;
                chance ^= chance << 17;
                packet.push(char::from(b"abcdefghijklmnopqrstuvwxyz234567"[usize::try_from(chance >> 59).unwrap()]));
            }
            packet.push_str("@b.example.com>\r\n");
        }
        stream.write_all(packet.as_bytes())?;
        for _ in 0..PACKET {
            line.clear();
            if replies.read_line(&mut line)? == 0 || line.starts_with("421") {
                return Ok(());
            }
            assert!(line.starts_with(UNKNOWN), "{line}");
            asked.fetch_add(1, Ordering::Relaxed);
        }
        next = (next + pause).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Somebody who submits all the while.
struct Others {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<(usize, Duration)>,
}

impl Others {
    fn start(house: &House) -> Self {
        let (over, address) = (Arc::new(AtomicBool::new(false)), house.relay.address("submission"));
        let ends = over.clone();
        let thread = std::thread::spawn(move || {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !ends.load(Ordering::SeqCst) {
                let began = Instant::now();
                let reply = SmtpClient::connect(&address).unwrap().send("app@example.com", &["you@example.net"], &message("meanwhile")).unwrap();
                assert!(reply.starts_with("250 "), "{reply}");
                (count, slowest) = (count + 1, slowest.max(began.elapsed()));
                std::thread::sleep(Duration::from_millis(20));
            }
            (count, slowest)
        });
        Self { over, thread }
    }

    /// How many, and how long the slowest took.
    fn stop(self) -> (usize, Duration) {
        self.over.store(true, Ordering::SeqCst);
        self.thread.join().unwrap()
    }
}

/// The most memory that it had at a time.
fn peak_octets(relay: &RelayProcess) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// A delivery status notification (RFC 3464) about one recipient.
fn notice(recipient: &str, number: u64) -> String {
    format!(
        "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\r\nSubject: Undelivered Mail Returned to Sender\r\nX-Number: {number}\r\n\
         Message-ID: <{number}@mx.example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b1\"\r\n\r\n\
         --b1\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n\
         --b1\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: failed\r\nStatus: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 user unknown\r\n\
         --b1\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: the original\r\nMessage-ID: <x@app.example>\r\n--b1--\r\n"
    )
}

/// The relay's secrets: number, octet, day of birth.
const SECRETS: [(u8, u8, &str); 2] = [(1, 0x11, "2026-01-01T00:00:00Z"), (2, 0x22, "2026-06-01T00:00:00Z")];

fn write_secret(folder: &std::path::Path, id: u8, created: &str) {
    let octet = SECRETS.iter().find(|secret| secret.0 == id).unwrap().1;
    let path = folder.join(format!("{id}.secret"));
    std::fs::write(&path, format!("created = \"{created}\"\nsecret = \"{}\"\n", format!("{octet:02x}").repeat(32))).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// The ring of these: 1 and 2 are the relay's, 3 is nobody's, 4 pretends to be 2.
fn ring(ids: &[u8]) -> Ring {
    let secret = |id: &u8| -> (u8, [u8; 32]) { if *id == 4 { (2, [0x44; 32]) } else { (*id, [id * 0x11; 32]) } };
    let secrets: Vec<_> = ids.iter().map(secret).collect();
    let secrets: Vec<_> = secrets.iter().map(|(key_id, octets)| TokenSecret { key_id: *key_id, octets }).collect();
    Ring::new(&secrets, 30).unwrap()
}

fn contents(number: u64) -> TokenContents {
    TokenContents { sender_id: number, message: MailId::from_number(1_000_000 + number), recipient_check: None }
}

fn config(out: &NextHop, [submission, bounces]: [u16; 2], home: &str, more: &str, settings: &str) -> String {
    let identity = if more.contains("[identities.") { "" } else { "[identities.app]\nnetworks = [\"127.0.0.0/8\"]\nauthor_domains = [\".example.com\"]" };
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [listeners.submission]
        address = "127.0.0.1:{submission}"
        tls = "none"
        [listeners.bounces]
        purpose = "bounces"
        address = "127.0.0.1:{bounces}"
        tls = "none"
        {identity}
        [domains."example.com"]
        [routes]
        default = "out"
        [smart_hosts.out]
        host = "127.0.0.1"
        port = {}
        tls = "none"
        [smart_hosts.home]
        tls = "none"
        {home}
        [deliver]
        bdat = false
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        {more}
        [returns]
        route = "home"
        {settings}
        "#,
        out.address().port(),
    )
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// Fails after a minute.
async fn until(what: &str, shows: impl Fn() -> bool) {
    for _ in 0..6000 {
        if shows() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

const UNKNOWN: &str = "550 5.1.1 there is no such address here";
/// Recipients of one packet of a flood.
const PACKET: u32 = 100;
const KILLS: usize = 6;
/// Mails that are on their way at a time, at most.
const DELIVERIES_AT_A_TIME: usize = 64;
