//! Prints the raw limit of AF_XDP on this machine.

use ringmill::XdpMode;
use ringmill_bench::raw::{self, PingPong};
use std::time::Duration;

fn main() -> anyhow::Result<()> {
    println!("raw AF_XDP ping-pong over veth, a core an end, copy mode");
    for mode in [XdpMode::Native, XdpMode::Skb] {
        for in_flight in [1, 64] {
            let rate = raw::run(PingPong {
                in_flight,
                duration: Duration::from_secs(3),
                mode,
            })?;
            println!("{mode:>6} XDP, {in_flight:>2} in flight: {rate:>9.0} round trips/s");
        }
    }
    Ok(())
}
