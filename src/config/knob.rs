//! The kinds of values a configuration is made of: how each is written, read and named in a fault.
//!
//! A text that the environment gave is read as every kind: `POSTSEAL_SPOOL__RESERVE_OCTETS=1GiB`, `…=true`, `…=a,b`.

use crate::mail::{Domain, Mailbox};
use figment::value::{Num, Value};
use ipnet::IpNet;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A value that a key can have.
pub trait Knob: Sized {
    /// What it is, for a fault: "a domain name".
    const KIND: &'static str;

    /// How it may be written, for a fault; empty where [`Knob::KIND`] says enough.
    const AS_IN: &'static str = "";

    /// What is expected: "a domain name, as in …".
    #[must_use]
    fn expected() -> String {
        if Self::AS_IN.is_empty() { Self::KIND.to_owned() } else { format!("{}, as in {}", Self::KIND, Self::AS_IN) }
    }

    /// Reads it.
    ///
    /// # Errors
    /// What was found instead.
    fn read(value: &Value) -> Result<Self, String>;

    /// As TOML writes it.
    fn written(&self) -> String;
}

/// A count of octets, written `"25 MiB"`, `"500 kB"` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Octets(pub u64);

/// A name server: an address, with a port where it is not 53.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameServer(pub SocketAddr);

/// What a value looks like, for a fault.
fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("\"{text}\""),
        Value::Char(_, c) => format!("\"{c}\""),
        Value::Bool(_, b) => b.to_string(),
        Value::Num(_, num) => num.to_i128().map_or_else(|| "a number with a fraction".to_owned(), |n| n.to_string()),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a table".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}

fn text(value: &Value) -> Result<&str, String> {
    value.as_str().ok_or_else(|| shown(value))
}

trait ToI128 {
    fn to_i128(&self) -> Option<i128>;
}

impl ToI128 for Num {
    fn to_i128(&self) -> Option<i128> {
        self.to_u128().and_then(|n| i128::try_from(n).ok()).or(match *self {
            Self::I8(n) => Some(n.into()),
            Self::I16(n) => Some(n.into()),
            Self::I32(n) => Some(n.into()),
            Self::I64(n) => Some(n.into()),
            Self::I128(n) => Some(n),
            _ => None,
        })
    }
}

fn integer(value: &Value) -> Result<i128, String> {
    match value {
        Value::Num(_, num) => num.to_i128().ok_or_else(|| shown(value)),
        Value::String(_, text) => text.trim().parse().map_err(|_| shown(value)),
        _ => Err(shown(value)),
    }
}

macro_rules! whole_number {
    ($($kind:ty),*) => {$(
        impl Knob for $kind {
            const KIND: &'static str = "a whole number";
            fn read(value: &Value) -> Result<Self, String> {
                integer(value)?.try_into().map_err(|_| shown(value))
            }
            fn written(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
whole_number!(u8, u16, u32, u64, usize);

impl Knob for bool {
    const KIND: &'static str = "true or false";
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Bool(_, b) => Ok(*b),
            Value::String(_, text) => text.trim().parse().map_err(|_| shown(value)),
            _ => Err(shown(value)),
        }
    }
    fn written(&self) -> String {
        self.to_string()
    }
}

impl Knob for String {
    const KIND: &'static str = "a text in quotes";
    fn read(value: &Value) -> Result<Self, String> {
        text(value).map(str::to_owned)
    }
    fn written(&self) -> String {
        format!("{self:?}")
    }
}

impl Knob for PathBuf {
    const KIND: &'static str = "a path in quotes, relative to the configuration file";
    fn read(value: &Value) -> Result<Self, String> {
        text(value).map(Self::from)
    }
    fn written(&self) -> String {
        format!("{:?}", self.display().to_string())
    }
}

macro_rules! parsed {
    ($($kind:ty, $name:literal, $as_in:literal);* $(;)?) => {$(
        impl Knob for $kind {
            const KIND: &'static str = $name;
            const AS_IN: &'static str = $as_in;
            fn read(value: &Value) -> Result<Self, String> {
                text(value)?.trim().parse().map_err(|_| shown(value))
            }
            fn written(&self) -> String {
                format!("\"{self}\"")
            }
        }
    )*};
}
parsed! {
    Domain, "a domain name", "\"mail.example.com\"";
    Mailbox, "an address", "\"postmaster@example.com\"";
    SocketAddr, "an IP address and port", "\"127.0.0.1:2525\" or \"[::1]:2525\"";
    IpAddr, "an IP address", "\"192.0.2.1\"";
    Ipv4Addr, "an IPv4 address", "\"192.0.2.1\"";
    Ipv6Addr, "an IPv6 address", "\"2001:db8::1\"";
}

impl Knob for IpNet {
    const KIND: &'static str = "a network";
    const AS_IN: &'static str = "\"10.1.0.0/16\" or \"192.0.2.7\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?.trim();
        text.parse().or_else(|_| text.parse::<IpAddr>().map(Self::from)).map_err(|_| shown(value))
    }
    fn written(&self) -> String {
        format!("\"{self}\"")
    }
}

impl Knob for NameServer {
    const KIND: &'static str = "a name server's address";
    const AS_IN: &'static str = "\"192.0.2.53\" or \"[2001:db8::53]:5353\"";
    fn read(value: &Value) -> Result<Self, String> {
        let text = text(value)?.trim();
        let with_port = text.parse::<SocketAddr>().or_else(|_| text.parse::<IpAddr>().map(|address| SocketAddr::new(address, 53)));
        with_port.map(Self).map_err(|_| shown(value))
    }
    fn written(&self) -> String {
        format!("\"{}\"", self.0)
    }
}

impl Knob for Duration {
    const KIND: &'static str = "a time with its unit";
    const AS_IN: &'static str = "\"250ms\", \"30s\", \"5m\", \"2h\" or \"5d\"";
    fn read(value: &Value) -> Result<Self, String> {
        duration(text(value)?.trim()).ok_or_else(|| shown(value))
    }
    fn written(&self) -> String {
        let units = [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1000, "ms"), (1, "us")];
        let micros = self.as_micros();
        let (size, unit) = units.into_iter().find(|(size, _)| micros > 0 && micros.is_multiple_of(*size)).unwrap_or((1_000_000, "s"));
        format!("\"{}{unit}\"", micros / size)
    }
}

fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let number: u64 = number.parse().ok()?;
    let micros = match unit.trim() {
        "us" => 1,
        "ms" => 1000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "d" => 86_400_000_000,
        _ => return None,
    };
    number.checked_mul(micros).map(Duration::from_micros)
}

impl Knob for Octets {
    const KIND: &'static str = "a size with its unit";
    const AS_IN: &'static str = "\"25 MiB\", \"256 KiB\" or \"500 kB\"";
    fn read(value: &Value) -> Result<Self, String> {
        if matches!(value, Value::Num(..)) {
            return u64::read(value).map(Self);
        }
        octets(text(value)?.trim()).map(Self).ok_or_else(|| shown(value))
    }
    fn written(&self) -> String {
        let units = [(1 << 30, " GiB"), (1_000_000_000, " GB"), (1 << 20, " MiB"), (1_000_000, " MB"), (1 << 10, " KiB"), (1000, " kB")];
        match units.into_iter().find(|(size, _)| self.0 > 0 && self.0.is_multiple_of(*size)) {
            Some((size, unit)) => format!("\"{}{unit}\"", self.0 / size),
            None => self.0.to_string(),
        }
    }
}

fn octets(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().ok()?;
    let unit: u64 = match text[end..].trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(unit)
}

impl<T: Knob> Knob for Vec<T> {
    /// A list of one may be written as the value itself, and the environment's lists are texts: so a list is not insisted on.
    const KIND: &'static str = T::KIND;
    const AS_IN: &'static str = T::AS_IN;
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Array(_, values) => values.iter().map(T::read).collect(),
            Value::String(_, text) if text.trim().is_empty() => Ok(Self::new()),
            Value::String(_, text) => text.split(',').map(|part| T::read(&Value::from(part.trim()))).collect(),
            other => T::read(other).map(|only| vec![only]),
        }
    }
    fn written(&self) -> String {
        let mut list = String::from("[");
        for (number, item) in self.iter().enumerate() {
            let _ = write!(list, "{}{}", if number > 0 { ", " } else { "" }, item.written());
        }
        list + "]"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_read_what_they_write() {
        for text in ["250ms", "30s", "5m", "2h", "5d", "90s", "0s"] {
            let read = Duration::read(&Value::from(text)).unwrap();
            assert_eq!(read.written(), format!("\"{text}\""));
        }
        for (text, octets) in [("25 MiB", 26_214_400), ("500 kB", 500_000), ("256KiB", 262_144), ("7", 7)] {
            assert_eq!(Octets::read(&Value::from(text)), Ok(Octets(octets)));
        }
        assert_eq!(Octets(26_214_400).written(), "\"25 MiB\"");
        assert_eq!(Octets(500_000).written(), "\"500 kB\"");
        assert_eq!(Vec::<u16>::read(&Value::from("25, 587")), Ok(vec![25, 587]));
        assert_eq!(IpNet::read(&Value::from("192.0.2.7")).unwrap().to_string(), "192.0.2.7/32");
    }

    #[test]
    fn what_was_found_is_named() {
        assert_eq!(Duration::read(&Value::from("30")), Err("\"30\"".to_owned()));
        assert_eq!(Duration::read(&Value::from(30)), Err("30".to_owned()));
        assert_eq!(u16::read(&Value::from(70_000)), Err("70000".to_owned()));
        assert_eq!(bool::read(&Value::from("yes")), Err("\"yes\"".to_owned()));
        assert_eq!(Octets::read(&Value::from("25 megs")), Err("\"25 megs\"".to_owned()));
    }
}
