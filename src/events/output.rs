//! Standard output as the log uses it: lines are gathered in memory and written by a thread of their own, a few milliseconds' worth at
//! a time. Whoever logs neither makes a system call nor wakes a thread for each line.
//!
//! No line is dropped: where the reader of the output is slow, who logs waits once `OCTETS_MAX` are gathered. Only a kill takes lines
//! with it, those of the last `GATHERING`.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Takes lines.
#[derive(Debug, Clone)]
pub(super) struct Output(Arc<Shared>);

/// The thread that writes; when it is dropped, all lines are written.
#[derive(Debug)]
pub struct OutputGuard {
    shared: Arc<Shared>,
    writing: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    gathered: Mutex<Gathered>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Gathered {
    octets: Vec<u8>,
    is_over: bool,
}

/// Lines to standard output, for as long as the guard lives. Without a thread for it, lines stay in memory until the guard is dropped.
pub(super) fn standard() -> (Output, OutputGuard) {
    match io::stdout().as_fd().try_clone_to_owned() {
        // The library's own handle makes a system call of every line.
        Ok(descriptor) => to(File::from(descriptor)),
        Err(_) => to(io::stdout()),
    }
}

fn to(mut writer: impl Write + Send + 'static) -> (Output, OutputGuard) {
    let shared = Arc::new(Shared::default());
    let ours = Arc::clone(&shared);
    let writing = std::thread::Builder::new().name("log".to_owned()).spawn(move || ours.write_to(&mut writer)).ok();
    (Output(Arc::clone(&shared)), OutputGuard { shared, writing })
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut gathered = self.0.lock();
        while gathered.octets.len() >= OCTETS_MAX && !gathered.is_over {
            gathered = self.0.changed.wait(gathered).unwrap_or_else(PoisonError::into_inner);
        }
        let is_first = gathered.octets.is_empty();
        gathered.octets.extend_from_slice(line);
        drop(gathered);
        if is_first {
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OutputGuard {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_all();
        if let Some(writing) = self.writing.take() {
            let _ = writing.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Gathered> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until it is over and nothing is left.
    fn write_to(&self, writer: &mut impl Write) {
        let mut taken = Vec::new();
        loop {
            let mut gathered = self.lock();
            while gathered.octets.is_empty() {
                if gathered.is_over {
                    return;
                }
                gathered = self.changed.wait(gathered).unwrap_or_else(PoisonError::into_inner);
            }
            if !gathered.is_over {
                drop(gathered);
                std::thread::sleep(GATHERING);
                gathered = self.lock();
            }
            std::mem::swap(&mut gathered.octets, &mut taken);
            drop(gathered);
            self.changed.notify_all();
            // A reader that is gone is nobody to tell of it.
            let _ = writer.write_all(&taken).and_then(|()| writer.flush());
            taken.clear();
        }
    }
}

/// How long lines wait for others.
const GATHERING: Duration = Duration::from_millis(5);
/// Octets of lines that wait at most; a line more may go beyond.
const OCTETS_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Slow(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Slow {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            std::thread::sleep(Duration::from_millis(2));
            self.0.lock().unwrap().push(octets.to_vec());
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn all_lines_are_written_in_order_and_many_at_a_time() {
        let slow = Slow::default();
        let (mut output, guard) = to(slow.clone());
        let lines: Vec<String> = (0..1000).map(|number| format!("line {number}\n")).collect();
        for line in &lines {
            output.write_all(line.as_bytes()).unwrap();
        }
        drop(guard);
        let written = slow.0.lock().unwrap().clone();
        assert_eq!(String::from_utf8(written.concat()).unwrap(), lines.concat());
        assert!(written.len() < 100, "{} writes", written.len());
    }

    #[test]
    fn who_logs_waits_for_a_slow_reader_and_loses_nothing() {
        let slow = Slow::default();
        let (mut output, guard) = to(slow.clone());
        let line = vec![b'x'; 64 * 1024];
        for _ in 0..100 {
            output.write_all(&line).unwrap();
            assert!(output.0.lock().octets.len() <= OCTETS_MAX + line.len());
        }
        drop(guard);
        assert_eq!(slow.0.lock().unwrap().iter().map(Vec::len).sum::<usize>(), 100 * line.len());
    }
}
