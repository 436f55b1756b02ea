//! DKIM: signing and checking (RFC 6376, RFC 8301, RFC 8463, RFC 8616). Pure, but for [`verify::examine`], which asks DNS.
//!
//! | file | what |
//! |---|---|
//! | `canonical` | the octets that are hashed |
//! | `profile` | which header fields a signature covers |
//! | `signature` | the tag list of a signature field, its folding and its reading |
//! | `algorithm` | keys: `rsa-sha256` and `ed25519-sha256` |
//! | `verify` | our own seal against its public half; foreign signatures and chains through mail-auth |
//!
//! It knows no key store (a [`Signer`] is made of DER octets) and no clock.

pub mod algorithm;
pub mod canonical;
pub mod profile;
pub mod signature;
pub mod verify;

pub use algorithm::{Algorithm, KeyRefused, Signer, SigningKey};
pub use canonical::{BodyHash, Canonicalization};
pub use signature::{FieldName, SignatureField, TagList};
