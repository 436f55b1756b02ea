//! Users and their passwords, as a client meets them in AUTH.

use argon2::password_hash::{PasswordHasher as _, SaltString};
use aws_lc_rs::{digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use postseal::ingress::sasl::{Credential, Exchange, Gate, Limits, Sasl, Step, User, UserFault, scram_verifier};
use postseal::mail::IdentityName;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// An argon2id hash as cheap as may be.
fn argon2id(password: &str) -> String {
    let cheap = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, argon2::Params::new(8, 1, 1, None).unwrap());
    cheap.hash_password(password.as_bytes(), &SaltString::encode_b64(b"some salt").unwrap()).unwrap().to_string()
}

fn scram(password: &str) -> String {
    scram_verifier(password, 4096, b"some salt").unwrap()
}

fn user(name: &str, credential: &str) -> User {
    User { name: name.into(), identity: IdentityName::new(&format!("{name}-app")), credential: Credential::parse(credential).unwrap() }
}

fn users(users: &[(&str, String)], gate: &Arc<Gate>) -> Arc<Sasl> {
    Arc::new(Sasl::new(users.iter().map(|(name, credential)| user(name, credential)).collect(), gate.clone()).unwrap())
}

fn gate() -> Arc<Gate> {
    Gate::new(Limits { failure_delay: Duration::ZERO, ..Limits::default() })
}

fn accepted(name: &str) -> Step {
    Step::Accepted { identity: IdentityName::new(&format!("{name}-app")), user: name.into(), final_challenge: None }
}

async fn plain(sasl: &Arc<Sasl>, user: &str, password: &str) -> Step {
    sasl.start("PLAIN").unwrap().step(Some(format!("\0{user}\0{password}").as_bytes())).await
}

async fn plain_from(sasl: &Arc<Sasl>, address: &str, user: &str, password: &str) -> Step {
    let mut exchange = sasl.start("PLAIN").unwrap().from_client(address.parse::<IpAddr>().unwrap());
    exchange.step(Some(format!("\0{user}\0{password}").as_bytes())).await
}

fn code(step: &Step) -> String {
    match step {
        Step::Refused(refusal) => format!("{} {}", refusal.code, refusal.enhanced),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn plain_and_login_serve_both_kinds_of_credential() {
    for credential in [argon2id("pencil"), scram("pencil")] {
        let sasl = users(&[("ann", credential)], &gate());
        assert_eq!(plain(&sasl, "ann", "pencil").await, accepted("ann"));
        assert_eq!(code(&plain(&sasl, "ann", "pencil2").await), "535 5.7.8");

        let mut exchange = sasl.start("plain").unwrap();
        assert_eq!(exchange.step(None).await, Step::Challenge(Vec::new()));
        assert_eq!(exchange.step(Some(b"ann\0ann\0pencil")).await, accepted("ann"));

        let mut exchange = sasl.start("LOGIN").unwrap();
        assert_eq!(exchange.step(None).await, Step::Challenge(b"Username:".to_vec()));
        assert_eq!(exchange.step(Some(b"ann")).await, Step::Challenge(b"Password:".to_vec()));
        assert_eq!(exchange.step(Some(b"pencil")).await, accepted("ann"));

        let mut exchange = sasl.start("LOGIN").unwrap();
        assert_eq!(exchange.step(Some(b"ann")).await, Step::Challenge(b"Password:".to_vec()));
        assert_eq!(code(&exchange.step(Some(b"wrong")).await), "535 5.7.8");
        assert_eq!(code(&exchange.step(Some(b"pencil")).await), "503 5.5.1", "an exchange that is over stays over");
    }
}

#[tokio::test]
async fn names_and_passwords_are_compared_by_saslprep() {
    let sasl = users(&[("an\u{ad}n", scram("\u{aa}bc"))], &gate());
    assert_eq!(code(&plain(&sasl, "ANN", "abc").await), "535 5.7.8");
    assert!(matches!(plain(&sasl, "ann", "abc").await, Step::Accepted { .. }));
}

#[tokio::test]
async fn responses_that_do_not_follow_the_mechanism_are_named() {
    let sasl = users(&[("ann", scram("pencil"))], &gate());
    for (mechanism, response) in [
        ("PLAIN", &b""[..]),
        ("PLAIN", b"ann"),
        ("PLAIN", b"\0ann"),
        ("PLAIN", b"\0\0pencil"),
        ("PLAIN", b"\0ann\0"),
        ("PLAIN", b"\0ann\0pencil\0"),
        ("PLAIN", b"\0ann\0\xff"),
        ("PLAIN", &[b'x'; 4097]),
        ("LOGIN", b""),
        ("LOGIN", b"\xff"),
        ("LOGIN", b"a\0b"),
        ("SCRAM-SHA-256", b"n,,r=abc"),
        ("SCRAM-SHA-256", b"p=tls-exporter,,n=ann,r=abc"),
    ] {
        assert_eq!(code(&sasl.start(mechanism).unwrap().step(Some(response)).await), "501 5.5.2", "{mechanism} {response:?}");
    }
    assert_eq!(code(&sasl.start("PLAIN").unwrap().step(Some(b"other\0ann\0pencil")).await), "535 5.7.8", "nobody acts for somebody else");
    let longest = [b"\0ann\0".to_vec(), vec![b'x'; 4096 - 5]].concat();
    assert_eq!(code(&sasl.start("PLAIN").unwrap().step(Some(&longest)).await), "535 5.7.8");
}

#[tokio::test]
async fn a_user_that_is_not_there_is_answered_as_a_wrong_password() {
    for credential in [argon2id("pencil"), scram("pencil")] {
        let sasl = users(&[("ann", credential)], &gate());
        let wrong = plain(&sasl, "ann", "wrong").await;
        for name in ["bob", "ANN", "\u{7}", &"x".repeat(300)] {
            assert_eq!(plain(&sasl, name, "pencil").await, wrong, "{name:?}");
            assert_eq!(plain(&sasl, name, &"p".repeat(3000)).await, wrong, "{name:?}");
        }
    }
}

#[test]
fn scram_is_offered_only_where_everybody_has_a_verifier() {
    let all = users(&[("ann", scram("a")), ("bob", scram("b"))], &gate());
    assert_eq!(all.mechanisms(), ["SCRAM-SHA-256", "PLAIN", "LOGIN"]);
    let mixed = users(&[("ann", scram("a")), ("bob", argon2id("b"))], &gate());
    assert_eq!(mixed.mechanisms(), ["PLAIN", "LOGIN"]);
    assert!(mixed.start("SCRAM-SHA-256").is_none());
    assert!(all.start("SCRAM-SHA-256-PLUS").is_none() && all.start("CRAM-MD5").is_none());
    let nobody = users(&[], &gate());
    assert!(nobody.mechanisms().is_empty() && nobody.start("PLAIN").is_none());
}

#[test]
fn users_that_cannot_be_told_apart_are_faults() {
    let list = ["ann", "bob", "a\u{ad}nn", "\u{7}", ""].map(|name| user(name, &scram("x"))).to_vec();
    assert_eq!(Sasl::new(list, gate()).unwrap_err(), [UserFault::Twice("a\u{ad}nn".into()), UserFault::Name("\u{7}".into()), UserFault::Name(String::new())]);
}

/// A SCRAM client; gives the server's first message and the last step.
async fn scram_login(sasl: &Arc<Sasl>, user: &str, password: &str, header: &str) -> (String, Step) {
    let mut exchange: Exchange = sasl.start("SCRAM-SHA-256").unwrap();
    assert_eq!(exchange.step(None).await, Step::Challenge(Vec::new()));
    let bare = format!("n={user},r=clientnonce");
    let Step::Challenge(first) = exchange.step(Some(format!("{header}{bare}").as_bytes())).await else { panic!("no challenge") };
    let first = String::from_utf8(first).unwrap();
    let attribute = |name: &str| first.split(',').find_map(|part| part.strip_prefix(name)).unwrap().to_owned();
    let (salt, iterations): (_, NonZeroU32) = (BASE64.decode(attribute("s=")).unwrap(), attribute("i=").parse().unwrap());
    assert!(attribute("r=").starts_with("clientnonce") && attribute("r=").len() > "clientnonce".len() + 20);
    let mut salted = [0; 32];
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, &salt, password.as_bytes(), &mut salted);
    let sign = |key: &[u8], text: &str| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes());
    let client_key = sign(&salted, "Client Key");
    let without_proof = format!("c={},r={}", BASE64.encode(header), attribute("r="));
    let auth_message = format!("{bare},{first},{without_proof}");
    let signature = sign(digest::digest(&digest::SHA256, client_key.as_ref()).as_ref(), &auth_message);
    let proof: Vec<u8> = client_key.as_ref().iter().zip(signature.as_ref()).map(|(key, signature)| key ^ signature).collect();
    let last = exchange.step(Some(format!("{without_proof},p={}", BASE64.encode(proof)).as_bytes())).await;
    if let Step::Accepted { final_challenge: Some(message), .. } = &last {
        let expected = sign(sign(&salted, "Server Key").as_ref(), &auth_message);
        assert_eq!(*message, format!("v={}", BASE64.encode(expected)).into_bytes(), "the server proves itself too");
    }
    (first, last)
}

#[tokio::test]
async fn scram_proves_both_sides() {
    let sasl = users(&[("ann", scram("pencil")), ("a,b=c", scram("other"))], &gate());
    for (name, password, header, expect) in [
        ("ann", "pencil", "n,,", true),
        ("ann", "pencil", "y,,", true),
        ("ann", "pencil", "n,a=ann,", true),
        ("a=2Cb=3Dc", "other", "n,,", true),
        ("ann", "other", "n,,", false),
        ("bob", "pencil", "n,,", false),
    ] {
        let (_, last) = scram_login(&sasl, name, password, header).await;
        assert_eq!(matches!(last, Step::Accepted { final_challenge: Some(_), .. }), expect, "{name} {password} {header}: {last:?}");
        assert!(expect || code(&last) == "535 5.7.8");
    }
}

#[tokio::test]
async fn scram_does_not_tell_who_is_there() {
    let salt_of = |first: &str| first.split(',').nth(1).unwrap().to_owned();
    let sasl = users(&[("ann", scram_verifier("pencil", 5000, b"0123456789abcdef").unwrap())], &gate());
    let (real, _) = scram_login(&sasl, "ann", "x", "n,,").await;
    let (unreal, _) = scram_login(&sasl, "bob", "x", "n,,").await;
    let (again, _) = scram_login(&sasl, "bob", "x", "n,,").await;
    let (third, _) = scram_login(&sasl, "carl", "x", "n,,").await;
    let restarted = users(&[("ann", scram_verifier("pencil", 5000, b"0123456789abcdef").unwrap())], &gate());
    let (later, _) = scram_login(&restarted, "bob", "x", "n,,").await;
    assert!(unreal.ends_with(",i=5000") && real.ends_with(",i=5000"));
    assert_eq!(salt_of(&real).len(), salt_of(&unreal).len());
    assert_eq!((salt_of(&unreal), salt_of(&unreal)), (salt_of(&again), salt_of(&later)), "asking twice tells nothing");
    assert!(salt_of(&unreal) != salt_of(&third) && salt_of(&unreal) != salt_of(&real));
    assert_ne!(real.split(',').next(), unreal.split(',').next(), "nonces are fresh");
}

/// A gate behind which nothing is checked any more, so that only what is remembered gets through.
async fn exhaust(sasl: &Arc<Sasl>, address: &str, failures: u32) {
    for _ in 0..failures {
        assert_eq!(code(&plain_from(sasl, address, "ann", "wrong").await), "535 5.7.8");
    }
    assert_eq!(code(&plain_from(sasl, address, "ann", "wrong").await), "454 4.7.0");
}

fn strict() -> Limits {
    Limits { failures_max: 3, failure_delay: Duration::ZERO, remembered_max: 2, remembered_for: Duration::from_secs(100), ..Limits::default() }
}

#[tokio::test(start_paused = true)]
async fn who_guesses_is_stopped_and_who_is_known_is_not() {
    let gate = Gate::new(strict());
    let sasl = users(&[("ann", argon2id("pencil")), ("bob", argon2id("pen"))], &gate);
    assert_eq!(plain_from(&sasl, "192.0.2.1", "ann", "pencil").await, accepted("ann"));
    exhaust(&sasl, "192.0.2.1", 3).await;
    assert_eq!(code(&plain_from(&sasl, "::ffff:192.0.2.1", "bob", "pen").await), "454 4.7.0", "right, but not looked at");
    assert_eq!(plain_from(&sasl, "192.0.2.1", "ann", "pencil").await, accepted("ann"), "verified before");
    assert_eq!(plain_from(&sasl, "192.0.2.2", "bob", "pen").await, accepted("bob"), "another address");
    tokio::time::advance(Duration::from_mins(10)).await;
    assert_eq!(code(&plain_from(&sasl, "192.0.2.1", "ann", "wrong").await), "535 5.7.8", "after the window");
}

#[tokio::test(start_paused = true)]
async fn an_ipv6_network_is_one_guesser() {
    let gate = Gate::new(strict());
    let sasl = users(&[("ann", scram("pencil"))], &gate);
    for host in 1..=3 {
        assert_eq!(code(&plain_from(&sasl, &format!("2001:db8::{host}"), "ann", "wrong").await), "535 5.7.8");
    }
    assert_eq!(code(&plain_from(&sasl, "2001:db8::ffff:ffff:ffff:ffff", "ann", "wrong").await), "454 4.7.0");
    assert_eq!(code(&plain_from(&sasl, "2001:db8:0:1::1", "ann", "wrong").await), "535 5.7.8");
    let mut exchange = sasl.start("SCRAM-SHA-256").unwrap().from_client("2001:db8::4".parse().unwrap());
    assert!(matches!(exchange.step(Some(b"n,,n=ann,r=abc")).await, Step::Challenge(_)));
    let proof = format!("c=biws,r=abc,p={}", BASE64.encode([0; 32]));
    assert_eq!(code(&exchange.step(Some(proof.as_bytes())).await), "454 4.7.0", "by SCRAM too");
}

#[tokio::test(start_paused = true)]
async fn success_does_not_count_as_failure() {
    let gate = Gate::new(Limits { remembered_max: 0, ..strict() });
    let sasl = users(&[("ann", scram("pencil"))], &gate);
    for _ in 0..10 {
        assert_eq!(plain_from(&sasl, "192.0.2.1", "ann", "pencil").await, accepted("ann"));
    }
}

#[tokio::test(start_paused = true)]
async fn each_failure_waits_longer_up_to_a_bound() {
    let limits = Limits { failure_delay: Duration::from_secs(1), failure_delay_max: Duration::from_secs(5), failures_max: 100, ..Limits::default() };
    let sasl = users(&[("ann", scram("pencil"))], &Gate::new(limits));
    for expect in [1, 2, 4, 5, 5] {
        // Time stands still during the check itself and moves only for the delay.
        let begun = tokio::time::Instant::now();
        assert_eq!(code(&plain_from(&sasl, "192.0.2.1", "ann", "wrong").await), "535 5.7.8");
        assert_eq!(begun.elapsed().as_secs(), expect);
    }
}

#[tokio::test(start_paused = true)]
async fn the_addresses_counted_are_bounded() {
    let gate = Gate::new(Limits { addresses_max: 2, ..strict() });
    let sasl = users(&[("ann", scram("pencil"))], &gate);
    exhaust(&sasl, "192.0.2.1", 3).await;
    exhaust(&sasl, "192.0.2.2", 3).await;
    assert_eq!(code(&plain_from(&sasl, "192.0.2.1", "ann", "wrong").await), "454 4.7.0", "both are kept");
    exhaust(&sasl, "192.0.2.3", 3).await;
    assert_eq!(code(&plain_from(&sasl, "192.0.2.2", "ann", "wrong").await), "454 4.7.0", "the two newest are kept");
    assert_eq!(code(&plain_from(&sasl, "192.0.2.1", "ann", "wrong").await), "535 5.7.8", "the oldest was forgotten");
}

/// Whether a pair is remembered, told by an address that may not try anything new.
async fn remembered(sasl: &Arc<Sasl>, user: &str, password: &str) -> bool {
    matches!(plain_from(sasl, "203.0.113.1", user, password).await, Step::Accepted { .. })
}

#[tokio::test(start_paused = true)]
async fn verified_credentials_are_remembered_for_a_while_and_boundedly() {
    let gate = Gate::new(strict());
    let sasl = users(&[("ann", scram("a")), ("bob", scram("b")), ("carl", scram("c"))], &gate);
    exhaust(&sasl, "203.0.113.1", 3).await;
    assert!(!remembered(&sasl, "ann", "a").await);
    assert_eq!(plain(&sasl, "ann", "a").await, accepted("ann"));
    assert!(remembered(&sasl, "ann", "a").await && !remembered(&sasl, "ann", "b").await && !remembered(&sasl, "bob", "a").await);
    tokio::time::advance(Duration::from_secs(99)).await;
    assert!(remembered(&sasl, "ann", "a").await);
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(!remembered(&sasl, "ann", "a").await, "ran out");
    for (name, password) in [("ann", "a"), ("bob", "b"), ("carl", "c")] {
        assert_eq!(plain(&sasl, name, password).await, accepted(name));
    }
    assert!(!remembered(&sasl, "ann", "a").await && remembered(&sasl, "bob", "b").await && remembered(&sasl, "carl", "c").await, "two at most");
}

#[tokio::test(start_paused = true)]
async fn a_changed_password_is_not_honoured_because_it_was_remembered() {
    let gate = Gate::new(strict());
    let before = users(&[("ann", scram("old"))], &gate);
    assert_eq!(plain(&before, "ann", "old").await, accepted("ann"));
    exhaust(&before, "203.0.113.1", 3).await;
    assert!(remembered(&before, "ann", "old").await);
    assert!(!remembered(&users(&[("ann", scram("new"))], &gate), "ann", "old").await);
    assert!(!remembered(&users(&[("bob", scram("old"))], &gate), "ann", "old").await, "a user taken out is out");
    assert!(remembered(&users(&[("ann", scram("old")), ("bob", scram("x"))], &gate), "ann", "old").await, "others may change");
}

#[tokio::test]
async fn checks_beyond_what_may_wait_are_told_to_come_back() {
    let limits = Limits { checks_at_once: 1, checks_waiting_max: 1, failure_delay: Duration::ZERO, ..Limits::default() };
    let sasl = users(&[("ann", scram_verifier("pencil", 200_000, b"salt").unwrap())], &Gate::new(limits));
    let three = tokio::join!(plain(&sasl, "ann", "wrong 1"), plain(&sasl, "ann", "wrong 2"), plain(&sasl, "ann", "wrong 3"));
    let mut codes = [code(&three.0), code(&three.1), code(&three.2)];
    codes.sort();
    assert_eq!(codes, ["454 4.7.0", "535 5.7.8", "535 5.7.8"]);
    let nobody = tokio::join!(plain(&sasl, "bob", "wrong 1"), plain(&sasl, "carl", "wrong 2"), plain(&sasl, "dora", "wrong 3"));
    assert_eq!(code(&nobody.2), "454 4.7.0", "users that are not there cost the same work");
    let limits = Limits { wait: Duration::from_millis(1), checks_waiting_max: 9, ..limits };
    let sasl = users(&[("ann", scram_verifier("pencil", 200_000, b"salt").unwrap())], &Gate::new(limits));
    let two = tokio::join!(plain(&sasl, "ann", "wrong 1"), plain(&sasl, "ann", "wrong 2"));
    assert_eq!([code(&two.0), code(&two.1)], ["535 5.7.8", "454 4.7.0"], "waited too long");
}

#[test]
fn nothing_secret_is_printed() {
    let sasl = users(&[("ann", scram("pencil"))], &gate());
    let mut exchange = sasl.start("LOGIN").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        exchange.step(Some(b"ann")).await;
    });
    let printed = format!("{sasl:?} {exchange:?}");
    assert!(printed.contains("***"));
    for secret in scram("pencil").split(['$', ':']).skip(3) {
        assert!(!printed.contains(secret), "{printed}");
    }
}

proptest::proptest! {
    #[test]
    fn any_responses_get_an_answer(
        mechanism in proptest::sample::select(vec!["PLAIN", "LOGIN", "SCRAM-SHA-256"]),
        responses in proptest::collection::vec("(n,,n=|c=biws,|r=[a-z]{0,3}|,p=|[\\PC\0]){0,6}", 1..4),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let sasl = users(&[("ann", argon2id("pencil"))], &gate());
        let scram = users(&[("ann", scram("pencil"))], &gate());
        let mut exchange = if mechanism.starts_with('S') { &scram } else { &sasl }.start(mechanism).unwrap();
        runtime.block_on(async {
            for response in &responses {
                let step = exchange.step(Some(response.as_bytes())).await;
                assert!(!matches!(step, Step::Accepted { .. }), "{response:?}");
            }
        });
    }
}
