//! Bounce tokens: the local part of a bounce address, unforgeable, expiring, and silent to everyone without the key.
//!
//! ```text
//! b + 40 characters of lower-case base32 (RFC 4648 §6, read without regard to case) over 25 octets
//!
//!  octet  0        2                7                 13             17          25
//!         ┌────────┬────────────────┬─────────────────┬──────────────┬───────────┐
//!         │ head   │ sender id (40) │ message id (48) │ check (32)   │ MAC (64)  │
//!         └────────┴────────────────┴─────────────────┴──────────────┴───────────┘
//!  in the clear     masked by a keystream keyed by the MAC            in the clear
//!
//!  head = format (3 bits, 0) | key id (3 bits) | day (10 bits: days since 1970-01-01 modulo 1024)
//!  MAC  = HMAC-SHA-256(mac key, label | 0 | head | plain 15 octets | bounce domain), its first 8 octets
//!  mask = HMAC-SHA-256(mask key, label | 0 | head | MAC), its first 15 octets
//! ```
//!
//! The MAC is over the plain text and feeds the mask (as in SIV, RFC 5297), so equal contents give equal tokens, and contents
//! that differ anywhere give tokens that look unrelated after the head: who receives two of them learns the day and nothing else.
//! There is no nonce to repeat. The keys of the purposes are derived from one secret: a token says nothing about a sender id's key.
//!
//! The day repeats after 1024 days (2.8 years); a secret must leave the ring before, as every rotation of keys does.
//! Nothing here knows who a sender id stands for: that is the spool's table of senders.

use crate::mail::{Domain, LocalPart, MailId, Mailbox, Timestamp};
use aws_lc_rs::hmac;
use data_encoding::{Encoding, Specification};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::LazyLock;
use subtle::ConstantTimeEq;

/// The secrets that make and check tokens: the first makes, all check. At most [`RING_KEYS_MAX`].
#[derive(Clone)]
pub struct Ring {
    keys: Vec<Key>,
    age_days_max: u16,
}

/// One secret of a [`Ring`], as it is kept under `keys/token/`.
pub struct TokenSecret<'a> {
    /// 0 to 7; goes into the token, so that its key is found again.
    pub key_id: u8,
    /// At least [`SECRET_OCTETS_MIN`] octets of chance.
    pub octets: &'a [u8],
}

/// What a token carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenContents {
    /// [`Ring::sender_id`] of the original reverse-path: 40 bits.
    pub sender_id: u64,
    /// The message it was issued for; `None` in a token per sender and day.
    pub message: Option<MailId>,
    /// [`Ring::recipient_check`] of the only recipient of its transaction; `None` when it had several.
    pub recipient_check: Option<NonZeroU32>,
}

/// Why a local part is no valid token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    /// Not the form of a token at all.
    #[error("not a bounce token; expected \"b\" and 40 characters of a-z and 2-7")]
    Malformed,
    /// The MAC does not fit: made up, damaged, of another bounce domain, or by a secret no longer in the ring.
    #[error("a bounce token that none of our secrets made for this domain")]
    Forged,
    /// Genuine, but too old.
    #[error("a bounce token {age_days} days old; they are taken for {age_days_max} days")]
    Expired {
        /// Days since it was made.
        age_days: u16,
        /// The bound.
        age_days_max: u16,
    },
    /// Genuine, but of a day after tomorrow: somebody's clock is wrong, by more than a little around midnight.
    #[error("a bounce token of a day still to come; check the clocks of the relays that share its secret")]
    Future,
}

/// Why secrets do not make a ring.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RingFault {
    /// None given.
    #[error("there is no token secret; expected at least one under keys/token/")]
    Empty,
    /// More than eight.
    #[error("{0} token secrets are too many; at most {RING_KEYS_MAX} can be told apart, remove the oldest")]
    TooMany(usize),
    /// A key id over 7.
    #[error("token key id {0} is too large; expected 0 to 7")]
    KeyId(u8),
    /// A key id given twice.
    #[error("token key id {0} is used twice; give each secret its own, 0 to 7")]
    Twice(u8),
    /// A secret too short to be one.
    #[error("token secret {key_id} has {octets} octets; expected at least {SECRET_OCTETS_MIN} of chance, as from \"openssl rand 32\"")]
    Short {
        /// Whose.
        key_id: u8,
        /// Its length.
        octets: usize,
    },
    /// A lifetime out of range.
    #[error("a token lifetime of {0} days cannot be; expected 1 to {AGE_DAYS_LIMIT}")]
    Lifetime(u16),
}

/// Whether a text has the form of a token; nothing else is to have it.
#[must_use]
pub fn looks_like_one(local_part: &str) -> bool {
    decode(local_part).is_some()
}

/// The number by which a token is known whatever it carries: its MAC. Of a token that [`Ring::open`] took, no other has it.
#[must_use]
pub fn number_of(local_part: &LocalPart) -> Option<u64> {
    let octets = decode(local_part.as_str())?;
    let (_, mac) = split(&octets);
    Some(u64::from_be_bytes(mac))
}

impl Ring {
    /// A ring of these secrets, newest first; tokens are good for `age_days_max` days (1 to 365) after the day they were made.
    ///
    /// # Errors
    /// No secret, too many, ids out of range or twice, a short secret, a lifetime out of range.
    pub fn new(secrets: &[TokenSecret<'_>], age_days_max: u16) -> Result<Self, RingFault> {
        if !(1..=AGE_DAYS_LIMIT).contains(&age_days_max) {
            return Err(RingFault::Lifetime(age_days_max));
        }
        match secrets.len() {
            0 => return Err(RingFault::Empty),
            1..=RING_KEYS_MAX => {}
            many => return Err(RingFault::TooMany(many)),
        }
        for (place, secret) in secrets.iter().enumerate() {
            if secret.key_id > KEY_ID_MAX {
                return Err(RingFault::KeyId(secret.key_id));
            }
            if secrets[..place].iter().any(|earlier| earlier.key_id == secret.key_id) {
                return Err(RingFault::Twice(secret.key_id));
            }
            if secret.octets.len() < SECRET_OCTETS_MIN {
                return Err(RingFault::Short { key_id: secret.key_id, octets: secret.octets.len() });
            }
        }
        Ok(Self { keys: secrets.iter().map(Key::derive).collect(), age_days_max })
    }

    /// The token of these contents for `bounce_domain`, of the day of `now`, by the newest secret. 41 octets.
    ///
    /// # Panics
    /// When the sender id has more than 40 bits: it was not made by [`Ring::sender_id`].
    #[must_use]
    pub fn make(&self, contents: &TokenContents, bounce_domain: &Domain, now: Timestamp) -> LocalPart {
        let key = self.newest();
        let head = Head { key_id: key.id, day: day_of(now) }.pack();
        let plain = contents.pack();
        let mac = key.mac(head, &plain, bounce_domain);
        let masked = key.mask(head, mac, plain);
        let mut octets = [0; TOKEN_OCTETS];
        octets[..2].copy_from_slice(&head);
        octets[2..17].copy_from_slice(&masked);
        octets[17..].copy_from_slice(&mac);
        let text = format!("{MARK}{}", BASE32.encode(&octets));
        #[allow(clippy::expect_used, reason = "41 letters and digits are a dot-string (RFC 5321 §4.1.2)")]
        LocalPart::parse(&text).expect("a token is a local part")
    }

    /// What a token carries, if one of our secrets made it for `bounce_domain` at most the ring's days ago. Case does not matter.
    ///
    /// # Errors
    /// See [`TokenFault`]. Age is judged only of genuine tokens.
    pub fn open(&self, local_part: &LocalPart, bounce_domain: &Domain, now: Timestamp) -> Result<TokenContents, TokenFault> {
        let octets = decode(local_part.as_str()).ok_or(TokenFault::Malformed)?;
        let ([h0, h1, masked @ ..], mac) = split(&octets);
        let head = Head::unpack([*h0, *h1]).ok_or(TokenFault::Malformed)?;
        let key = self.keys.iter().find(|key| key.id == head.key_id).ok_or(TokenFault::Forged)?;
        let plain = key.mask([*h0, *h1], mac, *masked);
        if !bool::from(key.mac([*h0, *h1], &plain, bounce_domain).ct_eq(&mac)) {
            return Err(TokenFault::Forged);
        }
        let age_days = (day_of(now) + DAYS_CYCLE - head.day) % DAYS_CYCLE;
        if age_days == DAYS_CYCLE - 1 {
            return Ok(TokenContents::unpack(plain)); // of a relay whose clock passed midnight a little before ours
        }
        if age_days >= DAYS_CYCLE / 2 {
            return Err(TokenFault::Future);
        }
        if age_days > self.age_days_max {
            return Err(TokenFault::Expired { age_days, age_days_max: self.age_days_max });
        }
        Ok(TokenContents::unpack(plain))
    }

    /// The 40-bit number that stands for an original reverse-path, by the newest secret: a keyed hash, so that relays with the
    /// same secret agree and nobody else can tell who it is. `counter` is 0, and one more each time the number is taken by another.
    #[must_use]
    pub fn sender_id(&self, original: &Mailbox, counter: u8) -> u64 {
        let tag = self.newest().hash(Purpose::Sender, &[&[counter], original.to_string().as_bytes()]);
        number(&tag[..SENDER_OCTETS])
    }

    /// The 32-bit check of a recipient, by the newest secret.
    ///
    /// Local parts count without regard to ASCII case: hosts fold it in the bounces they write, and no host of note gives two
    /// people addresses that differ in nothing else.
    #[must_use]
    pub fn recipient_check(&self, recipient: &Mailbox) -> NonZeroU32 {
        self.newest().recipient_check(recipient)
    }

    /// Whether a token was issued for this recipient alone. False for tokens without a check.
    #[must_use]
    pub fn is_for(&self, contents: &TokenContents, recipient: &Mailbox) -> bool {
        let Some(check) = contents.recipient_check else { return false };
        self.keys.iter().any(|key| bool::from(key.recipient_check(recipient).get().ct_eq(&check.get())))
    }

    fn newest(&self) -> &Key {
        &self.keys[0] // `new` refuses an empty ring
    }
}

/// Prints how many secrets there are, and none of them.
impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ids: Vec<u8> = self.keys.iter().map(|key| key.id).collect();
        f.debug_struct("Ring").field("key_ids", &ids).field("age_days_max", &self.age_days_max).finish_non_exhaustive()
    }
}

impl TokenContents {
    fn pack(&self) -> [u8; PLAIN_OCTETS] {
        assert!(self.sender_id < 1 << (8 * SENDER_OCTETS), "a sender id has 40 bits");
        let mut plain = [0; PLAIN_OCTETS];
        plain[..5].copy_from_slice(&self.sender_id.to_be_bytes()[3..]);
        plain[5..11].copy_from_slice(&self.message.map_or(0, MailId::number).to_be_bytes()[2..]);
        plain[11..].copy_from_slice(&self.recipient_check.map_or(0, NonZeroU32::get).to_be_bytes());
        plain
    }

    fn unpack(plain: [u8; PLAIN_OCTETS]) -> Self {
        let [s @ .., c0, c1, c2, c3] = plain;
        let (message, check) = (number(&s[SENDER_OCTETS..]), u32::from_be_bytes([c0, c1, c2, c3]));
        Self { sender_id: number(&s[..SENDER_OCTETS]), message: MailId::from_number(message).filter(|_| message != 0), recipient_check: NonZeroU32::new(check) }
    }
}

/// The two octets in the clear.
struct Head {
    key_id: u8,
    day: u16,
}

impl Head {
    fn pack(&self) -> [u8; 2] {
        (FORMAT << 13 | u16::from(self.key_id) << 10 | self.day).to_be_bytes()
    }

    fn unpack(octets: [u8; 2]) -> Option<Self> {
        let bits = u16::from_be_bytes(octets);
        let [high, _] = octets;
        (bits >> 13 == FORMAT).then_some(Self { key_id: (high >> 2) & KEY_ID_MAX, day: bits % DAYS_CYCLE })
    }
}

/// A secret, split by purpose.
#[derive(Clone)]
struct Key {
    id: u8,
    by_purpose: [hmac::Key; 4],
}

/// What a derived key is for.
#[derive(Clone, Copy)]
enum Purpose {
    Mac,
    Mask,
    Sender,
    Recipient,
}

impl Purpose {
    /// Part of the format: a change makes every token unreadable.
    const fn label(self) -> &'static [u8] {
        match self {
            Self::Mac => b"postseal bounce token: mac",
            Self::Mask => b"postseal bounce token: mask",
            Self::Sender => b"postseal bounce token: sender id",
            Self::Recipient => b"postseal bounce token: recipient check",
        }
    }
}

impl Key {
    /// One key a purpose: HMAC of the purpose's label under the secret (a single HKDF-Expand block, RFC 5869 §2.3).
    fn derive(secret: &TokenSecret<'_>) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret.octets);
        let derived = |purpose: Purpose| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, &[purpose.label(), &[1]].concat()).as_ref());
        Self { id: secret.key_id, by_purpose: [Purpose::Mac, Purpose::Mask, Purpose::Sender, Purpose::Recipient].map(derived) }
    }

    /// Label, a zero octet, and the parts in order. Parts before the last are of fixed length or end
    /// in an octet they cannot hold, so no two inputs read alike.
    fn hash(&self, purpose: Purpose, parts: &[&[u8]]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.by_purpose[purpose as usize]);
        context.update(purpose.label());
        context.update(&[0]);
        for part in parts {
            context.update(part);
        }
        let mut tag = [0; 32];
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    /// A [`Domain`] is in lower case already.
    fn mac(&self, head: [u8; 2], plain: &[u8; PLAIN_OCTETS], bounce_domain: &Domain) -> [u8; MAC_OCTETS] {
        first(&self.hash(Purpose::Mac, &[&head, plain, bounce_domain.as_str().as_bytes()]))
    }

    /// Masks and unmasks.
    fn mask(&self, head: [u8; 2], mac: [u8; MAC_OCTETS], mut octets: [u8; PLAIN_OCTETS]) -> [u8; PLAIN_OCTETS] {
        let stream = self.hash(Purpose::Mask, &[&head, &mac]);
        octets.iter_mut().zip(stream).for_each(|(octet, key)| *octet ^= key);
        octets
    }

    fn recipient_check(&self, recipient: &Mailbox) -> NonZeroU32 {
        let (host, local) = (recipient.host.to_string(), recipient.local.as_str().to_ascii_lowercase());
        let tag = self.hash(Purpose::Recipient, &[host.as_bytes(), b"@", local.as_bytes()]);
        NonZeroU32::new(u32::from_be_bytes(first(&tag))).unwrap_or(NonZeroU32::MIN)
    }
}

/// Days since 1970-01-01, modulo 1024.
fn day_of(now: Timestamp) -> u16 {
    u16::try_from(now.unix_days().rem_euclid(i64::from(DAYS_CYCLE))).unwrap_or(0) // below 1024 by the modulo
}

fn decode(text: &str) -> Option<[u8; TOKEN_OCTETS]> {
    let digits = text.strip_prefix([MARK, MARK.to_ascii_uppercase()])?;
    if digits.len() != TOKEN_DIGITS {
        return None;
    }
    BASE32.decode(digits.as_bytes()).ok()?.try_into().ok()
}

/// Head with masked contents, and MAC.
fn split(octets: &[u8; TOKEN_OCTETS]) -> (&[u8; 2 + PLAIN_OCTETS], [u8; MAC_OCTETS]) {
    let (front, mac) = octets.split_first_chunk().unwrap_or((&[0; 2 + PLAIN_OCTETS], &[])); // 25 octets hold 17
    (front, first(mac))
}

/// The first `N` octets of at least `N`.
fn first<const N: usize>(octets: &[u8]) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&octets[..N]);
    taken
}

/// Big-endian, of at most eight octets.
fn number(octets: &[u8]) -> u64 {
    octets.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet))
}

/// RFC 4648 §6 in lower case; capitals read as well. 25 octets need no padding and leave no bits over: one spelling a token.
static BASE32: LazyLock<Encoding> = LazyLock::new(|| {
    let mut specification = Specification::new();
    specification.symbols.push_str("abcdefghijklmnopqrstuvwxyz234567");
    specification.translate.from.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    specification.translate.to.push_str("abcdefghijklmnopqrstuvwxyz");
    #[allow(clippy::expect_used, reason = "a constant, used by every test of this room")]
    specification.encoding().expect("a base32 alphabet")
});

/// Begins every token: a first letter, so that a local part never begins with a digit, and a mark for people who read logs.
const MARK: char = 'b';
const TOKEN_OCTETS: usize = 25;
const TOKEN_DIGITS: usize = 40;
const PLAIN_OCTETS: usize = 15;
const SENDER_OCTETS: usize = 5;
const MAC_OCTETS: usize = 8;
const FORMAT: u16 = 0;
const KEY_ID_MAX: u8 = 7;
const DAYS_CYCLE: u16 = 1024;

/// Octets of a bounce address's local part.
pub const LOCAL_PART_OCTETS: usize = 1 + TOKEN_DIGITS;
/// As many secrets as key ids.
pub const RING_KEYS_MAX: usize = KEY_ID_MAX as usize + 1;
/// As many octets as HMAC-SHA-256 gives.
pub const SECRET_OCTETS_MIN: usize = 32;
/// Days a token may be configured to live: well below half the cycle of days, where "too old" and "of tomorrow" meet.
pub const AGE_DAYS_LIMIT: u16 = 365;
