//! Measurements of Ringmill, each a function, so that benches and reports share it.

pub mod exchange;
pub mod kernel;
pub mod memory;
pub mod pair;
pub mod raw;

/// What happens to a connection after a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The next request goes over it.
    KeepAlive,
    /// The server closes it, as `Connection: close` asks.
    Close,
}
