//! What everybody outside the relay knows: clients what was promised, next hops what arrived, the disk what was settled. Here it must fit.

use crate::store::{Image, Kept};
use crate::wire::Fate;
use postseal::mail::{MailId, Notify};
use postseal::seal::Kind;
use postseal::spool::{How, Mail, SoFar};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The accounts of all mail, by Message-ID: each submission has one of its own, each repetition of it too, each notice as well.
#[derive(Default)]
pub struct Ledger {
    accounts: BTreeMap<String, Account>,
    /// When a process ended, however, or its disk failed: what was under way then may happen again.
    disturbances: Vec<Duration>,
    violations: Vec<String>,
    /// A disk has lied, and what it had said was not so.
    was_lied_to: bool,
    pub sums: Sums,
}

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    pub promised: u64,
    pub delivered: u64,
    pub failed: u64,
    pub notices: u64,
    /// Arrived more than once, each with an excuse.
    pub repeated: u64,
    /// Promised, and gone with a disk that had lied.
    pub lied_away: u64,
    pub kills: u64,
    pub power_losses: u64,
    pub restarts: u64,
}

/// One mail.
#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is one fact, known from elsewhere than the others")]
struct Account {
    id: Option<MailId>,
    is_notice: bool,
    /// The submission had nobody to tell.
    has_no_sender: bool,
    notify: Notify,
    promised: bool,
    committed: bool,
    /// The disk said that it had it, and had not.
    lied_away: bool,
    recipients: BTreeMap<String, Recipient>,
}

#[derive(Default)]
struct Recipient {
    /// By the disk.
    outcomes: Vec<(Duration, SoFar)>,
    /// By next hops.
    arrivals: Vec<Arrival>,
    /// Notices of failure that reached the submitter, by their Message-ID.
    told: Vec<String>,
}

struct Arrival {
    at: Duration,
    /// When the relay gave its last octet out of hand: from then on it could not take it back.
    ended: Duration,
    /// Of the reply that says so.
    reply: Arc<Fate>,
}

/// A message as a next hop got it.
pub struct Arrived<'a> {
    pub message_id: &'a str,
    pub recipients: &'a [String],
    /// Why its seal is not good, if so.
    pub fault: Option<String>,
    /// When the relay began to write the last octet.
    pub ended: Duration,
    pub reply: &'a Arc<Fate>,
}

impl Ledger {
    pub fn violate(&mut self, what: String) {
        self.violations.push(what);
    }

    pub fn violations(&self) -> &[String] {
        &self.violations
    }

    pub fn bound(&mut self, what: &str, count: usize, most: usize) {
        if count > most {
            self.violate(format!("{count} {what} at a time, and no more than {most} are allowed"));
        }
    }

    /// A client is about to submit.
    pub fn submit(&mut self, message_id: &str, has_no_sender: bool, notify: Notify) {
        let account = self.accounts.entry(message_id.to_owned()).or_default();
        (account.has_no_sender, account.notify) = (has_no_sender, notify);
    }

    /// A client has read its 250.
    pub fn promise(&mut self, message_id: &str) {
        self.sums.promised += 1;
        let account = self.accounts.entry(message_id.to_owned()).or_default();
        account.promised = true;
        if !account.committed {
            self.violate(format!("250 for {message_id}, which is not committed"));
        }
    }

    /// The spool has made something durable.
    pub fn kept(&mut self, kept: &Kept, at: Duration) {
        match kept {
            Kept::Committed(mail) => self.commit(mail),
            Kept::Claimed { .. } => {}
            Kept::Settled { mail, recipient, how } => {
                let outcome = match how {
                    How::Delivered(_) => SoFar::Delivered,
                    How::Failed(_) => SoFar::Failed,
                    How::Cancelled(_) => SoFar::Cancelled,
                    How::Deferred { .. } | How::Released { .. } | How::Kept { .. } => return,
                };
                let outcomes = &mut self.account(&mail.message_id).recipients.entry(recipient.to_string()).or_default().outcomes;
                outcomes.push((at, outcome));
                if outcomes.len() > 1 {
                    let told = format!("{} to {recipient} was settled {} times: {outcomes:?}", mail.message_id, outcomes.len());
                    self.violate(told);
                }
            }
        }
    }

    fn commit(&mut self, mail: &Mail) {
        let account = self.account(&mail.message_id);
        (account.id, account.committed) = (Some(mail.id), true);
        if mail.kind == Kind::Notice {
            account.is_notice = true;
            account.has_no_sender = true;
            account.notify = Notify::Never;
            self.sums.notices += 1;
        }
    }

    fn account(&mut self, message_id: &str) -> &mut Account {
        self.accounts.entry(message_id.to_owned()).or_default()
    }

    /// A next hop takes a message.
    pub fn arrive(&mut self, arrived: &Arrived<'_>, at: Duration) {
        let message_id = arrived.message_id;
        if let Some(fault) = &arrived.fault {
            self.violate(format!("{message_id} arrived with a seal that is not good: {fault}"));
        }
        let Some(account) = self.accounts.get_mut(message_id) else { return self.violate(format!("{message_id} arrived, and nobody submitted it")) };
        // Sealed and sent before it was safe? A commit is told to the ledger when it is durable.
        let was_early = !account.committed;
        for name in arrived.recipients {
            let recipient = account.recipients.entry(name.clone()).or_default();
            let settled_at = recipient.outcomes.iter().find(|(_, outcome)| *outcome == SoFar::Delivered).map(|(at, _)| *at);
            for earlier in &recipient.arrivals {
                let until = settled_at.unwrap_or(at).max(earlier.at);
                let is_disturbed = self.disturbances.iter().any(|disturbed| (earlier.ended..=until).contains(disturbed));
                if !earlier.reply.is_swallowed() && !is_disturbed {
                    let before = earlier.at.as_millis();
                    self.violations.push(format!("{message_id} to {name} arrived again, and nothing had swallowed the reply of {before}"));
                }
            }
            self.sums.repeated += u64::from(!recipient.arrivals.is_empty());
            recipient.arrivals.push(Arrival { at, ended: arrived.ended, reply: arrived.reply.clone() });
        }
        if was_early {
            self.violate(format!("{message_id} arrived before it was committed"));
        }
    }

    /// The submitter reads a notice of failure.
    pub fn tell_failure(&mut self, notice: &str, of: &str, name: &str) {
        let Some(account) = self.accounts.get_mut(of) else { return self.violate(format!("{notice} tells of {of}, which nobody submitted")) };
        if account.has_no_sender {
            return self.violate(format!("{notice} answers {of}, which has a null reverse-path"));
        }
        let told = &mut account.recipients.entry(name.to_owned()).or_default().told;
        if !told.iter().any(|known| known == notice) {
            told.push(notice.to_owned());
        }
    }

    /// A process ended, or its disk failed.
    pub fn disturb(&mut self, at: Duration) {
        self.disturbances.push(at);
    }

    /// What is on the disk at a start, held against what it said before. Where it lied, what it said is taken back, and counted.
    pub fn reconcile(&mut self, image: &Image, lied: bool, at: Duration) {
        self.was_lied_to |= lied;
        for stored in image.mails.values() {
            if !self.accounts.get(&stored.mail.message_id).is_some_and(|account| account.committed) {
                self.commit(&stored.mail);
            }
        }
        for (message_id, account) in &mut self.accounts {
            let Some(id) = account.id else { continue };
            let is_there = image.mails.contains_key(&id) || image.history.contains_key(&id);
            if account.committed && !is_there {
                account.committed = false;
                if lied {
                    account.lied_away = true;
                    self.sums.lied_away += 1;
                } else {
                    self.violations.push(format!("{message_id} was committed, and is gone"));
                }
            }
            let rows = image.recipients.range((id, 0)..=(id, u32::MAX)).map(|(_, row)| (row.leased.mailbox.to_string(), row.outcome));
            let closed = image.history.get(&id).into_iter().flat_map(|history| &history.recipients).map(|who| (who.mailbox.to_string(), who.outcome));
            for (name, outcome) in rows.chain(closed) {
                let recipient = account.recipients.entry(name.clone()).or_default();
                match (outcome, recipient.outcomes.first()) {
                    (SoFar::Waiting, None) => {}
                    (SoFar::Waiting, Some(_)) => {
                        recipient.outcomes.clear();
                        if !lied {
                            self.violations.push(format!("{message_id} to {name} was settled, and waits again"));
                        }
                    }
                    (outcome, None) => recipient.outcomes.push((at, outcome)), // nobody lived to hear of it
                    (_, Some(_)) => {}
                }
            }
        }
    }

    /// When everything is at rest.
    pub fn close(&mut self, image: &Image, at: Duration) {
        self.reconcile(image, false, at);
        let mut violations = Vec::new();
        for (message_id, account) in &self.accounts {
            if account.promised && !account.committed && !account.lied_away {
                violations.push(format!("{message_id} was promised, and is not there"));
            }
            if !account.committed {
                continue;
            }
            for (name, recipient) in &account.recipients {
                let faults = self.faults_of(account, recipient);
                violations.extend(faults.into_iter().map(|fault| format!("{message_id} to {name} {fault}")));
                let outcome = recipient.outcomes.first().map(|(_, outcome)| *outcome);
                self.sums.delivered += u64::from(outcome == Some(SoFar::Delivered) && !account.is_notice);
                self.sums.failed += u64::from(outcome == Some(SoFar::Failed) && !account.is_notice);
            }
        }
        self.violations.extend(violations);
    }

    fn faults_of(&self, account: &Account, recipient: &Recipient) -> Vec<String> {
        let mut faults = Vec::new();
        let [(at, outcome)] = recipient.outcomes.as_slice() else {
            return vec![format!("has {} outcomes: {:?}", recipient.outcomes.len(), recipient.outcomes)];
        };
        match outcome {
            SoFar::Delivered if recipient.arrivals.is_empty() => faults.push("is delivered, and never arrived".to_owned()),
            SoFar::Failed => {
                let heard = recipient.arrivals.iter().find(|arrival| arrival.reply.is_heard());
                let is_disturbed = |arrival: &Arrival| self.disturbances.iter().any(|disturbed| (arrival.ended..=*at).contains(disturbed));
                if heard.is_some_and(|arrival| !is_disturbed(arrival)) {
                    faults.push("failed, and has arrived".to_owned());
                }
                if account.is_notice {
                    faults.push("is a notice, and did not arrive".to_owned());
                }
                let wants = matches!(account.notify, Notify::Unspecified | Notify::On { failure: true, .. }) && !account.has_no_sender;
                if wants && recipient.told.is_empty() {
                    faults.push("failed, and nobody was told".to_owned());
                }
                if recipient.told.len() > 1 && !self.was_lied_to {
                    faults.push(format!("failed once, and that was told {} times: {:?}", recipient.told.len(), recipient.told));
                }
            }
            SoFar::Cancelled | SoFar::Waiting => faults.push(format!("is {outcome:?}")),
            SoFar::Delivered => {}
        }
        // Where a disk forgot what it had said, the notice may be out already.
        if !recipient.told.is_empty() && *outcome != SoFar::Failed && !self.was_lied_to {
            faults.push(format!("is {outcome:?}, and its failure was told"));
        }
        if !recipient.told.is_empty() && account.notify == Notify::Never {
            faults.push("was told of to somebody who wanted to hear nothing".to_owned());
        }
        faults
    }
}
