//! Re-encoding for transport: 8-bit octets and lines over 998 octets go before anything is signed (RFC 6376 §5.3, RFC 6409 §8.4).
//!
//! | entity | 8-bit octets | NUL, line over 998 |
//! |---|---|---|
//! | leaf, `7bit` `8bit` `binary` or nothing said | encoded (kept with `keep_8bitmime`) | encoded |
//! | leaf, `quoted-printable`, `base64` | kept: they are junk to some readers, text to others | line re-wrapped; NUL refused |
//! | leaf of unknown encoding, unclear header, message/partial, message/external-body | kept | refused |
//! | multipart/signed, multipart/encrypted, application/pkcs7-mime and all inside | kept | refused |
//! | everything, under a foreign signature that verifies | kept | refused |
//! | preamble, epilogue; header of a message inside a message | kept | refused |
//! | header of a body part | UTF-8 with SMTPUTF8, else refused | refused |
//!
//! What is kept needs 8BITMIME of every hop. Text is encoded as quoted-printable where that stays readable, all
//! else as base64. The type of a part is not touched; where none is given, 8-bit text is declared as UTF-8 if it is that, and as
//! `unknown-8bit` (RFC 1428 §3) if not. Messages inside messages are entered, as they must not be encoded as a whole (RFC 2046 §5.2.1).

use super::quoting::{base64, is_mostly_plain, quoted_printable, rewrap_base64, rewrap_quoted_printable};
use super::{Edits, Settings, Survey, malformed, not_convertible};
use crate::mail::mime::{Kind, Part, Structure, TransferEncoding};
use crate::mail::{Headers, Refusal};

/// What re-encoding led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Encoded {
    /// The header of a body part holds UTF-8.
    pub utf8_part_header: bool,
    /// The message's own body was encoded, so that its header now speaks MIME.
    pub top_level: bool,
}

/// Collects the edits that make a message's body fit for transport.
pub(super) fn encode(
    message: &[u8],
    headers: &Headers<'_>,
    smtputf8: bool,
    is_signed: bool,
    settings: &Settings,
    edits: &mut Edits,
) -> Result<Encoded, Refusal> {
    let survey = Survey::of(&message[headers.body_start()..]);
    if survey == Survey::default() {
        return Ok(Encoded::default());
    }
    if is_signed {
        keep(survey, "it carries a DKIM signature")?;
        return Ok(Encoded::default());
    }
    let structure = Structure::parse(message, settings.mime)?;
    let mut work = Work { message, parts: structure.parts(), smtputf8, keep_8bit: settings.keep_8bitmime, edits, found: Encoded::default() };
    work.run()?;
    Ok(work.found)
}

struct Work<'a> {
    message: &'a [u8],
    parts: &'a [Part],
    smtputf8: bool,
    keep_8bit: bool,
    edits: &'a mut Edits,
    found: Encoded,
}

/// What became of a part.
#[derive(Clone, Copy, Default)]
struct Fate {
    /// It must not be touched, nor anything inside.
    sealed: bool,
    /// Its body still holds octets over 127.
    eight_bit: bool,
    /// It, or something inside, was encoded.
    encoded: bool,
}

impl Work<'_> {
    fn run(&mut self) -> Result<(), Refusal> {
        let mut fates: Vec<Fate> = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            let sealed = part.parent.is_some_and(|parent| fates[parent].sealed) || SEALED.contains(&part.media.as_str());
            if let Some(parent) = part.parent {
                fates[parent].eight_bit |= self.header(part, parent, sealed)?;
            }
            let (eight_bit, encoded) = self.body(part, sealed)?;
            fates.push(Fate { sealed, eight_bit, encoded });
        }
        for (index, part) in self.parts.iter().enumerate().rev() {
            let fate = fates[index];
            if let Some(parent) = part.parent {
                fates[parent].eight_bit |= fate.eight_bit;
                fates[parent].encoded |= fate.encoded;
            }
            if fate.encoded && !fate.eight_bit && matches!(part.kind, Kind::Multipart { .. } | Kind::Message) {
                self.relabel_container(part);
            }
        }
        self.found.top_level = fates[0].encoded && self.parts[0].kind == Kind::Leaf;
        Ok(())
    }

    /// Looks at the header of a body part, or of a message inside; tells whether it holds octets over 127.
    fn header(&mut self, part: &Part, parent: usize, sealed: bool) -> Result<bool, Refusal> {
        let header = &self.message[part.header.clone()];
        let survey = Survey::of(header);
        if survey.long || survey.nul {
            return Err(malformed("the header of a MIME part has a line longer than 998 octets or a NUL; fold it (RFC 5322 2.2.3)"));
        }
        let may_stay = sealed || part.kind == Kind::Unclear || self.parts[parent].kind == Kind::Message;
        if !survey.eight_bit || may_stay {
            return Ok(survey.eight_bit);
        }
        if !self.smtputf8 || std::str::from_utf8(header).is_err() {
            let headers = Headers::parse(header).ok();
            let name = headers.as_ref().and_then(|headers| headers.iter().find(|field| !field.raw.is_ascii())).map_or("", |field| field.name);
            return Err(malformed(&format!("the field {name} of a MIME part holds octets over 127; encode it (RFC 2047, for parameters RFC 2231)")));
        }
        self.found.utf8_part_header = true;
        Ok(true)
    }

    /// Encodes a body where it must and may be; tells whether it still holds octets over 127, and whether it was encoded.
    fn body(&mut self, part: &Part, sealed: bool) -> Result<(bool, bool), Refusal> {
        if let Kind::Multipart { preamble, epilogue } = &part.kind {
            let around = |range: &std::ops::Range<usize>| keep(Survey::of(&self.message[range.clone()]), "it stands before or after the MIME parts");
            return Ok((around(preamble)? | around(epilogue)?, false));
        }
        if part.kind == Kind::Message {
            return Ok((false, false)); // the next part tells
        }
        let content = &self.message[part.body.clone()];
        let survey = Survey::of(content);
        if !survey.long && !survey.nul && (self.keep_8bit || !survey.eight_bit) {
            return Ok((survey.eight_bit, false));
        }
        if sealed {
            return Ok((keep(survey, "it is signed or encrypted")?, false));
        }
        if part.kind == Kind::Unclear || part.encoding == TransferEncoding::Unknown || UNENCODABLE.contains(&part.media.as_str()) {
            return Ok((keep(survey, "its MIME header does not say what it is")?, false));
        }
        let rewrapped = match part.encoding {
            TransferEncoding::Identity => {
                self.encode_leaf(part, survey);
                return Ok((false, true));
            }
            _ if !survey.long || survey.nul => return Ok((keep(survey, "its header says that it is encoded already")?, false)),
            TransferEncoding::QuotedPrintable => Some(rewrap_quoted_printable(content)),
            TransferEncoding::Base64 => rewrap_base64(content),
            TransferEncoding::Unknown => None,
        };
        let rewrapped = rewrapped.ok_or_else(|| malformed("a MIME part is declared as base64 but holds other characters; encode it anew"))?;
        self.replace_body(part, rewrapped);
        Ok((survey.eight_bit, true))
    }

    fn encode_leaf(&mut self, part: &Part, survey: Survey) {
        let content = &self.message[part.body.clone()];
        let readable = part.media.starts_with("text/") && !survey.nul && is_mostly_plain(content);
        let (word, body) = if readable { ("quoted-printable", quoted_printable(content)) } else { ("base64", base64(content)) };
        self.replace_body(part, body);

        let mut added = String::new();
        if part.parent.is_some_and(|parent| self.parts[parent].kind == Kind::Message) && !self.has_field(part, "MIME-Version") {
            added.push_str("MIME-Version: 1.0\r\n");
        }
        if !part.is_typed && survey.eight_bit {
            let charset = if std::str::from_utf8(content).is_ok() { "utf-8" } else { "unknown-8bit" };
            added.extend(["Content-Type: text/plain; charset=", charset, "\r\n"]);
        }
        if !self.relabel(part, word) {
            added.extend([CTE, ": ", word, "\r\n"]);
        }
        if !added.is_empty() {
            self.edits.insert(part.header.end - 2, added); // before the empty line, which is there, as there is a body
        }
    }

    /// A message ends in CR LF; anywhere else the line end behind a body belongs to the delimiter.
    fn replace_body(&mut self, part: &Part, mut body: Vec<u8>) {
        if part.body.end == self.message.len() && !body.ends_with(b"\r\n") {
            body.extend_from_slice(b"\r\n");
        }
        self.edits.replace(part.body.clone(), body);
    }

    /// A container of 7-bit parts is 7-bit (RFC 2045 §6.4).
    fn relabel_container(&mut self, part: &Part) {
        if part.encoding == TransferEncoding::Identity {
            self.relabel(part, "7bit");
        }
    }

    /// Gives the Content-Transfer-Encoding field this value; `false` when there is no such field.
    fn relabel(&mut self, part: &Part, word: &str) -> bool {
        let Ok(headers) = Headers::parse(&self.message[part.header.clone()]) else { return false };
        let Some((range, field)) = super::placed(&headers).find(|(_, field)| field.name.eq_ignore_ascii_case(CTE)) else { return false };
        if !field.unfolded().eq_ignore_ascii_case(word) {
            let range = part.header.start + range.start..part.header.start + range.end;
            self.edits.replace(range, format!("{}: {word}\r\n", field.name));
        }
        true
    }

    fn has_field(&self, part: &Part, name: &str) -> bool {
        Headers::parse(&self.message[part.header.clone()]).is_ok_and(|headers| headers.named(name).next().is_some())
    }
}

/// For what stays as it is: whether it needs 8BITMIME.
///
/// # Errors
/// It could not be transported, not even with 8BITMIME.
fn keep(survey: Survey, why: &str) -> Result<bool, Refusal> {
    let fault = match survey {
        Survey { nul: true, .. } => "a NUL",
        Survey { long: true, .. } => "a line longer than 998 octets",
        _ => return Ok(survey.eight_bit),
    };
    Err(not_convertible(&format!("the message has {fault} where it must not be re-encoded, as {why}; use base64 there")))
}

/// Signed or encrypted: any change breaks them (RFC 1847, RFC 3156 §3, RFC 8551 §3.1).
const SEALED: [&str; 4] = ["multipart/signed", "multipart/encrypted", "application/pkcs7-mime", "application/x-pkcs7-mime"];
/// 7-bit by their definition (RFC 2046 §5.2.2.1, §5.2.3).
const UNENCODABLE: [&str; 2] = ["message/partial", "message/external-body"];
const CTE: &str = "Content-Transfer-Encoding";
