//! The form that receivers ask for, at its boundaries: RFC 5322, Gmail's limits and display names, RFC 8058.

use postseal::mail::{Headers, Timestamp};
use postseal::seal::dkim::foreign::Signed;
use postseal::seal::dkim::{FieldName, ForeignSignature, KeyTexts};
use postseal::verdict::{Defect, Form, form};

const NOW: i64 = 1_795_310_325; // 22 Nov 2026 01:18:45 UTC
const GOOD: &str = "From: App <app@example.com>\r\nTo: jane@example.net\r\nSubject: hello\r\nDate: Sun, 22 Nov 2026 01:18:45 +0000\r\n\
                    Message-ID: <1@example.com>\r\n\r\nHello.\r\n";

fn defects_of(message: &str, bulk: bool) -> Vec<Defect> {
    let headers = Headers::parse(message.as_bytes()).unwrap();
    form(&Form { message: message.as_bytes(), headers: &headers, signatures: &[], bulk, now: Timestamp::from_unix_seconds(NOW) })
}

fn defects(message: &str) -> Vec<Defect> {
    defects_of(message, false)
}

/// The one defect, with its code.
#[track_caller]
fn only(message: &str, code: Option<&str>, words: &str) {
    let found = defects(message);
    assert!(found.len() == 1 && found[0].code == code && found[0].text.contains(words), "{words}: {found:?}");
}

fn with(field: &str) -> String {
    format!("{field}\r\n{GOOD}")
}

#[test]
fn a_good_message_has_no_defect() {
    assert_eq!(defects(GOOD), []);
}

#[test]
fn gmail_refuses_what_rfc_5322_forbids() {
    for (message, words) in [
        (GOOD.replace("From: App <app@example.com>\r\n", ""), "no From field"),
        (GOOD.replace("App <app@example.com>", "a@example.com, b@example.com"), "2 addresses"),
        (with("From: b@example.com"), "From"),
        (with("Subject: again"), "Subject"),
        (with("To: again@example.net"), "To"),
        (with("Message-ID: <2@example.com>"), "Message-ID"),
        (GOOD.replace("Message-ID: <1@example.com>\r\n", ""), "Message-ID"),
        (GOOD.replace("<1@example.com>", "1"), "Message-ID"),
        (GOOD.replace("App <", "=?utf-8?q?app=40x?= @x <"), "From"),
        (GOOD.replace("hello", "h\u{e9}llo"), "Subject"),
    ] {
        let found = defects(&message);
        assert!(found.iter().any(|defect| defect.code == Some("550 5.7.1") && defect.text.contains(words)), "{words}: {found:?}");
    }
}

/// Gmail's header limits: at the limit and one beyond.
#[test]
fn the_limits_of_a_header_are_gmails() {
    let long =
        |octets: usize| "x".repeat(octets).as_bytes().chunks(900).map(|part| String::from_utf8_lossy(part).into_owned()).collect::<Vec<_>>().join("\r\n ");
    let none: fn(&str) -> bool = |message| defects(message).iter().all(|defect| defect.code.is_none());
    let id = |characters: usize| GOOD.replace("<1@example.com>", &format!("<{}@example.com>", "1".repeat(characters - 14)));
    let subject = |characters: usize| {
        GOOD.replace("Subject: hello", &format!("Subject: {}", vec!["abcdefghi"; characters / 10].join("\r\n ") + &"j".repeat(characters % 10 + 1)))
    };
    assert!(none(&id(500)) && !none(&id(501)), "Message-ID");
    assert!(none(&subject(998)) && !none(&subject(999)), "Subject");
    assert!(none(&with(&format!("X-Long: {}", long(31_800)))) && !none(&with(&format!("X-Long: {}", long(32_001)))), "a value");
    assert!(none(&with(&format!("{}: x", "X".repeat(990)))) && !none(&with(&format!("{}: x", "X".repeat(1_001)))), "a name");
    let fields = |count: usize| format!("{}{GOOD}", "X-Y: z\r\n".repeat(count - 5));
    assert!(none(&fields(5_000)) && !none(&fields(5_001)), "fields");
    let all = |octets: usize| format!("{}{GOOD}", format!("X-Y: {}\r\n", "z".repeat(493)).repeat(octets / 500));
    assert!(none(&all(499_000)) && !none(&all(501_000)), "the whole header");
}

#[test]
fn fifty_hops_are_a_loop() {
    let hops = |count: usize| format!("{}{GOOD}", "Received: from a by b; Sun, 22 Nov 2026 01:18:45 +0000\r\n".repeat(count));
    assert_eq!(defects(&hops(50)), []);
    only(&hops(52), Some("554 5.4.6"), "Received");
}

#[test]
fn lines_and_dates_and_mime_are_warned_of() {
    assert_eq!(defects(&(GOOD.to_owned() + &"x".repeat(998) + "\r\n")), []);
    only(&(GOOD.to_owned() + &"x".repeat(999) + "\r\n"), None, "998 octets");
    only(&(GOOD.to_owned() + "a\0b\r\n"), None, "NUL");
    only(&(GOOD.to_owned() + "a\rb\r\n"), None, "bare CR");
    only(&with("Content-Type: text/plain"), None, "MIME-Version");
    only(&GOOD.replace("Hello.", "H\u{e9}llo."), None, "over 127");
    only(&GOOD.replace("Date: Sun, 22 Nov 2026 01:18:45 +0000\r\n", ""), None, "no Date");
    assert_eq!(defects(&GOOD.replace("22 Nov 2026", "23 Nov 2026").replace("Sun", "Mon")), [], "a day is the difference of clocks and zones");
    only(&GOOD.replace("Sun, 22 Nov 2026 01:18:45", "Mon, 23 Nov 2026 01:18:46"), None, "in the future");
    only(&GOOD.replace("Sun, 22 Nov 2026 01:18:45 +0000", "yesterday"), None, "cannot be read");
}

/// Gmail: no subject text, no emoji, no address, no count of a conversation in the display name; not from gmail.com.
#[test]
fn display_names_must_not_deceive() {
    for (name, words) in [
        ("\"app@example.com\"", "holds an address:"),
        ("\"pay@bank.example\"", "an address of another domain"),
        ("=?utf-8?q?Shop_=F0=9F=8E=81?=", "emoji"),
        ("=?utf-8?q?Shop_=E2=9C=85?=", "emoji"),
        ("=?utf-8?q?Sh=E2=80=8Bop?=", "invisible"),
        ("=?utf-8?q?=E2=80=AEpohS?=", "invisible"),
        ("\"Jane Doe (2)\"", "count of a conversation"),
    ] {
        only(&GOOD.replace("App", name), None, words);
    }
    for name in ["=?utf-8?q?Z=C3=A9?=", "\"Doe (Sales)\"", "\"A & B, Inc.\"", "=?utf-8?b?5bGx55Sw?="] {
        assert_eq!(defects(&GOOD.replace("App", name)), [], "{name}");
    }
    only(&GOOD.replace("App <", "Your order <").replace("Subject: hello", "Subject: Your order"), None, "is the subject");
    assert_eq!(defects(&GOOD.replace("Subject: hello", "Subject: App")), [], "short names may be it by chance");
    only(&GOOD.replace("app@example.com", "app@gmail.com"), None, "gmail.com");
}

#[test]
fn one_click_unsubscription_is_looked_at_whole() {
    let list = |uris: &str, post: &str| {
        let post = if post.is_empty() { String::new() } else { format!("List-Unsubscribe-Post: {post}\r\n") };
        format!("List-Unsubscribe: {uris}\r\n{post}{GOOD}")
    };
    let texts = |message: &str| defects(message).into_iter().map(|defect| defect.text).collect::<Vec<_>>().join("|");
    let unsigned = "no signature that passes covers List-Unsubscribe and List-Unsubscribe-Post: receivers offer no one-click button (RFC 8058 §4)";
    assert_eq!(texts(&list("<https://example.com/u>", "List-Unsubscribe=One-Click")), unsigned);
    assert_eq!(texts(&list("<mailto:u@example.com>, <HTTPS://example.com/u>", "List-Unsubscribe=One-Click")), unsigned);
    for (uris, post, words) in [
        ("<mailto:u@example.com>", "List-Unsubscribe=One-Click", "holds 0 https"),
        ("<http://example.com/u>", "List-Unsubscribe=One-Click", "holds 0 https"),
        ("<https://example.com/u>, <https://example.net/u>", "List-Unsubscribe=One-Click", "holds 2 https"),
        ("<https://example.com/u>", "", "List-Unsubscribe-Post is missing"),
        ("<https://example.com/u>", "One-Click", "expected \"List-Unsubscribe=One-Click\""),
    ] {
        assert!(texts(&list(uris, post)).contains(words), "{words}: {}", texts(&list(uris, post)));
    }
    assert!(texts(&with("List-Unsubscribe-Post: List-Unsubscribe=One-Click")).contains("without List-Unsubscribe"));
    let twice = format!("List-Unsubscribe: <https://example.net/u>\r\n{}", list("<https://example.com/u>", "List-Unsubscribe=One-Click"));
    assert!(texts(&twice).contains("2 List-Unsubscribe fields"));
    assert_eq!(defects_of(GOOD, true).len(), 1, "bulk mail is told that it may need it");
}

/// RFC 8058 §4: a signature that passes and covers both.
#[test]
fn the_button_needs_a_signature_over_both_fields() {
    use base64::Engine as _;
    use mail_auth::headers::HeaderWriter as _;
    let pkcs8 = mail_auth::crypto::Ed25519Key::generate_pkcs8().unwrap();
    let key = || mail_auth::crypto::Ed25519Key::from_pkcs8_der(&pkcs8).unwrap();
    let record = format!("v=DKIM1; k=ed25519; p={}", base64::engine::general_purpose::STANDARD.encode(key().public_key()));
    let message = with("List-Unsubscribe: <https://example.com/u>\r\nList-Unsubscribe-Post: List-Unsubscribe=One-Click");
    for (names, fine) in [(&["From", "List-Unsubscribe", "List-Unsubscribe-Post"][..], true), (&["From", "List-Unsubscribe"], false), (&["From"], false)] {
        let signer = mail_auth::dkim::DkimSigner::from_key(key()).domain("example.com").selector("s1").headers(names.iter().copied());
        let sealed = format!("{}{message}", signer.sign(message.as_bytes()).unwrap().to_header());
        let headers = Headers::parse(sealed.as_bytes()).unwrap();
        let field = headers.named("DKIM-Signature").next().unwrap();
        let signature = ForeignSignature::read(&field, FieldName::Dkim);
        let keys = KeyTexts::from([(signature.key_name().unwrap().clone(), Ok(vec![record.clone()]))]);
        let outcome = Signed::new(&headers, sealed.as_bytes()).verify(&field, &signature, &keys, postseal::clock::now());
        assert!(outcome.is_ok(), "{outcome:?}");
        let signatures = [(signature, outcome)];
        let now = Timestamp::from_unix_seconds(NOW);
        let found = form(&Form { message: sealed.as_bytes(), headers: &headers, signatures: &signatures, bulk: true, now });
        assert_eq!(found.is_empty(), fine, "{names:?}: {found:?}");
    }
}
