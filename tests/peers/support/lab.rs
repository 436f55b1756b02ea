//! The relay under test with its DNS and certificates, and a client that submits exactly what it is given.
//!
//! Who a client is follows from the loopback address it comes from: 127.0.0.2 is an application of example.com, 127.0.0.3 a mailing
//! list that forwards; 127.0.0.1 is nobody without authentication.

use super::bind::Bind;
use super::certificates::Authority;
use super::relay_process::RelayProcess;
use super::{Peer, folder, free_port, wait_or_tell};
use serde_json::Value;
use socket2::{Domain, Socket, Type};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;
use tempfile::TempDir;

/// What every test in a lab needs.
pub const PEERS: [Peer; 1] = [Peer::Bind];
/// An application's address.
pub const APPLICATION: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// A mailing list's address.
pub const LIST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);

/// What a test changes in the usual configuration.
#[derive(Debug, Clone, Default)]
pub struct Plan<'a> {
    /// The port of every MX.
    pub mx_port: u16,
    /// Waits between attempts, where they are to be longer.
    pub retry: Option<&'a str>,
    /// Lines for `[deliver]`.
    pub deliver: &'a str,
    /// Lines for `[domains."example.com"]`.
    pub domain: &'a str,
    /// More tables.
    pub tables: &'a str,
    /// Domains besides example.com that get keys.
    pub keys: &'a [&'a str],
    /// More records.
    pub zone: &'a str,
}

/// A running relay with its DNS.
pub struct Lab {
    pub relay: RelayProcess,
    pub dns: Bind,
    pub authority: Authority,
    _folder: TempDir,
}

/// One transaction to submit.
#[derive(Debug, Clone)]
pub struct Submission<'a> {
    pub client: Ipv4Addr,
    /// The reverse-path with its parameters: `<a@example.com> SMTPUTF8`.
    pub mail: &'a str,
    /// Forward-paths with their parameters.
    pub rcpts: &'a [&'a str],
    pub message: &'a [u8],
}

impl Lab {
    /// Starts BIND and the relay.
    pub fn start(plan: &Plan<'_>) -> Self {
        let folder = folder("lab");
        let authority = Authority::new(folder.path());
        let dns_port = free_port();
        let mut relay = RelayProcess::new(&configuration(plan, &authority, dns_port));
        plan.keys.iter().for_each(|domain| relay.create_key(domain));
        let homes = plan.keys.iter().chain(&["example.com"]).map(|domain| home(domain)).collect::<Vec<_>>().concat();
        let dns = Bind::start(dns_port, &format!("{ZONE}{homes}{}\n{}", relay.records(), plan.zone));
        relay.start();
        Self { relay, dns, authority, _folder: folder }
    }

    /// Host and port of a listener: `plain`, `starttls`, `tls`, `proxied`.
    pub fn address(&self, listener: &str) -> SocketAddr {
        self.relay.address(listener).parse().unwrap()
    }

    /// Submits over the plain listener; the reply that ended it.
    pub fn submit(&self, submission: &Submission<'_>) -> String {
        let mut client = Client::connect(submission.client, self.address("plain"));
        let rcpts = submission.rcpts.iter().map(|rcpt| format!("RCPT TO:{rcpt}"));
        for command in std::iter::once(format!("MAIL FROM:{}", submission.mail)).chain(rcpts).chain(["DATA".to_owned()]) {
            let reply = client.command(command.as_bytes());
            if !reply.starts_with(['2', '3']) {
                return reply;
            }
        }
        let mut stuffed = Vec::with_capacity(submission.message.len() + 64);
        for line in submission.message.split_inclusive(|octet| *octet == b'\n') {
            stuffed.extend_from_slice(if line.starts_with(b".") { b"." } else { b"" });
            stuffed.extend_from_slice(line);
        }
        stuffed.extend_from_slice(b".");
        client.command(&stuffed)
    }

    /// Host and port of a listener as a client's argument.
    pub fn at(&self, listener: &str) -> String {
        self.address(listener).to_string()
    }

    /// Waits for an event of the relay's log that is such.
    pub fn event(&self, name: &str, such: impl Fn(&Value) -> bool) -> Value {
        self.event_such(name, |event| event["event"] == name && such(event))
    }

    /// Waits for any event that is such; fails after a minute with everything the relay said.
    pub fn event_such(&self, what: &str, such: impl Fn(&Value) -> bool) -> Value {
        let told = || format!("{what} in\n{}", self.relay.log().iter().map(Value::to_string).collect::<Vec<_>>().join("\n"));
        wait_or_tell(|| self.relay.log().into_iter().find(|event| such(event)), told)
    }

    /// Asks the relay to stop, which must end well.
    pub fn stop(mut self) {
        let (code, log) = self.relay.stop();
        assert_eq!(code, Some(0), "a drain ends with 0: {log:#?}");
    }
}

/// A connection of a lock-step client.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(from: Ipv4Addr, to: SocketAddr) -> Self {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let mut client = Self(BufReader::new(stream));
        client.reply();
        client.command(b"EHLO client.example.com");
        client
    }

    fn command(&mut self, octets: &[u8]) -> String {
        self.0.get_mut().write_all(&[octets, b"\r\n"].concat()).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> String {
        let mut text = String::new();
        loop {
            let start = text.len();
            assert!(self.0.read_line(&mut text).unwrap() > 0, "the relay closed the connection after {text:?}");
            if text.as_bytes().get(start + 3) != Some(&b'-') {
                return text.trim_end().to_owned();
            }
        }
    }
}

fn configuration(plan: &Plan<'_>, authority: &Authority, dns_port: u16) -> String {
    let certificate = authority.issue("relay.example.com");
    let (chain, key, ca) = (certificate.chain.display(), certificate.key.display(), authority.file().display().to_string());
    // As the one built in, but so that tests need not wait out its pauses.
    let shaping = authority.file().with_file_name("shaping.toml");
    std::fs::write(&shaping, SHAPING).unwrap();
    let shaping = shaping.display();
    let Plan { mx_port, deliver, domain, tables, .. } = plan;
    let retry = plan.retry.unwrap_or("[\"1s\", \"1s\", \"2s\"]");
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [log]
        format = "json"
        [tls]
        client_ca_file = "{ca}"
        [tls.certificates.relay]
        chain = "{chain}"
        key = "{key}"
        [listeners.plain]
        address = "127.0.0.1:0"
        tls = "none"
        auth_without_tls = true
        [listeners.starttls]
        address = "127.0.0.1:0"
        tls = "starttls-required"
        [listeners.tls]
        address = "127.0.0.1:0"
        tls = "implicit"
        [listeners.proxied]
        address = "127.0.0.1:0"
        tls = "starttls"
        proxy_protocol = true
        proxies = ["127.0.0.0/8"]
        handshake_timeout = "5s"
        [identities.application]
        networks = ["127.0.0.2/32"]
        author_domains = ["example.com"]
        allow_proxy_networks = true
        [identities.list]
        networks = ["127.0.0.3/32"]
        mode = "forward"
        forward_domain = "list.example"
        allow_proxy_networks = true
        [identities.behind-proxy]
        networks = ["10.9.8.0/24"]
        author_domains = ["example.com"]
        [identities.billing]
        certificate_names = ["dns:billing.example.com"]
        author_domains = ["example.com"]
        [domains."example.com"]
        {domain}
        [domains."list.example"]
        [resolver]
        nameservers = ["127.0.0.1:{dns_port}"]
        timeout = "5s"
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [deliver]
        mx_port = {mx_port}
        private_addresses_allowed = true
        retry = {retry}
        shaping_file = "{shaping}"
        jitter_percent = 0
        {deliver}
        [deliver.tls]
        roots = "only-ca-file"
        ca_file = "{ca}"
        {tables}
        "#
    )
}

const SHAPING: &str = "\
[other]
pause_seconds_max = 2
[[other.rules]]
reply = \"421\"
then = \"slow\"
pause_seconds = 1
";

/// What a domain that sends publishes beside its keys.
fn home(domain: &str) -> String {
    format!(
        "b.{domain}. IN MX 10 relay.example.com.\nb.{domain}. IN TXT \"v=spf1 a:relay.example.com ~all\"\n\
        _dmarc.{domain}. IN TXT \"v=DMARC1; p=none; rua=mailto:dmarc@{domain}\"\n"
    )
}

const ZONE: &str = "\
relay.example.com. IN A 127.0.0.1
relay.example.com. IN TXT \"v=spf1 a -all\"
mx.example.net. IN A 127.0.0.1
example.net. IN MX 10 mx.example.net.
example.com. IN MX 10 mx.example.net.
example.com. IN TXT \"v=spf1 -all\"
example.net. IN A 192.0.2.1
";
