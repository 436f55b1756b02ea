//! The real program under a service manager that the tests play: what it is told, and sockets that it passes.

use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What listens at `NOTIFY_SOCKET`.
struct Manager {
    folder: TempDir,
    socket: UnixDatagram,
    heard: RefCell<Vec<String>>,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap(); // a short path: a socket's name has 108 octets
        let socket = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self { folder, socket, heard: RefCell::default() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("notify")
    }

    /// The next datagram; fails after a minute.
    fn next(&self) -> String {
        let mut octets = [0; 4096];
        let length = self.socket.recv(&mut octets).unwrap_or_else(|error| panic!("{error}; heard so far: {:#?}", self.heard.borrow()));
        let text = String::from_utf8(octets[..length].to_vec()).unwrap();
        self.heard.borrow_mut().push(text.clone());
        text
    }

    /// The next datagram with this in it.
    fn hear(&self, word: &str) -> String {
        let began = Instant::now();
        loop {
            let text = self.next();
            if text.contains(word) {
                return text;
            }
            assert!(began.elapsed() < Duration::from_mins(1), "no {word:?} in {:#?}", self.heard.borrow());
        }
    }

    /// `serve`, told of this manager, whose watchdog bites after three seconds.
    fn serve(&self, relay: &RelayProcess) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
        command.args(["serve", "--config"]).arg(relay.config()).env("NOTIFY_SOCKET", self.path()).env("WATCHDOG_USEC", "3000000");
        command
    }
}

#[test]
fn a_service_manager_is_told_of_start_status_reload_and_end() {
    let mut relay = RelayProcess::new(&config("[listeners.submission]\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n"));
    let manager = Manager::new();
    relay.begin_by(&mut manager.serve(&relay));
    assert_eq!(manager.next(), "STATUS=starting: the spool is opened\n");
    let ready = manager.hear("READY=1");
    assert!(manager.heard.borrow().iter().any(|text| text == "EXTEND_TIMEOUT_USEC=20000000\n"), "{:?}", manager.heard.borrow());
    assert_eq!(ready, "READY=1\nSTATUS=taking mail\n");
    relay.wait_for("relay.started"); // the log's reader may be later than we
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap(); // it is open: no waiting
    assert_eq!(manager.hear("WATCHDOG=1"), "WATCHDOG=1\nSTATUS=taking mail; nothing waits\n");

    assert!(client.send("app@example.com", &["you@example.net"], &message("stays")).unwrap().starts_with("250"));
    manager.hear("WATCHDOG=1\nSTATUS=taking mail; 1 mail waits for 1 recipient\n");

    let good = std::fs::read_to_string(relay.config()).unwrap();
    for (text, event) in [(good.as_str(), "config.reloaded"), ("no TOML", "config.rejected")] {
        std::fs::write(relay.config(), text).unwrap();
        relay.signal("HUP");
        let reloading = manager.hear("RELOADING=1");
        let micros: u128 = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end().parse().unwrap();
        let now = Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic)).unwrap().as_micros();
        assert!(micros <= now && now - micros < 60_000_000, "{micros} {now}");
        manager.hear("READY=1\n"); // whatever came of it, the relay goes on
        relay.wait_for(event);
    }
    manager.hear("WATCHDOG=1");
    drop(client);
    assert_eq!(relay.stop().0, Some(0));
    manager.hear("STOPPING=1\nSTATUS=draining");
    manager.socket.set_nonblocking(true).unwrap();
    while manager.socket.recv(&mut [0; 4096]).is_ok() {}
}

#[test]
fn a_start_that_fails_tells_the_service_manager_why() {
    let manager = Manager::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = RelayProcess::new(&config(&format!("[listeners.submission]\naddress = \"{}\"\ntls = \"none\"\n", taken.local_addr().unwrap())));
    let status = tell_quietly(&mut manager.serve(&relay));
    assert_eq!(status, Some(1));
    assert!(manager.hear("cannot start").contains("listener \"submission\" cannot listen"));
    std::fs::write(relay.config(), "hostname = 1").unwrap();
    assert_eq!(tell_quietly(&mut manager.serve(&relay)), Some(1));
    assert!(manager.hear("cannot start").contains("hostname"));
}

/// Somebody else holds the database's lock: the writer waits for it, then gives up.
#[test]
fn a_spool_that_hangs_or_fails_leaves_the_watchdog_unfed() {
    let mut relay = RelayProcess::new(&config("[listeners.submission]\naddress = \"127.0.0.1:0\"\ntls = \"none\"\n"));
    let manager = Manager::new();
    relay.start_by(&mut manager.serve(&relay));
    manager.hear("WATCHDOG=1");
    let database = rusqlite::Connection::open(relay.path().join("spool/spool.db")).unwrap();
    database.busy_timeout(Duration::from_mins(1)).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(manager.hear("stands still"), "STATUS=the spool stands still: it did not move in time\n");
    for _ in 0..3 {
        let status = manager.next();
        assert!(status.contains("stands still") && !status.contains("WATCHDOG"), "{status}");
    }
    let missed = relay.wait_until("heartbeat.missed", |event| event["error"] != "it did not move in time");
    assert_eq!((missed["during"].as_str(), missed["level"].as_str()), (Some("spool"), Some("error")), "{missed}");
    database.execute_batch("ROLLBACK").unwrap();
    assert!(manager.hear("STATUS").contains("stands still"), "a spool that has failed is not well before it is opened again");
}

#[test]
fn passed_sockets_are_taken_by_name_and_by_address_kept_by_a_reload_and_wait_for_the_next_start() {
    let (named, addressed) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let both = [&named, &addressed].map(|socket| socket.local_addr().unwrap());
    let listeners = |more: &str| {
        let [_, addressed] = both;
        config(&format!("[listeners.first]\naddress = \"127.0.0.1:1\"\ntls = \"none\"\n[listeners.second]\naddress = \"{addressed}\"\ntls = \"none\"\n{more}"))
    };
    let mut relay = RelayProcess::new(&listeners(""));
    let early = std::net::TcpStream::connect(both[1]).unwrap(); // nobody is there yet, but it is not refused
    relay.start_by(&mut passing(&relay, [&named, &addressed], "first:some.socket"));
    let [first, second] = ["first", "second"].map(|name| relay.address(name).parse::<SocketAddr>().unwrap());
    assert_eq!([first, second], both, "port 1 was never opened");
    let warned = relay.wait_until("config.warned", |event| event["warning"].to_string().contains("first"));
    assert!(warned["warning"].as_str().unwrap().ends_with("its own address, 127.0.0.1:1, is not used"), "{warned}");
    assert!(SmtpClient::over(early).unwrap().command("EHLO x").unwrap().starts_with("250"));
    let mut open = SmtpClient::connect(&second.to_string()).unwrap();

    std::fs::write(relay.config(), listeners("connections_max = 7\n")).unwrap();
    relay.signal("HUP");
    relay.wait_for("config.reloaded");
    assert!(open.command("NOOP").unwrap().starts_with("250"), "a reload ends nobody's connection");
    for address in both {
        assert!(SmtpClient::connect(&address.to_string()).unwrap().command("EHLO x").unwrap().starts_with("250"));
    }
    assert!(!relay.log().iter().any(|event| event["event"] == "listener.closed"), "nothing was opened or closed");

    std::fs::write(relay.config(), config("[listeners.first]\naddress = \"127.0.0.1:1\"\ntls = \"none\"\n")).unwrap();
    relay.signal("HUP");
    let rejected = relay.wait_for("config.rejected");
    assert!(rejected["error"].as_str().unwrap().starts_with("no listener takes the socket \"some.socket\""), "{rejected}");
    assert!(SmtpClient::connect(&second.to_string()).unwrap().command("EHLO x").unwrap().starts_with("250"), "the running state is kept");

    drop(open);
    assert_eq!(relay.stop().0, Some(0));
    let between = std::net::TcpStream::connect(both[0]).unwrap();
    std::fs::write(relay.config(), listeners("")).unwrap();
    relay.start_by(&mut passing(&relay, [&named, &addressed], "first:some.socket"));
    assert!(SmtpClient::over(between).unwrap().command("EHLO x").unwrap().starts_with("250"), "who came between two relays was not refused");
    assert_eq!(relay.stop().0, Some(0));
}

#[test]
fn a_passed_socket_that_nobody_takes_or_nobody_could_connect_to_is_a_fault() {
    let [one, two] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let only = format!("[listeners.submission]\naddress = \"{}\"\ntls = \"none\"\n", one.local_addr().unwrap());
    let relay = RelayProcess::new(&config(&only));
    let error = refused(&mut passing(&relay, [&one, &two], "submission:postseal.socket"));
    assert!(error.contains(&format!("no listener takes the socket \"postseal.socket\" at {}", two.local_addr().unwrap())), "{error}");

    let datagrams = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    for socket in [OwnedFd::from(datagrams), OwnedFd::from(silent)] {
        let mut command = wrapped(&relay, "submission");
        command.env("COUNT", "1").stdin(Stdio::from(socket));
        let error = refused(&mut command);
        assert!(error.contains("socket number 1 \"submission\" of the service manager cannot be used") && error.contains("ListenStream="), "{error}");
    }
}

/// `serve` with these sockets as descriptors 3 and 4, as systemd passes them. `LISTEN_PID` is known to the process itself alone.
fn passing(relay: &RelayProcess, [one, two]: [&TcpListener; 2], names: &str) -> Command {
    let mut command = wrapped(relay, names);
    let socket = |listener: &TcpListener| Stdio::from(OwnedFd::from(listener.try_clone().unwrap()));
    command.stdin(socket(one)).stderr(socket(two)).env("COUNT", "2");
    command
}

/// A shell that becomes `serve`; its standard input and error are the sockets.
fn wrapped(relay: &RelayProcess, names: &str) -> Command {
    let script = "exec 3<&0 4>&2 </dev/null 2>\"$ERRORS\"; [ \"$COUNT\" = 2 ] || exec 4>&-; \
                  LISTEN_PID=$$ LISTEN_FDS=$COUNT exec \"$0\" serve --config \"$1\"";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_postseal")]).arg(relay.config());
    command.env("LISTEN_FDNAMES", names).env("ERRORS", relay.path().join("errors"));
    command
}

/// What a start that fails says.
fn refused(command: &mut Command) -> String {
    let output = command.stdout(Stdio::null()).status().unwrap();
    assert_eq!(output.code(), Some(1));
    let errors = command.get_envs().find(|(name, _)| *name == "ERRORS").unwrap().1.unwrap().to_owned();
    std::fs::read_to_string(errors).unwrap()
}

fn tell_quietly(command: &mut Command) -> Option<i32> {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().code()
}

/// Nobody is at the next hop: mail waits.
fn config(listeners: &str) -> String {
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "127.0.0.1"
        port = 9
        tls = "opportunistic"
        [admin]
        enabled = false
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        {listeners}
        "#
    )
}
