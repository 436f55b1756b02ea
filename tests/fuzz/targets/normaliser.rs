//! Messages on their way through: what comes out is fit to travel, and to come through a second time unchanged.

use super::draw::Draw;
use postseal::mail::author::{addresses, foreign_author, has_encoded_address};
use postseal::mail::mime::{Bounds, Kind, Structure};
use postseal::mail::{
    BodyType, Client, Domain, Envelope, Headers, IdentityName, MailId, Message, Notify, Proof, Recipient, ReversePath, Timestamp, TraceContext,
};
use postseal::normalise::{self, Facts, Mode, Normalised, Settings, normalise};

pub fn run(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let [forward, smtputf8, keep, signed, lf, headed, mime, helo] = draw.flags();
    let mut message = if headed { HEADER.to_vec() } else { Vec::new() };
    if mime {
        message.extend_from_slice(b"MIME-Version: 1.0\r\n");
    }
    message.extend_from_slice(draw.rest());
    if lf {
        message = with_crlf(&message);
    }
    let mode = if forward { Mode::Forward } else { Mode::Author };
    let case = Case { mode, smtputf8, keep, signed, esmtp: !helo };
    let Ok(done) = case.run(&message) else { return };
    let out = done.message.octets();
    check_octets(out);
    assert_eq!(done.needs.eight_bit, !done.message.body().is_ascii());
    assert!(done.needs.smtputf8 || done.message.header().is_ascii());
    assert!(keep || signed || done.message.body().is_ascii() || holds_what_is_never_encoded(out), "8-bit content left");
    assert!(out.len() <= 4 * message.len() + 4096, "{} octets became {}", message.len(), out.len());
    assert!(!done.message_id.contains(['\r', '\n']));
    assert!(done.message.headers().named("bcc").next().is_none() || mode == Mode::Forward, "Bcc is let out");

    let again = case.run(out).unwrap_or_else(|refusal| panic!("what came out is refused: {refusal}"));
    assert!(
        !again.changed && below_trace(&again) == &out[..],
        "{:?} became {:?}",
        out.escape_ascii().to_string(),
        below_trace(&again).escape_ascii().to_string()
    );
    assert_eq!((again.needs, &again.message_id), (done.needs, &done.message_id));
}

/// What every next hop takes: CR LF, no NUL, lines of 998 octets at most.
fn check_octets(octets: &[u8]) {
    assert!(!octets.contains(&0), "a NUL is let out");
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let text = line.strip_suffix(b"\r\n").or_else(|| (!line.ends_with(b"\n")).then_some(line)).expect("an LF without CR");
        assert!(!text.contains(&b'\r') && text.len() <= 998, "{:?}", line.escape_ascii().to_string());
    }
}

/// Signed and encrypted parts, and those whose structure is unclear, stay as they are.
fn holds_what_is_never_encoded(octets: &[u8]) -> bool {
    let structure = Structure::parse(octets, BOUNDS).unwrap();
    structure.parts().iter().any(|part| matches!(part.kind, Kind::Unclear) || part.media.starts_with("multipart/") || part.media.starts_with("message/"))
        || structure.parts().iter().any(|part| part.encoding != postseal::mail::mime::TransferEncoding::Identity)
}

/// Fields and parts: spans that lie where they say.
pub fn structure(octets: &[u8]) {
    let octets = with_crlf(octets);
    if let Ok(headers) = Headers::parse(&octets) {
        let raw: Vec<u8> = headers.iter().flat_map(|field| field.raw).copied().collect();
        assert!(octets.starts_with(&raw) && octets[raw.len()..].len() >= octets.len() - headers.body_start());
        for field in headers.iter() {
            assert!(!field.unfolded().contains("\r\n"), "{:?}", field.unfolded());
            let _ = (addresses(field.value), has_encoded_address(field.value));
        }
        let _ = (foreign_author(&headers), TraceContext::of(&headers), normalise::faults(&headers, true, &normalise::Limits::default()));
        let message = Message::parse(octets.clone().into()).expect("its header was parsed");
        assert_eq!(message.body(), &octets[headers.body_start()..]);
    }
    let Ok(structure) = Structure::parse(&octets, BOUNDS) else { return };
    let parts = structure.parts();
    assert!((1..=BOUNDS.parts_max).contains(&parts.len()));
    for (index, part) in parts.iter().enumerate() {
        assert!(part.depth <= BOUNDS.depth_max && part.header.start <= part.header.end && part.header.end <= part.body.start.max(part.header.end));
        assert!(part.body.start <= part.body.end && part.body.end <= octets.len(), "{part:?}");
        assert_eq!(part.parent.is_none(), index == 0);
        if let Some(parent) = part.parent {
            let parent = &parts[parent];
            // A message that is all header ends with its last line, whose CR LF is the delimiter's too.
            let end = if part.body.is_empty() { parent.body.end + 2 } else { parent.body.end };
            assert!(parent.body.start <= part.header.start && part.body.end <= end && parent.depth + 1 == part.depth, "{part:?} in {parent:?}");
        }
        if let Kind::Multipart { preamble, epilogue } = &part.kind {
            assert!(preamble.start <= preamble.end && epilogue.start <= epilogue.end && epilogue.end <= octets.len(), "{part:?}");
        }
    }
}

struct Case {
    mode: Mode,
    smtputf8: bool,
    keep: bool,
    signed: bool,
    esmtp: bool,
}

impl Case {
    fn run(&self, message: &[u8]) -> Result<Normalised, postseal::mail::Refusal> {
        let envelope = Envelope {
            reverse_path: ReversePath::Mailbox("www-data@pod-7".parse().unwrap()),
            recipients: vec![Recipient { mailbox: "you@receiver.example".parse().unwrap(), notify: Notify::default(), orcpt: None }],
            body: BodyType::SevenBit,
            smtputf8: self.smtputf8,
            ret: None,
            envid: None,
        };
        let client = Client {
            identity: IdentityName::new("app"),
            proof: Proof::Sasl { user: "app".to_owned() },
            address: [192, 0, 2, 7].into(),
            helo: "app.example.com".to_owned(),
            esmtp: self.esmtp,
            tls: None,
            listener: "submission".into(),
        };
        let settings = Settings { keep_8bitmime: self.keep, mime: BOUNDS, ..Settings::new(Domain::parse("mx1.example.com").unwrap()) };
        let facts = Facts { id: MailId::from_number(0x1234_5678_9abc).unwrap(), foreign_signature_verifies: self.signed };
        normalise(&message.to_vec().into(), &envelope, &client, self.mode, &settings, &facts, Timestamp::from_unix_seconds(1_795_310_325))
    }
}

/// The message without the Received field put on top.
fn below_trace(done: &Normalised) -> &[u8] {
    &done.message.octets()[done.message.headers().iter().next().unwrap().raw.len()..]
}

fn with_crlf(octets: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(octets.len() * 2);
    for octet in octets.iter().filter(|octet| **octet != b'\r') {
        if *octet == b'\n' {
            out.push(b'\r');
        }
        out.push(*octet);
    }
    out
}

const HEADER: &[u8] = b"From: App <app@example.com>\r\nTo: you@receiver.example\r\nSubject: x\r\n";
const BOUNDS: Bounds = Bounds { depth_max: 20, parts_max: 200 };
