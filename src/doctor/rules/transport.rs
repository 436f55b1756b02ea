//! What protects bounces on their way in: MTA-STS (RFC 8461), TLS-RPT (RFC 8460), DANE (RFC 7672). Wise, and demanded by nobody.

use super::super::facts::{BounceFacts, DomainFacts};
use super::super::rule::{Finding, Remedy, Rule};
use super::{below, quoted, unanswered};
use crate::dns::Resource;

pub(super) const RULES: &[&Rule] = &[&MTA_STS, &TLS_RPT];

static MTA_STS: Rule =
    Rule { id: "mta-sts", why: "it makes senders insist on TLS with a valid certificate when they send mail to this domain (RFC 8461)", demands: &[] };

static TLS_RPT: Rule = Rule { id: "tls-rpt", why: "it makes senders report when TLS to this domain fails (RFC 8460)", demands: &[] };

/// Of the bounce domain, where there is one: mail to the author domain may be somebody else's affair.
pub(super) fn findings(facts: &DomainFacts) -> Vec<Finding> {
    facts.bounce.as_ref().map(|bounce| vec![mta_sts(bounce), tls_rpt(bounce)]).unwrap_or_default()
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
        [text] if is_mta_sts(text) => {
            MTA_STS.ok(name, format!("{}; the policy itself, at https://mta-sts.{}/.well-known/mta-sts.txt, was not fetched", quoted(text), bounce.domain))
        }
        [text] => MTA_STS.warn(
            &name,
            format!("{} is no record of MTA-STS: \"v=STSv1;\" and an id= of 1 to 32 letters and digits are wanted", quoted(text)),
            Remedy::records("write it so", record()),
        ),
        _ => MTA_STS.warn(&name, format!("there are {} records, so none counts", tries.len()), Remedy::of("delete all but one")),
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
