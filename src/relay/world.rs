//! What rotation needs of the world, as the relay and the command line have it: authoritative servers, publishers, the queue, the clock.

use crate::clock;
use crate::config::Config;
use crate::dns::publish::{Change as Update, Edit, Publish as _, Publisher};
use crate::dns::{Authority, Data, Kind, Owner, Resolver, authority, records};
use crate::keys::lifecycle::{self, Evidence, Mentions, Sight};
use crate::keys::{Algorithm, Record};
use crate::mail::{Domain, KeyId, Timestamp};
use crate::prepare::Snapshot;
use crate::rotation::{Change, DomainPlan, World, seen};
use crate::spool::{Records as _, SpoolError, SqliteSpool};
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The world outside, for the keys of one domain.
pub struct Outside {
    authority: Authority,
    publisher: Option<(String, Publisher)>,
    /// The name below which its key records stand, where its own are aliases.
    dkim_target: Option<Domain>,
    ttl: Duration,
    queue: Queue,
}

/// Where queued messages are counted.
#[derive(Clone)]
pub enum Queue {
    /// In the spool that this process has open, under the keys that sign at the moment.
    Running(Arc<SqliteSpool>, Arc<ArcSwap<Snapshot>>),
    /// In the spool below this directory, if nobody has it open.
    AtRest(PathBuf),
}

/// What a domain of the configuration wants of its keys; `None` for one that is parked or not there.
#[must_use]
pub fn plan(config: &Config, domain: &Domain) -> Option<DomainPlan> {
    let settings = config.domains.get(domain).filter(|settings| !settings.author.parked)?;
    let rotation = &config.rotation;
    let longest = config.streams.values().filter_map(|stream| stream.max_age).chain([config.max_age]).max().unwrap_or_default();
    let in_queue = longest + config.policy.deliver_after_max;
    let ed25519 = settings.ed25519.then_some(Algorithm::Ed25519);
    Some(DomainPlan {
        lifecycle: lifecycle::Settings {
            evidence: settings.rotation.evidence,
            by_hand: config.publisher(domain).is_none_or(|publisher| matches!(publisher.way, crate::dns::publish::Way::Manual)),
            soak_min: rotation.soak_min,
            unreachable_max: rotation.unreachable_max,
            retire_for: rotation.retire_min.max(in_queue).max(config.seal.expires.unwrap_or_default()),
            removal_after: rotation.removal_after,
            check_every: rotation.check_every,
            rotate_every: settings.rotation.rotate_every,
        },
        algorithms: std::iter::once(Algorithm::Rsa).chain(ed25519).collect(),
        selector: rotation.selector.clone(),
    })
}

impl Outside {
    /// That of a domain. Asks nobody yet.
    #[must_use]
    pub fn of(config: &Config, domain: &Domain, resolver: &Arc<Resolver>, queue: Queue) -> Self {
        let publisher = config.publisher(domain).map(|settings| (settings.name.clone(), Publisher::new(settings, resolver.clone())));
        Self {
            authority: Authority::new(resolver.clone(), authority::Settings::of(&config.resolver)),
            publisher,
            dkim_target: config.domains.get(domain).and_then(|settings| settings.publication.dkim_target.clone()),
            ttl: config.record_ttl(domain),
            queue,
        }
    }

    /// Whoever is an alias is not written: its target is, where this publisher can.
    async fn put(&self, publisher: &Publisher, change: &Change) -> Result<bool, String> {
        let mut name = records::key_name(change.key.selector.as_str(), &change.key.domain, self.dkim_target.as_ref())
            .ok_or_else(|| format!("{} is too long for a name in the DNS", change.key))?;
        for _ in 0..ALIASES_MAX {
            let owner = Owner::from(name.clone());
            let seen = publisher.look(&owner, Kind::Txt).await.map_err(|fault| fault.to_string())?;
            if let Some(target) = seen.alias {
                name = target;
                continue;
            }
            if let Some(foreign) = seen.data.iter().find(|data| !is_ours(data, &change.ours)) {
                return Err(format!(
                    "{name} has a record that is not of this key, {}; nothing was changed: see whose it is, and remove it",
                    foreign.zone_text()
                ));
            }
            let after: Vec<Data> = change.record.iter().map(|record| Data::Txt(record.to_string())).collect();
            let edit = Edit { owner, kind: Kind::Txt, ttl: self.ttl, before: seen.data, after };
            if edit.is_nothing() {
                return Ok(false);
            }
            publisher.publish(&Update { zone: None, edits: vec![edit] }).await.map_err(|fault| fault.to_string())?;
            return Ok(true);
        }
        Err(format!("the aliases of {} lead to {name} and on: more than {ALIASES_MAX}", change.key))
    }
}

impl World for Outside {
    fn now(&self) -> Timestamp {
        clock::now()
    }

    async fn look(&self, key: &KeyId, record: &Record, evidence: Evidence) -> Sight {
        let Ok(name) = key.domain.below(&format!("{}._domainkey", key.selector)) else {
            return Sight::Unknown(format!("{key} is too long for a name in the DNS"));
        };
        let observed = match evidence {
            Evidence::Authoritative => self.authority.observe(&name, Kind::Txt).await,
            Evidence::Resolver | Evidence::Manual => Ok(self.authority.observe_by_resolver(&name, Kind::Txt).await),
        };
        match observed {
            Ok(observation) => Sight::Seen(seen(&observation, record)),
            Err(fault) => Sight::Unknown(format!("who the servers of {}'s zone are could not be found out: {fault}", key.domain)),
        }
    }

    async fn write(&self, change: &Change) -> Result<String, String> {
        let Some((name, publisher)) = &self.publisher else { return Err("there is no publisher: the record is to be written by hand".to_owned()) };
        let made = self.put(publisher, change).await?;
        Ok(format!("by publisher {name}{}", if made { "" } else { ", which had it so already" }))
    }

    async fn mentions(&self, key: &KeyId) -> Mentions {
        let counted = match &self.queue {
            Queue::Running(_, snapshot) if signs(&snapshot.load(), key) => {
                return Mentions::Unknown("this relay still signs with it, since the keys could not be read anew".to_owned());
            }
            Queue::Running(spool, _) => spool.mentions(key).await,
            Queue::AtRest(directory) => {
                let (directory, key) = (directory.clone(), key.clone());
                let counted = tokio::task::spawn_blocking(move || SqliteSpool::mentions_at_rest(&directory, &key)).await;
                counted.unwrap_or_else(|error| Err(SpoolError::Failed(error.to_string())))
            }
        };
        match counted {
            Ok(messages) => Mentions::Count(messages),
            Err(SpoolError::Locked(_)) => Mentions::Unknown("the relay that runs has the spool open; it revokes the key itself, in its time".to_owned()),
            Err(error) => Mentions::Unknown(error.to_string()),
        }
    }
}

fn signs(snapshot: &Snapshot, key: &KeyId) -> bool {
    let seal = snapshot.seal.domains.get(&key.domain);
    seal.is_some_and(|seal| seal.rsa.iter().chain(&seal.ed25519).any(|signer| signer.id == *key))
}

fn is_ours(data: &Data, ours: &[Record]) -> bool {
    let Data::Txt(text) = data else { return false };
    Record::parse(text).is_ok_and(|found| ours.iter().any(|ours| ours.public == found.public && ours.algorithm == found.algorithm))
}

/// Aliases of one record that are followed: RFC 1034 §3.6.2 asks for none behind another.
const ALIASES_MAX: usize = 4;
