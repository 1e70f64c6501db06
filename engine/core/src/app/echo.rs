//! The echo service (RFC 862): every byte goes back, in the frame it came in.

use super::App;
use crate::sockets::{ConnectionId, ListenerId, SocketError, Sockets};

/// Sends back what it receives and closes when the peer does.
#[derive(Debug, Default)]
pub struct Echo;

impl Echo {
    fn pump(sockets: &mut Sockets, connection: ConnectionId) {
        while let Ok(1..) = sockets.echo(connection) {}
        match sockets.receive(connection) {
            // All of it was read and queued: our FIN follows it.
            Ok([]) => sockets.close(connection),
            Ok(_) | Err(SocketError::WouldBlock | SocketError::BadDescriptor) => {}
            Err(SocketError::BrokenPipe | SocketError::NotConnected) => sockets.abort(connection),
        }
    }
}

impl App for Echo {
    fn on_acceptable(&mut self, sockets: &mut Sockets, listener: ListenerId) {
        while sockets.accept(listener).is_some() {}
    }

    fn on_readable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        Self::pump(sockets, connection);
    }

    fn on_writable(&mut self, sockets: &mut Sockets, connection: ConnectionId) {
        Self::pump(sockets, connection);
    }
}
