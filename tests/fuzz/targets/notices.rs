//! Notices: those that come back, read; those that we write about what strangers said, printed and read again.

use super::draw::Draw;
use postseal::mail::dsn::{Action, Dsn, DsnRecipient, Report, ReturnLimits};
use postseal::mail::outcome::Remote;
use postseal::mail::{Domain, EnhancedCode, Evidence, Headers, MailId, OriginalRecipient, Reason, Ret, Timestamp};
use postseal::reasons::Table;
use postseal::returns::{RECIPIENTS_MAX, arrived, classify};
use postseal::smtp::client::ReplyReader;
use std::sync::LazyLock;

/// Whatever came back.
pub fn returned(octets: &[u8]) {
    let found = classify(octets, &TABLE);
    assert!(found.recipients.len() <= RECIPIENTS_MAX);
    for recipient in &found.recipients {
        assert_on_a_line(&recipient.recipient);
        recipient.final_recipient.as_deref().map(assert_on_a_line);
        recipient.reply.as_deref().map(assert_on_a_line);
        recipient.remote_mta.as_deref().map(assert_on_a_line);
    }
    found.reporting_mta.as_deref().map(assert_on_a_line);
    found.envid.as_deref().map(assert_on_a_line);
    if let Some(original) = &found.original {
        assert!(original.header.len() <= arrived::HEADER_OCTETS_MAX);
        original.message_id.as_deref().map(assert_on_a_line);
    }
    let _ = Report::parse(octets);
    let _ = Report::salvage(octets);
}

fn assert_on_a_line(text: &str) {
    assert!(text.len() <= 4096 && !text.chars().any(char::is_control), "{text:?}");
}

/// A notice about a message of a stranger, with a next hop's words.
pub fn printed(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let [delayed, headers_only, has_reply, has_id, eight_bit, _, _, _] = draw.flags();
    let (message_id, envid, orcpt, host) = (draw.text(), draw.text(), draw.text(), draw.text());
    let mut reader = ReplyReader::default();
    reader.feed(draw.part());
    let reply = reader.next_reply().ok().flatten().filter(|_| has_reply);
    let text = draw.text();
    let original: Vec<u8> = String::from_utf8_lossy(draw.rest()).replace('\r', "").replace('\n', "\r\n").into_bytes();
    let mailbox = if eight_bit { "j\u{f8}rgen@receiver.example" } else { "you@receiver.example" };
    let evidence = Evidence {
        status: EnhancedCode::new(if delayed { 4 } else { 5 }, 1, 1),
        reply,
        text,
        remote: Some(Remote { host, address: ([192, 0, 2, 25], 25).into() }),
        tls: None,
        unknown_end: false,
        at: NOW,
    };
    let recipient = DsnRecipient {
        mailbox: mailbox.parse().unwrap(),
        orcpt: Some(OriginalRecipient { address_type: "rfc822".to_owned(), address: orcpt }),
        action: if delayed { Action::Delayed } else { Action::Failed },
        evidence,
        reason: (!delayed).then_some(Reason::NotUnderstood),
        attempts: 3,
        retry_until: delayed.then_some(NOW),
    };
    let dsn = Dsn {
        id: MailId::from_number(77).unwrap(),
        at: NOW,
        reporting_mta: Domain::parse("mx1.example.com").unwrap(),
        from: "mailer-daemon@example.com".parse().unwrap(),
        to: "app@example.com".parse().unwrap(),
        message_id: has_id.then_some(message_id),
        envid: Some(envid),
        ret: headers_only.then_some(Ret::Headers),
        arrived_at: NOW,
        recipients: vec![recipient.clone(), recipient],
    };
    let out = dsn.print(&original, &ReturnLimits::default());
    let headers = Headers::parse(&out).expect("a notice is a message");
    let names: Vec<&str> = headers.iter().map(|field| field.name).filter(|name| !["In-Reply-To", "References"].contains(name)).collect();
    assert_eq!(names, ["Date", "From", "To", "Subject", "Message-ID", "Auto-Submitted", "MIME-Version", "Content-Type"], "a field was smuggled in");
    let sound = original.split(|octet| *octet == b'\n').all(|line| line.len() <= 999);
    for line in out.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\r\n").expect("a line ends in CR LF");
        assert!(!text.contains(&b'\r') && (text.len() <= 998 || !sound), "{:?}", line.escape_ascii().to_string());
    }
    let report = Report::parse(&out).unwrap_or_else(|fault| panic!("{fault}: {}", String::from_utf8_lossy(&out)));
    assert_eq!(report.recipients.len(), 2, "{}", String::from_utf8_lossy(&out));
    for told in &report.recipients {
        assert_eq!(told.last.mailbox().map(|told| told.to_string()).as_deref(), Some(mailbox));
        assert_eq!(told.action, if delayed { Action::Delayed } else { Action::Failed });
    }
}

static TABLE: LazyLock<Table> = LazyLock::new(Table::default);
const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
