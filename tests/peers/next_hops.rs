//! Next hops that others wrote: Postfix found by MX in BIND, refusing and greylisting by configuration, and smtp-sink with each of
//! its faults. What a fault leads to is told by the log, by the submitter's mailbox and by what arrives once the fault is gone.

use crate::support::certificates::Authority;
use crate::support::lab::{APPLICATION, LIST, Lab, Plan, Submission};
use crate::support::letters::POST;
use crate::support::postfix::{Postfix, Setup};
use crate::support::smtp_sink::SmtpSink;
use crate::support::verifiers::{Arrived, Dkimpy, ForeignKey, Says, Verifier};
use crate::support::{Peer, folder, free_port, missing, wait_for};
use std::fmt::Write as _;

#[test]
fn postfix_takes_mail_by_mx_over_starttls() {
    if missing(&POSTFIX) {
        return;
    }
    let zone = "\
        dead.example.org. IN A 127.0.0.9\n\
        first-is-dead.example. IN MX 5 dead.example.org.\n\
        first-is-dead.example. IN MX 10 mx.example.net.\n\
        nowhere-first.example. IN MX 5 no-such-host.example.org.\n\
        nowhere-first.example. IN MX 10 mx.example.net.\n\
        implicit.example. IN A 127.0.0.1\n\
        alias.example. IN CNAME implicit.example.\n\
        null.example. IN MX 0 .\n\
        addressless.example. IN TXT \"neither MX nor address\"\n";
    let (lab, postfix) = started(&Plan { zone, ..Plan::default() }, "");
    for domain in ["example.net", "first-is-dead.example", "nowhere-first.example", "implicit.example", "alias.example"] {
        let recipient = format!("you@{domain}");
        submit(&lab, &recipient, "way");
        let mail = postfix.wait_for(&recipient, |mail| mail.recipient == recipient);
        assert!(mail.received.contains("using TLSv1.3") && mail.received.contains("with ESMTPS"), "{recipient}: {}", mail.received);
        assert!(mail.received.contains("from relay.example.com "), "{recipient}: {}", mail.received);
    }
    for (domain, status) in [("null.example", "5.1.10"), ("no-such-domain.example", "5.1.2"), ("addressless.example", "5.")] {
        submit(&lab, &format!("you@{domain}"), "nowhere");
        let report = postfix.wait_for(domain, |mail| mail.recipient == "app@example.com" && text(&mail.octets).contains(&format!("you@{domain}")));
        let told = text(&report.octets);
        assert!(report.return_path.is_empty() && told.contains("Action: failed") && told.contains(&format!("Status: {status}")), "{domain}: {told}");
    }
    lab.stop();
}

#[test]
fn a_connection_to_postfix_is_kept_and_its_chunking_used() {
    if missing(&POSTFIX) {
        return;
    }
    let (lab, postfix) = started(&Plan { deliver: "idle_timeout = \"10s\"\nbdat = true", ..Plan::default() }, "");
    submit(&lab, "first@example.net", "first");
    postfix.wait_for("the first", |mail| mail.recipient == "first@example.net");
    for number in 0..10 {
        submit(&lab, &format!("you-{number}@example.net"), "more");
    }
    for number in 0..10 {
        postfix.wait_for("more", |mail| mail.recipient == format!("you-{number}@example.net"));
    }
    lab.stop();
    let ended = wait_for("the end of the connections", || {
        let log = postfix.log();
        let ends: Vec<_> = log.lines().filter(|line| line.contains("disconnect from") && line.contains("starttls=1")).map(str::to_owned).collect();
        (ends.iter().map(|line| count(line, "mail=")).sum::<u32>() == 11).then_some(ends)
    });
    assert!(ended.len() < 11, "every message had a connection of its own: {ended:#?}");
    assert_eq!(ended.iter().map(|line| count(line, "bdat=")).sum::<u32>(), 11, "{ended:#?}");
}

#[test]
fn a_recipient_that_postfix_refuses_is_told_of_and_the_others_get_it() {
    if missing(&[&POSTFIX[..], &[Peer::Dkimpy]].concat()) {
        return;
    }
    let (lab, postfix) = started(&Plan::default(), "gone@example.net 550 5.1.1 no such user here");
    let reply = lab.submit(&Submission {
        client: APPLICATION,
        mail: "<app@example.com> RET=HDRS ENVID=order-7",
        rcpts: &["<gone@example.net> ORCPT=rfc822;gone@example.org", "<here@example.net>"],
        message: &letter("refused"),
    });
    assert!(reply.starts_with("250 "), "{reply}");
    postfix.wait_for("the good recipient", |mail| mail.recipient == "here@example.net");
    let report = postfix.wait_for("the report", |mail| mail.recipient == "app@example.com");
    let told = text(&report.octets);
    assert_eq!(report.return_path, "", "{told}");
    let wanted = [
        "Action: failed",
        "Status: 5.1.1",
        "no such user here",
        "Original-Recipient: rfc822;gone@example.org",
        "Original-Envelope-Id: order-7",
        "Remote-MTA: dns;mx.example.net",
        "Subject: refused",
    ];
    for words in wanted {
        assert!(unspaced(&told).contains(&unspaced(words)), "{words:?} is missing: {told}");
    }
    assert!(!told.contains("rfc822;here@example.net"), "{told}");
    assert!(!told.contains("Hello, this is refused."), "RET=HDRS: {told}");
    let findings = Dkimpy::new(lab.dns.port()).verify(&Arrived { return_path: String::new(), octets: report.octets });
    assert!(!findings.dkim.is_empty() && findings.dkim.values().all(|says| *says == Says::Pass), "the report is sealed: {findings:?}");
    lab.stop();
    assert_eq!(postfix.mails().len(), 2);
}

#[test]
fn greylisting_only_delays() {
    if missing(&POSTFIX) {
        return;
    }
    // Postfix looks at its table between connections, so none is kept.
    let (lab, postfix) = started(&Plan { deliver: "idle_timeout = \"0s\"", ..Plan::default() }, "grey@example.net 450 4.2.0 Greylisted, come back later");
    let reply = lab.submit(&Submission {
        client: APPLICATION,
        mail: "<app@example.com>",
        rcpts: &["<grey@example.net>", "<white@example.net>"],
        message: &letter("grey"),
    });
    assert!(reply.starts_with("250 "), "{reply}");
    postfix.wait_for("the other recipient", |mail| mail.recipient == "white@example.net");
    let deferred = lab.event("attempt.deferred", |_| true);
    assert!(deferred["reply"].as_str().unwrap().contains("450 4.2.0") && deferred["reply"].as_str().unwrap().contains("Greylisted"), "{deferred}");
    postfix.set_access("");
    postfix.wait_for("the greylisted one", |mail| mail.recipient == "grey@example.net");
    lab.stop();
    assert_eq!(postfix.mails().len(), 2, "one copy each, and no report");
}

#[test]
fn tls_is_as_strict_as_was_demanded() {
    if missing(&POSTFIX) {
        return;
    }
    // One host with a certificate by the authority that the relay trusts, one with a certificate by a stranger, one without TLS.
    let ports = [free_port(), free_port(), free_port()];
    let (trusted, stranger, clear) = (0, 1, 2);
    let cases = [
        ("trusted-verified", trusted, "verified", true),
        ("stranger-opportunistic", stranger, "opportunistic", true),
        ("stranger-required", stranger, "required", true),
        ("stranger-verified", stranger, "verified", false),
        ("clear-opportunistic", clear, "opportunistic", true),
        ("clear-required", clear, "required", false),
        ("clear-verified", clear, "verified", false),
    ];
    let mut tables = String::from("[routes.recipients]\n");
    for (name, ..) in &cases {
        writeln!(tables, "\"{name}.example\" = \"{name}\"").unwrap();
    }
    for (name, host, demand, _) in &cases {
        writeln!(tables, "[smart_hosts.{name}]\nhost = \"mx.example.net\"\nport = {}\ntls = \"{demand}\"", ports[*host]).unwrap();
    }
    let lab = Lab::start(&Plan { mx_port: ports[trusted], tables: &tables, ..Plan::default() });
    let strangers = folder("stranger");
    let certificates = [Some(lab.authority.issue("mx.example.net")), Some(Authority::new(strangers.path()).issue("mx.example.net")), None];
    let domains: Vec<String> = cases.iter().map(|(name, ..)| format!("{name}.example")).collect();
    let domains: Vec<&str> = domains.iter().map(String::as_str).collect();
    let hosts: Vec<Postfix> = ports
        .iter()
        .zip(certificates)
        .map(|(port, certificate)| Postfix::start(&Setup { hostname: "mx.example.net", domains: &domains, port: Some(*port), certificate, ..Setup::default() }))
        .collect();

    let ids: Vec<String> = cases.iter().map(|(name, ..)| submit(&lab, &format!("you@{name}.example"), name)).collect();
    for ((name, host, _, passes), id) in cases.iter().zip(&ids) {
        let event = lab.event(if *passes { "attempt.delivered" } else { "attempt.deferred" }, |event| event["mail_id"] == id.as_str());
        if *passes {
            let mail = hosts[*host].wait_for(name, |mail| mail.recipient == format!("you@{name}.example"));
            assert_eq!(mail.received.contains("using TLSv1.3"), *host != clear, "{name}: {}", mail.received);
            assert_eq!(event["tls"].as_str().is_some_and(|tls| tls.starts_with("TLS")), *host != clear, "{name}: {event}");
        }
    }
    lab.stop();
    assert_eq!(hosts.iter().map(|host| host.mails().len()).sum::<usize>(), cases.iter().filter(|case| case.3).count());
}

#[test]
fn dns_trouble_defers() {
    if missing(&POSTFIX) {
        return;
    }
    let (lab, postfix) = started(&Plan::default(), "");
    lab.dns.hold();
    let id = submit(&lab, "you@example.net", "late");
    let deferred = lab.event("attempt.deferred", |event| event["mail_id"] == id.as_str());
    assert!(deferred["status"].as_str().unwrap().starts_with("4.4"), "{deferred}");
    lab.dns.go_on();
    postfix.wait_for("the late one", |mail| mail.recipient == "you@example.net");
    lab.stop();
    assert_eq!(postfix.mails().len(), 1, "no report");
}

/// What smtp-sink does, and what must come of it.
struct Fault {
    name: &'static str,
    options: &'static [&'static str],
    first: First,
}

/// How the first attempt ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum First {
    Delivered,
    /// And again later, with the fault gone.
    Deferred,
    /// After the final dot nothing was heard.
    Unknown,
    /// And the submitter is told.
    Failed,
}
use First::{Deferred, Delivered, Failed, Unknown};

const FAULTS: &[Fault] = &[
    fault("friendly", &[], Delivered),
    fault("no-pipelining", &["-p"], Delivered),
    fault("no-esmtp", &["-e"], Delivered),
    fault("no-dsn", &["-N"], Delivered),
    fault("no-enhanced-codes", &["-E"], Delivered),
    fault("no-8bitmime", &["-8"], Delivered), // everything is 7 bit by then
    fault("pix", &["-P"], Delivered),
    fault("slow", &["-w", "1"], Delivered),
    fault("hard-ehlo", &["-f", "EHLO"], Delivered), // with HELO
    fault("soft-connect", &["-r", "CONNECT"], Deferred),
    fault("soft-mail", &["-r", "MAIL"], Deferred),
    fault("soft-rcpt", &["-r", "RCPT"], Deferred),
    fault("soft-data", &["-r", "DATA"], Deferred),
    fault("soft-dot", &["-r", "."], Deferred),
    fault("hard-connect", &["-f", "CONNECT"], Deferred),
    fault("hard-helo", &["-f", "EHLO,HELO"], Deferred),
    fault("hard-mail", &["-f", "MAIL"], Failed),
    fault("hard-rcpt", &["-f", "RCPT"], Failed),
    fault("hard-data", &["-f", "DATA"], Failed),
    fault("hard-dot", &["-f", "."], Failed),
    fault("own-words", &["-f", "RCPT", "-B", "550 5.7.1 we do not want this"], Failed),
    fault("abort-after-data", &["-A", "0"], Failed),
    fault("gone-connect", &["-q", "CONNECT"], Deferred),
    fault("gone-ehlo", &["-q", "EHLO"], Deferred),
    fault("gone-mail", &["-q", "MAIL"], Deferred),
    fault("gone-rcpt", &["-q", "RCPT"], Deferred),
    fault("gone-data", &["-q", "DATA"], Deferred),
    fault("gone-dot", &["-q", "."], Unknown),
];

#[test]
fn smtp_sink_fails_in_every_way_and_nothing_is_lost() {
    if missing(&[Peer::Bind, Peer::SmtpSink]) {
        return;
    }
    let mut sinks: Vec<_> = FAULTS.iter().map(|fault| (fault, SmtpSink::start(fault.options))).collect();
    let reports = SmtpSink::start(&[]);
    let mut tables = String::from("[routes.recipients]\n");
    for Fault { name, .. } in FAULTS {
        writeln!(tables, "\"{name}.example\" = \"{name}\"").unwrap();
    }
    for (Fault { name, .. }, sink) in &sinks {
        writeln!(tables, "[smart_hosts.{name}]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"", sink.port()).unwrap();
    }
    // So slow a retry that the sinks can be exchanged in between.
    let lab = Lab::start(&Plan { mx_port: reports.port(), tables: &tables, retry: Some("[\"6s\", \"2s\", \"2s\", \"2s\"]"), ..Plan::default() });
    let ids: Vec<String> = FAULTS.iter().map(|fault| submit(&lab, &format!("you@{}.example", fault.name), fault.name)).collect();
    for (Fault { name, first, .. }, id) in FAULTS.iter().zip(&ids) {
        let ended =
            lab.event_such("an attempt", |event| event["mail_id"] == id.as_str() && event["event"].as_str().is_some_and(|name| name.starts_with("attempt.")));
        let expected = match first {
            Delivered => "attempt.delivered",
            Deferred | Unknown => "attempt.deferred",
            Failed => "attempt.failed",
        };
        assert_eq!(ended["event"], expected, "{name}: {ended}");
        assert_eq!(ended["unknown_end"].as_bool().unwrap_or(false), *first == Unknown, "{name}: {ended}");
    }
    // The hosts are mended: what was deferred arrives, once.
    for (fault, sink) in &mut sinks {
        if matches!(fault.first, Deferred | Unknown) {
            sink.restart(&[]);
        }
    }
    for (Fault { name, first, .. }, sink) in &sinks {
        if *first == Failed {
            let report = wait_for(&format!("a report on {name}"), || {
                reports.mails().into_iter().find(|mail| text(&mail.octets).contains(&format!("you@{name}.example")))
            });
            assert!(report.mail.starts_with("<>") && text(&report.octets).contains("Action: failed"), "{name}: {report:?}");
            continue;
        }
        let mail = wait_for(&format!("the message to {name}"), || sink.mails().pop());
        assert!(text(&mail.octets).contains(&format!("Hello, this is {name}.")), "{name}: {mail:?}");
        assert!(mail.mail.contains("@b.example.com>") && mail.rcpts[0].starts_with(&format!("<you@{name}.example>")), "{name}: {mail:?}");
    }
    lab.stop();
    for (Fault { name, .. }, sink) in sinks.iter().filter(|(fault, _)| fault.first != Failed) {
        assert_eq!(sink.mails().len(), 1, "{name}: once and no more");
    }
    let failed = FAULTS.iter().filter(|fault| fault.first == Failed).count();
    assert_eq!(reports.mails().len(), failed, "one report for each failure and for nothing else");
}

#[test]
fn a_421_at_any_point_only_delays() {
    if missing(&[Peer::Bind, Peer::SmtpSink]) {
        return;
    }
    let mut sink = SmtpSink::start(&[]);
    let lab = Lab::start(&Plan { mx_port: sink.port(), ..Plan::default() });
    for command in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "."] {
        sink.restart(&["-Q", command]);
        let id = submit(&lab, "you@example.net", command);
        let deferred = lab.event("attempt.deferred", |event| event["mail_id"] == id.as_str());
        assert!(deferred["reply"].as_str().unwrap().starts_with("421 "), "{command}: {deferred}");
        sink.restart(&[]);
        lab.event("attempt.delivered", |event| event["mail_id"] == id.as_str());
        let mails = sink.mails();
        assert!(mails.len() == 1 && text(&mails[0].octets).contains(&format!("Subject: {command}\r\n")), "{command}: {mails:?}");
    }
    lab.stop();
}

#[test]
fn signed_8_bit_mail_fails_where_8bitmime_is_missing_and_success_is_told_where_dsn_is() {
    if missing(&[Peer::Bind, Peer::SmtpSink, Peer::Dkimpy]) {
        return;
    }
    let keys = folder("foreign");
    let (author, records) = ForeignKey::create("foreign.example", keys.path());
    let (seven_bit, no_dsn, reports) = (SmtpSink::start(&["-8"]), SmtpSink::start(&["-N"]), SmtpSink::start(&[]));
    let tables = format!(
        "[routes.recipients]\n\"seven-bit.example\" = \"seven-bit\"\n\"no-dsn.example\" = \"no-dsn\"\n\
         [smart_hosts.seven-bit]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n\
         [smart_hosts.no-dsn]\nhost = \"127.0.0.1\"\nport = {}\ntls = \"none\"\n",
        seven_bit.port(),
        no_dsn.port()
    );
    let zone = format!("list.example. IN MX 10 mx.example.net.\n{records}");
    let lab = Lab::start(&Plan { mx_port: reports.port(), tables: &tables, keys: &["list.example"], zone: &zone, ..Plan::default() });

    let signed = Dkimpy::sign(lab.dns.port(), "sign", &author, POST.as_bytes());
    let reply =
        lab.submit(&Submission { client: LIST, mail: "<talk-bounces@list.example> BODY=8BITMIME", rcpts: &["<you@seven-bit.example>"], message: &signed });
    assert!(reply.starts_with("250 "), "{reply}");
    let report = wait_for("the report on 8 bit", || reports.mails().into_iter().find(|mail| mail.rcpts[0].starts_with("<talk-bounces@list.example>")));
    assert!(text(&report.octets).contains("Status: 5.6.3"), "{}", text(&report.octets));
    assert!(seven_bit.mails().is_empty());

    let reply = lab.submit(&Submission {
        client: APPLICATION,
        mail: "<app@example.com>",
        rcpts: &["<you@no-dsn.example> NOTIFY=SUCCESS"],
        message: &letter("success"),
    });
    assert!(reply.starts_with("250 "), "{reply}");
    let report = wait_for("the report on success", || reports.mails().into_iter().find(|mail| mail.rcpts[0].starts_with("<app@example.com>")));
    assert!(text(&report.octets).contains("Action: relayed") && report.mail.starts_with("<>"), "{}", text(&report.octets));
    assert!(!no_dsn.mails()[0].rcpts[0].contains("NOTIFY"), "{:?}", no_dsn.mails());
    lab.stop();
}

const POSTFIX: [Peer; 3] = [Peer::Bind, Peer::Postfix, Peer::Root];
/// What the Postfix of [`started`] takes mail for.
const DOMAINS: &[&str] = &["example.net", "example.com", "first-is-dead.example", "nowhere-first.example", "implicit.example", "alias.example"];

/// A relay, and the Postfix that is every MX: its certificate is verified by what the relay trusts, `access` are its answers to RCPT.
fn started(plan: &Plan<'_>, access: &str) -> (Lab, Postfix) {
    let port = free_port();
    let lab = Lab::start(&Plan { mx_port: port, ..plan.clone() });
    let certificate = Some(lab.authority.issue("mx.example.net"));
    let postfix = Postfix::start(&Setup { hostname: "mx.example.net", domains: DOMAINS, port: Some(port), access, certificate, ..Setup::default() });
    (lab, postfix)
}

/// Submits a letter as an application; the id that the relay gave it.
fn submit(lab: &Lab, recipient: &str, subject: &str) -> String {
    let reply = lab.submit(&Submission { client: APPLICATION, mail: "<app@example.com>", rcpts: &[&format!("<{recipient}>")], message: &letter(subject) });
    assert!(reply.starts_with("250 "), "{recipient}: {reply}");
    reply.split_whitespace().last().unwrap().to_owned()
}

fn letter(subject: &str) -> Vec<u8> {
    format!("From: App <app@example.com>\r\nTo: you@example.net\r\nSubject: {subject}\r\n\r\nHello, this is {subject}.\r\n").into_bytes()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn unspaced(text: &str) -> String {
    text.split_whitespace().collect()
}

/// The number behind `name` in a line of Postfix's log: `bdat=3`, or `bdat=3/4` with faults.
fn count(line: &str, name: &str) -> u32 {
    let value = line.split_whitespace().find_map(|word| word.strip_prefix(name)).unwrap_or("0");
    value.split('/').next().unwrap().parse().unwrap()
}

const fn fault(name: &'static str, options: &'static [&'static str], first: First) -> Fault {
    Fault { name, options, first }
}
