//! The key directory: what is made reads back, here and by OpenSSL; what is wrong is named, all of it.

use super::{NOW, example, names, write};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postseal::keys::{
    Algorithm, ChangeError, KeyFile, KeyProblem, Keyring, PemError, PrivateKey, PublicKey, Record, SelectorTemplate, State, create, create_token_secret,
    load_token_secrets,
};
use postseal::seal::dkim::Signer;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::Command;
use std::time::Duration;

const BOTH: [Algorithm; 2] = [Algorithm::Rsa, Algorithm::Ed25519];

#[test]
fn keys_that_were_made_are_loaded_and_sign() {
    let directory = tempfile::tempdir().unwrap();
    let made = create(directory.path(), &example(), &BOTH, &SelectorTemplate::default(), (State::Active, "test"), NOW).unwrap();
    assert_eq!(names(&directory.path().join("example.com")), ["keys.toml", "ps202611a.rsa.pem", "ps202611b.ed25519.pem"]);
    let about = fs::metadata(directory.path().join("example.com/ps202611a.rsa.pem")).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o600);

    let ring = Keyring::load(directory.path()).unwrap();
    assert_eq!(ring.domains().collect::<Vec<_>>(), [&example()]);
    for (key, loaded) in made.iter().zip(ring.keys(&example())) {
        assert_eq!((&key.id, key.algorithm, key.state, key.since, key.record()), (&loaded.id, loaded.algorithm, loaded.state, loaded.since, loaded.record()));
    }
    let (id, private) = ring.active(&example(), Algorithm::Rsa).next().unwrap();
    assert!(Signer::rsa(id.clone(), private.der()).is_ok());
    let (id, private) = ring.active(&example(), Algorithm::Ed25519).next().unwrap();
    assert!(Signer::ed25519(id.clone(), private.der()).is_ok());
    assert!(Signer::rsa(id.clone(), private.der()).is_err());
}

#[test]
fn a_key_outside_of_the_directory_signs_beside_those_in_it() {
    let directory = tempfile::tempdir().unwrap();
    create(directory.path(), &example(), &BOTH[..1], &SelectorTemplate::default(), (State::Active, "test"), NOW).unwrap();
    let outside = tempfile::tempdir().unwrap();
    let (path, pem) = (outside.path().join("dkim.key"), fs::read_to_string(directory.path().join("example.com/ps202611a.rsa.pem")).unwrap());
    write(&path, &pem, 0o440);
    let load = |selector: &str| {
        let file = KeyFile { domain: example(), selector: postseal::keys::selector(selector).unwrap(), path: path.clone() };
        Keyring::load_with(directory.path(), &[file]).map_err(|faults| faults.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let ring = load("mounted").unwrap();
    assert_eq!(ring.active(&example(), Algorithm::Rsa).map(|(id, _)| id.selector.to_string()).collect::<Vec<_>>(), ["mounted", "ps202611a"]);
    assert_eq!(
        load("ps202611a").unwrap_err(),
        [format!("{}: the key directory has a key of selector ps202611a too; remove one, or give this one another selector", path.display())]
    );
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(
        load("mounted").unwrap_err(),
        [format!(
            "{}: its mode 0644 lets every user of this machine read it; do `chmod 0600` (in Kubernetes: defaultMode: 0440 and an fsGroup)",
            path.display()
        )]
    );
    fs::remove_file(&path).unwrap();
    assert_eq!(load("mounted").unwrap_err(), [format!("{}: it cannot be read: No such file or directory (os error 2)", path.display())]);
}

#[test]
fn selectors_are_never_used_twice() {
    let directory = tempfile::tempdir().unwrap();
    let selector = |now| {
        create(directory.path(), &example(), &[Algorithm::Ed25519], &SelectorTemplate::default(), (State::Active, "test"), now)
            .map(|keys| keys[0].id.selector.to_string())
    };
    assert_eq!(selector(NOW).unwrap(), "ps202611a");
    fs::remove_file(directory.path().join("example.com/ps202611a.ed25519.pem")).unwrap();
    assert_eq!(selector(NOW).unwrap(), "ps202611b", "remembered by keys.toml");
    write(&directory.path().join("example.com/PS202611c.pem"), "theirs", 0o600);
    assert_eq!(selector(NOW).unwrap(), "ps202611d", "another's file");
    assert_eq!(selector(NOW + Duration::from_hours(30 * 24)).unwrap(), "ps202612a");
    for letter in 'e'..='z' {
        assert_eq!(selector(NOW).unwrap(), format!("ps202611{letter}"));
    }
    assert_eq!(selector(NOW).unwrap(), "ps202611aa", "a month cannot run out");
    assert_eq!(fs::read_to_string(directory.path().join("example.com/PS202611c.pem")).unwrap(), "theirs");
}

#[test]
fn keys_of_others_are_read_and_openssl_reads_ours() {
    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: there is no openssl");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let openssl = |args: &[&str]| {
        let done = Command::new("openssl").current_dir(directory.path()).args(args).output().unwrap();
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        done.stdout
    };
    for algorithm in BOTH {
        let key = PrivateKey::generate(algorithm).unwrap();
        fs::write(directory.path().join("key.pem"), &*key.to_pem()).unwrap();
        let spki = openssl(&["pkey", "-in", "key.pem", "-pubout", "-outform", "DER"]);
        match key.public() {
            PublicKey::Rsa(octets) => assert_eq!(&spki, octets),
            PublicKey::Ed25519(octets) => assert_eq!(&spki[spki.len() - 32..], octets),
        }
    }
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", "ed25519.pem"]);
    openssl(&["genrsa", "-out", "pkcs8.pem", "2048"]);
    openssl(&["rsa", "-in", "pkcs8.pem", "-traditional", "-out", "pkcs1.pem"]);
    openssl(&["genrsa", "-out", "small.pem", "1024"]);
    openssl(&["genrsa", "-out", "largest.pem", "4096"]);
    openssl(&["genrsa", "-out", "large.pem", "4224"]);
    openssl(&["genpkey", "-algorithm", "RSA-PSS", "-pkeyopt", "rsa_keygen_bits:2048", "-out", "pss.pem"]);
    openssl(&["ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", "ec.pem"]);
    openssl(&["rsa", "-in", "pkcs8.pem", "-traditional", "-aes128", "-passout", "pass:secret", "-out", "locked.pem"]);
    let read = |name: &str| PrivateKey::from_pem(&fs::read(directory.path().join(name)).unwrap());
    assert_eq!(read("ed25519.pem").unwrap().algorithm(), Algorithm::Ed25519);
    assert_eq!(read("largest.pem").unwrap().algorithm(), Algorithm::Rsa);
    let (pkcs8, pkcs1) = (read("pkcs8.pem").unwrap(), read("pkcs1.pem").unwrap());
    assert_eq!(pkcs8.public(), pkcs1.public());
    assert_eq!(*pkcs8.to_pem(), *pkcs1.to_pem(), "both are kept in one form");
    assert_eq!(pkcs8.to_pem().as_bytes(), fs::read(directory.path().join("pkcs8.pem")).unwrap(), "which is OpenSSL's, octet for octet");
    assert_eq!(read("ed25519.pem").unwrap().to_pem().as_bytes(), fs::read(directory.path().join("ed25519.pem")).unwrap());
    let id = postseal::mail::KeyId { domain: example(), selector: postseal::mail::Selector::new("s") };
    assert!(Signer::rsa(id, pkcs1.der()).is_ok());
    for (name, expected) in [
        ("small.pem", "1024 bits"),
        ("large.pem", "4224 bits"),
        ("ec.pem", "neither an RSA nor an Ed25519"),
        ("pss.pem", "neither an RSA nor an Ed25519"),
        ("locked.pem", "encrypted"),
    ] {
        let error = read(name).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn an_ed25519_key_with_its_public_half_is_read_and_written_without() {
    let pair = Ed25519KeyPair::generate().unwrap();
    let version_2 = pair.to_pkcs8().unwrap();
    let pem = |der: &[u8]| format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(der));
    let key = PrivateKey::from_pem(pem(version_2.as_ref()).as_bytes()).unwrap();
    assert_eq!(key.der(), pair.to_pkcs8v1().unwrap().as_ref());
    assert_eq!(*key.public(), PublicKey::Ed25519(pair.public_key().as_ref().try_into().unwrap()));
    let mut wrong_half = version_2.as_ref().to_vec();
    *wrong_half.last_mut().unwrap() ^= 1;
    assert_eq!(PrivateKey::from_pem(pem(&wrong_half).as_bytes()).unwrap_err(), PemError::Unknown);
}

#[test]
fn a_damaged_rsa_key_is_refused_when_it_is_read() {
    let key = PrivateKey::generate(Algorithm::Rsa).unwrap();
    let read = |place: usize| {
        let mut der = key.der().to_vec();
        der[place] ^= 4;
        PrivateKey::from_pem(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", BASE64.encode(&der)).as_bytes())
    };
    for (place, what) in [(200, "modulus"), (400, "private exponent"), (620, "first prime"), (760, "second prime")] {
        assert_eq!(read(place).err(), Some(PemError::Unknown), "{what}");
    }
    assert_eq!(*read(1000).unwrap().to_pem(), *key.to_pem(), "what follows from the primes is computed again");
}

#[test]
fn secrets_mounted_as_kubernetes_does_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path().join("example.com");
    let pem = PrivateKey::generate(Algorithm::Ed25519).unwrap().to_pem();
    write(&mount.join("..2026_11_22/mail.pem"), &pem, 0o440);
    symlink("..2026_11_22", mount.join("..data")).unwrap();
    symlink("..data/mail.pem", mount.join("mail.pem")).unwrap();
    let ring = Keyring::load(directory.path()).unwrap();
    let key = &ring.keys(&example())[0];
    assert_eq!((key.id.to_string().as_str(), key.state, key.since), ("mail._domainkey.example.com", State::Active, None));
}

#[test]
fn every_fault_is_found_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let at = |path: &str| directory.path().join(path);
    let ed25519 = PrivateKey::generate(Algorithm::Ed25519).unwrap().to_pem();
    write(&at("README.md"), "read me", 0o644);
    write(&at("stray.rsa.pem"), &ed25519, 0o600);
    write(&at("a.example/open.pem"), &ed25519, 0o644);
    write(&at("a.example/wrong.rsa.pem"), &ed25519, 0o600);
    write(&at("a.example/empty.private"), "", 0o600);
    write(&at("a.example/twice.pem"), &ed25519, 0o600);
    write(&at("a.example/twice.ed25519.pem"), &ed25519, 0o600);
    write(&at("a.example/under score.pem"), &ed25519, 0o600);
    write(&at("b.example/keys.toml"), "[gone]\nalgorithm = \"rsa\"\nstate = \"active\"\nsince = \"2026-11-22T01:18:45Z\"\n", 0o644);
    write(&at("c.example/keys.toml"), "[x]\nalgorithm = \"rsa\"\nstate = \"asleep\"\nsince = \"2026-11-22T01:18:45Z\"\n", 0o644);
    fs::create_dir(at("not a domain")).unwrap();
    let faults = Keyring::load(directory.path()).unwrap_err();
    let text: Vec<String> = faults.iter().map(|fault| fault.to_string().replace(directory.path().to_str().unwrap(), "")).collect();
    let expect = [
        "/a.example/empty.private: it holds no private key",
        "/a.example/open.pem: its mode 0644 lets every user",
        "/a.example: two files hold the key of selector twice",
        "/a.example/under score.pem: \"under score\" is no selector",
        "/a.example/wrong.rsa.pem: its name says rsa, but it holds an ed25519 key",
        "/b.example: keys.toml calls gone active, but there is no file",
        "/c.example/keys.toml: it is not a key state file: state \"asleep\"",
        "/not a domain: its name is not a domain",
        "/stray.rsa.pem: keys belong into a directory",
    ];
    assert_eq!(text.len(), expect.len(), "{text:#?}");
    for (found, expected) in text.iter().zip(expect) {
        assert!(found.starts_with(expected), "{found} / {expected}");
    }
    assert!(faults.iter().any(|fault| matches!(fault.problem, KeyProblem::WorldReadable { mode: 0o644 })));
    assert_eq!(Keyring::load(&at("nowhere")).unwrap().domains().count(), 0, "a keyring that is not there yet has no keys");
}

#[test]
fn states_decide_what_signs_and_what_is_published() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("example.com");
    let pem = PrivateKey::generate(Algorithm::Ed25519).unwrap().to_pem();
    let mut states = Vec::new();
    for state in ["created", "active", "retiring", "revoked"] {
        write(&at.join(format!("{state}.pem")), &pem, 0o600);
        states.push(format!("[{state}]\nalgorithm = \"ed25519\"\nstate = \"{state}\"\nsince = \"2026-11-22T01:18:45Z\"\n"));
    }
    states.push("[removed]\nalgorithm = \"rsa\"\nstate = \"removed\"\nsince = \"2026-11-22T01:18:45Z\"\n".to_owned());
    states.push("[half]\nalgorithm = \"rsa\"\nstate = \"created\"\nsince = \"2026-11-22T01:18:45Z\"\n".to_owned());
    write(&at.join("half.rsa.pem"), "-----BEGIN PRIV", 0o600); // a crash while it was made
    write(&at.join("keys.toml"), &states.concat(), 0o644);
    let ring = Keyring::load(directory.path()).unwrap();
    let active: Vec<_> = ring.active(&example(), Algorithm::Ed25519).map(|(id, _)| id.selector.to_string()).collect();
    assert_eq!(active, ["active"]);
    assert_eq!(ring.retiring(&example()).map(|id| id.selector.to_string()).collect::<Vec<_>>(), ["retiring"]);
    let records: Vec<_> = ring.keys(&example()).iter().map(|key| (key.id.selector.to_string(), key.record())).collect();
    let published = ring.keys(&example())[0].record();
    assert!(published.is_some());
    let expect = [
        ("active", published.clone()),
        ("created", published.clone()),
        ("removed", None),
        ("retiring", published),
        ("revoked", Some(Record::revoked(Algorithm::Ed25519))),
    ];
    assert_eq!(records, expect.map(|(name, record)| (name.to_owned(), record)));
}

#[test]
fn token_secrets_rotate_and_are_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    assert!(load_token_secrets(directory.path()).unwrap().is_empty());
    let made: Vec<_> = (0..8).map(|day| create_token_secret(directory.path(), NOW + Duration::from_hours(24 * day)).unwrap()).collect();
    assert_eq!(made.iter().map(|secret| secret.id).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 7]);
    assert!(made.windows(2).all(|pair| pair[0].secret != pair[1].secret));
    let later = NOW + Duration::from_hours(24 * 30);
    assert!(matches!(create_token_secret(directory.path(), later), Err(ChangeError::Fault(_))), "0 is still there");
    fs::remove_file(directory.path().join("token/0.secret")).unwrap();
    assert_eq!(create_token_secret(directory.path(), later).unwrap().id, 0);
    let loaded = load_token_secrets(directory.path()).unwrap();
    assert_eq!(loaded.iter().map(|secret| secret.id).collect::<Vec<_>>(), [0, 7, 6, 5, 4, 3, 2, 1], "the newest first");
    assert_eq!(loaded[1].secret, made[7].secret);
    assert!(!format!("{loaded:?}").contains("secret:"));
    assert!(Keyring::load(directory.path()).unwrap().domains().next().is_none(), "token is no domain");
}

#[test]
fn token_secrets_of_hexadecimal_digits_alone_are_read_and_others_refused() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join("token").join(name);
    write(&at("3.secret"), &format!("{}\n", "0F".repeat(32)), 0o600);
    let loaded = load_token_secrets(directory.path()).unwrap();
    assert_eq!((loaded[0].id, *loaded[0].secret), (3, [15; 32]));
    write(&at("8.secret"), &"00".repeat(32), 0o600);
    write(&at("4.secret"), &"00".repeat(31), 0o600);
    write(&at("5.secret"), &"00".repeat(32), 0o604);
    assert_eq!(load_token_secrets(directory.path()).unwrap_err().len(), 3);
}
