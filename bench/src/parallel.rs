//! Shards share nothing: two on two cores, each with its peer in memory, over one.

use crate::exchange::Ends as _;
use crate::exchange::ringmill::Ringmill;
use crate::figures::{Samples, Series};
use crate::reach::{Effort, Measure};
use anyhow::{Context as _, ensure};
use ringmill::affinity;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

/// One shard and its peer on one core.
pub const ONE: Series = Series::new("one shard in memory", "exchanges/s");
/// Two on two.
pub const TWO: Series = Series::new("two shards in memory", "exchanges/s");

/// Connections of each shard.
const CONNECTIONS: usize = 1_000;

/// Both series.
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

    /// Exchanges a second of one shard on each of `cores`, all at the same time.
    fn rate(&self, cores: &[usize]) -> anyhow::Result<f64> {
        let start = Barrier::new(cores.len());
        let shard = &|core| {
            let is_pinned = affinity::pin_thread(core);
            let mut ends = Ringmill::open(CONNECTIONS);
            start.wait();
            ends.run_for(self.length / 8);
            let rate = ends.run_for(self.length).rate();
            is_pinned.then_some(rate)
        };
        thread::scope(|scope| {
            let threads: Vec<_> = cores
                .iter()
                .map(|&core| scope.spawn(move || shard(core)))
                .collect();
            let rates = threads
                .into_iter()
                .map(|thread| thread.join().ok().flatten().context("a core can't be used"));
            rates.sum()
        })
    }
}

impl Measure for Parallel {
    fn name(&self) -> &'static str {
        "one shard and two, in memory"
    }

    fn run(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        let cores = affinity::cores();
        ensure!(cores.len() >= 2, "two cores are needed");
        samples.add(ONE, self.rate(&cores[..1])?);
        samples.add(TWO, self.rate(&cores[..2])?);
        Ok(())
    }
}
