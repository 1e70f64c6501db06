//! The rows of a picture: what happened, one thing below the other.
//!
//! A segment takes one row where nothing else happened at its receiver while it
//! was on its way; else its leaving and its coming are two, and arrows cross.

use super::label;
use crate::record::{Change, Record, Side, What};
use ringmill_core::time::Instant;

/// What a row shows between the lifelines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// A segment from one side to the other.
    Whole(usize),
    /// A segment that leaves; where it arrives is further down, if anywhere.
    Leaves(usize),
    /// A segment that comes.
    Comes(usize),
    /// An application's call, at a host.
    Call(usize, String),
    /// Something by itself: a timer.
    Timer(usize),
    /// The narrator.
    Note(String),
}

/// A row.
#[derive(Clone, Debug)]
pub(super) struct Row {
    pub(super) body: Body,
    /// On each side: when, and which states came of it.
    pub(super) at: [Option<Instant>; 2],
    pub(super) states: [Vec<Change>; 2],
}

impl Row {
    fn new(body: Body) -> Row {
        Row {
            body,
            at: [None; 2],
            states: [Vec::new(), Vec::new()],
        }
    }

    /// A row of the narrator's.
    pub(super) fn note(text: String) -> Row {
        Row::new(Body::Note(text))
    }

    fn at(mut self, side: usize, at: Instant) -> Row {
        self.at[side] = Some(at);
        self
    }
}

/// Which side a host stands on, as an index.
pub(super) fn side(record: &Record, host: usize) -> usize {
    usize::from(record.hosts[host].side == Side::Right)
}

/// All rows of a record.
pub(super) fn rows(record: &Record) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    // The rows in which segments arrive, and the host and row of the last cause.
    let mut arrives = vec![None; record.segments.len()];
    let mut cause: Option<(usize, usize)> = None;
    for (place, event) in record.events.iter().enumerate() {
        match &event.what {
            What::Sent(index) => {
                let from = side(record, record.segments[*index].from);
                let body = if is_whole(record, place, *index) {
                    arrives[*index] = Some(rows.len());
                    Body::Whole(*index)
                } else {
                    Body::Leaves(*index)
                };
                rows.push(Row::new(body).at(from, event.at));
            }
            What::Arrived(index) => {
                let Some(to) = record.segments[*index].to else {
                    continue;
                };
                let row = *arrives[*index].get_or_insert_with(|| {
                    rows.push(Row::new(Body::Comes(*index)));
                    rows.len() - 1
                });
                rows[row].at[side(record, to)] = Some(event.at);
                cause = Some((to, row));
            }
            What::Called { host, text } => {
                let row = Row::new(Body::Call(*host, text.clone()));
                rows.push(row.at(side(record, *host), event.at));
                cause = Some((*host, rows.len() - 1));
            }
            What::Changed(change) => {
                let side = side(record, change.host);
                let row = cause.filter(|&(host, row)| {
                    let since = rows[row].at[side].map(|at| event.at.since(at));
                    host == change.host && since.is_some_and(|since| since <= record.slack)
                });
                let row = row.map_or_else(
                    || {
                        rows.push(Row::new(Body::Timer(change.host)).at(side, event.at));
                        cause = Some((change.host, rows.len() - 1));
                        rows.len() - 1
                    },
                    |(_, row)| row,
                );
                rows[row].states[side].push(*change);
            }
            What::Noted(text) => rows.push(Row::note(text.clone())),
        }
    }
    rows
}

/// Nothing happened at the receiver between the sending of a segment and its
/// arrival that would be told below it and was before it.
fn is_whole(record: &Record, place: usize, index: usize) -> bool {
    let segment = &record.segments[index];
    let (Some(to), Some(arrived)) = (segment.to, segment.arrived) else {
        return false;
    };
    let sent_before = |other: usize| other < index;
    let mut is_after_cause = false;
    for event in &record.events[place + 1..] {
        let is_earlier = event.at < arrived;
        let disturbs = match &event.what {
            What::Arrived(other) if *other == index => return true,
            What::Arrived(other) => {
                is_after_cause = sent_before(*other) && record.segments[*other].to == Some(to);
                record.segments[*other].to == Some(to) && !sent_before(*other)
            }
            What::Sent(other) => record.segments[*other].from == to,
            What::Called { host, .. } => *host == to,
            What::Changed(change) => change.host == to && !is_after_cause,
            What::Noted(_) => true,
        };
        if disturbs && is_earlier {
            return false;
        }
    }
    false
}

/// What a row says of states: "FIN-WAIT-1", or with a port where there are many.
pub(super) fn states(record: &Record, row: &Row, side: usize) -> String {
    let stands = if side == 0 { Side::Left } else { Side::Right };
    let several = record.names(stands).len() > 1;
    let told = row.states[side].iter().map(|change| {
        let mut text = String::new();
        if several {
            text.push_str(&record.hosts[change.host].name);
            text.push(' ');
        }
        text.push_str(change.to.name());
        text
    });
    told.collect::<Vec<_>>().join(", ")
}

/// What a segment is called in a row.
pub(super) fn name(record: &Record, index: usize) -> String {
    let segment = &record.segments[index];
    let several = |side: Side| record.names(side).len() > 1;
    let host = &record.hosts[segment.from];
    let mut text = label(record, segment);
    if several(host.side) {
        text = format!("{}: {text}", host.name);
    } else if let Some(to) = segment.to.filter(|&to| several(record.hosts[to].side)) {
        text = format!("to {}: {text}", record.hosts[to].name);
    }
    text
}
