//! The bench: this relay and those that people use, in turn, under the same load, into the same sink, on the same disk.
//!
//! `tests/bench/run` installs what is missing, builds, and starts it. Everything stays on loopback; what is started is stopped.
//!
//! | file | does |
//! |---|---|
//! | `load`, `message` | submits messages and notes when each was answered |
//! | `sink`, `name_server` | takes them, as one next hop or as the MX host of many domains |
//! | `systems` | sets up postseal, Postfix with OpenDKIM, Postfix with rspamd |
//! | `account` | what all processes of a system cost |
//! | `measure`, `report` | one figure, and what figures come to against others |
//! | `life` | start, recovery, memory |
//!
//! A figure counts only when nothing was lost, nothing came twice, and the signatures at the sink verify.

#![allow(clippy::cast_precision_loss, reason = "figures of a bench: a few digits count")]

mod account;
mod life;
mod load;
mod measure;
mod message;
#[path = "../support/dns.rs"]
#[allow(clippy::unwrap_used, clippy::expect_used, reason = "the DNS of the tests, which may stop where it stands")]
mod name_server;
mod report;
mod sink;
mod systems;

use anyhow::{Context, bail};
use clap::{Parser, Subcommand};
use measure::{Cell, Place, Seen};
use postseal::mail::{KeyId, Selector};
use postseal::seal::dkim::Signer;
use report::{Bound, Rounds, Target};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use systems::System;

/// Measures postseal beside other relays, on loopback
#[derive(Parser)]
#[command(name = "tests/bench/run", bin_name = "tests/bench/run")]
struct Args {
    /// Where queues are kept: a folder on a real disk
    #[arg(long, global = true, value_name = "FOLDER", default_value = "/var/tmp/postseal-bench-queues")]
    folder: PathBuf,
    /// The release build of postseal
    #[arg(long, global = true, value_name = "FILE", default_value = "target/release/postseal")]
    program: PathBuf,
    /// Fewer messages and rounds: two or three minutes
    #[arg(long)]
    quick: bool,
    /// postseal by itself, without ratios: for a profiler, or between two changes
    #[arg(long)]
    alone: bool,
    /// Only cells whose names contain this
    #[arg(value_name = "CELL")]
    only: Option<String>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Start with an empty spool, recovery of a full one, memory at rest and with a million recipients queued
    Life,
    /// Fills a spool and is killed, as a relay would be: part of `life`
    #[command(hide = true)]
    Fill { spool: PathBuf, messages: u64, recipients: u64, octets: usize },
}

fn main() -> ExitCode {
    let args = Args::parse();
    // One thread is the load, another the sink; systems have the rest of the machine.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("bench: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = tokio::task::LocalSet::new().block_on(&runtime, run(&args));
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all targets are met.
async fn run(args: &Args) -> anyhow::Result<bool> {
    if let Some(What::Fill { spool, messages, recipients, octets }) = &args.what {
        return life::fill(spool, *messages, *recipients, *octets).await.map(|()| true);
    }
    std::fs::create_dir_all(&args.folder).with_context(|| format!("{} cannot be made", args.folder.display()))?;
    let disk = account::real_disk(&args.folder)?;
    let program = args.program.canonicalize().with_context(|| format!("{} is not there; build it with --release", args.program.display()))?;
    let place = Place::new(&args.folder, &program)?;
    println!("{}, queues on {disk}\n", machine());
    let mut targets = match args.what {
        Some(_) => life::life(&place, &args.folder, &program).await?,
        None => compare(&place, args).await?,
    };
    println!("\n| target | is to be | found | |\n|---|---|---|---|");
    if targets.is_empty() {
        bail!("no cell was measured");
    }
    targets.retain(|target| !target.found.is_nan());
    for target in &targets {
        print!("{}", target.line());
    }
    Ok(targets.iter().all(Target::is_met))
}

/// All cells, and what is asked of them.
async fn compare(place: &Place, args: &Args) -> anyhow::Result<Vec<Target>> {
    const OURS: System = System::Postseal { arc: false };
    const OURS_WITH_ARC: System = System::Postseal { arc: true };
    const RSPAMD: System = System::Rspamd { arc: false };
    const RSPAMD_WITH_ARC: System = System::Rspamd { arc: true };
    let rounds = if args.quick { 2 } else { 3 };
    let messages = |full: u64| if args.quick { full / 3 } else { full };
    let wanted = |cell: &str| args.only.as_deref().is_none_or(|only| cell.contains(only));
    let mut targets = Vec::new();
    let mut target = |what: String, found: f64, wanted: Bound| targets.push(Target { what, found, wanted });

    let plain = Cell::plain("10 KiB, 10 sessions, STARTTLS", messages(3000));
    if wanted("starttls") {
        let seen = in_turn(place, args, &[OURS, System::OpenDkim, RSPAMD], &plain, rounds).await?;
        let bare = bare_signature(place)?;
        println!("One bare RSA-2048 signature: {bare:.3} CPU s/1000.\n");
        target("CPU against Postfix+OpenDKIM".to_owned(), seen.ratio(OURS, System::OpenDkim, |seen| seen.cpu), Bound::AtMost(1.0 / 8.0));
        target("CPU against one bare RSA-2048 signature".to_owned(), seen.median(OURS, |seen| seen.cpu) / bare, Bound::AtMost(2.0));
        target("delivered a second against Postfix+OpenDKIM".to_owned(), seen.ratio(OURS, System::OpenDkim, |seen| seen.through_rate), Bound::AtLeast(7.0));
    }
    if wanted("clear") {
        let cell = Cell { name: "10 KiB, 10 sessions, in clear", tls: false, ..plain };
        in_turn(place, args, &[OURS, System::OpenDkim, RSPAMD], &cell, rounds).await?;
    }
    if wanted("arc") {
        let cell = Cell { name: "the same with an ARC set, STARTTLS", messages: messages(1800), ..plain };
        let seen = in_turn(place, args, &[OURS_WITH_ARC, RSPAMD_WITH_ARC], &cell, rounds).await?;
        target(
            "CPU with ARC against Postfix+rspamd with ARC".to_owned(),
            seen.ratio(OURS_WITH_ARC, RSPAMD_WITH_ARC, |seen| seen.cpu),
            Bound::AtMost(1.0 / 6.0),
        );
    }
    if wanted("open") {
        let cell = Cell { name: "open loop, 100 messages a second, STARTTLS", messages: messages(1500), per_second: Some(100), ..plain };
        let seen = in_turn(place, args, &[OURS, System::OpenDkim, RSPAMD], &cell, rounds).await?;
        target("p99 of DATA→250 at 100/s against Postfix+OpenDKIM".to_owned(), seen.ratio(OURS, System::OpenDkim, |seen| seen.p99), Bound::AtMost(1.0 / 3.0));
    }
    if wanted("fsyncs") {
        let cell = Cell { name: "50 sessions, STARTTLS, calls of fsync counted", messages: messages(3000), sessions: 50, traced: true, ..plain };
        let seen = in_turn(place, args, &[OURS, System::OpenDkim], &cell, rounds).await?;
        target("fsyncs a message at 50 sessions".to_owned(), seen.median(OURS, |seen| seen.fsyncs.unwrap_or(f64::NAN)), Bound::AtMost(0.2));
    }
    if wanted("100 KiB") {
        let cell = Cell { name: "100 KiB, 10 sessions, STARTTLS", messages: messages(1200), octets: 100 << 10, ..plain };
        let seen = in_turn(place, args, &[OURS, System::OpenDkim], &cell, rounds).await?;
        target(
            "100 KiB: delivered a second against Postfix+OpenDKIM".to_owned(),
            seen.ratio(OURS, System::OpenDkim, |seen| seen.through_rate),
            Bound::AtLeast(5.0),
        );
    }
    if wanted("mx") {
        let one = Cell { name: "one recipient domain, by MX, STARTTLS", messages: messages(9000), by_mx: true, ..plain };
        let many = Cell { name: "1,000 recipient domains, each with an MX host of its own", domains: 1000, ..one };
        let mut ratios = Vec::new();
        let (mut of_one, mut of_many) = (Rounds::default(), Rounds::default());
        for round in 0..rounds {
            let (mut first, mut second) = ((&one, &mut of_one), (&many, &mut of_many));
            if round % 2 == 1 {
                std::mem::swap(&mut first, &mut second);
            }
            let mut cpu = Vec::new();
            for (cell, seen) in [&mut first, &mut second] {
                let figures = place.measure(OURS, cell).await?;
                cpu.push((cell.domains, figures.cpu));
                seen.add(OURS, figures);
            }
            cpu.sort_by_key(|(domains, _)| *domains);
            ratios.push(cpu[1].1 / cpu[0].1);
        }
        println!("## {}\n\n{}\n## {}\n\n{}", one.name, of_one.table(), many.name, of_many.table());
        target("CPU for 1,000 domains by MX against one".to_owned(), report::median(ratios), Bound::AtMost(1.3));
    }
    Ok(targets)
}

/// Measures the systems in one cell, round after round: A B C, then C B A.
async fn in_turn(place: &Place, args: &Args, systems: &[System], cell: &Cell, rounds: usize) -> anyhow::Result<Rounds> {
    let mut seen = Rounds::default();
    for round in 0..rounds {
        let mut order = systems.to_vec();
        order.retain(|system| !args.alone || matches!(system, System::Postseal { .. }));
        if round % 2 == 1 {
            order.reverse();
        }
        for system in order {
            let figures: Seen = place.measure(system, cell).await?;
            seen.add(system, figures);
        }
    }
    println!("## {} ({} messages, {rounds} rounds)\n\n{}", cell.name, cell.messages, seen.table());
    Ok(seen)
}

/// Milliseconds of processor time that one RSA-2048 signature takes: what no relay that signs can do without.
fn bare_signature(place: &Place) -> anyhow::Result<f64> {
    let id = KeyId { selector: Selector::new(systems::SELECTOR), domain: message::DOMAIN.parse()? };
    let signer = Signer::rsa(id, place.key().der())?;
    let text = [b'x'; 700];
    let cpu = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(now.tv_sec.unsigned_abs(), u32::try_from(now.tv_nsec).unwrap_or_default())
    };
    let began = cpu();
    for _ in 0..SIGNATURES {
        signer.key().sign(&text)?;
    }
    Ok(cpu().saturating_sub(began).as_secs_f64() * 1000.0 / f64::from(SIGNATURES))
}

/// Processor, cores and system.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).map_or("an unknown processor", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    format!("{cores} cores of {model}, Linux {}", read("/proc/sys/kernel/osrelease").trim())
}

const SIGNATURES: u32 = 2000;
