//! Who may ask: tokens, names a relay is called by, and calls that a foreign page has a browser make. Pure.

use data_encoding::HEXLOWER;
use std::fmt;
use subtle::ConstantTimeEq as _;

/// Who may ask, by the digest of a token.
///
/// A token has 256 bits of chance, so a plain SHA-256 of it gives nothing away and takes no time; a slow hash is for passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name in the configuration.
    pub name: String,
    /// SHA-256 of the token as it is sent.
    pub digest: [u8; 32],
    /// It may look, and change nothing.
    pub read_only: bool,
}

impl Token {
    /// Whether this is the token; in a time that does not depend on how much of it is right.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        digest(shown).ct_eq(&self.digest).into()
    }
}

/// Names the holder; the digest is nobody's business.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?}, read_only: {})", self.name, self.read_only)
    }
}

/// As the configuration has it: `sha256:` and 64 hexadecimal digits.
#[must_use]
pub fn written(token: &str) -> String {
    format!("{PREFIX}{}", HEXLOWER.encode(&digest(token)))
}

/// The digest behind what [`written`] gives; `None` for anything else.
#[must_use]
pub fn parse(hash: &str) -> Option<[u8; 32]> {
    let octets = HEXLOWER.decode(hash.strip_prefix(PREFIX)?.to_ascii_lowercase().as_bytes()).ok()?;
    octets.try_into().ok()
}

fn digest(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut octets = [0; 32];
    octets.copy_from_slice(digest.as_ref()); // SHA-256 has 32 octets
    octets
}

const PREFIX: &str = "sha256:";
