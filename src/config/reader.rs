//! Reads values out of a [`Document`] and remembers every fault, every key it was asked for and every default.
//!
//! serde would stop at the first fault; this goes on, so that an operator mends a file in one round.

use super::document::Document;
use super::fault::{Fault, Faults};
use super::knob::Knob;
use figment::value::{Dict, Value};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// A table of the configuration being read. Keys that nobody asked for are faults when it is dropped.
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
    /// The faults, if there are any, in the order of the file as far as it is known.
    pub fn into_result(self) -> Result<Vec<KnobRead>, Faults> {
        let faults = self.faults.into_inner();
        if faults.is_empty() { Ok(self.knobs.into_inner()) } else { Err(Faults(faults)) }
    }
}

impl<'d> Reader<'d> {
    /// The outermost table.
    pub fn root(document: &'d Document, notes: &'d Notes) -> Self {
        Self { document, notes, keys: Vec::new(), table: Some(document.root()), asked: RefCell::default() }
    }

    /// The table at `key`; where it is absent every knob in it has its default.
    pub fn table(&self, key: &str) -> Self {
        let keys = self.path(key);
        let table = match self.find(key) {
            None => None,
            Some(Value::Dict(_, table)) => Some(table),
            Some(other) => {
                self.add(self.document.fault(&keys, Some(other), "a single value", "a table"));
                None
            }
        };
        Reader { document: self.document, notes: self.notes, keys, table, asked: RefCell::default() }
    }

    /// Whether the file or the environment says anything at `key`.
    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
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

    /// A value with a default.
    pub fn value<T: Knob>(&self, key: &str, default: T) -> T {
        self.remember(key, Some(default.written()));
        self.read(key).unwrap_or(default)
    }

    /// A value that may be absent.
    pub fn optional<T: Knob>(&self, key: &str) -> Option<T> {
        self.remember(key, None);
        self.read(key)
    }

    /// A value that must be there; `None` after a fault.
    pub fn required<T: Knob>(&self, key: &str) -> Option<T> {
        self.remember(key, None);
        if !self.has(key) {
            self.asked.borrow_mut().push(key.to_owned());
            self.fault(key, "missing", T::EXPECTED);
            return None;
        }
        self.read(key)
    }

    /// One of several words.
    pub fn one_of<T: Copy>(&self, key: &str, words: &[(&str, T)], default: T, default_word: &str) -> T {
        self.remember(key, Some(format!("\"{default_word}\"")));
        let Some(text) = self.read::<String>(key) else { return default };
        words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).unwrap_or_else(|| {
            let expected = words.iter().map(|(word, _)| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
            self.fault(key, &format!("\"{text}\""), &format!("one of {expected}"));
            default
        })
    }

    /// A secret: the text at `key`, or the content of the file that `<key>_file` names, without its last line end.
    pub fn secret(&self, key: &str) -> Option<secrecy::SecretString> {
        let file_key = format!("{key}_file");
        self.remember(key, None);
        self.remember(&file_key, None);
        let text = self.read::<String>(key);
        let file = self.read::<PathBuf>(&file_key);
        match (text, file) {
            (Some(_), Some(_)) => {
                self.fault(&file_key, &format!("both {key} and {file_key}"), "one of the two");
                None
            }
            (Some(text), None) => Some(text.into()),
            (None, Some(file)) => match std::fs::read_to_string(self.resolve(&file)) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned().into()),
                Err(error) => {
                    self.fault(&file_key, &format!("\"{}\" cannot be read: {error}", file.display()), "a readable file that holds the secret");
                    None
                }
            },
            (None, None) => None,
        }
    }

    /// A path relative to the configuration file's folder.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.document.path().parent().unwrap_or_else(|| Path::new("")).join(path)
    }

    /// Adds a fault of the value at `key`.
    pub fn fault(&self, key: &str, found: &str, expected: &str) {
        self.add(self.document.fault(&self.path(key), self.peek(key), found, expected));
    }

    /// Adds a fault of a value further down, found out later.
    pub fn fault_at(&self, keys: &[&str], found: &str, expected: &str) {
        let mut all = self.keys.clone();
        all.extend(keys.iter().map(|key| (*key).to_owned()));
        self.add(self.document.fault(&all, None, found, expected));
    }

    /// Adds a fault of this table as a whole.
    pub fn table_fault(&self, found: &str, expected: &str) {
        self.add(self.document.fault(&self.keys, None, found, expected));
    }

    fn read<T: Knob>(&self, key: &str) -> Option<T> {
        let value = self.find(key)?;
        match T::read(value) {
            Ok(value) => Some(value),
            Err(found) => {
                self.add(self.document.fault(&self.path(key), Some(value), &found, T::EXPECTED));
                None
            }
        }
    }

    fn find(&self, key: &str) -> Option<&'d Value> {
        self.asked.borrow_mut().push(key.to_owned());
        self.peek(key)
    }

    fn peek(&self, key: &str) -> Option<&'d Value> {
        self.table.and_then(|table| table.get(key))
    }

    fn remember(&self, key: &str, default: Option<String>) {
        self.notes.knobs.borrow_mut().push(KnobRead { keys: self.path(key), default });
    }

    fn path(&self, key: &str) -> Vec<String> {
        let mut keys = self.keys.clone();
        keys.push(key.to_owned());
        keys
    }

    fn add(&self, fault: Fault) {
        self.notes.faults.borrow_mut().push(fault);
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let asked = self.asked.borrow();
        for key in self.table.into_iter().flat_map(|table| table.keys()) {
            if !asked.contains(key) {
                let close = asked.iter().find(|known| is_close(known, key));
                let expected = close.map_or_else(|| "only keys that config/postseal.toml names".to_owned(), |known| format!("\"{known}\", perhaps"));
                self.fault(key, "unknown key", &expected);
            }
        }
    }
}

/// Whether one is the other with a letter wrong, missing, doubled or two swapped.
fn is_close(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail = a[head..].iter().rev().zip(b[head..].iter().rev()).take_while(|(x, y)| x == y).count();
    let (rest_a, rest_b) = (a.len() - head - tail, b.len() - head - tail);
    rest_a <= 2 && rest_b <= 2 && head + tail >= 2 || a.len() > 5 && a.iter().all(|c| b.contains(c)) && b.iter().all(|c| a.contains(c))
}
