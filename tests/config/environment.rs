//! Variables over the file.

use super::{good, good_and, read};
use secrecy::ExposeSecret;

fn told(text: &str, variables: &[(&str, &str)]) -> String {
    read(text, variables).map_or_else(|faults| faults, |config| format!("no fault: {config:?}"))
}

#[test]
fn a_variable_overrides_the_file() {
    let config = read(
        &good_and(
            "[deliver]\nmx_port = 2500\n[domains.\"example.com\"]\n[identities.Web-1]\nnetworks = [\"192.168.0.0/16\"]\nauthor_domains = [\"example.com\"]\n",
        ),
        &[
            ("POSTSEAL_SERVER__HOSTNAME", "mx2.example.com"),
            ("POSTSEAL_DELIVER__MX_PORT", "2600"),
            ("POSTSEAL_DELIVER__BDAT", "true"),
            ("POSTSEAL_DELIVER__MAX_AGE", "2d"),
            ("POSTSEAL_SPOOL__BODY_FILE_OCTETS_MIN", "1 MiB"),
            ("POSTSEAL_IDENTITIES__APP__NETWORKS", "10.1.0.0/16, 10.2.0.0/16"),
            ("POSTSEAL_DOMAINS__EXAMPLE_COM__ED25519", "true"),
            ("POSTSEAL_IDENTITIES__WEB_1__RECIPIENTS_MAX", "7"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.hostname.as_str(), "mx2.example.com");
    assert_eq!(config.deliver.routes.mx_port, 2600);
    assert!(config.deliver.bdat);
    assert_eq!(config.max_age.as_secs(), 2 * 86_400);
    assert_eq!(config.spool.body_file_octets_min, 1 << 20);
    let app: Vec<String> = config.identities.networks.iter().filter(|rule| rule.identity.as_str() == "app").map(|rule| rule.network.to_string()).collect();
    assert_eq!(app, ["10.1.0.0/16", "10.2.0.0/16"]);
    assert!(config.domains[&"example.com".parse().unwrap()].ed25519);
    let limits: Vec<usize> =
        config.policy.identities.iter().filter(|(name, _)| name.as_str() == "Web-1").map(|(_, identity)| identity.recipients_max).collect();
    assert_eq!(limits, [7]);
}

#[test]
fn a_relay_can_be_described_by_variables_alone() {
    let config = read(
        "",
        &[
            ("POSTSEAL_SERVER__HOSTNAME", "mx1.example.com"),
            ("POSTSEAL_LISTENERS__APP__ADDRESS", "127.0.0.1:2525"),
            ("POSTSEAL_LISTENERS__APP__TLS", "none"),
            ("POSTSEAL_IDENTITIES__APP__NETWORKS", "127.0.0.1"),
            ("POSTSEAL_IDENTITIES__APP__AUTHOR_DOMAINS", "example.com,example.org"),
        ],
    );
    assert_eq!(config.unwrap().domains.keys().map(ToString::to_string).collect::<Vec<_>>(), ["example.com", "example.org"]);
}

#[test]
fn a_fault_of_a_variable_names_it_and_comes_last() {
    let variables = [
        ("POSTSEAL_DELIVER__MX_PORT", "smtp"),
        ("POSTSEAL_SERVER__HOSTNAME", "not a name"),
        ("POSTSEAL_DOMAINS__EXAMPLE_COM__BOUNCE_DOMAIN", "b.example.net"),
        ("POSTSEAL_SEAL__SIGNATURE_EXPIRES", "1d"),
        ("POSTSEAL_SPOOL__COLOUR", "red"),
        ("POSTSEAL_LOG", "debug"),
    ];
    let faults = told(&good_and("[log]\nlevel = \"loud\"\n[domains.\"example.com\"]\n"), &variables);
    let mut lines: Vec<&str> = faults.lines().collect();
    assert_eq!(lines.remove(0), r#"postseal.toml:10: log.level: "loud"; expected one of "error", "warn", "info", "debug""#);
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            r#"$POSTSEAL_DELIVER__MX_PORT: deliver.mx_port: "smtp"; expected a whole number from 1 to 65535"#,
            r#"$POSTSEAL_DOMAINS__EXAMPLE_COM__BOUNCE_DOMAIN: domains."example.com".bounce_domain: bounce domain "b.example.net" is not aligned with author domain "example.com": DMARC would fail on SPF; expected a name below it, such as "b.example.com""#,
            r#"$POSTSEAL_SEAL__SIGNATURE_EXPIRES: seal.signature_expires: "1d"; expected at least "7d", two days more than the longest max_age: mail must not outlive its signature"#,
            r#"$POSTSEAL_SERVER__HOSTNAME: server.hostname: "not a name"; expected a domain name, as in "mail.example.com""#,
            r"$POSTSEAL_SPOOL__COLOUR: spool.colour: unknown key; expected only keys that config/postseal.toml names",
        ]
    );
}

/// Kubernetes sets such names for a service called postseal.
#[test]
fn names_without_a_double_underscore_are_ignored() {
    let variables = [
        ("POSTSEAL_PORT", "tcp://10.96.0.7:25"),
        ("POSTSEAL_PORT_25_TCP_ADDR", "10.96.0.7"),
        ("POSTSEAL_SERVICE_HOST", "10.96.0.7"),
        ("POSTSEAL_CONFIG", "elsewhere.toml"),
        ("SERVER__HOSTNAME", "other.example"),
        ("postseal_server__hostname", "other.example"),
    ];
    assert_eq!(read(&good(&[]), &variables).unwrap().server.hostname.as_str(), "mx1.example.com");
}

#[test]
fn a_password_of_digits_keeps_its_zero() {
    let hop = "[smart_hosts.hop]\nhost = \"a.example\"\nuser = \"u\"\n";
    let config = read(&good_and(hop), &[("POSTSEAL_SMART_HOSTS__HOP__PASSWORD", "0123")]).unwrap();
    assert_eq!(password(&config), "0123");
}

#[test]
fn a_secret_is_read_from_its_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("password");
    std::fs::write(&file, "correct horse \r\n").unwrap();
    let hop = format!("[smart_hosts.hop]\nhost = \"a.example\"\nuser = \"u\"\npassword_file = \"{}\"\n", file.display());
    assert_eq!(password(&read(&good_and(&hop), &[]).unwrap()), "correct horse ", "only the line end goes");
    assert_eq!(password(&read(&good_and(&hop), &[("POSTSEAL_SMART_HOSTS__HOP__PASSWORD", "other")]).unwrap()), "other", "a variable overrides the file's key");
    let hop = "[smart_hosts.hop]\nhost = \"a.example\"\nuser = \"u\"\npassword = \"other\"\n";
    let variable = [("POSTSEAL_SMART_HOSTS__HOP__PASSWORD_FILE", file.to_str().unwrap())];
    assert_eq!(password(&read(&good_and(hop), &variable).unwrap()), "correct horse ");
    let both = [variable[0], ("POSTSEAL_SMART_HOSTS__HOP__PASSWORD", "third")];
    assert_eq!(
        told(&good_and(hop), &both),
        "$POSTSEAL_SMART_HOSTS__HOP__PASSWORD_FILE: smart_hosts.hop.password_file: set, and password too; expected one of the two"
    );
}

fn password(config: &postseal::config::Config) -> String {
    use postseal::deliver::target::Login;
    let hop = config.smart_hosts.hosts.values().next().unwrap();
    match &hop.auth.as_ref().unwrap().login {
        Login::Password { password, .. } => password.expose_secret().to_owned(),
        other => panic!("{other:?}"),
    }
}
