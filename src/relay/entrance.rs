//! What stands behind a listener: the half of the relay that its purpose names.

use super::front::Front;
use super::returns::Returns;
use crate::ingress::{Accept, Allowance};
use crate::mail::{Client, ForwardPath, Mailbox, Receipt, Refusal, ReversePath, Submission};
use crate::spool::{Coming, SqliteSpool};
use std::net::IpAddr;
use std::sync::Arc;

/// See above.
#[derive(Clone)]
pub enum Entrance {
    /// For applications.
    Submission(Arc<Front<SqliteSpool>>),
    /// For what comes home.
    Bounces(Arc<Returns<SqliteSpool>>),
}

impl Accept for Entrance {
    type Coming = Coming;

    fn admits(&self, address: IpAddr) -> bool {
        match self {
            Self::Submission(front) => front.admits(address),
            Self::Bounces(returns) => returns.admits(address),
        }
    }

    fn begin(&self, client: &Client, from: &ReversePath, size: Option<u64>) -> Result<Allowance, Refusal> {
        match self {
            Self::Submission(front) => front.begin(client, from, size),
            Self::Bounces(returns) => returns.begin(client, from, size),
        }
    }

    async fn recipient(&self, client: &Client, to: &ForwardPath, taken: usize) -> Result<Mailbox, Refusal> {
        match self {
            Self::Submission(front) => front.recipient(client, to, taken).await,
            Self::Bounces(returns) => returns.recipient(client, to, taken).await,
        }
    }

    fn expect(&self) -> Coming {
        match self {
            Self::Submission(front) => front.expect(),
            Self::Bounces(returns) => returns.expect(),
        }
    }

    async fn accept(&self, submission: Submission, coming: Coming) -> Result<Receipt, Refusal> {
        match self {
            Self::Submission(front) => front.accept(submission, coming).await,
            Self::Bounces(returns) => returns.accept(submission, coming).await,
        }
    }
}
