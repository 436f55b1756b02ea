//! `postseal import`: other systems' configurations in, ours out; what comes out passes `postseal config check`, or the check names just
//! what was left to be done.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The files of the machine that is moved from, and what is printed for it.
struct Move {
    folder: TempDir,
}

impl Move {
    fn from(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let file = folder.path().join("old").join(path);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, text).unwrap();
        }
        Self { folder }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let root = self.folder.path().join("old");
        let mut command = Command::new(env!("CARGO_BIN_EXE_postseal"));
        command.env_clear().arg("import").args(arguments).args(["--root", root.to_str().unwrap()]).stdin(Stdio::null()).output().unwrap()
    }

    fn printed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// What `config check` says of it, in the folder of the new machine.
    fn checked(&self, printed: &str) -> Result<(), String> {
        let file = self.folder.path().join("postseal.toml");
        fs::write(&file, printed).unwrap();
        check(&file)
    }

    fn put(&self, name: &str, text: &str) {
        let file = self.folder.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
}

fn check(file: &Path) -> Result<(), String> {
    let output = Command::new(env!("CARGO_BIN_EXE_postseal")).env_clear().args(["config", "check", "--config"]).arg(file).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    if output.status.success() || told.contains("no active key") { Ok(()) } else { Err(told) }
}

/// The value of a key in a table, as TOML reads it.
fn value(printed: &str, path: &[&str]) -> toml::Value {
    let mut at = printed.parse::<toml::Table>().map(toml::Value::Table).unwrap();
    for key in path {
        at = at.get(key).unwrap_or_else(|| panic!("no {path:?} in\n{printed}")).clone();
    }
    at
}

fn has(printed: &str, path: &[&str], expected: impl Into<toml::Value>) {
    assert_eq!(value(printed, path), expected.into(), "{path:?}");
}

const MAIN: &str = "\
# See /usr/share/postfix/main.cf.dist
compatibility_level = 3.6
myhostname = mail.shop.example
mynetworks = 127.0.0.0/8 [::1]/128
   10.20.0.0/16, /etc/postfix/networks
relayhost = [smtp.provider.example]:587
smtp_sasl_auth_enable = yes
smtp_sasl_password_maps = hash:/etc/postfix/sasl_passwd
smtp_tls_security_level = encrypt
message_size_limit = 26214400
maximal_queue_lifetime = 2d
transport_maps = hash:/etc/postfix/transport
smtpd_client_message_rate_limit = 120
header_checks = regexp:/etc/postfix/header_checks
smtpd_milters = inet:localhost:8891
queue_directory = /var/spool/postfix
no_such_setting = 7
";

const MASTER: &str = "\
smtp       inet  n       -       y       -       -       smtpd
127.0.0.1:submission inet n -    y       -       -       smtpd
  -o syslog_name=postfix/submission
  -o { smtpd_recipient_limit = 50 }
pickup     unix  n       -       y       60      1       pickup
";

fn postfix() -> Move {
    Move::from(&[
        ("etc/postfix/main.cf", MAIN),
        ("etc/postfix/master.cf", MASTER),
        ("etc/postfix/networks", "192.168.7.0/24\n# none\n0.0.0.0/0\n"),
        ("etc/postfix/sasl_passwd", "[smtp.provider.example]:587 apikey:a:very:secret\n"),
        ("etc/postfix/transport", "partner.example smtp:[10.0.0.9]:2525\n.inner.example smtp:\nold.example local:\n"),
    ])
}

#[test]
fn postfix_moves_in() {
    let old = postfix();
    let printed = old.printed(&["postfix", "--domain", "shop.example", "--domain", "news.shop.example"]);
    has(&printed, &["server", "hostname"], "mail.shop.example");
    has(&printed, &["listeners", "smtp", "address"], "[::]:25");
    has(&printed, &["listeners", "submission", "address"], "127.0.0.1:587");
    has(&printed, &["listeners", "submission", "recipients_max"], 50);
    has(&printed, &["listeners", "smtp", "message_octets_max"], "25 MiB");
    has(&printed, &["identities", "app", "networks"], vec!["127.0.0.0/8", "::1/128", "10.20.0.0/16", "192.168.7.0/24"]);
    has(&printed, &["identities", "app", "author_domains"], vec!["shop.example", "news.shop.example"]);
    has(&printed, &["identities", "app", "messages_per_minute_ceiling"], 120);
    has(&printed, &["routes", "default"], "relayhost");
    has(&printed, &["routes", "recipients", "partner.example"], "10-0-0-9-2525");
    has(&printed, &["routes", "recipients", "*.inner.example"], "mx");
    has(&printed, &["smart_hosts", "relayhost", "tls"], "required");
    has(&printed, &["smart_hosts", "relayhost", "user"], "apikey");
    has(&printed, &["smart_hosts", "10-0-0-9-2525", "port"], 2525);
    assert!(value(&printed, &["smart_hosts", "10-0-0-9-2525"]).get("user").is_none(), "a host without a line in the table is not authenticated to");
    has(&printed, &["deliver", "max_age"], "2d");
}

#[test]
fn what_comes_out_passes_the_check_once_the_password_is_there() {
    let old = postfix();
    let printed = old.printed(&["postfix", "--domain", "shop.example"]);
    let told = old.checked(&printed).unwrap_err();
    assert!(told.contains("smart_hosts.relayhost.password_file") && told.contains("1 fault"), "{told}");
    old.put("secrets/relayhost", "a:very:secret\n");
    assert_eq!(old.checked(&printed), Ok(()));
}

#[test]
fn what_is_not_carried_over_is_named() {
    let old = postfix();
    let output = old.run(&["postfix"]);
    let (printed, told) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    for said in [
        "header_checks = regexp:/etc/postfix/header_checks: header fields are not rewritten by patterns",
        "`postseal import opendkim`",
        "no_such_setting = 7: it has no counterpart",
        "transport_maps: old.example local:",
        "0.0.0.0/0 would let everybody relay",
        "list in identities.app.author_domains every domain",
    ] {
        assert!(printed.contains(said) && told.contains(said), "{said}\n{printed}\n{told}");
    }
    assert!(!printed.contains("queue_directory") && !printed.contains("compatibility_level"), "what is of no matter is not listed:\n{printed}");
    has(&printed, &["identities", "app", "author_domains"], vec!["shop.example"]);
}

#[test]
fn no_password_is_printed() {
    let old = postfix();
    let output = old.run(&["postfix"]);
    let all = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    assert!(!all.contains("very:secret"), "{all}");
    let image = Move::from(&[("env", "RELAYHOST=smtp.provider.example\nRELAYHOST_USERNAME=me\nRELAYHOST_PASSWORD=hush\nSMTPD_SASL_USERS=a:hush\n")]);
    let printed = image.printed(&["docker-postfix", image.folder.path().join("old/env").to_str().unwrap()]);
    assert!(!printed.contains("hush"), "{printed}");
}

#[test]
fn a_bare_main_cf_leaves_stand_ins_that_are_told() {
    let old = Move::from(&[("main.cf", "inet_interfaces = loopback-only\n")]);
    let printed = old.printed(&["postfix", "/main.cf"]);
    has(&printed, &["listeners", "smtp", "address"], "127.0.0.1:25");
    has(&printed, &["routes", "default"], "mx");
    assert!(printed.contains("# - main.cf has no full myhostname") && printed.contains("\"mail.example.com\" # a stand-in"), "{printed}");
    assert_eq!(old.checked(&printed), Ok(()));
}

#[test]
fn what_a_file_says_cannot_become_a_line_of_ours() {
    let old = Move::from(&[("main.cf", "myhostname = mx.shop.example\nfoo = a\u{1b}[31m \"]\\n[identities.evil]\nrelayhost = a\"\\b\n")]);
    let printed = old.printed(&["postfix", "/main.cf"]);
    assert!(!printed.contains('\u{1b}'), "{printed:?}");
    has(&printed, &["smart_hosts", "relayhost", "host"], "a\"\\b");
    assert!(value(&printed, &["identities"]).get("evil").is_none());
}

#[test]
fn opendkim_moves_in() {
    let old = Move::from(&[
        (
            "etc/opendkim.conf",
            "Syslog yes\nMode sv\nKeyTable file:/etc/opendkim/KeyTable\nSigningTable refile:/etc/opendkim/SigningTable # who\nInternalHosts /etc/opendkim/TrustedHosts\nSignatureTTL 1814400\nCanonicalization simple/simple\n",
        ),
        (
            "etc/opendkim/KeyTable",
            "a._domainkey.shop.example shop.example:a:/etc/dkimkeys/a.private\nb._domainkey.news.example news.example:b:/etc/dkimkeys/b.private\n",
        ),
        ("etc/opendkim/SigningTable", "*@shop.example a._domainkey.shop.example\n*@news.example b._domainkey.news.example\n"),
        ("etc/opendkim/TrustedHosts", "127.0.0.1\nlocalhost\n10.1.0.0/16\nmail.shop.example\n"),
    ]);
    let printed = old.printed(&["opendkim"]);
    has(&printed, &["identities", "app", "author_domains"], vec!["news.example", "shop.example"]);
    has(&printed, &["identities", "app", "networks"], vec!["10.1.0.0/16", "127.0.0.1/32", "::1/128"]);
    has(&printed, &["seal", "signature_expires"], "1814400s");
    for said in [
        "# - postseal key import --opendkim-keytable /etc/opendkim/KeyTable --signing-table /etc/opendkim/SigningTable",
        "InternalHosts: mail.shop.example: clients are known by address, user or certificate, not by name",
        "canonicalization simple/simple: always relaxed/relaxed",
        "incoming mail is not verified here",
    ] {
        assert!(printed.contains(said), "{said}\n{printed}");
    }
    assert_eq!(old.checked(&printed), Ok(()));
}

#[test]
fn opendkim_without_tables_moves_in() {
    let old = Move::from(&[("etc/opendkim.conf", "Domain shop.example\nSelector mail\nKeyFile /etc/dkimkeys/mail.private\n")]);
    let printed = old.printed(&["opendkim"]);
    has(&printed, &["identities", "app", "author_domains"], vec!["shop.example"]);
    assert!(printed.contains("# - postseal key import shop.example mail /etc/dkimkeys/mail.private"), "{printed}");
}

#[test]
fn rspamd_moves_in() {
    let old = Move::from(&[]);
    old.put(
        "dkim_signing.conf",
        "sign_networks = \"/etc/rspamd/nets.map\";\ndomain {\n  shop.example { selectors [ { path = \"/etc/dkim/a.key\"; selector = \"a\"; } ] }\n}\n",
    );
    let file = old.folder.path().join("dkim_signing.conf");
    let output = Command::new(env!("CARGO_BIN_EXE_postseal")).args(["import", "rspamd"]).arg(&file).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    has(&printed, &["identities", "app", "author_domains"], vec!["shop.example"]);
    assert!(printed.contains(&format!("# - postseal key import --rspamd {}", file.display())), "{printed}");
    assert!(printed.contains("sign_networks = \"/etc/rspamd/nets.map\": list these networks"), "{printed}");
    assert_eq!(old.checked(&printed), Ok(()));
}

#[test]
fn images_of_postfix_move_in() {
    let boky = "ALLOWED_SENDER_DOMAINS=shop.example news.example\nRELAYHOST=[smtp.provider.example]:587\nRELAYHOST_USERNAME=me\nRELAYHOST_PASSWORD=x\nPOSTFIX_myhostname=mail.shop.example\nMYNETWORKS=10.0.0.0/8,127.0.0.0/8\nPOSTFIX_message_size_limit=10485760\n";
    let other = "SMTP_SERVER=smtp.provider.example\nSMTP_PORT=2587\nSMTP_USERNAME=me\nSMTP_PASSWORD_FILE=/run/secrets/smtp\nSERVER_HOSTNAME=mail.shop.example\nSMTP_NETWORKS='10.0.0.0/8'\nDOMAIN=shop.example\n";
    let namshi =
        "MAILNAME=mail.shop.example\nRELAY_NETWORKS=:10.0.0.0/8:192.168.0.0/16\nSMARTHOST_ADDRESS=smtp.provider.example\nOVERWRITE_FROM=x@shop.example\n";
    for (variables, port, networks, user) in [
        (boky, 587, vec!["10.0.0.0/8", "127.0.0.0/8"], Some("me")),
        (other, 2587, vec!["10.0.0.0/8"], Some("me")),
        (namshi, 25, vec!["10.0.0.0/8", "192.168.0.0/16"], None),
    ] {
        let image = Move::from(&[("env", variables)]);
        let printed = image.printed(&["docker-postfix", image.folder.path().join("old/env").to_str().unwrap()]);
        has(&printed, &["server", "hostname"], "mail.shop.example");
        has(&printed, &["smart_hosts", "relayhost", "host"], "smtp.provider.example");
        has(&printed, &["smart_hosts", "relayhost", "port"], port);
        has(&printed, &["identities", "app", "networks"], networks);
        assert_eq!(value(&printed, &["smart_hosts", "relayhost"]).get("user").and_then(toml::Value::as_str), user, "{printed}");
        image.put("secrets/relayhost", "x");
        let printed = printed.replace("/run/secrets/smtp", "secrets/relayhost");
        assert_eq!(image.checked(&printed), Ok(()), "{printed}");
    }
}

#[test]
fn what_is_wrong_is_said() {
    let old = Move::from(&[("etc/opendkim.conf", "Mode s\n"), ("env", "PATH=/bin\n"), ("odd", "what\n")]);
    let odd = old.folder.path().join("old/odd");
    let env = old.folder.path().join("old/env");
    for (arguments, said) in [
        (vec!["postfix"], "etc/postfix: it cannot be read"),
        (vec!["postfix", "--domain", "a b"], "--domain \"a b\""),
        (vec!["opendkim"], "/etc/opendkim.conf: it names no key; expected KeyTable, or Domain, Selector and KeyFile"),
        (vec!["docker-postfix", env.to_str().unwrap()], "none of these variables is known; expected those of an image of Postfix"),
        (vec!["docker-postfix", odd.to_str().unwrap()], "line 1: expected NAME=VALUE"),
    ] {
        let output = old.run(&arguments);
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && told.contains(said) && output.stdout.is_empty(), "{arguments:?}: {told}");
    }
}
