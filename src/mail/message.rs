//! A whole message: a header that parses, and a body.

use super::{HeaderFault, Headers};
use bytes::Bytes;

/// A message whose header is known to parse. Octets are shared, never copied by `clone`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    octets: Bytes,
    body_start: usize,
}

impl Message {
    /// Takes a message with CR LF line ends.
    ///
    /// # Errors
    /// Its header does not parse.
    pub fn parse(octets: Bytes) -> Result<Self, HeaderFault> {
        let body_start = Headers::parse(&octets)?.body_start();
        Ok(Self { octets, body_start })
    }

    /// All octets.
    #[must_use]
    pub const fn octets(&self) -> &Bytes {
        &self.octets
    }

    /// Header block, the empty line included.
    #[must_use]
    pub fn header(&self) -> &[u8] {
        &self.octets[..self.body_start]
    }

    /// The body, without the empty line before it.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        &self.octets[self.body_start..]
    }

    /// The header's fields.
    ///
    /// # Panics
    /// Never: the header was parsed when the message was made and has not changed.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        #[allow(clippy::expect_used, reason = "parsed by the constructor, immutable since")]
        Headers::parse(self.header()).expect("a message's header parses")
    }
}
