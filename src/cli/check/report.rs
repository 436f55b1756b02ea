//! What a person reads.

use super::{Checked, Outcome};
use crate::cli::paint::{Ink, Paint};
use crate::mail::ReversePath;
use crate::verdict::{Check, DmarcFact, Identity, SecondOpinion, Style, weaknesses};
use std::fmt::Write as _;

impl Checked<'_> {
    /// The whole report.
    pub(super) fn text(&self, paint: Paint, style: Style) -> String {
        let mut out = Page { paint, out: String::new() };
        self.message(&mut out);
        out.blank();
        self.mechanisms(&mut out);
        out.blank();
        match &self.judged {
            Ok((_, verdict)) => out.out.push_str(&verdict.matrix(style)),
            Err(fault) => {
                let (_, codes) = self.gmail();
                out.entry("Result", &out.paint.ink(Ink::Red, "no verdict"), &format!("{fault}; Gmail answers {}", codes.join(" or ")));
            }
        }
        out.blank();
        self.form(&mut out);
        self.receivers(&mut out);
        let (ink, words) = match self.outcome() {
            Outcome::Accepted => (Ink::Green, "accepted by Gmail, Yahoo and Microsoft, as far as their published rules say"),
            Outcome::Refused => (Ink::Red, "refused by one receiver at least"),
            Outcome::Unknown => (Ink::Yellow, "unknown: it hangs on what could not be found out"),
        };
        let words = out.paint.ink(ink, words);
        out.entry("Outcome", &words, "");
        out.out
    }

    fn message(&self, out: &mut Page) {
        let first = |name: &str| self.headers.named(name).next().map_or_else(|| "none".to_owned(), |field| field.unfolded());
        out.entry("Message", "", &format!("{} octets, From: {}", self.octets, first("From")));
        out.entry("", "", &format!("Subject: {}", first("Subject")));
        if let Some(mail_from) = &self.origin.mail_from {
            let path = match &mail_from.value {
                ReversePath::Null => "<>".to_owned(),
                ReversePath::Mailbox(mailbox) => format!("<{mailbox}>"),
            };
            out.entry("Envelope", "", &format!("MAIL FROM:{path} (from {})", mail_from.source));
        }
        let label = if self.origin.mail_from.is_none() { "Envelope" } else { "" };
        if let Some(client) = &self.origin.client_ip {
            out.entry(label, "", &format!("client {} (from {})", client.value, client.source));
        }
        if let Some(helo) = &self.origin.helo {
            out.entry("", "", &format!("EHLO {} (from {})", helo.value, helo.source));
        }
        for missing in &self.origin.missing {
            out.entry("Missing", "", missing);
        }
    }

    fn mechanisms(&self, out: &mut Page) {
        let facts = self.judged.as_ref().ok().map(|(facts, _)| facts);
        let spf = &self.findings.spf;
        let mut text = match (&spf.domain, spf.identity) {
            (Some(domain), Identity::MailFrom) => domain.to_string(),
            (Some(domain), Identity::Helo) => format!("{domain} (the EHLO name)"),
            (None, _) => "no domain".to_owned(),
        };
        if let (Some(facts), Some(domain)) = (facts, &spf.domain) {
            text.push_str(if facts.is_aligned_for(domain, true) { ", aligned" } else { ", not aligned" });
        }
        match (&self.findings.spf_outcome, self.origin.told_spf()) {
            (Some(outcome), _) => {
                for (domain, term) in &outcome.by {
                    let _ = write!(text, "; \"{term}\" of {domain}");
                }
                if !outcome.why.is_empty() {
                    let _ = write!(text, "; {}", outcome.why);
                }
                let _ = write!(text, " ({} lookups, {} void)", outcome.lookups, outcome.voids);
                if let Some(explanation) = &outcome.explanation {
                    let _ = write!(text, "; the domain explains: \"{explanation}\"");
                }
            }
            (None, Some((host, _))) => {
                let _ = write!(text, "; as {host} wrote, not checked here");
            }
            (None, None) => text.push_str("; not checked: see what is missing"),
        }
        out.result("SPF", spf.result, &text);
        if let (Some(facts), false) = (facts, self.origin.knows_spf()) {
            let best = super::with_spf(facts);
            let gmail = if best.gmail.accepts { "pass" } else { "FAIL" };
            out.entry("", "", &format!("if it passes for a domain aligned with {}: DMARC {}, Gmail {gmail}", facts.author, best.dmarc.as_str()));
        }

        if self.findings.dkim.is_empty() {
            out.result("DKIM", Check::None, "there is no signature");
        }
        for (at, (fact, (signature, outcome))) in self.findings.dkim.iter().zip(&self.findings.signatures).enumerate() {
            let domain = fact.domain.as_ref().map_or("?".to_owned(), ToString::to_string);
            let mut text = format!("{domain}, selector {}, {}", or_none(&fact.selector), or_none(&fact.algorithm));
            if let Ok(confirmed) = outcome {
                let _ = write!(text, " ({} bits)", confirmed.bits);
            }
            if let (Some(facts), Some(domain)) = (facts, &fact.domain) {
                text.push_str(if facts.is_authors_own(domain) { "; author signature" } else { "; third-party signature" });
                text.push_str(if facts.is_aligned_for(domain, false) { ", aligned" } else { ", not aligned" });
            }
            if !fact.why.is_empty() {
                let _ = write!(text, "; {}", fact.why);
            }
            out.result(if at == 0 { "DKIM" } else { "" }, fact.result, &text);
            for weakness in weaknesses(self.headers, signature, outcome, self.now) {
                out.entry("", "", &format!("weak: {weakness}"));
            }
            if let Some(Some(second)) = self.findings.second.dkim.get(at) {
                out.entry("", "", &differs(second));
            }
        }
        self.dmarc(out);
        let arc = &self.findings.arc;
        let mut text = if arc.result == Check::None { "there is no chain".to_owned() } else { format!("{} sets by {}", arc.sets, arc.sealers.join(", then ")) };
        match arc.oldest_pass {
            Some(oldest) if oldest > 0 => {
                let _ = write!(text, "; the message was changed before set {oldest}");
            }
            _ if arc.result == Check::Fail => {
                let _ = write!(text, "; {}", arc.why);
            }
            _ => {}
        }
        out.result("ARC", arc.result, text.trim_start_matches("0 sets by "));
        if let Some(second) = &self.findings.second.arc {
            out.entry("", "", &differs(second));
        }
    }

    fn dmarc(&self, out: &mut Page) {
        let Ok((facts, verdict)) = &self.judged else {
            return out.result("DMARC", Check::PermError, "there is no single author to ask for");
        };
        let text = match &facts.dmarc {
            DmarcFact::Record { at, .. } => {
                format!("policy {} of the record at _dmarc.{at}", verdict.policy.map_or("none (no valid p=)".to_owned(), |policy| policy.to_string()))
            }
            DmarcFact::Missing => format!("no record at _dmarc.{} or above", facts.author),
            DmarcFact::Ignored { text, fault } => format!("the record \"{text}\" is ignored: {fault}"),
            DmarcFact::Unknown => "the DNS did not answer".to_owned(),
        };
        let result = match verdict.dmarc {
            crate::verdict::Dmarc::Pass => Check::Pass,
            crate::verdict::Dmarc::Fail => Check::Fail,
            crate::verdict::Dmarc::None => Check::None,
            crate::verdict::Dmarc::TempError => Check::TempError,
        };
        out.result("DMARC", result, &text);
    }

    fn form(&self, out: &mut Page) {
        if self.defects.is_empty() {
            let fine = out.paint.ink(Ink::Green, "ok");
            out.entry("Form", &fine, "");
        }
        for (at, defect) in self.defects.iter().enumerate() {
            let word = match defect.code {
                Some(code) => out.paint.ink(Ink::Red, &format!("refused, {code}:")),
                None => out.paint.ink(Ink::Yellow, "warning:"),
            };
            out.entry(if at == 0 { "Form" } else { "" }, &word, &defect.text);
        }
    }

    /// What trusted hosts found when the message came.
    fn receivers(&self, out: &mut Page) {
        for (host, results) in &self.origin.results {
            let list: Vec<String> = results.iter().map(|result| format!("{}={}", result.method, result.result)).collect();
            out.entry("Seen by", "", &format!("{host}: {}", if list.is_empty() { "none".to_owned() } else { list.join(" ") }));
        }
    }
}

/// One line for an operator: receivers differ here.
fn differs(second: &SecondOpinion) -> String {
    let why = if second.why.is_empty() { String::new() } else { format!(" ({})", second.why) };
    format!("receivers differ: mail-auth, which Stalwart and others use, says {}{why}; {} decides", second.result, second.decides)
}

fn or_none(text: &str) -> &str {
    if text.is_empty() { "none" } else { text }
}

/// Text behind labels, broken at the width of the terminal.
struct Page {
    paint: Paint,
    out: String,
}

impl Page {
    fn blank(&mut self) {
        self.out.push('\n');
    }

    fn result(&mut self, label: &str, result: Check, text: &str) {
        let ink = match result {
            Check::Pass => Ink::Green,
            Check::Fail | Check::PermError | Check::Policy => Ink::Red,
            Check::SoftFail | Check::Neutral | Check::TempError => Ink::Yellow,
            Check::None => Ink::Dim,
        };
        let word = self.paint.ink(ink, &format!("{:<9}", result.as_str()));
        self.entry(label, &word, text);
    }

    /// A label, a word in ink, and text; further lines are indented as far. Nothing of the message reaches the terminal as control.
    fn entry(&mut self, label: &str, inked: &str, text: &str) {
        let label = if label.is_empty() { String::new() } else { format!("{label}:") };
        let mut line = format!("{label:<LABEL$}{inked}");
        let mut width = LABEL + bare_width(inked);
        for word in text.split_whitespace() {
            let word: String = word.chars().map(|c| if c.is_control() || is_invisible(c) { '?' } else { c }).collect();
            let columns = word.chars().count();
            if width > LABEL && width + 1 + columns > self.paint.columns {
                self.out.push_str(line.trim_end());
                self.out.push('\n');
                line = " ".repeat(LABEL);
                width = LABEL;
            }
            if width > LABEL {
                line.push(' ');
                width += 1;
            }
            line.push_str(&word);
            width += columns;
        }
        self.out.push_str(line.trim_end());
        self.out.push('\n');
    }
}

/// Columns of a text, colours left out.
fn bare_width(text: &str) -> usize {
    let mut in_colour = false;
    text.chars()
        .filter(|c| {
            let shown = !in_colour && *c != '\x1b';
            in_colour = *c == '\x1b' || (in_colour && *c != 'm');
            shown
        })
        .count()
}

/// What turns the direction of text or takes no place.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

const LABEL: usize = 10;
