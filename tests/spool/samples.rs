//! Mails to spool, times to spool them at, and short words for what tests do with them.

use bytes::Bytes;
use postseal::mail::{
    EnhancedCode, Evidence, IdentityName, MailId, Mailbox, Message, Notify, OriginalRecipient, Ret, ReversePath, RouteName, Stream, Timestamp, TraceContext,
};
use postseal::seal::{FieldKind, Kind, Needs, Plan, Seal, SealField, Sealed, SealedRecipient, Sender};
use postseal::spool::sqlite::FileSystems;
use postseal::spool::{Claimed, Ending, How, Lease, Queue, Settings, Spool, SpoolError};
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

/// Noon of a day in 2026, and seconds after it.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_795_348_800 + seconds)
}

pub fn id(number: u64) -> MailId {
    MailId::from_number(number).unwrap()
}

pub fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

pub fn many(number: usize) -> NonZeroUsize {
    NonZeroUsize::new(number).unwrap()
}

pub fn queue(host: &str) -> Queue {
    Queue::stored(&format!("mx/{host}"))
}

/// A mail accepted and due at noon, with every fact set that a spool has to keep.
pub fn mail(number: u64, recipients: &[&str]) -> Sealed {
    Sealed {
        id: id(number),
        accepted_at: at(0),
        due_at: at(0),
        expires_at: at(5 * 86_400),
        identity: IdentityName::new("shop"),
        kind: Kind::Submission,
        signing_domain: "example.com".parse().unwrap(),
        stream: Stream::new("transactional"),
        route: RouteName::new("mx"),
        original_reverse_path: mailbox("app@example.com").into(),
        sender: None,
        recipients: recipients.iter().map(|to| recipient(to)).collect(),
        envid: Some("QQ314159".to_owned()),
        ret: Some(Ret::Headers),
        needs: Needs { eight_bit_mime: true, smtputf8: false },
        message_id: format!("<{number}@example.com>"),
        track_id: Some("order-7".to_owned()),
        tag: Some("receipt".to_owned()),
        trace: TraceContext::read("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 vendor=7"),
        seal: seal("first"),
        message: message(number, 100),
    }
}

pub fn recipient(to: &str) -> SealedRecipient {
    SealedRecipient {
        mailbox: mailbox(to),
        notify: Notify::On { success: false, failure: true, delay: true },
        orcpt: Some(OriginalRecipient { address_type: "rfc822".to_owned(), address: to.to_uppercase() }),
        reverse_path: mailbox("b0123@b.example.com").into(),
        suppressed: None,
    }
}

pub fn seal(signature: &str) -> Seal {
    let text = format!("DKIM-Signature: v=1; b={signature}\r\n");
    let field = SealField { kind: FieldKind::Rsa, key: Some("s1._domainkey.example.com".to_owned()), text };
    Seal { fields: vec![field], expires: Some(1_800_000_000), plan: Plan { author: Some("example.com".to_owned()), ..Plan::default() } }
}

/// A message with a body of `octets` octets that only `number` has.
pub fn message(number: u64, octets: usize) -> Message {
    let line = format!("{number:015}.\r\n");
    let body: String = line.chars().cycle().take(octets).collect();
    Message::parse(Bytes::from(format!("Subject: {number}\r\nFrom: app@example.com\r\n\r\n{body}"))).unwrap()
}

pub fn sender(number: u64, address: &str) -> Sender {
    Sender { id: number, mailbox: mailbox(address) }
}

pub fn evidence(text: &str, seconds: i64) -> Evidence {
    Evidence {
        status: EnhancedCode::new(if text.starts_with('2') { 2 } else { 4 }, 0, 0),
        reply: None,
        text: text.to_owned(),
        remote: None,
        tls: None,
        unknown_end: false,
        at: at(seconds),
    }
}

pub fn delivered(seconds: i64) -> How {
    How::Delivered(evidence("250 ok", seconds))
}

pub fn failed(seconds: i64) -> How {
    How::Failed(evidence("550 no such user", seconds))
}

pub fn deferred(seconds: i64, next_at: i64) -> How {
    How::Deferred { evidence: evidence("451 later", seconds), next_at: at(next_at), delay_told: false }
}

/// The same ending for everybody under a lease.
pub fn all(lease: &Lease, how: &How) -> Vec<Ending> {
    lease.recipients.iter().map(|recipient| Ending::of(recipient.index, how.clone())).collect()
}

/// Claims everything due in a queue for ten minutes.
pub async fn claim(spool: &impl Spool, host: &str, seconds: i64) -> Vec<Lease> {
    let claimed = claim_all(spool, host, seconds).await;
    assert_eq!(claimed.quarantined, []);
    claimed.leases
}

pub async fn claim_all(spool: &impl Spool, host: &str, seconds: i64) -> Claimed {
    spool.claim(&queue(host), many(1000), at(seconds), at(seconds + 600)).await.unwrap()
}

/// The only lease there is to have.
pub async fn claim_one(spool: &impl Spool, host: &str, seconds: i64) -> Lease {
    let mut leases = claim(spool, host, seconds).await;
    assert_eq!(leases.len(), 1, "leases of {host}: {leases:?}");
    leases.remove(0)
}

pub async fn commit(spool: &impl Spool, mail: Sealed) {
    let expected = mail.id;
    assert_eq!(spool.commit(vec![mail]).await.unwrap().id(), expected);
}

/// `a.example@12 b.example@15`: queues due at a time, and since when.
pub async fn due(spool: &impl Spool, seconds: i64) -> String {
    let due = spool.due(at(seconds), many(100)).await.unwrap();
    due.iter().map(|due| format!("{}@{}", due.queue.parts().1, due.since.unix_seconds() - at(0).unix_seconds())).collect::<Vec<_>>().join(" ")
}

/// `mails recipients quarantined`.
pub async fn counts(spool: &impl Spool) -> String {
    let counts = spool.counts().await.unwrap();
    format!("{} {} {}", counts.mails, counts.recipients, counts.quarantined)
}

pub fn refused<T: std::fmt::Debug>(result: Result<T, SpoolError>) -> String {
    result.unwrap_err().to_string()
}

pub fn null() -> ReversePath {
    ReversePath::Null
}

/// An embedded spool that may lie wherever the tests' temporary directories do, with no reserve.
pub fn settings(directory: &Path) -> Settings {
    Settings { reserve_octets: 0, file_systems: FileSystems::Any, linger: Duration::ZERO, ..Settings::in_directory(directory) }
}

/// A directory in memory where there is one: for tests that start a spool hundreds of times and cut no power.
pub fn scratch() -> tempfile::TempDir {
    tempfile::TempDir::new_in("/dev/shm").or_else(|_| tempfile::TempDir::new()).unwrap()
}
