//! Marks by which the kinds of returned mail are known: fields first, then subjects, then words.

use super::arrived::Arrived;

/// Written by a mail system, going by its author.
#[must_use]
pub fn is_of_a_daemon(arrived: &Arrived) -> bool {
    let (name, address) = &arrived.from;
    let local = address.split('@').next().unwrap_or_default();
    let whole = if address.is_empty() { name.as_str() } else { local };
    DAEMONS.iter().any(|daemon| whole.starts_with(daemon)) || DAEMON_NAMES.iter().any(|daemon| name.contains(daemon))
}

/// A subject that announces a bounce.
#[must_use]
pub fn has_bounce_subject(arrived: &Arrived) -> bool {
    let subject = arrived.subject.to_lowercase();
    BOUNCE_SUBJECTS.iter().any(|words| subject.contains(words))
}

/// Words that only bounces have.
#[must_use]
pub fn has_bounce_words(text: &str) -> bool {
    let tidy = crate::reasons::phrase::tidy(text, WORDS_OCTETS_MAX);
    BOUNCE_WORDS.iter().any(|words| tidy.contains(words))
}

/// It says that the mail is still being tried.
#[must_use]
pub fn is_of_delay(arrived: &Arrived, human: &str) -> bool {
    let subject = arrived.subject.to_lowercase();
    let tidy = crate::reasons::phrase::tidy(human, WORDS_OCTETS_MAX);
    if GIVEN_UP.iter().any(|words| tidy.contains(words)) {
        return false;
    }
    DELAY_WORDS.iter().any(|words| tidy.contains(words)) || DELAY_SUBJECTS.iter().any(|words| subject.contains(words))
}

/// A note that a message was read, shown or deleted (RFC 8098).
#[must_use]
pub fn is_disposition(arrived: &Arrived) -> bool {
    arrived.report_type == "disposition-notification"
}

/// A program answered for a person (RFC 3834 §5, and older customs).
#[must_use]
pub fn is_automatic_reply(arrived: &Arrived) -> bool {
    let first_word = |name: &str| arrived.value(name).map(|value| value.split([';', ' ', '(']).next().unwrap_or_default().to_ascii_lowercase());
    let replied = matches!(first_word("auto-submitted").as_deref(), Some("auto-replied" | "auto-notified"));
    let generated = first_word("auto-submitted").is_some_and(|word| word == "auto-generated");
    let preceded = ["precedence", "x-precedence"]
        .iter()
        .any(|name| first_word(name).is_some_and(|word| matches!(word.as_str(), "auto_reply" | "auto-reply" | "autoreply")));
    let marked =
        AUTO_FIELDS.iter().any(|name| arrived.value(name).is_some_and(|value| !matches!(value.to_ascii_lowercase().as_str(), "no" | "false" | "none")));
    let microsoft = arrived.value("x-ms-exchange-inbox-rules-loop").is_some()
        || arrived.value("x-ms-exchange-generated-message-source").is_some_and(|it| it.to_ascii_lowercase().contains("oof"));
    let subject = arrived.subject.to_lowercase();
    let begins = AUTO_SUBJECTS.iter().any(|words| subject.starts_with(words));
    let mentions = AUTO_SUBJECT_WORDS.iter().any(|words| subject.contains(words));
    let subdued = generated || first_word("x-auto-response-suppress").is_some() || arrived.is_from_null();
    replied || preceded || marked || microsoft || begins || (mentions || is_answer(arrived)) && subdued
}

/// The receiver asks the sender to prove to be a person.
#[must_use]
pub fn is_challenge(arrived: &Arrived) -> bool {
    if CHALLENGE_FIELDS.iter().any(|name| arrived.value(name).is_some()) {
        return true;
    }
    let subject = arrived.subject.to_lowercase();
    let tidy = crate::reasons::phrase::tidy(&arrived.text, WORDS_OCTETS_MAX);
    let said = CHALLENGE_WORDS.iter().filter(|words| tidy.contains(**words)).count();
    let announced = CHALLENGE_SUBJECTS.iter().any(|words| subject.contains(words));
    let is_program = is_automatic_reply(arrived) || arrived.is_from_null() || is_answer(arrived) || announced;
    said >= 2 || said == 1 && is_program
}

/// It follows up on another message.
fn is_answer(arrived: &Arrived) -> bool {
    arrived.value("in-reply-to").is_some() || arrived.value("references").is_some()
}

/// How their local parts begin.
const DAEMONS: &[&str] = &[
    "mailer-daemon",
    "mailerdaemon",
    "mailer_daemon",
    "mailer.daemon",
    "mailer daemon",
    "postmaster",
    "mail-daemon",
    "maildaemon",
    "mdaemon",
    "daemon",
    "bounce",
    "mailadm",
    "mail-delivery",
    "delivery-daemon",
    "mmdf",
    "pmdf",
    "smtpd",
    "smtp daemon",
    "mail delivery",
];
const DAEMON_NAMES: &[&str] = &[
    "mail delivery s",
    "mail deliver",
    "mailer-daemon",
    "mail administrator",
    "postmaster",
    "system administrator",
    "mail system",
    "internet mail delivery",
    "delivery subsystem",
    "mail daemon",
    "microsoft outlook",
    "e-mail administrator",
    "email administrator",
    "mail delivery",
    "message delivery",
    "network mail administrator",
];
const BOUNCE_SUBJECTS: &[&str] = &[
    "undeliver",
    "un-deliver",
    "nondeliver",
    "non-deliver",
    "non deliver",
    "notdelivered",
    "not delivered",
    "not be delivered",
    "not deliverable",
    "delivery status notification",
    "delivery status",
    "delivery fail",
    "delivery has failed",
    "delivery error",
    "delivery problem",
    "delivery report",
    "delivery notification",
    "delivery unsuccessful",
    "failed delivery",
    "failed mail",
    "failure notice",
    "failure delivery",
    "failure notification",
    "mail failure",
    "mail delivery",
    "mail system error",
    "mail error",
    "mail could not",
    "returned mail",
    "returned to sender",
    "returned message",
    "returned email",
    "return to sender",
    "message status",
    "message not delivered",
    "message delivery",
    "could not deliver",
    "could not be delivered",
    "couldn't be delivered",
    "cannot deliver",
    "can't deliver",
    "unable to deliver",
    "unable to be delivered",
    "problem delivering",
    "error sending",
    "error mail",
    "mail rejected",
    "message rejected",
    "user unknown",
    "unknown user",
    "unknown address",
    "unknown recipient",
    "rejected mail",
    "bounce",
    "nicht zustellbar",
    "unzustellbar",
    "zustellung",
    "non remis",
    "échec",
    "echec de",
    "no se ha podido",
    "no entregado",
    "no se pudo",
    "mancata consegna",
    "impossibile",
    "não entregue",
    "falha",
    "niet bezorgd",
    "onbestelbaar",
    "kunde inte",
    "недоставлен",
    "не доставлено",
    "退信",
    "系统退信",
    "配信",
    "配送",
    "送信できません",
    "エラー",
    "不達",
    "mailbox full",
    "over quota",
    "warning: message",
    "mail warning",
    "warning: could not send",
];
const BOUNCE_WORDS: &[&str] = &[
    "this is the qmail-send program",
    "qmail-send program at",
    "i wasn't able to deliver your message",
    "this message was created automatically by mail delivery software",
    "this message was created automatically by the mail system",
    "a message that you sent could not be delivered",
    "a message that you sent has not yet been delivered",
    "a message you sent could not be delivered",
    "could not be delivered to one or more",
    "couldn't be delivered to",
    "could not be delivered to the following",
    "your message could not be delivered",
    "your message was not delivered",
    "your message cannot be delivered",
    "your message did not reach",
    "delivery to the following recipient",
    "delivery to the following address",
    "delivery has failed to these recipients",
    "delivery of the message to the following",
    "failed to deliver your message",
    "failed to deliver to",
    "the following addresses had",
    "the following address had",
    "the following address(es) failed",
    "the following recipients",
    "the following recipient",
    "the following message to",
    "unable to deliver your message",
    "unable to deliver message to",
    "unable to deliver mail",
    "was undeliverable",
    "is undeliverable",
    "undeliverable mail",
    "non-delivery report",
    "nondeliverable",
    "permanent fatal errors",
    "transient non-fatal errors",
    "transcript of session follows",
    "session transcript",
    "message returned to sender",
    "we were unable to deliver",
    "the mail system at",
    "mail delivery failed",
    "delivery failed",
    "your mail message to the following address",
    "message from yahoo",
    "sorry, we were unable",
    "sorry, i couldn't",
    "sorry, i wasn't able",
    "returning your message",
    "this is a permanent error",
    "i've given up",
    "each of the following recipients was rejected",
    "could not be transmitted",
    "error in delivering your message",
    "your mail to the following recipients",
    "not able to deliver",
    "the user(s) account is",
    "your email was rejected",
    "your e-mail was rejected",
    "message delivery failed",
    "this is an automatically generated delivery status",
    "this report relates to your message",
    "受信者",
    "配信できません",
    "お届けできません",
    "送信できません",
    "届きませんでした",
];
const DELAY_SUBJECTS: &[&str] = &[
    "delayed",
    "(delay)",
    "delivery delay",
    "still being",
    "warning: message",
    "mail warning",
    "warning: could not send",
    "not yet delivered",
    "deferred",
    "delivery status notification (delay",
];
const DELAY_WORDS: &[&str] = &[
    "this is a warning message only",
    "you do not need to resend",
    "you don't need to resend",
    "do not need to resend your message",
    "no action is required on your part",
    "has not yet been delivered",
    "has not been delivered yet",
    "delivery attempts will continue",
    "will continue to try",
    "will continue trying",
    "will be retried",
    "will keep trying",
    "still trying to deliver",
    "is still trying",
    "is being retried",
    "message has been delayed",
    "delivery has been delayed",
    "delivery is delayed",
    "has been temporarily delayed",
    "it will be retried until",
    "we will keep",
    "i'm still trying",
    "not yet been delivered",
    "will retry for",
    "still in the queue",
    "transient non-fatal errors",
];
/// A notice of failure may tell that there was one of delay before.
const GIVEN_UP: &[&str] = &[
    "permanent fatal errors",
    "permanent error",
    "could not be delivered to one or more recipients",
    "given up",
    "giving up",
    "has been returned",
    "was deleted from",
    "will be deleted from queue",
    "permanently failed",
    "delivery failed permanently",
    "permanent failure",
];
/// Fields that only automatic replies carry.
const AUTO_FIELDS: &[&str] = &[
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-auto-reply",
    "x-autogenerated",
    "x-mail-autoreply",
    "x-autoreply-from",
    "x-autoreply-domain",
    "x-fc-machinegenerated",
    "x-away-message",
    "x-vacation",
    "x-amavis-autoreply",
    "x-cron-autoreply",
    "x-post-messageclass-autoreply",
    "x-ims-auto-reply",
];
const AUTO_SUBJECTS: &[&str] = &[
    "out of office",
    "out-of-office",
    "out of the office",
    "auto:",
    "auto reply",
    "auto-reply",
    "autoreply",
    "auto response",
    "auto-response",
    "autoresponse",
    "automatic reply",
    "automatic response",
    "automated reply",
    "automated response",
    "automatisch",
    "vacation",
    "on vacation",
    "away from",
    "i am out",
    "i'm out",
    "i am away",
    "réponse automatique",
    "reponse automatique",
    "absence du bureau",
    "automatische antwort",
    "abwesenheit",
    "abwesend",
    "respuesta automática",
    "respuesta automatica",
    "fuera de la oficina",
    "risposta automatica",
    "fuori ufficio",
    "resposta automática",
    "ausência",
    "autosvar",
    "frånvar",
    "automaattinen",
    "autoodpowiedź",
    "автоответ",
    "自動応答",
    "自動返信",
    "【自動返信】",
    "【自動応答】",
    "[自動返信]",
    "不在",
    "自动回复",
    "自動回覆",
    "自动答复",
    "re: out of office",
];
/// Anywhere in the subject of what also shows that a program wrote it.
const AUTO_SUBJECT_WORDS: &[&str] = &[
    "out of office",
    "out of the office",
    "auto-reply",
    "autoreply",
    "automatic reply",
    "auto reply",
    "auto response",
    "vacation",
    "on leave",
    "away",
    "holiday",
    "absence",
    "abwesen",
    "automatische antwort",
    "自動返信",
    "自動応答",
    "不在",
    "自动回复",
];
const CHALLENGE_FIELDS: &[&str] = &[
    "x-tmda-confirm",
    "x-choicemail-registration-request",
    "x-boxbe-challenge",
    "x-spamarrest-noauth",
    "x-spamarrest-probe",
    "x-qurb",
    "x-earthlink-challenge",
    "x-bluebottle-request",
    "x-askversion",
    "x-delivery-challenge",
];
const CHALLENGE_SUBJECTS: &[&str] = &[
    "please confirm",
    "confirm your",
    "confirmation required",
    "verification required",
    "please verify",
    "sender verification",
    "verify your",
    "awaiting your approval",
    "action required to deliver",
    "challenge",
    "your message to",
    "delivery authorization",
    "spam arrest",
    "spamarrest",
    "confirm your message",
    "request for verification",
];
const CHALLENGE_WORDS: &[&str] = &[
    "spamarrest.com",
    "spam arrest",
    "choicemail",
    "tmda",
    "boxbe",
    "bluebottle",
    "knowspam",
    "mailblocks",
    "digiportal",
    "prove that you are human",
    "prove you are human",
    "prove you're human",
    "you are a human",
    "you are human",
    "you're a real person",
    "you are a real person",
    "not an automated",
    "to have your message delivered",
    "in order for your message to be delivered",
    "for your message to be delivered",
    "before your message can be delivered",
    "confirm your email address to",
    "confirm that you sent",
    "confirm that your message",
    "verify that you sent",
    "to verify yourself",
    "add you to my * list",
    "one-time verification",
    "to be added to my list",
    "to my approved",
    "approved senders",
    "approved sender list",
    "click the link below to be added",
    "click on the link below to * message",
    "simply reply to this message",
    "just reply to this message",
    "reply to this message without",
    "your message is being held",
    "your message has been held",
    "message is being held until",
    "unrecognized sender",
    "protect myself from spam",
    "protected by a challenge",
    "challenge/response",
    "challenge-response",
    "only accept mail from people",
    "fight against spam",
];
/// Octets of a text in which words are looked for.
const WORDS_OCTETS_MAX: usize = 8192;
