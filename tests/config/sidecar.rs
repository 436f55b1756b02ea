//! The flat form: a relay of one domain from a handful of variables.

use super::{good, read};
use postseal::config::{Config, Document};
use secrecy::ExposeSecret as _;
use std::path::Path;

const FIVE: [(&str, &str); 5] = [
    ("POSTSEAL_SIDECAR__DOMAIN", "example.com"),
    ("POSTSEAL_SIDECAR__HOSTNAME", "mx1.example.com"),
    ("POSTSEAL_SIDECAR__KEY_FILE", "/run/secrets/ps202611a.pem"),
    ("POSTSEAL_SIDECAR__DIRECTORY", "/var/lib/postseal"),
    ("POSTSEAL_SIDECAR__SMART_HOST", "smtp.provider.example:465"),
];

/// The five without those named, and others in their place.
fn five_but(left_out: &[&str], others: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let is_left_out = |name: &str| left_out.iter().any(|left_out| name.ends_with(left_out)) || others.iter().any(|(other, _)| *other == name);
    FIVE.into_iter().filter(|(name, _)| !is_left_out(name)).chain(others.iter().copied()).collect()
}

fn document(text: &str, variables: &[(&str, &str)]) -> Document {
    let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Document::of(text, Path::new("postseal.toml"), variables).unwrap_or_else(|faults| panic!("{faults}"))
}

#[track_caller]
fn check(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let faults = read(text, variables).map_or_else(|faults| faults, |config| format!("no fault: {config:?}"));
    let mut told: Vec<&str> = faults.lines().collect();
    told.sort_unstable();
    assert_eq!(told, expected);
}

#[test]
fn five_variables_make_a_relay() {
    let config = read("", &FIVE).unwrap();
    assert_eq!(config.server.hostname.as_str(), "mx1.example.com");
    assert_eq!(config.listeners.iter().map(|listener| listener.address.to_string()).collect::<Vec<_>>(), ["127.0.0.1:2525"]);
    assert_eq!(config.identities.networks.iter().map(|rule| rule.network.to_string()).collect::<Vec<_>>(), ["127.0.0.1/32", "::1/128"]);
    let keys = config.key_files();
    assert_eq!(keys.iter().map(|key| (key.domain.to_string(), key.selector.to_string())).collect::<Vec<_>>(), [("example.com".into(), "ps202611a".into())]);
    assert_eq!(keys[0].path, Path::new("/run/secrets/ps202611a.pem"));
    assert_eq!((config.spool.directory.to_str(), config.server.keys.to_str()), (Some("/var/lib/postseal/spool"), Some("/var/lib/postseal/keys")));
    let hop = config.smart_hosts.hosts.values().next().unwrap();
    assert_eq!((hop.hosts[0].host.as_str(), hop.hosts[0].port, hop.implicit_tls), ("smtp.provider.example", 465, true));
    assert_eq!(config.policy.default_route.as_str(), "sidecar");
    assert_eq!(config.warnings().collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn what_it_means_is_shown_with_its_sources_and_without_secrets() {
    let variables = five_but(&[], &[("POSTSEAL_SIDECAR__USER", "us"), ("POSTSEAL_SIDECAR__PASSWORD", "correct horse")]);
    assert_eq!(
        document("[sidecar]\nnetworks = [\"10.0.0.7\"]\n", &variables).expanded(),
        [
            r#"domains."example.com".key_file = "/run/secrets/ps202611a.pem"  # $POSTSEAL_SIDECAR__KEY_FILE"#,
            r#"domains."example.com".key_selector = "ps202611a"  # by default"#,
            r#"identities.sidecar.author_domains = "example.com"  # $POSTSEAL_SIDECAR__DOMAIN"#,
            r#"identities.sidecar.networks = ["10.0.0.7"]  # postseal.toml:2"#,
            r#"listeners.sidecar.address = "127.0.0.1:2525"  # by default"#,
            r#"listeners.sidecar.tls = "none"  # by default"#,
            r#"routes.default = "sidecar"  # $POSTSEAL_SIDECAR__SMART_HOST"#,
            r#"server.hostname = "mx1.example.com"  # $POSTSEAL_SIDECAR__HOSTNAME"#,
            r#"server.keys = "/var/lib/postseal/keys"  # $POSTSEAL_SIDECAR__DIRECTORY"#,
            r#"smart_hosts.sidecar.host = "smtp.provider.example"  # $POSTSEAL_SIDECAR__SMART_HOST"#,
            r#"smart_hosts.sidecar.password = "***"  # $POSTSEAL_SIDECAR__PASSWORD"#,
            "smart_hosts.sidecar.port = 465  # $POSTSEAL_SIDECAR__SMART_HOST",
            r#"smart_hosts.sidecar.user = "us"  # $POSTSEAL_SIDECAR__USER"#,
            r#"spool.directory = "/var/lib/postseal/spool"  # $POSTSEAL_SIDECAR__DIRECTORY"#,
        ]
    );
}

/// The origin of an expanded value is where a person wrote it: what `explain` tells.
#[test]
fn a_value_is_traced_to_its_variable() {
    let document = document("", &FIVE);
    let origin = |keys: &[&str]| document.origin(keys).map(|origin| origin.to_string());
    assert_eq!(origin(&["server", "hostname"]).as_deref(), Some("$POSTSEAL_SIDECAR__HOSTNAME"));
    assert_eq!(origin(&["identities", "sidecar", "author_domains", "0"]).as_deref(), Some("$POSTSEAL_SIDECAR__DOMAIN"));
    assert_eq!(origin(&["listeners", "sidecar", "address"]), None);
}

#[test]
fn what_is_missing_is_told_with_the_variable_to_set() {
    check(
        "",
        &[("POSTSEAL_SIDECAR__NETWORKS", "10.0.0.7")],
        &[
            r#"$POSTSEAL_SIDECAR__DIRECTORY: sidecar.directory: missing; expected a folder on a disk that outlives the container, for queue and keys, as in "/var/lib/postseal"; or upstream, which needs none"#,
            r#"$POSTSEAL_SIDECAR__DOMAIN: sidecar.domain: missing; expected the author domain: what stands behind the @ of the application's From, as in "example.com""#,
            r#"$POSTSEAL_SIDECAR__HOSTNAME: sidecar.hostname: missing; expected the full name that the relay's PTR record gives, as in "mx1.example.com""#,
        ],
    );
    check(
        "[sidecar]\ndomain = \"example.com\"\ndirectory = \"state\"\n",
        &[],
        &[r#"postseal.toml:1: sidecar.hostname: missing; expected the full name that the relay's PTR record gives, as in "mx1.example.com""#],
    );
}

#[test]
fn wrong_values_are_told_once_with_their_variable() {
    check(
        "",
        &five_but(
            &[],
            &[
                ("POSTSEAL_SIDECAR__DOMAIN", "not a name"),
                ("POSTSEAL_SIDECAR__HOSTNAME", "mx1"),
                ("POSTSEAL_SIDECAR__NETWORKS", "0.0.0.0/0"),
                ("POSTSEAL_SIDECAR__ADDRESS", "2525"),
                ("POSTSEAL_SIDECAR__SMART_HOST", "smtp.provider.example:smtp"),
                ("POSTSEAL_SIDECAR__SELECTOR", "a b"),
                ("POSTSEAL_SIDECAR__HOSTNAEM", "mx2.example.com"),
            ],
        ),
        &[
            r#"$POSTSEAL_SIDECAR__ADDRESS: sidecar.address: "2525"; expected an IP address and port, as in "127.0.0.1:2525" or "[::1]:2525""#,
            r#"$POSTSEAL_SIDECAR__DOMAIN: sidecar.domain: "not a name"; expected a domain name, as in "mail.example.com""#,
            r#"$POSTSEAL_SIDECAR__HOSTNAEM: sidecar.hostnaem: unknown key; expected "hostname", perhaps"#,
            r#"$POSTSEAL_SIDECAR__HOSTNAME: sidecar.hostname: "mx1" has a single label; expected the full name that the relay's PTR record gives, as in "mx1.example.com""#,
            r#"$POSTSEAL_SIDECAR__NETWORKS: sidecar.networks: identity "sidecar": the network 0.0.0.0/0 holds every address, so anybody may relay; name the networks of your applications, let them authenticate, or set allow_public_networks = true if an open relay is meant"#,
            r#"$POSTSEAL_SIDECAR__SELECTOR: sidecar.selector: "a b"; expected letters, digits and hyphens, as in "ps202611a""#,
            r#"$POSTSEAL_SIDECAR__SMART_HOST: sidecar.smart_host: "smtp.provider.example:smtp"; expected a host name or an IP address, with a port where it is not 587, as in "smtp.provider.example:465""#,
        ],
    );
}

#[test]
fn keys_that_need_another_say_so() {
    check(
        "",
        &five_but(&["SMART_HOST"], &[("POSTSEAL_SIDECAR__KEY_FILE", "/run/secrets/dkim.key"), ("POSTSEAL_SIDECAR__USER", "us")]),
        &[
            r"$POSTSEAL_SIDECAR__SELECTOR: sidecar.selector: missing; expected the selector of the key's DNS record; only the name of a file SELECTOR.pem or SELECTOR.private tells it",
            r"$POSTSEAL_SIDECAR__USER: sidecar.user: set, though there is no smart_host and no upstream; expected the host that asks for it",
        ],
    );
    check(
        "",
        &five_but(&["KEY_FILE"], &[("POSTSEAL_SIDECAR__SELECTOR", "a"), ("POSTSEAL_SIDECAR__USER", "us")]),
        &[
            r"$POSTSEAL_SIDECAR__PASSWORD: sidecar.password: missing, though there is a user; expected password or password_file",
            r"$POSTSEAL_SIDECAR__SELECTOR: sidecar.selector: set, though there is no key_file; expected key_file too; keys in the directory bring their selectors with them",
        ],
    );
}

/// What stands in its own section stands there alone; what the short form only assumes gives way.
#[test]
fn nothing_is_said_twice() {
    let text = good(&[]);
    check(
        &text,
        &five_but(&[], &[("POSTSEAL_ROUTES__DEFAULT", "mx")]),
        &[
            r"$POSTSEAL_SIDECAR__HOSTNAME: sidecar.hostname: set, and server.hostname too; expected one of the two",
            r"$POSTSEAL_SIDECAR__SMART_HOST: sidecar.smart_host: set, and routes.default too; expected one of the two",
        ],
    );
    let config = read(
        "[listeners.sidecar]\naddress = \"127.0.0.1:587\"\n[spool]\ndirectory = \"/fast/spool\"\n",
        &five_but(&[], &[("POSTSEAL_SMART_HOSTS__SIDECAR__TLS", "required"), ("POSTSEAL_LOG__LEVEL", "debug"), ("POSTSEAL_SIDECAR__ADDRESS", "")]),
    )
    .unwrap();
    assert_eq!(config.listeners[0].address.to_string(), "127.0.0.1:587");
    assert_eq!((config.spool.directory.to_str(), config.server.keys.to_str()), (Some("/fast/spool"), Some("/var/lib/postseal/keys")));
}

/// Nothing is kept here: no disk, and no secret of bounce addresses.
#[test]
fn an_upstream_needs_no_disk() {
    let variables = five_but(&["SMART_HOST", "DIRECTORY"], &[("POSTSEAL_SIDECAR__UPSTREAM", "postseal.mail.svc:2525")]);
    let config = read("", &variables).unwrap();
    assert!(config.through.is_some());
    assert_eq!(config.policy.default_route.as_str(), "sidecar");
    assert_eq!(config.server.upstream.as_ref().map(postseal::mail::RouteName::as_str), Some("sidecar"));
    let hop = &config.smart_hosts.hosts.values().next().unwrap().hosts[0];
    assert_eq!((hop.host.as_str(), hop.port), ("postseal.mail.svc", 2525));
    assert!(config.smart_hosts.reverse_paths.values().all(|rewrite| *rewrite == postseal::readdress::RewriteReversePath::Keep));
    assert_eq!(config.warnings().collect::<Vec<_>>(), [""; 0]);

    // With a disk mail is queued, and goes to the upstream at an orderly end.
    let config = read("", &five_but(&["SMART_HOST"], &[("POSTSEAL_SIDECAR__UPSTREAM", "postseal.mail.svc:2525")])).unwrap();
    assert!(config.through.is_none() && config.server.upstream.is_some());

    check(
        "",
        &five_but(&[], &[("POSTSEAL_SIDECAR__UPSTREAM", "postseal.mail.svc")]),
        &["$POSTSEAL_SIDECAR__UPSTREAM: sidecar.upstream: set, and smart_host too; expected one of the two: a postseal of yours, or somebody else's host"],
    );
}

/// As compose and Helm write variables that nobody set.
#[test]
fn an_empty_variable_is_none() {
    let config = read("", &five_but(&[], &[("POSTSEAL_SIDECAR__SMART_HOST", ""), ("POSTSEAL_SIDECAR__PASSWORD_FILE", ""), ("POSTSEAL_SIDECAR__NETWORKS", "")]));
    let config = config.unwrap();
    assert_eq!(config.policy.default_route.as_str(), "mx");
    assert_eq!(config.identities.networks.len(), 2);
}

#[test]
fn names_that_kubernetes_makes_are_left_alone() {
    let variables = five_but(&[], &[("POSTSEAL_PORT", "tcp://10.96.0.7:25"), ("POSTSEAL_SERVICE_PORT_SUBMISSION", "587"), ("POSTSEAL_SIDECAR_PORT", "1")]);
    assert!(read("", &variables).is_ok());
    assert!(read("", &[("POSTSEAL_SIDECAR_DOMAIN", "example.com")]).unwrap_err().contains("server.hostname: missing"));
}

#[test]
fn passwords_of_the_environment_win_over_those_of_the_file() {
    let text = "[sidecar]\nuser = \"us\"\npassword_file = \"/nowhere\"\n";
    let config = read(text, &five_but(&[], &[("POSTSEAL_SIDECAR__PASSWORD", "0123")])).unwrap();
    let hop = config.smart_hosts.hosts.values().next().unwrap();
    let postseal::deliver::target::Login::Password { password, .. } = &hop.auth.as_ref().unwrap().login else { panic!("no password") };
    assert_eq!(password.expose_secret(), "0123");
}

#[test]
fn a_smart_host_is_a_name_or_an_address() {
    for (text, host, port) in [("hop", "hop", 587), ("[::1]:2526", "::1", 2526), ("::1", "::1", 587), ("[::1]", "::1", 587), ("192.0.2.1:25", "192.0.2.1", 25)]
    {
        let config = read(&format!("[sidecar]\nsmart_host = \"{text}\"\n"), &five_but(&["SMART_HOST"], &[])).unwrap();
        let hop = &config.smart_hosts.hosts.values().next().unwrap().hosts[0];
        assert_eq!((hop.host.as_str(), hop.port), (host, port), "{text}");
    }
    for text in ["a b", "host:", "host:99999", "[a", ":25"] {
        let faults = read(&format!("[sidecar]\nsmart_host = \"{text}\"\n"), &five_but(&["SMART_HOST"], &[])).map(|_| "no fault").unwrap_err();
        assert!(faults.starts_with("postseal.toml:2: sidecar.smart_host: "), "{text}: {faults}");
        assert_eq!(faults.lines().count(), 1, "{faults}");
    }
}

#[test]
fn only_the_usual_file_may_be_absent_and_only_for_the_sidecar() {
    let all = || FIVE.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    assert!(Document::read(Path::new("postseal.toml"), all()).is_ok_and(|document| Config::of(&document).is_ok()));
    assert!(Document::read(Path::new("elsewhere/postseal.toml"), all()).is_err());
    let other = [("POSTSEAL_SERVER__HOSTNAME".to_owned(), "mx1.example.com".to_owned())];
    let faults = Document::read(Path::new("postseal.toml"), other).map(|_| "no fault").unwrap_err().to_string();
    assert!(faults.ends_with("or the variables POSTSEAL_SIDECAR__DOMAIN, …__HOSTNAME and …__DIRECTORY"), "{faults}");
}
