//! Who may ask: tokens, names a relay is called by, and calls that a foreign page has a browser make. Pure.
//!
//! | what comes | what is made of it |
//! |---|---|
//! | a `Host` that is no address of ours | refused: a page whose name was turned to our address (DNS rebinding) must not read us |
//! | a change that another page had a browser send | refused, by `Sec-Fetch-Site` and `Origin` (Fetch standard, RFC 6454 §7) |
//! | a token | it must be right, wherever it comes from |
//! | none, at a loopback address | local; but not where a proxy says it brings somebody else, nor with `token_always` |
//! | none, from elsewhere | refused, but for `/healthz` and `/readyz`, which tell a stranger yes or no |

use super::Settings;
use crate::mail::Timestamp;
use aws_lc_rs::hmac;
use axum::http::header::{AUTHORIZATION, FORWARDED, HOST, ORIGIN, VIA};
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use data_encoding::{BASE64, HEXLOWER};
use std::fmt;
use std::net::IpAddr;
use subtle::ConstantTimeEq as _;

/// Who may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    names: Vec<String>,
    tokens: Vec<Token>,
    is_token_demanded: bool,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody on this machine, where that is enough.
    Local,
    /// The holder of this token.
    Token(String),
    /// Nobody knows; may learn whether we are alive and ready, and no more.
    Stranger,
}

/// Why somebody may not ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    /// A name that is not ours.
    #[error("this relay is not called by that name; expected an IP address, localhost, server.hostname or one of admin.names in the header Host")]
    Host,
    /// Another page had a browser send it.
    #[error("a page of another site asked for a change; expected Sec-Fetch-Site and Origin, where they are sent, to be of this site")]
    Foreign,
    /// No token.
    #[error("a token is needed; expected a header \"Authorization: Bearer TOKEN\", with a token that `postseal admin token` made")]
    NoToken,
    /// A token that is none of ours.
    #[error("that token is none of [admin.tokens]; expected one whose hash stands there")]
    WrongToken,
    /// A token that may not change anything.
    #[error("that token is read_only; expected one that may change things")]
    ReadOnly,
}

impl Denial {
    /// The answer's status.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Foreign | Self::ReadOnly => StatusCode::FORBIDDEN,
            Self::NoToken | Self::WrongToken => StatusCode::UNAUTHORIZED,
        }
    }

    /// One word, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Foreign => "foreign",
            Self::NoToken => "no_token",
            Self::WrongToken => "wrong_token",
            Self::ReadOnly => "read_only",
        }
    }
}

impl Access {
    /// What the configuration says.
    #[must_use]
    pub fn of(settings: &Settings) -> Self {
        Self {
            names: settings.names.iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect(),
            tokens: settings.tokens.clone(),
            is_token_demanded: settings.token_always || !settings.address.ip().is_loopback(),
        }
    }

    /// Who asks, and that they may.
    ///
    /// # Errors
    /// They may not.
    pub fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Caller, Denial> {
        let host = host(uri, headers).filter(|host| self.is_ours(host)).ok_or(Denial::Host)?;
        let changes = !method.is_safe();
        if changes && is_foreign(headers, host) {
            return Err(Denial::Foreign);
        }
        if headers.contains_key(AUTHORIZATION) {
            let token = shown(headers).and_then(|shown| self.tokens.iter().find(|token| token.is(&shown))).ok_or(Denial::WrongToken)?;
            return if changes && token.read_only { Err(Denial::ReadOnly) } else { Ok(Caller::Token(token.name.clone())) };
        }
        match self.is_token_demanded || PROXIED.iter().any(|name| headers.contains_key(name)) {
            false => Ok(Caller::Local),
            true if !changes && PROBES.contains(&uri.path()) => Ok(Caller::Stranger),
            true => Err(Denial::NoToken),
        }
    }

    /// An address is ours because we were reached by it: only a name can be turned to somebody else's address.
    fn is_ours(&self, authority: &str) -> bool {
        let name = without_port(authority);
        if let Some(v6) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return v6.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6());
        }
        let name = name.trim_end_matches('.').to_ascii_lowercase();
        name.parse::<IpAddr>().is_ok() || name == LOCALHOST || self.names.contains(&name)
    }
}

/// Whom the request is for: a single `Host`, or the authority of an absolute URI, which goes before it (RFC 9112 §3.2.2).
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let mut hosts = headers.get_all(HOST).iter();
    let first = hosts.next()?.to_str().ok()?;
    hosts.next().is_none().then(|| uri.authority().map_or(first, |authority| authority.as_str()))
}

fn without_port(authority: &str) -> &str {
    let port = authority.rfind(':').filter(|at| authority[at + 1..].bytes().all(|octet| octet.is_ascii_digit()));
    port.map_or(authority, |at| &authority[..at])
}

/// Whether a browser says that the page it comes from is not ours.
fn is_foreign(headers: &HeaderMap, host: &str) -> bool {
    let sites = headers.get_all(SEC_FETCH_SITE).iter();
    let origins = headers.get_all(ORIGIN).iter();
    sites.into_iter().any(|site| site != "same-origin" && site != "none") || origins.into_iter().any(|origin| !is_origin(origin.as_bytes(), host))
}

fn is_origin(origin: &[u8], host: &str) -> bool {
    let authority = std::str::from_utf8(origin).ok().and_then(|origin| origin.split_once("://"));
    authority.is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

/// `Bearer TOKEN` (RFC 6750 §2.1), or the password of `Basic` (RFC 7617), which is all that a browser can ask a person for.
fn shown(headers: &HeaderMap) -> Option<String> {
    let mut all = headers.get_all(AUTHORIZATION).iter();
    let (scheme, credentials) = all.next()?.to_str().ok()?.split_once(' ')?;
    if all.next().is_some() {
        return None;
    }
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    let pair = scheme.eq_ignore_ascii_case("basic").then(|| BASE64.decode(credentials.as_bytes()).ok())??;
    String::from_utf8(pair).ok()?.split_once(':').map(|(_, password)| password.to_owned())
}

/// Who may ask, by the digest of a token.
///
/// A token has 256 bits of chance, so a plain SHA-256 of it gives nothing away and takes no time; a slow hash is for passwords.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    /// Its name in the configuration.
    pub name: String,
    /// SHA-256 of the token as it is sent.
    pub digest: [u8; 32],
    /// It may look, and change nothing.
    pub read_only: bool,
}

impl Token {
    /// Whether this is the token; in a time that does not depend on how much of it is right.
    #[must_use]
    pub fn is(&self, shown: &str) -> bool {
        digest(shown).ct_eq(&self.digest).into()
    }
}

/// Names the holder; the digest is nobody's business.
impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:?}, read_only: {})", self.name, self.read_only)
    }
}

/// A token of these octets of chance.
#[must_use]
pub fn token(chance: &[u8; 32]) -> String {
    format!("{TOKEN_MARK}{}", data_encoding::BASE64URL_NOPAD.encode(chance))
}

/// As the configuration has it: `sha256:` and 64 hexadecimal digits.
#[must_use]
pub fn written(token: &str) -> String {
    format!("{PREFIX}{}", HEXLOWER.encode(&digest(token)))
}

/// The digest behind what [`written`] gives; `None` for anything else.
#[must_use]
pub fn parse(hash: &str) -> Option<[u8; 32]> {
    let octets = HEXLOWER.decode(hash.strip_prefix(PREFIX)?.to_ascii_lowercase().as_bytes()).ok()?;
    octets.try_into().ok()
}

fn digest(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut octets = [0; 32];
    octets.copy_from_slice(digest.as_ref()); // SHA-256 has 32 octets
    octets
}

/// Makes the tokens that forms of our own page carry, so that no other page's form is taken for one of ours: who cannot read our page
/// cannot know them. Holds for one run of the relay.
pub struct FormKey(hmac::Key);

impl FormKey {
    /// Of these octets of chance.
    #[must_use]
    pub fn new(chance: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, chance))
    }

    /// For a form that is shown now; good for [`FORM_HOURS`] hours or more, never twice as long.
    #[must_use]
    pub fn token(&self, now: Timestamp) -> String {
        HEXLOWER.encode(hmac::sign(&self.0, &period(now).to_be_bytes()).as_ref())
    }

    /// Whether a form of ours carried it.
    #[must_use]
    pub fn is_good(&self, token: &str, now: Timestamp) -> bool {
        let Ok(tag) = HEXLOWER.decode(token.as_bytes()) else { return false };
        let now = period(now);
        [now, now - 1].iter().any(|period| hmac::verify(&self.0, &period.to_be_bytes(), &tag).is_ok())
    }
}

/// Says nothing of the key.
impl fmt::Debug for FormKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FormKey(***)")
    }
}

fn period(now: Timestamp) -> i64 {
    now.unix_seconds().div_euclid(FORM_HOURS * 3600)
}

/// What strangers may ask.
const PROBES: &[&str] = &["/healthz", "/readyz"];
/// What a proxy adds for whom it brings.
const PROXIED: [HeaderName; 4] = [FORWARDED, VIA, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const LOCALHOST: &str = "localhost";
const PREFIX: &str = "sha256:";
/// So that a token that got lost is known for what it is.
const TOKEN_MARK: &str = "postseal_";
/// How long a form may lie open.
pub const FORM_HOURS: i64 = 12;
