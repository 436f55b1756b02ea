//! The records that an author domain needs so that its mail is believed, and those of a domain that never sends. Pure.
//!
//! In the order in which they are to be published: first those that change nothing for mail already flowing, then keys, then the policy
//! that counts on both. RFC 7208, RFC 6376, RFC 9989, RFC 8460, RFC 8461.

use super::resolver::reverse_name;
use super::resource::{Data, Resource};
use crate::mail::{Domain, Mailbox};
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

/// A record that should be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The record.
    pub resource: Resource,
    /// How long resolvers may keep it.
    pub ttl: Duration,
    /// What happens without it.
    pub need: Need,
    /// Where it belongs in the order of work.
    pub step: Step,
    /// Who else may have written at its name.
    pub standing: Standing,
    /// Why it is there, for a person.
    pub why: String,
}

/// How much a record is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Need {
    /// Mail is refused without it.
    Required,
    /// Large receivers or standards ask for it.
    Advised,
    /// It adds something.
    Optional,
}

/// The order of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Who may send: SPF, and the names and addresses behind it.
    Spf,
    /// Signing keys.
    Dkim,
    /// The policy.
    Dmarc,
    /// What may follow.
    Further,
    /// The set of a domain that never sends.
    Parked,
}

/// Whether anybody else writes at a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It is ours alone: selectors that postseal named.
    Ours,
    /// Others may have written there before us; never replaced unasked.
    Shared,
    /// The owner of the author domain writes it: the alias by which a domain lends us its `_domainkey` names.
    Theirs,
}

/// What the set of one author domain is made of.
#[derive(Debug, Clone)]
pub struct Sender {
    /// The author domain.
    pub domain: Domain,
    /// Where its bounces come to.
    pub bounce_domain: Domain,
    /// The envelope senders at or below the author domain stay as they are.
    pub keeps_reverse_path: bool,
    /// The key records that should stand in the DNS, by selector: those of `keys::Key::record`.
    pub keys: Vec<KeyText>,
    /// The name below which the key records stand, where the author domain's `_domainkey` names are aliases of it.
    pub dkim_target: Option<Domain>,
    /// The DMARC record.
    pub dmarc: Dmarc,
    /// Where TLS reports about mail to the bounce domain go (RFC 8460).
    pub tls_rpt: Option<ReportTo>,
    /// MTA-STS of the bounce domain.
    pub mta_sts: Option<MtaSts>,
    /// The brand's logo.
    pub bimi: Option<Bimi>,
    /// The relay as others see it.
    pub relay: Relay,
    /// How long resolvers may keep the records.
    pub ttl: Duration,
}

/// One key record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyText {
    /// The selector.
    pub selector: String,
    /// The record, joined.
    pub text: String,
    /// What the key does, for a person: "signs", "is retiring" …
    pub state: String,
}

/// The DMARC record (RFC 9989 §4.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dmarc {
    /// `p=`.
    pub policy: Policy,
    /// `t=y`: apply the next weaker policy.
    pub testing: bool,
    /// `rua=`; `None`: `dmarc@` the domain.
    pub reports: Option<ReportTo>,
}

/// What receivers do with mail that fails (RFC 9989 §4.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// Only report.
    None,
    /// Treat as suspicious.
    Quarantine,
    /// Treat as refused by its domain.
    Reject,
}

/// Where reports go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportTo(Vec<Mailbox>);

/// MTA-STS (RFC 8461 §3.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MtaSts {
    /// `id=`, changed with the policy: letters and digits.
    pub id: String,
    /// The host that serves the policy over HTTPS; `None`: `mta-sts.` is made otherwise.
    pub host: Option<Domain>,
}

/// BIMI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bimi {
    /// `l=`.
    pub logo: String,
    /// `a=`.
    pub certificate: Option<String>,
}

/// The relay as the world sees it.
#[derive(Debug, Clone)]
pub struct Relay {
    /// The hosts that take bounces, by preference.
    pub bounce_hosts: Vec<Domain>,
    /// The names it gives in EHLO, with the public addresses it sends from under each.
    pub helos: Vec<Helo>,
    /// `-all` rather than `~all` for bounce domains.
    pub spf_fail: bool,
}

/// A name in EHLO.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helo {
    /// The name.
    pub name: Domain,
    /// Public addresses that send under it; none where they are not known.
    pub addresses: Vec<IpAddr>,
}
