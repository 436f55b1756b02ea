//! A relay's life: how long it takes to start, to recover a full queue, and what memory it holds.

use crate::account::Group;
use crate::measure::Place;
use crate::message::{DOMAIN, Letters, recipient_domain};
use crate::name_server::Dns;
use crate::report::{Bound, Target, median};
use crate::systems::{Around, Running, System, free_port};
use anyhow::{Context, bail};
use bytes::Bytes;
use postseal::clock;
use postseal::mail::{IdentityName, MailIds, Mailbox, Message, Notify, RouteName, Stream, Timestamp};
use postseal::seal::{FieldKind, Kind, Needs, Plan, Seal, SealField, Sealed, SealedRecipient};
use postseal::spool::{Settings, Spool, SqliteSpool};
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// All of it.
pub async fn life(place: &Place, folder: &Path, program: &Path) -> anyhow::Result<Vec<Target>> {
    let nobody = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
    let around = |dns: Option<SocketAddr>| Around {
        folder: folder.to_owned(),
        program: program.to_owned(),
        key: place.key().clone(),
        sink: nobody,
        tls: true,
        dns,
        traced: false,
    };
    let mut targets = Vec::new();

    let mut starts = Vec::new();
    let mut at_rest = 0.0;
    for _ in 0..STARTS {
        let began = Instant::now();
        let running = System::Postseal { arc: true }.start(&around(None))?;
        starts.push(began.elapsed().as_secs_f64() * 1000.0);
        tokio::time::sleep(REST).await;
        at_rest = resident(&running);
    }
    println!("An empty spool: ready after {:.0} ms (median of {STARTS}); at rest {at_rest:.1} MB resident.", median(starts.clone()));
    targets.push(Target { what: "start with an empty spool, ms".to_owned(), found: median(starts), wanted: Bound::AtMost(100.0) });
    targets.push(Target { what: "resident at rest, MB".to_owned(), found: at_rest, wanted: Bound::AtMost(30.0) });

    let (running, recovered) = begin_with(&around(None), QUEUED, 1, 10 << 10)?;
    println!("{QUEUED} messages of 10 KiB in the spool of a relay that was killed: ready after {recovered:.2} s.");
    targets.push(Target { what: "recovery of 100,000 queued messages, s".to_owned(), found: recovered, wanted: Bound::AtMost(5.0) });
    drop(running);

    // Their MX hosts do not answer: every recipient is tried, deferred, and waits.
    let mut zone = String::new();
    for number in 0..MILLION_DOMAINS {
        let domain = recipient_domain(number);
        let _ = writeln!(zone, "{domain} MX 10 mx.{domain}\nmx.{domain} A 127.0.0.1"); // a String takes all
    }
    let dns = Dns::serve(&zone).await;
    let (running, recovered) = begin_with(&around(Some(dns.address())), 1_000, 1_000, 2 << 10)?;
    let (mut peak, began) = (resident(&running), Instant::now());
    while began.elapsed() < MILLION_WATCHED {
        tokio::time::sleep(Duration::from_millis(200)).await;
        peak = resident(&running).max(peak);
    }
    println!(
        "1,000,000 recipients queued for {MILLION_DOMAINS} domains: ready after {recovered:.2} s; at most {peak:.0} MB resident while they are tried for {MILLION_WATCHED:?}."
    );
    targets.push(Target { what: "resident with a million recipients queued, MB".to_owned(), found: peak, wanted: Bound::AtMost(500.0) });
    Ok(targets)
}

/// Starts a relay on a spool that one was killed over; gives the seconds until it greeted.
fn begin_with(around: &Around, messages: u64, recipients: u64, octets: usize) -> anyhow::Result<(Running, f64)> {
    let system = System::Postseal { arc: true };
    drop(system.start(around)?); // leaves its configuration and an empty spool
    let spool = system.queue(around);
    std::fs::remove_dir_all(&spool)?;
    let mut filling = Command::new(std::env::current_exe()?);
    filling.arg("fill").arg(&spool).args([messages.to_string(), recipients.to_string(), octets.to_string()]);
    let ended = filling.status().context("the spool cannot be filled")?;
    if ended.code().is_some() {
        bail!("the spool was not filled: {ended}");
    }
    let began = Instant::now();
    let running = system.start_again(around)?;
    Ok((running, began.elapsed().as_secs_f64()))
}

/// Fills a spool and is killed, with everything in the log that was there.
pub async fn fill(directory: &Path, messages: u64, recipients: u64, octets: usize) -> anyhow::Result<()> {
    let now = clock::now();
    let (spool, _) = SqliteSpool::open(Settings::in_directory(directory), now)?;
    let spool = Arc::new(spool);
    let letters = Letters::new(octets, 1);
    let mut committing = tokio::task::JoinSet::new();
    for number in 0..messages {
        let printed = letters.print(number);
        let message = Message::parse(Bytes::copy_from_slice(&printed[..printed.len() - 3]))?;
        let mail = sealed(number, recipients, message, now)?;
        let spool = Arc::clone(&spool);
        committing.spawn(async move { spool.commit(vec![mail]).await });
        if committing.len() >= WRITERS {
            committing.join_next().await.context("nothing was committed")???;
        }
    }
    while let Some(committed) = committing.join_next().await {
        committed??;
    }
    let own = std::process::id().to_string();
    Command::new("kill").args(["-KILL", &own]).status()?;
    bail!("still alive");
}

/// A mail due at once, to so many recipients, those of one domain in a row.
fn sealed(number: u64, recipients: u64, message: Message, now: Timestamp) -> anyhow::Result<Sealed> {
    let recipient = |index: u64| -> anyhow::Result<SealedRecipient> {
        let domain = recipient_domain(if recipients == 1 { 0 } else { (number + index) % MILLION_DOMAINS });
        let mailbox: Mailbox = format!("r{index}@{domain}").parse()?;
        Ok(SealedRecipient {
            mailbox,
            notify: Notify::Unspecified,
            orcpt: None,
            reverse_path: format!("b{number}@b.{DOMAIN}").parse::<Mailbox>()?.into(),
            suppressed: None,
        })
    };
    let text = format!("DKIM-Signature: v=1; a=rsa-sha256; d={DOMAIN}; b={}\r\n", "x".repeat(344));
    let field = SealField { kind: FieldKind::Rsa, key: Some(format!("bench._domainkey.{DOMAIN}")), text };
    Ok(Sealed {
        id: MailIds::reserve(now, u32::try_from(number)?, 1).take(),
        accepted_at: now,
        due_at: now,
        expires_at: now + Duration::from_hours(120),
        identity: IdentityName::new("load"),
        kind: Kind::Submission,
        signing_domain: DOMAIN.parse()?,
        stream: Stream::new("default"),
        route: RouteName::new(if recipients == 1 { "sink" } else { "mx" }),
        original_reverse_path: format!("app@{DOMAIN}").parse::<Mailbox>()?.into(),
        sender: None,
        recipients: (0..recipients).map(recipient).collect::<anyhow::Result<_>>()?,
        envid: None,
        ret: None,
        needs: Needs::default(),
        message_id: format!("<{number}@{DOMAIN}>"),
        track_id: None,
        tag: None,
        trace: None,
        seal: Seal { fields: vec![field], expires: None, plan: Plan { author: Some(DOMAIN.to_owned()), ..Plan::default() } },
        message,
    })
}

/// MB resident, of all its processes.
fn resident(running: &Running) -> f64 {
    let group: &Group = &running.group;
    group.resident() as f64 / 1e6
}

const STARTS: usize = 5;
const REST: Duration = Duration::from_millis(1500);
const QUEUED: u64 = 100_000;
const MILLION_DOMAINS: u64 = 1_000;
const MILLION_WATCHED: Duration = Duration::from_secs(30);
const WRITERS: usize = 256;
