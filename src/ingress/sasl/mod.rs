//! SASL for SMTP AUTH (RFC 4954): PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 5802, RFC 7677), against a list of users.
//!
//! Nothing here owns a socket: an [`Exchange`] takes the client's responses, decoded from base64, and says what to answer. It does wait:
//! for a place among the password checks ([`Gate`]), and to slow down who guesses. An unknown user costs the same work and gets the same
//! answer as a wrong password. Whether AUTH is offered without TLS is decided by who asks for [`Sasl::mechanisms`].

mod credential;
mod gate;
mod login;
mod plain;
mod scram;

pub use credential::{Credential, CredentialFault, hash_argon2id, scram_verifier};
pub use gate::{Gate, Limits};

use crate::mail::{EnhancedCode, IdentityName, Refusal};
use credential::prepare_name;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use zeroize::Zeroizing;

/// A user as configured.
#[derive(Debug, Clone)]
pub struct User {
    /// The name to log in with; its case matters.
    pub name: String,
    /// Which identity that proves.
    pub identity: IdentityName,
    /// What the password is checked against.
    pub credential: Credential,
}

/// Users that cannot be told apart, or cannot log in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserFault {
    /// Two of one name after SASLprep (RFC 4013).
    #[error("user \"{0}\" is there twice; take one out")]
    Twice(String),
    /// A name no client can send.
    #[error("user \"{0}\" has a name that cannot be used to log in; use 1 to 255 octets without control characters")]
    Name(String),
}

/// The users as they are now: replaced as a whole when the configuration changes.
#[derive(Debug)]
pub struct Sasl {
    users: HashMap<String, User>,
    mechanisms: Vec<&'static str>,
    /// The names in order, to choose a stand-in for unknown users from.
    names: Vec<String>,
    /// Chooses and seasons stand-ins: the same for the same users, so that asking twice, or after a restart, tells nothing.
    stand_in_key: aws_lc_rs::hmac::Key,
    gate: Arc<Gate>,
}

/// An authentication under way.
#[derive(Debug)]
pub struct Exchange {
    sasl: Arc<Sasl>,
    client: Option<IpAddr>,
    state: State,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Send this (in base64) as a 334 and bring the response.
    Challenge(Vec<u8>),
    /// It is who it says.
    Accepted {
        /// The user's identity.
        identity: IdentityName,
        /// The user.
        user: String,
        /// To be sent as a last 334, whose response is empty, before the 235 (RFC 4954 §4: a success reply carries no data).
        final_challenge: Option<Vec<u8>>,
    },
    /// The reply to give; the exchange is over.
    Refused(Refusal),
}

#[derive(Debug)]
enum State {
    Plain,
    Login(login::Login),
    Scram(scram::Scram),
    Over,
}

/// What a mechanism makes of a response.
enum Move {
    Ask(Vec<u8>),
    /// A name and a password to check.
    Check {
        user: String,
        password: Zeroizing<String>,
    },
    /// The client proved that it knows the password; `user` is a prepared name.
    Proved {
        user: String,
        final_challenge: Vec<u8>,
    },
    /// It did not.
    Wrong,
    /// It does not follow the mechanism.
    Malformed(&'static str),
}

impl Sasl {
    /// These users. `gate` outlives them: it is the process's.
    ///
    /// # Errors
    /// Every fault found.
    pub fn new(users: Vec<User>, gate: Arc<Gate>) -> Result<Self, Vec<UserFault>> {
        let mut faults = Vec::new();
        let mut known = HashMap::new();
        for user in users {
            match prepare_name(&user.name) {
                None => faults.push(UserFault::Name(user.name)),
                Some(name) if known.contains_key(&name) => faults.push(UserFault::Twice(user.name)),
                Some(name) => drop(known.insert(name, user)),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut names: Vec<String> = known.keys().cloned().collect();
        names.sort();
        let mut digest = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        for name in &names {
            digest.update(name.as_bytes());
            digest.update(&[0]);
            digest.update(known[name].credential.fingerprint().as_ref());
        }
        let stand_in_key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, digest.finish().as_ref());
        let scram = known.values().all(|user| user.credential.verifier().is_some());
        let mechanisms = match (known.is_empty(), scram) {
            (true, _) => Vec::new(),
            (false, true) => vec![SCRAM_SHA_256, PLAIN, LOGIN],
            (false, false) => vec![PLAIN, LOGIN],
        };
        Ok(Self { users: known, mechanisms, names, stand_in_key, gate })
    }

    /// The mechanisms to offer, strongest first; none without users. SCRAM only if everybody has a verifier: a client that prefers it
    /// would not fall back.
    #[must_use]
    pub fn mechanisms(&self) -> Vec<&'static str> {
        self.mechanisms.clone()
    }

    /// Begins an exchange; `None` for a mechanism that is not offered. Names compare without case.
    #[must_use]
    pub fn start(self: &Arc<Self>, mechanism: &str) -> Option<Exchange> {
        let offered = self.mechanisms.iter().find(|offered| offered.eq_ignore_ascii_case(mechanism))?;
        let state = match *offered {
            PLAIN => State::Plain,
            LOGIN => State::Login(login::Login::default()),
            _ => State::Scram(scram::Scram::new(gate::random_nonce())),
        };
        Some(Exchange { sasl: self.clone(), client: None, state })
    }

    /// The user of a prepared name, or one whose credential costs the same to check. The flag says which.
    fn user_or_stand_in(&self, prepared: Option<&str>) -> Option<(&User, bool)> {
        if let Some(user) = prepared.and_then(|name| self.users.get(name)) {
            return Some((user, true));
        }
        let tag = aws_lc_rs::hmac::sign(&self.stand_in_key, prepared.unwrap_or_default().as_bytes());
        let number = tag.as_ref().iter().take(4).fold(0usize, |number, octet| (number << 8) | usize::from(*octet));
        let name = self.names.get(number.checked_rem(self.names.len())?)?;
        Some((self.users.get(name)?, false))
    }

    /// What SCRAM needs of a user: the verifier, real or made up, and the prepared name when it is real.
    fn verifier(&self, name: &str) -> Option<(scram::Verifier, Option<String>)> {
        let prepared = prepare_name(name);
        let (user, known) = self.user_or_stand_in(prepared.as_deref())?;
        let verifier = user.credential.verifier()?;
        if known {
            return Some((verifier.clone(), prepared));
        }
        Some((verifier.salted_anew(&self.stand_in_key, prepared.unwrap_or_default().as_bytes()), None))
    }
}

impl Exchange {
    /// Names the client's address, by which failed attempts are counted.
    #[must_use]
    pub fn from_client(mut self, address: IpAddr) -> Self {
        self.client = Some(address);
        self
    }

    /// Feeds the client's response, decoded; `None` at the beginning when AUTH carried no initial response (an initial `=` is `Some(b"")`).
    ///
    /// # Cancel safety
    /// A dropped future ends the exchange; a password check it began still counts as an attempt.
    pub async fn step(&mut self, response: Option<&[u8]>) -> Step {
        let sasl = self.sasl.clone();
        let mut state = std::mem::replace(&mut self.state, State::Over);
        let next = match &mut state {
            State::Over => return Step::Refused(Refusal::submitter(503, EnhancedCode::new(5, 5, 1), "the authentication exchange is over")),
            _ if response.is_some_and(|response| response.len() > RESPONSE_OCTETS_MAX) => Move::Malformed("the response is too long"),
            State::Plain => plain::step(response),
            State::Login(login) => login.step(response),
            State::Scram(scram) => scram.step(response, |name| sasl.verifier(name)),
        };
        match next {
            Move::Ask(challenge) => {
                self.state = state;
                Step::Challenge(challenge)
            }
            Move::Check { user, password } => self.check(&user, password).await,
            Move::Proved { user, final_challenge } => match self.sasl.gate.attempt(self.client) {
                Ok(attempt) => {
                    attempt.succeeded();
                    self.accept(&user, Some(final_challenge))
                }
                Err(refusal) => Step::Refused(refusal),
            },
            Move::Wrong => self.fail().await,
            Move::Malformed(why) => Step::Refused(Refusal::submitter(501, EnhancedCode::new(5, 5, 2), why)),
        }
    }

    /// PLAIN and LOGIN: a name and a password.
    async fn check(&self, name: &str, password: Zeroizing<String>) -> Step {
        let prepared = prepare_name(name);
        let Some((user, known)) = self.sasl.user_or_stand_in(prepared.as_deref()) else { return Step::Refused(wrong()) };
        let name = prepared.unwrap_or_default();
        let password = credential::prepare_password(password);
        let key = self.sasl.gate.cache_key(&name, &password, &user.credential);
        if self.sasl.gate.remembers(&key) && known {
            return self.accept(&name, None);
        }
        let attempt = match self.sasl.gate.attempt(self.client) {
            Ok(attempt) => attempt,
            Err(refusal) => return Step::Refused(refusal),
        };
        let right = match self.sasl.gate.verify(user.credential.clone(), password).await {
            Ok(right) => right,
            Err(refusal) => {
                attempt.succeeded(); // it was not looked at
                return Step::Refused(refusal);
            }
        };
        if !(right & known) {
            attempt.failed().await;
            return Step::Refused(wrong());
        }
        attempt.succeeded();
        self.sasl.gate.remember(key);
        self.accept(&name, None)
    }

    fn accept(&self, prepared: &str, final_challenge: Option<Vec<u8>>) -> Step {
        match self.sasl.users.get(prepared) {
            Some(user) => Step::Accepted { identity: user.identity.clone(), user: user.name.clone(), final_challenge },
            None => Step::Refused(wrong()),
        }
    }

    async fn fail(&self) -> Step {
        match self.sasl.gate.attempt(self.client) {
            Ok(attempt) => {
                attempt.failed().await;
                Step::Refused(wrong())
            }
            Err(refusal) => Step::Refused(refusal),
        }
    }
}

/// One answer for every wrong pair of name and password.
fn wrong() -> Refusal {
    Refusal::submitter(535, EnhancedCode::new(5, 7, 8), "authentication credentials invalid")
}

const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
const PLAIN: &str = "PLAIN";
const LOGIN: &str = "LOGIN";

/// The longest response looked at, in octets: three texts of RFC 4616 fit many times over.
pub const RESPONSE_OCTETS_MAX: usize = 4096;
