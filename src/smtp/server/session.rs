//! Greeting, TLS and authentication: who the client is, before and beside its messages.

use super::{Action, Bounds, Dialogue, State, User, command, refusal, too_early};
use crate::mail::{Client, Proof, Refusal};
use crate::smtp::reply::Reply;
use crate::smtp::settings::StartTls;
use data_encoding::BASE64;
use std::sync::Arc;

/// How the client introduced itself.
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) name: String,
    pub(super) esmtp: bool,
}

impl Dialogue {
    /// RFC 5321 §4.1.1.1; it ends a transaction (§4.1.4).
    pub(super) fn greet(&mut self, name: String, esmtp: bool) -> State {
        let mut lines = vec![format!("{} greets {name}", self.settings.hostname)];
        if esmtp {
            lines.extend(self.keywords());
        }
        self.idle(State::Ready(Hello { name, esmtp }), Reply::plain(250, lines))
    }

    pub(super) fn keywords(&self) -> Vec<String> {
        let settings = &self.settings;
        let fixed = ["PIPELINING", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING", "DSN"];
        let bounds = self.bounds();
        let mut keywords = vec![format!("SIZE {}", bounds.message_octets_max)];
        keywords.extend(fixed.map(str::to_owned));
        if settings.starttls != StartTls::Unavailable && self.peer.tls.is_none() {
            keywords.push("STARTTLS".to_owned());
        }
        if self.offers_auth() && self.user.is_none() {
            keywords.push(format!("AUTH {}", settings.sasl_mechanisms.join(" ")));
        }
        let mails = settings.mails_max.map(|max| format!("MAILMAX={max} ")).unwrap_or_default();
        keywords.push(format!("LIMITS {mails}RCPTMAX={}", bounds.recipients_max));
        keywords
    }

    /// What the client may use, as far as it is known who that is: the listener's bounds, or the identity's where they are less.
    fn bounds(&self) -> Bounds {
        let listener = Bounds { message_octets_max: self.settings.message_octets_max, recipients_max: self.settings.recipients_max };
        let identity = self.user.as_ref().map(|user| &user.identity).or_else(|| Some(&self.peer.known.as_ref()?.0));
        let own = identity.and_then(|identity| self.settings.identities.get(identity));
        own.map_or(listener, |own| Bounds {
            message_octets_max: own.message_octets_max.min(listener.message_octets_max),
            recipients_max: own.recipients_max.min(listener.recipients_max),
        })
    }

    pub(super) fn offers_auth(&self) -> bool {
        !self.settings.sasl_mechanisms.is_empty() && (self.peer.tls.is_some() || self.settings.auth_without_tls)
    }

    /// The refusal of a client that nobody knows: either it has yet to say who it is, or it never will.
    pub(super) fn stranger(&self) -> Refusal {
        if self.offers_auth() {
            refusal(530, (5, 7, 0), "authentication required")
        } else if !self.settings.sasl_mechanisms.is_empty() && self.settings.starttls != StartTls::Unavailable && self.peer.tls.is_none() {
            refusal(530, (5, 7, 0), "authentication required; issue a STARTTLS command first")
        } else {
            refusal(554, (5, 7, 1), format!("relaying is not permitted for {}; ask the administrator of this server for a rule", self.peer.address))
        }
    }

    pub(super) fn client(&self, hello: &Hello) -> Option<Client> {
        let (identity, proof) = match &self.user {
            Some(user) => (user.identity.clone(), Proof::Sasl { user: user.name.clone() }),
            None => self.peer.known.clone()?,
        };
        Some(Client {
            identity,
            proof,
            address: self.peer.address,
            helo: hello.name.clone(),
            esmtp: hello.esmtp,
            tls: self.peer.tls.clone(),
            listener: Arc::clone(&self.peer.listener),
        })
    }

    /// RFC 3207 §4. What came behind the command in clear text is dropped (CVE-2011-0411), and so is what the client said before.
    pub(super) fn start_tls(&mut self, hello: Hello) -> State {
        if self.peer.tls.is_some() {
            return self.fault(State::Ready(hello), refusal(503, (5, 5, 1), "TLS is already there"));
        }
        if self.settings.starttls == StartTls::Unavailable {
            return self.fault(State::Ready(hello), refusal(502, (5, 5, 1), "STARTTLS is not offered here"));
        }
        self.say(Reply::new(220, (2, 0, 0), "begin TLS"));
        self.actions.push_back(Action::StartTls);
        self.input.clear();
        State::StartingTls
    }

    pub(super) fn authenticate(&mut self, hello: Hello, mechanism: String, initial: Option<Vec<u8>>) -> State {
        let fault = if !self.input.is_empty() {
            return self.end(too_early());
        } else if self.settings.sasl_mechanisms.is_empty() {
            refusal(502, (5, 5, 1), "AUTH is not offered here")
        } else if !hello.esmtp || self.user.is_some() {
            refusal(503, (5, 5, 1), if hello.esmtp { "already authenticated" } else { "send EHLO first" })
        } else if !self.offers_auth() {
            refusal(538, (5, 7, 11), "encryption required for authentication; issue a STARTTLS command first")
        } else if self.tally.auth_failures >= self.settings.auth_attempts_max {
            return self.end(Reply::new(421, (4, 7, 0), "too many failed authentications"));
        } else if !self.settings.sasl_mechanisms.contains(&mechanism) {
            refusal(504, (5, 5, 4), format!("the mechanism is not offered; choose of {}", self.settings.sasl_mechanisms.join(" ")))
        } else {
            self.actions.push_back(Action::Authenticate { mechanism, initial });
            return State::Authenticating(hello, 1);
        };
        self.fault(State::Ready(hello), fault)
    }

    pub(super) fn sasl_response(&mut self, hello: Hello, steps: u32, line: &[u8]) -> State {
        if line == b"*" {
            return self.fault(State::Ready(hello), refusal(501, (5, 7, 0), "authentication cancelled"));
        }
        if !self.input.is_empty() {
            return self.end(too_early());
        }
        match command::sasl_line(line) {
            Ok(_) if steps >= SASL_STEPS_MAX => self.fault(State::Ready(hello), refusal(500, (5, 5, 6), "the authentication exchange is too long")),
            Ok(response) => {
                self.actions.push_back(Action::Respond(response));
                State::Authenticating(hello, steps + 1)
            }
            Err(refusal) => self.fault(State::Ready(hello), refusal),
        }
    }

    /// RFC 4954 §4: the answer to the last challenge is empty.
    pub(super) fn sasl_confirmed(&mut self, hello: Hello, user: User, line: &[u8]) -> State {
        match line {
            b"" | b"=" => self.welcome(hello, user),
            b"*" => self.fault(State::Ready(hello), refusal(501, (5, 7, 0), "authentication cancelled")),
            _ => self.fault(State::Ready(hello), refusal(501, (5, 5, 2), "expected an empty response")),
        }
    }

    pub(super) fn welcome(&mut self, hello: Hello, user: User) -> State {
        self.say(Reply::new(235, (2, 7, 0), "authenticated"));
        self.user = Some(user);
        State::Ready(hello)
    }

    pub(super) fn challenge(&mut self, challenge: &[u8]) {
        self.say(Reply::plain(334, vec![BASE64.encode(challenge)]));
    }

    pub(super) fn auth_failed(&mut self, hello: Hello, refusal: Refusal) -> State {
        self.tally.auth_failures += 1;
        if refusal.code == 421 { self.end(refusal.into()) } else { self.answer(State::Ready(hello), refusal.into()) }
    }
}

/// Responses of one authentication.
const SASL_STEPS_MAX: u32 = 10;
