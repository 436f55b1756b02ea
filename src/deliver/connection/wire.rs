//! Octets to and from a next hop, in clear or under TLS, with the one read buffer of the connection.

use crate::deliver::network::Line;
use crate::mail::{EnhancedCode, RemoteReply};
use crate::smtp::client::{ReplyFault, ReplyReader};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::timeout;

/// A connection and what of it was read and not yet used.
pub(super) struct Wire {
    stream: Line,
    reader: ReplyReader,
}

/// Why nothing more comes or goes.
#[derive(Debug)]
pub(super) enum WireFault {
    Timeout,
    Closed(String),
    Reply(ReplyFault),
}

impl Wire {
    pub(super) fn new(stream: Line) -> Self {
        Self { stream, reader: ReplyReader::default() }
    }

    /// Writes all of it.
    pub(super) async fn send(&mut self, octets: &[u8], within: Duration) -> Result<(), WireFault> {
        let sending = async {
            self.stream.write_all(octets).await?;
            self.stream.flush().await
        };
        timeout(within, sending).await.map_err(|_| WireFault::Timeout)?.map_err(|fault| WireFault::Closed(fault.to_string()))
    }

    /// The next reply, whole, within that time.
    pub(super) async fn reply(&mut self, within: Duration) -> Result<RemoteReply, WireFault> {
        let reading = async {
            loop {
                if let Some(reply) = self.reader.next_reply().map_err(WireFault::Reply)? {
                    return Ok(reply);
                }
                match poll_fn(|cx| self.poll_fill(cx)).await {
                    Ok(0) => return Err(WireFault::Closed("the server closed it".to_owned())),
                    Ok(_) => {}
                    Err(fault) => return Err(WireFault::Closed(fault.to_string())),
                }
            }
        };
        timeout(within, reading).await.map_err(|_| WireFault::Timeout)?
    }

    /// Every reply read so far was used.
    pub(super) fn is_answered(&self) -> bool {
        self.reader.is_empty()
    }

    /// Nothing has come, neither octets nor the end. What there is, is kept.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.is_answered() && self.poll_fill(&mut Context::from_waker(Waker::noop())).is_pending()
    }

    /// The connection itself, for a handshake; `None` when something was read that nobody asked for.
    pub(super) fn into_line(self) -> Option<Line> {
        self.reader.is_empty().then_some(self.stream)
    }

    pub(super) async fn shut(&mut self, within: Duration) {
        let _ = timeout(within, self.stream.shutdown()).await;
    }

    /// Reads once into the buffer; 0 at the end.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut octets = [0; READ_OCTETS];
        let mut space = ReadBuf::new(&mut octets);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        self.reader.feed(space.filled());
        Poll::Ready(Ok(space.filled().len()))
    }
}

/// A stream for somebody whose reader drops what follows a reply: it gives no more than one line at a time, so nothing does.
pub(super) struct LineByLine<'a>(pub(super) &'a mut Wire);

impl AsyncRead for LineByLine<'_> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, space: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let wire = &mut *self.get_mut().0;
        loop {
            let line = wire.reader.take_raw(space.remaining());
            if !line.is_empty() {
                space.put_slice(&line);
                return Poll::Ready(Ok(()));
            }
            if wire.reader.unread_octets() >= UNREAD_OCTETS_MAX {
                return Poll::Ready(Err(io::Error::other("the server sends a line without end")));
            }
            if ready!(wire.poll_fill(cx))? == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }
}

impl AsyncWrite for LineByLine<'_> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0.stream).poll_write(cx, octets)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0.stream).poll_shutdown(cx)
    }
}

/// A reply as smtp-proto read it, made as safe as one of ours.
pub(super) fn reply_of(reply: &smtp_proto::Response<String>) -> RemoteReply {
    let [class, subject, detail] = reply.esc;
    let enhanced = (class > 0 && u16::from(class) == reply.code / 100).then(|| EnhancedCode::new(class, subject.into(), detail.into()));
    let printable = |line: &str| line.trim_end_matches('\r').chars().map(|c| if c.is_control() { '?' } else { c }).collect();
    RemoteReply { code: reply.code, enhanced, lines: reply.message.trim_end().split('\n').map(printable).collect() }
}

const READ_OCTETS: usize = 4096;
/// Octets a server may send that nobody has asked for yet.
const UNREAD_OCTETS_MAX: usize = 64 * 1024;
