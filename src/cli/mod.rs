//! The command line: one file a command. What was typed becomes a call; what went wrong becomes a sentence and an exit code.

mod check;
mod classify;
mod config;
mod dns;
mod doctor;
mod explain;
mod inventory;
mod key;
pub mod paint;
mod reach;
mod serve;
mod sign;
mod spool;
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
    /// Look at domains and at the relay as receivers see them: what they demand, what is missing, and the records to paste
    ///
    /// Without a domain, all of the configuration. Exit code 0: all is well; 1: there are warnings, with --strict; 2: something fails;
    /// 3: nothing fails, but something could not be asked; 4: nothing was examined, the reason is on standard error.
    Doctor(Box<doctor::Args>),
    /// The DNS records of a domain: print, compare, publish
    #[command(subcommand)]
    Dns(dns::Command),
    /// Judge a message, sent or about to be: SPF, DKIM, DMARC, ARC and form, what Gmail, Yahoo and Microsoft make of it, what to mend
    ///
    /// Reads a file or standard input; LF line ends are read as if sent with CR LF. Exit code 0: all three accept it; 2: one would refuse
    /// it; 3: that cannot be told, because the DNS did not answer or SPF could not be checked; 4: nothing was examined, the reason is on
    /// standard error.
    Check(Box<check::Args>),
    /// Say what messages that came back mean: bounces, delays, automatic replies, complaints
    Classify(classify::Args),
    /// Copy the queue, restore a copy, look for damage
    #[command(subcommand)]
    Spool(spool::Command),
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
        Command::Dns(command) => dns::run(command),
        Command::Doctor(args) => doctor::run(*args),
        Command::Check(args) => Ok(check::run(*args)),
        Command::Classify(args) => classify::run(&args),
        Command::Spool(command) => spool::run(command),
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
