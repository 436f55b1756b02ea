//! What ingress asks of the relay: policy in the dialogue, then examination, preparation, commit.

use super::meters::count_seal;
use crate::clock;
use crate::events::meters;
use crate::events::meters::words::{MailKind, SubmissionStep};
use crate::ingress::{Accept, Allowance};
use crate::mail::{Blame, Client, EnhancedCode, ForwardPath, Headers, MailIds, Mailbox, Receipt, Refusal, ReversePath, Submission, Timestamp};
use crate::policy::{self, Usage};
use crate::prepare::{self, Facts, Snapshot};
use crate::seal::dkim::verify;
use crate::seal::{Examined, Sealed};
use crate::spool::{Spool, SpoolError};
use arc_swap::ArcSwap;
use mail_auth::MessageAuthenticator;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// The front half of the relay.
pub struct Front<S> {
    /// What decides.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Where accepted mail goes.
    pub spool: Arc<S>,
    /// Asks DNS about signatures of others.
    pub authenticator: MessageAuthenticator,
    /// Told after each commit.
    pub due: Arc<Notify>,
    /// Serial numbers of mail ids.
    pub ids: Arc<IdSource>,
    /// As many preparations at a time as there are cores to sign on.
    pub sealing: Arc<Semaphore>,
    /// Examinations at a time: each is some DNS questions.
    pub examinations: Semaphore,
    /// What each identity has used of its rates.
    pub usage: Mutex<Usage>,
    /// Where it counts.
    pub meters: Arc<meters::Front>,
}

/// Sets mail ids aside, no two alike in one process within a second; between processes chance and the spool's check keep them apart.
#[derive(Debug)]
pub struct IdSource(AtomicU32);

impl IdSource {
    /// Begins at a serial number that chance gave.
    #[must_use]
    pub const fn from(serial: u32) -> Self {
        Self(AtomicU32::new(serial))
    }

    /// `count` fresh ids.
    pub fn reserve(&self, now: Timestamp, count: u32) -> MailIds {
        MailIds::reserve(now, self.0.fetch_add(count, Ordering::Relaxed), count)
    }
}

impl<S: Spool> Accept for Front<S> {
    fn begin(&self, client: &Client, from: &ReversePath, size: Option<u64>) -> Result<Allowance, Refusal> {
        let snapshot = self.snapshot.load();
        policy::begin(&snapshot.policy, &mut self.usage(), &client.identity, from, size, clock::now())
    }

    fn recipient(&self, client: &Client, to: &ForwardPath, taken: usize) -> Result<Mailbox, Refusal> {
        let mailbox = policy::recipient(&self.snapshot.load().policy, &client.identity, to, taken)?;
        self.usage().took_recipients(&client.identity, 1);
        Ok(mailbox)
    }

    async fn accept(&self, submission: Submission) -> Result<Receipt, Refusal> {
        let submission = Arc::new(submission);
        let accepted = self.commit(&submission).await;
        if let Err(refusal) = &accepted {
            report_refusal(&submission, refusal);
        }
        accepted
    }
}

impl<S: Spool> Front<S> {
    async fn commit(&self, submission: &Arc<Submission>) -> Result<Receipt, Refusal> {
        let needed = prepare::facts_needed(submission);
        let examined = if needed.examination { self.examined(submission).await } else { Examined::default() };
        let mut sender_counter = 0;
        for _ in 0..COMMITS_MAX {
            let ids = self.ids.reserve(clock::now(), needed.ids);
            let facts = Facts { ids, examined: examined.clone(), sender_counter };
            let mails = self.prepared(submission, facts).await?;
            let told: Vec<_> = mails.iter().map(Told::of).collect();
            let began = Instant::now();
            match self.spool.commit(mails).await {
                Ok(receipt) => {
                    self.meters.steps.of(SubmissionStep::Commit).took(began.elapsed());
                    self.due.notify_one();
                    self.count_accepted(submission, told.len());
                    for mail in &told {
                        mail.report(submission);
                    }
                    return Ok(receipt);
                }
                Err(SpoolError::IdTaken(_)) => {}
                Err(SpoolError::SenderTaken(_)) => sender_counter += 1,
                Err(error) => return Err(refusal_of(&error)),
            }
        }
        tracing::error!(error = "no free mail or sender id in so many tries", attempts = COMMITS_MAX, "spool.refused");
        Err(Refusal::ourselves())
    }

    fn count_accepted(&self, submission: &Submission, mails: usize) {
        self.meters.accepted.one();
        self.meters.recipients.many(submission.envelope.recipients.len() as u64);
        self.meters.octets.many(submission.message.len() as u64);
        self.meters.spooled.of(MailKind::Submission).many(mails as u64);
    }

    /// Preparation is work for a core, a third of a millisecond and more: off the threads that serve sockets, no more at a time than cores.
    async fn prepared(&self, submission: &Arc<Submission>, facts: Facts) -> Result<Vec<Sealed>, Refusal> {
        let began = Instant::now();
        let turn = self.sealing.clone().acquire_owned().await.map_err(|_| Refusal::ourselves())?;
        let (submission, snapshot, meters) = (submission.clone(), self.snapshot.load_full(), self.meters.clone());
        let work = move || {
            let turn_came = Instant::now();
            meters.steps.of(SubmissionStep::Wait).took(turn_came - began);
            let prepared = prepare::prepare(&submission, &snapshot, facts, clock::now());
            meters.steps.of(SubmissionStep::Prepare).took(turn_came.elapsed());
            prepared.iter().flatten().for_each(|mail| count_seal(&meters, &mail.seal));
            drop(turn);
            prepared
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "preparation.broke");
            Err(Refusal::ourselves())
        })
    }

    /// What DNS says of signatures the message came with. Where it does not say in time, or too many ask, the message is taken all the
    /// same: nothing under its signatures is changed, and nothing is claimed about them.
    async fn examined(&self, submission: &Submission) -> Examined {
        let examination = async {
            let _turn = self.examinations.acquire().await;
            verify::examine(&submission.message, &self.authenticator, clock::now()).await
        };
        let began = Instant::now();
        let examined = tokio::time::timeout(EXAMINATION_TIMEOUT, examination).await;
        self.meters.steps.of(SubmissionStep::Examine).took(began.elapsed());
        examined.unwrap_or_else(|_| {
            tracing::warn!(identity = %submission.client.identity, within_ms = EXAMINATION_TIMEOUT.as_secs() * 1000, "examination.failed");
            Headers::parse(&submission.message).map(|headers| Examined::unanswered(&headers)).unwrap_or_default()
        })
    }

    fn usage(&self) -> std::sync::MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a log line of an accepted mail tells.
struct Told {
    mail_id: crate::mail::MailId,
    author_domain: crate::mail::Domain,
    stream: crate::mail::Stream,
    route: crate::mail::RouteName,
    recipients: usize,
    message_id: String,
    track_id: Option<String>,
}

impl Told {
    fn of(mail: &Sealed) -> Self {
        Self {
            mail_id: mail.id,
            author_domain: mail.signing_domain.clone(),
            stream: mail.stream.clone(),
            route: mail.route.clone(),
            recipients: mail.recipients.len(),
            message_id: mail.message_id.clone(),
            track_id: mail.track_id.clone(),
        }
    }

    fn report(&self, submission: &Submission) {
        tracing::info!(
            mail_id = %self.mail_id,
            identity = %submission.client.identity,
            client = %submission.client.address,
            listener = %submission.client.listener,
            author_domain = %self.author_domain,
            stream = %self.stream,
            route = %self.route,
            recipients = self.recipients,
            octets = submission.message.len(),
            message_id = self.message_id,
            track_id = self.track_id,
            "mail.accepted"
        );
    }
}

fn report_refusal(submission: &Submission, refusal: &Refusal) {
    let (identity, client) = (&submission.client.identity, submission.client.address);
    match refusal.blame {
        Blame::Submitter | Blame::NextHop => tracing::info!(%identity, %client, reply = %refusal, "mail.refused"),
        Blame::Operator => tracing::warn!(%identity, %client, reply = %refusal, "mail.refused"),
        Blame::Ourselves => tracing::error!(%identity, %client, reply = %refusal, "mail.refused"),
    }
}

/// The reply to a submission that could not be stored.
fn refusal_of(error: &SpoolError) -> Refusal {
    match error {
        SpoolError::Full { .. } | SpoolError::SendersFull(_) => {
            tracing::warn!(%error, "spool.refused");
            Refusal::operator(452, EnhancedCode::new(4, 3, 1), "insufficient storage; try again later")
        }
        SpoolError::Busy(_) => {
            tracing::warn!(%error, "spool.refused");
            Refusal { blame: Blame::Operator, ..Refusal::ourselves() }
        }
        _ => {
            tracing::error!(%error, "spool.refused");
            Refusal { blame: Blame::Operator, ..Refusal::ourselves() }
        }
    }
}

/// Tries to find a free id: each fails once in a very long time.
const COMMITS_MAX: u32 = 8;
/// DNS questions about the signatures of one message, all together.
const EXAMINATION_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages at a time whose signatures are looked up.
pub const EXAMINATIONS_MAX: usize = 64;
