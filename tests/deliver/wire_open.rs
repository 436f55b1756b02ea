//! Opening sessions: greeting, EHLO, TLS by demand, AUTH, and what each failure means.

use super::wire::{client_tls, target, timeouts};
use crate::support::next_hop::{At, Close, NextHop, Raw, Rule, Say, Script, Tls, Wait};
use crate::support::ports::free_port;
use postseal::deliver::connection::Connection;
use postseal::deliver::target::{Credentials, Login, OpenFault, Target, Timeouts};
use postseal::deliver::tls::{ClientTls, Roots, TlsDemand, TlsSettings};
use postseal::mail::{Blame, Outcome, Timestamp};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

async fn open(target: &Target) -> Result<Connection, OpenFault> {
    Connection::open(target, &client_tls(), &timeouts()).await
}

/// What opening came to: the TLS version, or the fault's outcome and words.
fn shown(target: &Target, opened: &Result<Connection, OpenFault>) -> String {
    match opened {
        Ok(connection) => connection.tls().map_or("clear", |tls| tls.version).to_owned(),
        Err(fault) => {
            let (word, status) = match fault.outcome(target, Timestamp::EPOCH) {
                Outcome::Delivered(evidence) => ("delivered", evidence.status),
                Outcome::Deferred(evidence) => ("deferred", evidence.status),
                Outcome::Failed(evidence) => ("failed", evidence.status),
            };
            let clear = if fault.may_go_in_clear(target) { ", clear may do" } else { "" };
            format!("{word} {status}{clear}: {fault}")
        }
    }
}

async fn check(script: Script, terms: impl Fn(Target) -> Target, expect: &str) {
    let hop = NextHop::start(script);
    let target = terms(target(&hop));
    let opened = open(&target).await;
    let shown = shown(&target, &opened);
    assert!(shown.starts_with(expect), "{shown:?}, expected {expect:?}");
}

fn demand(tls: TlsDemand) -> impl Fn(Target) -> Target {
    move |target| Target { tls, ..target }
}

#[tokio::test]
async fn tls_is_as_demanded() {
    use TlsDemand::{None, Opportunistic, Required, Verified};
    for (offered, demanded, expect) in [
        (Tls::StartTls, None, "clear"),
        (Tls::StartTls, Opportunistic, "TLSv1.3"),
        (Tls::StartTls, Required, "TLSv1.3"),
        (Tls::StartTls12, Opportunistic, "TLSv1.2"),
        (Tls::StartTls, Verified, "deferred 4.7.5: TLS handshake failed: the certificate is not from a trusted authority"),
        (Tls::Off, None, "clear"),
        (Tls::Off, Opportunistic, "clear"),
        (Tls::Off, Required, "deferred 4.7.10: TLS is required"),
        (Tls::Off, Verified, "deferred 4.7.10: TLS is required"),
        (Tls::Broken, None, "clear"),
        (Tls::Broken, Opportunistic, "deferred 4.7.5, clear may do: TLS handshake failed"),
        (Tls::Broken, Required, "deferred 4.7.5: TLS handshake failed"),
        (Tls::Broken, Verified, "deferred 4.7.5: TLS handshake failed"),
    ] {
        check(Script::modern().tls(offered), demand(demanded), expect).await;
    }
    for demanded in [Opportunistic, Required] {
        check(Script::modern().tls(Tls::Implicit), |target| Target { implicit_tls: true, tls: demanded, ..target }, "TLSv1.3").await;
    }
}

#[tokio::test]
async fn after_a_broken_handshake_a_fresh_connection_in_clear_does_it() {
    let hop = NextHop::start(Script::modern().tls(Tls::Broken));
    let target = target(&hop);
    let fault = open(&target).await.err().unwrap();
    assert!(fault.may_go_in_clear(&target));
    assert!(open(&target.in_clear()).await.unwrap().tls().is_none());
    assert!(!fault.may_go_in_clear(&Target { implicit_tls: true, ..target.clone() }));
    assert!(!fault.may_go_in_clear(&Target { tls: TlsDemand::Required, ..target }));
}

#[tokio::test]
async fn a_handshake_that_never_comes_runs_out_of_time() {
    let hop = NextHop::start(Script::modern().tls(Tls::Silent));
    let target = target(&hop);
    let opened = Connection::open(&target, &client_tls(), &Timeouts { starttls: Duration::from_millis(100), ..timeouts() }).await;
    assert_eq!(shown(&target, &opened), "deferred 4.4.2, clear may do: no answer in time: STARTTLS");
}

#[tokio::test]
async fn a_verified_certificate_must_be_of_the_name_and_of_a_trusted_root() {
    let hop = NextHop::start(Script::modern().named("mx.example.com"));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), hop.certificate()).unwrap();
    for roots in [Roots::System, Roots::BuiltIn, Roots::OnlyCaFile] {
        let tls = ClientTls::new(&TlsSettings { roots, ca_file: Some(file.path().to_owned()) }).unwrap();
        for (host, demand, expect) in [
            ("mx.example.com", TlsDemand::Verified, "TLSv1.3"),
            ("mx.example.com.", TlsDemand::Verified, "TLSv1.3"),
            ("other.example.com", TlsDemand::Verified, "deferred 4.7.5: TLS handshake failed: the certificate is not valid for the server's name"),
            ("127.0.0.1", TlsDemand::Verified, "deferred 4.7.5: TLS handshake failed: the certificate is not valid for the server's name"),
            ("other.example.com", TlsDemand::Required, "TLSv1.3"),
        ] {
            let target = Target { host: host.to_owned(), tls: demand, ..target(&hop) };
            let opened = Connection::open(&target, &tls, &timeouts()).await;
            assert_eq!(shown(&target, &opened), expect, "{host} {demand:?}");
        }
    }
}

#[tokio::test]
async fn sni_is_the_name_and_never_an_address() {
    let hop = NextHop::start(Script::modern());
    for (host, sni) in [("MX.example.com", Some("mx.example.com")), ("127.0.0.1", None), ("not a name", None)] {
        let connection = open(&Target { host: host.to_owned(), ..target(&hop) }).await.unwrap();
        connection.quit().await;
        assert_eq!(hop.sessions().last().unwrap().sni.as_deref().map(str::to_ascii_lowercase).as_deref(), sni);
    }
}

/// A resumed session is not verified again, so a verified one is never resumed, and never made of one that was not verified.
#[tokio::test]
async fn resumption_never_skips_a_verifier() {
    let hop = NextHop::start(Script::modern());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), hop.certificate()).unwrap();
    let tls = ClientTls::new(&TlsSettings { roots: Roots::OnlyCaFile, ca_file: Some(file.path().to_owned()) }).unwrap();
    for (demand, resumed) in [
        (TlsDemand::Opportunistic, false),
        (TlsDemand::Opportunistic, true),
        (TlsDemand::Required, true),
        (TlsDemand::Verified, false),
        (TlsDemand::Verified, false),
    ] {
        let mut connection = Connection::open(&Target { tls: demand, ..target(&hop) }, &tls, &timeouts()).await.unwrap();
        assert!(connection.noop().await);
        connection.quit().await;
        assert_eq!(hop.sessions().last().unwrap().resumed, resumed, "{demand:?}");
    }
    // The same store and an untrusted root: what was resumable above is refused here.
    let strict = ClientTls::new(&TlsSettings { roots: Roots::BuiltIn, ca_file: None }).unwrap();
    for (demand, trusted) in [(TlsDemand::Opportunistic, true), (TlsDemand::Opportunistic, true), (TlsDemand::Verified, false)] {
        assert_eq!(Connection::open(&Target { tls: demand, ..target(&hop) }, &strict, &timeouts()).await.is_ok(), trusted);
    }
}

/// CVE-2011-0411 as seen from the client: a reply put in before the handshake must not answer what is asked after it.
#[tokio::test]
async fn a_reply_injected_before_tls_ends_the_connection() {
    for injected in [&b"220 go\r\n250 injected\r\n"[..], b"220 go\r\n2", b"220 go\r\n\r\n"] {
        let script = Script::modern().when(At::StartTls, [Raw(injected.to_vec())]);
        check(script, demand(TlsDemand::Opportunistic), "deferred 4.5.0: the server sent more in clear after its answer to STARTTLS").await;
    }
    // In a packet of its own it is read as TLS, which it is not.
    let script =
        Script::modern().when(At::StartTls, [Raw(b"220 go\r\n".to_vec()), Wait(Duration::from_millis(100)), Raw(b"250 injected\r\n220 \r\n".to_vec())]);
    check(script, demand(TlsDemand::Required), "deferred 4.7.5: TLS handshake failed").await;
}

#[tokio::test]
async fn a_server_that_speaks_out_of_turn_is_left() {
    for script in [
        Script::modern().when(At::Greeting, [Raw(b"220 hi\r\n250 early\r\n".to_vec())]),
        Script::modern().when(At::Ehlo, [Say("250-mx\r\n250 STARTTLS\r\n220 early")]),
    ] {
        check(script, demand(TlsDemand::Opportunistic), "deferred 4.5.0: the server spoke out of turn").await;
    }
    check(Script::modern().when(At::Greeting, [Say("SSH-2.0-x")]), demand(TlsDemand::None), "deferred 4.5.0: the server sent \"SSH-2.0-x\"").await;
}

#[tokio::test]
async fn what_is_forgotten_at_starttls_is_read_again_inside() {
    let script = Script::modern().rule(Rule::at(At::Ehlo).times(1).then([Say("250-mx\r\n250-LIMITS RCPTMAX=1\r\n250-SIZE 1\r\n250 STARTTLS")]));
    let hop = NextHop::start(script);
    let connection = open(&target(&hop)).await.unwrap();
    assert_eq!((connection.capabilities().size, connection.capabilities().limits.rcpt_max), (Some(52_428_800), None));
}

#[tokio::test]
async fn helo_does_where_ehlo_is_not_known() {
    let hop = NextHop::start(Script::offering([]).when(At::Ehlo, [Say("502 5.5.1 what?")]));
    let connection = open(&target(&hop)).await.unwrap();
    assert!(!connection.capabilities().esmtp);
    let lines: Vec<String> = hop.sessions()[0].commands.iter().map(|command| command.line.clone()).collect();
    assert_eq!(lines, ["EHLO relay.example", "HELO relay.example"]);
}

#[tokio::test]
async fn a_refused_welcome_defers_and_never_fails() {
    for (script, expect) in [
        (Script::modern().when(At::Greeting, [Say("554 5.7.1 not you"), Close]), "deferred 4.7.1: greeted with 554 5.7.1 not you"),
        (Script::modern().when(At::Greeting, [Say("554 no SMTP here")]), "deferred 4.0.0: greeted with"),
        (Script::modern().when(At::Greeting, [Say("421 4.7.0 [TSS04] later"), Close]), "deferred 4.7.0: greeted with 421"),
        (Script::modern().when(At::Greeting, [Close]), "deferred 4.4.2: the connection broke during the greeting"),
        (Script::modern().when(At::Ehlo, [Say("550 5.7.1 bad name")]), "deferred 4.7.1: EHLO refused"),
        (Script::modern().when(At::Ehlo, [Say("421 4.3.2 later"), Close]), "deferred 4.3.2: EHLO refused"),
        (Script::modern().when(At::Ehlo, [Close]), "deferred 4.4.2: the connection broke during EHLO"),
        (Script::modern().when(At::StartTls, [Say("454 4.7.0 no key")]), "deferred 4.7.5, clear may do: STARTTLS refused"),
        (Script::modern().when(At::StartTls, [Close]), "deferred 4.4.2, clear may do: the connection broke during STARTTLS"),
        (Script::modern().sessions_max(0), "deferred 4.7.0: greeted with 421 4.7.0 too many sessions"),
    ] {
        check(script, |target| target, expect).await;
    }
}

#[tokio::test]
async fn each_stage_has_its_time() {
    let (short, slow) = (Duration::from_millis(100), [Wait(Duration::from_mins(1)), Close]);
    for (at, times, expect) in [
        (At::Greeting, Timeouts { greeting: short, ..timeouts() }, "deferred 4.4.2: no answer in time: the greeting"),
        (At::Ehlo, Timeouts { ehlo: short, ..timeouts() }, "deferred 4.4.2: no answer in time: EHLO"),
    ] {
        let hop = NextHop::start(Script::modern().when(at, slow.clone()));
        let target = target(&hop);
        assert_eq!(shown(&target, &Connection::open(&target, &client_tls(), &times).await), expect);
    }
}

#[tokio::test]
async fn nobody_listening_is_no_connection() {
    let hop = NextHop::start(Script::modern());
    let nobody = Target { address: (Ipv4Addr::LOCALHOST, free_port()).into(), ..target(&hop) };
    let opened = open(&nobody).await;
    assert!(shown(&nobody, &opened).starts_with("deferred 4.4.1: no connection"));
    assert_eq!(opened.err().unwrap().blame(), Blame::NextHop);
}

#[tokio::test]
async fn the_source_address_is_bound() {
    let hop = NextHop::start(Script::modern());
    let from = |last| Some(IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)));
    open(&Target { source: from(7), ..target(&hop) }).await.unwrap();
    assert_eq!(hop.sessions()[0].client.map(|client| client.ip()), from(7));
    let elsewhere = Target { source: Some(Ipv4Addr::new(192, 0, 2, 1).into()), ..target(&hop) };
    assert_eq!(open(&elsewhere).await.err().unwrap().blame(), Blame::Operator);
}

fn password(user: &str, password: &str, in_clear: bool) -> Credentials {
    Credentials { login: Login::Password { user: user.to_owned(), password: password.into() }, in_clear }
}

#[tokio::test]
async fn smart_hosts_are_told_who_we_are() {
    const LOGIN_ONLY: &str = "250-mx\r\n250-STARTTLS\r\n250 AUTH LOGIN";
    let script = || Script::modern().user("u", "secret");
    for (script, terms, expect) in [
        (script(), password("u", "secret", false), "TLSv1.3"),
        (script().when(At::Ehlo, [Say(LOGIN_ONLY)]), password("u", "secret", false), "TLSv1.3"),
        (script(), password("u", "wrong", false), "deferred 4.7.8: AUTH refused: 535 5.7.8 wrong"),
        (script().when(At::Auth, [Say("454 4.7.0 later")]), password("u", "secret", false), "deferred 4.7.8: AUTH refused: 454 4.7.0 later"),
        (
            script().when(At::Auth, [Raw(b"23".to_vec()), Wait(Duration::from_millis(20)), Raw(b"5 2.7.0 ok\r\n".to_vec())]),
            password("u", "secret", false),
            "TLSv1.3",
        ),
        (Script::modern(), password("u", "secret", false), "deferred 4.7.4: the server offers no AUTH mechanism"),
        (script().tls(Tls::Off), password("u", "secret", false), "deferred 4.7.11: credentials are not sent without TLS"),
        (script().tls(Tls::Off), password("u", "secret", true), "clear"),
    ] {
        let hop = NextHop::start(script);
        let target = Target { auth: Some(terms), ..target(&hop) };
        let opened = open(&target).await;
        let shown = shown(&target, &opened);
        assert!(shown.starts_with(expect), "{shown:?}, expected {expect:?}");
        let session = &hop.sessions()[0];
        match opened {
            Ok(_) => assert_eq!(session.auth, Some(("u".to_owned(), "secret".to_owned()))),
            Err(fault) => assert_eq!(fault.blame() == Blame::NextHop, expect.contains("454")),
        }
    }
}

#[tokio::test]
async fn tokens_are_given_in_the_form_of_their_mechanism() {
    let (user, token) = ("u".to_owned(), "t0ken");
    for (offer, login, expect) in [
        ("AUTH PLAIN XOAUTH2", Login::XOauth2 { user, token: token.into() }, "AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHQwa2VuAQE="),
        ("AUTH OAUTHBEARER", Login::OauthBearer { token: token.into() }, "AUTH OAUTHBEARER biwsAWF1dGg9QmVhcmVyIHQwa2VuAQE="),
    ] {
        let mut script = Script::modern().when(At::Auth, [Say("235 2.7.0 welcome")]);
        script.capabilities.push(offer.to_owned());
        let hop = NextHop::start(script);
        open(&Target { auth: Some(Credentials { login, in_clear: false }), ..target(&hop) }).await.unwrap();
        assert_eq!(hop.sessions()[0].commands.last().unwrap().line, expect);
    }
}

/// The reply to AUTH and one that nobody asked for, in one packet: neither is lost, and the second is not taken for an answer.
#[tokio::test]
async fn what_follows_the_reply_to_auth_is_kept() {
    let hop = NextHop::start(Script::modern().user("u", "secret").when(At::Auth, [Say("235 2.7.0 welcome\r\n421 4.3.2 but not for long"), Close]));
    let mut connection = open(&Target { auth: Some(password("u", "secret", false)), ..target(&hop) }).await.unwrap();
    assert!(!connection.is_open());
}

#[test]
fn authorities_that_cannot_be_read_are_named() {
    let empty = tempfile::NamedTempFile::new().unwrap();
    for path in [empty.path().to_owned(), "/nonexistent/ca.pem".into()] {
        let fault = ClientTls::new(&TlsSettings { roots: Roots::BuiltIn, ca_file: Some(path.clone()) }).err().unwrap().to_string();
        assert!(fault.contains(path.to_str().unwrap()) && fault.contains("expected PEM certificates"), "{fault}");
    }
    assert!(ClientTls::new(&TlsSettings { roots: Roots::OnlyCaFile, ca_file: None }).is_err());
}

#[test]
fn targets_are_equal_only_with_equal_credentials() {
    let of = |password: &str| Credentials { login: Login::Password { user: "u".to_owned(), password: password.into() }, in_clear: false };
    assert_eq!(of("a"), of("a"));
    assert_ne!(of("a"), of("b"));
    assert!(!format!("{:?}", of("secret")).contains("secret"));
}
