//! What people and programs write into the questions of the admin API, its headers included.

use postseal::events::event::EventId;
use postseal::keys::SelectorTemplate;
use postseal::mail::{Domain, EnhancedCode, MailId, Reason, Timestamp, TraceContext};
use postseal::policy::DomainPattern;
use postseal::spool::control::{By, Cursor, State, StatusPrefix};
use postseal::spool::journal;
use std::fmt::{Debug, Display};
use std::str::FromStr;

pub fn run(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    round::<MailId>(text);
    round::<EventId>(text);
    round::<Cursor>(text);
    round::<Domain>(text);
    round::<EnhancedCode>(text);
    let _ = (text.parse::<StatusPrefix>(), text.parse::<State>(), text.parse::<By>(), text.parse::<journal::Kind>(), text.parse::<Reason>());
    let _ = (text.parse::<DomainPattern>(), text.parse::<SelectorTemplate>());
    if let Some(at) = Timestamp::parse_rfc3339(text) {
        let _ = (at.to_rfc5322(), at + std::time::Duration::from_secs(1));
    }
    if let Some(trace) = TraceContext::parse(text) {
        assert_eq!(TraceContext::read(&trace.stored()).as_ref(), Some(&trace), "{text:?}");
    }
}

/// What is printed is read as the same.
fn round<T: FromStr + Display + PartialEq + Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert!(value.to_string().parse::<T>().is_ok_and(|again| again == value), "{text:?} became {value}");
    }
}
