//! What comes out of *normalise* for what goes in: pairs of files, refusals with their text, and properties of generated messages.

use postseal::mail::{
    BodyType, Client, Domain, Envelope, IdentityName, MailId, Mailbox, Notify, Proof, Recipient, Refusal, ReversePath, Timestamp, TlsSession,
};
use postseal::normalise::{Facts, Mode, Normalised, Settings, normalise};

mod changes;
mod files;
mod properties;
mod refusals;
mod signatures;
mod trace;

/// A submission and what it meets; a test changes what it is about.
struct Case {
    envelope: Envelope,
    client: Client,
    mode: Mode,
    settings: Settings,
    facts: Facts,
}

impl Case {
    fn new() -> Self {
        Self {
            envelope: Envelope {
                reverse_path: ReversePath::Mailbox("www-data@pod-7".parse().unwrap()),
                recipients: vec![recipient("you@receiver.example")],
                body: BodyType::SevenBit,
                smtputf8: false,
                ret: None,
                envid: None,
            },
            client: Client {
                identity: IdentityName::new("app"),
                proof: Proof::Sasl { user: "app".into() },
                address: "192.0.2.7".parse().unwrap(),
                helo: "app.example.com".into(),
                esmtp: true,
                tls: Some(TlsSession { version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384".into() }),
                listener: "submission".into(),
            },
            mode: Mode::Author,
            settings: Settings::new(Domain::parse("mx1.example.com").unwrap()),
            facts: Facts { id: MailId::from_number(0x1234_5678_9abc).unwrap(), foreign_signature_verifies: false },
        }
    }

    fn forward() -> Self {
        Self { mode: Mode::Forward, ..Self::new() }
    }

    fn signed(mut self) -> Self {
        self.facts.foreign_signature_verifies = true;
        self
    }

    fn smtputf8(mut self) -> Self {
        self.envelope.smtputf8 = true;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn run(&self, message: &[u8]) -> Result<Normalised, Refusal> {
        let now = Timestamp::from_unix_millis(1_795_310_325_123);
        normalise(&message.to_vec().into(), &self.envelope, &self.client, self.mode, &self.settings, &self.facts, now)
    }

    /// The outcome for a message written with LF, as text: all of it below the Received field with LF, or the refusal.
    fn answer(&self, message: &str) -> String {
        self.run(crlf(message).as_bytes()).map_or_else(|refusal| refusal.to_string(), |done| String::from_utf8_lossy(below_trace(&done)).replace("\r\n", "\n"))
    }
}

fn recipient(address: &str) -> Recipient {
    Recipient { mailbox: address.parse::<Mailbox>().unwrap(), notify: Notify::default(), orcpt: None }
}

fn crlf(text: &str) -> String {
    text.replace('\n', "\r\n")
}

/// The message without its first field, which is the Received field put there.
fn below_trace(done: &Normalised) -> &[u8] {
    let first = done.message.headers().iter().next().unwrap().raw.len();
    assert!(done.message.octets().starts_with(b"Received: "));
    &done.message.octets()[first..]
}

/// A header that lacks nothing.
const HEADER: &str = "From: a@example.com\nTo: you@receiver.example\nSubject: s\nDate: Sun, 22 Nov 2026 01:00:00 +0000\nMessage-ID: <1@example.com>\n";
