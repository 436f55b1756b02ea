//! What needs a person: a list made of facts, the most urgent first, each with what to do. Pure.

use super::view::Words;
use super::words::{count, octets, provider as called, sentence, span, thousands};
use crate::mail::Timestamp;
use std::time::Duration;

/// Something that does not mend itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matter {
    /// How soon.
    pub urgency: Urgency,
    /// What is the matter, in a few words.
    pub title: String,
    /// What follows from it.
    pub why: String,
    /// What to do.
    pub remedy: String,
    /// A command that does it or tells more; may be empty.
    pub command: String,
    /// Where on this page there is more: address and text.
    pub link: Option<(String, String)>,
    /// What a receiver said.
    pub words: Option<Words>,
}

/// How soon a person is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Urgency {
    /// Mail is refused, lost or not sent.
    Now,
    /// It will be.
    Soon,
    /// It should be known.
    Know,
}

/// What is known of the relay, as far as it may need a person.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Why nothing is accepted.
    pub refusing: Option<String>,
    /// The spool is held: it was restored, and nothing is sent until a person releases it.
    pub spool_held: bool,
    /// Acknowledged commits that were gone at the last start.
    pub commits_lost: u64,
    /// Messages set aside as damaged.
    pub quarantined: u64,
    /// Recipients that a person holds.
    pub held: u64,
    /// Octets free on the spool's disk, and how many must stay free.
    pub disk: Option<(u64, u64)>,
    /// Entries of the suppression list, and how many there may be.
    pub suppressions: Option<(u64, u64)>,
    /// Domains whose mail waits, and why.
    pub domains_held: Vec<(String, String)>,
    /// Keys whose records are gone or changed, and what was seen; their domains send by other keys, or all the same.
    pub keys_doubted: Vec<(String, String)>,
    /// Domains that should send and have no active key.
    pub domains_without_key: Vec<String>,
    /// Keys on their way that wait for a person, and for what.
    pub keys_waiting: Vec<(String, String)>,
    /// Providers that have a pause.
    pub paused: Vec<Paused>,
    /// Replies that complain of something that is ours to mend.
    pub complaints: Vec<Complaint>,
    /// Webhooks whose endpoints do not answer: name, events that wait at most, the last error.
    pub webhooks: Vec<(String, u64, String)>,
    /// Certificates of the relay: file, and until when they are valid, or why they cannot be used.
    pub certificates: Vec<(String, Result<Timestamp, String>)>,
    /// What the configuration warns of.
    pub warnings: Vec<String>,
    /// What doctor would mend: domain, rule, what was seen, what to do.
    pub findings: Vec<(String, String, String, String)>,
}

/// A provider with a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paused {
    /// Which.
    pub provider: String,
    /// Until when.
    pub until: Timestamp,
    /// Recipients that wait for it.
    pub waiting: u64,
    /// What it said.
    pub words: Option<Words>,
}

/// A reply that complains of something that is ours to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The rule of doctor's that tells more.
    pub rule: String,
    /// The author domain.
    pub domain: String,
    /// Who said it.
    pub provider: String,
    /// What.
    pub words: Words,
}

/// The list, of the facts at `now`.
#[must_use]
pub fn matters(facts: &Facts, now: Timestamp) -> Vec<Matter> {
    let mut list = Vec::new();
    of_spool(facts, &mut list);
    of_domains(facts, &mut list);
    of_receivers(facts, now, &mut list);
    of_surroundings(facts, now, &mut list);
    list.sort_by_key(|matter| matter.urgency);
    list
}

fn of_spool(facts: &Facts, list: &mut Vec<Matter>) {
    if let Some(why) = &facts.refusing {
        list.push(Matter {
            remedy: "Do what it says; clients are told to try again later meanwhile, and what was promised is kept.".to_owned(),
            command: "postseal status".to_owned(),
            ..Matter::of(Urgency::Now, "No mail is accepted", why.clone())
        });
    }
    if facts.spool_held {
        list.push(Matter {
            remedy: "Make sure that the relay it was copied from sends no more, then release it.".to_owned(),
            command: "postseal spool release".to_owned(),
            ..Matter::of(
                Urgency::Now,
                "The spool is held",
                "It was restored from a backup. Mail is accepted, but nothing is sent: what the backup holds may have been sent already.",
            )
        });
    }
    if facts.commits_lost > 0 {
        list.push(Matter {
            remedy: "Look at the disk and at whatever restored the files; ask the applications which mail of the minutes before the start is missing."
                .to_owned(),
            ..Matter::of(
                Urgency::Now,
                format!("{} gone at the last start", count(facts.commits_lost, "commit was", "commits were")),
                "The end of the write-ahead log was missing: mail that was promised may be lost.",
            )
        });
    }
    if facts.quarantined > 0 {
        list.push(Matter {
            remedy: "Look for failing memory or disks; look at each, and tell its submitter.".to_owned(),
            command: "postseal queue list --state quarantined".to_owned(),
            ..Matter::of(
                Urgency::Now,
                format!("{} quarantined", count(facts.quarantined, "mail is", "mails are")),
                "What is stored does not match its checksum, so it is not sent: what is damaged may be its recipient.",
            )
        });
    }
    if let Some((free, reserve)) = facts.disk.filter(|(free, reserve)| facts.refusing.is_none() && *free < reserve.saturating_mul(DISK_NEAR)) {
        list.push(Matter {
            remedy: "Make room, or move the spool to a larger disk.".to_owned(),
            ..Matter::of(Urgency::Soon, "The spool's disk fills up", format!("{} are free. Below {} nothing more is accepted.", octets(free), octets(reserve)))
        });
    }
    if let Some((entries, most)) = facts.suppressions.filter(|(entries, most)| entries.saturating_mul(10) >= most.saturating_mul(9)) {
        list.push(Matter {
            remedy: "See what fills it, or raise suppression.entries_max.".to_owned(),
            command: "postseal suppression list".to_owned(),
            ..Matter::of(
                Urgency::Soon,
                "The suppression list fills up",
                format!(
                    "{} of at most {} on it. When it is full, an address that fails is written to again and again.",
                    count(entries, "address is", "addresses are"),
                    thousands(most)
                ),
            )
        });
    }
    if facts.held > 0 {
        list.push(Matter {
            remedy: "Release or cancel them when the reason is gone.".to_owned(),
            command: "postseal queue list --state held".to_owned(),
            link: Some(("/queue".to_owned(), "Queue".to_owned())),
            ..Matter::of(
                Urgency::Know,
                format!("{} held by a person", count(facts.held, "recipient is", "recipients are")),
                "They are not tried until somebody releases them.",
            )
        });
    }
}

fn of_domains(facts: &Facts, list: &mut Vec<Matter>) {
    for (domain, why) in &facts.domains_held {
        list.push(Matter {
            remedy: "Publish the record again on every server of the zone. The mail goes by itself once receivers have forgotten that it was gone.".to_owned(),
            command: format!("postseal dns records {domain}"),
            link: Some((format!("/domains#{domain}"), domain.clone())),
            ..Matter::of(Urgency::Now, format!("Mail of {domain} waits for its key record"), why.clone())
        });
    }
    for domain in &facts.domains_without_key {
        list.push(Matter {
            remedy: "Make one, publish its record, and activate it.".to_owned(),
            command: format!("postseal key rotate {domain}"),
            link: Some((format!("/domains#{domain}"), domain.clone())),
            ..Matter::of(Urgency::Now, format!("{domain} has no key that signs"), "Its mail is refused, for receivers would refuse it unsigned.")
        });
    }
    for (key, why) in facts.keys_doubted.iter().filter(|(key, _)| !facts.domains_held.iter().any(|(held, _)| domain_of(key) == held)) {
        let domain = domain_of(key);
        list.push(Matter {
            remedy: "Put the record right on every server of the zone.".to_owned(),
            command: format!("postseal doctor {domain}"),
            link: Some((format!("/domains#{domain}"), domain.to_owned())),
            ..Matter::of(Urgency::Now, format!("The record of a key of {domain} is gone or changed"), why.clone())
        });
    }
    for (key, why) in &facts.keys_waiting {
        let domain = domain_of(key);
        list.push(Matter {
            remedy: "Do what it says; rotation goes on by itself then.".to_owned(),
            command: format!("postseal key rotate {domain}"),
            link: Some((format!("/domains#{domain}"), domain.to_owned())),
            ..Matter::of(Urgency::Soon, format!("A key of {domain} waits for you"), why.clone())
        });
    }
    for (domain, rule, seen, remedy) in &facts.findings {
        list.push(Matter {
            remedy: sentence(remedy),
            command: format!("postseal doctor {domain}"),
            link: Some((format!("/domains#{domain}"), domain.clone())),
            ..Matter::of(Urgency::Soon, format!("{domain} does not meet what receivers demand ({rule})"), seen.clone())
        });
    }
}

fn of_receivers(facts: &Facts, now: Timestamp, list: &mut Vec<Matter>) {
    for complaint in &facts.complaints {
        let Complaint { rule, domain, provider, words } = complaint;
        list.push(Matter {
            remedy: "Doctor looks at what the world sees and names the remedy.".to_owned(),
            command: format!("postseal doctor {domain}"),
            words: Some(words.clone()),
            link: Some((format!("/domains#{domain}"), domain.clone())),
            ..Matter::of(
                Urgency::Now,
                format!("{} complains of {domain} ({rule})", called(provider)),
                "The reply names something that is ours to mend; more mail will meet it.",
            )
        });
    }
    for Paused { provider, until, waiting, words } in facts.paused.iter().filter(|paused| paused.until > now) {
        list.push(Matter {
            remedy: "Nothing, if it is rare: it recovers by itself. If it is frequent, read its words and lower its limits in the shaping file.".to_owned(),
            words: words.clone(),
            link: Some(("/queue".to_owned(), "Queue".to_owned())),
            ..Matter::of(
                Urgency::Know,
                format!("{} asked us to slow down", called(provider)),
                format!("{} for another {}.", count(*waiting, "recipient waits", "recipients wait"), span(until.since(now))),
            )
        });
    }
}

fn of_surroundings(facts: &Facts, now: Timestamp, list: &mut Vec<Matter>) {
    for (file, valid) in &facts.certificates {
        let (urgency, title, why) = match valid {
            Err(why) => (Urgency::Now, "A certificate cannot be used".to_owned(), format!("{file}: {why}")),
            Ok(until) if *until <= now => (Urgency::Now, "A certificate has expired".to_owned(), format!("{file}: clients that check it do not connect.")),
            Ok(until) if until.since(now) < CERTIFICATE_NEAR => (Urgency::Soon, format!("A certificate expires in {}", span(until.since(now))), file.clone()),
            Ok(_) => continue,
        };
        let remedy = "Renew it; a changed file is taken up at the next reload (SIGHUP).".to_owned();
        list.push(Matter { remedy, ..Matter::of(urgency, title, why) });
    }
    for (name, waiting, error) in &facts.webhooks {
        list.push(Matter {
            remedy: "Look at the endpoint; events are kept and told in order once it answers.".to_owned(),
            ..Matter::of(
                Urgency::Soon,
                format!("Webhook {name} does not answer"),
                format!("Up to {} for it: {error}", count(*waiting, "event waits", "events wait")),
            )
        });
    }
    if !facts.warnings.is_empty() {
        let (first, rest) = facts.warnings.split_at(facts.warnings.len().min(WARNINGS_TOLD));
        let more = if rest.is_empty() { String::new() } else { format!(" … and {} more.", rest.len()) };
        list.push(Matter {
            remedy: "See whether that is meant.".to_owned(),
            command: "postseal config check".to_owned(),
            ..Matter::of(
                Urgency::Know,
                format!("The configuration has {}", count(facts.warnings.len() as u64, "warning", "warnings")),
                first.iter().map(|warning| sentence(warning)).collect::<Vec<_>>().join(" ") + &more,
            )
        });
    }
}

impl Matter {
    fn of(urgency: Urgency, title: impl Into<String>, why: impl Into<String>) -> Self {
        Self { urgency, title: title.into(), why: sentence(&why.into()), remedy: String::new(), command: String::new(), link: None, words: None }
    }
}

impl Urgency {
    /// Somebody has to do something.
    #[must_use]
    pub const fn needs_a_person(self) -> bool {
        matches!(self, Self::Now | Self::Soon)
    }

    /// In a word or two.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Now => "Now",
            Self::Soon => "Soon",
            Self::Know => "Good to know",
        }
    }
}

/// Of a key as `selector._domainkey.domain`.
fn domain_of(key: &str) -> &str {
    key.split_once("._domainkey.").map_or(key, |(_, domain)| domain)
}

/// Warnings that are told in words.
const WARNINGS_TOLD: usize = 5;
/// Less than so many times the reserve is told.
const DISK_NEAR: u64 = 3;
/// So long before its end a certificate is told of.
const CERTIFICATE_NEAR: Duration = Duration::from_hours(14 * 24);
