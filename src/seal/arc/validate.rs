//! The validation of a chain (RFC 8617 §5.2). Pure: the key records are arguments.

use super::chain::{Chain, ChainStatus};
use crate::mail::{Domain, Field, Headers, Timestamp};
use crate::seal::dkim::foreign::{ForeignSignature, KeyTexts, Signed};
use crate::seal::dkim::{FieldName, NoAnswer, SignatureFault};

/// What validation found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Validated {
    /// What the fields say of themselves.
    pub chain: Chain,
    /// The Chain Validation Status.
    pub status: ChainStatus,
    /// Where and why it broke; empty when it did not.
    pub why: String,
    /// The DNS did not answer for a key, so that a status of `fail` may be wrong.
    pub unknown: bool,
    /// The instance of the oldest message signature that still holds, 0 when all do (RFC 8617 §5.2, step 5); of a whole chain only.
    pub oldest_pass: Option<u32>,
    /// `d=` of each seal, the first set first; of a chain without structural faults only.
    pub sealers: Vec<Option<Domain>>,
}

/// The key names that the validation of this chain asks for; none when its structure decides alone.
#[must_use]
pub fn key_names(headers: &Headers<'_>) -> Vec<Domain> {
    let chain = Chain::read(headers);
    if chain.fault.is_some() || !chain.exists {
        return Vec::new();
    }
    let fields: Vec<Field<'_>> = headers.iter().collect();
    let sets = Chain::fields(&fields, chain.highest);
    let names = sets.chunks(3).flat_map(|set| [(set[1], FieldName::ArcMessageSignature), (set[2], FieldName::ArcSeal)]);
    names.filter_map(|(field, kind)| ForeignSignature::read(&field, kind).key_name().cloned()).collect()
}

/// Steps 1 to 7 of RFC 8617 §5.2.
#[must_use]
pub fn validate<'a>(message: &mut Signed<'a>, headers: &Headers<'a>, keys: &KeyTexts, now: Timestamp) -> Validated {
    let chain = Chain::read(headers);
    if !chain.exists {
        return Validated::default();
    }
    let mut found = Validated { chain, status: ChainStatus::Fail, ..Validated::default() };
    if let Some(fault) = found.chain.fault {
        found.why = fault.to_string();
        return found;
    }
    let highest = found.chain.highest;
    let fields = message.fields().to_vec();
    let ordered = Chain::fields(&fields, highest);
    let place = |instance: u32| instance as usize * 3;
    let seal = |instance: u32| ordered[place(instance) - 1];
    found.sealers = (1..=highest).map(|instance| ForeignSignature::read(&seal(instance), FieldName::ArcSeal).domain).collect();

    let mut message_signature = |instance: u32| {
        let field = ordered[place(instance) - 2];
        message.verify(&field, &ForeignSignature::read(&field, FieldName::ArcMessageSignature), keys, now)
    };
    let newest = message_signature(highest);
    if let Err(fault) = newest {
        return found.broken(&format!("message signature {highest}"), &fault);
    }
    let older = (1..highest).rev().find(|instance| message_signature(*instance).is_err());
    found.oldest_pass = Some(older.map_or(0, |broken| broken + 1));
    for instance in (1..=highest).rev() {
        let field = seal(instance);
        let signature = ForeignSignature::read(&field, FieldName::ArcSeal);
        if let Err(fault) = Signed::verify_seal(&ordered[..place(instance) - 1], &field, &signature, keys) {
            return found.broken(&format!("seal {instance}"), &fault);
        }
    }
    found.status = ChainStatus::Pass;
    found
}

impl Validated {
    fn broken(mut self, what: &str, fault: &SignatureFault) -> Self {
        self.why = format!("{what}: {fault}");
        self.unknown = *fault == SignatureFault::NoAnswer(NoAnswer);
        self.oldest_pass = None;
        self
    }
}
