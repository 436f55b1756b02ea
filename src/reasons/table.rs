//! The rules, and which of them fits what was said.

use super::phrase::{Phrase, tidy};
use crate::mail::{EnhancedCode, Reason, RemoteReply};

/// Rules in the order in which they are tried, and who is known by what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    pub(super) providers: Vec<Provider>,
    pub(super) rules: Vec<Rule>,
}

/// A receiver whose replies have rules of their own; named as in `config/shaping.toml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Provider {
    pub name: Box<str>,
    /// Names of its hosts, or what they end in, with the dot in front.
    pub hosts: Vec<Box<str>>,
    /// Words that only its replies have.
    pub text: Vec<Phrase>,
}

/// All conditions that are there must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rule {
    /// One of these; empty: anybody.
    pub providers: Vec<Box<str>>,
    /// One of these; empty: any.
    pub replies: Vec<Pattern>,
    /// One of these; empty: any.
    pub text: Vec<Phrase>,
    /// None of these.
    pub unless: Vec<Phrase>,
    pub reason: Reason,
    /// Whatever the digit says.
    pub permanent: Option<bool>,
    /// The `doctor` rule whose remedy belongs to it.
    pub doctor: Option<&'static str>,
}

/// `5xx x.7.1`: digits that must be there, and others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pattern {
    pub basic: Option<[Option<u8>; 3]>,
    pub enhanced: Option<[Option<u16>; 3]>,
}

/// What was said, by whom.
#[derive(Debug, Clone, Copy, Default)]
pub struct Said<'a> {
    /// The provider's name, where it is known; else it is guessed from `host` and `text`.
    pub provider: Option<&'a str>,
    /// The name of the host that said it; empty where it is not known.
    pub host: &'a str,
    /// The basic code.
    pub code: Option<u16>,
    /// The enhanced code of the reply, or the status of a notice.
    pub status: Option<EnhancedCode>,
    /// The words.
    pub text: &'a str,
}

/// What it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// Why.
    pub reason: Reason,
    /// The same mail to the same address would end like this again.
    pub permanent: bool,
    /// The `doctor` rule whose remedy belongs to it, where it is the operator's to mend.
    pub doctor: Option<&'static str>,
}

impl Table {
    /// What it means. The first rule that fits decides; where none does, it is not understood.
    #[must_use]
    pub fn judge(&self, said: &Said<'_>) -> Judgement {
        let text = tidy(said.text, TEXT_OCTETS_MAX);
        let host = said.host.trim_end_matches('.').to_ascii_lowercase();
        let provider = said.provider.or_else(|| self.provider(&host, &text));
        let rule = self.rules.iter().find(|rule| rule.fits(said, provider, &text));
        let reason = rule.map_or(Reason::NotUnderstood, |rule| rule.reason);
        Judgement {
            reason,
            permanent: rule.and_then(|rule| rule.permanent).or_else(|| by_digit(said)).unwrap_or_else(|| lasts(reason)),
            doctor: rule.and_then(|rule| rule.doctor),
        }
    }

    /// What a reply means that this provider gave.
    #[must_use]
    pub fn judge_reply(&self, provider: &str, host: &str, reply: &RemoteReply) -> Judgement {
        // A next hop that no provider claims is called by its own name there.
        let provider = self.providers.iter().find(|known| &*known.name == provider).map(|known| &*known.name);
        self.judge(&Said { provider, host, code: Some(reply.code), status: reply.enhanced, text: &reply.text() })
    }

    /// `more` is asked before what is here.
    #[must_use]
    pub fn extended(self, mut more: Self) -> Self {
        more.rules.extend(self.rules);
        more.providers.extend(self.providers);
        more
    }

    /// How many rules there are.
    #[must_use]
    pub fn rules(&self) -> usize {
        self.rules.len()
    }

    fn provider(&self, host: &str, text: &str) -> Option<&str> {
        let by_host = self.providers.iter().find(|provider| provider.hosts.iter().any(|end| has_end(host, end)));
        // A host with another name is not they, whatever it quotes.
        let by_text = || self.providers.iter().filter(|_| host.is_empty()).find(|provider| provider.text.iter().any(|phrase| phrase.is_in(text)));
        by_host.or_else(by_text).map(|provider| &*provider.name)
    }
}

impl Rule {
    fn fits(&self, said: &Said<'_>, provider: Option<&str>, text: &str) -> bool {
        (self.providers.is_empty() || provider.is_some_and(|name| self.providers.iter().any(|known| **known == *name)))
            && (self.replies.is_empty() || self.replies.iter().any(|pattern| pattern.fits(said)))
            && (self.text.is_empty() || self.text.iter().any(|phrase| phrase.is_in(text)))
            && !self.unless.iter().any(|phrase| phrase.is_in(text))
    }
}

impl Pattern {
    fn fits(self, said: &Said<'_>) -> bool {
        let basic = self.basic.is_none_or(|digits| match (said.code, said.status) {
            (Some(code), _) => [code / 100, code / 10 % 10, code % 10].iter().zip(digits).all(|(is, want)| want.is_none_or(|want| u16::from(want) == *is)),
            // A notice need not have a reply: its Status is the reporting host's own finding (RFC 3464 §2.3.4), of which the class is
            // the digit that counts.
            (None, Some(status)) => digits[1..] == [None, None] && digits[0].is_none_or(|want| want == status.class()),
            (None, None) => false,
        });
        let enhanced = self.enhanced.is_none_or(|numbers| {
            said.status.is_some_and(|status| {
                let (subject, detail) = status.subject_and_detail();
                [u16::from(status.class()), subject, detail].iter().zip(numbers).all(|(is, want)| want.is_none_or(|want| want == *is))
            })
        });
        basic && enhanced
    }
}

fn has_end(host: &str, end: &str) -> bool {
    host == end || end.starts_with('.') && host.ends_with(end)
}

/// RFC 5321 §4.2.1; the class of the status where there is no reply.
fn by_digit(said: &Said<'_>) -> Option<bool> {
    let digit = said.code.map(|code| code / 100).or_else(|| said.status.map(|status| u16::from(status.class())));
    digit.map(|digit| digit == 5)
}

/// Where no code says anything.
const fn lasts(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::UserUnknown | Reason::DomainNotFound | Reason::Suspended | Reason::TooLarge | Reason::RelayDenied | Reason::Policy | Reason::Content
    )
}

/// Octets of a text that are looked at.
pub const TEXT_OCTETS_MAX: usize = 4096;
