//! The load: SMTP sessions that submit messages and note when each was answered.
//!
//! A connection carries one message, as most applications do it. Commands are not pipelined. Closed loop: so many sessions, each as fast
//! as it is answered. Open loop: so many messages a second, whatever becomes of the ones before, which shows latency without the queue
//! that a closed loop makes for itself.

use crate::message::Letters;
use anyhow::{Context, bail};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// What is submitted.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// To whom.
    pub relay: SocketAddr,
    /// Sessions at a time; in an open loop as many as it takes.
    pub sessions: usize,
    /// Messages in all.
    pub messages: u64,
    /// The number of the first.
    pub first: u64,
    /// Messages begun in a second: an open loop.
    pub per_second: Option<u32>,
}

/// What became of one message.
#[derive(Debug, Clone, Copy)]
pub struct Sent {
    /// Its number.
    pub number: u64,
    /// When its last octets were written.
    pub ended: Instant,
    /// When the 250 came.
    pub accepted: Instant,
}

/// What became of all.
#[derive(Debug, Default)]
pub struct Submitted {
    /// Those accepted.
    pub sent: Vec<Sent>,
    /// Why others were not.
    pub faults: Vec<String>,
}

/// Submits them all.
pub async fn submit(load: Load, letters: Arc<Letters>) -> Submitted {
    let mut sessions = JoinSet::new();
    match load.per_second {
        None => {
            let next = Arc::new(AtomicU64::new(load.first));
            for _ in 0..load.sessions {
                let (next, letters) = (Arc::clone(&next), Arc::clone(&letters));
                sessions.spawn_local(async move {
                    let mut done = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= load.first + load.messages {
                            return done;
                        }
                        done.push(session(load.relay, number, &letters).await);
                    }
                });
            }
        }
        Some(per_second) => {
            let began = Instant::now();
            for number in 0..load.messages {
                let at = began + Duration::from_secs(1) / per_second * u32::try_from(number).unwrap_or(u32::MAX);
                tokio::time::sleep_until(at.into()).await;
                let letters = Arc::clone(&letters);
                sessions.spawn_local(async move { vec![session(load.relay, load.first + number, &letters).await] });
            }
        }
    }
    let mut submitted = Submitted::default();
    while let Some(done) = sessions.join_next().await {
        for one in done.unwrap_or_default() {
            match one {
                Ok(sent) => submitted.sent.push(sent),
                Err(fault) => submitted.faults.push(format!("{fault:#}")),
            }
        }
    }
    submitted
}

/// One message over a connection of its own.
async fn session(relay: SocketAddr, number: u64, letters: &Letters) -> anyhow::Result<Sent> {
    let stream = TcpStream::connect(relay).await.context("no connection")?;
    stream.set_nodelay(true)?;
    let mut client = Client { stream, unread: Vec::new() };
    client.expect(220).await?;
    client.ask("EHLO client.example.com\r\n", 250).await?;
    client.ask(&format!("MAIL FROM:<{}>\r\n", Letters::sender(number)), 250).await?;
    client.ask(&format!("RCPT TO:<{}>\r\n", letters.recipient(number)), 250).await?;
    client.ask("DATA\r\n", 354).await?;
    client.stream.write_all(&letters.print(number)).await?;
    let ended = Instant::now();
    client.expect(250).await?;
    let accepted = Instant::now();
    client.stream.write_all(b"QUIT\r\n").await?;
    // The next message does not wait for the farewell of this one.
    tokio::task::spawn_local(async move { client.stream.read_to_end(&mut client.unread).await });
    Ok(Sent { number, ended, accepted })
}

struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

impl Client {
    async fn ask(&mut self, command: &str, expected: u16) -> anyhow::Result<()> {
        self.stream.write_all(command.as_bytes()).await?;
        self.expect(expected).await
    }

    async fn expect(&mut self, expected: u16) -> anyhow::Result<()> {
        loop {
            while let Some(end) = memchr::memchr(b'\n', &self.unread) {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                if line.get(3) == Some(&b'-') {
                    continue;
                }
                if line.starts_with(expected.to_string().as_bytes()) {
                    return Ok(());
                }
                bail!("expected {expected}, got \"{}\"", String::from_utf8_lossy(&line).trim_end());
            }
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                bail!("the relay closed the connection where {expected} was expected");
            }
        }
    }
}
