//! Postfix with configuration, queue and mailboxes of its own: the real receiving server, and a real client.
//!
//! It takes mail for every domain in [`Setup::domains`] and puts all of it into one Maildir. It never changes a message (its local
//! rewriting is off), so what lies in the Maildir below the four fields it puts on top is what came over the wire.

use super::certificates::Certificate;
use super::{Process, folder, free_port, program, run, wait_or_tell, with_crlf};
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// How a Postfix is set up.
#[derive(Debug, Clone, Default)]
pub struct Setup<'a> {
    /// Its name.
    pub hostname: &'a str,
    /// The domains it takes mail for.
    pub domains: &'a [&'a str],
    /// Its port, or one that is free.
    pub port: Option<u16>,
    /// Lines for `access`: an address and what is answered to its RCPT; can be changed by [`Postfix::set_access`].
    pub access: &'a str,
    /// Offers STARTTLS with it.
    pub certificate: Option<Certificate>,
    /// More lines for `main.cf`.
    pub main: &'a str,
    /// More services for `master.cf`.
    pub services: &'a str,
}

/// A running Postfix.
pub struct Postfix {
    port: u16,
    _master: Process,
    folder: TempDir,
}

/// A message in its Maildir.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// Without angle brackets; empty for `<>`.
    pub return_path: String,
    /// The recipient.
    pub recipient: String,
    /// Postfix's own Received field, unfolded: TLS, protocol, client.
    pub received: String,
    /// The message as it came over the wire.
    pub octets: Vec<u8>,
}

impl Postfix {
    /// Starts one.
    pub fn start(setup: &Setup<'_>) -> Self {
        let folder = folder("postfix");
        let port = setup.port.unwrap_or_else(free_port);
        write_configuration(folder.path(), port, setup);
        make_folders(folder.path());
        let etc = folder.path().join("etc").display().to_string();
        let daemons = postconf("daemon_directory");
        let log = folder.path().join("master");
        let master = Process::spawn("postfix", &Path::new(&daemons).join("master"), &["-c", &etc, "-d"], &log).wait_for_port(port);
        Self { port, _master: master, folder }
    }

    /// Its SMTP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Replaces the table of answers to RCPT; connections made from now on see it.
    pub fn set_access(&self, lines: &str) {
        write_access(&self.etc(), lines);
    }

    /// Everything delivered so far, in no order.
    pub fn mails(&self) -> Vec<Delivered> {
        let Ok(files) = std::fs::read_dir(self.folder.path().join("mail/all/new")) else { return Vec::new() };
        files.flatten().map(|file| delivered(&std::fs::read(file.path()).unwrap())).collect()
    }

    /// Waits for a message that is such.
    pub fn wait_for(&self, what: &str, such: impl Fn(&Delivered) -> bool) -> Delivered {
        wait_or_tell(|| self.mails().into_iter().find(&such), || format!("{what}; Postfix says: {}", self.log()))
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Submits a message as an application on its machine would.
    pub fn sendmail(&self, arguments: &[&str], message: &str) {
        let (code, said) = run(Command::new(program("sendmail").unwrap()).arg("-C").arg(self.etc()).args(arguments), message.as_bytes());
        assert_eq!(code, 0, "{said}");
    }

    /// Every message that it holds: its recipients, and the message as it would go over the wire.
    pub fn held(&self) -> Vec<(Vec<String>, Vec<u8>)> {
        let tool = |name: &str, arguments: &[&str]| {
            let output = Command::new(program(name).unwrap()).arg("-c").arg(self.etc()).args(arguments).output().unwrap();
            assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
            output.stdout
        };
        let listed = String::from_utf8(tool("postqueue", &["-j"])).unwrap();
        let entries = listed.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()).filter(|entry| entry["queue_name"] == "hold");
        let held = entries.map(|entry| {
            let recipients = entry["recipients"].as_array().unwrap().iter().map(|to| to["address"].as_str().unwrap().to_owned()).collect();
            (recipients, with_crlf(&tool("postcat", &["-bhq", entry["queue_id"].as_str().unwrap()])))
        });
        held.collect()
    }

    /// Lets everything go that it holds.
    pub fn release(&self) {
        let (code, said) = run(Command::new(program("postsuper").unwrap()).arg("-c").arg(self.etc()).args(["-H", "ALL"]), b"");
        assert_eq!(code, 0, "{said}");
    }

    fn etc(&self) -> PathBuf {
        self.folder.path().join("etc")
    }
}

fn write_configuration(folder: &Path, port: u16, setup: &Setup<'_>) {
    let etc = folder.join("etc");
    std::fs::create_dir(&etc).unwrap();
    let (path, hostname, domains) = (folder.display(), setup.hostname, setup.domains.join(" "));
    let (daemons, commands) = (postconf("daemon_directory"), postconf("command_directory"));
    let tls = setup.certificate.as_ref().map_or_else(
        || "smtpd_tls_security_level = none".to_owned(),
        |Certificate { chain, key }| {
            format!("smtpd_tls_security_level = may\nsmtpd_tls_loglevel = 1\nsmtpd_tls_chain_files = {}, {}", key.display(), chain.display())
        },
    );
    let main = format!(
        "compatibility_level = 3.6\n\
         queue_directory = {path}/queue\n\
         data_directory = {path}/data\n\
         daemon_directory = {daemons}\n\
         command_directory = {commands}\n\
         inet_interfaces = 127.0.0.1\n\
         inet_protocols = ipv4\n\
         myhostname = {hostname}\n\
         mydestination =\n\
         local_recipient_maps =\n\
         local_header_rewrite_clients =\n\
         alias_maps =\n\
         alias_database =\n\
         mynetworks = 127.0.0.0/8\n\
         maillog_file = {path}/log\n\
         maillog_file_prefixes = {path}\n\
         virtual_mailbox_domains = {domains}\n\
         virtual_mailbox_maps = static:all/\n\
         virtual_mailbox_base = {path}/mail\n\
         virtual_uid_maps = static:65534\n\
         virtual_gid_maps = static:65534\n\
         smtpd_tls_received_header = yes\n\
         {tls}\n\
         smtpd_client_connection_rate_limit = 0\n\
         smtpd_recipient_restrictions = check_recipient_access hash:{path}/etc/access, permit_mynetworks, reject_unauth_destination\n\
         {}\n",
        setup.main
    );
    std::fs::write(etc.join("main.cf"), main).unwrap();
    std::fs::write(etc.join("master.cf"), format!("127.0.0.1:{port} inet n - n - - smtpd\n{SERVICES}{}", setup.services)).unwrap();
    write_access(&etc, setup.access);
}

/// A new file takes the old one's place: one written again within a second would look unchanged.
fn write_access(etc: &Path, lines: &str) {
    let new = etc.join("access-new");
    std::fs::write(&new, format!("{lines}\n")).unwrap();
    let (code, said) = run(Command::new(program("postmap").unwrap()).arg("-c").arg(etc).arg(format!("hash:{}", new.display())), b"");
    assert_eq!(code, 0, "{said}");
    std::fs::rename(etc.join("access-new.db"), etc.join("access.db")).unwrap();
    std::fs::rename(new, etc.join("access")).unwrap();
}

/// The folders that `postfix check` would make, with their owners, in a hundredth of its time.
fn make_folders(folder: &Path) {
    let (queue, owner, group) = (folder.join("queue"), postconf("mail_owner"), postconf("setgid_group"));
    let install = |mode: &str, owner: &str, group: &str, names: &[&str], below: &Path| {
        let mut command = Command::new("install");
        command.args(["-d", "-m", mode, "-o", owner, "-g", group]).args(names.iter().map(|name| below.join(name)));
        let (code, said) = run(&mut command, b"");
        assert_eq!(code, 0, "{said}");
    };
    install("755", "root", "root", &["", "pid"], &queue);
    install("700", &owner, "root", &["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private", "saved", "trace"], &queue);
    install("730", &owner, &group, &["maildrop"], &queue);
    install("710", &owner, &group, &["public"], &queue);
    install("700", &owner, "root", &["data"], folder);
    install("755", "65534", "65534", &["mail"], folder);
}

/// What this Postfix was built with.
fn postconf(parameter: &str) -> String {
    let (code, said) = run(Command::new(program("postconf").unwrap()).args(["-d", "-h", parameter]), b"");
    assert_eq!(code, 0, "{said}");
    said.lines().last().unwrap_or_default().trim().to_owned()
}

/// A file of the Maildir: Return-Path, X-Original-To, Delivered-To, Received, then the message.
fn delivered(file: &[u8]) -> Delivered {
    let text = String::from_utf8_lossy(file);
    let mut fields: Vec<String> = Vec::new();
    let mut own_octets = 0;
    for line in text.split_inclusive('\n') {
        if line.starts_with([' ', '\t']) {
            let field = fields.last_mut().unwrap();
            field.push(' ');
            field.push_str(line.trim());
        } else if fields.len() == OWN_FIELDS {
            break;
        } else {
            fields.push(line.trim_end().to_owned());
        }
        own_octets += line.len();
    }
    let value = |number: usize, name: &str| {
        fields.get(number).and_then(|field| field.strip_prefix(name)).unwrap_or_else(|| panic!("no {name} on top of {text}")).to_owned()
    };
    Delivered {
        return_path: value(0, "Return-Path: ").trim_matches(['<', '>']).to_owned(),
        recipient: value(2, "Delivered-To: "),
        received: value(3, "Received: "),
        octets: with_crlf(&file[own_octets..]),
    }
}

const OWN_FIELDS: usize = 4;

const SERVICES: &str = "\
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
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
local unix - n n - - local
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
";
