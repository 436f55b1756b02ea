//! Pairs of files: `NAME.in` is a submission, `NAME.out` what the spool would get, or the refusal. Line ends are LF in the files and
//! CR LF on the way.
//!
//! An `.in` begins with lines about the envelope and the circumstances, `---`, and the message. An `.out` tells the same of each mail
//! that is made of it, then its seal and message, and what a receiver would find of the signatures: that is checked, not only
//! compared. After a wanted change, `BLESS=1 cargo nextest run prepare::files` writes the outs anew: read the difference.

use super::{World, folder, path, recipient, sent, submission};
use postseal::mail::{IdentityName, Notify, OriginalRecipient, Proof, Ret, Submission};
use postseal::seal::{ArcMode, NoKey, Sealed, SealedRecipient};
use std::fmt::Write as _;
use std::fs;

#[tokio::test]
async fn submissions_become_what_their_files_say() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for entry in fs::read_dir(folder().join("files")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_none_or(|extension| extension != "in") {
            continue;
        }
        let out = outcome(&fs::read(&file).unwrap(), &file.display().to_string()).await;
        let expected = file.with_extension("out");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected, &out).unwrap();
        }
        if fs::read(&expected).unwrap_or_default() != out {
            wrong.push(format!("{}:\n{}", file.display(), String::from_utf8_lossy(&out)));
        }
        seen += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 24, "{seen} files found");
}

async fn outcome(input: &[u8], name: &str) -> Vec<u8> {
    let split = memchr::memmem::find(input, b"---\n").unwrap_or_else(|| panic!("{name} has no line ---"));
    let mut world = World::new();
    let mut case = submission("app@author.example", &[], crlf(&input[split + 4..]));
    for line in std::str::from_utf8(&input[..split]).unwrap().lines().filter(|line| !line.starts_with('#')) {
        let (key, value) = line.split_once(": ").unwrap_or((line.trim_end_matches(':'), ""));
        set_up(&mut world, &mut case, key, value);
    }
    let mails = match world.run(&case).await {
        Ok(mails) => mails,
        Err(refusal) => return format!("refused: {refusal}\nblame: {:?}\n", refusal.blame).into_bytes(),
    };
    let mut out = Vec::new();
    for (place, mail) in mails.iter().enumerate() {
        let (all, verdict) = (sent(mail, true), world.verdict(&sent(mail, true)).await);
        let without = world.verdict(&sent(mail, false)).await;
        out.extend(described(mail, &verdict, &without).into_bytes());
        match mails[..place].iter().position(|earlier| sent(earlier, true) == all) {
            Some(earlier) => out.extend(format!("sent: as mail {}\n", earlier + 1).into_bytes()),
            None => out.extend([b"sent:\n\n".to_vec(), lf(&all)].concat()),
        }
        let own = mail.seal.fields.iter().filter(|field| field.text.starts_with("DKIM")).filter_map(|field| field.key.as_deref());
        for selector in own.map(|key| key.split('.').next().unwrap()) {
            assert!(verdict.contains(&format!("{selector}=pass")), "{name}: {selector}: {verdict}");
        }
        if mail.seal.plan.arc.as_ref().is_some_and(|arc| arc.cv != "fail") {
            assert!(verdict.ends_with("arc=pass") && without.ends_with("arc=pass"), "{name}: {verdict}, {without}");
        }
    }
    out
}

fn set_up(world: &mut World, case: &mut Submission, key: &str, value: &str) {
    match key {
        "client" => case.client.identity = IdentityName::new(value),
        "by network" => case.client.proof = Proof::Network,
        "from" => case.envelope.reverse_path = path(value),
        "to" => case.envelope.recipients.push(recipient(value)),
        "notify never" => case.envelope.recipients.last_mut().unwrap().notify = Notify::Never,
        "orcpt" => {
            case.envelope.recipients.last_mut().unwrap().orcpt = Some(OriginalRecipient { address_type: "rfc822".into(), address: value.into() });
        }
        "envid" => case.envelope.envid = Some(value.into()),
        "ret hdrs" => case.envelope.ret = Some(Ret::Headers),
        "smtputf8" => case.envelope.smtputf8 = true,
        "sent by origin" => case.message = world.sent_by_origin(&case.message).into(),
        "then appended" => case.message = [&case.message, value.as_bytes(), b"\r\n"].concat().into(),
        "then on top" => case.message = [value.as_bytes(), b"\r\n", &case.message].concat().into(),
        "dns is silent about" => world.dns.silence(value),
        "arc never" => world.rules.seal.arc = ArcMode::Never,
        "arc forwarded" => world.rules.seal.arc = ArcMode::Forwarded,
        "trusted" => world.rules.seal.trusted_authserv_ids.push(value.into()),
        "without a key pass" => world.rules.seal.no_key = NoKey::Pass,
        "keep 8bit" => world.rules.normalise.keep_8bitmime = true,
        "no bounce domain" => world.rules.readdress.domains.clear(),
        _ => panic!("unknown line \"{key}: {value}\""),
    }
}

/// Everything of a mail but its octets.
fn described(mail: &Sealed, verdict: &str, without: &str) -> String {
    let mut text = format!("mail {} by {}, stream {}, sealed by {}\n", mail.id, mail.route, mail.stream, mail.signing_domain);
    let mut tell = |word: &str, value: &str| {
        let _ = writeln!(text, "{word}: {value}");
    };
    for recipient in &mail.recipients {
        tell("to", &shown(recipient));
    }
    tell("bounces to", &mail.original_reverse_path.to_string());
    tell("sender", &mail.sender.as_ref().map_or("none".into(), |sender| format!("{:010x} is {}", sender.id, sender.mailbox)));
    tell("due", &format!("{}, expires {}", mail.due_at.to_rfc3339(), mail.expires_at.to_rfc3339()));
    tell("message-id", &mail.message_id);
    let optional = [("envid", &mail.envid), ("track id", &mail.track_id), ("tag", &mail.tag), ("ret", &mail.ret.map(|ret| format!("{ret:?}")))];
    for (word, value) in optional {
        if let Some(value) = value {
            tell(word, value);
        }
    }
    let needs = [(mail.needs.eight_bit_mime, "8BITMIME"), (mail.needs.smtputf8, "SMTPUTF8")];
    let needs: Vec<_> = needs.iter().filter(|(needed, _)| *needed).map(|(_, word)| *word).collect();
    tell("needs", if needs.is_empty() { "nothing".to_owned() } else { needs.join(", ") }.as_str());
    tell("verifies", verdict);
    if verdict != without {
        tell("without Ed25519", without);
    }
    text
}

fn shown(recipient: &SealedRecipient) -> String {
    let mut text = format!("{} from {}", recipient.mailbox, recipient.reverse_path);
    if recipient.notify != Notify::Unspecified {
        let _ = write!(text, " notify {}", recipient.notify.wire().unwrap());
    }
    if let Some(orcpt) = &recipient.orcpt {
        let _ = write!(text, " orcpt {};{}", orcpt.address_type, orcpt.address);
    }
    text
}

fn crlf(octets: &[u8]) -> Vec<u8> {
    octets.split_inclusive(|b| *b == b'\n').flat_map(|line| line.strip_suffix(b"\n").map_or(line.to_vec(), |line| [line, b"\r\n"].concat())).collect()
}

fn lf(octets: &[u8]) -> Vec<u8> {
    octets.split_inclusive(|b| *b == b'\n').flat_map(|line| line.strip_suffix(b"\r\n").map_or(line.to_vec(), |line| [line, b"\n"].concat())).collect()
}
