//! Every kind of secret, planted so that it would be known again, in a relay that is led through success and failure of all that uses them: it is
//! told nowhere, and nobody of the same user may look for it in memory.

use super::rig::Rude;
use crate::support::http;
use crate::support::next_hop::{At, NextHop, Rule, Say, Script};
use crate::support::receiver::{Receiver, Reply};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use data_encoding::{BASE64, HEXLOWER};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Passwords that clients send, right and wrong.
const RIGHT: &str = "marked-right-password-6b1f";
const WRONG: &str = "marked-wrong-password-93ac";
/// Our own at the smart host.
const UPSTREAM: &str = "marked-upstream-password-07de";
/// Of a person who asks the admin, and one that is not known.
const TOKEN: &str = "marked-admin-token-4c22";
const NO_TOKEN: &str = "marked-wrong-token-e510";
/// 32 octets, in base64.
const TSIG: &str = "bWFya2VkLXRzaWctc2VjcmV0LTMyLW9jdGV0cy1sb25nIQ==";
const WEBHOOK: &str = "bWFya2VkLXdlYmhvb2stc2VjcmV0LTMyLW9jdGV0cyEhIQ==";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_ever_told() {
    let script = Script::modern().user("postseal", UPSTREAM).when(At::rcpt("gone@example.net"), [Say("550 5.1.1 no such user")]);
    let script = script.rule(Rule::at(At::Auth).in_session(0).then([Say("535 5.7.8 wrong")]));
    let hop = NextHop::start(script);
    let receiver = Receiver::start();
    receiver.then([Reply::Status(500, ""), Reply::Close]);
    let verifier = postseal::ingress::sasl::scram_verifier(RIGHT, 4096, b"marked salt").unwrap();
    let argon2id = postseal::ingress::sasl::hash_argon2id(RIGHT).unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, TOKEN.as_bytes());
    let config = format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [log]
        level = "debug"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        auth_without_tls = true
        [auth]
        failure_delay = "0s"
        [identities.app]
        author_domains = ["example.com"]
        [users.ann]
        identity = "app"
        credential = "{verifier}"
        [users.bob]
        identity = "app"
        credential = "{argon2id}"
        [domains."example.com"]
        publisher = "primary"
        [publishers.primary]
        kind = "rfc2136"
        server = "127.0.0.1:9"
        tsig_name = "relay-key"
        tsig_secret_file = "tsig.key"
        [admin]
        address = "127.0.0.1:0"
        token_always = true
        [admin.tokens.person]
        hash = "sha256:{}"
        [webhooks.crm]
        url = "{}"
        secret = "whsec_{WEBHOOK}"
        kinds = []
        retry_min = "10ms"
        retry_max = "50ms"
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "required"
        user = "postseal"
        password_file = "upstream.password"
        [deliver]
        retry = ["1s"]
        jitter_percent = 0
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [resolver]
        nameservers = ["127.0.0.1:9"]
        timeout = "200ms"
        "#,
        HEXLOWER.encode(digest.as_ref()),
        receiver.url(),
        hop.address().ip(),
        hop.address().port(),
    );
    let told = tokio::task::block_in_place(|| drive(&config, &receiver));
    let mut marks: Vec<String> = [RIGHT, WRONG, UPSTREAM, TOKEN, NO_TOKEN, TSIG, WEBHOOK].map(str::to_owned).to_vec();
    marks.extend([RIGHT, WRONG].iter().flat_map(|password| ["ann", "bob", "nobody"].map(|user| BASE64.encode(format!("\0{user}\0{password}").as_bytes()))));
    marks.extend([RIGHT, WRONG, UPSTREAM].map(|password| BASE64.encode(password.as_bytes())));
    marks.push(BASE64.encode(format!("\0postseal\0{UPSTREAM}").as_bytes()));
    marks.extend(verifier.split(['$', ':']).skip(2).map(str::to_owned)); // salt, StoredKey, ServerKey
    marks.push(argon2id.rsplit('$').next().unwrap().to_owned());
    marks.push(HEXLOWER.encode(digest.as_ref()));
    marks.extend(told.keys);
    for mark in marks {
        assert!(mark.len() >= 8);
        for (place, text) in &told.texts {
            assert!(!text.contains(&mark), "{place} tells \"{mark}\": {}", around(text, &mark));
        }
    }
    // A needle that is there is found.
    assert!(told.texts.iter().any(|(place, text)| place == "log" && text.contains("auth")), "nothing was told of authentications at all");
}

fn around(text: &str, mark: &str) -> String {
    let at = text.find(mark).unwrap_or_default();
    text.chars().skip(at.saturating_sub(200)).take(500).collect()
}

/// What was told, by place, and pieces of key files.
struct Told {
    texts: Vec<(String, String)>,
    keys: Vec<String>,
}

fn drive(config: &str, receiver: &Receiver) -> Told {
    let mut relay = RelayProcess::new(&super::rig::config(([127, 0, 0, 1], 9).into(), "", ""));
    std::fs::write(relay.config(), config).unwrap();
    secret_file(&relay.path().join("tsig.key"), TSIG);
    secret_file(&relay.path().join("upstream.password"), UPSTREAM);
    relay.start();
    let address = relay.address("submission");
    let mut texts = Vec::new();

    // Clients, right and wrong, by each mechanism, and in pieces that fit none.
    for user in ["ann", "bob", "nobody"] {
        for password in [RIGHT, WRONG] {
            let mut client = Rude::connect(&address);
            client.ask("EHLO client.test");
            let mut said = client.ask(&format!("AUTH PLAIN {}", BASE64.encode(format!("\0{user}\0{password}").as_bytes())));
            said += &client.ask("AUTH LOGIN");
            said += &client.ask(&BASE64.encode(user.as_bytes()));
            said += &client.ask(&BASE64.encode(password.as_bytes()));
            texts.push(("reply to AUTH".to_owned(), said));
            let mut client = Rude::connect(&address);
            client.ask("EHLO client.test");
            // A password where a command should be, in a mechanism that is none, and without base64.
            let odd = [password.to_owned(), format!("AUTH {password}"), format!("AUTH PLAIN {password}")];
            texts.push(("reply".to_owned(), odd.iter().map(|line| client.ask(line)).collect()));
        }
    }
    for to in ["you@example.net", "gone@example.net"] {
        let mut client = SmtpClient::connect(&address).unwrap();
        let reply = client.command(&format!("AUTH PLAIN {}", BASE64.encode(format!("\0ann\0{RIGHT}").as_bytes()))).unwrap();
        assert!(reply.starts_with("235 "), "{reply}");
        assert!(client.send("app@example.com", &[to], &message("marked")).unwrap().starts_with("250 "));
    }
    relay.wait_for("attempt.delivered");
    relay.wait_for("attempt.failed");
    let begun = std::time::Instant::now();
    while receiver.got().iter().filter(|got| got.taken).count() == 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "the webhook is never taken");
        std::thread::sleep(Duration::from_millis(20));
    }

    // The admin, asked by somebody who may and by somebody who may not.
    let admin = relay.admin();
    for token in [TOKEN, NO_TOKEN] {
        for path in [
            "/",
            "/queue",
            "/domains",
            "/attention",
            "/mail?q=you%40example.net",
            "/metrics",
            "/api/v1/status",
            "/api/v1/queue",
            "/api/v1/domains",
            "/api/v1/events",
        ] {
            let answer = http::ask(&admin, &format!("GET {path} HTTP/1.1\nHost: {admin}\nAuthorization: Bearer {token}\n"), "");
            assert_eq!(answer.status, if token == TOKEN { 200 } else { 401 }, "{path}");
            texts.push((path.to_owned(), format!("{:?}{}", answer.headers, answer.body)));
        }
    }

    // Commands that print configuration, keys and what they lead to; those that fail at the secret itself.
    let config_file = relay.config().display().to_string();
    for arguments in [
        &["config", "check"][..],
        &["doctor", "--inventory"],
        &["key", "list"],
        &["key", "show", "example.com"],
        &["dns", "records", "example.com"],
        &["dns", "publish", "example.com", "--yes"],
        &["explain", "--client", "ann", "--from", "app@example.com", "--to", "you@example.net"],
        &["queue", "list"],
    ] {
        let said = relay.postseal(&[arguments, &["--config", &config_file]].concat());
        texts.push((arguments.join(" "), all(&said)));
    }

    // A reload with a secret in each place where something else belongs.
    let faulty = [
        ("level = \"debug\"", format!("level = \"{UPSTREAM}\"")), // control: what stands in a place for words is quoted
        ("credential = \"SCRAM", format!("credential = \"{RIGHT} SCRAM")),
        ("hash = \"sha256:", format!("hash = \"{TOKEN}:")),
        ("secret = \"whsec_", "secret = \"whsek_".to_owned()),
        ("tsig_secret_file = \"tsig.key\"", format!("tsig_secret = \"{TSIG}!\"")),
        ("password_file = \"upstream.password\"", format!("password = [\"{UPSTREAM}\"]")),
    ];
    let sound = std::fs::read_to_string(relay.config()).unwrap();
    for (number, (what, instead)) in faulty.into_iter().enumerate().skip(1) {
        let changed = sound.replacen(what, &instead, 1);
        assert_ne!(changed, sound, "{what}");
        std::fs::write(relay.config(), changed).unwrap();
        let checked = relay.postseal(&["config", "check", "--config", &config_file]);
        texts.push((format!("config check with {what}"), all(&checked)));
        relay.signal("HUP");
        let begun = std::time::Instant::now();
        while relay.log().iter().filter(|event| event["event"] == "config.rejected").count() < number && !checked.status.success() {
            assert!(begun.elapsed() < Duration::from_mins(1), "{what} is taken");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    std::fs::write(relay.config(), sound).unwrap();

    let keys = pieces_of_keys(&relay.path().join("keys"));
    assert!(keys.len() >= 4, "{keys:?}");
    no_file_is_for_others(relay.path());
    let (code, log) = relay.stop();
    assert_eq!(code, Some(0));
    texts.push(("log".to_owned(), log.iter().map(|line| format!("{line}\n")).collect()));
    Told { texts, keys }
}

fn all(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn secret_file(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

/// Lines from the middle of every private key, and token secrets.
fn pieces_of_keys(folder: &Path) -> Vec<String> {
    let mut pieces = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            pieces.extend(pieces_of_keys(&entry.path()));
            continue;
        }
        let text = std::fs::read(entry.path()).unwrap();
        let text = String::from_utf8_lossy(&text);
        if text.contains("PRIVATE KEY") {
            pieces.extend(text.lines().filter(|line| line.len() >= 60 && !line.starts_with("-----")).skip(9).take(6).map(str::to_owned));
        } else if folder.ends_with("token") {
            pieces.push(text.trim().to_owned());
        }
    }
    pieces
}

/// Keys, secrets and the spool.
fn no_file_is_for_others(folder: &Path) {
    for place in ["keys", "spool"] {
        let mut folders = vec![folder.join(place)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).unwrap().flatten() {
                let (path, metadata) = (entry.path(), entry.metadata().unwrap());
                let mode = metadata.mode() & 0o7777;
                assert!(mode.trailing_zeros() >= 3 || metadata.is_dir() && mode & 0o006 == 0 || is_public(&path), "{} has mode {mode:o}", path.display());
                if metadata.is_dir() {
                    folders.push(path);
                }
            }
        }
    }
}

/// What holds no secret: the ledger of keys, whose facts are in the DNS, and locks, which are empty.
fn is_public(path: &Path) -> bool {
    path.ends_with("lock") || path.extension().is_some_and(|extension| ["json", "toml", "lock", "md"].iter().any(|known| extension == *known))
}

/// Nobody of the same user may read its memory or what was in its environment, unless the operator wants cores.
#[test]
fn a_process_of_the_same_user_cannot_look_into_memory() {
    let config = super::rig::config(([127, 0, 0, 1], 9).into(), "", "");
    for waived in [false, true] {
        let config = config.replacen("hostname =", &format!("core_dumps = {waived}\n        hostname ="), 1);
        let mut relay = RelayProcess::new(&config);
        let mut command = plain_user();
        command.arg(env!("CARGO_BIN_EXE_postseal")).args(["serve", "--config"]).arg(relay.config()).env("POSTSEAL_ADMIN__ADDRESS", "127.0.0.1:0");
        relay.start_by(command.stdin(Stdio::null()));
        for file in ["environ", "mem", "maps"] {
            let read = looked_at(&format!("/proc/{}/{file}", relay.pid()));
            assert_eq!(read, waived, "{file}, core_dumps = {waived}");
        }
        assert_eq!(relay.stop().0, Some(0));
    }
}

/// Whether another process of this user can open the file.
fn looked_at(path: &str) -> bool {
    plain_user().args(["head", "-c", "0", path]).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

/// Runs what follows without capabilities: root without them is a user like any other.
fn plain_user() -> Command {
    let mut command = Command::new(if rustix::process::geteuid().is_root() { "setpriv" } else { "env" });
    if rustix::process::geteuid().is_root() {
        command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]);
    }
    command
}
