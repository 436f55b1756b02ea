//! What a signature that holds leaves open (RFC 6376 §8, RFC 8301, RFC 8058 §4). Pure.

use crate::mail::{Headers, Timestamp};
use crate::seal::dkim::{Canonicalization, Confirmed, ForeignSignature, SignatureFault};
use std::fmt;

/// One thing that a signature leaves open, or that may end it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Weakness {
    /// `l=`: who adds to the end of the body breaks nothing.
    Length(u64),
    /// Fields of the message that are not covered.
    Unsigned(Vec<&'static str>),
    /// From is covered, but another one may be added.
    FromNotOversigned,
    /// `x=` is near, or has passed.
    Expires(i64),
    /// `t=` lies in the future.
    SignedInFuture(i64),
    /// `t=y` in the key record.
    TestingKey,
    /// RSA with fewer bits than are recommended.
    ShortKey(usize),
    /// Several key records at the name.
    SeveralKeys,
    /// `c=simple` for the header: a host that folds anew breaks it.
    SimpleHeader,
}

/// What this signature leaves open.
#[must_use]
pub fn weaknesses(headers: &Headers<'_>, signature: &ForeignSignature, outcome: &Result<Confirmed, SignatureFault>, now: Timestamp) -> Vec<Weakness> {
    let mentions = |name: &str| signature.names.iter().filter(|known| known.eq_ignore_ascii_case(name)).count();
    let mut found: Vec<Weakness> = signature.length.map(Weakness::Length).into_iter().collect();
    if !signature.names.is_empty() {
        let unsigned: Vec<_> = COVERED.into_iter().filter(|name| headers.named(name).count() > mentions(name)).collect();
        if !unsigned.is_empty() {
            found.push(Weakness::Unsigned(unsigned));
        }
        if mentions("From") > 0 && mentions("From") <= headers.named("From").count() {
            found.push(Weakness::FromNotOversigned);
        }
    }
    found.extend(signature.expires.filter(|expires| *expires < now.unix_seconds() + EXPIRES_SOON_SECONDS).map(Weakness::Expires));
    found.extend(signature.signed_at.filter(|signed| *signed > now.unix_seconds() + CLOCK_SKEW_SECONDS).map(Weakness::SignedInFuture));
    if let Ok(confirmed) = outcome {
        let is_rsa = signature.algorithm.starts_with("rsa");
        found.extend(confirmed.testing.then_some(Weakness::TestingKey));
        found.extend((is_rsa && confirmed.bits < RSA_BITS_RECOMMENDED).then_some(Weakness::ShortKey(confirmed.bits)));
        found.extend(confirmed.several_keys.then_some(Weakness::SeveralKeys));
    }
    found.extend((signature.header_form == Canonicalization::Simple && !signature.names.is_empty()).then_some(Weakness::SimpleHeader));
    found
}

impl Weakness {
    /// A fixed word for it.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        match self {
            Self::Length(_) => "body-length",
            Self::Unsigned(_) => "unsigned-fields",
            Self::FromNotOversigned => "from-not-oversigned",
            Self::Expires(_) => "expires",
            Self::SignedInFuture(_) => "signed-in-future",
            Self::TestingKey => "testing-key",
            Self::ShortKey(_) => "short-key",
            Self::SeveralKeys => "several-keys",
            Self::SimpleHeader => "simple-header",
        }
    }
}

impl fmt::Display for Weakness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |seconds: i64| Timestamp::from_unix_seconds(seconds).to_rfc3339();
        match self {
            Self::Length(length) => write!(f, "l={length} signs only the beginning of the body: anybody may append to it; sign without l="),
            Self::Unsigned(names) => write!(f, "not signed, so anybody may change it: {}", names.join(", ")),
            Self::FromNotOversigned => f.write_str("a second From may be added unnoticed: name From once more in h= than the message has it"),
            Self::Expires(seconds) => write!(f, "x= ends it at {}: mail that waits longer in a queue fails", at(*seconds)),
            Self::SignedInFuture(seconds) => write!(f, "t= is in the future ({}): verifiers may ignore it; set the clock of the signer", at(*seconds)),
            Self::TestingKey => f.write_str("the key record says t=y (testing): some receivers treat the mail as unsigned; take it out"),
            Self::ShortKey(bits) => write!(f, "the key has {bits} bits; 2048 are recommended (RFC 8301): rotate it"),
            Self::SeveralKeys => f.write_str("there are several key records at the name, which may verify here and fail there (RFC 6376 §3.6.2.2): keep one"),
            Self::SimpleHeader => f.write_str("c=simple for the header: a hop that folds a line anew breaks it; sign with relaxed"),
        }
    }
}

/// What a signature should cover where the message has it (RFC 6376 §5.4.1, RFC 8058 §4).
const COVERED: [&str; 14] = [
    "From",
    "Sender",
    "Reply-To",
    "To",
    "Cc",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];
/// RFC 8301 §3.2.
const RSA_BITS_RECOMMENDED: usize = 2048;
/// Queues keep mail for days.
const EXPIRES_SOON_SECONDS: i64 = 24 * 60 * 60;
/// Clocks differ.
const CLOCK_SKEW_SECONDS: i64 = 300;
