//! Delivery status notifications (RFC 3464, RFC 6533): from each recipient's fields to what they come to.

use super::arrived::Arrived;
use super::judge::Judge;
use super::prose::{self, Block};
use super::reply::Reply;
use super::{Classified, Form, Kind, Returned, one_line};
use crate::mail::dsn::{Action, Report, ReportedRecipient, TypedText};
use crate::mail::{EnhancedCode, Reason};
use crate::reasons::Table;

/// `None` where there is no status part, or one that tells of nobody.
#[must_use]
pub fn read(arrived: &Arrived, reasons: &Table) -> Option<Classified> {
    let report = Report::salvage(arrived.status.as_deref()?)?;
    let words = prose::blocks(arrived);
    let mut judge = Judge::by(reasons);
    let recipients: Vec<Returned> = report.recipients.iter().map(|told| returned(told, &report, &words, &mut judge)).collect();
    let kind = match recipients.iter().map(|recipient| recipient.action).min() {
        Some(Action::Failed) => Kind::Bounce,
        Some(Action::Delayed) => Kind::Delayed,
        _ => Kind::Delivered,
    };
    Some(Classified {
        recipients,
        reporting_mta: report.reporting_mta.as_ref().map(|mta| host_of(&mta.text)),
        envid: report.envid.map(|envid| one_line(&envid, ADDRESS_OCTETS_MAX)),
        ..Classified::new(kind, Form::Status)
    })
}

/// A note of disposition by which a mailbox refuses what its server had taken (Dovecot, Sieve's `reject`, RFC 5429 §2.1).
#[must_use]
pub fn rejection(arrived: &Arrived, reasons: &Table) -> Option<Classified> {
    let part = arrived.disposition.as_deref()?;
    let refused = arrived.value("auto-submitted").is_some_and(|value| value.contains("rejected")) || arrived.text.contains("automatically rejected");
    let report = Report::salvage(part).filter(|_| refused)?;
    let words = prose::blocks(arrived);
    let mut judge = Judge::by(reasons);
    let recipients: Vec<Returned> = report.recipients.iter().map(|told| returned(told, &report, &words, &mut judge)).collect();
    Some(Classified { recipients, ..Classified::new(Kind::Bounce, Form::Status) })
}

fn returned(told: &ReportedRecipient, report: &Report, words: &[Block], judge: &mut Judge<'_>) -> Returned {
    let last = address(&told.last);
    let original = told.original.as_ref().filter(|typed| typed.mailbox().is_some()).map(address);
    let diagnostic = told.diagnostic.as_ref().map(|typed| Reply::read(&typed.text)).unwrap_or_default();
    let remote = told.remote_mta.as_ref().map(|mta| host_of(&mta.text)).filter(|host| !host.is_empty());
    let reporting = report.reporting_mta.as_ref().map(|mta| host_of(&mta.text)).unwrap_or_default();
    let status = most_telling(diagnostic.status, told.status);
    let is_failure = matches!(told.action, Action::Failed | Action::Delayed);
    let mut reason = Reason::NotUnderstood;
    let mut permanent = false;
    let mut reply = Some(diagnostic.clone()).filter(|reply| !reply.text.is_empty() || reply.code.is_some());
    if is_failure {
        let host = remote.as_deref().unwrap_or(&reporting);
        let mut judge = |reply: &Reply| judge.judge(host, reply.code, reply.status.or(told.status), &reply.text);
        let mut judged = judge(&diagnostic);
        if judged.reason == Reason::NotUnderstood || diagnostic.text.is_empty() {
            // Programs that leave the fields empty tell it to people.
            let said = words.iter().find(|block| same(&block.address, &last) || original.as_ref().is_some_and(|original| same(&block.address, original)));
            if let Some(block) = said {
                let spoken = Reply::read(&block.text);
                let second = judge(&spoken);
                if second.reason != Reason::NotUnderstood {
                    judged = second;
                }
                reply = reply.or(Some(spoken));
            }
        }
        (reason, permanent) = (judged.reason, judged.permanent && told.action == Action::Failed);
    }
    let recipient = original.unwrap_or_else(|| last.clone());
    Returned {
        final_recipient: Some(last).filter(|last| !same(last, &recipient)),
        recipient,
        action: told.action,
        status,
        reply: reply.map(|reply| reply.shown()).filter(|reply| !reply.is_empty()),
        remote_mta: remote,
        reason,
        permanent,
    }
}

/// A reply's own code, unless it says less than the status field.
fn most_telling(reply: Option<EnhancedCode>, field: Option<EnhancedCode>) -> Option<EnhancedCode> {
    let tells = |code: &EnhancedCode| code.subject_and_detail() != (0, 0);
    reply.filter(tells).or(field.filter(tells)).or(reply).or(field)
}

/// As a mailbox where it is one, else as it stands, on one line.
pub(super) fn address(typed: &TypedText) -> String {
    match typed.mailbox() {
        Some(mailbox) => mailbox.to_string(),
        None => one_line(typed.text.trim_matches(['<', '>', ' ']), ADDRESS_OCTETS_MAX),
    }
}

/// The name, without the address that some put behind it.
fn host_of(text: &str) -> String {
    let word = text.split([' ', '\t', '[', '(', ',']).find(|word| !word.is_empty()).unwrap_or_default();
    one_line(word.trim_matches(['<', '>', '.', ';']), ADDRESS_OCTETS_MAX)
}

pub(super) fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// Octets of an address or a host name that are shown.
pub(super) const ADDRESS_OCTETS_MAX: usize = 500;
