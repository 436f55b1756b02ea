//! The server's dialogue (RFC 5321) as a value: octets, answers and time go in, replies and wishes come out.
//!
//! ```text
//!            EHLO            MAIL            RCPT                DATA                 final dot
//! Unannounced ──▶ Ready ─────────▶ Beginning ─▶ Mailing ◀─▶ Judging   ──▶ Data ───────────────▶ Committing ──▶ Ready
//!                  │ ▲                            └──▶ Chunk ◀─▶ Chunked (BDAT) ── LAST ──▶ Committing
//!                  │ └── Authenticating ◀─▶ Challenged ─▶ Confirming (AUTH)
//!                  └──── StartingTls ─▶ Unannounced (all before it forgotten, RFC 3207 §4.2)
//! ```
//!
//! In Beginning, Judging, Committing, Authenticating and StartingTls the shell owes an answer; until it comes no octet is looked
//! at, so replies keep the order of the commands (RFC 2920). A client that is gone is simply forgotten: only
//! [`Action::Hand`] lets a message out, and only a [`Receipt`] makes its `250`.

mod session;
mod transaction;

use self::session::Hello;
use self::transaction::{Transaction, chunk};
use super::chunk::{Chunk, Chunks};
use super::command::{self, AUTH_LINE_OCTETS_MAX, Command, Mail, Malformed, Rcpt};
use super::data::DataReader;
use super::line::{LineFault, LineReader};
use super::memory::Memory;
use super::reply::Reply;
use super::settings::{Settings, StartTls};
use crate::mail::{
    Client, EnhancedCode, ForwardPath, IdentityName, Mailbox, Proof, Receipt, Recipient, Refusal, ReversePath, Submission, Timestamp, TlsSession,
};
use bytes::{Buf, BytesMut};
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// One client's dialogue.
#[derive(Debug)]
pub struct Dialogue {
    settings: Arc<Settings>,
    memory: Option<Arc<Memory>>,
    peer: Peer,
    user: Option<User>,
    state: State,
    input: BytesMut,
    line: LineReader,
    actions: VecDeque<Action>,
    tally: Tally,
    deadline: Timestamp,
    line_began_at: Option<Timestamp>,
    drain_until: Option<Timestamp>,
}

/// What is known of a client before it speaks.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address.
    pub address: IpAddr,
    /// The name of the listener.
    pub listener: Arc<str>,
    /// Its identity, by network or certificate.
    pub known: Option<(IdentityName, Proof)>,
    /// The TLS session, where TLS was there first.
    pub tls: Option<TlsSession>,
}

/// What happened.
#[derive(Debug)]
pub enum Input<'a> {
    /// The client sent this. Only while [`Dialogue::wants_octets`].
    Octets(&'a [u8]),
    /// Answers [`Action::StartTls`]: the handshake is done; what is known of the client now.
    TlsStarted(TlsSession, Option<(IdentityName, Proof)>),
    /// Answers [`Action::Begin`].
    Begun(Result<Bounds, Refusal>),
    /// Answers [`Action::Judge`]: the mailbox that stands for the recipient.
    Judged(Result<Mailbox, Refusal>),
    /// Answers [`Action::Authenticate`] or [`Action::Respond`]: the mechanism asks this.
    Challenge(Vec<u8>),
    /// Answers [`Action::Authenticate`] or [`Action::Respond`]: it is over.
    Authenticated(Result<User, Refusal>),
    /// Answers [`Action::Hand`].
    Committed(Result<Receipt, Refusal>),
    /// No more transactions; one that is open may go on until then.
    Drain(Timestamp),
    /// Time passed; see [`Dialogue::deadline`].
    Tick,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Action {
    /// Say this.
    Send(Reply),
    /// Send what is said, drop every octet received since, begin TLS.
    StartTls,
    /// Ask whether a transaction may begin.
    Begin {
        /// Who asks.
        client: Client,
        /// Its reverse-path.
        from: ReversePath,
        /// `SIZE=` in octets.
        size: Option<u64>,
    },
    /// Ask whether a recipient is taken.
    Judge {
        /// Who asks.
        client: Client,
        /// The recipient.
        to: ForwardPath,
        /// Recipients taken so far.
        taken: usize,
    },
    /// Begin an authentication. Without an initial response, a mechanism in which the client speaks first asks for it by an empty
    /// challenge.
    Authenticate {
        /// One of those offered.
        mechanism: String,
        /// What came with the command.
        initial: Option<Vec<u8>>,
    },
    /// Give the mechanism this response.
    Respond(Vec<u8>),
    /// Commit this.
    Hand(Submission),
    /// Send what is said, close the connection.
    Close,
}

/// What a transaction may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Octets of the message.
    pub message_octets_max: u64,
    /// Recipients.
    pub recipients_max: usize,
}

/// Who authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The identity that the user stands for.
    pub identity: IdentityName,
    /// The authentication identity.
    pub name: String,
    /// What the mechanism still has to say; the client confirms it with an empty response (RFC 4954 §4).
    pub last_challenge: Option<Vec<u8>>,
}

#[derive(Debug)]
enum State {
    Unannounced,
    Ready(Hello),
    Beginning(Hello, Box<Mail>),
    Mailing(Hello, Box<Transaction>),
    Judging(Hello, Box<Transaction>, Box<Rcpt>),
    Data(Hello, Box<Transaction>, DataReader),
    Chunk(Hello, Box<Transaction>, Chunk),
    Chunked(Hello, Box<Transaction>, Chunks),
    /// The octets of a chunk that is refused.
    Skipping {
        left: u64,
        began_at: Timestamp,
        refusal: Refusal,
        next: Box<State>,
    },
    Committing(Hello),
    Authenticating(Hello, u32),
    Challenged(Hello, u32),
    Confirming(Hello, User),
    StartingTls,
    Closed,
}

/// What is counted against a client.
#[derive(Debug, Default)]
struct Tally {
    errors: u32,
    refusals: u32,
    idle_commands: u32,
    auth_failures: u32,
    mails: u32,
}

impl Dialogue {
    /// Greets.
    #[must_use]
    pub fn new(settings: Arc<Settings>, peer: Peer, now: Timestamp) -> Self {
        let greeting = Reply::plain(220, vec![format!("{} ESMTP postseal", settings.hostname)]);
        let line = LineReader::new(AUTH_LINE_OCTETS_MAX.max(settings.command_octets_max), settings.bare_lf);
        let deadline = now + settings.timeouts.idle;
        Self {
            settings,
            memory: None,
            peer,
            user: None,
            state: State::Unannounced,
            input: BytesMut::new(),
            line,
            actions: VecDeque::from([Action::Send(greeting)]),
            tally: Tally::default(),
            deadline,
            line_began_at: None,
            drain_until: None,
        }
    }

    /// The memory that its messages share with those of other dialogues; without, they are bounded one by one only.
    #[must_use]
    pub fn within(self, memory: Arc<Memory>) -> Self {
        Self { memory: Some(memory), ..self }
    }

    /// Takes what happened. An answer that was not asked for is dropped: its transaction is gone. Nothing follows the end.
    pub fn handle(&mut self, input: Input<'_>, now: Timestamp) {
        if self.is_over() {
            return;
        }
        match input {
            Input::Tick => return self.tick(now),
            Input::Drain(until) => self.drain_until = Some(until),
            Input::Octets(octets) => self.input.extend_from_slice(octets),
            answer => {
                let state = std::mem::replace(&mut self.state, State::Closed);
                let next = self.answered(state, answer, now);
                self.enter(next);
            }
        }
        self.run(now);
        self.rearm(now);
    }

    /// The next thing to do, until there is none.
    pub fn next_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Is it the client's turn?
    #[must_use]
    pub const fn wants_octets(&self) -> bool {
        !self.awaits_answer() && !matches!(self.state, State::Closed)
    }

    /// Has it ended? What it still wants done is then to be done, nothing more to be given.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When to give [`Input::Tick`] unless something else happens before.
    #[must_use]
    pub const fn deadline(&self) -> Timestamp {
        self.deadline
    }

    const fn awaits_answer(&self) -> bool {
        matches!(self.state, State::Beginning(..) | State::Judging(..) | State::Committing(_) | State::Authenticating(..) | State::StartingTls)
    }

    /// Works through the input until it is used up or an answer is owed. Going down, it stops at the first boundary.
    fn run(&mut self, now: Timestamp) {
        loop {
            let boundary = matches!(self.state, State::Unannounced | State::Ready(_) | State::Challenged(..) | State::Confirming(..));
            if boundary && self.drain_until.is_some() {
                self.close_with(going_down());
            }
            if !self.step(now) {
                return;
            }
        }
    }

    /// One command, or one piece of a message; whether there may be more to do.
    fn step(&mut self, now: Timestamp) -> bool {
        match &mut self.state {
            State::Closed | State::StartingTls => {
                self.input.clear();
                return false;
            }
            State::Beginning(..) | State::Judging(..) | State::Committing(_) | State::Authenticating(..) => return false,
            State::Data(_, _, reader) => {
                let (taken, ended) = reader.read(&self.input);
                self.input.advance(taken);
                if !ended {
                    return false;
                }
            }
            State::Chunk(_, _, chunk) => {
                let taken = chunk.read(&self.input);
                self.input.advance(taken);
                if !chunk.is_whole() {
                    return false;
                }
            }
            State::Skipping { left, .. } => {
                let taken = usize::try_from(*left).unwrap_or(usize::MAX).min(self.input.len());
                *left -= taken as u64;
                self.input.advance(taken);
                if *left > 0 {
                    return false;
                }
            }
            State::Unannounced | State::Ready(_) | State::Mailing(..) | State::Chunked(..) | State::Challenged(..) | State::Confirming(..) => {
                return self.read_line(now);
            }
        }
        let state = std::mem::replace(&mut self.state, State::Closed);
        let next = self.octets_ended(state, now);
        self.enter(next);
        true
    }

    fn read_line(&mut self, now: Timestamp) -> bool {
        let (taken, line) = self.line.read(&self.input);
        self.input.advance(taken);
        let Some(line) = line else {
            if !self.line.is_at_start() {
                self.line_began_at.get_or_insert(now);
            }
            return false;
        };
        self.line_began_at = None;
        let state = std::mem::replace(&mut self.state, State::Closed);
        let next = match (line, state) {
            (Ok(line), State::Challenged(hello, steps)) => self.sasl_response(hello, steps, &line),
            (Ok(line), State::Confirming(hello, user)) => self.sasl_confirmed(hello, user, &line),
            (Ok(line), state) => self.command(state, &line, now),
            (Err(fault), state) => self.line_fault(fault, state),
        };
        self.enter(next);
        true
    }

    fn line_fault(&mut self, fault: LineFault, state: State) -> State {
        match (fault, state) {
            (LineFault::BareLf, _) => self.end(refusal(500, (5, 5, 2), "the line ends in LF without CR; lines end in CR LF (RFC 5321 2.3.8)").into()),
            // A faulty response ends its authentication (RFC 4954 §4).
            (LineFault::BareCr, State::Challenged(hello, _) | State::Confirming(hello, _)) => self.fault(State::Ready(hello), bare_cr()),
            (LineFault::BareCr, state) => self.fault(state, bare_cr()),
            (LineFault::TooLong, State::Challenged(hello, _) | State::Confirming(hello, _)) => {
                self.fault(State::Ready(hello), refusal(500, (5, 5, 6), "the authentication line is too long"))
            }
            (LineFault::TooLong, state) => self.fault(state, line_too_long()),
        }
    }

    fn command(&mut self, state: State, line: &[u8], now: Timestamp) -> State {
        if line.len() + 2 > command::line_octets_max(line, self.settings.command_octets_max) {
            return self.fault(state, line_too_long());
        }
        match Command::parse(line) {
            Ok(command) => match self.needs_tls(&command) {
                None => self.obey(state, command, now),
                Some(refusal) => self.refuse_command(state, &command, refusal, now),
            },
            Err(Malformed { refusal, fatal: true }) => self.end(refusal.into()),
            Err(Malformed { refusal, fatal: false }) => self.fault(state, refusal),
        }
    }

    /// RFC 3207 §4: before a TLS that is demanded only these.
    fn needs_tls(&self, command: &Command) -> Option<Refusal> {
        let harmless = matches!(command, Command::Ehlo(_) | Command::Helo(_) | Command::Noop | Command::Quit | Command::StartTls);
        let demanded = self.settings.starttls == StartTls::Required && self.peer.tls.is_none();
        (demanded && !harmless).then(|| refusal(530, (5, 7, 0), "issue a STARTTLS command first"))
    }

    /// Whose turn it is: the table of RFC 5321 §4.1.4.
    fn obey(&mut self, state: State, command: Command, now: Timestamp) -> State {
        match (state, command) {
            (_, Command::Ehlo(name)) => self.greet(name, true),
            (_, Command::Helo(name)) => self.greet(name, false),
            (_, Command::Quit) => self.end(Reply::new(221, (2, 0, 0), "bye")),
            (state, Command::Help) => self.idle(state, Reply::new(214, (2, 0, 0), "see RFC 5321 and this server's administrator")),
            (state, Command::Vrfy) => self.idle(state, Reply::new(252, (2, 5, 0), "send some mail, that will tell")),
            (state, Command::Expn) => self.idle(state, refusal(502, (5, 5, 1), "EXPN is not offered here").into()),
            (State::Ready(hello) | State::Mailing(hello, _) | State::Chunked(hello, ..), Command::Rset) => {
                self.idle(State::Ready(hello), Reply::new(250, (2, 0, 0), "ok"))
            }
            (state, Command::Rset | Command::Noop) => self.idle(state, Reply::new(250, (2, 0, 0), "ok")),
            (State::Ready(hello), Command::Mail(mail)) => self.begin(hello, mail),
            (State::Mailing(hello, transaction), Command::Rcpt(rcpt)) => self.judge(hello, transaction, rcpt),
            (State::Mailing(hello, transaction), Command::Data) => self.data(hello, transaction),
            (State::Mailing(hello, transaction), Command::Bdat { octets, last }) => self.first_chunk(hello, transaction, (octets, last), now),
            (State::Chunked(hello, transaction, chunks), Command::Bdat { octets, last }) => chunk(hello, transaction, chunks, (octets, last), now),
            (State::Ready(hello), Command::StartTls) => self.start_tls(hello),
            (State::Ready(hello), Command::Auth { mechanism, initial }) => self.authenticate(hello, mechanism, initial),
            (state, command @ (Command::Mail(_) | Command::Rcpt(_) | Command::Data | Command::Bdat { .. } | Command::StartTls | Command::Auth { .. })) => {
                let refusal = misplaced(&state, &command);
                self.refuse_command(state, &command, refusal, now)
            }
        }
    }

    /// The shell's answers, each in the one state that asked for it.
    fn answered(&mut self, state: State, answer: Input<'_>, now: Timestamp) -> State {
        match (state, answer) {
            (State::StartingTls, Input::TlsStarted(session, known)) => {
                self.peer = Peer { tls: Some(session), known, ..self.peer.clone() };
                self.user = None;
                State::Unannounced
            }
            (State::Beginning(hello, mail), Input::Begun(Ok(bounds))) => self.begun(hello, *mail, bounds, now),
            (State::Judging(hello, mut transaction, rcpt), Input::Judged(Ok(mailbox))) => {
                self.say(Reply::new(250, (2, 1, 5), "ok"));
                transaction.recipients.push(Recipient { mailbox, notify: rcpt.notify, orcpt: rcpt.orcpt });
                State::Mailing(hello, transaction)
            }
            (State::Judging(hello, transaction, _), Input::Judged(Err(refusal))) => self.refuse_recipient(hello, transaction, refusal),
            (State::Authenticating(hello, steps), Input::Challenge(challenge)) => {
                self.challenge(&challenge);
                State::Challenged(hello, steps)
            }
            (State::Authenticating(hello, _), Input::Authenticated(Ok(User { last_challenge: Some(challenge), identity, name }))) => {
                self.challenge(&challenge);
                State::Confirming(hello, User { identity, name, last_challenge: None })
            }
            (State::Authenticating(hello, _), Input::Authenticated(Ok(user))) => self.welcome(hello, user),
            (State::Authenticating(hello, _), Input::Authenticated(Err(refusal))) => self.auth_failed(hello, refusal),
            (State::Committing(hello), Input::Committed(Ok(receipt))) => {
                self.say(Reply::accepted(&receipt));
                self.tally = Tally { mails: self.tally.mails + 1, errors: self.tally.errors, auth_failures: self.tally.auth_failures, ..Tally::default() };
                State::Ready(hello)
            }
            (State::Beginning(hello, _), Input::Begun(Err(refusal))) | (State::Committing(hello), Input::Committed(Err(refusal))) => {
                self.refuse(State::Ready(hello), refusal)
            }
            (state, _) => state,
        }
    }

    /// A command that the client got wrong.
    fn fault(&mut self, state: State, refusal: Refusal) -> State {
        self.tally.errors += 1;
        if self.tally.errors > self.settings.errors_max { self.end(Reply::new(421, (4, 7, 0), "too many errors")) } else { self.answer(state, refusal.into()) }
    }

    /// A sender, a recipient or a message that is not taken.
    fn refuse(&mut self, state: State, refusal: Refusal) -> State {
        self.tally.refusals += 1;
        if self.tally.refusals > self.settings.refusals_max {
            return self.end(Reply::new(421, (4, 7, 0), "too many refused senders, recipients or messages"));
        }
        if refusal.code == 421 { self.end(refusal.into()) } else { self.answer(state, refusal.into()) }
    }

    /// Refuses a whole command: what belongs to a chunk is read before the reply, and RCPT and DATA are no mistake of the protocol when
    /// they were pipelined behind a sender that was refused.
    fn refuse_command(&mut self, state: State, command: &Command, refusal: Refusal, now: Timestamp) -> State {
        match command {
            Command::Bdat { octets, .. } => skip(*octets, now, refusal, state),
            Command::Data if !self.input.is_empty() => self.end(too_early()),
            Command::Rcpt(_) | Command::Data => self.refuse(state, refusal),
            _ => self.fault(state, refusal),
        }
    }

    /// A command that leads nowhere.
    fn idle(&mut self, state: State, reply: Reply) -> State {
        self.tally.idle_commands += 1;
        if self.tally.idle_commands > self.settings.idle_commands_max {
            return self.end(Reply::new(421, (4, 7, 0), "too many commands without a message"));
        }
        self.answer(state, reply)
    }

    fn answer(&mut self, state: State, reply: Reply) -> State {
        self.say(reply);
        state
    }

    fn end(&mut self, reply: Reply) -> State {
        self.say(reply);
        State::Closed
    }

    fn say(&mut self, reply: Reply) {
        self.actions.push_back(Action::Send(reply));
    }

    fn close_with(&mut self, reply: Reply) {
        let closed = self.end(reply);
        self.enter(closed);
    }

    fn enter(&mut self, state: State) {
        if matches!(state, State::Closed) {
            self.actions.push_back(Action::Close);
            self.input.clear();
        }
        self.state = state;
    }

    fn tick(&mut self, now: Timestamp) {
        if now < self.deadline {
            return;
        }
        if self.drain_until.is_some() {
            self.close_with(going_down());
        } else {
            self.close_with(Reply::new(421, (4, 4, 2), "timed out"));
        }
    }

    /// Sets the deadline anew: something has happened.
    fn rearm(&mut self, now: Timestamp) {
        let timeouts = &self.settings.timeouts;
        let next_octets = match &self.state {
            State::Closed | State::Beginning(..) | State::Judging(..) | State::Committing(_) | State::Authenticating(..) | State::StartingTls => {
                Timestamp::FAR_FUTURE
            }
            State::Data(..) | State::Chunk(..) | State::Skipping { .. } => now + timeouts.data_block,
            State::Unannounced | State::Ready(_) | State::Mailing(..) | State::Chunked(..) | State::Challenged(..) | State::Confirming(..) => {
                // Going down, a transaction may go on, but nobody is waited for who does not go on with it.
                let idle = if self.drain_until.is_some() { timeouts.idle.min(DRAIN_IDLE_MAX) } else { timeouts.idle };
                self.line_began_at.map_or(now + idle, |began_at| began_at + timeouts.command)
            }
        };
        let message = self.state.message_began_at().map_or(Timestamp::FAR_FUTURE, |began_at| began_at + timeouts.message);
        self.deadline = next_octets.min(message).min(self.drain_until.unwrap_or(Timestamp::FAR_FUTURE));
    }
}

impl State {
    fn message_began_at(&self) -> Option<Timestamp> {
        match self {
            Self::Mailing(_, transaction) | Self::Data(_, transaction, _) | Self::Chunk(_, transaction, _) | Self::Chunked(_, transaction, _) => {
                Some(transaction.began_at)
            }
            Self::Skipping { began_at, next, .. } => Some(next.message_began_at().unwrap_or(*began_at)),
            // The shell owes an answer, or there is no transaction.
            Self::Unannounced
            | Self::Ready(_)
            | Self::Beginning(..)
            | Self::Judging(..)
            | Self::Committing(_)
            | Self::Authenticating(..)
            | Self::Challenged(..)
            | Self::Confirming(..)
            | Self::StartingTls
            | Self::Closed => None,
        }
    }
}

/// How long a client with an open transaction may be silent while the server goes down.
const DRAIN_IDLE_MAX: Duration = Duration::from_secs(5);

/// Why a command of the transaction has no place in this state.
fn misplaced(state: &State, command: &Command) -> Refusal {
    let text = match (state, command) {
        (State::Unannounced, _) => "send EHLO first",
        (State::Ready(_), _) => "send MAIL first",
        (State::Chunked(..), Command::Data) => "no DATA behind BDAT; end the message with BDAT LAST or RSET",
        (State::Chunked(..), Command::Rcpt(_)) => "no more recipients behind BDAT; end the message with BDAT LAST or RSET",
        (_, Command::Mail(_)) => "a transaction is open; RSET ends it",
        (_, _) => "not in a transaction; RSET ends it",
    };
    refusal(503, (5, 5, 1), text)
}

fn skip(octets: u64, now: Timestamp, refusal: Refusal, next: State) -> State {
    State::Skipping { left: octets, began_at: now, refusal, next: Box::new(next) }
}

/// What follows DATA or AUTH before their reply would be a message or a response; were the command refused, it would be taken for
/// commands (RFC 2920 §3.1).
fn too_early() -> Reply {
    refusal(554, (5, 5, 0), "more was sent before the reply to this command; wait for it").into()
}

fn going_down() -> Reply {
    Reply::new(421, (4, 3, 2), "this server is going down; try again in a moment")
}

fn bare_cr() -> Refusal {
    refusal(500, (5, 5, 2), "the line holds a CR without LF; lines end in CR LF (RFC 5321 2.3.8)")
}

fn line_too_long() -> Refusal {
    refusal(500, (5, 5, 2), "the line is too long")
}

fn refusal(code: u16, (class, subject, detail): (u8, u16, u16), text: impl Into<String>) -> Refusal {
    Refusal::submitter(code, EnhancedCode::new(class, subject, detail), text)
}
