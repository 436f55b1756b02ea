//! Publishing by hand: what somebody is to paste where. Whether it was done is asked of the DNS.

use super::{Change, Done, Edit, Publish, PublishFault, Seen};
use crate::dns::resolver::Resolver;
use crate::dns::resource::{Data, Kind, Owner};
use crate::mail::Domain;
use std::fmt::Write as _;
use std::sync::Arc;

/// Writes nothing itself.
pub struct Manual {
    resolver: Arc<Resolver>,
}

impl Manual {
    /// A publisher that asks this resolver what is there.
    #[must_use]
    pub const fn new(resolver: Arc<Resolver>) -> Self {
        Self { resolver }
    }
}

impl Publish for Manual {
    /// The name itself: where zones are cut matters to who writes them.
    async fn zone_of(&self, name: &Domain) -> Result<Domain, PublishFault> {
        Ok(name.clone())
    }

    /// Aliases are followed, as a verifier does: at the end of them is what counts.
    async fn look(&self, owner: &Owner, kind: Kind) -> Result<Seen, PublishFault> {
        let name = if owner.wildcard { owner.name.below(ANY_LABEL).unwrap_or_else(|_| owner.name.clone()) } else { owner.name.clone() };
        Ok(Seen { data: self.resolver.resources(&name, kind).await?, ttl: None, alias: None })
    }

    async fn publish(&self, change: &Change) -> Result<Done, PublishFault> {
        Ok(if change.is_nothing() { Done::Already } else { Done::ByHand })
    }
}

/// What to do, for a person: one paragraph a record, as a provider's web form asks for it and as a zone file has it.
#[must_use]
pub fn instructions(change: &Change) -> String {
    let mut text = String::new();
    for edit in change.edits.iter().filter(|edit| !edit.is_nothing()) {
        for data in edit.removed() {
            paragraph(&mut text, "remove", edit, data);
        }
        for data in edit.added() {
            paragraph(&mut text, "add", edit, data);
        }
    }
    text
}

fn paragraph(text: &mut String, verb: &str, edit: &Edit, data: &Data) {
    let value = match data {
        Data::Txt(value) => value.clone(),
        other => other.zone_text().trim_end_matches('.').to_owned(),
    };
    let (owner, kind, ttl) = (&edit.owner, edit.kind, edit.ttl.as_secs());
    let _ = writeln!(text, "{verb} a {kind} record\n  name   {owner}\n  value  {value}\n  TTL    {ttl} s"); // a String takes all
    let _ = writeln!(text, "  in a zone file: {owner}. {ttl} IN {kind} {}\n", data.zone_text());
}

/// A name that a wildcard stands for, and that nobody has.
pub const ANY_LABEL: &str = "postseal-asks-for-any-name";
