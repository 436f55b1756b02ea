//! From facts to verdict.

use super::dmarc::{Alignment, DmarcFault, Policy};
use super::{Check, Context, DkimAxis, DkimFact, Dmarc, DmarcFact, Facts, Identity, Note, Receiver, RecordState, SpfAxis, Verdict};
use crate::mail::Domain;

/// The verdict on a message. The same facts always give the same verdict.
#[must_use]
pub fn judge(facts: &Facts) -> Verdict {
    let (spf_axis, dkim_axis) = (spf_axis(facts), dkim_axis(facts));
    let context = Context::of(facts);
    Verdict {
        spf_axis,
        dkim_axis,
        dmarc: context.dmarc(spf_axis, dkim_axis),
        policy: context.policy,
        gmail: context.gmail(spf_axis, dkim_axis),
        yahoo: context.yahoo(spf_axis, dkim_axis),
        microsoft: context.microsoft(spf_axis, dkim_axis),
        both_aligned: (spf_axis, dkim_axis) == (SpfAxis::Aligned, DkimAxis::Author),
        notes: notes(facts, context, spf_axis, dkim_axis),
        why: why(facts, spf_axis, dkim_axis),
        fix_first: fix_first(facts, context, spf_axis, dkim_axis),
        context,
    }
}

fn spf_axis(facts: &Facts) -> SpfAxis {
    match &facts.spf.domain {
        _ if facts.spf.result != Check::Pass => SpfAxis::Fail,
        Some(domain) if facts.is_aligned(domain, facts.modes().0) => SpfAxis::Aligned,
        _ => SpfAxis::NotAligned,
    }
}

fn dkim_axis(facts: &Facts) -> DkimAxis {
    let passing: Vec<&DkimFact> = facts.dkim.iter().filter(|signature| signature.result == Check::Pass).collect();
    let adkim = facts.modes().1;
    match passing.as_slice() {
        [] => DkimAxis::Fail,
        some if some.iter().any(|signature| signature.domain.as_ref().is_some_and(|domain| facts.is_aligned(domain, adkim))) => DkimAxis::Author,
        _ => DkimAxis::ThirdParty,
    }
}

impl Facts {
    /// `aspf` and `adkim`; relaxed without a record.
    fn modes(&self) -> (Alignment, Alignment) {
        match &self.dmarc {
            DmarcFact::Record { record, .. } => (record.aspf, record.adkim),
            _ => (Alignment::Relaxed, Alignment::Relaxed),
        }
    }

    /// Whether an identifier is aligned with the author domain as DMARC asks: strictly or not, as the record says.
    #[must_use]
    pub fn is_aligned_for(&self, identifier: &Domain, of_spf: bool) -> bool {
        let (aspf, adkim) = self.modes();
        self.is_aligned(identifier, if of_spf { aspf } else { adkim })
    }

    /// Whether an identifier is of the author's own organisation, whatever the record says of strictness: what makes a signature an
    /// author signature, and no third party's.
    #[must_use]
    pub fn is_authors_own(&self, identifier: &Domain) -> bool {
        self.is_aligned(identifier, Alignment::Relaxed)
    }

    /// RFC 9989 §4.10.2. Where no record applies DMARC knows no organisations: then a name is aligned with those above and
    /// below it, as it will be once the higher of the two has a record.
    fn is_aligned(&self, identifier: &Domain, mode: Alignment) -> bool {
        if *identifier == self.author {
            return true;
        }
        if !matches!(self.dmarc, DmarcFact::Record { .. }) {
            return identifier.is_at_or_below(&self.author) || (self.author.is_at_or_below(identifier) && identifier.is_fully_qualified());
        }
        mode == Alignment::Relaxed && self.organization(identifier) == self.organization(&self.author)
    }

    fn organization<'a>(&'a self, domain: &'a Domain) -> &'a Domain {
        self.organizations.get(domain).unwrap_or(domain)
    }
}

impl Context {
    fn of(facts: &Facts) -> Self {
        let (record, policy) = match &facts.dmarc {
            DmarcFact::Record { record, at, author_exists } => match record.policy(at, &facts.author, *author_exists) {
                Some(policy) => (RecordState::Applies, Some(policy)),
                None => (RecordState::None, None),
            },
            DmarcFact::Missing | DmarcFact::Ignored { .. } => (RecordState::None, None),
            DmarcFact::Unknown => (RecordState::Unknown, None),
        };
        Self { record, policy, bulk: facts.bulk }
    }

    pub(super) fn dmarc(self, spf: SpfAxis, dkim: DkimAxis) -> Dmarc {
        match self.record {
            RecordState::None => Dmarc::None,
            RecordState::Unknown => Dmarc::TempError,
            RecordState::Applies if spf == SpfAxis::Aligned || dkim == DkimAxis::Author => Dmarc::Pass,
            RecordState::Applies => Dmarc::Fail,
        }
    }

    /// Gmail's sender guidelines and its table of SMTP errors.
    pub(super) fn gmail(self, spf: SpfAxis, dkim: DkimAxis) -> Receiver {
        let mut codes = match (spf, dkim) {
            (SpfAxis::Fail, DkimAxis::Fail) if !self.bulk => vec!["5.7.26"],
            _ if !self.bulk => vec![],
            (SpfAxis::Fail, DkimAxis::Fail) => vec!["4.7.26", "5.7.26"],
            (SpfAxis::Aligned, DkimAxis::Fail) => vec!["4.7.30", "5.7.30"],
            (SpfAxis::Fail, DkimAxis::Author) => vec!["4.7.27", "5.7.27"],
            (SpfAxis::NotAligned, DkimAxis::ThirdParty) => vec!["4.7.32", "5.7.32"],
            (SpfAxis::NotAligned, DkimAxis::Fail) => vec!["5.7.30", "5.7.32"],
            (SpfAxis::Fail, DkimAxis::ThirdParty) => vec!["5.7.27", "5.7.32"],
            (SpfAxis::Aligned, _) | (SpfAxis::NotAligned, DkimAxis::Author) => vec![],
        };
        if codes.is_empty() && self.bulk && self.record == RecordState::None {
            codes.extend(["4.7.31", "4.7.40", "5.7.40"]);
        }
        if self.is_rejected(spf, dkim) && !codes.contains(&"5.7.26") {
            codes.push("5.7.26");
        }
        if self.record == RecordState::Unknown && !codes.contains(&"4.7.26") {
            codes.push("4.7.26");
        }
        Receiver { accepts: codes.is_empty(), codes }
    }

    /// Yahoo's sender best practices: bulk needs SPF, DKIM and a DMARC pass, all mail SPF or DKIM.
    fn yahoo(self, spf: SpfAxis, dkim: DkimAxis) -> Receiver {
        let code = if self.record == RecordState::Unknown { "451" } else { "554" };
        self.like_gmail(spf, dkim, code)
    }

    /// Outlook.com's high-volume rules: SPF and DKIM must pass, DMARC align, above 5,000 a day.
    fn microsoft(self, spf: SpfAxis, dkim: DkimAxis) -> Receiver {
        let code = match (self.record, self.bulk) {
            (RecordState::Unknown, _) => "451",
            (_, true) => "550 5.7.515",
            (_, false) => "550",
        };
        self.like_gmail(spf, dkim, code)
    }

    fn like_gmail(self, spf: SpfAxis, dkim: DkimAxis, code: &'static str) -> Receiver {
        let accepts = self.gmail(spf, dkim).accepts;
        Receiver { accepts, codes: if accepts { vec![] } else { vec![code] } }
    }

    fn is_rejected(self, spf: SpfAxis, dkim: DkimAxis) -> bool {
        self.dmarc(spf, dkim) == Dmarc::Fail && self.policy == Some(Policy::Reject)
    }
}

/// What lies over the matrix (each a line of its own).
fn notes(facts: &Facts, context: Context, spf: SpfAxis, dkim: DkimAxis) -> Vec<Note> {
    let mut notes = Vec::new();
    match (&facts.dmarc, context.record) {
        (DmarcFact::Ignored { fault, .. }, _) => notes.push(Note::RecordIgnored(fault.clone())),
        (DmarcFact::Record { .. }, RecordState::None) => notes.push(Note::RecordIgnored(DmarcFault::NoPolicy)),
        (DmarcFact::Missing, _) => notes.push(Note::NoRecord),
        _ => {}
    }
    notes.push(if facts.bulk { Note::SameForYahooAndMicrosoft } else { Note::NotBulk });
    notes.extend(strictness(facts));
    match facts.spf.result {
        Check::Pass | Check::None => {}
        Check::Fail => notes.push(Note::SpfHardFail),
        other => notes.push(Note::SpfIsNoPass(other)),
    }
    if facts.spf.identity == Identity::Helo {
        notes.push(Note::HeloIdentity);
    }
    if context.policy == Some(Policy::Reject) && spf == SpfAxis::Aligned && dkim != DkimAxis::Author {
        notes.push(Note::SpfAloneUnderReject);
    }
    let adkim = facts.modes().1;
    let aligned = |signature: &&DkimFact| signature.domain.as_ref().is_some_and(|domain| facts.is_aligned(domain, adkim));
    if dkim == DkimAxis::Author && facts.dkim.iter().filter(aligned).any(|signature| signature.result != Check::Pass) {
        notes.push(Note::NotAllAlignedSignaturesPass);
    }
    if let DmarcFact::Record { record, .. } = &facts.dmarc
        && record.testing
    {
        notes.push(Note::TestMode);
    }
    if context.dmarc(spf, dkim) == Dmarc::Fail && context.policy == Some(Policy::Quarantine) {
        notes.push(Note::Quarantined);
    }
    notes
}

/// The passing domains that relaxed mode would have aligned.
fn strictness(facts: &Facts) -> Vec<Note> {
    let (aspf, adkim) = facts.modes();
    let lost = |domain: &Domain, mode| !facts.is_aligned(domain, mode) && facts.is_aligned(domain, Alignment::Relaxed);
    let spf = facts.spf.domain.iter().filter(|domain| facts.spf.result == Check::Pass && lost(domain, aspf)).map(|domain| Note::StrictSpf(domain.clone()));
    let passing = facts.dkim.iter().filter(|signature| signature.result == Check::Pass).filter_map(|signature| signature.domain.as_ref());
    let dkim = passing.filter(|domain| lost(domain, adkim)).map(|domain| Note::StrictDkim(domain.clone()));
    spf.chain(dkim).collect()
}

/// One sentence: what each of the two mechanisms found.
fn why(facts: &Facts, spf: SpfAxis, dkim: DkimAxis) -> String {
    let author = &facts.author;
    let checked = facts.spf.domain.as_ref().map_or("no domain".to_owned(), ToString::to_string);
    let spf = match spf {
        SpfAxis::Aligned => format!("SPF passes for {checked}, which is aligned with the author domain {author}"),
        SpfAxis::NotAligned => format!("SPF passes, but for {checked}, which is not aligned with the author domain {author}"),
        SpfAxis::Fail => format!("SPF does not pass for {checked} (result: {})", facts.spf.result),
    };
    let list = |wanted: &dyn Fn(&DkimFact) -> bool| {
        let mut shown: Vec<String> = Vec::new();
        for signature in facts.dkim.iter().filter(|signature| wanted(signature)) {
            let domain = signature.domain.as_ref().map_or("?", Domain::as_str);
            let text = if signature.why.is_empty() { domain.to_owned() } else { format!("{domain} ({})", signature.why) };
            if !shown.contains(&text) {
                shown.push(text);
            }
        }
        shown.join(", ")
    };
    let adkim = facts.modes().1;
    let aligned = |signature: &DkimFact| signature.domain.as_ref().is_some_and(|domain| facts.is_aligned(domain, adkim));
    let dkim = match dkim {
        DkimAxis::Author => format!("an author signature passes: {}", list(&|s| s.result == Check::Pass && aligned(s))),
        DkimAxis::ThirdParty => format!("the only DKIM signatures that pass are a third party's: {}", list(&|s| s.result == Check::Pass)),
        DkimAxis::Fail if facts.dkim.is_empty() => "there is no DKIM signature".to_owned(),
        DkimAxis::Fail => format!("no DKIM signature passes: {}", list(&|_| true)),
    };
    format!("{spf}; {dkim}.")
}

/// One sentence: the one thing that helps most, first what makes mail fail, then what makes it safer.
fn fix_first(facts: &Facts, context: Context, spf: SpfAxis, dkim: DkimAxis) -> Option<String> {
    let author = &facts.author;
    let sign = |also: &str| format!("Sign with a DKIM key of {author}{also} and publish its public half; that passes wherever the mail is relayed.");
    let spf_domain = facts.spf.domain.as_ref().unwrap_or(author);
    let list = || format!("Add the sending address to the SPF record of {spf_domain}.");
    let align = || format!("Send with an envelope sender below {author}, such as b.{author}, and publish SPF there.");
    let publish = || match &facts.dmarc {
        DmarcFact::Ignored { text, fault } => format!("Mend the DMARC record \"{}\": {fault}.", text.chars().take(200).collect::<String>()),
        DmarcFact::Record { at, .. } => format!("Give the DMARC record at _dmarc.{at} a policy: {}.", DmarcFault::NoPolicy),
        _ => format!("Publish a DMARC record at _dmarc.{author}: \"v=DMARC1; p=none; rua=mailto:dmarc@{author}\"."),
    };
    let record_is_missing = context.record == RecordState::None;
    let unanswered = facts.dkim.iter().any(|signature| signature.result == Check::TempError);
    Some(match (spf, dkim) {
        (_, DkimAxis::Fail) if unanswered => {
            "Judge it again when the DNS answers, or ask another name server (--resolver): the key of a signature could not be asked for.".to_owned()
        }
        (_, DkimAxis::Fail) => sign(""),
        (SpfAxis::NotAligned | SpfAxis::Fail, DkimAxis::ThirdParty) => sign(" as well"),
        (SpfAxis::Fail, DkimAxis::Author) => list(),
        _ if record_is_missing => publish(),
        (SpfAxis::Aligned, DkimAxis::ThirdParty) => sign(" as well"),
        (SpfAxis::NotAligned, DkimAxis::Author) => align(),
        (SpfAxis::Aligned, DkimAxis::Author) => return None,
    })
}
