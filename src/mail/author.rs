//! Address lists of header fields (RFC 5322 §3.4, RFC 6532, RFC 6854), read strictly, and the one author of a message.
//!
//! Whom a reader takes for the author must not depend on the reader. So nothing is decoded or guessed here, and what two parsers may
//! read in two ways is no address: groups, source routes, comments or gaps inside an address, encoded words in it, stray `@`, `<` or `,`.
//! Of mail that others wrote a little more is taken, as every reader takes it in one way: see [`foreign_author`].

use super::{AddressError, EnhancedCode, Headers, Mailbox, Refusal};
use std::borrow::Cow;
use std::iter::Peekable;
use std::slice::Iter;

/// One mailbox of an address list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The words before the angle bracket: quotes and folding removed, encoded words (RFC 2047) as they stand.
    pub display_name: Option<String>,
    /// The address.
    pub mailbox: Mailbox,
}

/// Why a value is no list of addresses, or names no single author.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthorFault {
    /// No From field.
    #[error("the message has no From field; send exactly one, with one address")]
    Missing,
    /// More than one From field (RFC 5322 §3.6).
    #[error("the message has {0} From fields; send exactly one")]
    SeveralFields(usize),
    /// From names more than one mailbox.
    #[error("the From field holds {0} addresses; send exactly one")]
    SeveralAddresses(usize),
    /// A list with nothing in it.
    #[error("there is no address where one was expected; write user@example.com or Name <user@example.com>")]
    Empty,
    /// A group (RFC 6854) where mailboxes are expected.
    #[error("a group is not allowed; write user@example.com or Name <user@example.com>")]
    Group,
    /// Something that is neither a word nor where it may stand.
    #[error("\"{found}\" is not allowed here: {why}; write user@example.com or Name <user@example.com>")]
    Syntax {
        /// What was found, at most 60 characters.
        found: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The address itself is wrong.
    #[error(transparent)]
    Address(#[from] AddressError),
}

/// The author: the one address of the one From field.
///
/// # Errors
/// None or several of either, or a field that is no list of addresses.
pub fn author(headers: &Headers<'_>) -> Result<Address, AuthorFault> {
    only(headers, Reading::Strict)
}

/// As [`author`], of mail that somebody else wrote and that passes through: anything but a comma or colon may stand before an address
/// in angle brackets (`a@x.example <a@x.example>` is common), and places of the list may be empty (RFC 5322 §4.4).
///
/// # Errors
/// None or several of either, or a field that is no list of addresses even so.
pub fn foreign_author(headers: &Headers<'_>) -> Result<Address, AuthorFault> {
    only(headers, Reading::Foreign)
}

/// The mailboxes of a From, Sender, Reply-To, To or Cc value, folding and closing CR LF included. Never empty.
///
/// # Errors
/// Anything but a `mailbox-list` (RFC 5322 §3.4) without its obsolete forms, except that a dot may stand unquoted in a display name,
/// as everybody writes it.
pub fn addresses(value: &[u8]) -> Result<Vec<Address>, AuthorFault> {
    list(value, Reading::Strict)
}

/// Whether an encoded word stands within an address of this value, where it is none (RFC 2047 §5): some readers decode it all the same.
/// Groups are looked into; what cannot be read is not.
#[must_use]
pub fn has_encoded_address(value: &[u8]) -> bool {
    let text = String::from_utf8_lossy(value);
    let Ok(text) = unfold(&text) else { return false };
    let (mut in_angle, mut after_one) = (false, false);
    for token in Tokens::of(&text).map_while(Result::ok) {
        let is_one = token.kind == Kind::Atom && holds_encoded_word(&text[token.at.clone()]);
        match token.kind {
            Kind::Special('<') => in_angle = true,
            Kind::Special('>') => in_angle = false,
            Kind::Special('@') if after_one => return true,
            _ if in_angle && is_one => return true,
            _ => {}
        }
        after_one = is_one;
    }
    false
}

impl AuthorFault {
    /// The answer to a client whose message names no single author.
    #[must_use]
    pub fn refusal(&self) -> Refusal {
        let text = match self {
            Self::Missing | Self::SeveralFields(_) | Self::SeveralAddresses(_) => self.to_string(),
            Self::Empty | Self::Group | Self::Syntax { .. } | Self::Address(_) => format!("the From field cannot be read: {self}"),
        };
        Refusal::submitter(550, EnhancedCode::new(5, 6, 0), text)
    }
}

/// How much is taken for an address.
#[derive(Clone, Copy, PartialEq)]
enum Reading {
    Strict,
    Foreign,
}

fn only(headers: &Headers<'_>, reading: Reading) -> Result<Address, AuthorFault> {
    let fields: Vec<_> = headers.named("From").collect();
    let [field] = fields[..] else {
        return Err(if fields.is_empty() { AuthorFault::Missing } else { AuthorFault::SeveralFields(fields.len()) });
    };
    let mut found = list(field.value, reading)?;
    match (found.pop(), found.len()) {
        (Some(author), 0) => Ok(author),
        (_, others) => Err(AuthorFault::SeveralAddresses(others + 1)),
    }
}

fn list(value: &[u8], reading: Reading) -> Result<Vec<Address>, AuthorFault> {
    let text = String::from_utf8(value.to_vec()).map_err(|_| syntax(&String::from_utf8_lossy(value), "it is not UTF-8"))?;
    let text = unfold(&text)?;
    let tokens = Tokens::of(&text).collect::<Result<Vec<_>, _>>()?;
    let mut tokens = tokens.iter().peekable();
    let mut list = Vec::new();
    loop {
        match mailbox(&mut tokens, &text, reading) {
            Err(AuthorFault::Empty) if reading == Reading::Foreign => {}
            found => list.push(found?),
        }
        match tokens.next() {
            None if list.is_empty() => return Err(AuthorFault::Empty),
            None => return Ok(list),
            Some(Token { kind: Kind::Special(','), .. }) => {}
            Some(other) => return Err(other.fault(&text)),
        }
    }
}

/// What of a line is one thing to the grammar.
struct Token {
    kind: Kind,
    /// Where it stands in the text.
    at: std::ops::Range<usize>,
    /// What stood before it.
    gap: Gap,
}

#[derive(PartialEq)]
enum Kind {
    /// Letters, digits, the signs of `atext`, dots, UTF-8.
    Atom,
    /// A quoted string, by its meaning.
    Quoted(String),
    /// `[…]`.
    Literal,
    /// One of `<>@,:;`.
    Special(char),
}

#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Gap {
    None,
    Space,
    Comment,
}

/// `name-addr` or `addr-spec`.
fn mailbox(tokens: &mut Peekable<Iter<'_, Token>>, text: &str, reading: Reading) -> Result<Address, AuthorFault> {
    let any_name = reading == Reading::Foreign && is_named(tokens.clone());
    let mut words = Vec::new();
    while let Some(word) = tokens.next_if(|token| token.is_word() || any_name && token.kind != Kind::Special('<')) {
        words.push(word);
    }
    match tokens.next_if(|token| !matches!(token.kind, Kind::Special(','))) {
        None if words.is_empty() => Err(AuthorFault::Empty),
        None => Err(syntax(&text[words[0].at.start..], "it has no \"@\"")),
        Some(Token { kind: Kind::Special('<'), .. }) => {
            let display_name = (!words.is_empty()).then(|| phrase(&words, text));
            let local = tokens.next().ok_or_else(|| syntax(text, "the angle bracket is not closed"))?;
            let at = tokens.next().ok_or_else(|| syntax(text, "the angle bracket is not closed"))?;
            let mailbox = addr_spec(local, at, tokens.next(), text)?;
            match tokens.next() {
                Some(Token { kind: Kind::Special('>'), gap, .. }) if local.gap <= Gap::Space && *gap <= Gap::Space => Ok(Address { display_name, mailbox }),
                Some(other) => Err(other.fault(text)),
                None => Err(syntax(text, "the angle bracket is not closed")),
            }
        }
        Some(at @ Token { kind: Kind::Special('@'), .. }) => match &words[..] {
            [local] => Ok(Address { display_name: None, mailbox: addr_spec(local, at, tokens.next(), text)? }),
            _ => Err(syntax(&text[at.at.start..], "an address with a name before it must stand in angle brackets")),
        },
        Some(Token { kind: Kind::Special(':'), .. }) => Err(AuthorFault::Group),
        Some(other) => Err(other.fault(text)),
    }
}

/// Whether the next thing that is no name is an address in angle brackets.
fn is_named(mut tokens: Peekable<Iter<'_, Token>>) -> bool {
    let in_names = |token: &&Token| token.is_word() || matches!(token.kind, Kind::Literal | Kind::Special('@'));
    tokens.find(|token| !in_names(token)).is_some_and(|token| token.kind == Kind::Special('<'))
}

/// `local-part "@" domain` with nothing between the three (RFC 5322 §3.4.1 says SHOULD NOT, readers disagree: here it is an error).
fn addr_spec(local: &Token, at: &Token, domain: Option<&Token>, text: &str) -> Result<Mailbox, AuthorFault> {
    if at.kind != Kind::Special('@') {
        return Err(at.fault(text));
    }
    let domain = domain.ok_or_else(|| syntax(&text[local.at.start..], "nothing follows the \"@\""))?;
    if !matches!(local.kind, Kind::Atom | Kind::Quoted(_)) {
        return Err(local.fault(text));
    }
    if !matches!(domain.kind, Kind::Atom | Kind::Literal) {
        return Err(domain.fault(text));
    }
    let spec = &text[local.at.start..domain.at.end];
    if at.gap != Gap::None || domain.gap != Gap::None {
        return Err(syntax(spec, "an address holds no space and no comment"));
    }
    if holds_encoded_word(spec) {
        return Err(syntax(spec, "an encoded word is no address"));
    }
    Ok(Mailbox::parse(spec)?)
}

/// The words of a display name with one space where there was a gap.
fn phrase(words: &[&Token], text: &str) -> String {
    let mut name = String::new();
    for (index, word) in words.iter().enumerate() {
        if index > 0 && word.gap != Gap::None {
            name.push(' ');
        }
        match &word.kind {
            Kind::Quoted(meaning) => name.push_str(meaning),
            _ => name.push_str(&text[word.at.clone()]),
        }
    }
    name
}

/// A value cut into tokens; it ends with the first that cannot be read.
struct Tokens<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Tokens<'a> {
    const fn of(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    /// What stands before the next token: white space and comments.
    fn gap(&mut self) -> Result<Gap, AuthorFault> {
        let mut gap = Gap::None;
        loop {
            let rest = &self.text[self.at..];
            match rest.bytes().next() {
                Some(b' ' | b'\t') => {
                    gap = if gap == Gap::None { Gap::Space } else { gap };
                    self.at += 1;
                }
                Some(b'(') => {
                    gap = Gap::Comment;
                    self.at += comment(rest)?;
                }
                _ => return Ok(gap),
            }
        }
    }

    fn token(&mut self) -> Result<Option<Token>, AuthorFault> {
        let gap = self.gap()?;
        let rest = &self.text[self.at..];
        let Some(c) = rest.chars().next() else { return Ok(None) };
        let (kind, length) = match c {
            '"' => quoted(rest)?,
            '[' => (Kind::Literal, rest.find(']').ok_or_else(|| syntax(rest, "the square bracket is not closed"))? + 1),
            '<' | '>' | '@' | ',' | ':' | ';' => (Kind::Special(c), 1),
            c if is_atom(c) => (Kind::Atom, rest.find(|c| !is_atom(c)).unwrap_or(rest.len())),
            _ => return Err(syntax(rest, "this character must be quoted")),
        };
        let at = self.at..self.at + length;
        self.at = at.end;
        Ok(Some(Token { kind, at, gap }))
    }
}

impl Iterator for Tokens<'_> {
    type Item = Result<Token, AuthorFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let token = self.token().transpose();
        if matches!(token, Some(Err(_))) {
            self.at = self.text.len();
        }
        token
    }
}

/// `atext` (RFC 5322 §3.2.3, RFC 6532 §3.2) and the dot.
fn is_atom(c: char) -> bool {
    c.is_ascii_alphanumeric() || ".!#$%&'*+-/=?^_`{|}~".contains(c) || (!c.is_ascii() && !c.is_control())
}

/// More than RFC 2047 §2 calls one: no address needs to look like that.
fn holds_encoded_word(text: &str) -> bool {
    text.split_once("=?").is_some_and(|(_, rest)| rest.contains("?="))
}

/// The meaning of the quoted string at the beginning of `text`, and its octets with the quotes.
fn quoted(text: &str) -> Result<(Kind, usize), AuthorFault> {
    let mut meaning = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((Kind::Quoted(meaning), at + 1)),
            '\\' => meaning.extend(chars.next().map(|(_, c)| c)),
            c => meaning.push(c),
        }
    }
    Err(syntax(text, "the quote is not closed"))
}

/// The octets of the comment at the beginning of `text`, comments inside it included.
fn comment(text: &str) -> Result<usize, AuthorFault> {
    let mut depth = 0usize;
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '(' => depth += 1,
            ')' if depth == 1 => return Ok(at + 1),
            ')' => depth -= 1,
            _ => {}
        }
    }
    Err(syntax(text, "the comment is not closed"))
}

/// RFC 5322 §2.2.3. A line end that folds nothing, or any other control character, is an error.
fn unfold(value: &str) -> Result<Cow<'_, str>, AuthorFault> {
    let value = value.strip_suffix("\r\n").unwrap_or(value);
    let text: Cow<'_, str> = if value.contains('\r') { value.replace("\r\n ", " ").replace("\r\n\t", "\t").into() } else { value.into() };
    match text.find(|c: char| c.is_control() && c != '\t') {
        Some(at) => Err(syntax(&text[at..], "it begins with a control character")),
        None => Ok(text),
    }
}

impl Token {
    const fn is_word(&self) -> bool {
        matches!(self.kind, Kind::Atom | Kind::Quoted(_))
    }

    fn fault(&self, text: &str) -> AuthorFault {
        match self.kind {
            Kind::Special(':') => AuthorFault::Group,
            Kind::Special('@') => syntax(&text[self.at.start..], "the \"@\" is out of place"),
            _ => syntax(&text[self.at.start..], "it is out of place"),
        }
    }
}

fn syntax(found: &str, why: &'static str) -> AuthorFault {
    AuthorFault::Syntax { found: found.chars().take(FOUND_CHARACTERS_MAX).map(|c| if c.is_control() { '?' } else { c }).collect(), why }
}

/// How much of a faulty value an error shows.
const FOUND_CHARACTERS_MAX: usize = 60;
