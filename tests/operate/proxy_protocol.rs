//! The PROXY protocol: demanded, bounded, believed only from listed networks.

use ipnet::IpNet;
use postseal::ingress::proxy_protocol::{HEADER_OCTETS_MAX, ProxyError, accept};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

const TIMEOUT: Duration = Duration::from_secs(5);
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

fn trusted() -> Vec<IpNet> {
    vec!["10.9.0.0/16".parse().unwrap()]
}

/// Sends `octets` in pieces of `piece`, closes, and gives what is left for the dialogue with the address found.
async fn take(octets: &[u8], piece: usize) -> Result<(Vec<u8>, Option<SocketAddr>), ProxyError> {
    let (mut proxy, ours) = tokio::io::duplex(64 * 1024);
    let octets = octets.to_vec();
    let sending = async move {
        for piece in octets.chunks(piece) {
            if proxy.write_all(piece).await.is_err() {
                break; // refused already
            }
            tokio::task::yield_now().await;
        }
    };
    let taking = async {
        let (mut stream, client) = accept(ours, "10.9.0.1:9".parse().unwrap(), &trusted(), TIMEOUT).await?;
        let mut left = Vec::new();
        stream.read_to_end(&mut left).await?;
        Ok((left, client))
    };
    tokio::join!(sending, taking).1
}

fn v2(command: u8, family: u8, addresses: &[u8], tlvs: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len() + tlvs.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, addresses, tlvs].concat()
}

const V4: &[u8] = &[192, 0, 2, 7, 10, 9, 0, 1, 0x1f, 0x90, 0, 25];

fn v6(source: &str) -> Vec<u8> {
    let source: std::net::Ipv6Addr = source.parse().unwrap();
    [&source.octets()[..], &[0; 16], &[0x1f, 0x90, 0, 25]].concat()
}

#[tokio::test(start_paused = true)]
async fn both_versions_give_the_clients_address_and_lose_nothing_behind_it() {
    let v6_header = v2(0x21, 0x21, &v6("2001:db8::7"), &[]);
    let mapped = v2(0x21, 0x21, &v6("::ffff:192.0.2.7"), &[]);
    let with_tlvs = v2(0x21, 0x11, V4, &[5, 0, 4, b'1', b'2', b'3', b'4', 2, 0, 0]);
    for (header, expect) in [
        (&b"PROXY TCP4 192.0.2.7 10.9.0.1 8080 25\r\n"[..], Some("192.0.2.7:8080")),
        (b"PROXY TCP6 2001:db8::7 ::1 8080 25\r\n", Some("[2001:db8::7]:8080")),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 8080 25\r\n", Some("192.0.2.7:8080")),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
        (&v2(0x21, 0x11, V4, &[]), Some("192.0.2.7:8080")),
        (&v6_header, Some("[2001:db8::7]:8080")),
        (&mapped, Some("192.0.2.7:8080")),
        (&with_tlvs, Some("192.0.2.7:8080")),
        (&v2(0x20, 0, &[], &[]), None),
        (&v2(0x20, 0x11, V4, &[]), None),
        (&v2(0x21, 0, &[], &[]), None),
        (&v2(0x21, 0x31, &[0; 216], &[]), None),
    ] {
        for piece in [1, 7, 4096] {
            for rest in [&b""[..], b"EHLO x\r\nPROXY UNKNOWN\r\n"] {
                let (left, client) = take(&[header, rest].concat(), piece).await.unwrap_or_else(|error| panic!("{header:?}: {error}"));
                assert_eq!(client, expect.map(|address| address.parse().unwrap()), "{header:?}");
                assert_eq!(left, rest, "{header:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_header_is_refused() {
    let long_line = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 15));
    for octets in [
        &b"EHLO mail.example.com\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"PROXYTCP4 192.0.2.7 10.9.0.1 8080 25\r\n",
        b"proxy TCP4 192.0.2.7 10.9.0.1 8080 25\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 8080 25\r\n",
        b"PROXY TCP4 192.0.2.7 10.9.0.1 80800 25\r\n",
        b"PROXY TCP4 192.0.2.7 10.9.0.1 8080 25 x\r\n",
        b"PROXY TCP4 192.0.2.7 10.9.0.1 8080\r\n",
        b"PROXY UDP4 192.0.2.7 10.9.0.1 8080 25\r\n",
        b"PROXY UNKNOWN\nEHLO x\r\n",
        b"PROXY\r\nEHLO mail.example.com\r\n",
        long_line.as_bytes(),
        b"\r\n\r\n\0\r\nQUIX\n",
        &v2(0x11, 0x11, V4, &[]),
        &v2(0x22, 0x11, V4, &[]),
        &v2(0x21, 0x12, V4, &[]),
        &v2(0x21, 0x13, V4, &[]),
        &v2(0x21, 0x11, &V4[..11], &[]),
        &v2(0x21, 0x11, V4, &[5, 0, 4, 1]),
        &v2(0x21, 0x11, V4, &[5]),
    ] {
        let refused = take(octets, 4096).await;
        assert!(matches!(refused, Err(ProxyError::Malformed(_))), "{octets:?}: {refused:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_checksum_is_checked() {
    let mut header = v2(0x21, 0x11, V4, &[3, 0, 4, 0, 0, 0, 0, 4, 0, 1, 0]);
    let place = header.len() - 8..header.len() - 4;
    let checksum = crc32c::crc32c(&header).to_be_bytes();
    header[place].copy_from_slice(&checksum);
    assert_eq!(take(&header, 4096).await.unwrap().1, Some("192.0.2.7:8080".parse().unwrap()));
    header[16] ^= 1;
    assert!(matches!(take(&header, 4096).await, Err(ProxyError::Malformed("its checksum is wrong"))));
}

#[tokio::test(start_paused = true)]
async fn a_header_is_bounded_in_size_and_time() {
    let noop = |length: usize| [&[4][..], &u16::try_from(length).unwrap().to_be_bytes(), &vec![0; length]].concat();
    let fits = v2(0x21, 0x11, V4, &noop(HEADER_OCTETS_MAX - 16 - 12 - 3));
    assert_eq!(fits.len(), HEADER_OCTETS_MAX);
    assert_eq!(take(&[&fits[..], b"EHLO"].concat(), 4096).await.unwrap().0, b"EHLO");
    let over = v2(0x21, 0x11, V4, &noop(HEADER_OCTETS_MAX - 16 - 12 - 2));
    assert!(matches!(take(&over[..16], 4096).await, Err(ProxyError::TooLong(length)) if length == HEADER_OCTETS_MAX + 1));
    let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(107 - 16));
    assert!(take(longest.as_bytes(), 4096).await.is_ok());

    for part in [&b""[..], b"PROXY TCP4 192.0.2.7", &v2(0x21, 0x11, V4, &[])[..20]] {
        assert!(matches!(take(part, 4096).await, Err(ProxyError::Closed)), "{part:?}");
        let (mut proxy, ours) = tokio::io::duplex(64);
        proxy.write_all(part).await.unwrap();
        let begun = tokio::time::Instant::now();
        let refused = accept(ours, "10.9.0.1:9".parse().unwrap(), &trusted(), TIMEOUT).await;
        assert!(matches!(refused, Err(ProxyError::TimedOut(TIMEOUT))));
        assert_eq!(begun.elapsed(), TIMEOUT);
    }
}

#[tokio::test]
async fn strangers_are_refused_before_anything_is_read() {
    for (peer, believed) in [("10.9.3.3:1", true), ("[::ffff:10.9.3.3]:1", true), ("10.8.3.3:1", false), ("[::1]:1", false)] {
        let stream = tokio_test_stream(b"PROXY UNKNOWN\r\n");
        match accept(stream, peer.parse().unwrap(), &trusted(), TIMEOUT).await {
            Ok((_, None)) => assert!(believed, "{peer}"),
            Err(ProxyError::Untrusted(address)) => assert!(!believed, "{address}"),
            other => panic!("{peer}: {other:?}"),
        }
    }
    let unread = Unreadable;
    assert!(matches!(accept(unread, "192.0.2.1:1".parse().unwrap(), &trusted(), TIMEOUT).await, Err(ProxyError::Untrusted(_))));
}

/// A stream that gives `octets` once.
fn tokio_test_stream(octets: &'static [u8]) -> impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + std::fmt::Debug {
    tokio::io::join(octets, tokio::io::sink())
}

/// A stream nobody may touch.
#[derive(Debug)]
struct Unreadable;

impl tokio::io::AsyncRead for Unreadable {
    fn poll_read(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>, _: &mut tokio::io::ReadBuf<'_>) -> std::task::Poll<std::io::Result<()>> {
        panic!("a stranger was listened to")
    }
}

impl tokio::io::AsyncWrite for Unreadable {
    fn poll_write(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>, _: &[u8]) -> std::task::Poll<std::io::Result<usize>> {
        panic!("a stranger was spoken to")
    }
    fn poll_flush(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: std::pin::Pin<&mut Self>, _: &mut std::task::Context<'_>) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}

proptest::proptest! {
    #[test]
    fn any_octets_get_an_answer(octets in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..120), version in 0..3u8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let octets = match version {
            0 => octets,
            1 => [b"PROXY TCP4 ", &octets[..]].concat(),
            _ => [SIGNATURE, &octets[..]].concat(),
        };
        let _ = runtime.block_on(take(&octets, 50));
    }
}
