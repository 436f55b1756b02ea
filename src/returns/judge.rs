//! What replies mean, within bounds: one message may name a thousand recipients and say of each something long.

use crate::mail::EnhancedCode;
use crate::reasons::table::TEXT_OCTETS_MAX;
use crate::reasons::{Judgement, Said, Table};
use std::collections::HashMap;

/// The judgements of one message. What was said before is not judged again, and once much has been judged, codes decide without words.
#[derive(Debug)]
pub struct Judge<'a> {
    reasons: &'a Table,
    known: HashMap<Heard, Judgement>,
    octets_left: usize,
}

/// What was said; of whom does not matter.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Heard {
    host: String,
    code: Option<u16>,
    status: Option<EnhancedCode>,
    text: String,
}

impl<'a> Judge<'a> {
    /// Who has judged nothing yet.
    #[must_use]
    pub fn by(reasons: &'a Table) -> Self {
        Self { reasons, known: HashMap::new(), octets_left: JUDGED_OCTETS_MAX }
    }

    /// What it means that `host` said this.
    pub fn judge(&mut self, host: &str, code: Option<u16>, status: Option<EnhancedCode>, text: &str) -> Judgement {
        let heard = Heard { host: host.to_owned(), code, status, text: text.to_owned() };
        if let Some(known) = self.known.get(&heard) {
            return *known;
        }
        let Some(left) = self.octets_left.checked_sub(text.len().min(TEXT_OCTETS_MAX)) else {
            return self.reasons.judge(&Said { provider: None, host, code, status, text: "" });
        };
        self.octets_left = left;
        let judged = self.reasons.judge(&Said { provider: None, host, code, status, text });
        self.known.insert(heard, judged);
        judged
    }
}

/// Octets of different replies of one message that are looked at: a hundred of the longest that a notice has, a thousand as they mostly are.
const JUDGED_OCTETS_MAX: usize = 256 << 10;
