//! A whole station: spool on disk, loopback DNS, a clock that can be set forward, and a recorder in place of the DSN writer.

use crate::support::dns::Dns;
use crate::support::next_hop::NextHop;
use bytes::Bytes;
use postseal::deliver::target::Timeouts;
use postseal::deliver::tls::{ClientTls, Roots, TlsSettings};
use postseal::deliver::{Action, Delivery, Held, Notices, Outside, Reseal, Settings, Source, Tally, Tcp, Told};
use postseal::dns::Resolver;
use postseal::mail::{Domain, IdentityName, MailId, MailIds, Mailbox, Message, Notify, ReversePath, RouteName, Stream, Timestamp};
use postseal::seal::{FieldKind, Kind, Needs, Plan, Seal, SealField, Sealed, SealedRecipient};
use postseal::spool::sqlite::{FileSystems, SqliteSpool};
use postseal::spool::{Mail, Spool};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct Rig {
    pub spool: Arc<SqliteSpool>,
    pub delivery: Delivery,
    pub dns: Dns,
    pub told: Arc<Recorder>,
    forward: Arc<AtomicI64>,
    ids: Mutex<u32>,
    directory: tempfile::TempDir,
}

/// Writes down what would be told.
#[derive(Default)]
pub struct Recorder {
    pub told: Mutex<Vec<(MailId, Told)>>,
}

impl Notices for Recorder {
    fn notices(&self, mail: &Mail, _message: &Bytes, told: &[Told], _now: Timestamp) -> Vec<Sealed> {
        self.told.lock().unwrap().extend(told.iter().map(|told| (mail.id, told.clone())));
        Vec::new()
    }
}

/// Keeps every seal, but for mails whose seal says that its key is gone.
struct NewKeys;

impl Reseal for NewKeys {
    fn held(&self, _mail: &Mail) -> Option<Held> {
        None
    }

    fn fresh(&self, mail: &Mail, _message: &Bytes, _now: Timestamp) -> Result<Option<Seal>, Held> {
        let old = mail.seal.fields.iter().any(|field| field.text.contains("b=old"));
        Ok(old.then(|| Seal { fields: vec![field(FieldKind::Rsa, "new")], ..mail.seal.clone() }))
    }
}

impl Rig {
    /// Runs with this zone; MX hosts listen on the port of `hop`, private addresses allowed.
    pub async fn start(zone: &str, hop: &NextHop) -> Self {
        Self::start_with(zone, lab(hop.address().port())).await
    }

    pub async fn start_with(zone: &str, settings: Settings) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let spool =
            postseal::spool::Settings { reserve_octets: 0, file_systems: FileSystems::Any, ..postseal::spool::Settings::in_directory(directory.path()) };
        let (spool, _) = SqliteSpool::open(spool, postseal::clock::now()).unwrap();
        let spool = Arc::new(spool);
        let dns = Dns::serve(zone).await;
        let resolver = postseal::dns::Settings {
            nameservers: Some(vec![dns.address()]),
            timeout: Duration::from_secs(5), // long enough for a busy machine
            attempts: 0,
            ..postseal::dns::Settings::default()
        };
        let resolver = Arc::new(Resolver::new(&resolver).unwrap());
        let forward = Arc::new(AtomicI64::new(0));
        let clock = {
            let forward = forward.clone();
            Arc::new(move || Timestamp::from_unix_millis(postseal::clock::now().unix_millis() + forward.load(Ordering::SeqCst)))
        };
        let told = Arc::new(Recorder::default());
        let (chance, network) = (Arc::new(rand::random), Arc::new(Tcp));
        let outside = Outside { notices: told.clone(), reseal: Arc::new(NewKeys), clock, chance, network, meters: Arc::default() };
        let delivery = Delivery::start(spool.clone(), resolver, settings, client_tls(), outside);
        Self { spool, delivery, dns, told, forward, ids: Mutex::new(0), directory }
    }

    pub fn now(&self) -> Timestamp {
        Timestamp::from_unix_millis(postseal::clock::now().unix_millis() + self.forward.load(Ordering::SeqCst))
    }

    /// Where its spool lies.
    pub fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Sets the clock forward and wakes the station.
    pub fn advance(&self, by: Duration) {
        self.forward.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        self.delivery.wake();
    }

    /// A mail to these recipients, all with one reverse-path.
    pub fn mail(&self, recipients: &[&str]) -> Sealed {
        let mut serial = self.ids.lock().unwrap();
        *serial += 1;
        let now = self.now();
        let id = MailIds::reserve(now, *serial, 1).take();
        Sealed {
            id,
            accepted_at: now,
            due_at: now,
            expires_at: now + Duration::from_hours(120),
            identity: IdentityName::new("shop"),
            kind: Kind::Submission,
            signing_domain: Domain::parse("example.org").unwrap(),
            stream: Stream::new("default"),
            route: RouteName::new("mx"),
            original_reverse_path: ReversePath::Mailbox(mailbox("shop@example.org")),
            sender: None,
            recipients: recipients.iter().map(|to| recipient(to)).collect(),
            envid: None,
            ret: None,
            needs: Needs::default(),
            message_id: format!("<{id}@example.org>"),
            track_id: None,
            tag: None,
            trace: None,
            seal: Seal { fields: vec![field(FieldKind::Ed25519, "edwards"), field(FieldKind::Rsa, "rivest")], expires: None, plan: Plan::default() },
            message: Message::parse(Bytes::from(format!("Subject: {id}\r\nFrom: shop@example.org\r\n\r\nHello.\r\n"))).unwrap(),
        }
    }

    /// The same on a smart host's route.
    pub fn mail_by(&self, route: &str, recipients: &[&str]) -> Sealed {
        Sealed { route: RouteName::new(route), ..self.mail(recipients) }
    }

    pub async fn commit(&self, mail: Sealed) -> MailId {
        let id = mail.id;
        self.spool.commit(vec![mail]).await.unwrap();
        self.delivery.wake();
        id
    }

    pub async fn send(&self, recipients: &[&str]) -> MailId {
        self.commit(self.mail(recipients)).await
    }

    /// Waits for this many recipients delivered, deferred and failed so far; fails after a minute.
    pub async fn until(&self, delivered: u64, deferred: u64, failed: u64) {
        for _ in 0..6000 {
            if self.counts() == (delivered, deferred, failed) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("expected {:?} delivered, deferred, failed; got {:?}, {:?}", (delivered, deferred, failed), self.counts(), self.told.told.lock().unwrap());
    }

    /// Waits until something else that this side counts for itself is so.
    pub async fn until_true(&self, what: &str, shows: impl Fn() -> bool) {
        for _ in 0..6000 {
            if shows() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never so: {what}");
    }

    /// Delivered, deferred, failed.
    pub fn counts(&self) -> (u64, u64, u64) {
        let Tally { delivered, deferred, failed, .. } = self.delivery.tally();
        (read(delivered), read(deferred), read(failed))
    }

    pub fn tally(&self, of: impl Fn(&Tally) -> &AtomicU64) -> u64 {
        read(of(self.delivery.tally()))
    }

    /// `failed 5.1.10 a@example.com: text`, one a line.
    pub fn told_lines(&self) -> Vec<String> {
        let action = |told: &Told| match told.action {
            Action::Failed => "failed",
            Action::Delayed => "delayed",
            Action::Relayed => "relayed",
        };
        let told = self.told.told.lock().unwrap();
        let mut lines: Vec<String> =
            told.iter().map(|(_, told)| format!("{} {} {}: {}", action(told), told.evidence.status, told.recipient.mailbox, told.evidence.text)).collect();
        lines.sort();
        lines
    }

    /// How long until something is due again.
    pub async fn next_due_in(&self) -> Duration {
        self.spool.next_due_at().await.unwrap().unwrap().since(self.now())
    }
}

/// Loopback allowed, a port of our own, short times.
pub fn lab(port: u16) -> Settings {
    let time = Duration::from_secs(20);
    let mut settings =
        Settings { source: Source { ehlo_name: "relay.example".to_owned(), ..Source::default() }, idle: Duration::from_millis(300), ..Settings::default() };
    settings.routes.mx_port = port;
    settings.routes.private_addresses_allowed = true;
    settings.timeouts = Timeouts { connect: time, greeting: time, ehlo: time, mail: time, rcpt: time, data_init: time, ..Timeouts::default() };
    settings
}

pub fn client_tls() -> ClientTls {
    ClientTls::new(&TlsSettings { roots: Roots::BuiltIn, ca_file: None }).unwrap()
}

pub fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

pub fn recipient(to: &str) -> SealedRecipient {
    SealedRecipient { mailbox: mailbox(to), notify: Notify::Unspecified, orcpt: None, reverse_path: mailbox("b0123@b.example.org").into(), suppressed: None }
}

pub fn field(kind: FieldKind, signature: &str) -> SealField {
    SealField { kind, key: Some("s1._domainkey.example.org".to_owned()), text: format!("DKIM-Signature: v=1; b={signature}\r\n") }
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::SeqCst)
}
