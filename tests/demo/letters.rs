//! The three messages, as applications and a mailing list hand them in.

use crate::world::Names;
use anyhow::anyhow;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use mail_auth::arc::ArcSealer;
use mail_auth::crypto::{RsaKey, Sha256};
use mail_auth::dkim::DkimSigner;
use mail_auth::headers::HeaderWriter as _;
use mail_auth::{AuthenticatedMessage, AuthenticationResults, MessageAuthenticator};
use postseal::keys::{Algorithm, PrivateKey, Record};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// A message to submit.
pub struct Letter {
    /// What is shown above it.
    pub title: &'static str,
    /// What to look for.
    pub remark: &'static str,
    /// What must stand in the header when it arrives, top to bottom, and whether the relay made it.
    pub seals: [(&'static str, bool); 3],
    /// The argument of MAIL FROM.
    pub reverse_path: String,
    /// The argument of RCPT TO.
    pub recipient: String,
    /// Octets over 127 in the body: `BODY=8BITMIME`.
    pub eight_bit: bool,
    /// Who authenticates; nobody: the relay knows the application by its address.
    pub login: Option<(&'static str, String)>,
    /// The message, CR LF line ends.
    pub octets: Vec<u8>,
}

/// A message without Date and Message-ID, from a sender that can receive nothing: what a script writes.
pub fn plain(names: &Names) -> Letter {
    let Names { author, recipient, .. } = names;
    let text = format!(
        "From: Example Shop <shop@{author}>\n\
         To: {recipient}\n\
         Subject: Your order 1042 is on its way\n\
         \n\
         Hello,\n\
         \n\
         your parcel left our warehouse this morning.\n"
    );
    Letter {
        title: "A plain message, as a script writes it",
        remark: "It has no Date and no Message-ID, and its sender can receive nothing.",
        seals: [("DKIM", true), ("ARC", true), ("DKIM", true)],
        reverse_path: "www-data@web-3.internal".to_owned(),
        recipient: recipient.clone(),
        eight_bit: false,
        login: None,
        octets: crlf(&text),
    }
}

/// UTF-8 as it is in the body, and an attachment with a Japanese name.
pub fn japanese(names: &Names) -> Letter {
    let Names { author, recipient, .. } = names;
    let text = format!(
        "From: {shop} <shop@{author}>\n\
         To: {recipient}\n\
         Subject: {subject}\n\
         Date: {date}\n\
         Message-ID: <order.1042.ja@{author}>\n\
         MIME-Version: 1.0\n\
         Content-Type: multipart/mixed; boundary=\"parts\"\n\
         \n\
         --parts\n\
         Content-Type: text/plain; charset=utf-8\n\
         Content-Transfer-Encoding: 8bit\n\
         \n\
         田中様\n\
         \n\
         この度はご注文いただき、誠にありがとうございます。\n\
         領収書を添付いたしましたので、ご確認ください。\n\
         \n\
         --parts\n\
         Content-Type: image/png\n\
         Content-Transfer-Encoding: base64\n\
         Content-Disposition: attachment; filename*=UTF-8''%E9%A0%98%E5%8F%8E%E6%9B%B8.png\n\
         \n\
         iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9\n\
         awAAAABJRU5ErkJggg==\n\
         --parts--\n",
        shop = encoded_word("サンプル商店"),
        subject = encoded_word("ご注文ありがとうございます"),
        date = postseal::clock::now().to_rfc5322(),
    );
    Letter {
        title: "Japanese, with an 8-bit body and an attachment",
        remark: "It is made 7-bit before it is signed, so that no later hop can break that.",
        seals: [("DKIM", true), ("ARC", true), ("DKIM", true)],
        reverse_path: format!("shop@{author}"),
        recipient: recipient.clone(),
        eight_bit: true,
        login: None,
        octets: crlf(&text),
    }
}

/// A stranger's message that was signed and sealed where it was written, and that a mailing list passes on with its own fields.
pub async fn from_a_list(names: &Names, writer: &Writer, authenticator: &MessageAuthenticator) -> anyhow::Result<Letter> {
    let Names { list, recipient, .. } = names;
    let text = format!(
        "From: Ada Writer <ada@{writer}>\n\
         To: gardeners@{list}\n\
         Subject: When to prune roses\n\
         Date: {date}\n\
         Message-ID: <roses.7@{writer}>\n\
         MIME-Version: 1.0\n\
         Content-Type: text/plain; charset=us-ascii\n\
         \n\
         When the forsythia blooms.\n",
        writer = Writer::DOMAIN,
        date = postseal::clock::now().to_rfc5322(),
    );
    let mut octets = crlf(&format!(
        "List-Id: Gardeners <gardeners.{list}>\n\
         List-Post: <mailto:gardeners@{list}>\n\
         Precedence: list\n"
    ));
    octets.extend(writer.sealed(&crlf(&text), authenticator).await?);
    Ok(Letter {
        title: "Through a mailing list, signed and sealed by others before",
        remark: "SPF can never be the author's here; her signature and the chain survive.",
        seals: [("ARC", true), ("ARC", false), ("DKIM", false)],
        reverse_path: format!("gardeners-bounces@{list}"),
        recipient: recipient.clone(),
        eight_bit: false,
        login: Some((super::world::LIST_USER, names.list_password.clone())),
        octets,
    })
}

/// Ada's own mail service: a stranger with a key in the same DNS. It signs and seals with mail-auth, not with our code.
pub struct Writer {
    key: PrivateKey,
}

impl Writer {
    /// Where Ada writes from.
    pub const DOMAIN: &'static str = "example.org";
    const SELECTOR: &'static str = "mail";

    /// With a fresh key.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self { key: PrivateKey::generate(Algorithm::Rsa)? })
    }

    /// Name and text of its key record.
    pub fn record(&self) -> (String, String) {
        (format!("{}._domainkey.{}", Self::SELECTOR, Self::DOMAIN), Record::of(self.key.public().clone()).to_string())
    }

    async fn sealed(&self, message: &[u8], authenticator: &MessageAuthenticator) -> anyhow::Result<Vec<u8>> {
        let failed = |error: mail_auth::Error| anyhow!("the list's message could not be made: {error}");
        let covered = ["From", "To", "Subject", "Date", "Message-ID", "MIME-Version", "Content-Type"];
        let dkim = DkimSigner::from_key(self.signing_key().map_err(failed)?).domain(Self::DOMAIN).selector(Self::SELECTOR).headers(covered);
        let signed = [dkim.sign(message).map_err(failed)?.to_header().as_bytes(), message].concat();
        let parsed = AuthenticatedMessage::parse(&signed).ok_or_else(|| anyhow!("the list's message has no header"))?;
        let verified = authenticator.verify_dkim(&parsed).await;
        let results = AuthenticationResults::new(Self::DOMAIN).with_dkim_results(&verified, &format!("ada@{}", Self::DOMAIN));
        let chain = authenticator.verify_arc(&parsed).await;
        let arc = ArcSealer::from_key(self.signing_key().map_err(failed)?).domain(Self::DOMAIN).selector(Self::SELECTOR).headers(covered);
        let set = arc.seal(&parsed, &results, &chain).map_err(failed)?.to_header();
        Ok([set.as_bytes(), &signed].concat())
    }

    fn signing_key(&self) -> mail_auth::Result<RsaKey<Sha256>> {
        RsaKey::from_key_der(PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.der())))
    }
}

fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

/// RFC 2047 §2.
fn encoded_word(text: &str) -> String {
    format!("=?UTF-8?B?{}?=", BASE64.encode(text))
}
