//! LOGIN (draft-murchison-sasl-login): the name, then the password. Old, and still what many libraries try.

use super::Move;
use zeroize::Zeroizing;

/// What was asked so far.
#[derive(Debug, Default)]
pub(super) enum Login {
    #[default]
    Start,
    Password {
        user: String,
    },
}

impl Login {
    pub(super) fn step(&mut self, response: Option<&[u8]>) -> Move {
        let Some(response) = response else { return Move::Ask(b"Username:".to_vec()) };
        let Ok(text) = std::str::from_utf8(response) else { return Move::Malformed("a LOGIN response is UTF-8") };
        if text.is_empty() || text.contains('\0') {
            return Move::Malformed("a LOGIN response is a user name, then a password");
        }
        match self {
            Self::Start => {
                *self = Self::Password { user: text.to_owned() };
                Move::Ask(b"Password:".to_vec())
            }
            Self::Password { user } => Move::Check { user: std::mem::take(user), password: Zeroizing::new(text.to_owned()) },
        }
    }
}
