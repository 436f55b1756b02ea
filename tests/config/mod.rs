//! What an operator writes: read whole, every fault told at once, every knob named in the example.

mod environment;
mod example;
mod faults;
mod meaning;
mod publishers;
mod sidecar;

use postseal::config::{Config, Document};
use std::path::Path;

/// Reads a text as if it were `postseal.toml` in the folder of the tests, with these variables.
fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Document::of(text, Path::new("postseal.toml"), variables).and_then(|document| Config::of(&document)).map_err(|faults| faults.to_string())
}

/// A relay that works, with each old text replaced by a new one.
fn good(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(GOOD.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "there is no {old}");
        text.replacen(old, new, 1)
    })
}

/// A relay that works, with more behind its last line, the eighth.
fn good_and(more: &str) -> String {
    format!("{GOOD}{more}")
}

const GOOD: &str = r#"[server]
hostname = "mx1.example.com"
[listeners.app]
address = "127.0.0.1:2525"
tls = "none"
[identities.app]
networks = ["10.0.0.0/8"]
author_domains = ["example.com"]
"#;
