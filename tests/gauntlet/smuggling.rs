//! SMTP smuggling (CVE-2023-51764 and its siblings), STARTTLS and AUTH, on the wire of the real program: what somebody takes for the end of a
//! message and somebody else does not.

use super::rig::{Credulous, Rude, config, count_replies, started};

/// Everything that some server was ever found to take for the end of a message, but CR LF `.` CR LF.
const ENDS: &[&[u8]] = &[
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\0\r\n.\n",
    b"\r\n\r.\r\n",
    b"\n\r.\r\n",
    b"\r\r\n.\r\r\n",
    b"\n\n.\n\n",
    b"\r\r.\r\r",
    b"\r\n .\r\n",
    b"\r\n.\t\r\n",
    b"\r\n. \r\n",
    b"\x0b.\x0b",
    b"\x0c.\x0c",
    b"\xc2\x85.\xc2\x85",
    b"\xe2\x80\xa8.\xe2\x80\xa8",
    b"\n.\r\r\n",
    b"\r\n.\r\r\n",
];

const FIRST: &[u8] = b"From: app@example.com\r\nTo: you@example.net\r\nSubject: first\r\n\r\nHello";
/// What would be a message of its own.
const SMUGGLED: &[u8] = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<victim@example.net>\r\nDATA\r\nFrom: evil@example.com\r\nSubject: smuggled\r\n\r\nEvil";

/// In: the message ends once, its reply comes once, and the command behind it is the next one heard. Out: a next hop that takes anything for an
/// end hears as many messages as were accepted, and not one command that is not ours.
#[test]
fn no_end_of_data_but_one_is_known_on_either_side() {
    for capabilities in [&["PIPELINING", "8BITMIME", "SMTPUTF8"][..], &["8BITMIME"]] {
        for (bare_lf, bdat_out) in [("reject", false), ("repair", false)] {
            let hop = Credulous::start(capabilities, b"250 ok\r\n");
            let mut relay = started(&config(hop.address(), &format!("bare_lf = \"{bare_lf}\""), &format!("[deliver]\nbdat = {bdat_out}")));
            let submission = relay.address("submission");
            let mut accepted = 0;
            for end in ENDS {
                for by_chunk in [false, true] {
                    let content = [FIRST, end, SMUGGLED, b"\r\n"].concat();
                    let reply = submit(&submission, &content, by_chunk);
                    let shown = format!("{bare_lf}, {}, {:?}: {reply}", if by_chunk { "BDAT" } else { "DATA" }, end.escape_ascii().to_string());
                    assert!(reply.starts_with("250 ") || reply.starts_with("550 5.6."), "{shown}");
                    // What a credulous reader may take for a line end is not taken at all, or made one that nobody doubts.
                    let holds_nul_or_cr = end.contains(&0) || memchr::memmem::find_iter(end, b"\r").any(|at| end.get(at + 1) != Some(&b'\n'));
                    assert!(!(holds_nul_or_cr && reply.starts_with('2')), "{shown}");
                    accepted += usize::from(reply.starts_with('2'));
                }
            }
            assert!(accepted >= 10, "{accepted} of what is only odd is taken");
            let heard = hop.until(accepted);
            assert_eq!(heard.messages.len(), accepted, "{:#?}", heard.commands);
            assert_only_ours(&heard.commands);
            assert!(heard.messages.iter().all(|message| message.contains("Subject: first") && message.contains("Evil")), "a message was cut");
            assert_eq!(relay.stop().0, Some(0));
        }
    }
}

/// The same through BDAT to the next hop, where nothing is stuffed.
#[test]
fn chunks_carry_dots_as_they_are() {
    let hop = Credulous::start(&["CHUNKING", "PIPELINING", "8BITMIME"], b"250 ok\r\n");
    let mut relay = started(&config(hop.address(), "", "[deliver]\nbdat = true"));
    let submission = relay.address("submission");
    let content = [FIRST, b"\r\n.\r\n..\r\n", SMUGGLED, b"\r\n.\r\n"].concat();
    assert!(submit(&submission, &content, true).starts_with("250 "));
    let heard = hop.until(1);
    assert_only_ours(&heard.commands);
    assert!(heard.messages[0].contains("Hello\n.\n..\nMAIL FROM:<evil@example.com>\n"), "{}", heard.messages[0]);
    assert_eq!(relay.stop().0, Some(0));
}

/// A transaction whose content is followed by QUIT in the same write: exactly two replies.
fn submit(address: &str, content: &[u8], by_chunk: bool) -> String {
    let mut client = Rude::connect(address);
    client.ask("EHLO client.test");
    assert!(client.ask("MAIL FROM:<app@example.com> BODY=8BITMIME").starts_with("250 "));
    assert!(client.ask("RCPT TO:<you@example.net>").starts_with("250 "));
    if by_chunk {
        client.say(&[format!("BDAT {} LAST\r\n", content.len()).as_bytes(), content, b"QUIT\r\n"].concat());
    } else {
        assert!(client.ask("DATA").starts_with("354 "));
        client.say(&[content, b".\r\nQUIT\r\n"].concat());
    }
    let heard = client.rest();
    assert_eq!(count_replies(heard.as_bytes()), 2, "{:?}: {heard}", content.escape_ascii().to_string());
    let (first, last) = heard.trim_end().rsplit_once("\r\n").unwrap();
    assert!(last.starts_with("221 "), "{heard}");
    first.to_owned()
}

/// Envelopes to whom we write, from our bounce addresses; nothing else.
fn assert_only_ours(commands: &[String]) {
    for line in commands {
        let known = line.starts_with("EHLO relay.example.com")
            || line.starts_with("MAIL FROM:<b") && line.contains("@b.example.com>")
            || line.starts_with("RCPT TO:<you@example.net>")
            || line.starts_with("BDAT ")
            || ["DATA", "RSET", "NOOP", "QUIT"].contains(&line.as_str());
        assert!(known, "{line:?} in {commands:#?}");
    }
}

/// Nothing that comes in clear outlives STARTTLS, nothing of AUTH is taken before it, and a line is a command as a whole or not at all.
#[test]
fn what_is_said_in_clear_does_not_count_behind_starttls() {
    let hop = Credulous::start(&["8BITMIME"], b"250 ok\r\n");
    let tls = "tls = \"starttls-required\"\n[tls.certificates.relay]\nchain = \"relay.pem\"\nkey = \"relay.key\"\n";
    let config = config(hop.address(), "", "").replacen("tls = \"none\"", tls, 1);
    let credential = postseal::ingress::sasl::scram_verifier("secret", 4096, b"salt").unwrap();
    let mut relay = crate::support::relay_process::RelayProcess::new(&format!("{config}\n[users.ann]\nidentity = \"app\"\ncredential = \"{credential}\"\n"));
    let made = rcgen::generate_simple_self_signed(["relay.example.com".to_owned()]).unwrap();
    std::fs::write(relay.path().join("relay.pem"), made.cert.pem()).unwrap();
    std::fs::write(relay.path().join("relay.key"), made.signing_key.serialize_pem()).unwrap();
    relay.start();
    let address = relay.address("submission");

    // AUTH and envelopes before TLS.
    let mut client = Rude::connect(&address);
    let offered = client.ask("EHLO client.test");
    assert!(offered.contains("STARTTLS") && !offered.contains("AUTH"), "{offered}");
    for line in ["AUTH PLAIN AGFubgBzZWNyZXQ=", "AUTH LOGIN", "MAIL FROM:<app@example.com>", "BDAT 5\r\nabc", "RCPT TO:<you@example.net>", "DATA"] {
        assert!(client.ask(line).starts_with("530 5.7.0 "), "{line}");
    }

    // Commands pipelined behind STARTTLS: the handshake begins with what comes after the 220.
    for behind in ["MAIL FROM:<evil@example.com>\r\n", "EHLO evil.test\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n", "RSET\r\nNOOP\r\n"] {
        let mut client = Rude::connect(&address);
        client.ask("EHLO injected.test");
        client.say(format!("STARTTLS\r\n{behind}").as_bytes());
        assert!(client.hear(1).ends_with("220 2.0.0 begin TLS\r\n"));
        let said = under_tls(client.0, made.cert.der().clone());
        assert_eq!(said, ["503 5.5.1 send EHLO first", "250 2.0.0 ok", "221 2.0.0 bye"], "behind {behind:?}");
    }
    assert!(relay.log().iter().all(|event| event["event"] != "auth.succeeded" && event["event"] != "mail.accepted"));
    assert_eq!(relay.stop().0, Some(0));
}

/// The last lines of the replies to MAIL, NOOP and QUIT, said inside TLS without EHLO.
fn under_tls(stream: std::net::TcpStream, certificate: rustls::pki_types::CertificateDer<'static>) -> Vec<String> {
    use std::io::{BufRead, BufReader, Write};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = "relay.example.com".try_into().unwrap();
    let connection = rustls::ClientConnection::new(std::sync::Arc::new(config), name).unwrap();
    let mut stream = BufReader::new(rustls::StreamOwned::new(connection, stream));
    let mut said = Vec::new();
    for line in ["MAIL FROM:<app@example.com>", "NOOP", "QUIT"] {
        stream.get_mut().write_all(format!("{line}\r\n").as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_line(&mut reply).unwrap();
        said.push(reply.trim_end().to_owned());
    }
    said
}
