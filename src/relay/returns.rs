//! What listeners for bounces ask of the relay: whose a recipient is, and a home for what came. The shell around `returns`: it has the spool,
//! the DNS, the clock and the log.
//!
//! ```text
//! RCPT ─▶ addressee ─▶ 550, or the token opens         (two hashes, nobody is asked)
//! dot  ─▶ circle ─▶ classify ─▶ sender? history? ─▶ fate, tidings ─▶ one commit ─▶ 250
//! ```

use super::front::IdSource;
use crate::clock;
use crate::config::Config;
use crate::events::meters;
use crate::events::meters::words::{CameBack, KeptFor, MailKind, ReturnRefused};
use crate::ingress::{Accept, Allowance};
use crate::mail::suppression::rules as suppression;
use crate::mail::{
    Blame, Client, Domain, EnhancedCode, ForwardPath, Headers, LocalPart, MailIds, Mailbox, Message, Notify, Reason, Receipt, Refusal, ReversePath, RouteName,
    Stream, Submission, Timestamp,
};
use crate::policy;
use crate::prepare::Snapshot;
use crate::reasons::Table;
use crate::returns::addressee::{Nobody, POSTMASTER, Token};
use crate::returns::homeward::{self, Fate, Sight, Why};
use crate::returns::sources::Sources;
use crate::returns::{Addressee, Classified, Kind, Settings, circle, classify, may_be_a_complaint};
use crate::seal::dkim::foreign::ForeignSignature;
use crate::seal::dkim::signature::FieldName;
use crate::seal::dkim::verify;
use crate::seal::{self, DkimResult, Needs, Plan, Seal, Sealed, SealedRecipient};
use crate::spool::journal::{self, News};
use crate::spool::{CameHome, Coming, History, Homebound, Homecoming, Homecomings, Spent, SpoolError, Tidings};
use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use bytes::{Bytes, BytesMut};
use hickory_resolver::TokioResolver;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify as Signal, Semaphore};

/// The half of the relay that takes in what comes home.
pub struct Returns<S> {
    /// What an operator has said.
    pub rules: ArcSwap<Rules>,
    /// The secrets of bounce tokens, and the routes of other mail.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// Who remembers, and keeps.
    pub spool: Arc<S>,
    /// Told after each commit.
    pub due: Arc<Signal>,
    /// Serial numbers of mail ids.
    pub ids: Arc<IdSource>,
    /// Asks DNS about signatures of others.
    pub foreign_keys: TokioResolver,
    /// What clients have done of late.
    pub sources: Mutex<Sources>,
    /// Messages at a time that are taken apart: so many threads, however many come.
    pub classifying: Arc<Semaphore>,
    /// Complaints at a time whose signatures are looked up.
    pub examinations: Semaphore,
    /// Where it counts.
    pub meters: Arc<meters::Returns>,
    /// Where what is spooled is counted.
    pub front: Arc<meters::Front>,
}

/// What an operator has said of what comes home.
#[derive(Debug)]
pub struct Rules {
    settings: Settings,
    reasons: Arc<Table>,
    hostname: Domain,
    postmaster: Mailbox,
    suppression: suppression::Rules,
}

impl Rules {
    /// What a configuration says.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            settings: config.returns.clone(),
            reasons: config.deliver.reasons.clone(),
            hostname: config.server.hostname.clone(),
            postmaster: config.server.postmaster.clone(),
            suppression: config.deliver.suppression.clone(),
        }
    }
}

impl<S: Homecomings> Accept for Returns<S> {
    type Coming = Coming;

    fn begin(&self, client: &Client, _: &ReversePath, _: Option<u64>) -> Result<Allowance, Refusal> {
        let rules = self.rules.load();
        let (limits, now) = (&rules.settings.sources, clock::now());
        if !self.sources().begins(client.address, limits, now) {
            self.meters.refusals.of(ReturnRefused::Source).one();
            let text = format!("more than {} messages of your address in a minute; send the others later", limits.messages_per_minute);
            return Err(Refusal::submitter(450, EnhancedCode::new(4, 7, 0), text));
        }
        Ok(Allowance { size_octets_max: u64::MAX, recipients_max: usize::MAX })
    }

    /// Whoever has tried too many addresses is let go at the next that is nobody's. One that opens is taken even from there: behind one address
    /// may be many clients.
    async fn recipient(&self, client: &Client, to: &ForwardPath, _: usize) -> Result<Mailbox, Refusal> {
        let (rules, now) = (self.rules.load(), clock::now());
        match Addressee::of(to, &rules.settings, &self.snapshot.load().ring, now) {
            Ok(Addressee::Token(token)) => Ok(token.address),
            Ok(Addressee::Role(mailbox)) => Ok(named(to, &rules.settings).unwrap_or(mailbox)),
            Err(nobody) => {
                let why = if nobody == Nobody::Expired { ReturnRefused::Expired } else { ReturnRefused::Unknown };
                self.meters.refusals.of(why).one();
                let mut sources = self.sources();
                sources.refused(client.address, &rules.settings.sources, now);
                if sources.is_welcome(client.address, &rules.settings.sources, now) { Err(nobody.refusal()) } else { Err(self.unwelcome()) }
            }
        }
    }

    /// Nobody's `250` waits for what strangers send.
    fn expect(&self) -> Coming {
        Coming::default()
    }

    async fn accept(&self, submission: Submission, _: Coming) -> Result<Receipt, Refusal> {
        let taken = self.take_in(&submission).await;
        if let Err(refusal) = &taken {
            let (listener, client) = (&submission.client.listener, submission.client.address);
            match refusal.blame {
                Blame::Submitter | Blame::NextHop => tracing::info!(%listener, %client, reply = %refusal, "return.refused"),
                Blame::Operator => tracing::warn!(%listener, %client, reply = %refusal, "return.refused"),
                Blame::Ourselves => tracing::error!(%listener, %client, reply = %refusal, "return.refused"),
            }
        }
        taken
    }
}

/// A recipient, and all that is known of it.
struct Case {
    /// As it was written.
    recipient: Mailbox,
    addressee: Addressee,
    /// The bounce address that the message tells of: its own, or the one that a report names.
    token: Option<Token>,
    history: Option<History>,
    mail: Option<crate::mail::MailId>,
    fate: Fate,
}

impl<S: Homecomings> Returns<S> {
    async fn take_in(&self, submission: &Submission) -> Result<Receipt, Refusal> {
        let (rules, snapshot) = (self.rules.load_full(), self.snapshot.load_full());
        self.refuse_circles(submission, &rules)?;
        let only_to_roles = is_only_to_roles(submission, &rules, &snapshot);
        if only_to_roles {
            self.refuse_size(submission, &rules)?;
        }
        // What goes to postmaster as it is needs no reader, unless it is a complaint, which tells of a bounce address.
        let classified = if only_to_roles && !may_be_a_complaint(&submission.message) {
            Arc::new(Classified::unread())
        } else {
            self.classified(submission, &rules).await?
        };
        let vouched = classified.kind == Kind::Complaint && self.is_vouched_for(&submission.message, &rules.settings).await?;
        let mut cases = Vec::new();
        for recipient in &submission.envelope.recipients {
            let case = self.case(&recipient.mailbox, &classified, &rules, &snapshot).await?;
            if !cases.iter().any(|known: &Case| known.addressee == case.addressee) {
                cases.push(case);
            }
        }
        for _ in 0..COMMITS_MAX {
            let ids = self.ids.reserve(clock::now(), u32::try_from(cases.len()).unwrap_or(u32::MAX).max(1));
            let homecoming = Joining { submission, rules: &rules, snapshot: &snapshot, classified: &classified, vouched }.joined(&cases, ids);
            match self.spool.come_home(homecoming.clone()).await {
                Ok(home) => {
                    self.due.notify_one();
                    self.report(submission, &classified, &homecoming, &home);
                    return Ok(home.receipt);
                }
                Err(SpoolError::IdTaken(_)) => {}
                Err(SpoolError::HomeFull { .. }) if cases.iter().any(|case| matches!(case.addressee, Addressee::Role(_))) => {
                    self.meters.refusals.of(ReturnRefused::Full).one();
                    let text = "too much has come to this address today; come back tomorrow";
                    return Err(Refusal::submitter(452, EnhancedCode::new(4, 2, 2), text));
                }
                Err(error) => return Err(self.refusal_of(&error)),
            }
        }
        tracing::error!(error = "no free mail id in so many tries", attempts = COMMITS_MAX, "spool.refused");
        Err(Refusal::ourselves())
    }

    fn refuse_circles(&self, submission: &Submission, rules: &Rules) -> Result<(), Refusal> {
        let hops = circle::hops(&submission.message, &rules.hostname);
        if hops.all < rules.settings.received_max && hops.own < rules.settings.own_received_max {
            return Ok(());
        }
        self.meters.refusals.of(ReturnRefused::Loop).one();
        let text = format!("the message has {} Received fields, {} of them of this relay; it is in a mail loop", hops.all, hops.own);
        Err(Refusal::submitter(554, EnhancedCode::new(5, 4, 6), text))
    }

    /// Nobody needs to write so much to postmaster, and it would be kept for days where the way home is closed.
    fn refuse_size(&self, submission: &Submission, rules: &Rules) -> Result<(), Refusal> {
        let octets_max = rules.settings.mailbox_message_octets_max;
        if submission.message.len() as u64 <= octets_max {
            return Ok(());
        }
        self.meters.refusals.of(ReturnRefused::Full).one();
        Err(Refusal::submitter(552, EnhancedCode::new(5, 3, 4), format!("a message to this address may have {octets_max} octets")))
    }

    /// What the message is: work for a core, off the threads that serve sockets, and never for all cores.
    async fn classified(&self, submission: &Submission, rules: &Arc<Rules>) -> Result<Arc<Classified>, Refusal> {
        let turn = self.classifying.clone().acquire_owned().await.map_err(|_| Refusal::ourselves())?;
        let (message, path, rules) = (submission.message.clone(), submission.envelope.reverse_path.clone(), rules.clone());
        let work = move || {
            let _turn = turn;
            // Whether its reverse-path was null counts, and stands in no field yet.
            let seen = [format!("Return-Path: {path}\r\n").as_bytes(), &message[..message.len().min(crate::returns::arrived::MESSAGE_OCTETS_MAX)]].concat();
            Arc::new(classify(&seen, &rules.reasons))
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "preparation.broke");
            Refusal::ourselves()
        })
    }

    /// Whether a known feedback loop has signed it. The DNS is asked where it says so.
    ///
    /// # Errors
    /// It says so, and the DNS did not say whether it is true: taken now, it would count for nothing for good.
    async fn is_vouched_for(&self, message: &Bytes, settings: &Settings) -> Result<bool, Refusal> {
        if !claims_a_feedback_loop(message, settings) {
            return Ok(false);
        }
        let examination = async {
            let _turn = self.examinations.acquire().await;
            verify::examine(message, &self.foreign_keys, clock::now()).await
        };
        let unchecked = || {
            self.meters.refusals.of(ReturnRefused::Unchecked).one();
            Refusal::operator(
                451,
                EnhancedCode::new(4, 4, 3),
                "the signature of this complaint cannot be checked now: no answer about its key; try again later",
            )
        };
        let examined = tokio::time::timeout(EXAMINATION_TIMEOUT, examination).await.map_err(|_| unchecked())?;
        let of_loops = examined.dkim.iter().filter(|fact| Domain::parse(&fact.domain).is_ok_and(|domain| settings.is_of_a_feedback_loop(&domain)));
        let results: Vec<DkimResult> = of_loops.map(|fact| fact.result).collect();
        let vouched = results.contains(&DkimResult::Pass);
        if !vouched && results.contains(&DkimResult::TempError) { Err(unchecked()) } else { Ok(vouched) }
    }

    async fn case(&self, recipient: &Mailbox, classified: &Classified, rules: &Rules, snapshot: &Snapshot) -> Result<Case, Refusal> {
        let now = clock::now();
        let addressee = Addressee::of(&ForwardPath::Mailbox(recipient.clone()), &rules.settings, &snapshot.ring, now).map_err(Nobody::refusal)?;
        let token = match &addressee {
            Addressee::Token(token) => Some(token.clone()),
            // A feedback loop writes to the address that it was told, and names the bounce address in its report.
            Addressee::Role(_) => reported_token(classified, rules, snapshot, now),
        };
        let Some(its) = token.clone() else {
            let Addressee::Role(mailbox) = &addressee else { return Err(Refusal::ourselves()) };
            return Ok(Case { recipient: recipient.clone(), fate: Fate::PassedOn(mailbox.clone()), addressee, token, history: None, mail: None });
        };
        let sender = self.asked(self.spool.sender(its.contents.sender_id).await)?;
        let claimed = || homeward::claimed_mail(classified.original.as_ref()?.header.as_str(), &rules.hostname);
        let history = match its.contents.message.or_else(claimed) {
            Some(id) => self.asked(self.spool.history(id).await)?,
            None => None,
        };
        let mail = homeward::mail_of(&its.contents, history.as_ref(), sender.as_ref());
        let history = history.filter(|history| mail == Some(history.id));
        let fate = match &addressee {
            Addressee::Role(mailbox) => Fate::PassedOn(mailbox.clone()),
            Addressee::Token(_) => homeward::fate(classified.kind, sender.as_ref(), &rules.settings, &rules.postmaster),
        };
        Ok(Case { recipient: recipient.clone(), addressee, token, history, mail, fate })
    }

    fn asked<T>(&self, answer: Result<T, SpoolError>) -> Result<T, Refusal> {
        answer.map_err(|error| self.refusal_of(&error))
    }

    fn report(&self, submission: &Submission, classified: &Classified, homecoming: &Homecoming, home: &CameHome) {
        self.meters.messages.of(word(classified.kind)).one();
        self.front.spooled.of(MailKind::Returned).many(homecoming.mails.len() as u64);
        let (listener, client, kind, octets) = (&submission.client.listener, submission.client.address, classified.kind, homecoming.octets);
        let tells: Vec<_> = homecoming.tidings.iter().map(|tidings| &tidings.news).collect();
        let original_id = tells.first().map(|news| news.mail).filter(|mail| *mail != homecoming.id).map(|mail| mail.to_string());
        let recipient = homecoming.mails.first().and_then(|bound| bound.mail.recipients.first()).map(|recipient| recipient.mailbox.to_string());
        tracing::info!(mail_id = %homecoming.id, %listener, %client, %kind, octets, recipient, original_id, "return.accepted");
        for Homebound { mail, kept } in &homecoming.mails {
            let Some((why, until)) = kept else { continue };
            let is_stranger = why == Why::Stranger.as_str();
            self.meters.kept.of(if is_stranger { KeptFor::Stranger } else { KeptFor::UnknownSender }).one();
            let recipient = mail.recipients.first().map(|recipient| recipient.mailbox.to_string()).unwrap_or_default();
            tracing::info!(mail_id = %mail.id, recipient, error = why, until = %until.to_rfc3339(), "return.held");
        }
        for (tidings, told) in homecoming.tidings.iter().zip(&home.told) {
            if *told {
                self.tell(&tidings.news);
            }
        }
    }

    fn tell(&self, news: &News) {
        let about = &news.about;
        let (mail_id, recipient) = (news.mail, news.recipient.as_ref().map(ToString::to_string));
        let (message_id, track_id, envid) = (about.message_id.as_deref(), about.track_id.as_deref(), about.envid.as_deref());
        let (author_domain, stream, identity) = (about.author_domain.as_deref(), about.stream.as_deref(), about.identity.as_deref());
        let (host, status, reply, reason) = (about.host.as_deref(), about.status.as_deref(), about.reply.as_deref(), about.reason.as_deref());
        let (permanent, proven, returned_id) = (about.permanent, about.proven, about.returned_id.as_deref());
        match news.kind {
            journal::Kind::Bounced => {
                self.meters.recipients.of(reason.and_then(|reason| reason.parse().ok()).unwrap_or(Reason::NotUnderstood)).one();
                tracing::info!(%mail_id, recipient, message_id, track_id, envid, author_domain, stream, identity, host, status, reply, reason, permanent, proven, returned_id, "mail.bounced");
            }
            journal::Kind::Complained => {
                tracing::info!(%mail_id, recipient, message_id, track_id, envid, author_domain, stream, identity, reason, proven, returned_id, "mail.complained");
            }
            _ => {}
        }
    }

    fn unwelcome(&self) -> Refusal {
        self.meters.refusals.of(ReturnRefused::Source).one();
        Refusal::submitter(421, EnhancedCode::new(4, 7, 0), "too many unknown recipients from your address; come back later")
    }

    fn refusal_of(&self, error: &SpoolError) -> Refusal {
        if let SpoolError::HomeFull { .. } = error {
            self.meters.refusals.of(ReturnRefused::Full).one();
            return Refusal::submitter(552, EnhancedCode::new(5, 2, 2), "too much has come back to this bounce address");
        }
        self.meters.refusals.of(ReturnRefused::Storage).one();
        super::front::refusal_of(error)
    }

    fn sources(&self) -> MutexGuard<'_, Sources> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One message on its way into the spool.
#[derive(Clone, Copy)]
struct Joining<'a> {
    submission: &'a Submission,
    rules: &'a Rules,
    snapshot: &'a Snapshot,
    classified: &'a Classified,
    vouched: bool,
}

impl Joining<'_> {
    fn joined(self, cases: &[Case], mut ids: MailIds) -> Homecoming {
        let (at, octets) = (self.submission.received_at, self.submission.message.len() as u64);
        let id = ids.take();
        let mut homecoming = Homecoming { id, at, octets, mails: Vec::new(), spent: Vec::new(), tidings: Vec::new() };
        for case in cases {
            let (to, kept) = match &case.fate {
                Fate::PassedOn(to) => (Some(to), None),
                Fate::Kept(to, why) => (Some(to), Some((why.as_str().to_owned(), at + self.rules.settings.keep_for))),
                Fate::Told => (None, None),
            };
            let is_there = |bound: &Homebound| Some(&bound.mail.recipients[0].mailbox) == to && bound.kept.is_some() == kept.is_some();
            let returned = match homecoming.mails.iter().find(|bound| is_there(bound)) {
                Some(known) => known.mail.id,
                None => {
                    let its = if homecoming.mails.is_empty() { id } else { ids.take() };
                    homecoming.mails.extend(to.map(|to| Homebound { mail: self.sealed(its, to, case), kept }));
                    its
                }
            };
            homecoming.spent.push(match &case.addressee {
                Addressee::Token(token) => self.spent(token),
                Addressee::Role(_) => self.spent_of_today(&case.recipient),
            });
            homecoming.tidings.extend(self.tidings(case, returned));
        }
        homecoming
    }

    fn spent(self, token: &Token) -> Spent {
        let settings = &self.rules.settings;
        let is_shared = token.contents.recipient_check.is_none();
        Spent {
            token: token.number,
            messages_max: if is_shared { settings.shared_messages_max } else { settings.messages_max },
            octets_max: if is_shared { settings.shared_octets_max } else { settings.octets_max },
        }
    }

    /// An address that everybody knows has its fill by the day.
    fn spent_of_today(self, role: &Mailbox) -> Spent {
        let settings = &self.rules.settings;
        Spent { token: number_of_role(role, self.submission.received_at), messages_max: settings.mailbox_messages_max, octets_max: settings.mailbox_octets_max }
    }

    fn tidings(self, case: &Case, returned: crate::mail::MailId) -> Vec<Tidings> {
        let Some(token) = &case.token else { return Vec::new() };
        let sight =
            Sight { token, classified: self.classified, history: case.history.as_ref(), returned, vouched: self.vouched, at: self.submission.received_at };
        let mut tidings = homeward::tidings(&sight, &case.fate, case.mail, &self.snapshot.ring, &self.rules.suppression);
        if matches!(case.addressee, Addressee::Role(_)) {
            tidings.retain(|tidings| tidings.news.kind != journal::Kind::Returned); // its original sender does not get it
        }
        tidings
    }

    /// The message as it came, under one more `Received`.
    fn sealed(self, id: crate::mail::MailId, to: &Mailbox, case: &Case) -> Sealed {
        let Submission { envelope, client, message, received_at } = self.submission;
        let field = crate::normalise::received(envelope, client, &self.snapshot.normalise, id, *received_at);
        let mut octets = BytesMut::with_capacity(field.len() + message.len());
        octets.extend_from_slice(field.as_bytes());
        octets.extend_from_slice(message);
        let message = Message::any(octets.freeze());
        let message_id = message.headers().named("message-id").next().map(|field| field.unfolded()).unwrap_or_default();
        let signing_domain = match &case.token {
            Some(token) => case.history.as_ref().and_then(|history| history.signing_domain.clone()).unwrap_or_else(|| token.author_domain.clone()),
            None => self.rules.hostname.clone(),
        };
        Sealed {
            id,
            accepted_at: *received_at,
            due_at: *received_at,
            expires_at: *received_at + self.rules.settings.max_age,
            identity: client.identity.clone(),
            kind: seal::Kind::Returned,
            signing_domain,
            stream: Stream::new(STREAM),
            route: self.route(to),
            original_reverse_path: ReversePath::Null,
            sender: None,
            recipients: vec![SealedRecipient { mailbox: to.clone(), notify: Notify::Never, orcpt: None, reverse_path: ReversePath::Null, suppressed: None }],
            envid: None,
            ret: None,
            needs: Needs { eight_bit_mime: !message.body().is_ascii(), smtputf8: !message.header().is_ascii() || !to.is_ascii() },
            message_id: message_id.chars().take(MESSAGE_ID_CHARACTERS_MAX).collect(),
            track_id: None,
            tag: None,
            trace: None,
            seal: Seal::bare(Plan::default()),
            message,
        }
    }

    /// The way home; with events only, mail for postmaster and the like goes as other mail does.
    fn route(self, to: &Mailbox) -> RouteName {
        self.rules.settings.route.clone().unwrap_or_else(|| policy::route(to, &self.snapshot.policy).clone())
    }
}

/// Whether nobody else is to have it than postmaster and the like.
fn is_only_to_roles(submission: &Submission, rules: &Rules, snapshot: &Snapshot) -> bool {
    let now = clock::now();
    submission.envelope.recipients.iter().all(|recipient| {
        let path = ForwardPath::Mailbox(recipient.mailbox.clone());
        matches!(Addressee::of(&path, &rules.settings, &snapshot.ring, now), Ok(Addressee::Role(_)))
    })
}

/// The number under which is counted what comes to such an address on a day: whatever its domain, as its mailbox is the same for each.
/// The numbers of tokens are MACs of 64 bits too: that one falls together with this is as likely as that one is guessed.
fn number_of_role(role: &Mailbox, at: Timestamp) -> u64 {
    let name = format!("{}\n{}", role.local.as_str().to_ascii_lowercase(), at.unix_days());
    let digest = digest::digest(&digest::SHA256, name.as_bytes());
    digest.as_ref().iter().take(8).fold(0, |number, octet| number << 8 | u64::from(*octet))
}

/// Whether a signature names a known feedback loop, whether it holds or not.
fn claims_a_feedback_loop(message: &[u8], settings: &Settings) -> bool {
    let Ok(headers) = Headers::parse(message) else { return false };
    let signatures = headers.named("DKIM-Signature").map(|field| ForeignSignature::read(&field, FieldName::Dkim));
    signatures.filter_map(|signature| signature.domain).any(|domain| settings.is_of_a_feedback_loop(&domain))
}

/// The bounce address that a complaint tells of.
fn reported_token(classified: &Classified, rules: &Rules, snapshot: &Snapshot, now: Timestamp) -> Option<Token> {
    let named = classified.complaint.as_ref().filter(|_| classified.kind == Kind::Complaint)?.mail_from.as_deref()?;
    match Addressee::of(&ForwardPath::Mailbox(Mailbox::parse(named).ok()?), &rules.settings, &snapshot.ring, now) {
        Ok(Addressee::Token(token)) => Some(token),
        Ok(Addressee::Role(_)) | Err(_) => None,
    }
}

/// The address as it was written; that without a domain is the same at each.
fn named(path: &ForwardPath, settings: &Settings) -> Option<Mailbox> {
    match path {
        ForwardPath::Mailbox(mailbox) => Some(mailbox.clone()),
        ForwardPath::Postmaster => Some(Mailbox::new(LocalPart::parse(POSTMASTER).ok()?, settings.bounce_domains.keys().min()?.clone())),
    }
}

const fn word(kind: Kind) -> CameBack {
    match kind {
        Kind::Bounce => CameBack::Bounce,
        Kind::Delayed => CameBack::Delayed,
        Kind::Delivered => CameBack::Delivered,
        Kind::AutoReply => CameBack::AutoReply,
        Kind::ChallengeResponse => CameBack::ChallengeResponse,
        Kind::Complaint => CameBack::Complaint,
        Kind::Other => CameBack::Other,
    }
}

/// Whom clients of listeners for bounces are, and whose returned mail is: nobody that a configuration names.
pub const ANYBODY: &str = "(internet)";
/// The stream of returned mail.
const STREAM: &str = "returns";
/// Messages at a time that are taken apart.
pub const CLASSIFYING_MAX: usize = 2;
/// Tries to find a free id: each fails once in a very long time.
const COMMITS_MAX: u32 = 8;
/// DNS questions about the signatures of one complaint, all together.
const EXAMINATION_TIMEOUT: Duration = Duration::from_secs(20);
/// More than Gmail takes (500).
const MESSAGE_ID_CHARACTERS_MAX: usize = 998;
