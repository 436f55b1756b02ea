//! What a client may say: commands, DATA, BDAT, AUTH.
//!
//! Beside the dialogue runs a model of ten lines that knows only how SMTP is synchronised: one reply at the end of each line, at the first
//! CR LF `.` CR LF behind a `354`, or behind the last octet of a chunk; and never in between. A command smuggled in a message would break that.

use super::draw::{Draw, pieces};
use postseal::mail::{EnhancedCode, ForwardPath, IdentityName, MailIds, Mailbox, Proof, Receipt, Refusal, ReversePath, Submission, Timestamp, TlsSession};
use postseal::smtp::line::BareLf;
use postseal::smtp::memory::Memory;
use postseal::smtp::server::{Action, Bounds, Dialogue, Input, Peer, User};
use postseal::smtp::settings::{Settings, StartTls};
use std::sync::Arc;

pub fn run(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let (flags, seed) = (draw.flags(), draw.octet());
    let said = draw.rest();
    let by_octet = World::new(flags).hear_octet_by_octet(said);
    let mut in_pieces = World::new(flags);
    for piece in pieces(said, seed) {
        in_pieces.hear(piece);
    }
    assert_alike(&by_octet.told, &in_pieces.told);
    let World { dialogue, memory, .. } = by_octet;
    drop(dialogue);
    assert!(memory.has_room_for(MEMORY_OCTETS), "a connection that is gone holds memory");
}

/// However the network cuts what is said, the same is told. One exception is meant: what arrives together with DATA or AUTH, before their
/// reply, ends the connection.
fn assert_alike(one: &[Told], other: &[Told]) {
    let Some(at) = one.iter().zip(other).position(|(a, b)| a != b) else {
        assert!(one.len() == other.len(), "one way {one:?}, cut otherwise {other:?}");
        return;
    };
    let hasty = matches!(&other[at..], [Told::Reply(reply), Told::Close] if reply.starts_with("554 5.5.0 more was sent before the reply"));
    assert!(hasty, "one way {one:?}, cut otherwise {other:?}");
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Told {
    Reply(String),
    Message(Vec<u8>, usize),
    BeginTls,
    Close,
}

struct World {
    dialogue: Dialogue,
    memory: Arc<Memory>,
    bare_lf: BareLf,
    told: Vec<Told>,
}

impl World {
    fn new([repair, tls_offered, tls_required, stranger, auth, tls_there, small, full]: [bool; 8]) -> Self {
        let starttls = match (tls_offered, tls_required) {
            (_, true) => StartTls::Required,
            (true, false) => StartTls::Offered,
            (false, false) => StartTls::Unavailable,
        };
        let bare_lf = if repair { BareLf::Repair } else { BareLf::Reject };
        let mechanisms = if auth { vec!["PLAIN".to_owned(), "LOGIN".to_owned()] } else { Vec::new() };
        let settings = Settings {
            hostname: "relay.example".to_owned(),
            starttls,
            sasl_mechanisms: mechanisms,
            auth_without_tls: auth && full,
            bare_lf,
            message_octets_max: if small { 300 } else { 1 << 20 },
            line_octets_max: if small { 80 } else { 1 << 16 },
            recipients_max: if small { 2 } else { 100 },
            mails_max: full.then_some(2),
            ..Settings::default()
        };
        let known = (!stranger).then(|| (IdentityName::new("app"), Proof::Network));
        let tls = tls_there.then(|| TlsSession { version: "TLSv1.3", cipher: "TLS13_AES_256_GCM_SHA384".to_owned() });
        let peer = Peer { address: [192, 0, 2, 7].into(), listener: "submission".into(), known, tls };
        let memory = Memory::new(MEMORY_OCTETS);
        let dialogue = Dialogue::new(Arc::new(settings), peer, NOW).within(Arc::clone(&memory));
        let mut world = Self { dialogue, memory, bare_lf, told: Vec::new() };
        world.perform();
        world
    }

    /// Says one piece; gives the replies to it. Behind STARTTLS everything that came in clear is gone.
    fn hear(&mut self, piece: &[u8]) -> Vec<String> {
        let before = self.told.len();
        if self.dialogue.wants_octets() && !matches!(self.told.last(), Some(Told::BeginTls | Told::Close)) {
            self.dialogue.handle(Input::Octets(piece), NOW);
            self.perform();
        }
        self.told[before..].iter().filter_map(|told| if let Told::Reply(reply) = told { Some(reply.clone()) } else { None }).collect()
    }

    fn perform(&mut self) {
        while let Some(action) = self.dialogue.next_action() {
            assert!(!matches!(self.told.last(), Some(Told::BeginTls | Told::Close)), "something follows the end: {action:?}");
            match action {
                Action::Send(reply) => {
                    let reply = reply.to_string();
                    let lines = reply.strip_suffix("\r\n").expect("a reply ends in CR LF").split("\r\n");
                    for line in lines {
                        assert!(line.len() <= 1000 && !line.chars().any(char::is_control), "{line:?}");
                    }
                    self.told.push(Told::Reply(reply));
                }
                Action::StartTls => {
                    self.told.push(Told::BeginTls);
                    assert!(!self.dialogue.wants_octets());
                }
                Action::Close => self.told.push(Told::Close),
                Action::Begin { from, .. } => self.dialogue.handle(Input::Begun(begun(&from)), NOW),
                Action::Judge { to, .. } => self.dialogue.handle(Input::Judged(judged(to)), NOW),
                Action::Authenticate { initial: None, .. } => self.dialogue.handle(Input::Challenge(Vec::new()), NOW),
                Action::Authenticate { initial: Some(response), .. } | Action::Respond(response) => self.dialogue.handle(answered(&response), NOW),
                Action::Hand(submission) => self.take(&submission),
            }
        }
    }

    fn take(&mut self, submission: &Submission) {
        let message = submission.message.to_vec();
        assert!(!message.contains(&0), "a NUL was let in");
        assert!(is_crlf_only(&message), "{:?}", message.escape_ascii().to_string());
        assert!(!submission.envelope.recipients.is_empty());
        self.told.push(Told::Message(message, submission.envelope.recipients.len()));
        self.dialogue.handle(Input::Committed(Ok(Receipt::rehearsed(MailIds::reserve(Timestamp::EPOCH, 1, 1).take()))), NOW);
    }

    fn hear_octet_by_octet(mut self, said: &[u8]) -> Self {
        let mut at = Place::Line(Vec::new());
        for octet in said {
            if !self.dialogue.wants_octets() || matches!(self.told.last(), Some(Told::BeginTls | Told::Close)) {
                break;
            }
            let before = self.told.len();
            let replies = self.hear(std::slice::from_ref(octet));
            assert!(replies.len() <= 1, "{replies:?}");
            at = match (at, replies.first()) {
                (Place::Line(mut line), reply) => {
                    line.push(*octet);
                    match reply {
                        None if *octet == b'\n' => Place::Chunk(announced(&line)),
                        None => Place::Line(line),
                        Some(reply) => {
                            assert!(*octet == b'\n', "{reply:?} within a line");
                            if reply.starts_with("354") { Place::Data(Vec::new()) } else { Place::Line(Vec::new()) }
                        }
                    }
                }
                (Place::Data(mut data), reply) => {
                    data.push(*octet);
                    let ended = data == b".\r\n" || data.ends_with(b"\r\n.\r\n");
                    assert!(ended == reply.is_some(), "{reply:?} behind {:?}", data.escape_ascii().to_string());
                    if ended {
                        self.check_content(&self.told[before..], &data);
                        Place::Line(Vec::new())
                    } else {
                        Place::Data(data)
                    }
                }
                (Place::Chunk(left), reply) => {
                    assert!((left == 1) == reply.is_some(), "{reply:?} with {left} octets of the chunk to come");
                    if left == 1 { Place::Line(Vec::new()) } else { Place::Chunk(left - 1) }
                }
            };
        }
        self
    }

    /// What was taken is what was sent, line for line, its dots unstuffed; where nothing is repaired.
    fn check_content(&self, told: &[Told], data: &[u8]) {
        let Some(message) = told.iter().find_map(|told| if let Told::Message(message, _) = told { Some(message) } else { None }) else { return };
        if self.bare_lf == BareLf::Reject {
            let content = &data[..data.len() - 3];
            let lines = content.split_inclusive(|octet| *octet == b'\n');
            let plain: Vec<u8> = lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect();
            assert!(*message == plain, "{:?} became {:?}", content.escape_ascii().to_string(), message.escape_ascii().to_string());
        }
    }
}

/// Where a client that counts for itself believes to be.
enum Place {
    Line(Vec<u8>),
    Data(Vec<u8>),
    Chunk(u64),
}

/// A line without a reply: only the beginning of a chunk is one.
fn announced(line: &[u8]) -> u64 {
    let text = std::str::from_utf8(line).expect("a line that was understood").trim_end_matches(['\r', '\n', ' ']);
    let mut words = text.split(' ');
    assert!(words.next().is_some_and(|verb| verb.eq_ignore_ascii_case("BDAT")), "no reply to {text:?}");
    let octets = words.next().and_then(|octets| octets.parse().ok()).filter(|octets| *octets > 0);
    octets.unwrap_or_else(|| panic!("no reply to {text:?}"))
}

fn is_crlf_only(octets: &[u8]) -> bool {
    let lone_cr = octets.iter().enumerate().any(|(at, octet)| *octet == b'\r' && octets.get(at + 1) != Some(&b'\n'));
    let lone_lf = octets.iter().enumerate().any(|(at, octet)| *octet == b'\n' && (at == 0 || octets[at - 1] != b'\r'));
    !lone_cr && !lone_lf
}

fn begun(from: &ReversePath) -> Result<Bounds, Refusal> {
    match from.mailbox().map(|mailbox| mailbox.local.as_str()) {
        Some("hasty") => Err(Refusal::submitter(450, EnhancedCode::new(4, 7, 0), "too fast")),
        _ => Ok(Bounds { message_octets_max: u64::MAX, recipients_max: usize::MAX }),
    }
}

fn judged(to: ForwardPath) -> Result<Mailbox, Refusal> {
    match to {
        ForwardPath::Postmaster => Ok("postmaster@relay.example".parse().unwrap()),
        ForwardPath::Mailbox(mailbox) if mailbox.local.as_str() == "nobody" => Err(Refusal::submitter(550, EnhancedCode::new(5, 1, 1), "no such mailbox")),
        ForwardPath::Mailbox(mailbox) => Ok(mailbox),
    }
}

fn answered(response: &[u8]) -> Input<'static> {
    match response {
        b"\0app\0secret" | b"secret" => Input::Authenticated(Ok(User { identity: IdentityName::new("app"), name: "app".to_owned(), last_challenge: None })),
        b"app" => Input::Challenge(b"Password:".to_vec()),
        b"last" => Input::Authenticated(Ok(User { identity: IdentityName::new("app"), name: "app".to_owned(), last_challenge: Some(b"v=1".to_vec()) })),
        _ => Input::Authenticated(Err(Refusal::submitter(535, EnhancedCode::new(5, 7, 8), "wrong credentials"))),
    }
}

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
/// What all messages of one dialogue may hold.
const MEMORY_OCTETS: u64 = 4 << 20;
