//! `postseal key …`: one file for what belongs together. What changes a key writes its ledger; a running relay reads that by itself.

mod create;
mod end;
mod export;
mod import;
mod rotate;
mod show;

use crate::config::{self, Config, DEFAULT_FILE};
use crate::dns::Data;
use crate::keys::{Entry, Key, Keyring, Record, SelectorTemplate};
use crate::mail::{Domain, KeyId, Selector};
use anyhow::{anyhow, bail};
use clap::Subcommand;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make the key pair(s) that a domain lacks and print the DNS records to publish; with nothing to make, print them again
    ///
    /// The first keys of a domain sign at once, since nothing else could: publish their records before mail flows. Where a key signs
    /// already, a new one is only created, and signs after `postseal key rotate` has seen its record at every server.
    Create(create::Args),
    /// Print the keys of all domains, or of some, with their states
    List(show::ListArgs),
    /// Print all there is to know of a domain's keys, or of one: state, age, history, fingerprint and record
    Show(show::ShowArgs),
    /// Make the next key(s) of domains and lead them on: published, seen at every server, soaked, active; the old ones retire
    ///
    /// Asked again it goes on where it stands. A running relay goes on by itself.
    Rotate(rotate::RotateArgs),
    /// Take every step that is due for the keys of domains, and say what they wait for
    Advance(rotate::AdvanceArgs),
    /// Give up a key that does not sign yet
    Abort(end::AbortArgs),
    /// Stop using a key and say so in the DNS by an empty p=; --now for one that leaked
    Revoke(end::RevokeArgs),
    /// Destroy the private half of a revoked key; its selector stays used
    Remove(end::RemoveArgs),
    /// Take over keys that OpenDKIM, rspamd or OpenSSL made
    Import(import::Args),
    /// Write a private key for another program
    Export(export::Args),
}

/// Where the keyring is.
#[derive(clap::Args, Debug)]
pub struct Place {
    /// The configuration file, whose server.keys names the keyring
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
    /// The keyring's folder, without any configuration
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    keys: Option<PathBuf>,
}

/// One key, or all of a domain.
#[derive(clap::Args, Debug)]
pub struct Named {
    /// example.com/ps202611a, ps202611a._domainkey.example.com, or domain and selector apart
    #[arg(value_name = "DOMAIN/SELECTOR")]
    key: Name,
    /// The selector, where the first word is a domain only
    #[arg(value_name = "SELECTOR")]
    selector: Option<String>,
}

/// A domain, and maybe a selector.
#[derive(Debug, Clone)]
struct Name {
    domain: Domain,
    selector: Option<Selector>,
}

pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create(args) => create::run(&args),
        Command::List(args) => show::list(&args),
        Command::Show(args) => show::show(&args),
        Command::Rotate(args) => rotate::rotate(&args),
        Command::Advance(args) => rotate::advance(&args),
        Command::Abort(args) => end::abort(&args),
        Command::Revoke(args) => end::revoke(&args),
        Command::Remove(args) => end::remove(&args),
        Command::Import(args) => import::run(&args),
        Command::Export(args) => export::run(&args),
    }
}

impl Place {
    /// The keyring's folder, and the configuration where there is one.
    pub fn find(&self) -> anyhow::Result<(PathBuf, Option<Config>)> {
        if let Some(directory) = &self.keys {
            return Ok((directory.clone(), None));
        }
        if !config::is_there(&self.config) && self.config == Path::new(DEFAULT_FILE) {
            return Ok((PathBuf::from("keys"), None));
        }
        let config = Config::load(&self.config)?;
        Ok((config.server.keys.clone(), Some(config)))
    }

    /// The folder of keys that there must be already.
    fn existing(&self) -> anyhow::Result<(PathBuf, Option<Config>)> {
        let (directory, config) = self.find()?;
        if !directory.exists() {
            bail!("there is no folder {} yet; `postseal key create DOMAIN` makes it", directory.display());
        }
        Ok((directory, config))
    }

    /// Tells that the configuration does not know a domain yet.
    fn mention_unknown(&self, domain: &Domain, config: Option<&Config>) {
        if config.is_some_and(|config| !config.domains.contains_key(domain)) {
            eprintln!("postseal: {domain} has no table [domains.\"{domain}\"] in {} yet; it gets the defaults once it has one", self.config.display());
        }
    }
}

impl Named {
    /// The domain, and the selector where one was named.
    fn parts(&self) -> anyhow::Result<(&Domain, Option<Selector>)> {
        let apart = self.selector.as_deref().map(selector).transpose().map_err(|why| anyhow!(why))?;
        match (&self.key.selector, apart) {
            (Some(within), Some(apart)) => bail!("two selectors, {within} and {apart}; expected one"),
            (within, apart) => Ok((&self.key.domain, apart.or_else(|| within.clone()))),
        }
    }

    /// The domain and the selector, which must be named.
    fn one(&self) -> anyhow::Result<(&Domain, Selector)> {
        let (domain, selector) = self.parts()?;
        let selector = selector.ok_or_else(|| anyhow!("which key of {domain}? expected {domain}/SELECTOR; `postseal key list {domain}` shows them"))?;
        Ok((domain, selector))
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let domain = |text: &str| text.parse::<Domain>().map_err(|error| error.to_string());
        let by_record = || text.split_once("._domainkey.").map(|(within, name)| (name, Some(within)));
        let by_slash = text.split_once('/').map(|(name, within)| (name, Some(within)));
        let (name, within) = by_slash.or_else(by_record).unwrap_or((text, None));
        Ok(Self { domain: domain(name)?, selector: within.map(selector).transpose()? })
    }
}

fn selector(text: &str) -> Result<Selector, String> {
    crate::keys::selector(text).ok_or_else(|| format!("\"{text}\" is no selector; expected letters, digits and hyphens, as in ps202611a"))
}

/// How new keys are named.
fn template(config: Option<&Config>) -> SelectorTemplate {
    config.map_or_else(SelectorTemplate::default, |config| config.rotation.selector.clone())
}

/// A key record as a zone file has it.
fn zone_line(key: &KeyId, record: &Record) -> String {
    format!("{key}. IN TXT {}", Data::Txt(record.to_string()).zone_text())
}

/// A key as JSON, with what its ledger knows.
fn described(key: &Key, entry: Option<&Entry>) -> Value {
    let public = key.private.as_ref().map(crate::keys::PrivateKey::public);
    json!({
        "key": key.id.to_string(),
        "domain": key.id.domain.to_string(),
        "selector": key.id.selector.to_string(),
        "algorithm": key.algorithm.to_string(),
        "bits": public.map(crate::keys::PublicKey::bits),
        "fingerprint_sha256": public.map(crate::keys::PublicKey::fingerprint),
        "state": key.state.to_string(),
        "since": key.since.map(crate::mail::Timestamp::to_rfc3339),
        "record": key.record().map(|record| record_json(&key.id, &record)),
        "record_ttl_seconds": entry.and_then(|entry| entry.record_ttl).map(|ttl| ttl.as_secs()),
        "history": entry.map(|entry| entry.history.iter().map(|past| json!({
            "at": past.at.to_rfc3339(), "state": past.state.to_string(), "why": past.why,
        })).collect::<Vec<_>>()),
        "servers": entry.map(|entry| entry.servers.iter().map(|(server, memory)| (server.clone(), json!({
            "shown_since": memory.shown_since.map(crate::mail::Timestamp::to_rfc3339),
            "silent_since": memory.silent_since.map(crate::mail::Timestamp::to_rfc3339),
            "asked_at": memory.asked_at.map(crate::mail::Timestamp::to_rfc3339),
        }))).collect::<serde_json::Map<_, _>>()),
    })
}

fn record_json(key: &KeyId, record: &Record) -> Value {
    json!({ "name": key.to_string(), "type": "TXT", "value": record.to_string() })
}

fn print_json(value: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

fn load(directory: &Path) -> anyhow::Result<Keyring> {
    Keyring::load(directory).map_err(|faults| all(&faults))
}

/// Several faults as one error.
pub fn all<F: std::fmt::Display>(faults: &[F]) -> anyhow::Error {
    anyhow!(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
