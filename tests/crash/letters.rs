//! What is sent: each letter follows from its number alone, so that what arrives is compared octet for octet.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::fmt::Write;

/// One message of the load.
pub struct Letter {
    pub octets: Vec<u8>,
    pub recipients: Vec<String>,
}

/// Most are small, one in 17 is large enough to be a file of its own, and those from [`HUGE`] on have four megabytes.
pub fn letter(number: u64) -> Letter {
    let mut chance = StdRng::seed_from_u64(number);
    let octets_min = match number {
        HUGE.. => 4 << 20,
        _ if number.is_multiple_of(17) => chance.random_range(20_000..200_000),
        _ => chance.random_range(100..6_000),
    };
    let recipients = recipients(number);
    let mut text = format!(
        "From: App <{SENDER}>\r\nTo: {}\r\nSubject: letter {number}\r\nDate: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <{number}@example.com>\r\n\
         MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n",
        recipients.join(", ")
    );
    while number >= HUGE && text.len() < octets_min {
        text += &format!("{:x}\r\n", chance.random::<u128>()).repeat(1000);
    }
    while text.len() < octets_min {
        let dots = if chance.random_ratio(1, 8) { "." } else { "" };
        let words = chance.random::<u128>();
        write!(text, "{dots}{words:x}\r\n").unwrap();
    }
    Letter { octets: text.into_bytes(), recipients }
}

/// Some have two recipients, and some one that the next hop refuses for good, so that a notice is to arrive in its place.
pub fn recipients(number: u64) -> Vec<String> {
    match number {
        HUGE.. => vec![format!("to-{number}@example.net")],
        _ if number.is_multiple_of(29) => vec![format!("{NOBODY}{number}@example.net")],
        _ if number.is_multiple_of(5) => vec![format!("to-{number}@example.net"), format!("copy-{number}@example.org")],
        _ => vec![format!("to-{number}@example.net")],
    }
}

/// The number in a recipient of a letter.
pub fn number_of(recipient: &str) -> Option<u64> {
    recipient.split_once('@')?.0.rsplit_once('-')?.1.parse().ok()
}

/// The sender of all letters, to whom notices go.
pub const SENDER: &str = "app@example.com";
/// How an address begins that the next hop does not know.
pub const NOBODY: &str = "nobody-";
/// Letters of this number and above are huge.
pub const HUGE: u64 = 1 << 40;
