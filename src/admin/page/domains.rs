//! Domains, keys and what doctor says, as they are shown. Pure.

use super::view::{Examination, FindingView, Grade, KeyView};
use super::words::span;
use crate::admin::api::domains::KeyStanding;
use crate::doctor::{Finding, Part, Provider, Report, Status};
use crate::keys::State;
use crate::mail::Timestamp;
use std::time::Duration;

/// What doctor found of a domain, or of the relay.
#[must_use]
pub fn examination(part: &Part, at: Timestamp) -> Examination {
    let report = Report { bulk: true, parts: vec![part.clone()] };
    let provider = |provider: Provider| {
        let tally = report.tally(provider);
        let text = match (tally.fail, tally.unknown) {
            (0, 0) => "ready".to_owned(),
            (0, unknown) => format!("{unknown} unknown"),
            (fail, _) => format!("{fail} to mend"),
        };
        (provider.name().to_owned(), grade(tally.status()), text)
    };
    let mut unwell: Vec<&Finding> = part.findings.iter().filter(|finding| finding.status != Status::Ok).collect();
    unwell.sort_by_key(|finding| std::cmp::Reverse(finding.status));
    Examination {
        at,
        providers: Provider::ALL.into_iter().map(provider).collect(),
        met: part.findings.len() - unwell.len(),
        findings: unwell.into_iter().map(finding).collect(),
    }
}

fn finding(finding: &Finding) -> FindingView {
    let records = finding.remedy.iter().flat_map(|remedy| &remedy.records);
    FindingView {
        rule: finding.rule.id.to_owned(),
        grade: grade(finding.status),
        about: finding.about.clone(),
        seen: finding.seen.clone(),
        why: finding.rule.why.to_owned(),
        remedy: finding.remedy.as_ref().map(|remedy| remedy.text.clone()).unwrap_or_default(),
        records: records.map(|record| format!("{}. IN {} {}", record.owner, record.data.kind(), record.data.zone_text())).collect(),
    }
}

const fn grade(status: Status) -> Grade {
    match status {
        Status::Ok => Grade::Good,
        Status::Warn => Grade::Warning,
        Status::Unknown => Grade::Open,
        Status::Fail => Grade::Bad,
    }
}

/// Those that are not removed, those in use first; `wait` says what a key waits for.
#[must_use]
pub fn keys(standing: &[KeyStanding], rotate_every: Option<Duration>, wait: &dyn Fn(&KeyStanding) -> Option<String>, now: Timestamp) -> Vec<KeyView> {
    let mut keys: Vec<&KeyStanding> = standing.iter().filter(|key| key.state != State::Removed).collect();
    keys.sort_by(|a, b| place(a.state).cmp(&place(b.state)).then(b.born_at.cmp(&a.born_at)));
    keys.into_iter().map(|key| view(key, rotate_every, wait(key), now)).collect()
}

/// When a key last began to sign in the place of another; `None` while the first ones do.
#[must_use]
pub fn rotated_at(standing: &[KeyStanding]) -> Option<Timestamp> {
    let newest = standing.iter().filter(|key| key.state == State::Active).max_by_key(|key| key.active_at)?;
    let has_forerunner = standing.iter().any(|key| key.algorithm == newest.algorithm && matches!(key.state, State::Retiring | State::Revoked | State::Removed));
    newest.active_at.filter(|_| has_forerunner)
}

fn view(key: &KeyStanding, rotate_every: Option<Duration>, wait: Option<String>, now: Timestamp) -> KeyView {
    let next = match (key.state, wait, rotate_every) {
        (_, Some(wait), _) => wait,
        (State::Active, None, Some(every)) => {
            let due = key.active_at.unwrap_or(key.since) + every;
            if due <= now { "the next one is made".to_owned() } else { format!("rotates in {}", span(due.since(now))) }
        }
        (State::Active, None, None) => "signs until you rotate".to_owned(),
        (State::Retiring, None, _) => "revoked when nothing it signed can be under way any more".to_owned(),
        (State::Revoked, None, _) => "removed after a while".to_owned(),
        (State::Created | State::Published | State::Visible, None, _) => "on its way".to_owned(),
        (State::Removed, None, _) => String::new(),
    };
    let dns = key.watch.as_ref().and_then(|watch| match (&watch.loss, watch.seen) {
        (Some(loss), _) => Some((false, loss.clone())),
        (None, true) => Some((true, "as it should be".to_owned())),
        (None, false) => None,
    });
    KeyView {
        selector: key.selector.to_string(),
        algorithm: key.algorithm.to_string(),
        state: key.state.to_string(),
        since: key.since,
        born: key.born_at,
        dns,
        next,
    }
}

const fn place(state: State) -> u8 {
    match state {
        State::Active => 0,
        State::Visible => 1,
        State::Published => 2,
        State::Created => 3,
        State::Retiring => 4,
        State::Revoked => 5,
        State::Removed => 6,
    }
}
