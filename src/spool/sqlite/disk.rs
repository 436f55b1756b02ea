//! What the spool stands on: how much room the disk has, and whether the file system keeps its word.

use super::FileSystems;
use crate::spool::SpoolError;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The disk below the spool's directory.
#[derive(Debug)]
pub(super) struct Disk {
    directory: PathBuf,
    reserve_octets: u64,
}

impl Disk {
    pub fn below(directory: &Path, reserve_octets: u64) -> Self {
        Self { directory: directory.to_owned(), reserve_octets }
    }

    /// Refuses before the disk is full: the reserve is what settling and the WAL need when nothing is accepted any more.
    ///
    /// # Errors
    /// [`SpoolError::Full`] when `octets` more would leave less than the reserve.
    pub fn room_for(&self, octets: u64) -> Result<(), SpoolError> {
        let free = self.free_octets()?;
        if free.saturating_sub(octets) >= self.reserve_octets { Ok(()) } else { Err(self.full(free)) }
    }

    /// The error of a write that found no room.
    pub fn full(&self, free: u64) -> SpoolError {
        SpoolError::Full { free, reserve: self.reserve_octets }
    }

    /// Octets that we may still write; room kept for root is not ours.
    pub fn free_octets(&self) -> Result<u64, SpoolError> {
        let facts = rustix::fs::statvfs(&self.directory).map_err(|e| SpoolError::Failed(format!("statvfs of \"{}\": {e}", self.directory.display())))?;
        Ok(facts.f_bavail.saturating_mul(facts.f_frsize))
    }
}

/// How far a file system can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Locks, shared memory and fsync do what they say, as far as is known.
    Durable,
    /// They do, but what is written may not outlive the container.
    WithTheContainer,
    /// What is written does not outlive the machine's power, or the pod.
    Volatile,
    /// Locks or shared memory lie between hosts, or fsync is somebody else's promise.
    Remote,
}

/// Refuses file systems on which a `250` would be no promise. Gives a warning where a person should look.
///
/// Containers: an overlay's upper layer is a local file system, locks and fsync are those of the file system below it (but for mounts made with
/// the option `volatile`, which cannot be seen from inside); it goes when the container is removed. So it works, and is warned of.
///
/// # Errors
/// [`SpoolError::Unusable`] with the file system's name and the remedy.
pub(super) fn check_file_system(directory: &Path, allowed: FileSystems) -> Result<Option<String>, SpoolError> {
    let unusable = |why: String| SpoolError::Unusable { path: directory.display().to_string(), why };
    let Some((name, trust)) = file_system(directory).map_err(|e| unusable(format!("its file system cannot be asked: {e}")))? else {
        return Ok(None);
    };
    match (trust, allowed) {
        (Trust::Durable, _) => Ok(None),
        (Trust::WithTheContainer, _) => {
            Ok(Some(format!("the spool lies on {name}: queued mail is lost when the container is removed; mount a volume at {}", directory.display())))
        }
        (Trust::Volatile, FileSystems::Volatile | FileSystems::Any) => {
            Ok(Some(format!("the spool lies on {name}: a 250 does not survive a loss of power; this was allowed by setting")))
        }
        (Trust::Volatile, FileSystems::Durable) => Err(unusable(format!(
            "it lies on {name}, which does not outlive the machine or the pod; give it a directory on a disk, or set spool.file_systems = \"volatile\" if queued mail may be lost"
        ))),
        (Trust::Remote, FileSystems::Any) => Ok(Some(format!(
            "the spool lies on {name}, where locks and shared memory may lie: damage and double delivery are possible; this was allowed by setting"
        ))),
        (Trust::Remote, FileSystems::Durable | FileSystems::Volatile) => Err(unusable(format!(
            "it lies on {name}, where locks or shared memory cannot be relied on; give it a directory on a local disk, or set spool.file_systems = \"any\" if you know that this mount keeps its word"
        ))),
    }
}

/// Name and trust of the file system below a directory; `None` for one that this table does not list, which is believed.
#[cfg(target_os = "linux")]
fn file_system(directory: &Path) -> std::io::Result<Option<(&'static str, Trust)>> {
    let kind = rustix::fs::fstatfs(File::open(directory)?)?.f_type;
    // Magic numbers are 32 bits wide; some come sign-extended.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bit pattern, not a number")]
    let magic = kind as u32;
    Ok(TRUST.iter().find(|(known, ..)| *known == magic).map(|&(_, name, trust)| (name, trust)))
}

#[cfg(not(target_os = "linux"))]
fn file_system(directory: &Path) -> std::io::Result<Option<(&'static str, Trust)>> {
    File::open(directory).map(|_| None)
}

/// statfs(2), linux/magic.h and the file systems' own sources.
#[cfg(target_os = "linux")]
const TRUST: &[(u32, &str, Trust)] = &[
    (0x0000_ef53, "ext4", Trust::Durable),
    (0x5846_5342, "xfs", Trust::Durable),
    (0x9123_683e, "btrfs", Trust::Durable),
    (0x794c_7630, "overlayfs", Trust::WithTheContainer),
    (0x0102_1994, "tmpfs", Trust::Volatile),
    (0x8584_58f6, "ramfs", Trust::Volatile),
    (0x0000_6969, "NFS", Trust::Remote),
    (0x0000_517b, "SMB", Trust::Remote),
    (0xff53_4d42, "CIFS", Trust::Remote),
    (0xfe53_4d42, "SMB", Trust::Remote),
    (0x0102_1997, "9p", Trust::Remote),
    (0x6573_5546, "FUSE or virtiofs", Trust::Remote),
    (0x00c3_6400, "CephFS", Trust::Remote),
    (0x0bd0_0bd0, "Lustre", Trust::Remote),
    (0x0116_1970, "GFS2", Trust::Remote),
    (0x7461_636f, "OCFS2", Trust::Remote),
    (0x4750_4653, "GPFS", Trust::Remote),
    (0x5346_414f, "AFS", Trust::Remote),
    (0x6b41_4653, "AFS", Trust::Remote),
    (0x7375_7245, "Coda", Trust::Remote),
    (0x0000_564c, "NCP", Trust::Remote),
    (0x786f_4256, "vboxsf", Trust::Remote),
];
