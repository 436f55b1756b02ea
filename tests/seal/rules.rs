//! What the operator's rules make of a plan, and when a seal has to be made again.

use super::support::{LETTER, NOW, World, domain, from_author, from_list, message};
use postseal::keys::Algorithm;
use postseal::mail::{Blame, KeyId, RouteName, Selector};
use postseal::seal::dkim::algorithm::SignFailed;
use postseal::seal::dkim::{Signer, SigningKey};
use postseal::seal::{Examined, FieldKind, Lost, LostKey, NoKey, RouteProfile, SealError, make, needs_resealing, plan};
use std::collections::BTreeMap;
use std::time::Duration;

fn planned(world: &World) -> Result<postseal::seal::Plan, postseal::mail::Refusal> {
    plan(&from_author(), &message(LETTER).headers(), &Examined::default(), &world.rules)
}

#[test]
fn mail_without_a_key_is_refused_with_the_remedy_or_passed_as_the_operator_says() {
    let mut world = World::new();
    world.rules.domains.get_mut(&domain("author.example")).unwrap().rsa.clear(); // Ed25519 alone does not count
    let refusal = planned(&world).unwrap_err();
    assert_eq!((refusal.code, refusal.blame), (550, Blame::Operator));
    assert!(refusal.text.contains("`postseal key create author.example`"), "{refusal}");
    world.rules.no_key = NoKey::Pass;
    let platform = Some("platform.example".to_owned());
    assert_eq!(planned(&world).unwrap(), postseal::seal::Plan { third_party: platform, ..Default::default() }, "better than no signature");
    world.rules.domains.remove(&domain("platform.example"));
    assert_eq!(planned(&world).unwrap(), postseal::seal::Plan::default());

    let mut world = World::new();
    world.rules.domains.remove(&domain("platform.example"));
    assert!(planned(&world).unwrap_err().text.contains("postseal key create platform.example"));
    world.rules.domains.remove(&domain("list.example"));
    assert!(plan(&from_list(), &message(LETTER).headers(), &Examined::default(), &world.rules).is_err(), "ARC needs a key too");
    world.rules.arc = postseal::seal::ArcMode::Never;
    assert!(plan(&from_list(), &message(LETTER).headers(), &Examined::default(), &world.rules).is_ok(), "nothing to sign");
}

#[test]
fn a_smart_hosts_profile_is_kept_to() {
    let mut world = World::new();
    let unsigned = vec!["Message-ID".to_owned(), "date".to_owned(), "From".to_owned()];
    world.rules.profiles.insert(RouteName::new("mx"), RouteProfile { ed25519: false, arc: false, unsigned, dkim: true });
    let plan = planned(&world).unwrap();
    assert_eq!((plan.ed25519, &plan.arc, &plan.unsigned), (false, &None, &vec!["message-id".to_owned(), "date".to_owned()]));
    let seal = make(&plan, &message(LETTER), &world.rules, NOW).unwrap();
    assert_eq!(seal.fields.iter().map(|field| field.kind).collect::<Vec<_>>(), [FieldKind::Rsa, FieldKind::ThirdParty]);
    assert!(!seal.fields[0].text.contains("message-id") && seal.fields[0].text.contains("h=from:from:"));

    world.rules.profiles.insert(RouteName::new("mx"), RouteProfile { dkim: false, arc: false, ..RouteProfile::default() });
    assert_eq!(planned(&world).unwrap(), postseal::seal::Plan::default());
}

#[test]
fn every_active_key_signs_and_ed25519_only_where_it_is_on() {
    let mut world = World::new();
    let second = world.key("author.example", "r2", Algorithm::Rsa);
    let author = world.rules.domains.get_mut(&domain("author.example")).unwrap();
    author.rsa.push(second);
    author.ed25519_on = false;
    let seal = make(&planned(&world).unwrap(), &message(LETTER), &world.rules, NOW).unwrap();
    let keys: Vec<&str> = seal.keys().collect();
    let (r1, r2, p1) = ("r1._domainkey.author.example", "r2._domainkey.author.example", "p1._domainkey.platform.example");
    assert_eq!(keys, [r1, r1, r1, r2, p1], "ARC-Seal, ARC-Message-Signature, both RSA keys, third party");
}

#[test]
fn a_seal_is_made_again_when_a_key_is_gone_or_x_is_near() {
    let mut world = World::new();
    world.rules.expires = Some(Duration::from_hours(7 * 24));
    let plan = planned(&world).unwrap();
    let seal = make(&plan, &message(LETTER), &world.rules, NOW).unwrap();
    assert!(!needs_resealing(&seal, &world.rules, NOW));
    assert!(!needs_resealing(&seal, &world.rules, NOW + Duration::from_hours(6 * 24) - Duration::from_secs(1)));
    assert!(needs_resealing(&seal, &world.rules, NOW + Duration::from_hours(6 * 24)));

    let fresh = world.key("author.example", "r2", Algorithm::Rsa);
    let author = world.rules.domains.get_mut(&domain("author.example")).unwrap();
    let old = std::mem::replace(&mut author.rsa, vec![fresh]).remove(0);
    author.retiring.push(old.id.clone());
    assert!(!needs_resealing(&seal, &world.rules, NOW), "a retiring key's record is still there");
    world.rules.domains.get_mut(&domain("author.example")).unwrap().retiring.clear();
    assert!(needs_resealing(&seal, &world.rules, NOW));
    let again = make(&seal.plan, &message(LETTER), &world.rules, NOW).unwrap();
    assert!(!needs_resealing(&again, &world.rules, NOW) && !again.is_made_by(&old.id));

    world.rules.domains.remove(&domain("author.example"));
    let error = make(&seal.plan, &message(LETTER), &world.rules, NOW).unwrap_err();
    assert_eq!(error, SealError::NoKey("author.example".into()));
    assert_eq!((error.blame(), error.refusal().code), (Blame::Operator, 550));
}

/// A key whose signatures are of nothing.
struct Liar;

impl SigningKey for Liar {
    fn algorithm(&self) -> postseal::seal::dkim::Algorithm {
        postseal::seal::dkim::Algorithm::RsaSha256
    }
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, SignFailed> {
        Ok(vec![0; 256])
    }
    fn confirms(&self, _: &[u8], _: &[u8]) -> bool {
        false
    }
}

#[test]
fn a_seal_that_does_not_verify_is_never_returned() {
    let mut world = World::new();
    let plan = planned(&world).unwrap();
    let id = world.rules.rsa("author.example")[0].id.clone();
    world.rules.domains.get_mut(&domain("author.example")).unwrap().rsa = vec![std::sync::Arc::new(Signer::new(id.clone(), Box::new(Liar)))];
    let error = make(&plan, &message(LETTER), &world.rules, NOW).unwrap_err();
    assert_eq!(error, SealError::Unconfirmed(id));
    assert_eq!((error.blame(), error.refusal().code), (Blame::Ourselves, 451));
}

/// Lost keys of author.example, by selector.
fn lost(selectors: &[&str], policy: LostKey) -> BTreeMap<KeyId, Lost> {
    let id = |selector: &&str| KeyId { domain: domain("author.example"), selector: Selector::new(selector) };
    selectors.iter().map(|selector| (id(selector), Lost { why: format!("{selector} is gone"), policy })).collect()
}

/// Selectors that sign, and why mail is held.
fn signs(world: &World) -> (Vec<String>, Option<String>) {
    let of = |signers: &[std::sync::Arc<Signer>]| signers.iter().map(|signer| signer.id.selector.to_string()).collect::<Vec<_>>();
    let seal = make(&planned(world).unwrap(), &message(LETTER), &world.rules, NOW).unwrap();
    let signing = [of(world.rules.rsa("author.example")), of(world.rules.ed25519("author.example"))].concat();
    (signing, world.rules.held(&domain("author.example"), &seal).map(str::to_owned))
}

#[test]
fn lost_keys_rest_while_another_rsa_key_signs_and_mail_is_held_when_none_does() {
    let mut world = World::new();
    let second = world.key("author.example", "r2", Algorithm::Rsa);
    world.rules.domains.get_mut(&domain("author.example")).unwrap().rsa.push(second);
    let before = make(&planned(&world).unwrap(), &message(LETTER), &world.rules, NOW).unwrap();
    for (selectors, policy, signing, held) in [
        (vec![], LostKey::OtherKey, "r1 r2 e1", None),
        (vec!["r1"], LostKey::OtherKey, "r2 e1", None),
        (vec!["r2", "e1"], LostKey::OtherKey, "r1", None),
        (vec!["r1", "r2"], LostKey::OtherKey, "r1 r2 e1", Some("r1 is gone")), // Ed25519 never signs alone, and what is submitted is signed
        (vec!["r2"], LostKey::Hold, "r1 r2 e1", Some("r2 is gone")),
        (vec!["e1"], LostKey::Hold, "r1 r2", None),
        (vec!["r1", "r2", "e1"], LostKey::Warn, "r1 r2 e1", None),
        (vec!["unknown"], LostKey::Hold, "r1 r2 e1", None),
        (vec![], LostKey::OtherKey, "r1 r2 e1", None), // all are back
    ] {
        world.rules.suspend(&lost(&selectors, policy));
        let (signs, why) = signs(&world);
        assert_eq!((signs.join(" ").as_str(), why.as_deref()), (signing, held), "{selectors:?} {policy:?}");
        let rests = signing != "r1 r2 e1";
        assert_eq!(needs_resealing(&before, &world.rules, NOW), rests, "waiting mail is sealed by those that sign: {selectors:?} {policy:?}");
    }
    // Held is what needs a key of the domain, and nothing else.
    world.rules.suspend(&lost(&["r1", "r2"], LostKey::OtherKey));
    let unsigned = postseal::seal::Seal { fields: Vec::new(), expires: None, plan: postseal::seal::Plan::default() };
    assert_eq!(world.rules.held(&domain("author.example"), &unsigned), None);
    assert_eq!(world.rules.held(&domain("list.example"), &before), None);
}
