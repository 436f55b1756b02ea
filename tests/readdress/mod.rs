//! Bounce addresses: who gets which, and that nobody else can make, change, prolong or link them.

mod paths;
mod token;

use postseal::mail::{Domain, LocalPart, MailId, Mailbox, Timestamp};
use postseal::readdress::{Ring, TokenSecret};

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn local(text: &str) -> LocalPart {
    LocalPart::parse(text).unwrap()
}

fn id(number: u64) -> MailId {
    MailId::from_number(number).unwrap()
}

/// A secret of 32 octets counting up from `first`, under this key id.
fn ring(keys: &[(u8, u8)]) -> Ring {
    let secrets: Vec<(u8, Vec<u8>)> = keys.iter().map(|(key_id, first)| (*key_id, (*first..first + 32).collect())).collect();
    let secrets: Vec<TokenSecret<'_>> = secrets.iter().map(|(key_id, octets)| TokenSecret { key_id: *key_id, octets }).collect();
    Ring::new(&secrets, 30).unwrap()
}

/// Noon of a day counted from 2026-11-22.
fn noon(day: i64) -> Timestamp {
    Timestamp::from_unix_seconds((20_779 + day) * 86_400 + 43_200)
}
