//! SPF records: read, found fault with, and remarked on (RFC 7208 §4.5-§7, §12). Pure: no question is asked here.
//!
//! Receivers stop at the first fault of a record; this reader names them all, each with its place and what was probably meant.
//! What is legal but unwise is a [`Remark`]. It does not know what a term costs or whom it lets in: that is
//! [`spf_walk`](super::spf_walk)'s.

mod fault;
mod macros;
mod terms;

pub use fault::{SpfFault, Why};
pub use macros::{MacroString, Values};

use ipnet::{Ipv4Net, Ipv6Net};
use std::fmt;

/// A record without faults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpfRecord {
    /// As published, its strings joined.
    pub text: String,
    /// In the order they are evaluated.
    pub terms: Vec<Term>,
}

/// One term and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// As written.
    pub text: String,
    /// Octets of the record before it.
    pub at: usize,
    /// What it says.
    pub kind: TermKind,
}

/// RFC 7208 §4.6.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TermKind {
    /// Says who may send, or who may not.
    Directive(Qualifier, Mechanism),
    /// `redirect=`: another record decides, where none of the mechanisms matches.
    Redirect(DomainSpec),
    /// `exp=`: where the text of a refusal stands.
    Explanation(DomainSpec),
    /// A modifier this standard does not know; passed over (RFC 7208 §6).
    Unknown {
        /// In front of the `=`.
        name: String,
        /// Behind it.
        value: String,
    },
}

/// What a match comes to (RFC 7208 §4.6.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Qualifier {
    /// `+`, or none.
    Pass,
    /// `-`.
    Fail,
    /// `~`.
    SoftFail,
    /// `?`.
    Neutral,
}

/// RFC 7208 §5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mechanism {
    /// Everybody.
    All,
    /// Whom another record passes.
    Include(DomainSpec),
    /// The addresses of a host.
    A(Option<DomainSpec>, Prefixes),
    /// The addresses of a domain's MX hosts.
    Mx(Option<DomainSpec>, Prefixes),
    /// Who has a name below a domain. Discouraged (RFC 7208 §5.5).
    Ptr(Option<DomainSpec>),
    /// A network.
    Ip4(Ipv4Net),
    /// A network.
    Ip6(Ipv6Net),
    /// Whoever a name with an address can be made of.
    Exists(DomainSpec),
}

/// How many leading bits of an address count (RFC 7208 §5.6): 32 and 128 where nothing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefixes {
    /// 0 to 32.
    pub v4: u8,
    /// 0 to 128.
    pub v6: u8,
}

/// A name, perhaps with macros (RFC 7208 §7.1).
pub type DomainSpec = MacroString;

/// What is legal, but not wise or not meant. All but the first two need no action of receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// `+all`: the whole Internet passes.
    PassesEverybody(Term),
    /// `?all`, or neither `all` nor `redirect=`: who is not named gets `neutral`, as if there were no record.
    NobodyRefused(Option<Term>),
    /// `ptr` (RFC 7208 §5.5: SHOULD NOT be published).
    Ptr(Term),
    /// Terms behind `all` are never reached (RFC 7208 §5.1).
    BehindAll(Term),
    /// `redirect=` beside `all` is never followed (RFC 7208 §6.1).
    RedirectBesideAll(Term),
    /// A network that holds more than [`NETWORK_V4_BITS`] or [`NETWORK_V6_BITS`] say anybody needs to send mail from.
    HugeNetwork(Term),
    /// The same term again.
    Twice(Term),
    /// A modifier nobody knows that bears the name of a mechanism: `ip4=` for `ip4:`; it lets nobody in.
    ModifierForMechanism(Term),
    /// A name that holds the beginning of a further term: a space was forgotten. The second part is that term.
    SpaceMissing(Term, String),
    /// Any other modifier nobody knows.
    UnknownModifier(Term),
    /// Longer than [`TEXT_OCTETS_ADVISED`]: the answer may not fit into a datagram (RFC 7208 §3.4).
    Long(usize),
}

/// What the TXT records of a name come to (RFC 7208 §4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected {
    /// There is one, and it can be read.
    Record(SpfRecord),
    /// There is none. Texts that were probably meant as one come with what is wrong about them.
    None(Vec<NearMiss>),
    /// There are several: permerror, whatever they say.
    Several(Vec<String>),
    /// There is one with faults: permerror.
    Faulty {
        /// As published.
        text: String,
        /// Never empty.
        faults: Vec<SpfFault>,
    },
}

/// A text that receivers do not take for an SPF record, though somebody meant it as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearMiss {
    /// As published.
    pub text: String,
    /// What is wrong, and what to write.
    pub why: String,
}

/// Chooses the record among the TXT records of a name, the strings of each joined, and reads it.
#[must_use]
pub fn select(texts: &[String]) -> Selected {
    let records: Vec<&String> = texts.iter().filter(|text| version_end(text).is_some()).collect();
    match records.as_slice() {
        [] => Selected::None(texts.iter().filter_map(|text| near_miss(text)).collect()),
        [text] => match spf_record(text) {
            Ok(record) => Selected::Record(record),
            Err(faults) => Selected::Faulty { text: (*text).clone(), faults },
        },
        several => Selected::Several(several.iter().map(|text| (*text).clone()).collect()),
    }
}

/// Reads the text of one record.
///
/// # Errors
/// Every fault of it, in its order; never none. Receivers answer permerror (RFC 7208 §4.6).
pub fn spf_record(text: &str) -> Result<SpfRecord, Vec<SpfFault>> {
    let Some(start) = version_end(text) else {
        return Err(vec![SpfFault { at: 0, term: terms::shown(text.split(' ').next().unwrap_or_default()), why: Why::Version }]);
    };
    let mut terms = Vec::new();
    let mut faults = Vec::new();
    let mut words = words(text, start).peekable();
    while let Some((at, word)) = words.next() {
        let why = match terms::term(word) {
            Ok(kind) => {
                terms.push(Term { text: word.to_owned(), at, kind });
                continue;
            }
            Err(why) => why,
        };
        // "ip4: 192.0.2.1" is one slip, not two.
        let behind = words.next_if(|(_, next)| word.ends_with(':') && terms::term(next).is_err());
        let why = behind.map_or(why, |(_, next)| Why::SpaceInside(terms::shown(&format!("{word}{next}"))));
        faults.push(SpfFault { at, term: terms::shown(word), why });
    }
    for kind in ["redirect", "exp"] {
        faults.extend(terms.iter().filter(|term| term.is_modifier(kind)).skip(1).map(|term| SpfFault {
            at: term.at,
            term: terms::shown(&term.text),
            why: Why::ModifierTwice,
        }));
    }
    faults.sort_by_key(|fault| fault.at);
    if faults.is_empty() { Ok(SpfRecord { text: text.to_owned(), terms }) } else { Err(faults) }
}

impl SpfRecord {
    /// The directives that can be reached: up to and with the first `all`.
    pub fn directives(&self) -> impl Iterator<Item = (&Term, Qualifier, &Mechanism)> {
        let end = self.all_at().map_or(self.terms.len(), |at| at + 1);
        self.terms[..end].iter().filter_map(|term| match &term.kind {
            TermKind::Directive(qualifier, mechanism) => Some((term, *qualifier, mechanism)),
            _ => None,
        })
    }

    /// `all` and its qualifier.
    #[must_use]
    pub fn all(&self) -> Option<Qualifier> {
        match &self.terms.get(self.all_at()?)?.kind {
            TermKind::Directive(qualifier, _) => Some(*qualifier),
            _ => None,
        }
    }

    /// The `redirect=` that is followed when nothing matches: none beside `all`.
    #[must_use]
    pub fn redirect(&self) -> Option<(&Term, &DomainSpec)> {
        if self.all_at().is_some() {
            return None;
        }
        self.terms.iter().find_map(|term| match &term.kind {
            TermKind::Redirect(domain) => Some((term, domain)),
            _ => None,
        })
    }

    /// The `exp=`.
    #[must_use]
    pub fn explanation(&self) -> Option<&DomainSpec> {
        self.terms.iter().find_map(|term| match &term.kind {
            TermKind::Explanation(domain) => Some(domain),
            _ => None,
        })
    }

    /// What is legal, but not wise or not meant, in the order of the record.
    #[must_use]
    pub fn remarks(&self) -> Vec<Remark> {
        let all = self.all_at();
        let mut remarks: Vec<Remark> = self.terms.iter().enumerate().filter_map(|(place, term)| self.remark(place, term, all)).collect();
        if all.is_none() && self.redirect().is_none() {
            remarks.push(Remark::NobodyRefused(None));
        }
        if self.text.len() > TEXT_OCTETS_ADVISED {
            remarks.push(Remark::Long(self.text.len()));
        }
        remarks
    }

    fn remark(&self, place: usize, term: &Term, all: Option<usize>) -> Option<Remark> {
        if self.terms[..place].iter().any(|earlier| earlier.kind == term.kind) {
            return Some(Remark::Twice(term.clone()));
        }
        let term = term.clone();
        if let Some(second) = terms::second_term(term.text.split_once([':', '=']).map_or("", |(_, value)| value)) {
            return Some(Remark::SpaceMissing(term, second));
        }
        match &term.kind {
            TermKind::Directive(..) if all.is_some_and(|all| place > all) => Some(Remark::BehindAll(term)),
            TermKind::Directive(Qualifier::Pass, Mechanism::All) => Some(Remark::PassesEverybody(term)),
            TermKind::Directive(Qualifier::Neutral, Mechanism::All) => Some(Remark::NobodyRefused(Some(term))),
            TermKind::Directive(_, Mechanism::Ptr(_)) => Some(Remark::Ptr(term)),
            TermKind::Directive(Qualifier::Pass, mechanism) if mechanism.is_huge() => Some(Remark::HugeNetwork(term)),
            TermKind::Redirect(_) if all.is_some() => Some(Remark::RedirectBesideAll(term)),
            TermKind::Unknown { name, .. } if terms::is_mechanism(name) => Some(Remark::ModifierForMechanism(term)),
            TermKind::Unknown { .. } => Some(Remark::UnknownModifier(term)),
            _ => None,
        }
    }

    fn all_at(&self) -> Option<usize> {
        self.terms.iter().position(|term| matches!(term.kind, TermKind::Directive(_, Mechanism::All)))
    }
}

impl Mechanism {
    /// Whether it takes one of the ten lookups (RFC 7208 §4.6.4).
    #[must_use]
    pub const fn costs_a_lookup(&self) -> bool {
        !matches!(self, Self::All | Self::Ip4(_) | Self::Ip6(_))
    }

    const fn is_huge(&self) -> bool {
        match self {
            Self::Ip4(network) => network.prefix_len() < NETWORK_V4_BITS,
            Self::Ip6(network) => network.prefix_len() < NETWORK_V6_BITS,
            Self::A(_, prefixes) | Self::Mx(_, prefixes) => prefixes.v4 < NETWORK_V4_BITS || prefixes.v6 < NETWORK_V6_BITS,
            _ => false,
        }
    }
}

impl Term {
    fn is_modifier(&self, name: &str) -> bool {
        match &self.kind {
            TermKind::Redirect(_) => name == "redirect",
            TermKind::Explanation(_) => name == "exp",
            TermKind::Directive(..) | TermKind::Unknown { .. } => false,
        }
    }
}

impl fmt::Display for Qualifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "+",
            Self::Fail => "-",
            Self::SoftFail => "~",
            Self::Neutral => "?",
        })
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PassesEverybody(term) => write!(f, "\"{}\" lets the whole Internet send as this domain; write \"~all\" or \"-all\"", term.text),
            Self::NobodyRefused(Some(term)) => write!(f, "\"{}\" says nothing of those who are not named; write \"~all\" or \"-all\"", term.text),
            Self::NobodyRefused(None) => {
                f.write_str("the record ends without \"all\" or \"redirect=\", so it says nothing of those who are not named; end it with \"~all\" or \"-all\"")
            }
            Self::Ptr(term) => write!(
                f,
                "\"{}\" is slow and unreliable, and some receivers do not look at it (RFC 7208 §5.5); name addresses with \"ip4:\" and \"ip6:\"",
                term.text
            ),
            Self::BehindAll(term) => write!(f, "\"{}\" stands behind \"all\" and is never looked at; move it in front", term.text),
            Self::RedirectBesideAll(term) => write!(f, "\"{}\" is never followed, because the record has an \"all\" (RFC 7208 §6.1)", term.text),
            Self::HugeNetwork(term) => {
                write!(f, "\"{}\" lets in far more addresses than anybody sends from; receivers find that suspicious (Gmail: 4.7.24)", term.text)
            }
            Self::Twice(term) => write!(f, "\"{}\" stands there twice", term.text),
            Self::ModifierForMechanism(term) => {
                write!(f, "\"{}\" is read as a modifier that nobody knows, and lets nobody in; write \"{}\"", term.text, term.text.replacen('=', ":", 1))
            }
            Self::SpaceMissing(term, second) => write!(f, "in \"{}\" a space is missing before \"{second}\"", terms::shown(&term.text)),
            Self::UnknownModifier(term) => write!(f, "\"{}\" is a modifier that RFC 7208 does not know; receivers pass over it", term.text),
            Self::Long(octets) => {
                write!(f, "the record has {octets} octets; above {TEXT_OCTETS_ADVISED} the answer may not fit into one datagram (RFC 7208 §3.4)")
            }
        }
    }
}

/// The end of `v=spf1`, where it is the whole of the version (RFC 7208 §4.5): letters of any case.
fn version_end(text: &str) -> Option<usize> {
    let version = text.get(..VERSION.len())?;
    let ends = matches!(text.as_bytes().get(VERSION.len()), None | Some(b' '));
    (version.eq_ignore_ascii_case(VERSION) && ends).then_some(VERSION.len())
}

/// Words between spaces, nothing else parts terms (RFC 7208 §4.6.1), each with the octets before it.
fn words(text: &str, start: usize) -> impl Iterator<Item = (usize, &str)> {
    let mut at = start;
    text[start..].split(' ').filter_map(move |word| {
        let here = at;
        at += word.len() + 1;
        (!word.is_empty()).then_some((here, word))
    })
}

/// What was probably meant as a record.
fn near_miss(text: &str) -> Option<NearMiss> {
    let bare: String = text.trim_matches(|c: char| c.is_whitespace() || QUOTES.contains(&c)).to_lowercase();
    let compact: String = bare.chars().filter(|c| !c.is_whitespace()).collect();
    let why = if bare.starts_with("v=spf1") && version_end(&bare).is_some() {
        "something stands in front of \"v=spf1\": it must begin the record, without quotes or spaces".to_owned()
    } else if let Some(rest) = bare.strip_prefix("v=spf1") {
        let next = rest.chars().next().unwrap_or(' ');
        match next {
            ';' | ',' => format!("\"{next}\" stands behind \"v=spf1\": terms are parted by spaces alone"),
            '0'..='9' | '.' => "its version is another: only \"v=spf1\" is one".to_owned(),
            _ => "there is no space behind \"v=spf1\"".to_owned(),
        }
    } else if bare.starts_with("spf2.0") || bare.starts_with("v=spf2") {
        "this is Sender ID, which was abandoned; write \"v=spf1\"".to_owned()
    } else if compact.starts_with("v=spf1") {
        "there is a space inside \"v=spf1\"".to_owned()
    } else if ["v:spf", "spf1", "v=spf", "spf=", "v=sfp1"].iter().any(|start| bare.starts_with(start)) {
        "it does not begin with \"v=spf1\"".to_owned()
    } else {
        return None;
    };
    Some(NearMiss { text: text.to_owned(), why: format!("{why}; receivers do not take it for an SPF record") })
}

/// RFC 7208 §4.5.
const VERSION: &str = "v=spf1";
/// What word processors and web pages make of quotes, and the quotes themselves.
const QUOTES: [char; 8] = ['"', '\'', '\u{201c}', '\u{201d}', '\u{201e}', '\u{2018}', '\u{2019}', '\u{feff}'];
/// RFC 7208 §3.4: name and texts together are to stay below this.
pub const TEXT_OCTETS_ADVISED: usize = 450;
/// A larger IPv4 network than /16 is huge.
pub const NETWORK_V4_BITS: u8 = 16;
/// A larger IPv6 network than /32, what a provider gets for all its customers, is huge.
pub const NETWORK_V6_BITS: u8 = 32;
