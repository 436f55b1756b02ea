//! The relay in a container that may do nothing: process 1, read-only, without capabilities, described by its environment.

use super::engine::{Container, Engine, USER, key, set_mode, wait};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

/// What takes everything from a container that can be taken.
const CONFINED: &[&str] =
    &["--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--health-interval", "1s", "--health-start-period", "0s"];

/// The folder of `application.py` and `receiver.py`.
const DEMO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docker/demo:/demo:ro");

/// A receiving server in a network of its own.
struct Receiver {
    network: String,
    python: String,
    container: Container,
}

impl Receiver {
    fn start(engine: &Engine) -> Self {
        let (network, python) = (engine.network(), engine.python());
        let options = ["--network", &network, "--network-alias", "receiver", "--volume", DEMO];
        let container = engine.start(&python, &options, &["python3", "-u", "/demo/receiver.py"]);
        wait(|| container.log().contains("listens").then_some(()), || container.log());
        Self { network, python, container }
    }

    /// The first message that arrived.
    fn arrived(&self) -> Arrived {
        wait(|| Arrived::read(&self.container.log()), || self.container.log())
    }
}

/// A mail as `receiver.py` printed it.
pub struct Arrived {
    pub reverse_path: String,
    pub message: String,
}

impl Arrived {
    /// The first one in a log.
    pub fn read(log: &str) -> Option<Self> {
        let (_, mail) = log.split_once("---- a mail from ")?;
        let (reverse_path, rest) = mail.split_once('\n')?;
        let (_, rest) = rest.split_once('\n')?; // to
        let (message, _) = rest.split_once("---- end")?;
        let reverse_path = reverse_path.split(['<', '>']).nth(1)?.to_owned();
        Some(Self { reverse_path, message: message.lines().flat_map(|line| [line, "\r\n"]).collect() })
    }

    /// Whether dkimpy finds the signature good, with the record as `postseal key create` printed it.
    #[track_caller]
    pub fn verify(&self, record: &str) {
        use std::io::Write as _;
        let name = record.split_whitespace().next().unwrap();
        let value: String = record.split('"').skip(1).step_by(2).collect();
        let tools = std::env::var_os("POSTSEAL_TOOLS").map(Into::into).or_else(|| Some(Path::new(&std::env::var_os("HOME")?).join(".cache/postseal-tools")));
        let python = std::env::var_os("POSTSEAL_PYTHON").map_or_else(|| tools.unwrap().join("python/bin/python3"), Into::into);
        let script = "import dkim, sys; n, v = sys.argv[1].encode(), sys.argv[2].encode(); \
                      print(dkim.verify(sys.stdin.buffer.read(), dnsfunc=lambda name, timeout=5: v if name == n else None))";
        let mut verifying = Command::new(python).args(["-c", script, name, &value]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        verifying.stdin.take().unwrap().write_all(self.message.as_bytes()).unwrap();
        let output = verifying.wait_with_output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "True", "{}", self.message);
    }
}

#[test]
fn five_variables_and_a_key_file_are_a_relay() {
    let Some(engine) = Engine::begin() else { return };
    let (image, receiver, volume, (folder, selector, record)) = (engine.image(), Receiver::start(&engine), engine.volume(), key());
    let (key, state) = (format!("{}:/run/secrets:ro", folder.path().display()), format!("{volume}:/var/lib/postseal"));
    let key_file = format!("POSTSEAL_SIDECAR__KEY_FILE=/run/secrets/{selector}.pem");
    let options = [
        CONFINED,
        &["--network", &receiver.network, "--volume", &key, "--volume", &state],
        &["--env", "POSTSEAL_SIDECAR__DOMAIN=example.com", "--env", "POSTSEAL_SIDECAR__HOSTNAME=mx1.example.com", "--env", &key_file],
        &["--env", "POSTSEAL_SIDECAR__DIRECTORY=/var/lib/postseal", "--env", "POSTSEAL_SIDECAR__SMART_HOST=receiver:2500"],
        // A laboratory without TLS; and what Kubernetes makes of a service called postseal.
        &["--env", "POSTSEAL_SMART_HOSTS__SIDECAR__TLS=none", "--env", "POSTSEAL_PORT=tcp://10.96.0.7:25"],
    ];
    let relay = engine.start(&image, &options.concat(), &[]);
    relay.wait_for("relay.started");
    relay.wait_for_health("healthy");
    confined(&relay);

    let beside = format!("container:{}", relay.name);
    let (code, said) = engine.run(&receiver.python, &["--network", &beside, "--volume", DEMO], &["python3", "/demo/application.py"]);
    assert_eq!((code, said.as_str()), (Some(0), "sent\n"));
    let arrived = receiver.arrived();
    assert!(arrived.reverse_path.ends_with("@b.example.com"), "{}", arrived.reverse_path);
    assert!(arrived.message.contains("From: Shop <orders@example.com>\r\n"), "{}", arrived.message);
    arrived.verify(&record);

    let accepted = relay.wait_for("mail.accepted");
    // Told when it is written down, which is a moment after the receiver has it.
    assert_eq!(relay.wait_for("attempt.delivered")["mail_id"], accepted["mail_id"]);

    let (code, took) = relay.stop();
    assert_eq!(code, 0, "{}", relay.log());
    assert!(took < Duration::from_secs(27), "{took:?}");
    assert_eq!(relay.events().last().unwrap()["event"], "relay.stopped");
    println!("it ended {took:?} after SIGTERM");
}

/// Nothing is kept in the container, which has no disk: what the application hears is what the upstream said.
#[test]
fn without_a_disk_an_upstream_answers() {
    let Some(engine) = Engine::begin() else { return };
    let (image, receiver, (folder, selector, record)) = (engine.image(), Receiver::start(&engine), key());
    let (key, key_file) = (format!("{}:/run/secrets:ro", folder.path().display()), format!("POSTSEAL_SIDECAR__KEY_FILE=/run/secrets/{selector}.pem"));
    let options = [
        CONFINED,
        &["--network", &receiver.network, "--volume", &key, "--env", &key_file],
        &["--env", "POSTSEAL_SIDECAR__DOMAIN=example.com", "--env", "POSTSEAL_SIDECAR__HOSTNAME=shop.example.com"],
        &["--env", "POSTSEAL_SIDECAR__UPSTREAM=receiver:2500", "--env", "POSTSEAL_SMART_HOSTS__SIDECAR__TLS=none"],
    ];
    let relay = engine.start(&image, &options.concat(), &[]);
    relay.wait_for_health("healthy");
    let send = || engine.run(&receiver.python, &["--network", &format!("container:{}", relay.name), "--volume", DEMO], &["python3", "/demo/application.py"]);
    assert_eq!(send(), (Some(0), "sent\n".to_owned()));
    let arrived = receiver.arrived();
    assert!(!arrived.reverse_path.ends_with("@b.example.com"), "{}: bounce addresses are the upstream's", arrived.reverse_path);
    arrived.verify(&record);
    assert_eq!(relay.stop().0, 0);
}

/// As the kernel sees it: process 1 of its namespace, alone, and without any privilege.
fn confined(relay: &Container) {
    let pid = relay.inspect()["State"]["Pid"].to_string();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap().split_whitespace().collect::<Vec<_>>();
    assert_eq!(field("NSpid").last(), Some(&"1"));
    assert_eq!(field("Uid"), [USER.to_string().as_str(); 4]);
    assert_eq!(field("Gid"), [USER.to_string().as_str(); 4]);
    for capabilities in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(capabilities), ["0000000000000000"], "{capabilities}");
    }
    assert_eq!(field("NoNewPrivs"), ["1"]);
    // It starts no programs, so nothing is left to it as process 1 to reap.
    assert_eq!(std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap(), "");
}

/// A client that hangs in a transaction does not keep it.
#[test]
fn its_end_is_bounded_and_orderly() {
    let Some(engine) = Engine::begin() else { return };
    let (image, python, volume) = (engine.image(), engine.python(), engine.volume());
    let relay = start_keyless(&engine, &image, &volume, &["--env", "POSTSEAL_SERVER__DRAIN=3s"]);
    relay.wait_for("relay.started");
    let hanging = "import smtplib, time\ns = smtplib.SMTP('127.0.0.1', 2525)\ns.ehlo()\nprint('connected', flush=True)\nwhile True: time.sleep(1); s.noop()";
    let client = engine.start(&python, &["--network", &format!("container:{}", relay.name)], &["python3", "-u", "-c", hanging]);
    wait(|| client.log().contains("connected").then_some(()), || client.log());
    let (code, took) = relay.stop();
    assert_eq!(code, 0, "{}", relay.log());
    assert!(took < Duration::from_secs(30), "{took:?}");
    let events: Vec<Value> = relay.events().iter().map(|line| line["event"].clone()).collect();
    assert_eq!(events.iter().rev().find(|event| **event == "drain.started" || **event == "relay.stopped").unwrap(), "relay.stopped");
}

#[test]
fn health_tells_whether_mail_would_be_taken() {
    let Some(engine) = Engine::begin() else { return };
    let (image, volume) = (engine.image(), engine.volume());
    let relay = start_keyless(&engine, &image, &volume, &["--health-retries", "2"]);
    relay.wait_for("relay.started");
    relay.wait_for_health("unhealthy"); // it has no key
    let (code, said) = relay.exec(&["/postseal", "health"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("key"), "{said}");
    // Without a shell, by the program itself; the running relay takes the key up.
    let (code, said) = relay.exec(&["/postseal", "key", "create", "example.com"]);
    assert_eq!(code, Some(0), "{said}");
    relay.wait_for_health("healthy");
    assert_eq!(relay.exec(&["/postseal", "health"]).0, Some(0));
    // What is on the volume outlives the container.
    assert_eq!(relay.stop().0, 0);
    let next = start_keyless(&engine, &image, &volume, &[]);
    next.wait_for_health("healthy");
}

/// A relay that is described by its environment, with its keys, of which it has none yet, on the volume.
fn start_keyless(engine: &Engine, image: &str, volume: &str, more: &[&str]) -> Container {
    let state = format!("{volume}:/var/lib/postseal");
    let described = [
        &["--network", "none", "--volume", &state][..],
        &["--env", "POSTSEAL_SIDECAR__DOMAIN=example.com", "--env", "POSTSEAL_SIDECAR__HOSTNAME=mx1.example.com"],
        &["--env", "POSTSEAL_SIDECAR__DIRECTORY=/var/lib/postseal"],
    ];
    engine.start(image, &[CONFINED, &described.concat(), more].concat(), &[])
}

#[test]
fn a_key_that_everybody_may_read_is_refused_with_the_remedy() {
    let Some(engine) = Engine::begin() else { return };
    let (image, volume, (folder, selector, _)) = (engine.image(), engine.volume(), key());
    let file = folder.path().join(format!("{selector}.pem"));
    let (secrets, variable) = (format!("{}:/run/secrets:ro", folder.path().display()), format!("POSTSEAL_SIDECAR__KEY_FILE=/run/secrets/{selector}.pem"));
    let end = |mode: u32| {
        set_mode(&file, mode);
        let relay = start_keyless(&engine, &image, &volume, &["--volume", &secrets, "--env", &variable]);
        (relay.ended(), relay.log())
    };
    let (code, log) = end(0o444);
    assert_eq!(code, 1, "{log}");
    let expected = format!(
        "/run/secrets/{selector}.pem: its mode 0444 lets every user of this machine read it; do `chmod 0600` (in Kubernetes: defaultMode: 0440 and an fsGroup)"
    );
    assert!(log.contains(&expected), "{log}");
    let (code, log) = end(0o400); // of root
    assert_eq!(code, 1, "{log}");
    assert!(log.contains(&format!("/run/secrets/{selector}.pem: it cannot be read: Permission denied")), "{log}");
}

#[test]
fn a_variable_that_is_missing_is_named() {
    let Some(engine) = Engine::begin() else { return };
    let image = engine.image();
    let (code, said) = engine.run(&image, &["--read-only", "--network", "none", "--env", "POSTSEAL_SIDECAR__DOMAIN=example.com"], &[]);
    assert_eq!(code, Some(1), "{said}");
    for variable in ["$POSTSEAL_SIDECAR__HOSTNAME: ", "$POSTSEAL_SIDECAR__DIRECTORY: "] {
        assert!(said.contains(variable), "{said}");
    }
    let (code, said) = engine.run(&image, &["--read-only", "--network", "none"], &["config", "check"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("POSTSEAL_SIDECAR__DOMAIN"), "{said}");
}

/// The container's own file system goes with it: without a volume nothing is queued.
#[test]
fn without_a_volume_it_does_not_start() {
    let Some(engine) = Engine::begin() else { return };
    let image = engine.image();
    let variables = ["DOMAIN=example.com", "HOSTNAME=mx1.example.com", "DIRECTORY=/var/lib/postseal"].map(|variable| format!("POSTSEAL_SIDECAR__{variable}"));
    let options: Vec<&str> = ["--read-only", "--network", "none"].into_iter().chain(variables.iter().flat_map(|variable| ["--env", variable])).collect();
    let (code, said) = engine.run(&image, &options, &[]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("/var/lib/postseal"), "{said}");
}
