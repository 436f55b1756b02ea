//! Secrets of bounce tokens: `token/0.secret` to `token/7.secret`, one in use and the older ones still believed.

use super::durable::{Disk, LOCK_PATIENCE, lock_directory, make_directory, unwritable, write_secret};
use super::ledger::parse_time;
use super::store::{entries, read_secret};
use super::{ChangeError, KeyFault, KeyProblem, PemError};
use crate::mail::Timestamp;
use data_encoding::HEXLOWER_PERMISSIVE as HEX;
use serde::Deserialize;
use std::fmt;
use std::path::Path;
use zeroize::Zeroizing;

/// A secret that authenticates bounce addresses.
#[derive(Clone)]
pub struct TokenSecret {
    /// 0 to 7: three bits of a token name it.
    pub id: u8,
    /// When it was made; the epoch where the file does not say.
    pub created: Timestamp,
    /// Its octets.
    pub secret: Zeroizing<[u8; 32]>,
}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSecret({}, {:?}, ***)", self.id, self.created)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSecret {
    created: String,
    secret: String,
}

/// Loads the secrets below `directory`/token, the newest first: it makes tokens, all are believed. None when there is no directory. A
/// file holds what [`create_token_secret`] writes, or 64 hexadecimal digits and nothing else.
///
/// # Errors
/// All faults found.
pub fn load_token_secrets(directory: &Path) -> Result<Vec<TokenSecret>, Vec<KeyFault>> {
    let directory = directory.join(DIRECTORY);
    if !directory.exists() {
        return Ok(Vec::new());
    }
    let (mut secrets, mut faults) = (Vec::new(), Vec::new());
    for (name, path) in entries(&directory).map_err(|fault| vec![fault])? {
        let Some(id) = name.strip_suffix(".secret") else { continue };
        let loaded = match id.parse::<u8>() {
            Ok(id) if usize::from(id) < TOKEN_SECRETS_MAX => read_secret(&path).and_then(|content| {
                read(id, &content).ok_or_else(|| {
                    KeyFault::new(
                        &path,
                        KeyProblem::Misplaced("it holds no token secret; expected `created` and `secret`, or 64 hexadecimal digits".to_owned()),
                    )
                })
            }),
            _ => Err(KeyFault::new(&path, KeyProblem::Misplaced("its name is none of 0.secret to 7.secret".to_owned()))),
        };
        match loaded {
            Ok(secret) => secrets.push(secret),
            Err(fault) => faults.push(fault),
        }
    }
    secrets.sort_by_key(|secret| (std::cmp::Reverse(secret.created), secret.id));
    if faults.is_empty() { Ok(secrets) } else { Err(faults) }
}

/// Makes the next secret below `directory`/token, under the number after the newest one's.
///
/// # Errors
/// That number is still in use: an old secret has to be removed first (one is of no use 30 days after the next was made). Nothing was
/// overwritten.
pub fn create_token_secret(directory: &Path, now: Timestamp) -> Result<TokenSecret, ChangeError> {
    let token = directory.join(DIRECTORY);
    let write = |path: &Path, error| ChangeError::Fault(unwritable(path, &error));
    make_directory(&token).map_err(|error| write(&token, error))?;
    let lock = lock_directory(&token, LOCK_PATIENCE).map_err(|error| write(&token, error))?;
    let _lock = lock.ok_or_else(|| KeyFault::new(&token, KeyProblem::Unwritable("another process makes a secret there; try again".to_owned())))?;
    let known = load_token_secrets(directory).map_err(|mut faults| ChangeError::Fault(faults.swap_remove(0)))?;
    let newest = known.first().map(|secret| usize::from(secret.id));
    let id = newest.map_or(0, |newest| (newest + 1) % TOKEN_SECRETS_MAX);
    let id = u8::try_from(id).unwrap_or(0); // below 8

    let mut secret = Zeroizing::new([0u8; 32]);
    aws_lc_rs::rand::fill(&mut *secret).map_err(|_| ChangeError::Key(PemError::NotMade))?;
    let digits = Zeroizing::new(HEX.encode(&*secret));
    let text = Zeroizing::new(format!(
        "# Authenticates bounce addresses. Every relay of a fleet has the same.\ncreated = \"{}\"\nsecret = \"{}\"\n",
        now.to_rfc3339(),
        *digits
    ));
    let path = token.join(format!("{id}.secret"));
    write_secret(&mut Disk, &path, text.as_bytes(), false).map_err(|error| write(&path, error))?;
    Ok(TokenSecret { id, created: now, secret })
}

fn read(id: u8, content: &[u8]) -> Option<TokenSecret> {
    let text = std::str::from_utf8(content).ok()?;
    let (created, digits) = match toml::from_str::<RawSecret>(text) {
        Ok(raw) => (parse_time(&raw.created)?, Zeroizing::new(raw.secret)),
        Err(_) => (Timestamp::EPOCH, Zeroizing::new(text.trim_ascii().to_owned())),
    };
    let octets = Zeroizing::new(HEX.decode(digits.as_bytes()).ok()?);
    Some(TokenSecret { id, created, secret: Zeroizing::new(octets.as_slice().try_into().ok()?) })
}

/// The directory beside those of the domains.
pub(super) const DIRECTORY: &str = "token";
/// Secrets that can be in use at a time: three bits name one.
pub const TOKEN_SECRETS_MAX: usize = 8;
