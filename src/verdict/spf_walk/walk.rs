//! The walk through a record and all that it includes, every lookup counted, nothing left out.

use super::check::{Sender, check_host, is_name};
use super::{LOOKUPS_MAX, MX_NAMES_MAX, Questions, VOIDS_MAX, mx_hosts, texts};
use crate::dns::{DnsFault, Kind};
use crate::mail::Domain;
use crate::verdict::Check;
use crate::verdict::spf::{MacroString, Mechanism, NearMiss, Qualifier, Remark, Selected, SpfFault, SpfRecord, Term, Values, select};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;

/// What a domain's SPF comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// Whose it is.
    pub domain: Domain,
    /// Every record that was read, the domain's own first. Never empty.
    pub pages: Vec<Page>,
    /// Terms that ask the DNS, when nothing matches before the end: the worst case, which receivers hold against ten.
    pub lookups: usize,
    /// Questions that find nothing, for the families of the addresses asked about, the worse of the two; without addresses,
    /// names that have neither A nor AAAA records.
    pub voids: usize,
    /// Which term costs what, in the order of evaluation.
    pub costs: Vec<Cost>,
    /// What makes receivers answer permerror.
    pub problems: Vec<Problem>,
    /// What is legal, but unwise.
    pub remarks: Vec<Remarked>,
    /// Questions nobody answered: counts and results are then of what is known.
    pub unknown: Vec<DnsFault>,
    /// What becomes of those who are not named: the `all` that is reached, through `redirect=` too. `None`: neutral.
    pub all: Option<Qualifier>,
    /// The addresses asked about, in that order.
    pub covered: Vec<Covered>,
}

/// What stands at one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The name.
    pub name: String,
    /// Its record; or nobody could say.
    pub found: Result<Selected, DnsFault>,
}

/// What one term costs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// How deep: 0 in the domain's own record.
    pub depth: usize,
    /// Whose record it stands in.
    pub record: String,
    /// As written.
    pub term: String,
    /// Lookups, with all that it includes.
    pub lookups: usize,
    /// Questions that find nothing, with all that it includes; as [`Walk::voids`].
    pub voids: usize,
    /// It has macros of which only a message tells the value: what it asks cannot be said here.
    pub depends: bool,
}

/// Why receivers answer permerror.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// More than ten (RFC 7208 §4.6.4).
    Lookups(usize),
    /// More than two (RFC 7208 §4.6.4).
    Voids(usize),
    /// An `mx` of a domain with more than ten hosts (RFC 7208 §4.6.4).
    MxNames {
        /// Whose record.
        record: String,
        /// The term.
        term: String,
        /// How many.
        names: usize,
    },
    /// Several records at one name (RFC 7208 §4.5).
    Several {
        /// The name.
        record: String,
        /// How many.
        count: usize,
    },
    /// A record that cannot be read; each fault by itself.
    Fault {
        /// Whose record.
        record: String,
        /// What is wrong.
        fault: SpfFault,
    },
    /// An `include:` or `redirect=` to a name without a record (RFC 7208 §5.2, §6.1).
    NoRecord {
        /// Whose record.
        record: String,
        /// The term.
        term: String,
        /// The name.
        target: String,
        /// What stands there that was meant as one.
        near: Vec<NearMiss>,
    },
    /// A record that leads back to itself, which never ends but by the limit of lookups.
    Loop {
        /// Whose record.
        record: String,
        /// The term.
        term: String,
        /// From the first record to the one that comes again.
        way: Vec<String>,
    },
    /// More records than `RECORDS_MAX`: the rest was not looked at.
    Endless,
}

/// A remark, and on whose record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remarked {
    /// The name the record stands at.
    pub record: String,
    /// It is the domain's own, or one it redirects to: the operator's business. Otherwise that of whoever is included.
    pub own: bool,
    /// The remark.
    pub remark: Remark,
}

/// Whether an address may send as the domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The address.
    pub address: IpAddr,
    /// What receivers find (the sender is `postmaster@` the domain).
    pub result: Check,
    /// Record and term that decided, from the domain's own down; empty where none did.
    pub by: Vec<(String, String)>,
    /// Why there is no better result; empty where a term decided.
    pub why: String,
}

/// Reads the record of `domain` and all it includes, counts, and asks whether `addresses` may send.
pub async fn walk(questions: &impl Questions, domain: &Domain, addresses: &[IpAddr]) -> Walk {
    let mut tour = Tour {
        questions,
        domain: domain.as_str(),
        way: Vec::new(),
        pages: Vec::new(),
        costs: Vec::new(),
        problems: Vec::new(),
        remarks: Vec::new(),
        unknown: Vec::new(),
        endless: false,
    };
    let total = tour.visit(domain.as_str(), true).await;
    let voids = total.voids(addresses);
    if total.lookups > LOOKUPS_MAX {
        tour.problems.insert(0, Problem::Lookups(total.lookups));
    }
    if voids > VOIDS_MAX {
        tour.problems.push(Problem::Voids(voids));
    }
    if tour.endless {
        tour.problems.push(Problem::Endless);
    }
    let mut covered = Vec::new();
    for address in addresses {
        let sender = Sender { local: "postmaster", domain: domain.as_str(), helo: domain.as_str() };
        let outcome = check_host(questions, *address, sender).await;
        covered.push(Covered { address: *address, result: outcome.result, by: outcome.by, why: outcome.why });
    }
    let cost = |(cost, count): (Cost, Count)| Cost { lookups: count.lookups, voids: count.voids(addresses), ..cost };
    Walk {
        domain: domain.clone(),
        all: total.all,
        lookups: total.lookups,
        voids,
        pages: tour.pages,
        costs: tour.costs.into_iter().map(cost).collect(),
        problems: tour.problems,
        remarks: tour.remarks,
        unknown: tour.unknown,
        covered,
    }
}

impl Walk {
    /// The domain's own record, where it has one that can be read.
    #[must_use]
    pub fn record(&self) -> Option<&SpfRecord> {
        match &self.pages.first()?.found {
            Ok(Selected::Record(record)) => Some(record),
            _ => None,
        }
    }
}

/// What has been seen so far.
struct Tour<'a, Q> {
    questions: &'a Q,
    domain: &'a str,
    /// The records that lead to the one being read.
    way: Vec<String>,
    pages: Vec<Page>,
    costs: Vec<(Cost, Count)>,
    problems: Vec<Problem>,
    remarks: Vec<Remarked>,
    unknown: Vec<DnsFault>,
    endless: bool,
}

/// What a term or a record costs, with all it includes.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    lookups: usize,
    /// Questions an IPv4 client makes receivers ask in vain.
    voids_v4: usize,
    /// The same of an IPv6 client.
    voids_v6: usize,
    /// Those that are in vain for both.
    voids_both: usize,
    /// The `all` at the end.
    all: Option<Qualifier>,
}

impl Count {
    fn add(&mut self, other: &Self) {
        self.lookups += other.lookups;
        self.voids_v4 += other.voids_v4;
        self.voids_v6 += other.voids_v6;
        self.voids_both += other.voids_both;
    }

    const fn void(&mut self, v4: bool, v6: bool) {
        self.voids_v4 += v4 as usize;
        self.voids_v6 += v6 as usize;
        self.voids_both += (v4 && v6) as usize;
    }

    fn voids(&self, addresses: &[IpAddr]) -> usize {
        let of = |family: fn(&IpAddr) -> bool, voids: usize| if addresses.iter().any(family) { voids } else { 0 };
        if addresses.is_empty() { self.voids_both } else { of(IpAddr::is_ipv4, self.voids_v4).max(of(IpAddr::is_ipv6, self.voids_v6)) }
    }
}

impl<Q: Questions> Tour<'_, Q> {
    /// Reads what stands at a name; what it costs to evaluate. Boxed: records include records.
    fn visit<'f>(&'f mut self, name: &'f str, own: bool) -> Pin<Box<dyn Future<Output = Count> + Send + 'f>> {
        Box::pin(async move {
            let mut count = Count::default();
            let found = texts(self.questions, name).await.map(|texts| (texts.is_empty(), select(&texts)));
            match &found {
                Err(fault) => self.unknown.push(fault.clone()),
                Ok((nothing, selected)) => {
                    if *nothing && !self.way.is_empty() {
                        count.void(true, true);
                    }
                    match selected {
                        Selected::Several(texts) => self.problems.push(Problem::Several { record: name.to_owned(), count: texts.len() }),
                        Selected::Faulty { faults, .. } => {
                            self.problems.extend(faults.iter().map(|fault| Problem::Fault { record: name.to_owned(), fault: fault.clone() }));
                        }
                        Selected::None(_) | Selected::Record(_) => {}
                    }
                }
            }
            let found = found.map(|(_, selected)| selected);
            let record = if let Ok(Selected::Record(record)) = &found { Some(record.clone()) } else { None };
            self.pages.push(Page { name: name.to_owned(), found });
            if let Some(record) = record {
                let matters = |remark: &Remark| own || matches!(remark, Remark::PassesEverybody(_) | Remark::HugeNetwork(_) | Remark::Ptr(_));
                let remarks = record.remarks().into_iter().filter(matters);
                self.remarks.extend(remarks.map(|remark| Remarked { record: name.to_owned(), own, remark }));
                self.way.push(name.to_owned());
                count.add(&self.terms(&record, name).await);
                count.all = record.all();
                if let Some((term, target)) = record.redirect() {
                    let inner = self.lead(term, target, name, own).await;
                    count.add(&inner);
                    count.all = inner.all;
                }
                self.way.pop();
            }
            count
        })
    }

    /// The mechanisms of a record, as far as they are reached.
    async fn terms(&mut self, record: &SpfRecord, name: &str) -> Count {
        let mut total = Count::default();
        for (term, _, mechanism) in record.directives().filter(|(.., mechanism)| mechanism.costs_a_lookup()) {
            let count = match mechanism {
                Mechanism::Include(target) => self.lead(term, target, name, false).await,
                Mechanism::A(target, _) => self.single(term, target.as_ref(), name, What::Host).await,
                Mechanism::Mx(target, _) => self.single(term, target.as_ref(), name, What::Mx).await,
                Mechanism::Exists(target) => self.single(term, Some(target), name, What::Exists).await,
                Mechanism::Ptr(_) | Mechanism::All | Mechanism::Ip4(_) | Mechanism::Ip6(_) => self.single(term, None, name, What::Ptr).await,
            };
            total.add(&count);
        }
        total
    }

    /// An `include:` or `redirect=`.
    async fn lead(&mut self, term: &Term, target: &MacroString, record: &str, own: bool) -> Count {
        let target_name = self.name(Some(target), record);
        let place = self.cost(term, record, target_name.is_none());
        let mut count = Count { lookups: 1 + usize::from(target.uses("p")), ..Count::default() };
        let record = record.to_owned();
        match target_name {
            None => {}
            Some(name) if self.way.contains(&name) => {
                let way = self.way.iter().cloned().chain([name]).collect();
                self.problems.push(Problem::Loop { record, term: term.text.clone(), way });
            }
            Some(_) if self.pages.len() >= RECORDS_MAX => self.endless = true,
            Some(name) => {
                let page = self.pages.len();
                let inner = self.visit(&name, own).await;
                count.add(&inner);
                count.all = inner.all;
                if let Some(Page { found: Ok(Selected::None(near)), .. }) = self.pages.get(page) {
                    self.problems.push(Problem::NoRecord { record, term: term.text.clone(), target: name, near: near.clone() });
                }
            }
        }
        self.costs[place].1 = count;
        count
    }

    /// A term that leads to no other record.
    async fn single(&mut self, term: &Term, target: Option<&MacroString>, record: &str, what: What) -> Count {
        let name = self.name(target, record).filter(|_| !matches!(what, What::Ptr));
        let place = self.cost(term, record, name.is_none());
        let mut count = Count { lookups: 1 + usize::from(target.is_some_and(|target| target.uses("p"))), ..Count::default() };
        match (what, name) {
            (What::Host, Some(name)) => self.host(&name, &mut count).await,
            (What::Exists, Some(name)) => {
                let nothing = self.ask(&name, Kind::A).await == Some(0);
                count.void(nothing, nothing);
            }
            (What::Mx, Some(name)) => {
                let hosts = match self.questions.ask(&name, Kind::Mx).await {
                    Ok(found) => {
                        count.void(found.is_empty(), found.is_empty());
                        mx_hosts(found)
                    }
                    Err(fault) => {
                        self.unknown.push(fault);
                        Vec::new()
                    }
                };
                if hosts.len() > MX_NAMES_MAX {
                    self.problems.push(Problem::MxNames { record: record.to_owned(), term: term.text.clone(), names: hosts.len() });
                }
                for host in hosts.iter().take(MX_NAMES_MAX) {
                    self.host(host, &mut count).await;
                }
            }
            (What::Ptr, _) | (_, None) => {}
        }
        self.costs[place].1 = count;
        count
    }

    /// Which families of a host have no address.
    async fn host(&mut self, name: &str, count: &mut Count) {
        let v4 = self.ask(name, Kind::A).await == Some(0);
        let v6 = self.ask(name, Kind::Aaaa).await == Some(0);
        count.void(v4, v6);
    }

    /// How many records there are; `None`: nobody could say.
    async fn ask(&mut self, name: &str, kind: Kind) -> Option<usize> {
        match self.questions.ask(name, kind).await {
            Ok(found) => Some(found.len()),
            Err(fault) => {
                self.unknown.push(fault);
                None
            }
        }
    }

    /// Takes a place for a term's cost, which is known only when all it includes is.
    fn cost(&mut self, term: &Term, record: &str, depends: bool) -> usize {
        let cost = Cost { depth: self.way.len() - 1, record: record.to_owned(), term: term.text.clone(), lookups: 0, voids: 0, depends };
        self.costs.push((cost, Count::default()));
        self.costs.len() - 1
    }

    /// The name a term is about, where it depends on nothing but domains.
    fn name(&self, target: Option<&MacroString>, record: &str) -> Option<String> {
        let Some(target) = target else { return Some(record.to_owned()) };
        if target.uses("slipvhcrt") {
            return None;
        }
        let unknown = Values {
            local: "",
            sender_domain: self.domain,
            domain: record,
            address: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            validated: "",
            helo: "",
            receiver: "",
            timestamp: 0,
        };
        let name = target.expand(&unknown).to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        is_name(name).then(|| name.to_owned())
    }
}

/// What a term asks for.
#[derive(Debug, Clone, Copy)]
enum What {
    Host,
    Mx,
    Exists,
    Ptr,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lookups(lookups) => write!(
                f,
                "the record takes {lookups} lookups in the DNS, {LOOKUPS_MAX} are allowed (RFC 7208 §4.6.4); take out what no longer sends, or name its addresses with \"ip4:\" and \"ip6:\""
            ),
            Self::Voids(voids) => {
                write!(f, "{voids} of the names it asks for have no records, {VOIDS_MAX} are allowed (RFC 7208 §4.6.4); take out the terms that name them")
            }
            Self::MxNames { record, term, names } => write!(
                f,
                "\"{term}\" in the record of {record} leads to {names} MX records, {MX_NAMES_MAX} are allowed (RFC 7208 §4.6.4); name the hosts that send instead"
            ),
            Self::Several { record, count } => {
                write!(f, "{record} has {count} SPF records, so none of them counts (RFC 7208 §4.5); make one of them and delete the others")
            }
            Self::Fault { record, fault } => write!(f, "the record of {record}: {fault}"),
            Self::NoRecord { record, term, target, near } => {
                write!(f, "\"{term}\" in the record of {record}: {target} has no SPF record")?;
                match near.first() {
                    Some(miss) => write!(f, ", but \"{}\": {}", miss.text, miss.why),
                    None => f.write_str("; take the term out, or mend the name"),
                }
            }
            Self::Loop { record, term, way } => write!(f, "\"{term}\" in the record of {record} leads in a circle: {}; take it out", way.join(" -> ")),
            Self::Endless => write!(f, "it leads to more than {RECORDS_MAX} records; the rest was not looked at"),
        }
    }
}

/// Records read in one walk: far more than any evaluation reads, so that a tree without end has one.
pub const RECORDS_MAX: usize = 64;
