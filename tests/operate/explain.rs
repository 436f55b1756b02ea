//! `postseal explain`: the same answers as the relay gives, each with its line, and nothing asked but with `--dns`.

use crate::support::dns::Dns;
use crate::support::relay_process::RelayProcess;
use serde_json::Value;
use std::process::Output;

const CONFIG: &str = r#"[server]
hostname = "relay.example.com"
[listeners.submission]
address = "127.0.0.1:0"
tls = "none"
auth_without_tls = true
[identities.app]
networks = [
    "192.168.7.0/24",
    "10.0.0.0/8",
]
author_domains = ["example.com", "*.example.com"]
bounces_to = "ops@example.com"
reverse_path_foreign = "refuse"
[identities.list]
networks = ["10.9.0.0/16"]
mode = "forward"
forward_domain = "example.com"
[users.shop]
identity = "app"
credential = "$argon2id$v=19$m=19456,t=2,p=1$bm8gcGFzc3dvcmQgYXQgYWxs$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
[domains."example.com"]
[domains."parked.example.com"]
parked = true
[streams.bulk]
pool = "bulk"
retry = ["10m", "1h"]
[pools.bulk]
ehlo_name = "bulk.example.com"
[routes.recipients]
"*.Example.NET" = "ses"
[smart_hosts.ses]
host = "smtp.ses.example"
reverse_path = "keep"
[deliver]
private_addresses_allowed = true
[deliver.tls.recipients]
"bank.example" = "verified"
"#;

fn explain(relay: &RelayProcess, more: &[&str]) -> Output {
    relay.postseal(&[&["explain"], more].concat())
}

fn answer(relay: &RelayProcess, more: &[&str]) -> Value {
    let output = explain(relay, &[more, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

/// The line of the configuration that a fact names, as it stands there; `default` for a default.
#[track_caller]
fn says(answer: &Value, about: &str, name: &str, text: &str, line: &str) {
    let facts: Vec<_> = answer["facts"].as_array().unwrap().iter().filter(|fact| fact["about"] == about && fact["name"] == name).collect();
    let fact = facts.iter().find(|fact| fact["says"].as_str().unwrap().contains(text)).unwrap_or_else(|| panic!("no {about} {name} {text}: {facts:?}"));
    assert_eq!(place(&fact["because"]), line, "{fact}");
}

fn place(because: &Value) -> String {
    match because["line"].as_u64() {
        Some(line) => CONFIG.lines().nth(usize::try_from(line).unwrap() - 1).unwrap().trim().to_owned(),
        None if because["default"] == true => format!("default of {}", because["key"].as_str().unwrap()),
        None => because["variable"].as_str().unwrap_or_default().to_owned(),
    }
}

#[test]
fn every_decision_names_the_line_that_makes_it() {
    let relay = RelayProcess::new(CONFIG);
    let told = answer(
        &relay,
        &[
            "--client",
            "10.1.2.3",
            "--from",
            "www-data@pod-7",
            "--header-from",
            "app@example.com",
            "--to",
            "you@gmail.com",
            "me@bank.example",
            "x@a.example.net",
        ],
    );
    assert_eq!(told["accepted"], true);
    says(&told, "client", "identity", "app, known by the network 10.0.0.0/8", "\"10.0.0.0/8\",");
    says(&told, "client", "listener", "submission", "address = \"127.0.0.1:0\"");
    says(&told, "author", "author", "permitted by \"example.com\"", "author_domains = [\"example.com\", \"*.example.com\"]");
    says(&told, "author", "signs as", "example.com", "[domains.\"example.com\"]");
    says(&told, "author", "failures to", "<ops@example.com>, since <www-data@pod-7> can receive nothing", "bounces_to = \"ops@example.com\"");
    says(&told, "you@gmail.com", "route", "by the MX records of gmail.com", "default of routes.default");
    says(&told, "you@gmail.com", "sender", "a bounce address at b.example.com", "default of domains.\"example.com\".bounce_domain");
    says(&told, "you@gmail.com", "hosts", "not asked", "default of resolver.nameservers");
    says(&told, "me@bank.example", "tls", "verified", "\"bank.example\" = \"verified\"");
    says(&told, "x@a.example.net", "route", "smart host \"ses\"", "\"*.Example.NET\" = \"ses\"");
    says(&told, "x@a.example.net", "sender", "<ops@example.com>: the smart host keeps it", "reverse_path = \"keep\"");
    says(&told, "x@a.example.net", "hosts", "smtp.ses.example:587", "host = \"smtp.ses.example\"");
    says(&told, "limits", "size", "35 MiB", "default of identities.app.message_octets_max");
    says(&told, "limits", "retries", "after 5m, 15m", "default of deliver.retry");
    let keys: Vec<_> = told["facts"].as_array().unwrap().iter().filter(|fact| fact["name"] == "key").collect();
    assert!(
        keys.len() == 1
            && keys[0]["says"].as_str().unwrap().ends_with("active: signs")
            && keys[0]["because"]["file"].as_str().unwrap().ends_with("example.com"),
        "{keys:?}"
    );
    let bulk = answer(&relay, &["--client", "shop", "--from", "app@example.com", "--stream", "bulk", "--to", "you@gmail.com"]);
    says(&bulk, "client", "identity", "app, known by user \"shop\"", "identity = \"app\"");
    says(&bulk, "you@gmail.com", "leaves from", "pool \"bulk\": the address that the system chooses, as bulk.example.com", "ehlo_name = \"bulk.example.com\"");
    says(&bulk, "limits", "retries", "after 10m, 1h", "retry = [\"10m\", \"1h\"]");
    let list = answer(&relay, &["--client", "10.9.1.1", "--from", "talk@lists.example", "--header-from", "jane@elsewhere.example", "--to", "you@gmail.com"]);
    says(&list, "client", "identity", "list, known by the network 10.9.0.0/16", "networks = [\"10.9.0.0/16\"]");
    says(&list, "author", "signs as", "example.com", "forward_domain = \"example.com\"");
}

#[test]
fn refusals_are_those_of_the_relay() {
    let relay = RelayProcess::new(CONFIG);
    for (args, stage, reply, line) in [
        (
            vec!["--client", "10.1.2.3", "--from", "a@example.com", "--header-from", "a@shop.example"],
            "the final dot",
            "550 5.7.1 client \"app\" may not send as shop.example",
            "author_domains = [\"example.com\", \"*.example.com\"]",
        ),
        (
            vec!["--client", "10.1.2.3", "--from", "a@example.com", "--header-from", "a@parked.example.com"],
            "the final dot",
            "550 5.7.1 parked.example.com is configured as a domain that never sends",
            "parked = true",
        ),
        (
            vec!["--client", "10.1.2.3", "--from", "a@example.com", "--header-from", "a@x.parked.example.com"],
            "the final dot",
            "550 5.7.1 x.parked.example.com is below parked.example.com, which is configured as a domain that never sends",
            "parked = true",
        ),
        (
            vec!["--client", "10.1.2.3", "--from", "a@x.parked.example.com", "--header-from", "a@example.com"],
            "MAIL",
            "550 5.7.1 x.parked.example.com is below parked.example.com",
            "parked = true",
        ),
        (
            vec!["--client", "10.1.2.3", "--from", "a@foreign.example", "--header-from", "a@example.com"],
            "MAIL",
            "550 5.7.1",
            "reverse_path_foreign = \"refuse\"",
        ),
        (
            vec!["--client", "10.1.2.3", "--from", "a@example.com", "--size", "99999999999"],
            "MAIL",
            "552 5.3.4",
            "default of listeners.submission.message_octets_max",
        ),
        (vec!["--client", "10.1.2.3", "--from", "a@example.com", "--stream", "nope"], "the final dot", "550 5.6.0", "[streams.bulk]"),
        (vec!["--client", "198.51.100.7", "--from", "a@example.com"], "MAIL", "530 5.7.0 authentication required", ""),
        (vec!["--client", "dns:who.example", "--from", "a@example.com"], "", "", ""),
    ] {
        let output = explain(&relay, &[&args[..], &["--to", "you@gmail.com", "--json"]].concat());
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        if stage.is_empty() {
            assert!(String::from_utf8_lossy(&output.stderr).contains("no client can show a certificate: it has no TLS"), "{output:?}");
            continue;
        }
        let told: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(told["accepted"] == false && told["at"] == stage && told["reply"].as_str().unwrap().contains(reply), "{args:?}: {told:#}");
        assert!(place(&told["because"]).starts_with(line), "{args:?}: {}", told["because"]);
    }
}

#[test]
fn one_refused_recipient_does_not_hide_the_others() {
    let relay = RelayProcess::new(CONFIG);
    let output = explain(&relay, &["--client", "10.1.2.3", "--from", "a@example.com", "--to", "you@[192.0.2.1]", "me@gmail.com"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1));
    assert!(text.starts_with("refused in part, at RCPT: 550 5.1.2 you@[192.0.2.1] is at an address literal"), "{text}");
    assert!(text.contains("\nme@gmail.com\n  route       by the MX records of gmail.com"), "{text}");
}

#[test]
fn what_cannot_be_asked_is_said_plainly() {
    let relay = RelayProcess::new(CONFIG);
    for (args, says) in [
        (["--client", "app", "--from", "a@example.com", "--to", "b@example.net"].as_slice(), "is an identity; name one who is it"),
        (&["--client", "nobody", "--from", "a@example.com", "--to", "b@example.net"], "is no client: expected an IP address, a user of [users] (users: shop)"),
        (&["--client", "10.1.1.1", "--from", "<>", "--to", "b@example.net"], "--header-from"),
        (&["--client", "10.1.1.1", "--from", "a@", "--to", "b@example.net"], "is not a domain name"),
        (&["--client", "10.1.1.1", "--from", "a@example.com", "--to", "b"], "there is no \"@\""),
        (&["--client", "10.1.1.1", "--from", "a@example.com", "--to", "b@example.net", "--listener", "x"], "there is no listener \"x\"; known: submission"),
    ] {
        let output = explain(&relay, args);
        assert!(output.status.code() != Some(0) && output.stdout.is_empty() && String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_dns_tells_hosts_and_provider() {
    let zone = Dns::serve("gmail.com MX 5 gmail-smtp-in.l.google.com\ngmail-smtp-in.l.google.com A 127.0.0.9").await;
    let relay = RelayProcess::new(&format!("{CONFIG}[resolver]\nnameservers = [\"{}\"]\n", zone.address()));
    let arguments = ["--client", "10.1.2.3", "--from", "a@example.com", "--to", "you@gmail.com", "me@gone.invalid"];
    answer(&relay, &arguments);
    assert_eq!(zone.asked(), Vec::<String>::new(), "nothing is asked unbidden");
    let told = answer(&relay, &[&arguments[..], &["--dns"]].concat());
    says(&told, "you@gmail.com", "hosts", "gmail-smtp-in.l.google.com (127.0.0.9)", "");
    says(&told, "you@gmail.com", "provider", "google", "default of deliver.shaping_file, [google]");
    says(&told, "you@gmail.com", "tls", "required, with any certificate", "default of deliver.shaping_file, [google]");
    says(&told, "you@gmail.com", "ed25519", "left out", "default of deliver.shaping_file, [google]");
    says(&told, "me@gone.invalid", "hosts", "none: there is no domain gone.invalid", "");
}
