//! `postseal key list` and `postseal key show`

use super::{Named, Place, described, load, print_json, zone_line};
use crate::keys::lifecycle::span;
use crate::keys::{Entry, Key, Ledger, State};
use crate::mail::{Domain, KeyId, Timestamp};
use anyhow::bail;
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct ListArgs {
    /// Only these domains
    domains: Vec<Domain>,
    /// Those that are removed too
    #[arg(long)]
    all: bool,
    /// Print JSON: a list of keys
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

#[derive(clap::Args, Debug)]
pub struct ShowArgs {
    #[command(flatten)]
    name: Named,
    /// Print JSON: a list of keys
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub fn list(args: &ListArgs) -> anyhow::Result<ExitCode> {
    let (directory, _) = args.place.existing()?;
    let keyring = load(&directory)?;
    let domains: Vec<&Domain> = if args.domains.is_empty() { keyring.domains().collect() } else { args.domains.iter().collect() };
    if let Some(unknown) = domains.iter().find(|domain| !keyring.domains().any(|known| known == **domain)) {
        bail!("there is no key of {unknown} in {}; `postseal key create {unknown}` makes one", directory.display());
    }
    let keys: Vec<&Key> = domains.iter().flat_map(|domain| keyring.keys(domain)).filter(|key| args.all || key.state != State::Removed).collect();
    if args.json {
        print_json(&keys.iter().map(|key| described(key, None)).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    if keys.is_empty() {
        eprintln!(
            "postseal: there are no keys in {}; `postseal key create DOMAIN` makes some, `key list --all` shows those that are removed",
            directory.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let now = crate::clock::now();
    let mut rows = vec![["DOMAIN", "SELECTOR", "KIND", "STATE", "SINCE"].map(str::to_owned)];
    rows.extend(keys.iter().map(|key| {
        let kind = key.private.as_ref().map_or_else(|| key.algorithm.to_string(), |private| format!("{}-{}", key.algorithm, private.public().bits()));
        let kind = if kind.starts_with("ed25519") { "ed25519".to_owned() } else { kind };
        let since = key.since.map_or_else(|| "-".to_owned(), |since| format!("{} ({})", minutes(since), span(now.since(since))));
        [key.id.domain.to_string(), key.id.selector.to_string(), kind, key.state.to_string(), since]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    for [domain, selector, kind, state, since] in &rows {
        println!("{domain:w0$}  {selector:w1$}  {kind:w2$}  {state:w3$}  {since}", w0 = widths[0], w1 = widths[1], w2 = widths[2], w3 = widths[3]);
    }
    Ok(ExitCode::SUCCESS)
}

pub fn show(args: &ShowArgs) -> anyhow::Result<ExitCode> {
    let (directory, _) = args.place.existing()?;
    let (domain, selector) = args.name.parts()?;
    let keyring = load(&directory)?;
    let ledger = Ledger::read(&directory, domain)?;
    let keys: Vec<&Key> = keyring.keys(domain).iter().filter(|key| selector.as_ref().is_none_or(|selector| key.id.selector == *selector)).collect();
    match (&selector, keys.is_empty()) {
        (Some(selector), true) => {
            let id = KeyId { domain: domain.clone(), selector: selector.clone() };
            bail!("there is no key {id} in {}; `postseal key list --all` shows those there are", directory.display())
        }
        (None, true) => bail!("there is no key of {domain} in {}; `postseal key create {domain}` makes one", directory.display()),
        _ => {}
    }
    if args.json {
        print_json(&keys.iter().map(|key| described(key, ledger.entries().get(&key.id.selector))).collect())?;
        return Ok(ExitCode::SUCCESS);
    }
    let now = crate::clock::now();
    for (nth, key) in keys.iter().enumerate() {
        if nth > 0 {
            println!();
        }
        print(key, ledger.entries().get(&key.id.selector), now);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(key: &Key, entry: Option<&Entry>, now: Timestamp) {
    let line = |name: &str, value: &str| println!("  {name:<12} {value}");
    println!("{}/{}", key.id.domain, key.id.selector);
    line("state", &format!("{}: {}", key.state, meaning(key.state)));
    if let Some(entry) = entry {
        line("since", &format!("{} ({})", entry.since.to_rfc3339(), span(now.since(entry.since))));
        line("made", &format!("{} ({})", entry.born().to_rfc3339(), span(now.since(entry.born()))));
    }
    match &key.private {
        Some(private) => {
            line("kind", &format!("{}, {} bits", key.algorithm, private.public().bits()));
            line("fingerprint", &format!("sha256:{}", private.public().fingerprint()));
        }
        None => line("kind", &format!("{}; its file is gone", key.algorithm)),
    }
    if let Some(ttl) = entry.and_then(|entry| entry.record_ttl) {
        line("record TTL", &span(ttl));
    }
    for (server, memory) in entry.into_iter().flat_map(|entry| &entry.servers) {
        let shown = memory.shown_since.map(|at| format!("shows it since {}", at.to_rfc3339()));
        let silent = memory.silent_since.map(|at| format!("silent since {}", at.to_rfc3339()));
        line(server, &shown.into_iter().chain(silent).collect::<Vec<_>>().join(", "));
    }
    for past in entry.into_iter().flat_map(|entry| &entry.history) {
        println!("  {} {:<9} {}", past.at.to_rfc3339(), past.state.to_string(), past.why);
    }
    match key.record() {
        Some(record) => println!("{}", zone_line(&key.id, &record)),
        None => println!("; no record at {}.", key.id),
    }
}

fn meaning(state: State) -> &'static str {
    match state {
        State::Created => "it does not sign; its record is yet to be published",
        State::Published => "it does not sign; its record was written",
        State::Visible => "it does not sign; every server shows its record",
        State::Active => "it signs",
        State::Retiring => "it signs no more; its record stays for mail on its way",
        State::Revoked => "it signs no more; its record has an empty p=",
        State::Removed => "it is gone; its selector is not used again",
    }
}

/// `2026-11-22 01:18`.
fn minutes(at: Timestamp) -> String {
    at.to_rfc3339()[..16].replace('T', " ")
}
