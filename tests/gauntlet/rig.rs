//! A relay in front of the most credulous next hop there is, and a client that says anything.

use crate::support::relay_process::RelayProcess;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// A configuration with one application, and all mail by this next hop.
pub fn config(hop: SocketAddr, listener: &str, more: &str) -> String {
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [log]
        level = "debug"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        {listener}
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [domains."example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "opportunistic"
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [resolver]
        nameservers = ["127.0.0.1:9"]
        {more}
        "#,
        hop.ip(),
        hop.port()
    )
}

pub fn started(config: &str) -> RelayProcess {
    let mut relay = RelayProcess::new(config);
    relay.start();
    relay
}

/// Says exactly this and gives all that is answered until `calm` passes in silence or the end comes.
pub struct Rude(pub TcpStream);

impl Rude {
    pub fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut rude = Self(stream);
        assert!(rude.hear(1).starts_with("220 "));
        rude
    }

    pub fn say(&mut self, octets: &[u8]) {
        let _ = self.0.write_all(octets); // it may have had enough
    }

    /// Waits for so many replies, or the end of the connection.
    pub fn hear(&mut self, replies: usize) -> String {
        self.0.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut heard = Vec::new();
        while count_replies(&heard) < replies {
            let mut part = [0; 4096];
            match self.0.read(&mut part) {
                Ok(0) | Err(_) => break,
                Ok(length) => heard.extend_from_slice(&part[..length]),
            }
        }
        String::from_utf8(heard).unwrap()
    }

    pub fn ask(&mut self, line: &str) -> String {
        self.say(format!("{line}\r\n").as_bytes());
        self.hear(1)
    }

    /// All that is still said until the connection ends.
    pub fn rest(&mut self) -> String {
        self.hear(usize::MAX)
    }
}

pub fn count_replies(heard: &[u8]) -> usize {
    heard.split_inclusive(|octet| *octet == b'\n').filter(|line| line.ends_with(b"\n") && line.get(3) == Some(&b' ')).count()
}

/// A server that takes anything for a line end and any lone dot for the end of a message, as some do that were never mended; it keeps
/// what it believes to have heard.
pub struct Credulous {
    address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
}

/// What it believes to have heard.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    pub commands: Vec<String>,
    pub messages: Vec<String>,
}

impl Credulous {
    /// With these lines in the reply to EHLO. `refusal` is its answer to RCPT of an address that holds `gone`.
    pub fn start(capabilities: &'static [&'static str], refusal: &'static [u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, heard) = (listener.local_addr().unwrap(), Arc::<Mutex<Heard>>::default());
        let ledger = heard.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let ledger = ledger.clone();
                thread::spawn(move || serve(stream, capabilities, refusal, &ledger));
            }
        });
        Self { address, heard }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn heard(&self) -> Heard {
        self.heard.lock().unwrap().clone()
    }

    /// Waits until so many messages came; fails after a minute.
    pub fn until(&self, messages: usize) -> Heard {
        let begun = Instant::now();
        while self.heard.lock().unwrap().messages.len() < messages {
            assert!(begun.elapsed() < Duration::from_mins(1), "{messages} messages never came: {:#?}", self.heard());
            thread::sleep(Duration::from_millis(10));
        }
        thread::sleep(Duration::from_millis(200)); // another one would be one too many
        self.heard()
    }
}

fn serve(mut stream: TcpStream, capabilities: &[&str], refusal: &[u8], ledger: &Mutex<Heard>) -> Option<()> {
    let mut octets = Octets { stream: stream.try_clone().unwrap(), unread: Vec::new(), after_cr: false };
    stream.write_all(b"220 credulous.test ESMTP\r\n").ok()?;
    loop {
        let line = octets.line()?;
        ledger.lock().unwrap().commands.push(line.clone());
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let lines: Vec<&str> = std::iter::once("credulous.test").chain(capabilities.iter().copied()).collect();
                let reply: String =
                    lines.iter().enumerate().map(|(at, line)| format!("250{}{line}\r\n", if at + 1 == lines.len() { ' ' } else { '-' })).collect();
                stream.write_all(reply.as_bytes()).ok()?;
            }
            "DATA" => {
                stream.write_all(b"354 go\r\n").ok()?;
                let mut message = String::new();
                loop {
                    let line = octets.line()?;
                    if line == "." {
                        break;
                    }
                    message.push_str(line.strip_prefix('.').unwrap_or(&line));
                    message.push('\n');
                }
                ledger.lock().unwrap().messages.push(message);
                stream.write_all(b"250 2.0.0 taken\r\n").ok()?;
            }
            "BDAT" => {
                let mut words = line.split(' ');
                let message = octets.exactly(words.nth(1)?.parse().ok()?)?;
                assert_eq!(words.next(), Some("LAST"), "these are small");
                ledger.lock().unwrap().messages.push(String::from_utf8_lossy(&message).replace("\r\n", "\n"));
                stream.write_all(b"250 2.0.0 taken\r\n").ok()?;
            }
            "RCPT" if line.contains("gone") => stream.write_all(refusal).ok()?,
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").ok()?;
                return Some(());
            }
            _ => stream.write_all(b"250 ok\r\n").ok()?,
        }
    }
}

struct Octets {
    stream: TcpStream,
    unread: Vec<u8>,
    after_cr: bool,
}

impl Octets {
    fn next(&mut self) -> Option<u8> {
        if self.unread.is_empty() {
            let mut part = [0; 4096];
            let length = self.stream.read(&mut part).ok().filter(|length| *length > 0)?;
            self.unread = part[..length].iter().rev().copied().collect();
        }
        self.unread.pop()
    }

    /// CR, LF and CR LF end a line; a NUL is nothing.
    fn line(&mut self) -> Option<String> {
        let mut line = Vec::new();
        loop {
            let octet = self.next()?;
            let was_after_cr = std::mem::replace(&mut self.after_cr, octet == b'\r');
            match octet {
                b'\n' if was_after_cr => {}
                b'\r' | b'\n' => return Some(String::from_utf8_lossy(&line).into_owned()),
                0 => {}
                octet => line.push(octet),
            }
        }
    }

    fn exactly(&mut self, octets: usize) -> Option<Vec<u8>> {
        if std::mem::take(&mut self.after_cr) {
            assert_eq!(self.next()?, b'\n');
        }
        (0..octets).map(|_| self.next()).collect()
    }
}
