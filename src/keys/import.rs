//! Keys that another program signs with: found in its tables, checked, and taken into the keyring.
//!
//! [`opendkim`] and [`rspamd`] read what those two are configured with and say what cannot be carried over; both are pure but for the
//! listing of a folder that rspamd's file names ask for. [`take`] reads a key and keeps it.

pub mod opendkim;
pub mod rspamd;

use super::ledger::selector_of;
use super::store::read_secret;
use super::{ChangeError, Key, KeyFault, KeyProblem, Ledger, OpenLedger, PemError, PrivateKey, Record, RecordError, State};
use crate::mail::{Domain, Selector, Timestamp};
use std::fs;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// A key as another program's configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// The domain it signs as.
    pub domain: Domain,
    /// Its selector.
    pub selector: Selector,
    /// The key itself.
    pub source: Source,
}

/// Where a foreign key is.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// In a file.
    File(PathBuf),
    /// In the table itself, in base64.
    Text(Zeroizing<String>),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Text(_) => f.write_str("Text(***)"),
        }
    }
}

/// What a configuration names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Keys, in the order of the file.
    pub keys: Vec<Foreign>,
    /// What is not carried over, each a sentence.
    pub notes: Vec<String>,
}

/// A key that was read, and what there is to say of it.
#[derive(Debug)]
pub struct Read {
    /// The key.
    pub private: PrivateKey,
    /// Of its record: what we would not write so.
    pub notes: Vec<String>,
}

/// Why a foreign key was not taken. None of it was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file is not in order.
    #[error(transparent)]
    File(#[from] KeyFault),
    /// A short RSA key.
    #[error(
        "{place}: its RSA key has {bits} bits: postseal cannot sign with it, and receivers take no less than 1024, want 2048; rotate: `postseal key create {domain}`, publish its record, and move over once it is visible"
    )]
    Short {
        /// File.
        place: String,
        /// Size.
        bits: usize,
        /// Whose.
        domain: Domain,
    },
    /// Of a key in a table.
    #[error("the key of {0}: {1}")]
    Text(Selector, PemError),
    /// The record beside it does not read.
    #[error("{}: it is no key record: {error}", path.display())]
    Record {
        /// The file with the record.
        path: PathBuf,
        /// What is wrong.
        error: RecordError,
    },
    /// The record beside it belongs to another key.
    #[error("{}: its p= is not the public half of {key}; publish the right record, or import the key that belongs to this one", path.display())]
    Mismatch {
        /// The file with the record.
        path: PathBuf,
        /// The key's file.
        key: String,
    },
    /// The record says that the key is revoked.
    #[error("{}: its p= is empty: the key is revoked", .0.display())]
    Revoked(PathBuf),
    /// The record is for another name.
    #[error("{}: it is the record of {found}, expected {expected}", path.display())]
    Name {
        /// The file with the record.
        path: PathBuf,
        /// As it says.
        found: String,
        /// As asked.
        expected: String,
    },
    /// The keyring.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// Reads a foreign key and checks it against its record: that of `record`, or the one beside the key with the ending `.txt`, as
/// opendkim-genkey writes it.
///
/// # Errors
/// The key cannot be used, or is not the one of the record.
pub fn read(foreign: &Foreign, record: Option<&Path>) -> Result<Read, ImportError> {
    let (place, private) = match &foreign.source {
        Source::File(path) => {
            let content = read_secret(path)?;
            (path.display().to_string(), PrivateKey::from_text(&content).map_err(|error| short(path.display().to_string(), error, foreign, path))?)
        }
        Source::Text(text) => {
            let place = format!("the key of {}", foreign.selector);
            let private = PrivateKey::from_text(text.as_bytes()).map_err(|error| match error {
                PemError::Size(bits) if bits < 2048 => ImportError::Short { place: place.clone(), bits, domain: foreign.domain.clone() },
                error => ImportError::Text(foreign.selector.clone(), error),
            })?;
            (place, private)
        }
    };
    let beside = match &foreign.source {
        Source::File(path) => Some(path.with_extension("txt")).filter(|beside| beside != path && beside.is_file()),
        Source::Text(_) => None,
    };
    let notes = match record.map(Path::to_owned).or(beside) {
        Some(path) => compare(&path, &place, &private, foreign)?,
        None => Vec::new(),
    };
    Ok(Read { private, notes })
}

/// Keeps a foreign key in the keyring; `None` when it is there already.
///
/// # Errors
/// Its selector was used for another key, or the disk refuses.
pub fn take(keys: &Path, foreign: &Foreign, private: PrivateKey, state: State, why: &str, now: Timestamp) -> Result<Option<Key>, ImportError> {
    let mut ledger = Ledger::open_or_make(keys, &foreign.domain)?;
    if is_there(&ledger, foreign, &private)? {
        // Taken by an import that was cut short between its two steps.
        let is_half = ledger.entries().get(&foreign.selector).is_some_and(|entry| entry.state == State::Created);
        if is_half && state == State::Active {
            ledger.advance(&foreign.selector, state, why, now)?;
        }
        return Ok(None);
    }
    let mut key = ledger.keep(&foreign.selector, private, why, now)?;
    if state != State::Created {
        ledger.advance(&foreign.selector, state, why, now)?;
        key.state = state;
    }
    Ok(Some(key))
}

/// Whether the ledger has this very key under this selector. Another key there is an error when it is kept.
fn is_there(ledger: &OpenLedger, foreign: &Foreign, private: &PrivateKey) -> Result<bool, KeyFault> {
    let known = ledger.key(&foreign.selector)?;
    Ok(known.is_some_and(|key| !matches!(key.state, State::Revoked | State::Removed) && key.private.is_some_and(|known| known.public() == private.public())))
}

fn short(place: String, error: PemError, foreign: &Foreign, path: &Path) -> ImportError {
    match error {
        PemError::Size(bits) if bits < 2048 => ImportError::Short { place, bits, domain: foreign.domain.clone() },
        error => ImportError::File(KeyFault::new(path, KeyProblem::Pem(error))),
    }
}

fn compare(path: &Path, key: &str, private: &PrivateKey, foreign: &Foreign) -> Result<Vec<String>, ImportError> {
    let text = fs::read_to_string(path).map_err(|error| KeyFault::io(path, &error))?;
    let (name, joined) = zone_record(&text);
    if let Some(name) = name {
        let labels = name.trim_end_matches('.').to_ascii_lowercase();
        let expected = format!("{}._domainkey.{}", foreign.selector, foreign.domain);
        if labels.contains("._domainkey") && labels != expected && labels != format!("{}._domainkey", foreign.selector) {
            return Err(ImportError::Name { path: path.to_owned(), found: labels, expected });
        }
    }
    let record = Record::parse(&joined).map_err(|error| ImportError::Record { path: path.to_owned(), error })?;
    match &record.public {
        None => Err(ImportError::Revoked(path.to_owned())),
        Some(public) if public != private.public() => Err(ImportError::Mismatch { path: path.to_owned(), key: key.to_owned() }),
        Some(_) if record.testing => {
            Ok(vec![format!("{}: its record says t=y, testing: some receivers ignore such signatures; publish it without", path.display())])
        }
        Some(_) => Ok(Vec::new()),
    }
}

/// Name and joined strings of a TXT record as zone files write it, or a bare value.
fn zone_record(text: &str) -> (Option<String>, String) {
    let Some(first) = text.find('"') else { return (None, text.trim().to_owned()) };
    let name = text[..first].split_ascii_whitespace().next().filter(|name| name.contains("_domainkey")).map(str::to_owned);
    let (mut joined, mut is_within) = (String::new(), false);
    let mut characters = text[first..].chars();
    while let Some(c) = characters.next() {
        match c {
            '"' => is_within = !is_within,
            '\\' if is_within => joined.extend(characters.next()),
            ';' if !is_within => while characters.next().is_some_and(|c| c != '\n') {},
            c if is_within => joined.push(c),
            _ => {}
        }
    }
    (name, joined)
}

/// A domain and a selector as a table has them.
fn named(domain: &str, selector: &str) -> Result<(Domain, Selector), String> {
    let parsed = domain.parse::<Domain>().map_err(|error| error.to_string())?;
    let selector = selector_of(selector).ok_or_else(|| format!("\"{selector}\" is no selector; expected letters, digits and hyphens"))?;
    Ok((parsed, selector))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_zone_files_are_joined() {
        let text = "mail._domainkey\tIN\tTXT\t( \"v=DKIM1; k=rsa; \"\n\t  \"p=AB\"\n\"CD\" )  ; ----- DKIM key \"mail\" for example.com\n";
        assert_eq!(zone_record(text), (Some("mail._domainkey".to_owned()), "v=DKIM1; k=rsa; p=ABCD".to_owned()));
        assert_eq!(zone_record("\"v=DKIM1\\; p=\"\n"), (None, "v=DKIM1; p=".to_owned()));
        assert_eq!(zone_record("v=DKIM1; p=AB\n"), (None, "v=DKIM1; p=AB".to_owned()));
    }
}
