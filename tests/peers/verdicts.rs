//! What four independent verifiers and `postseal check` make of what the relay sends, every signature of every kind of message and the
//! ARC chains, and of signatures that are odd.
//!
//! They must agree with each other and with what was meant. Where one cannot know a thing, its table in `support/verifiers.rs` says so.

use crate::support::bind::Bind;
use crate::support::lab::{APPLICATION, LIST, Lab, Plan, Submission};
use crate::support::letters::{POST, letters};
use crate::support::postfix::{Delivered, Postfix, Setup};
use crate::support::verifiers::{self, Arrived, Dkimpy, Findings, ForeignKey, Says, Verifier};
use crate::support::{Peer, folder, free_port, lab, missing, odd_signatures, run};
use std::collections::BTreeSet;
use std::process::Command;

#[test]
fn every_kind_of_message_verifies_everywhere() {
    if missing(&peers()) {
        return;
    }
    let (postfix, lab) = started("", "");
    let verifiers = verifiers::all(lab.dns.port());
    let mut cases: Vec<(String, bool)> = Vec::new();
    for (number, letter) in letters().iter().enumerate() {
        // One provider may verify Ed25519, the next not: the signatures below must not mind.
        for (domain, with_ed25519) in [("example.net", true), ("plain.example", false)] {
            let recipient = format!("you-{number}@{domain}");
            let mail = if letter.smtputf8 { "<app@example.com> SMTPUTF8" } else { "<app@example.com> BODY=8BITMIME" };
            let reply = lab.submit(&Submission { client: APPLICATION, mail, rcpts: &[&format!("<{recipient}>")], message: &letter.octets });
            assert!(reply.starts_with("250 "), "{}: {reply}", letter.kind);
            cases.push((recipient, with_ed25519));
        }
    }
    for (recipient, with_ed25519) in &cases {
        let kind = letters().swap_remove(recipient["you-".len()..recipient.find('@').unwrap()].parse().unwrap()).kind;
        let mail = postfix.wait_for(recipient, |mail| mail.recipient == *recipient);
        let mut expected = BTreeSet::from(["rsa-sha256 example.com", "rsa-sha256 platform.example"]);
        if *with_ed25519 {
            expected.insert("ed25519-sha256 example.com");
        }
        assert_eq!(
            signatures(&mail.octets).iter().map(|one| format!("{} {}", one.algorithm, one.domain)).collect::<BTreeSet<_>>(),
            expected.iter().map(|s| (*s).to_owned()).collect(),
            "{kind}"
        );
        assert!(mail.return_path.ends_with("@b.example.com"), "{kind}: {}", mail.return_path);
        agree(&verifiers, kind, &mail);
    }
    lab.stop();
}

#[test]
fn what_a_list_passes_on_verifies_everywhere_as_its_author_signed_it() {
    if missing(&peers()) {
        return;
    }
    let keys = folder("foreign");
    let (author, author_records) = ForeignKey::create("foreign.example", keys.path());
    let (other, other_records) = ForeignKey::create("forwarder.example", keys.path());
    let (postfix, lab) = started(&format!("{author_records}{other_records}"), "");
    let verifiers = verifiers::all(lab.dns.port());
    let port = lab.dns.port();

    let signed = Dkimpy::sign(port, "sign", &author, POST.as_bytes());
    let forwarded = Dkimpy::sign(port, "arc", &other, &signed);
    let twice = Dkimpy::sign(port, "arc", &author, &forwarded);
    for (name, message, instance) in [("signed", &signed, 1), ("forwarded", &forwarded, 2), ("twice", &twice, 3)] {
        let recipient = format!("{name}@example.net");
        let reply = lab.submit(&Submission { client: LIST, mail: "<talk-bounces@list.example> BODY=8BITMIME", rcpts: &[&format!("<{recipient}>")], message });
        assert!(reply.starts_with("250 "), "{name}: {reply}");
        let mail = postfix.wait_for(&recipient, |mail| mail.recipient == recipient);
        assert!(mail.octets.ends_with(message.as_slice()), "{name}: the message was changed below what was put on top");
        assert!(mail.return_path.ends_with("@b.list.example"), "{name}: {}", mail.return_path);
        assert!(signatures(&mail.octets).iter().any(|one| one.domain == "foreign.example"));
        assert_eq!(field(&mail.octets, "ARC-Seal").split(';').next().unwrap().trim(), format!("i={instance}"), "{name}");
        agree(&verifiers, name, &mail);
    }
    lab.stop();
}

#[test]
fn a_broken_chain_is_sealed_as_broken_and_passes_nowhere() {
    if missing(&peers()) {
        return;
    }
    let keys = folder("foreign");
    let (author, records) = ForeignKey::create("foreign.example", keys.path());
    let (postfix, lab) = started(&records, "");
    let chained = Dkimpy::sign(lab.dns.port(), "arc", &author, POST.as_bytes());
    let broken = String::from_utf8(chained).unwrap().replace("What do you think", "What do they think");
    let reply = lab.submit(&Submission {
        client: LIST,
        mail: "<talk-bounces@list.example> BODY=8BITMIME",
        rcpts: &["<broken@example.net>"],
        message: broken.as_bytes(),
    });
    assert!(reply.starts_with("250 "), "{reply}");
    let mail = postfix.wait_for("the broken one", |mail| mail.recipient == "broken@example.net");
    assert!(field(&mail.octets, "ARC-Seal").contains("cv=fail"), "{}", String::from_utf8_lossy(&mail.octets));
    for verifier in verifiers::all(lab.dns.port()) {
        let findings = verifier.verify(&arrived(&mail));
        assert!(!matches!(findings.arc, Some(Says::Pass)), "{} lets the chain pass", verifier.name());
    }
    lab.stop();
}

#[test]
fn a_changed_message_fails_everywhere() {
    if missing(&peers()) {
        return;
    }
    let (postfix, lab) = started("", "");
    let reply = lab.submit(&Submission { client: APPLICATION, mail: "<app@example.com>", rcpts: &["<you@example.net>"], message: &letters()[0].octets });
    assert!(reply.starts_with("250 "), "{reply}");
    let mail = postfix.wait_for("the letter", |_| true);
    let text = String::from_utf8(mail.octets.clone()).unwrap();
    let changes = [
        ("a word of the body", text.replace("Hello.", "Hallo.")),
        ("the subject", text.replace("Subject: plain", "Subject: plane")),
        ("a second From on top", format!("From: Other <other@example.com>\r\n{text}")),
        ("a second Subject below", text.replace("Subject: plain\r\n", "Subject: plain\r\nSubject: other\r\n")),
    ];
    for verifier in verifiers::all(lab.dns.port()) {
        for (what, changed) in &changes {
            assert_ne!(*changed, text);
            let findings = verifier.verify(&Arrived { octets: changed.clone().into_bytes(), ..arrived(&mail) });
            assert!(findings.dkim.values().all(|says| *says != Says::Pass), "{} overlooks {what}: {findings:?}", verifier.name());
            assert_ne!(findings.arc, Some(Says::Pass), "{} lets the chain pass with {what}", verifier.name());
        }
    }
    lab.stop();
}

#[test]
fn what_sign_makes_offline_verifies_everywhere() {
    if missing(&peers()) {
        return;
    }
    let (_postfix, lab) = started("", "");
    let verifiers = verifiers::all(lab.dns.port());
    for letter in letters() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
        command.args(["sign", "--identity", "application", "--config"]).arg(lab.relay.config());
        let (code, sealed) = run(&mut command, &letter.octets);
        assert_eq!(code, 0, "{}: {sealed}", letter.kind);
        let mail = Delivered { return_path: "bounce@b.example.com".to_owned(), recipient: String::new(), received: String::new(), octets: sealed.into_bytes() };
        assert_eq!(signatures(&mail.octets).len(), 3, "{}", letter.kind);
        agree(&verifiers, letter.kind, &mail);
    }
    lab.stop();
}

/// Who passes an odd signature that the standards do not let pass, or the other way round, and where that stands.
const DIFFERENT: &[(&str, &[&str], &str)] = &[
    (
        "names DKIM-Signature",
        &["dkimpy", "Mail::DKIM", "OpenDKIM", "rspamd"],
        "RFC 6376 §3.5, h=: the field being verified is never one of those it names; they hash it twice",
    ),
    ("signed in the future", &["dkimpy", "OpenDKIM", "rspamd"], "RFC 6376 §3.5, t=: a verifier may ignore such a signature, and may not"),
    ("key for mail, folded", &["dkimpy", "Mail::DKIM"], "RFC 6376 §3.6.1, s=: white space around colons means nothing"),
    ("padding left out", &["dkimpy"], "RFC 6376 §2.10: padding is optional"),
    ("l and an addition", &["rspamd"], "RFC 6376 §3.4.5: l= counts canonical octets, not raw ones"),
    ("l beyond the body", &["dkimpy", "Mail::DKIM", "rspamd"], "RFC 6376 §3.5, l=: it must not be larger than the body"),
    ("From unsigned", &["dkimpy", "Mail::DKIM"], "RFC 6376 §6.1.1: From must be signed"),
    ("x before t", &["Mail::DKIM"], "RFC 6376 §3.5, x=: it must be greater than t="),
    ("i elsewhere", &["rspamd"], "RFC 6376 §6.1.1: the domain of i= must be d= or below it"),
    ("i that only looks below", &["rspamd"], "RFC 6376 §6.1.1: the domain of i= must be d= or below it"),
    ("i below d and strict key", &["dkimpy", "rspamd"], "RFC 6376 §3.6.1, t=s: i= must be at d= itself"),
    ("no version", &["Mail::DKIM"], "RFC 6376 §3.5, v=: it is required"),
    ("a tag twice", &["Mail::DKIM", "OpenDKIM", "rspamd"], "RFC 6376 §3.2: the whole list is invalid"),
    ("an empty tag", &["Mail::DKIM"], "RFC 6376 §3.2: a tag-spec has a name"),
    ("unknown query", &["rspamd"], "RFC 6376 §3.5, q=: a signature with unknown query methods alone must be ignored"),
    ("form feed for a space", &["OpenDKIM", "rspamd"], "RFC 6376 §2.8: white space is space and tab"),
    ("key for TLS reports", &["rspamd"], "RFC 6376 §3.6.1, s=: a record for another service must be ignored"),
    ("key for sha1", &["dkimpy", "rspamd"], "RFC 6376 §3.6.1, h=: the hash must be listed"),
    ("key of another version", &["rspamd"], "RFC 6376 §3.6.1, v=: a record of another version must be discarded"),
    ("key with v last", &["dkimpy", "Mail::DKIM", "OpenDKIM", "rspamd"], "RFC 6376 §3.6.1, v=: it must be the first tag"),
    ("key of 512 bits", &["Mail::DKIM", "rspamd"], "RFC 8301 §3.2: it must not be considered valid"),
];
/// RFC 6376 §3.6.2.2: what several records come to is undefined; we try each, as §6.1.2 step 4 allows, and others take the first.
const UNDEFINED: &str = "one good record of two";

#[test]
fn odd_signatures_pass_where_they_pass_elsewhere_or_the_standards_say_why_not() {
    if missing(&[&verifiers::PEERS[..], &[Peer::Bind]].concat()) {
        return;
    }
    let cases = odd_signatures::all();
    let strings = |record: &String| record.as_bytes().chunks(200).map(|part| format!("\"{}\"", String::from_utf8_lossy(part))).collect::<Vec<_>>().join(" ");
    let records =
        cases.iter().flat_map(|case| case.records.iter().map(|record| format!("{}._domainkey.example.com. TXT {}\n", case.selector, strings(record))));
    let dns = Bind::start(free_port(), &records.collect::<String>());
    let mut faults = Vec::new();
    for verifier in verifiers::all(dns.port()) {
        for case in &cases {
            let found = verifier.verify(&Arrived { return_path: "app@example.com".to_owned(), octets: case.message.clone().into_bytes() });
            let passes = found.dkim.values().any(|says| *says == Says::Pass);
            if case.name == UNDEFINED && verifier.name() != "postseal check" {
                continue;
            }
            let known = DIFFERENT.iter().any(|(name, who, _)| *name == case.name && who.contains(&verifier.name()));
            if (passes == (case.expect == "pass")) == known {
                faults.push(format!("{}: {} {}: {:?}", case.name, verifier.name(), if passes { "passes it" } else { "does not pass it" }, found.dkim));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn peers() -> Vec<Peer> {
    [&lab::PEERS[..], &verifiers::PEERS, &[Peer::Postfix, Peer::Root]].concat()
}

/// A receiving Postfix, and a relay that signs for example.com with both algorithms and for its platform.
fn started(zone: &str, tables: &str) -> (Postfix, Lab) {
    let postfix = Postfix::start(&Setup { hostname: "mx.example.net", domains: &["example.net", "plain.example"], ..Setup::default() });
    let tables = format!(
        "[domains.\"platform.example\"]\n[routes.recipients]\n\"plain.example\" = \"plain\"\n\
         [smart_hosts.plain]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n{tables}",
        postfix.port()
    );
    let plan = Plan {
        mx_port: postfix.port(),
        domain: "ed25519 = true\nthird_party_domain = \"platform.example\"",
        tables: &tables,
        keys: &["list.example", "platform.example"],
        zone,
        ..Plan::default()
    };
    (postfix, Lab::start(&plan))
}

/// Every verifier passes every signature that it can know, the chain, and SPF and DMARC.
fn agree(verifiers: &[Box<dyn Verifier>], kind: &str, mail: &Delivered) {
    let made = signatures(&mail.octets);
    let mut faults = Vec::new();
    for verifier in verifiers {
        let Findings { dkim, arc, spf, dmarc } = verifier.verify(&arrived(mail));
        for signature in &made {
            let says = dkim.get(&signature.key);
            let may_be_unknown = signature.algorithm == "ed25519-sha256" && !verifier.knows_ed25519();
            if !(says == Some(&Says::Pass) || may_be_unknown && says == Some(&Says::Unsupported)) {
                faults.push(format!("{}: {}: {says:?}", verifier.name(), signature.key));
            }
        }
        if dkim.len() != made.len() {
            faults.push(format!("{}: {} signatures found, {} made", verifier.name(), dkim.len(), made.len()));
        }
        if verifier.knows_arc() && arc != Some(Says::Pass) {
            faults.push(format!("{}: arc: {arc:?}", verifier.name()));
        }
        for (what, says) in [("spf", spf), ("dmarc", dmarc)] {
            if !matches!(says, None | Some(Says::Pass)) {
                faults.push(format!("{}: {what}: {says:?}", verifier.name()));
            }
        }
    }
    assert!(faults.is_empty(), "{kind}: {}\n{}", faults.join("\n"), String::from_utf8_lossy(&mail.octets));
}

fn arrived(mail: &Delivered) -> Arrived {
    Arrived { return_path: mail.return_path.clone(), octets: mail.octets.clone() }
}

/// A DKIM-Signature field.
struct Signature {
    algorithm: String,
    domain: String,
    key: String,
}

fn signatures(message: &[u8]) -> Vec<Signature> {
    let signature = |value: &String| {
        let tag =
            |name: &str| value.split(';').find_map(|tag| tag.trim().strip_prefix(name)?.trim_start().strip_prefix('=')).unwrap_or_default().trim().to_owned();
        Signature { algorithm: tag("a"), key: format!("{}._domainkey.{}", tag("s"), tag("d")), domain: tag("d") }
    };
    fields(message, "DKIM-Signature").iter().map(signature).collect()
}

/// The topmost field of this name.
fn field(message: &[u8], name: &str) -> String {
    fields(message, name).into_iter().next().unwrap_or_else(|| panic!("no {name} in {}", String::from_utf8_lossy(message)))
}

/// All fields of this name, unfolded, top to bottom.
fn fields(message: &[u8], name: &str) -> Vec<String> {
    let text = String::from_utf8_lossy(message);
    let head = text.split("\r\n\r\n").next().unwrap_or_default().replace("\r\n\t", "\t").replace("\r\n ", " ");
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}
