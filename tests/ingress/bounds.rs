//! What EHLO says of sizes and recipients: the listener's bounds, and the identity's once the client is known.

use super::world::{World, peer};
use postseal::mail::IdentityName;
use postseal::smtp::server::Bounds;
use postseal::smtp::settings::Settings;

fn told(known: bool, bounds: Bounds) -> (String, String) {
    let identities = [(IdentityName::new("app"), bounds)].into();
    let settings = Settings { hostname: "relay.example".into(), message_octets_max: 5000, recipients_max: 200, identities, ..Settings::default() };
    let mut world = World::new(settings, peer(known));
    world.client_sends(b"EHLO app.example\r\n");
    let said = |start: &str| world.said.iter().find_map(|line| Some(line.get(4..)?.strip_prefix(start)?.to_owned())).unwrap();
    (said("SIZE "), said("LIMITS "))
}

#[test]
fn a_client_that_is_known_hears_its_own_bounds_where_they_are_less() {
    let small = Bounds { message_octets_max: 1000, recipients_max: 100 };
    let large = Bounds { message_octets_max: 9000, recipients_max: 900 };
    for (known, bounds, size, recipients) in [(true, small, "1000", "RCPTMAX=100"), (true, large, "5000", "RCPTMAX=200"), (false, small, "5000", "RCPTMAX=200")]
    {
        assert_eq!(told(known, bounds), (size.to_owned(), recipients.to_owned()), "{known} {bounds:?}");
    }
}
