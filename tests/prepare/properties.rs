//! What holds for every submission that is accepted, however it looks.

use super::{World, sent, submission};
use postseal::mail::{IdentityName, Timestamp};
use proptest::prelude::*;
use std::sync::LazyLock;
use tokio::runtime::Runtime;

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().unwrap());
static WORLD: LazyLock<World> = LazyLock::new(World::new);

/// Lines of any octets, some too long, some 8-bit.
fn lines() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![8 => 32u8..=126, 2 => 128u8..=255, 1 => Just(b'\t'), 1 => Just(b'.')];
    let line = prop_oneof![6 => prop::collection::vec(octet, 0..90).boxed(), 1 => (900usize..1100).prop_map(|length| vec![b'x'; length]).boxed()];
    prop::collection::vec(line, 0..8).prop_map(|lines| lines.into_iter().flat_map(|line| [line, b"\r\n".to_vec()].concat()).collect())
}

/// A body with the MIME fields that describe it, more or less.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let fields = prop::sample::select(vec![
        "",
        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n",
        "Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n",
        "Content-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n",
        "Content-Transfer-Encoding: base64\r\n",
        "Content-Type: message/rfc822\r\n",
        "Content-Type: application/pkcs7-mime\r\n",
    ]);
    let leaf = (fields, lines()).prop_map(|(fields, body)| [fields.as_bytes(), b"\r\n", &body].concat());
    leaf.prop_recursive(2, 8, 3, |inner| {
        let kind = prop::sample::select(vec!["mixed", "signed", "alternative", "digest"]);
        (kind, "[a-z]{1,3}", prop::collection::vec(inner, 0..3)).prop_map(|(kind, boundary, parts)| {
            let parts = parts.iter().flat_map(|part| [format!("--{boundary}\r\n").as_bytes(), part, b"\r\n"].concat());
            let head = format!("Content-Type: multipart/{kind}; boundary={boundary}\r\n\r\n");
            [head.into_bytes(), parts.collect(), format!("--{boundary}--\r\n").into_bytes()].concat()
        })
    })
}

fn header() -> impl Strategy<Value = String> {
    let from =
        prop::sample::select(vec!["app@author.example", "App <app@author.example>", "\"a, b\" <x@mail.author.example>", "J\u{fc}rgen <app@daily.example>"]);
    let message_id = prop_oneof![4 => Just("Message-ID: <1@author.example>\r\n"), 1 => Just("Message-ID: 1\r\n"), 1 => Just("")];
    let date = prop_oneof![3 => Just("Date: Sun, 22 Nov 2026 01:18:40 +0000\r\n"), 1 => Just("Date: yesterday\r\n"), 1 => Just("")];
    let further = prop::sample::subsequence(
        vec![
            "To: you@receiver.example,\r\n\tme@receiver.example\r\n",
            "Cc: =?utf-8?q?=C3=BC?= <u@receiver.example>\r\n",
            "Subject: Your  order \r\n",
            "Bcc: hidden@author.example\r\n",
            "Reply-To:\r\n",
            "List-Unsubscribe: <https://author.example/u/1>\r\n",
            "Resent-To: a@b.example\r\n",
            "Resent-To: c@d.example\r\n",
            "X-Postseal-Tag: t\r\n",
            "X-Mailer: m\r\n \t\r\n",
            "Authentication-Results: mx.postseal.example; spf=pass\r\n",
            "DKIM-Signature: v=1; a=rsa-sha256; d=gone.example; s=g; h=from; bh=YQ==; b=YQ==\r\n",
            "ARC-Seal: i=1; a=rsa-sha256; d=gone.example; s=g; cv=none; b=YQ==\r\n",
        ],
        0..8,
    );
    (from, message_id, date, further, any::<prop::sample::Index>()).prop_map(|(from, message_id, date, mut fields, at)| {
        fields.extend([message_id, date]);
        let (place, from) = (at.index(fields.len() + 1), format!("From: {from}\r\n"));
        fields.insert(place, &from);
        fields.concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn what_is_accepted_can_travel_and_verifies(
        header in header(), content in content(), utf8 in any::<bool>(), forwarded in any::<bool>(), signed in any::<bool>(),
        to in prop::sample::subsequence(vec!["you@receiver.example", "me@ses.example", "they@twin.example", "we@receiver.example"], 1..=4),
    ) {
        let world = &*WORLD;
        let message = [header.as_bytes(), &content].concat();
        let message = if signed { world.sent_by_origin(&message) } else { message };
        let mut case = submission("app@author.example", &to, message);
        case.envelope.smtputf8 = utf8 || !header.is_ascii();
        case.client.identity = IdentityName::new(if forwarded { "list" } else { "app" });
        let prepared = RUNTIME.block_on(world.run(&case));
        prop_assume!(prepared.is_ok());
        let mails = prepared.unwrap();


        let told: usize = mails.iter().map(|mail| mail.recipients.len()).sum();
        prop_assert_eq!(told, to.len());
        for mail in &mails {
            let octets = sent(mail, true);
            for line in octets.split(|b| *b == b'\n') {
                prop_assert!(line.len() <= 999, "a line of {} octets", line.len()); // with its CR
            }
            prop_assert_eq!(memchr::memchr_iter(b'\n', &octets).count(), memchr::memmem::find_iter(&octets, b"\r\n").count());
            prop_assert!(!octets.contains(&0));
            prop_assert!(mail.needs.eight_bit_mime || mail.message.body().is_ascii() || mail.needs.smtputf8);
            prop_assert!(mail.needs.smtputf8 || mail.message.header().is_ascii());
            prop_assert!(mail.expires_at > mail.due_at && mail.due_at >= Timestamp::from_unix_seconds(0));
            for with_ed25519 in [true, false] {
                let verdict = RUNTIME.block_on(world.verdict(&sent(mail, with_ed25519)));
                for selector in ["r1", "p1", "d1", "l1", "e1"] {
                    let failed = ["fail", "neutral", "permerror", "policy", "temperror"].iter().any(|word| verdict.contains(&format!("{selector}={word}")));
                    prop_assert!(!failed, "{}", verdict);
                }
                let author = !forwarded;
                prop_assert_eq!(author, verdict.contains("r1=pass") || verdict.contains("d1=pass"), "{}", verdict);
                let broken_before = mail.seal.plan.arc.as_ref().is_none_or(|arc| arc.cv == "fail");
                prop_assert!(verdict.ends_with("arc=pass") || broken_before, "{}", verdict);
                if forwarded {
                    // Of our own authors' mail a missing Message-ID is supplied all the same: Gmail takes none without.
                    let before = RUNTIME.block_on(world.verdict(&case.message));
                    prop_assert_eq!(before.contains("o1=pass"), verdict.contains("o1=pass"), "{} / {}", before, verdict);
                }
            }
        }
    }
}
