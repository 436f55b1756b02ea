//! A relay between load and sink: its configuration, its lives and deaths, what becomes of what it promised.

use super::clients::{Load, Mix};
use super::ledger::{Balance, Ledger, now_ns};
use super::ports::free_port;
use super::relay_process::RelayProcess;
use super::sink::Sink;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// See the file's head.
pub struct Rig {
    pub relay: RelayProcess,
    pub sink: Sink,
    pub ledger: Arc<Ledger>,
    pub numbers: Arc<AtomicU64>,
    pub submission: SocketAddr,
    /// What the log told in former lives and should tell a person.
    pub alarms: Vec<Value>,
}

impl Rig {
    /// Nothing runs yet but the sink. `spool` is further lines of that section.
    pub fn new(spool: &str) -> Self {
        let submission = free_address();
        let ledger = Arc::<Ledger>::default();
        let relay = RelayProcess::new(&config(submission, "127.0.0.1:9".parse().unwrap(), spool));
        let sink = Sink::start(ledger.clone(), &relay.path().join("keys"));
        std::fs::write(relay.config(), config(submission, sink.address, spool)).unwrap();
        Self { relay, sink, ledger, numbers: Arc::new(AtomicU64::new(1)), submission, alarms: Vec::new() }
    }

    pub fn spool(&self) -> PathBuf {
        self.relay.path().join("spool")
    }

    pub fn load(&self, mix: Mix) -> Load {
        Load::start(self.submission, &self.ledger, &self.numbers, mix)
    }

    /// Lets clients send until so many more letters are promised; fails when that takes two minutes.
    pub fn promise(&self, letters: usize, mix: Mix) {
        let wanted = self.ledger.promised() + letters;
        let load = self.load(mix);
        self.until("letters are promised", Duration::from_mins(2), || self.ledger.promised() >= wanted);
        load.stop();
    }

    pub fn next_number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::SeqCst)
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.remember();
        self.relay.kill();
        self.ledger.died();
    }

    /// Asks it to stop; it does so with 0.
    pub fn stop(&mut self) {
        let (code, log) = self.relay.stop();
        self.alarms.extend(log.into_iter().filter(is_alarm));
        assert_eq!(code, Some(0), "a drain ends with 0");
    }

    /// Keeps what the log of this life tells a person.
    pub fn remember(&mut self) {
        self.alarms.extend(self.relay.log().into_iter().filter(is_alarm));
    }

    /// How often a former life told of it.
    pub fn told(&self, event: &str) -> usize {
        self.alarms.iter().filter(|line| line["event"] == event).count()
    }

    /// Waits until everything promised has arrived, as long as something still comes.
    pub fn settle(&self) {
        let (mut copies, mut since) = (0, Instant::now());
        while !self.ledger.missing().is_empty() || self.ledger.unchecked() > 0 {
            if self.ledger.copies() != copies {
                (copies, since) = (self.ledger.copies(), Instant::now());
            }
            if since.elapsed() > Duration::from_secs(40) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything promised arrives, the relay ends with 0, and the account is right.
    pub fn finish(&mut self) -> Balance {
        self.sink.release();
        self.sink.pace(0);
        self.settle();
        self.stop();
        let balance = self.ledger.balance();
        balance.assert_sound();
        assert_eq!(self.settled_twice(), Vec::<String>::new(), "sent again though the outcome was durable: {balance:?}");
        balance
    }

    /// Recipients of whom the spool's journal tells two ends. It is written in the transaction that settles them. A spool on a volume of its
    /// own is seen by its relay alone; there it is the times that must explain a copy.
    fn settled_twice(&self) -> Vec<String> {
        let file = self.spool().join("spool.db");
        if !file.exists() {
            return Vec::new();
        }
        let spool = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let ends = "SELECT recipient || ' of ' || message FROM events WHERE kind IN ('mail.delivered', 'mail.bounced') GROUP BY message, recipient";
        let told: i64 = spool.query_row(&format!("SELECT count(*) FROM ({ends})"), [], |row| row.get(0)).unwrap();
        assert!(told > 0, "the journal tells of nothing");
        let mut twice = spool.prepare(&format!("{ends} HAVING count(*) > 1")).unwrap();
        twice.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    }

    pub fn until(&self, what: &str, patience: Duration, is: impl Fn() -> bool) {
        let began = Instant::now();
        while !is() {
            assert!(began.elapsed() < patience, "it never came that {what}: {:?}; the log ends {:#?}", self.ledger.balance(), last(&self.relay.log()));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// `serve` inside a command: `unshare -m sh -c SCRIPT sh PROGRAM serve …`, of which SCRIPT ends in `exec "$@"`.
    pub fn serve_within(&self, program: &str, arguments: &[&str]) -> Command {
        let serve = self.relay.serve();
        let mut command = Command::new(program);
        command.args(arguments).arg(serve.get_program()).args(serve.get_args());
        command.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.relay.keep();
            println!("kept, with configuration, keys and spool: {}", self.relay.path().display());
        }
    }
}

/// A line that a person should see: damage, loss, failure.
fn is_alarm(line: &Value) -> bool {
    let named = ["commits.lost", "mail.quarantined", "spool.failed", "index.mended", "schedule.mended", "spool.warned"];
    line["level"].as_str().is_some_and(|level| level.eq_ignore_ascii_case("error")) || line["event"].as_str().is_some_and(|event| named.contains(&event))
}

/// The end of a log, for a failure's report.
pub fn last(log: &[Value]) -> &[Value] {
    &log[log.len().saturating_sub(12)..]
}

/// Chance by a seed that is printed, or given by `POSTSEAL_SEED`.
pub fn chance() -> StdRng {
    let seed = std::env::var("POSTSEAL_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(now_ns);
    println!("POSTSEAL_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Rounds of this tier.
pub fn rounds(short: usize, long: usize) -> usize {
    match std::env::var("POSTSEAL_CRASH").as_deref() {
        Ok("long") => long,
        Ok(other) => other.parse().unwrap_or_else(|_| panic!("POSTSEAL_CRASH is \"{other}\" and is \"long\" or a number of rounds")),
        Err(_) => short,
    }
}

/// Says that something could not be tested here; in CI that is a failure.
pub fn skipped(why: &str) {
    println!("skipped: {why}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI nothing may be missing: {why}");
}

/// Whether a shell command succeeds, quietly.
pub fn can(command: &str) -> bool {
    Command::new("sh").args(["-c", command]).output().is_ok_and(|output| output.status.success())
}

pub fn free_address() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, free_port()).into()
}

/// CPU time of a process so far.
pub fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second())
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (source, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if source.is_dir() {
            copy(&source, &to.join(name));
        } else {
            std::fs::copy(&source, to.join(name)).unwrap();
        }
    }
}

fn config(submission: SocketAddr, sink: SocketAddr, spool: &str) -> String {
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        drain = "5s"
        [log]
        format = "json"
        [listeners.submission]
        address = "{submission}"
        tls = "none"
        connections_per_client_max = 1000
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [domains."example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "none"
        connections_max = 8
        [spool]
        reserve_octets = "16 MiB"
        wal_octets_max = "8 MiB"
        body_file_octets_min = "16 KiB"
        {spool}
        "#,
        sink.ip(),
        sink.port()
    )
}
