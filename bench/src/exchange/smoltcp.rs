//! smoltcp at both ends: the same addresses, segments and picks.

use super::{Cost, Ends, window};
use crate::apps::{REQUEST, RESPONSE};
use ringmill_core::rng::Rng;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::collections::VecDeque;

const PORT: u16 = 80;
/// The local port of the client's first connection.
const PORTS: u16 = 10_000;
/// Of each buffer: a response fits, and memory is not what is measured.
const BUFFER: usize = 512;
const TURN: Duration = Duration::from_micros(20);

/// Two interfaces, back to back.
pub struct Smoltcp {
    client: Host,
    server: Host,
    now: Instant,
    /// Connections with a request under way.
    asked: Vec<usize>,
    is_asked: Vec<bool>,
    rng: Rng,
    segments: u64,
}

impl Smoltcp {
    /// Opens `connections`.
    ///
    /// # Panics
    /// When a connection is refused: there is nothing to measure then.
    pub fn open(connections: usize) -> Smoltcp {
        let mut client = Host::new(2, connections);
        let mut server = Host::new(1, connections);
        for &handle in &server.handles {
            let socket = server.sockets.get_mut::<Socket>(handle);
            socket.listen(PORT).expect("nobody else listens");
        }
        for (&handle, port) in client.handles.iter().zip(PORTS..) {
            let socket = client.sockets.get_mut::<Socket>(handle);
            let remote = (IpAddress::v4(198, 18, 0, 1), PORT);
            socket
                .connect(client.interface.context(), remote, port)
                .expect("there is room for all");
        }
        let mut ends = Smoltcp {
            client,
            server,
            now: Instant::ZERO,
            asked: Vec::new(),
            is_asked: vec![false; connections],
            rng: Rng::from_seed(1),
            segments: 0,
        };
        while !(ends.client.is_open() && ends.server.is_open()) {
            ends.turn();
        }
        ends.server.order_by_peer();
        ends
    }

    fn turn(&mut self) {
        self.now += TURN;
        self.client.poll(self.now);
        self.segments += self.client.carry(&mut self.server);
        self.server.poll(self.now);
        self.segments += self.server.carry(&mut self.client);
    }

    fn ask(&mut self) {
        let at = self.rng.below(self.is_asked.len() as u64);
        let at = usize::try_from(at).unwrap_or(0);
        if !self.is_asked[at] {
            self.is_asked[at] = true;
            self.asked.push(at);
            self.client.send(at, REQUEST);
        }
    }

    /// One step of each end's application: how many responses came. smoltcp does not
    /// say which socket has news, so both are told by the benchmark: it costs them
    /// no walk over all.
    fn serve(&mut self) -> u64 {
        self.now += TURN;
        self.client.poll(self.now);
        self.segments += self.client.carry(&mut self.server);
        self.server.poll(self.now);
        for &at in &self.asked {
            if self.server.take(at, REQUEST) {
                self.server.send(at, RESPONSE);
            }
        }
        self.server.poll(self.now);
        self.segments += self.server.carry(&mut self.client);
        self.client.poll(self.now);
        let before = self.asked.len();
        let Smoltcp {
            asked,
            is_asked,
            client,
            ..
        } = self;
        asked.retain(|&at| {
            is_asked[at] = !client.take(at, RESPONSE);
            is_asked[at]
        });
        (before - self.asked.len()) as u64
    }
}

impl Ends for Smoltcp {
    fn run(&mut self, exchanges: u64) -> Cost {
        let mut answered = 0;
        let segments = self.segments;
        let start = std::time::Instant::now();
        while answered < exchanges {
            while self.asked.len() < window(self.is_asked.len()) {
                self.ask();
            }
            answered += self.serve();
        }
        Cost {
            exchanges: answered,
            segments: self.segments - segments,
            elapsed: start.elapsed(),
        }
    }
}

struct Host {
    interface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
}

impl Host {
    fn new(number: u8, connections: usize) -> Host {
        let mut device = Queues::default();
        let mac = EthernetAddress([2, 0, 0, 0, 0, number]);
        let mut config = Config::new(mac.into());
        config.random_seed = u64::from(number);
        let mut interface = Interface::new(config, &mut device, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            let address = IpCidr::new(IpAddress::v4(198, 18, 0, number), 24);
            // There is room for one.
            let _ = addresses.push(address);
        });
        let mut sockets = SocketSet::new(Vec::with_capacity(connections));
        let handles = (0..connections).map(|_| {
            let room = || SocketBuffer::new(vec![0; BUFFER]);
            let mut socket = Socket::new(room(), room());
            socket.set_nagle_enabled(false);
            sockets.add(socket)
        });
        let handles = handles.collect();
        Host {
            interface,
            device,
            sockets,
            handles,
        }
    }

    fn poll(&mut self, now: Instant) {
        self.interface
            .poll(now, &mut self.device, &mut self.sockets);
    }

    /// Moves what was sent to the other end: how many frames.
    fn carry(&mut self, other: &mut Host) -> u64 {
        let count = self.device.sent.len();
        other.device.arrived.append(&mut self.device.sent);
        count as u64
    }

    fn is_open(&self) -> bool {
        self.handles
            .iter()
            .all(|&handle| self.sockets.get::<Socket>(handle).state() == State::Established)
    }

    /// Any socket took any connection: from here on the nth is the client's nth.
    fn order_by_peer(&mut self) {
        let sockets = &self.sockets;
        self.handles.sort_by_key(|&handle| {
            let peer = sockets.get::<Socket>(handle).remote_endpoint();
            peer.map_or(0, |peer| peer.port)
        });
    }

    fn send(&mut self, at: usize, len: usize) {
        let socket = self.sockets.get_mut::<Socket>(self.handles[at]);
        let sent = socket.send(|room| {
            let len = len.min(room.len());
            room[..len].fill(b'x');
            (len, len)
        });
        assert!(sent.is_ok(), "an open connection");
    }

    /// A message has come, and is taken.
    fn take(&mut self, at: usize, len: usize) -> bool {
        let socket = self.sockets.get_mut::<Socket>(self.handles[at]);
        if socket.recv_queue() < len {
            return false;
        }
        let mut left = len;
        while left > 0 {
            // In two pieces where the buffer wraps.
            let taken = socket.recv(|bytes| {
                let taken = bytes.len().min(left);
                (taken, taken)
            });
            left -= taken.expect("an open connection");
        }
        true
    }
}

/// A device of two queues. The memory of a frame that arrived is used again for one
/// that leaves.
#[derive(Debug, Default)]
struct Queues {
    arrived: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
    used: Vec<Vec<u8>>,
    spare: Vec<Vec<u8>>,
}

struct Arrived<'a> {
    frame: Vec<u8>,
    used: &'a mut Vec<Vec<u8>>,
}

struct ToSend<'a> {
    sent: &'a mut VecDeque<Vec<u8>>,
    spare: &'a mut Vec<Vec<u8>>,
}

impl RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        let result = read(&self.frame);
        self.used.push(self.frame);
        result
    }
}

impl TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = self.spare.pop().unwrap_or_default();
        frame.resize(len, 0);
        let result = write(&mut frame);
        self.sent.push_back(frame);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Arrived<'a>;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, ToSend<'_>)> {
        let frame = self.arrived.pop_front()?;
        self.spare.append(&mut self.used);
        let Queues {
            sent, used, spare, ..
        } = self;
        Some((Arrived { frame, used }, ToSend { sent, spare }))
    }

    fn transmit(&mut self, _: Instant) -> Option<ToSend<'_>> {
        let Queues { sent, spare, .. } = self;
        Some(ToSend { sent, spare })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}
