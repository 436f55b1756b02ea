//! What the receiver saw of one message, for a person to read: connection, envelope, signatures, checks and the matrix.

use crate::letters::Letter;
use crate::next_hop::{Received, Session};
use crate::world::{Submitted, World};
use anyhow::{Context, anyhow};
use mail_parser::MessageParser;
use postseal::mail::{Domain, Field, Headers, Mailbox, ReversePath};
use postseal::verdict::{self, Check, Dmarc, DmarcFact, Examination, Style, Verdict, examine};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

/// One message that arrived.
pub struct Report {
    submission: Option<Submission>,
    tls: Option<String>,
    client: IpAddr,
    reverse_path: String,
    recipients: Vec<String>,
    subject: String,
    seals: Vec<Seal>,
    own_domain: Domain,
    examination: Examination,
}

/// What is known of a message that the demonstration itself submitted.
struct Submission {
    title: String,
    remark: &'static str,
    seals: [(&'static str, bool); 3],
    reverse_path: String,
    login: Option<&'static str>,
    tls: String,
    reply: String,
    took: Duration,
    fields_added: Vec<String>,
    content: Content,
}

/// What became of the parts.
struct Content {
    /// Decoded, every part is what it was.
    same: bool,
    /// Type and encoding of each part.
    parts: Vec<String>,
}

/// A DKIM signature or an ARC set.
struct Seal {
    kind: &'static str,
    /// Made by the relay, as the key says.
    ours: bool,
    result: Check,
    /// The tags that say whose it is.
    tags: String,
}

impl Report {
    /// Examines what came as a receiver does. `submitted` is what was handed in, where the demonstration did that.
    pub async fn of(world: &World, arrival: &(Session, Received), submitted: Option<(&str, &Letter, &Submitted)>) -> anyhow::Result<Self> {
        let now = tokio::time::Instant::now();
        let (session, received) = arrival;
        let argument = |line: &str| shown(line.split(['<', '>']).nth(1).unwrap_or_default());
        let reverse_path = argument(&received.mail);
        let mail_from = match reverse_path.as_str() {
            "" => ReversePath::Null,
            address => Mailbox::parse(address).with_context(|| format!("MAIL FROM:<{address}> is no address"))?.into(),
        };
        let client = session.client.context("the receiver does not know where the message came from")?.ip();
        let helo = session.commands.iter().rev().find_map(|command| command.line.strip_prefix("EHLO ")).unwrap_or_default();
        let message = &received.octets;
        let examination = examine(&verdict::Received { message, mail_from: &mail_from, helo, client_ip: client, bulk: true }, &world.resolver)
            .await
            .map_err(|fault| anyhow!("what arrived cannot be judged: {fault}"))?;
        let headers = Headers::parse(message).map_err(|fault| anyhow!("what arrived has no header: {fault}"))?;
        let submission = submitted.map(|(title, letter, submitted)| Submission::of(title, letter, submitted, &headers, message, now)).transpose()?;
        Ok(Self {
            submission,
            tls: session.tls.clone(),
            client,
            reverse_path,
            recipients: received.rcpts.iter().map(|line| argument(line)).collect(),
            subject: MessageParser::default().parse(message).and_then(|message| message.subject().map(shown)).unwrap_or_default(),
            seals: seals(&headers, &examination, &world.own_keys),
            own_domain: world.names.author.clone(),
            examination,
        })
    }

    /// Everything that a receiver checks holds, every seal that there should be is there, and nothing was lost on the way.
    pub fn verifies(&self) -> bool {
        let Examination { facts, verdict, arc, .. } = &self.examination;
        self.tls.is_some()
            && facts.spf.result == Check::Pass
            && facts.dkim.iter().all(|signature| signature.result == Check::Pass)
            && arc.result == Check::Pass
            && verdict.dmarc == Dmarc::Pass
            && verdict.gmail.accepts
            && self
                .submission
                .as_ref()
                .is_none_or(|submission| submission.content.same && self.seals.iter().map(|seal| (seal.kind, seal.ours)).eq(submission.seals))
    }

    /// The report, in 80 columns.
    pub fn print(&self, style: Style) -> String {
        let paint = Paint(style);
        let mut out = paint.heading(self.submission.as_ref().map_or("A message arrived", |submission| &submission.title));
        self.print_way(&mut out);
        let _ = writeln!(out, "\nSignatures, as they stand in the header");
        for seal in &self.seals {
            let origin = if seal.ours { "added" } else { "kept " };
            let _ = writeln!(out, "  {origin}  {}  {:<4}  {}", paint.check(seal.result), seal.kind, seal.tags);
        }
        let _ = writeln!(out, "\nChecks");
        for (name, check, text) in self.checks() {
            let _ = writeln!(out, "  {name:<7}{}  {text}", paint.check(check));
        }
        let _ = write!(out, "\n{}", self.verdict().matrix(style));
        out
    }

    /// The verdict. Advice is for those who own the author domain, so a forwarder gets none.
    fn verdict(&self) -> Verdict {
        let mut verdict = self.examination.verdict.clone();
        if self.examination.facts.author != self.own_domain {
            verdict.fix_first = None;
        }
        verdict
    }

    /// How it was submitted and how it arrived.
    fn print_way(&self, out: &mut String) {
        if let Some(submission) = &self.submission {
            let who = submission.login.map_or_else(|| "known by its address".to_owned(), |user| format!("AUTH as \"{user}\""));
            let _ = writeln!(out, "{}\n", submission.remark);
            let _ = writeln!(out, "Submitted   STARTTLS, {}, {who}", tls_name(&submission.tls));
            let _ = writeln!(out, "            {}", submission.reply);
        }
        let tls = self.tls.as_deref().map_or_else(|| "in clear".to_owned(), |version| format!("STARTTLS, {}", tls_name(version)));
        let took = self.submission.as_ref().map_or_else(String::new, |submission| format!(", {} ms after the 250", submission.took.as_millis()));
        let _ = writeln!(out, "Received    {tls}, from {}{took}", self.client);
        match &self.submission {
            Some(submission) => {
                let _ = writeln!(out, "Sender      <{}>\n  became    <{}>", submission.reverse_path, self.reverse_path);
            }
            None => {
                let _ = writeln!(out, "Sender      <{}>", self.reverse_path);
            }
        }
        let _ = writeln!(out, "Recipient   <{}>", self.recipients.join(">, <"));
        let _ = writeln!(out, "Subject     {}", self.subject);
        if let Some(submission) = &self.submission {
            let changed = if submission.content.same { "unchanged" } else { "CHANGED" };
            let _ = writeln!(out, "Content     {changed}: {}", submission.content.parts.join("; "));
            let _ = writeln!(out, "Added       {}", submission.fields_added.join(", "));
        }
    }

    fn checks(&self) -> [(&'static str, Check, String); 4] {
        let Examination { facts, verdict, arc, .. } = &self.examination;
        let spf_domain = facts.spf.domain.as_ref().map_or_else(|| "no domain".to_owned(), ToString::to_string);
        let failed: Vec<String> = facts.dkim.iter().filter(|signature| signature.result != Check::Pass).map(|signature| shown(&signature.why)).collect();
        let dkim = if failed.is_empty() { format!("{} of {}", facts.dkim.len(), plural(facts.dkim.len(), "signature")) } else { failed.join("; ") };
        let dkim_result = match facts.dkim.iter().find(|signature| signature.result != Check::Pass) {
            Some(failed) => failed.result,
            None if facts.dkim.is_empty() => Check::None,
            None => Check::Pass,
        };
        let arc_text = if arc.why.is_empty() { format!("a chain of {}", plural(arc.sets, "set")) } else { shown(&arc.why) };
        let dmarc = match &facts.dmarc {
            DmarcFact::Record { record, at, .. } => {
                let policy = record.policy(at, &facts.author, true).map_or_else(|| "no policy".to_owned(), |policy| format!("p={policy}"));
                format!("{policy} at _dmarc.{at}")
            }
            _ => format!("no record for {}", facts.author),
        };
        let dmarc_result = match verdict.dmarc {
            Dmarc::Pass => Check::Pass,
            Dmarc::Fail => Check::Fail,
            Dmarc::None => Check::None,
            Dmarc::TempError => Check::TempError,
        };
        [
            ("SPF", facts.spf.result, format!("{spf_domain}, for the client {}", self.client)),
            ("DKIM", dkim_result, dkim),
            ("ARC", arc.result, arc_text),
            ("DMARC", dmarc_result, dmarc),
        ]
    }
}

impl Submission {
    fn of(title: &str, letter: &Letter, submitted: &Submitted, headers: &Headers<'_>, message: &[u8], now: tokio::time::Instant) -> anyhow::Result<Self> {
        let before = Headers::parse(&letter.octets).map_err(|fault| anyhow!("what was submitted has no header: {fault}"))?;
        let is_new = |name: &&str| before.named(name).next().is_none() && !SEAL_FIELDS.iter().any(|seal| seal.eq_ignore_ascii_case(name));
        Ok(Self {
            title: title.to_owned(),
            remark: letter.remark,
            seals: letter.seals,
            reverse_path: letter.reverse_path.clone(),
            login: letter.login.as_ref().map(|(user, _)| *user),
            tls: submitted.tls.clone(),
            reply: submitted.reply.clone(),
            took: now.saturating_duration_since(submitted.at),
            fields_added: headers.iter().map(|field| field.name).filter(is_new).map(str::to_owned).collect(),
            content: Content::of(&letter.octets, message)?,
        })
    }
}

impl Content {
    /// mail-parser decodes both: it is none of ours.
    fn of(before: &[u8], after: &[u8]) -> anyhow::Result<Self> {
        let parse = |octets| MessageParser::default().parse(octets).ok_or_else(|| anyhow!("a message that mail-parser cannot read"));
        let (before, after) = (parse(before)?, parse(after)?);
        let decoded = |message: &mail_parser::Message<'_>| -> Vec<Vec<u8>> {
            message.parts().filter(|part| !part.is_multipart()).map(|part| part.decoded().into_owned()).collect()
        };
        let encoding = |part: &mail_parser::MessagePart<'_>| part.content_transfer_encoding().unwrap_or("7bit").to_ascii_lowercase();
        let described = |(before, after): (mail_parser::MessagePart<'_>, mail_parser::MessagePart<'_>)| {
            let kind = before.content_type().map_or_else(|| "text/plain".to_owned(), |kind| format!("{}/{}", kind.ctype(), kind.subtype().unwrap_or_default()));
            let (was, is) = (encoding(&before), encoding(&after));
            if was == is { format!("{kind} as {is}") } else { format!("{kind} as {is}, was {was}") }
        };
        let parts = before.parts().zip(after.parts()).filter(|(part, _)| !part.is_multipart()).map(described).collect();
        Ok(Self { same: decoded(&before) == decoded(&after), parts })
    }
}

/// DKIM signatures and ARC sets, top to bottom.
fn seals(headers: &Headers<'_>, examination: &Examination, own_keys: &BTreeSet<String>) -> Vec<Seal> {
    let mut unmatched: Vec<_> = examination.facts.dkim.iter().collect();
    let mut seals = Vec::new();
    for field in headers.iter() {
        let tags = |names: &[&str]| names.iter().map(|name| format!("{name}={}", tag(&field, name))).collect::<Vec<_>>().join(" ");
        let ours = own_keys.contains(&format!("{}._domainkey.{}", tag(&field, "s"), tag(&field, "d")));
        if field.name.eq_ignore_ascii_case("DKIM-Signature") {
            let (domain, selector) = (tag(&field, "d"), tag(&field, "s"));
            let fact = unmatched.iter().position(|fact| fact.selector == selector && fact.domain.as_ref().is_some_and(|d| d.as_str() == domain));
            let result = fact.map_or(Check::PermError, |place| unmatched.remove(place).result);
            seals.push(Seal { kind: "DKIM", ours, result, tags: tags(&["d", "s", "a"]) });
        }
        if field.name.eq_ignore_ascii_case("ARC-Seal") {
            seals.push(Seal { kind: "ARC", ours, result: examination.arc.result, tags: tags(&["i", "cv", "d", "s", "a"]) });
        }
    }
    seals
}

/// A tag of RFC 6376 §3.2, or nothing.
fn tag(field: &Field<'_>, name: &str) -> String {
    let value = field.unfolded();
    let found = value.split(';').filter_map(|part| part.split_once('=')).find(|(key, _)| key.trim() == name);
    found.map(|(_, value)| shown(value.trim())).unwrap_or_default()
}

/// What others wrote must not command the terminal.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// `TLSv1_3` as people write it.
fn tls_name(version: &str) -> String {
    version.replace("TLSv", "TLS ").replace('_', ".")
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("{count} {noun}") } else { format!("{count} {noun}s") }
}

/// Colours, where there are any; the matrix's own: blue is good.
pub struct Paint(pub Style);

impl Paint {
    /// A line across the page with a title in it.
    pub fn heading(&self, title: &str) -> String {
        let across = if self.0.boxes { "─" } else { "-" };
        let rest = across.repeat(COLUMNS.saturating_sub(title.chars().count() + 4));
        let (bold, plain) = if self.0.colours { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
        format!("{across}{across} {bold}{title}{plain} {rest}\n")
    }

    fn check(&self, check: Check) -> String {
        let text = format!("{:<4}", check.as_str());
        match (self.0.colours, check) {
            (false, _) => text,
            (true, Check::Pass) => format!("\x1b[34m{text}\x1b[0m"),
            (true, _) => format!("\x1b[31m{text}\x1b[0m"),
        }
    }
}

const COLUMNS: usize = 80;
/// What the list of signatures shows already.
const SEAL_FIELDS: [&str; 4] = ["DKIM-Signature", "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results"];
