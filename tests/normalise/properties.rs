//! Whatever the message: structure and decoded content stay, signed parts stay octet for octet, what comes out travels over 7 bits
//! where it may, a second time changes nothing, and no input panics or takes more than linear time.
//! The content is read by `mail-parser` and by a decoder of this file.

use super::{Case, HEADER, below_trace, crlf};
use mail_parser::{MessageParser, PartKind};
use postseal::mail::mime::{Bounds, Kind, Structure, TransferEncoding};
use postseal::normalise::Normalised;
use proptest::prelude::*;
use std::time::{Duration, Instant};

/// A part to be written out.
#[derive(Debug, Clone)]
enum Node {
    Leaf { media: Option<&'static str>, encoding: Encoding, content: Vec<u8> },
    Multipart { subtype: &'static str, boundary: Boundary, preamble: String, children: Vec<Node>, closed: bool },
    Message { mime_version: bool, inner: Box<Node> },
}

#[derive(Debug, Clone, Copy)]
enum Encoding {
    None,
    Label(&'static str),
    Base64 { column: usize },
    QuotedPrintable { broken: bool },
}

/// Boundaries that begin like one another, need quoting, or look like something else.
#[derive(Debug, Clone, Copy)]
enum Boundary {
    Prefixes,
    Quoted,
    Dashes,
}

fn line() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "[ -~]{0,90}".prop_map(String::into_bytes),
        2 => "[ -~]{990,1010}".prop_map(String::into_bytes),
        3 => "[ぁ-ん漢字 a-z。]{0,60}".prop_map(String::into_bytes),
        1 => "[ぁ-ん]{330,340}".prop_map(String::into_bytes),
        1 => prop::collection::vec(128u8..=255, 0..60),
        1 => prop::sample::select(vec!["--", "--p", "--p--x", "From x", ".", "..", "=", "a=3D", " ", "x \t", "-", "\u{1b}$B"]).prop_map(|t| t.as_bytes().to_vec()),
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(line(), 0..6), any::<bool>()).prop_map(|(lines, ends)| {
        let mut text = lines.join(&b"\r\n"[..]);
        if ends {
            text.extend_from_slice(b"\r\n");
        }
        text
    })
}

/// Anything but a bare CR or LF.
fn binary() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>().prop_map(|b| if matches!(b, b'\r' | b'\n') { 0 } else { b }), 0..1500)
}

fn leaf() -> impl Strategy<Value = Node> {
    let media = prop::sample::select(vec![
        None,
        Some("text/plain; charset=utf-8"),
        Some("TEXT/html; charset=\"iso-8859-1\""),
        Some("text/calendar; method=REQUEST"),
        Some("application/json"),
        Some("image/png; name=\"a b.png\""),
        Some("application/octet-stream"),
    ]);
    let encoding = prop_oneof![
        4 => Just(Encoding::None),
        3 => prop::sample::select(vec!["7bit", "8bit", "binary", "8BIT"]).prop_map(Encoding::Label),
        2 => prop::sample::select(vec![40usize, 76, 1200]).prop_map(|column| Encoding::Base64 { column }),
        2 => any::<bool>().prop_map(|broken| Encoding::QuotedPrintable { broken }),
    ];
    (media, encoding, prop_oneof![3 => text(), 1 => binary()]).prop_map(|(media, encoding, content)| Node::Leaf { media, encoding, content })
}

fn tree() -> impl Strategy<Value = Node> {
    leaf().prop_recursive(4, 24, 4, |inner| {
        let boundary = prop::sample::select(vec![Boundary::Prefixes, Boundary::Quoted, Boundary::Dashes]);
        let subtype = prop::sample::select(vec!["mixed", "alternative", "related", "report", "x-unknown"]);
        let multipart = (subtype, boundary, prop::sample::select(vec!["", "This is MIME.\r\n"]), prop::collection::vec(inner.clone(), 1..4), any::<bool>());
        prop_oneof![
            3 => multipart.prop_map(|(subtype, boundary, preamble, children, closed)| Node::Multipart { subtype, boundary, preamble: preamble.into(), children, closed }),
            1 => (any::<bool>(), inner).prop_map(|(mime_version, inner)| Node::Message { mime_version, inner: Box::new(inner) }),
        ]
    })
}

impl Node {
    /// Header fields, empty line and body.
    fn write(&self, counter: &mut usize, out: &mut Vec<u8>) {
        match self {
            Self::Leaf { media, encoding, content } => {
                if let Some(media) = media {
                    out.extend_from_slice(format!("Content-Type: {media}\r\n").as_bytes());
                }
                let (label, body) = encoding.apply(content);
                if let Some(label) = label {
                    out.extend_from_slice(format!("Content-Transfer-Encoding: {label}\r\n").as_bytes());
                }
                out.extend_from_slice(b"\r\n");
                out.extend_from_slice(&body);
            }
            Self::Multipart { subtype, boundary, preamble, children, closed } => {
                *counter += 1;
                let boundary = boundary.text(*counter);
                out.extend_from_slice(
                    format!("Content-Type: multipart/{subtype};\r\n\tboundary=\"{boundary}\"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{preamble}").as_bytes(),
                );
                for (index, child) in children.iter().enumerate() {
                    out.extend_from_slice(format!("{}--{boundary}\r\n", if index > 0 { "\r\n" } else { "" }).as_bytes());
                    child.write(counter, out);
                }
                if *closed {
                    out.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
                }
            }
            Self::Message { mime_version, inner } => {
                out.extend_from_slice(b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n");
                if *mime_version {
                    out.extend_from_slice(b"MIME-Version: 1.0\r\n");
                }
                inner.write(counter, out);
            }
        }
    }

    fn message(&self) -> Vec<u8> {
        let mut out = crlf(HEADER).into_bytes();
        out.extend_from_slice(b"MIME-Version: 1.0\r\n");
        self.write(&mut 0, &mut out);
        if !out.ends_with(b"\r\n") {
            out.extend_from_slice(b"\r\n");
        }
        out
    }
}

impl Encoding {
    fn apply(self, content: &[u8]) -> (Option<&'static str>, Vec<u8>) {
        match self {
            Self::None => (None, content.to_vec()),
            Self::Label(label) => (Some(label), content.to_vec()),
            Self::Base64 { column } => {
                let digits = data_encoding::BASE64.encode(content).into_bytes();
                (Some("base64"), digits.chunks(column).collect::<Vec<_>>().join(&b"\r\n"[..]))
            }
            Self::QuotedPrintable { broken } => {
                let mut out = Vec::new();
                for (at, octet) in content.iter().enumerate() {
                    match octet {
                        b'!'..=b'<' | b'>'..=b'~' | b'\r' | b'\n' => out.push(*octet),
                        _ => out.extend_from_slice(format!("={octet:02X}").as_bytes()),
                    }
                    if broken && at % 20 == 19 && !matches!(octet, b'\r') {
                        out.extend_from_slice(b"=\r\n");
                    }
                }
                (Some("Quoted-Printable"), out)
            }
        }
    }
}

impl Boundary {
    fn text(self, number: usize) -> String {
        match self {
            Self::Prefixes => format!("q{}", "q".repeat(number)),
            Self::Quoted => format!("a b:{number}=_?"),
            Self::Dashes => format!("--{number}--x"),
        }
    }
}

/// What a reader sees: of each part its type and its decoded content.
type Seen = Vec<(String, Vec<u8>)>;

fn seen_by_mail_parser(message: &[u8]) -> Seen {
    let parsed = MessageParser::default().parse(message).unwrap();
    let part = |part: mail_parser::MessagePart<'_>| match part.kind() {
        PartKind::Multipart => ("multipart".to_owned(), Vec::new()),
        PartKind::Message(_) => ("message".to_owned(), Vec::new()),
        kind => (format!("{kind:?}"), part.decoded().into_owned()),
    };
    parsed.parts().map(part).collect()
}

fn seen_by_us(message: &[u8]) -> Seen {
    let structure = Structure::parse(message, Bounds { depth_max: 100, parts_max: 10_000 }).unwrap();
    let content = |part: &postseal::mail::mime::Part| match (&part.kind, part.encoding) {
        (Kind::Multipart { preamble, epilogue }, _) => [&message[preamble.clone()], &message[epilogue.clone()]].concat(),
        (Kind::Message, _) => Vec::new(),
        (_, TransferEncoding::Base64) => {
            let digits: Vec<u8> = message[part.body.clone()].iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            data_encoding::BASE64.decode(&digits).unwrap()
        }
        (_, TransferEncoding::QuotedPrintable) => decode_quoted_printable(&message[part.body.clone()]),
        _ => message[part.body.clone()].to_vec(),
    };
    structure.parts().iter().map(|part| (part.media.clone(), content(part))).collect()
}

fn decode_quoted_printable(encoded: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = encoded;
    while let Some((&first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'=', [b'\r', b'\n', after @ ..]) => after,
            (b'=', [high, low, after @ ..]) => {
                out.push(u8::from_str_radix(std::str::from_utf8(&[*high, *low]).unwrap(), 16).unwrap());
                after
            }
            _ => {
                out.push(first);
                after
            }
        };
    }
    out
}

fn is_seven_bit(octets: &[u8]) -> bool {
    octets.is_ascii() && !octets.contains(&0) && has_short_lines(octets)
}

fn has_short_lines(octets: &[u8]) -> bool {
    octets.split(|b| *b == b'\n').all(|line| line.len() <= 999)
}

/// A second time nothing is left to do.
fn is_stable(case: &Case, done: &Normalised) -> bool {
    let again = case.run(done.message.octets()).unwrap();
    !again.changed && below_trace(&again) == done.message.octets() && again.needs == done.needs && again.message_id == done.message_id
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(haystack, needle).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn structure_and_content_stay(tree in tree()) {
        let message = tree.message();
        let case = Case::new();
        let done = case.run(&message).unwrap();
        let out = below_trace(&done);
        prop_assert!(is_seven_bit(out), "{}", String::from_utf8_lossy(out));
        prop_assert!(!done.needs.eight_bit);
        prop_assert_eq!(done.changed, out != &message[..]);
        prop_assert_eq!(seen_by_us(out), seen_by_us(&message));
        prop_assert_eq!(seen_by_mail_parser(out), seen_by_mail_parser(&message));
        prop_assert!(is_stable(&case, &done));
        if is_seven_bit(&message) {
            prop_assert_eq!(out, &message[..]);
        }
    }

    #[test]
    fn kept_8bit_content_stays_but_for_long_lines(tree in tree()) {
        let message = tree.message();
        let case = Case::new().with(|settings| settings.keep_8bitmime = true);
        let done = case.run(&message).unwrap();
        let out = below_trace(&done);
        prop_assert!(has_short_lines(out) && !out.contains(&0));
        prop_assert_eq!(done.needs.eight_bit, !out.is_ascii());
        prop_assert_eq!(seen_by_us(out), seen_by_us(&message));
        prop_assert_eq!(seen_by_mail_parser(out), seen_by_mail_parser(&message));
        prop_assert!(is_stable(&case, &done));
        if has_short_lines(&message) && !message.contains(&0) {
            prop_assert_eq!(out, &message[..]);
        }
    }

    #[test]
    fn signed_parts_stay_octet_for_octet(before in tree(), signed in "[ぁ-んa-z \t=.\u{e9}-]{1,300}", after in tree()) {
        let inner = format!("Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n{signed}");
        let part = format!("--sig\r\n{inner}\r\n--sig\r\nContent-Type: application/pgp-signature\r\n\r\nnot one\r\n--sig--\r\n");
        let mut message = format!("{}Content-Type: multipart/mixed; boundary=outermost\r\nMIME-Version: 1.0\r\n\r\n--outermost\r\n", crlf(HEADER)).into_bytes();
        let mut counter = 0;
        before.write(&mut counter, &mut message);
        message.extend_from_slice(b"\r\n--outermost\r\nContent-Type: multipart/signed; boundary=sig; protocol=\"application/pgp-signature\"\r\n\r\n");
        message.extend_from_slice(part.as_bytes());
        message.extend_from_slice(b"\r\n--outermost\r\n");
        after.write(&mut counter, &mut message);
        message.extend_from_slice(b"\r\n--outermost--\r\n");

        let case = Case::new();
        let done = case.run(&message).unwrap();
        prop_assert!(contains(done.message.octets(), part.as_bytes()));
        prop_assert_eq!(done.needs.eight_bit, !signed.is_ascii());
        prop_assert_eq!(done.message.body().is_ascii(), signed.is_ascii());
        prop_assert_eq!(seen_by_us(below_trace(&done)), seen_by_us(&message));
        prop_assert!(is_stable(&case, &done));
    }

    #[test]
    fn nothing_changes_under_a_signature(tree in tree()) {
        let message = tree.message();
        match Case::new().signed().run(&message) {
            Ok(done) => {
                prop_assert_eq!(below_trace(&done), &message[..]);
                prop_assert_eq!(done.needs.eight_bit, !message.is_ascii());
                prop_assert!(!done.changed);
            }
            Err(refusal) => prop_assert!(refusal.to_string().starts_with("550 5.6.3 ") && (!has_short_lines(&message) || message.contains(&0))),
        }
    }

    #[test]
    fn no_octets_panic(octets in prop::collection::vec(any::<u8>(), 0..400), headed in any::<bool>()) {
        let mut message = if headed { crlf(HEADER).into_bytes() } else { Vec::new() };
        message.extend_from_slice(&octets);
        for case in [Case::new(), Case::forward(), Case::new().smtputf8(), Case::new().signed()] {
            drop(case.run(&message));
        }
    }

    /// Pieces of MIME in any order: readers may differ about what they mean, but what comes out travels and is final.
    #[test]
    fn any_heap_of_mime_comes_out_stable_or_refused(pieces in prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..40), multipart in any::<bool>()) {
        let begin = if multipart { "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" } else { "" };
        let message = format!("{}{begin}{}\r\n", crlf(HEADER), pieces.concat()).into_bytes();
        for case in [Case::new(), Case::forward(), Case::new().smtputf8(), Case::new().with(|settings| settings.keep_8bitmime = true)] {
            if let Ok(done) = case.run(&message) {
                prop_assert!(has_short_lines(done.message.octets()) && !done.message.octets().contains(&0));
                prop_assert_eq!(done.needs.eight_bit, !done.message.body().is_ascii());
                prop_assert!(is_stable(&case, &done), "{}", String::from_utf8_lossy(done.message.octets()));
            }
        }
    }
}

const PIECES: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "--b\r\n",
    "\r\n--b\r\n",
    "\r\n--b--\r\n",
    "--c\r\n",
    "\r\n--c--\r\n",
    "--bc  \r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: multipart/digest; boundary=\"c\"\r\n",
    "Content-Type: multipart/signed; boundary=bc\r\n",
    "Content-Type: multipart/mixed\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Type: text/plain\r\n",
    "Content-Type: nonsense\r\n",
    "Content-Transfer-Encoding: 8bit\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Transfer-Encoding: x\r\n",
    "MIME-Version: 1.0\r\n",
    "Bcc: x\r\n",
    "Cc:\r\n",
    "Subject: \u{3042}\r\n",
    "\u{3042}\u{3044}\r\n",
    "\u{3042}",
    "plain text = here \r\n",
    "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789",
    "\0",
    "nofield\r\n",
    " folded\r\n",
];

#[test]
#[allow(clippy::disallowed_methods, reason = "measures how long it takes")]
fn cost_is_linear_whatever_the_boundaries() {
    const OCTETS: usize = 4 << 20;
    let long = "b".repeat(60);
    let nest = (0..60).map(|n| format!("Content-Type: multipart/mixed; boundary={long}{n:02}\r\n\r\n--{long}{n:02}\r\n")).collect::<Vec<_>>().concat();
    let fill = |unit: &str| unit.repeat(OCTETS / unit.len());
    let head = format!("{}MIME-Version: 1.0\r\n", crlf(HEADER));
    for (what, message) in [
        ("near misses of many boundaries", format!("{head}{nest}\r\n\u{3042}\r\n{}", fill(&format!("--{}x\r\n", "b".repeat(61))))),
        ("short dashed lines", format!("{head}{nest}\r\n\u{3042}\r\n{}", fill("--\r\n"))),
        ("one line without end", format!("{head}\r\n\u{3042}{}\r\n", fill("-"))),
        ("a comment without end", format!("{head}X-A: b\r\nContent-Type: multipart/mixed;{}\r\n\r\n\u{3042}\r\n", "(".repeat(900))),
        ("many fields", format!("{}{head}\r\n\u{3042}\r\n", "X: y\r\n".repeat(4_900))),
        ("many parts", format!("{head}Content-Type: multipart/mixed; boundary=b\r\n\r\n{}", "--b\r\n\r\n\u{3042}\r\n".repeat(9_990))),
        ("quoted-printable without line ends", format!("{head}Content-Transfer-Encoding: quoted-printable\r\n\r\n{}\r\n", fill("=3D"))),
    ] {
        let begun = Instant::now();
        drop(Case::new().run(message.as_bytes()));
        let taken = begun.elapsed();
        assert!(taken < Duration::from_secs(20), "{what}: {taken:?}"); // quadratic, this would take hours
    }
}
