//! Bodies too large for the database, as files: written before the row that names them, removed after it.
//!
//! Each is written under `tmp/`, fsynced, renamed to `bodies/xx/` (256 directories by the id's last octet), and the directory fsynced. A name is
//! never used twice: it carries the mail's id, the number of this opening of the spool, and a serial.

use super::writer::lock;
use crate::mail::MailId;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// The directory of body files.
#[derive(Debug)]
pub(super) struct Bodies {
    directory: PathBuf,
    opening: i64,
    serial: AtomicU64,
    /// Held while a directory is looked for and made: who finds it finds it durable.
    making: Mutex<()>,
}

/// A body file that no row names yet: removed when dropped, unless kept.
#[derive(Debug)]
pub(super) struct Written {
    path: PathBuf,
    /// As the row names it.
    pub name: String,
    kept: bool,
}

impl Bodies {
    /// The bodies of a spool that is open for the `opening`-th time.
    pub fn of(directory: &Path, opening: i64) -> io::Result<Self> {
        for name in [TEMPORARY, BODIES] {
            make_directory(&directory.join(name))?;
        }
        // A process that died may have made directories there that no fsync has covered.
        sync_directory(&directory.join(BODIES))?;
        Ok(Self { directory: directory.to_owned(), opening, serial: AtomicU64::new(0), making: Mutex::default() })
    }

    /// Makes a body durable. Blocks: it waits for the disk twice.
    pub fn write(&self, id: MailId, octets: &[u8]) -> io::Result<Written> {
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let file_name = format!("{id}.{}.{serial}", self.opening);
        let shard = format!("{:02x}", id.number() & 0xff);
        let parent = self.directory.join(BODIES).join(&shard);
        let temporary = Written { path: self.directory.join(TEMPORARY).join(&file_name), name: format!("{shard}/{file_name}"), kept: false };
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary.path)?;
        file.write_all(octets)?;
        file.sync_all()?;
        {
            let _making = lock(&self.making);
            make_directory(&parent)?;
        }
        let path = parent.join(&file_name);
        if path.exists() {
            // Openings are counted, so this is a spool whose count was damaged; the file there is somebody's mail.
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, format!("\"{}\" is there already", path.display())));
        }
        fs::rename(&temporary.path, &path)?;
        let written = Written { path, name: temporary.name.clone(), kept: false };
        temporary.keep(); // its old path is gone
        sync_directory(&parent)?;
        Ok(written)
    }

    /// Reads a body of `octets_expected`, and one octet more if it is longer, so that a wrong length shows without reading what may be anything.
    pub fn read(&self, name: &str, octets_expected: u64) -> io::Result<Vec<u8>> {
        read_below(&self.directory, name, octets_expected)
    }

    /// Removes a body whose row is gone.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name)?)
    }

    /// Every file of one shard (of 256), by the name a row would have for it.
    pub fn names(&self, shard: u8) -> io::Result<Vec<String>> {
        names_below(&self.directory, shard)
    }

    /// Removes what was being written when the process ended. Gives the number.
    pub fn clear_temporary(&self) -> io::Result<u64> {
        let mut removed = 0;
        for file in fs::read_dir(self.directory.join(TEMPORARY))? {
            fs::remove_file(file?.path())?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Puts a file that no row names where a person can find it, durably: the next start would remove it where it was.
    pub fn set_aside(&self, name: &str) -> io::Result<()> {
        let lost = self.directory.join(LOST);
        make_directory(&lost)?;
        fs::rename(self.path(name)?, lost.join(name.replace('/', "-")))?;
        sync_directory(&lost)
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        path_below(&self.directory, name)
    }
}

impl Written {
    /// A row names it now, or may do so: it stays.
    pub fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.kept {
            // What stays is an orphan; the next start removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// As [`Bodies::read`], in the spool or backup below a directory.
pub(super) fn read_below(directory: &Path, name: &str, octets_expected: u64) -> io::Result<Vec<u8>> {
    let mut octets = Vec::with_capacity(usize::try_from(octets_expected.min(BODY_OCTETS_EXPECTED_MAX)).unwrap_or(0));
    File::open(path_below(directory, name)?)?.take(octets_expected.saturating_add(1)).read_to_end(&mut octets)?;
    Ok(octets)
}

/// The message that a file is called after.
pub(super) fn id_in(name: &str) -> Option<MailId> {
    name.rsplit('/').next()?.split('.').next()?.parse().ok()
}

/// As [`Bodies::names`], in the spool or backup below a directory.
pub(super) fn names_below(directory: &Path, shard: u8) -> io::Result<Vec<String>> {
    let shard = format!("{shard:02x}");
    let files = match fs::read_dir(directory.join(BODIES).join(&shard)) {
        Ok(files) => files,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    files.map(|file| Ok(format!("{shard}/{}", file?.file_name().to_string_lossy()))).collect()
}

/// A name comes from a row, and a row may be damaged: it must not lead out of the directory.
pub(super) fn path_below(directory: &Path, name: &str) -> io::Result<PathBuf> {
    let sound = name.split_once('/').is_some_and(|(shard, file)| {
        shard.len() == 2 && shard.bytes().all(|b| b.is_ascii_hexdigit()) && !file.is_empty() && !file.starts_with('.') && !file.contains(['/', '\0'])
    });
    if !sound {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("\"{name}\" is no name of a body file")));
    }
    Ok(directory.join(BODIES).join(name))
}

/// Whether the system had too little of something, as file descriptors: that says nothing about the file.
pub(super) fn is_temporary(fault: &io::Error) -> bool {
    use rustix::io::Errno;
    let scarce = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR, Errno::NOBUFS];
    Errno::from_io_error(fault).is_some_and(|errno| scarce.contains(&errno))
}

/// Makes a directory that only we may read, and the ones above it, so that they survive loss of power. One that is there is left alone.
pub(super) fn make_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let above = above(path);
    make_directory(above)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(e),
        Ok(()) => sync_name(path),
    }
}

/// Makes a directory's own name durable: it stands in the directory above it.
pub(super) fn sync_name(path: &Path) -> io::Result<()> {
    match sync_directory(above(path)) {
        // A directory above that we may pass and not read.
        #[cfg(target_os = "linux")]
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(rustix::fs::syncfs(File::open(path)?)?),
        synced => synced,
    }
}

fn above(path: &Path) -> &Path {
    match path.parent() {
        Some(above) if above.as_os_str().is_empty() => Path::new("."),
        Some(above) => above,
        None => path,
    }
}

/// Makes the names in a directory durable.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

const TEMPORARY: &str = "tmp";
const BODIES: &str = "bodies";
/// Where a person finds what no row names.
pub(super) const LOST: &str = "lost";
/// A damaged row may claim any length; more than this is not set aside at once.
const BODY_OCTETS_EXPECTED_MAX: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scarcity_is_told_from_damage() {
        for (errno, temporary) in [(24, true), (23, true), (12, true), (11, true), (2, false), (5, false), (13, false), (28, false)] {
            assert_eq!(is_temporary(&io::Error::from_raw_os_error(errno)), temporary, "{errno}");
        }
    }

    #[test]
    fn a_damaged_name_does_not_leave_the_directory() {
        let bodies = Bodies { directory: "/spool".into(), opening: 1, serial: AtomicU64::new(0), making: Mutex::default() };
        assert_eq!(bodies.path("0a/abc.1.0").unwrap(), Path::new("/spool/bodies/0a/abc.1.0"));
        for name in ["", "0a", "0a/", "0a/../x", "../etc/passwd", "/etc/passwd", "0a/.x", "0g/x", "0a/x\0"] {
            assert!(bodies.path(name).is_err(), "{name:?}");
        }
    }
}
