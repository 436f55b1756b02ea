//! The station *ingress*: bytes on a socket become a [`Submission`].
//!
//! It knows listeners, TLS, the SMTP dialogue and who a client is. What may be sent, and what becomes of it, it asks through [`Accept`].

pub mod connection;
pub mod door;
pub mod identity;
pub mod listener;
pub mod proxy_protocol;
mod refused;
pub mod sasl;
pub mod tls;

use crate::mail::{Client, ForwardPath, Mailbox, Receipt, Refusal, ReversePath, Submission};
use std::future::Future;
use std::net::IpAddr;

/// What ingress needs of the rest of the relay; `relay.rs` joins the two.
pub trait Accept: Send + Sync + 'static {
    /// A message that a client may send from now on; over when dropped.
    type Coming: Send + 'static;

    /// When it connects: is a client of this address to be served at all?
    fn admits(&self, _: IpAddr) -> bool {
        true
    }

    /// At MAIL: may this client begin a transaction? `size` is the `SIZE=` parameter in octets. The only place where a rate refuses.
    ///
    /// # Errors
    /// The reply to give.
    fn begin(&self, client: &Client, from: &ReversePath, size: Option<u64>) -> Result<Allowance, Refusal>;

    /// At RCPT: is this recipient to be taken, as the number `taken` + 1 of the transaction? Gives the mailbox that stands for it.
    ///
    /// # Errors
    /// The reply to give.
    fn recipient(&self, client: &Client, to: &ForwardPath, taken: usize) -> impl Future<Output = Result<Mailbox, Refusal>> + Send;

    /// Before a message is handed over: at 354, or with the first `BDAT` that is the last one. Not every one of them comes.
    fn expect(&self) -> Self::Coming;

    /// At the final dot (or `BDAT … LAST`): the whole submission. Returns once it is durable.
    ///
    /// # Errors
    /// The reply to give; nothing was kept.
    fn accept(&self, submission: Submission, coming: Self::Coming) -> impl Future<Output = Result<Receipt, Refusal>> + Send;
}

/// What a transaction may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Octets of the message.
    pub size_octets_max: u64,
    /// Recipients of the transaction.
    pub recipients_max: usize,
}
