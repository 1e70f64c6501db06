//! `ringmill ss`: the sockets of a running `serve` or `load`, as ss shows the kernel's.

mod desk;
mod inquiry;
mod row;

pub(crate) use desk::Desk;
pub(crate) use inquiry::Inquiries;

use crate::cli::SsArguments;
use crate::exit::Exit;
use desk::{Answer, Query};
use ringmill_core::tcp::State;
use row::Row;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::net::SocketAddr;

pub(crate) fn run(arguments: &SsArguments) -> anyhow::Result<Exit> {
    let listening = arguments.listening.then_some(State::Listen);
    let states = listening.iter().chain(&arguments.states);
    let query = Query {
        states: states.map(|state| state.name().to_owned()).collect(),
        info: arguments.info,
    };
    let answer = Answer::of(arguments.pid, &query)?;
    let mut out = BufWriter::new(io::stdout().lock());
    let shown = if arguments.summary {
        summary(answer, &mut out)
    } else {
        list(answer, arguments, &mut out)
    };
    match shown.and_then(|()| Ok(out.flush()?)) {
        // A reader that has seen enough is no reason to fail.
        Err(error) if is_broken_pipe(&error) => Ok(Exit::Success),
        shown => shown.map(|()| Exit::Success),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let error = error.downcast_ref::<io::Error>();
    error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

fn list(mut answer: Answer, arguments: &SsArguments, out: &mut impl Write) -> anyhow::Result<()> {
    if !arguments.json {
        let (local, peer) = ("Local Address:Port", "Peer Address:Port");
        writeln!(out, "State       Recv-Q  Send-Q  {local:24} {peer}")?;
    }
    while let Some(line) = answer.next()? {
        if arguments.json {
            writeln!(out, "{line}")?;
            continue;
        }
        let row: Row = serde_json::from_str(line)?;
        let (state, local, peer) = (
            short(row.state),
            address(Some(row.local)),
            address(row.peer),
        );
        let Row { recv_q, send_q, .. } = row;
        write!(out, "{state:11} {recv_q:<7} {send_q:<7} {local:24} ")?;
        match row.timer.filter(|_| arguments.timers) {
            Some(timer) => writeln!(out, "{peer:24} {timer}")?,
            None => writeln!(out, "{peer}")?,
        }
        if let Some(info) = row.info {
            writeln!(out, "\t {info}")?;
        }
    }
    Ok(())
}

/// How many are in each state that any is in.
fn summary(mut answer: Answer, out: &mut impl Write) -> anyhow::Result<()> {
    let mut counts = State::ALL.map(|state| (state.name(), 0));
    while let Some(line) = answer.next()? {
        let row: Row = serde_json::from_str(line)?;
        if let Some((_, count)) = counts.iter_mut().find(|(name, _)| *name == row.state) {
            *count += 1;
        }
    }
    for (name, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
        writeln!(out, "{:11} {count}", short(name))?;
    }
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    writeln!(out, "{:11} {total}", "total")?;
    Ok(())
}

/// The name that ss has for a state.
pub(crate) fn short(name: &str) -> &str {
    match name {
        "ESTABLISHED" => "ESTAB",
        "SYN-RECEIVED" => "SYN-RECV",
        name => name,
    }
}

fn address(address: Option<SocketAddr>) -> String {
    match address {
        Some(address) if address.ip().is_unspecified() => format!("*:{}", address.port()),
        Some(address) => address.to_string(),
        None => "*:*".to_owned(),
    }
}
