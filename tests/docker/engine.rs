//! The Docker engine, by its command line; what a test makes in it, and that nothing of it stays.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a test makes in the engine; removed when this is dropped.
pub struct Engine {
    /// Value of the label: the id of this process.
    run: String,
    /// The static program.
    pub program: PathBuf,
    next: AtomicU32,
}

/// A label that everything made here has.
const LABEL: &str = "org.postseal.test";

impl Engine {
    /// `None` where there is no engine, or no program: then it says so. Fails then with `CI=true`.
    pub fn begin() -> Option<Self> {
        let program = std::env::var_os("POSTSEAL_STATIC").map(PathBuf::from).filter(|path| path.is_file());
        let (engine, lacks_root) = (says(&["version", "--format", "{{.Server.Version}}"]), !rustix::process::geteuid().is_root());
        let missing: Vec<&str> = [
            (engine.is_none(), "a Docker engine (Debian: docker.io)"),
            (program.is_none(), "the static program; tests/run builds it and names it in POSTSEAL_STATIC"),
            (lacks_root, "the user root, who gives key files to the image's user"),
        ]
        .into_iter()
        .filter_map(|(is_missing, what)| is_missing.then_some(what))
        .collect();
        for what in &missing {
            println!("skipped: there is not {what}");
        }
        assert!(missing.is_empty() || std::env::var("CI").as_deref() != Ok("true"), "in CI nothing may be missing: {missing:?}");
        let program = program.filter(|_| missing.is_empty())?;
        sweep_after_the_dead();
        Some(Self { run: std::process::id().to_string(), program, next: AtomicU32::new(0) })
    }

    /// A name that nobody else has.
    pub fn name(&self, what: &str) -> String {
        format!("postseal-test-{}-{what}{}", self.run, self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// `LABEL=RUN`.
    pub fn label(&self) -> String {
        format!("{LABEL}={}", self.run)
    }

    /// The image by the classic builder, with the stage that takes a program as it is.
    pub fn image(&self) -> String {
        let tag = self.name("image");
        let built = self.build("docker", "0", &tag);
        assert!(built.status.success(), "{}", text(&built));
        tag
    }

    /// Builds by this command line and builder (`DOCKER_BUILDKIT`), in a folder that has what the published path would have. Without a cache:
    /// the classic builder loses a cached step's image when another test removes the last image that was made of it.
    pub fn build(&self, docker: &str, buildkit: &str, tag: &str) -> Output {
        let context = tempfile::tempdir().unwrap();
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
        std::fs::create_dir_all(context.path().join("docker/state")).unwrap();
        for file in ["docker/Dockerfile", "docker/state/README"] {
            std::fs::copy(repository.join(file), context.path().join(file)).unwrap();
        }
        std::fs::copy(&self.program, context.path().join("postseal")).unwrap();
        Command::new(docker)
            .args(["build", "--no-cache", "--target", "local", "--build-arg", "BINARY=postseal", "--label", &self.label()])
            .args(["--tag", tag, "--file", "docker/Dockerfile", "."])
            .current_dir(context.path())
            .env("DOCKER_BUILDKIT", buildkit)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// An image of this machine's Python.
    pub fn python(&self) -> String {
        let root = tempfile::tempdir().unwrap();
        let script = r#"
            set -eu
            python=$(readlink -f "$(PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin command -v python3)")
            library=$("$python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
            modules=$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("DESTSHARED") or "")')
            mkdir -p usr/bin ".$library" tmp
            cp "$python" usr/bin/python3
            (cd "$library" && tar -c --exclude=__pycache__ --exclude=test --exclude=idlelib --exclude=lib2to3 --exclude=ensurepip --exclude=config-* .) | tar -x -C ".$library"
            ldd "$python" "$modules"/*.so 2> /dev/null | grep -o '/[^ :]*\.so[^ :]*' | grep -v "^$modules" | sort -u | while read -r file; do
                mkdir -p ".$(dirname "$file")" && cp -L "$file" ".$file"
            done
        "#;
        let made = Command::new("sh").args(["-c", script]).current_dir(root.path()).output().unwrap();
        assert!(made.status.success(), "{}", text(&made));
        let tag = self.name("python");
        let script = format!("tar -c . | docker import --change 'ENV PATH=/usr/bin' --change 'LABEL {}' - {tag}", self.label());
        let made = Command::new("sh").args(["-c", &script]).current_dir(root.path()).output().unwrap();
        assert!(made.status.success(), "{}", text(&made));
        tag
    }

    /// A network of its own, which reaches nothing else.
    pub fn network(&self) -> String {
        let name = self.name("net");
        docker(&["network", "create", "--internal", "--label", &self.label(), &name]);
        name
    }

    /// An empty volume.
    pub fn volume(&self) -> String {
        let name = self.name("volume");
        docker(&["volume", "create", "--label", &self.label(), &name]);
        name
    }

    /// Starts a container in the background.
    pub fn start(&self, image: &str, options: &[&str], command: &[&str]) -> Container {
        let name = self.name("container");
        docker(&[&["run", "--detach", "--name", &name, "--label", &self.label()], options, &[image], command].concat());
        Container { name }
    }

    /// Runs a container to its end: its exit code, and everything it said.
    pub fn run(&self, image: &str, options: &[&str], command: &[&str]) -> (Option<i32>, String) {
        let ran = Command::new("docker")
            .args([&["run", "--rm", "--label", &self.label()], options, &[image], command].concat())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (ran.status.code(), text(&ran))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        sweep(&self.label());
    }
}

/// A container in the background.
pub struct Container {
    pub name: String,
}

impl Container {
    /// What the engine knows of it.
    pub fn inspect(&self) -> Value {
        serde_json::from_str::<Value>(&docker(&["inspect", &self.name])).unwrap()[0].clone()
    }

    /// What it said so far.
    pub fn log(&self) -> String {
        docker(&["logs", &self.name])
    }

    /// Every line of its log as the event it is; anything else fails the test.
    pub fn events(&self) -> Vec<Value> {
        self.log().lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect()
    }

    /// Waits until its log tells `event`.
    pub fn wait_for(&self, event: &str) -> Value {
        let found = || self.events().into_iter().find(|line| line["event"] == event);
        wait(found, || format!("{event} in {}", self.log()))
    }

    /// Waits for what HEALTHCHECK found: `healthy` or `unhealthy`.
    pub fn wait_for_health(&self, health: &str) {
        let status = || self.inspect()["State"]["Health"]["Status"].as_str().map(str::to_owned);
        wait(|| status().filter(|status| status == health), || format!("{health}: {:#} {}", self.inspect()["State"]["Health"], self.log()));
    }

    /// Runs a program in it.
    pub fn exec(&self, command: &[&str]) -> (Option<i32>, String) {
        let ran = Command::new("docker").args([&["exec", &self.name], command].concat()).stdin(Stdio::null()).output().unwrap();
        (ran.status.code(), text(&ran))
    }

    /// SIGTERM, and SIGKILL after a minute: its exit code, and how long it took.
    pub fn stop(&self) -> (i64, Duration) {
        let began = Instant::now();
        docker(&["stop", "--time", "60", &self.name]);
        (self.inspect()["State"]["ExitCode"].as_i64().unwrap(), began.elapsed())
    }

    /// Waits for its end: its exit code.
    pub fn ended(&self) -> i32 {
        docker(&["wait", &self.name]).trim().parse().unwrap()
    }
}

/// Runs `docker` and gives what it printed; fails where it does.
pub fn docker(arguments: &[&str]) -> String {
    let ran = Command::new("docker").args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(ran.status.success(), "docker {arguments:?}: {}", text(&ran));
    // `docker logs` keeps the two streams of a container apart.
    text(&ran)
}

fn says(arguments: &[&str]) -> Option<String> {
    let ran = Command::new("docker").args(arguments).stdin(Stdio::null()).output().ok().filter(|ran| ran.status.success())?;
    Some(String::from_utf8_lossy(&ran.stdout).trim().to_owned()).filter(|said| !said.is_empty())
}

/// Both streams.
pub fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|octets| String::from_utf8_lossy(octets).into_owned()).concat()
}

/// Waits until `done` gives something; fails after two minutes.
pub fn wait<T>(mut done: impl FnMut() -> Option<T>, told: impl Fn() -> String) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = done() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_mins(2), "waited in vain for {}", told());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// A key of `example.com` that only the image's user may read, and its record: `SELECTOR.pem`, `0440`, in a folder of its own.
pub fn key() -> (TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(env!("CARGO_BIN_EXE_postseal")).args(["key", "create", "example.com", "--keys"]).arg(folder.path().join("made")).output().unwrap();
    assert!(made.status.success(), "{}", text(&made));
    let record = text(&made).lines().find(|line| line.contains("_domainkey")).unwrap().to_owned();
    let selector = record.split('.').next().unwrap().to_owned();
    let file = folder.path().join(format!("{selector}.pem"));
    std::fs::rename(folder.path().join(format!("made/example.com/{selector}.rsa.pem")), &file).unwrap();
    std::os::unix::fs::chown(&file, Some(0), Some(USER)).unwrap();
    set_mode(&file, 0o440);
    set_mode(folder.path(), 0o755);
    (folder, selector, record)
}

pub fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// The image's user and group.
pub const USER: u32 = 65532;

fn sweep(label: &str) {
    let filter = format!("label={label}");
    let list = |what: &[&str]| says(&[what, &["--quiet", "--filter", &filter]].concat()).unwrap_or_default();
    for (what, remove) in [
        (&["ps", "--all"][..], &["rm", "--force", "--volumes"][..]),
        (&["network", "ls"], &["network", "rm"]),
        (&["volume", "ls"], &["volume", "rm", "--force"]),
        (&["images"], &["rmi", "--force"]),
    ] {
        let found = list(what);
        let mut ids: Vec<&str> = found.lines().collect();
        ids.dedup();
        if !ids.is_empty() {
            let _ = Command::new("docker").args([remove, &ids].concat()).stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
    }
}

/// A test that was killed leaves things behind.
fn sweep_after_the_dead() {
    let format = format!("{{{{.Label \"{LABEL}\"}}}}");
    let filter = format!("label={LABEL}");
    let lists = [&["ps", "--all"][..], &["network", "ls"], &["volume", "ls"]];
    let runs = lists.iter().filter_map(|list| says(&[list, &["--filter", &filter, "--format", &format][..]].concat()));
    let mut runs: Vec<String> = runs.flat_map(|runs| runs.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    runs.sort();
    runs.dedup();
    runs.iter().filter(|run| !Path::new("/proc").join(run).exists()).for_each(|run| sweep(&format!("{LABEL}={run}")));
}
