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

    /// As [`Self::room_for`], for what strangers send: they are refused while there is still room for submissions.
    ///
    /// # Errors
    /// [`SpoolError::Full`] when `octets` more would leave less than [`HOME_RESERVES`] times the reserve.
    pub fn room_for_home(&self, octets: u64) -> Result<(), SpoolError> {
        let (free, reserve) = (self.free_octets()?, self.reserve_octets.saturating_mul(HOME_RESERVES));
        if free.saturating_sub(octets) >= reserve { Ok(()) } else { Err(SpoolError::Full { free, reserve }) }
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

/// Reserves that what comes home leaves free: one is for settling, the other for submissions.
const HOME_RESERVES: u64 = 2;

/// What a spool stands on, where it may stand there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Ground {
    /// What a person should know.
    pub warning: Option<String>,
    /// It goes with the power, the container or the pod.
    pub is_volatile: bool,
}

/// How far a file system can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    /// Locks, shared memory and fsync do what they say, as far as is known.
    Durable,
    /// They do, but what is written goes with something that comes and goes: the machine's power, the container, the pod.
    Volatile(Span),
    /// Locks or shared memory lie between hosts, or fsync is somebody else's promise.
    Remote,
}

/// With what a volatile file system goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Power,
    Container,
    Pod,
}

/// Refuses file systems on which a `250` would be no promise. Gives a warning where a person should look.
///
/// What can be told, and what cannot: tmpfs and ramfs say what they are. An overlay is a container's own layer, which goes when the container
/// is removed (a live system's root is one too, and goes with the power). An `emptyDir` on a node's disk looks to statfs like any volume; but
/// its mount names the directory of the node that it shows, and the kubelet keeps those of `emptyDir` under `kubernetes.io~empty-dir`. A
/// directory of the node that somebody else empties (a `hostPath`, an anonymous volume) cannot be told from one that stays.
///
/// # Errors
/// [`SpoolError::Unusable`] with the file system's name and the remedies.
pub(super) fn check_file_system(directory: &Path, allowed: FileSystems) -> Result<Ground, SpoolError> {
    let unusable = |why: String| SpoolError::Unusable { path: directory.display().to_string(), why };
    let Some((name, trust)) = place(directory).map_err(|e| unusable(format!("its file system cannot be asked: {e}")))? else {
        return Ok(Ground::default());
    };
    match (trust, allowed) {
        (Trust::Durable, _) => Ok(Ground::default()),
        (Trust::Volatile(span), FileSystems::Volatile | FileSystems::Any) => {
            let warning = format!("the spool lies on {name}: a 250 does not outlive {}; this was allowed by setting", span.words());
            Ok(Ground { warning: Some(warning), is_volatile: true })
        }
        (Trust::Volatile(span), FileSystems::Durable) => {
            Err(unusable(format!("it lies on {name}, which does not outlive {}, and a 250 given here would be no promise; {REMEDIES}", span.words())))
        }
        (Trust::Remote, FileSystems::Any) => {
            let warning = format!(
                "the spool lies on {name}, where locks and shared memory may lie: damage and double delivery are possible; this was allowed by setting"
            );
            Ok(Ground { warning: Some(warning), is_volatile: false })
        }
        (Trust::Remote, FileSystems::Durable | FileSystems::Volatile) => Err(unusable(format!(
            "it lies on {name}, where locks or shared memory cannot be relied on; give it a directory on a local disk, or set spool.file_systems = \"any\" if you know that this mount keeps its word"
        ))),
    }
}

impl Span {
    const fn words(self) -> &'static str {
        match self {
            Self::Power => "the machine's power or the pod",
            Self::Container => "the container",
            Self::Pod => "the pod",
        }
    }
}

/// Name and trust of where a directory lies: the file system's, unless its mount says more.
fn place(directory: &Path) -> std::io::Result<Option<(&'static str, Trust)>> {
    let found = file_system(directory)?;
    let is_local = matches!(found, None | Some((_, Trust::Durable)));
    if is_local && is_empty_dir(directory)? { Ok(Some(("an emptyDir", Trust::Volatile(Span::Pod)))) } else { Ok(found) }
}

/// Whether the mount below a directory is an `emptyDir` of Kubernetes.
#[cfg(target_os = "linux")]
fn is_empty_dir(directory: &Path) -> std::io::Result<bool> {
    // Without /proc there is nothing to be told by it.
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else { return Ok(false) };
    Ok(shown_by(&mounts, &std::fs::canonicalize(directory)?).is_some_and(|root| root.split('/').any(|part| part == EMPTY_DIR)))
}

#[cfg(not(target_os = "linux"))]
fn is_empty_dir(_: &Path) -> std::io::Result<bool> {
    Ok(false)
}

/// Which directory of its file system a path shows, by the mounts of proc_pid_mountinfo(5): that of the innermost mount, and of several at one
/// place of the last, which hides the others.
#[cfg(target_os = "linux")]
fn shown_by(mounts: &[u8], path: &Path) -> Option<String> {
    let lines = String::from_utf8_lossy(mounts);
    let mut innermost: Option<(usize, String, PathBuf)> = None;
    for line in lines.lines() {
        let mut fields = line.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        let point = PathBuf::from(unescaped(point));
        let depth = point.components().count();
        if path.starts_with(&point) && innermost.as_ref().is_none_or(|(known, ..)| *known <= depth) {
            innermost = Some((depth, unescaped(root), point));
        }
    }
    let (_, root, point) = innermost?;
    let below = path.strip_prefix(&point).ok()?;
    Some(format!("{}/{}", root.trim_end_matches('/'), below.display()))
}

/// Space, tab, line feed and backslash are written in octal there.
#[cfg(target_os = "linux")]
fn unescaped(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (written, meant)| text.replace(written, meant))
}

/// What can be done about a place that does not last, in the order of preference.
const REMEDIES: &str = "either give it a directory on a disk that stays (in Kubernetes a PersistentVolumeClaim), or set spool.mode = \"through\", so \
    that a 250 is given only after the next hop's, or set spool.file_systems = \"volatile\" together with server.upstream, who is handed the queue at \
    the end";

/// The kubelet's directory of a pod's `emptyDir` volumes.
#[cfg(target_os = "linux")]
const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

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
    (0x794c_7630, "overlayfs", Trust::Volatile(Span::Container)),
    (0x0102_1994, "tmpfs", Trust::Volatile(Span::Power)),
    (0x8584_58f6, "ramfs", Trust::Volatile(Span::Power)),
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    const MOUNTS: &[u8] = b"\
21 1 8:1 / / rw,relatime - ext4 /dev/root rw
40 21 8:1 /var/lib/kubelet/pods/5f/volumes/kubernetes.io~empty-dir/spool /var/spool/app rw - ext4 /dev/root rw
41 21 8:16 /volumes/pvc-7 /var/spool/kept rw - ext4 /dev/sdb rw
42 40 8:16 / /var/spool/app/inner rw - xfs /dev/sdc rw
43 21 8:1 /somewhere /with\\040space rw - ext4 /dev/root rw
44 21 0:40 / /twice rw - tmpfs none rw
45 44 8:1 /pods/9/volumes/kubernetes.io~empty-dir/x /twice rw shared:1 - ext4 /dev/root rw
";

    #[test]
    fn a_mount_names_the_directory_it_shows() {
        for (path, shown) in [
            ("/var/spool/app/spool", "/var/lib/kubelet/pods/5f/volumes/kubernetes.io~empty-dir/spool/spool"),
            ("/var/spool/app", "/var/lib/kubelet/pods/5f/volumes/kubernetes.io~empty-dir/spool/"),
            ("/var/spool/application", "/var/spool/application"),
            ("/var/spool/kept/spool", "/volumes/pvc-7/spool"),
            ("/var/spool/app/inner/spool", "/spool"),
            ("/with space/a", "/somewhere/a"),
            ("/twice", "/pods/9/volumes/kubernetes.io~empty-dir/x/"),
        ] {
            assert_eq!(shown_by(MOUNTS, Path::new(path)).as_deref(), Some(shown), "{path}");
        }
        assert_eq!(shown_by(b"", Path::new("/")), None);
    }
}
