//! DKIM signatures, judged by mail-auth.

use super::support::{LETTER, NOW, World, from_author, message, sealed};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::AuthenticatedMessage;
use mail_auth::crypto::Ed25519Key;
use mail_auth::dkim::{Canonicalization as Theirs, DkimSigner};
use postseal::keys::{Algorithm, PrivateKey};
use postseal::mail::{Field, Headers, Message};
use postseal::seal::dkim::canonical::select;
use postseal::seal::dkim::signature::canonical_fields;
use postseal::seal::dkim::{BodyHash, Canonicalization};
use postseal::seal::{Examined, FieldKind, make, plan};
use proptest::prelude::*;

#[tokio::test]
async fn every_signature_verifies_with_ed25519_kept_left_out_and_with_a_strangers_on_top() {
    let mut world = World::new();
    let stranger = world.key("stranger.example", "s1", Algorithm::Rsa);
    world.rules.domains.insert("stranger.example".parse().unwrap(), postseal::seal::DomainSeal { rsa: vec![stranger], ..Default::default() });
    let letter = message(LETTER);
    let seal = world.seal(&letter, &from_author()).await;
    let kinds: Vec<_> = seal.fields.iter().map(|field| field.kind).collect();
    assert_eq!(
        kinds,
        [FieldKind::Ed25519, FieldKind::ArcSeal, FieldKind::ArcMessageSignature, FieldKind::ArcAuthenticationResults, FieldKind::Rsa, FieldKind::ThirdParty]
    );

    assert_eq!(world.verdict(&sealed(&seal, &letter, true)).await, "e1=pass r1=pass p1=pass arc=pass");
    assert_eq!(world.verdict(&sealed(&seal, &letter, false)).await, "r1=pass p1=pass arc=pass");

    for with_ed25519 in [true, false] {
        let passing = Message::parse(sealed(&seal, &letter, with_ed25519).into()).unwrap();
        let strange = postseal::seal::Plan { author: Some("stranger.example".into()), ..Default::default() };
        let strangers = make(&strange, &passing, &world.rules, NOW).unwrap();
        let on_top = [b"Received: from a by b\r\n".to_vec(), sealed(&strangers, &passing, true)].concat();
        let expected = if with_ed25519 { "s1=pass e1=pass r1=pass p1=pass arc=pass" } else { "s1=pass r1=pass p1=pass arc=pass" };
        assert_eq!(world.verdict(&on_top).await, expected);
    }
}

#[tokio::test]
async fn a_change_to_anything_signed_is_noticed() {
    let world = World::new();
    let letter = message(LETTER);
    let octets = sealed(&world.seal(&letter, &from_author()).await, &letter, true);
    let text = String::from_utf8(octets).unwrap();
    for (from, to) in [
        ("zoe@author.example", "eve@author.example"),
        ("To: a@", "To: c@"),
        ("Your  order", "Your older"),
        ("Date: Sun, 22 Nov", "Date: Mon, 23 Nov"),
        ("<1@author", "<2@author"),
        ("MIME-Version: 1.0", "MIME-Version: 1.1"),
        ("text/plain", "text/html"),
        ("/u/1>", "/u/2>"),
        ("One-Click", "One-Clique"),
        ("1:author", "2:author"),
        ("Thank you", "Thank me"),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        let verdict = world.verdict(text.replace(from, to).as_bytes()).await;
        assert_eq!(verdict, "e1=fail r1=fail p1=fail arc=fail", "{from}");
    }
    for (from, to) in [("X-Mailer: shop", "X-Mailer: other"), ("Your  order \r\n", "Your order\r\n"), ("from pod-7", "from pod-8"), ("To: a@", "TO:  a@")] {
        assert_eq!(world.verdict(text.replace(from, to).as_bytes()).await, "e1=pass r1=pass p1=pass arc=pass", "{from}");
    }
}

#[tokio::test]
async fn nothing_that_a_reader_sees_can_be_added_and_trace_fields_can() {
    let world = World::new();
    let letter = message(LETTER);
    let octets = sealed(&world.seal(&letter, &from_author()).await, &letter, true);
    let add = |field: &str| [field.as_bytes(), b"\r\n", &octets].concat();
    for field in [
        "From: eve@evil.example",
        "Subject: Free money",
        "To: everyone@receiver.example",
        "Date: Mon, 23 Nov 2026 00:00:00 +0000",
        "Cc: more@receiver.example",
        "Reply-To: eve@evil.example",
        "Message-ID: <9@evil.example>",
        "MIME-Version: 1.0",
        "Content-Type: text/html",
        "Content-Transfer-Encoding: base64",
        "List-Unsubscribe: <https://evil.example>",
    ] {
        assert_eq!(world.verdict(&add(field)).await, "e1=fail r1=fail p1=fail arc=fail", "{field}");
    }
    for field in
        ["Received: from a by b", "Return-Path: <a@b>", "List-Id: <l.list.example>", "Authentication-Results: x; none", "X-Spam: no", "Resent-To: <x@y>"]
    {
        assert_eq!(world.verdict(&add(field)).await, "e1=pass r1=pass p1=pass arc=pass", "{field}");
    }
}

#[tokio::test]
async fn utf8_headers_are_signed_as_they_are_with_a_labels_in_d() {
    let mut world = World::new();
    let key = world.key("bücher.example", "r1", Algorithm::Rsa);
    world.rules.domains.insert("bücher.example".parse().unwrap(), postseal::seal::DomainSeal { rsa: vec![key], ..Default::default() });
    let letter = message("From: Jürgen <jürgen@bücher.example>\r\nSubject: Grüße \u{1f4ee}\r\n\r\nÄ\r\n");
    let domain = "bücher.example".parse().unwrap();
    let request = postseal::seal::Request { signing_domain: &domain, ..from_author() };
    let seal = world.seal(&letter, &request).await;
    assert!(seal.fields.iter().all(|field| field.text.is_ascii()));
    assert!(seal.fields.iter().any(|field| field.text.contains("d=xn--bcher-kva.example;")));
    assert_eq!(world.verdict(&sealed(&seal, &letter, true)).await, "r1=pass arc=pass");
}

#[tokio::test]
async fn the_same_input_gives_the_same_seal_within_78_columns() {
    let mut world = World::new();
    world.rules.expires = Some(std::time::Duration::from_hours(240));
    let letter = message(LETTER);
    let seal = world.seal(&letter, &from_author()).await;
    assert_eq!(world.seal(&letter, &from_author()).await, seal);
    let expires = NOW.unix_seconds() + 240 * 3600;
    assert_eq!(seal.expires, Some(expires));
    for field in &seal.fields {
        assert!(field.text.ends_with("\r\n") && field.text.lines().all(|line| line.len() <= 78), "{}", field.text);
        assert!(!field.text.contains(" l="));
        let dkim = matches!(field.kind, FieldKind::Ed25519 | FieldKind::Rsa | FieldKind::ThirdParty);
        assert_eq!(field.text.contains(&format!("t={}; x={expires};", NOW.unix_seconds())), dkim, "{}", field.text);
        assert_eq!(field.text.contains(&format!("t={};", NOW.unix_seconds())), field.key.is_some(), "{}", field.text);
    }
}

/// A header value with every kind of white space and folding, no controls.
fn value() -> impl Strategy<Value = String> {
    prop::collection::vec(prop_oneof!["[!-~]{1,8}", Just(" ".into()), Just("\t".into()), Just("\r\n ".into()), Just("\r\n\t".into()), Just("é".into())], 0..12)
        .prop_map(|parts| parts.concat().replace("\r\n \r\n", "\r\n ").trim_end_matches([' ', '\t', '\r', '\n']).to_owned() + " \t")
}

/// A header whose folded lines all hold something: one of white space alone is obsolete and refused elsewhere.
fn header() -> impl Strategy<Value = String> {
    let name = prop_oneof![Just("From"), Just("FROM"), Just("Subject"), Just("to"), Just("X-Other"), Just("List-Id"), Just("Content-Type")];
    prop::collection::vec((name, value()), 1..8)
        .prop_map(|fields| fields.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect::<Vec<_>>().concat() + "From: a@author.example\r\n")
        .prop_filter("lines of white space alone", |header| header.split("\r\n").all(|line| line.is_empty() || !line.trim().is_empty()))
}

fn body() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::collection::vec(prop_oneof![Just(b' '), Just(b'\t'), 33u8..=126, 128u8..=255], 0..10),
        4 => Just(b"\r\n".to_vec()),
        1 => Just(b"\r\n\r\n".to_vec()),
        1 => Just(b" \t".to_vec()),
    ];
    prop::collection::vec(piece, 0..16).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Both canonicalizations of header and body are those of mail-auth.
    #[test]
    fn canonical_forms_are_those_of_another_implementation(header in header(), body in body()) {
        let text = [header.as_bytes(), b"\r\n", &body].concat();
        let headers = Headers::parse(&text).unwrap();
        let fields: Vec<Field<'_>> = headers.iter().collect();
        let names = ["from", "subject", "x-other", "list-id", "to", "from", "from"];
        for (ours, theirs) in [(Canonicalization::Relaxed, Theirs::Relaxed), (Canonicalization::Simple, Theirs::Simple)] {
            let signer = DkimSigner::from_key(ed25519()).domain("author.example").selector("e").headers(["From"]);
            let signature = signer.header_canonicalization(theirs).body_canonicalization(theirs).sign(&text).unwrap();
            let hash = BodyHash::of(&text[headers.body_start()..], ours);
            prop_assert_eq!(BASE64.encode(hash.octets()), BASE64.encode(&signature.bh), "{:?}", ours);

            let c = ours.as_str();
            let field = format!("DKIM-Signature: v=1; a=rsa-sha256; c={c}/{c}; d=x.example; s=s; h={}; bh=YQ==; b=YQ==\r\n", names.join(":"));
            let signed = [field.as_bytes(), &text].concat();
            let parsed = AuthenticatedMessage::parse(&signed).unwrap();
            let canonical = parsed.canonicalized_dkim_headers().unwrap();
            let mine = canonical_fields(&select(&fields, &names), ours);
            prop_assert!(canonical.starts_with(&mine), "{ours:?}\n{:?}\n{:?}", String::from_utf8_lossy(&canonical), String::from_utf8_lossy(&mine));
            let rest = String::from_utf8_lossy(&canonical[mine.len()..]).to_lowercase();
            prop_assert!(rest.starts_with("dkim-signature:"), "{rest}");
        }
    }

    /// What we sign, it verifies; `d=`, folding and all.
    #[test]
    fn whatever_is_signed_verifies(header in header(), body in body()) {
        let world = WORLD.with(std::rc::Rc::clone);
        let text = [header.as_bytes(), b"\r\n", &body].concat();
        let letter = Message::parse(text.into()).unwrap();
        let plan = plan(&from_author(), &letter.headers(), &Examined::default(), &world.rules).unwrap();
        let seal = make(&plan, &letter, &world.rules, NOW).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let verdict = runtime.block_on(world.verdict(&sealed(&seal, &letter, true)));
        prop_assert_eq!(verdict, "e1=pass r1=pass p1=pass arc=pass");
    }
}

thread_local! {
    static WORLD: std::rc::Rc<World> = std::rc::Rc::new(World::new());
}

fn ed25519() -> Ed25519Key {
    static KEY: std::sync::OnceLock<PrivateKey> = std::sync::OnceLock::new();
    Ed25519Key::from_pkcs8_der(KEY.get_or_init(|| PrivateKey::generate(Algorithm::Ed25519).unwrap()).der()).unwrap()
}

#[test]
fn the_body_hash_of_nothing_is_the_rfcs() {
    // RFC 6376 §3.4.3, §3.4.4
    assert_eq!(BASE64.encode(BodyHash::of(b"", Canonicalization::Simple).octets()), "frcCV1k9oG9oKj3dpUqdJg1PxRT2RSN/XKdLCPjaYaY=");
    assert_eq!(BASE64.encode(BodyHash::of(b"", Canonicalization::Relaxed).octets()), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=");
    assert_eq!(BodyHash::of(b"\r\n", Canonicalization::Relaxed).octets(), digest(&SHA256, b"").as_ref());
}
