//! Key records as a verifier reads them (RFC 6376 §3.6.1, §6.1.2; RFC 8301 §3.2; RFC 8463 §4), and the test of a signature. Pure.
//!
//! What our own records are to look like, and whether a key is fit to sign with, is the business of `keys`.

use super::Algorithm;
use super::canonical::sha256;
use super::foreign::SignatureFault;
use super::signature::TagList;
use aws_lc_rs::signature::{self, UnparsedPublicKey};
use rsa::RsaPublicKey;
use rsa::pkcs1::DecodeRsaPublicKey as _;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;

/// A public key that may confirm signatures on mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifyingKey {
    algorithm: Algorithm,
    octets: Vec<u8>,
    /// Bits of the modulus; 256 for Ed25519.
    pub bits: usize,
    /// `t=y`: the domain only tests.
    pub testing: bool,
    /// `t=s`: `i=` must be at `d=` itself.
    pub strict: bool,
}

impl VerifyingKey {
    /// Reads one TXT record, its strings joined without anything between (RFC 6376 §3.6.2.2), for a signature of this kind.
    ///
    /// # Errors
    /// It is no key record, it is revoked, not for mail, not for this algorithm, or too short.
    pub fn read(text: &str, wanted: Algorithm) -> Result<Self, SignatureFault> {
        let tags = TagList::parse(text).map_err(|_| SignatureFault::KeySyntax("it is no list of tag=value"))?;
        if tags.value("v").is_some_and(|version| version != "DKIM1" || tags.first() != Some("v")) {
            return Err(SignatureFault::KeySyntax("v= is not DKIM1, or not first"));
        }
        let lists = |name: &str, word: &str| tags.items(name).iter().any(|item| item.eq_ignore_ascii_case(word));
        if tags.value("h").is_some() && !lists("h", "sha256") {
            return Err(SignatureFault::KeyInapplicable("h= does not allow sha256"));
        }
        if tags.value("s").is_some() && !lists("s", "*") && !lists("s", "email") {
            return Err(SignatureFault::KeyInapplicable("s= is not for mail"));
        }
        let algorithm = match tags.value("k").unwrap_or("rsa") {
            "rsa" => Algorithm::RsaSha256,
            "ed25519" => Algorithm::Ed25519Sha256,
            _ => return Err(SignatureFault::KeyInapplicable("k= is neither rsa nor ed25519")),
        };
        if algorithm != wanted {
            return Err(SignatureFault::KeyInapplicable("k= is not the key type that a= names"));
        }
        if tags.value("p").ok_or(SignatureFault::KeySyntax("p= is missing"))?.is_empty() {
            return Err(SignatureFault::KeyRevoked);
        }
        let octets = tags.octets("p").ok_or(SignatureFault::KeySyntax("p= is no base64"))?;
        let bits = match algorithm {
            Algorithm::Ed25519Sha256 if octets.len() == ED25519_OCTETS => ED25519_OCTETS * 8,
            Algorithm::Ed25519Sha256 => return Err(SignatureFault::KeySyntax("p= has not the 32 octets of an Ed25519 key")),
            Algorithm::RsaSha256 => rsa_bits(&octets)?,
        };
        Ok(Self { algorithm, octets, bits, testing: lists("t", "y"), strict: lists("t", "s") })
    }

    /// Whether it confirms `signature` over these canonical octets.
    #[must_use]
    pub fn confirms(&self, canonical: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::RsaSha256 => {
                UnparsedPublicKey::new(&signature::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY, &self.octets).verify(canonical, signature).is_ok()
            }
            Algorithm::Ed25519Sha256 => UnparsedPublicKey::new(&signature::ED25519, &self.octets).verify(&sha256(canonical), signature).is_ok(),
        }
    }
}

/// SPKI, as openssl writes it and everybody publishes it, or the bare RSAPublicKey that RFC 6376 §3.6.1 names.
fn rsa_bits(octets: &[u8]) -> Result<usize, SignatureFault> {
    let key = RsaPublicKey::from_public_key_der(octets).or_else(|_| RsaPublicKey::from_pkcs1_der(octets));
    let bits = key.map_err(|_| SignatureFault::KeySyntax("p= is no RSA key of at most 4096 bits"))?.n().bits();
    if bits < RSA_BITS_ACCEPTED_MIN { Err(SignatureFault::KeyTooShort(bits)) } else { Ok(bits) }
}

/// RFC 8301 §3.2: verifiers must not take signatures of shorter keys for valid.
pub const RSA_BITS_ACCEPTED_MIN: usize = 1024;
const ED25519_OCTETS: usize = 32;
