//! Key records: there, readable, of the right key, in the state the keyring says (RFC 6376 §3.6, RFC 8301, RFC 8463).

use super::super::facts::{DomainFacts, KeyFacts, OurKey};
use super::super::rule::{Demand, Finding, Provider, Remedy, Rule, Status, When};
use super::{below, listed, quoted, unanswered};
use crate::dns::Resource;
use crate::keys::{Algorithm, PublicKey, Record, RecordError, State};
use crate::mail::{Domain, KeyId};
use crate::verdict::Check;
use rsa::RsaPublicKey;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;

pub(super) const RULES: &[&Rule] = &[&DKIM, &KEYS];

static DKIM: Rule = Rule { id: "dkim", why: "a signature passes only if its selector shows the public half of the key that made it", demands: DEMANDS };

static KEYS: Rule = Rule {
    id: "dkim-author",
    why: "mail needs an author signature: one of the From domain, by an RSA key, which is the only kind that Gmail, Yahoo and Microsoft verify",
    demands: DEMANDS,
};

const DEMANDS: &[Demand] = &[
    Demand { by: Provider::Gmail, of: When::Always, codes: &["421 4.7.30", "550 5.7.30"] },
    Demand { by: Provider::Yahoo, of: When::Always, codes: &["554"] },
    Demand { by: Provider::Microsoft, of: When::Bulk, codes: &["550 5.7.515"] },
    Demand { by: Provider::Apple, of: When::Bulk, codes: &[] },
];

/// One for each key, and one for all of them.
pub(super) fn findings(facts: &DomainFacts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = facts.keys.iter().map(key).collect();
    findings.push(author_keys(facts));
    findings
}

/// Whether a signature of the domain itself by an RSA key would pass; `None` when nobody can say.
pub(super) fn author_signature(facts: &DomainFacts) -> Option<bool> {
    let signing = |found: &&KeyFacts| found.expected.id.domain == facts.subject.domain && signs(found);
    let mut unknown = facts.keys.is_empty();
    for found in facts.keys.iter().filter(signing) {
        match key(found).status {
            Status::Ok | Status::Warn if is_rsa(found) => return Some(true),
            Status::Unknown => unknown = true,
            _ => {}
        }
    }
    (!unknown).then_some(false)
}

/// Whether signatures by this key are to be expected: by an active one, or by one that somebody named.
pub(super) fn signs(found: &KeyFacts) -> bool {
    found.expected.ours.as_ref().is_none_or(|ours| ours.state == State::Active)
}

/// What a receiver would find of a signature by this key, and why it does not pass.
pub(super) fn signature(found: &KeyFacts) -> (Check, String) {
    let finding = key(found);
    match finding.status {
        Status::Ok | Status::Warn => (Check::Pass, String::new()),
        Status::Unknown => (Check::TempError, finding.seen),
        Status::Fail => (Check::PermError, finding.seen),
    }
}

/// A key by itself.
fn key(found: &KeyFacts) -> Finding {
    let name = record_name(&found.expected.id);
    let texts = match &found.texts {
        Ok(texts) => texts.as_slice(),
        Err(fault) => return unanswered(&DKIM, name, fault),
    };
    match &found.expected.ours {
        None => foreign(&name, texts),
        Some(ours) => own(&name, ours, texts),
    }
}

/// A key whose private half we do not have.
fn foreign(name: &Domain, texts: &[String]) -> Finding {
    match read(texts) {
        Reading::None => {
            DKIM.fail(name, "there is no TXT record", Remedy::of("publish the record that the owner of the key gives you, or name another selector"))
        }
        Reading::Faulty { seen, advice } => DKIM.fail(name, seen, Remedy::of(advice)),
        Reading::Record(Record { public: None, .. }) => DKIM.fail(name, "the key is revoked: p= is empty", Remedy::of("sign with another selector")),
        Reading::Record(record) => good(name, &record, "", None),
    }
}

/// A key of the keyring.
fn own(name: &Domain, ours: &OurKey, texts: &[String]) -> Finding {
    let state = ours.state;
    let reading = read(texts);
    let publish = |text: &str| match &ours.record {
        Some(record) => Remedy::records(text, vec![Resource::txt(name.clone(), record.to_string())]),
        None => Remedy::of(text),
    };
    match (state, reading) {
        (State::Created, Reading::None) => DKIM.ok(name, "the key is made and not published yet; nothing signs with it"),
        (State::Removed, Reading::None) => DKIM.ok(name, "the key is removed, and so is its record"),
        (State::Removed, _) => DKIM.warn(name, "the key is removed, but its record is still there", Remedy::of(format!("delete the TXT record at {name}"))),
        (State::Revoked, Reading::None) => DKIM.ok(name, "the key is revoked, and its record is gone"),
        (State::Revoked, Reading::Record(Record { public: None, .. })) => DKIM.ok(name, "the key is revoked, and its record says so"),
        (State::Revoked, _) => DKIM.warn(name, "the key is revoked, but its record still shows it", publish("publish the record without the key")),
        (State::Published | State::Visible, Reading::None) => {
            DKIM.warn(name, format!("there is no TXT record, though the key is {state}; nothing signs with it yet"), publish("publish it"))
        }
        (_, Reading::None) => DKIM.fail(name, format!("there is no TXT record, and {}", consequence(state)), publish("publish it")),
        (_, Reading::Faulty { seen, advice }) => DKIM.fail(name, seen, publish(&format!("{advice}; the whole record is"))),
        (_, Reading::Record(Record { public: None, .. })) => DKIM.fail(
            name,
            format!("the record says that the key is revoked, and {}", consequence(state)),
            publish("publish the key again, or rotate to another one (`postseal key rotate`)"),
        ),
        (_, Reading::Record(record)) => match &ours.record {
            Some(expected) if expected.public != record.public => DKIM.fail(
                name,
                format!("the record shows another key than the private key in the keyring, and {}", consequence(state)),
                publish("publish the record of the key that signs"),
            ),
            Some(expected) => good(name, &record, &format!(" and matches the private key ({state})"), Some(expected)),
            None => good(name, &record, &format!("; the key file of this {state} key is gone"), None),
        },
    }
}

const fn consequence(state: State) -> &'static str {
    match state {
        State::Retiring => "mail that it signed may still be on its way",
        State::Active => "mail is signed with it",
        _ => "it is to sign soon",
    }
}

/// A record that works: what could be better about it. `replacement`: the record as it should be, where the key is ours.
fn good(name: &Domain, record: &Record, more: &str, replacement: Option<&Record>) -> Finding {
    let bits = bits(record);
    let kind = bits.map_or_else(|| record.algorithm.to_string(), |bits| format!("{} of {bits} bits", record.algorithm));
    let seen = format!("the record holds a key, {kind},{}", if more.is_empty() { " and can be used" } else { more });
    let seen = seen.replace(",;", ";");
    let instead = |text: &str| Remedy::records(text, replacement.map(|record| Resource::txt(name.clone(), record.to_string())).into_iter().collect());
    match bits {
        Some(bits) if bits < RSA_BITS_MIN => {
            return DKIM.fail(
                name,
                format!("the key has {bits} bits; receivers take 1024 at least (RFC 8301 §3.2)"),
                Remedy::of("make a key of 2048 bits and rotate to it (`postseal key rotate`)"),
            );
        }
        Some(bits) if bits > RSA_BITS_MAX => {
            return DKIM.warn(
                name,
                format!("the key has {bits} bits; verifiers need not take more than 4096 (RFC 8301 §3.2)"),
                Remedy::of("rotate to a key of 2048 bits"),
            );
        }
        Some(bits) if bits < RSA_BITS_WISE => {
            return DKIM.warn(name, format!("the key has {bits} bits; Gmail and Yahoo recommend 2048"), Remedy::of("rotate to a key of 2048 bits"));
        }
        _ => {}
    }
    if record.testing {
        return DKIM.warn(
            name,
            format!("{seen}; but it says t=y, testing, and some receivers then ignore its signatures"),
            instead("take t=y out of the record"),
        );
    }
    DKIM.ok(name, seen)
}

/// The keys together: is there an author signature that receivers verify?
fn author_keys(facts: &DomainFacts) -> Finding {
    let domain = &facts.subject.domain;
    let of_domain: Vec<&KeyFacts> = facts.keys.iter().filter(|key| key.expected.id.domain == *domain).collect();
    let ours: Vec<&OurKey> = of_domain.iter().filter_map(|key| key.expected.ours.as_ref()).collect();
    let shared = facts.keys.iter().map(|key| &key.expected.id.domain).chain(&facts.subject.third_party).find_map(|name| Some((name, shared_signer(name)?)));
    let create = || Remedy::of(format!("make one with `postseal key create {domain}` and publish what it prints"));
    if facts.keys.is_empty() {
        return KEYS.unknown(
            domain,
            "no selector is known, so nothing can be said of its keys",
            Some(Remedy::of(format!(
                "make a key here with `postseal key create {domain}`; if others sign, name their selectors with --selector NAME: the s= of a DKIM-Signature is one"
            ))),
        );
    }
    if let (true, Some((name, platform))) = (of_domain.is_empty(), shared) {
        return KEYS.fail(
            domain,
            format!("the only signatures are a third party's: {name} is the shared domain of {platform}, aligned with nobody's From"),
            create(),
        );
    }
    if of_domain.is_empty() {
        return KEYS.fail(
            domain,
            format!("the only signatures are of other domains: {}", listed(facts.keys.iter().map(|key| &key.expected.id.domain))),
            create(),
        );
    }
    if !ours.is_empty() && !ours.iter().any(|key| key.state == State::Active) {
        return KEYS.fail(domain, "no key of the keyring is active, so mail is not signed", create());
    }
    match author_signature(facts) {
        Some(true) => KEYS.ok(domain, "author signatures by an RSA key can be verified"),
        None => KEYS.unknown(domain, "nobody could say whether the keys are published", None),
        Some(false) if of_domain.iter().any(|found| !is_rsa(found) && matches!(key(found).status, Status::Ok | Status::Warn)) => {
            KEYS.fail(domain, "only Ed25519 signatures can be verified, and Gmail, Yahoo and Microsoft do not verify those", create())
        }
        Some(false) => KEYS.fail(domain, "no author signature can be verified: no active key has its record", Remedy::of("mend the key records above")),
    }
}

fn is_rsa(found: &KeyFacts) -> bool {
    match (&found.expected.ours, &found.texts) {
        (Some(ours), _) => ours.algorithm == Algorithm::Rsa,
        (None, Ok(texts)) => matches!(read(texts), Reading::Record(Record { algorithm: Algorithm::Rsa, .. })),
        (None, Err(_)) => false,
    }
}

/// What the TXT records at a selector come to.
enum Reading {
    None,
    Record(Record),
    Faulty { seen: String, advice: String },
}

fn read(texts: &[String]) -> Reading {
    let faulty = |seen: String, advice: &str| Reading::Faulty { seen, advice: advice.to_owned() };
    let tries: Vec<&String> = texts.iter().filter(|text| text.contains("p=") || text.contains("DKIM1")).collect();
    match (texts, tries.as_slice()) {
        ([], _) => Reading::None,
        ([first, ..], []) => faulty(format!("there is a TXT record, but no key record: {}", quoted(first)), "put a key record in its place"),
        ([_, _, ..], [first]) if texts.iter().all(|text| *first == text || is_base64(text)) => faulty(
            format!("the key is cut into {} TXT records; it must be one record of several strings", texts.len()),
            "publish one TXT record whose strings stand behind one another (RFC 6376 §3.6.2.2)",
        ),
        (_, [_, _, ..]) => {
            faulty(format!("there are {} key records; receivers take any of them, or none (RFC 6376 §3.6.2.2)", tries.len()), "delete all but one")
        }
        (_, [text]) if text.contains('"') => faulty(
            format!("there are quotation marks inside the record: {}", quoted(text)),
            "enter the record without quotation marks; the DNS provider's form adds them, or wants the strings joined",
        ),
        (_, [text]) if text.contains('\\') => {
            faulty(format!("there is a backslash inside the record: {}", quoted(text)), "enter \";\" as it is, not as \"\\;\"")
        }
        (_, [text]) => match Record::parse(text) {
            Ok(record) => Reading::Record(record),
            Err(error) => faulty(format!("the record cannot be used: {error}; it says {}", quoted(text)), advice(&error)),
        },
    }
}

const fn advice(error: &RecordError) -> &'static str {
    match error {
        RecordError::Shape(_) => "separate the tags with \";\"",
        RecordError::Version => "begin with \"v=DKIM1;\", or leave v= out",
        RecordError::Algorithm(_) => "write k=rsa or k=ed25519, as the key is",
        RecordError::NoKey => "add p= with the public key in base64",
        RecordError::Key(_) => "copy p= anew: the key is cut off, or of another kind than k= says (Ed25519 keys are 44 characters)",
        RecordError::Excludes(_) => "leave h= and s= out",
    }
}

/// The rest of a key that was cut.
fn is_base64(text: &str) -> bool {
    text.len() >= 20 && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'='))
}

fn bits(record: &Record) -> Option<usize> {
    match record.public.as_ref()? {
        PublicKey::Rsa(spki) => Some(RsaPublicKey::from_public_key_der(spki).ok()?.n().bits()),
        PublicKey::Ed25519(_) => None,
    }
}

/// Where a key's record stands.
pub(super) fn record_name(id: &KeyId) -> Domain {
    below(&format!("{}._domainkey", id.selector), &id.domain)
}

/// The platform whose signatures and envelope senders bear this domain, whoever the author is.
pub(super) fn shared_signer(domain: &Domain) -> Option<&'static str> {
    let below = |suffix: &str| domain.as_str() == suffix || domain.as_str().strip_suffix(suffix).is_some_and(|rest| rest.ends_with('.'));
    SHARED.iter().find(|(suffix, _)| below(suffix)).map(|(_, platform)| *platform)
}

/// Platforms that sign with a domain of their own until one's own is set up.
const SHARED: &[(&str, &str)] =
    &[("gappssmtp.com", "Google Workspace"), ("onmicrosoft.com", "Microsoft 365"), ("amazonses.com", "Amazon SES"), ("sendgrid.net", "SendGrid")];

/// RFC 8301 §3.2; Gmail's and Yahoo's recommendation.
const RSA_BITS_MIN: usize = 1024;
const RSA_BITS_WISE: usize = 2048;
const RSA_BITS_MAX: usize = 4096;
