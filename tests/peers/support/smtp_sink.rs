//! smtp-sink, Postfix's test server: plain SMTP that fails as it is told.

use super::{Process, folder, free_port, program};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::SystemTime;
use tempfile::TempDir;

/// A running `smtp-sink`.
pub struct SmtpSink {
    address: Ipv4Addr,
    port: u16,
    process: Option<Process>,
    folder: TempDir,
}

/// What it received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dumped {
    /// The reverse-path with its parameters.
    pub mail: String,
    /// The forward-paths with their parameters.
    pub rcpts: Vec<String>,
    /// The message, with CR LF.
    pub octets: Vec<u8>,
    /// When its last octet was written down.
    pub arrived_at: SystemTime,
}

impl SmtpSink {
    /// Starts it with these options on a free port of 127.0.0.1.
    pub fn start(options: &[&str]) -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST, free_port(), options)
    }

    /// Starts it there.
    pub fn start_at(address: Ipv4Addr, port: u16, options: &[&str]) -> Self {
        let folder = folder("sink");
        let process = Some(process(address, port, options, &folder));
        Self { address, port, process, folder }
    }

    /// Ends it, forgets what it received and starts it again on its port with other options.
    pub fn restart(&mut self, options: &[&str]) {
        self.process = None;
        self.folder = super::folder("sink");
        self.process = Some(process(self.address, self.port, options, &self.folder));
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Every transaction whose end came, in no order. A dump is written while it comes; only whole ones end in an empty line.
    pub fn mails(&self) -> Vec<Dumped> {
        let files = std::fs::read_dir(self.folder.path().join("mails")).unwrap().flatten();
        files.filter_map(|file| parsed(&file.path())).collect()
    }
}

fn process(address: Ipv4Addr, port: u16, options: &[&str], folder: &TempDir) -> Process {
    // It wants to be rid of root, and writes its dumps as whom it became.
    let user = if rustix::process::geteuid().is_root() { vec!["-u", "nobody"] } else { Vec::new() };
    let mails = folder.path().join("mails");
    std::fs::create_dir(&mails).unwrap();
    if !user.is_empty() {
        let (code, said) = super::run(std::process::Command::new("chown").arg("nobody").arg(&mails), b"");
        assert_eq!(code, 0, "{said}");
    }
    let template = mails.join("m.").display().to_string();
    let at = format!("{address}:{port}");
    let arguments = [options, &user, &["-d", &template, &at, "100"]].concat();
    Process::spawn("smtp-sink", &program("smtp-sink").unwrap(), &arguments, &folder.path().join("log")).wait_for_address((address, port).into())
}

/// Header lines `X-…:` of smtp-sink, then a Received of its own, then the message with LF.
fn parsed(file: &Path) -> Option<Dumped> {
    let dump = std::fs::read(file).ok()?;
    // After the octets: what is read whole was written by then.
    let arrived_at = std::fs::metadata(file).ok()?.modified().ok()?;
    let text = String::from_utf8_lossy(&dump);
    let mut mail = None;
    let mut rcpts = Vec::new();
    let mut lines = text.split_inclusive('\n').peekable();
    let mut skipped = 0;
    while let Some(line) = lines.next_if(|line| line.starts_with("X-")) {
        skipped += line.len();
        if let Some(value) = line.strip_prefix("X-Mail-Args: ") {
            mail = Some(value.trim_end().to_owned());
        } else if let Some(value) = line.strip_prefix("X-Rcpt-Args: ") {
            rcpts.push(value.trim_end().to_owned());
        }
    }
    let own = lines.next()?;
    assert!(own.starts_with("Received: from "), "no smtp-sink dump: {text}");
    skipped += own.len();
    while let Some(line) = lines.next_if(|line| line.starts_with(['\t', ' '])) {
        skipped += line.len();
    }
    let message = dump.get(skipped..)?.strip_suffix(b"\n").filter(|message| message.ends_with(b"\n"))?;
    Some(Dumped { mail: mail?, rcpts, octets: super::with_crlf(message), arrived_at })
}
