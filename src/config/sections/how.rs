//! `[server]`, `[log]`, `[tls]`, `[auth]`, `[normalise]`, `[readdress]`, `[seal]`, `[spool]`, `[through]`, `[resolver]`: how the rooms beside policy and delivery work.

use super::super::knob::{Knob, NameServer, Octets};
use super::super::reader::Reader;
use super::{AGE, AGE_OR_NONE, GIB, KIB, MIB, PAUSE, TIMEOUT, nobody, octets};
use crate::deliver::through;
use crate::events::log;
use crate::ingress::{sasl, tls};
use crate::mail::{Domain, IdentityName, LocalPart, Mailbox, RouteName};
use crate::{dns, normalise, readdress, seal, spool};
use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// `[server]`.
#[derive(Debug, Clone)]
pub struct Server {
    /// The relay's own name: greeting, EHLO, Received, DSNs.
    pub hostname: Domain,
    /// Who stands behind `<Postmaster>`, and behind senders that can receive nothing.
    pub postmaster: Mailbox,
    /// Where the keyring is.
    pub keys: PathBuf,
    /// How long a drain may take.
    pub drain: Duration,
    /// Whether the memory of this process, with keys and passwords in it, may be dumped and looked at.
    pub core_dumps: bool,
    /// Octets of all messages being received at a time.
    pub incoming_octets_max: u64,
    /// Threads that seal; 0: one a core.
    pub sealing_threads: usize,
    /// The smart host that is a postseal of ours: who gets the queue at the end.
    pub upstream: Option<RouteName>,
    /// How long handing it over may take.
    pub handover: Duration,
}

pub fn server(root: &Reader<'_>) -> Server {
    let table = root.table("server");
    let hostname = table.required::<Domain>("hostname", FULL_NAME).unwrap_or_else(nobody);
    if !hostname.is_fully_qualified() {
        table.fault("hostname", &format!("\"{hostname}\" has a single label"), FULL_NAME);
    }
    let postmaster = table.optional("postmaster").unwrap_or_else(|| postmaster_at(&hostname));
    Server {
        postmaster,
        keys: table.resolve(&table.value("keys", PathBuf::from("keys"))),
        drain: table.within("drain", Duration::from_secs(20), PAUSE),
        core_dumps: table.value("core_dumps", false),
        incoming_octets_max: table.within("incoming_octets_max", Octets(256 * MIB), Octets(MIB)..=Octets(1024 * GIB)).0,
        sealing_threads: table.within("sealing_threads", 0, 0..=1024),
        upstream: table.optional::<String>("upstream").map(|name| RouteName::new(&name)),
        handover: table.within("handover", Duration::from_secs(20), TIMEOUT),
        hostname,
    }
}

#[allow(clippy::expect_used, reason = "a constant that is a local part")]
fn postmaster_at(hostname: &Domain) -> Mailbox {
    Mailbox::new(LocalPart::parse("postmaster").expect("a local part"), hostname.clone())
}

pub fn log(root: &Reader<'_>) -> log::Settings {
    let table = root.table("log");
    log::Settings {
        format: table.one_of("format", &[("auto", log::Format::Auto), ("text", log::Format::Text), ("json", log::Format::Json)], log::Format::Auto),
        level: table.one_of(
            "level",
            &[("error", log::Level::Error), ("warn", log::Level::Warn), ("info", log::Level::Info), ("debug", log::Level::Debug)],
            log::Level::Info,
        ),
    }
}

/// `[tls]`: the relay's own certificates; `None` without one.
pub fn tls(root: &Reader<'_>) -> Option<tls::Settings> {
    let table = root.table("tls");
    let certificates: Vec<tls::CertificateFiles> = table
        .tables("certificates")
        .iter()
        .map(|(_, table)| {
            let file = |key: &str, expected: &str| table.resolve(&table.required::<PathBuf>(key, expected).unwrap_or_default());
            tls::CertificateFiles { chain: file("chain", "a PEM file with the certificate"), key: file("key", "a PEM file with the certificate's private key") }
        })
        .collect();
    let authorities = table.optional::<PathBuf>("client_ca_file").map(|path| table.resolve(&path));
    let demanded = table.value("client_certificate_required", false);
    let client_certificates = match (authorities, demanded) {
        (None, false) => tls::ClientCertificates::Off,
        (None, true) => {
            table.fault(
                "client_certificate_required",
                "true, but there is no client_ca_file",
                "client_ca_file, a PEM file of those who issue client certificates",
            );
            tls::ClientCertificates::Off
        }
        (Some(file), false) => tls::ClientCertificates::Optional(file),
        (Some(file), true) => tls::ClientCertificates::Required(file),
    };
    (!certificates.is_empty()).then_some(tls::Settings { certificates, client_certificates })
}

/// `[users.NAME]`.
pub fn users(root: &Reader<'_>, identities: &HashMap<IdentityName, crate::policy::Identity>) -> Vec<sasl::User> {
    let mut users = Vec::new();
    for (name, table) in root.tables("users") {
        let identity = table.required::<String>("identity", ONE_IDENTITY).map(|name| IdentityName::new(&name));
        let credential = table.secret("credential");
        if credential.is_none() && !table.has("credential") && !table.has("credential_file") {
            table.fault("credential", "missing", "a hash that `postseal user hash` prints, or credential_file");
        }
        if let Some(identity) = identity.as_ref().filter(|identity| !identities.contains_key(identity)) {
            table.fault("identity", &format!("\"{identity}\""), ONE_IDENTITY);
        }
        let credential = credential.and_then(|text| {
            use secrecy::ExposeSecret;
            sasl::Credential::parse(text.expose_secret()).map_err(|error| table.fault("credential", &error.to_string(), "")).ok()
        });
        if let (Some(identity), Some(credential)) = (identity, credential) {
            users.push(sasl::User { name, identity, credential });
        }
    }
    users
}

/// `[auth]`: bounds of password checks.
pub fn auth(root: &Reader<'_>) -> sasl::Limits {
    let table = root.table("auth");
    let standard = sasl::Limits::default();
    let checks_at_once = table.within("checks_at_once", 0, 0..=1024);
    sasl::Limits {
        checks_at_once: if checks_at_once == 0 { standard.checks_at_once } else { checks_at_once },
        checks_waiting_max: table.within("checks_waiting_max", standard.checks_waiting_max, 1..=100_000),
        wait: table.within("wait", standard.wait, TIMEOUT),
        remembered_max: table.within("remembered_max", standard.remembered_max, 0..=10_000_000),
        remembered_for: table.within("remembered_for", standard.remembered_for, PAUSE),
        failures_max: table.within("failures_max", standard.failures_max, 1..=1_000_000),
        failures_window: table.within("failures_window", standard.failures_window, TIMEOUT),
        failure_delay: table.within("failure_delay", standard.failure_delay, PAUSE),
        failure_delay_max: table.within("failure_delay_max", standard.failure_delay_max, PAUSE),
        addresses_max: table.within("addresses_max", standard.addresses_max, 1..=10_000_000),
    }
}

pub fn normalise(root: &Reader<'_>, hostname: &Domain) -> normalise::Settings {
    let table = root.table("normalise");
    let standard = normalise::Settings::new(hostname.clone());
    let (limits, mime) = (standard.limits, standard.mime);
    normalise::Settings {
        hostname: hostname.clone(),
        keep_8bitmime: table.value("keep_8bitmime", standard.keep_8bitmime),
        show_client: table.value("show_client", standard.show_client),
        limits: normalise::Limits {
            header_octets_max: octets(&table, "header_octets_max", limits.header_octets_max, KIB..=16 * MIB),
            header_fields_max: table.within("header_fields_max", limits.header_fields_max, 20..=100_000),
            field_value_octets_max: octets(&table, "field_value_octets_max", limits.field_value_octets_max, 998..=16 * MIB),
            field_name_octets_max: octets(&table, "field_name_octets_max", limits.field_name_octets_max, 40..=64 * KIB),
            message_id_characters_max: table.within("message_id_characters_max", limits.message_id_characters_max, 64..=998),
            subject_characters_max: table.within("subject_characters_max", limits.subject_characters_max, 1..=1_000_000),
            received_hops_max: table.within("received_hops_max", limits.received_hops_max, 1..=1000),
        },
        mime: crate::mail::mime::Bounds {
            depth_max: table.within("mime_depth_max", mime.depth_max, 1..=crate::mail::mime::DEPTH_CEILING),
            parts_max: table.within("mime_parts_max", mime.parts_max, 1..=1_000_000),
        },
    }
}

/// `[readdress]`, with what the domains say.
pub fn readdress(root: &Reader<'_>, domains: &super::who::Domains) -> readdress::Settings {
    let table = root.table("readdress");
    let rule = |domain: &super::who::DomainSettings| readdress::BounceRule {
        bounce_domain: domain.bounce_domain.clone(),
        keep: if domain.keep_reverse_path { readdress::Keep::Aligned } else { readdress::Keep::Nothing },
        token_per: if domain.token_per_day { readdress::TokenPer::SenderAndDay } else { readdress::TokenPer::Message },
    };
    let token_age_days_max = table.within("token_age_days_max", readdress::Settings::default().token_age_days_max, 1..=readdress::token::AGE_DAYS_LIMIT);
    readdress::Settings { domains: domains.iter().map(|(domain, settings)| (domain.clone(), rule(settings))).collect(), token_age_days_max }
}

/// `[seal]`, without keys: those are read when the relay starts and when it reloads.
pub fn seal(root: &Reader<'_>, hostname: &Domain) -> seal::Rules {
    let table = root.table("seal");
    let standard = seal::Rules::new(hostname.as_str());
    seal::Rules {
        arc: table.one_of(
            "arc",
            &[("always", seal::ArcMode::Always), ("forwarded", seal::ArcMode::Forwarded), ("never", seal::ArcMode::Never)],
            seal::ArcMode::Always,
        ),
        authserv_id: table.optional("authserv_id").unwrap_or(standard.authserv_id.clone()),
        trusted_authserv_ids: table.value("trusted_authserv_ids", Vec::new()),
        expires: table.optional_within("signature_expires", AGE),
        expires_margin: table.within("signature_expires_margin", standard.expires_margin, AGE_OR_NONE),
        no_key: table.one_of("no_key", &[("refuse", seal::NoKey::Refuse), ("pass", seal::NoKey::Pass)], seal::NoKey::Refuse),
        ..standard
    }
}

pub fn spool(root: &Reader<'_>) -> (spool::Settings, Mode) {
    let table = root.table("spool");
    let mode = table.one_of("mode", &[("queue", Mode::Queue), ("through", Mode::Through)], Mode::Queue);
    let directory = table.value("directory", PathBuf::from("spool"));
    let standard = spool::Settings::in_directory(table.resolve(&directory));
    let settings = spool::Settings {
        reserve_octets: table.within("reserve_octets", Octets(standard.reserve_octets), Octets(MIB)..=Octets(1024 * GIB)).0,
        body_file_octets_min: table.within("body_file_octets_min", Octets(standard.body_file_octets_min), Octets(0)..=Octets(64 * MIB)).0,
        linger: table.within("linger", standard.linger, Duration::ZERO..=Duration::from_secs(1)),
        endings_linger: table.within("endings_linger", standard.endings_linger, Duration::ZERO..=Duration::from_secs(1)),
        senders_max: table.within("senders_max", standard.senders_max, 1..=1_000_000_000),
        senders_days: table.within("senders_days", standard.senders_days, 1..=3650),
        history_days: table.within("history_days", standard.history_days, 1..=3650),
        wal_octets_max: table.within("wal_octets_max", Octets(standard.wal_octets_max), Octets(MIB)..=Octets(64 * GIB)).0,
        readers: table.within("readers", standard.readers, 1..=64),
        file_systems: table.one_of(
            "file_systems",
            &[("durable", spool::sqlite::FileSystems::Durable), ("volatile", spool::sqlite::FileSystems::Volatile), ("any", spool::sqlite::FileSystems::Any)],
            spool::sqlite::FileSystems::Durable,
        ),
        ..standard
    };
    let needed = Octets(2 * settings.wal_octets_max);
    if settings.reserve_octets < needed.0 {
        let expected = format!("at least {}, twice wal_octets_max: a checkpoint must find room when everything else is full", needed.written());
        table.fault("reserve_octets", &Octets(settings.reserve_octets).written(), &expected);
    }
    (settings, mode)
}

/// `spool.mode` and `[through]`; `None` where mail is queued. The route is the default one, which is looked at with all others.
pub fn through(root: &Reader<'_>, mode: Mode, route: &RouteName, upstream: Option<&RouteName>) -> Option<through::Settings> {
    let table = root.table("through");
    let settings = through::Settings {
        route: route.clone(),
        is_upstream: upstream == Some(route),
        timeout: table.within("timeout", Duration::from_mins(2), THROUGH_TIMEOUT),
        transactions_max: table.within("transactions_max", 200, 1..=100_000),
    };
    (mode == Mode::Through).then_some(settings)
}

/// What becomes of accepted mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// It is kept here, and delivered from here.
    Queue,
    /// It is passed on before it is accepted.
    Through,
}

pub fn resolver(root: &Reader<'_>) -> dns::Settings {
    let table = root.table("resolver");
    let standard = dns::Settings::default();
    let nameservers = table.optional::<Vec<NameServer>>("nameservers");
    if nameservers.as_ref().is_some_and(Vec::is_empty) {
        table.fault("nameservers", "none", "at least one; leave the key away for those of /etc/resolv.conf");
    }
    dns::Settings {
        nameservers: nameservers.map(|servers| servers.into_iter().map(|server| server.0).collect()),
        timeout: table.within("timeout", standard.timeout, TIMEOUT),
        attempts: table.within("attempts", standard.attempts, 0..=10),
        cache_answers_max: table.within("cache_answers_max", standard.cache_answers_max, 0..=100_000_000),
        cache_age_max: table.within("cache_age_max", standard.cache_age_max, AGE_OR_NONE),
        lookups_max: table.within("lookups_max", standard.lookups_max, 1..=100_000),
        dnssec: table.value("dnssec", standard.dnssec),
        authoritative_port: table.within("authoritative_port", standard.authoritative_port, 1..=u16::MAX),
    }
}

/// Clients wait ten minutes for the answer to a final dot (RFC 5321 §4.5.3.2.6).
const THROUGH_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(570);

const FULL_NAME: &str = "the full name that the relay's PTR record gives, as in \"mx1.example.com\"";
const ONE_IDENTITY: &str = "the name of one of the tables [identities.NAME]";
