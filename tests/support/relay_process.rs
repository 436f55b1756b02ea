//! The real program in a folder of its own, started, asked to stop and killed.

#![allow(dead_code, reason = "each test binary uses its part")]

use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A configuration, keys and spool in a temporary folder, and maybe a relay that runs with them.
pub struct RelayProcess {
    folder: TempDir,
    records: String,
    running: Option<Running>,
}

struct Running {
    child: Child,
    log: Arc<Mutex<Vec<Value>>>,
    reader: JoinHandle<()>,
}

impl RelayProcess {
    /// A folder with this configuration and an RSA key for `example.com`; nothing runs yet.
    /// A spool on a real disk: the default temporary folder may be a tmpfs, which a spool refuses.
    pub fn new(config: &str) -> Self {
        let mut relay = Self::empty();
        std::fs::write(relay.config(), config).unwrap();
        relay.create_key("example.com");
        relay
    }

    /// An empty folder, for a configuration and what belongs to it.
    pub fn empty() -> Self {
        let base = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let folder = tempfile::Builder::new().prefix("relay-").tempdir_in(base).unwrap();
        Self { folder, records: String::new(), running: None }
    }

    /// Makes the key pair(s) of one more domain.
    pub fn create_key(&mut self, domain: &str) {
        let made = self.postseal(&["key", "create", domain, "--config", &self.config().display().to_string()]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        self.records.push_str(&String::from_utf8(made.stdout).unwrap());
    }

    /// What `postseal key create` said of all domains so far: DNS records in the form of a zone file.
    pub fn records(&self) -> &str {
        &self.records
    }

    /// Its configuration file.
    pub fn config(&self) -> PathBuf {
        self.path().join("postseal.toml")
    }

    /// Its folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of the program to its end.
    pub fn postseal(&self, arguments: &[&str]) -> std::process::Output {
        self.program().args(arguments).current_dir(self.path()).stdin(Stdio::null()).output().unwrap()
    }

    /// Relays of several tests run at a time, so their admins take free ports; where a test says nothing of `[admin]`.
    fn program(&self) -> Command {
        let mut program = Command::new(env!("CARGO_BIN_EXE_postseal"));
        if std::fs::read_to_string(self.config()).is_ok_and(|config| !config.contains("[admin]")) {
            program.env("POSTSEAL_ADMIN__ADDRESS", "127.0.0.1:0");
        }
        program
    }

    /// Starts `serve` and waits until it is ready.
    pub fn start(&mut self) {
        self.start_by(&mut self.serve());
    }

    /// The command that starts it.
    pub fn serve(&self) -> Command {
        let mut command = self.program();
        command.args(["serve", "--config"]).arg(self.config()).stdin(Stdio::null());
        command
    }

    /// Leaves the folder where it is when all is over, for a person to look at.
    pub fn keep(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Starts `serve` by a command that becomes it, and waits until it is ready.
    pub fn start_by(&mut self, command: &mut Command) {
        self.begin_by(command);
        self.wait_for("relay.started");
    }

    /// As [`Self::start_by`], without waiting.
    pub fn begin_by(&mut self, command: &mut Command) {
        assert!(self.running.is_none(), "it runs already");
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let output = child.stdout.take().unwrap();
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = log.clone();
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|_| Value::String(line.clone()));
                lines.lock().unwrap().push(event);
            }
        });
        self.running = Some(Running { child, log, reader });
    }

    /// The address that a listener got.
    pub fn address(&self, listener: &str) -> String {
        let opened =
            |event: &Value| (event["event"] == "listener.opened" && event["listener"] == listener).then(|| event["address"].as_str().map(str::to_owned));
        self.log().iter().find_map(opened).flatten().unwrap_or_else(|| panic!("no listener {listener}: {:?}", self.log()))
    }

    /// The address that the admin got.
    pub fn admin(&self) -> String {
        self.wait_for("admin.opened")["address"].as_str().unwrap().to_owned()
    }

    /// Every event so far.
    pub fn log(&self) -> Vec<Value> {
        self.running.as_ref().map(|running| running.log.lock().unwrap().clone()).unwrap_or_default()
    }

    /// Waits until the log tells `event`; fails after a minute.
    pub fn wait_for(&self, event: &str) -> Value {
        self.wait_until(event, |_| true)
    }

    /// Waits until the log tells such an `event`.
    pub fn wait_until(&self, event: &str, such: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            if let Some(found) = self.log().into_iter().find(|line| line["event"] == event && such(line)) {
                return found;
            }
            assert!(started.elapsed() < Duration::from_mins(1), "no {event} in {:#?}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().unwrap().child.id()
    }

    /// Sends a signal by name: `HUP`, `TERM`.
    pub fn signal(&self, name: &str) {
        let pid = self.running.as_ref().unwrap().child.id();
        let done = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Asks it to stop and gives its exit code and log; kills it after a minute.
    pub fn stop(&mut self) -> (Option<i32>, Vec<Value>) {
        self.signal("TERM");
        let mut running = self.running.take().unwrap();
        let started = Instant::now();
        let status = loop {
            if let Some(status) = running.child.try_wait().unwrap() {
                break status.code();
            }
            if started.elapsed() > Duration::from_mins(1) {
                let _ = running.child.kill();
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let _ = running.child.wait();
        // The log's last lines: its end comes with that of the process, unless somebody else holds it too.
        while !running.reader.is_finished() && started.elapsed() < Duration::from_mins(1) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let log = running.log.lock().unwrap().clone();
        (status, log)
    }

    /// Whether it has ended by itself; then it is no more.
    pub fn is_over(&mut self) -> bool {
        let is_over = self.running.as_mut().is_none_or(|running| running.child.try_wait().unwrap().is_some());
        if is_over {
            self.running = None;
        }
        is_over
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }
}

impl Drop for RelayProcess {
    fn drop(&mut self) {
        if self.running.is_some() {
            self.kill();
        }
    }
}
