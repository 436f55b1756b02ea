//! What only a connection shows: `--connect`.

use super::house::{expect, resolver, subject, zone};
use crate::support::dns::Dns;
use crate::support::next_hop::{NextHop, Script, Tls};
use crate::support::ports::free_port;
use postseal::deliver::tls::{ClientTls, Roots, TlsSettings};
use postseal::doctor::Status::{Fail, Ok, Warn};
use postseal::doctor::{self, Finding, ask, connect};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const POLICY: &str = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmax_age: 604800\r\n";

/// Answers every request on loopback with these octets, as mta-sts.b.example.com; its port, and the authority of its certificate.
async fn web(answer: String) -> (u16, String) {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["mta-sts.b.example.com".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())))
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Result::Ok((tcp, _)) = listener.accept().await {
            let Result::Ok(mut stream) = acceptor.accept(tcp).await else { continue };
            let mut request = [0; 2048];
            let read = stream.read(&mut request).await.unwrap_or(0);
            let request = String::from_utf8_lossy(&request[..read]).into_owned();
            assert!(request.starts_with("GET /.well-known/mta-sts.txt HTTP/1.0\r\nHost: mta-sts.b.example.com\r\n"), "{request}");
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (port, authority.pem())
}

/// What doctor finds when it connects.
async fn connected(script: Option<Script>, answer: &str) -> Vec<Finding> {
    let instead = "mx1.example.com A 127.0.0.1\n- mx1.example.com AAAA\nmta-sts.b.example.com A 127.0.0.1\n_mta-sts.b.example.com TXT \"v=STSv1; id=1\"";
    let dns = Dns::serve(&zone(instead)).await;
    let resolver = resolver(&dns);
    let (https_port, authority) = web(answer.to_owned()).await;
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority).unwrap();
    let tls = ClientTls::new(&TlsSettings { roots: Roots::OnlyCaFile, ca_file: Some(ca_file) }).unwrap();
    let hop = script.map(NextHop::start);
    let mx_port = match &hop {
        Some(hop) => hop.address().port(),
        None => free_port(), // nobody listens there
    };
    let mut facts = ask::domain(subject(), &resolver).await;
    let settings = connect::Settings { tls, ehlo: "mx1.example.com".to_owned(), mx_port, https_port };
    connect::bounce(facts.bounce.as_mut().unwrap(), &settings, &resolver).await;
    doctor::examine(&facts, true)
}

fn http(status: &str, kind: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nLocation: https://elsewhere.example/\r\n\r\n{body}")
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_take_bounces_are_tried() {
    let good = http("200 OK", "text/plain", POLICY);
    expect(&Box::pin(connected(Some(Script::modern()), &good)).await, "mx-reach", Ok, &["takes STARTTLS"]);
    expect(&Box::pin(connected(Some(Script::modern().tls(Tls::Off)), &good)).await, "mx-reach", Fail, &["does not offer STARTTLS"]);
    expect(&Box::pin(connected(None, &good)).await, "mx-reach", Fail, &["127.0.0.1, port", "no connection"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_policy_of_mta_sts_is_fetched_and_read() {
    let plain = |body: &str| http("200 OK", "text/plain; charset=utf-8", body);
    for (answer, status, words) in [
        (plain(POLICY), Ok, "mode enforce"),
        (plain(&POLICY.replace("mx1", "*")), Ok, "mode enforce"),
        (plain(&POLICY.replace("mx1", "mx2")), Warn, "does not name the MX host mx1.example.com"),
        (plain(&POLICY.replace("mx1", "mx2").replace("enforce", "none")), Ok, "mode none"),
        (plain(&POLICY.replace("enforce", "strict")), Warn, "no mode"),
        (plain(&POLICY.replace("version: STSv1\r\n", "")), Warn, "version: STSv1"),
        (plain(&POLICY.replace("604800", "a week")), Warn, "max_age"),
        (http("301 Moved Permanently", "text/plain", POLICY), Warn, "301 Moved Permanently"),
        (http("200 OK", "text/html", POLICY), Warn, "not text/plain"),
        ("hello".to_owned(), Warn, "no HTTP"),
    ] {
        println!("{answer}");
        expect(&Box::pin(connected(None, &answer)).await, "mta-sts", status, &[words]);
    }
}
