//! What strangers can take of the admin: each bound from both sides.

use super::office::Admin;
use crate::support::http;
use postseal::admin::Bounds;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

fn bounded(bounds: Bounds) -> Admin {
    Admin::start(|settings| settings.bounds = bounds)
}

fn usual() -> Bounds {
    Bounds::default()
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_above_the_bound_are_closed_and_a_free_place_is_taken() {
    let admin = bounded(Bounds { connections_max: 2, ..usual() });
    let ask = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n\r\n", admin.address);
    let mut held: Vec<_> = (0..2).map(|_| http::connect(&admin.address).unwrap()).collect();
    for stream in &mut held {
        stream.write_all(ask.as_bytes()).unwrap();
        assert!(stream.read(&mut [0; 64]).unwrap() > 0, "within the bound");
    }
    let mut third = http::connect(&admin.address).unwrap();
    let _ = third.write_all(ask.as_bytes());
    assert!(matches!(third.read(&mut [0; 64]), Ok(0) | Err(_)), "above the bound");
    held.pop();
    let since = Instant::now();
    while http::try_ask(&admin.address, &format!("GET /healthz HTTP/1.1\nHost: {}\n", admin.address), "").is_err() {
        assert!(since.elapsed() < Duration::from_mins(1), "the free place is not given");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_must_come_in_time() {
    let admin = bounded(Bounds { header_timeout: Duration::from_millis(600), ..usual() });
    let beginning = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n", admin.address);
    let mut silent = http::connect(&admin.address).unwrap();
    let mut slow = http::connect(&admin.address).unwrap();
    slow.write_all(beginning.as_bytes()).unwrap();
    assert_eq!(silent.read(&mut [0; 64]).unwrap_or(0), 0, "closed without a word to who says nothing");
    let mut told = String::new();
    let _ = slow.read_to_string(&mut told);
    assert!(told.is_empty() || told.starts_with("HTTP/1.1 408"), "{told}");

    let patient = bounded(Bounds { header_timeout: Duration::from_mins(5), ..usual() });
    let mut slow = http::connect(&patient.address).unwrap();
    let beginning = format!("GET /healthz HTTP/1.1\r\nHost: {}\r\n", patient.address);
    for octet in beginning.as_bytes() {
        slow.write_all(&[*octet]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(700)); // longer than what was too long above
    slow.write_all(b"Connection: close\r\n\r\n").unwrap();
    assert_eq!(http::read(slow).unwrap().status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_has_a_size() {
    let admin = bounded(Bounds { header_octets_max: 8 << 10, ..usual() });
    let with = |octets: usize| {
        let head = format!("GET /healthz HTTP/1.1\nHost: {}\nX-Filler: ", admin.address);
        http::ask(&admin.address, &format!("{head}{}\n", "x".repeat(octets - head.len())), "").status
    };
    assert_eq!((with(7 << 10), with(9 << 10)), (200, 431));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_size() {
    let admin = bounded(Bounds { body_octets_max: 1000, ..usual() });
    let body = |octets: usize| format!("{{{}}}", " ".repeat(octets - 2));
    assert_eq!(http::post(&admin.address, "/api/v1/reload", &body(1000)).status, 200);
    let over = http::post(&admin.address, "/api/v1/reload", &body(1001));
    assert_eq!((over.status, over.json()["error"]["expected"].as_str()), (413, Some("at most admin.body_octets_max, 1000 octets")));
    let chunked = |octets: usize| {
        let head =
            format!("POST /api/v1/reload HTTP/1.1\nHost: {}\nContent-Type: application/json\nTransfer-Encoding: chunked\nConnection: close\n\n", admin.address);
        let mut stream = http::connect(&admin.address).unwrap();
        stream.write_all(head.replace('\n', "\r\n").as_bytes()).unwrap();
        stream.write_all(format!("{octets:x}\r\n{}\r\n0\r\n\r\n", body(octets)).as_bytes()).unwrap();
        http::read(stream).unwrap().status
    };
    assert_eq!((chunked(1000), chunked(1001)), (200, 413));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_must_come_in_time() {
    let takes = Duration::from_millis(500);
    let slow = Admin::slow(Duration::from_mins(5), |settings| settings.bounds = Bounds { request_timeout: takes / 5, ..usual() });
    let late = http::post(&slow.address, "/api/v1/reload", "{}");
    assert_eq!((late.status, late.json()["error"]["code"].as_str()), (503, Some("timeout")));
    let patient = Admin::slow(takes, |settings| settings.bounds = Bounds { request_timeout: Duration::from_mins(5), ..usual() });
    assert_eq!(http::post(&patient.address, "/api/v1/reload", "{}").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_must_come_in_time() {
    let admin = bounded(Bounds { request_timeout: Duration::from_millis(200), ..usual() });
    let head = format!(
        "POST /api/v1/reload HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{{",
        admin.address
    );
    let mut stream = http::connect(&admin.address).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(http::read(stream).unwrap().status, 503);
}

/// A client that asks and asks and does not read: its answers fill all buffers, and then it is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut() {
    let unread = |admin: &Admin| {
        let ask = format!("GET /api/v1/openapi.json HTTP/1.1\r\nHost: {}\r\n\r\n", admin.address);
        let mut stream = http::connect(&admin.address).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
        let since = Instant::now();
        while stream.write_all(ask.as_bytes()).is_ok() && since.elapsed() < Duration::from_mins(1) {}
        stream
    };
    let admin = bounded(Bounds { write_timeout: Duration::from_millis(300), ..usual() });
    let mut cut = unread(&admin);
    let mut octets = Vec::new();
    let _ = cut.read_to_end(&mut octets);
    assert!(octets.len() > 10_000, "it was answered until its buffers were full");

    let patient = bounded(Bounds { write_timeout: Duration::from_mins(5), ..usual() });
    let mut waited = unread(&patient); // for three seconds
    let mut octets = vec![0; 20_000_000];
    let read: usize = (0..200).map_while(|_| waited.read(&mut octets).ok().filter(|read| *read > 0)).sum();
    waited.set_nonblocking(true).unwrap();
    let goes_on = !matches!(waited.read(&mut octets), Ok(0));
    assert!(read > 10_000 && goes_on, "it is still answered");
}
