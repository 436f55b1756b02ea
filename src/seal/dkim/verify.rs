//! Asks the DNS for the keys of the signatures a message came with, and says what became of them. A shell.
//!
//! What a signature is worth is decided in `foreign` and `arc::validate`, to the letter of the standards. One thing is added here, where
//! others will rely on what is said: a signature that leaves the end of the body open (`l=`) is no pass (RFC 6376 §8.2).

use crate::mail::{Domain, Headers, Timestamp};
use crate::seal::arc::ChainStatus;
use crate::seal::dkim::foreign::{KeyTexts, NoAnswer};
use crate::seal::examined::{ChainFact, DkimFact, DkimResult, Examined};
use crate::seal::verified::{Verified, key_names, verified};
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RData;
use std::future::Future;

/// Where key records are.
pub trait KeySource {
    /// The TXT records at a name, the strings of each joined; none when there is nothing.
    fn texts(&self, name: &Domain) -> impl Future<Output = Result<Vec<String>, NoAnswer>> + Send;
}

impl KeySource for TokioResolver {
    async fn texts(&self, name: &Domain) -> Result<Vec<String>, NoAnswer> {
        let lookup = match self.txt_lookup(format!("{name}.")).await {
            Ok(lookup) => lookup,
            Err(error) if is_nothing(&error) => return Ok(Vec::new()),
            Err(_) => return Err(NoAnswer),
        };
        let texts = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::TXT(txt) => Some(String::from_utf8_lossy(&txt.txt_data.concat()).into_owned()),
            _ => None,
        });
        Ok(texts.collect())
    }
}

/// Verifies the DKIM signatures and the ARC chain of a message. At most [`SIGNATURES_MAX`] signatures are verified, the topmost of
/// those that can be read; a chain has at most 50 sets. Bounded in time only by the resolver: set a limit around it.
///
/// # Cancel safety
/// Nothing is kept.
pub async fn examine<K: KeySource>(message: &[u8], source: &K, now: Timestamp) -> Examined {
    let Ok(headers) = Headers::parse(message) else { return Examined::default() };
    let keys = fetched(source, key_names(&headers, SIGNATURES_MAX)).await;
    let Verified { dkim, chain } = verified(message, &headers, &keys, now, SIGNATURES_MAX);
    let dkim = dkim.into_iter().map(|(signature, outcome)| {
        let (result, reason) = match outcome {
            Ok(_) if signature.length.is_some() => (DkimResult::Neutral, Some("its l= leaves the end of the body open".to_owned())),
            Ok(_) => (DkimResult::Pass, None),
            Err(fault) => (fault.result(), Some(fault.to_string())),
        };
        let domain = signature.domain.map(|domain| domain.to_string()).unwrap_or_default();
        DkimFact { domain, selector: signature.selector, b: signature.b, result, reason }
    });
    let whole = chain.chain.exists && chain.chain.fault.is_none();
    let status = if chain.chain.exists { chain.status } else { ChainStatus::None };
    Examined { dkim: dkim.collect(), chain: ChainFact { highest: chain.chain.highest, status, whole, ended: chain.chain.ended, unknown: chain.unknown } }
}

/// The records at these names.
pub async fn fetched<K: KeySource>(source: &K, names: Vec<Domain>) -> KeyTexts {
    let mut keys = KeyTexts::new();
    for name in names {
        let texts = source.texts(&name).await;
        keys.insert(name, texts);
    }
    keys
}

/// "There is none" is an answer when a server gave it; SERVFAIL and REFUSED are none.
pub(crate) fn is_nothing(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::NoRecordsFound(none)) if matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError))
}

/// DKIM signatures of one message that are looked at; each may cost a DNS query and an RSA operation.
pub const SIGNATURES_MAX: usize = 10;
