//! One structured line an event: readable on a terminal, JSON where nobody looks on.

use std::io::{self, IsTerminal};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

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
#[must_use]
pub fn begin(settings: &Settings) -> WorkerGuard {
    let (writer, guard) = tracing_appender::non_blocking::NonBlockingBuilder::default().lossy(false).finish(io::stdout());
    let level = match settings.level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    let filter = EnvFilter::new(format!("off,postseal={level}"));
    let terminal = io::stdout().is_terminal();
    let json = settings.format == Format::Json || (settings.format == Format::Auto && !terminal);
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(writer).with_target(false).with_timer(Utc);
    let begun = if json { lines.json().flatten_event(true).with_current_span(false).try_init() } else { lines.with_ansi(terminal).try_init() };
    drop(begun); // an earlier logger stays: tests begin several relays in one process
    guard
}

/// UTC to the millisecond, as everywhere.
struct Utc;

impl FormatTime for Utc {
    fn format_time(&self, writer: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        writer.write_str(&crate::clock::now().to_rfc3339())
    }
}
