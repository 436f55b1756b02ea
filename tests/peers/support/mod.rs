//! Peers as processes of their own: found, started on free loopback ports under temporary folders, stopped with all their children.

pub mod bind;
pub mod bind_pair;
pub mod browser;
pub mod certificates;
#[path = "../../support/dns.rs"]
pub mod dns;
pub mod dovecot;
pub mod lab;
pub mod letters;
#[path = "../../support/odd_signatures.rs"]
pub mod odd_signatures;
#[path = "../../support/ports.rs"]
pub mod ports;
pub mod postfix;
#[path = "../../support/receiver.rs"]
pub mod receiver;
#[path = "../../support/relay_process.rs"]
pub mod relay_process;
#[path = "../../support/scrape.rs"]
pub mod scrape;
#[path = "../../support/smtp_client.rs"]
pub mod smtp_client;
pub mod smtp_sink;
#[path = "../../support/spf_zone.rs"]
pub mod spf_zone;
pub mod verifiers;

pub use ports::free_port;
use rustix::process::{Pid, Signal, geteuid, kill_process_group};
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A program that a test needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Bind,
    Dovecot,
    Postfix,
    Prometheus,
    SmtpSink,
    Swaks,
    Python,
    Curl,
    Dkimpy,
    JsonSchema,
    Schemathesis,
    StandardWebhooks,
    MailDkim,
    OpenDkim,
    OpenDkimTools,
    RspamAdm,
    OpenSsl,
    Rspamd,
    ScramPlugin,
    OpenSpf,
    Chromium,
    Html5lib,
    Systemd,
    Shells,
    Mandoc,
    Groff,
    OtlpDefinition,
    Nmap,
    TestSsl,
    Root,
    Mounts,
}

impl Peer {
    /// Its name, and what brings it.
    fn described(self) -> (&'static str, &'static str) {
        match self {
            Self::Bind => ("BIND", "Debian: bind9"),
            Self::Dovecot => ("Dovecot with LMTP", "Debian: dovecot-lmtpd"),
            Self::Postfix => ("Postfix", "Debian: postfix"),
            Self::Prometheus => ("Prometheus with promtool", "Debian: prometheus"),
            Self::SmtpSink => ("smtp-sink", "Debian: postfix"),
            Self::Swaks => ("swaks with TLS", "Debian: swaks, libnet-ssleay-perl"),
            Self::Python => ("Python", "Debian: python3"),
            Self::Curl => ("curl", "Debian: curl"),
            Self::Dkimpy => ("dkimpy", "PyPI: dkimpy, authres, dnspython, pynacl for the Python that POSTSEAL_PYTHON names; tests/run makes one"),
            Self::JsonSchema => ("jsonschema", "PyPI: jsonschema for the Python that POSTSEAL_PYTHON names; tests/run makes one"),
            Self::Schemathesis => ("schemathesis", "PyPI: schemathesis for the Python that POSTSEAL_PYTHON names; tests/run makes one"),
            Self::StandardWebhooks => ("standardwebhooks", "PyPI: standardwebhooks for the Python that POSTSEAL_PYTHON names; tests/run makes one"),
            Self::MailDkim => ("Mail::DKIM", "Debian: libmail-dkim-perl"),
            Self::OpenDkim => ("OpenDKIM", "Debian: opendkim"),
            Self::OpenDkimTools => ("opendkim-genkey", "Debian: opendkim-tools"),
            Self::RspamAdm => ("rspamadm", "Debian: rspamd"),
            Self::OpenSsl => ("OpenSSL", "Debian: openssl"),
            Self::Rspamd => ("rspamd", "Debian: rspamd"),
            Self::ScramPlugin => ("SCRAM for Cyrus SASL", "Debian: libsasl2-modules"),
            Self::OpenSpf => (
                "the test suite of RFC 7208",
                "PyPI: the source package of pyspf, and pyyaml for the Python that POSTSEAL_PYTHON names; tests/run fetches them",
            ),
            Self::Chromium => ("Chromium with its driver", "Debian: chromium, chromium-driver"),
            Self::Html5lib => ("html5lib", "PyPI: html5lib for the Python that POSTSEAL_PYTHON names; tests/run makes one"),
            Self::Shells => ("bash, zsh and fish", "Debian: bash, zsh, fish"),
            Self::Mandoc => ("mandoc", "Debian: mandoc"),
            Self::Groff => ("groff", "Debian: groff-base"),
            Self::OtlpDefinition => ("OTLP's definition", "PyPI: opentelemetry-proto for the Python that POSTSEAL_PYTHON names; tests/run makes one"),
            Self::Nmap => ("nmap with its scripts", "Debian: nmap"),
            Self::TestSsl => ("testssl.sh", "Debian: testssl.sh"),
            Self::Systemd => ("the tools of systemd", "Debian: systemd"),
            Self::Root => ("the user root, whom Postfix, Dovecot and mounts need", "run the tests as root"),
            Self::Mounts => ("mounts in a namespace of their own", "Debian: util-linux, and a container that may mount"),
        }
    }

    fn is_there(self) -> bool {
        match self {
            Self::Bind => ["named", "rndc", "named-checkzone"].iter().all(|name| program(name).is_some()),
            Self::Dovecot => program("dovecot").is_some() && Path::new("/usr/lib/dovecot/lmtp").is_file(),
            Self::Postfix => program("postconf").is_some() && program("smtp-sink").is_some(),
            Self::Prometheus => program("prometheus").is_some() && program("promtool").is_some(),
            Self::SmtpSink => program("smtp-sink").is_some(),
            Self::Swaks => program("swaks").is_some() && succeeds(Command::new("perl").args(["-MNet::SSLeay", "-e", "1"])),
            Self::Python => program("python3").is_some(),
            Self::Curl => program("curl").is_some(),
            Self::Dkimpy => succeeds(Command::new(python()).args(["-c", "import authres, dkim, dns, nacl"])),
            Self::JsonSchema => succeeds(Command::new(python()).args(["-c", "import jsonschema"])),
            Self::Schemathesis => succeeds(Command::new(python()).args(["-c", "import schemathesis"])),
            Self::StandardWebhooks => succeeds(Command::new(python()).args(["-c", "import standardwebhooks"])),
            Self::MailDkim => succeeds(Command::new("perl").args(["-MMail::DKIM::ARC::Verifier", "-MNet::DNS", "-e", "1"])),
            Self::OpenDkim => program("opendkim").is_some(),
            Self::OpenDkimTools => program("opendkim-genkey").is_some() && program("opendkim-testkey").is_some(),
            Self::RspamAdm => program("rspamadm").is_some(),
            Self::OpenSsl => program("openssl").is_some(),
            Self::Rspamd => program("rspamd").is_some() && program("curl").is_some(),
            Self::ScramPlugin => scram_plugin(),
            Self::OpenSpf => openspf().is_file() && succeeds(Command::new(python()).args(["-c", "import yaml"])),
            Self::Chromium => program("chromium").is_some() && program("chromedriver").is_some(),
            Self::Html5lib => succeeds(Command::new(python()).args(["-c", "import html5lib"])),
            Self::Systemd => ["systemd-analyze", "systemd-socket-activate", "systemd-sysusers", "systemd-tmpfiles"].iter().all(|name| program(name).is_some()),
            Self::Shells => ["bash", "zsh", "fish"].iter().all(|name| program(name).is_some()),
            Self::Mandoc => program("mandoc").is_some(),
            Self::Groff => program("groff").is_some(),
            Self::OtlpDefinition => succeeds(Command::new(python()).args(["-c", "import opentelemetry.proto.collector.trace.v1.trace_service_pb2"])),
            Self::Nmap => program("nmap").is_some(),
            Self::TestSsl => program("testssl").or_else(|| program("testssl.sh")).is_some(),
            Self::Root => geteuid().is_root(),
            Self::Mounts => succeeds(Command::new("unshare").args(["-m", "sh", "-c", "mount -t tmpfs none /mnt"])),
        }
    }
}

/// Whether one of `peers` is not on this machine: then the test says so and passes, except with `CI=true`, where nothing may be missing.
pub fn missing(peers: &[Peer]) -> bool {
    let missing: Vec<_> = peers.iter().filter(|peer| !peer.is_there()).map(|peer| peer.described()).collect();
    for (name, remedy) in &missing {
        println!("skipped: {name} is missing ({remedy})");
    }
    assert!(missing.is_empty() || std::env::var("CI").as_deref() != Ok("true"), "in CI no peer may be missing: {missing:?}");
    !missing.is_empty()
}

/// Where a program is; servers often lie outside an ordinary user's `PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/usr/local/sbin", "/sbin"]).map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

/// The Python that has dkimpy.
pub fn python() -> PathBuf {
    let made_by_tests_run = || Some(tools().join("python/bin/python3")).filter(|path| path.is_file());
    std::env::var_os("POSTSEAL_PYTHON").map(PathBuf::from).or_else(made_by_tests_run).unwrap_or_else(|| PathBuf::from("python3"))
}

/// The test suite of RFC 7208.
pub fn openspf() -> PathBuf {
    tools().join("openspf/rfc7208-tests.yml")
}

/// Where `tests/run` puts what it fetches.
fn tools() -> PathBuf {
    std::env::var_os("POSTSEAL_TOOLS").map_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache/postseal-tools"), PathBuf::from)
}

fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn scram_plugin() -> bool {
    let Ok(folders) = std::fs::read_dir("/usr/lib") else { return false };
    let plugins = folders.flatten().map(|entry| entry.path().join("sasl2")).chain([PathBuf::from("/usr/lib/sasl2")]);
    plugins.into_iter().any(|folder| folder.join("libscram.so").exists())
}

/// A folder for a peer, which may run as a user of its own: everybody may pass through it, and its path is short enough for sockets.
pub fn folder(prefix: &str) -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::Builder::new().prefix(&format!("postseal-{prefix}-")).tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// How long anything is waited for: a machine that is busy with other things is slow, not broken.
const PATIENCE: Duration = Duration::from_mins(1);

/// Waits until `done` gives something; fails after a minute.
pub fn wait_for<T>(what: &str, done: impl FnMut() -> Option<T>) -> T {
    wait_or_tell(done, || what.to_owned())
}

/// Waits until `done` gives something; fails after a minute with what `told` says then.
pub fn wait_or_tell<T>(mut done: impl FnMut() -> Option<T>, told: impl Fn() -> String) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "waited in vain for {}", told());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a client to its end with this on its standard input; gives its exit code and everything it said.
pub fn run(command: &mut Command, input: &[u8]) -> (i32, String) {
    use std::io::Write as _;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writing = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    writing.join().unwrap();
    let said = [stdout, stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat();
    (status.code().unwrap_or(-1), said)
}

/// A server in a process group of its own, all of which ends when this is dropped, or when the test's process dies of whatever.
pub struct Process {
    name: &'static str,
    child: Child,
    guard: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it; what it says goes to the file `log`.
    pub fn spawn(name: &'static str, program: &Path, arguments: &[&str], log: &Path) -> Self {
        let output = File::create(log).unwrap();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name}: {error}"));
        // The guard's standard input ends when this process does. A parent-death signal would not do: servers that change their user lose it.
        let script = "cat > /dev/null; kill -TERM -- -\"$0\"; sleep 1; kill -KILL -- -\"$0\"";
        let mut guard = Command::new("/bin/sh");
        guard.args(["-c", script, &child.id().to_string()]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
        Self { name, child, guard: guard.spawn().unwrap(), log: log.to_owned() }
    }

    /// Waits until it takes connections on this port of 127.0.0.1.
    pub fn wait_for_port(self, port: u16) -> Self {
        self.wait_for_address((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Waits until it takes connections there.
    pub fn wait_for_address(mut self, address: SocketAddr) -> Self {
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "{} does not listen ({ended:?}): {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// Waits until it said this.
    pub fn wait_for_word(mut self, word: &str) -> Self {
        let began = Instant::now();
        while !self.log().contains(word) {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && began.elapsed() < PATIENCE, "{} never said {word:?} ({ended:?}): {}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Signals it and its children.
    pub fn signal_group(&self, signal: Signal) {
        let _ = kill_process_group(Pid::from_child(&self.child), signal);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Before its input ends, and all of it: its `cat` would stay.
        let _ = kill_process_group(Pid::from_child(&self.guard), Signal::KILL);
        let _ = self.guard.wait();
        self.signal_group(Signal::TERM);
        self.signal_group(Signal::CONT);
        let asked = Instant::now();
        while asked.elapsed() < Duration::from_secs(2) && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.signal_group(Signal::KILL);
        let _ = self.child.wait();
    }
}

/// What a file keeps with LF, as it was on the wire.
pub fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut crlf = Vec::with_capacity(octets.len() + octets.len() / 32);
    for (at, octet) in octets.iter().enumerate() {
        if *octet == b'\n' && (at == 0 || octets[at - 1] != b'\r') {
            crlf.push(b'\r');
        }
        crlf.push(*octet);
    }
    crlf
}
