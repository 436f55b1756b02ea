//! The key that signs updates (TSIG, RFC 8945): its name, algorithm and secret, as an operator writes them. Pure.

use crate::mail::Timestamp;
use aws_lc_rs::hmac;
use data_encoding::BASE64;
use hickory_resolver::proto::ProtoError;
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::Name;
use hickory_resolver::proto::rr::rdata::TSIG;
use hickory_resolver::proto::rr::rdata::tsig::{TsigAlgorithm, TsigError, make_tsig_record, message_tbs, signed_bitmessage_to_buf};
use secrecy::{ExposeSecret, SecretSlice};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use zeroize::Zeroizing;

/// A TSIG key.
#[derive(Debug, Clone)]
pub struct Key {
    /// Its name, as both sides know it.
    pub name: KeyName,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its secret.
    secret: SecretSlice<u8>,
}

/// The name of a TSIG key: a domain name, compared without regard to case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(String);

/// The algorithms that RFC 8945 §6 does not advise against, and that are not truncated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// hmac-sha256.
    HmacSha256,
    /// hmac-sha384.
    HmacSha384,
    /// hmac-sha512.
    HmacSha512,
}

/// Why something is no TSIG key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No name of a key.
    #[error("\"{0}\" is no name of a key; expected a name such as \"postseal.example.com\"")]
    Name(String),
    /// No algorithm, or one that should not be used.
    #[error("\"{0}\" is no algorithm to sign updates with; expected one of {ALGORITHM_NAMES}")]
    Algorithm(String),
    /// No secret in what should hold it.
    #[error("it holds no secret in base64; expected the secret alone, or what tsig-keygen prints")]
    Secret,
    /// A short secret can be guessed.
    #[error("its secret has {octets} octets; expected at least {SECRET_OCTETS_MIN}, as tsig-keygen makes them")]
    Short {
        /// What it has.
        octets: usize,
    },
}

/// What a file with a secret says: the secret, and more where it is what `tsig-keygen` prints.
pub struct KeyText {
    /// `key "NAME" {`.
    pub name: Option<String>,
    /// `algorithm NAME;`.
    pub algorithm: Option<String>,
    /// `secret "…";`, or all there is.
    secret: Zeroizing<String>,
}

impl KeyText {
    /// Reads a secret in base64 alone, or a key statement as `tsig-keygen` prints it.
    #[must_use]
    pub fn read(text: &str) -> Self {
        if !text.contains('{') {
            return Self { name: None, algorithm: None, secret: Zeroizing::new(text.trim().to_owned()) };
        }
        let text = Zeroizing::new(text.lines().map(without_comment).collect::<Vec<_>>().join(" "));
        let (head, body) = text.split_once('{').unwrap_or_default();
        let value = |word: &str| {
            let statements = body.split([';', '}']).map(str::trim);
            statements.filter_map(|statement| statement.strip_prefix(word)).map(|value| value.trim().trim_matches('"')).next()
        };
        Self {
            name: head.trim().strip_prefix("key").map(|name| name.trim().trim_matches('"').to_owned()),
            algorithm: value("algorithm ").map(str::to_owned),
            secret: Zeroizing::new(value("secret ").unwrap_or_default().to_owned()),
        }
    }
}

/// `//` and `#` begin one, but not inside quotes: base64 has both slashes.
fn without_comment(line: &str) -> &str {
    let mut quoted = false;
    let end = line.char_indices().find(|&(at, c)| {
        quoted ^= c == '"';
        !quoted && (c == '#' || line[at..].starts_with("//"))
    });
    end.map_or(line, |(at, _)| &line[..at])
}

impl Key {
    /// A key of these parts.
    ///
    /// # Errors
    /// The secret is none, or too short.
    pub fn new(name: KeyName, algorithm: Algorithm, text: &KeyText) -> Result<Self, KeyError> {
        let compact: Zeroizing<String> = Zeroizing::new(text.secret.split_ascii_whitespace().collect());
        let secret = BASE64.decode(compact.as_bytes()).map(Zeroizing::new).map_err(|_| KeyError::Secret)?;
        match secret.len() {
            0 => Err(KeyError::Secret),
            octets if octets < SECRET_OCTETS_MIN => Err(KeyError::Short { octets }),
            _ => Ok(Self { name, algorithm, secret: SecretSlice::from(secret.to_vec()) }),
        }
    }

    /// Signs a message (RFC 8945 §4.3) and gives the MAC, which the answer's signature covers, too.
    pub(super) fn sign(&self, message: &mut Message, now: Timestamp) -> Result<Vec<u8>, ProtoError> {
        let name = Name::from_ascii(format!("{}.", self.name))?;
        let seconds = u64::try_from(now.unix_seconds()).unwrap_or_default();
        let bare = TSIG::new(self.algorithm.of_hickory(), seconds, FUDGE_SECONDS, Vec::new(), message.id, None, Vec::new());
        let mac = hmac::sign(&self.hmac(), &message_tbs(message, &bare, &name)?).as_ref().to_vec();
        message.set_signature(Box::new(make_tsig_record(name, bare.set_mac(mac.clone()))));
        Ok(mac)
    }

    /// Whether an answer was signed with this key, for the request of that MAC, and when we do not mind (RFC 8945 §5.3).
    pub(super) fn verify(&self, answer: &[u8], request_mac: &[u8], now: Timestamp) -> Result<(), String> {
        let (signed, record) = signed_bitmessage_to_buf(answer, Some(request_mac), true).map_err(|error| error.to_string())?;
        let tsig = &record.data;
        if !self.name.is(&record.name) || tsig.algorithm != self.algorithm.of_hickory() {
            return Err(format!("it is signed with the key {} ({}), not with ours", record.name, tsig.algorithm));
        }
        hmac::verify(&self.hmac(), &signed, &tsig.mac).map_err(|_| "its signature does not fit our secret".to_owned())?;
        let apart = u64::try_from(now.unix_seconds()).unwrap_or_default().abs_diff(tsig.time);
        if apart > u64::from(tsig.fudge) && tsig.error != Some(TsigError::BadTime) {
            return Err(format!("it was signed {apart} s away from our time"));
        }
        Ok(())
    }

    fn hmac(&self) -> hmac::Key {
        hmac::Key::new(self.algorithm.of_aws_lc(), self.secret.expose_secret())
    }
}

impl KeyName {
    fn is(&self, name: &Name) -> bool {
        name.to_ascii().trim_end_matches('.').eq_ignore_ascii_case(&self.0)
    }
}

impl Algorithm {
    const fn of_hickory(self) -> TsigAlgorithm {
        match self {
            Self::HmacSha256 => TsigAlgorithm::HmacSha256,
            Self::HmacSha384 => TsigAlgorithm::HmacSha384,
            Self::HmacSha512 => TsigAlgorithm::HmacSha512,
        }
    }

    const fn of_aws_lc(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

impl FromStr for KeyName {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let bare = text.strip_suffix('.').unwrap_or(text);
        let is_good = !bare.is_empty() && bare.is_ascii() && !bare.contains(char::is_whitespace) && Name::from_ascii(bare).is_ok();
        if is_good { Ok(Self(bare.to_ascii_lowercase())) } else { Err(KeyError::Name(text.chars().take(80).collect())) }
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        match text.trim_end_matches('.').to_ascii_lowercase().as_str() {
            "hmac-sha256" => Ok(Self::HmacSha256),
            "hmac-sha384" => Ok(Self::HmacSha384),
            "hmac-sha512" => Ok(Self::HmacSha512),
            _ => Err(KeyError::Algorithm(text.chars().take(80).collect())),
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        })
    }
}

/// How far the two clocks may be apart (RFC 8945 §10 recommends 300 s).
pub const FUDGE: Duration = Duration::from_secs(FUDGE_SECONDS as u64);
const FUDGE_SECONDS: u16 = 300;

/// Octets of a secret, at least: 128 bits.
const SECRET_OCTETS_MIN: usize = 16;

const ALGORITHM_NAMES: &str = "hmac-sha256, hmac-sha384, hmac-sha512";

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgMTIz";

    #[test]
    fn a_secret_is_read_alone_or_as_tsig_keygen_prints_it() {
        let alone = KeyText::read(&format!(" {SECRET}\n"));
        assert_eq!((alone.name.as_deref(), alone.algorithm.as_deref(), alone.secret.as_str()), (None, None, SECRET));
        let statement = format!("// made by hand\nkey \"Postseal.example.\" {{\n\talgorithm hmac-sha512; // strong\n\tsecret \"{SECRET}\";\n}};\n");
        let read = KeyText::read(&statement);
        assert_eq!((read.name.as_deref(), read.algorithm.as_deref(), read.secret.as_str()), (Some("Postseal.example."), Some("hmac-sha512"), SECRET));
        let name: KeyName = read.name.clone().unwrap().parse().unwrap();
        assert_eq!(name.to_string(), "postseal.example");
        assert!(Key::new(name, Algorithm::HmacSha512, &read).is_ok());
    }

    #[test]
    fn what_is_no_key_is_said() {
        let name = || "k".parse::<KeyName>().unwrap();
        for (text, fault) in [("", KeyError::Secret), ("not base64!", KeyError::Secret), ("c2hvcnQ=", KeyError::Short { octets: 5 })] {
            assert_eq!(Key::new(name(), Algorithm::HmacSha256, &KeyText::read(text)).unwrap_err(), fault, "{text}");
        }
        assert!(matches!("hmac-md5".parse::<Algorithm>(), Err(KeyError::Algorithm(_))));
        assert!(matches!("".parse::<KeyName>(), Err(KeyError::Name(_))));
        assert!(matches!("two words".parse::<KeyName>(), Err(KeyError::Name(_))));
    }

    #[test]
    fn no_debug_output_shows_a_secret() {
        let key = Key::new("k".parse().unwrap(), Algorithm::HmacSha256, &KeyText::read(SECRET)).unwrap();
        assert!(!format!("{key:?}").contains("115")); // "s" of the secret
    }
}
