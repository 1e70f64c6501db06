//! One connection that carries as much as it can, MTU 1,500.

use super::http::{http, one_connection, start};
use super::port::Net;
use super::runner;
use crate::figures::{Samples, Series};
use crate::reach::Effort;
use anyhow::ensure;
use std::time::Duration;

/// Bytes of bodies.
pub const BULK: Series = Series::new("one connection, bulk", "bytes/s");

/// Bytes of one response: next to the time that it takes a round trip is nothing, and
/// it is made before the warm-up is over.
const BODY: usize = 16 << 20;
/// Slow start is over by then.
const WARM_UP: Duration = Duration::from_millis(500);

pub(super) fn run(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let net = Net::create()?;
    let client = net.client()?;
    let rate = runner::serving(net.server()?, http(BODY), start, || {
        runner::client(
            client,
            |driver| driver,
            one_connection(),
            |runner| {
                runner.run_for(WARM_UP.min(effort.veth_length));
                let before = runner.shard.app().stats().body_bytes;
                let seconds = runner.run_for(effort.veth_length);
                let stats = runner.shard.app().stats();
                ensure!(stats.errors.total() == 0, "errors: {:?}", stats.errors);
                Ok((stats.body_bytes - before) as f64 / seconds)
            },
        )
    })?;
    samples.add(BULK, rate);
    Ok(())
}
