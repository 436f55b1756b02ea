//! Signatures that a message came with, as the relay speaks of them; `tests/verdict/letter.rs` holds the reading itself to the standards.

use super::support::{LETTER, NOW, World, from_author, from_list, message, sealed};
use postseal::keys::Algorithm;
use postseal::mail::{Field, Headers};
use postseal::seal::dkim::canonical::select;
use postseal::seal::dkim::verify::SIGNATURES_MAX;
use postseal::seal::dkim::{BodyHash, Canonicalization, SignatureField, Signer};
use postseal::seal::{DkimResult, Examined, plan, wants_examination};

/// A genuine signature over any names.
fn sign(signer: &Signer, text: &str, names: &[&str], expires: Option<i64>) -> String {
    let headers = Headers::parse(text.as_bytes()).unwrap();
    let fields: Vec<Field<'_>> = headers.iter().collect();
    let body = BodyHash::of(&text.as_bytes()[headers.body_start()..], Canonicalization::Relaxed);
    let field = SignatureField::over_message(None, signer, body, names, NOW, expires);
    field.sign(&select(&fields, names), signer.key()).unwrap() + text
}

async fn results(world: &World, text: &str) -> Vec<DkimResult> {
    world.examine(text.as_bytes()).await.dkim.iter().map(|fact| fact.result).collect()
}

#[tokio::test]
async fn a_signature_is_judged_as_the_standards_say() {
    let mut world = World::new();
    let key = world.key("other.example", "o1", Algorithm::Rsa);
    let good = sign(&key, LETTER, &["from", "to"], None);
    assert_eq!(results(&world, &good).await, [DkimResult::Pass]);
    assert_eq!(world.examine(good.as_bytes()).await.foreign_signature_verifies(), Some(true));

    assert_eq!(results(&world, &sign(&key, LETTER, &["to", "subject"], None)).await, [DkimResult::PermError], "From is not signed");
    assert_eq!(results(&world, &good.replace("Thank you", "Thank me")).await, [DkimResult::Fail], "body hash");
    assert_eq!(results(&world, &good.replace("zoe@", "eve@")).await, [DkimResult::Fail]);
    assert_eq!(results(&world, &good.replace("rsa-sha256", "rsa-sha1")).await, [DkimResult::Policy]);
    assert_eq!(results(&world, &good.replace("s=o1", "s=o2")).await, [DkimResult::PermError], "no key");
    assert_eq!(results(&world, &good.replace("v=1;", "v=1; l=3;")).await, [DkimResult::Fail]);
    assert_eq!(results(&world, &good.replace("v=1;", "v=2;")).await, [DkimResult::Neutral]);
    assert_eq!(results(&world, &sign(&key, LETTER, &["from"], Some(NOW.unix_seconds() - 1))).await, [DkimResult::Neutral], "expired");
    assert_eq!(results(&world, &format!("DKIM-Signature: nonsense\r\n{LETTER}")).await, [DkimResult::Neutral]);
    assert_eq!(world.examine(LETTER.as_bytes()).await, Examined::default());
}

#[tokio::test]
async fn a_message_with_many_signatures_costs_no_more_than_a_few() {
    let mut world = World::new();
    let key = world.key("other.example", "o1", Algorithm::Ed25519);
    let mut text = LETTER.to_owned();
    for _ in 0..SIGNATURES_MAX {
        text = sign(&key, &text, &["from"], None);
    }
    assert_eq!(results(&world, &text).await, [DkimResult::Pass; SIGNATURES_MAX]);
    assert_eq!(results(&world, &sign(&key, &text, &["from"], None)).await, [DkimResult::Pass; SIGNATURES_MAX], "the eleventh is not looked at");
    let rubbish = "DKIM-Signature: rubbish\r\n".repeat(3 * SIGNATURES_MAX);
    let found = world.examine(format!("{rubbish}{text}").as_bytes()).await;
    assert_eq!(found.dkim.len(), 2 * SIGNATURES_MAX);
    assert_eq!(found.foreign_signature_verifies(), Some(true), "rubbish on top hides nothing");
}

#[tokio::test]
async fn a_signature_below_ours_survives() {
    let mut world = World::new();
    let key = world.key("other.example", "o1", Algorithm::Rsa);
    let signed = message(&sign(&key, LETTER, &["from", "to"], None));
    let seal = world.seal(&signed, &from_author()).await;
    assert_eq!(world.verdict(&sealed(&seal, &signed, true)).await, "e1=pass r1=pass p1=pass o1=pass arc=pass");
    let said = seal.plan.arc.unwrap().results;
    assert!(said.starts_with("mx.postseal.example; auth=pass; arc=none; dkim=pass header.d=other.example header.s=o1 header.b="), "{said}");
}

#[tokio::test]
async fn where_the_dns_did_not_answer_nothing_is_claimed_and_nothing_changed() {
    let world = World::new();
    let letter = message(LETTER);
    let through = sealed(&world.seal(&letter, &from_author()).await, &letter, true);
    let headers = Headers::parse(&through).unwrap();
    let found = Examined::unanswered(&headers);
    assert!(!found.dkim.is_empty() && found.dkim.iter().all(|fact| fact.result == DkimResult::TempError));
    assert_eq!(found.foreign_signature_verifies(), None, "it may");
    assert!(plan(&from_list(), &headers, &found, &world.rules).unwrap().arc.is_none(), "neither pass nor fail may be said of the chain");
    assert_eq!(Examined::unanswered(&Headers::parse(LETTER.as_bytes()).unwrap()), Examined::default());
}

#[test]
fn only_messages_with_signatures_need_the_dns() {
    for (field, wanted) in
        [("DKIM-Signature: x", true), ("arc-seal: x", true), ("ARC-Authentication-Results: x", true), ("Authentication-Results: x", false), ("From: a", false)]
    {
        assert_eq!(wants_examination(&Headers::parse(format!("{field}\r\n").as_bytes()).unwrap()), wanted, "{field}");
    }
}

#[tokio::test]
async fn junk_is_examined_without_harm() {
    let world = World::new();
    for octets in [&b""[..], b"\r\n", b"no header", b"From: a\nTo: b\n", b"ARC-Seal: i=99999999999\r\n\r\n", b"DKIM-Signature:\r\n\r\n", b"\xff\xfe"] {
        let _ = world.examine(octets).await;
    }
}
