use super::domain;
use super::zone::Zone;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::arc::ArcSealer;
use mail_auth::crypto::Ed25519Key;
use mail_auth::dkim::DkimSigner;
use mail_auth::dmarc::verify::DmarcParameters;
use mail_auth::headers::HeaderWriter;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{AuthenticatedMessage, AuthenticationResults, DkimResult, DmarcResult};
use postseal::mail::{Mailbox, ReversePath};
use postseal::verdict::{Check, DkimAxis, Dmarc, DmarcFact, DmarcFault, Examination, ExamineFault, Identity, Note, Policy, Received, SpfAxis, examine};

const MAIL: &str = "From: App <app@example.com>\r\nTo: jane@example.net\r\nSubject: hello\r\nMessage-ID: <1@example.com>\r\n\r\nHello.\r\n";
const IP: &str = "192.0.2.25";

/// A key, and its record.
fn key() -> (Vec<u8>, String) {
    let pkcs8 = Ed25519Key::generate_pkcs8().unwrap();
    let public = Ed25519Key::from_pkcs8_der(&pkcs8).unwrap().public_key();
    let record = format!("v=DKIM1; k=ed25519; p={}", BASE64.encode(public));
    (pkcs8, record)
}

fn signed(pkcs8: &[u8], d: &str, headers: &[&str], message: &str) -> String {
    let signer = DkimSigner::from_key(Ed25519Key::from_pkcs8_der(pkcs8).unwrap()).domain(d).selector("s1").headers(headers.iter().copied());
    format!("{}{message}", signer.sign(message.as_bytes()).unwrap().to_header())
}

async fn examined(zone: &Zone, message: &str, mail_from: &str, bulk: bool) -> Result<Examination, ExamineFault> {
    let mail_from = if mail_from.is_empty() { ReversePath::Null } else { Mailbox::parse(mail_from).unwrap().into() };
    let received = Received { message: message.as_bytes(), mail_from: &mail_from, helo: "mail.example.com", client_ip: IP.parse().unwrap(), bulk };
    examine(&received, &zone.resolver).await
}

/// What mail-auth makes of DMARC by itself.
async fn second_opinion(zone: &Zone, message: &str, sender: &str) -> DmarcResult {
    let message = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
    let dkim = zone.authenticator.verify_dkim(&message).await;
    let spf = zone.authenticator.verify_spf(SpfParameters::mail_from(IP.parse().unwrap(), "mail.example.com", "x", sender)).await;
    let sender_domain = sender.rsplit_once('@').unwrap().1;
    zone.authenticator.verify_dmarc(DmarcParameters::new(&message, &dkim, sender_domain, &spf)).await.result()
}

#[tokio::test]
async fn a_message_as_postseal_sends_it_is_aligned_twice() {
    let (pkcs8, key) = key();
    let zone = Zone::of(&[
        ("s1._domainkey.example.com", &key),
        ("b.example.com", "v=spf1 ip4:192.0.2.25 -all"),
        ("_dmarc.example.com", "v=DMARC1; p=reject; rua=mailto:d@example.com"),
    ])
    .await;
    let message = signed(&pkcs8, "example.com", &["From", "To", "Subject"], MAIL);
    let found = examined(&zone, &message, "btoken@b.example.com", true).await.unwrap();
    assert_eq!((found.verdict.spf_axis, found.verdict.dkim_axis), (SpfAxis::Aligned, DkimAxis::Author));
    assert!(found.verdict.both_aligned && found.verdict.gmail.accepts && found.verdict.fix_first.is_none(), "{found:#?}");
    assert_eq!((found.verdict.dmarc, found.verdict.policy), (Dmarc::Pass, Some(Policy::Reject)));
    assert_eq!((found.facts.dkim[0].algorithm.as_str(), found.facts.dkim[0].selector.as_str()), ("ed25519-sha256", "s1"));
    assert_eq!(found.arc.result, Check::None);
    assert_eq!(second_opinion(&zone, &message, "btoken@b.example.com").await, DmarcResult::Pass);
}

#[tokio::test]
async fn as_another_host_sends_it_spf_fails_and_dkim_saves_it() {
    let (pkcs8, key) = key();
    let zone =
        Zone::of(&[("s1._domainkey.example.com", &key), ("b.example.com", "v=spf1 ip4:198.51.100.1 ~all"), ("_dmarc.example.com", "v=DMARC1; p=none")]).await;
    let message = signed(&pkcs8, "example.com", &["From", "Subject"], MAIL);
    let found = examined(&zone, &message, "btoken@b.example.com", true).await.unwrap();
    assert_eq!((found.facts.spf.result, found.verdict.spf_axis, found.verdict.dmarc), (Check::SoftFail, SpfAxis::Fail, Dmarc::Pass));
    assert!(found.verdict.notes.contains(&Note::SpfIsNoPass(Check::SoftFail)));
    assert_eq!(found.verdict.gmail.codes, ["4.7.27", "5.7.27"]);
}

#[tokio::test]
async fn a_third_party_signature_is_told_from_the_authors() {
    let (pkcs8, key) = key();
    let zone = Zone::of(&[
        ("s1._domainkey.gappssmtp.com", &key),
        ("bounces.example.org", "v=spf1 ip4:192.0.2.0/24 -all"),
        ("_dmarc.example.com", "v=DMARC1; p=none"),
        ("_dmarc.example.org", "v=DMARC1; p=none"),
    ])
    .await;
    let message = signed(&pkcs8, "gappssmtp.com", &["From", "Subject"], MAIL);
    let found = examined(&zone, &message, "x@bounces.example.org", true).await.unwrap();
    assert_eq!((found.verdict.spf_axis, found.verdict.dkim_axis, found.verdict.dmarc), (SpfAxis::NotAligned, DkimAxis::ThirdParty, Dmarc::Fail));
    assert_eq!(found.facts.organizations[&domain("bounces.example.org")], domain("example.org"));
    assert!(matches!(second_opinion(&zone, &message, "x@bounces.example.org").await, DmarcResult::Fail(_)));
}

/// The bounce domain has a walk of its own: with a record below the apex only, a sibling is not aligned, whatever looks so.
#[tokio::test]
async fn a_sibling_of_the_author_domain_is_not_aligned_by_looks() {
    let zone = Zone::of(&[("b.example.com", "v=spf1 ip4:192.0.2.25 -all"), ("_dmarc.mail.example.com", "v=DMARC1; p=none")]).await;
    let message = MAIL.replace("app@example.com", "app@mail.example.com");
    let found = examined(&zone, &message, "btoken@b.example.com", true).await.unwrap();
    assert_eq!((found.verdict.spf_axis, found.verdict.dmarc), (SpfAxis::NotAligned, Dmarc::Fail));
    assert!(matches!(second_opinion(&zone, &message, "btoken@b.example.com").await, DmarcResult::Fail(_)));
}

#[tokio::test]
async fn a_changed_body_is_a_failure_and_not_neutral() {
    let (pkcs8, key) = key();
    let zone = Zone::of(&[("s1._domainkey.example.com", &key)]).await;
    let message = signed(&pkcs8, "example.com", &["From", "Subject"], MAIL).replace("Hello.", "Hullo.");
    let found = examined(&zone, &message, "app@example.com", true).await.unwrap();
    assert_eq!(found.facts.dkim[0].result, Check::Fail, "{:?}", found.facts.dkim);
    let parsed = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
    let theirs = zone.authenticator.verify_dkim(&parsed).await;
    assert!(matches!(theirs[0].result(), DkimResult::Neutral(_)), "what is corrected is still there");
}

#[tokio::test]
async fn a_signature_that_does_not_cover_from_is_none() {
    let (pkcs8, key) = key();
    let zone = Zone::of(&[("s1._domainkey.example.com", &key)]).await;
    let message = signed(&pkcs8, "example.com", &["To", "Subject"], MAIL);
    let found = examined(&zone, &message, "app@example.com", true).await.unwrap();
    assert_eq!((found.facts.dkim[0].result, found.verdict.dkim_axis), (Check::PermError, DkimAxis::Fail));
    let parsed = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
    let theirs = zone.authenticator.verify_dkim(&parsed).await;
    assert_eq!(theirs[0].result(), &DkimResult::Pass, "what is corrected is still there");
}

#[tokio::test]
async fn rsa_sha1_passes_nowhere() {
    use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
    let made = aws_lc_rs::rsa::KeyPair::generate(KeySize::Rsa2048).unwrap();
    let private = rsa::RsaPrivateKey::from_pkcs8_der(AsDer::<Pkcs8V1Der<'_>>::as_der(&made).unwrap().as_ref()).unwrap();
    let public = private.to_public_key().to_public_key_der().unwrap();
    let zone = Zone::of(&[("s1._domainkey.example.com", &format!("v=DKIM1; k=rsa; p={}", BASE64.encode(public.as_bytes())))]).await;
    // simple/simple, h=from: RFC 6376 §3.7 by hand.
    let body = BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, b"Hello.\r\n"));
    let field = format!("DKIM-Signature: v=1; a=rsa-sha1; d=example.com; s=s1; h=from; bh={body}; b=");
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("From: App <app@example.com>\r\n{field}").as_bytes());
    let info = [b"\x30\x21\x30\x09\x06\x05\x2b\x0e\x03\x02\x1a\x05\x00\x04\x14", hash.as_ref()].concat();
    let signature = private.sign(rsa::Pkcs1v15Sign::new_unprefixed(), &info).unwrap();
    let message = format!("{field}{}\r\n{MAIL}", BASE64.encode(signature));
    let parsed = AuthenticatedMessage::parse(message.as_bytes()).unwrap();
    assert_eq!(zone.authenticator.verify_dkim(&parsed).await[0].result(), &DkimResult::Pass, "what is corrected is still there");
    let found = examined(&zone, &message, "app@example.com", true).await.unwrap();
    assert_eq!((found.facts.dkim[0].result, found.verdict.dkim_axis), (Check::Policy, DkimAxis::Fail));
}

#[tokio::test]
async fn signatures_that_cannot_be_read_or_found_are_counted_and_bounded() {
    let zone = Zone::of(&[("_dmarc.example.com", "v=DMARC1; p=none")]).await;
    let no_key = "DKIM-Signature: v=1; a=ed25519-sha256; d=example.com; s=none; h=from; bh=AAAA; b=AAAA\r\n";
    let found = examined(&zone, &format!("DKIM-Signature: rubbish\r\n{no_key}{MAIL}"), "app@example.com", true).await.unwrap();
    assert_eq!(found.facts.dkim.len(), 2);
    assert!(found.facts.dkim.iter().all(|signature| signature.result != Check::Pass && !signature.why.is_empty()));
    let found = examined(&zone, &format!("{}{MAIL}", no_key.repeat(60)), "app@example.com", true).await.unwrap();
    assert_eq!(found.facts.dkim.len(), 20);
}

#[tokio::test]
async fn a_null_sender_is_judged_by_the_ehlo_name() {
    let zone = Zone::of(&[("mail.example.com", "v=spf1 a -all"), ("_dmarc.example.com", "v=DMARC1; p=none")]).await;
    let found = examined(&zone, MAIL, "", true).await.unwrap();
    assert_eq!((found.facts.spf.identity, found.facts.spf.result, found.verdict.spf_axis), (Identity::Helo, Check::Pass, SpfAxis::Aligned));
    assert!(found.verdict.notes.contains(&Note::HeloIdentity));
}

#[tokio::test]
async fn a_record_without_semicolons_is_found_ignored() {
    let zone = Zone::of(&[("_dmarc.example.com", "v=DMARC1 p=none rua=mailto:d@example.com")]).await;
    let found = examined(&zone, MAIL, "app@example.com", true).await.unwrap();
    assert!(matches!(found.facts.dmarc, DmarcFact::Ignored { fault: DmarcFault::NoSemicolon(_), .. }), "{:?}", found.facts.dmarc);
    assert_eq!(found.verdict.dmarc, Dmarc::None);
    let two = Zone::of(&[("_dmarc.example.com", "v=DMARC1; p=none"), ("_dmarc.example.com", "v=DMARC1; p=reject")]).await;
    let found = examined(&two, MAIL, "app@example.com", true).await.unwrap();
    assert!(matches!(found.facts.dmarc, DmarcFact::Ignored { fault: DmarcFault::Several(2), .. }), "{:?}", found.facts.dmarc);
}

#[tokio::test]
async fn a_subdomain_that_does_not_exist_has_a_policy_of_its_own() {
    let zone = Zone::of(&[("_dmarc.example.com", "v=DMARC1; p=none; sp=quarantine; np=reject"), ("real.example.com", "text")]).await;
    for (author, policy) in [("example.com", Policy::None), ("real.example.com", Policy::Quarantine), ("unreal.example.com", Policy::Reject)] {
        let message = MAIL.replace("app@example.com", &format!("app@{author}"));
        let found = examined(&zone, &message, "x@example.net", false).await.unwrap();
        assert_eq!(found.verdict.policy, Some(policy), "{author}");
    }
}

#[tokio::test]
async fn a_silent_dns_decides_nothing() {
    let (pkcs8, _) = key();
    let message = signed(&pkcs8, "example.com", &["From"], MAIL);
    let found = examined(&Zone::silent().await, &message, "app@example.com", true).await.unwrap();
    assert_eq!((found.facts.dmarc, found.facts.spf.result, found.facts.dkim[0].result), (DmarcFact::Unknown, Check::TempError, Check::TempError));
    assert_eq!(found.verdict.dmarc, Dmarc::TempError);
}

#[tokio::test]
async fn a_message_needs_one_author() {
    let zone = Zone::of(&[]).await;
    for (message, fault) in [
        (MAIL.replace("From:", "X:"), ExamineFault::Authors(0)),
        (MAIL.replace("App <app@example.com>", "a@example.com, b@example.net"), ExamineFault::Authors(2)),
        (format!("From: b@example.com\r\n{MAIL}"), ExamineFault::Authors(2)),
        (MAIL.replace("app@example.com", "app@[192.0.2.1]"), ExamineFault::AuthorDomain("app@[192.0.2.1]".into())),
    ] {
        assert_eq!(examined(&zone, &message, "app@example.com", true).await.unwrap_err(), fault);
    }
    // RFC 9989 §5.3.1 counts domains, not addresses.
    let two = examined(&zone, &MAIL.replace("App <app@example.com>", "a@example.com, B <b@EXAMPLE.com>"), "app@example.com", true).await;
    assert_eq!(two.unwrap().facts.author, domain("example.com"));
    assert!(matches!(examined(&zone, "no header at all", "app@example.com", true).await, Err(ExamineFault::NotAMessage(_))));
}

#[tokio::test]
async fn an_arc_chain_is_verified_beside_the_verdict() {
    let (pkcs8, key) = key();
    let zone = Zone::of(&[("s1._domainkey.list.example", &key)]).await;
    let parsed = AuthenticatedMessage::parse(MAIL.as_bytes()).unwrap();
    let results = AuthenticationResults::new("list.example").with_dkim_results(&[], "example.com");
    let chain = zone.authenticator.verify_arc(&parsed).await;
    let list = ArcSealer::from_key(Ed25519Key::from_pkcs8_der(&pkcs8).unwrap()).domain("list.example").selector("s1").headers(["From", "Subject"]);
    let set = list.seal(&parsed, &results, &chain).unwrap();
    let sealed = format!("{}{MAIL}", set.to_header());
    let found = examined(&zone, &sealed, "app@example.com", true).await.unwrap();
    assert_eq!((found.arc.result, found.arc.sets), (Check::Pass, 1), "{:?}", found.arc);
    let partial = sealed.replace("ARC-Authentication-Results:", "X-Results:");
    let partial = examined(&zone, &partial, "app@example.com", true).await.unwrap();
    assert_eq!((partial.arc.result, partial.arc.why.as_str()), (Check::Fail, "set 1 does not consist of exactly one field of each kind"));
    let broken = examined(&zone, &sealed.replace("Hello.", "Hullo."), "app@example.com", true).await.unwrap();
    assert_eq!(broken.arc.result, Check::Fail, "{:?}", broken.arc);
    let second = broken.second.arc.unwrap();
    assert_eq!((second.result, second.decides), (Check::Neutral, "RFC 8617 §5.2"), "mail-auth has a fourth word");
    assert_eq!(found.second.arc, None);
    let headless = sealed.replace("ARC-Message-Signature:", "X-Signature:");
    let headless = examined(&zone, &headless, "app@example.com", true).await.unwrap();
    assert_eq!((headless.arc.result, headless.second.arc.unwrap().result), (Check::Fail, Check::None));
}
