//! `postseal sign`: one message, sealed by the same code as the relay.

use super::ConfigFile;
use crate::clock;
use crate::config::Config;
use crate::mail::{Client, Envelope, Headers, IdentityName, MailIds, Mailbox, Proof, Recipient, Refusal, ReversePath, Submission};
use crate::policy::Mode;
use crate::prepare::{self, Facts};
use crate::relay;
use crate::seal::{self, Examined};
use anyhow::{Context, bail};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;

/// What was typed.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// As which identity of the configuration; the one that may use the author's domain, if there is just one
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// For which recipient, whose route may change what is signed
    #[arg(long, value_name = "ADDRESS", default_value = "somebody@example.net")]
    to: Mailbox,
}

pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = Config::load(&args.file.config)?;
    let now = clock::now();
    let read = relay::snapshot(&config, now).map_err(|faults| anyhow::anyhow!(faults.join("\n")))?;
    let mut message = Vec::new();
    io::stdin().lock().read_to_end(&mut message).context("standard input cannot be read")?;
    let message = with_crlf(&message);
    let identity = identity(args.identity.as_deref(), &message, &config)?;
    let examined = unexamined(&message);
    let submission = Submission {
        envelope: Envelope {
            reverse_path: ReversePath::Null,
            recipients: vec![Recipient { mailbox: args.to, notify: crate::mail::Notify::Unspecified, orcpt: None }],
            body: crate::mail::BodyType::EightBitMime,
            smtputf8: !message.is_ascii() && Headers::parse(&message).is_ok_and(|headers| !message[..headers.body_start()].is_ascii()),
            ret: None,
            envid: None,
        },
        client: Client {
            identity,
            proof: Proof::Network,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            helo: "localhost".to_owned(),
            esmtp: true,
            tls: None,
            listener: "sign".into(),
        },
        message: message.into(),
        received_at: now,
    };
    let facts = Facts { ids: MailIds::reserve(now, rand::random(), 1), examined, sender_counter: 0 };
    let sealed = prepare::prepare(&submission, &read, facts, now).map_err(|refusal: Refusal| anyhow::anyhow!("the relay would refuse it: {refusal}"))?;
    let mut out = io::stdout().lock();
    for mail in sealed {
        out.write_all(&mail.seal.header(true)).and_then(|()| out.write_all(mail.message.octets())).context("standard output cannot be written")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Without the DNS nothing can be said of signatures that are there already: they are left alone, and a chain is not continued.
fn unexamined(message: &[u8]) -> Examined {
    let Ok(headers) = Headers::parse(message) else { return Examined::default() };
    if !seal::wants_examination(&headers) {
        return Examined::default();
    }
    let examined = Examined::unanswered(&headers);
    let chain = if examined.chain.unknown { ", and its ARC chain is not continued" } else { "" };
    eprintln!("postseal: the message carries signatures already; they are not verified here, as the relay would: nothing under them is changed{chain}");
    examined
}

/// The identity named, the only one there is, or the only one that may write as this author.
fn identity(named: Option<&str>, message: &[u8], config: &Config) -> anyhow::Result<IdentityName> {
    if let Some(name) = named {
        let name = IdentityName::new(name);
        if !config.policy.identities.contains_key(&name) {
            bail!("there is no identity \"{name}\"; known: {}", known(config));
        }
        return Ok(name);
    }
    if let (1, Some(only)) = (config.policy.identities.len(), config.policy.identities.keys().next()) {
        return Ok(only.clone());
    }
    let headers = Headers::parse(message).context("standard input is no message")?;
    let author = crate::mail::author::author(&headers).context("the message has no author to sign for")?;
    let domain = author.mailbox.domain();
    let may = |mode: &Mode, patterns: &[crate::policy::DomainPattern]| {
        *mode == Mode::Author && domain.is_some_and(|domain| patterns.iter().any(|pattern| pattern.matches(domain)))
    };
    let mut fitting = config.policy.identities.iter().filter(|(_, identity)| may(&identity.mode, &identity.author_domains)).map(|(name, _)| name);
    match (fitting.next(), fitting.next()) {
        (Some(only), None) => Ok(only.clone()),
        (None, _) => bail!("no identity may write as {}; name one with --identity: {}", author.mailbox, known(config)),
        (Some(_), Some(_)) => bail!("several identities may write as {}; name one with --identity: {}", author.mailbox, known(config)),
    }
}

fn known(config: &Config) -> String {
    let mut names: Vec<_> = config.policy.identities.keys().map(ToString::to_string).collect();
    names.sort();
    names.join(", ")
}

/// Files have LF line ends, mail has CR LF.
pub(super) fn with_crlf(message: &[u8]) -> Vec<u8> {
    let mut crlf = Vec::with_capacity(message.len() + message.len() / 32);
    for (at, octet) in message.iter().enumerate() {
        if *octet == b'\n' && (at == 0 || message[at - 1] != b'\r') {
            crlf.push(b'\r');
        }
        crlf.push(*octet);
    }
    if !crlf.is_empty() && !crlf.ends_with(b"\r\n") {
        crlf.extend_from_slice(b"\r\n");
    }
    crlf
}
