//! `postseal events`: what happens to mail, in the form of the log.
//!
//! Whoever follows stays through restarts of the relay: it is asked again from the last event on that was printed.

use super::paint::Paint;
use super::remote::{Place, Refused, Remote};
use crate::clock;
use crate::config::knob::Knob as _;
use crate::events::event::EventId;
use crate::events::log::{Level, line};
use crate::mail::Timestamp;
use crate::spool::journal::Kind;
use anyhow::bail;
use figment::value::Value as Knob;
use serde_json::Value;
use std::io::{ErrorKind, Write as _, stdout};
use std::process::ExitCode;
use std::time::Duration;

/// What was typed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Go on as things happen, until Ctrl-C
    #[arg(long, short)]
    follow: bool,
    /// From where on: so long ago (15m, 1h, 2d), a time (2026-11-22T08:00:00Z), or the id of an event, which is not printed again
    ///
    /// Without it: the last hour; with --follow, what happens from now on; with --mail, --recipient or --track-id, everything.
    #[arg(long, value_name = "WHEN", value_parser = since)]
    since: Option<String>,
    /// Only of these types, as in mail.bounced; may be repeated
    #[arg(long, value_name = "TYPE", value_delimiter = ',')]
    kind: Vec<Kind>,
    /// Only of this mail
    #[arg(long, value_name = "ID")]
    mail: Option<String>,
    /// Only about this address
    #[arg(long, value_name = "ADDRESS")]
    recipient: Option<String>,
    /// Only of mail that this domain's keys seal
    #[arg(long, value_name = "DOMAIN")]
    author_domain: Option<String>,
    /// Only of mail with this X-Postseal-Track-Id
    #[arg(long, value_name = "ID")]
    track_id: Option<String>,
    /// Print JSON, an event a line, as the API gives them
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    place: Place,
}

pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let remote = args.place.find()?;
    let out = Out { json: args.json, paint: Paint::of_stdout() };
    let printed = if args.follow { follow(&remote, args, out) } else { list(&remote, args, out) };
    printed.map(|()| ExitCode::SUCCESS)
}

fn list(remote: &Remote, args: &Args, out: Out) -> anyhow::Result<()> {
    let mut query = conditions(args);
    query.extend(begin(args).map(|since| ("since", since)));
    query.push(("limit", PAGE.to_owned()));
    loop {
        let page = remote.get("/api/v1/events", &query)?;
        tell_erased(&page["erased"]);
        for event in page["items"].as_array().into_iter().flatten() {
            if !out.print(event)? {
                return Ok(());
            }
        }
        let Some(next) = page["next"].as_str() else { return Ok(()) };
        query.retain(|(name, _)| *name != "after");
        query.push(("after", next.to_owned()));
    }
}

/// Where to begin when nothing is followed.
fn begin(args: &Args) -> Option<String> {
    let is_narrow = args.mail.is_some() || args.recipient.is_some() || args.track_id.is_some();
    args.since.clone().or_else(|| (!is_narrow).then(|| (clock::now() - USUAL).to_rfc3339()))
}

fn follow(remote: &Remote, args: &Args, out: Out) -> anyhow::Result<()> {
    let mut since = args.since.clone();
    let (mut was_there, mut is_told) = (false, false);
    loop {
        let mut query = conditions(args);
        query.extend(since.clone().map(|since| ("since", since)));
        let mut printed = Ok(true);
        let ended = remote.lines("/api/v1/events/follow", &query, |line| {
            let Ok(said) = serde_json::from_str::<Value>(line) else { return true };
            (was_there, is_told) = (true, false);
            if said["type"] == "heartbeat" {
                since = said["since"].as_str().map(str::to_owned).or(since.take());
                tell_erased(&said["erased"]);
                return true;
            }
            printed = out.print(&said);
            since = said["id"].as_str().map(str::to_owned).or(since.take());
            matches!(printed, Ok(true))
        });
        if !printed? {
            return Ok(()); // nobody reads any more
        }
        match ended {
            Err(fault) if !was_there || fault.is::<Refused>() && !is_passing(&fault) => return Err(fault),
            Ok(()) | Err(_) if !is_told => eprintln!("postseal: the relay has ended, or cannot be reached; waiting for it"),
            Ok(()) | Err(_) => {}
        }
        is_told = true;
        std::thread::sleep(PAUSE);
    }
}

/// A relay that is starting or ending refuses for a moment.
fn is_passing(fault: &anyhow::Error) -> bool {
    fault.downcast_ref::<Refused>().is_some_and(|refused| refused.status.is_server_error())
}

fn conditions(args: &Args) -> Vec<(&'static str, String)> {
    let kinds = args.kind.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let all = [
        ("kind", Some(kinds).filter(|kinds| !kinds.is_empty())),
        ("mail", args.mail.clone()),
        ("recipient", args.recipient.clone()),
        ("author_domain", args.author_domain.clone()),
        ("track_id", args.track_id.clone()),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

fn tell_erased(erased: &Value) {
    if let Some(count) = erased.as_u64().filter(|count| *count > 0) {
        eprintln!("postseal: {count} events behind the one that was named are not kept any more; see events.keep and events.events_max");
    }
}

/// As the API reads it: a time so long ago becomes one.
fn since(text: &str) -> Result<String, String> {
    if let Ok(ago) = Duration::read(&Knob::from(text)) {
        return Ok((clock::now() - ago).to_rfc3339());
    }
    if Timestamp::parse_rfc3339(text).is_some() || text.parse::<EventId>().is_ok() {
        return Ok(text.to_owned());
    }
    Err("expected how long ago, as in 15m, 1h or 2d, a time, as in 2026-11-22T08:00:00Z, or the id of an event".to_owned())
}

/// How events are printed.
#[derive(Debug, Clone, Copy)]
struct Out {
    json: bool,
    paint: Paint,
}

impl Out {
    /// Whether anybody still reads.
    fn print(self, event: &Value) -> anyhow::Result<bool> {
        let text = if self.json { format!("{}\n", ordered(event)) } else { told(event, self.paint.colours) };
        let mut out = stdout().lock();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            Err(error) => bail!("standard output: {error}"),
        }
    }
}

/// An event as a line of the log.
fn told(event: &Value, colours: bool) -> String {
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let level = if text("type") == Kind::Quarantined.as_str() { Level::Error } else { Level::Info };
    let fields: Vec<(&str, &Value)> = FIELDS.iter().map(|name| (*name, &event[*name])).filter(|(_, value)| !value.is_null()).collect();
    line(text("time"), level, text("type"), &fields, colours)
}

/// An event in the order in which the API writes it.
fn ordered(event: &Value) -> String {
    let known = ["id", "type", "time"].iter().chain(FIELDS).filter_map(|name| Some((*name, event.get(*name)?)));
    let further =
        event.as_object().into_iter().flatten().filter(|(name, _)| !["id", "type", "time"].contains(&name.as_str()) && !FIELDS.contains(&name.as_str()));
    let members = known.chain(further.map(|(name, value)| (name.as_str(), value)));
    let members: Vec<String> = members.map(|(name, value)| format!("{}:{value}", Value::from(name))).collect();
    format!("{{{}}}", members.join(","))
}

/// What a line tells behind time and type, in this order.
const FIELDS: &[&str] = &[
    "mail_id",
    "recipient",
    "class",
    "message_id",
    "track_id",
    "envid",
    "tag",
    "identity",
    "author_domain",
    "stream",
    "provider",
    "host",
    "status",
    "reply",
    "error",
    "reason",
    "permanent",
    "attempts",
    "unknown_end",
    "next_at",
    "when",
    "came_back",
    "proven",
];
const PAGE: &str = "500";
const USUAL: Duration = Duration::from_hours(1);
/// Between two looks for a relay that has ended.
const PAUSE: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_looks_like_a_line_of_the_log() {
        let event = json!({
            "id": "12-0000000007", "type": "mail.bounced", "time": "2026-11-22T08:00:00.000Z", "mail_id": "0000000007", "recipient": "a@x.example",
            "reply": "550 5.1.1 no such \u{1b}user", "reason": "user-unknown", "permanent": true, "attempts": 1,
        });
        let expected = "2026-11-22T08:00:00.000Z info  mail.bounced         mail_id=0000000007 recipient=a@x.example \
                        reply=\"550 5.1.1 no such \\u{1b}user\" reason=user-unknown permanent=true attempts=1\n";
        assert_eq!(told(&event, false), expected);
        assert!(ordered(&event).starts_with("{\"id\":\"12-0000000007\",\"type\":\"mail.bounced\",\"time\":"));
        assert_eq!(serde_json::from_str::<Value>(&ordered(&event)).unwrap(), event);
    }

    #[test]
    fn since_is_read_in_three_forms() {
        for text in ["1h", "15m", "2d", "2026-11-22T08:00:00Z", "2026-11-22T10:00:00+02:00", "12-0000000007", "12"] {
            assert!(since(text).is_ok(), "{text}");
        }
        assert!(Timestamp::parse_rfc3339(&since("1h").unwrap()).unwrap() < clock::now());
        for text in ["", "yesterday", "1 hour", "-1h", "12-x", "2026-11-22"] {
            assert!(since(text).unwrap_err().starts_with("expected how long ago"), "{text}");
        }
    }
}
