//! The chain that a message already carries: its structure (RFC 8617 §5.2, steps 1 to 3). The signatures are checked elsewhere.

use crate::mail::{Field, Headers};
use crate::seal::dkim::signature::{TagList, algorithm};
use std::fmt;

/// Chain Validation Status (RFC 8617 §4.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ChainStatus {
    /// There is no chain.
    #[default]
    None,
    /// The chain is whole.
    Pass,
    /// It is not.
    Fail,
}

impl ChainStatus {
    /// As `cv=` and `arc=` write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for ChainStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a header holds of ARC.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// The highest instance in any ARC field that names one; 0 when there is none.
    pub highest: u32,
    /// The newest ARC-Seal says `cv=fail`: the chain has ended (RFC 8617 §5.1, step 2).
    pub ended: bool,
    /// There are ARC fields at all.
    pub exists: bool,
    /// The first thing wrong with its structure.
    pub fault: Option<ChainFault>,
}

/// What breaks the structure of a chain (RFC 8617 §4.1.3, §4.2, §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// A field without an instance from 1 to 50, or with tags that do not read.
    #[error("an ARC field cannot be read")]
    Unreadable,
    /// Not exactly one of each of the three fields for every instance from 1 on.
    #[error("set {0} does not consist of exactly one field of each kind")]
    Incomplete(u32),
    /// `cv=` is not `none` in the first or `pass` in a later seal.
    #[error("seal {0} has the wrong cv=")]
    Status(u32),
    /// An ARC-Seal with `h=`.
    #[error("seal {0} has an h= tag")]
    SealNamesFields(u32),
    /// A message signature that covers ARC fields, or does not cover From.
    #[error("message signature {0} covers the wrong fields")]
    Coverage(u32),
    /// An algorithm that is not allowed any more (RFC 8301 §3.1).
    #[error("set {0} uses an algorithm that is not accepted")]
    Algorithm(u32),
}

impl Chain {
    /// Looks at the ARC fields of a header.
    #[must_use]
    pub fn read(headers: &Headers<'_>) -> Self {
        let mut chain = Self::default();
        let mut sets: Vec<[u8; 3]> = vec![[0; 3]; SETS_MAX as usize];
        let mut newest_seal = 0;
        for (kind, field) in headers.iter().filter_map(|field| Some((Kind::of(&field)?, field))) {
            chain.exists = true;
            let Some(instance) = instance(&field) else {
                chain.fault.get_or_insert(ChainFault::Unreadable);
                continue;
            };
            chain.highest = chain.highest.max(instance);
            if instance > SETS_MAX {
                chain.fault.get_or_insert(ChainFault::Unreadable);
                continue;
            }
            let count = &mut sets[instance as usize - 1][kind as usize];
            *count = count.saturating_add(1);
            match kind.check(&field, instance) {
                Err(fault) => {
                    chain.fault.get_or_insert(fault);
                }
                Ok(says_fail) if kind == Kind::Seal && instance >= newest_seal => {
                    newest_seal = instance;
                    chain.ended = says_fail;
                }
                Ok(_) => {}
            }
        }
        chain.ended &= newest_seal == chain.highest;
        let complete = |set: &[u8; 3]| *set == [1; 3];
        if let Some(gap) = (1..=chain.highest.min(SETS_MAX)).find(|instance| !complete(&sets[*instance as usize - 1])) {
            chain.fault.get_or_insert(ChainFault::Incomplete(gap));
        }
        if chain.ended {
            chain.fault.get_or_insert(ChainFault::Status(chain.highest));
        }
        chain
    }

    /// The ARC fields of instances 1 to `last` in the order in which a seal covers them (RFC 8617 §5.1.1).
    #[must_use]
    pub fn fields<'a>(fields: &[Field<'a>], last: u32) -> Vec<Field<'a>> {
        let mut fields: Vec<(u32, Kind, Field<'a>)> =
            fields.iter().filter_map(|field| Some((instance(field)?, Kind::of(field)?, *field))).filter(|(instance, ..)| *instance <= last).collect();
        fields.sort_by_key(|(instance, kind, _)| (*instance, *kind));
        fields.into_iter().map(|(.., field)| field).collect()
    }
}

/// The three kinds, in the order in which a seal covers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Results,
    MessageSignature,
    Seal,
}

impl Kind {
    fn of(field: &Field<'_>) -> Option<Self> {
        let names = [("ARC-Authentication-Results", Self::Results), ("ARC-Message-Signature", Self::MessageSignature), ("ARC-Seal", Self::Seal)];
        names.into_iter().find(|(name, _)| field.name.eq_ignore_ascii_case(name)).map(|(_, kind)| kind)
    }

    /// Whether the field is well formed; for a seal, whether it says `cv=fail`.
    fn check(self, field: &Field<'_>, instance: u32) -> Result<bool, ChainFault> {
        if self == Self::Results {
            return Ok(false);
        }
        let text = std::str::from_utf8(field.value).map_err(|_| ChainFault::Unreadable)?;
        let tags = TagList::parse(text).map_err(|_| ChainFault::Unreadable)?;
        if tags.value("a").and_then(algorithm).is_none() {
            return Err(ChainFault::Algorithm(instance));
        }
        if self == Self::MessageSignature {
            let names = tags.items("h");
            let arc = names.iter().any(|name| name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("arc-")));
            let from = names.iter().any(|name| name.eq_ignore_ascii_case("from"));
            return if arc || !from { Err(ChainFault::Coverage(instance)) } else { Ok(false) };
        }
        if tags.value("h").is_some() {
            return Err(ChainFault::SealNamesFields(instance));
        }
        match (tags.value("cv"), instance) {
            (Some("none"), 1) | (Some("pass"), 2..) => Ok(false),
            (Some("fail"), _) => Ok(true),
            _ => Err(ChainFault::Status(instance)),
        }
    }
}

/// `i=`: the first tag of an ARC-Authentication-Results, any tag of the other two.
fn instance(field: &Field<'_>) -> Option<u32> {
    let text = std::str::from_utf8(field.value).ok()?;
    let mut tags = text.split(';').filter_map(|part| part.split_once('=')).map(|(name, value)| (name.trim_ascii(), value.trim_ascii()));
    let digits = if Kind::of(field)? == Kind::Results { tags.next().filter(|(name, _)| *name == "i")?.1 } else { tags.find(|(name, _)| *name == "i")?.1 };
    let sane = (1..=3).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|number| sane && *number > 0)
}

/// Sets in a chain (RFC 8617 §4.2.1).
pub const SETS_MAX: u32 = 50;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(instance: u32, cv: &str) -> String {
        format!(
            "ARC-Seal: i={instance}; a=rsa-sha256; d=x; s=y; cv={cv}; b=YQ==\r\nARC-Message-Signature: i={instance}; a=rsa-sha256; d=x; s=y;\r\n h=from:to; bh=YQ==; b=YQ==\r\n\
             ARC-Authentication-Results: i={instance}; x; none\r\n"
        )
    }

    fn read(header: &str) -> Chain {
        Chain::read(&Headers::parse(header.as_bytes()).unwrap())
    }

    #[test]
    fn whole_chains_have_no_fault() {
        assert_eq!(read("From: a\r\n"), Chain::default());
        let chain: String = (1..=SETS_MAX).rev().map(|at| set(at, if at == 1 { "none" } else { "pass" })).collect();
        assert_eq!(read(&chain), Chain { highest: 50, ended: false, exists: true, fault: None });
    }

    #[test]
    fn broken_chains_are_named_by_their_fault() {
        let whole = set(2, "pass") + &set(1, "none");
        let fault = |header: &str| read(header).fault;
        assert_eq!(fault(&whole), None);
        assert_eq!(fault(&(set(3, "pass") + &set(1, "none"))), Some(ChainFault::Incomplete(2)));
        assert_eq!(fault(&(set(2, "pass") + &whole)), Some(ChainFault::Incomplete(2)));
        assert_eq!(fault(&set(1, "pass")), Some(ChainFault::Status(1)));
        assert_eq!(fault(&(set(2, "none") + &set(1, "none"))), Some(ChainFault::Status(2)));
        assert_eq!(fault(&whole.replace("cv=pass", "h=from; cv=pass")), Some(ChainFault::SealNamesFields(2)));
        assert_eq!(fault(&whole.replace("h=from:to", "h=to")), Some(ChainFault::Coverage(2)));
        assert_eq!(fault(&whole.replace("h=from:to", "h=from:ARC-Seal")), Some(ChainFault::Coverage(2)));
        assert_eq!(fault(&whole.replace("rsa-sha256", "rsa-sha1")), Some(ChainFault::Algorithm(2)));
        assert_eq!(fault(&set(51, "pass")), Some(ChainFault::Unreadable));
        assert_eq!(fault(&set(0, "none")), Some(ChainFault::Unreadable));
        assert_eq!(fault("ARC-Seal: nonsense\r\n"), Some(ChainFault::Unreadable));
        assert_eq!(fault("ARC-Authentication-Results: i=1; x; none\r\n"), Some(ChainFault::Incomplete(1)));
    }

    #[test]
    fn a_chain_ends_with_the_newest_seal_that_says_fail() {
        let chain = read(&(set(2, "fail") + &set(1, "none")));
        assert!(chain.ended && chain.fault.is_some());
        assert!(!read(&(set(2, "pass") + &set(1, "fail"))).ended);
    }

    #[test]
    fn fields_come_in_the_order_they_are_sealed() {
        let header = set(2, "pass") + &set(1, "none") + "From: a\r\n";
        let headers = Headers::parse(header.as_bytes()).unwrap();
        let order: Vec<_> = Chain::fields(&headers.iter().collect::<Vec<_>>(), 2).iter().map(|field| (instance(field).unwrap(), field.name)).collect();
        let names = ["ARC-Authentication-Results", "ARC-Message-Signature", "ARC-Seal"];
        assert_eq!(order, [(1, names[0]), (1, names[1]), (1, names[2]), (2, names[0]), (2, names[1]), (2, names[2])]);
    }

    proptest! {
        #[test]
        fn reading_never_panics(values in prop::collection::vec(("(ARC-Seal|ARC-Message-Signature|ARC-Authentication-Results)", "[ -~é]{0,60}"), 0..12)) {
            let header = values.iter().map(|(name, value)| format!("{name}:{value}\r\n")).collect::<Vec<_>>().concat();
            let _ = read(&header);
        }
    }
}
