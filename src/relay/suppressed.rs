//! Recipients who are not written to any more: looked for when a submission comes in, marked, and told to the submitter.
//!
//! Where the list cannot be read just now, mail goes out: an attempt in vain is better than a submission refused for it, and a spool that
//! has failed refuses it anyway. What is put on the list between the look and the commit counts from the next submission on.

use super::front::Workshop;
use super::home::{Home, Subject};
use crate::events::meters::Front;
use crate::events::meters::words::SuppressedFor;
use crate::mail::dsn::{Action, DsnRecipient};
use crate::mail::suppression::{Rules, Suppression, Why};
use crate::mail::{Mailbox, Reason, Refusal, Submission, Timestamp};
use crate::policy;
use crate::seal::{Sealed, SealedRecipient};
use crate::spool::Suppressions;
use arc_swap::ArcSwap;
use std::sync::Arc;

/// Who looks at the list for submissions.
pub struct Suppressing<S> {
    /// Where the list is.
    pub spool: Arc<S>,
    /// Whether it is looked at.
    pub rules: Arc<ArcSwap<Rules>>,
    /// Writes the notices.
    pub home: Arc<Home>,
    /// Where they are made.
    pub workshop: Workshop,
    /// Where it counts.
    pub meters: Arc<Front>,
}

/// A recipient that was not written to, for the log.
pub struct Spared {
    mail_id: crate::mail::MailId,
    recipient: Mailbox,
    message_id: String,
    track_id: Option<String>,
    entry: Arc<Suppression>,
}

impl<S: Suppressions> Suppressing<S> {
    /// Marks recipients that are on the list, and adds the notices that tell of them: to be committed with the rest.
    pub async fn mark(&self, mails: &mut Vec<Sealed>, now: Timestamp) -> Vec<Spared> {
        if !self.rules.load().enabled {
            return Vec::new();
        }
        let mut spared = Vec::new();
        let mut notices = Vec::new();
        for mail in mails.iter_mut() {
            let recipients = mail.recipients.iter().map(|recipient| recipient.mailbox.clone()).collect();
            let found = match self.spool.suppressed(&mail.signing_domain, &mail.stream, recipients, now).await {
                Ok(found) => found,
                Err(error) => {
                    tracing::warn!(mail_id = %mail.id, %error, "suppression.skipped");
                    continue;
                }
            };
            for (mailbox, entry) in found {
                let entry = Arc::new(entry);
                for recipient in mail.recipients.iter_mut().filter(|recipient| recipient.mailbox == mailbox && recipient.suppressed.is_none()) {
                    recipient.suppressed = Some(entry.clone());
                    let (mail_id, message_id, track_id) = (mail.id, mail.message_id.clone(), mail.track_id.clone());
                    spared.push(Spared { mail_id, recipient: recipient.mailbox.clone(), message_id, track_id, entry: entry.clone() });
                }
            }
            notices.extend(self.notice(mail, now).await);
        }
        mails.extend(notices);
        spared
    }

    /// What is known by now, and told once the commit is done.
    pub fn report(&self, spared: &[Spared], submission: &Submission, trace_id: &str) {
        for Spared { mail_id, recipient, message_id, track_id, entry } in spared {
            self.meters.suppressed.of(word(entry.why)).one();
            tracing::info!(
                %mail_id,
                %recipient,
                identity = %submission.client.identity,
                message_id,
                track_id,
                scope = %entry.scope,
                reason = entry.why.as_str(),
                since = entry.since.to_rfc3339(),
                trace_id,
                "mail.suppressed"
            );
        }
    }

    /// At RCPT, for an identity that wants it refused there: whose mail it is and in which stream is not known yet, so it is refused only
    /// where it is on the list for all mail that the identity can send.
    ///
    /// # Errors
    /// The reply to give.
    pub async fn refuse(&self, settings: &policy::Settings, identity: &crate::mail::IdentityName, recipient: &Mailbox, now: Timestamp) -> Result<(), Refusal> {
        let wants = settings.identities.get(identity).is_some_and(|identity| identity.suppressed == policy::Suppressed::Refuse);
        if !wants || !self.rules.load().enabled {
            return Ok(());
        }
        let Some(senders) = policy::senders(settings, identity).filter(|senders| !senders.is_empty()) else { return Ok(()) };
        let mut refusal = None;
        for (author_domain, stream) in &senders {
            match self.spool.suppressed(author_domain, stream, vec![recipient.clone()], now).await {
                Ok(found) => match found.first() {
                    Some((_, entry)) => refusal = refusal.or_else(|| Some((entry.why, entry.refusal()))),
                    None => return Ok(()),
                },
                Err(error) => {
                    tracing::warn!(%error, "suppression.skipped");
                    return Ok(());
                }
            }
        }
        refusal.map_or(Ok(()), |(why, refusal)| {
            self.meters.suppressed.of(word(why)).one();
            tracing::info!(%identity, %recipient, reply = %refusal, "recipient.refused");
            Err(refusal)
        })
    }

    /// The notice to the submitter of one mail, off the threads that serve sockets, for it is sealed.
    async fn notice(&self, mail: &Sealed, now: Timestamp) -> Option<Sealed> {
        let told: Vec<DsnRecipient> = mail.recipients.iter().filter(|recipient| recipient.notify.on_failure()).filter_map(|who| told(who, now)).collect();
        if told.is_empty() || mail.original_reverse_path.mailbox().is_none() {
            return None;
        }
        let (home, mail, octets) = (self.home.clone(), mail.clone(), mail.message.octets().len());
        let made = self.workshop.done(octets, move || home.notice(&Subject::sealed(&mail), mail.message.octets(), told, now));
        made.await.unwrap_or_else(|error| {
            tracing::error!(%error, "notice.broke");
            None
        })
    }
}

fn told(recipient: &SealedRecipient, now: Timestamp) -> Option<DsnRecipient> {
    let entry = recipient.suppressed.as_ref()?;
    Some(DsnRecipient {
        mailbox: recipient.mailbox.clone(),
        orcpt: recipient.orcpt.clone(),
        action: Action::Failed,
        evidence: entry.evidence(now),
        reason: entry.why.reason(),
        attempts: 0,
        retry_until: None,
    })
}

const fn word(why: Why) -> SuppressedFor {
    match why {
        Why::Failed(Reason::UserUnknown) => SuppressedFor::UserUnknown,
        Why::Failed(Reason::Suspended) => SuppressedFor::Suspended,
        Why::Failed(Reason::MailboxFull) => SuppressedFor::MailboxFull,
        Why::Failed(Reason::DomainNotFound) => SuppressedFor::DomainNotFound,
        Why::Failed(_) => SuppressedFor::Other,
        Why::Complaint => SuppressedFor::Complaint,
        Why::Manual => SuppressedFor::Manual,
    }
}
