//! Whether a message has the form that receivers ask for: RFC 5322, Gmail's sender guidelines and header limits, RFC 8058. Pure.
//!
//! What the relay itself would refuse is found by the same rules, those of *normalise*, with Gmail's own numbers.

use crate::mail::author::addresses;
use crate::mail::mime::{Bounds, Structure};
use crate::mail::{EnhancedCode, Headers, Timestamp};
use crate::normalise::{self, Limits};
use crate::seal::dkim::{Confirmed, ForeignSignature, SignatureFault};
use mail_parser::MessageParser;

/// What the form of a message is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Form<'a> {
    /// All octets, CR LF line ends.
    pub message: &'a [u8],
    /// Its header.
    pub headers: &'a Headers<'a>,
    /// What became of its signatures, which one-click unsubscription needs.
    pub signatures: &'a [(ForeignSignature, Result<Confirmed, SignatureFault>)],
    /// The sender counts as a bulk sender.
    pub bulk: bool,
    /// The present, for Date.
    pub now: Timestamp,
}

/// Something about the form that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Defect {
    /// How Gmail answers, as far as it says; `None` when the message is taken and suffers otherwise.
    pub code: Option<&'static str>,
    /// What is wrong and what to do, in one sentence.
    pub text: String,
}

/// All that is wrong with the form, first what is refused.
#[must_use]
pub fn form(form: &Form<'_>) -> Vec<Defect> {
    let headers = form.headers;
    // Who received it by SMTPUTF8 says so (RFC 6531 §4.3): UTF8SMTP and the like.
    let smtputf8 = headers.named("Received").any(|field| field.unfolded().to_ascii_uppercase().contains("WITH UTF8"));
    let refusals = normalise::faults(headers, smtputf8, &LIMITS);
    let mut defects: Vec<Defect> = refusals.into_iter().map(|refusal| Defect { code: Some(code(refusal.enhanced)), text: refusal.text }).collect();
    let warnings = [dates(headers, form.now), lines(form.message, headers), mime(form.message, headers), names(form.message, headers), one_click(form)];
    defects.extend(warnings.into_iter().flatten().map(|text| Defect { code: None, text }));
    defects
}

/// Gmail's answer to what our own rules refuse.
fn code(enhanced: EnhancedCode) -> &'static str {
    if enhanced == EnhancedCode::new(5, 4, 6) { "554 5.4.6" } else { "550 5.7.1" }
}

fn dates(headers: &Headers<'_>, now: Timestamp) -> Vec<String> {
    let Some(field) = headers.named("Date").next() else {
        return vec!["there is no Date field, which every message must have (RFC 5322 §3.6)".to_owned()];
    };
    match normalise::date(&field.unfolded()) {
        None => vec![format!("the Date \"{}\" cannot be read (RFC 5322 §3.3)", shown(&field.unfolded()))],
        Some(date) if date.unix_seconds() > now.unix_seconds() + FUTURE_SECONDS_MAX => {
            vec![format!("the Date {} is in the future; Yahoo refuses dates out of range", date.to_rfc3339())]
        }
        Some(_) => Vec::new(),
    }
}

fn lines(message: &[u8], headers: &Headers<'_>) -> Vec<String> {
    let body = &message[headers.body_start()..];
    let mut found = Vec::new();
    if body.split(|b| *b == b'\n').any(|line| line.len() > LINE_OCTETS_MAX + 1) {
        found.push("the body has a line longer than 998 octets, which hops may break, and with it the signatures; encode it (RFC 5322 §2.1.1)".to_owned());
    }
    if body.contains(&0) {
        found.push("the body holds a NUL octet, which no hop need pass on; encode it (RFC 5321 §2.3.8)".to_owned());
    }
    if body.windows(2).any(|pair| pair[0] == b'\r' && pair[1] != b'\n') {
        found.push("the body holds a bare CR, which receivers refuse or change; end lines with CR LF (RFC 5321 §2.3.8)".to_owned());
    }
    found
}

fn mime(message: &[u8], headers: &Headers<'_>) -> Vec<String> {
    let has = |name: &str| headers.named(name).next().is_some();
    let mut found = Vec::new();
    if has("Content-Type") && !has("MIME-Version") {
        found.push("there is a Content-Type but no MIME-Version: readers may show the source; add \"MIME-Version: 1.0\" (RFC 2045 §4)".to_owned());
    }
    if !message[headers.body_start()..].is_ascii() && !has("Content-Transfer-Encoding") && !has("Content-Type") {
        found.push("the body holds octets over 127 and nothing says what they are; add Content-Type and Content-Transfer-Encoding".to_owned());
    }
    if let Err(fault) = Structure::parse(message, Bounds { depth_max: 64, parts_max: 10_000 }) {
        found.push(format!("the MIME structure is out of bounds: {fault}"));
    }
    found
}

/// What a display name must not do (Gmail's sender guidelines, "From: header"), and whom nobody may play.
fn names(message: &[u8], headers: &Headers<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let Some(from) = headers.named("From").next() else { return found };
    let domain = addresses(from.value).ok().and_then(|list| list.first().and_then(|address| address.mailbox.domain().cloned()));
    if domain.as_ref().is_some_and(|domain| matches!(domain.as_str(), "gmail.com" | "googlemail.com")) {
        found.push("From is at gmail.com: Gmail takes that for impersonation unless it sent the mail itself; write from a domain of your own".to_owned());
    }
    let parsed = MessageParser::new().parse_headers(message);
    let Some(name) = parsed.as_ref().and_then(|message| message.from()?.first()?.name()) else { return found };
    let name_shown = shown(name);
    if name.contains('@') {
        let own = domain.as_ref().is_some_and(|domain| name.to_ascii_lowercase().contains(&format!("@{domain}")));
        let what = if own { "an address" } else { "an address of another domain" };
        found.push(format!("the display name \"{name_shown}\" holds {what}: filters take that for deception; leave it out"));
    }
    if name.chars().any(is_emoji) {
        found.push(format!("the display name \"{name_shown}\" holds an emoji or pictograph, which Gmail asks senders not to use there"));
    }
    if name.chars().any(|c| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')) {
        found.push(format!("the display name \"{}\" holds invisible characters: filters take that for deception", name.escape_unicode()));
    }
    if let Some((_, rest)) = name.rsplit_once('(')
        && rest.strip_suffix(')').is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    {
        found.push(format!("the display name \"{name_shown}\" looks like the count of a conversation, which Gmail asks senders not to feign"));
    }
    let subject = headers.named("Subject").next().map(|field| field.unfolded()).unwrap_or_default();
    if name.chars().count() >= NAME_IN_SUBJECT_MIN && subject.trim() == name.trim() {
        found.push("the display name is the subject: Gmail asks for a name that says who writes".to_owned());
    }
    found
}

/// RFC 8058 and what Gmail and Yahoo ask of marketing mail.
fn one_click(form: &Form<'_>) -> Vec<String> {
    let headers = form.headers;
    let fields: Vec<String> = headers.named("List-Unsubscribe").map(|field| field.unfolded()).collect();
    let posts: Vec<String> = headers.named("List-Unsubscribe-Post").map(|field| field.unfolded()).collect();
    let mut found = Vec::new();
    let [uris] = fields.as_slice() else {
        if fields.len() > 1 {
            found.push(format!("there are {} List-Unsubscribe fields; send one (RFC 8058 §3.1)", fields.len()));
        } else if !posts.is_empty() {
            found.push("List-Unsubscribe-Post stands without List-Unsubscribe (RFC 8058 §3.1)".to_owned());
        } else if form.bulk {
            found.push(
                "there is no List-Unsubscribe: marketing mail and subscriptions need one-click unsubscription at Gmail and Yahoo; transactional mail does not"
                    .to_owned(),
            );
        }
        return found;
    };
    let https = uris.split(',').filter(|uri| uri.trim().trim_start_matches('<').get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"))).count();
    if https != 1 {
        found.push(format!("List-Unsubscribe holds {https} https addresses; one-click unsubscription needs exactly one (RFC 8058 §3.1)"));
    }
    match posts.as_slice() {
        [] => found.push("List-Unsubscribe-Post is missing; add \"List-Unsubscribe-Post: List-Unsubscribe=One-Click\" (RFC 8058 §3.1)".to_owned()),
        [post] if post.trim() == ONE_CLICK => {}
        [post] => found.push(format!("List-Unsubscribe-Post is \"{}\"; expected \"{ONE_CLICK}\" (RFC 8058 §3.1)", shown(post))),
        several => found.push(format!("there are {} List-Unsubscribe-Post fields; send one", several.len())),
    }
    let covers = |signature: &ForeignSignature, name: &str| signature.names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let both = |(signature, outcome): &(ForeignSignature, Result<_, _>)| {
        outcome.is_ok() && covers(signature, "List-Unsubscribe") && (posts.is_empty() || covers(signature, "List-Unsubscribe-Post"))
    };
    if !form.signatures.iter().any(both) {
        found.push("no signature that passes covers List-Unsubscribe and List-Unsubscribe-Post: receivers offer no one-click button (RFC 8058 §4)".to_owned());
    }
    found
}

/// A text fit for a line.
fn shown(text: &str) -> String {
    text.chars().take(TEXT_CHARACTERS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The blocks of pictographs; letters of any script are names.
const fn is_emoji(c: char) -> bool {
    matches!(c, '\u{1f000}'..='\u{1faff}' | '\u{2600}'..='\u{27bf}' | '\u{2b00}'..='\u{2bff}' | '\u{fe0f}')
}

/// Gmail's (support.google.com/a/answer/14016360).
const LIMITS: Limits = Limits {
    header_octets_max: 500_000,
    header_fields_max: 5_000,
    field_value_octets_max: 32_000,
    field_name_octets_max: 1_000,
    message_id_characters_max: 500,
    subject_characters_max: 998,
    received_hops_max: 51,
};
const ONE_CLICK: &str = "List-Unsubscribe=One-Click";
/// RFC 5322 §2.1.1.
const LINE_OCTETS_MAX: usize = 998;
/// Clocks and time zones differ.
const FUTURE_SECONDS_MAX: i64 = 24 * 60 * 60;
/// A shorter name may be the whole subject by chance.
const NAME_IN_SUBJECT_MIN: usize = 8;
const TEXT_CHARACTERS_MAX: usize = 120;
