//! What is done with a message that came back, and what it tells of the mail that was sent. Pure: what the spool remembers is an argument.
//!
//! | it is | and came to | then |
//! |---|---|---|
//! | a bounce, a notice of delay or success, an automatic reply, a challenge, a complaint | a bounce address | it goes to the original sender, or who stands in for him |
//! | anything else: a stranger's mail | a bounce address | it is kept for a person: a bounce address is no door past the filters of the house |
//! | anything | a bounce address of a sender that nobody remembers | it is kept |
//! | anything | postmaster, abuse, an address for reports | it goes to the mailbox behind it |
//!
//! Anybody can write a bounce. It is told as an event whoever wrote it, and says whether its recipient is [proven](About::proven): that its
//! bounce address was made for this recipient alone.

use super::addressee::Token;
use super::settings::{Instead, Settings};
use super::{Classified, Kind, Returned};
use crate::mail::dsn::Action;
use crate::mail::suppression::rules::{Complaint, Failure, Proof, Rules};
use crate::mail::{Domain, MailId, Mailbox, ReversePath, Stream, Timestamp};
use crate::readdress::{Ring, TokenContents};
use crate::spool::History;
use crate::spool::homecoming::Tidings;
use crate::spool::journal::{self, About, News, When};
use std::cell::OnceCell;
use std::collections::HashSet;

/// What is done with a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// It is passed on to this mailbox.
    PassedOn(Mailbox),
    /// Nobody is to have it; its events tell all.
    Told,
    /// It is kept for a person; when released it goes to this mailbox.
    Kept(Mailbox, Why),
}

/// Why a message is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It is nothing that comes back: somebody wrote to a bounce address.
    Stranger,
    /// Nobody remembers whose the bounce address is.
    UnknownSender,
}

/// What became of a message at one bounce address.
#[derive(Debug, Clone)]
pub struct Sight<'a> {
    /// The bounce address.
    pub token: &'a Token,
    /// What the message is.
    pub classified: &'a Classified,
    /// The mail it tells of, as far as it is remembered.
    pub history: Option<&'a History>,
    /// The number of the returned mail.
    pub returned: MailId,
    /// A known feedback loop has signed it.
    pub vouched: bool,
    /// When it came.
    pub at: Timestamp,
}

impl Why {
    /// In words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stranger => "somebody wrote to a bounce address: it is no bounce, no automatic reply and no complaint",
            Self::UnknownSender => "nobody remembers whose this bounce address is",
        }
    }
}

/// What is done with a message of this kind that came to the bounce address of `sender`.
#[must_use]
pub fn fate(kind: Kind, sender: Option<&Mailbox>, settings: &Settings, postmaster: &Mailbox) -> Fate {
    let Some(sender) = sender else { return Fate::Kept(postmaster.clone(), Why::UnknownSender) };
    let home = match settings.rule(sender).map(|rule| &rule.instead) {
        None => Some(sender),
        Some(Instead::Mailbox(mailbox)) => Some(mailbox),
        Some(Instead::EventsOnly) => None,
    };
    match (kind, home) {
        (Kind::Other, _) => Fate::Kept(home.unwrap_or(postmaster).clone(), Why::Stranger),
        (_, Some(home)) if settings.route.is_some() => Fate::PassedOn(home.clone()),
        (_, _) => Fate::Told,
    }
}

/// Of which mail this tells: that of the bounce address, or, where it was made for a sender and day, the one that the returned header names,
/// if the spool remembers it as that sender's. `claimed` is asked of the spool.
#[must_use]
pub fn mail_of(contents: &TokenContents, claimed: Option<&History>, sender: Option<&Mailbox>) -> Option<MailId> {
    let is_senders = |history: &&History| matches!((&history.original_reverse_path, sender), (ReversePath::Mailbox(of), Some(sender)) if of == sender);
    contents.message.or_else(|| claimed.filter(is_senders).map(|history| history.id))
}

/// The mail that the header of a returned message names as ours: the id in the `Received` field that the relay `own` wrote.
#[must_use]
pub fn claimed_mail(header: &str, own: &Domain) -> Option<MailId> {
    let words: Vec<&str> = header.split_ascii_whitespace().take(HEADER_WORDS_MAX).collect();
    let at = words.windows(2).position(|pair| pair[0] == "by" && pair[1] == own.as_str())?;
    let id = words[at..].iter().take(WORDS_MAX).skip_while(|word| **word != "id").nth(1)?;
    id.trim_end_matches(';').parse().ok()
}

/// What the message tells, as events: each failed or complaining recipient, and that it came back.
#[must_use]
pub fn tidings(sight: &Sight<'_>, fate: &Fate, mail: Option<MailId>, ring: &Ring, rules: &Rules) -> Vec<Tidings> {
    if matches!(fate, Fate::Kept(..)) {
        return Vec::new(); // what a person finds in it, he sees
    }
    let about = sight.about();
    let mail = mail.unwrap_or(sight.returned);
    let news = |kind, recipient, about| News { at: sight.at, kind, mail, recipient, about };
    let only = Only { sight, ring, found: OnceCell::new() };
    let mut tidings = match sight.classified.kind {
        Kind::Bounce => sight.failures(&about, mail, &only, rules),
        Kind::Complaint => vec![sight.complaint(&about, mail, &only, rules)],
        Kind::Delayed | Kind::Delivered | Kind::AutoReply | Kind::ChallengeResponse | Kind::Other => Vec::new(),
    };
    let recipient = tidings.first().map_or_else(|| only.found().cloned(), |tidings| tidings.news.recipient.clone());
    tidings.push(Tidings { news: news(journal::Kind::Returned, recipient, about), once: false, suppression: None });
    tidings
}

/// The recipient for whom alone the bounce address was made: one hash for each recipient and secret, so that it is looked for once a message,
/// and not before it is asked for.
struct Only<'a> {
    sight: &'a Sight<'a>,
    ring: &'a Ring,
    found: OnceCell<Option<&'a Mailbox>>,
}

impl<'a> Only<'a> {
    fn found(&self) -> Option<&'a Mailbox> {
        *self.found.get_or_init(|| {
            let history = self.sight.history?;
            history.recipients.iter().map(|recipient| &recipient.mailbox).find(|recipient| self.ring.is_for(&self.sight.token.contents, recipient))
        })
    }
}

/// Who a report speaks of.
struct Who {
    recipient: Option<Mailbox>,
    proof: Proof,
    /// The mail went to them, as far as that is known: they are proven, or remembered.
    is_known: bool,
    /// The address it names, where that is another.
    also: Option<String>,
}

impl Sight<'_> {
    /// One for each recipient that is said to have failed; where none is named, one all the same.
    ///
    /// Each recipient once, those of whom it is proven first; of all to whom the mail did not go, one; and of no more than it went to: whoever has
    /// got a bounce address that is not his alone may name a thousand.
    fn failures(&self, about: &About, mail: MailId, only: &Only<'_>, rules: &Rules) -> Vec<Tidings> {
        let failed = self.classified.recipients.iter().filter(|told| told.action == Action::Failed);
        let mut told: Vec<(Who, &Returned)> = failed.map(|told| (self.who(&told.recipient, told.final_recipient.as_deref(), only), told)).collect();
        told.sort_by_key(|(who, _)| (who.proof != Proof::Token, !who.is_known));
        let mut named = HashSet::new();
        told.retain(|(who, _)| {
            named.insert(who.recipient.as_ref().filter(|_| who.is_known).map(|recipient| (recipient.to_string(), who.proof == Proof::Token)))
        });
        told.truncate(self.history.map_or(1, |history| history.recipients.len().max(1)));
        let mut tidings: Vec<Tidings> = told.into_iter().map(|(who, told)| self.failure(who, told, about, mail, rules)).collect();
        if tidings.is_empty() {
            let who = self.who("", None, only);
            let about = About { proven: Some(false), host: self.classified.reporting_mta.clone(), ..about.clone() };
            let news = News { at: self.at, kind: journal::Kind::Bounced, mail, recipient: who.recipient, about };
            tidings.push(Tidings { news, once: true, suppression: None });
        }
        tidings
    }

    fn failure(&self, who: Who, told: &Returned, about: &About, mail: MailId, rules: &Rules) -> Tidings {
        let reply: Option<String> = told.reply.as_ref().map(|reply| reply.chars().take(WORDS_CHARACTERS_MAX).collect());
        let suppression = who.recipient.as_ref().zip(self.stream()).and_then(|(recipient, stream)| {
            rules.after_failure(&Failure {
                author_domain: self.author_domain(),
                stream,
                recipient,
                reason: told.reason,
                permanent: told.permanent,
                proof: who.proof,
                at: self.at,
                message: Some(mail),
                words: reply.as_deref().unwrap_or_default(),
            })
        });
        let about = About {
            host: told.remote_mta.clone().or_else(|| self.classified.reporting_mta.clone()),
            status: told.status.map(|status| status.to_string()),
            reply,
            reason: Some(told.reason.to_string()),
            permanent: Some(told.permanent),
            proven: Some(who.proof == Proof::Token),
            final_recipient: who.also,
            ..about.clone()
        };
        Tidings { news: News { at: self.at, kind: journal::Kind::Bounced, mail, recipient: who.recipient, about }, once: true, suppression }
    }

    fn complaint(&self, about: &About, mail: MailId, only: &Only<'_>, rules: &Rules) -> Tidings {
        let complaint = self.classified.complaint.as_ref();
        let named = complaint.and_then(|complaint| complaint.recipients.iter().find(|named| Mailbox::parse(named).is_ok())).map_or("", String::as_str);
        let mut who = self.who(named, None, only);
        if named.is_empty() && who.recipient.is_some() {
            who.proof = Proof::Token; // reporters black out the recipient; the bounce address still says who it was
        }
        let feedback = complaint.map(|complaint| complaint.feedback_type.clone()).filter(|feedback| !feedback.is_empty());
        let suppression = who.recipient.as_ref().zip(self.stream()).and_then(|(recipient, stream)| {
            rules.after_complaint(&Complaint {
                author_domain: self.author_domain(),
                stream,
                recipient,
                from_known_reporter: self.vouched,
                proof: who.proof,
                at: self.at,
                message: Some(mail),
                words: complaint.and_then(|complaint| complaint.user_agent.as_deref()).unwrap_or_default(),
            })
        });
        let proven = Some(self.vouched && who.proof == Proof::Token);
        let about = About { proven, reason: feedback, final_recipient: who.also, ..about.clone() };
        Tidings { news: News { at: self.at, kind: journal::Kind::Complained, mail, recipient: who.recipient, about }, once: true, suppression }
    }

    fn author_domain(&self) -> &Domain {
        self.history.and_then(|history| history.signing_domain.as_ref()).unwrap_or(&self.token.author_domain)
    }

    /// Unknown where the mail is.
    fn stream(&self) -> Option<&Stream> {
        self.history.map(|history| &history.stream)
    }

    /// What is known of the mail, and of how it is known.
    fn about(&self) -> About {
        let classified = self.classified;
        let when = About {
            when: Some(When::Returned),
            came_back: Some(classified.kind.as_str().to_owned()),
            returned_id: Some(self.returned.to_string()),
            ..About::default()
        };
        let Some(history) = self.history else {
            let original = classified.original.as_ref();
            return About {
                message_id: original.and_then(|original| original.message_id.clone()),
                envid: classified.envid.clone(),
                author_domain: Some(self.token.author_domain.to_string()),
                ..when
            };
        };
        About {
            message_id: Some(history.message_id.clone()),
            track_id: history.track_id.clone(),
            envid: history.envid.clone(),
            tag: history.tag.clone(),
            stream: Some(history.stream.to_string()),
            identity: history.identity.as_ref().map(ToString::to_string),
            author_domain: Some(self.author_domain().to_string()),
            ..when
        }
    }

    /// The recipient of the mail whom a report means that names these addresses.
    fn who(&self, named: &str, also: Option<&str>, only: &Only<'_>) -> Who {
        let addresses: Vec<Mailbox> = [Some(named), also].into_iter().flatten().filter_map(|text| Mailbox::parse(text).ok()).collect();
        if let Some(proven) = addresses.iter().find(|address| only.ring.is_for(&self.token.contents, address)) {
            return Who { recipient: Some(only.found().unwrap_or(proven).clone()), proof: Proof::Token, is_known: true, also: None };
        }
        let known = |address: &Mailbox| self.history.and_then(|history| history.recipients.iter().find(|recipient| alike(&recipient.mailbox, address)));
        if let Some(recipient) = addresses.iter().find_map(known) {
            return Who { recipient: Some(recipient.mailbox.clone()), proof: Proof::Listed, is_known: true, also: None };
        }
        let named = Some(named.to_owned()).filter(|named| !named.is_empty());
        match (only.found(), self.history) {
            // Somebody passed the mail on, and it came to nothing there.
            (Some(only), _) => Who { recipient: Some(only.clone()), proof: Proof::Unproven, is_known: true, also: named },
            // It went to none of them; which of its recipients passed it on cannot be told.
            (None, Some(_)) => Who { recipient: None, proof: Proof::Unproven, is_known: false, also: named },
            (None, None) => Who { recipient: addresses.into_iter().next(), proof: Proof::Unproven, is_known: false, also: None },
        }
    }
}

fn alike(one: &Mailbox, other: &Mailbox) -> bool {
    one.host == other.host && one.local.as_str().eq_ignore_ascii_case(other.local.as_str())
}

/// Words of a header that are looked at.
const HEADER_WORDS_MAX: usize = 5000;
/// Words of a `Received` field behind our name.
const WORDS_MAX: usize = 20;
const WORDS_CHARACTERS_MAX: usize = 500;
