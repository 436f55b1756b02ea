//! The room *doctor*: what the world sees of a domain and of the relay that sends for it, and what the receivers demand of both.
//!
//! ```text
//! Subject ─▶ ask (shell: the resolver) ─▶ Facts ─▶ rules (pure, one file a family) ─▶ Finding … ─▶ Report ─▶ text, JSON
//! ```
//!
//! A rule is a row of data ([`Rule`]: who demands it, with which reply codes) and a pure function from facts to [`Finding`]s; to add
//! one, write both into a file of `rules/` and name it in [`examine`]. Nothing here knows the configuration: `cli/doctor.rs` makes
//! [`Subject`]s of it. The DNS that does not answer makes a finding [`Status::Unknown`], never a failure.
//!
//! It is a room of its own, not a part of *dns*, since it knows keys and the verdict, which the DNS does not.

pub mod ask;
pub mod connect;
pub mod facts;
pub mod report;
pub mod rule;
mod rules;

pub use facts::{CertificateFace, CertificateFacts, DomainFacts, ExpectedKey, Leaves, OurKey, RelayFacts, RelaySubject, Source, Subject, Use};
pub use report::{Kind, Part, Report, Tone};
pub use rule::{Code, Demand, Finding, Provider, Remedy, Rule, Status, When};
pub use rules::relay::is_public;
pub use rules::{all as all_rules, examine, examine_relay};
