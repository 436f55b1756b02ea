//! What a system costs: processor time, memory and octets of all its processes, through a control group of its own.

use anyhow::{Context, bail};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The processes of one system: those begun in it and all that they begin.
pub struct Group {
    folder: PathBuf,
    version: Version,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Group {
    /// A fresh group.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        let (mount, version) = mounted()?;
        let folder = mount.join(format!("postseal-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&folder).with_context(|| format!("no control group can be made at {}; run this as root", folder.display()))?;
        Ok(Self { folder, version })
    }

    /// A command that will run inside.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec \"$@\""]).arg(self.folder.join("cgroup.procs")).arg(program);
        command
    }

    /// Processor time used so far, of processes that ended too.
    pub fn cpu(&self) -> Duration {
        let read = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        match self.version {
            Version::Two => {
                let text = read("cpu.stat");
                let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec ")).and_then(|number| number.parse().ok());
                Duration::from_micros(usage.unwrap_or_default())
            }
            Version::One => Duration::from_nanos(read("cpuacct.usage").trim().parse().unwrap_or_default()),
        }
    }

    /// Octets that were written towards a disk.
    pub fn octets_written(&self) -> u64 {
        let of = |pid: u32| -> Option<u64> {
            let text = std::fs::read_to_string(format!("/proc/{pid}/io")).ok()?;
            text.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.parse().ok()
        };
        self.processes().into_iter().filter_map(of).sum()
    }

    /// Memory now: the sum of the proportional set sizes, so that what processes share counts once.
    pub fn memory(&self) -> u64 {
        let of = |pid: u32| -> Option<u64> {
            let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let kilobytes: u64 = text.lines().find_map(|line| line.strip_prefix("Pss:"))?.trim().trim_end_matches(" kB").parse().ok()?;
            Some(kilobytes * 1024)
        };
        self.processes().into_iter().filter_map(of).sum()
    }

    /// Memory that is resident now, what processes share counted for each.
    pub fn resident(&self) -> u64 {
        let of = |pid: u32| -> Option<u64> {
            let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let kilobytes: u64 = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().trim_end_matches(" kB").parse().ok()?;
            Some(kilobytes * 1024)
        };
        self.processes().into_iter().filter_map(of).sum()
    }

    /// Who is in it.
    pub fn processes(&self) -> Vec<u32> {
        let text = std::fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Ends whoever is in it, and the group.
    pub fn end(&self) {
        for signal in ["-TERM", "-KILL"] {
            for _ in 0..100 {
                let left = self.processes();
                if left.is_empty() {
                    let _ = std::fs::remove_dir(&self.folder); // it may be gone
                    return;
                }
                let _ = Command::new("kill").arg(signal).args(left.iter().map(ToString::to_string)).output();
                std::thread::sleep(Duration::from_millis(50));
            }
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where groups are made: the second version wherever it is mounted, since it counts without being asked to.
fn mounted() -> anyhow::Result<(PathBuf, Version)> {
    let mounts = std::fs::read_to_string("/proc/mounts")?;
    let rows: Vec<Vec<&str>> = mounts.lines().map(|line| line.split(' ').collect()).collect();
    let found = rows.iter().find(|row| row[2] == "cgroup2").map(|row| (row[1], Version::Two));
    let found =
        found.or_else(|| rows.iter().find(|row| row[2] == "cgroup" && row[3].split(',').any(|option| option == "cpuacct")).map(|row| (row[1], Version::One)));
    match found {
        Some((folder, version)) => Ok((folder.into(), version)),
        None => bail!("no control groups are mounted that count processor time (cgroup2, or cpuacct of the first version)"),
    }
}

/// The most memory that a group had while it was watched.
pub struct Watched {
    peak: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    watcher: Option<std::thread::JoinHandle<()>>,
}

impl Watched {
    /// Looks a few times a second.
    pub fn begin(group: Arc<Group>) -> Self {
        let (peak, over) = (Arc::new(AtomicU64::new(group.memory())), Arc::new(AtomicBool::new(false)));
        let watcher = std::thread::spawn({
            let (peak, over) = (Arc::clone(&peak), Arc::clone(&over));
            move || {
                while !over.load(Ordering::Relaxed) {
                    peak.fetch_max(group.memory(), Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(250));
                }
            }
        });
        Self { peak, over, watcher: Some(watcher) }
    }

    /// In octets.
    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(watcher) = self.watcher.take() {
            let _ = watcher.join();
        }
    }
}

/// The kind of file system that a folder lies on, as `stat` names it.
///
/// # Errors
/// It is one without a disk, on which a fsync costs nothing.
pub fn real_disk(folder: &Path) -> anyhow::Result<String> {
    let told = Command::new("stat").args(["-f", "-c", "%T"]).arg(folder).output().context("stat does not run")?;
    let kind = String::from_utf8_lossy(&told.stdout).trim().to_owned();
    if matches!(kind.as_str(), "tmpfs" | "ramfs") {
        bail!("{} is on {kind}, where a fsync costs nothing; name a folder on a disk with --folder", folder.display());
    }
    Ok(kind)
}
