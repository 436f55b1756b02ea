//! Who a recipient at a listener for bounces is: somebody that we made, or one of the few addresses that every bounce domain has. Pure, and
//! cheap: two hashes and no question to anybody, however many are asked.
//!
//! What is refused is refused here, in the dialogue, so that nothing is ever sent back (no backscatter). A token that was made up looks like one
//! that never was; only of a genuine one is its age told.

use super::settings::Settings;
use crate::mail::{Domain, EnhancedCode, ForwardPath, Mailbox, Refusal, Timestamp};
use crate::readdress::token::{self, TokenFault};
use crate::readdress::{Ring, TokenContents};

/// Who a recipient is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Addressee {
    /// A bounce address of ours.
    Token(Token),
    /// This mailbox, by an address of a bounce domain that is told to the world: `postmaster`, `abuse`, one for reports.
    Role(Mailbox),
}

/// A bounce address that opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// As it was written.
    pub address: Mailbox,
    /// The number it is known by.
    pub number: u64,
    /// What it carries.
    pub contents: TokenContents,
    /// The author domain it was made for.
    pub author_domain: Domain,
}

/// Why a recipient is nobody here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Nobody {
    /// Not ours: made up, altered, of another domain, of a day to come.
    Unknown,
    /// Ours, and too old.
    Expired,
}

impl Addressee {
    /// Who this is.
    ///
    /// # Errors
    /// Nobody.
    pub fn of(path: &ForwardPath, settings: &Settings, ring: &Ring, now: Timestamp) -> Result<Self, Nobody> {
        let mailbox = match path {
            ForwardPath::Postmaster => return settings.mailboxes.get(POSTMASTER).cloned().map(Self::Role).ok_or(Nobody::Unknown),
            ForwardPath::Mailbox(mailbox) => mailbox,
        };
        let domain = mailbox.domain().ok_or(Nobody::Unknown)?;
        let author_domain = settings.bounce_domains.get(domain).ok_or(Nobody::Unknown)?;
        match ring.open(&mailbox.local, domain, now) {
            Ok(contents) => {
                let number = token::number_of(&mailbox.local).ok_or(Nobody::Unknown)?;
                Ok(Self::Token(Token { address: mailbox.clone(), number, contents, author_domain: author_domain.clone() }))
            }
            Err(TokenFault::Expired { .. }) => Err(Nobody::Expired),
            Err(TokenFault::Malformed | TokenFault::Forged | TokenFault::Future) => {
                let role = settings.mailboxes.get(&mailbox.local.as_str().to_ascii_lowercase());
                role.cloned().map(Self::Role).ok_or(Nobody::Unknown)
            }
        }
    }
}

impl Nobody {
    /// The reply to RCPT.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        let text = match self {
            Self::Unknown => "there is no such address here",
            Self::Expired => "this bounce address has expired",
        };
        Refusal::submitter(550, EnhancedCode::new(5, 1, 1), text)
    }
}

/// The local part that every domain has (RFC 5321 §4.5.1).
pub const POSTMASTER: &str = "postmaster";
/// The local part for complaints about abuse (RFC 2142 §4).
pub const ABUSE: &str = "abuse";
