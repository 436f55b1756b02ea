//! One mail transaction, as a value: MAIL, RCPT, DATA or BDAT, and what the replies mean for each recipient (RFC 5321 §3.3).
//!
//! ```text
//! Envelope ──all answered──→ Judge ──somebody accepted (or, if whole, everybody)──→ Body ──AskToEnd──→ Ending ─→ Done
//!                              ├─nobody, but 354──→ the lone dot (RFC 2920 §3.1) ─────→ Done
//!                              └─nobody──→ RSET ──────────────────────────────────────→ Done
//! 421, a cut, a time-out, something that is no reply: Done at once, the connection closed.
//! ```
//! With PIPELINING the envelope is one write (a hundred commands at a time) and its replies are read in step; without, each command waits
//! for its reply.

use super::body::Source;
use super::parameters;
use super::{Capabilities, ConnectionEnd, Peer, RecipientEnd, Shape, Stage, TransactionEnd, is_closing, is_positive};
use crate::mail::{EnhancedCode, Evidence, Mailbox, Notify, OriginalRecipient, Outcome, RemoteReply, Ret, ReversePath, Timestamp};
use std::collections::VecDeque;

/// What is to be sent to whom.
#[derive(Debug, Clone, Copy)]
pub struct Transaction<'a> {
    /// `MAIL FROM`.
    pub reverse_path: &'a ReversePath,
    /// `RCPT TO`, at least one, of one domain.
    pub recipients: &'a [TransactionRecipient<'a>],
    /// `ENVID`, not encoded.
    pub envid: Option<&'a str>,
    /// `RET`.
    pub ret: Option<Ret>,
    /// The fields to put in front: the seal, ending in CR LF, or nothing.
    pub header: &'a [u8],
    /// The message below them. Whether it needs 8BITMIME or SMTPUTF8 is seen in its octets and the addresses.
    pub message: &'a [u8],
    /// It is passed on as a stranger wrote it, whatever it looks like: long lines, and 8-bit text where the next hop does not say that it
    /// takes it. 8BITMIME and SMTPUTF8 are still said where they are offered.
    pub as_it_is: bool,
}

/// One recipient of a [`Transaction`].
#[derive(Debug, Clone, Copy)]
pub struct TransactionRecipient<'a> {
    /// Whom.
    pub mailbox: &'a Mailbox,
    /// `NOTIFY`.
    pub notify: Notify,
    /// `ORCPT`.
    pub orcpt: Option<&'a OriginalRecipient>,
}

/// A transaction under way.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is one fact about the dialogue so far, and they combine freely")]
pub struct Dialogue<'a> {
    transaction: &'a Transaction<'a>,
    peer: Peer,
    by_bdat: bool,
    pipelining: bool,
    /// What is still to be said before the body.
    commands: VecDeque<(Asked, String)>,
    asked: VecDeque<Asked>,
    out: Vec<u8>,
    out_stage: Stage,
    source: Source<'a>,
    chunk_octets_left: usize,
    phase: Phase,
    standings: Vec<Standing>,
    mail_taken: bool,
    data_taken: bool,
    answered: bool,
    blamed_message: bool,
    /// All recipients or none.
    whole: bool,
    /// LMTP: the end of the message is answered for each recipient that was accepted (RFC 2033 §4.2).
    one_by_one: bool,
    /// When the last reply came.
    last_at: Timestamp,
    closed: Option<String>,
}

/// What the shell is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Write [`Dialogue::octets`] within the time of the stage, then call [`Dialogue::written`].
    Write(Stage),
    /// Read one reply within the time of the stage and give it to [`Dialogue::reply`].
    Read(Stage),
    /// All but the last octets are on their way. Call [`Dialogue::may_end`]: from there on the next hop may have the mail.
    AskToEnd,
    /// Call [`Dialogue::end`].
    Over,
}

/// What a reply will answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Mail,
    Rcpt(usize),
    Data,
    Chunk,
    End,
    EndOf(usize),
    LoneDot,
    Reset,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Envelope,
    Judge,
    Body,
    Ending,
    Reset,
    Done,
}

#[derive(Debug)]
enum Standing {
    Open,
    Accepted,
    Ended(RecipientEnd),
}

impl<'a> Dialogue<'a> {
    /// A transaction with a next hop that offers `offered`; by BDAT rather than DATA if `prefer_bdat` and CHUNKING is offered.
    /// What this next hop cannot take is ended here, before anything is sent.
    #[must_use]
    pub fn new(transaction: &'a Transaction<'a>, offered: &Capabilities, prefer_bdat: bool, peer: Peer, at: Timestamp) -> Self {
        let mut dialogue = Self {
            transaction,
            peer,
            by_bdat: prefer_bdat && offered.chunking,
            pipelining: offered.pipelining,
            commands: VecDeque::new(),
            asked: VecDeque::new(),
            out: Vec::new(),
            out_stage: Stage::Mail,
            source: Source::new(transaction.header, transaction.message),
            chunk_octets_left: 0,
            phase: Phase::Envelope,
            standings: transaction.recipients.iter().map(|_| Standing::Open).collect(),
            mail_taken: false,
            data_taken: false,
            answered: false,
            blamed_message: false,
            whole: false,
            one_by_one: offered.lmtp,
            last_at: at,
            closed: None,
        };
        dialogue.prepare(offered, at);
        dialogue
    }

    /// The same transaction for all recipients or none: where one is refused, the message is not sent, and those who were accepted are deferred
    /// without a reply. So DATA is not said before every RCPT is answered. To be asked for before anything else.
    #[must_use]
    pub fn whole(mut self) -> Self {
        self.whole = true;
        if self.is_anybody_ended() {
            self.commands.clear();
        }
        self
    }

    /// The next thing to do; asked again after each.
    pub fn proceed(&mut self) -> Next {
        loop {
            if self.closed.is_some() {
                return Next::Over;
            }
            if !self.out.is_empty() {
                return Next::Write(self.out_stage);
            }
            if let Some(asked) = self.asked.front() {
                return Next::Read(asked.stage());
            }
            match self.phase {
                Phase::Envelope => self.say_envelope(),
                Phase::Judge => self.judge(),
                Phase::Body => {
                    if self.fill() {
                        return Next::AskToEnd;
                    }
                }
                Phase::Reset => self.say(Asked::Reset, "RSET\r\n", Phase::Done),
                Phase::Ending | Phase::Done => return Next::Over,
            }
        }
    }

    /// What [`Next::Write`] speaks of.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.out
    }

    /// They were written.
    pub fn written(&mut self) {
        self.out.clear();
    }

    /// The answer to [`Next::AskToEnd`]. Without leave the connection is to be closed before the end of the message, so that nothing is
    /// delivered under a lease that somebody else may have.
    pub fn may_end(&mut self, leave: bool, at: Timestamp) {
        if !leave {
            return self.close(EnhancedCode::new(4, 3, 0), "given up before the end of the message: the lease would not have lasted", at);
        }
        if !self.by_bdat {
            self.out.extend_from_slice(self.source.final_dot());
        }
        if self.one_by_one {
            let accepted = self.standings.iter().enumerate().filter(|(_, standing)| matches!(standing, Standing::Accepted));
            self.asked.extend(accepted.map(|(index, _)| Asked::EndOf(index)));
        } else {
            self.asked.push_back(Asked::End);
        }
        self.phase = Phase::Ending;
    }

    /// A reply to what was asked first and not answered yet. Once the connection is broken, what was left unread of it may be told too.
    pub fn reply(&mut self, reply: RemoteReply, at: Timestamp) {
        (self.answered, self.last_at) = (true, at);
        let Some(asked) = self.asked.pop_front() else {
            return self.interrupted(&reply, at);
        };
        if is_closing(&reply) {
            let why = format!("the server closed the connection: {reply}");
            self.end_open(|peer| peer.outcome(&reply, asked.words(), at));
            self.closed = Some(why);
            return;
        }
        if matches!(reply.code, 300..=399) && asked != Asked::Data {
            return self.confused(&format!("the server said \"{reply}\" {}", asked.words()), at);
        }
        match asked {
            Asked::Mail => self.mail_answered(&reply, at),
            Asked::Rcpt(index) => self.rcpt_answered(index, reply, at),
            Asked::Data if reply.code == 354 => self.data_taken = true,
            Asked::Chunk if is_positive(&reply) => {}
            Asked::Data | Asked::Chunk | Asked::End => self.message_answered(asked, &reply, at),
            Asked::EndOf(index) => self.end_answered(index, &reply, at),
            Asked::Reset if !is_positive(&reply) => self.closed = Some(format!("RSET was refused: {reply}")),
            Asked::LoneDot | Asked::Reset => {}
        }
    }

    /// A reply before the message was through, seen because the connection broke: it is the reason, and nothing was delivered.
    fn interrupted(&mut self, reply: &RemoteReply, at: Timestamp) {
        if self.closed.is_some() {
            return;
        }
        if is_positive(reply) {
            return self.close(EnhancedCode::new(4, 5, 0), &format!("the server said \"{reply}\" before it was asked"), at);
        }
        let why = format!("the server closed the connection: {reply}");
        self.blamed_message |= self.accepted() > 1 && !is_closing(reply);
        self.end_open(|peer| peer.outcome(reply, format!("said during {}", Stage::DataBlock), at));
        self.closed = Some(why);
    }

    /// The connection broke, or a time ran out.
    pub fn lost(&mut self, why: &str, at: Timestamp) {
        self.close(EnhancedCode::new(4, 4, 2), why, at);
    }

    /// The server said something that is no reply.
    pub fn confused(&mut self, why: &str, at: Timestamp) {
        self.close(EnhancedCode::new(4, 5, 0), why, at);
    }

    /// No reply has come in this transaction yet.
    #[must_use]
    pub const fn is_unanswered(&self) -> bool {
        !self.answered
    }

    /// How it all ended.
    #[must_use]
    pub fn end(mut self, at: Timestamp) -> TransactionEnd {
        // Only a caller who stops before `Next::Over` leaves somebody open.
        self.end_open(|peer| Outcome::Deferred(peer.evidence(EnhancedCode::new(4, 3, 0), "the transaction was given up", at)));
        let recipients = self.standings.into_iter().filter_map(|standing| match standing {
            Standing::Ended(end) => Some(end),
            Standing::Open | Standing::Accepted => None,
        });
        TransactionEnd {
            recipients: recipients.collect(),
            connection: self.closed.map_or(ConnectionEnd::Reusable, ConnectionEnd::Closed),
            blamed_message: self.blamed_message,
            stale: false,
        }
    }

    /// Ends what this next hop cannot take and lines up the commands for the rest.
    fn prepare(&mut self, offered: &Capabilities, at: Timestamp) {
        let as_it_is = self.transaction.as_it_is;
        let look = if as_it_is { Shape::of_any } else { Shape::of };
        let shape = match look(self.transaction.header, self.transaction.message) {
            Ok(shape) => shape,
            Err(fault) => return self.refuse_all(EnhancedCode::new(5, 6, 0), &format!("not sent: {fault}"), at),
        };
        if offered.size.is_some_and(|max| max > 0 && shape.octets > max) {
            let text = format!("the message has {} octets, more than the server takes ({})", shape.octets, offered.size.unwrap_or(0));
            return self.refuse_all(EnhancedCode::new(5, 3, 4), &text, at);
        }
        if shape.eight_bit && !offered.eight_bit_mime && !as_it_is {
            return self.refuse_all(EnhancedCode::new(5, 6, 3), "the message holds 8-bit data, and the server does not offer 8BITMIME", at);
        }
        let path_is_ascii = self.transaction.reverse_path.mailbox().is_none_or(Mailbox::is_ascii);
        if !offered.smtputf8 {
            if shape.eight_bit_header && !as_it_is || !path_is_ascii {
                return self.refuse_all(EnhancedCode::new(5, 6, 7), "header or sender are in UTF-8, and the server does not offer SMTPUTF8", at);
            }
            self.refuse_where(|recipient| !recipient.mailbox.is_ascii(), EnhancedCode::new(5, 6, 7), NO_SMTPUTF8, at);
        }
        self.keep_rcpt_max(offered);
        let open: Vec<usize> = (0..self.standings.len()).filter(|&index| matches!(self.standings[index], Standing::Open)).collect();
        if open.is_empty() {
            self.phase = Phase::Done;
            return;
        }
        let smtputf8 = shape.eight_bit_header && (!as_it_is || offered.smtputf8)
            || !path_is_ascii
            || open.iter().any(|&index| !self.transaction.recipients[index].mailbox.is_ascii());
        self.commands.push_back((Asked::Mail, parameters::mail(self.transaction, &shape, smtputf8, offered)));
        self.commands.extend(open.iter().map(|&index| (Asked::Rcpt(index), parameters::rcpt(&self.transaction.recipients[index], offered))));
        if !self.by_bdat {
            self.commands.push_back((Asked::Data, "DATA\r\n".to_owned()));
        }
    }

    fn refuse_all(&mut self, status: EnhancedCode, text: &str, at: Timestamp) {
        self.refuse_where(|_| true, status, text, at);
        self.phase = Phase::Done;
    }

    fn refuse_where(&mut self, refused: impl Fn(&TransactionRecipient<'_>) -> bool, status: EnhancedCode, text: &str, at: Timestamp) {
        for (recipient, standing) in self.transaction.recipients.iter().zip(&mut self.standings) {
            if refused(recipient) {
                *standing = Standing::Ended(RecipientEnd::Ended(Outcome::Failed(self.peer.evidence(status, text, at))));
            }
        }
    }

    /// RFC 9422 §4.2: those beyond RCPTMAX are not asked.
    fn keep_rcpt_max(&mut self, offered: &Capabilities) {
        let max = offered.limits.rcpt_max.map_or(usize::MAX, |max| usize::try_from(max.get()).unwrap_or(usize::MAX));
        for standing in self.standings.iter_mut().filter(|standing| matches!(standing, Standing::Open)).skip(max) {
            *standing = Standing::Ended(RecipientEnd::TooMany(None));
        }
    }

    fn say(&mut self, asked: Asked, octets: &str, then: Phase) {
        self.out.extend_from_slice(octets.as_bytes());
        self.out_stage = asked.stage();
        self.asked.push_back(asked);
        self.phase = then;
    }

    /// The next group of commands in one write; without PIPELINING a group is one command.
    fn say_envelope(&mut self) {
        let group_max = if self.pipelining { GROUP_COMMANDS_MAX } else { 1 };
        while self.asked.len() < group_max {
            match self.commands.pop_front() {
                Some(data @ (Asked::Data, _)) if self.whole && !self.asked.is_empty() => {
                    self.commands.push_front(data); // first the answers to all RCPT
                    return;
                }
                // Known by now to be for nobody.
                Some((Asked::Data, _)) if self.out.is_empty() && (!self.is_anybody_accepted() || self.is_forlorn()) => {}
                Some((asked, line)) => self.say(asked, &line, Phase::Envelope),
                None => {
                    self.phase = Phase::Judge;
                    return;
                }
            }
        }
    }

    fn judge(&mut self) {
        if self.is_forlorn() {
            let at = self.last_at;
            self.end_open(|peer| Outcome::Deferred(peer.evidence(EnhancedCode::new(4, 5, 0), NOT_ALL, at)));
        }
        match (self.is_anybody_accepted(), self.data_taken) {
            (true, _) => self.phase = Phase::Body,
            // With nobody to answer for, nobody answers.
            (false, true) if self.one_by_one => self.closed = Some("the server took DATA though it had taken no recipient".to_owned()),
            (false, true) => self.say(Asked::LoneDot, ".\r\n", Phase::Done),
            (false, false) => self.phase = if self.mail_taken { Phase::Reset } else { Phase::Done },
        }
    }

    /// Puts the next piece of the message into `out`. The last piece is held back, and `true` returned, until there is leave to end.
    fn fill(&mut self) -> bool {
        self.out_stage = Stage::DataBlock;
        if !self.by_bdat {
            self.source.stuff(&mut self.out, PIECE_OCTETS);
            return self.source.octets_left() == 0;
        }
        if self.chunk_octets_left == 0 {
            self.chunk_octets_left = self.source.octets_left().min(CHUNK_OCTETS_MAX);
            let last = if self.chunk_octets_left == self.source.octets_left() { " LAST" } else { "" };
            self.out.extend_from_slice(format!("BDAT {}{last}\r\n", self.chunk_octets_left).as_bytes());
        }
        let before = self.source.octets_left();
        let room = self.out.len() + self.chunk_octets_left.min(PIECE_OCTETS);
        self.source.copy(&mut self.out, room);
        self.chunk_octets_left -= before - self.source.octets_left();
        if self.source.octets_left() == 0 {
            return true;
        }
        if self.chunk_octets_left == 0 {
            self.asked.push_back(Asked::Chunk);
        }
        false
    }

    fn mail_answered(&mut self, reply: &RemoteReply, at: Timestamp) {
        self.mail_taken = is_positive(reply);
        if !self.mail_taken {
            self.commands.clear();
            self.end_open(|peer| peer.outcome(reply, Asked::Mail.words(), at));
        }
    }

    fn rcpt_answered(&mut self, index: usize, reply: RemoteReply, at: Timestamp) {
        if !matches!(self.standings[index], Standing::Open) {
            return;
        }
        let others_accepted = self.is_anybody_accepted();
        self.standings[index] = match reply.code {
            200..=299 => Standing::Accepted,
            _ if others_accepted && is_too_many(&reply) => Standing::Ended(RecipientEnd::TooMany(Some(reply))),
            // RFC 5321 §4.5.3.1.10: a 552 that means too many recipients is a 452.
            552 if is_too_many(&reply) => {
                let evidence = self.peer.outcome(&reply, Asked::Rcpt(index).words(), at).evidence().clone();
                Standing::Ended(RecipientEnd::Ended(Outcome::Deferred(Evidence { status: EnhancedCode::new(4, 5, 3), ..evidence })))
            }
            _ => Standing::Ended(RecipientEnd::Ended(self.peer.outcome(&reply, Asked::Rcpt(index).words(), at))),
        };
    }

    /// The answer that settles the message for everybody who was accepted.
    fn message_answered(&mut self, asked: Asked, reply: &RemoteReply, at: Timestamp) {
        let taken = asked == Asked::End && is_positive(reply);
        if asked == Asked::Data && is_positive(reply) {
            return self.confused(&format!("the server answered DATA with \"{reply}\""), at);
        }
        self.blamed_message |= !taken && self.accepted() > 1;
        self.end_open(|peer| peer.outcome(reply, asked.words(), at));
        self.commands.clear();
        match asked {
            Asked::Data => {}
            // The dot ends a transaction whatever is said to it (RFC 5321 §4.1.1.4); a refused chunk does not (RFC 3030 §2).
            _ if taken || !self.by_bdat => self.phase = Phase::Done,
            _ => self.phase = Phase::Reset,
        }
    }

    /// LMTP: the answer that settles the message for one recipient.
    fn end_answered(&mut self, index: usize, reply: &RemoteReply, at: Timestamp) {
        self.standings[index] = Standing::Ended(RecipientEnd::Ended(self.peer.outcome(reply, Asked::End.words(), at)));
        if !self.asked.iter().any(|asked| matches!(asked, Asked::EndOf(_))) {
            self.phase = Phase::Done;
        }
    }

    fn close(&mut self, status: EnhancedCode, why: &str, at: Timestamp) {
        let unknown_end = self.phase == Phase::Ending;
        self.end_open(|peer| Outcome::Deferred(Evidence { unknown_end, ..peer.evidence(status, why, at) }));
        self.closed = Some(why.to_owned());
    }

    fn end_open(&mut self, outcome: impl Fn(&Peer) -> Outcome) {
        for standing in &mut self.standings {
            if matches!(standing, Standing::Open | Standing::Accepted) {
                *standing = Standing::Ended(RecipientEnd::Ended(outcome(&self.peer)));
            }
        }
    }

    fn is_anybody_accepted(&self) -> bool {
        self.standings.iter().any(|standing| matches!(standing, Standing::Accepted))
    }

    fn is_anybody_ended(&self) -> bool {
        self.standings.iter().any(|standing| matches!(standing, Standing::Ended(_)))
    }

    /// All or none, and it cannot be all.
    fn is_forlorn(&self) -> bool {
        self.whole && self.is_anybody_ended()
    }

    fn accepted(&self) -> usize {
        self.standings.iter().filter(|standing| matches!(standing, Standing::Accepted)).count()
    }
}

impl Asked {
    const fn stage(self) -> Stage {
        match self {
            Self::Mail | Self::Reset => Stage::Mail,
            Self::Rcpt(_) => Stage::Rcpt,
            Self::Data => Stage::DataInit,
            Self::Chunk => Stage::DataBlock,
            Self::End | Self::EndOf(_) | Self::LoneDot => Stage::DataDone,
        }
    }

    fn words(self) -> String {
        format!("in reply to {}", self.stage())
    }
}

/// Says this reply to RCPT that the transaction is full? By its enhanced code, or, without one, by 452 or 552.
fn is_too_many(reply: &RemoteReply) -> bool {
    let transient = matches!(reply.code, 400..=499 | 552);
    transient && reply.enhanced.map_or(matches!(reply.code, 452 | 552), |enhanced| enhanced.subject_and_detail() == (5, 3))
}

const NOT_ALL: &str = "not sent, since another recipient was refused";
const NO_SMTPUTF8: &str = "the address is in UTF-8, and the server does not offer SMTPUTF8";
/// Commands of one pipelined group. Their replies have to fit into what two kernels keep unread, or each side would wait for the other
/// to read (RFC 2920 §3.1): 100 replies of 512 octets do.
const GROUP_COMMANDS_MAX: usize = 100;
/// Octets of the message that are written at once.
const PIECE_OCTETS: usize = 64 * 1024;
/// Octets of one BDAT chunk; the server answers each.
const CHUNK_OCTETS_MAX: usize = 1024 * 1024;
