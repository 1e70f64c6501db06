//! The ways that frames can pass the kernel, each in turn, in rounds: what the driver
//! chooses among.

use super::raw::{self, PingPong, Way};
use crate::figures::{Samples, Series};
use ringmill::XdpMode;
use ringmill_core::frame::Batch;
use std::time::Duration;

/// The first is what the driver chooses where it can.
const WAYS: [(&str, Way); 3] = [
    ("native XDP", way(XdpMode::Native, false)),
    ("native XDP, busy polling", way(XdpMode::Native, true)),
    ("generic XDP", way(XdpMode::Skb, false)),
];
const UNITS: [&str; 3] = [
    "round trips/s, 64 in flight",
    "us, the median with 1 in flight",
    "ns of a core that does both ends",
];
/// Of one measurement.
const LENGTH: Duration = Duration::from_secs(1);

const fn way(mode: XdpMode, busy_poll: bool) -> Way {
    Way { mode, busy_poll }
}

/// Ping-pongs over each way, in rounds: a line for each figure.
///
/// # Errors
/// As for [`raw::ping_pong`].
pub fn compare(rounds: usize) -> anyhow::Result<Vec<String>> {
    let mut samples = Samples::default();
    for _ in 0..rounds {
        for (name, way) in WAYS {
            let ping_pong = |in_flight| PingPong {
                in_flight,
                duration: LENGTH,
                way,
            };
            let values = [
                raw::ping_pong(ping_pong(Batch::CAPACITY))?.rate,
                raw::ping_pong(ping_pong(1))?.p50_us,
                raw::on_one_core(ping_pong(Batch::CAPACITY))?,
            ];
            for (unit, value) in UNITS.into_iter().zip(values) {
                samples.add(Series::new(name, unit), value);
            }
        }
    }
    let first = |unit| Series::new(WAYS[0].0, unit);
    let line = |(series, _): (Series, &[f64])| {
        let median = samples.median(series).unwrap_or_default();
        let ratio = samples
            .ratio(series, first(series.unit))
            .unwrap_or_default();
        let Series { name, unit } = series;
        format!("{name:<26} {median:>11.1} {unit:<33} {ratio:.2} times")
    };
    Ok(samples.iter().map(line).collect())
}
