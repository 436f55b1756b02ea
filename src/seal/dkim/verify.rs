//! Foreign signatures and chains, examined with mail-auth. A shell: it asks DNS, and mail-auth reads the clock for `x=`.
//!
//! mail-auth is corrected where it differs from the standards: a signature that leaves From uncovered is no pass (RFC 6376 §6.1.1), nor
//! is `rsa-sha1` (RFC 8301 §3.1); a wrong body hash is a failure, not neutral; ARC needs whole sets, and any error fails the chain
//! (RFC 8617 §5.2), unless it is one that waiting mends.

use crate::mail::Headers;
use crate::seal::arc::{Chain, ChainStatus};
use crate::seal::examined::{ChainFact, DkimFact, DkimResult, Examined};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::dkim::{DkimError, Signature};
use mail_auth::{ArcResult, AuthenticatedMessage, DnsCache, MessageAuthenticator, Parameters};

/// Verifies the DKIM signatures and the ARC chain of a message. At most [`SIGNATURES_MAX`] signatures are verified, the topmost of
/// those that can be read; a chain has at most 50 sets. Bounded in time only by the resolver: set a limit around it.
///
/// # Cancel safety
/// Nothing is kept; a dropped future has only filled the cache.
pub async fn examine<C: DnsCache>(message: &[u8], authenticator: &MessageAuthenticator, cache: &C) -> Examined {
    let Ok(headers) = Headers::parse(message) else { return Examined::default() };
    let Some(mut parsed) = AuthenticatedMessage::parse(message) else { return Examined::default() };

    let mut facts = Vec::new();
    // Those that cannot be read, and those with `l=`, which mail-auth sets aside in its strict mode.
    let unread = headers.named("dkim-signature").count().saturating_sub(parsed.dkim_signatures().len());
    for _ in 0..unread.min(SIGNATURES_MAX) {
        let (domain, selector, b) = Default::default();
        facts.push(DkimFact { domain, selector, b, result: DkimResult::Neutral, reason: Some("the signature cannot be used".to_owned()) });
    }
    let mut looked_at = 0;
    parsed.retain_dkim_signatures(|_| {
        looked_at += 1; // "unsupported" is the nearest that mail-auth has to "not looked at"
        if looked_at > SIGNATURES_MAX { Err(DkimError::UnsupportedAlgorithm) } else { Ok(()) }
    });
    for output in authenticator.verify_dkim(Parameters::new(&parsed).with_cache(cache)).await {
        if let Some(signature) = output.signature() {
            let (result, reason) = judged(signature, output.result());
            facts.push(fact(signature, result, reason));
        }
    }
    Examined { dkim: facts, chain: chain(&headers, &parsed, authenticator, cache).await }
}

async fn chain<C: DnsCache>(headers: &Headers<'_>, parsed: &AuthenticatedMessage<'_>, authenticator: &MessageAuthenticator, cache: &C) -> ChainFact {
    let chain = Chain::read(headers);
    let whole = chain.exists && chain.fault.is_none();
    let (status, unknown) = if !chain.exists {
        (ChainStatus::None, false)
    } else if !whole {
        (ChainStatus::Fail, false)
    } else {
        match authenticator.verify_arc(Parameters::new(parsed).with_cache(cache)).await.result() {
            ArcResult::Pass => (ChainStatus::Pass, false),
            ArcResult::TempError(_) => (ChainStatus::Fail, true),
            ArcResult::None | ArcResult::Neutral(_) | ArcResult::Fail(_) | ArcResult::PermError(_) => (ChainStatus::Fail, false),
        }
    };
    ChainFact { highest: chain.highest, status, whole, ended: chain.ended, unknown }
}

/// What the standards say of a signature that mail-auth verified with this result, and why unless it passed.
#[must_use]
pub fn judged(signature: &Signature, result: &mail_auth::DkimResult) -> (DkimResult, Option<String>) {
    unacceptable(signature).map_or_else(|| translated(result), |(result, reason)| (result, Some(reason.to_owned())))
}

/// What mail-auth would let pass and must not.
fn unacceptable(signature: &Signature) -> Option<(DkimResult, &'static str)> {
    if !signature.h.iter().any(|name| name.eq_ignore_ascii_case("from")) {
        return Some((DkimResult::PermError, "From is not signed"));
    }
    let name = signature.a.name();
    super::signature::algorithm(name).is_none().then_some((DkimResult::Policy, "the algorithm is not accepted"))
}

fn translated(result: &mail_auth::DkimResult) -> (DkimResult, Option<String>) {
    use mail_auth::DkimResult as Theirs;
    let (word, why) = match result {
        Theirs::Pass => return (DkimResult::Pass, None),
        Theirs::None => return (DkimResult::Neutral, None),
        Theirs::Neutral(why @ mail_auth::Error::Dkim(DkimError::BodyHashMismatch)) | Theirs::Fail(why) => (DkimResult::Fail, why),
        Theirs::Neutral(why) => (DkimResult::Neutral, why),
        Theirs::PermError(why) => (DkimResult::PermError, why),
        Theirs::TempError(why) => (DkimResult::TempError, why),
    };
    (word, Some(why.to_string().to_lowercase()))
}

fn fact(signature: &Signature, result: DkimResult, reason: Option<String>) -> DkimFact {
    let b: String = BASE64.encode(&signature.b).chars().take(B_OCTETS).collect();
    DkimFact { domain: signature.d.clone(), selector: signature.s.clone(), b, result, reason }
}

/// DKIM signatures of one message that are looked at; each may cost a DNS query and an RSA operation.
pub const SIGNATURES_MAX: usize = 10;
/// Characters of `b=` that tell signatures apart (RFC 6008 §3).
const B_OCTETS: usize = 8;
