//! The admin's listening socket. A shell: connections, TLS, timeouts; who may ask is [`guard`](super::guard)'s to say.

use super::Bounds;
use arc_swap::ArcSwap;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What holds for the connections that come from now on.
pub struct Terms {
    /// How much of us they can take.
    pub bounds: Bounds,
    /// TLS, from the first octet.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A bound listener.
pub struct Listener {
    socket: TcpListener,
}

impl Listener {
    /// Binds and listens.
    ///
    /// # Errors
    /// The address is in use, not ours, or not permitted.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self { socket: TcpListener::from_std(socket.into())? })
    }

    /// The address it listens at; the port as the system gave it.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Answers until `over`; then requests under way have [`FAREWELL`] to end.
    pub async fn run(self, router: Router, terms: Arc<ArcSwap<Terms>>, over: CancellationToken) {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                () = over.cancelled() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, _)) if open.len() < terms.load().bounds.connections_max => {
                        open.spawn(serve(stream, router.clone(), terms.load_full(), over.clone()));
                    }
                    Ok(_) => {} // closed: whoever holds the others is told by the log of a metric, not by a queue
                    Err(_) => sleep(PAUSE).await, // out of descriptors; at once it would fail again
                },
                Some(_) = open.join_next() => {}
            }
        }
        drop(self.socket);
        let all_closed = async { while open.join_next().await.is_some() {} };
        let _ = timeout(FAREWELL, all_closed).await; // what is not ended by now is cut
    }
}

async fn serve(stream: TcpStream, router: Router, terms: Arc<Terms>, over: CancellationToken) {
    let _ = stream.set_nodelay(true); // a socket without it works, too
    let Some(tls) = &terms.tls else { return converse(stream, router, terms.bounds, over).await };
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.clone());
    if let Ok(Ok(stream)) = timeout(terms.bounds.header_timeout, acceptor.accept(stream)).await {
        converse(stream, router, terms.bounds, over).await;
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, router: Router, bounds: Bounds, over: CancellationToken) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout).max_buf_size(bounds.header_octets_max);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router)));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = over.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Rest after a failed accept.
const PAUSE: Duration = Duration::from_millis(200);
/// For requests under way when the relay ends.
pub const FAREWELL: Duration = Duration::from_secs(1);
