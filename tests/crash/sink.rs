//! Where everything goes: a next hop that counts each recipient's copies, compares every octet with what was sent, verifies every
//! signature, and is slow when told to.

use super::ledger::Ledger;
use super::letters::{self, NOBODY, SENDER, letter};
use postseal::clock;
use postseal::keys::Keyring;
use postseal::mail::Domain;
use postseal::seal::DkimResult;
use postseal::seal::arc::ChainStatus;
use postseal::seal::dkim::foreign::NoAnswer;
use postseal::seal::dkim::verify::{KeySource, examine};
use rand::Rng;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, mpsc};
use std::time::Duration;

/// A running sink; it takes no more connections once dropped.
pub struct Sink {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    ledger: Arc<Ledger>,
    is_held: Mutex<bool>,
    released: Condvar,
    pace_ms: AtomicU64,
    is_over: AtomicBool,
    to_check: mpsc::Sender<Taken>,
}

/// A message as it came.
struct Taken {
    reverse_path: String,
    recipients: Vec<String>,
    octets: Vec<u8>,
}

impl Sink {
    /// Starts on a free port. The records of the keys in this folder are what signatures are verified by.
    pub fn start(ledger: Arc<Ledger>, keys: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (to_check, taken) = mpsc::channel();
        let records = Records::read(keys);
        std::thread::spawn({
            let ledger = ledger.clone();
            move || check_all(&taken, &records, &ledger)
        });
        let (is_held, released) = (Mutex::new(false), Condvar::new());
        let shared = Arc::new(Shared { ledger, is_held, released, pace_ms: AtomicU64::new(0), is_over: AtomicBool::new(false), to_check });
        std::thread::spawn({
            let shared = shared.clone();
            move || {
                for stream in listener.incoming() {
                    if shared.is_over.load(Ordering::SeqCst) {
                        return;
                    }
                    let shared = shared.clone();
                    std::thread::spawn(move || stream.ok().and_then(|stream| serve(&stream, &shared)));
                }
            }
        });
        Self { address, shared }
    }

    /// From now on nobody is greeted and nothing is taken, until [`Self::release`]; who waits goes on waiting.
    pub fn hold(&self) {
        *self.shared.is_held.lock().unwrap() = true;
    }

    pub fn release(&self) {
        *self.shared.is_held.lock().unwrap() = false;
        self.shared.released.notify_all();
    }

    /// A message takes up to so many milliseconds, by chance.
    pub fn pace(&self, ms_max: u64) {
        self.shared.pace_ms.store(ms_max, Ordering::SeqCst);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        self.release();
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn wait_while_held(&self) {
        drop(self.released.wait_while(self.is_held.lock().unwrap(), |is_held| *is_held).unwrap());
    }

    fn take_time(&self) {
        let ms_max = self.pace_ms.load(Ordering::SeqCst);
        if ms_max > 0 {
            std::thread::sleep(Duration::from_millis(rand::rng().random_range(0..=ms_max)));
        }
    }
}

/// One session; `None` when the connection is over.
fn serve(stream: &TcpStream, shared: &Shared) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut lines = BufReader::with_capacity(1 << 16, stream);
    let say = |text: &str| { stream }.write_all(format!("{text}\r\n").as_bytes()).ok();
    let mut line = |into: &mut Vec<u8>| {
        into.clear();
        lines.read_until(b'\n', into).ok().filter(|octets| *octets > 0)
    };
    shared.wait_while_held();
    say("220 sink.test ESMTP")?;
    let (mut command, mut reverse_path, mut recipients) = (Vec::new(), String::new(), Vec::new());
    loop {
        line(&mut command)?;
        let text = String::from_utf8_lossy(&command).trim_end().to_owned();
        let argument = text.split(['<', '>']).nth(1).unwrap_or_default().to_owned();
        match text.get(..4).unwrap_or_default().to_ascii_uppercase().as_str() {
            "EHLO" => say("250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000")?,
            "MAIL" => {
                (reverse_path, recipients) = (argument, Vec::new());
                say("250 2.1.0 ok")?;
            }
            "RCPT" if argument.starts_with(NOBODY) => say("550 5.1.1 nobody of that name")?,
            "RCPT" => {
                recipients.push(argument);
                say("250 2.1.5 ok")?;
            }
            "DATA" if recipients.is_empty() => say("554 5.5.1 no valid recipients")?,
            "DATA" => {
                say("354 go ahead")?;
                let mut octets = Vec::new();
                loop {
                    line(&mut command)?;
                    if command == b".\r\n" {
                        break;
                    }
                    octets.extend_from_slice(command.strip_prefix(b".").unwrap_or(&command));
                }
                shared.take_time();
                shared.wait_while_held();
                let taken = Taken { reverse_path: std::mem::take(&mut reverse_path), recipients: std::mem::take(&mut recipients), octets };
                // From here the relay may hear that it was taken.
                shared.ledger.arrived(&taken.addressees());
                let _ = shared.to_check.send(taken);
                say("250 2.0.0 taken")?;
            }
            "RSET" | "NOOP" => say("250 2.0.0 ok")?,
            "QUIT" => return say("221 2.0.0 bye"),
            _ => say("500 5.5.2 what?")?,
        }
    }
}

impl Taken {
    /// Whom the ledger counts it for: a notice stands for the recipient it tells of.
    fn addressees(&self) -> Vec<String> {
        if self.recipients != [SENDER] {
            return self.recipients.clone();
        }
        let text = String::from_utf8_lossy(&self.octets);
        let told = text.lines().find_map(|line| line.strip_prefix("Final-Recipient: rfc822;"));
        vec![told.unwrap_or("a notice of nobody").trim().to_owned()]
    }
}

fn check_all(taken: &mpsc::Receiver<Taken>, records: &Records, ledger: &Ledger) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    while let Ok(taken) = taken.recv() {
        let what = format!("to {:?} from <{}>", taken.recipients, taken.reverse_path);
        let sound = runtime.block_on(check(&taken, records));
        ledger.looked_at(sound.map_err(|why| format!("{what}: {why}")));
    }
}

/// The octets of the letter, all of them and nothing else, below fields that were put in front; to its recipients only; sealed.
async fn check(taken: &Taken, records: &Records) -> Result<(), String> {
    let addressees = taken.addressees();
    let number = letters::number_of(&addressees[0]).ok_or("for somebody unknown")?;
    let sent = letter(number);
    if let Some(stranger) = addressees.iter().find(|recipient| !sent.recipients.contains(recipient)) {
        return Err(format!("letter {number} went to {stranger}"));
    }
    if taken.recipients == [SENDER] {
        if !taken.reverse_path.is_empty() {
            return Err("a notice with a reverse-path".to_owned());
        }
    } else {
        let added = taken.octets.strip_suffix(&sent.octets[..]).ok_or_else(|| format!("letter {number} is changed"))?;
        let names = String::from_utf8_lossy(added).into_owned();
        let names = names.lines().filter(|line| !line.starts_with([' ', '\t'])).map(|line| line.split(':').next().unwrap_or_default().to_owned());
        if let Some(other) = names.into_iter().find(|name| !ADDED.contains(&name.as_str())) {
            return Err(format!("letter {number} has a field \"{other}\" in front"));
        }
        if !taken.reverse_path.ends_with("example.com") {
            return Err(format!("letter {number} from <{}>", taken.reverse_path));
        }
    }
    let examined = examine(&taken.octets, records, clock::now()).await;
    let signed = examined.dkim.iter().any(|fact| fact.domain == "example.com" && fact.result == DkimResult::Pass);
    let wrong = examined.dkim.iter().any(|fact| fact.result != DkimResult::Pass) || !matches!(examined.chain.status, ChainStatus::Pass | ChainStatus::None);
    if signed && !wrong { Ok(()) } else { Err(format!("its seal does not verify: {examined:?}")) }
}

/// The key records, as the DNS would have them.
struct Records(HashMap<String, String>);

impl Records {
    fn read(keys: &Path) -> Self {
        let keyring = Keyring::load(keys).unwrap();
        let keys = keyring.keys(&Domain::parse("example.com").unwrap());
        Self(keys.iter().map(|key| (key.id.to_string(), key.record().unwrap().to_string())).collect())
    }
}

impl KeySource for Records {
    async fn texts(&self, name: &Domain) -> Result<Vec<String>, NoAnswer> {
        Ok(self.0.get(&name.to_string()).cloned().into_iter().collect())
    }
}

/// What the relay puts in front.
const ADDED: [&str; 5] = ["DKIM-Signature", "ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results", "Received"];
