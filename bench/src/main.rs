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

fn veth(rounds: usize, duration: Duration, connections: usize) -> anyhow::Result<Figures> {
    type Measure<'a> = Box<dyn Fn() -> anyhow::Result<f64> + 'a>;
    let measures: [(&'static str, &'static str, Measure); 5] = [
        (
            "raw AF_XDP ping-pong, 64 in flight",
            "round trips/s",
            Box::new(|| {
                raw::run(PingPong {
                    in_flight: 64,
                    duration,
                    mode: XdpMode::Native,
                })
            }),
        ),
        (
            "kernel TCP, wrk to nginx, keep-alive",
            "requests/s",
            Box::new(|| kernel::run(Closing::KeepAlive, connections, duration)),
        ),
        (
            "ringmill to ringmill, keep-alive",
            "requests/s",
            Box::new(|| pair::run(Closing::KeepAlive, connections, duration)),
        ),
        (
            "kernel TCP, wrk to nginx, close",
            "connections/s",
            Box::new(|| kernel::run(Closing::Close, connections, duration)),
        ),
        (
            "ringmill to ringmill, close",
            "connections/s",
            Box::new(|| pair::run(Closing::Close, connections, duration)),
        ),
    ];
    let mut rates = vec![Vec::new(); measures.len()];
    for round in 1..=rounds {
        for ((name, _, measure), rates) in measures.iter().zip(&mut rates) {
            eprintln!("round {round} of {rounds}: {name}");
            rates.push(measure()?);
        }
    }
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
        ratio("ringmill over kernel, keep-alive", 2, 1, 1.0),
        ratio("ringmill over kernel, close", 4, 3, 1.0),
        ratio("ringmill keep-alive over the raw limit", 2, 0, 1.0),
        ratio("ringmill close over a third of the raw limit", 4, 0, 3.0),
    ];
    let series = measures
        .iter()
        .zip(rates)
        .map(|(&(name, unit, _), rounds)| Series {
            name,
            unit,
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
