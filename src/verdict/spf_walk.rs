//! SPF in the DNS: `check_host()` for one message (RFC 7208 §4), and a walk through all that a record includes, with every
//! lookup counted. A shell: it asks, by [`Questions`]; how a record is read is [`spf`](super::spf)'s.
//!
//! [`check_host`] stops where a receiver stops. [`walk`] goes on, so that it can say how far over a limit a record is and by
//! which terms, and asks [`check_host`] whether the addresses that send are let in.

mod check;
mod walk;

pub use check::{Outcome, Sender, check_host};
pub use walk::{Cost, Covered, Page, Problem, Remarked, Walk, walk};

use crate::dns::{Data, DnsFault, Kind, Resolver};
use std::time::Duration;

/// Whoever answers questions to the DNS: a resolver, or a zone in memory.
pub trait Questions: Sync {
    /// The records of one type at a name, aliases followed; empty when there are none. The name is any that the DNS can hold,
    /// since macros make names of what clients say.
    ///
    /// # Errors
    /// Nobody could say.
    fn ask(&self, name: &str, kind: Kind) -> impl Future<Output = Result<Vec<Data>, DnsFault>> + Send;
}

impl Questions for Resolver {
    async fn ask(&self, name: &str, kind: Kind) -> Result<Vec<Data>, DnsFault> {
        self.resources_at(name, kind).await
    }
}

/// The TXT records of a name.
async fn texts(questions: &impl Questions, name: &str) -> Result<Vec<String>, DnsFault> {
    let found = questions.ask(name, Kind::Txt).await?;
    Ok(found.into_iter().filter_map(|data| if let Data::Txt(text) = data { Some(text) } else { None }).collect())
}

/// The hosts of an MX answer; a null MX is none of them.
fn mx_hosts(found: Vec<Data>) -> Vec<String> {
    let mut hosts: Vec<(u16, String)> = found
        .into_iter()
        .filter_map(|data| match data {
            Data::Mx { preference, host: Some(host) } => Some((preference, host.to_string())),
            _ => None,
        })
        .collect();
    hosts.sort();
    hosts.into_iter().map(|(_, host)| host).collect()
}

/// Terms that ask the DNS, for one message: more are a permerror (RFC 7208 §4.6.4).
pub const LOOKUPS_MAX: usize = 10;
/// Questions that find nothing, for one message: more are a permerror (RFC 7208 §4.6.4).
pub const VOIDS_MAX: usize = 2;
/// MX records of one `mx`: more are a permerror (RFC 7208 §4.6.4).
pub const MX_NAMES_MAX: usize = 10;
/// PTR records looked at; more are passed over (RFC 7208 §4.6.4).
pub const PTR_NAMES_MAX: usize = 10;
/// How long an evaluation may take altogether: above it, temperror (RFC 7208 §4.6.4 asks for 20 s at least).
pub const EVALUATION_MAX: Duration = Duration::from_secs(30);
