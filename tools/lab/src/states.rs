//! The state machine as a drawing, made from the table that the engine runs by
//! (core/src/tcp/transitions.rs), with the path of a scenario in it.

use crate::picture::drawing::colour;
use crate::picture::svg::{Svg, TextAt};
use crate::record::Side;
use crate::scenario::Outcome;
use ringmill_core::tcp::{Action, Event, State};
use std::collections::BTreeMap;

const WIDTH: f64 = 1_060.0;
const HEIGHT: f64 = 800.0;
const BOX: (f64, f64) = (132.0, 34.0);

/// Where a state is, as RFC 9293's figure 5 has it.
fn place(state: State) -> (f64, f64) {
    match state {
        State::Closed => (530.0, 120.0),
        State::Listen => (530.0, 230.0),
        State::SynReceived => (240.0, 330.0),
        State::SynSent => (820.0, 330.0),
        State::Established => (530.0, 400.0),
        State::FinWait1 => (240.0, 510.0),
        State::CloseWait => (820.0, 510.0),
        State::FinWait2 => (150.0, 640.0),
        State::Closing => (420.0, 640.0),
        State::LastAck => (820.0, 640.0),
        State::TimeWait => (420.0, 740.0),
    }
}

/// The events that lead from one state to another, as the table has them. Ends by
/// a RST, an abort or a silence lead from everywhere to CLOSED and would cover the
/// rest.
fn edges() -> BTreeMap<(usize, usize), Vec<Event>> {
    let mut edges = BTreeMap::<_, Vec<Event>>::new();
    for from in State::ALL {
        for &event in Event::ALL {
            let is_end = matches!(
                event,
                Event::Abort
                    | Event::Reset
                    | Event::GivenUp
                    | Event::Unreachable
                    | Event::TextAfterClose
                    | Event::HandedOver
            );
            let cell = from.on(event);
            if let Some(to) = cell
                .next
                .filter(|_| cell.action != Action::Impossible && !is_end)
            {
                edges
                    .entry((number(from), number(to)))
                    .or_default()
                    .push(event);
            }
        }
    }
    edges
}

fn number(state: State) -> usize {
    State::ALL
        .iter()
        .position(|&known| known == state)
        .unwrap_or(0)
}

/// The drawing; with the states that each side of a run went through, in its colour.
pub(crate) fn svg(path: Option<&Outcome>) -> String {
    let mut svg = Svg::new(WIDTH);
    match path {
        Some(outcome) => svg.title(
            "TCP's states",
            &format!(
                "the path of {}: {}",
                outcome.scenario.name, outcome.scenario.title
            ),
        ),
        None => svg.title(
            "TCP's states",
            "RFC 9293 section 3.3.2, as the engine's table has them",
        ),
    }
    let steps = path.map(steps).unwrap_or_default();
    for ((from, to), events) in edges() {
        let labels: Vec<String> = events
            .iter()
            .map(|&event| format!("{} / {}", event.name(), State::ALL[from].on(event).action))
            .collect();
        let walked = |side| steps.contains(&(side, from, to));
        edge(
            &mut svg,
            (State::ALL[from], State::ALL[to]),
            &labels,
            [walked(Side::Left), walked(Side::Right)],
        );
    }
    let visited = |state| {
        steps
            .iter()
            .any(|(_, from, to)| [*from, *to].contains(&number(state)))
    };
    for state in State::ALL {
        let is_dim = path.is_some() && !visited(state);
        node(&mut svg, state, is_dim);
    }
    if path.is_some() {
        for (y, class, words) in [(96.0, LEFT, "client"), (116.0, RIGHT, "server")] {
            svg.raw(&format!("<line x1=\"24\" y1=\"{y}\" x2=\"60\" y2=\"{y}\" stroke=\"{class}\" stroke-width=\"4\"/>"));
            svg.text(TextAt::start(68.0, y + 4.0), "claim", words);
        }
    }
    svg.text(
        TextAt::start(24.0, HEIGHT - 12.0),
        "faint",
        "left out: from every state a RST, an ABORT or a silence that is too long leads to CLOSED",
    );
    svg.finish(HEIGHT)
}

const LEFT: &str = "#2563eb";
const RIGHT: &str = "#ea580c";

type Step = (Side, usize, usize);

/// The steps that the sockets of a run took. One look at a host may see several at
/// once; between them is the shortest way that the table has.
fn steps(outcome: &Outcome) -> Vec<Step> {
    let record = &outcome.record;
    let mut steps = Vec::new();
    for (host, lifeline) in record.hosts.iter().enumerate() {
        for (_, change) in record.changes(host) {
            let way = way(number(change.from), number(change.to));
            steps.extend(way.windows(2).map(|pair| (lifeline.side, pair[0], pair[1])));
            if change.from == State::Listen {
                steps.push((lifeline.side, number(State::Closed), number(State::Listen)));
            }
        }
    }
    steps
}

/// The shortest way between two states over the edges of the drawing.
fn way(from: usize, to: usize) -> Vec<usize> {
    let edges = edges();
    let mut ways = vec![vec![from]];
    for _ in 0..State::ALL.len() {
        if let Some(way) = ways.iter().find(|way| way.last() == Some(&to)) {
            return way.clone();
        }
        let longer = ways.iter().flat_map(|way| {
            let last = way.last().copied().unwrap_or(from);
            let next = edges.keys().filter(move |(at, _)| *at == last);
            next.map(|(_, next)| [way.as_slice(), &[*next]].concat())
        });
        ways = longer.collect();
    }
    Vec::new()
}

fn node(svg: &mut Svg, state: State, is_dim: bool) {
    let (x, y) = place(state);
    let (width, height) = BOX;
    let opacity = if is_dim { 0.25 } else { 1.0 };
    svg.raw(&format!(
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{}\" opacity=\"{opacity}\"/>",
        x - width / 2.0,
        y - height / 2.0,
        colour(state)
    ));
    svg.coloured(TextAt::middle(x, y + 4.0), "state", "white", state.name());
}

/// The corners of an edge that would cross the drawing: around its outside.
fn around(from: State, to: State) -> &'static [(f64, f64)] {
    match (from, to) {
        (State::LastAck, State::Closed) => &[(960.0, 640.0), (960.0, 120.0)],
        (State::TimeWait, State::Closed) => &[(1_020.0, 740.0), (1_020.0, 96.0), (530.0, 96.0)],
        (State::FinWait2, State::Closed) => &[(30.0, 640.0), (30.0, 150.0), (430.0, 150.0)],
        (State::TimeWait, State::Listen) => &[(60.0, 740.0), (60.0, 230.0)],
        _ => &[],
    }
}

/// The way of an edge, from box to box. Edges both ways between two states pass
/// each other on the right.
fn route(from: State, to: State) -> Vec<(f64, f64)> {
    let (a, b) = (place(from), place(to));
    let corners = around(from, to);
    let (Some(first), Some(last)) = (corners.first(), corners.last()) else {
        let has_back = edges().contains_key(&(number(to), number(from)));
        let ends = [border(a, b), border(b, a)];
        return aside(&ends, if has_back { 8.0 } else { 0.0 });
    };
    let mut way = vec![border(a, *first)];
    way.extend(corners);
    way.push(border(b, *last));
    way
}

/// A way that goes so far to the right of another.
fn aside(way: &[(f64, f64)], shift: f64) -> Vec<(f64, f64)> {
    let (Some(start), Some(end)) = (way.first(), way.last()) else {
        return Vec::new();
    };
    let length = (end.0 - start.0).hypot(end.1 - start.1).max(1.0);
    let across = (
        -(end.1 - start.1) / length * shift,
        (end.0 - start.0) / length * shift,
    );
    way.iter()
        .map(|point| (point.0 + across.0, point.1 + across.1))
        .collect()
}

fn edge(svg: &mut Svg, (from, to): (State, State), labels: &[String], walked: [bool; 2]) {
    let way = route(from, to);
    let strokes: &[(&str, f64, f64)] = match walked {
        [true, true] => &[(LEFT, 3.0, -2.0), (RIGHT, 3.0, 2.0)],
        [true, false] => &[(LEFT, 3.0, 0.0)],
        [false, true] => &[(RIGHT, 3.0, 0.0)],
        _ => &[("#94a3b8", 1.2, 0.0)],
    };
    for (colour, width, shift) in strokes {
        let way = aside(&way, *shift);
        let points: Vec<String> = way.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        svg.raw(&format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\"/>",
            points.join(" ")
        ));
        if let [.., before, end] = way[..] {
            svg.head(before, end, &format!("fill=\"{colour}\""));
        }
    }
    // Where two edges run beside each other their labels are apart too.
    let middle = match way[..] {
        [(ax, ay), (bx, by)] => {
            let share = if edges().contains_key(&(number(to), number(from))) {
                0.34
            } else {
                0.5
            };
            (ax + (bx - ax) * share, ay + (by - ay) * share)
        }
        [_, (ax, ay), (bx, by), ..] if from == State::LastAck => {
            (f64::midpoint(ax, bx), f64::midpoint(ay, by))
        }
        [_, _, (ax, ay), (bx, _), ..] if from == State::FinWait2 => {
            (f64::midpoint(ax, bx), ay - 6.0)
        }
        [start, corner, ..] => (
            f64::midpoint(start.0, corner.0),
            f64::midpoint(start.1, corner.1),
        ),
        _ => return,
    };
    let top = middle.1 + 3.0 - 5.5 * (labels.len() as f64 - 1.0);
    for (line, label) in labels.iter().enumerate() {
        let y = top + 11.0 * line as f64;
        svg.raw(&format!(
            "<text x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" style=\"font-size:9.5px;paint-order:stroke;stroke:white;stroke-width:3px\">{label}</text>",
            middle.0
        ));
    }
}

/// Where the line from `a` to `b` leaves the box of `a`.
fn border(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let scale = (BOX.0 / 2.0 / dx.abs().max(0.001)).min((BOX.1 / 2.0 + 1.0) / dy.abs().max(0.001));
    (a.0 + dx * scale, a.1 + dy * scale)
}
