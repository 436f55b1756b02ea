//! The catalogue of events says what the program logs, no more and no less.

use postseal::events::catalogue::{EVENTS, Event, FIELDS, find};
use postseal::events::log::Level;
use std::collections::BTreeSet;
use std::path::Path;

/// A `tracing` macro of the sources.
struct Told {
    place: String,
    level: Level,
    /// Several where the name is chosen above the macro.
    events: Vec<String>,
    fields: Vec<String>,
}

#[test]
fn every_event_is_in_the_catalogue_with_its_level_and_fields() {
    let mut faults = Vec::new();
    for told in told() {
        for name in &told.events {
            let Some(event) = find(name) else {
                faults.push(format!("{}: {name} is not in the catalogue", told.place));
                continue;
            };
            // Of names that are chosen above the macro, some may never come to its level.
            if !told.events.iter().filter_map(|name| find(name)).any(|event| event.levels.contains(&told.level)) {
                faults.push(format!("{}: {name} is not declared at {:?}", told.place, told.level));
            }
            let undeclared = told.fields.iter().filter(|field| !event.fields.contains(&field.as_str()));
            faults.extend(undeclared.map(|field| format!("{}: {name} does not declare {field}", told.place)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn everything_in_the_catalogue_is_told_somewhere() {
    let told = told();
    for event in EVENTS {
        let its: Vec<_> = told.iter().filter(|told| told.events.iter().any(|name| name == event.name)).collect();
        for level in event.levels {
            assert!(its.iter().any(|told| told.level == *level), "{} is never told at {level:?}", event.name);
        }
        for field in event.fields {
            assert!(its.iter().any(|told| told.fields.iter().any(|name| name == field)), "{} never carries {field}", event.name);
        }
    }
    for (field, _) in FIELDS {
        assert!(EVENTS.iter().any(|event| event.fields.contains(field)), "no event carries {field}");
    }
}

#[test]
fn names_are_a_noun_and_a_verb_in_the_past_tense() {
    for Event { name, .. } in EVENTS {
        let (noun, deed) = name.split_once('.').unwrap_or_else(|| panic!("{name} is not noun.verb"));
        let is_word = |word: &str| !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_');
        assert!(is_word(noun) && is_word(deed), "{name}");
        let verb = deed.split('_').next().unwrap();
        assert!(verb.ends_with("ed") || IRREGULAR.contains(&verb), "{name}: \"{verb}\" is no past tense");
    }
}

#[test]
fn no_two_entries_are_equal_and_none_is_empty() {
    let names: BTreeSet<_> = EVENTS.iter().map(|event| event.name).collect();
    assert_eq!(names.len(), EVENTS.len(), "a name stands twice");
    let meanings: BTreeSet<_> = EVENTS.iter().map(|event| event.means).collect();
    assert_eq!(meanings.len(), EVENTS.len(), "a meaning stands twice");
    for event in EVENTS {
        assert!(event.means.ends_with('.') && event.remedy.ends_with('.') && !event.levels.is_empty(), "{}", event.name);
        assert!(event.levels.is_sorted_by(|a, b| gravity(*a) < gravity(*b)), "{}: the gravest level first", event.name);
        let known = |field: &&str| FIELDS.iter().any(|(name, _)| name == field);
        assert!(event.fields.iter().all(known), "{} has a field that FIELDS does not explain", event.name);
        let distinct: BTreeSet<_> = event.fields.iter().collect();
        assert_eq!(distinct.len(), event.fields.len(), "{} has a field twice", event.name);
    }
    assert!(FIELDS.is_sorted_by(|a, b| a.0 < b.0), "FIELDS is sorted by name, each once");
}

/// What the reader of sources below makes of macros as they are written; a reader that sees nothing would prove nothing.
#[test]
fn the_sources_are_read_rightly() {
    let source = r#"
        fn slowed() {
            tracing::warn!(host = %a.b(c, "x, y"), reply = text.trim_end(), %until, attempts, "provider.slowed");
        }
        fn attempt() {
            let event = if sent { "attempt.delivered" } else { "attempt.failed" };
            // tracing::info!("comment.written");
            info!(mail_id = %id.map_or_else(|| a == b, |id| id), rule, "{event}");
            tracing::info!(
                commits = report.commits,
                "commits.lost"
            );
        }
    "#;
    let told = told_in("x.rs", source);
    let plain: Vec<_> = told.iter().map(|told| (told.level, told.events.join(" "), told.fields.join(" "))).collect();
    let expected = [
        (Level::Warn, "provider.slowed", "host reply until attempts"),
        (Level::Info, "attempt.delivered attempt.failed", "mail_id rule"),
        (Level::Info, "commits.lost", "commits"),
    ];
    assert_eq!(plain, expected.map(|(level, events, fields)| (level, events.to_owned(), fields.to_owned())));
}

fn told() -> Vec<Told> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let program = text.split("#[cfg(test)]").next().unwrap_or_default();
                found.extend(told_in(&path.strip_prefix(&root).unwrap().display().to_string(), program));
            }
        }
    }
    assert!(found.len() > EVENTS.len(), "the sources were not found");
    found
}

fn told_in(file: &str, text: &str) -> Vec<Told> {
    let mut found = Vec::new();
    for (name, level) in [("error!(", Level::Error), ("warn!(", Level::Warn), ("info!(", Level::Info), ("debug!(", Level::Debug)] {
        for (at, _) in text.match_indices(name) {
            let before = &text[..at];
            let line = &before[before.rfind('\n').map_or(0, |end| end + 1)..];
            if line.trim_start().starts_with("//") || before.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_') {
                continue;
            }
            let mut parts = arguments(&text[at + name.len()..]);
            let event = parts.pop().unwrap_or_default();
            let function = &before[before.rfind("fn ").unwrap_or(0)..];
            let events = match event.as_str() {
                "\"{event}\"" => function.split('"').skip(1).step_by(2).filter(|text| find(text).is_some()).map(str::to_owned).collect(),
                literal => vec![literal.trim_matches('"').to_owned()],
            };
            let place = format!("src/{file}:{}", before.matches('\n').count() + 1);
            assert!(!events.is_empty() && event.starts_with('"'), "{place}: no event in {event}");
            found.push((at, Told { place, level, events, fields: parts.iter().map(|part| field(part)).collect() }));
        }
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, told)| told).collect()
}

/// The arguments of a macro, from behind its parenthesis to the one that closes it.
fn arguments(text: &str) -> Vec<String> {
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut depth, mut quoted, mut escaped) = (0, false, false);
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            ')' if depth == 0 => break,
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(std::mem::take(&mut part).trim().to_owned());
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part.trim().to_owned());
    parts.retain(|part| !part.is_empty());
    parts
}

/// The name in `name = value`, `%name`, `?name` or `name`.
fn field(argument: &str) -> String {
    argument.trim_start_matches(['%', '?']).chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect()
}

fn gravity(level: Level) -> u8 {
    match level {
        Level::Error => 0,
        Level::Warn => 1,
        Level::Info => 2,
        Level::Debug => 3,
    }
}

const IRREGULAR: &[&str] = &["began", "broke", "cut", "fell", "grew", "held", "left", "lost", "made", "ran", "shown", "swept"];
