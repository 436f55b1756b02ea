//! DMARC records and the walk of the tree (RFC 9989 §4.7, §4.8, §4.10), without the DNS.

use crate::mail::Domain;
use std::fmt;

/// A record that begins `v=DMARC1`. Tags that are not well formed are as if they were not there (RFC 9989 §4.8).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DmarcRecord {
    /// `p=`. `None`: there is no valid one, nor a `rua=` for whose sake it would count as `p=none`, so DMARC does not apply.
    pub p: Option<Policy>,
    /// `sp=`.
    pub sp: Option<Policy>,
    /// `np=`.
    pub np: Option<Policy>,
    /// `adkim=`.
    pub adkim: Alignment,
    /// `aspf=`.
    pub aspf: Alignment,
    /// `t=y`.
    pub testing: bool,
    /// `psd=`.
    pub psd: Psd,
    /// `rua=`: its valid addresses, with scheme, without the obsolete size.
    pub rua: Vec<String>,
    /// `ruf=`, likewise.
    pub ruf: Vec<String>,
    /// Pieces that were passed over, as they stand: unknown or removed tags (`pct`, `rf`, `ri`), bad values, stray text.
    pub ignored: Vec<String>,
}

/// What is to be done with mail that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Policy {
    /// Nothing.
    None,
    /// To be treated as suspicious.
    Quarantine,
    /// To be refused.
    Reject,
}

/// `adkim=` and `aspf=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Alignment {
    /// The same organisational domain.
    #[default]
    Relaxed,
    /// The same domain.
    Strict,
}

/// `psd=`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Psd {
    /// A public suffix: organisational domains lie one label below.
    Yes,
    /// An organisational domain.
    No,
    /// Not said.
    #[default]
    Unknown,
}

/// Why a text is no DMARC record and must be ignored as a whole (RFC 9989 §4.7, §4.10).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DmarcFault {
    /// It does not begin with `v=`: some other record.
    #[error("it does not begin with \"v=DMARC1\"")]
    NoVersion,
    /// Something follows the version without a semicolon.
    #[error("there is no \";\" behind \"v=DMARC1\", so all of it is read as the version: write \"{0}\"")]
    NoSemicolon(String),
    /// Another version.
    #[error("its version is \"{0}\"; only \"DMARC1\", in capitals, is one")]
    Version(String),
    /// Several records at one name: all are discarded.
    #[error("there are {0} DMARC records at one name, so none of them counts: delete all but one")]
    Several(usize),
    /// No valid `p=`.
    #[error("it has no valid \"p=\" (none, quarantine or reject), and no \"rua=\" for whose sake it would count as p=none")]
    NoPolicy,
}

/// Reads the text of one TXT record, its strings joined without anything between (RFC 9989 §4.5).
///
/// # Errors
/// It is not a DMARC record, and receivers ignore all of it.
pub fn dmarc_record(text: &str) -> Result<DmarcRecord, DmarcFault> {
    let mut pieces = text.split(';');
    version(pieces.next().unwrap_or_default().trim_matches(WSP), text)?;
    let mut record = DmarcRecord::EMPTY;
    let mut policies_valid = true;
    let mut seen: Vec<&str> = Vec::new();
    for piece in pieces.map(|piece| piece.trim_matches(WSP)).filter(|piece| !piece.is_empty()) {
        let Some((name, value)) = piece.split_once('=').map(|(name, value)| (name.trim_matches(WSP), value.trim_matches(WSP))) else {
            record.ignored.push(piece.to_owned());
            continue;
        };
        let known = !seen.contains(&name) && record.set(name, value);
        if known {
            seen.push(name);
        } else {
            policies_valid &= !matches!(name, "p" | "sp" | "np") || seen.contains(&name);
            record.ignored.push(piece.to_owned());
        }
    }
    if record.p.is_none() || !policies_valid {
        // RFC 9989 §4.10.1: the wish for reports keeps it alive.
        record.p = (!record.rua.is_empty()).then_some(Policy::None);
        (record.sp, record.np) = (None, None);
    }
    Ok(record)
}

/// The record among all TXT records of a `_dmarc` name: the only one, or why there is none; `Ok(None)` when none even tries.
///
/// # Errors
/// There are several, or what tries to be one is none.
pub fn only_record(texts: &[String]) -> Result<Option<DmarcRecord>, (String, DmarcFault)> {
    let read: Vec<_> = texts.iter().map(|text| (text, dmarc_record(text))).filter(|(_, read)| *read != Err(DmarcFault::NoVersion)).collect();
    let good: Vec<_> = read.iter().filter_map(|(text, read)| Some((text, read.as_ref().ok()?))).collect();
    match (good.as_slice(), read.as_slice()) {
        ([(_, record)], _) => Ok(Some((*record).clone())),
        ([], []) => Ok(None),
        ([], [(text, Err(fault)), ..]) => Err(((*text).clone(), fault.clone())),
        (several, _) => Err((several.first().map(|(text, _)| (**text).clone()).unwrap_or_default(), DmarcFault::Several(several.len()))),
    }
}

/// The names to ask for `_dmarc` records, longest first, at most eight (RFC 9989 §4.10). The walk ends early at `psd=y` or `psd=n`.
#[must_use]
pub fn tree_walk(start: &Domain) -> Vec<Domain> {
    let mut names = vec![start.clone()];
    let mut next = start.parent();
    while let Some(name) = next {
        next = name.parent();
        if name.as_str().split('.').count() < WALK_QUERIES_MAX {
            names.push(name);
        }
    }
    names
}

/// The organisational domain of `start`, given the records a walk from it found, longest name first (RFC 9989 §4.10.2).
#[must_use]
pub fn organizational_domain(start: &Domain, found: &[(Domain, DmarcRecord)]) -> Domain {
    for (name, record) in found {
        match record.psd {
            Psd::No => return name.clone(),
            Psd::Yes if name != start => return one_below(name, start),
            Psd::Yes | Psd::Unknown => {}
        }
    }
    found.last().map_or_else(|| start.clone(), |(name, _)| name.clone())
}

/// The record that applies to `author`, given what a walk from it found: its own, its organisational domain's, or the public
/// suffix's (RFC 9989 §4.10.1).
#[must_use]
pub fn applicable<'a>(author: &Domain, found: &'a [(Domain, DmarcRecord)]) -> Option<&'a (Domain, DmarcRecord)> {
    let organization = organizational_domain(author, found);
    let at = |wanted: &Domain| found.iter().find(|(name, _)| name == wanted);
    at(author).or_else(|| at(&organization)).or_else(|| found.iter().find(|(_, record)| record.psd == Psd::Yes))
}

impl DmarcRecord {
    /// Every default, and no policy.
    const EMPTY: Self = Self {
        p: None,
        sp: None,
        np: None,
        adkim: Alignment::Relaxed,
        aspf: Alignment::Relaxed,
        testing: false,
        psd: Psd::Unknown,
        rua: Vec::new(),
        ruf: Vec::new(),
        ignored: Vec::new(),
    };

    /// Takes a tag; false when it is unknown or its value is not one of its values. Names count with their case
    /// (RFC 6376 §3.2), values without (RFC 5234 §2.3).
    fn set(&mut self, name: &str, value: &str) -> bool {
        let value = value.to_ascii_lowercase();
        let policy = match value.as_str() {
            "none" => Some(Policy::None),
            "quarantine" => Some(Policy::Quarantine),
            "reject" => Some(Policy::Reject),
            _ => None,
        };
        match (name, value.as_str()) {
            ("p", _) => self.p = policy,
            ("sp", _) => self.sp = policy,
            ("np", _) => self.np = policy,
            ("adkim", "r" | "s") => self.adkim = Alignment::of(&value),
            ("aspf", "r" | "s") => self.aspf = Alignment::of(&value),
            ("t", "y" | "n") => self.testing = value == "y",
            ("psd", "y") => self.psd = Psd::Yes,
            ("psd", "n") => self.psd = Psd::No,
            ("psd", "u") => self.psd = Psd::Unknown,
            ("rua", _) => self.rua = uris(&value),
            ("ruf", _) => self.ruf = uris(&value),
            ("fo", _) => {} // tells reporters which failures to report; it decides nothing here
            _ => return false,
        }
        match name {
            "p" | "sp" | "np" => policy.is_some(),
            "rua" => !self.rua.is_empty(),
            "ruf" => !self.ruf.is_empty(),
            _ => true,
        }
    }

    /// What is asked for mail that fails, when this record stands at `at` and the author domain is `author`: `p` at home, `sp` or
    /// `np` below (RFC 9989 §4.10.1), one level lower in test mode. `None` when DMARC does not apply.
    #[must_use]
    pub fn policy(&self, at: &Domain, author: &Domain, author_exists: bool) -> Option<Policy> {
        let p = self.p?;
        let asked = match (at == author, author_exists) {
            (true, _) => p,
            (false, true) => self.sp.unwrap_or(p),
            (false, false) => self.np.or(self.sp).unwrap_or(p),
        };
        Some(match (self.testing, asked) {
            (true, Policy::Reject) => Policy::Quarantine,
            (true, _) => Policy::None,
            (false, asked) => asked,
        })
    }
}

impl Alignment {
    fn of(value: &str) -> Self {
        if value == "s" { Self::Strict } else { Self::Relaxed }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Quarantine => "quarantine",
            Self::Reject => "reject",
        })
    }
}

/// `v=DMARC1` and nothing else before the first semicolon; the value counts with its case.
fn version(first: &str, text: &str) -> Result<(), DmarcFault> {
    let (name, value) = first.split_once('=').ok_or(DmarcFault::NoVersion)?;
    if !name.trim_matches(WSP).eq_ignore_ascii_case("v") {
        return Err(DmarcFault::NoVersion);
    }
    let value = value.trim_matches(WSP);
    if value == "DMARC1" {
        return Ok(());
    }
    if value.starts_with("DMARC1") {
        return Err(DmarcFault::NoSemicolon(with_semicolons(text)));
    }
    // A record of something else that has a version (v=spf1) is not a failed attempt.
    if value.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("DMARC")) { Err(DmarcFault::Version(value.to_owned())) } else { Err(DmarcFault::NoVersion) }
}

/// The text with a semicolon before each further `tag=`, at the spaces where one was forgotten.
fn with_semicolons(text: &str) -> String {
    let mut out = String::new();
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push_str(if word.contains('=') && !out.ends_with(';') { "; " } else { " " });
        }
        out.push_str(word);
    }
    out.chars().take(TEXT_CHARACTERS_MAX).collect()
}

/// The valid ones of a list (RFC 3986 §3: a scheme, a colon, something), an obsolete `!size` taken off.
fn uris(value: &str) -> Vec<String> {
    let bare = value.split(',').map(|uri| uri.trim_matches(WSP)).map(|uri| uri.split_once('!').map_or(uri, |(uri, _)| uri));
    let valid = |uri: &&str| {
        uri.split_once(':').is_some_and(|(scheme, rest)| {
            let scheme_is_one = scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
            let rest_is_one = !rest.is_empty() && rest.bytes().all(|b| (b'!'..=b'~').contains(&b)) && (scheme != "mailto" || rest.contains('@'));
            scheme_is_one && rest_is_one
        })
    };
    bare.filter(valid).map(str::to_owned).collect()
}

/// The name one label below `suffix` on the way to `start`.
fn one_below(suffix: &Domain, start: &Domain) -> Domain {
    let mut name = start.clone();
    while let Some(parent) = name.parent().filter(|parent| parent != suffix) {
        name = parent;
    }
    name
}

/// White space of RFC 5234.
const WSP: [char; 2] = [' ', '\t'];
/// RFC 9989 §4.10: of longer names only the last seven labels are walked.
const WALK_QUERIES_MAX: usize = 8;
const TEXT_CHARACTERS_MAX: usize = 500;
