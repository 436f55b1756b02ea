//! `postseal key import`: keys of OpenDKIM, rspamd and OpenSSL.

use super::{Place, print_json, record_json, zone_line};
use crate::keys::import::{Foreign, Found, Source, opendkim, read, rspamd, take};
use crate::keys::{Algorithm, Keyring, Record, State};
use crate::mail::{Domain, KeyId, Timestamp};
use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Args {
    /// The author domain of a single key
    #[arg(requires_all = ["selector", "file"], required_unless_present_any = ["opendkim_keytable", "rspamd"])]
    domain: Option<Domain>,
    /// Its selector
    selector: Option<String>,
    /// Its file: PEM (PKCS#8 or PKCS#1, not encrypted), or base64 as rspamd writes Ed25519 keys
    file: Option<PathBuf>,
    /// The file with its DNS record, to be compared; absent: that beside the key with the ending .txt, where there is one
    #[arg(long, value_name = "FILE", requires = "file")]
    record: Option<PathBuf>,
    /// All keys of an OpenDKIM KeyTable
    #[arg(long, value_name = "FILE", conflicts_with_all = ["domain", "rspamd"])]
    opendkim_keytable: Option<PathBuf>,
    /// The SigningTable that says which of them sign, and for whom
    #[arg(long, value_name = "FILE", requires = "opendkim_keytable")]
    signing_table: Option<PathBuf>,
    /// All keys of an rspamd folder of DOMAIN.SELECTOR.key files, or those that a dkim_signing.conf names
    #[arg(long, value_name = "DIR|FILE", conflicts_with_all = ["domain", "opendkim_keytable"])]
    rspamd: Option<PathBuf>,
    /// Where the files of that machine are on this one: /etc/dkimkeys/a is looked for as DIR/etc/dkimkeys/a
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// Their records are not published yet: they do not sign before `postseal key rotate` has seen them
    #[arg(long)]
    unpublished: bool,
    /// Say what would be taken, and take nothing
    #[arg(long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

/// What became of one key.
struct Outcome {
    id: KeyId,
    /// Its record, or why it was not taken.
    result: Result<(&'static str, Record), String>,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (directory, config) = args.place.find()?;
    let (found, from) = args.find()?;
    let now = crate::clock::now();
    let mut notes = found.notes;
    let mut seen = BTreeSet::new();
    let mut outcomes = Vec::new();
    for foreign in &found.keys {
        let id = KeyId { domain: foreign.domain.clone(), selector: foreign.selector.clone() };
        if seen.insert(id.clone()) {
            outcomes.push(Outcome { result: args.take(&directory, foreign, &from, &mut notes, now).map_err(|error| format!("{error:#}")), id });
        }
    }
    notes.extend(advice(args, &directory, &outcomes));
    args.tell(&outcomes, &notes)?;
    for domain in outcomes.iter().map(|outcome| &outcome.id.domain).collect::<BTreeSet<_>>() {
        args.place.mention_unknown(domain, config.as_ref());
    }
    Ok(if outcomes.iter().all(|outcome| outcome.result.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Args {
    /// The keys that were asked for, and where from, for their histories.
    fn find(&self) -> anyhow::Result<(Found, String)> {
        if let Some(table) = &self.opendkim_keytable {
            let signing = self.signing_table.as_deref().map(text).transpose()?;
            let found = opendkim::read(&text(table)?, signing.as_deref()).map_err(|faults| named_faults(table, &faults))?;
            let keys = found.keys.into_iter().map(|key| self.moved(key)).collect();
            return Ok((Found { keys, notes: found.notes }, format!("OpenDKIM's {}", table.display())));
        }
        if let Some(path) = &self.rspamd {
            let found = if path.is_dir() { rspamd::folder(path) } else { rspamd::configuration(&text(path)?, |path| self.here(path)) };
            return Ok((found.map_err(|faults| named_faults(path, &faults))?, format!("rspamd's {}", path.display())));
        }
        match (&self.domain, &self.selector, &self.file) {
            (Some(domain), Some(selector), Some(file)) => {
                let selector = super::selector(selector).map_err(|why| anyhow!(why))?;
                let keys = vec![Foreign { domain: domain.clone(), selector, source: Source::File(file.clone()) }];
                Ok((Found { keys, notes: Vec::new() }, file.display().to_string()))
            }
            _ => bail!("expected DOMAIN SELECTOR FILE, --opendkim-keytable FILE or --rspamd PATH"),
        }
    }

    fn moved(&self, key: Foreign) -> Foreign {
        match key.source {
            Source::File(path) => Foreign { source: Source::File(self.here(&path)), ..key },
            Source::Text(_) => key,
        }
    }

    fn here(&self, path: &Path) -> PathBuf {
        self.root.as_ref().map_or_else(|| path.to_owned(), |root| root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    fn take(&self, directory: &Path, foreign: &Foreign, from: &str, notes: &mut Vec<String>, now: Timestamp) -> anyhow::Result<(&'static str, Record)> {
        let key = read(foreign, self.record.as_deref())?;
        notes.extend(key.notes);
        let record = Record::of(key.private.public().clone());
        if self.dry_run {
            return Ok(("would be taken", record));
        }
        let (state, what) = if self.unpublished { (State::Created, "not published yet") } else { (State::Active, "signed there") };
        let why = format!("imported from {from}; {what}");
        Ok((if take(directory, foreign, key.private, state, &why, now)?.is_some() { "taken" } else { "there already" }, record))
    }

    fn tell(&self, outcomes: &[Outcome], notes: &[String]) -> anyhow::Result<()> {
        if self.json {
            let key = |outcome: &Outcome| -> Value {
                match &outcome.result {
                    Ok((what, record)) => json!({ "key": outcome.id.to_string(), "result": what, "record": record_json(&outcome.id, record) }),
                    Err(why) => json!({ "key": outcome.id.to_string(), "result": "refused", "why": why }),
                }
            };
            return print_json(&json!({ "keys": outcomes.iter().map(key).collect::<Vec<_>>(), "notes": notes, "dry_run": self.dry_run }));
        }
        for outcome in outcomes {
            match &outcome.result {
                Ok((what, record)) => println!("; {}/{}: {what}\n{}", outcome.id.domain, outcome.id.selector, zone_line(&outcome.id, record)),
                Err(why) => eprintln!("postseal: {}/{} is not taken: {why}", outcome.id.domain, outcome.id.selector),
            }
        }
        for note in notes {
            eprintln!("postseal: {note}");
        }
        Ok(())
    }
}

/// What to do with the keys that were taken.
fn advice(args: &Args, directory: &Path, outcomes: &[Outcome]) -> Vec<String> {
    let mut advice = Vec::new();
    if args.dry_run || outcomes.iter().all(|outcome| outcome.result.is_err()) {
        return advice;
    }
    if args.unpublished {
        advice.push("publish the records; `postseal key rotate DOMAIN` lets each key sign once every server shows it".to_owned());
    } else {
        advice.push("they sign from now on: the records above must be in the DNS as they are (`postseal doctor` compares)".to_owned());
    }
    let keyring = Keyring::load(directory).unwrap_or_default();
    for domain in outcomes.iter().filter(|outcome| outcome.result.is_ok()).map(|outcome| &outcome.id.domain).collect::<BTreeSet<_>>() {
        if keyring.active(domain, Algorithm::Rsa).next().is_none() && !args.unpublished {
            advice.push(format!("{domain} has no active RSA key; Ed25519 signs only beside one: `postseal key create {domain} --another`"));
        }
    }
    advice
}

/// A table's text; OpenDKIM's prefixes of a file are understood.
fn text(path: &Path) -> anyhow::Result<String> {
    let shown = path.display().to_string();
    let path = shown.strip_prefix("refile:").or_else(|| shown.strip_prefix("file:")).map_or_else(|| path.to_owned(), PathBuf::from);
    fs::read_to_string(&path).with_context(|| format!("{}: it cannot be read", path.display()))
}

fn named_faults(path: &Path, faults: &[String]) -> anyhow::Error {
    anyhow!(faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect::<Vec<_>>().join("\n"))
}
