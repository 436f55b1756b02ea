//! Reads `config/reasons.toml`: what was written becomes a [`Table`], or every fault at once.

use super::phrase::Phrase;
use super::table::{Pattern, Provider, Rule, Table};
use crate::mail::Reason;
use toml::{Table as Toml, Value};

/// The table that comes with the program, as it stands in `config/reasons.toml`.
pub const BUILT_IN: &str = include_str!("../../config/reasons.toml");

/// A fault of a file of reasons: where, what was found, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: found {found}, expected {expected}")]
pub struct Fault {
    /// The path of the key; rules are counted from 1.
    pub place: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: &'static str,
}

impl Table {
    /// Reads a file of reasons.
    ///
    /// # Errors
    /// All faults; unknown keys are faults.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Fault>> {
        let mut left = text.parse::<Toml>().map_err(|error| vec![Fault { place: "the file".to_owned(), found: error.to_string(), expected: "TOML" }])?;
        let mut faults = Vec::new();
        let mut providers = Vec::new();
        match left.remove("provider") {
            None => {}
            Some(Value::Table(tables)) => {
                for (name, value) in tables {
                    let place = format!("provider.{name}");
                    let mut entry = Entry::of(place, value, &mut faults);
                    let provider = Provider { name: name.as_str().into(), hosts: entry.hosts(), text: entry.phrases("text") };
                    if provider.hosts.is_empty() && provider.text.is_empty() {
                        entry.fault("hosts", "nothing", "names of its hosts, or words of its replies in \"text\"");
                    }
                    entry.end();
                    providers.push(provider);
                }
            }
            Some(other) => faults.push(fault("provider", &other, "tables, as in [provider.google]")),
        }
        let rules = match left.remove("rule") {
            None => Vec::new(),
            Some(Value::Array(list)) => {
                let read = |(value, number): (Value, usize)| rule(&mut Entry::of(format!("rule {number}"), value, &mut faults));
                list.into_iter().zip(1..).filter_map(read).collect()
            }
            Some(other) => {
                faults.push(fault("rule", &other, "a list, each [[rule]]"));
                Vec::new()
            }
        };
        faults.extend(left.iter().map(|(key, value)| fault(key, value, "nothing: the key is unknown; [provider.NAME] and [[rule]] are known")));
        if rules.len() > RULES_MAX {
            faults.push(Fault { place: "rule".to_owned(), found: format!("{} rules", rules.len()), expected: "at most 5000" });
        }
        if faults.is_empty() { Ok(Self { providers, rules }) } else { Err(faults) }
    }
}

/// The built-in table.
impl Default for Table {
    fn default() -> Self {
        #[allow(clippy::expect_used, reason = "the text is part of the program and a test reads it")]
        Self::from_toml(BUILT_IN).expect("the built-in reasons are well formed")
    }
}

fn rule(entry: &mut Entry<'_>) -> Option<Rule> {
    let reason = match entry.take("reason") {
        Some(Value::String(word)) => word.parse::<Reason>().map_err(|()| entry.fault("reason", &format!("\"{word}\""), REASONS)).ok(),
        other => {
            let found = other.map_or_else(|| "nothing".to_owned(), |value| value.to_string());
            entry.fault("reason", &found, REASONS);
            None
        }
    };
    let providers: Vec<Box<str>> = entry.words("provider").iter().map(|word| word.as_str().into()).collect();
    let replies: Vec<Pattern> = {
        let words = entry.words("reply");
        let read = |word: &String| {
            let pattern = Pattern::read(word);
            if pattern.is_none() {
                entry.fault("reply", &format!("\"{word}\""), REPLY);
            }
            pattern
        };
        words.iter().filter_map(read).collect()
    };
    let (text, unless) = (entry.phrases("text"), entry.phrases("unless"));
    let permanent = match entry.take("permanent") {
        None => None,
        Some(Value::Boolean(value)) => Some(value),
        Some(other) => {
            entry.fault("permanent", &other.to_string(), "true or false");
            None
        }
    };
    let doctor = match entry.take("doctor") {
        None => None,
        Some(Value::String(word)) if DOCTOR.contains(&word.as_str()) => DOCTOR.into_iter().find(|known| **known == *word),
        Some(other) => {
            entry.fault("doctor", &other.to_string(), "one of \"spf\", \"dkim\", \"auth\", \"dmarc\", \"alignment\", \"ptr\", \"tls\", \"reputation\"");
            None
        }
    };
    if text.is_empty() && replies.is_empty() {
        entry.fault("text", "nothing", "words of the reply in \"text\", codes in \"reply\", or both");
    } else if text.is_empty() && replies.iter().any(|pattern| pattern.basic.is_none()) {
        entry.fault("reply", "an enhanced code alone", "a basic code with it, as in \"5xx x.1.1\", or words in \"text\": receivers differ in what it means");
    }
    entry.end();
    Some(Rule { providers, replies, text, unless, reason: reason?, permanent, doctor })
}

/// A table being read: what is taken is removed, what is left at the end is unknown.
struct Entry<'f> {
    place: String,
    left: Toml,
    faults: &'f mut Vec<Fault>,
}

impl<'f> Entry<'f> {
    fn of(place: String, value: Value, faults: &'f mut Vec<Fault>) -> Self {
        match value {
            Value::Table(left) => Self { place, left, faults },
            other => {
                faults.push(fault(&place, &other, "a table"));
                Self { place, left: Toml::new(), faults }
            }
        }
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.left.remove(key)
    }

    fn fault(&mut self, key: &str, found: &str, expected: &'static str) {
        self.faults.push(Fault { place: format!("{}.{key}", self.place), found: found.to_owned(), expected });
    }

    /// One text or a list of them.
    fn words(&mut self, key: &str) -> Vec<String> {
        match self.take(key) {
            None => Vec::new(),
            Some(Value::String(word)) => vec![word],
            Some(Value::Array(list)) if !list.is_empty() && list.iter().all(Value::is_str) => {
                list.into_iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
            }
            Some(other) => {
                self.fault(key, &other.to_string(), "a text, or a list of texts");
                Vec::new()
            }
        }
    }

    fn phrases(&mut self, key: &str) -> Vec<Phrase> {
        let words = self.words(key);
        let mut phrases = Vec::with_capacity(words.len());
        for word in words {
            match Phrase::parse(&word) {
                Ok(phrase) => phrases.push(phrase),
                Err(error) => self.fault(key, &format!("\"{word}\", {error}"), "words, with `*` for up to 80 characters"),
            }
        }
        phrases
    }

    fn hosts(&mut self) -> Vec<Box<str>> {
        let words = self.words("hosts");
        words.iter().map(|word| word.strip_prefix('*').unwrap_or(word).to_ascii_lowercase().into()).collect()
    }

    fn end(&mut self) {
        let left = std::mem::take(&mut self.left);
        let place = &self.place;
        self.faults.extend(left.iter().map(|(key, value)| fault(&format!("{place}.{key}"), value, "nothing: the key is unknown")));
    }
}

impl Pattern {
    /// `550`, `5xx`, `x.7.1` or both, in this order.
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace();
        let (first, second) = (words.next()?, words.next());
        if words.next().is_some() {
            return None;
        }
        match (first.contains('.'), second) {
            (true, None) => Some(Self { basic: None, enhanced: Some(enhanced(first)?) }),
            (false, None) => Some(Self { basic: Some(basic(first)?), enhanced: None }),
            (false, Some(second)) => Some(Self { basic: Some(basic(first)?), enhanced: Some(enhanced(second)?) }),
            (true, Some(_)) => None,
        }
    }
}

/// A digit, or `x` for any.
fn basic(text: &str) -> Option<[Option<u8>; 3]> {
    let [a, b, c] = text.as_bytes() else { return None };
    let digit = |b: u8| match b {
        b'x' => Some(None),
        b'0'..=b'9' => Some(Some(b - b'0')),
        _ => None,
    };
    Some([digit(*a).filter(|a| matches!(a, None | Some(4 | 5)))?, digit(*b)?, digit(*c)?])
}

fn enhanced(text: &str) -> Option<[Option<u16>; 3]> {
    let mut parts = text.split('.');
    let mut number = || match parts.next()? {
        "x" => Some(None),
        digits if digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().ok().map(Some),
        _ => None,
    };
    let numbers = [number()?, number()?, number()?];
    parts.next().is_none().then_some(numbers)
}

fn fault(place: &str, found: &Value, expected: &'static str) -> Fault {
    Fault { place: place.to_owned(), found: found.to_string(), expected }
}

const REASONS: &str = "\"user-unknown\", \"mailbox-full\", \"domain-not-found\", \"authentication\", \"reputation\", \"rate-limited\", \"policy\", \"content\", \
    \"too-large\", \"expired\", \"network\", \"relay-denied\", \"suspended\" or \"not-understood\"";
const REPLY: &str = "a basic code, an enhanced one, or both, with x for any digit or number: \"550\", \"5xx x.1.1\", \"421 4.7.28\"";
/// Rules of `doctor`, as the log's field `rule` names them.
const DOCTOR: [&str; 8] = ["spf", "dkim", "auth", "dmarc", "alignment", "ptr", "tls", "reputation"];
/// Rules of a file.
const RULES_MAX: usize = 5000;
