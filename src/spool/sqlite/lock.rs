//! One process per spool: an advisory lock on the file `lock` in its directory, held as long as anything of the spool is alive.

use crate::spool::SpoolError;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

/// The lock; given back when dropped, or by the kernel when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _held: File,
}

impl Lock {
    /// Takes the lock and writes our process id beside it for whoever comes second.
    pub fn take(directory: &Path) -> Result<Self, SpoolError> {
        let path = directory.join("lock");
        let unusable = |why: std::io::Error| SpoolError::Unusable { path: directory.display().to_string(), why: format!("its lock file: {why}") };
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(SpoolError::Locked(format!("{}{}", directory.display(), holder(&mut file)))),
            Err(TryLockError::Error(e)) => return Err(unusable(e)),
        }
        // The number is a hint for people; the lock itself is the kernel's. So nothing is lost where it cannot be written.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        Ok(Self { _held: file })
    }
}

fn holder(file: &mut File) -> String {
    let mut text = String::new();
    match file.take(20).read_to_string(&mut text).ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) => format!(" (process {pid})"),
        None => String::new(),
    }
}
