//! Files and directories of the keyring: who may read and write them, and what is wrong with one that is refused.

use super::PemError;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
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
    /// Others could bring in a key of theirs, or change which one signs.
    #[error("its mode {mode:04o} lets others write it; do `chmod go-w`")]
    OthersWrite {
        /// The permission bits.
        mode: u32,
    },
    /// The system would not let us change it.
    #[error("it cannot be written: {0}")]
    Unwritable(String),
    /// Of a domain.
    #[error("there is no such directory, so no key of that domain; `postseal key create DOMAIN` makes one")]
    NoDirectory,
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
    /// A key file of the configuration, and one in the directory.
    #[error("the key directory has a key of selector {0} too; remove one, or give this one another selector")]
    InDirectoryToo(String),
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

/// Whether only we and our own groups may change the entries of a directory. One that all may write is in order when nobody can: as a
/// read-only mount, the way Kubernetes gives secrets.
pub(super) fn judge_directory(path: &Path) -> Result<(), KeyFault> {
    let about = fs::metadata(path).map_err(|error| KeyFault::io(path, &error))?;
    let is_read_only = || rustix::fs::statvfs(path).is_ok_and(|about| about.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY));
    match judge_writers(about.mode() & 0o7777, about.gid(), &own_groups()) {
        Err(problem) if !is_read_only() => Err(KeyFault::new(path, problem)),
        _ => Ok(()),
    }
}

/// The same of a file that holds no secret but decides which key signs.
pub(super) fn refuse_writable_by_others(path: &Path, file: &File) -> Result<(), KeyFault> {
    let about = file.metadata().map_err(|error| KeyFault::io(path, &error))?;
    judge_writers(about.mode() & 0o7777, about.gid(), &own_groups()).map_err(|problem| KeyFault::new(path, problem))
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

fn judge_writers(mode: u32, gid: u32, own_groups: &[u32]) -> Result<(), KeyProblem> {
    if mode & 0o002 != 0 || (mode & 0o020 != 0 && !own_groups.contains(&gid)) {
        return Err(KeyProblem::OthersWrite { mode });
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
