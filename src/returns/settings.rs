//! What an operator may say about what comes home.

use crate::mail::{Domain, Mailbox, RouteName};
use crate::policy::DomainPattern;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// The settings of the station *return*. Replaced as a whole by a reload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The bounce domains that are ours, each with the author domain it stands below.
    pub bounce_domains: HashMap<Domain, Domain>,
    /// The way home; `None`: nobody is sent anything, events tell all.
    pub route: Option<RouteName>,
    /// Who stands in for original senders on which nobody listens; the most specific decides.
    pub senders: Vec<SenderRule>,
    /// The addresses of every bounce domain that are no tokens, by local part in lower case: `postmaster`, `abuse`, and those of reports.
    pub mailboxes: BTreeMap<String, Mailbox>,
    /// How long the way home is tried.
    pub max_age: Duration,
    /// How long is kept what is not passed on.
    pub keep_for: Duration,
    /// Messages that may come to a bounce address of one recipient.
    pub messages_max: u64,
    /// Octets of all of them.
    pub octets_max: u64,
    /// Messages that may come to a bounce address that several recipients share, as that of a sender and day.
    pub shared_messages_max: u64,
    /// Octets of all of them.
    pub shared_octets_max: u64,
    /// Messages that may come in a day to one of the addresses that every bounce domain has.
    pub mailbox_messages_max: u64,
    /// Octets of all of them.
    pub mailbox_octets_max: u64,
    /// Octets of a message that comes to such addresses only.
    pub mailbox_message_octets_max: u64,
    /// Bounds of those who send.
    pub sources: Sources,
    /// Hops that a message may have had: as many `Received` fields.
    pub received_max: usize,
    /// How often it may have been here before.
    pub own_received_max: usize,
    /// Whose DKIM signature makes a complaint one that counts; names below them too.
    pub feedback_domains: Vec<Domain>,
    /// Octets of all messages being received by listeners for bounces.
    pub incoming_octets_max: u64,
}

/// Bounds of one client address; of IPv6, of one /64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sources {
    /// Refused recipients within the window; from then on until it ends, each ends its connection.
    pub refused_max: u32,
    /// The window.
    pub window: Duration,
    /// Messages that are begun in a minute; above it they are refused with 450.
    pub messages_per_minute: u32,
    /// Addresses counted; the one that was seen first longest ago goes first.
    pub count_max: usize,
}

/// What is done with mail to some original senders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SenderRule {
    /// Which.
    pub senders: Senders,
    /// Who gets it.
    pub instead: Instead,
}

/// A set of original senders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Senders {
    /// This one; the case of its local part's ASCII letters does not matter.
    One(Mailbox),
    /// All of these domains.
    Of(DomainPattern),
}

/// Who gets what comes back to a sender on which nobody listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Instead {
    /// This mailbox.
    Mailbox(Mailbox),
    /// Nobody: events tell all.
    EventsOnly,
}

impl Settings {
    /// The rule for an original sender: one for itself goes before one for its domain, that before one for a domain above.
    #[must_use]
    pub fn rule(&self, sender: &Mailbox) -> Option<&SenderRule> {
        let matching = self.senders.iter().filter(|rule| rule.senders.has(sender));
        matching.max_by_key(|rule| match &rule.senders {
            Senders::One(_) => (1, None),
            Senders::Of(pattern) => (0, Some(pattern.specificity())),
        })
    }

    /// Whether a signature of this domain makes a complaint count.
    #[must_use]
    pub fn is_of_a_feedback_loop(&self, domain: &Domain) -> bool {
        self.feedback_domains.iter().any(|known| domain.is_at_or_below(known))
    }
}

impl Senders {
    fn has(&self, sender: &Mailbox) -> bool {
        match self {
            Self::One(mailbox) => mailbox.host == sender.host && mailbox.local.as_str().eq_ignore_ascii_case(sender.local.as_str()),
            Self::Of(pattern) => sender.domain().is_some_and(|domain| pattern.matches(domain)),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bounce_domains: HashMap::new(),
            route: None,
            senders: Vec::new(),
            mailboxes: BTreeMap::new(),
            max_age: Duration::from_hours(5 * 24),
            keep_for: Duration::from_hours(14 * 24),
            messages_max: 100,
            octets_max: 100 << 20,
            shared_messages_max: 10_000,
            shared_octets_max: 1 << 30,
            mailbox_messages_max: 10_000,
            mailbox_octets_max: 128 << 20,
            mailbox_message_octets_max: 10 << 20,
            sources: Sources::default(),
            received_max: 50,
            own_received_max: 3,
            feedback_domains: Vec::new(),
            incoming_octets_max: 64 << 20,
        }
    }
}

impl Default for Sources {
    fn default() -> Self {
        Self { refused_max: 100, window: Duration::from_mins(10), messages_per_minute: 1200, count_max: 100_000 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_rule_decides() {
        let rule = |senders: Senders, instead: &str| SenderRule {
            senders,
            instead: if instead.is_empty() { Instead::EventsOnly } else { Instead::Mailbox(instead.parse().unwrap()) },
        };
        let of = |pattern: &str| Senders::Of(pattern.parse().unwrap());
        let settings = Settings {
            senders: vec![
                rule(of(".example.com"), "all@example.com"),
                rule(of("*.example.com"), "below@example.com"),
                rule(of("shop.example.com"), "shop@example.com"),
                rule(Senders::One("NoReply@shop.example.com".parse().unwrap()), ""),
            ],
            ..Settings::default()
        };
        for (sender, expect) in [
            ("a@example.com", Some("all@example.com")),
            ("a@x.example.com", Some("below@example.com")),
            ("a@shop.example.com", Some("shop@example.com")),
            ("noreply@shop.example.com", Some("")),
            ("a@example.org", None),
            ("a@[192.0.2.1]", None),
        ] {
            let found = settings.rule(&sender.parse().unwrap()).map(|rule| match &rule.instead {
                Instead::Mailbox(mailbox) => mailbox.to_string(),
                Instead::EventsOnly => String::new(),
            });
            assert_eq!(found.as_deref(), expect, "{sender}");
        }
    }
}
