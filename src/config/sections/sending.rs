//! `[smart_hosts]`, `[deliver]`: where mail goes and how it is sent there.

use super::super::knob::Knob;
use super::super::reader::Reader;
use super::who::{Identities, StreamSettings};
use crate::deliver::provider::{Limits, Providers};
use crate::deliver::route::{AddressPreference, RouteRules};
use crate::deliver::schedule::Schedule;
use crate::deliver::target::{Credentials, Login, Timeouts};
use crate::deliver::throttle::Rate;
use crate::deliver::tls::{Roots, TlsDemand, TlsSettings};
use crate::deliver::tls_policy::TlsRules;
use crate::deliver::{HostPort, Settings, SmartHost};
use crate::mail::{Domain, RouteName, Stream};
use crate::readdress::RewriteReversePath;
use crate::seal::RouteProfile;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What `[smart_hosts]` says to three rooms.
#[derive(Debug, Clone, Default)]
pub struct SmartHosts {
    /// For delivery.
    pub hosts: BTreeMap<RouteName, Arc<SmartHost>>,
    /// For seal.
    pub profiles: HashMap<RouteName, RouteProfile>,
    /// For readdress.
    pub reverse_paths: HashMap<RouteName, RewriteReversePath>,
}

const TLS_DEMANDS: &[(&str, TlsDemand)] =
    &[("none", TlsDemand::None), ("opportunistic", TlsDemand::Opportunistic), ("required", TlsDemand::Required), ("verified", TlsDemand::Verified)];

pub fn smart_hosts(root: &Reader<'_>) -> SmartHosts {
    let mut read = SmartHosts::default();
    for (name, table) in root.tables("smart_hosts") {
        let route = RouteName::new(&name);
        if name == "mx" || name.contains('/') || name.is_empty() {
            table.table_fault(&format!("\"{name}\" cannot name a smart host"), "another name; \"mx\" is the route by MX records, and names hold no \"/\"");
        }
        let implicit_tls = table.value("implicit_tls", false);
        let port = table.value::<u16>("port", 587);
        let more = table.value::<Vec<String>>("fallback_hosts", Vec::new());
        let limits = limits(&table);
        let auth = auth(&table);
        let profile = RouteProfile {
            dkim: table.value("dkim", true),
            arc: table.value("arc", true),
            ed25519: table.value("ed25519", false),
            unsigned: table.value("unsigned_fields", Vec::new()),
        };
        let rewrite = table.one_of("reverse_path", &[("rewrite", RewriteReversePath::Rewrite), ("keep", RewriteReversePath::Keep)], RewriteReversePath::Rewrite, "rewrite");
        let tls = table.one_of("tls", TLS_DEMANDS, TlsDemand::Verified, "verified");
        let Some(host) = table.required::<String>("host") else { continue };
        if host.parse::<IpAddr>().is_err() && host.parse::<Domain>().is_err() {
            table.fault("host", &format!("\"{host}\""), "a host name or an IP address");
        }
        if auth.as_ref().is_some_and(|auth| !auth.in_clear) && matches!(tls, TlsDemand::None | TlsDemand::Opportunistic) && !implicit_tls {
            table.fault("tls", "no TLS is demanded, though there is a password", "\"verified\" or \"required\", or auth_in_clear = true (a lab)");
        }
        let hosts = std::iter::once(host).chain(more).map(|host| HostPort { host, port }).collect();
        read.hosts.insert(route.clone(), Arc::new(SmartHost { hosts, tls, implicit_tls, auth, ed25519: profile.ed25519, limits: Arc::new(limits) }));
        read.profiles.insert(route.clone(), profile);
        read.reverse_paths.insert(route, rewrite);
    }
    read
}

fn limits(table: &Reader<'_>) -> Limits {
    let standard = Limits::default();
    let connections_max = table.value("connections_max", standard.connections_max);
    Limits {
        connections_max,
        host_connections_max: connections_max,
        messages_per_connection_max: table.value("messages_per_connection_max", standard.messages_per_connection_max),
        recipients_per_transaction_max: table.value("recipients_per_transaction_max", standard.recipients_per_transaction_max),
        messages_per_second_max: NonZeroU32::new(table.value("messages_per_second_max", 0)),
        ..standard
    }
}

fn auth(table: &Reader<'_>) -> Option<Credentials> {
    let user = table.optional::<String>("user");
    let password = table.secret("password");
    let in_clear = table.value("auth_in_clear", false);
    match (user, password) {
        (None, None) => None,
        (Some(user), Some(password)) => Some(Credentials { login: Login::Password { user, password }, in_clear }),
        (Some(_), None) => {
            table.fault("password", "missing, though there is a user", "password or password_file");
            None
        }
        (None, Some(_)) => {
            table.fault("user", "missing, though there is a password", "the user's name");
            None
        }
    }
}

/// `[deliver]` with what streams and identities say, and the roots that prove names.
pub fn deliver(
    root: &Reader<'_>,
    hostname: &Domain,
    smart_hosts: &SmartHosts,
    identities: &Identities,
    streams: &HashMap<Stream, StreamSettings>,
) -> (Settings, TlsSettings, Duration) {
    let table = root.table("deliver");
    let standard = Settings::default();
    let max_age = table.value("max_age", Duration::from_secs(5 * 86_400));
    let schedule = Schedule {
        waits: retry(&table, "retry", standard.schedule.waits.clone()),
        jitter_percent: table.value("jitter_percent", standard.schedule.jitter_percent),
        delay_notice_after: Some(table.value("delay_notice_after", standard.schedule.delay_notice_after.unwrap_or_default())).filter(|after| !after.is_zero()),
        grace_after_start: table.value("grace_after_start", standard.schedule.grace_after_start),
    };
    let stream_schedule = |settings: &StreamSettings| Schedule {
        waits: settings.retry.clone().unwrap_or_else(|| schedule.waits.clone()),
        delay_notice_after: settings.delay_notice.or(schedule.delay_notice_after).filter(|after| !after.is_zero()),
        ..schedule.clone()
    };
    let settings = Settings {
        ehlo_name: table.optional::<Domain>("ehlo_name").unwrap_or_else(|| hostname.clone()).to_string(),
        source_v4: table.optional::<IpAddr>("source_v4").and_then(|address| v4(&table, address)),
        source_v6: table.optional::<IpAddr>("source_v6").and_then(|address| v6(&table, address)),
        routes: routes(&table, hostname),
        smart_hosts: smart_hosts.hosts.clone(),
        providers: providers(&table),
        tls: tls_rules(&table),
        stream_schedules: streams.iter().map(|(name, settings)| (name.clone(), stream_schedule(settings))).collect(),
        identity_rates: identities.rules.iter().filter_map(|(name, identity)| Some((name.clone(), rate(identity.rate.recipients_per_minute.or(identity.rate.messages_per_minute)?)?))).collect(),
        stream_rates: streams.iter().filter_map(|(name, settings)| Some((name.clone(), rate(settings.recipients_per_minute?)?))).collect(),
        timeouts: timeouts(&table),
        bdat: table.value("bdat", standard.bdat),
        lease: table.value("lease", standard.lease),
        queues_max: table.value("queues_max", standard.queues_max),
        claim_recipients_max: table.value("claim_recipients_max", standard.claim_recipients_max),
        sessions_max: table.value("sessions_max", standard.sessions_max),
        idle: table.value("idle", standard.idle),
        idle_connections_max: table.value("idle_connections_max", standard.idle_connections_max),
        schedule,
    };
    if settings.lease < settings.lease_needed() {
        let needed = settings.lease_needed().written();
        table.fault("lease", &settings.lease.written(), &format!("at least {needed}: it must outlast the wait for the last reply, timeouts.data_done"));
    }
    let roots = TlsSettings {
        roots: table.one_of("roots", &[("system", Roots::System), ("built-in", Roots::BuiltIn), ("only-ca-file", Roots::OnlyCaFile)], Roots::System, "system"),
        ca_file: table.optional::<PathBuf>("ca_file").map(|path| table.resolve(&path)),
    };
    (settings, roots, max_age)
}

fn retry(table: &Reader<'_>, key: &str, default: Vec<Duration>) -> Vec<Duration> {
    let waits = table.value(key, default.clone());
    if waits.is_empty() || waits.iter().any(Duration::is_zero) {
        table.fault(key, &waits.written(), "waits between attempts, each longer than nothing, as in [\"5m\", \"30m\", \"2h\"]");
        return default;
    }
    waits
}

fn routes(table: &Reader<'_>, hostname: &Domain) -> RouteRules {
    let standard = RouteRules::default();
    let mut own_names = table.value::<Vec<Domain>>("own_names", Vec::new());
    own_names.push(hostname.clone());
    RouteRules {
        own_names,
        own_addresses: table.value("own_addresses", Vec::new()),
        mx_port: table.value("mx_port", standard.mx_port),
        private_addresses_allowed: table.value("private_addresses_allowed", standard.private_addresses_allowed),
        address_preference: table.one_of(
            "address_preference",
            &[
                ("ipv4-first", AddressPreference::Ipv4First),
                ("ipv6-first", AddressPreference::Ipv6First),
                ("ipv4-only", AddressPreference::Ipv4Only),
                ("ipv6-only", AddressPreference::Ipv6Only),
            ],
            standard.address_preference,
            "ipv4-first",
        ),
        hosts_max: table.value("hosts_max", standard.hosts_max),
        addresses_max: table.value("addresses_max", standard.addresses_max),
    }
}

fn providers(table: &Reader<'_>) -> Providers {
    let Some(path) = table.optional::<PathBuf>("shaping_file") else { return Providers::default() };
    let path = table.resolve(&path);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            table.fault("shaping_file", &format!("\"{}\" cannot be read: {error}", path.display()), "a file like config/shaping.toml");
            return Providers::default();
        }
    };
    Providers::from_toml(&text).unwrap_or_else(|faults| {
        for fault in faults {
            table.fault("shaping_file", &format!("{}: {fault}", path.display()), "a file like config/shaping.toml");
        }
        Providers::default()
    })
}

fn tls_rules(table: &Reader<'_>) -> TlsRules {
    let by_domain = table.table("tls");
    let mut domains = Vec::new();
    for name in by_domain.names() {
        let demand = by_domain.one_of(&name, TLS_DEMANDS, TlsDemand::Opportunistic, "opportunistic");
        match name.parse::<Domain>() {
            Ok(domain) => domains.push((domain, demand)),
            Err(error) => by_domain.fault(&name, &error.to_string(), "a recipient domain; names below it are included"),
        }
    }
    TlsRules { domains }
}

fn timeouts(table: &Reader<'_>) -> Timeouts {
    let table = table.table("timeouts");
    let standard = Timeouts::default();
    Timeouts {
        connect: table.value("connect", standard.connect),
        greeting: table.value("greeting", standard.greeting),
        ehlo: table.value("ehlo", standard.ehlo),
        starttls: table.value("starttls", standard.starttls),
        auth: table.value("auth", standard.auth),
        mail: table.value("mail", standard.mail),
        rcpt: table.value("rcpt", standard.rcpt),
        data_init: table.value("data_init", standard.data_init),
        data_block: table.value("data_block", standard.data_block),
        data_done: table.value("data_done", standard.data_done),
        quit: table.value("quit", standard.quit),
    }
}

/// So many a minute, a second's worth of them at once.
fn rate(per_minute: u32) -> Option<Rate> {
    let count = NonZeroU32::new(per_minute)?;
    Some(Rate { count, per: Duration::from_secs(60), burst: NonZeroU32::new(per_minute / 60).unwrap_or(NonZeroU32::MIN) })
}

fn v4(table: &Reader<'_>, address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => {
            table.fault("source_v4", &format!("\"{address}\""), "an IPv4 address");
            None
        }
    }
}

fn v6(table: &Reader<'_>, address: IpAddr) -> Option<Ipv6Addr> {
    match address {
        IpAddr::V6(address) => Some(address),
        IpAddr::V4(_) => {
            table.fault("source_v6", &format!("\"{address}\""), "an IPv6 address");
            None
        }
    }
}

