//! Command lines, with the parser of another project as a second opinion, and addresses.

use postseal::mail::address::Host;
use postseal::mail::{Domain, Mailbox, ReversePath};
use postseal::smtp::command::Command;
use smtp_proto::Request;

/// One line without its end.
pub fn run(line: &[u8]) {
    let Ok(command) = Command::parse(line) else { return };
    let text = std::str::from_utf8(line).expect("a command is text");
    assert!(!text.chars().any(char::is_control), "{text:?}");
    let ended = [line, b"\r\n"].concat();
    let mut rest = ended.iter();
    let second = Request::parse(&mut rest);
    match (&command, second) {
        // The other knows less than the standards, or reads an argument that we pass over: it may refuse, but not read another command.
        (_, Err(_)) => {}
        (command, Ok(second)) => {
            assert_eq!(verb(command), second.name(), "{text:?}");
            assert!(rest.as_slice().is_empty(), "{text:?} is more than one command");
            match (command, second) {
                (Command::Bdat { octets, last }, Request::Bdat { chunk_size, is_last }) => {
                    assert_eq!((*octets, *last), (chunk_size as u64, is_last), "{text:?}");
                }
                (Command::Mail(mail), Request::Mail { from }) if mail.reverse_path == ReversePath::Null => assert_eq!(from.address, "", "{text:?}"),
                (Command::Mail(mail), Request::Mail { from }) => assert_same(mail.reverse_path.mailbox().unwrap(), &from.address, text),
                (Command::Rcpt(rcpt), Request::Rcpt { to }) => {
                    if let postseal::mail::ForwardPath::Mailbox(mailbox) = &rcpt.forward_path {
                        assert_same(mailbox, &to.address, text);
                    }
                }
                _ => {}
            }
        }
    }
    match command {
        Command::Mail(mail) => {
            assert!(mail.envid.is_none_or(|envid| envid.len() <= 100 && envid.is_ascii()), "{text:?}");
            if let Some(mailbox) = mail.reverse_path.mailbox() {
                assert_prints_as_read(mailbox);
            }
        }
        Command::Rcpt(rcpt) => {
            if let postseal::mail::ForwardPath::Mailbox(mailbox) = &rcpt.forward_path {
                assert_prints_as_read(mailbox);
            }
            assert!(rcpt.orcpt.is_none_or(|orcpt| orcpt.address.len() <= 1000 && !orcpt.address.contains(['\r', '\n'])), "{text:?}");
        }
        Command::Ehlo(name) | Command::Helo(name) => assert!(name.len() <= 255 && name.bytes().all(|octet| octet.is_ascii_graphic()), "{text:?}"),
        _ => {}
    }
}

/// Where both found a mailbox it is the same, if it is written without quotes, routes and U-labels, which the other keeps as they stand.
fn assert_same(ours: &Mailbox, theirs: &str, line: &str) {
    if let Some((local, host)) = theirs.rsplit_once('@')
        && theirs.is_ascii()
        && !theirs.contains(['"', '\\', ':', '['])
    {
        assert_eq!(ours.local.as_str(), local, "{line:?}");
        assert!(ours.host.to_string().eq_ignore_ascii_case(host.trim_end_matches('.')), "{line:?}: {ours} and {theirs}");
    }
}

fn verb(command: &Command) -> &'static str {
    match command {
        Command::Ehlo(_) => "EHLO",
        Command::Helo(_) => "HELO",
        Command::Mail(_) => "MAIL",
        Command::Rcpt(_) => "RCPT",
        Command::Data => "DATA",
        Command::Bdat { .. } => "BDAT",
        Command::Rset => "RSET",
        Command::Noop => "NOOP",
        Command::Vrfy => "VRFY",
        Command::Expn => "EXPN",
        Command::Help => "HELP",
        Command::StartTls => "STARTTLS",
        Command::Auth { .. } => "AUTH",
        Command::Quit => "QUIT",
    }
}

/// Mailboxes, hosts and domains.
pub fn address(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Ok(mailbox) = Mailbox::parse(text) {
        assert_prints_as_read(&mailbox);
    }
    if let Ok(host) = Host::parse(text) {
        assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host), "{text:?}");
    }
    if let Ok(domain) = Domain::parse(text) {
        let printed = domain.to_string();
        assert_eq!(Domain::parse(&printed).as_ref(), Ok(&domain), "{text:?}");
        assert!(printed.len() <= 253 && printed.bytes().all(|octet| octet.is_ascii_graphic() && !octet.is_ascii_uppercase()), "{printed:?}");
        assert!(printed.split('.').all(|label| (1..=63).contains(&label.len())), "{printed:?}");
    }
}

/// What is printed means what was read, and fits on the line of a command between angle brackets.
fn assert_prints_as_read(mailbox: &Mailbox) {
    let printed = mailbox.to_string();
    assert_eq!(printed.parse::<Mailbox>().as_ref(), Ok(mailbox), "{printed:?}");
    assert!(!printed.chars().any(char::is_control), "{printed:?}");
    let again = Command::parse(format!("MAIL FROM:<{printed}> SMTPUTF8").as_bytes());
    let Ok(Command::Mail(mail)) = again else { panic!("<{printed}> is no reverse-path: {again:?}") };
    assert_eq!(mail.reverse_path.mailbox(), Some(mailbox), "{printed:?}");
}
