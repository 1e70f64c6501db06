//! Resident memory for each record: what the process has more of once many are
//! held, over how many they are. For a connection everything counts that two engines
//! take, for a half-open record what comes on top of them.

use crate::apps::{Requester, Responder};
use crate::exchange::ringmill::opened;
use crate::figures::{Samples, Series};
use crate::flood::Spoofer;
use crate::memory::{Ports, SERVER, Wire, mac};
use crate::reach::{Effort, Measure};
use ringmill_core::frame::Frame;
use ringmill_core::tcp::State;
use std::time::Instant;

/// An idle connection, of a million.
pub const IDLE: Series = Series::new("an idle connection, 1 M at either end", "bytes");
/// An idle connection, of ten million.
pub const IDLE_10M: Series = Series::new("an idle connection, 10 M at either end", "bytes");
/// One end with ten million.
pub const END_10M: Series = Series::new("10 M connections, one end", "GiB");
/// How long ten million take to open.
pub const OPENING_10M: Series = Series::new("10 M connections, opening them, both ends", "s");
/// A half-open record, with its timer and its place in the flow table.
pub const HALF_OPEN: Series = Series::new("a half-open record", "bytes");

/// Bytes that this process has in memory.
///
/// # Panics
/// Where there is no Linux /proc.
pub fn bytes() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<f64>().ok())
        .expect("VmRSS is a number of kB")
        * 1_024.0
}

/// All of it, once a run: before anything else, since what is free in the process
/// already would not be seen.
pub struct Resident {
    connections: [usize; 2],
    half_open: usize,
}

impl Resident {
    /// What a run with this effort measures.
    pub fn new(effort: &Effort) -> Resident {
        Resident {
            connections: [effort.count(1_000_000), effort.count(10_000_000)],
            half_open: effort.count(1_000_000),
        }
    }
}

impl Measure for Resident {
    fn name(&self) -> &'static str {
        "resident memory"
    }

    fn is_once(&self) -> bool {
        true
    }

    fn run(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        samples.add(HALF_OPEN, half_open(self.half_open)?);
        let [million, ten] = self.connections;
        samples.add(IDLE, idle(million)?);
        let start = Instant::now();
        let each = idle(ten)?;
        samples.add(OPENING_10M, start.elapsed().as_secs_f64());
        samples.add(IDLE_10M, each);
        samples.add(END_10M, each * ten as f64 / f64::from(1 << 30));
        Ok(())
    }
}

/// Bytes of one end of a connection, of `connections` that are open and rest.
fn idle(connections: usize) -> anyhow::Result<f64> {
    let before = bytes();
    let wire = opened(connections, 0);
    let grown = bytes() - before;
    for gauges in [wire.client.gauges(), wire.server.gauges()] {
        let established = gauges.of(State::Established);
        anyhow::ensure!(established == connections, "{established} are established");
    }
    Ok(grown / (2 * connections) as f64)
}

/// Bytes of one half-open record, of `records` that nobody will complete.
fn half_open(records: usize) -> anyhow::Result<f64> {
    let mut wire = Wire::with_config(Requester::new(1, 0), Responder::default(), |config| {
        config.tcp.max_half_open = records + 1;
        config.tcp.syn_backlog = records + 1;
        Spoofer::route(config);
    });
    wire.server(|responder, sockets| responder.start(sockets, Ports::for_connections(1)))?;
    // The peer is known, so that the answers have somewhere to go.
    while !wire.client.app().is_open() {
        wire.turn();
    }
    let before = bytes();
    let mut spoofer = Spoofer::new(mac(SERVER));
    let held = |wire: &Wire<_, _>| wire.server.gauges().of(State::SynReceived);
    for _ in 0..records.div_ceil(WINDOW) {
        for _ in 0..WINDOW {
            let frame = Frame::copied(&spoofer.next_frame());
            wire.server.driver_mut().arrive(frame);
        }
        wire.turn();
    }
    let grown = bytes() - before;
    anyhow::ensure!(held(&wire) >= records, "{} are half open", held(&wire));
    Ok(grown / held(&wire) as f64)
}

/// SYNs in a turn.
const WINDOW: usize = 32;
