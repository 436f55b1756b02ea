//! What mail-auth, the verifier in Stalwart and others, makes of the same signatures over the same DNS answers: where it differs from
//! *seal*'s own reading, an operator learns that receivers differ. It decides nothing. A shell, for mail-auth reads the clock by itself.
//!
//! In what mail-auth falls short of the standards is the table at the head of `seal/verified.rs`.

use super::{Check, examine::SIGNATURES_MAX};
use crate::mail::{Domain, Field, Headers};
use crate::seal::arc::{ChainStatus, Validated};
use crate::seal::dkim::{Confirmed, ForeignSignature, KeyTexts, NoAnswer, SignatureFault};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::dkim::DomainKey;
use mail_auth::dns::TxtRecordParser as _;
use mail_auth::hickory_resolver::config::{ResolverConfig, ResolverOpts};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::{AuthenticatedMessage, DkimOutput, DkimResult, DnsCache, DnsError, Error, MessageAuthenticator, NoCache, Parameters, ResolverCache, TxtRecord};
use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Another verifier's result that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecondOpinion {
    /// Its result, in the words of RFC 8601.
    pub result: Check,
    /// Why, in its own words; empty when it passes.
    pub why: String,
    /// The section that decides between the two.
    pub decides: &'static str,
}

/// Where mail-auth differs; `None` where it agrees, and where it could not be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecondOpinions {
    /// One place for each signature that was verified, in the same order.
    pub dkim: Vec<Option<SecondOpinion>>,
    /// Of the chain.
    pub arc: Option<SecondOpinion>,
}

/// What we found of a signature.
type Ours = (ForeignSignature, Result<Confirmed, SignatureFault>);

/// The names under which mail-auth looks for keys, as far as they can be guessed without verifying anything: more than the names that a
/// well formed signature has. At most `NAMES_MAX`.
#[must_use]
pub fn names(headers: &Headers<'_>) -> Vec<Domain> {
    let fields = SIGNATURE_FIELDS.iter().flat_map(|name| headers.named(name));
    let mut names: Vec<Domain> = fields.filter_map(|field| key_name(&field)).take(NAMES_MAX).collect();
    names.sort();
    names.dedup();
    names
}

/// Asks mail-auth. `keys` are the only DNS there is: a question that is not among them makes it none at all.
pub async fn second_opinions(message: &[u8], signatures: &[Ours], chain: &Validated, keys: &KeyTexts) -> SecondOpinions {
    let nothing = SecondOpinions { dkim: vec![None; signatures.len()], arc: None };
    // It takes names as they are, without RFC 8616, and as many signatures as there are.
    if signatures.len() >= SIGNATURES_MAX {
        return nothing;
    }
    let Some(parsed) = AuthenticatedMessage::parse(message) else { return nothing };
    let Ok(authenticator) = MessageAuthenticator::new(ResolverConfig::default(), ResolverOpts::default()) else { return nothing };
    let answers = Answers::of(keys);
    let outputs = authenticator.verify_dkim(Parameters::new(&parsed).with_cache(&answers)).await;
    let dkim = if answers.fell_short() { nothing.dkim } else { differing(&outputs, signatures) };
    let answers = Answers::of(keys);
    let output = authenticator.verify_arc(Parameters::new(&parsed).with_cache(&answers)).await;
    let (result, why) = read(output.result());
    let ours = match chain.status {
        ChainStatus::None => Check::None,
        ChainStatus::Pass => Check::Pass,
        ChainStatus::Fail => Check::Fail,
    };
    let differs = result != ours && !answers.fell_short() && !chain.unknown;
    SecondOpinions { dkim, arc: differs.then(|| SecondOpinion { result, why, decides: arc_section(ours) }) }
}

/// Finds the output for each of our signatures. Where mail-auth could not read a field it has none, or one that names no field.
fn differing(outputs: &[DkimOutput<'_>], signatures: &[Ours]) -> Vec<Option<SecondOpinion>> {
    let unread = outputs.iter().find(|output| output.signature().is_none());
    let opinion = |(ours, outcome): &Ours| {
        let same = |output: &&DkimOutput<'_>| {
            let theirs = output.signature();
            theirs.is_some_and(|theirs| {
                let b: String = BASE64.encode(&theirs.b).chars().take(ours.b.chars().count()).collect();
                b == ours.b && (ours.selector.is_empty() || theirs.s.eq_ignore_ascii_case(&ours.selector))
            })
        };
        let (result, why) = match outputs.iter().find(same) {
            // RFC 6541, which is an experiment, is not asked for.
            Some(output) if output.is_atps() => return None,
            Some(output) => read(output.result()),
            None => unread.map_or_else(|| (Check::Neutral, "the field cannot be read".to_owned()), |output| read(output.result())),
        };
        let check = outcome.as_ref().map_or_else(|fault| Check::from(fault.result()), |_| Check::Pass);
        (result != check).then(|| SecondOpinion { result, why, decides: dkim_section(ours, outcome) })
    };
    signatures.iter().map(opinion).collect()
}

fn read(result: &DkimResult) -> (Check, String) {
    match result {
        DkimResult::Pass => (Check::Pass, String::new()),
        DkimResult::None => (Check::None, String::new()),
        DkimResult::Fail(why) => (Check::Fail, why.to_string()),
        DkimResult::Neutral(why) => (Check::Neutral, why.to_string()),
        DkimResult::PermError(why) => (Check::PermError, why.to_string()),
        DkimResult::TempError(why) => (Check::TempError, why.to_string()),
    }
}

/// Which section makes our result the right one.
fn dkim_section(signature: &ForeignSignature, outcome: &Result<Confirmed, SignatureFault>) -> &'static str {
    match outcome {
        Err(fault) => fault.section(),
        Ok(_) if signature.length.is_some() => "RFC 6376 §3.5 (l=)",
        Ok(confirmed) if confirmed.several_keys => "RFC 6376 §6.1.2",
        Ok(_) if signature.names.iter().any(|name| name.eq_ignore_ascii_case("dkim-signature")) => "RFC 6376 §3.5 (h=)",
        Ok(_) => "RFC 6376 §6.1.3",
    }
}

const fn arc_section(ours: Check) -> &'static str {
    match ours {
        Check::None => "RFC 8617 §5.2 (step 1)",
        _ => "RFC 8617 §5.2",
    }
}

/// `s=` and `d=` of a field, whatever else is wrong with it; the last of each counts, as it does for mail-auth.
fn key_name(field: &Field<'_>) -> Option<Domain> {
    let text = std::str::from_utf8(field.value).ok()?;
    let tag = |wanted: &str| {
        let mut pairs = text.split(';').filter_map(|part| part.split_once('='));
        pairs.rfind(|(name, _)| name.trim() == wanted).map(|(_, value)| value.split_whitespace().collect::<String>())
    };
    Domain::parse(&format!("{}._domainkey.{}", tag("s")?, tag("d")?)).ok()
}

/// The DNS for mail-auth: what was found, and nothing more.
struct Answers {
    known: HashMap<Box<str>, TxtRecord>,
    missing: AtomicBool,
}

impl Answers {
    fn of(keys: &KeyTexts) -> Self {
        let mut known = HashMap::new();
        for (name, texts) in keys {
            // Records are tried in the order of the answer until one can be read, as mail-auth's own look-up does.
            let record = match texts {
                Err(NoAnswer) => TxtRecord::Error(Error::Dns(DnsError::Resolver("no answer".to_owned()))),
                Ok(texts) if texts.is_empty() => absent(),
                Ok(texts) => DomainKey::parse_records(&texts.iter().map(|text| text.clone().into_bytes()).collect::<Vec<_>>()).into(),
            };
            known.insert(format!("{name}.").into(), record);
            // Whom to report to (RFC 6651) is of no interest here.
            if let Some((_, domain)) = name.as_str().split_once("._domainkey.") {
                known.insert(format!("_report._domainkey.{domain}.").into(), absent());
            }
        }
        Self { known, missing: AtomicBool::new(false) }
    }

    /// It was asked for something it does not know.
    fn fell_short(&self) -> bool {
        self.missing.load(Ordering::Relaxed)
    }
}

fn absent() -> TxtRecord {
    TxtRecord::Error(Error::Dns(DnsError::RecordNotFound(ResponseCode::NXDomain)))
}

impl ResolverCache<Box<str>, TxtRecord> for Answers {
    fn get<Q: Hash + Eq + ?Sized>(&self, name: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
    {
        // Never `None`, for then it would ask the world.
        Some(self.known.get(name).cloned().unwrap_or_else(|| {
            self.missing.store(true, Ordering::Relaxed);
            absent()
        }))
    }

    fn remove<Q: Hash + Eq + ?Sized>(&self, _: &Q) -> Option<TxtRecord>
    where
        Box<str>: Borrow<Q>,
    {
        None
    }

    fn insert(&self, _: Box<str>, _: TxtRecord, _: Instant) {}
}

impl DnsCache for Answers {
    type Txt = Self;
    type Mx = NoCache;
    type Ipv4 = NoCache;
    type Ipv6 = NoCache;
    type Ptr = NoCache;

    fn txt(&self) -> Option<&Self> {
        Some(self)
    }

    fn mx(&self) -> Option<&NoCache> {
        None
    }

    fn ipv4(&self) -> Option<&NoCache> {
        None
    }

    fn ipv6(&self) -> Option<&NoCache> {
        None
    }

    fn ptr(&self) -> Option<&NoCache> {
        None
    }
}

const SIGNATURE_FIELDS: [&str; 3] = ["DKIM-Signature", "ARC-Message-Signature", "ARC-Seal"];
/// Key names looked up for mail-auth; a chain of 50 sets names at most 100.
const NAMES_MAX: usize = 120;
