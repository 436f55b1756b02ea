//! All findings together: what a person reads and what a program reads. Pure.
//!
//! The JSON is described by [`SCHEMA`], which changes only with its `version`.

use super::rule::{Finding, Provider, Remedy, Status};
use crate::dns::{Data, Resource};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What was examined, and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Judged as a bulk sender.
    pub bulk: bool,
    /// Domains, then the relay.
    pub parts: Vec<Part>,
}

/// One domain, or the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// What came of it.
    pub findings: Vec<Finding>,
}

/// The kinds of parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An author domain.
    Domain,
    /// The relay itself.
    Relay,
}

/// How a piece of text is meant; whoever shows it decides what that looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tone {
    /// A heading.
    Strong,
    /// [`Status::Ok`].
    Good,
    /// [`Status::Warn`].
    Warning,
    /// [`Status::Unknown`].
    Open,
    /// [`Status::Fail`].
    Bad,
    /// What matters less.
    Faint,
}

/// How many findings there are of each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Of [`Status::Fail`].
    pub fail: usize,
    /// Of [`Status::Unknown`].
    pub unknown: usize,
    /// Of [`Status::Warn`].
    pub warn: usize,
    /// Of [`Status::Ok`].
    pub ok: usize,
}

impl Report {
    /// The worst there is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.findings().map(|finding| finding.status).max().unwrap_or(Status::Ok)
    }

    /// What one provider demands and how it is met.
    #[must_use]
    pub fn tally(&self, provider: Provider) -> Tally {
        Tally::of(self.findings().filter(|finding| finding.rule.demanded_by(self.bulk).any(|by| by == provider)))
    }

    /// What nobody demands.
    #[must_use]
    pub fn rest(&self) -> Tally {
        Tally::of(self.findings().filter(|finding| finding.rule.demanded_by(self.bulk).next().is_none()))
    }

    /// For a terminal of so many columns; `show` gives a piece its looks. Records stand on a line of their own, whole, to be pasted.
    #[must_use]
    pub fn text(&self, columns: usize, show: &dyn Fn(Tone, &str) -> String) -> String {
        let mut page = Page { out: String::new(), columns: columns.max(COLUMNS_MIN), bulk: self.bulk, show };
        for part in &self.parts {
            page.part(part);
        }
        page.summary(self);
        page.out
    }

    /// For a program, by [`SCHEMA`].
    #[must_use]
    pub fn json(&self) -> Value {
        let providers = Provider::ALL.iter().map(|provider| {
            let tally = self.tally(*provider);
            json!({ "name": provider.name(), "status": tally.status().as_str(), "fail": tally.fail, "unknown": tally.unknown, "warn": tally.warn, "ok": tally.ok })
        });
        json!({
            "version": SCHEMA_VERSION,
            "status": self.status().as_str(),
            "bulk": self.bulk,
            "providers": providers.collect::<Vec<_>>(),
            "parts": self.parts.iter().map(|part| part.json(self.bulk)).collect::<Vec<_>>(),
        })
    }

    fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.parts.iter().flat_map(|part| &part.findings)
    }
}

impl Part {
    fn json(&self, bulk: bool) -> Value {
        let kind = match self.kind {
            Kind::Domain => "domain",
            Kind::Relay => "relay",
        };
        json!({ "kind": kind, "name": self.name, "findings": self.findings.iter().map(|finding| finding_json(finding, bulk)).collect::<Vec<_>>() })
    }
}

fn finding_json(finding: &Finding, bulk: bool) -> Value {
    let codes = finding.rule.codes(bulk).map(|code| json!({ "provider": code.provider.name(), "code": code.code }));
    json!({
        "rule": finding.rule.id,
        "about": finding.about,
        "status": finding.status.as_str(),
        "seen": finding.seen,
        "why": finding.rule.why,
        "codes": codes.collect::<Vec<_>>(),
        "demanded_by": finding.rule.demanded_by(bulk).map(Provider::name).collect::<Vec<_>>(),
        "remedy": finding.remedy.as_ref().map(|remedy| json!({ "text": remedy.text, "records": remedy.records.iter().map(record_json).collect::<Vec<_>>() })),
    })
}

fn record_json(record: &Resource) -> Value {
    let value = match &record.data {
        Data::Txt(text) => text.clone(),
        other => other.zone_text(),
    };
    json!({ "name": record.owner.to_string(), "type": record.data.kind().to_string(), "value": value, "zone": zone_line(record) })
}

/// As a zone file has it.
fn zone_line(record: &Resource) -> String {
    format!("{}. IN {} {}", record.owner, record.data.kind(), record.data.zone_text())
}

impl Tally {
    fn of<'a>(findings: impl Iterator<Item = &'a Finding>) -> Self {
        findings.fold(Self::default(), |mut tally, finding| {
            match finding.status {
                Status::Fail => tally.fail += 1,
                Status::Unknown => tally.unknown += 1,
                Status::Warn => tally.warn += 1,
                Status::Ok => tally.ok += 1,
            }
            tally
        })
    }

    /// The worst there is.
    #[must_use]
    pub const fn status(&self) -> Status {
        match (self.fail, self.unknown, self.warn) {
            (1.., ..) => Status::Fail,
            (_, 1.., _) => Status::Unknown,
            (_, _, 1..) => Status::Warn,
            _ => Status::Ok,
        }
    }

    /// `2 to mend, 1 unknown`; `ready` where there is neither.
    fn sentence(&self) -> String {
        let mut parts = Vec::new();
        if self.fail > 0 {
            parts.push(format!("{} to mend", self.fail));
        }
        if self.unknown > 0 {
            parts.push(format!("{} unknown", self.unknown));
        }
        if parts.is_empty() {
            parts.push("ready".to_owned());
        }
        if self.warn > 0 {
            parts.push(format!("{} warning{}", self.warn, if self.warn == 1 { "" } else { "s" }));
        }
        parts.join(", ")
    }
}

/// The text as it grows.
struct Page<'a> {
    out: String,
    columns: usize,
    bulk: bool,
    show: &'a dyn Fn(Tone, &str) -> String,
}

impl Page<'_> {
    fn part(&mut self, part: &Part) {
        let title = match part.kind {
            Kind::Domain => part.name.clone(),
            Kind::Relay => format!("The relay {}", part.name).trim_end().to_owned(),
        };
        self.line("", Tone::Strong, &title);
        for (providers, findings) in self.groups(&part.findings) {
            let heading = match providers.as_slice() {
                [] => "Wise, though nobody demands it".to_owned(),
                all if all.len() == Provider::ALL.len() => "Demanded by all of them: Gmail, Yahoo, Microsoft, Apple".to_owned(),
                some => format!("Demanded by {}", some.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            };
            self.gap();
            self.line("  ", Tone::Faint, &heading);
            for finding in findings {
                self.finding(finding);
            }
        }
        self.gap();
    }

    /// An empty line, where there is none yet.
    fn gap(&mut self) {
        if !self.out.ends_with("\n\n") {
            self.out.push('\n');
        }
    }

    /// Findings by who demands them: what most demand first, in each the worst first.
    fn groups<'f>(&self, findings: &'f [Finding]) -> Vec<(Vec<Provider>, Vec<&'f Finding>)> {
        let mut groups: Vec<(Vec<Provider>, Vec<&Finding>)> = Vec::new();
        for finding in findings {
            let providers: Vec<Provider> = finding.rule.demanded_by(self.bulk).collect();
            match groups.iter_mut().find(|(known, _)| *known == providers) {
                Some((_, group)) => group.push(finding),
                None => groups.push((providers, vec![finding])),
            }
        }
        groups.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        for (_, group) in &mut groups {
            group.sort_by_key(|finding| std::cmp::Reverse(finding.status));
        }
        groups
    }

    /// What is well takes a line; what is not says more below it.
    fn finding(&mut self, finding: &Finding) {
        let word = (self.show)(tone(finding.status), &format!("{:<STATUS$}", finding.status));
        let rule = format!("{:<RULE$}", finding.rule.id);
        let _ = write!(self.out, "{}{word}{rule}", " ".repeat(INDENT)); // a String takes all
        if finding.status == Status::Ok {
            let text = format!("{}: {}", finding.about, finding.seen);
            return self.wrapped(&text, INDENT + STATUS + RULE);
        }
        let _ = writeln!(self.out, "{}", (self.show)(Tone::Strong, &finding.about));
        let indent = INDENT + STATUS;
        self.labelled("seen", &finding.seen, indent);
        self.labelled("why", finding.rule.why, indent);
        if let Some(codes) = codes(finding, self.bulk) {
            self.labelled("codes", &codes, indent);
        }
        if let Some(Remedy { text, records }) = &finding.remedy {
            self.labelled("remedy", &format!("{text}{}", if records.is_empty() { "" } else { ":" }), indent);
            for record in records {
                self.line(&" ".repeat(indent), Tone::Strong, &zone_line(record));
            }
        }
        self.out.push('\n');
    }

    fn labelled(&mut self, label: &str, text: &str, indent: usize) {
        let _ = write!(self.out, "{}{}", " ".repeat(indent), (self.show)(Tone::Faint, &format!("{label:<LABEL$}")));
        self.wrapped(text, indent + LABEL);
    }

    /// Words, as many as fit a line, every line from column `start` on; then a line feed.
    fn wrapped(&mut self, text: &str, start: usize) {
        let mut at = start;
        for word in text.split_whitespace() {
            let width = word.chars().count();
            if at > start && at + 1 + width > self.columns {
                let _ = write!(self.out, "\n{}", " ".repeat(start));
                at = start;
            } else if at > start {
                self.out.push(' ');
                at += 1;
            }
            self.out.push_str(word);
            at += width;
        }
        self.out.push('\n');
    }

    fn line(&mut self, indent: &str, tone: Tone, text: &str) {
        let _ = writeln!(self.out, "{indent}{}", (self.show)(tone, text));
    }

    fn summary(&mut self, report: &Report) {
        let of = if self.bulk { "bulk senders" } else { "senders below the bulk threshold" };
        self.line("", Tone::Strong, &format!("What is demanded of {of}"));
        for provider in Provider::ALL {
            let tally = report.tally(provider);
            let _ = writeln!(self.out, "  {:<11}{}", provider.name(), (self.show)(tone(tally.status()), &tally.sentence()));
        }
        let rest = report.rest();
        if rest.status() != Status::Ok {
            let _ = writeln!(self.out, "  {:<11}{}", "Besides", (self.show)(tone(rest.status()), &rest.sentence().replace("ready, ", "")));
        }
    }
}

const fn tone(status: Status) -> Tone {
    match status {
        Status::Ok => Tone::Good,
        Status::Warn => Tone::Warning,
        Status::Unknown => Tone::Open,
        Status::Fail => Tone::Bad,
    }
}

/// `Gmail 421 4.7.30, 550 5.7.30; Microsoft 550 5.7.515`.
fn codes(finding: &Finding, bulk: bool) -> Option<String> {
    let of = |provider: Provider| {
        let codes: Vec<&str> = finding.rule.codes(bulk).filter(|code| code.provider == provider).map(|code| code.code).collect();
        (!codes.is_empty()).then(|| format!("{provider} {}", codes.join(", ")))
    };
    let listed: Vec<String> = Provider::ALL.into_iter().filter_map(of).collect();
    (!listed.is_empty()).then(|| listed.join("; "))
}

/// The JSON Schema (draft 2020-12) of what [`Report::json`] gives.
pub const SCHEMA: &str = include_str!("schema.json");

/// Changes when a program that reads the JSON has to be changed.
pub const SCHEMA_VERSION: u32 = 1;

/// Columns before a finding, of its status, of its rule's name, and of what stands before its parts.
const INDENT: usize = 4;
const STATUS: usize = 9;
const RULE: usize = 15;
const LABEL: usize = 8;
/// Narrower than this nothing can be read; then lines are longer than the terminal.
const COLUMNS_MIN: usize = 60;
