//! The station *normalise*: a message as the application wrote it becomes one that survives every hop unchanged.
//!
//! | family | file | rule |
//! |---|---|---|
//! | refused, removed | `forbidden` | what RFC 5322 forbids and Gmail refuses; Bcc, Return-Path, `X-Postseal-*`, `traceparent` |
//! | supplied | `required` | Date, Message-ID, MIME-Version (RFC 6409 §8.2, §8.3, RFC 2045 §4) |
//! | re-encoded | `encoding` | 8-bit octets and over-long lines, before anything is signed (RFC 6376 §5.3) |
//! | told | `trace` | the Received field (RFC 5321 §4.4) |
//!
//! A message that needs nothing passes octet for octet below the Received field, and so do the signatures it carries. Where one of
//! them verifies, nothing that is there is rewritten; Bcc goes all the same, since secrecy matters more than a signature over it.
//! Sender is never added (RFC 6409 §8.1): RFC 5322 §3.6.2 asks for it only where there are several authors, and those are refused.
//!
//! It knows neither keys nor routes nor who may send what; whether a signature that is already there verifies it is told.

use crate::mail::mime::{Bounds, MimeFault};
use crate::mail::{Client, Domain, EnhancedCode, Envelope, HeaderFault, Headers, MailId, Message, Refusal, Timestamp};
use bytes::Bytes;
use std::ops::Range;

mod encoding;
mod forbidden;
mod quoting;
mod required;
mod trace;

pub use trace::received;

/// What an operator decides about normalisation.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This relay's name: in Received, and behind the `@` of a Message-ID that it supplies.
    pub hostname: Domain,
    /// Leave 8-bit content as it is and ask every next hop for 8BITMIME. Over-long lines are encoded all the same.
    pub keep_8bitmime: bool,
    /// Tell name and address of the client in Received. Off, the field begins with `by`.
    pub show_client: bool,
    /// The bounds of a header.
    pub limits: Limits,
    /// How deep and how wide MIME structures may be where they must be taken apart to be re-encoded.
    pub mime: Bounds,
}

/// Bounds of a header. The defaults are Gmail's (support.google.com/a/answer/14016360), less what trace and seal will add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Octets of the whole header, line ends included. Gmail: 500 KB; 20 KB are left for trace and seal.
    pub header_octets_max: usize,
    /// Fields of the header. Gmail: 5,000; 20 are left for trace and seal.
    pub header_fields_max: usize,
    /// Octets of one value, folding included; To, Cc and References may be longer. Gmail: 32 KB.
    pub field_value_octets_max: usize,
    /// Octets of a field's name. Gmail: 1 KB.
    pub field_name_octets_max: usize,
    /// Characters of a Message-ID with its angle brackets. Gmail: 500.
    pub message_id_characters_max: usize,
    /// Characters of a Subject, unfolded, as it is written. Gmail: 998.
    pub subject_characters_max: usize,
    /// Received fields, ours included (RFC 5321 §6.3). Gmail: 50.
    pub received_hops_max: usize,
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The application's own: a submission server may complete it (RFC 6409 §8).
    Author,
    /// Somebody else's, passed on by a mailing list or forwarder: nothing is completed.
    Forward,
}

/// What had to be found out or chosen beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// The message's number, for Received and a supplied Message-ID.
    pub id: MailId,
    /// It carries a DKIM signature of somebody else's that verifies: what could be signed stays as it is.
    pub foreign_signature_verifies: bool,
}

/// A message that need not change any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Normalised {
    /// The Received field on top of the message.
    pub message: Message,
    /// What its octets ask of every next hop; the addresses of the envelope may ask for more.
    pub needs: ContentNeeds,
    /// Its Message-ID with the angle brackets.
    pub message_id: String,
    /// Something besides the Received field is not as the client wrote it.
    pub changed: bool,
}

/// What the octets of a message ask of a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContentNeeds {
    /// An octet over 127 in the body (RFC 6152).
    pub eight_bit: bool,
    /// UTF-8 in the header or in that of a body part (RFC 6532).
    pub smtputf8: bool,
}

/// Makes a message fit to be signed and sent.
///
/// # Errors
/// The client's faults, each with a remedy: 550 5.6.0 malformed, 550 5.6.3 in need of an encoding that a signature forbids,
/// 552 5.3.4 a header beyond its bounds, 554 5.4.6 a mail loop.
pub fn normalise(
    message: &Bytes,
    envelope: &Envelope,
    client: &Client,
    mode: Mode,
    settings: &Settings,
    facts: &Facts,
    now: Timestamp,
) -> Result<Normalised, Refusal> {
    forbidden::line_ends(message)?;
    let headers = Headers::parse(message).map_err(|fault| malformed_header(&fault))?;
    forbidden::check(&headers, envelope.smtputf8, mode, &settings.limits)?;

    let mut edits = Edits::default();
    forbidden::remove(&headers, mode, &mut edits);
    let encoded = encoding::encode(message, &headers, envelope.smtputf8, facts.foreign_signature_verifies, settings, &mut edits)?;
    let message_id = required::supply(&headers, mode, encoded.top_level, settings, facts, now, &mut edits)?;

    let changed = !edits.is_empty();
    edits.put_on_top(trace::received(envelope, client, settings, facts.id, now));
    let message = Message::parse(edits.apply(message)).map_err(|fault| malformed(&fault.to_string()))?;
    let left = Survey::of(message.body());
    if left.long || left.nul {
        return Err(malformed("a MIME delimiter has a line longer than 998 octets; shorten the boundary or its padding"));
    }
    let needs = ContentNeeds { eight_bit: left.eight_bit, smtputf8: !message.header().is_ascii() || encoded.utf8_part_header };
    Ok(Normalised { message, needs, message_id, changed })
}

/// All that is wrong with the header of a message as its receiver gets it, at most [`FAULTS_MAX`] faults: what [`normalise`] refuses,
/// and a Message-ID that is missing or cannot be read. `smtputf8`: it came by a dialogue with that extension.
#[must_use]
pub fn faults(headers: &Headers<'_>, smtputf8: bool, limits: &Limits) -> Vec<Refusal> {
    let known = required::message_id(headers).is_some();
    let unnamed = (!known).then(|| malformed("the message has no valid Message-ID; send <unique@your.domain>"));
    forbidden::faults(headers, smtputf8, Mode::Forward, limits).chain(unnamed).take(FAULTS_MAX).collect()
}

/// Whether a Date can be read (RFC 5322 §3.3), and when it is.
#[must_use]
pub fn date(text: &str) -> Option<Timestamp> {
    required::date(text)
}

/// The refusal of a message whose header cannot be cut into fields.
#[must_use]
pub fn malformed_header(fault: &HeaderFault) -> Refusal {
    malformed(&header_remedy(fault))
}

impl Settings {
    /// Re-encode, show the client, Gmail's limits.
    #[must_use]
    pub fn new(hostname: Domain) -> Self {
        let mime = Bounds { depth_max: 64, parts_max: 10_000 };
        Self { hostname, keep_8bitmime: false, show_client: true, limits: Limits::default(), mime }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_octets_max: 480_000,
            header_fields_max: 4_980,
            field_value_octets_max: 32_000,
            field_name_octets_max: 1_000,
            message_id_characters_max: 500,
            subject_characters_max: 998,
            received_hops_max: 50,
        }
    }
}

/// Octets to replace in a message, applied all at once.
#[derive(Debug, Default)]
struct Edits(Vec<(Range<usize>, Vec<u8>)>);

impl Edits {
    fn replace(&mut self, range: Range<usize>, by: impl Into<Vec<u8>>) {
        self.0.push((range, by.into()));
    }

    fn remove(&mut self, range: Range<usize>) {
        self.replace(range, Vec::new());
    }

    fn insert(&mut self, at: usize, octets: impl Into<Vec<u8>>) {
        self.replace(at..at, octets);
    }

    /// Above everything, what was put there before included.
    fn put_on_top(&mut self, octets: impl Into<Vec<u8>>) {
        self.0.insert(0, (0..0, octets.into()));
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn apply(mut self, octets: &[u8]) -> Bytes {
        self.0.sort_by_key(|(range, _)| (range.start, range.end)); // stable: insertions at one place keep their order
        let grown: usize = self.0.iter().map(|(_, by)| by.len()).sum();
        let mut out = Vec::with_capacity(octets.len() + grown);
        let mut done = 0;
        for (range, by) in self.0 {
            assert!(range.start >= done, "edits of a message overlap");
            out.extend_from_slice(&octets[done..range.start]);
            out.extend_from_slice(&by);
            done = range.end;
        }
        out.extend_from_slice(&octets[done..]);
        out.into()
    }
}

/// The fields of a header that begins with the message, each with the octets it takes up there.
fn placed<'h>(headers: &'h Headers<'_>) -> impl Iterator<Item = (Range<usize>, crate::mail::Field<'h>)> {
    let mut at = 0;
    headers.iter().map(move |field| {
        let range = at..at + field.raw.len();
        at = range.end;
        (range, field)
    })
}

/// What is wrong with a run of octets, as far as transport cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Survey {
    /// An octet over 127.
    eight_bit: bool,
    /// A NUL, which no transport but BINARYMIME carries (RFC 2045 §2.7, §2.8).
    nul: bool,
    /// A line longer than 998 octets (RFC 5322 §2.1.1).
    long: bool,
}

impl Survey {
    fn of(octets: &[u8]) -> Self {
        let mut begun = 0;
        let mut long = false;
        for end in memchr::memchr_iter(b'\n', octets).chain([octets.len() + 1]) {
            long |= end - begun > LINE_OCTETS_MAX + 1; // with its CR
            begun = end + 1;
        }
        Self { eight_bit: !octets.is_ascii(), nul: memchr::memchr(0, octets).is_some(), long }
    }
}

/// 550 5.6.0: the message is not what RFC 5322 allows.
fn malformed(text: &str) -> Refusal {
    Refusal::submitter(550, EnhancedCode::new(5, 6, 0), text)
}

/// 552 5.3.4: the message is beyond a bound.
fn too_big(text: &str) -> Refusal {
    Refusal::submitter(552, EnhancedCode::new(5, 3, 4), text)
}

/// 550 5.6.3: it would have to be re-encoded and must not be.
fn not_convertible(text: &str) -> Refusal {
    Refusal::submitter(550, EnhancedCode::new(5, 6, 3), text)
}

impl From<MimeFault> for Refusal {
    fn from(fault: MimeFault) -> Self {
        malformed(&format!("the message must be re-encoded, but {fault}; send it in 7-bit form or flatten it"))
    }
}

fn header_remedy(fault: &HeaderFault) -> String {
    match fault {
        HeaderFault::NoColon { .. } => format!("{fault}; put an empty line between header and body"),
        HeaderFault::BadName { .. } => format!("{fault}; a name is printable ASCII without spaces, directly followed by a colon"),
        HeaderFault::LeadingFold | HeaderFault::BareLineEnd { .. } => fault.to_string(),
    }
}

/// RFC 5322 §2.1.1, without CR LF.
/// Faults of one header that are told.
pub const FAULTS_MAX: usize = 50;
const LINE_OCTETS_MAX: usize = 998;
