//! The header of the PROXY protocol, in front of a connection.

use super::draw::{Draw, cuts};
use postseal::ingress::proxy_protocol::{HEADER_OCTETS_MAX, accept};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

pub fn run(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let seed = draw.octet();
    let octets = draw.rest();
    let one = RUNTIME.with(|runtime| runtime.block_on(taken(octets, seed)));
    let other = RUNTIME.with(|runtime| runtime.block_on(taken(octets, 0)));
    assert_eq!(one, other, "cut otherwise");
    let Ok((address, rest)) = one else { return };
    assert!(octets.ends_with(&rest), "the octets behind it are others");
    let header = &octets[..octets.len() - rest.len()];
    assert!(header.len() <= HEADER_OCTETS_MAX);
    if header.starts_with(b"PROXY ") {
        assert!(header.ends_with(b"\r\n") && header.len() <= 107 && header.windows(2).filter(|pair| *pair == b"\r\n").count() == 1);
    } else {
        assert_eq!(header.len(), 16 + usize::from(u16::from_be_bytes([header[14], header[15]])));
        assert!(header[12] & 0x0f == 1 || address.is_none(), "LOCAL carries no identity");
    }
}

async fn taken(octets: &[u8], seed: u8) -> Result<(Option<SocketAddr>, Vec<u8>), String> {
    let stream = Cut { octets, cuts: Box::new(cuts(seed)) };
    let trusted = ["192.0.2.0/24".parse().unwrap()];
    let (mut stream, address) = accept(stream, ([192, 0, 2, 1], 1).into(), &trusted, Duration::from_mins(1)).await.map_err(|error| error.to_string())?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    Ok((address, rest))
}

/// A stream that gives octets in pieces.
struct Cut<'a> {
    octets: &'a [u8],
    cuts: Box<dyn Iterator<Item = usize>>,
}

impl AsyncRead for Cut<'_> {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let length = self.cuts.next().unwrap_or(1).min(self.octets.len()).min(buffer.remaining());
        let (piece, rest) = self.octets.split_at(length);
        buffer.put_slice(piece);
        self.octets = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Cut<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(octets.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    static RUNTIME: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime without sockets");
}
