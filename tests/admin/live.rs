//! The real relay, asked by the real commands.

use crate::support::http;
use crate::support::ports::free_port;
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use rcgen::generate_simple_self_signed;
use serde_json::Value;
use std::process::Output;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"
    [server]
    hostname = "relay.example.com"
    [listeners.submission]
    address = "127.0.0.1:0"
    tls = "none"
    [identities.app]
    networks = ["127.0.0.0/8"]
    author_domains = ["example.com"]
    [routes]
    default = "hop"
    [smart_hosts.hop]
    host = "127.0.0.1"
    port = 1
    tls = "opportunistic"
    [spool]
    reserve_octets = "64 MiB"
    wal_octets_max = "32 MiB"
    [resolver]
    nameservers = ["127.0.0.1:9"]
"#;

fn started(more: &str) -> RelayProcess {
    let mut relay = RelayProcess::new(&format!("{CONFIG}{more}"));
    relay.start();
    relay
}

/// A command that asks the relay by its address.
fn asked(relay: &RelayProcess, scheme: &str, arguments: &[&str]) -> Output {
    let url = format!("{scheme}://{}", relay.admin());
    relay.postseal(&[arguments, &["--url", &url]].concat())
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_takes_mail_says_so_to_probes_and_people() {
    let relay = started("");
    assert_eq!(http::get(&relay.admin(), "/readyz").body, r#"{"ready":true,"reasons":[]}"#);
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    assert!(client.send("app@example.com", &["a@example.net", "b@example.net"], &message("hello")).unwrap().starts_with("250 "));
    let status = asked(&relay, "http", &["status", "--json"]);
    let told: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!((status.status.code(), &told["ready"], &told["hostname"]), (Some(0), &Value::Bool(true), &Value::from("relay.example.com")));
    assert_eq!((&told["spool"]["mails"], &told["spool"]["recipients"]), (&Value::from(1), &Value::from(2)));
    assert!(told["spool"]["oldest_seconds"].is_u64() && told["disk"]["free_octets"].as_u64() > told["disk"]["reserve_octets"].as_u64());
    assert_eq!(told["listeners"][0]["address"], relay.address("submission"));
    let shown = text(&asked(&relay, "http", &["status"]).stdout);
    assert!(shown.contains("relay.example.com") && shown.contains("is taken") && shown.contains("1 mail for 2 recipients"), "{shown}");
    for probe in [&["health"][..], &["health", "--live"]] {
        let probed = asked(&relay, "http", probe);
        assert_eq!((probed.status.code(), text(&probed.stdout).as_str()), (Some(0), ""));
    }
}

/// The client in the middle of a message keeps the drain going until it has been looked at.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_is_seen_by_probes_until_the_end() {
    let mut relay = started("");
    let admin = relay.admin();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    client.command("MAIL FROM:<app@example.com>").unwrap();
    client.command("RCPT TO:<you@example.net>").unwrap();
    assert!(client.command("DATA").unwrap().starts_with("354 "));
    relay.signal("TERM");
    relay.wait_for("drain.started");
    let draining = http::get(&admin, "/readyz");
    assert!(draining.status == 503 && draining.body.contains(r#""code":"draining""#), "{draining:?}");
    assert_eq!(http::get(&admin, "/healthz").status, 200, "it lives, and must not be killed");
    let status = asked(&relay, "http", &["status"]);
    assert!(status.status.code() == Some(3) && text(&status.stdout).contains("is taken no more: the relay is ending"), "{status:?}");
    let probed = asked(&relay, "http", &["health"]);
    assert_eq!((probed.status.code(), text(&probed.stdout).trim()), (Some(1), "draining: the relay is ending and takes no new connections"));
    let reload = asked(&relay, "http", &["reload"]);
    assert!(text(&reload.stderr).contains("the relay is ending and takes no new configuration"), "{reload:?}");
    client.write(&message("last")).unwrap();
    assert!(client.command(".").unwrap().starts_with("250 "));
    relay.wait_for("relay.stopped"); // a second signal would cut the drain
    let (code, log) = relay.stop();
    let names: Vec<&str> = log.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(code, Some(0));
    assert!(names.ends_with(&["admin.closed", "relay.stopped"]), "{names:?}");
    assert!(http::try_ask(&admin, &format!("GET /healthz HTTP/1.1\nHost: {admin}\n"), "").is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_without_a_key_keeps_it_from_being_ready_until_there_is_one() {
    let mut relay = RelayProcess::new(&CONFIG.replace("[\"example.com\"]", "[\"example.com\", \"example.org\"]"));
    relay.start();
    let lacking = http::get(&relay.admin(), "/readyz");
    assert_eq!((lacking.status, lacking.json()["reasons"][0]["code"].as_str()), (503, Some("keys")));
    assert!(lacking.body.contains("postseal key create example.org") && !lacking.body.contains("key for example.com"), "{lacking:?}");
    relay.create_key("example.org");
    let reload = asked(&relay, "http", &["reload"]);
    assert_eq!((reload.status.code(), text(&reload.stdout).trim()), (Some(0), "the configuration is in force"));
    assert_eq!(http::get(&relay.admin(), "/readyz").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_answers_every_fault_and_keeps_what_was() {
    let relay = started("[admin]\naddress = \"127.0.0.1:0\"\n");
    let broken = std::fs::read_to_string(relay.config()).unwrap().replace("tls = \"none\"", "tls = \"some\"").replace("port = 1", "port = 0");
    std::fs::write(relay.config(), broken).unwrap();
    let refused = http::post(&relay.admin(), "/api/v1/reload", "{}");
    let told = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!((refused.status, told.lines().count()), (422, 2), "{told}");
    assert!(told.contains("listeners.submission.tls: \"some\"") && told.contains("smart_hosts.hop.port: 0"), "{told}");
    let command = asked(&relay, "http", &["reload"]);
    assert!(command.status.code() == Some(1) && text(&command.stderr).contains("listeners.submission.tls"), "{command:?}");
    assert_eq!(http::get(&relay.admin(), "/readyz").status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn domains_show_their_keys_and_nothing_private() {
    let relay = started("[domains.\"example.com\"]\ndmarc_policy = \"quarantine\"\n[domains.\"example.org\"]\nparked = true\n");
    let page = http::get(&relay.admin(), "/api/v1/domains?limit=1").json();
    assert_eq!((page["items"].as_array().unwrap().len(), &page["next"]), (1, &Value::from("example.com")));
    let rest = http::get(&relay.admin(), "/api/v1/domains?after=example.com").json();
    assert_eq!((&rest["items"][0]["domain"], &rest["items"][0]["parked"], &rest["next"]), (&Value::from("example.org"), &Value::Bool(true), &Value::Null));
    let shown = http::get(&relay.admin(), "/api/v1/domains/example.com");
    let domain = shown.json();
    assert_eq!(domain, page["items"][0]);
    assert_eq!((&domain["dmarc"]["policy"], &domain["bounce_domain"]), (&Value::from("quarantine"), &Value::from("b.example.com")));
    let key = &domain["keys"][0];
    assert_eq!((&key["algorithm"], &key["state"]), (&Value::from("rsa"), &Value::from("active")));
    assert!(key["name"].as_str().unwrap().ends_with("._domainkey.example.com") && key["age_seconds"].is_u64() && key["watch"]["seen"] == false, "{key}");
    assert!(!shown.body.contains("PRIVATE") && !shown.body.contains('/'), "neither keys nor paths: {}", shown.body);
    let unknown = http::get(&relay.admin(), "/api/v1/domains/example.net");
    assert_eq!((unknown.status, http::get(&relay.admin(), "/api/v1/domains/..").status), (404, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn off_loopback_nothing_is_told_without_tls_and_token() {
    let mut relay = RelayProcess::new(CONFIG);
    let open = |more: &str| {
        std::fs::write(relay.config(), format!("{CONFIG}[admin]\naddress = \"0.0.0.0:0\"\n{more}")).unwrap();
        text(&relay.postseal(&["config", "check", "--config", &relay.config().display().to_string()]).stderr)
    };
    let told = open("");
    assert!(told.contains("admin.address: \"0.0.0.0:0\", which others can reach, without a token; expected a table [admin.tokens.NAME]"), "{told}");
    assert!(told.contains("which others can reach, without TLS; expected tls = true"), "{told}");
    let told = open("[admin.tokens.a]\nhash = \"postseal_not_the_hash\"\n");
    assert!(told.contains("admin.tokens.a.hash: something else; expected \"sha256:\"") && !told.contains("not_the_hash"), "{told}");

    let certified = generate_simple_self_signed(vec!["relay.example.com".to_owned()]).unwrap();
    std::fs::write(relay.path().join("admin.pem"), certified.cert.pem()).unwrap();
    std::fs::write(relay.path().join("admin.key"), certified.signing_key.serialize_pem()).unwrap();
    let made = text(&relay.postseal(&["admin", "token", "ops", "--file", "ops.token"]).stdout);
    let config = format!("{CONFIG}[admin]\naddress = \"0.0.0.0:0\"\ntls = true\nchain = \"admin.pem\"\nkey = \"admin.key\"\n{made}");
    std::fs::write(relay.config(), config).unwrap();
    relay.start();
    let port = relay.admin().rsplit(':').next().unwrap().to_owned();
    let in_clear = http::try_ask(&format!("127.0.0.1:{port}"), "GET /healthz HTTP/1.1\nHost: localhost\n", "");
    assert!(in_clear.is_err() || in_clear.is_ok_and(|alert| alert.status == 0), "no HTTP in clear text, at most a TLS alert");
    let url = format!("https://localhost:{port}");
    let asked = |more: &[&str]| relay.postseal(&[&["status", "--url", &url], more].concat());
    let stranger = asked(&[]);
    assert!(text(&stranger.stderr).contains("no relay answers") && text(&stranger.stderr).contains("certificate"), "{stranger:?}");
    assert_eq!(text(&relay.postseal(&["admin", "token", "ops", "--file", "ops.token"]).stdout), "", "the file is not overwritten");

    let told = std::fs::read_to_string(relay.path().join("ops.token")).unwrap();
    let talk = |head: &str| over_tls(&port, head);
    assert_eq!(talk("GET /readyz HTTP/1.1\nHost: localhost\n").body, r#"{"ready":true}"#);
    assert_eq!(talk("GET /api/v1/status HTTP/1.1\nHost: localhost\n").status, 401);
    let known = talk(&format!("GET /api/v1/status HTTP/1.1\nHost: localhost\nAuthorization: Bearer {}\n", told.trim()));
    assert_eq!((known.status, &known.json()["ready"]), (200, &Value::Bool(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_find_the_relay_by_its_configuration_and_say_when_it_is_not_there() {
    let port = free_port();
    let mut relay = RelayProcess::new(&format!("{CONFIG}[admin]\naddress = \"127.0.0.1:{port}\"\n"));
    let config = relay.config().display().to_string();
    let probe = |relay: &RelayProcess| relay.postseal(&["health", "--config", &config]);
    let nobody = probe(&relay);
    let told = text(&nobody.stdout);
    assert!(nobody.status.code() == Some(1) && told.contains(&format!("no relay answers at http://127.0.0.1:{port}")) && told.contains("refused"), "{told}");
    relay.start();
    assert_eq!(probe(&relay).status.code(), Some(0));
    assert_eq!(relay.postseal(&["status", "--config", &config]).status.code(), Some(0));
    // A file that was broken since does not matter to a relay that runs.
    std::fs::write(relay.config(), format!("[listeners]\nwrong = 5\n[admin]\naddress = \"127.0.0.1:{port}\"\n")).unwrap();
    assert_eq!(probe(&relay).status.code(), Some(0));
    let bare = |config: &str| {
        std::process::Command::new(env!("CARGO_BIN_EXE_postseal"))
            .args(["health", "--config", config])
            .env("POSTSEAL_ADMIN__ADDRESS", format!("127.0.0.1:{port}"))
            .output()
            .unwrap()
    };
    assert_eq!(bare("nowhere.toml").status.code(), Some(0), "of the environment alone");
    let since = Instant::now();
    let rounds = 10;
    (0..rounds).for_each(|_| drop(bare("nowhere.toml")));
    assert!(since.elapsed() / rounds < Duration::from_secs(5), "{:?} a probe", since.elapsed() / rounds);
    std::fs::write(relay.config(), "[admin]\nenabled = false\n").unwrap();
    assert!(text(&probe(&relay).stdout).contains("admin.enabled is false"));
    std::fs::write(relay.config(), "[admin]\naddress = \"127.0.0.1:0\"\n").unwrap();
    assert!(text(&probe(&relay).stdout).contains("has port 0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_moves_the_admin_and_changes_its_tokens() {
    let mut relay = RelayProcess::new(&format!("{CONFIG}[admin]\naddress = \"127.0.0.1:0\"\n"));
    relay.start();
    let first = relay.admin();
    let made = text(&relay.postseal(&["admin", "token", "ops", "--file", "ops.token"]).stdout);
    std::fs::write(relay.config(), format!("{CONFIG}[admin]\naddress = \"127.0.0.1:0\"\ntoken_always = true\n{made}")).unwrap();
    relay.signal("HUP");
    relay.wait_for("config.reloaded");
    assert_eq!(http::get(&first, "/api/v1/status").status, 401, "the same socket under other terms");
    let token = relay.path().join("ops.token").display().to_string();
    assert_eq!(asked(&relay, "http", &["status", "--token-file", &token]).status.code(), Some(0));
    let elsewhere = format!("127.0.0.1:{}", free_port());
    std::fs::write(relay.config(), format!("{CONFIG}[admin]\naddress = \"{elsewhere}\"\n")).unwrap();
    let moved = asked(&relay, "http", &["reload", "--token-file", &token]);
    assert_eq!(moved.status.code(), Some(0), "who asked is answered before the socket closes: {moved:?}");
    assert_eq!(http::get(&elsewhere, "/api/v1/status").status, 200);
    assert!(http::try_ask(&first, &format!("GET /healthz HTTP/1.1\nHost: {first}\n"), "").is_err());
    let performed = relay.wait_for("request.performed");
    assert_eq!((performed["path"].as_str(), performed["token"].as_str()), (Some("/api/v1/reload"), Some("ops")));
}

/// An answer over TLS, whoever's certificate it is.
fn over_tls(port: &str, head: &str) -> http::Answer {
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(std::sync::Arc::new(crate::support::anyone::Anyone))
        .with_no_client_auth();
    let session = rustls::ClientConnection::new(std::sync::Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(session, http::connect(&format!("127.0.0.1:{port}")).unwrap());
    std::io::Write::write_all(&mut stream, format!("{head}Connection: close\n\n").replace('\n', "\r\n").as_bytes()).unwrap();
    http::read(stream).unwrap()
}
