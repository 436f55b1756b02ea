//! Listening sockets that the service manager made and passed, by sd_listen_fds(3): ports below 1024 without a privilege, and clients that
//! wait rather than being refused while the relay is started anew.
//!
//! Which listener takes which: the one that has its name (`FileDescriptorName=`), else the one that has its address. A socket without a
//! listener is a fault: its clients would wait for ever.

use listenfd::ListenFd;
use std::io;
use std::net::{SocketAddr, TcpListener};

/// The sockets that were passed, kept for as long as the relay runs: a listener that a reload takes away and brings back finds its own.
#[derive(Debug, Default)]
pub struct Sockets(Vec<Passed>);

/// One of them.
#[derive(Debug)]
struct Passed {
    name: String,
    address: SocketAddr,
    socket: TcpListener,
}

/// Whoever may take a socket: a listener's name, and the address it is declared at.
pub type Wanted<'a> = (&'a str, SocketAddr);

impl Sockets {
    /// None.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// Those of this process. To be called once, before there are threads: it takes the variables out of the environment.
    ///
    /// # Errors
    /// Each that no client could connect to, in a sentence.
    pub fn of_environment() -> Result<Self, Vec<String>> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let names: Vec<&str> = names.split(':').collect();
        let mut descriptors = ListenFd::from_env();
        let (mut passed, mut faults) = (Vec::new(), Vec::new());
        for at in 0..descriptors.len() {
            let name = names.get(at).copied().unwrap_or_default();
            match taken(&mut descriptors, at) {
                Ok((socket, address)) => passed.push(Passed { name: name.to_owned(), address, socket }),
                Err(error) => faults.push(format!(
                    "socket number {} \"{name}\" of the service manager cannot be used: {error}; write ListenStream= with an IP address and a port",
                    at + 1
                )),
            }
        }
        if faults.is_empty() { Ok(Self(passed)) } else { Err(faults) }
    }

    /// For each that wants one, the number of its socket.
    ///
    /// # Errors
    /// Each socket that nobody takes, in a sentence with its remedy.
    pub fn claims(&self, wanted: &[Wanted<'_>]) -> Result<Vec<Option<usize>>, Vec<String>> {
        let passed: Vec<_> = self.0.iter().map(|passed| (passed.name.as_str(), passed.address)).collect();
        claims(&passed, wanted)
    }

    /// Socket `number`, once more.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn get(&self, number: usize) -> io::Result<TcpListener> {
        self.0.get(number).ok_or(io::ErrorKind::NotFound)?.socket.try_clone()
    }
}

fn taken(descriptors: &mut ListenFd, at: usize) -> io::Result<(TcpListener, SocketAddr)> {
    let socket = descriptors.take_tcp_listener(at)?.ok_or_else(|| io::Error::other("it is not there"))?;
    if !rustix::net::sockopt::socket_acceptconn(&socket)? {
        return Err(io::Error::other("it does not listen"));
    }
    socket.set_nonblocking(true)?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}

/// By name and address, then by name, then by address.
fn claims(passed: &[Wanted<'_>], wanted: &[Wanted<'_>]) -> Result<Vec<Option<usize>>, Vec<String>> {
    let mut claims = vec![None; wanted.len()];
    let mut is_free = vec![true; passed.len()];
    for agree in [by_name_and_address, by_name, by_address] {
        for (claim, listener) in claims.iter_mut().zip(wanted).filter(|(claim, _)| claim.is_none()) {
            *claim = (0..passed.len()).find(|at| is_free[*at] && agree(passed[*at], *listener));
            if let Some(at) = *claim {
                is_free[at] = false;
            }
        }
    }
    let faults: Vec<_> = passed.iter().zip(&is_free).filter(|(_, is_free)| **is_free).map(|(socket, _)| unclaimed(socket, wanted)).collect();
    if faults.is_empty() { Ok(claims) } else { Err(faults) }
}

fn by_name_and_address(socket: Wanted<'_>, listener: Wanted<'_>) -> bool {
    by_name(socket, listener) && by_address(socket, listener)
}

fn by_name((socket, _): Wanted<'_>, (listener, _): Wanted<'_>) -> bool {
    socket == listener
}

fn by_address((_, socket): Wanted<'_>, (_, listener): Wanted<'_>) -> bool {
    (socket.ip(), socket.port()) == (listener.ip(), listener.port())
}

fn unclaimed((name, address): &Wanted<'_>, wanted: &[Wanted<'_>]) -> String {
    let listeners = wanted.iter().map(|(name, address)| format!("\"{name}\" at {address}")).collect::<Vec<_>>().join(", ");
    format!(
        "no listener takes the socket \"{name}\" at {address} of the service manager: each listener takes one, that of its name \
         (FileDescriptorName=) or of its address; the listeners are {listeners}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<Wanted<'_>> {
        text.split_whitespace().map(|one| one.split_once('@').unwrap()).map(|(name, address)| (name, address.parse().unwrap())).collect()
    }

    #[track_caller]
    fn check(passed: &str, wanted: &str, expected: &str) {
        let claims = claims(&of(passed), &of(wanted));
        let text = match claims {
            Ok(claims) => claims.iter().map(|claim| claim.map_or("-".to_owned(), |at| at.to_string())).collect::<Vec<_>>().join(" "),
            Err(faults) => faults.iter().map(|fault| fault.split('"').nth(1).unwrap()).collect::<Vec<_>>().join("! ") + "!",
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn a_socket_is_taken_by_name_then_by_address_and_never_left() {
        check("", "a@127.0.0.1:587", "-");
        check("b@0.0.0.0:465 a@0.0.0.0:587", "a@127.0.0.1:587 b@127.0.0.1:465", "1 0");
        check("postseal.socket@127.0.0.1:465 postseal.socket@127.0.0.1:587", "a@127.0.0.1:587 b@127.0.0.1:465 c@127.0.0.1:25", "1 0 -");
        check("a@192.0.2.1:587 a@[2001:db8::1]:587", "six@[2001:db8::1]:587 a@192.0.2.1:587", "1 0");
        check("a@[::]:587 x@127.0.0.1:587", "a@127.0.0.1:587", "x!");
        check("a@127.0.0.1:1 a@127.0.0.1:2", "a@127.0.0.1:3", "a!");
        check("x@127.0.0.1:1 y@127.0.0.1:2", "a@127.0.0.1:3", "x! y!");
    }

    #[test]
    fn a_socket_that_nobody_takes_is_told_with_the_listeners() {
        let faults = claims(&of("smtp@[::]:25"), &of("submission@127.0.0.1:587")).unwrap_err();
        assert!(faults[0].contains("\"smtp\" at [::]:25") && faults[0].contains("\"submission\" at 127.0.0.1:587"), "{faults:?}");
    }
}
