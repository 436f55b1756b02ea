//! Who a client is, and rules that would open the relay.

use ipnet::IpNet;
use postseal::ingress::identity::{CertificateRule, Consent, Fault, Identities, NetworkRule, San, any_contains, open_relay_faults};
use postseal::mail::{IdentityName, Proof};

fn rule(network: &str, identity: &str) -> NetworkRule {
    NetworkRule { network: network.parse().unwrap(), identity: IdentityName::new(identity), consent: Consent::default() }
}

fn named(name: &str, identity: &str) -> CertificateRule {
    CertificateRule { name: name.parse().unwrap(), identity: IdentityName::new(identity) }
}

#[test]
fn the_longest_prefix_knows_a_client_best() {
    let rules =
        [rule("10.0.0.0/8", "all"), rule("10.1.0.0/16", "team"), rule("10.1.2.3/32", "host"), rule("::ffff:172.16.0.0/108", "mapped"), rule("fd00::/8", "six")];
    let identities = Identities::new(&rules, &[]);
    for (address, expect) in [
        ("10.1.2.3", Some("host")),
        ("10.1.2.4", Some("team")),
        ("10.2.0.1", Some("all")),
        ("::ffff:10.1.2.3", Some("host")),
        ("172.16.5.5", Some("mapped")),
        ("172.32.0.1", None),
        ("fd12::1", Some("six")),
        ("192.0.2.1", None),
        ("::1", None),
    ] {
        let found = identities.identify(Some(address.parse().unwrap()), &[], None);
        assert_eq!(found, expect.map(|name| (IdentityName::new(name), Proof::Network)), "{address}");
    }
    assert_eq!(identities.identify(None, &[], None), None, "PROXY LOCAL: nobody");
}

#[test]
fn what_a_client_proves_counts_more_than_where_it_is() {
    let identities = Identities::new(&[rule("10.0.0.0/8", "net")], &[named("dns:app.example.com", "cert")]);
    let address = Some("10.0.0.1".parse().unwrap());
    let certificate = [San::Uri("spiffe://x/y".into()), San::dns("APP.example.com")];
    let user = IdentityName::new("user");
    let proof = |found: Option<(IdentityName, Proof)>| found.map(|(identity, proof)| (identity.to_string(), proof)).unwrap();
    assert_eq!(proof(identities.identify(address, &certificate, Some(("ann", &user)))), ("user".into(), Proof::Sasl { user: "ann".into() }));
    assert_eq!(proof(identities.identify(address, &certificate, None)), ("cert".into(), Proof::Certificate { name: "dns:app.example.com".into() }));
    assert_eq!(proof(identities.identify(address, &certificate[..1], None)), ("net".into(), Proof::Network));
    assert!(identities.identify(None, &certificate[..1], None).is_none());
}

#[test]
fn certificate_names_match_as_a_whole_and_in_their_kind() {
    let identities =
        Identities::new(&[], &[named("dns:App.example.com", "a"), named("email:App@Example.com", "b"), named("uri:spiffe://example.com/App", "c")]);
    let find = |name: San| identities.identify(None, &[name], None).map(|(identity, _)| identity.to_string());
    for (name, expect) in [
        (San::dns("app.EXAMPLE.com"), Some("a")),
        (San::dns("x.app.example.com"), None),
        (San::dns("*.example.com"), None),
        (San::Uri("app.example.com".into()), None),
        (San::email("App@EXAMPLE.com"), Some("b")),
        (San::email("app@example.com"), None),
        (San::Uri("spiffe://example.com/App".into()), Some("c")),
        (San::Uri("spiffe://example.com/app".into()), None),
        (San::Uri("spiffe://example.com/App/x".into()), None),
    ] {
        assert_eq!(find(name.clone()).as_deref(), expect, "{name}");
    }
    for text in ["app.example.com", "dns:", "email:app", "cn:app", "uri:", ""] {
        assert!(text.parse::<San>().is_err(), "{text}");
    }
}

#[test]
fn a_rule_that_opens_the_relay_is_a_fault_unless_it_is_meant() {
    for network in ["0.0.0.0/0", "::/0", "::ffff:0:0/96"] {
        let faults = open_relay_faults(&[rule(network, "app")], &[]);
        assert!(matches!(faults[..], [Fault::Everything { .. }]), "{network}: {faults:?}");
    }
    for network in [
        "8.8.8.0/24",
        "203.0.113.7/32",
        "0.0.0.0/1",
        "10.0.0.0/7",
        "172.16.0.0/11",
        "100.64.0.0/9",
        "2001:db8::/32",
        "fc00::/6",
        "::/1",
        "::ffff:8.8.8.8/128",
        "::/96",
    ] {
        let faults = open_relay_faults(&[rule(network, "app")], &[]);
        assert!(matches!(faults[..], [Fault::Public { .. }]), "{network}: {faults:?}");
    }
    for network in [
        "127.0.0.0/8",
        "127.0.0.1/32",
        "::1/128",
        "10.0.0.0/8",
        "10.3.0.0/16",
        "172.16.0.0/12",
        "192.168.7.0/24",
        "169.254.0.0/16",
        "100.64.0.0/10",
        "fd00::/8",
        "fe80::/10",
        "::ffff:127.0.0.1/128",
    ] {
        assert_eq!(open_relay_faults(&[rule(network, "app")], &[]), [], "{network}");
    }
    for network in ["0.0.0.0/0", "8.8.8.0/24"] {
        let meant = NetworkRule { consent: Consent { public: true, proxies: false }, ..rule(network, "app") };
        assert_eq!(open_relay_faults(&[meant], &[]), [], "{network}");
    }
    let text = open_relay_faults(&[rule("0.0.0.0/0", "app")], &[])[0].to_string();
    assert_eq!(
        text,
        "identity \"app\": the network 0.0.0.0/0 holds every address, so anybody may relay; name the networks of your applications, let them authenticate, \
         or set allow_public_networks = true if an open relay is meant"
    );
}

#[test]
fn a_rule_that_covers_the_proxies_is_a_fault_unless_it_is_meant() {
    let proxies: Vec<IpNet> = ["10.9.0.0/24", "fd00:9::/64"].map(|network| network.parse().unwrap()).to_vec();
    for (network, faulty) in [
        ("10.0.0.0/8", true),
        ("10.9.0.0/24", true),
        ("10.9.0.5/32", true),
        ("::ffff:10.9.0.5/128", true),
        ("10.8.0.0/16", false),
        ("fd00::/8", true),
        ("fd01::/16", false),
    ] {
        let faults = open_relay_faults(&[rule(network, "app")], &proxies);
        assert_eq!(matches!(faults[..], [Fault::CoversProxies { .. }]), faulty, "{network}: {faults:?}");
        let meant = NetworkRule { consent: Consent { public: false, proxies: true }, ..rule(network, "app") };
        assert_eq!(open_relay_faults(&[meant], &proxies), [], "{network}");
    }
}

#[test]
fn one_network_or_name_is_one_identity() {
    let networks = [rule("10.0.0.0/8", "a"), rule("10.1.1.1/8", "b"), rule("10.1.0.0/16", "b"), rule("::ffff:10.1.0.0/112", "a")];
    let names = [named("dns:x.example", "a"), named("dns:X.example", "b"), named("uri:x.example", "b")];
    let faults: Vec<_> = Identities::faults(&networks, &names).iter().map(ToString::to_string).collect();
    assert_eq!(
        faults,
        [
            "the network 10.0.0.0/8 is identity \"a\" and identity \"b\"; give it to one of them",
            "the network 10.1.0.0/16 is identity \"b\" and identity \"a\"; give it to one of them",
            "the certificate name dns:x.example is identity \"a\" and identity \"b\"; give it to one of them",
        ]
    );
    assert_eq!(Identities::faults(&networks[..1], &names[..1]), []);
}

#[test]
fn a_mapped_address_is_in_the_network_it_means() {
    let networks: Vec<IpNet> = ["10.0.0.0/8".parse().unwrap(), "::ffff:192.168.0.0/112".parse().unwrap()].to_vec();
    for (address, expect) in [("::ffff:10.0.0.1", true), ("192.168.4.4", true), ("::ffff:192.168.4.4", true), ("192.169.0.1", false), ("::a00:1", false)] {
        assert_eq!(any_contains(&networks, address.parse().unwrap()), expect, "{address}");
    }
}
