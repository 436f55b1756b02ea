//! The control header fields of an application: `X-Postseal-Stream`, `-Tag`, `-Track-Id`, `-Deliver-After`. *Normalise* strips them.

use super::{Identity, Settings, list};
use crate::mail::{EnhancedCode, Headers, IdentityName, Refusal, Stream, Timestamp};
use std::time::Duration;

/// What a message asks of us.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    pub stream: Option<Stream>,
    pub track_id: Option<String>,
    pub tag: Option<String>,
    pub deliver_after: Option<Timestamp>,
}

/// Reads and validates them.
pub(super) fn read(header: &Headers<'_>, name: &IdentityName, identity: &Identity, settings: &Settings, now: Timestamp) -> Result<Wishes, Refusal> {
    Ok(Wishes {
        stream: single(header, "X-Postseal-Stream", STREAM_OCTETS_MAX)?.map(|value| stream(&value, name, identity, settings)).transpose()?,
        track_id: single(header, "X-Postseal-Track-Id", TRACK_ID_OCTETS_MAX)?,
        tag: single(header, "X-Postseal-Tag", TAG_OCTETS_MAX)?,
        deliver_after: match single(header, "X-Postseal-Deliver-After", TIME_OCTETS_MAX)? {
            Some(value) => deliver_after(&value, settings.deliver_after_max, now)?,
            None => None,
        },
    })
}

/// The value of a field that may occur once: 1 to `octets_max` printable ASCII characters.
fn single(header: &Headers<'_>, field: &'static str, octets_max: usize) -> Result<Option<String>, Refusal> {
    let mut values = header.named(field).map(|field| field.unfolded());
    let Some(value) = values.next() else { return Ok(None) };
    let fault = if values.next().is_some() {
        "occurs more than once; give it once".to_owned()
    } else if value.is_empty() {
        "is empty; give it a value or leave it away".to_owned()
    } else if value.len() > octets_max {
        format!("has {} octets; at most {octets_max} are allowed", value.len())
    } else if !value.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        "holds a character outside printable ASCII; encode it".to_owned()
    } else {
        return Ok(Some(value));
    };
    Err(malformed(format!("{field} {fault}")))
}

fn stream(value: &str, name: &IdentityName, identity: &Identity, settings: &Settings) -> Result<Stream, Refusal> {
    let stream = Stream::new(value);
    if !settings.streams.contains(&stream) {
        return Err(malformed(format!("X-Postseal-Stream names no stream \"{value}\"; known streams: {}", list(&settings.streams))));
    }
    if stream != identity.stream && identity.streams.as_ref().is_some_and(|allowed| !allowed.contains(&stream)) {
        let allowed = identity.streams.iter().flatten().chain([&identity.stream]).collect::<std::collections::BTreeSet<_>>();
        let text = format!("client \"{name}\" may not use stream \"{value}\", only: {}", list(allowed));
        return Err(Refusal::submitter(550, EnhancedCode::new(5, 7, 1), text));
    }
    Ok(stream)
}

/// An instant (RFC 3339, or RFC 5322 as in Date) or a delay (`+90s`, `+15m`, `+2h`, `+3d`); `None` when it has passed.
fn deliver_after(value: &str, ahead_max: Duration, now: Timestamp) -> Result<Option<Timestamp>, Refusal> {
    let at = instant(value).or_else(|| delay(value).map(|delay| now + delay)).ok_or_else(|| {
        let example = (now + Duration::from_hours(1)).to_rfc3339();
        malformed(format!("X-Postseal-Deliver-After \"{value}\" is no time; write {example}, a date as in Date, or +90s, +15m, +2h, +3d"))
    })?;
    if at.since(now) > ahead_max {
        let latest = (now + ahead_max).to_rfc3339();
        return Err(malformed(format!("X-Postseal-Deliver-After \"{value}\" is too far ahead; {latest} is the latest now")));
    }
    Ok((at > now).then_some(at))
}

fn instant(value: &str) -> Option<Timestamp> {
    let instant = value.parse::<jiff::Timestamp>().ok().or_else(|| jiff::fmt::rfc2822::parse(value).ok().map(|zoned| zoned.timestamp()))?;
    Some(Timestamp::from_unix_millis(instant.as_millisecond()))
}

fn delay(value: &str) -> Option<Duration> {
    let (digits, unit) = value.strip_prefix('+')?.split_at_checked(value.len().checked_sub(2)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let count: u64 = Some(digits).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    Some(Duration::from_secs(count.checked_mul(seconds)?))
}

fn malformed(text: String) -> Refusal {
    Refusal::submitter(550, EnhancedCode::new(5, 6, 0), text)
}

/// Longer than any configured stream's name should be.
const STREAM_OCTETS_MAX: usize = 64;
/// Room for two UUIDs and a prefix.
const TRACK_ID_OCTETS_MAX: usize = 128;
/// A label for statistics.
const TAG_OCTETS_MAX: usize = 64;
/// The longest date of RFC 5322 without comments is shorter.
const TIME_OCTETS_MAX: usize = 64;
