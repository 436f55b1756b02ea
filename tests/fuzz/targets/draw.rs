//! Decisions drawn from the front of the octets of a case; what remains is the case.

/// The octets of a case. Where they run out, zeros follow.
pub struct Draw<'a>(&'a [u8]);

impl<'a> Draw<'a> {
    pub const fn of(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub fn octet(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// Eight independent yes or no.
    pub fn flags(&mut self) -> [bool; 8] {
        let octet = self.octet();
        std::array::from_fn(|bit| octet >> bit & 1 == 1)
    }

    /// What stands in front of the next line feed.
    pub fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|octet| *octet == b'\n');
        let (line, rest) = end.map_or((self.0, &[][..]), |end| (&self.0[..end], &self.0[end + 1..]));
        self.0 = rest;
        line
    }

    /// As [`Self::line`], as text.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.line()).into_owned()
    }

    /// What stands in front of the next octet 0xff, which no text has.
    pub fn part(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|octet| *octet == 0xff);
        let (part, rest) = end.map_or((self.0, &[][..]), |end| (&self.0[..end], &self.0[end + 1..]));
        self.0 = rest;
        part
    }

    pub const fn rest(self) -> &'a [u8] {
        self.0
    }
}

/// Lengths of pieces to cut octets into, the same for the same seed.
pub fn cuts(seed: u8) -> impl Iterator<Item = usize> {
    let mut state = u32::from(seed) | 0x0001_0100;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        1 + usize::try_from(state >> 24).unwrap_or(1) % [1, 2, 3, 7, 40, 200][usize::from(seed) % 6]
    })
}

/// `octets` in such pieces.
pub fn pieces(octets: &[u8], seed: u8) -> impl Iterator<Item = &[u8]> {
    let mut rest = octets;
    cuts(seed).map_while(move |length| {
        if rest.is_empty() {
            return None;
        }
        let (piece, tail) = rest.split_at(length.min(rest.len()));
        rest = tail;
        Some(piece)
    })
}
