//! `postseal doctor`: what the configuration says becomes subjects, what was typed overrides it, and what was found is shown.

use super::paint::{Ink, Paint};
use crate::clock;
use crate::config::{self, Config, DEFAULT_FILE};
use crate::deliver::tls::ClientTls;
use crate::dns::{self, Resolver};
use crate::doctor::{self, ExpectedKey, Kind, Leaves, Part, RelaySubject, Report, Source, Status, Subject, Tone, ask, connect, report};
use crate::keys::Keyring;
use crate::mail::{Domain, KeyId, Selector};
use crate::relay::examination;
use anyhow::{Context, bail};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What was typed.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// Author domains, as in example.com; absent: those of the configuration
    #[arg(value_name = "DOMAIN")]
    domains: Vec<Domain>,
    /// The configuration file; where there is none, only what is typed is known
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG")]
    config: Option<PathBuf>,
    /// Judge as a bulk sender: 5,000 messages a day to Gmail, once reached for good (the default)
    #[arg(long, conflicts_with = "not_bulk")]
    bulk: bool,
    /// Judge as a sender of less
    #[arg(long)]
    not_bulk: bool,
    /// Selectors to look at beside those of the keyring: NAME, or NAME._domainkey.DOMAIN for a third party's
    #[arg(long, value_name = "SELECTOR")]
    selector: Vec<String>,
    /// The domain of MAIL FROM, instead of the configured one
    #[arg(long, value_name = "DOMAIN")]
    bounce_domain: Option<Domain>,
    /// The addresses that receivers see, instead of the configured ones
    #[arg(long, value_name = "IP")]
    address: Vec<IpAddr>,
    /// The EHLO name, instead of the configured one
    #[arg(long, value_name = "NAME")]
    helo: Option<Domain>,
    /// The name server to ask: ADDRESS or ADDRESS:PORT; absent: resolver.nameservers, else those of /etc/resolv.conf
    #[arg(long, value_name = "ADDRESS", value_parser = name_server)]
    resolver: Option<SocketAddr>,
    /// Connect, too: to the hosts that take bounces (STARTTLS), and for the policy of MTA-STS; else only the name server is asked
    #[arg(long)]
    connect: bool,
    /// List clients and domains of the configuration, and which rules of a sender's first step each meets; the DNS is not asked
    #[arg(long, conflicts_with_all = ["domains", "selector", "bounce_domain", "address", "helo", "resolver"])]
    inventory: bool,
    /// Exit with 1 when there are warnings
    #[arg(long)]
    strict: bool,
    /// Print JSON, as --json-schema describes it
    #[arg(long)]
    json: bool,
    /// Print the JSON Schema of --json, and nothing else
    #[arg(long, exclusive = true)]
    json_schema: bool,
}

#[allow(clippy::unnecessary_wraps, clippy::needless_pass_by_value, reason = "every command is called alike")]
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match examined(&args) {
        Ok(code) => Ok(ExitCode::from(code)),
        Err(error) => {
            eprintln!("postseal: {error:#}");
            Ok(ExitCode::from(NOT_EXAMINED))
        }
    }
}

fn examined(args: &Args) -> anyhow::Result<u8> {
    if args.json_schema {
        print!("{}", report::SCHEMA);
        return Ok(0);
    }
    let config = configuration(args.config.as_deref())?;
    let (strict, json) = (args.strict, args.json);
    if args.inventory {
        return inventory(config.as_ref(), strict, json);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    let report = runtime.block_on(look(args, config.as_ref()))?;
    if json {
        println!("{:#}", report.json());
    } else {
        let paint = Paint::of_stdout();
        print!("{}", report.text(paint.columns, &|tone, text| paint.ink(ink(tone), text)));
    }
    Ok(match report.status() {
        Status::Fail => 2,
        Status::Unknown => 3,
        Status::Warn if strict => 1,
        Status::Warn | Status::Ok => 0,
    })
}

/// Who sends as whom; 1 with `--strict` where a rule is not met.
fn inventory(config: Option<&Config>, strict: bool, json: bool) -> anyhow::Result<u8> {
    let config = config.context("there is no configuration here to list; name the file with --config")?;
    let keyring = crate::relay::keyring(config).map_err(|faults| super::key::all(&faults))?;
    let inventory = super::inventory::of(config, &keyring);
    if json {
        println!("{:#}", inventory.json());
    } else {
        print!("{}", inventory.text(Paint::of_stdout()));
    }
    Ok(u8::from(strict && !inventory.is_met()))
}

async fn look(args: &Args, config: Option<&Config>) -> anyhow::Result<Report> {
    let resolver = resolver(args, config)?;
    let relay = relay(args, config)?;
    let leaves = examination::leaves(&relay, &resolver).await;
    let keyring = match config {
        Some(config) => crate::relay::keyring(config).map_err(|faults| super::key::all(&faults))?,
        None => Keyring::default(),
    };
    let mut names = args.domains.clone();
    if names.is_empty() {
        match config {
            Some(config) => names.extend(config.domains.keys().cloned()),
            None => bail!("there is no configuration here; name a domain, as in `postseal doctor example.com`, or the file with --config"),
        }
    }
    names
        .iter()
        .find(|name| !name.is_fully_qualified())
        .map_or(Ok(()), |name| Err(anyhow::anyhow!("\"{name}\" has a single label; expected a domain, as in example.com")))?;
    let mut seen = std::collections::BTreeSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let subjects = names.into_iter().map(|name| subject(name, args, config, &keyring, &leaves)).collect::<anyhow::Result<Vec<_>>>()?;
    let (mut domains, relay) = tokio::join!(ask::domains(subjects, &resolver), ask::relay(relay, &resolver));
    if args.connect {
        let settings = connections(config, &relay.subject)?;
        for bounce in domains.iter_mut().filter_map(|facts| facts.bounce.as_mut()) {
            connect::bounce(bounce, &settings, &resolver).await;
        }
    }
    let bulk = !args.not_bulk;
    let part = |facts: &doctor::DomainFacts| Part { kind: Kind::Domain, name: facts.subject.domain.to_string(), findings: doctor::examine(facts, bulk) };
    let mut parts: Vec<Part> = domains.iter().map(part).collect();
    let name = relay.subject.hostname.as_ref().map(ToString::to_string).unwrap_or_default();
    parts.push(Part { kind: Kind::Relay, name, findings: doctor::examine_relay(&relay, clock::now()) });
    Ok(Report { bulk, parts })
}

/// The configuration; none where no file is named and the usual one is not there.
pub(super) fn configuration(named: Option<&Path>) -> anyhow::Result<Option<Config>> {
    let path = named.unwrap_or(Path::new(DEFAULT_FILE));
    if named.is_none() && !config::is_there(path) {
        return Ok(None);
    }
    Ok(Some(Config::load(path)?))
}

fn resolver(args: &Args, config: Option<&Config>) -> anyhow::Result<Resolver> {
    let standard = dns::Settings { timeout: Duration::from_secs(3), attempts: 1, ..dns::Settings::default() };
    let mut settings = config.map_or(standard, |config| config.resolver.clone());
    if let Some(server) = args.resolver {
        settings.nameservers = Some(vec![server]);
    }
    Resolver::new(&settings).context("name a name server with --resolver ADDRESS")
}

fn connections(config: Option<&Config>, relay: &RelaySubject) -> anyhow::Result<connect::Settings> {
    let roots = config.map(|config| config.roots.clone()).unwrap_or_default();
    Ok(connect::Settings {
        tls: ClientTls::new(&roots).context("no certificate can be verified")?,
        ehlo: relay.hostname.as_ref().map_or_else(|| "localhost".to_owned(), ToString::to_string),
        mx_port: config.map_or(25, |config| config.deliver.routes.mx_port),
        https_port: 443,
    })
}

pub(super) fn name_server(text: &str) -> Result<SocketAddr, String> {
    let bare = text.trim();
    let address = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
    let with_port = bare.parse::<SocketAddr>().or_else(|_| address.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53)));
    with_port.map_err(|_| "expected an IP address, as in 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:5353".to_owned())
}

/// The relay as configured, and as typed.
fn relay(args: &Args, config: Option<&Config>) -> anyhow::Result<RelaySubject> {
    let mut subject = config.map_or(RelaySubject { hostname: None, sources: Vec::new(), certificates: Vec::new(), smart_host: None }, examination::relay);
    if subject.sources.is_empty() {
        subject.sources.push(Source { name: examination::DELIVER.to_owned(), ehlo: String::new(), addresses: Vec::new() });
    }
    let [main, pools @ ..] = subject.sources.as_mut_slice() else { bail!("there is no source") };
    if let Some(helo) = &args.helo {
        main.ehlo = helo.to_string();
        subject.hostname.get_or_insert_with(|| helo.clone());
    }
    if !args.address.is_empty() {
        main.addresses.clone_from(&args.address);
        subject.smart_host = None;
        let named: Vec<IpAddr> = pools.iter().flat_map(|pool| pool.addresses.clone()).collect();
        main.addresses.retain(|address| !named.contains(address));
    }
    Ok(subject)
}

/// A domain as configured, and as typed.
fn subject(domain: Domain, args: &Args, config: Option<&Config>, keyring: &Keyring, leaves: &Leaves) -> anyhow::Result<Subject> {
    let settings = config.and_then(|config| config.domains.get(&domain));
    let third_party = settings.and_then(|settings| settings.third_party.clone());
    let mut keys = examination::expected_keys(&domain, third_party.as_ref(), keyring);
    for text in &args.selector {
        let id = selector(text, &domain)?;
        if !keys.iter().any(|key| key.id == id) {
            keys.push(ExpectedKey { id, ours: None });
        }
    }
    Ok(Subject {
        bounce_domain: args.bounce_domain.clone().or_else(|| settings.map(|settings| settings.bounce_domain.clone())),
        purpose: examination::purpose(settings),
        relay: config.map(|config| config.server.hostname.clone()),
        leaves: leaves.clone(),
        third_party,
        keys,
        domain,
    })
}

/// `NAME` of this domain, or `NAME._domainkey.DOMAIN` of another.
fn selector(text: &str, domain: &Domain) -> anyhow::Result<KeyId> {
    let lower = text.trim_end_matches('.').to_ascii_lowercase();
    let (name, of) = match lower.split_once("._domainkey") {
        None => (lower.as_str(), domain.clone()),
        Some((name, "")) => (name, domain.clone()),
        Some((name, rest)) => (name, rest.trim_start_matches('.').parse::<Domain>().with_context(|| format!("--selector {text}"))?),
    };
    of.below(&format!("{name}._domainkey"))
        .with_context(|| format!("\"{text}\" is no selector; expected a name, as in ps202611a, or ps202611a._domainkey.example.com"))?;
    Ok(KeyId { domain: of, selector: Selector::new(name) })
}

const fn ink(tone: Tone) -> Ink {
    match tone {
        Tone::Strong => Ink::Bold,
        Tone::Good => Ink::Green,
        Tone::Warning => Ink::Yellow,
        Tone::Open => Ink::Blue,
        Tone::Bad => Ink::Red,
        Tone::Faint => Ink::Dim,
    }
}

const NOT_EXAMINED: u8 = 4;
