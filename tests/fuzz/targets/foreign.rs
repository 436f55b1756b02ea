//! Signatures, chains and results that came with a message.

use super::draw::Draw;
use postseal::mail::{Headers, Message, Timestamp};
use postseal::seal::arc::chain::Chain;
use postseal::seal::arc::validate::{key_names, validate};
use postseal::seal::dkim::foreign::{ForeignSignature, KeyTexts, Signed};
use postseal::seal::dkim::{FieldName, NoAnswer};
use postseal::seal::results::{Results, believed, claims, forged, strip_own};

pub fn run(octets: &[u8]) {
    let mut draw = Draw::of(octets);
    let [silent, lf, ..] = draw.flags();
    let mut text = draw.line().to_vec();
    text.truncate(4096);
    let mut message = draw.rest().to_vec();
    if lf {
        message = String::from_utf8_lossy(&message).replace('\r', "").replace('\n', "\r\n").into_bytes();
    }
    let Ok(headers) = Headers::parse(&message) else { return };
    let key = String::from_utf8_lossy(&text).into_owned();
    let answer = || if silent { Err(NoAnswer) } else { Ok(vec![key.clone(), RSA.to_owned(), ED25519.to_owned()]) };
    let mut names = key_names(&headers);
    for field in headers.named("dkim-signature") {
        names.extend(ForeignSignature::read(&field, FieldName::Dkim).key_name().cloned());
    }
    assert!(names.iter().all(|name| name.to_string().contains("._domainkey.")));
    let keys: KeyTexts = names.into_iter().map(|name| (name, answer())).collect();
    let mut signed = Signed::new(&headers, &message);
    for field in headers.named("dkim-signature").take(10) {
        let signature = ForeignSignature::read(&field, FieldName::Dkim);
        let found = signed.verify(&field, &signature, &keys, NOW);
        assert!(found.is_err() || (!silent && signature.domain.is_some() && signature.names.iter().any(|name| name.eq_ignore_ascii_case("from"))));
    }
    let chain = Chain::read(&headers);
    assert!(chain.highest <= 50 || chain.fault.is_some());
    let found = validate(&mut signed, &headers, &keys, NOW);
    assert!(!found.why.contains(['\r', '\n']));

    for field in headers.named("authentication-results") {
        if let Ok(results) = Results::parse(field.value) {
            assert_eq!(claims(field.value, "mx.postseal.example"), results.authserv_id.eq_ignore_ascii_case("mx.postseal.example"));
        }
    }
    for result in believed(&headers, &["mx.trusted.example".to_owned()]) {
        assert!(result.fits_a_line());
    }
    let parsed = Message::parse(message.clone().into()).expect("its header was parsed");
    let stripped = strip_own(&parsed, "mx.postseal.example", &[]).expect("fewer fields are still fields");
    assert_eq!(forged(&stripped.headers(), "mx.postseal.example").count(), 0, "a forged field is left");
    assert_eq!(stripped.body(), parsed.body());
}

const NOW: Timestamp = Timestamp::from_unix_seconds(1_528_637_909);
/// The keys of RFC 8463, appendix A.
const RSA: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";
const ED25519: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
