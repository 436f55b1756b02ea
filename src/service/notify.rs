//! What the service manager is told: datagrams to the socket that `NOTIFY_SOCKET` names, as sd_notify(3) describes them. A shell.
//!
//! ```text
//! start ──▶ READY=1 ──▶ WATCHDOG=1, STATUS=… ──▶ RELOADING=1 … READY=1 ──▶ STOPPING=1
//!   └ EXTEND_TIMEOUT_USEC=… while the spool is opened                        └ EXTEND_TIMEOUT_USEC=… while the relay drains
//! ```
//!
//! The protocol is a line a state; a crate for it would be longer than this file and no safer.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The service manager, or nobody.
#[derive(Debug, Default)]
pub struct Manager {
    way: Option<Way>,
    watchdog: Option<Duration>,
}

#[derive(Debug)]
struct Way {
    socket: UnixDatagram,
    to: SocketAddr,
    /// It could not be told something, which was logged.
    is_lost: AtomicBool,
}

/// A state, or what should be known of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State<'a> {
    /// Everything is open; also the end of a reload.
    Ready,
    /// A reload begins, at this time of the monotonic clock.
    Reloading(Duration),
    /// The drain begins.
    Stopping,
    /// We live.
    Alive,
    /// One line for people, as `systemctl status` shows it.
    Status(&'a str),
    /// Starting or stopping goes on: the time-out that holds now is to come no sooner than this from now.
    Longer(Duration),
}

impl Manager {
    /// Whoever started us, by the variables of the environment; `pid` is our own.
    ///
    /// # Errors
    /// `NOTIFY_SOCKET` names no socket of this machine, or the system gives no socket: in words.
    pub fn of(variable: impl Fn(&str) -> Option<OsString>, pid: u32) -> Result<Self, String> {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else { return Ok(Self::default()) };
        let unusable = |error: std::io::Error| format!("the service manager's socket \"{}\" cannot be used: {error}", name.display());
        let to = match name.as_bytes() {
            [b'@', abstract_name @ ..] => SocketAddr::from_abstract_name(abstract_name),
            [b'/', ..] => SocketAddr::from_pathname(&name),
            _ => return Err(format!("NOTIFY_SOCKET is \"{}\"; expected a path that begins with / or an abstract name that begins with @", name.display())),
        };
        let socket = UnixDatagram::unbound().map_err(unusable)?;
        socket.set_write_timeout(Some(TELLING_MAX)).map_err(unusable)?;
        let way = Way { socket, to: to.map_err(unusable)?, is_lost: AtomicBool::new(false) };
        let number = |key: &str| variable(key)?.to_str()?.parse::<u64>().ok();
        let is_for_us = variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_for_us && *micros > 0).map(Duration::from_micros);
        Ok(Self { way: Some(way), watchdog })
    }

    /// Whether there is anybody to tell.
    #[must_use]
    pub const fn is_there(&self) -> bool {
        self.way.is_some()
    }

    /// How long we may be silent before we are taken for dead; `None` where nobody watches.
    #[must_use]
    pub const fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Tells these at once. That nobody hears is logged the first time, and changes nothing else.
    pub fn tell(&self, states: &[State<'_>]) {
        let Some(way) = &self.way else { return };
        let told = way.socket.send_to_addr(written(states).as_bytes(), &way.to);
        if let Err(error) = told
            && !way.is_lost.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "manager.lost");
        }
    }

    /// Keeps a time-out from coming while something goes on that takes its time, no longer than `within`: until what is returned is
    /// dropped. Needs a tokio runtime.
    #[must_use]
    pub fn keep_waiting(self: &Arc<Self>, within: Duration) -> Waiting {
        let over = CancellationToken::new();
        if self.is_there() {
            let (manager, over) = (self.clone(), over.clone());
            let until = Instant::now() + within;
            tokio::spawn(async move {
                while Instant::now() < until {
                    manager.tell(&[State::Longer(EXTENSION)]);
                    tokio::select! {
                        () = over.cancelled() => return,
                        () = tokio::time::sleep(EXTENSION / 4) => {}
                    }
                }
            });
        }
        Waiting(over)
    }
}

/// The service manager waits for as long as this lives.
#[derive(Debug)]
pub struct Waiting(CancellationToken);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// The datagram.
fn written(states: &[State<'_>]) -> String {
    let mut text = String::new();
    for one in states {
        // Writing to a text does not fail.
        let _ = match one {
            State::Ready => writeln!(text, "READY=1"),
            State::Reloading(at) => writeln!(text, "RELOADING=1\nMONOTONIC_USEC={}", at.as_micros()),
            State::Stopping => writeln!(text, "STOPPING=1"),
            State::Alive => writeln!(text, "WATCHDOG=1"),
            State::Status(line) => writeln!(text, "STATUS={}", line.replace(char::is_control, " ")),
            State::Longer(time) => writeln!(text, "EXTEND_TIMEOUT_USEC={}", time.as_micros()),
        };
    }
    text
}

/// The time since the machine's start, as a reload is told by.
#[must_use]
pub fn monotonic() -> Duration {
    Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic)).unwrap_or_default()
}

/// A service manager that does not read must not stop the mail.
const TELLING_MAX: Duration = Duration::from_secs(1);
/// So much longer it is asked to wait, each time.
const EXTENSION: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn manager(variables: &[(&str, &str)]) -> Result<Manager, String> {
        let variables: std::collections::HashMap<_, _> = variables.iter().map(|(key, value)| ((*key).to_owned(), OsString::from(value))).collect();
        Manager::of(|key| variables.get(key).cloned(), 7)
    }

    #[test]
    fn a_state_is_a_line_and_a_status_stays_one() {
        let told = written(&[State::Reloading(Duration::from_millis(3)), State::Ready, State::Alive, State::Stopping, State::Longer(EXTENSION)]);
        assert_eq!(told, "RELOADING=1\nMONOTONIC_USEC=3000\nREADY=1\nWATCHDOG=1\nSTOPPING=1\nEXTEND_TIMEOUT_USEC=20000000\n");
        assert_eq!(written(&[State::Status("two\nREADY=1")]), "STATUS=two READY=1\n");
    }

    #[test]
    fn datagrams_reach_a_path_and_an_abstract_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let name = format!("postseal-test-{}", std::process::id());
        let of_path = UnixDatagram::bind(&path).unwrap();
        let of_name = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        for (socket, variable) in [(of_path, path.display().to_string()), (of_name, format!("@{name}"))] {
            manager(&[("NOTIFY_SOCKET", &variable)]).unwrap().tell(&[State::Ready]);
            let mut heard = [0; 64];
            let octets = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..octets], b"READY=1\n", "{variable}");
        }
        let gone = manager(&[("NOTIFY_SOCKET", &folder.path().join("gone").display().to_string())]).unwrap();
        gone.tell(&[State::Ready]); // nobody hears, and nothing else happens
    }

    #[test]
    fn a_watchdog_counts_only_if_it_is_ours() {
        let watchdog = |more: &[(&str, &str)]| manager(&[&[("NOTIFY_SOCKET", "@x")], more].concat()).unwrap().watchdog();
        assert_eq!(watchdog(&[]), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "30000000")]), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "7")]), Some(Duration::from_secs(30)));
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "30000000"), ("WATCHDOG_PID", "8")]), None, "another process of the service is watched");
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "0")]), None);
        assert!(!manager(&[("WATCHDOG_USEC", "30000000")]).unwrap().is_there());
        assert!(manager(&[("NOTIFY_SOCKET", "vsock:2:9999")]).unwrap_err().contains("begins with /"));
    }
}
