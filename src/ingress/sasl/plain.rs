//! PLAIN (RFC 4616): `authzid NUL authcid NUL password` in one response.

use super::Move;
use zeroize::Zeroizing;

pub(super) fn step(response: Option<&[u8]>) -> Move {
    let Some(response) = response else { return Move::Ask(Vec::new()) };
    let Ok(text) = std::str::from_utf8(response) else { return Move::Malformed("a PLAIN response is UTF-8") };
    let parts: Vec<&str> = text.split('\0').collect();
    let [authorisation, user, password] = parts[..] else { return Move::Malformed("a PLAIN response is authzid NUL authcid NUL password") };
    if user.is_empty() || password.is_empty() {
        return Move::Malformed("a PLAIN response needs a user and a password");
    }
    // Nobody acts for somebody else here.
    if !authorisation.is_empty() && authorisation != user {
        return Move::Wrong;
    }
    Move::Check { user: user.to_owned(), password: Zeroizing::new(password.to_owned()) }
}
