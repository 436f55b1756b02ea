//! The relays that are measured: each configured as its own documentation has it, for the same duty.
//!
//! All of them listen on loopback, take what comes from there, sign with the same RSA-2048 key (relaxed/relaxed), keep the mail on the
//! same disk and hand it to the sink. What any of them does by default beyond that (scanning, resolving names) is turned off where it
//! can be, in its own favour.

use crate::account::Group;
use crate::message::DOMAIN;
use anyhow::{Context, bail};
use postseal::keys::PrivateKey;
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A relay and what it is to sign with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum System {
    /// This one, with an ARC set or without.
    Postseal {
        /// Two more signatures.
        arc: bool,
    },
    /// Postfix with OpenDKIM as its milter.
    OpenDkim,
    /// Postfix with rspamd as its milter, reduced to its signing modules.
    Rspamd {
        /// Two more signatures.
        arc: bool,
    },
}

/// What all systems of a measurement share.
#[derive(Debug, Clone)]
pub struct Around {
    /// Where each gets a folder.
    pub folder: PathBuf,
    /// The release build of this program.
    pub program: PathBuf,
    /// What signs.
    pub key: PrivateKey,
    /// Where the sink listens.
    pub sink: SocketAddr,
    /// The sink offers STARTTLS.
    pub tls: bool,
    /// A DNS whose MX records all lead to the sink; without it everything goes to a smart host.
    pub dns: Option<SocketAddr>,
    /// Count how often each calls fsync; it is a little slower for it.
    pub traced: bool,
}

/// A relay at work; it ends when dropped.
pub struct Running {
    /// Where it takes mail.
    pub address: SocketAddr,
    /// All its processes.
    pub group: std::sync::Arc<Group>,
    trace: Option<PathBuf>,
    stop: Option<Command>,
}

impl fmt::Display for System {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postseal { arc: false } => "postseal",
            Self::Postseal { arc: true } => "postseal, ARC",
            Self::OpenDkim => "Postfix+OpenDKIM",
            Self::Rspamd { arc: false } => "Postfix+rspamd",
            Self::Rspamd { arc: true } => "Postfix+rspamd, ARC",
        })
    }
}

impl System {
    /// What it is called on a file system.
    fn name(self) -> &'static str {
        match self {
            Self::Postseal { .. } => "postseal",
            Self::OpenDkim => "opendkim",
            Self::Rspamd { .. } => "rspamd",
        }
    }

    /// Where this one keeps its queue.
    pub fn queue(self, around: &Around) -> PathBuf {
        around.folder.join(self.name()).join("queue")
    }

    /// Configures and starts it, with an empty queue.
    pub fn start(self, around: &Around) -> anyhow::Result<Running> {
        let folder = around.folder.join(self.name());
        if folder.exists() {
            std::fs::remove_dir_all(&folder).with_context(|| format!("{} cannot be emptied", folder.display()))?;
        }
        self.start_again(around)
    }

    /// Configures and starts it, with what is in its queue.
    pub fn start_again(self, around: &Around) -> anyhow::Result<Running> {
        let folder = around.folder.join(self.name());
        make(&folder, 0o755)?;
        let port = free_port()?;
        let group = std::sync::Arc::new(Group::new(self.name())?);
        let trace = around.traced.then(|| folder.join("fsyncs"));
        let site = Site { folder: &folder, port, around, group: &group, trace: trace.as_deref() };
        let stop = match self {
            Self::Postseal { arc } => postseal(&site, arc)?,
            Self::OpenDkim => {
                let socket = opendkim(&site)?;
                Some(postfix(&site, &socket)?)
            }
            Self::Rspamd { arc } => {
                let socket = rspamd(&site, arc)?;
                Some(postfix(&site, &socket)?)
            }
        };
        let running = Running { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), group, trace, stop };
        running.greets().with_context(|| format!("{self} does not start; see {}", folder.display()))?;
        Ok(running)
    }
}

impl Running {
    /// Waits for its greeting.
    fn greets(&self) -> anyhow::Result<()> {
        use std::io::Read as _;
        let began = Instant::now();
        while began.elapsed() < START {
            if let Ok(mut stream) = std::net::TcpStream::connect(self.address) {
                stream.set_read_timeout(Some(START))?;
                let mut greeting = [0; 3];
                if stream.read_exact(&mut greeting).is_ok() && &greeting == b"220" {
                    let _ = stream.write_all(b"QUIT\r\n"); // it may close first
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        bail!("nobody greets at {} within {START:?}", self.address);
    }

    /// How often it called fsync or fdatasync so far.
    pub fn fsyncs(&self) -> Option<u64> {
        let text = std::fs::read_to_string(self.trace.as_ref()?).unwrap_or_default();
        Some(text.lines().filter(|line| line.contains("sync(")).count() as u64)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(stop) = &mut self.stop {
            let _ = stop.stdout(Stdio::null()).stderr(Stdio::null()).status(); // whatever is left is ended with the group
        }
        self.group.end();
    }
}

/// Where a system is set up.
struct Site<'a> {
    folder: &'a Path,
    port: u16,
    around: &'a Around,
    group: &'a Group,
    trace: Option<&'a Path>,
}

impl Site<'_> {
    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
        Ok(path)
    }

    /// The key, readable by who has this mode.
    fn key(&self, mode: u32) -> anyhow::Result<PathBuf> {
        let path = self.write("dkim.pem", &self.around.key.to_pem())?;
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode))?;
        Ok(path)
    }

    /// A command in the group, traced where that is asked, its words in a file.
    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = match self.trace {
            Some(trace) => {
                let mut command = self.group.command("strace");
                command.args(["-f", "-qq", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-e", "signal=none", "-A", "-o"]).arg(trace).arg(program);
                command
            }
            None => self.group.command(program),
        };
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// Runs a command that leaves a daemon behind.
    fn daemon(&self, mut command: Command) -> anyhow::Result<()> {
        if self.trace.is_some() {
            command.spawn()?; // the tracer stays
            return Ok(());
        }
        let ended = command.status()?;
        if ended.success() { Ok(()) } else { bail!("{ended}; see {}", self.folder.join("log").display()) }
    }
}

fn postseal(site: &Site<'_>, arc: bool) -> anyhow::Result<Option<Command>> {
    site.key(0o600)?;
    let sink = site.around.sink;
    let sink_port = sink.port().to_string();
    let admin = free_port()?.to_string();
    let (port, queue) = (site.port.to_string(), site.folder.join("queue").display().to_string());
    let filled = [
        ("@DOMAIN@", DOMAIN),
        ("@SELECTOR@", SELECTOR),
        ("@LISTEN_PORT@", &port),
        ("@AUX_PORT@", &admin),
        ("@WORK@/queue", &queue),
        ("@ARC@", if arc { "always" } else { "never" }),
        ("@ROUTE@", if site.around.dns.is_some() { "mx" } else { "sink" }),
        ("@SINK_PORT@", &sink_port),
        ("@HOP_TLS@", if site.around.tls { "opportunistic" } else { "none" }),
    ];
    let mut text = filled.iter().fold(include_str!("postseal/postseal.toml.in").to_owned(), |text, (name, value)| text.replace(name, value));
    let _ = writeln!(text, "mx_port = {sink_port}"); // a String takes all
    if let Some(dns) = site.around.dns {
        let _ = writeln!(text, "\n[resolver]\nnameservers = [\"{dns}\"]");
    }
    let config = site.write("postseal.toml", &text)?;
    let mut command = site.command(&site.around.program.display().to_string())?;
    command.arg("serve").arg("--config").arg(config).spawn().context("postseal does not run")?;
    Ok(None)
}

/// Gives the milter's socket.
fn opendkim(site: &Site<'_>) -> anyhow::Result<String> {
    let key = site.key(0o600)?;
    let socket = site.folder.join("milter.sock");
    let config = site.write(
        "opendkim.conf",
        &format!(
            "Mode s\nDomain {DOMAIN}\nSelector {SELECTOR}\nKeyFile {}\nRequireSafeKeys no\nCanonicalization relaxed/relaxed\n\
             SignatureAlgorithm rsa-sha256\nOversignHeaders From\nInternalHosts 127.0.0.0/8\nSocket local:{}\nUMask 000\nPidFile {}\n\
             Syslog no\nBackground yes\n",
            key.display(),
            socket.display(),
            site.folder.join("opendkim.pid").display(),
        ),
    )?;
    let mut command = site.command("opendkim")?;
    command.arg("-x").arg(config);
    site.daemon(command)?;
    appears(&socket)?;
    Ok(format!("unix:{}", socket.display()))
}

/// Gives the milter's socket.
fn rspamd(site: &Site<'_>, arc: bool) -> anyhow::Result<String> {
    let key = site.key(0o644)?;
    let own = site.folder.join("rspamd");
    make(&own, 0o777)?;
    // Compiled once: that takes some seconds.
    let cache = site.around.folder.join("rspamd-cache");
    make(&cache, 0o777)?;
    let cache = cache.display();
    let (socket, own) = (own.join("milter.sock"), own.display().to_string());
    let key = key.display();
    let signing = format!(
        "sign_local = true; sign_authenticated = true; sign_inbound = true; use_domain = \"header\"; use_esld = false;\n\
         allow_hdrfrom_mismatch = true; try_fallback = false; check_pubkey = false;\n\
         domain {{ {DOMAIN} {{ path = \"{key}\"; selector = \"{SELECTOR}\"; }} }}\n"
    );
    let arc = if arc { format!("arc {{\n{signing}}}\n") } else { String::new() };
    let config = site.write(
        "rspamd.conf",
        &format!(
            "options {{ pidfile = \"{own}/pid\"; filters = \"dkim\"; explicit_modules = [\"settings\"]; cache_file = \"{own}/cache\";\n\
             hs_cache_dir = \"{cache}/\"; history_file = \"{own}/history\"; stats_file = \"{own}/stats\"; tempdir = \"{own}\";\n\
             local_addrs = [127.0.0.0/8]; disable_monitoring = true; dns {{ nameserver = [\"127.0.0.1:9:1\"]; timeout = 1s; }} }}\n\
             logging {{ type = \"file\"; filename = \"{own}/log\"; level = \"notice\"; }}\n\
             worker \"rspamd_proxy\" {{ bind_socket = \"{} mode=0666 owner=_rspamd\"; milter = yes; timeout = 120s; count = 2;\n\
             upstream \"local\" {{ default = yes; self_scan = yes; }} }}\n\
             modules {{ path = \"/usr/share/rspamd/plugins/dkim_signing.lua\"; path = \"/usr/share/rspamd/plugins/arc.lua\";\n\
             path = \"/usr/share/rspamd/plugins/milter_headers.lua\"; }}\n\
             metric \"default\" {{ actions {{ reject = 1500; add_header = 600; greylist = 400; }} }}\n\
             dkim {{ sign_headers = \"(o)from:(o)to:(o)subject:(o)date:cc:reply-to:message-id:mime-version:content-type:content-transfer-encoding\"; }}\n\
             dkim_signing {{\n{signing}}}\n{arc}",
            socket.display(),
        ),
    )?;
    let mut command = site.command("rspamd")?;
    command.args(["-u", "_rspamd", "-g", "_rspamd", "-c"]).arg(config);
    site.daemon(command)?;
    appears(&socket)?;
    Ok(format!("unix:{}", socket.display()))
}

/// Gives the command that stops it.
fn postfix(site: &Site<'_>, milter: &str) -> anyhow::Result<Command> {
    let config = site.folder.join("postfix");
    make(&config, 0o755)?;
    let (spool, data) = (site.folder.join("spool"), site.folder.join("data"));
    make(&spool, 0o755)?;
    make(&data, 0o755)?;
    run(Command::new("chown").arg("postfix").arg(&data))?;
    let Around { sink, tls, .. } = site.around;
    let tls = if *tls { "may" } else { "none" };
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {}\ndata_directory = {}\nmail_owner = postfix\nsetgid_group = postdrop\n\
         myhostname = relay.{DOMAIN}\nmydestination =\nmynetworks = 127.0.0.0/8\ninet_interfaces = 127.0.0.1\ninet_protocols = ipv4\n\
         alias_maps =\nalias_database =\nrelayhost = [{}]:{}\nsmtp_dns_support_level = disabled\nsmtpd_peername_lookup = no\n\
         smtpd_relay_restrictions = permit_mynetworks, reject\nsmtpd_client_connection_count_limit = 0\n\
         smtp_tls_security_level = {tls}\nsmtp_tls_connection_reuse = yes\nsmtp_tls_session_cache_database = btree:{}/smtp_scache\n\
         maillog_file = {}/maillog\nmaillog_file_prefixes = {}\nsmtpd_milters = {milter}\nmilter_default_action = tempfail\n",
        spool.display(),
        data.display(),
        sink.ip(),
        sink.port(),
        data.display(),
        site.folder.display(),
        site.folder.display(),
    );
    site.write("postfix/main.cf", &main)?;
    site.write("postfix/dynamicmaps.cf", "")?;
    site.write("postfix/master.cf", &format!("127.0.0.1:{} inet n - n - - smtpd\n{SERVICES}", site.port))?;
    let mut command = site.command("postfix")?;
    command.arg("-c").arg(&config).arg("start");
    site.daemon(command)?;
    let mut stop = Command::new("postfix");
    stop.arg("-c").arg(&config).arg("stop");
    Ok(stop)
}

fn make(folder: &Path, mode: u32) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    Ok(std::fs::set_permissions(folder, PermissionsExt::from_mode(mode))?)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let ended = command.status().with_context(|| format!("{command:?} does not run"))?;
    if ended.success() { Ok(()) } else { bail!("{command:?}: {ended}") }
}

fn appears(socket: &Path) -> anyhow::Result<()> {
    let began = Instant::now();
    while !socket.exists() {
        if began.elapsed() > START {
            bail!("{} does not appear within {START:?}", socket.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A port of loopback that nobody has.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The selector of the key.
pub const SELECTOR: &str = "bench";
const START: Duration = Duration::from_mins(1);

/// The services of Postfix that a relay needs.
const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsproxy unix - - n - 0 tlsproxy
postlog unix-dgram n - n - 1 postlogd
";
