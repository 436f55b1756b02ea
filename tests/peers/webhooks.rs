//! What a webhook's receiver gets, verified by the library that receivers use.

use crate::support::receiver::{Got, Receiver, Reply};
use crate::support::relay_process::RelayProcess;
use crate::support::smtp_client::{SmtpClient, message};
use crate::support::{Peer, missing, python, run};
use postseal::events::event::SCHEMA;
use serde_json::json;
use std::process::Command;

const SECRETS: [&str; 2] = ["whsec_ZXhhbXBsZSBvbmx5OiBtYWtlIHlvdXIgb3du", "whsec_dGhlIG9uZSBvZiBsYXN0IHllYXIsIGdvb2QgYnll"];
const STRANGER: &str = "whsec_c29tZWJvZHkgZWxzZSdzIHNlY3JldCBhcyBsb25nIQ==";

/// Prints, for each request, which of the secrets it verifies under, and how many events are as the schema says.
const JUDGE: &str = r#"
import json, sys, jsonschema
from standardwebhooks.webhooks import Webhook, WebhookVerificationError
told = json.load(sys.stdin)
validator = jsonschema.Draft202012Validator(told["schema"], format_checker=jsonschema.FormatChecker())
for got in told["got"]:
    words = []
    for secret in told["secrets"]:
        try:
            body = Webhook(secret).verify(got["body"], got["headers"])
            for event in body["data"]:
                validator.validate(event)
            words.append(body["type"])
        except WebhookVerificationError:
            words.append("refused")
    print(" ".join(words))
"#;

fn judged(got: &[Got]) -> Vec<String> {
    let got: Vec<_> = got.iter().map(|got| json!({ "headers": got.headers, "body": got.body })).collect();
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let told = json!({ "schema": schema, "secrets": [SECRETS[0], SECRETS[1], STRANGER], "got": got }).to_string();
    let (code, words) = run(Command::new(python()).args(["-c", JUDGE]), told.as_bytes());
    assert_eq!(code, 0, "{words}");
    words.lines().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn receivers_verify_what_they_get_under_the_present_secret_and_the_one_before() {
    if missing(&[Peer::StandardWebhooks, Peer::JsonSchema]) {
        return;
    }
    let receiver = Receiver::start();
    receiver.then([Reply::Status(500, "")]);
    let config = format!(
        r#"
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
        tls = "none"
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        [webhooks.crm]
        url = "{}"
        secret = "{}"
        previous_secret = "{}"
        kinds = []
        retry_min = "10ms"
        "#,
        receiver.url(),
        SECRETS[0],
        SECRETS[1]
    );
    let mut relay = RelayProcess::new(&config);
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    let reply = client.send("app@example.com", &["you@example.net", "me@example.org"], &message("an order")).unwrap();
    assert!(reply.starts_with("250 "), "{reply}");
    let events = |got: &[Got]| got.iter().filter(|got| got.taken).flat_map(Got::events).count();
    let got = receiver.until(|got| events(got) >= 4).await;
    assert!(got.len() >= 2, "the first was refused, and came again");
    for words in judged(&got) {
        assert_eq!(words, "mail.events mail.events refused");
    }
    let altered = Got { body: got[0].body.replacen("you@example.net", "all@example.net", 1), ..got[0].clone() };
    assert_eq!(judged(&[altered]), ["refused refused refused"]);
    assert_eq!(relay.stop().0, Some(0));
}
