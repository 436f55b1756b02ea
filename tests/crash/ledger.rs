//! The account: what was promised, refused and left open by the relay, what arrived how often, and which deaths explain a second copy.

use super::letters;
use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::time::Duration;

/// Nanoseconds of the machine's monotonic clock: the clients, the sink and the recorder of `power.rs` share it.
pub fn now_ns() -> u64 {
    let now = Duration::try_from(rustix::time::clock_gettime(rustix::time::ClockId::Monotonic)).unwrap();
    u64::try_from(now.as_nanos()).unwrap()
}

/// How the dialogue over a letter ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// 250 was read, at this time.
    Promised { at_ns: u64, reply: String },
    /// Another reply was read.
    Refused(String),
    /// The connection ended before the last reply.
    Open,
}

/// A letter or a notice at the sink, for one recipient.
#[derive(Clone, Debug)]
struct Arrival {
    at_ns: u64,
}

#[derive(Default)]
struct Books {
    answers: BTreeMap<u64, Answer>,
    arrivals: HashMap<String, Vec<Arrival>>,
    deaths: Vec<u64>,
    faults: Vec<String>,
    unchecked: usize,
}

/// Shared by clients, sink and test.
#[derive(Default)]
pub struct Ledger {
    books: Mutex<Books>,
}

/// What it comes to.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    /// Letters answered 250.
    pub promised: usize,
    /// Of them, those that arrived for every recipient.
    pub delivered: usize,
    /// Letters answered 4xx or 5xx.
    pub refused: usize,
    /// Letters whose dialogue was cut.
    pub open: usize,
    /// Promised letters that did not arrive for somebody.
    pub lost: Vec<u64>,
    /// Copies beyond the first.
    pub duplicates: usize,
    /// Copies that no death explains.
    pub unexplained: Vec<String>,
    /// Letters that were refused and arrived all the same.
    pub came_though_refused: Vec<u64>,
    /// Wrong octets, wrong recipients, signatures that do not verify.
    pub faults: Vec<String>,
}

impl Ledger {
    pub fn answered(&self, number: u64, answer: Answer) {
        assert!(self.books.lock().unwrap().answers.insert(number, answer).is_none(), "letter {number} is sent once");
    }

    /// The relay dies now.
    pub fn died(&self) {
        self.died_at(now_ns());
    }

    pub fn died_at(&self, at_ns: u64) {
        self.books.lock().unwrap().deaths.push(at_ns);
    }

    /// The sink is about to say 250. What it took is looked at afterwards, by [`Self::looked_at`].
    pub fn arrived(&self, recipients: &[String]) {
        let at_ns = now_ns();
        let mut books = self.books.lock().unwrap();
        books.unchecked += 1;
        for recipient in recipients {
            books.arrivals.entry(recipient.clone()).or_default().push(Arrival { at_ns });
        }
    }

    /// One arrival was compared with what was sent.
    pub fn looked_at(&self, sound: Result<(), String>) {
        let mut books = self.books.lock().unwrap();
        books.unchecked -= 1;
        books.faults.extend(sound.err());
    }

    /// The reply that promised a letter.
    pub fn reply(&self, number: u64) -> String {
        match self.books.lock().unwrap().answers.get(&number) {
            Some(Answer::Promised { reply, .. }) => reply.clone(),
            other => panic!("letter {number} was not promised: {other:?}"),
        }
    }

    /// The account as it was at a time: what came later has not happened, but for `unpromised` nothing is known of.
    pub fn as_of(&self, at_ns: u64) -> Self {
        let books = self.books.lock().unwrap();
        let answers = books.answers.iter().map(|(number, answer)| match answer {
            Answer::Promised { at_ns: at, .. } if *at > at_ns => (*number, Answer::Open),
            // Whether a refusal came before or after does not matter: it is of no letter that may arrive.
            other => (*number, other.clone()),
        });
        let arrivals = books.arrivals.iter().map(|(recipient, arrivals)| {
            let by_then: Vec<Arrival> = arrivals.iter().filter(|arrival| arrival.at_ns <= at_ns).cloned().collect();
            (recipient.clone(), by_then)
        });
        let past = Books {
            answers: answers.collect(),
            arrivals: arrivals.collect(),
            deaths: books.deaths.iter().copied().filter(|death| *death <= at_ns).chain([at_ns]).collect(),
            ..Books::default()
        };
        Self { books: Mutex::new(past) }
    }

    /// Promised letters of which something has not arrived yet.
    pub fn missing(&self) -> Vec<u64> {
        let books = self.books.lock().unwrap();
        let promised = books.answers.iter().filter(|(_, answer)| matches!(answer, Answer::Promised { .. }));
        promised.map(|(number, _)| *number).filter(|number| !books.is_whole(*number)).collect()
    }

    /// Arrivals that nobody has looked at yet.
    pub fn unchecked(&self) -> usize {
        self.books.lock().unwrap().unchecked
    }

    pub fn promised(&self) -> usize {
        self.books.lock().unwrap().answers.values().filter(|answer| matches!(answer, Answer::Promised { .. })).count()
    }

    /// Copies at the sink, of all letters and notices.
    pub fn copies(&self) -> usize {
        self.books.lock().unwrap().arrivals.values().map(Vec::len).sum()
    }

    /// Refusals by their code, `452`.
    pub fn refused_with(&self, code: &str) -> usize {
        let books = self.books.lock().unwrap();
        books.answers.values().filter(|answer| matches!(answer, Answer::Refused(reply) if reply.starts_with(code))).count()
    }

    pub fn balance(&self) -> Balance {
        let books = self.books.lock().unwrap();
        let mut balance = Balance { faults: books.faults.clone(), ..Balance::default() };
        for (number, answer) in &books.answers {
            match answer {
                Answer::Promised { .. } => {
                    balance.promised += 1;
                    if books.is_whole(*number) { balance.delivered += 1 } else { balance.lost.push(*number) }
                }
                Answer::Refused(_) => {
                    balance.refused += 1;
                    if letters::recipients(*number).iter().any(|recipient| books.copies(recipient) > 0) {
                        balance.came_though_refused.push(*number);
                    }
                }
                Answer::Open => balance.open += 1,
            }
        }
        for (recipient, arrivals) in &books.arrivals {
            if letters::number_of(recipient).is_none_or(|number| !books.answers.contains_key(&number)) {
                balance.faults.push(format!("something arrived for {recipient}, to whom nothing was sent"));
            }
            balance.duplicates += arrivals.len().saturating_sub(1);
            let mut in_order: Vec<&Arrival> = arrivals.iter().collect();
            in_order.sort_by_key(|arrival| arrival.at_ns);
            in_order.pop();
            balance.unexplained.extend(in_order.iter().filter(|copy| !books.is_explained(copy)).map(|copy| format!("{recipient}: {copy:?}")));
        }
        balance
    }
}

impl Books {
    fn copies(&self, recipient: &str) -> usize {
        self.arrivals.get(recipient).map_or(0, Vec::len)
    }

    fn is_whole(&self, number: u64) -> bool {
        letters::recipients(number).iter().all(|recipient| self.copies(recipient) > 0)
    }

    /// A copy that another followed: the relay died after it was taken and before the outcome was durable. That none was sent whose outcome
    /// was durable is told by the spool's own journal, whatever the time: `Rig::finish`.
    fn is_explained(&self, copy: &Arrival) -> bool {
        self.deaths.iter().any(|death| copy.at_ns <= *death && death - copy.at_ns <= SETTLES_WITHIN_NS)
    }
}

impl Balance {
    /// Nothing is lost, wrong or unexplained.
    pub fn assert_sound(&self) {
        assert_eq!(self.faults, Vec::<String>::new(), "what arrived is not what was sent");
        assert_eq!(self.lost, Vec::<u64>::new(), "letters that were answered 250 and did not arrive: {self:?}");
        assert_eq!(self.unexplained, Vec::<String>::new(), "letters sent twice though nothing died before they were settled: {self:?}");
    }

    pub fn assert_nothing_refused_came(&self) {
        assert_eq!(self.came_though_refused, Vec::<u64>::new(), "letters that were refused and arrived");
    }
}

/// How long an outcome may take to become durable: on a busy machine with a slow disk, far less.
const SETTLES_WITHIN_NS: u64 = 5_000_000_000;
