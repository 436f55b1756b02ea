//! One structured line an event: readable on a terminal, JSON where nobody looks on.
//!
//! ```text
//! 02:24:40 info  mail.accepted        mail_id=01JD… identity=shop client=127.0.0.1 recipients=1
//! {"time":"2026-11-22T02:24:40.123Z","level":"info","event":"mail.accepted","mail_id":"01JD…","identity":"shop",…}
//! ```
//!
//! What an event means stands in [`super::catalogue`]. A field that has nothing to tell (an empty text, `false`) is left out. What
//! strangers say, a server's reply say, is escaped: it neither ends a line nor moves a cursor. Times are UTC.

use super::output::{self, OutputGuard};
use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal};
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How lines look, how many there are, and where they go.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The form of a line.
    pub format: Format,
    /// The least important level that is written.
    pub level: Level,
}

/// The form of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// `Text` on a terminal, `Json` elsewhere.
    #[default]
    Auto,
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// The least important level that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Defects of ours.
    Error,
    /// What the operator should look at.
    Warn,
    /// Every outcome.
    #[default]
    Info,
    /// Dialogues, without credentials and bodies.
    Debug,
}

impl Default for Settings {
    fn default() -> Self {
        Self { format: Format::Auto, level: Level::Info }
    }
}

/// Begins logging to standard output; lines still in memory are written when the guard is dropped. A second call changes nothing.
pub fn begin(settings: &Settings) -> OutputGuard {
    let (output, guard) = output::standard();
    let level = match settings.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    let filter = EnvFilter::new(format!("off,postseal={level}"));
    let terminal = io::stdout().is_terminal();
    let lines = match settings.format {
        Format::Auto | Format::Text if terminal => Lines::Terminal,
        Format::Text => Lines::Text,
        Format::Auto | Format::Json => Lines::Json,
    };
    let plain = std::env::var_os("NO_COLOR").is_some_and(|set| !set.is_empty()); // no-color.org
    let begun =
        tracing_subscriber::fmt().with_ansi(terminal && !plain).event_format(lines).with_env_filter(filter).with_writer(move || output.clone()).try_init();
    drop(begun); // an earlier logger stays: tests begin several relays in one process
    guard
}

/// The line of an event, for a subscriber of `tracing_subscriber::fmt`. Colours are used where the subscriber allows ANSI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// For who looks on: the time of day.
    Terminal,
    /// For who reads later: date and time.
    Text,
    /// One JSON object: `time`, `level`, `event`, then the fields.
    Json,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &tracing::Event<'_>) -> fmt::Result {
        let time = crate::clock::now().to_rfc3339();
        let mut told = Told::default();
        event.record(&mut told);
        let level = *event.metadata().level();
        let colours = to.has_ansi_escapes();
        match self {
            Self::Json => told.write_json(&mut to, &time, level),
            Self::Text => told.write_text(&mut to, colours, &time, level),
            Self::Terminal => told.write_text(&mut to, colours, time.get("2026-11-22T".len().."2026-11-22T02:24:40".len()).unwrap_or(&time), level),
        }
    }
}

/// The line of an event that was told elsewhere, as [`Lines::Text`] writes it; with its end.
#[must_use]
pub fn line(time: &str, level: Level, name: &str, fields: &[(&str, &serde_json::Value)], colours: bool) -> String {
    let value = |value: &serde_json::Value| value.as_str().map_or_else(|| Value::Plain(value.to_string()), |text| Value::Text(text.to_owned()));
    let fields = fields.iter().map(|(name, of)| (Cow::Owned((*name).to_owned()), value(of))).collect();
    let mut line = String::new();
    let _ = Told { name: name.to_owned(), fields }.write_text(&mut line, colours, time, level.into()); // a String takes all
    line
}

impl From<Level> for tracing::Level {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
        }
    }
}

/// An event, taken apart.
#[derive(Default)]
struct Told {
    name: String,
    fields: Vec<(Cow<'static, str>, Value)>,
}

enum Value {
    Text(String),
    /// As it is written in JSON and in text: a number, or `true`.
    Plain(String),
}

impl Visit for Told {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.name),
            _ if value.is_empty() => {}
            name => self.fields.push((name.into(), Value::Text(value.to_owned()))),
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.push((field.name().into(), Value::Plain(value.to_string())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name().into(), Value::Plain(value.to_string())));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if value {
            self.fields.push((field.name().into(), Value::Plain(value.to_string())));
        }
    }
}

impl Told {
    fn write_json(&self, to: &mut Writer<'_>, time: &str, level: tracing::Level) -> fmt::Result {
        write!(to, "{{\"time\":{},\"level\":\"{}\",\"event\":{}", Json(time), word(level), Json(&self.name))?;
        for (name, value) in &self.fields {
            match value {
                Value::Text(text) => write!(to, ",{}:{}", Json(name), Json(text))?,
                Value::Plain(plain) => write!(to, ",{}:{plain}", Json(name))?,
            }
        }
        writeln!(to, "}}")
    }

    fn write_text(&self, to: &mut dyn fmt::Write, colours: bool, time: &str, level: tracing::Level) -> fmt::Result {
        let paint = if colours { Paint::of(level) } else { Paint::NONE };
        let Paint { dim, level: colour, bold, reset } = paint;
        write!(to, "{dim}{time}{reset} {colour}{:<5}{reset} {bold}", word(level))?;
        match self.fields.as_slice() {
            [] => write!(to, "{}{reset}", self.name)?,
            _ => write!(to, "{:<EVENT_COLUMNS$}{reset}", self.name)?,
        }
        for (name, value) in &self.fields {
            write!(to, " {dim}{name}={reset}")?;
            match value {
                Value::Plain(plain) => to.write_str(plain)?,
                Value::Text(text) if is_plain(text) => to.write_str(text)?,
                Value::Text(text) => write!(to, "{text:?}")?,
            }
        }
        writeln!(to)
    }
}

fn word(level: tracing::Level) -> &'static str {
    match level {
        tracing::Level::ERROR => "error",
        tracing::Level::WARN => "warn",
        tracing::Level::INFO => "info",
        tracing::Level::DEBUG => "debug",
        tracing::Level::TRACE => "trace",
    }
}

/// A JSON string. JSON lets controls above ASCII and marks that turn the reading direction through; a terminal should not see them.
struct Json<'a>(&'a str);

impl fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As nearly all of them are.
        if self.0.bytes().all(|octet| matches!(octet, b' '..=b'~') && !matches!(octet, b'"' | b'\\')) {
            return write!(f, "\"{}\"", self.0);
        }
        for c in serde_json::Value::from(self.0).to_string().chars() {
            if is_treacherous(c) {
                write!(f, "\\u{:04x}", u32::from(c))?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}

fn is_treacherous(c: char) -> bool {
    matches!(c, '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Needs no quotes to be seen as one value.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\' | b'='))
}

/// ANSI escapes of a line's parts.
struct Paint {
    dim: &'static str,
    level: &'static str,
    bold: &'static str,
    reset: &'static str,
}

impl Paint {
    const NONE: Self = Self { dim: "", level: "", bold: "", reset: "" };

    fn of(level: tracing::Level) -> Self {
        let level = match level {
            tracing::Level::ERROR => "\x1b[1;31m",
            tracing::Level::WARN => "\x1b[33m",
            tracing::Level::INFO => "\x1b[32m",
            _ => "\x1b[34m",
        };
        Self { dim: "\x1b[2m", level, bold: "\x1b[1m", reset: "\x1b[0m" }
    }
}

/// Most names of events are no longer: the fields stand in line.
const EVENT_COLUMNS: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Page {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(octets)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn written(lines: Lines, colours: bool, tell: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = page.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(colours).event_format(lines).with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, tell);
        let octets = page.0.lock().unwrap().clone();
        String::from_utf8(octets).unwrap()
    }

    fn tell() {
        let (reply, tls, unknown_end, rule) = ("", "", false, None::<&str>);
        tracing::info!(mail_id = %"01", attempts = 1, reply, tls, unknown_end, rule, error = "no \"way\" there", "attempt.deferred");
    }

    #[test]
    fn json_is_flat_and_begins_with_time_level_and_event() {
        let line = written(Lines::Json, false, tell);
        let (time, rest) = line.strip_prefix("{\"time\":\"").unwrap().split_once('"').unwrap();
        assert_eq!((time.len(), time.ends_with('Z')), (24, true), "{time}");
        assert_eq!(rest, ",\"level\":\"info\",\"event\":\"attempt.deferred\",\"mail_id\":\"01\",\"attempts\":1,\"error\":\"no \\\"way\\\" there\"}\n");
        assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
    }

    #[test]
    fn text_stands_in_columns() {
        let line = written(Lines::Terminal, false, tell);
        let (time, rest) = line.split_once(' ').unwrap();
        assert_eq!((time.len(), time.matches(':').count()), (8, 2), "{time}");
        assert_eq!(rest, "info  attempt.deferred     mail_id=01 attempts=1 error=\"no \\\"way\\\" there\"\n");
        let later = written(Lines::Text, false, tell);
        assert_eq!(later.split_once(' ').map(|(time, rest)| (time.len(), rest)), Some((24, rest)));
        assert_eq!(written(Lines::Terminal, false, || tracing::warn!("config.reloaded")).split_once(' ').unwrap().1, "warn  config.reloaded\n");
    }

    #[test]
    fn colours_only_where_they_are_allowed() {
        assert!(!written(Lines::Terminal, false, tell).contains('\x1b'));
        let line = written(Lines::Terminal, true, tell);
        assert!(line.contains("\x1b[32minfo \x1b[0m") && line.contains("\x1b[2mattempts=\x1b[0m1"), "{line:?}");
    }

    #[test]
    fn what_strangers_say_cannot_end_a_line_or_move_the_cursor() {
        let hostile = "550 \x1b[2J\r\n{\"event\":\"mail.accepted\"} \u{202e}no 日本";
        for lines in [Lines::Terminal, Lines::Text, Lines::Json] {
            let line = written(lines, false, || tracing::info!(reply = hostile, error = %"a\u{9b}b", "command.refused"));
            let (line, end) = line.split_at(line.len() - 1);
            assert_eq!(end, "\n");
            assert!(!line.chars().any(|c| c.is_control() || c == '\u{202e}'), "{line:?}");
            assert!(line.contains("日本"));
        }
    }
}
