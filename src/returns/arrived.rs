//! A message that came back, taken apart: its header, what it says to people and to programs, and the message that it brings along.
//!
//! Taken apart by mail-parser, which forgives what real notices do: LF line ends, missing boundaries, fields that are none. Bounded in
//! octets, parts, depth and in what is kept of each.

use super::Original;
use mail_parser::{HeaderForm, HeaderName, Message, MessageParser, MessagePart, MessageRef, PartKind};

/// What is looked at of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Names in lower case; values unfolded, on one line.
    pub fields: Vec<(String, String)>,
    /// Decoded.
    pub subject: String,
    /// Display name and address of the first author.
    pub from: (String, String),
    /// Addresses of To and Cc.
    pub to: Vec<String>,
    /// `type/subtype` of the whole, lower case.
    pub media: String,
    /// Its `report-type`.
    pub report_type: String,
    /// The first text for people; HTML turned into text.
    pub text: String,
    /// A message/delivery-status part, decoded.
    pub status: Option<Vec<u8>>,
    /// A message/disposition-notification part, decoded.
    pub disposition: Option<Vec<u8>>,
    /// A message/feedback-report part, decoded.
    pub feedback: Option<Vec<u8>>,
    /// The message or header that came along as a part.
    pub original: Option<Returnee>,
}

/// A message within the message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Returnee {
    /// As of [`Arrived::fields`].
    pub fields: Vec<(String, String)>,
    /// The header, LF line ends.
    pub header: String,
    /// Addresses of From, Sender, Return-Path and Reply-To.
    pub from: Vec<String>,
    /// Addresses of To.
    pub to: Vec<String>,
}

impl Arrived {
    /// `None` where there is nothing that could be a message.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let octets = &octets[..octets.len().min(MESSAGE_OCTETS_MAX)];
        let octets = without_mbox_line(octets);
        let message = parser().parse(octets)?;
        let root = message.root();
        let content_type = root.content_type();
        let mut arrived = Self {
            fields: fields(root),
            subject: super::one_line(message.subject().unwrap_or_default(), VALUE_OCTETS_MAX),
            from: author(root),
            to: addresses(root.headers().to().into_iter().chain(root.headers().cc())),
            media: content_type.map_or_else(String::new, |it| format!("{}/{}", it.ctype(), it.subtype().unwrap_or_default()).to_ascii_lowercase()),
            report_type: content_type.and_then(|it| it.attribute("report-type")).unwrap_or_default().to_ascii_lowercase(),
            text: String::new(),
            status: None,
            disposition: None,
            feedback: None,
            original: None,
        };
        for part in root.parts() {
            arrived.look_at(part);
        }
        if arrived.status.is_none() && arrived.text.trim().is_empty() {
            // A gateway wrapped the whole notice.
            message.parts().for_each(|part| arrived.look_within(part));
        }
        if arrived.text.trim().is_empty() {
            arrived.text = root.text_bodies().next().map(|text| cut(&text, TEXT_OCTETS_MAX).to_owned()).unwrap_or_default();
        }
        // A text in a charset of seven bits that calls itself none: ISO-2022-JP (RFC 1468) is known by its escapes.
        if arrived.text.contains("\u{1b}$B") {
            arrived.text = mail_parser::decoders::charsets::decode(b"iso-2022-jp", arrived.text.as_bytes()).into_owned();
        }
        Some(arrived)
    }

    fn look_at(&mut self, part: MessagePart<'_>) {
        let is = |kind: &str, subtype: &str| part.is_content_type(kind, subtype);
        if is("message", "delivery-status") || is("message", "global-delivery-status") {
            self.status.get_or_insert_with(|| bounded(part));
        } else if is("message", "disposition-notification") {
            self.disposition.get_or_insert_with(|| bounded(part));
        } else if is("message", "feedback-report") {
            self.feedback.get_or_insert_with(|| bounded(part));
        } else if let PartKind::Message(within) = part.kind() {
            self.original.get_or_insert_with(|| Returnee::of(within));
        } else if ["rfc822", "rfc822-headers", "global", "global-headers"].iter().any(|sub| is("message", sub) || is("text", sub)) {
            let header = bounded(part);
            if let Some(found) = Returnee::read(&header) {
                self.original.get_or_insert(found);
            }
        } else if matches!(part.kind(), PartKind::Text) && self.text.trim().is_empty() {
            self.text = part.text_prefix_bytes(TEXT_OCTETS_MAX).map(std::borrow::Cow::into_owned).unwrap_or_default();
        }
    }

    fn look_within(&mut self, part: MessagePart<'_>) {
        if part.is_content_type("message", "delivery-status") {
            self.status.get_or_insert_with(|| bounded(part));
        }
    }

    /// The values of a field, its name in lower case.
    pub fn values<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s str> {
        self.fields.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a field.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// Whether the reverse-path it came with was null, as the last host noted it.
    #[must_use]
    pub fn is_from_null(&self) -> bool {
        self.value("return-path").is_some_and(|path| path.trim() == "<>")
    }
}

impl Returnee {
    /// A header, whole or cut short, with anything behind it.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let trimmed = octets.iter().position(|b| !b.is_ascii_whitespace()).map(|start| &octets[start..])?;
        let message: Message<'_> = parser().parse_headers(without_mbox_line(trimmed))?;
        let found = Self::of(message.root());
        let is_mail = |name: &str| found.fields.iter().any(|(known, _)| known == name);
        ["message-id", "from", "to", "subject", "received", "date"].into_iter().any(is_mail).then_some(found)
    }

    fn of(message: MessageRef<'_>) -> Self {
        let headers = message.headers();
        let raw = message.root_part().raw_headers();
        let header = String::from_utf8_lossy(&raw[..raw.len().min(HEADER_OCTETS_MAX)]).replace("\r\n", "\n").replace('\r', "\n");
        let path = headers.get("return-path").map(|field| field.raw_value().trim_ascii());
        let path = path.and_then(|path| std::str::from_utf8(path).ok()).map(|path| path.trim_matches(['<', '>']).to_owned());
        let mut from = addresses(headers.from().into_iter().chain(headers.sender()).chain(headers.reply_to()));
        from.extend(path.filter(|path| path.contains('@')));
        Self { fields: fields(message), header: header.trim_end().to_owned(), from, to: addresses(headers.to().into_iter()) }
    }

    /// What callers learn of it.
    #[must_use]
    pub fn original(&self) -> Original {
        let id = self.fields.iter().find(|(name, _)| name == "message-id").map(|(_, value)| value.as_str());
        Original { message_id: id.filter(|id| !id.is_empty() && id.len() <= MESSAGE_ID_OCTETS_MAX).map(str::to_owned), header: self.header.clone() }
    }

    /// The first value of a field, its name in lower case.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

fn parser() -> MessageParser {
    MessageParser::new().header(HeaderName::ReturnPath, HeaderForm::Raw).max_depth(DEPTH_MAX).max_parts(PARTS_MAX).max_encoded_nesting(1)
}

/// `From sender date`, as mailbox files separate messages.
fn without_mbox_line(octets: &[u8]) -> &[u8] {
    if !octets.starts_with(b"From ") && !octets.starts_with(b">From ") {
        return octets;
    }
    memchr::memchr(b'\n', octets).map_or(octets, |lf| &octets[lf + 1..])
}

fn fields(message: MessageRef<'_>) -> Vec<(String, String)> {
    let one = |field: mail_parser::Header<'_>| {
        let value = field.raw_value();
        let value = String::from_utf8_lossy(&value[..value.len().min(VALUE_OCTETS_MAX)]).into_owned();
        (field.raw_name().trim_end().to_ascii_lowercase(), super::one_line(&value, VALUE_OCTETS_MAX))
    };
    message.headers().iter().take(FIELDS_MAX).map(one).collect()
}

fn author(message: MessageRef<'_>) -> (String, String) {
    let headers = message.headers();
    match headers.from().and_then(|list| list.first()) {
        Some(first) => (first.name().unwrap_or_default().to_ascii_lowercase(), first.address().unwrap_or_default().to_ascii_lowercase()),
        None => (headers.get("from").map(|field| String::from_utf8_lossy(field.raw_value()).trim().to_ascii_lowercase()).unwrap_or_default(), String::new()),
    }
}

fn addresses<'m>(lists: impl Iterator<Item = mail_parser::AddressList<'m>>) -> Vec<String> {
    lists.flat_map(|list| list.mailboxes()).filter_map(|mailbox| mailbox.address()).take(ADDRESSES_MAX).map(str::to_owned).collect()
}

fn bounded(part: MessagePart<'_>) -> Vec<u8> {
    let mut octets = part.decoded().into_owned();
    octets.truncate(crate::mail::dsn::STATUS_OCTETS_MAX);
    octets
}

fn cut(text: &str, octets_max: usize) -> &str {
    &text[..text.floor_char_boundary(octets_max)]
}

/// Octets of a message that are looked at; what stands behind is content that came along.
pub const MESSAGE_OCTETS_MAX: usize = 4 << 20;
/// Parts.
pub const PARTS_MAX: usize = 100;
/// Levels of parts.
pub const DEPTH_MAX: usize = 8;
/// Octets of the text for people.
pub const TEXT_OCTETS_MAX: usize = 64 * 1024;
/// Octets of the returned header that are handed on.
pub const HEADER_OCTETS_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 500;
const VALUE_OCTETS_MAX: usize = 4096;
const ADDRESSES_MAX: usize = 100;
/// More than Gmail takes (500).
const MESSAGE_ID_OCTETS_MAX: usize = 998;
