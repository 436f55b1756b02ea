//! What an operator may say about delivery.

use super::provider::{Limits, Providers};
use super::route::RouteRules;
use super::schedule::Schedule;
use super::target::{Credentials, Timeouts};
use super::throttle::Rate;
use super::tls::TlsDemand;
use super::tls_policy::TlsRules;
use crate::mail::{IdentityName, RouteName, Stream};
use crate::reasons::Table;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// The settings of the station *deliver*. Replaced as a whole by a reload.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Who we are, unless a pool says otherwise.
    pub source: Source,
    /// Who we are for the mail of some streams by MX: routes `mx:POOL`.
    pub pools: BTreeMap<String, Source>,
    /// Routes by MX.
    pub routes: RouteRules,
    /// Smart hosts by the names of their routes.
    pub smart_hosts: BTreeMap<RouteName, Arc<SmartHost>>,
    /// Limits by provider.
    pub providers: Providers,
    /// What replies mean.
    pub reasons: Arc<Table>,
    /// Which failures take an address off those that are written to.
    pub suppression: crate::mail::suppression::Rules,
    /// TLS demands by recipient domain.
    pub tls: TlsRules,
    /// Retries of every stream that has none of its own.
    pub schedule: Schedule,
    /// Retries of single streams.
    pub stream_schedules: BTreeMap<Stream, Schedule>,
    /// How many recipients of an identity's mail are attempted in what time; the rest waits.
    pub identity_rates: BTreeMap<IdentityName, Rate>,
    /// How long returned mail that nobody takes is kept for a person.
    pub returned_kept_for: Duration,
    /// How many transactions of an identity's messages are begun in what time.
    pub identity_message_rates: BTreeMap<IdentityName, Rate>,
    /// How many recipients of a stream's mail are attempted in what time.
    pub stream_rates: BTreeMap<Stream, Rate>,
    /// Times of each stage of a session.
    pub timeouts: Timeouts,
    /// Send by BDAT where CHUNKING is offered.
    pub bdat: bool,
    /// How long a lease lasts; renewed when a quarter of it has passed.
    pub lease: Duration,
    /// How much longer than the wait for the last reply (`timeouts.data_done`) a lease must still hold when a final dot is sent.
    pub lease_margin: Duration,
    /// Queues worked on at a time.
    pub queues_max: usize,
    /// Recipients leased at a time for one queue.
    pub claim_recipients_max: usize,
    /// Sessions begun for one message in one attempt, where one after the other breaks.
    pub sessions_max: usize,
    /// How long an idle connection is kept for other mail to the same host.
    pub idle: Duration,
    /// Idle connections kept in all.
    pub idle_connections_max: usize,
}

/// Who we are towards next hops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// The name given in EHLO: the name that our address has in reverse DNS.
    pub ehlo_name: String,
    /// The address to connect from over IPv4; `None`: the system chooses.
    pub v4: Option<Ipv4Addr>,
    /// The same over IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Default for Source {
    fn default() -> Self {
        Self { ehlo_name: "localhost".to_owned(), v4: None, v6: None }
    }
}

/// A next hop that takes everything of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmartHost {
    /// Tried in this order.
    pub hosts: Vec<HostPort>,
    /// What is demanded of TLS.
    pub tls: TlsDemand,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    /// It speaks LMTP (RFC 2033): the agent that puts mail into mailboxes.
    pub lmtp: bool,
    /// Who we are there.
    pub auth: Option<Credentials>,
    /// It copes with an Ed25519 signature, and so do those behind it.
    pub ed25519: bool,
    /// What it allows.
    pub limits: Arc<Limits>,
}

/// A host name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// A name whose addresses are looked up, or an address.
    pub host: String,
    /// 25, 465, 587 …
    pub port: u16,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            source: Source::default(),
            pools: BTreeMap::new(),
            routes: RouteRules::default(),
            smart_hosts: BTreeMap::new(),
            providers: Providers::default(),
            reasons: Arc::default(),
            suppression: crate::mail::suppression::Rules::default(),
            tls: TlsRules::default(),
            schedule: Schedule::default(),
            stream_schedules: BTreeMap::new(),
            identity_rates: BTreeMap::new(),
            returned_kept_for: Duration::from_hours(14 * 24),
            identity_message_rates: BTreeMap::new(),
            stream_rates: BTreeMap::new(),
            timeouts: Timeouts::default(),
            bdat: true,
            lease: Duration::from_mins(20),
            lease_margin: Duration::from_mins(1),
            queues_max: 500,
            claim_recipients_max: 200,
            sessions_max: 3,
            idle: Duration::from_secs(5),
            idle_connections_max: 1000,
        }
    }
}

impl Settings {
    /// The retries of a stream.
    #[must_use]
    pub fn schedule(&self, stream: &Stream) -> &Schedule {
        self.stream_schedules.get(stream).unwrap_or(&self.schedule)
    }

    /// The shortest lease under which a final dot may be sent: its reply is waited for this long, and then the ending is to be written.
    #[must_use]
    pub fn lease_needed(&self) -> Duration {
        self.timeouts.data_done + self.lease_margin
    }

    /// What cannot work, in words for an operator; empty when all is well.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        if self.lease * 3 / 4 <= self.lease_needed() {
            let (lease, needed) = (self.lease.as_secs(), self.lease_needed().as_secs());
            faults.push(format!("a lease of {lease} s is too short for a final dot that may need {needed} s; expected more than {} s", needed * 4 / 3));
        }
        for (name, smart_host) in &self.smart_hosts {
            if name.as_str() == crate::spool::Queue::MX {
                faults.push("a smart host cannot be named \"mx\": that is the route by MX records".to_owned());
            }
            if name.as_str().contains('/') {
                faults.push(format!("the smart host \"{name}\" has a \"/\" in its name; expected a plain word"));
            }
            if smart_host.hosts.is_empty() {
                faults.push(format!("the smart host \"{name}\" has no host"));
            }
        }
        faults
    }
}

impl SmartHost {
    /// One host that demands TLS and nothing else.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            hosts: vec![HostPort { host: host.to_owned(), port }],
            tls: TlsDemand::Required,
            implicit_tls: port == 465,
            lmtp: false,
            auth: None,
            ed25519: false,
            limits: Arc::new(Limits::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_found_on_both_sides_of_their_bounds() {
        assert_eq!(Settings::default().faults(), Vec::<String>::new());
        let settings = |lease| Settings { lease: Duration::from_secs(lease), ..Settings::default() };
        assert_eq!(settings(880).faults().len(), 1); // three quarters are 660 s, just what is needed
        assert_eq!(settings(882).faults().len(), 0);
        let mut named = Settings::default();
        named.smart_hosts.insert(RouteName::new("mx"), Arc::new(SmartHost::new("a.example", 587)));
        named.smart_hosts.insert(RouteName::new("a/b"), Arc::new(SmartHost { hosts: Vec::new(), ..SmartHost::new("a.example", 587) }));
        assert_eq!(named.faults().len(), 3, "{:?}", named.faults());
    }
}
