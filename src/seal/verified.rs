//! What holds of the signatures a message came with: every DKIM-Signature and the ARC chain. Pure: the key records are arguments.

use super::arc::validate::{self, Validated};
use super::dkim::foreign::{ForeignSignature, KeyTexts, Signed};
use super::dkim::{Confirmed, FieldName, SignatureFault};
use crate::mail::{Domain, Field, Headers, Timestamp};

/// What became of all signatures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verified {
    /// One for each DKIM-Signature that was looked at, top to bottom.
    pub dkim: Vec<(ForeignSignature, Result<Confirmed, SignatureFault>)>,
    /// The chain.
    pub chain: Validated,
}

/// The names whose TXT records [`verified`] needs, each once.
#[must_use]
pub fn key_names(headers: &Headers<'_>, signatures_max: usize) -> Vec<Domain> {
    let mut names: Vec<Domain> = looked_at(headers, signatures_max).into_iter().filter_map(|(_, signature)| signature.key_name().cloned()).collect();
    names.extend(validate::key_names(headers));
    names.sort();
    names.dedup();
    names
}

/// Verifies the topmost `signatures_max` DKIM-Signature fields that can be read (as many that cannot are told of), and the chain.
#[must_use]
pub fn verified(message: &[u8], headers: &Headers<'_>, keys: &KeyTexts, now: Timestamp, signatures_max: usize) -> Verified {
    let mut signed = Signed::new(headers, message);
    let mut dkim = Vec::new();
    for (field, signature) in looked_at(headers, signatures_max) {
        let outcome = signed.verify(&field, &signature, keys, now);
        dkim.push((signature, outcome));
    }
    Verified { dkim, chain: validate::validate(&mut signed, headers, keys, now) }
}

fn looked_at<'a>(headers: &Headers<'a>, signatures_max: usize) -> Vec<(Field<'a>, ForeignSignature)> {
    let (mut good, mut bad) = (0, 0);
    let read = headers.named("DKIM-Signature").map(|field| (field, ForeignSignature::read(&field, FieldName::Dkim)));
    let within_bounds = read.filter(|(_, signature)| {
        let count = if signature.key_name().is_some() { &mut good } else { &mut bad };
        *count += 1;
        *count <= signatures_max
    });
    within_bounds.collect()
}
