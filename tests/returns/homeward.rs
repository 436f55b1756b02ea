//! Whose a bounce address is, and what a message that came to it tells: tokens of every age and shape, notices that name this one and that.

use super::read;
use postseal::mail::suppression::rules::Rules;
use postseal::mail::suppression::{Suppression, Why};
use postseal::mail::{Domain, ForwardPath, MailId, Mailbox, Reason, ReversePath, Stream, Timestamp};
use postseal::readdress::{Ring, TokenContents, TokenSecret};
use postseal::returns::addressee::{Nobody, Token};
use postseal::returns::homeward::{self, Fate, Sight};
use postseal::returns::{Addressee, Settings};
use postseal::spool::{History, RecipientHistory, SoFar, Tidings};
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_348_800)
}

fn ring(secrets: &[(u8, u8)]) -> Ring {
    let octets: Vec<[u8; 32]> = secrets.iter().map(|(_, fill)| [*fill; 32]).collect();
    let secrets: Vec<_> = secrets.iter().zip(&octets).map(|((key_id, _), octets)| TokenSecret { key_id: *key_id, octets }).collect();
    Ring::new(&secrets, 30).unwrap()
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn id(number: u64) -> MailId {
    MailId::from_number(number).unwrap()
}

fn settings() -> Settings {
    Settings {
        bounce_domains: [(domain("b.example.com"), domain("example.com"))].into(),
        mailboxes: [("postmaster".to_owned(), mailbox("pm@example.com")), ("dmarc".to_owned(), mailbox("reports@example.com"))].into(),
        route: Some(postseal::mail::RouteName::new("home")),
        ..Settings::default()
    }
}

fn contents(ring: &Ring, only: Option<&str>) -> TokenContents {
    TokenContents { sender_id: 5, message: Some(id(77)), recipient_check: only.map(|only| ring.recipient_check(&mailbox(only))) }
}

fn addressee(address: &str, ring: &Ring, at: Timestamp) -> String {
    match Addressee::of(&ForwardPath::Mailbox(mailbox(address)), &settings(), ring, at) {
        Ok(Addressee::Token(token)) => format!("token of {} for {}", token.contents.message.unwrap().number(), token.author_domain),
        Ok(Addressee::Role(mailbox)) => mailbox.to_string(),
        Err(Nobody::Unknown) => "unknown".to_owned(),
        Err(Nobody::Expired) => "expired".to_owned(),
    }
}

#[test]
fn a_bounce_address_opens_by_any_key_in_any_case_and_for_its_time() {
    let old = ring(&[(1, 9)]);
    let made = old.make(&contents(&old, None), &domain("b.example.com"), now()).to_string();
    let rotated = ring(&[(2, 8), (1, 9)]);
    let good = "token of 77 for example.com";
    for (address, at, expect) in [
        (format!("{made}@b.example.com"), now(), good),
        (format!("{}@B.Example.COM", made.to_uppercase()), now(), good),
        (format!("{made}@b.example.com"), now() + DAY * 30, good),
        (format!("{made}@b.example.com"), now() + DAY * 31, "expired"),
        (format!("{made}@b.example.com"), now() - DAY, good), // another relay's midnight was before ours
        (format!("{made}@b.example.com"), now() - DAY * 2, "unknown"),
        (format!("{made}@example.com"), now(), "unknown"),
        (format!("{made}@b.example.org"), now(), "unknown"),
        (format!("{}@b.example.com", &made[..40]), now(), "unknown"),
        ("dmarc@b.example.com".to_owned(), now(), "reports@example.com"),
        ("Postmaster@b.example.com".to_owned(), now(), "pm@example.com"),
        ("dmarc@example.com".to_owned(), now(), "unknown"),
        ("dmarc@[192.0.2.1]".to_owned(), now(), "unknown"),
    ] {
        assert_eq!(addressee(&address, &rotated, at), expect, "{address}");
    }
    assert_eq!(addressee(&format!("{made}@b.example.com"), &ring(&[(2, 8)]), now()), "unknown", "its key is gone");
    assert_eq!(addressee(&format!("{made}@b.example.com"), &ring(&[(1, 7)]), now()), "unknown", "another secret of the same number");
}

#[test]
fn one_letter_changed_anywhere_is_nobody_s() {
    let ring = ring(&[(1, 9)]);
    let made = ring.make(&contents(&ring, None), &domain("b.example.com"), now()).to_string();
    for place in 0..made.len() {
        let mut letters = made.clone().into_bytes();
        letters[place] = if letters[place] == b'q' { b'r' } else { b'q' };
        let altered = String::from_utf8(letters).unwrap();
        assert_eq!(addressee(&format!("{altered}@b.example.com"), &ring, now()), "unknown", "{altered}");
    }
    assert_eq!(Nobody::Unknown.refusal().code, Nobody::Expired.refusal().code);
    assert_ne!(Nobody::Unknown.refusal().text, Nobody::Expired.refusal().text);
}

/// Two hashes each, and nobody is asked: a flood of them costs a core next to nothing.
#[test]
fn ten_thousand_made_up_addresses_cost_less_than_a_second() {
    let (ring, settings) = (ring(&[(1, 9), (2, 8)]), settings());
    let letters = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut chance = 7_u64;
    let mut random = || {
        let mut address = String::from("ba"); // the format and key id that we have
        for _ in 0..39 {
            chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            address.push(char::from(letters[usize::try_from(chance >> 59).unwrap()]));
        }
        ForwardPath::Mailbox(mailbox(&format!("{address}@b.example.com")))
    };
    let paths: Vec<ForwardPath> = (0..10_000).map(|_| random()).collect();
    let began = std::time::Instant::now();
    assert!(paths.iter().all(|path| Addressee::of(path, &settings, &ring, now()) == Err(Nobody::Unknown)));
    let took = began.elapsed();
    println!("10000 made-up bounce addresses refused in {took:?}");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

fn history(recipients: &[&str]) -> History {
    let recipient = |to: &&str| RecipientHistory {
        mailbox: mailbox(to),
        outcome: SoFar::Delivered,
        status: None,
        text: None,
        remote: None,
        provider: None,
        reason: None,
        at: None,
    };
    History {
        id: id(77),
        accepted_at: now(),
        closed_at: Some(now()),
        stream: Stream::new("bills"),
        original_reverse_path: ReversePath::Mailbox(mailbox("app@example.com")),
        message_id: "<77@example.com>".to_owned(),
        track_id: Some("order".to_owned()),
        tag: None,
        envid: None,
        signing_domain: Some(domain("example.com")),
        identity: None,
        recipients: recipients.iter().map(recipient).collect(),
    }
}

/// A notice about one recipient, who may have been written to as another.
fn notice(original: Option<&str>, last: &str, status: &str) -> String {
    let original = original.map(|original| format!("Original-Recipient: rfc822; {original}\r\n")).unwrap_or_default();
    let words = if status == "5.7.1" { "refused by local policy" } else { "user unknown" };
    format!(
        "From: MAILER-DAEMON@mx.example.net\r\nSubject: Undelivered\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\nno\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n\
         {original}Final-Recipient: rfc822; {last}\r\nAction: failed\r\nStatus: {status}\r\nDiagnostic-Code: smtp; 550 {status} {words}\r\n--b--\r\n"
    )
}

fn complaint(recipient: Option<&str>) -> String {
    let recipient = recipient.map(|recipient| format!("Original-Rcpt-To: {recipient}\r\n")).unwrap_or_default();
    format!(
        "From: feedback@arf.example\r\nSubject: complaint\r\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\r\n\r\n\
         --b\r\nContent-Type: text/plain\r\n\r\ncomplaint\r\n--b\r\nContent-Type: message/feedback-report\r\n\r\n\
         Feedback-Type: abuse\r\nUser-Agent: loop/1\r\nVersion: 1\r\n{recipient}\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nx\r\n--b--\r\n"
    )
}

/// What a message tells that came to the bounce address of a mail to `to`, made for `only` alone.
fn tells(message: &str, to: &[&str], only: Option<&str>, vouched: bool) -> Vec<Tidings> {
    let (ring, classified, history) = (ring(&[(1, 9)]), read(message), history(to));
    let token = Token { address: mailbox("b@b.example.com"), number: 1, contents: contents(&ring, only), author_domain: domain("example.com") };
    let sight = Sight { token: &token, classified: &classified, history: Some(&history), returned: id(99), vouched, at: now() };
    let fate = homeward::fate(classified.kind, Some(&mailbox("app@example.com")), &settings(), &mailbox("pm@example.com"));
    homeward::tidings(&sight, &fate, Some(id(77)), &ring, &Rules::default())
}

/// `kind recipient proven final-recipient, whom it suppresses`.
fn line(tidings: &Tidings) -> String {
    let about = &tidings.news.about;
    let recipient = tidings.news.recipient.as_ref().map_or("-".to_owned(), ToString::to_string);
    let suppressed = |entry: &Suppression| {
        format!(", suppresses {} for {}", entry.recipient, if entry.why == Why::Failed(Reason::UserUnknown) { "a failure" } else { "a complaint" })
    };
    format!(
        "{} {recipient}{}{}{}",
        tidings.news.kind,
        if about.proven == Some(true) { " proven" } else { "" },
        about.final_recipient.as_ref().map(|also| format!(" at {also}")).unwrap_or_default(),
        tidings.suppression.as_ref().map(suppressed).unwrap_or_default()
    )
}

#[test]
fn a_notice_speaks_for_the_recipient_its_address_was_made_for_and_for_nobody_else() {
    let one = &["Anna@example.net"][..];
    let two = &["anna@example.net", "bert@example.net"][..];
    for (message, to, only, expect) in [
        (notice(None, "anna@example.net", "5.1.1"), one, Some("anna@example.net"), "Anna@example.net proven, suppresses anna@example.net for a failure"),
        (
            notice(Some("ANNA@example.net"), "x@inside.example", "5.1.1"),
            one,
            Some("anna@example.net"),
            "Anna@example.net proven, suppresses anna@example.net for a failure",
        ),
        // A forged one names somebody else.
        (notice(None, "victim@example.org", "5.1.1"), one, Some("anna@example.net"), "Anna@example.net at victim@example.org"),
        // Several share the address: one of them could have written it.
        (notice(None, "bert@example.net", "5.1.1"), two, None, "bert@example.net"),
        (notice(None, "victim@example.org", "5.1.1"), two, None, "- at victim@example.org"),
        // Not the address's fault.
        (notice(None, "anna@example.net", "5.7.1"), one, Some("anna@example.net"), "Anna@example.net proven"),
    ] {
        let told = tells(&message, to, only, false);
        assert_eq!(told.iter().map(line).next().unwrap(), format!("mail.bounced {expect}"), "{message}");
        assert!(told[0].once && !told.last().unwrap().once && told.last().unwrap().news.kind.as_str() == "mail.returned");
        assert_eq!(told[0].news.about.message_id.as_deref(), Some("<77@example.com>"));
    }
}

/// A notice about all of these.
fn about(recipients: impl Iterator<Item = String>) -> String {
    let groups: String = recipients.map(|to| format!("\r\nFinal-Recipient: rfc822; {to}\r\nAction: failed\r\nStatus: 5.1.1\r\n")).collect();
    notice(None, "gone@example.net", "5.1.1").replace("\r\nFinal-Recipient: rfc822; gone@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n", &groups)
}

/// Whoever shares a bounce address with others can write what he likes to it: no event is made of an address that he made up, and he makes no
/// more of them than the mail had recipients.
#[test]
fn a_notice_tells_of_no_more_recipients_than_the_mail_had() {
    let two = &["anna@example.net", "bert@example.net"][..];
    let invented = |count: usize| (0..count).map(|number| format!("u{number}@example.org"));
    let bounced = |message: &str, to: &[&str], only: Option<&str>| -> Vec<String> {
        tells(message, to, only, false).iter().map(line).filter(|line| line.starts_with("mail.bounced")).map(|line| line[13..].to_owned()).collect()
    };
    assert_eq!(bounced(&about(invented(500)), two, None), ["- at u0@example.org"]);
    let some = invented(500).chain(two.iter().map(|to| (*to).to_owned())).chain(invented(5));
    assert_eq!(bounced(&about(some), two, None), ["anna@example.net", "bert@example.net"]);
    let again = (0..9).map(|_| "bert@example.net".to_owned()).chain(invented(5));
    assert_eq!(bounced(&about(again), two, None), ["bert@example.net", "- at u0@example.org"]);
    let one = invented(9).chain(["anna@example.net".to_owned()]);
    let proven = "anna@example.net proven, suppresses anna@example.net for a failure";
    assert_eq!(bounced(&about(one), &["anna@example.net"], Some("anna@example.net")), [proven], "what is proven goes first");
}

/// For whom alone a bounce address was made is found out once a message: a hash for each recipient and secret.
#[test]
fn a_notice_of_a_thousand_about_a_mail_to_a_thousand_costs_little() {
    let to: Vec<String> = (0..1000).map(|number| format!("r{number}@example.net")).collect();
    let to: Vec<&str> = to.iter().map(String::as_str).collect();
    let message = about((0..1000).map(|number| format!("u{number}@example.org")));
    let began = std::time::Instant::now();
    let told = tells(&message, &to, Some("somebody@example.com"), false);
    let took = began.elapsed();
    println!("a thousand failures of a thousand recipients in {took:?}");
    assert_eq!(told.iter().map(line).collect::<Vec<_>>(), ["mail.bounced - at u0@example.org", "mail.returned -"]);
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn a_complaint_counts_when_a_known_loop_has_signed_it() {
    let (one, two) = (&["anna@example.net"][..], &["anna@example.net", "bert@example.net"][..]);
    for (recipient, to, only, vouched, expect) in [
        (Some("anna@example.net"), one, Some("anna@example.net"), true, "anna@example.net proven, suppresses anna@example.net for a complaint"),
        (Some("anna@example.net"), one, Some("anna@example.net"), false, "anna@example.net"),
        // The recipient is blacked out, as most do: the bounce address says who it was.
        (None, one, Some("anna@example.net"), true, "anna@example.net proven, suppresses anna@example.net for a complaint"),
        (Some("bert@example.net"), two, None, true, "bert@example.net, suppresses bert@example.net for a complaint"),
        (Some("victim@example.org"), two, None, true, "- at victim@example.org"),
        (Some("victim@example.org"), one, Some("anna@example.net"), true, "anna@example.net at victim@example.org"),
        (None, two, None, true, "-"),
    ] {
        let told = tells(&complaint(recipient), to, only, vouched);
        assert_eq!(told.iter().map(line).next().unwrap(), format!("mail.complained {expect}"), "{recipient:?} {only:?} {vouched}");
    }
}

#[test]
fn what_is_no_bounce_tells_of_nobody() {
    let sender = mailbox("app@example.com");
    for (message, kind) in [
        ("From: you@example.net\r\nSubject: Re: hi\r\nAuto-Submitted: auto-replied\r\n\r\naway\r\n".to_owned(), "auto-reply"),
        (notice(None, "anna@example.net", "4.4.1").replace("failed", "delayed"), "delayed"),
    ] {
        let told = tells(&message, &["anna@example.net"], Some("anna@example.net"), false);
        assert_eq!(told.iter().map(line).collect::<Vec<_>>(), ["mail.returned anna@example.net"], "{kind}");
        assert_eq!(told[0].news.about.came_back.as_deref(), Some(kind));
    }
    let stranger = read("From: sales@example.org\r\nSubject: buy\r\n\r\nbuy\r\n");
    assert!(matches!(homeward::fate(stranger.kind, Some(&sender), &settings(), &sender), Fate::Kept(..)));
    assert!(tells("From: sales@example.org\r\nSubject: buy\r\n\r\nbuy\r\n", &["anna@example.net"], None, false).is_empty());
}

#[test]
fn a_mail_that_is_only_claimed_must_be_the_sender_s() {
    let daily = TokenContents { sender_id: 5, message: None, recipient_check: None };
    let claimed = history(&["anna@example.net"]);
    assert_eq!(homeward::mail_of(&daily, Some(&claimed), Some(&mailbox("app@example.com"))), Some(id(77)));
    assert_eq!(homeward::mail_of(&daily, Some(&claimed), Some(&mailbox("other@example.com"))), None);
    assert_eq!(homeward::mail_of(&daily, None, Some(&mailbox("app@example.com"))), None);
    let own = domain("relay.example.com");
    let named = id(77).to_string();
    for (header, expect) in [
        (format!("Received: from a (b)\n by relay.example.com with ESMTP id {named}\n for <x@y>;\n day\nSubject: x"), Some(77)),
        (format!("Received: from a by relay.example.com.evil.example with ESMTP id {named};"), None),
        ("Received: from a by relay.example.com with ESMTP id what;".to_owned(), None),
        ("Subject: x".to_owned(), None),
    ] {
        assert_eq!(homeward::claimed_mail(&header, &own).map(MailId::number), expect, "{header}");
    }
}
