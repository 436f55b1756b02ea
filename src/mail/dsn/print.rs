//! Writes a notice: for a person first, for programs second, with the message or its header behind.
//!
//! What comes from outside (a server's words, a subject, an address) is shown, never trusted: controls and marks that turn the
//! reading direction are replaced, lengths are bounded, a boundary that occurs in a part is not used. The result is 7-bit unless
//! the reader's own address is not (RFC 6533): parts that need more are in base64.

use super::{Action, Dsn, DsnRecipient, ReturnLimits};
use crate::mail::{EnhancedCode, Headers, Mailbox, OriginalRecipient, RemoteReply, Ret, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;

/// A part of the multipart/report.
struct Part {
    content_type: &'static str,
    encoding: &'static str,
    octets: Vec<u8>,
}

impl Dsn {
    /// The notice as a message, CR LF line ends, below whatever seal it gets. `original` is the message it tells of.
    ///
    /// The whole message comes back with a failure unless the submitter asked for the header (`RET=HDRS`), it is larger than
    /// `limits` allow, or its body is not 7-bit text; the header comes back otherwise, and with every other notice.
    #[must_use]
    pub fn print(&self, original: &[u8], limits: &ReturnLimits) -> Bytes {
        let parts = [Some(self.human(original)), Some(self.status()), self.returned(original, limits)];
        let parts: Vec<Part> = parts.into_iter().flatten().collect();
        let boundary = self.boundary(&parts);
        let mut out = self.header(&boundary).into_bytes();
        out.extend_from_slice(b"This is a delivery status notification in MIME format (RFC 3464).\r\n");
        for part in &parts {
            let head = format!("\r\n--{boundary}\r\nContent-Type: {}\r\nContent-Transfer-Encoding: {}\r\n\r\n", part.content_type, part.encoding);
            out.extend_from_slice(head.as_bytes());
            out.extend_from_slice(&part.octets);
        }
        out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        out.into()
    }

    /// The gravest of what it tells.
    fn action(&self) -> Action {
        self.recipients.iter().map(|recipient| recipient.action).min().unwrap_or(Action::Failed)
    }

    fn header(&self, boundary: &str) -> String {
        let subject = match self.action() {
            Action::Failed => "Undelivered mail: your message could not be delivered",
            Action::Delayed => "Delayed mail: your message is still being tried",
            Action::Relayed | Action::Delivered | Action::Expanded => "Delivered mail: your message has been handed on",
        };
        let host = self.from.domain().unwrap_or(&self.reporting_mta);
        let mut out = String::new();
        field(&mut out, "Date", &self.at.to_rfc5322());
        field(&mut out, "From", &format!("Mail Delivery System <{}>", self.from));
        field(&mut out, "To", &format!("<{}>", self.to));
        field(&mut out, "Subject", subject);
        field(&mut out, "Message-ID", &format!("<dsn.{}@{host}>", self.id));
        if let Some(id) = self.message_id.as_deref().filter(|id| is_message_id(id)) {
            field(&mut out, "In-Reply-To", id);
            field(&mut out, "References", id);
        }
        field(&mut out, "Auto-Submitted", "auto-replied"); // RFC 3834 §5
        field(&mut out, "MIME-Version", "1.0");
        out + &format!("Content-Type: multipart/report; report-type=delivery-status;\r\n boundary=\"{boundary}\"\r\n\r\n")
    }

    /// Made of the number; a sender who foresees it and writes it into a message gets another.
    fn boundary(&self, parts: &[Part]) -> String {
        let mut boundary = format!("=_{}", self.id);
        while parts.iter().any(|part| memchr::memmem::find(&part.octets, boundary.as_bytes()).is_some()) {
            boundary.push('_'); // ends: a part holds finitely many
        }
        boundary
    }

    /// The part for people (RFC 6522 §3).
    fn human(&self, original: &[u8]) -> Part {
        let mut text = String::new();
        let mut say = |indent: usize, line: &str| wrap(&mut text, indent, line);
        say(0, &format!("This is the mail system at {}.", self.reporting_mta));
        for action in [Action::Failed, Action::Delayed, Action::Relayed, Action::Delivered, Action::Expanded] {
            let concerned: Vec<&DsnRecipient> = self.recipients.iter().filter(|recipient| recipient.action == action).collect();
            if concerned.is_empty() {
                continue;
            }
            say(0, "");
            say(0, opening(action));
            for recipient in concerned {
                say(0, "");
                say(2, &clean(&format!("<{}>", recipient.mailbox)));
                explain(recipient, &mut say);
            }
        }
        say(0, "");
        say(0, "The message was:");
        say(0, "");
        for (name, value) in self.identity(original) {
            say(2, &format!("{name}: {value}"));
        }
        say(0, "");
        say(0, &format!("If you need help, send this whole notice to postmaster@{}.", self.from.host));
        let encoding = if text.is_ascii() { "7bit" } else { "base64" };
        let octets = if text.is_ascii() { text.into_bytes() } else { base64(text.as_bytes()) };
        Part { content_type: "text/plain; charset=utf-8", encoding, octets }
    }

    /// What makes a person recognise the message.
    fn identity(&self, original: &[u8]) -> Vec<(&'static str, String)> {
        let parsed = mail_parser::MessageParser::new().parse_headers(original);
        let subject = parsed.as_ref().and_then(|message| message.subject().map(clean));
        let rows = [
            ("Subject", subject),
            ("Accepted", Some(self.arrived_at.to_rfc5322())),
            ("Message-ID", self.message_id.as_deref().map(clean)),
            ("Envelope-ID", self.envid.as_deref().map(clean)),
        ];
        rows.into_iter().filter_map(|(name, value)| Some((name, value.filter(|value| !value.is_empty())?))).collect()
    }

    /// The part for programs: message/delivery-status, or its UTF-8 form where an address needs it (RFC 6533 §4.1).
    fn status(&self) -> Part {
        let global = self.recipients.iter().any(|r| !r.mailbox.is_ascii() || r.orcpt.as_ref().is_some_and(|orcpt| !orcpt.address.is_ascii()));
        let words = |text: &str| if global { clean(text) } else { ascii(&clean(text)) };
        let mut out = String::new();
        if let Some(envid) = &self.envid {
            let envid: String = envid.chars().map(harmless).collect(); // its spelling is kept (RFC 3464 §2.2.1)
            field(&mut out, "Original-Envelope-Id", &if global { envid } else { ascii(&envid) });
        }
        field(&mut out, "Reporting-MTA", &format!("dns; {}", self.reporting_mta));
        field(&mut out, "Arrival-Date", &self.arrived_at.to_rfc5322());
        for recipient in &self.recipients {
            out += "\r\n";
            recipient_fields(&mut out, recipient, &words);
        }
        let content_type = if global { "message/global-delivery-status" } else { "message/delivery-status" };
        let encoding = if out.is_ascii() { "7bit" } else { "base64" };
        Part { content_type, encoding, octets: if out.is_ascii() { out.into_bytes() } else { base64(out.as_bytes()) } }
    }

    /// The message or its header; nothing when it is no message.
    fn returned(&self, original: &[u8], limits: &ReturnLimits) -> Option<Part> {
        let headers = Headers::parse(original).ok()?;
        let header_is_ascii = original[..headers.body_start()].is_ascii();
        let whole = self.action() == Action::Failed && self.ret != Some(Ret::Headers) && original.len() <= limits.message_octets_max;
        if whole && header_is_ascii && is_seven_bit(original) {
            return Some(Part { content_type: "message/rfc822", encoding: "7bit", octets: original.to_vec() });
        }
        if whole && !header_is_ascii {
            return Some(Part { content_type: "message/global", encoding: "base64", octets: base64(original) });
        }
        let mut kept = Vec::new();
        for field in headers.iter() {
            if kept.len() + field.raw.len() <= limits.header_octets_max {
                kept.extend_from_slice(field.raw);
            }
        }
        let content_type = if kept.is_ascii() { "text/rfc822-headers" } else { "message/global-headers" };
        if is_seven_bit(&kept) {
            return Some(Part { content_type, encoding: "7bit", octets: kept });
        }
        Some(Part { content_type, encoding: "base64", octets: base64(&kept) })
    }
}

const fn opening(action: Action) -> &'static str {
    match action {
        Action::Failed => "Your message could not be delivered to the following recipients, and will not be tried again.",
        Action::Delayed => "Your message could not be delivered yet. You need do nothing: it is tried again by itself.",
        Action::Relayed => "Your message was handed to the servers of the following recipients. They send no notices of their own.",
        Action::Delivered => "Your message was delivered to the following recipients.",
        Action::Expanded => "Your message was delivered to the following addresses, which passed it on to several others.",
    }
}

/// What happened, in the server's own words, and what to do.
fn explain(recipient: &DsnRecipient, say: &mut impl FnMut(usize, &str)) {
    let evidence = &recipient.evidence;
    let server = evidence.remote.as_ref().map(|remote| format!("{} ({})", clean(&remote.host), remote.address.ip()));
    match (&evidence.reply, &server) {
        (Some(reply), server) => {
            say(4, &format!("{} answered:", server.as_deref().unwrap_or("The next server")));
            let first = RemoteReply { lines: reply.lines.first().into_iter().cloned().collect(), ..reply.clone() };
            say(8, &clean(&first.to_string()));
            reply.lines.iter().skip(1).take(REPLY_LINES_MAX).for_each(|line| say(8, &clean(line)));
        }
        (None, Some(server)) => say(4, &format!("Tried last: {server}")),
        (None, None) => {}
    }
    if !evidence.text.is_empty() {
        say(4, &clean(&evidence.text));
    }
    if evidence.unknown_end {
        say(4, "The connection ended before the server answered, so the message may have arrived all the same.");
    }
    // What no server was asked about, our own words explain.
    if let (Action::Failed, Some(advice), 1..) = (recipient.action, advice(evidence.status), recipient.attempts) {
        say(4, advice);
    }
    if recipient.action == Action::Failed && recipient.attempts > 1 {
        say(4, &format!("It was tried {} times, last on {}.", recipient.attempts, evidence.at.to_rfc5322()));
    }
    if let (Action::Delayed, Some(until)) = (recipient.action, recipient.retry_until) {
        say(4, &format!("It is tried again until {}; you will be told if that fails.", until.to_rfc5322()));
    }
}

/// What to do about a status (RFC 3463 §3 and the registry it began).
const fn advice(status: EnhancedCode) -> Option<&'static str> {
    Some(match (status.class(), status.subject_and_detail()) {
        (5, (1, 1 | 3 | 6)) => "There is no such address. Check its spelling; if it is on a list, take it off.",
        (_, (1, 2 | 10)) => "The domain behind the \"@\" does not exist or takes no mail. Check its spelling.",
        (5, (2, 1)) => "The mailbox is closed. Reach the person another way; if the address is on a list, take it off.",
        (_, (2, 2)) => "The mailbox is full. Try again later, or reach the person another way.",
        (_, (2, 3) | (3, 4)) => "The message is too large for the receiving server. Send less, or a link.",
        (4, (3 | 4, _)) => {
            "The receiving server could not be reached, or was not working, for as long as we tried. Nothing is wrong with the message: send it again later."
        }
        (_, (5, 3)) => "The message had too many recipients. Send it to fewer at a time.",
        (_, (6, _)) => "The receiving server cannot take a message of this form. Send it as plain text, or show the answer above to your postmaster.",
        (_, (7, _)) => {
            "The receiving server refused the message by its policy. Only the people who run it or this mail system can change that: show them the answer above."
        }
        (4, _) => "The receiving server did not take it for as long as we tried. Send it again later.",
        _ => return None,
    })
}

/// One group of per-recipient fields (RFC 3464 §2.3).
fn recipient_fields(out: &mut String, recipient: &DsnRecipient, words: &dyn Fn(&str) -> String) {
    let evidence = &recipient.evidence;
    if let Some(OriginalRecipient { address_type, address }) = &recipient.orcpt {
        field(out, "Original-Recipient", &format!("{}; {}", words(address_type), words(address)));
    }
    field(out, "Final-Recipient", &format!("{}; {}", address_type(&recipient.mailbox), recipient.mailbox));
    field(out, "Action", recipient.action.as_str());
    field(out, "Status", &evidence.status.to_string());
    match &evidence.reply {
        // The Remote-MTA's presence says that the diagnostic is its own (RFC 3464 §2.3.6).
        Some(reply) => {
            if let Some(remote) = &evidence.remote {
                field(out, "Remote-MTA", &format!("dns; {}", words(&remote.host)));
            }
            field(out, "Diagnostic-Code", &format!("smtp; {}", words(&reply.to_string())));
        }
        None if !evidence.text.is_empty() => field(out, "Diagnostic-Code", &format!("X-Postseal; {}", words(&evidence.text))),
        None => {}
    }
    if let Some(reason) = recipient.reason {
        field(out, "X-Postseal-Reason", reason.as_str()); // an extension field (RFC 3464 §2.4)
    }
    if recipient.attempts > 0 {
        field(out, "Last-Attempt-Date", &evidence.at.to_rfc5322());
    }
    if let (Action::Delayed, Some(until)) = (recipient.action, recipient.retry_until) {
        field(out, "Will-Retry-Until", &Timestamp::to_rfc5322(until));
    }
}

/// RFC 6533 §3 names the other.
fn address_type(mailbox: &Mailbox) -> &'static str {
    if mailbox.is_ascii() { "rfc822" } else { "utf-8" }
}

/// A field folded before words that would pass column 78 (RFC 5322 §2.2.3); words past 900 octets are cut in two.
fn field(out: &mut String, name: &str, value: &str) {
    out.push_str(name);
    out.push(':');
    let mut column = name.len() + 1;
    for word in value.split(' ').flat_map(|word| pieces(word, WORD_OCTETS_MAX)) {
        if column + 1 + word.len() > FOLD_COLUMN && column > name.len() + 1 && !word.is_empty() {
            out.push_str("\r\n");
            column = 0;
        }
        out.push(' ');
        out.push_str(word);
        column += 1 + word.len();
    }
    out.push_str("\r\n");
}

/// A line of the human part: indented, broken at spaces. Empty text gives an empty line.
fn wrap(out: &mut String, indent: usize, text: &str) {
    let mut column = 0;
    for word in text.split(' ').flat_map(|word| pieces(word, WORD_OCTETS_MAX)) {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > TEXT_COLUMNS {
            out.push_str("\r\n");
            column = 0;
        }
        let gap = match column {
            0 if word.is_empty() => 0,
            0 => indent,
            _ => 1,
        };
        out.push_str(&" ".repeat(gap));
        out.push_str(word);
        column += gap + width;
    }
    out.push_str("\r\n");
}

/// A word in pieces of at most `octets_max`, cut between characters.
fn pieces(word: &str, octets_max: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = word;
    while rest.len() > octets_max {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(octets_max));
        pieces.push(piece);
        rest = after;
    }
    pieces.push(rest);
    pieces
}

/// Text from outside on one line: runs of white space become a space, what is not harmless a question mark.
fn clean(text: &str) -> String {
    let text: String = text.chars().take(WORDS_CHARACTERS_MAX).map(|c| if c.is_ascii_whitespace() { ' ' } else { harmless(c) }).collect();
    text.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}

/// Controls, line ends and marks of reading direction end here.
fn harmless(c: char) -> char {
    if c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}') { '?' } else { c }
}

fn ascii(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect()
}

/// Safe to repeat in In-Reply-To: one bracketed word of printable ASCII (RFC 5322 §3.6.4).
fn is_message_id(text: &str) -> bool {
    text.len() <= MESSAGE_ID_OCTETS_MAX && text.starts_with('<') && text.ends_with('>') && text.bytes().all(|b| (b'!'..=b'~').contains(&b))
}

/// RFC 2045 §2.7: ASCII without NUL, in lines of at most 998 octets that end in CR LF.
fn is_seven_bit(octets: &[u8]) -> bool {
    octets.split_inclusive(|b| *b == b'\n').all(|line| {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        text.len() <= 998 && text.iter().all(|b| b.is_ascii() && !matches!(b, 0 | b'\r' | b'\n'))
    })
}

/// In lines of 76 characters (RFC 2045 §6.8).
fn base64(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() * 3 / 2);
    for line in octets.chunks(57) {
        out.extend_from_slice(BASE64.encode(line).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out
}

const FOLD_COLUMN: usize = 78;
const TEXT_COLUMNS: usize = 76;
const WORD_OCTETS_MAX: usize = 900;
/// A server's words, a subject: more helps nobody.
const WORDS_CHARACTERS_MAX: usize = 2000;
/// Lines of a server's reply that a person is shown, besides the first.
const REPLY_LINES_MAX: usize = 20;
const MESSAGE_ID_OCTETS_MAX: usize = 500;
