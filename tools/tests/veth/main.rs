//! `ringmill` against peers that we did not write, over veth pairs: curl, wrk,
//! nginx, iperf3, the kernel, and tshark as the judge of what was on the wire.
//!
//! ```text
//! engine: veth0 (ringmill) ============ veth0 (198.18.0.2, kernel) :peer
//! ```

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

mod far;
mod lab;
mod load;
mod net;
mod serve;
mod shards;
mod ss;
mod wire;
