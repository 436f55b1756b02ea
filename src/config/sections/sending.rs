//! `[smart_hosts]`, `[deliver]`: where mail goes and how it is sent there.

use super::super::knob::Knob;
use super::super::reader::Reader;
use super::who::{Identities, MX, StreamSettings};
use super::{AGE, AGE_OR_NONE, PAUSE, TIMEOUT};
use crate::deliver::provider::{Limits, Providers};
use crate::deliver::route::{AddressPreference, RouteRules};
use crate::deliver::schedule::Schedule;
use crate::deliver::target::{Credentials, Login, Timeouts};
use crate::deliver::throttle::Rate;
use crate::deliver::tls::{Roots, TlsDemand, TlsSettings};
use crate::deliver::tls_policy::TlsRules;
use crate::deliver::{HostPort, Settings, SmartHost, Source};
use crate::mail::{Domain, RouteName, Stream};
use crate::readdress::RewriteReversePath;
use crate::reasons::Table;
use crate::seal::RouteProfile;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
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
        let can_be_named = name != MX && !name.contains(['/', ':']) && !name.is_empty();
        if !can_be_named {
            table.table_fault(&format!("\"{name}\" cannot name a smart host"), "another name; \"mx\" is the route by MX records, and names hold no \"/\"");
        }
        let lmtp = table.one_of("protocol", &[("smtp", false), ("lmtp", true)], false);
        if lmtp && !table.has("port") {
            table.fault("port", "missing, though protocol is \"lmtp\"", "the port of the delivery agent, often 24: LMTP has none of its own (RFC 2033 §5)");
        }
        let port = table.within("port", 587, 1..=u16::MAX);
        let implicit_tls = table.value("implicit_tls", port == 465);
        let tls = table.one_of("tls", TLS_DEMANDS, TlsDemand::Verified);
        let auth = auth(&table);
        if auth.as_ref().is_some_and(|auth| !auth.in_clear) && matches!(tls, TlsDemand::None | TlsDemand::Opportunistic) && !implicit_tls {
            table.fault("tls", "TLS is not demanded, though there is a password", "\"verified\" or \"required\", or auth_in_clear = true (a lab)");
        }
        let profile = RouteProfile {
            dkim: table.value("dkim", true),
            arc: table.value("arc", true),
            ed25519: table.value("ed25519", false),
            unsigned: table.value("unsigned_fields", Vec::new()),
        };
        let rewrite =
            table.one_of("reverse_path", &[("rewrite", RewriteReversePath::Rewrite), ("keep", RewriteReversePath::Keep)], RewriteReversePath::Rewrite);
        let smart_host = SmartHost { hosts: hosts(&table, port), tls, implicit_tls, lmtp, auth, ed25519: profile.ed25519, limits: Arc::new(limits(&table)) };
        if can_be_named {
            read.hosts.insert(route.clone(), Arc::new(smart_host));
            read.profiles.insert(route.clone(), profile);
            read.reverse_paths.insert(route, rewrite);
        }
    }
    read
}

fn hosts(table: &Reader<'_>, port: u16) -> Vec<HostPort> {
    let mut hosts = Vec::new();
    let first = table.required::<String>("host", "a host name or an IP address").map(|host| ("host", host));
    let more = table.value::<Vec<String>>("fallback_hosts", Vec::new()).into_iter().map(|host| ("fallback_hosts", host));
    for (key, host) in first.into_iter().chain(more) {
        if host.parse::<IpAddr>().is_err() && host.parse::<Domain>().is_err() {
            table.fault(key, &host.written(), "a host name or an IP address; the port has a key of its own");
        }
        hosts.push(HostPort { host, port });
    }
    hosts
}

fn limits(table: &Reader<'_>) -> Limits {
    let standard = Limits::default();
    let connections_max = table.within("connections_max", standard.connections_max, 1..=10_000);
    Limits {
        connections_max,
        host_connections_max: connections_max,
        messages_per_connection_max: table.within("messages_per_connection_max", standard.messages_per_connection_max, 1..=1_000_000),
        recipients_per_transaction_max: table.within("recipients_per_transaction_max", standard.recipients_per_transaction_max, 1..=10_000),
        messages_per_second_max: NonZeroU32::new(table.within("messages_per_second_max", 0, 0..=100_000)),
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
            if !table.has("password") && !table.has("password_file") {
                table.fault("password", "missing, though there is a user", "password or password_file");
            }
            None
        }
        (None, Some(_)) => {
            if !table.has("user") {
                table.fault("user", "missing, though there is a password", "the user's name");
            }
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
    pools: BTreeMap<String, Source>,
) -> (Settings, TlsSettings, Duration) {
    let table = root.table("deliver");
    let standard = Settings::default();
    let max_age = table.within("max_age", Duration::from_hours(5 * 24), AGE);
    let schedule = Schedule {
        waits: retry(&table, Some(&standard.schedule.waits)).unwrap_or_default(),
        jitter_percent: table.within("jitter_percent", standard.schedule.jitter_percent, 0..=50),
        delay_notice_after: Some(table.within("delay_notice_after", standard.schedule.delay_notice_after.unwrap_or_default(), AGE_OR_NONE))
            .filter(|after| !after.is_zero()),
        grace_after_start: table.within("grace_after_start", standard.schedule.grace_after_start, PAUSE),
        max_age,
    };
    let stream_schedule = |settings: &StreamSettings| Schedule {
        waits: settings.retry.clone().unwrap_or_else(|| schedule.waits.clone()),
        max_age: settings.max_age.unwrap_or(max_age),
        delay_notice_after: settings.delay_notice.or(schedule.delay_notice_after).filter(|after| !after.is_zero()),
        ..schedule.clone()
    };
    let (rules, roots) = tls(&table);
    let providers = providers(&table);
    let settings = Settings {
        source: source(&table, hostname),
        pools,
        routes: routes(&table, hostname),
        smart_hosts: smart_hosts.hosts.iter().map(|(name, host)| (name.clone(), with_rules(host, &providers))).collect(),
        providers,
        reasons: Arc::new(reasons(&table)),
        suppression: standard.suppression,
        tls: rules,
        stream_schedules: streams.iter().map(|(name, settings)| (name.clone(), stream_schedule(settings))).collect(),
        identity_rates: identities.rules.iter().filter_map(|(name, identity)| Some((name.clone(), rate(identity.rate.recipients_per_minute?)?))).collect(),
        identity_message_rates: identities
            .rules
            .iter()
            .filter_map(|(name, identity)| Some((name.clone(), rate(identity.rate.messages_per_minute?)?)))
            .collect(),
        stream_rates: streams.iter().filter_map(|(name, settings)| Some((name.clone(), rate(settings.recipients_per_minute?)?))).collect(),
        timeouts: timeouts(&table),
        bdat: table.value("bdat", standard.bdat),
        lease: table.within("lease", standard.lease, TIMEOUT),
        lease_margin: table.within("lease_margin", standard.lease_margin, TIMEOUT),
        queues_max: table.within("queues_max", standard.queues_max, 1..=100_000),
        claim_recipients_max: table.within("claim_recipients_max", standard.claim_recipients_max, 1..=100_000),
        sessions_max: table.within("sessions_max", standard.sessions_max, 1..=100),
        returned_kept_for: standard.returned_kept_for,
        idle: table.within("idle_timeout", standard.idle, PAUSE),
        idle_connections_max: table.within("idle_connections_max", standard.idle_connections_max, 0..=100_000),
        schedule,
    };
    let too_short = settings.lease_needed() * 4 / 3; // a quarter of it may have passed before it is renewed
    if settings.lease <= too_short {
        let expected = format!("more than {}, by a third more than timeouts.data_done and lease_margin together", too_short.written());
        table.fault("lease", &settings.lease.written(), &expected);
    }
    (settings, roots, max_age)
}

/// What a smart host's replies mean is what everybody's do, by the shaping file; how much it takes is its own table's.
fn with_rules(smart_host: &SmartHost, providers: &Providers) -> Arc<SmartHost> {
    let other = providers.other();
    let limits = Limits { rules: other.rules.clone(), pause_max: other.pause_max, growth: other.growth, ..(*smart_host.limits).clone() };
    Arc::new(SmartHost { limits: Arc::new(limits), ..smart_host.clone() })
}

fn source(table: &Reader<'_>, hostname: &Domain) -> Source {
    Source {
        ehlo_name: table.optional::<Domain>("ehlo_name").unwrap_or_else(|| hostname.clone()).to_string(),
        v4: table.optional("source_v4"),
        v6: table.optional("source_v6"),
    }
}

/// `[pools]`: names and addresses that streams leave by.
pub fn pools(root: &Reader<'_>, hostname: &Domain) -> BTreeMap<String, Source> {
    root.tables("pools").into_iter().map(|(name, table)| (name, source(&table, hostname))).collect()
}

/// The waits between attempts.
pub fn retry(table: &Reader<'_>, default: Option<&Vec<Duration>>) -> Option<Vec<Duration>> {
    let waits = match default {
        Some(default) => Some(table.value("retry", default.clone())),
        None => table.optional("retry"),
    };
    if waits.as_ref().is_some_and(|waits| waits.is_empty() || waits.iter().any(|wait| !AGE.contains(wait))) {
        let found = waits.as_ref().map_or_else(String::new, Knob::written);
        let expected = format!("waits between attempts from {} to {}, as in [\"5m\", \"30m\", \"2h\"]", AGE.start().written(), AGE.end().written());
        table.fault("retry", &found, &expected);
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
        mx_port: table.within("mx_port", standard.mx_port, 1..=u16::MAX),
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
        ),
        hosts_max: table.within("hosts_max", standard.hosts_max, 1..=100),
        addresses_max: table.within("addresses_max", standard.addresses_max, 1..=100),
    }
}

/// What is said in the operator's file comes before what is built in.
fn reasons(table: &Reader<'_>) -> Table {
    let Some(path) = table.optional::<PathBuf>("reasons_file") else { return Table::default() };
    let path = table.resolve(&path);
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) => {
            table.fault("reasons_file", &format!("\"{}\" cannot be read: {error}", path.display()), "a file like config/reasons.toml");
            return Table::default();
        }
    };
    match Table::from_toml(&text) {
        Ok(more) => Table::default().extended(more),
        Err(faults) => {
            for fault in faults {
                table.fault("reasons_file", &format!("{}: {fault}", path.display()), "a file like config/reasons.toml");
            }
            Table::default()
        }
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

/// `[deliver.tls]`: demands by recipient domain, and whose certificates prove a name.
fn tls(table: &Reader<'_>) -> (TlsRules, TlsSettings) {
    let table = table.table("tls");
    let roots = TlsSettings {
        roots: table.one_of("roots", &[("system", Roots::System), ("built-in", Roots::BuiltIn), ("only-ca-file", Roots::OnlyCaFile)], Roots::System),
        ca_file: table.optional::<PathBuf>("ca_file").map(|path| table.resolve(&path)),
    };
    if roots.roots == Roots::OnlyCaFile && roots.ca_file.is_none() {
        table.fault("roots", "\"only-ca-file\", but there is no ca_file", "ca_file, a PEM file of those who issue the next hops' certificates");
    }
    let by_domain = table.table("recipients");
    let mut domains = Vec::new();
    for name in by_domain.names() {
        let demand = by_domain.one_of(&name, TLS_DEMANDS, TlsDemand::Opportunistic);
        match name.parse::<Domain>() {
            Ok(domain) => domains.push((domain, demand)),
            Err(error) => by_domain.fault(&name, &error.to_string(), ""),
        }
    }
    (TlsRules { domains }, roots)
}

fn timeouts(table: &Reader<'_>) -> Timeouts {
    let table = table.table("timeouts");
    let standard = Timeouts::default();
    Timeouts {
        connect: table.within("connect", standard.connect, TIMEOUT),
        greeting: table.within("greeting", standard.greeting, TIMEOUT),
        ehlo: table.within("ehlo", standard.ehlo, TIMEOUT),
        starttls: table.within("starttls", standard.starttls, TIMEOUT),
        auth: table.within("auth", standard.auth, TIMEOUT),
        mail: table.within("mail", standard.mail, TIMEOUT),
        rcpt: table.within("rcpt", standard.rcpt, TIMEOUT),
        data_init: table.within("data_init", standard.data_init, TIMEOUT),
        data_block: table.within("data_block", standard.data_block, TIMEOUT),
        data_done: table.within("data_done", standard.data_done, TIMEOUT),
        quit: table.within("quit", standard.quit, TIMEOUT),
    }
}

/// So many a minute, a second's worth of them at once.
fn rate(per_minute: u32) -> Option<Rate> {
    let count = NonZeroU32::new(per_minute)?;
    Some(Rate { count, per: Duration::from_mins(1), burst: NonZeroU32::new(per_minute / 60).unwrap_or(NonZeroU32::MIN) })
}
