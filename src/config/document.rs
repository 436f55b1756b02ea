//! What was written: one TOML file and the environment, merged by figment, and where each value stands.
//!
//! figment merges and knows which source gave a value, but names no line; the line is found again through `toml`'s spans.

use super::fault::{Fault, Faults};
use super::sidecar::{self, Expansion, SECTION};
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
    /// What came of `[sidecar]`.
    expansion: Expansion,
}

/// The configuration file that is read when none is named.
pub const DEFAULT_FILE: &str = "postseal.toml";

impl Document {
    /// Reads `path` and lays the variables over it. Where `[sidecar]` is among them, [`DEFAULT_FILE`] need not be there.
    ///
    /// # Errors
    /// The file cannot be read, or is not TOML: then nothing else can be checked.
    pub fn read(path: &Path, variables: impl IntoIterator<Item = (String, String)>) -> Result<Self, Faults> {
        let variables: Vec<_> = variables.into_iter().collect();
        let unreadable = |error: std::io::Error| {
            let expected = if path == Path::new(DEFAULT_FILE) { NO_FILE } else { "a configuration file; name it with --config" };
            Faults::one(Fault::new(&path.display().to_string(), "", &format!("cannot be read: {error}"), expected))
        };
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && can_do_without(path, &variables) => String::new(),
            read => read.map_err(unreadable)?,
        };
        Self::of(&text, path, variables)
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
        let mut document = Self { figment, root, text: text.to_owned(), path: path.to_owned(), expansion: Expansion::default() };
        let expansion = sidecar::expand(&document);
        lay_below(&mut document.root, &expansion.values);
        document.expansion = expansion;
        Ok(document)
    }

    /// What came of `[sidecar]`, each a key and its value with their source behind it, sorted; no secrets.
    #[must_use]
    pub fn expanded(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.expansion.sources.keys().filter_map(|keys| self.expanded_line(keys)).collect();
        lines.sort();
        lines
    }

    fn expanded_line(&self, keys: &[String]) -> Option<String> {
        let value = self.value(keys)?;
        let value = if keys.last()?.starts_with("password") { "\"***\"".to_owned() } else { toml::Value::try_from(value).ok()?.to_string() };
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let source = self.origin(&names).map_or_else(|| "by default".to_owned(), |origin| origin.to_string());
        Some(format!("{} = {value}  # {source}", written(keys)))
    }

    /// What came of `[sidecar]`.
    pub(super) const fn expansion(&self) -> &Expansion {
        &self.expansion
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
        let owned = self.source(&owned);
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

    /// Where the value at `keys` was written, if it came of `[sidecar]`; else `keys`.
    fn source(&self, keys: &[String]) -> Vec<String> {
        match (self.expansion.sources.get(keys), keys.split_last()) {
            (Some(from), _) => vec![SECTION.to_owned(), (*from).to_owned()],
            // An element of a list came with the list.
            (None, Some((_, list))) if self.expansion.sources.contains_key(list) => self.source(list),
            (None, _) => keys.to_owned(),
        }
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
        let keys = &self.source(keys);
        let Some(value) = self.value(keys) else { return false };
        let stands_in_file = value.as_dict().is_some() && self.place(keys).is_some_and(|(depth, _)| depth == keys.len());
        !stands_in_file && self.figment.get_metadata(value.tag()).is_some_and(|metadata| metadata.name == ENVIRONMENT)
    }

    pub(super) fn value(&self, keys: &[String]) -> Option<&Value> {
        let (first, rest) = keys.split_first()?;
        rest.iter().try_fold(self.root.get(first)?, |value, key| value.as_dict()?.get(key))
    }

    /// A fault of the value at `keys`, with its source: file and line, or the variable.
    pub(super) fn fault(&self, keys: &[String], found: &str, expected: &str) -> Fault {
        let keys = &self.source(keys);
        let key = written(keys);
        if self.is_from_environment(keys) || self.belongs_into_environment(keys) {
            return Fault::new(&variable(keys), &key, found, expected);
        }
        let fault = Fault::new(&self.path.display().to_string(), &key, found, expected);
        match self.place(keys) {
            Some((_, line)) => fault.at_line(line),
            None => fault,
        }
    }

    /// A key of `[sidecar]` that is missing where the environment has the others.
    fn belongs_into_environment(&self, keys: &[String]) -> bool {
        let [section, _] = keys else { return false };
        section == SECTION && self.value(keys).is_none() && self.is_from_environment(std::slice::from_ref(section))
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

/// Lays what `lower` has and `upper` has not into `upper`.
fn lay_below(upper: &mut Dict, lower: &Dict) {
    for (key, value) in lower {
        match (upper.get_mut(key), value) {
            (Some(Value::Dict(_, upper)), Value::Dict(_, lower)) => lay_below(upper, lower),
            (Some(_), _) => {}
            (None, value) => drop(upper.insert(key.clone(), value.clone())),
        }
    }
}

/// Whether there is a configuration to load: the file, or variables that do without it.
#[must_use]
pub fn is_there(file: &Path) -> bool {
    let names = || std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    file.exists() || (file == Path::new(DEFAULT_FILE) && names().any(|name| is_of_sidecar(&name)))
}

/// Whether the variables are a configuration by themselves.
fn can_do_without(file: &Path, variables: &[(String, String)]) -> bool {
    file == Path::new(DEFAULT_FILE) && variables.iter().any(|(name, _)| is_of_sidecar(name))
}

fn is_of_sidecar(variable: &str) -> bool {
    parts(variable).is_some_and(|parts| parts[0] == spoken(SECTION))
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
            if parts[0] == spoken(SECTION) && value.trim().is_empty() {
                continue; // compose files and templates write such ones where nothing was set
            }
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

const NO_FILE: &str = "a configuration file here, one named with --config, or the variables POSTSEAL_SIDECAR__DOMAIN, …__HOSTNAME and …__DIRECTORY";
const ENVIRONMENT: &str = "environment";
const PREFIX: &str = "POSTSEAL_";
const SEPARATOR: &str = "__";
