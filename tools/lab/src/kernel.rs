//! A station that is the Linux kernel, in a network namespace of its own.
//!
//! ```text
//!   stage: wire, engines            lab namespace          kernel namespace
//!   +-------------------+        +----------------+      +----------------+
//!   |  segments in, out | <----> | AF_XDP on veth ======== veth: kernel's |
//!   +-------------------+  gate  +----------------+      +----------------+
//! ```
//!
//! Its segments pass the wire of the stage like everybody's, so they can be lost,
//! delayed and drawn. Its states are asked for over netlink ([`diag`]), as `ss`
//! does. Time is the machine's.

mod diag;
mod gate;
mod settings;
mod sockets;

use crate::station::{Connect, Errno, Fd, Listen, Outcome, Station};
use diag::Diagnostics;
use gate::Gate;
use ringmill::XdpError;
use ringmill::netns::{self, Namespace, NetnsError, VethPair};
use ringmill_core::sockets::SocketOption;
use ringmill_core::tcp::{SocketInfo, TcpConfig};
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use sockets::Sockets;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};

const INTERFACE: &str = "veth0";
const MTU: u32 = 1_500;
const PREFIX_LEN: u8 = 24;
/// States are asked for this often when no segment says that they may have changed.
const LOOK: Duration = Duration::from_millis(2);

/// Why the kernel can't play.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// No namespace or veth.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No AF_XDP socket on it.
    #[error(transparent)]
    Xdp(#[from] XdpError),
    /// A socket or a setting of the kernel's was refused.
    #[error("{what}: {reason}")]
    Refused {
        /// Which.
        what: String,
        /// What the kernel said.
        reason: io::Error,
    },
}

impl KernelError {
    fn refused(what: &str) -> impl FnOnce(io::Error) -> KernelError {
        let what = what.to_owned();
        |reason| KernelError::Refused { what, reason }
    }
}

/// The namespaces of a lab with a kernel in it.
pub(crate) struct Far {
    lab: Namespace,
    kernel: Namespace,
}

impl Far {
    /// Makes them, where this machine and its user can.
    pub(crate) fn open() -> Result<Far, KernelError> {
        netns::sweep();
        let far = Far {
            lab: Namespace::create("lab")?,
            kernel: Namespace::create("lab-kernel")?,
        };
        far.lab.within(ringmill::xdp::has_af_xdp)??;
        VethPair::create((&far.lab, INTERFACE), (&far.kernel, INTERFACE), 1, MTU)?;
        Ok(far)
    }

    /// The kernel enters with this address and, as far as it has them, these
    /// settings. Its station, and its Ethernet address.
    pub(crate) fn enter(
        self,
        address: Ipv4Addr,
        tcp: &TcpConfig,
    ) -> Result<(Kernel, MacAddress), KernelError> {
        self.kernel
            .add_address(INTERFACE, address.into(), PREFIX_LEN)?;
        settings::apply(&self.kernel, tcp)?;
        let mac = self
            .kernel
            .within(|| ringmill::Interface::find(INTERFACE))??
            .mac;
        let gate = Gate::open(&self.lab, INTERFACE, address)?;
        let kernel = Kernel {
            gate,
            diagnostics: Diagnostics::open(&self.kernel)?,
            sockets: Sockets::new(self.kernel),
            known: Vec::new(),
            known_at: None,
            _lab: self.lab,
        };
        Ok((kernel, MacAddress(mac)))
    }
}

/// The kernel of one host.
pub(crate) struct Kernel {
    gate: Gate,
    diagnostics: Diagnostics,
    sockets: Sockets,
    /// Its sockets when it was asked last, and when that was; none when something
    /// has moved since.
    known: Vec<SocketInfo>,
    known_at: Option<Instant>,
    /// Goes last, with the veth.
    _lab: Namespace,
}

impl Kernel {
    fn act<T>(&mut self, act: impl FnOnce(&mut Sockets) -> T) -> T {
        self.known_at = None;
        act(&mut self.sockets)
    }
}

impl Station for Kernel {
    fn arrive(&mut self, frame: Vec<u8>) {
        self.known_at = None;
        self.gate.put(frame);
    }

    fn step(&mut self, now: Instant) -> bool {
        if self.gate.pass(now) {
            self.known_at = None;
        }
        false
    }

    fn take_sent(&mut self) -> Option<Vec<u8>> {
        self.gate.take()
    }

    fn next_deadline(&self) -> Option<Instant> {
        Some(Instant::ZERO)
    }

    fn sockets(&mut self, now: Instant) -> Vec<SocketInfo> {
        if self.known_at.is_none_or(|at| now.since(at) >= LOOK) {
            self.known = self.diagnostics.sockets();
            self.known_at = Some(now);
        }
        self.known.clone()
    }

    fn listen(&mut self, _: Instant, listen: Listen) -> Outcome<Fd> {
        self.act(|sockets| sockets.listen(listen))
    }

    fn accept(&mut self, _: Instant, listener: Fd) -> Outcome<Fd> {
        self.act(|sockets| sockets.accept(listener))
    }

    fn connect(&mut self, _: Instant, connect: Connect) -> Outcome<Fd> {
        self.act(|sockets| sockets.connect(connect))
    }

    fn connected(&mut self, _: Instant, fd: Fd) -> Option<Outcome<()>> {
        self.sockets.connected(fd)
    }

    fn send(&mut self, _: Instant, fd: Fd, bytes: &[u8]) -> Outcome<usize> {
        self.act(|sockets| sockets.send(fd, bytes))
    }

    fn receive(&mut self, _: Instant, fd: Fd, most: usize) -> Outcome<Vec<u8>> {
        self.act(|sockets| sockets.receive(fd, most))
    }

    fn shutdown(&mut self, _: Instant, fd: Fd) -> Outcome<()> {
        self.act(|sockets| sockets.shutdown(fd))
    }

    fn duplicate(&mut self, fd: Fd) -> Outcome<Fd> {
        self.sockets.duplicate(fd)
    }

    fn close(&mut self, _: Instant, fd: Fd) {
        self.act(|sockets| sockets.close(fd));
    }

    fn set(&mut self, _: Instant, fd: Fd, option: SocketOption) -> Outcome<()> {
        self.act(|sockets| sockets.set(fd, option))
    }

    fn ended(&mut self, _: Instant, fd: Fd) -> Option<Outcome<()>> {
        self.sockets.ended(fd)
    }

    fn addresses(&mut self, _: Instant, fd: Fd) -> Option<(SocketAddr, SocketAddr)> {
        self.sockets.addresses(fd)
    }
}

/// What a call that the kernel refused says.
fn errno(error: &io::Error) -> Errno {
    match error.raw_os_error() {
        Some(libc::EAGAIN | libc::EINPROGRESS) => Errno::Again,
        Some(libc::EADDRINUSE) => Errno::AddressInUse,
        Some(libc::EADDRNOTAVAIL) => Errno::AddressNotAvailable,
        Some(libc::EBADF) => Errno::BadDescriptor,
        Some(libc::ECONNABORTED) => Errno::Aborted,
        Some(libc::EPIPE) => Errno::BrokenPipe,
        Some(libc::ECONNREFUSED) => Errno::ConnectionRefused,
        Some(libc::ECONNRESET) => Errno::ConnectionReset,
        Some(libc::EINVAL) => Errno::Invalid,
        Some(libc::ENOBUFS) => Errno::NoBuffers,
        Some(libc::ENOTCONN) => Errno::NotConnected,
        Some(libc::ETIMEDOUT) => Errno::TimedOut,
        Some(libc::EHOSTUNREACH) => Errno::Unreachable,
        other => Errno::Other(other.unwrap_or(0)),
    }
}
