//! Whether a failure or a complaint takes an address off the list of those that are written to. Pure.
//!
//! | reason | suppresses | why |
//! |---|---|---|
//! | `user-unknown`, `suspended` | 90 days | receivers count mail to addresses that do not exist, and trap with abandoned ones; people come back |
//! | `mailbox-full` | 7 days, only where the receiver calls it permanent | instead of counting repetitions: one attempt a week finds out whether it was emptied |
//! | `domain-not-found` | 7 days | no receiver's opinion is at stake, and a lapsed registration is mended within days |
//! | `authentication`, `policy`, `reputation`, `content`, `rate-limited`, `too-large`, `relay-denied` | never | says something of us or of the message, nothing of the address |
//! | `network`, `expired`, `not-understood` | never | says nothing of the address that is known for sure |
//! | a complaint | until a person lifts it | who reported mail as unwanted does not want it next year either |
//!
//! And only where the recipient is *proven* ([`Proof`]): a bounce is a message that anybody may write, naming anybody.

use super::{Scope, Suppression, Why};
use crate::mail::{Domain, MailId, Mailbox, Reason, Stream, Timestamp};
use std::time::Duration;

/// What is suppressed, for how long and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether failures and complaints make entries, and entries are looked for at all.
    pub enabled: bool,
    /// For whom an entry is made that follows from a failure or a complaint.
    pub by: By,
    /// How long entries last.
    pub lifetimes: Lifetimes,
}

/// For whom an entry is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum By {
    /// For all mail of the author domain.
    #[default]
    Domain,
    /// For mail of the author domain in the same stream.
    Stream,
}

/// How long entries last, by what led to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetimes {
    /// No such address.
    pub user_unknown: Lifetime,
    /// The account is disabled.
    pub suspended: Lifetime,
    /// The mailbox is full, and the receiver calls it permanent.
    pub mailbox_full: Lifetime,
    /// The recipient domain does not exist or takes no mail.
    pub domain_not_found: Lifetime,
    /// A complaint.
    pub complaint: Lifetime,
    /// A person's word, where the person names no end.
    pub manual: Lifetime,
}

/// How long an entry lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lifetime {
    /// None is made.
    Never,
    /// This long.
    For(Duration),
    /// Until a person lifts it.
    Lasting,
}

/// How it is known that this recipient, and no other, is the one that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Proof {
    /// The next hop refused it by name, in reply to its RCPT.
    Named,
    /// The transaction that was refused, or the mail that the notice is about, had this recipient alone.
    Alone,
    /// The DNS says it of its domain: our own look.
    Dns,
    /// The check of the bounce token that came back fits it: the token was issued for it and for nobody else.
    Token,
    /// One of several recipients of the mail that the token names. Enough for the complaint of a known reporter, never for a notice:
    /// one recipient of a mail may know the others, and could write it.
    Listed,
    /// It is not known.
    Unproven,
}

/// A failure, as it became known in delivery or by a notice.
#[derive(Debug, Clone, Copy)]
pub struct Failure<'a> {
    /// Whose mail it was.
    pub author_domain: &'a Domain,
    /// Its stream.
    pub stream: &'a Stream,
    /// Who did not get it.
    pub recipient: &'a Mailbox,
    /// Why.
    pub reason: Reason,
    /// The same mail to the same address would end like this again.
    pub permanent: bool,
    /// How it is known whom it is about.
    pub proof: Proof,
    /// When.
    pub at: Timestamp,
    /// The mail.
    pub message: Option<MailId>,
    /// The receiver's words.
    pub words: &'a str,
}

/// A complaint (RFC 5965).
#[derive(Debug, Clone, Copy)]
pub struct Complaint<'a> {
    /// Whose mail it was.
    pub author_domain: &'a Domain,
    /// Its stream.
    pub stream: &'a Stream,
    /// Who complained.
    pub recipient: &'a Mailbox,
    /// The report's DKIM signature passed, for a domain that is known to send reports.
    pub from_known_reporter: bool,
    /// How it is known whom it is about.
    pub proof: Proof,
    /// When.
    pub at: Timestamp,
    /// The mail.
    pub message: Option<MailId>,
    /// What the report says.
    pub words: &'a str,
}

impl Rules {
    /// The entry that follows from a failure, if one does.
    #[must_use]
    pub fn after_failure(&self, failure: &Failure<'_>) -> Option<Suppression> {
        let Failure { author_domain, stream, recipient, reason, permanent, proof, at, message, words } = *failure;
        if !permanent || !proof.suffices_for_a_failure(reason) {
            return None;
        }
        self.entry(author_domain, stream, recipient, Why::Failed(reason), at, message, words)
    }

    /// The entry that follows from a complaint, if one does.
    #[must_use]
    pub fn after_complaint(&self, complaint: &Complaint<'_>) -> Option<Suppression> {
        let Complaint { author_domain, stream, recipient, from_known_reporter, proof, at, message, words } = *complaint;
        if !from_known_reporter || !proof.suffices_for_a_complaint() {
            return None;
        }
        self.entry(author_domain, stream, recipient, Why::Complaint, at, message, words)
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of an entry")]
    fn entry(
        &self,
        author_domain: &Domain,
        stream: &Stream,
        recipient: &Mailbox,
        why: Why,
        at: Timestamp,
        message: Option<MailId>,
        words: &str,
    ) -> Option<Suppression> {
        let expires_at = match self.lifetimes.of(why) {
            _ if !self.enabled => return None,
            Lifetime::Never => return None,
            Lifetime::For(time) => Some(at + time),
            Lifetime::Lasting => None,
        };
        let stream = (self.by == By::Stream).then(|| stream.clone());
        let scope = Scope { author_domain: author_domain.clone(), stream };
        Some(Suppression { scope, recipient: recipient.folded(), why, since: at, expires_at, message, detail: Suppression::words(words) })
    }
}

impl Lifetimes {
    /// How long an entry lasts that has this cause.
    #[must_use]
    pub const fn of(&self, why: Why) -> Lifetime {
        match why {
            Why::Failed(Reason::UserUnknown) => self.user_unknown,
            Why::Failed(Reason::Suspended) => self.suspended,
            Why::Failed(Reason::MailboxFull) => self.mailbox_full,
            Why::Failed(Reason::DomainNotFound) => self.domain_not_found,
            Why::Failed(
                Reason::Authentication
                | Reason::Reputation
                | Reason::RateLimited
                | Reason::Policy
                | Reason::Content
                | Reason::TooLarge
                | Reason::Expired
                | Reason::Network
                | Reason::RelayDenied
                | Reason::NotUnderstood,
            ) => Lifetime::Never,
            Why::Complaint => self.complaint,
            Why::Manual => self.manual,
        }
    }
}

impl Proof {
    fn suffices_for_a_failure(self, reason: Reason) -> bool {
        match self {
            Self::Named | Self::Alone | Self::Token => true,
            Self::Dns => reason == Reason::DomainNotFound,
            Self::Listed | Self::Unproven => false,
        }
    }

    const fn suffices_for_a_complaint(self) -> bool {
        match self {
            Self::Alone | Self::Token | Self::Listed => true,
            Self::Named | Self::Dns | Self::Unproven => false,
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Self { enabled: true, by: By::Domain, lifetimes: Lifetimes::default() }
    }
}

impl Default for Lifetimes {
    fn default() -> Self {
        const DAY: Duration = Duration::from_hours(24);
        Self {
            user_unknown: Lifetime::For(DAY.saturating_mul(90)),
            suspended: Lifetime::For(DAY.saturating_mul(90)),
            mailbox_full: Lifetime::For(DAY.saturating_mul(7)),
            domain_not_found: Lifetime::For(DAY.saturating_mul(7)),
            complaint: Lifetime::Lasting,
            manual: Lifetime::Lasting,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);

    fn rules() -> Rules {
        Rules::default()
    }

    /// What follows from a failure, in short: scope, address, reason and days.
    fn after(rules: &Rules, reason: Reason, permanent: bool, proof: Proof) -> String {
        let (author_domain, stream) = (Domain::parse("example.com").unwrap(), Stream::new("news"));
        let recipient = Mailbox::parse("Jane@Example.NET").unwrap();
        let failure = Failure {
            author_domain: &author_domain,
            stream: &stream,
            recipient: &recipient,
            reason,
            permanent,
            proof,
            at: AT,
            message: None,
            words: "550 gone",
        };
        told(rules.after_failure(&failure))
    }

    fn complained(rules: &Rules, from_known_reporter: bool, proof: Proof) -> String {
        let (author_domain, stream) = (Domain::parse("example.com").unwrap(), Stream::new("news"));
        let recipient = Mailbox::parse("Jane@Example.NET").unwrap();
        let complaint = Complaint {
            author_domain: &author_domain,
            stream: &stream,
            recipient: &recipient,
            from_known_reporter,
            proof,
            at: AT,
            message: None,
            words: "abuse",
        };
        told(rules.after_complaint(&complaint))
    }

    fn told(entry: Option<Suppression>) -> String {
        entry.map_or_else(
            || "nothing".to_owned(),
            |entry| {
                let days = entry.expires_at.map_or_else(|| "lasting".to_owned(), |end| format!("{} days", end.since(AT).as_secs() / 86_400));
                format!("{} {} {} {days}", entry.scope, entry.recipient, entry.why)
            },
        )
    }

    #[test]
    fn only_what_is_said_of_the_address_suppresses_it() {
        for (reason, expected) in Reason::ALL.into_iter().map(|reason| {
            let expected = match reason {
                Reason::UserUnknown | Reason::Suspended => "90 days",
                Reason::MailboxFull | Reason::DomainNotFound => "7 days",
                _ => "",
            };
            (reason, expected)
        }) {
            let expected = if expected.is_empty() { "nothing".to_owned() } else { format!("example.com jane@example.net {reason} {expected}") };
            assert_eq!(after(&rules(), reason, true, Proof::Named), expected);
            assert_eq!(after(&rules(), reason, false, Proof::Named), "nothing", "{reason} for a while");
        }
    }

    #[test]
    fn the_dns_speaks_of_domains() {
        assert_eq!(after(&rules(), Reason::DomainNotFound, true, Proof::Dns), "example.com jane@example.net domain-not-found 7 days");
    }

    #[test]
    fn a_notice_silences_nobody_but_whom_its_own_token_was_issued_for() {
        for (proof, suppresses) in [
            (Proof::Named, true),
            (Proof::Alone, true),
            // The DNS knows nothing of users.
            (Proof::Dns, false),
            (Proof::Token, true),
            // A forged notice that names a stranger, or another recipient of the same mail.
            (Proof::Listed, false),
            (Proof::Unproven, false),
        ] {
            assert_eq!(after(&rules(), Reason::UserUnknown, true, proof) != "nothing", suppresses, "{proof:?}");
        }
    }

    #[test]
    fn a_complaint_counts_from_a_known_reporter_about_mail_that_was_sent() {
        for proof in [Proof::Alone, Proof::Token, Proof::Listed] {
            assert_eq!(complained(&rules(), true, proof), "example.com jane@example.net complaint lasting");
            assert_eq!(complained(&rules(), false, proof), "nothing", "{proof:?}");
        }
        assert_eq!(complained(&rules(), true, Proof::Unproven), "nothing");
    }

    #[test]
    fn scope_and_lifetimes_are_the_operators() {
        let by_stream = Rules { by: By::Stream, ..rules() };
        assert_eq!(after(&by_stream, Reason::UserUnknown, true, Proof::Named), "example.com/news jane@example.net user-unknown 90 days");
        let lifetimes = Lifetimes { user_unknown: Lifetime::Lasting, complaint: Lifetime::Never, ..Lifetimes::default() };
        let own = Rules { lifetimes, ..rules() };
        assert_eq!(after(&own, Reason::UserUnknown, true, Proof::Token), "example.com jane@example.net user-unknown lasting");
        assert_eq!(complained(&own, true, Proof::Token), "nothing");
        let off = Rules { enabled: false, ..rules() };
        assert_eq!(after(&off, Reason::UserUnknown, true, Proof::Named), "nothing");
    }
}
