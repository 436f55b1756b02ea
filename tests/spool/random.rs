//! Whatever is done to a spool, in whatever order: it answers like a model that a reader can check by eye.

use super::samples::*;
use postseal::seal::Sealed;
use postseal::spool::control::{Effect, Order, Selection};
use postseal::spool::journal::{Filter, Journal};
use postseal::spool::{Control, Ending, How, Lease, Records, Spool, SqliteSpool};
use proptest::prelude::*;
use std::collections::BTreeMap;
use tempfile::TempDir;

const HOSTS: [&str; 3] = ["x.example", "y.example", "z.example"];

#[derive(Debug, Clone)]
enum Op {
    /// A mail to these hosts, due so much later; the recipients at odd places have a reverse-path of their own.
    Commit {
        hosts: Vec<usize>,
        delay: i64,
    },
    Claim {
        host: usize,
        recipients_max: usize,
        seconds: i64,
    },
    /// One of the leases ever given, whether or not it still holds.
    Renew {
        lease: usize,
        seconds: i64,
    },
    Settle {
        lease: usize,
        kinds: Vec<u8>,
        delay: i64,
        notice: bool,
    },
    Park {
        host: usize,
        seconds: i64,
    },
    /// What a person orders for all recipients at a host.
    Hold {
        host: usize,
    },
    Release {
        host: usize,
    },
    Retry {
        host: usize,
    },
    /// Settled by whoever ordered it, unless he is interrupted.
    Cancel {
        host: usize,
        interrupted: bool,
    },
    Wait {
        seconds: i64,
    },
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let host = 0..HOSTS.len();
    let host_again = host.clone();
    let op = prop_oneof![
        4 => (prop::collection::vec(host.clone(), 1..5), prop_oneof![Just(0i64), 1..50i64]).prop_map(|(hosts, delay)| Op::Commit { hosts, delay }),
        5 => (host.clone(), 1..6usize, 1..60i64).prop_map(|(host, recipients_max, seconds)| Op::Claim { host, recipients_max, seconds }),
        2 => (any::<prop::sample::Index>(), 1..60i64).prop_map(|(lease, seconds)| Op::Renew { lease: lease.index(1000), seconds }),
        5 => (any::<prop::sample::Index>(), prop::collection::vec(0..4u8, 4), 0..60i64, any::<bool>())
            .prop_map(|(lease, kinds, delay, notice)| Op::Settle { lease: lease.index(1000), kinds, delay, notice }),
        1 => (host, 0..40i64).prop_map(|(host, seconds)| Op::Park { host, seconds }),
        2 => host_again.clone().prop_map(|host| Op::Hold { host }),
        2 => host_again.clone().prop_map(|host| Op::Release { host }),
        1 => host_again.clone().prop_map(|host| Op::Retry { host }),
        1 => (host_again, any::<bool>()).prop_map(|(host, interrupted)| Op::Cancel { host, interrupted }),
        3 => (1..40i64).prop_map(|seconds| Op::Wait { seconds }),
        1 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..50)
}

/// A recipient that waits.
#[derive(Debug, Clone)]
struct Waiting {
    host: usize,
    next_at: i64,
    fence: Option<u64>,
    attempts: u32,
    unknown_ends: u32,
    held: bool,
}

#[derive(Debug, Default)]
struct Model {
    now: i64,
    claims: u64,
    mails: u64,
    /// By mail and number.
    waiting: BTreeMap<(u64, u32), Waiting>,
    parked: BTreeMap<usize, i64>,
    /// What the journal tells: the mail's number, the recipient's place, the kind.
    told: Vec<String>,
}

impl Model {
    fn commit(&mut self, hosts: &[usize], due_at: i64) -> u64 {
        self.mails += 1;
        for (number, host) in (0..).zip(hosts) {
            self.told.push(format!("{} u{number} mail.accepted", self.mails));
            self.waiting.insert((self.mails, number), Waiting { host: *host, next_at: due_at, fence: None, attempts: 0, unknown_ends: 0, held: false });
        }
        self.mails
    }

    fn next_at(&self, host: usize) -> Option<i64> {
        let next_at = self.waiting.values().filter(|who| who.host == host && !who.held).map(|who| who.next_at).min()?;
        Some(next_at.max(self.parked.get(&host).copied().unwrap_or(i64::MIN)))
    }

    fn due(&self) -> String {
        let mut due: Vec<(i64, &str)> = (0..HOSTS.len()).filter_map(|host| Some((self.next_at(host)?, HOSTS[host]))).collect();
        due.retain(|(next_at, _)| *next_at <= self.now);
        due.sort_unstable();
        due.iter().map(|(since, host)| format!("{host}@{since}")).collect::<Vec<_>>().join(" ")
    }

    fn counts(&self) -> String {
        let mut mails: Vec<u64> = self.waiting.keys().map(|(mail, _)| *mail).collect();
        mails.dedup();
        format!("{} {} 0", mails.len(), self.waiting.len())
    }

    /// `mail/reverse-path/number,attempts,unknown …` for each lease.
    fn claim(&mut self, host: usize, recipients_max: usize, until: i64) -> Vec<String> {
        if self.parked.get(&host).is_some_and(|parked| *parked > self.now) {
            return Vec::new();
        }
        let mut due: Vec<(i64, u64, u32)> = self
            .waiting
            .iter()
            .filter(|(_, who)| who.host == host && !who.held && who.next_at <= self.now)
            .map(|((mail, number), who)| (who.next_at, *mail, *number))
            .collect();
        due.sort_unstable();
        due.truncate(recipients_max);
        self.claims += u64::from(!due.is_empty());
        let mut mails: Vec<u64> = Vec::new();
        let mut leases: Vec<(u64, u32, Vec<String>)> = Vec::new();
        for (_, mail, number) in due {
            let who = self.waiting.get_mut(&(mail, number)).unwrap();
            let lapsed = u32::from(who.fence.is_some());
            who.attempts += lapsed;
            who.unknown_ends += lapsed;
            (who.fence, who.next_at) = (Some(self.claims), until);
            let told = format!("{number},{},{}", who.attempts, who.unknown_ends);
            if !mails.contains(&mail) {
                mails.push(mail);
            }
            match leases.iter_mut().find(|(known, path, _)| (*known, *path) == (mail, number % 2)) {
                Some((.., recipients)) => recipients.push(told),
                None => leases.push((mail, number % 2, vec![told])),
            }
        }
        leases.sort_by_key(|(mail, ..)| mails.iter().position(|known| known == mail));
        leases.into_iter().map(|(mail, path, recipients)| format!("{mail}/{path}/{}", recipients.join(" "))).collect()
    }

    /// Those at a host that nobody is delivering to.
    fn at_rest(&mut self, host: usize) -> impl Iterator<Item = (&(u64, u32), &mut Waiting)> {
        let now = self.now;
        self.waiting.iter_mut().filter(move |(_, who)| who.host == host && (who.held || who.fence.is_none() || who.next_at <= now))
    }

    /// Gives all that is held now, and of how many that is new.
    fn hold(&mut self, host: usize) -> (Vec<(u64, u32)>, usize) {
        let (mut held, mut told) = (Vec::new(), Vec::new());
        for (key, who) in self.at_rest(host) {
            // A lease that ran out is one of unknown end.
            let lapsed = u32::from(who.fence.take().is_some());
            who.attempts += lapsed;
            who.unknown_ends += lapsed;
            if !who.held {
                told.push(format!("{} u{} mail.held", key.0, key.1));
            }
            who.held = true;
            held.push(*key);
        }
        let new = told.len();
        self.told.extend(told);
        (held, new)
    }

    fn holds(&self, lease: &Given) -> bool {
        lease.recipients().all(|number| self.waiting.get(&(lease.mail(), number)).is_some_and(|who| who.fence == Some(lease.claim)))
    }
}

/// A lease and the number of the claim that gave it.
struct Given {
    lease: Lease,
    claim: u64,
}

impl Given {
    fn mail(&self) -> u64 {
        self.lease.mail.id.number()
    }

    fn recipients(&self) -> impl Iterator<Item = u32> {
        self.lease.recipients.iter().map(|who| who.index)
    }

    fn told(&self) -> String {
        let path = u32::from(self.lease.reverse_path.to_string() == "<odd@b.example.com>");
        let who: Vec<_> = self.lease.recipients.iter().map(|who| format!("{},{},{}", who.index, who.attempts, who.unknown_ends)).collect();
        format!("{}/{path}/{}", self.mail(), who.join(" "))
    }
}

fn mail_to(number: u64, hosts: &[usize], due_at: i64) -> Sealed {
    let to: Vec<String> = hosts.iter().enumerate().map(|(place, host)| format!("u{place}@{}", HOSTS[*host])).collect();
    let mut mail = Sealed { due_at: at(due_at), ..mail(number, &to.iter().map(String::as_str).collect::<Vec<_>>()) };
    for recipient in mail.recipients.iter_mut().skip(1).step_by(2) {
        recipient.reverse_path = mailbox("odd@b.example.com").into();
    }
    mail
}

fn open(directory: &TempDir, now: i64) -> SqliteSpool {
    SqliteSpool::open(settings(directory.path()), at(now)).unwrap().0
}

async fn run(ops: Vec<Op>) {
    let directory = scratch();
    let mut spool = open(&directory, 0);
    let mut model = Model::default();
    let mut given: Vec<Given> = Vec::new();
    for op in ops {
        match op.clone() {
            Op::Commit { hosts, delay } => {
                let number = model.commit(&hosts, model.now + delay);
                commit(&spool, mail_to(number, &hosts, model.now + delay)).await;
            }
            Op::Claim { host, recipients_max, seconds } => {
                let until = model.now + seconds;
                let claimed = spool.claim(&queue(HOSTS[host]), many(recipients_max), at(model.now), at(until)).await.unwrap();
                let expected = model.claim(host, recipients_max, until);
                let first = given.len();
                given.extend(claimed.leases.into_iter().map(|lease| Given { lease, claim: model.claims }));
                assert_eq!(given[first..].iter().map(Given::told).collect::<Vec<_>>(), expected, "{op:?}");
            }
            Op::Renew { lease, seconds } if !given.is_empty() => {
                let place = lease % given.len();
                let (until, held) = (model.now + seconds, model.holds(&given[place]));
                let renewed = spool.renew(&mut given[place].lease, at(until)).await;
                assert_eq!(renewed.is_ok(), held, "{op:?}");
                if held {
                    for number in given[place].recipients() {
                        model.waiting.get_mut(&(given[place].mail(), number)).unwrap().next_at = until;
                    }
                }
            }
            Op::Settle { lease, kinds, delay, notice } if !given.is_empty() => {
                let settled = given.remove(lease % given.len());
                let (held, mail, next_at) = (model.holds(&settled), settled.mail(), model.now + delay);
                let numbers: Vec<u32> = settled.recipients().collect();
                let endings = numbers.iter().zip(kinds.iter().cycle()).map(|(index, kind)| Ending::of(*index, how(*kind, model.now, next_at)));
                let endings: Vec<Ending> = endings.collect();
                let notices = if notice { vec![mail_to(1_000_000 + model.mails + 1, &[0], model.now)] } else { vec![] };
                assert_eq!(spool.settle(settled.lease, endings.clone(), notices).await.is_ok(), held, "{op:?}");
                if held {
                    settle(&mut model, mail, &endings, next_at);
                    if notice {
                        model.mails += 1;
                        model.told.push(format!("{} u0 mail.accepted", 1_000_000 + model.mails));
                        let who = Waiting { host: 0, next_at: model.now, fence: None, attempts: 0, unknown_ends: 0, held: false };
                        model.waiting.insert((1_000_000 + model.mails, 0), who);
                    }
                }
            }
            Op::Renew { .. } | Op::Settle { .. } => {}
            Op::Park { host, seconds } => {
                spool.park(&queue(HOSTS[host]), at(model.now + seconds)).await.unwrap();
                model.parked.insert(host, model.now + seconds);
            }
            Op::Hold { host } => {
                let changed = spool.change(&at_host(host), &Order::Hold, None, many(500), at(model.now)).await.unwrap();
                let done = changed.entries.iter().filter(|(_, effect)| *effect == Effect::Done).count();
                assert_eq!(model.hold(host).1, done, "{op:?}");
            }
            Op::Release { host } => {
                spool.change(&at_host(host), &Order::Release, None, many(500), at(model.now)).await.unwrap();
                let now = model.now;
                for ((mail, number), who) in model.waiting.iter_mut().filter(|(_, who)| who.host == host && who.held) {
                    (who.held, who.next_at) = (false, now);
                    model.told.push(format!("{mail} u{number} mail.released"));
                }
            }
            Op::Retry { host } => {
                spool.change(&at_host(host), &Order::Retry, None, many(500), at(model.now)).await.unwrap();
                let now = model.now;
                let mut retried = Vec::new();
                for ((mail, number), who) in model.at_rest(host).filter(|(_, who)| !who.held) {
                    who.next_at = now;
                    retried.push(format!("{mail} u{number} mail.retried"));
                }
                if !retried.is_empty() {
                    model.parked.remove(&host);
                }
                model.told.extend(retried);
            }
            Op::Cancel { host, interrupted } => {
                let changed = spool.change(&at_host(host), &Order::Cancel { silent: true }, None, many(500), at(model.now)).await.unwrap();
                let (held, _) = model.hold(host);
                model.claims += u64::from(!held.is_empty());
                let mut seized: Vec<(u64, u32)> =
                    changed.leases.iter().flat_map(|lease| lease.recipients.iter().map(|who| (lease.mail.id.number(), who.index))).collect();
                seized.sort_unstable();
                assert_eq!(seized, held, "{op:?}");
                for lease in changed.leases.into_iter().filter(|_| !interrupted) {
                    let (mail, endings) = (lease.mail.id.number(), all(&lease, &How::Cancelled(evidence("cancelled", model.now))));
                    settle(&mut model, mail, &endings, 0);
                    spool.settle(lease, endings, vec![]).await.unwrap();
                }
            }
            Op::Wait { seconds } => model.now += seconds,
            Op::Restart => {
                spool.close().await;
                spool = open(&directory, model.now);
                for who in model.waiting.values_mut().filter(|who| who.fence.is_some() && !who.held) {
                    who.next_at = who.next_at.min(model.now);
                }
            }
        }
        assert_eq!(due(&spool, model.now).await, model.due(), "after {op:?}");
        assert_eq!(counts(&spool).await, model.counts(), "after {op:?}");
        let next_due_at = (0..HOSTS.len()).filter_map(|host| model.next_at(host)).min();
        assert_eq!(spool.next_due_at().await.unwrap(), next_due_at.map(at), "after {op:?}");
    }
    // Nothing was lost, nothing counted twice, nothing looks damaged.
    let states = spool.states(at(model.now)).await.unwrap();
    assert_eq!(states.waiting + states.leased + states.held, model.waiting.len() as u64);
    assert_eq!(states.held, model.waiting.values().filter(|who| who.held).count() as u64);
    assert_eq!(spool.sweep(at(model.now)).await.unwrap().quarantined, []);
    let events = spool.events(0, Filter::default(), many(10_000)).await.unwrap().events;
    let told = events.iter().map(|event| {
        let recipient = event.news.recipient.as_ref().unwrap().local.as_str();
        format!("{} {recipient} {}", event.news.mail.number(), event.news.kind)
    });
    assert_eq!(told.collect::<Vec<_>>(), model.told);
    assert!(events.iter().zip(1..).all(|(event, number)| event.number == number));
    spool.close().await;
}

fn at_host(host: usize) -> Selection {
    Selection { domain: Some(HOSTS[host].parse().unwrap()), ..Selection::default() }
}

fn how(kind: u8, now: i64, next_at: i64) -> How {
    match kind {
        0 => delivered(now),
        1 => failed(now),
        2 => deferred(now, next_at),
        _ => How::Released { next_at: at(next_at) },
    }
}

fn settle(model: &mut Model, mail: u64, endings: &[Ending], next_at: i64) {
    for ending in endings {
        let kind = match ending.how {
            How::Delivered(_) => Some("mail.delivered"),
            How::Failed(_) => Some("mail.bounced"),
            How::Cancelled(_) => Some("mail.cancelled"),
            How::Deferred { .. } => Some("mail.deferred"),
            How::Kept { .. } => Some("mail.held"),
            How::Released { .. } => None,
        };
        model.told.extend(kind.map(|kind| format!("{mail} u{} {kind}", ending.index)));
        match ending.how {
            How::Delivered(_) | How::Failed(_) | How::Cancelled(_) => {
                model.waiting.remove(&(mail, ending.index));
            }
            How::Kept { .. } => model.waiting.get_mut(&(mail, ending.index)).unwrap().held = true,
            How::Deferred { .. } | How::Released { .. } => {
                let who = model.waiting.get_mut(&(mail, ending.index)).unwrap();
                who.attempts += u32::from(matches!(ending.how, How::Deferred { .. }));
                (who.next_at, who.fence) = (next_at, None);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_spool_answers_like_its_model(ops in ops()) {
        tokio::runtime::Runtime::new().unwrap().block_on(run(ops));
    }
}
