//! The verdict on one message: what SPF, DKIM and alignment come to for DMARC, Gmail, Yahoo and Microsoft.
//!
//! [`judge`] is a pure function of [`Facts`]; [`examine()`] is the shell that finds the facts of a real message in the DNS; the
//! matrix of [`Verdict::matrix`] shows a person where the message stands and what to mend first. Nothing here knows how the
//! message came about: the demo, `check` and `doctor` ask the same function.
//!
//! | SPF \ DKIM | author signature | third party | fail or none |
//! |---|---|---|---|
//! | aligned | pass, pass | pass, pass | DMARC pass, Gmail fail |
//! | not aligned | pass, pass | fail, fail | fail, fail |
//! | fail or none | DMARC pass, Gmail fail | fail, fail | fail, fail |
//!
//! (DMARC, Gmail for bulk senders.) Laid over it are the record that is missing, strict alignment, the sender below the bulk
//! threshold, and a policy of `reject`. Sources: Gmail's and Yahoo's sender guidelines, Microsoft's high-volume rules, RFC 9989.

pub mod dmarc;
pub mod examine;
mod form;
mod judge;
mod matrix;
pub mod second_opinion;
pub mod spf;
pub mod spf_walk;
mod weakness;

pub use dmarc::{Alignment, DmarcFault, DmarcRecord, Policy, Psd, dmarc_record, organizational_domain};
pub use examine::{ArcFact, Delivery, Dns, Examination, ExamineFault, Findings, Received, examine, look};
pub use form::{Defect, Form, form};
pub use judge::judge;
pub use matrix::Style;
pub use second_opinion::{SecondOpinion, SecondOpinions};
pub use weakness::{Weakness, weaknesses};

use crate::mail::Domain;
use std::collections::HashMap;
use std::fmt;

/// All that the verdict depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The domain of the header From.
    pub author: Domain,
    /// The SPF result.
    pub spf: SpfFact,
    /// One for each DKIM-Signature.
    pub dkim: Vec<DkimFact>,
    /// The DMARC record that applies to the author domain.
    pub dmarc: DmarcFact,
    /// Organisational domains, as walks of the tree found them (RFC 9989 §4.10.2); a domain that is missing is its own.
    pub organizations: HashMap<Domain, Domain>,
    /// Whether the sender counts as a bulk sender (Gmail: 5,000 a day to personal accounts, once reached for good).
    pub bulk: bool,
}

/// What SPF said (RFC 7208).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfFact {
    /// The result.
    pub result: Check,
    /// The domain that was checked: of MAIL FROM, or of HELO when that is null; `None` when it is no domain.
    pub domain: Option<Domain>,
    /// Which identity it is of.
    pub identity: Identity,
}

/// The identities of RFC 7208 §2.3 and §2.4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Identity {
    /// The envelope sender.
    MailFrom,
    /// The name given in EHLO, for mail with a null sender.
    Helo,
}

/// What became of one DKIM-Signature (RFC 6376).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DkimFact {
    /// The result.
    pub result: Check,
    /// `d=`; `None` when the field cannot be read.
    pub domain: Option<Domain>,
    /// `s=`.
    pub selector: String,
    /// `a=`.
    pub algorithm: String,
    /// Why it did not pass; empty when it did.
    pub why: String,
}

/// Results of checks, in the words of RFC 8601 §2.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It probably does not (SPF `~all`).
    SoftFail,
    /// Nothing is said.
    Neutral,
    /// There is nothing to check.
    None,
    /// The DNS did not answer.
    TempError,
    /// What was found cannot be used.
    PermError,
    /// It holds, but must not count: a signature by `rsa-sha1` or a key that is too short (RFC 8301).
    Policy,
}

/// The DMARC record that applies, or why none does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DmarcFact {
    /// Found.
    Record {
        /// The record.
        record: DmarcRecord,
        /// The name it stands at, without `_dmarc`: the author domain or one above it.
        at: Domain,
        /// The author domain exists in the DNS (RFC 9989 §3.2.13); `np` is for those that do not.
        author_exists: bool,
    },
    /// No record up to the top of the tree.
    Missing,
    /// There is something, but receivers must ignore it (RFC 9989 §4.7).
    Ignored {
        /// What stands there.
        text: String,
        /// Why it is none.
        fault: DmarcFault,
    },
    /// The DNS did not answer.
    Unknown,
}

/// Where SPF puts a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SpfAxis {
    /// Pass, for a domain aligned with the author's.
    Aligned,
    /// Pass, for another domain.
    NotAligned,
    /// Anything but a pass.
    Fail,
}

/// Where DKIM puts a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DkimAxis {
    /// A signature of a domain aligned with the author's passes.
    Author,
    /// Only signatures of other domains pass.
    ThirdParty,
    /// None passes.
    Fail,
}

/// DMARC's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dmarc {
    /// SPF or DKIM passes, aligned.
    Pass,
    /// Neither does.
    Fail,
    /// The author domain has no (valid) record.
    None,
    /// The DNS did not answer.
    TempError,
}

/// What a receiver does with it, as far as its published rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// It meets the rules.
    pub accepts: bool,
    /// How the receiver answers when it does not: `4.7.30`, `550 5.7.515` …; any of them.
    pub codes: Vec<&'static str>,
}

/// What [`judge`] finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The row of the matrix.
    pub spf_axis: SpfAxis,
    /// The column.
    pub dkim_axis: DkimAxis,
    /// DMARC's result.
    pub dmarc: Dmarc,
    /// What the author domain asks to be done with failures, test mode taken into account; `None` without a record.
    pub policy: Option<Policy>,
    /// Gmail, personal accounts.
    pub gmail: Receiver,
    /// Yahoo.
    pub yahoo: Receiver,
    /// Outlook.com.
    pub microsoft: Receiver,
    /// SPF and DKIM both pass aligned: what RFC 9989 §8 calls full participation and Gmail will probably demand.
    pub both_aligned: bool,
    /// What must be known besides.
    pub notes: Vec<Note>,
    /// Why it is as it is, in one sentence.
    pub why: String,
    /// What to mend first, in one sentence; `None` when there is nothing.
    pub fix_first: Option<String>,
    context: Context,
}

/// What all nine cells have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Context {
    record: RecordState,
    policy: Option<Policy>,
    bulk: bool,
}

/// See [`DmarcFact`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RecordState {
    Applies,
    None,
    Unknown,
}

/// What lies over the matrix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// No record: bulk mail fails for that alone.
    NoRecord,
    /// The record is ignored by receivers.
    RecordIgnored(DmarcFault),
    /// Below the bulk threshold one pass is enough for Gmail.
    NotBulk,
    /// Yahoo and Microsoft judge bulk mail as Gmail does.
    SameForYahooAndMicrosoft,
    /// `aspf=s` makes this subdomain not aligned.
    StrictSpf(Domain),
    /// `adkim=s` makes this subdomain not aligned.
    StrictDkim(Domain),
    /// A result that is not a pass counts as none.
    SpfIsNoPass(Check),
    /// A hard fail may be refused before DMARC is looked at (RFC 9989 §7.1).
    SpfHardFail,
    /// The sender is null, so SPF was checked for the EHLO name.
    HeloIdentity,
    /// `p=reject` while only SPF passes aligned: forwarding breaks it (RFC 9989 §7.4).
    SpfAloneUnderReject,
    /// Several aligned signatures and not all pass: Yahoo does not guarantee a pass.
    NotAllAlignedSignaturesPass,
    /// `t=y`: the policy counts one level lower.
    TestMode,
    /// Failures are asked to be quarantined, and this one fails.
    Quarantined,
}

impl Check {
    /// RFC 8601 §2.7.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Dmarc {
    /// RFC 8601 §2.7.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::None => "none",
            Self::TempError => "temperror",
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRecord => f.write_str("The author domain has no DMARC record; bulk senders must have one, p=none is enough."),
            Self::RecordIgnored(fault) => write!(f, "Receivers ignore the DMARC record: {fault}."),
            Self::NotBulk => f.write_str("Judged as a sender of less than 5,000 messages a day: Gmail asks for SPF or DKIM, not both."),
            Self::SameForYahooAndMicrosoft => f.write_str("Yahoo and Microsoft judge bulk mail by the same nine cells."),
            Self::StrictSpf(domain) => write!(f, "The record says aspf=s, so {domain} is not aligned, although it is of the same organisation."),
            Self::StrictDkim(domain) => write!(f, "The record says adkim=s, so {domain} is not aligned, although it is of the same organisation."),
            Self::SpfIsNoPass(check) => write!(f, "An SPF result of {check} counts as not passed."),
            Self::SpfHardFail => f.write_str("SPF says fail (-all): receivers may refuse the message for that alone, before they look at DKIM."),
            Self::HeloIdentity => f.write_str("The envelope sender is null, so SPF was checked for the EHLO name, which needs a record of its own."),
            Self::SpfAloneUnderReject => {
                f.write_str("Under p=reject only SPF passes aligned; forwarding breaks SPF, so the author domain must sign, too (RFC 9989 §7.4).")
            }
            Self::NotAllAlignedSignaturesPass => f.write_str(
                "Several aligned signatures, and not all pass: Yahoo does not promise that DMARC passes then; leave out what receivers cannot verify.",
            ),
            Self::TestMode => f.write_str("The record says t=y: its policy counts one level lower."),
            Self::Quarantined => f.write_str("The author domain asks receivers to quarantine this message: expect it in the spam folder."),
        }
    }
}
