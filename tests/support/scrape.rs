//! Reads what a program says over HTTP, and the text format of Prometheus, as a scraper would.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A GET of HTTP/1.0: head and body.
pub fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{address}: {error}"));
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets).unwrap();
    let text = String::from_utf8(octets).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {text}"));
    (head.to_owned(), body.to_owned())
}

/// One line of values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A page, read.
#[derive(Debug, Clone, Default)]
pub struct Scraped {
    /// Name and kind, in order.
    pub families: Vec<(String, String)>,
    pub help: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

impl Scraped {
    /// Reads a page; panics at a line that is none.
    pub fn read(page: &str) -> Self {
        let mut scraped = Self::default();
        for line in page.lines() {
            if let Some(rest) = line.strip_prefix("# HELP ") {
                let (name, help) = rest.split_once(' ').unwrap();
                assert!(scraped.help.insert(name.to_owned(), help.to_owned()).is_none(), "{name} stands twice");
            } else if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap();
                scraped.families.push((name.to_owned(), kind.to_owned()));
            } else {
                scraped.samples.push(sample(line));
            }
        }
        scraped
    }

    /// The sum of all samples of this name whose labels hold at least these.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| sample.name == name && labels.iter().all(|(label, value)| sample.labels.get(*label).is_some_and(|is| is == value));
        self.samples.iter().filter(fits).map(|sample| sample.value).sum()
    }
}

fn sample(line: &str) -> Sample {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value in {line}"));
    let (name, labels) = series.strip_suffix('}').map_or((series, ""), |series| series.split_once('{').unwrap());
    let mut read = BTreeMap::new();
    for label in labels.split("\",").filter(|label| !label.is_empty()) {
        let (name, value) = label.split_once("=\"").unwrap_or_else(|| panic!("no label in {line}"));
        assert!(read.insert(name.to_owned(), value.trim_end_matches('"').to_owned()).is_none(), "{name} twice in {line}");
    }
    Sample { name: name.to_owned(), labels: read, value: value.parse().unwrap_or_else(|_| panic!("no number in {line}")) }
}
