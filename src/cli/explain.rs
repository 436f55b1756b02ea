//! `postseal explain`: what would become of a message, and which line of the configuration decides it; nothing is sent.
//!
//! It asks the relay's own code: the dialogue of `smtp`, the identities of `ingress`, `prepare`, and the ways of `deliver`; here is
//! only who asks, and how the answers look. The DNS is asked with `--dns` alone.

mod account;
mod book;
mod conversation;

use super::ConfigFile;
use crate::clock;
use crate::config::{Config, Document};
use crate::ingress::identity::{Identities, San};
use crate::mail::{Mailbox, Proof, ReversePath, TlsSession};
use crate::relay;
use crate::smtp::server::Peer;
use crate::smtp::settings::StartTls;
use account::{Account, Question};
use anyhow::{Context, bail};
use book::Book;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::sync::Arc;

/// What was typed.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// Who submits: an IP address, a user of [users], or a name in a client certificate (dns:…, email:…, uri:…)
    #[arg(long, value_name = "ADDRESS|USER|CERTIFICATE")]
    client: String,
    /// The envelope sender, of MAIL FROM; "<>" for none
    #[arg(long, value_name = "ADDRESS", value_parser = reverse_path)]
    from: ReversePath,
    /// A recipient; give it several times for several
    #[arg(long, value_name = "ADDRESS", required = true, num_args = 1.., value_parser = mailbox)]
    to: Vec<Mailbox>,
    /// The author in the header From; the envelope sender, if not given
    #[arg(long, value_name = "ADDRESS", value_parser = mailbox)]
    header_from: Option<Mailbox>,
    /// The listener it connects to; the first one where the client can be known, if not given
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The stream that the message names in X-Postseal-Stream
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// The size of the message that MAIL announces, in octets
    #[arg(long, value_name = "OCTETS")]
    size: Option<u64>,
    /// Ask the DNS where each recipient's mail goes; without it nothing is asked
    #[arg(long)]
    dns: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// 0: it would be accepted; 1: it would be refused, wholly or for a recipient.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let document = Document::load(&args.file.config)?;
    let config = Config::of(&document)?;
    let Some(author) = args.header_from.clone().or_else(|| args.from.mailbox().cloned()) else {
        bail!("mail with a null sender names no author; say which with --header-from ADDRESS");
    };
    let now = clock::now();
    let snapshot = relay::snapshot(&config, now).map_err(|faults| anyhow::anyhow!(faults.join("\n")))?;
    let client = client(&args.client, &config)?;
    let (listener, encrypted) = listener(args.listener.as_deref(), &client, &config)?;
    let peer = Peer {
        address: if let Who::Address(address) = client { address } else { IpAddr::V4(Ipv4Addr::LOCALHOST) },
        listener: listener.name.as_str().into(),
        known: known(&client, &config),
        tls: encrypted.then(|| TlsSession { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384".to_owned() }),
    };
    let question = Question { peer, listener, from: args.from, author, to: args.to, stream: args.stream, size: args.size };
    let account = Account::of(&question, &config, &snapshot, &Book::of(&document), now)?;
    let account = if args.dns { account.with_dns(&config, &Book::of(&document))? } else { account };
    let text = if args.json { account.json() } else { account.text() };
    io::stdout().lock().write_all(text.as_bytes()).context("standard output cannot be written")?;
    Ok(if account.is_accepted() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who submits.
enum Who {
    Address(IpAddr),
    User(String),
    Certificate(San),
}

fn client(text: &str, config: &Config) -> anyhow::Result<Who> {
    if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse() {
        return Ok(Who::Address(address));
    }
    if config.users.iter().any(|user| user.name == text) {
        return Ok(Who::User(text.to_owned()));
    }
    if let Ok(san) = text.parse::<San>() {
        return Ok(Who::Certificate(san));
    }
    let is_identity = config.policy.identities.keys().any(|name| name.as_str() == text);
    let mut users: Vec<&str> = config.users.iter().map(|user| user.name.as_str()).collect();
    users.sort_unstable();
    let users = if users.is_empty() { "there are no users".to_owned() } else { format!("users: {}", users.join(", ")) };
    if is_identity {
        bail!("\"{text}\" is an identity; name one who is it: an address in its networks, one of its users, or a name of its certificates ({users})");
    }
    bail!("\"{text}\" is no client: expected an IP address, a user of [users] ({users}), or a certificate's name, as in dns:app.example.com")
}

/// Who the relay takes it for, by its own rules.
fn known(who: &Who, config: &Config) -> Option<(crate::mail::IdentityName, Proof)> {
    let identities = Identities::new(&config.identities.networks, &config.identities.certificates);
    match who {
        Who::Address(address) => identities.identify(Some(*address), &[], None),
        Who::Certificate(san) => identities.identify(None, std::slice::from_ref(san), None),
        Who::User(name) => {
            let user = config.users.iter().find(|user| user.name == *name)?;
            identities.identify(None, &[], Some((name, &user.identity)))
        }
    }
}

/// The listener, and whether the connection is encrypted there: where it must be, or where the client needs that to be known.
fn listener(named: Option<&str>, who: &Who, config: &Config) -> anyhow::Result<(crate::config::Listener, bool)> {
    let has_tls = |listener: &crate::config::Listener| listener.implicit_tls || listener.dialogue.starttls != StartTls::Unavailable;
    let can_be_known = |listener: &crate::config::Listener| match who {
        Who::Address(_) => true,
        Who::User(_) => has_tls(listener) || listener.dialogue.auth_without_tls,
        Who::Certificate(_) => has_tls(listener),
    };
    let listeners = || config.listeners.iter().map(|listener| listener.name.as_str()).collect::<Vec<_>>().join(", ");
    let listener = match named {
        Some(name) => match config.listeners.iter().find(|listener| listener.name == name) {
            Some(listener) => listener,
            None => bail!("there is no listener \"{name}\"; known: {}", listeners()),
        },
        None => config.listeners.iter().find(|listener| can_be_known(listener)).or(config.listeners.first()).context("there is no listener")?,
    };
    if !can_be_known(listener) {
        let what = if matches!(who, Who::User(_)) { "no user can log in" } else { "no client can show a certificate" };
        bail!("at listener \"{}\" {what}: it has no TLS; known listeners: {}", listener.name, listeners());
    }
    let encrypted = listener.implicit_tls
        || listener.dialogue.starttls == StartTls::Required
        || !matches!(who, Who::Address(_)) && listener.dialogue.starttls == StartTls::Offered;
    Ok((listener.clone(), encrypted))
}

fn mailbox(text: &str) -> Result<Mailbox, crate::mail::AddressError> {
    Mailbox::parse(text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text))
}

fn reverse_path(text: &str) -> Result<ReversePath, crate::mail::AddressError> {
    if text == "<>" || text.is_empty() { Ok(ReversePath::Null) } else { mailbox(text).map(ReversePath::Mailbox) }
}

/// What the settings of a listener are for the dialogue, as the relay has them once TLS is there or not.
fn dialogue_settings(listener: &crate::config::Listener) -> Arc<crate::smtp::settings::Settings> {
    Arc::new(listener.dialogue.clone())
}
