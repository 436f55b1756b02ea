//! A sealed message and a DNS in memory for mail-auth, which judges it.

use bytes::Bytes;
use mail_auth::dkim::DomainKey;
use mail_auth::dns::TxtRecordParser as _;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::{AuthenticatedMessage, DnsCache, DnsError, Error, MessageAuthenticator, Parameters, ResolverCache, TxtRecord};
use postseal::keys::{Algorithm, PrivateKey, Record};
use postseal::mail::{Domain, KeyId, Message, RouteName, Selector, Timestamp};
use postseal::seal::dkim::NoAnswer;
use postseal::seal::dkim::Signer;
use postseal::seal::dkim::verify::{KeySource, examine};
use postseal::seal::{DkimResult, DomainSeal, Examined, Mode, Plan, Request, Rules, Seal, make, plan};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_310_325);

/// Key records by name; every other name does not exist.
#[derive(Default)]
pub struct Dns {
    texts: HashMap<Domain, Result<Vec<String>, NoAnswer>>,
    /// As mail-auth keeps them.
    parsed: HashMap<String, TxtRecord>,
}

/// Signs for a few domains, and has told the DNS.
pub struct World {
    pub rules: Rules,
    pub dns: Dns,
    pub authenticator: MessageAuthenticator,
}

impl World {
    /// `author.example` with both keys, `platform.example` as its third party, and `list.example`.
    pub fn new() -> Self {
        let mut world = Self {
            rules: Rules::new("mx.postseal.example"),
            dns: Dns::default(),
            authenticator: MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).unwrap(),
        };
        let author = DomainSeal {
            rsa: vec![world.key("author.example", "r1", Algorithm::Rsa)],
            ed25519: vec![world.key("author.example", "e1", Algorithm::Ed25519)],
            ed25519_on: true,
            retiring: Vec::new(),
            third_party: Some(domain("platform.example")),
            ..DomainSeal::default()
        };
        let platform = DomainSeal { rsa: vec![world.key("platform.example", "p1", Algorithm::Rsa)], ..DomainSeal::default() };
        let list = DomainSeal { rsa: vec![world.key("list.example", "l1", Algorithm::Rsa)], ..DomainSeal::default() };
        for (name, seal) in [("author.example", author), ("platform.example", platform), ("list.example", list)] {
            world.rules.domains.insert(domain(name), seal);
        }
        world
    }

    /// Makes a key and publishes it.
    pub fn key(&mut self, name: &str, selector: &str, algorithm: Algorithm) -> Arc<Signer> {
        let id = KeyId { domain: domain(name), selector: Selector::new(selector) };
        let private = PrivateKey::generate(algorithm).unwrap();
        self.dns.publish(&id.to_string(), &Record::of(private.public().clone()).to_string());
        let signer = if algorithm == Algorithm::Rsa { Signer::rsa(id, private.der()) } else { Signer::ed25519(id, private.der()) };
        Arc::new(signer.unwrap())
    }

    /// The seal that a message gets, as `serve` would make it.
    pub async fn seal(&self, message: &Message, request: &Request<'_>) -> Seal {
        let plan = self.plan(message, request).await;
        make(&plan, message, &self.rules, NOW).unwrap()
    }

    pub async fn plan(&self, message: &Message, request: &Request<'_>) -> Plan {
        let examined = self.examine(message.octets()).await;
        plan(request, &message.headers(), &examined, &self.rules).unwrap()
    }

    pub async fn examine(&self, octets: &[u8]) -> Examined {
        examine(octets, &self.dns, NOW).await
    }

    /// What became of each signature, by selector, and of the chain: `e1=pass r1=pass arc=pass`. mail-auth, asked as well, must agree
    /// on what passes.
    pub async fn verdict(&self, octets: &[u8]) -> String {
        let examined = self.examine(octets).await;
        let parsed = AuthenticatedMessage::parse(octets).unwrap();
        let theirs = self.authenticator.verify_dkim(Parameters::new(&parsed).with_cache(&self.dns)).await;
        for fact in &examined.dkim {
            let of_it = theirs.iter().filter(|output| output.signature().is_some_and(|signature| signature.s == fact.selector));
            let passes: Vec<bool> = of_it.map(|output| *output.result() == mail_auth::DkimResult::Pass).collect();
            assert!(passes.contains(&(fact.result == DkimResult::Pass)), "mail-auth says {passes:?} of {fact:?}");
        }
        let chain = self.authenticator.verify_arc(Parameters::new(&parsed).with_cache(&self.dns)).await;
        assert_eq!(*chain.result() == mail_auth::ArcResult::Pass, examined.chain.status.as_str() == "pass", "{:?}", chain.result());
        let dkim = examined.dkim.iter().map(|fact| format!("{}={}", fact.selector, fact.result.as_str()));
        dkim.chain([format!("arc={}", examined.chain.status)]).collect::<Vec<_>>().join(" ")
    }
}

impl Dns {
    pub fn publish(&mut self, name: &str, record: &str) {
        let key = DomainKey::parse(record.as_bytes()).unwrap();
        self.parsed.insert(format!("{name}."), key.into());
        self.texts.insert(domain(name), Ok(vec![record.to_owned()]));
    }

    /// Questions about this name get no answer.
    pub fn silence(&mut self, name: &str) {
        self.parsed.insert(format!("{name}."), TxtRecord::Error(Error::Dns(DnsError::Resolver("time-out".into()))));
        self.texts.insert(domain(name), Err(NoAnswer));
    }
}

impl KeySource for Dns {
    async fn texts(&self, name: &Domain) -> Result<Vec<String>, NoAnswer> {
        self.texts.get(name).cloned().unwrap_or_else(|| Ok(Vec::new()))
    }
}

pub fn domain(name: &str) -> Domain {
    name.parse().unwrap()
}

/// A submission of `author.example` to MX hosts by a client that authenticated.
pub fn from_author() -> Request<'static> {
    request(Mode::Author, "author.example")
}

/// Mail that `list.example` passes on.
pub fn from_list() -> Request<'static> {
    request(Mode::Forward, "list.example")
}

fn request(mode: Mode, name: &str) -> Request<'static> {
    let signing_domain = Box::leak(Box::new(domain(name)));
    let route = Box::leak(Box::new(RouteName::new("mx")));
    Request { mode, signing_domain, route, authenticated: true, trusted_upstream: false }
}

pub fn message(text: &str) -> Message {
    Message::parse(Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

/// What delivery sends.
pub fn sealed(seal: &Seal, message: &Message, with_ed25519: bool) -> Vec<u8> {
    [seal.header(with_ed25519), message.octets().to_vec()].concat()
}

pub const LETTER: &str = "Received: from pod-7 by mx.postseal.example; Sun, 22 Nov 2026 01:18:45 +0000\r\n\
     From: =?utf-8?q?Z=C3=B6e?= <zoe@author.example>\r\n\
     To: a@receiver.example,\r\n\tb@receiver.example\r\n\
     Subject: Your  order \r\n\
     Date: Sun, 22 Nov 2026 01:18:45 +0000\r\n\
     Message-ID: <1@author.example>\r\n\
     MIME-Version: 1.0\r\n\
     Content-Type: text/plain; charset=utf-8\r\n\
     List-Unsubscribe: <https://author.example/u/1>\r\n\
     List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n\
     Feedback-ID: 1:author\r\n\
     X-Mailer: shop\r\n\
     \r\n\
     Thank you.  \r\n\r\n  It is on its way.\r\n\r\n\r\n";

/// One kind of record; only TXT is ever asked for.
pub struct Nothing;

impl<K, V> ResolverCache<K, V> for Nothing {
    fn get<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        None
    }
    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        None
    }
    fn insert(&self, _: K, _: V, _: Instant) {}
}

impl ResolverCache<Box<str>, TxtRecord> for Dns {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
    {
        let known = self.parsed.iter().find(|(known, _)| {
            let known: Box<str> = known.as_str().into();
            Borrow::<Q>::borrow(&known) == name
        });
        let absent = TxtRecord::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain)));
        Some(known.map_or(absent, |(_, record)| record.clone()))
    }
    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }
    fn insert(&self, _: Box<str>, _: TxtRecord, _: Instant) {}
}

impl DnsCache for Dns {
    type Txt = Self;
    type Mx = Nothing;
    type Ipv4 = Nothing;
    type Ipv6 = Nothing;
    type Ptr = Nothing;

    fn txt(&self) -> Option<&Self> {
        Some(self)
    }
    fn mx(&self) -> Option<&Nothing> {
        None
    }
    fn ipv4(&self) -> Option<&Nothing> {
        None
    }
    fn ipv6(&self) -> Option<&Nothing> {
        None
    }
    fn ptr(&self) -> Option<&Nothing> {
        None
    }
}
