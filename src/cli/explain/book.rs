//! Where the configuration says a thing: the line, the variable, or nowhere, and then it is a default.

use crate::config::{Document, Origin, document::written};
use serde_json::{Value, json};
use std::fmt;

/// The configuration as a book to quote from.
pub struct Book<'a> {
    document: &'a Document,
}

/// The place that decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Because {
    /// What is written there.
    Written {
        /// The key, as TOML writes it.
        key: String,
        /// Where.
        origin: Origin,
    },
    /// Nothing is written at this key, so its default holds.
    Default {
        /// The key.
        key: String,
    },
    /// A file beside the configuration.
    File(String),
    /// A rule that cannot be changed, or what was typed.
    Fixed,
}

impl<'a> Book<'a> {
    pub const fn of(document: &'a Document) -> Self {
        Self { document }
    }

    /// What stands at `keys`.
    pub fn at(&self, keys: &[&str]) -> Because {
        let is_element = keys.last().is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()));
        let named = if is_element { &keys[..keys.len() - 1] } else { keys };
        match self.document.origin(keys) {
            Some(origin) => Because::Written { key: written(named), origin },
            None => Because::Default { key: written(named) },
        }
    }

    /// The first of several places where something stands; the last one's default where nothing does.
    pub fn first(&self, places: &[&[&str]]) -> Because {
        let written = places.iter().map(|keys| self.at(keys)).find(|because| matches!(because, Because::Written { .. }));
        written.or_else(|| places.last().map(|keys| self.at(keys))).unwrap_or(Because::Fixed)
    }

    /// As the operator wrote the key that means `wanted` in the table at `keys`.
    pub fn spelled<T: std::str::FromStr + PartialEq>(&self, keys: &[&str], wanted: &T) -> Option<String> {
        self.document.names(keys).into_iter().find(|name| name.parse::<T>().is_ok_and(|read| read == *wanted))
    }

    /// The text at `keys`.
    pub fn text_at(&self, keys: &[&str]) -> Option<String> {
        self.document.text(keys)
    }

    /// The path of the file, whose folder paths in it are relative to.
    pub fn path(&self) -> &std::path::Path {
        self.document.path()
    }
}

impl Because {
    /// For JSON: where and by which key.
    pub fn json(&self) -> Value {
        match self {
            Self::Written { key, origin: Origin::Line { file, line } } => json!({ "key": key, "file": file, "line": line }),
            Self::Written { key, origin: Origin::Variable(variable) } => json!({ "key": key, "variable": variable }),
            Self::Default { key } => json!({ "key": key, "default": true }),
            Self::File(path) => json!({ "file": path }),
            Self::Fixed => Value::Null,
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written { origin, .. } => write!(f, "{origin}"),
            Self::Default { key } => write!(f, "default of {key}"),
            Self::File(path) => f.write_str(path),
            Self::Fixed => Ok(()),
        }
    }
}
