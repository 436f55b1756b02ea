//! Configuration and key files become the snapshot that decides about submissions.

use super::watch::Target;
use crate::config::Config;
use crate::keys::{self, Algorithm, Entry, KeyFault, Keyring, Ledger, State, TokenSecret};
use crate::mail::{Domain, KeyId, Timestamp};
use crate::prepare::Snapshot;
use crate::readdress::{self, Ring};
use crate::seal::{DomainSeal, Rules, dkim::Signer};
use std::sync::Arc;

/// A snapshot, and what the operator should know of it.
#[derive(Debug)]
pub struct Read {
    /// What decides.
    pub snapshot: Snapshot,
    /// The keys that sign.
    pub watched: Vec<Target>,
    /// Each a sentence with its remedy.
    pub warnings: Vec<String>,
}

/// What is done when there is no secret of bounce tokens yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FirstSecret {
    /// It is made: the relay starts.
    Make,
    /// One that is forgotten again stands in: nothing that is made will be sent.
    StandIn,
}

/// Reads the keyring that `config` names.
///
/// # Errors
/// Every fault of every key file.
pub fn read(config: &Config, first_secret: FirstSecret, now: Timestamp) -> Result<Read, Vec<String>> {
    let texts = |faults: Vec<KeyFault>| faults.iter().map(ToString::to_string).collect::<Vec<_>>();
    let mut faults = Vec::new();
    // No folder and no file is a relay without keys, which says so below, domain by domain.
    let keyring = keyring(config).map_err(|more| faults.extend(texts(more)));
    let secrets = token_secrets(config, first_secret, now).map_err(|more| faults.extend(more));
    let (Ok(keyring), Ok(secrets)) = (keyring, secrets) else { return Err(faults) };

    let ring = ring(&secrets, config.readdress.token_age_days_max).map_err(|fault| vec![fault])?;
    let mut rules = config.seal.clone();
    let mut warnings = Vec::new();
    for (domain, settings) in &config.domains {
        match signers(&keyring, domain) {
            Ok(mut seal) => {
                if seal.rsa.is_empty() && !settings.author.parked {
                    warnings.push(format!("there is no active RSA key for {domain}, so its mail is refused; make one with `postseal key create {domain}`"));
                }
                if settings.ed25519 && seal.ed25519.is_empty() && !settings.author.parked {
                    warnings.push(format!("{domain} wants Ed25519 signatures, but has no such key; make one with `postseal key create {domain}`"));
                }
                seal.ed25519_on = settings.ed25519;
                seal.third_party.clone_from(&settings.third_party);
                rules.domains.insert(domain.clone(), seal);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(Read { snapshot: joined(config, rules, ring), watched: watched(config, &keyring), warnings })
}

/// The keys of the directory and of the files that `config` names.
///
/// # Errors
/// Every fault of every key file.
pub fn keyring(config: &Config) -> Result<Keyring, Vec<KeyFault>> {
    Keyring::load_with(&config.server.keys, &config.key_files())
}

fn joined(config: &Config, seal: Rules, ring: Ring) -> Snapshot {
    Snapshot {
        policy: config.policy.clone(),
        normalise: config.normalise.clone(),
        readdress: config.readdress.clone(),
        ring,
        seal,
        reverse_paths: config.smart_hosts.reverse_paths.clone(),
        stream_ages: config.streams.iter().filter_map(|(stream, settings)| Some((stream.clone(), settings.max_age?))).collect(),
        max_age: config.max_age,
    }
}

/// The keys whose records must be there: those that sign, of domains that send.
fn watched(config: &Config, keyring: &Keyring) -> Vec<Target> {
    let mut targets = Vec::new();
    for (domain, settings) in config.domains.iter().filter(|(_, settings)| !settings.author.parked) {
        // What cannot be read was said when the keys were.
        let ledger = Ledger::read(&config.server.keys, domain).ok();
        let was_visible = |id: &KeyId| {
            let entry = ledger.as_ref().and_then(|ledger| ledger.entries().get(&id.selector));
            entry.is_some_and(|entry| entry.history.iter().any(|past| past.state == State::Visible))
        };
        let active_since = |id: &KeyId| {
            let entry = ledger.as_ref().and_then(|ledger| ledger.entries().get(&id.selector));
            entry.and_then(Entry::active_since)
        };
        let algorithms = [Algorithm::Rsa, Algorithm::Ed25519];
        let keys = algorithms.into_iter().flat_map(|algorithm| keyring.active(domain, algorithm));
        targets.extend(keys.map(|(id, key)| Target {
            id: id.clone(),
            public: key.public().clone(),
            evidence: settings.rotation.evidence,
            was_visible: was_visible(id),
            active_since: active_since(id),
        }));
    }
    targets
}

/// The keys of a domain, ready to sign.
fn signers(keyring: &Keyring, domain: &Domain) -> Result<DomainSeal, String> {
    let mut seal = DomainSeal { retiring: keyring.retiring(domain).cloned().collect(), ..DomainSeal::default() };
    for (id, key) in keyring.active(domain, Algorithm::Rsa) {
        let signer = Signer::rsa(id.clone(), key.der()).map_err(|why| format!("key {id} cannot sign: {why}; rotate to one of 2048 bits"))?;
        seal.rsa.push(Arc::new(signer));
    }
    for (id, key) in keyring.active(domain, Algorithm::Ed25519) {
        let signer = Signer::ed25519(id.clone(), key.der()).map_err(|why| format!("key {id} cannot sign: {why}"))?;
        seal.ed25519.push(Arc::new(signer));
    }
    Ok(seal)
}

fn token_secrets(config: &Config, first_secret: FirstSecret, now: Timestamp) -> Result<Vec<TokenSecret>, Vec<String>> {
    let directory = &config.server.keys;
    let secrets = keys::load_token_secrets(directory).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    if !secrets.is_empty() {
        return Ok(secrets);
    }
    if first_secret == FirstSecret::StandIn {
        return Ok(vec![TokenSecret { id: 0, created: now, secret: [0; 32].into() }]);
    }
    let made = keys::create_token_secret(directory, now);
    made.map(|secret| vec![secret]).map_err(|error| vec![format!("the first secret of bounce tokens cannot be made: {error}")])
}

fn ring(secrets: &[TokenSecret], age_days_max: u16) -> Result<Ring, String> {
    let secrets: Vec<_> = secrets.iter().map(|secret| readdress::TokenSecret { key_id: secret.id, octets: secret.secret.as_slice() }).collect();
    Ring::new(&secrets, age_days_max).map_err(|fault| format!("the secrets of bounce tokens cannot be used: {fault}"))
}
