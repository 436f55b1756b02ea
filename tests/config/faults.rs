//! What is told of wrong files, word for word: all of it at once, in the order of the file.

use super::{good, good_and, read};
use postseal::config::{Config, Document};
use std::path::Path;

/// Lines begin with the line of the file.
fn check(text: &str, expected: &str) {
    let faults = read(text, &[]).map_or_else(|faults| faults, |config| format!("no fault: {config:?}"));
    let told: Vec<&str> = faults.lines().map(|line| line.strip_prefix("postseal.toml").unwrap_or(line)).collect();
    assert_eq!(told.join("\n"), expected.trim(), "\n{text}");
}

#[test]
fn an_empty_file_lacks_three_things() {
    check(
        "",
        r#"
: server.hostname: missing; expected the full name that the relay's PTR record gives, as in "mx1.example.com"
: listeners: missing; expected at least one table [listeners.NAME]; nobody could connect otherwise
: identities: missing; expected at least one table [identities.NAME]; nobody could send otherwise
"#,
    );
    check(
        "listeners = 5\n[identities]\n[server]\nhostname = \"mx1.example.com\"\n",
        r"
:1: listeners: a single value; expected a table
:2: identities: empty; expected at least one table [identities.NAME]; nobody could send otherwise
",
    );
}

#[test]
fn what_goes_through_has_one_way_that_keeps_the_reverse_path() {
    let faults = |more: &str| read(&good_and(more), &[]).unwrap_err();
    let mx = faults("[spool]\nmode = \"through\"\n");
    assert!(mx.contains("spool.mode: \"through\", and routes.default is \"mx\"; expected routes.default with the name of a smart host"), "{mx}");
    let hosts = "[smart_hosts.central]\nhost = \"192.0.2.1\"\n[smart_hosts.other]\nhost = \"192.0.2.2\"\n[spool]\nmode = \"through\"\n";
    let two = faults(&format!("{hosts}[routes]\ndefault = \"central\"\n[routes.recipients]\n\"example.net\" = \"other\"\n"));
    assert!(two.contains("routes.recipients.\"example.net\": \"other\"; expected \"central\", as routes.default"), "{two}");
    assert!(two.contains("smart_hosts.central.reverse_path: \"rewrite\"; expected reverse_path = \"keep\""), "{two}");
    let lmtp = "[smart_hosts.agent]\nhost = \"192.0.2.1\"\nport = 24\nprotocol = \"lmtp\"\nreverse_path = \"keep\"\n[routes]\ndefault = \"agent\"\n";
    let agent = faults(&format!("{lmtp}[spool]\nmode = \"through\"\n"));
    assert!(agent.contains("smart_hosts.agent.protocol: \"lmtp\"; expected \"smtp\": with spool.mode = \"through\" a client hears one answer"), "{agent}");
    assert!(agent.contains("or set spool.mode = \"queue\""), "{agent}");
    assert!(read(&good_and(lmtp), &[]).is_ok(), "what is queued may go there");
    let late = faults(&format!("{hosts}[routes]\ndefault = \"central\"\n[through]\ntimeout = \"10m\"\n"));
    assert!(late.contains("through.timeout: \"10m\"; expected a time with its unit from \"1s\" to \"570s\""), "{late}");
    let nobody = read(&good(&[("[server]", "[server]\nupstream = \"central\"")]), &[]).unwrap_err();
    assert!(nobody.contains("server.upstream: \"central\"; expected one of "), "{nobody}");
}

#[test]
fn what_comes_back_needs_a_way_home() {
    let listener = "[listeners.back]\npurpose = \"bounces\"\naddress = \"127.0.0.1:25\"\ntls = \"none\"\n";
    let home = "[smart_hosts.home]\nhost = \"192.0.2.1\"\n";
    let faults = |more: &str| read(&good_and(&format!("{listener}{more}")), &[]).unwrap_err();
    let none = faults("");
    assert!(none.contains("returns.route: missing, though a listener takes bounces; expected the name of a smart host"), "{none}");
    let unknown = faults(&format!("{home}[returns]\nroute = \"house\"\n"));
    assert!(unknown.contains("returns.route: \"house\"; expected one of \"home\""), "{unknown}");
    let both = faults(&format!("{home}[returns]\nroute = \"home\"\nevents_only = true\n"));
    assert!(both.contains("returns.events_only: true, though there is a route; expected false"), "{both}");
    for good in [format!("{listener}[returns]\nevents_only = true\n"), format!("{listener}{home}[returns]\nroute = \"home\"\n")] {
        assert!(read(&good_and(&good), &[]).is_ok(), "{good}");
    }
    let lmtp = faults(&format!("{home}protocol = \"lmtp\"\n[returns]\nroute = \"home\"\n"));
    assert!(lmtp.contains("smart_hosts.home.port: missing, though protocol is \"lmtp\"; expected the port of the delivery agent"), "{lmtp}");
    let all = faults(&format!(
        "bare_lf = \"repair\"\nauth_without_tls = true\nmessage_octets_max = \"65 MiB\"\n{home}[returns]\nroute = \"home\"\n\
         [returns.senders]\n\"a b@x\" = \"events-only\"\n\"x.example\" = \"nobody\"\n\"no-reply\" = \"events-only\"\n\
         [returns.mailboxes]\npostmaster = \"a@x.example\"\nbaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa = \"a@x.example\"\n[spool]\nhistory_days = 29\n"
    ));
    for told in [
        "listeners.back.bare_lf: set, though purpose is \"bounces\"; expected no bare_lf: what comes back is mended",
        "listeners.back.auth_without_tls: set, though purpose is \"bounces\"; expected no auth_without_tls: nobody authenticates there",
        "returns.incoming_octets_max: \"64 MiB\"; expected at least listeners.back.message_octets_max, \"65 MiB\"",
        "returns.senders.\"a b@x\": ",
        "returns.senders.\"x.example\": \"nobody\"; expected an address, or \"events-only\"",
        "returns.senders.no-reply: \"no-reply\" is neither an address nor a domain; expected \"no-reply@example.com\"",
        "returns.mailboxes.postmaster: a local part that has a key of its own; expected returns.postmaster",
        "returns.mailboxes.baaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa: ",
        "spool.history_days: \"29\"; expected at least readdress.token_age_days_max, 30",
    ] {
        assert!(all.contains(told) || all.contains(&told.replace("\"29\"", "29")), "{told}\nin\n{all}");
    }
    assert_eq!(all.lines().count(), 9, "{all}");
}

#[test]
fn a_file_that_is_missing_is_named() {
    let faults = Config::load(Path::new("nowhere/postseal.toml")).unwrap_err().to_string();
    assert_eq!(faults, "nowhere/postseal.toml: cannot be read: No such file or directory (os error 2); expected a configuration file; name it with --config");
}

#[test]
fn every_place_that_is_not_toml_is_told() {
    check(
        "[server]\nhostname = mx1.example.com\n[listeners\naddress = \"1\"\n[a]\nb = 'c\n",
        "
:2: not TOML: string values must be quoted, expected literal string
:3: not TOML: unclosed table, expected `]`
:6: not TOML: invalid literal string, expected `'`
",
    );
    check("[server]\nhostname = \"a\"\nhostname = \"b\"\ndrain 5\n", ":3: not TOML: duplicate key\n:4: not TOML: key with no value, expected `=`");
}

#[test]
fn an_unknown_key_is_told_with_the_one_that_may_be_meant() {
    check(
        &good(&[("hostname =", "hostnaem =")]),
        r#"
:1: server.hostname: missing; expected the full name that the relay's PTR record gives, as in "mx1.example.com"
:2: server.hostnaem: unknown key; expected "hostname", perhaps
"#,
    );
    check(
        &good_and("[delivery]\nmax_age = \"1d\"\n[deliver]\nca_file = \"ca.pem\"\n[spool]\ncolour = 1\n[deliver.tls]\n\"example.net\" = \"verified\"\n"),
        r#"
:9: delivery: unknown key; expected "deliver", perhaps
:12: deliver.ca_file: unknown key; expected "deliver.tls.ca_file", perhaps
:14: spool.colour: unknown key; expected only keys that config/postseal.toml names
:16: deliver.tls."example.net": unknown key; expected only keys that config/postseal.toml names
"#,
    );
}

#[test]
fn a_value_of_the_wrong_kind_is_told_with_the_right_one() {
    check(
        &good_and(
            "[deliver]\nmax_age = 5\nmx_port = \"smtp\"\nbdat = \"yes\"\nretry = [\"5m\", 7]\nown_names = 7\nsource_v4 = \"::1\"\nehlo_name = \"-\"\ntimeouts = \"1m\"\n",
        ),
        r#"
:10: deliver.max_age: 5; expected a time with its unit from "1s" to "365d"
:11: deliver.mx_port: "smtp"; expected a whole number from 1 to 65535
:12: deliver.bdat: "yes"; expected true or false
:13: deliver.retry: 7; expected a time with its unit, as in "250ms", "30s", "5m", "2h" or "5d"
:14: deliver.own_names: 7; expected a domain name, as in "mail.example.com"
:15: deliver.source_v4: "::1"; expected an IPv4 address, as in "192.0.2.1"
:16: deliver.ehlo_name: "-"; expected a domain name, as in "mail.example.com"
:17: deliver.timeouts: a single value; expected a table
"#,
    );
    check(
        &good(&[("\"127.0.0.1:2525\"", "\"localhost:25\""), ("\"none\"", "\"None\""), ("\"10.0.0.0/8\"", "\"10.0.0.0/33\"")]),
        r#"
:4: listeners.app.address: "localhost:25"; expected an IP address and port, as in "127.0.0.1:2525" or "[::1]:2525"
:5: listeners.app.tls: "None"; expected one of "none", "starttls", "starttls-required", "implicit"
:7: identities.app.networks: "10.0.0.0/33"; expected a network, as in "10.1.0.0/16" or "192.0.2.7"
"#,
    );
    check(
        &good(&[("mx1.example.com", "mx1")]),
        r#":2: server.hostname: "mx1" has a single label; expected the full name that the relay's PTR record gives, as in "mx1.example.com""#,
    );
}

#[test]
fn a_relay_that_could_not_work_is_a_fault() {
    check(
        &good(&[(
            "tls = \"none\"\n",
            "tls = \"none\"\nconnections_max = 0\nrecipients_max = 0\nmessage_octets_max = 0\nidle_timeout = \"0s\"\nline_octets_max = 998\nmails_max = 0\nerrors_max = 1.5\ncommand_octets_max = 511\n",
        )]),
        r#"
:6: listeners.app.connections_max: 0; expected a whole number from 1 to 1000000
:7: listeners.app.recipients_max: 0; expected a whole number from 1 to 100000
:8: listeners.app.message_octets_max: 0; expected a size with its unit from "1 KiB" to "1 GiB"
:9: listeners.app.idle_timeout: "0s"; expected a time with its unit from "1ms" to "1d"
:10: listeners.app.line_octets_max: 998; expected a size with its unit from "1 kB" to "64 MiB"
:11: listeners.app.mails_max: 0; expected a whole number from 1 to 1000000000
:12: listeners.app.errors_max: a number with a fraction; expected a whole number from 1 to 1000000
:13: listeners.app.command_octets_max: 511; expected a size with its unit from 512 to "64 KiB"
"#,
    );
    check(
        &good_and(
            "[deliver]\nmax_age = \"0s\"\nlease = \"880s\"\nmx_port = 0\nhosts_max = 0\nretry = []\njitter_percent = 51\nclaim_recipients_max = -1\n[deliver.timeouts]\nrcpt = \"0s\"\n[streams.bulk]\nretry = [\"5m\", \"0s\"]\nrecipients_per_minute = 0\n",
        ),
        r#"
:10: deliver.max_age: "0s"; expected a time with its unit from "1s" to "365d"
:11: deliver.lease: "880s"; expected more than "880s", by a third more than timeouts.data_done and lease_margin together
:12: deliver.mx_port: 0; expected a whole number from 1 to 65535
:13: deliver.hosts_max: 0; expected a whole number from 1 to 100
:14: deliver.retry: []; expected waits between attempts from "1s" to "365d", as in ["5m", "30m", "2h"]
:15: deliver.jitter_percent: 51; expected a whole number from 0 to 50
:16: deliver.claim_recipients_max: -1; expected a whole number from 1 to 100000
:18: deliver.timeouts.rcpt: "0s"; expected a time with its unit from "1ms" to "1d"
:20: streams.bulk.retry: ["5m", "0s"]; expected waits between attempts from "1s" to "365d", as in ["5m", "30m", "2h"]
:21: streams.bulk.recipients_per_minute: 0; expected a whole number from 1 to 10000000
"#,
    );
    check(
        &good_and(
            "[spool]\nreaders = 0\nreserve_octets = \"511 MiB\"\nhistory_days = 0\nbody_file_octets_min = \"65 MiB\"\n[resolver]\nnameservers = []\nlookups_max = 0\n[auth]\nfailures_max = 0\nchecks_waiting_max = 0\n[normalise]\nheader_octets_max = 100\nmime_depth_max = 0\n",
        ),
        r#"
:10: spool.readers: 0; expected a whole number from 1 to 64
:11: spool.reserve_octets: "511 MiB"; expected at least "512 MiB", twice wal_octets_max: a checkpoint must find room when everything else is full
:12: spool.history_days: 0; expected a whole number from 1 to 3650
:13: spool.body_file_octets_min: "65 MiB"; expected a size with its unit from 0 to "64 MiB"
:15: resolver.nameservers: none; expected at least one; leave the key away for those of /etc/resolv.conf
:16: resolver.lookups_max: 0; expected a whole number from 1 to 100000
:18: auth.failures_max: 0; expected a whole number from 1 to 1000000
:19: auth.checks_waiting_max: 0; expected a whole number from 1 to 100000
:21: normalise.header_octets_max: 100; expected a size with its unit from "1 KiB" to "16 MiB"
:22: normalise.mime_depth_max: 0; expected a whole number from 1 to 200
"#,
    );
}

/// Times and sizes that would overflow further in, and numbers that no type holds.
#[test]
fn absurd_values_are_faults_too() {
    check(
        &good_and(
            "[deliver]\nmax_age = \"99999999999999999999d\"\nidle_timeout = \"9999999999999d\"\nqueues_max = 99999999999999999999\n[spool]\nwal_octets_max = \"99999999999 GiB\"\nreserve_octets = \"1 PiB\"\n",
        ),
        r#"
:10: deliver.max_age: "99999999999999999999d"; expected a time with its unit from "1s" to "365d"
:11: deliver.idle_timeout: "9999999999999d"; expected a time with its unit from "0s" to "1d"
:12: deliver.queues_max: 99999999999999999999; expected a whole number from 1 to 100000
:14: spool.wal_octets_max: "99999999999 GiB"; expected a size with its unit from "1 MiB" to "64 GiB"
:15: spool.reserve_octets: "1 PiB"; expected a size with its unit from "1 MiB" to "1024 GiB"
"#,
    );
}

#[test]
fn tls_needs_a_certificate() {
    let expected = "TLS, but there is no certificate; expected a table [tls.certificates.NAME] with chain and key, or tls = \"none\"";
    check(&good(&[("tls = \"none\"\n", "")]), &format!(":3: listeners.app.tls: {expected}"));
    check(&good(&[("\"none\"", "\"implicit\"")]), &format!(":5: listeners.app.tls: {expected}"));
    check(
        &(good(&[("\"none\"", "\"implicit\"")]) + "[tls.certificates.main]\nchain = \"chain.pem\"\n[tls]\nclient_certificate_required = true\n"),
        "
:9: tls.certificates.main.key: missing; expected a PEM file with the certificate's private key
:12: tls.client_certificate_required: true, but there is no client_ca_file; expected client_ca_file, a PEM file of those who issue client certificates
",
    );
}

#[test]
fn an_open_relay_does_not_start() {
    check(
        &good(&[("\"10.0.0.0/8\"", "\"0.0.0.0/0\"")]),
        r#":7: identities.app.networks: identity "app": the network 0.0.0.0/0 holds every address, so anybody may relay; name the networks of your applications, let them authenticate, or set allow_public_networks = true if an open relay is meant"#,
    );
    check(
        &good(&[("\"10.0.0.0/8\"", "\"10.0.0.0/8\", \"8.8.8.0/24\"")]),
        r#":7: identities.app.networks: identity "app": the network 8.8.8.0/24 is not private, so whoever has an address there may relay; name private networks, let these clients authenticate, or set allow_public_networks = true if that is meant"#,
    );
    check(
        &good(&[("tls = \"none\"\n", "tls = \"none\"\nproxy_protocol = true\nproxies = [\"10.0.0.1\"]\n")]),
        r#":9: identities.app.networks: identity "app": the network 10.0.0.0/8 and the proxy or node network 10.0.0.1/32 have addresses in common, so whoever comes through there without a PROXY header is that identity; keep them apart, or set allow_proxy_networks = true if that is meant"#,
    );
}

#[test]
fn proxies_and_their_header_belong_together() {
    let proxied = |line: &str| good(&[("tls = \"none\"\n", &format!("tls = \"none\"\n{line}\n"))]);
    check(
        &proxied("proxy_protocol = true"),
        ":3: listeners.app.proxies: empty, though proxy_protocol is true; expected the networks that proxies connect from",
    );
    check(
        &proxied("proxies = [\"192.168.0.1\"]"),
        ":6: listeners.app.proxies: set, though proxy_protocol is false; expected proxy_protocol = true, or no proxies",
    );
}

#[test]
fn nobody_is_two_identities() {
    check(
        &good_and("[identities.two]\nnetworks = [\"10.0.0.0/8\"]\nauthor_domains = [\"example.org\"]\n"),
        r#":10: identities.two.networks: the network 10.0.0.0/8 is identity "app" and identity "two"; give it to one of them"#,
    );
}

#[test]
fn certificate_names_need_certificates() {
    check(
        &good(&[("networks = [\"10.0.0.0/8\"]", "certificate_names = [\"dns:app.example.com\", \"app.example.com\"]")]),
        r#"
:7: identities.app.certificate_names: "app.example.com" names no certificate; expected dns:app.example.com, email:app@example.com or uri:spiffe://example.com/app
:7: identities.app.certificate_names: set, though no client is asked for a certificate; expected tls.client_ca_file, a PEM file of those who issue client certificates
"#,
    );
}

#[test]
fn a_bounce_domain_must_be_aligned() {
    check(
        &good_and("[domains.\"example.com\"]\nbounce_domain = \"bounces.example.net\"\nthird_party_domain = \"platform.example\"\n[domains.\"exa mple\"]\n"),
        r#"
:10: domains."example.com".bounce_domain: bounce domain "bounces.example.net" is not aligned with author domain "example.com": DMARC would fail on SPF; expected a name below it, such as "b.example.com"
:11: domains."example.com".third_party_domain: "platform.example"; expected a domain with a table [domains.NAME] of its own, so that it has keys
:12: domains."exa mple": "exa mple" is not a domain name: it holds a character that no host name has; expected labels of letters, digits and hyphens, as in mail.example.com
"#,
    );
}

/// One fault, though more of the table follows: the rest is still read.
#[test]
fn author_and_forward_mode_have_a_domain_each() {
    let mode = |lines: &str| good(&[("author_domains = [\"example.com\"]", &format!("{lines}\nrecipients_max = 5"))]);
    check(&mode("mode = \"forward\""), ":6: identities.app.forward_domain: missing; expected the forwarder's own domain, since mode is \"forward\"");
    check(
        &mode("mode = \"forward\"\nforward_domain = \"lists.example.com\"\nauthor_domains = [\"example.com\"]"),
        ":10: identities.app.author_domains: set, though mode is \"forward\", which passes on mail of any author; expected mode = \"author\", or no author_domains",
    );
    check(
        &mode("forward_domain = \"lists.example.com\"\nauthor_domains = [\"example.com\"]"),
        ":8: identities.app.forward_domain: set, though mode is \"author\"; expected mode = \"forward\", or no forward_domain",
    );
    check(&mode(""), ":6: identities.app.author_domains: missing; expected the domains of its From addresses, as in [\"example.com\"], or mode = \"forward\"");
    check(
        &mode("author_domains = []"),
        ":8: identities.app.author_domains: empty; expected the domains of its From addresses, as in [\"example.com\"], or mode = \"forward\"",
    );
    check(&mode("author_domains = 5"), ":8: identities.app.author_domains: 5; expected a text in quotes");
    check(
        &good_and("[domains.\"example.com\"]\nparked = true\n"),
        r#":8: identities.app.author_domains: "example.com", though domains."example.com" is parked: it never sends; expected domains that send, or parked = false"#,
    );
}

#[test]
fn names_lead_to_what_is_there() {
    check(
        &good(&[("author_domains", "stream = \"bulk\"\nstreams = [\"other\", \"default\"]\nauthor_domains")]),
        r#"
:8: identities.app.stream: "bulk"; expected one of "default"; a stream is declared as [streams.NAME]
:9: identities.app.streams: "other"; expected one of "default"; a stream is declared as [streams.NAME]
"#,
    );
    check(
        &good_and(
            "[routes]\ndefault = \"provider\"\n[routes.recipients]\n\"example.net\" = \"hop\"\n\"b.example\" = 5\n[smart_hosts.hop2]\nhost = \"a.example\"\n[users.bob]\nidentity = \"nobody\"\n[users.eve]\n[smart_hosts.mx]\n",
        ),
        r#"
:10: routes.default: "provider"; expected one of "mx", "hop2"; a smart host is declared as [smart_hosts.NAME]
:12: routes.recipients."example.net": "hop"; expected one of "mx", "hop2"; a smart host is declared as [smart_hosts.NAME]
:13: routes.recipients."b.example": 5; expected a text in quotes
:16: users.bob.credential: missing; expected a hash that `postseal user hash` prints, or credential_file
:17: users.bob.identity: "nobody"; expected the name of one of the tables [identities.NAME]
:18: users.eve.identity: missing; expected the name of one of the tables [identities.NAME]
:18: users.eve.credential: missing; expected a hash that `postseal user hash` prints, or credential_file
:19: smart_hosts.mx: "mx" cannot name a smart host; expected another name; "mx" is the route by MX records, and names hold no "/"
:19: smart_hosts.mx.host: missing; expected a host name or an IP address
"#,
    );
}

#[test]
fn what_mail_needs_outlives_it() {
    check(
        &good_and(
            "[seal]\nsignature_expires = \"167h\"\nsignature_expires_margin = \"7d\"\n[readdress]\ntoken_age_days_max = 11\n[spool]\nsenders_days = 11\n",
        ),
        r#"
:10: seal.signature_expires: "167h"; expected at least "7d", two days more than the longest max_age: mail must not outlive its signature
:13: readdress.token_age_days_max: 11; expected at least 12, the longest max_age and policy.deliver_after_max together: mail must not outlive its bounce address
:15: spool.senders_days: 11; expected more than readdress.token_age_days_max, 11: a bounce address must lead back to its sender
"#,
    );
    check(
        &good_and("[seal]\nsignature_expires = \"7d\"\n[streams.slow]\nmax_age = \"6d\"\n"),
        ":10: seal.signature_expires: \"7d\"; expected at least \"8d\", two days more than the longest max_age: mail must not outlive its signature",
    );
    check(
        &good_and("[seal]\nsignature_expires = \"7d\"\nsignature_expires_margin = \"168h\"\n"),
        ":11: seal.signature_expires_margin: \"7d\"; expected less than signature_expires, or every attempt would seal anew",
    );
    assert!(read(&good_and("[seal]\nsignature_expires = \"7d\"\n[readdress]\ntoken_age_days_max = 12\n[spool]\nsenders_days = 13\n"), &[]).is_ok());
}

#[test]
fn files_that_configure_must_be_there() {
    check(
        &good_and(
            "[deliver]\nshaping_file = \"nowhere.toml\"\nreasons_file = \"nowhere.toml\"\n[smart_hosts.hop]\nhost = \"a.example\"\nuser = \"u\"\npassword_file = \"/nowhere/password\"\n[deliver.tls]\nroots = \"only-ca-file\"\n",
        ),
        r#"
:10: deliver.shaping_file: "nowhere.toml" cannot be read: No such file or directory (os error 2); expected a file like config/shaping.toml
:11: deliver.reasons_file: "nowhere.toml" cannot be read: No such file or directory (os error 2); expected a file like config/reasons.toml
:15: smart_hosts.hop.password_file: "/nowhere/password" cannot be read: No such file or directory (os error 2); expected a readable file that holds the secret
:17: deliver.tls.roots: "only-ca-file", but there is no ca_file; expected ca_file, a PEM file of those who issue the next hops' certificates
"#,
    );
}

#[test]
fn smart_hosts_are_checked() {
    check(
        &good_and(
            "[smart_hosts.a]\nhost = \"a.example:25\"\nfallback_hosts = [\"b b\"]\nuser = \"u\"\n[smart_hosts.b]\nhost = \"192.0.2.1\"\npassword = \"hunter2\"\n[smart_hosts.c]\nhost = \"c.example\"\nuser = \"u\"\npassword = \"hunter2\"\ntls = \"opportunistic\"\n",
        ),
        r#"
:9: smart_hosts.a.password: missing, though there is a user; expected password or password_file
:10: smart_hosts.a.host: "a.example:25"; expected a host name or an IP address; the port has a key of its own
:11: smart_hosts.a.fallback_hosts: "b b"; expected a host name or an IP address; the port has a key of its own
:13: smart_hosts.b.user: missing, though there is a password; expected the user's name
:20: smart_hosts.c.tls: TLS is not demanded, though there is a password; expected "verified" or "required", or auth_in_clear = true (a lab)
"#,
    );
}

/// Whatever is wrong with a secret, no fault shows it.
#[test]
fn secrets_are_in_no_fault() {
    check(
        &good_and(
            "[smart_hosts.a]\nhost = \"a.example\"\nuser = \"u\"\npassword = 48151623\n[smart_hosts.b]\nhost = \"b.example\"\nuser = \"u\"\npassword = \"hunter2\"\npassword_file = \"x\"\n[smart_hosts.c]\nhost = \"c.example\"\nuser = \"u\"\npassword = \"\"\n[users.bob]\nidentity = \"app\"\ncredential = \"hunter2\"\n[users.eve]\nidentity = \"app\"\ncredential = \"$argon2id$hunter2\"\n[users.mallory]\nidentity = \"app\"\ncredential = \"SCRAM-SHA-256$hunter2\"\n",
        ),
        r#"
:12: smart_hosts.a.password: no text, or an empty one; expected a secret in quotes
:17: smart_hosts.b.password_file: set, and password too; expected one of the two
:21: smart_hosts.c.password: no text, or an empty one; expected a secret in quotes
:24: users.bob.credential: the credential cannot be used: it is neither $argon2id$… nor SCRAM-SHA-256$…; plain passwords are not stored; make one with "postseal user hash"
:27: users.eve.credential: the credential cannot be used: its salt or its hash is missing; make one with "postseal user hash"
:30: users.mallory.credential: the credential cannot be used: the second "$" is missing; make one with "postseal user hash"
"#,
    );
}

#[test]
fn users_can_be_told_apart() {
    let credential = "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=";
    check(
        &good_and(&format!(
            "[users.\"a\\u00AA\"]\nidentity = \"app\"\ncredential = \"{credential}\"\n[users.aa]\nidentity = \"app\"\ncredential = \"{credential}\"\n"
        )),
        ":9: users.\"aª\": user \"aª\" is there twice; take one out",
    );
}

/// A directory in the place of a secret, and one that is not UTF-8, do not end the program.
#[test]
fn files_that_hold_no_text_are_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("octets"), [0xff, 0xfe]).unwrap();
    std::fs::write(folder.path().join("empty"), "\n").unwrap();
    std::fs::write(folder.path().join("latin1.toml"), [b'a', 0xe9]).unwrap();
    let text = good_and(
        "[smart_hosts.a]\nhost = \"a.example\"\nuser = \"u\"\npassword_file = \"octets\"\n[smart_hosts.b]\nhost = \"b.example\"\nuser = \"u\"\npassword_file = \"empty\"\n[smart_hosts.c]\nhost = \"c.example\"\nuser = \"u\"\npassword_file = \".\"\n",
    );
    let faults = Config::of(&Document::of(&text, &folder.path().join("postseal.toml"), []).unwrap()).unwrap_err().to_string();
    let told = faults.replace(&folder.path().display().to_string(), "DIR");
    assert_eq!(
        told,
        r#"DIR/postseal.toml:12: smart_hosts.a.password_file: "DIR/octets" cannot be read: stream did not contain valid UTF-8; expected a readable file that holds the secret
DIR/postseal.toml:16: smart_hosts.b.password_file: "DIR/empty" is empty; expected a file that holds the secret
DIR/postseal.toml:20: smart_hosts.c.password_file: "DIR/." cannot be read: Is a directory (os error 21); expected a readable file that holds the secret"#
    );
    let faults = Document::read(&folder.path().join("latin1.toml"), []).err().unwrap().to_string();
    assert!(
        faults.ends_with("latin1.toml: cannot be read: stream did not contain valid UTF-8; expected a configuration file; name it with --config"),
        "{faults}"
    );
}

#[test]
fn rotation_has_bounds() {
    check(
        &good_and(
            "[rotation]\nrotate_every = \"5s\"\nevidence = \"hearsay\"\nsoak_min = \"31d\"\nunreachable_max = \"0s\"\nretire_min = \"0s\"\nremoval_after = \"366d\"\ncheck_every = \"2h\"\nselector = \"mail\"\n[domains.\"example.com\"]\nrotate_every = \"20y\"\nevidence = \"rumour\"\n",
        ),
        r#"
:10: rotation.rotate_every: "5s"; expected at least "1m" (and months, in earnest), or "0s" for never
:11: rotation.evidence: "hearsay"; expected one of "authoritative", "resolver", "manual"
:12: rotation.soak_min: "31d"; expected a time with its unit from "0s" to "30d"
:13: rotation.unreachable_max: "0s"; expected a time with its unit from "1s" to "30d"
:14: rotation.retire_min: "0s"; expected a time with its unit from "1s" to "365d"
:15: rotation.removal_after: "366d"; expected a time with its unit from "1s" to "365d"
:16: rotation.check_every: "2h"; expected a time with its unit from "1s" to "1h"
:17: rotation.selector: "mail" has to hold {letter} or {number} just once: no selector is used twice, so a name has to be able to grow
:19: domains."example.com".rotate_every: "20y"; expected a time with its unit from "0s" to "3650d"
:20: domains."example.com".evidence: "rumour"; expected one of "authoritative", "resolver", "manual"
"#,
    );
}

#[test]
fn a_watch_that_could_not_be_kept_is_a_fault() {
    check(
        &good_and("[watch]\nevery_min = \"10ms\"\nevery_max = \"2d\"\nlooks = 0\nlost_key = \"refuse\"\n[resolver]\nauthoritative_port = 0\n"),
        r#"
:10: watch.every_min: "10ms"; expected a time with its unit from "100ms" to "1d"
:11: watch.every_max: "2d"; expected a time with its unit from "100ms" to "1d"
:12: watch.looks: 0; expected a whole number from 1 to 100
:13: watch.lost_key: "refuse"; expected one of "other-key", "hold", "warn"
:15: resolver.authoritative_port: 0; expected a whole number from 1 to 65535
"#,
    );
    check(&good_and("[watch]\nevery_min = \"2h\"\nevery_max = \"30m\"\n"), ":11: watch.every_max: \"30m\"; expected at least every_min, \"2h\"");
}

#[test]
fn a_collector_that_could_not_be_told_is_a_fault() {
    check(
        &good_and(
            "[otlp]\nendpoint = \"127.0.0.1:4318\"\nsample = \"1.1\"\nrecipients = \"none\"\nheaders = \"secret without a name\"\ntimeout = \"0s\"\nqueue_max = 0\n",
        ),
        r#"
:10: otlp.endpoint: "127.0.0.1:4318"; expected a collector's URL without the path of a signal, as in "http://127.0.0.1:4318"
:11: otlp.sample: "1.1"; expected "parent", or a share from "0" to "1"
:12: otlp.recipients: "none"; expected one of "domain", "address"
:13: otlp.headers: line 1 is no header field; expected a field of HTTP a line, as in "Authorization: Bearer …"
:14: otlp.timeout: "0s"; expected a time with its unit from "1ms" to "1d"
:15: otlp.queue_max: 0; expected a whole number from 1 to 1000000
"#,
    );
    for good in [
        "endpoint = \"https://collector.example\"\nsample = \"0\"",
        "endpoint = \"http://[::1]:4318/otlp/\"\nsample = \"1.0\"\nheaders = \"a: b\\nc: d\"",
        "sample = \"0.25\"",
    ] {
        assert!(read(&good_and(&format!("[otlp]\n{good}\n")), &[]).is_ok(), "{good}");
    }
}
