//! `[listeners]`: where clients connect, and the bounds of a session.

use super::super::knob::Octets;
use super::super::reader::Reader;
use crate::mail::Domain;
use crate::smtp::line::BareLf;
use crate::smtp::settings::{Settings, StartTls, Timeouts};
use ipnet::IpNet;
use std::net::SocketAddr;
use std::time::Duration;

/// One listener.
#[derive(Debug, Clone)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Where it listens; port 0 takes a free one.
    pub address: SocketAddr,
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    None,
    StartTls,
    StartTlsRequired,
    Implicit,
}

/// `has_certificate`: there is TLS at all. The SASL mechanisms are filled in when users are known.
pub fn listeners(root: &Reader<'_>, hostname: &Domain, has_certificate: bool) -> Vec<Listener> {
    let mut read = Vec::new();
    for (name, table) in root.tables("listeners") {
        let tls = table.one_of(
            "tls",
            &[("none", Tls::None), ("starttls", Tls::StartTls), ("starttls-required", Tls::StartTlsRequired), ("implicit", Tls::Implicit)],
            Tls::StartTls,
            "starttls",
        );
        if tls != Tls::None && !has_certificate {
            table.fault("tls", "TLS, but there is no certificate", "a table [tls.certificates.NAME] with chain and key, or tls = \"none\"");
        }
        let proxied = table.value("proxy_protocol", false);
        let proxies = table.value::<Vec<IpNet>>("proxies", Vec::new());
        if proxied && proxies.is_empty() {
            table.fault("proxies", "empty, though proxy_protocol is true", "the networks that proxies connect from");
        }
        if !proxied && !proxies.is_empty() {
            table.fault("proxies", "set, though proxy_protocol is false", "proxy_protocol = true, or no proxies");
        }
        let dialogue = dialogue(&table, hostname, tls);
        let standard = (table.value("connections_max", 1000), table.value("connections_per_client_max", 100));
        let timeouts = (table.value("handshake_timeout", Duration::from_secs(30)), table.value("write_timeout", Duration::from_secs(60)));
        let purpose = table.one_of("purpose", &[("submission", ())], (), "submission");
        let () = purpose;
        let Some(address) = table.required::<SocketAddr>("address") else { continue };
        read.push(Listener {
            name,
            address,
            implicit_tls: tls == Tls::Implicit,
            proxies: proxied.then_some(proxies),
            connections_max: standard.0,
            connections_per_client_max: standard.1,
            handshake_timeout: timeouts.0,
            write_timeout: timeouts.1,
            dialogue,
        });
    }
    if read.is_empty() && !root.has("listeners") {
        root.fault("listeners", "missing", "at least one table [listeners.NAME]; nobody could connect otherwise");
    }
    read
}

fn dialogue(table: &Reader<'_>, hostname: &Domain, tls: Tls) -> Settings {
    let standard = Settings::default();
    Settings {
        hostname: hostname.to_string(),
        starttls: match tls {
            Tls::None | Tls::Implicit => StartTls::Unavailable,
            Tls::StartTls => StartTls::Offered,
            Tls::StartTlsRequired => StartTls::Required,
        },
        sasl_mechanisms: Vec::new(),
        auth_without_tls: table.value("auth_without_tls", standard.auth_without_tls),
        bare_lf: table.one_of("bare_lf", &[("reject", BareLf::Reject), ("repair", BareLf::Repair)], BareLf::Reject, "reject"),
        command_octets_max: table.value("command_octets_max", standard.command_octets_max),
        message_octets_max: table.value("message_octets_max", Octets(standard.message_octets_max)).0,
        line_octets_max: super::how::octets(table, "line_octets_max", standard.line_octets_max),
        recipients_max: table.value("recipients_max", standard.recipients_max),
        mails_max: table.optional("mails_max"),
        errors_max: table.value("errors_max", standard.errors_max),
        refusals_max: table.value("refusals_max", standard.refusals_max),
        idle_commands_max: table.value("idle_commands_max", standard.idle_commands_max),
        auth_attempts_max: table.value("auth_attempts_max", standard.auth_attempts_max),
        timeouts: Timeouts {
            idle: table.value("idle_timeout", standard.timeouts.idle),
            command: table.value("command_timeout", standard.timeouts.command),
            data_block: table.value("data_timeout", standard.timeouts.data_block),
            message: table.value("message_timeout", standard.timeouts.message),
        },
    }
}
