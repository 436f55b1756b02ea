//! RFC 8463 appendix A: its example, signature by signature. AWS-LC does not sign with its RSA key of 1024 bits; another library
//! does, behind the same code.

use super::support::{Dns, NOW};
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::{AuthenticatedMessage, MessageAuthenticator, Parameters};
use postseal::mail::{Field, Headers, KeyId, Selector};
use postseal::seal::dkim::algorithm::SignFailed;
use postseal::seal::dkim::canonical::select;
use postseal::seal::dkim::signature::{Covered, TagList, confirms, hashed, without_signature};
use postseal::seal::dkim::{Algorithm, BodyHash, Canonicalization, Signer, SigningKey};
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::{Pkcs1v15Sign, RsaPrivateKey, RsaPublicKey};

const ED25519_SECRET: &str = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=";
const RSA_SECRET: &str = "-----BEGIN RSA PRIVATE KEY-----
MIICXQIBAAKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQi
Y/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqM
KrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB
AoGAH0cxOhFZDgzXWhDhnAJDw5s4roOXN4OhjiXa8W7Y3rhX3FJqmJSPuC8N9vQm
6SVbaLAE4SG5mLMueHlh4KXffEpuLEiNp9Ss3O4YfLiQpbRqE7Tm5SxKjvvQoZZe
zHorimOaChRL2it47iuWxzxSiRMv4c+j70GiWdxXnxe4UoECQQDzJB/0U58W7RZy
6enGVj2kWF732CoWFZWzi1FicudrBFoy63QwcowpoCazKtvZGMNlPWnC7x/6o8Gc
uSe0ga2xAkEA8C7PipPm1/1fTRQvj1o/dDmZp243044ZNyxjg+/OPN0oWCbXIGxy
WvmZbXriOWoSALJTjExEgraHEgnXssuk7QJBALl5ICsYMu6hMxO73gnfNayNgPxd
WFV6Z7ULnKyV7HSVYF0hgYOHjeYe9gaMtiJYoo0zGN+L3AAtNP9huqkWlzECQE1a
licIeVlo1e+qJ6Mgqr0Q7Aa7falZ448ccbSFYEPD6oFxiOl9Y9se9iYHZKKfIcst
o7DUw1/hz2Ck4N5JrgUCQQCyKveNvjzkkd8HjYs0SwM0fPjK16//5qDZ2UiDGnOe
uEzxBDAr518Z8VFbR41in3W4Y3yCDgQlLlcETrS+zYcL
-----END RSA PRIVATE KEY-----
";
const ED25519_RECORD: &str = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
const RSA_RECORD: &str = "v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQDkHlOQoBTzWRiGs5V6NpP3idY6Wk08a5qhdR6wy5bdOKb2jLQiY/J16JYi0Qvx/byYzCNb3W91y3FutACDfzwQ/BC/e/8uBsCR+yz1Lxj+PL6lHvqMKrM3rG4hstT5QjvHO9PzoxZyVYLzBfO2EeC3Ip3G+2kryOTIKT+l/K4w3QIDAQAB";

const ED25519_SIGNATURE: &str = "DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n subject : date : message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11Bus\r\n Fa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw==\r\n";
const RSA_SIGNATURE: &str = "DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed;\r\n d=football.example.com; i=@football.example.com;\r\n q=dns/txt; s=test; t=1528637909; h=from : to : subject :\r\n date : message-id : from : subject : date;\r\n bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n b=F45dVWDfMbQDGHJFlXUNB2HKfbCeLRyhDXgFpEL8GwpsRe0IeIixNTe3\r\n DhCVlUrSjV4BwcVcOF6+FF3Zo9Rpo1tFOeS9mPYQTnGdaSGsgeefOsk2Jz\r\n dA+L10TeYt9BgDfQNZtKdN1WO//KgIqXP7OdEFE4LjFYNcUxZQ4FADY+8=\r\n";
const MESSAGE: &str = "From: Joe SixPack <joe@football.example.com>\r\nTo: Suzie Q <suzie@shopping.example.net>\r\nSubject: Is dinner ready?\r\nDate: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\nMessage-ID: <20030712040037.46341.5F8J@football.example.com>\r\n\r\nHi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n";

/// RSA of any size.
struct AnySize(RsaPrivateKey);

impl AnySize {
    fn padding() -> Pkcs1v15Sign {
        // RFC 8017 §9.2, note 1: DigestInfo of SHA-256.
        let prefix = [0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];
        Pkcs1v15Sign { hash_len: Some(32), prefix: Box::new(prefix) }
    }
}

impl SigningKey for AnySize {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RsaSha256
    }
    fn sign(&self, canonical: &[u8]) -> Result<Vec<u8>, SignFailed> {
        self.0.sign(Self::padding(), digest(&SHA256, canonical).as_ref()).map_err(|_| SignFailed)
    }
    fn confirms(&self, canonical: &[u8], signature: &[u8]) -> bool {
        RsaPublicKey::from(&self.0).verify(Self::padding(), digest(&SHA256, canonical).as_ref(), signature).is_ok()
    }
}

fn signer(selector: &str) -> Signer {
    let id = KeyId { domain: "football.example.com".parse().unwrap(), selector: Selector::new(selector) };
    if selector == "test" {
        return Signer::new(id, Box::new(AnySize(RsaPrivateKey::from_pkcs1_pem(RSA_SECRET).unwrap())));
    }
    let pkcs8_prefix = [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20]; // RFC 8410 §7
    Signer::ed25519(id, &[&pkcs8_prefix[..], &BASE64.decode(ED25519_SECRET).unwrap()].concat()).unwrap()
}

#[test]
fn both_signatures_of_the_example_come_out_octet_for_octet() {
    let headers = Headers::parse(MESSAGE.as_bytes()).unwrap();
    let fields: Vec<Field<'_>> = headers.iter().collect();
    let body = BodyHash::of(&MESSAGE.as_bytes()[headers.body_start()..], Canonicalization::Relaxed);
    assert_eq!(BASE64.encode(body.octets()), "2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=");

    for (selector, published) in [("brisbane", ED25519_SIGNATURE), ("test", RSA_SIGNATURE)] {
        let tags = TagList::parse(published.split_once(':').unwrap().1).unwrap();
        let template = without_signature(published);
        assert!(template.ends_with(" b="), "{template}");
        let signer = signer(selector);
        let made = signer.key().sign(&hashed(&select(&fields, &tags.items("h")), &template)).unwrap();
        assert_eq!(Some(made), tags.octets("b"), "{selector}");
        assert!(confirms(published, signer.key(), &Covered::Message { below: &fields, body }), "{selector}");
    }
}

#[tokio::test]
async fn our_own_signatures_with_its_keys_verify_with_its_records() {
    let mut dns = Dns::default();
    dns.publish("brisbane._domainkey.football.example.com", ED25519_RECORD);
    dns.publish("test._domainkey.football.example.com", RSA_RECORD);
    let headers = Headers::parse(MESSAGE.as_bytes()).unwrap();
    let fields: Vec<Field<'_>> = headers.iter().collect();
    let body = BodyHash::of(&MESSAGE.as_bytes()[headers.body_start()..], Canonicalization::Relaxed);
    let names = ["from", "to", "subject", "from"];
    let mut text = String::new();
    for selector in ["brisbane", "test"] {
        let signer = signer(selector);
        let field = postseal::seal::dkim::SignatureField::over_message(None, &signer, body, &names, NOW, None);
        text += &field.sign(&select(&fields, &names), signer.key()).unwrap();
    }
    text += MESSAGE;
    let parsed = AuthenticatedMessage::parse(text.as_bytes()).unwrap();
    let authenticator = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()).unwrap();
    let outputs = authenticator.verify_dkim(Parameters::new(&parsed).with_cache(&dns)).await;
    assert_eq!(outputs.len(), 2);
    assert!(outputs.iter().all(|output| *output.result() == mail_auth::DkimResult::Pass), "{outputs:?}");
}
