//! TLS of the listeners: files, names, client certificates, reload.

use postseal::ingress::identity::San;
use postseal::ingress::tls::{CertificateFiles, ClientCertificates, Settings, Tls, client_names, session};
use postseal::mail::TlsSession;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

fn issue(names: Vec<SanType>, key: &KeyPair, issuer: &CertifiedIssuer<'static, KeyPair>) -> rcgen::Certificate {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.signed_by(key, issuer).unwrap()
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

/// A directory of PEM files, and the authority that issued the certificates.
struct Files {
    directory: TempDir,
    authority: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap(), authority: authority() };
        files.write("ca.pem", &files.authority.pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// `<name>.pem` and `<name>.key`.
    fn certificate(&self, name: &str, names: &[&str]) -> CertificateFiles {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = issue(names.iter().map(|name| dns(name)).collect(), &key, &self.authority);
        self.write(&format!("{name}.pem"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
        CertificateFiles { chain: self.path(&format!("{name}.pem")), key: self.path(&format!("{name}.key")) }
    }

    fn roots(&self) -> rustls::RootCertStore {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        roots
    }
}

fn settings(certificates: Vec<CertificateFiles>) -> Settings {
    Settings { certificates, client_certificates: ClientCertificates::Off }
}

struct Client<'a> {
    name: &'a str,
    version: &'static rustls::SupportedProtocolVersion,
    identity: Option<(CertificateDer<'static>, PrivateKeyDer<'static>)>,
}

const PLAIN: Client<'static> = Client { name: "mail.example.com", version: &rustls::version::TLS13, identity: None };

/// What each side learns of a handshake: the server's facts and client names, the certificate the client saw.
async fn handshake(files: &Files, tls: &Tls, client: Client<'_>) -> io::Result<(TlsSession, Vec<San>, CertificateDer<'static>)> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider).with_protocol_versions(&[client.version]).unwrap().with_root_certificates(files.roots());
    let config = match client.identity {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = ServerName::try_from(client.name.to_owned()).unwrap();
    let (connected, accepted) = tokio::join!(connector.connect(name, near), tls.acceptor().accept(far));
    let (accepted, connected) = (accepted?, connected?);
    let seen = connected.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
    let server = accepted.get_ref().1;
    Ok((session(server).unwrap(), client_names(server), seen))
}

fn der(path: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(path).unwrap()
}

#[tokio::test]
async fn the_facts_of_a_handshake_carry_iana_names() {
    let files = Files::new();
    let tls = Tls::load(&settings(vec![files.certificate("mail", &["mail.example.com"])])).unwrap();
    let (facts, names, _) = handshake(&files, &tls, PLAIN).await.unwrap();
    assert_eq!(facts.version, "TLSv1.3");
    assert!(["TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256"].contains(&&*facts.cipher), "{}", facts.cipher);
    assert_eq!(names, []);
    let (facts, ..) = handshake(&files, &tls, Client { version: &rustls::version::TLS12, ..PLAIN }).await.unwrap();
    assert_eq!(facts.version, "TLSv1.2");
    assert!(facts.cipher.starts_with("TLS_ECDHE_ECDSA_WITH_"), "{}", facts.cipher);
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_asked_for() {
    let files = Files::new();
    let one = files.certificate("one", &["mail.example.com", "smtp.example.com"]);
    let two = files.certificate("two", &["*.example.org", "exact.example.com"]);
    let both = files.certificate("both", &["a.b.example.org", "unused.example.org"]);
    let tls = Tls::load(&settings(vec![one.clone(), two.clone(), both.clone()])).unwrap();
    for (name, expect) in [
        ("mail.example.com", Some(&one)),
        ("smtp.example.com", Some(&one)),
        ("exact.example.com", Some(&two)),
        ("x.example.org", Some(&two)),
        ("a.b.example.org", Some(&both)),
        ("unused.example.org", Some(&both)),
    ] {
        let (_, _, seen) = handshake(&files, &tls, Client { name, ..PLAIN }).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(Some(seen), expect.map(|files| der(&files.chain)), "{name}");
    }
    let refused = handshake(&files, &tls, Client { name: "nobody.example.net", ..PLAIN }).await;
    assert!(refused.is_err(), "the first certificate is served, which this client does not accept under that name");
}

#[tokio::test]
async fn client_certificates_are_verified_and_their_names_read() {
    let files = Files::new();
    let server = files.certificate("mail", &["mail.example.com"]);
    let with = |client_certificates| Tls::load(&Settings { certificates: vec![server.clone()], client_certificates }).unwrap();
    let names = || {
        vec![
            dns("App.example.com"),
            SanType::Rfc822Name("App@Example.com".try_into().unwrap()),
            SanType::URI("spiffe://example.com/App".try_into().unwrap()),
            SanType::IpAddress([10, 0, 0, 1].into()),
        ]
    };
    let identity = |issuer: &CertifiedIssuer<'static, KeyPair>| {
        let key = KeyPair::generate().unwrap();
        let certificate = issue(names(), &key, issuer);
        Some((certificate.der().clone(), PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()))))
    };
    let expect = [San::dns("app.example.com"), San::Email("App@example.com".into()), San::Uri("spiffe://example.com/App".into())];
    let stranger = authority();
    let (off, optional, required) =
        (with(ClientCertificates::Off), with(ClientCertificates::Optional(files.path("ca.pem"))), with(ClientCertificates::Required(files.path("ca.pem"))));
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let ask = async |tls, identity| handshake(&files, tls, Client { version, identity, ..PLAIN }).await.map(|(_, names, _)| names);
        assert_eq!(ask(&optional, identity(&files.authority)).await.unwrap(), expect);
        assert_eq!(ask(&required, identity(&files.authority)).await.unwrap(), expect);
        assert_eq!(ask(&optional, None).await.unwrap(), []);
        assert_eq!(ask(&off, identity(&files.authority)).await.unwrap(), [], "not asked for");
        assert!(ask(&required, None).await.is_err());
        assert!(ask(&optional, identity(&stranger)).await.is_err(), "issued by somebody else");
        assert!(ask(&required, identity(&stranger)).await.is_err());
    }
}

#[tokio::test]
async fn a_reload_takes_new_files_and_keeps_the_old_state_when_they_are_faulty() {
    let files = Files::new();
    let settings = settings(vec![files.certificate("mail", &["mail.example.com"])]);
    let tls = Tls::load(&settings).unwrap();
    let before = der(&files.path("mail.pem"));
    files.certificate("mail", &["mail.example.com"]);
    let after = der(&files.path("mail.pem"));
    assert_eq!(handshake(&files, &tls, PLAIN).await.unwrap().2, before);
    tls.reload(&settings).unwrap();
    assert_eq!(handshake(&files, &tls, PLAIN).await.unwrap().2, after);
    files.write("mail.key", "");
    assert!(tls.reload(&settings).is_err());
    assert_eq!(handshake(&files, &tls, PLAIN).await.unwrap().2, after);
}

#[test]
fn every_faulty_file_is_named_with_its_remedy() {
    let files = Files::new();
    let good = files.certificate("good", &["mail.example.com"]);
    let other = files.certificate("other", &["mail.example.com"]);
    files.write("empty", "");
    files.write("cut", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    files.write("damaged", "-----BEGIN PRIVATE KEY-----\nMIIB\n-----END PRIVATE KEY-----\n");
    files.write("encrypted", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n");
    files.write("encrypted1", "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\nMIIB\n-----END RSA PRIVATE KEY-----\n");
    for (chain, key, culprit, words) in [
        ("absent", "good.key", "absent", "make it readable"),
        ("good.pem", "absent", "absent", "make it readable"),
        ("empty", "good.key", "empty", "no certificate in it"),
        ("good.key", "good.pem", "good.key", "no certificate in it"),
        ("cut", "good.key", "cut", "write the file anew"),
        ("good.pem", "empty", "empty", "no private key in it"),
        ("good.pem", "good.pem", "good.pem", "no private key in it"),
        ("good.pem", "damaged", "damaged", "write the file anew"),
        ("good.pem", "encrypted", "encrypted", "openssl pkey"),
        ("good.pem", "encrypted1", "encrypted1", "openssl pkey"),
        ("good.pem", "other.key", "other.key", "not the key of the certificate in"),
    ] {
        let faults = Tls::load(&settings(vec![CertificateFiles { chain: files.path(chain), key: files.path(key) }])).unwrap_err();
        let [fault] = &faults[..] else { panic!("{chain} {key}: {faults:?}") };
        let text = fault.to_string();
        assert!(text.starts_with(&format!("{}: ", files.path(culprit).display())) && text.contains(words), "{chain} {key}: {text}");
    }
    let all = Settings {
        certificates: vec![
            good.clone(),
            CertificateFiles { chain: files.path("empty"), key: good.key.clone() },
            CertificateFiles { chain: good.chain.clone(), key: other.key },
        ],
        client_certificates: ClientCertificates::Required(files.path("empty")),
    };
    assert_eq!(Tls::load(&all).unwrap_err().len(), 3, "all at once");
    assert_eq!(Tls::load(&settings(Vec::new())).unwrap_err().len(), 1);
}

#[tokio::test]
async fn a_client_that_knows_only_one_kind_of_key_gets_that_certificate() {
    let files = Files::new();
    let ecdsa = files.certificate("ecdsa", &["mail.example.com"]);
    let Ok(key) = KeyPair::generate_for(&PKCS_RSA_SHA256) else { panic!("aws-lc makes RSA keys") };
    files.write("rsa.pem", &issue(vec![dns("mail.example.com")], &key, &files.authority).pem());
    files.write("rsa.key", &key.serialize_pem());
    let tls = Tls::load(&settings(vec![ecdsa.clone(), CertificateFiles { chain: files.path("rsa.pem"), key: files.path("rsa.key") }])).unwrap();
    assert_eq!(handshake(&files, &tls, PLAIN).await.unwrap().2, der(&ecdsa.chain), "the first that fits");
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| format!("{:?}", suite.suite()).contains("_RSA_"));
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider)).with_protocol_versions(&[&rustls::version::TLS12]).unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_root_certificates(files.roots()).with_no_client_auth()));
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (connected, accepted) = tokio::join!(connector.connect("mail.example.com".try_into().unwrap(), near), tls.acceptor().accept(far));
    accepted.unwrap();
    assert_eq!(connected.unwrap().get_ref().1.peer_certificates().unwrap()[0], der(&files.path("rsa.pem")));
}
