//! A plain SMTP client for tests: blocking, lock-step, one line at a time, telling every reply as it came.

#![allow(dead_code, reason = "each test binary uses its part")]

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

/// A connection to a listener.
pub struct SmtpClient {
    stream: BufReader<TcpStream>,
}

impl SmtpClient {
    /// Connects, reads the greeting and says EHLO.
    pub fn connect(address: &str) -> io::Result<Self> {
        Self::over(TcpStream::connect(address)?)
    }

    /// As [`Self::connect`], over a connection that is there.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream: BufReader::new(stream) };
        client.reply()?;
        client.command("EHLO client.test")?;
        Ok(client)
    }

    /// Sends a line and reads the reply.
    pub fn command(&mut self, line: &str) -> io::Result<String> {
        self.write(&format!("{line}\r\n"))?;
        self.reply()
    }

    /// Sends octets as they are.
    pub fn write(&mut self, octets: &str) -> io::Result<()> {
        self.stream.get_mut().write_all(octets.as_bytes())
    }

    /// Reads a reply of one or several lines.
    pub fn reply(&mut self) -> io::Result<String> {
        let mut text = String::new();
        loop {
            let start = text.len();
            if self.stream.read_line(&mut text)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if text.as_bytes().get(start + 3) != Some(&b'-') {
                return Ok(text.trim_end().to_owned());
            }
        }
    }

    /// A whole transaction; the reply that ended it.
    pub fn send(&mut self, from: &str, to: &[&str], message: &str) -> io::Result<String> {
        let reply = self.command(&format!("MAIL FROM:<{from}>"))?;
        if !reply.starts_with('2') {
            return Ok(reply);
        }
        for recipient in to {
            let reply = self.command(&format!("RCPT TO:<{recipient}>"))?;
            if !reply.starts_with('2') {
                self.command("RSET")?;
                return Ok(reply);
            }
        }
        let reply = self.command("DATA")?;
        if !reply.starts_with('3') {
            return Ok(reply);
        }
        self.write(&message.replace("\r\n.", "\r\n.."))?;
        self.command(".")
    }
}

/// A message of an application, with a subject to know it by.
pub fn message(subject: &str) -> String {
    format!("From: App <app@example.com>\r\nTo: you@example.net\r\nSubject: {subject}\r\n\r\nHello, this is {subject}.\r\n")
}
