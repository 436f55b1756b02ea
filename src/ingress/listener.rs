//! One listening socket: accepts, counts, and gives each client to [`connection::serve`]. A shell.
//!
//! It survives a shortage of file descriptors by waiting, turns clients away above its limits, and goes down by letting open
//! transactions end.

use super::Accept;
use super::connection::{self, Encryption, Origin, Stream, Terms, turned_away};
use crate::events::meters::words::{Refused, RefusedAt};
use arc_swap::ArcSwap;
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// What an operator can set of a listener, besides the terms of its connections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where to listen. An IPv6 address takes IPv6 only; for both, declare two.
    pub address: SocketAddr,
    /// Connections that wait to be accepted.
    pub backlog: u16,
    /// Connections at a time.
    pub connections_max: usize,
    /// Connections at a time of one client: an IPv4 address or an IPv6 /64.
    pub connections_per_client_max: usize,
    /// Rest after a failed accept.
    pub pause: Duration,
}

/// What takes a PROXY header off a connection, where a listener is declared with one.
pub trait Unwrap: Send + Sync + 'static {
    /// The stream behind the header, and whom the proxy speaks for: `None` for LOCAL and UNKNOWN, which are nobody.
    fn unwrap<'a>(&'a self, stream: TcpStream, peer: SocketAddr) -> Pin<Box<dyn Future<Output = io::Result<Unwrapped>> + Send + 'a>>;
}

/// See [`Unwrap`].
pub struct Unwrapped {
    /// The connection behind the header.
    pub stream: Box<dyn Stream>,
    /// The client.
    pub client: Option<SocketAddr>,
}

/// A bound listener.
pub struct Listener {
    socket: TcpListener,
    settings: Settings,
    admission: Arc<Admission>,
}

/// Whom a listener lets in: what can change while its socket stays.
pub struct Admission {
    places: Arc<Places>,
    proxy: ArcSwap<Option<Arc<dyn Unwrap>>>,
}

impl Settings {
    /// The defaults, at this address.
    #[must_use]
    pub const fn at(address: SocketAddr) -> Self {
        Self { address, backlog: 1024, connections_max: 1000, connections_per_client_max: 100, pause: Duration::from_millis(200) }
    }
}

impl Listener {
    /// Binds and listens. With `proxy`, every connection must begin with a PROXY header.
    ///
    /// # Errors
    /// The address is in use, not ours, or not permitted.
    pub fn bind(settings: Settings, proxy: Option<Arc<dyn Unwrap>>) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(settings.address), Type::STREAM, Some(Protocol::TCP))?;
        if settings.address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&settings.address.into())?;
        socket.listen(settings.backlog.into())?;
        Self::adopt(socket.into(), settings, proxy)
    }

    /// Takes over a socket that listens already, at whatever address. It does not block.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn adopt(socket: std::net::TcpListener, settings: Settings, proxy: Option<Arc<dyn Unwrap>>) -> io::Result<Self> {
        let places = Arc::new(Places::new(settings.connections_max, settings.connections_per_client_max));
        let admission = Arc::new(Admission { places, proxy: ArcSwap::from_pointee(proxy) });
        Ok(Self { socket: TcpListener::from_std(socket)?, settings, admission })
    }

    /// Whom it lets in, to be changed while it runs.
    #[must_use]
    pub fn admission(&self) -> Arc<Admission> {
        Arc::clone(&self.admission)
    }

    /// The address it listens at; the port as the system gave it.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `drain`, then stops listening and waits for what is open, no longer than the terms allow. Each connection is served
    /// under the terms that hold when it comes.
    pub async fn run<A: Accept>(self, terms: Arc<ArcSwap<Terms<A>>>, drain: CancellationToken) {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                () = drain.cancelled() => break,
                accepted = self.socket.accept() => match accepted {
                    Ok((stream, peer)) => self.admit(stream, peer, terms.load_full(), &drain, &mut open),
                    Err(error) => self.rest(&error, &terms.load().listener).await,
                },
                Some(_) = open.join_next() => {}
            }
        }
        drop(self.socket);
        let settings = terms.load().settings;
        let all_closed = async { while open.join_next().await.is_some() {} };
        if timeout(settings.drain_timeout + settings.linger + DRAIN_GRACE, all_closed).await.is_err() {
            tracing::warn!(listener = %terms.load().listener, "connections.cut");
        }
    }

    fn admit<A: Accept>(&self, stream: TcpStream, peer: SocketAddr, terms: Arc<Terms<A>>, drain: &CancellationToken, open: &mut JoinSet<()>) {
        let Some(place) = self.admission.places.take() else {
            return turn_away(&stream, &terms, peer.ip());
        };
        // Replies are written whole: waiting for more to send would only delay them. A socket without the option works, too.
        let _ = stream.set_nodelay(true);
        let proxy = Option::clone(&self.admission.proxy.load());
        open.spawn(admitted(stream, peer, place, proxy, terms, drain.clone()));
    }

    /// Out of file descriptors or memory: accepting again at once would fail at once.
    async fn rest(&self, error: &io::Error, listener: &str) {
        tracing::warn!(%listener, %error, "accept.failed");
        sleep(self.settings.pause).await;
    }
}

impl Admission {
    /// For the connections that come from now on; those that are open stay, and count.
    pub fn change(&self, connections_max: usize, connections_per_client_max: usize, proxy: Option<Arc<dyn Unwrap>>) {
        self.places.limit(connections_max, connections_per_client_max);
        self.proxy.store(Arc::new(proxy));
    }
}

async fn admitted<A: Accept>(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    proxy: Option<Arc<dyn Unwrap>>,
    terms: Arc<Terms<A>>,
    drain: CancellationToken,
) {
    let Some(proxy) = proxy else {
        let origin = Origin { address: peer.ip().to_canonical(), identifies: true };
        let Some(_place) = place.of_client(origin.address).filter(|_| terms.accept.admits(origin.address)) else {
            return turn_away(&stream, &terms, origin.address);
        };
        return connection::serve(stream, origin, terms, drain).await;
    };
    match proxy.unwrap(stream, peer).await {
        Ok(Unwrapped { stream, client }) => {
            let origin = Origin { address: client.unwrap_or(peer).ip().to_canonical(), identifies: client.is_some() };
            // A proxy that speaks for itself, to see whether we live, is held to no client's limit.
            let place = if origin.identifies { place.of_client(origin.address) } else { Some(place) };
            let Some(_place) = place.filter(|_| !origin.identifies || terms.accept.admits(origin.address)) else {
                return turn_away_slowly(stream, &terms, origin.address).await;
            };
            connection::serve(stream, origin, terms, drain).await;
        }
        Err(error) => {
            terms.meters.refusals.of(RefusedAt::Connection).of(Refused::Policy).one();
            tracing::warn!(listener = %terms.listener, client = %peer.ip(), %error, "proxy.refused");
        }
    }
}

/// Says no without waiting: the buffer of a fresh socket has room. Before implicit TLS nothing can be said.
fn turn_away<A>(stream: &TcpStream, terms: &Terms<A>, client: IpAddr) {
    count_turned_away(terms);
    tracing::info!(listener = %terms.listener, %client, "connection.turned_away");
    if terms.encryption != Encryption::Implicit {
        let _ = stream.try_write(turned_away(TOO_MANY).to_string().as_bytes());
    }
}

async fn turn_away_slowly<A>(mut stream: Box<dyn Stream>, terms: &Terms<A>, client: IpAddr) {
    use tokio::io::AsyncWriteExt;
    count_turned_away(terms);
    tracing::info!(listener = %terms.listener, %client, "connection.turned_away");
    if terms.encryption != Encryption::Implicit {
        let reply = turned_away(TOO_MANY).to_string();
        let _ = timeout(terms.settings.linger, stream.write_all(reply.as_bytes())).await;
    }
}

fn count_turned_away<A>(terms: &Terms<A>) {
    terms.meters.refusals.of(RefusedAt::Connection).of(Refused::Limit).one();
}

/// Connections at a time, in all and by client.
struct Places {
    taken: Mutex<Taken>,
}

struct Taken {
    all_max: usize,
    client_max: usize,
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// One of the [`Places`], free again when dropped.
struct Place {
    places: Arc<Places>,
    client: Option<IpAddr>,
}

impl Places {
    fn new(all_max: usize, client_max: usize) -> Self {
        Self { taken: Mutex::new(Taken { all_max, client_max, all: 0, by_client: HashMap::new() }) }
    }

    fn limit(&self, all_max: usize, client_max: usize) {
        let mut taken = self.taken();
        (taken.all_max, taken.client_max) = (all_max, client_max);
    }

    fn take(self: &Arc<Self>) -> Option<Place> {
        let mut taken = self.taken();
        if taken.all >= taken.all_max {
            return None;
        }
        taken.all += 1;
        Some(Place { places: Arc::clone(self), client: None })
    }

    /// Counts are whole even where a holder panicked.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The same place, counted for this client too; `None` when it has enough.
    fn of_client(mut self, address: IpAddr) -> Option<Self> {
        let client = neighbourhood(address);
        let places = Arc::clone(&self.places);
        let mut taken = places.taken();
        let client_max = taken.client_max;
        let count = taken.by_client.entry(client).or_default();
        let free = *count < client_max;
        if free {
            *count += 1;
            self.client = Some(client);
        } else if *count == 0 {
            taken.by_client.remove(&client);
        }
        drop(taken);
        free.then_some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        let Some(client) = self.client else { return };
        if let Some(count) = taken.by_client.get_mut(&client) {
            *count -= 1;
            if *count == 0 {
                taken.by_client.remove(&client);
            }
        }
    }
}

/// A client's addresses: one of IPv4, a /64 of IPv6, which a single host has for itself.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

const TOO_MANY: &str = "too many connections; try again in a moment";
/// What closing connections may need beyond their own times.
const DRAIN_GRACE: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_client() {
        let places = Arc::new(Places::new(3, 1));
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = places.take().unwrap().of_client(address("2001:db8::1")).unwrap();
        assert!(places.take().unwrap().of_client(address("2001:db8::2")).is_none(), "the same /64");
        let second = places.take().unwrap().of_client(address("2001:db8:0:1::1")).unwrap();
        let third = places.take().unwrap().of_client(address("192.0.2.1")).unwrap();
        assert!(places.take().is_none());
        drop((second, third));
        assert!(places.take().unwrap().of_client(address("::ffff:192.0.2.1")).is_some());
        drop(first);
        let taken = places.taken();
        assert!(taken.all == 0 && taken.by_client.is_empty());
    }
}
