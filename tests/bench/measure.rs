//! One measurement: a system, a load, a sink, and what was seen of them.

use crate::account::Watched;
use crate::load::{self, Load, Submitted};
use crate::message::{DOMAIN, Letters, recipient_domain};
use crate::name_server::Dns;
use crate::sink::Sink;
use crate::systems::{Around, SELECTOR, System};
use anyhow::{Context, bail};
use postseal::clock;
use postseal::keys::{Algorithm, PrivateKey, Record};
use postseal::mail::{Domain, Headers};
use postseal::seal::verified;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is asked of a system.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// Its name in the report.
    pub name: &'static str,
    /// Messages in all.
    pub messages: u64,
    /// Octets of each.
    pub octets: usize,
    /// Sessions at a time.
    pub sessions: usize,
    /// The sink offers STARTTLS.
    pub tls: bool,
    /// Messages a second, where the loop is open.
    pub per_second: Option<u32>,
    /// Recipient domains.
    pub domains: usize,
    /// Mail goes by MX records, each domain to a host of its own.
    pub by_mx: bool,
    /// Calls of fsync are counted.
    pub traced: bool,
}

impl Cell {
    /// The cell that others are told by: 10 KiB, 10 sessions, STARTTLS, a smart host.
    pub const fn plain(name: &'static str, messages: u64) -> Self {
        Self { name, messages, octets: 10 << 10, sessions: 10, tls: true, per_second: None, domains: 1, by_mx: false, traced: false }
    }
}

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Messages accepted in a second.
    pub accept_rate: f64,
    /// Messages in a second until the sink had the last.
    pub through_rate: f64,
    /// Seconds of processor time for a thousand messages.
    pub cpu: f64,
    /// From the last octet of a message to its 250, in milliseconds: half were faster.
    pub median: f64,
    /// The same: one in a hundred was slower.
    pub p99: f64,
    /// Memory at its peak, in MB.
    pub memory: f64,
    /// Calls of fsync for a message.
    pub fsyncs: Option<f64>,
    /// Kilobytes written for a message.
    pub written: f64,
    /// Connections to the sink.
    pub connections: f64,
}

/// Where measurements are made, and with what.
pub struct Place {
    folder: PathBuf,
    program: PathBuf,
    key: PrivateKey,
}

impl Place {
    /// Makes a key.
    pub fn new(folder: &Path, program: &Path) -> anyhow::Result<Self> {
        let key = PrivateKey::generate(Algorithm::Rsa).map_err(|fault| anyhow::anyhow!("no key: {fault}"))?;
        Ok(Self { folder: folder.to_owned(), program: program.to_owned(), key })
    }

    /// The key that all systems sign with.
    pub const fn key(&self) -> &PrivateKey {
        &self.key
    }

    /// Starts the system, loads it, looks at all that came, stops it.
    ///
    /// # Errors
    /// A message was lost, came twice, or came unsigned: then no figure counts.
    pub async fn measure(&self, system: System, cell: &Cell) -> anyhow::Result<Seen> {
        let sink = Sink::start(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), cell.tls, (cell.messages / SAMPLES).max(1))?;
        let dns = if cell.by_mx { Some(Dns::serve(&zone(cell.domains)).await) } else { None };
        let around = Around {
            folder: self.folder.clone(),
            program: self.program.clone(),
            key: self.key.clone(),
            sink: sink.address(),
            tls: cell.tls,
            dns: dns.as_ref().map(Dns::address),
            traced: cell.traced,
        };
        let running = system.start(&around)?;
        let letters = Arc::new(Letters::new(cell.octets, cell.domains));
        let all = Load { relay: running.address, sessions: cell.sessions, messages: cell.messages, first: 0, per_second: cell.per_second };
        let warm = Load { sessions: cell.sessions.min(10), messages: WARM_UP, first: cell.messages, per_second: None, ..all };

        let warmed = load::submit(warm, Arc::clone(&letters)).await;
        if !warmed.faults.is_empty() || !sink.until(warmed.sent.len()).await {
            bail!("{system} did not warm up: {}", warmed.faults.first().map_or("not all messages reached the sink", String::as_str));
        }
        tokio::time::sleep(SETTLE).await;
        let connections = sink.seen().connections;
        let (cpu, written, fsyncs) = (running.group.cpu(), running.group.octets_written(), running.fsyncs());
        let watched = Watched::begin(Arc::clone(&running.group));

        let began = Instant::now();
        let submitted = load::submit(all, letters).await;
        let is_whole = sink.until(warmed.sent.len() + submitted.sent.len()).await;
        tokio::time::sleep(SETTLE).await; // what is written after the sink's last reply counts as well
        let counted = cell.messages as f64;
        let cpu = running.group.cpu().saturating_sub(cpu).as_secs_f64() / counted * 1000.0;
        let written = (running.group.octets_written() - written) as f64 / counted / 1024.0;
        let fsyncs = running.fsyncs().zip(fsyncs).map(|(after, before)| (after - before) as f64 / counted);
        let memory = watched.peak() as f64 / 1e6;
        drop(watched);
        drop(running);

        let seen = sink.seen();
        self.look_at(system, cell, &submitted, &seen, is_whole)?;
        let last_accepted = submitted.sent.iter().map(|sent| sent.accepted).max().unwrap_or(began);
        let last_arrived = submitted.sent.iter().filter_map(|sent| seen.arrivals.get(&sent.number)).max().copied().unwrap_or(began);
        let mut waits: Vec<Duration> = submitted.sent.iter().map(|sent| sent.accepted - sent.ended).collect();
        waits.sort_unstable();
        Ok(Seen {
            accept_rate: counted / (last_accepted - began).as_secs_f64(),
            through_rate: counted / (last_arrived - began).as_secs_f64(),
            cpu,
            median: at_share(&waits, 50),
            p99: at_share(&waits, 99),
            memory,
            fsyncs,
            written,
            connections: (seen.connections - connections) as f64,
        })
    }

    /// Nothing lost, nothing twice, TLS where it was offered, and signatures that verify.
    fn look_at(&self, system: System, cell: &Cell, submitted: &Submitted, seen: &crate::sink::Seen, is_whole: bool) -> anyhow::Result<()> {
        if let Some(fault) = submitted.faults.first() {
            bail!("{system}, {}: {} messages were not accepted, the first: {fault}", cell.name, submitted.faults.len());
        }
        if !is_whole || seen.duplicates > 0 {
            let missing = submitted.sent.iter().filter(|sent| !seen.arrivals.contains_key(&sent.number)).count();
            bail!("{system}, {}: {missing} messages did not reach the sink, {} came twice", cell.name, seen.duplicates);
        }
        if cell.tls && seen.encrypted != seen.arrivals.len() as u64 {
            bail!("{system}, {}: only {} of {} messages came under TLS", cell.name, seen.encrypted, seen.arrivals.len());
        }
        let (wants_arc, mut keys) = (matches!(system, System::Postseal { arc: true } | System::Rspamd { arc: true }), std::collections::HashMap::new());
        let name: Domain = format!("{SELECTOR}._domainkey.{DOMAIN}").parse()?;
        keys.insert(name, Ok(vec![Record::of(self.key.public().clone()).to_string()]));
        for sample in &seen.samples {
            let headers = Headers::parse(sample).context("the header of a message at the sink")?;
            let found = verified::verified(sample, &headers, &keys, clock::now(), 10);
            let is_signed = found.dkim.len() == 1 && found.dkim.iter().all(|(_, outcome)| outcome.is_ok());
            let is_sealed = found.chain.status == postseal::seal::arc::ChainStatus::Pass;
            if !is_signed || is_sealed != wants_arc {
                bail!("{system}, {}: a message at the sink has signatures that do not verify: {:?}, chain {:?}", cell.name, found.dkim, found.chain.status);
            }
        }
        Ok(())
    }
}

/// Milliseconds below which so many in a hundred lie.
fn at_share(sorted: &[Duration], percent: usize) -> f64 {
    sorted.get((sorted.len().max(1) - 1) * percent / 100).map_or(0.0, |wait| wait.as_secs_f64() * 1000.0)
}

/// Every recipient domain has an MX host of its own, and all hosts one address.
fn zone(domains: usize) -> String {
    let of = |number| {
        let domain = recipient_domain(number);
        format!("{domain} MX 10 mx.{domain}\nmx.{domain} A 127.0.0.1\n")
    };
    (0..domains as u64).map(of).collect()
}

/// Messages before those that count.
const WARM_UP: u64 = 200;
/// How long a system may take to tidy up.
const SETTLE: Duration = Duration::from_millis(500);
/// Messages of a measurement whose signatures are verified, about.
const SAMPLES: u64 = 12;
