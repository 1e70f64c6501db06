//! The picture as a drawing: the rows of the terminal's, with arrows that slope
//! as time passes, and a bar of its state's colour along each lifeline.

use super::rows::{Body, Row, name, rows, side};
use super::svg::{Svg, TextAt};
use super::terminal::tabulated;
use super::{called, clock, time};
use crate::record::{Record, Segment, Side};
use crate::scenario::Outcome;
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::tcp::Flags;

/// Lifelines, and the width of all.
const LEFT: f64 = 250.0;
const LANE: f64 = 460.0;
const WIDTH: f64 = 2.0 * LEFT + LANE;
/// How far an arrow goes down on its way.
const SLOPE: f64 = 18.0;
/// Silence of this length is a gap in the picture.
const GAP: Duration = Duration::from_secs(1);
/// Rows that are drawn of each end of a long picture.
const ENDS: usize = 40;

/// Connections of a side at which its bar still says something.
const BARS_MAX: usize = 3;

/// The colour of a state.
pub(crate) fn colour(state: State) -> &'static str {
    match state {
        State::Closed | State::Listen => "#94a3b8",
        State::SynSent | State::SynReceived => "#d97706",
        State::Established => "#16a34a",
        State::FinWait1 => "#60a5fa",
        State::FinWait2 => "#2563eb",
        State::CloseWait => "#ea580c",
        State::LastAck => "#be123c",
        State::Closing => "#0891b2",
        State::TimeWait => "#7c3aed",
    }
}

/// A row and where it is.
struct Place<'a> {
    row: &'a Row,
    y: f64,
}

/// The time-sequence diagram alone, for a page that says the rest in words.
pub(crate) fn diagram(record: &Record) -> String {
    let mut svg = Svg::new(WIDTH);
    let bottom = draw(&mut svg, record, 24.0);
    svg.finish(bottom + 16.0)
}

/// The whole drawing of a run, which explains itself where it stands alone.
pub(crate) fn svg(outcome: &Outcome) -> String {
    let mut svg = Svg::new(WIDTH);
    svg.title(outcome.scenario.name, outcome.scenario.title);
    if !outcome.parameters.is_empty() {
        svg.text(TextAt::start(24.0, 74.0), "faint", &outcome.parameters);
    }
    let bottom = draw(&mut svg, &outcome.record, 104.0);
    let mut y = bottom + 40.0;
    for table in &outcome.tables {
        for line in tabulated(table).lines() {
            svg.preformatted(TextAt::start(24.0, y), line);
            y += 17.0;
        }
        y += 14.0;
    }
    for claim in &outcome.claims {
        let (mark, class) = if claim.holds {
            ("✓", "holds")
        } else {
            ("✗", "fails")
        };
        svg.text(TextAt::start(24.0, y), class, mark);
        for (text, class) in [(&claim.text, "claim"), (&claim.measured, "faint")] {
            for line in lines(text, 118) {
                svg.text(TextAt::start(44.0, y), class, &line);
                y += 18.0;
            }
        }
        y += 6.0;
    }
    svg.text(TextAt::start(24.0, y + 8.0), "faint", outcome.scenario.rfc);
    svg.finish(y + 28.0)
}

fn lines(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines
            .last_mut()
            .filter(|line| line.len() + word.len() < columns);
        match last {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Draws what happened from `top` on: where it ends.
fn draw(svg: &mut Svg, record: &Record, top: f64) -> f64 {
    let all = rows(record);
    let (head, tail) = if all.len() > 2 * ENDS + 1 {
        (&all[..ENDS], &all[all.len() - ENDS..])
    } else {
        (&all[..], &all[..0])
    };
    let skipped = all.len() - head.len() - tail.len();
    heading(svg, record, top);
    let mut y = top + 34.0;
    let mut places = Vec::new();
    let mut last: Option<Instant> = None;
    for (number, row) in head.iter().chain(tail).enumerate() {
        if number == head.len() {
            y = pause(svg, y, &format!("{skipped} more rows"));
            last = None;
        }
        let begins = row.at.iter().flatten().min().copied();
        if let (Some(last), Some(begins)) = (last, begins)
            && begins.since(last) >= GAP
        {
            y = pause(svg, y, &format!("{} pass", time(begins.since(last))));
        }
        places.push(Place { row, y });
        y += height(row);
        let ends = row.at.iter().flatten().max().copied();
        last = last.max(ends);
    }
    let bottom = y + 6.0;
    for (line, x) in [LEFT, LEFT + LANE].into_iter().enumerate() {
        svg.line((x, top + 12.0), (x, bottom), "lifeline");
        bars(svg, record, &places, line, bottom);
    }
    for place in &places {
        place.draw(svg, record);
    }
    arrows_that_cross(svg, record, &places);
    bottom
}

fn heading(svg: &mut Svg, record: &Record, top: f64) {
    for (side, x) in [(Side::Left, LEFT), (Side::Right, LEFT + LANE)] {
        let hosts = record.names(side).into_iter();
        let names: Vec<String> = hosts
            .map(|host| match host.tcp {
                "kernel" => format!("{} (Linux)", host.name),
                _ => host.name.clone(),
            })
            .collect();
        svg.text(TextAt::middle(x, top), "host", &names.join(", "));
    }
}

fn height(row: &Row) -> f64 {
    match row.body {
        Body::Whole(_) => SLOPE + 14.0,
        Body::Leaves(_) | Body::Comes(_) => 28.0,
        Body::Call(..) | Body::Timer(_) => 24.0,
        Body::Note(_) => 32.0,
    }
}

/// Time passes in which nothing happens.
fn pause(svg: &mut Svg, y: f64, text: &str) -> f64 {
    let middle = y + 10.0;
    svg.band(middle - 11.0, 22.0, LEFT - 12.0, LANE + 24.0);
    svg.text(
        TextAt::middle(LEFT + LANE / 2.0, middle + 4.0),
        "note",
        text,
    );
    y + 36.0
}

/// The state of a side's socket, as a bar along its lifeline: of the one that
/// changed last, where there are a few, and none where there are many.
fn bars(svg: &mut Svg, record: &Record, places: &[Place], line: usize, bottom: f64) {
    let changes: Vec<_> = places
        .iter()
        .flat_map(|place| {
            place.row.states[line]
                .iter()
                .map(move |change| (place, change))
        })
        .collect();
    let mut flows: Vec<_> = changes
        .iter()
        .map(|(_, change)| (change.host, change.local, change.remote))
        .collect();
    flows.sort_unstable();
    flows.dedup();
    let stands = if line == 0 { Side::Left } else { Side::Right };
    if flows.len() > BARS_MAX || record.names(stands).len() > 1 {
        return;
    }
    let x = if line == 0 { LEFT } else { LEFT + LANE };
    for (number, (place, change)) in changes.iter().enumerate() {
        let end = changes
            .get(number + 1)
            .map_or(bottom, |(next, _)| next.end(record, line));
        if change.to != State::Closed {
            svg.bar(x, place.end(record, line), end, colour(change.to));
        }
    }
}

impl Place<'_> {
    /// Where the row touches a side's lifeline.
    fn end(&self, record: &Record, line: usize) -> f64 {
        match self.row.body {
            Body::Whole(index) if side(record, record.segments[index].from) != line => {
                self.y + SLOPE
            }
            _ => self.y,
        }
    }

    fn draw(&self, svg: &mut Svg, record: &Record) {
        for line in 0..2 {
            self.margin(svg, record, line);
        }
        match &self.row.body {
            Body::Whole(index) => {
                let segment = &record.segments[*index];
                let from = side(record, segment.from);
                let ends = (at(from, self.y), at(1 - from, self.y + SLOPE));
                arrow(svg, record, *index, ends, true);
            }
            Body::Leaves(index) if record.segments[*index].lost.is_some() => {
                let from = side(record, record.segments[*index].from);
                let (start, end) = (at(from, self.y), at(1 - from, self.y + SLOPE));
                let stop = (
                    start.0 + (end.0 - start.0) * 0.62,
                    start.1 + (end.1 - start.1) * 0.62,
                );
                arrow(svg, record, *index, (start, stop), false);
                svg.cross(stop);
                if let Some(why) = record.segments[*index].lost {
                    let beside = if from == 0 {
                        TextAt::start
                    } else {
                        TextAt::end
                    };
                    let x = stop.0 + if from == 0 { 12.0 } else { -12.0 };
                    svg.text(beside(x, stop.1 + 4.0), "why", why);
                }
            }
            Body::Call(host, text) => {
                let line = side(record, *host);
                svg.dot(at(line, self.y));
                let text = called(record, *host, text);
                // Beside its lifeline, on the way that its segment will take.
                match line {
                    0 => svg.text(TextAt::start(LEFT + 12.0, self.y + 4.0), "call", &text),
                    _ => svg.text(TextAt::end(LEFT + LANE - 12.0, self.y + 4.0), "call", &text),
                }
            }
            Body::Timer(host) => svg.dot(at(side(record, *host), self.y)),
            Body::Note(text) => {
                svg.text(
                    TextAt::middle(LEFT + LANE / 2.0, self.y + 6.0),
                    "note",
                    text,
                );
            }
            Body::Leaves(_) | Body::Comes(_) => {}
        }
    }

    /// When, and in which state since.
    fn margin(&self, svg: &mut Svg, record: &Record, line: usize) {
        let Some(when) = self.row.at[line] else {
            return;
        };
        let y = self.end(record, line) + 4.0;
        let (time, states) = if line == 0 {
            (TextAt::start(12.0, y), TextAt::end(LEFT - 14.0, y))
        } else {
            let x = LEFT + LANE;
            (TextAt::end(WIDTH - 12.0, y), TextAt::start(x + 14.0, y))
        };
        svg.text(time, "time", &clock(record, when));
        let text = super::rows::states(record, self.row, line);
        if let Some(change) = self.row.states[line].last() {
            svg.coloured(states, "state", colour(change.to), &text);
        }
    }
}

fn at(line: usize, y: f64) -> (f64, f64) {
    (if line == 0 { LEFT } else { LEFT + LANE }, y)
}

/// Segments that left in one row and came in another.
fn arrows_that_cross(svg: &mut Svg, record: &Record, places: &[Place]) {
    for place in places {
        let (index, is_copy) = match place.row.body {
            Body::Leaves(index) => (index, false),
            Body::Comes(index) => (index, true),
            _ => continue,
        };
        let comes = places
            .iter()
            .find(|other| other.row.body == Body::Comes(index));
        let leaves = places
            .iter()
            .find(|other| other.row.body == Body::Leaves(index));
        let to = match record.segments[index].to {
            Some(to) => side(record, to),
            None => continue,
        };
        match (leaves, comes) {
            (Some(leaves), Some(comes)) if !is_copy => {
                let ends = (at(1 - to, leaves.y), at(to, comes.y));
                arrow(svg, record, index, ends, true);
            }
            // It came from somewhere outside of the picture.
            (None, Some(comes)) => {
                let end = at(to, comes.y);
                let reach = if to == 0 { 270.0 } else { -270.0 };
                arrow(
                    svg,
                    record,
                    index,
                    ((end.0 + reach, end.1 - 2.0), end),
                    true,
                );
            }
            _ => {}
        }
    }
}

fn arrow(
    svg: &mut Svg,
    record: &Record,
    index: usize,
    ends: ((f64, f64), (f64, f64)),
    arrives: bool,
) {
    let segment = &record.segments[index];
    let class = class(segment);
    svg.arrow(ends, class, arrives);
    svg.along(ends, class, &name(record, index));
}

fn class(segment: &Segment) -> &'static str {
    match segment {
        _ if segment.is_stray => "stray",
        _ if segment.lost.is_some() => "lost",
        _ if segment.flags.contains(Flags::RST) => "rst",
        _ if segment.again => "again",
        _ if segment.len > 0 => "data",
        _ => "plain",
    }
}
