//! The room *keys*: files, states and their history, what is taken from others and given to them.

mod commands;
mod files;
mod ledger;
mod selector;

use postseal::mail::{Domain, Timestamp};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_310_325); // November 2026

fn example() -> Domain {
    "example.com".parse().unwrap()
}

fn write(path: &Path, text: &str, mode: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
