//! What a message's seal is to consist of: decided once, at acceptance.

use super::arc::ChainStatus;
use super::arc::chain::SETS_MAX;
use super::results::{self, MethodResult, Results};
use super::rules::{ArcMode, NoKey, RouteProfile, Rules};
use super::{ArcPlan, Examined, Plan};
use crate::mail::{Blame, Domain, EnhancedCode, Headers, Refusal, RouteName};

/// What *plan* has to know of a message beside its header.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Ours, or passing through.
    pub mode: Mode,
    /// The author domain; in [`Mode::Forward`] the forwarder's.
    pub signing_domain: &'a Domain,
    /// Where the message goes.
    pub route: &'a RouteName,
    /// The submitter authenticated by SMTP AUTH. The only method that RFC 8601 §2.7.4 calls `auth`.
    pub authenticated: bool,
    /// The submitter is a postseal of ours: what it has sealed already is not sealed again.
    pub trusted_upstream: bool,
}

/// Whose message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Of an author domain of ours.
    Author,
    /// Somebody else's, passed on by a mailing list or forwarder: no author signature, ARC by the forwarder's domain.
    Forward,
}

/// Decides what the seal of a message consists of.
///
/// # Errors
/// There is no active RSA key for the domain that should sign, and the rules refuse such mail: `550`, with the remedy.
pub fn plan(request: &Request<'_>, headers: &Headers<'_>, examined: &Examined, rules: &Rules) -> Result<Plan, Refusal> {
    let standard = RouteProfile::default();
    let profile = rules.profiles.get(request.route).unwrap_or(&standard);
    let domain = rules.domains.get(request.signing_domain);
    let has_key = domain.is_some_and(|domain| !domain.rsa.is_empty());
    let is_signed = request.trusted_upstream && examined.is_signed_by(request.signing_domain);
    let wants_to_sign = profile.dkim && request.mode == Mode::Author && !is_signed;
    let wanted_arc = arc(request, headers, examined, rules, profile).filter(|_| has_key || !is_signed);
    if (wants_to_sign || wanted_arc.is_some()) && !has_key && rules.no_key == NoKey::Refuse {
        return Err(no_key(request.signing_domain));
    }
    let (signs, arc) = (wants_to_sign && has_key, wanted_arc.filter(|_| has_key));
    let third_party = domain.and_then(|domain| domain.third_party.as_ref()).filter(|platform| profile.dkim && *platform != request.signing_domain);
    let third_party = third_party.filter(|platform| !(request.trusted_upstream && examined.is_signed_by(platform)));
    if let Some(platform) = third_party.filter(|platform| rules.rsa(platform.as_str()).is_empty() && rules.no_key == NoKey::Refuse) {
        return Err(no_key(platform));
    }
    Ok(Plan {
        author: signs.then(|| request.signing_domain.to_string()),
        third_party: third_party.filter(|platform| !rules.rsa(platform.as_str()).is_empty()).map(ToString::to_string),
        ed25519: signs && profile.ed25519 && !rules.ed25519(request.signing_domain.as_str()).is_empty(),
        arc,
        unsigned: unsigned(profile),
    })
}

/// The plan of a message that a person sends by another route than it was planned for: what that route's profile asks, of what the domain
/// has keys for now. An ARC set is kept or left away; none is added, since the header of the submission is no longer examined.
#[must_use]
pub fn plan_again(plan: &Plan, request: &Request<'_>, rules: &Rules) -> Plan {
    let standard = RouteProfile::default();
    let profile = rules.profiles.get(request.route).unwrap_or(&standard);
    let domain = rules.domains.get(request.signing_domain);
    let signs = profile.dkim && request.mode == Mode::Author && domain.is_some_and(|domain| !domain.rsa.is_empty());
    let third_party = domain.and_then(|domain| domain.third_party.as_ref()).filter(|platform| profile.dkim && *platform != request.signing_domain);
    Plan {
        author: signs.then(|| request.signing_domain.to_string()),
        third_party: third_party.filter(|platform| !rules.rsa(platform.as_str()).is_empty()).map(ToString::to_string),
        ed25519: signs && profile.ed25519 && !rules.ed25519(request.signing_domain.as_str()).is_empty(),
        arc: plan.arc.clone().filter(|_| profile.arc),
        unsigned: unsigned(profile),
    }
}

fn unsigned(profile: &RouteProfile) -> Vec<String> {
    profile.unsigned.iter().map(|name| name.to_ascii_lowercase()).filter(|name| name != "from").collect()
}

/// The refusal of mail that has no key: the operator's to mend, but a client that waits is not helped.
#[must_use]
pub fn no_key(domain: &Domain) -> Refusal {
    let text = format!("mail of {domain} cannot be signed: there is no active RSA key; the operator makes one with `postseal key create {domain}`");
    Refusal { blame: Blame::Operator, ..Refusal::submitter(550, EnhancedCode::new(5, 7, 0), text) }
}

/// The ARC set to add, if there is to be one (RFC 8617 §5.1, steps 2 and 3).
fn arc(request: &Request<'_>, headers: &Headers<'_>, examined: &Examined, rules: &Rules, profile: &RouteProfile) -> Option<ArcPlan> {
    let chain = examined.chain;
    let passes_through = request.mode == Mode::Forward || chain.status != ChainStatus::None;
    let wanted = match rules.arc {
        ArcMode::Always => true,
        ArcMode::Forwarded => passes_through,
        ArcMode::Never => false,
    };
    if !wanted || !profile.arc || chain.ended || chain.highest >= SETS_MAX {
        return None;
    }
    // An application writes its own header: only what a forwarder brings can have come from a host in front of us.
    let believed = if request.mode == Mode::Forward { results::believed(headers, &rules.trusted_authserv_ids) } else { Vec::new() };
    // A list changes the message, so its host in front of us, which saw it whole, knows better whether the chain came in intact.
    let came_whole = chain.whole && believed.iter().any(|result| result.method == "arc" && result.result == "pass");
    let status = if chain.status == ChainStatus::Fail && came_whole { ChainStatus::Pass } else { chain.status };
    if chain.unknown && !came_whole {
        return None; // the chain travels as it came, for receivers who reach its keys
    }
    let mut results = Results { authserv_id: rules.authserv_id.clone(), results: results_of(request, examined, status, believed) };
    results.results.retain(MethodResult::fits_a_line);
    while results.to_string().len() > RESULTS_OCTETS_MAX {
        results.results.pop();
    }
    Some(ArcPlan {
        domain: request.signing_domain.to_string(),
        instance: u8::try_from(chain.highest + 1).ok()?, // at most 50
        cv: status.as_str().to_owned(),
        results: results.to_string(),
    })
}

/// What is said of the message in ARC-Authentication-Results: of one born here, that its submitter authenticated or did not try,
/// neither who nor from where; of one that passes through, what believed hosts said, and for the rest what we saw.
fn results_of(request: &Request<'_>, examined: &Examined, chain: ChainStatus, believed: Vec<MethodResult>) -> Vec<MethodResult> {
    let mut results = Vec::new();
    if request.mode == Mode::Author {
        results.push(MethodResult::new("auth", if request.authenticated { "pass" } else { "none" }));
        if examined.dkim.is_empty() && chain == ChainStatus::None {
            return results;
        }
    }
    results.push(MethodResult::new("arc", chain.as_str()));
    if !believed.iter().any(|result| result.method == "dkim") {
        if examined.dkim.is_empty() {
            results.push(MethodResult::new("dkim", "none"));
        }
        results.extend(examined.dkim.iter().map(super::DkimFact::to_result));
    }
    results.extend(believed.into_iter().filter(|result| result.method != "arc" && result.method != "auth"));
    results
}

/// Octets of an ARC-Authentication-Results: what others said at more length is left out. Gmail takes 32 KB in one field.
const RESULTS_OCTETS_MAX: usize = 8 * 1024;
