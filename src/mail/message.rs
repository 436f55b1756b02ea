//! A whole message: a header that parses, and a body.

use super::{HeaderFault, Headers};
use bytes::Bytes;

/// A message whose header is known to parse, or that is passed on whatever its header looks like. Octets are shared, never copied by
/// `clone`.
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

    /// Takes a message of a stranger, with whatever header; of that, fields are what [`Headers::parse_any`] finds.
    #[must_use]
    pub fn any(octets: Bytes) -> Self {
        let body_start = Headers::parse_any(&octets).body_start();
        Self { octets, body_start }
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

    /// The header's fields; of [any](Self::any) message those that are some.
    #[must_use]
    pub fn headers(&self) -> Headers<'_> {
        Headers::parse(self.header()).unwrap_or_else(|_| Headers::parse_any(self.header()))
    }
}
