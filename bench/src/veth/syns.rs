//! A server under a flood of SYNs, and clients that want to be served.

use super::port::Net;
use super::runner;
use crate::apps::{Caller, Responder};
use crate::figures::{Samples, Series};
use crate::flood::{Flood, Spoofer};
use crate::memory::Ports;
use crate::reach::Effort;
use crate::resident;
use ringmill_core::sockets::Sockets;
use ringmill_core::stack::Config;
use std::time::Duration;

/// SYNs that were sent.
pub const SYNS: Series = Series::new("SYNs of a flood", "SYNs/s");
/// Connections meanwhile.
pub const CONNECTIONS: Series = Series::new("connections during the flood", "connections/s");
/// Of these, those that came about and were answered.
pub const SERVED: Series = Series::new("of these, answered", "of 1");
/// What the process grew by once the flood had lasted a while.
pub const GROWTH: Series = Series::new("memory growth during the flood", "MiB");

/// SYNs a second.
const RATE: u64 = 300_000;
/// Connections at a time.
const WINDOW: usize = 16;
/// The same at first: a few that wait for a SYN to come again must not be the first on
/// another huge page of a table later, which would be told as the flood's.
const WARM_UP_WINDOW: usize = 256;
/// All bounds are reached by then, and after the same again those connections are over.
const WARM_UP: Duration = Duration::from_secs(1);

pub(super) fn run(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let net = Net::create()?;
    let (mut client, mut server) = (net.client()?, net.server()?);
    let quick_end = |config: &mut Config| config.tcp.msl = Duration::from_millis(100);
    quick_end(&mut client.config);
    quick_end(&mut server.config);
    Spoofer::route(&mut server.config);
    let spoofer = Spoofer::new(server.mac());
    let ports = Ports::for_connections(1);
    let listen = |responder: &mut Responder, sockets: &mut Sockets| {
        responder.start(sockets, ports)?;
        Ok(())
    };
    runner::serving(server, Responder::default(), listen, || {
        let flood = |driver| Flood::new(driver, spoofer, RATE);
        runner::client(client, flood, Caller::new(1, WARM_UP_WINDOW), |runner| {
            runner.run_for(WARM_UP);
            runner.with_app(|caller, _| caller.set_window(WINDOW));
            runner.run_for(WARM_UP);
            let syns = runner.shard.driver().sent();
            let (done, failed) = (runner.shard.app().done(), runner.shard.app().failed());
            let before = resident::bytes();
            let seconds = runner.run_for(effort.veth_length);
            let grown = resident::bytes() - before;
            let app = runner.shard.app();
            let (done, failed) = ((app.done() - done) as f64, (app.failed() - failed) as f64);
            samples.add(SYNS, (runner.shard.driver().sent() - syns) as f64 / seconds);
            samples.add(CONNECTIONS, done / seconds);
            samples.add(SERVED, done / (done + failed).max(1.0));
            samples.add(GROWTH, grown / f64::from(1 << 20));
            Ok(())
        })
    })
}
