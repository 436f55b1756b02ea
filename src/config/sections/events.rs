//! `[events]` and `[webhooks]`: what is kept of what happened to mail, and who is told.

use super::super::knob::Knob as _;
use super::super::reader::Reader;
use super::{AGE, DAY, TIMEOUT};
use crate::events::webhook::{Secret, Settings};
use crate::mail::Domain;
use crate::spool::journal::{self, Kind};
use secrecy::ExposeSecret as _;
use std::num::NonZeroUsize;
use std::time::Duration;

pub fn events(root: &Reader<'_>) -> journal::Settings {
    let table = root.table("events");
    let standard = journal::Settings::default();
    journal::Settings {
        enabled: table.value("enabled", standard.enabled),
        keep: table.within("keep", standard.keep, DAY..=*AGE.end()),
        events_max: table.within("events_max", standard.events_max, EVENTS),
    }
}

pub fn webhooks(root: &Reader<'_>, journal: &journal::Settings) -> Vec<Settings> {
    let tables = root.tables("webhooks");
    if !tables.is_empty() && !journal.enabled {
        root.fault_at(&["webhooks"], "set, though events.enabled is false: there is nothing to tell", "events.enabled = true, or no webhooks");
    }
    tables.into_iter().filter_map(|(name, table)| webhook(name, &table)).collect()
}

fn webhook(name: String, table: &Reader<'_>) -> Option<Settings> {
    let allow_http = table.value("allow_http", false);
    let url = url(table, allow_http);
    if !table.has("secret") && !table.has("secret_file") {
        table.fault("secret", "missing", SECRET);
    }
    let secrets = ["secret", "previous_secret"].map(|key| secret(table, key));
    let kinds = table.value("kinds", ENDINGS.map(|kind| kind.as_str().to_owned()).to_vec());
    let kinds = kinds.iter().filter_map(|kind| kind.parse::<Kind>().map_err(|fault| table.fault("kinds", &fault.to_string(), "")).ok()).collect();
    let batch_max = table.within("batch_max", BATCH, 1..=1000);
    let settings = Settings {
        name,
        url: url?,
        secrets: secrets.into_iter().flatten().collect(),
        kinds,
        author_domains: table.value::<Vec<Domain>>("author_domains", Vec::new()),
        batch_max: NonZeroUsize::new(batch_max).unwrap_or(NonZeroUsize::MIN),
        timeout: table.within("timeout", Duration::from_secs(15), TIMEOUT),
        retry_min: table.within("retry_min", Duration::from_secs(1), TIMEOUT),
        retry_max: table.within("retry_max", Duration::from_mins(10), TIMEOUT),
    };
    if settings.retry_max < settings.retry_min {
        table.fault("retry_max", &settings.retry_max.written(), &format!("at least retry_min, {}", settings.retry_min.written()));
    }
    Some(settings)
}

fn secret(table: &Reader<'_>, key: &str) -> Option<Secret> {
    let text = table.guarded_secret(key)?;
    let place = if table.has(key) { key.to_owned() } else { format!("{key}_file") };
    Secret::parse(text.expose_secret()).map_err(|fault| table.fault(&place, &format!("no secret of a webhook: {fault}"), "")).ok()
}

/// The address, if what is told of mail may go there.
fn url(table: &Reader<'_>, allow_http: bool) -> Option<String> {
    let text = table.required::<String>("url", URL)?;
    let Ok(url) = reqwest::Url::parse(&text) else {
        table.fault("url", &text.written(), URL);
        return None;
    };
    let is_here =
        url.host_str().is_some_and(|host| host == "localhost" || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()));
    match url.scheme() {
        "https" => {}
        "http" if is_here || allow_http => {}
        "http" => {
            table.fault("url", "in clear text: whom mail goes to is for others to read", "an address that begins with https://, or allow_http = true");
            return None;
        }
        _ => {
            table.fault("url", &text.written(), URL);
            return None;
        }
    }
    if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
        table.fault("url", "an address with a user, a password or a fragment", URL);
        return None;
    }
    Some(url.into())
}

/// What ends the journey of a mail, or comes after its end.
const ENDINGS: [Kind; 6] = [Kind::Delivered, Kind::Bounced, Kind::Complained, Kind::Returned, Kind::Suppressed, Kind::Cancelled];
/// Some 25 KiB.
const BATCH: usize = 50;
/// Fewer are gone before anybody can read them; more belong elsewhere.
const EVENTS: std::ops::RangeInclusive<u64> = 1000..=1_000_000_000;
const URL: &str = "an address, as in \"https://crm.example.com/hooks/mail\", without user, password and fragment";
const SECRET: &str = "secret or secret_file: \"whsec_\" and the base64 of 24 to 64 random octets";
