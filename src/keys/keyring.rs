//! All DKIM keys of a directory, loaded as a whole or refused with every fault there is.

use super::ledger::selector_of;
use super::store::{entries, judge_directory, read_secret};
use super::{Algorithm, Entry, KeyFault, KeyProblem, Ledger, PrivateKey, Record, State};
use crate::mail::{Domain, KeyId, Selector, Timestamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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

/// A key outside of the key directory, as a mounted secret: it is active, and nothing here changes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFile {
    /// The domain it signs for.
    pub domain: Domain,
    /// Where its record stands.
    pub selector: Selector,
    /// The file, of any name.
    pub path: PathBuf,
}

impl Keyring {
    /// Loads what [`Keyring::load`] does, and the keys in `further` files.
    ///
    /// # Errors
    /// All faults found; a selector that the directory has too is one.
    pub fn load_with(directory: &Path, further: &[KeyFile]) -> Result<Self, Vec<KeyFault>> {
        let mut faults = Vec::new();
        let mut ring = Self::load(directory).map_err(|more| faults.extend(more)).unwrap_or_default();
        for file in further {
            faults.extend(ring.add(file).err());
        }
        if faults.is_empty() { Ok(ring) } else { Err(faults) }
    }

    fn add(&mut self, file: &KeyFile) -> Result<(), KeyFault> {
        let Some(key) = load_key(&file.path, &file.domain, &file.selector, None, None)? else { return Ok(()) };
        let keys = self.domains.entry(file.domain.clone()).or_default();
        if keys.iter().any(|known| known.id == key.id) {
            return Err(KeyFault::new(&file.path, KeyProblem::InDirectoryToo(file.selector.to_string())));
        }
        keys.push(key);
        keys.sort_by(|a, b| a.id.selector.cmp(&b.id.selector));
        Ok(())
    }

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
        faults.extend(judge_directory(directory).err());
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

/// Selector, and the kind of key that the name of a file promises, if it promises one.
fn key_name(name: &str) -> Option<(&str, Option<Algorithm>)> {
    let kinds = [(".rsa.pem", Some(Algorithm::Rsa)), (".ed25519.pem", Some(Algorithm::Ed25519)), (".pem", None), (".private", None)];
    kinds.into_iter().find_map(|(end, kind)| Some((name.strip_suffix(end)?, kind))).filter(|(selector, _)| !selector.is_empty())
}

/// The selector that the name of a key file tells: `SELECTOR.pem`, `SELECTOR.rsa.pem`, `SELECTOR.private` and the like.
#[must_use]
pub fn file_selector(name: &str) -> Option<Selector> {
    key_name(name).and_then(|(selector, _)| selector_of(selector))
}

fn load_domain(directory: &Path, domain: &Domain) -> Result<Vec<Key>, Vec<KeyFault>> {
    judge_directory(directory).map_err(|fault| vec![fault])?;
    let ledger = Ledger::read_in(directory).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    let mut keys: BTreeMap<Selector, Key> = BTreeMap::new();
    for (name, path) in entries(directory).map_err(|fault| vec![fault])? {
        let Some((text, promised)) = key_name(&name) else { continue };
        let Some(selector) = selector_of(text) else {
            faults.push(KeyFault::new(&path, KeyProblem::Misplaced(format!("\"{text}\" is no selector; expected letters, digits and hyphens"))));
            continue;
        };
        match load_key(&path, domain, &selector, promised, ledger.entries().get(&selector)) {
            Ok(Some(key)) => {
                if keys.insert(selector.clone(), key).is_some() {
                    faults.push(KeyFault::new(directory, KeyProblem::Twice(selector.to_string())));
                }
            }
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    for (selector, entry) in ledger.entries() {
        let is_there = keys.contains_key(selector)
            || faults.iter().any(|fault| fault.path.file_name().and_then(|name| file_selector(name.to_str()?)).as_ref() == Some(selector));
        if !is_there && entry.state == State::Active {
            faults.push(KeyFault::new(directory, KeyProblem::Missing(selector.to_string())));
        } else if !is_there && entry.state != State::Created {
            let id = KeyId { domain: domain.clone(), selector: selector.clone() };
            keys.insert(selector.clone(), Key { id, algorithm: entry.algorithm, state: entry.state, since: Some(entry.since), private: None });
        }
    }
    if faults.is_empty() { Ok(keys.into_values().collect()) } else { Err(faults) }
}

/// A key file with its state; `None` for one that cannot be read and need not be, as making or removing it left it.
fn load_key(path: &Path, domain: &Domain, selector: &Selector, promised: Option<Algorithm>, known: Option<&Entry>) -> Result<Option<Key>, KeyFault> {
    let (state, since) = known.map_or((State::Active, None), |entry| (entry.state, Some(entry.since)));
    let read = read_secret(path).and_then(|pem| PrivateKey::from_pem(&pem).map_err(|error| KeyFault::new(path, error)));
    let private = match read {
        Ok(private) => private,
        Err(_) if !state.needs_file() => return Ok(None),
        Err(fault) => return Err(fault),
    };
    let algorithm = private.algorithm();
    if let Some(expected) = promised.into_iter().chain(known.map(|entry| entry.algorithm)).find(|expected| *expected != algorithm) {
        return Err(KeyFault::new(path, KeyProblem::WrongKind { name: expected.to_string(), content: algorithm.to_string() }));
    }
    let id = KeyId { domain: domain.clone(), selector: selector.clone() };
    Ok(Some(Key { id, algorithm, state, since, private: Some(private) }))
}
