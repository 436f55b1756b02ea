//! A client of HTTP that sends exactly what it is given and reads what comes.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The header of this name; empty where there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error} in {:?}", self.body))
    }
}

/// `GET path`, as curl asks.
pub fn get(address: &str, path: &str) -> Answer {
    ask(address, &format!("GET {path} HTTP/1.1\nHost: {address}\n"), "")
}

/// `POST path` with a JSON body.
pub fn post(address: &str, path: &str, body: &str) -> Answer {
    ask(address, &format!("POST {path} HTTP/1.1\nHost: {address}\nContent-Type: application/json\n"), body)
}

/// Sends these lines as a request of its own connection; `Connection` and `Content-Length` are added.
pub fn ask(address: &str, head: &str, body: &str) -> Answer {
    try_ask(address, head, body).unwrap_or_else(|error| panic!("{head}: {error}"))
}

/// As [`ask`], where nobody may answer.
pub fn try_ask(address: &str, head: &str, body: &str) -> io::Result<Answer> {
    let mut stream = connect(address)?;
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\n", body.len()) };
    let head = format!("{head}{length}Connection: close\n\n").replace('\n', "\r\n");
    stream.write_all(head.as_bytes())?;
    let _ = stream.write_all(body.as_bytes()); // it may be refused before it is read
    read(stream)
}

/// A connection that gives up after a minute.
pub fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    stream.set_write_timeout(Some(Duration::from_mins(1)))?;
    Ok(stream)
}

/// What comes until the other end closes.
pub fn read(mut stream: impl Read) -> io::Result<Answer> {
    let mut octets = Vec::new();
    let ended = stream.read_to_end(&mut octets);
    match ended {
        Err(error) if octets.is_empty() => return Err(error),
        _ if octets.is_empty() => return Err(io::ErrorKind::UnexpectedEof.into()),
        _ => {}
    }
    let text = String::from_utf8(octets).map_err(|_| io::ErrorKind::InvalidData)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or_default();
    let headers = lines.filter_map(|line| line.split_once(':')).map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
    Ok(Answer { status, headers, body: body.to_owned() })
}
