//! Reads values out of a [`Document`] and remembers every fault, every key it was asked for and every default.
//!
//! serde would stop at the first fault; this goes on, so that an operator mends a file in one round.

use super::document::Document;
use super::fault::{Fault, Faults};
use super::knob::Knob;
use figment::value::{Dict, Value};
use secrecy::{ExposeSecret as _, SecretString};
use std::cell::RefCell;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// A table of the configuration being read. Keys that nobody asked for are faults when it is dropped, so everything in it is to be
/// asked for, whatever else is wrong.
pub struct Reader<'d> {
    document: &'d Document,
    notes: &'d Notes,
    keys: Vec<String>,
    table: Option<&'d Dict>,
    asked: RefCell<Vec<String>>,
}

/// What was noticed while reading.
#[derive(Default)]
pub struct Notes {
    faults: RefCell<Vec<Fault>>,
    knobs: RefCell<Vec<KnobRead>>,
}

/// A knob that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnobRead {
    /// Its keys, from the outermost table.
    pub keys: Vec<String>,
    /// The default as TOML writes it; `None` where the knob is required or absent by default.
    pub default: Option<String>,
}

impl Notes {
    /// Notes that begin with what was noticed elsewhere.
    pub fn with(knobs: Vec<KnobRead>, faults: Vec<Fault>) -> Self {
        Self { faults: RefCell::new(faults), knobs: RefCell::new(knobs) }
    }

    /// Both as they are.
    pub fn into_parts(self) -> (Vec<KnobRead>, Vec<Fault>) {
        (self.knobs.into_inner(), self.faults.into_inner())
    }

    /// The knobs read, or the faults if there are any.
    pub fn into_result(self) -> Result<Vec<KnobRead>, Faults> {
        match Faults::of(self.faults.into_inner()) {
            Some(faults) => Err(faults),
            None => Ok(self.knobs.into_inner()),
        }
    }
}

impl<'d> Reader<'d> {
    /// The outermost table.
    pub fn root(document: &'d Document, notes: &'d Notes) -> Self {
        Self { document, notes, keys: Vec::new(), table: Some(document.root()), asked: RefCell::default() }
    }

    /// The outermost table, of which only `key` is looked at.
    pub fn only(document: &'d Document, notes: &'d Notes, key: &str) -> Self {
        let root = Self::root(document, notes);
        root.asked.borrow_mut().extend(root.names().into_iter().filter(|name| name != key));
        root
    }

    /// Leaves `key` to others, who read it before.
    pub fn leave(&self, key: &str) {
        self.asked.borrow_mut().push(key.to_owned());
    }

    /// A knob that is read where its value ends up.
    pub fn elsewhere(&self, key: &str) {
        self.remember(key, None);
        self.leave(key);
    }

    /// What is written at `key`, whatever it is.
    pub fn raw(&self, key: &str) -> Option<Value> {
        self.peek(key).cloned()
    }

    /// The table at `key`; where it is absent every knob in it has its default. To be opened once.
    #[must_use]
    pub fn table(&self, key: &str) -> Self {
        let table = match self.find(key) {
            None => None,
            Some(Value::Dict(_, table)) => Some(table),
            Some(_) => {
                self.fault(key, "a single value", "a table");
                None
            }
        };
        Reader { document: self.document, notes: self.notes, keys: self.path(key), table, asked: RefCell::default() }
    }

    /// The tables named by the operator inside the table at `key`, by name.
    pub fn tables(&self, key: &str) -> Vec<(String, Self)> {
        let outer = self.table(key);
        outer.names().into_iter().map(|name| (name.clone(), outer.table(&name))).collect()
    }

    /// The keys of this table, where the operator chooses them.
    pub fn names(&self) -> Vec<String> {
        self.table.into_iter().flat_map(|table| table.keys().cloned()).collect()
    }

    /// Whether the file or the environment says anything at `key`.
    pub fn has(&self, key: &str) -> bool {
        self.peek(key).is_some()
    }

    /// Adds a fault if there is no table inside the table at `key`.
    pub fn demand_tables(&self, key: &str, expected: &str) {
        match self.peek(key) {
            None => self.fault(key, "missing", expected),
            Some(Value::Dict(_, tables)) if tables.is_empty() => self.fault(key, "empty", expected),
            Some(_) => {}
        }
    }

    /// A value with a default.
    pub fn value<T: Knob>(&self, key: &str, default: T) -> T {
        self.remember(key, Some(default.written()));
        self.read(key, T::expected, |_| true).unwrap_or(default)
    }

    /// A value with a default and bounds.
    pub fn within<T: Knob + PartialOrd>(&self, key: &str, default: T, bounds: RangeInclusive<T>) -> T {
        self.remember(key, Some(default.written()));
        self.bounded(key, bounds).unwrap_or(default)
    }

    /// A value that may be absent.
    pub fn optional<T: Knob>(&self, key: &str) -> Option<T> {
        self.remember(key, None);
        self.read(key, T::expected, |_| true)
    }

    /// A value with bounds that may be absent.
    pub fn optional_within<T: Knob + PartialOrd>(&self, key: &str, bounds: RangeInclusive<T>) -> Option<T> {
        self.remember(key, None);
        self.bounded(key, bounds)
    }

    /// A value that must be there; `None` after a fault, which says that `expected` is missing.
    pub fn required<T: Knob>(&self, key: &str, expected: &str) -> Option<T> {
        if !self.has(key) {
            self.fault(key, "missing", expected);
        }
        self.optional(key)
    }

    /// One of several words.
    pub fn one_of<T: Copy + PartialEq>(&self, key: &str, words: &[(&str, T)], default: T) -> T {
        let default_word = words.iter().find(|(_, value)| *value == default).map(|(word, _)| format!("\"{word}\""));
        self.remember(key, default_word);
        let of = |text: &str| words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        let expected = || format!("one of {}", words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", "));
        self.read::<String>(key, expected, |text| of(text).is_some()).and_then(|text| of(&text)).unwrap_or(default)
    }

    /// A secret: the text at `key`, or the content of the file that `<key>_file` names, without its last line end. Of one in the file and
    /// one in the environment the latter holds. No fault shows it.
    pub fn secret(&self, key: &str) -> Option<SecretString> {
        self.secret_by(key, |path| {
            std::fs::read_to_string(path).map(SecretString::from).map_err(|error| format!("\"{}\" cannot be read: {error}", path.display()))
        })
    }

    /// As [`Reader::secret`], but a file that others may read is a fault, as one of a signing key is.
    pub fn guarded_secret(&self, key: &str) -> Option<SecretString> {
        self.secret_by(key, |path| {
            let octets = crate::keys::read_secret(path).map_err(|fault| fault.to_string())?;
            let text = std::str::from_utf8(&octets).map_err(|_| format!("\"{}\" is no text", path.display()))?;
            Ok(SecretString::from(text))
        })
    }

    fn secret_by(&self, key: &str, read: impl FnOnce(&Path) -> Result<SecretString, String>) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        self.remember(key, None);
        let text = self.find(key);
        let file = self.optional::<PathBuf>(&file_key);
        let is_overridden = |key: &str, by: &str| self.is_from_environment(by) && !self.is_from_environment(key);
        match (text, file) {
            (Some(_), Some(_)) if !is_overridden(key, &file_key) && !is_overridden(&file_key, key) => {
                self.fault(&file_key, &format!("set, and {key} too"), "one of the two");
                None
            }
            (Some(text), file) if file.is_none() || is_overridden(&file_key, key) => {
                let text = text.as_str().filter(|text| !text.is_empty());
                if text.is_none() {
                    self.fault(key, "no text, or an empty one", "a secret in quotes");
                }
                text.map(SecretString::from)
            }
            (_, Some(file)) => self.secret_in(&file_key, &file, read),
            (_, None) => None,
        }
    }

    fn secret_in(&self, key: &str, file: &Path, read: impl FnOnce(&Path) -> Result<SecretString, String>) -> Option<SecretString> {
        let file = self.resolve(file);
        match read(&file).map(|text| SecretString::from(text.expose_secret().trim_end_matches(['\r', '\n']))) {
            Ok(secret) if !secret.expose_secret().is_empty() => return Some(secret),
            Ok(_) => self.fault(key, &format!("\"{}\" is empty", file.display()), "a file that holds the secret"),
            Err(why) => self.fault(key, &why, "a readable file that holds the secret"),
        }
        None
    }

    /// A path relative to the configuration file's folder.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.document.path().parent().unwrap_or_else(|| Path::new("")).join(path)
    }

    /// Adds a fault of the value at `key`. `expected` may be empty, where `found` is a whole sentence.
    pub fn fault(&self, key: &str, found: &str, expected: &str) {
        self.fault_at(&[key], found, expected);
    }

    /// Adds a fault of a value further down.
    pub fn fault_at(&self, keys: &[&str], found: &str, expected: &str) {
        let keys: Vec<String> = self.keys.iter().cloned().chain(keys.iter().map(|key| (*key).to_owned())).collect();
        self.notes.faults.borrow_mut().push(self.document.fault(&keys, found, expected));
    }

    /// Adds a fault of this table as a whole.
    pub fn table_fault(&self, found: &str, expected: &str) {
        self.fault_at(&[], found, expected);
    }

    /// How many faults there are so far, in the whole document.
    pub fn faults_so_far(&self) -> usize {
        self.notes.faults.borrow().len()
    }

    fn bounded<T: Knob + PartialOrd>(&self, key: &str, bounds: RangeInclusive<T>) -> Option<T> {
        let expected = || format!("{} from {} to {}", T::KIND, bounds.start().written(), bounds.end().written());
        self.read(key, expected, |value| bounds.contains(value))
    }

    fn read<T: Knob>(&self, key: &str, expected: impl FnOnce() -> String, is_good: impl FnOnce(&T) -> bool) -> Option<T> {
        let read = T::read(self.find(key)?);
        match read {
            Ok(value) if is_good(&value) => return Some(value),
            Ok(value) => self.fault(key, &value.written(), &expected()),
            Err(found) => self.fault(key, &found, &expected()),
        }
        None
    }

    fn find(&self, key: &str) -> Option<&'d Value> {
        self.asked.borrow_mut().push(key.to_owned());
        self.peek(key)
    }

    fn peek(&self, key: &str) -> Option<&'d Value> {
        self.table?.get(key)
    }

    fn is_from_environment(&self, key: &str) -> bool {
        self.document.is_from_environment(&self.path(key))
    }

    fn remember(&self, key: &str, default: Option<String>) {
        self.notes.knobs.borrow_mut().push(KnobRead { keys: self.path(key), default });
    }

    fn path(&self, key: &str) -> Vec<String> {
        self.keys.iter().cloned().chain([key.to_owned()]).collect()
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let asked = self.asked.borrow();
        for key in self.names().iter().filter(|key| !asked.contains(key)) {
            let close = asked.iter().map(|known| (distance(known, key), known)).filter(|(distance, _)| *distance <= 1 + key.len() / 4).min();
            let elsewhere = || self.notes.knobs.borrow().iter().find(|knob| knob.keys.last() == Some(key)).map(|knob| knob.keys.join("."));
            let meant = close.map(|(_, known)| known.clone()).or_else(elsewhere);
            let expected = meant.map_or_else(|| "only keys that config/postseal.toml names".to_owned(), |meant| format!("\"{meant}\", perhaps"));
            self.fault(key, "unknown key", &expected);
        }
    }
}

/// How many letters must be put in, taken out or changed to make one of the other (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}
