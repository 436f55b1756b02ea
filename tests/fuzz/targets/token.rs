//! Bounce addresses: nothing opens but what was made, whatever is done to it.

use super::draw::Draw;
use postseal::mail::{Domain, LocalPart, MailId, Mailbox, Timestamp};
use postseal::readdress::{Ring, TokenContents, TokenSecret};
use std::sync::LazyLock;
use std::time::Duration;

pub fn run(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let (how, place, by) = (draw.octet(), draw.octet(), draw.octet());
    let text = draw.text();
    let domain = Domain::parse("b.example.com").unwrap();
    if let Ok(local) = LocalPart::parse(&text) {
        // Who can look at the comparisons below finds a token that is genuine, as it is or in quotes; any other is refused.
        let opened = RING.open(&local, &domain, NOW);
        let genuine = opened.is_ok_and(|contents| RING.make(&contents, &domain, NOW).as_str().eq_ignore_ascii_case(local.as_str()));
        assert!(genuine || opened.is_err(), "{text:?} was never made");
    }

    let sender: Mailbox = "www-data@pod-7".parse().unwrap();
    let recipient: Mailbox = "you@receiver.example".parse().unwrap();
    let contents = TokenContents {
        sender_id: RING.sender_id(&sender, how & 3),
        message: MailId::from_number(u64::from(by) << 8 | u64::from(place) | 1 << 20),
        recipient_check: (how & 4 == 0).then(|| RING.recipient_check(&recipient)),
    };
    let made = RING.make(&contents, &domain, NOW);
    assert_eq!(RING.open(&made, &domain, NOW), Ok(contents));
    let upper = LocalPart::parse(&made.as_str().to_ascii_uppercase()).unwrap();
    assert_eq!(RING.open(&upper, &domain, NOW), Ok(contents), "case does not matter");
    assert_eq!(RING.is_for(&contents, &recipient), contents.recipient_check.is_some());
    assert!(RING.open(&made, &Domain::parse("b.example.net").unwrap(), NOW).is_err(), "of another domain");
    assert!(RING.open(&made, &domain, NOW + Duration::from_hours(40 * 24)).is_err(), "too old");

    let mut changed = made.as_str().as_bytes().to_vec();
    let at = usize::from(place) % changed.len();
    changed[at] = b"abcdefghijklmnopqrstuvwxyz234567"[usize::from(by) % 32];
    let changed = String::from_utf8(changed).unwrap();
    if changed != made.as_str() {
        assert!(RING.open(&LocalPart::parse(&changed).unwrap(), &domain, NOW).is_err(), "{changed} was never made");
    }
}

static RING: LazyLock<Ring> =
    LazyLock::new(|| Ring::new(&[TokenSecret { key_id: 1, octets: &[7; 32] }, TokenSecret { key_id: 3, octets: &[9; 32] }], 30).unwrap());

const NOW: Timestamp = Timestamp::from_unix_seconds(1_800_000_000);
