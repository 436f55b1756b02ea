//! rspamd's `dkim_signing.conf` and its folder of keys (the module dkim_signing). Pure but for the listing of a folder.
//!
//! ```text
//! path = "/var/lib/rspamd/dkim/$domain.$selector.key";
//! selector = "dkim";
//! domain {
//!   example.com { selectors [ { path = "/etc/dkim/a.key"; selector = "a"; } ] }
//! }
//! ```
//!
//! Of UCL, the language of that file, what such files use is read: tables, lists, texts, comments. Files it includes are not.

use super::{Foreign, Found, Source, named};
use std::fs;
use std::path::{Path, PathBuf};

/// A value of UCL. A table keeps the order of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Value {
    Text(String),
    List(Vec<Value>),
    Table(Vec<(String, Value)>),
}

/// The keys of a folder, by the names rspamd gives them: `DOMAIN.SELECTOR.key`. The selector is the last label, the domain the rest.
///
/// # Errors
/// The folder cannot be listed, or holds none.
pub fn folder(path: &Path) -> Result<Found, Vec<String>> {
    let found = by_names(path, "$domain.$selector.key", None).map_err(|fault| vec![fault])?;
    if found.keys.is_empty() {
        return Err(vec![format!("{}: there is no file named DOMAIN.SELECTOR.key in it", path.display())]);
    }
    Ok(found)
}

/// The keys that a `dkim_signing.conf` names. `map` tells where the paths of that machine are on this one.
///
/// # Errors
/// The text is not read, or names no key.
pub fn configuration(text: &str, map: impl Fn(&Path) -> PathBuf) -> Result<Found, Vec<String>> {
    let mut root = Reader { rest: text, line: 1 }.table(false).map_err(|fault| vec![fault])?;
    if let Some((_, Value::Table(inner))) = root.iter().find(|(name, _)| name == "dkim_signing") {
        root = inner.clone();
    }
    let mut found = Found::default();
    let mut faults = Vec::new();
    let path = text_of(&root, "path").unwrap_or(PATH);
    let selector = text_of(&root, "selector").unwrap_or(SELECTOR);
    let mut listed = Vec::new();
    for (_, domains) in root.iter().filter(|(name, _)| name == "domain") {
        let Value::Table(domains) = domains else { continue };
        for (domain, settings) in domains {
            let Value::Table(settings) = settings else { continue };
            listed.push(domain.to_ascii_lowercase());
            for (key_path, key_selector) in keys_of(settings, path, selector) {
                match named(domain, key_selector) {
                    Ok((domain, selector)) => {
                        let path = expanded(key_path, domain.as_str(), selector.as_str());
                        found.keys.push(Foreign { domain, selector, source: Source::File(map(Path::new(&path))) });
                    }
                    Err(fault) => faults.push(format!("domain {domain}: {fault}")),
                }
            }
        }
    }
    for name in ["selector_map", "path_map", "signing_table", "key_table"] {
        if let Some(table) = text_of(&root, name) {
            let advice = if name.ends_with("_table") { "give it with --opendkim-keytable and --signing-table" } else { "import its keys one by one" };
            found.notes.push(format!("{name} = \"{table}\" is not followed; {advice}"));
        }
    }
    if text_of(&root, "use_redis").is_some_and(|word| matches!(word, "true" | "yes" | "on")) {
        found.notes.push("keys in Redis are not fetched: write each to a file and import that".to_owned());
    }
    // Without a table a domain has the key that the general path leads to.
    if path.contains("$domain") && !path.contains("//") {
        let whole = map(Path::new(&expanded(path, "$domain", "$selector")));
        if let (Some(folder), Some(name)) = (whole.parent().filter(|folder| folder.is_dir()), whole.file_name().and_then(|name| name.to_str())) {
            match by_names(folder, name, Some(selector)) {
                Ok(more) => found.keys.extend(more.keys.into_iter().filter(|key| !listed.contains(&key.domain.to_string()))),
                Err(fault) => faults.push(fault),
            }
        }
    }
    if found.keys.is_empty() && faults.is_empty() {
        faults.push("it names no key; expected domain { example.com { path = \"…\"; selector = \"…\"; } }, or a path with $domain and files there".to_owned());
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

/// Path and selector of each key of a domain.
fn keys_of<'a>(settings: &'a [(String, Value)], path: &'a str, selector: &'a str) -> Vec<(&'a str, &'a str)> {
    let pair = |table: &'a [(String, Value)]| (text_of(table, "path").unwrap_or(path), text_of(table, "selector").unwrap_or(selector));
    match settings.iter().find(|(name, _)| name == "selectors") {
        Some((_, Value::List(items))) => items.iter().filter_map(|item| if let Value::Table(table) = item { Some(pair(table)) } else { None }).collect(),
        Some((_, Value::Table(table))) => vec![pair(table)],
        _ => vec![pair(settings)],
    }
}

/// Files of a folder whose names fit a template with `$domain` and maybe `$selector`; with `only`, those of that selector.
fn by_names(folder: &Path, template: &str, only: Option<&str>) -> Result<Found, String> {
    let template = only.map_or_else(|| template.to_owned(), |selector| template.replace("$selector", selector));
    let Some((start, rest)) = template.split_once("$domain") else { return Ok(Found::default()) };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| format!("{}: it cannot be read: {error}", folder.display()))? {
        let entry = entry.map_err(|error| format!("{}: it cannot be read: {error}", folder.display()))?;
        names.extend(entry.file_name().to_str().map(str::to_owned));
    }
    names.sort();
    let mut found = Found::default();
    for name in names {
        let parts = match rest.split_once("$selector") {
            None => name.strip_prefix(start).and_then(|name| name.strip_suffix(rest)).map(|domain| (domain, only.unwrap_or(SELECTOR))),
            Some((between, end)) => name.strip_prefix(start).and_then(|name| name.strip_suffix(end)).and_then(|name| name.rsplit_once(between)),
        };
        if let Some((domain, selector)) = parts.and_then(|(domain, selector)| named(domain, selector).ok()) {
            found.keys.push(Foreign { domain, selector, source: Source::File(folder.join(&name)) });
        }
    }
    Ok(found)
}

fn expanded(path: &str, domain: &str, selector: &str) -> String {
    let path = VARIABLES
        .iter()
        .fold(path.to_owned(), |path, (name, value)| path.replace(&format!("${{{name}}}"), value).replace(&format!("${name}/"), &format!("{value}/")));
    path.replace("$domain", domain).replace("$selector", selector)
}

fn text_of<'a>(table: &'a [(String, Value)], name: &str) -> Option<&'a str> {
    let found = table.iter().rev().find(|(known, _)| known == name);
    found.and_then(|(_, value)| if let Value::Text(text) = value { Some(text.as_str()) } else { None })
}

/// Reads UCL from the front.
struct Reader<'a> {
    rest: &'a str,
    line: usize,
}

impl Reader<'_> {
    /// Up to the closing brace, or the end of the text.
    fn table(&mut self, is_braced: bool) -> Result<Vec<(String, Value)>, String> {
        let mut table = Vec::new();
        loop {
            self.skip(&[';', ',']);
            match self.peek() {
                None if is_braced => return Err(format!("line {}: a brace is not closed", self.line)),
                None => return Ok(table),
                Some('}') if is_braced => {
                    self.take();
                    return Ok(table);
                }
                Some('.') => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.take();
                    }
                }
                Some(_) => {
                    let name = self.word()?;
                    self.skip(&['=', ':']);
                    let value = self.value()?;
                    table.push((name, value));
                }
            }
        }
    }

    fn value(&mut self) -> Result<Value, String> {
        match self.peek() {
            Some('{') => {
                self.take();
                Ok(Value::Table(self.table(true)?))
            }
            Some('[') => {
                self.take();
                let mut items = Vec::new();
                loop {
                    self.skip(&[',', ';']);
                    match self.peek() {
                        None => return Err(format!("line {}: a bracket is not closed", self.line)),
                        Some(']') => {
                            self.take();
                            return Ok(Value::List(items));
                        }
                        Some(_) => items.push(self.value()?),
                    }
                }
            }
            // A name of two words is a table in a table: `domain "example.com" { … }`.
            _ => {
                let word = self.word()?;
                self.blanks_of_line();
                if self.peek() == Some('{') {
                    let inner = self.value()?;
                    return Ok(Value::Table(vec![(word, inner)]));
                }
                Ok(Value::Text(word))
            }
        }
    }

    fn word(&mut self) -> Result<String, String> {
        let mut word = String::new();
        match self.peek() {
            Some(quote @ ('"' | '\'')) => {
                self.take();
                loop {
                    match self.take() {
                        Some(c) if c == quote => return Ok(word),
                        Some('\\') => word.extend(self.take()),
                        Some(c) => word.push(c),
                        None => return Err(format!("line {}: a quote is not closed", self.line)),
                    }
                }
            }
            _ => {
                while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && !"=;,{}[]#\"'".contains(*c)) {
                    if c == ':' && !word.contains('/') {
                        break;
                    }
                    self.take();
                    word.push(c);
                }
                if word.is_empty() { Err(format!("line {}: a name or a value was expected", self.line)) } else { Ok(word) }
            }
        }
    }

    /// Past blanks, comments and these.
    fn skip(&mut self, also: &[char]) {
        while let Some(c) = self.peek() {
            if c == '#' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.take();
                }
            } else if self.rest.starts_with("/*") {
                let end = self.rest.find("*/").map_or(self.rest.len(), |at| at + 2);
                self.line += self.rest[..end].matches('\n').count();
                self.rest = &self.rest[end..];
            } else if c.is_whitespace() || also.contains(&c) {
                self.take();
            } else {
                return;
            }
        }
    }

    fn blanks_of_line(&mut self) {
        while self.peek().is_some_and(|c| c == ' ' || c == '\t') {
            self.take();
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn take(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        self.line += usize::from(c == '\n');
        Some(c)
    }
}

/// Where rspamd looks, and which selector it takes, if it is not told.
const PATH: &str = "/var/lib/rspamd/dkim/$domain.$selector.key";
const SELECTOR: &str = "dkim";
/// Where its packages put things.
const VARIABLES: [(&str, &str); 4] = [("DBDIR", "/var/lib/rspamd"), ("LOCAL_CONFDIR", "/etc/rspamd"), ("CONFDIR", "/etc/rspamd"), ("RUNDIR", "/run/rspamd")];

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(found: &Found) -> Vec<(String, String, String)> {
        found.keys.iter().map(|key| (key.domain.to_string(), key.selector.to_string(), format!("{:?}", key.source))).collect()
    }

    #[test]
    fn domains_have_one_key_or_several_or_the_general_one() {
        let text = r#"
            # general
            allow_envfrom_empty = true;
            path = "${DBDIR}/dkim/$domain.$selector.key"; selector = "main"
            /* the
               domains */
            domain {
              example.com { path: /keys/example.key; selector: ds }
              "example.net" { selectors [ { path = "/keys/rsa.key"; selector = "r" }, { path = "/keys/ed.key"; selector = "e"; } ] }
              example.org { }
            }
            .include(try=true) "$LOCAL_CONFDIR/more.conf"
            selector_map = "/etc/rspamd/selectors.map";
        "#;
        let found = configuration(text, |path| Path::new("/nowhere").join(path.strip_prefix("/").unwrap())).unwrap();
        let expect = [
            ("example.com", "ds", "File(/nowhere/keys/example.key)"),
            ("example.net", "r", "File(/nowhere/keys/rsa.key)"),
            ("example.net", "e", "File(/nowhere/keys/ed.key)"),
            ("example.org", "main", "File(/nowhere/var/lib/rspamd/dkim/example.org.main.key)"),
        ];
        assert_eq!(keys(&found), expect.map(|(a, b, c)| (a.into(), b.into(), c.into())));
        assert!(found.notes.len() == 1 && found.notes[0].contains("selector_map"), "{:?}", found.notes);
    }

    #[test]
    fn the_whole_section_reads_too() {
        let text = "dkim_signing {\n domain \"example.com\" { selector = x; path = /keys/x }\n}\n";
        assert_eq!(configuration(text, Path::to_owned).unwrap().keys.len(), 1);
    }

    #[test]
    fn what_is_not_read_is_told_with_its_line() {
        for (text, expected) in [
            ("domain {\n", "line 2: a brace is not closed"),
            ("path = \"x", "a quote is not closed"),
            ("a = [1", "a bracket is not closed"),
            ("a = ;", "line 1: a name or a value"),
            ("enabled = true", "it names no key"),
        ] {
            let faults = configuration(text, |_| PathBuf::from("/nowhere/$domain")).unwrap_err();
            assert!(faults[0].contains(expected), "{faults:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,80}", words in "(domain|path|=|:|\\{|\\}|\\[|\\]|\"|#|/\\*|\n| |;|a.b){0,20}") {
            let _ = configuration(&text, |_| PathBuf::from("/nowhere"));
            let _ = configuration(&words, |_| PathBuf::from("/nowhere"));
        }
    }
}
