//! Reads `config/shaping.toml`: what was written becomes [`Providers`], or every fault at once.

use super::provider::{Limits, Pattern, Provider, Providers, Reaction, Rule};
use super::tls::TlsDemand;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use toml::{Table, Value};

/// A fault of a shaping file: where, what was found, what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: found {found}, expected {expected}")]
pub struct Fault {
    /// The path of the key.
    pub key: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: &'static str,
}

/// The table that comes with the program, as it stands in `config/shaping.toml`.
pub const BUILT_IN: &str = include_str!("../../config/shaping.toml");

impl Providers {
    /// Reads a shaping file.
    ///
    /// # Errors
    /// All faults; unknown keys are faults.
    pub fn from_toml(text: &str) -> Result<Self, Vec<Fault>> {
        let table = match text.parse::<Table>() {
            Ok(table) => table,
            Err(error) => return Err(vec![Fault { key: "the file".to_owned(), found: error.to_string(), expected: "TOML" }]),
        };
        let mut faults = Vec::new();
        let mut file = Section { path: String::new(), left: table, faults: &mut faults };
        let providers = read(&mut file);
        file.end();
        if faults.is_empty() { Ok(providers) } else { Err(faults) }
    }
}

/// The built-in table.
impl Default for Providers {
    fn default() -> Self {
        #[allow(clippy::expect_used, reason = "the text is part of the program and a test reads it")]
        Self::from_toml(BUILT_IN).expect("the built-in shaping table is well formed")
    }
}

/// Used where [`BUILT_IN`] says nothing else; a smart host is somebody who expects us.
impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 50,
            host_connections_max: 50,
            messages_per_connection_max: 1_000,
            recipients_per_transaction_max: 100,
            messages_per_second_max: None,
            tls: TlsDemand::Opportunistic,
            ed25519: true,
            pause_max: Duration::from_mins(30),
            growth: Duration::from_secs(30),
            rules: vec![
                Rule { code: Some(421), enhanced: "4.4.2".parse().ok(), text: "".into(), then: Reaction::Ignore },
                Rule { code: None, enhanced: "4.3.2".parse().ok(), text: "".into(), then: Reaction::Slow { pause: Duration::from_secs(30) } },
                Rule { code: Some(421), enhanced: None, text: "".into(), then: Reaction::Slow { pause: Duration::from_secs(30) } },
            ],
        }
    }
}

fn read(file: &mut Section<'_>) -> Providers {
    let mut other = file.section("other");
    let generic = limits(&mut other, &Limits { rules: Vec::new(), ..Limits::default() });
    other.end();
    let mut list = file.section("provider");
    let names: Vec<String> = list.left.keys().cloned().collect();
    let mut known = Vec::new();
    for name in names {
        let mut section = list.section(&name);
        let mx = section.patterns("mx");
        let limits = Arc::new(limits(&mut section, &generic));
        section.end();
        known.push(Arc::new(Provider { name: name.as_str().into(), mx, limits }));
    }
    Providers { known, other: Arc::new(generic) }
}

fn limits(section: &mut Section<'_>, or: &Limits) -> Limits {
    let connections_max = section.number("connections_max", or.connections_max, 1..=10_000);
    let pause_max = section.number("pause_seconds_max", seconds(or.pause_max), 1..=86_400);
    let mut rules = section.rules(Duration::from_secs(u64::from(pause_max)));
    rules.extend(or.rules.iter().cloned());
    Limits {
        connections_max,
        host_connections_max: section.number("host_connections_max", or.host_connections_max.min(connections_max), 1..=10_000),
        messages_per_connection_max: section.number("messages_per_connection_max", or.messages_per_connection_max, 1..=1_000_000),
        recipients_per_transaction_max: section.number("recipients_per_transaction_max", or.recipients_per_transaction_max, 1..=10_000),
        messages_per_second_max: NonZeroU32::new(section.number("messages_per_second_max", or.messages_per_second_max.map_or(0, NonZeroU32::get), 0..=100_000)),
        tls: section.demand("tls", or.tls),
        ed25519: section.boolean("ed25519", or.ed25519),
        pause_max: Duration::from_secs(u64::from(pause_max)),
        growth: Duration::from_secs(u64::from(section.number("growth_seconds", seconds(or.growth), 1..=86_400))),
        rules,
    }
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

/// A table being read: what is taken is removed, what is left at the end is unknown.
struct Section<'f> {
    path: String,
    left: Table,
    faults: &'f mut Vec<Fault>,
}

impl Section<'_> {
    fn section(&mut self, key: &str) -> Section<'_> {
        let left = match self.left.remove(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(other) => {
                self.fault(key, &other, "a table");
                Table::new()
            }
        };
        Section { path: self.key(key), left, faults: self.faults }
    }

    fn number(&mut self, key: &str, default: u32, range: std::ops::RangeInclusive<u32>) -> u32 {
        let Some(value) = self.left.remove(key) else { return default };
        match value.as_integer().and_then(|number| u32::try_from(number).ok()).filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                self.fault(
                    key,
                    &value,
                    if *range.start() == 0 { "a whole number, 0 or more, that is not absurd" } else { "a whole number, 1 or more, that is not absurd" },
                );
                default
            }
        }
    }

    fn boolean(&mut self, key: &str, default: bool) -> bool {
        let Some(value) = self.left.remove(key) else { return default };
        value.as_bool().unwrap_or_else(|| {
            self.fault(key, &value, "true or false");
            default
        })
    }

    fn text(&mut self, key: &str) -> Option<String> {
        let value = self.left.remove(key)?;
        if let Value::String(text) = value {
            return Some(text);
        }
        self.fault(key, &value, "a text in quotes");
        None
    }

    fn demand(&mut self, key: &str, default: TlsDemand) -> TlsDemand {
        match self.text(key).as_deref() {
            None => default,
            Some("none") => TlsDemand::None,
            Some("opportunistic") => TlsDemand::Opportunistic,
            Some("required") => TlsDemand::Required,
            Some("verified") => TlsDemand::Verified,
            Some(other) => {
                self.fault(key, other, "\"none\", \"opportunistic\", \"required\" or \"verified\"");
                default
            }
        }
    }

    fn patterns(&mut self, key: &str) -> Vec<Pattern> {
        const EXPECTED: &str = "a list of host names such as \"*.example.net\"";
        let listed = self.left.remove(key);
        let Some(Value::Array(values)) = listed else {
            self.fault(key, listed.map_or_else(|| "nothing".to_owned(), |value| value.to_string()), EXPECTED);
            return Vec::new();
        };
        let mut patterns = Vec::new();
        for value in values {
            match value.as_str().and_then(Pattern::parse) {
                Some(pattern) => patterns.push(pattern),
                None => self.fault(key, &value, EXPECTED),
            }
        }
        patterns
    }

    fn rules(&mut self, pause_max: Duration) -> Vec<Rule> {
        let values = match self.left.remove("rules") {
            None => return Vec::new(),
            Some(Value::Array(values)) => values,
            Some(other) => {
                self.fault("rules", &other, "a list of tables");
                return Vec::new();
            }
        };
        let mut rules = Vec::new();
        for (number, value) in values.into_iter().enumerate() {
            let key = format!("rules[{number}]");
            self.left.insert(key.clone(), value);
            let mut section = self.section(&key);
            rules.extend(section.rule(pause_max));
            section.end();
        }
        rules
    }

    fn rule(&mut self, pause_max: Duration) -> Option<Rule> {
        let reply = self.text("reply").unwrap_or_default();
        let text = self.text("text").unwrap_or_default().to_ascii_lowercase();
        let mut rule = Rule { code: None, enhanced: None, text: text.into(), then: Reaction::Ignore };
        for word in reply.split_whitespace() {
            match (word.parse::<u16>(), word.parse()) {
                (Ok(code), _) if (400..600).contains(&code) && rule.code.is_none() => rule.code = Some(code),
                (_, Ok(enhanced)) if rule.enhanced.is_none() => rule.enhanced = Some(enhanced),
                _ => self.fault("reply", &reply, "a basic code from 400 to 599, an enhanced code, or both: \"421 4.7.28\""),
            }
        }
        if rule.code.is_none() && rule.enhanced.is_none() && rule.text.is_empty() {
            self.fault("reply", "nothing", "a reply or a text; this rule fits everything");
        }
        let then = self.text("then");
        let longest = seconds(pause_max);
        let pause = Duration::from_secs(u64::from(self.number("pause_seconds", longest.min(60), 1..=longest)));
        rule.then = match then.as_deref() {
            Some("ignore") => Reaction::Ignore,
            Some("fewer") => Reaction::Fewer,
            Some("slow") => Reaction::Slow { pause },
            Some("restart") => Reaction::Restart { pause },
            other => {
                self.fault("then", other.unwrap_or("nothing"), "\"ignore\", \"fewer\", \"slow\" or \"restart\"");
                return None;
            }
        };
        Some(rule)
    }

    fn key(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn fault(&mut self, key: &str, found: impl std::fmt::Display, expected: &'static str) {
        let key = self.key(key);
        self.faults.push(Fault { key, found: found.to_string(), expected });
    }

    fn end(mut self) {
        for (key, value) in std::mem::take(&mut self.left) {
            self.fault(&key, &value, "no such key; see config/shaping.toml for those there are");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_table_reads() {
        let providers = Providers::from_toml(BUILT_IN).unwrap_or_else(|faults| panic!("{faults:?}"));
        assert!(providers.known.len() >= 5);
        assert!(providers.known.iter().all(|provider| !provider.mx.is_empty()));
    }

    #[test]
    fn every_fault_is_found_at_once() {
        let faults = Providers::from_toml(
            "[other]\nconnections_max = 0\nspeed = 3\n[provider.x]\ntls = \"maybe\"\n[[provider.x.rules]]\nreply = \"hello\"\nthen = \"panic\"\npause_seconds = -1",
        )
        .unwrap_err();
        let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
        for key in [
            "other.connections_max",
            "other.speed",
            "provider.x.mx",
            "provider.x.tls",
            "provider.x.rules[0].reply",
            "provider.x.rules[0].then",
            "provider.x.rules[0].pause_seconds",
        ] {
            assert!(keys.contains(&key), "{key} is missing of {keys:?}");
        }
        assert_eq!(Providers::from_toml("no toml").unwrap_err()[0].expected, "TOML");
    }

    #[test]
    fn what_is_left_away_comes_from_other() {
        let providers = Providers::from_toml("[other]\nconnections_max = 7\n[provider.x]\nmx = [\"*.x.example\"]\nhost_connections_max = 3").unwrap();
        let limits = providers.place("mx.x.example").limits;
        assert_eq!((limits.connections_max, limits.host_connections_max), (7, 3));
    }
}
