//! Whatever comes from outside is bounded, and nothing of it makes the reader fail.

use super::{TABLE, read};
use postseal::mail::Reason;
use postseal::reasons::Said;
use postseal::returns::arrived::{HEADER_OCTETS_MAX, MESSAGE_OCTETS_MAX};
use postseal::returns::judge::Judge;
use postseal::returns::{Kind, RECIPIENTS_MAX, classify, may_be_a_complaint};
use proptest::prelude::*;

const REPORT: &str = "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n";

#[test]
fn more_recipients_than_are_told_of_are_cut_off() {
    let one = |n: usize| format!("\r\nFinal-Recipient: rfc822; a{n}@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n");
    for count in [RECIPIENTS_MAX, RECIPIENTS_MAX + 50] {
        let status: String = (0..count).map(one).collect();
        let found = read(&format!("{REPORT}--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n{status}\r\n--b--\r\n"));
        assert_eq!((found.kind, found.recipients.len()), (Kind::Bounce, RECIPIENTS_MAX));
    }
    let listed: String = (0..RECIPIENTS_MAX + 50).map(|n| format!("<a{n}@example.net>: user unknown\n")).collect::<Vec<_>>().concat();
    let found = read(&format!("From: mailer-daemon@x.example\nSubject: failure notice\n\n{listed}"));
    assert!(found.recipients.len() <= RECIPIENTS_MAX);
}

/// A few octets an address, one long text behind all of them: what it costs does not grow with their number.
#[test]
fn words_for_people_name_so_many_and_no_more() {
    let head = "From: mailer-daemon@x.example\nSubject: failure notice\n\n";
    let long = "user mailbox account recipient quota message exceeded no such not found blocked ".repeat(20);
    let lines: String = (0..4000).map(|n| format!("a{n}@example.net\n")).collect();
    let row: String = (0..4000).map(|n| format!("a{n}@example.net, ")).collect();
    for (names, count) in [(lines, 100), (row, 100)] {
        let found = read(&format!("{head}{names}\n{long}\n"));
        assert_eq!((found.kind, found.recipients.len()), (Kind::Bounce, count));
    }
    let listed = (0..200).map(|n| format!("X-Failed-Recipients: a{n}@example.net\n")).collect::<String>();
    assert_eq!(read(&format!("{listed}{head}no\n")).recipients.len(), 100);
}

/// A judge remembers what was said, and when much was said that is new, codes decide.
#[test]
fn what_is_judged_of_one_message_is_bounded() {
    let said = |number: usize| format!("user unknown {number} {}", "x".repeat(2000));
    let mut judge = Judge::by(&TABLE);
    let first = judge.judge("", Some(550), None, &said(0));
    assert_eq!(first.reason, Reason::UserUnknown);
    for _ in 0..10_000 {
        assert_eq!(judge.judge("", Some(550), None, &said(0)), first);
    }
    let understood = (1..1000).filter(|number| judge.judge("", Some(550), None, &said(*number)).reason == first.reason).count();
    assert!((100..200).contains(&understood), "{understood}");
    let beyond = judge.judge("", Some(550), None, &said(1001));
    assert_eq!((beyond.reason, beyond.permanent), (Reason::NotUnderstood, true));
    assert_eq!(judge.judge("", Some(550), None, &said(0)), first);
}

#[test]
fn only_the_header_says_what_may_be_a_complaint() {
    for (header, expect) in [
        ("Content-Type: multipart/report; report-type=feedback-report; boundary=b", true),
        ("content-type: Multipart/Report;\r\n boundary=b;\r\n report-type=\"Feedback-Report\"", true),
        ("Content-Type: multipart/report; report-type=delivery-status; boundary=b", false),
        ("Subject: multipart/report feedback-report", false),
    ] {
        assert_eq!(may_be_a_complaint(format!("{header}\r\n\r\nmultipart/report feedback-report\r\n").as_bytes()), expect, "{header}");
    }
}

#[test]
fn parts_within_parts_are_followed_so_far_and_no_further() {
    let mut message = String::from("From: mailer-daemon@x.example\r\nSubject: Undelivered Mail\r\n");
    for depth in 0..200 {
        message += &["Content-Type: multipart/mixed; boundary=b", "\r\n\r\n--b", "\r\n"].join(&depth.to_string());
    }
    message.push_str("Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n");
    assert_eq!(read(&message).recipients, []);
    let mut nested = String::new();
    for _ in 0..500 {
        nested.push_str("Content-Type: message/rfc822\r\n\r\n");
    }
    let _ = read(&nested);
    let parts: String = (0..5000).map(|n| format!("--b\r\nContent-Type: text/plain\r\n\r\npart {n}\r\n")).collect::<Vec<_>>().concat();
    let _ = read(&format!("{REPORT}{parts}--b--\r\n"));
}

#[test]
fn a_flood_of_octets_is_looked_at_as_far_as_the_bound() {
    let head = "From: mailer-daemon@x.example\r\nSubject: failure notice\r\n\r\n<a@example.net>: user unknown\r\n";
    let mut large = head.as_bytes().to_vec();
    large.resize(MESSAGE_OCTETS_MAX * 2, b'x');
    assert_eq!(classify(&large, &TABLE).recipients.len(), 1);
    let fields: String = (0..100_000).map(|n| format!("X-{n}: y\r\n")).collect::<Vec<_>>().concat();
    let found = read(&format!("{fields}Subject: x\r\n\r\nbody\r\n"));
    assert_eq!(found.kind, Kind::Other);
    let base64 = "QUFB".repeat(1 << 19);
    let _ = read(&format!("{REPORT}--b\r\nContent-Type: message/delivery-status\r\nContent-Transfer-Encoding: base64\r\n\r\n{base64}\r\n--b--\r\n"));
    let original = format!("Message-ID: <m1@x>\r\n{}", (0..5000).map(|n| format!("X-Long-{n}: {}\r\n", "z".repeat(60))).collect::<Vec<_>>().concat());
    let found = read(&format!(
        "{REPORT}--b\r\nContent-Type: message/delivery-status\r\n\r\nFinal-Recipient: rfc822; a@example.net\r\nAction: failed\r\n\r\n--b\r\nContent-Type: text/rfc822-headers\r\n\r\n{original}\r\n--b--\r\n"
    ));
    assert!(found.original.unwrap().header.len() <= HEADER_OCTETS_MAX);
}

#[test]
fn what_strangers_write_stays_on_its_line() {
    let status = "Final-Recipient: rfc822; a@example.net\u{1b}[31m\r\nAction: failed\r\nStatus: 5.1.1\r\nRemote-MTA: dns; mx\u{7}.example\r\nDiagnostic-Code: smtp; 550 5.1.1 \u{202e}no\u{0}\u{85}such\r\n user\r\n";
    let found = read(&format!("{REPORT}--b\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n--b--\r\n"));
    let recipient = &found.recipients[0];
    for text in [&recipient.recipient, recipient.reply.as_ref().unwrap(), recipient.remote_mta.as_ref().unwrap()] {
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}

#[test]
fn no_text_keeps_the_table_busy() {
    // Each word begins many patterns and ends none.
    let text = "user mailbox account recipient quota message exceeded no such not found blocked ".repeat(2000);
    let judged = TABLE.judge(&Said { provider: None, host: "", code: Some(550), status: None, text: &text });
    assert!(judged.permanent);
}

proptest! {
    #[test]
    fn any_octets_are_something(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let _ = classify(&octets, &TABLE);
    }

    #[test]
    fn anything_like_a_notice_is_something(
        text in "([ -~]|\r\n|\n|\t|--b|--b--|é|宛|Action: failed|Final-Recipient: rfc822;|Status: 5.1.1|Diagnostic-Code: smtp; |a@b.example|<|>|:|550 |5.1.1|said|Content-Type: message/(rfc822|delivery-status)|From |=\r\n|\u{1b}\\$B){0,60}",
        kind in "(multipart/report; report-type=delivery-status|multipart/report; report-type=feedback-report|multipart/mixed|message/rfc822|text/plain)",
        part in "(message/delivery-status|message/feedback-report|message/rfc822|text/rfc822-headers|text/plain; charset=iso-2022-jp)",
        encoding in "(7bit|base64|quoted-printable|x)",
    ) {
        let message = format!("From: mailer-daemon@x.example\r\nSubject: failure notice\r\nContent-Type: {kind}; boundary=b\r\n\r\n--b\r\nContent-Type: {part}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{text}\r\n--b--\r\n");
        let found = classify(message.as_bytes(), &TABLE);
        prop_assert!(found.recipients.len() <= RECIPIENTS_MAX);
        for recipient in &found.recipients {
            prop_assert!(!recipient.permanent || recipient.action.as_str() == "failed");
            prop_assert!(recipient.recipient.len() <= 504 && recipient.reply.as_ref().is_none_or(|reply| reply.len() <= 2060));
            prop_assert!(!recipient.recipient.contains(['\n', '\r']));
        }
        let _ = classify(text.as_bytes(), &TABLE);
    }

    #[test]
    fn a_judgement_never_fails(text in "\\PC{0,300}", host in "[ -~]{0,40}", code in proptest::option::of(0u16..1000)) {
        let _ = TABLE.judge(&Said { provider: None, host: &host, code, status: None, text: &text });
    }
}
