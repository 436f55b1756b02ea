//! From a submission to what its submitter hears: the real program between an application and a next hop that does as it is told.

use crate::support::dns::Dns;
use crate::support::next_hop::{At, NextHop, Received, Rule, Say, Script};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, DkimResult, MessageAuthenticator};
use postseal::dns::Data;
use postseal::keys::{self, Keyring};
use postseal::mail::dsn::{Action, Report};
use postseal::mail::{Domain, EnhancedCode, Mailbox, ReversePath};
use postseal::readdress::{Ring, TokenSecret};
use postseal::spool::{Records, Settings, SqliteSpool};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const GONE: &str = "550 5.1.1 no such user here";
const APP: &str = "app@example.com";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_recipient_comes_home_in_a_sealed_notice() {
    let hop = NextHop::start(Script::modern().when(At::rcpt("gone@example.net"), [Say(GONE)]));
    let relay = started(&by_smart_host(&hop, ""));
    let rcpts = ["<gone@example.net> NOTIFY=FAILURE,DELAY ORCPT=rfc822;first@example.org", "<here@example.net>"];
    submit(&relay, "<app@example.com> RET=HDRS ENVID=order+2B17", &rcpts, &message("greetings"));
    let notice = one_notice(&hop).await;

    assert_eq!(notice.rcpts, ["RCPT TO:<app@example.com>"]);
    let told = Report::parse(&notice.octets).unwrap();
    assert_eq!(told.envid.as_deref(), Some("order+17"));
    let [of_gone] = &told.recipients[..] else { panic!("{told:?}") };
    assert_eq!((of_gone.last.text.as_str(), of_gone.action, of_gone.status), ("gone@example.net", Action::Failed, Some(EnhancedCode::new(5, 1, 1))));
    assert_eq!(of_gone.original.as_ref().map(|original| original.text.as_str()), Some("first@example.org"));
    assert!(of_gone.diagnostic.as_ref().unwrap().text.contains("no such user here"), "{of_gone:?}");
    let text = String::from_utf8_lossy(&notice.octets).into_owned();
    assert!(text.contains("Subject: greetings") && !text.contains("Hello, this is"), "RET=HDRS: {text}");
    assert!(text.contains("From: Mail Delivery System <mailer-daemon@example.com>"), "{text}");
    assert_eq!(signers(&relay, &notice.octets).await, ["example.com"]);
    let delivered = submissions(&hop);
    assert_eq!((delivered.len(), delivered[0].rcpts.len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_wants_no_notice_gets_none_and_nobody_hears_of_a_null_sender() {
    let hop = NextHop::start(Script::modern().when(At::Rcpt(None), [Say(GONE)]));
    let relay = started(&by_smart_host(&hop, ""));
    submit(&relay, "<app@example.com>", &["<a@example.net> NOTIFY=NEVER"], &message("never"));
    submit(&relay, "<app@example.com>", &["<b@example.net> NOTIFY=SUCCESS,DELAY"], &message("not of failures"));
    submit(&relay, "<>", &["<c@example.net>"], &message("null"));
    until(|| events(&relay, "attempt.failed").len() == 3).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(events(&relay, "notice.made").len(), 0);
    let rcpts: Vec<String> =
        hop.sessions().into_iter().flat_map(|session| session.commands).map(|command| command.line).filter(|line| line.contains(APP)).collect();
    assert_eq!(rcpts, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn success_is_told_where_the_next_hop_will_not_tell_it() {
    let hop = NextHop::start(Script::modern());
    let relay = started(&by_smart_host(&hop, ""));
    submit(&relay, "<app@example.com>", &["<a@example.net> NOTIFY=SUCCESS", "<b@example.net>"], &message("asked"));
    let told = Report::parse(&one_notice(&hop).await.octets).unwrap();
    let [recipient] = &told.recipients[..] else { panic!("{told:?}") };
    assert_eq!((recipient.last.text.as_str(), recipient.action), ("a@example.net", Action::Relayed));

    let mut with_dsn = Script::modern();
    with_dsn.capabilities.push("DSN".to_owned());
    let hop = NextHop::start(with_dsn);
    let relay = started(&by_smart_host(&hop, ""));
    submit(&relay, "<app@example.com> ENVID=17", &["<a@example.net> NOTIFY=SUCCESS"], &message("asked"));
    until(|| events(&relay, "attempt.delivered").len() == 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let [passed_on] = &submissions(&hop)[..] else { panic!("{:?}", hop.messages()) };
    assert!(passed_on.rcpts[0].contains("NOTIFY=SUCCESS") && passed_on.mail.contains("ENVID=17"), "{passed_on:?}");
    assert_eq!(events(&relay, "notice.made").len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn greylisted_mail_is_late_once_and_arrives_from_the_same_sender() {
    let hop = NextHop::start(Script::modern().rule(Rule::at(At::rcpt("a@example.net")).times(4).then([Say("450 4.7.1 greylisted")])));
    let relay = started(&by_smart_host(&hop, "retry = [\"1s\", \"2s\", \"1s\"]\njitter_percent = 0\ndelay_notice_after = \"2s\""));
    let began = Instant::now();
    submit(&relay, "<app@example.com>", &["<a@example.net>"], &message("late"));
    until(|| submissions(&hop).len() == 1).await;
    assert!(began.elapsed() >= Duration::from_secs(5) && began.elapsed() < Duration::from_secs(30), "1 + 2 + 1 + 1 seconds, not {:?}", began.elapsed());
    until(|| events(&relay, "attempt.deferred").len() == 4).await;

    let told = Report::parse(&one_notice(&hop).await.octets).unwrap();
    assert_eq!((told.recipients[0].action, told.recipients[0].retry_until.is_some()), (Action::Delayed, true));
    assert_eq!(events(&relay, "notice.made").len(), 1, "deferred three times since it was late, and told once");
    let commands = hop.sessions().into_iter().flat_map(|session| session.commands);
    let mut senders: Vec<String> = commands.filter(|command| command.line.starts_with("MAIL FROM:<b")).map(|command| reverse_path(&command.line)).collect();
    assert_eq!(senders.len(), 5);
    senders.dedup();
    assert_eq!(senders.len(), 1, "a receiver that greylists by sender would never take it: {senders:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_refused_for_two_fails_for_one() {
    let script = Script::modern()
        .rule(Rule::at(At::Message).in_session(0).in_transaction(0).then([Say("554 5.7.1 somebody here does not want it")]))
        .rule(Rule::at(At::Message).in_session(0).in_transaction(2).then([Say("554 5.7.1 I do not want it")]));
    let hop = NextHop::start(script);
    let relay = started(&by_smart_host(&hop, ""));
    submit(&relay, "<app@example.com>", &["<a@example.net>", "<b@example.net>"], &message("for two"));
    let told = Report::parse(&one_notice(&hop).await.octets).unwrap();
    let failed: Vec<&str> = told.recipients.iter().map(|recipient| recipient.last.text.as_str()).collect();
    assert_eq!(failed, ["b@example.net"]);
    assert_eq!(submissions(&hop).iter().map(|taken| taken.rcpts.clone()).collect::<Vec<_>>(), [["RCPT TO:<a@example.net>"]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_stream_gives_up_after_its_own_age_with_the_last_words() {
    let hop = NextHop::start(Script::modern().when(At::rcpt("full@example.net"), [Say("452 4.2.2 the mailbox is full")]));
    let settings =
        "retry = [\"1h\"]\njitter_percent = 0\ngrace_after_start = \"0s\"\ndelay_notice_after = \"0s\"\n[streams.bulk]\nretry = [\"3s\"]\nmax_age = \"6s\"";
    let relay = started(&by_smart_host(&hop, settings));
    submit(&relay, "<app@example.com>", &["<full@example.net>"], &message("patient"));
    submit(&relay, "<app@example.com>", &["<full@example.net>"], &format!("X-Postseal-Stream: bulk\r\n{}", message("hasty")));
    let notice = one_notice(&hop).await;
    let told = Report::parse(&notice.octets).unwrap();
    assert_eq!((told.recipients[0].action, told.recipients[0].status), (Action::Failed, Some(EnhancedCode::new(4, 4, 7))));
    assert!(told.recipients[0].diagnostic.as_ref().unwrap().text.contains("the mailbox is full"), "{told:?}");
    assert!(String::from_utf8_lossy(&notice.octets).contains("Subject: hasty"));
    let attempts = |stream: &str| events(&relay, "attempt.deferred").iter().filter(|event| event["stream"] == stream).count();
    assert_eq!((attempts("default"), attempts("bulk")), (1, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sender_on_the_wire_leads_back_to_who_sent_which_message_to_whom() {
    let hop = NextHop::start(Script::modern());
    let mut relay = started(&by_smart_host(&hop, ""));
    submit(&relay, "<app@example.com>", &["<a@example.net>"], &message("one"));
    submit(&relay, "<orders@example.com>", &["<b@example.net>"], &message("two"));
    until(|| events(&relay, "attempt.delivered").len() == 2).await;
    let accepted: Vec<String> = events(&relay, "mail.accepted").iter().map(|event| event["mail_id"].as_str().unwrap().to_owned()).collect();
    let expected = [("a@example.net", APP, &accepted[0]), ("b@example.net", "orders@example.com", &accepted[1])];
    let (code, _) = relay.stop();
    assert_eq!(code, Some(0));

    let secrets = keys::load_token_secrets(&relay.path().join("keys")).unwrap();
    let secrets: Vec<TokenSecret<'_>> = secrets.iter().map(|secret| TokenSecret { key_id: secret.id, octets: secret.secret.as_slice() }).collect();
    let ring = Ring::new(&secrets, 30).unwrap();
    let (spool, _) = SqliteSpool::open(Settings { reserve_octets: 0, ..Settings::in_directory(relay.path().join("spool")) }, postseal::clock::now()).unwrap();
    for (recipient, sender, id) in expected {
        let sent = submissions(&hop).into_iter().find(|sent| sent.rcpts[0].contains(recipient)).unwrap();
        let path: Mailbox = reverse_path(&sent.mail).parse().unwrap();
        let domain = path.domain().unwrap();
        assert_eq!(domain.as_str(), "b.example.com");
        let contents = ring.open(&path.local, domain, postseal::clock::now()).unwrap();
        assert_eq!(contents.message.unwrap().to_string(), *id);
        assert!(ring.is_for(&contents, &recipient.parse().unwrap()) && !ring.is_for(&contents, &"c@example.net".parse().unwrap()));
        assert_eq!(spool.sender(contents.sender_id).await.unwrap().unwrap().to_string(), sender);
        let history = spool.history(contents.message.unwrap()).await.unwrap().unwrap();
        assert_eq!(history.original_reverse_path, ReversePath::Mailbox(sender.parse().unwrap()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rate_limit_of_the_provider_pauses_all_its_hosts_and_no_others() {
    let google = NextHop::start(Script::modern().when(At::Mail, [Say("421 4.7.28 an unusual rate of mail from your address")]));
    let port = google.address().port();
    let other = NextHop::start_at(SocketAddr::new([127, 0, 0, 2].into(), port), Script::modern());
    let zone = "
        gmail.example  MX 5 gmail-smtp-in.l.google.com
        work.example   MX 5 aspmx.l.google.com
        other.example  MX 5 mx.other.example
        gmail-smtp-in.l.google.com A 127.0.0.1
        aspmx.l.google.com A 127.0.0.1
        mx.other.example A 127.0.0.2
    ";
    let dns = Dns::serve(zone).await;
    let relay = started(&by_mx(&dns, port));
    submit(&relay, "<app@example.com>", &["<a@gmail.example>"], &message("too fast"));
    let slowed = waited_for(&relay, "provider.slowed").await;
    assert_eq!(slowed["provider"], "google");
    let until_when = slowed["until"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let wait = until_when - postseal::clock::now().unix_millis();
    assert!((580_000..=660_000).contains(&wait), "ten minutes or a little more, not {wait} ms");
    let sessions = google.sessions().len();
    submit(&relay, "<app@example.com>", &["<b@work.example>", "<c@other.example>"], &message("meanwhile"));
    until(|| submissions(&other).len() == 1).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(google.sessions().len(), sessions, "nobody of the provider is talked to in the pause");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_leave_by_the_name_and_address_of_their_pool() {
    let hop = NextHop::start(Script::modern());
    let dns = Dns::serve("example.net MX 10 mx.example.net\nmx.example.net A 127.0.0.1").await;
    let pool = "[streams.bulk]\npool = \"bulk\"\n[pools.bulk]\nehlo_name = \"bulk.example.com\"\nsource_v4 = \"127.0.0.9\"\n";
    let relay = started(&format!("{}\n{pool}", by_mx(&dns, hop.address().port())));
    submit(&relay, "<app@example.com>", &["<you@example.net>"], &message("single"));
    submit(&relay, "<app@example.com>", &["<you@example.net>"], &format!("X-Postseal-Stream: bulk\r\n{}", message("many")));
    until(|| hop.messages().len() == 2).await;
    let mut seen: Vec<(String, String, bool)> = Vec::new();
    for session in hop.sessions().iter().filter(|session| !session.transactions.is_empty()) {
        let subject = String::from_utf8_lossy(&session.transactions[0].octets).lines().find_map(|line| line.strip_prefix("Subject: ").map(str::to_owned));
        let ehlo = session.commands.iter().rev().find(|command| command.line.starts_with("EHLO ")).unwrap().line.clone();
        seen.push((subject.unwrap(), ehlo, session.client.unwrap().ip().to_string() == "127.0.0.9"));
    }
    seen.sort();
    assert_eq!(seen, [("many".into(), "EHLO bulk.example.com".into(), true), ("single".into(), "EHLO relay.example.com".into(), false)]);
}

fn by_smart_host(hop: &NextHop, deliver: &str) -> String {
    format!(
        "{HOUSE}
        [routes]
        default = \"hop\"
        [smart_hosts.hop]
        host = \"{}\"
        port = {}
        tls = \"opportunistic\"
        connections_max = 1
        [deliver]
        {deliver}",
        hop.address().ip(),
        hop.address().port()
    )
}

fn by_mx(dns: &Dns, port: u16) -> String {
    format!("{HOUSE}\n[resolver]\nnameservers = [\"{}\"]\n[deliver]\nmx_port = {port}\nprivate_addresses_allowed = true", dns.address())
}

const HOUSE: &str = r#"
    [server]
    hostname = "relay.example.com"
    [listeners.submission]
    address = "127.0.0.1:0"
    tls = "none"
    [identities.app]
    networks = ["127.0.0.0/8"]
    author_domains = ["example.com"]
    [domains."example.com"]
    [spool]
    reserve_octets = "64 MiB"
    wal_octets_max = "32 MiB"
"#;

fn started(config: &str) -> RelayProcess {
    tokio::task::block_in_place(|| {
        let mut relay = RelayProcess::new(config);
        relay.start();
        relay
    })
}

/// Submits, all of it accepted; the arguments of MAIL and RCPT with their parameters.
fn submit(relay: &RelayProcess, from: &str, to: &[&str], message: &str) {
    tokio::task::block_in_place(|| {
        let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
        let commands = std::iter::once(format!("MAIL FROM:{from}")).chain(to.iter().map(|to| format!("RCPT TO:{to}")));
        for command in commands {
            let reply = client.command(&command).unwrap();
            assert!(reply.starts_with("250"), "{command}: {reply}");
        }
        assert!(client.command("DATA").unwrap().starts_with("354"));
        client.write(message).unwrap();
        let reply = client.command(".").unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    });
}

fn events(relay: &RelayProcess, event: &str) -> Vec<serde_json::Value> {
    relay.log().into_iter().filter(|line| line["event"] == event).collect()
}

async fn waited_for(relay: &RelayProcess, event: &str) -> serde_json::Value {
    until(|| !events(relay, event).is_empty()).await;
    events(relay, event).remove(0)
}

/// Fails after a minute.
async fn until(shows: impl Fn() -> bool) {
    for _ in 0..6000 {
        if shows() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it never came");
}

/// What the hop took that is no notice.
fn submissions(hop: &NextHop) -> Vec<Received> {
    hop.messages().into_iter().filter(|received| received.taken && !is_notice(received)).collect()
}

fn is_notice(received: &Received) -> bool {
    received.mail.starts_with("MAIL FROM:<>")
}

/// The only notice there is, nor comes another one.
async fn one_notice(hop: &NextHop) -> Received {
    let notices = || hop.messages().into_iter().filter(|received| received.taken && is_notice(received)).collect::<Vec<_>>();
    until(|| !notices().is_empty()).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut found = notices();
    assert_eq!(found.len(), 1, "{found:#?}");
    found.remove(0)
}

fn reverse_path(mail: &str) -> String {
    mail.split(['<', '>']).nth(1).unwrap().to_owned()
}

/// Domains whose signatures verify by the keys of the relay.
async fn signers(relay: &RelayProcess, message: &[u8]) -> Vec<String> {
    let keyring = Keyring::load(&relay.path().join("keys")).unwrap();
    let keys = keyring.keys(&Domain::parse("example.com").unwrap());
    let zone: Vec<String> = keys.iter().map(|key| format!("{} TXT {}", key.id, Data::Txt(key.record().unwrap().to_string()).zone_text())).collect();
    let dns = Dns::serve(&zone.join("\n")).await;
    let mut connection = ConnectionConfig::new(ProtocolConfig::Udp);
    connection.port = dns.address().port();
    let server = NameServerConfig::new(dns.address().ip(), true, vec![connection]);
    let authenticator = MessageAuthenticator::new(ResolverConfig::from_name_servers(vec![server]), ResolverOpts::default()).unwrap();
    let parsed = AuthenticatedMessage::parse(message).unwrap();
    let outputs = authenticator.verify_dkim(&parsed).await;
    let sound = outputs.iter().filter(|output| matches!(output.result(), DkimResult::Pass));
    sound.filter_map(|output| output.signature()).map(|signature| signature.d.clone()).collect()
}
