//! `[admin]`: where people, probes and programs ask the relay how it is.

use super::super::reader::Reader;
use super::{KIB, MIB, TIMEOUT, octets};
use crate::admin::guard::{self, Token};
use crate::admin::{Bounds, Settings};
use crate::ingress::tls;
use crate::mail::Domain;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// `[admin]`, where it is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// What the room takes.
    pub settings: Settings,
    /// Its certificates; `None` in clear text.
    pub tls: Option<tls::Settings>,
}

/// `relay`: the certificates of `[tls]`.
pub fn admin(root: &Reader<'_>, hostname: &Domain, relay: Option<&tls::Settings>) -> Option<Admin> {
    let table = root.table("admin");
    let enabled = table.value("enabled", true);
    let address = table.value("address", SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    let tokens = tokens(&table);
    let tls = certificates(&table, relay);
    let names = table.value::<Vec<String>>("names", Vec::new());
    let settings = Settings {
        address,
        names: names.into_iter().chain([hostname.to_string()]).collect(),
        tokens,
        token_always: table.value("token_always", false),
        bounds: bounds(&table),
    };
    if settings.token_always && settings.tokens.is_empty() {
        table.fault("token_always", "true, but there is no token", TOKEN);
    }
    if enabled && !address.ip().is_loopback() {
        let found = |what: &str| format!("\"{address}\", which others can reach, without {what}");
        if settings.tokens.is_empty() {
            table.fault("address", &found("a token"), TOKEN);
        }
        if tls.is_none() {
            table.fault("address", &found("TLS"), "tls = true, with a certificate in [tls.certificates.NAME] or in admin.chain and admin.key");
        }
    }
    enabled.then_some(Admin { settings, tls })
}

fn tokens(table: &Reader<'_>) -> Vec<Token> {
    let mut tokens = Vec::new();
    for (name, table) in table.tables("tokens") {
        let hash = table.required::<String>("hash", HASH);
        let read_only = table.value("read_only", false);
        let Some(hash) = hash else { continue };
        match guard::parse(&hash) {
            Some(digest) => tokens.push(Token { name, digest, read_only }),
            None => table.fault("hash", "something else", HASH), // which may be the token itself
        }
    }
    tokens
}

fn certificates(table: &Reader<'_>, relay: Option<&tls::Settings>) -> Option<tls::Settings> {
    let is_on = table.value("tls", false);
    let chain = table.optional::<PathBuf>("chain").map(|path| table.resolve(&path));
    let key = table.optional::<PathBuf>("key").map(|path| table.resolve(&path));
    let own = match (chain, key) {
        (Some(chain), Some(key)) => Some(vec![tls::CertificateFiles { chain, key }]),
        (None, None) => relay.map(|relay| relay.certificates.clone()),
        (Some(_), None) => {
            table.fault("chain", "set, but key is not", "both, or neither for the certificates of [tls]");
            return None;
        }
        (None, Some(_)) => {
            table.fault("key", "set, but chain is not", "both, or neither for the certificates of [tls]");
            return None;
        }
    };
    if is_on && own.is_none() {
        table.fault("tls", "true, but there is no certificate", "a table [tls.certificates.NAME], or admin.chain and admin.key");
    }
    let certificates = own.filter(|_| is_on)?;
    Some(tls::Settings { certificates, client_certificates: tls::ClientCertificates::Off })
}

fn bounds(table: &Reader<'_>) -> Bounds {
    let standard = Bounds::default();
    Bounds {
        connections_max: table.within("connections_max", standard.connections_max, 1..=100_000),
        header_timeout: table.within("header_timeout", standard.header_timeout, TIMEOUT),
        request_timeout: table.within("request_timeout", standard.request_timeout, TIMEOUT),
        write_timeout: table.within("write_timeout", standard.write_timeout, TIMEOUT),
        header_octets_max: octets(table, "header_octets_max", standard.header_octets_max, 8 * KIB..=MIB),
        body_octets_max: octets(table, "body_octets_max", standard.body_octets_max, KIB..=64 * MIB),
    }
}

const PORT: u16 = 8025;
const TOKEN: &str = "a table [admin.tokens.NAME] with the hash that `postseal admin token` prints";
const HASH: &str = "\"sha256:\" and 64 hexadecimal digits, as `postseal admin token` prints them";
