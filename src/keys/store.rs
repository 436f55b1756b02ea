//! Files with secrets: who may read them, and how they are written so that a crash leaves the old or the new.

use super::PemError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Something wrong with a file of the key directory.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct KeyFault {
    /// Which file or directory.
    pub path: PathBuf,
    /// What.
    pub problem: KeyProblem,
}

/// See [`KeyFault`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyProblem {
    /// The system would not let us.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// Everybody may read it.
    #[error("its mode {mode:04o} lets every user of this machine read it; do `chmod 0600` (in Kubernetes: defaultMode: 0440 and an fsGroup)")]
    WorldReadable {
        /// The permission bits.
        mode: u32,
    },
    /// A group that is not ours may read it.
    #[error("its mode {mode:04o} lets group {gid} read it, which this process does not belong to; do `chmod 0600` or `chgrp` it to a group of ours")]
    GroupReadable {
        /// The permission bits.
        mode: u32,
        /// The group.
        gid: u32,
    },
    /// No key, or one that cannot sign.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The name says one kind of key, the content is another.
    #[error("its name says {name}, but it holds an {content} key; rename it")]
    WrongKind {
        /// By its name or the state file.
        name: String,
        /// What it is.
        content: String,
    },
    /// The state file does not read.
    #[error("it is not a key state file: {0}")]
    State(String),
    /// The state file names a key that signs, and there is no file.
    #[error("keys.toml calls {0} active, but there is no file for it; put it back or remove the entry")]
    Missing(String),
    /// Two files for one selector.
    #[error("two files hold the key of selector {0}; remove one")]
    Twice(String),
    /// A file or directory with a name that means nothing here.
    #[error("{0}")]
    Misplaced(String),
}

impl KeyFault {
    pub(super) fn new(path: &Path, problem: impl Into<KeyProblem>) -> Self {
        Self { path: path.to_owned(), problem: problem.into() }
    }

    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        Self::new(path, KeyProblem::Unreadable(error.to_string()))
    }
}

/// The content of a file that only we and our own groups may read. Symbolic links are followed, as Kubernetes mounts secrets; the
/// file that was opened is the one that is judged.
///
/// # Errors
/// It cannot be read, or others can.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFault> {
    let fault = |error: &io::Error| KeyFault::io(path, error);
    let file = File::open(path).map_err(|error| fault(&error))?;
    let about = file.metadata().map_err(|error| fault(&error))?;
    if !about.is_file() {
        return Err(KeyFault::new(path, KeyProblem::Misplaced("it is not a file".to_owned())));
    }
    judge(about.mode() & 0o7777, about.gid(), &own_groups()).map_err(|problem| KeyFault::new(path, problem))?;
    if about.len() > SECRET_OCTETS_MAX {
        return Err(KeyFault::new(path, KeyProblem::Misplaced(format!("it has more than {SECRET_OCTETS_MAX} octets; no key has"))));
    }
    // Room for all of it, so that no half-filled buffer is left behind unwiped.
    let mut content = Zeroizing::new(Vec::with_capacity(usize::try_from(about.len()).unwrap_or(0) + 1));
    file.take(SECRET_OCTETS_MAX).read_to_end(&mut content).map_err(|error| fault(&error))?;
    Ok(content)
}

/// Writes a file that only we may read, whole or not at all, and durably. What is there is replaced only when `replace` is set; the
/// caller holds the directory's lock.
pub(super) fn write_secret(path: &Path, content: &[u8], replace: bool) -> io::Result<()> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    if !replace && path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let temporary = path.with_file_name(format!(".{name}.new"));
    let _ = fs::remove_file(&temporary); // of a writer that died
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes a directory that only we may enter (where it is not there), and locks it until the handle is dropped.
pub(super) fn lock_directory(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let directory = File::open(path)?;
    rustix::fs::flock(&directory, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(directory)
}

/// The entries of a directory in order of name, without hidden ones (`..data` of Kubernetes, temporary files).
pub(super) fn entries(path: &Path) -> Result<Vec<(String, PathBuf)>, KeyFault> {
    let fault = |error: &io::Error| KeyFault::io(path, error);
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(|error| fault(&error))? {
        let entry = entry.map_err(|error| fault(&error))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !name.starts_with('.') {
            found.push((name, entry.path()));
        }
    }
    found.sort();
    Ok(found)
}

/// Nobody but us and our own groups.
fn judge(mode: u32, gid: u32, own_groups: &[u32]) -> Result<(), KeyProblem> {
    if mode & 0o007 != 0 {
        return Err(KeyProblem::WorldReadable { mode });
    }
    if mode & 0o070 != 0 && !own_groups.contains(&gid) {
        return Err(KeyProblem::GroupReadable { mode, gid });
    }
    Ok(())
}

fn own_groups() -> Vec<u32> {
    let further = rustix::process::getgroups().unwrap_or_default();
    further.into_iter().chain([rustix::process::getegid()]).map(rustix::process::Gid::as_raw).collect()
}

/// Octets of a file that are read; an RSA key of 4096 bits has 3,300.
const SECRET_OCTETS_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_we_and_our_groups_may_read() {
        for mode in [0o600, 0o400, 0o640, 0o440, 0o660] {
            assert_eq!(judge(mode, 7, &[5, 7]), Ok(()), "{mode:o}");
        }
        for mode in [0o640, 0o620, 0o610] {
            assert_eq!(judge(mode, 7, &[5]), Err(KeyProblem::GroupReadable { mode, gid: 7 }), "{mode:o}");
        }
        assert_eq!(judge(0o600, 7, &[5]), Ok(()));
        for mode in [0o644, 0o604, 0o602, 0o601, 0o777] {
            assert_eq!(judge(mode, 7, &[7]), Err(KeyProblem::WorldReadable { mode }), "{mode:o}");
        }
    }
}
