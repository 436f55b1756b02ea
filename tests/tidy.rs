//! The house rules that a compiler does not hold: which room may use which, and where sockets, disk, clock and chance may be touched.

use std::path::{Path, PathBuf};

/// Each room and the rooms it may use besides itself. Stations may use those that the mail passed before them, never one after.
const MAY_USE: &[(&str, &[&str])] = &[
    ("mail", &[]),
    ("clock", &["mail"]),
    ("smtp", &["mail"]),
    ("ingress", &["mail", "smtp", "clock", "events"]),
    ("policy", &["mail", "ingress"]),
    ("normalise", &["mail", "policy"]),
    ("readdress", &["mail", "policy", "normalise"]),
    ("seal", &["mail", "policy", "normalise", "readdress"]),
    ("spool", &["mail", "seal", "clock"]),
    ("reasons", &["mail"]),
    ("deliver", &["mail", "smtp", "seal", "spool", "dns", "clock", "reasons", "events"]),
    ("returns", &["mail", "policy", "readdress", "seal", "spool", "reasons"]),
    ("keys", &["mail", "seal", "readdress", "clock"]),
    ("dns", &["mail", "clock", "events"]),
    ("events", &["mail", "spool", "clock"]),
    ("service", &[]),
    ("migrate", &["mail", "keys"]),
    ("rotation", &["mail", "keys", "dns", "clock"]),
    ("doctor", &["mail", "deliver", "dns", "keys", "verdict"]),
    ("verdict", &["mail", "normalise", "seal", "dns", "clock"]),
    ("admin", &["mail", "spool", "events", "clock", "keys", "dns", "doctor", "deliver", "reasons", "seal"]),
    ("prepare", &["mail", "policy", "normalise", "readdress", "seal"]),
    (
        "config",
        &[
            "mail",
            "smtp",
            "ingress",
            "policy",
            "normalise",
            "readdress",
            "seal",
            "spool",
            "deliver",
            "keys",
            "rotation",
            "dns",
            "events",
            "reasons",
            "returns",
            "admin",
        ],
    ),
    ("relay", &["*"]),
    ("cli", &["*"]),
];

/// The shells: the only files that touch socket, disk, clock or chance.
const SHELLS: &[&str] = &[
    "clock.rs",
    "relay.rs",
    "relay/",
    "main.rs",
    "cli/",
    "config/document.rs",
    "config/reader.rs",
    "config/sections/sending.rs", // reads the shaping file
    "admin/listener.rs",
    "events/log.rs",
    "events/output.rs",
    "events/otlp.rs",
    "ingress/connection.rs",
    "ingress/listener.rs",
    "ingress/door.rs",
    "ingress/tls.rs",
    "ingress/proxy_protocol.rs",
    "ingress/sasl/",
    "deliver/connection.rs",
    "deliver/connection/",
    "deliver/finding.rs",
    "deliver/network.rs",
    "deliver/tls.rs",
    "deliver/worker.rs",
    "deliver/cancel.rs",
    "deliver/pool.rs",
    "deliver/lane.rs",
    "deliver/attempt.rs",
    "deliver/passage.rs",
    "deliver/through.rs",
    "deliver/handover.rs",
    "dns/resolver.rs",
    "dns/publish/provider.rs",
    "doctor/ask.rs",
    "doctor/connect.rs",
    "dns/publish/rfc2136.rs",
    "dns/exchange.rs",
    "spool/sqlite/",
    "keys/",
    "rotation/drive.rs",
    "service/",
    "rotation/holder.rs",
    "seal/dkim/verify.rs",
    "seal/dkim/algorithm.rs", // AWS-LC asks for chance to sign; PKCS#1 v1.5 and Ed25519 signatures do not depend on it
    "verdict/examine.rs",
    "verdict/second_opinion.rs", // mail-auth reads the clock
    "verdict/spf_walk.rs",
    "verdict/spf_walk/",
];

/// What only a shell may write.
const TOUCHES: &[&str] = &[
    "tokio::net",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::fs",
    "SystemTime::now",
    "Instant::now",
    "clock::now",
    "SystemRandom",
    "rand::rng",
    "tracing::",
];

#[test]
fn imports_run_down_or_upstream() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let room = room_of(&path);
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == room) else {
            assert!(room == "lib" || room == "main", "src/{} belongs to no room that tests/tidy.rs knows", path.display());
            continue;
        };
        for (number, line) in code_lines(&text) {
            for used in rooms_used(line) {
                if used != room && !allowed.contains(&"*") && !allowed.contains(&used.as_str()) {
                    faults.push(format!("src/{}:{number}: {room} must not use {used}", path.display()));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn only_shells_touch_the_world() {
    let mut faults = Vec::new();
    for (path, text) in sources() {
        let name = path.display().to_string();
        if SHELLS.iter().any(|shell| name == *shell || (shell.ends_with('/') && name.starts_with(shell))) {
            continue;
        }
        for (number, line) in code_lines(&text) {
            for touch in TOUCHES.iter().filter(|touch| line.contains(**touch)) {
                faults.push(format!("src/{name}:{number}: {touch} in a file that is no shell"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn receipts_are_given_by_spools_alone() {
    for (path, text) in sources() {
        let name = path.display().to_string();
        if !name.starts_with("spool/") && name != "mail/receipt.rs" {
            assert!(!code_lines(&text).any(|(_, line)| line.contains("Receipt::committed")), "src/{name} makes a receipt");
        }
        if name != "deliver/through.rs" && name != "mail/receipt.rs" {
            assert!(!code_lines(&text).any(|(_, line)| line.contains("Receipt::relayed")), "src/{name} makes a receipt");
        }
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (path, text) in sources() {
        assert!(text.starts_with("//!"), "src/{} opens with no words", path.display());
        assert!(!text.contains("(being written)"), "src/{} is a stub", path.display());
    }
}

fn sources() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(&root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn room_of(path: &Path) -> String {
    let first = path.components().next().unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

/// Lines before the tests, without comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.lines().enumerate().take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    lines.map(|(number, line)| (number + 1, line)).filter(|(_, line)| !line.trim_start().starts_with("//"))
}

/// The rooms a line names after `crate::`, single or in braces.
fn rooms_used(line: &str) -> Vec<String> {
    let mut rooms = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(list) => list.split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let room: String = name.trim().chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if !room.is_empty() {
                rooms.push(room);
            }
        }
    }
    rooms
}
