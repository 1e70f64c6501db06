//! A simulator that hunts for faults of the engine.
//!
//! A seed stands for hosts, a network, options and applications. The real engine
//! runs in them in virtual time, and rules are checked at every step; a seed that
//! broke one breaks it again, exactly.
//!
//! ```text
//! scenario   what a seed stands for          world      one run, step by step
//! opening    how its connections open        observer   checks what is on the wire
//! network    links, one or several in a row  judge      how connections may end
//! node, plan the applications and the books  trace      prints what was sent
//! port       a host's rings
//! meddling   marks, ICMP and forged segments
//! ```

mod judge;
mod meddling;
mod network;
mod node;
mod observer;
mod opening;
mod plan;
mod port;
mod scenario;
mod segment;
mod trace;
mod world;

use scenario::Scenario;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// What seeds stand for has grown. Each edition draws what is new in it apart from the
/// rest, so that a seed that broke a rule can be kept in its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edition {
    /// Plain handshakes.
    First,
    /// And Fast Open, simultaneous opens, hosts without window scaling, receive buffers
    /// that grow and other initial windows.
    Openings,
    /// And hosts with the habits of other stacks: what probes a closed window, when an
    /// acknowledgment waits, how a congestion window grows.
    Habits,
}

impl Edition {
    /// The one that is hunted in.
    pub const LATEST: Edition = Edition::Habits;
}

/// A seed that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Broken {
    /// The seed.
    pub seed: u64,
    /// The rule, where and when.
    pub rule: String,
}

/// What the runs of some seeds took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// Seeds that were run to their end.
    pub seeds: u64,
    /// Connections that were to be opened.
    pub connections: u64,
    /// Steps of all engines.
    pub steps: u64,
    /// Frames that left an engine.
    pub frames: u64,
    /// Frames that the networks lost.
    pub lost: u64,
    /// The time that passed in the runs.
    pub virtual_time: Duration,
}

/// Runs every seed on this many threads: what it took, and the seeds that broke a
/// rule in their order. Each is told when it is found, and no seed is begun after
/// `broken_max` of them.
pub fn hunt(
    seeds: Range<u64>,
    threads: usize,
    broken_max: usize,
    on_broken: impl Fn(&Broken) + Sync,
) -> (Effort, Vec<Broken>) {
    let next = AtomicU64::new(seeds.start);
    let findings = Mutex::new((Effort::default(), Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let outcome = run(seed, Edition::LATEST);
            let mut findings = findings.lock().unwrap_or_else(PoisonError::into_inner);
            let (sum, broken) = &mut *findings;
            match outcome {
                Ok(effort) => sum.add(effort),
                Err(found) => {
                    on_broken(&found);
                    broken.push(found);
                }
            }
            if broken.len() >= broken_max {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let (effort, mut broken) = findings
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner);
    broken.sort();
    (effort, broken)
}

/// Runs one seed; a panic of the engine is a broken rule too.
pub fn run(seed: u64, edition: Edition) -> Result<Effort, Broken> {
    let run = || world::run(&Scenario::draw(seed, edition), &mut ());
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|_| Err("the engine panicked".to_owned()))
        .map_err(|rule| Broken { seed, rule })
}

/// Runs one seed, and prints what it stands for and every segment.
pub fn trace(seed: u64, edition: Edition) -> Result<Effort, Broken> {
    let scenario = Scenario::draw(seed, edition);
    println!("{scenario:#?}");
    world::run(&scenario, &mut trace::Printer).map_err(|rule| Broken { seed, rule })
}

impl Effort {
    fn add(&mut self, other: Effort) {
        self.seeds += other.seeds;
        self.connections += other.connections;
        self.steps += other.steps;
        self.frames += other.frames;
        self.lost += other.lost;
        self.virtual_time += other.virtual_time;
    }
}
