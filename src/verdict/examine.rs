//! Finds the facts of a received message in the DNS. A shell: it asks a resolver, through mail-auth and for `_dmarc` by itself.
//!
//! mail-auth verifies; where it is more lenient than the receivers that count, its results are corrected where *seal* corrects them,
//! when it examines what it is to seal ([`judged`], [`Chain`]). DMARC records are read by our own parser, which is strict about
//! semicolons; at most [`SIGNATURES_MAX`] signatures are looked at.

use super::dmarc::{DmarcRecord, Psd, applicable, only_record, organizational_domain, tree_walk};
use super::{Check, DkimFact, DmarcFact, DmarcFault, Facts, Identity, SpfFact, Verdict, judge};
use crate::mail::{Domain, Headers, ReversePath};
use crate::seal::DkimResult;
use crate::seal::arc::Chain;
use crate::seal::dkim::verify::judged;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use mail_auth::dkim::DkimError;
use mail_auth::spf::verify::SpfParameters;
use mail_auth::{ArcResult, AuthenticatedMessage, DkimOutput, DnsError, Error, MessageAuthenticator, NoCache, SpfResult};
use std::collections::HashMap;
use std::net::IpAddr;

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
}

/// The state of an ARC chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArcFact {
    /// `none`, `pass` or `fail`; `temperror` when the DNS did not answer.
    pub result: Check,
    /// How many sets there are.
    pub sets: usize,
    /// Why it does not pass; empty when it does.
    pub why: String,
}

/// Why there is nothing to judge.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExamineFault {
    /// The header cannot be read.
    #[error("not a message: {0}")]
    NotAMessage(String),
    /// DMARC needs one author (RFC 9989 §5.3.1).
    #[error("the message has {0} authors in its From field; expected one address in one field")]
    Authors(usize),
    /// What is behind the `@` of the author is no domain.
    #[error("the author's address \"{0}\" has no domain name")]
    AuthorDomain(String),
}

/// Verifies SPF, DKIM, DMARC and ARC of a message, and judges it.
///
/// # Errors
/// The message has no single author with a domain. DNS trouble is no error but a result: `temperror`.
pub async fn examine(received: &Received<'_>, authenticator: &MessageAuthenticator) -> Result<Examination, ExamineFault> {
    let headers = Headers::parse(received.message).map_err(|fault| ExamineFault::NotAMessage(fault.to_string()))?;
    let mut message = AuthenticatedMessage::parse(received.message).ok_or_else(|| ExamineFault::NotAMessage("it has no header".into()))?;
    let author = author(&headers, &message)?;
    let mut looked_at = 0;
    message.retain_dkim_signatures(|_| {
        looked_at += 1; // "unsupported" is the nearest that mail-auth has to "not looked at"
        if looked_at > SIGNATURES_MAX { Err(DkimError::UnsupportedVersion) } else { Ok(()) }
    });
    let spf = spf(received, authenticator).await;
    let dkim = dkim(&headers, &message, authenticator).await;
    let mut walker = Walker { authenticator, organizations: HashMap::new() };
    let dmarc = walker.policy(&author).await;
    let identifiers = dkim.iter().filter(|signature| signature.result == Check::Pass).filter_map(|signature| signature.domain.as_ref());
    for domain in identifiers.chain(spf.domain.as_ref().filter(|_| spf.result == Check::Pass)) {
        walker.organization(domain).await;
    }
    let facts = Facts { author, spf, dkim, dmarc, organizations: walker.organizations, bulk: received.bulk };
    Ok(Examination { verdict: judge(&facts), facts, arc: arc(&headers, &message, authenticator).await })
}

fn author(headers: &Headers<'_>, message: &AuthenticatedMessage<'_>) -> Result<Domain, ExamineFault> {
    let fields = headers.named("From").count();
    let [address] = message.from_addresses() else { return Err(ExamineFault::Authors(message.from_addresses().len())) };
    if fields != 1 {
        return Err(ExamineFault::Authors(fields));
    }
    let fault = || ExamineFault::AuthorDomain(address.clone());
    Domain::parse(address.rsplit_once('@').ok_or_else(fault)?.1).map_err(|_| fault())
}

/// One identity: that of MAIL FROM, or of HELO where it is null (RFC 7208 §2.4).
async fn spf(received: &Received<'_>, authenticator: &MessageAuthenticator) -> SpfFact {
    let (ip, helo) = (received.client_ip, received.helo);
    let (identity, domain, output) = match received.mail_from {
        ReversePath::Null => (Identity::Helo, Domain::parse(helo).ok(), authenticator.verify_spf(SpfParameters::helo(ip, helo, HOST)).await),
        ReversePath::Mailbox(mailbox) => {
            let sender = mailbox.to_string();
            let output = authenticator.verify_spf(SpfParameters::mail_from(ip, helo, HOST, &sender)).await;
            (Identity::MailFrom, mailbox.domain().cloned(), output)
        }
    };
    let result = match output.result() {
        SpfResult::Pass => Check::Pass,
        SpfResult::Fail => Check::Fail,
        SpfResult::SoftFail => Check::SoftFail,
        SpfResult::Neutral => Check::Neutral,
        SpfResult::None => Check::None,
        SpfResult::TempError => Check::TempError,
        SpfResult::PermError => Check::PermError,
    };
    SpfFact { result, domain, identity }
}

/// A fact for every DKIM-Signature there is, whether mail-auth could read it or not.
async fn dkim(headers: &Headers<'_>, message: &AuthenticatedMessage<'_>, authenticator: &MessageAuthenticator) -> Vec<DkimFact> {
    let outputs = authenticator.verify_dkim(message).await;
    let mut facts: Vec<DkimFact> = outputs.iter().filter_map(dkim_fact).collect();
    let unread = headers.named("DKIM-Signature").count().saturating_sub(facts.len());
    let why = "the field cannot be read".to_owned();
    facts.extend(std::iter::repeat_n(DkimFact { result: Check::PermError, domain: None, selector: String::new(), algorithm: String::new(), why }, unread));
    facts
}

fn dkim_fact(output: &DkimOutput<'_>) -> Option<DkimFact> {
    let signature = output.signature()?;
    let (result, why) = judged(signature, output.result());
    Some(DkimFact {
        result: Check::from(result),
        domain: Domain::parse(&signature.d).ok(),
        selector: signature.s.clone(),
        algorithm: signature.a.name().to_owned(),
        why: why.unwrap_or_default(),
    })
}

impl From<DkimResult> for Check {
    fn from(result: DkimResult) -> Self {
        match result {
            DkimResult::Pass => Self::Pass,
            DkimResult::Fail => Self::Fail,
            DkimResult::Neutral => Self::Neutral,
            DkimResult::TempError => Self::TempError,
            DkimResult::PermError | DkimResult::Policy => Self::PermError,
        }
    }
}

async fn arc(headers: &Headers<'_>, message: &AuthenticatedMessage<'_>, authenticator: &MessageAuthenticator) -> ArcFact {
    let chain = Chain::read(headers);
    let (result, why) = match (chain.exists, chain.fault) {
        (false, _) => (Check::None, "there is no chain".to_owned()),
        (true, Some(fault)) => (Check::Fail, fault.to_string()),
        (true, None) => match authenticator.verify_arc(message).await.result() {
            ArcResult::Pass => (Check::Pass, String::new()),
            ArcResult::None => (Check::Fail, "the chain cannot be read".to_owned()),
            ArcResult::TempError(fault) => (Check::TempError, fault.to_string()),
            ArcResult::Neutral(fault) | ArcResult::Fail(fault) | ArcResult::PermError(fault) => (Check::Fail, fault.to_string()),
        },
    };
    ArcFact { result, sets: message.arc_seals().len(), why }
}

/// Walks the tree (RFC 9989 §4.10), each domain once.
struct Walker<'a> {
    authenticator: &'a MessageAuthenticator,
    organizations: HashMap<Domain, Domain>,
}

/// What a walk found.
struct Walk {
    found: Vec<(Domain, DmarcRecord)>,
    ignored: Option<(String, DmarcFault)>,
}

/// The DNS did not answer.
struct NoAnswer;

impl Walker<'_> {
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
            match only_record(&self.texts(&format!("_dmarc.{name}.")).await?) {
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

    /// The TXT records at a name, the strings of each joined; none when the name cannot be (it is too long).
    async fn texts(&self, name: &str) -> Result<Vec<String>, NoAnswer> {
        if name.len() > NAME_OCTETS_MAX {
            return Ok(Vec::new());
        }
        let lookup = match self.authenticator.resolver().txt_lookup(name).await {
            Ok(lookup) => lookup,
            Err(none) if none.is_no_records_found() => return Ok(Vec::new()),
            Err(_) => return Err(NoAnswer),
        };
        let texts = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.collect())
    }

    /// RFC 9989 §3.2.13: a name is taken not to exist only when the DNS says so.
    async fn exists(&self, domain: &Domain) -> bool {
        let answer = self.authenticator.ipv4_lookup(format!("{domain}."), None::<&NoCache>).await;
        !matches!(answer, Err(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain))))
    }
}

/// What the macro `%{r}` of SPF explanations becomes (RFC 7208 §7.3).
const HOST: &str = "unknown";
/// DKIM signatures that are verified, from the top; each may cost a DNS query.
pub const SIGNATURES_MAX: usize = 20;
/// RFC 1035 §3.1, written with dots and the root's.
const NAME_OCTETS_MAX: usize = 254;
