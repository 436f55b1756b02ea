//! The station *seal*: DKIM signatures (RFC 6376, RFC 8463) and an ARC set (RFC 8617) for a message that will not change any more.
//!
//! A seal is a list of independent header fields kept beside the message, with the ids of the keys that made them. Delivery puts
//! them in front. [`plan`] decides once, at acceptance, what a seal is to consist of; [`make`] makes it, then and whenever
//! [`needs_resealing`] says so. Both are pure: no clock, no key store, no DNS (what DNS had to say of foreign signatures comes in as
//! [`Examined`]).
//!
//! | on top | field | covers |
//! |---|---|---|
//! | 1 | DKIM-Signature `ed25519-sha256` | the message; nothing below covers it, so delivery may leave it out |
//! | 2 | ARC-Seal | the sets of the chain and its own |
//! | 3 | ARC-Message-Signature | the message and the DKIM-Signatures below |
//! | 4 | ARC-Authentication-Results | |
//! | 5 | DKIM-Signature `rsa-sha256` of the author domain | the message |
//! | 6 | DKIM-Signature `rsa-sha256` of the platform (third party) | the message |
//!
//! A successor of DKIM would be one more [`FieldKind`], one more flag of [`Plan`] and one more call in [`make`]: DKIM2 signs
//! envelopes, so its fields go in front of one transaction, above all of these, and none of these may cover them.

use crate::mail::{
    Domain, IdentityName, KeyId, MailId, Mailbox, Message, Notify, OriginalRecipient, Ret, ReversePath, RouteName, Stream, Suppression, Timestamp, TraceContext,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

pub mod arc;
pub mod dkim;
mod examined;
mod making;
mod planning;
pub mod results;
mod rules;
pub mod verified;

pub use examined::{ChainFact, DkimFact, DkimResult, Examined, wants_examination};
pub use making::{SealError, is_spoilt, make, needs_resealing};
pub use planning::{Mode, Request, plan, plan_again};
pub use rules::{ArcMode, DomainSeal, Lost, LostKey, NoKey, RouteProfile, Rules, Suspension};

/// A message safe to promise: sealed, readdressed, complete. What the spool takes.
#[derive(Debug, Clone)]
pub struct Sealed {
    /// Its number; unique in the spool and for the life of its bounce tokens.
    pub id: MailId,
    /// When the submission's final dot came.
    pub accepted_at: Timestamp,
    /// No attempt before this: `accepted_at`, or what `X-Postseal-Deliver-After` asked.
    pub due_at: Timestamp,
    /// After this a deferred recipient is failed.
    pub expires_at: Timestamp,
    /// Who submitted it.
    pub identity: IdentityName,
    /// A submission, or a notice of ours.
    pub kind: Kind,
    /// The author domain, or the forwarder's in `forward` mode: whose keys sealed it, who writes its DSNs.
    pub signing_domain: Domain,
    /// Schedule and reputation class.
    pub stream: Stream,
    /// Where it goes.
    pub route: RouteName,
    /// To whom failures are told: the submission's reverse-path, mapped where it could receive nothing.
    pub original_reverse_path: ReversePath,
    /// The registered sender behind the bounce tokens, if there are tokens.
    pub sender: Option<Sender>,
    /// At least one.
    pub recipients: Vec<SealedRecipient>,
    /// `ENVID` of the submission.
    pub envid: Option<String>,
    /// `RET` of the submission.
    pub ret: Option<Ret>,
    /// What a next hop must offer.
    pub needs: Needs,
    /// The Message-ID with its angle brackets.
    pub message_id: String,
    /// `X-Postseal-Track-Id`.
    pub track_id: Option<String>,
    /// `X-Postseal-Tag`.
    pub tag: Option<String>,
    /// The span that what is done with it belongs to.
    pub trace: Option<TraceContext>,
    /// The header fields to put in front.
    pub seal: Seal,
    /// The message below the seal.
    pub message: Message,
}

/// Where a [`Sealed`] came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An application's.
    Submission,
    /// A DSN of ours: null reverse-path, never answered.
    Notice,
    /// What came back to a bounce address, on its way to the original sender: null reverse-path, never answered, never sealed. What
    /// cannot be passed on is kept for a person.
    Returned,
}

/// One recipient of a sealed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRecipient {
    /// Whom it is for.
    pub mailbox: Mailbox,
    /// `NOTIFY=`.
    pub notify: Notify,
    /// `ORCPT=`.
    pub orcpt: Option<OriginalRecipient>,
    /// The `MAIL FROM` of its transaction: a bounce address, or null. Recipients with the same one may share a transaction.
    pub reverse_path: ReversePath,
    /// The entry of the suppression list by which it is not written to: it is settled as failed when the message is committed.
    pub suppressed: Option<Arc<Suppression>>,
}

/// What a next hop must offer to take the message unchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Needs {
    /// An octet over 127 in the body (RFC 6152).
    pub eight_bit_mime: bool,
    /// UTF-8 in the header or in an address (RFC 6531).
    pub smtputf8: bool,
}

/// A row of the table of senders: the original reverse-path behind a token's sender id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// The keyed hash in the token (40 bits).
    pub id: u64,
    /// Whom bounces go home to.
    pub mailbox: Mailbox,
}

/// The header fields made for one message, top to bottom, and what is needed to make them again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// Top to bottom: Ed25519, ARC-Seal, ARC-Message-Signature, ARC-Authentication-Results, RSA, third party.
    pub fields: Vec<SealField>,
    /// The earliest `x=` among them, in Unix seconds.
    pub expires: Option<i64>,
    /// How it was made, to make it again with other keys.
    pub plan: Plan,
}

/// One field of a seal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealField {
    /// What it is.
    pub kind: FieldKind,
    /// Selector and domain of its key, as `selector._domainkey.domain`; none for ARC-Authentication-Results.
    pub key: Option<String>,
    /// The whole field with its CR LF, ASCII.
    pub text: String,
}

/// The kinds of fields a seal is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FieldKind {
    /// DKIM-Signature `a=ed25519-sha256`: on top, outside ARC's coverage, left out where it is not verified.
    Ed25519,
    /// ARC-Seal.
    ArcSeal,
    /// ARC-Message-Signature.
    ArcMessageSignature,
    /// ARC-Authentication-Results.
    ArcAuthenticationResults,
    /// DKIM-Signature `a=rsa-sha256` of the author domain.
    Rsa,
    /// DKIM-Signature of the platform (third party).
    ThirdParty,
}

/// The decisions a seal was made by. Written into the spool with it; decided once, at acceptance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
pub struct Plan {
    /// `d=` of the author signatures, when there are to be any.
    pub author: Option<String>,
    /// `d=` of the third-party signature, when there is to be one.
    pub third_party: Option<String>,
    /// An Ed25519 signature is wanted.
    pub ed25519: bool,
    /// The ARC set to be made, when there is to be one.
    pub arc: Option<ArcPlan>,
    /// Header fields that must stay unsigned (a smart host rewrites them), lower case.
    pub unsigned: Vec<String>,
}

/// The ARC set of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArcPlan {
    /// `d=` of the set.
    pub domain: String,
    /// `i=`, 1 to 50 (RFC 8617 §4.2.1).
    pub instance: u8,
    /// `cv=`: `none`, `pass` or `fail`.
    pub cv: String,
    /// The ARC-Authentication-Results payload after `i=N;`: authserv-id and results.
    pub results: String,
}

impl Seal {
    /// One without a field, which promises nothing: mail that has to go though no key is left for it.
    #[must_use]
    pub const fn bare(plan: Plan) -> Self {
        Self { fields: Vec::new(), expires: None, plan }
    }

    /// The octets to put in front of the message; without Ed25519 signatures where the next hop cannot verify them.
    #[must_use]
    pub fn header(&self, with_ed25519: bool) -> Vec<u8> {
        let fields = self.fields.iter().filter(|field| with_ed25519 || field.kind != FieldKind::Ed25519);
        fields.flat_map(|field| field.text.bytes()).collect()
    }

    /// The keys that made it, as [`KeyId`]s print.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().filter_map(|field| field.key.as_deref())
    }

    /// Whether this key had a part in it.
    #[must_use]
    pub fn is_made_by(&self, key: &KeyId) -> bool {
        let key = key.to_string();
        self.keys().any(|known| known == key)
    }
}
