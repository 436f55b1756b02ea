//! Key records: what the DNS says of a key at `selector._domainkey.domain` (RFC 6376 §3.6.1, RFC 8463 §4.2). Pure.

use super::{Algorithm, PublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pkcs8::{DecodePublicKey as _, EncodePublicKey as _};
use std::fmt;

/// A key record. Its `Display` is the text, joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// `k=`.
    pub algorithm: Algorithm,
    /// `p=`; `None` when it is empty: revoked.
    pub public: Option<PublicKey>,
    /// `t=y`: the domain only tests; some receivers ignore its signatures.
    pub testing: bool,
    /// `t=s`: `i=` must be at `d=` itself.
    pub strict: bool,
}

/// Why a text is no key record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// A part that is not `tag=value`, or a tag twice.
    #[error("\"{0}\" is not of the form tag=value, or comes twice")]
    Shape(String),
    /// `v=` is not DKIM1 or not first.
    #[error("it does not begin with v=DKIM1")]
    Version,
    /// A `k=` that is unknown.
    #[error("k={0} is not known; expected rsa or ed25519")]
    Algorithm(String),
    /// No `p=`.
    #[error("it has no p=")]
    NoKey,
    /// A `p=` that is no key of that kind.
    #[error("its p= is no {0} public key")]
    Key(Algorithm),
    /// `h=` or `s=` exclude mail or SHA-256.
    #[error("its {0}= excludes what we do")]
    Excludes(&'static str),
}

impl Record {
    /// The record of a key in use.
    #[must_use]
    pub const fn of(public: PublicKey) -> Self {
        Self { algorithm: public.algorithm(), public: Some(public), testing: false, strict: false }
    }

    /// The record of a key that is revoked (RFC 6376 §3.6.1).
    #[must_use]
    pub const fn revoked(algorithm: Algorithm) -> Self {
        Self { algorithm, public: None, testing: false, strict: false }
    }

    /// Reads a record whose strings are already joined, without spaces between them (RFC 6376 §3.6.2.2).
    ///
    /// # Errors
    /// What makes a verifier take it for no key.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        let mut tags: Vec<(&str, &str)> = Vec::new();
        for part in text.split(';').map(str::trim_ascii).filter(|part| !part.is_empty()) {
            let shape = || RecordError::Shape(part.chars().take(40).collect());
            let (name, value) = part.split_once('=').ok_or_else(shape)?;
            let (name, value) = (name.trim_ascii(), value.trim_ascii());
            if name.is_empty() || tags.iter().any(|(known, _)| *known == name) {
                return Err(shape());
            }
            tags.push((name, value));
        }
        let value = |name: &str| tags.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        let lists = |name: &str, word: &str| value(name).is_some_and(|list| list.split(':').any(|item| item.trim_ascii() == word));
        if value("v").is_some() && tags[0] != ("v", "DKIM1") {
            return Err(RecordError::Version);
        }
        if value("h").is_some() && !lists("h", "sha256") {
            return Err(RecordError::Excludes("h"));
        }
        if value("s").is_some() && !lists("s", "*") && !lists("s", "email") {
            return Err(RecordError::Excludes("s"));
        }
        let kind = value("k").unwrap_or("rsa");
        let algorithm: Algorithm = kind.parse().map_err(|()| RecordError::Algorithm(kind.chars().take(40).collect()))?;
        let base64: Vec<u8> = value("p").ok_or(RecordError::NoKey)?.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let public = if base64.is_empty() { None } else { Some(public(algorithm, &base64).ok_or(RecordError::Key(algorithm))?) };
        Ok(Self { algorithm, public, testing: lists("t", "y"), strict: lists("t", "s") })
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v=DKIM1; k={}; ", self.algorithm)?;
        match (self.testing, self.strict) {
            (true, true) => f.write_str("t=y:s; ")?,
            (true, false) => f.write_str("t=y; ")?,
            (false, true) => f.write_str("t=s; ")?,
            (false, false) => {}
        }
        match &self.public {
            None => f.write_str("p="),
            Some(PublicKey::Rsa(spki)) => write!(f, "p={}", BASE64.encode(spki)),
            Some(PublicKey::Ed25519(octets)) => write!(f, "p={}", BASE64.encode(octets)),
        }
    }
}

fn public(algorithm: Algorithm, base64: &[u8]) -> Option<PublicKey> {
    let octets = BASE64.decode(base64).ok()?;
    match algorithm {
        Algorithm::Ed25519 => ed25519_dalek::VerifyingKey::try_from(octets.as_slice()).ok().map(|key| PublicKey::Ed25519(key.to_bytes())),
        Algorithm::Rsa => {
            // SPKI, or the bare PKCS#1 that some publish.
            let key = RsaPublicKey::from_public_key_der(&octets).or_else(|_| RsaPublicKey::from_pkcs1_der(&octets)).ok()?;
            key.to_public_key_der().ok().map(|spki| PublicKey::Rsa(spki.into_vec()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::PrivateKey;
    use proptest::prelude::*;

    /// RFC 8463 appendix A.2.
    #[test]
    fn reads_the_records_of_the_rfc() {
        let ed25519 = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
        assert_eq!(Record::parse(ed25519).unwrap().to_string(), ed25519);
        let rsa = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
        assert_eq!(Record::parse(rsa).unwrap().to_string(), rsa);
    }

    #[test]
    fn what_is_printed_reads_back() {
        let record = Record::of(PrivateKey::generate(Algorithm::Rsa).unwrap().public().clone());
        assert_eq!(Record::parse(&record.to_string()), Ok(record.clone()));
        for record in [Record::revoked(Algorithm::Ed25519), Record { testing: true, strict: true, ..record }] {
            assert_eq!(Record::parse(&record.to_string()), Ok(record));
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_record() {
        for (text, fault) in [
            ("k=rsa; p=", None),
            ("p= ; n=note; g=*;", None),
            ("v=DKIM2; p=", Some(RecordError::Version)),
            ("p=; v=DKIM1", Some(RecordError::Version)),
            ("v=DKIM1; k=dsa; p=", Some(RecordError::Algorithm("dsa".into()))),
            ("v=DKIM1", Some(RecordError::NoKey)),
            ("v=DKIM1; p=AAAA", Some(RecordError::Key(Algorithm::Rsa))),
            ("v=DKIM1; k=ed25519; p=AAAA", Some(RecordError::Key(Algorithm::Ed25519))),
            ("v=DKIM1; h=sha1; p=", Some(RecordError::Excludes("h"))),
            ("v=DKIM1; s=tlsrpt; p=", Some(RecordError::Excludes("s"))),
            ("v=DKIM1; p=; p=", Some(RecordError::Shape("p=".into()))),
            ("v=DKIM1 k=rsa; p", Some(RecordError::Shape("p".into()))),
        ] {
            assert_eq!(Record::parse(text).err(), fault, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in ".{0,200}", tags in "(v=DKIM1;|k=|rsa|ed25519|p=|[A-Za-z0-9+/=]{0,9}|;| |t=y|:){0,12}") {
            let _ = Record::parse(&text);
            let _ = Record::parse(&tags);
        }
    }
}
