//! opendkim-genkey, rspamadm and OpenSSL make keys that `postseal key import` takes; OpenSSL and opendkim-testkey read what it exports.

use super::support::{Peer, folder, missing, program};
use postseal::keys::{Keyring, Ledger, State};
use postseal::mail::Domain;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

fn postseal(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_postseal")).arg("key").args(args).args(["--keys", "keys"]).current_dir(folder).output().unwrap()
}

#[track_caller]
fn taken(folder: &Path, args: &[&str]) -> String {
    let output = postseal(folder, args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn refused(folder: &Path, args: &[&str], why: &str) {
    let output = postseal(folder, args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(why), "{args:?}: {said}");
}

/// A program's standard output.
#[track_caller]
fn made(folder: &Path, name: &str, args: &[&str]) -> String {
    let output = Command::new(program(name).unwrap()).args(args).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn signing(folder: &Path, domain: &str) -> Vec<String> {
    let domain: Domain = domain.parse().unwrap();
    let ring = Keyring::load(&folder.join("keys")).unwrap();
    ring.keys(&domain).iter().filter(|key| key.state == State::Active).map(|key| format!("{} {}", key.id.selector, key.algorithm)).collect()
}

/// What `p=` of a record says.
fn public(text: &str) -> String {
    let joined: String = text.split('"').skip(1).step_by(2).collect();
    joined.split_once("p=").unwrap().1.to_owned()
}

#[test]
fn keys_and_tables_of_opendkim_are_taken_and_given_back() {
    if missing(&[Peer::OpenDkimTools, Peer::OpenSsl]) {
        return;
    }
    let folder = folder("keys-opendkim");
    let path = folder.path();
    for (domain, selector, bits) in [("example.com", "mail", "2048"), ("example.net", "big", "4096"), ("example.org", "short", "1024")] {
        fs::create_dir(path.join(domain)).unwrap();
        made(&path.join(domain), "opendkim-genkey", &["-b", bits, "-d", domain, "-s", selector]);
    }
    let table = |domain: &str, selector: &str| format!("{selector}._domainkey.{domain} {domain}:{selector}:{}/{domain}/{selector}.private\n", path.display());
    fs::write(path.join("KeyTable"), table("example.com", "mail") + &table("example.net", "big")).unwrap();
    fs::write(path.join("SigningTable"), "*@example.com mail._domainkey.example.com\n*@example.net big._domainkey.example.net\n").unwrap();
    let said = taken(path, &["import", "--opendkim-keytable", "KeyTable", "--signing-table", "SigningTable"]);
    assert_eq!((signing(path, "example.com"), signing(path, "example.net")), (vec!["mail rsa".to_owned()], vec!["big rsa".to_owned()]));
    let ours = said.lines().find(|line| line.starts_with("mail._domainkey.example.com.")).unwrap();
    assert_eq!(public(ours), public(&fs::read_to_string(path.join("example.com/mail.txt")).unwrap()));

    refused(path, &["import", "example.org", "short", "example.org/short.private"], "its RSA key has 1024 bits: postseal cannot sign with it");
    fs::copy(path.join("example.net/big.txt"), path.join("example.com/mail.txt")).unwrap();
    refused(path, &["import", "example.com", "again", "example.com/mail.private"], "it is the record of big._domainkey, expected again._domainkey.example.com");
    refused(path, &["import", "example.com", "again", "example.com/mail.private", "--record", "example.org/short.txt"], "expected again");

    fs::create_dir(path.join("out")).unwrap();
    taken(path, &["export", "example.com/mail", "--format", "opendkim", "--output", "out"]);
    assert_eq!(public(&fs::read_to_string(path.join("out/mail.txt")).unwrap()), public(ours));
    let modulus = |file: &str| made(path, "openssl", &["rsa", "-in", file, "-noout", "-modulus"]);
    assert_eq!(modulus("out/mail.private"), modulus("example.com/mail.private"));
}

#[test]
fn keys_of_rspamd_are_taken() {
    if missing(&[Peer::RspamAdm]) {
        return;
    }
    let folder = folder("keys-rspamd");
    let path = folder.path();
    fs::create_dir(path.join("dkim")).unwrap();
    let mut records = Vec::new();
    for (domain, selector, more) in
        [("example.com", "dkim", &["-b", "2048"][..]), ("example.com", "ed", &["-t", "ed25519"]), ("sub.example.net", "seed", &["-t", "ed25519-seed"])]
    {
        let file = format!("dkim/{domain}.{selector}.key");
        records.push(public(&made(path, "rspamadm", &[&["dkim_keygen", "-d", domain, "-s", selector, "-k", &file], more].concat())));
    }
    // rspamadm leaves Ed25519 keys to the umask.
    let exposed = path.join("dkim/example.com.ed.key");
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
    refused(
        path,
        &["import", "--rspamd", "dkim"],
        "example.com/ed is not taken: dkim/example.com.ed.key: its mode 0644 lets every user of this machine read it",
    );
    for entry in fs::read_dir(path.join("dkim")).unwrap() {
        fs::set_permissions(entry.unwrap().path(), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let said = taken(path, &["import", "--rspamd", "dkim"]);
    assert_eq!(said.lines().filter(|line| !line.starts_with(';')).map(public).collect::<Vec<_>>(), records, "its records and ours say the same");
    assert_eq!(signing(path, "example.com"), ["dkim rsa", "ed ed25519"]);
    assert_eq!(signing(path, "sub.example.net"), ["seed ed25519"]);
}

#[test]
fn keys_of_openssl_are_taken_and_it_reads_ours() {
    if missing(&[Peer::OpenSsl]) {
        return;
    }
    let folder = folder("keys-openssl");
    let path = folder.path();
    let openssl = |args: &[&str]| made(path, "openssl", args);
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", "ed.pem"]);
    openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "pkcs8.pem"]);
    openssl(&["genrsa", "-out", "second.pem", "2048"]);
    openssl(&["rsa", "-in", "second.pem", "-traditional", "-out", "pkcs1.pem"]);
    openssl(&["pkey", "-in", "ed.pem", "-aes256", "-passout", "pass:secret", "-out", "locked.pem"]);
    openssl(&["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "ec.pem"]);
    for (selector, file) in [("ed", "ed.pem"), ("rsa8", "pkcs8.pem"), ("rsa1", "pkcs1.pem")] {
        taken(path, &["import", "example.com", selector, file]);
        let file_of_ours = format!("{selector}.out");
        taken(path, &["export", "example.com", selector, "--output", &file_of_ours]);
        let public = |file: &str| openssl(&["pkey", "-in", file, "-pubout"]);
        assert_eq!(public(&file_of_ours), public(file), "{selector}");
        let shown = taken(path, &["show", "example.com", selector]);
        openssl(&["pkey", "-in", file, "-pubout", "-outform", "DER", "-out", "public.der"]);
        let digest = openssl(&["dgst", "-sha256", "-r", "public.der"]);
        assert!(shown.contains(&format!("sha256:{}", &digest[..64])), "{shown}\n{digest}");
    }
    taken(path, &["export", "example.com", "rsa8", "--format", "pkcs1", "--output", "traditional.pem"]);
    assert_eq!(openssl(&["rsa", "-in", "traditional.pem", "-check", "-noout"]).trim(), "RSA key ok");
    refused(path, &["import", "example.com", "locked", "locked.pem"], "it is encrypted; decrypt it with `openssl pkey");
    refused(path, &["import", "example.com", "ec", "ec.pem"], "neither an RSA nor an Ed25519 private key");
    let ledger = Ledger::read(&path.join("keys"), &"example.com".parse().unwrap()).unwrap();
    assert_eq!(ledger.entries().len(), 3, "what is refused takes no selector");
}
