//! What a next hop may answer, and what we say to it: whatever the message and the answers are, the octets that leave us hold commands of one
//! line each, and a message that ends once.

use super::draw::{Draw, pieces};
use postseal::mail::outcome::Remote;
use postseal::mail::{Mailbox, Notify, OriginalRecipient, Outcome, RemoteReply, Ret, ReversePath, Timestamp};
use postseal::smtp::client::{
    BodyFault, Capabilities, Dialogue, Next, Opening, Peer, RecipientEnd, ReplyFault, ReplyReader, Shape, Stage, Step, Transaction, TransactionRecipient,
};

/// Replies, however they are cut.
pub fn replies(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let seed = draw.octet();
    let octets = draw.rest();
    let whole = read(std::iter::once(octets));
    assert_eq!(whole, read(pieces(octets, seed)), "cut otherwise");
    for reply in &whole.0 {
        assert!((200..=599).contains(&reply.code) && (1..=100).contains(&reply.lines.len()));
        assert!(reply.enhanced.is_none_or(|enhanced| u16::from(enhanced.class()) == reply.code / 100));
        assert!(reply.lines.iter().all(|line| line.len() <= 3 * 2048 && !line.chars().any(char::is_control)), "{reply:?}");
    }
}

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<RemoteReply>, Option<ReplyFault>) {
    let (mut reader, mut replies) = (ReplyReader::default(), Vec::new());
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next_reply() {
                Ok(Some(reply)) => replies.push(reply),
                Ok(None) => break,
                Err(fault) => return (replies, Some(fault)),
            }
        }
        assert!(reader.unread_octets() <= 2048 + 1);
    }
    (replies, None)
}

/// A whole session: opening, one transaction, and what became of everybody.
pub fn run(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let [tls_wanted, tls_demanded, prefer_bdat, leave, whole, lf, null, quiet] = draw.flags();
    let (sender, envid, original) = (draw.text(), draw.text(), draw.text());
    let recipients = [draw.text(), draw.text()].map(|text| text.parse::<Mailbox>().unwrap_or_else(|_| "you@receiver.example".parse().unwrap()));
    let mut message = draw.part().to_vec();
    if lf {
        message = String::from_utf8_lossy(&message).replace("\r\n", "\n").replace('\n', "\r\n").into_bytes();
    }
    let mut server = Server { reader: ReplyReader::default() };
    server.reader.feed(draw.rest());

    let from = if null { ReversePath::Null } else { sender.parse().map_or(ReversePath::Null, ReversePath::Mailbox) };
    let orcpt = OriginalRecipient { address_type: if quiet { "utf-8".to_owned() } else { "rfc822".to_owned() }, address: original };
    let to = recipients.each_ref().map(|mailbox| TransactionRecipient { mailbox, notify: Notify::Never, orcpt: Some(&orcpt) });
    let header: &[u8] = if quiet { b"" } else { b"DKIM-Signature: v=1\r\n" };
    let transaction =
        Transaction { reverse_path: &from, recipients: &to, envid: Some(&envid), ret: Some(Ret::Full), header, message: &message, as_it_is: false };
    let Some(offered) = open(&mut server, tls_wanted, tls_demanded) else { return };
    // A line that is too long may be met before what is unsound.
    match (is_sound(&message), Shape::of(header, &message)) {
        (true, shape) => assert!(!matches!(shape, Err(BodyFault::BareCr | BodyFault::BareLf))),
        (false, shape) => assert!(shape.is_err()),
    }

    let mut dialogue = Dialogue::new(&transaction, &offered, prefer_bdat, peer(), NOW);
    if whole {
        dialogue = dialogue.whole();
    }
    let mut said = Said::default();
    let mut steps = 0;
    loop {
        steps += 1;
        assert!(steps < 10_000, "it never ends");
        match dialogue.proceed() {
            Next::Write(stage) => {
                said.take(stage, dialogue.octets());
                dialogue.written();
            }
            Next::Read(_) => match server.reader.next_reply() {
                Ok(Some(reply)) => dialogue.reply(reply, NOW),
                Ok(None) => dialogue.lost("the connection ended", NOW),
                Err(fault) => dialogue.confused(&fault.to_string(), NOW),
            },
            Next::AskToEnd => {
                said.may_end = leave;
                dialogue.may_end(leave, NOW);
            }
            Next::Over => break,
        }
    }
    let end = dialogue.end(NOW);
    assert_eq!(end.recipients.len(), to.len(), "one ending for each");
    let delivered = end.recipients.iter().any(|end| matches!(end, RecipientEnd::Ended(Outcome::Delivered(_))));
    assert!(!delivered || said.may_end, "delivered without an end");
    said.check(prefer_bdat && offered.chunking, &[header, &message].concat());
}

fn open(server: &mut Server, tls_wanted: bool, tls_demanded: bool) -> Option<Capabilities> {
    let mut opening = Opening::new("relay.example", tls_wanted, tls_demanded);
    let mut step = opening.begin();
    let mut is_secure = false;
    loop {
        step = match step {
            Step::Ask(octets, _) => {
                assert!(octets.is_empty() || is_one_line(&octets));
                opening.reply(server.reader.next_reply().ok()??)
            }
            // The shell ends the connection where anything follows the 220 in clear.
            Step::StartTls if !server.reader.is_empty() && tls_wanted == tls_demanded => return None,
            Step::StartTls => {
                assert!(!is_secure, "TLS within TLS");
                is_secure = true;
                opening.tls_started()
            }
            Step::Ready(capabilities) => {
                assert!(is_secure || !tls_demanded, "TLS was demanded");
                return Some(capabilities);
            }
            Step::Fault(_) => return None,
        };
    }
}

struct Server {
    reader: ReplyReader,
}

/// What left us.
#[derive(Default)]
struct Said {
    commands: Vec<u8>,
    body: Vec<u8>,
    may_end: bool,
}

impl Said {
    fn take(&mut self, stage: Stage, octets: &[u8]) {
        assert!(!octets.is_empty(), "nothing to write");
        match stage {
            Stage::DataBlock | Stage::DataDone => self.body.extend_from_slice(octets),
            _ => self.commands.extend_from_slice(octets),
        }
    }

    fn check(&self, by_bdat: bool, content: &[u8]) {
        for line in self.commands.split_inclusive(|octet| *octet == b'\n') {
            assert!(is_one_line(line), "{:?}", line.escape_ascii().to_string());
            assert!(line.len() <= 2048, "a command of {} octets", line.len());
            let verb = line.split(|octet| b" \r".contains(octet)).next().unwrap_or_default();
            assert!([&b"MAIL"[..], b"RCPT", b"DATA", b"RSET", b"BDAT"].contains(&verb), "{:?}", line.escape_ascii().to_string());
        }
        if self.body.is_empty() || self.body == b".\r\n" {
            return;
        }
        if by_bdat {
            return check_chunks(&self.body, self.may_end, content);
        }
        assert!(is_sound(&self.body) && is_sound(content), "a bare CR or LF on its way out");
        let ends: Vec<usize> = (0..self.body.len()).filter(|at| is_end(&self.body, *at)).collect();
        if self.may_end {
            assert_eq!(ends, [self.body.len() - 1], "{:?}", self.body.escape_ascii().to_string());
        } else {
            assert!(ends.is_empty(), "it was not to end");
            return;
        }
        let body = self.body.strip_suffix(b".\r\n").unwrap();
        let plain: Vec<u8> = body.split_inclusive(|octet| *octet == b'\n').flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect();
        assert!(plain == content || plain == [content, b"\r\n"].concat(), "the receiver gets something else");
    }
}

/// Does a message end right behind this place?
fn is_end(body: &[u8], at: usize) -> bool {
    let so_far = &body[..=at];
    so_far == b".\r\n" || so_far.ends_with(b"\r\n.\r\n")
}

fn check_chunks(mut body: &[u8], ended: bool, content: &[u8]) {
    let mut payload = Vec::new();
    let mut last = false;
    while !body.is_empty() {
        assert!(!last, "something follows the last chunk");
        let end = body.windows(2).position(|pair| pair == b"\r\n").expect("a whole command");
        let line = std::str::from_utf8(&body[..end]).unwrap();
        let octets = line.strip_prefix("BDAT ").expect("a chunk");
        last = octets.ends_with(" LAST");
        let octets: usize = octets.trim_end_matches(" LAST").parse().unwrap();
        let rest = &body[end + 2..];
        payload.extend_from_slice(&rest[..octets.min(rest.len())]);
        body = &rest[octets.min(rest.len())..];
    }
    assert!(content.starts_with(&payload));
    assert!(!ended || (last && payload == content));
}

fn is_one_line(octets: &[u8]) -> bool {
    let text = octets.strip_suffix(b"\r\n").unwrap_or(b"\n");
    std::str::from_utf8(text).is_ok_and(|text| !text.chars().any(char::is_control))
}

/// Every CR stands before an LF, and every LF behind a CR.
fn is_sound(octets: &[u8]) -> bool {
    let pairs = octets.windows(2).filter(|pair| *pair == b"\r\n").count();
    let (crs, lfs) = octets.iter().fold((0, 0), |(crs, lfs), octet| (crs + usize::from(*octet == b'\r'), lfs + usize::from(*octet == b'\n')));
    pairs == crs && pairs == lfs
}

fn peer() -> Peer {
    Peer { remote: Remote { host: "mx.receiver.example".to_owned(), address: ([192, 0, 2, 25], 25).into() }, tls: None }
}

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
