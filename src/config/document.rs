//! What was written: one TOML file and the environment, merged by figment, and where each value stands.
//!
//! figment merges and knows which source gave a value, but names no line; the line is found again through `toml`'s spans.

use super::fault::{Fault, Faults};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::fmt;
use std::path::{Path, PathBuf};
use toml::de::DeTable;

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
        let unreadable = |error: std::io::Error| {
            Faults::one(Fault::new(&path.display().to_string(), "", &format!("cannot be read: {error}"), "a configuration file; name it with --config"))
        };
        Self::of(&std::fs::read_to_string(path).map_err(unreadable)?, path, variables)
    }

    /// As [`Document::read`], of a text at hand.
    ///
    /// # Errors
    /// The text is not TOML.
    pub fn of(text: &str, path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        let name = path.display().to_string();
        let table = parse(text, &name)?;
        let environment = Environment::of(variables, &table);
        let figment = Figment::from(File { table, name }).merge(environment);
        let root = figment.find_value("").ok().and_then(Value::into_dict).unwrap_or_default();
        Ok(Self { figment, root, text: text.to_owned(), path: path.to_owned() })
    }

    /// As [`Document::read`], with the variables of this process.
    ///
    /// # Errors
    /// As [`Document::read`], or a variable of ours is no text.
    pub fn load(path: &Path) -> Result<Self, Faults> {
        Self::read(path, Self::variables()?)
    }

    /// As [`Document::load`]; of a file that is not there, the variables alone.
    ///
    /// # Errors
    /// As [`Document::load`].
    pub fn load_or_empty(path: &Path) -> Result<Self, Faults> {
        if path.exists() { Self::load(path) } else { Self::of("", path, Self::variables()?) }
    }

    fn variables() -> Result<Vec<(String, String)>, Faults> {
        let mut variables = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Some(name) = name.into_string().ok().filter(|name| parts(name).is_some()) else { continue };
            let not_text = |_| Faults::one(Fault::new(&format!("${name}"), "", "octets that are no text", "UTF-8"));
            variables.push((name.clone(), value.into_string().map_err(not_text)?));
        }
        Ok(variables)
    }

    /// Where the value at `keys` stands; behind the key of a list, the number of an element from 0. `None`: nowhere, its default holds.
    #[must_use]
    pub fn origin(&self, keys: &[&str]) -> Option<Origin> {
        let owned: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        let named = match owned.split_last() {
            Some((last, values)) if last.bytes().all(|b| b.is_ascii_digit()) && self.value(&owned).is_none() => values,
            _ => &owned,
        };
        self.value(named)?;
        if self.is_from_environment(named) {
            return Some(Origin::Variable(variable(named)));
        }
        let (depth, line) = self.place(&owned)?;
        (depth >= named.len()).then(|| Origin::Line { file: self.path.display().to_string(), line })
    }

    /// The keys of the table at `keys`, as written; none where there is no table.
    #[must_use]
    pub fn names(&self, keys: &[&str]) -> Vec<String> {
        let owned: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        self.value(&owned).and_then(Value::as_dict).map(|table| table.keys().cloned().collect()).unwrap_or_default()
    }

    /// The text at `keys`, where a text stands there.
    #[must_use]
    pub fn text(&self, keys: &[&str]) -> Option<String> {
        let owned: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        self.value(&owned)?.as_str().map(str::to_owned)
    }

    /// The outermost table.
    pub(super) const fn root(&self) -> &Dict {
        &self.root
    }

    /// The configuration file; paths in it are relative to its folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a variable gave the value at `keys`.
    pub(super) fn is_from_environment(&self, keys: &[String]) -> bool {
        let Some(value) = self.value(keys) else { return false };
        let stands_in_file = value.as_dict().is_some() && self.place(keys).is_some_and(|(depth, _)| depth == keys.len());
        !stands_in_file && self.figment.get_metadata(value.tag()).is_some_and(|metadata| metadata.name == ENVIRONMENT)
    }

    fn value(&self, keys: &[String]) -> Option<&Value> {
        let (first, rest) = keys.split_first()?;
        rest.iter().try_fold(self.root.get(first)?, |value, key| value.as_dict()?.get(key))
    }

    /// A fault of the value at `keys`, with its source: file and line, or the variable.
    pub(super) fn fault(&self, keys: &[String], found: &str, expected: &str) -> Fault {
        let key = written(keys);
        if self.is_from_environment(keys) {
            return Fault::new(&variable(keys), &key, found, expected);
        }
        let fault = Fault::new(&self.path.display().to_string(), &key, found, expected);
        match self.place(keys) {
            Some((_, line)) => fault.at_line(line),
            None => fault,
        }
    }

    /// How many of `keys` the file has, one inside the other, and the line of the innermost of them.
    fn place(&self, keys: &[String]) -> Option<(usize, usize)> {
        let root = DeTable::parse(&self.text).ok()?.into_inner();
        let (mut found, mut table) = (None, Some(&root));
        let mut list = None;
        for (depth, key) in keys.iter().enumerate() {
            let Some((name, value)) = table.and_then(|table| table.iter().find(|(name, _)| name.get_ref() == key.as_str())) else {
                let element = list.and_then(|list: &toml::de::DeArray<'_>| list.get(key.parse::<usize>().ok()?));
                found = element.map(|element| (depth + 1, line_of(&self.text, element.span().start))).or(found);
                break;
            };
            found = Some((depth + 1, line_of(&self.text, name.span().start)));
            table = value.get_ref().as_table();
            list = value.get_ref().as_array();
        }
        found
    }
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// In the file.
    Line {
        /// Its path, as it was given.
        file: String,
        /// From 1.
        line: usize,
    },
    /// In a variable of the environment, with its `$`.
    Variable(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line { file, line } => write!(f, "{file}:{line}"),
            Self::Variable(name) => f.write_str(name),
        }
    }
}

/// Keys as TOML writes them.
pub fn written<K: AsRef<str>>(keys: &[K]) -> String {
    keys.iter().map(|key| quoted(key.as_ref())).collect::<Vec<_>>().join(".")
}

/// The variable that gives the value at `keys`.
fn variable(keys: &[String]) -> String {
    format!("${PREFIX}{}", keys.iter().map(|key| spoken(key)).collect::<Vec<_>>().join(SEPARATOR))
}

/// The text as a table, or every place where it is not TOML.
fn parse(text: &str, name: &str) -> Result<Dict, Faults> {
    let fault = |error: &toml::de::Error| {
        let line = error.span().map_or(1, |span| line_of(text, span.start));
        Fault::new(name, "", &format!("not TOML: {}", error.message()), "").at_line(line)
    };
    let (_, errors) = DeTable::parse_recoverable(text);
    match Faults::of(errors.iter().map(fault).collect()) {
        Some(faults) => Err(faults),
        None => toml::from_str(text).map_err(|error| Faults::one(fault(&error))),
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

/// Variables `POSTSEAL_A__B` as a figment provider. Every value stays the text it is: figment's own provider reads `0123` as a number,
/// and a password would lose its zero. Names without a double underscore are left alone: Kubernetes makes some.
///
/// A part of a name means the key of the file that is spoken like it: `EXAMPLE_COM` the table `"example.com"`. Where there is none it
/// means the key in lower case.
struct Environment(Dict);

impl Environment {
    fn of(variables: impl IntoIterator<Item = (String, String)>, file: &Dict) -> Self {
        let mut root = Dict::new();
        for (name, value) in variables {
            let Some(parts) = parts(&name) else { continue };
            insert(&mut root, Some(file), &parts, value);
        }
        Self(root)
    }
}

/// The parts of a variable's name, if it is meant for us.
pub(super) fn parts(name: &str) -> Option<Vec<&str>> {
    let path = name.strip_prefix(PREFIX).filter(|rest| rest.contains(SEPARATOR))?;
    Some(path.split(SEPARATOR).collect())
}

fn insert(table: &mut Dict, file: Option<&Dict>, parts: &[&str], value: String) {
    let Some((part, rest)) = parts.split_first() else { return };
    let known = file.and_then(|file| file.iter().find(|(key, _)| spoken(key) == spoken(part)));
    let key = known.map_or_else(|| part.to_lowercase(), |(key, _)| key.clone());
    if rest.is_empty() {
        table.insert(key, Value::from(value));
        return;
    }
    let inner = table.entry(key).or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, inner) = inner {
        insert(inner, known.and_then(|(_, value)| value.as_dict()), rest, value);
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
    memchr::memchr_iter(b'\n', &text.as_bytes()[..offset.min(text.len())]).count() + 1
}

/// A key as TOML writes it.
fn quoted(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if bare { key.to_owned() } else { format!("\"{key}\"") }
}

/// A key as the name of a variable has it: `"example.com"` is `EXAMPLE_COM`.
fn spoken(key: &str) -> String {
    key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect()
}

const ENVIRONMENT: &str = "environment";
const PREFIX: &str = "POSTSEAL_";
const SEPARATOR: &str = "__";
