//! The PROXY protocol, versions 1 and 2: the address of a client behind a proxy (haproxy.org, proxy-protocol.txt).
//!
//! A listener that has it demands it. It is believed only from listed networks; its TLVs authenticate nobody.

use super::identity::any_contains;
use ipnet::IpNet;
use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// A stream of which the first octets were read already and are given again.
#[derive(Debug)]
pub struct Prefixed<S> {
    prefix: Vec<u8>,
    given: usize,
    stream: S,
}

/// Why a connection with a PROXY header must be dropped, without a word: the peer does not speak SMTP yet.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The peer is not in a trusted network; nothing was read.
    #[error("{0} is no trusted proxy; add its network to the listener's proxy networks if it is one")]
    Untrusted(IpAddr),
    /// No whole header in time.
    #[error("no PROXY header within {0:?}; is the proxy set up to send one?")]
    TimedOut(Duration),
    /// It closed before the header was whole.
    #[error("the connection ended within the PROXY header")]
    Closed,
    /// What came is no header.
    #[error("what came first is no PROXY header ({0}); is the proxy set up to send one?")]
    Malformed(&'static str),
    /// A header over [`HEADER_OCTETS_MAX`].
    #[error("the PROXY header has {0} octets; at most {HEADER_OCTETS_MAX} are read")]
    TooLong(usize),
    /// Reading failed.
    #[error("reading the PROXY header failed: {0}")]
    Io(#[from] io::Error),
}

/// Takes the PROXY header off `stream`, which `peer` opened. Gives the stream behind it, and the client's address: `None` for `LOCAL` and
/// `UNKNOWN`, which carry no identity.
///
/// # Errors
/// See [`ProxyError`]; the connection is of no use then.
///
/// # Cancel safety
/// None: octets that were read are lost with the future.
pub async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    peer: SocketAddr,
    trusted: &[IpNet],
    timeout: Duration,
) -> Result<(Prefixed<S>, Option<SocketAddr>), ProxyError> {
    if !any_contains(trusted, peer.ip()) {
        return Err(ProxyError::Untrusted(peer.ip().to_canonical()));
    }
    let mut octets = Vec::with_capacity(READ_OCTETS);
    let reading = read_header(&mut stream, &mut octets);
    let length = tokio::time::timeout(timeout, reading).await.map_err(|_| ProxyError::TimedOut(timeout))??;
    let client = client_address(&octets[..length])?;
    Ok((Prefixed { prefix: octets, given: length, stream }, client))
}

/// Reads until the header is whole and gives its length; what came behind it is in `octets` too.
async fn read_header<S: AsyncRead + Unpin>(stream: &mut S, octets: &mut Vec<u8>) -> Result<usize, ProxyError> {
    loop {
        if let Some(length) = header_length(octets)? {
            return Ok(length);
        }
        let mut part = [0; READ_OCTETS];
        match stream.read(&mut part).await? {
            0 => return Err(ProxyError::Closed),
            count => octets.extend_from_slice(&part[..count]),
        }
    }
}

/// The length of the header at the beginning of `octets`; `None` while more is needed.
fn header_length(octets: &[u8]) -> Result<Option<usize>, ProxyError> {
    let begins = |with: &[u8]| octets.iter().zip(with).all(|(found, expected)| found == expected);
    if begins(V1_SIGNATURE) {
        let line = &octets[..octets.len().min(V1_OCTETS_MAX)];
        return match memchr::memmem::find(line, b"\r\n") {
            Some(end) => Ok(Some(end + 2)),
            None if octets.len() >= V1_OCTETS_MAX => Err(ProxyError::Malformed("a line of version 1 does not end")),
            None => Ok(None),
        };
    }
    if begins(V2_SIGNATURE) {
        let Some([high, low]) = octets.get(14..V2_FIXED_OCTETS) else { return Ok(None) };
        let length = V2_FIXED_OCTETS + usize::from(u16::from_be_bytes([*high, *low]));
        return match length {
            _ if length > HEADER_OCTETS_MAX => Err(ProxyError::TooLong(length)),
            _ if octets.len() < length => Ok(None),
            _ => Ok(Some(length)),
        };
    }
    Err(ProxyError::Malformed("neither version has this beginning"))
}

/// The client's address in a whole header.
fn client_address(header: &[u8]) -> Result<Option<SocketAddr>, ProxyError> {
    let (parsed, length) =
        ProxyHeader::parse(header, ParseConfig { include_tlvs: true, ..ParseConfig::default() }).map_err(|_| ProxyError::Malformed("it cannot be parsed"))?;
    if length != header.len() {
        return Err(ProxyError::Malformed("its lengths disagree"));
    }
    if header.starts_with(V2_SIGNATURE) {
        check_tlvs(header)?;
    } else if !header[..length - 2].iter().all(|octet| (b' '..=b'~').contains(octet)) {
        return Err(ProxyError::Malformed("its line holds a control character"));
    }
    match parsed.proxied_address() {
        None => Ok(None),
        Some(address) if address.protocol == Protocol::Stream => Ok(Some(SocketAddr::new(address.source.ip().to_canonical(), address.source.port()))),
        Some(_) => Err(ProxyError::Malformed("it speaks of datagrams")),
    }
}

/// Walks the TLVs: they must fill the header, and a CRC-32C among them must be right (a receiver MUST check it).
fn check_tlvs(header: &[u8]) -> Result<(), ProxyError> {
    let mut at = V2_FIXED_OCTETS
        + match header[13] >> 4 {
            1 => 12,
            2 => 36,
            3 => 216,
            _ => 0,
        };
    while at < header.len() {
        let Some([kind, high, low]) = header.get(at..at + 3) else { return Err(ProxyError::Malformed("a TLV is cut off")) };
        let value = at + 3..at + 3 + usize::from(u16::from_be_bytes([*high, *low]));
        let Some(octets) = header.get(value.clone()) else { return Err(ProxyError::Malformed("a TLV is cut off")) };
        if *kind == TLV_CRC32C {
            let mut zeroed = header.to_vec();
            zeroed[value.clone()].fill(0);
            if octets != crc32c::crc32c(&zeroed).to_be_bytes() {
                return Err(ProxyError::Malformed("its checksum is wrong"));
            }
        }
        at = value.end;
    }
    Ok(())
}

impl<S: AsyncRead + Unpin> AsyncRead for Prefixed<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.given < self.prefix.len() {
            let count = buffer.remaining().min(self.prefix.len() - self.given);
            buffer.put_slice(&self.prefix[self.given..self.given + count]);
            self.given += count;
            if self.given == self.prefix.len() {
                (self.prefix, self.given) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Prefixed<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S> Prefixed<S> {
    /// A stream nothing was read from yet, to have one type for both kinds of listener.
    pub const fn bare(stream: S) -> Self {
        Self { prefix: Vec::new(), given: 0, stream }
    }

    /// The stream itself; what of the prefix was not read is still to come.
    pub const fn get_ref(&self) -> &S {
        &self.stream
    }
}

/// The longest header read, in octets: far more than the addresses, room for TLVs with a certificate's names.
pub const HEADER_OCTETS_MAX: usize = 4096;
/// The longest line of version 1, CR LF included, after the standard.
const V1_OCTETS_MAX: usize = 107;
const V1_SIGNATURE: &[u8] = b"PROXY ";
const V2_SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family and protocol, length.
const V2_FIXED_OCTETS: usize = 16;
const TLV_CRC32C: u8 = 3;
const READ_OCTETS: usize = 512;
