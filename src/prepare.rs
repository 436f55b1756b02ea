//! From a submission to something safe to promise: policy, normalise, readdress, seal, in this order, as one pure function.
//!
//! No I/O and no clock: the caller chose `now`, set ids aside and asked DNS what [`facts_needed`] says. The relay, `postseal sign`
//! and the tests share it.

use crate::mail::dsn::{Dsn, ReturnLimits};
use crate::mail::{
    Blame, Domain, EnhancedCode, Headers, IdentityName, MailId, MailIds, Message, Notify, Proof, Refusal, ReversePath, RouteName, Stream, Submission, Timestamp,
};
use crate::normalise::{self, Normalised};
use crate::policy::{self, Part, Permit};
use crate::readdress::{self, Readdressed, RewriteReversePath, Ring};
use crate::seal::{self, Examined, Kind, Needs, Plan, Seal, Sealed, SealedRecipient, Sender};
use std::collections::HashMap;
use std::time::Duration;

/// Everything that decides, as one snapshot: replaced as a whole when configuration or keys change.
#[derive(Debug)]
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
pub fn prepare(submission: &Submission, rules: &Snapshot, mut facts: Facts, now: Timestamp) -> Result<Vec<Sealed>, Refusal> {
    let headers = Headers::parse(&submission.message).map_err(|fault| normalise::malformed_header(&fault))?;
    let permit = policy::permit(submission, &headers, &rules.policy, now)?;
    let first_id = facts.ids.take();
    let mail = normalised(submission, &permit, rules, &facts.examined, first_id, now)?;

    let mut seals: Vec<(Plan, Seal)> = Vec::new(); // routes that are sealed alike share the work
    let mut sealed = Vec::with_capacity(permit.parts.len());
    for (number, part) in permit.parts.iter().enumerate() {
        let id = if number == 0 { first_id } else { facts.ids.take() };
        let readdressed = readdressed(part, &permit, rules, id, facts.sender_counter, now)?;
        let plan = planned(submission, part, &permit, &mail.message, rules, &facts.examined)?;
        let seal = match seals.iter().find(|(known, _)| *known == plan) {
            Some((_, seal)) => seal.clone(),
            None => {
                let seal = seal::make(&plan, &mail.message, &rules.seal, now).map_err(|error| error.refusal())?;
                seals.push((plan, seal.clone()));
                seal
            }
        };
        sealed.push(joined(submission, part, &permit, &mail, readdressed, seal, id, rules));
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
    let request = seal::Request { mode: seal::Mode::Author, signing_domain: about.signing_domain, route: &route, authenticated: false };
    let plan = seal::plan(&request, &message.headers(), &Examined::default(), &rules.seal).unwrap_or_default();
    let seal = seal::make(&plan, &message, &rules.seal, now).or_else(|_| seal::make(&Plan::default(), &message, &rules.seal, now)).map_err(|error| error.refusal())?;
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
        recipients: vec![SealedRecipient { mailbox: dsn.to.clone(), notify: Notify::Never, orcpt: None, reverse_path: ReversePath::Null }],
        envid: None,
        ret: None,
        needs: Needs { eight_bit_mime: !message.body().is_ascii(), smtputf8 },
        message_id,
        track_id: None,
        tag: None,
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

fn normalised(submission: &Submission, permit: &Permit, rules: &Snapshot, examined: &Examined, id: MailId, now: Timestamp) -> Result<Normalised, Refusal> {
    let mode = match permit.mode {
        policy::Mode::Author => normalise::Mode::Author,
        policy::Mode::Forward { .. } => normalise::Mode::Forward,
    };
    let facts = normalise::Facts { id, foreign_signature_verifies: examined.foreign_signature_verifies() };
    let mail = normalise::normalise(&submission.message, &submission.envelope, &submission.client, mode, &rules.normalise, &facts, now)?;
    let message = seal::results::strip_own(&mail.message, &rules.seal.authserv_id, &rules.seal.trusted_authserv_ids).map_err(|_| Refusal::ourselves())?;
    Ok(Normalised { message, ..mail })
}

fn readdressed(part: &Part, permit: &Permit, rules: &Snapshot, id: MailId, sender_counter: u8, now: Timestamp) -> Result<Readdressed, Refusal> {
    let request = readdress::Request {
        original: &permit.reverse_path,
        recipients: &part.recipients,
        signing_domain: &permit.signing_domain,
        id,
        sender_counter,
        rewrite: rules.reverse_paths.get(&part.route).copied().unwrap_or_default(),
        trusted_upstream: false,
    };
    readdress::readdress(&request, &rules.readdress, &rules.ring, now)
        .map_err(|fault| Refusal { blame: Blame::Operator, ..Refusal::submitter(550, EnhancedCode::new(5, 3, 5), fault.to_string()) })
}

fn planned(submission: &Submission, part: &Part, permit: &Permit, message: &Message, rules: &Snapshot, examined: &Examined) -> Result<Plan, Refusal> {
    let mode = match permit.mode {
        policy::Mode::Author => seal::Mode::Author,
        policy::Mode::Forward { .. } => seal::Mode::Forward,
    };
    let authenticated = matches!(submission.client.proof, Proof::Sasl { .. });
    let request = seal::Request { mode, signing_domain: &permit.signing_domain, route: &part.route, authenticated };
    seal::plan(&request, &message.headers(), examined, &rules.seal)
}

#[allow(clippy::too_many_arguments, reason = "the place where everything comes together")]
fn joined(submission: &Submission, part: &Part, permit: &Permit, mail: &Normalised, readdressed: Readdressed, seal: Seal, id: MailId, rules: &Snapshot) -> Sealed {
    let accepted_at = submission.received_at;
    let due_at = permit.deliver_after.map_or(accepted_at, |after| after.max(accepted_at));
    let max_age = rules.stream_ages.get(&permit.stream).copied().unwrap_or(rules.max_age);
    let recipients: Vec<SealedRecipient> = part
        .recipients
        .iter()
        .zip(readdressed.reverse_paths)
        .map(|(recipient, reverse_path)| SealedRecipient {
            mailbox: recipient.mailbox.clone(),
            notify: recipient.notify,
            orcpt: recipient.orcpt.clone(),
            reverse_path,
        })
        .collect();
    let utf8_addresses = recipients.iter().any(|recipient| !recipient.mailbox.is_ascii() || recipient.reverse_path.mailbox().is_some_and(|path| !path.is_ascii()));
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
        needs: Needs { eight_bit_mime: mail.needs.eight_bit, smtputf8: mail.needs.smtputf8 || utf8_addresses },
        message_id: mail.message_id.clone(),
        track_id: permit.track_id.clone(),
        tag: permit.tag.clone(),
        seal,
        message: mail.message.clone(),
    }
}
