//! The sink: a next hop that takes everything at once and forgets it, but for when each message came and a few to look at.
//!
//! One thread. It offers PIPELINING and, when asked, STARTTLS; not CHUNKING, so that every relay sends by DATA.

use crate::message::number_of;
use anyhow::Context;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// A running sink; it ends with the process.
pub struct Sink {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What it has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// When the message of each number came first.
    pub arrivals: HashMap<u64, Instant>,
    /// Messages that had come before.
    pub duplicates: u64,
    /// Messages that came under TLS.
    pub encrypted: u64,
    /// Connections, and those that resumed a TLS session.
    pub connections: u64,
    /// Every so many-th message.
    pub samples: Vec<Vec<u8>>,
}

impl Sink {
    /// Listens on a free port of this address, or on its port.
    pub fn start(at: SocketAddr, with_tls: bool, sample_every: u64) -> anyhow::Result<Self> {
        let listener = std::net::TcpListener::bind(at).with_context(|| format!("the sink cannot listen on {at}"))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let tls = if with_tls { Some(acceptor()?) } else { None };
        let seen = Arc::new(Mutex::new(Seen::default()));
        let session = Session { tls, seen: Arc::clone(&seen), sample_every };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("sink".to_owned()).spawn(move || runtime.block_on(serve(listener, session)))?;
        Ok(Self { address, seen })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it has seen so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it has seen so many messages; whether it has before nothing came for a while.
    pub async fn until(&self, messages: usize) -> bool {
        let (mut known, mut since) = (0, Instant::now());
        loop {
            let seen = self.seen().arrivals.len();
            if seen >= messages {
                return true;
            }
            if seen != known {
                (known, since) = (seen, Instant::now());
            } else if since.elapsed() > STALL {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn acceptor() -> anyhow::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed(["sink.example.net".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[derive(Clone)]
struct Session {
    tls: Option<TlsAcceptor>,
    seen: Arc<Mutex<Seen>>,
    sample_every: u64,
}

async fn serve(listener: std::net::TcpListener, session: Session) {
    let Ok(listener) = TcpListener::from_std(listener) else { return };
    while let Ok((stream, _)) = listener.accept().await {
        let session = session.clone();
        // Whoever goes without a word is no matter of the sink's.
        tokio::spawn(async move { session.begin(stream).await.ok() });
    }
}

/// How a dialogue ended.
#[derive(PartialEq, Eq)]
enum End {
    Quit,
    StartTls,
}

impl Session {
    async fn begin(self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        self.seen().connections += 1;
        stream.write_all(b"220 sink.example.net ESMTP\r\n").await?;
        if self.converse(&mut stream, false).await? == End::StartTls
            && let Some(acceptor) = &self.tls
        {
            let mut stream = acceptor.accept(stream).await?;
            self.converse(&mut stream, true).await?;
            stream.shutdown().await?;
        }
        Ok(())
    }

    async fn converse<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: &mut S, encrypted: bool) -> std::io::Result<End> {
        let mut unread = Vec::with_capacity(32 * 1024);
        let mut replies = Vec::new();
        loop {
            while let Some(end) = memchr::memchr(b'\n', &unread) {
                let verb = unread[..end.min(8)].to_ascii_uppercase();
                unread.drain(..=end);
                match verb.get(..4) {
                    Some(b"EHLO") => {
                        let starttls = if self.tls.is_some() && !encrypted { "250-STARTTLS\r\n" } else { "" };
                        replies.extend_from_slice(
                            format!("250-sink.example.net\r\n250-PIPELINING\r\n250-8BITMIME\r\n{starttls}250 SIZE 104857600\r\n").as_bytes(),
                        );
                    }
                    Some(b"STAR") => {
                        stream.write_all(b"220 2.0.0 go on\r\n").await?;
                        return Ok(End::StartTls);
                    }
                    Some(b"DATA") => {
                        replies.extend_from_slice(b"354 go on\r\n");
                        stream.write_all(&replies).await?;
                        stream.flush().await?;
                        replies.clear();
                        if !self.take(stream, &mut unread, encrypted).await? {
                            return Ok(End::Quit);
                        }
                        replies.extend_from_slice(b"250 2.0.0 taken\r\n");
                    }
                    Some(b"QUIT") => {
                        replies.extend_from_slice(b"221 2.0.0 bye\r\n");
                        stream.write_all(&replies).await?;
                        stream.flush().await?;
                        return Ok(End::Quit);
                    }
                    _ => replies.extend_from_slice(b"250 2.0.0 ok\r\n"),
                }
            }
            if !replies.is_empty() {
                stream.write_all(&replies).await?;
                stream.flush().await?;
                replies.clear();
            }
            if stream.read_buf(&mut unread).await? == 0 {
                return Ok(End::Quit);
            }
        }
    }

    /// Reads a message to its final dot; whether it was whole.
    async fn take<S: AsyncRead + Unpin>(&self, stream: &mut S, unread: &mut Vec<u8>, encrypted: bool) -> std::io::Result<bool> {
        let mut looked_at = 0;
        let end = loop {
            if let Some(at) = memchr::memmem::find(&unread[looked_at..], b"\r\n.\r\n") {
                break looked_at + at;
            }
            looked_at = unread.len().saturating_sub(4);
            if stream.read_buf(unread).await? == 0 {
                return Ok(false);
            }
        };
        let at = Instant::now();
        let message = &unread[..end + 2];
        if let Some(number) = number_of(message) {
            let mut seen = self.seen();
            let is_new = seen.arrivals.insert(number, at).is_none();
            seen.duplicates += u64::from(!is_new);
            seen.encrypted += u64::from(encrypted);
            if number % self.sample_every == 0 {
                seen.samples.push(unstuffed(message));
            }
        }
        unread.drain(..end + 5);
        Ok(true)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// RFC 5321 §4.5.2.
fn unstuffed(message: &[u8]) -> Vec<u8> {
    message.split_inclusive(|octet| *octet == b'\n').flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect()
}

/// The sink waits no longer for more.
const STALL: Duration = Duration::from_secs(45);
