//! What delivery asks of the relay: notices to submitters, and fresh seals.

use super::front::IdSource;
use super::meters::count_seal;
use super::spans;
use crate::deliver::{self, Attempted, Held, Notices, Reseal, Told};
use crate::events::meters;
use crate::events::meters::words::MailKind;
use crate::events::otlp::Tracer;
use crate::mail::dsn::{Action, Dsn, DsnRecipient};
use crate::mail::{Domain, LocalPart, MailId, Mailbox, Message, Ret, ReversePath, Timestamp, TraceContext};
use crate::policy;
use crate::prepare::{self, NoticeAbout, Snapshot};
use crate::seal::{self, Kind, Mode, NoKey, Plan, Rules, Seal, Sealed};
use crate::spool::Mail;
use arc_swap::ArcSwap;
use bytes::Bytes;
use std::sync::Arc;

/// The back half of the relay.
pub struct Home {
    /// Keys and routes.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// The relay's own name.
    pub hostname: Domain,
    /// Serial numbers of mail ids.
    pub ids: Arc<IdSource>,
    /// Where it counts.
    pub meters: Arc<meters::Front>,
    /// Is told of attempts.
    pub tracer: Tracer,
}

/// The mail that a notice is about.
pub struct Subject<'a> {
    id: MailId,
    kind: Kind,
    original_reverse_path: &'a ReversePath,
    accepted_at: Timestamp,
    message_id: &'a str,
    envid: Option<&'a String>,
    ret: Option<Ret>,
    about: NoticeAbout<'a>,
    trace: Option<&'a TraceContext>,
}

/// Both types have the same facts under the same names.
macro_rules! subject {
    ($mail:expr) => {
        Subject {
            id: $mail.id,
            kind: $mail.kind,
            original_reverse_path: &$mail.original_reverse_path,
            accepted_at: $mail.accepted_at,
            message_id: &$mail.message_id,
            envid: $mail.envid.as_ref(),
            ret: $mail.ret,
            about: NoticeAbout { signing_domain: &$mail.signing_domain, identity: &$mail.identity, stream: &$mail.stream },
            trace: $mail.trace.as_ref(),
        }
    };
}

impl<'a> Subject<'a> {
    /// One in the spool.
    pub fn spooled(mail: &'a Mail) -> Self {
        subject!(mail)
    }

    /// One that is about to be spooled.
    pub fn sealed(mail: &'a Sealed) -> Self {
        subject!(mail)
    }
}

impl Home {
    /// The notice about these recipients of a mail, sealed; none to a null reverse-path or about a notice.
    pub fn notice(&self, mail: &Subject<'_>, message: &[u8], told: Vec<DsnRecipient>, now: Timestamp) -> Option<Sealed> {
        let to = mail.original_reverse_path.mailbox().filter(|_| mail.kind == Kind::Submission)?;
        let daemon = LocalPart::parse("mailer-daemon").ok()?;
        let snapshot = self.snapshot.load();
        let recipients = told.len();
        let dsn = Dsn {
            id: self.ids.reserve(now, 1).take(),
            at: now,
            reporting_mta: self.hostname.clone(),
            from: Mailbox::new(daemon, mail.about.signing_domain.clone()),
            to: to.clone(),
            message_id: Some(mail.message_id.to_owned()),
            envid: mail.envid.cloned(),
            ret: mail.ret,
            arrived_at: mail.accepted_at,
            recipients: told,
        };
        match prepare::notice(&dsn, message, &mail.about, &snapshot) {
            Ok(notice) => {
                count_seal(&self.meters, &notice.seal);
                self.meters.spooled.of(MailKind::Notice).one();
                let trace_id = mail.trace.map(TraceContext::trace_id).unwrap_or_default();
                tracing::info!(mail_id = %mail.id, notice_id = %notice.id, recipients, trace_id, "notice.made");
                Some(Sealed { trace: mail.trace.cloned(), ..notice })
            }
            Err(error) => {
                tracing::error!(mail_id = %mail.id, %error, "notice.broke");
                None
            }
        }
    }
}

impl Notices for Home {
    fn notices(&self, mail: &Mail, message: &Bytes, told: &[Told], now: Timestamp) -> Vec<Sealed> {
        let told = told.iter().map(|told| recipient(told, mail)).collect();
        self.notice(&Subject::spooled(mail), message, told, now).into_iter().collect()
    }

    fn attempted(&self, attempt: &Attempted<'_>) {
        spans::attempted(&self.tracer, attempt);
    }
}

fn recipient(told: &Told, mail: &Mail) -> DsnRecipient {
    let action = match told.action {
        deliver::Action::Failed => Action::Failed,
        deliver::Action::Delayed => Action::Delayed,
        deliver::Action::Relayed => Action::Relayed,
    };
    DsnRecipient {
        mailbox: told.recipient.mailbox.clone(),
        orcpt: told.recipient.orcpt.clone(),
        action,
        evidence: told.evidence.clone(),
        reason: told.reason,
        attempts: told.recipient.attempts + 1,
        retry_until: (action == Action::Delayed).then_some(mail.expires_at),
    }
}

impl Reseal for Home {
    /// Notices go out all the same: a submitter that hears nothing is worse off than one that hears from us unsigned.
    fn held(&self, mail: &Mail) -> Option<Held> {
        if mail.kind != Kind::Submission {
            return None;
        }
        let snapshot = self.snapshot.load();
        let why = snapshot.seal.held(&mail.signing_domain, &mail.seal)?;
        Some(Held { why: why.to_owned(), pause: snapshot.seal.held_pause })
    }

    fn fresh(&self, mail: &Mail, message: &Bytes, now: Timestamp) -> Result<Option<Seal>, Held> {
        if mail.kind == Kind::Returned {
            return Ok(None); // it is not ours to vouch for
        }
        let snapshot = self.snapshot.load();
        let rules = &snapshot.seal;
        let plan = if mail.rerouted { plan_for_route(mail, &snapshot) } else { mail.seal.plan.clone() };
        if plan == mail.seal.plan && !seal::needs_resealing(&mail.seal, rules, now) {
            return Ok(None);
        }
        let made = Message::parse(message.clone())
            .map_err(|fault| fault.to_string())
            .and_then(|message| seal::make(&plan, &message, rules, now).map_err(|error| error.to_string()));
        match made {
            Ok(seal) => {
                count_seal(&self.meters, &seal);
                tracing::info!(mail_id = %mail.id, author_domain = %mail.signing_domain, "mail.sealed_again");
                Ok(Some(seal))
            }
            Err(error) => without_a_key(mail, rules, now, &error).inspect(|seal| seal.iter().for_each(|bare| count_seal(&self.meters, bare))),
        }
    }
}

/// What the seal of mail must be that a person gave another route: smart hosts rewrite fields, or sign themselves.
fn plan_for_route(mail: &Mail, snapshot: &Snapshot) -> Plan {
    let mode = match snapshot.policy.identities.get(&mail.identity).map(|identity| &identity.mode) {
        Some(policy::Mode::Author) => Mode::Author,
        None if mail.kind == Kind::Notice || mail.seal.plan.author.is_some() => Mode::Author,
        None | Some(policy::Mode::Forward { .. }) => Mode::Forward,
    };
    let request = seal::Request { mode, signing_domain: &mail.signing_domain, route: &mail.route, authenticated: false, trusted_upstream: false };
    seal::plan_again(&mail.seal.plan, &request, &snapshot.seal)
}

/// What becomes of mail that needs a fresh seal of which there is none: a signature that fails is worse than mail that waits.
fn without_a_key(mail: &Mail, rules: &Rules, now: Timestamp, error: &str) -> Result<Option<Seal>, Held> {
    let is_spoilt = seal::is_spoilt(&mail.seal, rules, now);
    let goes_unsigned = mail.kind == Kind::Notice || rules.no_key == NoKey::Pass && rules.lacking(&mail.seal.plan).is_some();
    if is_spoilt && !goes_unsigned {
        return Err(Held { why: format!("it was signed by a key that is no longer in use, and {error}"), pause: rules.held_pause });
    }
    tracing::warn!(mail_id = %mail.id, author_domain = %mail.signing_domain, error, "resealing.failed");
    Ok(is_spoilt.then(|| Seal::bare(mail.seal.plan.clone())))
}
