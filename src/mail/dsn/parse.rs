//! Reads a notice from elsewhere: the status part, and the Message-ID of what it tells of. Bounded in every direction.

use super::Action;
use crate::mail::{EnhancedCode, HeaderFault, Headers, Mailbox, Timestamp};
use mail_parser::Encoding;
use std::borrow::Cow;

/// The machine-readable part of a delivery status notification, and what identifies the message it tells of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Who tried to deliver.
    pub reporting_mta: Option<TypedText>,
    /// `DSN-Gateway`: who translated it from another mail system.
    pub gateway: Option<TypedText>,
    /// `Received-From-MTA`.
    pub received_from: Option<TypedText>,
    /// `Original-Envelope-Id`.
    pub envid: Option<String>,
    /// `Arrival-Date`.
    pub arrived_at: Option<Timestamp>,
    /// At least one.
    pub recipients: Vec<ReportedRecipient>,
    /// The Message-ID of the returned message or header, with its angle brackets.
    pub message_id: Option<String>,
}

/// One group of per-recipient fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedRecipient {
    /// `Original-Recipient`.
    pub original: Option<TypedText>,
    /// `Final-Recipient`.
    pub last: TypedText,
    /// `Action`.
    pub action: Action,
    /// `Status`; `None` when it is not one (RFC 3463 §2).
    pub status: Option<EnhancedCode>,
    /// `Remote-MTA`.
    pub remote_mta: Option<TypedText>,
    /// `Diagnostic-Code`.
    pub diagnostic: Option<TypedText>,
    /// `Final-Log-ID`: under which the last host logged it.
    pub log_id: Option<String>,
    /// `Last-Attempt-Date`.
    pub last_attempt_at: Option<Timestamp>,
    /// `Will-Retry-Until`.
    pub retry_until: Option<Timestamp>,
}

/// `type; text` (RFC 3464 §2.1.2): an address, a host name, a diagnostic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypedText {
    /// Lower case.
    pub kind: String,
    /// As it stands, unfolded.
    pub text: String,
}

/// Why a message is no delivery status notification.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportFault {
    /// Another kind of message.
    #[error("not a multipart/report of report-type delivery-status")]
    NotAReport,
    /// A multipart without a usable boundary.
    #[error("a multipart/report without a boundary")]
    NoBoundary,
    /// No message/delivery-status among its parts.
    #[error("a multipart/report without a message/delivery-status")]
    NoStatus,
    /// A header or status part that is not made of fields.
    #[error(transparent)]
    Fields(#[from] HeaderFault),
    /// A status part that tells of nobody, or leaves out what it must say of somebody.
    #[error("recipient {0} of a delivery status has no valid {1}")]
    Incomplete(usize, &'static str),
    /// More than is read.
    #[error("a delivery status notification with more than {1} {0}")]
    TooMany(&'static str, usize),
}

impl Report {
    /// Reads a message with CR LF line ends.
    ///
    /// # Errors
    /// It is no notice, not well formed, or larger than is read: [`PARTS_MAX`], [`STATUS_OCTETS_MAX`], [`RECIPIENTS_MAX`].
    pub fn parse(message: &[u8]) -> Result<Self, ReportFault> {
        let headers = Headers::parse(message)?;
        let content_type = ContentType::of(&headers);
        let report_type = content_type.parameter("report-type").unwrap_or_default();
        if content_type.kind != "multipart/report" || !report_type.eq_ignore_ascii_case("delivery-status") {
            return Err(ReportFault::NotAReport);
        }
        let boundary = content_type.parameter("boundary").filter(|text| !text.is_empty()).ok_or(ReportFault::NoBoundary)?;
        let (mut report, mut message_id) = (None, None);
        for part in parts(&message[headers.body_start()..], boundary)? {
            let Ok(headers) = Headers::parse(part) else { continue };
            let body = || decoded(&headers, &part[headers.body_start()..]);
            match ContentType::of(&headers).kind.as_str() {
                "message/delivery-status" | "message/global-delivery-status" if report.is_none() => report = Some(Self::status(&body())?),
                "message/rfc822" | "message/global" | "text/rfc822-headers" | "message/global-headers" => message_id = message_id.or(id_in(&body())),
                _ => {}
            }
        }
        let report = report.ok_or(ReportFault::NoStatus)?;
        Ok(Self { message_id, ..report })
    }

    /// Reads a status part, without its transfer encoding, as others really write them: lines that are no fields are passed over, groups
    /// may run together or fall apart, types and actions may be missing (the class of the status then says which). Nothing is guessed:
    /// who is not named is not told of. `None` where nobody is.
    #[must_use]
    pub fn salvage(octets: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(&octets[..octets.len().min(STATUS_OCTETS_MAX)]);
        let (mut report, mut groups) = (Self::default(), vec![String::new()]);
        for line in text.lines() {
            let line = line.trim_end();
            let group = groups.last_mut()?;
            let continues = line.starts_with([' ', '\t']) && !group.is_empty();
            let is_field = line.split_once(':').is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| (b'!'..=b'~').contains(&b)));
            if line.trim().is_empty() {
                groups.push(String::new());
            } else if continues || is_field {
                // A second recipient without an empty line before it.
                let begins = |name: &str| line.len() > name.len() && line.as_bytes()[..name.len()].eq_ignore_ascii_case(name.as_bytes());
                let mut lines = group.lines();
                if begins("Final-Recipient:") && lines.any(|line| line.to_ascii_lowercase().starts_with("final-recipient:")) {
                    groups.push(String::new());
                }
                if let Some(group) = groups.last_mut() {
                    group.push_str(line);
                    group.push_str("\r\n");
                }
            }
        }
        let mut pending: Option<String> = None;
        for group in groups.into_iter().filter(|group| !group.is_empty()) {
            let Ok(fields) = Headers::parse(group.as_bytes()) else { continue };
            report.reporting_mta = report.reporting_mta.or_else(|| typed(&fields, "Reporting-MTA"));
            report.gateway = report.gateway.or_else(|| typed(&fields, "DSN-Gateway"));
            report.received_from = report.received_from.or_else(|| typed(&fields, "Received-From-MTA"));
            report.envid = report.envid.or_else(|| self::text(&fields, "Original-Envelope-Id"));
            report.arrived_at = report.arrived_at.or_else(|| date(&fields, "Arrival-Date"));
            let named = ["Final-Recipient", "Original-Recipient", "X-Actual-Recipient"].iter().any(|name| fields.named(name).next().is_some());
            // What an empty line tore off belongs to the recipient before it.
            if named {
                report.recipients.extend(pending.take().and_then(|group| ReportedRecipient::salvage(&group)));
                pending = Some(group);
            } else if let Some(before) = &mut pending {
                before.push_str(&group);
            }
            if report.recipients.len() >= RECIPIENTS_MAX {
                break;
            }
        }
        report.recipients.extend(pending.and_then(|group| ReportedRecipient::salvage(&group)));
        (!report.recipients.is_empty()).then_some(report)
    }

    /// Groups of fields with empty lines between: the message first, then its recipients (RFC 3464 §2.1).
    fn status(octets: &[u8]) -> Result<Self, ReportFault> {
        if octets.len() > STATUS_OCTETS_MAX {
            return Err(ReportFault::TooMany("octets of status", STATUS_OCTETS_MAX));
        }
        let mut groups = Vec::new();
        let mut rest = octets;
        while !rest.is_empty() {
            let group = Headers::parse(rest)?;
            rest = &rest[group.body_start()..];
            if group.is_empty() {
                continue;
            }
            if groups.len() > RECIPIENTS_MAX {
                return Err(ReportFault::TooMany("recipients", RECIPIENTS_MAX));
            }
            groups.push(group);
        }
        let [message, recipients @ ..] = groups.as_slice() else { return Err(ReportFault::Incomplete(1, "Final-Recipient")) };
        if recipients.is_empty() {
            return Err(ReportFault::Incomplete(1, "Final-Recipient"));
        }
        Ok(Self {
            reporting_mta: typed(message, "Reporting-MTA"),
            gateway: typed(message, "DSN-Gateway"),
            received_from: typed(message, "Received-From-MTA"),
            envid: text(message, "Original-Envelope-Id"),
            arrived_at: date(message, "Arrival-Date"),
            recipients: recipients.iter().zip(1..).map(|(group, place)| ReportedRecipient::read(group, place)).collect::<Result<_, _>>()?,
            message_id: None,
        })
    }
}

impl ReportedRecipient {
    fn read(group: &Headers<'_>, place: usize) -> Result<Self, ReportFault> {
        let missing = |what| ReportFault::Incomplete(place, what);
        let action = first_word(group, "Action").and_then(|word| word.parse().ok());
        Ok(Self {
            original: typed(group, "Original-Recipient"),
            last: typed(group, "Final-Recipient").ok_or_else(|| missing("Final-Recipient"))?,
            action: action.ok_or_else(|| missing("Action"))?,
            status: first_word(group, "Status").and_then(|word| word.parse().ok()),
            remote_mta: typed(group, "Remote-MTA"),
            diagnostic: typed(group, "Diagnostic-Code"),
            log_id: text(group, "Final-Log-ID"),
            last_attempt_at: date(group, "Last-Attempt-Date"),
            retry_until: date(group, "Will-Retry-Until"),
        })
    }
}

impl ReportedRecipient {
    fn salvage(group: &str) -> Option<Self> {
        let fields = Headers::parse(group.as_bytes()).ok()?;
        let address = |name: &str| typed_or(&fields, name, "rfc822").filter(|typed| !typed.text.is_empty());
        let original = address("Original-Recipient");
        let last = address("Final-Recipient").or_else(|| address("X-Actual-Recipient")).or_else(|| original.clone())?;
        let status: Option<EnhancedCode> = first_word(&fields, "Status").and_then(|word| word.trim_end_matches('.').parse().ok());
        let action = first_word(&fields, "Action").and_then(|word| word.to_ascii_lowercase().parse().ok());
        let by_class = || match status.map(EnhancedCode::class) {
            Some(4) => Action::Delayed,
            Some(2) => Action::Delivered,
            _ => Action::Failed,
        };
        Some(Self {
            original,
            last,
            action: action.unwrap_or_else(by_class),
            status,
            remote_mta: typed_or(&fields, "Remote-MTA", "dns"),
            diagnostic: typed_or(&fields, "Diagnostic-Code", "smtp"),
            log_id: text(&fields, "Final-Log-ID"),
            last_attempt_at: date(&fields, "Last-Attempt-Date"),
            retry_until: date(&fields, "Will-Retry-Until"),
        })
    }
}

impl TypedText {
    /// The address, if it is one: angle brackets are forgiven, the 7-bit form of UTF-8 addresses is undone (RFC 6533 §3).
    #[must_use]
    pub fn mailbox(&self) -> Option<Mailbox> {
        let bare = self.text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(&self.text);
        match self.kind.as_str() {
            "rfc822" => Mailbox::parse(bare).ok(),
            "utf-8" => Mailbox::parse(&unitext(bare)?).ok(),
            _ => None,
        }
    }
}

/// Undoes `\x{HEXPOINT}` (RFC 6533 §3); `None` when one names no character.
fn unitext(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x{") {
        let (hex, after) = after.split_once('}')?;
        out.push_str(before);
        out.push(u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)?);
        rest = after;
    }
    Some(out + rest)
}

/// A Content-Type, its kind in lower case (RFC 2045 §5.1).
struct ContentType {
    kind: String,
    parameters: Vec<(String, String)>,
}

impl ContentType {
    fn of(headers: &Headers<'_>) -> Self {
        let value = headers.named("Content-Type").next().map(|field| field.unfolded()).unwrap_or_default();
        let mut pieces = unquoted_split(&value, ';').into_iter();
        let kind = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
        let parameters = pieces.take(PARAMETERS_MAX).filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), unquote(value.trim())))
        });
        Self { kind, parameters: parameters.collect() }
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn unquoted_split(text: &str, at: char) -> Vec<&str> {
    let (mut pieces, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (place, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            c if c == at && !quoted => {
                pieces.push(&text[start..place]);
                start = place + c.len_utf8();
            }
            _ => {}
        }
    }
    pieces.push(&text[start..]);
    pieces
}

fn unquote(value: &str) -> String {
    let Some(quoted) = value.strip_prefix('"') else { return value.split([' ', '\t', '(']).next().unwrap_or_default().to_owned() };
    let (mut out, mut chars) = (String::new(), quoted.chars());
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

/// The parts of a multipart body (RFC 2046 §5.1.1), preamble and epilogue left out, each ending where its delimiter's line end begins.
fn parts<'a>(body: &'a [u8], boundary: &str) -> Result<Vec<&'a [u8]>, ReportFault> {
    let delimiter = [b"--", boundary.as_bytes()].concat();
    let (mut parts, mut start, mut at) = (Vec::new(), None, 0);
    for line in body.split_inclusive(|b| *b == b'\n') {
        let here = at;
        at += line.len();
        let Some(after) = line.strip_prefix(delimiter.as_slice()).map(<[u8]>::trim_ascii_end) else { continue };
        if !after.is_empty() && after != b"--" {
            continue; // a longer boundary, of a part within
        }
        if let Some(start) = start.take() {
            let part = &body[start..here.max(start)];
            parts.push(part.strip_suffix(b"\r\n").unwrap_or(part));
        }
        if after == b"--" {
            return Ok(parts);
        }
        if parts.len() == PARTS_MAX {
            return Err(ReportFault::TooMany("parts", PARTS_MAX));
        }
        start = Some(at);
    }
    parts.extend(start.map(|start| &body[start..])); // cut short on its way: what is there is read
    Ok(parts)
}

/// The content without its transfer encoding, its lines ending in CR LF, the last one too.
fn decoded<'a>(headers: &Headers<'_>, body: &'a [u8]) -> Cow<'a, [u8]> {
    let encoding = first_word(headers, "Content-Transfer-Encoding").unwrap_or_default().to_ascii_lowercase();
    let plain = match encoding.as_str() {
        "base64" => Encoding::Base64.decode(body),
        "quoted-printable" => Encoding::QuotedPrintable.decode(body),
        _ => Cow::Borrowed(body),
    };
    let tidy = plain.is_empty() || plain.ends_with(b"\r\n");
    if tidy && memchr::memchr_iter(b'\n', &plain).all(|at| at > 0 && plain[at - 1] == b'\r') {
        return plain;
    }
    let lines = plain.split_inclusive(|b| *b == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line));
    Cow::Owned(lines.flat_map(|line| [line.strip_suffix(b"\r").unwrap_or(line), b"\r\n"].concat()).collect())
}

/// The Message-ID in a returned message or header.
fn id_in(octets: &[u8]) -> Option<String> {
    let headers = Headers::parse(octets).ok()?;
    text(&headers, "Message-ID").filter(|id| id.len() <= MESSAGE_ID_OCTETS_MAX)
}

fn text(group: &Headers<'_>, name: &str) -> Option<String> {
    group.named(name).next().map(|field| field.unfolded()).filter(|text| !text.is_empty())
}

/// The value up to white space or a comment.
fn first_word(group: &Headers<'_>, name: &str) -> Option<String> {
    let text = text(group, name)?;
    text.split([' ', '\t', '(', ';']).next().map(str::to_owned)
}

fn typed(group: &Headers<'_>, name: &str) -> Option<TypedText> {
    let text = text(group, name)?;
    let (kind, rest) = text.split_once(';')?;
    Some(TypedText { kind: kind.trim().to_ascii_lowercase(), text: rest.trim().to_owned() }).filter(|typed| !typed.text.is_empty())
}

/// As [`typed`], but the type may be missing.
fn typed_or(group: &Headers<'_>, name: &str, kind: &str) -> Option<TypedText> {
    let text = text(group, name)?;
    let is_type = |word: &str| !word.is_empty() && word.len() <= 40 && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let typed = match text.split_once(';') {
        Some((kind, rest)) if is_type(kind.trim()) => TypedText { kind: kind.trim().to_ascii_lowercase(), text: rest.trim().to_owned() },
        _ => TypedText { kind: kind.to_owned(), text },
    };
    Some(typed).filter(|typed| !typed.text.is_empty())
}

/// RFC 5322 §3.3; a date that is none is left out.
fn date(group: &Headers<'_>, name: &str) -> Option<Timestamp> {
    let parser = jiff::fmt::rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let instant = parser.parse_timestamp(text(group, name)?.as_str()).ok()?;
    Some(Timestamp::from_unix_seconds(instant.as_second()))
}

/// Parts of a report that are looked at; RFC 6522 has three.
pub const PARTS_MAX: usize = 10;
/// Octets of a status part.
pub const STATUS_OCTETS_MAX: usize = 1 << 20;
/// Recipients of a status part.
pub const RECIPIENTS_MAX: usize = 1000;
const PARAMETERS_MAX: usize = 20;
/// More than Gmail takes (500).
const MESSAGE_ID_OCTETS_MAX: usize = 998;
