//! The command line: one file a command. What was typed becomes a call; what went wrong becomes a sentence and an exit code.

mod admin;
mod check;
mod classify;
mod completions;
mod config;
mod dns;
mod doctor;
mod events;
mod explain;
mod health;
mod import;
mod inventory;
mod key;
pub mod paint;
mod privacy;
mod queue;
mod reach;
mod reload;
pub mod remote;
mod serve;
mod sign;
mod spool;
mod status;
mod suppression;
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
    /// Say how the running relay is: what it does, what waits, and what keeps it from taking mail
    ///
    /// Exit code 0: it takes mail; 3: it runs, but takes none, the reasons are printed; 1: it did not answer.
    Status(status::Args),
    /// Print what happens to mail, or has happened: accepted, deferred, delivered, bounced and why
    Events(events::Args),
    /// Say by exit code whether the relay takes mail, or merely lives; for probes of containers
    ///
    /// Exit code 0: yes; 1: no, or no answer. What is wrong is printed.
    Health(health::Args),
    /// Have the running relay read its configuration, keys, certificates and users anew: all of it, or nothing
    Reload(reload::Args),
    /// Look into the queue of the running relay, and decide what becomes of mail: retry, hold, release, cancel, reroute
    #[command(subcommand)]
    Queue(queue::Command),
    /// Addresses that are not written to any more: look, add, remove, import, export
    #[command(subcommand)]
    Suppression(suppression::Command),
    /// Make tokens for those who ask the running relay
    #[command(subcommand)]
    Admin(admin::Command),
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
    /// Print a configuration made from that of Postfix, OpenDKIM, rspamd or a container of Postfix, and what it cannot carry over
    #[command(subcommand)]
    Import(import::Command),
    /// Make password hashes for clients that authenticate
    #[command(subcommand)]
    User(user::Command),
    /// Print what a shell needs to complete commands and options, to be sourced or installed
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write those of all commands to a folder
    Man(completions::ManArgs),
}

/// Which configuration.
#[derive(clap::Args, Debug)]
struct ConfigFile {
    /// The configuration file
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG", default_value = crate::config::DEFAULT_FILE)]
    config: PathBuf,
}

/// Runs what was typed. 0: done; 1: not done, the reason is on standard error; 2: not understood (by clap).
pub fn run() -> ExitCode {
    privacy::keep();
    let done = match Args::parse().command {
        Command::Serve(file) => serve::run(&file.config),
        Command::Status(args) => status::run(&args),
        Command::Events(args) => events::run(&args),
        Command::Health(args) => Ok(health::run(&args)),
        Command::Reload(args) => reload::run(&args),
        Command::Queue(command) => queue::run(command),
        Command::Suppression(command) => suppression::run(command),
        Command::Admin(command) => admin::run(&command),
        Command::Config(command) => config::run(command),
        Command::Key(command) => key::run(command),
        Command::Sign(args) => sign::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Dns(command) => dns::run(command),
        Command::Doctor(args) => doctor::run(*args),
        Command::Check(args) => Ok(check::run(*args)),
        Command::Classify(args) => classify::run(&args),
        Command::Spool(command) => spool::run(command),
        Command::Import(command) => import::run(&command),
        Command::User(command) => user::run(command),
        Command::Completions(args) => completions::completions(&args),
        Command::Man(args) => completions::man(&args),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("postseal: {error:#}");
            ExitCode::FAILURE
        }
    }
}
