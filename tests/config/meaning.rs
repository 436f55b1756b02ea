//! What a file without fault means, and what is warned of.

use super::{good, good_and, read};
use postseal::seal::NoKey;

#[test]
fn an_author_domain_needs_no_table() {
    let domains = |authors: &str, more: &str| {
        let config = read(&(good(&[("[\"example.com\"]", authors)]) + more), &[]).unwrap();
        config.domains.iter().map(|(domain, settings)| format!("{domain} {}", settings.bounce_domain)).collect::<Vec<_>>()
    };
    assert_eq!(domains("[\"example.com\"]", ""), ["example.com b.example.com"]);
    assert_eq!(domains("[\"example.com\", \"news.example.com\"]", ""), ["example.com b.example.com", "news.example.com b.news.example.com"]);
    assert_eq!(domains("[\".example.com\", \"*.example.org\"]", ""), ["example.com b.example.com", "example.org b.example.org"]);
    assert_eq!(
        domains("[\"news.example.com\"]", "[domains.\"example.com\"]\nbounce_domain = \"r.example.com\"\n"),
        ["example.com r.example.com"],
        "a table above it speaks for it"
    );
    assert_eq!(domains("[\"example.com\"]", "[domains.\"news.example.com\"]\n"), ["example.com b.example.com", "news.example.com b.news.example.com"]);
    assert_eq!(
        domains("[\"example.com\"]", "[identities.list]\nmode = \"forward\"\nforward_domain = \"lists.example.net\"\n"),
        ["example.com b.example.com", "lists.example.net b.lists.example.net"]
    );
}

#[test]
fn rooms_agree_on_the_domains() {
    let config = read(&good(&[]), &[]).unwrap();
    let domain = "example.com".parse().unwrap();
    assert!(config.domains.contains_key(&domain) && config.policy.domains.contains_key(&domain) && config.readdress.domains.contains_key(&domain));
}

#[test]
fn a_platform_signs_only_with_a_table_of_its_own() {
    let config = read(&good_and("[domains.\"example.com\"]\nthird_party_domain = \"platform.example\"\n[domains.\"platform.example\"]\n"), &[]).unwrap();
    assert_eq!(config.domains[&"example.com".parse().unwrap()].third_party.as_ref().map(ToString::to_string).as_deref(), Some("platform.example"));
}

#[test]
fn port_465_means_tls_from_the_first_octet() {
    let config = read(&good_and("[smart_hosts.a]\nhost = \"a.example\"\nport = 465\n[smart_hosts.b]\nhost = \"b.example\"\n[routes]\ndefault = \"a\"\n[routes.recipients]\n\"b.example\" = \"b\"\n"), &[]).unwrap();
    assert_eq!(config.smart_hosts.hosts.values().map(|host| (host.hosts[0].port, host.implicit_tls)).collect::<Vec<_>>(), [(465, true), (587, false)]);
}

#[test]
fn a_name_server_listens_on_53() {
    let config = read(&good_and("[resolver]\nnameservers = [\"192.0.2.53\", \"[2001:db8::53]:5353\"]\n"), &[]).unwrap();
    assert_eq!(config.resolver.nameservers.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.53:53", "[2001:db8::53]:5353"]);
}

#[test]
fn paths_are_relative_to_the_file() {
    use postseal::config::{Config, Document};
    let document = Document::of(&good_and("[spool]\ndirectory = \"queue\"\n"), std::path::Path::new("/etc/postseal/postseal.toml"), []).unwrap();
    let config = Config::of(&document).unwrap();
    assert_eq!((config.spool.directory.to_str(), config.server.keys.to_str()), (Some("/etc/postseal/queue"), Some("/etc/postseal/keys")));
}

#[test]
fn a_stream_takes_from_deliver_what_it_does_not_say() {
    let config = read(&good_and("[deliver]\nretry = [\"7m\"]\n[streams.bulk]\ndelay_notice_after = \"0s\"\n[streams.quick]\nretry = [\"1m\"]\n"), &[]).unwrap();
    let of = |name: &str| config.deliver.stream_schedules.iter().find(|(stream, _)| stream.to_string() == name).map(|(_, schedule)| schedule.clone()).unwrap();
    assert_eq!((of("bulk").waits[0].as_secs(), of("bulk").delay_notice_after), (420, None));
    assert_eq!((of("quick").waits[0].as_secs(), of("quick").delay_notice_after), (60, config.deliver.schedule.delay_notice_after));
}

/// Passwords and hashes are in memory; they must not get into a log with the rest.
#[test]
fn secrets_are_not_printed() {
    let credential = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    let text = good_and(&format!(
        "[smart_hosts.a]\nhost = \"a.example\"\nuser = \"u\"\npassword = \"hunter2\"\n[users.bob]\nidentity = \"app\"\ncredential = \"{credential}\"\n"
    ));
    let printed = format!("{:?}", read(&text, &[]).unwrap());
    assert!(printed.contains("bob") && printed.contains("a.example"));
    for secret in ["hunter2", "W22ZaJ0SNY7soEsUEjb6gQ", "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY", "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU"] {
        assert!(!printed.contains(secret), "{secret} is printed");
    }
}

#[test]
fn what_is_allowed_but_risky_is_warned_of() {
    let text = good(&[
        ("127.0.0.1", "0.0.0.0"),
        ("tls = \"none\"", "tls = \"none\"\nauth_without_tls = true"),
        ("networks = [\"10.0.0.0/8\"]", "networks = [\"198.51.100.0/24\"]\nallow_public_networks = true"),
    ]) + r#"
[identities.idle]
author_domains = ["example.org"]
[smart_hosts.hop]
host = "192.0.2.1"
user = "u"
password = "x"
auth_in_clear = true
tls = "none"
[seal]
no_key = "pass"
[spool]
file_systems = "volatile"
[deliver]
private_addresses_allowed = true
"#;
    let config = read(&text, &[]).unwrap();
    assert_eq!(config.seal.no_key, NoKey::Pass);
    assert_eq!(
        config.warnings().collect::<Vec<_>>(),
        [
            "deliver.private_addresses_allowed is true: whoever writes an MX record can have mail brought to an address inside your network",
            "identity \"app\": allow_public_networks is true: whoever has an address in its networks may send mail of example.com",
            "identity \"idle\" is nobody: it has neither networks nor certificate_names, and no user",
            "listener \"app\": auth_without_tls is true: passwords cross the network in clear",
            "seal.no_key is \"pass\": mail of a domain without a key leaves unsigned, and large receivers reject it",
            "smart host \"hop\" is not used: neither routes.default, routes.recipients nor returns.route names it",
            "smart host \"hop\": auth_in_clear is true: its password may cross the network in clear",
            "spool.file_systems is \"volatile\": on a tmpfs, accepted mail is lost when the machine or container stops",
        ]
    );
}

#[test]
fn a_way_home_that_leads_to_ourselves_is_told() {
    let text = |listener: &str, host: &str| {
        let listener = format!("[listeners.back]\npurpose = \"bounces\"\naddress = \"{listener}\"\ntls = \"none\"\n");
        good_and(&format!("{listener}[smart_hosts.home]\nhost = \"{host}\"\nport = 2600\n[returns]\nroute = \"home\"\n"))
    };
    for (listener, host, is_told) in [
        ("127.0.0.1:2600", "127.0.0.1", true),
        ("0.0.0.0:2600", "127.0.0.1", true),
        ("[::]:2600", "::1", true),
        ("127.0.0.1:2601", "127.0.0.1", false),
        ("127.0.0.1:2600", "192.0.2.1", false),
        ("127.0.0.1:2600", "mail.example.com", false),
    ] {
        let told = read(&text(listener, host), &[]).unwrap().warnings().any(|warning| warning.contains("leads to our own listener \"back\""));
        assert_eq!(told, is_told, "{listener} {host}");
    }
}

#[test]
fn where_no_disk_lasts_mail_goes_through_or_to_the_upstream_at_the_end() {
    let central = "[smart_hosts.central]\nhost = \"192.0.2.1\"\nreverse_path = \"keep\"\n[routes]\ndefault = \"central\"\n";
    let through = read(&good_and(&format!("{central}[spool]\nmode = \"through\"\nfile_systems = \"volatile\"\n")), &[]).unwrap();
    assert_eq!(through.warnings().collect::<Vec<_>>(), [""; 0]);
    let settings = through.through.unwrap();
    assert_eq!((settings.route.as_str(), settings.is_upstream, settings.timeout.as_secs(), settings.transactions_max), ("central", false, 120, 200));

    let text = good_and(&format!("{central}[spool]\nfile_systems = \"volatile\"\n")).replace("[server]", "[server]\nupstream = \"central\"");
    let queue = read(&text, &[]).unwrap();
    assert!(queue.through.is_none());
    assert_eq!(queue.server.upstream.as_ref().map(ToString::to_string).as_deref(), Some("central"));
    assert_eq!(
        queue.warnings().collect::<Vec<_>>(),
        ["spool.file_systems is \"volatile\": accepted mail goes to server.upstream at an orderly end, and is lost at any other (a kill, loss of power)"]
    );
    let both = read(&text.replace("file_systems", "mode = \"through\"\nfile_systems"), &[]).unwrap();
    assert!(both.through.unwrap().is_upstream);
    let smoothed = text.replace("file_systems", "mode = \"through\"\nfile_systems").replace("[identities.app]", "[identities.app]\nrecipients_per_minute = 60");
    assert_eq!(
        read(&smoothed, &[]).unwrap().warnings().collect::<Vec<_>>(),
        [
            "identity \"app\": its rate a minute has no effect: spool.mode is \"through\", so nothing waits for its turn: set a ceiling, or smooth at the smart host"
        ]
    );
}

#[test]
fn users_without_tls_are_warned_of() {
    let user = "[users.bob]\nidentity = \"app\"\ncredential = \"$argon2id$v=19$m=19456,t=2,p=1$bm8gcGFzc3dvcmQgYXQgYWxs$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"\n";
    assert_eq!(read(&good_and(user), &[]).unwrap().warnings().collect::<Vec<_>>(), ["no user can log in: no listener has TLS, and none sets auth_without_tls"]);
}

#[test]
fn domains_rotate_as_all_do_unless_they_say_otherwise() {
    use postseal::keys::lifecycle::Evidence;
    use std::time::Duration;
    let days = |days: u64| Some(Duration::from_hours(24 * days));
    let text = "[rotation]\nrotate_every = \"180d\"\nsoak_min = \"2h\"\n[domains.\"example.com\"]\n[domains.\"never.example\"]\nrotate_every = \"0s\"\n[domains.\"soon.example\"]\nrotate_every = \"30d\"\nevidence = \"resolver\"\n";
    let config = read(&good_and(text), &[]).unwrap();
    let told: Vec<_> = config.domains.iter().map(|(domain, settings)| (domain.as_str(), settings.rotation.rotate_every, settings.rotation.evidence)).collect();
    let expected =
        [("example.com", days(180), Evidence::Authoritative), ("never.example", None, Evidence::Authoritative), ("soon.example", days(30), Evidence::Resolver)];
    assert_eq!(told, expected);
    assert_eq!((config.rotation.soak_min, config.warnings().count()), (Duration::from_hours(2), 0));
}

#[test]
fn keys_that_do_not_rotate_as_meant_are_warned_of() {
    let text =
        "[rotation]\nrotate_every = \"1d\"\nevidence = \"manual\"\nsoak_min = \"59m\"\nretire_min = \"6d\"\n[domains.\"parked.example\"]\nparked = true\n";
    let config = read(&good_and(text), &[]).unwrap();
    let expected = [
        "domain example.com: rotate_every is \"1d\", less than rotation.retire_min, \"6d\": several old keys stay published at a time",
        "domain example.com: rotate_every is set, but evidence is \"manual\": new keys are made, and then nothing advances by itself, each waits for `postseal key advance example.com --confirm SELECTOR`",
        "rotation.retire_min is \"6d\": mail on its way may outlive its key's record; set it to at least 7d outside a lab",
        "rotation.soak_min is \"59m\": receivers that looked for a new key too early may not find it; set it to at least 1h outside a lab",
    ];
    assert_eq!(config.warnings().collect::<Vec<_>>(), expected);
}

#[test]
fn the_watch_of_keys_is_as_it_is_written() {
    use postseal::seal::LostKey;
    let config = read(&good_and(""), &[]).unwrap();
    assert_eq!((config.watch.lost_key, config.watch.looks.looks, config.resolver.authoritative_port), (LostKey::OtherKey, 3, 53));
    let text = "[watch]\nevery_min = \"10s\"\nevery_max = \"5m\"\nlooks = 5\nlost_key = \"hold\"\n[resolver]\nauthoritative_port = 5353\n";
    let config = read(&good_and(text), &[]).unwrap();
    assert_eq!((config.watch.lost_key, config.watch.looks.looks, config.resolver.authoritative_port), (LostKey::Hold, 5, 5353));
    assert_eq!((config.watch.looks.every_min.as_secs(), config.watch.looks.every_max.as_secs(), config.seal.held_pause.as_secs()), (10, 300, 50));
}
