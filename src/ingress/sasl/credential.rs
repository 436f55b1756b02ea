//! What a password is checked against, and how names and passwords are prepared for it (SASLprep, RFC 4013).

use super::scram::{ITERATIONS_MAX, ITERATIONS_MIN, SALT_OCTETS_MAX, Verifier};
use argon2::password_hash::{PasswordHash, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Argon2, Params};
use aws_lc_rs::digest;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::num::NonZeroU32;
use zeroize::Zeroizing;

/// An argon2id hash in PHC form, or a SCRAM-SHA-256 verifier as PostgreSQL writes it. Prints as `***`.
#[derive(Clone)]
pub struct Credential(Kind);

#[derive(Clone)]
enum Kind {
    Argon2id(SecretString),
    Scram(Verifier),
}

/// A text that is neither.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the credential cannot be used: {0}; make one with \"postseal user hash\"")]
pub struct CredentialFault(String);

/// The argon2id hash of a password in PHC form, with the crate's parameters (OWASP's first choice: 19 MiB, 2 passes) and a random salt.
///
/// # Errors
/// A password that is empty or over 1,024 octets.
pub fn hash_argon2id(password: &str) -> Result<String, CredentialFault> {
    let password = usable(password)?;
    let mut salt = [0; 16];
    super::gate::fill_random(&mut salt);
    let salt = SaltString::encode_b64(&salt).map_err(|error| CredentialFault(error.to_string()))?;
    let hash = Argon2::default().hash_password(password.as_bytes(), &salt).map_err(|error| CredentialFault(error.to_string()))?;
    Ok(hash.to_string())
}

/// The SCRAM-SHA-256 verifier of a password: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`. It serves PLAIN and LOGIN too.
///
/// # Errors
/// A password as above, iterations outside 4,096..=1,000,000, a salt of none or more than 64 octets.
pub fn scram_verifier(password: &str, iterations: u32, salt: &[u8]) -> Result<String, CredentialFault> {
    let password = usable(password)?;
    if salt.is_empty() || salt.len() > SALT_OCTETS_MAX {
        return Err(CredentialFault(format!("a salt has 1 to {SALT_OCTETS_MAX} octets")));
    }
    match NonZeroU32::new(iterations) {
        Some(count) if (ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) => Ok(Verifier::of(&password, count, salt).to_text()),
        _ => Err(CredentialFault(format!("{iterations} iterations are not {ITERATIONS_MIN} to {ITERATIONS_MAX}"))),
    }
}

fn usable(password: &str) -> Result<Zeroizing<String>, CredentialFault> {
    if password.is_empty() || password.len() > PASSWORD_OCTETS_MAX || password.contains('\0') {
        return Err(CredentialFault(format!("a password has 1 to {PASSWORD_OCTETS_MAX} octets, none of them NUL")));
    }
    Ok(prepare_password(Zeroizing::new(password.to_owned())))
}

impl Credential {
    /// Reads either form.
    ///
    /// # Errors
    /// What is wrong with it; the text is not repeated.
    pub fn parse(text: &str) -> Result<Self, CredentialFault> {
        let fault = |why: &str| CredentialFault(why.to_owned());
        if text.starts_with("SCRAM-") {
            return Verifier::parse(text).map(|verifier| Self(Kind::Scram(verifier))).map_err(fault);
        }
        if !text.starts_with('$') {
            return Err(fault("it is neither $argon2id$… nor SCRAM-SHA-256$…; plain passwords are not stored"));
        }
        let hash = PasswordHash::new(text).map_err(|error| CredentialFault(error.to_string()))?;
        if hash.algorithm != argon2::ARGON2ID_IDENT {
            return Err(CredentialFault(format!("its algorithm is {}, not argon2id", hash.algorithm)));
        }
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(fault("its salt or its hash is missing"));
        }
        let parameters = Params::try_from(&hash).map_err(|error| CredentialFault(error.to_string()))?;
        if parameters.m_cost() > MEMORY_KIB_MAX || parameters.t_cost() > PASSES_MAX || parameters.p_cost() > LANES_MAX {
            return Err(CredentialFault(format!("its cost is above m={MEMORY_KIB_MAX}, t={PASSES_MAX}, p={LANES_MAX}")));
        }
        Ok(Self(Kind::Argon2id(SecretString::from(text))))
    }

    /// Whether this is the password, prepared. Milliseconds of work by intent: not for an async thread.
    pub(super) fn is_password(&self, prepared: &str) -> bool {
        match &self.0 {
            Kind::Scram(verifier) => verifier.is_password(prepared),
            Kind::Argon2id(text) => {
                let hash = PasswordHash::new(text.expose_secret());
                hash.is_ok_and(|hash| Argon2::default().verify_password(prepared.as_bytes(), &hash).is_ok()) // compares in constant time
            }
        }
    }

    /// The SCRAM verifier, if it is one.
    pub(super) const fn verifier(&self) -> Option<&Verifier> {
        match &self.0 {
            Kind::Scram(verifier) => Some(verifier),
            Kind::Argon2id(_) => None,
        }
    }

    /// A digest that changes whenever the credential does.
    pub(super) fn fingerprint(&self) -> digest::Digest {
        let text = match &self.0 {
            Kind::Scram(verifier) => Zeroizing::new(verifier.to_text()),
            Kind::Argon2id(text) => Zeroizing::new(text.expose_secret().to_owned()),
        };
        digest::digest(&digest::SHA256, text.as_bytes())
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A user name as it is compared; `None` when it can be nobody's.
pub(super) fn prepare_name(name: &str) -> Option<String> {
    let bounded = !name.is_empty() && name.len() <= NAME_OCTETS_MAX;
    let prepared = stringprep::saslprep(bounded.then_some(name)?).ok()?;
    (!prepared.is_empty()).then(|| prepared.into_owned())
}

/// A password as it is hashed: by SASLprep, or as it is where that has no answer (as PostgreSQL does), both when set and when checked.
/// One that is too long is cut to a length no stored password has, so that it is wrong at no extra cost.
pub(super) fn prepare_password(mut password: Zeroizing<String>) -> Zeroizing<String> {
    if password.len() > PASSWORD_OCTETS_MAX {
        let end = (0..=PASSWORD_OCTETS_MAX + 1).rev().find(|end| password.is_char_boundary(*end)).unwrap_or(0);
        password.truncate(end);
        while password.len() <= PASSWORD_OCTETS_MAX {
            password.push('\0');
        }
        return password;
    }
    match stringprep::saslprep(&password) {
        Ok(prepared) if !prepared.is_empty() => Zeroizing::new(prepared.into_owned()),
        _ => password,
    }
}

/// RFC 4616 §2 allows more; nobody has a longer name.
const NAME_OCTETS_MAX: usize = 255;
/// Longer than any passphrase; keeps hashing cheap.
const PASSWORD_OCTETS_MAX: usize = 1024;
/// A GiB for one check.
const MEMORY_KIB_MAX: u32 = 1 << 20;
const PASSES_MAX: u32 = 32;
const LANES_MAX: u32 = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_check_the_password_they_were_made_of() {
        let argon2id = hash_argon2id("pencil").unwrap();
        assert!(argon2id.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{argon2id}");
        assert_ne!(argon2id, hash_argon2id("pencil").unwrap(), "the salt is random");
        let scram = scram_verifier("pencil", 4096, b"salt").unwrap();
        for text in [argon2id, scram] {
            let credential = Credential::parse(&text).unwrap();
            assert!(credential.is_password("pencil"));
            assert!(!credential.is_password("Pencil"));
            assert!(!format!("{credential:?}").contains(&text[text.len() - 8..]));
        }
    }

    #[test]
    fn reads_hashes_that_others_made() {
        for (text, password) in [
            // phc-winner-argon2, test.c
            ("$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "password"),
            // RFC 7677 §3 in PostgreSQL's form
            ("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=", "pencil"),
        ] {
            assert!(Credential::parse(text).unwrap().is_password(password), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_credential_or_costs_too_much() {
        let key = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        for text in [
            "secret",
            "",
            "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
            "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ",
            "$argon2id$v=19$m=1048577,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=33,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            "$argon2id$v=19$m=65536,t=2,p=17$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
            &format!("SCRAM-SHA-256$4095:c2FsdA==${key}:{key}"),
            &format!("SCRAM-SHA-256$1000001:c2FsdA==${key}:{key}"),
            &format!("SCRAM-SHA-256$4096:${key}:{key}"),
            &format!("SCRAM-SHA-1$4096:c2FsdA==${key}:{key}"),
            &format!("SCRAM-SHA-256$4096:c2FsdA==${key}"),
            "SCRAM-SHA-256$4096:c2FsdA==$AAAA:AAAA",
        ] {
            assert!(Credential::parse(text).is_err(), "{text}");
        }
        assert!(Credential::parse("$argon2id$v=19$m=1048576,t=32,p=16$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc").is_ok());
        assert!(Credential::parse(&format!("SCRAM-SHA-256$4096:c2FsdA==${key}:{key}")).is_ok());
        assert!(Credential::parse(&format!("SCRAM-SHA-256$1000000:c2FsdA==${key}:{key}")).is_ok());
        assert!(!Credential::parse("secret").unwrap_err().to_string().contains("\"secret\""));
        for password in [String::new(), "x".repeat(PASSWORD_OCTETS_MAX + 1), "a\0b".into()] {
            assert!(hash_argon2id(&password).is_err() && scram_verifier(&password, 4096, b"salt").is_err());
        }
        assert!(hash_argon2id(&"x".repeat(PASSWORD_OCTETS_MAX)).is_ok());
        assert!(scram_verifier("x", 4095, b"salt").is_err() && scram_verifier("x", 4096, b"").is_err() && scram_verifier("x", 4096, &[0; 65]).is_err());
    }

    #[test]
    fn preparation_joins_what_looks_the_same() {
        // RFC 4013 §3
        assert_eq!(prepare_name("I\u{ad}X").as_deref(), Some("IX"));
        assert_eq!(prepare_name("\u{2168}").as_deref(), Some("IX"));
        assert_eq!(prepare_name("USER").as_deref(), Some("USER"));
        assert!(prepare_name(&"x".repeat(NAME_OCTETS_MAX)).is_some());
        for name in ["", "\u{7}", "\u{627}1", "\u{ad}", &"x".repeat(NAME_OCTETS_MAX + 1)] {
            assert_eq!(prepare_name(name), None, "{name:?}");
        }
        let password = |text: &str| prepare_password(Zeroizing::new(text.to_owned())).as_str().to_owned();
        assert_eq!(password("\u{aa}"), "a");
        assert_eq!(password("\u{7}bell"), "\u{7}bell", "no answer of SASLprep: kept");
        assert_ne!(password(&"x".repeat(PASSWORD_OCTETS_MAX + 5)), "x".repeat(PASSWORD_OCTETS_MAX));
    }
}
