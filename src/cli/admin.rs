//! `postseal admin …`

use crate::admin::guard;
use anyhow::Context;
use clap::Subcommand;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Make a token, and print the table with its hash for the configuration
    Token {
        /// Who will have it: the table is [admin.tokens.NAME]
        #[arg(default_value = "main", value_parser = name)]
        name: String,
        /// It may look, and change nothing
        #[arg(long)]
        read_only: bool,
        /// Write the token to this new file, which only we may read, and not to standard output
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
}

pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Token { name, read_only, file } = command;
    let mut chance = [0u8; 32];
    aws_lc_rs::rand::fill(&mut chance).map_err(|_| anyhow::anyhow!("the system gives no random octets"))?;
    let token = guard::token(&chance);
    match file {
        Some(file) => write(file, &token)?,
        None => println!("# The token, for whoever asks. It is kept nowhere and not shown again.\n{token}\n\n# For the configuration:"),
    }
    println!("[admin.tokens.{name}]\nhash = \"{}\"", guard::written(&token));
    if *read_only {
        println!("read_only = true");
    }
    Ok(ExitCode::SUCCESS)
}

fn write(file: &Path, token: &str) -> anyhow::Result<()> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = opened.and_then(|mut opened| opened.write_all(format!("{token}\n").as_bytes()));
    written.with_context(|| format!("{} cannot be written; name a file that is not there yet", file.display()))
}

fn name(text: &str) -> Result<String, String> {
    let is_bare = !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_');
    if is_bare { Ok(text.to_owned()) } else { Err("expected letters, digits, - and _".to_owned()) }
}
