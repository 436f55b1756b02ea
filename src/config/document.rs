//! What was written: one TOML file and the environment, merged by figment, and where each value stands.
//!
//! figment merges and knows which source gave a value, but names no line; the line is found again through `toml`'s spans.

use super::fault::{Fault, Faults};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A configuration as written, before it means anything.
pub struct Document {
    figment: Figment,
    root: Dict,
    text: String,
    path: PathBuf,
}

impl Document {
    /// Reads `path` and lays the variables over it.
    ///
    /// # Errors
    /// The file cannot be read, or is not TOML: then nothing else can be checked.
    pub fn read(path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| Faults::one(Fault::new(&shown, "", &error.to_string(), "a readable TOML file; name one with --config")))?;
        Self::of(&text, path, variables)
    }

    /// As [`Document::read`], of a text at hand.
    ///
    /// # Errors
    /// The text is not TOML.
    pub fn of(text: &str, path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        let shown = path.display().to_string();
        let (_, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let fault = |error: &toml::de::Error| {
                let line = error.span().map_or(1, |span| line_of(text, span.start));
                Fault::new(&shown, "", error.message(), "TOML as in config/postseal.toml").at_line(line)
            };
            return Err(Faults(errors.iter().map(fault).collect()));
        }
        let table: Dict = toml::from_str(text).map_err(|error| Faults::one(Fault::new(&shown, "", error.message(), "TOML as in config/postseal.toml")))?;
        let figment = Figment::from(File { table, name: shown }).merge(Environment::of(variables));
        let Ok(Value::Dict(_, root)) = figment.find_value("") else {
            return Ok(Self { figment, root: Dict::new(), text: text.to_owned(), path: path.to_owned() });
        };
        Ok(Self { figment, root, text: text.to_owned(), path: path.to_owned() })
    }

    /// The outermost table.
    pub(super) const fn root(&self) -> &Dict {
        &self.root
    }

    /// The configuration file; paths in it are relative to its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A fault of the value at `keys`, with its source: file and line, or the variable.
    pub(super) fn fault(&self, keys: &[String], value: Option<&Value>, found: &str, expected: &str) -> Fault {
        let key = keys.iter().map(|key| quoted(key)).collect::<Vec<_>>().join(".");
        let is_variable = value.and_then(|value| self.figment.get_metadata(value.tag())).is_some_and(|metadata| metadata.name == ENVIRONMENT);
        if is_variable {
            return Fault::new(&format!("${PREFIX}{}", keys.join(SEPARATOR).to_uppercase()), &key, found, expected);
        }
        let fault = Fault::new(&self.path.display().to_string(), &key, found, expected);
        match self.line(keys) {
            Some(line) => fault.at_line(line),
            None => fault,
        }
    }

    /// The line of the deepest of `keys` that the file has.
    fn line(&self, keys: &[String]) -> Option<usize> {
        let root = DeTable::parse(&self.text).ok()?.into_inner();
        let mut at = None;
        let mut table = &root;
        let mut inner: &Spanned<DeValue<'_>>;
        for key in keys {
            let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref() == key.as_str()) else { break };
            at = Some(line_of(&self.text, name.span().start));
            inner = value;
            match inner.get_ref().as_table() {
                Some(next) => table = next,
                None => break,
            }
        }
        at
    }
}

/// The parsed file as a figment provider.
struct File {
    table: Dict,
    name: String,
}

impl Provider for File {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.table.clone()))
    }
}

/// Variables `POSTSEAL_A__B` as figment provider. Every value stays the text it is: figment's own provider reads `0123` as a number,
/// and a password would lose its zero. Names without a double underscore are left alone: Kubernetes makes some.
struct Environment(Dict);

impl Environment {
    fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut root = Dict::new();
        for (name, value) in variables {
            let Some(path) = name.strip_prefix(PREFIX).filter(|rest| rest.contains(SEPARATOR)) else { continue };
            let keys: Vec<String> = path.split(SEPARATOR).map(str::to_lowercase).collect();
            insert(&mut root, &keys, value);
        }
        Self(root)
    }
}

fn insert(table: &mut Dict, keys: &[String], value: String) {
    match keys {
        [] => {}
        [last] => {
            table.insert(last.clone(), Value::from(value));
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| Value::from(Dict::new()));
            if let Value::Dict(_, inner) = inner {
                insert(inner, rest, value);
            }
        }
    }
}

impl Provider for Environment {
    fn metadata(&self) -> Metadata {
        Metadata::named(ENVIRONMENT)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.0.clone()))
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

/// A key as TOML writes it.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { key.to_owned() } else { format!("\"{key}\"") }
}

const ENVIRONMENT: &str = "environment";
const PREFIX: &str = "POSTSEAL_";
const SEPARATOR: &str = "__";
