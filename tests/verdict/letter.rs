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
