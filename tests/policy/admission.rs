//! What is refused at MAIL and at RCPT.

use super::{app, mailbox, now, path, settings};
use postseal::ingress::Allowance;
use postseal::mail::{ForwardPath, Refusal, RouteName, Timestamp};
use postseal::policy::{Foreign, Rate, RouteRule, Settings, Usage, begin, recipient};
use proptest::prelude::*;
use std::time::Duration;

fn limited(messages: u32, recipients: u32) -> Settings {
    let mut settings = settings();
    settings.identities.get_mut(&app()).unwrap().rate =
        Rate { messages_per_minute_ceiling: messages, recipients_per_minute_ceiling: recipients, ..Rate::default() };
    settings
}

fn mail(settings: &Settings, usage: &mut Usage, at: Timestamp) -> Result<Allowance, Refusal> {
    begin(settings, usage, &app(), &path("a@example.com"), None, at)
}

#[test]
fn a_message_announced_too_large_is_refused_at_mail() {
    let mut settings = settings();
    settings.identities.get_mut(&app()).unwrap().size_octets_max = 1000;
    let mut usage = Usage::default();
    let allowance = begin(&settings, &mut usage, &app(), &path(""), Some(1000), now()).unwrap();
    assert_eq!(allowance, Allowance { size_octets_max: 1000, recipients_max: 1000 });
    let refusal = begin(&settings, &mut usage, &app(), &path(""), Some(1001), now()).unwrap_err();
    assert_eq!(refusal.to_string(), "552 5.3.4 a message of 1001 octets is too large; at most 1000 are allowed");
}

#[test]
fn a_foreign_sender_is_refused_at_mail_where_the_rule_says_so() {
    let mut settings = settings();
    settings.identities.get_mut(&app()).unwrap().reverse_path.foreign = Foreign::Refuse;
    let ask = |from: &str| begin(&settings, &mut Usage::default(), &app(), &path(from), None, now()).map_err(|refusal| refusal.code);
    assert_eq!(ask("a@bank.example").unwrap_err(), 550);
    assert!(ask("a@example.com").is_ok() && ask("").is_ok() && ask("www-data@pod-7").is_ok());
}

#[test]
fn messages_above_the_ceiling_wait_for_their_share_of_the_minute() {
    let (settings, mut usage) = (limited(3, 100), Usage::default());
    for _ in 0..3 {
        mail(&settings, &mut usage, now()).unwrap();
    }
    let refusal = mail(&settings, &mut usage, now()).unwrap_err();
    assert_eq!(refusal.to_string(), "450 4.7.0 client \"app\" sends more than its ceiling allows; try again in 20 s");
    assert!(mail(&settings, &mut usage, now() + Duration::from_millis(19_999)).is_err());
    assert!(mail(&settings, &mut usage, now() + Duration::from_secs(20)).is_ok());
    assert!(mail(&settings, &mut usage, now() + Duration::from_secs(20)).is_err());
    for _ in 0..3 {
        mail(&settings, &mut usage, now() + Duration::from_hours(10)).unwrap();
    }
    assert!(mail(&settings, &mut usage, now() + Duration::from_hours(10)).is_err(), "no more than a minute's worth is saved up");
}

#[test]
fn recipients_weigh_when_the_next_message_begins() {
    let (settings, mut usage) = (limited(100, 60), Usage::default());
    mail(&settings, &mut usage, now()).unwrap();
    usage.took_recipients(&app(), 59);
    mail(&settings, &mut usage, now()).unwrap();
    usage.took_recipients(&app(), 31); // 30 over
    assert!(mail(&settings, &mut usage, now() + Duration::from_millis(30_999)).is_err());
    assert!(mail(&settings, &mut usage, now() + Duration::from_secs(31)).is_ok());
    usage.took_recipients(&app(), usize::MAX);
    assert!(mail(&settings, &mut usage, now() + Duration::from_hours(1)).is_err(), "no overflow");
}

#[test]
fn a_clock_set_back_stops_nobody() {
    let (settings, mut usage) = (limited(1, 1), Usage::default());
    mail(&settings, &mut usage, now()).unwrap();
    assert!(mail(&settings, &mut usage, now() - Duration::from_hours(1000)).is_err());
    assert!(mail(&settings, &mut usage, now() - Duration::from_hours(1000) + Duration::from_mins(1)).is_ok());
}

#[test]
fn identities_have_counters_of_their_own_which_go_with_them() {
    let (mut settings, mut usage) = (limited(1, 100), Usage::default());
    let other = postseal::mail::IdentityName::new("other");
    settings.identities.insert(other.clone(), settings.identities[&app()].clone());
    mail(&settings, &mut usage, now()).unwrap();
    assert!(mail(&settings, &mut usage, now()).is_err());
    assert!(begin(&settings, &mut usage, &other, &path(""), None, now()).is_ok());
    let identity = settings.identities.remove(&app()).unwrap();
    assert_eq!(mail(&settings, &mut usage, now()).unwrap_err().code, 451);
    usage.retain(&settings);
    settings.identities.insert(app(), identity);
    assert!(mail(&settings, &mut usage, now()).is_ok());
    assert!(begin(&settings, &mut usage, &other, &path(""), None, now()).is_err(), "kept through the reload");
}

#[test]
fn recipients_are_counted_completed_and_refused() {
    let mut settings = settings();
    settings.identities.get_mut(&app()).unwrap().recipients_max = 2;
    settings.routes = vec![RouteRule { recipients: "intranet".parse().unwrap(), route: RouteName::new("inside") }];
    let ask =
        |settings: &Settings, to: &ForwardPath, taken| recipient(settings, &app(), to, taken).map(|to| to.to_string()).map_err(|refusal| refusal.to_string());
    let to = |text: &str| ForwardPath::Mailbox(mailbox(text));

    assert_eq!(ask(&settings, &ForwardPath::Postmaster, 1), Ok("postmaster@example.com".into()));
    assert_eq!(ask(&settings, &to("a@b.example"), 1), Ok("a@b.example".into()));
    assert_eq!(ask(&settings, &to("a@intranet"), 0), Ok("a@intranet".into()), "a route of its own can have any name");
    assert_eq!(ask(&settings, &to("a@b.example"), 2), Err("452 4.5.3 too many recipients; at most 2 in one transaction, send the others in another".into()));
    assert_eq!(ask(&settings, &ForwardPath::Postmaster, 2).map_err(|refusal| refusal[..9].to_owned()), Err("452 4.5.3".into()));
    for text in ["a@[192.0.2.1]", "a@pod-7", "root@localhost"] {
        let refusal = ask(&settings, &to(text), 0).unwrap_err();
        assert!(refusal.starts_with(&format!("550 5.1.2 {text} is at a")), "{refusal}");
    }
    settings.address_literals = true;
    assert_eq!(ask(&settings, &to("a@[192.0.2.1]"), 0), Ok("a@[192.0.2.1]".into()));
    settings.address_literals = false;
    settings.default_route = RouteName::new("smart");
    assert_eq!(ask(&settings, &to("a@[192.0.2.1]"), 0), Ok("a@[192.0.2.1]".into()), "the smart host decides");
}

proptest! {
    /// In any stretch of time at most the ceiling's burst and its share of that time is accepted.
    #[test]
    fn the_ceiling_holds_whatever_the_pace(ceiling in 1u32..50, steps in proptest::collection::vec(0u64..5_000, 1..200)) {
        let (settings, mut usage) = (limited(ceiling, 1000), Usage::default());
        let (mut at, mut accepted) = (now(), 0u64);
        for step in steps {
            at = at + Duration::from_millis(step);
            accepted += u64::from(mail(&settings, &mut usage, at).is_ok());
            let elapsed = u64::try_from(at.since(now()).as_millis()).unwrap();
            prop_assert!(accepted <= u64::from(ceiling) + elapsed * u64::from(ceiling) / 60_000);
        }
    }
}
