//! `ringmill-bench`: how far the engine reaches, in memory and over veth pairs of its
//! own.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use ringmill::huge_pages::HugePages;
use ringmill::netns;
use ringmill_bench::chart;
use ringmill_bench::figures::Samples;
use ringmill_bench::reach::{self, Effort, Row};
use ringmill_bench::veth::ways;
use serde::Serialize;
use std::path::{Path, PathBuf};

#[global_allocator]
static HEAP: HugePages = HugePages;

#[derive(Debug, Parser)]
#[command(
    name = "ringmill-bench",
    version,
    about = "Measures Ringmill, in memory beside smoltcp and over veth pairs beside the kernel's TCP."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The raw limit of AF_XDP, by the ways that frames can pass the kernel: a
    /// ping-pong through our driver, without TCP.
    Raw {
        /// Rounds, of which medians are told.
        #[arg(short = 'n', long, default_value_t = 5)]
        rounds: usize,
    },
    /// Everything, and the table of what is to be reached.
    Reach(ReachArguments),
}

#[derive(Debug, clap::Args)]
struct ReachArguments {
    /// Rounds, of which medians are told.
    #[arg(short = 'n', long, default_value_t = 5)]
    rounds: usize,
    /// Only what needs no root: both ends in memory.
    #[arg(long)]
    memory: bool,
    /// Only what has this in its name.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Exchanges over ten million connections too: 4 GiB of memory.
    #[arg(long)]
    long: bool,
    /// Only that it runs: a thousandth of the connections, one short round.
    #[arg(long)]
    quick: bool,
    /// Write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the curves as a picture.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    netns::sweep();
    match Cli::parse().command {
        Command::Raw { rounds } => raw_limits(rounds.max(1)),
        Command::Reach(arguments) => measure(&arguments),
    }
}

fn raw_limits(rounds: usize) -> anyhow::Result<()> {
    println!("raw AF_XDP ping-pong over veth, copy mode, medians of {rounds} rounds:");
    for line in ways::compare(rounds)? {
        println!("{line}");
    }
    Ok(())
}

/// Everything that a run has told.
#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    rounds: usize,
    rows: &'a [Row],
    series: &'a Samples,
}

fn measure(arguments: &ReachArguments) -> anyhow::Result<()> {
    let effort = if arguments.quick {
        Effort::quick()
    } else {
        Effort::full(arguments.rounds.max(1), arguments.long)
    };
    let samples = reach::run(&effort, arguments.memory, arguments.only.as_deref())?;
    let rows = reach::rows(&samples);
    println!("{}", table(&samples, &rows));
    if let Some(path) = &arguments.json {
        let report = Report {
            schema: 2,
            rounds: effort.rounds,
            rows: &rows,
            series: &samples,
        };
        write(path, &(serde_json::to_string_pretty(&report)? + "\n"))?;
    }
    arguments
        .svg
        .as_deref()
        .map_or(Ok(()), |path| chart::draw(&samples, path))
}

/// What the README shows: the rows, then the figures that they were told from.
fn table(samples: &Samples, rows: &[Row]) -> String {
    let mut lines = vec![
        "| what | at least | aim | here |".to_owned(),
        "|---|---|---|---|".to_owned(),
    ];
    lines.extend(rows.iter().map(Row::to_string));
    lines.push(String::new());
    for (series, rounds) in samples.iter() {
        let median = samples.median(series).unwrap_or_default();
        let least = rounds.iter().copied().fold(f64::MAX, f64::min);
        let most = rounds.iter().copied().fold(f64::MIN, f64::max);
        let (name, unit) = (series.name, series.unit);
        lines.push(format!(
            "{name:<62} {median:>11.1} {unit:<14} ({least:.1} to {most:.1})"
        ));
    }
    lines.join("\n")
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("can't write {}", path.display()))
}
