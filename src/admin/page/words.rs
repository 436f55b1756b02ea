//! Numbers, times and reasons in plain words. Pure.

use super::matters::Urgency;
use super::view::{Act, Grade, Span, Stage, TripState};
use crate::mail::{Reason, Timestamp};
use std::time::Duration;

/// A value or a reference to one, to whatever depth templates make them.
pub trait Plain<T> {
    /// The value.
    fn plain(self) -> T;
}

impl<T: Copy> Plain<T> for T {
    fn plain(self) -> T {
        self
    }
}

impl<T: Copy> Plain<T> for &T {
    fn plain(self) -> T {
        *self
    }
}

impl<T: Copy> Plain<T> for &&T {
    fn plain(self) -> T {
        **self
    }
}

impl<T: Copy> Plain<T> for &&&T {
    fn plain(self) -> T {
        ***self
    }
}

/// The present, from which ages are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clock(pub Timestamp);

impl Clock {
    /// `4 min ago`, `in 12 min`.
    #[must_use]
    pub fn distance(self, at: impl Plain<Timestamp>) -> String {
        let at = at.plain();
        match (at.since(self.0), self.0.since(at)) {
            (ahead, behind) if ahead < JUST_NOW && behind < JUST_NOW => "just now".to_owned(),
            (ahead, Duration::ZERO) => format!("in {}", span(ahead)),
            (_, behind) => format!("{} ago", span(behind)),
        }
    }

    /// How long ago, without the word.
    #[must_use]
    pub fn age(self, at: impl Plain<Timestamp>) -> String {
        span(self.0.since(at.plain()))
    }

    /// `09:12`, with the day where that is another: `21 Nov 09:12`. UTC.
    #[must_use]
    pub fn short(self, at: impl Plain<Timestamp>) -> String {
        let at = at.plain();
        if at.unix_days() == self.0.unix_days() { hour_minute(at) } else { format!("{} {}", day(at), hour_minute(at)) }
    }

    /// `22 Nov 2026 09:12:07 UTC`.
    #[must_use]
    pub fn full(self, at: impl Plain<Timestamp>) -> String {
        full(at.plain())
    }

    /// For `datetime=`: RFC 3339.
    #[must_use]
    pub fn iso(self, at: impl Plain<Timestamp>) -> String {
        at.plain().to_rfc3339()
    }
}

/// `22 Nov 2026 09:12:07 UTC`.
fn full(at: Timestamp) -> String {
    let text = at.to_rfc3339();
    format!("{} {} {} UTC", day(at), &text[..4], &text[11..19])
}

/// `22 Nov`.
fn day(at: Timestamp) -> String {
    let text = at.to_rfc5322();
    text.get(5..11).unwrap_or_default().trim_start_matches('0').to_owned()
}

/// `09:12`, UTC.
#[must_use]
pub fn hour_minute(at: Timestamp) -> String {
    at.to_rfc3339().get(11..16).unwrap_or_default().to_owned()
}

/// In its largest unit: `40 s`, `12 min`, `3 h`, `2 h 30 min`, `5 days`.
#[must_use]
pub fn span(duration: impl Plain<Duration>) -> String {
    let seconds = duration.plain().as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..36_000 if !(seconds / 60).is_multiple_of(60) => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", thousands(seconds / 86_400)),
    }
}

/// `1,234`.
#[must_use]
pub fn thousands(number: impl Plain<u64>) -> String {
    let digits = number.plain().to_string();
    let first = digits.len() % 3;
    let mut parts: Vec<&str> = if first > 0 { vec![&digits[..first]] } else { Vec::new() };
    parts.extend((first..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    parts.join(",")
}

/// `1 recipient waits`, `2 recipients wait`.
#[must_use]
pub fn count(number: impl Plain<u64>, one: &str, many: &str) -> String {
    let number = number.plain();
    format!("{} {}", thousands(number), if number == 1 { one } else { many })
}

/// `1.4 GB`.
#[must_use]
pub fn octets(octets: u64) -> String {
    let units = [(1_000_000_000, "GB"), (1_000_000, "MB"), (1000, "kB")];
    let unit = units.into_iter().find(|(size, _)| octets >= *size);
    unit.map_or_else(|| format!("{octets} octets"), |(size, name)| format!("{}.{} {name}", thousands(octets / size), octets % size * 10 / size))
}

/// How a provider is called by people, where delivery's name for it is shorter.
#[must_use]
pub fn provider(name: &str) -> &str {
    let called = [
        ("google", "Google"),
        ("yahoo", "Yahoo"),
        ("microsoft", "Outlook.com"),
        ("microsoft365", "Microsoft 365"),
        ("apple", "Apple"),
        (super::queue::UNTRIED, "Not tried yet"),
    ];
    called.into_iter().find(|(known, _)| *known == name).map_or(name, |(_, called)| called)
}

/// With a capital and a full stop.
#[must_use]
pub fn sentence(text: &str) -> String {
    let mut letters = text.trim().chars();
    let first: String = letters.next().map(|letter| letter.to_uppercase().collect()).unwrap_or_default();
    let end = if text.trim_end().ends_with(['.', ':', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", letters.as_str())
}

/// What a reason means, in a sentence.
#[must_use]
pub fn reason(reason: impl Plain<Reason>) -> &'static str {
    match reason.plain() {
        Reason::UserUnknown => "There is no such address at the receiver.",
        Reason::MailboxFull => "The recipient's mailbox has no room.",
        Reason::DomainNotFound => "The recipient's domain does not exist or takes no mail.",
        Reason::Authentication => "The receiver does not believe who the mail is from: SPF, DKIM, DMARC or reverse DNS.",
        Reason::Reputation => "The receiver does not trust our address or domain.",
        Reason::RateLimited => "Too much or too fast for the receiver; later is well.",
        Reason::Policy => "A rule of the receiver forbids it.",
        Reason::Content => "The receiver does not like what the message contains.",
        Reason::TooLarge => "The message is too large for the receiver.",
        Reason::Expired => "It was tried for as long as mail is tried.",
        Reason::Network => "Something between the hosts, or at the receiver, did not work.",
        Reason::RelayDenied => "The next hop does not relay for us, or wants credentials.",
        Reason::Suspended => "The recipient's account is disabled or has moved.",
        Reason::NotUnderstood => "The receiver's words say nothing that is known here.",
    }
}

impl Grade {
    /// In a class of the style sheet.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Open => "open",
            Self::Bad => "bad",
        }
    }

    /// Of a finding, in a word or two.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "Met",
            Self::Warning => "Warning",
            Self::Open => "Unknown",
            Self::Bad => "To mend",
        }
    }
}

impl Urgency {
    /// In a class of the style sheet.
    #[must_use]
    pub const fn class(self) -> &'static str {
        match self {
            Self::Now => "bad",
            Self::Soon => "warning",
            Self::Know => "open",
        }
    }
}

impl TripState {
    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "Waiting",
            Self::Held => "Held",
            Self::Quarantined => "Quarantined",
            Self::Delivered => "Delivered",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    /// How that is to be taken.
    #[must_use]
    pub const fn grade(self) -> Grade {
        match self {
            Self::Waiting | Self::Held => Grade::Warning,
            Self::Quarantined | Self::Failed => Grade::Bad,
            Self::Delivered => Grade::Good,
            Self::Cancelled => Grade::Open,
        }
    }
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Self; 3] = [Self::None, Self::Quarantine, Self::Reject];

    /// As DMARC writes it.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        }
    }

    /// What it comes to.
    #[must_use]
    pub const fn means(self) -> &'static str {
        match self {
            Self::None => "receivers only report",
            Self::Quarantine => "mail that fails goes to spam",
            Self::Reject => "mail that fails is refused",
        }
    }
}

impl Span {
    /// In words, after "in the last".
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

impl Act {
    /// On its button.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Retry => "Try now",
            Self::Hold => "Hold",
            Self::Release => "Release",
            Self::Cancel => "Cancel",
        }
    }

    /// What it does, beside its button.
    #[must_use]
    pub const fn means(self) -> &'static str {
        match self {
            Self::Retry => "Its waiting recipients are tried at once, unless their provider has a pause.",
            Self::Hold => "Nothing is tried until you release it; it does not expire meanwhile.",
            Self::Release => "What is held goes on as before.",
            Self::Cancel => "Its waiting recipients never get it, and the sender is told. This cannot be undone.",
        }
    }

    /// After it was done to so many recipients.
    #[must_use]
    pub fn done(self, recipients: u64) -> String {
        let whom = count(recipients, "recipient", "recipients");
        match self {
            _ if recipients == 0 => "Nothing was changed: no recipient of this mail waits in that way any more.".to_owned(),
            Self::Retry => format!("{whom} will be tried now."),
            Self::Hold => format!("{whom} held. Nothing is tried until you release it."),
            Self::Release => format!("{whom} released."),
            Self::Cancel => format!("{whom} cancelled."),
        }
    }
}

/// Nearer than this is now.
const JUST_NOW: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_read_as_people_say_them() {
        let clock = Clock(Timestamp::from_unix_millis(1_795_310_325_123)); // 2026-11-22T01:18:45Z
        let of = |seconds: i64| clock.distance(Timestamp::from_unix_seconds(1_795_310_325 + seconds));
        assert_eq!(of(0), "just now");
        assert_eq!(of(-59), "59 s ago");
        assert_eq!(of(-60), "1 min ago");
        assert_eq!(of(61), "1 min ago".replace("1 min ago", "in 1 min"));
        assert_eq!(of(-9000), "2 h 30 min ago");
        assert_eq!(of(-86_400), "24 h ago");
        assert_eq!(of(-432_000), "5 days ago");
        assert_eq!(clock.short(Timestamp::from_unix_seconds(1_795_310_325 - 86_400)), "21 Nov 01:18");
        assert_eq!(clock.short(clock.0), "01:18");
        assert_eq!(clock.full(clock.0), "22 Nov 2026 01:18:45 UTC");
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands).join(" "), "0 999 1,000 1,234,567");
        assert_eq!(count(1_u64, "mail is", "mails are"), "1 mail is");
        assert_eq!(count(0_u64, "mail is", "mails are"), "0 mails are");
        assert_eq!([12, 1500, 2_340_000, 1_400_000_000].map(octets).join(" "), "12 octets 1.5 kB 2.3 MB 1.4 GB");
    }
}
