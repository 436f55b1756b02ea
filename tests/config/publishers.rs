//! `[publishers]` and `[dns]`: what is taken, and what is told of what is not.

use super::{good_and, read};
use postseal::config::{Config, Document};
use postseal::dns::publish::{Way, rfc2136};
use std::os::unix::fs::PermissionsExt as _;

const SECRET: &str = "c2VjcmV0IHNlY3JldCBzZWNyZXQgc2VjcmV0IDEyMw==";

fn told(more: &str) -> String {
    read(&good_and(more), &[]).map_or_else(|faults| faults, |_| String::new())
}

#[test]
fn a_publisher_has_what_its_kind_needs_and_nothing_else() {
    let update = format!("[publishers.p]\nkind = \"rfc2136\"\nserver = \"ns1.example.com\"\ntsig_name = \"postseal\"\ntsig_secret = \"{SECRET}\"\n");
    assert_eq!(told(&update), "");
    for (text, fault) in [
        ("[publishers.p]\nkind = \"rfc2136\"\n".to_owned(), "publishers.p.server: missing, though kind is \"rfc2136\""),
        (update.replace("ns1.example.com", "ns1 example"), "is no server; expected a name or an address"),
        (update.replace(SECRET, "c2hvcnQ="), "its secret has 5 octets; expected at least 16"),
        (update.replace("tsig_name = \"postseal\"\n", ""), "publishers.p.tsig_name: missing"),
        (format!("{update}tsig_algorithm = \"hmac-md5\"\n"), "\"hmac-md5\" is no algorithm to sign updates with"),
        (format!("{update}api_token = \"x\"\n"), "publishers.p.api_token: set, though kind is \"rfc2136\", which has no use for it"),
        ("[publishers.p]\nserver = \"192.0.2.53\"\n".to_owned(), "publishers.p.server: set, though kind is \"manual\""),
        ("[publishers.p]\nkind = \"carrier pigeon\"\n".to_owned(), "one of \"manual\", \"rfc2136\", \"bunny\", \"cloudflare\""),
        ("[publishers.p]\nttl = \"30d\"\n".to_owned(), "publishers.p.ttl: \"30d\"; expected a time with its unit from \"1s\" to \"7d\""),
    ] {
        assert!(told(&text).contains(fault) && !told(&text).contains(SECRET), "{text}\n{}", told(&text));
    }
}

#[test]
fn a_domain_names_a_publisher_that_is_there() {
    let domain = "[domains.\"example.com\"]\npublisher = \"p\"\n";
    assert!(told(domain).contains("domains.\"example.com\".publisher: \"p\"; expected a table [publishers.NAME], which there is none of"), "{}", told(domain));
    let other = format!("{domain}[publishers.q]\n");
    assert!(told(&other).contains("expected one of \"q\""), "{}", told(&other));
    assert_eq!(told(&format!("{domain}[publishers.p]\n")), "");
}

#[test]
fn key_records_are_lent_to_another_zone_and_each_domain_has_its_own_place() {
    let inside = "[domains.\"example.com\"]\ndkim_target = \"keys.example.com\"\n";
    assert!(told(inside).contains("which lies in the author domain itself"), "{}", told(inside));
    let twice = "[domains.\"example.com\"]\ndkim_target = \"keys.platform.example\"\n[domains.\"example.net\"]\ndkim_target = \"keys.platform.example\"\n";
    assert!(told(twice).contains("a name of its own for each domain"), "{}", told(twice));
    assert_eq!(told("[domains.\"example.com\"]\ndkim_target = \"example-com.keys.platform.example\"\n"), "");
}

#[test]
fn a_file_of_tsig_keygen_brings_name_and_algorithm() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tsig.key");
    std::fs::write(&file, format!("key \"Postseal\" {{\n\talgorithm hmac-sha512;\n\tsecret \"{SECRET}\";\n}};\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let text = good_and("[publishers.p]\nkind = \"rfc2136\"\nserver = \"192.0.2.53:5353\"\ntsig_secret_file = \"tsig.key\"\n");
    let of = || Document::of(&text, &folder.path().join("postseal.toml"), []).and_then(|document| Config::of(&document));
    let config = of().unwrap_or_else(|faults| panic!("{faults}"));
    let Way::Rfc2136(rfc2136::Settings { server, key, .. }) = &config.publication.publishers["p"].way else { panic!("no updates") };
    assert_eq!((server.to_string(), key.name.to_string(), key.algorithm.to_string()), ("192.0.2.53:5353".into(), "postseal".into(), "hmac-sha512".into()));
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let faults = of().map_or_else(|faults| faults.to_string(), |_| String::new());
    assert!(faults.contains("its mode 0644 lets every user of this machine read it"), "{faults}");
}

#[test]
fn records_have_bounds() {
    for (text, fault) in [
        ("[dns]\nttl = \"8d\"\n", "dns.ttl: \"8d\"; expected a time with its unit from \"1s\" to \"7d\""),
        ("[dns]\nbounce_hosts = []\n", "dns.bounce_hosts: none; expected at least one"),
        ("[dns]\nmta_sts_id = \"2026-11\"\n", "dns.mta_sts_id: \"2026-11\"; expected 1 to 32 letters and digits"),
        ("[dns]\ndmarc_policy = \"strict\"\n", "expected one of \"none\", \"quarantine\", \"reject\""),
        ("[domains.\"example.com\"]\ndmarc_policy = \"strict\"\n", "expected one of \"none\", \"quarantine\", \"reject\""),
        ("[domains.\"example.com\"]\nbimi_logo = \"http://example.com/logo.svg\"\n", "an address that begins with https://"),
    ] {
        assert!(told(text).contains(fault), "{text}\n{}", told(text));
    }
    assert_eq!(told("[dns]\nttl = \"7d\"\nmta_sts_id = \"2026\"\ndmarc_policy = \"reject\"\n"), "");
}
