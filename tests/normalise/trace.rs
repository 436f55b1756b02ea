//! The Received field.

use super::{Case, HEADER, crlf, recipient};
use postseal::mail::Proof;

fn received(case: &Case) -> String {
    let done = case.run(crlf(&format!("{HEADER}\n")).as_bytes()).unwrap();
    let headers = done.message.headers();
    assert_eq!(headers.len(), 6, "one field and no more was added");
    let field = headers.iter().next().unwrap();
    assert!(field.raw.split(|b| *b == b'\n').all(|line| line.len() <= 999));
    std::str::from_utf8(field.raw).unwrap().replace("\r\n", "\n")
}

#[test]
fn tells_who_how_and_when() {
    let mut case = Case::new();
    assert!(received(&case).lines().all(|line| line.len() <= 78));
    assert_eq!(
        received(&case),
        "Received: from app.example.com ([192.0.2.7]) by mx1.example.com\n\twith ESMTPSA (TLSv1.3 TLS13_AES_256_GCM_SHA384) id 0j6hb7h6nw\n\tfor <you@receiver.example>;\n\tSun, 22 Nov 2026 01:18:45 +0000\n"
    );
    case.envelope.recipients.push(recipient("b@receiver.example"));
    (case.client.tls, case.client.proof) = (None, Proof::Network);
    case.client.address = "2001:db8::7".parse().unwrap();
    case.client.helo = "[IPv6:2001:db8::7]".into();
    assert_eq!(
        received(&case),
        "Received: from [IPv6:2001:db8::7] ([IPv6:2001:db8::7]) by mx1.example.com\n\twith ESMTP id 0j6hb7h6nw;\n\tSun, 22 Nov 2026 01:18:45 +0000\n"
    );
    case.client.address = "::ffff:192.0.2.9".parse().unwrap();
    assert!(received(&case).contains("([192.0.2.9])"));
}

#[test]
fn nothing_the_client_says_gets_out_of_its_place() {
    let mut case = Case::new();
    case.client.helo = "x)\r\nBcc: me@example.com\r\n;<a@b> \u{3042}".into();
    assert!(received(&case).starts_with("Received: from [192.0.2.7] ([192.0.2.7] helo=x???Bcc:?me?example.com????a?b???)\n\tby"));
    case.client.helo = "a".repeat(5_000);
    assert!(received(&case).len() < 400);
    case.client.helo = String::new();
    assert!(received(&case).starts_with("Received: from [192.0.2.7] ([192.0.2.7] helo=)"));
    case.envelope.recipients = vec![recipient(&format!("\"{}\"@receiver.example", "> ".repeat(30)))];
    assert!(received(&case).contains(&format!("for <\"{}\"@receiver.example>;", "> ".repeat(30))));
}

#[test]
fn utf8_of_a_recipient_stays_out_of_a_plain_header() {
    let mut case = Case::new();
    case.envelope.recipients = vec![recipient("\u{3042}@receiver.example")];
    assert!(!received(&case).contains("for <"));
    case.envelope.smtputf8 = true;
    assert!(received(&case).contains("with UTF8SMTPSA") && received(&case).contains("for <\u{3042}@receiver.example>"));
}

#[test]
fn the_client_can_be_hidden() {
    let case = Case::new().with(|settings| settings.show_client = false);
    let field = received(&case);
    assert!(field.starts_with("Received: by mx1.example.com") && !field.contains("192.0.2.7") && !field.contains("app.example.com"), "{field}");
}
