//! Each kind of returned mail, in the forms of those who write it.

use super::read;
use postseal::returns::{Classified, Form, Kind};

/// `recipient action reason lasting|passing`, one a line.
fn told(found: &Classified) -> String {
    let line =
        |it: &postseal::returns::Returned| format!("{} {} {} {}\n", it.recipient, it.action, it.reason, if it.permanent { "lasting" } else { "passing" });
    found.recipients.iter().map(line).collect()
}

fn prose(from: &str, subject: &str, text: &str) -> String {
    format!("Return-Path: <>\nFrom: {from}\nTo: app@sender.example\nSubject: {subject}\nDate: Sun, 22 Nov 2026 05:00:00 +0000\n\n{text}")
}

const ORIGINAL: &str = "Return-Path: <app@sender.example>\nReceived: from app by relay.sender.example; Sun, 22 Nov 2026 04:59:00 +0000\nFrom: App <app@sender.example>\nTo: Jane <jane@example.net>\nSubject: hello\nMessage-ID: <m1@sender.example>\n\nHello\n";

#[test]
fn bounces_for_people_are_read_in_the_forms_of_their_writers() {
    for (writer, from, subject, text, expect) in [
        (
            "qmail",
            "MAILER-DAEMON@mx.example.net",
            "failure notice",
            "Hi. This is the qmail-send program at mx.example.net.\nI'm afraid I wasn't able to deliver your message to the following addresses.\nThis is a permanent error; I've given up. Sorry it didn't work out.\n\n<jane@example.net>:\nSorry, no mailbox here by that name. (#5.1.1)\n\n<joe@example.org>:\n192.0.2.7 does not like recipient.\nRemote host said: 452 4.2.2 The mailbox is over quota\nGiving up on 192.0.2.7.\n\n--- Below this line is a copy of the message.\n\n",
            "jane@example.net failed user-unknown lasting\njoe@example.org failed mailbox-full passing\n",
        ),
        (
            "Exim before 4.87",
            "Mail Delivery System <Mailer-Daemon@mx.example.net>",
            "Mail delivery failed: returning message to sender",
            "This message was created automatically by mail delivery software.\n\nA message that you sent could not be delivered to one or more of its\nrecipients. This is a permanent error. The following address(es) failed:\n\n  jane@example.net\n    SMTP error from remote mail server after RCPT TO:<jane@example.net>:\n    host mx2.example.net [192.0.2.8]: 550 5.7.1 Client host [192.0.2.1] blocked using dnsbl.example\n\n------ This is a copy of the message, including all the headers. ------\n\n",
            "jane@example.net failed reputation lasting\n",
        ),
        (
            "Sendmail",
            "Mail Delivery Subsystem <MAILER-DAEMON@mx.example.net>",
            "Returned mail: see transcript for details",
            "The original message was received at Sun, 22 Nov 2026 05:00:00 GMT\nfrom localhost [127.0.0.1]\n\n   ----- The following addresses had permanent fatal errors -----\n<jane@example.net>\n    (reason: 550 5.1.1 <jane@example.net>... User unknown)\n\n   ----- Transcript of session follows -----\n... while talking to mx2.example.net.:\n>>> RCPT To:<jane@example.net>\n<<< 550 5.1.1 <jane@example.net>... User unknown\n550 5.1.1 <jane@example.net>... User unknown\n\n   ----- Original message follows -----\n\n",
            "jane@example.net failed user-unknown lasting\n",
        ),
        (
            "Exchange 5.5",
            "System Administrator <postmaster@example.net>",
            "Undeliverable: hello",
            "Your message\n\n  To:      jane@example.net\n  Subject: hello\n  Sent:    Sun, 22 Nov 2026 05:00:00 -0000\n\ndid not reach the following recipient(s):\n\njane@example.net on Sun, 22 Nov 2026 05:00:01 -0000\n    The recipient name is not recognized\n\tThe MTS-ID of the original message is: c=US;a= ;p=EXAMPLE;l=MAIL0111\n    MSEXCH:IMS:EXAMPLE:SITE:MAIL 0 (000C05A6) Unknown Recipient\n",
            "jane@example.net failed user-unknown lasting\n",
        ),
        (
            "Domino",
            "Postmaster@example.net",
            "DELIVERY FAILURE: User jane (jane@example.net) not listed in Domino Directory",
            "Your message\n\n  Subject: hello\n\nwas not delivered to:\n\n  jane@example.net\n\nbecause:\n\n  User jane (jane@example.net) not listed in Domino Directory\n",
            "jane@example.net failed user-unknown lasting\n",
        ),
        (
            "docomo",
            "Mail Delivery Subsystem <MAILER-DAEMON@mfsmax.docomo.ne.jp>",
            "Undelivered Mail Returned to Sender",
            "The following message to <jane@docomo.ne.jp> was undeliverable.\nThe reason for the problem:\n5.1.0 - Unknown address error 550-'Unknown user jane@docomo.ne.jp'\n\n",
            "jane@docomo.ne.jp failed user-unknown lasting\n",
        ),
        (
            "au",
            "Postmaster@ezweb.ne.jp",
            "Mail System Error - Returned Mail",
            "The user(s) account is disabled.\n\n<jane@ezweb.ne.jp>: 550 user unknown (in reply to RCPT TO command)\n\n   -- From the header of the message:\n\n",
            "jane@ezweb.ne.jp failed user-unknown lasting\n",
        ),
        (
            "au, each recipient",
            "Mail Administrator <MAILER-DAEMON@ezweb.ne.jp>",
            "Mail System Error - Returned Mail",
            "Each of the following recipients was rejected by a remote mail server.\nThe reasons given by the server are included to help you determine why\neach recipient was rejected.\n\n    Recipient: <jane@ezweb.ne.jp>\n    Reason:    <jane@ezweb.ne.jp>... User Unknown\n\n",
            "jane@ezweb.ne.jp failed user-unknown lasting\n",
        ),
        (
            "softbank",
            "MAILER-DAEMON@mx.example.jp",
            "Delivery Status Notification (Failure)",
            "Delivery to the following recipient failed permanently:\n\n     jane@softbank.ne.jp\n\nTechnical details of permanent failure:\nhost mx.softbank.ne.jp [192.0.2.9] said: 550 Invalid recipient: <jane@softbank.ne.jp>\n\n----- Original message -----\n\n",
            "jane@softbank.ne.jp failed user-unknown lasting\n",
        ),
        (
            "Gmail before its DSNs",
            "Mail Delivery Subsystem <mailer-daemon@googlemail.com>",
            "Delivery Status Notification (Failure)",
            "Delivery to the following recipient failed permanently:\n\n     jane@example.net\n\nTechnical details of permanent failure:\nGoogle tried to deliver your message, but it was rejected by the server for the recipient domain example.net by mx.example.net. [192.0.2.9].\n\nThe error that the other server returned was:\n552 5.2.2 Over quota\n\n----- Original message -----\n\n",
            "jane@example.net failed mailbox-full lasting\n",
        ),
        (
            "Yahoo",
            "MAILER-DAEMON@yahoo.com",
            "Failure Notice",
            "Sorry, we were unable to deliver your message to the following address.\n\n<jane@yahoo.com>:\nRemote host said:\n554 delivery error: dd This user doesn't have a yahoo.com account (jane@yahoo.com) [0] - mta1.mail.yahoo.com [RCPT_TO]\n\n--- Below this line is a copy of the message.\n\n",
            "jane@yahoo.com failed user-unknown lasting\n",
        ),
        (
            "Courier",
            "\"Courier mail server at mx.example.net\" <@>",
            "NOTICE: mail delivery status.",
            "This is a delivery status notification from mx.example.net,\nrunning the Courier mail server, version 1.0.\n\nThe original message was received on Sun, 22 Nov 2026 05:00:00 +0000\nfrom app.sender.example\n\n---------------------------------------------------------------------------\n\n                           UNDELIVERABLE MAIL\n\nYour message to the following recipients cannot be delivered:\n\n<jane@example.net>:\n    mx2.example.net [192.0.2.8]:\n>>> RCPT TO:<jane@example.net>\n<<< 550 User unknown.\n\n---------------------------------------------------------------------------\n",
            "jane@example.net failed user-unknown lasting\n",
        ),
        (
            "X.400",
            "postmaster@gateway.example.net",
            "Delivery Report (failure) for jane@example.net",
            "This report relates to your message: Subject: hello\n\n   of Sun, 22 Nov 2026 05:00:00 +0000\n\nYour message was not delivered to\n    jane@example.net\nfor the following reason:\n    Diagnostic was Unrecognised-OR-Name\n    unknown local recipient\n",
            "jane@example.net failed user-unknown lasting\n",
        ),
        (
            "in Japanese",
            "MAILER-DAEMON@mx.example.jp",
            "=?ISO-2022-JP?B?GyRCRyc/LiUoJWkhPBsoQg==?= failure notice",
            "This is the mail system at host mx.example.jp.\n\n<jane@example.jp>: host mx2.example.jp[192.0.2.8] said: 550 5.1.1 \u{5b9b}\u{5148} (in reply to RCPT TO command)\n",
            "jane@example.jp failed user-unknown lasting\n",
        ),
        ("a program that names nobody", "postmaster@example.net", "Undeliverable mail", "Your message could not be delivered. Something is wrong.\n", ""),
    ] {
        let message = prose(from, subject, &format!("{text}{}", if text.ends_with("\n\n") { ORIGINAL } else { "" }));
        for message in [message.clone(), message.replace('\n', "\r\n")] {
            let found = read(&message);
            assert_eq!((found.kind, found.form), (Kind::Bounce, Form::Prose), "{writer}");
            assert_eq!(told(&found), expect, "{writer}: {found:?}");
            if text.ends_with("\n\n") {
                let original = found.original.unwrap();
                assert_eq!(original.message_id.as_deref(), Some("<m1@sender.example>"), "{writer}");
                assert!(original.header.contains("Subject: hello"), "{writer}");
            }
        }
    }
}

fn report(status: &str, human: &str) -> String {
    format!(
        "From: MAILER-DAEMON@mx.example.net\nTo: app@sender.example\nSubject: Undelivered Mail Returned to Sender\nContent-Type: multipart/report; report-type=delivery-status;\n boundary=\"b/1\"\nMIME-Version: 1.0\n\n--b/1\nContent-Type: text/plain\n\n{human}\n--b/1\nContent-Type: message/delivery-status\n\n{status}\n--b/1\nContent-Type: text/rfc822-headers\n\nMessage-ID: <m1@sender.example>\nTo: jane@example.net\n\n--b/1--\n"
    )
}

#[test]
fn every_field_of_a_status_is_used() {
    let status = "Reporting-MTA: dns; mx.example.net\nOriginal-Envelope-Id: QQ314159\nArrival-Date: Sun, 22 Nov 2026 05:00:00 +0000\n\n\
        Original-Recipient: rfc822; jane@example.net\nFinal-Recipient: rfc822; j.doe@inner.example.net\nAction: failed\nStatus: 5.0.0\nRemote-MTA: dns; inner.example.net (192.0.2.8)\nDiagnostic-Code: smtp; 550-5.2.2 The mailbox\n 550 5.2.2 is full\nLast-Attempt-Date: Sun, 22 Nov 2026 05:00:01 +0000\nFinal-Log-ID: 4711\n\n\
        Final-Recipient: utf-8; j\\x{E4}ne@example.net\nAction: delayed\nStatus: 4.4.1\nDiagnostic-Code: x-unix; connection timed out\nWill-Retry-Until: Sun, 22 Nov 2026 09:00:00 +0000\n\n\
        Final-Recipient: rfc822; list@example.net\nAction: expanded\nStatus: 2.0.0\n";
    let found = read(&report(status, "some words"));
    assert_eq!((found.kind, found.form), (Kind::Bounce, Form::Status));
    assert_eq!(
        told(&found),
        "jane@example.net failed mailbox-full lasting\njäne@example.net delayed network passing\nlist@example.net expanded not-understood passing\n"
    );
    assert_eq!((found.envid.as_deref(), found.reporting_mta.as_deref()), (Some("QQ314159"), Some("mx.example.net")));
    let first = &found.recipients[0];
    assert_eq!(first.final_recipient.as_deref(), Some("j.doe@inner.example.net"));
    assert_eq!(first.status.unwrap().to_string(), "5.2.2", "the reply's own code says more");
    assert_eq!((first.reply.as_deref(), first.remote_mta.as_deref()), (Some("550 5.2.2 The mailbox is full"), Some("inner.example.net")));
    assert_eq!(found.original.unwrap().message_id.as_deref(), Some("<m1@sender.example>"));
}

#[test]
fn a_status_as_others_write_it_is_read_too() {
    for (what, status, expect) in [
        (
            "no types, no action",
            "Reporting-MTA: mx\n\nFinal-Recipient: jane@example.net\nStatus: 5.1.1\nDiagnostic-Code: 550 No such user\n",
            "jane@example.net failed user-unknown lasting\n",
        ),
        (
            "all in one group",
            "Reporting-MTA: dns; mx\nFinal-Recipient: rfc822; jane@example.net\nAction: failed\nStatus: 5.2.2 (full)\n",
            "jane@example.net failed mailbox-full lasting\n",
        ),
        (
            "torn apart",
            "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; jane@example.net\n\nAction: failed\nStatus: 5.1.1\n",
            "jane@example.net failed user-unknown lasting\n",
        ),
        (
            "no empty line between recipients",
            "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; a@example.net\nAction: failed\nStatus: 5.1.1\nFinal-Recipient: rfc822; b@example.net\nAction: failed\nStatus: 5.2.2\n",
            "a@example.net failed user-unknown lasting\nb@example.net failed mailbox-full lasting\n",
        ),
        (
            "lines that are no fields",
            "this is not a field\nReporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; <jane@example.net>\n?? what\nAction: FAILED\nStatus: 5.1.1\n",
            "jane@example.net failed user-unknown lasting\n",
        ),
        (
            "a status that the words contradict",
            "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; jane@example.net\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 554 5.7.1 blocked using zen.spamhaus.org\n",
            "jane@example.net failed reputation lasting\n",
        ),
        (
            "given up",
            "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; jane@example.net\nAction: failed\nStatus: 4.4.7\n",
            "jane@example.net failed expired passing\n",
        ),
        (
            "nothing said",
            "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; jane@example.net\nAction: failed\nStatus: 5.0.0\n",
            "jane@example.net failed not-understood lasting\n",
        ),
    ] {
        assert_eq!(told(&read(&report(status, "words"))), expect, "{what}");
    }
    let human = "This is the mail system.\n\n<jane@example.net>: mailbox is full\n";
    let bare = "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; jane@example.net\nAction: failed\nStatus: 5.0.0\n";
    assert_eq!(told(&read(&report(bare, human))), "jane@example.net failed mailbox-full lasting\n", "said to people alone");
}

#[test]
fn our_own_notices_are_read_by_the_same_words() {
    // The field X-Postseal-Reason is ours; what it says comes out of the reply again.
    let status = "Reporting-MTA: dns; relay.sender.example\n\nFinal-Recipient: rfc822; jane@example.net\nAction: failed\nStatus: 5.1.1\nRemote-MTA: dns; mx.example.net\nDiagnostic-Code: smtp; 550 5.1.1 unknown user\nX-Postseal-Reason: user-unknown\n";
    assert_eq!(told(&read(&report(status, ""))), "jane@example.net failed user-unknown lasting\n");
}

#[test]
fn delays_are_no_bounces() {
    let status = "Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; jane@example.net\nAction: delayed\nStatus: 4.7.1\nDiagnostic-Code: smtp; 451 4.7.1 Greylisting in action\n";
    let found = read(&report(status, ""));
    assert_eq!((found.kind, told(&found)), (Kind::Delayed, "jane@example.net delayed rate-limited passing\n".to_owned()));
    for (from, subject, text) in [
        (
            "Mailer-Daemon@mx.example.net",
            "Warning: message 1abc delayed 24 hours",
            "This message was created automatically by mail delivery software.\nA message that you sent has not yet been delivered to one or more of its\nrecipients after more than 24 hours on the queue.\n\n  jane@example.net\n    host mx2.example.net [192.0.2.8]: connection timed out\n\nNo action is required on your part.\n",
        ),
        (
            "MAILER-DAEMON@mx.example.net",
            "Warning: could not send message for past 4 hours",
            "    **      THIS IS A WARNING MESSAGE ONLY      **\n    **  YOU DO NOT NEED TO RESEND YOUR MESSAGE  **\n\n   ----- The following addresses had transient non-fatal errors -----\n<jane@example.net>\n\n   ----- Transcript of session follows -----\n<jane@example.net>... Deferred: Connection timed out with mx2.example.net.\n",
        ),
    ] {
        let found = read(&prose(from, subject, text));
        assert_eq!((found.kind, told(&found)), (Kind::Delayed, "jane@example.net delayed network passing\n".to_owned()), "{subject}");
    }
}

#[test]
fn notices_of_success_are_no_bounces() {
    for action in ["delivered", "relayed", "expanded"] {
        let found = read(&report(&format!("Reporting-MTA: dns; mx\n\nFinal-Recipient: rfc822; jane@example.net\nAction: {action}\nStatus: 2.1.5\n"), ""));
        assert_eq!((found.kind, found.recipients[0].permanent), (Kind::Delivered, false), "{action}");
    }
}

#[test]
fn automatic_replies_are_never_bounces() {
    for (what, header) in [
        ("RFC 3834", "From: Jane <jane@example.net>\nAuto-Submitted: auto-replied\nSubject: Re: hello\n"),
        ("with a comment", "From: jane@example.net\nAuto-Submitted: auto-replied (vacation)\nSubject: user unknown is what you wrote\n"),
        ("Exchange", "From: jane@example.net\nX-Auto-Response-Suppress: All\nAuto-Submitted: auto-generated\nSubject: Automatic reply: hello\n"),
        ("Precedence", "From: jane@example.net\nPrecedence: auto_reply\nSubject: hello\n"),
        ("X-Autoreply", "From: jane@example.net\nX-Autoreply: yes\nSubject: hello\n"),
        ("subject", "From: jane@example.net\nReferences: <m1@sender.example>\nSubject: Out of Office: undeliverable until Monday\n"),
        ("German", "From: jane@example.net\nIn-Reply-To: <m1@sender.example>\nSubject: =?utf-8?q?Automatische_Antwort=3A_hallo?=\n"),
        ("Japanese", "From: jane@example.jp\nPrecedence: bulk\nSubject: =?utf-8?b?6Ieq5YuV6L+U5L+h?=\n"),
        ("null sender and an answer", "Return-Path: <>\nFrom: jane@example.net\nIn-Reply-To: <m1@sender.example>\nSubject: Re: hello\n"),
        ("read receipt", "From: jane@example.net\nSubject: Read: hello\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n"),
    ] {
        let message = format!("{header}To: app@sender.example\n\nI am away. If you mean jane@example.org: 550 5.1.1 user unknown there.\n");
        let found = read(&message);
        assert_eq!((found.kind, found.recipients.len()), (Kind::AutoReply, 0), "{what}");
    }
    // A daemon marks its bounces so, too.
    let bounce = prose("MAILER-DAEMON@mx.example.net\nAuto-Submitted: auto-replied", "Undelivered Mail", "<jane@example.net>: 550 5.1.1 user unknown\n");
    assert_eq!(read(&bounce).kind, Kind::Bounce);
    let person = "From: jane@example.net\nTo: app@sender.example\nSubject: Re: hello\n\nThanks!\n";
    assert_eq!(read(person).kind, Kind::Other);
    let about =
        "From: jane@example.net\nTo: app@sender.example\nSubject: your mail bounced?\n\nI got: <joe@example.net>: 550 5.1.1 user unknown. Can you look?\n";
    assert_eq!(read(about).kind, Kind::Other, "a person who writes about a bounce");
}

/// A stranger's mail is none, whatever it is called: something beside the subject says that a program answered.
#[test]
fn a_subject_alone_is_no_automatic_reply() {
    let mail = |more: &str| format!("Return-Path: <jane@example.net>\nFrom: jane@example.net\nSubject: Vacation rentals\n{more}\nby the sea\n");
    for (more, kind) in [
        ("", Kind::Other),
        ("Auto-Submitted: no\n", Kind::Other),
        ("Precedence: list\n", Kind::Other),
        ("Precedence: bulk\nList-Unsubscribe: <mailto:x@example.net>\n", Kind::Other),
        ("Precedence: junk\n", Kind::AutoReply),
        ("Auto-Submitted: auto-generated\n", Kind::AutoReply),
        ("X-Auto-Response-Suppress: All\n", Kind::AutoReply),
        ("In-Reply-To: <m1@sender.example>\n", Kind::AutoReply),
        ("References: <m1@sender.example>\n", Kind::AutoReply),
    ] {
        assert_eq!(read(&mail(more)).kind, kind, "{more}");
    }
    assert_eq!(read(&mail("").replace("<jane@example.net>", "<>")).kind, Kind::AutoReply);
}

#[test]
fn challenges_are_told_apart() {
    for (header, text) in [
        ("From: jane@example.net\nX-TMDA-Confirm: 1\nSubject: Please confirm your message\n", "Your message is held.\n"),
        (
            "From: jane@example.net\nAuto-Submitted: auto-replied\nSubject: Re: hello [Confirmation required]\n",
            "Your message is being held because you are an unrecognized sender. Just reply to this message.\n",
        ),
        (
            "Return-Path: <>\nFrom: spamarrest@example.net\nSubject: Re: hello (verification required)\n",
            "I use Spam Arrest to protect myself from spam. Please click the link to verify yourself.\n",
        ),
    ] {
        let found = read(&format!("{header}To: app@sender.example\n\n{text}"));
        assert_eq!((found.kind, found.recipients.len()), (Kind::ChallengeResponse, 0), "{header}");
    }
}

#[test]
fn complaints_are_read() {
    let arf = |kind: &str, extra: &str| {
        format!(
            "From: <staff@fbl.example>\nTo: fbl@sender.example\nSubject: complaint\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\nContent-Type: text/plain\n\nA user complained.\n--b\nContent-Type: message/feedback-report\n\nFeedback-Type: {kind}\nUser-Agent: Loop/1.0\nVersion: 1\n{extra}Source-IP: 192.0.2.1\nOriginal-Mail-From: <b.x@b.sender.example>\nReported-Domain: sender.example\n--b\nContent-Type: message/rfc822\n\n{ORIGINAL}\n--b--\n"
        )
    };
    let found = read(&arf("abuse", "Original-Rcpt-To: <jane@example.net>\nIncidents: 3\n"));
    let complaint = found.complaint.as_ref().unwrap();
    assert_eq!((found.kind, found.form, found.recipients.len()), (Kind::Complaint, Form::Feedback, 0));
    assert_eq!((complaint.feedback_type.as_str(), complaint.recipients.as_slice(), complaint.incidents), ("abuse", &["jane@example.net".to_owned()][..], 3));
    assert_eq!(
        (complaint.source_ip.as_deref(), complaint.mail_from.as_deref(), complaint.domains.as_slice()),
        (Some("192.0.2.1"), Some("b.x@b.sender.example"), &["sender.example".to_owned()][..])
    );
    assert_eq!(found.original.unwrap().message_id.as_deref(), Some("<m1@sender.example>"));
    assert_eq!(read(&arf("abuse", "")).complaint.unwrap().recipients, ["jane@example.net"], "whom the message names");
    for (kind, counts) in [("fraud", Kind::Complaint), ("opt-out", Kind::Complaint), ("not-spam", Kind::Other), ("auth-failure", Kind::Other)] {
        assert_eq!(read(&arf(kind, "")).kind, counts, "{kind}");
    }
    let jmrp = format!(
        "From: staff@hotmail.com\nTo: fbl@sender.example\nSubject: complaint about message from 192.0.2.1\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nX-HmXmrOriginalRecipient: <joe@outlook.com>\n{ORIGINAL}\n--b--\n"
    );
    let found = read(&jmrp);
    assert_eq!((found.kind, found.complaint.unwrap().recipients), (Kind::Complaint, vec!["joe@outlook.com".to_owned()]));
}

#[test]
fn a_mailbox_that_refuses_by_a_note_of_disposition_bounces() {
    let message = "From: Mail Delivery Subsystem <postmaster@example.net>\nTo: app@sender.example\nSubject: Rejected: hello\nAuto-Submitted: auto-replied (rejected)\nContent-Type: multipart/report; report-type=disposition-notification; boundary=b\n\n--b\nContent-Type: text/plain\n\nYour message to <jane@example.net> was automatically rejected:\nQuota exceeded (mailbox for user is full)\n--b\nContent-Type: message/disposition-notification\n\nReporting-UA: mail; Dovecot\nFinal-Recipient: rfc822; jane@example.net\nDisposition: automatic-action/MDN-sent-automatically; deleted\n--b--\n";
    let found = read(message);
    assert_eq!((found.kind, told(&found)), (Kind::Bounce, "jane@example.net failed mailbox-full passing\n".to_owned()));
}

#[test]
fn who_wrote_to_us_is_nobody_who_failed() {
    let text = "Your message could not be delivered to the following address:\n\n<jane@example.net>: 550 5.1.1 user unknown\n\nIt was sent from app@sender.example. Please contact help@example.net.\n";
    assert_eq!(told(&read(&prose("postmaster@example.net", "Undeliverable", text))), "jane@example.net failed user-unknown lasting\n");
    let rude = "Your message from\n<app@sender.example>\ncould not be delivered to the following recipient:\n<jane@example.net>: mailbox is full\n";
    assert_eq!(told(&read(&prose("postmaster@example.net", "Undeliverable", rude))), "jane@example.net failed mailbox-full passing\n");
}
