//! Finds the facts of a message in the DNS. A shell: it asks questions, and the clock.
//!
//! Signatures and chains are verified by *seal*'s own reading of RFC 6376, RFC 8301 and RFC 8617 ([`verified`]), SPF by
//! [`check_host`], DMARC records by [`dmarc`](super::dmarc): each to the letter. Where mail-auth, asked for a second opinion over the
//! same answers, differs, that is told beside the result, and `tests/verdict/letter.rs` has the case.

use super::dmarc::{DmarcRecord, Psd, applicable, only_record, organizational_domain, tree_walk};
use super::second_opinion::{self, SecondOpinions, second_opinions};
use super::spf_walk::{Outcome, Questions, Sender, check_host};
use super::{Check, DkimFact, DmarcFact, DmarcFault, Facts, Identity, SpfFact, Verdict, judge};
use crate::clock;
use crate::dns::{Data, DnsFault, Kind, Resolver};
use crate::mail::author::{AuthorFault, addresses, foreign_author};
use crate::mail::{Domain, Headers, Host, ReversePath, Timestamp};
use crate::seal::DkimResult;
use crate::seal::arc::{ChainStatus, Validated};
use crate::seal::dkim::{Confirmed, ForeignSignature, KeyTexts, NoAnswer, SignatureFault};
use crate::seal::verified::{Verified, key_names, verified};
use std::collections::HashMap;
use std::net::IpAddr;

/// Whoever answers what a verdict depends on.
pub trait Dns: Questions {
    /// Whether a name exists, with whatever records (RFC 9989 §3.2.13).
    ///
    /// # Errors
    /// Nobody could say.
    fn exists(&self, name: &Domain) -> impl Future<Output = Result<bool, DnsFault>> + Send;
}

impl Dns for Resolver {
    async fn exists(&self, name: &Domain) -> Result<bool, DnsFault> {
        Self::exists(self, name).await
    }
}

/// A message as a receiver got it.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// All octets, CR LF line ends.
    pub message: &'a [u8],
    /// The argument of MAIL FROM.
    pub mail_from: &'a ReversePath,
    /// The argument of EHLO.
    pub helo: &'a str,
    /// Where the connection came from.
    pub client_ip: IpAddr,
    /// The sender counts as a bulk sender.
    pub bulk: bool,
}

/// What was found, and what it comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Examination {
    /// What was found.
    pub facts: Facts,
    /// What it comes to.
    pub verdict: Verdict,
    /// The ARC chain (RFC 8617 §5.2); it is no part of the verdict.
    pub arc: ArcFact,
    /// Where mail-auth differs; no part of the verdict either.
    pub second: SecondOpinions,
}

/// What is known of the SMTP dialogue that brought a message.
#[derive(Debug, Clone)]
pub enum Delivery {
    /// All that SPF asks for.
    Seen {
        /// The argument of MAIL FROM.
        mail_from: ReversePath,
        /// The argument of EHLO.
        helo: String,
        /// Where the connection came from.
        client_ip: IpAddr,
    },
    /// Not enough to check SPF, or a result that a trusted receiver wrote down when it did.
    Told(SpfFact),
}

/// Everything that can be found out about a message, whether it has an author or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// The domain of the one author, or why there is none.
    pub author: Result<Domain, ExamineFault>,
    /// SPF.
    pub spf: SpfFact,
    /// How SPF came to its result; `None` where it was told.
    pub spf_outcome: Option<Outcome>,
    /// One for each DKIM-Signature looked at, top to bottom.
    pub dkim: Vec<DkimFact>,
    /// What each of these fields says, in the same order, and what became of it.
    pub signatures: Vec<(ForeignSignature, Result<Confirmed, SignatureFault>)>,
    /// The ARC chain.
    pub arc: ArcFact,
    /// Where mail-auth differs on signatures and chain.
    pub second: SecondOpinions,
    /// The DMARC record of the author domain; `Missing` without an author.
    pub dmarc: DmarcFact,
    /// Organisational domains of the author and of every identifier.
    pub organizations: HashMap<Domain, Domain>,
}

/// The state of an ARC chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArcFact {
    /// `none`, `pass` or `fail`.
    pub result: Check,
    /// How many sets there are.
    pub sets: usize,
    /// Where and why it broke; empty when it did not.
    pub why: String,
    /// The DNS did not answer, which is a failure (RFC 8617 §5.2.1), but may be none later.
    pub unknown: bool,
    /// The oldest instance whose message signature still holds, 0 when all do; of a chain that passes only.
    pub oldest_pass: Option<u32>,
    /// `d=` of the seals, the first set first; where the structure of the chain is whole.
    pub sealers: Vec<String>,
}

/// Why there is nothing to judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExamineFault {
    /// The header cannot be read.
    #[error("not a message: {0}")]
    NotAMessage(String),
    /// DMARC needs one author domain (RFC 9989 §5.3.1).
    #[error("the message has {0} authors, not of one domain and in one From field; send one address in one field")]
    Authors(usize),
    /// The From field is no address.
    #[error("the From field cannot be read: {0}")]
    Author(AuthorFault),
    /// What is behind the `@` of the author is no domain.
    #[error("the author's address \"{0}\" has no domain name")]
    AuthorDomain(String),
}

/// Verifies SPF, DKIM, DMARC and ARC of a message, and judges it.
///
/// # Errors
/// The message has no single author with a domain. DNS trouble is no error but a result: `temperror`.
pub async fn examine(received: &Received<'_>, dns: &impl Dns) -> Result<Examination, ExamineFault> {
    let headers = Headers::parse(received.message).map_err(|fault| ExamineFault::NotAMessage(fault.to_string()))?;
    let delivery = Delivery::Seen { mail_from: received.mail_from.clone(), helo: received.helo.to_owned(), client_ip: received.client_ip };
    let found = look(received.message, &headers, &delivery, dns, clock::now()).await;
    let facts = found.facts(received.bulk)?;
    Ok(Examination { verdict: judge(&facts), facts, arc: found.arc, second: found.second })
}

/// Finds out all there is to find out about a message: at most [`SIGNATURES_MAX`] signatures are verified.
pub async fn look(message: &[u8], headers: &Headers<'_>, delivery: &Delivery, dns: &impl Dns, now: Timestamp) -> Findings {
    let author = author(headers);
    let (spf, spf_outcome) = match delivery {
        Delivery::Told(fact) => (fact.clone(), None),
        Delivery::Seen { mail_from, helo, client_ip } => spf(mail_from, helo, *client_ip, dns).await,
    };
    let keys = keys(headers, dns).await;
    let Verified { dkim: signatures, chain } = verified(message, headers, &keys, now, SIGNATURES_MAX);
    let second = second_opinions(message, &signatures, &chain, &keys).await;
    let dkim: Vec<DkimFact> = signatures.iter().map(dkim_fact).collect();
    let mut walker = Walker { dns, organizations: HashMap::new() };
    let dmarc = match &author {
        Ok(author) => walker.policy(author).await,
        Err(_) => DmarcFact::Missing,
    };
    for domain in dkim.iter().filter_map(|signature| signature.domain.as_ref()).chain(&spf.domain) {
        walker.organization(domain).await;
    }
    Findings { author, spf, spf_outcome, dkim, signatures, arc: arc_fact(chain), second, dmarc, organizations: walker.organizations }
}

impl Findings {
    /// What the verdict depends on.
    ///
    /// # Errors
    /// The message has no single author with a domain.
    pub fn facts(&self, bulk: bool) -> Result<Facts, ExamineFault> {
        Ok(Facts {
            author: self.author.clone()?,
            spf: self.spf.clone(),
            dkim: self.dkim.clone(),
            dmarc: self.dmarc.clone(),
            organizations: self.organizations.clone(),
            bulk,
        })
    }
}

/// The author domain. Several addresses of one domain name one author domain (RFC 9989 §5.3.1), though Gmail takes only one address.
fn author(headers: &Headers<'_>) -> Result<Domain, ExamineFault> {
    let author = match foreign_author(headers) {
        Ok(author) => author,
        Err(AuthorFault::Missing) => return Err(ExamineFault::Authors(0)),
        Err(AuthorFault::SeveralFields(count)) => return Err(ExamineFault::Authors(count)),
        Err(AuthorFault::SeveralAddresses(count)) => return one_domain(headers).ok_or(ExamineFault::Authors(count)),
        Err(other) => return Err(ExamineFault::Author(other)),
    };
    match author.mailbox.host {
        Host::Domain(domain) => Ok(domain),
        Host::Literal(_) => Err(ExamineFault::AuthorDomain(author.mailbox.to_string())),
    }
}

/// The domain that all addresses of From have in common.
fn one_domain(headers: &Headers<'_>) -> Option<Domain> {
    let authors = addresses(headers.named("From").next()?.value).ok()?;
    let first = authors.first()?.mailbox.domain()?.clone();
    authors.iter().all(|author| author.mailbox.domain() == Some(&first)).then_some(first)
}

/// One identity: that of MAIL FROM, or of HELO where it is null (RFC 7208 §2.4).
async fn spf(mail_from: &ReversePath, helo: &str, client_ip: IpAddr, dns: &impl Dns) -> (SpfFact, Option<Outcome>) {
    let (identity, local, checked) = match mail_from {
        ReversePath::Null => (Identity::Helo, "", helo.to_owned()),
        ReversePath::Mailbox(mailbox) => match mailbox.domain() {
            Some(domain) => (Identity::MailFrom, mailbox.local.as_str(), domain.to_string()),
            // RFC 7208 §4.3: an address literal has no record.
            None => return (SpfFact { result: Check::None, domain: None, identity: Identity::MailFrom }, None),
        },
    };
    let outcome = check_host(dns, client_ip, Sender { local, domain: &checked, helo }).await;
    let fact = SpfFact { result: outcome.result, domain: Domain::parse(&checked).ok(), identity };
    (fact, Some(outcome))
}

/// The key records that the signatures and the chain ask for, ours and mail-auth's reading of them.
async fn keys(headers: &Headers<'_>, dns: &impl Dns) -> KeyTexts {
    let mut keys = KeyTexts::new();
    let mut names = key_names(headers, SIGNATURES_MAX);
    names.extend(second_opinion::names(headers));
    for name in names {
        if keys.contains_key(&name) {
            continue;
        }
        let texts = texts(dns, name.as_str()).await.map_err(|_| NoAnswer);
        keys.insert(name, texts);
    }
    keys
}

fn dkim_fact((signature, outcome): &(ForeignSignature, Result<Confirmed, SignatureFault>)) -> DkimFact {
    DkimFact {
        result: outcome.as_ref().map_or_else(|fault| Check::from(fault.result()), |_| Check::Pass),
        domain: signature.domain.clone(),
        selector: signature.selector.clone(),
        algorithm: signature.algorithm.clone(),
        why: outcome.as_ref().err().map(ToString::to_string).unwrap_or_default(),
    }
}

impl From<DkimResult> for Check {
    fn from(result: DkimResult) -> Self {
        match result {
            DkimResult::Pass => Self::Pass,
            DkimResult::Fail => Self::Fail,
            DkimResult::Policy => Self::Policy,
            DkimResult::Neutral => Self::Neutral,
            DkimResult::TempError => Self::TempError,
            DkimResult::PermError => Self::PermError,
        }
    }
}

fn arc_fact(chain: Validated) -> ArcFact {
    let result = match chain.status {
        ChainStatus::None => Check::None,
        ChainStatus::Pass => Check::Pass,
        ChainStatus::Fail => Check::Fail,
    };
    ArcFact {
        result,
        sets: chain.chain.highest as usize,
        why: if result == Check::None { "there is no chain".to_owned() } else { chain.why },
        unknown: chain.unknown,
        oldest_pass: chain.oldest_pass,
        sealers: chain.sealers.into_iter().map(|domain| domain.map_or_else(|| "?".to_owned(), |domain| domain.to_string())).collect(),
    }
}

/// The TXT records of a name.
async fn texts(dns: &impl Dns, name: &str) -> Result<Vec<String>, DnsFault> {
    let found = dns.ask(name, Kind::Txt).await?;
    Ok(found.into_iter().filter_map(|data| if let Data::Txt(text) = data { Some(text) } else { None }).collect())
}

/// Walks the tree (RFC 9989 §4.10), each domain once.
struct Walker<'a, D> {
    dns: &'a D,
    organizations: HashMap<Domain, Domain>,
}

/// What a walk found.
struct Walk {
    found: Vec<(Domain, DmarcRecord)>,
    ignored: Option<(String, DmarcFault)>,
}

impl<D: Dns> Walker<'_, D> {
    /// The record that applies to the author domain.
    async fn policy(&mut self, author: &Domain) -> DmarcFact {
        let Ok(walk) = self.walk(author).await else { return DmarcFact::Unknown };
        self.organizations.insert(author.clone(), organizational_domain(author, &walk.found));
        if let Some((at, record)) = applicable(author, &walk.found).cloned() {
            let author_exists = record.np.is_none() || at == *author || self.exists(author).await;
            return DmarcFact::Record { record, at, author_exists };
        }
        walk.ignored.map_or(DmarcFact::Missing, |(text, fault)| DmarcFact::Ignored { text, fault })
    }

    /// Finds the organisational domain of an identifier. Where the DNS does not answer it is left out, and so its own.
    async fn organization(&mut self, domain: &Domain) {
        if self.organizations.contains_key(domain) {
            return;
        }
        if let Ok(walk) = self.walk(domain).await {
            self.organizations.insert(domain.clone(), organizational_domain(domain, &walk.found));
        }
    }

    async fn walk(&self, start: &Domain) -> Result<Walk, NoAnswer> {
        let mut walk = Walk { found: Vec::new(), ignored: None };
        for name in tree_walk(start) {
            match only_record(&self.texts(&format!("_dmarc.{name}")).await?) {
                Ok(Some(record)) => {
                    let ends = record.psd != Psd::Unknown;
                    walk.found.push((name, record));
                    if ends {
                        break;
                    }
                }
                Ok(None) => {}
                Err(ignored) => walk.ignored = walk.ignored.or(Some(ignored)),
            }
        }
        Ok(walk)
    }

    /// The TXT records at a name; none when the name cannot be (it is too long).
    async fn texts(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        if name.len() > NAME_OCTETS_MAX {
            return Ok(Vec::new());
        }
        texts(self.dns, name).await.map_err(|_| NoAnswer)
    }

    /// RFC 9989 §3.2.13: a name is taken not to exist only when the DNS says so.
    async fn exists(&self, domain: &Domain) -> bool {
        self.dns.exists(domain).await.unwrap_or(true)
    }
}

/// DKIM signatures that are verified, from the top; each may cost a DNS query.
pub const SIGNATURES_MAX: usize = 20;
/// RFC 1035 §3.1, written with dots, without the root's.
const NAME_OCTETS_MAX: usize = 253;
