//! Who sends: sessions of our own that stay open, lock-step and pipelined; Python's smtplib; swaks, a process for each message.

use super::ledger::{Answer, Ledger, now_ns};
use super::letters::{Letter, SENDER, letter, recipients};
use super::smtp_client::SmtpClient;
use std::fmt::Write;
use std::io::{self, BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;

/// Clients at work, until [`Load::stop`].
pub struct Load {
    is_over: Arc<AtomicBool>,
    ours: Vec<JoinHandle<()>>,
    python: Option<Python>,
}

struct Python {
    folder: TempDir,
    child: Child,
    reader: JoinHandle<()>,
}

/// How many of each.
#[derive(Clone, Copy)]
pub struct Mix {
    pub lock_step: usize,
    pub pipelined: usize,
    pub smtplib: bool,
    pub swaks: bool,
    /// Rest between two letters of one of our sessions.
    pub pause: Duration,
}

impl Mix {
    /// Some sessions of ours, as fast as they go.
    pub const OURS: Self = Self { lock_step: 2, pipelined: 2, smtplib: false, swaks: false, pause: Duration::ZERO };
    /// Everybody.
    pub const ALL: Self = Self { smtplib: true, swaks: true, ..Self::OURS };
}

impl Load {
    /// `numbers` gives the next letter; clients try for a connection until there is one.
    pub fn start(address: SocketAddr, ledger: &Arc<Ledger>, numbers: &Arc<AtomicU64>, mix: Mix) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let session = |how: Style| {
            let (ledger, numbers, is_over) = (ledger.clone(), numbers.clone(), is_over.clone());
            std::thread::spawn(move || ours(address, &ledger, &numbers, &is_over, how, mix.pause))
        };
        let mut threads: Vec<_> = (0..mix.lock_step).map(|_| session(Style::LockStep)).collect();
        threads.extend((0..mix.pipelined).map(|_| session(Style::Pipelined)));
        if mix.swaks && has("swaks") {
            let (ledger, numbers, is_over) = (ledger.clone(), numbers.clone(), is_over.clone());
            threads.push(std::thread::spawn(move || swaks(address, &ledger, &numbers, &is_over)));
        }
        let python = (mix.smtplib && has("python3")).then(|| Python::start(address, ledger, numbers));
        Self { is_over, ours: threads, python }
    }

    /// Returns when every dialogue is over and written down.
    pub fn stop(self) {
        self.is_over.store(true, Ordering::SeqCst);
        if let Some(python) = self.python {
            std::fs::write(python.folder.path().join("stop"), "").unwrap();
            let mut child = python.child;
            child.wait().unwrap();
            python.reader.join().unwrap();
        }
        self.ours.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

/// How a session of ours speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Style {
    LockStep,
    Pipelined,
}

fn ours(address: SocketAddr, ledger: &Ledger, numbers: &AtomicU64, is_over: &AtomicBool, style: Style, pause: Duration) {
    while !is_over.load(Ordering::SeqCst) {
        let Ok(mut client) = SmtpClient::connect(&address.to_string()) else {
            std::thread::sleep(Duration::from_millis(3));
            continue;
        };
        while !is_over.load(Ordering::SeqCst) {
            if !send(&mut client, ledger, numbers.fetch_add(1, Ordering::SeqCst), style) {
                break;
            }
            std::thread::sleep(pause);
        }
    }
}

/// Sends a letter and writes down how it ended. Whether the connection can be used further.
pub fn send(client: &mut SmtpClient, ledger: &Ledger, number: u64, style: Style) -> bool {
    let sent = letter(number);
    let reply = if style == Style::LockStep { lock_step(client, &sent) } else { pipelined(client, &sent) };
    let (answer, goes_on) = match reply {
        Ok(reply) if reply.starts_with("250") => (Answer::Promised { at_ns: now_ns(), reply }, true),
        Ok(reply) => {
            let goes_on = !reply.starts_with("421");
            (Answer::Refused(reply), goes_on)
        }
        Err(_) => (Answer::Open, false),
    };
    ledger.answered(number, answer);
    goes_on
}

fn lock_step(client: &mut SmtpClient, letter: &Letter) -> io::Result<String> {
    let recipients: Vec<&str> = letter.recipients.iter().map(String::as_str).collect();
    client.send(SENDER, &recipients, std::str::from_utf8(&letter.octets).unwrap())
}

fn pipelined(client: &mut SmtpClient, letter: &Letter) -> io::Result<String> {
    let rcpts = letter.recipients.iter().fold(String::new(), |rcpts, recipient| rcpts + "RCPT TO:<" + recipient + ">\r\n");
    client.write(&format!("MAIL FROM:<{SENDER}>\r\n{rcpts}DATA\r\n"))?;
    let mut refusal = None;
    for _ in 0..=letter.recipients.len() {
        let reply = client.reply()?;
        refusal = refusal.or(Some(reply).filter(|reply| !reply.starts_with('2')));
    }
    let reply = client.reply()?;
    if !reply.starts_with('3') {
        return Ok(refusal.unwrap_or(reply));
    }
    client.write(&std::str::from_utf8(&letter.octets).unwrap().replace("\r\n.", "\r\n.."))?;
    client.command(".")
}

impl Python {
    fn start(address: SocketAddr, ledger: &Arc<Ledger>, numbers: &AtomicU64) -> Self {
        let folder = TempDir::new().unwrap();
        let first = numbers.fetch_add(PYTHON_LETTERS, Ordering::SeqCst);
        let mut manifest = String::new();
        for number in first..first + PYTHON_LETTERS {
            let letter = letter(number);
            writeln!(manifest, "{number} {}", letter.recipients.join(" ")).unwrap();
            std::fs::write(folder.path().join(format!("{number}.eml")), letter.octets).unwrap();
        }
        std::fs::write(folder.path().join("manifest"), manifest).unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash/clients.py");
        let mut command = Command::new("python3");
        command.arg(script).args([address.ip().to_string(), address.port().to_string()]).arg(folder.path());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let ledger = ledger.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let mut words = line.splitn(4, ' ');
                let mut word = || words.next().unwrap_or_default().to_owned();
                let (number, at_ns, how, reply) = (word().parse().unwrap(), word().parse().unwrap(), word(), word());
                ledger.answered(
                    number,
                    match how.as_str() {
                        "promised" => Answer::Promised { at_ns, reply },
                        "refused" => Answer::Refused(reply),
                        _ => Answer::Open,
                    },
                );
            }
        });
        Self { folder, child, reader }
    }
}

/// One process a letter. That it says 250 is taken as read when it ends, which is later than it was.
fn swaks(address: SocketAddr, ledger: &Ledger, numbers: &AtomicU64, is_over: &AtomicBool) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("letter");
    while !is_over.load(Ordering::SeqCst) {
        if SmtpClient::connect(&address.to_string()).is_err() {
            std::thread::sleep(Duration::from_millis(20));
            continue;
        }
        // A recipient refused of several would leave a letter half promised.
        let one = |number: &u64| recipients(*number).len() == 1;
        let number = std::iter::repeat_with(|| numbers.fetch_add(1, Ordering::SeqCst)).find(one).unwrap();
        let letter = letter(number);
        let text = String::from_utf8(letter.octets).unwrap();
        std::fs::write(&file, text.replace("\r\n.", "\r\n..") + ".").unwrap();
        let mut command = Command::new("swaks");
        command.args(["--server", &address.to_string(), "--from", SENDER, "--to", &letter.recipients[0], "--no-data-fixup"]);
        command.args(["--timeout", "20", "--hide-informational", "--data"]).arg(format!("@{}", file.display()));
        let said = command.stdin(Stdio::null()).stderr(Stdio::null()).output().unwrap().stdout;
        // Replies stand behind "<-", or "<**" where they were not hoped for; the one that counts is behind that to DATA.
        let said = String::from_utf8_lossy(&said).into_owned();
        let replies = said.lines().filter_map(|line| line.strip_prefix("<- ").or_else(|| line.strip_prefix("<** "))).map(str::trim);
        let replies: Vec<&str> = replies.filter(|reply| reply.starts_with(|c: char| c.is_ascii_digit())).collect();
        let answer = match (replies.iter().skip_while(|reply| !reply.starts_with("354")).nth(1), replies.iter().find(|reply| reply.starts_with(['4', '5']))) {
            (Some(reply), _) if reply.starts_with("250") => Answer::Promised { at_ns: now_ns(), reply: (*reply).to_owned() },
            (Some(reply), _) | (None, Some(reply)) => Answer::Refused((*reply).to_owned()),
            (None, None) => Answer::Open,
        };
        ledger.answered(number, answer);
    }
}

pub fn has(program: &str) -> bool {
    let found = Command::new("sh").args(["-c", &format!("command -v {program}")]).output().is_ok_and(|output| output.status.success());
    if !found {
        super::rig::skipped(&format!("{program} is not here: it sends nothing"));
    }
    found
}

/// Letters made ready for one run of Python.
const PYTHON_LETTERS: u64 = 4000;
