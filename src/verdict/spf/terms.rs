//! One term of a record (RFC 7208 §12): a directive or a modifier, and what to say where it is neither.

use super::fault::Why;
use super::macros::{MacroString, Place};
use super::{Mechanism, Prefixes, Qualifier, TermKind};
use ipnet::{Ipv4Net, Ipv6Net};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads one term.
pub(super) fn term(word: &str) -> Result<TermKind, Why> {
    match modifier_name(word) {
        Some(name) => modifier(name, &word[name.len() + 1..]),
        None => directive(word),
    }
}

/// Whether a mechanism has this name.
pub(super) fn is_mechanism(name: &str) -> bool {
    MECHANISMS.iter().any(|mechanism| mechanism.eq_ignore_ascii_case(name))
}

/// A term as a message quotes it.
pub(super) fn shown(word: &str) -> String {
    let mut text: String = word.chars().take(TERM_CHARACTERS_SHOWN).collect();
    if text.len() < word.len() {
        text.push('…');
    }
    text
}

/// The name of a modifier: it stands in front of an `=`, before any other sign (RFC 7208 §4.6.1).
fn modifier_name(word: &str) -> Option<&str> {
    let (name, _) = word.split_once('=')?;
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    fits.then_some(name)
}

fn modifier(name: &str, value: &str) -> Result<TermKind, Why> {
    match name.to_ascii_lowercase().as_str() {
        "redirect" => Ok(TermKind::Redirect(domain("redirect=", value)?)),
        "exp" => Ok(TermKind::Explanation(domain("exp=", value)?)),
        _ => {
            MacroString::read(value, Place::Modifier)?;
            Ok(TermKind::Unknown { name: name.to_owned(), value: value.to_owned() })
        }
    }
}

fn directive(word: &str) -> Result<TermKind, Why> {
    let (qualifier, rest) = qualifier(word);
    let (name, argument) = rest.split_at(rest.find([':', '/']).unwrap_or(rest.len()));
    let mechanism = match name.to_ascii_lowercase().as_str() {
        "all" if argument.is_empty() => Mechanism::All,
        "all" => return Err(Why::NoArgument { mechanism: "all", found: argument.to_owned() }),
        "include" => Mechanism::Include(domain("include:", after_colon("include:", argument)?)?),
        "exists" => Mechanism::Exists(domain("exists:", after_colon("exists:", argument)?)?),
        "a" => {
            let (domain, prefixes) = host("a:", argument)?;
            Mechanism::A(domain, prefixes)
        }
        "mx" => {
            let (domain, prefixes) = host("mx:", argument)?;
            Mechanism::Mx(domain, prefixes)
        }
        "ptr" if argument.is_empty() => Mechanism::Ptr(None),
        "ptr" => Mechanism::Ptr(Some(domain("ptr:", after_colon("ptr:", argument)?)?)),
        "ip4" => Mechanism::Ip4(ip4(argument)?),
        "ip6" => Mechanism::Ip6(ip6(argument)?),
        _ => return Err(unknown(word, qualifier, name, argument)),
    };
    Ok(TermKind::Directive(qualifier.unwrap_or(Qualifier::Pass), mechanism))
}

/// The qualifier that is written, and the rest.
fn qualifier(word: &str) -> (Option<Qualifier>, &str) {
    let qualifier = match word.as_bytes().first() {
        Some(b'+') => Qualifier::Pass,
        Some(b'-') => Qualifier::Fail,
        Some(b'~') => Qualifier::SoftFail,
        Some(b'?') => Qualifier::Neutral,
        _ => return (None, word),
    };
    (Some(qualifier), &word[1..])
}

/// What follows the colon; `name` ends in it.
fn after_colon<'a>(name: &'static str, argument: &'a str) -> Result<&'a str, Why> {
    match argument.strip_prefix(':') {
        Some(value) => Ok(value),
        None if argument.is_empty() => Err(Why::DomainMissing(name)),
        None => Err(Why::NoArgument { mechanism: name.trim_end_matches(':'), found: argument.to_owned() }),
    }
}

/// A domain; `name` is what stands in front of it.
fn domain(name: &'static str, value: &str) -> Result<MacroString, Why> {
    if value.is_empty() {
        return Err(Why::DomainMissing(name));
    }
    MacroString::read(value, Place::Domain).map_err(|why| match why {
        Why::DomainEnd(_) => second_term(value).map_or(why, Why::SpaceMissing),
        other => other,
    })
}

/// An optional domain and optional prefix lengths.
fn host(name: &'static str, argument: &str) -> Result<(Option<MacroString>, Prefixes), Why> {
    let (rest, v6) = prefix(argument, "//", 128)?;
    let (rest, v4) = prefix(rest, "/", 32)?;
    let prefixes = Prefixes { v4: v4.unwrap_or(32), v6: v6.unwrap_or(128) };
    if rest.is_empty() {
        return Ok((None, prefixes));
    }
    Ok((Some(domain(name, after_colon(name, rest)?)?), prefixes))
}

/// Cuts a prefix length off the end, where one stands there behind `slashes`.
fn prefix<'a>(argument: &'a str, slashes: &str, bits_max: u8) -> Result<(&'a str, Option<u8>), Why> {
    let bare = argument.trim_end_matches(|c: char| c.is_ascii_digit());
    let digits = &argument[bare.len()..];
    match bare.strip_suffix(slashes) {
        Some(rest) if !digits.is_empty() => Ok((rest, Some(bits(digits, bits_max)?))),
        // "a:example.com/" and "a/": a slash with nothing behind it
        Some(_) if slashes == "/" => Err(Why::Prefix { found: String::new(), bits_max }),
        _ => Ok((argument, None)),
    }
}

/// RFC 7208 §12: no leading zeros.
fn bits(digits: &str, bits_max: u8) -> Result<u8, Why> {
    let fault = || Why::Prefix { found: digits.to_owned(), bits_max };
    if digits.len() > 1 && digits.starts_with('0') || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(fault());
    }
    digits.parse().ok().filter(|bits| *bits <= bits_max).ok_or_else(fault)
}

fn ip4(argument: &str) -> Result<Ipv4Net, Why> {
    let (address, prefix) = network(argument, 32)?;
    let address = address.parse::<Ipv4Addr>().map_err(|_| no_network("ip4", argument))?;
    Ipv4Net::new(address, prefix).map_err(|_| no_network("ip4", argument))
}

fn ip6(argument: &str) -> Result<Ipv6Net, Why> {
    let (address, prefix) = network(argument, 128)?;
    let address = address.parse::<Ipv6Addr>().map_err(|_| no_network("ip6", argument))?;
    Ipv6Net::new(address, prefix).map_err(|_| no_network("ip6", argument))
}

/// `:` address, and a prefix length or all bits.
fn network(argument: &str, bits_max: u8) -> Result<(&str, u8), Why> {
    let value = argument.strip_prefix(':').unwrap_or_default();
    match value.split_once('/') {
        Some((address, digits)) => match second_term(digits) {
            Some(second) => Err(Why::SpaceMissing(second)),
            None => Ok((address, bits(digits, bits_max)?)),
        },
        None => Ok((value, bits_max)),
    }
}

/// What to say of an argument of `ip4` or `ip6` that is no network.
fn no_network(mechanism: &'static str, argument: &str) -> Why {
    let found = argument.strip_prefix(':').unwrap_or(argument).to_owned();
    if let Some(second) = second_term(&found) {
        return Why::SpaceMissing(second);
    }
    let bare = found.split('/').next().unwrap_or_default().trim_matches(|c| c == '[' || c == ']');
    let other = if mechanism == "ip4" { "ip6" } else { "ip4" };
    let hint = match bare.parse::<IpAddr>() {
        Ok(address) if address.is_ipv4() == (mechanism == "ip4") => Some(format!("{mechanism}:{}", found.replace(['[', ']'], ""))),
        Ok(_) => Some(format!("{other}:{}", found.replace(['[', ']'], ""))),
        Err(_) if found.contains([',', ';']) => {
            let each: Vec<String> = found.split([',', ';']).filter(|part| !part.is_empty()).map(|part| format!("{mechanism}:{part}")).collect();
            Some(each.join(" "))
        }
        Err(_) if found.contains(|c: char| c.is_ascii_alphabetic()) && !found.contains(':') => Some(format!("a:{found}")),
        Err(_) => without_leading_zeros(bare, &found).map(|text| format!("{mechanism}:{text}")),
    };
    Why::Network { mechanism, found, hint }
}

/// `192.0.02.1` as `192.0.2.1`.
fn without_leading_zeros(bare: &str, found: &str) -> Option<String> {
    let octets: Option<Vec<String>> = bare.split('.').map(|octet| octet.parse::<u8>().ok().map(|octet| octet.to_string())).collect();
    let address = octets?.join(".").parse::<Ipv4Addr>().ok()?;
    Some(found.replacen(bare, &address.to_string(), 1))
}

/// A further term inside of one, where a space was forgotten: `include:`, `ip4:`, `-all` …
pub(super) fn second_term(value: &str) -> Option<String> {
    let lower = value.to_ascii_lowercase();
    let starts = SECOND_TERMS
        .iter()
        .filter_map(|start| lower.find(start))
        .chain(ALL_AT_END.iter().filter(|end| lower.ends_with(*end)).map(|end| lower.len() - end.len()));
    let at = starts.filter(|at| *at > 0).min()?;
    // A qualifier belongs to it.
    let at = if value[..at].ends_with(['+', '-', '~', '?']) { at - 1 } else { at };
    (at > 0).then(|| shown(&value[at..]))
}

/// What to say of a word that is no mechanism.
fn unknown(word: &str, qualifier: Option<Qualifier>, name: &str, argument: &str) -> Why {
    if let Some(odd) = word.chars().find(|c| !('!'..='~').contains(c)) {
        return Why::Character(odd);
    }
    let sign = qualifier.map(|qualifier| qualifier.to_string()).unwrap_or_default();
    // A value that lost its mechanism, by a space behind the colon or by forgetting it.
    let whole = format!("{name}{argument}");
    if let Ok(address) = whole.split('/').next().unwrap_or_default().parse::<IpAddr>() {
        let mechanism = if address.is_ipv4() { "ip4" } else { "ip6" };
        return Why::UnknownMechanism { name: shown(&whole), meant: Some(format!("{sign}{mechanism}:{whole}")) };
    }
    if let Some(second) = second_term(&whole) {
        return Why::SpaceMissing(second);
    }
    let lower = name.to_ascii_lowercase();
    let meant = match MISTAKES.iter().find(|(mistake, _)| *mistake == lower) {
        Some((_, meant)) => Some(*meant),
        None => MECHANISMS.iter().find(|known| lower.len() > 1 && is_slip(&lower, known)).copied(),
    };
    let meant = meant.map(|meant| match meant.split_once('=') {
        Some((modifier, _)) => format!("{modifier}={}", argument.trim_start_matches(':')),
        None if meant == "all" => format!("{sign}all"),
        None => format!("{sign}{meant}{argument}"),
    });
    Why::UnknownMechanism { name: shown(name), meant }
}

/// One letter too many, too few or wrong, or two that changed places.
fn is_slip(typed: &str, known: &str) -> bool {
    let (a, b) = (typed.as_bytes(), known.as_bytes());
    let same_ahead = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[same_ahead..], &b[same_ahead..]);
    match (a, b) {
        ([_, rest @ ..], _) if rest == b => true,
        (_, [_, rest @ ..]) if rest == a => true,
        ([_, a @ ..], [_, b @ ..]) if a == b => true,
        ([a1, a2, a @ ..], [b1, b2, b @ ..]) => a1 == b2 && a2 == b1 && a == b,
        _ => false,
    }
}

/// RFC 7208 §5.
const MECHANISMS: [&str; 8] = ["all", "include", "a", "mx", "ptr", "ip4", "ip6", "exists"];
/// What people write, and what they mean.
const MISTAKES: [(&str, &str); 12] = [
    ("ipv4", "ip4"),
    ("ipv6", "ip6"),
    ("ip", "ip4"),
    ("ip-4", "ip4"),
    ("ip-6", "ip6"),
    ("inc", "include"),
    ("includes", "include"),
    ("exist", "exists"),
    ("host", "a"),
    ("any", "all"),
    ("redirect", "redirect="),
    ("exp", "exp="),
];
/// What begins a term and stands inside of none.
const SECOND_TERMS: [&str; 5] = ["include:", "ip4:", "ip6:", "exists:", "redirect="];
/// With its qualifier: "small.example" ends in no term.
const ALL_AT_END: [&str; 4] = ["-all", "~all", "?all", "+all"];
const TERM_CHARACTERS_SHOWN: usize = 80;
