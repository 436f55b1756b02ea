//! TLS of the listeners: certificates from PEM files, one per SNI name, client certificates, and what a handshake agreed on.
//!
//! A shell: it reads files. A faulty file leaves the running state as it is. TLS 1.2 and 1.3 (RFC 8314, RFC 8996); no early data.

use super::identity::San;
use crate::mail::{Timestamp, TlsSession};
use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{CommonState, ProtocolVersion, RootCertStore, ServerConfig};
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The TLS side of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// At least one; the first serves clients that name no server, or one nobody has.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
}

/// A certificate and its key, both PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The certificate, then the intermediate ones.
    pub chain: PathBuf,
    /// Its private key: PKCS#8, PKCS#1 or SEC1, not encrypted.
    pub key: PathBuf,
}

/// What is done about client certificates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ClientCertificates {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for; one that is shown must be issued by an authority of this PEM file.
    Optional(PathBuf),
    /// As above, and no handshake without one.
    Required(PathBuf),
}

/// Why TLS cannot be set up from these files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// No certificate configured.
    #[error("no certificate is configured; name the PEM files of at least one chain and its key")]
    Nothing,
    /// A file that cannot be read.
    #[error("{path}: {why}; make it readable for the user postseal runs as")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// No certificate in it.
    #[error("{0}: there is no certificate in it; a PEM file with -----BEGIN CERTIFICATE----- is expected, the server's own first")]
    NoCertificate(PathBuf),
    /// No key in it.
    #[error("{0}: there is no private key in it; a PEM file with -----BEGIN PRIVATE KEY----- is expected")]
    NoKey(PathBuf),
    /// An encrypted key.
    #[error("{path}: the private key is encrypted; write it out with \"openssl pkey -in {path} -out FILE\" and protect FILE by its mode", path = .0.display())]
    EncryptedKey(PathBuf),
    /// PEM or DER that is damaged.
    #[error("{path}: {why}; write the file anew")]
    Damaged {
        /// Which.
        path: PathBuf,
        /// How.
        why: String,
    },
    /// Key and certificate are not a pair.
    #[error("{key}: this key is not the key of the certificate in {chain}; name the two files that were made together")]
    Mismatch {
        /// The certificate's file.
        chain: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

/// The TLS of a listener, exchangeable while it runs.
#[derive(Debug)]
pub struct Tls {
    configs: ArcSwap<Configs>,
}

/// One certificate, shown in two ways.
#[derive(Debug)]
struct Configs {
    /// Client certificates as the settings have it.
    own: Arc<ServerConfig>,
    /// No client is asked for one.
    open: Arc<ServerConfig>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Every fault found.
    pub fn load(settings: &Settings) -> Result<Self, Vec<TlsFault>> {
        Ok(Self { configs: ArcSwap::from_pointee(server_configs(settings)?) })
    }

    /// Reads the files again; new connections use what they say. Sessions of before are not resumed.
    ///
    /// # Errors
    /// Every fault found; all stays as it was then.
    pub fn reload(&self, settings: &Settings) -> Result<(), Vec<TlsFault>> {
        self.configs.store(Arc::new(server_configs(settings)?));
        Ok(())
    }

    /// The configuration as it is now.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.configs.load().own.clone()
    }

    /// The same for clients of whom nobody asks who they are.
    #[must_use]
    pub fn current_for_anybody(&self) -> Arc<ServerConfig> {
        self.configs.load().open.clone()
    }

    /// For the next handshake.
    #[must_use]
    pub fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        self.current().into()
    }
}

/// What the handshake of a server connection agreed on; `None` before it is complete.
#[must_use]
pub fn session(connection: &CommonState) -> Option<TlsSession> {
    let version = match connection.protocol_version()? {
        ProtocolVersion::TLSv1_2 => "TLSv1.2",
        ProtocolVersion::TLSv1_3 => "TLSv1.3",
        _ => return None,
    };
    let suite = connection.negotiated_cipher_suite()?.suite();
    let cipher = suite.as_str().map_or_else(|| format!("{suite:?}"), |name| name.replacen("TLS13_", "TLS_", 1)); // rustls' name of RFC 8446's suites
    Some(TlsSession { version, cipher })
}

/// The subject alternative names of the client certificate, which the handshake has verified. Empty without one.
#[must_use]
pub fn client_names(connection: &CommonState) -> Vec<San> {
    let certificate = connection.peer_certificates().and_then(|chain| chain.first());
    certificate.map(|certificate| subject_alternative_names(certificate)).unwrap_or_default()
}

/// The subject alternative names of the first certificate of a chain that the handshake has verified.
#[must_use]
pub fn names_of(chain: &[CertificateDer<'_>]) -> Vec<San> {
    chain.first().map(|certificate| subject_alternative_names(certificate)).unwrap_or_default()
}

/// What stands in a certificate of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFace {
    /// The names it proves.
    pub names: Vec<San>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// Reads a certificate and its key as a listener would, and what the certificate says.
///
/// # Errors
/// The first fault of the two files.
pub fn certificate_face(files: &CertificateFiles) -> Result<CertificateFace, TlsFault> {
    let key = certified_key(files, &Arc::new(rustls::crypto::aws_lc_rs::default_provider()))?;
    let certificate = key.cert.first().ok_or_else(|| TlsFault::NoCertificate(files.chain.clone()))?;
    let (not_before, not_after) = validity(certificate).ok_or_else(|| damaged(&files.chain, &"the certificate does not say how long it is valid"))?;
    Ok(CertificateFace { names: subject_alternative_names(certificate), not_before, not_after })
}

/// RFC 5280 §4.1.2.5: behind serial number, algorithm and issuer.
fn validity(certificate: &[u8]) -> Option<(Timestamp, Timestamp)> {
    let to_be_signed = Der(Der(Der(certificate).expect(DER_SEQUENCE)?).expect(DER_SEQUENCE)?);
    let (_, times) = to_be_signed.filter(|(tag, _)| *tag == DER_SEQUENCE).nth(2)?;
    let mut times = Der(times).map(|(tag, text)| time(tag, std::str::from_utf8(text).ok()?));
    Some((times.next()??, times.next()??))
}

/// `260102030405Z` (1950 to 2049) or `20500102030405Z`.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let full = match tag {
        DER_UTC_TIME if text.len() == 13 && text.is_ascii() => format!("{}{text}", if text < "50" { "20" } else { "19" }),
        DER_GENERALIZED_TIME if text.len() == 15 && text.is_ascii() => text.to_owned(),
        _ => return None,
    };
    let part = |from: usize, to: usize| &full[from..to];
    let written = format!("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14));
    written.parse::<jiff::Timestamp>().ok().map(|instant| Timestamp::from_unix_millis(instant.as_millisecond()))
}

fn server_configs(settings: &Settings) -> Result<Configs, Vec<TlsFault>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut faults = Vec::new();
    let mut keys = Vec::new();
    for files in &settings.certificates {
        match certified_key(files, &provider) {
            Ok(key) => keys.push(Arc::new(key)),
            Err(fault) => faults.push(fault),
        }
    }
    if settings.certificates.is_empty() {
        faults.push(TlsFault::Nothing);
    }
    let verifier = match &settings.client_certificates {
        ClientCertificates::Off => Ok(None),
        ClientCertificates::Optional(file) => authorities(file).and_then(|roots| client_verifier(file, roots, &provider, false)).map(Some),
        ClientCertificates::Required(file) => authorities(file).and_then(|roots| client_verifier(file, roots, &provider, true)).map(Some),
    };
    let verifier = verifier.unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    if !faults.is_empty() {
        return Err(faults);
    }
    let certificates = Arc::new(ByName::new(keys));
    #[allow(clippy::expect_used, reason = "aws-lc-rs has cipher suites of both versions")]
    let builder = || {
        ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .expect("the provider serves TLS 1.2 and 1.3")
    };
    let open = Arc::new(builder().with_no_client_auth().with_cert_resolver(certificates.clone()));
    let own = verifier.map_or_else(|| open.clone(), |verifier| Arc::new(builder().with_client_cert_verifier(verifier).with_cert_resolver(certificates)));
    Ok(Configs { own, open })
}

fn certified_key(files: &CertificateFiles, provider: &CryptoProvider) -> Result<CertifiedKey, TlsFault> {
    let chain = certificates(&files.chain)?;
    let octets = read(&files.key)?;
    let faulty = |fault: TlsFault| if is_encrypted(&octets) { TlsFault::EncryptedKey(files.key.clone()) } else { fault };
    let key = PrivateKeyDer::from_pem_slice(&octets).map_err(|error| match error {
        pem::Error::NoItemsFound => faulty(TlsFault::NoKey(files.key.clone())),
        other => faulty(damaged(&files.key, &other)),
    })?;
    let key = provider.key_provider.load_private_key(key).map_err(|error| damaged(&files.key, &error))?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => Err(TlsFault::Mismatch { chain: files.chain.clone(), key: files.key.clone() }),
        Err(other) => Err(damaged(&files.chain, &other)),
    }
}

/// PKCS#8 (RFC 7468 §11) or the older form of OpenSSL (RFC 1421 §4.6.1.1).
fn is_encrypted(pem: &[u8]) -> bool {
    [&b"-----BEGIN ENCRYPTED PRIVATE KEY-----"[..], b"Proc-Type: 4,ENCRYPTED"].iter().any(|mark| memchr::memmem::find(pem, mark).is_some())
}

fn authorities(file: &Path) -> Result<RootCertStore, TlsFault> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|error| damaged(file, &error))?;
    }
    Ok(roots)
}

fn client_verifier(
    file: &Path,
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
    required: bool,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsFault> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| damaged(file, &error))
}

/// The certificates of a PEM file, at least one.
fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsFault> {
    let pem = read(file)?;
    let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(|error| damaged(file, &error))?;
    if chain.is_empty() { Err(TlsFault::NoCertificate(file.to_owned())) } else { Ok(chain) }
}

fn read(path: &Path) -> Result<zeroize::Zeroizing<Vec<u8>>, TlsFault> {
    std::fs::read(path).map(Into::into).map_err(|error| TlsFault::Unreadable { path: path.to_owned(), why: error.to_string() })
}

fn damaged(path: &Path, why: &impl ToString) -> TlsFault {
    TlsFault::Damaged { path: path.to_owned(), why: why.to_string() }
}

/// Chooses a certificate by the name the client asked for (RFC 6066 §3) and the signatures it can check.
#[derive(Debug)]
struct ByName {
    keys: Vec<Arc<CertifiedKey>>,
    /// Indices into `keys` by exact name or `*.parent`, in the order of the configuration.
    names: HashMap<String, Vec<usize>>,
}

impl ByName {
    fn new(keys: Vec<Arc<CertifiedKey>>) -> Self {
        let mut names: HashMap<String, Vec<usize>> = HashMap::new();
        for (index, key) in keys.iter().enumerate() {
            for name in key.cert.first().map(|certificate| subject_alternative_names(certificate)).unwrap_or_default() {
                if let San::Dns(name) = name {
                    names.entry(name).or_default().push(index);
                }
            }
        }
        Self { keys, names }
    }

    fn candidates(&self, server_name: Option<&str>) -> Vec<usize> {
        let Some(name) = server_name.map(str::to_ascii_lowercase) else { return Vec::new() };
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
        [Some(name), wildcard].iter().flatten().filter_map(|name| self.names.get(name)).flatten().copied().collect()
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = self.candidates(hello.server_name());
        let in_order = named.into_iter().chain(0..self.keys.len()).map(|index| &self.keys[index]);
        in_order.into_iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some()).cloned()
    }
}

/// The names of kinds dNSName, rfc822Name and URI in a certificate (RFC 5280 §4.2.1.6). Names that are not printable ASCII are left out,
/// as is everything when the DER is not what a certificate's should be: a name that is not found proves nothing.
fn subject_alternative_names(certificate: &[u8]) -> Vec<San> {
    general_names(certificate).unwrap_or_default()
}

fn general_names(certificate: &[u8]) -> Option<Vec<San>> {
    let mut to_be_signed = Der(Der(Der(certificate).expect(DER_SEQUENCE)?).expect(DER_SEQUENCE)?);
    let extensions = to_be_signed.find(|(tag, _)| *tag == DER_EXTENSIONS)?.1;
    for (_, extension) in Der(Der(extensions).expect(DER_SEQUENCE)?) {
        let mut parts = Der(extension);
        if parts.expect(DER_OID)? != SUBJECT_ALT_NAME {
            continue;
        }
        let value = parts.find(|(tag, _)| *tag == DER_OCTETS)?.1;
        let names = Der(Der(value).expect(DER_SEQUENCE)?).filter_map(|(tag, octets)| {
            let text = std::str::from_utf8(octets).ok().filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic()))?;
            match tag {
                GENERAL_EMAIL => Some(San::email(text)),
                GENERAL_DNS => Some(San::dns(text)),
                GENERAL_URI => Some(San::Uri(text.to_owned())),
                _ => None,
            }
        });
        return Some(names.collect());
    }
    None
}

/// The elements of a DER value (X.690), as far as certificates need it: one-octet tags, lengths below 2^32. Ends at the first fault.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, content)| content)
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);
    fn next(&mut self) -> Option<Self::Item> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (octets, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (octets.iter().fold(0usize, |length, octet| (length << 8) | usize::from(*octet)), rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, content))
    }
}

const DER_SEQUENCE: u8 = 0x30;
const DER_OID: u8 = 0x06;
const DER_OCTETS: u8 = 0x04;
const DER_UTC_TIME: u8 = 0x17;
const DER_GENERALIZED_TIME: u8 = 0x18;
const DER_EXTENSIONS: u8 = 0xa3;
/// 2.5.29.17
const SUBJECT_ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
const GENERAL_EMAIL: u8 = 0x81;
const GENERAL_DNS: u8 = 0x82;
const GENERAL_URI: u8 = 0x86;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn certificate() -> Vec<u8> {
        static ONCE: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
        let names = ["App.example.com".to_owned(), "*.example.org".to_owned()];
        ONCE.get_or_init(|| rcgen::generate_simple_self_signed(names).unwrap().cert.der().to_vec()).clone()
    }

    #[test]
    fn names_are_found_in_a_certificate() {
        assert_eq!(subject_alternative_names(&certificate()), [San::dns("app.example.com"), San::dns("*.example.org")]);
    }

    proptest! {
        #[test]
        fn a_damaged_certificate_gets_an_answer(cut in 0usize..600, at in 0usize..600, octet: u8) {
            let mut octets = certificate();
            let at = at % octets.len();
            octets[at] = octet;
            octets.truncate(cut.max(1));
            let _ = subject_alternative_names(&octets);
        }

        #[test]
        fn any_octets_get_an_answer(octets in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(Der(&octets).count() <= octets.len());
            let _ = subject_alternative_names(&octets);
        }
    }
}
