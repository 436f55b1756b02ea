//! `postseal key …`

use crate::config::Config;
use crate::keys::{self, Algorithm, Keyring, SelectorTemplate, State};
use crate::mail::{Domain, Timestamp};
use anyhow::bail;
use clap::Subcommand;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make the key pair(s) that a domain lacks and print the DNS records to publish; with nothing to make, print them again
    Create {
        /// The author domain, as in example.com
        domain: Domain,
        /// An Ed25519 pair too, even if the configuration does not turn it on for the domain
        #[arg(long)]
        ed25519: bool,
        /// Make new ones beside those that are there: every active key signs, so publish the record before the relay reloads
        #[arg(long)]
        another: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Print the keys of all domains with their states
    List(Place),
}

/// Where the keyring is.
#[derive(clap::Args, Debug)]
pub struct Place {
    /// The configuration file, whose server.keys names the keyring
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG", default_value = "postseal.toml")]
    config: PathBuf,
    /// The keyring's folder, without any configuration
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    keys: Option<PathBuf>,
}

pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Create { domain, ed25519, another, place } => create(&domain, ed25519, another, &place),
        Command::List(place) => list(&place),
    }
}

fn create(domain: &Domain, ed25519: bool, another: bool, place: &Place) -> anyhow::Result<ExitCode> {
    let (directory, config) = place.find()?;
    if !domain.is_fully_qualified() {
        bail!("\"{domain}\" has a single label; expected an author domain, as in example.com");
    }
    let settings = config.as_ref().and_then(|config| config.domains.get(domain));
    let mut algorithms = vec![Algorithm::Rsa];
    if ed25519 || settings.is_some_and(|settings| settings.ed25519) {
        algorithms.push(Algorithm::Ed25519);
    }
    let now = crate::clock::now();
    if !another && directory.exists() {
        let keyring = Keyring::load(&directory).map_err(|faults| all(&faults))?;
        algorithms.retain(|algorithm| keyring.active(domain, *algorithm).next().is_none());
    }
    let made = if algorithms.is_empty() {
        Vec::new()
    } else {
        keys::create(&directory, domain, &algorithms, &SelectorTemplate::default(), (State::Active, "key create"), now)?
    };
    if keys::load_token_secrets(&directory).is_ok_and(|secrets| secrets.is_empty()) {
        keys::create_token_secret(&directory, now)?;
    }
    if made.is_empty() {
        eprintln!("postseal: {domain} has its keys already, none was made; --another makes one beside them");
    }
    let keyring = Keyring::load(&directory).map_err(|faults| all(&faults))?;
    println!("; keys of {domain} in {}; publish these records before you send", directory.display());
    for key in keyring.keys(domain) {
        if let Some(record) = key.record() {
            println!("{}. IN TXT {}", key.id, record.zone_strings());
        }
    }
    let bounce = settings.map_or_else(|| format!("b.{domain}"), |settings| settings.bounce_domain.to_string());
    let host = config.as_ref().map_or_else(|| format!("mx1.{domain}"), |config| config.server.hostname.to_string());
    println!("{bounce}. IN MX 10 {host}.");
    println!("{bounce}. IN TXT \"v=spf1 a:{host} ~all\"");
    println!("{host}. IN TXT \"v=spf1 a -all\"");
    println!("; unless there is one already:");
    println!("_dmarc.{domain}. IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc@{domain}\"");
    println!("; and PTR records of the relay's addresses that name {host}.");
    if config.is_some() && settings.is_none() {
        eprintln!("postseal: {domain} has no table [domains.\"{domain}\"] in {} yet; it gets the defaults once it has one", place.config.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn list(place: &Place) -> anyhow::Result<ExitCode> {
    let (directory, _) = place.find()?;
    if !directory.exists() {
        bail!("there is no folder {} yet; `postseal key create DOMAIN` makes it", directory.display());
    }
    let keyring = Keyring::load(&directory).map_err(|faults| all(&faults))?;
    for domain in keyring.domains() {
        for key in keyring.keys(domain) {
            let since = key.since.map_or_else(|| "-".to_owned(), Timestamp::to_rfc3339);
            println!("{}\t{}\t{}\t{since}", key.id, key.algorithm, key.state);
        }
    }
    Ok(ExitCode::SUCCESS)
}

impl Place {
    /// The keyring's folder, and the configuration where there is one.
    fn find(&self) -> anyhow::Result<(PathBuf, Option<Config>)> {
        if let Some(directory) = &self.keys {
            return Ok((directory.clone(), None));
        }
        if !self.config.exists() && self.config == Path::new("postseal.toml") {
            return Ok((PathBuf::from("keys"), None));
        }
        let config = Config::load(&self.config)?;
        Ok((config.server.keys.clone(), Some(config)))
    }
}

/// Several faults as one error.
pub fn all<F: std::fmt::Display>(faults: &[F]) -> anyhow::Error {
    anyhow::anyhow!(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}
