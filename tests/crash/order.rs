//! The order of the promise, from the kernel's own account of the calls: what makes a message durable has returned before its 250 goes out.

use super::clients::{Style, send};
use super::letters::letter;
use super::rig::{Rig, can, skipped};
use super::smtp_client::SmtpClient;
use super::table;
use std::collections::HashMap;
use std::time::Duration;

#[test]
fn the_250_goes_out_when_the_fsync_has_returned() {
    if !can("strace -o /dev/null true") {
        return skipped("strace (Debian: strace) cannot trace here");
    }
    let mut rig = Rig::new("");
    let trace = rig.relay.path().join("trace");
    let trace_text = trace.display().to_string();
    let filter = "trace=fsync,fdatasync,rename,write,writev,pwrite64,sendto,sendmsg";
    let mut serve = rig.serve_within("strace", &["-D", "-f", "-y", "-s", "40", "-e", filter, "-o", &trace_text]);
    rig.relay.start_by(&mut serve);
    let mut client = SmtpClient::connect(&rig.submission.to_string()).unwrap();
    let is_large = |number: &u64| letter(*number).octets.len() > 20_000;
    for large in [false, true, false, true] {
        let number = std::iter::repeat_with(|| rig.next_number()).find(|number| is_large(number) == large).unwrap();
        assert!(send(&mut client, &rig.ledger, number, Style::LockStep));
        // Nothing of the one before is under way when the next begins.
        rig.settle();
        std::thread::sleep(Duration::from_millis(300));
    }
    drop(client);
    let balance = rig.finish();
    assert_eq!(balance.promised, 4);
    let trace = std::fs::read_to_string(trace).unwrap();
    let calls = calls(&trace);
    let begins = |from: usize, text: &str| (from..calls.len()).find(|at| matches!(&calls[*at], Call::Began(call) if call.contains(text)));
    let mut at = 0;
    for count in 0..4 {
        let begin = begins(at, "\"354 ").expect("a 354");
        at = begins(begin, "\"250 2.0.0").expect("a 250");
        let large = ["write(… tmp/", "fsync(… tmp/", "rename(… tmp/ bodies/", "fsync(… bodies/xx"];
        let log = ["pwrite64(… spool.db-wal", "fdatasync(… spool.db-wal"];
        let expected: Vec<&str> = if count % 2 == 1 { large.into_iter().chain(log).collect() } else { log.to_vec() };
        let mut returned = calls[begin..at].iter().filter_map(Call::step);
        for wanted in expected {
            let text: Vec<_> = calls[begin..=at].iter().map(|call| format!("{call:?}")).collect();
            assert!(returned.any(|step| step == wanted), "letter {count}: {wanted} has not returned, in this order, before the 250:\n{}", text.join("\n"));
        }
    }
    table::row("nothing (strace: fsync before 250)", 4, &balance, "none there");
}

#[derive(Debug)]
enum Call {
    Began(String),
    Returned(String),
}

/// The calls of a trace; one that was interrupted by other threads' is put together again.
fn calls(trace: &str) -> Vec<Call> {
    let mut begun: HashMap<&str, &str> = HashMap::new();
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some((thread, text)) = line.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some(beginning) = text.strip_suffix(" <unfinished ...>") {
            begun.insert(thread, beginning);
            calls.push(Call::Began(beginning.to_owned()));
        } else if let Some((_, rest)) = text.strip_prefix("<... ").and_then(|text| text.split_once(" resumed>")) {
            calls.push(Call::Returned(format!("{}{rest}", begun.remove(thread).unwrap_or_default())));
        } else {
            calls.extend([Call::Began(text.to_owned()), Call::Returned(text.to_owned())]);
        }
    }
    calls
}

impl Call {
    /// What a call that has returned did to the spool.
    fn step(&self) -> Option<&'static str> {
        let Self::Returned(text) = self else { return None };
        let (call, _) = text.rsplit_once(" = ").filter(|(_, result)| !result.starts_with('-'))?;
        let is = |name: &str, path: &str| call.starts_with(&format!("{name}(")) && call.contains(path);
        match () {
            () if is("pwrite64", "/spool/spool.db-wal>") => Some("pwrite64(… spool.db-wal"),
            () if is("fdatasync", "/spool/spool.db-wal>") || is("fsync", "/spool/spool.db-wal>") => Some("fdatasync(… spool.db-wal"),
            () if is("write", "/spool/tmp/") => Some("write(… tmp/"),
            () if is("fsync", "/spool/tmp/") => Some("fsync(… tmp/"),
            () if is("rename", "/spool/tmp/") && call.contains("/spool/bodies/") => Some("rename(… tmp/ bodies/"),
            () if is("fsync", "/spool/bodies/") => Some("fsync(… bodies/xx"),
            () => None,
        }
    }
}
