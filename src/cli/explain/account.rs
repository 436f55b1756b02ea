//! The account: fact by fact what would become of the message, each with the place that decides it; as text or as JSON.

use super::book::{Because, Book};
use super::conversation::{Conversation, converse};
use crate::config::{Config, Listener, knob::Knob, knob::Octets};
use crate::deliver::finding::find_way;
use crate::deliver::provider::Place;
use crate::deliver::route::Plan;
use crate::deliver::tls::TlsDemand;
use crate::deliver::way::Way;
use crate::dns::Resolver;
use crate::ingress::identity::{Identities, San, canonical};
use crate::keys::State;
use crate::mail::{Domain, Headers, Host, MailIds, Mailbox, Proof, Refusal, ReversePath, Submission, Timestamp};
use crate::policy::{self, Mode, Permit, ReversePathReason};
use crate::prepare::{self, Facts, Snapshot};
use crate::readdress::RewriteReversePath;
use crate::seal::{Examined, Sealed};
use crate::smtp::server::Peer;
use crate::smtp::settings::StartTls;
use crate::spool::Queue;
use anyhow::Context;
use serde_json::json;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

/// What is asked.
pub struct Question {
    /// The client, as the relay's listener sees it.
    pub peer: Peer,
    /// Where it connects.
    pub listener: Listener,
    /// MAIL FROM.
    pub from: ReversePath,
    /// The header From.
    pub author: Mailbox,
    /// RCPT TO.
    pub to: Vec<Mailbox>,
    /// `X-Postseal-Stream`.
    pub stream: Option<String>,
    /// `SIZE=`.
    pub size: Option<u64>,
}

/// The answer.
pub struct Account {
    /// The reply that ends it, and where in the dialogue it comes.
    reply: String,
    stage: &'static str,
    accepted: bool,
    because: Because,
    facts: Vec<Fact>,
    /// The queue of each recipient that is accepted, for those who ask the DNS.
    ways: Vec<(Mailbox, Queue)>,
}

struct Fact {
    about: String,
    name: &'static str,
    says: String,
    because: Because,
}

impl Account {
    /// Works it out.
    ///
    /// # Errors
    /// The keyring cannot be read.
    pub fn of(question: &Question, config: &Config, snapshot: &Snapshot, book: &Book<'_>, now: Timestamp) -> anyhow::Result<Self> {
        let mut page = Page { question, config, snapshot, book, facts: Vec::new() };
        page.client();
        let heard = converse(question, config, now);
        let refused = |reply: &str, stage, because, facts| Self { reply: reply.to_owned(), stage, accepted: false, because, facts, ways: Vec::new() };
        if let Some(reply) = &heard.mail {
            let because = page.why_not_mail(reply);
            return Ok(refused(reply, "MAIL", because, page.facts));
        }
        let submission = match &heard.submission {
            Ok(submission) => submission,
            Err(reply) => {
                let (first, because) = page.why_not_recipients(&heard, reply);
                return Ok(refused(&first, "RCPT", because, page.facts));
            }
        };
        let prepared = prepared(submission, snapshot, now);
        let permit = Headers::parse(&submission.message).ok().and_then(|header| policy::permit(submission, &header, &snapshot.policy, now).ok());
        page.author(permit.as_ref());
        let sealed = match prepared {
            Ok(sealed) => sealed,
            Err(refusal) => {
                let because = page.why_not_message(permit.as_ref(), &refusal);
                return Ok(refused(&refusal.to_string(), "the final dot", because, page.facts));
            }
        };
        if let Some(permit) = &permit {
            page.reverse_path(permit);
            page.keys(permit, &sealed)?;
        }
        let refusal = heard.recipients.iter().find_map(|(_, reply)| reply.clone());
        let refusal = refusal.map(|reply| page.why_not_recipients(&heard, &reply));
        let mut ways = Vec::new();
        for mail in &sealed {
            for recipient in &mail.recipients {
                page.recipient(permit.as_ref(), mail, &recipient.mailbox, &recipient.reverse_path);
                ways.push((recipient.mailbox.clone(), Queue::of(&mail.route, &recipient.mailbox)));
            }
        }
        if let (Some(permit), Some(mail)) = (&permit, sealed.first()) {
            page.limits(permit, mail);
        }
        let accepted = refusal.is_none();
        let (reply, because) = refusal.unwrap_or_else(|| ("250 2.0.0 accepted".to_owned(), Because::Fixed));
        let stage = if accepted { "the final dot" } else { "RCPT" };
        Ok(Self { reply, stage, accepted, because, facts: page.facts, ways })
    }

    /// Nothing of it would be refused.
    pub const fn is_accepted(&self) -> bool {
        self.accepted
    }

    /// With what the DNS says of each recipient's way.
    ///
    /// # Errors
    /// The resolver cannot be set up.
    pub fn with_dns(mut self, config: &Config, book: &Book<'_>) -> anyhow::Result<Self> {
        let resolver = Arc::new(Resolver::new(&config.resolver)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no thread to ask the DNS with")?;
        for (recipient, queue) in &self.ways {
            let found = runtime.block_on(find_way(&resolver, &config.deliver, queue));
            let facts = match found {
                Ok(way) => found_facts(&way, recipient, config, book),
                Err(why) => vec![("hosts", format!("none: {why}"), Because::Fixed)],
            };
            let about = recipient.to_string();
            self.facts.retain(|fact| fact.about != about || !facts.iter().any(|(name, ..)| *name == fact.name));
            let at = self.facts.iter().rposition(|fact| fact.about == about).map_or(self.facts.len(), |at| at + 1);
            let facts = facts.into_iter().map(|(name, says, because)| Fact { about: about.clone(), name, says, because });
            self.facts.splice(at..at, facts);
        }
        Ok(self)
    }

    /// For a person.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let verdict = match (self.accepted, self.ways.is_empty()) {
            (true, _) => "accepted",
            (false, true) => "refused",
            (false, false) => "refused in part,",
        };
        let place = if self.because == Because::Fixed { String::new() } else { format!("  [{}]", self.because) };
        line(&mut out, &format!("{verdict} at {}: {}{place}", self.stage, self.reply));
        let width = self.facts.iter().map(|fact| fact.says.chars().count()).filter(|width| *width <= TEXT_COLUMNS).max().unwrap_or_default();
        let mut about = "";
        for fact in &self.facts {
            if fact.about != about {
                about = &fact.about;
                line(&mut out, &format!("\n{about}"));
            }
            let because = fact.because.to_string();
            let padded = if because.is_empty() { fact.says.clone() } else { format!("{:width$}  {because}", fact.says) };
            line(&mut out, &format!("  {:NAME_COLUMNS$}{padded}", fact.name));
        }
        out
    }

    /// For a program: the facts in order, each with `key`, and `file` and `line`, `variable`, or `default`.
    pub fn json(&self) -> String {
        let facts: Vec<_> =
            self.facts.iter().map(|fact| json!({ "about": fact.about, "name": fact.name, "says": fact.says, "because": fact.because.json() })).collect();
        let whole = json!({ "accepted": self.accepted, "reply": self.reply, "at": self.stage, "because": self.because.json(), "facts": facts });
        format!("{whole:#}\n")
    }
}

/// What the relay would spool.
fn prepared(submission: &Submission, snapshot: &Snapshot, now: Timestamp) -> Result<Vec<Sealed>, Refusal> {
    let needed = prepare::facts_needed(submission);
    let facts = Facts { ids: MailIds::reserve(now, 0, needed.ids), examined: Examined::default(), sender_counter: 0 };
    prepare::prepare(submission, snapshot, facts, now)
}

/// The facts as they are found.
struct Page<'a> {
    question: &'a Question,
    config: &'a Config,
    snapshot: &'a Snapshot,
    book: &'a Book<'a>,
    facts: Vec<Fact>,
}

impl Page<'_> {
    fn add(&mut self, about: &str, name: &'static str, says: impl Into<String>, because: Because) {
        self.facts.push(Fact { about: about.to_owned(), name, says: says.into(), because });
    }

    /// Listener, identity and how it is known.
    fn client(&mut self) {
        let listener = &self.question.listener;
        let tls = match (listener.implicit_tls, listener.dialogue.starttls) {
            (true, _) => "TLS from the start",
            (_, StartTls::Unavailable) => "no TLS",
            (_, StartTls::Offered) => "STARTTLS offered",
            (_, StartTls::Required) => "STARTTLS required",
        };
        self.add("client", "listener", format!("{} at {}, {tls}", listener.name, listener.address), self.book.at(&["listeners", &listener.name, "address"]));
        let Some((name, proof)) = self.question.peer.known.clone() else {
            let says = format!("none: {} is in no identity's networks, and nothing else is known of it", self.question.peer.address);
            return self.add("client", "identity", says, Because::Fixed);
        };
        let table = ["identities", name.as_str()];
        let (how, because) = match &proof {
            Proof::Network => self.network(name.as_str()),
            Proof::Sasl { user } => (format!("user \"{user}\""), self.book.at(&["users", user, "identity"])),
            Proof::Certificate { name: san } => {
                let own = self.config.identities.certificates.iter().filter(|rule| rule.identity == name);
                let place = own.clone().position(|rule| san.parse::<San>().is_ok_and(|san| san == rule.name)).unwrap_or_default().to_string();
                (format!("the certificate of {san}"), self.book.at(&[table[0], table[1], "certificate_names", &place]))
            }
        };
        self.add("client", "identity", format!("{name}, known by {how}"), because);
        if let Some(identity) = self.config.policy.identities.get(&name) {
            let says = match &identity.mode {
                Mode::Author => "author: writes its own mail".to_owned(),
                Mode::Forward { domain } => format!("forward: passes on mail of others as {domain}"),
            };
            self.add("client", "mode", says, self.book.at(&[table[0], table[1], "mode"]));
        }
    }

    fn network(&self, name: &str) -> (String, Because) {
        let identities = Identities::new(&self.config.identities.networks, &self.config.identities.certificates);
        let Some((network, _)) = identities.network(self.question.peer.address) else { return (String::new(), Because::Fixed) };
        let mut own = self.config.identities.networks.iter().filter(|rule| rule.identity.as_str() == name);
        let place = own.position(|rule| canonical(rule.network) == *network).unwrap_or_default().to_string();
        (format!("the network {network}"), self.book.at(&["identities", name, "networks", &place]))
    }

    /// The identity's table, if there is an identity.
    fn identity(&self) -> Option<(&str, &policy::Identity)> {
        let (name, _) = self.question.peer.known.as_ref()?;
        Some((name.as_str(), self.config.policy.identities.get(name)?))
    }

    fn why_not_mail(&self, reply: &str) -> Because {
        let Some((name, identity)) = self.identity() else { return Because::Fixed };
        let listener = &self.question.listener;
        if reply.starts_with("552") {
            let of_listener = self.question.size.is_some_and(|size| size > listener.dialogue.message_octets_max);
            let key = "message_octets_max";
            return if of_listener { self.book.at(&["listeners", &listener.name, key]) } else { self.book.at(&["identities", name, key]) };
        }
        if policy::reverse_path(&self.question.from, &name_of(self.question), identity, &self.config.policy).is_err() {
            let governing = self.question.from.mailbox().and_then(Mailbox::domain).map(|domain| self.config.policy.signing_domain(domain));
            return match governing.filter(|domain| self.config.policy.domains.get(domain).is_some_and(|domain| domain.parked)) {
                Some(parked) => self.domain_at(parked, Some("parked")),
                None => self.book.at(&["identities", name, "reverse_path_foreign"]),
            };
        }
        Because::Fixed
    }

    /// Adds the recipients that are refused; the first refusal and what decides it.
    fn why_not_recipients(&mut self, heard: &Conversation, reply: &str) -> (String, Because) {
        let refused: Vec<(Mailbox, String)> = heard.recipients.iter().filter_map(|(to, reply)| Some((to.clone(), reply.clone()?))).collect();
        for (to, reply) in &refused {
            let because = self.why_not_recipient(reply);
            self.add(&to.to_string(), "refused", reply.clone(), because);
        }
        match refused.first() {
            Some((_, first)) => (first.clone(), self.why_not_recipient(first)),
            None => (reply.to_owned(), Because::Fixed),
        }
    }

    fn why_not_recipient(&self, reply: &str) -> Because {
        match (reply.get(..3), self.identity()) {
            (Some("452"), Some((name, identity))) => {
                let listener = &self.question.listener;
                let of_listener = listener.dialogue.recipients_max < identity.recipients_max;
                let (table, name) = if of_listener { ("listeners", listener.name.as_str()) } else { ("identities", name) };
                self.book.at(&[table, name, "recipients_max"])
            }
            (Some("550"), _) if reply.contains("address literal") => self.book.at(&["policy", "address_literals"]),
            _ => Because::Fixed,
        }
    }

    /// Who the author is, and by which rule it may be.
    fn author(&mut self, permit: Option<&Permit>) {
        let Some((name, identity)) = self.identity() else { return };
        let (name, author) = (name.to_owned(), &self.question.author);
        let place = author.domain().and_then(|domain| identity.author_domains.iter().position(|pattern| pattern.matches(domain)));
        let (says, because) = match (&identity.mode, place) {
            (Mode::Forward { .. }, _) => (format!("{author}, since a forwarder may pass on any"), self.book.at(&["identities", &name, "mode"])),
            (Mode::Author, Some(place)) => {
                let says = format!("{author}, permitted by \"{}\"", identity.author_domains[place]);
                (says, self.book.at(&["identities", &name, "author_domains", &place.to_string()]))
            }
            (Mode::Author, None) => (format!("{author}, not permitted"), self.book.at(&["identities", &name, "author_domains"])),
        };
        self.add("author", "author", says, because);
        let Some(permit) = permit else { return };
        let because = match &permit.mode {
            Mode::Forward { .. } => self.book.at(&["identities", &name, "forward_domain"]),
            Mode::Author => self.domain_at(&permit.signing_domain, None),
        };
        self.add("author", "signs as", permit.signing_domain.to_string(), because);
        let named = self.question.stream.is_some();
        let because = if named { Because::Fixed } else { self.book.at(&["identities", &name, "stream"]) };
        self.add("author", "stream", format!("{}{}", permit.stream, if named { ", as the message says" } else { "" }), because);
    }

    /// What [domains.NAME] says, or that it says nothing.
    fn domain_at(&self, domain: &Domain, key: Option<&str>) -> Because {
        let name = self.book.spelled(&["domains"], domain).unwrap_or_else(|| domain.to_string());
        match key {
            Some(key) => self.book.at(&["domains", &name, key]),
            None => self.book.at(&["domains", &name]),
        }
    }

    fn why_not_message(&self, permit: Option<&Permit>, refusal: &Refusal) -> Because {
        let Some((name, identity)) = self.identity() else { return Because::Fixed };
        if permit.is_some() {
            return if refusal.enhanced.subject_and_detail().0 == 7 { self.book.at(&["seal", "no_key"]) } else { Because::Fixed };
        }
        let Some(domain) = self.question.author.domain() else { return Because::Fixed };
        let is_one = identity.mode != Mode::Author || identity.author_domains.iter().any(|pattern| pattern.matches(domain));
        let governing = self.config.policy.signing_domain(domain);
        if !is_one {
            self.book.at(&["identities", name, "author_domains"])
        } else if self.config.policy.domains.get(governing).is_some_and(|domain| domain.parked) {
            self.domain_at(governing, Some("parked"))
        } else if self.question.stream.as_ref().is_some_and(|stream| !self.config.policy.streams.contains(&crate::mail::Stream::new(stream))) {
            self.book.at(&["streams"])
        } else {
            self.book.at(&["identities", name, "streams"])
        }
    }

    /// Who hears of failures.
    fn reverse_path(&mut self, permit: &Permit) {
        let Some((name, identity)) = self.identity() else { return };
        let Ok((path, reason)) = policy::reverse_path(&self.question.from, &permit.identity, identity, &self.config.policy) else { return };
        let mapped = || self.book.first(&[&["identities", name, "bounces_to"], &["server", "postmaster"]]);
        let (says, because) = match reason {
            ReversePathReason::Null => ("nobody: the sender is null".to_owned(), Because::Fixed),
            ReversePathReason::Own => (format!("{path}, at a domain of its own"), self.book.at(&["identities", name, "author_domains"])),
            ReversePathReason::Kept => (format!("{path}, kept"), self.book.at(&["identities", name, "reverse_path_kept"])),
            ReversePathReason::Unreachable => (format!("{path}, since {} can receive nothing", self.question.from), mapped()),
            ReversePathReason::Foreign if path == self.question.from => {
                (format!("{path}, foreign, and kept"), self.book.at(&["identities", name, "reverse_path_foreign"]))
            }
            ReversePathReason::Foreign => (format!("{path}, for {}, which is foreign", self.question.from), mapped()),
        };
        self.add("author", "failures to", says, because);
    }

    /// Which keys sign, which do not, and the chain.
    fn keys(&mut self, permit: &Permit, sealed: &[Sealed]) -> anyhow::Result<()> {
        let ring =
            crate::relay::keyring(self.config).map_err(|faults| anyhow::anyhow!(faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
        let third_party = self.config.domains.get(&permit.signing_domain).and_then(|domain| domain.third_party.clone());
        let made_by: Vec<String> = sealed.iter().flat_map(|mail| mail.seal.keys()).map(str::to_owned).collect();
        for domain in std::iter::once(&permit.signing_domain).chain(&third_party) {
            let folder = Because::File(self.config.server.keys.join(domain.as_str()).display().to_string());
            if ring.keys(domain).is_empty() {
                self.add("author", "key", format!("none of {domain}"), folder.clone());
            }
            for key in ring.keys(domain).iter().filter(|key| key.state != State::Removed) {
                let of_its_own = self.config.key_files().into_iter().find(|file| file.domain == *domain && file.selector == key.id.selector);
                let because = of_its_own.map_or_else(|| folder.clone(), |file| Because::File(file.path.display().to_string()));
                let signs = made_by.contains(&key.id.to_string());
                let says = format!("{} of {domain}, {}, {}: {}", key.id.selector, key.algorithm, key.state, if signs { "signs" } else { "does not sign" });
                self.add("author", "key", says, because);
            }
        }
        let plan = sealed.first().map(|mail| &mail.seal.plan);
        let arc = match plan.and_then(|plan| plan.arc.as_ref()) {
            Some(arc) => format!("a set of {}, i={}, cv={}", arc.domain, arc.instance, arc.cv),
            None => "no set".to_owned(),
        };
        self.add("author", "arc", arc, self.book.at(&["seal", "arc"]));
        Ok(())
    }

    /// One recipient: its route, and what is known of it without the DNS.
    fn recipient(&mut self, permit: Option<&Permit>, mail: &Sealed, to: &Mailbox, reverse_path: &ReversePath) {
        let about = to.to_string();
        let rule = policy::route_rule(to, &self.config.policy);
        let pattern = rule.and_then(|rule| self.book.spelled(&["routes", "recipients"], &rule.recipients));
        let because = match &pattern {
            Some(pattern) => self.book.at(&["routes", "recipients", pattern]),
            None => self.book.at(&["routes", "default"]),
        };
        let route = mail.route.as_str();
        let by_mx = Queue::goes_by_mx(route);
        let says = if by_mx { format!("by the MX records of {}", to.host) } else { format!("smart host \"{route}\"") };
        self.add(&about, "route", says, because);
        self.sender(permit, mail, reverse_path, &about);
        if by_mx {
            let hosts = match &to.host {
                Host::Domain(domain) => format!("not asked: MX of {domain}, then A and AAAA of its hosts; --dns asks"),
                Host::Literal(address) => format!("{address}:{}", self.config.deliver.routes.mx_port),
            };
            self.add(&about, "hosts", hosts, self.book.at(&["resolver", "nameservers"]));
            let rule = self.config.deliver.tls.rule(to.domain());
            let says = match rule {
                Some((_, demand)) => format!("{}, or what the provider needs, if that is more", demand_text(*demand)),
                None => "what the provider needs; the name of its MX tells which that is".to_owned(),
            };
            let because = match rule {
                Some((domain, _)) => tls_at(self.book, Some(domain)),
                None => Because::Fixed,
            };
            self.add(&about, "tls", says, because);
            let way = Way::by_mx(Plan::new(Vec::new(), 1), to.domain().cloned(), Queue::pool(route));
            self.source(&way, &self.config.deliver.providers.place("mx.invalid"), Queue::pool(route), &about);
        } else if let Some((_, host)) = self.config.deliver.smart_hosts.iter().find(|(name, _)| name.as_str() == route) {
            let hosts: Vec<String> = host.hosts.iter().map(|host| format!("{}:{}", host.host, host.port)).collect();
            self.add(&about, "hosts", hosts.join(", "), self.book.at(&["smart_hosts", route, "host"]));
            let way = Way::by_smart_host(Plan::new(Vec::new(), 1), route, host.clone());
            let place = way.place(host.hosts.first().map_or("", |host| host.host.as_str()), &self.config.deliver);
            let at = |key| self.book.at(&["smart_hosts", route, key]);
            let facts = terms(&way, &place, self.config, [at("tls"), at("connections_max"), at("ed25519")]);
            for (name, says, because) in facts {
                self.add(&about, name, says, because);
            }
            let auth = if host.auth.is_some() { "with a user and password" } else { "without a password" };
            self.add(&about, "auth", auth, self.book.at(&["smart_hosts", route, "user"]));
            self.source(&way, &place, None, &about);
        }
    }

    /// The MAIL FROM of its transaction.
    fn sender(&mut self, permit: Option<&Permit>, mail: &Sealed, reverse_path: &ReversePath, about: &str) {
        let domain = &mail.signing_domain;
        let keeps = self.snapshot.reverse_paths.get(&mail.route) == Some(&RewriteReversePath::Keep);
        let (says, because) = match reverse_path {
            ReversePath::Null => ("<>: null stays null".to_owned(), Because::Fixed),
            same if *same == mail.original_reverse_path && keeps => {
                (format!("{same}: the smart host keeps it"), self.book.at(&["smart_hosts", mail.route.as_str(), "reverse_path"]))
            }
            same if *same == mail.original_reverse_path => {
                let upstream =
                    permit.filter(|permit| permit.trusted_upstream).map(|permit| self.book.at(&["identities", permit.identity.as_str(), "trusted_upstream"]));
                (format!("{same}: kept"), upstream.unwrap_or_else(|| self.domain_at(domain, Some("keep_reverse_path"))))
            }
            ReversePath::Mailbox(mailbox) => (format!("a bounce address at {}", mailbox.host), self.domain_at(domain, Some("bounce_domain"))),
        };
        self.add(about, "sender", says, because);
    }

    /// From which address, under which name.
    fn source(&mut self, way: &Way, place: &Place, pool: Option<&str>, about: &str) {
        let settings = &self.config.deliver;
        let target = |address: SocketAddr| way.target(place, address, settings);
        let (v4, v6) = (target((Ipv4Addr::LOCALHOST, 25).into()), target((Ipv6Addr::LOCALHOST, 25).into()));
        let addresses: Vec<String> = v4.source.iter().chain(&v6.source).map(ToString::to_string).collect();
        let from = if addresses.is_empty() { "the address that the system chooses".to_owned() } else { addresses.join(", ") };
        let table: &[&str] = match pool {
            Some(pool) => &["pools", pool],
            None => &["deliver"],
        };
        let with = |key| [table, &[key]].concat();
        let because = self.book.first(&[&with("source_v4"), &with("source_v6"), &with("ehlo_name"), &["server", "hostname"]]);
        let pool = pool.map(|pool| format!("pool \"{pool}\": ")).unwrap_or_default();
        self.add(about, "leaves from", format!("{pool}{from}, as {}", v4.ehlo_name), because);
    }

    /// How much, how fast, how long.
    fn limits(&mut self, permit: &Permit, mail: &Sealed) {
        let Some((name, identity)) = self.identity().map(|(name, identity)| (name.to_owned(), identity.clone())) else { return };
        let listener = self.question.listener.clone();
        let of = |key: &str, listeners_is_less: bool| {
            if listeners_is_less { self.book.at(&["listeners", &listener.name, key]) } else { self.book.at(&["identities", &name, key]) }
        };
        let (octets, of_listener) =
            (identity.size_octets_max.min(listener.dialogue.message_octets_max), listener.dialogue.message_octets_max < identity.size_octets_max);
        let size = of("message_octets_max", of_listener);
        let recipients = of("recipients_max", listener.dialogue.recipients_max < identity.recipients_max);
        self.add("limits", "size", unquoted(&Octets(octets)), size);
        self.add("limits", "recipients", identity.recipients_max.min(listener.dialogue.recipients_max).to_string(), recipients);
        let rate = identity.rate;
        let says = format!("{} messages, {} recipients a minute, more is refused", rate.messages_per_minute_ceiling, rate.recipients_per_minute_ceiling);
        let because = self.book.first(&[&["identities", &name, "recipients_per_minute_ceiling"], &["identities", &name, "messages_per_minute_ceiling"]]);
        self.add("limits", "ceiling", says, because);
        let stream = permit.stream.as_str().to_owned();
        let stream_rate = self.config.streams.get(&permit.stream).and_then(|settings| settings.recipients_per_minute);
        for (rate, what, keys) in [
            (rate.messages_per_minute, "messages", ["identities", &name, "messages_per_minute"]),
            (rate.recipients_per_minute, "recipients", ["identities", &name, "recipients_per_minute"]),
            (stream_rate, "recipients of the stream", ["streams", &stream, "recipients_per_minute"]),
        ] {
            if let Some(rate) = rate {
                let because = self.book.at(&keys);
                self.add("limits", "pace", format!("{rate} {what} leave in a minute, the rest waits"), because);
            }
        }
        let schedule = self.config.deliver.schedule(&permit.stream);
        let waits: Vec<String> = schedule.waits.iter().map(unquoted).collect();
        let says = format!("after {}, each ± {} %", waits.join(", "), schedule.jitter_percent);
        let because = self.book.first(&[&["streams", &stream, "retry"], &["deliver", "retry"]]);
        self.add("limits", "retries", says, because);
        let age = Duration::from_millis(mail.expires_at.since(mail.due_at).as_millis().try_into().unwrap_or(u64::MAX));
        let because = self.book.first(&[&["streams", &stream, "max_age"], &["deliver", "max_age"]]);
        self.add("limits", "given up", format!("after {}", unquoted(&age)), because);
        let says = schedule.delay_notice_after.map_or_else(|| "never".to_owned(), |after| format!("after {}", unquoted(&after)));
        let because = self.book.first(&[&["streams", &stream, "delay_notice_after"], &["deliver", "delay_notice_after"]]);
        self.add("limits", "told late", says, because);
    }
}

type Found = (&'static str, String, Because);

/// What the DNS adds: hosts, whose they are, and their terms.
fn found_facts(way: &Way, to: &Mailbox, config: &Config, book: &Book<'_>) -> Vec<Found> {
    let hosts = way.order(0);
    let names: Vec<String> =
        hosts.iter().map(|host| format!("{} ({})", host.name, host.addresses.iter().map(|a| a.ip().to_string()).collect::<Vec<_>>().join(", "))).collect();
    let mut facts = vec![("hosts", names.join(", then "), Because::Fixed)];
    let Some(first) = hosts.first() else { return facts };
    let place = way.place(&first.name, &config.deliver);
    if !way.is_by_mx() {
        return facts;
    }
    let shaping = shaping_at(&place.provider, book);
    facts.push(("provider", place.provider.to_string(), shaping.clone()));
    let rule = config.deliver.tls.rule(to.domain());
    let by_rule = rule.is_some_and(|(_, demand)| *demand > place.limits.tls);
    let tls = if by_rule { tls_at(book, rule.map(|(domain, _)| domain)) } else { shaping.clone() };
    facts.extend(terms(way, &place, config, [tls, shaping.clone(), shaping]));
    facts
}

/// TLS, Ed25519 and speed towards a place.
fn terms(way: &Way, place: &Place, config: &Config, [tls, speed_at, ed25519_at]: [Because; 3]) -> Vec<Found> {
    let target = way.target(place, (Ipv4Addr::LOCALHOST, 25).into(), &config.deliver);
    let from_the_start = if target.implicit_tls { ", from the first octet" } else { "" };
    let l = &place.limits;
    let per_second = l.messages_per_second_max.map(|n| format!(", {n} messages a second")).unwrap_or_default();
    let speed = format!(
        "{} connections, {} messages each, {} recipients a message{per_second}",
        l.connections_max, l.messages_per_connection_max, l.recipients_per_transaction_max
    );
    let ed25519 = if way.takes_ed25519(place) { "goes along, where the domain has one" } else { "left out" };
    vec![("tls", format!("{}{from_the_start}", demand_text(target.tls)), tls), ("speed", speed, speed_at), ("ed25519", ed25519.to_owned(), ed25519_at)]
}

/// Where the limits of a provider stand: the shaping file, or the table that comes with the program.
fn shaping_at(provider: &str, book: &Book<'_>) -> Because {
    let file = book.text_at(&["deliver", "shaping_file"]);
    let Some(file) = file else { return Because::Default { key: format!("deliver.shaping_file, [{provider}]") } };
    let path = book.path().parent().unwrap_or_else(|| std::path::Path::new("")).join(file);
    let table: &[&str] = if provider == crate::deliver::provider::OTHER { &["other"] } else { &["provider", provider] };
    let document = std::fs::read_to_string(&path).ok().and_then(|text| crate::config::Document::of(&text, &path, []).ok());
    document.map_or(Because::Fixed, |document| match Book::of(&document).at(table) {
        Because::Default { .. } => Because::File(path.display().to_string()),
        written => written,
    })
}

fn tls_at(book: &Book<'_>, rule: Option<&Domain>) -> Because {
    let name = rule.and_then(|domain| book.spelled(&["deliver", "tls", "recipients"], domain));
    match &name {
        Some(name) => book.at(&["deliver", "tls", "recipients", name]),
        None => book.at(&["deliver", "tls", "recipients"]),
    }
}

const fn demand_text(demand: TlsDemand) -> &'static str {
    match demand {
        TlsDemand::None => "none: clear text",
        TlsDemand::Opportunistic => "opportunistic: where it is offered",
        TlsDemand::Required => "required, with any certificate",
        TlsDemand::Verified => "verified: the certificate must prove the name",
    }
}

fn name_of(question: &Question) -> crate::mail::IdentityName {
    question.peer.known.as_ref().map_or_else(|| crate::mail::IdentityName::new(""), |(name, _)| name.clone())
}

/// A value as the configuration writes it, without its quotes.
fn unquoted(value: &impl Knob) -> String {
    value.written().trim_matches('"').to_owned()
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end()); // a String takes all
}

/// The column that facts begin at.
const NAME_COLUMNS: usize = 12;
/// Facts up to this width have their places in one column.
const TEXT_COLUMNS: usize = 72;
