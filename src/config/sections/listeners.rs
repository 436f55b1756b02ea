//! `[listeners]`: where clients connect, and the bounds of a session.

use super::super::knob::{Knob, Octets};
use super::super::reader::Reader;
use super::{GIB, KIB, MIB, TIMEOUT, octets};
use crate::mail::Domain;
use crate::smtp::line::BareLf;
use crate::smtp::settings::{Settings, StartTls, Timeouts};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

/// One listener.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
    /// Whom it is for.
    pub purpose: Purpose,
    /// TLS from the first octet.
    pub implicit_tls: bool,
    /// A PROXY header precedes, from these networks only.
    pub proxies: Option<Vec<IpNet>>,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections of one client address (IPv6: of one /64) at a time.
    pub connections_per_client_max: usize,
    /// For a TLS handshake, and for a PROXY header.
    pub handshake_timeout: Duration,
    /// For a write to a client that does not read.
    pub write_timeout: Duration,
    /// The dialogue.
    pub dialogue: Settings,
}

/// Whom a listener is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Applications that send.
    Submission,
    /// Anybody on the internet who sends something back.
    Bounces,
}

impl Listener {
    /// Whether what is sent back comes in here.
    #[must_use]
    pub fn takes_bounces(&self) -> bool {
        self.purpose == Purpose::Bounces
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protection {
    None,
    StartTls,
    StartTlsRequired,
    Implicit,
}

/// `has_certificate`: there is TLS at all. SASL mechanisms and what identities may use are filled in when these are known.
pub fn listeners(root: &Reader<'_>, hostname: &Domain, has_certificate: bool) -> Vec<Listener> {
    let mut read = Vec::new();
    for (name, table) in root.tables("listeners") {
        let faults_before = table.faults_so_far();
        let purpose = table.one_of("purpose", &[("submission", Purpose::Submission), ("bounces", Purpose::Bounces)], Purpose::Submission);
        let tls = table.one_of(
            "tls",
            &[
                ("none", Protection::None),
                ("starttls", Protection::StartTls),
                ("starttls-required", Protection::StartTlsRequired),
                ("implicit", Protection::Implicit),
            ],
            Protection::StartTls,
        );
        if tls != Protection::None && !has_certificate && table.faults_so_far() == faults_before {
            table.fault("tls", "TLS, but there is no certificate", "a table [tls.certificates.NAME] with chain and key, or tls = \"none\"");
        }
        let is_proxied = table.value("proxy_protocol", false);
        let proxies = table.value::<Vec<IpNet>>("proxies", Vec::new());
        if is_proxied && proxies.is_empty() {
            table.fault("proxies", "empty, though proxy_protocol is true", "the networks that proxies connect from");
        }
        if !is_proxied && !proxies.is_empty() {
            table.fault("proxies", "set, though proxy_protocol is false", "proxy_protocol = true, or no proxies");
        }
        let listener = Listener {
            purpose,
            implicit_tls: tls == Protection::Implicit,
            proxies: is_proxied.then_some(proxies),
            connections_max: table.within("connections_max", 1000, 1..=1_000_000),
            connections_per_client_max: table.within("connections_per_client_max", 100, 1..=1_000_000),
            handshake_timeout: table.within("handshake_timeout", Duration::from_secs(30), TIMEOUT),
            write_timeout: table.within("write_timeout", Duration::from_mins(1), TIMEOUT),
            dialogue: dialogue(&table, hostname, tls, purpose),
            address: table.required("address", &SocketAddr::expected()).unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            name,
        };
        read.push(listener);
    }
    root.demand_tables("listeners", "at least one table [listeners.NAME]; nobody could connect otherwise");
    read
}

fn dialogue(table: &Reader<'_>, hostname: &Domain, tls: Protection, purpose: Purpose) -> Settings {
    let standard = Settings::default();
    let is_for_bounces = purpose == Purpose::Bounces;
    if is_for_bounces {
        for (key, why) in
            [("auth_without_tls", "nobody authenticates there"), ("auth_attempts_max", "nobody authenticates there"), ("bare_lf", "what comes back is mended")]
        {
            if table.has(key) {
                table.fault(key, "set, though purpose is \"bounces\"", &format!("no {key}: {why}"));
            }
        }
    }
    let bare_lf = table.one_of("bare_lf", &[("reject", BareLf::Reject), ("repair", BareLf::Repair)], BareLf::Reject);
    Settings {
        hostname: hostname.to_string(),
        starttls: match tls {
            Protection::None | Protection::Implicit => StartTls::Unavailable,
            Protection::StartTls => StartTls::Offered,
            Protection::StartTlsRequired => StartTls::Required,
        },
        sasl_mechanisms: Vec::new(),
        auth_without_tls: table.value("auth_without_tls", standard.auth_without_tls),
        bare_lf: if is_for_bounces { BareLf::Mend } else { bare_lf },
        command_octets_max: octets(table, "command_octets_max", standard.command_octets_max, 512..=64 * KIB),
        message_octets_max: table.within("message_octets_max", Octets(standard.message_octets_max), Octets(KIB)..=Octets(GIB)).0,
        line_octets_max: octets(table, "line_octets_max", standard.line_octets_max, 1000..=64 * MIB),
        recipients_max: table.within("recipients_max", standard.recipients_max, 1..=100_000),
        identities: HashMap::new(),
        mails_max: table.optional_within("mails_max", 1..=1_000_000_000),
        errors_max: table.within("errors_max", standard.errors_max, 1..=1_000_000),
        refusals_max: table.within("refusals_max", standard.refusals_max, 1..=1_000_000),
        idle_commands_max: table.within("idle_commands_max", standard.idle_commands_max, 1..=1_000_000),
        auth_attempts_max: table.within("auth_attempts_max", standard.auth_attempts_max, 1..=1000),
        timeouts: Timeouts {
            idle: table.within("idle_timeout", standard.timeouts.idle, TIMEOUT),
            command: table.within("command_timeout", standard.timeouts.command, TIMEOUT),
            data_block: table.within("data_timeout", standard.timeouts.data_block, TIMEOUT),
            message: table.within("message_timeout", standard.timeouts.message, TIMEOUT),
        },
    }
}
