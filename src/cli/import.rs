//! `postseal import`: a configuration made from that of another mail system, on standard output; what is left to do and what could not be
//! carried over, in its head and on standard error.

use crate::migrate::postfix::{self, Asked};
use crate::migrate::{Draft, container, opendkim, rspamd};
use anyhow::{Context as _, anyhow, bail};
use clap::Subcommand;
use std::fs;
use std::io::{self, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Subcommand, Debug)]
pub enum Command {
    /// Postfix: main.cf and master.cf
    Postfix {
        /// Its folder, or main.cf alone (the output of `postconf -n` will do)
        #[arg(default_value = "/etc/postfix")]
        path: PathBuf,
        /// An author domain of the applications; may be repeated
        #[arg(long = "domain", value_name = "DOMAIN")]
        domains: Vec<String>,
        #[command(flatten)]
        machine: Machine,
    },
    /// OpenDKIM: opendkim.conf, KeyTable, SigningTable, InternalHosts
    Opendkim {
        /// Its configuration
        #[arg(default_value = "/etc/opendkim.conf")]
        path: PathBuf,
        #[command(flatten)]
        machine: Machine,
    },
    /// rspamd: dkim_signing.conf
    Rspamd {
        /// That file, or the folder that holds local.d
        #[arg(default_value = "/etc/rspamd")]
        path: PathBuf,
    },
    /// The variables of a container image of Postfix (boky, juanluisbaptiste, bytemark, namshi, mwader, shamil)
    DockerPostfix {
        /// A file of NAME=VALUE lines; "-": standard input, as from `docker exec NAME env`; absent: the variables of this process
        path: Option<PathBuf>,
        #[command(flatten)]
        machine: Machine,
    },
}

/// The machine that is moved from.
#[derive(clap::Args, Debug)]
pub struct Machine {
    /// Where its files are on this one: /etc/postfix/sasl_passwd is looked for as DIR/etc/postfix/sasl_passwd
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Machine {
    fn here(&self, path: &Path) -> PathBuf {
        self.root.as_ref().map_or_else(|| path.to_owned(), |root| root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    fn text(&self, path: &str) -> Result<String, String> {
        let path = self.here(Path::new(path));
        fs::read_to_string(&path).map_err(|error| format!("{}: it cannot be read: {error}", path.display()))
    }
}

pub fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let (draft, from) = match command {
        Command::Postfix { path, domains, machine } => from_postfix(path, domains, machine)?,
        Command::Opendkim { path, machine } => {
            let text = text(&machine.here(path))?;
            (opendkim::read(&text, &|path| machine.text(path)).map_err(|faults| named(path, &faults))?, path.display().to_string())
        }
        Command::Rspamd { path } => {
            let file = if path.is_dir() { path.join("local.d/dkim_signing.conf") } else { path.clone() };
            let shown = file.display().to_string();
            (rspamd::read(&text(&file)?, &shown).map_err(|faults| named(&file, &faults))?, shown)
        }
        Command::DockerPostfix { path, machine } => from_variables(path.as_deref(), machine)?,
    };
    tell(draft, &from);
    Ok(ExitCode::SUCCESS)
}

fn from_postfix(path: &Path, domains: &[String], machine: &Machine) -> anyhow::Result<(Draft, String)> {
    for domain in domains {
        domain.parse::<crate::mail::Domain>().map_err(|why| anyhow!("--domain \"{domain}\": {why}"))?;
    }
    let place = machine.here(path);
    let (main, master) = if place.is_dir() { (place.join("main.cf"), Some(place.join("master.cf"))) } else { (place, None) };
    let services = master.filter(|file| file.exists()).map(|file| text(&file)).transpose()?;
    let files = |path: &str| machine.text(path);
    Ok((postfix::read(&text(&main)?, services.as_deref(), Asked { domains, files: &files }), path.display().to_string()))
}

fn from_variables(path: Option<&Path>, machine: &Machine) -> anyhow::Result<(Draft, String)> {
    let (variables, from): (Vec<(String, String)>, String) = match path {
        None => (std::env::vars().collect(), "the variables of this process".to_owned()),
        Some(path) if path == Path::new("-") => {
            let mut text = String::new();
            io::stdin().read_to_string(&mut text).context("standard input cannot be read")?;
            (pairs(&text)?, "standard input".to_owned())
        }
        Some(path) => (pairs(&text(path)?)?, path.display().to_string()),
    };
    let draft = container::read(&variables, &|path| machine.text(path)).map_err(|why| anyhow!("{from}: {why}"))?;
    Ok((draft, from))
}

/// Lines `NAME=VALUE`, as Docker's env files have them; quotes around a value are the shell's.
fn pairs(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut pairs = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim().trim_start_matches("export ");
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { bail!("line {}: expected NAME=VALUE", number + 1) };
        pairs.push((name.trim().to_owned(), value.trim().trim_matches(['"', '\'']).to_owned()));
    }
    Ok(pairs)
}

fn tell(mut draft: Draft, from: &str) {
    if !draft.has("server") {
        draft.text("server", "hostname", "mail.example.com", "a stand-in");
        draft.ask("put the name that the PTR record of your address gives into server.hostname");
    }
    if !draft.has("listeners") {
        draft.text("listeners.submission", "address", "127.0.0.1:2525", "a stand-in");
        draft.text("listeners.submission", "tls", "none", "on loopback");
        draft.ask("say under [listeners.submission] where the applications connect");
    }
    print!("{}", draft.print(from));
    if io::stdout().is_terminal() {
        return; // they stand above, in the head
    }
    for (title, sentences) in [("to be done", &draft.to_do), ("not carried over", &draft.left)] {
        for sentence in sentences {
            eprintln!("postseal: {title}: {sentence}");
        }
    }
}

fn text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("{}: it cannot be read", path.display()))
}

fn named(path: &Path, faults: &[String]) -> anyhow::Error {
    anyhow!(faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect::<Vec<_>>().join("\n"))
}
