//! What the servers of a zone say, each asked directly: the vocabulary of evidence. Pure.

use super::resource::{Data, Kind};
use crate::mail::Domain;
use std::net::SocketAddr;
use std::time::Duration;

/// What was seen of one name and type, from the name that was asked for to the one at the end of its aliases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The type asked for.
    pub kind: Kind,
    /// One for the name asked for, and a further one for each CNAME that was followed into the name it stands for.
    pub hops: Vec<Hop>,
}

/// One name, and what each authoritative server of its zone says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hop {
    /// The name asked for.
    pub name: Domain,
    /// The zone it lies in, delegations followed.
    pub zone: Domain,
    /// How long receivers may remember that there is nothing (RFC 2308 §5): the longest that a server's SOA says.
    pub negative_ttl: Duration,
    /// One for each server of the zone, by name.
    pub sightings: Vec<Sighting>,
}

/// The answer of one server, over any of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Its name, as the zone's NS records have it.
    pub server: Domain,
    /// The address that gave this answer; `None` when none did.
    pub address: Option<SocketAddr>,
    /// What it said.
    pub answer: Answer,
}

/// What one server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// These records, with authority.
    Records {
        /// In the order of the answer.
        data: Vec<Data>,
        /// The shortest of their TTLs.
        ttl: Duration,
    },
    /// The name is another one's alias, with authority.
    Alias {
        /// The name it stands for.
        target: Domain,
        /// How long that may be remembered.
        ttl: Duration,
    },
    /// There are none, with authority.
    Nothing {
        /// The name has records of other types (no NXDOMAIN).
        name_exists: bool,
    },
    /// An answer without the AA bit: of a resolver in between, or of a server that is not responsible. It proves nothing.
    NotAuthoritative,
    /// It cannot say: SERVFAIL, REFUSED … It proves nothing.
    Refused(String),
    /// No answer in time, no route, no address. It proves nothing.
    Silent(String),
}

impl Answer {
    /// Whether it proves anything: an authoritative yes or no.
    #[must_use]
    pub const fn is_evidence(&self) -> bool {
        matches!(self, Self::Records { .. } | Self::Alias { .. } | Self::Nothing { .. })
    }
}
