//! `ringmill load`: a closed loop of HTTP requests through an interface.

use crate::cli::LoadArguments;
use crate::engine::{Ended, Figures};
use crate::exit::{Exit, Failure};
use crate::job::Job;
use crate::live::Live;
use crate::port::Port;
use crate::report::Report;
use ringmill_core::app::load::{Load, LoadConfig};

pub(crate) fn run(arguments: &LoadArguments) -> anyhow::Result<Exit> {
    let job = Job::new(
        Some(arguments.duration),
        arguments.network.core,
        &arguments.output,
    )?
    .with_desk();
    let target = arguments.url.target.ip();
    let mut ranges = arguments.network.addresses.iter();
    if !ranges.any(|range| range.first.is_ipv4() == target.is_ipv4()) {
        return Err(Failure::usage(
            "the target is of a version of IP that no --addr is of: give one that is",
        ));
    }
    let port = Port::open(&arguments.interface, &arguments.network, arguments.ports)?;
    let shards = arguments.network.shards;
    let most = port.config.tcp.max_connections * shards;
    if arguments.connections > most {
        return Err(Failure::usage(format!(
            "at most {most} connections at a time"
        )));
    }
    if port.config.addresses.iter().any(|own| own.ip == target) {
        return Err(Failure::usage(
            "the target is one of the engine's own addresses: change --addr",
        ));
    }
    let (description, mtu) = (port.description.clone(), u32::from(port.config.mtu));
    let load = |shard| {
        Load::new(LoadConfig {
            target: arguments.url.target,
            host: arguments.url.host.clone(),
            path: arguments.url.path.clone(),
            connections: share(arguments.connections, shards, shard),
            close: arguments.close.mode(),
        })
    };
    eprintln!(
        "loading {} with {} connections through {description}",
        arguments.url.target, arguments.connections
    );
    let start = job.clock.now();
    let mut live = Live::new(start, arguments.output.quiet);
    let ended = port.run(load, &job, |_, _| Ok(()), |snapshot| live.tell(snapshot))?;
    let report = Report::new(&ended, start, &description, mtu, job.cores.len());
    print!("{}", report.text());
    if let Some(path) = &arguments.output.json {
        report.write_json(path)?;
    }
    if let Figures::Load(load) = &ended.last.figures
        && load.errors.ports_exhausted > 0
    {
        eprintln!(
            "ringmill: every local port towards {} was taken, {} times (EADDRNOTAVAIL): more --addr, or a shorter --time-wait, lift it",
            arguments.url.target, load.errors.ports_exhausted
        );
    }
    let exit = exit_of(&ended);
    if exit == Exit::Unreachable {
        eprintln!("ringmill: {}", unreachable_text(arguments, &ended));
    }
    Ok(exit)
}

/// What one of `shards` has to do of `count`.
fn share(count: usize, shards: usize, shard: usize) -> usize {
    count / shards + usize::from(shard < count % shards)
}

/// What the run's outcome is to a script.
pub(crate) fn exit_of(ended: &Ended) -> Exit {
    let Figures::Load(load) = &ended.last.figures else {
        return Exit::Internal;
    };
    if !ended.leaks().is_empty() {
        Exit::Internal
    } else if ended.interrupted {
        Exit::Interrupted
    } else if load.responses() == 0 {
        Exit::Unreachable
    } else if load.unanswered > 0 || load.errors.total() > load.errors.ports_exhausted {
        Exit::Partial
    } else {
        Exit::Success
    }
}

fn unreachable_text(arguments: &LoadArguments, ended: &Ended) -> String {
    let target = arguments.url.target;
    let Figures::Load(load) = &ended.last.figures else {
        return String::new();
    };
    let errors = &load.errors;
    if errors.refused > 0 {
        format!(
            "{target} refuses connections (ECONNREFUSED): is the server listening on that port?"
        )
    } else if errors.malformed + errors.closed_early + errors.reset > 0 {
        format!("{target} accepts connections and answers no request: is it an HTTP server?")
    } else if errors.unreachable > 0 {
        let discovery = if target.is_ipv4() {
            "ARP"
        } else {
            "neighbor solicitations"
        };
        format!(
            "nobody answers {discovery} for {target} or its gateway (EHOSTUNREACH): check --addr, --gateway and the cable"
        )
    } else {
        format!(
            "{target} answers no SYN (ETIMEDOUT): check the address, --gateway and what filters on the way"
        )
    }
}
