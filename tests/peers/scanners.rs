//! What others look for: nmap asks whether the relay is open, testssl.sh what its TLS would agree to. Each is first shown something that it must
//! find fault with: a scanner that finds nothing proves nothing.

use crate::support::lab::{APPLICATION, Lab, Plan};
use crate::support::smtp_sink::SmtpSink;
use crate::support::{Peer, missing, program};
use serde_json::Value;
use std::process::{Command, Output};

const NMAP: [Peer; 3] = [Peer::Bind, Peer::SmtpSink, Peer::Nmap];
const TESTSSL: [Peer; 2] = [Peer::Bind, Peer::TestSsl];

#[test]
fn nmap_finds_no_open_relay() {
    if missing(&NMAP) {
        return;
    }
    let sink = SmtpSink::start(&["-c"]);
    let found = nmap(sink.port());
    assert!(found.contains("Server is an open relay"), "the scanner finds one that is open: {found}");

    let lab = Lab::start(&Plan { mx_port: 2525, ..Plan::default() });
    for listener in ["plain", "starttls"] {
        let found = nmap(lab.address(listener).port());
        let verdict = found.lines().find_map(|line| line.split_once("smtp-open-relay: ")).unwrap_or_else(|| panic!("{listener}: {found}")).1;
        let closed = ["Server doesn't seem to be an open relay, all tests failed", "Server isn't an open relay, authentication needed"];
        assert!(closed.contains(&verdict), "{listener}: {found}");
        assert!(!found.replace("NOT VULNERABLE", "").contains("VULNERABLE"), "{listener}: {found}");
        let commands = found.lines().find(|line| line.contains("smtp-commands:")).unwrap_or_else(|| panic!("{listener}: {found}"));
        assert!(commands.contains("PIPELINING") && !commands.contains("VRFY") && !commands.contains("EXPN"), "{commands}");
    }
    assert!(lab.relay.log().iter().all(|event| event["event"] != "mail.accepted"));
    // An application behind an address of its own is served all the same.
    let reply = lab.submit(&crate::support::lab::Submission {
        client: APPLICATION,
        mail: "<app@example.com>",
        rcpts: &["<you@example.net>"],
        message: b"From: app@example.com\r\nSubject: x\r\n\r\nHello\r\n",
    });
    assert!(reply.starts_with("250 "), "{reply}");
    lab.stop();
}

/// What the scripts say, from an address that nobody knows.
fn nmap(port: u16) -> String {
    let scripts = "+smtp-open-relay,+smtp-commands,+smtp-vuln-cve2010-4344,+smtp-vuln-cve2011-1720,+smtp-vuln-cve2011-1764";
    let domain = "smtp-open-relay.domain=scanner.example,smtp-commands.domain=scanner.example";
    let said = run(Command::new("nmap").args(["-Pn", "-n", "--script", scripts, "--script-args", domain, "-p", &port.to_string(), "127.0.0.1"]));
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
fn testssl_finds_nothing_weak() {
    if missing(&TESTSSL) {
        return;
    }
    let lab = Lab::start(&Plan { mx_port: 2525, ..Plan::default() });
    // The attacks are tried once: they wait for answers that must not come. Behind STARTTLS the same is agreed to.
    for (listener, options) in [("tls", &["--vulnerable"][..]), ("starttls", &["-t", "smtp"])] {
        let found = testssl(&lab, listener, options);
        let tried = options.contains(&"--vulnerable");
        let says = |id: &str| found.iter().filter(|one| one["id"] == id).map(|one| one["finding"].as_str().unwrap()).collect::<Vec<_>>().join("; ");
        for (id, wanted) in [
            ("SSLv2", "not offered"),
            ("SSLv3", "not offered"),
            ("TLS1", "not offered"),
            ("TLS1_1", "not offered"),
            ("TLS1_2", "offered"),
            ("TLS1_3", "offered with final"),
            ("cipherlist_NULL", "not offered"),
            ("cipherlist_aNULL", "not offered"),
            ("cipherlist_EXPORT", "not offered"),
            ("cipherlist_LOW", "not offered"),
            ("cipherlist_3DES_IDEA", "not offered"),
            ("cipherlist_STRONG", "offered"),
            ("heartbleed", "not vulnerable"),
            ("CCS", "not vulnerable"),
            ("secure_renego", "supported"),
            ("secure_client_renego", "not vulnerable"),
            ("CRIME_TLS", "not vulnerable"),
            ("POODLE_SSL", "not vulnerable"),
            ("SWEET32", "not vulnerable"),
            ("FREAK", "not vulnerable"),
            ("DROWN", "not vulnerable"),
            ("LOGJAM", "not vulnerable"),
            ("BEAST", "not vulnerable"),
            ("LUCKY13", "not vulnerable"),
            ("RC4", "not vulnerable"),
            ("PFS", "offered"),
        ] {
            let said = says(id);
            let said = said.trim_start_matches("likely ");
            if !tried && (wanted == "not vulnerable" || id == "secure_renego") {
                assert!(said.is_empty(), "{id} was not to be tried: {said}");
                continue;
            }
            assert!(said.starts_with(wanted), "{listener}: {id} is \"{said}\", not \"{wanted}\"");
        }
        for one in &found {
            let severity = one["severity"].as_str().unwrap();
            let of_certificate = one["id"].as_str().unwrap().starts_with("cert_") || one["id"].as_str().unwrap().starts_with("DNS_CAA");
            assert!(of_certificate || !["HIGH", "CRITICAL", "MEDIUM"].contains(&severity), "{listener}: {one}");
        }
    }
    lab.stop();
}

/// All findings. Certificates are the lab's own and not judged.
fn testssl(lab: &Lab, listener: &str, options: &[&str]) -> Vec<Value> {
    let folder = crate::support::folder("testssl");
    let file = folder.path().join("found.json");
    let program = program("testssl").or_else(|| program("testssl.sh")).unwrap();
    let mut command = Command::new(program);
    command.args(["--quiet", "--color", "0", "--warnings", "off", "--ip", "one", "--sneaky", "--protocols", "--std", "--pfs"]);
    command.args(["--add-ca"]).arg(lab.authority.file()).arg("--jsonfile").arg(&file).args(options).arg(lab.at(listener));
    let said = run(&mut command);
    let text = std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&said.stdout)));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn run(command: &mut Command) -> Output {
    command.env("TERM", "dumb").output().unwrap()
}
