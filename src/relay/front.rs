//! What ingress asks of the relay: policy in the dialogue, then examination, preparation, commit; in `through` mode the next hop's answer for
//! a commit.

use super::meters::count_seal;
use super::spans::Following;
use super::suppressed::Suppressing;
use crate::clock::Clock;
use crate::deliver::through::Through;
use crate::events::meters;
use crate::events::meters::words::{MailKind, SubmissionStep};
use crate::events::otlp::Tracer;
use crate::events::traffic::{Beat, Traffic};
use crate::ingress::{Accept, Allowance};
use crate::mail::{Blame, Client, EnhancedCode, ForwardPath, Headers, MailIds, Mailbox, Receipt, Refusal, ReversePath, Submission, Timestamp};
use crate::policy::{self, Usage};
use crate::prepare::{self, Facts, Snapshot};
use crate::seal::dkim::verify;
use crate::seal::{Examined, Sealed};
use crate::spool::{Coming, SpoolError, Suppressions};
use arc_swap::ArcSwap;
use hickory_resolver::TokioResolver;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinError;

/// The front half of the relay.
pub struct Front<S> {
    /// What decides.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Where accepted mail goes.
    pub spool: Arc<S>,
    /// Asks DNS about signatures of others.
    pub foreign_keys: TokioResolver,
    /// `through` mode: where accepted mail goes instead.
    pub through: Option<Arc<Through>>,
    /// Told after each commit.
    pub due: Arc<Notify>,
    /// Serial numbers of mail ids.
    pub ids: Arc<IdSource>,
    /// Looks for recipients who are not written to.
    pub suppressing: Suppressing<S>,
    /// Where messages are prepared.
    pub workshop: Workshop,
    /// Examinations at a time: each is some DNS questions.
    pub examinations: Semaphore,
    /// What each identity has used of its rates.
    pub usage: Mutex<Usage>,
    /// Where it counts.
    pub meters: Arc<meters::Front>,
    /// Is told what took how long.
    pub tracer: Tracer,
    /// Counts for the page.
    pub traffic: Arc<Traffic>,
    /// The time.
    pub clock: Clock,
}

/// Where messages are prepared: work for a core, a third of a millisecond and more each.
#[derive(Debug, Clone)]
pub enum Workshop {
    /// So many at a time; large ones off the threads that serve sockets.
    Threads(Arc<Semaphore>),
    /// Where it is asked for: there is one thread, and a simulation wants no other.
    Here,
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

impl<S: Suppressions> Accept for Front<S> {
    type Coming = Coming;

    fn begin(&self, client: &Client, from: &ReversePath, size: Option<u64>) -> Result<Allowance, Refusal> {
        let snapshot = self.snapshot.load();
        let begun = policy::begin(&snapshot.policy, &mut self.usage(), &client.identity, from, size, self.now());
        let allowance = begun.inspect_err(|_| self.traffic.note(Beat::Refused, 1, self.now()))?;
        Ok(Allowance { recipients_max: allowance.recipients_max.min(self.recipients_max()), ..allowance })
    }

    async fn recipient(&self, client: &Client, to: &ForwardPath, taken: usize) -> Result<Mailbox, Refusal> {
        let snapshot = self.snapshot.load_full();
        let judged = policy::recipient(&snapshot.policy, &client.identity, to, taken);
        let mailbox = judged.inspect_err(|_| self.traffic.note(Beat::Refused, 1, self.now()))?;
        if taken >= self.recipients_max() {
            let text = format!("the next hop takes at most {} recipients in one transaction, send the others in another", self.recipients_max());
            return Err(Refusal::submitter(452, EnhancedCode::new(4, 5, 3), text));
        }
        if self.through.is_none() {
            let refused = self.suppressing.refuse(&snapshot.policy, &client.identity, &mailbox, self.now()).await;
            refused.inspect_err(|_| self.traffic.note(Beat::Refused, 1, self.now()))?;
        }
        self.usage().took_recipients(&client.identity, 1);
        Ok(mailbox)
    }

    fn expect(&self) -> Coming {
        self.spool.expect()
    }

    async fn accept(&self, submission: Submission, coming: Coming) -> Result<Receipt, Refusal> {
        let submission = Arc::new(submission);
        let following = Following::begin(&self.tracer, &submission.message, self.is_own(&submission.client));
        let accepted = self.commit(&submission, coming, &following).await;
        let beat = if accepted.is_ok() { Beat::Accepted } else { Beat::Refused };
        self.traffic.note(beat, u64::try_from(submission.envelope.recipients.len()).unwrap_or(u64::MAX), self.now());
        if let Err(refusal) = &accepted {
            report_refusal(&submission, refusal, &following.trace_id());
        }
        following.end(&submission, &accepted);
        accepted
    }
}

impl<S: Suppressions> Front<S> {
    async fn commit(&self, submission: &Arc<Submission>, coming: Coming, following: &Following) -> Result<Receipt, Refusal> {
        let needed = prepare::facts_needed(submission);
        let examined = if needed.examination { self.examined(submission).await } else { Examined::default() };
        let (mut sender_counter, mut coming) = (0, Some(coming));
        for _ in 0..COMMITS_MAX {
            let ids = self.ids.reserve(self.now(), needed.ids);
            let facts = Facts { ids, examined: examined.clone(), sender_counter };
            let mut mails = following.step("prepare", self.prepared(submission, facts)).await?;
            for mail in &mut mails {
                mail.trace = following.context();
            }
            if let Some(through) = &self.through {
                return following.step("pass", self.pass(through, submission, mails)).await;
            }
            let told: Vec<_> = mails.iter().map(Told::of).collect();
            let spared = self.suppressing.mark(&mut mails, self.now()).await;
            drop(coming.take());
            let began = Instant::now();
            match following.step("commit", self.spool.commit(mails)).await {
                Ok(receipt) => {
                    self.meters.steps.of(SubmissionStep::Commit).took(began.elapsed());
                    if !receipt.is_taken_on() {
                        self.due.notify_one();
                    }
                    self.count_accepted(submission, told.len());
                    for mail in &told {
                        mail.report(submission, &following.trace_id());
                    }
                    self.suppressing.report(&spared, submission, &following.trace_id());
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

    /// `through` mode: the next hop's answer is the client's.
    async fn pass(&self, through: &Through, submission: &Submission, mails: Vec<Sealed>) -> Result<Receipt, Refusal> {
        let [mail] = mails.as_slice() else { return Err(Refusal::ourselves()) }; // one route was configured, and one route makes one message
        if let Some(why) = self.snapshot.load().seal.held(&mail.signing_domain, &mail.seal) {
            return Err(Refusal::operator(451, EnhancedCode::new(4, 7, 0), format!("mail of {} cannot be verified at present: {why}", mail.signing_domain)));
        }
        let began_at = self.now();
        let receipt = through.pass(mail).await?;
        self.count_passed(submission);
        Told::of(mail).report_passed(submission, self.now().since(began_at));
        Ok(receipt)
    }

    /// As many as the next hop takes, where it is waited for.
    fn recipients_max(&self) -> usize {
        self.through.as_ref().map_or(usize::MAX, |through| through.recipients_max())
    }

    fn count_accepted(&self, submission: &Submission, mails: usize) {
        self.count_passed(submission);
        self.meters.spooled.of(MailKind::Submission).many(mails as u64);
    }

    fn count_passed(&self, submission: &Submission) {
        self.meters.accepted.one();
        self.meters.recipients.many(submission.envelope.recipients.len() as u64);
        self.meters.octets.many(submission.message.len() as u64);
    }

    /// Its mail is its own, not passed on for others.
    fn is_own(&self, client: &Client) -> bool {
        let snapshot = self.snapshot.load();
        snapshot.policy.identities.get(&client.identity).is_some_and(|identity| matches!(identity.mode, policy::Mode::Author))
    }

    async fn prepared(&self, submission: &Arc<Submission>, facts: Facts) -> Result<Vec<Sealed>, Refusal> {
        let began = Instant::now();
        let (submission, snapshot, meters, clock) = (submission.clone(), self.snapshot.load_full(), self.meters.clone(), self.clock.clone());
        let submission_octets = submission.message.len();
        let work = move || {
            let turn_came = Instant::now();
            meters.steps.of(SubmissionStep::Wait).took(turn_came - began);
            let prepared = prepare::prepare(&submission, &snapshot, facts, clock());
            meters.steps.of(SubmissionStep::Prepare).took(turn_came.elapsed());
            prepared.iter().flatten().for_each(|mail| count_seal(&meters, &mail.seal));
            prepared
        };
        self.workshop.done(submission_octets, work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "preparation.broke");
            Err(Refusal::ourselves())
        })
    }

    /// What DNS says of signatures the message came with. Where it does not say in time, or too many ask, the message is taken all the
    /// same: nothing under its signatures is changed, and nothing is claimed about them.
    async fn examined(&self, submission: &Submission) -> Examined {
        let examination = async {
            let _turn = self.examinations.acquire().await;
            verify::examine(&submission.message, &self.foreign_keys, self.now()).await
        };
        let began = Instant::now();
        let examined = tokio::time::timeout(EXAMINATION_TIMEOUT, examination).await;
        self.meters.steps.of(SubmissionStep::Examine).took(began.elapsed());
        examined.unwrap_or_else(|_| {
            tracing::warn!(identity = %submission.client.identity, within_ms = EXAMINATION_TIMEOUT.as_secs() * 1000, "examination.failed");
            Headers::parse(&submission.message).map(|headers| Examined::unanswered(&headers)).unwrap_or_default()
        })
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    fn usage(&self) -> std::sync::MutexGuard<'_, Usage> {
        self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Workshop {
    /// With room for so much at a time.
    #[must_use]
    pub fn of_threads(threads: usize) -> Self {
        Self::Threads(Arc::new(Semaphore::new(threads)))
    }

    /// Does the work on a message of so many octets, when its turn comes. A small one is worked on where it is: to hand it to another
    /// thread and back costs the core more than the others gain.
    pub(super) async fn done<T: Send + 'static>(&self, octets: usize, work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
        match self {
            Self::Here => Ok(work()),
            Self::Threads(turns) => {
                let turn = turns.clone().acquire_owned().await.ok(); // it is never closed
                if octets <= DONE_HERE_OCTETS_MAX {
                    return Ok(work());
                }
                tokio::task::spawn_blocking(move || {
                    let done = work();
                    drop(turn);
                    done
                })
                .await
            }
        }
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

    fn report(&self, submission: &Submission, trace_id: &str) {
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
            trace_id,
            "mail.accepted"
        );
    }
}

impl Told {
    fn report_passed(&self, submission: &Submission, took: Duration) {
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
            took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "mail.passed"
        );
    }
}

fn report_refusal(submission: &Submission, refusal: &Refusal, trace_id: &str) {
    let (identity, client) = (&submission.client.identity, submission.client.address);
    match refusal.blame {
        Blame::Submitter | Blame::NextHop => tracing::info!(%identity, %client, reply = %refusal, trace_id, "mail.refused"),
        Blame::Operator => tracing::warn!(%identity, %client, reply = %refusal, trace_id, "mail.refused"),
        Blame::Ourselves => tracing::error!(%identity, %client, reply = %refusal, trace_id, "mail.refused"),
    }
}

/// The reply to a submission that could not be stored.
pub(super) fn refusal_of(error: &SpoolError) -> Refusal {
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

/// Octets of a message that is worked on by the thread that serves its socket: some fifty microseconds beside the signatures'.
const DONE_HERE_OCTETS_MAX: usize = 64 * 1024;
/// Tries to find a free id: each fails once in a very long time.
const COMMITS_MAX: u32 = 8;
/// DNS questions about the signatures of one message, all together.
const EXAMINATION_TIMEOUT: Duration = Duration::from_secs(20);
/// Messages at a time whose signatures are looked up.
pub const EXAMINATIONS_MAX: usize = 64;
