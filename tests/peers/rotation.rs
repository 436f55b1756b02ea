//! Keys rotate under load against a real pair of servers: the secondary lags, is not to be reached, answers SERVFAIL; processes are
//! killed. Every message that the relay delivers is verified by dkimpy through a caching resolver as it arrives, and its key's record
//! is asked of each server that answers.

use crate::support::bind_pair::{Pair, Zone};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_sink::SmtpSink;
use crate::support::verifiers::{Arrived, Dkimpy, Says, Verifier as _};
use crate::support::{Peer, missing, python, wait_or_tell};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

#[test]
fn no_message_fails_while_keys_rotate_under_load() {
    if missing(&[Peer::Bind, Peer::SmtpSink, Peer::Dkimpy]) {
        return;
    }
    let mut lab = Lab::start();
    let first = lab.active();

    // As it should be.
    let told = lab.rotate();
    assert!(told.contains("active: shown for"), "{told}");
    let second = lab.active();
    assert_ne!(first, second);

    // The secondary lags: nothing signs before it shows the record, and a kill does not change that.
    lab.pair.lag(true);
    let mut waiting = lab.spawn_rotate();
    let third = lab.wait_for_state("published");
    std::thread::sleep(Duration::from_secs(4));
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    assert_eq!(lab.active(), second, "{}", lab.ledger());
    assert!(lab.ledger().contains("ns1.example.com"), "what ns1 showed is remembered: {}", lab.ledger());
    lab.relay.kill();
    lab.relay.start();
    lab.load.move_to(&lab.relay.address("plain"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(lab.active(), second, "{}", lab.ledger());
    lab.pair.lag(false);
    lab.wait_for_active(&third);

    // It cannot be reached: after a time the other decides.
    lab.pair.secondary.hold();
    let told = lab.rotate();
    assert!(told.contains("without ns2.example.com (silent for"), "{told}");
    lab.pair.mend_secondary();

    // It answers SERVFAIL: the same.
    lab.pair.break_secondary();
    let told = lab.rotate();
    assert!(told.contains("without ns2.example.com (silent for"), "{told}");
    lab.pair.mend_secondary();

    // Killed again and again on the way.
    let before = lab.active();
    for round in 0.. {
        let mut rotating = lab.spawn_rotate();
        std::thread::sleep(Duration::from_millis(150 + 220 * round));
        let is_done = rotating.try_wait().unwrap().is_some();
        let _ = rotating.kill();
        rotating.wait().unwrap();
        if is_done || lab.active() != before || round == 20 {
            break;
        }
    }
    wait_or_tell(|| (lab.active() != before).then_some(()), || lab.ledger());

    // The first key goes its whole way meanwhile.
    wait_or_tell(|| (lab.state(&first) == "removed").then_some(()), || lab.ledger());
    assert_eq!(ask(&["127.0.0.2"], lab.pair.port(), &first), [("127.0.0.2".to_owned(), Some(String::new()))], "its record is withdrawn");
    assert!(!lab.relay.path().join(format!("keys/example.com/{first}.rsa.pem")).exists());
    // Revoked by who knows the queue; the last step is anybody's who drives the domain.
    lab.relay.wait_until("key.revoked", |event| event["key"] == format!("{first}._domainkey.example.com"));
    lab.end();
}

struct Lab {
    pair: Pair,
    relay: RelayProcess,
    load: Load,
    verifying: (Arc<AtomicBool>, JoinHandle<(BTreeSet<String>, BTreeSet<String>)>),
}

impl Lab {
    fn start() -> Self {
        let sink = SmtpSink::start(&[]);
        // The program is asked for records before there is a name server.
        let mut relay = RelayProcess::new(&configuration(sink.port(), 1, "127.0.0.1:1", ""));
        let records = format!("{}\nrelay IN A 127.0.0.1\n@ IN MX 10 relay\n", relay.records());
        let pair = Pair::start(&[Zone::new("example.com", &records)], "example.net. IN MX 10 mx.example.net.\nmx.example.net. IN A 127.0.0.1\n");
        let secret = pair.tsig_secret.clone();
        std::fs::write(relay.config(), configuration(sink.port(), pair.port(), &pair.update_server().to_string(), &secret)).unwrap();
        relay.start();
        let load = Load::begin(&relay.address("plain"));
        let verifying = verify_all(sink, pair.port());
        Self { pair, relay, load, verifying }
    }

    /// `key rotate --wait` to its end.
    fn rotate(&self) -> String {
        let output = self.relay.postseal(&["key", "rotate", "--wait", "example.com"]);
        let told = [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
        assert!(output.status.success(), "{told}\n{}", self.ledger());
        // Whoever took the step, the command or the relay, the ledger tells why.
        format!("{told}\n{}", self.newest_history())
    }

    fn spawn_rotate(&self) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
        command.args(["key", "rotate", "--wait", "example.com"]).current_dir(self.relay.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }

    fn ledger(&self) -> String {
        std::fs::read_to_string(self.relay.path().join("keys/example.com/keys.toml")).unwrap()
    }

    fn keys(&self) -> toml::Table {
        self.ledger().parse().unwrap()
    }

    fn state(&self, selector: &str) -> String {
        self.keys()[selector]["state"].as_str().unwrap().to_owned()
    }

    fn in_state(&self, state: &str) -> Vec<String> {
        self.keys().iter().filter(|(_, entry)| entry["state"].as_str() == Some(state)).map(|(selector, _)| selector.clone()).collect()
    }

    /// The one key that signs: there is never none and never another.
    fn active(&self) -> String {
        let active = self.in_state("active");
        assert_eq!(active.len(), 1, "{}", self.ledger());
        active[0].clone()
    }

    fn newest_history(&self) -> String {
        let past = |past: &toml::Value| format!("{}: {}", past["state"].as_str().unwrap(), past["why"].as_str().unwrap());
        self.keys()[&self.active()]["history"].as_array().unwrap().iter().map(past).collect::<Vec<_>>().join("\n")
    }

    fn wait_for_state(&self, state: &str) -> String {
        wait_or_tell(|| self.in_state(state).pop(), || format!("a key that is {state}: {}", self.ledger()))
    }

    fn wait_for_active(&self, selector: &str) {
        wait_or_tell(|| (self.active() == selector).then_some(()), || format!("{selector} to be active: {}", self.ledger()));
    }

    /// Whatever was accepted has arrived, and all that arrived was verified.
    fn end(mut self) {
        let accepted = self.load.end();
        assert!(accepted.len() > 40, "only {} messages", accepted.len());
        std::thread::sleep(Duration::from_secs(5)); // the last ones are delivered
        self.verifying.0.store(true, Ordering::Relaxed);
        let (arrived, selectors) = self.verifying.1.join().unwrap();
        let lost: Vec<_> = accepted.difference(&arrived).collect();
        assert!(lost.is_empty(), "{} of {} accepted messages did not arrive: {lost:?}", lost.len(), accepted.len());
        assert!(selectors.len() >= 6, "messages were signed by {selectors:?} only");
        let (code, log) = self.relay.stop();
        assert_eq!(code, Some(0), "{log:#?}");
    }
}

/// Verifies each message as it arrives; subjects and selectors in the end.
fn verify_all(sink: SmtpSink, port: u16) -> (Arc<AtomicBool>, JoinHandle<(BTreeSet<String>, BTreeSet<String>)>) {
    let over = Arc::new(AtomicBool::new(false));
    let until = over.clone();
    let thread = std::thread::spawn(move || {
        let (mut subjects, mut selectors, mut verifying) = (BTreeSet::new(), BTreeSet::new(), Vec::new());
        loop {
            let is_last = until.load(Ordering::Relaxed);
            for mail in sink.mails() {
                let text = String::from_utf8_lossy(&mail.octets).into_owned();
                let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().trim().to_owned();
                if !subjects.insert(subject.clone()) {
                    continue;
                }
                let signature = &text[text.find("DKIM-Signature:").unwrap_or_else(|| panic!("{subject} is not signed: {text}"))..];
                let selector = signature.split("s=").nth(1).unwrap().split(';').next().unwrap().trim().to_owned();
                selectors.insert(selector.clone());
                // At once, each for itself: what counts is what the servers show now.
                verifying.push(std::thread::spawn(move || {
                    shown_by_all(port, &selector, &subject);
                    verified(&Dkimpy::new(port), &mail.octets, &format!("{selector}._domainkey.example.com"), &subject);
                }));
            }
            if is_last {
                verifying.into_iter().for_each(|one| one.join().expect("every message verifies"));
                return (subjects, selectors);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    (over, thread)
}

/// By every server that answers at all.
fn shown_by_all(port: u16, selector: &str, subject: &str) {
    for (server, shown) in ask(&["127.0.0.2", "127.0.0.3"], port, selector) {
        if let Some(shown) = shown {
            assert!(shown.contains("v=DKIM1") && !shown.ends_with("p="), "{subject}: {server} shows \"{shown}\" for {selector}");
        }
    }
}

/// A resolver that waits for a dead server may not answer in time; what it says when it does must be a pass.
fn verified(dkimpy: &Dkimpy, octets: &[u8], key: &str, subject: &str) {
    for _ in 0..4 {
        let found = dkimpy.verify(&Arrived { return_path: String::new(), octets: octets.to_owned() });
        match found.dkim.get(key) {
            Some(Says::Pass) => return,
            None => std::thread::sleep(Duration::from_millis(500)), // it gave up on the resolver
            Some(other) => panic!("{subject}, {key}: {other:?}"),
        }
    }
    panic!("{subject}: dkimpy came to no result for {key}");
}

/// The TXT record of a selector at each server; `None` without an answer that proves anything.
fn ask(servers: &[&str], port: u16, selector: &str) -> Vec<(String, Option<String>)> {
    let (port, name) = (port.to_string(), format!("{selector}._domainkey.example.com"));
    let output = Command::new(python()).args(["-c", ASK, &port, &name]).args(servers).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), servers.len(), "{text}");
    servers.iter().zip(lines).map(|(server, line)| ((*server).to_owned(), line.strip_prefix("answer ").map(|text| text.trim().to_owned()))).collect()
}

/// By dnspython, a line for each server: `answer` and the joined strings, with authority; else the reason.
const ASK: &str = r#"
import sys, dns.flags, dns.message, dns.query, dns.rcode, dns.rdatatype
port, name = int(sys.argv[1]), sys.argv[2]
for server in sys.argv[3:]:
    try:
        reply = dns.query.udp(dns.message.make_query(name, "TXT"), server, port=port, timeout=1)
        if reply.flags & dns.flags.TC:
            reply = dns.query.tcp(dns.message.make_query(name, "TXT"), server, port=port, timeout=1)
        known = reply.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) and reply.flags & dns.flags.AA
        texts = [b"".join(data.strings).decode() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.TXT for data in rrset]
        print("answer" if known else "nothing", "|".join(texts))
    except Exception as error:
        print("silent", type(error).__name__)
"#;

/// A client that submits all the time, and goes on where the relay comes back.
struct Load {
    address: Arc<Mutex<String>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeSet<String>>>,
}

impl Load {
    fn begin(address: &str) -> Self {
        let (address, over) = (Arc::new(Mutex::new(address.to_owned())), Arc::new(AtomicBool::new(false)));
        let (to, until) = (address.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut accepted = BTreeSet::new();
            for number in 0.. {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let subject = format!("letter-{number}");
                let address = to.lock().unwrap().clone();
                if submit(&address, &subject).is_some_and(|reply| reply.starts_with("250")) {
                    accepted.insert(subject);
                }
                std::thread::sleep(Duration::from_millis(700));
            }
            accepted
        });
        Self { address, over, thread: Some(thread) }
    }

    fn move_to(&self, address: &str) {
        address.clone_into(&mut self.address.lock().unwrap());
    }

    /// The subjects that were answered with 250.
    fn end(&mut self) -> BTreeSet<String> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// The reply to the message; `None` where the relay was not there to give one.
fn submit(address: &str, subject: &str) -> Option<String> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    let mut stream = BufReader::new(stream);
    let mut reply = String::new();
    let message = format!("From: App <app@example.com>\r\nTo: you@example.net\r\nSubject: {subject}\r\n\r\nHello.\r\n.");
    for line in ["", "HELO client.example.com", "MAIL FROM:<app@example.com>", "RCPT TO:<you@example.net>", "DATA", &message] {
        if !line.is_empty() {
            stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).ok()?;
        }
        reply.clear();
        while reply.is_empty() || reply.lines().last().is_some_and(|line| line.as_bytes().get(3) == Some(&b'-')) {
            if stream.read_line(&mut reply).ok()? == 0 {
                return None;
            }
        }
        if !reply.starts_with(['2', '3']) {
            return Some(reply);
        }
    }
    Some(reply)
}

fn configuration(mx_port: u16, dns_port: u16, update_server: &str, secret: &str) -> String {
    let secret = if secret.is_empty() { "bm8gc2VjcmV0IGF0IGFsbCwgbm8gc2VjcmV0IGF0IGFsbCE=" } else { secret };
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [log]
        format = "json"
        [listeners.plain]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.application]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [domains."example.com"]
        publisher = "primary"
        [publishers.primary]
        kind = "rfc2136"
        server = "{update_server}"
        zone = "example.com"
        tsig_name = "updater.postseal.test"
        tsig_secret = "{secret}"
        ttl = "2s"
        [rotation]
        soak_min = "2s"
        unreachable_max = "4s"
        retire_min = "20s"
        removal_after = "4s"
        check_every = "1s"
        [resolver]
        nameservers = ["127.0.0.1:{dns_port}"]
        authoritative_port = {dns_port}
        timeout = "1s"
        [policy]
        deliver_after_max = "0s"
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [deliver]
        mx_port = {mx_port}
        private_addresses_allowed = true
        max_age = "10s"
        retry = ["1s"]
        [deliver.tls]
        "#
    )
}
