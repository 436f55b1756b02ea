//! The admin's listening socket, and the way to a handler. A shell: connections, TLS, timeouts, log; who may ask is
//! [`guard`](super::guard)'s to say.

use super::Bounds;
use super::api::Problem;
use super::guard::{Access, Caller, Denial};
use arc_swap::ArcSwap;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, REFERRER_POLICY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Sleep, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What holds for what comes from now on.
pub struct Terms {
    /// Who may ask.
    pub access: Access,
    /// How much of us they can take.
    pub bounds: Bounds,
    /// TLS, from the first octet.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// A bound listener.
pub struct Listener {
    socket: TcpListener,
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy)]
struct Peer(IpAddr);

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
        let router = router.layer(from_fn_with_state(terms.clone(), attend));
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                () = over.cancelled() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, peer)) if places_taken(&mut open) < terms.load().bounds.connections_max => {
                        open.spawn(serve(stream, Peer(peer.ip().to_canonical()), router.clone(), terms.load_full(), over.clone()));
                    }
                    Ok((_, peer)) => {
                        let error = format!("admin.connections_max, {}, is reached", open.len());
                        tracing::warn!(client = %peer.ip().to_canonical(), error, "request.refused");
                    }
                    Err(error) => {
                        tracing::warn!(listener = "admin", %error, "accept.failed");
                        sleep(PAUSE).await; // out of descriptors; at once it would fail again
                    }
                },
                Some(ended) = open.join_next() => tell(ended),
            }
        }
        drop(self.socket);
        let all_closed = async { while open.join_next().await.is_some() {} };
        let _ = timeout(FAREWELL, all_closed).await; // what is not ended by now is cut
    }
}

/// Connections that have ended take no place.
fn places_taken(open: &mut JoinSet<()>) -> usize {
    while let Some(ended) = open.try_join_next() {
        tell(ended);
    }
    open.len()
}

fn tell(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "request.broke");
    }
}

async fn serve(stream: TcpStream, peer: Peer, router: Router, terms: Arc<Terms>, over: CancellationToken) {
    let _ = stream.set_nodelay(true); // a socket without it works, too
    let stream = Impatient { stream, patience: terms.bounds.write_timeout, alarm: None };
    let Some(tls) = &terms.tls else { return converse(stream, peer, router, terms.bounds, over).await };
    let acceptor = tokio_rustls::TlsAcceptor::from(tls.clone());
    if let Ok(Ok(stream)) = timeout(terms.bounds.header_timeout, acceptor.accept(stream)).await {
        converse(stream, peer, router, terms.bounds, over).await;
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, peer: Peer, router: Router, bounds: Bounds, over: CancellationToken) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(bounds.header_timeout).max_buf_size(bounds.header_octets_max);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = connection.as_mut() => return,
        () = over.cancelled() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

/// Lets in whom the terms let in, for as long as they let, and dresses what is answered.
async fn attend(State(terms): State<Arc<ArcSwap<Terms>>>, mut request: Request, next: Next) -> Response {
    let terms = terms.load_full();
    let about = About::of(&request);
    let caller = match terms.access.judge(request.method(), request.uri(), request.headers()) {
        Ok(caller) => caller,
        Err(denial) => {
            let About { method, path, peer } = &about;
            tracing::info!(client = %peer, %method, path, error = %denial, "request.refused");
            return dressed(refusal(denial, path));
        }
    };
    if said_octets(request.headers()).is_some_and(|octets| octets > terms.bounds.body_octets_max) {
        return dressed(too_large(&terms.bounds).into_response());
    }
    let changes = !request.method().is_safe();
    DefaultBodyLimit::max(terms.bounds.body_octets_max).apply(&mut request);
    request.extensions_mut().insert(caller.clone());
    let response = match timeout(terms.bounds.request_timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => late(&terms.bounds).into_response(),
    };
    if changes && response.status().is_success() {
        about.tell(&caller);
    }
    dressed(response)
}

/// What the log says of a request.
struct About {
    method: axum::http::Method,
    path: String,
    peer: IpAddr,
}

impl About {
    fn of(request: &Request) -> Self {
        let peer = request.extensions().get::<Peer>().map_or(IpAddr::from([0, 0, 0, 0]), |peer| peer.0);
        let path = request.uri().path();
        Self { method: request.method().clone(), path: path.chars().take(PATH_SHOWN_MAX).collect(), peer }
    }

    /// Whoever changes something is named.
    fn tell(&self, caller: &Caller) {
        let Self { method, path, peer } = self;
        let token = match caller {
            Caller::Token(name) => Some(name.as_str()),
            Caller::Local | Caller::Stranger => None,
        };
        tracing::info!(client = %peer, %method, path, token, "request.performed");
    }
}

fn refusal(denial: Denial, path: &str) -> Response {
    let message = denial.to_string();
    let (message, expected) = message.split_once("; expected ").unwrap_or((&message, ""));
    let mut response = Problem::new(denial.status(), denial.code(), message, expected).into_response();
    if denial.status() == StatusCode::UNAUTHORIZED {
        let is_for_programs = path.starts_with("/api/") || path == "/metrics";
        let challenge = if is_for_programs { "Bearer realm=\"postseal\"" } else { "Basic realm=\"postseal: the token is the password\", charset=\"UTF-8\"" };
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
    response
}

fn too_large(bounds: &Bounds) -> Problem {
    let expected = format!("at most admin.body_octets_max, {} octets", bounds.body_octets_max);
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body", "the body is too large", expected)
}

fn late(bounds: &Bounds) -> Problem {
    let message = format!("there was no answer within admin.request_timeout, {} s", bounds.request_timeout.as_secs_f32());
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message, "less at a time, or another try in a moment")
}

fn said_octets(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// What a browser may make of an answer: to show it, alone, with our own style sheet, script and pictures. A handler may say otherwise.
fn dressed(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

/// A stream that fails when the other end does not read for too long.
struct Impatient<T> {
    stream: T,
    patience: Duration,
    /// Set while a write waits.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl<T: Unpin> Impatient<T> {
    /// The write's outcome, or a failure when it has waited too long.
    fn bounded<R>(&mut self, context: &mut Context<'_>, outcome: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if outcome.is_ready() {
            self.alarm = None;
            return outcome;
        }
        let patience = self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(alarm.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Impatient<T> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Impatient<T> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, octets);
        self.bounded(context, outcome)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_flush(context);
        self.bounded(context, outcome)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_shutdown(context);
        self.bounded(context, outcome)
    }
}

const HEADERS: [(HeaderName, &str); 7] = [
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'self'; base-uri 'none'; \
         frame-ancestors 'none'",
    ),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (X_FRAME_OPTIONS, "DENY"),
    (REFERRER_POLICY, "no-referrer"),
    (CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;
/// Rest after a failed accept.
const PAUSE: Duration = Duration::from_millis(200);
/// For requests under way when the relay ends.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// Characters of a path in the log.
const PATH_SHOWN_MAX: usize = 200;
