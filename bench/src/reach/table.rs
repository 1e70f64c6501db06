//! The table: what is to be reached at least, what is aimed at, what was measured.

use crate::figures::{Samples, Series};
use crate::veth::{bulk, held, http, latency, raw, syns};
use crate::{churn, exchange, parallel, resident};
use serde::Serialize;
use std::fmt;

use Bound::{Least, Most};

/// Which way is better, and how the value is written.
#[derive(Clone, Copy, Debug)]
enum Bound {
    /// At most so much of a unit.
    Most(f64, f64, &'static str),
    /// At least so much of a unit.
    Least(f64, f64, &'static str),
}

/// One row: what is measured, and how it is told from the samples.
struct Goal {
    what: &'static str,
    bound: Bound,
    value: fn(&Samples) -> Option<f64>,
}

/// One row with its value.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    what: &'static str,
    at_least: String,
    aim: String,
    value: Option<f64>,
    text: String,
    /// The value is what it is to be at least.
    is_met: Option<bool>,
}

/// All rows, whether they were measured or not.
pub fn rows(samples: &Samples) -> Vec<Row> {
    GOALS.iter().map(|goal| goal.row(samples)).collect()
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Row {
            what,
            at_least,
            aim,
            text,
            is_met,
            ..
        } = self;
        let mark = if *is_met == Some(false) {
            " (missed)"
        } else {
            ""
        };
        write!(f, "| {what} | {at_least} | {aim} | {text}{mark} |")
    }
}

impl Goal {
    fn row(&self, samples: &Samples) -> Row {
        let value = (self.value)(samples);
        let (least, aim, unit) = match self.bound {
            Most(least, aim, unit) | Least(least, aim, unit) => (least, aim, unit),
        };
        Row {
            what: self.what,
            at_least: quantity(least, unit),
            aim: quantity(aim, unit),
            text: value.map_or("-".to_owned(), |value| quantity(value, unit)),
            is_met: value.map(|value| match self.bound {
                Most(most, ..) => value <= most,
                Least(least, ..) => value >= least,
            }),
            value,
        }
    }
}

/// Three significant digits and a unit: `%` and `x` are ratios.
fn quantity(value: f64, unit: &str) -> String {
    match unit {
        _ if value.is_infinite() => "works".to_owned(),
        "%" => format!("{:.0} %", value * 100.0),
        "x" => format!("{} times", digits(value)),
        unit if value >= 1e6 => format!("{} M {unit}", digits(value / 1e6)),
        unit if value >= 1e4 => format!("{} k {unit}", digits(value / 1e3)),
        unit => format!("{} {unit}", digits(value)),
    }
}

fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if decimals == 0 {
        return text;
    }
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

const fn segment(at: usize) -> Series {
    exchange::RINGMILL[at].1
}

/// Segments cost smoltcp so many times as much.
fn over_smoltcp(samples: &Samples, at: usize) -> Option<f64> {
    samples.ratio(exchange::SMOLTCP[at].1, segment(at))
}

const GOALS: [Goal; 26] = [
    Goal {
        what: "in memory, a segment of request and response, 1 k connections, both ends on one core",
        bound: Most(150.0, 60.0, "ns"),
        value: |s| s.median(segment(1)),
    },
    Goal {
        what: "the same at random over 1 M connections, over that at 1 k",
        bound: Most(2.0, 1.5, "x"),
        value: |s| s.ratio(segment(4), segment(1)),
    },
    Goal {
        what: "the same over 1 M without huge pages, over that with them",
        bound: Least(1.0, 1.2, "x"),
        value: |s| s.ratio(exchange::USUAL_PAGES.1, segment(4)),
    },
    Goal {
        what: "smoltcp's time for the same, 1 connection",
        bound: Least(1.2, 2.0, "x"),
        value: |s| over_smoltcp(s, 0),
    },
    Goal {
        what: "smoltcp's time for the same, 1 k connections",
        bound: Least(10.0, 50.0, "x"),
        value: |s| over_smoltcp(s, 1),
    },
    Goal {
        what: "smoltcp's time for the same, 10 k connections",
        bound: Least(50.0, 500.0, "x"),
        value: |s| over_smoltcp(s, 2),
    },
    Goal {
        what: "in memory, connect, request, response, close, both ends on one core",
        bound: Least(400e3, 1e6, "/s"),
        value: |s| s.median(churn::PLAIN),
    },
    Goal {
        what: "the same among 10 M TIME-WAIT records, over that without",
        bound: Least(0.9, 0.98, "%"),
        value: |s| s.ratio(churn::AMONG_RECORDS, churn::PLAIN),
    },
    Goal {
        what: "an idle connection, everything counted, of 1 M",
        bound: Most(256.0, 160.0, "B"),
        value: |s| s.median(resident::IDLE),
    },
    Goal {
        what: "a half-open record with its timer and index, IPv4",
        bound: Most(80.0, 64.0, "B"),
        value: |s| s.median(resident::HALF_OPEN),
    },
    Goal {
        what: "a TIME-WAIT record with its index, IPv4",
        bound: Most(64.0, 40.0, "B"),
        value: |s| s.median(churn::RECORD),
    },
    Goal {
        what: "10 M established connections in memory, one end",
        bound: Most(f64::INFINITY, 2.0, "GiB"),
        value: |s| s.median(resident::END_10M),
    },
    Goal {
        what: "two shards in memory over one",
        bound: Least(1.8, 1.95, "x"),
        value: |s| s.ratio(parallel::TWO, parallel::ONE),
    },
    Goal {
        what: "1 M connections over veth, held, requests over them: opening them",
        bound: Most(f64::INFINITY, 10.0, "s"),
        value: |s| s.median(held::OPENING),
    },
    Goal {
        what: "veth, requests/s, keep-alive, over the raw ping-pong",
        bound: Least(0.65, 0.85, "%"),
        value: |s| s.ratio(http::BOTH, raw::LIMIT),
    },
    Goal {
        what: "veth, connections/s over a third of the raw ping-pong",
        bound: Least(0.6, 0.8, "%"),
        value: |s| Some(3.0 * s.ratio(http::BOTH_CLOSE, raw::LIMIT)?),
    },
    Goal {
        what: "veth, ringmill to ringmill over wrk to nginx, keep-alive",
        bound: Least(3.0, 4.5, "x"),
        value: |s| s.ratio(http::BOTH, http::WRK_NGINX),
    },
    Goal {
        what: "the same, a connection for each request",
        bound: Least(7.0, 10.0, "x"),
        value: |s| s.ratio(http::BOTH_CLOSE, http::WRK_NGINX_CLOSE),
    },
    Goal {
        what: "one connection's p50 round trip over the raw ping-pong's",
        bound: Most(1.5, 1.2, "x"),
        value: |s| s.ratio(latency::ONE, raw::ONE),
    },
    Goal {
        what: "ringmill load to nginx over wrk to nginx, requests/s",
        bound: Least(1.1, 1.3, "x"),
        value: |s| s.ratio(http::LOAD_NGINX, http::WRK_NGINX),
    },
    Goal {
        what: "the generator's CPU for a request, ringmill load over wrk",
        bound: Most(0.7, 0.4, "%"),
        value: |s| s.ratio(http::LOAD_CPU, http::WRK_CPU),
    },
    Goal {
        what: "wrk to ringmill serve over wrk to nginx, requests/s",
        bound: Least(1.2, 1.2, "x"),
        value: |s| s.ratio(http::WRK_SERVE, http::WRK_NGINX),
    },
    Goal {
        what: "bulk, one connection, MTU 1500, over the raw frames one way x 1,448 B",
        bound: Least(0.7, 0.9, "%"),
        value: |s| Some(s.ratio(bulk::BULK, raw::FRAMES)? / 1_448.0),
    },
    Goal {
        what: "a flood of SYNs over veth",
        bound: Least(300e3, 300e3, "SYN/s"),
        value: |s| s.median(syns::SYNS),
    },
    Goal {
        what: "connections that succeed meanwhile",
        bound: Least(1.0, 1.0, "%"),
        value: |s| s.median(syns::SERVED),
    },
    Goal {
        what: "memory that the process grows by meanwhile",
        bound: Most(0.5, 0.0, "MiB"),
        value: |s| s.median(syns::GROWTH),
    },
];
