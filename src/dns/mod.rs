//! The room *dns*: what other rooms ask of the domain name system.
//!
//! It answers with facts and says when there is no answer; what follows from either is decided by who asked. A [`Resolver`] asks
//! the configured name servers, an [`Authority`] every server of a zone by itself. [`records`] are what a domain should say,
//! [`diff`] what it says instead, [`publish`] writes them.

pub mod authority;
pub mod diff;
mod exchange;
pub mod formats;
pub mod publish;
pub mod records;
pub mod reply;
pub mod resolver;
pub mod resource;
pub mod sighting;

pub use authority::Authority;
pub use resolver::{Addresses, Ask, DnsFault, MxAnswer, MxHost, Resolver, Settings, TlsaAnswer, Zone, client, reverse_name};
pub use resource::{Data, Kind, Owner, Resource};
pub use sighting::{Answer, Hop, Observation, Server, Showing, Shown, Sighting};
