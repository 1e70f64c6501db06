//! Goodput over bad links in virtual time, the engine next to smoltcp: the same
//! links, seeds, buffers and frames.
//!
//! ```text
//! cargo bench -p ringmill-bench --bench goodput
//! cargo bench -p ringmill-bench --bench goodput -- --json goodput.json
//! ```
//!
//! Nothing is asserted: it is a table to look at. The links lose in both directions
//! what the column says, at random; their bottleneck is drop-tail.

mod ours;
mod theirs;
mod wire;

use anyhow::Context as _;
use clap::Parser;
use ours::Buffers;
use ringmill_core::driver::link::Link;
use ringmill_core::tcp::{Algorithm, TcpConfig};
use ringmill_core::time::Duration;
use serde::Serialize;
use smoltcp::socket::tcp::CongestionControl;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use wire::{Delivered, Limits};

#[derive(Debug, Parser)]
struct Cli {
    /// Runs of each cell, of which the median is told.
    #[arg(long, default_value_t = 3)]
    seeds: u64,
    /// Write the table as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Given by cargo bench.
    #[arg(long, hide = true)]
    bench: bool,
}

/// In millionths.
const LOSSES: [u32; 5] = [0, 1_000, 10_000, 30_000, 100_000];
const ROUND_TRIPS_MS: [u64; 3] = [1, 20, 100];
const BUFFERS: [u32; 2] = [64 << 10, 1 << 20];
const CONNECTIONS: [usize; 2] = [1, 8];
const ALGORITHMS: [Algorithm; 2] = [Algorithm::NewReno, Algorithm::Cubic];
/// Of the grid's links.
const BANDWIDTH: u64 = 1_000_000_000;
const QUEUE: usize = 512;
const GRID_LIMITS: Limits = Limits {
    bytes: 32 << 20,
    time: Duration::from_secs(60),
};

/// One cell of the table, in Mbit/s.
#[derive(Clone, Debug, Serialize)]
struct Cell {
    algorithm: &'static str,
    connections: usize,
    buffer: u32,
    round_trip_ms: u64,
    loss_percent: f64,
    ringmill: f64,
    smoltcp: f64,
    ratio: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    schema: u32,
    seeds: u64,
    cells: Vec<Cell>,
    /// Of the cells with loss.
    median_ratio: f64,
    /// How much of a clean 1 Gbit/s and 100 ms the engine fills.
    cubic_fill: f64,
    /// The first seconds from the default receive buffer on the same link, in MB: with
    /// growth and without.
    growth: [Vec<f64>; 2],
    fairness: Vec<Fairness>,
}

/// Jain's index of eight equal flows, of [`FAIRNESS_RUNS`].
#[derive(Debug, Serialize)]
struct Fairness {
    algorithm: &'static str,
    median: f64,
    least: f64,
}

/// What is measured in a cell.
#[derive(Clone, Copy, Debug)]
struct Case {
    algorithm: Algorithm,
    connections: usize,
    buffer: u32,
    round_trip_ms: u64,
    loss: u32,
}

impl Case {
    fn all() -> Vec<Case> {
        let mut cases = Vec::new();
        for algorithm in ALGORITHMS {
            for connections in CONNECTIONS {
                for buffer in BUFFERS {
                    for round_trip_ms in ROUND_TRIPS_MS {
                        cases.extend(LOSSES.map(|loss| Case {
                            algorithm,
                            connections,
                            buffer,
                            round_trip_ms,
                            loss,
                        }));
                    }
                }
            }
        }
        cases
    }

    fn ours(&self, link: Link, seed: u64, limits: Limits) -> Delivered {
        let buffers = Buffers::fixed(self.buffer);
        let (mut sender, mut receiver) =
            ours::ends(self.connections, buffers, self.algorithm, seed);
        wire::run(&mut sender, &mut receiver, link, seed, limits)
    }

    fn theirs(&self, link: Link, seed: u64, limits: Limits) -> Delivered {
        let control = match self.algorithm {
            Algorithm::NewReno => CongestionControl::Reno,
            Algorithm::Cubic => CongestionControl::Cubic,
        };
        let (mut sender, mut receiver) = theirs::ends(self.connections, self.buffer, control, seed);
        wire::run(&mut sender, &mut receiver, link, seed, limits)
    }

    fn measure(&self, seeds: u64) -> Cell {
        let link = self.link(BANDWIDTH, QUEUE);
        let ringmill = median(seeds, |seed| self.ours(link, seed, GRID_LIMITS));
        let smoltcp = median(seeds, |seed| self.theirs(link, seed, GRID_LIMITS));
        Cell {
            algorithm: self.algorithm.name(),
            connections: self.connections,
            buffer: self.buffer,
            round_trip_ms: self.round_trip_ms,
            loss_percent: f64::from(self.loss) / 10_000.0,
            ringmill,
            smoltcp,
            ratio: ringmill / smoltcp.max(1e-9),
        }
    }

    fn link(&self, bandwidth: u64, queue: usize) -> Link {
        Link {
            loss: self.loss,
            delay: Duration::from_micros(self.round_trip_ms * 500),
            bandwidth,
            queue,
            ..Link::default()
        }
    }
}

/// The median of the seeds, in Mbit/s.
fn median(seeds: u64, run: impl Fn(u64) -> Delivered) -> f64 {
    middle(
        (0..seeds.max(1))
            .map(|seed| run(seed).goodput() / 1e6)
            .collect(),
    )
}

fn middle(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Measures all cells on all cores: time is virtual, so they don't disturb each
/// other.
fn measure(cases: &[Case], seeds: u64) -> Vec<Cell> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(at) else {
                return;
            };
            let cell = case.measure(seeds);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((at, cell));
            eprint!("\r{} of {} cells", done.len(), cases.len());
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, Into::into);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    eprintln!();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, cell)| cell).collect()
}

/// How much of a clean link of 1 Gbit/s and 100 ms, with a queue and buffers of
/// what is under way on it, CUBIC fills in 30 s from the first byte on.
fn cubic_fill() -> f64 {
    const PRODUCT: u32 = 12_500_000;
    let case = Case {
        algorithm: Algorithm::Cubic,
        connections: 1,
        buffer: PRODUCT,
        round_trip_ms: 100,
        loss: 0,
    };
    let limits = Limits {
        bytes: u64::MAX,
        time: Duration::from_secs(30),
    };
    let link = case.link(1_000_000_000, PRODUCT as usize / 1_514);
    let delivered = case.ours(link, 1, limits);
    delivered.wire_bytes as f64 * 8.0 / delivered.time.as_secs_f64() / 1e9
}

/// What arrives in each of the first seconds on that link where the receive buffer
/// is the default, in MB: it grows, or it stays.
fn growth(grows: bool) -> Vec<f64> {
    const PRODUCT: u32 = 12_500_000;
    let link = Link {
        delay: Duration::from_millis(50),
        bandwidth: 1_000_000_000,
        queue: PRODUCT as usize / 1_514,
        ..Link::default()
    };
    let default = TcpConfig::default();
    let buffers = Buffers {
        send: 4 * PRODUCT,
        receive: default.receive_buffer,
        receive_max: if grows { default.receive_buffer_max } else { 0 },
    };
    let until = |seconds| {
        let (mut sender, mut receiver) = ours::ends(1, buffers, Algorithm::Cubic, 1);
        let limits = Limits {
            bytes: u64::MAX,
            time: Duration::from_secs(seconds),
        };
        let delivered = wire::run(&mut sender, &mut receiver, link, 1, limits);
        delivered.bytes.iter().sum::<u64>() as f64 / 1e6
    };
    (1..=4).map(|n| until(n) - until(n - 1)).collect()
}

/// Who meets the full queue hangs on single microseconds, so one run tells little: the
/// links of these differ by so much each way.
const FAIRNESS_RUNS: u32 = 9;
const FAIRNESS_STEP: Duration = Duration::from_micros(37);

/// Jain's index of what eight connections get of 100 Mbit/s and 20 ms in 60 s: 1
/// when all get the same, 1/8 when one gets everything.
fn fairness(algorithm: Algorithm) -> Fairness {
    let runs = (0..FAIRNESS_RUNS).map(|run| jain(algorithm, FAIRNESS_STEP * run));
    let mut indices: Vec<f64> = runs.collect();
    indices.sort_by(f64::total_cmp);
    Fairness {
        algorithm: algorithm.name(),
        median: middle(indices.clone()),
        least: indices[0],
    }
}

fn jain(algorithm: Algorithm, longer: Duration) -> f64 {
    let case = Case {
        algorithm,
        connections: 8,
        buffer: 1 << 20,
        round_trip_ms: 20,
        loss: 0,
    };
    let limits = Limits {
        bytes: u64::MAX,
        time: Duration::from_secs(60),
    };
    let mut link = case.link(100_000_000, 166);
    link.delay += longer;
    let delivered = case.ours(link, 1, limits);
    let shares = || delivered.bytes.iter().map(|bytes| *bytes as f64);
    let sum: f64 = shares().sum();
    let squares: f64 = shares().map(|share| share * share).sum();
    sum * sum / (delivered.bytes.len() as f64 * squares).max(1.0)
}

impl Figures {
    fn print(&self) {
        println!(
            "goodput in Mbit/s, ringmill / smoltcp: {} Gbit/s, a queue of {QUEUE} frames, the first {} MiB or {} s, medians of {} seeds",
            BANDWIDTH / 1_000_000_000,
            GRID_LIMITS.bytes >> 20,
            GRID_LIMITS.time.as_secs(),
            self.seeds
        );
        for row in self.cells.chunks(LOSSES.len()) {
            let Some(first) = row.first() else {
                continue;
            };
            print!(
                "{:<7} x{} {:>5} KiB {:>3} ms",
                first.algorithm,
                first.connections,
                first.buffer >> 10,
                first.round_trip_ms
            );
            for cell in row {
                print!(
                    " | {:>4}% {:>7.2} /{:>7.2}{}",
                    cell.loss_percent,
                    cell.ringmill,
                    cell.smoltcp,
                    if cell.ratio < 1.0 { "!" } else { " " }
                );
            }
            println!();
        }
        let behind = self.cells.iter().filter(|cell| cell.ratio < 1.0).count();
        println!(
            "cells in which ringmill is behind (!): {behind} of {}",
            self.cells.len()
        );
        println!(
            "median ratio of the cells with loss: {:.2}",
            self.median_ratio
        );
        println!(
            "CUBIC fills {:.1} % of a clean 1 Gbit/s and 100 ms with buffers of 1 BDP",
            self.cubic_fill * 100.0
        );
        for (name, seconds) in ["grows", "stays"].iter().zip(&self.growth) {
            let seconds: Vec<_> = seconds.iter().map(|mb| format!("{mb:.1}")).collect();
            println!(
                "a default receive buffer that {name}, the same link, MB in each second: {}",
                seconds.join(" ")
            );
        }
        for Fairness {
            algorithm,
            median,
            least,
        } in &self.fairness
        {
            println!(
                "fairness of 8 equal flows in {FAIRNESS_RUNS} runs, {algorithm}: median {median:.3}, least {least:.3}"
            );
        }
    }
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let cells = measure(&Case::all(), cli.seeds);
    let lossy = cells.iter().filter(|cell| cell.loss_percent > 0.0);
    let figures = Figures {
        schema: 3,
        seeds: cli.seeds,
        median_ratio: middle(lossy.map(|cell| cell.ratio).collect()),
        cells,
        cubic_fill: cubic_fill(),
        growth: [true, false].map(growth),
        fairness: ALGORITHMS.map(fairness).into(),
    };
    figures.print();
    if let Some(path) = cli.json {
        let text = serde_json::to_string_pretty(&figures)? + "\n";
        std::fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
    }
    Ok(())
}
