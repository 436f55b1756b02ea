//! What waits, made of the sums and lists of the spool. Pure.

use super::journey::last_words;
use super::view::{Group, Waiting};
use crate::mail::Timestamp;
use crate::spool::control::{Entry, Group as Sum, State};
use std::collections::HashMap;
use std::sync::Arc;

/// How delivery stands with providers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pace {
    /// Until when they have a pause.
    pub pauses: HashMap<Arc<str>, Timestamp>,
    /// Connections open to them.
    pub connections: HashMap<String, u32>,
}

/// Sums by provider, and those of hosts that nobody claims by domain, become groups, the longest first.
#[must_use]
pub fn groups(by_provider: Vec<Sum>, of_others_by_domain: Vec<Sum>, pace: &Pace) -> Vec<Group> {
    let known = by_provider.into_iter().filter(|sum| sum.key.as_deref() != Some(OTHER));
    let mut groups: Vec<Group> = known.chain(of_others_by_domain).map(|sum| group(sum, pace)).collect();
    groups.sort_by(|a, b| b.recipients.cmp(&a.recipients).then_with(|| a.name.cmp(&b.name)));
    groups
}

fn group(sum: Sum, pace: &Pace) -> Group {
    let name = sum.key.unwrap_or_else(|| UNTRIED.to_owned());
    let host = sum.last.as_ref().and_then(|last| last.host.clone()).unwrap_or_default();
    let paused = pace.pauses.get(name.as_str()).or_else(|| pace.pauses.get(host.as_str())).copied();
    Group {
        recipients: sum.recipients,
        oldest: Some(sum.oldest),
        next_at: sum.next_at,
        paused_until: paused,
        connections: pace.connections.get(&name).or_else(|| pace.connections.get(&host)).copied().unwrap_or(0),
        words: sum.last.as_ref().map(last_words),
        words_at: sum.last.as_ref().map(|last| last.at),
        domains: Vec::new(),
        name,
    }
}

/// A recipient of a list.
#[must_use]
pub fn waiting(entry: &Entry) -> Waiting {
    Waiting {
        mail: entry.mail,
        recipient: entry.recipient.clone(),
        from: entry.sender.clone(),
        accepted_at: entry.accepted_at,
        next_at: (entry.state == State::Waiting).then_some(entry.next_at),
        state: entry.state,
        attempts: entry.attempts,
        words: entry.last.as_ref().map(last_words),
    }
}

/// The group of what was not tried yet: who stands behind the next hop is not known.
pub const UNTRIED: &str = "untried";
/// As delivery names the provider of hosts that nobody claims.
pub const OTHER: &str = "other";
