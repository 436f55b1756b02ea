//! Commands of a client, read strictly (RFC 5321 §4.1, RFC 3030, 3207, 3461, 4954, 6152, 6531, 6533).
//!
//! A line is a command as a whole or not at all: nothing is dropped, guessed or repaired, because what an address hides could
//! become a command at the next hop. What is offered at the moment, and whose turn it is, `server.rs` knows.

use crate::mail::{BodyType, EnhancedCode, ForwardPath, Mailbox, Notify, OriginalRecipient, Refusal, Ret, ReversePath};
use data_encoding::BASE64;

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// `EHLO`, with the name given.
    Ehlo(String),
    /// `HELO`, with the name given.
    Helo(String),
    /// `MAIL FROM`.
    Mail(Box<Mail>),
    /// `RCPT TO`.
    Rcpt(Box<Rcpt>),
    /// `DATA`.
    Data,
    /// `BDAT`.
    Bdat {
        /// Octets of the chunk that follows at once.
        octets: u64,
        /// `LAST`.
        last: bool,
    },
    /// `RSET`.
    Rset,
    /// `NOOP`, its argument ignored.
    Noop,
    /// `VRFY`, its argument ignored.
    Vrfy,
    /// `EXPN`, its argument ignored.
    Expn,
    /// `HELP`, its argument ignored.
    Help,
    /// `STARTTLS`.
    StartTls,
    /// `AUTH`.
    Auth {
        /// The mechanism, in capitals.
        mechanism: String,
        /// The initial response, decoded; `=` gives an empty one (RFC 4954 §4).
        initial: Option<Vec<u8>>,
    },
    /// `QUIT`.
    Quit,
}

/// `MAIL FROM` with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mail {
    /// The path, source routes removed.
    pub reverse_path: ReversePath,
    /// `SIZE=` in octets (RFC 1870 §5).
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: BodyType,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `RET=`.
    pub ret: Option<Ret>,
    /// `ENVID=`, decoded.
    pub envid: Option<String>,
    /// There was a parameter, which only EHLO allows.
    pub extended: bool,
}

/// `RCPT TO` with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rcpt {
    /// The path, source routes removed.
    pub forward_path: ForwardPath,
    /// `NOTIFY=`.
    pub notify: Notify,
    /// `ORCPT=`, decoded.
    pub orcpt: Option<OriginalRecipient>,
    /// The line holds octets that only a transaction with SMTPUTF8 may hold.
    pub needs_smtputf8: bool,
    /// There was a parameter, which only EHLO allows.
    pub extended: bool,
}

/// Why a line is no command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    /// What to answer.
    pub refusal: Refusal,
    /// The lines that follow cannot be trusted to be commands: the connection must end.
    pub fatal: bool,
}

impl Command {
    /// Reads a line without its end.
    ///
    /// # Errors
    /// What to answer.
    pub fn parse(line: &[u8]) -> Result<Self, Malformed> {
        let text = text_of(line)?;
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        let verb = verb.to_ascii_uppercase();
        let rest = rest.trim_end_matches(' ');
        let command = match verb.as_str() {
            "EHLO" => greeting_name(rest).map(Self::Ehlo),
            "HELO" => greeting_name(rest).map(Self::Helo),
            "MAIL" => Mail::parse(rest).map(|mail| Self::Mail(Box::new(mail))),
            "RCPT" => Rcpt::parse(rest).map(|rcpt| Self::Rcpt(Box::new(rcpt))),
            "DATA" => alone(rest, Self::Data),
            "BDAT" => return chunk(rest).ok_or_else(|| fatal(argument("expected BDAT octets, or BDAT octets LAST"))),
            "RSET" => alone(rest, Self::Rset),
            "QUIT" => alone(rest, Self::Quit),
            "STARTTLS" => alone(rest, Self::StartTls),
            "NOOP" => Ok(Self::Noop),
            "HELP" => Ok(Self::Help),
            "VRFY" => some(rest, Self::Vrfy),
            "EXPN" => some(rest, Self::Expn),
            "AUTH" => auth(rest),
            // A browser or a forged request was led here (cross-protocol requests); its body may be made of commands.
            "GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT" | "HOST:" => {
                return Err(fatal(syntax(500, (5, 5, 1), "this is a mail server; it speaks SMTP, not HTTP")));
            }
            _ => Err(syntax(500, (5, 5, 1), "command not recognised")),
        };
        command.map_err(|refusal| Malformed { refusal, fatal: false })
    }
}

/// Octets, line end included, that a command line may have: what RFC 5321 §4.5.3.1.4 gives (`base`) and what its extensions add.
#[must_use]
pub fn line_octets_max(line: &[u8], base: usize) -> usize {
    let verb = line.get(..5).unwrap_or(line).to_ascii_uppercase();
    match verb.as_slice() {
        b"MAIL " => base + SIZE_OCTETS + BODY_OCTETS + SMTPUTF8_OCTETS + AUTH_PARAMETER_OCTETS + MAIL_DSN_OCTETS,
        b"RCPT " => base + RCPT_DSN_OCTETS,
        b"VRFY " | b"EXPN " => base + SMTPUTF8_OCTETS,
        b"AUTH " => AUTH_LINE_OCTETS_MAX,
        _ => base,
    }
}

/// A line of printable characters; what is not ASCII must be UTF-8 (RFC 6531 §3.3).
fn text_of(line: &[u8]) -> Result<&str, Malformed> {
    let unfit = |text| Malformed { refusal: syntax(500, (5, 5, 2), text), fatal: false };
    let text = std::str::from_utf8(line).map_err(|_| unfit("the command holds octets that are not UTF-8"))?;
    if text.chars().any(char::is_control) { Err(unfit("the command holds control characters")) } else { Ok(text) }
}

fn greeting_name(rest: &str) -> Result<String, Refusal> {
    let fits = !rest.is_empty() && rest.len() <= GREETING_OCTETS_MAX && rest.bytes().all(|b| b.is_ascii_graphic() && !b"<>()\"\\,;@".contains(&b));
    if fits { Ok(rest.to_owned()) } else { Err(argument("expected the name of the client, as in EHLO app.example.com")) }
}

fn alone(rest: &str, command: Command) -> Result<Command, Refusal> {
    if rest.is_empty() { Ok(command) } else { Err(argument("this command takes no argument")) }
}

fn some(rest: &str, command: Command) -> Result<Command, Refusal> {
    if rest.is_empty() { Err(argument("this command needs an argument")) } else { Ok(command) }
}

/// RFC 3030 §2.
fn chunk(rest: &str) -> Option<Command> {
    let (octets, last) = match rest.split_once(' ') {
        None => (rest, false),
        Some((octets, word)) => (octets, word.eq_ignore_ascii_case("LAST").then_some(true)?),
    };
    Some(Command::Bdat { octets: number(octets)?, last })
}

/// RFC 4954 §4.
fn auth(rest: &str) -> Result<Command, Refusal> {
    let (mechanism, initial) = match rest.split_once(' ') {
        None => (rest, None),
        Some((mechanism, initial)) => (mechanism, Some(sasl_octets(initial)?)),
    };
    let named = (1..=20).contains(&mechanism.len()) && mechanism.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if !named {
        return Err(argument("expected AUTH and a mechanism"));
    }
    Ok(Command::Auth { mechanism: mechanism.to_ascii_uppercase(), initial })
}

/// A SASL response behind `AUTH`, `=` standing for an empty one.
fn sasl_octets(text: &str) -> Result<Vec<u8>, Refusal> {
    if text == "=" { Ok(Vec::new()) } else { sasl_line(text.as_bytes()) }
}

/// A SASL response on a line of its own.
///
/// # Errors
/// It is not base64.
pub fn sasl_line(line: &[u8]) -> Result<Vec<u8>, Refusal> {
    BASE64.decode(line).map_err(|_| syntax(501, (5, 5, 2), "the response is not base64"))
}

impl Mail {
    fn parse(rest: &str) -> Result<Self, Refusal> {
        let (path, parameters) = path_and_parameters(rest, "FROM:")?;
        let reverse_path = if path.is_empty() { ReversePath::Null } else { ReversePath::Mailbox(mailbox(path, 7)?) };
        let mut mail = Self { reverse_path, size: None, body: BodyType::SevenBit, smtputf8: false, ret: None, envid: None, extended: !parameters.is_empty() };
        for (keyword, value) in each_parameter(parameters)? {
            match (keyword.as_str(), value) {
                ("SIZE", Some(value)) => mail.size = Some(number(value).ok_or_else(|| wrong_value("SIZE", "a number of octets"))?),
                ("BODY", Some(value)) => mail.body = body_type(value)?,
                ("SMTPUTF8", None) => mail.smtputf8 = true,
                ("RET", Some(value)) => mail.ret = Some(ret(value)?),
                ("ENVID", Some(value)) => mail.envid = Some(envid(value)?),
                ("AUTH", Some(value)) => submitter(value)?,
                (known @ ("SIZE" | "BODY" | "RET" | "ENVID" | "AUTH"), None) => return Err(wrong_value(known, "a value")),
                ("SMTPUTF8", Some(_)) => return Err(wrong_value("SMTPUTF8", "no value")),
                _ => return Err(unknown_parameter(&keyword)),
            }
        }
        if !rest.is_ascii() && !mail.smtputf8 {
            return Err(needs_smtputf8());
        }
        Ok(mail)
    }
}

impl Rcpt {
    fn parse(rest: &str) -> Result<Self, Refusal> {
        let (path, parameters) = path_and_parameters(rest, "TO:")?;
        let forward_path = if path.eq_ignore_ascii_case("postmaster") { ForwardPath::Postmaster } else { ForwardPath::Mailbox(mailbox(path, 3)?) };
        let mut rcpt = Self { forward_path, notify: Notify::Unspecified, orcpt: None, needs_smtputf8: !rest.is_ascii(), extended: !parameters.is_empty() };
        for (keyword, value) in each_parameter(parameters)? {
            match (keyword.as_str(), value) {
                ("NOTIFY", Some(value)) => rcpt.notify = notify(value)?,
                ("ORCPT", Some(value)) => rcpt.orcpt = Some(original_recipient(value)?),
                (known @ ("NOTIFY" | "ORCPT"), None) => return Err(wrong_value(known, "a value")),
                _ => return Err(unknown_parameter(&keyword)),
            }
        }
        Ok(rcpt)
    }
}

/// The refusal of characters that need SMTPUTF8 where it was not asked for (RFC 6531 §3.5).
#[must_use]
pub fn needs_smtputf8() -> Refusal {
    syntax(553, (5, 6, 7), "the address is not ASCII; give SMTPUTF8 with MAIL")
}

/// What stands between the angle brackets, and the parameters behind them. A space after the colon, which many applications write,
/// is taken; an address without brackets is not.
fn path_and_parameters<'a>(rest: &'a str, keyword: &str) -> Result<(&'a str, &'a str), Refusal> {
    let expected = || syntax(501, (5, 5, 4), format!("expected {keyword}<address>"));
    let head = rest.get(..keyword.len()).filter(|head| head.eq_ignore_ascii_case(keyword)).ok_or_else(expected)?;
    let path = rest[head.len()..].trim_start_matches(' ').strip_prefix('<').ok_or_else(expected)?;
    let end = end_of_path(path).ok_or_else(expected)?;
    let parameters = &path[end + 1..];
    if !parameters.is_empty() && !parameters.starts_with(' ') {
        return Err(syntax(501, (5, 5, 4), "something follows the \">\" of the address"));
    }
    Ok((&path[..end], parameters.trim_start_matches(' ')))
}

/// Where the `>` stands that no quotes enclose.
fn end_of_path(path: &str) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    path.bytes().position(|b| {
        let closes = b == b'>' && !quoted;
        quoted ^= b == b'"' && !escaped;
        escaped = quoted && b == b'\\' && !escaped;
        closes
    })
}

/// A mailbox, its source route stripped (RFC 5321 §4.1.1.3, Appendix C); `detail` tells a sender's fault (5.1.7) from a recipient's (5.1.3).
fn mailbox(path: &str, detail: u16) -> Result<Mailbox, Refusal> {
    let bad = |text: String| Refusal::submitter(501, EnhancedCode::new(5, 1, detail), text);
    if path.len() > PATH_OCTETS_MAX {
        return Err(bad(format!("the path is longer than {} octets", PATH_OCTETS_MAX + 2)));
    }
    let bare = match path.strip_prefix('@') {
        None => path,
        Some(route) => without_route(route).ok_or_else(|| bad("the source route is malformed; leave it away".to_owned()))?,
    };
    Mailbox::parse(bare).map_err(|error| bad(error.to_string()))
}

/// What follows `a,@b:` of a route whose first `@` is read already.
fn without_route(route: &str) -> Option<&str> {
    let (hosts, bare) = route.split_once(':')?;
    let mut hosts = hosts.split(',').enumerate();
    hosts
        .all(|(at, host)| (if at == 0 { Some(host) } else { host.strip_prefix('@') }).is_some_and(|host| host.parse::<crate::mail::Domain>().is_ok()))
        .then_some(bare)
}

/// Keywords in capitals with their values, each keyword once (RFC 5321 §4.1.2 `esmtp-param`).
fn each_parameter(parameters: &str) -> Result<Vec<(String, Option<&str>)>, Refusal> {
    let mut found: Vec<(String, Option<&str>)> = Vec::new();
    for parameter in parameters.split(' ').filter(|parameter| !parameter.is_empty()) {
        let (keyword, value) = parameter.split_once('=').map_or((parameter, None), |(keyword, value)| (keyword, Some(value)));
        let keyword = keyword.to_ascii_uppercase();
        let well_formed = keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
            && value.is_none_or(|value| !value.is_empty() && !value.contains('='));
        if !well_formed {
            return Err(argument("a parameter is malformed; expected KEYWORD or KEYWORD=value"));
        }
        if found.iter().any(|(known, _)| *known == keyword) {
            return Err(argument(format!("the parameter {keyword} is given twice")));
        }
        found.push((keyword, value));
    }
    Ok(found)
}

/// RFC 1870 §5 and RFC 3030 §2: up to 20 digits.
fn number(text: &str) -> Option<u64> {
    (text.len() <= 20 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// RFC 6152 §2. BINARYMIME is not offered: it could not be passed on without a change below the seal.
fn body_type(value: &str) -> Result<BodyType, Refusal> {
    match value.to_ascii_uppercase().as_str() {
        "7BIT" => Ok(BodyType::SevenBit),
        "8BITMIME" => Ok(BodyType::EightBitMime),
        "BINARYMIME" => Err(syntax(555, (5, 5, 4), "BODY=BINARYMIME is not offered here; use 8BITMIME and encode binary parts as base64")),
        _ => Err(wrong_value("BODY", "7BIT or 8BITMIME")),
    }
}

/// RFC 3461 §4.3.
fn ret(value: &str) -> Result<Ret, Refusal> {
    match value.to_ascii_uppercase().as_str() {
        "FULL" => Ok(Ret::Full),
        "HDRS" => Ok(Ret::Headers),
        _ => Err(wrong_value("RET", "FULL or HDRS")),
    }
}

/// RFC 3461 §4.4.
fn envid(value: &str) -> Result<String, Refusal> {
    let decoded = if value.len() <= ENVID_OCTETS_MAX { xtext(value) } else { None };
    decoded.ok_or_else(|| wrong_value("ENVID", "at most 100 characters of xtext"))
}

/// RFC 4954 §5. Who the next hop should believe it came from is nothing we pass on: it is read and forgotten.
fn submitter(value: &str) -> Result<(), Refusal> {
    let well_formed = value == "<>" || xtext(value).is_some_and(|decoded| Mailbox::parse(&decoded).is_ok());
    if well_formed { Ok(()) } else { Err(wrong_value("AUTH", "<> or an address as xtext")) }
}

/// RFC 3461 §4.1.
fn notify(value: &str) -> Result<Notify, Refusal> {
    let wrong = || wrong_value("NOTIFY", "NEVER, or a list of SUCCESS, FAILURE, DELAY");
    if value.eq_ignore_ascii_case("NEVER") {
        return Ok(Notify::Never);
    }
    let (mut success, mut failure, mut delay) = (false, false, false);
    for word in value.split(',') {
        let event = match word.to_ascii_uppercase().as_str() {
            "SUCCESS" => &mut success,
            "FAILURE" => &mut failure,
            "DELAY" => &mut delay,
            _ => return Err(wrong()),
        };
        if std::mem::replace(event, true) {
            return Err(wrong());
        }
    }
    Ok(Notify::On { success, failure, delay })
}

/// RFC 3461 §4.2; `utf-8` addresses as in RFC 6533 §3.
fn original_recipient(value: &str) -> Result<OriginalRecipient, Refusal> {
    let wrong = || wrong_value("ORCPT", "rfc822;address as xtext, or utf-8;address");
    let (address_type, encoded) = value.split_once(';').ok_or_else(wrong)?;
    let is_atom = !address_type.is_empty() && address_type.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !is_atom || value.len() > ORCPT_OCTETS_MAX {
        return Err(wrong());
    }
    let address = if address_type.eq_ignore_ascii_case("utf-8") { utf8_address(encoded) } else { xtext(encoded) };
    let address = address.filter(|address| !address.is_empty()).ok_or_else(wrong)?;
    Ok(OriginalRecipient { address_type: address_type.to_ascii_lowercase(), address })
}

/// xtext (RFC 3461 §4): printable ASCII, any character as `+` and two capital hexadecimal digits; it decodes to printable ASCII.
fn xtext(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut octets = text.bytes();
    while let Some(octet) = octets.next() {
        let meant = match octet {
            b'+' => hex(octets.next()?)? << 4 | hex(octets.next()?)?,
            b'!'..=b'~' if octet != b'=' => octet,
            _ => return None,
        };
        decoded.push(Some(char::from(meant)).filter(|c| (' '..='~').contains(c))?);
    }
    Some(decoded)
}

const fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// `utf-8-addr-xtext` and `utf-8-addr-unitext` (RFC 6533 §3): any character as `\x{HEX}`; `+`, `=` and `\` only so.
fn utf8_address(text: &str) -> Option<String> {
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (meant, used) = match c {
            '\\' => embedded_character(rest)?,
            '+' | '=' | ' ' => return None,
            c => (c, c.len_utf8()),
        };
        decoded.push(Some(meant).filter(|c| !c.is_control())?);
        rest = &rest[used..];
    }
    Some(decoded)
}

/// `\x{5F62}` and its length.
fn embedded_character(text: &str) -> Option<(char, usize)> {
    let (digits, _) = text.strip_prefix("\\x{")?.split_once('}')?;
    let valid = (2..=6).contains(&digits.len()) && digits.bytes().all(|b| hex(b).is_some());
    let number = u32::from_str_radix(digits, 16).ok().filter(|_| valid)?;
    Some((char::from_u32(number)?, digits.len() + 4))
}

fn unknown_parameter(keyword: &str) -> Refusal {
    syntax(555, (5, 5, 4), format!("the parameter {keyword} is not supported here"))
}

fn wrong_value(keyword: &str, expected: &str) -> Refusal {
    argument(format!("the value of {keyword} is wrong; expected {expected}"))
}

fn argument(text: impl Into<String>) -> Refusal {
    syntax(501, (5, 5, 4), text)
}

fn syntax(code: u16, (class, subject, detail): (u8, u16, u16), text: impl Into<String>) -> Refusal {
    Refusal::submitter(code, EnhancedCode::new(class, subject, detail), text)
}

const fn fatal(refusal: Refusal) -> Malformed {
    Malformed { refusal, fatal: true }
}

/// RFC 4954 §4: lines of an authentication exchange.
pub const AUTH_LINE_OCTETS_MAX: usize = 12_288;
/// RFC 5321 §4.5.3.1.3, without the brackets.
const PATH_OCTETS_MAX: usize = 254;
/// RFC 5321 §4.5.3.1.2.
const GREETING_OCTETS_MAX: usize = 255;
/// RFC 3461 §4.4.
const ENVID_OCTETS_MAX: usize = 100;
/// RFC 3461 §4.2.
const ORCPT_OCTETS_MAX: usize = 500;
/// ` SIZE=` and 20 digits (RFC 1870 §3).
const SIZE_OCTETS: usize = 26;
/// ` BODY=BINARYMIME` and one (RFC 6152 §2).
const BODY_OCTETS: usize = 17;
/// ` SMTPUTF8` and one (RFC 6531 §3.1).
const SMTPUTF8_OCTETS: usize = 10;
/// RFC 4954 §3.
const AUTH_PARAMETER_OCTETS: usize = 500;
/// ` RET=FULL` and ` ENVID=` with its value (RFC 3461 §4.3, §4.4).
const MAIL_DSN_OCTETS: usize = 9 + 7 + ENVID_OCTETS_MAX;
/// ` NOTIFY=SUCCESS,FAILURE,DELAY` and ` ORCPT=` with its value (RFC 3461 §4.1, §4.2).
const RCPT_DSN_OCTETS: usize = 29 + 7 + ORCPT_OCTETS_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Command, String> {
        Command::parse(line.as_bytes()).map_err(|malformed| malformed.refusal.to_string())
    }

    fn mail(line: &str) -> Mail {
        match parse(line) {
            Ok(Command::Mail(mail)) => *mail,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn rcpt(line: &str) -> Rcpt {
        match parse(line) {
            Ok(Command::Rcpt(rcpt)) => *rcpt,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn reads_paths_by_meaning() {
        for (line, path) in [
            ("MAIL FROM:<>", "<>"),
            ("mail from: <a@x.example> ", "<a@x.example>"),
            ("MAIL FROM:<@a.example,@b.example:u@x.example>", "<u@x.example>"),
            ("MAIL FROM:<\"a> SIZE=1\"@x.example>", "<\"a> SIZE=1\"@x.example>"),
            ("MAIL FROM:<\"a\\\">\"@x.example>", "<\"a\\\">\"@x.example>"),
            ("MAIL FROM:<a@[IPv6:2001:db8::1]>", "<a@[IPv6:2001:db8::1]>"),
        ] {
            assert_eq!(mail(line).reverse_path.to_string(), path);
        }
        assert_eq!(rcpt("RCPT TO:<postMASTER>").forward_path, ForwardPath::Postmaster);
        assert_eq!(rcpt("RCPT TO:<用户@例子.example>").forward_path.to_string(), "<用户@xn--fsqu00a.example>");
        assert!(rcpt("RCPT TO:<a@例子.example>").needs_smtputf8);
    }

    #[test]
    fn reads_every_parameter() {
        let found = mail("MAIL FROM:<a@x.example> size=20 BODY=8bitmime SMTPUTF8 RET=HDRS ENVID=a+2Bb+20c AUTH=<>");
        assert_eq!((found.size, found.body, found.smtputf8, found.ret), (Some(20), BodyType::EightBitMime, true, Some(Ret::Headers)));
        assert_eq!(found.envid.as_deref(), Some("a+b c"));
        let found = rcpt("RCPT TO:<a@x.example> NOTIFY=SUCCESS,delay ORCPT=rfc822;a+2Bb@x.example");
        assert_eq!(found.notify, Notify::On { success: true, failure: false, delay: true });
        assert_eq!(found.orcpt.unwrap().address, "a+b@x.example");
        let found = rcpt("RCPT TO:<a@x.example> ORCPT=utf-8;\\x{7528}b\\x{2B}@x.example").orcpt.unwrap();
        assert_eq!((found.address_type.as_str(), found.address.as_str()), ("utf-8", "用b+@x.example"));
    }

    #[test]
    fn refuses_what_is_no_command() {
        for (line, reply) in [
            ("", "500 5.5.1"),
            ("FOO", "500 5.5.1"),
            ("GET / HTTP/1.1", "500 5.5.1"),
            ("NOOP \0", "500 5.5.2"),
            ("MAIL FROM:<a\t@x.example>", "500 5.5.2"),
            ("MAIL FROM:<a@x.example>\u{85}", "500 5.5.2"),
            ("EHLO", "501 5.5.4"),
            ("EHLO a b", "501 5.5.4"),
            ("DATA now", "501 5.5.4"),
            ("VRFY", "501 5.5.4"),
            ("STARTTLS x", "501 5.5.4"),
            ("MAIL", "501 5.5.4"),
            ("MAIL FROM:a@x.example", "501 5.5.4"),
            ("MAIL FROM:<a@x.example", "501 5.5.4"),
            ("MAIL FROM:<a@x.example>SIZE=1", "501 5.5.4"),
            ("MAIL FROM:<a@x.example>>", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> SIZE=1 SIZE=2", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> SIZE=-1", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> SIZE", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> SIZE=99999999999999999999", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> SMTPUTF8=1", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> BODY=9BIT", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> BODY=BINARYMIME", "555 5.5.4"),
            ("MAIL FROM:<a@x.example> FOO=1", "555 5.5.4"),
            ("MAIL FROM:<a@x.example> ENVID=a+2", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> ENVID=a+0Ab", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> AUTH=x", "501 5.5.4"),
            ("MAIL FROM:<a@x.example> RET=ALL", "501 5.5.4"),
            ("MAIL FROM:<ä@x.example>", "553 5.6.7"),
            ("MAIL FROM:<a@x.example> AUTH=ä@x.example", "501 5.5.4"),
            ("MAIL FROM:<a>", "501 5.1.7"),
            ("MAIL FROM:<@a.example u@x.example>", "501 5.1.7"),
            ("MAIL FROM:<@a.example,b.example:u@x.example>", "501 5.1.7"),
            ("RCPT TO:<>", "501 5.1.3"),
            ("RCPT TO:<a b@x.example>", "501 5.1.3"),
            ("RCPT TO:<a@x.example> NOTIFY=NEVER,SUCCESS", "501 5.5.4"),
            ("RCPT TO:<a@x.example> NOTIFY=DELAY,DELAY", "501 5.5.4"),
            ("RCPT TO:<a@x.example> ORCPT=a@x.example", "501 5.5.4"),
            ("RCPT TO:<a@x.example> ORCPT=rfc822;", "501 5.5.4"),
            ("RCPT TO:<a@x.example> ORCPT=utf-8;\\x{D800}@x.example", "501 5.5.4"),
            ("RCPT TO:<a@x.example> SIZE=1", "555 5.5.4"),
            ("AUTH", "501 5.5.4"),
            ("AUTH PLAIN ***", "501 5.5.2"),
            ("AUTH PLAIN AGE= x", "501 5.5.2"),
            ("BDAT", "501 5.5.4"),
            ("BDAT +1", "501 5.5.4"),
            ("BDAT 1 FIRST", "501 5.5.4"),
        ] {
            let found = parse(line).expect_err(line);
            assert!(found.starts_with(reply), "{line}: {found}");
        }
        assert_eq!(Command::parse(b"NOOP \xff").unwrap_err().refusal.code, 500);
    }

    #[test]
    fn a_length_that_cannot_be_read_ends_the_connection() {
        assert!(Command::parse(b"BDAT x").unwrap_err().fatal && Command::parse(b"POST / HTTP/1.1").unwrap_err().fatal);
        assert!(!Command::parse(b"MAIL x").unwrap_err().fatal);
        assert_eq!(parse("bdat 18446744073709551615 last"), Ok(Command::Bdat { octets: u64::MAX, last: true }));
        assert!(parse("BDAT 18446744073709551616").is_err());
    }

    #[test]
    fn lines_have_the_length_their_extensions_allow() {
        assert_eq!(line_octets_max(b"mail FROM:<>", 512), 1181);
        assert_eq!(line_octets_max(b"RCPT TO:<>", 512), 1048);
        assert_eq!(line_octets_max(b"NOOP", 512), 512);
        assert_eq!(line_octets_max(b"AUTH PLAIN", 512), 12_288);
    }
}
