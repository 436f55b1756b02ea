//! From MAIL to the end of the message, by DATA or by BDAT.

use super::session::Hello;
use super::{Action, Bounds, Dialogue, State, refusal, skip, too_early};
use crate::mail::{Envelope, Recipient, Refusal, Submission, Timestamp};
use crate::smtp::chunk::{Chunked, Chunks};
use crate::smtp::command::{self, Mail, Rcpt};
use crate::smtp::data::{ContentRules, DataReader, too_large};
use crate::smtp::memory::{Memory, Share, no_room};
use crate::smtp::reply::Reply;
use bytes::Bytes;

/// From a MAIL that was taken to the end of the message.
#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) mail: Mail,
    pub(super) bounds: Bounds,
    pub(super) recipients: Vec<Recipient>,
    pub(super) refused_recipients: bool,
    pub(super) began_at: Timestamp,
}

impl Dialogue {
    pub(super) fn begin(&mut self, hello: Hello, mail: Box<Mail>) -> State {
        if self.settings.mails_max.is_some_and(|max| self.tally.mails >= max) {
            return self.end(refusal(421, (4, 7, 0), "this connection has carried its number of messages; open another").into());
        }
        if mail.extended && !hello.esmtp {
            return self.fault(State::Ready(hello), needs_ehlo());
        }
        if mail.size.is_some_and(|size| size > self.settings.message_octets_max) {
            return self.refuse(State::Ready(hello), too_large(self.settings.message_octets_max));
        }
        let Some(client) = self.client(&hello) else {
            let refusal = self.stranger();
            return self.refuse(State::Ready(hello), refusal);
        };
        self.actions.push_back(Action::Begin { client, from: mail.reverse_path.clone(), size: mail.size });
        State::Beginning(hello, mail)
    }

    pub(super) fn begun(&mut self, hello: Hello, mail: Mail, allowed: Bounds, now: Timestamp) -> State {
        let bounds = Bounds {
            message_octets_max: allowed.message_octets_max.min(self.settings.message_octets_max),
            recipients_max: allowed.recipients_max.min(self.settings.recipients_max),
        };
        if mail.size.is_some_and(|size| size > bounds.message_octets_max) {
            return self.refuse(State::Ready(hello), too_large(bounds.message_octets_max));
        }
        if !self.has_room_for(mail.size.unwrap_or(0)) {
            return self.refuse(State::Ready(hello), no_room());
        }
        self.say(Reply::new(250, (2, 1, 0), "ok"));
        State::Mailing(hello, Box::new(Transaction { mail, bounds, recipients: Vec::new(), refused_recipients: false, began_at: now }))
    }

    pub(super) fn judge(&mut self, hello: Hello, transaction: Box<Transaction>, rcpt: Box<Rcpt>) -> State {
        let taken = transaction.recipients.len();
        let fault = if rcpt.extended && !hello.esmtp {
            Some(needs_ehlo())
        } else if rcpt.needs_smtputf8 && !transaction.mail.smtputf8 {
            Some(command::needs_smtputf8())
        } else if taken >= transaction.bounds.recipients_max {
            Some(refusal(452, (4, 5, 3), format!("{taken} recipients are enough; send to the others in another transaction")))
        } else {
            None
        };
        if let Some(fault) = fault {
            return self.refuse_recipient(hello, transaction, fault);
        }
        let Some(client) = self.client(&hello) else {
            let refusal = self.stranger();
            return self.refuse_recipient(hello, transaction, refusal);
        };
        self.actions.push_back(Action::Judge { client, to: rcpt.forward_path.clone(), taken });
        State::Judging(hello, transaction, rcpt)
    }

    pub(super) fn refuse_recipient(&mut self, hello: Hello, mut transaction: Box<Transaction>, refusal: Refusal) -> State {
        transaction.refused_recipients = true;
        self.refuse(State::Mailing(hello, transaction), refusal)
    }

    pub(super) fn data(&mut self, hello: Hello, transaction: Box<Transaction>) -> State {
        if !self.input.is_empty() {
            return self.end(too_early());
        }
        if let Some(refusal) = transaction.without_recipients() {
            return self.refuse(State::Mailing(hello, transaction), refusal);
        }
        if !self.has_room_for(1) {
            return self.refuse(State::Mailing(hello, transaction), no_room());
        }
        self.say(Reply::plain(354, vec!["end the message with a dot on a line of its own".to_owned()]));
        let reader = DataReader::new(self.content_rules(&transaction), self.share());
        State::Data(hello, transaction, reader)
    }

    pub(super) fn content_rules(&self, transaction: &Transaction) -> ContentRules {
        ContentRules {
            message_octets_max: transaction.bounds.message_octets_max,
            line_octets_max: self.settings.line_octets_max,
            bare_lf: self.settings.bare_lf,
        }
    }

    fn has_room_for(&self, octets: u64) -> bool {
        self.memory.as_ref().is_none_or(|memory| memory.has_room_for(octets))
    }

    fn share(&self) -> Share {
        self.memory.as_ref().map(Memory::share).unwrap_or_default()
    }

    pub(super) fn first_chunk(&mut self, hello: Hello, transaction: Box<Transaction>, (octets, last): (u64, bool), now: Timestamp) -> State {
        if let Some(refusal) = transaction.without_recipients() {
            return skip(octets, now, refusal, State::Mailing(hello, transaction));
        }
        let chunks = Chunks::new(self.content_rules(&transaction), self.share());
        chunk(hello, transaction, chunks, (octets, last), now)
    }

    /// A message, or a chunk of one, is all read.
    pub(super) fn octets_ended(&mut self, state: State, now: Timestamp) -> State {
        match state {
            State::Data(hello, transaction, reader) => match reader.finish() {
                Ok(message) => self.hand(hello, *transaction, message, now),
                Err(refusal) => self.refuse(State::Ready(hello), refusal),
            },
            State::Chunk(hello, transaction, chunk) => match chunk.finish() {
                Ok(Chunked::More(chunks, octets)) => {
                    self.say(Reply::new(250, (2, 0, 0), format!("{octets} octets received")));
                    State::Chunked(hello, transaction, chunks)
                }
                Ok(Chunked::Message(message)) => self.hand(hello, *transaction, message, now),
                Err(refusal) => self.refuse(State::Ready(hello), refusal),
            },
            State::Skipping { refusal, next, .. } => self.refuse(*next, refusal),
            other => other,
        }
    }

    pub(super) fn hand(&mut self, hello: Hello, transaction: Transaction, message: Bytes, now: Timestamp) -> State {
        let Some(client) = self.client(&hello) else {
            let refusal = self.stranger();
            return self.refuse(State::Ready(hello), refusal);
        };
        let Transaction { mail, recipients, .. } = transaction;
        let envelope = Envelope { reverse_path: mail.reverse_path, recipients, body: mail.body, smtputf8: mail.smtputf8, ret: mail.ret, envid: mail.envid };
        self.actions.push_back(Action::Hand(Submission { envelope, client, message, received_at: now }));
        State::Committing(hello)
    }
}

impl Transaction {
    fn without_recipients(&self) -> Option<Refusal> {
        match (self.recipients.is_empty(), self.refused_recipients) {
            (false, _) => None,
            (true, false) => Some(refusal(503, (5, 5, 1), "send RCPT first")),
            (true, true) => Some(refusal(554, (5, 5, 1), "no valid recipients")),
        }
    }
}

pub(super) fn chunk(hello: Hello, transaction: Box<Transaction>, chunks: Chunks, (octets, last): (u64, bool), now: Timestamp) -> State {
    match chunks.begin(octets, last) {
        Some(chunk) => State::Chunk(hello, transaction, chunk),
        None => skip(octets, now, too_large(transaction.bounds.message_octets_max), State::Ready(hello)),
    }
}

fn needs_ehlo() -> Refusal {
    refusal(555, (5, 5, 4), "parameters need EHLO")
}
