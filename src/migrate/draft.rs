//! A configuration as it comes together: tables, each value with its origin, and two lists for a person.

use std::fmt::Write as _;

/// What a reader made of another system's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    sections: Vec<Section>,
    /// What is not carried over, each a sentence with the reason, or with what stands in its place here.
    pub left: Vec<String>,
    /// What remains to be done before the first start, each a sentence or a command.
    pub to_do: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Section {
    name: String,
    lines: Vec<Line>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    key: String,
    value: String,
    origin: String,
}

impl Draft {
    /// A text, in the table `section`. A later word on the same key replaces the earlier one.
    pub fn text(&mut self, section: &str, key: &str, value: &str, origin: &str) {
        self.put(section, key, quoted(value), origin);
    }

    /// A list of texts; those that are there already stay, no text stands twice.
    pub fn list<T: AsRef<str>>(&mut self, section: &str, key: &str, values: impl IntoIterator<Item = T>, origin: &str) {
        let mut all: Vec<String> = Vec::new();
        for value in values {
            let value = quoted(value.as_ref());
            if !all.contains(&value) {
                all.push(value);
            }
        }
        self.put(section, key, format!("[{}]", all.join(", ")), origin);
    }

    /// A number.
    pub fn number(&mut self, section: &str, key: &str, value: u64, origin: &str) {
        self.put(section, key, value.to_string(), origin);
    }

    /// Yes or no.
    pub fn flag(&mut self, section: &str, key: &str, value: bool, origin: &str) {
        self.put(section, key, value.to_string(), origin);
    }

    /// A table that needs no key, or none yet.
    pub fn table(&mut self, section: &str) {
        let _ = self.section(section);
    }

    /// Says that something is not carried over.
    pub fn leave(&mut self, why: impl Into<String>) {
        let why = why.into();
        if !self.left.contains(&why) {
            self.left.push(why);
        }
    }

    /// Says what remains to be done.
    pub fn ask(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.to_do.contains(&what) {
            self.to_do.push(what);
        }
    }

    /// The TOML value of a key, as it will be printed.
    #[must_use]
    pub fn value(&self, section: &str, key: &str) -> Option<&str> {
        let section = self.sections.iter().find(|found| found.name == section)?;
        section.lines.iter().find(|line| line.key == key).map(|line| line.value.as_str())
    }

    /// Whether there is such a table, or one below it.
    #[must_use]
    pub fn has(&self, section: &str) -> bool {
        self.sections.iter().any(|found| found.name == section || found.name.strip_prefix(section).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The configuration file, with both lists as comments in front. `from` names what was read.
    #[must_use]
    pub fn print(&self, from: &str) -> String {
        let mut out = format!("# Made from {} by postseal. Look it through, then ask `postseal config check --config FILE`.\n", on_one_line(from));
        comments(&mut out, "To be done before it starts:", &self.to_do);
        comments(&mut out, "Not carried over:", &self.left);
        let mut sections: Vec<&Section> = self.sections.iter().collect();
        sections.sort_by_key(|section| ORDER.iter().position(|first| section.name.split('.').next() == Some(first)).unwrap_or(ORDER.len()));
        for section in sections {
            let _ = writeln!(out, "\n[{}]", section.name);
            let width = section.lines.iter().map(|line| line.key.len() + line.value.len() + 3).filter(|width| *width < COLUMN).max().unwrap_or(0);
            for line in &section.lines {
                let said = format!("{} = {}", line.key, line.value);
                let _ = if line.origin.is_empty() { writeln!(out, "{said}") } else { writeln!(out, "{said:<width$} # {}", on_one_line(&line.origin)) };
            }
        }
        out
    }

    fn put(&mut self, section: &str, key: &str, value: String, origin: &str) {
        let key = if is_bare(key) { key.to_owned() } else { quoted(key) };
        let lines = &mut self.section(section).lines;
        let line = Line { key, value, origin: origin.to_owned() };
        match lines.iter_mut().find(|there| there.key == line.key) {
            Some(there) => *there = line,
            None => lines.push(line),
        }
    }

    fn section(&mut self, name: &str) -> &mut Section {
        let at = self.sections.iter().position(|section| section.name == name).unwrap_or_else(|| {
            self.sections.push(Section { name: name.to_owned(), lines: Vec::new() });
            self.sections.len() - 1
        });
        &mut self.sections[at]
    }
}

fn comments(out: &mut String, title: &str, sentences: &[String]) {
    if sentences.is_empty() {
        return;
    }
    let _ = writeln!(out, "#\n# {title}");
    for sentence in sentences {
        let _ = writeln!(out, "# - {}", on_one_line(sentence));
    }
}

/// What another file says must not begin a line of ours.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn is_bare(key: &str) -> bool {
    !key.is_empty() && key.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_' || c == b'-')
}

/// Tables in the order of the example file.
const ORDER: [&str; 10] = ["server", "tls", "listeners", "identities", "users", "domains", "routes", "smart_hosts", "streams", "deliver"];
/// Where comments begin at the latest, unless a line is longer.
const COLUMN: usize = 60;
