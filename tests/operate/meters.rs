//! The catalogue of metrics says what a relay counts, no more and no less; and what it counts is what happened.

use crate::support::next_hop::{At, NextHop, Say, Script};
use crate::support::relay_process::RelayProcess;
use crate::support::scrape::{Scraped, get};
use crate::support::smtp_client::{SmtpClient, message};
use postseal::events::meters::catalogue::{Kind, METERS, Meter, Set, find};
use postseal::events::meters::{CONTENT_TYPE, DOMAINS_MAX, Meters, OTHER, PROVIDERS_MAX};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// A relay that has delivered, deferred, bounced and refused.
fn busy(hop: &NextHop) -> (RelayProcess, Scraped) {
    let mut relay = RelayProcess::new(&config(hop));
    relay.start();
    let mut client = SmtpClient::connect(&relay.address("submission")).unwrap();
    for recipient in ["you@example.net", "gone@example.net", "later@example.net"] {
        let reply = client.send("app@example.com", &[recipient], &message(recipient)).unwrap();
        assert!(reply.starts_with("250"), "{reply}");
    }
    let reply = client.send("app@example.com", &["you@example.net"], &message("foreign").replace("app@example.com", "app@example.org")).unwrap();
    assert!(reply.starts_with("550 5.7.1"), "{reply}");
    assert!(client.command("FROB").unwrap().starts_with("500"));
    assert!(client.command("QUIT").unwrap().starts_with("221"));
    for event in ["attempt.delivered", "attempt.failed", "attempt.deferred"] {
        relay.wait_for(event);
    }
    let admin = relay.admin();
    let began = Instant::now();
    loop {
        let (head, page) = get(&admin, "/metrics");
        assert!(head.contains("200") && head.to_ascii_lowercase().contains(&format!("content-type: {CONTENT_TYPE}")), "{head}");
        let scraped = Scraped::read(&page);
        // The queue is counted again and again: wait until the deferred one was seen, and both notices and mails have gone.
        let seen = [
            scraped.sum("postseal_queue_recipients", &[("provider", "hop"), ("state", "waiting")]),
            scraped.sum("postseal_queue_recipients", &[]),
            scraped.sum("postseal_queues", &[]),
            scraped.sum("postseal_delivered_recipients_total", &[]),
            scraped.sum("postseal_client_connections", &[]),
        ];
        let is_settled = seen.into_iter().zip([1.0, 1.0, 1.0, 2.0, 0.0]).all(|(seen, expected): (f64, f64)| (seen - expected).abs() < 0.5);
        if is_settled {
            return (relay, scraped);
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{page}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_is_the_catalogue_and_counts_what_happened() {
    let script = Script::modern()
        .when(At::rcpt("gone@example.net"), [Say("550 5.1.1 no such user here")])
        .when(At::rcpt("later@example.net"), [Say("450 4.2.2 mailbox full")]);
    let hop = NextHop::start(script);
    let (mut relay, scraped) = tokio::task::spawn_blocking(move || {
        let done = busy(&hop);
        drop(hop);
        done
    })
    .await
    .unwrap();

    // The catalogue, in its order.
    let families: Vec<_> = scraped.families.iter().map(|(name, kind)| (name.as_str(), kind.as_str())).collect();
    assert_eq!(families, METERS.iter().map(|meter| (meter.name, kind(meter))).collect::<Vec<_>>());
    for sample in &scraped.samples {
        let meter = find(base(&sample.name)).or_else(|| find(&sample.name)).unwrap_or_else(|| panic!("{} is not declared", sample.name));
        let mut labels: BTreeSet<&str> = sample.labels.keys().map(String::as_str).collect();
        let is_bucket = labels.remove("le");
        assert_eq!(is_bucket, sample.name.ends_with("_bucket"), "{sample:?}");
        assert_eq!(labels, meter.labels.iter().map(|label| label.name).collect(), "{sample:?}");
        for label in meter.labels {
            let value = sample.labels[label.name].as_str();
            let allowed = match label.set {
                Set::Words(words) => words().contains(&value),
                Set::Providers => [OTHER, "hop", "google", "yahoo", "microsoft", "microsoft365", "apple"].contains(&value) || is_in_shaping_file(value),
                Set::AuthorDomains => value == "example.com",
                Set::Algorithms => ["rsa", "ed25519"].contains(&value),
                Set::Version => value == env!("CARGO_PKG_VERSION"),
            };
            assert!(allowed, "{} holds {value:?}, which its set does not", label.name);
        }
    }
    let shown: BTreeSet<&str> = scraped.samples.iter().map(|sample| base(&sample.name)).collect();
    let silent: Vec<_> = METERS.iter().map(|meter| meter.name).filter(|name| !shown.contains(name)).collect();
    assert_eq!(silent, Vec::<&str>::new(), "without a value");

    // What happened.
    let hop = ("provider", "hop");
    for (name, labels, count) in [
        ("postseal_ready_state", &[][..], 1.0),
        ("postseal_accepted_messages_total", &[], 3.0),
        ("postseal_accepted_recipients_total", &[], 3.0),
        ("postseal_spooled_mails_total", &[("kind", "submission")], 3.0),
        ("postseal_spooled_mails_total", &[("kind", "notice")], 1.0),
        ("postseal_signatures_total", &[("signature", "author-rsa")], 4.0),
        ("postseal_unsealed_mails_total", &[], 0.0),
        ("postseal_refusals_total", &[], 2.0),
        ("postseal_refusals_total", &[("at", "message"), ("reason", "policy")], 1.0),
        ("postseal_refusals_total", &[("at", "command"), ("reason", "syntax")], 1.0),
        ("postseal_client_sessions_total", &[("policy", "none"), ("tls", "none")], 1.0),
        ("postseal_submission_seconds_count", &[], 3.0),
        ("postseal_submission_step_seconds_count", &[("step", "prepare")], 4.0),
        ("postseal_submission_step_seconds_count", &[("step", "commit")], 3.0),
        ("postseal_delivered_recipients_total", &[hop], 2.0), // the mail and the notice
        ("postseal_bounced_recipients_total", &[hop, ("reason", "user-unknown")], 1.0),
        ("postseal_bounced_recipients_total", &[], 1.0),
        ("postseal_deferred_recipients_total", &[hop, ("reason", "mailbox-full")], 1.0),
        ("postseal_deferred_recipients_total", &[], 1.0),
        ("postseal_delivery_age_seconds_count", &[hop], 2.0),
        ("postseal_next_hop_failures_total", &[], 0.0),
        ("postseal_queue_recipients", &[hop, ("state", "waiting")], 1.0),
        ("postseal_queue_recipients", &[], 1.0),
        ("postseal_queues", &[], 1.0),
        ("postseal_spool_state", &[("state", "working")], 1.0),
        ("postseal_spool_state", &[], 1.0),
        ("postseal_key_records", &[("author_domain", "example.com")], 1.0),
        ("postseal_domain_held_state", &[("author_domain", "example.com")], 0.0),
    ] {
        assert!((scraped.sum(name, labels) - count).abs() < 1e-9, "{name} {labels:?}: {} rather than {count}", scraped.sum(name, labels));
    }
    let sessions = scraped.sum("postseal_next_hop_sessions_total", &[hop, ("policy", "opportunistic"), ("tls", "TLSv1.3")]);
    assert!(sessions >= 1.0 && (sessions - scraped.sum("postseal_next_hop_sessions_total", &[])).abs() < 1e-9, "{sessions}");
    for name in ["process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds", "postseal_disk_free_bytes", "postseal_key_age_seconds"] {
        assert!(scraped.sum(name, &[]) >= 0.0 && scraped.samples.iter().any(|sample| sample.name == name), "{name}");
    }
    assert!(scraped.sum("process_resident_memory_bytes", &[]) > 1e6);
    let now = postseal::clock::now().unix_seconds();
    #[allow(clippy::cast_precision_loss, reason = "seconds")]
    let ago = |name: &str| now as f64 - scraped.sum(name, &[]);
    assert!((0.0..120.0).contains(&ago("process_start_time_seconds")) && (0.0..60.0).contains(&ago("postseal_queue_observed_timestamp_seconds")));

    // Reloads, taken and not; counters go on.
    relay.signal("HUP");
    relay.wait_for("config.reloaded");
    let text = std::fs::read_to_string(relay.config()).unwrap();
    std::fs::write(relay.config(), format!("{text}\n[nonsense]\n")).unwrap();
    relay.signal("HUP");
    relay.wait_for("config.rejected");
    let after = Scraped::read(&get(&relay.admin(), "/metrics").1);
    for result in ["taken", "rejected"] {
        assert!((after.sum("postseal_reloads_total", &[("result", result)]) - 1.0).abs() < 1e-9, "{result}");
    }
    assert!((after.sum("postseal_accepted_messages_total", &[]) - 3.0).abs() < 1e-9);
    assert_eq!(relay.stop().0, Some(0));
}

#[test]
fn names_say_what_is_counted_in_which_unit() {
    const UNITS: &[&str] = &[
        "seconds",
        "bytes",
        "messages",
        "recipients",
        "mails",
        "signatures",
        "sessions",
        "connections",
        "authentications",
        "refusals",
        "reloads",
        "transactions",
        "jobs",
        "lookups",
        "failures",
        "fallbacks",
        "slowdowns",
        "ends",
        "queues",
        "entries",
        "records",
        "state",
        "info",
        "lost",
        "ended",
        "fds",
        "threads",
    ];
    let names: BTreeSet<_> = METERS.iter().map(|meter| meter.name).collect();
    assert_eq!(names.len(), METERS.len(), "a name stands twice");
    for meter in METERS {
        let name = meter.name;
        assert!(name.starts_with("postseal_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|octet| octet.is_ascii_lowercase() || octet == b'_'), "{name}");
        let unit = name.strip_suffix("_total").unwrap_or(name).rsplit('_').next().unwrap();
        assert!(UNITS.contains(&unit), "{name} ends in no unit");
        assert_eq!(name.ends_with("_total"), meter.kind == Kind::Counter, "{name}");
        assert_eq!(meter.kind == Kind::Histogram, name.ends_with("_seconds") && meter.kind != Kind::Gauge, "{name}");
        assert!(meter.means.ends_with('.') && meter.remedy.ends_with('.'), "{name}");
        for label in meter.labels {
            if let Set::Words(words) = label.set {
                let distinct: BTreeSet<_> = words().into_iter().collect();
                assert!(!distinct.is_empty() && distinct.len() == words().len(), "{name} {}", label.name);
            }
        }
    }
}

/// However many strangers there are, the page does not grow.
#[test]
fn a_page_is_bounded_and_a_stranger_is_other() {
    let meters = Meters::default();
    (0..1000).for_each(|number| meters.deliver.of(&format!("mx{number}.stranger.example")).delivered.one());
    let page = Scraped::read(&meters.page());
    assert!((page.sum("postseal_delivered_recipients_total", &[("provider", OTHER)]) - 1000.0).abs() < 1e-9);
    assert_eq!(page.samples.iter().filter(|sample| sample.name == "postseal_delivered_recipients_total").count(), 1);
    (0..1000).for_each(|number| meters.deliver.know(&format!("provider-{number}")));
    let (full, longer) = (meters.page(), Scraped::read(&meters.page()));
    assert_eq!(longer.samples.iter().filter(|sample| sample.name == "postseal_delivered_recipients_total").count(), PROVIDERS_MAX);
    assert!(full.len() < 2 << 20, "{} octets", full.len());
    const { assert!(DOMAINS_MAX <= 1000) };
}

#[test]
fn relays_of_one_process_count_apart() {
    let (one, other) = (Meters::default(), Meters::default());
    one.front.accepted.one();
    assert!((Scraped::read(&one.page()).sum("postseal_accepted_messages_total", &[]) - 1.0).abs() < 1e-9);
    assert!(Scraped::read(&other.page()).sum("postseal_accepted_messages_total", &[]).abs() < 1e-9);
}

/// A rule or a panel with a misspelt name is silent for ever.
#[test]
fn rules_dashboard_and_papers_use_declared_names() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["docker/prometheus/postseal.rules.yml", "docker/prometheus/rules.test.yml", "docker/grafana/postseal.json", "README.md"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        let undeclared: Vec<_> = names_in(&text).into_iter().filter(|name| find(name).is_none() && find(base(name)).is_none()).collect();
        assert_eq!(undeclared, Vec::<String>::new(), "{file}");
    }
    // What nobody looks at need not be counted.
    let dashboard = names_in(&std::fs::read_to_string(root.join("docker/grafana/postseal.json")).unwrap());
    let shown: BTreeSet<&str> = dashboard.iter().map(|name| base(name)).collect();
    let unseen: Vec<_> = METERS.iter().map(|meter| meter.name).filter(|name| !shown.contains(name)).collect();
    assert_eq!(unseen, Vec::<&str>::new(), "on no panel");
}

fn names_in(text: &str) -> Vec<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("postseal_") || word.starts_with("process_")).map(str::to_owned).collect()
}

/// The name of a metric, of a line of its histogram.
fn base(name: &str) -> &str {
    let bare = name.strip_suffix("_bucket").or_else(|| name.strip_suffix("_sum")).or_else(|| name.strip_suffix("_count"));
    bare.filter(|bare| find(bare).is_some_and(|meter| meter.kind == Kind::Histogram)).unwrap_or(name)
}

const fn kind(meter: &Meter) -> &'static str {
    match meter.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

fn is_in_shaping_file(provider: &str) -> bool {
    let shaping = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/shaping.toml");
    std::fs::read_to_string(shaping).unwrap().lines().any(|line| line == format!("[provider.{provider}]"))
}

fn config(hop: &NextHop) -> String {
    format!(
        r#"
        [server]
        hostname = "relay.example.com"
        [listeners.submission]
        address = "127.0.0.1:0"
        tls = "none"
        [identities.app]
        networks = ["127.0.0.0/8"]
        author_domains = ["example.com"]
        [domains."example.com"]
        [routes]
        default = "hop"
        [smart_hosts.hop]
        host = "{}"
        port = {}
        tls = "opportunistic"
        [resolver]
        nameservers = ["127.0.0.1:9"]
        [spool]
        reserve_octets = "64 MiB"
        wal_octets_max = "32 MiB"
        "#,
        hop.address().ip(),
        hop.address().port()
    )
}
