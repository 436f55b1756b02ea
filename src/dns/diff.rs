//! What servers show, held against what is wanted: pure.

use super::records::{Standing, Wanted, same_purpose};
use super::resource::Data;
use super::sighting::{Answer, Observation, Shown};
use serde_json::{Value, json};
use std::fmt;

/// What one server says of one name and type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Who.
    pub server: String,
    /// The records, none where there are none; or why that is not known.
    pub seen: Result<Vec<Data>, String>,
}

/// One wanted record, held against what the servers show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding<'w> {
    /// What is wanted.
    pub wanted: &'w Wanted,
    /// What it comes to.
    pub state: State,
    /// What stands there instead or beside it.
    pub found: Vec<Data>,
    /// What single servers say that is not what all say, and who could not be asked.
    pub notes: Vec<String>,
}

/// What a comparison comes to. The later is the worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It is there, alone.
    Right,
    /// It is there, and beside it one that must not be: a second SPF or DMARC record makes both void.
    Extra,
    /// It is not there.
    Missing,
    /// Another one stands in its place.
    Different,
    /// Nobody could say.
    Unknown,
}

/// What each server shows at the end of the aliases.
#[must_use]
pub fn views(observation: &Observation) -> Vec<View> {
    let showings = observation.shown(|_| Ok(())).into_iter();
    showings
        .map(|showing| {
            let seen = match (&showing.sighting.answer, showing.shown) {
                (Answer::Records { data, .. }, _) => Ok(data.clone()),
                (_, Shown::Unclear(why) | Shown::Other(why)) => Err(why),
                (_, Shown::Expected | Shown::Absent) => Ok(Vec::new()),
            };
            View { server: showing.sighting.server.to_string(), seen }
        })
        .collect()
}

/// All wanted records of one name and type against what servers show there.
#[must_use]
pub fn compare<'w>(wanted: &[&'w Wanted], views: &[View]) -> Vec<Finding<'w>> {
    wanted.iter().map(|one| finding(one, wanted, views)).collect()
}

fn finding<'w>(one: &'w Wanted, all: &[&Wanted], views: &[View]) -> Finding<'w> {
    let judged: Vec<(&View, State, Vec<Data>)> = views
        .iter()
        .filter_map(|view| {
            let (state, found) = judge(one, all, view.seen.as_ref().ok()?);
            Some((view, state, found))
        })
        .collect();
    let unclear = views.iter().filter_map(|view| Some(format!("{}: {}", view.server, view.seen.as_ref().err()?)));
    let Some((_, state, found)) = judged.iter().max_by_key(|(_, state, _)| *state) else {
        return Finding { wanted: one, state: State::Unknown, found: Vec::new(), notes: unclear.collect() };
    };
    let differing = judged.iter().any(|(_, other, others)| (other, others) != (state, found));
    let each = judged.iter().filter(|_| differing).map(|(view, state, _)| format!("{}: {state}", view.server));
    Finding { wanted: one, state: *state, found: found.clone(), notes: each.chain(unclear).collect() }
}

/// By one server: the state, and what stands there instead or beside it.
fn judge(one: &Wanted, all: &[&Wanted], seen: &[Data]) -> (State, Vec<Data>) {
    let is_there = seen.iter().any(|data| one.is_met_by(data));
    let competes = |data: &&Data| {
        let wanted_too = all.iter().any(|wanted| wanted.is_met_by(data));
        !wanted_too && (one.standing == Standing::Ours || same_purpose(&one.resource.data, data))
    };
    let mut competitors: Vec<Data> = seen.iter().filter(competes).cloned().collect();
    competitors.sort();
    let state = match (is_there, competitors.is_empty()) {
        (true, true) => State::Right,
        (true, false) => State::Extra,
        (false, true) => State::Missing,
        (false, false) => State::Different,
    };
    (state, competitors)
}

/// Exit code: 0 all is right, 1 something is not, 3 nothing is wrong, but something could not be asked.
#[must_use]
pub fn exit_code(findings: &[Finding<'_>]) -> u8 {
    let worst_known = findings.iter().map(|finding| finding.state).filter(|state| *state != State::Unknown).max();
    match worst_known {
        Some(State::Extra | State::Missing | State::Different) => 1,
        _ if findings.iter().any(|finding| finding.state == State::Unknown) => 3,
        _ => 0,
    }
}

/// For programs: of each record what `dns records --format json` says, and
///
/// | key | value |
/// |---|---|
/// | `state` | `right`, `missing`, `different`, `extra` or `unknown` |
/// | `found` | zone text of what stands there instead (`different`) or beside it (`extra`) |
/// | `notes` | sentences: servers that say otherwise, servers that could not be asked |
#[must_use]
pub fn json(domain: &crate::mail::Domain, findings: &[Finding<'_>]) -> Value {
    let record = |finding: &Finding<'_>| {
        let mut record = super::formats::json(domain, std::slice::from_ref(finding.wanted))["records"][0].take();
        record["state"] = json!(finding.state.to_string());
        record["found"] = json!(finding.found.iter().map(Data::zone_text).collect::<Vec<_>>());
        record["notes"] = json!(finding.notes);
        record
    };
    json!({ "domain": domain.to_string(), "records": findings.iter().map(record).collect::<Vec<_>>() })
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Right => "right",
            Self::Extra => "extra",
            Self::Missing => "missing",
            Self::Different => "different",
            Self::Unknown => "unknown",
        })
    }
}
