//! Signatures that a message already carries, made and checked by `mail-auth` in its strictest form (`c=simple/simple`).

use super::{Case, HEADER, crlf};
use mail_auth::crypto::Ed25519Key;
use mail_auth::dkim::{Canonicalization, DkimSigner, DomainKey};
use mail_auth::dns::TxtRecordParser;
use mail_auth::headers::HeaderWriter;
use mail_auth::{AuthenticatedMessage, DkimResult, DnsCache, MessageAuthenticator, NoCache, Parameters, ResolverCache, TxtRecord};
use std::borrow::Borrow;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Instant;

/// The key of RFC 8463 appendix A.
const SEED: &[u8] = b"nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const PUBLIC: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

/// A DNS that has one TXT record under every name.
struct OneRecord(TxtRecord);

impl ResolverCache<Box<str>, TxtRecord> for OneRecord {
    fn get<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
    {
        Some(self.0.clone())
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: TxtRecord, _: Instant) {}
}

impl DnsCache for OneRecord {
    type Txt = Self;
    type Mx = NoCache;
    type Ipv4 = NoCache;
    type Ipv6 = NoCache;
    type Ptr = NoCache;

    fn txt(&self) -> Option<&Self> {
        Some(self)
    }

    fn mx(&self) -> Option<&NoCache> {
        None
    }

    fn ipv4(&self) -> Option<&NoCache> {
        None
    }

    fn ipv6(&self) -> Option<&NoCache> {
        None
    }

    fn ptr(&self) -> Option<&NoCache> {
        None
    }
}

fn signed(message: &[u8]) -> Vec<u8> {
    let decode = |text: &[u8]| data_encoding::BASE64.decode(text).unwrap();
    let key = Ed25519Key::from_seed_and_public_key(&decode(SEED), &decode(PUBLIC.as_bytes())).unwrap();
    let signature = DkimSigner::from_key(key)
        .domain("author.example")
        .selector("s")
        .headers(["From", "From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type", "Content-Transfer-Encoding", "Cc"])
        .header_canonicalization(Canonicalization::Simple)
        .body_canonicalization(Canonicalization::Simple)
        .sign(message)
        .unwrap();
    [signature.to_header().as_bytes(), message].concat()
}

async fn verifies(message: &[u8]) -> bool {
    let dns = OneRecord(TxtRecord::DomainKey(Arc::new(DomainKey::parse(format!("v=DKIM1; k=ed25519; p={PUBLIC}").as_bytes()).unwrap())));
    let message = AuthenticatedMessage::parse(message).unwrap();
    let results = MessageAuthenticator::new_cloudflare().unwrap().verify_dkim(Parameters::new(&message).with_cache(&dns)).await;
    results.len() == 1 && matches!(results[0].result(), DkimResult::Pass)
}

fn message(body: &str) -> Vec<u8> {
    crlf(&format!("{HEADER}MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n{body}\n  odd \t \n\n\n"))
        .into_bytes()
}

#[tokio::test]
async fn they_survive_where_nothing_had_to_be_changed() {
    for case in [Case::new(), Case::forward(), Case::new().signed(), Case::forward().signed()] {
        let message = signed(&message("plain"));
        assert!(verifies(&message).await);
        assert!(verifies(case.run(&message).unwrap().message.octets()).await);
    }
}

#[tokio::test]
async fn they_survive_over_8bit_content_once_they_are_known_to_verify() {
    let message = signed(&message("Gr\u{fc}\u{df}e"));
    for case in [Case::new(), Case::forward()] {
        assert!(!verifies(case.run(&message).unwrap().message.octets()).await, "without that knowledge the body is re-encoded");
        let done = case.signed().run(&message).unwrap();
        assert!(verifies(done.message.octets()).await);
        assert!(done.needs.eight_bit);
    }
}
