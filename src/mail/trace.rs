//! Where a mail belongs in a trace that an application began: the fields `traceparent` and `tracestate` of W3C Trace Context, level 1
//! (<https://www.w3.org/TR/trace-context-1/>), here as header fields of a message.

use super::Headers;
use std::fmt;

/// A span of somebody's, to be the parent of ours.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    sampled: bool,
    state: Option<String>,
}

impl TraceContext {
    /// The span `span_id` of trace `trace_id`; `None` where one of them is zero, which is none.
    #[must_use]
    pub fn new(trace_id: u128, span_id: u64, sampled: bool) -> Option<Self> {
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, sampled, state: None })
    }

    /// What the header of a message says; `None` where it says nothing, or not exactly one thing. A faulty `tracestate` is left out.
    #[must_use]
    pub fn of(headers: &Headers<'_>) -> Option<Self> {
        let mut parents = headers.named("traceparent");
        let parent = parents.next()?.unfolded();
        if parents.next().is_some() {
            return None;
        }
        let states: Vec<String> = headers.named("tracestate").map(|field| field.unfolded()).collect();
        Some(Self { state: state(&states.join(",")), ..Self::parse(parent.trim())? })
    }

    /// Reads a `traceparent` (§3.2): of a version that is not known yet the part that is.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.splitn(5, '-');
        let version = hex(parts.next()?, 2)?;
        let (trace_id, span_id, flags) = (hex(parts.next()?, 32)?, hex(parts.next()?, 16)?, hex(parts.next()?, 2)?);
        let is_known = version != 0xff && (version != 0 || parts.next().is_none());
        Self::new(trace_id, u64::try_from(span_id).ok()?, flags & SAMPLED != 0).filter(|_| is_known)
    }

    /// As [`Self::stored`] wrote it.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (parent, rest) = text.split_once(' ').unwrap_or((text, ""));
        Some(Self { state: state(rest), ..Self::parse(parent)? })
    }

    /// As the spool keeps it: `traceparent`, and behind a space `tracestate` where there is one.
    #[must_use]
    pub fn stored(&self) -> String {
        self.state.as_ref().map_or_else(|| self.to_string(), |state| format!("{self} {state}"))
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn span(&self, span_id: u64) -> Self {
        Self { span_id, ..self.clone() }
    }

    /// The trace, as 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The span, as 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// Whoever began the trace records it.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.sampled
    }

    /// `tracestate`.
    #[must_use]
    pub fn state(&self) -> Option<&str> {
        self.state.as_deref()
    }
}

/// A `traceparent` of version 00.
impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, u8::from(self.sampled))
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stored())
    }
}

/// So many lower-case hexadecimal digits.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let is_hex = text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    is_hex.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// A `tracestate` without its empty members (§3.3.1); `None` where none is left, or anything is wrong with it.
fn state(text: &str) -> Option<String> {
    let members: Vec<&str> = text.split(',').map(|member| member.trim_matches([' ', '\t'])).filter(|member| !member.is_empty()).collect();
    let mut keys = std::collections::HashSet::new();
    let all_good = members.iter().all(|member| member.split_once('=').is_some_and(|(key, value)| is_key(key) && is_value(value) && keys.insert(key)));
    let state = members.join(",");
    (all_good && !members.is_empty() && members.len() <= MEMBERS_MAX && state.len() <= STATE_OCTETS_MAX).then_some(state)
}

fn is_key(key: &str) -> bool {
    let is_letter = |b: u8| b.is_ascii_lowercase();
    let is_rest = |text: &str| text.bytes().all(|b| is_letter(b) || b.is_ascii_digit() || matches!(b, b'_' | b'-' | b'*' | b'/'));
    let is_name = |text: &str, octets_max: usize, may_begin_with_a_digit: bool| {
        let begins = text.bytes().next().is_some_and(|b| is_letter(b) || may_begin_with_a_digit && b.is_ascii_digit());
        begins && text.len() <= octets_max && is_rest(text)
    };
    match key.split_once('@') {
        Some((tenant, system)) => is_name(tenant, 241, true) && is_name(system, 14, false),
        None => is_name(key, 256, false),
    }
}

fn is_value(value: &str) -> bool {
    (1..=256).contains(&value.len()) && value.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'=')
}

const SAMPLED: u128 = 1;
/// §3.3.1.1.
const MEMBERS_MAX: usize = 32;
/// §3.3.1.5 has nobody pass on less; what is longer is left out.
const STATE_OCTETS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(header: &str) -> Option<String> {
        let octets = format!("{header}\r\n\r\n");
        TraceContext::of(&Headers::parse(octets.as_bytes()).unwrap()).map(|context| context.stored())
    }

    #[test]
    fn a_good_parent_reads_and_prints() {
        for (text, printed) in [
            (GOOD, GOOD),
            (&GOOD.replace("-01", "-00"), &GOOD.replace("-01", "-00")),
            (&GOOD.replace("-01", "-ff"), GOOD),
            (&GOOD.replace("00-4", "01-4"), GOOD),
            (&format!("{}-what-ever", GOOD.replace("00-4", "cc-4")), GOOD),
        ] {
            assert_eq!(TraceContext::parse(text).map(|context| context.to_string()).as_deref(), Some(printed), "{text}");
        }
    }

    #[test]
    fn a_parent_that_is_not_exact_is_none() {
        let bad = [
            String::new(),
            GOOD[..54].to_owned(),
            format!("{GOOD}0"),
            format!("{GOOD}-"),
            format!("{GOOD}-00"),
            GOOD.replace("00-4", "ff-4"),
            GOOD.replace("00-4", "0-4"),
            GOOD.to_uppercase(),
            GOOD.replace("4bf9", "4bg9"),
            GOOD.replace("4bf9", "+bf9"),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            format!("{}x", GOOD.replace("00-4", "01-4")),
        ];
        for text in bad {
            assert_eq!(TraceContext::parse(&text), None, "{text}");
        }
    }

    #[test]
    fn a_header_says_one_thing_or_nothing() {
        assert_eq!(of(&format!("Traceparent: {GOOD}")).as_deref(), Some(GOOD));
        assert_eq!(of(&format!("traceparent:\r\n {GOOD}\r\ntracestate: a=1,\r\n b@c=2\r\nTracestate: d=3")), Some(format!("{GOOD} a=1,b@c=2,d=3")));
        assert_eq!(of(&format!("traceparent: {GOOD}\r\ntraceparent: {GOOD}")), None);
        assert_eq!(of("tracestate: a=1"), None);
    }

    #[test]
    fn a_state_is_whole_or_left_out() {
        let many = |count: usize| (0..count).map(|number| format!("k{number}=v")).collect::<Vec<_>>().join(",");
        for good in ["a=1", "a=1,b=2", "0t@s=x", "a_-*/9=!~", &many(32), &format!("a={}", "x".repeat(256))] {
            assert_eq!(state(good).as_deref(), Some(good));
        }
        assert_eq!(state(" a=1 ,, b=2\t").as_deref(), Some("a=1,b=2"));
        let long = format!("a={},b={}", "x".repeat(256), "x".repeat(252));
        assert_eq!(long.len(), 513);
        for bad in ["", ",", "a", "=1", "a=", "A=1", "1a=1", "a=1=2", "a=1,a=2", "a@1=1", "a=\u{e9}", &many(33), &format!("a={}", "x".repeat(257)), &long] {
            assert_eq!(state(bad), None, "{bad}");
        }
        let stored = TraceContext { state: Some("a=1,b=x y".to_owned()), ..TraceContext::parse(GOOD).unwrap() };
        assert_eq!(TraceContext::read(&stored.stored()), Some(stored));
    }
}
