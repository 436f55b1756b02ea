//! Webhooks by the conventions of Standard Webhooks 1.0.0: what is sent, how it is signed, when it is tried again. Pure.
//!
//! | header | holds |
//! |---|---|
//! | `webhook-id` | which batch: the same whenever it is sent again |
//! | `webhook-timestamp` | when this attempt is made, in Unix seconds |
//! | `webhook-signature` | `v1,` and the base64 of HMAC-SHA-256 over `id.timestamp.body`, one for each secret, blanks between |
//!
//! The body is `{"type":"mail.events","timestamp":…,"data":[…]}`: events as [`event`](super::event) writes them, in the order in which
//! they happened.

use super::event::{EventId, Shown};
use crate::mail::{Domain, Timestamp};
use crate::spool::journal::{Event, Filter, Kind};
use aws_lc_rs::hmac;
use data_encoding::BASE64;
use secrecy::{ExposeSecret as _, SecretBox};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// `[webhooks.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Its name; its place in the journal is kept under it.
    pub name: String,
    /// Where to.
    pub url: String,
    /// Each signs: the present one, and one that receivers may still know it by.
    pub secrets: Vec<Secret>,
    /// What is told; empty: everything.
    pub kinds: Vec<Kind>,
    /// Of which author domains; empty: of all.
    pub author_domains: Vec<Domain>,
    /// Events of one request at most.
    pub batch_max: std::num::NonZeroUsize,
    /// From the beginning of a request to the header of its answer.
    pub timeout: Duration,
    /// The pause after the first failure; it doubles with each further one.
    pub retry_min: Duration,
    /// The pause never grows beyond it.
    pub retry_max: Duration,
}

/// A secret shared with the receiver.
pub struct Secret(SecretBox<[u8]>);

/// A text that is no secret. It does not say what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected \"whsec_\" and the base64 of 24 to 64 random octets, as `echo whsec_$(openssl rand -base64 32)` makes it")]
pub struct SecretError;

impl Secret {
    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// It is not written so, or too short or too long.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let octets = text.trim().strip_prefix("whsec_").and_then(|encoded| BASE64.decode(encoded.as_bytes()).ok()).ok_or(SecretError)?;
        if SECRET_OCTETS.contains(&octets.len()) { Ok(Self(octets.into())) } else { Err(SecretError) }
    }

    fn sign(&self, content: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.0.expose_secret());
        format!("v1,{}", BASE64.encode(hmac::sign(&key, content).as_ref()))
    }
}

impl Clone for Secret {
    fn clone(&self) -> Self {
        Self(self.0.expose_secret().to_vec().into())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Settings {
    /// The events that go to it. Notices of ours do not: no application sent them.
    #[must_use]
    pub fn filter(&self) -> Filter {
        Filter { kinds: self.kinds.clone(), author_domains: self.author_domains.clone(), submissions: true, ..Filter::default() }
    }

    /// How long to wait after so many failures in a row: doubled each time, up to a bound, and shortened by chance by up to a quarter, so
    /// that many relays do not come back at the same moment. What the receiver asked for is a lower bound.
    #[must_use]
    pub fn pause(&self, failures: u32, asked: Option<Duration>, seed: u64) -> Duration {
        let doubled = self.retry_min.saturating_mul(1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        let bounded = doubled.clamp(self.retry_min.min(self.retry_max), self.retry_max);
        let thousandths = 750 + u32::try_from(250 * (seed % 1000) / 1000).unwrap_or_default();
        let jittered = bounded.saturating_mul(thousandths) / 1000;
        jittered.max(asked.unwrap_or_default().min(ASKED_MAX))
    }
}

/// A request to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`.
    pub timestamp: String,
    /// `webhook-signature`.
    pub signature: String,
    /// The body.
    pub body: Vec<u8>,
}

#[derive(Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Vec<Shown>,
}

impl Delivery {
    /// These events, at least one, sent now.
    ///
    /// # Panics
    /// Without an event: our own invariant.
    #[must_use]
    pub fn of(settings: &Settings, events: &[Event], now: Timestamp) -> Self {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { panic!("a batch has an event") };
        let id = format!("evt_{}_{}", EventId::of(first), last.number);
        let timestamp = now.unix_seconds().to_string();
        let body = Body { kind: TYPE, timestamp: last.news.at.to_rfc3339(), data: events.iter().map(Shown::of).collect() };
        #[allow(clippy::expect_used, reason = "texts and numbers only: there is nothing that JSON could refuse")]
        let body = serde_json::to_vec(&body).expect("events are JSON");
        let content = [id.as_bytes(), b".", timestamp.as_bytes(), b".", &body].concat();
        let signature = settings.secrets.iter().map(|secret| secret.sign(&content)).collect::<Vec<_>>().join(" ");
        Self { id, timestamp, signature, body }
    }
}

/// What an answer's status means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answer {
    /// 2xx: the receiver has them.
    Taken,
    /// 410: it wants no more.
    Gone,
    /// Anything else, redirections too: again later.
    Refused,
}

impl Answer {
    /// Of this status.
    #[must_use]
    pub const fn of(status: u16) -> Self {
        match status {
            200..=299 => Self::Taken,
            410 => Self::Gone,
            _ => Self::Refused,
        }
    }
}

/// `Retry-After` in its form of seconds (RFC 9110 §10.2.3); a date is not understood, and the usual pause holds.
#[must_use]
pub fn retry_after(value: &str) -> Option<Duration> {
    value.trim().parse().ok().map(Duration::from_secs)
}

const TYPE: &str = "mail.events";
const SECRET_OCTETS: std::ops::RangeInclusive<usize> = 24..=64;
/// Whoever asks for a longer pause gets this one.
const ASKED_MAX: Duration = Duration::from_hours(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail::MailId;
    use crate::spool::journal::{About, News};

    fn settings() -> Settings {
        Settings {
            name: "crm".to_owned(),
            url: "https://crm.example/hook".to_owned(),
            secrets: vec![Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap()],
            kinds: vec![],
            author_domains: vec![],
            batch_max: std::num::NonZeroUsize::MIN,
            timeout: Duration::from_secs(15),
            retry_min: Duration::from_secs(1),
            retry_max: Duration::from_mins(1),
        }
    }

    fn event(number: u64) -> Event {
        let news = News {
            at: Timestamp::from_unix_seconds(1_800_000_000),
            kind: Kind::Bounced,
            mail: MailId::from_number(7).unwrap(),
            recipient: "a@x.example".parse().ok(),
            about: About { next_at: Some(1_800_000_001_500), ..About::default() },
        };
        Event { number, news }
    }

    /// The example that the libraries of Standard Webhooks are tested with.
    #[test]
    fn the_signature_is_that_of_the_standard() {
        let secret = Secret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature = secret.sign(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_batch_is_signed_by_every_secret_and_named_by_its_events() {
        let other = Secret::parse("whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA").unwrap();
        let both = Settings { secrets: vec![settings().secrets[0].clone(), other], ..settings() };
        let (now, batch) = (Timestamp::from_unix_seconds(1_800_000_009), [event(12), event(15)]);
        let delivery = Delivery::of(&both, &batch, now);
        assert_eq!((delivery.id.as_str(), delivery.timestamp.as_str()), ("evt_12-0000000007_15", "1800000009"));
        assert_eq!(delivery.signature.split(' ').filter(|one| one.starts_with("v1,")).count(), 2);
        let event = |number| {
            let start = format!("{{\"id\":\"{number}-0000000007\",\"type\":\"mail.bounced\",\"time\":\"2027-01-15T08:00:00.000Z\"");
            format!("{start},\"mail_id\":\"0000000007\",\"recipient\":\"a@x.example\",\"next_at\":\"2027-01-15T08:00:01.500Z\"}}")
        };
        let expected = format!("{{\"type\":\"mail.events\",\"timestamp\":\"2027-01-15T08:00:00.000Z\",\"data\":[{},{}]}}", event(12), event(15));
        assert_eq!(String::from_utf8(delivery.body.clone()).unwrap(), expected);
        let later = Delivery::of(&both, &batch, now + Duration::from_mins(1));
        assert_eq!((later.id, later.body), (delivery.id, delivery.body), "the same batch, later");
        assert_ne!(later.signature, delivery.signature);
    }

    #[test]
    fn secrets_are_of_24_to_64_octets() {
        let of = |octets: usize| format!("whsec_{}", BASE64.encode(&vec![7; octets]));
        for (octets, is_good) in [(23, false), (24, true), (64, true), (65, false)] {
            assert_eq!(Secret::parse(&of(octets)).is_ok(), is_good, "{octets}");
        }
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_!!", "whsk_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            assert_eq!(Secret::parse(text), Err(SecretError), "{text}");
        }
        assert_eq!(format!("{:?}", settings().secrets), "[***]");
    }

    #[test]
    fn pauses_double_up_to_a_bound_and_chance_shortens_them() {
        let of = |failures, seed| settings().pause(failures, None, seed).as_millis();
        assert_eq!([1, 2, 3, 6, 7, 100].map(|failures| of(failures, 0)), [750, 1500, 3000, 24_000, 45_000, 45_000]);
        assert_eq!((of(3, 500), of(3, 999)), (3500, 3996), "by up to a quarter");
        let asked = |seconds| settings().pause(1, Some(Duration::from_secs(seconds)), 0).as_secs();
        assert_eq!([0, 30, 3600, 3601].map(asked), [0, 30, 3600, 3600]);
    }

    #[test]
    fn answers_mean_what_the_standard_says() {
        for (status, answer) in
            [(200, Answer::Taken), (204, Answer::Taken), (302, Answer::Refused), (400, Answer::Refused), (410, Answer::Gone), (503, Answer::Refused)]
        {
            assert_eq!(Answer::of(status), answer, "{status}");
        }
        assert_eq!((retry_after(" 120 "), retry_after("Wed, 21 Oct 2026 07:28:00 GMT")), (Some(Duration::from_mins(2)), None));
    }
}
