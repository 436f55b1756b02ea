//! The way of each recipient: by the most specific rule for its domain.

use super::{Part, RouteRule, Settings};
use crate::mail::{Mailbox, Recipient, RouteName, Stream};

/// The name of the route by MX records.
pub(super) const MX: &str = "mx";

/// The route of one recipient. Address literals take the default route.
#[must_use]
pub fn route<'a>(recipient: &Mailbox, settings: &'a Settings) -> &'a RouteName {
    rule(recipient, settings).map_or(&settings.default_route, |rule| &rule.route)
}

/// The rule that decides about a recipient's route; `None` where the default does.
#[must_use]
pub fn rule<'a>(recipient: &Mailbox, settings: &'a Settings) -> Option<&'a RouteRule> {
    let domain = recipient.domain()?;
    let matching = settings.routes.iter().rev().filter(|rule| rule.recipients.matches(domain)); // max_by_key takes the last of equals
    matching.max_by_key(|rule| rule.recipients.specificity())
}

/// The recipients by route, in order of first occurrence; what goes by MX leaves by the pool of its stream.
pub(super) fn parts(recipients: &[Recipient], stream: &Stream, settings: &Settings) -> Vec<Part> {
    let by_mx = |route: &RouteName| route.as_str() == MX;
    let mut parts: Vec<Part> = Vec::new();
    for recipient in recipients {
        let route = route(&recipient.mailbox, settings);
        let route = settings.pools.get(stream).filter(|_| by_mx(route)).unwrap_or(route);
        match parts.iter_mut().find(|part| part.route == *route) {
            Some(part) => part.recipients.push(recipient.clone()),
            None => parts.push(Part { route: route.clone(), recipients: vec![recipient.clone()] }),
        }
    }
    parts
}
