//! What protects bounces on their way in: MTA-STS (RFC 8461), TLS-RPT (RFC 8460), DANE (RFC 7672). Wise, and demanded by nobody.

use super::super::facts::{BounceFacts, DomainFacts, HostFacts};
use super::super::rule::{Finding, Remedy, Rule};
use super::{below, quoted, unanswered};
use crate::dns::Resource;
use crate::mail::Domain;

pub(super) const RULES: &[&Rule] = &[&MTA_STS, &TLS_RPT, &DANE];

static MTA_STS: Rule =
    Rule { id: "mta-sts", why: "it makes senders insist on TLS with a valid certificate when they send mail to this domain (RFC 8461)", demands: &[] };

static TLS_RPT: Rule = Rule { id: "tls-rpt", why: "it makes senders report when TLS to this domain fails (RFC 8460)", demands: &[] };

static DANE: Rule =
    Rule { id: "dane", why: "TLSA records let senders verify the certificate of the host that takes bounces, without any authority (RFC 7672)", demands: &[] };

/// Of the bounce domain, where there is one: mail to the author domain may be somebody else's affair.
pub(super) fn findings(facts: &DomainFacts) -> Vec<Finding> {
    let Some(bounce) = &facts.bounce else { return Vec::new() };
    [mta_sts(bounce), tls_rpt(bounce)].into_iter().chain(bounce.hosts.iter().map(dane)).collect()
}

fn mta_sts(bounce: &BounceFacts) -> Finding {
    let name = below("_mta-sts", &bounce.domain);
    let texts = match &bounce.mta_sts {
        Ok(texts) => texts,
        Err(fault) => return unanswered(&MTA_STS, name, fault),
    };
    let tries: Vec<&String> = texts.iter().filter(|text| text.starts_with("v=STSv1")).collect();
    let record = || vec![Resource::txt(name.clone(), "v=STSv1; id=1")];
    match tries.as_slice() {
        [] if texts.is_empty() => MTA_STS.ok(name, "there is no policy; senders use TLS where it is offered"),
        [] => MTA_STS.warn(
            &name,
            format!("{} does not begin with \"v=STSv1;\", so there is no policy", quoted(&texts[0])),
            Remedy::records("write it so, or delete it", record()),
        ),
        [text] if is_mta_sts(text) => policy(&name, text, bounce),
        [text] => MTA_STS.warn(
            &name,
            format!("{} is no record of MTA-STS: \"v=STSv1;\" and an id= of 1 to 32 letters and digits are wanted", quoted(text)),
            Remedy::records("write it so", record()),
        ),
        _ => MTA_STS.warn(&name, format!("there are {} records, so none counts", tries.len()), Remedy::of("delete all but one")),
    }
}

/// The policy behind the record (RFC 8461 §3.2), as far as it was fetched.
fn policy(name: &Domain, record: &str, bounce: &BounceFacts) -> Finding {
    let place = format!("https://mta-sts.{}/.well-known/mta-sts.txt", bounce.domain);
    let text = match &bounce.mta_sts_policy {
        None => return MTA_STS.ok(name, format!("{}; the policy itself, {place}, was not fetched (--connect does)", quoted(record))),
        Some(Err(why)) => {
            return MTA_STS.warn(
                name,
                format!("the policy cannot be had from {place}: {why}"),
                Remedy::of("serve it there, as text/plain, with a valid certificate and without redirection; or delete the record"),
            );
        }
        Some(Ok(text)) => text,
    };
    let values = |wanted: &str| -> Vec<String> {
        let fields = text.lines().filter_map(|line| line.split_once(':')).map(|(key, value)| (key.trim(), value.trim().to_ascii_lowercase()));
        fields.filter(|(key, _)| *key == wanted).map(|(_, value)| value).collect()
    };
    let write = |why: String| {
        MTA_STS.warn(
            name,
            format!("{place} {why}"),
            Remedy::of("write four kinds of lines: version: STSv1, mode: enforce, mx: HOST for each host, max_age: 604800"),
        )
    };
    let (mode, patterns) = (values("mode"), values("mx"));
    if values("version") != ["stsv1"] {
        return write("has no line \"version: STSv1\"".to_owned());
    }
    let Some(mode) = mode.first().filter(|mode| ["enforce", "testing", "none"].contains(&mode.as_str())) else {
        return write("has no mode of enforce, testing or none".to_owned());
    };
    if !values("max_age").first().is_some_and(|age| age.parse::<u32>().is_ok_and(|seconds| seconds <= MAX_AGE_SECONDS_MAX)) {
        return write(format!("has no max_age of up to {MAX_AGE_SECONDS_MAX} seconds"));
    }
    let missing = bounce.hosts.iter().map(|host| &host.name).find(|host| !patterns.iter().any(|pattern| covers(pattern, host)));
    match missing {
        Some(host) if mode != "none" => write(format!("does not name the MX host {host}, so senders that heed it do not deliver there")),
        _ => MTA_STS.ok(name, format!("{}; mode {mode}", quoted(record))),
    }
}

/// RFC 8461 §4.1: a wildcard stands for the first label.
fn covers(pattern: &str, host: &Domain) -> bool {
    pattern == host.as_str() || pattern.strip_prefix("*.").is_some_and(|rest| host.parent().is_some_and(|parent| parent.as_str() == rest))
}

fn dane(host: &HostFacts) -> Finding {
    let name = below("_25._tcp", &host.name);
    match &host.tlsa {
        Err(fault) => unanswered(&DANE, name, fault),
        Ok(found) if found.usages.is_empty() => DANE.ok(name, "there are no TLSA records; senders go without DANE"),
        Ok(found) if !found.usages.iter().any(|usage| matches!(usage, 2 | 3)) => DANE.warn(
            name,
            "there are TLSA records, but none of usage 2 or 3, the only ones for mail (RFC 7672 §3.1.3)",
            Remedy::of("publish one of usage 3: TLSA 3 1 1 and the SHA-256 of the public key"),
        ),
        Ok(found) if found.validated => DANE.ok(name, "there are TLSA records, and their zone is signed"),
        Ok(_) => DANE.ok(name, "there are TLSA records; whether their zone is signed was not validated (resolver.dnssec)"),
    }
}

/// RFC 8461 §3.1.
fn is_mta_sts(text: &str) -> bool {
    let mut fields = text.split(';').map(str::trim);
    let is_id = |field: &str| field.strip_prefix("id=").is_some_and(|id| (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    fields.next() == Some("v=STSv1") && fields.any(is_id)
}

fn tls_rpt(bounce: &BounceFacts) -> Finding {
    let name = below("_smtp._tls", &bounce.domain);
    let texts = match &bounce.tls_rpt {
        Ok(texts) => texts,
        Err(fault) => return unanswered(&TLS_RPT, name, fault),
    };
    let record = || vec![Resource::txt(name.clone(), format!("v=TLSRPTv1; rua=mailto:tls-reports@{}", bounce.domain))];
    match texts.iter().filter(|text| text.starts_with("v=TLSRPTv1")).collect::<Vec<_>>().as_slice() {
        [] if texts.is_empty() => TLS_RPT.ok(name, "there is no record; nobody reports failures of TLS"),
        [] => TLS_RPT.warn(&name, format!("{} does not begin with \"v=TLSRPTv1;\"", quoted(&texts[0])), Remedy::records("write it so, or delete it", record())),
        [text] if is_tls_rpt(text) => TLS_RPT.ok(name, quoted(text)),
        [text] => TLS_RPT.warn(
            &name,
            format!("{} has no rua= with mailto: or https: addresses behind \"v=TLSRPTv1;\"", quoted(text)),
            Remedy::records("write it so", record()),
        ),
        several => TLS_RPT.warn(&name, format!("there are {} records, so none counts", several.len()), Remedy::of("delete all but one")),
    }
}

/// RFC 8460 §3.
fn is_tls_rpt(text: &str) -> bool {
    let mut fields = text.split(';').map(str::trim);
    let is_uri = |uri: &str| uri.trim().strip_prefix("mailto:").is_some_and(|rest| rest.contains('@')) || uri.trim().starts_with("https://");
    fields.next() == Some("v=TLSRPTv1") && fields.any(|field| field.strip_prefix("rua=").is_some_and(|list| list.split(',').all(is_uri)))
}

/// RFC 8461 §3.2: about a year.
const MAX_AGE_SECONDS_MAX: u32 = 31_557_600;
