//! The Received field (RFC 5321 §4.4): who gave the message to whom, how, and when.
//!
//! Only values that were parsed, or reduced to letters, digits and a little punctuation, get into it: nothing a client says ends
//! the field or forges another.

use super::Settings;
use crate::mail::{Client, Envelope, Host, MailId, Timestamp};
use std::net::IpAddr;

/// The whole field with its CR LF, folded at its clauses.
#[must_use]
pub fn received(envelope: &Envelope, client: &Client, settings: &Settings, id: MailId, now: Timestamp) -> String {
    let mut clauses = Vec::new();
    if settings.show_client {
        clauses.push(from(client));
    }
    clauses.push(format!("by {}", settings.hostname));
    let mut with = format!("with {}", client.protocol(envelope.smtputf8));
    if let Some(tls) = &client.tls {
        with.extend([" (", &plain(tls.version), " ", &plain(&tls.cipher), ")"]);
    }
    clauses.push(with);
    clauses.push(format!("id {id}"));
    if let [only] = envelope.recipients.as_slice()
        && (envelope.smtputf8 || only.mailbox.is_ascii())
    {
        clauses.push(format!("for <{}>", only.mailbox)); // of several recipients none is told of the others
    }
    format!("Received: {};\r\n\t{}\r\n", fold(&clauses), now.to_rfc5322())
}

/// Name and address (RFC 5321 §4.1.3, `Extended-Domain`). A name that is none is shown in a comment, behind the address.
fn from(client: &Client) -> String {
    let address = Host::Literal(match client.address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    });
    match Host::parse(&client.helo) {
        Ok(name) => format!("from {name} ({address})"),
        Err(_) => format!("from {address} ({address} helo={})", plain(&client.helo)),
    }
}

/// Letters, digits and what names are made of; everything else becomes `?`.
fn plain(text: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._-:+/".contains(c) { c } else { '?' };
    text.chars().take(WORD_CHARACTERS_MAX).map(kept).collect()
}

/// Clauses in lines of at most 78 characters, as far as a clause allows (RFC 5322 §2.1.1).
fn fold(clauses: &[String]) -> String {
    let mut out = String::new();
    let mut column = "Received: ".len();
    for clause in clauses {
        if !out.is_empty() {
            let fits = column + 1 + clause.len() < LINE_CHARACTERS;
            out.push_str(if fits { " " } else { "\r\n\t" });
            column = if fits { column + 1 } else { 8 };
        }
        out.push_str(clause);
        column += clause.len();
    }
    out
}

const WORD_CHARACTERS_MAX: usize = 64;
const LINE_CHARACTERS: usize = 78;
