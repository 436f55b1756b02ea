//! A seal made by its plan, at acceptance and again when a key has gone or `x=` is near.

use super::arc::set;
use super::dkim::profile::covered;
use super::dkim::signature::Covered;
use super::dkim::{BodyHash, Canonicalization, SignatureField, Signer, canonical, signature};
use super::planning::no_key;
use super::rules::Rules;
use super::{FieldKind, Plan, Seal, SealField};
use crate::mail::{Blame, Domain, Field, Headers, KeyId, Message, Refusal, Timestamp};

/// Why no seal could be made. What is returned as a seal always verifies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The plan names a domain that has no active RSA key (any more).
    #[error("there is no active RSA key for {0}; make one with `postseal key create {0}`")]
    NoKey(String),
    /// The library failed.
    #[error("signing with {0} failed")]
    Sign(KeyId),
    /// What was made does not verify with the key's own public half.
    #[error("a signature of {0} does not verify with its own key; it was thrown away")]
    Unconfirmed(KeyId),
}

impl SealError {
    /// Whose fault it is.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::NoKey(_) => Blame::Operator,
            Self::Sign(_) | Self::Unconfirmed(_) => Blame::Ourselves,
        }
    }

    /// The answer to a client whose submission cannot be sealed.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        match self {
            Self::NoKey(domain) => Domain::parse(domain).map_or_else(|_| Refusal::ourselves(), |domain| no_key(&domain)),
            Self::Sign(_) | Self::Unconfirmed(_) => Refusal::ourselves(),
        }
    }
}

/// Makes the seal that `plan` describes. The body is canonicalized and hashed once; every signature is verified against its public
/// half; the same input gives the same octets.
///
/// # Errors
/// A key is missing, or signing failed.
pub fn make(plan: &Plan, message: &Message, rules: &Rules, now: Timestamp) -> Result<Seal, SealError> {
    let body = BodyHash::of(message.body(), Canonicalization::Relaxed);
    let expires = rules.expires.map(|after| (now + after).unix_seconds());
    let headers = message.headers();
    let fields: Vec<Field<'_>> = headers.iter().collect();
    let one = |kind, signer: &Signer| dkim(kind, signer, &fields, body, plan, now, expires);

    let mut made = Vec::new(); // top to bottom
    for (kind, domain) in [(FieldKind::Rsa, &plan.author), (FieldKind::ThirdParty, &plan.third_party)] {
        let Some(domain) = domain else { continue };
        let signers = rules.rsa(domain);
        if signers.is_empty() {
            return Err(SealError::NoKey(domain.clone()));
        }
        for signer in signers {
            made.push(one(kind, signer)?);
        }
    }
    if let Some(arc) = &plan.arc {
        let signer = rules.rsa(&arc.domain).first().ok_or_else(|| SealError::NoKey(arc.domain.clone()))?;
        let own = made.iter().map(|field| field.text.as_str()).collect::<String>();
        let own = Headers::parse(own.as_bytes()).map_err(|_| SealError::Unconfirmed(signer.id.clone()))?;
        let below: Vec<Field<'_>> = own.iter().chain(fields.iter().copied()).collect();
        made.splice(0..0, set::make(arc, &below, body, &plan.unsigned, signer, now)?);
    }
    if let Some(author) = plan.author.as_deref().filter(|_| plan.ed25519) {
        let on_top = rules.ed25519(author).iter().map(|signer| one(FieldKind::Ed25519, signer)).collect::<Result<Vec<_>, _>>()?;
        made.splice(0..0, on_top);
    }
    let has_dkim = made.iter().any(|field| matches!(field.kind, FieldKind::Rsa | FieldKind::ThirdParty | FieldKind::Ed25519));
    Ok(Seal { fields: made, expires: expires.filter(|_| has_dkim), plan: plan.clone() })
}

/// Whether a waiting message must be sealed again before its next attempt: a key of its seal is neither active nor retiring, or `x=`
/// is nearer than the rules' margin.
#[must_use]
pub fn needs_resealing(seal: &Seal, rules: &Rules, now: Timestamp) -> bool {
    let expires_soon = seal.expires.is_some_and(|at| at <= (now + rules.expires_margin).unix_seconds());
    expires_soon || seal.keys().any(|key| !rules.is_standing(key))
}

/// Whether a verifier that is shown this seal now may find a signature that fails: a key of it is neither active nor retiring, or `x=`
/// has passed. Of keys of a domain that the rules do not know (any more) nothing is known, so their seals pass for good.
#[must_use]
pub fn is_spoilt(seal: &Seal, rules: &Rules, now: Timestamp) -> bool {
    seal.expires.is_some_and(|at| at <= now.unix_seconds()) || seal.keys().any(|key| rules.knows_domain_of(key) && !rules.is_standing(key))
}

/// One DKIM-Signature over a message. Other DKIM-Signature and ARC fields are never covered, so their order does not matter.
fn dkim(
    kind: FieldKind,
    signer: &Signer,
    fields: &[Field<'_>],
    body: BodyHash,
    plan: &Plan,
    now: Timestamp,
    expires: Option<i64>,
) -> Result<SealField, SealError> {
    let names = covered(fields, &plan.unsigned);
    let field = SignatureField::over_message(None, signer, body, &names, now, expires);
    let text = field.sign(&canonical::select(fields, &names), signer.key()).map_err(|_| SealError::Sign(signer.id.clone()))?;
    if !signature::confirms(&text, signer.key(), &Covered::Message { below: fields, body }) {
        return Err(SealError::Unconfirmed(signer.id.clone()));
    }
    Ok(SealField { kind, key: Some(signer.id.to_string()), text })
}
