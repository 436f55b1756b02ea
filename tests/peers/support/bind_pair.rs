//! BIND three times, on loopback addresses of one port: a primary that takes dynamic updates under TSIG, its secondary, which follows at
//! once or lags, and a caching resolver in front of both that is the authority for everything else.
//!
//! | address | who | name in every zone of the pair |
//! |---|---|---|
//! | 127.0.0.1 | resolver | |
//! | 127.0.0.2 | primary | `ns1` |
//! | 127.0.0.3, ::1 | secondary | `ns2` |
//!
//! BIND listens on addresses that an interface has, which of these is 127.0.0.1 alone; doors take the others' datagrams and connections
//! and hand them on, and are closed when their server is stopped.

#![allow(dead_code, reason = "each test uses its part")]

use super::{Process, folder, free_port, program, wait_or_tell};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustix::process::Signal;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

/// Primary, secondary, resolver.
pub struct Pair {
    pub primary: Named,
    pub secondary: Named,
    pub resolver: Named,
    zones: Vec<String>,
    /// The TSIG key that updates are signed with, hmac-sha256: its name.
    pub tsig_name: &'static str,
    /// Its secret in base64.
    pub tsig_secret: String,
}

/// One zone of a pair.
#[derive(Debug, Clone, Copy)]
pub struct Zone<'a> {
    /// Its apex, without a final dot.
    pub origin: &'a str,
    /// Its records besides SOA and NS, in the form of a zone file; names are relative to the apex or end in a dot.
    pub records: &'a str,
    /// Its NS records and the addresses of its servers; empty for `ns1` and `ns2` at the addresses above.
    pub servers: &'a str,
    /// TTL of its records, in seconds.
    pub ttl: u32,
    /// How long its absence of records may be remembered, in seconds.
    pub negative_ttl: u32,
}

impl<'a> Zone<'a> {
    /// A zone with both servers of the pair, whose answers are remembered for two seconds.
    pub fn new(origin: &'a str, records: &'a str) -> Self {
        Self { origin, records, servers: "", ttl: 2, negative_ttl: 2 }
    }

    fn text(&self, records: &str, serial: u32) -> String {
        let servers = if self.servers.is_empty() { SERVERS } else { self.servers };
        let Self { ttl, negative_ttl, .. } = self;
        format!("$TTL {ttl}\n@ IN SOA ns1 hostmaster {serial} 3600 3600 86400 {negative_ttl}\n{servers}\n{records}\n")
    }
}

const SERVERS: &str = "@ IN NS ns1\n@ IN NS ns2\nns1 IN A 127.0.0.2\nns2 IN A 127.0.0.3\n";
const UPDATER: &str = "updater.postseal.test";

impl Pair {
    /// Starts all three with these zones; `others` are records of any other name, fully qualified, that the resolver answers by itself.
    /// Waits until both servers have every zone.
    pub fn start(zones: &[Zone<'_>], others: &str) -> Self {
        let port = free_port();
        let tsig_secret = BASE64.encode(rand::random::<[u8; 32]>());
        let primary = Named::new("primary", Some(Ipv4Addr::new(127, 0, 0, 2)), port);
        let secondary = Named::new("secondary", Some(Ipv4Addr::new(127, 0, 0, 3)), port);
        let resolver = Named::new("resolver", None, port);
        let origins = zones.iter().map(|zone| zone.origin.to_owned()).collect();
        let mut pair = Self { primary, secondary, resolver, zones: origins, tsig_name: UPDATER, tsig_secret };
        for zone in zones {
            std::fs::write(pair.primary.zone_file(zone.origin), zone.text(zone.records, 1)).unwrap();
        }
        pair.primary.configure(&pair.primary_zones(true));
        pair.secondary.configure(&pair.secondary_zones(pair.primary.own_port));
        pair.configure_resolver(zones, others);
        pair.primary.start();
        pair.secondary.start();
        pair.resolver.start();
        pair.wait_until_agreed();
        pair
    }

    /// Where all listen.
    pub fn port(&self) -> u16 {
        self.primary.port
    }

    /// What `resolver.nameservers` is to name.
    pub fn nameserver(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port()))
    }

    /// Where dynamic updates go.
    pub fn update_server(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 2], self.port()))
    }

    /// Gives a zone other records, at the primary; the secondary follows, unless it lags. Waits for the primary.
    pub fn replace(&self, zone: &Zone<'_>) {
        let serial = self.primary.serial(zone.origin).expect("the primary has the zone") + 1;
        self.primary.rndc(&["freeze", zone.origin]);
        std::fs::write(self.primary.zone_file(zone.origin), zone.text(zone.records, serial)).unwrap();
        self.primary.rndc(&["thaw", zone.origin]);
        wait_or_tell(|| self.primary.serial(zone.origin).filter(|has| *has >= serial), || format!("serial {serial}: {}", self.primary.log()));
    }

    /// Whether the secondary lags from now on: the primary tells it of no change, and it would ask in an hour.
    pub fn lag(&self, lags: bool) {
        self.primary.configure(&self.primary_zones(!lags));
        self.primary.rndc(&["reconfig"]);
        if !lags {
            self.zones.iter().for_each(|zone| drop(self.secondary.rndc(&["retransfer", zone])));
            self.wait_until_agreed();
        }
    }

    /// Takes all zones from the secondary, as if they had expired: it answers SERVFAIL.
    pub fn break_secondary(&mut self) {
        self.secondary.stop();
        for zone in &self.zones {
            let _ = std::fs::remove_file(self.secondary.zone_file(zone));
        }
        self.secondary.configure(&self.secondary_zones(free_port())); // nobody is there
        self.secondary.start();
    }

    /// Gives it its zones again; it has been stopped, held or broken. It forgets what it had, so that it says nothing before it has
    /// what the primary has: not one old answer.
    pub fn mend_secondary(&mut self) {
        self.secondary.kill();
        for zone in &self.zones {
            let _ = std::fs::remove_file(self.secondary.zone_file(zone));
        }
        self.secondary.configure(&self.secondary_zones(self.primary.own_port));
        self.secondary.start();
        self.zones.iter().for_each(|zone| drop(self.secondary.rndc(&["retransfer", zone])));
        self.wait_until_agreed();
    }

    /// Waits until the secondary has what the primary has.
    pub fn wait_until_agreed(&self) {
        for zone in &self.zones {
            let agreed = || self.primary.serial(zone).filter(|serial| self.secondary.serial(zone) == Some(*serial));
            wait_or_tell(agreed, || format!("the secondary to follow in {zone}: {}\n{}", self.primary.log(), self.secondary.log()));
        }
    }

    fn primary_zones(&self, notify: bool) -> String {
        let port = self.secondary.own_port;
        let notify = if notify { format!("notify explicit; also-notify {{ 127.0.0.1 port {port}; }}; notify-delay 0;") } else { "notify no;".to_owned() };
        let mut zones = format!("key \"{UPDATER}\" {{ algorithm hmac-sha256; secret \"{}\"; }};\n", self.tsig_secret);
        for zone in &self.zones {
            let file = self.primary.zone_file(zone).display().to_string();
            let _ = writeln!(
                zones,
                "zone \"{zone}\" {{ type primary; file \"{file}\"; allow-update {{ key \"{UPDATER}\"; }}; allow-transfer {{ any; }}; {notify} }};"
            );
        }
        zones
    }

    fn secondary_zones(&self, primary_port: u16) -> String {
        let zone = |zone: &String| {
            let file = self.secondary.zone_file(zone).display().to_string();
            format!(
                "zone \"{zone}\" {{ type secondary; file \"{file}\"; primaries {{ 127.0.0.1 port {primary_port}; }}; allow-notify {{ any; }}; masterfile-format text; }};\n"
            )
        };
        self.zones.iter().map(zone).collect()
    }

    fn configure_resolver(&self, zones: &[Zone<'_>], others: &str) {
        let (primary, secondary) = (self.primary.own_port, self.secondary.own_port);
        let mut root = String::from("$TTL 5\n@ IN SOA ns. hostmaster. 1 60 60 60 5\n@ IN NS ns.\nns. IN A 127.0.0.1\n");
        let mut config = format!("zone \".\" {{ type primary; file \"{}\"; }};\n", self.resolver.zone_file("root").display());
        for Zone { origin, .. } in zones {
            if !zones.iter().any(|other| origin.ends_with(&format!(".{}", other.origin))) {
                let _ = writeln!(root, "{origin}. IN NS ns1.{origin}.\nns1.{origin}. IN A 127.0.0.2");
            }
            let _ = writeln!(
                config,
                "zone \"{origin}\" {{ type forward; forward only; forwarders {{ 127.0.0.1 port {primary}; 127.0.0.1 port {secondary}; }}; }};"
            );
        }
        std::fs::write(self.resolver.zone_file("root"), format!("{root}{others}\n")).unwrap();
        self.resolver.configure(&format!("{config}\n// recursion"));
    }
}

/// One `named`, behind a door where it stands at an address of its own.
pub struct Named {
    name: &'static str,
    /// Where its door is, and the port of all doors.
    address: Option<Ipv4Addr>,
    port: u16,
    /// Its port of 127.0.0.1.
    own_port: u16,
    control_port: u16,
    folder: TempDir,
    process: Option<Process>,
    door: Option<Door>,
}

impl Named {
    fn new(name: &'static str, address: Option<Ipv4Addr>, port: u16) -> Self {
        let own_port = if address.is_some() { free_port() } else { port };
        let named = Self { name, address, port, own_port, control_port: free_port(), folder: folder(name), process: None, door: None };
        let secret = BASE64.encode(rand::random::<[u8; 32]>());
        let key = format!("key \"rndc-key\" {{ algorithm hmac-sha256; secret \"{secret}\"; }};\n");
        let control = format!("{key}options {{ default-server 127.0.0.1; default-port {}; default-key \"rndc-key\"; }};\n", named.control_port);
        std::fs::write(named.file("rndc.conf"), control).unwrap();
        std::fs::write(named.file("rndc.key"), key).unwrap();
        named
    }

    /// Answers nothing until [`Named::go_on`].
    pub fn hold(&self) {
        self.process.iter().for_each(|process| process.signal_group(Signal::STOP));
    }

    /// Answers again.
    pub fn go_on(&self) {
        self.process.iter().for_each(|process| process.signal_group(Signal::CONT));
    }

    /// Ends it without another word, held or not.
    pub fn kill(&mut self) {
        self.process.iter().for_each(|process| process.signal_group(Signal::KILL));
        self.stop();
    }

    /// Ends it: its port is closed.
    pub fn stop(&mut self) {
        self.door = None;
        self.process = None;
    }

    /// Starts it again with what it had.
    pub fn start(&mut self) {
        let config = self.file("named.conf").display().to_string();
        let named = program("named").unwrap();
        let process = Process::spawn(self.name, &named, &["-g", "-n", "1", "-c", &config], &self.file("log"));
        self.process = Some(process.wait_for_word(" running"));
        self.door = self.address.map(|address| Door::open(address, self.port, self.own_port));
    }

    /// What it said since it was started.
    pub fn log(&self) -> String {
        self.process.as_ref().map_or_else(String::new, Process::log)
    }

    /// The serial of the zone it has, if it has it.
    pub fn serial(&self, zone: &str) -> Option<u32> {
        let status = self.rndc(&["zonestatus", zone]);
        status.lines().find_map(|line| line.strip_prefix("serial: ")).and_then(|serial| serial.trim().parse().ok())
    }

    /// Asks `rndc` for something; what it said.
    pub fn rndc(&self, arguments: &[&str]) -> String {
        let config = self.file("rndc.conf");
        let output = Command::new(program("rndc").unwrap()).arg("-c").arg(config).args(arguments).output().unwrap();
        [output.stdout, output.stderr].map(|octets| String::from_utf8_lossy(&octets).into_owned()).concat()
    }

    fn configure(&self, zones: &str) {
        let Self { port, own_port, control_port, .. } = self;
        let folder = self.folder.path().display();
        let v6 = if self.name == "secondary" { format!("listen-on-v6 port {port} {{ ::1; }};") } else { "listen-on-v6 { none; };".to_owned() };
        let recursion = if zones.contains("// recursion") { "yes" } else { "no" };
        let config = format!(
            "include \"{folder}/rndc.key\";\n\
             options {{ directory \"{folder}\"; listen-on port {own_port} {{ 127.0.0.1; }}; {v6} pid-file none; session-keyfile none;\n\
             recursion {recursion}; allow-query {{ any; }}; dnssec-validation no;\n\
             servfail-ttl 0; empty-zones-enable no; }};\n\
             controls {{ inet 127.0.0.1 port {control_port} allow {{ 127.0.0.0/8; }} keys {{ \"rndc-key\"; }}; }};\n{zones}"
        );
        std::fs::write(self.file("named.conf"), config).unwrap();
    }

    fn zone_file(&self, zone: &str) -> PathBuf {
        self.file(&format!("{zone}.zone"))
    }

    fn file(&self, name: &str) -> PathBuf {
        let folder: &Path = self.folder.path();
        folder.join(name)
    }
}

/// An address whose datagrams and connections go to a port of 127.0.0.1.
struct Door(Option<Runtime>);

impl Door {
    fn open(address: Ipv4Addr, port: u16, to: u16) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (udp, tcp) = runtime.block_on(async { (UdpSocket::bind((address, port)).await.unwrap(), TcpListener::bind((address, port)).await.unwrap()) });
        let inside = SocketAddr::from((Ipv4Addr::LOCALHOST, to));
        runtime.spawn(datagrams(Arc::new(udp), inside));
        runtime.spawn(connections(tcp, inside));
        Self(Some(runtime))
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // Not within a task of some other runtime, where it must not wait.
        self.0.take().into_iter().for_each(|runtime| drop(std::thread::spawn(|| drop(runtime)).join()));
    }
}

async fn datagrams(outside: Arc<UdpSocket>, inside: SocketAddr) {
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = outside.recv_from(&mut buffer).await {
        let (outside, question) = (outside.clone(), buffer[..length].to_vec());
        tokio::spawn(async move {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            socket.connect(inside).await?;
            socket.send(&question).await?;
            let mut answer = [0; 4096];
            let length = tokio::time::timeout(Duration::from_secs(10), socket.recv(&mut answer)).await??;
            outside.send_to(&answer[..length], client).await
        });
    }
}

async fn connections(outside: TcpListener, inside: SocketAddr) {
    while let Ok((mut client, _)) = outside.accept().await {
        tokio::spawn(async move {
            let mut server = TcpStream::connect(inside).await?;
            tokio::io::copy_bidirectional(&mut client, &mut server).await
        });
    }
}
