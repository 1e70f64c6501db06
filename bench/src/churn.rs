//! Connections that are opened, used once and closed, both ends in memory on one
//! core; and the same among ten million TIME-WAIT records, which come and go at
//! the rate of the connections.

use crate::apps::{Caller, Responder};
use crate::figures::{Samples, Series};
use crate::memory::{Ports, Wire};
use crate::reach::{Effort, Measure};
use crate::resident;
use ringmill_core::tcp::State;
use std::time::{Duration, Instant};

/// Each TIME-WAIT as short as can be: a tick of its wheel.
pub const PLAIN: Series = Series::new("ringmill in memory, connections", "connections/s");
/// With ten million.
pub const AMONG_RECORDS: Series = Series::new(
    "ringmill in memory, connections among 10 M TIME-WAIT records",
    "connections/s",
);
/// What a record takes, with its place in the flow table.
pub const RECORD: Series = Series::new("a TIME-WAIT record", "bytes");
/// The curve of connections a second by the records that are there.
pub const CURVE: &str = "connections/s by TIME-WAIT records";

/// Records that the second series has.
const RECORDS: usize = 10_000_000;
/// Room for what a tick of TIME-WAIT's wheel adds, a quarter of a second.
const TICK: usize = 1 << 20;
/// Connections at a time.
const WINDOW: usize = 64;
/// Points of the curve.
const POINTS: usize = 20;

/// Two engines, between which connections come and go.
pub struct Churn(Wire<Caller, Responder>);

impl Churn {
    /// Each TIME-WAIT lasts for `time_wait`; there is room for `records` of them, and
    /// ports for `connections`.
    pub fn new(time_wait: Duration, records: usize, connections: usize) -> Churn {
        let caller = Caller::new(connections, WINDOW);
        let mut wire = Wire::with_config(caller, Responder::default(), |config| {
            config.tcp.max_connections = 4_096;
            config.tcp.max_time_wait = records;
            config.tcp.msl = time_wait / 2;
        });
        wire.server(|responder, sockets| {
            responder.start(sockets, Ports::for_connections(connections))
        })
        .expect("nobody else listens");
        Churn(wire)
    }

    /// Both shards, to be looked at.
    pub fn wire(&self) -> &Wire<Caller, Responder> {
        &self.0
    }

    /// Runs until at least `connections` more are closed: how many a second.
    pub fn run(&mut self, connections: u64) -> f64 {
        let wire = &mut self.0;
        let done = wire.client.app().done();
        let start = Instant::now();
        while wire.client.app().done() < done + connections {
            wire.turn();
        }
        (wire.client.app().done() - done) as f64 / start.elapsed().as_secs_f64()
    }

    /// Connections in a second of the wire's own time.
    fn pace(&mut self) -> f64 {
        self.run(10_000);
        let (done, now) = (self.0.client.app().done(), self.0.now());
        self.run(50_000);
        let length = self.0.now().since(now);
        (self.0.client.app().done() - done) as f64 / length.as_secs_f64()
    }

    fn records(&self) -> usize {
        self.0.client.gauges().of(State::TimeWait)
    }
}

/// Both series, and what is learnt on the way to the second.
pub struct Churns {
    records: usize,
    each: u64,
    churns: Option<[Churn; 2]>,
}

impl Churns {
    /// What a run with this effort measures.
    pub fn new(effort: &Effort) -> Churns {
        Churns {
            records: effort.count(RECORDS),
            // A quarter of a second of TIME-WAIT ends at once: many of those.
            each: effort.count(2_000_000) as u64,
            churns: None,
        }
    }

    /// Opens both. All TIME-WAITs are equally long, so one as long as so many
    /// connections take keeps so many records.
    fn open(&self, samples: &mut Samples) -> [Churn; 2] {
        let room = self.records + TICK;
        let mut plain = Churn::new(Duration::from_millis(1), TICK, room);
        let time_wait = Duration::from_secs_f64(self.records as f64 / plain.pace());
        let mut full = Churn::new(time_wait, room, room);
        full.run(10_000);
        let before = (resident::bytes(), full.records());
        let step = (self.records / POINTS) as u64;
        for _ in 0..POINTS {
            let rate = full.run(step);
            samples.add_point(CURVE, full.records() as f64, rate);
        }
        let grown = resident::bytes() - before.0;
        samples.add(RECORD, grown / (full.records() - before.1) as f64);
        // From here on as many end as start.
        full.run(self.each);
        [plain, full]
    }
}

impl Measure for Churns {
    fn name(&self) -> &'static str {
        "connections in memory, without and among TIME-WAIT records"
    }

    fn run(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        if self.churns.is_none() {
            self.churns = Some(self.open(samples));
        }
        let [plain, full] = self.churns.as_mut().expect("opened");
        samples.add(PLAIN, plain.run(self.each));
        samples.add(AMONG_RECORDS, full.run(self.each));
        for churn in [plain, full] {
            let failed = churn.wire().client.app().failed();
            anyhow::ensure!(failed == 0, "{failed} connections failed");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_wait_as_long_as_so_many_connections_keeps_so_many_records() {
        let effort = Effort::quick();
        let mut churns = Churns::new(&effort);
        (churns.records, churns.each) = (1_000_000, 400_000);
        let mut samples = Samples::default();
        let [_, full] = churns.open(&mut samples);
        let records = full.records();
        assert!(
            (900_000..=1_400_000).contains(&records),
            "{records} records"
        );
        assert_eq!(full.wire().client.app().failed(), 0);
        let stats = full.wire().client.stats().tcp;
        assert!(stats.time_wait_expired > 0 && stats.time_wait_overflow == 0);
    }
}
