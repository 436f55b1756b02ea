//! A small disk of its own for one spool: an ext4 file system in a file, mounted where only the relay sees it.

use super::rig::{Rig, can};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// See the file's head.
pub struct Volume {
    image: PathBuf,
}

impl Volume {
    /// For the spool of this rig; `None` where mounting is not for us.
    pub fn new(rig: &Rig, mebibytes: u32) -> Option<Self> {
        let image = rig.relay.path().join("disk.img");
        let path = image.display();
        let made = can(&format!(
            "PATH=$PATH:/sbin:/usr/sbin; truncate -s {mebibytes}M {path} && mkfs.ext4 -q -F -m 0 {path} && unshare -m true && test -e /dev/loop-control"
        ));
        made.then_some(Self { image })
    }

    /// `serve` in a mount namespace with the disk at the spool's place; `options` are of mount(8), `before` is a shell command there.
    pub fn serve(&self, rig: &Rig, options: &str, before: &str) -> Command {
        let (image, spool) = (self.image.display(), rig.spool());
        let begun = Instant::now();
        while !can(&format!("PATH=$PATH:/sbin:/usr/sbin; test -z \"$(losetup -j {image})\"")) {
            assert!(begun.elapsed() < Duration::from_mins(1), "the disk of the last life is still mounted");
            std::thread::sleep(Duration::from_millis(20));
        }
        let script = format!("mkdir -p {0} && mount -o {options} {image} {0} && {before} exec \"$@\"", spool.display());
        rig.serve_within("unshare", &["-m", "sh", "-c", &script, "sh"])
    }

    /// Runs a shell command where the relay sees its disk; `$SPOOL` is the spool.
    pub fn within(rig: &Rig, command: &str) -> bool {
        let pid = rig.relay.pid().to_string();
        let mut inside = Command::new("nsenter");
        inside.args(["-t", &pid, "-m", "sh", "-c", command]).env("SPOOL", rig.spool());
        inside.output().is_ok_and(|output| output.status.success())
    }

    /// Fills the disk until so many octets are free, as somebody else would.
    pub fn fill(rig: &Rig, leave: u64) {
        let mut ballast = std::fs::File::options().append(true).create(true).open(ballast(rig)).unwrap();
        for step in [1 << 20, 4096, 1] {
            while free(&ballast_folder(rig)) >= leave + step as u64 || leave == 0 {
                if ballast.write_all(&vec![0x5a; step]).is_err() {
                    break;
                }
            }
        }
        let _ = ballast.sync_all();
    }

    /// Takes away what [`Self::fill`] wrote.
    pub fn make_room(rig: &Rig) {
        std::fs::remove_file(ballast(rig)).unwrap();
    }
}

/// Octets free to anybody.
fn free(folder: &Path) -> u64 {
    let facts = rustix::fs::statvfs(folder).unwrap();
    facts.f_bavail * facts.f_frsize
}

/// The disk as it is seen from here: through the root of the relay's namespace.
fn ballast_folder(rig: &Rig) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", rig.relay.pid(), rig.spool().canonicalize().unwrap().display()))
}

fn ballast(rig: &Rig) -> PathBuf {
    ballast_folder(rig).join("ballast")
}
