//! The scenarios, theme by theme.

mod applications;
mod buffers;
mod closing;
mod endings;
mod listening;
mod opening;
mod small;
mod throughput;
mod time_wait;

use crate::lab::Lab;
use crate::record::Record;
use crate::roles::Role;
use crate::scenario::Scenario;
use crate::socket::{Connection, Host};
use crate::station::Errno;
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::State;
use ringmill_core::time::Duration;

pub(crate) const ALL: &[&[Scenario]] = &[
    opening::SCENARIOS,
    closing::SCENARIOS,
    endings::SCENARIOS,
    time_wait::SCENARIOS,
    buffers::SCENARIOS,
    throughput::SCENARIOS,
    small::SCENARIOS,
    listening::SCENARIOS,
    applications::SCENARIOS,
];

/// A TIME-WAIT lasted 2 MSL. The engine looks at its records each quarter of a
/// second, and never too early.
fn is_two_msl(lasted: Duration, msl: Duration) -> bool {
    const LATE: Duration = Duration::from_millis(400);
    lasted >= msl * 2 && lasted <= msl * 2 + LATE
}

/// States as a list to read.
fn names(states: &[State]) -> String {
    let names: Vec<&str> = states.iter().map(|state| state.name()).collect();
    names.join(", ")
}

/// What the segments from one on are.
fn roles(record: &Record, from: usize) -> Vec<Role> {
    record.segments[from..]
        .iter()
        .map(|segment| segment.role)
        .collect()
}

/// These as a list to read.
fn listed(roles: &[Role]) -> String {
    let names: Vec<&str> = roles.iter().map(|role| role.name()).collect();
    names.join(", ")
}

/// A host's sockets as netstat and ss show them.
fn sockets_table(lab: &mut Lab, host: &Host) {
    let mut sockets = host.sockets();
    sockets.sort_by_key(|socket| (socket.remote.is_some(), socket.local, socket.remote));
    let rows = sockets.iter().map(|socket| {
        let timer = socket.timer.map_or("off (0.00/0/0)".to_owned(), |timer| {
            let left = timer.left.as_secs_f64();
            format!(
                "{} ({left:.2}/{}/{})",
                timer.kind.name(),
                timer.retransmits,
                timer.probes
            )
        });
        [
            socket.state.name().to_owned(),
            socket.receive_queue.to_string(),
            socket.send_queue.to_string(),
            socket.local.to_string(),
            socket
                .remote
                .map_or("*".to_owned(), |remote| remote.to_string()),
            timer,
        ]
    });
    lab.table(
        ["State", "Recv-Q", "Send-Q", "Local", "Peer", "Timer"],
        rows.collect(),
    );
}

/// A connection from a client to a server on port 80.
fn connected(
    lab: &Lab,
    client: &Host,
    server: &Host,
    options: &[SocketOption],
) -> Result<(Connection, Connection), Errno> {
    let listener = server.listen_with(80, 8, options)?;
    let near = client.connect_with(&listener, options)?;
    lab.settle();
    Ok((near, listener.accept()?))
}

/// A size of a buffer, as socket options take it.
fn bytes(buffer: u64) -> u32 {
    u32::try_from(buffer).unwrap_or(u32::MAX)
}
