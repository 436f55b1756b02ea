//! `postseal config …`

use super::ConfigFile;
use crate::config::Config;
use clap::Subcommand;
use std::process::ExitCode;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Find every fault at once, before start and without DNS; exit code 1 when there is one
    Check(ConfigFile),
}

#[allow(clippy::unnecessary_wraps, reason = "every command returns the same")]
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Check(ConfigFile { config: path }) = command;
    match Config::load(&path) {
        Ok(config) => {
            for warning in config.warnings() {
                println!("warning: {warning}");
            }
            println!("{}: no faults", path.display());
            Ok(ExitCode::SUCCESS)
        }
        Err(faults) => {
            eprintln!("{faults}");
            let count = faults.iter().len();
            eprintln!("{count} fault{}", if count == 1 { "" } else { "s" });
            Ok(ExitCode::FAILURE)
        }
    }
}
