//! What each client address has done of late: refused recipients, messages. Pure: the time is an argument.

use super::settings::Sources as Limits;
use crate::mail::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// Client addresses, counted.
#[derive(Debug, Default)]
pub struct Sources {
    by_address: HashMap<IpAddr, Count>,
    /// Oldest first; every address of `by_address` once.
    order: VecDeque<IpAddr>,
}

#[derive(Debug)]
struct Count {
    refused: u32,
    since: Timestamp,
    messages: u32,
    minute: Timestamp,
}

impl Sources {
    /// Whether an address may go on asking for recipients: it was refused no more than it may be.
    #[must_use]
    pub fn is_welcome(&self, address: IpAddr, limits: &Limits, now: Timestamp) -> bool {
        let count = self.by_address.get(&neighbourhood(address));
        count.is_none_or(|count| count.refused < limits.refused_max || now.since(count.since) >= limits.window)
    }

    /// A recipient was refused.
    pub fn refused(&mut self, address: IpAddr, limits: &Limits, now: Timestamp) {
        let count = self.count(address, limits, now);
        if now.since(count.since) >= limits.window {
            (count.refused, count.since) = (0, now);
        }
        count.refused = count.refused.saturating_add(1);
    }

    /// A message begins; whether it may.
    #[must_use]
    pub fn begins(&mut self, address: IpAddr, limits: &Limits, now: Timestamp) -> bool {
        let count = self.count(address, limits, now);
        if now.since(count.minute) >= MINUTE {
            (count.messages, count.minute) = (0, now);
        }
        count.messages = count.messages.saturating_add(1);
        count.messages <= limits.messages_per_minute
    }

    fn count(&mut self, address: IpAddr, limits: &Limits, now: Timestamp) -> &mut Count {
        let address = neighbourhood(address);
        if !self.by_address.contains_key(&address) {
            while self.order.len() >= limits.count_max.max(1) {
                if let Some(oldest) = self.order.pop_front() {
                    self.by_address.remove(&oldest);
                }
            }
            self.order.push_back(address);
        }
        self.by_address.entry(address).or_insert(Count { refused: 0, since: now, messages: 0, minute: now })
    }
}

/// A client's addresses: one of IPv4, a /64 of IPv6, which a single host has for itself.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

const MINUTE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { refused_max: 3, window: Duration::from_mins(10), messages_per_minute: 2, count_max: 2 };

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1_800_000_000 + seconds)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn who_asks_for_nobody_too_often_is_not_let_in_until_the_window_ends() {
        let mut sources = Sources::default();
        for seconds in 0..3 {
            assert!(sources.is_welcome(address("2001:db8::1"), &LIMITS, at(seconds)));
            sources.refused(address("2001:db8::2"), &LIMITS, at(seconds));
        }
        assert!(!sources.is_welcome(address("2001:db8::3"), &LIMITS, at(599)), "a /64 is one");
        assert!(sources.is_welcome(address("2001:db8:0:1::1"), &LIMITS, at(599)));
        assert!(sources.is_welcome(address("2001:db8::1"), &LIMITS, at(600)));
        sources.refused(address("2001:db8::1"), &LIMITS, at(600));
        assert!(sources.is_welcome(address("2001:db8::1"), &LIMITS, at(600)), "it begins anew");
    }

    #[test]
    fn messages_are_counted_by_the_minute() {
        let mut sources = Sources::default();
        let begun: Vec<bool> = [0, 1, 2, 59, 60, 61, 62].iter().map(|seconds| sources.begins(address("192.0.2.1"), &LIMITS, at(*seconds))).collect();
        assert_eq!(begun, [true, true, false, false, true, true, false]);
    }

    #[test]
    fn no_more_addresses_are_remembered_than_may_be() {
        let mut sources = Sources::default();
        for last in 1..=9 {
            sources.refused(address(&format!("192.0.2.{last}")), &LIMITS, at(0));
        }
        assert_eq!((sources.by_address.len(), sources.order.len()), (2, 2));
    }
}
