//! Keys rotate under load against a real pair of servers: the secondary lags, is not to be reached, answers SERVFAIL; processes are
//! killed. No message that the relay delivers may fail anywhere in the world.
//!
//! A witness, a program with dnspython, asks each server and a caching resolver for every selector in the ledger, all the time, from the
//! moment the selector is named, and notes what was answered when. In the end dkimpy verifies every message against *every* answer that
//! somebody could have had when it arrived: what each server said then, and whatever it said within the TTL before, which may be in
//! caches. So a key that signs too soon, or is revoked too early, fails messages; a slow machine does not, since an answer counts only
//! if it lies wholly before the arrival and was asked for wholly within the TTL.

use crate::support::bind_pair::{Pair, Zone};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_sink::{Dumped, SmtpSink};
use crate::support::{Peer, free_port, missing, python, run, wait_or_tell};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postseal::mail::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

#[test]
fn no_message_fails_while_keys_rotate_under_load() {
    if missing(&[Peer::Bind, Peer::SmtpSink, Peer::Dkimpy]) {
        return;
    }
    let mut lab = Lab::start();
    let first = lab.active();
    // A message whose host is not there yet: the first key's, for as long as it waits.
    assert!(submit(&lab.address, "you@late.example", LATE).is_some_and(|reply| reply.starts_with("250")));

    // As it should be.
    let told = lab.rotate();
    assert!(told.contains("active: shown for"), "{told}");
    let second = lab.active();
    assert_ne!(first, second);

    // The secondary lags: nothing signs before it shows the record, and kills change nothing about that.
    lab.pair.lag(true);
    let mut waiting = lab.spawn_rotate();
    let third = lab.wait_for_state("published");
    lab.wait(|| lab.shown_for("ns1.example.com", &third).filter(|shown| *shown > SOAK_MIN / 2), "ns1 to show it");
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    lab.relay.kill();
    lab.relay.start();
    lab.wait(|| lab.shown_for("ns1.example.com", &third).filter(|shown| *shown > SOAK_MIN + Duration::from_secs(2)), "what ns1 showed to be remembered");
    assert_eq!((lab.active(), lab.state(&third)), (second.clone(), "published".to_owned()), "{}", lab.ledger());
    lab.pair.lag(false);
    lab.wait(|| (lab.active() == third).then_some(()), &format!("{third} to be active"));

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

    // The first key has had its time, but a message that it signed is still in the queue. Once that is delivered, it may go.
    let of_first = |event: &Value| event["key"] == format!("{first}._domainkey.example.com");
    let names_the_queue = |event: &Value| event["event"] == "key.delayed" && event["reason"].as_str().is_some_and(|reason| reason.contains("queue"));
    let is_told = || lab.relay.log().iter().any(|event| of_first(event) && names_the_queue(event));
    let is_kept = || {
        assert_eq!(lab.state(&first), "retiring", "{LATE} is in the queue: {}", lab.ledger());
        is_told().then_some(())
    };
    lab.wait(is_kept, "the log to tell that the first key is kept for what is in the queue");
    let late = SmtpSink::start_at(LATE_HOST, lab.sink.port(), &[]);
    let came = lab.wait(|| late.mails().pop(), "the late message");
    lab.relay.wait_until("key.revoked", of_first); // by who knows the queue

    // Both that drive are killed on the way, as soon as the next key is created, published, visible.
    let before = lab.active();
    for stage in ["created", "published", "visible"] {
        let mut rotating = lab.spawn_rotate();
        lab.wait(|| (lab.active() != before || lab.has_come_to(stage)).then_some(()), &format!("a key that is {stage}"));
        lab.relay.kill();
        let _ = rotating.kill();
        rotating.wait().unwrap();
        lab.relay.start();
        if lab.active() != before {
            break;
        }
    }
    lab.wait(|| (lab.active() != before).then_some(()), "the relay to go on by itself");

    let sixth = lab.active();
    lab.wait(|| lab.sink.mails().iter().any(|mail| selector(mail) == sixth).then_some(()), "a message of the newest key");

    // The first key has gone its whole way.
    lab.wait(|| (lab.state(&first) == "removed").then_some(()), "the first key to be removed");
    assert!(!lab.relay.path().join(format!("keys/example.com/{first}.rsa.pem")).exists());
    lab.end(came, &first);
}

/// Of the configuration below.
const SOAK_MIN: Duration = Duration::from_secs(4);

/// How long an answer, also that there is nothing, may be in somebody's cache: shorter than the soak by more than clocks are coarse.
const TTL: Duration = Duration::from_secs(3);

const PRIMARY: &str = "127.0.0.2";
const SECONDARY: &str = "127.0.0.3";
const RESOLVER: &str = "127.0.0.1";

/// Nobody listens there before a test says so.
const LATE_HOST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 4);

/// The subject of the message to it.
const LATE: &str = "late";

struct Lab {
    pair: Pair,
    sink: SmtpSink,
    relay: RelayProcess,
    address: String,
    load: Load,
    witness: Witness,
}

impl Lab {
    fn start() -> Self {
        let sink = SmtpSink::start(&[]);
        let listener = free_port();
        // The program is asked for records before there is a name server.
        let mut relay = RelayProcess::new(&configuration(listener, sink.port(), 1, "127.0.0.1:1", ""));
        let records = format!("{}\nrelay IN A 127.0.0.1\n@ IN MX 10 relay\n", relay.records());
        let others = "example.net. IN MX 10 mx.example.net.\nmx.example.net. IN A 127.0.0.1\n\
             late.example. IN MX 10 mx.late.example.\nmx.late.example. IN A 127.0.0.4\n";
        let ttl = u32::try_from(TTL.as_secs()).unwrap();
        let pair = Pair::start(&[Zone { ttl, negative_ttl: ttl, ..Zone::new("example.com", &records) }], others);
        let secret = pair.tsig_secret.clone();
        std::fs::write(relay.config(), configuration(listener, sink.port(), pair.port(), &pair.update_server().to_string(), &secret)).unwrap();
        relay.start();
        let address = relay.address("plain");
        let witness = Witness::begin(pair.port(), relay.path().join("keys/example.com/keys.toml"));
        let load = Load::begin(&address);
        Self { pair, sink, relay, address, load, witness }
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

    /// Whether a key is on its way, at least so far.
    fn has_come_to(&self, stage: &str) -> bool {
        let stages = ["created", "published", "visible"];
        stages.iter().skip_while(|one| **one != stage).any(|one| !self.in_state(one).is_empty())
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

    /// How long this server has shown the key, as the ledger has it.
    fn shown_for(&self, server: &str, selector: &str) -> Option<Duration> {
        let keys = self.keys();
        let since = keys[selector].get("servers")?.get(server)?.get("shown_since")?;
        let since: jiff::Timestamp = since.to_string().trim_matches('"').parse().unwrap_or_else(|error| panic!("{since}: {error}"));
        Some(postseal::clock::now().since(Timestamp::from_unix_millis(since.as_millisecond())))
    }

    fn wait<T>(&self, done: impl FnMut() -> Option<T>, what: &str) -> T {
        wait_or_tell(done, || format!("{what}: {}", self.ledger()))
    }

    fn wait_for_state(&self, state: &str) -> String {
        self.wait(|| self.in_state(state).pop(), &format!("a key that is {state}"))
    }

    /// Whatever was accepted has arrived, and all that arrived verifies.
    fn end(mut self, late: Dumped, first: &str) {
        let accepted = self.load.end();
        assert!(accepted.len() > 40, "only {} messages", accepted.len());
        let all_arrived = || {
            let arrived: BTreeSet<_> = self.sink.mails().iter().map(|mail| header(mail, "Subject: ")).collect();
            accepted.is_subset(&arrived).then_some(())
        };
        wait_or_tell(all_arrived, || format!("all {} messages that were accepted, of which {} came", accepted.len(), self.sink.mails().len()));
        let (code, log) = self.relay.stop();
        assert_eq!(code, Some(0), "{log:#?}");

        let mut mails = self.sink.mails();
        let strange: Vec<_> = mails.iter().map(|mail| header(mail, "Subject: ")).filter(|subject| !subject.starts_with("letter-")).collect();
        assert!(strange.is_empty(), "nothing but the letters comes, least of all a notice of failure: {strange:?}");
        mails.push(late);
        let selectors: BTreeSet<_> = mails.iter().map(selector).collect();
        assert!(selectors.len() >= 6, "messages were signed by {selectors:?} only");
        let said = self.witness.end();
        let withdrawn = said.iter().rev().find(|one| one.server == PRIMARY && one.selector == first && one.told.is_some());
        assert_eq!(withdrawn.and_then(|one| one.told.as_deref()), Some(""), "the record of the first key is withdrawn");
        judge(&mails, &said);
    }
}

/// Verifies each message against every answer that counts for it.
fn judge(mails: &[Dumped], said: &[Said]) {
    let (mut cases, mut about) = (Vec::new(), Vec::new());
    let (mut by_resolver, mut unproven) = (0, Vec::new());
    for mail in mails {
        let (subject, selector) = (header(mail, "Subject: "), selector(mail));
        let answers = answers(said, &selector, mail.arrived_at);
        by_resolver += usize::from(answers.iter().any(|one| one.server == RESOLVER));
        if !answers.iter().any(|one| one.server != RESOLVER) {
            unproven.push(subject.clone());
        }
        let distinct: BTreeSet<_> = answers.iter().map(|one| (&one.server, one.told.as_deref().unwrap())).collect();
        for (server, record) in distinct {
            let case = json!({ "message": BASE64.encode(&mail.octets), "name": format!("{selector}._domainkey.example.com."), "record": record });
            cases.push(format!("{case}\n"));
            about.push(format!("{subject}, {selector}, of which {server} said \"{record}\""));
        }
    }
    assert!(unproven.is_empty(), "nobody said anything of the keys of {unproven:?}");
    assert!(by_resolver > mails.len() / 4, "the resolver answered for {by_resolver} of {} messages only", mails.len());
    let (code, results) = run(Command::new(python()).args(["-c", VERIFY]), cases.concat().as_bytes());
    assert!(code == 0 && results.lines().count() == about.len(), "{results}");
    let failed: Vec<_> = results.lines().zip(&about).filter(|(result, _)| *result != "pass").map(|(result, about)| format!("{about}: {result}")).collect();
    assert!(failed.is_empty(), "{} of {} verifications of {} messages failed:\n{}", failed.len(), about.len(), mails.len(), failed.join("\n"));
    println!("{} messages, {} verifications", mails.len(), about.len());
}

/// The answers that a message must verify with. Of a server, all within the TTL before its arrival; of the resolver, which remembers them
/// by itself, those of the last moment. If the witness slept through that time, the next one of each server.
fn answers<'a>(said: &'a [Said], selector: &str, arrived_at: SystemTime) -> Vec<&'a Said> {
    let known = || said.iter().filter(|one| one.selector == selector && one.told.is_some());
    let within = |one: &&Said| {
        let how_long = if one.server == RESOLVER { TTL / 6 } else { TTL };
        one.received <= arrived_at && one.sent + how_long > arrived_at
    };
    let found: Vec<_> = known().filter(within).collect();
    if found.iter().any(|one| one.server != RESOLVER) {
        return found;
    }
    let next = [PRIMARY, SECONDARY].into_iter().filter_map(|server| known().find(|one| one.server == server && one.sent >= arrived_at));
    next.collect()
}

fn header(mail: &Dumped, name: &str) -> String {
    let text = String::from_utf8_lossy(&mail.octets);
    text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}in {text}")).trim().to_owned()
}

/// Of its one signature.
fn selector(mail: &Dumped) -> String {
    let text = String::from_utf8_lossy(&mail.octets);
    assert_eq!(text.matches("DKIM-Signature:").count(), 1, "{text}");
    let signature = &text[text.find("DKIM-Signature:").unwrap()..];
    signature.split(" s=").nth(1).unwrap().split(';').next().unwrap().trim().to_owned()
}

/// One answer.
struct Said {
    server: String,
    selector: String,
    sent: SystemTime,
    received: SystemTime,
    /// The record, or that there is none; `None` if the answer proves nothing.
    told: Option<String>,
}

/// Asks each server for every selector that the ledger names, ten times a second.
struct Witness {
    child: Child,
    naming: (Arc<AtomicBool>, JoinHandle<()>),
    listening: JoinHandle<Vec<Said>>,
}

impl Witness {
    fn begin(port: u16, ledger: PathBuf) -> Self {
        let mut command = Command::new(python());
        command.args(["-c", WITNESS, &port.to_string(), PRIMARY, SECONDARY, RESOLVER]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (mut names, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let over = Arc::new(AtomicBool::new(false));
        let until = over.clone();
        let naming = std::thread::spawn(move || {
            let mut told = BTreeSet::new();
            while !until.load(Ordering::Relaxed) {
                for selector in selectors(&ledger) {
                    if told.insert(selector.clone()) {
                        writeln!(names, "{selector}").unwrap();
                    }
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        let listening = std::thread::spawn(move || answers.lines().map(|line| said(&line.unwrap())).collect());
        Self { child, naming: (over, naming), listening }
    }

    fn end(self) -> Vec<Said> {
        let Self { mut child, naming: (over, naming), listening } = self;
        over.store(true, Ordering::Relaxed);
        naming.join().unwrap();
        let said = listening.join().unwrap();
        assert!(child.wait().unwrap().success());
        said
    }
}

fn selectors(ledger: &Path) -> Vec<String> {
    let Ok(text) = std::fs::read_to_string(ledger) else { return Vec::new() }; // the test has ended
    let keys: toml::Table = text.parse().unwrap();
    keys.iter().filter(|(_, entry)| entry.get("state").is_some()).map(|(selector, _)| selector.clone()).collect()
}

fn said(line: &str) -> Said {
    let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    let time = |name: &str| SystemTime::UNIX_EPOCH + Duration::from_secs_f64(value[name].as_f64().unwrap());
    let text = |name: &str| value[name].as_str().map(str::to_owned);
    Said { server: text("server").unwrap(), selector: text("selector").unwrap(), sent: time("sent"), received: time("received"), told: text("told") }
}

/// A line for each answer; what says nothing with authority (of the resolver: at all) tells nothing.
const WITNESS: &str = r#"
import json, sys, threading, time, dns.flags, dns.message, dns.query, dns.rcode, dns.rdatatype
port, names, over, lock = int(sys.argv[1]), [], threading.Event(), threading.Lock()

def told(server, selector):
    question = dns.message.make_query(selector + "._domainkey.example.com", "TXT", use_edns=0, payload=1232)
    try:
        reply, _ = dns.query.udp_with_fallback(question, server, port=port, timeout=1)
    except Exception:
        return None
    if reply.rcode() not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN) or server != "127.0.0.1" and not reply.flags & dns.flags.AA:
        return None
    return "|".join(b"".join(data.strings).decode() for rrset in reply.answer if rrset.rdtype == dns.rdatatype.TXT for data in rrset)

def watch(server):
    while not over.is_set():
        for selector in list(names):
            sent = time.time()
            answer = told(server, selector)
            line = json.dumps({"server": server, "selector": selector, "sent": sent, "received": time.time(), "told": answer})
            with lock:
                print(line, flush=True)
        over.wait(0.1)

threads = [threading.Thread(target=watch, args=(server,)) for server in sys.argv[2:]]
for thread in threads:
    thread.start()
for line in sys.stdin:
    names.append(line.strip())
over.set()
for thread in threads:
    thread.join()
"#;

/// By dkimpy: a line for each message with a record at a name, `pass` or what is wrong.
const VERIFY: &str = r#"
import base64, json, sys, dkim
for line in sys.stdin:
    case = json.loads(line)
    record = lambda name, timeout=5: case["record"].encode() or None if name.decode() == case["name"] else None
    try:
        print("pass" if dkim.DKIM(base64.b64decode(case["message"])).verify(dnsfunc=record) else "fail")
    except (dkim.DKIMException, ValueError) as error:
        print("fail", str(error).replace("\n", " "))
"#;

/// A client that submits all the time, whether the relay is there or not.
struct Load {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<BTreeSet<String>>>,
}

impl Load {
    fn begin(address: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let (to, until) = (address.to_owned(), over.clone());
        let thread = std::thread::spawn(move || {
            let mut accepted = BTreeSet::new();
            for number in 0.. {
                if until.load(Ordering::Relaxed) {
                    break;
                }
                let subject = format!("letter-{number}");
                if submit(&to, "you@example.net", &subject).is_some_and(|reply| reply.starts_with("250")) {
                    accepted.insert(subject);
                }
                std::thread::sleep(Duration::from_millis(150));
            }
            accepted
        });
        Self { over, thread: Some(thread) }
    }

    /// The subjects that were answered with 250.
    fn end(&mut self) -> BTreeSet<String> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

/// The reply to the message; `None` where the relay was not there to give one.
fn submit(address: &str, recipient: &str, subject: &str) -> Option<String> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_mins(1))).ok()?;
    let mut stream = BufReader::new(stream);
    let mut reply = String::new();
    let message = format!("From: App <app@example.com>\r\nTo: {recipient}\r\nSubject: {subject}\r\n\r\nHello.\r\n.");
    for line in ["", "HELO client.example.com", "MAIL FROM:<app@example.com>", &format!("RCPT TO:<{recipient}>"), "DATA", &message] {
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

fn configuration(listener: u16, mx_port: u16, dns_port: u16, update_server: &str, secret: &str) -> String {
    let secret = if secret.is_empty() { "bm8gc2VjcmV0IGF0IGFsbCwgbm8gc2VjcmV0IGF0IGFsbCE=" } else { secret };
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [log]
        format = "json"
        [listeners.plain]
        address = "127.0.0.1:{listener}"
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
        soak_min = "4s"
        unreachable_max = "4s"
        retire_min = "20s"
        removal_after = "3s"
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
