//! One connection, one request at a time: what a round trip takes.

use super::http::{http, one_connection, start};
use super::port::Net;
use super::runner;
use crate::figures::{Samples, Series};
use crate::reach::Effort;
use anyhow::ensure;

/// The median round trip.
pub const ONE: Series = Series::new("one connection's round trip, p50", "us");

/// Bytes of a body.
const BODY: usize = 64;

pub(super) fn run(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let net = Net::create()?;
    let client = net.client()?;
    let p50 = runner::serving(net.server()?, http(BODY), start, || {
        runner::client(
            client,
            |driver| driver,
            one_connection(),
            |runner| {
                runner.run_for(effort.veth_length);
                let stats = runner.shard.app().stats();
                ensure!(stats.errors.total() == 0, "errors: {:?}", stats.errors);
                Ok(stats.response.value_at_quantile(0.5))
            },
        )
    })?;
    samples.add(ONE, p50 as f64 / 1e3);
    Ok(())
}
