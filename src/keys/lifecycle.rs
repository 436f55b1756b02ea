//! When a key of a domain takes its next step, and why it waits: the rule that no signature is made that cannot be verified. Pure.
//!
//! It knows neither DNS nor queues nor files: what they had to say comes in as [`Facts`], and where a fact is missing the answer is
//! to get it ([`Step::Look`], [`Step::Count`]). `rotation` drives it.
//!
//! ```text
//! created --written--> published --every server shows it--> visible --soaked--> active
//!                          ^                                   |                  | the next key of its kind is active
//!                          +------ a server shows it no more --+                  v
//! removed <--withdrawn-- revoked <--p= written-- (nothing queued names it) -- retiring
//! ```
//!
//! | from | to | when |
//! |---|---|---|
//! | created | published | its record was written, or is seen where it is written by hand |
//! | published | visible | every server shows exactly its record; or the operator says so, where that is the evidence |
//! | visible | published | a server shows another record or none: the soak starts anew |
//! | visible | active | every server has shown it for the negative TTL or `soak_min`, whichever is longer (on the operator's word: three hours); active ones of its kind retire |
//! | retiring | revoked | `retire_for` has passed since it stopped signing, and no queued message names it; then `p=` is written (RFC 6376 §3.6.1) |
//! | revoked | removed | `removal_after` has passed; the record is withdrawn, the private key deleted |
//!
//! A server that cannot be heard proves nothing. One that has been silent for longer than `unreachable_max` is passed over as long as
//! all others show the record and they are at least half of all.
//!
//! What nobody looked at is not proven either: between two looks no more than a part of the time that is waited for counts
//! ([`remember`]), so a soak consists of several looks, and so does a day of silence. A clock that jumps ahead, or a process that was
//! down, shortens neither by more than that part.

use super::{Algorithm, State};
use crate::mail::{Selector, Timestamp};
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What the operator wants of the keys of one domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What counts as seen.
    pub evidence: Evidence,
    /// Records are written by a person: nothing here can write them.
    pub by_hand: bool,
    /// The least time that all servers must have shown a record before its key signs.
    pub soak_min: Duration,
    /// How long a server may be silent before the others decide without it.
    pub unreachable_max: Duration,
    /// How long a key that signs no more stays published: the longest of the queue's `max_age`, the signatures' `x=` and a floor.
    pub retire_for: Duration,
    /// How long `p=` stays published.
    pub removal_after: Duration,
    /// How long between two looks at the same record.
    pub check_every: Duration,
    /// How old an active key becomes before the next one is made; `None`: only when somebody asks.
    pub rotate_every: Option<Duration>,
}

/// What counts as proof that a record is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Evidence {
    /// Every authoritative server of the zone, asked directly.
    Authoritative,
    /// The configured resolvers, where port 53 is closed to us or answers are forged on the way.
    Resolver,
    /// The operator's word.
    Manual,
}

/// Where a key stands: of its entry in the ledger, what decides about the next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Its kind.
    pub algorithm: Algorithm,
    /// Its state.
    pub state: State,
    /// Since when.
    pub since: Timestamp,
    /// Whether the private half is there. One of which the making was cut short has none.
    pub has_key: bool,
    /// What is remembered of the servers.
    pub memory: Memory,
}

/// What is remembered of a key's record from one look to the next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Memory {
    /// By the server's name.
    pub servers: BTreeMap<String, Remembered>,
    /// The longest TTL of a wrong record that was seen at the name: so long may it be found in caches.
    pub wrong_ttl: Duration,
}

/// What is remembered of one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Remembered {
    /// Since when it has shown the record; it has not shown anything else since. Later by the time that nobody looked.
    pub shown_since: Option<Timestamp>,
    /// Since when it has not been heard. Later by the time that nobody asked.
    pub silent_since: Option<Timestamp>,
    /// When it was last asked, or a little before.
    pub asked_at: Option<Timestamp>,
}

/// What was found out for one decision; a fact that is not there has not been asked for yet.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// What the DNS shows of a key.
    pub sights: BTreeMap<Selector, Sight>,
    /// How many queued messages name a key.
    pub mentions: BTreeMap<Selector, Mentions>,
    /// When this process last wrote a key's record.
    pub written_at: BTreeMap<Selector, Timestamp>,
}

/// What the DNS shows of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Somebody was asked.
    Seen(Seen),
    /// It could not be found out whom to ask. It proves nothing.
    Unknown(String),
}

/// What was seen at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seen {
    /// By the server's name; of a chain of aliases, the servers of every zone it leads through.
    pub servers: BTreeMap<String, Shows>,
    /// How long others may remember that there was nothing (RFC 2308 §5): the longest of all zones.
    pub negative_ttl: Duration,
}

/// What one server shows at a key's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// Exactly the record of this key.
    Key,
    /// That the name is an alias of this one, whose servers are asked too.
    Alias(String),
    /// A key record with an empty `p=`.
    Revoked,
    /// Something else.
    Other {
        /// What, in words.
        what: String,
        /// How long it may be remembered.
        ttl: Duration,
    },
    /// With authority: no record.
    Nothing,
    /// No proof of anything: time-out, SERVFAIL, an answer without authority …
    NoAnswer(String),
}

/// How many queued messages have a seal by a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mentions {
    /// So many.
    Count(u64),
    /// It cannot be found out now.
    Unknown(String),
}

/// What is to be done for a key now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing, and nothing to wait for.
    Rest,
    /// Ask the DNS, then decide again.
    Look,
    /// Count the queued messages that name it, then decide again.
    Count,
    /// Change the record; once that is done the key is in the state given, if one is.
    Write {
        /// What is to be there.
        record: Wanted,
        /// Where the key stands then.
        then: Option<State>,
    },
    /// Nothing has to be done for the key to stand there.
    Enter {
        /// Where.
        state: State,
        /// Why, for its history.
        why: String,
    },
    /// It signs from now on, and these do no more: one change, written at once.
    Activate {
        /// The active keys of its kind.
        retire: Vec<Selector>,
        /// Why, for its history.
        why: String,
    },
    /// Wait, and decide again at this time, with new facts.
    Wait {
        /// What for.
        why: Waiting,
        /// When.
        again_at: Timestamp,
    },
}

/// What a key's name should show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// The key.
    Key,
    /// `p=` and nothing behind it.
    Revoked,
    /// No record.
    Nothing,
}

/// What a key waits for. Its `Display` is for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// Somebody has to change the record by hand.
    ByHand(Wanted),
    /// The operator has to say that the record was changed by hand.
    Confirmation(Wanted),
    /// Servers that do not show the record yet.
    Servers(Vec<(String, Shows)>),
    /// Servers that showed or never showed it cannot be heard; passed over at the time given.
    Silence {
        /// Which, and since when.
        servers: Vec<(String, Timestamp)>,
        /// When they are passed over; `None`: never, since the others are fewer than half.
        passed_over_at: Option<Timestamp>,
    },
    /// The DNS did not say whom to ask.
    Dns(String),
    /// All show it, and whoever looked before forgets.
    Soak {
        /// Until when.
        until: Timestamp,
        /// Who is passed over because nothing is heard of it.
        without: Vec<String>,
    },
    /// Mail that it signed may be on its way.
    Retirement {
        /// Until when.
        until: Timestamp,
    },
    /// Queued messages name it.
    Queue(u64),
    /// It is not known whether queued messages name it.
    QueueUnknown(String),
    /// Others shall see that it was revoked.
    Removal {
        /// Until when.
        until: Timestamp,
    },
}

/// The clock shows a time before something that has happened. Nothing is decided by such a clock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the clock says {now:?}, but key {selector} has an entry of {noted:?}: it went back by {}; nothing is done until it is right", span(noted.since(*now)))]
pub struct ClockWentBack {
    /// The key with the entry.
    pub selector: Selector,
    /// When the entry was made.
    pub noted: Timestamp,
    /// What the clock says.
    pub now: Timestamp,
}

/// What is due for each key of a domain.
///
/// # Errors
/// A clock that went back.
pub fn due(keys: &BTreeMap<Selector, Standing>, facts: &Facts, settings: &Settings, now: Timestamp) -> Result<BTreeMap<Selector, Step>, ClockWentBack> {
    if let Some(fault) = clock_fault(keys, now) {
        return Err(fault);
    }
    Ok(keys.keys().map(|selector| (selector.clone(), step(selector, keys, facts, settings, now))).collect())
}

/// The kinds of keys of which the next one is to be made now, each with the reason: `rotate_every` has passed, or none signs. Never
/// one of which the next is on its way.
#[must_use]
pub fn lacking(keys: &BTreeMap<Selector, Standing>, wanted: &[Algorithm], settings: &Settings, now: Timestamp) -> Vec<(Algorithm, String)> {
    let Some(every) = settings.rotate_every.filter(|_| clock_fault(keys, now).is_none()) else { return Vec::new() };
    let reason = |algorithm: Algorithm| {
        if on_its_way(keys, algorithm).is_some() {
            return None;
        }
        let active = keys.iter().filter(|(_, key)| key.algorithm == algorithm && key.state == State::Active);
        match active.max_by_key(|(_, key)| key.since) {
            None => Some("no key of its kind signs".to_owned()),
            Some((selector, key)) if now >= key.since + every => Some(format!("{selector} has signed for {}", span(now.since(key.since)))),
            Some(_) => None,
        }
    };
    wanted.iter().filter_map(|algorithm| Some((*algorithm, reason(*algorithm)?))).collect()
}

/// When the next key of some kind will be made by [`lacking`]; `None` when that waits for nothing but somebody's wish.
#[must_use]
pub fn next_rotation(keys: &BTreeMap<Selector, Standing>, wanted: &[Algorithm], settings: &Settings) -> Option<Timestamp> {
    let every = settings.rotate_every?;
    let newest = |algorithm: &Algorithm| {
        let active = keys.values().filter(|key| key.algorithm == *algorithm && key.state == State::Active);
        active.map(|key| key.since + every).max()
    };
    wanted.iter().filter(|algorithm| on_its_way(keys, **algorithm).is_none()).filter_map(newest).min()
}

/// The key of this kind that is to become active next, if there is one.
#[must_use]
pub fn on_its_way(keys: &BTreeMap<Selector, Standing>, algorithm: Algorithm) -> Option<&Selector> {
    let comes = |key: &Standing| key.algorithm == algorithm && key.has_key && matches!(key.state, State::Created | State::Published | State::Visible);
    keys.iter().find(|(_, key)| comes(key)).map(|(selector, _)| selector)
}

/// Where the operator's word brings a key whose evidence is that word: `None` when nothing is to be confirmed now.
#[must_use]
pub fn confirmed(key: &Standing, mentions: Option<&Mentions>, settings: &Settings, now: Timestamp) -> Option<State> {
    match key.state {
        State::Created | State::Published if key.has_key => Some(State::Visible),
        State::Retiring => (settings.by_hand && now >= key.since + settings.retire_for && mentions == Some(&Mentions::Count(0))).then_some(State::Revoked),
        State::Revoked => (settings.by_hand && now >= key.since + settings.removal_after).then_some(State::Removed),
        _ => None,
    }
}

/// What is remembered after a look. Time that went by without one counts up to a bound: a quarter of the soak towards it, an eighth of
/// `unreachable_max` towards that; but never less than two looks are apart.
#[must_use]
pub fn remember(memory: &Memory, seen: &Seen, settings: &Settings, now: Timestamp) -> Memory {
    let least = settings.check_every * 2;
    let soak_gap = (soak_of(seen.negative_ttl, memory, settings) / SOAK_LOOKS_MIN).max(least);
    let silence_gap = (settings.unreachable_max / SILENT_LOOKS_MIN).max(least);
    let known = |server: &String| memory.servers.get(server).copied().unwrap_or_default();
    let servers = seen.servers.iter().map(|(server, shows)| {
        let before = known(server);
        // In files of old: the first look is the only one that is known of.
        let asked_at = before.asked_at.or(before.silent_since).or(before.shown_since).unwrap_or(now);
        let unseen = |gap: Duration| now.since(asked_at).saturating_sub(gap);
        let shown_since = before.shown_since.map(|since| (since + unseen(soak_gap)).min(now));
        let silent_since = before.silent_since.map(|since| (since + unseen(silence_gap)).min(now));
        // Not each look is worth a write to the disk.
        let is_fresh = before.asked_at.is_some() && now.since(asked_at) * 2 < soak_gap.min(silence_gap);
        let asked_at = Some(if is_fresh { asked_at } else { now });
        let after = match shows {
            Shows::Key | Shows::Alias(_) => Remembered { shown_since: shown_since.or(Some(now)), silent_since: None, asked_at },
            Shows::NoAnswer(_) => Remembered { shown_since, silent_since: silent_since.or(Some(now)), asked_at },
            Shows::Revoked | Shows::Other { .. } | Shows::Nothing => Remembered::default(),
        };
        (server.clone(), after)
    });
    let wrong = seen.servers.values().filter_map(|shows| if let Shows::Other { ttl, .. } = shows { Some(*ttl) } else { None });
    Memory { servers: servers.collect(), wrong_ttl: wrong.chain([memory.wrong_ttl]).max().unwrap_or_default() }
}

/// How long everybody must have shown a record before its key signs.
fn soak_of(negative_ttl: Duration, memory: &Memory, settings: &Settings) -> Duration {
    settings.soak_min.max(negative_ttl).max(memory.wrong_ttl)
}

fn step(selector: &Selector, keys: &BTreeMap<Selector, Standing>, facts: &Facts, settings: &Settings, now: Timestamp) -> Step {
    let key = &keys[selector];
    match key.state {
        State::Created | State::Published | State::Visible if !key.has_key => {
            Step::Enter { state: State::Removed, why: "there is no private key: its making was cut short".to_owned() }
        }
        State::Created if !settings.by_hand => Step::Write { record: Wanted::Key, then: Some(State::Published) },
        State::Created | State::Published => appear(key, selector, facts, settings, now),
        State::Visible => soak(key, selector, keys, facts, settings, now),
        State::Active | State::Removed => Step::Rest,
        State::Retiring => retire(key, selector, facts, settings, now),
        State::Revoked => withdraw(key, selector, facts, settings, now),
    }
}

/// Created by hand, or published: its record has to be seen.
fn appear(key: &Standing, selector: &Selector, facts: &Facts, settings: &Settings, now: Timestamp) -> Step {
    let again_at = now + settings.check_every;
    if settings.evidence == Evidence::Manual {
        return Step::Wait { why: Waiting::Confirmation(Wanted::Key), again_at };
    }
    let seen = match facts.sights.get(selector) {
        None => return Step::Look,
        Some(Sight::Unknown(why)) => return Step::Wait { why: Waiting::Dns(why.clone()), again_at },
        Some(Sight::Seen(seen)) => seen,
    };
    let showing = names(seen, |shows| *shows == Shows::Key);
    if key.state == State::Created {
        return match showing.first() {
            Some(server) => Step::Enter { state: State::Published, why: format!("written by hand, seen at {server}") },
            None => Step::Wait { why: Waiting::ByHand(Wanted::Key), again_at },
        };
    }
    match judge(seen, &key.memory, |shows| *shows == Shows::Key, settings, now) {
        Agreement::All { without, .. } => Step::Enter { state: State::Visible, why: seen_by(settings.evidence, &showing, &without, now) },
        Agreement::Silent { servers, passed_over_at } => Step::Wait { why: Waiting::Silence { servers, passed_over_at }, again_at },
        Agreement::Against(_) if showing.is_empty() && is_lost(key, selector, seen, facts, settings, now) => Step::Write { record: Wanted::Key, then: None },
        Agreement::Against(lacking) => Step::Wait { why: Waiting::Servers(lacking), again_at },
    }
}

/// A record that was written long ago, and that no server knows: a zone was loaded anew from an old file, say.
fn is_lost(key: &Standing, selector: &Selector, seen: &Seen, facts: &Facts, settings: &Settings, now: Timestamp) -> bool {
    let written_at = facts.written_at.get(selector).copied().unwrap_or(key.since).max(key.since);
    !settings.by_hand && now >= written_at + WRITE_AGAIN_AFTER && seen.servers.values().any(|shows| *shows == Shows::Nothing)
}

/// Visible: it has to stay so for long enough.
fn soak(key: &Standing, selector: &Selector, keys: &BTreeMap<Selector, Standing>, facts: &Facts, settings: &Settings, now: Timestamp) -> Step {
    let activate = |why: String| {
        let old = keys.iter().filter(|(_, other)| other.state == State::Active && other.algorithm == key.algorithm);
        Step::Activate { retire: old.map(|(selector, _)| selector.clone()).collect(), why }
    };
    if settings.evidence == Evidence::Manual {
        let until = key.since + soak_of(NEGATIVE_TTL_UNKNOWN, &key.memory, settings);
        return if now >= until {
            activate(format!("confirmed by the operator {} ago", span(now.since(key.since))))
        } else {
            Step::Wait { why: Waiting::Soak { until, without: Vec::new() }, again_at: until }
        };
    }
    let again_at = now + settings.check_every;
    let seen = match facts.sights.get(selector) {
        None => return Step::Look,
        Some(Sight::Unknown(why)) => return Step::Wait { why: Waiting::Dns(why.clone()), again_at },
        Some(Sight::Seen(seen)) => seen,
    };
    match judge(seen, &key.memory, |shows| *shows == Shows::Key, settings, now) {
        Agreement::Against(servers) => Step::Enter { state: State::Published, why: format!("{}: the soak starts anew", Waiting::Servers(servers)) },
        Agreement::Silent { servers, passed_over_at } => Step::Wait { why: Waiting::Silence { servers, passed_over_at }, again_at },
        Agreement::All { since, without } => {
            let until = since + soak_of(seen.negative_ttl, &key.memory, settings);
            if now < until {
                let without = without.into_iter().map(|(server, _)| server).collect();
                return Step::Wait { why: Waiting::Soak { until, without }, again_at: again_at.min(until) };
            }
            let by = seen_by(settings.evidence, &names(seen, |shows| *shows == Shows::Key), &without, now);
            activate(format!("shown for {} {by}", span(now.since(since))))
        }
    }
}

/// Retiring: nothing that it signed may be left anywhere.
fn retire(key: &Standing, selector: &Selector, facts: &Facts, settings: &Settings, now: Timestamp) -> Step {
    let until = key.since + settings.retire_for;
    if now < until {
        return Step::Wait { why: Waiting::Retirement { until }, again_at: until };
    }
    let again_at = now + settings.check_every;
    match facts.mentions.get(selector) {
        None => Step::Count,
        Some(Mentions::Unknown(why)) => Step::Wait { why: Waiting::QueueUnknown(why.clone()), again_at },
        Some(Mentions::Count(0)) => change(key, selector, Wanted::Revoked, State::Revoked, facts, settings, now),
        Some(Mentions::Count(messages)) => Step::Wait { why: Waiting::Queue(*messages), again_at },
    }
}

/// Revoked: the world has to be told for long enough, then the record goes.
fn withdraw(key: &Standing, selector: &Selector, facts: &Facts, settings: &Settings, now: Timestamp) -> Step {
    let until = key.since + settings.removal_after;
    if now >= until {
        return change(key, selector, Wanted::Nothing, State::Removed, facts, settings, now);
    }
    let wait = Step::Wait { why: Waiting::Removal { until }, again_at: until.min(now + LOOK_AT_REVOKED_EVERY) };
    if settings.evidence == Evidence::Manual {
        return wait;
    }
    // One that was revoked in haste may still be published: the haste is to stop signing.
    let written_at = facts.written_at.get(selector).copied();
    match facts.sights.get(selector) {
        None => Step::Look,
        Some(Sight::Seen(seen)) if seen.servers.values().any(|shows| *shows == Shows::Key) => match written_at {
            _ if settings.by_hand => Step::Wait { why: Waiting::ByHand(Wanted::Revoked), again_at: now + settings.check_every },
            Some(at) if now < at + WRITE_AGAIN_AFTER => wait,
            _ => Step::Write { record: Wanted::Revoked, then: None },
        },
        Some(_) => wait,
    }
}

/// The record is to become less than the key: written, or awaited from somebody's hand.
fn change(key: &Standing, selector: &Selector, record: Wanted, then: State, facts: &Facts, settings: &Settings, now: Timestamp) -> Step {
    let again_at = now + settings.check_every;
    if !settings.by_hand {
        return Step::Write { record, then: Some(then) };
    }
    if settings.evidence == Evidence::Manual {
        return Step::Wait { why: Waiting::Confirmation(record), again_at };
    }
    let seen = match facts.sights.get(selector) {
        None => return Step::Look,
        Some(Sight::Unknown(why)) => return Step::Wait { why: Waiting::Dns(why.clone()), again_at },
        Some(Sight::Seen(seen)) => seen,
    };
    let is_done = |shows: &Shows| match record {
        Wanted::Nothing => *shows == Shows::Nothing,
        _ => matches!(shows, Shows::Revoked | Shows::Nothing),
    };
    match judge(seen, &key.memory, is_done, settings, now) {
        Agreement::All { without, .. } => {
            Step::Enter { state: then, why: format!("written by hand, {}", seen_by(settings.evidence, &names(seen, is_done), &without, now)) }
        }
        _ => Step::Wait { why: Waiting::ByHand(record), again_at },
    }
}

/// What the servers together say.
enum Agreement {
    /// Those that count have shown it since then; these were passed over.
    All { since: Timestamp, without: Vec<(String, Timestamp)> },
    /// Nobody contradicts, but some are not heard, and not for long enough.
    Silent { servers: Vec<(String, Timestamp)>, passed_over_at: Option<Timestamp> },
    /// These say something else with authority.
    Against(Vec<(String, Shows)>),
}

fn judge(seen: &Seen, memory: &Memory, is_good: impl Fn(&Shows) -> bool, settings: &Settings, now: Timestamp) -> Agreement {
    let is_good = |shows: &Shows| is_good(shows) || matches!(shows, Shows::Alias(_));
    let remembered = |server: &String| memory.servers.get(server).copied().unwrap_or_default();
    let against = seen.servers.iter().filter(|(_, shows)| !is_good(shows) && !matches!(shows, Shows::NoAnswer(_)));
    let against: Vec<_> = against.map(|(server, shows)| (server.clone(), shows.clone())).collect();
    if !against.is_empty() {
        return Agreement::Against(against);
    }
    let silent = seen.servers.iter().filter(|(_, shows)| matches!(shows, Shows::NoAnswer(_)));
    let silent: Vec<_> = silent.map(|(server, _)| (server.clone(), remembered(server).silent_since.unwrap_or(now))).collect();
    let showing: Vec<_> = seen.servers.iter().filter(|(_, shows)| is_good(shows)).map(|(server, _)| server).collect();
    let since = showing.iter().map(|server| remembered(server).shown_since.unwrap_or(now)).max();
    let passed_over_at = silent.iter().map(|(_, since)| *since + settings.unreachable_max).max();
    match since {
        Some(since) if showing.len() >= silent.len() && passed_over_at.is_none_or(|at| now > at) => Agreement::All { since, without: silent },
        Some(_) if showing.len() >= silent.len() => Agreement::Silent { servers: silent, passed_over_at },
        _ => Agreement::Silent { servers: silent, passed_over_at: None },
    }
}

fn names(seen: &Seen, is_good: impl Fn(&Shows) -> bool) -> Vec<&str> {
    seen.servers.iter().filter(|(_, shows)| is_good(shows)).map(|(server, _)| server.as_str()).collect()
}

/// For a history: who showed it, and how much that was worth to the operator.
fn seen_by(evidence: Evidence, showing: &[&str], without: &[(String, Timestamp)], now: Timestamp) -> String {
    let who = match evidence {
        Evidence::Resolver => "by resolver",
        Evidence::Authoritative => "by authoritative",
        Evidence::Manual => "by the operator, before",
    };
    let silent: Vec<_> = without.iter().map(|(server, since)| format!("{server} (silent for {})", span(now.since(*since)))).collect();
    let but = if silent.is_empty() { String::new() } else { format!(", without {}", silent.join(", ")) };
    format!("{who} {}{but}", showing.join(", "))
}

fn clock_fault(keys: &BTreeMap<Selector, Standing>, now: Timestamp) -> Option<ClockWentBack> {
    let noted = |key: &Standing| {
        let servers = key.memory.servers.values().flat_map(|server| [server.shown_since, server.silent_since, server.asked_at]).flatten();
        servers.chain([key.since]).max().unwrap_or(key.since)
    };
    let latest = keys.iter().map(|(selector, key)| (selector, noted(key))).max_by_key(|(_, noted)| *noted)?;
    (latest.1 > now + CLOCK_SLACK).then(|| ClockWentBack { selector: latest.0.clone(), noted: latest.1, now })
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authoritative => "authoritative",
            Self::Resolver => "resolver",
            Self::Manual => "manual",
        })
    }
}

impl fmt::Display for Shows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key => f.write_str("shows it"),
            Self::Alias(target) => write!(f, "shows an alias of {target}"),
            Self::Revoked => f.write_str("shows an empty p="),
            Self::Other { what, .. } => write!(f, "shows {what}"),
            Self::Nothing => f.write_str("shows nothing"),
            Self::NoAnswer(why) => write!(f, "is not heard ({why})"),
        }
    }
}

impl fmt::Display for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by_hand = |record: &Wanted| match record {
            Wanted::Key => "publish its record",
            Wanted::Revoked => "replace its record by one with an empty p=",
            Wanted::Nothing => "remove its record",
        };
        match self {
            Self::ByHand(record) => write!(f, "for you to {}", by_hand(record)),
            Self::Confirmation(record) => write!(f, "for you to {} and to say so with `postseal key advance --confirm`", by_hand(record)),
            Self::Servers(servers) => {
                let each: Vec<_> = servers.iter().map(|(server, shows)| format!("{server} {shows}")).collect();
                f.write_str(&each.join(", "))
            }
            Self::Silence { servers, passed_over_at } => {
                let each: Vec<_> = servers.iter().map(|(server, since)| format!("{server} is silent since {}", since.to_rfc3339())).collect();
                f.write_str(if each.is_empty() { "no server to ask" } else { "" })?;
                f.write_str(&each.join(", "))?;
                match passed_over_at {
                    Some(at) => write!(f, "; the others decide from {} on", at.to_rfc3339()),
                    None => f.write_str("; too few others show the record to go on without"),
                }
            }
            Self::Dns(why) => f.write_str(why),
            Self::Soak { until, without } if without.is_empty() => write!(f, "it is shown everywhere; caches forget by {}", until.to_rfc3339()),
            Self::Soak { until, without } => write!(f, "it is shown everywhere but at {}; caches forget by {}", without.join(", "), until.to_rfc3339()),
            Self::Retirement { until } => write!(f, "mail it signed may be on its way until {}", until.to_rfc3339()),
            Self::Queue(messages) => write!(f, "{messages} queued message(s) are signed by it"),
            Self::QueueUnknown(why) => write!(f, "it is not known whether queued messages are signed by it: {why}"),
            Self::Removal { until } => write!(f, "its record says p= until {}", until.to_rfc3339()),
        }
    }
}

/// A span in the largest unit that leaves two digits or more, or that it fills: `90m`, `36h`, `14d`.
#[must_use]
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Looks that a soak has at least, the first not counted.
const SOAK_LOOKS_MIN: u32 = 4;

/// Looks that find a server silent before it is passed over, the first not counted.
const SILENT_LOOKS_MIN: u32 = 8;

/// How long resolvers remember absence where the zone was not asked: BIND's `max-ncache-ttl`, and the most that RFC 2308 §5 found to
/// work well.
const NEGATIVE_TTL_UNKNOWN: Duration = Duration::from_hours(3);

/// So much do the clocks of two readings differ without meaning anything.
const CLOCK_SLACK: Duration = Duration::from_mins(1);

/// A record that was written and is nowhere to be seen is written again after this.
const WRITE_AGAIN_AFTER: Duration = Duration::from_hours(1);

/// A revoked key is nobody's haste any more.
const LOOK_AT_REVOKED_EVERY: Duration = Duration::from_hours(1);
