//! Runs packetdrill's own Linux scripts against the engine, and tells which pass.
//!
//! ```text
//! script.pkt --(script: what it needs, its commands as flags)--> a copy without
//! commands --(run: packetdrill, this library, a time limit)--> passed, or why not
//! --(table)--> README.md
//! ```
//!
//! A script's own commands (sysctl, tc, ip, ethtool) would change this machine and
//! not the engine: none of them is run.

mod reasons;
mod run;
mod script;
mod table;

use anyhow::{Context as _, bail};
use clap::Parser;
use run::{Runner, Version};
use script::Script;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Runs packetdrill's scripts against the engine.
#[derive(Debug, Parser)]
#[command(name = "ringmill-packetdrill")]
struct Arguments {
    /// A packetdrill built from its source.
    #[arg(long, value_name = "PATH")]
    packetdrill: PathBuf,
    /// Where its scripts are [default: net/tcp beside packetdrill's own directory].
    #[arg(long, value_name = "DIR")]
    scripts: Option<PathBuf>,
    /// Only scripts whose path has this in it; what failed is shown in full.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only over this: ipv4, ipv6 or ipv4-mapped-ipv6.
    #[arg(long, value_name = "VERSION")]
    ip_version: Option<String>,
    /// Write the table into this file, between its two marks.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ringmill-packetdrill: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runner = Runner::new(&arguments.packetdrill)?;
    let directory = match &arguments.scripts {
        Some(directory) => directory.clone(),
        None => beside(&arguments.packetdrill)?,
    };
    let mut paths = Vec::new();
    find(&directory, &mut paths).with_context(|| format!("{}", directory.display()))?;
    paths.sort();
    let mut results = Vec::new();
    for path in paths {
        let name = path.strip_prefix(&directory)?.display().to_string();
        if arguments
            .only
            .as_ref()
            .is_some_and(|only| !name.contains(only))
        {
            continue;
        }
        let script = Script::read(&path)?;
        let is_asked = |version: &Version| {
            let asked = arguments.ip_version.as_deref();
            asked.is_none_or(|asked| asked == version.name())
        };
        let mut outcomes = Vec::new();
        for version in Version::ALL.into_iter().filter(is_asked) {
            if version.runs(&path, &script) {
                let outcome = runner.run(&path, &script, version)?;
                report(&name, version, &outcome, arguments.only.is_some());
                outcomes.push((version, outcome));
            }
        }
        results.push(table::Row {
            name,
            needs: script.needs,
            outcomes,
        });
    }
    if results.is_empty() {
        bail!("no script in {}", directory.display());
    }
    print!("{}", table::summary(&results));
    match &arguments.table {
        Some(file) => table::write(file, &results),
        None => Ok(()),
    }
}

fn report(name: &str, version: Version, outcome: &Result<(), String>, whole: bool) {
    let word = if outcome.is_ok() { "pass" } else { "FAIL" };
    println!("{word} {name} {}", version.name());
    if let Err(output) = outcome {
        for line in output.lines().take(if whole { usize::MAX } else { 1 }) {
            println!("     {line}");
        }
    }
}

fn find(directory: &Path, into: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            find(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "pkt") {
            into.push(path);
        }
    }
    Ok(())
}

/// The scripts in packetdrill's source, from the program in it.
fn beside(packetdrill: &Path) -> anyhow::Result<PathBuf> {
    let program = packetdrill.canonicalize()?;
    let net = program
        .ancestors()
        .nth(2)
        .context("packetdrill stands in its source")?;
    Ok(net.join("tcp"))
}
