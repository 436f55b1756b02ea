//! The two content-transfer-encodings (RFC 2045 §6.7, §6.8), written and re-wrapped. Decoded, the content is identical, octet for octet.

/// Quoted-printable of text with CR LF line ends, which stay line ends.
///
/// A line never begins with `-` or `From `: the first could look like a boundary, the second is changed by old mail stores.
pub fn quoted_printable(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 2);
    let mut column = 0;
    for (at, &octet) in content.iter().enumerate() {
        let next = content.get(at + 1).copied();
        match octet {
            b'\r' if next == Some(b'\n') => {}
            b'\n' if at > 0 && content[at - 1] == b'\r' => {
                out.extend_from_slice(b"\r\n");
                column = 0;
            }
            _ => put(&mut out, &mut column, &content[at..]),
        }
    }
    out
}

/// Whether two thirds of the octets stand for themselves in quoted-printable: below that it is longer than base64 and unreadable.
pub fn is_mostly_plain(content: &[u8]) -> bool {
    let escaped = content.iter().filter(|b| !matches!(b, b' '..=b'<' | b'>'..=b'~' | b'\t' | b'\r' | b'\n')).count();
    escaped <= content.len() / 3
}

/// Quoted-printable text with its lines broken to 76 columns: octets stay as they are, `=` CR LF is put between them.
pub fn rewrap_quoted_printable(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(encoded.len() + encoded.len() / 32);
    for line in encoded.split_inclusive(|b| *b == b'\n') {
        let text = line.strip_suffix(b"\r\n").unwrap_or(line);
        if text.len() <= COLUMNS {
            out.extend_from_slice(line);
            continue;
        }
        let mut column = 0;
        let mut rest = text.trim_ascii_end(); // white space there is not content (RFC 2045 §6.7 rule 3)
        while let Some((&first, after)) = rest.split_first() {
            let triple = first == b'=' && after.len() >= 2 && after[..2].iter().all(u8::is_ascii_hexdigit);
            let width = if triple { 3 } else { 1 };
            if rest == b"=" {
                out.push(b'='); // the line's own soft break
            } else {
                let last = rest.len() == width || &rest[width..] == b"=";
                make_room(&mut out, &mut column, width, last);
                if column == 0 && first == b'-' && out.ends_with(b"=\r\n") {
                    out.extend_from_slice(b"=2D");
                    column = 3;
                } else {
                    out.extend_from_slice(&rest[..width]);
                    column += width;
                }
            }
            rest = &rest[width..];
        }
        out.extend_from_slice(&line[text.len()..]);
    }
    out
}

/// Base64 in lines of 76 columns, joined by CR LF.
pub fn base64(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() / 57 * 78 + 80);
    for (number, chunk) in content.chunks(COLUMNS / 4 * 3).enumerate() {
        if number > 0 {
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(data_encoding::BASE64.encode(chunk).as_bytes());
    }
    out
}

/// Base64 text in lines of 76 columns, joined by CR LF; `None` when it holds anything but its alphabet and white space.
pub fn rewrap_base64(encoded: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = encoded.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
    let known = digits.iter().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(b));
    known.then(|| digits.chunks(COLUMNS).collect::<Vec<_>>().join(&b"\r\n"[..]))
}

/// Writes the first octet of `rest`.
fn put(out: &mut Vec<u8>, column: &mut usize, rest: &[u8]) {
    let octet = rest[0];
    let literal = octet_is_literal(octet, rest.get(1).copied());
    make_room(out, column, if literal { 1 } else { 3 }, ends_line(&rest[1..]));
    let risky = *column == 0 && (octet == b'-' || rest.starts_with(b"From "));
    if literal && !risky {
        out.push(octet);
        *column += 1;
    } else {
        out.extend_from_slice(&[b'=', hex(octet >> 4), hex(octet & 15)]);
        *column += 3;
    }
}

/// Breaks the line softly unless `width` columns are left, and one for the `=` of the next break.
fn make_room(out: &mut Vec<u8>, column: &mut usize, width: usize, last: bool) {
    if *column + width > if last { COLUMNS } else { COLUMNS - 1 } {
        out.extend_from_slice(b"=\r\n");
        *column = 0;
    }
}

/// White space at a line's end would be lost on the way (RFC 2045 §6.7 rule 3).
fn octet_is_literal(octet: u8, next: Option<u8>) -> bool {
    match octet {
        b' ' | b'\t' => !matches!(next, None | Some(b'\r')),
        b'=' => false,
        _ => octet.is_ascii_graphic(),
    }
}

fn ends_line(rest: &[u8]) -> bool {
    rest.is_empty() || rest.starts_with(b"\r\n")
}

fn hex(digit: u8) -> u8 {
    b"0123456789ABCDEF"[usize::from(digit)]
}

/// RFC 2045 §6.7 rule 5, §6.8.
const COLUMNS: usize = 76;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_printable_protects_what_transport_changes() {
        for (content, encoded) in [
            (&b"plain\r\n"[..], "plain\r\n"),
            ("é=\r\n".as_bytes(), "=C3=A9=3D\r\n"),
            (b"end \r\nend\t", "end=20\r\nend=09"),
            (b"--b\r\n-", "=2D-b\r\n=2D"),
            (b"From me\r\n", "=46rom me\r\n"),
            (b"\0\x7f\x1b", "=00=7F=1B"),
            (b"", ""),
        ] {
            assert_eq!(String::from_utf8(quoted_printable(content)).unwrap(), encoded);
        }
    }

    #[test]
    fn a_third_may_be_escaped() {
        assert!(is_mostly_plain("aaaaé".as_bytes()) && is_mostly_plain(b""));
        assert!(!is_mostly_plain("aaaé".as_bytes()));
    }

    #[test]
    fn lines_end_at_76_columns() {
        let exact = "x".repeat(76);
        assert_eq!(quoted_printable(exact.as_bytes()), exact.as_bytes());
        assert_eq!(quoted_printable("x".repeat(77).as_bytes()), format!("{}=\r\nxx", "x".repeat(75)).as_bytes());
        assert_eq!(rewrap_quoted_printable(format!("{}=C3=A9=\r\nx", "x".repeat(74)).as_bytes()), format!("{}=\r\n=C3=A9=\r\nx", "x".repeat(74)).as_bytes());
        assert_eq!(rewrap_quoted_printable(format!("{}-y", "x".repeat(75)).as_bytes()), format!("{}=\r\n=2Dy", "x".repeat(75)).as_bytes());
        assert_eq!(base64(&[0; 58]).len(), 76 + 2 + 4);
        assert_eq!(rewrap_base64(&[b'A'; 80]).unwrap(), format!("{}\r\nAAAA", "A".repeat(76)).as_bytes());
        assert_eq!(rewrap_base64(b"AAA*"), None);
    }
}
