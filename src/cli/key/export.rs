//! `postseal key export`: a private key for another program, and only to where the operator wants it.

use super::{Named, Place, load, zone_line};
use crate::keys::{Record, write_export};
use anyhow::{anyhow, bail};
use clap::ValueEnum;
use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    name: Named,
    /// What the other program reads
    #[arg(long, value_enum, default_value_t = Format::Pkcs8)]
    format: Format,
    /// A new file, mode 0600; for the format opendkim a folder; absent: standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print the private key even to a terminal
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: Place,
}

/// The form of a private key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// PEM, "PRIVATE KEY": OpenSSL, rspamd, most others
    Pkcs8,
    /// PEM, "RSA PRIVATE KEY": older software; RSA only
    Pkcs1,
    /// SELECTOR.private and SELECTOR.txt in a folder, and the lines for KeyTable and SigningTable
    Opendkim,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (directory, _) = args.place.existing()?;
    let (domain, selector) = args.name.one()?;
    let keyring = load(&directory)?;
    let key = keyring.keys(domain).iter().find(|key| key.id.selector == selector);
    let key = key.ok_or_else(|| anyhow!("there is no key {domain}/{selector}; `postseal key list` shows those there are"))?;
    let private = key.private.as_ref().ok_or_else(|| anyhow!("the private half of {domain}/{selector}, which is {}, is gone", key.state))?;
    let pem = match args.format {
        Format::Pkcs8 | Format::Opendkim => private.to_pem(),
        Format::Pkcs1 => {
            private.to_pkcs1_pem().ok_or_else(|| anyhow!("{domain}/{selector} is an Ed25519 key, which has no PKCS#1 form; use --format pkcs8"))?
        }
    };
    match (&args.output, args.format) {
        (None, Format::Opendkim) => bail!("--format opendkim writes two files; name a folder for them with --output"),
        (Some(folder), Format::Opendkim) => {
            if !folder.is_dir() {
                bail!("{}: it is no folder; --format opendkim writes {selector}.private and {selector}.txt into one", folder.display());
            }
            let path = folder.join(format!("{selector}.private"));
            write_export(&path, pem.as_bytes())?;
            write_export(&folder.join(format!("{selector}.txt")), format!("{}\n", zone_line(&key.id, &Record::of(private.public().clone()))).as_bytes())?;
            let path = std::path::absolute(&path)?;
            println!("# KeyTable\n{} {domain}:{selector}:{}\n# SigningTable (refile)\n*@{domain} {}", key.id, path.display(), key.id);
        }
        (Some(path), _) => {
            write_export(path, pem.as_bytes())?;
            eprintln!("postseal: the private key of {domain}/{selector} is in {}", path.display());
        }
        (None, _) if io::stdout().is_terminal() && !args.yes => {
            bail!("this would show a private key on the terminal; write it to a file with --output FILE, or say --yes")
        }
        (None, _) => io::stdout().write_all(pem.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}
