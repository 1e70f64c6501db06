//! The kernel's sockets, and its records of them as /proc shows them.

use crate::host::{FAST_OPENS, Family, Host, PATIENCE, PORT, Socket, look};
use ringmill::netns::Namespace;
use ringmill_core::tcp::State;
use socket2::{Domain, Type};
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

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
            let limit = libc::c_int::from(FAST_OPENS);
            set_option(&listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, &limit);
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

    fn connect_with(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Socket>> {
        let connect = || {
            let socket = socket2::Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            let on: libc::c_int = 1;
            set_option(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, &on);
            socket.connect(&to.into())?;
            let stream = TcpStream::from(socket);
            (&stream).write_all(bytes)?;
            Ok(stream)
        };
        let stream: io::Result<TcpStream> = self.namespace.within(connect).unwrap();
        Ok(KernelSocket::of(stream?))
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
        set_option(&self.0, libc::SOL_SOCKET, libc::SO_LINGER, &linger);
    }

    fn is_readable(&self) -> bool {
        self.0.peek(&mut [0]).is_ok_and(|len| len > 0)
    }

    fn state(&self) -> Option<State> {
        Some(numbered(self.info().0))
    }

    fn took_syn_data(&self) -> bool {
        self.info().1 & TCPI_OPT_SYN_DATA != 0
    }
}

/// Of tcpi_options (linux/tcp.h).
const TCPI_OPT_SYN_DATA: u8 = 32;

impl KernelSocket {
    /// The state and the options of struct tcp_info, its first byte and its sixth.
    fn info(&self) -> (u8, u8) {
        let mut info = [0_u8; 8];
        let mut size = 8;
        // SAFETY: the answer goes into eight bytes, as `size` says; it is cut there.
        let status = unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                (&raw mut info).cast(),
                &raw mut size,
            )
        };
        assert_eq!(status, 0, "TCP_INFO");
        (info[0], info[5])
    }
}

/// Sets an option that the standard library has no name for.
fn set_option<T>(socket: &impl AsRawFd, level: libc::c_int, name: libc::c_int, value: &T) {
    let size = libc::socklen_t::try_from(size_of::<T>()).unwrap();
    // SAFETY: the option is read from a value of this size, which is of its type.
    let status = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const *value).cast(),
            size,
        )
    };
    assert_eq!(status, 0, "option {name}");
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
