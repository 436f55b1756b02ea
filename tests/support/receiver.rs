//! A receiver of webhooks that does as it is told: listens on loopback, answers in the order of a script, keeps what it got.

#![allow(dead_code, reason = "each test binary uses its part")]

use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

/// What it does with a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// This status, with these lines of header.
    Status(u16, &'static str),
    /// Reads it and says nothing.
    Hang,
    /// Reads it and closes.
    Close,
    /// An answer without end.
    Flood,
}

/// A request as it came.
#[derive(Debug, Clone)]
pub struct Got {
    /// `POST /hook`.
    pub line: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
    /// It was answered with 2xx.
    pub taken: bool,
}

impl Got {
    /// The events of the body.
    pub fn events(&self) -> Vec<Value> {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["type"], "mail.events", "{body}");
        body["data"].as_array().unwrap().clone()
    }
}

/// A running receiver; it ends when dropped.
pub struct Receiver {
    address: SocketAddr,
    certificate: Option<String>,
    script: Arc<Mutex<VecDeque<Reply>>>,
    otherwise: Arc<Mutex<Reply>>,
    got: Arc<Mutex<Vec<Got>>>,
    accepting: AbortHandle,
}

impl Receiver {
    /// On a free port, in clear text.
    pub fn start() -> Self {
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), None)
    }

    /// On a free port, with a certificate of its own for `localhost`.
    pub fn tls() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        Self::at(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Some((TlsAcceptor::from(Arc::new(config)), made.cert.pem())))
    }

    fn at(address: SocketAddr, tls: Option<(TlsAcceptor, String)>) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let (script, got) = (Arc::new(Mutex::new(VecDeque::new())), Arc::new(Mutex::new(Vec::new())));
        let otherwise = Arc::new(Mutex::new(Reply::Status(204, "")));
        let (acceptor, certificate) = tls.unzip();
        let accepting = tokio::spawn(accept(listener, acceptor, script.clone(), otherwise.clone(), got.clone())).abort_handle();
        Self { address, certificate, script, otherwise, got, accepting }
    }

    /// Where events are to go.
    pub fn url(&self) -> String {
        match &self.certificate {
            Some(_) => format!("https://localhost:{}/hook", self.address.port()),
            None => format!("http://{}/hook", self.address),
        }
    }

    /// Its certificate, in PEM.
    pub fn certificate(&self) -> &str {
        self.certificate.as_deref().unwrap()
    }

    /// The next requests are answered so.
    pub fn then(&self, replies: impl IntoIterator<Item = Reply>) {
        self.script.lock().unwrap().extend(replies);
    }

    /// All requests that nothing is said of are answered so; 204 at first.
    pub fn otherwise(&self, reply: Reply) {
        *self.otherwise.lock().unwrap() = reply;
    }

    /// What came so far.
    pub fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The ids of events that were taken, in the order in which they came.
    pub fn taken(&self) -> Vec<String> {
        let taken = self.got().into_iter().filter(|got| got.taken);
        taken.flat_map(|got| got.events()).map(|event| event["id"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until what came is enough; fails after a minute.
    pub async fn until(&self, enough: impl Fn(&[Got]) -> bool) -> Vec<Got> {
        for _ in 0..12_000 {
            let got = self.got();
            if enough(&got) {
                return got;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not enough came: {:#?}", self.got());
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

type Shared<T> = Arc<Mutex<T>>;

async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, script: Shared<VecDeque<Reply>>, otherwise: Shared<Reply>, got: Shared<Vec<Got>>) {
    let mut open = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let (tls, script, otherwise, got) = (tls.clone(), script.clone(), otherwise.clone(), got.clone());
        open.spawn(async move {
            match tls {
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => converse(stream, script, otherwise, got).await,
                    Err(_) => None,
                },
                None => converse(stream, script, otherwise, got).await,
            }
        });
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, script: Shared<VecDeque<Reply>>, otherwise: Shared<Reply>, got: Shared<Vec<Got>>) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        let mut headers = HashMap::new();
        loop {
            let mut header = String::new();
            stream.read_line(&mut header).await.ok()?;
            let Some((name, value)) = header.split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
        stream.read_exact(&mut body).await.ok()?;
        let reply = script.lock().unwrap().pop_front().unwrap_or_else(|| otherwise.lock().unwrap().clone());
        let taken = matches!(reply, Reply::Status(200..=299, _));
        let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
        got.lock().unwrap().push(Got { line, headers, body: String::from_utf8(body).unwrap(), taken });
        match reply {
            Reply::Status(status, more) => {
                stream.write_all(format!("HTTP/1.1 {status} As told\r\n{more}Content-Length: 0\r\n\r\n").as_bytes()).await.ok()?;
            }
            Reply::Hang => std::future::pending().await,
            Reply::Close => return None,
            Reply::Flood => {
                stream.write_all(b"HTTP/1.1 500 As told\r\n\r\n").await.ok()?;
                loop {
                    stream.write_all(&[b'x'; 4096]).await.ok()?;
                }
            }
        }
    }
}
