//! Messages in counted chunks (`BDAT`, RFC 3030). Dots mean nothing here, and a line may lie across chunks; the rules for line ends,
//! sizes and NUL hold for the assembled message as they do behind `DATA`.

use super::data::{Content, ContentRules};
use super::memory::Share;
use crate::mail::Refusal;
use bytes::Bytes;

/// A message between its chunks.
#[derive(Debug)]
pub struct Chunks {
    content: Content,
}

/// A chunk being read.
#[derive(Debug)]
pub struct Chunk {
    chunks: Chunks,
    octets: u64,
    left: u64,
    last: bool,
}

/// What a whole chunk led to.
#[derive(Debug)]
pub enum Chunked {
    /// More is to come; how many octets this one had.
    More(Chunks, u64),
    /// The last one.
    Message(Bytes),
}

impl Chunks {
    /// Before the first chunk.
    #[must_use]
    pub const fn new(rules: ContentRules, share: Share) -> Self {
        Self { content: Content::new(rules, share) }
    }

    /// Begins a chunk of `octets`; `last` is the keyword `LAST`. `None` when the message would be larger than allowed: its octets
    /// are to be skipped.
    #[must_use]
    pub fn begin(self, octets: u64, last: bool) -> Option<Chunk> {
        (octets <= self.content.room()).then_some(Chunk { chunks: self, octets, left: octets, last })
    }
}

impl Chunk {
    /// Takes octets up to the end of the chunk: how many.
    pub fn read(&mut self, input: &[u8]) -> usize {
        let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(input.len());
        self.chunks.content.read(&input[..taken]);
        self.left -= taken as u64;
        taken
    }

    /// Is the whole chunk read?
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.left == 0
    }

    /// Ends the chunk.
    ///
    /// # Errors
    /// What is wrong with the message. RFC 3030 §2 leaves nothing to save then: the transaction is over.
    pub fn finish(self) -> Result<Chunked, Refusal> {
        if self.last {
            return self.chunks.content.finish().map(Chunked::Message);
        }
        match self.chunks.content.refusal() {
            None => Ok(Chunked::More(self.chunks, self.octets)),
            Some(refusal) => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::line::BareLf;

    const RULES: ContentRules = ContentRules { message_octets_max: 10, line_octets_max: 20, bare_lf: BareLf::Reject };

    fn assemble(pieces: &[&[u8]]) -> Result<Bytes, String> {
        let mut chunks = Chunks::new(RULES, Share::default());
        for (number, piece) in pieces.iter().enumerate() {
            let mut chunk = chunks.begin(piece.len() as u64, number + 1 == pieces.len()).ok_or("too large")?;
            assert_eq!(chunk.read(&[piece, &b"QUIT\r\n"[..]].concat()), piece.len());
            assert!(chunk.is_whole());
            chunks = match chunk.finish().map_err(|refusal| refusal.text)? {
                Chunked::More(chunks, _) => chunks,
                Chunked::Message(message) => return Ok(message),
            };
        }
        Err("no last chunk".into())
    }

    #[test]
    fn chunks_cut_anywhere_make_one_message() {
        assert_eq!(assemble(&[b"a\r", b"\n..", b"", b"\r\n", b""]).unwrap(), b"a\r\n..\r\n"[..]);
        assert_eq!(assemble(&[b"a"]).unwrap(), b"a\r\n"[..]);
        assert_eq!(assemble(&[b""]).unwrap(), b""[..]);
        assert_eq!(assemble(&[b"1234567890"]), Err("the message is larger than the 10 octets allowed here".into()));
        assert_eq!(assemble(&[b"12345678\r\n"]).unwrap(), b"12345678\r\n"[..]);
        assert_eq!(assemble(&[b"12345678\r\n", b"1"]), Err("too large".into()));
        assert!(assemble(&[b"a\r", b"b\r\n"]).unwrap_err().contains("CR without LF"));
        assert!(assemble(&[b"a\r"]).unwrap_err().contains("CR without LF"));
        assert!(assemble(&[b"a\n"]).unwrap_err().contains("LF without CR"));
    }
}
