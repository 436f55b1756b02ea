//! All DKIM keys of a directory, loaded as a whole or refused with every fault there is.

use super::store::{entries, read_secret};
use super::{Algorithm, KeyFault, KeyProblem, PrivateKey, Record, State};
use crate::mail::{Domain, KeyId, Selector, Timestamp};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// The DKIM keys of all domains.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    domains: BTreeMap<Domain, Vec<Key>>,
}

/// One DKIM key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Domain and selector.
    pub id: KeyId,
    /// Its kind.
    pub algorithm: Algorithm,
    /// Where it stands.
    pub state: State,
    /// Since when; unknown for files that `keys.toml` does not mention.
    pub since: Option<Timestamp>,
    /// The key itself; there for every active one.
    pub private: Option<PrivateKey>,
}

impl Keyring {
    /// Loads all keys below `directory`: `DOMAIN/SELECTOR.rsa.pem`, `DOMAIN/SELECTOR.ed25519.pem` (also `.pem` and OpenDKIM's
    /// `.private`), with their states in `DOMAIN/keys.toml`. A key file that `keys.toml` does not mention is active. A directory that is
    /// not there yet is a keyring without keys.
    ///
    /// # Errors
    /// All faults found.
    pub fn load(directory: &Path) -> Result<Self, Vec<KeyFault>> {
        let mut ring = Self::default();
        let mut faults = Vec::new();
        if !directory.exists() {
            return Ok(ring);
        }
        for (name, path) in entries(directory).map_err(|fault| vec![fault])? {
            if !path.is_dir() {
                if key_name(&name).is_some() {
                    faults.push(KeyFault::new(&path, KeyProblem::Misplaced("keys belong into a directory named for their domain".to_owned())));
                }
                continue; // README.md and the like
            }
            if name == super::token::DIRECTORY {
                continue;
            }
            let Ok(domain) = Domain::parse(&name) else {
                faults.push(KeyFault::new(&path, KeyProblem::Misplaced("its name is not a domain".to_owned())));
                continue;
            };
            match load_domain(&path, &domain) {
                Ok(_) if ring.domains.contains_key(&domain) => {
                    faults.push(KeyFault::new(&path, KeyProblem::Misplaced(format!("another directory is for {domain} too"))));
                }
                Ok(keys) => drop(ring.domains.insert(domain, keys)),
                Err(found) => faults.extend(found),
            }
        }
        if faults.is_empty() { Ok(ring) } else { Err(faults) }
    }

    /// The domains there are keys for.
    pub fn domains(&self) -> impl Iterator<Item = &Domain> {
        self.domains.keys()
    }

    /// All keys of a domain, by selector.
    #[must_use]
    pub fn keys(&self, domain: &Domain) -> &[Key] {
        self.domains.get(domain).map_or(&[], Vec::as_slice)
    }

    /// The keys of a domain that sign, of one kind, with their private halves.
    pub fn active(&self, domain: &Domain, algorithm: Algorithm) -> impl Iterator<Item = (&KeyId, &PrivateKey)> {
        let keys = self.keys(domain).iter().filter(move |key| key.state == State::Active && key.algorithm == algorithm);
        keys.filter_map(|key| Some((&key.id, key.private.as_ref()?)))
    }

    /// The keys of a domain that sign no more but are still published.
    pub fn retiring(&self, domain: &Domain) -> impl Iterator<Item = &KeyId> {
        self.keys(domain).iter().filter(|key| key.state == State::Retiring).map(|key| &key.id)
    }
}

impl Key {
    /// The record the DNS should have now; `None` for a removed key, or one whose file is gone.
    #[must_use]
    pub fn record(&self) -> Option<Record> {
        match self.state {
            State::Removed => None,
            State::Revoked => Some(Record::revoked(self.algorithm)),
            _ => self.private.as_ref().map(|private| Record::of(private.public().clone())),
        }
    }
}

/// The states of a domain's keys, as `keys.toml` holds them. A removed selector stays in it: it is never used again.
pub(super) type States = BTreeMap<String, StateEntry>;

/// One of [`States`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StateEntry {
    pub algorithm: Algorithm,
    pub state: State,
    pub since: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawEntry {
    algorithm: String,
    state: String,
    since: String,
}

/// Reads `keys.toml` of a domain; none is as good as an empty one.
pub(super) fn read_states(directory: &Path) -> Result<States, KeyFault> {
    let path = directory.join(STATE_FILE);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(States::new()),
        Err(error) => return Err(KeyFault::io(&path, &error)),
    };
    let fault = |why: String| KeyFault::new(&path, KeyProblem::State(why));
    let raw: BTreeMap<String, RawEntry> = toml::from_str(&text).map_err(|error| fault(error.to_string()))?;
    let entry = |(selector, raw): (String, RawEntry)| {
        if !is_selector(&selector) {
            return Err(fault(format!("\"{selector}\" is no selector; expected letters, digits and hyphens")));
        }
        let algorithm = raw.algorithm.parse().map_err(|()| fault(format!("algorithm \"{}\" of {selector}; expected rsa or ed25519", raw.algorithm)))?;
        let state = raw.state.parse().map_err(|()| fault(format!("state \"{}\" of {selector}; expected created, active, retiring …", raw.state)))?;
        let since = parse_time(&raw.since).ok_or_else(|| fault(format!("since \"{}\" of {selector}; expected 2026-11-22T01:18:45Z", raw.since)))?;
        Ok((selector, StateEntry { algorithm, state, since }))
    };
    raw.into_iter().map(entry).collect()
}

/// `keys.toml` as text.
pub(super) fn print_states(states: &States) -> String {
    let mut text = String::from("# Where each key of this domain stands. Kept by postseal; selectors are never used twice, so entries stay.\n");
    for (selector, StateEntry { algorithm, state, since }) in states {
        let since = since.to_rfc3339();
        let _ = write!(text, "\n[\"{selector}\"]\nalgorithm = \"{algorithm}\"\nstate = \"{state}\"\nsince = \"{since}\"\n"); // a String takes all
    }
    text
}

/// RFC 3339.
pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|instant| Timestamp::from_unix_millis(instant.as_millisecond()))
}

/// Selector, and the kind of key that the name of a file promises, if it promises one.
pub(super) fn key_name(name: &str) -> Option<(&str, Option<Algorithm>)> {
    let kinds = [(".rsa.pem", Some(Algorithm::Rsa)), (".ed25519.pem", Some(Algorithm::Ed25519)), (".pem", None), (".private", None)];
    kinds.into_iter().find_map(|(end, kind)| Some((name.strip_suffix(end)?, kind))).filter(|(selector, _)| !selector.is_empty())
}

/// Labels of letters, digits and hyphens (RFC 6376 §3.1); unlike a domain, one may end in a number.
fn is_selector(text: &str) -> bool {
    let is_label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    text.split('.').all(is_label)
}

fn load_domain(directory: &Path, domain: &Domain) -> Result<Vec<Key>, Vec<KeyFault>> {
    let mut states = read_states(directory).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    let mut keys: BTreeMap<String, Key> = BTreeMap::new();
    for (name, path) in entries(directory).map_err(|fault| vec![fault])? {
        let Some((selector, promised)) = key_name(&name) else { continue };
        if !is_selector(selector) {
            faults.push(KeyFault::new(&path, KeyProblem::Misplaced(format!("\"{selector}\" is no selector; expected letters, digits and hyphens"))));
            continue;
        }
        let known = states.remove(selector);
        match load_key(&path, domain, selector, promised, known) {
            Ok(Some(key)) => {
                if keys.insert(selector.to_owned(), key).is_some() {
                    faults.push(KeyFault::new(directory, KeyProblem::Twice(selector.to_owned())));
                }
            }
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    for (selector, StateEntry { algorithm, state, since }) in states {
        if state == State::Active {
            faults.push(KeyFault::new(directory, KeyProblem::Missing(selector)));
            continue;
        }
        let id = key_id(domain, &selector);
        keys.insert(selector, Key { id, algorithm, state, since: Some(since), private: None });
    }
    if faults.is_empty() { Ok(keys.into_values().collect()) } else { Err(faults) }
}

/// A key file with its state; `None` for one that creation left unfinished.
fn load_key(path: &Path, domain: &Domain, selector: &str, promised: Option<Algorithm>, known: Option<StateEntry>) -> Result<Option<Key>, KeyFault> {
    let (state, since) = known.as_ref().map_or((State::Active, None), |entry| (entry.state, Some(entry.since)));
    let read = read_secret(path).and_then(|pem| PrivateKey::from_pem(&pem).map_err(|error| KeyFault::new(path, error)));
    let private = match read {
        Ok(private) => private,
        Err(_) if state == State::Created => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let algorithm = private.algorithm();
    if let Some(expected) = promised.into_iter().chain(known.map(|entry| entry.algorithm)).find(|expected| *expected != algorithm) {
        return Err(KeyFault::new(path, KeyProblem::WrongKind { name: expected.to_string(), content: algorithm.to_string() }));
    }
    Ok(Some(Key { id: key_id(domain, selector), algorithm, state, since, private: Some(private) }))
}

pub(super) fn key_id(domain: &Domain, selector: &str) -> KeyId {
    KeyId { domain: domain.clone(), selector: Selector::new(&selector.to_ascii_lowercase()) }
}

pub(super) const STATE_FILE: &str = "keys.toml";
