//! One table of every place where a stranger's words go on: into a header field, an address, a log line, a notice, the next hop's dialogue, the
//! page, the API, a webhook. Each is fed what would be a line, a field, a tag or a command of its own, in the clear and in every coding that
//! somebody decodes; then all that left the relay is looked at.

use super::rig::{Credulous, Heard, Rude, config};
use crate::support::receiver::{Got, Receiver};
use crate::support::relay_process::RelayProcess;
use crate::support::scrape;
use data_encoding::BASE64;
use postseal::mail::Headers;
use postseal::mail::dsn::Report;
use serde_json::Value;
use std::time::Duration;

/// Where the words go in. `{}` stands for them.
const PLACES: &[&str] = &[
    "EHLO {}",
    "HELO {}",
    "MAIL FROM:<{}@example.com>",
    "MAIL FROM:<\"{}\"@example.com>",
    "MAIL FROM:<app@{}>",
    "MAIL FROM:<app@example.com> ENVID={}",
    "MAIL FROM:<app@example.com> RET=HDRS ENVID=x{}",
    "MAIL FROM:<app@example.com> SIZE={}",
    "MAIL FROM:<app@example.com> {}",
    "RCPT TO:<{}gone@example.net>",
    "RCPT TO:<\"gone {}\"@example.net>",
    "RCPT TO:<@{}:gone@example.net>",
    "RCPT TO:<gone@example.net> ORCPT=rfc822;{}",
    "RCPT TO:<gone@example.net> ORCPT=utf-8;{}",
    "RCPT TO:<gone@example.net> ORCPT={};x",
    "RCPT TO:<gone@example.net> NOTIFY={}",
    "AUTH PLAIN {}",
    "AUTH {}",
    "VRFY {}",
    "From: {} <app@example.com>",
    "From: \"{}\" <app@example.com>",
    "From: app@example.com ({})",
    "To: {} <gone@example.net>",
    "Subject: {}",
    "Message-ID: <{}@example.com>",
    "Message-ID: {}",
    "Date: {}",
    "Reply-To: {}",
    "In-Reply-To: {}",
    "List-Unsubscribe: <{}>",
    "Content-Type: {}",
    "Content-Type: text/plain; name=\"{}\"",
    "MIME-Version: {}",
    "X-Postseal-Track-Id: {}",
    "X-Postseal-Tag: {}",
    "X-Postseal-Stream: {}",
    "X-Postseal-Deliver-After: {}",
    "traceparent: {}",
    "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\ntracestate: {}",
    "Authentication-Results: {}",
    "Authentication-Results: relay.example.com; dkim=pass reason=\"{}\"",
    "Received: {}",
    "DKIM-Signature: {}",
    "ARC-Seal: i=1; {}",
    "{}: x",
];

/// The words. `X-Evil` and `forged` must not stand where they would mean something.
const WORDS: &[&str] = &[
    "a\r\nX-Evil: 1",
    "a\nX-Evil: 1",
    "a\rX-Evil: 1",
    "a\r\n X-Evil: 1\r\nX-Evil: 2",
    "a\r\n\r\nX-Evil: 1",
    "a\r\nRCPT TO:<evil@example.org>",
    "a\r\n.\r\nMAIL FROM:<evil@example.org>\r\n",
    "a+0D+0AX-Evil:+201",
    "a+0Aforged.event",
    "a\\x{0D}\\x{0A}X-Evil: 1",
    "a\\x{A}RCPT TO:<evil@example.org>",
    "=?utf-8?q?a=0D=0AX-Evil:_1?=",
    "=?utf-8?b?YQ0KWC1FdmlsOiAx?=",
    "a%0D%0AX-Evil:%201",
    "a\\r\\nX-Evil: 1",
    "a\" X-Evil=\"1",
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'\"`;--{{7*7}}${7*7}",
    "\",\"event\":\"forged.event\",\"x\":\"",
    "a event=forged.event",
    "a\u{1b}[2J\u{1b}]0;forged\u{7}",
    "a\u{202e}lave\u{2028}X-Evil: 1\u{2029}\u{85}X-Evil: 1",
    "a\u{0}b",
    "a> SMTPUTF8\r\nRSET",
    "a>,<evil@example.org",
    "evil@example.org, a",
    "a\" <evil@example.org>, \"b",
];

const REFUSAL: &[u8] = b"550-5.1.1 no <script>alert(2)</script> \x1b[2J\x07\rX-Evil: 1 such\r\n550 5.1.1 user\",\"event\":\"forged.event\",\"x\":\" \xe2\x80\xae =?utf-8?q?=0D=0AX-Evil:_1?=\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobodys_words_become_a_line_a_field_a_tag_or_a_command() {
    let hop = Credulous::start(&["PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "SIZE 1000000"], REFUSAL);
    let receiver = Receiver::start();
    let credential = postseal::ingress::sasl::scram_verifier("secret", 4096, b"salt").unwrap();
    let more = format!(
        "[users.ann]\nidentity = \"app\"\ncredential = \"{credential}\"\n[auth]\nfailure_delay = \"0s\"\nfailures_max = 1000000\n[webhooks.crm]\nurl = \"{}\"\n\
        secret = \"whsec_ZXhhbXBsZSBvbmx5OiBtYWtlIHlvdXIgb3du\"\nkinds = []\n[admin]\naddress = \"127.0.0.1:0\"\n",
        receiver.url()
    );
    for format in ["json", "text"] {
        let listener = "auth_without_tls = true\nbare_lf = \"repair\"\nerrors_max = 1000000\nrefusals_max = 1000000\nidle_commands_max = 1000000";
        let config = config(hop.address(), listener, &more).replace("level = \"debug\"", &format!("level = \"debug\"\nformat = \"{format}\""));
        let mut relay = RelayProcess::new(&config);
        let accepted = tokio::task::block_in_place(|| {
            relay.start_by_format(format);
            let address = relay_address(&relay, format);
            // A line end in a command is the client's own: it may say what it likes.
            let is_in_header = |place: &str| !["EHLO", "HELO", "MAIL", "RCPT", "AUTH", "VRFY"].contains(&place.split(' ').next().unwrap());
            let table = PLACES.iter().flat_map(|place| WORDS.iter().map(move |words| (place, words)));
            let table = table.filter(|(place, words)| is_in_header(place) || place.starts_with("AUTH PLAIN") || !words.contains(['\r', '\n']));
            let share = if format == "json" { 1 } else { 5 }; // coprime to both lengths: every place, every word
            table.step_by(share).filter(|(place, words)| submit(&address, place, words)).count()
        });
        assert!(accepted > 100, "{accepted} were accepted: the table tests nothing where all is refused");
        tokio::time::sleep(Duration::from_secs(2)).await;
        look_at_the_hop(&hop.heard());
        if format == "json" {
            look_at_the_api(&relay);
            look_at_webhooks(&receiver.got());
        }
        let (code, log) = tokio::task::block_in_place(|| relay.stop());
        assert_eq!(code, Some(0));
        look_at_the_log(&log, format);
    }
}

/// Says it; whether a message was accepted.
fn submit(address: &str, place: &str, words: &str) -> bool {
    let filled =
        if place.starts_with("AUTH PLAIN") { place.replace("{}", &BASE64.encode(format!("\0{words}\0secret").as_bytes())) } else { place.replace("{}", words) };
    let verb = place.split([' ', ':']).next().unwrap();
    let mut client = Rude::connect(address);
    let instead = |known: &str, usual: &str| if verb == known { filled.clone() } else { usual.to_owned() };
    for line in [instead("EHLO", "EHLO client.test"), instead("HELO", "NOOP"), instead("AUTH", "NOOP"), instead("VRFY", "NOOP")] {
        client.ask(&line);
    }
    if verb == "HELO" {
        client.ask("RSET");
    }
    // A line that fell apart has had more replies than were waited for: whatever they are, the rest is said in one go.
    let is_field = !["EHLO", "HELO", "MAIL", "RCPT", "AUTH", "VRFY"].contains(&verb);
    let usual = [("From", "From: app@example.com"), ("To", "To: you@example.net"), ("Subject", "Subject: x")];
    let mut fields: Vec<String> = usual.iter().filter(|(name, _)| *name != verb).map(|(_, line)| (*line).to_owned()).collect();
    if is_field {
        fields.push(filled.clone());
    }
    client.ask(&instead("MAIL", "MAIL FROM:<app@example.com> SMTPUTF8"));
    client.ask(&instead("RCPT", "RCPT TO:<gone@example.net> ORCPT=rfc822;gone@example.net"));
    client.ask("DATA");
    std::thread::sleep(Duration::from_millis(1));
    client.say(format!("{}\r\n\r\nHello\r\n.\r\nQUIT\r\n", fields.join("\r\n")).as_bytes());
    client.rest().contains("250 2.0.0 accepted")
}

/// Envelopes of ours, notices among them; and no field that we or the application did not write.
fn look_at_the_hop(heard: &Heard) {
    for line in &heard.commands {
        let verb = line.split([' ', ':']).next().unwrap();
        assert!(["EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT"].contains(&verb), "{line:?}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(!line.starts_with("RCPT TO:<evil") && !line.starts_with("MAIL FROM:<evil"), "{line:?}");
    }
    assert!(heard.messages.len() > 50, "only {} notices", heard.messages.len());
    // Where everybody was refused and DATA was pipelined, the message is a lone dot (RFC 2920 §3.1).
    for message in heard.messages.iter().filter(|message| !message.is_empty()) {
        let crlf = message.replace('\n', "\r\n");
        let headers = Headers::parse(crlf.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {message}"));
        let names: Vec<String> = headers.iter().map(|field| field.name.to_ascii_lowercase()).collect();
        let is_notice = names.iter().any(|name| name == "auto-submitted");
        assert!(is_notice, "everybody is refused, so these are notices: {message}");
        let known = ["arc-seal", "arc-message-signature", "arc-authentication-results", "dkim-signature", "date", "from", "to", "subject", "message-id"];
        let more = ["in-reply-to", "references", "auto-submitted", "mime-version", "content-type", "received"];
        assert!(names.iter().all(|name| known.contains(&name.as_str()) || more.contains(&name.as_str())), "{names:?}");
        // The part for programs tells of one recipient, in fields of ours.
        let report = Report::parse(crlf.as_bytes()).unwrap_or_else(|fault| panic!("{fault}: {message}"));
        assert_eq!(report.recipients.len(), 1, "{message}");
        if let Some(status) = message.split("Content-Type: message/").find(|part| part.contains("\nReporting-MTA:")) {
            let fields = status.split("\n--=_").next().unwrap();
            assert!(!fields.lines().any(|line| line.starts_with("X-Evil") || line.starts_with("Bcc")), "{fields}");
            assert_eq!(fields.matches("\nReporting-MTA:").count(), 1, "{fields}");
        }
    }
}

fn look_at_the_api(relay: &RelayProcess) {
    let admin = relay.admin();
    for path in ["/api/v1/queue", "/api/v1/queue?by=reason", "/api/v1/status", "/api/v1/events?limit=1000", "/api/v1/domains"] {
        let (head, body) = scrape::get(&admin, path);
        assert!(head.starts_with("HTTP/1.1 200") || head.starts_with("HTTP/1.0 200"), "{path}: {head}");
        serde_json::from_str::<Value>(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"));
        assert!(head.to_ascii_lowercase().contains("x-content-type-options: nosniff"), "{path}: {head}");
    }
    let mut pages = vec!["/".to_owned(), "/queue".to_owned(), "/attention".to_owned(), "/domains".to_owned(), "/mail?q=gone%40example.net".to_owned()];
    pages.push("/mail?q=%3Cscript%3Ealert(3)%3C%2Fscript%3E".to_owned());
    pages.push("/queue/%3Cscript%3Ealert(3)%3C%2Fscript%3E".to_owned());
    let mails: Vec<String> =
        relay.log().iter().filter(|event| event["event"] == "mail.accepted").filter_map(|event| event["mail_id"].as_str().map(str::to_owned)).collect();
    pages.extend(mails.iter().step_by(mails.len() / 40 + 1).map(|id| format!("/mail/{id}")));
    for path in pages {
        let (head, body) = scrape::get(&admin, &path);
        assert!(head.contains("content-security-policy") || head.contains("Content-Security-Policy"), "{path}: {head}");
        for tag in ["<script>alert", "<img src=x", "onerror=alert(1)>"] {
            let raw = body.find(tag).filter(|at| body[..*at].ends_with('<') || tag.starts_with('<'));
            assert!(raw.is_none(), "{path} holds {tag}");
        }
        assert!(!body.chars().any(|c| c == '\u{1b}' || c == '\u{202e}' || c == '\0'), "{path}");
    }
    let (_, metrics) = scrape::get(&admin, "/metrics");
    let values: Vec<&str> = metrics.lines().filter(|line| !line.starts_with('#')).collect(); // the help speaks of descriptors and forged addresses
    let is_theirs = |line: &&&str| ["forged", "X-Evil", "script>", "alert("].iter().any(|word| line.contains(word));
    assert_eq!(values.iter().find(is_theirs), None, "strangers' words are labels");
    scrape::Scraped::read(&metrics);
}

fn look_at_webhooks(got: &[Got]) {
    assert!(got.len() > 5, "{} requests", got.len());
    for one in got {
        for event in one.events() {
            assert!(event["type"].as_str().unwrap().starts_with("mail."), "{event}");
        }
    }
}

/// One event a line, each known to the catalogue; on a terminal nothing moves the cursor.
fn look_at_the_log(log: &[Value], format: &str) {
    assert!(log.len() > 500);
    for line in log {
        match (format, line) {
            ("json", Value::Object(fields)) => {
                let event = fields["event"].as_str().unwrap();
                assert!(postseal::events::catalogue::EVENTS.iter().any(|known| known.name == event), "{line}");
            }
            ("text", Value::String(text)) => {
                assert!(!text.chars().any(char::is_control) && !text.contains('\u{202e}') && !text.contains('\u{2028}'), "{text:?}");
                let event = text.split_whitespace().nth(2).unwrap_or_default();
                assert!(postseal::events::catalogue::EVENTS.iter().any(|known| known.name == event), "{text:?}");
            }
            other => panic!("not of this form: {other:?}"),
        }
    }
}

trait Started {
    fn start_by_format(&mut self, format: &str);
}

impl Started for RelayProcess {
    /// In the form for people there is no event to wait for by name.
    fn start_by_format(&mut self, format: &str) {
        if format == "json" {
            return self.start();
        }
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_postseal"));
        command.args(["serve", "--config"]).arg(self.config()).stdin(std::process::Stdio::null());
        self.begin_by(&mut command);
        let begun = std::time::Instant::now();
        while !self.log().iter().any(|line| line.as_str().is_some_and(|line| line.contains("relay.started"))) {
            assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn relay_address(relay: &RelayProcess, format: &str) -> String {
    if format == "json" {
        return relay.address("submission");
    }
    let log = relay.log();
    let opened = log.iter().filter_map(Value::as_str).find(|line| line.contains("listener.opened") && line.contains("listener=submission")).unwrap();
    opened.split_whitespace().find_map(|word| word.strip_prefix("address=")).unwrap().to_owned()
}
