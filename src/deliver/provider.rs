//! Who stands behind an MX name, and what that provider allows: the table of `config/shaping.toml`.
//!
//! Pure. What the limits do over time is [`super::shaping`].

use super::tls::TlsDemand;
use crate::mail::{EnhancedCode, RemoteReply};
use std::sync::Arc;
use std::time::Duration;

/// All providers that are known, and the limits of everybody else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Providers {
    pub(super) known: Vec<Arc<Provider>>,
    pub(super) other: Arc<Limits>,
}

/// A provider: hosts that share their limits and our standing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Provider {
    /// As logs name it.
    pub name: Arc<str>,
    /// Patterns of its MX names.
    pub mx: Vec<Pattern>,
    /// What it allows.
    pub limits: Arc<Limits>,
}

/// A host name, or `*.` and what it must end in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Box<str>);

/// What a provider, or a host without one, allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Connections to all its hosts together.
    pub connections_max: u32,
    /// Connections to one host.
    pub host_connections_max: u32,
    /// Messages sent over a connection before it is closed.
    pub messages_per_connection_max: u32,
    /// Recipients of a transaction.
    pub recipients_per_transaction_max: u32,
    /// Messages a second over all connections; `None`: no limit.
    pub messages_per_second_max: Option<std::num::NonZeroU32>,
    /// What is asked of TLS at least.
    pub tls: TlsDemand,
    /// It copes with an Ed25519 signature.
    pub ed25519: bool,
    /// A pause is doubled no further.
    pub pause_max: Duration,
    /// After a pause, how long good traffic takes to earn one more connection.
    pub growth: Duration,
    /// What its replies mean for our speed; the first that fits decides.
    pub rules: Vec<Rule>,
}

/// What a reply means for our speed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The basic code, if it matters.
    pub code: Option<u16>,
    /// The enhanced code, if it matters.
    pub enhanced: Option<EnhancedCode>,
    /// Words the text must contain, in lower case; empty: any.
    pub text: Box<str>,
    /// What to do.
    pub then: Reaction,
}

/// See [`Rule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reaction {
    /// Nothing: the reply concerns a recipient or a message.
    Ignore,
    /// Half as many connections.
    Fewer,
    /// A pause, then half as many connections.
    Slow {
        /// The first pause.
        pause: Duration,
    },
    /// A pause, then one connection.
    Restart {
        /// The first pause.
        pause: Duration,
    },
}

/// Where a connection goes, for all that is counted and remembered about speed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// As logs name the provider; `other` where nobody claims the host.
    pub provider: Arc<str>,
    /// What shares limits: the provider, or the host for itself.
    pub group: Arc<str>,
    /// The host.
    pub host: Arc<str>,
    /// What is allowed there.
    pub limits: Arc<Limits>,
}

impl Providers {
    /// The limits of everybody who is no known provider.
    #[must_use]
    pub fn other(&self) -> &Limits {
        &self.other
    }

    /// The names of those that are known.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.known.iter().map(|provider| &*provider.name)
    }

    /// The place of an MX host.
    #[must_use]
    pub fn place(&self, host: &str) -> Place {
        let host = host.to_ascii_lowercase();
        let known = self.known.iter().find(|provider| provider.mx.iter().any(|pattern| pattern.fits(&host)));
        let host: Arc<str> = host.into();
        match known {
            Some(provider) => Place { provider: provider.name.clone(), group: provider.name.clone(), host, limits: provider.limits.clone() },
            None => Place { provider: OTHER.into(), group: host.clone(), host, limits: self.other.clone() },
        }
    }
}

impl Place {
    /// The place of a smart host's host: the smart host is its own provider.
    #[must_use]
    pub fn of_smart_host(route: &str, host: &str, limits: &Arc<Limits>) -> Self {
        Self { provider: route.into(), group: format!("{route}/").into(), host: host.to_ascii_lowercase().into(), limits: limits.clone() }
    }
}

impl Pattern {
    /// Reads `*.example.com` or `mx.example.com`; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let rest = text.strip_prefix("*.").unwrap_or(&text);
        let is_name =
            !rest.is_empty() && rest.split('.').all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        is_name.then(|| Self(text.into()))
    }

    fn fits(&self, host: &str) -> bool {
        match self.0.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => *host == *self.0,
        }
    }
}

impl Limits {
    /// What a reply means for our speed. One that no rule knows means nothing, but for 421, which ends connections.
    #[must_use]
    pub fn reaction(&self, reply: &RemoteReply) -> Reaction {
        self.rules.iter().find(|rule| rule.fits(reply)).map_or(Reaction::Ignore, |rule| rule.then)
    }
}

impl Rule {
    fn fits(&self, reply: &RemoteReply) -> bool {
        self.code.is_none_or(|code| code == reply.code)
            && self.enhanced.is_none_or(|enhanced| reply.enhanced == Some(enhanced))
            && (self.text.is_empty() || reply.text().to_ascii_lowercase().contains(&*self.text))
    }
}

/// What logs call a host that no provider claims.
pub const OTHER: &str = "other";

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(code: u16, enhanced: &str, text: &str) -> RemoteReply {
        RemoteReply { code, enhanced: enhanced.parse().ok(), lines: vec![text.to_owned()] }
    }

    #[test]
    fn mx_names_lead_to_their_providers() {
        let providers = Providers::default();
        for (host, provider) in [
            ("gmail-smtp-in.l.google.com", "google"),
            ("ASPMX.L.Google.com", "google"),
            ("mta7.am0.yahoodns.net", "yahoo"),
            ("hotmail-com.olc.protection.outlook.com", "microsoft"),
            ("contoso-com.mail.protection.outlook.com", "microsoft365"),
            ("contoso-com.g-v1.mx.microsoft", "microsoft365"),
            ("mx01.mail.icloud.com", "apple"),
            ("mx.example.net", "other"),
            ("google.com.example.net", "other"),
            ("evilgoogle.com", "other"),
        ] {
            assert_eq!(&*providers.place(host).provider, provider, "{host}");
        }
        assert_eq!(providers.place("a.mail.protection.outlook.com").group, providers.place("b.mail.protection.outlook.com").group);
        assert_ne!(providers.place("mx.example.net").group, providers.place("mx.example.org").group);
    }

    #[test]
    fn the_large_providers_get_tls_and_no_ed25519() {
        let providers = Providers::default();
        for host in ["gmail-smtp-in.l.google.com", "mta5.am0.yahoodns.net", "x.olc.protection.outlook.com", "x.mail.protection.outlook.com"] {
            let limits = providers.place(host).limits;
            assert_eq!((limits.tls, limits.ed25519), (TlsDemand::Required, false), "{host}");
        }
        let limits = providers.place("mx.example.net").limits;
        assert_eq!((limits.tls, limits.ed25519), (TlsDemand::Opportunistic, true));
    }

    #[test]
    fn replies_mean_what_their_providers_say() {
        let providers = Providers::default();
        let (ten_minutes, one, five) = (Duration::from_mins(10), Duration::from_mins(1), Duration::from_mins(5));
        let google = "gmail-smtp-in.l.google.com";
        for (host, reply, reaction) in [
            (google, reply(421, "4.7.28", "unusual rate"), Reaction::Restart { pause: ten_minutes }),
            (google, reply(421, "4.7.27", "SPF did not pass"), Reaction::Ignore),
            (google, reply(421, "4.7.0", "try again later"), Reaction::Slow { pause: one }),
            (google, reply(450, "4.2.1", "receiving too fast"), Reaction::Ignore),
            ("mta5.am0.yahoodns.net", reply(421, "4.7.0", "[TSS04] Messages temporarily deferred"), Reaction::Slow { pause: ten_minutes }),
            ("x.olc.protection.outlook.com", reply(421, "", "RP-003 too many"), Reaction::Fewer),
            ("x.olc.protection.outlook.com", reply(421, "", "RP-001 rate"), Reaction::Slow { pause: five }),
            ("mx.example.net", reply(451, "4.7.1", "greylisted"), Reaction::Ignore),
            ("mx.example.net", reply(421, "", "bye"), Reaction::Slow { pause: one }),
            ("mx.example.net", reply(421, "4.4.2", "idle"), Reaction::Ignore),
            ("mx.example.net", reply(451, "4.3.2", "not now"), Reaction::Slow { pause: one }),
        ] {
            assert_eq!(providers.place(host).limits.reaction(&reply), reaction, "{host} {reply}");
        }
    }
}
