//! OpenDKIM: `opendkim.conf` with the tables it names (opendkim.conf(5)).
//!
//! Which domains are signed and from which hosts mail is signed become author domains and networks. The keys themselves are taken by
//! `postseal key import`, which the draft names.

use super::{Draft, Files};
use crate::keys::import::opendkim;
use crate::mail::Domain;
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// What becomes of an `opendkim.conf`.
///
/// # Errors
/// Every line of its tables that is none; a configuration that names no key.
pub fn read(text: &str, files: &Files<'_>) -> Result<Draft, Vec<String>> {
    let mut draft = Draft::default();
    let settings = settings(text);
    let domains = domains(&settings, files, &mut draft)?;
    draft.list("identities.app", "author_domains", domains.iter().map(Domain::as_str), "the domains that are signed");
    networks(&settings, files, &mut draft);
    lifetime(&settings, &mut draft);
    for (name, value) in &settings {
        leave(name, value, &mut draft);
    }
    Ok(draft)
}

/// `Name value`, the names without regard to case; `#` begins a comment.
fn settings(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(said, _)| said).trim();
        if let Some((name, value)) = line.split_once(|c: char| c.is_ascii_whitespace()) {
            found.push((name.to_ascii_lowercase(), value.trim().trim_matches('"').to_owned()));
        }
    }
    found
}

fn get<'a>(settings: &'a [(String, String)], name: &str) -> Option<&'a str> {
    settings.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

fn domains(settings: &[(String, String)], files: &Files<'_>, draft: &mut Draft) -> Result<BTreeSet<Domain>, Vec<String>> {
    if let Some(table) = get(settings, "keytable") {
        let signing = get(settings, "signingtable");
        let keys = text_of(table, files)?;
        let signings = signing.map(|table| text_of(table, files)).transpose()?;
        let found = opendkim::read(&keys, signings.as_deref())?;
        found.notes.into_iter().for_each(|note| draft.leave(note));
        let with = signing.map(|table| format!(" --signing-table {}", path_of(table))).unwrap_or_default();
        draft.ask(format!("postseal key import --opendkim-keytable {}{with}", path_of(table)));
        return Ok(found.keys.into_iter().map(|key| key.domain).collect());
    }
    let (Some(domain), Some(selector), Some(file)) = (get(settings, "domain"), get(settings, "selector"), get(settings, "keyfile")) else {
        return Err(vec!["it names no key; expected KeyTable, or Domain, Selector and KeyFile".to_owned()]);
    };
    let mut domains = BTreeSet::new();
    for domain in domain.split([',', ' ']).filter(|domain| !domain.is_empty()) {
        match domain.parse::<Domain>() {
            Ok(domain) => {
                draft.ask(format!("postseal key import {domain} {selector} {file}"));
                domains.insert(domain);
            }
            Err(_) => draft.leave(format!("Domain {domain}: it is no domain name (a file or a pattern?); import its key by hand")),
        }
    }
    Ok(domains)
}

fn path_of(table: &str) -> &str {
    table.strip_prefix("refile:").or_else(|| table.strip_prefix("file:")).unwrap_or(table)
}

fn text_of(table: &str, files: &Files<'_>) -> Result<String, Vec<String>> {
    match table.split_once(':') {
        Some((kind, _)) if !matches!(kind, "file" | "refile") => Err(vec![format!("tables of the kind \"{kind}\" are not read; expected file: or refile:")]),
        _ => files(path_of(table)).map_err(|why| vec![why]),
    }
}

/// Whose mail is signed: `InternalHosts`, by default this host's.
fn networks(settings: &[(String, String)], files: &Files<'_>, draft: &mut Draft) {
    let mut words = Vec::new();
    match get(settings, "internalhosts") {
        None => words.push("127.0.0.1".to_owned()),
        Some(value) if value.starts_with('/') || value.contains("file:") => match files(path_of(value)) {
            Ok(text) => words.extend(text.lines().map(|line| line.split('#').next().unwrap_or_default().trim().to_owned()).filter(|line| !line.is_empty())),
            Err(why) => draft.leave(format!("InternalHosts: {why}")),
        },
        Some(value) => words.extend(value.split([',', ' ']).map(str::to_owned).filter(|word| !word.is_empty())),
    }
    let mut networks = BTreeSet::new();
    for word in &words {
        match word.parse::<IpNet>().ok().or_else(|| word.parse::<IpAddr>().ok().map(IpNet::from)) {
            Some(network) if network.prefix_len() == 0 => draft.leave(format!("InternalHosts: {word} would let everybody relay, and is left out")),
            Some(network) => {
                networks.insert(network.trunc());
            }
            None if word == "localhost" => networks.extend(LOOPBACK.iter().filter_map(|text| text.parse::<IpNet>().ok())),
            None => draft.leave(format!("InternalHosts: {word}: clients are known by address, user or certificate, not by name")),
        }
    }
    draft.list("identities.app", "networks", networks.iter().map(ToString::to_string), "opendkim.conf: InternalHosts");
}

/// `SignatureTTL` is `x=`.
fn lifetime(settings: &[(String, String)], draft: &mut Draft) {
    match get(settings, "signaturettl").map(str::parse::<u64>) {
        None | Some(Ok(0)) => {}
        Some(Ok(seconds)) => draft.text("seal", "signature_expires", &format!("{seconds}s"), "opendkim.conf: SignatureTTL"),
        Some(Err(_)) => draft.leave("SignatureTTL: expected seconds"),
    }
}

fn leave(name: &str, value: &str, draft: &mut Draft) {
    let why = match name {
        "mode" if value.contains('v') => "incoming mail is not verified here; keep OpenDKIM or rspamd in front of mailboxes for that",
        "canonicalization" if !value.eq_ignore_ascii_case("relaxed/relaxed") && !value.eq_ignore_ascii_case("relaxed") => "always relaxed/relaxed",
        "signheaders" | "oversignheaders" | "omitheaders" => "which fields are signed and oversigned is decided by the software, to what receivers demand",
        "bodylengths" | "bodylengthdb" | "maximumsignedbytes" => "l= is never written: it lets others add to a signed body",
        "subdomains" if value.eq_ignore_ascii_case("yes") || value.eq_ignore_ascii_case("true") => {
            "list the subdomains in author_domains, as in \".example.com\" for a domain and all below it"
        }
        "senderheaders" => "the author domain is always that of From",
        "signaturealgorithm" if !value.eq_ignore_ascii_case("rsa-sha256") => "RSA with SHA-256, and Ed25519 where a domain turns it on",
        "resignall" | "resignmailto" => "a forwarder is an identity with mode = \"forward\"",
        "dontsignmailto" => "all mail is signed",
        "externalignorelist" | "peerlist" | "exemptdomains" => "who may relay is [identities]",
        _ => return,
    };
    draft.leave(format!("{name} {value}: {why}"));
}

const LOOPBACK: [&str; 2] = ["127.0.0.1/32", "::1/128"];
