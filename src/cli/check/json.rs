//! What a program reads: `--json`, as `schema.json` describes it.

use super::saved::Told;
use super::{Checked, Outcome};
use crate::mail::ReversePath;
use crate::verdict::{Check, DkimAxis, Dmarc, DmarcFact, Identity, SecondOpinion, SpfAxis, weaknesses};
use serde_json::{Value, json};

/// The JSON Schema of what [`Checked::json`] gives.
pub(super) const SCHEMA: &str = include_str!("schema.json");

impl Checked<'_> {
    /// The whole report.
    pub(super) fn json(&self) -> Value {
        let facts = self.judged.as_ref().ok().map(|(facts, _)| facts);
        let verdict = self.judged.as_ref().ok().map(|(_, verdict)| verdict);
        let first = |name: &str| self.headers.named(name).next().map(|field| field.unfolded());
        let receiver = |(word, codes): (&str, Vec<&str>)| json!({ "verdict": word, "codes": codes });
        json!({
            "version": 1,
            "outcome": match self.outcome() {
                Outcome::Accepted => "accepted",
                Outcome::Refused => "refused",
                Outcome::Unknown => "unknown",
            },
            "message": {
                "octets": self.octets,
                "from": first("From"),
                "author_domain": facts.map(|facts| facts.author.as_str()),
                "message_id": first("Message-ID"),
                "fault": self.judged.as_ref().err().map(ToString::to_string),
            },
            "sources": {
                "mail_from": told(self.origin.mail_from.as_ref(), |path| match path {
                    ReversePath::Null => String::new(),
                    ReversePath::Mailbox(mailbox) => mailbox.to_string(),
                }),
                "client_ip": told(self.origin.client_ip.as_ref(), ToString::to_string),
                "helo": told(self.origin.helo.as_ref(), Clone::clone),
            },
            "missing": self.origin.missing,
            "bulk": self.bulk,
            "spf": self.spf(),
            "dkim": self.dkim(),
            "dmarc": self.dmarc_json(),
            "arc": {
                "result": self.findings.arc.result.as_str(),
                "sets": self.findings.arc.sets,
                "why": if self.findings.arc.result == Check::Fail { self.findings.arc.why.as_str() } else { "" },
                "oldest_pass": self.findings.arc.oldest_pass,
                "sealers": self.findings.arc.sealers,
                "second_opinion": self.findings.second.arc.as_ref().map(second_opinion),
            },
            "matrix": verdict.map(|verdict| json!({
                "spf": match verdict.spf_axis {
                    SpfAxis::Aligned => "aligned",
                    SpfAxis::NotAligned => "not_aligned",
                    SpfAxis::Fail => "fail",
                },
                "dkim": match verdict.dkim_axis {
                    DkimAxis::Author => "author",
                    DkimAxis::ThirdParty => "third_party",
                    DkimAxis::Fail => "fail",
                },
            })),
            "both_aligned": verdict.is_some_and(|verdict| verdict.both_aligned),
            "gmail": receiver(self.gmail()),
            "yahoo": receiver(self.yahoo()),
            "microsoft": receiver(self.microsoft()),
            "form": self.defects.iter().map(|defect| json!({
                "severity": if defect.code.is_some() { "refused" } else { "warning" },
                "code": defect.code,
                "text": defect.text,
            })).collect::<Vec<_>>(),
            "why": verdict.map(|verdict| verdict.why.as_str()),
            "fix_first": verdict.and_then(|verdict| verdict.fix_first.as_deref()),
            "notes": verdict.map(|verdict| verdict.notes.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap_or_default(),
            "seen_by": self.origin.results.iter().map(|(host, results)| json!({
                "host": host,
                "results": results.iter().map(|result| json!({ "method": result.method, "result": result.result })).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
        })
    }

    fn spf(&self) -> Value {
        let spf = &self.findings.spf;
        let facts = self.judged.as_ref().ok().map(|(facts, _)| facts);
        let outcome = self.findings.spf_outcome.as_ref();
        json!({
            "result": spf.result.as_str(),
            "domain": spf.domain.as_ref().map(crate::mail::Domain::as_str),
            "identity": match spf.identity {
                Identity::MailFrom => "mailfrom",
                Identity::Helo => "helo",
            },
            "aligned": spf.domain.as_ref().is_some_and(|domain| facts.is_some_and(|facts| facts.is_aligned_for(domain, true))),
            "checked": outcome.is_some(),
            "told_by": if outcome.is_some() { None } else { self.origin.told_spf().map(|(host, _)| host) },
            "why": outcome.map_or("", |outcome| outcome.why.as_str()),
            "by": outcome.map(|outcome| outcome.by.iter().map(|(domain, term)| json!({ "domain": domain, "term": term })).collect::<Vec<_>>()).unwrap_or_default(),
            "explanation": outcome.and_then(|outcome| outcome.explanation.as_deref()),
            "lookups": outcome.map(|outcome| outcome.lookups),
            "void_lookups": outcome.map(|outcome| outcome.voids),
        })
    }

    fn dkim(&self) -> Vec<Value> {
        let facts = self.judged.as_ref().ok().map(|(facts, _)| facts);
        let one = |((fact, (signature, outcome)), second): ((&crate::verdict::DkimFact, &(_, _)), &Option<SecondOpinion>)| {
            let of_author = |test: &dyn Fn(&crate::verdict::Facts, &crate::mail::Domain) -> bool| {
                fact.domain.as_ref().is_some_and(|domain| facts.is_some_and(|facts| test(facts, domain)))
            };
            let signature: &crate::seal::dkim::ForeignSignature = signature;
            let outcome: &Result<crate::seal::dkim::Confirmed, _> = outcome;
            json!({
                "domain": fact.domain.as_ref().map(crate::mail::Domain::as_str),
                "selector": fact.selector,
                "algorithm": fact.algorithm,
                "result": fact.result.as_str(),
                "aligned": of_author(&|facts, domain| facts.is_aligned_for(domain, false)),
                "author": of_author(&|facts, domain| facts.is_authors_own(domain)),
                "key_bits": outcome.as_ref().ok().map(|confirmed| confirmed.bits),
                "why": fact.why,
                "identity": signature.identity,
                "canonicalization": format!("{}/{}", signature.header_form.as_str(), signature.body_form.as_str()),
                "signed_fields": signature.names,
                "body_length": signature.length,
                "signed_at": signature.signed_at,
                "expires": signature.expires,
                "weaknesses": weaknesses(self.headers, signature, outcome, self.now)
                    .iter()
                    .map(|weakness| json!({ "id": weakness.id(), "text": weakness.to_string() }))
                    .collect::<Vec<_>>(),
                "second_opinion": second.as_ref().map(second_opinion),
            })
        };
        self.findings.dkim.iter().zip(&self.findings.signatures).zip(&self.findings.second.dkim).map(one).collect()
    }

    fn dmarc_json(&self) -> Value {
        let Ok((facts, verdict)) = &self.judged else {
            return json!({ "result": "permerror", "policy": null, "record_at": null, "why": "there is no single author to ask for" });
        };
        let result = match verdict.dmarc {
            Dmarc::Pass => Check::Pass,
            Dmarc::Fail => Check::Fail,
            Dmarc::None => Check::None,
            Dmarc::TempError => Check::TempError,
        };
        let (record_at, why) = match &facts.dmarc {
            DmarcFact::Record { at, .. } => (Some(at.as_str()), String::new()),
            DmarcFact::Missing => (None, "there is no record".to_owned()),
            DmarcFact::Ignored { fault, .. } => (None, format!("the record is ignored: {fault}")),
            DmarcFact::Unknown => (None, "the DNS did not answer".to_owned()),
        };
        json!({ "result": result.as_str(), "policy": verdict.policy.map(|policy| policy.to_string()), "record_at": record_at, "why": why })
    }
}

fn second_opinion(second: &SecondOpinion) -> Value {
    json!({ "verifier": VERIFIER, "result": second.result.as_str(), "why": second.why, "decides": second.decides })
}

fn told<T>(told: Option<&Told<T>>, text: impl Fn(&T) -> String) -> Value {
    told.map_or(Value::Null, |told| json!({ "value": text(&told.value), "source": told.source }))
}

const VERIFIER: &str = "mail-auth";
