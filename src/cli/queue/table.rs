//! Tables as wide as the terminal: columns as wide as what is in them, one that gives way, and words to fill the line.

use crate::cli::paint::{Ink, Paint};
use crate::clock;
use crate::keys::lifecycle::span;
use crate::mail::Timestamp;
use serde_json::Value;
use std::fmt::Write as _;
use std::time::Duration;

/// A column.
pub struct Column {
    title: String,
    right: bool,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fixed,
    /// Gives way down to so many characters.
    Shrinking(usize),
    /// Takes what is left of the line, or a line of its own below where that is too little.
    Last,
}

/// Rows below columns.
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Ink)>>,
}

impl Column {
    /// As wide as what is in it.
    pub fn fixed(title: &str) -> Self {
        Self { title: title.to_owned(), right: false, kind: Kind::Fixed }
    }

    /// The same, as long as there is room; never narrower than `least`.
    pub fn shrinking(title: &str, least: usize) -> Self {
        Self { kind: Kind::Shrinking(least), ..Self::fixed(title) }
    }

    /// The rest of the line.
    pub fn last(title: &str) -> Self {
        Self { kind: Kind::Last, ..Self::fixed(title) }
    }

    /// Its cells stand at their right.
    pub fn right(self) -> Self {
        Self { right: true, ..self }
    }
}

impl Table {
    pub fn new(columns: Vec<Column>) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// One more row: as many cells as there are columns.
    pub fn row(&mut self, cells: Vec<(String, Ink)>) {
        self.rows.push(cells.into_iter().map(|(text, ink)| (plain(&text), ink)).collect());
    }

    /// With its heading, no line wider than the terminal.
    pub fn print(&self, paint: Paint) -> String {
        let widths = self.widths(paint.columns);
        let below = self.words_below(&widths);
        let mut printed = String::new();
        let heading: Vec<(String, Ink)> = self.columns.iter().map(|column| (column.title.clone(), Ink::Dim)).collect();
        for row in std::iter::once(&heading).chain(&self.rows) {
            let mut line = String::new();
            let mut owed = 0; // spaces that are written only when something follows
            for ((column, width), (text, ink)) in self.columns.iter().zip(&widths).zip(row).filter(|((column, _), _)| !below || column.kind != Kind::Last) {
                let text = cut(text, *width);
                let space = width - text.chars().count();
                let before = owed + if column.right { space } else { 0 };
                if text.is_empty() {
                    owed += if column.right { space } else { 0 };
                } else {
                    let _ = write!(line, "{:before$}{}", "", paint.ink(*ink, &text));
                    owed = 0;
                }
                owed += GAP + if column.right { 0 } else { space };
            }
            printed.push_str(&line);
            printed.push('\n');
            let words = self.columns.iter().zip(row).find(|(column, (text, _))| below && column.kind == Kind::Last && !text.is_empty());
            if let Some((_, (text, ink))) = words {
                let room = paint.columns.saturating_sub(INDENT);
                let _ = writeln!(printed, "{:INDENT$}{}", "", paint.ink(*ink, &cut(text, room)));
            }
        }
        printed
    }

    /// Whether the words stand below their rows: they would be cut to a few characters.
    fn words_below(&self, widths: &[usize]) -> bool {
        self.columns.iter().enumerate().any(|(at, column)| column.kind == Kind::Last && widths[at] < WORDS_MIN && self.widest(at) > widths[at])
    }

    fn widest(&self, at: usize) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|(text, _)| text.chars().count());
        cells.chain([self.columns[at].title.chars().count()]).max().unwrap_or(0)
    }

    fn widths(&self, columns: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = (0..self.columns.len()).map(|at| self.widest(at)).collect();
        let gaps = GAP * self.columns.len().saturating_sub(1);
        let over = |widths: &[usize]| (widths.iter().sum::<usize>() + gaps).saturating_sub(columns);
        let give_way = |widths: &mut Vec<usize>, at: usize, least: usize| {
            let given = widths[at].saturating_sub(least).min(over(widths));
            widths[at] -= given;
        };
        let (words, names): (Vec<usize>, Vec<usize>) = (0..widths.len()).partition(|at| self.columns[*at].kind == Kind::Last);
        // The words first. Where too few would be left they go below, and give back all their room.
        for at in words {
            give_way(&mut widths, at, 0);
            if widths[at] < WORDS_MIN.min(self.widest(at)) {
                widths[at] = 0;
            }
        }
        for at in names {
            if let Kind::Shrinking(least) = self.columns[at].kind {
                give_way(&mut widths, at, least);
            }
        }
        widths
    }
}

/// No more than so many characters; what is cut off is marked.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    if width > 0 {
        cut.push('…');
    }
    cut
}

/// Words of strangers are printed, not obeyed.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// An age as `90m`, `36h`.
pub fn age(seconds: &Value) -> String {
    span(Duration::from_secs(seconds.as_u64().unwrap_or_default()))
}

/// How long until then: `now`, `in 12m`; nothing where there is no time.
pub fn until(time: &Value) -> String {
    let Some(at) = time.as_str().and_then(parse) else { return String::new() };
    let now = clock::now();
    if at <= now { "now".to_owned() } else { format!("in {}", span(at.since(now))) }
}

/// A time of day with its date, in UTC, to the second.
pub fn clock(time: &Value) -> String {
    let text = time.as_str().unwrap_or_default();
    text.get(..19).map_or_else(|| text.to_owned(), |text| format!("{} UTC", text.replace('T', " ")))
}

/// RFC 3339 in UTC, as the API writes it.
fn parse(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| text.get(range)?.parse::<i64>().ok();
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    // Days since 1970-01-01 in the proleptic Gregorian calendar, years beginning in March.
    let (shifted_year, shifted_month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(Timestamp::from_unix_seconds(days * 86_400 + hour * 3600 + minute * 60 + second))
}

const GAP: usize = 2;
/// Fewer characters of a reply say nothing.
const WORDS_MIN: usize = 48;
/// Of words below their row.
const INDENT: usize = 4;

/// `12,345`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(columns: usize) -> String {
        let mut table = Table::new(vec![Column::fixed("mail"), Column::fixed("n").right(), Column::shrinking("to", 8), Column::last("words")]);
        table.row(vec![
            ("0abc".into(), Ink::Bold),
            ("7".into(), Ink::Dim),
            ("someone@example.com".into(), Ink::Dim),
            ("451 4.7.1 please try again\r\nlater".into(), Ink::Dim),
        ]);
        table.row(vec![("0abd".into(), Ink::Bold), ("12".into(), Ink::Dim), ("a@b.example".into(), Ink::Dim), (String::new(), Ink::Dim)]);
        table.print(Paint { colours: false, columns })
    }

    #[test]
    fn a_table_is_as_wide_as_it_must_be_and_no_wider_than_the_terminal() {
        assert_eq!(
            printed(100),
            "mail   n  to                   words\n0abc   7  someone@example.com  451 4.7.1 please try again\u{fffd}\u{fffd}later\n0abd  12  a@b.example\n"
        );
        let below = "mail   n  to\n    words\n0abc   7  someone@example.com\n    451 4.7.1 please try again\u{fffd}\u{fffd}later\n0abd  12  a@b.example\n";
        assert_eq!(printed(50), below, "words that would be cut to a few stand below");
        for columns in 40..100 {
            assert!(printed(columns).lines().all(|line| line.chars().count() <= columns), "{columns}: {}", printed(columns));
        }
    }

    #[test]
    fn times_read_back() {
        for seconds in [0, 951_782_399, 1_795_348_800, 4_102_444_799] {
            let at = Timestamp::from_unix_seconds(seconds);
            assert_eq!(parse(&at.to_rfc3339()), Some(at));
        }
        assert_eq!((parse("soon"), clock(&Value::Null).as_str()), (None, ""));
        assert_eq!(clock(&"2026-11-22T12:00:00.000Z".into()), "2026-11-22 12:00:00 UTC");
    }
}
