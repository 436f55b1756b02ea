//! From a submission to something safe to promise: policy, normalise, readdress, seal, in this order, as one pure function.
//!
//! No I/O and no clock: the caller chose `now`, set ids aside and asked DNS what [`facts_needed`] says. The relay, `postseal sign`
//! and the tests share it.

use crate::mail::dsn::{Dsn, ReturnLimits};
use crate::mail::{
    Blame, Domain, EnhancedCode, Headers, IdentityName, MailId, MailIds, Message, Notify, Proof, Recipient, Refusal, ReversePath, RouteName, Stream,
    Submission, Timestamp,
};
use crate::normalise::{self, Normalised};
use crate::policy::{self, Part, Permit};
use crate::readdress::{self, Readdressed, RewriteReversePath, Ring};
use crate::seal::{self, Examined, Kind, Needs, Plan, Seal, Sealed, SealedRecipient, Sender};
use std::collections::HashMap;
use std::time::Duration;

/// Everything that decides, as one snapshot: replaced as a whole when configuration or keys change.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// Who may send what, and where it goes.
    pub policy: policy::Settings,
    /// How messages are made fit.
    pub normalise: normalise::Settings,
    /// Bounce domains.
    pub readdress: readdress::Settings,
    /// The secrets of bounce tokens.
    pub ring: Ring,
    /// Keys and what is signed.
    pub seal: seal::Rules,
    /// Routes that keep the reverse-path or need a rule of their own; others rewrite.
    pub reverse_paths: HashMap<RouteName, RewriteReversePath>,
    /// How long mail of a stream is tried; others `max_age`.
    pub stream_ages: HashMap<Stream, Duration>,
    /// How long mail is tried.
    pub max_age: Duration,
}

/// What preparation cannot know by itself.
#[derive(Debug)]
pub struct Facts {
    /// Enough ids: one for each recipient at most.
    pub ids: MailIds,
    /// What DNS had to say of signatures the message came with.
    pub examined: Examined,
    /// How often the spool said that the sender id is taken.
    pub sender_counter: u8,
}

/// What must be found out before [`prepare`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FactsNeeded {
    /// Signatures of others must be verified, which asks DNS.
    pub examination: bool,
    /// How many ids to set aside.
    pub ids: u32,
}

/// Says what must be found out; a header that does not parse needs nothing, since preparation will refuse it.
#[must_use]
pub fn facts_needed(submission: &Submission) -> FactsNeeded {
    let examination = Headers::parse(&submission.message).is_ok_and(|headers| seal::wants_examination(&headers));
    let ids = u32::try_from(submission.envelope.recipients.len()).unwrap_or(u32::MAX).max(1);
    FactsNeeded { examination, ids }
}

/// Makes the messages to spool: one for each route that recipients take.
///
/// # Errors
/// The first thing that is wrong, as the reply to give.
pub fn prepare(submission: &Submission, rules: &Snapshot, facts: Facts, now: Timestamp) -> Result<Vec<Sealed>, Refusal> {
    let headers = Headers::parse(&submission.message).map_err(|fault| normalise::malformed_header(&fault))?;
    let permit = policy::permit(submission, &headers, &rules.policy, now)?;
    let Facts { mut ids, examined, sender_counter } = facts;
    let first_id = ids.take();
    let work = Work { submission, rules, permit: &permit, examined: &examined, sender_counter, now };
    let mail = work.normalised(first_id)?;

    let mut sealed: Vec<Sealed> = Vec::with_capacity(permit.parts.len());
    for part in &permit.parts {
        let id = if sealed.is_empty() { first_id } else { ids.take() };
        let readdressed = work.readdressed(part, id)?;
        let plan = work.planned(part, &mail.message)?;
        let seal = match sealed.iter().find(|earlier| earlier.seal.plan == plan) {
            Some(earlier) => earlier.seal.clone(), // routes that are sealed alike share the work
            None => seal::make(&plan, &mail.message, &rules.seal, now).map_err(|error| error.refusal())?,
        };
        sealed.push(work.joined(part, id, &mail, readdressed, seal));
    }
    Ok(sealed)
}

/// Seals a notice of ours about `mail` and addresses it: null reverse-path, never answered. Where its author domain has no key any
/// more it goes out unsigned: an unsigned notice is better than none.
///
/// # Errors
/// The printed notice is no message: a defect of ours.
pub fn notice(dsn: &Dsn, original: &[u8], about: &NoticeAbout<'_>, rules: &Snapshot) -> Result<Sealed, Refusal> {
    let now = dsn.at;
    let message = Message::parse(dsn.print(original, &ReturnLimits::default())).map_err(|_| Refusal::ourselves())?;
    let route = policy::route(&dsn.to, &rules.policy).clone();
    let request =
        seal::Request { mode: seal::Mode::Author, signing_domain: about.signing_domain, route: &route, authenticated: false, trusted_upstream: false };
    let plan = seal::plan(&request, &message.headers(), &Examined::default(), &rules.seal).unwrap_or_default();
    let seal =
        seal::make(&plan, &message, &rules.seal, now).or_else(|_| seal::make(&Plan::default(), &message, &rules.seal, now)).map_err(|error| error.refusal())?;
    let smtputf8 = !dsn.to.is_ascii() || !message.header().is_ascii();
    let message_id = message.headers().named("message-id").next().map(|field| field.unfolded()).unwrap_or_default();
    Ok(Sealed {
        id: dsn.id,
        accepted_at: now,
        due_at: now,
        expires_at: now + rules.max_age,
        identity: about.identity.clone(),
        kind: Kind::Notice,
        signing_domain: about.signing_domain.clone(),
        stream: about.stream.clone(),
        route,
        original_reverse_path: ReversePath::Null,
        sender: None,
        recipients: vec![SealedRecipient { mailbox: dsn.to.clone(), notify: Notify::Never, orcpt: None, reverse_path: ReversePath::Null, suppressed: None }],
        envid: None,
        ret: None,
        needs: Needs { eight_bit_mime: !message.body().is_ascii(), smtputf8 },
        message_id,
        track_id: None,
        tag: None,
        trace: None,
        seal,
        message,
    })
}

/// The mail that a notice is about.
#[derive(Debug, Clone, Copy)]
pub struct NoticeAbout<'a> {
    /// Whose keys sealed it, and seal the notice.
    pub signing_domain: &'a Domain,
    /// Who submitted it.
    pub identity: &'a IdentityName,
    /// Its stream.
    pub stream: &'a Stream,
}

/// A submission that policy permits, and all that decides what becomes of it.
struct Work<'a> {
    submission: &'a Submission,
    rules: &'a Snapshot,
    permit: &'a Permit,
    examined: &'a Examined,
    sender_counter: u8,
    now: Timestamp,
}

impl Work<'_> {
    /// The message as it will stay. Where DNS did not say whether a foreign signature verifies, the message is left alone if it can
    /// travel so, and made fit if it cannot.
    fn normalised(&self, id: MailId) -> Result<Normalised, Refusal> {
        let mail = match self.examined.foreign_signature_verifies() {
            Some(verifies) => self.normalised_if(verifies, id)?,
            None => self.normalised_if(true, id).or_else(|_| self.normalised_if(false, id))?,
        };
        let seal = &self.rules.seal;
        let message = seal::results::strip_own(&mail.message, &seal.authserv_id, &seal.trusted_authserv_ids).map_err(|_| Refusal::ourselves())?;
        Ok(Normalised { message, ..mail })
    }

    fn normalised_if(&self, foreign_signature_verifies: bool, id: MailId) -> Result<Normalised, Refusal> {
        let mode = match self.permit.mode {
            policy::Mode::Author => normalise::Mode::Author,
            policy::Mode::Forward { .. } => normalise::Mode::Forward,
        };
        let Submission { message, envelope, client, .. } = self.submission;
        normalise::normalise(message, envelope, client, mode, &self.rules.normalise, &normalise::Facts { id, foreign_signature_verifies }, self.now)
    }

    fn readdressed(&self, part: &Part, id: MailId) -> Result<Readdressed, Refusal> {
        let request = readdress::Request {
            original: &self.permit.reverse_path,
            recipients: &part.recipients,
            signing_domain: &self.permit.signing_domain,
            id,
            sender_counter: self.sender_counter,
            rewrite: self.rules.reverse_paths.get(&part.route).copied().unwrap_or_default(),
            trusted_upstream: self.permit.trusted_upstream,
        };
        readdress::readdress(&request, &self.rules.readdress, &self.rules.ring, self.now)
            .map_err(|fault| Refusal { blame: Blame::Operator, ..Refusal::submitter(550, EnhancedCode::new(5, 3, 5), fault.to_string()) })
    }

    fn planned(&self, part: &Part, message: &Message) -> Result<Plan, Refusal> {
        let mode = match self.permit.mode {
            policy::Mode::Author => seal::Mode::Author,
            policy::Mode::Forward { .. } => seal::Mode::Forward,
        };
        let authenticated = matches!(self.submission.client.proof, Proof::Sasl { .. });
        let Permit { signing_domain, trusted_upstream, .. } = self.permit;
        let request = seal::Request { mode, signing_domain, route: &part.route, authenticated, trusted_upstream: *trusted_upstream };
        seal::plan(&request, &message.headers(), self.examined, &self.rules.seal)
    }

    fn joined(&self, part: &Part, id: MailId, mail: &Normalised, readdressed: Readdressed, seal: Seal) -> Sealed {
        let Self { submission, rules, permit, .. } = self;
        let accepted_at = submission.received_at;
        let due_at = permit.deliver_after.map_or(accepted_at, |after| after.max(accepted_at));
        let max_age = rules.stream_ages.get(&permit.stream).copied().unwrap_or(rules.max_age);
        let recipients: Vec<SealedRecipient> = part.recipients.iter().zip(readdressed.reverse_paths).map(sealed_recipient).collect();
        let smtputf8 = mail.needs.smtputf8 || recipients.iter().any(has_utf8_address);
        Sealed {
            id,
            accepted_at,
            due_at,
            expires_at: due_at + max_age,
            identity: permit.identity.clone(),
            kind: Kind::Submission,
            signing_domain: permit.signing_domain.clone(),
            stream: permit.stream.clone(),
            route: part.route.clone(),
            original_reverse_path: permit.reverse_path.clone(),
            sender: readdressed.sender.map(|(id, mailbox)| Sender { id, mailbox }),
            recipients,
            envid: submission.envelope.envid.clone(),
            ret: submission.envelope.ret,
            needs: Needs { eight_bit_mime: mail.needs.eight_bit, smtputf8 },
            message_id: mail.message_id.clone(),
            track_id: permit.track_id.clone(),
            tag: permit.tag.clone(),
            trace: None,
            seal,
            message: mail.message.clone(),
        }
    }
}

fn sealed_recipient((recipient, reverse_path): (&Recipient, ReversePath)) -> SealedRecipient {
    let Recipient { mailbox, notify, orcpt } = recipient.clone();
    SealedRecipient { mailbox, notify, orcpt, reverse_path, suppressed: None }
}

fn has_utf8_address(recipient: &SealedRecipient) -> bool {
    !recipient.mailbox.is_ascii() || recipient.reverse_path.mailbox().is_some_and(|path| !path.is_ascii())
}
