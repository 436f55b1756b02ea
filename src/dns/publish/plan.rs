//! What is to change so that a zone says what it should: pure. What is ours is made right; what others may have written is left alone
//! unless there is nothing of its purpose yet, or the operator names it.

use super::{Edit, Seen};
use crate::dns::records::{Standing, Wanted, same_purpose};
use crate::dns::resource::{Data, Kind, Owner};
use std::fmt;

/// What the plan does about the wanted records of one type at one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// They are there.
    Right,
    /// To be written.
    Edit(Edit),
    /// Not to be written, for a reason.
    LeftAlone {
        /// Where.
        owner: Owner,
        /// Of which type.
        kind: Kind,
        /// Why.
        why: Reason,
    },
}

/// Why something is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Something of the same purpose stands there, and it is not ours.
    Taken {
        /// What stands there.
        found: Vec<Data>,
    },
    /// The name is an alias.
    Alias {
        /// Of this one.
        target: crate::mail::Domain,
    },
}

/// The step for records of one name and type: `wanted` are all those of the set. `replace` is the operator's word that what stands there
/// in their place may go.
#[must_use]
pub fn step(wanted: &[&Wanted], seen: &Seen, replace: bool) -> Option<Step> {
    let first = wanted.first()?;
    let (owner, kind) = (first.resource.owner.clone(), first.resource.data.kind());
    if let Some(target) = seen.alias.clone() {
        return Some(Step::LeftAlone { owner, kind, why: Reason::Alias { target } });
    }
    let is_ours = first.standing == Standing::Ours;
    let is_wanted = |data: &Data| wanted.iter().any(|wanted| wanted.is_met_by(data));
    let competes = |data: &&Data| !is_wanted(data) && (is_ours || wanted.iter().any(|wanted| same_purpose(&wanted.resource.data, data)));
    let competitors: Vec<&Data> = seen.data.iter().filter(competes).collect();
    let is_met = |wanted: &&&Wanted| seen.data.iter().any(|data| wanted.is_met_by(data));
    let missing: Vec<&Data> = wanted.iter().filter(|wanted| !is_met(wanted)).map(|wanted| &wanted.resource.data).collect();
    if missing.is_empty() && competitors.is_empty() {
        return Some(Step::Right);
    }
    if !competitors.is_empty() && !is_ours && !replace {
        return Some(Step::LeftAlone { owner, kind, why: Reason::Taken { found: competitors.into_iter().cloned().collect() } });
    }
    let kept = seen.data.iter().filter(|data| !competitors.contains(data));
    let after = kept.chain(missing).cloned().collect();
    Some(Step::Edit(Edit { owner, kind, ttl: first.ttl, before: seen.data.clone(), after }))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { found } => {
                let found: Vec<String> = found.iter().map(Data::zone_text).collect();
                write!(f, "{} stands there already", found.join(" and "))
            }
            Self::Alias { target } => write!(f, "the name is an alias (CNAME) of {target}"),
        }
    }
}
