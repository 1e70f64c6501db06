//! The picture for a terminal: two lifelines, and a row for each thing.

use super::rows::{Body, Row, name, rows, side, states};
use super::{called, clock};
use crate::record::{Record, Side};
use crate::scenario::{Outcome, Table};
use std::fmt::Write as _;

/// Rows that are shown of each end of a long picture.
const ENDS: usize = 24;
/// Columns of a line of text.
const TEXT: usize = 88;

/// All that is to be said of a run.
pub(crate) fn text(outcome: &Outcome, is_whole: bool) -> String {
    let mut text = format!("{}: {}\n", outcome.scenario.name, outcome.scenario.title);
    if !outcome.parameters.is_empty() {
        let _ = writeln!(text, "{}", outcome.parameters);
    }
    text.push('\n');
    text.push_str(&diagram(&outcome.record, is_whole));
    for table in &outcome.tables {
        text.push('\n');
        text.push_str(&tabulated(table));
    }
    text.push('\n');
    text.push_str(&wrapped(outcome.scenario.why, ""));
    let _ = writeln!(text, "{}\n", outcome.scenario.rfc);
    for claim in &outcome.claims {
        let mark = if claim.holds { "holds  " } else { "FAILS  " };
        text.push_str(&hung(mark, &format!("{}: {}", claim.text, claim.measured)));
    }
    text
}

/// Columns, each as wide as it needs.
pub(super) fn tabulated(table: &Table) -> String {
    let lines = || std::iter::once(&table.head).chain(&table.rows);
    let width = |column: usize| {
        lines()
            .filter_map(|line| line.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or(0)
    };
    let mut text = String::new();
    for line in lines() {
        let cells: Vec<String> = line
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let width = width(column);
                if column == 0 {
                    format!("{cell:width$}")
                } else {
                    format!("{cell:>width$}")
                }
            })
            .collect();
        let _ = writeln!(text, "  {}", cells.join("   ").trim_end());
    }
    text
}

/// Words in lines.
pub(crate) fn wrapped(words: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut line = String::new();
    for word in words.split_whitespace() {
        if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > TEXT
        {
            let _ = writeln!(text, "{indent}{line}");
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(text, "{indent}{line}");
    text
}

/// Words in lines behind a mark.
fn hung(mark: &str, words: &str) -> String {
    let indent = " ".repeat(mark.len());
    let text = wrapped(words, &indent);
    format!("{mark}{}", &text[mark.len()..])
}

/// Columns of the picture.
struct Width {
    time: usize,
    states: usize,
    lane: usize,
}

/// The picture alone.
pub(crate) fn diagram(record: &Record, is_whole: bool) -> String {
    let rows = rows(record);
    let width = Width::of(record, &rows);
    let mut text = width.heading(record);
    let skipped = rows.len().saturating_sub(2 * ENDS + 2);
    for (number, row) in rows.iter().enumerate() {
        let is_inside = number >= ENDS && number < rows.len() - ENDS;
        if skipped > 0 && !is_whole && is_inside {
            if number == ENDS {
                let rest = rows.len() - 2 * ENDS;
                let note = format!("{rest} more rows, with --full");
                text.push_str(&width.row(record, &Row::note(note)));
            }
            continue;
        }
        text.push_str(&width.row(record, row));
    }
    text
}

impl Width {
    fn of(record: &Record, rows: &[Row]) -> Width {
        let states = rows
            .iter()
            .flat_map(|row| [states(record, row, 0), states(record, row, 1)])
            .map(|text| text.len())
            .max()
            .unwrap_or(0)
            .max(12);
        let bodies = rows.iter().map(|row| match &row.body {
            Body::Whole(index) | Body::Leaves(index) | Body::Comes(index) => {
                name(record, *index).chars().count() + 10
            }
            Body::Call(host, text) => called(record, *host, text).chars().count() + 3,
            Body::Note(text) => text.chars().count() + 4,
            Body::Timer(_) => 0,
        });
        Width {
            time: 10,
            states,
            lane: bodies.max().unwrap_or(0).clamp(40, 96),
        }
    }

    fn heading(&self, record: &Record) -> String {
        let names = |side: Side| {
            let hosts = record.names(side).into_iter();
            let names: Vec<String> = hosts
                .map(|host| format!("{} ({})", host.name, host.tcp))
                .collect();
            names.join(", ")
        };
        let left = format!("{:>10} {}", "", names(Side::Left));
        let edge = self.time + 1 + self.states + 1;
        let gap = (edge + self.lane + 2).saturating_sub(left.chars().count());
        format!("{left}{:gap$} {}\n", "", names(Side::Right))
    }

    fn row(&self, record: &Record, row: &Row) -> String {
        let time = |side: usize| row.at[side].map_or(String::new(), |at| clock(record, at));
        let (left, right) = (states(record, row, 0), states(record, row, 1));
        let (start, lane, end) = self.lane(record, row);
        let line = format!(
            "{:>time$} {left:states$} {start}{lane}{end} {right:states$} {:>time$}",
            time(0),
            time(1),
            time = self.time,
            states = self.states,
        );
        format!("{}\n", line.trim_end())
    }

    /// Between the lifelines, with what stands on them.
    fn lane(&self, record: &Record, row: &Row) -> (char, String, char) {
        let width = self.lane;
        let blank = || " ".repeat(width);
        match &row.body {
            Body::Whole(index) => {
                let label = name(record, *index);
                if side(record, record.segments[*index].from) == 0 {
                    let line = format!("── {label} ");
                    ('├', format!("{line:─<fill$}▶", fill = width - 1), '│')
                } else {
                    let line = format!(" {label} ──");
                    ('│', format!("◀{line:─>fill$}", fill = width - 1), '┤')
                }
            }
            Body::Leaves(index) => {
                let segment = &record.segments[*index];
                let label = name(record, *index);
                let tail = match segment.lost {
                    Some(why) => format!("─✕ {why}"),
                    None => "─ ─▶".to_owned(),
                };
                if side(record, segment.from) == 0 {
                    let line = format!("── {label} {tail}");
                    ('├', format!("{line:width$}"), '│')
                } else {
                    let tail = match segment.lost {
                        Some(why) => format!("{why} ✕─"),
                        None => "◀─ ─".to_owned(),
                    };
                    let line = format!("{tail} {label} ──");
                    ('│', format!("{line:>width$}"), '┤')
                }
            }
            Body::Comes(index) => {
                let label = name(record, *index);
                let to = record.segments[*index].to.unwrap_or(0);
                if side(record, to) == 1 {
                    let line = format!("─ ─ {label} ──▶");
                    ('│', format!("{line:>width$}"), '│')
                } else {
                    let line = format!("◀── {label} ─ ─");
                    ('│', format!("{line:width$}"), '│')
                }
            }
            Body::Call(host, text) => {
                let text = called(record, *host, text);
                if side(record, *host) == 0 {
                    ('●', format!(" {text:fill$}", fill = width - 1), '│')
                } else {
                    ('│', format!("{text:>fill$} ", fill = width - 1), '●')
                }
            }
            Body::Timer(host) => {
                if side(record, *host) == 0 {
                    ('●', blank(), '│')
                } else {
                    ('│', blank(), '●')
                }
            }
            Body::Note(text) => ('┊', format!("{:^width$}", format!("· {text} ·")), '┊'),
        }
    }
}
