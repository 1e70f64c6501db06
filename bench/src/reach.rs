//! How far the engine reaches: everything that is measured, in rounds, and the table
//! of what it is to reach.
//!
//! Everything that is compared is measured in turn, A B C A B C, and told as the
//! median of the rounds: machines differ, and drift.

mod table;

use crate::churn::Churns;
use crate::exchange::Exchange;
use crate::figures::Samples;
use crate::parallel::Parallel;
use crate::resident::Resident;
use crate::veth;
use std::time::Duration;

pub use table::{Row, rows};

/// One thing that is measured in each round. It keeps what it needs for the next.
pub trait Measure {
    /// What it is, for whoever waits.
    fn name(&self) -> &'static str;

    /// Once is enough.
    fn is_once(&self) -> bool {
        false
    }

    /// Measures, and adds a sample to each of its series.
    fn run(&mut self, samples: &mut Samples) -> anyhow::Result<()>;
}

/// How much of everything.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds, of which medians are told.
    pub rounds: usize,
    /// Of one measurement in memory.
    pub length: Duration,
    /// Of one measurement over veth.
    pub veth_length: Duration,
    /// Numbers of connections are divided by this.
    divisor: usize,
    /// Ten million connections exchange too.
    pub is_long: bool,
}

impl Effort {
    /// The whole of it.
    pub fn full(rounds: usize, is_long: bool) -> Effort {
        Effort {
            rounds,
            length: Duration::from_millis(700),
            veth_length: Duration::from_secs(3),
            divisor: 1,
            is_long,
        }
    }

    /// Only that it runs: what it tells means nothing.
    pub fn quick() -> Effort {
        Effort {
            rounds: 1,
            length: Duration::from_millis(50),
            veth_length: Duration::from_millis(200),
            divisor: 1_000,
            is_long: false,
        }
    }

    /// So many connections, or a part of them.
    pub fn count(&self, connections: usize) -> usize {
        connections.div_ceil(self.divisor)
    }
}

/// Measures all, or what needs no privilege, or what has `only` in its name, and says
/// on the way what it is at.
///
/// # Errors
/// When something can't be measured: no root, no AF_XDP, fewer than two cores, a
/// peer that is not installed. When there was a loss where none may be.
pub fn run(effort: &Effort, only_memory: bool, only: Option<&str>) -> anyhow::Result<Samples> {
    let mut measures: Vec<Box<dyn Measure>> = vec![Box::new(Resident::new(effort))];
    measures.extend(Exchange::all(effort));
    measures.push(Box::new(Churns::new(effort)));
    measures.push(Box::new(Parallel::new(effort)));
    if !only_memory {
        measures.extend(veth::all(effort));
    }
    measures.retain(|measure| only.is_none_or(|part| measure.name().contains(part)));
    let mut samples = Samples::default();
    for round in 1..=effort.rounds {
        for measure in &mut measures {
            if round == 1 || !measure.is_once() {
                eprintln!("round {round} of {}: {}", effort.rounds, measure.name());
                measure.run(&mut samples)?;
            }
        }
    }
    Ok(samples)
}
