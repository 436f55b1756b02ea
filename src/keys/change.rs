//! The ledger of one domain, opened to be changed: locked against other processes, each change whole, durable and safe to do twice.
//!
//! What a process that dies between any two system calls leaves behind:
//!
//! | it was | and left | which is |
//! |---|---|---|
//! | making a key | an entry `created` without a file | taken for `removed` at the next opening; its selector stays used |
//! | | a whole key in an entry `created` | a key that nobody knows of yet and that does not sign |
//! | advancing | the old ledger, or the new one | where the key stands |
//! | removing a key | an entry `revoked` without a file | what `remove` goes on from |
//! | any of them | hidden files `.….new`, `.….gone` | wiped at the next opening |
//!
//! So an entry `active` always has its file: the file is durable before the ledger says so.

use super::durable::{Disk, LOCK_PATIENCE, Steps, destroy, lock_directory, make_directory, sweep, unwritable, write_secret};
use super::keyring::file_selector;
use super::ledger::STATE_FILE;
use super::selector::{SelectorTemplate, SelectorsTaken};
use super::store::{entries, judge_directory, read_secret};
use super::{Algorithm, Entry, Key, KeyFault, KeyProblem, Ledger, PemError, PrivateKey, ServerMemory, State};
use crate::mail::{Domain, KeyId, Selector, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

/// A ledger that nobody else changes as long as this lives.
pub struct OpenLedger {
    domain: Domain,
    directory: PathBuf,
    ledger: Ledger,
    steps: Box<dyn Steps>,
    _lock: File,
}

/// Why a key was not made or changed. Nothing was overwritten, and trying again does no harm.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// A file or directory is not in order, or cannot be written.
    #[error(transparent)]
    Fault(#[from] KeyFault),
    /// The library failed.
    #[error(transparent)]
    Key(#[from] PemError),
    /// Another process changes keys of this domain.
    #[error("another process is changing the keys of {0}; wait until it is done and try again")]
    Busy(Domain),
    /// No selector is free.
    #[error(transparent)]
    NoSelector(#[from] SelectorsTaken),
    /// The selector was used before.
    #[error("{0} is taken ({1}); selectors are never used twice: choose another")]
    Taken(KeyId, State),
    /// There is no such key.
    #[error("there is no key {0}; `postseal key list` shows those there are")]
    Unknown(KeyId),
    /// Its file is gone.
    #[error("the file of key {0} is not there, so it cannot become {1}; put it back, or give the key up")]
    NoFile(KeyId, State),
    /// No way leads there.
    #[error("{key} is {from}, which cannot become {to}; it can become {}", listed(*from))]
    NoWay {
        /// Which key.
        key: KeyId,
        /// Where it stands.
        from: State,
        /// What was asked.
        to: State,
    },
}

impl Ledger {
    /// Opens the ledger of a domain to change it, waiting up to half a minute for another process. Key files that the ledger does not
    /// mention are in it now, as active; entries whose making was cut short as removed. Both are written with the next change.
    ///
    /// # Errors
    /// There is no directory of that domain, it is not in order, or another process keeps it.
    pub fn open(keys: &Path, domain: &Domain) -> Result<OpenLedger, ChangeError> {
        OpenLedger::lock(keys, domain, Box::new(Disk), LOCK_PATIENCE)?.ok_or_else(|| ChangeError::Busy(domain.clone()))
    }

    /// The same without waiting: `None` when another process has it.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub fn try_open(keys: &Path, domain: &Domain) -> Result<Option<OpenLedger>, ChangeError> {
        OpenLedger::lock(keys, domain, Box::new(Disk), Duration::ZERO)
    }

    /// The same as [`Ledger::open`], after making the directory where it is not there.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub fn open_or_make(keys: &Path, domain: &Domain) -> Result<OpenLedger, ChangeError> {
        let directory = keys.join(domain.as_str());
        make_directory(&directory).map_err(|error| unwritable(&directory, &error))?;
        Self::open(keys, domain)
    }
}

impl OpenLedger {
    pub(super) fn lock(keys: &Path, domain: &Domain, mut steps: Box<dyn Steps>, patience: Duration) -> Result<Option<Self>, ChangeError> {
        let directory = keys.join(domain.as_str());
        if !directory.is_dir() {
            return Err(KeyFault::new(&directory, KeyProblem::NoDirectory).into());
        }
        judge_directory(keys)?;
        judge_directory(&directory)?;
        let Some(lock) = lock_directory(&directory, patience).map_err(|error| KeyFault::io(&directory, &error))? else { return Ok(None) };
        sweep(&mut *steps, &directory).map_err(|error| unwritable(&directory, &error))?;
        let mut ledger = Ledger::read_in(&directory)?;
        adopt(&directory, &mut ledger)?;
        Ok(Some(Self { domain: domain.clone(), directory, ledger, steps, _lock: lock }))
    }

    /// Whose.
    #[must_use]
    pub const fn domain(&self) -> &Domain {
        &self.domain
    }

    /// By selector, those of removed keys too.
    #[must_use]
    pub const fn entries(&self) -> &BTreeMap<Selector, Entry> {
        self.ledger.entries()
    }

    /// One of them, with its private key where there is one.
    ///
    /// # Errors
    /// The file is not in order.
    pub fn key(&self, selector: &Selector) -> Result<Option<Key>, KeyFault> {
        let Some(entry) = self.entries().get(selector) else { return Ok(None) };
        let private = private(&self.directory, selector, entry.state)?;
        Ok(Some(Key { id: self.id(selector), algorithm: entry.algorithm, state: entry.state, since: Some(entry.since), private }))
    }

    /// Makes a key with a fresh selector, in the state `created`. Repeated after a crash it makes another, and the half-made one is
    /// never used.
    ///
    /// # Errors
    /// No selector is free, or the disk refuses.
    pub fn create(&mut self, algorithm: Algorithm, template: &SelectorTemplate, why: &str, at: Timestamp) -> Result<Key, ChangeError> {
        let selector = self.fresh_selector(algorithm, template, at)?;
        self.keep(&selector, PrivateKey::generate(algorithm)?, why, at)
    }

    /// A selector that no key of the domain has or had.
    ///
    /// # Errors
    /// None is free.
    pub fn fresh_selector(&self, algorithm: Algorithm, template: &SelectorTemplate, at: Timestamp) -> Result<Selector, ChangeError> {
        let files: BTreeSet<Selector> = entries(&self.directory)?.iter().filter_map(|(name, _)| file_selector(name)).collect();
        Ok(template.next(algorithm, at, |selector| self.entries().contains_key(selector) || files.contains(selector))?)
    }

    /// Keeps a key under a selector that must be free, in the state `created`.
    ///
    /// # Errors
    /// The selector was used before, or the disk refuses.
    pub fn keep(&mut self, selector: &Selector, private: PrivateKey, why: &str, at: Timestamp) -> Result<Key, ChangeError> {
        // One that was never whole was never used: an import that was cut short can be repeated.
        if let Some(entry) = self.entries().get(selector).filter(|entry| !is_cut_short(entry)) {
            return Err(ChangeError::Taken(self.id(selector), entry.state));
        }
        if let Some(path) = files(&self.directory, selector)?.first() {
            return Err(KeyFault::new(path, KeyProblem::Misplaced("it is in the way of a key with this selector".to_owned())).into());
        }
        let algorithm = private.algorithm();
        // Named first: a key file that the ledger does not mention would be taken for active.
        self.change(|ledger| ledger.insert(selector.clone(), Entry::new(algorithm, State::Created, why, at)))?;
        let path = self.directory.join(format!("{selector}.{algorithm}.pem"));
        write_secret(&mut *self.steps, &path, private.to_pem().as_bytes(), false).map_err(|error| unwritable(&path, &error))?;
        Ok(Key { id: self.id(selector), algorithm, state: State::Created, since: Some(at), private: Some(private) })
    }

    /// Moves a key into a state, durably; `false` when it is there already. Into `removed` its file is overwritten and removed too.
    ///
    /// # Errors
    /// There is no such key, no way from where it stands ([`State::may_become`]), no whole file for a key that is to sign, or the disk
    /// refuses.
    pub fn advance(&mut self, selector: &Selector, to: State, why: &str, at: Timestamp) -> Result<bool, ChangeError> {
        let from = self.way(selector, to)?;
        if to == State::Removed {
            self.destroy_files(selector)?;
        }
        if from == to {
            return Ok(false);
        }
        self.edit(selector, |entry| entry.enter(to, why, at))?;
        Ok(true)
    }

    /// Makes a key active and those given retire, in one write: both or neither. `false` when it is so already.
    ///
    /// # Errors
    /// As for [`OpenLedger::advance`].
    pub fn activate(&mut self, selector: &Selector, retire: &[Selector], why: &str, at: Timestamp) -> Result<bool, ChangeError> {
        let by = format!("{selector} signs instead");
        let retiring = retire.iter().filter(|old| *old != selector).map(|old| (old, State::Retiring, by.as_str()));
        let moves: Vec<_> = std::iter::once((selector, State::Active, why)).chain(retiring).collect();
        let mut due = Vec::new();
        for (selector, to, why) in moves {
            if self.way(selector, to)? != to {
                due.push((selector, to, why));
            }
        }
        self.change(|ledger| {
            for (selector, to, why) in &due {
                if let Some(entry) = ledger.get_mut(selector) {
                    entry.enter(*to, why, at);
                }
            }
        })?;
        Ok(!due.is_empty())
    }

    /// Remembers what the servers did with a key's record.
    ///
    /// # Errors
    /// There is no such key, or the disk refuses.
    pub fn remember(&mut self, selector: &Selector, servers: BTreeMap<String, ServerMemory>) -> Result<(), ChangeError> {
        self.edit(selector, |entry| entry.servers = servers)
    }

    /// Remembers how long resolvers may keep a key's record.
    ///
    /// # Errors
    /// There is no such key, or the disk refuses.
    pub fn remember_ttl(&mut self, selector: &Selector, ttl: Option<Duration>) -> Result<(), ChangeError> {
        self.edit(selector, |entry| entry.record_ttl = ttl)
    }

    /// Remembers for how long caches may keep a wrong record that was seen at a key's name.
    ///
    /// # Errors
    /// There is no such key, or the disk refuses.
    pub fn remember_wrong(&mut self, selector: &Selector, ttl: Duration) -> Result<(), ChangeError> {
        self.edit(selector, |entry| entry.wrong_ttl = Some(ttl).filter(|ttl| !ttl.is_zero()))
    }

    /// Where a key stands that is to go somewhere, if it may.
    fn way(&self, selector: &Selector, to: State) -> Result<State, ChangeError> {
        let id = self.id(selector);
        let Some(entry) = self.entries().get(selector) else { return Err(ChangeError::Unknown(id)) };
        let from = entry.state;
        if from != to && !from.may_become(to) {
            return Err(ChangeError::NoWay { key: id, from, to });
        }
        if matches!(to, State::Published | State::Visible | State::Active) && private(&self.directory, selector, to)?.is_none() {
            return Err(ChangeError::NoFile(id, to));
        }
        Ok(from)
    }

    fn edit(&mut self, selector: &Selector, edit: impl FnOnce(&mut Entry)) -> Result<(), ChangeError> {
        let id = self.id(selector);
        if !self.entries().contains_key(selector) {
            return Err(ChangeError::Unknown(id));
        }
        self.change(|ledger| ledger.get_mut(selector).map_or((), edit))
    }

    /// On disk first, then here; what is the same is not written.
    fn change(&mut self, change: impl FnOnce(&mut Ledger)) -> Result<(), ChangeError> {
        let mut changed = self.ledger.clone();
        change(&mut changed);
        if changed == self.ledger {
            return Ok(());
        }
        let path = self.directory.join(STATE_FILE);
        if path.is_symlink() {
            return Err(KeyFault::new(
                &path,
                KeyProblem::Unwritable(
                    "it is a symbolic link, as Kubernetes mounts secrets and ConfigMaps; keep keys that are to change on a volume that can be written"
                        .to_owned(),
                ),
            )
            .into());
        }
        write_secret(&mut *self.steps, &path, changed.to_string().as_bytes(), true).map_err(|error| unwritable(&path, &error))?;
        self.ledger = changed;
        Ok(())
    }

    fn destroy_files(&mut self, selector: &Selector) -> Result<(), ChangeError> {
        for path in files(&self.directory, selector)? {
            destroy(&mut *self.steps, &path).map_err(|error| unwritable(&path, &error))?;
        }
        Ok(())
    }

    fn id(&self, selector: &Selector) -> KeyId {
        KeyId { domain: self.domain.clone(), selector: selector.clone() }
    }
}

impl fmt::Debug for OpenLedger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenLedger").field("domain", &self.domain).field("entries", self.entries()).finish_non_exhaustive()
    }
}

/// Enters files without an entry, and gives up entries whose making was cut short.
pub(super) fn adopt(directory: &Path, ledger: &mut Ledger) -> Result<(), KeyFault> {
    for (name, path) in entries(directory)? {
        let Some(selector) = file_selector(&name) else { continue };
        if !ledger.entries().contains_key(&selector) {
            // One that cannot be read is the keyring's to complain of: it must not keep another key from being revoked.
            if let Some(private) = read_secret(&path).ok().and_then(|pem| PrivateKey::from_pem(&pem).ok()) {
                ledger.insert(selector, Entry::new(private.algorithm(), State::Active, FOUND, modified(&path)));
            }
        }
    }
    let made: Vec<_> =
        ledger.entries().iter().filter(|(_, entry)| entry.state == State::Created).map(|(selector, entry)| (selector.clone(), entry.since)).collect();
    for (selector, at) in made {
        if private(directory, &selector, State::Created)?.is_none()
            && let Some(entry) = ledger.get_mut(&selector)
        {
            entry.enter(State::Removed, CUT_SHORT, at);
        }
    }
    Ok(())
}

/// The private key of a selector. What cannot be read is a fault only while its record or its signatures are needed.
fn private(directory: &Path, selector: &Selector, state: State) -> Result<Option<PrivateKey>, KeyFault> {
    let mut found = None;
    for path in files(directory, selector)? {
        let read = read_secret(&path).and_then(|pem| PrivateKey::from_pem(&pem).map_err(|error| KeyFault::new(&path, error)));
        match read {
            Ok(_) if found.is_some() => return Err(KeyFault::new(directory, KeyProblem::Twice(selector.to_string()))),
            Ok(private) => found = Some(private),
            Err(_) if !state.needs_file() => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(found)
}

fn files(directory: &Path, selector: &Selector) -> Result<Vec<PathBuf>, KeyFault> {
    let is_its = |name: &str| file_selector(name).as_ref() == Some(selector);
    Ok(entries(directory)?.into_iter().filter(|(name, _)| is_its(name)).map(|(_, path)| path).collect())
}

fn is_cut_short(entry: &Entry) -> bool {
    entry.state == State::Removed && entry.history.last().is_some_and(|past| past.why == CUT_SHORT)
}

/// When a file was last written.
fn modified(path: &Path) -> Timestamp {
    let age = fs::metadata(path).and_then(|about| about.modified()).ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    age.map_or(Timestamp::EPOCH, |age| Timestamp::EPOCH + age)
}

fn listed(from: State) -> String {
    let next: Vec<String> = State::ALL.into_iter().filter(|to| from.may_become(*to)).map(|to| to.to_string()).collect();
    if next.is_empty() { "nothing else".to_owned() } else { next.join(" or ") }
}

const FOUND: &str = "found as a key file that keys.toml did not mention; such a key signs (the time is that of the file)";
const CUT_SHORT: &str = "its making was cut short";
