//! Whether the record of a key that signs is still there, judged by one look at the DNS after another. Pure.
//!
//! A verifier may ask any server of the zone, so a key is lost as soon as one of them has shown no record, or another one, in
//! [`Settings::looks`] looks in a row. What proves nothing (SERVFAIL, a time-out, an answer without authority) neither counts nor
//! breaks the row: trouble with the DNS must not become an outage of our own making.
//!
//! ```text
//!        a wrong answer            as many in a row           every server shows it, for as long
//! fine ----------------> doubted -------------------> lost -------------------------------------> fine
//!   ^                      |                                as receivers may remember that it was not
//!   +--- shown again ------+
//! ```

use super::lifecycle::{Seen, Shows};
use crate::mail::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// How the keys that sign are watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How many looks in a row must show a server without the record before the key is lost.
    pub looks: u32,
    /// Looks are a record's TTL apart, but no closer than this.
    pub every_min: Duration,
    /// And no further.
    pub every_max: Duration,
}

/// What the looks at one key's record have come to. The default is a key that nobody has looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Watched {
    /// Servers that showed something wrong when they were last heard.
    wrong: BTreeMap<String, Wrong>,
    /// How long receivers may remember what was wrong.
    remembered: Duration,
    /// Since when it is lost.
    lost_since: Option<Timestamp>,
    /// Since when a lost key has been shown by every server again.
    back_since: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Wrong {
    /// In a row.
    looks: u32,
    shows: Shows,
}

/// What a look changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// For the first time something is wrong.
    Doubted(Loss),
    /// It was seen often enough: the key is lost.
    Lost(Loss),
    /// The record is back.
    Found,
}

/// What is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The servers, and what each shows.
    pub servers: BTreeMap<String, Shows>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { looks: 3, every_min: Duration::from_mins(1), every_max: Duration::from_hours(1) }
    }
}

impl Watched {
    /// Takes one look into account; what it changed.
    pub fn look(&mut self, seen: &Seen, settings: &Settings, now: Timestamp) -> Option<Change> {
        let was_right = self.wrong.is_empty();
        let is_shown = seen.servers.values().any(|shows| *shows == Shows::Key);
        if is_shown {
            self.wrong.retain(|server, _| seen.servers.contains_key(server)); // the zone has other servers now
        }
        for (server, shows) in &seen.servers {
            match shows {
                Shows::NoAnswer(_) => {}
                Shows::Key | Shows::Alias(_) => drop(self.wrong.remove(server)),
                Shows::Revoked | Shows::Other { .. } | Shows::Nothing => self.count(server, shows, seen.negative_ttl),
            }
        }
        if self.lost_since.is_some() {
            return self.come_back(is_shown, now);
        }
        if self.wrong.values().any(|wrong| wrong.looks >= settings.looks.max(1)) {
            self.lost_since = Some(now);
            return Some(Change::Lost(self.loss()));
        }
        match (was_right, self.wrong.is_empty()) {
            (true, false) => Some(Change::Doubted(self.loss())),
            (false, true) => {
                self.remembered = Duration::ZERO;
                Some(Change::Found)
            }
            _ => None,
        }
    }

    /// Whether nobody should be given a signature by this key.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.lost_since.is_some()
    }

    /// How long until the next look, given the record's TTL where it was seen. In doubt sooner, for the servers of a zone do not
    /// remember; a resolver does (`by_resolver`), and would give the same answer again.
    #[must_use]
    pub fn pause(&self, ttl: Option<Duration>, seen: Option<&Seen>, by_resolver: bool, settings: &Settings) -> Duration {
        let in_doubt = !self.wrong.is_empty() || self.is_lost();
        let remembered = match (seen, ttl) {
            (None, _) => settings.every_min, // whom to ask could not be found out
            (Some(_), _) if in_doubt && !by_resolver => settings.every_min,
            (Some(seen), None) => seen.negative_ttl,
            (Some(_), Some(ttl)) => ttl,
        };
        remembered.clamp(settings.every_min, settings.every_max.max(settings.every_min))
    }

    fn count(&mut self, server: &str, shows: &Shows, negative_ttl: Duration) {
        let looks = self.wrong.get(server).map_or(0, |wrong| wrong.looks).saturating_add(1);
        self.wrong.insert(server.to_owned(), Wrong { looks, shows: shows.clone() });
        let remembered = if let Shows::Other { ttl, .. } = shows { *ttl } else { negative_ttl };
        self.remembered = self.remembered.max(remembered).min(REMEMBERED_MAX);
    }

    /// A lost key signs again when every server has shown it for as long as receivers may remember that it was not there.
    fn come_back(&mut self, is_shown: bool, now: Timestamp) -> Option<Change> {
        if !self.wrong.is_empty() {
            self.back_since = None;
            return None;
        }
        if !is_shown {
            return None;
        }
        let back_since = *self.back_since.get_or_insert(now);
        if now.since(back_since) < self.remembered {
            return None;
        }
        *self = Self::default();
        Some(Change::Found)
    }

    fn loss(&self) -> Loss {
        Loss { servers: self.wrong.iter().map(|(server, wrong)| (server.clone(), wrong.shows.clone())).collect() }
    }
}

impl Loss {
    /// Whether there is nothing at all on each of the servers, rather than something else.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        self.servers.values().all(|shows| *shows == Shows::Nothing)
    }

    /// The servers' names, a comma between.
    #[must_use]
    pub fn names(&self) -> String {
        self.servers.keys().map(String::as_str).collect::<Vec<_>>().join(", ")
    }
}

/// `ns1.example.com shows …, ns2.example.com …`.
impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, (server, shows)) in self.servers.iter().enumerate() {
            write!(f, "{}{server} {shows}", if n == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A record that was wrong may be in caches for longer; mail waits no longer for them.
const REMEMBERED_MAX: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
    const TTL: Duration = Duration::from_mins(5);

    /// Two servers; `+` shows the key, `-` nothing, `x` another record, `?` does not answer, a blank is no server of the zone.
    fn seen(marks: &str) -> Seen {
        let shows = |mark| match mark {
            '+' => Some(Shows::Key),
            '-' => Some(Shows::Nothing),
            'x' => Some(Shows::Other { what: "another key".to_owned(), ttl: TTL * 2 }),
            '?' => Some(Shows::NoAnswer("SERVFAIL".to_owned())),
            _ => None,
        };
        let servers = marks.chars().zip(1..).filter_map(|(mark, n)| Some((format!("ns{n}"), shows(mark)?))).collect();
        Seen { servers, negative_ttl: TTL }
    }

    /// One look a minute; the letters of what each changed: d(oubted), L(ost), F(ound), or a dot.
    fn story(looks: &[&str]) -> String {
        let mut watched = Watched::default();
        let change = |(n, marks): (u32, &&str)| match watched.look(&seen(marks), &Settings::default(), START + Duration::from_mins(1) * n) {
            None => '.',
            Some(Change::Doubted(_)) => 'd',
            Some(Change::Lost(_)) => 'L',
            Some(Change::Found) => 'F',
        };
        (0..).zip(looks).map(change).collect()
    }

    #[test]
    fn only_positive_evidence_counts() {
        for (looks, expect) in [
            (vec!["++", "++", "++"], "..."),
            (vec!["--", "--", "--"], "d.L"),
            (vec!["xx", "xx", "xx"], "d.L"),
            (vec!["+-", "+-", "+-"], "d.L"), // a verifier may ask that one
            (vec!["+?", "??", "?+", "??"], "...."),
            (vec!["??"; 100], &".".repeat(100)),
            (vec!["--", "??", "--", "??", "--"], "d...L"), // what proves nothing does not break the row
            (vec!["--", "--", "++", "--", "--", "--"], "d.Fd.L"),
            (vec!["-+", "+-", "-+", "+-", "-+"], "d...."), // never the same server three times in a row
            (vec!["--", "-?", "+-", "+-"], "d..L"),        // three in a row of the second, one of them unheard
            (vec!["+-", "+-", "+ ", "+-"], "d.Fd"),        // the server is no longer one of the zone
            (vec!["+-", "+-", "? ", "+-"], "d..L"),        // but whether it is shows no more than silence
            (vec!["-x", "x-", "-x"], "d.L"),
        ] {
            assert_eq!(story(&looks), expect, "{looks:?}");
        }
    }

    #[test]
    fn a_lost_key_comes_back_when_nobody_remembers_its_absence() {
        // Five minutes of negative TTL, ten of the wrong record's.
        assert_eq!(story(&["--", "--", "--", "++", "++", "++", "++", "++", "++", "++"]), "d.L.....F.");
        assert_eq!(story(&["--", "--", "--", "++", "??", "??", "??", "??", "??", "++"]), "d.L......F", "silence is no proof, nor a setback");
        assert_eq!(story(&["--", "--", "--", "++", "++", "+-", "++", "++", "++", "++", "++", "++"]), "d.L........F");
        let mut looks = vec!["xx"; 3];
        looks.extend(["++"; 11]);
        assert_eq!(story(&looks), format!("d.L{}F", ".".repeat(10)));
    }

    #[test]
    fn a_loss_names_servers_and_kind() {
        let mut watched = Watched::default();
        let settings = Settings { looks: 1, ..Settings::default() };
        let Some(Change::Lost(loss)) = watched.look(&seen("+-x"), &settings, START) else { panic!("{watched:?}") };
        assert_eq!((loss.names().as_str(), loss.is_absence()), ("ns2, ns3", false));
        assert!(loss.to_string().starts_with("ns2 ") && loss.to_string().contains("ns3 shows another key"), "{loss}");
        assert!(watched.is_lost());
        let mut watched = Watched::default();
        assert!(matches!(watched.look(&seen("--"), &settings, START), Some(Change::Lost(loss)) if loss.is_absence()));
    }

    #[test]
    fn looks_are_a_ttl_apart_within_bounds_and_closer_in_doubt() {
        let settings = Settings::default();
        let fine = Watched::default();
        let minutes = |minutes| Duration::from_mins(minutes);
        assert_eq!(fine.pause(Some(TTL), Some(&seen("++")), false, &settings), TTL);
        assert_eq!(fine.pause(Some(Duration::ZERO), Some(&seen("++")), false, &settings), minutes(1));
        assert_eq!(fine.pause(Some(Duration::from_hours(24)), Some(&seen("++")), false, &settings), minutes(60));
        assert_eq!(fine.pause(None, Some(&seen("??")), false, &settings), TTL);
        assert_eq!(fine.pause(None, None, false, &settings), minutes(1));
        let mut doubted = Watched::default();
        doubted.look(&seen("+-"), &settings, START);
        assert_eq!(doubted.pause(Some(TTL), Some(&seen("+-")), false, &settings), minutes(1));
        assert_eq!(doubted.pause(None, Some(&seen("-")), true, &settings), TTL, "a resolver remembers");
    }
}
