//! A pattern over words: literal text in which `*` stands for a few characters.
//!
//! No regular expressions: the table is extended by hand on running systems, and a pattern must not be able to take more than time
//! linear in the text. Case and the width of white space do not matter. A pattern that begins or ends with a letter or digit does so
//! at a word's edge, so that `full` is not found in `successfully`; a `*` at that end takes the edge away.

/// A pattern, ready to be looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phrase {
    /// The literal pieces between the `*`, in lower case, none empty.
    pieces: Box<[Box<str>]>,
    edge_before: bool,
    edge_after: bool,
}

/// Why a pattern is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhraseFault {
    /// Nothing but `*` and white space.
    #[error("a pattern without a letter or digit")]
    Empty,
    /// More pieces than [`PIECES_MAX`].
    #[error("a pattern with more than {PIECES_MAX} pieces between its `*`")]
    Pieces,
}

impl Phrase {
    /// Reads a pattern.
    ///
    /// # Errors
    /// It says nothing, or has too many `*`.
    pub fn parse(text: &str) -> Result<Self, PhraseFault> {
        let tidy = tidy(text, usize::MAX);
        let pieces: Box<[Box<str>]> = tidy.split('*').filter(|piece| !piece.is_empty()).map(Into::into).collect();
        if !pieces.iter().any(|piece| piece.chars().any(char::is_alphanumeric)) {
            return Err(PhraseFault::Empty);
        }
        if pieces.len() > PIECES_MAX {
            return Err(PhraseFault::Pieces);
        }
        Ok(Self { pieces, edge_before: !tidy.starts_with('*'), edge_after: !tidy.ends_with('*') })
    }

    /// Whether the pattern is in a text that [`tidy`] made.
    #[must_use]
    pub fn is_in(&self, tidy: &str) -> bool {
        let last = self.pieces.len() - 1;
        // Where the pieces so far may end; each piece begins at most GAP_OCTETS_MAX behind one of these.
        let mut ends: Vec<usize> = Vec::new();
        for (index, piece) in self.pieces.iter().enumerate() {
            let (mut next, mut nearest) = (Vec::new(), 0);
            for at in memchr::memmem::find_iter(tidy.as_bytes(), piece.as_bytes()) {
                let reached = if index == 0 {
                    !self.edge_before || is_edge(tidy, at)
                } else {
                    while nearest + 1 < ends.len() && ends[nearest + 1] <= at {
                        nearest += 1;
                    }
                    ends[nearest] <= at && at - ends[nearest] <= GAP_OCTETS_MAX
                };
                let end = at + piece.len();
                if reached && (index < last || !self.edge_after || is_edge(tidy, end)) {
                    next.push(end);
                }
            }
            if next.is_empty() {
                return false;
            }
            ends = next;
        }
        true
    }
}

/// Lower case, each run of white space one blank, cut at `octets_max`: what phrases are looked for in.
#[must_use]
pub fn tidy(text: &str, octets_max: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() >= octets_max {
            break;
        }
        if c.is_whitespace() || c.is_control() {
            if !out.ends_with(' ') {
                out.push(' ');
            }
        } else {
            out.extend(c.to_lowercase());
        }
    }
    out.trim().to_owned()
}

/// Letters or digits do not run across this place.
fn is_edge(text: &str, at: usize) -> bool {
    let joined = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    !(joined(text[..at].chars().next_back()) && joined(text[at..].chars().next()))
}

/// Literal pieces of a pattern.
pub const PIECES_MAX: usize = 8;
/// Octets that a `*` stands for at most.
pub const GAP_OCTETS_MAX: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(pattern: &str, text: &str) -> bool {
        Phrase::parse(pattern).unwrap().is_in(&tidy(text, 4096))
    }

    #[test]
    fn words_are_found_whole_and_in_any_case() {
        assert!(fits("mailbox full", "452 Mailbox\r\n  FULL."));
        assert!(!fits("full", "sent successfully"));
        assert!(fits("full*", "fullness"));
        assert!(fits("*fully", "successfully"));
        assert!(fits("(s*001)", "banned (SC-001)"));
        assert!(!fits("user unknown", "user is unknown"));
        assert!(fits("宛先", "この宛先はありません"));
    }

    #[test]
    fn a_star_reaches_a_few_words_and_no_further() {
        assert!(fits("user * unknown", "the user a@example.com is unknown"));
        assert!(!fits("user * unknown", &format!("user {} unknown", "x".repeat(GAP_OCTETS_MAX + 1))));
        assert!(fits("user * unknown", &format!("user {} user joe unknown", "x".repeat(GAP_OCTETS_MAX + 1))), "the nearest beginning counts");
        assert!(!fits("unknown * user", "user a unknown"));
        assert!(fits("a*a", "a b a"));
        assert!(!fits("a*a", "a"), "pieces do not overlap");
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        assert_eq!(Phrase::parse(" * "), Err(PhraseFault::Empty));
        assert_eq!(Phrase::parse("..."), Err(PhraseFault::Empty));
        assert!(Phrase::parse("a*a*a*a*a*a*a*a").is_ok());
        assert_eq!(Phrase::parse("a*a*a*a*a*a*a*a*a"), Err(PhraseFault::Pieces));
    }
}
