//! The keys of DKIM and of bounce tokens: where they are kept, how they are made, what the DNS has to say of them.
//!
//! A shell: it touches disk, permissions and chance. It knows neither messages nor DNS servers; who signs takes DER octets from here
//! ([`PrivateKey::der`]), who publishes takes text ([`Record`]). `keys/README.md` describes the files to an operator.
//!
//! ```text
//! created -> published -> visible -> active -> retiring -> revoked -> removed
//! ```

mod create;
mod keyring;
pub mod lifecycle;
mod pem;
mod record;
mod store;
mod token;

pub use create::{CreateError, create};
pub use keyring::{Key, Keyring};
pub use pem::{PemError, PrivateKey, PublicKey};
pub use record::{Record, RecordError};
pub use store::{KeyFault, KeyProblem, read_secret};
pub use token::{TOKEN_SECRETS_MAX, TokenSecret, create_token_secret, load_token_secrets};

use std::fmt;
use std::str::FromStr;

/// The kinds of keys, as `k=` of a key record names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// RSA; 2048 bits when made here.
    Rsa,
    /// Ed25519 (RFC 8463).
    Ed25519,
}

/// Where a key stands in its life. Only [`State::Active`] signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Its file exists, the DNS knows nothing of it.
    Created,
    /// Its record was written.
    Published,
    /// Every authoritative server shows the record.
    Visible,
    /// It signs.
    Active,
    /// It signs no more; its record stays while mail signed by it may still be on its way.
    Retiring,
    /// Its record says `p=` (RFC 6376 §3.6.1).
    Revoked,
    /// Its record is gone. Only the name is kept, so that it is never used again.
    Removed,
}

const ALGORITHMS: [(Algorithm, &str); 2] = [(Algorithm::Rsa, "rsa"), (Algorithm::Ed25519, "ed25519")];
const STATES: [(State, &str); 7] = [
    (State::Created, "created"),
    (State::Published, "published"),
    (State::Visible, "visible"),
    (State::Active, "active"),
    (State::Retiring, "retiring"),
    (State::Revoked, "revoked"),
    (State::Removed, "removed"),
];

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(ALGORITHMS[*self as usize].1)
    }
}

impl FromStr for Algorithm {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        ALGORITHMS.into_iter().find(|(_, name)| *name == text).map(|(algorithm, _)| algorithm).ok_or(())
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(STATES[*self as usize].1)
    }
}

impl FromStr for State {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        STATES.into_iter().find(|(_, name)| *name == text).map(|(state, _)| state).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back() {
        for (state, name) in STATES {
            assert_eq!((state.to_string().as_str(), name.parse()), (name, Ok(state)));
        }
        for (algorithm, name) in ALGORITHMS {
            assert_eq!((algorithm.to_string().as_str(), name.parse()), (name, Ok(algorithm)));
        }
        assert_eq!("Active".parse::<State>(), Err(()));
    }
}
