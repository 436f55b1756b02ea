//! Postfix: `main.cf` and `master.cf` (postconf(5), master(5)).
//!
//! What decides where mail comes from, where it goes and how large it may be is carried over. Rewriting, local delivery and filters have no
//! counterpart: they are named. The author domains stand in no file of Postfix; whoever asks gives them, or the domain of the host is taken.

use super::{Draft, Files};
use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// What the person who asks adds.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Author domains of the applications; none: the domain of the host.
    pub domains: &'a [String],
    /// Files that the configuration names.
    pub files: &'a Files<'a>,
}

/// What becomes of a `main.cf`, and of the services of a `master.cf` where there is one.
#[must_use]
pub fn read(main: &str, master: Option<&str>, asked: Asked<'_>) -> Draft {
    let mut draft = Draft::default();
    let settings = Settings::parse(main, &mut draft);
    let services = master.map_or_else(|| vec![Service::standard()], |text| services(text, &mut draft));
    carry(&settings, &services, asked, &mut draft);
    draft
}

/// As [`read`], for settings that came another way.
pub(super) fn carry(settings: &Settings, services: &[Service], asked: Asked<'_>, draft: &mut Draft) {
    let hostname = server(settings, draft);
    certificates(settings, draft);
    for service in services {
        listener(settings, service, draft);
    }
    identity(settings, &hostname, asked, draft);
    relayhost(settings, asked, draft);
    transports(settings, asked, draft);
    tls_demands(settings, asked, draft);
    delivery(settings, draft);
    leftovers(settings, draft);
}

/// `main.cf`: the last word on each name counts.
#[derive(Debug, Default, Clone)]
pub(super) struct Settings(BTreeMap<String, String>);

impl Settings {
    fn parse(text: &str, draft: &mut Draft) -> Self {
        let mut settings = Self::default();
        for line in logical_lines(text) {
            match line.split_once('=') {
                Some((name, value)) => settings.set(name.trim(), value.trim()),
                None => draft.leave(format!("main.cf: \"{}\" is no setting; expected NAME = VALUE", shown(&line))),
            }
        }
        settings
    }

    pub(super) fn set(&mut self, name: &str, value: &str) {
        self.0.insert(name.to_owned(), value.to_owned());
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// The value with its parameters expanded; `None` where it is absent or empty.
    fn get(&self, name: &str) -> Option<String> {
        let value = self.expanded(self.0.get(name)?, DEPTH_MAX);
        let value = value.trim();
        (!value.is_empty()).then(|| value.to_owned())
    }

    fn list(&self, name: &str) -> Vec<String> {
        let words = |value: String| value.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        self.get(name).map(words).unwrap_or_default()
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.get(name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    }

    /// `$name`, `${name}`, `$(name)`, `${name?text}` where it has a value, `${name:text}` where it has none, `$$`.
    fn expanded(&self, text: &str, depth: usize) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('$') {
            out.push_str(before);
            if let Some(after) = after.strip_prefix('$') {
                out.push('$');
                rest = after;
                continue;
            }
            let (inside, behind) = parameter(after);
            if depth > 0 {
                out.push_str(&self.parameter(inside, depth - 1));
            }
            rest = behind;
        }
        out.push_str(rest);
        out
    }

    fn parameter(&self, inside: &str, depth: usize) -> String {
        let value = |name: &str| match self.0.get(name) {
            Some(value) => self.expanded(value, depth),
            None if name == "mydomain" => self.domain_of_host(depth).unwrap_or_default(),
            None => String::new(),
        };
        if let Some((name, text)) = inside.split_once('?') {
            return if value(name).is_empty() { String::new() } else { self.expanded(text, depth) };
        }
        match inside.split_once(':') {
            Some((name, text)) if value(name).is_empty() => self.expanded(text, depth),
            Some(_) => String::new(),
            None => value(inside),
        }
    }

    /// postconf(5), `mydomain`: the host's name without its first label.
    fn domain_of_host(&self, depth: usize) -> Option<String> {
        let host = self.0.get("myhostname").map(|host| self.expanded(host, depth))?;
        let (_, domain) = host.split_once('.')?;
        domain.contains('.').then(|| domain.to_owned())
    }

    fn domain(&self) -> Option<String> {
        self.get("mydomain").or_else(|| self.domain_of_host(DEPTH_MAX))
    }
}

/// The name of a parameter, without its brackets, and what follows it.
fn parameter(after: &str) -> (&str, &str) {
    for (open, close) in [('{', '}'), ('(', ')')] {
        if let Some(inner) = after.strip_prefix(open) {
            return inner.split_once(close).unwrap_or((inner, ""));
        }
    }
    after.split_at(after.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(after.len()))
}

/// Lines that begin with white space go on the one before; comments and empty lines are none (postconf(5)).
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let said = line.trim();
        if said.is_empty() || said.starts_with('#') {
            continue;
        }
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(said);
            }
            _ => lines.push(said.to_owned()),
        }
    }
    lines
}

/// An smtpd of `master.cf`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// The address it names, if it names one.
    address: Option<String>,
    port: u16,
    /// `-o`.
    overrides: BTreeMap<String, String>,
    origin: String,
}

impl Service {
    /// What listens where no `master.cf` says it.
    pub(super) fn standard() -> Self {
        Self::at(25, "Postfix listens on port 25")
    }

    pub(super) fn at(port: u16, origin: &str) -> Self {
        Self { address: None, port, overrides: BTreeMap::new(), origin: origin.to_owned() }
    }

    fn parse(line: &str) -> Result<Option<Self>, String> {
        let (fields, arguments) = match line.find(" -o").into_iter().next() {
            Some(at) => line.split_at(at),
            None => (line, ""),
        };
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let [name, kind, .., command] = fields[..] else { return Err(format!("master.cf: \"{}\" is no service", shown(line))) };
        if kind != "inet" || command != "smtpd" {
            return Ok(None);
        }
        let (address, port) = match name.rsplit_once(':') {
            Some((address, port)) => (Some(address.trim_matches(['[', ']']).to_owned()), port),
            None => (None, name),
        };
        let port = match port {
            "smtp" => 25,
            "submission" => 587,
            "smtps" | "submissions" | "urd" => 465,
            other => other.parse().map_err(|_| format!("master.cf: the port \"{}\" is not known; expected a number", shown(other)))?,
        };
        Ok(Some(Self { address, port, overrides: overrides(arguments), origin: format!("master.cf: {name} inet") }))
    }

    fn setting(&self, settings: &Settings, name: &str) -> Option<String> {
        match self.overrides.get(name) {
            Some(value) => Some(settings.expanded(value, DEPTH_MAX)).filter(|value| !value.trim().is_empty()),
            None => settings.get(name),
        }
    }

    fn says(&self, settings: &Settings, name: &str, value: &str) -> bool {
        self.setting(settings, name).is_some_and(|found| found.eq_ignore_ascii_case(value))
    }
}

/// `-o name=value` and `-o { name = value }`.
fn overrides(arguments: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut rest = arguments;
    while let Some((_, after)) = rest.split_once("-o") {
        let after = after.trim_start();
        let (said, behind) = match after.strip_prefix('{') {
            Some(inner) => inner.split_once('}').unwrap_or((inner, "")),
            None => after.split_once(|c: char| c.is_ascii_whitespace()).unwrap_or((after, "")),
        };
        if let Some((name, value)) = said.split_once('=') {
            found.insert(name.trim().to_owned(), value.trim().to_owned());
        }
        rest = behind;
    }
    found
}

fn services(text: &str, draft: &mut Draft) -> Vec<Service> {
    let mut found = Vec::new();
    for line in logical_lines(text) {
        match Service::parse(&line) {
            Ok(service) => found.extend(service),
            Err(why) => draft.leave(why),
        }
    }
    if found.is_empty() {
        draft.ask("master.cf has no smtpd that listens on the network: say under [listeners.smtp] where applications connect");
        found.push(Service { address: Some("127.0.0.1".to_owned()), ..Service::standard() });
    }
    found
}

fn server(settings: &Settings, draft: &mut Draft) -> String {
    let hostname = settings.get("myhostname").filter(|name| name.contains('.'));
    match &hostname {
        Some(name) => draft.text("server", "hostname", name, "main.cf: myhostname"),
        None => {
            draft.ask("main.cf has no full myhostname: put the name that the PTR record of your address gives into server.hostname");
            draft.text("server", "hostname", "mail.example.com", "a stand-in");
        }
    }
    hostname.unwrap_or_else(|| "mail.example.com".to_owned())
}

fn certificates(settings: &Settings, draft: &mut Draft) {
    let section = "tls.certificates.main";
    let files = settings.list("smtpd_tls_chain_files");
    if let Some(file) = files.first() {
        draft.text(section, "chain", file, "main.cf: smtpd_tls_chain_files");
        draft.text(section, "key", file, "main.cf: smtpd_tls_chain_files");
        if files.len() > 1 {
            draft.leave("smtpd_tls_chain_files has several files; the first is carried over, give others a table [tls.certificates.NAME] each");
        }
        return;
    }
    let Some(chain) = settings.get("smtpd_tls_cert_file").filter(|file| file != "none") else { return };
    let key = settings.get("smtpd_tls_key_file").unwrap_or_else(|| chain.clone());
    draft.text(section, "chain", &chain, "main.cf: smtpd_tls_cert_file");
    draft.text(section, "key", &key, "main.cf: smtpd_tls_key_file");
    draft.ask(format!("see that the user postseal runs as may read {key}"));
}

fn listener(settings: &Settings, service: &Service, draft: &mut Draft) {
    let addresses = addresses(settings, service, draft);
    let many = addresses.len() > 1;
    let wrapped = service.says(settings, "smtpd_tls_wrappermode", "yes");
    let level = service.setting(settings, "smtpd_tls_security_level").unwrap_or_else(|| {
        if service.says(settings, "smtpd_enforce_tls", "yes") {
            "encrypt".to_owned()
        } else if service.says(settings, "smtpd_use_tls", "yes") {
            "may".to_owned()
        } else {
            "none".to_owned()
        }
    });
    let tls = match level.as_str() {
        _ if wrapped => "implicit",
        "encrypt" => "starttls-required",
        "none" => "none",
        _ => "starttls",
    };
    let has_certificate = draft.has("tls.certificates");
    let tls = if tls == "none" || has_certificate { tls } else { "none" };
    if level != "none" && !has_certificate {
        draft.ask("main.cf offers TLS without a certificate file: name one under [tls.certificates.main] and give the listeners tls = \"starttls\"");
    }
    let base = match service.port {
        25 => "smtp".to_owned(),
        587 => "submission".to_owned(),
        465 => "submissions".to_owned(),
        port => format!("port{port}"),
    };
    for (number, address) in addresses.iter().enumerate() {
        let mut name = if many { format!("{base}{}", number + 1) } else { base.clone() };
        while draft.has(&format!("listeners.{name}")) {
            name.push('x');
        }
        let section = format!("listeners.{name}");
        draft.text(&section, "address", address, &service.origin);
        draft.text(&section, "tls", tls, if wrapped { "smtpd_tls_wrappermode" } else { "smtpd_tls_security_level" });
        if service.says(settings, "smtpd_sasl_auth_enable", "yes") && !service.says(settings, "smtpd_tls_auth_only", "yes") && tls != "implicit" {
            draft.leave("passwords in clear text (smtpd_tls_auth_only = no): set auth_without_tls where you must");
        }
        if service.says(settings, "smtpd_upstream_proxy_protocol", "haproxy") {
            draft.flag(&section, "proxy_protocol", true, "smtpd_upstream_proxy_protocol");
            draft.list::<&str>(&section, "proxies", [], "to be filled: the networks of the proxies");
            draft.ask(format!("name the networks of your proxies in {section}.proxies"));
        }
        limits(settings, service, &section, draft);
    }
    if service.says(settings, "smtpd_sasl_auth_enable", "yes") {
        let kind = service.setting(settings, "smtpd_sasl_type").unwrap_or_else(|| "cyrus".to_owned());
        draft.leave(format!("the users of SASL ({kind}): passwords cannot be read back. Make each a table [users.NAME] with what `postseal user hash` prints"));
    }
}

/// Where `inet_interfaces` and `inet_protocols` let a service listen.
fn addresses(settings: &Settings, service: &Service, draft: &mut Draft) -> Vec<String> {
    let at = |address: &str| if address.contains(':') { format!("[{address}]:{}", service.port) } else { format!("{address}:{}", service.port) };
    if let Some(address) = &service.address {
        let address = if address == "localhost" { "127.0.0.1" } else { address };
        if address.parse::<IpAddr>().is_ok() {
            return vec![at(address)];
        }
        draft.ask(format!("{}: \"{}\" is no IP address; say under [listeners] which it is", service.origin, shown(address)));
        return vec![at("127.0.0.1")];
    }
    let everywhere = if settings.is("inet_protocols", "ipv4") { at("0.0.0.0") } else { at("::") };
    let mut found = Vec::new();
    for interface in settings.list("inet_interfaces") {
        match interface.as_str() {
            "all" => found.push(everywhere.clone()),
            "loopback-only" | "localhost" => found.push(at("127.0.0.1")),
            other => match other.trim_matches(['[', ']']).parse::<IpAddr>() {
                Ok(address) => found.push(at(&address.to_string())),
                Err(_) => draft.leave(format!("inet_interfaces: \"{}\" is no IP address; say under [listeners] which it is", shown(other))),
            },
        }
    }
    if found.is_empty() {
        found.push(everywhere);
    }
    found
}

fn limits(settings: &Settings, service: &Service, section: &str, draft: &mut Draft) {
    for (name, key) in [("smtpd_recipient_limit", "recipients_max"), ("smtpd_client_connection_count_limit", "connections_per_client_max")] {
        let Some(value) = service.setting(settings, name) else { continue };
        match value.parse::<u64>() {
            Ok(number @ 1..=100_000) => draft.number(section, key, number, &format!("main.cf: {name}")),
            _ => draft.leave(format!("{name} = {}: expected 1 to 100000; the limit here is the default", shown(&value))),
        }
    }
    if let Some(value) = service.setting(settings, "message_size_limit") {
        match value.parse::<u64>() {
            Ok(octets @ 1024..=1_073_741_824) => draft.text(section, "message_octets_max", &size(octets), "main.cf: message_size_limit"),
            _ => draft.leave(format!("message_size_limit = {}: expected 1024 to 1073741824 octets; the limit here is the default", shown(&value))),
        }
    }
}

fn identity(settings: &Settings, hostname: &str, asked: Asked<'_>, draft: &mut Draft) {
    let section = "identities.app";
    networks(settings, section, asked, draft);
    let domain = settings.domain().unwrap_or_else(|| hostname.to_owned());
    if asked.domains.is_empty() {
        draft.list(section, "author_domains", [&domain], "main.cf: mydomain");
        draft.ask(format!(
            "list in {section}.author_domains every domain that applications write in From; Postfix takes any, so its files do not say (--domain gives them)"
        ));
    } else {
        draft.list(section, "author_domains", asked.domains, "as asked");
    }
    let per_minute = settings.get("anvil_rate_time_unit").is_none_or(|unit| matches!(seconds(&unit, 's'), Some(60)));
    for (name, key) in
        [("smtpd_client_message_rate_limit", "messages_per_minute_ceiling"), ("smtpd_client_recipient_rate_limit", "recipients_per_minute_ceiling")]
    {
        match settings.get(name).map(|value| value.parse::<u64>()) {
            None | Some(Ok(0)) => {}
            Some(Ok(number)) if per_minute => draft.number(section, key, number, &format!("main.cf: {name}, there of each client address")),
            Some(_) => draft.leave(format!("{name}: it is not in messages a minute (anvil_rate_time_unit); set {section}.{key}")),
        }
    }
}

fn networks(settings: &Settings, section: &str, asked: Asked<'_>, draft: &mut Draft) {
    let mut words = settings.list("mynetworks");
    if words.is_empty() {
        draft.list(section, "networks", ["127.0.0.0/8", "::1/128"], "main.cf has no mynetworks");
        draft.ask(format!("main.cf leaves mynetworks to the host's interfaces: list in {section}.networks who may send"));
        return;
    }
    let mut networks = Vec::new();
    let mut at = 0;
    while at < words.len() {
        let word = words[at].clone();
        at += 1;
        if word.starts_with('/') {
            match (asked.files)(&word) {
                Ok(text) => words.extend(logical_lines(&text).iter().filter_map(|line| line.split_ascii_whitespace().next()).map(str::to_owned)),
                Err(why) => draft.leave(format!("mynetworks: {why}")),
            }
        } else if word.starts_with('!') {
            draft.leave(format!("mynetworks: the exception {}: list the networks without it", shown(&word)));
        } else if let Some((kind, _)) = word.split_once(':').filter(|(kind, _)| kind.bytes().all(|c| c.is_ascii_alphabetic()) && kind.len() > 1) {
            draft.leave(format!("mynetworks: the table {} ({kind}): list its networks in {section}.networks", shown(&word)));
        } else {
            match network(&word) {
                Some(network) if network.prefix_len() == 0 => {
                    draft.leave(format!("mynetworks: {network} would let everybody relay, and is left out"));
                }
                Some(network) => networks.push(network),
                None => draft.leave(format!("mynetworks: \"{}\" is no network; expected 192.0.2.0/24 or [2001:db8::]/32", shown(&word))),
            }
        }
    }
    draft.list(section, "networks", networks.iter().map(ToString::to_string), "main.cf: mynetworks");
    if let Some(public) = networks.iter().find(|network| is_public(network)) {
        draft.flag(section, "allow_public_networks", true, &format!("{public} is of the public internet"));
        draft.ask(format!("{section}.networks holds {public}, addresses of the public internet: see that only your hosts have them"));
    }
}

/// Postfix writes IPv6 in brackets, and takes an address for a network of one.
fn network(word: &str) -> Option<IpNet> {
    let plain: String = word.chars().filter(|c| !matches!(c, '[' | ']')).collect();
    plain.parse::<IpNet>().ok().or_else(|| plain.parse::<IpAddr>().ok().map(IpNet::from)).map(|network| network.trunc())
}

fn is_public(network: &IpNet) -> bool {
    let inner = ["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7", "fe80::/10"];
    !inner.iter().filter_map(|inner| inner.parse::<IpNet>().ok()).any(|inner| inner.contains(network))
}

fn relayhost(settings: &Settings, asked: Asked<'_>, draft: &mut Draft) {
    let Some(relayhost) = settings.get("relayhost") else {
        draft.text("routes", "default", "mx", "main.cf has no relayhost");
        return;
    };
    smart_host("relayhost", &relayhost, "main.cf: relayhost", settings, asked, draft);
    draft.text("routes", "default", "relayhost", "main.cf: relayhost");
}

/// A next hop as Postfix writes it, `[host]:port` or `host:port`, as a table of smart hosts.
fn smart_host(name: &str, hop: &str, origin: &str, settings: &Settings, asked: Asked<'_>, draft: &mut Draft) {
    let section = format!("smart_hosts.{name}");
    let (host, port) = host_and_port(hop);
    draft.text(&section, "host", &host, origin);
    if !hop.starts_with('[') && host.parse::<IpAddr>().is_err() {
        draft.leave(format!("{origin}: Postfix looks up the MX of {host}; a smart host here is the host itself. Check that the name has an address"));
    }
    draft.number(&section, "port", u64::from(port), origin);
    if settings.is("smtp_tls_wrappermode", "yes") {
        draft.flag(&section, "implicit_tls", true, "main.cf: smtp_tls_wrappermode");
    } else if port == 465 {
        draft.flag(&section, "implicit_tls", false, "main.cf: no smtp_tls_wrappermode");
    }
    let level = settings.get("smtp_tls_security_level").unwrap_or_else(|| {
        let demanded = settings.is("smtp_enforce_tls", "yes");
        (if demanded {
            "encrypt"
        } else if settings.is("smtp_use_tls", "yes") {
            "may"
        } else {
            "none"
        })
        .to_owned()
    });
    let has_password = settings.is("smtp_sasl_auth_enable", "yes");
    let tls = match level.as_str() {
        "none" if has_password => "opportunistic",
        "none" => "none",
        "encrypt" => "required",
        "verify" | "secure" | "fingerprint" | "dane-only" => "verified",
        _ => "opportunistic",
    };
    draft.text(&section, "tls", tls, &format!("main.cf: smtp_tls_security_level = {level}"));
    if tls != "verified" {
        draft.ask(format!("set {section}.tls = \"verified\" if the certificate of {host} is in order: without it whoever is in between can read the mail"));
    }
    if has_password {
        credentials(&section, hop, &host, settings, asked, draft);
    }
}

fn credentials(section: &str, hop: &str, host: &str, settings: &Settings, asked: Asked<'_>, draft: &mut Draft) {
    let table = settings.get("smtp_sasl_password_maps").unwrap_or_default();
    let user = match lookup(&table, asked.files, &[hop, host]) {
        Ok(None) => return, // Postfix does not authenticate to a host that its table does not have
        Ok(Some(value)) => value.split_once(':').map(|(user, _)| user.to_owned()).ok_or_else(|| "its line is not USER:PASSWORD".to_owned()),
        Err(why) => Err(why),
    };
    match user {
        Ok(user) => draft.text(section, "user", &user, "main.cf: smtp_sasl_password_maps"),
        Err(why) => {
            draft.text(section, "user", "USER", "a stand-in");
            draft.ask(format!("say in {section}.user who you are at {host}; smtp_sasl_password_maps: {why}"));
        }
    }
    let file = format!("secrets/{}", section.rsplit('.').next().unwrap_or(section));
    draft.text(section, "password_file", &file, "passwords are not printed");
    draft.ask(format!("put the password for {host} into {file}, beside the configuration, readable by postseal alone (mode 0600)"));
}

/// The value of the first of `keys` that a table of Postfix has.
fn lookup(table: &str, files: &Files<'_>, keys: &[&str]) -> Result<Option<String>, String> {
    let entries = entries(table, files)?;
    let found = keys.iter().find_map(|key| entries.iter().find(|(name, _)| name.is_empty() || name.eq_ignore_ascii_case(key)));
    Ok(found.map(|(_, value)| value.clone()))
}

/// The lines of a table whose source is a text. `static:` answers every question.
fn entries(table: &str, files: &Files<'_>) -> Result<Vec<(String, String)>, String> {
    let pair = |line: &String| line.split_once(|c: char| c.is_ascii_whitespace()).map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
    match table.split_once(':') {
        Some(("static", value)) => Ok(vec![(String::new(), value.trim_matches(['{', '}', ' ']).to_owned())]),
        Some(("inline", value)) => {
            let inside = value.trim().trim_start_matches('{').trim_end_matches('}');
            let pairs = inside.split(['{', '}', ',']).flat_map(str::lines).filter_map(|entry| entry.split_once('='));
            Ok(pairs.map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned())).collect())
        }
        Some(("hash" | "btree" | "lmdb" | "cdb" | "dbm" | "sdbm" | "texthash", path)) => Ok(logical_lines(&files(path)?).iter().filter_map(pair).collect()),
        Some((kind, _)) => Err(format!("tables of the kind \"{}\" are not read", shown(kind))),
        None if table.is_empty() => Err("it is not set".to_owned()),
        None => Err(format!("\"{}\" is no table; expected KIND:FILE", shown(table))),
    }
}

fn host_and_port(hop: &str) -> (String, u16) {
    let hop = hop.trim().trim_start_matches("inet:");
    let (host, port) = match hop.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => hop.rsplit_once(':').map_or((hop, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some("submission") => 587,
        Some("smtps" | "submissions") => 465,
        Some(port) => port.parse().unwrap_or(25),
        None => 25,
    };
    (host.to_owned(), port)
}

/// `transport_maps`: recipient domains that go another way.
fn transports(settings: &Settings, asked: Asked<'_>, draft: &mut Draft) {
    for table in settings.list("transport_maps") {
        let entries = match entries(&table, asked.files) {
            Ok(entries) => entries,
            Err(why) => {
                draft.leave(format!("transport_maps {}: {why}", shown(&table)));
                continue;
            }
        };
        for (pattern, value) in entries {
            let (transport, hop) = value.split_once(':').unwrap_or((value.as_str(), ""));
            if !matches!(transport, "smtp" | "relay" | "") || pattern.contains('@') || pattern == "*" {
                draft.leave(format!(
                    "transport_maps: {} {}: only whole domains and smtp: have a counterpart, [routes.recipients]",
                    shown(&pattern),
                    shown(&value)
                ));
                continue;
            }
            let route = if hop.is_empty() { "mx".to_owned() } else { route_to(hop, settings, asked, draft) };
            let pattern = pattern.strip_prefix('.').map_or_else(|| pattern.clone(), |rest| format!("*.{rest}"));
            draft.text("routes.recipients", &pattern, &route, "main.cf: transport_maps");
        }
    }
}

fn route_to(hop: &str, settings: &Settings, asked: Asked<'_>, draft: &mut Draft) -> String {
    let (host, port) = host_and_port(hop);
    let name: String = format!("{host}-{port}").chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    if !draft.has(&format!("smart_hosts.{name}")) {
        smart_host(&name, hop, "main.cf: transport_maps", settings, asked, draft);
    }
    name
}

/// `smtp_tls_policy_maps`: what is demanded of TLS towards some domains.
fn tls_demands(settings: &Settings, asked: Asked<'_>, draft: &mut Draft) {
    if !settings.has("relayhost") && matches!(settings.get("smtp_tls_security_level").as_deref(), Some("encrypt" | "verify" | "secure" | "dane-only")) {
        draft.leave("TLS demanded of every next hop (smtp_tls_security_level): name the domains that need it under [deliver.tls.recipients]; of the large providers it is demanded anyway");
    }
    for table in settings.list("smtp_tls_policy_maps") {
        match entries(&table, asked.files) {
            Err(why) => draft.leave(format!("smtp_tls_policy_maps {}: {why}", shown(&table))),
            Ok(entries) => entries.iter().for_each(|(domain, policy)| {
                let level = match policy.split_ascii_whitespace().next().unwrap_or_default() {
                    "may" | "dane" => "opportunistic",
                    "encrypt" => "required",
                    "verify" | "secure" | "dane-only" => "verified",
                    _ => {
                        draft.leave(format!("smtp_tls_policy_maps: {} {}: it has no counterpart", shown(domain), shown(policy)));
                        return;
                    }
                };
                let domain = domain.trim_matches(['[', ']', '.']);
                draft.text("deliver.tls.recipients", domain, level, "main.cf: smtp_tls_policy_maps");
            }),
        }
    }
}

fn delivery(settings: &Settings, draft: &mut Draft) {
    if let Some(value) = settings.get("maximal_queue_lifetime") {
        match seconds(&value, 'd') {
            Some(0) => draft.leave("maximal_queue_lifetime = 0 (mail is tried once): the shortest time here is a minute, deliver.max_age"),
            Some(age) => draft.text("deliver", "max_age", &duration(age), "main.cf: maximal_queue_lifetime"),
            None => draft.leave(format!("maximal_queue_lifetime = {}: expected a time as 5d", shown(&value))),
        }
    }
    if let Some(value) = settings.get("delay_warning_time") {
        match seconds(&value, 'h') {
            Some(after) => draft.text("deliver", "delay_notice_after", &duration(after), "main.cf: delay_warning_time"),
            None => draft.leave(format!("delay_warning_time = {}: expected a time as 4h", shown(&value))),
        }
    }
    for (name, key) in [("smtp_bind_address", "source_v4"), ("smtp_bind_address6", "source_v6")] {
        match settings.get(name).map(|value| (value.parse::<IpAddr>(), value)) {
            None => {}
            Some((Ok(address), _)) => draft.text("deliver", key, &address.to_string(), &format!("main.cf: {name}")),
            Some((Err(_), value)) => draft.leave(format!("{name} = {}: expected an IP address", shown(&value))),
        }
    }
    if let Some(name) = settings.get("smtp_helo_name").filter(|name| settings.get("myhostname").as_ref() != Some(name)) {
        draft.text("deliver", "ehlo_name", &name, "main.cf: smtp_helo_name");
    }
    match settings.get("inet_protocols").as_deref() {
        Some("ipv4") => draft.text("deliver", "address_preference", "ipv4-only", "main.cf: inet_protocols"),
        Some("ipv6") => draft.text("deliver", "address_preference", "ipv6-only", "main.cf: inet_protocols"),
        _ => {}
    }
}

/// As `[listeners]` writes sizes.
fn size(octets: u64) -> String {
    match octets {
        whole if whole % (1 << 20) == 0 => format!("{} MiB", whole >> 20),
        whole if whole % (1 << 10) == 0 => format!("{} KiB", whole >> 10),
        other => format!("{other} B"),
    }
}

/// A time of Postfix, in seconds; `unit` where it names none.
fn seconds(value: &str, unit: char) -> Option<u64> {
    let value = value.trim();
    let (number, unit) = match value.char_indices().last()? {
        (at, last) if last.is_ascii_alphabetic() => (&value[..at], last.to_ascii_lowercase()),
        _ => (value, unit),
    };
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    number.trim().parse::<u64>().ok()?.checked_mul(factor)
}

fn duration(seconds: u64) -> String {
    match seconds {
        s if s >= 86_400 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s >= 3600 && s % 3600 == 0 => format!("{}h", s / 3600),
        s if s >= 60 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

/// What was set and is not carried over.
fn leftovers(settings: &Settings, draft: &mut Draft) {
    for name in settings.0.keys() {
        let Some(value) = settings.get(name) else { continue };
        if let Some((_, why)) = REASONS.iter().find(|(listed, _)| listed == name) {
            draft.leave(format!("{name} = {}: {why}", shown(&value)));
        } else if !CARRIED.contains(&name.as_str()) && !is_of_no_matter(name) {
            draft.leave(format!("{name} = {}: it has no counterpart", shown(&value)));
        }
    }
}

fn is_of_no_matter(name: &str) -> bool {
    OF_NO_MATTER.contains(&name) || name.ends_with("_directory") || name.ends_with("_path") || name.starts_with("debug") || name.starts_with("lmtp_")
}

/// Outside text in a sentence of ours: not longer than a line, and without passwords of URLs.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if text.chars().count() > SHOWN_MAX {
        shown.push('…');
    }
    shown
}

const DEPTH_MAX: usize = 8;
const SHOWN_MAX: usize = 80;

/// What the functions above read.
const CARRIED: [&str; 44] = [
    "myhostname",
    "mydomain",
    "myorigin",
    "mynetworks",
    "mynetworks_style",
    "inet_interfaces",
    "inet_protocols",
    "relayhost",
    "smtp_sasl_auth_enable",
    "smtp_sasl_password_maps",
    "smtp_sasl_security_options",
    "smtp_sasl_tls_security_options",
    "smtp_sasl_mechanism_filter",
    "smtp_tls_security_level",
    "smtp_tls_wrappermode",
    "smtp_use_tls",
    "smtp_enforce_tls",
    "smtp_tls_policy_maps",
    "smtp_bind_address",
    "smtp_bind_address6",
    "smtp_helo_name",
    "smtpd_tls_cert_file",
    "smtpd_tls_key_file",
    "smtpd_tls_chain_files",
    "smtpd_tls_security_level",
    "smtpd_tls_wrappermode",
    "smtpd_tls_auth_only",
    "smtpd_use_tls",
    "smtpd_enforce_tls",
    "smtpd_sasl_auth_enable",
    "smtpd_sasl_type",
    "smtpd_sasl_security_options",
    "smtpd_recipient_limit",
    "smtpd_client_connection_count_limit",
    "smtpd_client_message_rate_limit",
    "smtpd_client_recipient_rate_limit",
    "smtpd_upstream_proxy_protocol",
    "anvil_rate_time_unit",
    "message_size_limit",
    "maximal_queue_lifetime",
    "bounce_queue_lifetime",
    "delay_warning_time",
    "transport_maps",
    "smtpd_relay_restrictions",
];

/// What decides nothing that postseal does.
const OF_NO_MATTER: [&str; 26] = [
    "compatibility_level",
    "biff",
    "append_dot_mydomain",
    "readme_directory",
    "mail_owner",
    "setgid_group",
    "default_privs",
    "mail_name",
    "smtpd_banner",
    "unknown_local_recipient_reject_code",
    "smtputf8_enable",
    "smtpd_tls_session_cache_database",
    "smtp_tls_session_cache_database",
    "smtp_tls_CAfile",
    "smtp_tls_CApath",
    "smtpd_tls_received_header",
    "smtpd_tls_loglevel",
    "smtp_tls_loglevel",
    "smtp_tls_note_starttls_offer",
    "maillog_file",
    "maillog_file_permissions",
    "shlib_directory",
    "meta_directory",
    "mailbox_size_limit",
    "disable_vrfy_command",
    "smtpd_helo_required",
];

/// What cannot be carried over, and what stands in its place.
const REASONS: [(&str, &str); 30] = [
    ("alias_maps", "nothing is delivered on this host"),
    ("alias_database", "nothing is delivered on this host"),
    ("mydestination", "nothing is delivered on this host; mail to these domains goes by [routes]"),
    ("local_recipient_maps", "nothing is delivered on this host"),
    ("local_transport", "nothing is delivered on this host"),
    ("mailbox_command", "nothing is delivered on this host"),
    ("home_mailbox", "nothing is delivered on this host"),
    ("recipient_delimiter", "nothing is delivered on this host"),
    ("relay_domains", "clients are known by identity; what they may send to is not bounded by domain"),
    ("virtual_alias_maps", "recipients are not rewritten; do it where the mail is made"),
    ("virtual_alias_domains", "recipients are not rewritten; do it where the mail is made"),
    ("virtual_mailbox_domains", "nothing is delivered on this host"),
    ("virtual_mailbox_maps", "nothing is delivered on this host"),
    ("virtual_transport", "nothing is delivered on this host"),
    ("canonical_maps", "addresses are not rewritten but for the envelope sender, which becomes a bounce address by itself"),
    ("sender_canonical_maps", "the envelope sender becomes a bounce address by itself; From stays as it is written"),
    ("recipient_canonical_maps", "recipients are not rewritten"),
    ("smtp_generic_maps", "the envelope sender becomes a bounce address by itself; senders that can receive nothing go by identities.NAME.bounces_to"),
    ("masquerade_domains", "From stays as it is written; set it where the mail is made"),
    ("header_checks", "header fields are not rewritten by patterns"),
    ("smtp_header_checks", "header fields are not rewritten by patterns"),
    ("body_checks", "bodies are not searched"),
    ("content_filter", "mail is not filtered"),
    ("always_bcc", "no copies are made; see `postseal events` and webhooks"),
    ("sender_bcc_maps", "no copies are made; see `postseal events` and webhooks"),
    ("sender_dependent_relayhost_maps", "routes go by recipient; give the stream of that sender a pool of its own"),
    ("smtpd_milters", "milters are not asked. Signing: `postseal import opendkim` or `postseal import rspamd` carries it over"),
    ("non_smtpd_milters", "milters are not asked. Signing: `postseal import opendkim` or `postseal import rspamd` carries it over"),
    ("smtpd_sender_restrictions", "who may write as whom is identities.NAME.author_domains"),
    ("smtpd_recipient_restrictions", "who may relay is [identities]"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        Settings::parse(text, &mut Draft::default())
    }

    #[test]
    fn parameters_are_expanded_as_postfix_does() {
        let settings = settings("myhostname = mx.shop.example\na = $mydomain,${b}\nb = $(c)\nc=x$$y\nd = ${a?yes}${none?no}${none:or}${a:no}\nloop = $loop\n");
        for (name, value) in [("a", "shop.example,x$y"), ("d", "yesor"), ("b", "x$y")] {
            assert_eq!(settings.get(name).as_deref(), Some(value), "{name}");
        }
        assert_eq!(settings.get("loop"), None);
    }

    #[test]
    fn lines_go_on_and_the_last_word_counts() {
        let settings = settings("# a comment\nmynetworks = 10.0.0.0/8\n  # between\n  192.168.0.0/16,\n\t[::1]/128\nrelayhost = a\nrelayhost = b\n");
        assert_eq!(settings.list("mynetworks"), ["10.0.0.0/8", "192.168.0.0/16", "[::1]/128"]);
        assert_eq!(settings.get("relayhost").as_deref(), Some("b"));
    }

    #[test]
    fn times_have_units() {
        let times = [("5d", Some(432_000)), ("2", Some(172_800)), ("90m", Some(5_400)), ("1w", Some(604_800)), ("x", None), ("", None), ("5y", None)];
        for (text, expected) in times {
            assert_eq!(seconds(text, 'd'), expected, "{text:?}");
        }
        assert_eq!([duration(5_400), duration(86_400), duration(61)], ["90m", "1d", "61s"]);
    }

    #[test]
    fn next_hops_have_hosts_and_ports() {
        for (hop, host, port) in [
            ("[smtp.example.net]:587", "smtp.example.net", 587),
            ("mx.example.net", "mx.example.net", 25),
            ("a.example:submission", "a.example", 587),
            ("[2001:db8::1]", "2001:db8::1", 25),
        ] {
            assert_eq!(host_and_port(hop), (host.to_owned(), port), "{hop}");
        }
    }

    #[test]
    fn services_are_read_with_their_overrides() {
        let line = "submission inet n - y - - smtpd -o smtpd_tls_security_level=encrypt -o { mynetworks = 10.0.0.0/8, 127.0.0.1 }";
        let service = Service::parse(line).unwrap().unwrap();
        assert_eq!((service.port, service.overrides["mynetworks"].as_str()), (587, "10.0.0.0/8, 127.0.0.1"));
        assert_eq!(Service::parse("pickup unix n - y 60 1 pickup").unwrap(), None);
        assert!(Service::parse("nonsense").is_err() && Service::parse("what inet n - y - - smtpd").is_err());
    }
}
