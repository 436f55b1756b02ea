//! `postseal queue show`: one mail on one screen.

use super::table::{age, clock, plain, until};
use super::{number, text};
use crate::cli::paint::{Ink, Paint};
use serde_json::Value;
use std::fmt::Write as _;

/// For a person.
#[must_use]
pub fn told(mail: &Value, paint: Paint) -> String {
    let mut told = format!("{} {}\n", paint.ink(Ink::Dim, "mail"), paint.ink(Ink::Bold, text(&mail["mail_id"])));
    let mut line = |name: &str, words: &str| {
        if !words.is_empty() {
            let _ = writeln!(told, "{}  {words}", paint.ink(Ink::Dim, &format!("{name:>12}")));
        }
    };
    if let Some(damage) = mail["damage"].as_str() {
        line("damaged", &paint.ink(Ink::Red, &format!("{}; it is kept and not sent, `postseal queue cancel --silent` takes it out", plain(damage))));
    }
    if !mail["history"].is_null() {
        let history = &mail["history"];
        line("no longer", &format!("in the queue since {}", clock(&history["closed_at"])));
        common(history, &mut line);
        for recipient in history["recipients"].as_array().into_iter().flatten() {
            remembered(recipient, paint, &mut line);
        }
        return told;
    }
    let facts = &mail["mail"];
    if !facts.is_null() {
        common(facts, &mut line);
        line("expires", &clock(&facts["expires_at"]));
        let ours = if facts["kind"] == "notice" { "; a notice of ours to whoever submitted it" } else { "" };
        line("submitted by", &format!("{}{ours}", plain(text(&facts["identity"]))));
        line("author", text(&facts["author_domain"]));
        line("route", text(&facts["route"]));
        line("size", &format!("{} octets below the seal{}", number(&facts["octets"]), needs(facts)));
        line("sealed by", &sealed(facts));
        let dsn = [("ENVID", &facts["envid"]), ("RET", &facts["ret"])];
        line("asked for", &dsn.iter().filter_map(|(name, value)| Some(format!("{name}={}", plain(value.as_str()?)))).collect::<Vec<_>>().join(" "));
    }
    for recipient in mail["recipients"].as_array().into_iter().flatten() {
        waiting(recipient, paint, &mut line);
    }
    told
}

fn common(facts: &Value, line: &mut impl FnMut(&str, &str)) {
    line("accepted", &clock(&facts["accepted_at"]));
    line("from", &format!("<{}>", plain(text(&facts["sender"]))));
    line("message-id", &plain(text(&facts["message_id"])));
    line("stream", &plain(text(&facts["stream"])));
    line("track id", &plain(text(&facts["track_id"])));
    line("tag", &plain(text(&facts["tag"])));
}

fn needs(facts: &Value) -> String {
    let needs = [("eight_bit_mime", "8BITMIME"), ("smtputf8", "SMTPUTF8")];
    let needs: Vec<&str> = needs.into_iter().filter(|(name, _)| facts[*name] == true).map(|(_, keyword)| keyword).collect();
    if needs.is_empty() { String::new() } else { format!(", needs {}", needs.join(" and ")) }
}

fn sealed(facts: &Value) -> String {
    let keys: Vec<&str> = facts["sealed_by"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match (keys.is_empty(), facts["seal_expires_at"].is_string()) {
        (true, _) => "no key: it goes unsigned".to_owned(),
        (false, true) => format!("{}, until {}", keys.join(", "), clock(&facts["seal_expires_at"])),
        (false, false) => keys.join(", "),
    }
}

fn waiting(recipient: &Value, paint: Paint, line: &mut impl FnMut(&str, &str)) {
    let state = text(&recipient["state"]);
    let standing = match state {
        "waiting" => paint.ink(Ink::Blue, &format!("waits, next attempt {}", until(&recipient["next_at"]))),
        "leased" => paint.ink(Ink::Green, &format!("is being delivered, lease until {}", clock(&recipient["lease_until"]))),
        "held" => paint.ink(Ink::Yellow, &format!("held since {}", clock(&recipient["held_at"]))),
        "quarantined" => paint.ink(Ink::Red, "set aside as damaged"),
        "delivered" => paint.ink(Ink::Green, "delivered"),
        other => paint.ink(Ink::Red, other),
    };
    line("to", &format!("{}  {standing}", paint.ink(Ink::Bold, &plain(text(&recipient["recipient"])))));
    let rerouted = if recipient["rerouted"] == true { ", rerouted by a person" } else { "" };
    let told = if recipient["delay_told"] == true { ", its submitter was told of the delay" } else { "" };
    let unknown = match number(&recipient["unknown_ends"]) {
        0 => String::new(),
        count => format!(", {count} of unknown end"),
    };
    let attempts = match number(&recipient["attempts"]) {
        0 => "not tried yet".to_owned(),
        1 => "1 attempt".to_owned(),
        count => format!("{count} attempts"),
    };
    line("", &format!("{} in the queue {}{rerouted}, {attempts}{unknown}{told}", age(&recipient["age_seconds"]), plain(text(&recipient["queue"]))));
    last(&recipient["last"], paint, line);
}

fn remembered(recipient: &Value, paint: Paint, line: &mut impl FnMut(&str, &str)) {
    let outcome = text(&recipient["outcome"]);
    let ink = if outcome == "delivered" { Ink::Green } else { Ink::Red };
    line("to", &format!("{}  {}", paint.ink(Ink::Bold, &plain(text(&recipient["recipient"]))), paint.ink(ink, outcome)));
    last(recipient, paint, line);
}

/// The other side's own words, whole.
fn last(last: &Value, paint: Paint, line: &mut impl FnMut(&str, &str)) {
    if !last["text"].is_string() {
        return;
    }
    let who = [&last["remote"], &last["provider"]].into_iter().filter_map(Value::as_str).map(plain).collect::<Vec<_>>().join(", ");
    let reason = last["reason"].as_str().map_or_else(String::new, |reason| format!(" ({reason})"));
    let heading = [clock(&last["at"]), who].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ");
    line("", &paint.ink(Ink::Dim, &format!("{heading}{reason}")));
    for part in folded(&plain(text(&last["text"])), paint.columns.saturating_sub(14)) {
        line("", &part);
    }
}

/// Lines of at most so many characters, broken between words where that can be.
fn folded(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        let room = width.saturating_sub(lines[last].chars().count() + usize::from(!lines[last].is_empty()));
        if word.chars().count() > room && !lines[last].is_empty() {
            lines.push(String::new());
        }
        let last = lines.len() - 1;
        if !lines[last].is_empty() {
            lines[last].push(' ');
        }
        lines[last].push_str(word);
    }
    lines
}
