//! Requests and responses between two ends in memory, on one core: a request of
//! 64 bytes, a response of 128, each a segment, over connections picked at random.
//!
//! The same work is given to the engine and to smoltcp, so that what a segment
//! costs can be set side by side, by the number of connections that are held.

pub mod ringmill;
pub mod smoltcp;

use crate::figures::{Samples, Series};
use crate::reach::{Effort, Measure};
use ::ringmill::huge_pages;
use std::ops::AddAssign;
use std::time::Duration;

/// Requests under way at a time: what fills one batch.
const WINDOW: usize = 64;

/// What some exchanges took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Requests that were answered.
    pub exchanges: u64,
    /// Segments that either end received, acknowledgments without data among them.
    pub segments: u64,
    /// Time of both ends together.
    pub elapsed: Duration,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, more: Cost) {
        self.exchanges += more.exchanges;
        self.segments += more.segments;
        self.elapsed += more.elapsed;
    }
}

impl Cost {
    /// Nanoseconds for one segment: sent by one end, received by the other.
    pub fn nanos_per_segment(&self) -> f64 {
        self.elapsed.as_secs_f64() * 1e9 / self.segments as f64
    }

    /// Exchanges a second.
    pub fn rate(&self) -> f64 {
        self.exchanges as f64 / self.elapsed.as_secs_f64()
    }
}

/// Two ends with open connections between them.
pub trait Ends {
    /// Runs exchanges until at least `exchanges` more are complete.
    fn run(&mut self, exchanges: u64) -> Cost;

    /// Runs exchanges for about so long.
    fn run_for(&mut self, length: Duration) -> Cost {
        let mut cost = self.run(WINDOW as u64);
        while cost.elapsed < length {
            cost += self.run(WINDOW as u64 * 4);
        }
        cost
    }
}

/// Requests under way at a time over `connections`.
fn window(connections: usize) -> usize {
    WINDOW.min(connections.div_ceil(2))
}

/// One number of connections, and the series that is measured with it.
pub type Size = (usize, Series);

const fn size(connections: usize, name: &'static str) -> Size {
    (connections, Series::new(name, "ns a segment"))
}

/// The engine's: the last only in a long run.
pub const RINGMILL: [Size; 6] = [
    size(1, "ringmill in memory, 1 connection"),
    size(1_000, "ringmill in memory, 1 k connections"),
    size(10_000, "ringmill in memory, 10 k connections"),
    size(100_000, "ringmill in memory, 100 k connections"),
    size(1_000_000, "ringmill in memory, 1 M connections"),
    size(10_000_000, "ringmill in memory, 10 M connections"),
];

/// The engine's, its tables on pages of the usual size.
pub const USUAL_PAGES: Size = size(
    1_000_000,
    "ringmill in memory, 1 M connections, no huge pages",
);

/// smoltcp's: past these opening the connections takes hours.
pub const SMOLTCP: [Size; 3] = [
    size(1, "smoltcp in memory, 1 connection"),
    size(1_000, "smoltcp in memory, 1 k connections"),
    size(10_000, "smoltcp in memory, 10 k connections"),
];

/// One end of the comparison at one number of connections, kept open over the rounds.
pub struct Exchange {
    series: Series,
    connections: usize,
    length: Duration,
    open: fn(usize) -> Box<dyn Ends>,
    ends: Option<Box<dyn Ends>>,
}

impl Exchange {
    /// What a run with this effort measures.
    pub fn all(effort: &Effort) -> Vec<Box<dyn Measure>> {
        let ours = RINGMILL.len() - usize::from(!effort.is_long);
        let ringmill: fn(usize) -> Box<dyn Ends> = |n| Box::new(ringmill::Ringmill::open(n));
        let usual: fn(usize) -> Box<dyn Ends> =
            |n| Box::new(huge_pages::without(|| ringmill::Ringmill::open(n)));
        let smoltcp: fn(usize) -> Box<dyn Ends> = |n| Box::new(smoltcp::Smoltcp::open(n));
        let sizes = RINGMILL[..ours].iter().map(|size| (size, ringmill));
        let all = sizes
            .chain([(&USUAL_PAGES, usual)])
            .chain(SMOLTCP.iter().map(|size| (size, smoltcp)));
        let measure = |(&(connections, series), open)| {
            let exchange = Exchange {
                series,
                connections: effort.count(connections),
                length: effort.length,
                open,
                ends: None,
            };
            Box::new(exchange) as Box<dyn Measure>
        };
        all.map(measure).collect()
    }
}

impl Measure for Exchange {
    fn name(&self) -> &'static str {
        self.series.name
    }

    fn run(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        let ends = self
            .ends
            .get_or_insert_with(|| (self.open)(self.connections));
        // What another measurement had in the caches is not this one's to bring back.
        ends.run_for(self.length / 8);
        let cost = ends.run_for(self.length);
        samples.add(self.series, cost.nanos_per_segment());
        Ok(())
    }
}
