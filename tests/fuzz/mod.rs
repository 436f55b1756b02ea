//! Every parser of octets from outside, fed what nobody would write: the corpora as they stand, then seeded mutations of them.
//!
//! This is the short tier: some seconds for each target in every run of the tests, without instrumentation, repeatable by its seed. The long
//! one is `tests/fuzz/run`, which lets libFuzzer look for new ways through the code. What either found is kept in `corpus/TARGET/` and so
//! comes again in each run.
//!
//! `POSTSEAL_FUZZ_SECONDS` lengthens it, `POSTSEAL_SEED` changes what is tried; a finding names the file that holds its octets.

mod targets;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

macro_rules! tier {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            mutate(stringify!($name));
        })*

        const NAMES: &[&str] = &[$(stringify!($name)),*];
    };
}

tier!(
    smtp_server smtp_client smtp_replies smtp_command address proxy_header sasl normalise mime token returned dsn foreign_seals dns_records
    dns_replies configuration admin_values
);

#[test]
fn each_target_has_its_test_its_binary_and_its_corpus() {
    let known: BTreeSet<&str> = targets::ALL.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, NAMES.iter().copied().collect());
    let stems = |folder: &str| -> BTreeSet<String> {
        std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    let known: BTreeSet<String> = known.into_iter().map(str::to_owned).collect();
    assert_eq!(stems("fuzz_targets"), known);
    assert_eq!(stems("corpus"), known);
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    for name in known {
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")), "{name}");
        assert!(!corpus(&name).is_empty(), "{name} has no corpus");
    }
}

#[allow(clippy::disallowed_methods, reason = "so long, and no longer")]
fn mutate(target: &str) {
    let seeds = corpus(target);
    for (path, octets) in &seeds {
        check(target, octets, &path.display().to_string());
    }
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seconds = number("POSTSEAL_FUZZ_SECONDS").unwrap_or(SECONDS);
    let mut chance = Chance(number("POSTSEAL_SEED").unwrap_or(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let begun = Instant::now();
    let mut runs = 0_u64;
    while begun.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..20 {
            let octets = chance.mutated(&seeds);
            check(target, &octets, &format!("mutation {runs}"));
            runs += 1;
        }
    }
    println!("{target}: {} seeds, {runs} mutations", seeds.len());
}

/// Runs it; a panic or more than a second is a finding, kept as a file.
#[allow(clippy::disallowed_methods, reason = "measures how long it takes")]
fn check(target: &str, octets: &[u8], what: &str) {
    let begun = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| targets::run(target, octets)));
    let slow = begun.elapsed() > SLOW;
    if outcome.is_err() || slow {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{target}"));
        std::fs::write(&kept, octets).unwrap();
        let found = if slow { "is slow" } else { "breaks a promise" };
        panic!("{what} {found}; its {} octets are in {}: \"{}\"", octets.len(), kept.display(), octets.escape_ascii());
    }
}

fn corpus(target: &str) -> Vec<(PathBuf, Vec<u8>)> {
    let mut paths: Vec<PathBuf> = std::fs::read_dir(root().join("corpus").join(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz")
}

/// A generator of its own, so that the same seed tries the same octets on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % bound.max(1)
    }

    fn mutated(&mut self, seeds: &[(PathBuf, Vec<u8>)]) -> Vec<u8> {
        let mut octets = seeds[self.below(seeds.len())].1.clone();
        for _ in 0..=self.below(6) {
            let at = self.below(octets.len() + 1);
            let end = at + self.below((octets.len() - at).min(64) + 1);
            match self.below(8) {
                0 if at < octets.len() => octets[at] ^= 1 << self.below(8),
                1 if at < octets.len() => octets[at] = u8::try_from(self.below(256)).unwrap_or(0),
                2 => drop(octets.drain(at..end)),
                3 => {
                    let piece = octets[at..end].repeat(1 + self.below(8));
                    octets.splice(at..at, piece);
                }
                4 | 5 => {
                    let word = WORDS[self.below(WORDS.len())];
                    octets.splice(at..if self.below(2) == 0 { at } else { end }, word.iter().copied());
                }
                6 => {
                    let other = &seeds[self.below(seeds.len())].1;
                    let from = self.below(other.len() + 1);
                    octets.truncate(at);
                    octets.extend_from_slice(&other[from..]);
                }
                _ => octets.insert(at, u8::try_from(self.below(256)).unwrap_or(0)),
            }
            octets.truncate(OCTETS_MAX);
        }
        octets
    }
}

/// What parsers trip over.
const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n.\r\n",
    b"\n.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r\n.\n",
    b".",
    b"..",
    b" ",
    b"\t",
    b"\"",
    b"\\",
    b"<",
    b">",
    b"@",
    b"(",
    b"=",
    b"=\r\n",
    b"=3D",
    b"=?utf-8?q?x?=",
    b"--b\r\n",
    b"--b--\r\n",
    b";",
    b":",
    b",",
    b"%{",
    b"%%",
    b"+0D+0A",
    b"\xc3\xa4",
    b"\xff",
    b"\xc0\x80",
    b"\xe2\x80\xae",
    b"RSET\r\n",
    b"DATA\r\n",
    b"BDAT 3\r\n",
    b"BDAT 0 LAST\r\n",
    b"STARTTLS\r\n",
    b"AUTH PLAIN\r\n",
    b"250 ok\r\n",
    b"250-",
    b"354 \r\n",
    b"421 \r\n",
    b"550 5.1.1 no\r\n",
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9999-12-31T23:59:60Z",
];
const OCTETS_MAX: usize = 16 * 1024;
const SECONDS: u64 = 3;
const SLOW: Duration = Duration::from_secs(2);
