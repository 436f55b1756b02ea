//! `postseal key abort`, `revoke` and `remove`: how keys end when somebody wants it.
//!
//! What is allowed is decided by pure functions over the ledger's entries, so that `--dry-run` says exactly what would be done.

use super::{Named, Place, print_json, record_json, zone_line};
use crate::keys::lifecycle::span;
use crate::keys::{Algorithm, Entry, Ledger, Record, State};
use crate::mail::{Domain, KeyId, Selector};
use anyhow::bail;
use serde_json::json;
use std::collections::BTreeMap;
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct AbortArgs {
    /// Of a domain alone, all keys on their way to being active are given up
    #[command(flatten)]
    name: Named,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args, Debug)]
pub struct RevokeArgs {
    #[command(flatten)]
    name: Named,
    /// At once, though mail it signed is on its way: for a key that leaked
    #[arg(long)]
    now: bool,
    /// Though no RSA key is left to sign for the domain
    #[arg(long, requires = "now")]
    leave_unsigned: bool,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args, Debug)]
pub struct RemoveArgs {
    #[command(flatten)]
    name: Named,
    #[command(flatten)]
    how: How,
}

#[derive(clap::Args, Debug)]
struct How {
    /// For the key's history
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

type Entries = BTreeMap<Selector, Entry>;

/// One key that goes into another state.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Move {
    selector: Selector,
    to: State,
    /// What the operator has to know or do, each a sentence.
    notes: Vec<String>,
}

pub fn abort(args: &AbortArgs) -> anyhow::Result<ExitCode> {
    let (domain, selector) = args.name.parts()?;
    args.how.carry_out("abort", domain, |entries| aborted(entries, domain, selector.as_ref()))
}

pub fn revoke(args: &RevokeArgs) -> anyhow::Result<ExitCode> {
    let (domain, selector) = args.name.one()?;
    let verb = if args.now { "revoke --now" } else { "revoke" };
    args.how.carry_out(verb, domain, |entries| revoked(entries, domain, &selector, args))
}

pub fn remove(args: &RemoveArgs) -> anyhow::Result<ExitCode> {
    let (domain, selector) = args.name.one()?;
    args.how.carry_out("remove", domain, |entries| removed(entries, domain, &selector))
}

fn aborted(entries: &Entries, domain: &Domain, selector: Option<&Selector>) -> anyhow::Result<Vec<Move>> {
    let is_on_its_way = |state| matches!(state, State::Created | State::Published | State::Visible);
    if let Some(selector) = selector {
        let state = known(entries, domain, selector)?.state;
        if !is_on_its_way(state) {
            bail!(
                "{domain}/{selector} is {state}; only a key that does not sign yet is given up, one that did is revoked: `postseal key revoke {domain}/{selector}`"
            );
        }
    }
    let given_up = entries.iter().filter(|(name, entry)| selector.is_none_or(|selector| selector == *name) && is_on_its_way(entry.state));
    let moves: Vec<Move> = given_up.map(|(selector, entry)| give_up(domain, selector, entry.state)).collect();
    if moves.is_empty() {
        bail!("no key of {domain} is on its way to being active: there is nothing to give up");
    }
    Ok(moves)
}

fn give_up(domain: &Domain, selector: &Selector, state: State) -> Move {
    let id = id(domain, selector);
    match state {
        State::Created => {
            let notes = vec![format!("if you published its record already, delete it: {id}. TXT")];
            Move { selector: selector.clone(), to: State::Removed, notes }
        }
        _ => {
            let notes = vec![
                format!("it never signed: delete its record, {id}. TXT; a relay that writes this zone empties it and deletes it in time"),
                format!("`postseal key remove {domain}/{selector}` then destroys its private half"),
            ];
            Move { selector: selector.clone(), to: State::Revoked, notes }
        }
    }
}

fn revoked(entries: &Entries, domain: &Domain, selector: &Selector, args: &RevokeArgs) -> anyhow::Result<Vec<Move>> {
    let entry = known(entries, domain, selector)?;
    let key = format!("{domain}/{selector}");
    let others = |algorithm: Algorithm, state: State| {
        let others = entries.iter().filter(move |(name, entry)| *name != selector && entry.algorithm == algorithm && entry.state == state);
        others.map(|(name, _)| name)
    };
    let mut moves = Vec::new();
    let mut notes = Vec::new();
    match entry.state {
        State::Created => bail!("{key} is created: nobody has seen it, so there is nothing to revoke; give it up with `postseal key abort {key}`"),
        State::Revoked | State::Removed => bail!("{key} is {} already", entry.state),
        State::Published | State::Visible => notes.push("it never signed: no mail is affected".to_owned()),
        State::Retiring if !args.now => bail!(
            "{key} is retiring: mail it signed may be on its way, and a relay with [rotation] revokes it when none is; --now revokes it all the same, and that mail fails to verify"
        ),
        State::Retiring => notes.push(consequence(entry, selector, true)),
        State::Active => {
            let same = others(entry.algorithm, State::Active).next();
            let successor = others(entry.algorithm, State::Visible).next();
            if same.is_none() && !args.now {
                bail!(
                    "{key} is the only {} key of {domain} that signs; to replace it, `postseal key rotate {domain}`; if it leaked, --now revokes it at once",
                    entry.algorithm
                );
            }
            if same.is_none()
                && let Some(successor) = successor
            {
                let notes = vec![format!("it takes over before its soak is over, since {selector} is revoked at once")];
                moves.push(Move { selector: successor.clone(), to: State::Active, notes });
            }
            let is_signed = entry.algorithm == Algorithm::Ed25519 || same.is_some() || successor.is_some();
            if !is_signed && !args.leave_unsigned {
                let on_its_way = others(Algorithm::Rsa, State::Created).chain(others(Algorithm::Rsa, State::Published)).next();
                bail!("{}", no_successor(domain, &key, on_its_way));
            }
            if !is_signed {
                notes.push(format!(
                    "no key signs for {domain} now: seal.no_key decides whether its mail is refused (the default) or goes out unsigned, until another is active"
                ));
            }
            notes.push(consequence(entry, selector, same.is_none()));
        }
    }
    let caches = entry.record_ttl.map_or_else(|| "its TTL".to_owned(), span);
    notes.push(format!("replace its record by the one with an empty p=; until caches forget the old one ({caches}) a thief's signatures still pass. A relay that writes this zone does it by itself"));
    moves.push(Move { selector: selector.clone(), to: State::Revoked, notes });
    Ok(moves)
}

/// What revoking a key means for mail that it signed.
fn consequence(entry: &Entry, selector: &Selector, is_alone: bool) -> String {
    let since = entry.active_since().map_or_else(String::new, |at| format!(" since {}", at.to_rfc3339()));
    let rest = if is_alone { "" } else { "; where another key signed it too, that signature still passes" };
    format!(
        "mail queued here is sealed anew before its next attempt. Mail{since} that was handed on and is not verified yet, in queues of other hosts, at forwarders and mailing lists, loses the signature by {selector}: DKIM fails, and DMARC with it unless SPF is aligned{rest}"
    )
}

fn no_successor(domain: &Domain, key: &str, on_its_way: Option<&Selector>) -> String {
    let first = match on_its_way {
        Some(selector) => format!("{selector} is on its way, but not every server shows it yet: `postseal key rotate {domain} --wait` waits for that"),
        None => format!("make another first: `postseal key create {domain} --another`, publish its record, `postseal key rotate {domain} --wait`"),
    };
    format!(
        "no other key could sign for {domain}, and its mail would be refused. {first}; then revoke {key}. \
         If the theft does not wait: --now --leave-unsigned revokes it at once, and mail of {domain} waits for a new key"
    )
}

fn removed(entries: &Entries, domain: &Domain, selector: &Selector) -> anyhow::Result<Vec<Move>> {
    let state = known(entries, domain, selector)?.state;
    let id = id(domain, selector);
    match state {
        State::Removed | State::Revoked => {}
        State::Created | State::Published | State::Visible => {
            bail!("{domain}/{selector} is {state}; give it up first: `postseal key abort {domain}/{selector}`")
        }
        State::Active | State::Retiring => {
            bail!("{domain}/{selector} is {state}; only a revoked key is removed: `postseal key revoke {domain}/{selector}` first")
        }
    }
    let note = format!("its private half is destroyed, its selector stays used; delete its record: {id}. TXT");
    Ok(vec![Move { selector: selector.clone(), to: State::Removed, notes: vec![note] }])
}

fn known<'a>(entries: &'a Entries, domain: &Domain, selector: &Selector) -> anyhow::Result<&'a Entry> {
    match entries.get(selector) {
        Some(entry) => Ok(entry),
        None => bail!("there is no key {}; `postseal key list {domain}` shows those there are", id(domain, selector)),
    }
}

fn id(domain: &Domain, selector: &Selector) -> KeyId {
    KeyId { domain: domain.clone(), selector: selector.clone() }
}

impl How {
    /// Decides and does, or with `--dry-run` decides only.
    fn carry_out(&self, verb: &str, domain: &Domain, decide: impl Fn(&Entries) -> anyhow::Result<Vec<Move>>) -> anyhow::Result<ExitCode> {
        let (directory, _) = self.place.existing()?;
        let mut ledger = if self.dry_run { None } else { Some(Ledger::open(&directory, domain)?) };
        let before = match &ledger {
            Some(ledger) => ledger.entries().clone(),
            None => Ledger::read(&directory, domain)?.entries().clone(),
        };
        let moves = decide(&before)?;
        if let Some(ledger) = &mut ledger {
            let now = crate::clock::now();
            let why = self.reason.as_ref().map_or_else(|| format!("key {verb}"), |reason| format!("key {verb}: {reason}"));
            for step in &moves {
                ledger.advance(&step.selector, step.to, &why, now)?;
            }
        }
        self.tell(domain, &before, &moves)?;
        Ok(ExitCode::SUCCESS)
    }

    fn tell(&self, domain: &Domain, before: &Entries, moves: &[Move]) -> anyhow::Result<()> {
        let record = |step: &Move| (step.to == State::Revoked).then(|| Record::revoked(before[&step.selector].algorithm));
        if self.json {
            let all = moves.iter().map(|step| {
                let id = id(domain, &step.selector);
                let record = record(step).map(|record| record_json(&id, &record));
                let from = before[&step.selector].state.to_string();
                json!({ "key": id.to_string(), "from": from, "to": step.to.to_string(), "record": record, "notes": step.notes, "dry_run": self.dry_run })
            });
            return print_json(&all.collect());
        }
        for step in moves {
            let would = if self.dry_run { "would become" } else { "is now" };
            println!("; {domain}/{} {would} {} (was {})", step.selector, step.to, before[&step.selector].state);
            for note in &step.notes {
                println!(";   {note}");
            }
            if let Some(record) = record(step) {
                println!("{}", zone_line(&id(domain, &step.selector), &record));
            }
        }
        Ok(())
    }
}
