//! Keys that sign: `rsa-sha256` (RFC 6376 §3.3.1, RFC 8301) and `ed25519-sha256` (RFC 8463), both over AWS-LC.
//!
//! A [`Signer`] is made of private DER octets and knows its `d=` and `s=`; where those octets are kept it does not know.

use super::canonical::sha256;
use crate::mail::KeyId;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, Ed25519KeyPair, KeyPair as _, ParsedPublicKey, RsaKeyPair, UnparsedPublicKey};
use std::fmt;

/// The signature algorithms of DKIM that are still allowed (RFC 8301 §3.1 ended `rsa-sha1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RsaSha256,
    /// PureEdDSA over the SHA-256 digest (RFC 8463 §3).
    Ed25519Sha256,
}

/// What can sign and check canonical octets. Two things stand behind it: AWS-LC here, and in tests a library that accepts the
/// 1024-bit key of RFC 8463's example.
pub trait SigningKey: Send + Sync {
    /// Which `a=` it makes.
    fn algorithm(&self) -> Algorithm;

    /// The octets of `b=` over these canonical octets; the same for the same input.
    ///
    /// # Errors
    /// The library failed.
    fn sign(&self, canonical: &[u8]) -> Result<Vec<u8>, SignFailed>;

    /// Whether the public half confirms `signature`.
    fn confirms(&self, canonical: &[u8], signature: &[u8]) -> bool;
}

/// The cryptographic library refused to sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library could not sign")]
pub struct SignFailed;

/// Why private key octets cannot sign for us.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRefused {
    /// Not a private key of the kind named, or a damaged one.
    #[error("the key {key} cannot be read as {expected}: {why}")]
    Unreadable {
        /// Which.
        key: String,
        /// The kind that was expected.
        expected: &'static str,
        /// The library's word.
        why: String,
    },
    /// RFC 8301 §3.2 asks for at least 1024 and recommends 2048; the library signs with no less than 2048.
    #[error("the RSA key {key} has {bits} bits; from {RSA_BITS_MIN} to {RSA_BITS_MAX} are supported: make another with `postseal key create`")]
    Size {
        /// Which.
        key: String,
        /// Its size.
        bits: usize,
    },
}

/// A private key with the name it signs under.
pub struct Signer {
    /// `d=` and `s=`.
    pub id: KeyId,
    key: Box<dyn SigningKey>,
}

impl Signer {
    /// A signer around any key.
    #[must_use]
    pub fn new(id: KeyId, key: Box<dyn SigningKey>) -> Self {
        Self { id, key }
    }

    /// From an RSA private key in PKCS#8 or PKCS#1 DER, 2048 to 4096 bits.
    ///
    /// # Errors
    /// Octets that are no such key, or a size that is not supported.
    pub fn rsa(id: KeyId, der: &[u8]) -> Result<Self, KeyRefused> {
        let pair = RsaKeyPair::from_pkcs8(der).or_else(|_| RsaKeyPair::from_der(der));
        let pair =
            pair.map_err(|why| KeyRefused::Unreadable { key: id.to_string(), expected: "an RSA private key of 2048 bits or more", why: why.to_string() })?;
        let bits = pair.public_modulus_len() * 8;
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(KeyRefused::Size { key: id.to_string(), bits });
        }
        // Parsed once: to read the key and to prepare its modulus costs more than to verify with it.
        let public = ParsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, pair.public_key()).map_err(|why| KeyRefused::Unreadable {
            key: id.to_string(),
            expected: "an RSA key with a sound public half",
            why: why.to_string(),
        })?;
        Ok(Self::new(id, Box::new(Rsa { pair, public })))
    }

    /// From an Ed25519 private key in PKCS#8 DER, version 1 or 2.
    ///
    /// # Errors
    /// Octets that are no such key.
    pub fn ed25519(id: KeyId, der: &[u8]) -> Result<Self, KeyRefused> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der);
        let pair = pair.map_err(|why| KeyRefused::Unreadable { key: id.to_string(), expected: "an Ed25519 private key", why: why.to_string() })?;
        Ok(Self::new(id, Box::new(Ed25519(pair))))
    }

    /// What it signs with.
    #[must_use]
    pub fn key(&self) -> &dyn SigningKey {
        self.key.as_ref()
    }

    /// Its `a=`.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.key.algorithm()
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({}, {})", self.id, self.algorithm())
    }
}

impl Algorithm {
    /// As `a=` names it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RsaSha256 => "rsa-sha256",
            Self::Ed25519Sha256 => "ed25519-sha256",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

struct Rsa {
    pair: RsaKeyPair,
    public: ParsedPublicKey,
}

impl SigningKey for Rsa {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RsaSha256
    }

    fn sign(&self, canonical: &[u8]) -> Result<Vec<u8>, SignFailed> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        // PKCS#1 v1.5 draws nothing at random; AWS-LC ignores the argument.
        self.pair.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), canonical, &mut signature).map_err(|_| SignFailed)?;
        Ok(signature)
    }

    fn confirms(&self, canonical: &[u8], signature: &[u8]) -> bool {
        self.public.verify_sig(canonical, signature).is_ok()
    }
}

struct Ed25519(Ed25519KeyPair);

impl SigningKey for Ed25519 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::Ed25519Sha256
    }

    fn sign(&self, canonical: &[u8]) -> Result<Vec<u8>, SignFailed> {
        self.0.try_sign(&sha256(canonical)).map(|signature| signature.as_ref().to_vec()).map_err(|_| SignFailed)
    }

    fn confirms(&self, canonical: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&signature::ED25519, self.0.public_key()).verify(&sha256(canonical), signature).is_ok()
    }
}

/// Bits of the smallest RSA key that signs (RFC 8301 §3.2 recommends it; AWS-LC loads nothing smaller).
pub const RSA_BITS_MIN: usize = 2048;
/// Bits of the largest RSA key that signs: verifiers need not take more (RFC 8301 §3.2).
pub const RSA_BITS_MAX: usize = 4096;
