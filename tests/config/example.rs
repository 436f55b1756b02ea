//! The example files, held against the code.

use postseal::config::{Config, Document};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

#[test]
fn both_files_are_without_fault_or_warning() {
    for name in ["postseal.toml", "postseal.min.toml"] {
        let config = Document::read(&path(name), []).and_then(|document| Config::of(&document)).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(config.warnings().collect::<Vec<_>>(), [""; 0], "{name}");
    }
}

#[test]
fn every_knob_is_in_the_example_and_every_key_of_it_is_a_knob() {
    let (_, knobs) = Config::read(&Document::read(&path("postseal.toml"), []).unwrap()).unwrap();
    let known: BTreeSet<String> = knobs.iter().map(|knob| pattern(&knob.keys)).collect();
    let shown: BTreeSet<String> = active().into_keys().chain(commented().into_iter().map(|line| pattern(&line.keys))).collect();
    assert_eq!(known.difference(&shown).collect::<Vec<_>>(), [""; 0], "missing in the example");
    assert_eq!(shown.difference(&known).collect::<Vec<_>>(), [""; 0], "not in the code");
}

#[test]
fn no_key_is_shown_twice() {
    let active = active();
    let mut seen = BTreeSet::new();
    for line in commented() {
        assert!(!active.contains_key(&pattern(&line.keys)) && seen.insert(line.keys.clone()), "{:?}", line.keys);
    }
}

#[test]
fn values_shown_are_the_defaults() {
    let (_, knobs) = Config::read(&Document::read(&path("postseal.toml"), []).unwrap()).unwrap();
    let shown = active();
    let mut compared = 0;
    for knob in knobs.iter().filter(|knob| !pattern(&knob.keys).ends_with(NAME)) {
        let (Some(default), Some(value)) = (&knob.default, shown.get(&pattern(&knob.keys))) else { continue };
        assert_eq!(value_of(default), *value, "{}", pattern(&knob.keys));
        compared += 1;
    }
    assert!(compared > 100, "only {compared} knobs have a default?");
}

/// A default outside its own bounds would be taken in silence.
#[test]
fn every_knob_with_a_default_shows_it() {
    let (_, knobs) = Config::read(&Document::read(&path("postseal.toml"), []).unwrap()).unwrap();
    let shown = active();
    let hidden = knobs.iter().filter(|knob| knob.default.is_some() && !shown.contains_key(&pattern(&knob.keys)));
    assert_eq!(hidden.map(|knob| pattern(&knob.keys)).collect::<Vec<_>>(), [""; 0]);
}

/// Each commented line is taken in alone: most are good as they stand, some say what else they need.
#[test]
fn commented_lines_are_good_or_say_what_they_need() {
    let needs = BTreeMap::from([
        ("admin.chain", "set, but key is not"),
        ("admin.key", "set, but chain is not"),
        ("identities.NAME.forward_domain", "set, though mode is \"author\""),
        ("otlp.headers_file", "No such file"),
        ("users.NAME.credential_file", "set, and credential too"),
        ("domains.NAME.key_selector", "set, though there is no key_file"),
        ("domains.NAME.third_party_domain", "\"platform.example\"; expected a domain with a table"),
        ("dns.mta_sts_host", "set, though there is no mta_sts_id"),
        ("domains.NAME.bimi_certificate", "set, though there is no bimi_logo"),
        ("publishers.NAME.account", "set, though kind is \"manual\""),
        ("publishers.NAME.api_token", "set, though kind is \"manual\""),
        ("publishers.NAME.api_token_file", "set, though kind is \"manual\""),
        ("publishers.NAME.endpoint", "set, though kind is \"manual\""),
        ("publishers.NAME.server", "set, though kind is \"manual\""),
        ("publishers.NAME.zone", "set, though kind is \"manual\""),
        ("publishers.NAME.tsig_name", "set, though kind is \"manual\""),
        ("publishers.NAME.tsig_secret", "set, though kind is \"manual\""),
        ("publishers.NAME.tsig_secret_file", "set, though kind is \"manual\""),
        ("smart_hosts.NAME.user", "smart_hosts.provider.password: missing"),
        ("smart_hosts.NAME.password", "smart_hosts.provider.user: missing"),
        ("smart_hosts.NAME.password_file", "cannot be read"),
        ("webhooks.NAME.secret_file", "set, and secret too"),
        ("webhooks.NAME.previous_secret_file", "cannot be read"),
    ]);
    let text = std::fs::read_to_string(path("postseal.toml")).unwrap();
    for line in commented() {
        let mut lines: Vec<&str> = text.lines().collect();
        lines[line.at] = &lines[line.at][1..];
        let read = Document::of(&lines.join("\n"), &path("postseal.toml"), []).and_then(|document| Config::of(&document));
        match (needs.get(pattern(&line.keys).as_str()), read) {
            (None, Ok(_)) => {}
            (Some(need), Err(faults)) if faults.iter().len() == 1 && faults.to_string().contains(need) => {}
            // The section speaks for others, which the example has too.
            (None, Err(faults)) if line.keys[0] == "sidecar" && faults.iter().all(|fault| fault.key().starts_with("sidecar.")) => {}
            (need, read) => panic!("{:?} needs {need:?}, but {:?}", line.keys, read.map(|_| "is good").map_err(|faults| faults.to_string())),
        }
    }
}

/// Nothing in the shortest file can be left away.
#[test]
fn the_shortest_file_is_the_shortest() {
    let text = std::fs::read_to_string(path("postseal.min.toml")).unwrap();
    let keys: Vec<usize> = text.lines().enumerate().filter(|(_, line)| line.contains(" = ")).map(|(at, _)| at).collect();
    assert_eq!(keys.len(), 5);
    for left_out in keys {
        let shorter: Vec<&str> = text.lines().enumerate().filter(|(at, _)| *at != left_out).map(|(_, line)| line).collect();
        let read = super::read(&shorter.join("\n"), &[]);
        assert!(read.is_err() || read.unwrap().warnings().next().is_some(), "line {} says nothing", left_out + 1);
    }
}

#[test]
fn lines_of_the_example_fit_a_screen() {
    let text = std::fs::read_to_string(path("postseal.toml")).unwrap();
    let long = text.lines().filter(|line| line.chars().count() > 150);
    assert_eq!(long.collect::<Vec<_>>(), [""; 0]);
}

/// Keys with the names that operators choose taken out.
fn pattern(keys: &[String]) -> String {
    let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    for prefix in CHOSEN {
        if keys.len() > prefix.len() && keys.starts_with(prefix) {
            keys[prefix.len()] = NAME;
        }
    }
    keys.join(".")
}

/// The keys in force, by pattern.
fn active() -> BTreeMap<String, Value> {
    fn collect(table: &Table, path: &[String], all: &mut BTreeMap<String, Value>) {
        for (key, value) in table {
            let keys: Vec<String> = path.iter().chain([key]).cloned().collect();
            match value {
                Value::Table(inner) => collect(inner, &keys, all),
                value => drop(all.insert(pattern(&keys), value.clone())),
            }
        }
    }
    let mut all = BTreeMap::new();
    collect(&std::fs::read_to_string(path("postseal.toml")).unwrap().parse().unwrap(), &[], &mut all);
    all
}

struct Commented {
    /// From 0.
    at: usize,
    keys: Vec<String>,
}

/// The lines `#key = value`.
fn commented() -> Vec<Commented> {
    let text = std::fs::read_to_string(path("postseal.toml")).unwrap();
    let (mut table, mut found) = (Vec::new(), Vec::new());
    for (at, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            table = keys_of(line);
        }
        if let Some(line) = line.strip_prefix('#').filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase())) {
            assert!(line.contains(" = "), "line {} is neither prose nor a key", at + 1);
            found.push(Commented { at, keys: table.iter().cloned().chain(keys_of(line)).collect() });
        }
    }
    assert!(found.len() > 20, "only {} commented keys?", found.len());
    found
}

/// The keys of the only table or value of a line, from the outermost.
fn keys_of(line: &str) -> Vec<String> {
    let (mut value, mut keys) = (Value::Table(line.parse().unwrap()), Vec::new());
    while let Value::Table(table) = value {
        let Some((key, inner)) = table.into_iter().next() else { break };
        keys.push(key);
        value = inner;
    }
    keys
}

fn value_of(text: &str) -> Value {
    format!("value = {text}").parse::<Table>().unwrap()["value"].clone()
}

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name)
}

/// Tables whose keys are names of the operator's choice.
const CHOSEN: &[&[&str]] = &[
    &["admin", "tokens"],
    &["deliver", "tls", "recipients"],
    &["domains"],
    &["identities"],
    &["listeners"],
    &["publishers"],
    &["returns", "mailboxes"],
    &["returns", "senders"],
    &["routes", "recipients"],
    &["smart_hosts"],
    &["streams"],
    &["tls", "certificates"],
    &["users"],
    &["webhooks"],
];

const NAME: &str = "NAME";
