//! The station *policy*: who may send what, as whom, how much, and where it goes.

mod admission;
mod author;
mod permit;

use postseal::mail::{BodyType, Client, Domain, Envelope, IdentityName, Mailbox, Notify, Proof, Recipient, ReversePath, Submission, Timestamp};
use postseal::policy::{AuthorDomain, Identity, Settings};

fn mailbox(text: &str) -> Mailbox {
    text.parse().unwrap()
}

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}

fn app() -> IdentityName {
    IdentityName::new("app")
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_310_325) // 2026-11-22T01:18:45Z
}

fn path(text: &str) -> ReversePath {
    if text.is_empty() { ReversePath::Null } else { mailbox(text).into() }
}

/// `app` may send as example.com and what is below example.net; example.com, mail.example.com have keys, parked.example.com never sends.
fn settings() -> Settings {
    let mut settings = Settings::new(mailbox("postmaster@example.com"));
    let author_domains = ["example.com", ".mail.example.com", "*.example.net", "parked.example.com"].map(|pattern| pattern.parse().unwrap());
    settings.identities.insert(app(), Identity::author(author_domains.to_vec()));
    for (name, parked) in [("example.com", false), ("mail.example.com", false), ("parked.example.com", true)] {
        settings.domains.insert(domain(name), AuthorDomain { parked });
    }
    settings
}

fn submission(from: &str, recipients: &[&str]) -> Submission {
    let recipient = |to: &&str| Recipient { mailbox: mailbox(to), notify: Notify::Unspecified, orcpt: None };
    Submission {
        envelope: Envelope {
            reverse_path: path(from),
            recipients: recipients.iter().map(recipient).collect(),
            body: BodyType::SevenBit,
            smtputf8: false,
            ret: None,
            envid: None,
        },
        client: Client {
            identity: app(),
            proof: Proof::Network,
            address: "10.0.0.7".parse().unwrap(),
            helo: "pod-7".into(),
            esmtp: true,
            tls: None,
            listener: "apps".into(),
        },
        message: bytes::Bytes::new(),
        received_at: now(),
    }
}
