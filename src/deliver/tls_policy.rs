//! What is asked of TLS towards a host: the strongest demand that applies (RFC 3207, RFC 7435).
//!
//! Pure. DANE and MTA-STS would be two more demands to choose from.

use crate::mail::Domain;

use super::tls::TlsDemand;

/// What the operator asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsRules {
    /// Recipient domains, the names below them included, and what is asked of their hosts. The most specific name decides.
    pub domains: Vec<(Domain, TlsDemand)>,
}

impl TlsRules {
    /// The strongest of what the provider needs and what the operator asks for this recipient domain.
    #[must_use]
    pub fn demand(&self, recipients: Option<&Domain>, provider: TlsDemand) -> TlsDemand {
        self.rule(recipients).map_or(provider, |(_, demand)| (*demand).max(provider))
    }

    /// The operator's rule for this recipient domain.
    #[must_use]
    pub fn rule(&self, recipients: Option<&Domain>) -> Option<&(Domain, TlsDemand)> {
        let domain = recipients?;
        let fitting = self.domains.iter().filter(|(ancestor, _)| domain.is_at_or_below(ancestor));
        fitting.max_by_key(|(ancestor, _)| ancestor.as_str().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_strongest_demand_holds() {
        let domain = |text: &str| Domain::parse(text).unwrap();
        let rules = TlsRules {
            domains: vec![
                (domain("bank.example"), TlsDemand::Verified),
                (domain("lab.bank.example"), TlsDemand::None),
                (domain("old.example"), TlsDemand::None),
            ],
        };
        for (recipients, provider, demand) in [
            ("shop.example", TlsDemand::Opportunistic, TlsDemand::Opportunistic),
            ("shop.example", TlsDemand::Required, TlsDemand::Required),
            ("bank.example", TlsDemand::Opportunistic, TlsDemand::Verified),
            ("mail.bank.example", TlsDemand::Required, TlsDemand::Verified),
            ("lab.bank.example", TlsDemand::None, TlsDemand::None),
            ("old.example", TlsDemand::Required, TlsDemand::Required),
        ] {
            assert_eq!(rules.demand(Some(&domain(recipients)), provider), demand, "{recipients}");
        }
        assert_eq!(rules.demand(None, TlsDemand::Required), TlsDemand::Required);
    }
}
