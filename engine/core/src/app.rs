//! Applications: what a shard calls when something has happened.
//!
//! Callbacks run once a batch, after all of its segments have been processed and
//! before anything leaves, so that what they send rides on the acknowledgments
//! that are due. They see handles and bytes, never a packet.

pub mod echo;
pub mod http;
pub mod load;

use crate::sockets::{Closed, ConnectionId, ListenerId, Sockets};
use crate::time::Instant;

/// An application on one shard. Every callback does nothing unless implemented.
#[expect(
    unused_variables,
    reason = "the default callbacks ignore what they are given"
)]
pub trait App {
    /// The accept queue of a listener is no longer empty: accept until it is.
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {}

    /// A connection that this side opened is established.
    fn on_connected(&mut self, sockets: &mut Sockets, connection: ConnectionId) {}

    /// Received bytes wait, or the end of the stream: receive until neither does.
    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {}

    /// The peer has urgent data, which ends further ahead than was known before
    /// (RFC 9293 section 3.8.5, MUST-32). It comes in line: receive up to it.
    fn on_urgent(&mut self, sockets: &mut Sockets, connection: ConnectionId) {}

    /// There is room again after a send that would have blocked.
    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {}

    /// A connection ended that the application did not close; its handle and
    /// its token are worth nothing after this.
    fn on_closed(
        &mut self,
        sockets: &mut Sockets,
        connection: ConnectionId,
        token: u32,
        why: Closed,
    ) {
    }

    /// Once a step, after all other callbacks: for what the clock brings.
    fn poll(&mut self, sockets: &mut Sockets) {}

    /// When `poll` next has something to do; stale after any callback.
    fn next_deadline(&self) -> Option<Instant> {
        None
    }
}
