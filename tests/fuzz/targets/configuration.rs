//! What an operator writes: a TOML file and variables.

use super::draw::Draw;
use postseal::config::{Config, Document};
use std::path::Path;

pub fn run(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let (name, value) = (draw.text(), draw.text());
    let text = String::from_utf8_lossy(draw.rest());
    // A file that somebody names is read: not those that never end.
    if ["/dev", "/proc", "/sys", ".."].iter().any(|place| text.contains(place) || value.contains(place)) || text.contains("\\u") {
        return;
    }
    let variables = [(format!("POSTSEAL_{name}"), value)].into_iter().filter(|_| !name.is_empty());
    let path = Path::new("/nowhere/postseal.toml");
    match Document::of(&text, path, variables).and_then(|document| Config::of(&document)) {
        Ok(config) => drop(config.warnings().count()),
        Err(faults) => {
            assert!(faults.iter().len() > 0, "refused without a fault");
            for fault in faults.iter() {
                assert!(!fault.to_string().is_empty());
            }
        }
    }
}
