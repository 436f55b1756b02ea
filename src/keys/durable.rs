//! How the key directory is changed: one process at a time, each file whole or not at all, durable before the next step.
//!
//! Every system call that changes something is a method of [`Steps`], so that a test can end the process between any two.

use super::{KeyFault, KeyProblem};
use rustix::fs::FlockOperation;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The system calls that change a key directory.
pub(super) trait Steps: Send {
    /// A new file that only we may read; one that is there is an error.
    fn create(&mut self, path: &Path) -> io::Result<File>;
    /// Gives a file the owner of the directory it lies in.
    fn own(&mut self, file: &File, user: u32, group: u32) -> io::Result<()>;
    /// All octets.
    fn write(&mut self, file: &mut File, content: &[u8]) -> io::Result<()>;
    /// Content or entries reach the disk.
    fn sync(&mut self, file: &File) -> io::Result<()>;
    /// In place of what is there.
    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()>;
    /// A file.
    fn remove(&mut self, path: &Path) -> io::Result<()>;
}

/// The system itself.
#[derive(Debug)]
pub(super) struct Disk;

impl Steps for Disk {
    fn create(&mut self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    fn own(&mut self, file: &File, user: u32, group: u32) -> io::Result<()> {
        let (user, group) = (rustix::process::Uid::from_raw(user), rustix::process::Gid::from_raw(group));
        Ok(rustix::fs::fchown(file, Some(user), Some(group))?)
    }

    fn write(&mut self, file: &mut File, content: &[u8]) -> io::Result<()> {
        file.write_all(content)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Writes a file that only its owner may read, whole or not at all, and durably. What is there is replaced only when `replace` is set;
/// the caller holds the directory's lock.
pub(super) fn write_secret(steps: &mut dyn Steps, path: &Path, content: &[u8], replace: bool) -> io::Result<()> {
    if !replace && path.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    let temporary = hidden(path, NEW)?;
    if temporary.symlink_metadata().is_ok() {
        steps.remove(&temporary)?; // of a writer that died
    }
    let mut file = steps.create(&temporary)?;
    let written = settle(steps, path, &mut file).and_then(|()| steps.write(&mut file, content)).and_then(|()| steps.sync(&file));
    if let Err(error) = written.and_then(|()| steps.rename(&temporary, path)) {
        let _ = steps.remove(&temporary); // a full disk leaves no half of a key behind
        return Err(error);
    }
    sync_directory(steps, path)
}

/// Writes a private key, or what belongs to it, to a place of the operator's: a new file that only we may read, or none.
///
/// # Errors
/// Something is there already, or the disk refuses.
pub fn write_export(path: &Path, content: &[u8]) -> Result<(), KeyFault> {
    let steps = &mut Disk;
    let fault = |error: &io::Error| match error.kind() {
        io::ErrorKind::AlreadyExists => KeyFault::new(path, KeyProblem::Unwritable("there is something already; name a file that does not exist".to_owned())),
        _ => unwritable(path, error),
    };
    let mut file = steps.create(path).map_err(|error| fault(&error))?;
    let written = steps.write(&mut file, content).and_then(|()| steps.sync(&file));
    written.and_then(|()| sync_directory(steps, path)).map_err(|error| {
        let _ = steps.remove(path);
        fault(&error)
    })
}

/// Overwrites a file and removes it. It is hidden first, so that what is half overwritten is never taken for a key. On file systems
/// that copy on write, and on flash, the old octets may outlive this.
pub(super) fn destroy(steps: &mut dyn Steps, path: &Path) -> io::Result<()> {
    let hidden = hidden(path, GONE)?;
    steps.rename(path, &hidden)?;
    sync_directory(steps, path)?;
    wipe(steps, &hidden)
}

/// Removes what a process that died in the middle of a change left: temporaries, and files half destroyed.
pub(super) fn sweep(steps: &mut dyn Steps, directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with('.') && (name.ends_with(NEW) || name.ends_with(GONE)) && path.is_file() {
            wipe(steps, &path)?;
        }
    }
    Ok(())
}

fn wipe(steps: &mut dyn Steps, path: &Path) -> io::Result<()> {
    // A symbolic link is removed, what it leads to is not ours to overwrite.
    if path.symlink_metadata()?.is_file() {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let octets = usize::try_from(file.metadata()?.len()).unwrap_or(0);
        steps.write(&mut file, &vec![0; octets])?;
        steps.sync(&file)?;
    }
    steps.remove(path)?;
    sync_directory(steps, path)
}

/// Root writes for the user the directory belongs to: a relay that runs as that user has to read what `sudo` made.
fn settle(steps: &mut dyn Steps, path: &Path, file: &mut File) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let (directory, own) = (fs::metadata(parent(path))?, file.metadata()?);
    if (directory.uid(), directory.gid()) == (own.uid(), own.gid()) { Ok(()) } else { steps.own(file, directory.uid(), directory.gid()) }
}

fn sync_directory(steps: &mut dyn Steps, of: &Path) -> io::Result<()> {
    let directory = File::open(parent(of))?;
    steps.sync(&directory)
}

/// `.name.new`: hidden, so that whoever lists the directory passes it over.
fn hidden(path: &Path, end: &str) -> io::Result<PathBuf> {
    let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(path.with_file_name(format!(".{name}{end}")))
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes a directory that only its owner may enter, where it is not there; durably, and with the owner of the one above it.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if !parent(path).exists() {
        make_directory(parent(path))?;
    }
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        made => made?,
    }
    settle(&mut Disk, path, &mut File::open(path)?)?;
    sync_directory(&mut Disk, path)
}

/// Locks a directory until the handle is dropped; `None` when another process has held it for `patience`.
pub(super) fn lock_directory(path: &Path, patience: Duration) -> io::Result<Option<File>> {
    let directory = File::open(path)?;
    let mut waited = Duration::ZERO;
    loop {
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(Some(directory)),
            Err(rustix::io::Errno::WOULDBLOCK) if waited >= patience => return Ok(None),
            Err(rustix::io::Errno::WOULDBLOCK | rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(LOCK_POLL);
        waited += LOCK_POLL;
    }
}

/// What a writing error means to the operator.
pub(super) fn unwritable(path: &Path, error: &io::Error) -> KeyFault {
    KeyFault::new(path, KeyProblem::Unwritable(explained(error)))
}

fn explained(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid().as_raw();
            return format!("{error}; this process runs as user {user}: run it as the owner of the directory, or `chown` that");
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::ResourceBusy => {
            "a mounted Kubernetes secret is; change keys where the secret is made, or keep them on a volume that can be written"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "nothing was changed; make room and try again",
        io::ErrorKind::NotADirectory | io::ErrorKind::NotFound => "expected a directory, or a place where one can be made",
        _ => return error.to_string(),
    };
    format!("{error}; {remedy}")
}

const NEW: &str = ".new";
const GONE: &str = ".gone";
/// Between two tries to lock.
const LOCK_POLL: Duration = Duration::from_millis(20);
/// How long a command waits for another process to be done with a domain, which may be asking name servers meanwhile.
pub(super) const LOCK_PATIENCE: Duration = Duration::from_secs(30);
