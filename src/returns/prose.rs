//! Bounces written for people: who is named in which place, and what stands beside the name.
//!
//! There are as many forms as programs, so that none is parsed by its grammar. What they share: the returned message stands last,
//! behind a line that says so; a recipient is named at the beginning of a line, or behind a label, and what happened to it follows.
//! Whoever is named in running text counts only where nobody is named in such a place, and nobody else there.

use super::arrived::{Arrived, Returnee};
use super::judge::Judge;
use super::notice::{ADDRESS_OCTETS_MAX, same};
use super::reply::{REPLY_OCTETS_MAX, Reply};
use super::{Classified, Form, Kind, Returned, one_line, signs};
use crate::mail::dsn::Action;
use crate::mail::{Mailbox, Reason};
use crate::reasons::{Judgement, Table};

/// Somebody who is named, and the words about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The address.
    pub address: String,
    /// What stands beside it and below, bounded.
    pub text: String,
}

/// `None` where it is no bounce and no notice of delay.
#[must_use]
pub fn read(arrived: &Arrived, reasons: &Table) -> Option<Classified> {
    let (human, below) = split(&arrived.text);
    let listed = failed_recipients(arrived);
    let (daemon, subject, words) = (signs::is_of_a_daemon(arrived), signs::has_bounce_subject(arrived), signs::has_bounce_words(human));
    let is_report = arrived.report_type == "delivery-status" || !listed.is_empty();
    let marks = [daemon, subject, words, arrived.is_from_null()].iter().filter(|mark| **mark).count();
    if !is_report && marks < 2 {
        return None;
    }
    let returnee = arrived.original.clone().or_else(|| below.and_then(|below| Returnee::read(below.as_bytes())));
    let delayed = signs::is_of_delay(arrived, human);
    let blocks = told_of(arrived, human, returnee.as_ref(), listed);
    let action = if delayed { Action::Delayed } else { Action::Failed };
    let only = blocks.len() == 1;
    let mut judge = Judge::by(reasons);
    let recipients: Vec<Returned> = blocks.iter().map(|block| returned(block, only.then_some(human), action, &mut judge)).collect();
    // A daemon that names nobody and says nothing that is known may be anything.
    let clear = is_report || words && (daemon || subject) || daemon && subject;
    if recipients.is_empty() && !clear {
        return None;
    }
    if !is_report && !clear && recipients.iter().all(|recipient| recipient.reason == Reason::NotUnderstood) {
        return None;
    }
    Some(Classified {
        recipients,
        original: returnee.map(|returnee| returnee.original()),
        ..Classified::new(if delayed { Kind::Delayed } else { Kind::Bounce }, Form::Prose)
    })
}

/// Everybody named in the text for people, with what is said of them.
#[must_use]
pub fn blocks(arrived: &Arrived) -> Vec<Block> {
    named(split(&arrived.text).0, &[])
}

fn told_of(arrived: &Arrived, human: &str, returnee: Option<&Returnee>, listed: Vec<String>) -> Vec<Block> {
    let mut ours: Vec<&str> = arrived.to.iter().map(String::as_str).collect();
    ours.push(&arrived.from.1);
    ours.extend(returnee.iter().flat_map(|returnee| returnee.from.iter()).map(String::as_str));
    let mut found = named(human, &ours);
    if !listed.is_empty() {
        let about = |address: String| {
            let text = found.iter().find(|block| same(&block.address, &address)).map(|block| block.text.clone());
            Block { address, text: text.unwrap_or_default() }
        };
        return listed.into_iter().map(about).collect();
    }
    if found.is_empty() {
        // The message that came back names one, and only one.
        let alone = returnee.filter(|returnee| returnee.value("cc").is_none() && returnee.value("bcc").is_none());
        if let Some([one]) = alone.map(|returnee| returnee.to.as_slice()) {
            found.push(Block { address: one.clone(), text: String::new() });
        }
    }
    found
}

fn returned(block: &Block, human: Option<&str>, action: Action, judge: &mut Judge<'_>) -> Returned {
    let host = host_in(&block.text);
    let mut judge = |reply: &Reply, text: &str| judge.judge(host.as_deref().unwrap_or_default(), reply.code, reply.status, text);
    let mut reply = Reply::read(&block.text);
    let mut judged = judge(&reply, &reply.text);
    if judged.reason == Reason::NotUnderstood && !block.text.is_empty() {
        judged = Judgement { permanent: judged.permanent, ..judge(&reply, &block.text) };
    }
    if let Some(human) = human.filter(|_| judged.reason == Reason::NotUnderstood) {
        let whole = Reply::read(human);
        let second = judge(&whole, if whole.code.is_some() { &whole.text } else { human });
        if second.reason != Reason::NotUnderstood {
            judged = second;
            if reply.text.is_empty() || reply.code.is_none() && whole.code.is_some() {
                reply = whole;
            }
        }
    }
    Returned {
        recipient: one_line(&block.address, ADDRESS_OCTETS_MAX),
        final_recipient: None,
        action,
        status: reply.status,
        reply: Some(reply.shown()).filter(|reply| !reply.is_empty()).map(|text| one_line(&text, REPLY_OCTETS_MAX)),
        remote_mta: host,
        reason: judged.reason,
        permanent: judged.permanent && action == Action::Failed,
    }
}

/// What is said, and the message that stands below it.
fn split(text: &str) -> (&str, Option<&str>) {
    let mut at = 0;
    let mut seen = false;
    for line in text.split_inclusive('\n') {
        let bare = line.trim();
        let lower = bare.to_ascii_lowercase();
        let marks = MARKERS.iter().any(|marker| lower.contains(marker)) && bare.len() < MARKER_OCTETS_MAX && !lower.contains("was received");
        // A header without any line before it.
        let begins = seen && HEADER_BEGINS.iter().any(|begin| bare.starts_with(begin));
        if marks && seen {
            return (&text[..at], Some(&text[at + line.len()..]));
        }
        if begins {
            return (&text[..at], Some(&text[at..]));
        }
        seen |= !bare.is_empty();
        at += line.len();
    }
    (text, None)
}

fn named(human: &str, ours: &[&str]) -> Vec<Block> {
    let is_ours = |address: &str| ours.iter().any(|our| same(our, address)) || is_a_daemon(address);
    let mut found: Vec<Block> = Vec::new();
    let mut passing: Vec<Block> = Vec::new();
    // `To:` among the fields of a quoted header says for whom the message was, not who did not get it.
    let mut headed: Vec<Block> = Vec::new();
    let mut current: Vec<usize> = Vec::new();
    let (mut lines_left, mut blanks) = (0, 0);
    for line in human.lines() {
        let bare = line.trim_start_matches(['>', ' ', '\t', '*', '|', '-', '•', '·']).trim_end();
        if bare.is_empty() {
            blanks += 1;
            if blanks > BLANK_LINES_MAX {
                lines_left = 0;
            }
            continue;
        }
        blanks = 0;
        let (addresses, rest) = placed(bare);
        let addresses: Vec<String> = addresses.into_iter().filter(|address| !is_ours(address)).collect();
        if bare.get(..3).is_some_and(|label| label.eq_ignore_ascii_case("to:")) {
            headed.extend(addresses.into_iter().take(PASSING_MAX).map(|address| Block { address, text: String::new() }));
            continue;
        }
        if !addresses.is_empty() {
            current.clear();
            for address in addresses {
                let known = found.iter().position(|block| same(&block.address, &address));
                if known.is_none() && found.len() == NAMED_MAX {
                    continue;
                }
                let place = known.unwrap_or_else(|| {
                    found.push(Block { address, text: String::new() });
                    found.len() - 1
                });
                if current.contains(&place) {
                    continue;
                }
                append(&mut found[place].text, rest);
                current.push(place);
            }
            lines_left = BLOCK_LINES_MAX;
            continue;
        }
        for address in addressed_in(bare).filter(|address| !is_ours(address)) {
            if passing.len() < PASSING_MAX && !passing.iter().any(|block| same(&block.address, &address)) {
                passing.push(Block { address, text: String::new() });
            }
        }
        if lines_left > 0 {
            lines_left -= 1;
            for place in &current {
                append(&mut found[*place].text, bare);
            }
        }
    }
    if found.is_empty() && passing.len() == 1 {
        let block = &mut passing[0];
        // The line that names them says what happened.
        let around = human.lines().skip_while(|line| !line.to_lowercase().contains(&block.address.to_lowercase())).take(BLOCK_LINES_MAX);
        around.for_each(|line| append(&mut block.text, line.trim()));
        return passing;
    }
    if found.is_empty() && passing.is_empty() && headed.len() == 1 {
        return headed;
    }
    found
}

/// Addresses that stand where recipients are named, and the rest of the line.
fn placed(line: &str) -> (Vec<String>, &str) {
    let lower = line.to_ascii_lowercase();
    let stands = |label: &&&str| lower.strip_prefix(**label).is_some_and(|after| !after.starts_with(|c: char| c.is_alphanumeric() || "@._-+".contains(c)));
    let label = LABELS.iter().filter(stands).map(|label| label.len()).max().unwrap_or(0);
    let mut rest = line[label..].trim_start_matches([' ', ':', '=', '\t']);
    if label > 0 && !rest.starts_with(['<', '"', '\'', '\u{201c}']) && !rest.split(' ').next().is_some_and(|word| word.contains('@')) {
        return (Vec::new(), line);
    }
    let mut found = Vec::new();
    while let Some((address, after)) = leading(rest) {
        found.push(address);
        rest = after.trim_start();
        match rest.strip_prefix([',', ';']).map(str::trim_start) {
            Some(next) if leading(next).is_some() => rest = next,
            _ => break,
        }
    }
    // `550 5.1.1 <a@b>... User unknown`: a transcript names them behind the code.
    if found.is_empty()
        && let Some((before, after)) = line.split_once('<')
        && before.split_ascii_whitespace().all(|word| word.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-'))
        && !before.trim().is_empty()
        && let Some((inner, _)) = after.split_once('>')
        && let Some(address) = as_address(inner)
    {
        return (vec![address], line);
    }
    let rest = rest.trim_start_matches([':', '.', ' ', ')', ',']);
    (found, rest)
}

/// An address at the beginning: in angle brackets, in quotes or bare; what stands behind it.
fn leading(text: &str) -> Option<(String, &str)> {
    for (open, close) in [('<', '>'), ('"', '"'), ('\'', '\''), ('\u{201c}', '\u{201d}'), ('[', ']')] {
        if let Some(inner) = text.strip_prefix(open) {
            let (address, after) = inner.split_once(close)?;
            let address = address.strip_prefix("mailto:").unwrap_or(address);
            return Some((as_address(address)?, after));
        }
    }
    let end = text.find(|c: char| c.is_whitespace() || ",;<>()\"|".contains(c)).unwrap_or(text.len());
    // A sentence that happens to begin a line with an address names it in passing.
    let next = text[end..].trim_start();
    let spaced = text[end..].starts_with("  ") || text[end..].starts_with('\t');
    let marks = [':', ';', '(', '<', '[', ',', '-', '.', '|', '"', '\'', '#', '>'];
    let apart = next.is_empty() || next.starts_with(marks) || next.starts_with("on ") || next.starts_with(|c: char| c.is_ascii_digit());
    if !apart && !spaced && !text[..end].ends_with(':') {
        return None;
    }
    let word = text[..end].trim_end_matches([':', '.', '\'']);
    let after = &text[word.len()..];
    // `RCPT TO:<…>` and `smtp:a@b` carry a scheme before the address.
    let address = word.rsplit_once(':').map_or(word, |(_, address)| address);
    let after = after.strip_prefix("<mailto:").and_then(|rest| rest.split_once('>')).map_or(after, |(_, rest)| rest);
    Some((as_address(address)?, after))
}

/// All addresses of a line, but those that somebody is to write to or that wrote.
fn addressed_in(line: &str) -> impl Iterator<Item = String> + '_ {
    let mut before = "";
    let mut left_out: Vec<String> = Vec::new();
    for word in line.split_ascii_whitespace() {
        if word.contains('@') && NOT_RECIPIENTS.contains(&before.trim_matches([':', ',', '.', '(']).to_ascii_lowercase().as_str()) {
            left_out.extend(addresses_in(word));
        }
        before = word;
    }
    addresses_in(line).filter(move |address| !left_out.contains(address))
}

fn addresses_in(line: &str) -> impl Iterator<Item = String> + '_ {
    line.split(|c: char| c.is_whitespace() || ",;<>()[]\"'|=:".contains(c))
        .filter(|word| word.contains('@'))
        .filter_map(|word| as_address(word.trim_matches(['.', ':', '?', '!', '`', '\u{201c}', '\u{201d}'])))
}

fn as_address(text: &str) -> Option<String> {
    let mailbox = Mailbox::parse(text.trim()).ok()?;
    // A Message-ID looks like one; a domain of one label rarely is one that we send to.
    let known = mailbox.domain().is_none_or(crate::mail::Domain::is_fully_qualified);
    (known && mailbox.local.as_str().len() <= 64).then(|| mailbox.to_string())
}

fn is_a_daemon(address: &str) -> bool {
    let local = address.split('@').next().unwrap_or_default().to_ascii_lowercase();
    ["mailer-daemon", "postmaster", "abuse", "mail-daemon", "mailerdaemon"].contains(&local.as_str())
}

/// `X-Failed-Recipients` (Exim, Gmail).
fn failed_recipients(arrived: &Arrived) -> Vec<String> {
    let all = arrived.values("x-failed-recipients").flat_map(|value| value.split(','));
    let mut found: Vec<String> = Vec::new();
    for address in all.filter_map(|address| as_address(address.trim().trim_matches(['<', '>']))).take(NAMED_MAX) {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    found
}

/// The host whose words are quoted.
fn host_in(text: &str) -> Option<String> {
    let words: Vec<&str> = text.split_ascii_whitespace().collect();
    let named = |at: usize| words.get(at).map(|word| word.split(['[', '(']).next().unwrap_or_default().trim_matches(['<', '>', ',', ':', '.', ';', '(', ')']));
    let is_host = |word: &str| {
        word.contains('.')
            && !word.contains('@')
            && word.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
            && word.bytes().any(|b| b.is_ascii_alphabetic())
    };
    let at =
        words.windows(2).position(|pair| ["host", "to", "server", "by"].contains(&pair[0].to_ascii_lowercase().as_str()) && named_host(pair[1], is_host))?;
    named(at + 1).map(str::to_ascii_lowercase)
}

fn named_host(word: &str, is_host: impl Fn(&str) -> bool) -> bool {
    is_host(word.split(['[', '(']).next().unwrap_or_default().trim_matches(['<', '>', ',', ':', '.', ';', '(', ')']))
}

fn append(text: &mut String, line: &str) {
    if text.len() + line.len() < REPLY_OCTETS_MAX && !line.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
}

/// What announces the message that was sent.
const MARKERS: &[&str] = &[
    "below this line is a copy",
    "this is a copy of",
    "copy of the message",
    "copy of your message",
    "original message",
    "original mail",
    "original header",
    "message header",
    "headers of the message",
    "headers of the original",
    "message headers",
    "message follows",
    "returned message",
    "undelivered message",
    "unsent message",
    "message text follows",
    "your message follows",
    "the header of",
    "the body of the message",
    "here is your message",
    "included below",
    "is attached below",
    "start of returned message",
    "begin of returned",
    "beginning of returned",
    "text of your message",
    "contents of the message",
    "message contents",
    "diagnostic information for administrators: original",
    "受信したメール",
    "元のメッセージ",
    "original msg",
];
const HEADER_BEGINS: &[&str] = &[
    "Return-Path:",
    "Received: from",
    "Received: by",
    "Received: (",
    "X-Mailer:",
    "DKIM-Signature:",
    "MIME-Version:",
    "Message-ID:",
    "Message-Id:",
    "Delivered-To:",
];
/// What stands before a recipient; the longest counts.
const LABELS: &[&str] = &[
    "to",
    "(generated from",
    "generated by",
    "(expanded from",
    "recipient",
    "recipients",
    "recipient:",
    "recipient address",
    "failed recipient",
    "failed recipients",
    "final-recipient: rfc822;",
    "original-recipient: rfc822;",
    "to:",
    "rcpt to",
    "rcpt to:",
    "user",
    "address",
    "addressee",
    "mailbox",
    "e-mail address",
    "email address",
    "email",
    "e-mail",
    "invalid address",
    "unknown user",
    "user unknown",
    "unknown recipient",
    "could not deliver message to",
    "could not deliver to",
    "cannot deliver to",
    "cannot deliver mail to",
    "can't deliver to",
    "unable to deliver to",
    "unable to deliver message to",
    "unable to deliver mail to",
    "failed to deliver to",
    "failed to deliver message to",
    "failed addresses follow",
    "delivery to",
    "delivery to the following recipient failed permanently",
    "delivery failed to",
    "delivery failed for",
    "your message to",
    "your mail to",
    "message to",
    "mail to",
    "the recipient",
    "the address",
    "the user",
    "the e-mail address",
    "the email address",
    "the following address failed",
    "the following recipient",
    "undeliverable to",
    "undelivered to",
    "not delivered to",
    "error sending to",
    "error for",
    "failure for",
    "sorry,",
    "sent to",
    "smtp;",
    "local;",
    "rfc822;",
    "user name",
    "username",
    "宛先",
    "受信者",
];
/// Words before an address that is not a recipient's.
const NOT_RECIPIENTS: &[&str] = &[
    "from",
    "by",
    "contact",
    "sender",
    "cc",
    "write",
    "email",
    "e-mail",
    "mail",
    "emailing",
    "reply-to",
    "helpdesk",
    "support",
    "via",
    "at",
    "finger",
    "subject",
    "admin",
    "administrator",
];
const MARKER_OCTETS_MAX: usize = 120;
/// Recipients that words for people name: whoever has so many failures to tell of writes notices for programs.
const NAMED_MAX: usize = 100;
/// Lines about one recipient.
const BLOCK_LINES_MAX: usize = 12;
/// Empty lines within them.
const BLANK_LINES_MAX: usize = 2;
const PASSING_MAX: usize = 8;
