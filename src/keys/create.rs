//! New keys: a fresh selector each, nothing overwritten, and a crash in between leaves no key that signs unpublished.

use super::keyring::{STATE_FILE, StateEntry, States, key_id, key_name, print_states, read_states};
use super::store::{entries, lock_directory, write_secret};
use super::{Algorithm, Key, KeyFault, PemError, PrivateKey, State};
use crate::mail::{Domain, Timestamp};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The directory or its state file is not in order.
    #[error(transparent)]
    Fault(#[from] KeyFault),
    /// The library failed.
    #[error(transparent)]
    Key(#[from] PemError),
    /// Every selector of this month is taken.
    #[error("all selectors {prefix}a to {prefix}z of {domain} are taken; selectors are never used twice: wait for next month")]
    NoSelector {
        /// Year and month with the prefix.
        prefix: String,
        /// Whose.
        domain: Domain,
    },
    /// The disk refused.
    #[error("{}: it cannot be written: {error}", path.display())]
    Write {
        /// What.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Makes one key of each kind given for a domain below `directory`, with state `state`. `keys.toml` names them `created` before
/// their files exist and `state` only after all are safe on disk.
///
/// # Errors
/// Nothing was overwritten; at worst an entry `created` stays, and its selector is not used again.
pub fn create(directory: &Path, domain: &Domain, algorithms: &[Algorithm], state: State, now: Timestamp) -> Result<Vec<Key>, CreateError> {
    let directory = directory.join(domain.as_str());
    let write = |path: &Path, error| CreateError::Write { path: path.to_owned(), error };
    let _lock = lock_directory(&directory).map_err(|error| write(&directory, error))?;
    let mut states = read_states(&directory)?;
    let state_file = directory.join(STATE_FILE);
    let save = |states: &States| write_secret(&state_file, print_states(states).as_bytes(), true).map_err(|error| write(&state_file, error));

    let mut taken: BTreeSet<String> = states.keys().cloned().collect();
    taken.extend(entries(&directory)?.iter().filter_map(|(name, _)| key_name(name)).map(|(selector, _)| selector.to_ascii_lowercase()));
    let mut fresh = Vec::new();
    for algorithm in algorithms {
        let selector = free_selector(domain, &taken, now)?;
        taken.insert(selector.clone());
        states.insert(selector.clone(), StateEntry { algorithm: *algorithm, state: State::Created, since: now });
        fresh.push((selector, *algorithm));
    }
    save(&states)?;

    let mut keys = Vec::new();
    for (selector, algorithm) in fresh {
        let private = PrivateKey::generate(algorithm)?;
        let path = directory.join(format!("{selector}.{algorithm}.pem"));
        write_secret(&path, private.to_pem().as_bytes(), false).map_err(|error| write(&path, error))?;
        states.insert(selector.clone(), StateEntry { algorithm, state, since: now });
        keys.push(Key { id: key_id(domain, &selector), algorithm, state, since: Some(now), private: Some(private) });
    }
    save(&states)?;
    Ok(keys)
}

/// `ps202611a`: the month of its making and the first letter that was never used.
fn free_selector(domain: &Domain, taken: &BTreeSet<String>, now: Timestamp) -> Result<String, CreateError> {
    let date = now.to_rfc3339();
    let prefix = format!("ps{}{}", &date[..4], &date[5..7]); // a date is ASCII: 2026-11-…
    let free = ('a'..='z').map(|letter| format!("{prefix}{letter}")).find(|selector| !taken.contains(selector));
    free.ok_or_else(|| CreateError::NoSelector { prefix, domain: domain.clone() })
}
