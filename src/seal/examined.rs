//! What was found out about the signatures a message came with. Facts only: [`super::dkim::verify::examine`] asks for them.

use super::arc::{Chain, ChainStatus};
use super::results::MethodResult;
use crate::mail::{Domain, Headers};

/// What is known of the signatures a message came with. The default is right for a message that has none.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Examined {
    /// One for each DKIM-Signature looked at.
    pub dkim: Vec<DkimFact>,
    /// The ARC chain.
    pub chain: ChainFact,
}

/// One DKIM-Signature and what came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimFact {
    /// `d=`; empty when the field could not be read.
    pub domain: String,
    /// `s=`.
    pub selector: String,
    /// The first octets of `b=`, to tell signatures apart (RFC 6008).
    pub b: String,
    /// The verdict.
    pub result: DkimResult,
    /// Why, unless it passed.
    pub reason: Option<String>,
}

/// The words of RFC 8601 §2.7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DkimResult {
    /// It verified.
    Pass,
    /// It did not.
    Fail,
    /// It is of a kind that is not accepted: `rsa-sha1`.
    Policy,
    /// It could not be read, has `l=`, or has expired.
    Neutral,
    /// DNS did not answer.
    TempError,
    /// There is no key, or From is not signed.
    PermError,
}

/// The chain a message came with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChainFact {
    /// Its highest instance; 0 without a chain.
    pub highest: u32,
    /// What validation said (RFC 8617 §5.2).
    pub status: ChainStatus,
    /// Its structure has no fault, whatever its signatures say.
    pub whole: bool,
    /// Its newest seal says `cv=fail`: nothing may be added.
    pub ended: bool,
    /// DNS did not answer, so that the status, `fail`, may be wrong. To seal that would end a chain for good that may be whole.
    pub unknown: bool,
}

impl Examined {
    /// Whether the message carries a signature that verifies, and that a change to the message would break: a DKIM-Signature, or the
    /// newest ARC-Message-Signature. `None` when DNS did not say of one, and none is known to verify.
    #[must_use]
    pub fn foreign_signature_verifies(&self) -> Option<bool> {
        let any = |wanted| self.dkim.iter().any(|fact| fact.result == wanted);
        let known = self.chain.status == ChainStatus::Pass || any(DkimResult::Pass);
        (known || !(self.chain.unknown || any(DkimResult::TempError))).then_some(known)
    }

    /// Whether it carries a signature of this domain that verifies.
    #[must_use]
    pub fn is_signed_by(&self, domain: &Domain) -> bool {
        self.dkim.iter().any(|fact| fact.result == DkimResult::Pass && fact.domain.eq_ignore_ascii_case(domain.as_str()))
    }

    /// What is known of a message whose signatures the DNS was not asked about, or did not answer for in time: that they are there.
    #[must_use]
    pub fn unanswered(headers: &Headers<'_>) -> Self {
        let fact = |(domain, selector, b): (String, String, String)| DkimFact { domain, selector, b, result: DkimResult::TempError, reason: None };
        let dkim = headers.named("dkim-signature").take(UNANSWERED_MAX).map(|_| fact(Default::default())).collect();
        let chain = Chain::read(headers);
        let status = if chain.exists { ChainStatus::Fail } else { ChainStatus::None };
        let whole = chain.exists && chain.fault.is_none();
        Self { dkim, chain: ChainFact { highest: chain.highest, status, whole, ended: chain.ended, unknown: whole } }
    }
}

impl DkimResult {
    /// As an Authentication-Results field says it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Policy => "policy",
            Self::Neutral => "neutral",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

impl DkimFact {
    /// As an Authentication-Results field says it.
    #[must_use]
    pub fn to_result(&self) -> MethodResult {
        let mut result = MethodResult::new("dkim", self.result.as_str());
        result.reason.clone_from(&self.reason);
        for (name, value) in [("d", &self.domain), ("s", &self.selector), ("b", &self.b)] {
            if !value.is_empty() {
                result = result.with("header", name, value);
            }
        }
        result
    }
}

/// Whether a header carries anything that DNS must be asked about.
#[must_use]
pub fn wants_examination(headers: &Headers<'_>) -> bool {
    const NAMES: [&str; 4] = ["dkim-signature", "arc-seal", "arc-message-signature", "arc-authentication-results"];
    headers.iter().any(|field| NAMES.iter().any(|name| field.name.eq_ignore_ascii_case(name)))
}

/// Signatures that [`Examined::unanswered`] tells of.
const UNANSWERED_MAX: usize = 10;
