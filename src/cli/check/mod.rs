//! `postseal check`: one message, judged by the same functions as in the demonstration and in the relay's tests.

mod json;
mod report;
mod saved;

use super::doctor::{configuration, name_server};
use super::paint::Paint;
use super::sign::with_crlf;
use crate::clock;
use crate::config::Config;
use crate::dns::{self, Resolver};
use crate::mail::{Headers, Mailbox, ReversePath, Timestamp};
use crate::verdict::{Check, Defect, DmarcFact, ExamineFault, Facts, Findings, Form, SpfFact, Style, Verdict, dmarc_record, form, judge, look};
use anyhow::{Context, bail};
use saved::{Origin, Typed, origin};
use std::io::{self, IsTerminal as _, Read};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// What was typed.
#[derive(clap::Args, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Args {
    /// The message, as saved with its whole header; absent or "-": standard input
    message: Option<PathBuf>,
    /// The envelope sender, instead of Return-Path: an address, or "<>" for none
    #[arg(long, value_name = "ADDRESS", value_parser = reverse_path)]
    mail_from: Option<ReversePath>,
    /// The address that delivered it to the receiver, instead of that in Received
    #[arg(long, value_name = "IP")]
    client_ip: Option<IpAddr>,
    /// The name given in EHLO, instead of that in Received
    #[arg(long, value_name = "NAME")]
    helo: Option<String>,
    /// A receiving host whose Received and Authentication-Results are believed, as in mx.google.com; those of
    /// seal.trusted_authserv_ids are as well
    #[arg(long, value_name = "HOST")]
    trust: Vec<String>,
    /// Judge as a bulk sender: 5,000 messages a day to Gmail, once reached for good (the default)
    #[arg(long, conflicts_with = "not_bulk")]
    bulk: bool,
    /// Judge as a sender of less
    #[arg(long)]
    not_bulk: bool,
    /// The configuration file, for resolver and trusted hosts; postseal.toml where there is one
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG")]
    config: Option<PathBuf>,
    /// The name server to ask: ADDRESS or ADDRESS:PORT; absent: resolver.nameservers, else those of /etc/resolv.conf
    #[arg(long, value_name = "ADDRESS", value_parser = name_server)]
    resolver: Option<SocketAddr>,
    /// Print JSON, as --json-schema describes it
    #[arg(long)]
    json: bool,
    /// Print the JSON Schema of --json, and nothing else
    #[arg(long, exclusive = true)]
    json_schema: bool,
}

/// Everything that is shown.
struct Checked<'a> {
    headers: &'a Headers<'a>,
    octets: usize,
    origin: Origin,
    findings: Findings,
    /// The verdict, or why there is none.
    judged: Result<(Facts, Verdict), ExamineFault>,
    defects: Vec<Defect>,
    bulk: bool,
    now: Timestamp,
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// By all three receivers.
    Accepted,
    /// By one at least.
    Refused,
    /// It hangs on what is not known.
    Unknown,
}

pub fn run(args: Args) -> ExitCode {
    match examined(args) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // What is quoted of the message must not reach the terminal as control.
            let text: String = format!("{error:#}").chars().map(|c| if c.is_control() { '?' } else { c }).collect();
            eprintln!("postseal: {text}");
            ExitCode::from(NOT_EXAMINED)
        }
    }
}

fn examined(args: Args) -> anyhow::Result<u8> {
    if args.json_schema {
        print!("{}", json::SCHEMA);
        return Ok(0);
    }
    let config = configuration(args.config.as_deref())?;
    let resolver = resolver(args.resolver, config.as_ref())?;
    let message = message(args.message.as_deref())?;
    let headers = Headers::parse(&message).map_err(|fault| anyhow::anyhow!("this is no message: {fault}"))?;
    if headers.is_empty() {
        bail!("this is no message: it has no header; save it with its header, as \"show original\" gives it");
    }
    let mut trusted = args.trust;
    trusted.extend(config.into_iter().flat_map(|config| config.seal.trusted_authserv_ids));
    let typed = Typed { mail_from: args.mail_from, client_ip: args.client_ip, helo: args.helo };
    let (bulk, now) = (!args.not_bulk, clock::now());
    let origin = origin(&headers, &trusted, typed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?;
    let findings = runtime.block_on(look(&message, &headers, &origin.delivery(), &resolver, now));
    let judged = findings.facts(bulk).map(|facts| (facts.clone(), judge(&facts)));
    let defects = form(&Form { message: &message, headers: &headers, signatures: &findings.signatures, bulk, now });
    let checked = Checked { headers: &headers, octets: message.len(), origin, findings, judged, defects, bulk, now };
    if args.json {
        println!("{:#}", checked.json());
    } else {
        let paint = Paint::of_stdout();
        let boxes = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()));
        let boxes = boxes.is_some_and(|locale| locale.to_ascii_lowercase().replace('-', "").contains("utf8"));
        print!("{}", checked.text(paint, Style { colours: paint.colours, boxes }));
    }
    Ok(match checked.outcome() {
        Outcome::Accepted => 0,
        Outcome::Refused => 2,
        Outcome::Unknown => 3,
    })
}

impl Checked<'_> {
    /// A refusal that nothing unknown could turn counts as one.
    fn outcome(&self) -> Outcome {
        let Ok((facts, verdict)) = &self.judged else { return Outcome::Refused };
        if self.defects.iter().any(|defect| defect.code.is_some()) {
            return Outcome::Refused;
        }
        if accepts(verdict) {
            return Outcome::Accepted;
        }
        if accepts(&self.hoped_for(facts)) { Outcome::Unknown } else { Outcome::Refused }
    }

    /// `pass`, `fail` or `unknown`, and the codes of a receiver; Gmail's refusals of form among them.
    fn receiver(&self, which: fn(&Verdict) -> &crate::verdict::Receiver, of_form: bool) -> (&'static str, Vec<&str>) {
        let form: Vec<&str> = self.defects.iter().filter_map(|defect| defect.code).filter(|_| of_form).collect();
        let Ok((facts, verdict)) = &self.judged else {
            return ("fail", if of_form { unique(form.into_iter().chain(["550 5.7.1"])) } else { vec!["550"] });
        };
        let receiver = which(verdict);
        let word = if receiver.accepts && form.is_empty() {
            "pass"
        } else if form.is_empty() && which(&self.hoped_for(facts)).accepts {
            "unknown"
        } else {
            "fail"
        };
        (word, unique(receiver.codes.iter().copied().chain(form)))
    }

    /// The verdict if all that is unknown turns out well.
    fn hoped_for(&self, facts: &Facts) -> Verdict {
        let mut facts = facts.clone();
        if !self.origin.knows_spf() || facts.spf.result == Check::TempError {
            facts.spf = SpfFact { result: Check::Pass, domain: Some(facts.author.clone()), ..facts.spf };
        }
        for signature in facts.dkim.iter_mut().filter(|signature| signature.result == Check::TempError) {
            signature.result = Check::Pass;
        }
        if let (DmarcFact::Unknown, Ok(record)) = (&facts.dmarc, dmarc_record("v=DMARC1; p=none")) {
            facts.dmarc = DmarcFact::Record { record, at: facts.author.clone(), author_exists: true };
        }
        judge(&facts)
    }

    fn gmail(&self) -> (&'static str, Vec<&str>) {
        self.receiver(|verdict| &verdict.gmail, true)
    }

    fn yahoo(&self) -> (&'static str, Vec<&str>) {
        self.receiver(|verdict| &verdict.yahoo, false)
    }

    fn microsoft(&self) -> (&'static str, Vec<&str>) {
        self.receiver(|verdict| &verdict.microsoft, false)
    }
}

fn accepts(verdict: &Verdict) -> bool {
    verdict.gmail.accepts && verdict.yahoo.accepts && verdict.microsoft.accepts
}

/// The verdict if SPF passed for the author domain itself: what a message may hope for.
fn with_spf(facts: &Facts) -> Verdict {
    let spf = SpfFact { result: Check::Pass, domain: Some(facts.author.clone()), ..facts.spf.clone() };
    judge(&Facts { spf, ..facts.clone() })
}

fn unique<'a>(codes: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found = Vec::new();
    for code in codes {
        if !found.contains(&code) {
            found.push(code);
        }
    }
    found
}

/// The octets as they were sent: files have LF line ends, mail has CR LF.
fn message(path: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let limit = |reader: &mut dyn Read| {
        let mut octets = Vec::new();
        reader.take(MESSAGE_OCTETS_MAX + 1).read_to_end(&mut octets).map(|_| octets)
    };
    let (name, octets) = match path.filter(|path| *path != Path::new("-")) {
        None => {
            if io::stdin().is_terminal() {
                eprintln!("postseal: reading the message from standard input; end it with Ctrl-D, or name a file");
            }
            ("standard input".to_owned(), limit(&mut io::stdin().lock()).context("standard input cannot be read")?)
        }
        Some(path) => {
            let name = path.display().to_string();
            if path.is_dir() {
                bail!("{name} is a directory; expected the file of one message");
            }
            let mut file = std::fs::File::open(path).with_context(|| format!("{name} cannot be read"))?;
            let octets = limit(&mut file).with_context(|| format!("{name} cannot be read"))?;
            (name, octets)
        }
    };
    if octets.len() as u64 > MESSAGE_OCTETS_MAX {
        bail!("{name} has more than {} MiB; no receiver takes such a message", MESSAGE_OCTETS_MAX >> 20);
    }
    if octets.trim_ascii().is_empty() {
        bail!("{name} is empty; expected a message with its header");
    }
    // A mailbox of one message, as mail programs save it, begins with a line that is no field.
    let octets = match octets.strip_prefix(b"From ") {
        Some(rest) => &rest[memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1)..],
        None => octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&octets),
    };
    Ok(with_crlf(octets))
}

fn resolver(server: Option<SocketAddr>, config: Option<&Config>) -> anyhow::Result<Resolver> {
    let standard = dns::Settings { timeout: Duration::from_secs(3), attempts: 1, ..dns::Settings::default() };
    let mut settings = config.map_or(standard, |config| config.resolver.clone());
    if let Some(server) = server {
        settings.nameservers = Some(vec![server]);
    }
    Resolver::new(&settings).context("name a name server with --resolver ADDRESS")
}

/// An address, with or without angle brackets; nothing, or `<>`, is the null sender.
fn reverse_path(text: &str) -> Result<ReversePath, String> {
    let bare = text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text);
    if bare.is_empty() {
        return Ok(ReversePath::Null);
    }
    Mailbox::parse(bare).map(ReversePath::from).map_err(|fault| fault.to_string())
}

/// The exit code where no message was judged.
const NOT_EXAMINED: u8 = 4;
/// Octets of a message that is read.
const MESSAGE_OCTETS_MAX: u64 = 150 << 20;
