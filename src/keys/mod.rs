//! The keys of DKIM and of bounce tokens: where they are kept, how they are made, what the DNS has to say of them.
//!
//! A shell: it touches disk, permissions and chance. It knows neither messages nor DNS servers; who signs takes DER octets from here
//! ([`PrivateKey::der`]), who publishes takes text ([`Record`]). `keys/README.md` describes the files to an operator.
//!
//! ```text
//! created -> published -> visible -> active -> retiring -> revoked -> removed
//! ```
//!
//! [`Keyring`] reads all of it, without a lock, to sign; [`Ledger`] is one domain's states and their history, and opened, the one
//! way to change them.

mod change;
mod create;
mod durable;
pub mod import;
mod keyring;
#[cfg(test)]
mod kill;
mod ledger;
pub mod lifecycle;
mod pem;
mod record;
mod selector;
mod store;
mod token;
pub mod watch;

pub use change::{ChangeError, OpenLedger};
pub use create::{create, create_in};
pub use durable::write_export;
pub use keyring::{Key, KeyFile, Keyring, file_selector};
pub use ledger::{Entry, HISTORY_MAX, Ledger, Past, ServerMemory, selector_of as selector};
pub use pem::{PemError, PrivateKey, PublicKey};
pub use record::{Record, RecordError};
pub use selector::{SelectorTemplate, SelectorsTaken, TemplateError};
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

impl State {
    /// In the order of a life.
    pub const ALL: [Self; 7] = [Self::Created, Self::Published, Self::Visible, Self::Active, Self::Retiring, Self::Revoked, Self::Removed];

    /// Whether a key may go from here to there.
    ///
    /// | from | to |
    /// |---|---|
    /// | created | published, active, removed |
    /// | published | visible, revoked, removed |
    /// | visible | active, published, revoked, removed |
    /// | active | retiring, revoked |
    /// | retiring | revoked, active |
    /// | revoked | removed |
    ///
    /// Straight from created to active is for the first key of a domain and for keys that signed elsewhere. A record may be lost again
    /// before the key is active, a key that retires may be needed again, any that was published may be revoked, and one that never signed
    /// needs no revocation to go.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use State::{Active, Created, Published, Removed, Retiring, Revoked, Visible};
        match self {
            Created => matches!(next, Published | Active | Removed),
            Published => matches!(next, Visible | Revoked | Removed),
            Visible => matches!(next, Published | Active | Revoked | Removed),
            Active => matches!(next, Retiring | Revoked),
            Retiring => matches!(next, Active | Revoked),
            Revoked => matches!(next, Removed),
            Removed => false,
        }
    }

    /// Whether the key's file is needed: to sign, or to say what its record is.
    #[must_use]
    pub const fn needs_file(self) -> bool {
        matches!(self, Self::Published | Self::Visible | Self::Active | Self::Retiring)
    }

    fn names() -> String {
        STATES.map(|(_, name)| name).join(", ")
    }
}

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
