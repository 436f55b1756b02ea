//! What an application handed over, and what is known of it.

use super::{Envelope, IdentityName, Timestamp};
use bytes::Bytes;
use std::net::IpAddr;
use std::sync::Arc;

/// A complete submission: received, not yet judged as a whole, not yet promised.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The envelope.
    pub envelope: Envelope,
    /// Who gave it.
    pub client: Client,
    /// The message with CR LF line ends, dots unstuffed; ends in CR LF.
    pub message: Bytes,
    /// When the final dot came.
    pub received_at: Timestamp,
}

/// What is known of a client of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Which identity of the configuration it is.
    pub identity: IdentityName,
    /// How that was proved.
    pub proof: Proof,
    /// Its address, as the PROXY header gave it where one is trusted.
    pub address: IpAddr,
    /// The argument of EHLO or HELO, as given.
    pub helo: String,
    /// EHLO rather than HELO.
    pub esmtp: bool,
    /// The TLS session, if one protects the connection.
    pub tls: Option<TlsSession>,
    /// The name of the listener.
    pub listener: Arc<str>,
}

/// How an identity was proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    /// The address lies in one of the identity's networks.
    Network,
    /// This SASL user authenticated (RFC 4954).
    Sasl {
        /// The authentication identity.
        user: String,
    },
    /// The TLS client certificate names this subject alternative name.
    Certificate {
        /// The name that matched.
        name: String,
    },
}

/// What a TLS handshake agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TlsSession {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// The cipher suite's IANA name.
    pub cipher: String,
}

impl Client {
    /// The `with` word of a Received field (RFC 3848, RFC 6531 §4.3).
    #[must_use]
    pub fn protocol(&self, smtputf8: bool) -> &'static str {
        let authenticated = matches!(self.proof, Proof::Sasl { .. });
        match (self.esmtp, smtputf8, self.tls.is_some(), authenticated) {
            (false, ..) => "SMTP",
            (true, false, false, false) => "ESMTP",
            (true, false, true, false) => "ESMTPS",
            (true, false, false, true) => "ESMTPA",
            (true, false, true, true) => "ESMTPSA",
            (true, true, false, false) => "UTF8SMTP",
            (true, true, true, false) => "UTF8SMTPS",
            (true, true, false, true) => "UTF8SMTPA",
            (true, true, true, true) => "UTF8SMTPSA",
        }
    }
}
