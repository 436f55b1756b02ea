//! Every refusal, with the code and words that the client is given; every bound from both sides.

use super::{Case, HEADER, crlf};
use postseal::mail::mime::Bounds;

fn check(case: &Case, message: &str, expect: &str) {
    assert_eq!(case.answer(message), expect, "{:?}", &message[..message.len().min(300)]);
}

/// The header with these lines in front, and a body.
fn with(lines: &str) -> String {
    format!("{lines}{HEADER}\nbody\n")
}

/// The header without a field, with these lines instead.
fn instead(name: &str, lines: &str) -> String {
    let rest: String = HEADER.split_inclusive('\n').filter(|line| !line.starts_with(name)).collect();
    format!("{lines}{rest}\nbody\n")
}

#[test]
fn header_faults_are_named_with_their_remedy() {
    let case = Case::new();
    for (message, expect) in [
        (instead("From", ""), "550 5.6.0 the message has no From field; send exactly one, with one address"),
        (String::new(), "550 5.6.0 the message has no From field; send exactly one, with one address"),
        (
            instead("From", "From:\n"),
            "550 5.6.0 the From field cannot be read: there is no address where one was expected; write user@example.com or Name <user@example.com>",
        ),
        (instead("From", "From: a@x.example, b@x.example\n"), "550 5.6.0 the From field holds 2 addresses; send exactly one"),
        (
            instead("From", "From: us: a@x.example;\n"),
            "550 5.6.0 the From field cannot be read: a group is not allowed; write user@example.com or Name <user@example.com>",
        ),
        (
            instead("From", "From: \"A <a@x.example>\n"),
            "550 5.6.0 the From field cannot be read: \"\"A <a@x.example>\" is not allowed here: the quote is not closed; write user@example.com or Name <user@example.com>",
        ),
        (
            instead("From", "From: A <a@x.example> B\n"),
            "550 5.6.0 the From field cannot be read: \"B\" is not allowed here: it is out of place; write user@example.com or Name <user@example.com>",
        ),
        (
            instead("From", "From: root\n"),
            "550 5.6.0 the From field cannot be read: \"root\" is not allowed here: it has no \"@\"; write user@example.com or Name <user@example.com>",
        ),
        (
            instead("From", "From: A <=?utf-8?Q?a?=@x.example>\n"),
            "550 5.6.0 the field From has an encoded word within an address; encode names only (RFC 2047 5)",
        ),
        (
            instead("To", "To: b@x.example, =?utf-8?Q?a?=@x.example\n"),
            "550 5.6.0 the field To has an encoded word within an address; encode names only (RFC 2047 5)",
        ),
        (
            with("Subject : s\n"),
            "550 5.6.0 header line 1 has a field name that is not allowed: \"Subject : s\"; a name is printable ASCII without spaces, directly followed by a colon",
        ),
        (
            format!("{HEADER}hello there\n"),
            "550 5.6.0 header line 6 has no colon: \"hello there\"; expected \"Name: value\"; put an empty line between header and body",
        ),
        (with(" folded\n"), "550 5.6.0 the header begins with a continuation line"),
        (with("X-A: a\u{c}b\n"), "550 5.6.0 the field X-A holds a control character; remove it, or encode the text (RFC 2047)"),
        (with("X-A: a\0b\n"), "550 5.6.0 the field X-A holds a control character; remove it, or encode the text (RFC 2047)"),
        (
            instead("Subject", "Subject: \u{1b}$B$\"\u{1b}(B\n"),
            "550 5.6.0 the field Subject holds a control character; remove it, or encode the text (RFC 2047)",
        ),
        (
            instead("Subject", "Subject: \u{3042}\n"),
            "550 5.6.0 the field Subject holds octets over 127; encode the text (RFC 2047), or use SMTPUTF8 (RFC 6531)",
        ),
    ] {
        check(&case, &message, expect);
        check(&Case::forward(), &message, expect);
    }
}

#[test]
fn fields_that_may_occur_once_occur_once() {
    for name in ["Date", "Sender", "Reply-To", "To", "Cc", "Message-ID", "In-Reply-To", "References", "Subject", "From"] {
        let twice = with(&format!("{name}: a@b.example\n{}: a@b.example\n", name.to_uppercase()));
        check(&Case::new(), &twice, &format!("550 5.6.0 the message has several {name} fields; send exactly one"));
        check(&Case::forward(), &twice, &format!("550 5.6.0 the message has several {name} fields; send exactly one"));
    }
    for name in ["Content-Type", "Content-Transfer-Encoding"] {
        check(&Case::new(), &with(&format!("{name}: 7bit\n{name}: 7bit\n")), &format!("550 5.6.0 the message has several {name} fields; send exactly one"));
    }
    let often = with("Received: x\nReceived: x\nX-A: b\nX-A: b\nComments: c\nComments: c\n");
    check(&Case::new(), &often, &often);
}

#[test]
fn line_ends_are_strict() {
    for bad in ["a\nb\r\n", "a\rb\r\n", "no end"] {
        let message = format!("{}\r\n{bad}", crlf(HEADER));
        assert_eq!(
            Case::new().run(message.as_bytes()).unwrap_err().to_string(),
            "550 5.6.0 the message has a bare CR or LF; end every line with CR LF",
            "{bad:?}"
        );
    }
}

#[test]
fn utf8_in_a_header_asks_for_smtputf8() {
    let message = crlf(&instead("Subject", "Subject: \u{3042}\n"));
    let done = Case::new().smtputf8().run(message.as_bytes()).unwrap();
    assert!(done.needs.smtputf8 && !done.needs.eight_bit && !done.changed);
    let latin1 = message.as_bytes().iter().map(|b| if *b == 0xe3 { 0xff } else { *b }).collect::<Vec<_>>();
    assert_eq!(
        Case::new().smtputf8().run(&latin1).unwrap_err().to_string(),
        "550 5.6.0 the field Subject is not UTF-8, which SMTPUTF8 asks for; encode the text (RFC 2047)"
    );
    assert!(!Case::new().smtputf8().run(crlf(&with("")).as_bytes()).unwrap().needs.smtputf8);
}

#[test]
fn bounds_of_a_header_hold_on_both_sides() {
    let filler = |octets: usize| format!("X-A: {}\n", "x".repeat(octets - 7)); // with its CR LF
    let long_value = |name: &str, octets: usize| {
        let line = format!(" {}\n", "<a@b>".repeat(19)); // 98 octets with CR LF
        format!("{name}:{}{}\n", line.repeat(octets / 98), " ".to_owned() + &"x".repeat(octets % 98 - 3))
    };
    let base = crlf(HEADER).len();
    let small = |change: fn(&mut postseal::normalise::Limits)| Case::new().with(|settings| change(&mut settings.limits));
    for (case, fits, exceeds, expect) in [
        (
            small(|l| l.header_octets_max = 500),
            with(&filler(500 - base - 2)),
            with(&filler(501 - base - 2)),
            "552 5.3.4 the header has 501 octets; at most 500 are allowed",
        ),
        (small(|l| l.header_fields_max = 7), with("X-A: b\nX-A: b\n"), with(&"X-A: b\n".repeat(3)), "552 5.3.4 the header has 8 fields; at most 7 are allowed"),
        (
            Case::new(),
            with(&long_value("X-A", 32_000)),
            with(&long_value("X-A", 32_001)),
            "552 5.3.4 the field X-A has 32001 octets; at most 32000 are allowed",
        ),
        (
            Case::new(),
            instead("Message-ID", &format!("Message-ID: <{}@x>\n", "a".repeat(496))),
            instead("Message-ID", &format!("Message-ID: <{}@x>\n", "a".repeat(497))),
            "552 5.3.4 the field Message-ID has 501 characters; at most 500 are allowed",
        ),
        (
            Case::new(),
            instead("Subject", &format!("Subject: {}\n  {}\n", "a".repeat(900), "b".repeat(96))),
            instead("Subject", &format!("Subject: {}\n  {}\n", "a".repeat(900), "b".repeat(97))),
            "552 5.3.4 the field Subject has 999 characters; at most 998 are allowed",
        ),
        (
            small(|l| l.field_name_octets_max = 100),
            with(&format!("{}: b\n", "n".repeat(100))),
            with(&format!("{}: b\n", "n".repeat(101))),
            &format!("552 5.3.4 the field {} has 101 octets in its name; at most 100 are allowed", "n".repeat(60)),
        ),
        (
            Case::new(),
            with(&"Received: x\n".repeat(49)),
            with(&"Received: x\n".repeat(50)),
            "554 5.4.6 the message has 50 Received fields; it is in a mail loop",
        ),
        (
            Case::new(),
            with(&format!("X-A: {}\n", "x".repeat(993))),
            with(&format!("X-A: {}\n", "x".repeat(994))),
            "550 5.6.0 the field X-A has a line longer than 998 octets; fold it (RFC 5322 2.2.3)",
        ),
    ] {
        check(&case, &fits, &fits);
        check(&case, &exceeds, expect);
    }
    for name in ["Cc", "References"] {
        let long = with(&long_value(name, 40_000));
        check(&Case::new(), &long, &long);
    }
}

#[test]
fn the_defaults_leave_room_below_gmails_limits() {
    let limits = postseal::normalise::Limits::default();
    assert!(limits.header_octets_max + 20_000 <= 500_000 && limits.header_fields_max + 20 <= 5_000);
    assert!(limits.field_name_octets_max <= 1_000 && limits.field_value_octets_max <= 32_000);
}

#[test]
fn what_must_not_be_re_encoded_is_refused_when_it_cannot_travel() {
    let long = "x".repeat(999);
    let signed = format!("{HEADER}Content-Type: multipart/signed; boundary=b\nMIME-Version: 1.0\n\n--b\n\n{long}\n--b\n\nsig\n--b--\n");
    let plain = format!("{HEADER}\n{long}\n");
    let binary = format!("{HEADER}\na\0b\n");
    let around = |pre: &str, post: &str| format!("{HEADER}Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\n\n{pre}\n--b\n\nx\n--b--\n{post}\n");
    let part = |header: &str, body: &str| format!("{HEADER}Content-Type: multipart/mixed; boundary=b\nMIME-Version: 1.0\n\n--b\n{header}\n\n{body}\n--b--\n");
    let stuck = |fault: &str, why: &str| format!("550 5.6.3 the message has {fault} where it must not be re-encoded, as {why}; use base64 there");
    let long_fault = "a line longer than 998 octets";
    for (case, message, expect) in [
        (Case::new(), &signed, stuck(long_fault, "it is signed or encrypted")),
        (Case::new().signed(), &plain, stuck(long_fault, "it carries a DKIM signature")),
        (Case::forward().signed(), &binary, stuck("a NUL", "it carries a DKIM signature")),
        (Case::new(), &around(&long, ""), stuck(long_fault, "it stands before or after the MIME parts")),
        (Case::new(), &around("", &long), stuck(long_fault, "it stands before or after the MIME parts")),
        (Case::new(), &part("Content-Transfer-Encoding: x-uue", &long), stuck(long_fault, "its MIME header does not say what it is")),
        (Case::new(), &part("Content-Type: message/partial", &long), stuck(long_fault, "its MIME header does not say what it is")),
        (Case::new(), &part("Content-Type: multipart/mixed", &long), stuck(long_fault, "its MIME header does not say what it is")),
        (Case::new(), &part("Content-Transfer-Encoding: base64", "QQ\0=="), stuck("a NUL", "its header says that it is encoded already")),
        (
            Case::new(),
            &part("Content-Transfer-Encoding: base64", &"****".repeat(250)),
            "550 5.6.0 a MIME part is declared as base64 but holds other characters; encode it anew".into(),
        ),
        (
            Case::new(),
            &part(&format!("X-A: {long}"), "x"),
            "550 5.6.0 the header of a MIME part has a line longer than 998 octets or a NUL; fold it (RFC 5322 2.2.3)".into(),
        ),
        (
            Case::new(),
            &part("Content-Type: text/plain; name=\u{3042}", "x"),
            "550 5.6.0 the field Content-Type of a MIME part holds octets over 127; encode it (RFC 2047, for parameters RFC 2231)".into(),
        ),
        (
            Case::new(),
            &part("", "\u{3042}\n--b").replace("--b\n", &format!("--b{}\n", " ".repeat(999))),
            "550 5.6.0 a MIME delimiter has a line longer than 998 octets; shorten the boundary or its padding".into(),
        ),
    ] {
        check(&case, message, &expect);
    }
}

#[test]
fn mime_is_taken_apart_within_bounds_only_where_it_must_be() {
    let nested = |body: &str| format!("{HEADER}MIME-Version: 1.0\nContent-Type: message/rfc822\n\n{}\n{body}\n", "Content-Type: message/rfc822\n\n".repeat(3));
    let case = |depth_max, parts_max| Case::new().with(|settings| settings.mime = Bounds { depth_max, parts_max });
    let refused = |why: &str| format!("550 5.6.0 the message must be re-encoded, but {why}; send it in 7-bit form or flatten it");
    check(&case(3, 100), &nested("\u{3042}"), &refused("its MIME parts are nested more than 3 deep"));
    check(&case(100, 4), &nested("\u{3042}"), &refused("it has more than 4 MIME parts"));
    assert!(case(4, 5).run(crlf(&nested("\u{3042}")).as_bytes()).is_ok());
    check(&case(3, 4), &nested("seven bits"), &nested("seven bits"));
}

#[test]
fn somebody_elses_message_is_not_completed() {
    let refused = "550 5.6.0 the message lacks a valid Message-ID, and it is not ours to give it one; send <unique@your.domain>";
    for message in [instead("Message-ID", ""), instead("Message-ID", "Message-ID: x\n")] {
        check(&Case::forward(), &message, refused);
    }
    check(&Case::new().signed(), &instead("Message-ID", "Message-ID: x\n"), refused);
    let bare = instead("Date", "Bcc: hidden@example.com\nContent-Type: text/plain\nCc:\n");
    check(&Case::forward(), &bare, &bare);
}
