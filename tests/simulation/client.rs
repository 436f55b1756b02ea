//! An application that submits mail: sometimes slow, sometimes gone in the middle, and as stubborn as one that wants its mail to go.

use crate::keys::AUTHOR;
use crate::names::{DOMAINS, HOME, NOWHERE, NULL_MX};
use crate::relay::Relay;
use crate::wire::Wire;
use crate::world::World;
use postseal::mail::Notify;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A mail that somebody wants to send, with what is left to do about it.
#[derive(Debug, Clone)]
pub struct Errand {
    number: u64,
    /// When it is begun.
    at: Duration,
    has_no_sender: bool,
    notify: Notify,
    recipients: Vec<String>,
    body_octets: u64,
    tries: u32,
    pub is_done: bool,
}

/// What came of a try.
enum End {
    /// 250.
    Taken,
    /// 4xx, a cut, silence: the application has the mail and tries again.
    Again,
}

impl Errand {
    pub fn drawn(world: &World, number: u64) -> Self {
        let mut chance = world.chance();
        let busy = u64::try_from(world.plan.busy.as_millis()).unwrap();
        let count = 1 + chance.below(4);
        let recipients = (0..count).map(|place| {
            let domain = match chance.below(40) {
                0 => NULL_MX,
                1 => NOWHERE,
                _ => chance.one_of(&DOMAINS),
            };
            format!("r{number}x{place}@{domain}")
        });
        let recipients = recipients.collect();
        let notify = match chance.below(8) {
            0 => Notify::Never,
            1 => Notify::On { success: true, failure: true, delay: true },
            2 => Notify::On { success: false, failure: true, delay: false },
            _ => Notify::Unspecified,
        };
        let has_no_sender = chance.hits(120);
        let body_octets = chance.one_of(&[100, 1_000, 2_000, 9_000]);
        Self { number, at: chance.millis(0, busy), has_no_sender, notify, recipients, body_octets, tries: 0, is_done: false }
    }

    /// Tries until a relay has it.
    pub async fn run(mut self, world: Arc<World>, relay: Arc<Relay>, done: impl Fn(&Self)) {
        let waits = self.at.saturating_sub(world.passed());
        world.wait(waits).await;
        loop {
            self.tries += 1;
            done(&self);
            let end = self.submit(&world, &relay).await;
            if let Ok(End::Taken) = end {
                self.is_done = true;
                return done(&self);
            }
            let pause = world.chance().millis(1_000, 300_000);
            world.wait(pause).await;
        }
    }

    /// Every try is a mail of its own.
    fn envid(&self) -> String {
        format!("m{}.{}", self.number, self.tries)
    }

    fn message_id(&self) -> String {
        format!("<{}@{AUTHOR}>", self.envid())
    }

    async fn submit(&self, world: &Arc<World>, relay: &Relay) -> io::Result<End> {
        world.ledger().submit(&self.message_id(), self.has_no_sender, self.notify);
        let mut session = Session { world: world.clone(), wire: relay.connect(&format!("client{}", self.number)), unread: Vec::new() };
        let share = world.plan.shares.client;
        let pipelines = world.chance().hits(500);
        let by_bdat = world.chance().hits(300);
        session.reply().await?;
        session.ask("EHLO app.example").await?;
        let envelope = self.envelope(by_bdat);
        if pipelines {
            session.say(&envelope.concat()).await?;
        }
        for command in &envelope {
            if !pipelines {
                session.say(command).await?;
            }
            let code = session.reply().await?;
            if !matches!(code, 250 | 354) {
                if code / 100 == 5 {
                    world.ledger().violate(format!("{} was refused {code} to {}", self.message_id(), command.trim_end()));
                }
                return Ok(End::Again);
            }
        }
        let message = self.message();
        if world.meets("a client that goes in the middle of a message", share / 4) {
            let upto = usize::try_from(world.chance().below(message.len() as u64)).unwrap();
            let part = if by_bdat { format!("BDAT {} LAST\r\n{}", message.len(), &message[..upto]) } else { message[..upto].to_owned() };
            session.say(&part).await?;
            if world.meets("a client that stays and says nothing more", share) {
                world.wait(Duration::from_hours(2)).await;
            }
            return Ok(End::Again);
        }
        if world.meets("a client that sends drop by drop", share / 4) {
            world.wait(Duration::from_secs(20)).await;
        }
        if by_bdat {
            session.say(&format!("BDAT {} LAST\r\n{message}", message.len())).await?;
        } else {
            session.say(&message).await?;
            session.say(".\r\n").await?;
        }
        if world.meets("a client that does not wait for its 250", share / 4) {
            let moment = world.chance().millis(0, 60);
            world.wait(moment).await;
            session.wire.reset();
            return Ok(End::Again);
        }
        let code = session.reply().await?;
        match code {
            250 => world.ledger().promise(&self.message_id()),
            400..=499 => return Ok(End::Again),
            _ => {
                world.ledger().violate(format!("{} was refused {code}", self.message_id()));
                return Ok(End::Again);
            }
        }
        world.note(format_args!("promised {}", self.message_id()));
        let _ = session.ask("QUIT").await;
        Ok(End::Taken)
    }

    fn envelope(&self, by_bdat: bool) -> Vec<String> {
        let from = if self.has_no_sender { String::new() } else { format!("app{}@{HOME}", self.number) };
        let mut commands = vec![format!("MAIL FROM:<{from}> ENVID={}\r\n", self.envid())];
        let notify = match self.notify {
            Notify::Unspecified => "",
            Notify::Never => " NOTIFY=NEVER",
            Notify::On { success: true, .. } => " NOTIFY=SUCCESS,FAILURE,DELAY",
            Notify::On { .. } => " NOTIFY=FAILURE",
        };
        commands.extend(self.recipients.iter().map(|to| format!("RCPT TO:<{to}>{notify}\r\n")));
        if !by_bdat {
            commands.push("DATA\r\n".to_owned());
        }
        commands
    }

    fn message(&self) -> String {
        let mut message = format!(
            "From: Shop <shop@{AUTHOR}>\r\nTo: <{}>\r\nSubject: number {}\r\nMessage-ID: {}\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n\r\n",
            self.recipients[0],
            self.number,
            self.message_id()
        );
        while (message.len() as u64) < self.body_octets {
            message.push_str("A line of a letter that is long enough to be one, and ends here.\r\nSo is this one\r\n");
        }
        message
    }
}

struct Session {
    world: Arc<World>,
    wire: Wire,
    unread: Vec<u8>,
}

impl Session {
    async fn say(&mut self, words: &str) -> io::Result<()> {
        within(&self.world, self.wire.write_all(words.as_bytes())).await
    }

    async fn ask(&mut self, command: &str) -> io::Result<u16> {
        self.say(&format!("{command}\r\n")).await?;
        self.reply().await
    }

    async fn reply(&mut self) -> io::Result<u16> {
        loop {
            while let Some(end) = self.unread.windows(2).position(|pair| pair == b"\r\n") {
                let line: Vec<u8> = self.unread.drain(..end + 2).collect();
                if line.get(3) != Some(&b'-') {
                    let code = std::str::from_utf8(&line[..3]).ok().and_then(|code| code.parse().ok());
                    return code.ok_or_else(|| io::Error::other("no code"));
                }
            }
            let mut octets = [0; 1024];
            let count = within(&self.world, self.wire.read(&mut octets)).await?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.unread.extend_from_slice(&octets[..count]);
        }
    }
}

/// Applications wait, but not for ever.
async fn within<T>(world: &World, work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let done = tokio::time::timeout(Duration::from_mins(5), work).await;
    if world.is_dead() {
        std::future::pending::<()>().await;
    }
    done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}
