//! `postseal dns …`: the records of a domain printed, compared with what the world sees, and published.

use super::key::all;
use super::paint::{Ink, Paint};
use crate::config::{self, Config, DEFAULT_FILE};
use crate::dns::diff::{self, Finding, State, View};
use crate::dns::publish::plan::{self, Reason};
use crate::dns::publish::{Change, Edit, Publish as _, PublishFault, Publisher, Seen, Settings, Way, manual};
use crate::dns::records::{self, KeyText, Standing, Wanted};
use crate::dns::{Authority, Kind, Owner, Resolver, authority, formats};
use crate::keys::State as KeyState;
use crate::mail::Domain;
use anyhow::{Context, bail};
use clap::{Subcommand, ValueEnum};
use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// What was typed.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Print the records that a domain needs, in the order to publish them
    ///
    /// Formats: table (for people), zone (lines of a zone file, names absolute), json, terraform (provider hashicorp/dns).
    /// JSON is {"domain", "records": [{"name", "type", "ttl" (seconds), "value" (as a web form takes it), "zone" (as a zone file has
    /// it), "need" (required, advised, optional), "step" (spf, dkim, dmarc, further, parked), "standing" (ours; shared: others may
    /// write there; theirs: written by who has the zone), "why", and of an MX "preference" and "host"}]}.
    Records {
        #[command(flatten)]
        what: What,
        /// The form to print them in
        #[arg(long, value_enum, default_value_t = Format::Table)]
        format: Format,
    },
    /// Compare them with what every authoritative server shows
    ///
    /// Each record is right, missing, different (another stands in its place), extra (a second one beside it, as two SPF records) or
    /// unknown. Exit code 0: all are right; 1: some are not, or nothing was compared; 3: none is wrong, but some could not be asked for.
    /// JSON is that of `records`, with "state", "found" (zone text of what stands there instead or beside it) and "notes" of each record.
    Diff {
        #[command(flatten)]
        what: What,
        /// Print JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        asking: Asking,
    },
    /// Write them by the domain's publisher: show the change, ask, write, and look whether it is there
    ///
    /// Records that postseal did not name itself (all but its selectors) are written only where there is none of their purpose yet.
    /// Exit code 0: everything is there now, or --dry-run; 1: something is not, or was left to be written by hand.
    Publish {
        #[command(flatten)]
        what: What,
        /// Show the change and make none
        #[arg(long, conflicts_with = "yes")]
        dry_run: bool,
        /// Make the change without asking
        #[arg(long)]
        yes: bool,
        /// Replace what others wrote at this name, as far as it has the purpose of ours; may be given several times
        #[arg(long, value_name = "NAME")]
        replace: Vec<String>,
        /// Another publisher than the domain's: a table [publishers.NAME], or "manual"
        #[arg(long, value_name = "NAME")]
        publisher: Option<String>,
        /// Wait until every authoritative server shows what is to be written by hand; on a terminal that is done anyway
        #[arg(long, conflicts_with = "no_wait")]
        wait: bool,
        /// Do not wait for it
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        asking: Asking,
    },
}

/// Which records.
#[derive(clap::Args, Debug)]
pub struct What {
    /// The author domain, as in example.com
    domain: Domain,
    /// The records of a domain that never sends
    #[arg(long)]
    parked: bool,
    /// With --parked: it takes mail all the same, so its MX records stay
    #[arg(long, requires = "parked")]
    receives: bool,
    /// Only those of one step
    #[arg(long, value_enum, value_name = "STEP", conflicts_with = "parked")]
    only: Option<Only>,
    /// The configuration file; for --parked there need be none
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG", default_value = DEFAULT_FILE)]
    config: PathBuf,
}

/// Whom to ask.
#[derive(clap::Args, Debug)]
pub struct Asking {
    /// The name server that leads to the authoritative ones: ADDRESS or ADDRESS:PORT; absent: resolver.nameservers, else the system's
    #[arg(long, value_name = "ADDRESS", value_parser = super::doctor::name_server)]
    resolver: Option<SocketAddr>,
}

/// See [`formats`].
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// Lines of a zone file
    Zone,
    /// For programs
    Json,
    /// For the Terraform provider hashicorp/dns
    Terraform,
}

/// The steps of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Only {
    /// Bounce domain, names and addresses
    Spf,
    /// Keys
    Dkim,
    /// The policy
    Dmarc,
    /// TLS reports, MTA-STS, BIMI
    Further,
}

pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Records { what, format } => print(&what, format),
        Command::Diff { what, json, asking } => in_runtime(compare(&what, json, &asking)),
        Command::Publish { what, dry_run, yes, replace, publisher, wait, no_wait, asking } => {
            let terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
            let consent = match (dry_run, yes, terminal) {
                (true, ..) => Consent::Withheld,
                (_, true, _) => Consent::Given,
                (_, _, true) => Consent::Asked,
                (false, false, false) => Consent::Nobody,
            };
            let how = How { consent, replace: owners(&replace)?, publisher, wait: wait || (terminal && !no_wait) };
            in_runtime(publish(&what, &how, &asking))
        }
    }
}

fn in_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("the runtime cannot be started")?.block_on(work)
}

/// The records of a domain, and the configuration they come from.
struct Set {
    wanted: Vec<Wanted>,
    /// Names of keys that are no more: no record may stand there.
    gone: Vec<Domain>,
    config: Option<Config>,
}

impl Set {
    fn of(what: &What) -> anyhow::Result<Self> {
        let domain = &what.domain;
        if !domain.is_fully_qualified() {
            bail!("\"{domain}\" has a single label; expected an author domain, as in example.com");
        }
        let is_there = config::is_there(&what.config) || what.config != Path::new(DEFAULT_FILE);
        let config = if what.parked && !is_there { None } else { Some(Config::load(&what.config)?) };
        let parked = what.parked || config.as_ref().and_then(|config| config.domains.get(domain)).is_some_and(|settings| settings.author.parked);
        let (mut wanted, gone) = match (&config, parked) {
            (config, true) => (Self::parked(what, config.as_ref()), Vec::new()),
            (Some(config), false) => Self::sending(what, config)?,
            (None, false) => bail!("there is no configuration {}", what.config.display()),
        };
        if let Some(only) = what.only {
            wanted.retain(|wanted| step(wanted.step) == Some(only));
            if wanted.is_empty() {
                bail!("{domain} has no records of this step; without --only all are printed");
            }
        }
        let gone = if what.only.is_none_or(|only| only == Only::Dkim) { gone } else { Vec::new() };
        Ok(Self { wanted, gone, config })
    }

    fn parked(what: &What, config: Option<&Config>) -> Vec<Wanted> {
        if !what.parked {
            eprintln!("postseal: {} is parked; these are the records of a domain that never sends", what.domain);
        }
        let reports = config.and_then(|config| config.publication.dmarc.reports.as_ref());
        if reports.is_none() && !what.receives {
            eprintln!("postseal: dns.dmarc_reports is not set, so nobody is told who tries to send as {}", what.domain);
        }
        let ttl = config.map_or(PARKED_TTL, |config| config.record_ttl(&what.domain));
        records::parked(&what.domain, reports, what.receives, ttl)
    }

    fn sending(what: &What, config: &Config) -> anyhow::Result<(Vec<Wanted>, Vec<Domain>)> {
        let domain = &what.domain;
        let Some(settings) = config.domains.get(domain) else {
            let known: Vec<String> = config.domains.keys().map(ToString::to_string).collect();
            bail!(
                "{domain} is no author domain of {}: neither an identity nor a table [domains.\"{domain}\"] names it; there are {}",
                what.config.display(),
                known.join(", ")
            );
        };
        let keyring = crate::relay::keyring(config).map_err(|faults| all(&faults))?;
        let key =
            |key: &crate::keys::Key| Some(KeyText { selector: key.id.selector.to_string(), text: key.record()?.to_string(), state: key.state.to_string() });
        let keys: Vec<KeyText> = keyring.keys(domain).iter().filter_map(key).collect();
        if keys.is_empty() {
            eprintln!("postseal: {domain} has no key yet; `postseal key create {domain}` makes one");
        }
        let target = settings.publication.dkim_target.as_ref();
        let removed = keyring.keys(domain).iter().filter(|key| key.state == KeyState::Removed);
        let gone = removed.filter_map(|key| records::key_name(key.id.selector.as_str(), domain, target)).collect();
        let sender = config.sender(domain, keys).context("the domain is not configured")?;
        if sender.relay.helos.iter().any(|helo| helo.addresses.is_empty()) {
            eprintln!(
                "postseal: a name in EHLO has no known public address, so SPF names the host, and its A, AAAA and PTR records are left out; set dns.public_addresses"
            );
        }
        Ok((records::records(&sender), gone))
    }

    /// By name and type, in the order of work.
    fn grouped(&self) -> Vec<(Owner, Kind, Vec<&Wanted>)> {
        let mut groups: Vec<(Owner, Kind, Vec<&Wanted>)> = Vec::new();
        for wanted in &self.wanted {
            let (owner, kind) = (&wanted.resource.owner, wanted.resource.data.kind());
            match groups.iter_mut().find(|(known, of, _)| known == owner && *of == kind) {
                Some((_, _, group)) => group.push(wanted),
                None => groups.push((owner.clone(), kind, vec![wanted])),
            }
        }
        groups
    }
}

fn print(what: &What, format: Format) -> anyhow::Result<ExitCode> {
    let set = Set::of(what)?;
    let text = match format {
        Format::Table => formats::table(&set.wanted),
        Format::Zone => formats::zone(&set.wanted),
        Format::Json => format!("{:#}\n", formats::json(&what.domain, &set.wanted)),
        Format::Terraform => formats::terraform(&what.domain, &set.wanted),
    };
    io::stdout().write_all(text.as_bytes()).context("standard output cannot be written")?;
    Ok(ExitCode::SUCCESS)
}

async fn compare(what: &What, json: bool, asking: &Asking) -> anyhow::Result<ExitCode> {
    let set = Set::of(what)?;
    let (_, authority) = world(set.config.as_ref(), asking)?;
    let groups = set.grouped();
    let views = observe(&authority, groups.iter().map(|(owner, kind, _)| (owner.clone(), *kind)).collect()).await;
    let findings: Vec<Finding<'_>> = groups.iter().zip(&views).flat_map(|((_, _, wanted), views)| diff::compare(wanted, views)).collect();
    let left_over = left_over(&authority, &set.gone).await;
    if json {
        let mut value = diff::json(&what.domain, &findings);
        value["gone"] = left_over.iter().map(ToString::to_string).collect();
        println!("{value:#}");
    } else {
        show(&findings, &left_over);
    }
    let code = if left_over.is_empty() { diff::exit_code(&findings) } else { 1 };
    Ok(ExitCode::from(code))
}

/// Keys that are removed and have a record all the same.
async fn left_over(authority: &Authority, gone: &[Domain]) -> Vec<Domain> {
    let views = observe(authority, gone.iter().map(|name| (name.clone().into(), Kind::Txt)).collect()).await;
    let stands = |views: &[View]| views.iter().any(|view| view.seen.as_ref().is_ok_and(|seen| !seen.is_empty()));
    gone.iter().zip(views).filter(|(_, views)| stands(views)).map(|(name, _)| name.clone()).collect()
}

fn show(findings: &[Finding<'_>], left_over: &[Domain]) {
    let paint = Paint::of_stdout();
    let width = findings.iter().map(|finding| finding.wanted.resource.owner.to_string().len()).max().unwrap_or(0);
    for Finding { wanted, state, found, notes } in findings {
        let ink = match state {
            State::Right => Ink::Green,
            State::Extra => Ink::Yellow,
            State::Missing | State::Different => Ink::Red,
            State::Unknown => Ink::Blue,
        };
        let (owner, data) = (wanted.resource.owner.to_string(), &wanted.resource.data);
        let line = format!("{:9}  {owner:width$}  {:5}", state.to_string(), data.kind());
        println!("{}{}", paint.ink(ink, &line[..9]), line[9..].trim_end());
        if *state != State::Right {
            println!("{:11}wanted  {}", "", data.zone_text());
        }
        for other in found {
            println!("{:11}found   {}", "", other.zone_text());
        }
        for note in notes {
            println!("{:11}{note}", "");
        }
    }
    for name in left_over {
        println!("{:9}  {name}  TXT\n{:11}the key is removed, its record is not", paint.ink(Ink::Yellow, "extra    "), "");
    }
    let count = |state: State| findings.iter().filter(|finding| finding.state == state).count();
    let counted = [State::Right, State::Missing, State::Different, State::Extra, State::Unknown].map(|state| format!("{} {state}", count(state)));
    println!("\n{}", counted.join(", "));
}

/// How to publish.
struct How {
    consent: Consent,
    replace: Vec<Owner>,
    publisher: Option<String>,
    wait: bool,
}

/// Who says that it may be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// Nobody: it is only shown.
    Withheld,
    /// `--yes`.
    Given,
    /// Whoever sits at the terminal.
    Asked,
    /// There is nobody to ask.
    Nobody,
}

async fn publish(what: &What, how: &How, asking: &Asking) -> anyhow::Result<ExitCode> {
    let set = Set::of(what)?;
    if let Some(unknown) = how.replace.iter().find(|owner| set.wanted.iter().all(|wanted| wanted.resource.owner != **owner)) {
        bail!("--replace {unknown}: no record of {} stands at this name", what.domain);
    }
    let settings = chosen(what, how, set.config.as_ref())?;
    let (resolver, authority) = world(set.config.as_ref(), asking)?;
    let publisher = Publisher::new(&settings, resolver);
    let mut plan = Plan::default();
    for (owner, kind, wanted) in set.grouped() {
        plan.add(&publisher, &authority, &owner, kind, &wanted, how.replace.contains(&owner)).await?;
    }
    for name in &set.gone {
        plan.remove(&publisher, &authority, name).await?;
    }
    let changes = plan.changes();
    plan.show(&changes, &settings);
    if how.consent == Consent::Withheld {
        return Ok(ExitCode::SUCCESS);
    }
    if !changes.is_empty() {
        consent(how.consent, &settings)?;
    }
    for change in &changes {
        publisher.publish(change).await?;
        println!("written: {} {} of the zone {}, and the server shows it", change.edits.len(), plural(change.edits.len(), "change"), zone_of(change));
    }
    let by_hand = plan.by_hand.is_empty() || (how.wait && wait(&plan.by_hand, &authority).await);
    Ok(if by_hand && plan.left_alone.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What becomes of each wanted record.
#[derive(Default)]
struct Plan {
    right: usize,
    edits: Vec<(Domain, Edit)>,
    left_alone: Vec<(Owner, Kind, Reason)>,
    by_hand: Vec<ByHand>,
}

/// Records that a person has to write, and why.
struct ByHand {
    wanted: Vec<Wanted>,
    edit: Edit,
    why: String,
}

impl Plan {
    async fn add(&mut self, publisher: &Publisher, authority: &Authority, owner: &Owner, kind: Kind, wanted: &[&Wanted], replace: bool) -> anyhow::Result<()> {
        let why = if wanted.iter().any(|wanted| wanted.standing == Standing::Theirs) {
            "who has the zone writes it".to_owned()
        } else if publisher.is_manual() {
            String::new()
        } else {
            match publisher.zone_of(&owner.name).await {
                Ok(zone) => {
                    self.step(Some(zone), wanted, &publisher.look(owner, kind).await?, replace, "");
                    return Ok(());
                }
                Err(fault @ (PublishFault::NoZone { .. } | PublishFault::NotAuthoritative { .. })) => fault.to_string(),
                Err(fault) => return Err(fault.into()),
            }
        };
        let views = observe(authority, vec![(owner.clone(), kind)]).await.pop().unwrap_or_default();
        let findings = diff::compare(wanted, &views);
        if findings.iter().all(|finding| finding.state == State::Right) {
            self.right += wanted.len();
            return Ok(());
        }
        let wrong = |view: &&View| diff::compare(wanted, &[(*view).clone()]).iter().any(|finding| finding.state != State::Right);
        let seen = views.iter().filter(wrong).find_map(|view| view.seen.as_ref().ok()).cloned().unwrap_or_default();
        self.step(None, wanted, &Seen { data: seen, ..Seen::default() }, replace, &why);
        Ok(())
    }

    /// Takes up what is to be done about records of one name and type; without a zone by hand.
    fn step(&mut self, zone: Option<Domain>, wanted: &[&Wanted], seen: &Seen, replace: bool, why: &str) {
        match (plan::step(wanted, seen, replace), zone) {
            (None | Some(plan::Step::Right), _) => self.right += wanted.len(),
            (Some(plan::Step::Edit(edit)), Some(zone)) => self.edits.push((zone, edit)),
            (Some(plan::Step::Edit(edit)), None) => {
                let wanted = wanted.iter().map(|wanted| (*wanted).clone()).collect();
                self.by_hand.push(ByHand { wanted, edit, why: why.to_owned() });
            }
            (Some(plan::Step::LeftAlone { owner, kind, why }), _) => self.left_alone.push((owner, kind, why)),
        }
    }

    /// The record of a key that is no more.
    async fn remove(&mut self, publisher: &Publisher, authority: &Authority, name: &Domain) -> anyhow::Result<()> {
        let owner = Owner::from(name.clone());
        let edit = |before| Edit { owner: owner.clone(), kind: Kind::Txt, ttl: Duration::ZERO, before, after: Vec::new() };
        if publisher.is_manual() {
            let views = observe(authority, vec![(owner.clone(), Kind::Txt)]).await.pop().unwrap_or_default();
            let seen = views.iter().filter_map(|view| view.seen.as_ref().ok()).find(|seen| !seen.is_empty());
            if let Some(seen) = seen {
                self.by_hand.push(ByHand { wanted: Vec::new(), edit: edit(seen.clone()), why: "the key is removed".to_owned() });
            }
            return Ok(());
        }
        let zone = publisher.zone_of(name).await?;
        let seen = publisher.look(&owner, Kind::Txt).await?;
        if !seen.data.is_empty() && seen.alias.is_none() {
            self.edits.push((zone, edit(seen.data)));
        }
        Ok(())
    }

    /// One change for each zone, in the order of work.
    fn changes(&self) -> Vec<Change> {
        let mut changes: Vec<Change> = Vec::new();
        for (zone, edit) in &self.edits {
            match changes.iter_mut().find(|change| change.zone.as_ref() == Some(zone)) {
                Some(change) => change.edits.push(edit.clone()),
                None => changes.push(Change { zone: Some(zone.clone()), edits: vec![edit.clone()] }),
            }
        }
        changes
    }

    fn show(&self, changes: &[Change], settings: &Settings) {
        if self.right > 0 {
            println!("{} {} right already", self.right, if self.right == 1 { "record is" } else { "records are" });
        }
        for change in changes {
            println!("\nin the zone {}, by the publisher \"{}\":", zone_of(change), settings.name);
            print!("{change}");
        }
        if !self.left_alone.is_empty() {
            println!("\nleft alone, since postseal did not write it; --replace NAME replaces it:");
        }
        for (owner, kind, why) in &self.left_alone {
            println!("  {owner} {kind}: {why}");
        }
        if !self.by_hand.is_empty() {
            println!("\nto be written by hand:\n");
        }
        for ByHand { edit, why, .. } in &self.by_hand {
            if !why.is_empty() {
                println!("({why})");
            }
            print!("{}", manual::instructions(&Change { zone: None, edits: vec![edit.clone()] }));
        }
        if changes.is_empty() && self.left_alone.is_empty() && self.by_hand.is_empty() {
            println!("nothing is to be done");
        }
    }
}

/// The publisher named, the domain's, or a person.
fn chosen(what: &What, how: &How, config: Option<&Config>) -> anyhow::Result<Settings> {
    let by_hand = || Settings { name: "manual".to_owned(), ttl: None, way: Way::Manual };
    let known = config.map(|config| &config.publication.publishers);
    match &how.publisher {
        Some(name) => match known.and_then(|known| known.get(name)) {
            Some(settings) => Ok(settings.clone()),
            None if name == "manual" => Ok(by_hand()),
            None => {
                let names: Vec<&str> = known.into_iter().flatten().map(|(name, _)| name.as_str()).chain(["manual"]).collect();
                bail!("there is no publisher \"{name}\"; expected one of {}, declared as [publishers.NAME]", names.join(", "))
            }
        },
        None => Ok(config.and_then(|config| config.publisher(&what.domain)).cloned().unwrap_or_else(by_hand)),
    }
}

fn consent(given: Consent, settings: &Settings) -> anyhow::Result<()> {
    match given {
        Consent::Given => return Ok(()),
        Consent::Asked => {}
        Consent::Nobody | Consent::Withheld => {
            bail!("nothing was written: there is no terminal to ask; --yes writes without asking, --dry-run only shows")
        }
    }
    print!("\nWrite this by the publisher \"{}\"? [y/N] ", settings.name);
    io::stdout().flush().context("standard output cannot be written")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).context("standard input cannot be read")?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("nothing was written"),
    }
}

/// Asks until every server shows what is to be written by hand; tells when something changes.
async fn wait(by_hand: &[ByHand], authority: &Authority) -> bool {
    println!("waiting until every authoritative server shows it; Ctrl-C ends this, and the records may be written later");
    let mut told = String::new();
    loop {
        let views = observe(authority, by_hand.iter().map(|item| (item.edit.owner.clone(), item.edit.kind)).collect()).await;
        let open: Vec<String> = by_hand.iter().zip(&views).filter_map(|(item, views)| item.open(views)).collect();
        if open.is_empty() {
            println!("all is there");
            return true;
        }
        let now = open.join("\n");
        if now != told {
            println!("{now}\n");
            told = now;
        }
        tokio::time::sleep(WAIT_STEP).await;
    }
}

impl ByHand {
    /// What is still open, for a person; `None` when all is there.
    fn open(&self, views: &[View]) -> Option<String> {
        let Edit { owner, kind, .. } = &self.edit;
        if self.wanted.is_empty() {
            let stands = views.iter().any(|view| view.seen.as_ref().map_or(true, |seen| !seen.is_empty()));
            return stands.then(|| format!("  {owner} {kind}: not removed yet"));
        }
        let wanted: Vec<&Wanted> = self.wanted.iter().collect();
        let not_yet: Vec<&str> = views
            .iter()
            .filter(|view| diff::compare(&wanted, &[(*view).clone()]).iter().any(|finding| finding.state != State::Right))
            .map(|view| view.server.as_str())
            .collect();
        match (views.is_empty(), not_yet.is_empty()) {
            (true, _) => Some(format!("  {owner} {kind}: no server of its zone is known")),
            (false, true) => None,
            (false, false) => Some(format!("  {owner} {kind}: not yet by {}", not_yet.join(", "))),
        }
    }
}

/// What every authoritative server says of each name and type, in their order.
async fn observe(authority: &Authority, asked: Vec<(Owner, Kind)>) -> Vec<Vec<View>> {
    let mut tasks = JoinSet::new();
    let count = asked.len();
    for (number, (owner, kind)) in asked.into_iter().enumerate() {
        let authority = authority.clone();
        tasks.spawn(async move {
            let name = if owner.wildcard { owner.name.below(manual::ANY_LABEL).unwrap_or(owner.name) } else { owner.name };
            let views = match authority.observe(&name, kind).await {
                Ok(observation) => diff::views(&observation),
                Err(fault) => vec![View { server: "the DNS".to_owned(), seen: Err(fault.to_string()) }],
            };
            (number, views)
        });
    }
    let found: BTreeMap<usize, Vec<View>> = tasks.join_all().await.into_iter().collect();
    (0..count).map(|number| found.get(&number).cloned().unwrap_or_default()).collect()
}

fn world(config: Option<&Config>, asking: &Asking) -> anyhow::Result<(Arc<Resolver>, Authority)> {
    let mut settings = config.map_or_else(crate::dns::Settings::default, |config| config.resolver.clone());
    if let Some(server) = asking.resolver {
        settings.nameservers = Some(vec![server]);
    }
    let resolver = Arc::new(Resolver::new(&settings).context("name a name server with --resolver ADDRESS")?);
    Ok((resolver.clone(), Authority::new(resolver, authority::Settings::of(&settings))))
}

fn owners(texts: &[String]) -> anyhow::Result<Vec<Owner>> {
    texts.iter().map(|text| text.trim_end_matches('.').parse::<Owner>().with_context(|| format!("--replace {text}"))).collect()
}

const fn step(step: records::Step) -> Option<Only> {
    match step {
        records::Step::Spf => Some(Only::Spf),
        records::Step::Dkim => Some(Only::Dkim),
        records::Step::Dmarc => Some(Only::Dmarc),
        records::Step::Further => Some(Only::Further),
        records::Step::Parked => None,
    }
}

fn zone_of(change: &Change) -> String {
    change.zone.as_ref().map_or_else(String::new, ToString::to_string)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_owned() } else { format!("{word}s") }
}

/// How long resolvers may keep the records of a parked domain where no configuration says it.
const PARKED_TTL: Duration = Duration::from_hours(1);

/// Between two looks at what is written by hand.
const WAIT_STEP: Duration = Duration::from_secs(5);
