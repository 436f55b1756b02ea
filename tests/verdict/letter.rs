//! DKIM to the letter (RFC 6376, RFC 8301), where mail-auth, asked as well, often differs: each difference stands in [`DIFFERENT`] with
//! the section that decides.

use super::zone::Zone;
use crate::support::odd_signatures;
use mail_auth::{AuthenticatedMessage, DkimResult};
use postseal::mail::Headers;
use postseal::verdict::{Check, Delivery, Identity, SpfFact, look};

/// What mail-auth says otherwise, and where it stands how it is.
const DIFFERENT: &[(&str, &str, &str)] = &[
    ("l of the whole body", "neutral", "RFC 6376 §3.5: l= is allowed; what it leaves open is told as a weakness"),
    ("l and an addition", "neutral", "RFC 6376 §3.5: l= is allowed; what it leaves open is told as a weakness"),
    ("names DKIM-Signature", "fail", "RFC 6376 §3.7: the signature being verified is not among the fields that h= selects"),
    ("one good record of two", "fail", "RFC 6376 §6.1.2 step 4: a verifier may try one record after the other"),
    ("l beyond the body", "neutral", "RFC 6376 §3.5, §6.1.1: a permanent failure"),
    ("From unsigned", "pass", "RFC 6376 §6.1.1: From must be signed"),
    ("i elsewhere", "fail", "RFC 6376 §6.1.1: a permanent failure (domain mismatch), before anything is verified"),
    ("i that only looks below", "fail", "RFC 6376 §6.1.1: a permanent failure (domain mismatch), before anything is verified"),
    ("i below d and strict key", "fail", "RFC 6376 §3.6.1, t=s: the record is not for this signature"),
    ("no version", "pass", "RFC 6376 §3.5: v= is required"),
    ("a tag twice", "pass", "RFC 6376 §3.2: the whole list is invalid"),
    ("an empty tag", "pass", "RFC 6376 §3.2: a tag-spec has a name"),
    ("unknown query", "pass", "RFC 6376 §3.5: a verifier must ignore a signature whose q= it does not know"),
    ("body changed", "neutral", "RFC 8601 §2.7.1: it failed to verify"),
    ("key for TLS reports", "pass", "RFC 6376 §3.6.1, s=: the record must be ignored"),
    ("key for sha1", "pass", "RFC 6376 §3.6.1, h=: the hash of the signature must be listed"),
    ("key of another kind", "fail", "RFC 6376 §6.1.2 step 8: a permanent failure (inappropriate key algorithm)"),
    ("key with v last", "pass", "RFC 6376 §3.6.1, v=: it must come first"),
    ("key of 512 bits", "fail", "RFC 8301 §3.2: must not be considered valid, which is policy"),
];

#[tokio::test]
async fn signatures_are_judged_as_the_standards_say_and_mail_auth_differs_where_it_is_known_to() {
    let cases = odd_signatures::all();
    let names: Vec<String> = cases.iter().map(|case| format!("{}._domainkey.example.com", case.selector)).collect();
    let records: Vec<(&str, &str)> =
        cases.iter().zip(&names).flat_map(|(case, name)| case.records.iter().map(move |record| (name.as_str(), record.as_str()))).collect();
    let zone = Zone::of(&records).await;
    let mut wrong = Vec::new();
    for case in &cases {
        let headers = Headers::parse(case.message.as_bytes()).unwrap();
        let nothing = Delivery::Told(SpfFact { result: Check::None, domain: None, identity: Identity::MailFrom });
        let found = look(case.message.as_bytes(), &headers, &nothing, &zone.resolver, postseal::clock::now()).await;
        let ours = found.dkim[0].result.as_str();
        if ours != case.expect {
            wrong.push(format!("{}: we say {ours} ({}), the standards {}", case.name, found.dkim[0].why, case.expect));
        }
        // What an operator is told is what mail-auth says when it asks by itself.
        let told = found.second.dkim[0].as_ref().map(|second| second.result.as_str());
        let expected = DIFFERENT.iter().find(|(name, ..)| *name == case.name).map(|(_, theirs, _)| *theirs);
        if told != expected {
            wrong.push(format!("{}: the second opinion is {told:?}, {expected:?} was expected", case.name));
        }
        if let (Some(second), Some((_, _, why))) = (&found.second.dkim[0], DIFFERENT.iter().find(|(name, ..)| *name == case.name))
            && !why.starts_with(second.decides.split([' ', ',']).take(2).collect::<Vec<_>>().join(" ").as_str())
        {
            wrong.push(format!("{}: \"{}\" is said to decide, not \"{why}\"", case.name, second.decides));
        }
        let parsed = AuthenticatedMessage::parse(case.message.as_bytes()).unwrap();
        let outputs = zone.authenticator.verify_dkim(&parsed).await;
        let theirs = match outputs.first().map(mail_auth::DkimOutput::result) {
            None | Some(DkimResult::None) => "none",
            Some(DkimResult::Pass) => "pass",
            Some(DkimResult::Fail(_)) => "fail",
            Some(DkimResult::Neutral(_)) => "neutral",
            Some(DkimResult::PermError(_)) => "permerror",
            Some(DkimResult::TempError(_)) => "temperror",
        };
        let known = DIFFERENT.iter().find(|(name, ..)| *name == case.name).map_or(case.expect, |(_, theirs, _)| theirs);
        if theirs != known {
            wrong.push(format!("{}: mail-auth says {theirs}, {known} was expected of it", case.name));
        }
    }
    let strays = DIFFERENT.iter().filter(|(name, ..)| !cases.iter().any(|case| case.name == *name));
    wrong.extend(strays.map(|(name, ..)| format!("{name}: there is no such case")));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
