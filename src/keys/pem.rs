//! Private keys in PEM: PKCS#8 (RFC 5958) and PKCS#1 read, PKCS#8 version 1 written, as OpenSSL and OpenDKIM do.
//!
//! `rsa` and `ed25519-dalek` make, read and write them; neither ever signs here (`seal` does, with AWS-LC). Buffers that held a
//! private key are wiped.

use super::Algorithm;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use data_encoding::HEXLOWER;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, KeypairBytes};
use rsa::pkcs1::{DecodeRsaPrivateKey as _, EncodeRsaPrivateKey as _};
use rsa::pkcs8::der::pem::LineEnding;
use rsa::pkcs8::{DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _, PrivateKeyInfo, SecretDocument};
use rsa::rand_core::{OsRng, RngCore as _};
use rsa::traits::PublicKeyParts as _;
use rsa::{RsaPrivateKey, RsaPublicKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use std::fmt;
use zeroize::{Zeroize as _, Zeroizing};

/// A private key and its public half. Prints no secret; its octets are wiped when it goes.
#[derive(Clone)]
pub struct PrivateKey {
    der: Zeroizing<Vec<u8>>,
    public: PublicKey,
}

/// A public key as a key record carries it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// SubjectPublicKeyInfo in DER (RFC 5280 §4.1).
    Rsa(Vec<u8>),
    /// The 32 octets of RFC 8032 (RFC 8463 §4.2).
    Ed25519([u8; 32]),
}

/// Why a text is no private key we can use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemError {
    /// No private key in it.
    #[error("it holds no private key in PEM form; expected \"-----BEGIN PRIVATE KEY-----\" or \"-----BEGIN RSA PRIVATE KEY-----\"")]
    NoKey,
    /// Under a passphrase.
    #[error("it is encrypted; decrypt it with `openssl pkey -in FILE -out FILE`")]
    Encrypted,
    /// Neither RSA nor Ed25519, or damaged.
    #[error("it is neither an RSA nor an Ed25519 private key, or damaged")]
    Unknown,
    /// RFC 8301 §3.2.
    #[error(
        "its RSA key has {0} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} can sign: make another with `postseal key create`, publish its record, and let it take over"
    )]
    Size(usize),
    /// The library could not make a key.
    #[error("the cryptographic library could not make a key")]
    NotMade,
}

impl PrivateKey {
    /// Makes a key: RSA of 2048 bits (a second's work on a slow machine), or Ed25519.
    ///
    /// # Errors
    /// The library failed, or the system gave no chance.
    pub fn generate(algorithm: Algorithm) -> Result<Self, PemError> {
        match algorithm {
            Algorithm::Rsa => Self::of_rsa(&RsaPrivateKey::new(&mut OsRng, RSA_BITS_MIN).map_err(|_| PemError::NotMade)?),
            Algorithm::Ed25519 => {
                let mut secret = Zeroizing::new([0; 32]);
                OsRng.try_fill_bytes(&mut *secret).map_err(|_| PemError::NotMade)?;
                Self::of_ed25519(&SigningKey::from_bytes(&secret))
            }
        }
    }

    /// Reads the first private key of a PEM text.
    ///
    /// # Errors
    /// There is none, or none that can sign.
    pub fn from_pem(pem: &[u8]) -> Result<Self, PemError> {
        let mut found = match PrivateKeyDer::from_pem_slice(pem) {
            Ok(found) => found,
            Err(_) if memchr::memmem::find(pem, b"ENCRYPTED").is_some() => return Err(PemError::Encrypted),
            Err(_) => return Err(PemError::NoKey),
        };
        let der = Zeroizing::new(found.secret_der().to_vec());
        found.zeroize();
        if memchr::memmem::find(pem, b"Proc-Type: 4,ENCRYPTED").is_some() { Err(PemError::Encrypted) } else { Self::from_der(&der) }
    }

    /// Reads what other signers keep: PEM, or without armour the base64 of DER, as OpenDKIM takes it, or of an Ed25519 secret with or
    /// without its public half, as rspamd writes it.
    ///
    /// # Errors
    /// There is none, or none that can sign.
    pub fn from_text(text: &[u8]) -> Result<Self, PemError> {
        if memchr::memmem::find(text, b"-----BEGIN").is_some() {
            return Self::from_pem(text);
        }
        let digits: Zeroizing<Vec<u8>> = Zeroizing::new(text.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect());
        let octets = Zeroizing::new(BASE64.decode(&*digits).map_err(|_| PemError::NoKey)?);
        match octets.len() {
            0 => Err(PemError::NoKey),
            ED25519_OCTETS => Self::of_ed25519(&SigningKey::from_bytes(&first(&octets))),
            BOTH_HALVES_OCTETS => {
                let key = SigningKey::from_bytes(&first(&octets));
                if key.verifying_key().as_bytes()[..] == octets[ED25519_OCTETS..] { Self::of_ed25519(&key) } else { Err(PemError::Unknown) }
            }
            _ => Self::from_der(&octets),
        }
    }

    /// PKCS#8 for Ed25519, PKCS#8 or PKCS#1 for RSA.
    fn from_der(der: &[u8]) -> Result<Self, PemError> {
        if let Ok(key) = SigningKey::from_pkcs8_der(der) {
            return Self::of_ed25519(&key);
        }
        // Looked at before the key is checked as a whole: the library reads no key over 4096 bits.
        let bare = PrivateKeyInfo::try_from(der).map_or(der, |info| info.private_key);
        let parts = rsa::pkcs1::RsaPrivateKey::try_from(bare).map_err(|_| PemError::Unknown)?;
        let bits = rsa::BigUint::from_bytes_be(parts.modulus.as_bytes()).bits();
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
            return Err(PemError::Size(bits));
        }
        let key = RsaPrivateKey::from_pkcs8_der(der).or_else(|_| RsaPrivateKey::from_pkcs1_der(der)).map_err(|_| PemError::Unknown)?;
        Self::of_rsa(&key)
    }

    fn of_rsa(key: &RsaPrivateKey) -> Result<Self, PemError> {
        let der = key.to_pkcs8_der().map_err(|_| PemError::Unknown)?.to_bytes();
        let public = key.to_public_key().to_public_key_der().map_err(|_| PemError::Unknown)?;
        Ok(Self { der, public: PublicKey::Rsa(public.into_vec()) })
    }

    /// Without the public half in the file, which would make it version 2: OpenSSL 3.0 does not read that.
    fn of_ed25519(key: &SigningKey) -> Result<Self, PemError> {
        let der = KeypairBytes { secret_key: key.to_bytes(), public_key: None }.to_pkcs8_der().map_err(|_| PemError::Unknown)?.to_bytes();
        Ok(Self { der, public: PublicKey::Ed25519(key.verifying_key().to_bytes()) })
    }

    /// As PEM, PKCS#8 version 1, whatever form it was read in.
    ///
    /// # Panics
    /// Never: what is kept is a DER document.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        #[allow(clippy::expect_used, reason = "made by of_rsa or of_ed25519, immutable since")]
        let document = SecretDocument::try_from(self.der()).expect("a private key is a DER document");
        #[allow(clippy::expect_used, reason = "any octets have a PEM form, and the label is one")]
        document.to_pem("PRIVATE KEY", LineEnding::LF).expect("a DER document has a PEM form")
    }

    /// As PEM, PKCS#1: "RSA PRIVATE KEY", which software of old wants. `None` for Ed25519, which has no such form.
    #[must_use]
    pub fn to_pkcs1_pem(&self) -> Option<Zeroizing<String>> {
        RsaPrivateKey::from_pkcs8_der(&self.der).ok().and_then(|key| key.to_pkcs1_pem(LineEnding::LF).ok())
    }

    /// PKCS#8 version 1: what a signer is made of. Not to be copied further than that.
    #[must_use]
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// Its kind.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// Its public half.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }
}

impl PublicKey {
    /// Its kind.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        match self {
            Self::Rsa(_) => Algorithm::Rsa,
            Self::Ed25519(_) => Algorithm::Ed25519,
        }
    }

    /// Bits: of the modulus of an RSA key, 256 for Ed25519.
    #[must_use]
    pub fn bits(&self) -> usize {
        match self {
            Self::Rsa(spki) => RsaPublicKey::from_public_key_der(spki).map_or(0, |key| key.size() * 8),
            Self::Ed25519(_) => ED25519_OCTETS * 8,
        }
    }

    /// SHA-256 of the SubjectPublicKeyInfo in DER, in hexadecimal digits: `openssl pkey -pubout -outform DER | sha256sum`.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let spki = match self {
            Self::Rsa(spki) => spki.clone(),
            Self::Ed25519(octets) => [ED25519_SPKI_START, octets].concat(),
        };
        HEXLOWER.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &spki).as_ref())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, ***)", self.algorithm())
    }
}

fn first(octets: &[u8]) -> Zeroizing<[u8; ED25519_OCTETS]> {
    let mut secret = Zeroizing::new([0; ED25519_OCTETS]);
    secret.copy_from_slice(&octets[..ED25519_OCTETS]);
    secret
}

/// Octets of an Ed25519 secret, and of a public key (RFC 8032 §5.1.5).
const ED25519_OCTETS: usize = 32;
const BOTH_HALVES_OCTETS: usize = 64;
/// What precedes the public key in a SubjectPublicKeyInfo (RFC 8410 §4).
const ED25519_SPKI_START: &[u8] = &[0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// Bits of the smallest RSA key that can sign (RFC 8301 §3.2 recommends it).
const RSA_BITS_MIN: usize = 2048;
/// Bits of the largest: verifiers need not take more (RFC 8301 §3.2).
const RSA_BITS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_reads_back() {
        for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let pem = key.to_pem();
            assert!(pem.lines().all(|line| line.len() <= 64));
            let again = PrivateKey::from_pem(pem.as_bytes()).unwrap();
            assert_eq!((again.algorithm(), again.public(), again.der()), (algorithm, key.public(), key.der()));
            assert_eq!(format!("{key:?}"), format!("PrivateKey({algorithm}, ***)"));
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_key() {
        assert_eq!(PrivateKey::from_pem(b"hello").unwrap_err(), PemError::NoKey);
        let encrypted = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(PrivateKey::from_pem(encrypted).unwrap_err(), PemError::Encrypted);
        let damaged = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(PrivateKey::from_pem(damaged).unwrap_err(), PemError::Unknown);
    }
}
