//! The kernel's sockets, and its records of them as /proc shows them.

use crate::host::{Family, Host, PATIENCE, PORT, Socket, look};
use ringmill::netns::Namespace;
use ringmill_core::tcp::State;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

/// The kernel inside one namespace, listening.
pub(crate) struct Kernel<'a> {
    namespace: &'a Namespace,
    addresses: Vec<IpAddr>,
    listeners: Vec<TcpListener>,
}

impl<'a> Kernel<'a> {
    /// Listens on each of these addresses.
    pub(crate) fn listen(namespace: &'a Namespace, addresses: &[IpAddr]) -> Kernel<'a> {
        let bind = |&address: &IpAddr| {
            let listener = TcpListener::bind((address, PORT)).unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        let listeners = namespace.within(|| addresses.iter().map(bind).collect());
        Kernel {
            namespace,
            addresses: addresses.to_vec(),
            listeners: listeners.unwrap(),
        }
    }
}

impl Host for Kernel<'_> {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn address(&self, family: Family) -> IpAddr {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|&address| family.is_of(address)).unwrap()
    }

    fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Socket>> {
        let connect = || TcpStream::connect_timeout(&to, PATIENCE);
        let stream = self.namespace.within(connect).unwrap()?;
        Ok(KernelSocket::of(stream))
    }

    fn accept(&self, family: Family) -> Box<dyn Socket> {
        let is_of_family =
            |listener: &&TcpListener| family.is_of(listener.local_addr().unwrap().ip());
        let listener = self.listeners.iter().find(is_of_family).unwrap();
        let accepted = look(|| listener.accept().ok());
        let (stream, _) = accepted.expect("a connection to accept");
        stream.set_nonblocking(false).unwrap();
        KernelSocket::of(stream)
    }

    fn states(&self) -> Vec<State> {
        self.namespace.within(states).unwrap()
    }
}

struct KernelSocket(TcpStream);

impl KernelSocket {
    fn of(stream: TcpStream) -> Box<dyn Socket> {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Box::new(KernelSocket(stream))
    }
}

impl Socket for KernelSocket {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        (&self.0).write_all(bytes)
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; 1 << 16];
        let len = (&self.0).read(&mut buffer)?;
        buffer.truncate(len);
        Ok(buffer)
    }

    fn shutdown(&self) {
        // One that has ended has nothing to close.
        let _ = self.0.shutdown(Shutdown::Write);
    }

    fn close(self: Box<Self>) {}

    fn abort(self: Box<Self>) {
        let linger = libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        let size = libc::socklen_t::try_from(size_of_val(&linger)).unwrap();
        // SAFETY: the option is read from a structure that it has the layout of.
        let status = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                size,
            )
        };
        assert_eq!(status, 0, "SO_LINGER");
    }

    fn is_readable(&self) -> bool {
        self.0.peek(&mut [0]).is_ok_and(|len| len > 0)
    }

    fn state(&self) -> Option<State> {
        // The first byte of struct tcp_info is the state; a short answer is cut.
        let mut state = 0_u8;
        let mut size = 1;
        // SAFETY: the answer goes into one byte, as `size` says.
        let status = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut state).cast(),
                &raw mut size,
            )
        };
        assert_eq!(status, 0, "TCP_INFO");
        Some(numbered(state))
    }
}

/// States by the kernel's numbers (net/tcp_states.h).
fn numbered(number: u8) -> State {
    match number {
        1 => State::Established,
        2 => State::SynSent,
        // Half-open connections have a record of their own, as ours have.
        3 | 12 => State::SynReceived,
        4 => State::FinWait1,
        5 => State::FinWait2,
        6 => State::TimeWait,
        8 => State::CloseWait,
        9 => State::LastAck,
        10 => State::Listen,
        11 => State::Closing,
        _ => State::Closed,
    }
}

/// The states of all connections in the calling thread's namespace.
fn states() -> Vec<State> {
    let state_of = |line: &str| {
        let number = line.split_whitespace().nth(3)?;
        let state = numbered(u8::from_str_radix(number, 16).ok()?);
        (state != State::Listen).then_some(state)
    };
    ["tcp", "tcp6"]
        .iter()
        .flat_map(|table| {
            let table = fs::read_to_string(format!("/proc/thread-self/net/{table}")).unwrap();
            table
                .lines()
                .skip(1)
                .filter_map(state_of)
                .collect::<Vec<_>>()
        })
        .collect()
}
