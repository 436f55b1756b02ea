//! What the DNS says: messages of name servers, and the texts of records.

use super::draw::Draw;
use hickory_resolver::proto::op::Message;
use postseal::dns::reply::{Said, negative_ttl, of_authority, of_resolver};
use postseal::dns::{Answer, Kind};
use postseal::keys::Record;
use postseal::mail::Domain;
use postseal::seal::dkim::public::VerifyingKey;
use postseal::seal::dkim::{Algorithm, TagList};
use postseal::verdict::dmarc::dmarc_record;
use postseal::verdict::spf::{MacroString, Values, select, spf_record};

/// A text of a record: DKIM key, SPF, DMARC, an explanation.
pub fn records(octets: &[u8]) {
    let text = &*String::from_utf8_lossy(octets);
    for algorithm in [Algorithm::RsaSha256, Algorithm::Ed25519Sha256] {
        if let Ok(key) = VerifyingKey::read(text, algorithm) {
            assert!(key.bits == 256 || key.bits >= 1024);
            assert!(!key.confirms(b"canonical octets", b"no signature"));
        }
    }
    if let Ok(record) = Record::parse(text) {
        assert_eq!(Record::parse(&record.to_string()).as_ref(), Ok(&record), "{text:?}");
    }
    if let Ok(tags) = TagList::parse(text) {
        let _ = (tags.first(), tags.octets("p"), tags.items("h"));
    }
    let _ = dmarc_record(text);
    let _ = select(&[text.to_owned(), "v=spf1 -all".to_owned()]);
    if let Ok(record) = spf_record(text) {
        let _ = (record.all(), record.redirect(), record.explanation(), record.remarks());
        assert!(record.directives().count() <= text.len());
    }
    if let Ok(explanation) = MacroString::explanation(text) {
        let values = Values {
            local: "l.l-l+l",
            sender_domain: "sender.example",
            domain: "domain.example",
            address: [192, 0, 2, 7].into(),
            validated: "unknown",
            helo: "app.example",
            receiver: "unknown",
            timestamp: 1_800_000_000,
        };
        // Each macro of four octets stands for one value, percent-encoded at most.
        assert!(explanation.expand(&values).len() <= text.len() * 16);
    }
}

/// A message of a name server about one question.
pub fn replies(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let kind = [Kind::A, Kind::Aaaa, Kind::Mx, Kind::Txt, Kind::Cname, Kind::Ptr][usize::from(draw.octet()) % 6];
    let Ok(message) = Message::from_vec(draw.rest()) else { return };
    let (zone, name) = (Domain::parse("example.com").unwrap(), Domain::parse("www.example.com").unwrap());
    let answers = match of_authority(&message, &zone, &name, kind) {
        Said::Answer(answer) => vec![answer],
        Said::Referral(child) => {
            assert!(child.apex != zone && child.apex.is_at_or_below(&zone) && name.is_at_or_below(&child.apex), "led astray to {}", child.apex);
            Vec::new()
        }
    };
    for answer in answers.into_iter().chain([of_resolver(&message, &name, kind)]) {
        if let Answer::Records { data, .. } = answer {
            assert!((1..=256).contains(&data.len()), "{} records", data.len());
        }
    }
    let _ = (negative_ttl(&message, &zone, true), negative_ttl(&message, &zone, false));
}
