//! A world with a clock that is told the time, a zone whose servers lag, fall silent and come back, and a queue. It can end a process
//! before or after any act.

use postseal::dns::{Answer, Data, Hop, Kind, Observation, Server, Sighting};
use postseal::keys::Record;
use postseal::keys::lifecycle::{Evidence, Mentions, Sight};
use postseal::mail::{Domain, KeyId, Timestamp};
use postseal::rotation::{Change, World, seen};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

pub struct Simulated {
    pub inner: Mutex<Inner>,
    /// Told when the fuse has burnt down.
    pub killed: tokio::sync::Notify,
}

pub struct Inner {
    pub now: Timestamp,
    pub servers: Vec<NameServer>,
    /// What the publisher wrote, when; the newest last.
    pub written: Vec<(Timestamp, KeyId, Option<String>)>,
    /// Messages that wait, by key.
    pub queued: BTreeMap<String, u64>,
    /// What the publisher says instead of writing.
    pub publisher_fault: Option<String>,
    /// Acts left before the process is killed: at 0 the act is not done, at 1 it is done and never returns.
    pub fuse: Option<u32>,
    /// Acts so far.
    pub acts: u32,
}

pub struct NameServer {
    pub name: &'static str,
    /// How long after the primary it shows a change.
    pub lag: Duration,
    pub down: Vec<(Timestamp, Timestamp)>,
    /// A word of its own, whatever the zone says.
    pub lie: Option<Answer>,
}

pub const NEGATIVE_TTL: Duration = Duration::from_mins(15);

impl Inner {
    /// What a server showed at a time: the text of the record, or none; `Err` when it did not answer.
    pub fn shown(&self, server: &NameServer, key: &KeyId, at: Timestamp) -> Result<Option<String>, ()> {
        if server.down.iter().any(|(from, to)| (*from..*to).contains(&at)) {
            return Err(());
        }
        let at_primary = at - server.lag;
        Ok(self.written.iter().rev().find(|(when, name, _)| name == key && *when <= at_primary).and_then(|(_, _, text)| text.clone()))
    }

    fn answer(&self, server: &NameServer, key: &KeyId) -> Answer {
        if let Some(lie) = &server.lie {
            return lie.clone();
        }
        match self.shown(server, key, self.now) {
            Err(()) => Answer::Silent("timed out".to_owned()),
            Ok(None) => Answer::Nothing { name_exists: false },
            Ok(Some(text)) => Answer::Records { data: vec![Data::Txt(text)], ttl: Duration::from_hours(1) },
        }
    }
}

impl Simulated {
    pub fn new(now: Timestamp, servers: &[(&'static str, Duration)]) -> Self {
        let servers = servers.iter().map(|(name, lag)| NameServer { name, lag: *lag, down: Vec::new(), lie: None }).collect();
        let inner = Inner { now, servers, written: Vec::new(), queued: BTreeMap::new(), publisher_fault: None, fuse: None, acts: 0 };
        Self { inner: Mutex::new(inner), killed: tokio::sync::Notify::new() }
    }

    pub fn with<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.inner.lock().unwrap())
    }

    pub fn pass(&self, time: Duration) {
        self.with(|inner| inner.now = inner.now + time);
    }

    /// An act, and maybe the end of the process before or behind it.
    async fn act<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> T {
        let (done, is_dead) = {
            let mut inner = self.inner.lock().unwrap();
            inner.acts += 1;
            let fuse = inner.fuse;
            inner.fuse = fuse.map(|left| left.saturating_sub(1));
            match fuse {
                Some(0) => (None, true),
                Some(1) => (Some(act(&mut inner)), true),
                _ => (Some(act(&mut inner)), false),
            }
        };
        match done.filter(|_| !is_dead) {
            Some(done) => done,
            None => {
                self.killed.notify_one();
                std::future::pending().await
            }
        }
    }
}

impl World for Simulated {
    fn now(&self) -> Timestamp {
        self.inner.lock().unwrap().now
    }

    async fn look(&self, key: &KeyId, record: &Record, _: Evidence) -> Sight {
        self.act(|inner| {
            let name: Domain = key.to_string().parse().unwrap();
            let sighting = |server: &NameServer| Sighting {
                server: Server::Authoritative(server.name.parse().unwrap()),
                address: None,
                answer: inner.answer(server, key),
            };
            let hop = Hop { name, zone: key.domain.clone(), negative_ttl: NEGATIVE_TTL, sightings: inner.servers.iter().map(sighting).collect() };
            Sight::Seen(seen(&Observation { kind: Kind::Txt, hops: vec![hop] }, record))
        })
        .await
    }

    async fn write(&self, change: &Change) -> Result<String, String> {
        self.act(|inner| {
            if let Some(fault) = &inner.publisher_fault {
                return Err(fault.clone());
            }
            let text = change.record.as_ref().map(ToString::to_string);
            let is_so = inner.written.iter().rev().find(|(_, key, _)| *key == change.key).map(|(_, _, text)| text.clone()) == Some(text.clone());
            if !is_so {
                inner.written.push((inner.now, change.key.clone(), text));
            }
            Ok("by publisher primary".to_owned())
        })
        .await
    }

    async fn mentions(&self, key: &KeyId) -> Mentions {
        self.act(|inner| Mentions::Count(inner.queued.get(&key.to_string()).copied().unwrap_or(0))).await
    }
}
