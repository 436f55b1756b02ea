//! A process that ends between any two system calls, or in the middle of a write: what it leaves signs, and is gone on from.

use super::change::OpenLedger;
use super::durable::{Disk, Steps};
use super::{Algorithm, ChangeError, Keyring, Ledger, SelectorTemplate, State};
use crate::mail::{Domain, Selector, Timestamp};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

/// A process that lives for so many calls. A write that is its last reaches the disk by half.
struct Mortal {
    calls_left: usize,
    writes_half: bool,
}

impl Mortal {
    fn live(&mut self) -> io::Result<Disk> {
        self.calls_left = self.calls_left.checked_sub(1).ok_or_else(|| io::Error::other("killed"))?;
        Ok(Disk)
    }
}

impl Steps for Mortal {
    fn create(&mut self, path: &Path) -> io::Result<File> {
        self.live()?.create(path)
    }

    fn own(&mut self, file: &File, user: u32, group: u32) -> io::Result<()> {
        self.live()?.own(file, user, group)
    }

    fn write(&mut self, file: &mut File, content: &[u8]) -> io::Result<()> {
        if self.calls_left == 0 && self.writes_half {
            self.writes_half = false;
            return file.write_all(&content[..content.len() / 2]).and_then(|()| Err(io::Error::other("killed")));
        }
        self.live()?.write(file, content)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        self.live()?.sync(file)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        self.live()?.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.live()?.remove(path)
    }
}

/// Takes the ledger, but no key.
struct Full;

impl Steps for Full {
    fn create(&mut self, path: &Path) -> io::Result<File> {
        Disk.create(path)
    }

    fn own(&mut self, file: &File, user: u32, group: u32) -> io::Result<()> {
        Disk.own(file, user, group)
    }

    fn write(&mut self, file: &mut File, content: &[u8]) -> io::Result<()> {
        if content.starts_with(b"-----BEGIN") {
            file.write_all(&content[..40])?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        Disk.write(file, content)
    }

    fn sync(&mut self, file: &File) -> io::Result<()> {
        Disk.sync(file)
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
}

/// The next key is made and takes over, the old one goes: every kind of change there is. What is done already is not done again.
fn rotate(ledger: &mut OpenLedger) -> Result<(), ChangeError> {
    let old = Selector::new(OLD);
    let is_new = |selector: &&Selector, state: State| **selector != old && state != State::Removed;
    let known = ledger.entries().iter().find(|(selector, entry)| is_new(selector, entry.state)).map(|(selector, _)| selector.clone());
    let new = match known {
        Some(selector) => selector,
        None => ledger.create(Algorithm::Ed25519, &SelectorTemplate::default(), "made", NOW)?.id.selector,
    };
    let state = |ledger: &OpenLedger, selector: &Selector| ledger.entries()[selector].state;
    for (from, to) in [(State::Created, State::Published), (State::Published, State::Visible)] {
        if state(ledger, &new) == from {
            ledger.advance(&new, to, "seen", NOW)?;
        }
    }
    if state(ledger, &new) == State::Visible {
        ledger.activate(&new, std::slice::from_ref(&old), "shown long enough", NOW)?;
    }
    if state(ledger, &old) == State::Retiring {
        ledger.advance(&old, State::Revoked, "nothing names it", NOW)?;
    }
    ledger.advance(&old, State::Removed, "long enough", NOW)?;
    Ok(())
}

/// What must hold whenever a process has died: the keyring loads, and a key signs whose file is whole.
fn signs(keys: &Path, after: &str) {
    let ring = Keyring::load(keys).unwrap_or_else(|faults| panic!("{after}: {faults:?}"));
    assert!(ring.active(&domain(), Algorithm::Ed25519).count() >= 1, "{after}: {:?}", ring.keys(&domain()));
    let text = fs::read_to_string(keys.join("example.com/keys.toml")).unwrap();
    for (selector, entry) in Ledger::parse(&text).unwrap().entries() {
        let has_file = ring.keys(&domain()).iter().any(|key| key.id.selector == *selector && key.private.is_some());
        assert!(entry.state != State::Active || has_file, "{after}: {selector} is active without a file");
    }
}

#[test]
fn a_process_that_is_killed_at_any_step_leaves_a_domain_that_signs_and_another_goes_on() {
    let mut cuts = 0;
    for writes_half in [false, true] {
        for calls in 0.. {
            let after = format!("killed after {calls} calls, a half write: {writes_half}");
            let keys = tempfile::tempdir().unwrap();
            let old = super::create(keys.path(), &domain(), &[Algorithm::Ed25519], &SelectorTemplate::default(), (State::Active, "first"), NOW).unwrap();
            assert_eq!(old[0].id.selector.as_str(), OLD);

            let mortal = Mortal { calls_left: calls, writes_half };
            let mut ledger = OpenLedger::lock(keys.path(), &domain(), Box::new(mortal), Duration::ZERO).unwrap().unwrap();
            let is_whole = rotate(&mut ledger).is_ok();
            drop(ledger);
            signs(keys.path(), &after);

            let mut ledger = Ledger::open(keys.path(), &domain()).unwrap();
            rotate(&mut ledger).unwrap_or_else(|error| panic!("{after}: {error}"));
            drop(ledger);
            signs(keys.path(), &format!("{after}, and gone on from"));
            let ring = Keyring::load(keys.path()).unwrap();
            let states: Vec<_> = ring.keys(&domain()).iter().map(|key| key.state).filter(|state| *state != State::Removed).collect();
            assert_eq!(states, [State::Active], "{after}");
            let names: Vec<_> = fs::read_dir(keys.path().join("example.com")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names.len(), 2, "{after}: one key, one ledger, nothing else: {names:?}");
            if is_whole {
                break;
            }
            cuts += 1;
        }
    }
    assert!(cuts > 60, "only {cuts} places to die at");
}

#[test]
fn a_disk_that_fails_leaves_no_half_of_a_key_behind() {
    let keys = tempfile::tempdir().unwrap();
    super::create(keys.path(), &domain(), &[Algorithm::Ed25519], &SelectorTemplate::default(), (State::Active, "first"), NOW).unwrap();
    let mut ledger = OpenLedger::lock(keys.path(), &domain(), Box::new(Full), Duration::ZERO).unwrap().unwrap();
    let fault = ledger.create(Algorithm::Ed25519, &SelectorTemplate::default(), "made", NOW).unwrap_err().to_string();
    assert!(fault.contains("make room and try again"), "{fault}");
    let names = || fs::read_dir(keys.path().join("example.com")).unwrap().count();
    assert_eq!(names(), 2, "the first key and the ledger");
}

fn domain() -> Domain {
    "example.com".parse().unwrap_or_else(|_| unreachable!())
}

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_310_325);
const OLD: &str = "ps202611a";
