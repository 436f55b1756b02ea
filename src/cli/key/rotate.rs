//! `postseal key rotate` and `advance`: keys are led on by somebody who watches, through the same steps as by a running relay.

use super::{print_json, record_json, zone_line};
use crate::clock;
use crate::config::Config;
use crate::dns::{DnsFault, Resolver};
use crate::keys::lifecycle::{self, Evidence, Sight, Step, Waiting, Wanted, span};
use crate::keys::{Algorithm, State};
use crate::mail::{Domain, KeyId, Selector, Timestamp};
use crate::relay::world::{Outside, Queue, plan};
use crate::rotation::{DomainPlan, KeyProgress, Preview, Progress, Rotation, RotationFault, Taken};
use anyhow::{Context as _, anyhow, bail};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args, Debug)]
pub struct RotateArgs {
    #[command(flatten)]
    which: Which,
    /// Only keys of this kind, rsa or ed25519; else those that the domain signs with
    #[arg(long, value_name = "KIND", value_parser = algorithm)]
    algorithm: Option<Algorithm>,
    /// Stay until the new keys sign, and show what every server shows meanwhile
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(clap::Args, Debug)]
pub struct AdvanceArgs {
    #[command(flatten)]
    which: Which,
    /// The record of this key was changed by hand and is to be seen everywhere: counts where evidence is "manual"
    #[arg(long, value_name = "SELECTOR", value_parser = super::selector, conflicts_with = "all")]
    confirm: Option<Selector>,
}

#[derive(clap::Args, Debug)]
struct Which {
    /// Author domains of the configuration
    #[arg(value_name = "DOMAIN", required_unless_present = "all")]
    domains: Vec<Domain>,
    /// All author domains of the configuration that are not parked
    #[arg(long, conflicts_with = "domains")]
    all: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// The configuration file: it says who publishes and what counts as seen
    #[arg(long, short, value_name = "FILE", env = "POSTSEAL_CONFIG", default_value = crate::config::DEFAULT_FILE)]
    config: PathBuf,
}

fn algorithm(text: &str) -> Result<Algorithm, String> {
    text.parse().map_err(|()| format!("\"{text}\" is no kind of key; expected rsa or ed25519"))
}

pub fn rotate(args: &RotateArgs) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(&args.which)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(async {
        if args.dry_run {
            return bench.preview(args).await;
        }
        let mut watched = BTreeMap::new();
        let mut outcomes = Vec::new();
        for (domain, plan) in &bench.domains {
            let algorithms = args.algorithm.map_or_else(|| plan.algorithms.clone(), |one| vec![one]);
            match bench.begin(domain, plan, &algorithms).await {
                Ok((outcome, on_their_way)) => {
                    watched.insert(domain.clone(), on_their_way);
                    outcomes.push(outcome);
                }
                Err(error) => outcomes.push(Outcome::failed(domain, &error)),
            }
        }
        if args.wait { bench.wait(watched, outcomes).await } else { bench.report(&outcomes, true) }
    })
}

pub fn advance(args: &AdvanceArgs) -> anyhow::Result<ExitCode> {
    let bench = Bench::new(&args.which)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().context("the runtime cannot be started")?;
    runtime.block_on(async {
        let mut confirmed = Vec::new();
        if let Some(selector) = &args.confirm {
            let [(domain, plan)] = bench.domains.as_slice() else { bail!("--confirm is for one key of one domain; expected a single DOMAIN") };
            confirmed = bench.rotation.confirm(domain, selector, plan, &bench.world(domain)).await?;
        }
        let mut outcomes = Vec::new();
        for (domain, plan) in &bench.domains {
            outcomes.push(bench.drive(domain, plan).await);
        }
        if let Some(Outcome { driven: Ok(progress), .. }) = outcomes.first_mut() {
            progress.taken.splice(0..0, confirmed);
        }
        bench.report(&outcomes, false)
    })
}

/// What both commands work with.
struct Bench {
    config: Config,
    resolver: Arc<Resolver>,
    rotation: Rotation,
    domains: Vec<(Domain, DomainPlan)>,
    json: bool,
}

/// What came of one domain.
struct Outcome {
    domain: Domain,
    driven: Result<Progress, String>,
    /// Another process has the ledger: it is at work, and we come back.
    held: bool,
}

impl Outcome {
    fn failed(domain: &Domain, error: &anyhow::Error) -> Self {
        Self { domain: domain.clone(), driven: Err(format!("{error:#}")), held: false }
    }
}

impl Bench {
    fn new(which: &Which) -> anyhow::Result<Self> {
        let config = Config::load(&which.config)?;
        let named: Vec<Domain> = if which.all {
            config.domains.iter().filter(|(_, settings)| !settings.author.parked).map(|(domain, _)| domain.clone()).collect()
        } else {
            let distinct: BTreeSet<_> = which.domains.iter().cloned().collect();
            distinct.into_iter().collect()
        };
        let plan_of = |domain: Domain| match plan(&config, &domain) {
            Some(plan) => Ok((domain, plan)),
            None if config.domains.contains_key(&domain) => Err(anyhow!("{domain} is parked: it never sends, so it has no keys to rotate")),
            None => {
                let known: Vec<_> = config.domains.keys().map(ToString::to_string).collect();
                Err(anyhow!("{} says nothing of {domain}; expected one of {}, or a table [domains.\"{domain}\"]", which.config.display(), known.join(", ")))
            }
        };
        let domains = named.into_iter().map(plan_of).collect::<anyhow::Result<_>>()?;
        let resolver = Arc::new(Resolver::new(&config.resolver)?);
        let rotation = Rotation::new(&config.server.keys, LOCK_PATIENCE);
        Ok(Self { config, resolver, rotation, domains, json: which.json })
    }

    fn world(&self, domain: &Domain) -> Outside {
        Outside::of(&self.config, domain, &self.resolver, Queue::AtRest(self.config.spool.directory.clone()))
    }

    /// Makes the next keys and takes the first steps; the keys that are to sign in the end.
    async fn begin(&self, domain: &Domain, plan: &DomainPlan, algorithms: &[Algorithm]) -> anyhow::Result<(Outcome, BTreeSet<KeyId>)> {
        self.look_for_domain(domain, plan).await?;
        let made = self.rotation.begin(domain, plan, algorithms, "key rotate", clock::now()).await?;
        let mut outcome = self.drive(domain, plan).await;
        let mut on_their_way = made.iter().map(|taken| taken.key.clone()).collect::<BTreeSet<_>>();
        if let Ok(progress) = &mut outcome.driven {
            let comes = |key: &&KeyProgress| algorithms.contains(&key.algorithm) && matches!(key.state, State::Created | State::Published | State::Visible);
            on_their_way.extend(progress.keys.iter().filter(comes).map(|key| key.key.clone()));
            progress.taken.splice(0..0, made);
        }
        Ok((outcome, on_their_way))
    }

    /// A key of a domain that does not exist would wait for ever: better nothing is made.
    async fn look_for_domain(&self, domain: &Domain, plan: &DomainPlan) -> anyhow::Result<()> {
        if plan.lifecycle.evidence == Evidence::Manual {
            return Ok(());
        }
        match self.resolver.exists(domain).await {
            Ok(true) => Ok(()),
            Ok(false) => bail!("there is no domain {domain} in the DNS (NXDOMAIN), so nobody could find a key of it; nothing was made"),
            Err(fault) => Err(self.resolver_down(domain, &fault)),
        }
    }

    fn resolver_down(&self, domain: &Domain, fault: &DnsFault) -> anyhow::Error {
        let servers: Vec<_> = self.resolver.nameservers().iter().map(ToString::to_string).collect();
        anyhow!("the DNS could not be asked for {domain}: {fault}; nothing was made. Is the resolver ({}) up? [resolver] names others", servers.join(", "))
    }

    async fn drive(&self, domain: &Domain, plan: &DomainPlan) -> Outcome {
        let driven = self.rotation.drive(domain, plan, &self.world(domain)).await;
        let held = matches!(driven, Err(RotationFault::Held { .. }));
        Outcome { domain: domain.clone(), driven: driven.map_err(|fault| fault.to_string()), held }
    }

    /// Prints what came of it. Not done is what could not be done at all; what waits is as it should be.
    fn report(&self, outcomes: &[Outcome], tell_next: bool) -> anyhow::Result<ExitCode> {
        let has_failed = outcomes.iter().any(|outcome| outcome.driven.as_ref().map_or(true, |progress| progress.keys.iter().any(|key| key.failed.is_some())));
        if self.json {
            print_json(&json!({ "domains": outcomes.iter().map(outcome_json).collect::<Vec<_>>() }))?;
        } else {
            for outcome in outcomes {
                match &outcome.driven {
                    Ok(progress) => print!("{}", self.told(progress, tell_next)),
                    Err(error) => eprintln!("postseal: {}: {error}", outcome.domain),
                }
            }
        }
        Ok(if has_failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    fn told(&self, progress: &Progress, tell_next: bool) -> String {
        let mut text = format!("{}\n", progress.domain);
        for step in &progress.taken {
            let _ = writeln!(text, "  {}", taken_line(step)); // a String takes all
        }
        if progress.keys.is_empty() {
            text += "  no keys\n";
        }
        for key in &progress.keys {
            text += &key_lines(key, clock::now());
            text += &self.to_paste(key);
        }
        if tell_next && progress.keys.iter().any(|key| key.state < State::Active) {
            let _ = writeln!(
                text,
                "  a running relay goes on with this by itself; without one, `postseal key rotate --wait {0}` stays until it is done, or `postseal key \
                 advance {0}` takes what is due",
                progress.domain
            );
        }
        text
    }

    /// The record, where a person is to write it.
    fn to_paste(&self, key: &KeyProgress) -> String {
        let wanted = match &key.waiting {
            Some(Waiting::ByHand(wanted) | Waiting::Confirmation(wanted)) => *wanted,
            _ => return String::new(),
        };
        let name = crate::dns::records::key_name(
            key.key.selector.as_str(),
            &key.key.domain,
            self.config.domains.get(&key.key.domain).and_then(|settings| settings.publication.dkim_target.as_ref()),
        );
        let place = name.map_or_else(|| key.key.to_string(), |name| name.to_string());
        match (wanted, &key.record) {
            (Wanted::Key, Some(record)) => {
                format!(
                    "    name   {place}\n    type   TXT\n    value  {record}\n    in a zone file:\n    {}\n",
                    zone_line(&key.key, record).replacen(&key.key.to_string(), &place, 1)
                )
            }
            (Wanted::Revoked, _) => format!("    name   {place}\n    type   TXT\n    value  v=DKIM1; k={}; p=\n", key.algorithm),
            (Wanted::Nothing, _) | (Wanted::Key, None) => format!("    name   {place}\n    type   TXT\n"),
        }
    }

    async fn preview(&self, args: &RotateArgs) -> anyhow::Result<ExitCode> {
        let (mut texts, mut values, mut failed) = (String::new(), Vec::new(), false);
        for (domain, plan) in &self.domains {
            let algorithms = args.algorithm.map_or_else(|| plan.algorithms.clone(), |one| vec![one]);
            let previewed = async {
                self.look_for_domain(domain, plan).await?;
                anyhow::Ok(self.rotation.preview(domain, plan, &algorithms, &self.world(domain)).await?)
            };
            match previewed.await {
                Ok(preview) => {
                    values.push(preview_json(domain, plan, &preview));
                    texts += &previewed_lines(&self.config, domain, plan, &preview);
                }
                Err(error) => {
                    failed = true;
                    values.push(json!({ "domain": domain.to_string(), "error": format!("{error:#}") }));
                    eprintln!("postseal: {domain}: {error:#}");
                }
            }
        }
        if self.json {
            print_json(&json!({ "domains": values }))?;
        } else {
            print!("{texts}");
        }
        Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
    }

    /// Until every watched key signs, or cannot any more.
    async fn wait(&self, watched: BTreeMap<Domain, BTreeSet<KeyId>>, mut outcomes: Vec<Outcome>) -> anyhow::Result<ExitCode> {
        let mut screen = Screen::new(self.json);
        for outcome in &outcomes {
            // What failed stands in the report.
            if let Ok(progress) = &outcome.driven {
                progress.taken.iter().for_each(|step| screen.line(&format!("{}: {}", outcome.domain, taken_line(step))));
                progress.keys.iter().for_each(|key| screen.once(self.to_paste(key).trim_end()));
            }
        }
        let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be caught")?;
        let is_interrupted = tokio::select! {
            () = self.lead(&watched, &mut outcomes, &mut screen) => false,
            _ = interrupt.recv() => true, // between two steps, or in one that will be taken again
        };
        screen.clear();
        if is_interrupted {
            let names: Vec<_> = outcomes.iter().filter(|outcome| is_open(outcome, &watched)).map(|outcome| outcome.domain.to_string()).collect();
            eprintln!(
                "postseal: stopped; every step that was taken is kept, and the old keys go on signing. A running relay goes on by itself; or: postseal key \
                 rotate --wait {}",
                names.join(" ")
            );
            return Ok(ExitCode::from(INTERRUPTED));
        }
        let given_up: Vec<String> = given_up(&outcomes, &watched);
        for key in &given_up {
            eprintln!("postseal: {key} was given up meanwhile");
        }
        let code = self.report(&outcomes, false)?;
        Ok(if given_up.is_empty() { code } else { ExitCode::FAILURE })
    }

    /// Drives until nothing watched is on its way any more.
    async fn lead(&self, watched: &BTreeMap<Domain, BTreeSet<KeyId>>, outcomes: &mut [Outcome], screen: &mut Screen) {
        let mut next_at: BTreeMap<Domain, Timestamp> = BTreeMap::new();
        while outcomes.iter().any(|outcome| is_open(outcome, watched)) {
            for outcome in outcomes.iter_mut().filter(|outcome| is_open(outcome, watched)) {
                let now = clock::now();
                let again_at = outcome.driven.as_ref().map_or(now, |progress| progress.again_at);
                if now < *next_at.entry(outcome.domain.clone()).or_insert_with(|| again_at.min(now + LOOK_AT_LEAST_EVERY)) {
                    continue;
                }
                let again_at = self.drive_on(outcome, screen).await;
                next_at.insert(outcome.domain.clone(), again_at.max(now + RETRY_AFTER).min(now + LOOK_AT_LEAST_EVERY));
            }
            screen.show(outcomes, watched);
            tokio::time::sleep(TICK).await;
        }
    }

    /// When to drive it again.
    async fn drive_on(&self, outcome: &mut Outcome, screen: &mut Screen) -> Timestamp {
        let now = clock::now();
        let Some((domain, plan)) = self.domains.iter().find(|(domain, _)| *domain == outcome.domain) else { return now };
        let driven = self.drive(domain, plan).await;
        match &driven.driven {
            Ok(progress) => {
                progress.taken.iter().for_each(|step| screen.line(&format!("{domain}: {}", taken_line(step))));
                progress.keys.iter().for_each(|key| screen.once(self.to_paste(key).trim_end()));
            }
            // Whoever has the ledger, a relay perhaps, does the same as we.
            Err(error) if driven.held => {
                screen.line(&format!("{domain}: {error}"));
                return now + RETRY_AFTER;
            }
            Err(_) => {} // the report says it
        }
        let again_at = driven.driven.as_ref().map_or(now, |progress| progress.again_at);
        *outcome = driven;
        again_at
    }
}

/// Whether a watched key of the domain is still on its way. A domain that failed as a whole is not waited for.
fn is_open(outcome: &Outcome, watched: &BTreeMap<Domain, BTreeSet<KeyId>>) -> bool {
    let Ok(progress) = &outcome.driven else { return false };
    let comes = |key: &KeyProgress| key.state < State::Active && watched.get(&outcome.domain).is_some_and(|keys| keys.contains(&key.key));
    progress.keys.iter().any(comes)
}

fn given_up(outcomes: &[Outcome], watched: &BTreeMap<Domain, BTreeSet<KeyId>>) -> Vec<String> {
    let mut lost = Vec::new();
    for progress in outcomes.iter().filter_map(|outcome| outcome.driven.as_ref().ok()) {
        let is_there = |id: &KeyId| progress.keys.iter().any(|key| key.key == *id && matches!(key.state, State::Active | State::Retiring));
        lost.extend(watched.get(&progress.domain).into_iter().flatten().filter(|id| !is_there(id)).map(ToString::to_string));
    }
    lost
}

/// One block that is drawn again on a terminal; elsewhere a line for what is new.
struct Screen {
    is_terminal: bool,
    is_silent: bool,
    /// Lines of the block that stands there.
    drawn: usize,
    /// What was last told of each key, without what time alone changes.
    told: BTreeMap<KeyId, String>,
    /// What somebody was told to paste.
    pasted: BTreeSet<String>,
}

impl Screen {
    fn new(is_silent: bool) -> Self {
        Self { is_terminal: std::io::stdout().is_terminal(), is_silent, drawn: 0, told: BTreeMap::new(), pasted: BTreeSet::new() }
    }

    /// The same, unless it was said before.
    fn once(&mut self, text: &str) {
        if !text.is_empty() && self.pasted.insert(text.to_owned()) {
            self.line(text);
        }
    }

    /// A line that stays.
    fn line(&mut self, text: &str) {
        if !self.is_silent {
            self.clear();
            println!("{text}");
        }
    }

    fn show(&mut self, outcomes: &[Outcome], watched: &BTreeMap<Domain, BTreeSet<KeyId>>) {
        if self.is_silent {
            return;
        }
        let now = clock::now();
        let progress = outcomes.iter().filter_map(|outcome| outcome.driven.as_ref().ok());
        let keys = progress.flat_map(|progress| &progress.keys).filter(|key| watched.get(&key.key.domain).is_some_and(|keys| keys.contains(&key.key)));
        if self.is_terminal {
            let block = keys.map(|key| format!("{}{}", key.key.domain, key_lines(key, now).replacen("  ", " ", 1))).collect::<Vec<_>>().concat();
            self.clear();
            print!("{block}");
            let _ = std::io::stdout().flush(); // a terminal that went away is no reason to stop
            self.drawn = rows(&block, rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| size.ws_col.into()));
            return;
        }
        for key in keys {
            let text = key.failed.clone().or_else(|| key.waiting.as_ref().map(ToString::to_string)).unwrap_or_default();
            if !text.is_empty() && self.told.insert(key.key.clone(), text.clone()).as_ref() != Some(&text) {
                println!("{}: {} ({}) is {}: {text}", key.key.domain, key.key.selector, key.algorithm, key.state);
            }
        }
        let _ = std::io::stdout().flush();
    }

    fn clear(&mut self) {
        if self.drawn > 0 {
            print!("\r\x1b[{}A\x1b[J", self.drawn);
            let _ = std::io::stdout().flush(); // what standard error says next must not be cleared with it
            self.drawn = 0;
        }
    }
}

/// How many rows a text takes on a terminal of so many columns, which breaks long lines; 0 columns: it does not say, so none is long.
fn rows(text: &str, columns: usize) -> usize {
    let columns = if columns == 0 { usize::MAX } else { columns };
    text.lines().map(|line| line.chars().count().div_ceil(columns).max(1)).sum()
}

fn taken_line(Taken { key, algorithm, from, to, why }: &Taken) -> String {
    let verb = match (from, to) {
        (None, _) => "made".to_owned(),
        (Some(State::Visible), State::Published) => "published again, not visible any more".to_owned(),
        (_, to) => to.to_string(),
    };
    format!("{} ({algorithm}) {verb}: {why}", key.selector)
}

/// Where a key stands, what each server shows, how long until what.
fn key_lines(key: &KeyProgress, now: Timestamp) -> String {
    let mut text = format!("  {} ({}) {} for {}", key.key.selector, key.algorithm, key.state, span(now.since(key.since)));
    match (&key.failed, &key.waiting) {
        (Some(failed), _) => {
            let _ = write!(text, "\n    not done: {failed}"); // a String takes all
        }
        (None, Some(Waiting::Servers(_))) => text += ", until every server shows it",
        (None, Some(waiting)) => {
            let left = match waiting {
                Waiting::Soak { until, .. } | Waiting::Retirement { until } | Waiting::Removal { until } => format!(" ({} left)", span(until.since(now))),
                _ => String::new(),
            };
            let _ = write!(text, "\n    waits: {waiting}{left}");
        }
        (None, None) => {}
    }
    text.push('\n');
    if let Some(Sight::Seen(seen)) = &key.sight {
        for (server, shows) in seen.servers.iter().filter(|_| key.state < State::Active) {
            let since = key.memory.servers.get(server).and_then(|known| known.shown_since).map(|since| format!(" for {}", span(now.since(since))));
            let _ = writeln!(text, "    {server} {shows}{}", since.unwrap_or_default());
        }
    }
    text
}

fn previewed_lines(config: &Config, domain: &Domain, plan: &DomainPlan, preview: &Preview) -> String {
    let settings = &plan.lifecycle;
    let mut text = format!("{domain} (nothing is done)\n");
    let line = |text: &mut String, line: String| {
        let _ = writeln!(text, "  {line}"); // a String takes all
    };
    for (selector, algorithm) in &preview.made {
        line(&mut text, format!("make {selector} ({algorithm}) in {}", config.server.keys.join(domain.as_str()).display()));
        let name = KeyId { domain: domain.clone(), selector: selector.clone() };
        match config.publisher(domain).filter(|_| !settings.by_hand) {
            Some(publisher) => line(&mut text, format!("write the TXT record of {name} by publisher {}", publisher.name)),
            None => line(&mut text, format!("print the TXT record of {name} for you to publish")),
        }
        let seen = match settings.evidence {
            Evidence::Authoritative => "until every authoritative server of the zone shows it",
            Evidence::Resolver => "until the configured resolvers show it",
            Evidence::Manual => "until you say so with `postseal key advance --confirm`",
        };
        line(&mut text, format!("wait {seen}, then for {} or the zone's negative TTL, whichever is longer", span(settings.soak_min)));
        let old: Vec<_> = preview.keys.iter().filter(|(_, key, _)| key.algorithm == *algorithm && key.state == State::Active).collect();
        let retire: Vec<_> = old.iter().map(|(selector, ..)| selector.to_string()).collect();
        if retire.is_empty() {
            line(&mut text, format!("sign with {selector}; no other key of its kind signs now"));
        } else {
            let retire = retire.join(", ");
            line(&mut text, format!("sign with {selector} instead of {retire}"));
            line(&mut text, format!("{} later, and when no queued message names it, publish {retire} with an empty p=", span(settings.retire_for)));
            line(&mut text, format!("{} after that, remove its record and its private key", span(settings.removal_after)));
        }
    }
    for (selector, key, step) in preview.keys.iter().filter(|(_, key, _)| key.state != State::Active) {
        line(&mut text, format!("{selector} ({}) is {}: {}", key.algorithm, key.state, step_words(step)));
    }
    text
}

fn step_words(step: &Step) -> String {
    match step {
        Step::Rest | Step::Look | Step::Count => "nothing is due".to_owned(),
        Step::Write { record: Wanted::Key, .. } => "write its record".to_owned(),
        Step::Write { record: Wanted::Revoked, .. } => "write its record with an empty p=".to_owned(),
        Step::Write { record: Wanted::Nothing, .. } => "withdraw its record and delete its private key".to_owned(),
        Step::Enter { state, why } => format!("note that it is {state}: {why}"),
        Step::Activate { retire, why } if retire.is_empty() => format!("sign with it: {why}"),
        Step::Activate { retire, why } => {
            format!("sign with it instead of {}: {why}", retire.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
        Step::Wait { why, .. } => format!("wait: {why}"),
    }
}

fn preview_json(domain: &Domain, plan: &DomainPlan, preview: &Preview) -> Value {
    let made = preview.made.iter().map(|(selector, algorithm)| json!({ "selector": selector.to_string(), "algorithm": algorithm.to_string() }));
    let keys = preview.keys.iter().map(|(selector, key, step)| {
        json!({
            "selector": selector.to_string(), "algorithm": key.algorithm.to_string(), "state": key.state.to_string(), "next": step_words(step),
        })
    });
    let settings: &lifecycle::Settings = &plan.lifecycle;
    json!({
        "domain": domain.to_string(),
        "would_make": made.collect::<Vec<_>>(),
        "keys": keys.collect::<Vec<_>>(),
        "evidence": settings.evidence.to_string(),
        "by_hand": settings.by_hand,
        "soak_min_seconds": settings.soak_min.as_secs(),
        "retire_for_seconds": settings.retire_for.as_secs(),
        "removal_after_seconds": settings.removal_after.as_secs(),
    })
}

fn outcome_json(outcome: &Outcome) -> Value {
    let domain = outcome.domain.to_string();
    match &outcome.driven {
        Err(error) => json!({ "domain": domain, "error": error }),
        Ok(progress) => json!({
            "domain": domain,
            "taken": progress.taken.iter().map(|step| json!({
                "key": step.key.to_string(), "algorithm": step.algorithm.to_string(), "from": step.from.map(|from| from.to_string()),
                "to": step.to.to_string(), "why": step.why,
            })).collect::<Vec<_>>(),
            "keys": progress.keys.iter().map(key_json).collect::<Vec<_>>(),
            "again_at": (progress.again_at < Timestamp::FAR_FUTURE).then(|| progress.again_at.to_rfc3339()),
        }),
    }
}

fn key_json(key: &KeyProgress) -> Value {
    let servers = match &key.sight {
        Some(Sight::Seen(seen)) => seen.servers.iter().map(|(server, shows)| (server.clone(), Value::String(shows.to_string()))).collect(),
        _ => serde_json::Map::new(),
    };
    json!({
        "key": key.key.to_string(),
        "selector": key.key.selector.to_string(),
        "algorithm": key.algorithm.to_string(),
        "state": key.state.to_string(),
        "since": key.since.to_rfc3339(),
        "waits_for": key.waiting.as_ref().map(ToString::to_string),
        "not_done": key.failed,
        "servers": servers,
        "record": key.record.as_ref().map(|record| record_json(&key.key, record)),
    })
}

/// How long somebody who has the ledger is waited for: a relay drives it for as long as servers take to answer.
const LOCK_PATIENCE: Duration = Duration::from_secs(10);

/// How often the block is drawn and the clock looked at.
const TICK: Duration = Duration::from_millis(500);

/// A ledger that was held, and a clock that runs slowly.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A relay may take the steps that we wait for.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_mins(1);

/// As shells say that SIGINT ended it.
const INTERRUPTED: u8 = 130;
