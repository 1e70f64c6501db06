//! `ringmill-bench`: end-to-end measurements over veth pairs of their own.
//!
//! Everything that is compared is measured in turn, A B C A B C, and told as the
//! median and the ratios of one run: machines differ, and drift.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use ringmill::XdpMode;
use ringmill::netns;
use ringmill_bench::raw::PingPong;
use ringmill_bench::{Closing, kernel, pair, raw};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, Parser)]
#[command(
    name = "ringmill-bench",
    version,
    about = "Measures Ringmill over veth pairs, beside the kernel's TCP."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The raw limit of AF_XDP: a ping-pong through our driver, without TCP.
    Raw,
    /// The raw limit, wrk against nginx, and Ringmill against Ringmill.
    Veth {
        /// Rounds, of which medians are told.
        #[arg(short = 'n', long, default_value_t = 5)]
        rounds: usize,
        /// Seconds of each measurement.
        #[arg(short = 'd', long, default_value_t = 3)]
        seconds: u64,
        /// Connections at a time.
        #[arg(short = 'c', long, default_value_t = 64)]
        connections: usize,
        /// Write the figures as JSON.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
}

fn main() -> anyhow::Result<()> {
    netns::sweep();
    match Cli::parse().command {
        Command::Raw => raw_limits(),
        Command::Veth {
            rounds,
            seconds,
            connections,
            json,
        } => {
            let figures = veth(
                rounds.max(1),
                Duration::from_secs(seconds.max(1)),
                connections,
            )?;
            figures.print();
            match json {
                None => Ok(()),
                Some(path) => {
                    let text = serde_json::to_string_pretty(&figures)? + "\n";
                    std::fs::write(&path, text)
                        .with_context(|| format!("can't write {}", path.display()))
                }
            }
        }
    }
}

fn raw_limits() -> anyhow::Result<()> {
    println!("raw AF_XDP ping-pong over veth, a core an end, copy mode");
    for mode in [XdpMode::Native, XdpMode::Skb] {
        for in_flight in [1, 64] {
            let rate = raw::run(PingPong {
                in_flight,
                duration: Duration::from_secs(3),
                mode,
            })?;
            println!("{mode:>6} XDP, {in_flight:>2} in flight: {rate:>9.0} round trips/s");
        }
    }
    Ok(())
}

/// Medians and all rounds of one series.
#[derive(Debug, Serialize)]
struct Series {
    name: &'static str,
    unit: &'static str,
    median: f64,
    rounds: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Ratio {
    name: &'static str,
    /// The median of the ratios of each round.
    median: f64,
}

#[derive(Debug, Serialize)]
struct Figures {
    schema: u32,
    connections: usize,
    seconds: u64,
    series: Vec<Series>,
    ratios: Vec<Ratio>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        f64::midpoint(sorted[middle - 1], sorted[middle])
    }
}

/// What the table compares, in the order of a round.
#[derive(Clone, Copy, Debug)]
enum Measure {
    Raw,
    Kernel(Closing),
    Ringmill(Closing),
}

impl Measure {
    const ROUND: [Measure; 5] = [
        Measure::Raw,
        Measure::Kernel(Closing::KeepAlive),
        Measure::Ringmill(Closing::KeepAlive),
        Measure::Kernel(Closing::Close),
        Measure::Ringmill(Closing::Close),
    ];

    fn name(self) -> &'static str {
        match self {
            Measure::Raw => "raw AF_XDP ping-pong, 64 in flight",
            Measure::Kernel(Closing::KeepAlive) => "kernel TCP, wrk to nginx, keep-alive",
            Measure::Kernel(Closing::Close) => "kernel TCP, wrk to nginx, close",
            Measure::Ringmill(Closing::KeepAlive) => "ringmill to ringmill, keep-alive",
            Measure::Ringmill(Closing::Close) => "ringmill to ringmill, close",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Measure::Raw => "round trips/s",
            Measure::Kernel(Closing::KeepAlive) | Measure::Ringmill(Closing::KeepAlive) => {
                "requests/s"
            }
            Measure::Kernel(Closing::Close) | Measure::Ringmill(Closing::Close) => "connections/s",
        }
    }

    fn run(self, connections: usize, duration: Duration) -> anyhow::Result<f64> {
        match self {
            Measure::Raw => raw::run(PingPong {
                in_flight: 64,
                duration,
                mode: XdpMode::Native,
            }),
            Measure::Kernel(closing) => kernel::run(closing, connections, duration),
            Measure::Ringmill(closing) => pair::run(closing, connections, duration),
        }
    }
}

fn veth(rounds: usize, duration: Duration, connections: usize) -> anyhow::Result<Figures> {
    let mut rates = vec![Vec::new(); Measure::ROUND.len()];
    for round in 1..=rounds {
        for (measure, rates) in Measure::ROUND.into_iter().zip(&mut rates) {
            eprintln!("round {round} of {rounds}: {}", measure.name());
            rates.push(measure.run(connections, duration)?);
        }
    }
    let [
        raw,
        kernel_keep,
        ringmill_keep,
        kernel_close,
        ringmill_close,
    ] = [0, 1, 2, 3, 4];
    let ratio = |name, over: usize, under: usize, factor: f64| {
        let each: Vec<f64> = rates[over]
            .iter()
            .zip(&rates[under])
            .map(|(a, b)| a / b * factor)
            .collect();
        Ratio {
            name,
            median: median(&each),
        }
    };
    let ratios = vec![
        ratio(
            "ringmill over kernel, keep-alive",
            ringmill_keep,
            kernel_keep,
            1.0,
        ),
        ratio(
            "ringmill over kernel, close",
            ringmill_close,
            kernel_close,
            1.0,
        ),
        ratio(
            "ringmill keep-alive over the raw limit",
            ringmill_keep,
            raw,
            1.0,
        ),
        ratio(
            "ringmill close over a third of the raw limit",
            ringmill_close,
            raw,
            3.0,
        ),
    ];
    let series = Measure::ROUND
        .into_iter()
        .zip(rates)
        .map(|(measure, rounds)| Series {
            name: measure.name(),
            unit: measure.unit(),
            median: median(&rounds),
            rounds,
        })
        .collect();
    Ok(Figures {
        schema: 1,
        connections,
        seconds: duration.as_secs(),
        series,
        ratios,
    })
}

impl Figures {
    fn print(&self) {
        println!(
            "{} connections, a core a side, medians of {} rounds of {} s",
            self.connections,
            self.series[0].rounds.len(),
            self.seconds
        );
        for Series {
            name,
            unit,
            median,
            rounds,
        } in &self.series
        {
            let (least, most) = rounds
                .iter()
                .fold((f64::MAX, 0.0_f64), |(least, most), &rate| {
                    (least.min(rate), most.max(rate))
                });
            println!("  {name:<40} {median:>9.0} {unit:<14} ({least:.0} to {most:.0})");
        }
        for Ratio { name, median } in &self.ratios {
            println!("  {name:<46} {median:>5.2}");
        }
    }
}
