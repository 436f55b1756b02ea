//! What a rule is, and what it finds. Pure.

use crate::dns::Resource;
use std::fmt;

/// One demand that can be met or not: a row of data. Its function stands beside it in `rules/`.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its short name, which never changes: what a script looks for.
    pub id: &'static str,
    /// Why it matters, in a sentence.
    pub why: &'static str,
    /// Who demands it, in the order of [`Provider::ALL`]; empty for what is merely wise.
    pub demands: &'static [Demand],
}

/// A provider that demands something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand {
    /// Who.
    pub by: Provider,
    /// Of whom.
    pub of: When,
    /// How it answers where that is not met, as its own pages list the codes. Empty where it says none.
    pub codes: &'static [&'static str],
}

/// The providers whose demands are known. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// Personal accounts: gmail.com, googlemail.com.
    Gmail,
    /// Yahoo and AOL.
    Yahoo,
    /// Outlook.com, Hotmail, Live.
    Microsoft,
    /// iCloud Mail.
    Apple,
}

/// Of whom something is demanded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum When {
    /// Of everyone.
    Always,
    /// Of bulk senders.
    Bulk,
}

/// What came of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// It is met.
    Ok,
    /// It is met, but something should be known or bettered.
    Warn,
    /// It cannot be said: the DNS did not answer, or something was not named.
    Unknown,
    /// It is not met.
    Fail,
}

/// What was found about one thing by one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which rule.
    pub rule: &'static Rule,
    /// The name or address it is about.
    pub about: String,
    /// What came of it.
    pub status: Status,
    /// What was seen: a sentence or a few, without the full stop.
    pub seen: String,
    /// What to do about it; `None` where nothing is to be done.
    pub remedy: Option<Remedy>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remedy {
    /// In a sentence, without the full stop.
    pub text: String,
    /// The records to paste, if any.
    pub records: Vec<Resource>,
}

/// A reply that awaits a sender who does not meet a demand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Who answers so.
    pub provider: Provider,
    /// `550 5.7.26` and the like.
    pub code: &'static str,
}

impl Rule {
    /// Who demands it of a sender who is one of bulk, or not.
    pub fn demanded_by(&self, bulk: bool) -> impl Iterator<Item = Provider> {
        self.asked(bulk).map(|demand| demand.by)
    }

    /// How they answer where it is not met.
    pub fn codes(&self, bulk: bool) -> impl Iterator<Item = Code> {
        self.asked(bulk).flat_map(|demand| demand.codes.iter().map(move |code| Code { provider: demand.by, code }))
    }

    fn asked(&self, bulk: bool) -> impl Iterator<Item = &'static Demand> {
        self.demands.iter().filter(move |demand| bulk || demand.of == When::Always)
    }
}

impl Rule {
    /// It is met.
    #[must_use]
    pub fn ok(&'static self, about: impl fmt::Display, seen: impl Into<String>) -> Finding {
        Finding { rule: self, about: about.to_string(), status: Status::Ok, seen: seen.into(), remedy: None }
    }

    /// It is met, but.
    #[must_use]
    pub fn warn(&'static self, about: impl fmt::Display, seen: impl Into<String>, remedy: Remedy) -> Finding {
        Finding { rule: self, about: about.to_string(), status: Status::Warn, seen: seen.into(), remedy: Some(remedy) }
    }

    /// It is not met.
    #[must_use]
    pub fn fail(&'static self, about: impl fmt::Display, seen: impl Into<String>, remedy: Remedy) -> Finding {
        Finding { rule: self, about: about.to_string(), status: Status::Fail, seen: seen.into(), remedy: Some(remedy) }
    }

    /// Nobody can say.
    #[must_use]
    pub fn unknown(&'static self, about: impl fmt::Display, seen: impl fmt::Display, remedy: Option<Remedy>) -> Finding {
        Finding { rule: self, about: about.to_string(), status: Status::Unknown, seen: seen.to_string(), remedy }
    }
}

impl Remedy {
    /// To be done by hand.
    #[must_use]
    pub fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), records: Vec::new() }
    }

    /// Records to paste.
    #[must_use]
    pub fn records(text: impl Into<String>, records: Vec<Resource>) -> Self {
        Self { text: text.into(), records }
    }
}

impl Provider {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 4] = [Self::Gmail, Self::Yahoo, Self::Microsoft, Self::Apple];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gmail => "Gmail",
            Self::Yahoo => "Yahoo",
            Self::Microsoft => "Microsoft",
            Self::Apple => "Apple",
        }
    }
}

impl Status {
    /// Its word in report and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Unknown => "unknown",
            Self::Fail => "fail",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
