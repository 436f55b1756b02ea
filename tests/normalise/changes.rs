//! What is added, removed and replaced, and what is left alone.

use super::{Case, HEADER, below_trace, crlf};
use postseal::normalise::ContentNeeds;

const ID: &str = "<0j6hb7h6nw.1a200d58d83@mx1.example.com>";
const DATE: &str = "Date: Sun, 22 Nov 2026 01:18:45 +0000\n";

fn check(case: &Case, message: &str, expect: &str) {
    assert_eq!(case.answer(message), expect, "{message:?}");
}

#[test]
fn what_a_submission_server_may_add_is_added() {
    let case = Case::new();
    let from = "From: a@x.example\n";
    check(&case, &format!("{from}\nhi\n"), &format!("Message-ID: {ID}\n{DATE}{from}\nhi\n"));
    check(&case, from, &format!("Message-ID: {ID}\n{DATE}{from}"));
    check(&case, &format!("{HEADER}Content-Type: text/plain\n\nhi\n"), &format!("MIME-Version: 1.0\n{HEADER}Content-Type: text/plain\n\nhi\n"));
    check(&case, &format!("{from}Message-Id: x\nDate: today\nMIME-version: 1\n\n"), &format!("{from}Message-ID: {ID}\n{DATE}MIME-version: 1\n\n"));
}

#[test]
fn the_message_id_is_told_as_it_leaves() {
    let told = |message: &str| Case::new().run(crlf(message).as_bytes()).unwrap().message_id;
    assert_eq!(told(&format!("{HEADER}\n")), "<1@example.com>");
    assert_eq!(told("From: a@x.example\nMessage-ID:\n  <2@x.example> \n\n"), "<2@x.example>");
    assert_eq!(told("From: a@x.example\n\n"), ID);
    assert_eq!(told("From: a@x.example\nMessage-ID: x\n\n"), ID);
}

#[test]
fn what_must_not_travel_is_removed_whatever_its_case() {
    let lines = "bcc: a@x.example,\n b@x.example\nResent-BCC: c@x.example\nReturn-Path: <d@x.example>\nX-POSTSEAL-Stream: bulk\nx-postseal-tag: t\nX-Postseal-New: n\nTraceparent: p\ntracestate: s\n";
    let kept = "X-Postsealed: no\nX-Traceparent: p\nX-Bcc: e@x.example\n";
    check(&Case::new(), &format!("{lines}{kept}{HEADER}\nhi\n"), &format!("{kept}{HEADER}\nhi\n"));
    let forwarded = "bcc: a@x.example,\n b@x.example\nResent-BCC: c@x.example\n";
    check(&Case::forward(), &format!("{lines}{kept}{HEADER}\nhi\n"), &format!("{forwarded}{kept}{HEADER}\nhi\n"));
}

#[test]
fn address_fields_with_nothing_in_them_are_dropped() {
    let lines = "Cc:\nReply-To: \nSender:\n \nIn-Reply-To:\nREFERENCES:\t\n";
    let kept = "Keywords:\nX-Empty:\n";
    check(&Case::new(), &format!("{lines}{kept}{HEADER}\nhi\n"), &format!("{kept}{HEADER}\nhi\n"));
    for case in [Case::forward(), Case::new().signed()] {
        check(&case, &format!("{lines}{kept}{HEADER}\nhi\n"), &format!("{lines}{kept}{HEADER}\nhi\n"));
    }
}

#[test]
fn under_a_signature_only_missing_fields_are_added() {
    let signed = "DKIM-Signature: v=1; d=x.example\nFrom: a@x.example\nContent-Type: text/plain\n";
    check(&Case::new().signed(), &format!("{signed}\nhi\n"), &format!("Message-ID: {ID}\n{DATE}{signed}\nhi\n"));
    let dated = format!("{signed}Message-ID: <1@x.example>\nDate: today\n\nhi\n");
    check(&Case::new().signed(), &dated, &dated);
}

#[test]
fn a_message_that_lacks_nothing_passes_octet_for_octet() {
    let odd = "DKIM-Signature: v=1;\n\tb=  x \nSUBJECT:no space\t \n";
    let body = "  trailing \t \n.\n..\n--\nFrom x\n\n\n\n";
    let message = crlf(&format!("{odd}From: a@x.example\nDate: Sun, 22 Nov 2026 01:00:00 +0000\nMessage-ID: <1@x.example>\n\n{body}"));
    for case in [Case::new(), Case::forward(), Case::new().signed(), Case::forward().signed(), Case::new().smtputf8()] {
        let done = case.run(message.as_bytes()).unwrap();
        assert_eq!(below_trace(&done), message.as_bytes());
        assert!(!done.changed);
        assert_eq!(done.needs, ContentNeeds::default());
    }
}

#[test]
fn changed_and_needs_tell_what_happened() {
    let eight_bit = |octets: &str| crlf(&format!("{HEADER}MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n{octets}\n"));
    for (case, message, changed, needs_8bit) in [
        (Case::new(), eight_bit("\u{fc}"), true, false),
        (Case::new().with(|settings| settings.keep_8bitmime = true), eight_bit("\u{fc}"), false, true),
        (Case::new().signed(), eight_bit("\u{fc}"), false, true),
        (Case::forward(), eight_bit("\u{fc}"), true, false),
        (Case::forward().signed(), eight_bit("\u{fc}"), false, true),
        (Case::new(), eight_bit("plain"), false, false),
        (Case::new(), eight_bit("plain").replace("Subject", "X-Postseal-Tag"), true, false),
    ] {
        let done = case.run(message.as_bytes()).unwrap();
        assert_eq!((done.changed, done.needs.eight_bit), (changed, needs_8bit), "{message}");
    }
}

#[test]
fn a_line_of_998_octets_stays_and_one_more_is_encoded() {
    let message = |octets: usize| format!("{HEADER}MIME-Version: 1.0\nContent-Type: text/plain\n\n{}\n", "x".repeat(octets));
    check(&Case::new(), &message(998), &message(998));
    assert!(Case::new().answer(&message(999)).contains("Content-Transfer-Encoding: quoted-printable\n\nxxx"));
}

#[test]
fn eight_bit_text_of_no_declared_type_is_declared() {
    let answer = |octets: &[u8]| {
        let message = [crlf(HEADER).as_bytes(), b"\r\nmostly plain text and ", octets, b"\r\n"].concat();
        String::from_utf8_lossy(below_trace(&Case::new().run(&message).unwrap())).replace("\r\n", "\n")
    };
    let declared =
        |charset: &str| format!("MIME-Version: 1.0\n{HEADER}Content-Type: text/plain; charset={charset}\nContent-Transfer-Encoding: quoted-printable\n\n");
    assert_eq!(answer("\u{fc}".as_bytes()), format!("{}mostly plain text and =C3=BC\n", declared("utf-8")));
    assert_eq!(answer(b"\xfc"), format!("{}mostly plain text and =FC\n", declared("unknown-8bit")));
    let typed = format!("{HEADER}MIME-Version: 1.0\nContent-Type: text/plain\n\nmostly plain text and \u{fc}\n");
    assert!(Case::new().answer(&typed).contains("Content-Type: text/plain\nContent-Transfer-Encoding"), "a type that is there is not touched");
}

#[test]
fn an_encoded_part_holds_no_line_that_looks_like_a_boundary() {
    let long = format!("{}--b", "x".repeat(75));
    let message = format!("{HEADER}MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n--bc\n{long}\n--b-\n{}\n--b--\n", "y".repeat(1000));
    let answer = Case::new().answer(&message);
    assert_eq!(answer.lines().filter(|line| line.starts_with('-')).collect::<Vec<_>>(), ["--b", "--b--"], "{answer}");
    assert!(answer.contains(&format!("=2D-bc\n{}=\n=2D-b\n=2D-b-\n", "x".repeat(75))), "{answer}");
}
