//! The room *dns*: what other rooms ask of the domain name system.
//!
//! It answers with facts and says when there is no answer; what follows from either is decided by who asked.

pub mod resolver;
pub mod resource;
pub mod sighting;

pub use resolver::{Addresses, DnsFault, MxAnswer, MxHost, Resolver, Settings, authenticator, reverse_name};
pub use resource::{Data, Kind, Owner, Resource};
pub use sighting::{Answer, Hop, Observation, Sighting};
