//! The power goes, at any moment of a load with deaths and starts in it, and again while the relay recovers from that.
//!
//! The real program runs with `recorder.c` loaded. Out of one run, many cuts are played: what the disk would hold at that moment is laid
//! out, the real program is started on it, and must deliver whatever a client had read a 250 for by then.

use super::clients::Mix;
use super::disk::{Disk, Temper, entries};
use super::ledger::{Balance, Ledger};
use super::relay_process::RelayProcess;
use super::rig::{Rig, can, chance, last, rounds, skipped};
use super::sink::Sink;
use super::table;
use rand::Rng;
use rand::rngs::StdRng;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CUTS: usize = 12;

#[test]
fn nothing_that_was_promised_is_lost_when_the_power_goes() {
    let Some(recorder) = Recorder::build() else { return skipped("no C compiler (Debian: gcc)") };
    let mut chance = chance();
    let runs = rounds(2, 15);
    let mut balances = Vec::new();
    for run in 0..runs {
        let recording = recorder.run(&mut chance);
        let found_out = recording.cut(&mut chance, Cut { at_end: true, lies: true, temper: Temper::Nothing, again: None });
        assert!(!found_out.lost.is_empty(), "a disk that syncs nothing loses mail, or this test cannot find anything: {found_out:?}");
        for cut in 0..CUTS {
            let cut = Cut { at_end: false, lies: false, temper: Temper::any(&mut chance), again: cut.is_multiple_of(3).then_some(&recorder) };
            let balance = recording.cut(&mut chance, cut);
            println!("run {run}: {balance:?}");
            balance.assert_sound();
            balance.assert_nothing_refused_came();
            balances.push(balance);
        }
    }
    table::row("power loss, in a third of the rounds twice", runs * CUTS, &table::sum(balances), "none there");
}

/// The library that is loaded before the program.
struct Recorder {
    folder: TempDir,
}

/// A run, written down.
struct Recording {
    before: Disk,
    record: Vec<u8>,
    rig: Rig,
}

#[derive(Clone, Copy)]
struct Cut<'a> {
    /// Not at a random moment, but when all was over.
    at_end: bool,
    lies: bool,
    temper: Temper,
    /// The power goes once more while the relay starts from that.
    again: Option<&'a Recorder>,
}

impl Recorder {
    fn build() -> Option<Self> {
        if !can("command -v cc") {
            return None;
        }
        let folder = TempDir::new().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/recorder.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-o"]).arg(folder.path().join("recorder.so")).arg(source).arg("-lpthread");
        assert!(compiler.status().unwrap().success(), "recorder.c does not compile");
        Some(Self { folder })
    }

    fn recorded(&self, mut serve: Command, directory: &Path, record: &Path) -> Command {
        serve.env("LD_PRELOAD", self.folder.path().join("recorder.so")).env("RECORDER_DIRECTORY", directory).env("RECORDER_LOG", record);
        serve
    }

    /// A few lives under load, each ended between two changes of the disk.
    fn run(&self, chance: &mut StdRng) -> Recording {
        let mut rig = Rig::new("");
        rig.sink.pace(10);
        let directory = rig.relay.path().canonicalize().unwrap();
        let record = self.folder.path().join("record");
        let _ = std::fs::remove_file(&record);
        let before = Disk::of(&directory);
        let load = rig.load(Mix { pause: Duration::from_millis(3), ..Mix::OURS });
        for life in 0..3 {
            let mut serve = self.recorded(rig.relay.serve(), &directory, &record);
            if life == 1 {
                rig.relay.begin_by(&mut serve);
                std::thread::sleep(Duration::from_millis(chance.random_range(50..600)));
            } else {
                rig.relay.start_by(&mut serve);
                std::thread::sleep(Duration::from_millis(chance.random_range(700..2000)));
            }
            if life == 2 {
                // So that something waits in the end.
                rig.sink.hold();
                std::thread::sleep(Duration::from_millis(400));
            }
            die(&mut rig.relay, &record);
            rig.ledger.died();
        }
        load.stop();
        assert!(rig.ledger.promised() > 20, "{} promises are no load", rig.ledger.promised());
        Recording { before, record: std::fs::read(&record).unwrap(), rig }
    }
}

/// Ends a recorded relay when nothing is half done.
fn die(relay: &mut RelayProcess, record: &Path) {
    let mut order = record.as_os_str().to_owned();
    order.push(".kill");
    let order = PathBuf::from(order);
    std::fs::write(&order, "").unwrap();
    let began = Instant::now();
    while !relay.is_over() {
        assert!(began.elapsed() < Duration::from_mins(1), "the recorded relay does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::remove_file(order).unwrap();
}

impl Recording {
    /// Cuts the power and gives what becomes of the mail.
    fn cut(&self, chance: &mut StdRng, cut: Cut<'_>) -> Balance {
        let mut disk = self.before.clone();
        disk.lies = cut.lies;
        let moments: Vec<(usize, u64)> = entries(&self.record, 0).map(|entry| (entry.position, entry.at_ns)).collect();
        // Before an entry, as of the time of the one in front of it.
        let chosen = if cut.at_end { moments.len() - 1 } else { chance.random_range(1..moments.len()) };
        let (position, at_ns) = (moments[chosen].0, moments[chosen - 1].1);
        disk.advance(&self.record, position);
        let at_ns = if cut.at_end { super::ledger::now_ns() } else { at_ns };
        let mut after = After::lay_out(&disk, cut.temper, chance, self.rig.ledger.as_of(at_ns), &self.rig.sink);
        if let Some(recorder) = cut.again {
            after = after.cut_while_starting(recorder, chance);
        }
        let what = format!(
            "{:?} before entry {chosen} of {}, with {} promises{}",
            cut.temper,
            moments.len(),
            after.ledger.promised(),
            if cut.again.is_some() { ", and again" } else { "" }
        );
        after.deliver(&what, cut.lies)
    }
}

/// A machine that has its power back.
struct After {
    ledger: Arc<Ledger>,
    relay: RelayProcess,
    sink: Sink,
}

impl After {
    fn lay_out(disk: &Disk, temper: Temper, chance: &mut StdRng, ledger: Ledger, sink_before: &Sink) -> Self {
        let ledger = Arc::new(ledger);
        let relay = RelayProcess::empty();
        disk.cut_power(temper, chance, relay.path());
        let sink = Sink::start(ledger.clone(), &relay.path().join("keys"));
        let config = std::fs::read_to_string(relay.config()).unwrap();
        let port = |sink: &Sink| format!("port = {}", sink.address.port());
        std::fs::write(relay.config(), config.replace(&port(sink_before), &port(&sink))).unwrap();
        Self { ledger, relay, sink }
    }

    fn cut_while_starting(mut self, recorder: &Recorder, chance: &mut StdRng) -> Self {
        let directory = self.relay.path().canonicalize().unwrap();
        let record = recorder.folder.path().join("second-record");
        let _ = std::fs::remove_file(&record);
        let mut disk = Disk::of(&directory);
        self.relay.begin_by(&mut recorder.recorded(self.relay.serve(), &directory, &record));
        std::thread::sleep(Duration::from_millis(chance.random_range(20..700)));
        die(&mut self.relay, &record);
        let record = std::fs::read(&record).unwrap_or_default();
        let moments: Vec<(usize, u64)> = entries(&record, 0).map(|entry| (entry.position, entry.at_ns)).collect();
        if moments.len() < 2 {
            return self;
        }
        let chosen = chance.random_range(1..moments.len());
        disk.advance(&record, moments[chosen].0);
        Self::lay_out(&disk, Temper::any(chance), chance, self.ledger.as_of(moments[chosen - 1].1), &self.sink)
    }

    /// Starts, delivers everything and stops.
    fn deliver(mut self, what: &str, may_lose: bool) -> Balance {
        println!("{what}");
        self.relay.start();
        let began = Instant::now();
        let patience = Duration::from_secs(if may_lose { 3 } else { 60 });
        while (!self.ledger.missing().is_empty() || self.ledger.unchecked() > 0) && began.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        let lost = !self.ledger.missing().is_empty();
        let (code, log) = self.relay.stop();
        let alarms: Vec<_> = log.iter().filter(|line| line["level"] == "error" || line["level"] == "ERROR" || line["event"] == "commits.lost").collect();
        if !may_lose && (lost || code != Some(0) || !alarms.is_empty()) {
            self.relay.keep();
            println!("kept: {}\nalarms: {alarms:#?}\nthe log ends {:#?}", self.relay.path().display(), last(&log));
            panic!("{what}: {:?}", self.ledger.balance());
        }
        self.ledger.balance()
    }
}
