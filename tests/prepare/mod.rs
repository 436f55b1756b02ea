//! The way from a submission to sealed messages, all stations together: fixed keys, clock, ids and token secret.

mod files;
mod properties;
mod upstream;

use crate::seal::support::Dns;
use postseal::keys::{PrivateKey, Record};
use postseal::mail::{
    BodyType, Client, Domain, Envelope, IdentityName, KeyId, MailIds, Mailbox, Message, Proof, Recipient, Refusal, ReversePath, RouteName, Selector, Stream,
    Submission, Timestamp,
};
use postseal::policy::{self, AuthorDomain, DomainPattern, Identity, RouteRule};
use postseal::prepare::{Facts, Snapshot, facts_needed, prepare};
use postseal::readdress::{self, BounceRule, Keep, RewriteReversePath, Ring, TokenPer, TokenSecret};
use postseal::seal::dkim::{Signer, verify};
use postseal::seal::{self, DomainSeal, Examined, Mode, RouteProfile, Rules, Sealed};
use postseal::{normalise, policy::Foreign};
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// 2026-11-22T01:18:45Z.
const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_310_325);

/// A relay without sockets: what decides, and the DNS that a receiver would ask.
///
/// `app` writes as author.example (both keys, platform.example as third party), daily.example (a token a day), nokey.example and
/// parked.example; `list` passes on for list.example. Mail to ses.example takes a smart host that replaces Message-ID, Date and the
/// reverse-path; mail to twin.example one that is signed for like any MX host; all other goes by MX.
struct World {
    rules: Snapshot,
    /// Of origin.example, where mail comes from that passes through.
    origin: Rules,
    dns: Dns,
}

impl World {
    fn new() -> Self {
        let mut dns = Dns::default();
        let author = [key(&mut dns, "author.example", "r1", "author.rsa.pem"), key(&mut dns, "author.example", "e1", "author.ed25519.pem")];
        let [rsa, ed25519] = author.map(|signer| vec![signer]);
        let author =
            DomainSeal { rsa, ed25519, ed25519_on: true, retiring: Vec::new(), third_party: Some(domain("platform.example")), ..DomainSeal::default() };
        let mut rules = Rules::new("mx.postseal.example");
        rules.domains.insert(domain("author.example"), author);
        rules.domains.insert(domain("nokey.example"), DomainSeal::default());
        for (name, selector, file) in [("platform", "p1", "platform.rsa.pem"), ("list", "l1", "list.rsa.pem"), ("daily", "d1", "author.rsa.pem")] {
            let name = format!("{name}.example");
            rules.domains.insert(domain(&name), DomainSeal { rsa: vec![key(&mut dns, &name, selector, file)], ..DomainSeal::default() });
        }
        let rewritten = ["Message-ID", "Date"].map(str::to_owned).to_vec();
        rules.profiles.insert(RouteName::new("ses"), RouteProfile { ed25519: false, unsigned: rewritten, ..RouteProfile::default() });
        let mut origin = Rules::new("mx.origin.example");
        let origin_key = key(&mut dns, "origin.example", "o1", "origin.rsa.pem");
        origin.domains.insert(domain("origin.example"), DomainSeal { rsa: vec![origin_key], ..DomainSeal::default() });
        Self {
            rules: Snapshot {
                policy: policy(),
                normalise: normalise::Settings::new(domain("mx.postseal.example")),
                readdress: readdress(),
                ring: Ring::new(&[TokenSecret { key_id: 1, octets: &[7; 32] }], 30).unwrap(),
                seal: rules,
                reverse_paths: HashMap::from([(RouteName::new("ses"), RewriteReversePath::Keep)]),
                stream_ages: HashMap::from([(Stream::new("bulk"), Duration::from_hours(24))]),
                max_age: Duration::from_hours(5 * 24),
            },
            origin,
            dns,
        }
    }

    /// As the relay does it: look, then decide.
    async fn run(&self, submission: &Submission) -> Result<Vec<Sealed>, Refusal> {
        let needed = facts_needed(submission);
        let examined = if needed.examination { self.examine(&submission.message).await } else { Examined::default() };
        prepare(submission, &self.rules, Facts { ids: MailIds::reserve(NOW, 7, needed.ids), examined, sender_counter: 0 }, NOW)
    }

    async fn examine(&self, octets: &[u8]) -> Examined {
        verify::examine(octets, &self.dns, NOW).await
    }

    /// What a receiver makes of the signatures, by selector, and of the chain: `e1=pass r1=pass arc=pass`.
    async fn verdict(&self, octets: &[u8]) -> String {
        let examined = self.examine(octets).await;
        let dkim = examined.dkim.iter().map(|fact| format!("{}={}", fact.selector, fact.result.as_str()));
        dkim.chain([format!("arc={}", examined.chain.status)]).collect::<Vec<_>>().join(" ")
    }

    /// The message as origin.example sent it an hour ago, signed and with a set of its own.
    fn sent_by_origin(&self, message: &[u8]) -> Vec<u8> {
        let message = Message::parse(message.to_vec().into()).unwrap();
        let (signing_domain, route) = (domain("origin.example"), RouteName::new("mx"));
        let request = seal::Request { mode: Mode::Author, signing_domain: &signing_domain, route: &route, authenticated: true, trusted_upstream: false };
        let plan = seal::plan(&request, &message.headers(), &Examined::default(), &self.origin).unwrap();
        let seal = seal::make(&plan, &message, &self.origin, NOW - Duration::from_hours(1)).unwrap();
        [seal.header(true), message.octets().to_vec()].concat()
    }
}

/// The octets that go to a next hop.
fn sent(mail: &Sealed, with_ed25519: bool) -> Vec<u8> {
    [mail.seal.header(with_ed25519), mail.message.octets().to_vec()].concat()
}

fn policy() -> policy::Settings {
    let mut settings = policy::Settings::new(mailbox("postmaster@author.example"));
    let authors = ["author", "daily", "nokey", "parked"].map(|name| format!(".{name}.example").parse::<DomainPattern>().unwrap());
    settings.identities.insert(IdentityName::new("app"), Identity::author(authors.to_vec()));
    let mut strict = Identity::author(authors.to_vec());
    strict.reverse_path.foreign = Foreign::Refuse;
    settings.identities.insert(IdentityName::new("strict"), strict);
    settings.identities.insert(IdentityName::new("list"), Identity::forwarder(domain("list.example")));
    for (name, parked) in [("author", false), ("daily", false), ("nokey", false), ("parked", true)] {
        settings.domains.insert(domain(&format!("{name}.example")), AuthorDomain { parked });
    }
    for name in ["ses", "twin"] {
        settings.routes.push(RouteRule { recipients: format!("{name}.example").parse().unwrap(), route: RouteName::new(name) });
    }
    settings.streams.insert(Stream::new("bulk"));
    settings
}

fn readdress() -> readdress::Settings {
    let rule = |name: &str| {
        let token_per = if name == "daily" { TokenPer::SenderAndDay } else { TokenPer::Message };
        (domain(&format!("{name}.example")), BounceRule { bounce_domain: domain(&format!("b.{name}.example")), keep: Keep::Nothing, token_per })
    };
    readdress::Settings { domains: ["author", "daily", "list", "nokey"].map(rule).into(), token_age_days_max: 30 }
}

/// A submission of `app`, authenticated over TLS.
fn submission(from: &str, to: &[&str], message: Vec<u8>) -> Submission {
    Submission {
        envelope: Envelope {
            reverse_path: path(from),
            recipients: to.iter().map(|to| recipient(to)).collect(),
            body: BodyType::EightBitMime,
            smtputf8: false,
            ret: None,
            envid: None,
        },
        client: Client {
            identity: IdentityName::new("app"),
            proof: Proof::Sasl { user: "app".into() },
            address: "192.0.2.7".parse().unwrap(),
            helo: "pod-7.author.example".into(),
            esmtp: true,
            tls: None,
            listener: "submission".into(),
        },
        message: message.into(),
        received_at: NOW,
    }
}

fn path(text: &str) -> ReversePath {
    if text.is_empty() { ReversePath::Null } else { mailbox(text).into() }
}

fn recipient(text: &str) -> Recipient {
    Recipient { mailbox: mailbox(text), notify: postseal::mail::Notify::default(), orcpt: None }
}

/// A key of `keys/`, under a name, and in the DNS.
fn key(dns: &mut Dns, name: &str, selector: &str, file: &str) -> Arc<Signer> {
    let private = PrivateKey::from_pem(&fs::read(folder().join("keys").join(file)).unwrap()).unwrap();
    let id = KeyId { domain: domain(name), selector: Selector::new(selector) };
    dns.publish(&id.to_string(), &Record::of(private.public().clone()).to_string());
    let signer = if file.ends_with(".rsa.pem") { Signer::rsa(id, private.der()) } else { Signer::ed25519(id, private.der()) };
    Arc::new(signer.unwrap())
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/prepare")
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}
