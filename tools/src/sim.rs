//! `ringmill sim`: a hunt for faults of the engine, and the repetition of one.

use crate::cli::SimArguments;
use crate::exit::Exit;
use ringmill_sim::{Broken, Edition, Effort};
use std::time::{Duration, Instant};

/// After this many seeds that broke a rule a hunt ends.
const BROKEN_MAX: usize = 10;
const SEEDS_DEFAULT: u64 = 1_000;

pub(crate) fn run(arguments: &SimArguments) -> anyhow::Result<Exit> {
    let first = arguments.seed.unwrap_or(0);
    if arguments.trace {
        return Ok(match ringmill_sim::trace(first, Edition::LATEST) {
            Ok(effort) => {
                println!("seed {first}: every rule held: {effort:?}");
                Exit::Success
            }
            Err(broken) => {
                tell(&broken);
                Exit::Internal
            }
        });
    }
    let default = arguments.seed.map_or(SEEDS_DEFAULT, |_| 1);
    let seeds = first..first.saturating_add(arguments.seeds.unwrap_or(default));
    let threads = match arguments.threads {
        Some(threads) => threads,
        None => std::thread::available_parallelism()?.get(),
    };
    let began = Instant::now();
    let (effort, broken) = ringmill_sim::hunt(seeds, threads, BROKEN_MAX, tell);
    report(&effort, began.elapsed());
    Ok(match &broken[..] {
        [] => {
            println!("every rule held");
            Exit::Success
        }
        [first, ..] => {
            println!(
                "{} seeds broke a rule; `ringmill sim --seed {} --trace` shows the first",
                broken.len(),
                first.seed
            );
            Exit::Internal
        }
    })
}

fn tell(broken: &Broken) {
    println!("seed {}: {}", broken.seed, broken.rule);
}

fn report(effort: &Effort, elapsed: Duration) {
    let seconds = elapsed.as_secs_f64().max(1e-9);
    println!(
        "{} seeds in {seconds:.1} s, {:.0} a minute",
        effort.seeds,
        effort.seeds as f64 / seconds * 60.0
    );
    println!(
        "{} connections, {} steps, {} frames, {} of them lost, {:.0} h of virtual time",
        effort.connections,
        effort.steps,
        effort.frames,
        effort.lost,
        effort.virtual_time.as_secs_f64() / 3_600.0
    );
}
