//! Where a connection is to go and on what terms, and why there is none. No sockets here.

use super::tls::TlsDemand;
use crate::mail::outcome::Remote;
use crate::mail::{Blame, EnhancedCode, Evidence, Outcome, RemoteReply, Timestamp};
use crate::smtp::client::{Peer, Stage};
use secrecy::{ExposeSecret, SecretString};
use std::hash::{Hash, Hasher};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// One address of one next hop, and the terms. Two connections with equal targets may stand for each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// The MX or smart-host name: sent as SNI, and what a certificate has to prove. An IP address in text where there is no name.
    pub host: String,
    /// Its address and port.
    pub address: SocketAddr,
    /// What TLS is demanded.
    pub tls: TlsDemand,
    /// TLS from the first octet (port 465, RFC 8314 §3.3) rather than by STARTTLS.
    pub implicit_tls: bool,
    /// It is a delivery agent that speaks LMTP (RFC 2033).
    pub lmtp: bool,
    /// Who we are, where the next hop asks (RFC 4954).
    pub auth: Option<Credentials>,
    /// The address to connect from.
    pub source: Option<IpAddr>,
    /// The name given in EHLO.
    pub ehlo_name: String,
    /// Send by BDAT where CHUNKING is offered (RFC 3030): nothing in a counted message can be taken for its end. As Exim does by default.
    pub bdat: bool,
}

/// What proves us to a smart host.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Name and secret.
    pub login: Login,
    /// May go over a connection without TLS (a lab).
    pub in_clear: bool,
}

/// Name and secret by kind; the mechanism follows from it and from what is offered.
#[derive(Debug, Clone)]
pub enum Login {
    /// PLAIN (RFC 4616), else LOGIN.
    Password {
        /// The user.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// XOAUTH2.
    XOauth2 {
        /// The user.
        user: String,
        /// The access token.
        token: SecretString,
    },
    /// OAUTHBEARER (RFC 7628).
    OauthBearer {
        /// The access token.
        token: SecretString,
    },
}

/// How long each stage of a session may take (RFC 5321 §4.5.3.2 gives the defaults where it speaks).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the TCP connection stands.
    pub connect: Duration,
    /// Until the greeting.
    pub greeting: Duration,
    /// EHLO and HELO.
    pub ehlo: Duration,
    /// STARTTLS, and again the handshake.
    pub starttls: Duration,
    /// Each step of AUTH.
    pub auth: Duration,
    /// MAIL, RSET and NOOP.
    pub mail: Duration,
    /// RCPT.
    pub rcpt: Duration,
    /// DATA until its 354.
    pub data_init: Duration,
    /// Each write of message octets.
    pub data_block: Duration,
    /// From the final dot to its reply. Shorter than the standard's ten minutes means mail delivered twice.
    pub data_done: Duration,
    /// QUIT.
    pub quit: Duration,
}

/// Why there is no session with a target.
#[derive(Debug, thiserror::Error)]
pub enum OpenFault {
    /// No TCP connection.
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    /// A time ran out.
    #[error("no answer in time: {0}")]
    Timeout(Stage),
    /// The connection broke.
    #[error("the connection broke during {0}: {1}")]
    Closed(Stage, String),
    /// The greeting was no welcome.
    #[error("greeted with {0}")]
    Greeting(RemoteReply),
    /// EHLO, and HELO where it may be known, was refused.
    #[error("EHLO refused: {0}")]
    Ehlo(RemoteReply),
    /// TLS is demanded, and STARTTLS not offered.
    #[error("TLS is required, and the server does not offer STARTTLS")]
    StartTlsMissing,
    /// STARTTLS was offered and refused.
    #[error("STARTTLS refused: {0}")]
    StartTlsRefused(RemoteReply),
    /// The handshake failed.
    #[error("TLS handshake failed: {0}")]
    Handshake(String),
    /// No mechanism that we and the next hop know.
    #[error("the server offers no AUTH mechanism that fits the credentials (it offers: {0})")]
    AuthMissing(String),
    /// Credentials are not sent over a connection without TLS.
    #[error("credentials are not sent without TLS; require TLS for this host, or allow them in clear")]
    AuthInClear,
    /// The credentials were refused.
    #[error("AUTH refused: {0}")]
    AuthRefused(RemoteReply),
    /// The next hop does not speak SMTP, or speaks out of turn.
    #[error("{0}")]
    Protocol(String),
}

impl Target {
    /// As evidence names it.
    #[must_use]
    pub fn remote(&self) -> Remote {
        Remote { host: self.host.clone(), address: self.address }
    }

    /// A connection without the attempt at TLS, for after a failed handshake where the policy allows it.
    #[must_use]
    pub fn in_clear(&self) -> Self {
        Self { tls: TlsDemand::None, ..self.clone() }
    }
}

impl Timeouts {
    /// The time of a stage.
    #[must_use]
    pub const fn of(&self, stage: Stage) -> Duration {
        match stage {
            Stage::Connect => self.connect,
            Stage::Greeting => self.greeting,
            Stage::Ehlo => self.ehlo,
            Stage::StartTls => self.starttls,
            Stage::Auth => self.auth,
            Stage::Mail => self.mail,
            Stage::Rcpt => self.rcpt,
            Stage::DataInit => self.data_init,
            Stage::DataBlock => self.data_block,
            Stage::DataDone => self.data_done,
            Stage::Quit => self.quit,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(30),
            greeting: Duration::from_mins(5),
            ehlo: Duration::from_mins(5),
            starttls: Duration::from_mins(2),
            auth: Duration::from_mins(2),
            mail: Duration::from_mins(5),
            rcpt: Duration::from_mins(5),
            data_init: Duration::from_mins(2),
            data_block: Duration::from_mins(3),
            data_done: Duration::from_mins(10),
            quit: Duration::from_secs(10),
        }
    }
}

impl OpenFault {
    /// This machine had too little of something, as file descriptors: that says nothing of the next hop, and will be better soon.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        use rustix::io::Errno;
        let Self::Connect(fault) = self else { return false };
        Errno::from_io_error(fault).is_some_and(|errno| [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOBUFS].contains(&errno))
    }

    /// What it means for mail to this target alone; another address or MX may still do. Never a failure for good: even a 5xx to greeting
    /// or EHLO says that this host does not talk to us, not that the mail is unwanted, and an address on a block list must not bounce
    /// a whole queue. TLS, credentials and the network are mended by waiting or by an operator.
    #[must_use]
    pub fn outcome(&self, target: &Target, at: Timestamp) -> Outcome {
        let peer = Peer { remote: target.remote(), tls: None };
        if let Self::Greeting(reply) | Self::Ehlo(reply) = self {
            return match peer.outcome(reply, self.to_string(), at) {
                Outcome::Delivered(evidence) | Outcome::Deferred(evidence) => Outcome::Deferred(evidence),
                Outcome::Failed(evidence) => {
                    let (subject, detail) = evidence.status.subject_and_detail();
                    Outcome::Deferred(Evidence { status: EnhancedCode::new(4, subject, detail), ..evidence })
                }
            };
        }
        let mut evidence = peer.evidence(self.status(), self.to_string(), at);
        evidence.reply = self.reply().cloned();
        Outcome::Deferred(evidence)
    }

    /// Whose fault: bad credentials, a source address that is not ours and want of descriptors are the operator's.
    #[must_use]
    pub fn blame(&self) -> Blame {
        match self {
            Self::AuthMissing(_) | Self::AuthInClear => Blame::Operator,
            Self::AuthRefused(reply) if reply.code >= 500 => Blame::Operator,
            Self::Connect(fault) if fault.kind() == io::ErrorKind::AddrNotAvailable => Blame::Operator,
            Self::Connect(_) if self.is_shortage() => Blame::Operator,
            _ => Blame::NextHop,
        }
    }

    /// TLS was offered and did not come about: with [`Target::in_clear`] on a fresh connection it may go, if the policy allows that.
    /// Never for a target that demands TLS, or begins with it.
    #[must_use]
    pub fn may_go_in_clear(&self, target: &Target) -> bool {
        let tls_failed = matches!(self, Self::StartTlsRefused(_) | Self::Handshake(_) | Self::Timeout(Stage::StartTls) | Self::Closed(Stage::StartTls, _));
        tls_failed && target.tls <= TlsDemand::Opportunistic && !target.implicit_tls
    }

    /// The reply behind it.
    #[must_use]
    pub const fn reply(&self) -> Option<&RemoteReply> {
        match self {
            Self::Greeting(reply) | Self::Ehlo(reply) | Self::StartTlsRefused(reply) | Self::AuthRefused(reply) => Some(reply),
            _ => None,
        }
    }

    /// RFC 3463 §3.5, §3.6, §3.8; always transient.
    fn status(&self) -> EnhancedCode {
        let (subject, detail) = match self {
            Self::Connect(_) | Self::Timeout(Stage::Connect) => (4, 1),
            Self::Timeout(_) | Self::Closed(..) => (4, 2),
            Self::Greeting(_) | Self::Ehlo(_) => (0, 0),
            Self::StartTlsMissing => (7, 10),
            Self::StartTlsRefused(_) | Self::Handshake(_) => (7, 5),
            Self::AuthMissing(_) => (7, 4),
            Self::AuthInClear => (7, 11),
            Self::AuthRefused(_) => (7, 8),
            Self::Protocol(_) => (5, 0),
        };
        EnhancedCode::new(4, subject, detail)
    }
}

impl Login {
    fn parts(&self) -> (u8, &str, &str) {
        match self {
            Self::Password { user, password } => (0, user, password.expose_secret()),
            Self::XOauth2 { user, token } => (1, user, token.expose_secret()),
            Self::OauthBearer { token } => (2, "", token.expose_secret()),
        }
    }
}

impl PartialEq for Credentials {
    fn eq(&self, other: &Self) -> bool {
        self.in_clear == other.in_clear && self.login.parts() == other.login.parts()
    }
}

impl Eq for Credentials {}

/// The secret has no part in it: equal credentials have equal names.
impl Hash for Credentials {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (kind, user, _) = self.login.parts();
        (kind, user, self.in_clear).hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn want_of_descriptors_is_told_from_a_host_that_does_not_answer() {
        for (errno, is_ours) in [(24, true), (23, true), (12, true), (105, true), (111, false), (110, false), (113, false)] {
            let fault = OpenFault::Connect(io::Error::from_raw_os_error(errno));
            assert_eq!((fault.is_shortage(), fault.blame() == Blame::Operator), (is_ours, is_ours), "{fault}");
        }
        assert!(!OpenFault::Timeout(Stage::Connect).is_shortage());
    }
}
