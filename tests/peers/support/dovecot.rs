//! Dovecot as the mailbox server of a house: LMTP in, a Maildir for each address, nothing else of it runs.

use super::{Process, folder, free_port, program, wait_or_tell, with_crlf};
use tempfile::TempDir;

/// A running Dovecot.
pub struct Dovecot {
    port: u16,
    _process: Process,
    folder: TempDir,
}

/// A message in one of its mailboxes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Without angle brackets; empty for `<>`.
    pub return_path: String,
    /// As Dovecot was told it in RCPT.
    pub delivered_to: String,
    /// The message as it came over the wire: below what Dovecot put on top.
    pub octets: Vec<u8>,
}

impl Dovecot {
    /// Starts it; every address has a mailbox. `more` are further lines of its configuration.
    pub fn start(more: &str) -> Self {
        let (folder, port) = (folder("dovecot"), free_port());
        let path = folder.path().display();
        // As the user nobody, from 127.0.0.1 alone; its own users are those that its package made.
        let config = format!(
            "base_dir = {path}/run\n\
             state_dir = {path}/state\n\
             log_path = {path}/log\n\
             protocols = lmtp\n\
             listen = 127.0.0.1\n\
             ssl = no\n\
             first_valid_uid = 1\n\
             mail_location = maildir:{path}/mail/%u\n\
             mail_plugins =\n\
             passdb {{\n  driver = static\n  args = nopassword=y\n}}\n\
             userdb {{\n  driver = static\n  args = uid=65534 gid=65534 home={path}/mail/%u allow_all_users=yes\n}}\n\
             service lmtp {{\n  inet_listener lmtp {{\n    address = 127.0.0.1\n    port = {port}\n  }}\n}}\n\
             {more}\n"
        );
        let file = folder.path().join("dovecot.conf");
        std::fs::write(&file, config).unwrap();
        std::fs::create_dir(folder.path().join("mail")).unwrap();
        std::os::unix::fs::chown(folder.path().join("mail"), Some(65534), Some(65534)).unwrap();
        let (file, output) = (file.display().to_string(), folder.path().join("output"));
        let process = Process::spawn("dovecot", &program("dovecot").unwrap(), &["-F", "-c", &file], &output).wait_for_port(port);
        Self { port, _process: process, folder }
    }

    /// Its LMTP port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything in the mailbox of an address, in no order.
    pub fn mails(&self, address: &str) -> Vec<Stored> {
        let mailbox = self.folder.path().join("mail").join(address);
        let files = ["new", "cur"].into_iter().filter_map(|name| std::fs::read_dir(mailbox.join(name)).ok()).flatten().flatten();
        files.map(|file| stored(&std::fs::read(file.path()).unwrap())).collect()
    }

    /// Waits until so many messages are in the mailbox of an address.
    pub fn wait_for(&self, address: &str, count: usize) -> Vec<Stored> {
        let told = || format!("{count} messages for {address}, of {}; Dovecot says: {}", self.mails(address).len(), self.log());
        wait_or_tell(|| Some(self.mails(address)).filter(|mails| mails.len() >= count), told)
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// A file of a Maildir: Return-Path, Delivered-To, Received by Dovecot, then the message.
fn stored(file: &[u8]) -> Stored {
    let text = String::from_utf8_lossy(file);
    let (mut return_path, mut delivered_to, mut own_octets, mut received) = (None, String::new(), 0, false);
    for line in text.split_inclusive('\n') {
        if line.starts_with([' ', '\t']) {
            own_octets += line.len();
            continue;
        }
        if let Some(value) = line.strip_prefix("Return-Path: ").filter(|_| !received) {
            return_path = Some(value.trim().trim_matches(['<', '>']).to_owned());
        } else if let Some(value) = line.strip_prefix("Delivered-To: ").filter(|_| !received) {
            value.trim().clone_into(&mut delivered_to);
        } else if line.starts_with("Received: ") && !received {
            received = true;
        } else {
            break;
        }
        own_octets += line.len();
    }
    assert!(received, "no Received of Dovecot on top of {text}");
    Stored { return_path: return_path.unwrap_or_else(|| panic!("no Return-Path in {text}")), delivered_to, octets: with_crlf(&file[own_octets..]) }
}
