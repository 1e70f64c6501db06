//! What the engine and the kernel have in common: hosts with sockets.

use ringmill_core::tcp::State;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

/// What nothing may take longer than: retransmission timers have gone off several
/// times by then.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// How often is looked.
const LOOK: Duration = Duration::from_micros(500);

/// One end of a connection, with calls that block.
pub(crate) trait Socket: Send + Sync {
    /// Sends all of `bytes`.
    fn send(&self, bytes: &[u8]) -> io::Result<()>;
    /// What has arrived, once there is something; nothing at the end of the stream.
    fn receive(&self) -> io::Result<Vec<u8>>;
    /// Closes the sending side.
    fn shutdown(&self);
    /// Lets go of it; what was not read is not read any more.
    fn close(self: Box<Self>);
    /// Ends it by a RST (SO_LINGER with no time).
    fn abort(self: Box<Self>);
    /// Something has arrived that was not read.
    fn is_readable(&self) -> bool;
    /// Its state, while there is a record of it.
    fn state(&self) -> Option<State>;
    /// The data of a SYN was taken, this side's or the peer's (RFC 7413).
    fn took_syn_data(&self) -> bool;

    /// Everything to the end of the stream.
    fn receive_to_end(&self) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        loop {
            match self.receive()? {
                more if more.is_empty() => return Ok(all),
                more => all.extend(more),
            }
        }
    }
}

/// Versions of IP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) const BOTH: [Family; 2] = [Family::V4, Family::V6];

    pub(crate) fn is_of(self, address: IpAddr) -> bool {
        address.is_ipv6() == (self == Family::V6)
    }
}

/// Where each host listens, with Fast Open.
pub(crate) const PORT: u16 = 7_000;

/// How many connections may be opened by Fast Open and not be complete.
pub(crate) const FAST_OPENS: u16 = 64;

/// One end of the wire.
pub(crate) trait Host: Sync {
    fn name(&self) -> &'static str;
    fn address(&self, family: Family) -> IpAddr;
    /// Opens a connection.
    fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Socket>>;
    /// Opens a connection and sends `bytes`: with the SYN, where Fast Open can.
    fn connect_with(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Socket>>;
    /// The next connection that was opened to this end.
    fn accept(&self, family: Family) -> Box<dyn Socket>;
    /// The states of all connections that there is a record of.
    fn states(&self) -> Vec<State>;

    /// How many of them are in TIME-WAIT.
    fn time_waits(&self) -> usize {
        let states = self.states();
        states.iter().filter(|&&s| s == State::TimeWait).count()
    }

    /// A port that nobody listens on.
    fn closed_port(&self, family: Family) -> SocketAddr {
        (self.address(family), 9).into()
    }
}

/// A connection that both ends know to be established: each has heard the other.
pub(crate) fn open_pair(
    opener: &dyn Host,
    acceptor: &dyn Host,
    family: Family,
) -> (Box<dyn Socket>, Box<dyn Socket>) {
    let target = (acceptor.address(family), PORT).into();
    let opened = opener.connect(target).unwrap();
    opened.send(b"hello").unwrap();
    let accepted = acceptor.accept(family);
    assert_eq!(accepted.receive().unwrap(), b"hello");
    accepted.send(b"hello").unwrap();
    assert_eq!(opened.receive().unwrap(), b"hello");
    (opened, accepted)
}

/// Looks until there is something to see; none when it does not come.
pub(crate) fn look<T>(mut at: impl FnMut() -> Option<T>) -> Option<T> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if let Some(seen) = at() {
            return Some(seen);
        }
        std::thread::sleep(LOOK);
    }
    None
}

/// The same for a condition, which must come true.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    assert!(
        look(|| is_so().then_some(())).is_some(),
        "waited in vain: {what}"
    );
}

/// Waits until the hosts have this many records in TIME-WAIT, and no others.
pub(crate) fn wait_for_time_waits(what: &str, hosts: [&dyn Host; 2], counts: [usize; 2]) {
    for (host, count) in hosts.iter().zip(counts) {
        let expected = vec![State::TimeWait; count];
        let seen = look(|| (host.states() == expected).then_some(()));
        let mut others = host.states();
        others.retain(|&state| state != State::TimeWait);
        assert!(
            seen.is_some(),
            "{what}: the {} has {} TIME-WAITs, not {count}, and {others:?}",
            host.name(),
            host.time_waits(),
        );
    }
}
