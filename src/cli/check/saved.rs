//! What a saved message tells of the dialogue that brought it: Return-Path, Received, Received-SPF, Authentication-Results. Pure.
//!
//! Anybody can write these fields. Believed is what a trusted host wrote: the topmost Received that names it behind `by` and a client
//! before, and what stands above the next Received. Gmail's "show original" reads well with `--trust mx.google.com`.

use crate::mail::{Domain, Headers, Mailbox, ReversePath};
use crate::seal::results::{MethodResult, Results};
use crate::verdict::{Check, Delivery, Identity, SpfFact};
use std::net::IpAddr;

/// A value, and where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told<T> {
    /// The value.
    pub value: T,
    /// In words: `Return-Path`, `--client-ip` …
    pub source: String,
}

/// All that is known of how a message came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The argument of MAIL FROM.
    pub mail_from: Option<Told<ReversePath>>,
    /// Where the connection came from.
    pub client_ip: Option<Told<IpAddr>>,
    /// The name given in EHLO.
    pub helo: Option<Told<String>>,
    /// What trusted hosts wrote into Authentication-Results: the host, and its results.
    pub results: Vec<(String, Vec<MethodResult>)>,
    /// What was looked for in vain, and how to help.
    pub missing: Vec<String>,
}

/// What was typed.
#[derive(Debug, Clone, Default)]
pub struct Typed {
    /// `--mail-from`.
    pub mail_from: Option<ReversePath>,
    /// `--client-ip`.
    pub client_ip: Option<IpAddr>,
    /// `--helo`.
    pub helo: Option<String>,
}

/// Finds out; what was typed counts more than what the message says.
#[must_use]
pub fn origin(headers: &Headers<'_>, trusted: &[String], typed: Typed) -> Origin {
    let is_trusted = |host: &str| trusted.iter().any(|id| id.eq_ignore_ascii_case(host.trim_end_matches('.')));
    let fields: Vec<(&str, String)> = headers.iter().map(|field| (field.name, field.unfolded())).collect();
    let is = |name: &str, wanted: &str| name.eq_ignore_ascii_case(wanted);
    let hops: Vec<(usize, Hop)> =
        fields.iter().enumerate().filter(|(_, (name, _))| is(name, "Received")).map(|(at, (_, value))| (at, Hop::read(value))).collect();
    let trusted_hop = hops.iter().find(|(_, hop)| hop.by.as_deref().is_some_and(is_trusted) && hop.address.is_some());
    // What the trusted host wrote stands above the Received of the hop before it.
    let end = trusted_hop.map(|(at, _)| hops.iter().map(|(place, _)| *place).find(|place| place > at).unwrap_or(fields.len()));
    let region = &fields[..end.unwrap_or(fields.len())];

    let flag = |name: &str| name.to_owned();
    let mut origin = Origin {
        mail_from: typed.mail_from.map(|value| Told { value, source: flag("--mail-from") }),
        client_ip: typed.client_ip.map(|value| Told { value, source: flag("--client-ip") }),
        helo: typed.helo.map(|value| Told { value, source: flag("--helo") }),
        ..Origin::default()
    };
    for (_, value) in region.iter().filter(|(name, _)| is(name, "Authentication-Results")) {
        if let Ok(results) = Results::parse(value.as_bytes())
            && is_trusted(&results.authserv_id)
        {
            origin.results.push((results.authserv_id, results.results));
        }
    }
    if origin.mail_from.is_none() {
        let mut paths = region.iter().filter(|(name, _)| is(name, "Return-Path"));
        origin.mail_from = paths.find_map(|(_, value)| reverse_path(value)).map(|value| Told { value, source: "Return-Path".to_owned() });
    }
    if let Some((_, hop)) = trusted_hop {
        let source = format!("Received by {}", hop.by.as_deref().unwrap_or("?"));
        if origin.client_ip.is_none() {
            origin.client_ip = hop.address.map(|value| Told { value, source: source.clone() });
        }
        if origin.helo.is_none() {
            origin.helo = hop.helo.clone().map(|value| Told { value, source });
        }
        if origin.client_ip.is_none() {
            let spf = region.iter().find(|(name, _)| is(name, "Received-SPF"));
            origin.client_ip = spf.and_then(|(_, value)| client_ip(value)).map(|value| Told { value, source: "Received-SPF".to_owned() });
        }
    }
    let by: Vec<&str> = hops.iter().filter(|(_, hop)| hop.address.is_some()).filter_map(|(_, hop)| hop.by.as_deref()).take(1).collect();
    origin.note_missing(trusted, &by);
    origin
}

impl Origin {
    /// What SPF can be checked with; else what a trusted host said it was; else that nothing is known.
    #[must_use]
    pub fn delivery(&self) -> Delivery {
        if let (Some(mail_from), Some(client_ip)) = (&self.mail_from, &self.client_ip) {
            let helo = self.helo.as_ref().map(|helo| helo.value.clone()).unwrap_or_default();
            return Delivery::Seen { mail_from: mail_from.value.clone(), helo, client_ip: client_ip.value };
        }
        let told = self.told_spf().map(|(_, fact)| fact);
        let unknown = || {
            let domain = self.mail_from.as_ref().and_then(|told| told.value.mailbox()).and_then(|mailbox| mailbox.domain().cloned());
            SpfFact { result: Check::None, domain, identity: Identity::MailFrom }
        };
        Delivery::Told(told.unwrap_or_else(unknown))
    }

    /// Whether SPF is known at all: checked here, or by a host that is trusted.
    #[must_use]
    pub fn knows_spf(&self) -> bool {
        (self.mail_from.is_some() && self.client_ip.is_some()) || self.told_spf().is_some()
    }

    /// The SPF result of a trusted host, and which.
    #[must_use]
    pub fn told_spf(&self) -> Option<(&str, SpfFact)> {
        self.results.iter().find_map(|(host, results)| {
            let spf = results.iter().find(|result| result.method.eq_ignore_ascii_case("spf"))?;
            let property = |name: &str| spf.properties.iter().find(|property| property.name.eq_ignore_ascii_case(name)).map(|property| property.value.as_str());
            let (value, identity) = property("mailfrom").map(|value| (value, Identity::MailFrom)).or_else(|| Some((property("helo")?, Identity::Helo)))?;
            let domain = value.rsplit_once('@').map_or(value, |(_, domain)| domain);
            Some((host.as_str(), SpfFact { result: word(&spf.result)?, domain: Domain::parse(domain).ok(), identity }))
        })
    }

    fn note_missing(&mut self, trusted: &[String], by: &[&str]) {
        if self.mail_from.is_none() {
            self.missing.push("the envelope sender: there is no Return-Path; give it with --mail-from".to_owned());
        }
        if self.client_ip.is_none() {
            let why = match (trusted, by) {
                ([], [host, ..]) => format!("no host is trusted; if {host} is the receiver, say --trust {host}"),
                (_, [host, ..]) => format!("no Received field is of a trusted host (the first one with a client is of {host})"),
                (_, []) => "no Received field names one".to_owned(),
            };
            self.missing.push(format!("the address of the client: {why}; or give it with --client-ip"));
        }
        let null_sender = self.mail_from.as_ref().is_some_and(|told| told.value == ReversePath::Null);
        if self.helo.is_none() && null_sender {
            self.missing.push("the EHLO name, which SPF is checked for where the sender is null; give it with --helo".to_owned());
        }
    }
}

/// What a Received field says (RFC 5321 §4.4, and as Gmail, Postfix, Exim and Exchange write it).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Hop {
    helo: Option<String>,
    address: Option<IpAddr>,
    by: Option<String>,
}

impl Hop {
    fn read<'a>(value: &'a str) -> Self {
        let mut hop = Self::default();
        let clauses = value.split(';').next().unwrap_or_default();
        let (from, by) = match clauses.find(" by ") {
            Some(at) => clauses.split_at(at),
            None => ("", clauses),
        };
        let by = by.trim_start();
        hop.by = by.strip_prefix("by ").and_then(|rest| rest.split_whitespace().next()).map(|host| host.trim_end_matches('.').to_owned());
        let Some(from) = from.trim_start().strip_prefix("from ") else { return hop };
        let split = |text: &'a str| text.split(|c: char| c.is_whitespace() || matches!(c, '(' | ')' | '[' | ']' | ',')).filter(|word| !word.is_empty());
        let words = split(from);
        // What the server saw stands in the comment; before it stands what the client said, unless there is nothing in the comment.
        let comment = from.split_once('(').map_or("", |(_, comment)| comment);
        hop.address = split(comment).find_map(address).or_else(|| words.clone().find_map(address));
        let named = words.clone().find_map(|word| word.strip_prefix("helo=").or_else(|| word.strip_prefix("HELO=")));
        hop.helo = named.or_else(|| words.clone().next()).map(|name| name.trim_end_matches('.').to_owned());
        hop
    }
}

/// An address, as `[192.0.2.1]`, `IPv6:2001:db8::1` or bare.
fn address(word: &str) -> Option<IpAddr> {
    let bare = word.get(..5).filter(|start| start.eq_ignore_ascii_case("ipv6:")).map_or(word, |_| &word[5..]);
    bare.parse().ok()
}

/// `client-ip=` (RFC 7208 §9.1).
fn client_ip(value: &str) -> Option<IpAddr> {
    value.split([';', ' ']).find_map(|part| part.trim().strip_prefix("client-ip=")).and_then(|text| text.trim_matches('"').parse().ok())
}

fn reverse_path(value: &str) -> Option<ReversePath> {
    match value.trim().trim_start_matches('<').trim_end_matches('>').trim() {
        "" => Some(ReversePath::Null),
        text => Mailbox::parse(text).ok().map(ReversePath::from),
    }
}

/// RFC 8601 §2.7.2.
fn word(result: &str) -> Option<Check> {
    let known = [Check::Pass, Check::Fail, Check::SoftFail, Check::Neutral, Check::None, Check::TempError, Check::PermError, Check::Policy];
    known.into_iter().find(|check| check.as_str().eq_ignore_ascii_case(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn received_fields_of_the_common_servers_are_read() {
        for (value, helo, address, by) in [
            (
                "from mail.example.com (mail.example.com. [192.0.2.25]) by mx.google.com with ESMTPS id x for <a@gmail.com>; Sun, 22 Nov 2026",
                "mail.example.com",
                "192.0.2.25",
                "mx.google.com",
            ),
            (
                "from mail.example.com (unknown [IPv6:2001:db8::1]) by mx.example.net (Postfix) with ESMTP id x; d",
                "mail.example.com",
                "2001:db8::1",
                "mx.example.net",
            ),
            ("from [10.0.0.1] (mail.example.com [192.0.2.8]) by mx.example.net; d", "10.0.0.1", "192.0.2.8", "mx.example.net"),
            ("from [192.0.2.7] (helo=pod-7) by mx.example.net with esmtp (Exim 4.96) id x; d", "pod-7", "192.0.2.7", "mx.example.net"),
            (
                "from mail.example.com (192.0.2.9) by DB1.mail.protection.outlook.com (10.1.1.1) with Microsoft SMTP Server; d",
                "mail.example.com",
                "192.0.2.9",
                "DB1.mail.protection.outlook.com",
            ),
        ] {
            let hop = Hop::read(value);
            assert_eq!(
                (hop.helo.as_deref(), hop.address.map(|a| a.to_string()).as_deref(), hop.by.as_deref()),
                (Some(helo), Some(address), Some(by)),
                "{value}"
            );
        }
        assert_eq!(Hop::read("by 2002:a05:6a10:1 with SMTP id x; d"), Hop { by: Some("2002:a05:6a10:1".into()), ..Hop::default() });
        for junk in ["", ";", "from", "by", "from  by ", "\u{e9}", "from (((([[[ by"] {
            let _ = Hop::read(junk);
        }
    }

    #[test]
    fn only_what_a_trusted_host_wrote_is_believed() {
        let text = "Return-Path: <b@b.example.com>\r\nReceived: from m.example.com ([192.0.2.25]) by mx.example.net; d\r\n\
                    Authentication-Results: mx.example.net; spf=pass smtp.mailfrom=b@b.example.com\r\n\
                    Received: from forged ([198.51.100.1]) by mx.example.net; d\r\nAuthentication-Results: mx.example.net; spf=fail smtp.mailfrom=x@x.example\r\n\r\n";
        let headers = Headers::parse(text.as_bytes()).unwrap();
        let found = origin(&headers, &["MX.example.net".to_owned()], Typed::default());
        assert_eq!(found.client_ip.as_ref().map(|told| told.value), "192.0.2.25".parse().ok());
        assert_eq!((found.results.len(), found.missing.len()), (1, 0));
        let nobody = origin(&headers, &[], Typed::default());
        assert_eq!((nobody.client_ip, nobody.results.len()), (None, 0));
        assert!(nobody.missing[0].contains("--trust mx.example.net"), "{:?}", nobody.missing);
        let typed = Typed { client_ip: "203.0.113.9".parse().ok(), ..Typed::default() };
        assert_eq!(origin(&headers, &["mx.example.net".to_owned()], typed).client_ip.unwrap().source, "--client-ip");
    }
}
