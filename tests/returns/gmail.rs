//! The 121 replies of Google's page "Gmail SMTP errors and codes": each is understood, by reply, enhanced code and text together.

use postseal::reasons::{Said, Table};

/// Reply, enhanced code, reason, `doctor` rule, text.
fn rows() -> Vec<[&'static str; 5]> {
    let text = include_str!("files/gmail-smtp-codes.tsv");
    let rows: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect::<Vec<_>>().try_into().unwrap()).collect();
    assert_eq!(rows.len(), 121);
    rows
}

#[test]
fn every_reply_of_gmail_has_its_reason() {
    let table = Table::default();
    let mut faults = Vec::new();
    for [code, status, reason, doctor, text] in rows() {
        // Known by its MX in delivery, by its name or its words in a bounce.
        let ending = format!("{text} d2e1a72fcca58-7b0 - gsmtp");
        for (provider, host, text) in [(Some("google"), "", text), (None, "gmail-smtp-in.l.google.com", text), (None, "", &ending)] {
            let said = Said { provider, host, code: code.parse().ok(), status: status.parse().ok(), text };
            let judged = table.judge(&said);
            let is = (judged.reason.as_str(), judged.doctor.unwrap_or("-"), judged.permanent);
            if is != (reason, doctor, code.starts_with('5')) {
                faults.push(format!("{code} {status} {text}: {is:?}, not {reason} {doctor}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn gmails_codes_are_not_read_as_registered() {
    let table = Table::default();
    let judge = |provider: &str, code, status: &str, text: &str| {
        let judged = table.judge(&Said { provider: Some(provider), host: "", code: Some(code), status: status.parse().ok(), text });
        (judged.reason.as_str(), judged.doctor, judged.permanent)
    };
    // X.7.27 sender has a null MX (RFC 7505), X.7.29 ARC failed (RFC 8617), X.7.30 REQUIRETLS (RFC 8689).
    assert_eq!(judge("google", 550, "5.7.27", "x"), ("authentication", Some("spf"), true));
    assert_eq!(judge("google", 550, "5.7.29", "x"), ("policy", Some("tls"), true));
    assert_eq!(judge("google", 550, "5.7.30", "x"), ("authentication", Some("dkim"), true));
    assert_eq!(judge("elsewhere", 550, "5.7.27", "x"), ("not-understood", None, true));
    assert_eq!(judge("elsewhere", 550, "5.7.29", "x"), ("not-understood", None, true));
    assert_eq!(judge("elsewhere", 550, "5.7.30", "x"), ("policy", Some("tls"), true));
    // The digit of the reply decides, whatever the enhanced code's class; one enhanced code has two meanings by its reply.
    assert_eq!(judge("google", 421, "5.7.32", "x"), ("authentication", Some("alignment"), false));
    assert_eq!(judge("google", 550, "5.7.40", "x"), ("authentication", Some("dmarc"), true));
    assert_eq!(judge("google", 504, "5.7.40", "x"), ("relay-denied", None, true));
}
