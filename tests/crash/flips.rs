//! One octet of the spool changes, anywhere, at rest or under a running relay. What is sent is what was meant, to whom it was meant; what is
//! not sent any more is told by name, or the loss as such is; and the rest goes on.

use super::clients::Mix;
use super::ledger::{Balance, Ledger, now_ns};
use super::relay_process::RelayProcess;
use super::rig::{self, Rig, chance, last, rounds};
use super::sink::Sink;
use super::table;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;
use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const LETTERS: usize = 40;

#[test]
fn a_changed_octet_is_found_told_and_never_sent() {
    let mut chance = chance();
    let mut accounts = Accounts::default();
    let rounds = rounds(36, 240);
    let mut victim = None;
    for round in 0..rounds {
        // A new spool now and then.
        if round.is_multiple_of(40) {
            victim = Some(victim_of_a_kill());
        }
        let (folder, ledger) = victim.as_ref().unwrap();
        let relay = RelayProcess::empty();
        rig::copy(folder.path(), relay.path());
        let damage = Damage::choose(&relay.path().join("spool"), &mut chance);
        damage.strike();
        let mut after = After::on(relay, ledger, folder);
        after.live();
        accounts.enter("at rest", &damage, after);
    }
    accounts.close("one octet of the spool changed, at rest");
}

#[test]
fn an_octet_that_changes_under_a_running_relay_is_never_sent() {
    let mut chance = chance();
    let mut accounts = Accounts::default();
    let rounds = rounds(10, 60);
    let (folder, ledger) = victim_of_a_kill();
    for _ in 0..rounds {
        let relay = RelayProcess::empty();
        rig::copy(folder.path(), relay.path());
        let mut after = After::on(relay, &ledger, &folder);
        after.sink.hold();
        after.relay.start();
        // The first are under way, the others wait in the database.
        std::thread::sleep(Duration::from_millis(chance.random_range(0..300)));
        let spool = after.relay.path().join("spool");
        let damage = Damage::choose(&spool, &mut chance);
        if damage.file.ends_with("spool.db-shm") {
            continue; // that is memory, not disk: no checksum of a file can tell
        }
        damage.strike();
        after.sink.release();
        after.wait();
        after.die();
        after.live();
        accounts.enter("running", &damage, after);
    }
    accounts.close("one octet changed under a running relay");
}

/// A relay's folder, with mail promised and nothing delivered, its process killed; and the account of it.
fn victim_of_a_kill() -> (RelayProcess, Ledger) {
    let mut rig = Rig::new("");
    rig.sink.hold();
    rig.relay.start();
    rig.promise(LETTERS, Mix::OURS);
    rig.kill();
    let ledger = rig.ledger.as_of(now_ns());
    let folder = RelayProcess::empty();
    rig::copy(rig.relay.path(), folder.path());
    (folder, ledger)
}

/// One octet of one file.
struct Damage {
    file: PathBuf,
    at: u64,
    flip: u8,
}

impl Damage {
    fn choose(spool: &Path, chance: &mut StdRng) -> Self {
        let body = || any_body(&spool.join("bodies"));
        let file = match chance.random_range(0..20) {
            0..8 => spool.join("spool.db"),
            8..14 => spool.join("spool.db-wal"),
            14..17 => body().unwrap_or_else(|| spool.join("spool.db")),
            17 => spool.join("commits"),
            18 => spool.join("spool.db-shm"),
            _ => spool.join("lock"),
        };
        let octets = std::fs::metadata(&file).unwrap().len();
        if octets == 0 {
            return Self { file: spool.join("commits"), at: chance.random_range(0..12), flip: 1 };
        }
        Self { file, at: chance.random_range(0..octets), flip: chance.random_range(1..=u8::MAX) }
    }

    fn strike(&self) {
        let file = std::fs::File::options().read(true).write(true).open(&self.file).unwrap();
        let mut octet = [0];
        file.read_exact_at(&mut octet, self.at).unwrap();
        file.write_all_at(&[octet[0] ^ self.flip], self.at).unwrap();
    }

    fn name(&self) -> String {
        let name = self.file.file_name().unwrap().to_string_lossy().into_owned();
        if self.file.components().any(|part| part.as_os_str() == "bodies") { "a body's file".to_owned() } else { name }
    }
}

fn any_body(bodies: &Path) -> Option<PathBuf> {
    let shards = std::fs::read_dir(bodies).ok()?.filter_map(Result::ok);
    shards.flat_map(|shard| std::fs::read_dir(shard.path()).into_iter().flatten()).filter_map(Result::ok).map(|file| file.path()).next()
}

/// A relay on a damaged spool.
struct After {
    relay: RelayProcess,
    sink: Sink,
    ledger: Arc<Ledger>,
    /// What all its lives told.
    told: Vec<Value>,
    refused_to_start: bool,
}

impl After {
    fn on(relay: RelayProcess, ledger: &Ledger, origin: &RelayProcess) -> Self {
        let ledger = Arc::new(ledger.as_of(now_ns()));
        let sink = Sink::start(ledger.clone(), &origin.path().join("keys"));
        let config = std::fs::read_to_string(relay.config()).unwrap();
        let port = |line: &str| if line.trim_start().starts_with("port = ") { format!("port = {}", sink.address.port()) } else { line.to_owned() };
        let address = |line: String| if line.trim_start().starts_with("address = ") { "address = \"127.0.0.1:0\"".to_owned() } else { line };
        let config: Vec<String> = config.lines().map(|line| address(port(line))).collect();
        std::fs::write(relay.config(), config.join("\n")).unwrap();
        Self { relay, sink, ledger, told: Vec::new(), refused_to_start: false }
    }

    /// Starts, delivers what it can, and is killed.
    fn live(&mut self) {
        self.relay.begin_by(&mut self.relay.serve());
        let began = Instant::now();
        loop {
            let log = self.relay.log();
            if log.iter().any(|line| line["event"] == "relay.started") {
                break;
            }
            if self.relay.is_over() {
                self.refused_to_start = true;
                self.told.extend(log);
                return;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "it neither starts nor ends");
            std::thread::sleep(Duration::from_millis(5));
        }
        self.wait();
        self.die();
    }

    /// Until everything has arrived, or what is missing is told of and nothing comes any more.
    fn wait(&self) {
        let (mut copies, mut since, began) = (usize::MAX, Instant::now(), Instant::now());
        loop {
            if self.ledger.unchecked() == 0 && self.ledger.missing().is_empty() {
                return;
            }
            if self.ledger.copies() != copies {
                (copies, since) = (self.ledger.copies(), Instant::now());
            }
            let is_quiet = since.elapsed() > Duration::from_millis(1500) && self.ledger.unchecked() == 0;
            if is_quiet && (self.untold().is_empty() || began.elapsed() > Duration::from_secs(12)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn die(&mut self) {
        self.told.extend(self.relay.log());
        self.relay.kill();
        self.ledger.died();
    }

    fn count(&self, event: &str) -> usize {
        self.told.iter().chain(&self.relay.log()).filter(|line| line["event"] == event).count()
    }

    /// Letters that were promised, have not arrived, and of which nothing is said.
    fn untold(&self) -> Vec<u64> {
        let missing = self.ledger.missing();
        if self.refused_to_start || self.count("commits.lost") > 0 || self.count("spool.failed") > 0 {
            return Vec::new();
        }
        let log = self.relay.log();
        let quarantined: Vec<&str> =
            self.told.iter().chain(&log).filter(|line| line["event"] == "mail.quarantined").filter_map(|line| line["mail_id"].as_str()).collect();
        missing.into_iter().filter(|number| !quarantined.iter().any(|id| self.ledger.reply(*number).contains(id))).collect()
    }
}

/// What came of all damages.
#[derive(Default)]
struct Accounts {
    balances: Vec<Balance>,
    /// Letters that are held as damaged, or in a spool that refuses to start.
    held: usize,
    /// By file: damages, unharmed, quarantined, transactions told as lost, refused or failed as a whole, letters that did not arrive at most.
    by_file: BTreeMap<String, [usize; 6]>,
}

impl Accounts {
    fn enter(&mut self, when: &str, damage: &Damage, mut after: After) {
        let mut balance = after.ledger.balance();
        let what = format!("{when}, octet {} of {} changed by {:#04x}", damage.at, damage.file.display(), damage.flip);
        let (lost, quarantined) = (after.count("commits.lost"), after.count("mail.quarantined"));
        let whole = after.refused_to_start || after.count("spool.failed") > 0;
        let untold = after.untold();
        // A settled outcome that is lost with its transaction is one of those that are told: that mail goes twice.
        let twice = if lost == 0 && !whole { balance.unexplained.clone() } else { Vec::new() };
        if !untold.is_empty() || !balance.faults.is_empty() || !twice.is_empty() {
            after.relay.keep();
            println!("kept: {}\nthe log ends {:#?}", after.relay.path().display(), last(&after.told));
            panic!("{what}: {untold:?} are gone without a word, {:?}, twice {twice:?}", balance.faults);
        }
        let row = self.by_file.entry(damage.name()).or_default();
        let missing = balance.lost.len();
        let kinds = [true, missing == 0 && lost + quarantined == 0 && !whole, quarantined > 0, lost > 0, whole];
        for (count, is) in row.iter_mut().zip(kinds) {
            *count += usize::from(is);
        }
        row[5] = row[5].max(missing);
        println!("{what}: {missing} of {} told and not delivered; {quarantined} quarantined, {lost} times commits lost, as a whole {whole}", balance.promised);
        if lost == 0 || whole {
            self.held += missing;
            balance.lost.clear();
        }
        self.balances.push(balance);
    }

    fn close(self, fault: &str) {
        for (file, [damages, unharmed, quarantined, lost, whole, most]) in &self.by_file {
            println!(
                "{file}: {damages} damages: {unharmed} unharmed, {quarantined} quarantined, {lost} commits lost, {whole} refused as a whole; at most {most} letters at a time"
            );
        }
        let damages: usize = self.by_file.values().map(|row| row[0]).sum();
        let balance = table::sum(self.balances);
        let told = format!("every harmed letter told: {} held, {} with the log", self.held, balance.lost.len());
        table::row(fault, damages, &balance, &told);
    }
}
