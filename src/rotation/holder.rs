//! Which process has a directory locked, where the system tells. A shell: it reads `/proc`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// "process 4711 (postseal serve)"; `None` where it cannot be found out: elsewhere than on Linux, or in another PID namespace.
pub(super) fn holder(directory: &Path) -> Option<String> {
    let inode = std::fs::metadata(directory).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| holds(line, inode))?;
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = command.split(|octet| *octet == 0).take(WORDS_MAX).map(String::from_utf8_lossy).filter(|word| !word.is_empty()).collect();
    let words = words.join(" ");
    let name = words.rsplit_once('/').map_or(words.as_str(), |(_, name)| name);
    Some(if name.is_empty() { format!("process {pid}") } else { format!("process {pid} ({name})") })
}

/// `1: FLOCK  ADVISORY  WRITE 4711 08:01:131073 0 EOF`: proc_locks(5). The device is left out: file systems with subvolumes show another.
fn holds(line: &str, inode: u64) -> Option<u32> {
    let mut words = line.split_ascii_whitespace();
    let (_, kind, _, _, pid, file) = (words.next()?, words.next()?, words.next()?, words.next()?, words.next()?, words.next()?);
    let its = file.rsplit_once(':').is_some_and(|(_, number)| number.parse() == Ok(inode));
    (kind == "FLOCK" && its).then(|| pid.parse().ok()).flatten().filter(|pid| *pid > 0)
}

/// Words of a command line that are shown: its program and command, not its arguments.
const WORDS_MAX: usize = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_who_holds_an_inode() {
        let line = "3: FLOCK  ADVISORY  WRITE 4711 08:01:131073 0 EOF";
        assert_eq!((holds(line, 131_073), holds(line, 31_073)), (Some(4711), None));
        for other in ["3: POSIX  ADVISORY  WRITE 4711 08:01:131073 0 EOF", "3: -> FLOCK  ADVISORY  WRITE 4711 08:01:131073 0 EOF", "", "x"] {
            assert_eq!(holds(other, 131_073), None, "{other}");
        }
    }
}
