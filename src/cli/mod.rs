//! The command line: one file a command. What was typed becomes a call; what went wrong becomes a sentence and an exit code.

mod config;
mod explain;
mod key;
mod serve;
mod sign;
mod user;

use clap::{Parser, Subcommand};
use std::path::PathBuf;
use std::process::ExitCode;

/// What was typed.
#[derive(Parser, Debug)]
#[command(name = "postseal", version, about, long_about = None, propagate_version = true, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run the relay until SIGTERM; SIGHUP reloads configuration, keys, certificates and users
    Serve(ConfigFile),
    /// Look at the configuration
    #[command(subcommand)]
    Config(config::Command),
    /// Make and look at signing keys
    #[command(subcommand)]
    Key(key::Command),
    /// Seal one message: standard input to standard output, by the same code as the relay
    Sign(sign::Args),
    /// Say what would become of a message, and which line of the configuration decides it; nothing is sent
    Explain(explain::Args),
    /// Make password hashes for clients that authenticate
    #[command(subcommand)]
    User(user::Command),
}

/// Which configuration.
#[derive(clap::Args, Debug)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG", default_value = "postseal.toml")]
    config: PathBuf,
}

/// Runs what was typed. 0: done; 1: not done, the reason is on standard error; 2: not understood (by clap).
pub fn run() -> ExitCode {
    let done = match Args::parse().command {
        Command::Serve(file) => serve::run(&file.config),
        Command::Config(command) => config::run(command),
        Command::Key(command) => key::run(command),
        Command::Sign(args) => sign::run(args),
        Command::Explain(args) => explain::run(args),
        Command::User(command) => user::run(command),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("postseal: {error:#}");
            ExitCode::FAILURE
        }
    }
}
