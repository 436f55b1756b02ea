//! What a terminal can show: colours only where a person looks, and no more columns than there are.

use std::io::{IsTerminal as _, stdout};

/// The looks of standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    /// ANSI colours.
    pub colours: bool,
    /// How wide a line may be.
    pub columns: usize,
}

/// The colours in use: they are readable on black and on white.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ink {
    /// Good news.
    Green,
    /// A warning.
    Yellow,
    /// What is open.
    Blue,
    /// What fails.
    Red,
    /// A heading.
    Bold,
    /// What matters less.
    Dim,
}

impl Paint {
    /// Of this process's standard output. `NO_COLOR` set to anything turns colours off (no-color.org), and so does `TERM=dumb`.
    #[must_use]
    pub fn of_stdout() -> Self {
        let terminal = stdout().is_terminal();
        let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self { colours: terminal && !set("NO_COLOR") && !dumb, columns: columns(terminal) }
    }

    /// The text in this ink; as it is where there are no colours.
    #[must_use]
    pub fn ink(self, ink: Ink, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match ink {
            Ink::Green => "32",
            Ink::Yellow => "33",
            Ink::Blue => "36",
            Ink::Red => "1;31",
            Ink::Bold => "1",
            Ink::Dim => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// What the terminal says, else what `COLUMNS` says.
fn columns(terminal: bool) -> usize {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.trim().parse::<usize>().ok());
    let shown = terminal.then(|| rustix::termios::tcgetwinsize(stdout()).ok()).flatten().map(|size| usize::from(size.ws_col));
    shown.filter(|columns| *columns > 0).or(said).map_or(COLUMNS, |columns| columns.clamp(COLUMNS_MIN, COLUMNS_MAX))
}

const COLUMNS: usize = 100;
const COLUMNS_MIN: usize = 40;
/// Longer lines are hard to read.
const COLUMNS_MAX: usize = 120;
