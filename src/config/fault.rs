//! A fault of a configuration: where it stands, what was found and what was expected.

use std::fmt;

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    place: String,
    line: Option<usize>,
    key: String,
    found: String,
    expected: String,
}

/// All faults of a configuration, never none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Fault {
    /// A fault of `key` in `place` (a file or `$VARIABLE`). `expected` may be empty, where `found` is a whole sentence.
    #[must_use]
    pub fn new(place: &str, key: &str, found: &str, expected: &str) -> Self {
        Self { place: place.to_owned(), line: None, key: key.to_owned(), found: found.to_owned(), expected: expected.to_owned() }
    }

    /// The same fault with its line.
    #[must_use]
    pub const fn at_line(mut self, line: usize) -> Self {
        self.line = Some(line);
        self
    }

    /// The key at fault, as TOML writes it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }
}

impl Faults {
    /// A single one.
    #[must_use]
    pub fn one(fault: Fault) -> Self {
        Self(vec![fault])
    }

    /// `None` of none.
    #[must_use]
    pub(super) fn of(mut faults: Vec<Fault>) -> Option<Self> {
        faults.sort_by_key(|fault| (fault.place.starts_with('$'), fault.line));
        (!faults.is_empty()).then_some(Self(faults))
    }

    /// Those of a table; `None` where it has none.
    #[must_use]
    pub(super) fn below(&self, table: &str) -> Option<Self> {
        let is_below = |fault: &&Fault| fault.key.split('.').next() == Some(table);
        Self::of(self.0.iter().filter(is_below).cloned().collect())
    }

    /// First those of the file as a whole (what is missing stands nowhere), then in the order of the file, last those of variables.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Fault> {
        self.0.iter()
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.found)?;
        if self.expected.is_empty() { Ok(()) } else { write!(f, "; expected {}", self.expected) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.0.iter().enumerate() {
            if number > 0 {
                writeln!(f)?;
            }
            write!(f, "{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}
