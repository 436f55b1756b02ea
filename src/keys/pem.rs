//! Private keys in PEM: PKCS#8 (RFC 5958) and PKCS#1 read, PKCS#8 version 1 written, as OpenSSL and OpenDKIM do.
//!
//! AWS-LC makes and reads them; buffers that held a private key are wiped.

use super::Algorithm;
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::traits::PublicKeyParts as _;
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
    #[error("its RSA key has {0} bits; {RSA_BITS_MIN} to {RSA_BITS_MAX} can sign: make another with `postseal key create`")]
    Size(usize),
    /// The library could not make a key.
    #[error("the cryptographic library could not make a key")]
    NotMade,
}

impl PrivateKey {
    /// Makes a key: RSA of 2048 bits, or Ed25519.
    ///
    /// # Errors
    /// The library failed.
    pub fn generate(algorithm: Algorithm) -> Result<Self, PemError> {
        let der = match algorithm {
            Algorithm::Rsa => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| PemError::NotMade)?;
                Zeroizing::new(pair.as_der().map_err(|_| PemError::NotMade)?.as_ref().to_vec())
            }
            Algorithm::Ed25519 => {
                let pair = Ed25519KeyPair::generate().map_err(|_| PemError::NotMade)?;
                Zeroizing::new(pair.to_pkcs8v1().map_err(|_| PemError::NotMade)?.as_ref().to_vec())
            }
        };
        Self::from_der(der)
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
        if memchr::memmem::find(pem, b"Proc-Type: 4,ENCRYPTED").is_some() { Err(PemError::Encrypted) } else { Self::from_der(der) }
    }

    /// PKCS#8 for Ed25519, PKCS#8 or PKCS#1 for RSA.
    fn from_der(der: Zeroizing<Vec<u8>>) -> Result<Self, PemError> {
        if let Ok(pair) = RsaKeyPair::from_pkcs8(&der).or_else(|_| RsaKeyPair::from_der(&der)) {
            let bits = pair.public_modulus_len() * 8;
            if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
                return Err(PemError::Size(bits));
            }
            let spki: PublicKeyX509Der<'_> = pair.public_key().as_der().map_err(|_| PemError::Unknown)?;
            return Ok(Self { public: PublicKey::Rsa(spki.as_ref().to_vec()), der });
        }
        if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der) {
            let public = <[u8; 32]>::try_from(pair.public_key().as_ref()).map_err(|_| PemError::Unknown)?;
            return Ok(Self { public: PublicKey::Ed25519(public), der });
        }
        // AWS-LC does not load small RSA keys; to say so, and how small, another library looks.
        let small = rsa::RsaPrivateKey::from_pkcs8_der(&der).or_else(|_| rsa::RsaPrivateKey::from_pkcs1_der(&der).map_err(rsa::pkcs8::Error::from));
        Err(small.map_or(PemError::Unknown, |key| PemError::Size(key.size() * 8)))
    }

    /// As PEM; what was made here is PKCS#8 version 1.
    #[must_use]
    pub fn to_pem(&self) -> Zeroizing<String> {
        let base64 = Zeroizing::new(BASE64.encode(&*self.der));
        let pkcs1 = self.algorithm() == Algorithm::Rsa && RsaKeyPair::from_pkcs8(&self.der).is_err();
        let label = if pkcs1 { "RSA PRIVATE KEY" } else { "PRIVATE KEY" };
        let mut pem = Zeroizing::new(String::with_capacity(base64.len() * 2 + 128));
        pem.extend(["-----BEGIN ", label, "-----\n"]);
        let mut rest = base64.as_str();
        while !rest.is_empty() {
            let (line, further) = rest.split_at(rest.len().min(PEM_COLUMNS));
            pem.push_str(line);
            pem.push('\n');
            rest = further;
        }
        pem.extend(["-----END ", label, "-----\n"]);
        pem
    }

    /// PKCS#8, or PKCS#1 where an RSA key was read in that form: what a signer is made of. Not to be copied further than that.
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
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey({}, ***)", self.algorithm())
    }
}

/// Bits of the smallest RSA key that can sign (RFC 8301 §3.2 recommends it).
const RSA_BITS_MIN: usize = 2048;
/// Bits of the largest: verifiers need not take more (RFC 8301 §3.2).
const RSA_BITS_MAX: usize = 4096;
/// RFC 7468 §2.
const PEM_COLUMNS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_made_reads_back() {
        for algorithm in [Algorithm::Rsa, Algorithm::Ed25519] {
            let key = PrivateKey::generate(algorithm).unwrap();
            let pem = key.to_pem();
            assert!(pem.lines().all(|line| line.len() <= PEM_COLUMNS));
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
