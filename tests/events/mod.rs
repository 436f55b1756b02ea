//! What happened to mail, as programs and people learn of it: the API, `postseal events`, webhooks.

mod followed;
mod webhooks;

use crate::support::next_hop::NextHop;
use crate::support::ports::free_port;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};

/// A relay that hands everything to a next hop, with further sections.
fn config(hop: &NextHop, more: &str) -> String {
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        drain = "5s"
        [admin]
        address = "127.0.0.1:{port}"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "none"
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        {more}
        "#,
        hop.address().ip(),
        hop.address().port(),
        port = free_port(),
    )
}

/// Sends a mail with a track id to one recipient.
fn send(relay: &RelayProcess, to: &str, track_id: &str) {
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    let message = format!("X-Postseal-Track-Id: {track_id}\r\n{}", message(track_id));
    let reply = client.send("app@example.com", &[to], &message).unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
}
