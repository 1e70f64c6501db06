//! A million connections over one wire, held, and requests over those that are
//! picked at random.

use super::port::Net;
use super::runner;
use crate::apps::{Requester, Responder};
use crate::figures::{Samples, Series};
use crate::memory::Ports;
use crate::reach::Effort;
use anyhow::ensure;
use ringmill_core::sockets::Sockets;
use std::time::Duration;

/// How long opening them takes.
pub const OPENING: Series = Series::new("1 M connections over veth, opening them", "s");
/// Requests a second over them.
pub const RATE: Series = Series::new("requests over 1 M held connections", "requests/s");
/// Segments that were sent again meanwhile.
pub const AGAIN: Series = Series::new("segments sent again meanwhile", "segments");
/// The curve of those that are open by time.
pub const CURVE: &str = "connections open over veth, by seconds";

const CONNECTIONS: usize = 1_000_000;
/// Requests under way at a time.
const WINDOW: usize = 256;
/// Between two points of the curve.
const POINT: Duration = Duration::from_millis(100);
/// It is given up after so many of these.
const POINTS_MAX: u32 = 3_000;

pub(super) fn run(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let connections = effort.count(CONNECTIONS);
    let ports = Ports::for_connections(connections);
    let net = Net::create()?;
    let (mut client, mut server) = (net.client()?, net.server()?);
    client.config.tcp.max_connections = connections + 1_024;
    server.config.tcp.max_connections = connections + 1_024;
    let listen = |responder: &mut Responder, sockets: &mut Sockets| {
        responder.start(sockets, ports)?;
        Ok(())
    };
    let requester = Requester::new(connections, WINDOW);
    runner::serving(server, Responder::default(), listen, || {
        runner::client(
            client,
            |driver| driver,
            requester,
            |runner| {
                let mut seconds = 0.0;
                for _ in 0..POINTS_MAX {
                    samples.add_point(CURVE, seconds, runner.shard.app().open() as f64);
                    if runner.shard.app().is_open() {
                        break;
                    }
                    seconds += runner.run_for(POINT);
                }
                ensure!(runner.shard.app().is_open(), "they don't open");
                let again = runner.shard.stats().tcp.retransmits;
                let answered = runner.shard.app().answered();
                let length = runner.run_for(effort.veth_length);
                let app = runner.shard.app();
                samples.add(OPENING, seconds);
                samples.add(RATE, (app.answered() - answered) as f64 / length);
                let stats = runner.shard.stats();
                samples.add(AGAIN, (stats.tcp.retransmits - again) as f64);
                let lost = app.lost();
                ensure!(lost == 0, "{lost} connections were lost");
                let live = runner.shard.gauges().live();
                ensure!(live == connections, "{live} are held");
                Ok(())
            },
        )
    })
}
