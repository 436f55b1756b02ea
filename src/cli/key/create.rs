//! `postseal key create`

use super::{Place, described, load, print_json, template, zone_line};
use crate::keys::{self, Algorithm, Key, Keyring, Ledger, State};
use crate::mail::{Domain, Selector, Timestamp};
use anyhow::bail;
use serde_json::json;
use std::path::Path;
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub struct Args {
    /// The author domain, as in example.com
    domain: Domain,
    /// An Ed25519 pair too, even if the configuration does not turn it on for the domain
    #[arg(long)]
    ed25519: bool,
    /// Make new ones beside those that are there: created, not signing
    #[arg(long)]
    another: bool,
    /// Let the new ones sign at once, before anybody can see their records: for laboratories
    #[arg(long)]
    active: bool,
    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { domain, .. } = args;
    let (directory, config) = args.place.find()?;
    if !domain.is_fully_qualified() {
        bail!("\"{domain}\" has a single label; expected an author domain, as in example.com");
    }
    let settings = config.as_ref().and_then(|config| config.domains.get(domain));
    let mut algorithms = vec![Algorithm::Rsa];
    if args.ed25519 || settings.is_some_and(|settings| settings.ed25519) {
        algorithms.push(Algorithm::Ed25519);
    }
    let template = template(config.as_ref());
    let now = crate::clock::now();
    let mut plan = Plan::of(args, &algorithms, &load(&directory)?);
    if args.dry_run {
        return announce(args, &directory, &plan.algorithms, plan.state, now);
    }

    let mut made = Vec::new();
    if !plan.algorithms.is_empty() {
        let mut ledger = Ledger::open_or_make(&directory, domain)?;
        // Again, now that nobody else can make any: of two that run at once one makes the first keys of the domain.
        plan = Plan::of(args, &algorithms, &load(&directory)?);
        made = keys::create_in(&mut ledger, &plan.algorithms, &template, (plan.state, plan.why), now)?;
    }
    if keys::load_token_secrets(&directory).is_ok_and(|secrets| secrets.is_empty()) {
        keys::create_token_secret(&directory, now)?;
    }
    let keyring = load(&directory)?;
    if args.json {
        let all: Vec<_> = keyring.keys(domain).iter().map(|key| described(key, None)).collect();
        print_json(&json!({ "domain": domain.to_string(), "made": made.iter().map(|key| key.id.to_string()).collect::<Vec<_>>(), "keys": all }))?;
    } else {
        println!("; keys of {domain} in {}; publish these records before you send", directory.display());
        for key in keyring.keys(domain) {
            if let Some(record) = key.record() {
                println!("{}", zone_line(&key.id, &record));
            }
        }
        if config.is_some() {
            println!("; the domain's other records: `postseal dns records {domain}`");
        } else {
            let (bounce, host) = (format!("b.{domain}"), format!("mx1.{domain}"));
            println!("{bounce}. IN MX 10 {host}.");
            println!("{bounce}. IN TXT \"v=spf1 a:{host} ~all\"");
            println!("{host}. IN TXT \"v=spf1 a -all\"");
            println!("; unless there is one already:");
            println!("_dmarc.{domain}. IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc@{domain}\"");
            println!("; and PTR records of the relay's addresses that name {host}.");
        }
    }
    advise(domain, &made, &plan.on_their_way);
    args.place.mention_unknown(domain, config.as_ref());
    Ok(ExitCode::SUCCESS)
}

/// What is to be made beside what is there.
struct Plan {
    /// One key of each.
    algorithms: Vec<Algorithm>,
    /// Keys that are there and do not sign yet.
    on_their_way: Vec<Key>,
    /// In which state a new key begins.
    state: State,
    why: &'static str,
}

impl Plan {
    /// The first key of a domain signs at once: nothing else could.
    fn of(args: &Args, wanted: &[Algorithm], keyring: &Keyring) -> Self {
        let keys = keyring.keys(&args.domain);
        let is_there = |key: &Key| !args.another && matches!(key.state, State::Created | State::Published | State::Visible | State::Active);
        let (state, why) = match (args.active, args.another || keys.iter().any(|key| key.state == State::Active)) {
            (true, _) => (State::Active, "key create --active: the operator's word, its record was not looked for"),
            (false, true) => (State::Created, "key create"),
            (false, false) => (State::Active, "key create: the first key of its domain; its record was not looked for"),
        };
        Self {
            algorithms: wanted.iter().filter(|algorithm| !keys.iter().any(|key| key.algorithm == **algorithm && is_there(key))).copied().collect(),
            on_their_way: keys.iter().filter(|key| is_there(key) && key.state != State::Active).cloned().collect(),
            state,
            why,
        }
    }
}

fn advise(domain: &Domain, made: &[Key], on_their_way: &[Key]) {
    let selectors = |keys: &[&Key]| keys.iter().map(|key| key.id.selector.to_string()).collect::<Vec<_>>().join(" and ");
    let (signing, waiting): (Vec<&Key>, Vec<&Key>) = made.iter().partition(|key| key.state == State::Active);
    let waiting: Vec<&Key> = waiting.into_iter().chain(on_their_way).collect();
    if !signing.is_empty() {
        eprintln!(
            "postseal: {} signs from now on: publish the record before mail flows, since what is signed before fails at every receiver",
            selectors(&signing)
        );
    }
    if !waiting.is_empty() {
        eprintln!(
            "postseal: {} does not sign yet: publish the record; `postseal key rotate {domain}` lets it sign once every server shows it",
            selectors(&waiting)
        );
    }
    if made.is_empty() {
        eprintln!("postseal: {domain} has its keys already, none was made; --another makes one beside them");
    }
}

fn announce(args: &Args, directory: &Path, algorithms: &[Algorithm], state: State, now: Timestamp) -> anyhow::Result<ExitCode> {
    let ledger = Ledger::read(directory, &args.domain)?;
    let (template, mut planned): (_, Vec<Selector>) = (template(args.place.find()?.1.as_ref()), Vec::new());
    for algorithm in algorithms {
        planned.push(template.next(*algorithm, now, |selector| ledger.entries().contains_key(selector) || planned.contains(selector))?);
    }
    if args.json {
        let keys = planned
            .iter()
            .zip(algorithms)
            .map(|(selector, algorithm)| json!({ "selector": selector.as_str(), "algorithm": algorithm.to_string(), "state": state.to_string() }));
        print_json(&json!({ "domain": args.domain.to_string(), "dry_run": true, "would_make": keys.collect::<Vec<_>>() }))?;
    } else if planned.is_empty() {
        println!("nothing would be made: {} has its keys", args.domain);
    }
    for (selector, algorithm) in planned.iter().zip(algorithms).filter(|_| !args.json) {
        println!("would make {algorithm} key {selector} of {}, {state}", args.domain);
    }
    Ok(ExitCode::SUCCESS)
}
