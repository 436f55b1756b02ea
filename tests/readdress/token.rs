use super::{domain, id, local, mailbox, noon, ring};
use postseal::mail::{MailId, Timestamp};
use postseal::readdress::{Ring, RingFault, TokenContents, TokenFault, TokenSecret};
use proptest::prelude::*;
use std::num::NonZeroU32;

const FULL: TokenContents = TokenContents { sender_id: 0x00ff_1234_5678, message: None, recipient_check: Some(NonZeroU32::MIN) };

fn any_contents() -> impl Strategy<Value = TokenContents> {
    (0..1u64 << 40, 0..1u64 << 48, any::<u32>()).prop_map(|(sender_id, message, check)| TokenContents {
        sender_id,
        message: MailId::from_number(message).filter(|_| message != 0),
        recipient_check: NonZeroU32::new(check),
    })
}

proptest! {
    #[test]
    fn what_is_made_opens_again(contents in any_contents(), day in -400i64..4000, key_id in 0u8..8) {
        let ring = ring(&[(key_id, 9)]);
        let token = ring.make(&contents, &domain("b.example.com"), noon(day));
        prop_assert_eq!(ring.open(&token, &domain("B.Example.COM"), noon(day)), Ok(contents));
    }

    #[test]
    fn any_other_character_anywhere_is_found_out(contents in any_contents(), at in 1usize..41, digit in 0usize..32) {
        let (ring, b) = (ring(&[(0, 1), (1, 50), (2, 90)]), domain("b.example.com"));
        let token = ring.make(&contents, &b, noon(0));
        let mut changed = token.as_str().as_bytes().to_vec();
        let digit = b"abcdefghijklmnopqrstuvwxyz234567"[digit];
        prop_assume!(changed[at] != digit);
        changed[at] = digit;
        let changed = local(&String::from_utf8(changed).unwrap());
        let fault = ring.open(&changed, &b, noon(0)).unwrap_err();
        prop_assert!(matches!(fault, TokenFault::Forged | TokenFault::Malformed), "{:?}", fault);
    }

    #[test]
    fn nothing_from_outside_panics(text in "[bB]?[a-zA-Z2-7]{0,60}") {
        if let Ok(token) = postseal::mail::LocalPart::parse(&text) {
            prop_assert!(ring(&[(0, 1)]).open(&token, &domain("b.example.com"), noon(0)).is_err());
        }
    }
}

/// Computed apart from this code (Python's hmac and base64), so that the format cannot change unnoticed.
#[test]
fn the_format_stands() {
    let ring = ring(&[(3, 0)]);
    let sender_id = ring.sender_id(&mailbox("www-data@pod-7"), 0);
    let check = ring.recipient_check(&mailbox("Jane.Doe@Gmail.com"));
    assert_eq!((sender_id, check.get()), (742_336_828_315, 2_436_109_704));
    let contents = TokenContents { sender_id, message: Some(id(0x0123_4567_89ab)), recipient_check: Some(check) };
    let token = ring.make(&contents, &domain("b.example.com"), noon(0));
    assert_eq!(token.as_str(), "bbuvsibzb74jof7qt43xarz3csmamdubtfgo5ignb");
    assert_eq!(ring.open(&token, &domain("b.example.com"), noon(0)), Ok(contents));
}

#[test]
fn a_token_is_41_octets_of_small_letters_and_digits() {
    let token = ring(&[(0, 1)]).make(&FULL, &domain("b.example.com"), noon(0));
    assert_eq!(token.as_str().len(), 41);
    assert!(token.as_str().starts_with('b'));
    assert!(token.as_str().bytes().all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b)));
}

#[test]
fn hosts_that_fold_case_do_no_harm() {
    let (ring, b) = (ring(&[(0, 1)]), domain("b.example.com"));
    let token = ring.make(&FULL, &b, noon(0));
    let mixed: String = token.as_str().chars().enumerate().map(|(at, c)| if at % 3 == 0 { c.to_ascii_uppercase() } else { c }).collect();
    for text in [token.as_str().to_uppercase(), mixed] {
        assert_eq!(ring.open(&local(&text), &b, noon(0)), Ok(FULL), "{text}");
    }
}

#[test]
fn every_flipped_bit_is_found_out() {
    let (ring, b) = (ring(&[(0, 1)]), domain("b.example.com"));
    let token = ring.make(&FULL, &b, noon(0));
    let base32 = data_encoding::BASE32;
    let octets = base32.decode(token.as_str()[1..].to_uppercase().as_bytes()).unwrap();
    for bit in 0..200 {
        let mut flipped = octets.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let text = format!("b{}", base32.encode(&flipped).to_lowercase());
        assert!(ring.open(&local(&text), &b, noon(0)).is_err(), "bit {bit}");
    }
}

#[test]
fn what_is_no_token_is_malformed() {
    let ring = ring(&[(0, 1)]);
    let token = ring.make(&FULL, &domain("b.example.com"), noon(0));
    let token = token.as_str();
    for text in
        ["postmaster", "b", &token[..40], &format!("{token}a"), &token.replacen('b', "c", 1), &format!("b{}", "1".repeat(40)), &format!("b{}", "é".repeat(20))]
    {
        assert_eq!(ring.open(&local(text), &domain("b.example.com"), noon(0)), Err(TokenFault::Malformed), "{text}");
    }
}

#[test]
fn a_token_is_good_for_its_own_bounce_domain_only() {
    let ring = ring(&[(0, 1)]);
    let token = ring.make(&FULL, &domain("b.example.com"), noon(0));
    for other in ["b.example.net", "c.example.com", "example.com", "b.example.co"] {
        assert_eq!(ring.open(&token, &domain(other), noon(0)), Err(TokenFault::Forged), "{other}");
    }
}

#[test]
fn a_token_lives_its_days_and_not_one_more() {
    let (ring, b) = (ring(&[(0, 1)]), domain("b.example.com"));
    let token = ring.make(&FULL, &b, noon(0));
    for day in 0..=30 {
        assert_eq!(ring.open(&token, &b, noon(day)), Ok(FULL), "day {day}");
    }
    for day in [31, 32, 200, 511] {
        assert_eq!(ring.open(&token, &b, noon(day)), Err(TokenFault::Expired { age_days: u16::try_from(day).unwrap(), age_days_max: 30 }), "day {day}");
    }
    assert_eq!(ring.open(&token, &b, noon(-1)), Ok(FULL), "another relay's midnight was before ours");
    for day in [-2, -3, -300] {
        assert_eq!(ring.open(&token, &b, noon(day)), Err(TokenFault::Future), "day {day}");
    }
    // Across the turn of the ten-bit day.
    let turn = Timestamp::from_unix_seconds(1024 * 21 * 86_400 - 1);
    let token = ring.make(&FULL, &b, turn);
    assert_eq!(ring.open(&token, &b, turn + std::time::Duration::from_secs(2)), Ok(FULL));
}

#[test]
fn secrets_rotate_with_an_overlap() {
    let b = domain("b.example.com");
    let token = ring(&[(0, 1)]).make(&FULL, &b, noon(0));
    let rotated = ring(&[(1, 77), (0, 1)]);
    assert_eq!(rotated.open(&token, &b, noon(1)), Ok(FULL));
    let newer = rotated.make(&FULL, &b, noon(1));
    assert_eq!(ring(&[(1, 77)]).open(&newer, &b, noon(1)), Ok(FULL), "the first secret makes");
    assert_eq!(ring(&[(1, 77)]).open(&token, &b, noon(1)), Err(TokenFault::Forged), "its secret was removed");
    assert_eq!(ring(&[(0, 78)]).open(&token, &b, noon(1)), Err(TokenFault::Forged), "another secret under the same id");
}

#[test]
fn a_ring_of_eight_opens_all_eight() {
    let b = domain("b.example.com");
    let keys: Vec<(u8, u8)> = (0..8).map(|n| (n, n * 20)).collect();
    let all = ring(&keys);
    for key in keys {
        assert_eq!(all.open(&ring(&[key]).make(&FULL, &b, noon(0)), &b, noon(0)), Ok(FULL));
    }
}

#[test]
fn secrets_that_make_no_ring_are_refused() {
    let octets = [7; 40];
    let secret = |key_id| TokenSecret { key_id, octets: &octets };
    let refused = |secrets: &[TokenSecret<'_>], days| Ring::new(secrets, days).unwrap_err();
    assert_eq!(refused(&[], 30), RingFault::Empty);
    assert_eq!(refused(&(0..9).map(secret).collect::<Vec<_>>(), 30), RingFault::TooMany(9));
    assert_eq!(refused(&[secret(8)], 30), RingFault::KeyId(8));
    assert_eq!(refused(&[secret(1), secret(1)], 30), RingFault::Twice(1));
    assert_eq!(refused(&[TokenSecret { key_id: 0, octets: &octets[..31] }], 30), RingFault::Short { key_id: 0, octets: 31 });
    assert_eq!(refused(&[secret(0)], 0), RingFault::Lifetime(0));
    assert_eq!(refused(&[secret(0)], 366), RingFault::Lifetime(366));
    assert!(Ring::new(&[TokenSecret { key_id: 7, octets: &octets[..32] }], 365).is_ok());
    let shown = format!("{:?}", Ring::new(&[secret(5)], 1).unwrap());
    assert!(!shown.contains("7, 7") && shown.contains('5'), "{shown}");
}

#[test]
fn recipients_cannot_link_two_tokens_of_one_sender() {
    let (ring, b) = (ring(&[(0, 1)]), domain("b.example.com"));
    let tokens: Vec<String> =
        (1..40).map(|n| ring.make(&TokenContents { sender_id: 5, message: Some(id(n)), recipient_check: None }, &b, noon(0)).as_str().to_owned()).collect();
    for (place, a) in tokens.iter().enumerate() {
        for b in &tokens[..place] {
            let shared = (0..a.len() - 8).find(|at| b.contains(&a[*at..at + 8]));
            assert_eq!(shared, None, "{a} {b}");
        }
    }
}

#[test]
fn a_sender_id_counts_on_when_it_is_taken() {
    let ring = ring(&[(0, 1)]);
    let (a, b) = (mailbox("app@example.com"), mailbox("App@example.com"));
    let ids = [ring.sender_id(&a, 0), ring.sender_id(&a, 1), ring.sender_id(&a, 2), ring.sender_id(&b, 0)];
    for (place, id) in ids.iter().enumerate() {
        assert!(*id < 1 << 40);
        assert!(!ids[..place].contains(id), "the counter and the local part's case both count");
    }
    assert_eq!(ring.sender_id(&mailbox("app@EXAMPLE.com"), 0), ids[0]);
    assert_ne!(super::ring(&[(0, 2)]).sender_id(&a, 0), ids[0], "it is keyed");
}

#[test]
fn a_check_fits_its_recipient_however_its_case_was_folded() {
    let ring = ring(&[(0, 1)]);
    let contents = |to: &str| TokenContents { recipient_check: Some(ring.recipient_check(&mailbox(to))), ..FULL };
    let jane = contents("Jane@Example.com");
    assert!(ring.is_for(&jane, &mailbox("jane@example.COM")));
    assert!(!ring.is_for(&jane, &mailbox("jane@example.net")));
    assert!(!ring.is_for(&jane, &mailbox("john@example.com")));
    assert!(!ring.is_for(&TokenContents { recipient_check: None, ..FULL }, &mailbox("jane@example.com")));
    let later = super::ring(&[(1, 99), (0, 1)]);
    assert!(later.is_for(&jane, &mailbox("jane@example.com")), "a check outlives the turn of the ring");
}
