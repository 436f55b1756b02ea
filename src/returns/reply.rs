//! The SMTP reply within a text: a Diagnostic-Code, or a line that a program wrote for people.

use crate::mail::EnhancedCode;

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// 400..=599 (a reply that is no refusal is none here).
    pub code: Option<u16>,
    /// The enhanced code beside it, or alone.
    pub status: Option<EnhancedCode>,
    /// The reply from its code on, codes that were repeated on each line taken out; the whole text where there is no code.
    pub text: String,
}

impl Reply {
    /// Reads a text.
    #[must_use]
    pub fn read(text: &str) -> Self {
        // A code that begins a line is in its place.
        let starts: Vec<usize> = text.lines().scan(0, |words, line| Some(std::mem::replace(words, *words + line.split_whitespace().count()))).collect();
        let text = super::one_line(text, REPLY_OCTETS_MAX);
        let words: Vec<&str> = text.split(' ').collect();
        let found = |(at, word): (usize, &&str)| Some((at, code_at(&words, at, word, starts.binary_search(&at).is_ok())?));
        let Some((at, code)) = words.iter().enumerate().find_map(found) else {
            return Self { code: None, status: words.iter().find_map(|word| enhanced(word)), text };
        };
        let (first, rest) = split_code(words[at]);
        debug_assert_eq!(first, code, "the word was looked at");
        let mut out = Vec::new();
        let mut status = None;
        let tail = std::iter::once(rest).chain(words[at + 1..].iter().copied());
        for (place, word) in tail.filter(|word| !word.is_empty()).enumerate() {
            let (repeated, after) = split_code(word);
            if repeated == code && word.len() > 3 && word.as_bytes()[3] == b'-' {
                // A line of the same reply, as in `550-5.1.1`: only what follows the code is new.
                let found = enhanced(after);
                status = status.or(found);
                if found.is_none() && !after.is_empty() {
                    out.push(after);
                }
                continue;
            }
            let found = enhanced(word);
            if found.is_some() && (place == 0 || found == status) {
                status = status.or(found);
                continue;
            }
            if repeated == code && word.len() == 3 && status.is_some() {
                continue; // the last line of several
            }
            out.push(word);
        }
        let status = status.or_else(|| words.iter().find_map(|word| enhanced(word)));
        Self { code: Some(code), status, text: out.join(" ") }
    }

    /// `550 5.1.1 no such user`.
    #[must_use]
    pub fn shown(&self) -> String {
        let codes = match (self.code, self.status) {
            (Some(code), Some(status)) => format!("{code} {status} "),
            (Some(code), None) => format!("{code} "),
            (None, _) => String::new(),
        };
        (codes + &self.text).trim_end().to_owned()
    }
}

/// A word that is a reply code in its place: at the beginning, after something that announces it, or before an enhanced code.
fn code_at(words: &[&str], at: usize, word: &str, begins: bool) -> Option<u16> {
    let bare = word.trim_start_matches(['<', '(', '"', '\'', '[', '*']);
    let (code, rest) = split_code(bare);
    if !(400..600).contains(&code) || code / 10 % 10 > 5 {
        return None;
    }
    // `550`, `550-text`, `550#5.1.1`, `550:`; not `550.5` or `500MB`.
    let separated = bare.len() == 3 || bare[3..].starts_with(['-', '#', ':', ',', ')', '"', '\'', ';']);
    if !separated {
        return None;
    }
    let before = at.checked_sub(1).map(|before| words[before]);
    let announced = begins
        || before.is_none_or(|before| {
            before.ends_with([':', ';', '<', '(', '>', '|', ','])
                || ["said", "responded", "error", "code", "reply", "with", "SMTP", "smtp", "error:", "status", "response", "...", "<<<", "returned"]
                    .contains(&before)
        });
    let followed = enhanced(rest).is_some() || words.get(at + 1).is_some_and(|next| enhanced(next).is_some());
    (announced || followed || bare.len() < word.len()).then_some(code)
}

/// The first three digits as a number, and what stands behind them and a `-`; 0 where there are none.
fn split_code(word: &str) -> (u16, &str) {
    let word = word.trim_start_matches(['<', '(', '"', '\'', '[', '*']);
    match word.get(..3).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit())) {
        Some(digits) => (digits.parse().unwrap_or(0), word[3..].trim_start_matches(['-', ':', ','])),
        None => (0, word),
    }
}

/// `5.1.1`, `#5.1.1`, `(#5.1.1)`, `<5.1.1>`, `5.1.1:`.
fn enhanced(word: &str) -> Option<EnhancedCode> {
    let bare = word.trim_matches(|c: char| !c.is_ascii_digit());
    let ends = word[..word.len() - word.trim_start_matches(|c: char| !c.is_ascii_digit()).len()].chars().all(|c| "#(<[\"'".contains(c));
    bare.parse().ok().filter(|code: &EnhancedCode| ends && code.class() != 2)
}

/// Octets of a text that are read and shown.
pub const REPLY_OCTETS_MAX: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_found_in_what_is_around_them() {
        for (text, code, status, shown) in [
            ("550 5.1.1 <a@b.example>: no such user", 550, "5.1.1", "550 5.1.1 <a@b.example>: no such user"),
            ("550-5.1.1 The account\n550-5.1.1 is not there\n550 5.1.1 bye", 550, "5.1.1", "550 5.1.1 The account is not there bye"),
            ("host mx.b.example[192.0.2.1] said: 452 4.2.2 full (in reply to RCPT TO command)", 452, "4.2.2", "452 4.2.2 full (in reply to RCPT TO command)"),
            ("550 #5.1.0 Address rejected.", 550, "5.1.0", "550 5.1.0 Address rejected."),
            ("<<< 550 Unknown user a@b.example", 550, "", "550 Unknown user a@b.example"),
            ("Sorry, no mailbox here by that name. (#5.1.1)", 0, "5.1.1", "Sorry, no mailbox here by that name. (#5.1.1)"),
            ("Remote host said: 553 sorry, that domain isn't in my list (#5.7.1)", 553, "5.7.1", "553 5.7.1 sorry, that domain isn't in my list (#5.7.1)"),
            ("the mailbox has 500 messages", 0, "", "the mailbox has 500 messages"),
            ("from 192.0.2.5.1 at 450 km/h", 0, "", "from 192.0.2.5.1 at 450 km/h"),
            (
                "550-Verification failed\n550-No Such User Here\n550 Sender verify failed",
                550,
                "",
                "550 Verification failed No Such User Here 550 Sender verify failed",
            ),
        ] {
            let reply = Reply::read(text);
            assert_eq!(reply.code.unwrap_or(0), code, "{text}");
            assert_eq!(reply.status.map(|status| status.to_string()).unwrap_or_default(), status, "{text}");
            assert_eq!(reply.shown(), shown, "{text}");
        }
    }
}
