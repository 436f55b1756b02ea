//! A central relay behind sidecars: bounce addresses that a postseal made already stay, if it is trusted and they are ours.

use super::{World, submission};
use postseal::mail::{IdentityName, ReversePath};

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
