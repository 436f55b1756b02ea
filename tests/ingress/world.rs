//! A small world around a dialogue: who the client is, whom it may write to, and what becomes of its messages.

use postseal::mail::{EnhancedCode, ForwardPath, IdentityName, MailIds, Mailbox, Proof, Receipt, Refusal, ReversePath, Submission, Timestamp, TlsSession};
use postseal::smtp::server::{Action, Bounds, Dialogue, Input, Peer, User};
use postseal::smtp::settings::Settings;
use std::fmt::Write as _;
use std::sync::Arc;

pub fn start() -> Timestamp {
    Timestamp::from_unix_seconds(1_800_000_000)
}

pub fn peer(known: bool) -> Peer {
    let identity = (IdentityName::new("app"), Proof::Network);
    Peer { address: "192.0.2.7".parse().unwrap(), listener: "submission".into(), known: known.then_some(identity), tls: None }
}

pub fn tls() -> TlsSession {
    TlsSession { version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384".into() }
}

/// A dialogue and the world that answers it; everything said is kept as text, a line each.
pub struct World {
    pub dialogue: Dialogue,
    pub now: Timestamp,
    pub said: Vec<String>,
    pub known_after_tls: Option<(IdentityName, Proof)>,
    pub accepted: usize,
}

impl World {
    pub fn new(settings: Settings, peer: Peer) -> Self {
        let known_after_tls = peer.known.clone();
        let dialogue = Dialogue::new(Arc::new(settings), peer, start());
        let mut world = Self { dialogue, now: start(), said: Vec::new(), known_after_tls, accepted: 0 };
        world.perform();
        world
    }

    pub fn client_sends(&mut self, octets: &[u8]) {
        if self.dialogue.wants_octets() {
            self.give(Input::Octets(octets));
        }
    }

    pub fn give(&mut self, input: Input<'_>) {
        self.dialogue.handle(input, self.now);
        self.perform();
    }

    fn perform(&mut self) {
        while let Some(action) = self.dialogue.next_action() {
            match action {
                Action::Send(reply) => self.said.extend(reply.to_string().split_terminator("\r\n").map(str::to_owned)),
                Action::StartTls => self.said.push("<begin tls>".into()),
                Action::Close => self.said.push("<close>".into()),
                Action::Begin { from, .. } => self.dialogue.handle(Input::Begun(begin(&from)), self.now),
                Action::Judge { to, .. } => self.dialogue.handle(Input::Judged(recipient(&to)), self.now),
                Action::Authenticate { mechanism, initial } => self.dialogue.handle(authenticate(&mechanism, initial), self.now),
                Action::Respond(response) => self.dialogue.handle(respond(&response), self.now),
                Action::Hand(submission) => self.commit(&submission),
            }
        }
    }

    fn commit(&mut self, submission: &Submission) {
        self.said.push(describe(submission));
        let committed = accept(submission);
        self.accepted += usize::from(committed.is_ok());
        self.dialogue.handle(Input::Committed(committed), self.now);
    }
}

pub fn begin(from: &ReversePath) -> Result<Bounds, Refusal> {
    match from.mailbox().map(|mailbox| mailbox.local.as_str()) {
        Some("hasty") => Err(refusal(450, (4, 7, 0), "too fast")),
        Some("expelled") => Err(refusal(421, (4, 7, 0), "go away")),
        Some("small") => Ok(Bounds { message_octets_max: 10, recipients_max: 1 }),
        _ => Ok(Bounds { message_octets_max: u64::MAX, recipients_max: usize::MAX }),
    }
}

pub fn recipient(to: &ForwardPath) -> Result<Mailbox, Refusal> {
    match to {
        ForwardPath::Postmaster => Ok("postmaster@relay.example".parse().unwrap()),
        ForwardPath::Mailbox(mailbox) if mailbox.local.as_str() == "nobody" => Err(refusal(550, (5, 1, 1), "no such mailbox")),
        ForwardPath::Mailbox(mailbox) => Ok(mailbox.clone()),
    }
}

pub fn accept(submission: &Submission) -> Result<Receipt, Refusal> {
    if submission.message.windows(7).any(|word| word == b"X-Full:") {
        return Err(refusal(452, (4, 3, 1), "the disk is full"));
    }
    Ok(Receipt::rehearsed(MailIds::reserve(Timestamp::EPOCH, 1, 1).take()))
}

/// `PLAIN`: one response. `TWICE`: asks for a name, then a word. `FINAL`: as PLAIN, with a last word of its own.
fn authenticate(mechanism: &str, initial: Option<Vec<u8>>) -> Input<'static> {
    match (mechanism, initial) {
        ("TWICE", None) => Input::Challenge(b"name?".to_vec()),
        ("FINAL", Some(_)) => Input::Authenticated(Ok(user(Some(b"v=1")))),
        (_, Some(response)) => respond(&response),
        (_, None) => Input::Challenge(Vec::new()),
    }
}

fn respond(response: &[u8]) -> Input<'static> {
    match response {
        b"\0app\0secret" | b"word" => Input::Authenticated(Ok(user(None))),
        b"app" => Input::Challenge(b"word?".to_vec()),
        b"endless" => Input::Challenge(b"again?".to_vec()),
        _ => Input::Authenticated(Err(refusal(535, (5, 7, 8), "wrong credentials"))),
    }
}

fn user(last_challenge: Option<&[u8]>) -> User {
    User { identity: IdentityName::new("app"), name: "app".into(), last_challenge: last_challenge.map(<[u8]>::to_vec) }
}

fn refusal(code: u16, (class, subject, detail): (u8, u16, u16), text: &str) -> Refusal {
    Refusal::submitter(code, EnhancedCode::new(class, subject, detail), text)
}

/// A submission on one line.
fn describe(submission: &Submission) -> String {
    let mut line = format!("<message {} {}", submission.client.protocol(submission.envelope.smtputf8), submission.envelope.reverse_path);
    for recipient in &submission.envelope.recipients {
        write!(line, " <{}>", recipient.mailbox).unwrap();
        if let Some(notify) = recipient.notify.wire() {
            write!(line, " NOTIFY={notify}").unwrap();
        }
        if let Some(orcpt) = &recipient.orcpt {
            write!(line, " ORCPT={};{}", orcpt.address_type, orcpt.address).unwrap();
        }
    }
    let Settled { body, ret, envid } = Settled::of(submission);
    write!(line, "{body}{ret}{envid} \"{}\">", submission.message.escape_ascii()).unwrap();
    line
}

struct Settled {
    body: &'static str,
    ret: String,
    envid: String,
}

impl Settled {
    fn of(submission: &Submission) -> Self {
        let envelope = &submission.envelope;
        Self {
            body: if envelope.body == postseal::mail::BodyType::EightBitMime { " 8BITMIME" } else { "" },
            ret: envelope.ret.map(|ret| format!(" RET={ret:?}")).unwrap_or_default(),
            envid: envelope.envid.as_ref().map(|envid| format!(" ENVID={envid}")).unwrap_or_default(),
        }
    }
}
