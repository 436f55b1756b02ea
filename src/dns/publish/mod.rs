//! Writing records into a zone: what is to change, who changes it, and what can stand in the way.
//!
//! ```text
//! wanted records ─▶ look (what the zone's primary says now) ─▶ plan (pure) ─▶ Change, shown ─▶ publish ─▶ look again
//! ```
//!
//! A [`Change`] names what was there when it was planned. A publisher that can make that a condition (RFC 2136 §2.4) does: where
//! somebody else was quicker, nothing is written and the fault is [`PublishFault::Changed`]. What is replaced is taken away and put
//! in by one message, so there is no moment without a record.

pub mod manual;
pub mod plan;
pub mod provider;
pub mod rfc2136;
pub mod tsig;
mod update;

use super::resolver::{DnsFault, Resolver};
use super::resource::{Data, Kind, Owner};
use crate::mail::{Domain, Timestamp};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

/// Writes records into the zones it can write.
pub trait Publish: Send + Sync {
    /// The zone that a name lies in, of those that this publisher writes.
    ///
    /// # Errors
    /// [`PublishFault::NoZone`] where the name is in none of them; else as the fault says.
    fn zone_of(&self, name: &Domain) -> impl Future<Output = Result<Domain, PublishFault>> + Send;

    /// What stands at a name now, asked of the server or service that would be written to.
    ///
    /// # Errors
    /// As the fault says.
    fn look(&self, owner: &Owner, kind: Kind) -> impl Future<Output = Result<Seen, PublishFault>> + Send;

    /// Makes a change, whole or not at all where the publisher can promise it. A change that is made already is no fault.
    ///
    /// # Errors
    /// As the fault says; [`PublishFault::Changed`] when the records are no longer what the change took them for.
    fn publish(&self, change: &Change) -> impl Future<Output = Result<Done, PublishFault>> + Send;
}

/// What stands at a name, of one type.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// The records; empty when there are none.
    pub data: Vec<Data>,
    /// Their TTL, where there are some and it was told.
    pub ttl: Option<Duration>,
    /// The name is an alias of this one: records of other types cannot stand beside a CNAME (RFC 1034 §3.6.2).
    pub alias: Option<Domain>,
}

/// Edits of one zone, made together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// The zone; `None` has the publisher find it out.
    pub zone: Option<Domain>,
    /// Each of another name or type.
    pub edits: Vec<Edit>,
}

/// What becomes of the records of one type at one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// Where they stand.
    pub owner: Owner,
    /// Their type.
    pub kind: Kind,
    /// TTL of what is put in.
    pub ttl: Duration,
    /// All that was there when this was planned.
    pub before: Vec<Data>,
    /// All that is to be there afterwards; what of `before` is in it stays untouched. Empty: no record of the type.
    pub after: Vec<Data>,
}

/// What became of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Done {
    /// The server took it, and shows it.
    Made,
    /// Nothing was to be done.
    Already,
    /// Somebody has to make it: see [`manual::instructions`].
    ByHand,
}

/// How one publisher works: a table `[publishers.NAME]`.
#[derive(Debug, Clone)]
pub struct Settings {
    /// NAME.
    pub name: String,
    /// TTL of the records it writes; `None`: that of `[dns]`.
    pub ttl: Option<Duration>,
    /// How it writes.
    pub way: Way,
}

/// The ways of publishing.
#[derive(Debug, Clone)]
pub enum Way {
    /// Somebody pastes what is printed.
    Manual,
    /// Dynamic update with TSIG.
    Rfc2136(rfc2136::Settings),
    /// A provider's API.
    #[cfg(feature = "dns-providers")]
    Provider(provider::Settings),
}

/// Any of them.
pub enum Publisher {
    /// See [`manual`].
    Manual(manual::Manual),
    /// See [`rfc2136`].
    Rfc2136(rfc2136::Rfc2136),
    /// See [`provider`].
    #[cfg(feature = "dns-providers")]
    Provider(provider::Provider),
}

/// Why a record was not written. Each says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishFault {
    /// No connection.
    #[error("{server} cannot be reached: {why}; is it the zone's primary, does it run, and may this host reach its port over {transport}?")]
    Unreachable {
        /// The server.
        server: String,
        /// `TCP` or `UDP`.
        transport: &'static str,
        /// In the system's words.
        why: String,
    },
    /// Connected, or sent, and no answer.
    #[error("{server} did not answer within {} s; whether it made the change is not known: look before trying again", wait.as_secs_f32())]
    Silent {
        /// The server.
        server: String,
        /// How long it had.
        wait: Duration,
    },
    /// The server's name has no address, or cannot be asked for.
    #[error("the name {server} of the server to publish to leads nowhere: {why}")]
    NoServer {
        /// As configured.
        server: String,
        /// Why.
        why: String,
    },
    /// TSIG BADKEY (RFC 8945 §5.2.1).
    #[error("{server} does not know the key \"{key}\" for {algorithm}; compare tsig_name and tsig_algorithm with the key statement of its configuration")]
    UnknownKey {
        /// The server.
        server: String,
        /// The key's name.
        key: String,
        /// Its algorithm.
        algorithm: String,
    },
    /// TSIG BADSIG (RFC 8945 §5.2.2).
    #[error("{server} knows the key \"{key}\", but with another secret; copy the secret of its key statement into tsig_secret_file again")]
    WrongSecret {
        /// The server.
        server: String,
        /// The key's name.
        key: String,
    },
    /// TSIG BADTIME (RFC 8945 §5.2.3).
    #[error("the clock of {server} {}; TSIG allows {} s: set both clocks (NTP)", skew_text(*ours, *theirs), tsig::FUDGE.as_secs())]
    WrongTime {
        /// The server.
        server: String,
        /// Our time.
        ours: Timestamp,
        /// The server's, if it told.
        theirs: Option<Timestamp>,
    },
    /// REFUSED.
    #[error(
        "{server} refuses to let key \"{key}\" {what}; in BIND, the zone's update-policy must allow it, as in `update-policy {{ grant {key} zonesub ANY; }};`, and a secondary takes no updates"
    )]
    Refused {
        /// The server.
        server: String,
        /// The key's name.
        key: String,
        /// What it was asked to do.
        what: String,
    },
    /// NOTAUTH without a TSIG error, or an answer without authority.
    #[error("{server} is not the primary of the zone {zone}; publish to the server that its SOA record names, or correct the zone")]
    NotAuthoritative {
        /// The server.
        server: String,
        /// The zone.
        zone: Domain,
    },
    /// The name is in none of the zones that the publisher writes.
    #[error("{name} is in no zone of {server}: {why}")]
    NoZone {
        /// The name.
        name: Domain,
        /// The server, or service.
        server: String,
        /// How that was seen.
        why: String,
    },
    /// NOTZONE.
    #[error("{name} does not lie in the zone {zone}; correct the zone")]
    NotZone {
        /// The name.
        name: Owner,
        /// The zone.
        zone: Domain,
    },
    /// A condition did not hold: YXRRSET, NXRRSET and their like.
    #[error("the {kind} records of {name} are no longer what they were when the change was planned; nothing was written: look again")]
    Changed {
        /// The name.
        name: Owner,
        /// The type.
        kind: Kind,
    },
    /// A CNAME stands where other records should.
    #[error("{name} is an alias (CNAME) of {target}, and no {kind} record can stand beside it; remove the CNAME, or set dkim_target if it is a delegation")]
    Alias {
        /// The name.
        name: Owner,
        /// What it is an alias of.
        target: Domain,
        /// The type that was to be written.
        kind: Kind,
    },
    /// The server said yes and did something else.
    #[error("{server} accepted the change, but does not show the {kind} record of {name}; {why}")]
    NotShown {
        /// The server.
        server: String,
        /// The name.
        name: Owner,
        /// The type.
        kind: Kind,
        /// What may be the cause.
        why: String,
    },
    /// Any other code.
    #[error("{server} answered {code}; {advice}")]
    Failed {
        /// The server.
        server: String,
        /// As the registry of RCODEs has it.
        code: String,
        /// What to do.
        advice: &'static str,
    },
    /// An answer that is no answer, or not of who has the secret.
    #[error("the answer of {server} cannot be believed: {why}; somebody in between may have changed it")]
    Unbelievable {
        /// The server.
        server: String,
        /// Why.
        why: String,
    },
    /// A service does not know our token.
    #[error("{service} refuses the token; make a new one that may edit the zone's records, and put it into api_token_file")]
    BadToken {
        /// The service.
        service: String,
    },
    /// Anything else that a service says.
    #[error("{service} did not do it: {why}")]
    Service {
        /// The service.
        service: String,
        /// In the library's words.
        why: String,
    },
    /// The DNS could not be asked.
    #[error("what stands there now is unknown: {0}")]
    Dns(#[from] DnsFault),
    /// A record that cannot be put on the wire.
    #[error("the change cannot be written down: {0}")]
    Message(String),
}

impl Publisher {
    /// A publisher by its settings. Asks nobody yet.
    #[must_use]
    pub fn new(settings: &Settings, resolver: Arc<Resolver>) -> Self {
        match &settings.way {
            Way::Manual => Self::Manual(manual::Manual::new(resolver)),
            Way::Rfc2136(settings) => Self::Rfc2136(rfc2136::Rfc2136::new(settings.clone(), resolver)),
            #[cfg(feature = "dns-providers")]
            Way::Provider(settings) => Self::Provider(provider::Provider::new(settings.clone(), resolver)),
        }
    }

    /// Whether somebody has to do the writing.
    #[must_use]
    pub const fn is_manual(&self) -> bool {
        matches!(self, Self::Manual(_))
    }

    /// Makes one name say exactly this in records of one type, whatever was there; none at all when `wanted` is empty. For names that
    /// are ours alone: the selectors of our keys.
    ///
    /// # Errors
    /// As [`Publish::look`] and [`Publish::publish`]; [`PublishFault::Alias`] where the name is an alias.
    pub async fn put(&self, name: &Domain, kind: Kind, wanted: Vec<Data>, ttl: Duration) -> Result<Done, PublishFault> {
        let owner = Owner::from(name.clone());
        let seen = self.look(&owner, kind).await?;
        let edit = Edit { owner, kind, ttl, before: seen.data, after: wanted };
        if edit.is_nothing() {
            return Ok(Done::Already);
        }
        if let Some(target) = seen.alias.filter(|_| kind != Kind::Cname) {
            return Err(PublishFault::Alias { name: edit.owner, target, kind });
        }
        self.publish(&Change { zone: None, edits: vec![edit] }).await
    }
}

impl Publish for Publisher {
    async fn zone_of(&self, name: &Domain) -> Result<Domain, PublishFault> {
        match self {
            Self::Manual(publisher) => publisher.zone_of(name).await,
            Self::Rfc2136(publisher) => publisher.zone_of(name).await,
            #[cfg(feature = "dns-providers")]
            Self::Provider(publisher) => publisher.zone_of(name).await,
        }
    }

    async fn look(&self, owner: &Owner, kind: Kind) -> Result<Seen, PublishFault> {
        match self {
            Self::Manual(publisher) => publisher.look(owner, kind).await,
            Self::Rfc2136(publisher) => publisher.look(owner, kind).await,
            #[cfg(feature = "dns-providers")]
            Self::Provider(publisher) => publisher.look(owner, kind).await,
        }
    }

    async fn publish(&self, change: &Change) -> Result<Done, PublishFault> {
        match self {
            Self::Manual(publisher) => publisher.publish(change).await,
            Self::Rfc2136(publisher) => publisher.publish(change).await,
            #[cfg(feature = "dns-providers")]
            Self::Provider(publisher) => publisher.publish(change).await,
        }
    }
}

impl Edit {
    /// What is put in.
    pub fn added(&self) -> impl Iterator<Item = &Data> {
        self.after.iter().filter(|data| !self.before.contains(data))
    }

    /// What is taken away.
    pub fn removed(&self) -> impl Iterator<Item = &Data> {
        self.before.iter().filter(|data| !self.after.contains(data))
    }

    /// What stays.
    pub fn kept(&self) -> impl Iterator<Item = &Data> {
        self.before.iter().filter(|data| self.after.contains(data))
    }

    /// Everything is as it should be.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.added().next().is_none() && self.removed().next().is_none()
    }
}

impl Change {
    /// Everything is as it should be.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.edits.iter().all(Edit::is_nothing)
    }
}

/// As a patch shows it: `-` and `+` before a line of zone text; what stays beside it is shown too, with a space.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for edit in self.edits.iter().filter(|edit| !edit.is_nothing()) {
            let ttl = edit.ttl.as_secs();
            for data in edit.kept() {
                writeln!(f, "  {}. {} {}", edit.owner, edit.kind, data.zone_text())?;
            }
            for data in edit.removed() {
                writeln!(f, "- {}. {} {}", edit.owner, edit.kind, data.zone_text())?;
            }
            for data in edit.added() {
                writeln!(f, "+ {}. {ttl} {} {}", edit.owner, edit.kind, data.zone_text())?;
            }
        }
        Ok(())
    }
}

fn skew_text(ours: Timestamp, theirs: Option<Timestamp>) -> String {
    let Some(theirs) = theirs else { return "and ours are too far apart".to_owned() };
    let seconds = theirs.unix_seconds() - ours.unix_seconds();
    format!("is {} s {} ours ({} there, {} here)", seconds.abs(), if seconds < 0 { "behind" } else { "ahead of" }, theirs.to_rfc3339(), ours.to_rfc3339())
}
