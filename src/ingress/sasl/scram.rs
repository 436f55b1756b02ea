//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side, without channel binding. Pure: the nonce is an argument.
//!
//! ```text
//! Start ── client-first ──► Challenged ── client-final ──► proved or wrong
//! ```

use super::Move;
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fmt;
use std::num::NonZeroU32;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// What a server knows of a password: enough to check it, not enough to use it elsewhere.
#[derive(Clone)]
pub(super) struct Verifier {
    pub iterations: NonZeroU32,
    pub salt: Vec<u8>,
    stored_key: Zeroizing<[u8; 32]>,
    server_key: Zeroizing<[u8; 32]>,
}

/// An exchange under way.
#[derive(Debug)]
pub(super) enum Scram {
    Start { nonce: String },
    Challenged(Box<Challenged>),
}

/// What the second message is held against.
#[derive(Debug)]
pub(super) struct Challenged {
    /// The user, when it is a real one.
    user: Option<String>,
    verifier: Verifier,
    /// As the client sent it; its base64 must come back in `c=`.
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
    /// Both halves.
    nonce: String,
}

impl Scram {
    pub(super) const fn new(nonce: String) -> Self {
        Self::Start { nonce }
    }

    /// `lookup` gives the verifier of a user, and its name if it is a real one.
    pub(super) fn step(&mut self, response: Option<&[u8]>, lookup: impl FnOnce(&str) -> Option<(Verifier, Option<String>)>) -> Move {
        let Some(response) = response else {
            return match self {
                Self::Start { .. } => Move::Ask(Vec::new()),
                Self::Challenged(_) => Move::Malformed("a SCRAM response is missing"),
            };
        };
        let Ok(text) = std::str::from_utf8(response) else { return Move::Malformed("a SCRAM message is UTF-8") };
        match self {
            Self::Start { nonce } => match ClientFirst::parse(text) {
                Ok(first) => {
                    let Some((verifier, user)) = lookup(&first.user) else { return Move::Wrong };
                    let challenged = Challenged::new(&first, user, verifier, nonce);
                    let message = challenged.server_first.clone().into_bytes();
                    *self = Self::Challenged(Box::new(challenged));
                    Move::Ask(message)
                }
                Err(refused) => refused,
            },
            Self::Challenged(challenged) => challenged.finish(text),
        }
    }
}

/// `client-first-message` (RFC 5802 §7).
struct ClientFirst<'a> {
    gs2_header: &'a str,
    bare: &'a str,
    user: String,
    nonce: &'a str,
}

impl<'a> ClientFirst<'a> {
    fn parse(text: &'a str) -> Result<Self, Move> {
        let malformed = Move::Malformed("a SCRAM message is gs2-header, n=user, r=nonce");
        let mut parts = text.splitn(3, ',');
        let (Some(binding), Some(authorisation), Some(bare)) = (parts.next(), parts.next(), parts.next()) else { return Err(malformed) };
        // "y": it could bind and thinks that we cannot, which is true (RFC 5802 §6).
        if binding.starts_with("p=") {
            return Err(Move::Malformed("channel binding is not offered; use SCRAM-SHA-256 without it"));
        }
        if !matches!(binding, "n" | "y") || !(authorisation.is_empty() || authorisation.starts_with("a=")) {
            return Err(malformed);
        }
        let mut attributes = bare.split(',');
        let (Some(user), Some(nonce)) = (attributes.next(), attributes.next()) else { return Err(malformed) };
        let user = user.strip_prefix("n=").and_then(unescape);
        let nonce = nonce.strip_prefix("r=").filter(|nonce| is_nonce(nonce));
        let (Some(user), Some(nonce)) = (user, nonce) else { return Err(malformed) }; // "m=" in front is refused here, as §5.1 demands
        if let Some(other) = authorisation.strip_prefix("a=") {
            match unescape(other) {
                Some(name) if name == user => {}
                Some(_) => return Err(Move::Wrong), // nobody acts for somebody else here
                None => return Err(malformed),
            }
        }
        Ok(Self { gs2_header: &text[..text.len() - bare.len()], bare, user, nonce })
    }
}

impl Challenged {
    fn new(first: &ClientFirst<'_>, user: Option<String>, verifier: Verifier, nonce: &str) -> Self {
        let nonce = format!("{}{nonce}", first.nonce);
        let server_first = format!("r={nonce},s={},i={}", BASE64.encode(&verifier.salt), verifier.iterations);
        Self { user, verifier, gs2_header: first.gs2_header.to_owned(), client_first_bare: first.bare.to_owned(), server_first, nonce }
    }

    /// `client-final-message`: `c=…,r=…[,extensions],p=…`.
    fn finish(&mut self, text: &str) -> Move {
        let malformed = Move::Malformed("a SCRAM message is c=binding, r=nonce, p=proof");
        let Some((without_proof, proof)) = text.rsplit_once(",p=") else { return malformed };
        let mut attributes = without_proof.split(',');
        let (Some(binding), Some(nonce)) = (attributes.next(), attributes.next()) else { return malformed };
        let (Some(binding), Some(nonce)) = (binding.strip_prefix("c="), nonce.strip_prefix("r=")) else { return malformed };
        let Some(proof) = BASE64.decode(proof).ok().and_then(|proof| <[u8; 32]>::try_from(proof).ok()) else { return malformed };
        // A changed gs2-header means that somebody stood between us (RFC 5802 §6); a changed nonce, a replay.
        let bound = BASE64.decode(binding).is_ok_and(|header| header == self.gs2_header.as_bytes());
        let auth_message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let proved = self.verifier.is_proof(&proof, auth_message.as_bytes());
        match self.user.take() {
            Some(user) if bound && nonce == self.nonce && proved => {
                let signature = sign(&*self.verifier.server_key, auth_message.as_bytes());
                Move::Proved { user, final_challenge: format!("v={}", BASE64.encode(signature)).into_bytes() }
            }
            _ => Move::Wrong,
        }
    }
}

impl Verifier {
    /// The verifier of a prepared password (RFC 5802 §3).
    pub(super) fn of(password: &str, iterations: NonZeroU32, salt: &[u8]) -> Self {
        let mut salted = Zeroizing::new([0; 32]);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, password.as_bytes(), &mut *salted);
        let client_key = Zeroizing::new(sign(&*salted, b"Client Key"));
        Self { iterations, salt: salt.to_vec(), stored_key: Zeroizing::new(sha256(&*client_key)), server_key: Zeroizing::new(sign(&*salted, b"Server Key")) }
    }

    /// Whether this is the password: as much work as making the verifier.
    pub(super) fn is_password(&self, prepared: &str) -> bool {
        bool::from(Self::of(prepared, self.iterations, &self.salt).stored_key.ct_eq(&*self.stored_key))
    }

    fn is_proof(&self, proof: &[u8; 32], auth_message: &[u8]) -> bool {
        let signature = sign(&*self.stored_key, auth_message);
        let mut client_key = Zeroizing::new([0; 32]);
        for (octet, (proof, signature)) in client_key.iter_mut().zip(proof.iter().zip(signature)) {
            *octet = proof ^ signature;
        }
        bool::from(sha256(&*client_key).ct_eq(&*self.stored_key))
    }

    /// One that looks as this does but for its salt, for a user that does not exist.
    pub(super) fn salted_anew(&self, key: &hmac::Key, name: &[u8]) -> Self {
        let octets = (0u8..).flat_map(|part| sign_with(key, &[b"salt".as_slice(), &[part], name].concat()));
        let salt = octets.take(self.salt.len()).collect();
        Self { salt, ..self.clone() }
    }

    /// Reads `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, as PostgreSQL writes it.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let rest = text.strip_prefix(SCHEME).ok_or("it does not begin with SCRAM-SHA-256$")?;
        let (cost, keys) = rest.split_once('$').ok_or("the second \"$\" is missing")?;
        let (iterations, salt) = cost.split_once(':').ok_or("the salt is missing")?;
        let (stored_key, server_key) = keys.split_once(':').ok_or("the server key is missing")?;
        let iterations = iterations.parse::<NonZeroU32>().map_err(|_| "the iterations are no number")?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations.get()) {
            return Err("the iterations must be 4096 to 1000000");
        }
        let salt = BASE64.decode(salt).ok().filter(|salt| (1..=SALT_OCTETS_MAX).contains(&salt.len())).ok_or("the salt is not 1 to 64 octets in base64")?;
        let key = |text| BASE64.decode(text).ok().and_then(|octets| <[u8; 32]>::try_from(octets).ok()).map(Zeroizing::new);
        let stored_key = key(stored_key).ok_or("the stored key is not 32 octets in base64")?;
        let server_key = key(server_key).ok_or("the server key is not 32 octets in base64")?;
        Ok(Self { iterations, salt, stored_key, server_key })
    }

    pub(super) fn to_text(&self) -> String {
        let (salt, stored, server) = (BASE64.encode(&self.salt), BASE64.encode(*self.stored_key), BASE64.encode(*self.server_key));
        format!("{SCHEME}{}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier({} iterations, ***)", self.iterations)
    }
}

/// `saslname`: `=2C` and `=3D` stand for comma and equals sign, no other `=` occurs.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = part.split_at_checked(2)?;
        name.push(match sign {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    (!name.is_empty() && !name.contains('\0')).then_some(name)
}

/// Printable ASCII but the comma, not endless.
fn is_nonce(text: &str) -> bool {
    (1..=NONCE_OCTETS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() && b != b',')
}

fn sign(key: &[u8], message: &[u8]) -> [u8; 32] {
    sign_with(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

fn sign_with(key: &hmac::Key, message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(key, message);
    let mut octets = [0; 32];
    octets.copy_from_slice(tag.as_ref()); // HMAC-SHA-256 has 32 octets
    octets
}

fn sha256(octets: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, octets).as_ref()); // SHA-256 has 32 octets
    hash
}

const SCHEME: &str = "SCRAM-SHA-256$";
/// RFC 7677 §4.
pub(super) const ITERATIONS_MIN: u32 = 4096;
/// About half a second of work.
pub(super) const ITERATIONS_MAX: u32 = 1_000_000;
pub(super) const SALT_OCTETS_MAX: usize = 64;
/// Clients send 18 to 64.
const NONCE_OCTETS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn pencil() -> Verifier {
        Verifier::of("pencil", NonZeroU32::new(4096).unwrap(), &BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap())
    }

    /// An exchange with the nonce of RFC 7677 §3 in which the server knows `user`.
    fn exchange(first: &str, last: &str) -> (Move, Option<Move>) {
        let mut scram = Scram::new("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0".into());
        let asked = scram.step(Some(first.as_bytes()), |name| Some((pencil(), (name == "user").then(|| name.to_owned()))));
        let answer = matches!(asked, Move::Ask(_)).then(|| scram.step(Some(last.as_bytes()), |_| unreachable!()));
        (asked, answer)
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (asked, answer) = exchange(CLIENT_FIRST, CLIENT_FINAL);
        assert!(matches!(asked, Move::Ask(message) if message == SERVER_FIRST.as_bytes()));
        assert!(matches!(answer, Some(Move::Proved { user, final_challenge }) if user == "user" && final_challenge == SERVER_FINAL.as_bytes()));
    }

    #[test]
    fn a_changed_final_message_proves_nothing() {
        for (from, to) in [
            ("c=biws", "c=eSws"),                                          // "y,," where "n,," was sent
            ("c=biws", "c=cD10bHMtdW5pcXVlLCw="),                          // "p=tls-unique,,"
            ("c=biws", "c=!"),                                             // not base64
            ("$k0,p", "$k1,p"),                                            // another nonce
            ("p=dHzb", "p=eHzb"),                                          // another proof
            ("rOprNGfwEbeRWgbNEkqO%hv", "rOprNGfwEbeRWgbNEkqO,x=1,r=%hv"), // an early end of the nonce
        ] {
            assert!(matches!(exchange(CLIENT_FIRST, &CLIENT_FINAL.replace(from, to)).1, Some(Move::Wrong)), "{to}");
        }
        for text in ["", "c=biws", "c=biws,r=x", "r=x,c=biws,p=AA==", "c=biws,r=x,p=AA==", "c=biws,r=x,p=*"] {
            assert!(matches!(exchange(CLIENT_FIRST, text).1, Some(Move::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_right_proof_for_a_user_that_is_not_there_proves_nothing() {
        let first = CLIENT_FIRST.replace("n=user", "n=resu");
        let auth_message = format!("{},{SERVER_FIRST},{}", &first[3..], CLIENT_FINAL.rsplit_once(",p=").unwrap().0);
        let verifier = pencil();
        let mut salted = [0; 32];
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, verifier.iterations, &verifier.salt, b"pencil", &mut salted);
        let client_key = sign(&salted, b"Client Key");
        let signature = sign(&sha256(&client_key), auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
        let last = format!("{},p={}", CLIENT_FINAL.rsplit_once(",p=").unwrap().0, BASE64.encode(proof));
        assert!(matches!(exchange(&first, &last).1, Some(Move::Wrong)));
    }

    #[test]
    fn first_messages_are_read_strictly() {
        for text in ["n,,n=user,r=abc", "y,,n=user,r=abc", "n,a=user,n=user,r=abc", "n,,n=a=2Cb=3Dc,r=abc,x=extension"] {
            assert!(matches!(exchange(text, "").0, Move::Ask(_)), "{text}");
        }
        for text in [
            "",
            "n",
            "n,",
            "n,,",
            "n,,n=user",
            "n,,r=abc",
            "n,,n=user,r=",
            "n,,n=,r=abc",
            "n,,m=x,n=user,r=abc",
            "p=tls-exporter,,n=user,r=abc",
            "n,,n=a=b,r=abc",
            "n,,n=a=,r=abc",
            "n,,n=user,r=a\tb",
            "n,x,n=user,r=abc",
            "x,,n=user,r=abc",
            "n,a==,n=user,r=abc",
        ] {
            assert!(matches!(exchange(text, "").0, Move::Malformed(_)), "{text}");
        }
        assert!(matches!(exchange("n,a=other,n=user,r=abc", "").0, Move::Wrong));
        let long = format!("n,,n=user,r={}", "x".repeat(NONCE_OCTETS_MAX + 1));
        assert!(matches!(exchange(&long, "").0, Move::Malformed(_)));
        assert!(matches!(exchange(&long[..long.len() - 1], "").0, Move::Ask(_)));
    }

    #[test]
    fn names_are_unescaped_once() {
        assert_eq!(unescape("a=2Cb=3D2C").as_deref(), Some("a,b=2C"));
        for text in ["=", "=2", "=2c", "a=é"] {
            assert_eq!(unescape(text), None, "{text}");
        }
    }
}
