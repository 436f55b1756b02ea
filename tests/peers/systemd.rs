//! The files for systemd, read by systemd's own tools. No manager of systemd runs: what it does with a unit as a whole is not shown here.

use crate::support::relay_process::RelayProcess;
use crate::support::{Peer, folder, free_port, missing, program, run};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use tempfile::TempDir;

/// The figure that the README states.
const EXPOSURE_MAX: f64 = 1.1;
/// With the one capability that `capability.conf` gives.
const EXPOSURE_WITH_CAPABILITY_MAX: f64 = 1.5;

#[test]
fn systemd_reads_the_units_without_a_word() {
    if missing(&[Peer::Systemd]) {
        return;
    }
    let units = units();
    let (code, said) =
        run(tool("systemd-analyze").args(["verify", "--man=no"]).arg(units.path().join("postseal.service")).arg(units.path().join("postseal.socket")), b"");
    assert_eq!((code, said.as_str()), (0, ""));
    // It would have said something.
    let service = units.path().join("postseal.service");
    std::fs::write(&service, std::fs::read_to_string(&service).unwrap().replace("PrivateTmp=yes", "PrivatTmp=yes")).unwrap();
    let (_, said) = run(tool("systemd-analyze").args(["verify", "--man=no"]).arg(&service), b"");
    assert!(said.contains("PrivatTmp"), "{said}");
}

#[test]
fn the_sandbox_is_as_tight_as_the_readme_says() {
    if missing(&[Peer::Systemd]) {
        return;
    }
    let readme = std::fs::read_to_string(here("README.md")).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(readme.contains(&format!("`systemd-analyze security` gives it {EXPOSURE_MAX}")), "the README states another figure");
    let units = units();
    assert!(exposure(&units) <= EXPOSURE_MAX, "{}", exposure(&units));
    let drop_ins = units.path().join("postseal.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::copy(here("docker/systemd/capability.conf"), drop_ins.join("capability.conf")).unwrap();
    assert!(exposure(&units) <= EXPOSURE_WITH_CAPABILITY_MAX && exposure(&units) > EXPOSURE_MAX, "{}", exposure(&units));
}

#[test]
fn user_and_folders_are_made_and_are_nobody_elses() {
    if missing(&[Peer::Systemd, Peer::Root]) {
        return;
    }
    let root = folder("systemd");
    for kind in ["sysusers", "tmpfiles"] {
        let to = root.path().join(format!("etc/{kind}.d"));
        std::fs::create_dir_all(&to).unwrap();
        std::fs::copy(here(&format!("docker/systemd/{kind}.d/postseal.conf")), to.join("postseal.conf")).unwrap();
    }
    let (code, said) = run(tool("systemd-sysusers").arg(format!("--root={}", root.path().display())), b"");
    assert_eq!(code, 0, "{said}");
    let passwd = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    let user: Vec<&str> = passwd.lines().find(|line| line.starts_with("postseal:")).unwrap().split(':').collect();
    assert_eq!((user[5], user[6]), ("/var/lib/postseal", "/usr/sbin/nologin"));
    let (code, said) = run(tool("systemd-tmpfiles").arg("--create").arg(format!("--root={}", root.path().display())), b"");
    assert_eq!((code, said.as_str()), (0, ""));
    let id: u32 = user[2].parse().unwrap();
    for (path, owner, mode) in
        [("etc/postseal", 0, 0o750), ("var/lib/postseal", id, 0o750), ("var/lib/postseal/keys", id, 0o700), ("var/lib/postseal/spool", id, 0o700)]
    {
        let found = std::fs::metadata(root.path().join(path)).unwrap();
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (owner, mode), "{path}");
    }
}

/// systemd-socket-activate listens, and becomes the relay when the first client comes.
#[test]
fn a_socket_of_systemd_brings_the_relay_and_the_client_that_woke_it_is_served() {
    if missing(&[Peer::Systemd]) {
        return;
    }
    let port = free_port();
    let mut relay = RelayProcess::new(CONFIG);
    let mut command = tool("systemd-socket-activate");
    command
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg("--fdname=submission")
        .arg(env!("CARGO_BIN_EXE_postseal"))
        .args(["serve", "--config"])
        .arg(relay.config());
    relay.begin_by(command.stdin(Stdio::null()).stderr(Stdio::null()));
    let client = crate::support::wait_for("systemd-socket-activate", || TcpStream::connect(("127.0.0.1", port)).ok());
    let mut greeting = String::new();
    BufReader::new(client).read_line(&mut greeting).unwrap();
    assert!(greeting.starts_with("220 relay.example.com "), "{greeting}");
    relay.wait_for("relay.started");
    assert_eq!(relay.address("submission"), format!("127.0.0.1:{port}"));
    assert_eq!(relay.stop().0, Some(0));
}

/// The units, with a program that is there.
fn units() -> TempDir {
    let units = folder("units");
    for name in ["postseal.service", "postseal.socket"] {
        let text = std::fs::read_to_string(here("docker/systemd").join(name)).unwrap();
        std::fs::write(units.path().join(name), text.replace("/usr/bin/postseal ", &format!("{} ", env!("CARGO_BIN_EXE_postseal")))).unwrap();
    }
    units
}

fn exposure(units: &TempDir) -> f64 {
    let (_, said) = run(tool("systemd-analyze").args(["security", "--offline=true", "--no-pager"]).arg(units.path().join("postseal.service")), b"");
    let verdict = said.lines().last().unwrap_or_default();
    let figure = verdict.split("postseal.service: ").nth(1).and_then(|rest| rest.split_whitespace().next());
    figure.and_then(|figure| figure.parse().ok()).unwrap_or_else(|| panic!("{said}"))
}

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn tool(name: &str) -> Command {
    let mut command = Command::new(program(name).unwrap());
    command.env("SYSTEMD_LOG_LEVEL", "warning").env("SYSTEMD_COLORS", "0");
    command
}

const CONFIG: &str = r#"
[server]
hostname = "relay.example.com"
[listeners.submission]
address = "127.0.0.1:587"
tls = "none"
[identities.app]
networks = ["127.0.0.0/8"]
author_domains = ["example.com"]
[admin]
enabled = false
[spool]
reserve_octets = "64 MiB"
wal_octets_max = "32 MiB"
"#;
