//! Ringmill on a real machine: everything that touches the kernel.
//!
//! The engine itself, `ringmill-core`, has no clock, no socket and no thread.
//! This crate gives it a port onto a Linux interface, any interface, and the
//! time. All that is unsafe is here, in modules whose names say what for.
//!
//! ```text
//!                +------------------- one process ---------------------+
//!                |  Shard (ringmill-core)     clock::Clock -> Instant  |
//!                |    | Driver::rx, Driver::tx  one or several shards, |
//!                |    |                         a thread each          |
//!                |  xdp::XdpDriver            affinity: thread -> core |
//!                +----|------------------------------------------------+
//!                     | rings in shared memory (UMEM)
//!   interface::       v
//!   Interface -> [ steer::Steering ] -- not the engine's --> kernel's stack
//!                     ^
//!                     | frames
//! ```
//!
//! [`netns`] makes network namespaces and veth pairs for demonstrations, tests
//! and measurements, and removes them whatever becomes of their process; [`relay`]
//! lays a bad wire between two of them.
#![warn(missing_debug_implementations)]

pub mod affinity;
pub mod clock;
pub mod error;
pub mod huge_pages;
pub mod interface;
pub mod netns;
pub mod pace;
pub mod relay;
pub mod steer;
pub mod testing;
pub mod xdp;

pub use error::{Category, XdpError};
pub use interface::Interface;
pub use steer::{Owned, Steering, XdpMode};
pub use xdp::{XdpConfig, XdpDriver};
