//! How fast, how many at a time: what is remembered of each provider and host, and how replies change it.
//!
//! Pure; the time is an argument. Per group (a provider, or a host that has none) there is a *window*, the connections allowed now:
//!
//! | pace | the window | leaves it |
//! |---|---|---|
//! | free | starts small (whole where told so), one more for each message taken, up to `connections_max` | a reply that asks us to slow down |
//! | careful | halved or one, after a pause; one more each `growth` in which mail was taken | when it reaches `connections_max` |
//!
//! A pause is doubled each time one is asked for before the group is free again. Gmail's rule for `421 4.7.28` (pause ten minutes,
//! one connection, then one more at a time) is the reaction *restart*; see `config/shaping.toml`.

use super::provider::{Place, Reaction};
use super::throttle::{Bucket, Rate};
use crate::mail::Timestamp;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// What is remembered of all providers and hosts.
#[derive(Debug, Default)]
pub struct Shaping {
    groups: HashMap<Arc<str>, Group>,
    hosts: HashMap<Arc<str>, Host>,
    /// Groups that nothing is known of have all the connections their limits allow.
    starts_whole: bool,
}

/// May a connection be opened?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Yes; it is counted until [`Shaping::leave`].
    Granted,
    /// Not before another one is closed.
    Full,
    /// The provider asked for a pause: nothing to any of its hosts before then.
    Paused(Timestamp),
    /// The host does not answer: another host may do.
    Down(Timestamp),
}

#[derive(Debug)]
struct Group {
    open: u32,
    window: u32,
    pace: Pace,
    paused_until: Timestamp,
    pause: Duration,
    bucket: Bucket,
    used_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Free,
    Careful { grown_at: Timestamp },
}

#[derive(Debug, Default)]
struct Host {
    open: u32,
    down_until: Timestamp,
    down_for: Duration,
    recipients: Option<Learned>,
    used_at: Timestamp,
}

/// How many recipients a host took in one transaction when it was offered more.
#[derive(Debug, Clone, Copy)]
struct Learned {
    recipients: u32,
    at: Timestamp,
}

impl Shaping {
    /// One whose windows start at `connections_max`: for next hops that are the operator's own, where that number is his word, and where
    /// somebody waits for each message.
    #[must_use]
    pub fn starting_whole() -> Self {
        Self { starts_whole: true, ..Self::default() }
    }

    /// Asks for a connection, and counts it when it is granted.
    pub fn admit(&mut self, place: &Place, now: Timestamp) -> Admission {
        if let Some(group) = self.groups.get(&place.group).filter(|group| group.paused_until > now) {
            return Admission::Paused(group.paused_until);
        }
        if let Some(host) = self.hosts.get(&place.host).filter(|host| host.down_until > now) {
            return Admission::Down(host.down_until);
        }
        self.make_room(now);
        let limits = &place.limits;
        let host_open = self.hosts.get(&place.host).map_or(0, |host| host.open);
        let first = self.window_first(place);
        let group = self.groups.entry(place.group.clone()).or_insert_with(|| Group::new(first, now));
        group.window = group.window.min(limits.connections_max);
        if group.open >= group.window || host_open >= limits.host_connections_max {
            return Admission::Full;
        }
        group.open += 1;
        group.used_at = now;
        let host = self.hosts.entry(place.host.clone()).or_default();
        host.open += 1;
        host.used_at = now;
        Admission::Granted
    }

    /// A connection that was granted is gone.
    ///
    /// # Panics
    /// When none was granted: our own invariant.
    pub fn leave(&mut self, place: &Place, now: Timestamp) {
        if let Some(group) = self.groups.get_mut(&place.group) {
            assert!(group.open > 0, "a connection leaves {} that never came", place.group);
            group.open -= 1;
            group.used_at = now;
        }
        if let Some(host) = self.hosts.get_mut(&place.host) {
            host.open = host.open.saturating_sub(1);
            host.used_at = now;
        }
    }

    /// Until when nothing is to be sent there, if so: the provider asked for a pause, or the host does not answer.
    #[must_use]
    pub fn paused(&self, place: &Place, now: Timestamp) -> Option<Timestamp> {
        let group = self.groups.get(&place.group).map_or(Timestamp::EPOCH, |group| group.paused_until);
        let host = self.hosts.get(&place.host).map_or(Timestamp::EPOCH, |host| host.down_until);
        let until = group.max(host);
        (until > now).then_some(until)
    }

    /// May one more message be sent over an open connection?
    ///
    /// # Errors
    /// Not before then.
    pub fn may_send(&mut self, place: &Place, now: Timestamp) -> Result<(), Timestamp> {
        if let Some(until) = self.paused(place, now) {
            return Err(until);
        }
        let Some(per_second) = place.limits.messages_per_second_max else { return Ok(()) };
        let first = self.window_first(place);
        let group = self.groups.entry(place.group.clone()).or_insert_with(|| Group::new(first, now));
        group.bucket.take(&Rate::per_second(per_second), 1, now)
    }

    /// More connections are open than are allowed now: one is to be closed when its message is done.
    #[must_use]
    pub fn has_surplus(&self, place: &Place, now: Timestamp) -> bool {
        self.paused(place, now).is_some() || self.groups.get(&place.group).is_some_and(|group| group.open > group.window)
    }

    /// A message was taken. Whether one more connection may be opened since.
    pub fn taken(&mut self, place: &Place, now: Timestamp) -> bool {
        let Some(group) = self.groups.get_mut(&place.group) else { return false };
        let before = group.window;
        let most = place.limits.connections_max;
        match group.pace {
            Pace::Free => group.window = group.window.saturating_add(1).min(most),
            Pace::Careful { grown_at } if group.paused_until <= now && now.since(grown_at.max(group.paused_until)) >= place.limits.growth => {
                group.window = group.window.saturating_add(1).min(most);
                group.pace = if group.window >= most { Pace::Free } else { Pace::Careful { grown_at: now } };
            }
            Pace::Careful { .. } => {}
        }
        if group.pace == Pace::Free {
            group.pause = Duration::ZERO;
        }
        group.window > before
    }

    /// A reply said something about our speed.
    pub fn slow_down(&mut self, place: &Place, reaction: Reaction, now: Timestamp) {
        let first = self.window_first(place);
        let group = self.groups.entry(place.group.clone()).or_insert_with(|| Group::new(first, now));
        let (first_pause, window) = match reaction {
            Reaction::Ignore => return,
            Reaction::Fewer => (Duration::ZERO, group.window.min(group.open) / 2),
            Reaction::Slow { pause } => (pause, group.window.min(group.open) / 2),
            Reaction::Restart { pause } => (pause, 1),
        };
        if group.paused_until > now {
            // Another connection heard the same at the same time; only a stricter word counts.
            group.window = group.window.min(window.max(1));
            group.pause = group.pause.max(first_pause);
            group.paused_until = group.paused_until.max(now + first_pause);
            return;
        }
        group.window = window.max(1);
        group.pace = Pace::Careful { grown_at: now };
        if first_pause > Duration::ZERO {
            group.pause = (group.pause * 2).clamp(first_pause, place.limits.pause_max.max(first_pause));
            group.paused_until = now + group.pause;
        }
    }

    /// The host answered.
    pub fn answered(&mut self, place: &Place, now: Timestamp) {
        if let Some(host) = self.hosts.get_mut(&place.host) {
            (host.down_until, host.down_for, host.used_at) = (Timestamp::EPOCH, Duration::ZERO, now);
        }
    }

    /// A person wants mail to go there now: a host that did not answer is tried again; what the provider asked for is kept unless he says
    /// otherwise, and then one connection begins. Gives the time until which the provider is still paused.
    pub fn resume(&mut self, group: &str, host: &str, ends_pause: bool, now: Timestamp) -> Option<Timestamp> {
        if let Some(host) = self.hosts.get_mut(host) {
            host.down_until = Timestamp::EPOCH;
        }
        let group = self.groups.get_mut(group)?;
        if ends_pause && group.paused_until > now {
            (group.paused_until, group.window) = (Timestamp::EPOCH, 1);
        }
        Some(group.paused_until).filter(|until| *until > now)
    }

    /// No address of the host could be talked to. Gives the time until which it is left alone.
    pub fn silent(&mut self, place: &Place, now: Timestamp) -> Timestamp {
        let host = self.hosts.entry(place.host.clone()).or_default();
        host.used_at = now;
        if host.down_until <= now {
            host.down_for = (host.down_for * 2).clamp(DOWN_FIRST, DOWN_MAX);
            host.down_until = now + host.down_for;
        }
        host.down_until
    }

    /// How many recipients to name in one transaction.
    #[must_use]
    pub fn recipients_max(&self, place: &Place, now: Timestamp) -> u32 {
        let most = place.limits.recipients_per_transaction_max;
        let learned = self.hosts.get(&place.host).and_then(|host| host.recipients);
        learned.filter(|learned| now.since(learned.at) < LEARNED_FOR).map_or(most, |learned| learned.recipients.min(most)).max(1)
    }

    /// The host took `recipients` and refused more in the same transaction (452 4.5.3, or 552 meant as 452: RFC 5321 §4.5.3.1.10).
    pub fn took_only(&mut self, place: &Place, recipients: u32, now: Timestamp) {
        let host = self.hosts.entry(place.host.clone()).or_default();
        host.recipients = Some(Learned { recipients: recipients.max(1), at: now });
        host.used_at = now;
    }

    /// Connections open to a group, and those allowed.
    #[must_use]
    pub fn connections(&self, group: &str) -> (u32, u32) {
        self.groups.get(group).map_or((0, WINDOW_FIRST), |group| (group.open, group.window))
    }

    /// Who asked for a pause, and until when.
    #[must_use]
    pub fn pauses(&self, now: Timestamp) -> Vec<(Arc<str>, Timestamp)> {
        self.groups.iter().filter(|(_, group)| group.paused_until > now).map(|(name, group)| (name.clone(), group.paused_until)).collect()
    }

    fn window_first(&self, place: &Place) -> u32 {
        if self.starts_whole { place.limits.connections_max } else { WINDOW_FIRST }
    }

    /// What was not used for long is forgotten before memory grows.
    fn make_room(&mut self, now: Timestamp) {
        if self.groups.len() >= REMEMBERED_MAX {
            self.groups.retain(|_, group| group.open > 0 || group.paused_until > now || now.since(group.used_at) < FORGOTTEN_AFTER);
        }
        if self.hosts.len() >= REMEMBERED_MAX {
            self.hosts.retain(|_, host| host.open > 0 || host.down_until > now || now.since(host.used_at) < FORGOTTEN_AFTER);
        }
    }
}

impl Group {
    fn new(window: u32, now: Timestamp) -> Self {
        Self { open: 0, window, pace: Pace::Free, paused_until: Timestamp::EPOCH, pause: Duration::ZERO, bucket: Bucket::default(), used_at: now }
    }
}

/// Connections to a group that nothing is known of.
const WINDOW_FIRST: u32 = 2;
/// A host that does not answer is left alone this long, doubled each time …
const DOWN_FIRST: Duration = Duration::from_mins(1);
/// … up to this.
const DOWN_MAX: Duration = Duration::from_mins(30);
/// How long it is remembered that a host takes few recipients.
const LEARNED_FOR: Duration = Duration::from_hours(1);
/// Groups and hosts remembered before the idle ones are forgotten.
const REMEMBERED_MAX: usize = 20_000;
const FORGOTTEN_AFTER: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::super::provider::Providers;
    use super::*;
    use crate::mail::RemoteReply;

    const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const SECOND: Duration = Duration::from_secs(1);

    fn reply(text: &str) -> RemoteReply {
        let mut words = text.splitn(3, ' ');
        RemoteReply {
            code: words.next().unwrap().parse().unwrap(),
            enhanced: words.next().unwrap().parse().ok(),
            lines: vec![words.next().unwrap_or_default().to_owned()],
        }
    }

    fn admitted(shaping: &mut Shaping, place: &Place, now: Timestamp) -> u32 {
        (0..1_000).take_while(|_| shaping.admit(place, now) == Admission::Granted).count().try_into().unwrap()
    }

    #[test]
    fn connections_grow_with_good_replies_up_to_the_cap_and_no_further() {
        let (mut shaping, place) = (Shaping::default(), Providers::default().place("mx.example.net"));
        assert_eq!(admitted(&mut shaping, &place, START), WINDOW_FIRST);
        for _ in 0..3 {
            shaping.taken(&place, START);
        }
        assert_eq!(admitted(&mut shaping, &place, START), 3);
        for _ in 0..100 {
            shaping.taken(&place, START);
        }
        admitted(&mut shaping, &place, START);
        assert_eq!(shaping.connections(&place.group), (20, 20));
        shaping.leave(&place, START);
        assert_eq!(shaping.admit(&place, START), Admission::Granted);
        assert_eq!(shaping.admit(&place, START), Admission::Full);
    }

    #[test]
    fn a_smart_host_of_ones_own_has_all_its_connections_at_once_and_fewer_when_it_says_so() {
        let (mut shaping, place) = (Shaping::starting_whole(), Providers::default().place("mx.example.net"));
        assert_eq!(admitted(&mut shaping, &place, START), 20);
        shaping.slow_down(&place, Reaction::Fewer, START);
        assert_eq!(shaping.connections(&place.group), (20, 10));
        shaping.taken(&place, START + place.limits.growth);
        assert_eq!(shaping.connections(&place.group), (20, 11));
    }

    #[test]
    fn tenants_of_one_provider_share_its_connections() {
        let (mut shaping, providers) = (Shaping::default(), Providers::default());
        let tenants: Vec<Place> = (0..20).map(|n| providers.place(&format!("tenant{n}.mail.protection.outlook.com"))).collect();
        for _ in 0..100 {
            shaping.admit(&tenants[0], START);
            shaping.taken(&tenants[0], START);
        }
        let open: u32 = 10 + tenants[1..].iter().map(|tenant| admitted(&mut shaping, tenant, START)).sum::<u32>();
        assert_eq!(open, 50);
    }

    /// Requirements of the provider: pause ten minutes or more, then one connection, then one more at a time.
    #[test]
    fn gmail_rate_limit_pauses_then_one_connection_then_one_more_at_a_time() {
        let (mut shaping, place) = (Shaping::default(), Providers::default().place("gmail-smtp-in.l.google.com"));
        for _ in 0..20 {
            shaping.admit(&place, START);
            shaping.taken(&place, START);
        }
        assert_eq!(shaping.connections("google"), (20, 22));
        let limited = place.limits.reaction(&reply("421 4.7.28 unusual rate of mail"));
        for n in 0..20 {
            shaping.slow_down(&place, limited, START + SECOND * n / 10); // every connection hears it, one pause follows
        }
        assert!(shaping.has_surplus(&place, START + SECOND * 2));
        for _ in 0..20 {
            shaping.leave(&place, START + SECOND * 3);
        }
        let Admission::Paused(until) = shaping.admit(&place, START + SECOND * 3) else { panic!("no pause") };
        assert!(until.since(START) >= Duration::from_mins(10) && until.since(START) < Duration::from_secs(605), "{until:?}");
        let other_host = Providers::default().place("alt1.aspmx.l.google.com");
        assert_eq!(shaping.admit(&other_host, until - SECOND), Admission::Paused(until), "the provider pauses, not the host");
        // One connection, whatever it carries, until a growth step has passed.
        assert_eq!(admitted(&mut shaping, &place, until), 1);
        for _ in 0..50 {
            shaping.taken(&place, until + SECOND);
        }
        assert_eq!(admitted(&mut shaping, &place, until + SECOND * 59), 0);
        let mut now = until;
        for open in 2..=5 {
            now = now + SECOND * 60;
            shaping.taken(&place, now);
            shaping.taken(&place, now);
            assert_eq!(admitted(&mut shaping, &place, now), 1);
            assert_eq!(shaping.connections("google").0, open);
        }
        // Again too soon: twice the pause, and one connection again.
        shaping.slow_down(&place, limited, now);
        for _ in 0..5 {
            shaping.leave(&place, now);
        }
        let Admission::Paused(again) = shaping.admit(&place, now) else { panic!("no pause") };
        assert_eq!(again.since(now), Duration::from_mins(20));
        assert_eq!(admitted(&mut shaping, &place, again), 1);
    }

    #[test]
    fn a_person_can_have_a_silent_host_tried_and_a_pause_ended() {
        let (mut shaping, place) = (Shaping::default(), Providers::default().place("gmail-smtp-in.l.google.com"));
        shaping.silent(&place, START);
        assert!(matches!(shaping.admit(&place, START), Admission::Down(_)));
        assert_eq!(shaping.resume(&place.group, &place.host, false, START), None);
        assert_eq!(shaping.admit(&place, START), Admission::Granted);
        shaping.slow_down(&place, place.limits.reaction(&reply("421 4.7.28 unusual rate of mail")), START);
        let Admission::Paused(until) = shaping.admit(&place, START) else { panic!("no pause") };
        assert_eq!(shaping.resume(&place.group, &place.host, false, START), Some(until), "what the provider asked for is kept");
        assert_eq!(shaping.admit(&place, START), Admission::Paused(until));
        shaping.leave(&place, START);
        assert_eq!(shaping.resume(&place.group, &place.host, true, START), None);
        assert_eq!(admitted(&mut shaping, &place, START), 1, "by one connection at first");
        assert_eq!(shaping.resume("nobody", "nobody", true, START), None);
    }

    #[test]
    fn a_group_recovers_by_itself() {
        let (mut shaping, place) = (Shaping::default(), Providers::default().place("mx.example.net"));
        for _ in 0..20 {
            shaping.admit(&place, START);
            shaping.taken(&place, START);
        }
        shaping.slow_down(&place, place.limits.reaction(&reply("421 4.7.0 slow down")), START);
        assert_eq!(shaping.connections(&place.group), (20, 10));
        let mut now = START + SECOND * 60;
        assert_eq!(shaping.paused(&place, now), None);
        for _ in 0..10 {
            now = now + place.limits.growth;
            shaping.taken(&place, now);
        }
        assert_eq!(shaping.connections(&place.group).1, 20);
        // Free again: the next trouble starts with the first pause.
        shaping.taken(&place, now);
        shaping.slow_down(&place, place.limits.reaction(&reply("421 4.7.0 slow down")), now);
        assert_eq!(shaping.paused(&place, now), Some(now + SECOND * 60));
    }

    #[test]
    fn microsoft_connection_caps_mean_fewer_connections_without_a_pause() {
        let (mut shaping, place) = (Shaping::default(), Providers::default().place("x.olc.protection.outlook.com"));
        for _ in 0..40 {
            shaping.admit(&place, START);
            shaping.taken(&place, START);
        }
        shaping.slow_down(&place, place.limits.reaction(&reply("421 - RP-003 too many connections")), START);
        assert_eq!(shaping.paused(&place, START), None);
        assert_eq!(shaping.connections("microsoft"), (40, 20));
        assert!(shaping.has_surplus(&place, START));
    }

    #[test]
    fn rates_hold_over_all_connections() {
        let providers = Providers::from_toml("[provider.x]\nmx = [\"*.x.example\"]\nmessages_per_second_max = 5").unwrap();
        let (mut shaping, place) = (Shaping::default(), providers.place("mx.x.example"));
        for _ in 0..5 {
            assert_eq!(shaping.may_send(&place, START), Ok(()));
        }
        let next = shaping.may_send(&place, START).unwrap_err();
        assert!(next > START && next <= START + Duration::from_millis(202));
        assert_eq!(shaping.may_send(&place, next), Ok(()));
    }

    #[test]
    fn few_recipients_are_remembered_for_an_hour() {
        let (mut shaping, place) = (Shaping::default(), Providers::default().place("mx.example.net"));
        assert_eq!(shaping.recipients_max(&place, START), 50);
        shaping.took_only(&place, 10, START);
        assert_eq!(shaping.recipients_max(&place, START + SECOND * 3599), 10);
        assert_eq!(shaping.recipients_max(&place, START + SECOND * 3600), 50);
        shaping.took_only(&place, 0, START);
        assert_eq!(shaping.recipients_max(&place, START), 1);
    }

    #[test]
    fn a_silent_host_is_left_alone_longer_each_time() {
        let (mut shaping, place) = (Shaping::default(), Providers::default().place("mx.example.net"));
        let first = shaping.silent(&place, START);
        assert_eq!(first, START + DOWN_FIRST);
        assert_eq!(shaping.admit(&place, START + SECOND), Admission::Down(first));
        assert_eq!(shaping.silent(&place, START + SECOND), first, "several connections, one failure");
        assert_eq!(shaping.silent(&place, first), first + DOWN_FIRST * 2);
        shaping.answered(&place, first);
        assert_eq!(shaping.paused(&place, first), None);
    }
}
