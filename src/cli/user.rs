//! `postseal user …`

use crate::ingress::sasl::{hash_argon2id, scram_verifier};
use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use std::io::{self, BufRead, IsTerminal};
use std::process::ExitCode;
use zeroize::Zeroizing;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Hash a password for `credential` of a table [users.NAME]: asks for it on a terminal, else reads one line of standard input
    Hash {
        /// The form of the hash
        #[arg(long, value_enum, default_value_t = Form::Scram)]
        form: Form,
        /// Rounds of a SCRAM verifier (RFC 7677 asks for at least 4096)
        #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(4096..=10_000_000))]
        iterations: u32,
    },
}

/// The form of a hash.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Form {
    /// A SCRAM-SHA-256 verifier: serves SCRAM, PLAIN and LOGIN
    Scram,
    /// argon2id in PHC form: harder to guess when stolen; serves PLAIN and LOGIN
    Argon2id,
}

#[allow(clippy::needless_pass_by_value, reason = "every command is called alike")]
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    let Command::Hash { form, iterations } = command;
    let password = password()?;
    let hash = match form {
        Form::Argon2id => hash_argon2id(&password)?,
        Form::Scram => {
            let mut salt = [0u8; 16];
            aws_lc_rs::rand::fill(&mut salt).map_err(|_| anyhow::anyhow!("the system gives no random octets"))?;
            scram_verifier(&password, iterations, &salt)?
        }
    };
    println!("{hash}");
    Ok(ExitCode::SUCCESS)
}

fn password() -> anyhow::Result<Zeroizing<String>> {
    let password = if io::stdin().is_terminal() {
        let first = Zeroizing::new(rpassword::prompt_password("Password: ").context("the password could not be read")?);
        let again = Zeroizing::new(rpassword::prompt_password("Once more: ").context("the password could not be read")?);
        if first != again {
            bail!("the two are not the same");
        }
        first
    } else {
        let mut line = Zeroizing::new(String::new());
        io::stdin().lock().read_line(&mut line).context("the password could not be read from standard input")?;
        Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned())
    };
    if password.is_empty() {
        bail!("the password is empty; expected one line on standard input");
    }
    Ok(password)
}
