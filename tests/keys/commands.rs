//! `postseal key …` as somebody uses it who reads what it says.

use super::{NOW, example, names, write};
use postseal::keys::{Algorithm, Keyring, Ledger, PrivateKey, Record, SelectorTemplate, State, create};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

/// A folder with a keyring in it.
struct Lab {
    folder: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Self { folder }
    }

    /// With keys of example.com in these states, ps202611a and so on.
    fn with(states: &[(Algorithm, State)]) -> Self {
        let lab = Self::new();
        for (algorithm, state) in states {
            let key = create(&lab.keys(), &example(), &[*algorithm], &SelectorTemplate::default(), (State::Created, "test"), NOW).unwrap().remove(0);
            let mut ledger = Ledger::open(&lab.keys(), &example()).unwrap();
            let way = [State::Published, State::Visible, State::Active, State::Retiring, State::Revoked, State::Removed];
            for step in way.iter().take_while(|step| *step <= state) {
                ledger.advance(&key.id.selector, *step, "test", NOW).unwrap();
            }
        }
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn keys(&self) -> PathBuf {
        self.path("keys")
    }

    fn key(&self, args: &[&str]) -> Output {
        let command = [&["key"], args, &["--keys", "keys"]].concat();
        Command::new(env!("CARGO_BIN_EXE_postseal")).args(command).current_dir(self.folder.path()).output().unwrap()
    }

    /// What it printed, when it did what it was asked.
    #[track_caller]
    fn done(&self, args: &[&str]) -> String {
        let output = self.key(args);
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout) + &text(&output.stderr)
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let output = self.key(&[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// Why it was not done; nothing of the keyring is changed then.
    #[track_caller]
    fn refused(&self, args: &[&str], why: &str) {
        let before = self.ledger();
        let output = self.key(args);
        assert!(output.status.code() == Some(1) && text(&output.stderr).contains(why), "{args:?}: {output:?}");
        assert_eq!(self.ledger(), before);
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.path("keys/example.com/keys.toml")).unwrap_or_default()
    }

    fn states(&self) -> Vec<(String, State)> {
        let ledger = Ledger::read(&self.keys(), &example()).unwrap();
        ledger.entries().iter().map(|(selector, entry)| (selector.to_string(), entry.state)).collect()
    }
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

fn states(expected: &[(&str, State)]) -> Vec<(String, State)> {
    expected.iter().map(|(selector, state)| ((*selector).to_owned(), *state)).collect()
}

const ED: Algorithm = Algorithm::Ed25519;
const RSA: Algorithm = Algorithm::Rsa;

#[test]
fn the_first_key_signs_at_once_and_one_beside_it_waits_for_its_record() {
    let lab = Lab::new();
    assert!(
        lab.done(&["create", "example.com", "--dry-run"]).contains("would make rsa key ps202611a of example.com, active".replace("202611", &month()).as_str())
    );
    assert!(!lab.keys().exists(), "a dry run makes nothing");
    let said = lab.done(&["create", "example.com"]);
    assert!(said.contains("signs from now on: publish the record before mail flows") && said.contains("v=DKIM1; k=rsa; p="), "{said}");
    let said = lab.done(&["create", "example.com"]);
    assert!(said.contains("has its keys already") && lab.states().len() == 1, "{said}");
    let said = lab.done(&["create", "example.com", "--ed25519"]);
    assert!(said.contains("does not sign yet") && said.contains("`postseal key rotate example.com`"), "{said}");
    let said = lab.done(&["create", "example.com", "--ed25519"]);
    assert!(said.contains("none was made") && said.contains("does not sign yet"), "one on its way is enough: {said}");
    let made = lab.json(&["create", "example.com", "--another"]);
    assert_eq!((made["made"].as_array().unwrap().len(), made["keys"][2]["state"].as_str()), (1, Some("created")));
    lab.done(&["create", "example.com", "--another", "--active"]);
    let states: Vec<State> = lab.states().into_iter().map(|(_, state)| state).collect();
    assert_eq!(states, [State::Active, State::Created, State::Created, State::Active]);
    assert!(lab.ledger().contains("why = \"key create: the first key of its domain; its record was not looked for\""), "{}", lab.ledger());
    lab.refused(&["create", "example"], "expected an author domain");
}

#[test]
fn another_never_signs_at_once_even_where_it_is_the_first() {
    let lab = Lab::new();
    lab.done(&["create", "example.com", "--another"]);
    assert_eq!(lab.states()[0].1, State::Created);
}

#[test]
fn list_and_show_say_where_keys_stand() {
    let lab = Lab::with(&[(ED, State::Active), (ED, State::Removed), (ED, State::Created)]);
    let said = lab.done(&["list"]);
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_ascii_whitespace().take(4).collect()).collect();
    let expect =
        [["DOMAIN", "SELECTOR", "KIND", "STATE"], ["example.com", "ps202611a", "ed25519", "active"], ["example.com", "ps202611c", "ed25519", "created"]];
    assert_eq!(rows, expect);
    assert_eq!(lab.done(&["list", "example.com", "--all"]).lines().count(), 4);
    assert_eq!(lab.json(&["list"])[1]["state"], "created");
    lab.refused(&["list", "example.net"], "there is no key of example.net");

    let said = lab.done(&["show", "example.com/ps202611a"]);
    let ring = Keyring::load(&lab.keys()).unwrap();
    let public = ring.keys(&example())[0].private.as_ref().unwrap().public().clone();
    for expected in [
        "state        active: it signs",
        "kind         ed25519, 256 bits",
        &format!("fingerprint  sha256:{}", public.fingerprint()),
        "2026-11-22T01:18:45.000Z published test",
        &format!("ps202611a._domainkey.example.com. IN TXT \"{}\"", Record::of(public)),
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert_eq!(lab.done(&["show", "ps202611a._domainkey.example.com"]), said, "by the name of its record");
    assert_eq!(lab.done(&["show", "example.com", "PS202611A"]), said, "selectors do not tell upper from lower case");
    assert!(lab.done(&["show", "example.com"]).matches("; no record at").count() == 1, "the removed one");
    let json = lab.json(&["show", "example.com/ps202611b"]);
    assert_eq!((json[0]["history"].as_array().unwrap().len(), &json[0]["record"], &json[0]["state"]), (7, &Value::Null, &"removed".into()));
    lab.refused(&["show", "example.com/other"], "there is no key other._domainkey.example.com");
    lab.refused(&["show", "example.net"], "there is no key of example.net");
    lab.refused(&["show", "example.com/a", "b"], "two selectors");
    assert_eq!(lab.key(&["show", "example.com/under score"]).status.code(), Some(2));
}

#[test]
fn a_key_that_does_not_sign_yet_is_given_up() {
    let lab = Lab::with(&[(ED, State::Active), (ED, State::Created), (ED, State::Published), (RSA, State::Visible)]);
    lab.refused(&["abort", "example.com/ps202611a"], "is active; only a key that does not sign yet is given up");
    lab.refused(&["abort", "example.com/other"], "there is no key other._domainkey.example.com");
    let before = lab.ledger();
    let planned = lab.json(&["abort", "example.com", "--dry-run"]);
    assert_eq!((planned.as_array().unwrap().len(), lab.ledger()), (3, before));
    let said = lab.done(&["abort", "example.com/ps202611b", "--reason", "made twice"]);
    assert!(said.contains("is now removed (was created)") && said.contains("delete it: ps202611b._domainkey.example.com. TXT"), "{said}");
    assert!(lab.ledger().contains("state = \"removed\", why = \"key abort: made twice\""));
    assert!(!lab.path("keys/example.com/ps202611b.ed25519.pem").exists());
    let said = lab.done(&["abort", "example.com"]);
    assert!(said.contains("it never signed: delete its record") && said.contains("ps202611d._domainkey.example.com. IN TXT \"v=DKIM1; k=rsa; p=\""), "{said}");
    let expect = [("ps202611a", State::Active), ("ps202611b", State::Removed), ("ps202611c", State::Revoked), ("ps202611d", State::Revoked)];
    assert_eq!(lab.states(), states(&expect));
    lab.refused(&["abort", "example.com"], "there is nothing to give up");
}

#[test]
fn the_only_key_that_signs_is_not_revoked_by_accident() {
    let lab = Lab::with(&[(RSA, State::Active), (RSA, State::Created)]);
    lab.refused(&["revoke", "example.com"], "which key of example.com? expected example.com/SELECTOR");
    lab.refused(&["revoke", "example.com/ps202611a"], "is the only rsa key of example.com that signs; to replace it, `postseal key rotate example.com`");
    lab.refused(&["revoke", "example.com/ps202611b"], "nobody has seen it, so there is nothing to revoke");
    lab.refused(&["revoke", "example.com/ps202611a", "--now"], "ps202611b is on its way, but not every server shows it yet");
    assert_eq!(lab.key(&["revoke", "example.com/ps202611a", "--leave-unsigned"]).status.code(), Some(2), "only with --now");
    let before = lab.ledger();
    let said = lab.done(&["revoke", "example.com/ps202611a", "--now", "--leave-unsigned", "--dry-run"]);
    assert!(said.contains("would become revoked") && lab.ledger() == before, "{said}");
    let said = lab.done(&["revoke", "example.com/ps202611a", "--now", "--leave-unsigned", "--reason", "laptop stolen"]);
    for expected in [
        "no key signs for example.com now: seal.no_key decides",
        "mail queued here is sealed anew",
        "Mail since 2026-11-22T01:18:45.000Z that was handed on and is not verified yet",
        "a thief's signatures still pass",
        "ps202611a._domainkey.example.com. IN TXT \"v=DKIM1; k=rsa; p=\"",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert_eq!(lab.states(), states(&[("ps202611a", State::Revoked), ("ps202611b", State::Created)]));
    assert!(lab.ledger().contains("why = \"key revoke --now: laptop stolen\""));
    lab.refused(&["revoke", "example.com/ps202611a", "--now"], "is revoked already");
}

#[test]
fn a_leaked_key_gives_way_to_one_that_is_visible() {
    let lab = Lab::with(&[(RSA, State::Active), (RSA, State::Visible)]);
    let said = lab.json(&["revoke", "example.com/ps202611a", "--now"]);
    assert_eq!(
        (said[0]["to"].as_str(), said[1]["to"].as_str(), said[1]["record"]["value"].as_str()),
        (Some("active"), Some("revoked"), Some("v=DKIM1; k=rsa; p="))
    );
    assert_eq!(lab.states(), states(&[("ps202611a", State::Revoked), ("ps202611b", State::Active)]));
}

#[test]
fn a_key_beside_which_another_signs_is_revoked_without_ado() {
    let lab = Lab::with(&[(ED, State::Active), (ED, State::Active), (ED, State::Retiring), (ED, State::Published)]);
    let said = lab.done(&["revoke", "example.com/ps202611a"]);
    assert!(said.contains("where another key signed it too, that signature still passes"), "{said}");
    lab.refused(&["revoke", "example.com/ps202611b"], "is the only ed25519 key");
    lab.refused(&["revoke", "example.com/ps202611c"], "is retiring: mail it signed may be on its way");
    lab.done(&["revoke", "example.com/ps202611c", "--now"]);
    assert!(lab.done(&["revoke", "example.com/ps202611d"]).contains("it never signed: no mail is affected"));
    assert!(lab.done(&["revoke", "example.com/ps202611b", "--now"]).contains("DKIM fails, and DMARC with it unless SPF is aligned"), "RSA signs on");
}

#[test]
fn remove_destroys_the_private_half_of_a_revoked_key_and_keeps_its_name() {
    let lab = Lab::with(&[(ED, State::Active), (ED, State::Active)]);
    lab.refused(&["remove", "example.com/ps202611a"], "is active; only a revoked key is removed: `postseal key revoke example.com/ps202611a` first");
    lab.done(&["revoke", "example.com/ps202611a"]);
    lab.done(&["remove", "example.com/ps202611a", "--dry-run"]);
    assert!(lab.path("keys/example.com/ps202611a.ed25519.pem").exists());
    assert!(lab.done(&["remove", "example.com/ps202611a"]).contains("delete its record: ps202611a._domainkey.example.com. TXT"));
    lab.done(&["remove", "example.com/ps202611a"]);
    assert_eq!(names(&lab.path("keys/example.com")), ["keys.toml", "ps202611b.ed25519.pem"]);
    assert_eq!(lab.states(), states(&[("ps202611a", State::Removed), ("ps202611b", State::Active)]));
    let pem = PrivateKey::generate(ED).unwrap().to_pem();
    write(&lab.path("new.pem"), &pem, 0o600);
    lab.refused(&["import", "example.com", "ps202611a", "new.pem"], "is taken (removed); selectors are never used twice");
}

#[test]
fn a_key_of_another_program_is_taken_with_its_record_checked() {
    let lab = Lab::new();
    let (key, other) = (PrivateKey::generate(ED).unwrap(), PrivateKey::generate(ED).unwrap());
    let record = |key: &PrivateKey, name: &str| {
        format!("{name}\tIN\tTXT\t( \"v=DKIM1; k=ed25519; \"\n\t\"{}\" ) ; key\n", &Record::of(key.public().clone()).to_string()[20..])
    };
    write(&lab.path("mail.private"), &key.to_pem(), 0o600);
    write(&lab.path("mail.txt"), &record(&other, "mail._domainkey"), 0o644);
    lab.refused(&["import", "example.com", "mail", "mail.private"], "its p= is not the public half of mail.private");
    write(&lab.path("mail.txt"), &record(&key, "old._domainkey.example.com."), 0o644);
    lab.refused(&["import", "example.com", "mail", "mail.private"], "it is the record of old._domainkey.example.com, expected mail._domainkey.example.com");
    write(&lab.path("mail.txt"), "v=DKIM1; k=ed25519; p=", 0o644);
    lab.refused(&["import", "example.com", "mail", "mail.private"], "its p= is empty: the key is revoked");
    write(&lab.path("mail.txt"), &record(&key, "mail._domainkey"), 0o644);
    assert!(lab.done(&["import", "example.com", "mail", "mail.private", "--dry-run"]).contains("would be taken") && !lab.keys().exists());
    let said = lab.done(&["import", "example.com", "Mail", "mail.private"]);
    assert!(said.contains("example.com/mail: taken") && said.contains("no active RSA key"), "{said}");
    assert!(lab.ledger().contains("state = \"active\", why = \"imported from mail.private; signed there\""), "{}", lab.ledger());
    assert!(lab.done(&["import", "example.com", "mail", "mail.private"]).contains("there already"));
    write(&lab.path("other.pem"), &other.to_pem(), 0o600);
    lab.refused(&["import", "example.com", "mail", "other.pem"], "is taken (active)");
    lab.done(&["import", "example.com", "other", "other.pem", "--unpublished"]);
    assert_eq!(lab.states(), states(&[("mail", State::Active), ("other", State::Created)]));
}

#[test]
fn keys_that_cannot_sign_safely_are_not_taken() {
    let lab = Lab::new();
    let short = rsa::RsaPrivateKey::new(&mut rsa::rand_core::OsRng, 1024).unwrap();
    let short = rsa::pkcs1::EncodeRsaPrivateKey::to_pkcs1_pem(&short, rsa::pkcs8::LineEnding::LF).unwrap();
    write(&lab.path("short.pem"), &short, 0o600);
    write(&lab.path("open.pem"), &PrivateKey::generate(ED).unwrap().to_pem(), 0o644);
    write(&lab.path("locked.pem"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n", 0o600);
    write(&lab.path("note.pem"), "hello", 0o600);
    for (file, why) in [
        ("short.pem", "short.pem: its RSA key has 1024 bits: postseal cannot sign with it"),
        ("short.pem", "rotate: `postseal key create example.com`"),
        ("open.pem", "its mode 0644 lets every user of this machine read it"),
        ("locked.pem", "it is encrypted"),
        ("note.pem", "it holds no private key"),
        ("absent.pem", "it cannot be read"),
    ] {
        lab.refused(&["import", "example.com", "mail", file], why);
    }
    assert_eq!(lab.key(&["import", "example.com", "mail"]).status.code(), Some(2));
    assert_eq!(lab.key(&["import"]).status.code(), Some(2));
    assert!(!lab.path("keys/example.com/keys.toml").exists());
}

#[test]
fn a_key_table_is_taken_as_far_as_it_is_in_order() {
    let lab = Lab::new();
    let [a, b] = [(); 2].map(|()| PrivateKey::generate(ED).unwrap());
    write(&lab.path("old/etc/dkimkeys/a.private"), &a.to_pem(), 0o600);
    write(&lab.path("old/etc/dkimkeys/b.private"), &b.to_pem(), 0o640);
    write(
        &lab.path("KeyTable"),
        "a example.com:a:/etc/dkimkeys/a.private\nb example.net:b:/etc/dkimkeys/b.private\nc example.com:c:/etc/dkimkeys/c.private\nidle example.com:d:/x\n",
        0o644,
    );
    write(&lab.path("SigningTable"), "*@example.com a\n*@example.net b\n*@partner.example b\n*@example.com c\n", 0o644);
    let args = ["import", "--opendkim-keytable", "KeyTable", "--signing-table", "refile:SigningTable", "--root", "old"];
    let output = lab.key(&args);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "one key is missing");
    for expected in [
        "example.com/a: taken",
        "example.net/b: taken",
        "example.com/c is not taken: old/etc/dkimkeys/c.private: it cannot be read",
        "does not name idle",
        "mail of partner.example is signed as example.net there",
    ] {
        assert!(said.contains(expected), "{expected}\n{said}");
    }
    assert!(lab.ledger().contains("imported from OpenDKIM's KeyTable; signed there"));
    write(&lab.path("KeyTable"), "a example.com\n", 0o644);
    lab.refused(&["import", "--opendkim-keytable", "KeyTable"], "KeyTable: KeyTable line 1: \"example.com\"; expected domain:selector:/path");
}

#[test]
fn rspamd_keys_are_found_by_name_and_by_configuration() {
    let lab = Lab::new();
    let [a, b] = [(); 2].map(|()| PrivateKey::generate(ED).unwrap());
    write(&lab.path("old/var/lib/rspamd/dkim/example.com.dkim.key"), &a.to_pem(), 0o640);
    write(&lab.path("old/var/lib/rspamd/dkim/mail.example.net.dkim.key"), &b.to_pem(), 0o640);
    let by_folder = lab.json(&["import", "--rspamd", "old/var/lib/rspamd/dkim", "--dry-run"]);
    let keys: Vec<_> = by_folder["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap().to_owned()).collect();
    assert_eq!(keys, ["dkim._domainkey.example.com", "dkim._domainkey.mail.example.net"]);
    write(
        &lab.path("dkim_signing.conf"),
        "selector = \"dkim\";\ndomain { example.com { selector = \"own\"; path = \"/var/lib/rspamd/dkim/example.com.dkim.key\"; } }\n",
        0o644,
    );
    let by_file = lab.json(&["import", "--rspamd", "dkim_signing.conf", "--root", "old"]);
    let keys: Vec<_> = by_file["keys"].as_array().unwrap().iter().map(|key| (key["key"].as_str().unwrap(), key["result"].as_str().unwrap())).collect();
    assert_eq!(keys, [("own._domainkey.example.com", "taken"), ("dkim._domainkey.mail.example.net", "taken")]);
    lab.refused(&["import", "--rspamd", "keys"], "there is no file named DOMAIN.SELECTOR.key in it");
}

#[test]
fn an_export_is_readable_by_its_owner_alone_and_overwrites_nothing() {
    let lab = Lab::with(&[(RSA, State::Active), (ED, State::Active), (ED, State::Removed)]);
    let ring = Keyring::load(&lab.keys()).unwrap();
    let public = |nth: usize| ring.keys(&example())[nth].private.as_ref().unwrap().public().clone();
    let printed = lab.key(&["export", "example.com", "ps202611a"]).stdout;
    assert_eq!(*PrivateKey::from_pem(&printed).unwrap().public(), public(0), "standard output is no terminal here");
    lab.done(&["export", "example.com/ps202611a", "--format", "pkcs1", "--output", "out.pem"]);
    let content = fs::read_to_string(lab.path("out.pem")).unwrap();
    assert!(content.starts_with("-----BEGIN RSA PRIVATE KEY-----") && *PrivateKey::from_pem(content.as_bytes()).unwrap().public() == public(0));
    assert_eq!(fs::metadata(lab.path("out.pem")).unwrap().mode() & 0o777, 0o600);
    lab.refused(&["export", "example.com/ps202611a", "--output", "out.pem"], "out.pem: it cannot be written: there is something already");
    lab.refused(&["export", "example.com/ps202611b", "--format", "pkcs1"], "an Ed25519 key, which has no PKCS#1 form");
    lab.refused(&["export", "example.com/ps202611c"], "the private half of example.com/ps202611c, which is removed, is gone");
    lab.refused(&["export", "example.com/ps202611a", "--format", "opendkim"], "name a folder for them with --output");
    fs::create_dir(lab.path("out")).unwrap();
    let lines = text(&lab.key(&["export", "example.com/ps202611a", "--format", "opendkim", "--output", "out"]).stdout);
    write(&lab.path("KeyTable"), lines.lines().nth(1).unwrap(), 0o644);
    write(&lab.path("SigningTable"), lines.lines().nth(3).unwrap(), 0o644);
    let again = lab.key(&["import", "--opendkim-keytable", "KeyTable", "--signing-table", "SigningTable", "--keys", "keys"]);
    assert_eq!(again.status.code(), Some(2), "--keys twice");
    assert!(lab.done(&["import", "--opendkim-keytable", "KeyTable", "--signing-table", "SigningTable"]).contains("example.com/ps202611a: there already"));
}

#[test]
fn a_keyring_that_others_may_write_is_refused() {
    let lab = Lab::with(&[(ED, State::Active)]);
    for place in ["keys", "keys/example.com", "keys/example.com/keys.toml"] {
        let before = fs::metadata(lab.path(place)).unwrap().permissions();
        fs::set_permissions(lab.path(place), fs::Permissions::from_mode(0o777)).unwrap();
        for args in [
            &["list"][..],
            &["create", "example.com", "--another"],
            &["revoke", "example.com/ps202611a", "--now"],
            &["import", "example.com", "x", "keys/example.com/ps202611a.ed25519.pem"],
        ] {
            lab.refused(args, &format!("{place}: its mode 0777 lets others write it; do `chmod go-w`"));
        }
        fs::set_permissions(lab.path(place), before).unwrap();
    }
    lab.done(&["list"]);
}

#[test]
fn a_ledger_that_is_mounted_is_not_changed() {
    let lab = Lab::with(&[(ED, State::Active), (ED, State::Active)]);
    fs::rename(lab.path("keys/example.com/keys.toml"), lab.path("keys/example.com/..keys.toml")).unwrap();
    symlink("..keys.toml", lab.path("keys/example.com/keys.toml")).unwrap();
    lab.done(&["show", "example.com"]);
    for args in [&["revoke", "example.com/ps202611a"][..], &["create", "example.com", "--another"]] {
        lab.refused(args, "keys/example.com/keys.toml: it cannot be written: it is a symbolic link, as Kubernetes mounts secrets");
    }
}

/// Says what a test lacks; with `CI=true`, where nothing may be missing, it fails.
fn skipped(why: &str) {
    println!("skipped: {why}");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "in CI nothing may be missing: {why}");
}

/// Root may write anywhere: then the command is run as nobody.
#[test]
fn a_keyring_that_may_not_be_written_is_said_to_be() {
    let lab = Lab::with(&[(ED, State::Active), (ED, State::Active)]);
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let binary = env!("CARGO_BIN_EXE_postseal");
    let run = |args: &[&str]| {
        let mut command = if is_root { Command::new("setpriv") } else { Command::new(binary) };
        if is_root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups", binary]);
        }
        let output = command.arg("key").args(args).args(["--keys", "keys"]).current_dir(lab.folder.path()).output();
        output.map(|output| text(&output.stderr)).unwrap_or_default()
    };
    if is_root && !run(&["list", "--help"]).is_empty() {
        return skipped(&format!("setpriv (Debian: util-linux) cannot run {binary} as another user"));
    }
    // Its files are that user's, its directories are not.
    for entry in fs::read_dir(lab.path("keys/example.com")).unwrap() {
        let path = entry.unwrap().path();
        if is_root {
            std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        }
    }
    for directory in ["keys/example.com", "keys"] {
        fs::set_permissions(lab.path(directory), fs::Permissions::from_mode(0o555)).unwrap();
    }
    write(&lab.path("new.pem"), &PrivateKey::generate(ED).unwrap().to_pem(), 0o600);
    if is_root {
        std::os::unix::fs::chown(lab.path("new.pem"), Some(65534), Some(65534)).unwrap();
    }
    for args in [
        &["create", "example.com", "--another"][..],
        &["create", "example.net"],
        &["revoke", "example.com/ps202611a"],
        &["import", "example.com", "mail", "new.pem"],
        &["import", "example.org", "mail", "new.pem"],
    ] {
        let said = run(args);
        assert!(
            said.contains("it cannot be written: Permission denied (os error 13); this process runs as user") && said.contains("`chown`"),
            "{args:?}: {said}"
        );
    }
    for directory in ["keys", "keys/example.com"] {
        fs::set_permissions(lab.path(directory), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_directory() {
    let lab = Lab::with(&[(ED, State::Active)]);
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        return skipped("only root makes files for others");
    }
    std::os::unix::fs::chown(lab.path("keys"), Some(65534), Some(65534)).unwrap();
    std::os::unix::fs::chown(lab.path("keys/example.com"), Some(65534), Some(65534)).unwrap();
    lab.done(&["create", "example.com", "--another"]);
    lab.done(&["create", "example.net"]);
    let owner = |path: PathBuf| (fs::metadata(&path).unwrap().uid(), fs::metadata(&path).unwrap().mode() & 0o777);
    let made =
        |domain: &str| names(&lab.path(&format!("keys/{domain}"))).into_iter().filter(|name| name.contains("rsa") || name == "keys.toml").collect::<Vec<_>>();
    for domain in ["example.com", "example.net"] {
        assert_eq!(made(domain).len(), 2);
        for name in made(domain) {
            assert_eq!(owner(lab.path(&format!("keys/{domain}/{name}"))), (65534, 0o600), "{domain}/{name}");
        }
    }
    assert_eq!(owner(lab.path("keys/example.net")), (65534, 0o700));
}

#[test]
fn a_process_that_is_killed_at_any_system_call_leaves_a_domain_that_signs() {
    let lab = Lab::with(&[(ED, State::Active)]);
    let binary = env!("CARGO_BIN_EXE_postseal");
    write(&lab.path("mail.pem"), &PrivateKey::generate(ED).unwrap().to_pem(), 0o600);
    let traced = |call: &str, nth: usize, args: &[&str]| {
        let inject = format!("{call}:signal=SIGKILL:when={nth}");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-o", "strace.out", "-e", &format!("trace={call}"), "-e", &format!("inject={inject}"), binary, "key"]);
        strace.args(args).args(["--keys", "keys"]).current_dir(lab.folder.path()).output()
    };
    if !traced("fsync", 99, &["list"]).is_ok_and(|output| output.status.success()) {
        return skipped("strace (Debian: strace) cannot trace here");
    }
    let is_sound = |after: &str| {
        let ring = Keyring::load(&lab.keys()).unwrap_or_else(|faults| panic!("{after}: {faults:?}"));
        assert!(ring.active(&example(), ED).any(|(id, _)| id.selector.as_str() == "ps202611a"), "{after}");
        for (selector, state) in lab.states().iter().filter(|(_, state)| *state == State::Active) {
            assert!(ring.active(&example(), ED).any(|(id, _)| id.selector.as_str() == selector), "{after}: {selector} is {state}");
        }
    };
    let mut kills = 0;
    for call in ["write", "fsync", "rename", "unlink"] {
        let mut selectors = 0;
        for nth in 1.. {
            // One key after the other is taken and given up; each command is killed once and repeated.
            selectors += 1;
            let selector = format!("{call}{selectors}");
            let key = format!("example.com/{selector}");
            let commands = [vec!["import", "example.com", &selector, "mail.pem"], vec!["revoke", &key], vec!["remove", &key]];
            let mut killed = 0;
            for args in &commands {
                let output = traced(call, nth, args).unwrap();
                let after = format!("{args:?} killed at {call} number {nth}");
                is_sound(&after);
                killed += usize::from(!output.status.success());
                let again = lab.key(args);
                let is_done = again.status.success() || text(&again.stderr).contains("already");
                assert!(is_done, "{after}, repeated: {}", text(&again.stderr));
                is_sound(&format!("{after}, repeated"));
            }
            assert!(names(&lab.path("keys/example.com")).iter().all(|name| !name.starts_with('.')), "{:?}", names(&lab.path("keys/example.com")));
            assert!(lab.states().contains(&(selector.clone(), State::Removed)), "{selector}: {:?}", lab.states());
            kills += killed;
            if killed == 0 {
                break;
            }
        }
    }
    assert!(kills > 20, "only {kills} kills");
}

/// As a selector of today has it.
fn month() -> String {
    let date = postseal::clock::now().to_rfc3339();
    format!("{}{}", &date[..4], &date[5..7])
}
