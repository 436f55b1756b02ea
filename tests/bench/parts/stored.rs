//! The spool, on the disk that holds the temporary folder.

use super::computed::{DOMAIN, NOW, letter};
use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use postseal::mail::{IdentityName, MailId, Mailbox, Message, Notify, RouteName, Stream};
use postseal::seal::{FieldKind, Kind, Needs, Plan, Seal, SealField, Sealed, SealedRecipient};
use postseal::spool::sqlite::FileSystems;
use postseal::spool::{Ending, How, Settings, Spool, SqliteSpool};
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// A message of 10 kB made durable, by so many writers at a time.
pub fn commits(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = criterion.benchmark_group("spool");
    for writers in [1, 10, 100] {
        let directory = tempfile::tempdir().unwrap();
        let spool = open(directory.path());
        let (next, message) = (Arc::new(AtomicU64::new(1)), Message::parse(Bytes::from(letter(10_000))).unwrap());
        group.throughput(Throughput::Elements(1));
        group.bench_function(BenchmarkId::new("commit", writers), |bench| {
            bench.to_async(&runtime).iter_custom(|count| {
                let (spool, next, message) = (Arc::clone(&spool), Arc::clone(&next), message.clone());
                async move {
                    let (began, last) = (Instant::now(), next.load(Ordering::Relaxed) + count);
                    let mut at_work = JoinSet::new();
                    for _ in 0..writers {
                        let (spool, next, message) = (Arc::clone(&spool), Arc::clone(&next), message.clone());
                        at_work.spawn(async move {
                            loop {
                                let number = next.fetch_add(1, Ordering::Relaxed);
                                if number >= last {
                                    return;
                                }
                                spool.commit(vec![mail(number, 1, &message)]).await.unwrap();
                            }
                        });
                    }
                    at_work.join_all().await;
                    began.elapsed()
                }
            });
        });
        runtime.block_on(spool.close());
    }
    group.finish();
}

/// What is due, and a claim that is given back, with a million recipients waiting for a thousand domains.
pub fn million(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let spool = open(directory.path());
    let message = Message::parse(Bytes::from(letter(2_000))).unwrap();
    // Only when one of these is wanted: it takes its time.
    let filled = std::cell::Cell::new(false);
    let fill = || {
        if !filled.replace(true) {
            let began = Instant::now();
            runtime.block_on(async {
                let mut at_work = JoinSet::new();
                for number in 0..RECIPIENTS / RECIPIENTS_OF_A_MAIL {
                    let (spool, mail) = (Arc::clone(&spool), mail(number + 1, RECIPIENTS_OF_A_MAIL, &message));
                    at_work.spawn(async move { spool.commit(vec![mail]).await.unwrap() });
                }
                at_work.join_all().await;
            });
            println!("{RECIPIENTS} recipients spooled in {:.1} s", began.elapsed().as_secs_f64());
        }
    };
    let mut group = criterion.benchmark_group("million");
    group.bench_function("due", |bench| {
        fill();
        bench.iter(|| runtime.block_on(spool.due(NOW, NonZeroUsize::new(500).unwrap())).unwrap());
    });
    group.bench_function("claim 50 and give them back", |bench| {
        fill();
        bench.iter(|| {
            runtime.block_on(async {
                let due = spool.due(NOW, NonZeroUsize::MIN).await.unwrap();
                let claimed = spool.claim(&due[0].queue, NonZeroUsize::new(50).unwrap(), NOW, NOW + Duration::from_mins(20)).await.unwrap();
                // All at a time, as a lane does: each waits a moment for others to share its transaction.
                let settlements = claimed.leases.into_iter().map(|lease| {
                    let endings = lease.recipients.iter().map(|leased| Ending::of(leased.index, How::Released { next_at: NOW })).collect();
                    let spool = Arc::clone(&spool);
                    async move { spool.settle(lease, endings, Vec::new()).await.unwrap() }
                });
                settlements.collect::<JoinSet<()>>().join_all().await;
            });
        });
    });
    group.finish();
    runtime.block_on(spool.close());
}

fn open(directory: &Path) -> Arc<SqliteSpool> {
    let settings = Settings { reserve_octets: 0, file_systems: FileSystems::Any, ..Settings::in_directory(directory) };
    Arc::new(SqliteSpool::open(settings, NOW).unwrap().0)
}

fn mail(number: u64, recipients: u64, message: &Message) -> Sealed {
    let path: Mailbox = format!("b{number}@b.{DOMAIN}").parse().unwrap();
    let recipient = |index: u64| SealedRecipient {
        mailbox: format!("r{index}@d{}.example", index % DOMAINS).parse().unwrap(),
        notify: Notify::Unspecified,
        orcpt: None,
        reverse_path: path.clone().into(),
        suppressed: None,
    };
    let text = format!("DKIM-Signature: v=1; a=rsa-sha256; d={DOMAIN}; b={}\r\n", "x".repeat(344));
    let field = SealField { kind: FieldKind::Rsa, key: Some(format!("r1._domainkey.{DOMAIN}")), text };
    Sealed {
        id: MailId::from_number(number).unwrap(),
        accepted_at: NOW,
        due_at: NOW,
        expires_at: NOW + Duration::from_hours(120),
        identity: IdentityName::new("app"),
        kind: Kind::Submission,
        signing_domain: DOMAIN.parse().unwrap(),
        stream: Stream::new("default"),
        route: RouteName::new("mx"),
        original_reverse_path: format!("orders@{DOMAIN}").parse::<Mailbox>().unwrap().into(),
        sender: None,
        recipients: (0..recipients).map(recipient).collect(),
        envid: None,
        ret: None,
        needs: Needs::default(),
        message_id: format!("<{number}@{DOMAIN}>"),
        track_id: None,
        tag: None,
        trace: None,
        seal: Seal { fields: vec![field], expires: None, plan: Plan { author: Some(DOMAIN.to_owned()), ..Plan::default() } },
        message: message.clone(),
    }
}

const RECIPIENTS: u64 = 1_000_000;
const RECIPIENTS_OF_A_MAIL: u64 = 1_000;
const DOMAINS: u64 = 1_000;
