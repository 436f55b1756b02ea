//! Notices as people and programs read them; mail-parser is the second opinion.

use super::*;
use crate::mail::outcome::Remote;
use crate::mail::{EnhancedCode, Reason, RemoteReply};
use mail_parser::MessageParser;
use proptest::prelude::*;

const ORIGINAL: &[u8] = b"From: App <app@example.com>\r\nTo: jane@example.net\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
    Message-ID: <m1@example.com>\r\n\r\nHello Jane,\r\n--=_not_a_boundary\r\n.\r\n";

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_795_310_325 + seconds)
}

fn reply(code: u16, enhanced: &str, lines: &[&str]) -> RemoteReply {
    RemoteReply { code, enhanced: enhanced.parse().ok(), lines: lines.iter().map(|&line| line.to_owned()).collect() }
}

fn refused() -> DsnRecipient {
    let evidence = Evidence {
        status: EnhancedCode::new(5, 1, 1),
        reply: Some(reply(550, "5.1.1", &["no such user", "see https://example.net/help"])),
        text: String::new(),
        remote: Some(Remote { host: "mx.example.net".into(), address: "192.0.2.7:25".parse().unwrap() }),
        tls: None,
        unknown_end: false,
        at: at(0),
    };
    DsnRecipient {
        mailbox: mailbox("jane@example.net"),
        orcpt: None,
        action: Action::Failed,
        evidence,
        reason: Some(Reason::UserUnknown),
        attempts: 1,
        retry_until: None,
    }
}

fn dsn(recipients: Vec<DsnRecipient>) -> Dsn {
    Dsn {
        id: MailId::from_number(0x0123_4567_89ab).unwrap(),
        at: at(5),
        reporting_mta: "relay.example.com".parse().unwrap(),
        from: mailbox("mailer-daemon@example.com"),
        to: mailbox("app@pod-7"),
        message_id: Some("<m1@example.com>".into()),
        envid: None,
        ret: None,
        arrived_at: at(-60),
        recipients,
    }
}

fn printed(dsn: &Dsn, original: &[u8]) -> String {
    String::from_utf8(dsn.print(original, &ReturnLimits::default()).to_vec()).unwrap()
}

/// Types and decoded contents of the parts, as mail-parser sees them.
fn parts(message: &[u8]) -> Vec<(String, Vec<u8>)> {
    let parsed = MessageParser::new().parse(message).unwrap();
    let children = parsed.root_part().children().map(|part| {
        let kind = part.content_type().unwrap();
        (format!("{}/{}", kind.ctype(), kind.subtype().unwrap()).to_lowercase(), part.decoded().into_owned())
    });
    children.collect()
}

#[test]
fn a_failure_reads_like_this() {
    let expect = "\
Date: Sun, 22 Nov 2026 01:18:50 +0000
From: Mail Delivery System <mailer-daemon@example.com>
To: <app@pod-7>
Subject: Undelivered mail: your message could not be delivered
Message-ID: <dsn.014d2pf2db@example.com>
In-Reply-To: <m1@example.com>
References: <m1@example.com>
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
 boundary=\"=_014d2pf2db\"

This is a delivery status notification in MIME format (RFC 3464).

--=_014d2pf2db
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 7bit

This is the mail system at relay.example.com.

Your message could not be delivered to the following recipients, and will
not be tried again.

  <jane@example.net>
    mx.example.net (192.0.2.7) answered:
        550 5.1.1 no such user
        see https://example.net/help
    There is no such address. Check its spelling; if it is on a list, take
    it off.

The message was:

  Subject: Hello
  Accepted: Sun, 22 Nov 2026 01:17:45 +0000
  Message-ID: <m1@example.com>

If you need help, send this whole notice to postmaster@example.com.

--=_014d2pf2db
Content-Type: message/delivery-status
Content-Transfer-Encoding: 7bit

Reporting-MTA: dns; relay.example.com
Arrival-Date: Sun, 22 Nov 2026 01:17:45 +0000

Final-Recipient: rfc822; jane@example.net
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 550 5.1.1 no such user see https://example.net/help
X-Postseal-Reason: user-unknown
Last-Attempt-Date: Sun, 22 Nov 2026 01:18:45 +0000

--=_014d2pf2db
Content-Type: message/rfc822
Content-Transfer-Encoding: 7bit

From: a@example.com
Subject: Hello

body

--=_014d2pf2db--
";
    let message = printed(&dsn(vec![refused()]), b"From: a@example.com\r\nSubject: Hello\r\n\r\nbody\r\n");
    assert_eq!(message.replace("\r\n", "\n"), expect);
}

#[test]
fn what_is_printed_parses_again() {
    let delayed = DsnRecipient {
        mailbox: mailbox("\"a  b;c\"@example.org"),
        orcpt: Some(OriginalRecipient { address_type: "rfc822".into(), address: "old+name@example.org".into() }),
        action: Action::Delayed,
        evidence: Evidence {
            status: EnhancedCode::new(4, 4, 1),
            reply: None,
            remote: None,
            text: "no answer from any of its 3 servers".into(),
            ..refused().evidence
        },
        reason: None,
        attempts: 4,
        retry_until: Some(at(3600)),
    };
    let mut notice = dsn(vec![refused(), delayed]);
    notice.envid = Some("QQ314159  x".into());
    let report = Report::parse(printed(&notice, ORIGINAL).as_bytes()).unwrap();
    let typed = |kind: &str, text: &str| Some(TypedText { kind: kind.into(), text: text.into() });
    assert_eq!((report.reporting_mta, report.envid), (typed("dns", "relay.example.com"), notice.envid.clone()));
    assert_eq!((report.arrived_at, report.message_id), (Some(at(-60)), Some("<m1@example.com>".into())));
    let [failed, delayed] = report.recipients.as_slice() else { panic!("two recipients") };
    assert_eq!((failed.action, failed.status), (Action::Failed, Some(EnhancedCode::new(5, 1, 1))));
    assert_eq!(
        (&failed.remote_mta, &failed.diagnostic),
        (&typed("dns", "mx.example.net"), &typed("smtp", "550 5.1.1 no such user see https://example.net/help"))
    );
    assert_eq!(failed.last.mailbox(), Some(mailbox("jane@example.net")));
    assert_eq!(delayed.last.mailbox(), Some(notice.recipients[1].mailbox.clone()));
    assert_eq!((&delayed.original, delayed.action), (&typed("rfc822", "old+name@example.org"), Action::Delayed));
    assert_eq!((&delayed.remote_mta, &delayed.diagnostic), (&None, &typed("x-postseal", "no answer from any of its 3 servers")));
    assert_eq!((delayed.last_attempt_at, delayed.retry_until), (Some(at(0)), Some(at(3600))));
}

#[test]
fn mail_parser_sees_three_parts_and_the_message_unchanged() {
    let message = printed(&dsn(vec![refused()]), ORIGINAL);
    let parts = parts(message.as_bytes());
    let kinds: Vec<_> = parts.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["text/plain", "message/delivery-status", "message/rfc822"]);
    assert_eq!(parts[2].1, ORIGINAL);
    assert!(String::from_utf8_lossy(&parts[0].1).contains("Subject: Grüße"), "decoded for a reader");
}

#[test]
fn only_the_header_comes_back_where_the_whole_may_not() {
    let header = &ORIGINAL[..ORIGINAL.len() - b"\r\nHello Jane,\r\n--=_not_a_boundary\r\n.\r\n".len()];
    let eight_bit = [ORIGINAL, "ü\r\n".as_bytes()].concat();
    let long_line = [ORIGINAL, "x".repeat(999).as_bytes(), b"\r\n"].concat();
    let mut hdrs = dsn(vec![refused()]);
    hdrs.ret = Some(Ret::Headers);
    let mut full = dsn(vec![refused()]);
    full.ret = Some(Ret::Full);
    let delay = dsn(vec![DsnRecipient { action: Action::Delayed, ..refused() }]);
    let small = ReturnLimits { message_octets_max: ORIGINAL.len() - 1, ..ReturnLimits::default() };
    let fits = ReturnLimits { message_octets_max: ORIGINAL.len(), ..ReturnLimits::default() };
    for (case, notice, original, limits, whole) in [
        ("RET=HDRS", &hdrs, ORIGINAL, &fits, false),
        ("RET=FULL", &full, ORIGINAL, &fits, true),
        ("too large", &full, ORIGINAL, &small, false),
        ("8-bit", &full, &eight_bit, &ReturnLimits::default(), false),
        ("long line", &full, &long_line, &ReturnLimits::default(), false),
        ("no failure", &delay, ORIGINAL, &fits, false),
    ] {
        let message = notice.print(original, limits);
        let (kind, octets) = parts(&message).pop().unwrap();
        if whole {
            assert_eq!((kind.as_str(), octets.as_slice()), ("message/rfc822", original), "{case}");
        } else {
            assert_eq!((kind.as_str(), octets.as_slice()), ("text/rfc822-headers", header), "{case}");
        }
        assert!(message.is_ascii(), "{case}");
        assert_eq!(Report::parse(&message).unwrap().message_id.as_deref(), Some("<m1@example.com>"), "{case}");
    }
}

#[test]
fn a_returned_header_is_bounded_by_whole_fields() {
    let original = [b"A: 1\r\n".as_slice(), b"B: ", "x".repeat(200).as_bytes(), b"\r\nC: 3\r\n\r\nbody\r\n"].concat();
    let limits = ReturnLimits { message_octets_max: 10, header_octets_max: 100 };
    assert_eq!(parts(&dsn(vec![refused()]).print(&original, &limits)).pop().unwrap().1, b"A: 1\r\nC: 3\r\n");
}

#[test]
fn utf8_addresses_get_the_forms_of_rfc_6533() {
    let notice = dsn(vec![DsnRecipient { mailbox: mailbox("用户@例子.example"), ..refused() }]);
    let original = "From: app@example.com\r\nTo: 用户@例子.example\r\nMessage-ID: <m1@example.com>\r\n\r\nbody\r\n".as_bytes();
    let message = printed(&notice, original);
    assert!(message.is_ascii());
    let found = parts(message.as_bytes());
    let kinds: Vec<_> = found.iter().map(|(kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["text/plain", "message/global-delivery-status", "message/global"]);
    assert_eq!(found[2].1, original);
    assert!(String::from_utf8_lossy(&found[0].1).contains("<用户@xn--fsqu00a.example>"));
    let report = Report::parse(message.as_bytes()).unwrap();
    assert_eq!((report.recipients[0].last.kind.as_str(), report.recipients[0].last.mailbox()), ("utf-8", Some(mailbox("用户@例子.example"))));
    assert_eq!(report.message_id.as_deref(), Some("<m1@example.com>"));
    let headers = Dsn { ret: Some(Ret::Headers), ..notice };
    assert_eq!(parts(&headers.print(original, &ReturnLimits::default())).pop().unwrap().0, "message/global-headers");
}

#[test]
fn what_servers_say_cannot_break_out() {
    let evil = "no\r\n\r\n--=_014d2pf2db\r\nContent-Type: text/html\r\n\r\n<b>\u{202e}\u{7}\u{1b}[31m";
    let mut recipient = refused();
    recipient.evidence.reply = Some(reply(550, "5.7.1", &[evil, &"y".repeat(3000)]));
    recipient.evidence.remote.as_mut().unwrap().host = "mx\r\nAction: delivered".into();
    recipient.orcpt = Some(OriginalRecipient { address_type: "rfc822".into(), address: "a\r\nStatus: 2.0.0@x".into() });
    let mut notice = dsn(vec![recipient]);
    notice.message_id = Some("<x>\r\nBcc: evil@example.com\r\n".into());
    notice.envid = Some("e\r\nAction: delivered".into());
    let original = b"Subject: a\r\n\r\nbefore\r\n--=_014d2pf2db\r\nContent-Type: message/delivery-status\r\n\r\n--=_014d2pf2db--\r\n";
    let message = printed(&notice, original);
    assert!(message.is_ascii());
    assert!(message.split("\r\n").all(|line| line.len() <= 998 && !line.contains(['\r', '\n', '\u{7}', '\u{1b}'])));
    let parts = parts(message.as_bytes());
    assert_eq!(parts.len(), 3, "the boundary is another one");
    assert_eq!(parts[2].1, original);
    assert!(!message.contains("\r\nBcc"), "a Message-ID that is none is not repeated");
    let report = Report::parse(message.as_bytes()).unwrap();
    assert_eq!((report.recipients.len(), report.recipients[0].action, report.recipients[0].status), (1, Action::Failed, Some(EnhancedCode::new(5, 1, 1))));
}

#[test]
fn a_person_learns_what_happened_and_what_to_do() {
    let with = |action, status: (u8, u16, u16), text: &str, unknown_end| DsnRecipient {
        action,
        attempts: 7,
        retry_until: Some(at(86_400)),
        evidence: Evidence { status: EnhancedCode::new(status.0, status.1, status.2), reply: None, text: text.into(), unknown_end, ..refused().evidence },
        ..refused()
    };
    for (recipient, expect) in [
        (
            with(Action::Failed, (5, 2, 2), "", false),
            &["The mailbox is full", "It was tried 7 times, last on Sun, 22 Nov 2026 01:18:45", "Tried last: mx.example.net (192.0.2.7)"][..],
        ),
        (with(Action::Failed, (4, 4, 1), "no answer", false), &["could not be reached", "no answer", "will not be tried again"]),
        (with(Action::Failed, (4, 4, 2), "", true), &["may have arrived all the same"]),
        (with(Action::Failed, (5, 7, 26), "", false), &["refused the message by its policy"]),
        (with(Action::Delayed, (4, 7, 0), "greylisted", false), &["You need do nothing", "tried again until Mon, 23 Nov 2026 01:18:45", "greylisted"]),
        (with(Action::Relayed, (2, 0, 0), "", false), &["send no notices of their own"]),
        (with(Action::Delivered, (2, 0, 0), "", false), &["was delivered"]),
    ] {
        let message = printed(&dsn(vec![recipient.clone()]), ORIGINAL);
        let text = String::from_utf8(parts(message.as_bytes()).remove(0).1).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        for expect in expect {
            assert!(text.contains(expect), "{expect:?} in {text}");
        }
        assert_eq!(message.contains("Will-Retry-Until"), recipient.action == Action::Delayed, "RFC 3464 §2.3.9");
    }
}

/// From RFC 3464 appendix E, and the ways of others.
#[test]
fn notices_of_other_systems_are_read() {
    let postfix = "From: x\r\nContent-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"abc/mail.example\"\r\n\r\npreamble\r\n\
        --abc/mail.example\r\nContent-Description: Notification\r\n\r\ntext\r\n--abc/mail.example\r\nContent-Description: Delivery report\r\n\
        Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mail.example\r\nX-Postfix-Queue-ID: 1\r\n\r\n\
        Final-Recipient: RFC822; <Jane@Example.NET>\r\nAction: FAILED (really)\r\nStatus: 5.1.1 (bad mailbox)\r\nDiagnostic-Code: smtp; 550 5.1.1\r\n    <jane> no\r\n\r\n\
        Final-Recipient: utf-8; j\\x{E4}ne@example.net\r\nAction: delayed\r\nStatus: unknown\r\nWill-Retry-Until: Sun, 22 Nov 2026 02:18:45 +0100\r\n\r\n\
        --abc/mail.example\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nMessage-ID: <a=3Db@x>\r\n--abc/mail.example--\r\n";
    let report = Report::parse(postfix.as_bytes()).unwrap();
    assert_eq!(report.message_id.as_deref(), Some("<a=b@x>"));
    let [first, second] = report.recipients.as_slice() else { panic!("two recipients") };
    assert_eq!((first.last.mailbox(), first.action, first.status), (Some(mailbox("Jane@example.net")), Action::Failed, Some(EnhancedCode::new(5, 1, 1))));
    assert_eq!(first.diagnostic.as_ref().unwrap().text, "550 5.1.1    <jane> no");
    assert_eq!((second.last.mailbox(), second.status, second.retry_until), (Some(mailbox("jäne@example.net")), None, Some(at(0))));
}

#[test]
fn what_is_no_notice_is_refused() {
    let report = |kind: &str, status: &str| format!("Content-Type: {kind}\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n{status}\r\n--b--\r\n");
    let kind = "multipart/report; report-type=delivery-status; boundary=b";
    let good = "Reporting-MTA: dns; x\r\n\r\nFinal-Recipient: rfc822; a@x\r\nAction: failed\r\n";
    assert!(Report::parse(report(kind, good).as_bytes()).is_ok());
    let many = |count: usize| format!("A: b\r\n{}", "\r\nFinal-Recipient: rfc822; a@x\r\nAction: failed\r\n".repeat(count));
    assert!(Report::parse(report(kind, &many(RECIPIENTS_MAX)).as_bytes()).is_ok());
    let parts = |count: usize| {
        format!("Content-Type: {kind}\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\n\r\n{good}{}\r\n--b--\r\n", "\r\n--b\r\n\r\n".repeat(count - 1))
    };
    assert!(Report::parse(parts(PARTS_MAX).as_bytes()).is_ok());
    for (message, fault) in [
        (report("text/plain", good), ReportFault::NotAReport),
        (report("multipart/report; report-type=disposition-notification; boundary=b", good), ReportFault::NotAReport),
        (report("multipart/report; report-type=delivery-status", good), ReportFault::NoBoundary),
        (report("multipart/report; report-type=delivery-status; boundary=c", good), ReportFault::NoStatus),
        (report(kind, "Reporting-MTA: dns; x\r\n"), ReportFault::Incomplete(1, "Final-Recipient")),
        (report(kind, ""), ReportFault::Incomplete(1, "Final-Recipient")),
        (report(kind, "A: b\r\n\r\nFinal-Recipient: rfc822; a@x\r\nAction: eaten\r\n"), ReportFault::Incomplete(1, "Action")),
        (report(kind, &many(RECIPIENTS_MAX + 1)), ReportFault::TooMany("recipients", RECIPIENTS_MAX)),
        (report(kind, &format!("A: {}\r\n", "x".repeat(STATUS_OCTETS_MAX))), ReportFault::TooMany("octets of status", STATUS_OCTETS_MAX)),
        (parts(PARTS_MAX + 1), ReportFault::TooMany("parts", PARTS_MAX)),
    ] {
        assert_eq!(Report::parse(message.as_bytes()).unwrap_err(), fault);
    }
}

proptest! {
    #[test]
    fn nothing_from_outside_panics(text in "([ -~]|\r\n|--b|é|Action: failed|Final-Recipient: rfc822;a@b|=\r\n|=G){0,40}", encoding in "(7bit|base64|quoted-printable|x)") {
        let message = format!("Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n--b\r\nContent-Type: message/delivery-status\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n{text}\r\n--b--\r\n");
        let _ = Report::parse(message.as_bytes());
        let _ = Report::parse(text.as_bytes());
    }

    #[test]
    fn whatever_a_server_says_the_notice_stays_well_formed(words in "\\PC{0,400}|[\\x00-\\x7f]{0,400}", local in "[a-zä\" ]{1,20}") {
        let mut recipient = refused();
        recipient.evidence.reply = Some(RemoteReply { code: 550, enhanced: None, lines: vec![words.clone()] });
        recipient.evidence.text = words;
        if let Ok(mailbox) = Mailbox::parse(&format!("\"{}\"@example.net", local.replace('"', "\\\""))) {
            recipient.mailbox = mailbox;
        }
        let notice = dsn(vec![recipient.clone()]);
        let message = notice.print(ORIGINAL, &ReturnLimits::default());
        prop_assert!(message.is_ascii());
        prop_assert!(message.split(|b| *b == b'\n').all(|line| line.len() <= 999));
        let report = Report::parse(&message).unwrap();
        prop_assert_eq!(report.recipients.len(), 1);
        prop_assert_eq!(report.recipients[0].last.mailbox(), Some(recipient.mailbox));
        prop_assert_eq!(parts(&message).len(), 3);
    }
}
