//! Shards share nothing: two on two cores, each with its peer in memory, over one.

use crate::exchange::Ends as _;
use crate::exchange::ringmill::Ringmill;
use crate::figures::{Samples, Series};
use crate::reach::{Effort, Measure};
use anyhow::{Context as _, ensure};
use ringmill::affinity;
use ringmill_core::flow::{FlowHasher, FlowKey};
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// One shard and its peer on one core.
pub const ONE: Series = Series::new("one shard in memory", "exchanges/s");
/// Two on two.
pub const TWO: Series = Series::new("two shards in memory", "exchanges/s");

/// What the machine gives at most: a loop that computes in the first-level cache.
pub const LOOP: Series = Series::new("one loop that only hashes", "hashes/s");
/// Two of them on two cores: less than twice as much where cores are threads of one,
/// or one's clock is slower when the other works too.
pub const LOOPS: Series = Series::new("two loops that only hash", "hashes/s");

/// Connections of each shard.
const CONNECTIONS: usize = 1_000;

/// All four series.
pub struct Parallel {
    length: Duration,
}

impl Parallel {
    /// What a run with this effort measures.
    pub fn new(effort: &Effort) -> Parallel {
        Parallel {
            length: effort.length,
        }
    }

    /// What `work` does a second on each of `cores`, all at the same time, together.
    fn rate(&self, cores: &[usize], work: Work) -> anyhow::Result<f64> {
        let start = Barrier::new(cores.len());
        let run = &|core| {
            let is_pinned = affinity::pin_thread(core);
            let rate = work(self.length, &start);
            is_pinned.then_some(rate)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = cores
                .iter()
                .map(|&core| scope.spawn(move || run(core)))
                .collect();
            let rates = threads
                .into_iter()
                .map(|thread| thread.join().ok().flatten().context("a core can't be used"));
            rates.sum()
        })
    }
}

/// Works so long, once all are at the start: how much a second.
type Work = fn(Duration, &Barrier) -> f64;

fn exchanges(length: Duration, start: &Barrier) -> f64 {
    let mut ends = Ringmill::open(CONNECTIONS);
    start.wait();
    ends.run_for(length / 8);
    ends.run_for(length).rate()
}

fn hashes(length: Duration, start: &Barrier) -> f64 {
    const ROUND: u32 = 1_024;
    let hasher = FlowHasher::new([7; 16]);
    let mut key = FlowKey {
        remote: Ipv4Addr::new(198, 18, 0, 2).into(),
        local: 0,
        local_port: 0,
        remote_port: 80,
    };
    start.wait();
    let begun = Instant::now();
    let mut count = 0;
    while begun.elapsed() < length {
        for _ in 0..ROUND {
            key.local_port = key.local_port.wrapping_add(1);
            black_box(hasher.hash(&key));
        }
        count += ROUND;
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

impl Measure for Parallel {
    fn name(&self) -> &'static str {
        "one shard and two, in memory"
    }

    fn run(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        let cores = affinity::cores();
        ensure!(cores.len() >= 2, "two cores are needed");
        for (one, two, work) in [(ONE, TWO, exchanges as Work), (LOOP, LOOPS, hashes as Work)] {
            samples.add(one, self.rate(&cores[..1], work)?);
            samples.add(two, self.rate(&cores[..2], work)?);
        }
        Ok(())
    }
}
