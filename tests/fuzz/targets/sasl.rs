//! What a client says to prove who it is, and the credentials that an operator writes.

use super::draw::Draw;
use postseal::ingress::sasl::{Credential, Gate, Limits, Sasl, Step, User, scram_verifier};
use postseal::mail::IdentityName;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

pub fn run(octets: &[u8]) {
    if let Ok(text) = std::str::from_utf8(octets)
        && let Ok(credential) = Credential::parse(text)
    {
        assert!(!format!("{credential:?}").contains(text.rsplit('$').next().unwrap()), "a credential prints its secret");
    }
    let mut draw = Draw::of(octets);
    let mechanism = ["PLAIN", "LOGIN", "SCRAM-SHA-256"][usize::from(draw.octet()) % 3];
    let responses: Vec<&[u8]> = draw.rest().split(|octet| *octet == b'\n').take(RESPONSES_MAX).collect();
    let told = RUNTIME.with(|runtime| runtime.block_on(told(mechanism, &responses)));
    if let Step::Accepted { user, .. } = told
        && responses.iter().all(|response| response.is_ascii())
    {
        assert_eq!(user, "app");
        match mechanism {
            "PLAIN" => assert!(responses.iter().any(|response| response.ends_with(b"\0app\0secret"))),
            "LOGIN" => assert!(responses.windows(2).any(|pair| pair == [b"app", &b"secret"[..]])),
            _ => panic!("nobody can know our nonce"),
        }
    }
}

async fn told(mechanism: &str, responses: &[&[u8]]) -> Step {
    let mut exchange = SASL.start(mechanism).expect("it is offered");
    let mut last = exchange.step(None).await;
    for response in responses {
        let Step::Challenge(challenge) = &last else { break };
        assert!(challenge.len() <= 8192);
        last = exchange.step(Some(response)).await;
    }
    last
}

/// One user, whose verifier serves all mechanisms. Nobody is made to wait.
static SASL: LazyLock<Arc<Sasl>> = LazyLock::new(|| {
    let credential = Credential::parse(&scram_verifier("secret", 4096, b"salt of this test").unwrap()).unwrap();
    let limits = Limits { failures_max: u32::MAX, failure_delay: Duration::ZERO, failure_delay_max: Duration::ZERO, ..Limits::default() };
    let user = User { name: "app".to_owned(), identity: IdentityName::new("app"), credential };
    Arc::new(Sasl::new(vec![user], Gate::new(limits)).unwrap())
});

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
}

const RESPONSES_MAX: usize = 4;
