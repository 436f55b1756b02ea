//! TLS towards next hops: what is demanded of a connection, and the rustls configurations that keep it. A shell: it reads certificates.
//!
//! | demand | without STARTTLS | certificate | resumption |
//! |---|---|---|---|
//! | `None` | clear text | – | – |
//! | `Opportunistic` | clear text | any (RFC 7435) | yes |
//! | `Required` | no session | any | yes, the store shared with `Opportunistic`: neither verifies anything |
//! | `Verified` | no session | valid for the host's name, from a trusted root | never: a resumed session skips the verifier |
//!
//! Nothing here falls back to clear text; a failed handshake is reported and the caller decides.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject};
use std::path::PathBuf;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// What a connection must have before mail goes over it. The order is that of strength.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum TlsDemand {
    /// Clear text, even where STARTTLS is offered.
    None,
    /// TLS where it is offered, with whatever certificate.
    #[default]
    Opportunistic,
    /// TLS, with whatever certificate.
    Required,
    /// TLS with a certificate that proves the host's name.
    Verified,
}

/// Which certificates prove a name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsSettings {
    /// The certification authorities to begin with.
    pub roots: Roots,
    /// A PEM file with further ones.
    pub ca_file: Option<PathBuf>,
}

/// See [`TlsSettings::roots`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Roots {
    /// Those of the operating system; where it has none (a bare container), those built in.
    #[default]
    System,
    /// Mozilla's, as built into this program.
    BuiltIn,
    /// None: only those of `ca_file`.
    OnlyCaFile,
}

/// The two configurations of the client's half, made once and shared by all connections. Cheap to clone.
#[derive(Clone)]
pub struct ClientTls {
    unverified: TlsConnector,
    verified: TlsConnector,
}

/// Why there are no client configurations.
#[derive(Debug, thiserror::Error)]
pub enum TlsSettingsFault {
    /// The file of further authorities cannot be read.
    #[error("deliver.tls.ca_file \"{0}\" cannot be used: {1}; expected PEM certificates")]
    CaFile(PathBuf, String),
    /// rustls refused the settings.
    #[error("no certificate verifier can be made: {0}; set deliver.tls.ca_file or deliver.tls.roots")]
    Verifier(String),
}

impl ClientTls {
    /// As for next hops whose name is to be proved, for HTTP.
    #[must_use]
    pub fn https(&self) -> ClientConfig {
        self.verified.config().as_ref().clone()
    }

    /// Reads the authorities and makes both configurations.
    ///
    /// # Errors
    /// The file of authorities is no such file, or no authority is left.
    pub fn new(settings: &TlsSettings) -> Result<Self, TlsSettingsFault> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let further = match &settings.ca_file {
            Some(path) => read_certificates(path)?,
            None => Vec::new(),
        };
        let mut unverified = configuration(&provider, Arc::new(AnyCertificate))?;
        unverified.resumption = Resumption::in_memory_sessions(SESSIONS_MAX);
        let mut verified = configuration(&provider, verifier(settings.roots, further, &provider)?)?;
        verified.resumption = Resumption::disabled();
        Ok(Self { unverified: Arc::new(unverified).into(), verified: Arc::new(verified).into() })
    }

    /// For servers other than mail's whose certificate must prove their name.
    #[must_use]
    pub const fn verified(&self) -> &TlsConnector {
        &self.verified
    }

    pub(super) const fn connector(&self, demand: TlsDemand) -> &TlsConnector {
        match demand {
            TlsDemand::None | TlsDemand::Opportunistic | TlsDemand::Required => &self.unverified,
            TlsDemand::Verified => &self.verified,
        }
    }
}

fn configuration(provider: &Arc<CryptoProvider>, verifier: Arc<dyn ServerCertVerifier>) -> Result<ClientConfig, TlsSettingsFault> {
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let builder = builder.map_err(|fault| TlsSettingsFault::Verifier(fault.to_string()))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

fn read_certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, TlsSettingsFault> {
    let fault = |why: String| TlsSettingsFault::CaFile(path.clone(), why);
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|why| fault(why.to_string()))?.collect();
    match certificates {
        Ok(certificates) if certificates.is_empty() => Err(fault("it holds no certificate".to_owned())),
        Ok(certificates) => Ok(certificates),
        Err(why) => Err(fault(why.to_string())),
    }
}

fn verifier(roots: Roots, further: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsSettingsFault> {
    let fault = |why: String| TlsSettingsFault::Verifier(why);
    if roots == Roots::System {
        // It alone fails only where the system has no authorities at all; a bad one of `further` is found again below.
        if let Ok(system) = rustls_platform_verifier::Verifier::new(provider.clone()) {
            if further.is_empty() {
                return Ok(Arc::new(system));
            }
            let system = rustls_platform_verifier::Verifier::new_with_extra_roots(further, provider.clone());
            return Ok(Arc::new(system.map_err(|why| fault(why.to_string()))?));
        }
    }
    let mut store = RootCertStore::empty();
    if roots != Roots::OnlyCaFile {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in further {
        store.add(certificate).map_err(|why| fault(why.to_string()))?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone()).build();
    Ok(verifier.map_err(|why| fault(why.to_string()))?)
}

/// Takes any certificate, even one that does not parse: without a name to prove, nothing is proved by its signatures either, and a
/// strange certificate must not push mail back to clear text (RFC 7435 §3).
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::ECDSA_NISTP256_SHA256,
            SignatureScheme::ECDSA_NISTP384_SHA384,
            SignatureScheme::ECDSA_NISTP521_SHA512,
            SignatureScheme::ED25519,
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA384,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
            SignatureScheme::RSA_PKCS1_SHA384,
            SignatureScheme::RSA_PKCS1_SHA512,
            SignatureScheme::ECDSA_SHA1_Legacy,
            SignatureScheme::RSA_PKCS1_SHA1,
        ]
    }
}

/// What went wrong in a handshake, in words for a log line and a DSN.
pub(super) fn words_of(fault: &rustls::Error) -> String {
    match fault {
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            "the certificate is not valid for the server's name".to_owned()
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => "the certificate is not from a trusted authority".to_owned(),
        other => other.to_string(),
    }
}

/// Sessions kept to be resumed, over all servers.
const SESSIONS_MAX: usize = 1024;
