//! The matrix as a person sees it in a terminal of 80 columns.

use super::{DkimAxis, Dmarc, Receiver, SpfAxis, Verdict};
use std::fmt::Write as _;

/// How much the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Style {
    /// ANSI colours: blue passes, yellow passes DMARC but not Gmail, red passes neither.
    pub colours: bool,
    /// Lines drawn with box characters; ASCII otherwise.
    pub boxes: bool,
}

/// Corners, crossings and lines, by row of the frame.
struct Frame {
    top: [&'static str; 3],
    middle: [&'static str; 3],
    bottom: [&'static str; 3],
    across: &'static str,
    down: &'static str,
}

impl Verdict {
    /// The matrix with the message's cell between `>` and `<`, then what it comes to, why, and what to mend first. Every line
    /// fits 80 columns and ends in a line feed.
    #[must_use]
    pub fn matrix(&self, style: Style) -> String {
        let frame = if style.boxes { BOXES } else { ASCII };
        let mut out = format!("{:LABEL$} DKIM:\n{:LABEL$}", "", "");
        for (_, label) in COLUMNS {
            let _ = write!(out, " {label:CELL$}");
        }
        out.push('\n');
        out.push_str(&frame.line(frame.top));
        for (place, (spf, labels)) in ROWS.iter().enumerate() {
            if place > 0 {
                out.push_str(&frame.line(frame.middle));
            }
            for (line, label) in labels.iter().enumerate() {
                let _ = write!(out, "{label:LABEL$}{}", frame.down);
                for (dkim, _) in COLUMNS {
                    out.push_str(&self.cell(*spf, dkim, line, style));
                    out.push_str(frame.down);
                }
                out.push('\n');
            }
        }
        out.push_str(&frame.line(frame.bottom));
        out.push('\n');
        out.push_str(&self.summary());
        out
    }

    /// One line of a cell: DMARC's or Gmail's.
    fn cell(&self, spf: SpfAxis, dkim: DkimAxis, line: usize, style: Style) -> String {
        let (dmarc, gmail) = (self.context.dmarc(spf, dkim), self.context.gmail(spf, dkim));
        let text = if line == 0 { format!("DMARC {}", shout(dmarc)) } else { format!("Gmail {}", word(&gmail)) };
        let here = (spf, dkim) == (self.spf_axis, self.dkim_axis);
        let (open, close) = if here { ('>', '<') } else { (' ', ' ') };
        let padded = format!("{open} {text:<width$} {close}", width = CELL - 4);
        if !style.colours {
            return padded;
        }
        let colour = match (dmarc, gmail.accepts) {
            (_, true) => 34,
            (Dmarc::Pass | Dmarc::None, false) => 33,
            (Dmarc::Fail | Dmarc::TempError, false) => 31,
        };
        let reverse = if here { ";7" } else { "" };
        format!("\x1b[{colour}{reverse}m{padded}\x1b[0m")
    }

    fn summary(&self) -> String {
        let policy = self.policy.map_or_else(String::new, |policy| format!(" (policy {policy})"));
        let both = if self.both_aligned { ", SPF and DKIM both aligned" } else { "" };
        let mut out = String::new();
        wrap(&mut out, "Result: ", &format!("DMARC {}{policy}{both}.", shout(self.dmarc)));
        for (name, receiver) in [("Gmail", &self.gmail), ("Yahoo", &self.yahoo), ("Microsoft", &self.microsoft)] {
            let codes = if receiver.accepts { String::new() } else { format!(", answers {}", receiver.codes.join(" or ")) };
            wrap(&mut out, "        ", &format!("{name} {}{codes}.", word(receiver)));
        }
        wrap(&mut out, "Why:    ", &self.why);
        if let Some(fix) = &self.fix_first {
            wrap(&mut out, "Fix:    ", fix);
        }
        for note in &self.notes {
            wrap(&mut out, "Note:   ", &note.to_string());
        }
        out
    }
}

impl Frame {
    fn line(&self, [left, cross, right]: [&str; 3]) -> String {
        let run = self.across.repeat(CELL);
        format!("{:LABEL$}{left}{}{right}\n", "", [run.as_str(); 3].join(cross))
    }
}

/// Failures are written so that they are not overlooked.
fn shout(dmarc: Dmarc) -> &'static str {
    if dmarc == Dmarc::Fail { "FAIL" } else { dmarc.as_str() }
}

fn word(receiver: &Receiver) -> &'static str {
    if receiver.accepts { "pass" } else { "FAIL" }
}

/// Text behind a label, broken at spaces, further lines indented as far; words too long for a line are cut.
fn wrap(out: &mut String, label: &str, text: &str) {
    let (indent, room) = (label.len(), COLUMNS_MAX - label.len());
    let mut line = String::new();
    let mut lead = label.to_owned();
    let flush = |line: &mut String, lead: &mut String, out: &mut String| {
        let _ = writeln!(out, "{lead}{line}");
        line.clear();
        *lead = " ".repeat(indent);
    };
    for word in text.split_whitespace() {
        for piece in word.chars().collect::<Vec<_>>().chunks(room) {
            if !line.is_empty() && line.chars().count() + 1 + piece.len() > room {
                flush(&mut line, &mut lead, out);
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.extend(piece.iter().map(|c| if c.is_control() { '?' } else { *c }));
        }
    }
    flush(&mut line, &mut lead, out);
}

const ROWS: [(SpfAxis, [&str; 2]); 3] = [
    (SpfAxis::Aligned, ["SPF: pass,", "     aligned"]),
    (SpfAxis::NotAligned, ["SPF: pass,", "     not aligned"]),
    (SpfAxis::Fail, ["SPF: fail", "     or none"]),
];
const COLUMNS: [(DkimAxis, &str); 3] = [(DkimAxis::Author, "author signature"), (DkimAxis::ThirdParty, "third party only"), (DkimAxis::Fail, "fail or none")];
const BOXES: Frame = Frame { top: ["┌", "┬", "┐"], middle: ["├", "┼", "┤"], bottom: ["└", "┴", "┘"], across: "─", down: "│" };
const ASCII: Frame = Frame { top: ["+", "+", "+"], middle: ["+", "+", "+"], bottom: ["+", "+", "+"], across: "-", down: "|" };
const COLUMNS_MAX: usize = 80;
const LABEL: usize = 17;
const CELL: usize = 19;
