//! What is to be examined, and what the world said of it. Plain data; [`super::ask`] fills it, the rules read it.

use crate::dns::{Addresses, DnsFault, MxAnswer, TlsaAnswer};
use crate::keys::{Algorithm, Record, State};
use crate::mail::{Domain, KeyId, Timestamp};
use crate::verdict::spf_walk;
use std::net::IpAddr;

/// An answer of the DNS, or why there is none.
pub type Asked<T> = Result<T, DnsFault>;

/// A domain to be examined: what is known of it beforehand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The author domain: what stands behind the `@` of From.
    pub domain: Domain,
    /// The domain of MAIL FROM; `None` when it is not known.
    pub bounce_domain: Option<Domain>,
    /// Keys of the keyring, and those named by hand.
    pub keys: Vec<ExpectedKey>,
    /// What it is for, as far as it is said.
    pub purpose: Use,
    /// A platform's domain that signs as well.
    pub third_party: Option<Domain>,
    /// The addresses its mail leaves from, where they are known.
    pub leaves: Leaves,
    /// The name of the relay that takes its bounces; `None` when that is not known.
    pub relay: Option<Domain>,
}

/// What a domain is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Use {
    /// It sends, by the configuration.
    Sends,
    /// It never sends, by the configuration.
    Parked,
    /// Nobody says.
    Unsaid,
}

/// Where mail leaves from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaves {
    /// The addresses that receivers see.
    pub addresses: Vec<IpAddr>,
    /// They were not configured, but are those that the EHLO name has in the DNS.
    pub presumed: bool,
    /// Mail leaves by this smart host, whose addresses are its operator's affair.
    pub smart_host: Option<String>,
}

/// A key that is, was or will be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpectedKey {
    /// Domain and selector.
    pub id: KeyId,
    /// What the keyring says of it; `None` for one that was only named.
    pub ours: Option<OurKey>,
}

/// A key of the keyring.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OurKey {
    /// Its kind.
    pub algorithm: Algorithm,
    /// Where it stands.
    pub state: State,
    /// The record the DNS should have now; `None` for one that is removed, or whose file is gone.
    pub record: Option<Record>,
}

/// What the world says of a domain.
#[derive(Debug, Clone, PartialEq)]
pub struct DomainFacts {
    /// What was to be examined.
    pub subject: Subject,
    /// The name exists: no NXDOMAIN on its SOA.
    pub exists: Asked<bool>,
    /// Where its own mail goes.
    pub mx: Asked<MxAnswer>,
    /// Its TXT records.
    pub txt: Asked<Vec<String>>,
    /// Its SPF, walked and counted; for the addresses that send, where it is the envelope sender's.
    pub spf: spf_walk::Walk,
    /// The TXT records at `_dmarc.` of the domain and the names above it (RFC 9989 §4.10).
    pub dmarc: Vec<Step>,
    /// Where its reports go.
    pub reports: Vec<ReportHost>,
    /// Its keys.
    pub keys: Vec<KeyFacts>,
    /// Its bounce domain; `None` when that is not known.
    pub bounce: Option<BounceFacts>,
    /// TXT at `default._bimi.`.
    pub bimi: Asked<Vec<String>>,
    /// TXT at a name below it that nobody has: what `*.` says.
    pub wildcard: Asked<Vec<String>>,
    /// TXT at a selector that nobody has: what `*._domainkey.` says.
    pub wildcard_key: Asked<Vec<String>>,
}

/// One name of a walk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The name, without `_dmarc`.
    pub name: Domain,
    /// The TXT records at its `_dmarc`.
    pub texts: Asked<Vec<String>>,
}

/// A host that `rua=` or `ruf=` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportHost {
    /// The address as the record has it.
    pub uri: String,
    /// Its host.
    pub host: Domain,
    /// It takes mail: it has MX records that are not null, or addresses.
    pub takes_mail: Asked<bool>,
    /// It lies outside the organisation: the name that must allow it and the TXT records there (RFC 9990 §4); `None` for one inside.
    pub consent: Option<(Domain, Asked<Vec<String>>)>,
}

/// What the DNS says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyFacts {
    /// What it should be.
    pub expected: ExpectedKey,
    /// The TXT records at its name.
    pub texts: Asked<Vec<String>>,
}

/// What the world says of a bounce domain.
#[derive(Debug, Clone, PartialEq)]
pub struct BounceFacts {
    /// Which.
    pub domain: Domain,
    /// As of a domain.
    pub exists: Asked<bool>,
    /// Where bounces go.
    pub mx: Asked<MxAnswer>,
    /// The hosts they go to.
    pub hosts: Vec<HostFacts>,
    /// Its SPF, walked and counted, for the addresses that send.
    pub spf: spf_walk::Walk,
    /// As of a domain.
    pub dmarc: Vec<Step>,
    /// TXT at `_mta-sts.`.
    pub mta_sts: Asked<Vec<String>>,
    /// The policy that MTA-STS publishes by HTTPS, or why it cannot be had; `None` when it was not fetched.
    pub mta_sts_policy: Option<Result<String, String>>,
    /// TXT at `_smtp._tls.`.
    pub tls_rpt: Asked<Vec<String>>,
}

/// A host that takes mail.
#[derive(Debug, Clone, PartialEq)]
pub struct HostFacts {
    /// Its name.
    pub name: Domain,
    /// Its addresses.
    pub addresses: Asked<Addresses>,
    /// TLSA at `_25._tcp.`.
    pub tlsa: Asked<TlsaAnswer>,
    /// Whether one of them answers and takes STARTTLS; `None` when it was not tried.
    pub reached: Option<Result<(), String>>,
}

/// The relay to be examined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelaySubject {
    /// Its name; `None` when that is not known.
    pub hostname: Option<Domain>,
    /// Under which names and from which addresses it sends.
    pub sources: Vec<Source>,
    /// Its certificates, as the files say.
    pub certificates: Vec<CertificateFacts>,
    /// All mail leaves by this smart host.
    pub smart_host: Option<String>,
}

/// A name in EHLO, and the addresses that go with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// What the configuration calls it: `deliver` or a pool's name.
    pub name: String,
    /// The EHLO name; empty when that is not known.
    pub ehlo: String,
    /// The addresses that receivers see; none when the system chooses.
    pub addresses: Vec<IpAddr>,
}

/// A certificate of the relay's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its file.
    pub file: String,
    /// The names it proves and until when; or why it cannot be used.
    pub face: Result<CertificateFace, String>,
}

/// What stands in a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFace {
    /// DNS names, maybe with `*.` in front.
    pub names: Vec<String>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// What the world says of the relay.
#[derive(Debug, Clone, PartialEq)]
pub struct RelayFacts {
    /// What was to be examined.
    pub subject: RelaySubject,
    /// Each source.
    pub sources: Vec<SourceFacts>,
}

/// What the world says of a source.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceFacts {
    /// What was to be examined.
    pub source: Source,
    /// The addresses of the EHLO name; `None` when that is no domain name.
    pub ehlo: Option<Asked<Addresses>>,
    /// Each address it sends from, or may send from.
    pub addresses: Vec<AddressFacts>,
    /// They are not configured: they are those of the EHLO name.
    pub presumed: bool,
    /// SPF of the EHLO name; `None` when that is no domain name.
    pub spf: Option<spf_walk::Walk>,
}

/// What reverse DNS says of an address.
#[derive(Debug, Clone, PartialEq)]
pub struct AddressFacts {
    /// Which.
    pub address: IpAddr,
    /// Its PTR names, each with its own addresses.
    pub names: Asked<Vec<(Domain, Asked<Addresses>)>>,
}

impl DomainFacts {
    /// No question was answered with anything: the name servers are silent, or there is no such domain.
    #[must_use]
    pub fn said_nothing(&self) -> bool {
        let some = |texts: &Asked<Vec<String>>| texts.as_ref().is_ok_and(|texts| !texts.is_empty());
        let below =
            self.dmarc.iter().take(1).any(|step| some(&step.texts)) || self.keys.iter().any(|key| some(&key.texts)) || some(&self.bimi) || some(&self.wildcard);
        let own = some(&self.txt) || matches!(self.mx, Ok(MxAnswer::Hosts(_) | MxAnswer::Null));
        let bounce = self.bounce.as_ref().is_some_and(|bounce| bounce.exists == Ok(true));
        match self.exists {
            Ok(true) => false,
            Ok(false) => !own && !below && !bounce,
            Err(_) => self.txt.is_err() && self.mx.is_err() && self.dmarc.iter().all(|step| step.texts.is_err()),
        }
    }
}

impl OurKey {
    /// As a keyring has it.
    #[must_use]
    pub fn of(key: &crate::keys::Key) -> Self {
        Self { algorithm: key.algorithm, state: key.state, record: key.record() }
    }
}
