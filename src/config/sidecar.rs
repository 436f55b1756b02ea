//! `[sidecar]`: one domain and one application in a handful of variables, turned into the sections that mean the same.
//!
//! Pure. What it says is laid below the other sections before anything is meant, so that every check applies to it, and a fault of what
//! came of it is told at the key, or the variable, that it came from. A thing that [`Said`](Strength::Said) here and in its own section
//! is a fault; what merely follows gives way.

use super::document::Document;
use super::fault::Fault;
use super::knob::Knob as _;
use super::reader::{KnobRead, Notes, Reader};
use super::sections::nobody;
use crate::keys::file_selector;
use crate::mail::Domain;
use figment::value::{Dict, Value};
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

/// What comes of the section.
#[derive(Default)]
pub struct Expansion {
    /// To be laid below what was written.
    pub values: Dict,
    /// Of every key in it, and of those that should be: the key of the section it comes from.
    pub sources: HashMap<Vec<String>, &'static str>,
    /// Every knob of the section.
    pub knobs: Vec<KnobRead>,
    /// Every fault of the section itself.
    pub faults: Vec<Fault>,
}

/// How much of an assertion a value is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Strength {
    /// The section says just this.
    Said,
    /// It follows from what the section says, or from its silence.
    Follows,
}

/// Reads the section of `document`. Where there is none, nothing comes of it.
pub fn expand(document: &Document) -> Expansion {
    let notes = Notes::default();
    let mut expanding = Expanding { document, expansion: Expansion::default() };
    {
        let root = Reader::only(document, &notes, SECTION);
        let table = root.table(SECTION);
        let written = Written::read(&table);
        if !table.names().is_empty() {
            Expanding::faults_of_the_whole(&table, &written);
            expanding.lay(&table, &written);
        }
    }
    let mut expansion = expanding.expansion;
    (expansion.knobs, expansion.faults) = notes.into_parts();
    expansion
}

/// The section as written. `hostname`, `key_file`, `networks`, `address`, `user` and the password are read where they end up.
struct Written {
    domain: Option<Domain>,
    selector: Option<String>,
    key_file: Option<PathBuf>,
    directory: Option<PathBuf>,
    /// Who takes all mail, and the key that says so.
    hop: Option<(Hop, String, Option<u16>)>,
}

/// Who takes all mail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hop {
    /// A provider.
    SmartHost,
    /// A postseal of ours, where bounce addresses are made.
    Upstream,
}

impl Hop {
    const fn key(self) -> &'static str {
        match self {
            Self::SmartHost => "smart_host",
            Self::Upstream => "upstream",
        }
    }
}

impl Written {
    fn read(table: &Reader<'_>) -> Self {
        for key in ["hostname", "networks", "address", "user", "password", "password_file"] {
            table.elsewhere(key);
        }
        Self {
            domain: table.optional("domain"),
            key_file: table.optional("key_file"),
            selector: table.optional("selector"),
            directory: table.optional("directory"),
            hop: [Hop::SmartHost, Hop::Upstream].map(|hop| hop_of(table, hop)).into_iter().flatten().next(),
        }
    }

    /// As it is written, else as the name of the key file has it.
    fn selector(&self) -> Option<String> {
        let of_file = |path: &Path| path.file_name().and_then(|name| file_selector(name.to_str()?)).map(|selector| selector.to_string());
        self.selector.clone().or_else(|| self.key_file.as_deref().and_then(of_file))
    }
}

/// `HOST`, `HOST:PORT`, or an IPv6 address in brackets.
fn hop_of(table: &Reader<'_>, hop: Hop) -> Option<(Hop, String, Option<u16>)> {
    let text = table.optional::<String>(hop.key())?;
    let read = match text.as_str().rsplit_once(':') {
        _ if text.parse::<IpAddr>().is_ok() || text.ends_with(']') => Some((text.as_str(), None)),
        Some((host, port)) => port.parse().ok().map(|port| (host, Some(port))),
        None => Some((text.as_str(), None)),
    };
    let bare = |host: &str| host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_owned();
    let read = read.map(|(host, port)| (hop, bare(host), port)).filter(|(_, host, _)| host.parse::<IpAddr>().is_ok() || host.parse::<Domain>().is_ok());
    if read.is_none() {
        table.fault(hop.key(), &text.written(), "a host name or an IP address, with a port where it is not 587, as in \"smtp.provider.example:465\"");
    }
    read
}

struct Expanding<'d> {
    document: &'d Document,
    expansion: Expansion,
}

impl Expanding<'_> {
    /// What only the keys of the section together show.
    fn faults_of_the_whole(table: &Reader<'_>, written: &Written) {
        if !table.has("domain") {
            table.fault("domain", "missing", "the author domain: what stands behind the @ of the application's From, as in \"example.com\"");
        }
        if !table.has("directory") && !table.has("upstream") {
            let expected = "a folder on a disk that outlives the container, for queue and keys, as in \"/var/lib/postseal\"; or upstream, which needs none";
            table.fault("directory", "missing", expected);
        }
        if table.has("smart_host") && table.has("upstream") {
            table.fault("upstream", "set, and smart_host too", "one of the two: a postseal of yours, or somebody else's host");
        }
        if written.key_file.is_none() && table.has("selector") && !table.has("key_file") {
            table.fault("selector", "set, though there is no key_file", "key_file too; keys in the directory bring their selectors with them");
        }
        for key in ["user", "password", "password_file"].into_iter().filter(|key| !table.has("smart_host") && !table.has("upstream") && table.has(key)) {
            table.fault(key, "set, though there is no smart_host and no upstream", "the host that asks for it");
        }
    }

    fn lay(&mut self, table: &Reader<'_>, written: &Written) {
        use Strength::{Follows, Said};
        let text = |text: &str| Some(Value::from(text));
        let domain = written.domain.clone().unwrap_or_else(nobody);

        self.put(table, &["server", "hostname"], "hostname", Said, table.raw("hostname"));
        self.put(table, &["listeners", NAME, "address"], "address", Said, table.raw("address").or_else(|| text(&ADDRESS.to_string())));
        self.put(table, &["listeners", NAME, "tls"], "address", Follows, text("none"));
        let networks = table.raw("networks").or_else(|| Some(Value::from(loopback().iter().map(ToString::to_string).collect::<Vec<_>>())));
        self.put(table, &["identities", NAME, "networks"], "networks", Said, networks);
        self.put(table, &["identities", NAME, "author_domains"], "domain", Said, text(domain.as_str()));
        if written.key_file.is_some() {
            self.put(table, &["domains", domain.as_str(), "key_file"], "key_file", Said, table.raw("key_file"));
            self.put(table, &["domains", domain.as_str(), "key_selector"], "selector", Said, written.selector().as_deref().and_then(text));
        }
        if let Some(directory) = &written.directory {
            self.put(table, &["spool", "directory"], "directory", Follows, text(&directory.join("spool").to_string_lossy()));
            self.put(table, &["server", "keys"], "directory", Follows, text(&directory.join("keys").to_string_lossy()));
        }
        if let Some((hop, host, port)) = &written.hop {
            self.put(table, &["smart_hosts", NAME, "host"], hop.key(), Said, text(host));
            self.put(table, &["smart_hosts", NAME, "port"], hop.key(), Said, port.map(Value::from));
            self.put(table, &["smart_hosts", NAME, "user"], "user", Said, table.raw("user"));
            self.put(table, &["smart_hosts", NAME, "password"], "password", Said, table.raw("password"));
            self.put(table, &["smart_hosts", NAME, "password_file"], "password_file", Said, table.raw("password_file"));
            self.put(table, &["routes", "default"], hop.key(), Said, text(NAME));
        }
        if written.hop.as_ref().is_some_and(|(hop, ..)| *hop == Hop::Upstream) {
            self.put(table, &["server", "upstream"], "upstream", Said, text(NAME));
            self.put(table, &["smart_hosts", NAME, "reverse_path"], "upstream", Follows, text("keep"));
            if !table.has("directory") {
                self.put(table, &["spool", "mode"], "upstream", Follows, text("through"));
            }
        }
    }

    /// Lays a value at `keys`, or only notes where it would come from.
    fn put(&mut self, table: &Reader<'_>, keys: &[&str], from: &'static str, strength: Strength, value: Option<Value>) {
        let keys: Vec<String> = keys.iter().map(|key| (*key).to_owned()).collect();
        if self.document.value(&keys).is_some() {
            if strength == Strength::Said && table.has(from) {
                table.fault(from, &format!("set, and {} too", super::document::written(&keys)), "one of the two");
            }
            return;
        }
        if let Some(value) = value {
            insert(&mut self.expansion.values, &keys, value);
        }
        self.expansion.sources.insert(keys, from);
    }
}

fn insert(table: &mut Dict, keys: &[String], value: Value) {
    let Some((key, rest)) = keys.split_first() else { return };
    if rest.is_empty() {
        table.insert(key.clone(), value);
        return;
    }
    let inner = table.entry(key.clone()).or_insert_with(|| Value::from(Dict::new()));
    if let Value::Dict(_, inner) = inner {
        insert(inner, rest, value);
    }
}

/// The application beside us.
fn loopback() -> Vec<IpNet> {
    vec![IpAddr::V4(Ipv4Addr::LOCALHOST).into(), IpAddr::V6(Ipv6Addr::LOCALHOST).into()]
}

/// Where it connects: a port that needs no privilege.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 2525);

/// The section.
pub const SECTION: &str = "sidecar";

/// The name of the listener, the identity and the smart host that come of it.
const NAME: &str = "sidecar";
