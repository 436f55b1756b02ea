//! What an operator writes: read whole, every fault told at once, every knob named in the example.

mod environment;
mod example;
mod faults;

use postseal::config::{Config, Document};
use std::path::Path;

/// Reads a text as if it were `postseal.toml` in the folder of the tests, with these variables.
fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Document::of(text, Path::new("postseal.toml"), variables).and_then(|document| Config::of(&document)).map_err(|faults| faults.to_string())
}

/// A relay that works, with these lines in the place of `hostname = …`, `address = …` and so on where they begin alike, else after the
/// header that they follow.
const GOOD: &str = r#"
[server]
hostname = "mx1.example.com"
[listeners.app]
address = "127.0.0.1:2525"
tls = "none"
[identities.app]
networks = ["10.0.0.0/8"]
author_domains = ["example.com"]
"#;
