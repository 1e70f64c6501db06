//! A script's hand: loads the shared object, calls its table, and plays the peer.

use libc::{c_int, c_longlong, c_void, pollfd, sockaddr, socklen_t, timeval};
use ringmill_core::seq::Seq;
use ringmill_core::wire::fast_open::FastOpenCookie;
use ringmill_core::wire::tcp::{Flags, Header, Options};
use ringmill_core::wire::{ChecksumPolicy, ip, ipv4, ipv6};
use ringmill_packetdrill::interface::Interface;
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

pub(crate) const PORT: u16 = 8_080;
pub(crate) const PEER_PORT: u16 = 40_000;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
const PEER_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
const PEER_ISN: Seq = Seq(5_000);
const EPOLL_DATA: u64 = 77;

type Init = unsafe extern "C" fn(*const libc::c_char, *mut Interface);

/// One run of the library. Copies share it; only the first ends it.
pub(crate) struct Script {
    interface: Interface,
    local: IpAddr,
    peer: IpAddr,
    /// AF_INET, or AF_INET6.
    domain: c_int,
    /// The engine's initial sequence number, and its port.
    iss: Seq,
    port: u16,
    is_owner: bool,
}

// SAFETY: the library locks by itself, and the user data is a number.
unsafe impl Send for Script {}

/// A segment of the engine, its numbers relative to both sides' initial ones.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) flags: Flags,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) data: Vec<u8>,
    pub(crate) time_us: i64,
    pub(crate) header: Header,
}

/// A call on a second thread.
pub(crate) struct Second<T> {
    thread: JoinHandle<T>,
    id: mpsc::Receiver<libc::pid_t>,
}

impl<T> Second<T> {
    pub(crate) fn join(self) -> T {
        self.thread.join().unwrap()
    }
}

macro_rules! call {
    ($script:expr, $name:ident $(, $argument:expr)*) => {{
        let function = $script.interface.$name.unwrap();
        // SAFETY: the table's function, with arguments that live through the call.
        unsafe { function($script.interface.userdata $(, $argument)*) }
    }};
}

impl Script {
    pub(crate) fn new(flags: &str) -> Script {
        let library = std::env::current_exe()
            .unwrap()
            .with_file_name("libringmill_packetdrill.so");
        let path = CString::new(library.to_str().unwrap()).unwrap();
        // SAFETY: a library of ours, with nothing that runs when it is loaded.
        let handle = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!handle.is_null(), "{} can't be loaded", library.display());
        // SAFETY: the handle is open and stays so.
        let symbol = unsafe { libc::dlsym(handle, c"packetdrill_interface_init".as_ptr()) };
        assert!(
            !symbol.is_null(),
            "the library has no packetdrill_interface_init"
        );
        // SAFETY: the symbol is that function.
        let init = unsafe { std::mem::transmute::<*mut c_void, Init>(symbol) };
        let mut interface = MaybeUninit::<Interface>::uninit();
        let text = CString::new(flags).unwrap();
        // SAFETY: a C string, and room for the table.
        unsafe { init(text.as_ptr(), interface.as_mut_ptr()) };
        // SAFETY: the function has filled it in.
        let interface = unsafe { interface.assume_init() };
        let local = flags
            .strip_prefix("local=")
            .map_or(Ipv4Addr::new(192, 168, 0, 1).into(), |ip| {
                ip.parse().unwrap()
            });
        let (peer, domain) = match local {
            IpAddr::V4(_) => (PEER, libc::AF_INET),
            IpAddr::V6(_) => (PEER_V6, libc::AF_INET6),
        };
        Script {
            interface,
            local,
            peer,
            domain,
            iss: Seq(0),
            port: PORT,
            is_owner: true,
        }
    }

    /// Packets of IPv4, and sockets of IPv6.
    pub(crate) fn mapped() -> Script {
        let mut script = Script::new("");
        script.domain = libc::AF_INET6;
        script
    }

    pub(crate) fn errno(&self) -> c_int {
        std::io::Error::last_os_error().raw_os_error().unwrap()
    }

    pub(crate) fn socket(&mut self) -> c_int {
        let number = call!(
            self,
            socket,
            self.domain,
            libc::SOCK_STREAM,
            libc::IPPROTO_TCP
        );
        assert!(number >= 0);
        number
    }

    pub(crate) fn listening(&mut self) -> c_int {
        let socket = self.socket();
        let address = self.address(self.local);
        let (at, len) = (address.as_ptr().cast::<sockaddr>(), address.len());
        let len = socklen_t::try_from(len).unwrap();
        assert_eq!(call!(self, bind, socket, at, len), 0);
        assert_eq!(call!(self, listen, socket, 1), 0);
        socket
    }

    pub(crate) fn accept(&mut self, listener: c_int) -> c_int {
        call!(
            self,
            accept,
            listener,
            std::ptr::null_mut(),
            std::ptr::null_mut()
        )
    }

    pub(crate) fn accept_from(
        &mut self,
        listener: c_int,
        at: *mut c_void,
        len: &mut socklen_t,
    ) -> c_int {
        call!(self, accept, listener, at.cast::<sockaddr>(), len)
    }

    pub(crate) fn connect(&mut self, socket: c_int) -> c_int {
        let address = self.address(self.peer);
        let len = socklen_t::try_from(address.len()).unwrap();
        call!(
            self,
            connect,
            socket,
            address.as_ptr().cast::<sockaddr>(),
            len
        )
    }

    pub(crate) fn read(&mut self, number: c_int, into: &mut [u8]) -> isize {
        call!(
            self,
            read,
            number,
            into.as_mut_ptr().cast::<c_void>(),
            into.len()
        )
    }

    pub(crate) fn write(&mut self, number: c_int, bytes: &[u8]) -> isize {
        self.write_at(number, bytes.as_ptr().cast(), bytes.len())
    }

    pub(crate) fn write_at(&mut self, number: c_int, at: *const c_void, len: usize) -> isize {
        call!(self, write, number, at, len)
    }

    pub(crate) fn close(&mut self, number: c_int) -> c_int {
        call!(self, close, number)
    }

    pub(crate) fn set_nonblocking(&mut self, number: c_int) {
        call!(
            self,
            fcntl,
            number,
            libc::F_SETFL,
            (libc::O_RDWR | libc::O_NONBLOCK) as u64
        );
    }

    pub(crate) fn set_option(&mut self, number: c_int, level: c_int, name: c_int, value: c_int) {
        let at: *const c_int = &value;
        let set = call!(
            self,
            setsockopt,
            number,
            level,
            name,
            at.cast::<c_void>(),
            4
        );
        assert_eq!(set, 0);
    }

    pub(crate) fn option(
        &mut self,
        number: c_int,
        level: c_int,
        name: c_int,
    ) -> Result<c_int, c_int> {
        let (mut value, mut len) = (0, 4);
        let at: *mut c_int = &mut value;
        match call!(
            self,
            getsockopt,
            number,
            level,
            name,
            at.cast::<c_void>(),
            &mut len
        ) {
            0 => Ok(value),
            _ => Err(self.errno()),
        }
    }

    /// An option of `len` bytes.
    pub(crate) fn bytes(&mut self, number: c_int, level: c_int, name: c_int, len: u32) -> Vec<u8> {
        let mut value = vec![0u8; len as usize];
        let mut len = len;
        let at = value.as_mut_ptr().cast::<c_void>();
        assert_eq!(
            call!(self, getsockopt, number, level, name, at, &mut len),
            0
        );
        value.truncate(len as usize);
        value
    }

    pub(crate) fn poll(&mut self, number: c_int, events: i16, timeout_ms: c_int) -> i16 {
        let mut watched = pollfd {
            fd: number,
            events,
            revents: 0,
        };
        let count = call!(self, poll, &mut watched, 1, timeout_ms);
        assert_eq!(count, c_int::from(watched.revents != 0));
        watched.revents
    }

    pub(crate) fn epoll(&mut self) -> c_int {
        call!(self, epoll_create, 1)
    }

    pub(crate) fn watch(&mut self, epoll: c_int, number: c_int, events: u32) -> c_int {
        let mut event = libc::epoll_event {
            events,
            u64: EPOLL_DATA,
        };
        call!(
            self,
            epoll_ctl,
            epoll,
            libc::EPOLL_CTL_ADD,
            number,
            &mut event
        )
    }

    pub(crate) fn epoll_wait(&mut self, epoll: c_int) -> Option<(u32, u64)> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        let count = call!(self, epoll_wait, epoll, &mut event, 1, 0);
        (count == 1).then_some((event.events, event.u64))
    }

    pub(crate) fn clock_us(&mut self) -> i64 {
        let mut time = timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        assert_eq!(
            call!(self, gettimeofday, &mut time, std::ptr::null_mut()),
            0
        );
        time.tv_sec * 1_000_000 + time.tv_usec
    }

    pub(crate) fn sleep(&mut self, length_us: u32) {
        assert_eq!(call!(self, usleep, length_us), 0);
    }

    /// A segment of the peer, its numbers relative to both sides' initial ones.
    pub(crate) fn inject(&mut self, flags: Flags, seq: u32, ack: u32, data: &[u8]) {
        self.inject_with(flags, seq, ack, data, None);
    }

    /// The same, with a cookie of Fast Open, or a request for one.
    pub(crate) fn inject_with(
        &mut self,
        flags: Flags,
        seq: u32,
        ack: u32,
        data: &[u8],
        cookie: Option<FastOpenCookie>,
    ) {
        let header = Header {
            source_port: if self.port == PORT { PEER_PORT } else { PORT },
            destination_port: self.port,
            seq: PEER_ISN + seq,
            ack: self.iss + ack,
            flags,
            window: 65_535,
            urgent: 0,
            options: Options {
                mss: flags.contains(Flags::SYN).then_some(1_460),
                fast_open: cookie,
                ..Options::default()
            },
        };
        let mut segment = vec![0; header.len()];
        segment.extend(data);
        header.emit(&mut segment, self.peer, self.local);
        let mut packet = vec![0; ip::header_len(self.local)];
        let ip = ip::Header {
            source: self.peer,
            destination: self.local,
            protocol: ip::PROTOCOL_TCP,
            service: ip::Service::default(),
            payload_len: segment.len(),
        };
        ip.emit(&mut packet);
        packet.extend(segment);
        assert_eq!(
            call!(
                self,
                netdev_send,
                packet.as_ptr().cast::<c_void>(),
                packet.len()
            ),
            0
        );
    }

    /// The next packet of the engine, checksums verified.
    pub(crate) fn receive(&mut self) -> Option<Segment> {
        let mut buffer = vec![0u8; 65_536];
        let (mut len, mut time_us): (usize, c_longlong) = (buffer.len(), 0);
        let at = buffer.as_mut_ptr().cast::<c_void>();
        assert_eq!(call!(self, netdev_receive, at, &mut len, &mut time_us), 0);
        if len == 0 {
            return None;
        }
        let packet = &buffer[..len];
        let segment = match self.local {
            IpAddr::V4(_) => ipv4::Header::parse(packet).unwrap().1,
            IpAddr::V6(_) => ipv6::Header::parse(packet).unwrap().1,
        };
        let (header, data) =
            Header::parse(segment, self.local, self.peer, ChecksumPolicy::Full).unwrap();
        if header.flags.contains(Flags::SYN) {
            self.iss = header.seq;
            self.port = header.source_port;
        }
        Some(Segment {
            flags: header.flags,
            seq: header.seq.bytes_since(self.iss),
            ack: header.ack.bytes_since(PEER_ISN),
            data: data.to_vec(),
            time_us,
            header,
        })
    }

    pub(crate) fn handshake(&mut self) {
        self.inject(Flags::SYN, 0, 0, b"");
        let answer = self.receive().unwrap();
        assert_eq!((answer.flags, answer.ack), (Flags::SYN | Flags::ACK, 1));
        self.inject(Flags::ACK, 1, 1, b"");
    }

    /// Nothing listens here.
    pub(crate) fn handshake_refused(&mut self) {
        self.inject(Flags::SYN, 0, 0, b"");
        assert_eq!(self.receive().unwrap().flags, Flags::RST | Flags::ACK);
    }

    /// A listener, and a connection of it.
    pub(crate) fn accepted(&mut self) -> (c_int, c_int) {
        let listener = self.listening();
        self.handshake();
        let connection = self.accept(listener);
        assert!(connection >= 0);
        (listener, connection)
    }

    /// MSG_FASTOPEN: connects and sends.
    pub(crate) fn open_and_send(&mut self, socket: c_int, bytes: &[u8]) -> isize {
        let address = self.address(self.peer);
        let (at, flags) = (bytes.as_ptr().cast::<c_void>(), libc::MSG_FASTOPEN);
        let to = address.as_ptr().cast::<sockaddr>();
        let to_len = socklen_t::try_from(address.len()).unwrap();
        call!(self, sendto, socket, at, bytes.len(), flags, to, to_len)
    }

    pub(crate) fn answer_syn(&mut self, syn: &Segment) {
        assert_eq!(syn.header.destination_port, PORT);
        self.inject(Flags::SYN | Flags::ACK, 0, 1, b"");
    }

    pub(crate) fn refuse_syn(&mut self, syn: &Segment) {
        assert_eq!(syn.header.destination_port, PORT);
        self.inject(Flags::RST | Flags::ACK, 0, 1, b"");
    }

    /// Makes calls on another thread, as packetdrill does where one may block.
    pub(crate) fn on_second_thread<T: Send + 'static>(
        &self,
        calls: impl FnOnce(&mut Script) -> T + Send + 'static,
    ) -> Second<T> {
        let (tell, id) = mpsc::channel();
        let mut script = Script {
            interface: self.interface,
            is_owner: false,
            ..*self
        };
        let thread = thread::spawn(move || {
            // SAFETY: asks the kernel for a number.
            tell.send(unsafe { libc::gettid() }).unwrap();
            calls(&mut script)
        });
        Second { thread, id }
    }

    /// A `sockaddr` of the script's domain.
    fn address(&self, ip: IpAddr) -> Vec<u8> {
        let mut bytes = Vec::new();
        let family = libc::sa_family_t::try_from(self.domain).unwrap();
        bytes.extend(family.to_ne_bytes());
        bytes.extend(PORT.to_be_bytes());
        match (self.domain, ip) {
            (libc::AF_INET, IpAddr::V4(v4)) => {
                bytes.extend(v4.octets());
                bytes.extend([0; 8]);
            }
            (_, ip) => {
                let v6 = match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                bytes.extend([0; 4]);
                bytes.extend(v6.octets());
                bytes.extend([0; 4]);
            }
        }
        bytes
    }

    /// Waits until the second thread sleeps, as packetdrill does.
    pub(crate) fn wait_until_blocked<T>(&self, second: &Second<T>) {
        let path = format!("/proc/self/task/{}/stat", second.id.recv().unwrap());
        let started = Instant::now();
        while !std::fs::read_to_string(&path).unwrap().contains(") S ") {
            assert!(
                started.elapsed() < Duration::from_secs(10),
                "it does not block"
            );
            thread::yield_now();
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        if self.is_owner {
            call!(self, free);
        }
    }
}
