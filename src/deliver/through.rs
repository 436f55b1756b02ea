//! `through` mode: a message is handed to the smart host while its client waits, and the client is told what the smart host said. Nothing is
//! kept here, so nothing is lost with the disk; what cannot be passed on now is refused, and the client still has it.
//!
//! | the next hop | the client hears |
//! |---|---|
//! | takes the message | 250 |
//! | refuses a recipient | that reply, with the address; the message was sent to nobody, for a client hears one reply for all |
//! | refuses the message, 4xx or 5xx | the same code, and its words |
//! | says 421, or asks for credentials that we do not have | 451: it is not the message's fault |
//! | cannot be reached, or breaks the connection before the final dot | 451 4.4.x |
//! | breaks the connection after the final dot, or does not answer in time | 451 4.4.2: the message may have arrived, and may arrive twice |
//!
//! No DSN is made: whoever would be told is told in the dialogue. RFC 5321 §4.2.5 and §6.1: the 250 means that somebody has taken
//! responsibility, which here is the next hop. Decisions are in `verdict`, the rest is a shell.

use super::passage::{Parcel, Passage, Passed};
use crate::mail::{Blame, EnhancedCode, Evidence, Outcome, Receipt, Refusal, RouteName, Timestamp};
use crate::seal::Sealed;
use crate::smtp::client::{Stage, TransactionRecipient};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How messages are passed through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The smart host.
    pub route: RouteName,
    /// It is a postseal of ours: it is told what the application asked of us and it can do (track id, tag, time of delivery).
    pub is_upstream: bool,
    /// How long a client may wait, all in all: less than the ten minutes that clients wait for the answer to a final dot (RFC 5321 §4.5.3.2.6).
    pub timeout: Duration,
    /// Messages under way at a time; more wait their turn, within the same time.
    pub transactions_max: usize,
}

/// The way through.
pub struct Through {
    settings: Settings,
    passage: Passage,
    slots: Semaphore,
    seen: Mutex<Seen>,
}

/// What was seen of the next hop last.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    Nothing,
    Answering,
    Silent { since: Timestamp, why: String },
}

impl Through {
    /// Opens nothing yet.
    #[must_use]
    pub fn new(settings: Settings, passage: Passage) -> Self {
        let slots = Semaphore::new(settings.transactions_max.min(Semaphore::MAX_PERMITS));
        Self { settings, passage, slots, seen: Mutex::new(Seen::Nothing) }
    }

    /// The way to the smart host, for a reload.
    #[must_use]
    pub const fn passage(&self) -> &Passage {
        &self.passage
    }

    /// How many recipients the smart host takes in one transaction: more are refused at RCPT, and sent by the client in its next one.
    #[must_use]
    pub fn recipients_max(&self) -> usize {
        let settings = self.passage.settings();
        let smart_host = settings.smart_hosts.get(&self.settings.route);
        smart_host.map_or(usize::MAX, |host| usize::try_from(host.limits.recipients_per_transaction_max).unwrap_or(usize::MAX))
    }

    /// Why nothing can be passed on at present, as far as was seen; `None` when the next hop answered last.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        match &*self.seen() {
            Seen::Answering => None,
            Seen::Nothing => Some(format!("smart host \"{}\" was not talked to yet", self.settings.route)),
            Seen::Silent { since, why } => Some(format!("smart host \"{}\" has not been reached since {}: {why}", self.settings.route, since.to_rfc3339())),
        }
    }

    /// Looks for the next hop at the start, and as long as it could not be reached.
    pub async fn watch(&self) {
        loop {
            if self.trouble().is_some() {
                let found = self.passage.probe(&self.settings.route, PROBE_TIMEOUT).await;
                self.note(found.err());
            }
            tokio::time::sleep(PROBE_EVERY).await;
        }
    }

    /// Passes a message on and gives the proof that the next hop has it. Takes no longer than the time-out.
    ///
    /// # Errors
    /// The reply to give: the next hop's, or why there is none.
    ///
    /// # Cancel safety
    /// Dropped, the next hop may have the message, and nobody was told.
    pub async fn pass(&self, mail: &Sealed) -> Result<Receipt, Refusal> {
        if mail.route != self.settings.route {
            return Err(Refusal::operator(451, EnhancedCode::new(4, 3, 5), format!("there is no way through by route \"{}\"", mail.route)));
        }
        if mail.due_at > mail.accepted_at && !self.settings.is_upstream {
            let text = "X-Postseal-Deliver-After cannot be honoured: this relay keeps nothing, and its next hop is not named as server.upstream";
            return Err(Refusal::submitter(550, EnhancedCode::new(5, 6, 0), text));
        }
        let began_at = self.passage.now();
        let until = began_at + self.settings.timeout;
        let Ok(Ok(_slot)) = tokio::time::timeout(self.settings.timeout, self.slots.acquire()).await else {
            return Err(Refusal::operator(451, EnhancedCode::new(4, 3, 2), "too many messages are under way; try again later"));
        };
        let passed = self.hand_over(mail, until).await;
        self.note((!passed.reached).then(|| passed.outcomes.first().map(|outcome| outcome.evidence().text.clone()).unwrap_or_default()));
        let judged = verdict(mail, &passed.outcomes);
        report(mail, &passed, &judged, self.passage.now().since(began_at));
        judged.map(|()| Receipt::relayed(mail.id))
    }

    /// Waits until nothing is under way, no longer than that, and closes the connections. Nothing is passed on afterwards.
    pub async fn drain(&self, within: Duration) {
        let all = u32::try_from(self.settings.transactions_max).unwrap_or(u32::MAX);
        if let Ok(Ok(slots)) = tokio::time::timeout(within, self.slots.acquire_many(all)).await {
            slots.forget();
        }
        self.slots.close();
        self.passage.close().await;
    }

    async fn hand_over(&self, mail: &Sealed, until: Timestamp) -> Passed {
        let recipients: Vec<TransactionRecipient<'_>> = mail
            .recipients
            .iter()
            .map(|recipient| TransactionRecipient { mailbox: &recipient.mailbox, notify: recipient.notify, orcpt: recipient.orcpt.as_ref() })
            .collect();
        let due_at = (mail.due_at > mail.accepted_at).then_some(mail.due_at);
        let control = if self.settings.is_upstream { control_fields(mail.track_id.as_deref(), mail.tag.as_deref(), due_at) } else { String::new() };
        let parcel = Parcel {
            mail_id: mail.id,
            route: &mail.route,
            reverse_path: &mail.recipients[0].reverse_path, // the same for all: on this route it is kept
            recipients: &recipients,
            envid: mail.envid.as_deref(),
            ret: mail.ret,
            seal: &mail.seal,
            control: &control,
            message: mail.message.octets(),
            whole: true,
            until,
            answer_min: self.settings.timeout / ANSWER_SHARE,
        };
        self.passage.pass(&parcel).await
    }

    fn note(&self, fault: Option<String>) {
        let mut seen = self.seen();
        *seen = match (fault, &*seen) {
            (None, _) => Seen::Answering,
            (Some(why), Seen::Silent { since, .. }) => Seen::Silent { since: *since, why },
            (Some(why), _) => Seen::Silent { since: self.passage.now(), why },
        };
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an application asked of us and a postseal behind us can do, as the fields it asked by. *Normalise* takes them out there.
#[must_use]
pub fn control_fields(track_id: Option<&str>, tag: Option<&str>, due_at: Option<Timestamp>) -> String {
    let due_at = due_at.map(Timestamp::to_rfc3339);
    let fields = [("Track-Id", track_id), ("Tag", tag), ("Deliver-After", due_at.as_deref())];
    fields.into_iter().filter_map(|(name, value)| Some(format!("X-Postseal-{name}: {}\r\n", value?))).collect()
}

/// The one answer to a client whose message went to several recipients, all or none.
fn verdict(mail: &Sealed, outcomes: &[Outcome]) -> Result<(), Refusal> {
    if outcomes.iter().all(|outcome| matches!(outcome, Outcome::Delivered(_))) {
        return Ok(());
    }
    // The gravest counts: a refusal for good before one for now, one with a reason before those that follow from it.
    let (recipient, outcome) = mail
        .recipients
        .iter()
        .zip(outcomes)
        .max_by_key(|(_, outcome)| (matches!(outcome, Outcome::Failed(_)), !matches!(outcome, Outcome::Delivered(_)), outcome.evidence().reply.is_some()))
        .ok_or_else(Refusal::ourselves)?;
    let evidence = outcome.evidence();
    let whom = if evidence.text == format!("in reply to {}", Stage::Rcpt) && outcomes.len() > 1 {
        format!("{} was refused, so it was sent to nobody: ", recipient.mailbox)
    } else {
        String::new()
    };
    Err(refusal(evidence, &whom))
}

fn refusal(evidence: &Evidence, whom: &str) -> Refusal {
    let host = evidence.remote.as_ref().map_or("the next hop", |remote| remote.host.as_str());
    let (subject, detail) = evidence.status.subject_and_detail();
    let Some(reply) = &evidence.reply else {
        // What this next hop can never take, as 8-bit data, is refused for good; all else may pass.
        let code = if evidence.status.class() == 5 { 554 } else { 451 };
        let doubt = if evidence.unknown_end { "; it may have arrived" } else { "" };
        return Refusal::next_hop(code, EnhancedCode::new(if code == 554 { 5 } else { 4 }, subject, detail), format!("{host}: {}{doubt}", evidence.text));
    };
    let text = format!("{whom}{host} said: {reply}");
    match reply.code {
        530 | 534 | 535 | 538 => Refusal { blame: Blame::Operator, ..Refusal::next_hop(451, EnhancedCode::new(4, 3, 5), text) },
        500..=599 if evidence.status.class() == 5 => Refusal::next_hop(reply.code, EnhancedCode::new(5, subject, detail), text),
        400..=499 if reply.code != 421 => Refusal::next_hop(reply.code, EnhancedCode::new(4, subject, detail), text),
        // 421 would close our client's session; a refused session is not the message's fault.
        _ => Refusal::next_hop(451, EnhancedCode::new(4, subject, detail), text),
    }
}

fn report(mail: &Sealed, passed: &Passed, judged: &Result<(), Refusal>, took: Duration) {
    let Err(refusal) = judged else { return }; // told by whoever knows the client
    let unknown_end = passed.outcomes.iter().any(|outcome| outcome.evidence().unknown_end);
    let (mail_id, route, recipients) = (mail.id, &mail.route, passed.outcomes.len());
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    if unknown_end || refusal.blame == Blame::Operator {
        tracing::warn!(%mail_id, %route, recipients, unknown_end, took_ms, error = %refusal, "passage.failed");
    } else {
        tracing::info!(%mail_id, %route, recipients, unknown_end, took_ms, error = %refusal, "passage.failed");
    }
}

/// Looks for the next hop in the background until it ends.
#[must_use]
pub fn watched(through: &Arc<Through>) -> tokio::task::JoinHandle<()> {
    let through = through.clone();
    tokio::spawn(async move { through.watch().await })
}

/// Of the time-out, what must be left for the answer when a final dot is sent.
const ANSWER_SHARE: u32 = 4;
/// How often a next hop is looked for that could not be reached.
const PROBE_EVERY: Duration = Duration::from_secs(5);
/// How long that may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::{RemoteReply, outcome::Remote};

    fn evidence(status: &str, reply: Option<(u16, &str)>, text: &str) -> Evidence {
        let reply = reply.map(|(code, text)| RemoteReply { code, enhanced: None, lines: vec![text.to_owned()] });
        let remote = Some(Remote { host: "central.example".to_owned(), address: "192.0.2.1:25".parse().unwrap() });
        Evidence { status: status.parse().unwrap(), reply, text: text.to_owned(), remote, tls: None, unknown_end: false, at: Timestamp::EPOCH }
    }

    #[test]
    fn what_the_next_hop_says_is_passed_on_and_its_moods_are_not() {
        for (status, reply, told) in [
            ("5.1.1", Some((550, "no such user")), "550 5.1.1 central.example said: 550 no such user"),
            ("4.2.2", Some((452, "full")), "452 4.2.2 central.example said: 452 full"),
            ("4.3.2", Some((421, "going down")), "451 4.3.2 central.example said: 421 going down"),
            ("5.7.0", Some((530, "authenticate first")), "451 4.3.5 central.example said: 530 authenticate first"),
            ("4.0.0", Some((554, "not you")), "451 4.0.0 central.example said: 554 not you"),
            ("4.4.1", None, "451 4.4.1 central.example: why"),
            ("5.6.3", None, "554 5.6.3 central.example: why"),
        ] {
            assert_eq!(refusal(&evidence(status, reply, "why"), "").to_string(), told);
        }
        let doubt = Evidence { unknown_end: true, ..evidence("4.4.2", None, "it broke") };
        assert_eq!(refusal(&doubt, "").to_string(), "451 4.4.2 central.example: it broke; it may have arrived");
    }

    #[test]
    fn control_fields_are_those_that_were_asked() {
        assert_eq!(control_fields(None, None, None), "");
        let due_at = Timestamp::from_unix_seconds(1_800_000_000);
        let fields = "X-Postseal-Track-Id: order-7\r\nX-Postseal-Tag: receipt\r\nX-Postseal-Deliver-After: 2027-01-15T08:00:00.000Z\r\n";
        assert_eq!(control_fields(Some("order-7"), Some("receipt"), Some(due_at)), fields);
    }
}
