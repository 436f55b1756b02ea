//! How a transaction ended: for each recipient, for the connection, and whether the message itself is to blame.

use super::{class_of, status_of};
use crate::mail::outcome::Remote;
use crate::mail::{EnhancedCode, Evidence, Outcome, RemoteReply, Timestamp, TlsSession};

/// What a transaction came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionEnd {
    /// One for each recipient, in their order.
    pub recipients: Vec<RecipientEnd>,
    /// What may be done with the connection.
    pub connection: ConnectionEnd,
    /// The message was refused (at DATA, BDAT or the final dot) although several recipients were accepted: no recipient can be called
    /// unknown for it before the message was tried for that one alone.
    pub blamed_message: bool,
    /// The connection had been used before and was found closed before MAIL was answered (some servers close in silence): nothing was
    /// tried, and a fresh connection is worth a try at once.
    pub stale: bool,
}

/// How one recipient of a transaction ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecipientEnd {
    /// Answered, or never asked for a reason that holds for this next hop.
    Ended(Outcome),
    /// One too many for this transaction, others having been taken (RFC 5321 §4.5.3.1.10): to be tried in another one at once. With the
    /// reply that said so, or none where RCPTMAX did (RFC 9422).
    TooMany(Option<RemoteReply>),
}

/// What a transaction leaves behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// Ready for another transaction.
    Reusable,
    /// Sound, but the next hop takes no more transactions on it (MAILMAX, RFC 9422): to be quit.
    Full,
    /// At its end, for this reason.
    Closed(String),
}

/// The next hop that evidence names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Name and address.
    pub remote: Remote,
    /// The TLS session.
    pub tls: Option<TlsSession>,
}

impl Peer {
    /// What a reply of this next hop means for whom it concerns: 2xx, 4xx or 5xx.
    #[must_use]
    pub fn outcome(&self, reply: &RemoteReply, text: impl Into<String>, at: Timestamp) -> Outcome {
        let class = class_of(reply);
        let evidence = Evidence { reply: Some(reply.clone()), ..self.evidence(status_of(reply), text, at) };
        match class {
            2 => Outcome::Delivered(evidence),
            5 => Outcome::Failed(evidence),
            _ => Outcome::Deferred(evidence),
        }
    }

    /// Something about this next hop that is no reply.
    #[must_use]
    pub fn evidence(&self, status: EnhancedCode, text: impl Into<String>, at: Timestamp) -> Evidence {
        Evidence { status, reply: None, text: text.into(), remote: Some(self.remote.clone()), tls: self.tls.clone(), unknown_end: false, at }
    }
}
