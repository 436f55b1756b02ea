//! Parts that neither wait nor write.

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use postseal::keys::{Algorithm, PrivateKey};
use postseal::mail::{
    BodyType, Client, Domain, Envelope, IdentityName, KeyId, MailId, Mailbox, Message, Notify, Proof, Recipient, ReversePath, Selector, Timestamp,
};
use postseal::normalise;
use postseal::readdress::{Ring, TokenContents, TokenSecret};
use postseal::reasons::Table;
use postseal::returns;
use postseal::seal::dkim::Signer;
use postseal::seal::{self, ArcPlan, DomainSeal, Plan, Rules};
use postseal::smtp::command::Command;
use postseal::smtp::data::{ContentRules, DataReader};
use postseal::smtp::line::BareLf;
use postseal::smtp::memory::Share;
use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;

/// A seal as a message gets it: body hashed, header signed, signature confirmed.
pub fn sealing(criterion: &mut Criterion) {
    let plain = |ed25519| Plan { author: Some(DOMAIN.to_owned()), ed25519, ..Plan::default() };
    let set = ArcPlan { domain: DOMAIN.to_owned(), instance: 1, cv: "none".to_owned(), results: "mx.example.com; auth=pass".to_owned() };
    let cases = [("rsa-2048", plain(false)), ("rsa-2048 and ed25519", plain(true)), ("rsa-2048 and arc", Plan { arc: Some(set), ..plain(false) })];
    let rules = rules();
    let mut group = criterion.benchmark_group("sealing");
    for (name, plan) in &cases {
        for octets in SIZES {
            let message = Message::parse(Bytes::from(letter(octets))).unwrap();
            group.throughput(Throughput::Bytes(octets as u64));
            group.bench_function(BenchmarkId::new(*name, octets), |bench| bench.iter(|| seal::make(plan, &message, &rules, NOW).unwrap()));
        }
    }
    group.finish();
}

pub fn normalise(criterion: &mut Criterion) {
    let settings = normalise::Settings::new(DOMAIN.parse().unwrap());
    let facts = normalise::Facts { id: MailId::from_number(1).unwrap(), foreign_signature_verifies: false };
    let (envelope, client) = (envelope(), client());
    let mut group = criterion.benchmark_group("normalise");
    for octets in SIZES {
        let plain = Bytes::from(letter(octets));
        let eight_bit = Bytes::from(String::from_utf8(letter(octets)).unwrap().replace("eo", "éö").into_bytes());
        group.throughput(Throughput::Bytes(octets as u64));
        for (name, message) in [("7-bit", plain), ("8-bit", eight_bit)] {
            let done = || normalise::normalise(black_box(&message), &envelope, &client, normalise::Mode::Author, &settings, &facts, NOW);
            done().unwrap();
            group.bench_function(BenchmarkId::new(name, octets), |bench| bench.iter(done));
        }
    }
    group.finish();
}

/// Commands, and the octets behind DATA as they come from a socket.
pub fn smtp(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("smtp");
    for line in
        ["EHLO client.example.com", "MAIL FROM:<bounces+1234@example.com> SIZE=10240 BODY=8BITMIME", "RCPT TO:<jane.doe@receiver.example> NOTIFY=FAILURE,DELAY"]
    {
        group.bench_function(line.split(' ').next().unwrap(), |bench| bench.iter(|| Command::parse(black_box(line.as_bytes())).unwrap()));
    }
    let rules = ContentRules { message_octets_max: 64 << 20, line_octets_max: 1 << 20, bare_lf: BareLf::Reject };
    for octets in SIZES {
        let mut stream = letter(octets);
        stream.extend_from_slice(b".\r\n");
        group.throughput(Throughput::Bytes(octets as u64));
        group.bench_function(BenchmarkId::new("DATA", octets), |bench| {
            bench.iter(|| {
                let mut reader = DataReader::new(rules, Share::default());
                for read in stream.chunks(16 * 1024) {
                    reader.read(black_box(read));
                }
                reader.finish().unwrap()
            });
        });
    }
    group.finish();
}

pub fn token(criterion: &mut Criterion) {
    let ring = Ring::new(&[TokenSecret { key_id: 0, octets: &[7; 32] }], 30).unwrap();
    let bounce_domain: Domain = format!("b.{DOMAIN}").parse().unwrap();
    let contents = TokenContents { sender_id: 42, message: MailId::from_number(7), recipient_check: NonZeroU32::new(9) };
    let made = ring.make(&contents, &bounce_domain, NOW);
    let mut group = criterion.benchmark_group("token");
    group.bench_function("make", |bench| bench.iter(|| ring.make(black_box(&contents), &bounce_domain, NOW)));
    group.bench_function("open", |bench| bench.iter(|| ring.open(black_box(&made), &bounce_domain, NOW).unwrap()));
    group.finish();
}

/// A bounce as Postfix writes it, and a reply of a next hop.
pub fn classify(criterion: &mut Criterion) {
    let table = Table::default();
    let bounce = include_bytes!("../../returns/files/postfix/001.eml");
    let lines = ["The email account that you tried to reach does not exist. Please try", "double-checking the address"];
    let enhanced = Some(postseal::mail::EnhancedCode::new(5, 1, 1));
    let reply = postseal::mail::RemoteReply { code: 550, enhanced, lines: lines.map(str::to_owned).to_vec() };
    let mut group = criterion.benchmark_group("classify");
    group.bench_function("bounce", |bench| bench.iter(|| returns::classify(black_box(bounce), &table)));
    group.bench_function("reply", |bench| bench.iter(|| table.judge_reply("google", "gmail-smtp-in.l.google.com", black_box(&reply))));
    group.finish();
}

fn rules() -> Rules {
    let signer = |algorithm, selector| {
        let id = KeyId { domain: DOMAIN.parse().unwrap(), selector: Selector::new(selector) };
        let private = PrivateKey::generate(algorithm).unwrap();
        let signer = if algorithm == Algorithm::Rsa { Signer::rsa(id, private.der()) } else { Signer::ed25519(id, private.der()) };
        vec![Arc::new(signer.unwrap())]
    };
    let keys = DomainSeal { rsa: signer(Algorithm::Rsa, "r1"), ed25519: signer(Algorithm::Ed25519, "e1"), ed25519_on: true, ..DomainSeal::default() };
    let mut rules = Rules::new(DOMAIN);
    rules.domains.insert(DOMAIN.parse().unwrap(), keys);
    rules
}

/// A message of about so many octets.
pub fn letter(octets: usize) -> Vec<u8> {
    let mut letter = format!(
        "From: \"The Shop\" <orders@{DOMAIN}>\r\nTo: Jane Doe <jane@receiver.example>\r\nSubject: Your order 4711\r\n\
         Date: Sun, 22 Nov 2026 12:00:00 +0000\r\nMessage-ID: <4711@{DOMAIN}>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    .into_bytes();
    while letter.len() < octets {
        letter.extend_from_slice(b"etaoin shrdlu  cmfwyp vbgkqj lorem ipsum dolor sit amet, 0123456789 eo \r\n");
    }
    letter
}

fn envelope() -> Envelope {
    let mailbox: Mailbox = "jane@receiver.example".parse().unwrap();
    Envelope {
        reverse_path: ReversePath::Mailbox(format!("orders@{DOMAIN}").parse().unwrap()),
        recipients: vec![Recipient { mailbox, notify: Notify::Unspecified, orcpt: None }],
        body: BodyType::SevenBit,
        smtputf8: false,
        ret: None,
        envid: None,
    }
}

fn client() -> Client {
    Client {
        identity: IdentityName::new("app"),
        proof: Proof::Network,
        address: "192.0.2.7".parse().unwrap(),
        helo: "app.example.com".into(),
        esmtp: true,
        tls: None,
        listener: "submission".into(),
    }
}

pub const DOMAIN: &str = "example.com";
pub const NOW: Timestamp = Timestamp::from_unix_seconds(1_795_348_800);
const SIZES: [usize; 4] = [2_000, 10_000, 100_000, 10_000_000];
