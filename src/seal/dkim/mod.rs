//! DKIM: signing and checking (RFC 6376, RFC 8301, RFC 8463, RFC 8616). Pure, but for [`verify::examine`], which asks DNS.
//!
//! | file | what |
//! |---|---|
//! | `canonical` | the octets that are hashed |
//! | `profile` | which header fields a signature covers |
//! | `signature` | the tag list of a signature field, its folding and its reading |
//! | `algorithm` | keys: `rsa-sha256` and `ed25519-sha256` |
//! | `foreign` | signatures of others, to the letter |
//! | `public` | the key records they are held against |
//! | `verify` | asks the DNS for those |
//!
//! It knows no key store (a [`Signer`] is made of DER octets) and no clock.

pub mod algorithm;
pub mod canonical;
pub mod foreign;
pub mod profile;
pub mod public;
pub mod signature;
pub mod verify;

pub use algorithm::{Algorithm, KeyRefused, Signer, SigningKey};
pub use canonical::{BodyHash, Canonicalization};
pub use foreign::{Confirmed, ForeignSignature, KeyTexts, NoAnswer, SignatureFault};
pub use signature::{FieldName, SignatureField, TagList};
