//! Mail that a person takes out of the queue: settled as cancelled, and its submitter told, in one commit. A shell: it logs.

use super::Notices;
use super::ending::{Action, Told, may_be_told};
use crate::mail::{EnhancedCode, Evidence, MailId, Timestamp};
use crate::spool::control::Effect;
use crate::spool::{Ending, How, Lease, Spool, SpoolError};
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How mail is to be cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    /// What is told of it, beside that it was a person.
    pub note: Option<String>,
    /// Its submitters are told nothing.
    pub silent: bool,
}

/// Settles leases that [`Control::change`](crate::spool::Control::change) gave for mail to be cancelled. Gives the messages that stay as
/// they are, which is held, and why: released or cancelled by somebody else meanwhile (busy), or found damaged.
///
/// # Errors
/// The spool failed. What was not settled stays held.
pub async fn cancel<S: Spool>(
    spool: &Arc<S>,
    notices: &Arc<dyn Notices>,
    leases: Vec<Lease>,
    manner: &Manner,
    now: Timestamp,
) -> Result<Vec<(MailId, Effect)>, SpoolError> {
    let bodies = Arc::new(Semaphore::new(BODIES_MAX));
    let mut running = JoinSet::new();
    for lease in leases {
        let (spool, notices, manner, bodies) = (spool.clone(), notices.clone(), manner.clone(), bodies.clone());
        running.spawn(async move {
            let id = lease.mail.id;
            let _turn = if manner.silent { None } else { bodies.acquire_owned().await.ok() };
            (id, cancel_one(&*spool, &*notices, lease, &manner, now).await)
        });
    }
    let (mut left, mut failed) = (Vec::new(), None);
    for (id, done) in running.join_all().await {
        match done {
            Ok(()) => {}
            Err(SpoolError::LeaseLost(_) | SpoolError::Busy(_)) => left.push((id, Effect::Busy)),
            Err(SpoolError::Damaged(..)) => left.push((id, Effect::Damaged)),
            Err(fault) => failed = Some(fault),
        }
    }
    failed.map_or(Ok(left), Err)
}

async fn cancel_one<S: Spool>(spool: &S, notices: &dyn Notices, lease: Lease, manner: &Manner, now: Timestamp) -> Result<(), SpoolError> {
    let mail = lease.mail.clone();
    let evidence = evidence(manner, now);
    let tell = !manner.silent && may_be_told(&mail);
    let told: Vec<Told> = lease
        .recipients
        .iter()
        .filter(|recipient| tell && recipient.notify.on_failure())
        .map(|recipient| Told { recipient: recipient.clone(), action: Action::Failed, evidence: evidence.clone(), reason: None })
        .collect();
    let notices = if told.is_empty() { Vec::new() } else { notices.notices(&mail, &spool.message(mail.id).await?, &told, now) };
    let cancelled: Vec<_> = lease.recipients.iter().map(|recipient| recipient.mailbox.clone()).collect();
    let endings = lease.recipients.iter().map(|recipient| Ending::of(recipient.index, How::Cancelled(evidence.clone()))).collect();
    spool.settle(lease, endings, notices).await?;
    for recipient in cancelled {
        tracing::info!(mail_id = %mail.id, %recipient, author_domain = %mail.signing_domain, stream = %mail.stream, error = %evidence.text, "mail.cancelled");
    }
    Ok(())
}

/// RFC 3463 §3.1: no class says that somebody thought better of it.
fn evidence(manner: &Manner, at: Timestamp) -> Evidence {
    let note = manner.note.as_ref().map_or_else(String::new, |note| format!(": {note}"));
    let text = format!("cancelled by an operator{note}");
    Evidence { status: EnhancedCode::new(5, 0, 0), reply: None, text, remote: None, tls: None, unknown_end: false, at }
}

/// Messages in memory at a time, to be told of.
const BODIES_MAX: usize = 16;
