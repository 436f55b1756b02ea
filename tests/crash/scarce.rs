//! Too few file descriptors, too little memory.

use super::clients::{Mix, Style, send};
use super::letters::HUGE;
use super::rig::{Rig, can, cpu, rounds, skipped};
use super::smtp_client::SmtpClient;
use super::table;
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

#[test]
fn without_file_descriptors_nobody_is_let_in_nothing_is_lost_and_nothing_spins() {
    let mut rig = Rig::new("");
    rig.relay.start();
    rig.promise(20, Mix::OURS);
    let pid = rig.relay.pid();
    let rounds = rounds(1, 8);
    for round in 0..rounds {
        rig.sink.hold();
        rig.promise(15, Mix::OURS);
        let mut client = SmtpClient::connect(&rig.submission.to_string()).unwrap();
        // None more than are open; and a few in the second round.
        let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64;
        limit_files(pid, open + if round.is_multiple_of(2) { 0 } else { 8 });
        let crowd: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(rig.submission).unwrap()).collect();
        std::thread::sleep(Duration::from_millis(300));
        let (before, lines) = (cpu(pid), rig.relay.log().len());
        // Who was there before is served: a small letter and a large one.
        for large in [false, true] {
            let number = std::iter::repeat_with(|| rig.next_number()).find(|number| number.is_multiple_of(17) == large && !number.is_multiple_of(29)).unwrap();
            assert!(send(&mut client, &rig.ledger, number, Style::LockStep), "the session that was open is cut");
        }
        rig.sink.release();
        std::thread::sleep(Duration::from_secs(2));
        let (busy, lines) = (cpu(pid).saturating_sub(before), rig.relay.log().len() - lines);
        assert!(busy < Duration::from_millis(1200), "{busy:?} of CPU in two seconds with nothing to do");
        assert!(lines < 150, "{lines} lines of log in two seconds: {:#?}", super::rig::last(&rig.relay.log()));
        drop(crowd);
        limit_files(pid, 1024);
        rig.until("mail is accepted again", Duration::from_mins(1), || SmtpClient::connect(&rig.submission.to_string()).is_ok());
        rig.promise(10, Mix::OURS);
        rig.until("what was queued arrives", Duration::from_mins(1), || rig.ledger.missing().is_empty());
    }
    let balance = rig.finish();
    balance.assert_nothing_refused_came();
    assert_eq!(rig.told("spool.failed") + rig.told("mail.quarantined"), 0, "{:#?}", rig.alarms);
    table::row("file descriptors exhausted", rounds, &balance, "none there");
}

fn limit_files(pid: u32, files: u64) {
    let limited = Command::new("prlimit").args(["--pid", &pid.to_string(), &format!("--nofile={files}:")]).status().unwrap();
    assert!(limited.success(), "prlimit (Debian: util-linux)");
}

/// A limit of the kernel on what one process and its children have in memory.
struct Cgroup {
    folder: PathBuf,
    is_unified: bool,
}

impl Cgroup {
    /// Version 2 where it has a memory controller for us, else version 1; `None` where neither lets us.
    fn new(mebibytes: u64) -> Option<Self> {
        let name = format!("postseal-crash-{}-{mebibytes}", std::process::id());
        let (unified, memory) = (PathBuf::from("/sys/fs/cgroup"), PathBuf::from("/sys/fs/cgroup/memory"));
        let is_unified = std::fs::read_to_string(unified.join("cgroup.subtree_control")).is_ok_and(|controllers| controllers.contains("memory"));
        let folder = if is_unified { unified.join(name) } else { memory.join(name) };
        let limit = folder.join(if is_unified { "memory.max" } else { "memory.limit_in_bytes" });
        std::fs::create_dir(&folder).ok()?;
        let group = Self { folder, is_unified };
        std::fs::write(limit, (mebibytes << 20).to_string()).ok()?;
        println!("memory limited to {mebibytes} MiB by {}", group.folder.display());
        Some(group)
    }

    fn serve(&self, rig: &Rig) -> Command {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.folder.display());
        let mut serve = rig.serve_within("sh", &["-c", &script, "sh"]);
        // The default is more than there is.
        serve.env("POSTSEAL_SERVER__INCOMING_OCTETS_MAX", "24 MiB").env("POSTSEAL_LISTENERS__SUBMISSION__MESSAGE_OCTETS_MAX", "8 MiB");
        serve
    }

    /// Processes that the kernel has killed for want of memory.
    fn kills(&self) -> u64 {
        let file = self.folder.join(if self.is_unified { "memory.events" } else { "memory.oom_control" });
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).map_or(0, |count| count.parse().unwrap())
    }

    /// Octets in memory at most, pages of files included.
    fn peak(&self) -> u64 {
        let file = if self.is_unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        std::fs::read_to_string(self.folder.join(file)).map_or(0, |text| text.trim().parse().unwrap_or(0))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Sessions that each send messages of four megabytes, all at a time.
fn large_letters(rig: &Rig, sessions: usize, each: usize) {
    static NUMBERS: AtomicU64 = AtomicU64::new(HUGE);
    std::thread::scope(|scope| {
        for _ in 0..sessions {
            scope.spawn(|| {
                let Ok(mut client) = SmtpClient::connect(&rig.submission.to_string()) else { return };
                for _ in 0..each {
                    if !send(&mut client, &rig.ledger, NUMBERS.fetch_add(1, Ordering::SeqCst), Style::LockStep) {
                        return;
                    }
                }
            });
        }
    });
}

#[test]
fn large_messages_of_many_sessions_are_put_off_rather_than_taken_into_memory_that_is_not_there() {
    let mut rig = Rig::new("");
    let Some(group) = Cgroup::new(160) else { return skipped("no cgroup for memory that is ours to make") };
    rig.relay.start_by(&mut group.serve(&rig));
    let rounds = rounds(1, 4);
    for _ in 0..rounds {
        large_letters(&rig, 24, 2);
        rig.promise(20, Mix::OURS);
    }
    let (kills, peak) = (group.kills(), group.peak());
    let put_off = rig.ledger.refused_with("452");
    let balance = rig.finish();
    println!("24 sessions with messages of 4 MiB: peak {} MiB of 160, {put_off} put off", peak >> 20);
    assert_eq!(kills, 0, "killed for want of memory");
    assert!(put_off > 0, "nobody was put off: {balance:?}");
    assert_eq!(balance.refused, put_off, "put off with another reply");
    balance.assert_nothing_refused_came();
    table::row("cgroup of 160 MiB, messages of 4 MiB in 24 sessions", rounds, &balance, "none there");
}

#[test]
fn a_process_that_gets_no_memory_dies_and_loses_nothing() {
    let mut rig = Rig::new("");
    if !can("command -v prlimit") {
        return skipped("prlimit (Debian: util-linux)");
    }
    let rounds = rounds(1, 6);
    let mut deaths = 0;
    for _ in 0..rounds {
        // The allocator has address space in reserve, which counts as data unless it is made usable piece by piece.
        let mut serve = rig.relay.serve();
        serve.env("MIMALLOC_ARENA_EAGER_COMMIT", "0");
        rig.relay.start_by(&mut serve);
        rig.promise(20, Mix::OURS);
        let pid = rig.relay.pid();
        // Its data may not grow by what the letters take: it ends as soon as it asks for more.
        let limit = data_octets(pid) + (6 << 20);
        assert!(can(&format!("prlimit --pid {pid} --data={limit}:")));
        large_letters(&rig, 12, 2);
        if rig.relay.is_over() {
            rig.ledger.died();
            deaths += 1;
        } else {
            rig.kill();
        }
    }
    rig.relay.start();
    let balance = rig.finish();
    balance.assert_nothing_refused_came();
    assert!(deaths > 0, "none of {rounds} died for want of memory");
    table::row("no memory to be had: the process dies of it", rounds, &balance, "none there");
}

/// Octets of private memory that a process may write to.
fn data_octets(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmData:")).unwrap();
    kibibytes.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}
