//! Mail that comes home: a real Postfix takes mail and bounces it later, in each of its ways; what it sends back comes by SMTP over STARTTLS to
//! the listener for bounces, and the mailbox server of the house, Dovecot by LMTP or another Postfix, has it at the address the
//! application sent from, octet for octet as it lay in Postfix's queue.

use crate::support::dovecot::Dovecot;
use crate::support::lab::{APPLICATION, Lab, Plan, Submission};
use crate::support::postfix::{Postfix, Setup};
use crate::support::receiver::Receiver;
use crate::support::smtp_client::SmtpClient;
use crate::support::smtp_sink::SmtpSink;
use crate::support::verifiers::{Dkimpy, ForeignKey};
use crate::support::{Peer, folder, free_port, missing, wait_for, wait_or_tell};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A recipient, what Postfix does with its mail, and what must be understood of the notice.
struct Way {
    domain: &'static str,
    /// Its transport at Postfix; `SINK` is a server that fails with these options.
    transport: &'static str,
    sink: &'static [&'static str],
    status: &'static str,
    reason: &'static str,
    permanent: bool,
    /// It is not written to any more.
    suppressed: bool,
}

const WAYS: &[Way] = &[
    way("no-such-user.example", "error:5.1.1 no such user here", &[], "5.1.1", "user-unknown", true, true),
    way("local.example", "local:", &[], "5.1.1", "user-unknown", true, true),
    way("full.example", "full:", &[], "5.2.2", "mailbox-full", true, true),
    way("late.example", "retry:4.4.1 the host does not answer", &[], "4.4.1", "network", false, false),
    way("round.example", "smtp:[127.0.0.1]:SELF", &[], "5.4.0", "network", true, false),
    way("unwanted.example", "SINK", &["-f", "RCPT", "-B", "550 5.7.1 message rejected due to local policy"], "5.7.1", "policy", true, false),
    way(
        "unsigned.example",
        "SINK",
        &["-f", ".", "-B", "550 5.7.26 this mail is unauthenticated: SPF and DKIM did not pass"],
        "5.7.26",
        "authentication",
        true,
        false,
    ),
    way("large.example", "SINK", &["-f", ".", "-B", "552 5.3.4 message size exceeds fixed limit"], "5.3.4", "too-large", true, false),
    way("unknown-there.example", "SINK", &["-f", "RCPT", "-B", "550 5.1.1 <you>: user unknown"], "5.1.1", "user-unknown", true, true),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_bounces_in_each_of_its_ways_and_dovecot_has_it_at_the_sender_s_address() {
    if missing(&[&PEERS[..], &[Peer::Dovecot]].concat()) {
        return;
    }
    let dovecot = Dovecot::start("");
    let receiver = Receiver::start();
    let home = format!("protocol = \"lmtp\"\nport = {}", dovecot.port());
    tokio::task::block_in_place(|| {
        everything_comes_home(&home, &receiver, |count| {
            let mails = dovecot.wait_for("app@example.com", count);
            mails.into_iter().map(|mail| (mail.return_path, mail.delivered_to, mail.octets)).collect()
        });
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postfix_as_the_mailbox_server_has_it_too() {
    if missing(&PEERS) {
        return;
    }
    let mailboxes = Postfix::start(&Setup { hostname: "mail.example.com", domains: &["example.com"], ..Setup::default() });
    let receiver = Receiver::start();
    let home = format!("protocol = \"smtp\"\nport = {}", mailboxes.port());
    tokio::task::block_in_place(|| {
        everything_comes_home(&home, &receiver, |count| {
            let told = || format!("{count} messages, of {}: {}", mailboxes.mails().len(), mailboxes.log());
            let mails = wait_or_tell(|| Some(mailboxes.mails()).filter(|mails| mails.len() >= count), told);
            mails.into_iter().map(|mail| (mail.return_path, mail.recipient, mail.octets)).collect()
        });
    });
}

/// Return path, recipient and octets of what is in the mailbox.
type AtHome = Vec<(String, String, Vec<u8>)>;

fn everything_comes_home(home: &str, receiver: &Receiver, at_home: impl Fn(usize) -> AtHome) {
    let world = World::start(home, &receiver.url(), "");
    let mut ids = BTreeMap::new();
    for Way { domain, .. } in WAYS {
        ids.insert(*domain, world.submit(domain, "", &[&format!("you@{domain}")]));
    }
    // One transaction of two: their bounce address is for neither alone.
    let two = world.submit("two", "", &["one@no-such-user.example", "other@no-such-user.example"]);
    world.submit("arrived", " NOTIFY=SUCCESS,FAILURE", &["here@example.net"]);
    let arrived = world.postfix.wait_for("the one that arrives", |mail| mail.recipient == "here@example.net");
    let away =
        format!("From: you@example.net\nTo: {0}\nSubject: Re: arrived\nAuto-Submitted: auto-replied\n\nI am on holidays until June.\n", arrived.return_path);
    world.postfix.sendmail(&["-i", "-f", "", &arrived.return_path], &away);

    // A notice for each way, one for two, the warning that it is late, that it arrived, that somebody is away.
    let count = WAYS.len() + 4;
    let is_ours = |(recipients, _): &(Vec<String>, Vec<u8>)| recipients.iter().all(|recipient| recipient.ends_with("@b.example.com"));
    let waits = || world.postfix.held().into_iter().filter(is_ours).map(|(_, octets)| octets).collect::<Vec<_>>();
    let told = || format!("{count} notices in the queue of Postfix, not {}: {}", waits().len(), world.postfix.log());
    let mut queued = wait_or_tell(|| Some(waits()).filter(|queued| queued.len() == count), told);
    assert!(world.events("mail.returned").is_empty());
    world.postfix.release();

    let mut came = Vec::new();
    for (return_path, recipient, octets) in at_home(count) {
        assert_eq!((return_path.as_str(), recipient.as_str()), ("", "app@example.com"));
        let (trace, message) = cut_field(&octets);
        let trace = text(trace);
        assert!(trace.starts_with("Received: from mx.example.net") && trace.contains("by relay.example.com") && trace.contains("TLS"), "{trace}");
        came.push(message.to_vec());
    }
    queued.sort();
    came.sort();
    for (queued, came) in queued.iter().zip(&came) {
        assert_eq!(text(came), text(queued), "octet for octet");
    }
    assert_eq!(came.len(), count);
    assert!(world.postfix.log().lines().filter(|line| line.contains("Verified TLS connection established")).count() > 0, "{}", world.postfix.log());

    let returned = world.events("mail.returned");
    let mut kinds = BTreeMap::<&str, usize>::new();
    for event in &returned {
        *kinds.entry(event["came_back"].as_str().unwrap()).or_default() += 1;
    }
    assert_eq!(kinds, BTreeMap::from([("auto-reply", 1), ("bounce", WAYS.len() + 1), ("delayed", 1), ("delivered", 1)]), "{returned:#?}");
    let bounced = world.events("mail.bounced");
    assert_eq!(bounced.len(), WAYS.len() + 2, "{bounced:#?}");
    let mut faults = String::new();
    for Way { domain, status, reason, permanent, .. } in WAYS {
        let recipient = format!("you@{domain}");
        let [event] = &bounced.iter().filter(|event| event["recipient"] == recipient.as_str()).collect::<Vec<_>>()[..] else { panic!("{bounced:#?}") };
        for (member, value) in [
            ("mail_id", Value::from(ids[domain].as_str())),
            ("track_id", format!("track-{domain}").into()),
            ("status", (*status).into()),
            ("reason", (*reason).into()),
            ("permanent", (*permanent).into()),
            ("proven", true.into()),
            ("when", "returned".into()),
        ] {
            if event[member] != value {
                writeln!(faults, "{domain}: {member} is {}, not {value}: {event}", event[member]).unwrap();
            }
        }
        assert!(event["message_id"].as_str().unwrap().contains(&format!("{domain}@app.example.com")), "{event}");
    }
    assert_eq!(faults, "");
    for recipient in ["one@no-such-user.example", "other@no-such-user.example"] {
        let event = bounced.iter().find(|event| event["recipient"] == recipient).unwrap();
        assert_eq!((&event["proven"], event["mail_id"].as_str()), (&Value::from(false), Some(two.as_str())), "{event}");
    }

    // The same at the webhook.
    let ids_of = |events: &[Value]| events.iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect::<std::collections::BTreeSet<_>>();
    let wanted = ids_of(&[bounced.clone(), returned.clone()].concat());
    wait_for("the events at the webhook", || {
        let got: Vec<Value> = receiver.got().iter().filter(|got| got.taken).flat_map(crate::support::receiver::Got::events).collect();
        ids_of(&got).is_superset(&wanted).then_some(())
    });

    // Who does not exist is not written to again, and nobody else.
    let listed = world.suppressed();
    let expect: std::collections::BTreeSet<String> = WAYS.iter().filter(|way| way.suppressed).map(|way| format!("you@{}", way.domain)).collect();
    assert_eq!(listed.keys().cloned().collect::<std::collections::BTreeSet<_>>(), expect, "{listed:#?}");
    let id = world.submit("again", "", &["you@no-such-user.example"]);
    let is_it = |(to, octets): &(Vec<String>, Vec<u8>)| *to == ["app@example.com"] && text(octets).contains("Subject: again");
    let (_, report) = wait_for("the report on the next", || world.postfix.held().into_iter().find(is_it));
    let told = text(&report);
    assert!(told.contains("Action: failed") && told.contains("you@no-such-user.example"), "{told}");
    let again = world.events("mail.suppressed");
    assert!(again.iter().any(|event| event["mail_id"] == id.as_str() && event["recipient"] == "you@no-such-user.example"), "{again:#?}");
    world.lab.stop();
}

/// A complaint counts where the signature of a feedback loop that we know passes, and nowhere else.
#[test]
fn only_the_complaint_that_a_known_feedback_loop_signed_takes_somebody_off() {
    if missing(&[&PEERS[..], &[Peer::Dkimpy]].concat()) {
        return;
    }
    let keys = folder("feedback");
    let (known, known_records) = ForeignKey::create("loop.example", keys.path());
    let (other, other_records) = ForeignKey::create("stranger.example", keys.path());
    let world = World::start("protocol = \"smtp\"\nport = 9", "http://127.0.0.1:9/", &format!("{known_records}\n{other_records}"));
    let complaint = |path: &str, recipient: &str, from: &str| {
        format!(
            "From: Feedback <fbl@{from}>\r\nTo: abuse@b.example.com\r\nSubject: complaint\r\nDate: Sun, 22 Nov 2026 11:00:00 +0000\r\nMIME-Version: 1.0\r\n\
             Content-Type: multipart/report; report-type=feedback-report; boundary=\"f\"\r\n\r\n--f\r\n\r\nA complaint.\r\n\
             --f\r\nContent-Type: message/feedback-report\r\n\r\nFeedback-Type: abuse\r\nUser-Agent: loop/1\r\nVersion: 1\r\n\
             Original-Mail-From: <{path}>\r\nOriginal-Rcpt-To: <{recipient}>\r\n\r\n\
             --f\r\nContent-Type: message/rfc822\r\n\r\nFrom: App <app@example.com>\r\nSubject: news\r\n\r\nnews\r\n--f--\r\n"
        )
        .into_bytes()
    };
    let sent = |to: &str| {
        world.submit(to, "", &[to]);
        world.postfix.wait_for(to, |mail| mail.recipient == to).return_path
    };
    let (unsigned, strange, altered, true_one) = (sent("a@example.net"), sent("b@example.net"), sent("c@example.net"), sent("d@example.net"));
    let dns = world.lab.dns.port();
    let mut cut = Dkimpy::sign(dns, "sign", &known, &complaint(&altered, "x@example.net", "loop.example"));
    cut.extend_from_slice(b"and more\r\n");
    for (to, message) in [
        (unsigned.as_str(), complaint(&unsigned, "a@example.net", "loop.example")),
        (&strange, Dkimpy::sign(dns, "sign", &other, &complaint(&strange, "b@example.net", "stranger.example"))),
        (&altered, cut),
        (&true_one, Dkimpy::sign(dns, "sign", &known, &complaint(&true_one, "d@example.net", "loop.example"))),
    ] {
        let reply = world.bounce(to, &text(&message));
        assert!(reply.starts_with("250 "), "{reply}");
    }
    let complained = world.events("mail.complained");
    assert_eq!(complained.len(), 4, "{complained:#?}");
    let proven: Vec<_> = complained.iter().filter(|event| event["proven"] == true).map(|event| event["recipient"].clone()).collect();
    assert_eq!(proven, ["d@example.net"]);
    let listed = world.suppressed();
    assert_eq!(listed.iter().map(|(recipient, why)| (recipient.as_str(), why.as_str())).collect::<Vec<_>>(), [("d@example.net", "complaint")]);
    world.lab.stop();
}

const PEERS: [Peer; 3] = [Peer::Bind, Peer::Postfix, Peer::Root];

/// The relay, the Postfix that is all the world, and what fails behind that.
struct World {
    lab: Lab,
    postfix: Postfix,
    _sinks: Vec<SmtpSink>,
}

impl World {
    /// `home`: more lines for the smart host that leads home.
    fn start(home: &str, webhook: &str, records: &str) -> Self {
        let (port, bounces) = (free_port(), free_port());
        let tables = format!(
            "[listeners.bounces]\npurpose = \"bounces\"\naddress = \"127.0.0.1:{bounces}\"\ntls = \"starttls\"\n\
             [smart_hosts.home]\nhost = \"127.0.0.1\"\ntls = \"none\"\n{home}\n\
             [returns]\nroute = \"home\"\nfeedback_domains = [\"loop.example\"]\n\
             [webhooks.crm]\nurl = \"{webhook}\"\nsecret = \"whsec_ZXhhbXBsZSBvbmx5OiBtYWtlIHlvdXIgb3du\"\n"
        );
        let mut zone = records.to_owned();
        for Way { domain, .. } in WAYS {
            writeln!(zone, "{domain}. IN MX 10 mx.example.net.").unwrap();
        }
        let lab = Lab::start(&Plan { mx_port: port, tables: &tables, zone: &zone, ..Plan::default() });
        let mut sinks = Vec::new();
        let mut transports = format!("{{ b.example.com = home:[127.0.0.1]:{bounces} }}");
        for Way { domain, transport, sink, .. } in WAYS {
            let mut transport = transport.replace("SELF", &port.to_string());
            if transport == "SINK" {
                sinks.push(SmtpSink::start(sink));
                transport = format!("smtp:[127.0.0.1]:{}", sinks.last().unwrap().port());
            }
            write!(transports, ", {{ {domain} = {transport} }}").unwrap();
        }
        // What it sends home is held until the test has seen it in the queue; then it goes over TLS with a certificate of that name or not at all.
        let main = format!(
            "transport_maps = inline:{{ {transports} }}\n\
             internal_mail_filter_classes = bounce\n\
             header_checks = regexp:{{ {{ /^Auto-Submitted: auto-replied/ HOLD }} }}\n\
             smtpd_reject_unlisted_recipient = no\n\
             smtp_tls_CAfile = {}\n\
             smtp_tls_loglevel = 1\n\
             smtp_tls_policy_maps = inline:{{ {{ [127.0.0.1]:{bounces} = secure match=relay.example.com }} }}\n\
             smtp_host_lookup = native\n\
             smtp_dns_support_level = disabled\n\
             maximal_queue_lifetime = 5s\n\
             bounce_queue_lifetime = 1h\n\
             delay_warning_time = 1s\n\
             minimal_backoff_time = 1s\n\
             maximal_backoff_time = 1s\n\
             queue_run_delay = 1s\n",
            lab.authority.file().display()
        );
        let services = "home unix - - n - - smtp\n\
                        full unix - n n - - pipe\n  user=nobody argv=/bin/sh -c {echo 5.2.2 the mailbox is full; exit 77}\n";
        let certificate = Some(lab.authority.issue("mx.example.net"));
        let domains = &["example.net", "example.com"];
        let postfix = Postfix::start(&Setup { hostname: "mx.example.net", domains, port: Some(port), certificate, main: &main, services, ..Setup::default() });
        Self { lab, postfix, _sinks: sinks }
    }

    /// Submits as the application; the id that the relay gave it.
    fn submit(&self, subject: &str, parameters: &str, recipients: &[&str]) -> String {
        let rcpts: Vec<String> = recipients.iter().map(|recipient| format!("<{recipient}>{parameters}")).collect();
        let message = format!(
            "From: App <app@example.com>\r\nTo: you\r\nMessage-ID: <{}@app.example.com>\r\nX-Postseal-Track-Id: track-{subject}\r\nSubject: {subject}\r\n\r\nHello.\r\n",
            subject.replace('@', ".")
        );
        let rcpts: Vec<&str> = rcpts.iter().map(String::as_str).collect();
        let reply = self.lab.submit(&Submission { client: APPLICATION, mail: "<app@example.com>", rcpts: &rcpts, message: message.as_bytes() });
        assert!(reply.starts_with("250 "), "{recipients:?}: {reply}");
        reply.split_whitespace().last().unwrap().to_owned()
    }

    /// Sends something to the listener for bounces; the reply that ended it.
    fn bounce(&self, to: &str, message: &str) -> String {
        SmtpClient::connect(&self.lab.at("bounces")).unwrap().send("", &[to], message).unwrap()
    }

    fn events(&self, kind: &str) -> Vec<Value> {
        self.ask(&["events", "--since", "1h", "--kind", kind, "--json"])
    }

    /// Who is on the suppression list, and why.
    fn suppressed(&self) -> BTreeMap<String, String> {
        let entry = |entry: Value| (entry["recipient"].as_str().unwrap().to_owned(), entry["reason"].as_str().unwrap().to_owned());
        self.ask(&["suppression", "list", "--json"]).into_iter().map(entry).collect()
    }

    fn ask(&self, arguments: &[&str]) -> Vec<Value> {
        let url = format!("http://{}", self.lab.relay.admin());
        let done = self.lab.relay.postseal(&[arguments, &["--url", &url]].concat());
        assert!(done.status.success(), "{arguments:?}: {}", text(&done.stderr));
        text(&done.stdout).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

const fn way(
    domain: &'static str,
    transport: &'static str,
    sink: &'static [&'static str],
    status: &'static str,
    reason: &'static str,
    permanent: bool,
    suppressed: bool,
) -> Way {
    Way { domain, transport, sink, status, reason, permanent, suppressed }
}

/// The first field, folded lines and all, and what stands below.
fn cut_field(octets: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        if at > 0 && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            break;
        }
        at += line.len();
    }
    octets.split_at(at)
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}
