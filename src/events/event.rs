//! An event as programs read it: in the API, in a webhook, from `postseal events --json`. `event.schema.json` describes it.
//!
//! Pure. A fact that is not known is left out, never `null`, so that a new fact breaks no reader.

use crate::mail::{MailId, Timestamp};
use crate::spool::journal::{About, Event, News};
use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Which event: its number in the journal and the mail it tells of, printed `1234-0k3f9a2b1c`. A spool that was restored or made anew may
/// count from below again, but not with the same mails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventId {
    /// Its place in the journal.
    pub number: u64,
    /// The mail, where it is known.
    pub mail: Option<MailId>,
}

/// A text that is no id of an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no event id; expected the id of an event, as in \"1234-0k3f9a2b1c\", or its number")]
pub struct EventIdError(String);

impl EventId {
    /// Of this event.
    #[must_use]
    pub const fn of(event: &Event) -> Self {
        Self { number: event.number, mail: Some(event.news.mail) }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mail {
            Some(mail) => write!(f, "{}-{mail}", self.number),
            None => write!(f, "{}", self.number),
        }
    }
}

/// With or without the mail.
impl FromStr for EventId {
    type Err = EventIdError;
    fn from_str(text: &str) -> Result<Self, EventIdError> {
        let fault = || EventIdError(text.chars().take(40).collect());
        let (number, mail) = text.split_once('-').map_or((text, None), |(number, mail)| (number, Some(mail)));
        if number.is_empty() || !number.bytes().all(|octet| octet.is_ascii_digit()) {
            return Err(fault());
        }
        let mail = mail.map(MailId::from_str).transpose().map_err(|_| fault())?;
        Ok(Self { number: number.parse().map_err(|_| fault())?, mail })
    }
}

/// An event as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Shown {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    time: String,
    mail_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    #[serde(flatten)]
    about: About,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_at: Option<String>,
    /// Since when its recipient is suppressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
}

impl Shown {
    /// This event.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let News { at, kind, mail, recipient, about } = &event.news;
        Self {
            id: EventId::of(event).to_string(),
            kind: kind.as_str(),
            time: at.to_rfc3339(),
            mail_id: mail.to_string(),
            recipient: recipient.as_ref().map(ToString::to_string),
            next_at: about.next_at.map(|at| Timestamp::from_unix_millis(at).to_rfc3339()),
            since: about.since.map(|at| Timestamp::from_unix_millis(at).to_rfc3339()),
            about: About { next_at: None, since: None, ..about.clone() },
        }
    }
}

/// Describes [`Shown`]: JSON Schema, draft 2020-12.
pub const SCHEMA: &str = include_str!("event.schema.json");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_as_they_are_written() {
        let id = EventId { number: 1234, mail: MailId::from_number(77) };
        assert_eq!(id.to_string(), "1234-000000002d");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!("1234".parse(), Ok(EventId { number: 1234, mail: None }));
        for text in ["", "-", "12-", "+1", "-5", "x", "1-2", "1 ", "99999999999999999999", "1-000000002d-"] {
            assert!(text.parse::<EventId>().is_err(), "{text}");
        }
    }
}
