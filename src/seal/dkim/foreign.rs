//! Signatures of others, verified to the letter: RFC 6376 §3.5, §5.4.2, §6.1, RFC 8301, RFC 8463, RFC 8616. Pure: the key records are
//! arguments, and so is the present.
//!
//! The same code reads the signatures of an ARC set, which lack `v=` and whose `i=` is an instance (RFC 8617 §4.1.2, §4.1.3).

use super::canonical::{Canonicalization, select, sha256};
use super::public::VerifyingKey;
use super::signature::{FieldName, TagList, algorithm, canonical_fields, without_signature};
use super::{Algorithm, BodyHash};
use crate::mail::{Domain, Field, Headers, Timestamp};
use crate::seal::DkimResult;
use std::collections::HashMap;

/// Key records by the name they stand at: all TXT texts, strings joined, or that the DNS did not answer.
pub type KeyTexts = HashMap<Domain, Result<Vec<String>, NoAnswer>>;

/// The DNS did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the DNS did not answer for the key record")]
pub struct NoAnswer;

/// A signature field as it is read, whether it can be verified or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignSignature {
    /// `d=`, where it is a domain name.
    pub domain: Option<Domain>,
    /// `s=`.
    pub selector: String,
    /// `a=`, as written.
    pub algorithm: String,
    /// `i=`, as written; empty when it is not there.
    pub identity: String,
    /// The names of `h=`, as written.
    pub names: Vec<String>,
    /// `l=`.
    pub length: Option<u64>,
    /// `t=`, in Unix seconds.
    pub signed_at: Option<i64>,
    /// `x=`, in Unix seconds.
    pub expires: Option<i64>,
    /// How the header is hashed.
    pub header_form: Canonicalization,
    /// How the body is hashed.
    pub body_form: Canonicalization,
    /// The first characters of `b=`, to tell signatures apart (RFC 6008 §3).
    pub b: String,
    /// Where its key is, and what is to be confirmed, unless the field is not well formed.
    claim: Result<Claim, SignatureFault>,
}

/// What a well formed field claims.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    algorithm: Algorithm,
    key_name: Domain,
    body_hash: Vec<u8>,
    signature: Vec<u8>,
    /// The domain of `i=`.
    identity: Domain,
}

/// What became of a signature that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmed {
    /// Bits of the key.
    pub bits: usize,
    /// `t=y` of the key record.
    pub testing: bool,
    /// There are several key records at the name (RFC 6376 §3.6.2.2: undefined); one of them confirmed it.
    pub several_keys: bool,
}

/// Why a signature does not hold (RFC 6376 §6.1).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureFault {
    /// Not well formed.
    #[error("the field cannot be read: {0}")]
    Syntax(&'static str),
    /// RFC 8301 §3.1 forbids it.
    #[error("rsa-sha1 must not be accepted any more (RFC 8301)")]
    Sha1,
    /// An `a=` that is unknown.
    #[error("the algorithm is not known")]
    Algorithm,
    /// RFC 6376 §5.4.
    #[error("From is not signed")]
    FromUnsigned,
    /// `i=` lies outside `d=`.
    #[error("i= is not at or below d=")]
    Identity,
    /// `t=s` of the key record.
    #[error("i= is below d=, and the key record says t=s")]
    StrictIdentity,
    /// `x=` has passed.
    #[error("it has expired")]
    Expired,
    /// More octets are said to be signed than there are (RFC 6376 §3.5).
    #[error("l= is greater than the body")]
    BodyTooShort,
    /// `bh=` is not that of the body.
    #[error("the body was changed: its hash is not bh=")]
    BodyHash,
    /// `b=` is not confirmed by the key.
    #[error("a signed field was changed, or the key is another: b= is not confirmed")]
    Unconfirmed,
    /// The DNS did not answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// No record at the name.
    #[error("there is no key at {0}")]
    NoKey(Domain),
    /// `p=` is empty.
    #[error("the key was revoked")]
    KeyRevoked,
    /// A record that is none.
    #[error("the key record cannot be read: {0}")]
    KeySyntax(&'static str),
    /// A record that is not for this.
    #[error("the key record is not for this signature: {0}")]
    KeyInapplicable(&'static str),
    /// RFC 8301 §3.2.
    #[error("the key has {0} bits, and less than 1024 must not be accepted (RFC 8301)")]
    KeyTooShort(usize),
}

impl SignatureFault {
    /// The word of RFC 8601 §2.7.1 for it: `neutral` is what cannot be processed, `policy` what verifies but must not count,
    /// `permerror` what nothing will mend, `fail` a signature that is wrong.
    #[must_use]
    pub const fn result(&self) -> DkimResult {
        match self {
            Self::Syntax(_) | Self::Algorithm | Self::Expired => DkimResult::Neutral,
            Self::Sha1 | Self::KeyTooShort(_) => DkimResult::Policy,
            Self::BodyHash | Self::Unconfirmed => DkimResult::Fail,
            Self::NoAnswer(_) => DkimResult::TempError,
            Self::FromUnsigned
            | Self::Identity
            | Self::StrictIdentity
            | Self::BodyTooShort
            | Self::NoKey(_)
            | Self::KeyRevoked
            | Self::KeySyntax(_)
            | Self::KeyInapplicable(_) => DkimResult::PermError,
        }
    }
}

impl SignatureFault {
    /// The section that makes it a fault.
    #[must_use]
    pub const fn section(&self) -> &'static str {
        match self {
            Self::Syntax(_) => "RFC 6376 §6.1.1",
            Self::Sha1 => "RFC 8301 §3.1",
            Self::Algorithm => "RFC 6376 §3.3.3",
            Self::FromUnsigned => "RFC 6376 §6.1.1 (From)",
            Self::Identity => "RFC 6376 §6.1.1 (i=)",
            Self::StrictIdentity => "RFC 6376 §3.6.1 (t=s)",
            Self::Expired => "RFC 6376 §3.5 (x=)",
            Self::BodyTooShort => "RFC 6376 §3.5 (l=)",
            Self::BodyHash | Self::Unconfirmed => "RFC 8601 §2.7.1",
            Self::NoAnswer(_) => "RFC 6376 §6.1.2 (step 2)",
            Self::NoKey(_) => "RFC 6376 §6.1.2 (step 3)",
            Self::KeyRevoked => "RFC 6376 §6.1.2 (step 7)",
            Self::KeySyntax(_) => "RFC 6376 §3.6.1, §6.1.2 (step 5)",
            Self::KeyInapplicable(_) => "RFC 6376 §3.6.1, §6.1.2",
            Self::KeyTooShort(_) => "RFC 8301 §3.2",
        }
    }
}

/// How a body is hashed: `c=` and `l=`.
type BodyForm = (Canonicalization, Option<u64>);

/// A message whose signatures are verified: each form of its body is hashed once.
#[derive(Debug)]
pub struct Signed<'a> {
    fields: Vec<Field<'a>>,
    body: &'a [u8],
    hashes: Vec<(BodyForm, Result<[u8; 32], SignatureFault>)>,
}

impl ForeignSignature {
    /// Reads a DKIM-Signature, ARC-Message-Signature or ARC-Seal field. Never fails: [`Signed::verify`] says what is wrong.
    #[must_use]
    pub fn read(field: &Field<'_>, kind: FieldName) -> Self {
        let text = std::str::from_utf8(field.value).unwrap_or_default();
        let tags = TagList::parse(text).map_err(|_| SignatureFault::Syntax("it is no list of tag=value, or has a tag twice"));
        let empty = TagList::default();
        let shown = tags.as_ref().unwrap_or(&empty);
        let value = |name: &str| shown.value(name).unwrap_or_default().to_owned();
        let number = |name: &str| shown.value(name).and_then(digits);
        let (header_form, body_form) = forms(shown.value("c")).unwrap_or((Canonicalization::Simple, Canonicalization::Simple));
        Self {
            domain: shown.value("d").and_then(|d| Domain::parse(d).ok()),
            selector: value("s"),
            algorithm: value("a"),
            identity: if kind == FieldName::Dkim { value("i") } else { String::new() },
            names: if shown.value("h").is_some() { shown.items("h").into_iter().map(str::to_owned).collect() } else { Vec::new() },
            length: number("l"),
            signed_at: number("t").and_then(|t| i64::try_from(t).ok()),
            expires: number("x").and_then(|x| i64::try_from(x).ok()),
            header_form: if kind == FieldName::ArcSeal { Canonicalization::Relaxed } else { header_form },
            body_form,
            b: value("b").chars().filter(|c| !c.is_ascii_whitespace()).take(B_CHARACTERS).collect(),
            claim: tags.and_then(|tags| claim(&tags, kind)),
        }
    }

    /// Where its key is to be looked for; `None` when nothing could make it hold.
    #[must_use]
    pub fn key_name(&self) -> Option<&Domain> {
        self.claim.as_ref().ok().map(|claim| &claim.key_name)
    }
}

impl<'a> Signed<'a> {
    /// A message cut into fields and body.
    #[must_use]
    pub fn new(headers: &Headers<'a>, message: &'a [u8]) -> Self {
        Self { fields: headers.iter().collect(), body: &message[headers.body_start()..], hashes: Vec::new() }
    }

    /// Its fields, top to bottom.
    #[must_use]
    pub fn fields(&self) -> &[Field<'a>] {
        &self.fields
    }

    /// Verifies one signature over the message: a DKIM-Signature or an ARC-Message-Signature.
    ///
    /// # Errors
    /// It does not hold.
    pub fn verify(&mut self, field: &Field<'a>, signature: &ForeignSignature, keys: &KeyTexts, now: Timestamp) -> Result<Confirmed, SignatureFault> {
        let claim = signature.claim.as_ref().map_err(Clone::clone)?;
        if signature.expires.is_some_and(|expires| expires < now.unix_seconds()) {
            return Err(SignatureFault::Expired);
        }
        if self.body_hash(signature.body_form, signature.length)?.as_slice() != claim.body_hash {
            return Err(SignatureFault::BodyHash);
        }
        // RFC 6376 §3.7: the field being verified is hashed last, and is not among those that h= selects.
        let others: Vec<Field<'a>> = self.fields.iter().filter(|other| !std::ptr::eq(other.raw, field.raw)).copied().collect();
        let names: Vec<&str> = signature.names.iter().map(String::as_str).collect();
        confirm(&select(&others, &names), field, signature, claim, keys)
    }

    /// Verifies an ARC-Seal over the fields it covers, itself left out (RFC 8617 §5.1.1).
    ///
    /// # Errors
    /// It does not hold.
    pub fn verify_seal(covered: &[Field<'a>], field: &Field<'a>, signature: &ForeignSignature, keys: &KeyTexts) -> Result<Confirmed, SignatureFault> {
        let claim = signature.claim.as_ref().map_err(Clone::clone)?;
        confirm(covered, field, signature, claim, keys)
    }

    fn body_hash(&mut self, form: Canonicalization, length: Option<u64>) -> Result<[u8; 32], SignatureFault> {
        if let Some((_, known)) = self.hashes.iter().find(|(which, _)| *which == (form, length)) {
            return known.clone();
        }
        let hash = match length {
            None => Ok(*BodyHash::of(self.body, form).octets()),
            Some(length) => beginning(self.body, form, length).map(|octets| sha256(&octets)),
        };
        self.hashes.push(((form, length), hash.clone()));
        hash
    }
}

/// The first octets of a canonical body (RFC 6376 §3.4.5: `l=` counts after canonicalization).
fn beginning(body: &[u8], form: Canonicalization, length: u64) -> Result<Vec<u8>, SignatureFault> {
    let wanted = usize::try_from(length).map_err(|_| SignatureFault::BodyTooShort)?;
    let mut octets = Vec::with_capacity(wanted.min(body.len()));
    form.body(body, &mut |piece| octets.extend_from_slice(&piece[..piece.len().min(wanted - octets.len())]));
    if octets.len() < wanted { Err(SignatureFault::BodyTooShort) } else { Ok(octets) }
}

/// Asks the keys, one after the other, whether they confirm `b=` over these fields and the signature's own (RFC 6376 §6.1.2, §6.1.3).
fn confirm(covered: &[Field<'_>], field: &Field<'_>, signature: &ForeignSignature, claim: &Claim, keys: &KeyTexts) -> Result<Confirmed, SignatureFault> {
    let texts = match keys.get(&claim.key_name) {
        Some(Ok(texts)) => texts,
        Some(Err(fault)) => return Err((*fault).into()),
        None => return Err(NoAnswer.into()),
    };
    let mut canonical = canonical_fields(covered, signature.header_form);
    let unsigned = without_signature(std::str::from_utf8(field.raw).unwrap_or_default());
    let (name, value) = unsigned.split_once(':').unwrap_or((&unsigned, ""));
    signature.header_form.field_parts(name, value.as_bytes(), &mut canonical);
    if signature.header_form == Canonicalization::Relaxed {
        canonical.truncate(canonical.len() - 2); // the field itself goes in without its CR LF
    }
    let mut fault = None;
    for text in texts.iter().take(KEYS_MAX) {
        let key = match VerifyingKey::read(text, claim.algorithm) {
            Ok(key) => key,
            Err(why) => {
                fault.get_or_insert(why);
                continue;
            }
        };
        let why = if key.strict && signature.domain.as_ref() != Some(&claim.identity) {
            SignatureFault::StrictIdentity
        } else if key.confirms(&canonical, &claim.signature) {
            return Ok(Confirmed { bits: key.bits, testing: key.testing, several_keys: texts.len() > 1 });
        } else {
            SignatureFault::Unconfirmed
        };
        fault = Some(why); // says more than that some other record is none
    }
    Err(fault.unwrap_or_else(|| SignatureFault::NoKey(claim.key_name.clone())))
}

/// RFC 6376 §6.1.1.
fn claim(tags: &TagList<'_>, kind: FieldName) -> Result<Claim, SignatureFault> {
    use SignatureFault::Syntax;
    if kind == FieldName::Dkim && tags.value("v").ok_or(Syntax("v= is missing"))? != "1" {
        return Err(Syntax("v= is not 1"));
    }
    let algorithm = match tags.value("a").ok_or(Syntax("a= is missing"))? {
        "rsa-sha1" => return Err(SignatureFault::Sha1),
        name => algorithm(name).ok_or(SignatureFault::Algorithm)?,
    };
    let domain = Domain::parse(tags.value("d").ok_or(Syntax("d= is missing"))?).map_err(|_| Syntax("d= is no domain name"))?;
    let selector = tags.value("s").ok_or(Syntax("s= is missing"))?;
    let key_name = domain.below(&format!("{selector}._domainkey")).map_err(|_| Syntax("s= is no selector"))?;
    let signature = tags.octets("b").filter(|octets| !octets.is_empty()).ok_or(Syntax("b= is missing, or no base64"))?;
    let mut claim = Claim { algorithm, key_name, body_hash: Vec::new(), signature, identity: domain.clone() };
    let (signed_at, expires) = (number(tags, "t")?, number(tags, "x")?);
    if kind == FieldName::ArcSeal {
        return Ok(claim);
    }
    if let (Some(signed_at), Some(expires)) = (signed_at, expires)
        && expires <= signed_at
    {
        return Err(Syntax("x= is not later than t="));
    }
    forms(tags.value("c")).ok_or(Syntax("c= names an unknown canonicalization"))?;
    number(tags, "l")?;
    if tags.value("q").is_some() && !tags.items("q").iter().any(|method| method.eq_ignore_ascii_case("dns/txt")) {
        return Err(Syntax("q= names no known way to the key"));
    }
    claim.body_hash = tags.octets("bh").filter(|octets| !octets.is_empty()).ok_or(Syntax("bh= is missing, or no base64"))?;
    let names = tags.items("h");
    if names.is_empty() || names.iter().any(|name| !is_field_name(name)) {
        return Err(Syntax("h= is missing, or no list of field names"));
    }
    if !names.iter().any(|name| name.eq_ignore_ascii_case("from")) {
        return Err(SignatureFault::FromUnsigned);
    }
    if kind == FieldName::Dkim
        && let Some(identity) = tags.value("i")
    {
        let at = identity.rsplit_once('@').ok_or(Syntax("i= has no \"@\""))?.1;
        claim.identity = Domain::parse(at).map_err(|_| Syntax("i= has no domain name"))?;
        if !claim.identity.is_at_or_below(&domain) {
            return Err(SignatureFault::Identity);
        }
    }
    Ok(claim)
}

/// `c=`: the header's form and the body's, `simple` where nothing is said (RFC 6376 §3.5).
fn forms(value: Option<&str>) -> Option<(Canonicalization, Canonicalization)> {
    let form = |name: &str| match name {
        "simple" => Some(Canonicalization::Simple),
        "relaxed" => Some(Canonicalization::Relaxed),
        _ => None,
    };
    let (header, body) = value.map_or(("simple", "simple"), |value| value.split_once('/').unwrap_or((value, "simple")));
    Some((form(header)?, form(body)?))
}

/// A tag of digits, where it is there.
fn number(tags: &TagList<'_>, name: &'static str) -> Result<Option<u64>, SignatureFault> {
    match tags.value(name) {
        None => Ok(None),
        Some(value) => digits(value).map(Some).ok_or(SignatureFault::Syntax("t=, x= or l= is no number")),
    }
}

/// RFC 6376 §3.5: up to 12 digits for times, 76 for lengths; more than any clock or message has is as much as there can be.
fn digits(value: &str) -> Option<u64> {
    let sane = !value.is_empty() && value.len() <= DIGITS_MAX && value.bytes().all(|b| b.is_ascii_digit());
    sane.then(|| value.parse().unwrap_or(u64::MAX))
}

/// RFC 5322 §3.6.8.
fn is_field_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|b| (b'!'..=b'~').contains(&b) && b != b':')
}

/// Characters of `b=` that tell signatures apart (RFC 6008 §3).
const B_CHARACTERS: usize = 8;
/// Records at one name that are tried.
const KEYS_MAX: usize = 5;
/// Digits of a number (RFC 6376 §3.5, `l=`).
const DIGITS_MAX: usize = 76;
