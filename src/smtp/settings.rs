//! What an operator can set of the server's dialogue, each bound with its unit and default.

use super::line::BareLf;
use super::server::Bounds;
use crate::mail::IdentityName;
use std::collections::HashMap;
use std::time::Duration;

/// Of one listener's dialogues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The name in greeting and EHLO reply.
    pub hostname: String,
    /// Whether STARTTLS is offered or demanded.
    pub starttls: StartTls,
    /// SASL mechanisms in the order to offer, in capitals; none: AUTH is not offered.
    pub sasl_mechanisms: Vec<String>,
    /// AUTH is offered without TLS too. Passwords then cross the network in clear text.
    pub auth_without_tls: bool,
    /// Lines that end in LF alone.
    pub bare_lf: BareLf,
    /// Octets of a command line with its end, before what extensions add (RFC 5321 §4.5.3.1.4).
    pub command_octets_max: usize,
    /// Octets of a message (`SIZE`).
    pub message_octets_max: u64,
    /// Octets of a line of a message. Far above the 998 of RFC 5321 §4.5.3.1.6: applications send a page of HTML as one line, and
    /// the next station encodes it anew. The bound only keeps readers by line from one as long as the message.
    pub line_octets_max: usize,
    /// Recipients of a transaction (`LIMITS RCPTMAX`), 100 at least (RFC 5321 §4.5.3.1.8).
    pub recipients_max: usize,
    /// What identities may use, where that is said in EHLO once the client is known (`SIZE`, `LIMITS RCPTMAX`); the listener's own bounds
    /// hold besides.
    pub identities: HashMap<IdentityName, Bounds>,
    /// Messages of a connection (`LIMITS MAILMAX`).
    pub mails_max: Option<u32>,
    /// Malformed, unknown and misplaced commands of a connection.
    pub errors_max: u32,
    /// Refused senders, recipients and messages since the last accepted message.
    pub refusals_max: u32,
    /// Commands that lead nowhere (NOOP, RSET, VRFY, EXPN, HELP, EHLO) since the last accepted message.
    pub idle_commands_max: u32,
    /// Failed authentications of a connection.
    pub auth_attempts_max: u32,
    /// How long to wait.
    pub timeouts: Timeouts,
}

/// Whether TLS can or must be started in the dialogue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StartTls {
    /// There is no certificate, or TLS is there from the first octet.
    #[default]
    Unavailable,
    /// A client may.
    Offered,
    /// A client must, before anything that matters (RFC 3207 §4).
    Required,
}

/// Time a client has. RFC 5321 §4.5.3.2.7 wants five minutes for the next command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the next command to begin.
    pub idle: Duration,
    /// For a command that has begun to be whole.
    pub command: Duration,
    /// Between two pieces of a message.
    pub data_block: Duration,
    /// From MAIL to the end of the message.
    pub message: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            hostname: "localhost".to_owned(),
            starttls: StartTls::Unavailable,
            sasl_mechanisms: Vec::new(),
            auth_without_tls: false,
            bare_lf: BareLf::Reject,
            command_octets_max: 512,
            message_octets_max: 35 * 1024 * 1024,
            line_octets_max: 1024 * 1024,
            recipients_max: 1000,
            identities: HashMap::new(),
            mails_max: None,
            errors_max: 20,
            refusals_max: 2000,
            idle_commands_max: 100,
            auth_attempts_max: 3,
            timeouts: Timeouts::default(),
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { idle: Duration::from_mins(5), command: Duration::from_mins(5), data_block: Duration::from_mins(3), message: Duration::from_mins(30) }
    }
}
