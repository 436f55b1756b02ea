//! Mail that comes back: the MX of the bounce domain, and of the author domain for replies (RFC 5321 §5.1, RFC 7505).

use super::super::facts::{BounceFacts, DomainFacts, HostFacts};
use super::super::rule::{Demand, Finding, Provider, Remedy, Rule, When};
use super::{exists, listed, unanswered};
use crate::dns::{MxAnswer, Resource};
use crate::mail::Domain;

pub(super) const RULES: &[&Rule] = &[&MX_BOUNCE, &MX_AUTHOR, &REACH];

static MX_BOUNCE: Rule = Rule {
    id: "mx-bounce",
    why: "a sender that can take no mail is refused as such, and failures never come home",
    demands: &[Demand { by: Provider::Gmail, of: When::Always, codes: &["550 5.7.27"] }, Demand { by: Provider::Yahoo, of: When::Always, codes: &["554"] }],
};

static MX_AUTHOR: Rule = Rule {
    id: "mx-author",
    why: "the From address must be able to take replies, and a domain with a null MX must not send (RFC 7505 §4.2)",
    demands: &[Demand { by: Provider::Yahoo, of: When::Always, codes: &["554"] }, Demand { by: Provider::Microsoft, of: When::Bulk, codes: &[] }],
};

static REACH: Rule = Rule { id: "mx-reach", why: "bounces come from the internet: the host must answer on port 25 and take STARTTLS", demands: &[] };

pub(super) fn findings(facts: &DomainFacts) -> Vec<Finding> {
    let mut findings = vec![author(facts)];
    if let Some(bounce) = facts.bounce.as_ref().filter(|bounce| bounce.domain != facts.subject.domain) {
        findings.push(exists::bounce_domain(bounce, facts.subject.relay.as_ref()));
    }
    if let Some(bounce) = &facts.bounce {
        findings.push(mx(bounce, facts.subject.relay.as_ref()));
        findings.extend(bounce.hosts.iter().filter_map(reach));
    }
    findings
}

fn author(facts: &DomainFacts) -> Finding {
    let domain = &facts.subject.domain;
    match &facts.mx {
        Err(fault) => unanswered(&MX_AUTHOR, domain, fault),
        Ok(MxAnswer::Null) => MX_AUTHOR.fail(
            domain,
            "a null MX says that it takes no mail, so it must not send either",
            Remedy::of(format!("delete the record {domain}. MX 0 . and name a host that takes its mail")),
        ),
        Ok(MxAnswer::Hosts(hosts)) if hosts.is_empty() => {
            MX_AUTHOR.fail(domain, "its MX records name no host", Remedy::of("name a host in each MX record, not an address"))
        }
        Ok(MxAnswer::Hosts(hosts)) => MX_AUTHOR.ok(domain, format!("replies go to {}", listed(hosts.iter().map(|host| &host.name)))),
        Ok(MxAnswer::Implicit) => {
            MX_AUTHOR.warn(domain, "it has no MX record, so replies go to its own address, if that takes mail", Remedy::of("publish an MX record"))
        }
        Ok(MxAnswer::NoSuchDomain) => MX_AUTHOR.fail(domain, "there is no such domain", Remedy::of("check the spelling")),
    }
}

fn mx(bounce: &BounceFacts, relay: Option<&Domain>) -> Finding {
    let domain = &bounce.domain;
    let publish = |text: &str| Remedy::records(text, relay.map(|host| Resource::mx(domain.clone(), 10, Some(host.clone()))).into_iter().collect());
    let hosts = match &bounce.mx {
        Err(fault) => return unanswered(&MX_BOUNCE, domain, fault),
        Ok(MxAnswer::Null) => {
            return MX_BOUNCE.fail(
                domain,
                "a null MX says that it takes no mail, and its mail is refused for that",
                publish("publish an MX record that names the relay"),
            );
        }
        Ok(MxAnswer::NoSuchDomain) => return MX_BOUNCE.fail(domain, "there is no such name", publish("publish an MX record")),
        Ok(MxAnswer::Implicit) => return MX_BOUNCE.fail(domain, "it has no MX record", publish("publish one that names the relay")),
        Ok(MxAnswer::Hosts(hosts)) if hosts.is_empty() => return MX_BOUNCE.fail(domain, "its MX records name no host", publish("name a host, not an address")),
        Ok(MxAnswer::Hosts(hosts)) => hosts,
    };
    let names = listed(hosts.iter().map(|host| &host.name));
    let lost = |host: &&HostFacts| host.addresses.as_ref().is_ok_and(|addresses| addresses.is_empty() && addresses.unknown.is_none());
    if let Some(host) = bounce.hosts.iter().find(lost) {
        return MX_BOUNCE.fail(
            domain,
            format!("its host {} has no address", host.name),
            Remedy::of(format!("give {} an A or AAAA record, or name another host", host.name)),
        );
    }
    if let Some(fault) = bounce.hosts.iter().find_map(|host| host.addresses.as_ref().err()) {
        return unanswered(&MX_BOUNCE, domain, fault);
    }
    if let Some(relay) = relay.filter(|relay| !hosts.iter().any(|host| host.name == **relay)) {
        return MX_BOUNCE.warn(
            domain,
            format!("bounces go to {names}, not to this relay, {relay}"),
            publish("let it name the relay, unless that host passes them on to it"),
        );
    }
    MX_BOUNCE.ok(domain, format!("bounces go to {names}"))
}

fn reach(host: &HostFacts) -> Option<Finding> {
    Some(match host.reached.as_ref()? {
        Ok(()) => REACH.ok(&host.name, "it answers and takes STARTTLS"),
        Err(why) => REACH.fail(
            &host.name,
            why.clone(),
            Remedy::of("let it listen on port 25 with a certificate, and open the port; or try from a network that lets port 25 out"),
        ),
    })
}
