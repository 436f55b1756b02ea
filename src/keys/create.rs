//! The first keys of a domain.

use super::selector::SelectorTemplate;
use super::{Algorithm, ChangeError, Key, Ledger, OpenLedger, State};
use crate::mail::{Domain, Timestamp};
use std::path::Path;

/// Makes one key of each kind given for a domain below `directory`, `created` or `active`, with `why` in their histories. None is
/// active before all are safe on disk.
///
/// # Errors
/// Nothing was overwritten; at worst a key `created` stays, and its selector is not used again.
pub fn create(
    directory: &Path,
    domain: &Domain,
    algorithms: &[Algorithm],
    template: &SelectorTemplate,
    (state, why): (State, &str),
    now: Timestamp,
) -> Result<Vec<Key>, ChangeError> {
    create_in(&mut Ledger::open_or_make(directory, domain)?, algorithms, template, (state, why), now)
}

/// As [`create`], by who holds the domain's lock already.
///
/// # Errors
/// As of [`create`].
pub fn create_in(
    ledger: &mut OpenLedger,
    algorithms: &[Algorithm],
    template: &SelectorTemplate,
    (state, why): (State, &str),
    now: Timestamp,
) -> Result<Vec<Key>, ChangeError> {
    let mut keys = algorithms.iter().map(|algorithm| ledger.create(*algorithm, template, why, now)).collect::<Result<Vec<_>, _>>()?;
    for key in &mut keys {
        ledger.advance(&key.id.selector, state, why, now)?;
        key.state = state;
    }
    Ok(keys)
}
