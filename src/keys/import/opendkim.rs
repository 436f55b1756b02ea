//! OpenDKIM's KeyTable and SigningTable (opendkim.conf(5)). Pure.
//!
//! ```text
//! KeyTable       mail._domainkey.example.com   example.com:mail:/etc/dkimkeys/mail.private
//! SigningTable   *@example.com                 mail._domainkey.example.com
//! ```
//!
//! A domain `%` in the KeyTable stands for that of whoever sends; the SigningTable says who that can be.

use super::{Foreign, Found, Source, named};
use crate::mail::Domain;
use std::collections::BTreeSet;
use std::path::PathBuf;
use zeroize::Zeroizing;

struct Line<'a> {
    number: usize,
    name: &'a str,
    value: &'a str,
}

/// The keys of a KeyTable; with a SigningTable, those that it names.
///
/// # Errors
/// Every line that is none, with its number.
pub fn read(key_table: &str, signing_table: Option<&str>) -> Result<Found, Vec<String>> {
    let mut found = Found::default();
    let mut faults = Vec::new();
    let keys = lines("KeyTable", key_table, &mut faults);
    let signings = signing_table.map(|text| lines("SigningTable", text, &mut faults));
    for key in &keys {
        let patterns = signings.as_ref().map(|lines| patterns(lines, key.name));
        if patterns.as_ref().is_some_and(BTreeSet::is_empty) {
            found.notes.push(format!("KeyTable line {}: the SigningTable does not name {}, so it signs nothing there and is left out", key.number, key.name));
            continue;
        }
        match of_line(key, patterns.as_ref()) {
            Ok((keys, notes)) => {
                found.keys.extend(keys);
                found.notes.extend(notes);
            }
            Err(fault) => faults.push(format!("KeyTable line {}: {fault}", key.number)),
        }
    }
    for signing in signings.iter().flatten() {
        let name = signing.value.split(':').next().unwrap_or_default();
        if !keys.iter().any(|key| key.name.eq_ignore_ascii_case(name)) {
            found.notes.push(format!("SigningTable line {}: {} is to be signed by {name}, which the KeyTable does not have", signing.number, signing.name));
        }
    }
    if faults.is_empty() { Ok(found) } else { Err(faults) }
}

fn lines<'a>(table: &str, text: &'a str, faults: &mut Vec<String>) -> Vec<Line<'a>> {
    let mut lines = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once(|c: char| c.is_ascii_whitespace()) {
            Some((name, value)) => lines.push(Line { number: index + 1, name, value: value.trim() }),
            None => faults.push(format!("{table} line {}: \"{}\" has a name only; expected a name, a space and a value", index + 1, shown(line))),
        }
    }
    lines
}

/// The domains of senders whose mail this key signs; `None` stands for anybody.
fn patterns(signings: &[Line<'_>], key: &str) -> BTreeSet<Option<String>> {
    let signed = signings.iter().filter(|line| line.value.split(':').next().is_some_and(|name| name.eq_ignore_ascii_case(key)));
    let domain = |pattern: &str| {
        let host = pattern.rsplit_once('@').map_or(pattern, |(_, host)| host).trim_start_matches("*.").trim_start_matches('.');
        (!host.contains('*') && !host.is_empty() && host != "%").then(|| host.to_ascii_lowercase())
    };
    signed.map(|line| domain(line.name)).collect()
}

fn of_line(line: &Line<'_>, patterns: Option<&BTreeSet<Option<String>>>) -> Result<(Vec<Foreign>, Vec<String>), String> {
    let fields: Vec<&str> = line.value.splitn(3, ':').map(str::trim).collect();
    let [domain, selector, key] = fields[..] else {
        return Err(format!("\"{}\"; expected domain:selector:/path/of/key", shown(line.value)));
    };
    let foreign = |domain: &str| {
        let (domain, selector) = named(domain, selector)?;
        let is_path = ["/", "./", "../"].iter().any(|start| key.starts_with(start));
        let source = if is_path { Source::File(PathBuf::from(key.replace('%', domain.as_str()))) } else { Source::Text(Zeroizing::new(key.to_owned())) };
        Ok::<_, String>(Foreign { domain, selector, source })
    };
    let senders: Vec<&str> = patterns.into_iter().flatten().filter_map(Option::as_deref).collect();
    if domain == "%" {
        if senders.is_empty() {
            return Err("its domain is %, that of whoever sends; give the SigningTable that says who does, with --signing-table".to_owned());
        }
        return Ok((senders.into_iter().map(foreign).collect::<Result<_, _>>()?, Vec::new()));
    }
    let key = foreign(domain)?;
    let is_of_others = |sender: &&str| sender.parse::<Domain>().is_ok_and(|sender| !sender.is_at_or_below(&key.domain));
    let note =
        |sender: &str| format!("mail of {sender} is signed as {domain} there; here every author domain has keys of its own: `postseal key create {sender}`");
    let notes = senders.into_iter().filter(is_of_others).map(note).collect();
    Ok((vec![key], notes))
}

/// The start of a line, without what may be a key.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(found: &Found) -> Vec<(String, String, String)> {
        found.keys.iter().map(|key| (key.domain.to_string(), key.selector.to_string(), format!("{:?}", key.source))).collect()
    }

    #[test]
    fn a_key_table_names_domain_selector_and_file() {
        let table = "# keys\nmain   Example.com:MAIL:/etc/dkimkeys/mail.private\n\nother\texample.net:s2.eu:./other.private\ninline example.org:x:MIIEvQ==\n";
        let expect =
            [("example.com", "mail", "File(/etc/dkimkeys/mail.private)"), ("example.net", "s2.eu", "File(./other.private)"), ("example.org", "x", "Text(***)")];
        assert_eq!(keys(&read(table, None).unwrap()), expect.map(|(a, b, c)| (a.into(), b.into(), c.into())));
    }

    #[test]
    fn a_signing_table_says_which_keys_sign_and_for_whom() {
        let table = "any %:mail:/keys/%/mail.private\nown example.com:own:/keys/own\nidle example.com:idle:/keys/idle\n";
        let signing = "*@example.com own\n*@news.example.com own:%\n*@example.net any\n.example.org any\n*@partner.example OWN\n* gone\n";
        let found = read(table, Some(signing)).unwrap();
        let expect = [
            ("example.net", "mail", "File(/keys/example.net/mail.private)"),
            ("example.org", "mail", "File(/keys/example.org/mail.private)"),
            ("example.com", "own", "File(/keys/own)"),
        ];
        assert_eq!(keys(&found), expect.map(|(a, b, c)| (a.into(), b.into(), c.into())));
        assert_eq!(found.notes.len(), 3, "{:#?}", found.notes);
        assert!(found.notes[0].contains("mail of partner.example is signed as example.com there"));
        assert!(found.notes[1].contains("idle, so it signs nothing there") && found.notes[2].contains("line 6: * is to be signed by gone"));
    }

    #[test]
    fn faulty_lines_are_all_told() {
        let faults = read("a example.com:/keys/a\nb\nc exa mple.com:s:/k\nd %:mail:/keys/%/mail\n", Some("x\n* d\n* a\n* c\n")).unwrap_err();
        let expect = [
            "KeyTable line 2: \"b\" has a name only",
            "SigningTable line 1",
            "KeyTable line 1: \"example.com:/keys/a\"; expected",
            "KeyTable line 3",
            "KeyTable line 4: its domain is %",
        ];
        assert!(faults.len() == 5 && faults.iter().zip(expect).all(|(fault, expected)| fault.starts_with(expected)), "{faults:#?}");
    }
}
