//! Names of new keys: a template with the month and something that grows, so that no name comes twice. Pure.

use super::Algorithm;
use super::ledger::selector_of;
use crate::mail::{Selector, Timestamp};
use std::fmt;
use std::str::FromStr;

/// How the selectors of new keys are named, as in `ps{yyyymm}{letter}`.
///
/// | in braces | becomes |
/// |---|---|
/// | `yyyy` `yyyymm` `yyyymmdd` | the date of the key's making, in UTC |
/// | `algorithm` | `rsa` or `ed25519` |
/// | `letter` | `a` to `z`, then `aa`, `ab` …: the first that was never used |
/// | `number` | `1`, `2` …: the first that was never used |
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SelectorTemplate {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Year,
    Month,
    Day,
    Algorithm,
    Letter,
    Number,
}

/// Why a text is no template of selectors.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A brace without its other half.
    #[error("\"{0}\" has a brace that is not closed or not opened; expected something like \"ps{{yyyymm}}{{letter}}\"")]
    Brace(String),
    /// A word in braces that means nothing.
    #[error("{{{0}}} is not known; expected {{yyyy}}, {{yyyymm}}, {{yyyymmdd}}, {{algorithm}}, {{letter}} or {{number}}")]
    Word(String),
    /// Nothing, or two things, that grow.
    #[error("\"{0}\" has to hold {{letter}} or {{number}} just once: no selector is used twice, so a name has to be able to grow")]
    Growth(String),
    /// What comes out is no selector.
    #[error(
        "\"{template}\" makes \"{example}\", which is no selector; expected letters, digits and hyphens between them, at most {LABEL_OCTETS_MAX} octets a label"
    )]
    NoSelector {
        /// As it was written.
        template: String,
        /// What it makes.
        example: String,
    },
}

/// So many selectors of one kind are taken that something must be wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the first {TRIES_MAX} selectors like {0} are taken; selectors are never used twice: put a date into the template, as in \"ps{{yyyymm}}{{letter}}\"")]
pub struct SelectorsTaken(pub String);

impl SelectorTemplate {
    /// The first selector that is not `taken`, for a key made at `now`. Asked with lower-case names only.
    ///
    /// # Errors
    /// The first 10,000 are all taken.
    pub fn next(&self, algorithm: Algorithm, now: Timestamp, taken: impl Fn(&Selector) -> bool) -> Result<Selector, SelectorsTaken> {
        let date = now.to_rfc3339();
        let fresh = (0..TRIES_MAX).map(|nth| Selector::new(&self.name(algorithm, &date, nth))).find(|selector| !taken(selector));
        fresh.ok_or_else(|| SelectorsTaken(self.name(algorithm, &date, 0)))
    }

    /// The nth name at a date as RFC 3339 has it: `2026-11-…`.
    fn name(&self, algorithm: Algorithm, date: &str, nth: usize) -> String {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name += text,
                Part::Year => name += &date[..4],
                Part::Month => name += &[&date[..4], &date[5..7]].concat(),
                Part::Day => name += &[&date[..4], &date[5..7], &date[8..10]].concat(),
                Part::Algorithm => name += &algorithm.to_string(),
                Part::Letter => name += &letters(nth),
                Part::Number => name += &(nth + 1).to_string(),
            }
        }
        name
    }
}

impl FromStr for SelectorTemplate {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (plain, after) = rest.split_once('{').map_or((rest, None), |(plain, after)| (plain, Some(after)));
            if plain.contains('}') {
                return Err(TemplateError::Brace(text.to_owned()));
            }
            if !plain.is_empty() {
                parts.push(Part::Text(plain.to_ascii_lowercase()));
            }
            let Some(after) = after else { break };
            let (word, after) = after.split_once('}').ok_or_else(|| TemplateError::Brace(text.to_owned()))?;
            let known = WORDS.iter().find(|(name, _)| *name == word).ok_or_else(|| TemplateError::Word(word.to_owned()))?;
            parts.push(known.1.clone());
            rest = after;
        }
        if parts.iter().filter(|part| matches!(part, Part::Letter | Part::Number)).count() != 1 {
            return Err(TemplateError::Growth(text.to_owned()));
        }
        let template = Self { parts };
        let example = template.name(Algorithm::Ed25519, EXAMPLE_DATE, TRIES_MAX - 1);
        let is_label = |label: &str| !label.starts_with(['-', '_']) && !label.ends_with(['-', '_']) && label.len() <= LABEL_OCTETS_MAX;
        if selector_of(&example).is_none() || !example.split('.').all(is_label) || example.len() > EXAMPLE_OCTETS_MAX {
            return Err(TemplateError::NoSelector { template: text.to_owned(), example });
        }
        Ok(template)
    }
}

/// As it is written in the configuration.
impl fmt::Display for SelectorTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in &self.parts {
            match part {
                Part::Text(text) => f.write_str(text)?,
                part => WORDS.iter().filter(|(_, known)| known == part).try_for_each(|(word, _)| write!(f, "{{{word}}}"))?,
            }
        }
        Ok(())
    }
}

/// `ps{yyyymm}{letter}`.
impl Default for SelectorTemplate {
    fn default() -> Self {
        Self { parts: vec![Part::Text("ps".to_owned()), Part::Month, Part::Letter] }
    }
}

/// 0 is `a`, 25 is `z`, 26 is `aa`.
fn letters(nth: usize) -> String {
    let mut letters = Vec::new();
    let mut left = nth + 1;
    while left > 0 {
        left -= 1;
        letters.push(char::from(b"abcdefghijklmnopqrstuvwxyz"[left % 26]));
        left /= 26;
    }
    letters.iter().rev().collect()
}

const WORDS: [(&str, Part); 6] = [
    ("yyyy", Part::Year),
    ("yyyymm", Part::Month),
    ("yyyymmdd", Part::Day),
    ("algorithm", Part::Algorithm),
    ("letter", Part::Letter),
    ("number", Part::Number),
];
/// Names that are tried before something must be wrong.
const TRIES_MAX: usize = 10_000;
/// RFC 1035 §2.3.4.
const LABEL_OCTETS_MAX: usize = 63;
/// Octets of a selector as long as a template can make it: it has to fit into a name of 253 with `._domainkey.` and a domain.
const EXAMPLE_OCTETS_MAX: usize = 100;
const EXAMPLE_DATE: &str = "2026-11-22";

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn letters_go_on_after_z() {
        assert_eq!([0, 25, 26, 27, 701, 702].map(letters), ["a", "z", "aa", "ab", "zz", "aaa"]);
        assert_eq!((0..TRIES_MAX).map(letters).collect::<BTreeSet<_>>().len(), TRIES_MAX);
    }
}
