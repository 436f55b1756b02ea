//! A central relay behind sidecars: bounce addresses that a postseal made already stay, if it is trusted and they are ours; and so do its seals.

use super::{World, domain, sent, submission};
use postseal::mail::{IdentityName, ReversePath};
use postseal::seal::{DomainSeal, Sealed};

const MESSAGE: &[u8] = b"From: app@author.example\r\nTo: you@example.net\r\nSubject: hello\r\n\r\nHello.\r\n";

/// The reverse-path that leaves, of what `identity` submits with this one.
async fn leaves_with(world: &World, identity: &str, reverse_path: &ReversePath) -> ReversePath {
    let mut case = submission("app@author.example", &["you@example.net"], MESSAGE.to_vec());
    case.envelope.reverse_path = reverse_path.clone();
    case.client.identity = IdentityName::new(identity);
    world.run(&case).await.unwrap()[0].recipients[0].reverse_path.clone()
}

#[tokio::test]
async fn a_token_of_ours_stays_if_a_trusted_upstream_brings_it() {
    let mut world = World::new();
    let mut trusted = world.rules.policy.identities[&IdentityName::new("app")].clone();
    trusted.trusted_upstream = true;
    world.rules.policy.identities.insert(IdentityName::new("sidecar"), trusted);

    let token = leaves_with(&world, "app", &super::path("app@author.example")).await;
    assert_eq!(leaves_with(&world, "sidecar", &token).await, token);
    assert_ne!(leaves_with(&world, "app", &token).await, token, "an application may not bring its own");
    let forged = super::path("baevqhra76hkx5i5jutkhcjaallwohmhboahqxaa6@b.author.example");
    assert_ne!(leaves_with(&world, "sidecar", &forged).await, forged, "not of our secret");
}

/// What a sidecar has sealed, brought to the central relay with the fields that it adds, by `identity`.
async fn brought(world: &World, identity: &str) -> Sealed {
    let sealed = sealed_by_a_sidecar().await;
    let mut case = submission("app@author.example", &["you@example.net"], [b"X-Postseal-Track-Id: order-7\r\n".to_vec(), sealed].concat());
    case.client.identity = IdentityName::new(identity);
    world.run(&case).await.unwrap().remove(0)
}

async fn sealed_by_a_sidecar() -> Vec<u8> {
    let sidecar = World::new();
    let case = submission("app@author.example", &["you@example.net"], MESSAGE.to_vec());
    sent(&sidecar.run(&case).await.unwrap()[0], true)
}

fn with_sidecar() -> World {
    let mut world = World::new();
    let mut trusted = world.rules.policy.identities[&IdentityName::new("app")].clone();
    trusted.trusted_upstream = true;
    world.rules.policy.identities.insert(IdentityName::new("sidecar"), trusted);
    world
}

#[tokio::test]
async fn what_a_trusted_upstream_has_sealed_is_not_sealed_again_and_stays_good() {
    let world = with_sidecar();
    let mail = brought(&world, "sidecar").await;
    assert_eq!((mail.seal.plan.author.as_deref(), mail.seal.plan.third_party.as_deref(), mail.track_id.as_deref()), (None, None, Some("order-7")));
    let octets = sent(&mail, true);
    let verdict = world.verdict(&octets).await;
    assert_eq!(verdict, world.verdict(&sealed_by_a_sidecar().await).await, "the sidecar's own signatures, no more and no less");
    assert!(verdict.contains("r1=pass") && verdict.ends_with("arc=pass"), "{verdict}");
    let text = String::from_utf8_lossy(&octets).into_owned();
    assert!(text.contains("ARC-Seal: i=2;") && !text.contains("X-Postseal"), "{text}");

    let by_anybody = brought(&world, "app").await;
    assert_eq!(by_anybody.seal.plan.author.as_deref(), Some("author.example"), "an application's own signature does not count");
}

#[tokio::test]
async fn a_central_relay_needs_no_key_for_what_its_sidecars_seal() {
    let mut world = with_sidecar();
    world.rules.seal.domains.insert(domain("author.example"), DomainSeal::default());
    let mail = brought(&world, "sidecar").await;
    assert!(mail.seal.plan.author.is_none() && mail.seal.plan.arc.is_none(), "{:?}", mail.seal.plan);
    assert!(world.verdict(&sent(&mail, true)).await.contains("r1=pass"));

    let mut unsealed = submission("app@author.example", &["you@example.net"], MESSAGE.to_vec());
    unsealed.client.identity = IdentityName::new("sidecar");
    let refused = world.run(&unsealed).await.unwrap_err().to_string();
    assert!(refused.starts_with("550 5.7.0 "), "what nobody has sealed is refused as ever: {refused}");
}
