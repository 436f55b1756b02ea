//! How fast: connections kept and grown, providers slowed down, rates, and queues that do not wait for one another.

use super::rig::{Rig, client_tls, lab};
use super::routes::smart_host;
use crate::support::next_hop::{At, NextHop, Say, Script, Wait};
use postseal::deliver::throttle::Rate;
use postseal::deliver::tls::TlsDemand;
use postseal::deliver::{HostPort, Limits, Providers, Settings, SmartHost};
use postseal::mail::{IdentityName, RouteName, Stream};
use postseal::seal::Sealed;
use postseal::spool::Spool;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

const ZONE: &str = "
    example.com     MX 10 mx.example.com
    mx.example.com  A 127.0.0.1
";
const SECOND: Duration = Duration::from_secs(1);

fn providers(text: &str) -> Providers {
    Providers::from_toml(text).unwrap_or_else(|faults| panic!("{faults:?}"))
}

async fn commit_many(rig: &Rig, count: usize, make: impl Fn(usize) -> Sealed) {
    rig.spool.commit((0..count).map(make).collect()).await.unwrap();
    rig.delivery.wake();
}

#[tokio::test]
async fn many_messages_go_over_one_connection_and_no_more_than_it_may_carry() {
    let hop = NextHop::start(Script::modern());
    let settings =
        Settings { providers: providers("[other]\nconnections_max = 1\nmessages_per_connection_max = 20"), idle: SECOND * 30, ..lab(hop.address().port()) };
    let rig = Rig::start_with(ZONE, settings).await;
    commit_many(&rig, 50, |_| rig.mail(&["a@example.com"])).await;
    rig.until(50, 0, 0).await;
    let carried: Vec<usize> = hop.sessions().iter().map(|session| session.transactions.len()).collect();
    assert_eq!(carried, [20, 20, 10]);
}

#[tokio::test]
async fn an_idle_connection_is_used_for_another_domain_of_the_same_host() {
    let hop = NextHop::start(Script::modern());
    let mut settings = lab(hop.address().port());
    settings.idle = SECOND * 30;
    let rig = Rig::start_with("one.example MX 1 mx.example\ntwo.example MX 1 mx.example\nmx.example A 127.0.0.1", settings).await;
    rig.send(&["a@one.example"]).await;
    rig.until(1, 0, 0).await;
    rig.send(&["a@two.example"]).await;
    rig.until(2, 0, 0).await;
    assert_eq!(hop.sessions().len(), 1);
}

#[tokio::test]
async fn idle_connections_are_closed_after_their_time() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start(ZONE, &hop).await;
    rig.send(&["a@example.com"]).await;
    rig.until(1, 0, 0).await;
    hop.until(|sessions| sessions[0].ended && sessions[0].commands.last().is_some_and(|command| command.line == "QUIT")).await;
    // The other side may see the end a moment before this side has counted it.
    rig.until_true("the place of the connection is free", || rig.delivery.connections("mx.example.com").0 == 0).await;
}

#[tokio::test]
async fn connections_grow_to_the_cap_towards_a_receiver_that_is_far_away() {
    let reply = Duration::from_millis(20);
    let script = Script::modern().when(At::Mail, [Wait(reply), Say("250 2.1.0 go on")]).when(At::Message, [Wait(reply), Say("250 2.0.0 taken")]);
    let hop = NextHop::start(script);
    let limits = Arc::new(Limits { connections_max: 30, host_connections_max: 30, ..Limits::default() });
    let hosts = vec![HostPort { host: "127.0.0.1".to_owned(), port: hop.address().port() }];
    let smart_host = SmartHost { hosts, tls: TlsDemand::None, limits, ..SmartHost::new("unused.example", 25) };
    let mut settings = lab(1);
    settings.smart_hosts.insert(RouteName::new("ses"), Arc::new(smart_host));
    let rig = Rig::start_with("", settings).await;
    commit_many(&rig, 400, |n| rig.mail_by("ses", &[&format!("a@d{n}.example")])).await;
    rig.until(400, 0, 0).await;
    let sessions = hop.sessions().len();
    assert!((15..=30).contains(&sessions), "{sessions} connections");
}

#[tokio::test]
async fn a_rate_limited_provider_is_left_alone_by_all_its_domains_and_recovers() {
    let script = Script::modern().rule(crate::support::next_hop::Rule::at(At::Mail).times(1).then([Say("421 4.7.28 unusual rate of mail")]));
    let hop = NextHop::start(script);
    let text = "[provider.big]\nmx = [\"*.big.example\"]\n[[provider.big.rules]]\nreply = \"421 4.7.28\"\nthen = \"restart\"\npause_seconds = 600";
    let settings = Settings { providers: providers(text), ..lab(hop.address().port()) };
    let zone = "
        one.example MX 10 mx1.big.example
        two.example MX 10 mx2.big.example
        free.example MX 10 mx.free.example
        mx1.big.example A 127.0.0.1
        mx2.big.example A 127.0.0.1
        mx.free.example A 127.0.0.1
    ";
    let rig = Rig::start_with(zone, settings).await;
    rig.send(&["a@one.example"]).await;
    rig.until(0, 1, 0).await;
    commit_many(&rig, 20, |_| rig.mail(&["a@two.example"])).await;
    rig.send(&["a@free.example"]).await;
    rig.until(1, 1, 0).await;
    assert_eq!(hop.messages().len(), 1);
    rig.until_true("its connection is closed, and it may have one", || rig.delivery.connections("big") == (0, 1)).await;
    let wait = rig.next_due_in().await;
    assert!(wait > SECOND * 200 && wait < SECOND * 601, "{wait:?}");
    rig.advance(SECOND * 601);
    rig.until(22, 1, 0).await;
    let sessions = hop.sessions();
    let later: Vec<usize> = sessions[2..].iter().map(|session| session.transactions.len()).filter(|carried| *carried > 0).collect();
    assert!(later.iter().sum::<usize>() == 21, "{later:?}");
    assert_eq!(rig.delivery.connections("big").1, 1, "one more connection only after a minute of good traffic");
}

#[tokio::test]
async fn one_connection_too_many_is_no_verdict_on_a_message() {
    let mut script = Script::modern().when(At::Message, [Wait(Duration::from_millis(30)), Say("250 2.0.0 taken")]);
    script.sessions_max = 3;
    let hop = NextHop::start(script);
    let text = "[[other.rules]]\nreply = \"421\"\nthen = \"fewer\"";
    let settings = Settings { providers: providers(text), ..lab(hop.address().port()) };
    let rig = Rig::start_with(ZONE, settings).await;
    commit_many(&rig, 60, |_| rig.mail(&["a@example.com"])).await;
    rig.until(60, 0, 0).await;
}

#[tokio::test]
async fn a_slow_queue_does_not_hold_up_others() {
    let slow = NextHop::start(Script::modern().when(At::Greeting, [Wait(SECOND * 90), Say("220 at last")]));
    let fast = NextHop::start_at(std::net::SocketAddr::new([127, 0, 0, 2].into(), slow.address().port()), Script::modern());
    let mut settings = lab(slow.address().port());
    settings.timeouts.greeting = SECOND * 120;
    let rig = Rig::start_with("slow.example A 127.0.0.1\nfast.example A 127.0.0.2", settings).await;
    commit_many(&rig, 30, |_| rig.mail(&["a@slow.example"])).await;
    commit_many(&rig, 30, |_| rig.mail(&["a@fast.example"])).await;
    rig.until(30, 0, 0).await; // and not for the slow one
    assert_eq!(fast.messages().len(), 30);
}

#[tokio::test]
async fn a_long_queue_leaves_a_connection_to_others_of_the_same_host() {
    let hop = NextHop::start(Script::modern().when(At::Message, [Wait(Duration::from_millis(20)), Say("250 2.0.0 taken")]));
    let settings = Settings { providers: providers("[other]\nconnections_max = 2"), ..lab(hop.address().port()) };
    let rig = Rig::start_with("long.example MX 1 mx.example\nshort.example MX 1 mx.example\nmx.example A 127.0.0.1", settings).await;
    commit_many(&rig, 200, |_| rig.mail(&["a@long.example"])).await;
    hop.until(|sessions| sessions.len() == 2).await;
    rig.send(&["a@short.example"]).await;
    let short_is_there = |sessions: &[crate::support::next_hop::Session]| {
        sessions.iter().flat_map(|session| &session.transactions).any(|received| received.complete && received.rcpts[0].contains("short"))
    };
    hop.until(short_is_there).await;
    assert!(rig.counts().0 < 150, "the short queue waited for {} messages of the long one", rig.counts().0);
    rig.until(201, 0, 0).await;
}

#[tokio::test]
async fn more_queues_than_lanes_all_get_their_turn() {
    let hop = NextHop::start(Script::modern());
    let settings = Settings { queues_max: 2, ..lab(hop.address().port()) };
    let zone = (0..20).map(|n| format!("d{n}.example A 127.0.0.1")).collect::<Vec<_>>().join("\n");
    let rig = Rig::start_with(&zone, settings).await;
    commit_many(&rig, 40, |n| rig.mail(&[&format!("a@d{}.example", n % 20)])).await;
    rig.until(40, 0, 0).await;
}

/// What a lane does not find committed while it rests has to be woken for, as ever.
#[tokio::test]
async fn a_lane_that_rests_takes_what_is_committed_meanwhile() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start(ZONE, &hop).await;
    let mut sent = 0;
    let is_taken_on = loop {
        sent += 1;
        let receipt = rig.spool.commit(vec![rig.mail(&["a@example.com"])]).await.unwrap();
        if receipt.is_taken_on() || sent == 200 {
            break receipt.is_taken_on();
        }
        rig.delivery.wake();
        rig.until(sent, 0, 0).await;
    };
    assert!(is_taken_on && sent > 1, "the first of {sent} meets no lane");
    rig.until(sent, 0, 0).await; // nobody woke for the last
    assert_eq!(hop.messages().len(), usize::try_from(sent).unwrap());
}

/// What has to wait is looked for in its time, though the lane lives on and the stream wakes nobody.
#[tokio::test]
async fn a_lane_with_a_steady_stream_keeps_nobody_waiting() {
    let hop = NextHop::start(Script::modern());
    let mut settings = lab(hop.address().port());
    let one = NonZeroU32::new(1).unwrap();
    settings.identity_rates.insert(IdentityName::new("slow"), Rate { count: one, per: SECOND * 4, burst: one });
    let rig = Rig::start_with(ZONE, settings).await;
    let slow = || Sealed { identity: IdentityName::new("slow"), ..rig.mail(&["slow@example.com"]) };
    rig.commit(slow()).await;
    let (began, mut second) = (std::time::Instant::now(), Some(slow()));
    let slow_ones = || hop.messages().iter().filter(|message| message.rcpts[0].contains("slow")).count();
    while slow_ones() < 2 {
        assert!(began.elapsed() < SECOND * 30, "nobody looks for it");
        let mail = if began.elapsed() > SECOND * 2 { second.take() } else { None };
        if !rig.spool.commit(vec![mail.unwrap_or_else(|| rig.mail(&["a@example.com"]))]).await.unwrap().is_taken_on() {
            rig.delivery.wake();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() >= SECOND * 4, "it had to wait");
}

/// Were they to wait for its rest, forty queues would take twenty seconds.
#[tokio::test]
async fn a_lane_that_rests_makes_room_for_queues_that_are_due() {
    let hop = NextHop::start(Script::modern());
    let settings = Settings { queues_max: 1, ..lab(hop.address().port()) };
    let zone = (0..40).map(|n| format!("d{n}.example A 127.0.0.1")).collect::<Vec<_>>().join("\n");
    let rig = Rig::start_with(&zone, settings).await;
    let began = std::time::Instant::now();
    for n in 0..40 {
        rig.send(&[&format!("a@d{n}.example")]).await;
        rig.until(n + 1, 0, 0).await;
    }
    assert!(began.elapsed() < SECOND * 15, "{:?}", began.elapsed());
}

/// Six queues of one host that lets everybody wait, and lanes for four: others are not to wait for it.
#[tokio::test]
async fn a_host_that_lets_wait_does_not_keep_all_lanes() {
    let tarpit = NextHop::start_at("127.0.0.2:0".parse().unwrap(), Script::modern().when(At::Greeting, [Wait(SECOND * 120)]));
    let hop = NextHop::start_at(format!("127.0.0.3:{}", tarpit.address().port()).parse().unwrap(), Script::modern());
    let mut settings = Settings { queues_max: 4, ..lab(hop.address().port()) };
    settings.timeouts.greeting = SECOND * 120;
    let mut zone = (0..6).map(|n| format!("d{n}.example MX 10 tarpit.example")).collect::<Vec<_>>();
    zone.extend(["tarpit.example A 127.0.0.2".to_owned(), "quick.example A 127.0.0.3".to_owned()]);
    let rig = Rig::start_with(&zone.join("\n"), settings).await;
    commit_many(&rig, 6, |n| rig.mail(&[&format!("a@d{n}.example")])).await;
    tokio::time::sleep(SECOND / 2).await;
    rig.send(&["a@quick.example"]).await;
    rig.until(1, 0, 0).await;
}

/// A queue that is never empty has one lane for good.
#[tokio::test]
async fn a_lane_at_work_goes_by_new_settings() {
    let slow = NextHop::start(Script::modern().when(At::Message, [Wait(SECOND * 10), Say("250 2.0.0 taken")]));
    let other = NextHop::start(Script::modern());
    let by = |hop: &NextHop| {
        let mut settings = lab(1);
        settings.smart_hosts.extend([smart_host("ses", &[hop.address()], TlsDemand::Opportunistic)]);
        settings
    };
    let rig = Rig::start_with("", by(&slow)).await;
    rig.commit(rig.mail_by("ses", &["a@one.example"])).await;
    while slow.sessions().is_empty() {
        tokio::time::sleep(SECOND / 100).await;
    }
    rig.delivery.reload(by(&other), client_tls());
    rig.commit(rig.mail_by("ses", &["b@one.example"])).await;
    rig.until(1, 0, 0).await;
    assert_eq!(other.messages().len(), 1, "the first is still under way, the second goes by the new settings");
    rig.until(2, 0, 0).await;
    assert_eq!((slow.messages().len(), other.messages().len()), (1, 1));
}

#[tokio::test]
async fn a_dead_host_is_tried_once_for_all_that_waits_for_it() {
    let hop = NextHop::start(Script::modern());
    let rig = Rig::start("dead.example A 127.0.0.9", &hop).await;
    commit_many(&rig, 100, |_| rig.mail(&["a@dead.example"])).await;
    rig.until(0, 100, 0).await;
    assert_eq!(rig.tally(|tally| &tally.transactions), 0);
}

#[tokio::test]
async fn rates_of_identities_and_streams_delay_what_is_over_them() {
    let hop = NextHop::start(Script::modern());
    let mut settings = lab(hop.address().port());
    let number = |n| NonZeroU32::new(n).unwrap();
    settings.identity_rates.insert(IdentityName::new("shop"), Rate { count: number(1), per: SECOND * 10, burst: number(3) });
    settings.stream_rates.insert(Stream::new("bulk"), Rate { count: number(1), per: SECOND * 3600, burst: number(1) });
    let rig = Rig::start_with(ZONE, settings).await;
    commit_many(&rig, 6, |_| rig.mail(&["a@example.com"])).await;
    commit_many(&rig, 2, |_| Sealed { identity: IdentityName::new("other"), stream: Stream::new("bulk"), ..rig.mail(&["a@example.com"]) }).await;
    rig.until(4, 0, 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.counts(), (4, 0, 0));
    rig.advance(SECOND * 11);
    rig.until(5, 0, 0).await;
    rig.advance(SECOND * 25);
    rig.until(7, 0, 0).await;
    rig.advance(SECOND * 3600);
    rig.until(8, 0, 0).await;
}

#[tokio::test]
async fn a_providers_rate_holds() {
    let hop = NextHop::start(Script::modern());
    let settings = Settings { providers: providers("[other]\nmessages_per_second_max = 10"), ..lab(hop.address().port()) };
    let rig = Rig::start_with(ZONE, settings).await;
    let began = std::time::Instant::now();
    commit_many(&rig, 30, |_| rig.mail(&["a@example.com"])).await;
    rig.until(30, 0, 0).await;
    assert!(began.elapsed() > Duration::from_millis(1900), "{:?}", began.elapsed());
}

#[tokio::test]
async fn messages_and_their_recipients_have_rates_of_their_own() {
    let hop = NextHop::start(Script::modern());
    let mut settings = lab(hop.address().port());
    let number = |n| NonZeroU32::new(n).unwrap();
    settings.identity_message_rates.insert(IdentityName::new("shop"), Rate { count: number(1), per: SECOND * 60, burst: number(2) });
    settings.identity_rates.insert(IdentityName::new("shop"), Rate { count: number(100), per: SECOND * 60, burst: number(100) });
    let rig = Rig::start_with(ZONE, settings).await;
    commit_many(&rig, 3, |_| rig.mail(&["a@example.com", "b@example.com", "c@example.com"])).await;
    rig.until(6, 0, 0).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rig.counts(), (6, 0, 0));
    rig.advance(SECOND * 61);
    rig.until(9, 0, 0).await;
}
