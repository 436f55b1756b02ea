//! `postseal config …`

use super::ConfigFile;
use super::reach::{self, Gravity};
use crate::config::{Config, Document};
use crate::relay;
use anyhow::Context;
use clap::Subcommand;
use std::process::ExitCode;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Find every fault at once, of the file and of the keys and certificates it names
    ///
    /// Without the DNS, unless --dns asks for it. Exit code 0: no faults; 1: faults; 3: none, but the DNS did not answer everything.
    Check(Check),
}

/// What was typed behind `check`.
#[derive(clap::Args, Debug)]
pub struct Check {
    #[command(flatten)]
    file: ConfigFile,
    /// Ask the DNS for what the configuration relies on: name servers, smart hosts, bounce domains, EHLO names
    #[arg(long)]
    dns: bool,
}

pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Check(check) = command;
    let path = &check.file.config;
    let read = Document::load(path).and_then(|document| Ok((Config::of(&document)?, document)));
    let (config, document) = match read {
        Ok(read) => read,
        Err(faults) => return Ok(failed(&faults.to_string(), faults.iter().len())),
    };
    let place = if path.exists() { path.display().to_string() } else { "the environment".to_owned() };
    let expanded = document.expanded();
    if !expanded.is_empty() {
        println!("[sidecar] means:");
        for line in &expanded {
            println!("  {line}");
        }
    }
    match relay::look(&config) {
        Ok(warnings) => warnings.iter().for_each(|warning| println!("warning: {warning}")),
        Err(faults) => return Ok(failed(&faults.to_string(), faults.0.len())),
    }
    let gravest = if check.dns { asked(&config)? } else { None };
    match gravest {
        Some(Gravity::Fault) => Ok(ExitCode::FAILURE),
        Some(Gravity::Unknown) => {
            println!("{place}: no faults found, but the DNS did not answer everything");
            Ok(ExitCode::from(UNKNOWN))
        }
        Some(Gravity::Warning) | None => {
            println!("{place}: no faults");
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Prints what the DNS says; the gravest of it.
fn asked(config: &Config) -> anyhow::Result<Option<Gravity>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no thread to ask the DNS with")?;
    let found = runtime.block_on(reach::look(config))?;
    let faults = found.iter().filter(|found| found.gravity == Gravity::Fault).count();
    for found in &found {
        if found.gravity == Gravity::Fault { eprintln!("{found}") } else { println!("{found}") }
    }
    if faults > 0 {
        failed("", faults);
    }
    Ok(found.iter().map(|found| found.gravity).max())
}

fn failed(faults: &str, count: usize) -> ExitCode {
    if !faults.is_empty() {
        eprintln!("{faults}");
    }
    eprintln!("{count} fault{}", if count == 1 { "" } else { "s" });
    ExitCode::FAILURE
}

/// As `doctor` says it: nothing is wrong, but not everything was seen.
const UNKNOWN: u8 = 3;
