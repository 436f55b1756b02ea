//! The tag list of a signature field: built in one fixed form, read in any (RFC 6376 §3.2, §3.5; RFC 8617 §4.1).

use super::algorithm::{SignFailed, SigningKey};
use super::canonical::{BodyHash, Canonicalization, select};
use super::{Algorithm, Signer};
use crate::mail::{Field, Timestamp};
use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD as BASE64};

/// The fields that carry a tag list with a `b=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldName {
    /// `DKIM-Signature`.
    Dkim,
    /// `ARC-Message-Signature`.
    ArcMessageSignature,
    /// `ARC-Seal`.
    ArcSeal,
}

impl FieldName {
    /// As it is written.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dkim => "DKIM-Signature",
            Self::ArcMessageSignature => "ARC-Message-Signature",
            Self::ArcSeal => "ARC-Seal",
        }
    }
}

/// A signature field as it grows: tags are added in the order they are to stand, lines fold at 78 columns, `b=` comes last.
#[derive(Debug, Clone)]
pub struct SignatureField {
    text: String,
    column: usize,
}

impl SignatureField {
    /// An empty one: `DKIM-Signature:`.
    #[must_use]
    pub fn new(name: FieldName) -> Self {
        let text = format!("{}:", name.as_str());
        Self { column: text.len(), text }
    }

    /// A DKIM-Signature or ARC-Message-Signature (`instance` given) complete but for `b=`, relaxed/relaxed, without `l=`.
    #[must_use]
    pub fn over_message(instance: Option<u8>, signer: &Signer, body: BodyHash, names: &[&str], now: Timestamp, expires: Option<i64>) -> Self {
        let mut field = match instance {
            None => Self::new(FieldName::Dkim).tag("v", "1"),
            Some(instance) => Self::new(FieldName::ArcMessageSignature).tag("i", &instance.to_string()),
        };
        let relaxed = Canonicalization::Relaxed.as_str();
        field = field.tag("a", signer.algorithm().as_str()).tag("c", &format!("{relaxed}/{relaxed}")).signer(signer).tag("t", &now.unix_seconds().to_string());
        if let Some(expires) = expires {
            field = field.tag("x", &expires.to_string());
        }
        field.list("h", names).tag("bh", &BASE64.encode(body.octets()))
    }

    /// Adds `d=` and `s=`.
    #[must_use]
    pub fn signer(self, signer: &Signer) -> Self {
        self.tag("d", signer.id.domain.as_str()).tag("s", signer.id.selector.as_str())
    }

    /// Adds a tag whose value is not folded.
    #[must_use]
    pub fn tag(mut self, name: &str, value: &str) -> Self {
        let tag = format!("{name}={value};");
        self.place(&tag);
        self
    }

    /// Adds a tag with a colon-separated value, folded after colons.
    #[must_use]
    pub fn list(mut self, name: &str, items: &[&str]) -> Self {
        for (at, item) in items.iter().enumerate() {
            let end = if at + 1 == items.len() { ";" } else { ":" };
            let lead = if at == 0 { format!("{name}=") } else { String::new() };
            let piece = format!("{lead}{item}{end}");
            if at == 0 { self.place(&piece) } else { self.join(&piece) }
        }
        self
    }

    /// Signs: the selected fields above it in the hash, itself with an empty `b=` last (RFC 6376 §3.7); gives the whole field.
    ///
    /// # Errors
    /// The library failed.
    pub fn sign(mut self, covered: &[Field<'_>], key: &dyn SigningKey) -> Result<String, SignFailed> {
        self.place("b=");
        let signature = key.sign(&hashed(covered, &self.text))?;
        self.fold_in(&BASE64.encode(signature));
        Ok(self.text + "\r\n")
    }

    /// Puts a piece after a space, or on a new line when it does not fit.
    fn place(&mut self, piece: &str) {
        if self.column + 1 + piece.len() > COLUMNS_MAX && self.column > 1 {
            self.fold();
        } else {
            self.text.push(' ');
            self.column += 1;
        }
        self.text.push_str(piece);
        self.column += piece.len();
    }

    /// Puts a piece right behind the last, or on a new line when it does not fit.
    fn join(&mut self, piece: &str) {
        if self.column + piece.len() > COLUMNS_MAX {
            self.fold();
        }
        self.text.push_str(piece);
        self.column += piece.len();
    }

    /// Adds text that may be cut anywhere.
    fn fold_in(&mut self, mut text: &str) {
        while !text.is_empty() {
            if self.column >= COLUMNS_MAX {
                self.fold();
            }
            let (fits, rest) = text.split_at(text.len().min(COLUMNS_MAX - self.column));
            self.text.push_str(fits);
            self.column += fits.len();
            text = rest;
        }
    }

    fn fold(&mut self) {
        self.text.push_str("\r\n ");
        self.column = 1;
    }
}

/// The octets that a signature field signs, relaxed: the fields it covers, then itself with an empty `b=` and without its CR LF
/// (RFC 6376 §3.7). `unsigned` is the whole field as it stands, up to a `b=` without value.
#[must_use]
pub fn hashed(covered: &[Field<'_>], unsigned: &str) -> Vec<u8> {
    let mut canonical = canonical_fields(covered, Canonicalization::Relaxed);
    let (name, value) = unsigned.split_once(':').unwrap_or((unsigned, ""));
    Canonicalization::Relaxed.field_parts(name, value.as_bytes(), &mut canonical);
    canonical.truncate(canonical.len() - 2);
    canonical
}

/// The canonical octets of fields, one after the other.
#[must_use]
pub fn canonical_fields(fields: &[Field<'_>], how: Canonicalization) -> Vec<u8> {
    let mut canonical = Vec::with_capacity(1024);
    for field in fields {
        how.field(field, &mut canonical);
    }
    canonical
}

/// A tag list as read: names and values, white space around both removed (RFC 6376 §3.2).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TagList<'a>(Vec<(&'a str, &'a str)>);

/// Why a text is not a tag list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TagFault {
    /// A part without `=`, or with a name that is none.
    #[error("a part of the tag list is not of the form \"name=value\"")]
    Shape,
    /// RFC 6376 §3.2: the whole list is invalid then.
    #[error("a tag occurs twice")]
    Twice,
    /// More than [`TAGS_MAX`].
    #[error("the tag list has more than {TAGS_MAX} tags")]
    TooMany,
}

impl<'a> TagList<'a> {
    /// Reads a tag list, folded or not.
    ///
    /// # Errors
    /// What RFC 6376 §3.2 does not allow.
    pub fn parse(text: &'a str) -> Result<Self, TagFault> {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        let text = text.trim_ascii_end();
        for part in text.strip_suffix(';').unwrap_or(text).split(';') {
            let part = part.trim_ascii();
            let (name, value) = part.split_once('=').ok_or(TagFault::Shape)?;
            let (name, value) = (name.trim_ascii(), value.trim_ascii());
            if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
                return Err(TagFault::Shape);
            }
            if tags.iter().any(|(known, _)| *known == name) {
                return Err(TagFault::Twice);
            }
            if tags.len() == TAGS_MAX {
                return Err(TagFault::TooMany);
            }
            tags.push((name, value));
        }
        Ok(Self(tags))
    }

    /// The value of a tag. Names are case-sensitive.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// The name of the first tag.
    #[must_use]
    pub fn first(&self) -> Option<&'a str> {
        self.0.first().map(|(name, _)| *name)
    }

    /// The octets of a base64 value, in which white space means nothing (RFC 6376 §2.10).
    #[must_use]
    pub fn octets(&self, name: &str) -> Option<Vec<u8>> {
        let compact: Vec<u8> = self.value(name)?.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        LENIENT.decode(compact).ok()
    }

    /// The parts of a colon-separated value.
    #[must_use]
    pub fn items(&self, name: &str) -> Vec<&'a str> {
        self.value(name).map(|value| value.split(':').map(str::trim_ascii).collect()).unwrap_or_default()
    }
}

/// A signature field with the value of `b=` taken out and all else as it is (RFC 6376 §3.5), and without its CR LF.
#[must_use]
pub fn without_signature(field: &str) -> String {
    let (name, value) = field.split_once(':').unwrap_or(("", field));
    let value = value.strip_suffix("\r\n").unwrap_or(value);
    let mut out = format!("{name}:");
    out.reserve(value.len());
    for (at, part) in value.split(';').enumerate() {
        if at > 0 {
            out.push(';');
        }
        match part.split_once('=') {
            Some((name, _)) if name.trim_ascii() == "b" => {
                out.push_str(name);
                out.push('=');
            }
            _ => out.push_str(part),
        }
    }
    out
}

/// Whether a finished field of ours says what it should: its `bh=` is `body`, and the key confirms `b=` over the fields that its `h=`
/// selects from `below`. Reads the text as a verifier would; for an ARC-Seal, `covered` are its fields in order.
#[must_use]
pub fn confirms(text: &str, key: &dyn SigningKey, covered: &Covered<'_, '_>) -> bool {
    let Some((_, value)) = text.split_once(':') else { return false };
    let Ok(tags) = TagList::parse(value) else { return false };
    let Some(signature) = tags.octets("b") else { return false };
    let fields = match covered {
        Covered::Message { below, body } => {
            if tags.octets("bh").is_none_or(|octets| octets != body.octets()) || !tags.items("h").iter().any(|name| name.eq_ignore_ascii_case("from")) {
                return false;
            }
            select(below, &tags.items("h"))
        }
        Covered::Fields(fields) => fields.to_vec(),
    };
    tags.value("a") == Some(key.algorithm().as_str()) && key.confirms(&hashed(&fields, &without_signature(text)), &signature)
}

/// What a signature field is held against.
#[derive(Debug)]
pub enum Covered<'f, 'm> {
    /// A message: the fields below the signature, and its body.
    Message {
        /// Top to bottom.
        below: &'f [Field<'m>],
        /// Relaxed.
        body: BodyHash,
    },
    /// These fields, in this order (ARC-Seal).
    Fields(&'f [Field<'m>]),
}

/// The algorithm that an `a=` names; `None` for `rsa-sha1` (RFC 8301 §3.1) and unknown ones.
#[must_use]
pub fn algorithm(name: &str) -> Option<Algorithm> {
    [Algorithm::RsaSha256, Algorithm::Ed25519Sha256].into_iter().find(|known| known.as_str() == name)
}

/// RFC 6376 §2.10: padding may be left out.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true),
);

/// Columns of a line, without its CR LF (RFC 5322 §2.1.1). Only a domain or selector that is longer by itself goes beyond.
const COLUMNS_MAX: usize = 78;

/// Tags of one list that are read; RFC 6376 defines 13.
pub const TAGS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tag_lists_read_strictly() {
        let list = TagList::parse(" v=1; a = rsa-sha256;\r\n h=from : to;b=YQ =\r\n =;").unwrap();
        assert_eq!((list.value("a"), list.items("h"), list.octets("b")), (Some("rsa-sha256"), vec!["from", "to"], Some(b"a".to_vec())));
        assert_eq!(TagList::parse("a=1; a=2"), Err(TagFault::Twice));
        assert_eq!(TagList::parse("a=1; b"), Err(TagFault::Shape));
        for bad in ["1a=1", "a=1;; b=2", "a=1; ;", "", ";"] {
            assert_eq!(TagList::parse(bad), Err(TagFault::Shape), "{bad}");
        }
        assert_eq!(TagList::parse("b=YQ").unwrap().octets("b"), Some(b"a".to_vec()), "padding may be left out");
        let tags = |count: usize| (0..count).map(|at| format!("t{at}=1;")).collect::<Vec<_>>().concat();
        assert!(TagList::parse(&tags(TAGS_MAX)).is_ok());
        assert_eq!(TagList::parse(&tags(TAGS_MAX + 1)), Err(TagFault::TooMany));
    }

    #[test]
    fn only_b_is_taken_out() {
        assert_eq!(without_signature("N: a=x; bh=abc=; b = de\r\n f==; c=b=1\r\n"), "N: a=x; bh=abc=; b =; c=b=1");
    }

    proptest! {
        #[test]
        fn lines_stay_within_78_columns(items in prop::collection::vec("[a-z-]{1,40}", 1..60), signature in "[A-Za-z0-9+/]{0,800}", value in "[a-z.]{1,60}") {
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            let mut field = SignatureField::new(FieldName::Dkim).tag("v", "1").tag("d", &value).list("h", &items);
            field.place("b=");
            field.fold_in(&signature);
            for line in field.text.split("\r\n") {
                prop_assert!(line.len() <= COLUMNS_MAX, "{line}");
                prop_assert!(!line.trim().is_empty());
            }
            let tags = TagList::parse(field.text.split_once(':').unwrap().1).unwrap();
            prop_assert_eq!(tags.items("h"), items);
            let compact: String = tags.value("b").unwrap().split_ascii_whitespace().collect();
            prop_assert_eq!(compact, signature);
        }

        #[test]
        fn tag_lists_never_panic(text in ".{0,300}") {
            let _ = TagList::parse(&text).map(|list| list.octets("b"));
            let _ = without_signature(&text);
        }
    }
}
