//! `[returns]`: what comes home, and where that is.

use super::super::knob::{Knob as _, Octets};
use super::super::reader::Reader;
use super::listeners::Listener;
use super::sending::SmartHosts;
use super::who::{Domains, listed};
use super::{AGE, GIB, MIB, TIMEOUT};
use crate::mail::{Domain, LocalPart, Mailbox, RouteName};
use crate::policy::DomainPattern;
use crate::readdress::token;
use crate::returns::addressee::{ABUSE, POSTMASTER};
use crate::returns::settings::{Instead, SenderRule, Senders, Settings, Sources};
use std::collections::{BTreeMap, HashMap};

pub fn returns(root: &Reader<'_>, postmaster: &Mailbox, domains: &Domains, smart_hosts: &SmartHosts, listeners: &[Listener]) -> Settings {
    let table = root.table("returns");
    let standard = Settings::default();
    let octets = |key: &str, default: u64| table.within(key, Octets(default), Octets(MIB)..=Octets(1024 * GIB)).0;
    Settings {
        bounce_domains: bounce_domains(domains),
        route: route(&table, smart_hosts, listeners),
        senders: senders(&table),
        mailboxes: mailboxes(&table, postmaster),
        max_age: table.within("max_age", standard.max_age, AGE),
        keep_for: table.within("quarantine_age", standard.keep_for, AGE),
        messages_max: table.within("address_messages_max", standard.messages_max, 1..=MESSAGES),
        octets_max: octets("address_octets_max", standard.octets_max),
        shared_messages_max: table.within("shared_address_messages_max", standard.shared_messages_max, 1..=MESSAGES),
        shared_octets_max: octets("shared_address_octets_max", standard.shared_octets_max),
        mailbox_messages_max: table.within("mailbox_messages_max", standard.mailbox_messages_max, 1..=MESSAGES),
        mailbox_octets_max: octets("mailbox_octets_max", standard.mailbox_octets_max),
        mailbox_message_octets_max: octets("mailbox_message_octets_max", standard.mailbox_message_octets_max),
        sources: Sources {
            refused_max: table.within("refused_recipients_max", standard.sources.refused_max, 1..=1_000_000),
            window: table.within("refused_window", standard.sources.window, TIMEOUT),
            messages_per_minute: table.within("messages_per_minute", standard.sources.messages_per_minute, 1..=10_000_000),
            count_max: table.within("sources_max", standard.sources.count_max, 1..=10_000_000),
        },
        received_max: table.within("received_hops_max", standard.received_max, 1..=1000),
        own_received_max: table.within("own_hops_max", standard.own_received_max, 1..=1000),
        feedback_domains: table.value("feedback_domains", FEEDBACK.iter().filter_map(|name| Domain::parse(name).ok()).collect()),
        incoming_octets_max: octets("incoming_octets_max", standard.incoming_octets_max),
    }
}

/// Of several author domains with one bounce domain the highest stands for it.
fn bounce_domains(domains: &Domains) -> HashMap<Domain, Domain> {
    let mut all: Vec<(&Domain, &Domain)> = domains.iter().map(|(author, settings)| (&settings.bounce_domain, author)).collect();
    all.sort_by_key(|(_, author)| std::cmp::Reverse(author.as_str().len()));
    all.into_iter().map(|(bounce, author)| (bounce.clone(), author.clone())).collect()
}

/// There is no default: by the MX of the house a stranger's notice, which nobody signed, would be refused, or come back here.
fn route(table: &Reader<'_>, smart_hosts: &SmartHosts, listeners: &[Listener]) -> Option<RouteName> {
    let events_only = table.value("events_only", false);
    let name = table.optional::<String>("route");
    let listens = listeners.iter().any(Listener::takes_bounces);
    match &name {
        Some(name) if events_only => table.fault("events_only", "true, though there is a route", &format!("false, or no route \"{name}\"")),
        Some(name) if !smart_hosts.hosts.keys().any(|known| known.as_str() == name) => {
            let expected = if smart_hosts.hosts.is_empty() {
                "a table [smart_hosts.NAME] that says where the mailboxes of the house are".to_owned()
            } else {
                format!("one of {}; the host of the mailboxes is declared as [smart_hosts.NAME]", listed(smart_hosts.hosts.keys()))
            };
            table.fault("route", &name.written(), &expected);
        }
        None if listens && !events_only && !table.has("route") => {
            let expected = "the name of a smart host that takes mail for original senders, or events_only = true";
            table.fault("route", "missing, though a listener takes bounces", expected);
        }
        Some(_) | None => {}
    }
    name.map(|name| RouteName::new(&name))
}

fn senders(table: &Reader<'_>) -> Vec<SenderRule> {
    let table = table.table("senders");
    let mut rules = Vec::new();
    for name in table.names() {
        let instead = table.optional::<String>(&name).and_then(|text| match text.as_str() {
            EVENTS_ONLY => Some(Instead::EventsOnly),
            text => Mailbox::parse(text).map(Instead::Mailbox).map_err(|_| table.fault(&name, &format!("\"{text}\""), "an address, or \"events-only\"")).ok(),
        });
        let senders = if name.contains('@') {
            Mailbox::parse(&name).map(Senders::One).map_err(|fault| fault.to_string())
        } else if name.trim_start_matches(['*', '.']).contains('.') {
            name.parse::<DomainPattern>().map(Senders::Of).map_err(|fault| fault.to_string())
        } else {
            Err(format!("\"{name}\" is neither an address nor a domain; expected \"no-reply@example.com\", \"example.com\" or \".example.com\""))
        };
        match (senders, instead) {
            (Ok(senders), Some(instead)) => rules.push(SenderRule { senders, instead }),
            (Err(fault), _) => table.fault(&name, &fault, ""),
            (Ok(_), None) => {}
        }
    }
    rules
}

fn mailboxes(table: &Reader<'_>, postmaster: &Mailbox) -> BTreeMap<String, Mailbox> {
    let postmaster = table.optional::<Mailbox>("postmaster").unwrap_or_else(|| postmaster.clone());
    let abuse = table.optional::<Mailbox>("abuse").unwrap_or_else(|| postmaster.clone());
    let mut mailboxes = BTreeMap::from([(POSTMASTER.to_owned(), postmaster), (ABUSE.to_owned(), abuse)]);
    let named = table.table("mailboxes");
    for name in named.names() {
        let mailbox = named.optional::<Mailbox>(&name);
        let lower = name.to_ascii_lowercase();
        if [POSTMASTER, ABUSE].contains(&lower.as_str()) {
            named.fault(&name, "a local part that has a key of its own", &format!("returns.{lower}"));
        } else if LocalPart::parse(&name).is_err() || token::looks_like_one(&name) {
            named.fault(&name, &format!("\"{name}\""), "the part before the @ of an address, as in \"dmarc\"; one like a bounce address is none");
        } else if let Some(mailbox) = mailbox
            && mailboxes.insert(lower, mailbox).is_some()
        {
            named.fault(&name, "set twice, with other capitals", "each local part once");
        }
    }
    mailboxes
}

/// Of a feedback loop that signs with a name of its own, by its own paper (Yahoo's sender hub). Others are of a provider's users as well, or
/// not told; who is enrolled in a loop adds it.
const FEEDBACK: [&str; 1] = ["arf.mail.yahoo.com"];
const EVENTS_ONLY: &str = "events-only";
const MESSAGES: u64 = 1_000_000_000;
