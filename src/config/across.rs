//! What only several sections together show: faults, and what is allowed but should be known.

use super::Config;
use super::knob::{Knob, Octets};
use super::reader::Reader;
use super::sections::who::listed;
use crate::deliver::HostPort;
use crate::ingress::identity::{self, Fault};
use crate::ingress::tls::ClientCertificates;
use crate::keys::lifecycle::Evidence;
use crate::policy::Mode;
use crate::readdress::RewriteReversePath;
use crate::seal::NoKey;
use crate::spool::sqlite::FileSystems;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

pub fn faults(root: &Reader<'_>, config: &Config) {
    who_is_who(root, config);
    identities(root, config);
    ages(root, config);
    memory(root, config);
    homecomings(root, config);
    way_out(root, config);
    for (domain, settings) in &config.domains {
        if let Some(platform) = settings.third_party.as_ref().filter(|platform| !config.domains.contains_key(platform)) {
            root.fault_at(
                &["domains", domain.as_str(), "third_party_domain"],
                &format!("\"{platform}\""),
                "a domain with a table [domains.NAME] of its own, so that it has keys",
            );
        }
    }
    publication(root, config);
    // What the rooms themselves would object to and nothing above has said with its place.
    if root.faults_so_far() == 0 {
        config.policy.faults().iter().chain(&config.deliver.faults()).for_each(|fault| root.table_fault(fault, ""));
    }
}

/// Who writes a domain's records is there, and what it lends has a writer.
fn publication(root: &Reader<'_>, config: &Config) {
    let known = || {
        if config.publication.publishers.is_empty() {
            return "a table [publishers.NAME], which there is none of".to_owned();
        }
        format!("one of {}; a publisher is declared as [publishers.NAME]", listed(config.publication.publishers.keys()))
    };
    for (domain, settings) in &config.domains {
        let publisher = settings.publication.publisher.as_ref();
        if let Some(name) = publisher.filter(|name| !config.publication.publishers.contains_key(*name)) {
            root.fault_at(&["domains", domain.as_str(), "publisher"], &format!("\"{name}\""), &known());
        }
        if let Some(target) = settings.publication.dkim_target.as_ref().filter(|target| target.is_at_or_below(domain)) {
            let expected =
                "a name in a zone that you can write, as in \"example-com.keys.platform.example\"; leave it away where you can write the domain's own";
            root.fault_at(&["domains", domain.as_str(), "dkim_target"], &format!("\"{target}\", which lies in the author domain itself"), expected);
        }
    }
    let mut targets: Vec<_> = config.domains.iter().filter_map(|(domain, settings)| Some((settings.publication.dkim_target.as_ref()?, domain))).collect();
    targets.sort();
    for pair in targets.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let found = format!("\"{}\", which is that of domains.\"{}\" too", pair[1].0, pair[0].1);
        root.fault_at(&["domains", pair[1].1.as_str(), "dkim_target"], &found, "a name of its own for each domain, or their selectors meet");
    }
}

/// Networks and certificate names: nobody is let in by mistake, and nobody is two.
fn who_is_who(root: &Reader<'_>, config: &Config) {
    let proxies: Vec<_> = config.listeners.iter().flat_map(|listener| listener.proxies.iter().flatten().copied()).collect();
    let (networks, certificates) = (&config.identities.networks, &config.identities.certificates);
    for fault in identity::open_relay_faults(networks, &proxies).into_iter().chain(identity::Identities::faults(networks, certificates)) {
        let (identity, key) = match &fault {
            Fault::Everything { identity, .. }
            | Fault::Public { identity, .. }
            | Fault::CoversProxies { identity, .. }
            | Fault::NetworkTwice { other: identity, .. } => (identity, "networks"),
            Fault::CertificateTwice { other, .. } => (other, "certificate_names"),
        };
        root.fault_at(&["identities", identity.as_str(), key], &fault.to_string(), "");
    }
    let asks_for_certificates = config.tls.as_ref().is_some_and(|tls| tls.client_certificates != ClientCertificates::Off);
    if let Some(rule) = certificates.first().filter(|_| !asks_for_certificates) {
        let expected = "tls.client_ca_file, a PEM file of those who issue client certificates";
        root.fault_at(&["identities", rule.identity.as_str(), "certificate_names"], "set, though no client is asked for a certificate", expected);
    }
}

/// What identities name is there.
fn identities(root: &Reader<'_>, config: &Config) {
    for (name, identity) in &config.policy.identities {
        let own = identity.streams.iter().flatten().map(|stream| ("streams", stream));
        for (key, stream) in own.chain([("stream", &identity.stream)]).filter(|(_, stream)| !config.policy.streams.contains(*stream)) {
            let expected = format!("one of {}; a stream is declared as [streams.NAME]", listed(&config.policy.streams));
            root.fault_at(&["identities", name.as_str(), key], &format!("\"{stream}\""), &expected);
        }
        for pattern in &identity.author_domains {
            let signing = config.policy.signing_domain(pattern.domain());
            if config.domains.get(signing).is_some_and(|domain| domain.author.parked) {
                let found = format!("\"{pattern}\", though domains.\"{signing}\" is parked: it never sends");
                root.fault_at(&["identities", name.as_str(), "author_domains"], &found, "domains that send, or parked = false");
            }
        }
    }
}

/// A message that one listener takes must not be more than all of them have room for.
fn memory(root: &Reader<'_>, config: &Config) {
    let of_server = (config.server.incoming_octets_max, ["server", "incoming_octets_max"], false);
    let of_returns = (config.returns.incoming_octets_max, ["returns", "incoming_octets_max"], true);
    for (shared, keys, takes_bounces) in [of_server, of_returns] {
        let mut its = config.listeners.iter().filter(|listener| listener.takes_bounces() == takes_bounces);
        if let Some(listener) = its.find(|listener| listener.dialogue.message_octets_max > shared) {
            let expected = format!("at least listeners.{}.message_octets_max, {}", listener.name, Octets(listener.dialogue.message_octets_max).written());
            root.fault_at(&keys, &Octets(shared).written(), &expected);
        }
    }
}

/// What comes home is kept until it is there, and remembered for as long as it may come.
fn homecomings(root: &Reader<'_>, config: &Config) {
    let Some(listener) = config.listeners.iter().find(|listener| listener.takes_bounces()) else { return };
    if config.through.is_some() {
        let expected = "\"submission\": with spool.mode = \"through\" nothing can be kept here; have bounces come to the postseal that queues";
        root.fault_at(&["listeners", &listener.name, "purpose"], "\"bounces\"", expected);
    }
    if config.spool.history_days < u32::from(config.readdress.token_age_days_max) {
        let expected = format!("at least readdress.token_age_days_max, {}: a bounce must find the mail it tells of", config.readdress.token_age_days_max);
        root.fault_at(&["spool", "history_days"], &config.spool.history_days.to_string(), &expected);
    }
}

/// Who gets the queue at the end is there; and what is passed through has one way, on which bounces need nothing of ours.
fn way_out(root: &Reader<'_>, config: &Config) {
    let hosts = &config.smart_hosts.hosts;
    if let Some(upstream) = config.server.upstream.as_ref().filter(|upstream| !hosts.contains_key(*upstream)) {
        let expected = format!("one of {}; the postseal that is given the queue is declared as [smart_hosts.NAME]", listed(hosts.keys()));
        root.fault_at(&["server", "upstream"], &format!("\"{upstream}\""), &expected);
    }
    let Some(through) = &config.through else { return };
    let route = &through.route;
    if !hosts.contains_key(route) {
        let expected = "routes.default with the name of a smart host: by MX each recipient domain has a next hop of its own, and a client hears one answer";
        return root.fault_at(&["spool", "mode"], &format!("\"through\", and routes.default is \"{route}\""), expected);
    }
    if let Some(rule) = config.policy.routes.iter().find(|rule| rule.route != *route) {
        let expected = format!("\"{route}\", as routes.default: with spool.mode = \"through\" all mail has one next hop, since a client hears one answer");
        root.fault_at(&["routes", "recipients", &rule.recipients.to_string()], &format!("\"{}\"", rule.route), &expected);
    }
    if config.smart_hosts.reverse_paths.get(route) != Some(&RewriteReversePath::Keep) {
        let expected = "reverse_path = \"keep\": with spool.mode = \"through\" nobody here would know whose a bounce address is; the smart host makes it";
        root.fault_at(&["smart_hosts", route.as_str(), "reverse_path"], "\"rewrite\"", expected);
    }
    if hosts.get(route).is_some_and(|host| host.lmtp) {
        let expected = "\"smtp\": with spool.mode = \"through\" a client hears one answer for all its recipients, and by LMTP each has its own after \
                        the message, so that some would have it and get it again; name the agent's mail server, or set spool.mode = \"queue\"";
        root.fault_at(&["smart_hosts", route.as_str(), "protocol"], "\"lmtp\"", expected);
    }
}

/// What mail needs outlives the mail.
fn ages(root: &Reader<'_>, config: &Config) {
    let longest = config.streams.values().filter_map(|stream| stream.max_age).chain([config.max_age]).max().unwrap_or_default();
    let at_least = longest + TWO_DAYS;
    let margin = config.seal.expires_margin;
    match config.seal.expires {
        Some(expires) if expires < at_least => {
            let expected = format!("at least {}, two days more than the longest max_age: mail must not outlive its signature", at_least.written());
            root.fault_at(&["seal", "signature_expires"], &expires.written(), &expected);
        }
        Some(expires) if expires <= margin => {
            root.fault_at(&["seal", "signature_expires_margin"], &margin.written(), "less than signature_expires, or every attempt would seal anew");
        }
        Some(_) | None => {}
    }
    let in_queue = longest + config.policy.deliver_after_max;
    let token_days = config.readdress.token_age_days_max;
    if DAY * u32::from(token_days) < in_queue {
        let expected = format!(
            "at least {}, the longest max_age and policy.deliver_after_max together: mail must not outlive its bounce address",
            in_queue.as_secs().div_ceil(DAY.as_secs())
        );
        root.fault_at(&["readdress", "token_age_days_max"], &token_days.to_string(), &expected);
    }
    if config.spool.senders_days <= u32::from(token_days) {
        let expected = format!("more than readdress.token_age_days_max, {token_days}: a bounce address must lead back to its sender");
        root.fault_at(&["spool", "senders_days"], &config.spool.senders_days.to_string(), &expected);
    }
}

/// What an operator should know, each a sentence; sorted by section.
pub fn warnings(config: &Config) -> Vec<String> {
    let mut warnings = Vec::new();
    warnings.extend(unreachable(config));
    warnings.extend(open(config));
    warnings.extend(in_clear(config));
    warnings.extend(rotation(config));
    warnings.extend(bounces(config));
    if config.deliver.routes.private_addresses_allowed {
        warnings
            .push("deliver.private_addresses_allowed is true: whoever writes an MX record can have mail brought to an address inside your network".to_owned());
    }
    for name in config.smart_hosts.hosts.keys() {
        let is_upstream = config.server.upstream.as_ref() == Some(name);
        let is_way_home = config.returns.route.as_ref() == Some(name);
        if !is_upstream && !is_way_home && config.policy.default_route != *name && config.policy.routes.iter().all(|rule| rule.route != *name) {
            warnings.push(format!("smart host \"{name}\" is not used: neither routes.default, routes.recipients nor returns.route names it"));
        }
    }
    if config.seal.no_key == NoKey::Pass {
        warnings.push("seal.no_key is \"pass\": mail of a domain without a key leaves unsigned, and large receivers reject it".to_owned());
    }
    warnings.extend(unsmoothed(config));
    match config.spool.file_systems {
        _ if config.through.is_some() => {} // nothing is kept there
        FileSystems::Durable => {}
        FileSystems::Volatile if config.server.upstream.is_some() => warnings.push(
            "spool.file_systems is \"volatile\": accepted mail goes to server.upstream at an orderly end, and is lost at any other (a kill, loss of power)"
                .to_owned(),
        ),
        FileSystems::Volatile => {
            warnings.push("spool.file_systems is \"volatile\": on a tmpfs, accepted mail is lost when the machine or container stops".to_owned());
        }
        FileSystems::Any => {
            warnings.push("spool.file_systems is \"any\": a remote file system that lies about locks or fsync loses accepted mail".to_owned());
        }
    }
    warnings.sort();
    warnings
}

/// Rates that nothing smooths: what is passed through does not wait.
fn unsmoothed(config: &Config) -> Vec<String> {
    if config.through.is_none() {
        return Vec::new();
    }
    let of_identity = |rate: &crate::policy::Rate| rate.messages_per_minute.is_some() || rate.recipients_per_minute.is_some();
    let identities = config.policy.identities.iter().filter(|(_, identity)| of_identity(&identity.rate)).map(|(name, _)| format!("identity \"{name}\""));
    let streams = config.streams.iter().filter(|(_, stream)| stream.recipients_per_minute.is_some()).map(|(name, _)| format!("stream \"{name}\""));
    let text = "spool.mode is \"through\", so nothing waits for its turn: set a ceiling, or smooth at the smart host";
    identities.chain(streams).map(|who| format!("{who}: its rate a minute has no effect: {text}")).collect()
}

/// Identities that no client can be, and users who cannot log in.
fn unreachable(config: &Config) -> impl Iterator<Item = String> {
    let is_known = |name: &crate::mail::IdentityName| {
        config.identities.networks.iter().any(|rule| rule.identity == *name)
            || config.identities.certificates.iter().any(|rule| rule.identity == *name)
            || config.users.iter().any(|user| user.identity == *name)
    };
    let unknown = config.policy.identities.keys().filter(move |name| !is_known(name));
    let unknown = unknown.map(|name| format!("identity \"{name}\" is nobody: it has neither networks nor certificate_names, and no user"));
    let can_log_in = config.listeners.iter().any(|listener| {
        let has_tls = listener.implicit_tls || listener.dialogue.starttls != crate::smtp::settings::StartTls::Unavailable;
        has_tls || listener.dialogue.auth_without_tls
    });
    let locked_out = (!config.users.is_empty() && !can_log_in).then(|| "no user can log in: no listener has TLS, and none sets auth_without_tls".to_owned());
    unknown.chain(locked_out)
}

/// Rules that would be faults without consent.
fn open(config: &Config) -> impl Iterator<Item = String> {
    config.policy.identities.iter().flat_map(move |(name, identity)| {
        let consent =
            |is_given: fn(&identity::Consent) -> bool| config.identities.networks.iter().any(|rule| rule.identity == *name && is_given(&rule.consent));
        let authors = match &identity.mode {
            Mode::Author => format!("mail of {}", identity.author_domains.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
            Mode::Forward { .. } => "anybody's mail".to_owned(),
        };
        let public = consent(|consent| consent.public)
            .then(|| format!("identity \"{name}\": allow_public_networks is true: whoever has an address in its networks may send {authors}"));
        let proxies = consent(|consent| consent.proxies)
            .then(|| format!("identity \"{name}\": allow_proxy_networks is true: whoever comes through a proxy in its networks may send {authors}"));
        public.into_iter().chain(proxies)
    })
}

/// Listeners for bounces that bounces do not find, or that lose them.
fn bounces(config: &Config) -> Vec<String> {
    let listens = config.listeners.iter().any(super::sections::listeners::Listener::takes_bounces);
    let mut warnings = Vec::new();
    let hosts = &config.publication.bounce_hosts;
    if listens && !hosts.contains(&config.server.hostname) {
        let hosts = listed(hosts);
        warnings.push(format!(
            "a listener takes bounces, but `postseal dns records` names {hosts} as MX of the bounce domains, and not server.hostname: add it to \
             dns.bounce_hosts, unless those pass bounces on to this relay"
        ));
    }
    if listens && config.spool.file_systems == FileSystems::Volatile {
        let text = "a listener takes bounces, but spool.file_systems is \"volatile\": whose they are is forgotten with the disk, and what is on its way \
                    home is lost at the end; have bounces come to a postseal with a disk that stays";
        warnings.push(text.to_owned());
    }
    let home = config.returns.route.as_ref().and_then(|route| Some((route, config.smart_hosts.hosts.get(route)?)));
    if let Some((name, home)) = home
        && let Some(listener) = config.listeners.iter().find(|listener| home.hosts.iter().any(|host| leads_to(host, listener.address)))
    {
        warnings.push(format!(
            "smart host \"{name}\" is the way home, and leads to our own listener \"{}\": what comes back goes round, and is held in the end",
            listener.name
        ));
    }
    warnings
}

/// Whether a host by its address is one of our listeners.
fn leads_to(host: &HostPort, listener: SocketAddr) -> bool {
    let is_here = |ip: IpAddr| ip == listener.ip() || (listener.ip().is_unspecified() && ip.is_loopback());
    host.port == listener.port() && host.host.parse().is_ok_and(is_here)
}

/// Passwords that everybody on the way can read.
fn in_clear(config: &Config) -> impl Iterator<Item = String> {
    let listeners = config.listeners.iter().filter(|listener| listener.dialogue.auth_without_tls && !listener.address.ip().is_loopback());
    let taken = listeners.map(|listener| format!("listener \"{}\": auth_without_tls is true: passwords cross the network in clear", listener.name));
    let hosts = config.smart_hosts.hosts.iter().filter(|(_, host)| host.auth.as_ref().is_some_and(|auth| auth.in_clear));
    let given = hosts.map(|(name, _)| format!("smart host \"{name}\": auth_in_clear is true: its password may cross the network in clear"));
    taken.chain(given)
}

/// Keys that do not rotate as was meant, or faster than is safe.
fn rotation(config: &Config) -> Vec<String> {
    let rotation = &config.rotation;
    let mut warnings = Vec::new();
    if rotation.soak_min < SOAK_SAFE {
        let soak = rotation.soak_min.written();
        warnings
            .push(format!("rotation.soak_min is {soak}: receivers that looked for a new key too early may not find it; set it to at least 1h outside a lab"));
    }
    if rotation.retire_min < DAY * 7 {
        let retire = rotation.retire_min.written();
        warnings.push(format!("rotation.retire_min is {retire}: mail on its way may outlive its key's record; set it to at least 7d outside a lab"));
    }
    for (domain, settings) in config.domains.iter().filter(|(_, settings)| !settings.author.parked) {
        let Some(every) = settings.rotation.rotate_every else { continue };
        if settings.rotation.evidence == Evidence::Manual {
            warnings.push(format!(
                "domain {domain}: rotate_every is set, but evidence is \"manual\": new keys are made, and then nothing advances by itself, each waits for \
                 `postseal key advance {domain} --confirm SELECTOR`"
            ));
        }
        if every < rotation.retire_min {
            let (every, retire) = (every.written(), rotation.retire_min.written());
            warnings
                .push(format!("domain {domain}: rotate_every is {every}, less than rotation.retire_min, {retire}: several old keys stay published at a time"));
        }
    }
    warnings
}

/// RFC 2308 §5 has negative answers remembered for hours at most; most zones say an hour or less.
const SOAK_SAFE: Duration = Duration::from_hours(1);

const DAY: Duration = Duration::from_hours(24);

/// What a signature has to outlive the queue by: a receiver may look at it late.
const TWO_DAYS: Duration = Duration::from_hours(48);
