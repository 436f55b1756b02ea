//! The verdict: the nine cells with what lies over them, DMARC records, and whole messages with DNS on loopback.

mod cells;
mod dmarc;
mod form;
mod letter;
mod messages;
mod spf;
mod spf_walk;
mod zone;

use postseal::mail::Domain;

fn domain(text: &str) -> Domain {
    text.parse().unwrap()
}
