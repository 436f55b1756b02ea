//! What holds of the signatures a message came with: every DKIM-Signature and the ARC chain. Pure: the key records are arguments.
//!
//! This reading decides, and not that of mail-auth, whose second opinion is told beside it (`verdict::second_opinion`). Where mail-auth
//! 0.15.1 falls short of the standards, each with its case in `tests/verdict/letter.rs`:
//!
//! | what | mail-auth | the standard |
//! |---|---|---|
//! | `h=` without From | pass | RFC 6376 §6.1.1: permerror |
//! | no `v=` in the signature | pass | RFC 6376 §3.5: required; §6.1.1: ignored |
//! | a tag twice, an empty tag | pass | RFC 6376 §3.2: the whole list is invalid |
//! | `q=` of an unknown kind | pass | RFC 6376 §3.5: ignored |
//! | `l=`, whatever its value | neutral, never looked at | RFC 6376 §3.5: allowed; more than the body: permerror |
//! | `l=` where it is taken (not strict) | counts the body as it came | RFC 6376 §3.4.5: counts after canonicalization |
//! | `h=` names DKIM-Signature | takes the field being verified, fail | RFC 6376 §3.5: it is never meant; others may be |
//! | `i=` outside `d=` | fail, after a key was asked for | RFC 6376 §6.1.1: permerror before |
//! | `i=` below `d=`, `t=s` | fail | RFC 6376 §3.6.1: the record is not for it, permerror |
//! | key record with `h=sha1` | pass | RFC 6376 §3.6.1: the hash must be listed |
//! | key record with `s=` of another service | pass | RFC 6376 §3.6.1: ignored |
//! | key record with `v=` behind another tag | pass | RFC 6376 §3.6.1: `v=` must be first; §6.1.2: key syntax error |
//! | key record of another key type than `a=` | fail | RFC 6376 §6.1.2: permerror |
//! | several key records | the first that can be read | RFC 6376 §6.1.2: any may confirm it |
//! | body changed | neutral | RFC 8601 §2.7.1: fail |
//! | RSA key of less than 1024 bits | fail | RFC 8301 §3.2: must not count, policy |
//! | ARC: body changed, expired, unreadable | neutral | RFC 8617 §4.4: none, pass or fail |
//! | ARC: AAR or Seal without any message signature | none | RFC 8617 §5.2: fail |
//! | ARC: the oldest set that still holds | not told | RFC 8617 §5.2, step 5 |
//! | the present | the system's clock | an argument here, so that saved mail can be judged |

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
