//! What the servers of a zone say, each asked directly: the vocabulary of evidence. Pure.

use super::resource::{Data, Kind};
use crate::mail::Domain;
use std::fmt;
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
    /// One for each server of the zone, by name. Where servers of a parent zone know a delegation and others do not yet, those that do
    /// not stand in a hop of the parent zone, and the child's servers in one of their own.
    pub sightings: Vec<Sighting>,
}

/// The answer of one server, over any of its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// Who said it.
    pub server: Server,
    /// The address that gave this answer; `None` when none did.
    pub address: Option<SocketAddr>,
    /// What it said.
    pub answer: Answer,
}

/// Who was asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Server {
    /// A server of the zone, by its name in the zone's NS records.
    Authoritative(Domain),
    /// A configured name server, which asks for us and may remember: what counts where the zone's servers cannot be asked.
    Resolver(SocketAddr),
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

/// What one server shows at the end of the aliases, held against what is expected there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Showing<'a> {
    /// The name it was asked for: the one at the end of the aliases.
    pub name: &'a Domain,
    /// Who was asked, and what it said.
    pub sighting: &'a Sighting,
    /// What that comes to.
    pub shown: Shown,
}

/// An answer held against what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// Exactly what is expected.
    Expected,
    /// Nothing, with authority.
    Absent,
    /// Something else, with authority: in what it differs.
    Other(String),
    /// It proves nothing: why.
    Unclear(String),
}

impl Observation {
    /// What each server shows, held against what is expected: `is_expected` is given the records of one answer, at least one, and says
    /// in what they differ.
    ///
    /// An alias that was followed shows what its target's servers show, and is left out. One that was not (a loop, too long a chain)
    /// is unclear.
    pub fn shown(&self, is_expected: impl Fn(&[Data]) -> Result<(), String>) -> Vec<Showing<'_>> {
        let mut showings = Vec::new();
        for hop in &self.hops {
            for sighting in &hop.sightings {
                let shown = match &sighting.answer {
                    Answer::Alias { target, .. } if self.is_followed(target, &hop.name) => continue,
                    Answer::Alias { target, .. } => Shown::Unclear(format!("{} is an alias of {target}, which leads nowhere", hop.name)),
                    Answer::Records { data, .. } => is_expected(data).map_or_else(Shown::Other, |()| Shown::Expected),
                    Answer::Nothing { .. } => Shown::Absent,
                    Answer::NotAuthoritative => Shown::Unclear("its answer is without authority (no AA)".to_owned()),
                    Answer::Refused(why) | Answer::Silent(why) => Shown::Unclear(why.clone()),
                };
                showings.push(Showing { name: &hop.name, sighting, shown });
            }
        }
        showings
    }

    /// Whether an alias leads on: its target was looked at, and no chain leads from there back to the alias.
    fn is_followed(&self, target: &Domain, alias: &Domain) -> bool {
        let mut reached = vec![target];
        let mut next = 0;
        while let Some(name) = reached.get(next).copied() {
            for hop in self.hops.iter().filter(|hop| hop.name == *name) {
                reached.extend(hop.aliases().filter(|further| !reached.contains(further)).collect::<Vec<_>>());
            }
            next += 1;
        }
        !reached.contains(&alias) && self.hops.iter().any(|hop| hop.name == *target)
    }

    /// How long receivers may remember that there is nothing: the longest of all hops.
    #[must_use]
    pub fn negative_ttl(&self) -> Duration {
        self.hops.iter().map(|hop| hop.negative_ttl).max().unwrap_or_default()
    }

    /// How long receivers may remember what they saw: the shortest TTL of the records and aliases. None where nothing was seen.
    #[must_use]
    pub fn ttl(&self) -> Option<Duration> {
        let answers = self.hops.iter().flat_map(|hop| &hop.sightings).map(|sighting| &sighting.answer);
        answers.filter_map(|answer| if let Answer::Records { ttl, .. } | Answer::Alias { ttl, .. } = answer { Some(*ttl) } else { None }).min()
    }
}

impl Hop {
    /// The names that servers tell this one to be an alias of.
    pub fn aliases(&self) -> impl Iterator<Item = &Domain> {
        self.sightings.iter().filter_map(|sighting| if let Answer::Alias { target, .. } = &sighting.answer { Some(target) } else { None })
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Authoritative(name) => name.fmt(f),
            Self::Resolver(address) => write!(f, "resolver {address}"),
        }
    }
}

impl From<Domain> for Server {
    fn from(name: Domain) -> Self {
        Self::Authoritative(name)
    }
}

impl Answer {
    /// Whether it proves anything: an authoritative yes or no.
    #[must_use]
    pub const fn is_evidence(&self) -> bool {
        matches!(self, Self::Records { .. } | Self::Alias { .. } | Self::Nothing { .. })
    }
}
