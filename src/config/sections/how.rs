//! `[server]`, `[log]`, `[tls]`, `[auth]`, `[normalise]`, `[readdress]`, `[seal]`, `[spool]`, `[resolver]`: how the rooms beside policy and delivery work.

use super::super::knob::Octets;
use super::super::reader::Reader;
use crate::events::log;
use crate::ingress::{sasl, tls};
use crate::mail::{Domain, IdentityName, Mailbox};
use crate::{dns, normalise, readdress, seal, spool};
use std::collections::HashMap;
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
    /// Threads that seal; 0: one a core.
    pub sealing_threads: usize,
}

pub fn server(root: &Reader<'_>) -> Option<Server> {
    let table = root.table("server");
    let hostname = table.required::<Domain>("hostname");
    let postmaster = table.optional::<Mailbox>("postmaster");
    let keys = table.resolve(&table.value("keys", PathBuf::from("keys")));
    let drain = table.value("drain", Duration::from_secs(30));
    let sealing_threads = table.value("sealing_threads", 0);
    let hostname = hostname?;
    if !hostname.is_fully_qualified() {
        table.fault("hostname", &format!("\"{hostname}\" has a single label"), "the full name that the relay's PTR record gives, as in \"mx1.example.com\"");
    }
    let postmaster = postmaster.or_else(|| format!("postmaster@{hostname}").parse().ok())?;
    Some(Server { hostname, postmaster, keys, drain, sealing_threads })
}

pub fn log(root: &Reader<'_>) -> log::Settings {
    let table = root.table("log");
    log::Settings {
        format: table.one_of("format", &[("auto", log::Format::Auto), ("text", log::Format::Text), ("json", log::Format::Json)], log::Format::Auto, "auto"),
        level: table.one_of(
            "level",
            &[("error", log::Level::Error), ("warn", log::Level::Warn), ("info", log::Level::Info), ("debug", log::Level::Debug)],
            log::Level::Info,
            "info",
        ),
    }
}

/// `[tls]`: the relay's own certificates; `None` without one.
pub fn tls(root: &Reader<'_>) -> Option<tls::Settings> {
    let table = root.table("tls");
    let certificates: Vec<tls::CertificateFiles> = table
        .tables("certificates")
        .iter()
        .filter_map(|(_, table)| {
            let (chain, key) = (table.required::<PathBuf>("chain"), table.required::<PathBuf>("key"));
            Some(tls::CertificateFiles { chain: table.resolve(&chain?), key: table.resolve(&key?) })
        })
        .collect();
    let authorities = table.optional::<PathBuf>("client_authorities").map(|path| table.resolve(&path));
    let demanded = table.value("client_certificate_required", false);
    let client_certificates = match (authorities, demanded) {
        (None, false) => tls::ClientCertificates::Off,
        (None, true) => {
            table.fault("client_certificate_required", "true, but there is no client_authorities", "client_authorities, a PEM file of those who issue client certificates");
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
        let identity = table.required::<String>("identity").map(|name| IdentityName::new(&name));
        let credential = table.secret("credential");
        if credential.is_none() && !table.has("credential") && !table.has("credential_file") {
            table.fault("credential", "missing", "a hash that `postseal user hash` prints, or credential_file");
        }
        if let Some(identity) = identity.as_ref().filter(|identity| !identities.contains_key(identity)) {
            table.fault("identity", &format!("\"{identity}\""), "the name of one of the tables [identities.NAME]");
        }
        let credential = credential.and_then(|text| {
            use secrecy::ExposeSecret;
            sasl::Credential::parse(text.expose_secret()).map_err(|error| table.fault("credential", &error.to_string(), "a hash that `postseal user hash` prints")).ok()
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
    let checks_at_once = table.value("checks_at_once", 0);
    sasl::Limits {
        checks_at_once: if checks_at_once == 0 { standard.checks_at_once } else { checks_at_once },
        checks_waiting_max: table.value("checks_waiting_max", standard.checks_waiting_max),
        wait: table.value("wait", standard.wait),
        remembered_max: table.value("remembered_max", standard.remembered_max),
        remembered_for: table.value("remembered_for", standard.remembered_for),
        failures_max: table.value("failures_max", standard.failures_max),
        failures_window: table.value("failures_window", standard.failures_window),
        failure_delay: table.value("failure_delay", standard.failure_delay),
        failure_delay_max: table.value("failure_delay_max", standard.failure_delay_max),
        addresses_max: table.value("addresses_max", standard.addresses_max),
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
            header_octets_max: octets(&table, "header_octets_max", limits.header_octets_max),
            header_fields_max: table.value("header_fields_max", limits.header_fields_max),
            field_value_octets_max: octets(&table, "field_value_octets_max", limits.field_value_octets_max),
            field_name_octets_max: octets(&table, "field_name_octets_max", limits.field_name_octets_max),
            message_id_characters_max: table.value("message_id_characters_max", limits.message_id_characters_max),
            subject_characters_max: table.value("subject_characters_max", limits.subject_characters_max),
            received_hops_max: table.value("received_hops_max", limits.received_hops_max),
        },
        mime: crate::mail::mime::Bounds {
            depth_max: table.value("mime_depth_max", mime.depth_max),
            parts_max: table.value("mime_parts_max", mime.parts_max),
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
    let token_age_days_max = table.value("token_age_days_max", readdress::Settings::default().token_age_days_max);
    if !(1..=readdress::token::AGE_DAYS_LIMIT).contains(&token_age_days_max) {
        table.fault("token_age_days_max", &token_age_days_max.to_string(), &format!("1 to {} days", readdress::token::AGE_DAYS_LIMIT));
    }
    readdress::Settings { domains: domains.iter().map(|(domain, settings)| (domain.clone(), rule(settings))).collect(), token_age_days_max }
}

/// `[seal]`, without keys: those are read when the relay starts and when it reloads.
pub fn seal(root: &Reader<'_>, hostname: &Domain) -> seal::Rules {
    let table = root.table("seal");
    let standard = seal::Rules::new(hostname.as_str());
    let expires = table.optional::<Duration>("signature_expires");
    seal::Rules {
        arc: table.one_of(
            "arc",
            &[("always", seal::ArcMode::Always), ("forwarded", seal::ArcMode::Forwarded), ("never", seal::ArcMode::Never)],
            seal::ArcMode::Always,
            "always",
        ),
        authserv_id: table.optional("authserv_id").unwrap_or(standard.authserv_id.clone()),
        trusted_authserv_ids: table.value("trusted_authserv_ids", Vec::new()),
        expires,
        expires_margin: table.value("signature_expires_margin", standard.expires_margin),
        no_key: table.one_of("no_key", &[("refuse", seal::NoKey::Refuse), ("pass", seal::NoKey::Pass)], seal::NoKey::Refuse, "refuse"),
        ..standard
    }
}

pub fn spool(root: &Reader<'_>) -> spool::Settings {
    let table = root.table("spool");
    let directory = table.value("directory", PathBuf::from("spool"));
    let standard = spool::Settings::in_directory(table.resolve(&directory));
    let settings = spool::Settings {
        reserve_octets: table.value("reserve", Octets(standard.reserve_octets)).0,
        body_file_octets_min: table.value("body_file_min", Octets(standard.body_file_octets_min)).0,
        linger: table.value("linger", standard.linger),
        senders_max: table.value("senders_max", standard.senders_max),
        senders_days: table.value("senders_days", standard.senders_days),
        history_days: table.value("history_days", standard.history_days),
        wal_octets_max: table.value("wal_max", Octets(standard.wal_octets_max)).0,
        readers: table.value("readers", standard.readers),
        file_systems: table.one_of(
            "file_systems",
            &[("durable", spool::sqlite::FileSystems::Durable), ("volatile", spool::sqlite::FileSystems::Volatile), ("any", spool::sqlite::FileSystems::Any)],
            spool::sqlite::FileSystems::Durable,
            "durable",
        ),
        directory: standard.directory,
    };
    if settings.reserve_octets < 2 * settings.wal_octets_max {
        table.fault("reserve", &format!("{} octets", settings.reserve_octets), &format!("at least twice wal_max, {} octets", 2 * settings.wal_octets_max));
    }
    settings
}

pub fn resolver(root: &Reader<'_>) -> dns::Settings {
    let table = root.table("resolver");
    let standard = dns::Settings::default();
    dns::Settings {
        nameservers: table.optional("nameservers"),
        timeout: table.value("timeout", standard.timeout),
        attempts: table.value("attempts", standard.attempts),
        cache_answers_max: table.value("cache_answers_max", standard.cache_answers_max),
        cache_age_max: table.value("cache_age_max", standard.cache_age_max),
        lookups_max: table.value("lookups_max", standard.lookups_max),
        dnssec: table.value("dnssec", standard.dnssec),
    }
}

pub fn octets(table: &Reader<'_>, key: &str, default: usize) -> usize {
    let octets = table.value(key, Octets(default as u64)).0;
    usize::try_from(octets).unwrap_or(usize::MAX)
}

