//! What comes back goes home: the real program between an application, a next hop, the world that bounces, and the mailboxes of the house.

use crate::support::dns::Dns;
use crate::support::next_hop::{At, NextHop, Received, Say, Script};
use crate::support::ports::free_port;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use postseal::dns::Data;
use postseal::keys::Keyring;
use postseal::mail::Domain;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const KILLS: usize = 5;

/// A relay, where its mail goes, and where the house reads.
struct House {
    relay: RelayProcess,
    out: NextHop,
    home: NextHop,
}

impl House {
    fn with(settings: &str, home: Script) -> Self {
        let (out, home) = (NextHop::start(Script::modern()), NextHop::start(home));
        let relay = tokio::task::block_in_place(|| {
            let mut relay = RelayProcess::new(&config(&out, &home, settings));
            relay.start();
            relay
        });
        Self { relay, out, home }
    }

    fn lmtp() -> Self {
        Self::with("", Script::modern().lmtp())
    }

    fn with_domain(settings: &str, domain: &str) -> Self {
        let (out, home) = (NextHop::start(Script::modern()), NextHop::start(Script::modern().lmtp()));
        let relay = tokio::task::block_in_place(|| {
            let mut relay = RelayProcess::new(&config(&out, &home, settings));
            relay.create_key(domain);
            relay.start();
            relay
        });
        Self { relay, out, home }
    }

    /// Submits a message and gives the bounce address it left with, and its mail id.
    async fn sent(&self, from: &str, to: &[&str], subject: &str) -> (String, String) {
        let (path, id, _) = self.sent_text(from, to, subject, &tracked(subject)).await;
        (path, id)
    }

    /// The same, and the message as it left.
    async fn sent_text(&self, from: &str, to: &[&str], subject: &str, text: &str) -> (String, String, String) {
        let address = self.relay.address("submission");
        let (from, to, text) = (from.to_owned(), to.iter().map(|to| (*to).to_owned()).collect::<Vec<_>>(), text.to_owned());
        let reply = blocking(move || {
            let mut client = SmtpClient::connect(&address).unwrap();
            client.send(&from, &to.iter().map(String::as_str).collect::<Vec<_>>(), &text).unwrap()
        })
        .await;
        let id = reply.trim_end().strip_prefix("250 2.0.0 accepted as ").unwrap_or_else(|| panic!("{reply}")).to_owned();
        let is_it = |received: &Received| String::from_utf8_lossy(&received.octets).contains(&format!("Subject: {subject}\r\n"));
        until(|| self.out.messages().iter().any(is_it)).await;
        let left = self.out.messages().into_iter().find(is_it).unwrap();
        (left.mail.split(['<', '>']).nth(1).unwrap().to_owned(), id, String::from_utf8_lossy(&left.octets).into_owned())
    }

    /// Sends something to the listener for bounces; the reply that ended it.
    async fn comes_back(&self, from: &str, to: &[&str], text: &str) -> String {
        let address = self.relay.address("bounces");
        let (from, to, text) = (from.to_owned(), to.iter().map(|to| (*to).to_owned()).collect::<Vec<_>>(), text.to_owned());
        blocking(move || SmtpClient::connect(&address).unwrap().send(&from, &to.iter().map(String::as_str).collect::<Vec<_>>(), &text).unwrap()).await
    }

    async fn rcpt(&self, to: &str) -> String {
        let (address, to) = (self.relay.address("bounces"), to.to_owned());
        blocking(move || {
            let mut client = SmtpClient::connect(&address).unwrap();
            client.command("MAIL FROM:<>").unwrap();
            client.command(&format!("RCPT TO:<{to}>")).unwrap()
        })
        .await
    }

    /// The mail that came home, the `count`-th from 1.
    async fn at_home(&self, count: usize) -> Received {
        let taken = || self.home.messages().into_iter().filter(|received| received.taken).collect::<Vec<_>>();
        until(|| taken().len() >= count).await;
        assert_eq!(taken().len(), count);
        taken().remove(count - 1)
    }

    fn told(&self, event: &str) -> Vec<Value> {
        self.relay.log().into_iter().filter(|line| line["event"] == event).collect()
    }

    /// `postseal queue list`, as JSON.
    async fn held(&self) -> Vec<Value> {
        let out = self.ask(&["queue", "list", "--state", "held", "--json"]);
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events of a kind, as programs read them.
    async fn events(&self, kind: &str) -> Vec<Value> {
        let out = self.ask(&["events", "--since", "1h", "--json", "--kind", kind]);
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn ask(&self, arguments: &[&str]) -> String {
        tokio::task::block_in_place(|| {
            let url = format!("http://{}", self.relay.admin());
            let arguments = [arguments, &["--url", &url]].concat();
            let done = self.relay.postseal(&arguments);
            assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
            String::from_utf8(done.stdout).unwrap()
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_goes_home_as_it_is_and_names_what_it_is_about() {
    let house = House::lmtp();
    let (path, id) = house.sent("app@example.com", &["gone@example.net"], "order").await;
    let bounce = notice(&path, "gone@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
    assert!(house.comes_back("", &[&path], &bounce).await.starts_with("250 "));
    let home = house.at_home(1).await;
    assert!(home.mail.starts_with("MAIL FROM:<>"), "{}", home.mail);
    assert_eq!(home.rcpts, ["RCPT TO:<app@example.com>"]);
    let text = String::from_utf8(home.octets).unwrap();
    let (trace, below) = cut_trace(&text);
    assert_eq!(below, bounce, "octet for octet");
    assert!(trace.starts_with("Received: from client.test ([127.0.0.1])") && trace.contains("by relay.example.com") && trace.contains(&path), "{trace}");

    let [told] = &house.events("mail.bounced").await[..] else { panic!("{:?}", house.events("mail.bounced").await) };
    for (member, value) in [
        ("mail_id", Value::from(id.as_str())),
        ("recipient", "gone@example.net".into()),
        ("track_id", "order-7".into()),
        ("tag", "receipt".into()),
        ("identity", "app".into()),
        ("author_domain", "example.com".into()),
        ("status", "5.1.1".into()),
        ("reason", "user-unknown".into()),
        ("permanent", true.into()),
        ("proven", true.into()),
        ("when", "returned".into()),
        ("came_back", "bounce".into()),
    ] {
        assert_eq!(told[member], value, "{member} in {told}");
    }
    assert!(told["message_id"].as_str().unwrap().contains("order@app.example"), "{told}");
    assert!(told["class"].is_null(), "{told}");
    assert_eq!(house.events("mail.returned").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notice_that_comes_again_goes_home_again_and_tells_nothing_new() {
    let house = House::with("address_messages_max = 3", Script::modern().lmtp());
    let (path, _) = house.sent("app@example.com", &["gone@example.net"], "again").await;
    let bounce = notice(&path, "gone@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
    for count in 1..=3 {
        assert!(house.comes_back("", &[&path.to_uppercase()], &bounce).await.starts_with("250 "), "any case");
        house.at_home(count).await;
    }
    let reply = house.comes_back("", &[&path], &bounce).await;
    assert!(reply.starts_with("552 5.2.2 "), "{reply}");
    assert_eq!((house.events("mail.bounced").await.len(), house.events("mail.returned").await.len()), (1, 3));
    until(|| house.told("mail.bounced").len() == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_bounce_is_held_and_goes_home_by_a_person_s_word() {
    let house = House::lmtp();
    let (path, _) = house.sent("app@example.com", &["you@example.net"], "letter").await;
    let spam = "From: Sales <sales@example.org>\r\nTo: you\r\nSubject: buy now\r\nMessage-ID: <1@example.org>\r\n\r\nBuy this.\r\n";
    assert!(house.comes_back("sales@example.org", &[&path], spam).await.starts_with("250 "));
    let [held] = &house.held().await[..] else { panic!("{:?}", house.held().await) };
    assert_eq!((held["recipient"].as_str(), held["state"].as_str()), (Some("app@example.com"), Some("held")));
    assert!(held["last"]["text"].as_str().unwrap_or_default().contains("somebody wrote to a bounce address"), "{held}");
    until(|| house.told("return.held").len() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(house.home.messages().len(), 0, "no door past the filters");
    assert_eq!((house.events("mail.returned").await.len(), house.told("return.held").len()), (0, 1));
    house.ask(&["queue", "release", held["mail_id"].as_str().unwrap()]);
    assert_eq!(cut_trace(&String::from_utf8(house.at_home(1).await.octets).unwrap()).1, spam);

    // A person who is away answers by a program.
    let away = "From: You <you@example.net>\r\nTo: app@example.com\r\nSubject: Re: letter\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n";
    assert!(house.comes_back("you@example.net", &[&path], away).await.starts_with("250 "));
    assert_eq!(cut_trace(&String::from_utf8(house.at_home(2).await.octets).unwrap()).1, away);
    let returned = house.events("mail.returned").await;
    assert_eq!((returned[0]["came_back"].as_str(), returned[0]["recipient"].as_str()), (Some("auto-reply"), Some("you@example.net")));
    assert_eq!(house.events("mail.bounced").await.len(), 0, "an automatic reply is no bounce");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_addresses_that_we_made_and_those_of_every_domain_are_taken() {
    let house = House::with("refused_recipients_max = 1000\n[returns.mailboxes]\ndmarc = \"reports@example.com\"", Script::modern());
    let (path, _) = house.sent("app@example.com", &["you@example.net"], "token").await;
    let (local, domain) = path.split_once('@').unwrap();
    let altered = |at: usize| {
        let mut letters: Vec<char> = local.chars().collect();
        letters[at] = if letters[at] == 'a' { 'b' } else { 'a' };
        format!("{}@{domain}", letters.into_iter().collect::<String>())
    };
    for taken in
        [path.clone(), path.to_uppercase(), format!("postmaster@{domain}"), format!("ABUSE@{domain}"), format!("DMARC@{domain}"), "Postmaster".to_owned()]
    {
        assert!(house.rcpt(&taken).await.starts_with("250 "), "{taken}");
    }
    let unknown = "550 5.1.1 there is no such address here";
    for refused in [
        altered(1),
        altered(5),
        altered(20),
        altered(40),
        format!("{local}a@{domain}"),
        format!("{local}@example.com"),
        format!("{local}@other.example"),
        "postmaster@other.example".to_owned(),
        format!("root@{domain}"),
        "app@example.com".to_owned(),
        format!("{local}@[127.0.0.1]"),
    ] {
        assert_eq!(house.rcpt(&refused).await, unknown, "{refused}");
    }
    let report = "From: noreply@example.net\r\nSubject: Report Domain: example.com\r\n\r\nzip\r\n";
    assert!(house.comes_back("noreply@example.net", &[&format!("dmarc@{domain}")], report).await.starts_with("250 "));
    assert_eq!(house.at_home(1).await.rcpts, ["RCPT TO:<reports@example.com>"]);
}

/// Everybody knows the addresses of every domain: what comes to them is bounded by the day and in size, and takes no room from submissions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postmaster_is_written_to_within_bounds() {
    let settings = "mailbox_messages_max = 2\nmailbox_message_octets_max = \"1 MiB\"";
    let house = House::with(settings, Script::modern());
    let (path, _) = house.sent("app@example.com", &["you@example.net"], "token").await;
    let text = "From: you@example.net\r\nSubject: hello\r\n\r\nhello\r\n";
    let large = format!("{text}{}", "0123456789\r\n".repeat(100_000));
    let reply = house.comes_back("you@example.net", &["abuse@b.example.com"], &large).await;
    assert!(reply.starts_with("552 5.3.4 "), "{reply}");
    for expect in ["250 ", "250 ", "452 4.2.2 "] {
        let reply = house.comes_back("you@example.net", &["Postmaster@b.example.com"], text).await;
        assert!(reply.starts_with(expect), "{reply}, not {expect}");
    }
    assert!(house.comes_back("you@example.net", &["abuse@b.example.com"], text).await.starts_with("250 "), "each has its own");
    let bounce = notice(&path, "you@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
    assert!(house.comes_back("", &[&path], &bounce).await.starts_with("250 "), "and so have bounce addresses");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_that_nobody_takes_is_kept_and_answered_to_nobody() {
    let home = Script::modern().lmtp().when(At::rcpt("app@example.com"), [Say("550 5.1.1 no such mailbox")]);
    let house = House::with("", home);
    let (path, _) = house.sent("app@example.com", &["gone@example.net"], "lost").await;
    let bounce = notice(&path, "gone@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
    assert!(house.comes_back("", &[&path], &bounce).await.starts_with("250 "));
    let relay = &house.relay;
    tokio::task::block_in_place(|| relay.wait_for("return.held"));
    let [held] = &house.held().await[..] else { panic!("{:?}", house.held().await) };
    assert!(held["last"]["text"].as_str().unwrap().contains("no such mailbox"), "{held}");
    assert_eq!(house.told("return.held")[0]["level"], "warn");
    assert_eq!((house.told("notice.made").len(), house.out.messages().len()), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senders_on_which_nobody_listens_have_somebody_else_or_events_only() {
    let senders = "[returns.senders]\n\"no-reply@example.com\" = \"events-only\"\n\".batch.example.com\" = \"operators@example.com\"";
    let house = House::with(senders, Script::modern());
    // Each bounce puts its recipient on the suppression list.
    for (sender, gone, home) in
        [("no-reply@example.com", "gone@example.net", None), ("job@batch.example.com", "left@example.net", Some("RCPT TO:<operators@example.com>"))]
    {
        let (path, id) = house.sent(sender, &[gone], sender).await;
        let bounce = notice(&path, gone, "failed", "5.1.1", "550 5.1.1 no such user");
        assert!(house.comes_back("", &[&path], &bounce).await.starts_with("250 "));
        let bounced = house.events("mail.bounced").await;
        assert_eq!(bounced.last().unwrap()["mail_id"], id.as_str());
        match home {
            Some(home) => assert_eq!(house.at_home(1).await.rcpts, [home]),
            None => {
                tokio::time::sleep(Duration::from_millis(300)).await;
                assert_eq!(house.home.messages().len(), 0);
            }
        }
    }
}

/// Whatever its sender made of it: what can be passed on is, and nothing in it ends a message early.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ugly_mail_is_passed_on_and_smuggles_nothing() {
    let house = House::lmtp();
    let (path, _) = house.sent("app@example.com", &["you@example.net"], "ugly").await;
    let head = "From: MAILER-DAEMON@example.net\nSubject: Undelivered mail\nno field at all\nAuto-Submitted: auto-replied\n\n";
    let ugly = format!("{head}{}\n.\nMAIL FROM:<>\n\r.\rä\n..\n\r\n", "long ".repeat(1000));
    let (address, to) = (house.relay.address("bounces"), path.clone());
    let reply = blocking(move || {
        let mut client = SmtpClient::connect(&address).unwrap();
        for line in ["MAIL FROM:<> SMTPUTF8".to_owned(), format!("RCPT TO:<{to}>"), "DATA".to_owned()] {
            client.command(&line).unwrap();
        }
        client.write(&ugly).unwrap();
        client.command(".").unwrap()
    })
    .await;
    assert!(reply.starts_with("250 "), "{reply}");
    let text = String::from_utf8(house.at_home(1).await.octets).unwrap();
    let expect = format!("{}{}\r\n.\r\nMAIL FROM:<>\r\n . ä\r\n.\r\n\r\n", head.replace('\n', "\r\n"), "long ".repeat(1000));
    assert_eq!(cut_trace(&text).1, expect);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_goes_round_is_refused() {
    let house = House::lmtp();
    let (path, _) = house.sent("app@example.com", &["you@example.net"], "round").await;
    let bounce = notice(&path, "you@example.net", "failed", "5.1.1", "550 5.1.1 no");
    let hops = |count: usize, by: &str| format!("Received: from x by {by} with ESMTP id 1;\r\n\tSun, 22 Nov 2026 11:00:00 +0000\r\n").repeat(count) + &bounce;
    for (message, taken) in
        [(hops(2, "relay.example.com"), true), (hops(3, "relay.example.com"), false), (hops(49, "x.example"), true), (hops(50, "x.example"), false)]
    {
        let reply = house.comes_back("", &[&path], &message).await;
        assert_eq!(reply.starts_with("250 "), taken, "{reply}");
        assert!(taken || reply.starts_with("554 5.4.6 "), "{reply}");
    }
}

/// Behind one address may be many clients: those who know a bounce address are heard all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_tries_too_many_addresses_is_heard_only_with_one_that_opens() {
    let house = House::with("refused_recipients_max = 5", Script::modern());
    let (path, _) = house.sent("app@example.com", &["you@example.net"], "token").await;
    let address = house.relay.address("bounces");
    blocking(move || {
        let mut client = SmtpClient::connect(&address).unwrap();
        client.command("MAIL FROM:<>").unwrap();
        for number in 1..=5 {
            let reply = client.command(&format!("RCPT TO:<u{number}@b.example.com>")).unwrap();
            assert!(reply.starts_with(if number < 5 { "550 5.1.1" } else { "421 4.7.0" }), "{number}: {reply}");
        }
        assert!(client.command("NOOP").is_err(), "it is over");
        let mut again = SmtpClient::connect(&address).unwrap();
        assert!(again.command("MAIL FROM:<>").unwrap().starts_with("250 "));
        assert!(again.command(&format!("RCPT TO:<{path}>")).unwrap().starts_with("250 "));
        assert!(again.command("RCPT TO:<postmaster@b.example.com>").unwrap().starts_with("250 "));
        assert!(again.command("RCPT TO:<u6@b.example.com>").unwrap().starts_with("421 4.7.0"));
        assert!(again.command("NOOP").is_err(), "it is over");
    })
    .await;
    let bounce =
        notice(&house.sent("app@example.com", &["gone@example.net"], "second").await.0, "gone@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
    let path = bounce.lines().find_map(|line| line.strip_prefix("To: ")).unwrap().to_owned();
    assert!(house.comes_back("", &[&path], &bounce).await.starts_with("250 "));
}

/// The way home leads back to where things come back, or to where applications submit: it ends, and nothing is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_way_home_that_leads_back_to_us_ends() {
    for listener in ["bounces", "submission"] {
        let (out, spare) = (NextHop::start(Script::modern()), NextHop::start(Script::modern()));
        let port = free_port();
        let ours = config(&out, &spare, "")
            .replace(&format!("port = {}\n        tls = \"none\"", spare.address().port()), &format!("port = {port}\n        tls = \"none\""));
        let named = format!("[listeners.{listener}]");
        let at = ours.find(&named).unwrap();
        let ours = format!("{}{}", &ours[..at], ours[at..].replacen("127.0.0.1:0", &format!("127.0.0.1:{port}"), 1));
        let relay = tokio::task::block_in_place(|| {
            let mut relay = RelayProcess::new(&ours);
            relay.start();
            relay
        });
        let house = House { relay, out, home: spare };
        let (path, _) = house.sent("app@example.com", &["gone@example.net"], "circle").await;
        let bounce = notice(&path, "gone@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
        assert!(house.comes_back("", &[&path], &bounce).await.starts_with("250 "));
        tokio::task::block_in_place(|| house.relay.wait_for("return.held"));
        assert_eq!((house.held().await.len(), house.told("return.accepted").len()), (1, 1), "{listener}");
        assert_eq!(house.out.messages().len(), 1, "{listener}: nothing went out but the mail itself");
    }
}

/// An agent that turns round what it gets: each round adds a field, and the count of them ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_is_a_bounce_address_of_ours_leads_to_its_own_sender_and_no_further() {
    let house = House::lmtp();
    let (first, _) = house.sent("app@example.com", &["a@example.net"], "first").await;
    let (second, _) = house.sent(&first, &["b@example.net"], "second").await;
    let bounce = notice(&second, "b@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
    assert!(house.comes_back("", &[&second], &bounce).await.starts_with("250 "));
    let turned = house.at_home(1).await;
    assert_eq!(turned.rcpts, [format!("RCPT TO:<{first}>")]);
    let again = String::from_utf8(turned.octets).unwrap();
    assert!(house.comes_back("", &[&first], &again).await.starts_with("250 "));
    assert_eq!(house.at_home(2).await.rcpts, ["RCPT TO:<app@example.com>"]);
}

/// One bounce address for all mail of a sender and day: the header that comes back says which mail it was, if it is the sender's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bounce_to_the_address_of_a_day_is_known_by_the_header_that_came_back() {
    let daily = "[domains.\"daily.example.com\"]\nbounce_token_per = \"day\"";
    let house = House::with_domain(daily, "daily.example.com");
    let text = tracked("daily").replace("app@example.com", "app@daily.example.com");
    let (path, id, sent) = house.sent_text("app@daily.example.com", &["gone@example.net"], "daily", &text).await;
    assert!(path.ends_with("@b.daily.example.com"), "{path}");
    let header = sent.split("\r\n\r\n").next().unwrap();
    let bounce =
        notice(&path, "gone@example.net", "failed", "5.1.1", "550 5.1.1 no such user").replace("Subject: the original\r\nMessage-ID: <x@app.example>", header);
    assert!(house.comes_back("", &[&path], &bounce).await.starts_with("250 "));
    let bounced = &house.events("mail.bounced").await[0];
    assert_eq!(
        (bounced["mail_id"].as_str(), bounced["proven"].as_bool(), bounced["track_id"].as_str()),
        (Some(id.as_str()), Some(false), Some("order-7")),
        "{bounced}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proven_bounce_silences_its_recipient_and_a_forged_one_nobody() {
    let house = House::lmtp();
    let (path, _) = house.sent("app@example.com", &["gone@example.net"], "one").await;
    let forged = notice(&path, "victim@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
    assert!(house.comes_back("", &[&path], &forged).await.starts_with("250 "));
    let forged = &house.events("mail.bounced").await[0];
    assert_eq!((forged["recipient"].as_str(), forged["proven"].as_bool()), (Some("gone@example.net"), Some(false)));
    house.sent("app@example.com", &["victim@example.net"], "two").await;
    house.sent("app@example.com", &["gone@example.net"], "three").await;

    let (path, _) = house.sent("app@example.com", &["gone@example.net"], "four").await;
    let bounce = notice(&path, "gone@example.net", "failed", "5.1.1", "550 5.1.1 no such user");
    assert!(house.comes_back("", &[&path], &bounce).await.starts_with("250 "));
    let address = house.relay.address("submission");
    let reply = blocking(move || SmtpClient::connect(&address).unwrap().send("app@example.com", &["gone@example.net"], &message("five")).unwrap()).await;
    assert!(reply.starts_with("250 "), "accepted, and settled as failed: {reply}");
    until(|| house.out.messages().iter().any(|received| received.rcpts == ["RCPT TO:<app@example.com>"])).await;
    assert!(!house.out.messages().iter().any(|received| String::from_utf8_lossy(&received.octets).starts_with("Subject: five")));
    assert_eq!(house.events("mail.suppressed").await.len(), 1);
}

/// A feedback loop writes to the address it was told, and names the bounce address of the mail; its signature makes it count.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complaint_that_a_known_loop_signed_silences_who_complained() {
    let (house, _dns, _) = with_a_feedback_loop().await;
    let (path, id) = house.sent("app@example.com", &["angry@example.net"], "offer").await;
    let report = feedback(&path);
    let to = "fbl@b.example.com";
    assert!(house.comes_back("feedback@example.com", &[to], &report).await.starts_with("250 "));
    assert_eq!(house.at_home(1).await.rcpts, ["RCPT TO:<loops@example.com>"]);
    let unsigned = &house.events("mail.complained").await[0];
    assert_eq!((unsigned["mail_id"].as_str(), unsigned["proven"].as_bool()), (Some(id.as_str()), Some(false)), "{unsigned}");

    let (path, id) = house.sent("app@example.com", &["angry@example.net"], "another offer").await;
    let report = report.lines().map(|line| if line.starts_with("Original-Mail-From") { format!("Original-Mail-From: <{path}>") } else { line.to_owned() });
    let report = report.collect::<Vec<_>>().join("\r\n") + "\r\n";
    let (_, _, signed) = house.sent_text("feedback@example.com", &["loop@example.net"], "complaint", &report).await;
    assert!(house.comes_back("feedback@example.com", &[to], &signed).await.starts_with("250 "));
    let told = house.events("mail.complained").await;
    let told = told.last().unwrap();
    let facts = (told["mail_id"].as_str(), told["recipient"].as_str(), told["proven"].as_bool(), told["reason"].as_str());
    assert_eq!(facts, (Some(id.as_str()), Some("angry@example.net"), Some(true), Some("abuse")), "{told}");
    let address = house.relay.address("submission");
    let reply = blocking(move || SmtpClient::connect(&address).unwrap().send("app@example.com", &["angry@example.net"], &message("third")).unwrap()).await;
    assert!(reply.starts_with("250 "), "{reply}");
    until(|| house.told("notice.made").len() == 1).await;
    assert_eq!(house.events("mail.suppressed").await.len(), 1);
}

/// What the DNS does not say today it may say tomorrow: only a complaint that claims to be a known loop's waits for it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_complaint_whose_signature_cannot_be_checked_is_to_come_again() {
    let (house, dns, zone) = with_a_feedback_loop().await;
    let (path, id) = house.sent("app@example.com", &["angry@example.net"], "offer").await;
    let (_, _, signed) = house.sent_text("feedback@example.com", &["loop@example.net"], "complaint", &feedback(&path)).await;
    let broken =
        |domain: &str| zone.lines().map(|line| format!("{} SERVFAIL\n", line.split(' ').next().unwrap().replace("example.com", domain))).collect::<String>();
    dns.replace(&(broken("example.com") + &broken("other.example")));
    let to = "fbl@b.example.com";
    let reply = house.comes_back("feedback@example.com", &[to], &signed).await;
    assert!(reply.starts_with("451 4.4.3 "), "{reply}");
    assert!(house.events("mail.complained").await.is_empty());
    // One that claims to be somebody else's is what it is without.
    let other = signed.replace("d=example.com", "d=other.example");
    assert_ne!(other, signed);
    assert!(house.comes_back("feedback@example.com", &[to], &other).await.starts_with("250 "));
    dns.replace(&zone);
    assert!(house.comes_back("feedback@example.com", &[to], &signed).await.starts_with("250 "));
    let told = house.events("mail.complained").await;
    let proven: Vec<_> = told.iter().map(|told| (told["mail_id"].as_str(), told["proven"].as_bool())).collect();
    assert_eq!(proven, [(Some(id.as_str()), Some(false)), (Some(id.as_str()), Some(true))]);
}

/// `kill -9` in the middle, again and again: every bounce that was answered 250 comes home.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_bounce_is_lost_though_the_relay_is_killed() {
    let mut house = House::with("address_messages_max = 1000000", Script::modern().lmtp());
    let (path, _) = house.sent("app@example.com", &["gone@example.net"], "killed").await;
    let mut promised = Vec::new();
    for kill in 0..KILLS {
        let (address, path, count) = (house.relay.address("bounces"), path.clone(), Arc::new(AtomicUsize::new(0)));
        let counts = count.clone();
        let sending = tokio::task::spawn_blocking(move || {
            let mut taken = Vec::new();
            let Ok(mut client) = SmtpClient::connect(&address) else { return taken };
            for number in 0.. {
                let name = format!("bounce-{kill}-{number}");
                let bounce =
                    notice(&path, "gone@example.net", "failed", "5.1.1", "550 5.1.1 no such user").replace("Undelivered Mail Returned to Sender", &name);
                match client.send("", &[&path], &bounce) {
                    Ok(reply) if reply.starts_with("250 ") => {
                        taken.push(name);
                        counts.fetch_add(1, Ordering::SeqCst);
                    }
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
            taken
        });
        tokio::time::sleep(Duration::from_millis(300 + 150 * (kill as u64 % 3))).await;
        until(|| count.load(Ordering::SeqCst) > 3).await;
        tokio::task::block_in_place(|| house.relay.kill());
        promised.extend(sending.await.unwrap());
        tokio::task::block_in_place(|| house.relay.start());
    }
    assert!(promised.len() > KILLS * 3, "only {} were taken: no load at all", promised.len());
    let arrived = |home: &NextHop| -> std::collections::HashSet<String> {
        let taken = home.messages().into_iter().filter(|received| received.taken);
        taken.map(|received| crate::operate::ledger::subject(&received.octets)).collect()
    };
    // What nobody heard the reply to may come home as well, so that their number says nothing.
    let all = || {
        let arrived = arrived(&house.home);
        promised.iter().all(|name| arrived.contains(name))
    };
    let waited = tokio::time::timeout(Duration::from_secs(100), async {
        while !all() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let _ = waited.await; // who is missing is said below
    let arrived = arrived(&house.home);
    let lost: Vec<_> = promised.iter().filter(|name| !arrived.contains(*name)).collect();
    assert!(lost.is_empty(), "{} of {} lost: {lost:?}", lost.len(), promised.len());
    assert_eq!(house.events("mail.bounced").await.len(), 1, "however often it came, and whatever died");
    println!("{} bounces taken, {} came home, {KILLS} kills", promised.len(), arrived.len());
}

/// A house that knows a feedback loop, the name server that has its keys, and its zone.
async fn with_a_feedback_loop() -> (House, Dns, String) {
    let (out, home) = (NextHop::start(Script::modern()), NextHop::start(Script::modern().lmtp()));
    let settings = "feedback_domains = [\"example.com\"]\n[returns.mailboxes]\nfbl = \"loops@example.com\"";
    let mut relay = tokio::task::block_in_place(|| RelayProcess::new(&config(&out, &home, settings)));
    let keyring = Keyring::load(&relay.path().join("keys")).unwrap();
    let keys = keyring.keys(&Domain::parse("example.com").unwrap());
    let zone: Vec<String> = keys.iter().map(|key| format!("{} TXT {}", key.id, Data::Txt(key.record().unwrap().to_string()).zone_text())).collect();
    let zone = zone.join("\n");
    let dns = Dns::serve(&zone).await;
    let text = std::fs::read_to_string(relay.config()).unwrap();
    std::fs::write(relay.config(), format!("{text}\n[resolver]\nnameservers = [\"{}\"]\n", dns.address())).unwrap();
    tokio::task::block_in_place(|| relay.start());
    (House { relay, out, home }, dns, zone)
}

/// A complaint about the mail that left with this bounce address.
fn feedback(path: &str) -> String {
    format!(
        "From: feedback@example.com\r\nTo: fbl@b.example.com\r\nSubject: complaint\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nunwanted\r\n\
         --b\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: loop/1\r\nVersion: 1\r\n\
         Original-Mail-From: <{path}>\r\n\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: offer\r\n\r\nx\r\n--b--\r\n"
    )
}

fn config(out: &NextHop, home: &NextHop, settings: &str) -> String {
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [listeners.bounces]
        purpose = "bounces"
        address = "127.0.0.1:0"
        tls = "none"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = [".example.com"]
        [domains."example.com"]
        [routes]
        default = "out"
        [smart_hosts.out]
        host = "{}"
        port = {}
        tls = "opportunistic"
        [smart_hosts.home]
        host = "{}"
        port = {}
        tls = "none"
        protocol = "{}"
        [deliver]
        bdat = false
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [returns]
        route = "home"
        {settings}
        "#,
        out.address().ip(),
        out.address().port(),
        home.address().ip(),
        home.address().port(),
        if home.speaks_lmtp() { "lmtp" } else { "smtp" }
    )
}

/// An application's message with what it wants to find again.
fn tracked(subject: &str) -> String {
    format!("X-Postseal-Track-Id: order-7\r\nX-Postseal-Tag: receipt\r\nMessage-ID: <{}@app.example>\r\n{}", subject.replace('@', "."), message(subject))
}

/// A delivery status notification (RFC 3464) about one recipient.
fn notice(to: &str, recipient: &str, action: &str, status: &str, reply: &str) -> String {
    format!(
        "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\r\nTo: {to}\r\nSubject: Undelivered Mail Returned to Sender\r\n\
         Message-ID: <bounce@mx.example.net>\r\nMIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type=delivery-status; boundary=\"b1\"\r\n\r\n\
         --b1\r\nContent-Type: text/plain\r\n\r\nIt could not be delivered.\r\n\
         --b1\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n\
         Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\nDiagnostic-Code: smtp; {reply}\r\n\
         --b1\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: the original\r\nMessage-ID: <x@app.example>\r\n--b1--\r\n"
    )
}

/// The first field, folded lines and all, and what stands below.
fn cut_trace(text: &str) -> (&str, &str) {
    let mut at = 0;
    for line in text.split_inclusive("\r\n") {
        if at > 0 && !line.starts_with([' ', '\t']) {
            break;
        }
        at += line.len();
    }
    text.split_at(at)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
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
