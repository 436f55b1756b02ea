//! The pure half: a story told in lines, each a moment of one key, and what is due then.

use postseal::keys::lifecycle::*;
use postseal::keys::{Algorithm, State};
use postseal::mail::{Selector, Timestamp};
use std::collections::BTreeMap;
use std::time::Duration;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

#[test]
fn a_written_key_is_published_and_a_pasted_one_awaited() {
    let key = key(State::Created, 0);
    assert_eq!(due_of(&key, &Facts::default(), &settings(), 0), "write Key then published");
    let by_hand = Settings { by_hand: true, ..settings() };
    assert_eq!(due_of(&key, &Facts::default(), &by_hand, 0), "look");
    assert_eq!(due_of(&key, &shows("ns1=nothing ns2=nothing"), &by_hand, 0), "wait until 0:01 for you to publish its record");
    assert_eq!(due_of(&key, &shows("ns1=nothing ns2=key"), &by_hand, 0), "enter published: written by hand, seen at ns2");
    let manual = Settings { evidence: Evidence::Manual, ..by_hand };
    assert_eq!(
        due_of(&key, &Facts::default(), &manual, 0),
        "wait until 0:01 for you to publish its record and to say so with `postseal key advance --confirm`"
    );
    assert_eq!(
        due_of(&Standing { has_key: false, ..key }, &Facts::default(), &settings(), 0),
        "enter removed: there is no private key: its making was cut short"
    );
}

#[test]
fn a_key_is_visible_when_every_server_shows_exactly_its_record() {
    let key = key(State::Published, 0);
    for (seen, expected) in [
        ("", "wait until 0:01 no server to ask; too few others show the record to go on without"),
        ("ns1=key ns2=key", "enter visible: by authoritative ns1, ns2"),
        ("ns1=key ns2=nothing", "wait until 0:01 ns2 shows nothing"),
        ("ns1=key ns2=other", "wait until 0:01 ns2 shows the record of another key"),
        ("ns1=key ns2=revoked", "wait until 0:01 ns2 shows an empty p="),
        ("ns1=nothing ns2=nothing", "wait until 0:01 ns1 shows nothing, ns2 shows nothing"),
        ("ns1=alias ns2=alias ns3=key", "enter visible: by authoritative ns3"),
        ("ns1=alias ns2=nothing ns3=key", "wait until 0:01 ns2 shows nothing"),
        ("ns1=key ns2=silent", "wait until 0:01 ns2 is silent since 2026-01-01T00:00:00.000Z; the others decide from 2026-01-02T00:00:00.000Z on"),
        (
            "ns1=silent ns2=silent",
            "wait until 0:01 ns1 is silent since 2026-01-01T00:00:00.000Z, ns2 is silent since 2026-01-01T00:00:00.000Z; too few others show the record to go on without",
        ),
    ] {
        assert_eq!(due_of(&key, &shows(seen), &settings(), 0), expected, "{seen}");
    }
    let unknown = Facts { sights: BTreeMap::from([(selector(), Sight::Unknown("SERVFAIL".to_owned()))]), ..Facts::default() };
    assert_eq!(due_of(&key, &unknown, &settings(), 0), "wait until 0:01 SERVFAIL");
    let by_resolver = Settings { evidence: Evidence::Resolver, ..settings() };
    assert_eq!(due_of(&key, &shows("192.0.2.53=key"), &by_resolver, 0), "enter visible: by resolver 192.0.2.53");
}

/// From its publication to its signing, looked at as a story: minutes, what the servers show, and what follows.
#[test]
fn the_soak_begins_when_the_last_server_shows_it_and_anew_when_one_loses_it() {
    story(
        State::Published,
        &settings(),
        Duration::ZERO,
        &[
            (0, "ns1=key ns2=nothing", "wait"),
            (30, "ns1=key ns2=key", "visible"),
            (31, "ns1=key ns2=key", "wait"),
            (89, "ns1=key ns2=key", "wait"),
            // A minute before the end one forgets: back to the beginning.
            (89, "ns1=nothing ns2=key", "published"),
            (95, "ns1=key ns2=key", "visible"),
            (150, "ns1=key ns2=key", "wait"),
            (155, "ns1=key ns2=key", "active"),
        ],
    );
}

#[test]
fn the_soak_is_the_longer_of_its_least_and_the_negative_ttl() {
    story(State::Published, &settings(), 3 * HOUR, &[(0, "ns1=key", "visible"), (60, "ns1=key", "wait"), (179, "ns1=key", "wait"), (180, "ns1=key", "active")]);
    story(State::Published, &settings(), HOUR / 2, &[(0, "ns1=key", "visible"), (30, "ns1=key", "wait"), (59, "ns1=key", "wait"), (60, "ns1=key", "active")]);
}

/// What caches may hold is not only that there was nothing.
#[test]
fn the_soak_outlasts_the_ttl_of_a_wrong_record() {
    story(
        State::Published,
        &settings(),
        Duration::ZERO,
        &[(0, "ns1=other", "wait"), (10, "ns1=key", "visible"), (70, "ns1=key", "wait"), (129, "ns1=key", "wait"), (130, "ns1=key", "active")],
    );
}

#[test]
fn silence_proves_nothing_and_is_waited_out() {
    // During the soak: it neither ends it nor starts it anew.
    story(
        State::Published,
        &settings(),
        Duration::ZERO,
        &[(0, "ns1=key ns2=key", "visible"), (50, "ns1=key ns2=silent", "wait"), (60, "ns1=key ns2=silent", "wait"), (70, "ns1=key ns2=key", "active")],
    );
    // From the beginning: after a day without a word the other decides, and its soak is over by then.
    let day = 24 * 60;
    story(
        State::Published,
        &settings(),
        Duration::ZERO,
        &[
            (0, "ns1=key ns2=silent", "wait"),
            (day, "ns1=key ns2=silent", "wait"),
            (day + 1, "ns1=key ns2=silent", "visible"),
            (day + 1, "ns1=key ns2=silent", "active"),
        ],
    );
    // It counts from when it fell silent, not from when somebody first cared.
    story(
        State::Published,
        &settings(),
        Duration::ZERO,
        &[
            (0, "ns1=key ns2=key ns3=nothing", "wait"),
            (600, "ns1=key ns2=key ns3=silent", "wait"),
            (day + 1, "ns1=key ns2=key ns3=silent", "wait"),
            (day + 601, "ns1=key ns2=key ns3=silent", "visible"),
        ],
    );
    // One that speaks again and shows nothing is no longer passed over.
    story(
        State::Published,
        &settings(),
        Duration::ZERO,
        &[
            (0, "ns1=key ns2=silent", "wait"),
            (day + 1, "ns1=key ns2=silent", "visible"),
            (day + 1, "ns1=key ns2=nothing", "published"),
            (day + 2, "ns1=key ns2=silent", "wait"),
        ],
    );
    // Fewer than half cannot decide for the rest, ever.
    story(State::Published, &settings(), Duration::ZERO, &[(0, "ns1=key ns2=silent ns3=silent", "wait"), (9 * day, "ns1=key ns2=silent ns3=silent", "wait")]);
    // And nobody at all proves nothing at all.
    story(State::Published, &settings(), Duration::ZERO, &[(0, "ns1=silent", "wait"), (9 * day, "ns1=silent", "wait")]);
}

/// The clock jumps, or nobody was there to look: the same to the next look.
#[test]
fn what_nobody_looked_at_counts_for_little() {
    let settings = settings();
    let told_at = |looks: &[(i64, &str)]| {
        let mut key = key(State::Visible, 0);
        let mut last = String::new();
        for (minute, seen) in looks {
            let facts = shows(seen);
            let Some(Sight::Seen(sight)) = facts.sights.get(&selector()) else { panic!("{seen}") };
            key.memory = remember(&key.memory, sight, &settings, at(*minute));
            last = told(&due(&BTreeMap::from([(selector(), key.clone())]), &facts, &settings, at(*minute)).unwrap()[&selector()]);
        }
        last
    };
    let shown = "ns1=key ns2=key";
    let jumped = told_at(&[(0, shown), (24 * 60 * 30, shown)]);
    assert!(jumped.starts_with("wait until 720:01 it is shown everywhere"), "two looks a month apart are no soak of an hour: {jumped}");
    assert!(told_at(&[(0, shown), (1, shown), (2, shown), (3, shown), (4, shown), (64, shown)]).starts_with("wait"), "nor are six, of which five were at once");
    assert!(told_at(&[(0, shown), (15, shown), (30, shown), (45, shown), (60, shown)]).starts_with("activate"), "five are, when they are spread over it");
    assert!(told_at(&[(0, shown), (15, shown), (300, shown), (315, shown), (330, shown)]).starts_with("activate"), "a pause lengthens it by itself");
    assert!(told_at(&[(0, shown), (15, shown), (300, shown), (315, shown), (329, shown)]).starts_with("wait"));

    let silent = "ns1=key ns2=silent";
    let (hour, day) = (60, 24 * 60);
    assert!(told_at(&[(0, silent), (day + 1, silent)]).starts_with("wait"), "two silent looks a day apart are no day of silence");
    let hourly: Vec<_> = (0..=24).map(|n| (n * hour, silent)).chain([(day + 1, silent)]).collect();
    assert!(told_at(&hourly).starts_with("activate"));
    let mut heard = hourly.clone();
    heard[12].1 = shown;
    assert!(told_at(&heard).starts_with("wait"), "heard once in between, it is waited for anew");
}

/// A ledger of before looks were counted: the first look is all that is known.
#[test]
fn a_memory_of_old_counts_as_one_look() {
    let since = Remembered { shown_since: Some(at(0)), silent_since: None, asked_at: None };
    let memory = Memory { servers: BTreeMap::from([("ns1".to_owned(), since)]), wrong_ttl: Duration::ZERO };
    let seen = Seen { servers: BTreeMap::from([("ns1".to_owned(), Shows::Key)]), negative_ttl: Duration::ZERO };
    let after = remember(&memory, &seen, &settings(), at(50)).servers["ns1"];
    assert_eq!((after.shown_since, after.asked_at), (Some(at(35)), Some(at(50))));
    // Looks close to each other are one: the file is not written for each.
    let memory = Memory { servers: BTreeMap::from([("ns1".to_owned(), after)]), wrong_ttl: Duration::ZERO };
    assert_eq!(remember(&memory, &seen, &settings(), at(57)), memory);
    assert_eq!(remember(&memory, &seen, &settings(), at(58)).servers["ns1"].asked_at, Some(at(58)));
}

#[test]
fn a_server_that_joins_soaks_too() {
    story(
        State::Published,
        &settings(),
        Duration::ZERO,
        &[
            (0, "ns1=key", "visible"),
            (50, "ns1=key ns2=key", "wait"),
            (60, "ns1=key ns2=key", "wait"),
            (109, "ns1=key ns2=key", "wait"),
            (110, "ns1=key ns2=key", "active"),
        ],
    );
}

#[test]
fn an_alias_that_is_lost_starts_the_soak_anew() {
    story(
        State::Published,
        &settings(),
        Duration::ZERO,
        &[
            (0, "ns1=alias ns9=key", "visible"),
            (50, "ns1=nothing ns9=key", "published"),
            (51, "ns1=alias ns9=key", "visible"),
            (60, "ns1=alias ns9=key", "wait"),
            (110, "ns1=alias ns9=key", "wait"),
            (111, "ns1=alias ns9=key", "active"),
        ],
    );
}

#[test]
fn the_operators_word_counts_where_it_is_the_evidence() {
    let manual = Settings { evidence: Evidence::Manual, ..settings() };
    let published = key(State::Published, 0);
    assert_eq!(
        due_of(&published, &Facts::default(), &manual, 900),
        "wait until 15:01 for you to publish its record and to say so with `postseal key advance --confirm`"
    );
    assert_eq!(confirmed(&published, None, &manual, at(0)), Some(State::Visible));
    let visible = key(State::Visible, 900);
    // The negative TTL is not known: as long as resolvers remember at most, though soak_min is an hour.
    assert_eq!(due_of(&visible, &Facts::default(), &manual, 1079), "wait until 18:00 it is shown everywhere; caches forget by 2026-01-01T18:00:00.000Z");
    assert_eq!(due_of(&visible, &Facts::default(), &manual, 1080), "activate, []: confirmed by the operator 3h ago");
    let patient = Settings { soak_min: 4 * HOUR, ..manual.clone() };
    assert!(due_of(&visible, &Facts::default(), &patient, 1139).starts_with("wait until 19:00 "));
    for state in [State::Visible, State::Active, State::Removed] {
        assert_eq!(confirmed(&key(state, 0), Some(&Mentions::Count(0)), &manual, at(999_999)), None, "{state}");
    }
    let by_hand = Settings { by_hand: true, ..manual };
    let retiring = key(State::Retiring, 0);
    let (early, late) = (at(7 * 24 * 60 - 1), at(7 * 24 * 60));
    for (now, mentions, expected) in [
        (early, Some(Mentions::Count(0)), None),
        (late, Some(Mentions::Count(1)), None),
        (late, None, None),
        (late, Some(Mentions::Count(0)), Some(State::Revoked)),
    ] {
        assert_eq!(confirmed(&retiring, mentions.as_ref(), &by_hand, now), expected, "{now:?} {mentions:?}");
    }
}

#[test]
fn only_old_keys_of_its_kind_retire() {
    let mut keys = BTreeMap::from([(selector(), with_memory(&key(State::Visible, 0), "ns1", 0))]);
    for (name, algorithm, state) in [
        ("rsa-old", Algorithm::Rsa, State::Active),
        ("rsa-older", Algorithm::Rsa, State::Active),
        ("rsa-gone", Algorithm::Rsa, State::Retiring),
        ("ed", Algorithm::Ed25519, State::Active),
    ] {
        keys.insert(Selector::new(name), Standing { algorithm, ..key(state, 0) });
    }
    let steps = due(&keys, &shows("ns1=key"), &settings(), at(60)).unwrap();
    assert_eq!(told(&steps[&selector()]), "activate, [\"rsa-old\", \"rsa-older\"]: shown for 60m by authoritative ns1");
    assert_eq!(told(&steps[&Selector::new("ed")]), "rest");
}

#[test]
fn an_old_key_is_revoked_when_nothing_can_need_it() {
    let retiring = key(State::Retiring, 0);
    let week = 7 * 24 * 60;
    let counted = |mentions| Facts { mentions: BTreeMap::from([(selector(), mentions)]), ..Facts::default() };
    for (now, facts, expected) in [
        (0, counted(Mentions::Count(0)), "wait until 168:00 mail it signed may be on its way until 2026-01-08T00:00:00.000Z"),
        (week - 1, counted(Mentions::Count(0)), "wait until 168:00 mail it signed may be on its way until 2026-01-08T00:00:00.000Z"),
        (week, Facts::default(), "count"),
        (week, counted(Mentions::Count(3)), "wait until 168:01 3 queued message(s) are signed by it"),
        (
            week,
            counted(Mentions::Unknown("the relay has the spool".into())),
            "wait until 168:01 it is not known whether queued messages are signed by it: the relay has the spool",
        ),
        (week, counted(Mentions::Count(0)), "write Revoked then revoked"),
    ] {
        assert_eq!(due_of(&retiring, &facts, &settings(), now), expected, "{now}");
    }
    let by_hand = Settings { by_hand: true, ..settings() };
    let seen = |text| Facts { mentions: BTreeMap::from([(selector(), Mentions::Count(0))]), ..shows(text) };
    assert_eq!(due_of(&retiring, &seen("ns1=key"), &by_hand, week), "wait until 168:01 for you to replace its record by one with an empty p=");
    assert_eq!(due_of(&retiring, &seen("ns1=revoked ns2=key"), &by_hand, week), "wait until 168:01 for you to replace its record by one with an empty p=");
    assert_eq!(due_of(&retiring, &seen("ns1=revoked ns2=nothing"), &by_hand, week), "enter revoked: written by hand, by authoritative ns1, ns2");
}

#[test]
fn a_revoked_key_is_removed_later_and_its_record_with_it() {
    let revoked = Standing { has_key: false, ..key(State::Revoked, 0) };
    let month = 30 * 24 * 60;
    assert_eq!(due_of(&revoked, &shows("ns1=revoked"), &settings(), 0), "wait until 1:00 its record says p= until 2026-01-31T00:00:00.000Z");
    assert_eq!(due_of(&revoked, &shows("ns1=silent"), &settings(), month - 1), "wait until 720:00 its record says p= until 2026-01-31T00:00:00.000Z");
    assert_eq!(due_of(&revoked, &Facts::default(), &settings(), month), "write Nothing then removed");
    let by_hand = Settings { by_hand: true, ..settings() };
    assert_eq!(due_of(&revoked, &shows("ns1=revoked"), &by_hand, month), "wait until 720:01 for you to remove its record");
    assert_eq!(due_of(&revoked, &shows("ns1=nothing"), &by_hand, month), "enter removed: written by hand, by authoritative ns1");
}

/// Revoked in haste while the primary was down: the world must be told all the same.
#[test]
fn a_revoked_key_that_is_still_published_is_written_again() {
    let revoked = key(State::Revoked, 0);
    assert_eq!(due_of(&revoked, &shows("ns1=key ns2=revoked"), &settings(), 5), "write Revoked");
    let written = Facts { written_at: BTreeMap::from([(selector(), at(5))]), ..shows("ns1=key ns2=revoked") };
    assert!(due_of(&revoked, &written, &settings(), 6).starts_with("wait until 1:06"), "once an hour is enough");
    assert_eq!(due_of(&revoked, &written, &settings(), 65), "write Revoked");
    let by_hand = Settings { by_hand: true, ..settings() };
    assert_eq!(due_of(&revoked, &shows("ns1=key"), &by_hand, 5), "wait until 0:06 for you to replace its record by one with an empty p=");
}

#[test]
fn a_record_that_every_server_forgot_is_written_again() {
    let published = key(State::Published, 0);
    assert!(due_of(&published, &shows("ns1=nothing ns2=nothing"), &settings(), 59).starts_with("wait"));
    assert_eq!(due_of(&published, &shows("ns1=nothing ns2=nothing"), &settings(), 60), "write Key");
    assert!(due_of(&published, &shows("ns1=key ns2=nothing"), &settings(), 60).starts_with("wait"), "a secondary that lags is not helped by it");
    assert!(due_of(&published, &shows("ns1=other ns2=other"), &settings(), 60).starts_with("wait"), "somebody else's record is not ours to replace");
}

#[test]
fn a_clock_that_went_back_decides_nothing() {
    let keys = BTreeMap::from([(selector(), key(State::Retiring, 600))]);
    let fault = due(&keys, &Facts::default(), &settings(), at(60)).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "the clock says 2026-01-01T01:00:00.000Z, but key ps202601a has an entry of 2026-01-01T10:00:00.000Z: it went back by 9h; nothing is done until it is right"
    );
    let remembered = BTreeMap::from([(selector(), with_memory(&key(State::Visible, 0), "ns1", 120))]);
    assert!(due(&remembered, &Facts::default(), &settings(), at(100)).is_err());
    assert!(due(&remembered, &Facts::default(), &settings(), at(119)).is_ok(), "a minute is no sign");
    assert!(lacking(&keys, &[Algorithm::Rsa], &Settings { rotate_every: Some(DAY), ..settings() }, at(60)).is_empty());
}

#[test]
fn the_next_key_is_made_when_the_time_has_come_and_once() {
    let every = Settings { rotate_every: Some(180 * DAY), ..settings() };
    let minutes = 180 * 24 * 60;
    let both = [Algorithm::Rsa, Algorithm::Ed25519];
    let made = |keys: &[(&str, Algorithm, State, i64)], settings: &Settings, now| {
        let keys =
            keys.iter().map(|(name, algorithm, state, since)| (Selector::new(name), Standing { algorithm: *algorithm, ..key(*state, *since) })).collect();
        lacking(&keys, &both, settings, at(now)).into_iter().map(|(algorithm, why)| format!("{algorithm}: {why}")).collect::<Vec<_>>().join("; ")
    };
    let (rsa, ed) = (("a", Algorithm::Rsa, State::Active, 0), ("b", Algorithm::Ed25519, State::Active, 1000));
    assert_eq!(made(&[rsa, ed], &settings(), 99 * minutes), "", "not unless asked for");
    assert_eq!(made(&[rsa, ed], &every, minutes - 1), "");
    assert_eq!(made(&[rsa, ed], &every, minutes), "rsa: a has signed for 180d", "each kind by its own age");
    assert_eq!(made(&[rsa, ed, ("c", Algorithm::Rsa, State::Created, minutes)], &every, minutes), "", "one is on its way");
    assert_eq!(made(&[rsa], &every, 0), "ed25519: no key of its kind signs");
    assert_eq!(made(&[rsa, ed, ("c", Algorithm::Rsa, State::Revoked, 0)], &every, minutes), "rsa: a has signed for 180d");
    let keys = BTreeMap::from([(Selector::new("a"), key(State::Active, 0))]);
    assert_eq!(next_rotation(&keys, &both, &every), Some(at(minutes)));
    assert_eq!(next_rotation(&keys, &both, &settings()), None);
}

/// A key's life in lines of (minute, what is shown, what follows): each look is remembered, each step entered. "wait" is any wait.
/// Between two lines the servers show what they showed, and are looked at every ten minutes.
fn story(state: State, settings: &Settings, negative_ttl: Duration, lines: &[(i64, &str, &str)]) {
    let mut key = key(state, 0);
    let look = |memory: &Memory, text: &str, minute: i64| {
        let mut facts = shows(text);
        let Some(Sight::Seen(seen)) = facts.sights.get_mut(&selector()) else { panic!("{text}") };
        seen.negative_ttl = negative_ttl;
        (remember(memory, seen, settings, at(minute)), facts)
    };
    let mut before: Option<(i64, &str)> = None;
    for (minute, seen, expected) in lines {
        if let Some((from, text)) = before.replace((*minute, seen)) {
            for between in (from + 1..*minute).filter(|minute| minute % 10 == 0) {
                key.memory = look(&key.memory, text, between).0;
            }
        }
        let (memory, facts) = look(&key.memory, seen, *minute);
        key.memory = memory;
        let step = due(&BTreeMap::from([(selector(), key.clone())]), &facts, settings, at(*minute)).unwrap().remove(&selector()).unwrap();
        let (word, state) = match &step {
            Step::Wait { .. } => ("wait".to_owned(), key.state),
            Step::Enter { state, .. } => (state.to_string(), *state),
            Step::Activate { .. } => ("active".to_owned(), State::Active),
            other => (told(other), key.state),
        };
        assert_eq!(word, *expected, "minute {minute}, {seen}: {}", told(&step));
        if state != key.state {
            (key.state, key.since) = (state, at(*minute));
        }
    }
}

fn due_of(key: &Standing, facts: &Facts, settings: &Settings, minute: i64) -> String {
    let mut key = key.clone();
    if let Some(Sight::Seen(seen)) = facts.sights.get(&selector()) {
        key.memory = remember(&key.memory, seen, settings, at(minute));
    }
    told(&due(&BTreeMap::from([(selector(), key)]), facts, settings, at(minute)).unwrap()[&selector()])
}

fn told(step: &Step) -> String {
    match step {
        Step::Rest => "rest".to_owned(),
        Step::Look => "look".to_owned(),
        Step::Count => "count".to_owned(),
        Step::Write { record, then: Some(then) } => format!("write {record:?} then {then}"),
        Step::Write { record, then: None } => format!("write {record:?}"),
        Step::Enter { state, why } => format!("enter {state}: {why}"),
        Step::Activate { retire, why } => format!("activate, {retire:?}: {why}"),
        Step::Wait { why, again_at } => {
            let minutes = again_at.since(at(0)).as_secs() / 60;
            format!("wait until {}:{:02} {why}", minutes / 60, minutes % 60)
        }
    }
}

fn shows(text: &str) -> Facts {
    let server = |word: &str| {
        let (server, shows) = word.split_once('=').unwrap();
        let shows = match shows {
            "key" => Shows::Key,
            "alias" => Shows::Alias("elsewhere.example".to_owned()),
            "revoked" => Shows::Revoked,
            "nothing" => Shows::Nothing,
            "silent" => Shows::NoAnswer("timed out".to_owned()),
            "other" => Shows::Other { what: "the record of another key".to_owned(), ttl: 2 * HOUR },
            _ => panic!("{word}"),
        };
        (server.to_owned(), shows)
    };
    let seen = Seen { servers: text.split_whitespace().map(server).collect(), negative_ttl: Duration::from_mins(5) };
    Facts { sights: BTreeMap::from([(selector(), Sight::Seen(seen))]), ..Facts::default() }
}

fn key(state: State, since: i64) -> Standing {
    Standing { algorithm: Algorithm::Rsa, state, since: at(since), has_key: true, memory: Memory::default() }
}

fn with_memory(key: &Standing, server: &str, since: i64) -> Standing {
    let servers = BTreeMap::from([(server.to_owned(), Remembered { shown_since: Some(at(since)), silent_since: None, asked_at: Some(at(since)) })]);
    Standing { memory: Memory { servers, wrong_ttl: Duration::ZERO }, ..key.clone() }
}

fn settings() -> Settings {
    Settings {
        evidence: Evidence::Authoritative,
        by_hand: false,
        soak_min: HOUR,
        unreachable_max: DAY,
        retire_for: 7 * DAY,
        removal_after: 30 * DAY,
        check_every: Duration::from_mins(1),
        rotate_every: None,
    }
}

fn selector() -> Selector {
    Selector::new("ps202601a")
}

/// Minutes of 2026.
fn at(minute: i64) -> Timestamp {
    Timestamp::from_unix_seconds(1_767_225_600 + minute * 60)
}
