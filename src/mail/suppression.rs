//! Addresses that are not written to any more: what an entry of the suppression list says, and for whom it counts.
//!
//! An entry counts for one author domain, or for one stream of it: what one sender learned of an address is no other sender's business,
//! and nobody can silence an address for somebody else. Whether a failure or a complaint makes an entry is decided in [`rules`].
//!
//! # How addresses are compared
//!
//! As the check of a bounce token does it ([`Mailbox::folded`]): the local part without regard to the case of ASCII letters, for hosts
//! fold it in what they write, and no host of note gives two people addresses that differ in nothing else; by its meaning, so
//! `"jane"@example.net` is `jane@example.net`; the domain as A-labels. Nothing else is folded: `jane+news@example.net` is
//! another address than `jane@example.net`, since what a host makes of a `+` or a dot is its own affair (RFC 5321 §2.3.11).

use super::{Domain, EnhancedCode, Evidence, MailId, Mailbox, Reason, Refusal, Stream, Timestamp};
use std::fmt;
use std::str::FromStr;

pub mod rules;

pub use rules::{By, Complaint, Failure, Lifetime, Lifetimes, Proof, Rules};

/// An address that is not written to, for one author domain or one stream of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// For whose mail.
    pub scope: Scope,
    /// Which address; compared by [`Mailbox::folded`].
    pub recipient: Mailbox,
    /// Why.
    pub why: Why,
    /// Since when.
    pub since: Timestamp,
    /// Until when; `None`: until a person lifts it.
    pub expires_at: Option<Timestamp>,
    /// The mail that led to it.
    pub message: Option<MailId>,
    /// The words of the receiver, or of the person.
    pub detail: String,
}

/// For whose mail an entry counts. Printed `example.com`, or `example.com/news` for a stream of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope {
    /// The domain of the author, or of the forwarder.
    pub author_domain: Domain,
    /// One stream of it; `None`: all of them.
    pub stream: Option<Stream>,
}

/// Why an address is not written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Why {
    /// Mail to it failed for good, for this reason.
    Failed(Reason),
    /// Its owner called mail of ours unwanted (RFC 5965).
    Complaint,
    /// A person said so.
    Manual,
}

impl Suppression {
    /// Whether it still counts at `now`.
    #[must_use]
    pub fn counts_at(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }

    /// The words of the receiver or the person, as they are kept: on one line, at most [`DETAIL_CHARACTERS_MAX`] characters.
    #[must_use]
    pub fn words(text: &str) -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(DETAIL_CHARACTERS_MAX).collect()
    }

    /// Why a recipient was not written to, for its outcome and the notice: reason, day, and how it is lifted.
    #[must_use]
    pub fn evidence(&self, at: Timestamp) -> Evidence {
        let Self { scope, recipient, why, detail, .. } = self;
        let said = if detail.is_empty() { String::new() } else { format!("; what was said then: {detail}") };
        let text = format!(
            "not sent: {recipient} is on the suppression list of {scope} since {} ({why}: {}), {}; if the address works again, the operator of this mail system \
             lifts that with: postseal suppression remove {recipient} --scope {scope}{said}",
            self.since_day(),
            why.in_words(),
            self.until()
        );
        Evidence { status: why.status(), reply: None, text, remote: None, tls: None, unknown_end: false, at }
    }

    /// The reply to a RCPT, where an identity wants it refused.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let text = format!(
            "<{}> is on the suppression list of {} since {} ({}: {}), {}; ask the operator of this relay to lift it if the address works again",
            self.recipient,
            self.scope,
            self.since_day(),
            self.why,
            self.why.in_words(),
            self.until()
        );
        Refusal::submitter(550, self.why.status(), text)
    }

    /// Until when, in words: `until 2026-11-22`, or `until it is lifted`.
    #[must_use]
    pub fn until(&self) -> String {
        self.expires_at.map_or_else(|| "until it is lifted".to_owned(), |end| format!("until {}", day(end)))
    }

    /// The day it began, `2026-11-22`, UTC.
    #[must_use]
    pub fn since_day(&self) -> String {
        day(self.since)
    }
}

fn day(at: Timestamp) -> String {
    at.to_rfc3339().chars().take(10).collect()
}

impl Scope {
    /// All streams of an author domain.
    #[must_use]
    pub const fn domain(author_domain: Domain) -> Self {
        Self { author_domain, stream: None }
    }

    /// Whether it takes in mail of this author domain and stream.
    #[must_use]
    pub fn takes_in(&self, author_domain: &Domain, stream: &Stream) -> bool {
        self.author_domain == *author_domain && self.stream.as_ref().is_none_or(|only| only == stream)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.author_domain)?;
        self.stream.as_ref().map_or(Ok(()), |stream| write!(f, "/{stream}"))
    }
}

/// Why a text is no scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no scope; expected an author domain, or one with a stream of it, as in example.com or example.com/news")]
pub struct ScopeError(String);

impl FromStr for Scope {
    type Err = ScopeError;
    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let fault = || ScopeError(text.chars().take(80).collect());
        let (domain, stream) = text.split_once('/').map_or((text, None), |(domain, stream)| (domain, Some(stream)));
        let author_domain = Domain::parse(domain).map_err(|_| fault())?;
        let sound = |stream: &&str| !stream.is_empty() && stream.chars().count() <= STREAM_CHARACTERS_MAX && !stream.chars().any(char::is_control);
        match stream {
            None => Ok(Self::domain(author_domain)),
            Some(stream) => Some(stream).filter(sound).map(|stream| Self { author_domain, stream: Some(Stream::new(stream)) }).ok_or_else(fault),
        }
    }
}

impl Why {
    /// Every one that an entry can have.
    #[must_use]
    pub fn all() -> Vec<Self> {
        Reason::ALL.into_iter().map(Self::Failed).chain([Self::Complaint, Self::Manual]).collect()
    }

    /// As events, files and the API write it: a word of [`Reason`], `complaint` or `manual`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failed(reason) => reason.as_str(),
            Self::Complaint => "complaint",
            Self::Manual => "manual",
        }
    }

    /// The status of a recipient who is not written to for this: what it was then, so that an application which sorts notices by status takes
    /// it as it took the first; 5.7.1 where no receiver refused anything (RFC 3463 §3).
    #[must_use]
    pub const fn status(self) -> EnhancedCode {
        match self {
            Self::Failed(Reason::UserUnknown) => EnhancedCode::new(5, 1, 1),
            Self::Failed(Reason::DomainNotFound) => EnhancedCode::new(5, 1, 2),
            Self::Failed(Reason::Suspended) => EnhancedCode::new(5, 2, 1),
            Self::Failed(Reason::MailboxFull) => EnhancedCode::new(5, 2, 2),
            Self::Failed(_) | Self::Complaint | Self::Manual => EnhancedCode::new(5, 7, 1),
        }
    }

    /// Why mail failed, where that led to it.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Failed(reason) => Some(reason),
            Self::Complaint | Self::Manual => None,
        }
    }

    /// For a person who reads a notice: what happened.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Failed(Reason::UserUnknown) => "mail to it was refused, as there is no such address",
            Self::Failed(Reason::Suspended) => "mail to it was refused, as the account is disabled",
            Self::Failed(Reason::MailboxFull) => "mail to it was refused, as the mailbox is full",
            Self::Failed(Reason::DomainNotFound) => "its domain does not exist or takes no mail",
            Self::Failed(_) => "mail to it failed for good",
            Self::Complaint => "its owner reported mail as unwanted",
            Self::Manual => "it was put on the list by hand",
        }
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is no reason of an entry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no reason; expected one of manual, complaint, user-unknown, suspended, mailbox-full, domain-not-found, or another of config/reasons.toml")]
pub struct WhyError(String);

/// The exact word.
impl FromStr for Why {
    type Err = WhyError;
    fn from_str(text: &str) -> Result<Self, WhyError> {
        Self::all().into_iter().find(|why| why.as_str() == text).ok_or_else(|| WhyError(text.chars().take(40).collect()))
    }
}

/// Characters that are kept of a receiver's or a person's words.
pub const DETAIL_CHARACTERS_MAX: usize = 500;
/// Characters of a stream's name in a scope.
const STREAM_CHARACTERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_and_reasons_are_read_as_they_are_written() {
        for text in ["example.com", "example.com/news", "xn--bcher-kva.example/a b"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        assert_eq!("Bücher.Example/news".parse::<Scope>().unwrap().to_string(), "xn--bcher-kva.example/news");
        for text in ["", "/news", "example.com/", "exa mple.com", "example.com/a\nb", &format!("example.com/{}", "a".repeat(65))] {
            assert!(text.parse::<Scope>().is_err(), "{text:?}");
        }
        for why in Why::all() {
            assert_eq!(why.to_string().parse(), Ok(why));
        }
        assert!("unwanted".parse::<Why>().unwrap_err().to_string().starts_with("\"unwanted\" is no reason; expected one of manual,"));
    }

    #[test]
    fn a_scope_takes_in_its_own_streams_and_no_other_domain() {
        let (domain, other) = (Domain::parse("example.com").unwrap(), Domain::parse("news.example.com").unwrap());
        let (news, bills) = (Stream::new("news"), Stream::new("bills"));
        let (whole, part): (Scope, Scope) = ("example.com".parse().unwrap(), "example.com/news".parse().unwrap());
        assert!(whole.takes_in(&domain, &news) && whole.takes_in(&domain, &bills) && !whole.takes_in(&other, &news));
        assert!(part.takes_in(&domain, &news) && !part.takes_in(&domain, &bills));
    }

    #[test]
    fn addresses_are_compared_without_the_case_of_their_ascii_letters_and_by_nothing_else() {
        let folded = |text: &str| Mailbox::parse(text).unwrap().folded();
        for (a, b, same) in [
            ("Jane.Doe@Example.NET", "jane.doe@example.net", true),
            ("\"jane\"@example.net", "jane@example.net", true),
            ("\"Jane Doe\"@example.net", "\"jane doe\"@example.net", true),
            ("jane@bücher.example", "JANE@xn--bcher-kva.example", true),
            ("jane+news@example.net", "jane@example.net", false),
            ("j.ane@gmail.com", "jane@gmail.com", false),
            ("ÄRGER@example.net", "ärger@example.net", false),
            ("jane@example.net", "jane@mail.example.net", false),
            ("a@[IPv6:2001:DB8::1]", "A@[IPv6:2001:db8::1]", true),
        ] {
            assert_eq!(folded(a) == folded(b), same, "{a} {b}");
        }
    }

    #[test]
    fn a_notice_names_reason_and_day_and_how_it_is_lifted() {
        let entry = |why, expires_at, detail: &str| Suppression {
            scope: "example.com".parse().unwrap(),
            recipient: Mailbox::parse("jane@example.net").unwrap(),
            why,
            since: Timestamp::from_unix_seconds(1_795_310_325),
            expires_at,
            message: None,
            detail: detail.to_owned(),
        };
        let failed = entry(Why::Failed(Reason::UserUnknown), Some(Timestamp::from_unix_seconds(1_803_086_325)), "550 5.1.1 no such user");
        let evidence = failed.evidence(Timestamp::EPOCH);
        assert_eq!(evidence.status.to_string(), "5.1.1");
        assert_eq!(
            evidence.text,
            "not sent: jane@example.net is on the suppression list of example.com since 2026-11-22 (user-unknown: mail to it was refused, as there is no such \
             address), until 2027-02-20; if the address works again, the operator of this mail system lifts that with: postseal suppression remove \
             jane@example.net --scope example.com; what was said then: 550 5.1.1 no such user"
        );
        let complaint = entry(Why::Complaint, None, "");
        assert_eq!(
            complaint.refusal().to_string(),
            "550 5.7.1 <jane@example.net> is on the suppression list of example.com since 2026-11-22 (complaint: its owner reported mail as unwanted), \
             until it is lifted; ask the operator of this relay to lift it if the address works again"
        );
        assert!(complaint.counts_at(Timestamp::FAR_FUTURE) && !failed.counts_at(Timestamp::from_unix_seconds(1_803_086_325)));
    }

    #[test]
    fn words_stay_on_their_line_and_within_their_bound() {
        assert_eq!(Suppression::words("550 no\r\nsuch user"), "550 no  such user");
        assert_eq!(Suppression::words(&"ä".repeat(DETAIL_CHARACTERS_MAX + 1)).chars().count(), DETAIL_CHARACTERS_MAX);
    }
}
