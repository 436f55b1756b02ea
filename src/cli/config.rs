//! `postseal config …`

use super::ConfigFile;
use crate::config::Config;
use crate::relay;
use clap::Subcommand;
use std::process::ExitCode;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Find every fault at once, of the file and of the keys and certificates it names, without DNS; exit code 1 when there is one
    Check(ConfigFile),
}

#[allow(clippy::unnecessary_wraps, reason = "every command returns the same")]
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Check(ConfigFile { config: path }) = command;
    let (faults, count) = match Config::load(&path) {
        Ok(config) => match relay::look(&config) {
            Ok(warnings) => {
                for warning in warnings {
                    println!("warning: {warning}");
                }
                println!("{}: no faults", path.display());
                return Ok(ExitCode::SUCCESS);
            }
            Err(faults) => (faults.to_string(), faults.0.len()),
        },
        Err(faults) => (faults.to_string(), faults.iter().len()),
    };
    eprintln!("{faults}");
    eprintln!("{count} fault{}", if count == 1 { "" } else { "s" });
    Ok(ExitCode::FAILURE)
}
