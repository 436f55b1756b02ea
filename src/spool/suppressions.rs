//! The suppression list of a spool: addresses that are not written to any more, kept as durably as mail.
//!
//! | | written | in the same transaction as |
//! |---|---|---|
//! | after a failure in delivery | by [`Spool::settle`], from [`Ending::suppression`](super::Ending) | the recipient's outcome |
//! | after a bounce or complaint that came home | with what came home | its events |
//! | by a person | by [`Suppressions::suppress`] | the others of the same page |
//!
//! Looked at by [`Suppressions::suppressed`] before a submission is committed. An entry that does not fit its checksum is reported and
//! not believed: mail is rather sent to an address in vain than kept from one.

use super::{Spool, SpoolError};
use crate::mail::suppression::{Scope, Suppression, Why};
use crate::mail::{Domain, Mailbox, Stream, Timestamp};
use data_encoding::BASE64URL_NOPAD;
use std::fmt;
use std::future::Future;
use std::num::NonZeroUsize;
use std::str::FromStr;

/// A spool with a suppression list.
///
/// Contract, run on every backend by `tests/spool/suppressions.rs`: what `suppress` took counts at once and after a crash, for its scope and
/// for no other, until it ends or is lifted.
pub trait Suppressions: Spool {
    /// Puts entries on the list, all or none. At most [`PAGE_ENTRIES_MAX`] at a time. What is there already is renewed: the later end
    /// counts, and a failure does not replace a complaint or a person's word that still count.
    ///
    /// # Errors
    /// [`SpoolError::SuppressionsFull`]: none was taken.
    fn suppress(&self, entries: Vec<Suppression>) -> impl Future<Output = Result<Taken, SpoolError>> + Send;

    /// Takes entries off the list, damaged ones too. Gives those that were there.
    fn lift(&self, entries: Vec<Key>) -> impl Future<Output = Result<Vec<Key>, SpoolError>> + Send;

    /// Which of these recipients are not to be written to in mail of this author domain and stream, each with the entry that says so. Costs
    /// next to nothing for those that are not on the list.
    fn suppressed(
        &self,
        author_domain: &Domain,
        stream: &Stream,
        recipients: Vec<Mailbox>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<(Mailbox, Suppression)>, SpoolError>> + Send;

    /// A page of the entries that count at `now` and that `selection` takes, by scope and recipient, at most `entries_max`. Fewer, even none,
    /// does not mean that there are no more: [`Listed::next`] does.
    fn suppressions(
        &self,
        selection: &Selection,
        after: Option<Key>,
        entries_max: NonZeroUsize,
        now: Timestamp,
    ) -> impl Future<Output = Result<Listed, SpoolError>> + Send;

    /// How many entries there are, those included whose time is over and that were not swept yet; and how many there may be.
    fn suppressions_count(&self) -> (u64, u64);
}

/// Which entry: its scope and recipient in printed form, as the spool keys them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// As [`Scope`] prints.
    pub scope: String,
    /// As a folded [`Mailbox`] prints.
    pub recipient: String,
}

impl Key {
    /// The key of a recipient in a scope.
    #[must_use]
    pub fn of(scope: &Scope, recipient: &Mailbox) -> Self {
        Self { scope: scope.to_string(), recipient: recipient.folded().to_string() }
    }

    /// The key of an entry.
    #[must_use]
    pub fn of_entry(entry: &Suppression) -> Self {
        Self::of(&entry.scope, &entry.recipient)
    }
}

/// For the address of a page: one word of letters, digits, `-` and `_`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(format!("{}\n{}", self.scope, self.recipient).as_bytes()))
    }
}

/// A text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the cursor names no place in the list; expected \"next\" of the page before, unchanged")]
pub struct KeyError;

impl FromStr for Key {
    type Err = KeyError;
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let octets = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| KeyError)?;
        let text = String::from_utf8(octets).map_err(|_| KeyError)?;
        let (scope, recipient) = text.split_once('\n').ok_or(KeyError)?;
        Ok(Self { scope: scope.to_owned(), recipient: recipient.to_owned() })
    }
}

/// What became of entries that were to be put on the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    /// New ones.
    pub added: u64,
    /// Those that were there and now say something newer.
    pub renewed: u64,
    /// Those that were there and stayed as they were, being stronger or the same.
    pub kept: u64,
}

/// What became of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fate {
    /// It is new.
    Added,
    /// It was there, and now says something newer.
    Renewed,
    /// It was there, and stayed as it was.
    Kept,
    /// There is no room for it: nothing was changed.
    NoRoom,
}

/// Which entries: those that every field takes. The default takes all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Selection {
    /// For mail of this author domain: entries for all of it, and for its streams.
    pub author_domain: Option<Domain>,
    /// For this stream: entries for it alone.
    pub stream: Option<Stream>,
    /// Of this address.
    pub recipient: Option<Mailbox>,
    /// Of addresses at this domain.
    pub recipient_domain: Option<Domain>,
    /// For this reason.
    pub why: Option<Why>,
    /// Made then or later.
    pub since: Option<Timestamp>,
}

impl Selection {
    /// Whether it takes an entry.
    #[must_use]
    pub fn takes(&self, entry: &Suppression) -> bool {
        self.author_domain.as_ref().is_none_or(|domain| entry.scope.author_domain == *domain)
            && self.stream.as_ref().is_none_or(|stream| entry.scope.stream.as_ref() == Some(stream))
            && self.recipient.as_ref().is_none_or(|recipient| entry.recipient.folded() == recipient.folded())
            && self.recipient_domain.as_ref().is_none_or(|domain| entry.recipient.domain() == Some(domain))
            && self.why.is_none_or(|why| entry.why == why)
            && self.since.is_none_or(|since| entry.since >= since)
    }
}

/// A page of the list.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listed {
    /// By scope and recipient.
    pub entries: Vec<Suppression>,
    /// Entries that do not fit their checksum: they count for nothing.
    pub damaged: Vec<Damaged>,
    /// Behind which entry the next page begins; `None`: this was the last.
    pub next: Option<Key>,
}

/// An entry that does not fit its checksum, by what its key reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Which.
    pub key: Key,
    /// What is wrong.
    pub why: String,
}

/// Entries that are taken or lifted in one transaction: commits wait for no more.
pub const PAGE_ENTRIES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_word_and_reads_back() {
        let scope: Scope = "example.com/a b".parse().unwrap();
        let key = Key::of(&scope, &Mailbox::parse("\"Jane Doe\"@Example.NET").unwrap());
        assert_eq!(key.recipient, "\"jane doe\"@example.net");
        let word = key.to_string();
        assert!(word.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'), "{word}");
        assert_eq!(word.parse(), Ok(key));
        for text in ["", "a", "!!", "bm9uZQ"] {
            assert_eq!(text.parse::<Key>(), Err(KeyError), "{text}");
        }
    }
}
