//! The scenarios, theme by theme.

mod applications;
mod closing;
mod data;
mod listening;
mod opening;
mod time_wait;

use crate::lab::Lab;
use crate::record::Record;
use crate::roles::Role;
use crate::scenario::Scenario;
use crate::socket::Host;
use ringmill_core::tcp::State;

pub(crate) const ALL: &[&[Scenario]] = &[
    opening::SCENARIOS,
    closing::SCENARIOS,
    time_wait::SCENARIOS,
    data::SCENARIOS,
    listening::SCENARIOS,
    applications::SCENARIOS,
];

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
