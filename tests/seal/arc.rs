//! ARC sets and chains over several hops, judged by mail-auth.

use super::support::{LETTER, NOW, World, from_author, from_list, message, sealed};
use postseal::mail::{Headers, Message};
use postseal::seal::dkim::verify::fetched;
use postseal::seal::verified::{key_names, verified};
use postseal::seal::{ArcMode, FieldKind, Plan, make};

fn pass_on(octets: Vec<u8>) -> Message {
    Message::parse(octets.into()).unwrap()
}

fn results(seal: &postseal::seal::Seal) -> String {
    let field = seal.fields.iter().find(|field| field.kind == FieldKind::ArcAuthenticationResults).unwrap();
    field.text.replace("\r\n ", " ").trim_end().to_owned()
}

#[tokio::test]
async fn mail_born_here_says_honestly_what_is_known_of_it() {
    let world = World::new();
    let letter = message(LETTER);
    let seal = world.seal(&letter, &from_author()).await;
    assert_eq!(results(&seal), "ARC-Authentication-Results: i=1; mx.postseal.example; auth=pass");
    let network = postseal::seal::Request { authenticated: false, ..from_author() };
    assert_eq!(results(&world.seal(&letter, &network).await), "ARC-Authentication-Results: i=1; mx.postseal.example; auth=none");
    let text = seal.fields.iter().find(|field| field.kind == FieldKind::ArcSeal).unwrap().text.replace("\r\n", "");
    assert!(text.starts_with(&format!("ARC-Seal: i=1; a=rsa-sha256; t={}; cv=none; d=author.example; s=r1; b=", NOW.unix_seconds())), "{text}");
}

#[tokio::test]
async fn a_chain_of_two_hops_passes_and_the_second_tells_of_the_first() {
    let world = World::new();
    let letter = message(LETTER);
    let first = pass_on(sealed(&world.seal(&letter, &from_author()).await, &letter, true));
    let second = world.seal(&first, &from_list()).await;
    let kinds: Vec<_> = second.fields.iter().map(|field| field.kind).collect();
    assert_eq!(kinds, [FieldKind::ArcSeal, FieldKind::ArcMessageSignature, FieldKind::ArcAuthenticationResults], "no author signature");
    let said = results(&second);
    assert!(
        said.starts_with("ARC-Authentication-Results: i=2; mx.postseal.example; arc=pass; dkim=pass header.d=author.example header.s=e1 header.b="),
        "{said}"
    );
    assert_eq!(said.matches("dkim=pass").count(), 3);
    assert_eq!(world.verdict(&sealed(&second, &first, true)).await, "e1=pass r1=pass p1=pass arc=pass");
}

#[tokio::test]
async fn a_broken_chain_is_sealed_once_more_as_failed_and_then_left_alone() {
    let world = World::new();
    let letter = message(LETTER);
    let first = sealed(&world.seal(&letter, &from_author()).await, &letter, true);
    let changed = pass_on([first, b"-- \r\nThe list\r\n".to_vec()].concat());
    assert_eq!(world.verdict(changed.octets()).await, "e1=fail r1=fail p1=fail arc=fail");
    let second = world.seal(&changed, &from_list()).await;
    let plan = second.plan.arc.clone().unwrap();
    assert_eq!((plan.instance, plan.cv.as_str()), (2, "fail"));
    let third = pass_on(sealed(&second, &changed, true));
    assert!(world.examine(third.octets()).await.chain.ended);
    assert_eq!(world.plan(&third, &from_list()).await.arc, None);
}

#[tokio::test]
async fn a_list_continues_a_chain_that_its_own_border_host_found_whole() {
    let mut world = World::new();
    world.rules.trusted_authserv_ids = vec!["border.list.example".into()];
    let letter = message(LETTER);
    let first = sealed(&world.seal(&letter, &from_author()).await, &letter, true);
    let seen =
        b"Authentication-Results: border.list.example; arc=pass; spf=pass smtp.mailfrom=author.example;\r\n dkim=pass header.d=author.example; auth=pass\r\n";
    let forged = b"Authentication-Results: evil.example; dmarc=pass header.from=bank.example\r\n";
    let changed = pass_on([&seen[..], &forged[..], &first, b"-- \r\nThe list\r\n"].concat());
    let second = world.seal(&changed, &from_list()).await;
    assert_eq!(
        results(&second),
        "ARC-Authentication-Results: i=2; mx.postseal.example; arc=pass; spf=pass smtp.mailfrom=author.example; dkim=pass header.d=author.example"
    );
    assert_eq!(world.examine(&sealed(&second, &changed, true)).await.chain.status.as_str(), "pass");

    world.rules.trusted_authserv_ids.clear();
    assert_eq!(world.plan(&changed, &from_list()).await.arc.unwrap().cv, "fail", "nobody vouches");
}

#[tokio::test]
async fn what_trusted_hosts_say_at_length_is_left_out() {
    let mut world = World::new();
    world.rules.trusted_authserv_ids = vec!["border.list.example".into()];
    let reason = |octets: usize| format!("\"{}\"", "long story\r\n ".repeat(octets / 11));
    let said = |result: &str| pass_on(format!("Authentication-Results: border.list.example; spf=pass{result}\r\n{LETTER}").into());
    for (octets, kept) in [(800, true), (1_000, false)] {
        let seal = world.seal(&said(&format!("; dmarc=fail reason={}", reason(octets))), &from_list()).await;
        assert_eq!((results(&seal).contains("dmarc=fail"), results(&seal).contains("spf=pass")), (kept, true));
        assert!(seal.fields.iter().flat_map(|field| field.text.lines()).all(|line| line.len() <= 998));
    }
    let seal = world.seal(&said(&format!("; dmarc=fail reason={}", reason(800)).repeat(14)), &from_list()).await;
    let kept = results(&seal);
    assert!(kept.matches("dmarc=fail").count() >= 9 && kept.len() <= 8_400, "{} octets", kept.len());
}

#[tokio::test]
async fn a_chain_whose_keys_cannot_be_asked_for_travels_as_it_came() {
    let mut world = World::new();
    let letter = message(LETTER);
    let first = pass_on(sealed(&world.seal(&letter, &from_author()).await, &letter, true));
    world.dns.silence("r1._domainkey.author.example");
    let examined = world.examine(first.octets()).await;
    assert!(examined.chain.unknown && !examined.chain.ended);
    assert_eq!(world.plan(&first, &from_list()).await.arc, None, "cv=fail would end it for good");
    assert_eq!(examined.foreign_signature_verifies(), Some(true), "e1 and p1 are known to");

    world.rules.trusted_authserv_ids = vec!["border.list.example".into()];
    let vouched = pass_on([&b"Authentication-Results: border.list.example; arc=pass\r\n"[..], first.octets()].concat());
    assert_eq!(world.plan(&vouched, &from_list()).await.arc.unwrap().cv, "pass");
}

#[tokio::test]
async fn a_chain_grows_to_fifty_sets_and_no_further() {
    let world = World::new();
    let mut hop = message(LETTER);
    for instance in 1..=50 {
        let plan = world.plan(&hop, &from_list()).await;
        assert_eq!(plan.arc.as_ref().map(|arc| u32::from(arc.instance)), Some(instance));
        let seal = make(&plan, &hop, &world.rules, NOW).unwrap();
        hop = pass_on(sealed(&seal, &hop, true));
    }
    assert_eq!(world.verdict(hop.octets()).await, "arc=pass");
    assert_eq!(world.plan(&hop, &from_list()).await.arc, None);
}

#[tokio::test]
async fn sets_are_made_when_the_operator_wants_them() {
    let mut world = World::new();
    let letter = message(LETTER);
    let through = pass_on(sealed(&world.seal(&letter, &from_author()).await, &letter, true));
    for (mode, expected) in [(ArcMode::Always, [true, true, true]), (ArcMode::Forwarded, [false, true, true]), (ArcMode::Never, [false, false, false])] {
        world.rules.arc = mode;
        let made = [
            world.plan(&letter, &from_author()).await.arc.is_some(),
            world.plan(&letter, &from_list()).await.arc.is_some(),
            world.plan(&through, &from_author()).await.arc.is_some(),
        ];
        assert_eq!(made, expected, "{mode:?}");
    }
}

#[tokio::test]
async fn tampering_with_any_field_of_a_set_breaks_the_chain() {
    let world = World::new();
    let letter = message(LETTER);
    let first = pass_on(sealed(&world.seal(&letter, &from_author()).await, &letter, true));
    let text = String::from_utf8(sealed(&world.seal(&first, &from_list()).await, &first, true)).unwrap();
    for (from, to) in [
        ("i=1; mx.postseal.example; auth=pass", "i=1; mx.postseal.example; auth=none"),
        ("cv=none", "cv=pass"),
        ("ARC-Seal: i=1", "ARC-Seal: i=3"),
        ("i=2; mx.postseal.example", "i=2; mx.other.example"),
        ("ARC-Message-Signature: i=1", "ARC-Message-Signature: i=2"),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        assert_eq!(world.examine(text.replace(from, to).as_bytes()).await.chain.status.as_str(), "fail", "{from}");
    }
}

#[tokio::test]
async fn arc_covers_signatures_below_and_those_alone() {
    let world = World::new();
    let foreign = format!("DKIM-Signature: v=1; a=rsa-sha256; d=gone.example; s=g; h=from; bh=YQ==; b=YQ==\r\n{LETTER}");
    let seal = world.seal(&message(&foreign), &from_author()).await;
    let covered = |kind| seal.fields.iter().find(|field| field.kind == kind).unwrap().text.replace("\r\n ", "").matches("dkim-signature").count();
    assert_eq!(covered(FieldKind::ArcMessageSignature), 3, "RSA, third party and the foreign one");
    assert_eq!(covered(FieldKind::Rsa), 0);
    let bare = make(&Plan { third_party: None, ..seal.plan.clone() }, &message(LETTER), &world.rules, NOW).unwrap();
    assert_eq!(
        bare.fields.iter().find(|field| field.kind == FieldKind::ArcMessageSignature).unwrap().text.replace("\r\n ", "").matches("dkim-signature").count(),
        1
    );
}

/// RFC 8617 §5.2, step 5: a chain stays whole where the message was changed before its newest set; what is said of it tells since when.
#[tokio::test]
async fn a_whole_chain_tells_since_which_set_the_message_is_as_it_is() {
    let mut world = World::new();
    world.rules.trusted_authserv_ids = vec!["border.list.example".into()];
    let letter = message(LETTER);
    let first = sealed(&world.seal(&letter, &from_author()).await, &letter, true);
    let seen = b"Authentication-Results: border.list.example; arc=pass\r\n";
    let untouched = pass_on(first.clone());
    let untouched = sealed(&world.seal(&untouched, &from_list()).await, &untouched, true);
    let changed = pass_on([&seen[..], &first, b"-- \r\nThe list\r\n"].concat());
    let changed = sealed(&world.seal(&changed, &from_list()).await, &changed, true);
    let third = pass_on(changed.clone());
    let third = sealed(&world.seal(&third, &from_list()).await, &third, true);
    for (octets, sets, oldest) in [(&first, 1, 0), (&untouched, 2, 0), (&changed, 2, 2), (&third, 3, 2)] {
        let headers = Headers::parse(octets).unwrap();
        let keys = fetched(&world.dns, key_names(&headers, 10)).await;
        let chain = verified(octets, &headers, &keys, NOW, 10).chain;
        assert_eq!((chain.status.as_str(), chain.chain.highest, chain.oldest_pass, chain.why.as_str()), ("pass", sets, Some(oldest), ""));
    }
    let again = [&third[..], b"changed once more\r\n"].concat();
    let headers = Headers::parse(&again).unwrap();
    let chain = verified(&again, &headers, &fetched(&world.dns, key_names(&headers, 10)).await, NOW, 10).chain;
    assert_eq!((chain.status.as_str(), chain.oldest_pass), ("fail", None));
    assert!(chain.why.starts_with("message signature 3: the body was changed"), "{}", chain.why);
}
