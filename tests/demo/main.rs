//! The demonstration: `cargo demo` on a fresh clone, nothing configured.
//!
//! A relay, a receiving server with STARTTLS and a DNS of their own run on 127.0.0.1. Three messages are submitted as applications do
//! and go the real way: SMTP, seal, spool, MX, STARTTLS. Of each is shown what the receiver saw. Exit code 0 only if all verify.

mod dns;
mod letters;
#[path = "../support/next_hop.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "the server of the tests, which may stop where it stands")]
mod next_hop;
mod report;
mod world;

use anyhow::{Context, bail};
use clap::Parser;
use postseal::events::log::Lines;
use postseal::mail::Domain;
use postseal::verdict::Style;
use report::{Paint, Report};
use std::fs::File;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use world::World;

/// Three messages through a relay, and what the receiver saw of each; all on 127.0.0.1
#[derive(Parser)]
#[command(name = "cargo demo", bin_name = "cargo demo")]
struct Args {
    /// Leave everything running until Ctrl-C, so that an application can be pointed at it
    #[arg(long)]
    keep: bool,
    /// The author domain: with --keep, that of the application's From
    #[arg(long, default_value = "example.com")]
    domain: Domain,
    /// Write the relay's own log to this file
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Box::pin(run(&Args::parse())).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all messages verify.
async fn run(args: &Args) -> anyhow::Result<bool> {
    if !args.domain.is_fully_qualified() {
        bail!("\"{}\" has a single label; expected a domain, as in example.com", args.domain);
    }
    let folder = tempfile::Builder::new().prefix("postseal-demo-").tempdir().context("no temporary folder")?;
    let log = args.log.clone().unwrap_or_else(|| folder.path().join("relay.log"));
    begin_log(&log)?;
    let mut end = Ending::new()?;
    let terminal = std::io::stdout().is_terminal();
    let style = Style { colours: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()), boxes: terminal };

    let world = tokio::select! {
        biased;
        () = end.asked() => bail!("interrupted"),
        world = World::start(&args.domain, folder) => world?,
    };
    introduce(&world, style)?;
    let verified = tokio::select! {
        biased;
        () = end.asked() => Err(anyhow::anyhow!("interrupted")),
        verified = three_messages(&world, style, &log) => verified,
    };
    if args.keep && verified.is_ok() {
        explain(&world)?;
        tokio::select! {
            () = end.asked() => {}
            shown = all_further(&world, style) => shown?,
        }
    }
    world.end().await;
    verified
}

/// Submits three messages, one after the other, and shows what became of each.
async fn three_messages(world: &World, style: Style, log: &Path) -> anyhow::Result<bool> {
    let through_a_list = letters::from_a_list(&world.names, &world.writer, &world.authenticator).await?;
    let letters = [letters::plain(&world.names), letters::japanese(&world.names), through_a_list];
    let mut verified = 0;
    for (number, letter) in letters.iter().enumerate() {
        let title = format!("{}. {}", number + 1, letter.title);
        let failed = || format!("message {}; the end of the relay's log:\n{}", number + 1, last_lines(log));
        let submitted = world.submit(letter).await.with_context(failed)?;
        let arrival = world.arrival().await.with_context(failed)?;
        let report = Report::of(world, &arrival, Some((&title, letter, &submitted))).await?;
        say(&format!("{}\n", report.print(style)))?;
        verified += usize::from(report.verifies());
    }
    say(&Paint(style).heading("In short"))?;
    let all = verified == letters.len();
    if all {
        say("All 3 messages verify: TLS, SPF, DKIM, ARC, DMARC; no content was changed.\n\n")?;
    } else {
        say(&format!("Only {verified} of {} messages verify; see above what does not pass.\n\n", letters.len()))?;
    }
    say(NEXT)?;
    Ok(all)
}

/// Shows whatever else arrives.
async fn all_further(world: &World, style: Style) -> anyhow::Result<()> {
    loop {
        for arrival in world.arrived().await {
            match Report::of(world, &arrival, None).await {
                Ok(report) => say(&format!("\n{}", report.print(style)))?,
                Err(error) => say(&format!("\n{}{error:#}\n", Paint(style).heading("A message arrived")))?,
            }
        }
    }
}

fn introduce(world: &World, style: Style) -> anyhow::Result<()> {
    let [arrow, corner] = if style.boxes { ["──▶", "└──▶"] } else { ["-->", "+-->"] };
    say(&format!(
        "All of this runs on 127.0.0.1, with fresh keys, and is gone afterwards.\n\n\
         \x20 application {arrow} postseal :{:<5} {arrow} {} :{}\n\
         \x20                  {corner} DNS :{} (MX, SPF, DKIM and DMARC records)\n\n",
        world.submission().port(),
        world::RECEIVER,
        world.receiver().port(),
        world.dns().port(),
    ))
}

fn explain(world: &World) -> anyhow::Result<()> {
    let (address, author) = (world.submission(), &world.names.author);
    say(&format!(
        "\nThe relay keeps running until Ctrl-C. Point an application at it:\n\
         \x20 host {}, port {}, no password, plain or STARTTLS (the certificate is\n\
         \x20 signed by nobody), From: anyone@{author}, To: anyone at all\n\
         \x20   swaks --server {address} --from app@{author} --to you@{}\n\
         What it sends is shown here and goes nowhere else. --log FILE tells more.\n",
        address.ip(),
        address.port(),
        world::RECIPIENTS,
    ))
}

/// To standard output, at once: a reader may have gone, which is no reason to panic.
fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("standard output is closed")
}

/// The relay's log goes to a file; on failure its end is shown.
fn begin_log(path: &Path) -> anyhow::Result<()> {
    let file = File::create(path).with_context(|| format!("the log {} cannot be written", path.display()))?;
    let lines = tracing_subscriber::fmt()
        .with_ansi(false)
        .event_format(Lines::Text)
        .with_env_filter(EnvFilter::new("off,postseal=debug"))
        .with_writer(std::sync::Mutex::new(file));
    lines.try_init().map_err(|error| anyhow::anyhow!("no log: {error}"))
}

fn last_lines(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(LOG_LINES)..];
    format!("  {}\nwhat went wrong", last.join("\n  "))
}

/// Ctrl-C or SIGTERM: the folder goes, whenever it comes.
struct Ending {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Ending {
    fn new() -> anyhow::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

const LOG_LINES: usize = 12;

/// README, "Five minutes to a running relay".
const NEXT: &str = "\
What to do next (README, \"Five minutes to a running relay\"):
  cargo demo --keep                            point your application at this
  cargo build --release --ignore-rust-version  then, in a folder of its own:
  postseal key create example.com              keys, and the records to publish
  postseal config check                        finds every fault at once
  postseal serve                               runs the relay
";
