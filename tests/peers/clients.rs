//! Clients that others wrote, each submitting in every way it knows, into a relay that delivers to Postfix.
//!
//! | client | TLS | AUTH | more |
//! |---|---|---|---|
//! | swaks | none, STARTTLS, implicit | PLAIN, LOGIN | PROXY v1 and v2, pipelining, HELO |
//! | smtplib | none, STARTTLS, implicit, name verified | PLAIN, LOGIN | BDAT, pipelining, SMTPUTF8, DSN, 1 MiB attachment |
//! | curl | none, STARTTLS, implicit, name verified | PLAIN, LOGIN, client certificate | PROXY v1, SMTPUTF8 |
//! | Postfix | STARTTLS, name verified | SCRAM-SHA-256, PLAIN | pipelining, SMTPUTF8, DSN, many recipients |
//!
//! How a message came is told by the Received field that the relay put on it, and by the log.

use crate::support::certificates::Certificate;
use crate::support::lab::{Lab, Plan};
use crate::support::postfix::{Delivered, Postfix, Setup};
use crate::support::smtp_sink::SmtpSink;
use crate::support::{Peer, lab, missing, program, python, run, wait_for, wait_or_tell};
use std::process::Command;

const USER: &str = "alice";
const PASSWORD: &str = "correct horse, battery staple: ü";
/// smtplib takes no other.
const ASCII_PASSWORD: &str = "correct horse, battery staple: \\";

/// How a case must have come in.
struct Came<'a> {
    recipient: &'a str,
    listener: &'a str,
    /// As in Received (RFC 3848).
    with: &'a str,
    identity: &'a str,
}

#[test]
fn swaks_submits_in_every_way() {
    if missing(&[&PEERS[..], &[Peer::Swaks]].concat()) {
        return;
    }
    let (postfix, _sink, lab) = started("argon2id", PASSWORD);
    let ca = lab.authority.file().display().to_string();
    let auth = |mechanism| ["--auth", mechanism, "--auth-user", USER, "--auth-password", PASSWORD];
    let network = ["--local-interface", "127.0.0.2"];
    let verified = ["-tls", "--tls-verify", "--tls-ca-path", &ca];
    let proxied = |version| {
        [
            "--proxy-version",
            version,
            "--proxy-family",
            if version == "1" { "TCP4" } else { "AF_INET" },
            "--proxy-source",
            "10.9.8.7",
            "--proxy-source-port",
            "4000",
            "--proxy-dest",
            "10.9.8.1",
            "--proxy-dest-port",
            "25",
        ]
    };
    let cases: &[(Came<'_>, Vec<&str>)] = &[
        (came("plain", "plain", "ESMTP", "application"), network.to_vec()),
        (came("helo", "plain", "SMTP", "application"), [&network[..], &["--protocol", "SMTP"]].concat()),
        (came("pipelined", "plain", "ESMTP", "application"), [&network[..], &["--pipeline"]].concat()),
        (came("starttls", "starttls", "ESMTPS", "application"), [&network[..], &verified].concat()),
        (came("implicit", "tls", "ESMTPS", "application"), [&network[..], &["--tls-on-connect"]].concat()),
        (came("auth-plain", "starttls", "ESMTPSA", "application"), [&verified[..], &auth("PLAIN")].concat()),
        (came("auth-login", "tls", "ESMTPSA", "application"), [&["--tls-on-connect"][..], &auth("LOGIN")].concat()),
        (came("auth-in-clear", "plain", "ESMTPA", "application"), auth("LOGIN").to_vec()),
        (came("auth-pipelined", "tls", "ESMTPSA", "application"), [&["--tls-on-connect", "--pipeline"][..], &auth("PLAIN")].concat()),
        (came("proxy-1", "proxied", "ESMTP", "behind-proxy"), proxied("1").to_vec()),
        (came("proxy-2", "proxied", "ESMTP", "behind-proxy"), [&proxied("2")[..], &["--proxy-command", "PROXY", "--proxy-protocol", "STREAM"]].concat()),
        (came("proxy-starttls", "proxied", "ESMTPS", "behind-proxy"), [&proxied("1")[..], &verified].concat()),
    ];
    for (came, arguments) in cases {
        let (code, said) = swaks(&lab, came.listener, came.recipient, arguments);
        assert_eq!(code, 0, "{}: {said}", came.recipient);
        check(&postfix, &lab, came);
    }
    let refused: &[(&str, &str, Vec<&str>, &str)] = &[
        ("a stranger", "plain", vec![], "<** 530 5.7.0"),
        ("a wrong password", "tls", vec!["--tls-on-connect", "--auth", "PLAIN", "--auth-user", USER, "--auth-password", "wrong"], "<~* 535 5.7.8"),
        ("no STARTTLS", "starttls", network.to_vec(), "<** 530 5.7.0"),
        ("a foreign author", "plain", [&network[..], &["--header", "From: ceo@bank.example"]].concat(), "<** 550 5.7.1"),
        ("no PROXY header", "proxied", network.to_vec(), "closed connection"),
    ];
    for (what, listener, arguments, words) in refused {
        let (code, said) = swaks(&lab, listener, "refused@example.net", arguments);
        assert!(code != 0 && said.contains(words), "{what}: {code} {said}");
    }
    assert!(postfix.mails().iter().all(|mail| mail.recipient != "refused@example.net"));
    lab.stop();
}

#[test]
fn smtplib_submits_in_every_way() {
    if missing(&[&PEERS[..], &[Peer::Python]].concat()) {
        return;
    }
    let (postfix, sink, lab) = started("argon2id", ASCII_PASSWORD);
    let port = |listener| lab.address(listener).port().to_string();
    let mut command = Command::new(python());
    command.args(["-c", include_str!("clients.py"), &port("plain"), &port("starttls"), &port("tls")]).arg(lab.authority.file()).args([USER, ASCII_PASSWORD]);
    let (code, said) = run(command.env("PYTHONIOENCODING", "utf-8"), b"");
    assert_eq!(code, 0, "{said}");

    let cases = [
        came("plain", "plain", "ESMTP", "application"),
        came("starttls-login", "starttls", "ESMTPSA", "application"),
        came("implicit-plain", "tls", "ESMTPSA", "application"),
        came("login", "tls", "ESMTPSA", "application"),
        came("second-try", "tls", "ESMTPSA", "application"),
        came("attachments", "plain", "ESMTP", "application"),
        came("bdat", "plain", "ESMTP", "application"),
        came("bdat-pipelined", "plain", "ESMTP", "application"),
        came("pipelined", "plain", "ESMTP", "application"),
        came("grüße", "plain", "UTF8SMTP", "application"),
        came("other", "plain", "ESMTP", "application"),
        came("second", "plain", "ESMTP", "application"),
    ];
    for case in &cases {
        check(&postfix, &lab, case);
    }
    assert_eq!(said.lines().filter(|line| line.starts_with("sent ")).count(), cases.len(), "{said}"); // one to smtp-sink, one message more
    assert_eq!(said.lines().filter(|line| line.starts_with("refused ")).count(), 4, "{said}");

    let dumped = wait_for("the message with DSN parameters", || sink.mails().pop());
    assert!(dumped.mail.contains(" RET=HDRS") && dumped.mail.contains(" ENVID=order+2B7"), "{dumped:?}");
    assert!(dumped.rcpts[0].starts_with("<dsn@sink.example> ") && dumped.rcpts[0].contains("ORCPT=rfc822;First.Name@example.org"), "{dumped:?}");
    assert!(dumped.rcpts[0].contains("NOTIFY=FAILURE,DELAY") || dumped.rcpts[0].contains("NOTIFY=DELAY,FAILURE"), "{dumped:?}");
    lab.stop();
}

#[test]
fn curl_submits_in_every_way() {
    if missing(&[&PEERS[..], &[Peer::Curl]].concat()) {
        return;
    }
    let (postfix, _sink, lab) = started("scram", PASSWORD);
    let Certificate { chain, key } = lab.authority.issue("billing.example.com");
    let (chain, key) = (chain.display().to_string(), key.display().to_string());
    let user = format!("{USER}:{PASSWORD}");
    let network = ["--interface", "127.0.0.2"];
    let auth = |options| ["--user", &user, "--login-options", options];
    let certificate = ["--cert", &chain, "--key", &key];
    let cases: &[(Came<'_>, &str, Vec<&str>)] = &[
        (came("plain", "plain", "ESMTP", "application"), "smtp", network.to_vec()),
        (came("starttls", "starttls", "ESMTPS", "application"), "smtp", [&network[..], &["--ssl-reqd"]].concat()),
        (came("implicit", "tls", "ESMTPS", "application"), "smtps", network.to_vec()),
        (came("auth-plain", "starttls", "ESMTPSA", "application"), "smtp", [&["--ssl-reqd"][..], &auth("AUTH=PLAIN")].concat()),
        (came("auth-login", "tls", "ESMTPSA", "application"), "smtps", auth("AUTH=LOGIN").to_vec()),
        (came("initial-response", "tls", "ESMTPSA", "application"), "smtps", [&["--sasl-ir"][..], &auth("AUTH=PLAIN")].concat()),
        (came("certificate", "tls", "ESMTPS", "billing"), "smtps", certificate.to_vec()),
        (came("certificate-starttls", "starttls", "ESMTPS", "billing"), "smtp", [&["--ssl-reqd"][..], &certificate].concat()),
        (came("proxied", "proxied", "ESMTP", "application"), "smtp", [&["--haproxy-protocol"][..], &network].concat()),
        (came("grüße", "plain", "UTF8SMTP", "application"), "smtp", network.to_vec()),
    ];
    for (came, scheme, arguments) in cases {
        let (code, said) = curl(&lab, scheme, came.listener, came.recipient, arguments);
        assert_eq!(code, 0, "{}: {said}", came.recipient);
        check(&postfix, &lab, came);
    }
    let (code, said) = curl(&lab, "smtps", "tls", "refused@example.net", &["--user", &format!("{USER}:wrong")]);
    assert_eq!(code, LOGIN_DENIED, "{said}");
    let (code, said) = curl(&lab, "smtp", "plain", "refused@example.net", &[]);
    assert!(code == SEND_ERROR && said.contains("530"), "a stranger: {code} {said}");
    lab.stop();
}

#[test]
fn postfix_relays_through_it() {
    if missing(&[&PEERS[..], &[Peer::ScramPlugin]].concat()) {
        return;
    }
    let (postfix, sink, lab) = started("scram", PASSWORD);
    for (mechanism, recipient) in [("scram-sha-256", "scram"), ("plain", "auth-plain")] {
        let client = Postfix::start(&Setup {
            hostname: "pod-7.example.com",
            domains: &["example.org"],
            main: &format!(
                "relayhost = [127.0.0.1]:{port}\n\
                 smtp_tls_security_level = secure\nsmtp_tls_secure_cert_match = relay.example.com\nsmtp_tls_CAfile = {ca}\n\
                 smtp_sasl_auth_enable = yes\nsmtp_sasl_mechanism_filter = {mechanism}\nsmtp_sasl_security_options = noanonymous\n\
                 smtp_sasl_password_maps = inline:{{ {{ [127.0.0.1]:{port} = {USER}:{PASSWORD} }} }}\n\
                 maximal_backoff_time = 1s\nminimal_backoff_time = 1s\nqueue_run_delay = 1s\n",
                port = lab.address("starttls").port(),
                ca = lab.authority.file().display(),
            ),
            ..Setup::default()
        });
        let letter = "From: App <app@example.com>\nTo: you@example.net\nSubject: by Postfix\n\nHello.\n";
        let address = format!("{recipient}@example.net");
        client.sendmail(&["-f", "app@example.com", &address, "second@example.net", "third@example.net"], letter);
        let mail = check_or(&postfix, &lab, &came(recipient, "starttls", "ESMTPSA", "application"), || client.log());
        assert!(String::from_utf8_lossy(&mail.octets).contains("by pod-7.example.com (Postfix"), "Postfix's own Received stays");
        postfix.wait_for("the third recipient", |mail| mail.recipient == "third@example.net");

        let address = format!("{recipient}-utf8@example.net");
        client.sendmail(&["-f", "app@example.com", &address], "From: Bücher <app@example.com>\nTo: you@example.net\nSubject: Größe\n\nGrüße\n");
        check_or(&postfix, &lab, &came(&format!("{recipient}-utf8"), "starttls", "UTF8SMTPSA", "application"), || client.log());

        client.sendmail(&["-f", "app@example.com", "-N", "failure,delay", "-V", "order-8", &format!("{recipient}@sink.example")], letter);
        let dumped = wait_for("the message with DSN parameters", || sink.mails().into_iter().find(|mail| mail.rcpts[0].contains(recipient)));
        assert!(dumped.mail.contains("ENVID=order-8") && dumped.rcpts[0].contains("NOTIFY="), "{dumped:?}");

        // What the relay refuses, Postfix tells its own submitter in the relay's words.
        client.sendmail(&["-f", "me@example.org", "you@example.net"], "From: ceo@bank.example\nTo: you@example.net\nSubject: forged\n\nSend money.\n");
        let bounce = client.wait_for("Postfix's bounce", |mail| mail.recipient == "me@example.org");
        let bounce = String::from_utf8_lossy(&bounce.octets).into_owned();
        assert!(bounce.contains("said: 550 5.7.1") && bounce.contains("bank.example"), "{bounce}");
    }
    lab.stop();
}

/// curl's exit codes.
const LOGIN_DENIED: i32 = 67;
const SEND_ERROR: i32 = 55;
const PEERS: [Peer; 3] = [lab::PEERS[0], Peer::Postfix, Peer::Root];

/// A receiving Postfix; a relay that knows alice and sends `sink.example` to smtp-sink.
fn started(form: &str, password: &str) -> (Postfix, SmtpSink, Lab) {
    let postfix = Postfix::start(&Setup { hostname: "mx.example.net", domains: &["example.net"], ..Setup::default() });
    let sink = SmtpSink::start(&[]);
    let (code, hash) = run(Command::new(env!("CARGO_BIN_EXE_postseal")).args(["user", "hash", "--form", form]), format!("{password}\n").as_bytes());
    assert_eq!(code, 0, "{hash}");
    let tables = format!(
        "[users.{USER}]\nidentity = \"application\"\ncredential = \"{}\"\n[routes.recipients]\n\"sink.example\" = \"sink\"\n\
         [smart_hosts.sink]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        hash.trim(),
        sink.port()
    );
    let lab = Lab::start(&Plan { mx_port: postfix.port(), tables: &tables, ..Plan::default() });
    (postfix, sink, lab)
}

fn came<'a>(recipient: &'a str, listener: &'a str, with: &'a str, identity: &'a str) -> Came<'a> {
    Came { recipient, listener, with, identity }
}

fn check(postfix: &Postfix, lab: &Lab, came: &Came<'_>) -> Delivered {
    check_or(postfix, lab, came, String::new)
}

/// It arrived, and came in as it should; the client's `log` tells why not.
fn check_or(postfix: &Postfix, lab: &Lab, came: &Came<'_>, log: impl Fn() -> String) -> Delivered {
    let recipient = format!("{}@example.net", came.recipient);
    let told = || format!("{recipient}; the client says: {}; the relay: {:#?}", log(), lab.relay.log());
    let mail = wait_or_tell(|| postfix.mails().into_iter().find(|mail| mail.recipient == recipient), told);
    let text = String::from_utf8_lossy(&mail.octets).replace("\r\n\t", " ").replace("\r\n ", " ");
    let received =
        text.lines().find(|line| line.starts_with("Received: ") && line.contains(" by relay.example.com ")).unwrap_or_else(|| panic!("no Received: {text}"));
    let mut words = received.split_whitespace();
    let mut after = |word: &str| words.find(|found| *found == word).and_then(|_| words.next()).unwrap_or_default().to_owned();
    assert_eq!(after("with"), came.with, "{recipient}: {received}");
    let id = after("id").trim_end_matches(';').to_owned();
    let accepted = lab.event("mail.accepted", |event| event["mail_id"] == id.as_str());
    assert_eq!((accepted["listener"].as_str(), accepted["identity"].as_str()), (Some(came.listener), Some(came.identity)), "{recipient}: {accepted}");
    mail
}

fn swaks(lab: &Lab, listener: &str, recipient: &str, arguments: &[&str]) -> (i32, String) {
    let recipient = if recipient.contains('@') { recipient.to_owned() } else { format!("{recipient}@example.net") };
    let mut command = Command::new(program("swaks").unwrap());
    command
        .args(["--server", &lab.at(listener), "--from", "app@example.com", "--to", &recipient, "--ehlo", "client.example.com", "--timeout", "20"])
        .args(arguments);
    run(&mut command, b"")
}

fn curl(lab: &Lab, scheme: &str, listener: &str, recipient: &str, arguments: &[&str]) -> (i32, String) {
    let recipient = if recipient.contains('@') { recipient.to_owned() } else { format!("{recipient}@example.net") };
    let port = lab.address(listener).port();
    let mut command = Command::new(program("curl").unwrap());
    command.args(["-sS", "-v", "--max-time", "20", "--resolve", &format!("relay.example.com:{port}:127.0.0.1"), "--cacert"]).arg(lab.authority.file());
    command.args(["--mail-from", "app@example.com", "--mail-rcpt", &recipient, "-T", "-"]).args(arguments);
    command.arg(format!("{scheme}://relay.example.com:{port}/client.example.com"));
    run(command.env("LC_ALL", "C.UTF-8"), b"From: App <app@example.com>\r\nTo: you@example.net\r\nSubject: by curl\r\n\r\nHello from curl.\r\n")
}
