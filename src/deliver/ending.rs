//! From the outcome of an attempt to the ending of a lease: retry, failure, and who is told what (RFC 3461 §4.1, RFC 3464 §2.3.3).
//!
//! Pure. How a notice is written is [`super::Notices`]' business; here it is decided when there is one.

use super::classify;
use super::schedule::{Deferral, Next, Schedule, scramble};
use crate::mail::suppression::{Failure, Proof, Rules, Suppression};
use crate::mail::{EnhancedCode, Evidence, Outcome, Reason, ReversePath, Timestamp};
use crate::reasons::{Judgement, Table};
use crate::seal::Kind;
use crate::smtp::client::Stage;
use crate::spool::{Ending, How, Leased, Mail, Meaning};
use std::time::Duration;

/// What a notice says of a recipient: `Action` of RFC 3464 §2.3.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Never delivered.
    Failed,
    /// Not yet delivered.
    Delayed,
    /// Handed to a host that sends no success notices itself.
    Relayed,
}

/// One recipient that a notice is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whom the mail was for.
    pub recipient: Leased,
    /// What happened.
    pub action: Action,
    /// What is known of it.
    pub evidence: Evidence,
    /// Why, where it did not arrive.
    pub reason: Option<Reason>,
}

/// How one recipient ends, and what its submitter is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conclusion {
    /// For the spool.
    pub ending: Ending,
    /// For the submitter.
    pub told: Option<Told>,
    /// What it means, where it did not arrive.
    pub judged: Option<Judgement>,
}

/// What is the same for all recipients of a lease.
#[derive(Debug)]
pub struct Circumstances<'a> {
    /// The mail.
    pub mail: &'a Mail,
    /// The retries of its stream.
    pub schedule: &'a Schedule,
    /// What replies mean.
    pub reasons: &'a Table,
    /// When this process started.
    pub started_at: Timestamp,
    /// How long returned mail that nobody takes is kept.
    pub kept_for: Duration,
    /// The present.
    pub now: Timestamp,
}

/// Ends a recipient. `provider` is who the next hop belongs to; `dsn_passed_on`: the next hop took over the duty of success notices (RFC 3461 §5.2).
#[must_use]
pub fn conclude(around: &Circumstances<'_>, provider: &str, recipient: &Leased, outcome: Outcome, dsn_passed_on: bool) -> Conclusion {
    let index = recipient.index;
    let (how, action) = match outcome {
        Outcome::Delivered(evidence) => {
            let relayed = recipient.notify.on_success() && !dsn_passed_on;
            (How::Delivered(evidence), relayed.then_some(Action::Relayed))
        }
        Outcome::Failed(evidence) => (How::Failed(evidence), recipient.notify.on_failure().then_some(Action::Failed)),
        Outcome::Deferred(evidence) => defer(around, recipient, evidence),
    };
    let judged = (!matches!(how, How::Delivered(_))).then(|| classify::judge(around.reasons, provider, evidence_of(&how)));
    let reason = judged.map(|judged| judged.reason);
    let tell = |action| Told { recipient: recipient.clone(), action, evidence: evidence_of(&how).clone(), reason };
    let told = action.filter(|_| may_be_told(around.mail)).map(tell);
    // Said only when it was: a notice that may not be sent leaves the mark away.
    let how = match how {
        How::Deferred { evidence, next_at, .. } => How::Deferred { evidence, next_at, delay_told: recipient.delay_told || told.is_some() },
        // Nobody is told of it, so somebody has to be able to see it.
        How::Failed(evidence) if around.mail.kind == Kind::Returned => How::Kept { evidence, until: around.now + around.kept_for },
        how => how,
    };
    let meaning = Meaning { provider: provider.into(), reason, permanent: judged.is_some_and(|judged| judged.permanent) };
    Conclusion { ending: Ending { index, how, meaning: Some(meaning), suppression: None }, told, judged }
}

/// The entry of the suppression list that follows from an ending, if one does. Only an application's mail is asked for it: what is learned of
/// an address by a notice of ours is no author domain's.
#[must_use]
pub fn suppression(rules: &Rules, mail: &Mail, recipient: &Leased, conclusion: &Conclusion, proof: Proof) -> Option<Box<Suppression>> {
    let (How::Failed(evidence), Some(judged), Kind::Submission) = (&conclusion.ending.how, conclusion.judged, mail.kind) else { return None };
    let words = evidence.reply.as_ref().map_or_else(|| evidence.text.clone(), ToString::to_string);
    let failure = Failure {
        author_domain: &mail.signing_domain,
        stream: &mail.stream,
        recipient: &recipient.mailbox,
        reason: judged.reason,
        permanent: judged.permanent,
        proof,
        at: evidence.at,
        message: Some(mail.id),
        words: &words,
    };
    rules.after_failure(&failure).map(Box::new)
}

/// How it is known that a failure is this recipient's own. `alone`: nobody else was to get the message in this transaction.
#[must_use]
pub fn proof(evidence: &Evidence, alone: bool) -> Proof {
    let in_reply_to = |stage: Stage| evidence.text == format!("in reply to {stage}");
    match (&evidence.reply, &evidence.remote) {
        (Some(_), _) if in_reply_to(Stage::Rcpt) => Proof::Named,
        (Some(_), _) if alone && [Stage::DataInit, Stage::DataBlock, Stage::DataDone].into_iter().any(in_reply_to) => Proof::Alone,
        // No server said it: the DNS did.
        (None, None) => Proof::Dns,
        _ => Proof::Unproven,
    }
}

/// What becomes of a recipient of a mail that is held: it goes back into the spool until then, without an attempt. `None` where there
/// is something to tell its submitter, which only an ending does: that it is late, or that it has grown too old.
#[must_use]
pub fn hold(around: &Circumstances<'_>, recipient: &Leased, pause: Duration) -> Option<Timestamp> {
    let Circumstances { mail, schedule, started_at, now, .. } = *around;
    let given_up_at = schedule.given_up_at(mail.expires_at, started_at);
    let is_late = !recipient.delay_told && recipient.notify.on_delay() && may_be_told(mail) && schedule.is_late(mail.accepted_at, mail.expires_at, now);
    (now < given_up_at && !is_late).then(|| (now + pause).min(given_up_at))
}

fn defer(around: &Circumstances<'_>, recipient: &Leased, evidence: Evidence) -> (How, Option<Action>) {
    let mail = around.mail;
    let seed = scramble(mail.id.number() ^ (u64::from(recipient.index) << 48)).wrapping_add(u64::from(recipient.attempts));
    let deferral = Deferral { attempts_before: recipient.attempts, expires_at: mail.expires_at, started_at: around.started_at, now: around.now, seed };
    match around.schedule.after(deferral) {
        Next::GiveUp => (How::Failed(expired(evidence, mail, around.now)), recipient.notify.on_failure().then_some(Action::Failed)),
        Next::Retry(next_at) => {
            let late = !recipient.delay_told && recipient.notify.on_delay() && around.schedule.is_late(mail.accepted_at, mail.expires_at, around.now);
            (How::Deferred { evidence, next_at, delay_told: recipient.delay_told }, late.then_some(Action::Delayed))
        }
    }
}

/// RFC 3463 §3.5, X.4.7; the last reply is kept.
fn expired(evidence: Evidence, mail: &Mail, now: Timestamp) -> Evidence {
    let hours = now.since(mail.accepted_at).as_secs() / 3600;
    let last = if evidence.text.is_empty() { String::new() } else { format!("; {}", evidence.text) };
    Evidence { status: EnhancedCode::new(4, 4, 7), text: format!("given up after {hours} hours{last}"), ..evidence }
}

/// A notice answers neither a notice nor a null reverse-path (RFC 5321 §4.5.5).
pub(super) fn may_be_told(mail: &Mail) -> bool {
    mail.kind == Kind::Submission && mail.original_reverse_path != ReversePath::Null
}

/// Recipients that are released or cancelled never come here.
fn evidence_of(how: &How) -> &Evidence {
    match how {
        How::Delivered(evidence) | How::Failed(evidence) | How::Deferred { evidence, .. } | How::Kept { evidence, .. } => evidence,
        How::Cancelled(_) | How::Released { .. } => unreachable!("an attempt that was made is not taken back"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{Domain, IdentityName, MailIds, Mailbox, Notify, RouteName, Stream};
    use crate::seal::{Needs, Plan, Seal};

    const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const HOUR: Duration = Duration::from_hours(1);

    fn mail() -> Mail {
        Mail {
            id: MailIds::reserve(START, 0, 1).take(),
            accepted_at: START,
            expires_at: START + 120 * HOUR,
            identity: IdentityName::new("shop"),
            kind: Kind::Submission,
            signing_domain: Domain::parse("example.com").unwrap(),
            stream: Stream::new("default"),
            route: RouteName::new("mx"),
            original_reverse_path: ReversePath::Mailbox(Mailbox::parse("shop@example.com").unwrap()),
            envid: None,
            ret: None,
            needs: Needs::default(),
            message_id: "<1@example.com>".to_owned(),
            track_id: None,
            tag: None,
            trace: None,
            seal: Seal { fields: Vec::new(), expires: None, plan: Plan::default() },
            rerouted: false,
            message_octets: 10,
        }
    }

    fn recipient(notify: Notify) -> Leased {
        Leased { index: 3, mailbox: Mailbox::parse("a@example.net").unwrap(), notify, orcpt: None, attempts: 2, unknown_ends: 0, delay_told: false }
    }

    fn evidence(status: &str) -> Evidence {
        Evidence { status: status.parse().unwrap(), reply: None, text: "said so".to_owned(), remote: None, tls: None, unknown_end: false, at: START }
    }

    fn concluded(mail: &Mail, recipient: &Leased, outcome: Outcome, after: Duration, dsn_passed_on: bool) -> Conclusion {
        let schedule = Schedule::default();
        let around = Circumstances { mail, schedule: &schedule, reasons: &Table::default(), started_at: START, kept_for: 24 * HOUR, now: START + after };
        conclude(&around, "other", recipient, outcome, dsn_passed_on)
    }

    fn action(conclusion: &Conclusion) -> Option<Action> {
        conclusion.told.as_ref().map(|told| told.action)
    }

    #[test]
    fn failures_are_told_as_notify_asks() {
        let failed = || Outcome::Failed(evidence("5.1.1"));
        let only_success = Notify::On { success: true, failure: false, delay: false };
        for (notify, told) in [(Notify::Unspecified, Some(Action::Failed)), (Notify::Never, None), (only_success, None)] {
            let conclusion = concluded(&mail(), &recipient(notify), failed(), HOUR, false);
            assert_eq!(action(&conclusion), told, "{notify:?}");
            assert!(matches!(conclusion.ending.how, How::Failed(_)));
        }
    }

    #[test]
    fn success_is_told_only_when_asked_and_not_passed_on() {
        let delivered = || Outcome::Delivered(evidence("2.0.0"));
        let asked = recipient(Notify::On { success: true, failure: true, delay: false });
        assert_eq!(action(&concluded(&mail(), &asked, delivered(), HOUR, false)), Some(Action::Relayed));
        assert_eq!(action(&concluded(&mail(), &asked, delivered(), HOUR, true)), None);
        assert_eq!(action(&concluded(&mail(), &recipient(Notify::Unspecified), delivered(), HOUR, false)), None);
    }

    #[test]
    fn a_delay_is_told_once() {
        let deferred = || Outcome::Deferred(evidence("4.2.2"));
        let early = concluded(&mail(), &recipient(Notify::Unspecified), deferred(), HOUR, false);
        assert!(matches!(early.ending.how, How::Deferred { delay_told: false, .. }) && early.told.is_none());
        let late = concluded(&mail(), &recipient(Notify::Unspecified), deferred(), 5 * HOUR, false);
        assert!(matches!(late.ending.how, How::Deferred { delay_told: true, .. }));
        assert_eq!(action(&late), Some(Action::Delayed));
        let told = Leased { delay_told: true, ..recipient(Notify::Unspecified) };
        let again = concluded(&mail(), &told, deferred(), 6 * HOUR, false);
        assert!(matches!(again.ending.how, How::Deferred { delay_told: true, .. }) && again.told.is_none());
    }

    #[test]
    fn held_mail_waits_without_an_attempt_until_there_is_something_to_tell() {
        let schedule = Schedule::default();
        let pause = Duration::from_mins(5);
        let held = |mail: &Mail, recipient: &Leased, after: Duration| {
            hold(
                &Circumstances { mail, schedule: &schedule, reasons: &Table::default(), started_at: START, kept_for: HOUR, now: START + after },
                recipient,
                pause,
            )
            .map(|at| at.since(START))
        };
        let (fresh, told) = (recipient(Notify::Unspecified), Leased { delay_told: true, ..recipient(Notify::Unspecified) });
        assert_eq!(held(&mail(), &fresh, HOUR), Some(HOUR + pause));
        assert_eq!(held(&mail(), &fresh, 5 * HOUR), None, "late, and nobody was told");
        assert_eq!(held(&mail(), &recipient(Notify::Never), 5 * HOUR), Some(5 * HOUR + pause));
        assert_eq!(held(&Mail { original_reverse_path: ReversePath::Null, ..mail() }, &fresh, 5 * HOUR), Some(5 * HOUR + pause));
        assert_eq!(held(&mail(), &told, 5 * HOUR), Some(5 * HOUR + pause));
        assert_eq!(held(&mail(), &told, 119 * HOUR + Duration::from_mins(59)), Some(120 * HOUR), "not past its end");
        assert_eq!(held(&mail(), &told, 120 * HOUR), None, "too old");
    }

    #[test]
    fn nobody_is_told_of_a_notice_or_a_null_reverse_path() {
        let notice = Mail { kind: Kind::Notice, ..mail() };
        let null = Mail { original_reverse_path: ReversePath::Null, ..mail() };
        for mail in [notice, null] {
            assert_eq!(action(&concluded(&mail, &recipient(Notify::Unspecified), Outcome::Failed(evidence("5.1.1")), HOUR, false)), None);
            let late = concluded(&mail, &recipient(Notify::Unspecified), Outcome::Deferred(evidence("4.2.2")), 5 * HOUR, false);
            assert!(matches!(late.ending.how, How::Deferred { delay_told: false, .. }) && late.told.is_none());
        }
    }

    #[test]
    fn returned_mail_that_nobody_takes_is_kept_for_a_person() {
        let returned = Mail { kind: Kind::Returned, original_reverse_path: ReversePath::Null, ..mail() };
        for (outcome, after) in [(Outcome::Failed(evidence("5.1.1")), HOUR), (Outcome::Deferred(evidence("4.2.2")), 120 * HOUR)] {
            let conclusion = concluded(&returned, &recipient(Notify::Never), outcome, after, false);
            let How::Kept { until, .. } = conclusion.ending.how else { panic!("{conclusion:?}") };
            assert_eq!((until, conclusion.told), (START + after + 24 * HOUR, None));
        }
        let later = concluded(&returned, &recipient(Notify::Never), Outcome::Deferred(evidence("4.2.2")), HOUR, false);
        assert!(matches!(later.ending.how, How::Deferred { .. }));
    }

    #[test]
    fn what_is_too_old_fails_with_its_last_words() {
        let conclusion = concluded(&mail(), &recipient(Notify::Unspecified), Outcome::Deferred(evidence("4.2.2")), 120 * HOUR, false);
        let How::Failed(evidence) = &conclusion.ending.how else { panic!("{conclusion:?}") };
        assert_eq!((evidence.status.to_string().as_str(), evidence.text.as_str()), ("4.4.7", "given up after 120 hours; said so"));
        assert_eq!(action(&conclusion), Some(Action::Failed));
    }
}
