//! Where mail goes: MX, smart hosts, TLS, and what the DNS says about it.

use super::rig::{Rig, client_tls, lab};
use crate::support::next_hop::{At, Close, NextHop, Say, Script, Tls};
use postseal::deliver::target::{Credentials, Login};
use postseal::deliver::tls::TlsDemand;
use postseal::deliver::{HostPort, Providers, Settings, SmartHost};
use postseal::events::log;
use postseal::mail::{Domain, RouteName};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ONE_HOST: &str = "
    example.com     MX 10 mx.example.com
    example.net     MX 10 mx.example.com
    mx.example.com  A 127.0.0.1
";

pub fn smart_host(route: &str, hosts: &[SocketAddr], tls: TlsDemand) -> (RouteName, Arc<SmartHost>) {
    let hosts = hosts.iter().map(|address| HostPort { host: address.ip().to_string(), port: address.port() }).collect();
    (RouteName::new(route), Arc::new(SmartHost { hosts, tls, ..SmartHost::new("unused.example", 25) }))
}

#[tokio::test]
async fn mail_goes_to_the_mx_with_its_seal_in_front() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start(ONE_HOST, &hop).await;
    rig.send(&["a@example.com"]).await;
    rig.until(1, 0, 0).await;
    let sessions = hop.sessions();
    let received = &sessions[0].transactions[0];
    assert!(received.mail.starts_with("MAIL FROM:<b0123@b.example.org>"), "{}", received.mail);
    assert!(received.octets.starts_with(b"DKIM-Signature: v=1; b=edwards\r\nDKIM-Signature: v=1; b=rivest\r\nSubject: "));
    assert_eq!((sessions[0].tls.as_deref(), sessions[0].sni.as_deref()), (Some("TLSv1_3"), Some("mx.example.com")));
    assert_eq!(rig.told_lines(), Vec::<String>::new());
}

#[tokio::test]
async fn what_the_dns_says_for_good_fails_and_its_trouble_defers() {
    let hop = NextHop::start(Script::modern());
    let zone = "
        null.example    MX 0 .
        broken.example  SERVFAIL
        silent.example  SILENT
        odd.example     MX 10 gone.odd.example
        half.example    MX 10 broken.example
    ";
    let rig = Rig::start(zone, &hop).await;
    for to in ["a@null.example", "a@nowhere.example", "a@odd.example", "a@broken.example", "a@silent.example", "a@half.example"] {
        rig.send(&[to]).await;
    }
    rig.until(0, 3, 3).await;
    let told = rig.told_lines();
    assert!(told[0].starts_with("failed 5.1.10 a@null.example: 556 5.1.10 "), "{told:?}");
    assert!(told[1].starts_with("failed 5.1.2 a@nowhere.example: there is no domain"), "{told:?}");
    assert!(told[2].starts_with("failed 5.4.4 a@odd.example: "), "{told:?}");
    // The first retry is in five minutes, more or less.
    let wait = rig.next_due_in().await.as_secs();
    assert!((240..=350).contains(&wait), "{wait}");
    assert_eq!(hop.sessions().len(), 0);
}

/// Nobody fails for good while there are hosts that nobody looked at.
#[tokio::test]
async fn hosts_without_addresses_hide_none_that_has_one() {
    let hop = NextHop::start(Script::modern());
    let mx = |domain: &str, hosts: usize| -> String { (1..=hosts).map(|n| format!("{domain} MX {n}0 mx{n}.{domain}\n")).collect() };
    let zone = [mx("six.example", 6), mx("many.example", 25), mx("few.example", 20), "mx6.six.example A 127.0.0.1\nmx25.many.example A 127.0.0.1\n".to_owned()];
    let rig = Rig::start(&zone.concat(), &hop).await;
    rig.send(&["a@six.example"]).await;
    rig.until(1, 0, 0).await;
    rig.send(&["a@many.example"]).await;
    rig.until(1, 1, 0).await;
    assert!(!rig.dns.asked().iter().any(|asked| asked.starts_with("mx21.many.example")), "four rounds of five, and no more");
    rig.send(&["a@few.example"]).await;
    rig.until(1, 1, 1).await;
    let told = rig.told_lines();
    assert!(told[0].starts_with("failed 5.4.4 a@few.example: no MX host of few.example has an address"), "{told:?}");
}

/// A host that is ourselves ends the list, however long it is.
#[tokio::test]
async fn no_host_after_ourselves_is_looked_for() {
    let hop = NextHop::start(Script::modern());
    let mut settings = lab(hop.address().port());
    settings.routes.hosts_max = 2;
    settings.routes.own_addresses = vec!["127.0.0.9".parse().unwrap()];
    let mx: String = (1..=4).map(|n| format!("example.com MX {n}0 mx{n}.example.com\n")).collect();
    let rig = Rig::start_with(&format!("{mx}mx2.example.com A 127.0.0.9\nmx3.example.com A 127.0.0.1\n"), settings).await;
    rig.send(&["a@example.com"]).await;
    rig.until(0, 0, 1).await;
    let told = rig.told_lines();
    assert!(told[0].starts_with("failed 5.4.6 a@example.com: "), "{told:?}");
}

#[tokio::test]
async fn dns_trouble_passes() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start("example.com SERVFAIL", &hop).await;
    rig.send(&["a@example.com"]).await;
    rig.until(0, 1, 0).await;
    rig.dns.replace(ONE_HOST);
    rig.advance(Duration::from_mins(6));
    rig.until(1, 1, 0).await;
}

/// What is known of the other family is of no use here; that it is all there is nobody said.
#[tokio::test]
async fn trouble_with_one_family_of_addresses_fails_nobody() {
    let hop = NextHop::start(Script::modern());
    let mut settings = lab(hop.address().port());
    settings.routes.address_preference = postseal::deliver::route::AddressPreference::Ipv4Only;
    let zone = "example.com MX 10 mx.example.com\nmx.example.com AAAA 2001:db8::1";
    let rig = Rig::start_with(&format!("{zone}\nmx.example.com SERVFAIL A"), settings).await;
    rig.send(&["a@example.com"]).await;
    rig.until(0, 1, 0).await;
    rig.dns.replace(&format!("{zone}\nmx.example.com A 127.0.0.1"));
    rig.advance(Duration::from_mins(20));
    rig.until(1, 1, 0).await;
}

#[tokio::test]
async fn a_domain_without_mx_takes_mail_at_its_own_address() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start("implicit.example A 127.0.0.1", &hop).await;
    rig.send(&["a@implicit.example"]).await;
    rig.send(&["a@[127.0.0.1]"]).await;
    rig.until(2, 0, 0).await;
}

#[tokio::test]
async fn hosts_and_addresses_are_tried_in_turn() {
    let hop = NextHop::start(Script::modern());
    let port = hop.address().port();
    let refusing = NextHop::start_at(SocketAddr::new([127, 0, 0, 3].into(), port), Script::modern().when(At::Greeting, [Say("554 5.3.2 not today"), Close]));
    let zone = "
        example.com   MX 10 dead.example.com
        example.com   MX 20 refusing.example.com
        example.com   MX 30 good.example.com
        dead.example.com A 127.0.0.2      ; nobody listens
        refusing.example.com A 127.0.0.3
        good.example.com A 127.0.0.4
        good.example.com A 127.0.0.1
    ";
    let rig = Rig::start(zone, &hop).await;
    rig.send(&["a@example.com"]).await;
    rig.until(1, 0, 0).await;
    assert_eq!((refusing.sessions().len(), hop.messages().len()), (1, 1));
}

#[tokio::test]
async fn a_better_mx_is_preferred() {
    let best = NextHop::start(Script::modern());
    let worse = NextHop::start_at(SocketAddr::new([127, 0, 0, 2].into(), best.address().port()), Script::modern());
    let zone = "
        example.com MX 20 worse.example.com
        example.com MX 10 best.example.com
        best.example.com A 127.0.0.1
        worse.example.com A 127.0.0.2
    ";
    let rig = Rig::start(zone, &best).await;
    for _ in 0..10 {
        rig.send(&["a@example.com"]).await;
    }
    rig.until(10, 0, 0).await;
    assert_eq!((best.messages().len(), worse.sessions().len()), (10, 0));
}

#[tokio::test]
async fn mail_for_ourselves_and_for_addresses_that_nobody_has_fails() {
    let hop = NextHop::start(Script::modern());
    let mut settings = lab(hop.address().port());
    settings.routes.private_addresses_allowed = false;
    settings.routes.own_names = vec![Domain::parse("relay.example").unwrap()];
    let zone = "
        loop.example MX 10 relay.example
        loop.example MX 20 other.example
        trap.example MX 10 trap.example
        trap.example A 127.0.0.1
    ";
    let rig = Rig::start_with(zone, settings).await;
    rig.send(&["a@loop.example"]).await;
    rig.send(&["a@trap.example"]).await;
    rig.until(0, 0, 2).await;
    let told = rig.told_lines();
    assert!(told[0].starts_with("failed 5.4.4 a@trap.example") && told[1].starts_with("failed 5.4.6 a@loop.example"), "{told:?}");
    assert_eq!(hop.sessions().len(), 0);
}

#[tokio::test]
async fn clear_text_follows_a_failed_handshake_only_where_tls_was_a_courtesy() {
    let hop = NextHop::start(Script::modern().tls(Tls::Broken));
    let settings =
        Settings { providers: Providers::from_toml("[provider.big]\nmx = [\"*.big.example\"]\ntls = \"required\"").unwrap(), ..lab(hop.address().port()) };
    let zone = "
        example.com MX 10 mx.example.com
        mx.example.com A 127.0.0.1
        user.big.example MX 10 mx.big.example
        mx.big.example A 127.0.0.1
    ";
    let rig = Rig::start_with(zone, settings).await;
    rig.send(&["a@example.com"]).await;
    rig.until(1, 0, 0).await;
    assert_eq!(rig.tally(|tally| &tally.clear_text_after_failed_tls), 1);
    rig.send(&["a@user.big.example"]).await;
    rig.until(1, 1, 0).await;
    assert_eq!((rig.tally(|tally| &tally.clear_text_after_failed_tls), hop.messages().len()), (1, 1));
}

#[tokio::test]
async fn required_tls_is_not_replaced_by_its_absence() {
    let hop = NextHop::start(Script::modern().tls(Tls::Off));
    let mut settings = lab(hop.address().port());
    settings.tls.domains = vec![(Domain::parse("example.com").unwrap(), TlsDemand::Required)];
    let rig = Rig::start_with(ONE_HOST, settings).await;
    rig.send(&["a@example.com"]).await;
    rig.until(0, 1, 0).await;
    // Another domain at the same host is content without. The host was left alone for a minute.
    rig.advance(Duration::from_secs(61));
    rig.send(&["a@example.net"]).await;
    rig.until(1, 1, 0).await;
    assert_eq!(hop.messages().len(), 1);
}

#[tokio::test]
async fn a_smart_host_takes_all_domains_of_a_lease_under_a_login_and_no_ed25519() {
    let hop = NextHop::start(Script::modern().user("shop", "secret"));
    let (route, host) = smart_host("ses", &[hop.address()], TlsDemand::Required);
    let login = Login::Password { user: "shop".to_owned(), password: "secret".to_owned().into() };
    let host = SmartHost { auth: Some(Credentials { login, in_clear: false }), ..(*host).clone() };
    let mut settings = lab(1);
    settings.smart_hosts.insert(route, Arc::new(host));
    let rig = Rig::start_with("", settings).await;
    rig.commit(rig.mail_by("ses", &["a@one.example", "b@two.example"])).await;
    rig.until(2, 0, 0).await;
    let sessions = hop.sessions();
    assert_eq!(sessions[0].auth, Some(("shop".to_owned(), "secret".to_owned())));
    assert_eq!(sessions[0].transactions[0].rcpts.len(), 2);
    assert!(sessions[0].transactions[0].octets.starts_with(b"DKIM-Signature: v=1; b=rivest\r\nSubject: "));
}

/// Where the log of a test goes.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_attempt_is_one_line_of_the_log_and_tells_no_secret() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt().event_format(log::Lines::Json).with_max_level(tracing::Level::TRACE);
    let subscriber = subscriber.with_writer({
        let lines = lines.clone();
        move || lines.clone()
    });
    let _logging = tracing::subscriber::set_default(subscriber.finish());
    let hop = NextHop::start(Script::modern().user("shop", "open sesame").when(At::rcpt("gone@one.example"), [Say("550 5.7.26 DMARC says no")]));
    let (route, host) = smart_host("ses", &[hop.address()], TlsDemand::Required);
    let login = |password: &str| Login::Password { user: "shop".to_owned(), password: password.to_owned().into() };
    let with = |password| Arc::new(SmartHost { auth: Some(Credentials { login: login(password), in_clear: false }), ..(*host).clone() });
    let mut settings = lab(1);
    settings.smart_hosts.extend([(route, with("open sesame")), (RouteName::new("wrong"), with("shut sesame"))]);
    let rig = Rig::start_with("", settings).await;
    let id = rig.commit(rig.mail_by("ses", &["a@one.example", "gone@one.example"])).await;
    rig.until(1, 0, 1).await;
    rig.commit(rig.mail_by("wrong", &["a@one.example"])).await;
    rig.until(1, 1, 1).await;
    let log = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let ours = |event: &str| log.lines().filter(|line| line.contains(&format!("\"event\":\"{event}\""))).map(str::to_owned).collect::<Vec<_>>();
    let (delivered, failed, deferred) = (ours("attempt.delivered"), ours("attempt.failed"), ours("attempt.deferred"));
    assert_eq!((delivered.len(), failed.len(), deferred.len()), (1, 1, 1), "{log}");
    for fact in [&id.to_string(), "\"provider\":\"ses\"", "\"queue\":\"ses/\"", "\"status\":\"2.0.0\"", "\"attempts\":1", "TLSv1.3", "\"host\":\"127.0.0.1"] {
        assert!(delivered[0].contains(fact), "{fact} is missing of {}", delivered[0]);
    }
    for fact in ["550 5.7.26 DMARC says no", "\"rule\":\"auth\"", "\"level\":\"warn\""] {
        assert!(failed[0].contains(fact), "{fact} is missing of {}", failed[0]);
    }
    assert!(!log.contains("sesame"), "{log}");
}

#[tokio::test]
async fn the_second_smart_host_is_used_when_the_first_is_gone() {
    let hop = NextHop::start(Script::modern());
    let dead = SocketAddr::new([127, 0, 0, 2].into(), hop.address().port());
    let mut settings = lab(1);
    settings.smart_hosts.extend([smart_host("ses", &[dead, hop.address()], TlsDemand::Opportunistic)]);
    let rig = Rig::start_with("", settings).await;
    rig.commit(rig.mail_by("ses", &["a@one.example"])).await;
    rig.until(1, 0, 0).await;
}

#[tokio::test]
async fn no_more_recipient_domains_than_a_session_may_carry() {
    let mut script = Script::modern();
    script.capabilities.push("LIMITS RCPTDOMAINMAX=1".to_owned());
    let hop = NextHop::start(script);
    let mut settings = lab(1);
    settings.smart_hosts.extend([smart_host("ses", &[hop.address()], TlsDemand::Opportunistic)]);
    let rig = Rig::start_with("", settings).await;
    rig.commit(rig.mail_by("ses", &["a@one.example", "b@two.example", "c@one.example"])).await;
    rig.until(3, 0, 0).await;
    let mut rcpts: Vec<usize> = hop.sessions().iter().map(|session| session.transactions.iter().map(|t| t.rcpts.len()).sum()).collect();
    rcpts.sort_unstable();
    assert_eq!(rcpts, [1, 2]);
}

#[tokio::test]
async fn a_route_that_is_not_configured_is_waited_for() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start_with("", lab(1)).await;
    rig.commit(rig.mail_by("ses", &["a@one.example"])).await;
    rig.until(0, 1, 0).await;
    let mut settings = lab(1);
    settings.smart_hosts.extend([smart_host("ses", &[hop.address()], TlsDemand::Opportunistic)]);
    rig.delivery.reload(settings, client_tls());
    rig.advance(Duration::from_mins(6));
    rig.until(1, 1, 0).await;
}
