//! The shell over real streams: TLS, time, a server going down, clients going away.

use super::house::{TestDoor, Wire, certificates, connect, hasty_terms, known, secured, terms};
use postseal::ingress::connection::{Encryption, Origin, Stream, serve};
use postseal::mail::Proof;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const ENVELOPE: &str = "MAIL FROM:<a@a.example>\r\nRCPT TO:<b@b.example>\r\nDATA\r\n";

async fn deliver<S: Stream>(client: &mut Wire<S>) {
    client.says("EHLO app.example\r\n", "250 ").await;
    client.says(ENVELOPE, "354").await;
    client.says("Subject: x\r\n\r\nhi\r\n.\r\n", "250 2.0.0 accepted as ").await;
}

#[tokio::test]
async fn a_message_goes_through_and_the_connection_closes() {
    let terms = terms(Encryption::None, known());
    let mut served = connect(&terms);
    served.client.hear("220 relay.example").await;
    deliver(&mut served.client).await;
    served.client.says("QUIT\r\n", "221").await;
    assert_eq!(served.client.end().await.unwrap(), b"");
    served.server.await.unwrap();
    let kept = terms.accept.kept.lock().unwrap();
    assert_eq!(kept[0].message.as_ref(), b"Subject: x\r\n\r\nhi\r\n");
    assert_eq!((kept[0].client.identity.as_str(), &kept[0].client.proof), ("by-network", &Proof::Network));
}

#[tokio::test]
async fn starttls_discards_what_was_pipelined_and_a_password_tells_who_is_there() {
    let certificates = certificates();
    let door = TestDoor { network: false, tls: Some(certificates.server), mechanisms: vec!["PLAIN".into()] };
    let terms = terms(Encryption::StartTlsRequired, door);
    let mut served = connect(&terms);
    served.client.hear("220 ").await;
    let keywords = served.client.says("EHLO app.example\r\n", "250 ").await;
    assert!(keywords.contains("250-STARTTLS\r\n") && !keywords.contains("AUTH"), "{keywords}");
    served.client.says("STARTTLS\r\nEHLO evil\r\nMAIL FROM:<evil@a.example>\r\n", "220 2.0.0").await;

    let mut client = secured(served.client.0, &certificates.anonymous).await.unwrap();
    client.says("MAIL FROM:<a@a.example>\r\n", "503 5.5.1 send EHLO first").await;
    let keywords = client.says("EHLO app.example\r\n", "250 ").await;
    assert!(keywords.contains("250-AUTH PLAIN\r\n") && !keywords.contains("STARTTLS"), "{keywords}");
    client.says("AUTH PLAIN\r\n", "334 ").await;
    client.says("eA==\r\n", "535 5.7.8").await;
    client.says("AUTH PLAIN AGFwcABzZWNyZXQ=\r\n", "235").await;
    deliver(&mut client).await;
    client.says("QUIT\r\n", "221").await;
    assert_eq!(client.end().await.unwrap(), b"", "the end is announced by close_notify");
    let kept = terms.accept.kept.lock().unwrap();
    assert_eq!((kept[0].client.identity.as_str(), &kept[0].client.proof), ("by-password", &Proof::Sasl { user: "app".into() }));
    let tls = kept[0].client.tls.as_ref().unwrap();
    assert!(tls.version == "TLSv1.3" && tls.cipher.starts_with("TLS_AES_"), "{tls:?}");
}

#[tokio::test]
async fn clear_text_in_a_later_packet_breaks_the_handshake() {
    let certificates = certificates();
    let terms = terms(Encryption::StartTls, TestDoor { network: true, tls: Some(certificates.server), mechanisms: vec![] });
    let mut served = connect(&terms);
    served.client.hear("220 ").await;
    served.client.says("EHLO app.example\r\n", "250 ").await;
    served.client.says("STARTTLS\r\n", "220 2.0.0").await;
    served.client.send("MAIL FROM:<evil@a.example>\r\n").await;
    served.server.await.unwrap();
    let rest = served.client.end().await.unwrap();
    assert!(!rest.windows(3).any(|code| code == b"250"), "only a TLS alert is heard: {}", rest.escape_ascii());
}

#[tokio::test]
async fn with_implicit_tls_a_certificate_tells_who_is_there() {
    let certificates = certificates();
    let terms = terms(Encryption::Implicit, TestDoor { network: true, tls: Some(certificates.server), mechanisms: vec![] });
    for (config, identity) in [(&certificates.client, "by-certificate"), (&certificates.anonymous, "by-network")] {
        let served = connect(&terms);
        let mut client = secured(served.client.0, config).await.unwrap();
        client.hear("220 ").await;
        deliver(&mut client).await;
        assert_eq!(terms.accept.kept.lock().unwrap().pop().unwrap().client.identity.as_str(), identity);
    }
}

#[tokio::test]
async fn without_its_certificate_a_listener_that_must_have_tls_serves_nobody() {
    for encryption in [Encryption::Implicit, Encryption::StartTlsRequired] {
        let mut served = connect(&terms(encryption, known()));
        assert_eq!(served.client.end().await.unwrap(), b"");
    }
    let mut served = connect(&terms(Encryption::StartTls, known()));
    served.client.hear("220 ").await;
    assert!(!served.client.says("EHLO app.example\r\n", "250 ").await.contains("STARTTLS"));
}

#[tokio::test]
async fn a_client_that_leaves_during_the_commit_does_not_stop_it() {
    let terms = terms(Encryption::None, known());
    terms.accept.gate.forget_permits(10);
    let mut served = connect(&terms);
    served.client.hear("220 ").await;
    served.client.says("EHLO app.example\r\n", "250 ").await;
    served.client.says(ENVELOPE, "354").await;
    served.client.send("Subject: x\r\n\r\n.\r\n").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    drop(served.client);
    served.server.abort();
    let _ = served.server.await;
    assert_eq!(terms.accept.kept.lock().unwrap().len(), 0);
    terms.accept.gate.add_permits(1);
    for _ in 0..6000 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        if !terms.accept.kept.lock().unwrap().is_empty() {
            return;
        }
    }
    panic!("the commit was lost with its client");
}

#[tokio::test]
async fn a_client_that_leaves_before_the_end_leaves_nothing() {
    let terms = terms(Encryption::None, known());
    for message in ["", "Subject: x\r\n", "Subject: x\r\n\r\nhi\r\n.", "Subject: x\r\n\r\nhi\r\n.\r"] {
        let mut served = connect(&terms);
        served.client.hear("220 ").await;
        served.client.says("EHLO app.example\r\n", "250 ").await;
        served.client.says(ENVELOPE, "354").await;
        served.client.send(message).await;
        drop(served.client);
        served.server.await.unwrap();
    }
    assert_eq!(terms.accept.kept.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn a_commit_that_panics_is_told_as_our_fault() {
    let terms = terms(Encryption::None, known());
    let mut served = connect(&terms);
    served.client.hear("220 ").await;
    served.client.says("EHLO app.example\r\n", "250 ").await;
    served.client.says(ENVELOPE, "354").await;
    served.client.says("X-Panic: yes\r\n.\r\n", "451 4.3.0").await;
    served.client.says(ENVELOPE, "354").await;
}

#[tokio::test]
async fn going_down_an_idle_client_is_told_and_an_open_message_ends() {
    let terms = terms(Encryption::None, known());
    let mut idle = connect(&terms);
    let mut busy = connect(&terms);
    for served in [&mut idle, &mut busy] {
        served.client.hear("220 ").await;
        served.client.says("EHLO app.example\r\n", "250 ").await;
    }
    busy.client.says(ENVELOPE, "354").await;
    idle.drain.cancel();
    busy.drain.cancel();
    assert_eq!(idle.client.end().await.unwrap(), b"421 4.3.2 this server is going down; try again in a moment\r\n");
    busy.client.says("Subject: x\r\n\r\n.\r\n", "421 4.3.2").await;
    busy.server.await.unwrap();
    assert_eq!(terms.accept.kept.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn going_down_waits_for_a_commit_but_not_for_ever() {
    let terms = hasty_terms(Encryption::None, known());
    terms.accept.gate.forget_permits(10);
    let mut served = connect(&terms);
    served.client.hear("220 ").await;
    served.client.says("EHLO app.example\r\n", "250 ").await;
    served.client.says(ENVELOPE, "354").await;
    served.client.send("Subject: x\r\n\r\n.\r\n").await;
    let began = Instant::now();
    served.drain.cancel();
    served.client.hear("421 4.3.2").await;
    assert!(began.elapsed() >= Duration::from_millis(450), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_neither_shakes_hands_nor_reads_is_let_go() {
    let certificates = certificates();
    let silent = connect(&hasty_terms(Encryption::Implicit, TestDoor { tls: Some(certificates.server), ..known() }));
    tokio::time::timeout(Duration::from_mins(1), silent.server).await.expect("the handshake has a time").unwrap();

    let (mut client, server) = tokio::io::duplex(64);
    let origin = Origin { address: "192.0.2.7".parse().unwrap(), identifies: true };
    let server = tokio::spawn(serve(server, origin, hasty_terms(Encryption::None, known()), CancellationToken::new()));
    tokio::io::AsyncWriteExt::write_all(&mut client, b"EHLO app.example\r\n").await.unwrap();
    tokio::time::timeout(Duration::from_mins(1), server).await.expect("the write has a time").unwrap();
    drop(client);
}

#[tokio::test]
async fn an_address_that_is_not_the_clients_own_identifies_nobody() {
    let terms = terms(Encryption::None, known());
    let (client, server) = tokio::io::duplex(4096);
    let origin = Origin { address: "192.0.2.7".parse().unwrap(), identifies: false };
    let _server = tokio::spawn(serve(server, origin, Arc::clone(&terms), CancellationToken::new()));
    let mut client = Wire(client);
    client.hear("220 ").await;
    client.says("EHLO app.example\r\n", "250 ").await;
    client.says("MAIL FROM:<a@a.example>\r\n", "554 5.7.1").await;
}
