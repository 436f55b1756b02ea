//! The watch of keys: what the real program does while the records of its keys come and go in the DNS.

use crate::support::dns::Dns;
use crate::support::next_hop::{NextHop, Script, Session};
use crate::support::ports::free_port_at;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

const RESOLVER: Ipv4Addr = Ipv4Addr::LOCALHOST;
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 3);
const KNOWN: &str = "
    example.com    NS a.ns.example
    example.com    NS b.ns.example
    a.ns.example   A  127.0.0.2
    b.ns.example   A  127.0.0.3
";
const ZONE: &str = "
    @ AUTHORITY
    example.com SOA 1
";

/// A relay, its next hop, and the DNS: a resolver and the two servers of example.com.
struct World {
    relay: RelayProcess,
    hop: NextHop,
    servers: [Dns; 2],
    _resolver: Dns,
}

impl World {
    /// With this many RSA keys, their records out; `more` is configuration.
    async fn start(keys: usize, more: &str) -> Self {
        let port = free_port_at(&[RESOLVER, FIRST, SECOND].map(IpAddr::from));
        let hop = NextHop::start(Script::modern());
        let resolver = Dns::serve_at(SocketAddr::from((RESOLVER, port)), KNOWN).await;
        let servers = [Dns::serve_at(SocketAddr::from((FIRST, port)), ZONE).await, Dns::serve_at(SocketAddr::from((SECOND, port)), ZONE).await];
        let relay = RelayProcess::new(&config(&hop, port, more));
        for _ in 1..keys {
            let made = relay.postseal(&["key", "create", "example.com", "--another", "--active", "--config", &relay.config().display().to_string()]);
            assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        }
        let mut world = Self { servers, _resolver: resolver, hop, relay };
        world.show(&world.selectors());
        world.relay.start();
        if !more.contains("manual") {
            world.looks(2).await; // the first of them has ended
        }
        world
    }

    /// The selectors of the keys there are, in order.
    fn selectors(&self) -> Vec<String> {
        let folder = std::fs::read_dir(self.relay.path().join("keys/example.com")).unwrap();
        let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut selectors: Vec<_> = names.filter_map(|name| name.strip_suffix(".rsa.pem").map(str::to_owned)).collect();
        selectors.sort();
        selectors
    }

    /// A zone with the records of these keys.
    fn zone(&self, selectors: &[String]) -> String {
        let record = |selector: &String| {
            let pem = std::fs::read_to_string(self.relay.path().join(format!("keys/example.com/{selector}.rsa.pem"))).unwrap();
            let record = postseal::keys::Record::of(postseal::keys::PrivateKey::from_pem(pem.as_bytes()).unwrap().public().clone());
            format!("{selector}._domainkey.example.com {}\n", zone_text(&record))
        };
        format!("{ZONE}{}", selectors.iter().map(record).collect::<String>())
    }

    /// Both servers show these keys.
    fn show(&self, selectors: &[String]) {
        let zone = self.zone(selectors);
        self.servers.iter().for_each(|server| server.replace(&zone));
    }

    fn submit(&self, subject: &str) {
        let mut client = SmtpClient::connect(&self.relay.address("submission")).unwrap();
        let reply = client.send("app@example.com", &["you@example.net"], &message(subject)).unwrap();
        assert!(reply.starts_with("250 "), "a submission is never refused: {reply}");
    }

    /// Waits until the next hop has it; the selectors of the signatures that it has.
    async fn signed_by(&self, subject: &str) -> Vec<String> {
        self.hop.until(|sessions| texts(sessions).iter().any(|text| is_about(text, subject))).await;
        let text = texts(&self.hop.sessions()).into_iter().find(|text| is_about(text, subject)).unwrap();
        self.selectors().into_iter().filter(|selector| text.contains(&format!(" s={selector};"))).collect()
    }

    fn has_arrived(&self, subject: &str) -> bool {
        texts(&self.hop.sessions()).iter().any(|text| is_about(text, subject))
    }

    fn count(&self, event: &str) -> usize {
        self.relay.log().iter().filter(|line| line["event"] == event).count()
    }

    /// Waits until each server was asked for a key record this often more.
    async fn looks(&self, more: usize) {
        let looks = || self.servers.each_ref().map(|server| server.asked().iter().filter(|asked| asked.ends_with("_domainkey.example.com TXT")).count());
        let until = looks().map(|count| count + more);
        for _ in 0..3000 {
            if looks().iter().zip(&until).all(|(now, until)| now >= until) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the watch does not look: {:?} of {until:?}", looks());
    }
}

/// As the stub's zone has it.
fn zone_text(record: &postseal::keys::Record) -> String {
    format!("TXT {}", postseal::dns::Data::Txt(record.to_string()).zone_text())
}

/// What the next hop took, each message whole.
fn texts(sessions: &[Session]) -> Vec<String> {
    let taken = sessions.iter().flat_map(|session| &session.transactions).filter(|received| received.taken);
    taken.map(|received| String::from_utf8_lossy(&received.octets).into_owned()).collect()
}

fn is_about(text: &str, subject: &str) -> bool {
    text.contains(&format!("\r\nSubject: {subject}\r\n"))
}

fn config(hop: &NextHop, dns_port: u16, more: &str) -> String {
    let deliver = if more.contains("[deliver]") { "" } else { "[deliver]\nretry = [\"1s\"]\n" };
    let (host, port) = (hop.address().ip(), hop.address().port());
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{host}"
        port = {port}
        tls = "opportunistic"
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [resolver]
        nameservers = ["127.0.0.1:{dns_port}"]
        authoritative_port = {dns_port}
        timeout = "300ms"
        attempts = 0
        {deliver}
        {more}
        {}
        "#,
        if more.contains("[watch]") { "" } else { WATCH }
    )
}

const WATCH: &str = "[watch]\nevery_min = \"100ms\"\nevery_max = \"300ms\"\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_record_is_gone_rests_while_another_signs_and_signs_again_when_it_is_back() {
    let mut world = World::start(2, "").await;
    let keys = world.selectors();
    world.submit("before");
    assert_eq!(world.signed_by("before").await, keys);

    world.servers[1].replace(&world.zone(&keys[1..])); // one server is enough: a verifier may ask it
    let event = world.relay.wait_for("key.missed");
    assert_eq!((event["servers"].as_str(), event["rule"].as_str()), (Some("b.ns.example"), Some("dkim")), "{event}");
    assert!(event["key"].as_str().unwrap().starts_with(&keys[0]), "{event}");
    world.relay.wait_for("key.suspended");
    world.submit("without");
    assert_eq!(world.signed_by("without").await, keys[1..]);
    // A reload does not forget.
    world.relay.signal("HUP");
    world.relay.wait_for("config.reloaded");
    world.submit("reloaded");
    assert_eq!(world.signed_by("reloaded").await, keys[1..]);

    world.show(&keys);
    world.relay.wait_until("key.recovered", |event| event["key"].as_str().is_some_and(|key| key.starts_with(&keys[0])));
    world.submit("after");
    assert_eq!(world.signed_by("after").await, keys);
    assert_eq!((world.count("key.missed"), world.count("key.suspended"), world.count("domain.held")), (1, 1, 0));
    assert_eq!(world.relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn mail_of_a_domain_without_a_key_to_be_found_waits_in_the_spool_and_goes_by_itself() {
    let mut world = World::start(1, "").await;
    let keys = world.selectors();
    world.show(&[]);
    world.relay.wait_for("domain.held");
    for subject in ["one", "two"] {
        world.submit(subject);
    }
    let held = world.relay.wait_for("mail.held");
    assert!(held["error"].as_str().unwrap().contains("a.ns.example") && held["recipients"] == 1, "{held}");
    world.looks(3).await;
    // Another start remembers nothing, but sees it again; what it sends meanwhile is what any relay would.
    assert!(!world.has_arrived("one") && !world.has_arrived("two"));
    assert!(world.hop.sessions().is_empty(), "no next hop was talked to");

    world.show(&keys);
    world.relay.wait_for("domain.released");
    for subject in ["one", "two"] {
        assert_eq!(world.signed_by(subject).await, keys);
    }
    let delivered: Vec<Value> = world.relay.log().into_iter().filter(|line| line["event"] == "attempt.delivered").collect();
    assert!(delivered.iter().all(|line| line["attempts"] == 1), "being held is no attempt: {delivered:?}");
    assert_eq!(world.count("attempt.deferred"), 0);
    assert_eq!(world.relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_fail_or_fall_silent_change_nothing() {
    let mut world = World::start(1, "").await;
    let keys = world.selectors();
    let name = format!("{}._domainkey.example.com", keys[0]);
    for trouble in [format!("{name} SERVFAIL"), format!("{ZONE}\n{name} SILENT"), format!("{name} TXT \"no authority\""), String::new()] {
        world.servers.iter().for_each(|server| server.replace(&trouble)); // the last one lets the zone fall: no AA, no records
        world.looks(4).await;
        world.submit(&format!("during {}", trouble.len()));
        assert_eq!(world.signed_by(&format!("during {}", trouble.len())).await, keys);
    }
    // Neither absence among trouble, as long as it is not seen often enough.
    for event in ["key.doubted", "key.missed", "key.differed", "key.suspended", "domain.held", "mail.held"] {
        assert_eq!(world.count(event), 0, "{event}");
    }
    assert_eq!(world.relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn by_policy_a_loss_is_only_told_or_holds_the_mail_whatever_other_keys_there_are() {
    let mut world = World::start(1, &format!("{WATCH}lost_key = \"warn\"\n")).await;
    let keys = world.selectors();
    let other = format!("{ZONE}{}._domainkey.example.com TXT \"v=DKIM1; p=\"", keys[0]);
    world.servers.iter().for_each(|server| server.replace(&other));
    let event = world.relay.wait_for("key.differed");
    assert!(event["error"].as_str().unwrap().contains("revoked") && event["servers"] == "a.ns.example, b.ns.example", "{event}");
    world.submit("warned");
    assert_eq!(world.signed_by("warned").await, keys);
    assert_eq!(world.count("domain.held") + world.count("key.suspended"), 0);
    assert_eq!(world.relay.stop().0, Some(0));

    let mut world = World::start(2, &format!("{WATCH}lost_key = \"hold\"\n")).await;
    let keys = world.selectors();
    world.show(&keys[1..]);
    world.relay.wait_for("domain.held");
    world.submit("held");
    world.relay.wait_for("mail.held");
    assert!(!world.has_arrived("held"));
    world.show(&keys);
    assert_eq!(world.signed_by("held").await, keys);
    assert_eq!(world.relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn held_mail_that_grows_too_old_is_returned_with_the_reason() {
    let mut world = World::start(1, "[deliver]\nmax_age = \"4s\"\ngrace_after_start = \"0s\"\nretry = [\"1s\"]\n").await;
    world.show(&[]);
    world.relay.wait_for("domain.held");
    world.submit("too old");
    let failed = world.relay.wait_for("attempt.failed");
    assert_eq!(failed["status"], "4.4.7", "{failed}");
    // The notice itself is not held: whoever hears nothing is worse off.
    world.hop.until(|sessions| texts(sessions).iter().any(|text| text.contains("held, because"))).await;
    let notice = texts(&world.hop.sessions()).remove(0);
    assert!(notice.contains("Action: failed") && notice.contains("the DNS does not show the DKIM key"), "{notice}");
    assert_eq!(world.relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_never_there_is_told_and_nothing_more() {
    let mut world = World::start(1, "").await;
    world.relay.stop();
    world.show(&[]);
    world.relay.start();
    world.relay.wait_for("key.missed");
    world.submit("unpublished");
    assert_eq!(world.signed_by("unpublished").await, world.selectors());
    assert_eq!(world.count("domain.held"), 0);
    // Once seen, it counts.
    world.show(&world.selectors());
    world.relay.wait_for("key.recovered");
    world.show(&[]);
    world.relay.wait_for("domain.held");
    assert_eq!(world.relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_operators_word_counts_the_watch_only_tells() {
    let mut world = World::start(1, "[rotation]\nevidence = \"manual\"\n").await;
    // The resolver knows nothing of the record.
    let event = world.relay.wait_for("key.missed");
    assert!(event["servers"].as_str().unwrap().starts_with("resolver 127.0.0.1:"), "{event}");
    world.submit("manual");
    assert_eq!(world.signed_by("manual").await, world.selectors());
    assert_eq!(world.count("domain.held"), 0);
    assert_eq!(world.relay.stop().0, Some(0));
}

/// The emergency: a key that leaked is revoked while the relay runs and mail that it signed waits in the queue.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_at_once_signs_nothing_within_seconds_and_queued_mail_is_sealed_anew_by_the_other() {
    let mut world = World::start(2, "").await;
    let keys = world.selectors();
    world.show(&[]);
    world.relay.wait_for("domain.held");
    world.submit("queued");
    world.relay.wait_for("mail.held");

    revoke(&world.relay, &keys[0], &[]);
    world.relay.wait_for("keys.reloaded");
    world.show(&keys[1..]);
    world.submit("new");
    for subject in ["queued", "new"] {
        assert_eq!(world.signed_by(subject).await, keys[1..], "{subject}");
    }
    world.relay.wait_for("mail.sealed_again");
    assert_eq!(world.relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_mail_whose_only_key_is_revoked_waits_until_another_signs() {
    let mut world = World::start(1, "").await;
    let old = world.selectors();
    world.show(&[]);
    world.relay.wait_for("domain.held");
    world.submit("queued");
    world.relay.wait_for("mail.held");

    revoke(&world.relay, &old[0], &["--leave-unsigned"]);
    world.relay.wait_for("domain.released"); // no key is lost any more: there is none
    let no_key = |event: &Value| event["error"].as_str().is_some_and(|error| error.contains("no active RSA key for example.com"));
    world.relay.wait_until("mail.held", no_key);
    // A restart, with the keys as they are, does not let it go either.
    world.relay.kill();
    world.relay.start();
    world.relay.wait_until("mail.held", no_key);
    assert!(!world.has_arrived("queued"), "it went out with a signature that fails");

    let made = world.relay.postseal(&["key", "create", "example.com", "--config", &world.relay.config().display().to_string()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let new: Vec<_> = world.selectors().into_iter().filter(|selector| !old.contains(selector)).collect();
    world.show(&new);
    assert_eq!(world.signed_by("queued").await, new);
    assert_eq!(world.relay.stop().0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn queued_mail_whose_only_key_is_revoked_goes_unsigned_where_mail_without_a_key_does() {
    let mut world = World::start(1, "[seal]\nno_key = \"pass\"\n").await;
    let old = world.selectors();
    world.show(&[]);
    world.relay.wait_for("domain.held");
    world.submit("queued");
    world.relay.wait_for("mail.held");
    revoke(&world.relay, &old[0], &["--leave-unsigned"]);
    assert_eq!(world.signed_by("queued").await, Vec::<String>::new());
    let text = texts(&world.hop.sessions()).into_iter().find(|text| is_about(text, "queued")).unwrap();
    assert!(!text.contains("DKIM-Signature:") && !text.contains("ARC-Seal:"), "{text}");
    world.relay.wait_for("resealing.failed");
    assert_eq!(world.relay.stop().0, Some(0));
}

/// A file of some other domain that cannot be read keeps all keys from being read anew, but not a leaked one in use.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_revoked_at_once_signs_no_more_though_other_keys_cannot_be_read() {
    let mut world = World::start(2, "").await;
    let keys = world.selectors();
    let other = world.relay.path().join("keys/other.example");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("broken.rsa.pem"), "no key").unwrap();
    world.relay.wait_for("keys.rejected");
    revoke(&world.relay, &keys[0], &[]);
    let told = world.relay.wait_until("keys.rejected", |event| event["error"].as_str().is_some_and(|error| error.contains("is revoked")));
    assert!(told["error"].as_str().unwrap().contains(&keys[0]), "{told}");
    world.submit("after");
    assert_eq!(world.signed_by("after").await, keys[1..]);
    assert_eq!(world.relay.stop().0, Some(0));
}

/// A drive that waits for silent servers keeps nobody from taking up what happens to other keys.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_taken_up_while_servers_of_another_domain_are_waited_for() {
    let hop = NextHop::start(Script::modern());
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let config = config(&hop, silent.local_addr().unwrap().port(), WATCH)
        .replace("timeout = \"300ms\"", "timeout = \"30s\"")
        .replace("[\"example.com\"]", "[\"example.com\", \"slow.example\"]");
    let mut relay = RelayProcess::new(&config);
    relay.create_key("slow.example");
    let made = relay.postseal(&["key", "create", "slow.example", "--another", "--config", &relay.config().display().to_string()]);
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    relay.start();
    silent.recv_from(&mut [0; 512]).unwrap();
    let mut selector = std::fs::read_dir(relay.path().join("keys/example.com")).unwrap();
    let selector = selector.find_map(|entry| entry.unwrap().file_name().to_str()?.strip_suffix(".rsa.pem").map(str::to_owned)).unwrap();
    std::thread::sleep(Duration::from_secs(3)); // the drive is under way
    revoke(&relay, &selector, &["--leave-unsigned"]);
    relay.wait_for("keys.reloaded"); // sooner than a time-out
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    let reply = client.send("app@example.com", &["you@example.net"], &message("late")).unwrap();
    assert!(!reply.starts_with('2'), "{reply}");
    relay.kill();
}

fn revoke(relay: &RelayProcess, selector: &str, more: &[&str]) {
    let (key, config) = (format!("example.com/{selector}"), relay.config().display().to_string());
    let revoked = relay.postseal(&[&["key", "revoke", &key, "--now", "--config", &config], more].concat());
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));
}
