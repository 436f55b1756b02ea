//! The table of reasons: what others than Gmail mean, how it is extended, and which files are refused.

use postseal::mail::Reason;
use postseal::reasons::{BUILT_IN, Said, Table};

fn judged(host: &str, text: &str) -> (Reason, bool) {
    let mut words = text.splitn(3, ' ');
    let code = words.next().and_then(|word| word.parse().ok());
    let second = words.next().unwrap_or_default();
    let status = second.parse().ok();
    let text = if status.is_some() { words.next().unwrap_or_default() } else { text.split_once(' ').map_or("", |(_, rest)| rest) };
    let judged = super::TABLE.judge(&Said { provider: None, host, code, status, text });
    (judged.reason, judged.permanent)
}

#[test]
fn replies_mean_what_their_provider_means() {
    use Reason::{
        Authentication, Content, DomainNotFound, MailboxFull, Network, NotUnderstood, Policy, RateLimited, RelayDenied, Reputation, Suspended, TooLarge,
        UserUnknown,
    };
    let outlook = "hotmail-com.olc.protection.outlook.com";
    let m365 = "example-com.mail.protection.outlook.com";
    let yahoo = "mta5.am0.yahoodns.net";
    for (host, reply, reason, permanent) in [
        (outlook, "550 5.7.515 Access denied, sending domain example.com does not meet the required authentication level.", Authentication, true),
        (
            outlook,
            "421 RP-001 (SNT004-MC1F43) Unfortunately, some messages from 192.0.2.1 weren't sent. The mail server IP connecting to Outlook.com server has exceeded the rate limit allowed.",
            RateLimited,
            false,
        ),
        (
            outlook,
            "550 SC-001 (COL004-MC6F10) Unfortunately, messages from 192.0.2.1 weren't sent. Please contact your Internet service provider since part of their network is on our block list.",
            Reputation,
            true,
        ),
        (outlook, "550 DY-001 (BAY004) Unfortunately, messages from 192.0.2.1 weren't sent: dynamic address.", Reputation, true),
        (outlook, "550 OU-002 (BAY004) Unfortunately, messages from 192.0.2.1 weren't sent.", Reputation, true),
        (outlook, "550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302). [x]", UserUnknown, true),
        (outlook, "451 4.7.650 The mail server [192.0.2.1] has been temporarily rate limited due to IP reputation.", RateLimited, false),
        (outlook, "552 5.2.2 Mailbox is full", MailboxFull, true),
        (m365, "550 5.4.1 Recipient address rejected: Access denied. [AM0EUR02FT015.eop-EUR02.prod.protection.outlook.com]", UserUnknown, true),
        (
            m365,
            "550 5.7.606 Access denied, banned sending IP [192.0.2.1]. To request removal from this list please visit https://sender.office.com/",
            Reputation,
            true,
        ),
        (m365, "550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", UserUnknown, true),
        (m365, "550 5.7.133 RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed", Policy, true),
        (m365, "451 4.7.500 Server busy. Please try again later from [192.0.2.1]. (AS77712)", RateLimited, false),
        (yahoo, "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints", RateLimited, false),
        (yahoo, "553 5.7.2 [TSS09] All messages from 192.0.2.1 will be permanently deferred; Retrying will NOT succeed.", RateLimited, true),
        (yahoo, "554 5.7.9 Message not accepted for policy reasons. [PH01]", Reputation, true),
        (yahoo, "554 delivery error: dd This user doesn't have a yahoo.com account (a@yahoo.com) [0]", UserUnknown, true),
        (yahoo, "554 5.7.9 Message not accepted for policy reasons: DMARC", Reputation, true),
        (yahoo, "552 1 Requested mail action aborted, mailbox not found", UserUnknown, true),
        ("mfsmax.docomo.ne.jp", "550 Unknown user a@docomo.ne.jp", UserUnknown, true),
        ("mta.example.net", "550 5.1.1 <a@example.net>: Recipient address rejected: undeliverable address: host x said: 550 No such user", UserUnknown, true),
        ("mta.example.net", "554 5.7.1 <a@example.net>: Relay access denied", RelayDenied, true),
        ("mta.example.net", "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using bl.spamcop.net; Blocked", Reputation, true),
        ("mta.example.net", "450 4.7.1 <a@example.net>: Recipient address rejected: Greylisted, see http://postgrey.example", RateLimited, false),
        ("mta.example.net", "552 5.3.4 Message size exceeds fixed limit", TooLarge, true),
        ("mta.example.net", "452 4.3.1 Insufficient system storage", Network, false),
        ("mta.example.net", "550 5.7.1 Client host rejected: cannot find your reverse hostname, [192.0.2.1]", Authentication, true),
        ("mta.example.net", "550 5.7.23 The message was rejected because of Sender Policy Framework violation", Authentication, true),
        ("mta.example.net", "550 5.2.1 The account is disabled", Suspended, true),
        ("mta.example.net", "554 5.7.1 Message contains a virus", Content, true),
        ("mta.example.net", "554 5.4.6 Too many hops", Network, true),
        ("mta.example.net", "556 5.1.10 Recipient address has null MX", DomainNotFound, true),
        ("mta.example.net", "530 5.7.0 Must issue a STARTTLS command first", Policy, true),
        ("mta.example.net", "554 5.7.1 Not allowed for you", Policy, true),
        ("mta.example.net", "550 5.1.1 ", UserUnknown, true),
        ("mta.example.net", "450 4.1.1 later", UserUnknown, false),
        ("mta.example.net", "550 no", NotUnderstood, true),
        ("mta.example.net", "550 5.7.1 mail number 4711", NotUnderstood, true),
        ("mta.example.net", "451 4.0.0 hm", NotUnderstood, false),
        ("mta.example.net", "550 5.7.99 strange", NotUnderstood, true),
    ] {
        assert_eq!(judged(host, reply), (reason, permanent), "{host}: {reply}");
    }
}

#[test]
fn an_enhanced_code_against_the_words_loses() {
    assert_eq!(judged("mx.example", "550 5.1.1 Client host [192.0.2.1] blocked using zen.spamhaus.org"), (Reason::Reputation, true));
    assert_eq!(judged("mx.example", "550 5.7.1 User unknown"), (Reason::UserUnknown, true));
    assert_eq!(judged("mx.example", "550 4.2.2 mailbox full"), (Reason::MailboxFull, true), "the digit of the reply decides");
}

#[test]
fn a_file_is_asked_before_what_is_built_in() {
    let more = r#"
        [provider.town]
        hosts = ["*.town.example"]
        [[rule]]
        provider = "town"
        reply = ["550 x.7.1", "4xx"]
        text = "not on tuesdays"
        reason = "rate-limited"
        permanent = false
        [[rule]]
        text = ["user unknown"]
        unless = ["virtual"]
        reason = "suspended"
    "#;
    let table = Table::default().extended(Table::from_toml(more).unwrap());
    let judge = |host, code, text| {
        let judged = table.judge(&Said { provider: None, host, code: Some(code), status: "5.7.1".parse().ok(), text });
        (judged.reason, judged.permanent)
    };
    assert_eq!(judge("mx.town.example", 550, "Not on  TUESDAYS."), (Reason::RateLimited, false));
    assert_eq!(judge("mx.town.example", 450, "not on tuesdays"), (Reason::RateLimited, false));
    assert!(judge("mx.town.example", 551, "not on tuesdays").1, "another code");
    assert_eq!(judge("mx.city.example", 550, "not on tuesdays").0, Reason::NotUnderstood, "another provider");
    assert_eq!(judge("mx.city.example", 550, "user unknown").0, Reason::Suspended);
    assert_eq!(judge("mx.city.example", 550, "user unknown in virtual table").0, Reason::UserUnknown);
    assert!(table.rules() > Table::from_toml(BUILT_IN).unwrap().rules());
}

#[test]
fn every_fault_of_a_file_is_said() {
    for (text, expected) in [
        ("[[rule]]\ntext = \"x\"", "rule 1.reason: found nothing"),
        ("[[rule]]\ntext = \"x\"\nreason = \"unknown\"", "rule 1.reason: found \"unknown\", expected \"user-unknown\""),
        ("[[rule]]\nreason = \"policy\"", "rule 1.text: found nothing, expected words of the reply"),
        ("[[rule]]\nreply = \"5.7.1\"\nreason = \"policy\"", "rule 1.reply: found an enhanced code alone"),
        ("[[rule]]\nreply = \"250\"\nreason = \"policy\"", "rule 1.reply: found \"250\""),
        ("[[rule]]\nreply = \"5.7.1 550\"\nreason = \"policy\"", "rule 1.reply: found \"5.7.1 550\""),
        ("[[rule]]\ntext = \"* \"\nreason = \"policy\"", "rule 1.text: found \"* \", a pattern without a letter or digit"),
        ("[[rule]]\ntext = 5\nreason = \"policy\"", "rule 1.text: found 5, expected a text, or a list of texts"),
        ("[[rule]]\ntext = \"x\"\nreason = \"policy\"\npermanent = 1", "rule 1.permanent: found 1, expected true or false"),
        ("[[rule]]\ntext = \"x\"\nreason = \"policy\"\ndoctor = \"who\"", "rule 1.doctor: found \"who\""),
        ("[[rule]]\ntext = \"x\"\nreason = \"policy\"\nkode = 1", "rule 1.kode: found 1, expected nothing: the key is unknown"),
        ("[provider.x]", "provider.x.hosts: found nothing"),
        ("rules = 1", "rules: found 1, expected nothing"),
        ("rule = 1", "rule: found 1, expected a list"),
        ("[[rule]", "the file: found"),
    ] {
        let faults = Table::from_toml(text).unwrap_err();
        assert!(faults.iter().any(|fault| fault.to_string().contains(expected)), "{text}: {faults:?}");
    }
    let both = Table::from_toml("[[rule]]\nreason = \"policy\"\n[[rule]]\ntext = \"x\"").unwrap_err();
    assert_eq!(both.len(), 2, "all at once");
}

/// Replies found in the wild, each with the reasons that are right for it.
#[test]
fn replies_of_the_wild_are_not_misread() {
    let mut faults = Vec::new();
    for line in include_str!("files/replies.tsv").lines().filter(|line| !line.starts_with('#')) {
        let [_, host, reply, expected] = line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let status = format!(
            "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n--b\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.0.0\nRemote-MTA: dns; {host}\nDiagnostic-Code: smtp; {reply}\n\n--b--\n"
        );
        let reason = super::read(&status).recipients[0].reason;
        if reason != Reason::NotUnderstood && !expected.split(' ').any(|expected| expected == reason.as_str()) {
            faults.push(format!("{reason}, not {expected}: {reply}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
