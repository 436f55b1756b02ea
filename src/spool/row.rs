//! What a spooled message looks like as rows, the same on every engine: plain numbers and texts with a CRC-32C over who gets what.
//!
//! Databases hand back a flipped bit without a word, and a flipped bit in a recipient sends mail to a stranger. So the sum is made before
//! a row is written and checked before it is believed. No SQL here, no disk.

use super::journal::Class;
use super::{Ending, How, Leased, Mail, Meaning, Queue};
use crate::mail::suppression::Suppression;
use crate::mail::{Domain, Evidence, IdentityName, MailId, Mailbox, Notify, OriginalRecipient, Ret, ReversePath, RouteName, Stream, Timestamp, TraceContext};
use crate::seal::{Kind, Needs, Seal, Sealed, SealedRecipient};
use serde::{Deserialize, Serialize};

/// A row of `messages`: what its sum covers, and the trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MailRow {
    pub id: i64,
    pub recipients: i64,
    pub accepted_at: i64,
    pub expires_at: i64,
    pub identity: String,
    pub kind: i64,
    pub signing_domain: String,
    pub stream: String,
    pub route: String,
    pub original_reverse_path: String,
    pub envid: Option<String>,
    pub ret: i64,
    pub needs: i64,
    pub message_id: String,
    pub track_id: Option<String>,
    pub tag: Option<String>,
    pub seal: String,
    pub body_octets: i64,
    pub body_sum: i64,
    pub body_file: Option<String>,
    /// Not under the sum: a wrong one misleads a chart, nobody's mail.
    pub trace: Option<String>,
}

/// A row of `recipients`: everything its sum covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RecipientRow {
    pub message: i64,
    pub number: i64,
    pub mailbox: String,
    pub notify: i64,
    pub orcpt_type: Option<String>,
    pub orcpt: Option<String>,
    pub reverse_path: String,
    /// Given by a person; none: its message's. Part of the sum only where there is one.
    pub route: Option<String>,
}

/// A row of `suppressions`: everything its sum covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SuppressionRow {
    pub scope: String,
    pub recipient: String,
    pub reason: String,
    pub since: i64,
    pub expires_at: Option<i64>,
    pub message: Option<i64>,
    pub detail: String,
}

/// How an attempt ended, as `recipients.evidence` and `history.recipients` keep it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Told {
    /// RFC 3463.
    pub status: String,
    /// The next hop's words, or ours.
    pub text: String,
    /// Name and address of the next hop.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remote: Option<String>,
    /// Who the next hop belongs to; unknown in rows of older programs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub provider: Option<String>,
    /// Why it did not arrive, as [`crate::mail::Reason`] prints; unknown in rows of older programs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// When, in milliseconds.
    pub at: i64,
}

impl MailRow {
    /// The row of a message whose body has been summed and, if it is a file, written.
    pub fn of(mail: &Sealed, body_sum: u32, body_file: Option<String>) -> Self {
        Self {
            id: number(mail.id),
            recipients: count(mail.recipients.len()),
            accepted_at: mail.accepted_at.unix_millis(),
            expires_at: mail.expires_at.unix_millis(),
            identity: mail.identity.to_string(),
            kind: kind_number(mail.kind),
            signing_domain: mail.signing_domain.to_string(),
            stream: mail.stream.to_string(),
            route: mail.route.to_string(),
            original_reverse_path: path_text(&mail.original_reverse_path),
            envid: mail.envid.clone(),
            ret: [None, Some(Ret::Full), Some(Ret::Headers)].iter().position(|known| *known == mail.ret).map_or(0, count),
            needs: i64::from(mail.needs.eight_bit_mime) | i64::from(mail.needs.smtputf8) << 1,
            message_id: mail.message_id.clone(),
            track_id: mail.track_id.clone(),
            tag: mail.tag.clone(),
            seal: seal_text(&mail.seal),
            body_octets: count(mail.message.octets().len()),
            body_sum: i64::from(body_sum),
            body_file,
            trace: mail.trace.as_ref().map(TraceContext::stored),
        }
    }

    pub fn sum(&self) -> i64 {
        let numbers = [self.id, self.recipients, self.accepted_at, self.expires_at, self.kind, self.ret, self.needs, self.body_octets, self.body_sum];
        let texts = [&self.identity, &self.signing_domain, &self.stream, &self.route, &self.original_reverse_path, &self.message_id, &self.seal];
        let options = [&self.envid, &self.track_id, &self.tag, &self.body_file];
        let sum = numbers.into_iter().fold(Sum::default(), Sum::number);
        let sum = texts.into_iter().fold(sum, |sum, text| sum.text(text));
        options.into_iter().fold(sum, |sum, text| sum.option(text.as_deref())).finish()
    }

    /// What the row means.
    ///
    /// # Errors
    /// In words, what no sound row holds.
    pub fn mail(&self) -> Result<Mail, String> {
        Ok(Mail {
            id: mail_id(self.id)?,
            accepted_at: Timestamp::from_unix_millis(self.accepted_at),
            expires_at: Timestamp::from_unix_millis(self.expires_at),
            identity: IdentityName::new(&self.identity),
            kind: kind(self.kind)?,
            signing_domain: Domain::parse(&self.signing_domain).map_err(|e| e.to_string())?,
            stream: Stream::new(&self.stream),
            route: RouteName::new(&self.route),
            original_reverse_path: path(&self.original_reverse_path)?,
            envid: self.envid.clone(),
            ret: [None, Some(Ret::Full), Some(Ret::Headers)].get(usize::try_from(self.ret).unwrap_or(usize::MAX)).copied().ok_or("an unknown RET")?,
            needs: Needs { eight_bit_mime: self.needs & 1 != 0, smtputf8: self.needs & 2 != 0 },
            message_id: self.message_id.clone(),
            track_id: self.track_id.clone(),
            tag: self.tag.clone(),
            trace: self.trace.as_deref().and_then(TraceContext::read),
            seal: serde_json::from_str(&self.seal).map_err(|e| format!("its seal does not read: {e}"))?,
            rerouted: false,
            message_octets: u64::try_from(self.body_octets).map_err(|_| "a negative length")?,
        })
    }
}

impl RecipientRow {
    pub fn of(mail: MailId, index: usize, recipient: &SealedRecipient) -> Self {
        let orcpt = recipient.orcpt.as_ref();
        Self {
            message: number(mail),
            number: count(index),
            mailbox: recipient.mailbox.to_string(),
            notify: notify_number(recipient.notify),
            orcpt_type: orcpt.map(|orcpt| orcpt.address_type.clone()),
            orcpt: orcpt.map(|orcpt| orcpt.address.clone()),
            reverse_path: path_text(&recipient.reverse_path),
            route: None,
        }
    }

    pub fn sum(&self) -> i64 {
        let sum = [self.message, self.number, self.notify].into_iter().fold(Sum::default(), Sum::number);
        let sum = sum.text(&self.mailbox).option(self.orcpt_type.as_deref()).option(self.orcpt.as_deref()).text(&self.reverse_path);
        self.route.iter().fold(sum, |sum, route| sum.text(route)).finish()
    }

    /// The route it goes by, when its message goes by `route`.
    pub fn route_or(&self, route: &str) -> RouteName {
        RouteName::new(self.route.as_deref().unwrap_or(route))
    }

    /// What the row means: the recipient, and the `MAIL FROM` of its transaction. Counts come from columns outside the sum.
    ///
    /// # Errors
    /// In words, what no sound row holds.
    pub fn leased(&self, attempts: i64, unknown_ends: i64, delay_told: bool) -> Result<(Leased, ReversePath), String> {
        let leased = Leased {
            index: u32::try_from(self.number).map_err(|_| "an impossible recipient number")?,
            mailbox: Mailbox::parse(&self.mailbox).map_err(|e| e.to_string())?,
            notify: notify(self.notify)?,
            orcpt: match (&self.orcpt_type, &self.orcpt) {
                (Some(address_type), Some(address)) => Some(OriginalRecipient { address_type: address_type.clone(), address: address.clone() }),
                _ => None,
            },
            attempts: u32::try_from(attempts).unwrap_or(u32::MAX),
            unknown_ends: u32::try_from(unknown_ends).unwrap_or(u32::MAX),
            delay_told,
        };
        Ok((leased, path(&self.reverse_path)?))
    }
}

impl SuppressionRow {
    pub fn of(entry: &Suppression) -> Self {
        Self {
            scope: entry.scope.to_string(),
            recipient: entry.recipient.folded().to_string(),
            reason: entry.why.to_string(),
            since: entry.since.unix_millis(),
            expires_at: entry.expires_at.map(Timestamp::unix_millis),
            message: entry.message.map(number),
            detail: Suppression::words(&entry.detail),
        }
    }

    pub fn sum(&self) -> i64 {
        let sum = [&self.scope, &self.recipient, &self.reason, &self.detail].into_iter().fold(Sum::default(), |sum, text| sum.text(text));
        let sum = sum.number(self.since);
        // Each with a mark in front, so that none reads as another.
        [self.expires_at, self.message].into_iter().fold(sum, |sum, value| value.map_or(sum.clone().number(0), |value| sum.number(1).number(value))).finish()
    }

    /// What the row means.
    ///
    /// # Errors
    /// In words, what no sound row holds.
    pub fn suppression(&self) -> Result<Suppression, String> {
        Ok(Suppression {
            scope: self.scope.parse().map_err(|e: crate::mail::suppression::ScopeError| e.to_string())?,
            recipient: Mailbox::parse(&self.recipient).map_err(|e| e.to_string())?,
            why: self.reason.parse().map_err(|e: crate::mail::suppression::WhyError| e.to_string())?,
            since: Timestamp::from_unix_millis(self.since),
            expires_at: self.expires_at.map(Timestamp::from_unix_millis),
            message: self.message.map(mail_id).transpose()?,
            detail: self.detail.clone(),
        })
    }
}

impl Told {
    pub fn of(evidence: &Evidence, meaning: Option<&Meaning>) -> Self {
        let text = evidence.reply.as_ref().map_or_else(|| evidence.text.clone(), ToString::to_string);
        Self {
            status: evidence.status.to_string(),
            text: text.chars().take(EVIDENCE_CHARACTERS_MAX).collect(),
            remote: evidence.remote.as_ref().map(|remote| format!("{} [{}]", remote.host, remote.address)),
            provider: meaning.map(|meaning| meaning.provider.to_string()),
            reason: meaning.and_then(|meaning| meaning.reason).map(|reason| reason.as_str().to_owned()),
            at: evidence.at.unix_millis(),
        }
    }

    /// That a recipient was not written to.
    pub fn of_suppressed(entry: &Suppression, evidence: &Evidence) -> Self {
        Self { reason: Some(entry.why.to_string()), ..Self::of(evidence, None) }
    }

    /// The name of the next hop, without its address.
    pub fn host(&self) -> Option<&str> {
        let remote = self.remote.as_deref()?;
        Some(remote.split_once(" [").map_or(remote, |(host, _)| host))
    }

    pub fn to_json(&self) -> String {
        #[allow(clippy::expect_used, reason = "texts and numbers only: there is nothing that JSON could refuse")]
        serde_json::to_string(self).expect("evidence is JSON")
    }
}

/// The queue that a lease was claimed from: all its recipients share it.
pub(super) fn queue_of(mail: &Mail, recipients: &[Leased]) -> Option<Queue> {
    recipients.first().map(|recipient| Queue::of(&mail.route, &recipient.mailbox))
}

/// Our own invariant: every recipient of a lease has one ending, and nobody else has.
pub(super) fn assert_complete(recipients: &[Leased], endings: &[Ending]) {
    let mut expected: Vec<u32> = recipients.iter().map(|recipient| recipient.index).collect();
    let mut given: Vec<u32> = endings.iter().map(|ending| ending.index).collect();
    expected.sort_unstable();
    given.sort_unstable();
    assert!(expected == given, "a lease on recipients {expected:?} ends with one ending for each, not {given:?}");
}

/// The evidence of an ending; none where nothing is to be said of it.
pub(super) const fn evidence(how: &How) -> Option<&Evidence> {
    match how {
        How::Delivered(evidence) | How::Failed(evidence) | How::Cancelled(evidence) | How::Deferred { evidence, .. } | How::Kept { evidence, .. } => {
            Some(evidence)
        }
        How::Released { .. } => None,
    }
}

pub(super) fn seal_text(seal: &Seal) -> String {
    #[allow(clippy::expect_used, reason = "texts and numbers only: there is nothing that JSON could refuse")]
    serde_json::to_string(seal).expect("a seal is JSON")
}

pub(super) fn sender_sum(id: i64, mailbox: &str) -> i64 {
    Sum::default().number(id).text(mailbox).finish()
}

pub(super) fn number(id: MailId) -> i64 {
    id.number().cast_signed() // 48 bits
}

pub(super) fn mail_id(number: i64) -> Result<MailId, String> {
    u64::try_from(number).ok().and_then(MailId::from_number).ok_or_else(|| format!("{number} is no mail id"))
}

pub(super) fn path_text(path: &ReversePath) -> String {
    path.mailbox().map_or_else(String::new, ToString::to_string)
}

pub(super) fn path(text: &str) -> Result<ReversePath, String> {
    if text.is_empty() {
        return Ok(ReversePath::Null);
    }
    Mailbox::parse(text).map(ReversePath::Mailbox).map_err(|e| e.to_string())
}

/// What `messages.kind` says of a mail that is no submission.
pub(super) const fn class(kind: i64) -> Option<Class> {
    match kind {
        0 => None,
        1 => Some(Class::Notice),
        _ => Some(Class::Returned),
    }
}

const fn kind_number(kind: Kind) -> i64 {
    match kind {
        Kind::Submission => 0,
        Kind::Notice => 1,
        Kind::Returned => 2,
    }
}

fn kind(number: i64) -> Result<Kind, String> {
    match number {
        0 => Ok(Kind::Submission),
        1 => Ok(Kind::Notice),
        2 => Ok(Kind::Returned),
        _ => Err(format!("{number} is no kind of mail")),
    }
}

fn notify_number(notify: Notify) -> i64 {
    match notify {
        Notify::Unspecified => 0,
        Notify::Never => 1,
        Notify::On { success, failure, delay } => 16 | i64::from(success) << 1 | i64::from(failure) << 2 | i64::from(delay) << 3,
    }
}

fn notify(number: i64) -> Result<Notify, String> {
    match number {
        0 => Ok(Notify::Unspecified),
        1 => Ok(Notify::Never),
        16..=30 if number & 1 == 0 => Ok(Notify::On { success: number & 2 != 0, failure: number & 4 != 0, delay: number & 8 != 0 }),
        _ => Err(format!("{number} is no NOTIFY")),
    }
}

pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// CRC-32C over fields, each with its length in front, so that no two rows of different fields give the same octets.
#[derive(Clone, Default)]
struct Sum(u32);

impl Sum {
    fn number(self, number: i64) -> Self {
        Self(crc32c::crc32c_append(self.0, &number.to_le_bytes()))
    }

    fn text(self, text: &str) -> Self {
        Self(crc32c::crc32c_append(self.number(count(text.len())).0, text.as_bytes()))
    }

    fn option(self, text: Option<&str>) -> Self {
        match text {
            Some(text) => self.text(text),
            None => self.number(-1),
        }
    }

    fn finish(self) -> i64 {
        i64::from(self.0)
    }
}

/// A next hop's reply may be long; what is kept of it for `queue show` and history is not.
const EVIDENCE_CHARACTERS_MAX: usize = 500;

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient() -> RecipientRow {
        RecipientRow {
            message: 7,
            number: 0,
            mailbox: "a@example.com".to_owned(),
            notify: 20,
            orcpt_type: Some("rfc822".to_owned()),
            orcpt: Some("A@example.com".to_owned()),
            reverse_path: String::new(),
            route: None,
        }
    }

    #[test]
    fn every_field_of_a_recipient_is_under_the_sum() {
        let sound = recipient().sum();
        let changed = [
            RecipientRow { message: 8, ..recipient() },
            RecipientRow { number: 1, ..recipient() },
            RecipientRow { mailbox: "b@example.com".to_owned(), ..recipient() },
            RecipientRow { notify: 0, ..recipient() },
            RecipientRow { orcpt_type: None, ..recipient() },
            RecipientRow { orcpt: Some(String::new()), ..recipient() },
            RecipientRow { reverse_path: "x@example.com".to_owned(), ..recipient() },
            RecipientRow { route: Some(String::new()), ..recipient() },
        ];
        for row in changed {
            assert_ne!(row.sum(), sound, "{row:?}");
        }
    }

    fn suppression() -> SuppressionRow {
        SuppressionRow {
            scope: "example.com".to_owned(),
            recipient: "a@example.net".to_owned(),
            reason: "user-unknown".to_owned(),
            since: 1,
            expires_at: Some(2),
            message: Some(3),
            detail: "550 no".to_owned(),
        }
    }

    #[test]
    fn every_field_of_a_suppression_is_under_the_sum() {
        let sound = suppression().sum();
        let changed = [
            SuppressionRow { scope: "example.org".to_owned(), ..suppression() },
            SuppressionRow { recipient: "b@example.net".to_owned(), ..suppression() },
            SuppressionRow { reason: "manual".to_owned(), ..suppression() },
            SuppressionRow { since: 0, ..suppression() },
            SuppressionRow { expires_at: None, ..suppression() },
            SuppressionRow { expires_at: Some(3), ..suppression() },
            SuppressionRow { message: None, ..suppression() },
            SuppressionRow { detail: "551 no".to_owned(), ..suppression() },
            // Two values that changed their places.
            SuppressionRow { expires_at: None, message: Some(2), ..suppression() },
            SuppressionRow { expires_at: Some(2), message: None, ..suppression() },
        ];
        for row in changed {
            assert_ne!(row.sum(), sound, "{row:?}");
        }
        assert_eq!(SuppressionRow::of(&suppression().suppression().unwrap()), suppression());
    }

    #[test]
    fn a_shifted_border_between_fields_changes_the_sum() {
        let (a, b) = (Sum::default().text("ab").text("c").finish(), Sum::default().text("a").text("bc").finish());
        assert_ne!(a, b);
        assert_ne!(Sum::default().option(None).finish(), Sum::default().option(Some("")).finish());
    }

    #[test]
    fn notify_reads_back() {
        let on = |success, failure, delay| Notify::On { success, failure, delay };
        for value in [Notify::Unspecified, Notify::Never, on(true, false, false), on(false, true, false), on(false, false, true), on(false, false, false)] {
            assert_eq!(notify(notify_number(value)), Ok(value));
        }
        assert!(notify(2).is_err() && notify(17).is_err() && notify(32).is_err() && notify(-1).is_err());
    }
}
