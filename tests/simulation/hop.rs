//! A next hop: takes mail, or refuses it, breaks, stalls and forgets to answer, as the seed has it. Written anew from the RFCs, so that the
//! relay does not talk to its own mirror.

use crate::keys::{AUTHOR, Keys};
use crate::ledger::Arrived;
use crate::names::HOME;
use crate::wire::{FOREVER, Fate, Wire};
use crate::world::World;
use postseal::mail::Headers;
use postseal::mail::dsn::{Action, Report};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub async fn serve(world: Arc<World>, keys: Arc<Keys>, host: String, wire: Wire) {
    let is_home = host.ends_with(HOME);
    let session = Session { world, keys, host, is_home, wire, unread: Vec::new(), secure: false, chunking: false, mail: None };
    let _ = session.run().await; // however it ends
}

struct Session {
    world: Arc<World>,
    keys: Arc<Keys>,
    host: String,
    /// Never refuses for good: notices that nobody can be told of go there.
    is_home: bool,
    wire: Wire,
    unread: Vec<u8>,
    secure: bool,
    chunking: bool,
    mail: Option<Transaction>,
}

struct Transaction {
    began: Duration,
    reverse_path: String,
    recipients: Vec<String>,
    octets: Vec<u8>,
}

/// Whether the session goes on.
type Going = io::Result<bool>;

impl Session {
    async fn run(mut self) -> io::Result<()> {
        let shares = self.world.plan.shares;
        if self.world.meets("a greeting that does not come", shares.stall / 2) {
            self.world.wait(FOREVER).await;
        }
        if self.world.meets("a greeting that is no welcome", shares.refuse / 2) {
            let words = self.world.chance().one_of(&["421 4.3.2 closing", "421 4.7.0 too many connections", "450 4.7.1 not now"]);
            self.say(words).await?;
            return Ok(());
        }
        let greeting = format!("220 {} ready", self.host);
        self.say(&greeting).await?;
        while let Some(line) = self.line().await? {
            if !self.answer(&line).await? {
                break;
            }
        }
        Ok(())
    }

    async fn answer(&mut self, line: &str) -> Going {
        let verb = line.split([' ', ':']).next().unwrap_or_default().to_ascii_uppercase();
        let shares = self.world.plan.shares;
        if verb != "QUIT" && self.world.meets("a host that closes in the middle", shares.cut / 8) {
            if self.world.chance().hits(500) {
                self.say("421 4.3.2 going down").await?;
            }
            return Ok(false);
        }
        match verb.as_str() {
            "EHLO" => self.greet().await,
            "STARTTLS" => self.secure().await,
            "MAIL" => self.begin(line).await,
            "RCPT" => self.recipient(line).await,
            "DATA" => self.data().await,
            "BDAT" => self.chunk(line).await,
            "RSET" => {
                self.mail = None;
                self.say("250 2.0.0 forgotten").await
            }
            "NOOP" => self.say("250 2.0.0 here").await,
            "QUIT" => {
                self.say("221 2.0.0 bye").await?;
                Ok(false)
            }
            _ => self.say("500 5.5.2 what?").await,
        }
    }

    async fn greet(&mut self) -> Going {
        let (world, secure) = (self.world.clone(), self.secure);
        let words: Vec<&str> = {
            let mut chance = world.chance();
            self.chunking = chance.hits(500);
            let offers = [("PIPELINING", 800), ("8BITMIME", 900), ("SIZE 10000000", 800), ("ENHANCEDSTATUSCODES", 900), ("DSN", 400)];
            let mut words: Vec<&str> = offers.into_iter().filter(|(_, share)| chance.hits(*share)).map(|(word, _)| word).collect();
            words.extend(self.chunking.then_some("CHUNKING"));
            words.extend((!secure).then_some("STARTTLS"));
            words
        };
        let mut reply = format!("250-{} hello\r\n", self.host);
        for word in words {
            reply.extend(["250-", word, "\r\n"]);
        }
        reply.push_str("250 HELP");
        self.say(&reply).await
    }

    /// The marker that stands for TLS: one line each way, and the octets go on as they were.
    async fn secure(&mut self) -> Going {
        if self.world.meets("STARTTLS that is refused", self.world.plan.shares.handshake / 3) {
            return self.say("454 4.7.0 not now").await;
        }
        self.say("220 2.0.0 go on").await?;
        let share = self.world.plan.shares.handshake;
        if self.line().await?.as_deref() != Some(MARKER) || self.world.meets("a handshake that is cut", share / 3) {
            return Ok(false);
        }
        if self.world.meets("a handshake that fails", share / 3) {
            self.say("alert").await?;
            return Ok(false);
        }
        if self.world.meets("a handshake that hangs", share / 6) {
            self.world.wait(FOREVER).await;
        }
        self.secure = true;
        self.say(MARKER).await
    }

    async fn begin(&mut self, line: &str) -> Going {
        let Some(path) = path_of(line) else { return self.say("501 5.5.4 no path").await };
        if self.mail.is_some() {
            return self.say("503 5.5.1 one at a time").await;
        }
        if let Some(refusal) = self.refusal(&["451 4.7.1 later", "421 4.7.0 slow down", "450 4.2.0 greylisted"], &["550 5.7.1 not you"]) {
            return self.refuse(refusal).await;
        }
        self.mail = Some(Transaction { began: self.world.passed(), reverse_path: path, recipients: Vec::new(), octets: Vec::new() });
        self.say("250 2.1.0 sender").await
    }

    async fn recipient(&mut self, line: &str) -> Going {
        let (Some(path), true) = (path_of(line), self.mail.is_some()) else { return self.say("503 5.5.1 no transaction").await };
        if let Some(refusal) = self.refusal(&["450 4.2.1 mailbox busy", "451 4.3.0 later", "452 4.2.2 full"], &["550 5.1.1 unknown", "550 5.2.1 disabled"]) {
            return self.refuse(refusal).await;
        }
        let is_few = self.world.plan.few_recipients && !self.world.is_calm();
        if is_few && self.mail.as_ref().is_some_and(|mail| !mail.recipients.is_empty()) {
            self.world.met("a transaction with too many recipients");
            return self.say("452 4.5.3 one is enough").await;
        }
        self.mail.iter_mut().for_each(|mail| mail.recipients.push(path.clone()));
        self.say("250 2.1.5 recipient").await
    }

    async fn data(&mut self) -> Going {
        let has_recipients = self.mail.as_ref().is_some_and(|mail| !mail.recipients.is_empty());
        if !has_recipients {
            return self.say("503 5.5.1 no valid recipients").await;
        }
        if let Some(refusal) = self.refusal(&["451 4.3.0 later"], &["554 5.7.1 not this"]) {
            return self.refuse(refusal).await;
        }
        self.say("354 go on").await?;
        let mut octets = Vec::new();
        loop {
            let Some(line) = self.raw_line().await? else { return Ok(false) };
            if line == b".\r\n" {
                break;
            }
            octets.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
        }
        self.mail.iter_mut().for_each(|mail| mail.octets.clone_from(&octets));
        self.end().await
    }

    async fn chunk(&mut self, line: &str) -> Going {
        let mut words = line.split(' ').skip(1);
        let count: usize = words.next().and_then(|count| count.parse().ok()).unwrap_or(0);
        let is_last = words.next().is_some_and(|word| word.eq_ignore_ascii_case("LAST"));
        while self.unread.len() < count {
            if !self.read().await? {
                return Ok(false);
            }
        }
        let octets: Vec<u8> = self.unread.drain(..count).collect();
        let Some(mail) = self.mail.as_mut().filter(|mail| self.chunking && !mail.recipients.is_empty()) else {
            return self.say("503 5.5.1 no transaction").await;
        };
        mail.octets.extend(octets);
        if is_last { self.end().await } else { self.say("250 2.0.0 more").await }
    }

    /// Behind the final dot, or the last chunk.
    async fn end(&mut self) -> Going {
        let Some(mail) = self.mail.take() else { return Ok(false) };
        let shares = self.world.plan.shares;
        if self.world.meets("a reset after the final dot, the mail not taken", shares.swallow / 2) {
            self.wire.reset();
            return Ok(false);
        }
        if let Some(refusal) = self.refusal(&["451 4.3.0 later", "452 4.3.1 no room", "421 4.3.2 going down"], &["550 5.7.1 looks bad", "552 5.3.4 too big"]) {
            return self.refuse(refusal).await;
        }
        let reply = self.wire.owe();
        self.take(&mail, &reply);
        if self.world.meets("a reset after the final dot, the mail taken", shares.swallow / 2) {
            self.wire.reset();
            return Ok(false);
        }
        if self.world.meets("a reply to the final dot that comes too late", shares.stall) {
            let late = self.world.chance().millis(60_000, 1_200_000);
            self.world.wait(late).await;
        }
        let going = self.say("250 2.0.0 taken").await;
        self.wire.said();
        going
    }

    /// The mail is here.
    fn take(&self, mail: &Transaction, reply: &Arc<Fate>) {
        let world = &self.world;
        let Ok(headers) = Headers::parse(&mail.octets) else {
            return world.ledger().violate(format!("{} got octets that are no message", self.host));
        };
        let message_id = headers.named("Message-ID").next().map(|field| field.unfolded()).unwrap_or_default();
        world.note(format_args!("{} takes {message_id} for {}", self.host, mail.recipients.join(" ")));
        let fault = self.keys.fault(&mail.octets, mail.began, world.now()).or_else(|| unaligned(&mail.reverse_path));
        let arrived = Arrived { message_id: &message_id, recipients: &mail.recipients, fault, ended: self.wire.begun(), reply };
        let at = world.passed();
        world.ledger().arrive(&arrived, at);
        if self.is_home {
            self.read_notice(&message_id, mail);
        }
    }

    fn read_notice(&self, message_id: &str, mail: &Transaction) {
        let mut ledger = self.world.ledger();
        if !mail.reverse_path.is_empty() {
            ledger.violate(format!("the notice {message_id} has the reverse-path {}", mail.reverse_path));
        }
        let report = match Report::parse(&mail.octets) {
            Ok(report) => report,
            Err(fault) => return ledger.violate(format!("the notice {message_id} does not read: {fault}")),
        };
        let Some(of) = report.envid else { return ledger.violate(format!("the notice {message_id} does not say of what")) };
        for recipient in report.recipients.iter().filter(|recipient| recipient.action == Action::Failed) {
            let name = recipient.last.mailbox().map(|mailbox| mailbox.to_string()).unwrap_or_default();
            ledger.tell_failure(message_id, &format!("<{of}@{AUTHOR}>"), &name);
        }
    }

    fn refusal(&self, passing: &[&'static str], lasting: &[&'static str]) -> Option<&'static str> {
        let shares = self.world.plan.shares;
        if self.world.meets("a refusal for now", shares.refuse) {
            return Some(self.world.chance().one_of(passing));
        }
        let is_lasting = !self.is_home && self.world.meets("a refusal for good", shares.refuse_for_good);
        is_lasting.then(|| self.world.chance().one_of(lasting))
    }

    async fn refuse(&mut self, words: &str) -> Going {
        let going = self.say(words).await?;
        Ok(going && !words.starts_with("421"))
    }

    async fn say(&mut self, words: &str) -> Going {
        self.wire.write_all(format!("{words}\r\n").as_bytes()).await?;
        Ok(true)
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let line = self.raw_line().await?;
        Ok(line.map(|line| String::from_utf8_lossy(&line).trim_end().to_owned()))
    }

    /// With its end; `None` at the end of everything.
    async fn raw_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut looked_at = 0;
        loop {
            if let Some(at) = self.unread[looked_at..].windows(2).position(|pair| pair == b"\r\n") {
                return Ok(Some(self.unread.drain(..looked_at + at + 2).collect()));
            }
            looked_at = self.unread.len().saturating_sub(1);
            if !self.read().await? {
                return Ok(None);
            }
        }
    }

    async fn read(&mut self) -> io::Result<bool> {
        let mut octets = [0; 2048];
        let count = self.wire.read(&mut octets).await?;
        self.unread.extend_from_slice(&octets[..count]);
        Ok(count > 0)
    }
}

fn path_of(line: &str) -> Option<String> {
    let (_, rest) = line.split_once('<')?;
    Some(rest.split_once('>')?.0.to_owned())
}

/// Bounces must come home, and to a domain that DMARC aligns with the author's.
fn unaligned(reverse_path: &str) -> Option<String> {
    let domain = reverse_path.rsplit_once('@').map_or("", |(_, domain)| domain);
    let is_aligned = reverse_path.is_empty() || domain == AUTHOR || domain.ends_with(&format!(".{AUTHOR}"));
    (!is_aligned).then(|| format!("its reverse-path {reverse_path} is not aligned"))
}

/// What both sides say in place of a TLS handshake.
pub const MARKER: &str = "this stands for TLS";
