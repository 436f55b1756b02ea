//! The ledger of a domain, `keys.toml`: where each of its keys stands, since when, and how it came there. Pure but for [`Ledger::read`];
//! [`OpenLedger`](super::OpenLedger) changes it.
//!
//! ```toml
//! ["ps202611a"]
//! algorithm = "rsa"
//! state = "published"
//! since = "2026-11-22T01:18:45.000Z"
//! record_ttl_seconds = 3600
//! servers."ns1.example.net" = { shown_since = "2026-11-22T01:20:00.000Z" }
//! history = [
//!     { at = "2026-11-22T01:18:44.000Z", state = "created", why = "key rotate" },
//!     { at = "2026-11-22T01:18:45.000Z", state = "published", why = "RFC 2136 update of example.com at 192.0.2.53" },
//! ]
//! ```
//!
//! Entries are never removed, so that no selector is used twice. Files without history, servers and TTL read as well.

use super::change::adopt;
use super::store::refuse_writable_by_others;
use super::{Algorithm, KeyFault, KeyProblem, State};
use crate::mail::{Domain, Selector, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

/// Where each key of a domain stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    entries: BTreeMap<Selector, Entry>,
}

/// What a ledger knows of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its kind.
    pub algorithm: Algorithm,
    /// Where it stands.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// How it came there, the oldest first; at most [`HISTORY_MAX`] steps, those after the first are forgotten first. Empty in files
    /// of old.
    pub history: Vec<Past>,
    /// What the authoritative servers were seen to do with its record, by the server's name; kept for rotation.
    pub servers: BTreeMap<String, ServerMemory>,
    /// How long resolvers may keep its record, as it was last published.
    pub record_ttl: Option<Duration>,
    /// How long caches may keep a wrong record that was seen at its name: the longest of all.
    pub wrong_ttl: Option<Duration>,
}

/// One step of a key's life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// When.
    pub at: Timestamp,
    /// Into which state.
    pub state: State,
    /// Why, or what was seen; one line.
    pub why: String,
}

/// What one authoritative server was seen to do with a record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerMemory {
    /// It has shown the right record at every look since.
    pub shown_since: Option<Timestamp>,
    /// It has not answered since.
    pub silent_since: Option<Timestamp>,
    /// It was last asked then, or a little later.
    pub asked_at: Option<Timestamp>,
}

impl Ledger {
    /// Reads the ledger of a domain below `keys` without its lock: what is there is whole. None is as good as an empty one. It shows
    /// what [`Ledger::open`] would show.
    ///
    /// # Errors
    /// The file or its directory is not in order.
    pub fn read(keys: &Path, domain: &Domain) -> Result<Self, KeyFault> {
        let directory = keys.join(domain.as_str());
        let mut ledger = Self::read_in(&directory)?;
        if directory.is_dir() {
            adopt(&directory, &mut ledger)?;
        }
        Ok(ledger)
    }

    /// What stands there, of the directory of a domain.
    pub(super) fn read_in(directory: &Path) -> Result<Self, KeyFault> {
        let path = directory.join(STATE_FILE);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(KeyFault::io(&path, &error)),
        };
        refuse_writable_by_others(&path, &file)?;
        let mut text = String::new();
        file.take(LEDGER_OCTETS_MAX).read_to_string(&mut text).map_err(|error| KeyFault::io(&path, &error))?;
        Self::parse(&text).map_err(|why| KeyFault::new(&path, KeyProblem::State(why)))
    }

    /// From the text of `keys.toml`.
    ///
    /// # Errors
    /// What is wrong with it, and what was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let raw: BTreeMap<String, RawEntry> = toml::from_str(text).map_err(|error| error.to_string())?;
        let mut entries = BTreeMap::new();
        for (selector, raw) in raw {
            let name = selector_of(&selector).ok_or_else(|| format!("\"{selector}\" is no selector; expected letters, digits and hyphens"))?;
            if entries.insert(name, entry(&selector, raw)?).is_some() {
                return Err(format!("{selector} stands there twice; selectors do not tell upper from lower case"));
            }
        }
        Ok(Self { entries })
    }

    /// By selector, those of removed keys too.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<Selector, Entry> {
        &self.entries
    }

    pub(super) fn insert(&mut self, selector: Selector, entry: Entry) {
        self.entries.insert(selector, entry);
    }

    pub(super) fn get_mut(&mut self, selector: &Selector) -> Option<&mut Entry> {
        self.entries.get_mut(selector)
    }
}

impl Entry {
    /// One whose life begins in `state`.
    #[must_use]
    pub fn new(algorithm: Algorithm, state: State, why: &str, at: Timestamp) -> Self {
        let mut entry = Self { algorithm, state, since: at, history: Vec::new(), servers: BTreeMap::new(), record_ttl: None, wrong_ttl: None };
        entry.enter(state, why, at);
        entry
    }

    /// Into a state, with the reason; what the servers did is forgotten once the record is another.
    pub(super) fn enter(&mut self, state: State, why: &str, at: Timestamp) {
        self.state = state;
        self.since = at;
        self.history.push(Past { at, state, why: one_line(why) });
        while self.history.len() > HISTORY_MAX {
            self.history.remove(1);
        }
        if matches!(state, State::Revoked | State::Removed) {
            self.servers.clear();
            self.wrong_ttl = None;
        }
    }

    /// When it came to be: the first step that is known.
    #[must_use]
    pub fn born(&self) -> Timestamp {
        self.history.first().map_or(self.since, |past| past.at)
    }

    /// When it last began to sign.
    #[must_use]
    pub fn active_since(&self) -> Option<Timestamp> {
        let step = self.history.iter().rev().find(|past| past.state == State::Active);
        step.map(|past| past.at).or_else(|| (self.state == State::Active).then_some(self.since))
    }
}

/// As `keys.toml` has it.
impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("# Where each key of this domain stands. Kept by postseal; selectors are never used twice, so entries stay.\n")?;
        for (selector, entry) in &self.entries {
            let Entry { algorithm, state, since, history, servers, record_ttl, wrong_ttl } = entry;
            let since = since.to_rfc3339();
            write!(f, "\n[\"{selector}\"]\nalgorithm = \"{algorithm}\"\nstate = \"{state}\"\nsince = \"{since}\"\n")?;
            for (name, ttl) in [("record_ttl_seconds", record_ttl), ("wrong_ttl_seconds", wrong_ttl)] {
                if let Some(ttl) = ttl {
                    writeln!(f, "{name} = {}", ttl.as_secs())?;
                }
            }
            for (server, memory) in servers {
                let times = [("shown_since", memory.shown_since), ("silent_since", memory.silent_since), ("asked_at", memory.asked_at)];
                let known = times.into_iter().filter_map(|(name, at)| Some(format!("{name} = \"{}\"", at?.to_rfc3339())));
                writeln!(f, "servers.{} = {{ {} }}", quoted(server), known.collect::<Vec<_>>().join(", "))?;
            }
            if !history.is_empty() {
                f.write_str("history = [\n")?;
                for Past { at, state, why } in history {
                    writeln!(f, "    {{ at = \"{}\", state = \"{state}\", why = {} }},", at.to_rfc3339(), quoted(why))?;
                }
                f.write_str("]\n")?;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    algorithm: String,
    state: String,
    since: String,
    #[serde(default)]
    history: Vec<RawPast>,
    #[serde(default)]
    servers: BTreeMap<String, RawMemory>,
    record_ttl_seconds: Option<u64>,
    wrong_ttl_seconds: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPast {
    at: String,
    state: String,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMemory {
    shown_since: Option<String>,
    silent_since: Option<String>,
    asked_at: Option<String>,
}

fn entry(selector: &str, raw: RawEntry) -> Result<Entry, String> {
    let state = |text: &str| text.parse().map_err(|()| format!("state \"{text}\" of {selector}; expected one of {}", State::names()));
    let time = |name: &str, text: &str| parse_time(text).ok_or_else(|| format!("{name} \"{text}\" of {selector}; expected 2026-11-22T01:18:45Z"));
    let maybe = |name: &str, text: Option<String>| text.map(|text| time(name, &text)).transpose();
    let algorithm = raw.algorithm.parse().map_err(|()| format!("algorithm \"{}\" of {selector}; expected rsa or ed25519", raw.algorithm))?;
    let past = |past: RawPast| Ok(Past { at: time("at", &past.at)?, state: state(&past.state)?, why: past.why });
    let memory = |(server, memory): (String, RawMemory)| {
        let (shown_since, silent_since) = (maybe("shown_since", memory.shown_since)?, maybe("silent_since", memory.silent_since)?);
        let asked_at = maybe("asked_at", memory.asked_at)?;
        Ok((server, ServerMemory { shown_since, silent_since, asked_at }))
    };
    Ok(Entry {
        algorithm,
        state: state(&raw.state)?,
        since: time("since", &raw.since)?,
        history: raw.history.into_iter().map(past).collect::<Result<_, String>>()?,
        servers: raw.servers.into_iter().map(memory).collect::<Result<_, String>>()?,
        record_ttl: raw.record_ttl_seconds.map(Duration::from_secs),
        wrong_ttl: raw.wrong_ttl_seconds.map(Duration::from_secs),
    })
}

/// A selector as it is compared: lower case. `None` for what is none: labels of letters, digits and hyphens (RFC 6376 §3.1), and the
/// underscore that some use; unlike a domain, one may end in a number.
pub fn selector_of(text: &str) -> Option<Selector> {
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    (text.len() <= SELECTOR_OCTETS_MAX && text.split('.').all(is_label)).then(|| Selector::new(&text.to_ascii_lowercase()))
}

/// RFC 3339.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|instant| Timestamp::from_unix_millis(instant.as_millisecond()))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => drop(write!(quoted, "\\u{:04X}", u32::from(c))), // a String takes all
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

fn one_line(why: &str) -> String {
    let words: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).take(WHY_CHARACTERS_MAX).collect();
    words.trim().to_owned()
}

/// In the directory of a domain.
pub(super) const STATE_FILE: &str = "keys.toml";
/// Steps of one key that are remembered.
pub const HISTORY_MAX: usize = 100;
/// Characters of a step's reason.
const WHY_CHARACTERS_MAX: usize = 1000;
/// Octets of a ledger that are read; one of a key rotated monthly for a century has fewer.
const LEDGER_OCTETS_MAX: u64 = 4 * 1024 * 1024;
/// Octets of a selector that leave room for `._domainkey.` and a domain (RFC 1035 §2.3.4: 253 in all).
const SELECTOR_OCTETS_MAX: usize = 200;
