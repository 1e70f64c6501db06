//! smoltcp as an end: the same addresses, buffers and frames.

use super::wire::End;
use ringmill_core::time::Instant;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::tcp::{CongestionControl, Socket, SocketBuffer};
use smoltcp::time::Instant as SmolInstant;
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr};
use std::collections::VecDeque;

const PORT: u16 = 9;
const PORTS: u16 = 49_152;

/// A device of two queues.
#[derive(Debug, Default)]
struct Queues {
    arrived: VecDeque<Vec<u8>>,
    sent: VecDeque<Vec<u8>>,
}

struct Arrived(Vec<u8>);
struct ToSend<'a>(&'a mut VecDeque<Vec<u8>>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

impl TxToken for ToSend<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut frame = vec![0; len];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}

impl Device for Queues {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = ToSend<'a>;

    fn receive(&mut self, _: SmolInstant) -> Option<(Arrived, ToSend<'_>)> {
        let frame = self.arrived.pop_front()?;
        Some((Arrived(frame), ToSend(&mut self.sent)))
    }

    fn transmit(&mut self, _: SmolInstant) -> Option<ToSend<'_>> {
        Some(ToSend(&mut self.sent))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1_514;
        capabilities
    }
}

/// One host.
pub(crate) struct Host {
    interface: Interface,
    device: Queues,
    sockets: SocketSet<'static>,
    handles: Vec<SocketHandle>,
    received: Vec<u64>,
}

/// smoltcp counts microseconds.
fn instant(now: Instant) -> SmolInstant {
    SmolInstant::from_micros(i64::try_from(now.as_micros()).unwrap_or(i64::MAX))
}

fn host(
    number: u8,
    connections: usize,
    buffer: usize,
    control: CongestionControl,
    seed: u64,
) -> Host {
    let mut device = Queues::default();
    let mac = EthernetAddress([2, 0, 0, 0, 0, number]);
    let mut config = Config::new(mac.into());
    config.random_seed = seed;
    let mut interface = Interface::new(config, &mut device, SmolInstant::ZERO);
    interface.update_ip_addrs(|addresses| {
        let address = IpCidr::new(IpAddress::v4(198, 18, 0, number), 24);
        // There is room for one.
        let _ = addresses.push(address);
    });
    let mut sockets = SocketSet::new(Vec::new());
    let handles = (0..connections).map(|_| {
        let room = || SocketBuffer::new(vec![0; buffer]);
        let mut socket = Socket::new(room(), room());
        socket.set_congestion_control(control);
        sockets.add(socket)
    });
    let handles = handles.collect();
    Host {
        interface,
        device,
        sockets,
        handles,
        received: vec![0; connections],
    }
}

/// Both ends, with `connections` between them.
pub(crate) fn ends(
    connections: usize,
    buffer: u32,
    control: CongestionControl,
    seed: u64,
) -> (Host, Host) {
    let buffer = buffer as usize;
    let mut sender = host(1, connections, buffer, control, seed);
    let mut receiver = host(2, connections, buffer, control, seed ^ 1);
    for &handle in &receiver.handles {
        let socket = receiver.sockets.get_mut::<Socket>(handle);
        assert!(socket.listen(PORT).is_ok(), "nobody else listens");
    }
    for (&handle, port) in sender.handles.iter().zip(PORTS..) {
        let socket = sender.sockets.get_mut::<Socket>(handle);
        let remote = (IpAddress::v4(198, 18, 0, 2), PORT);
        let connects = socket.connect(sender.interface.context(), remote, port);
        assert!(connects.is_ok(), "there is room for all");
    }
    (sender, receiver)
}

impl End for Host {
    fn arrive(&mut self, frame: Vec<u8>) {
        self.device.arrived.push_back(frame);
    }

    fn run(&mut self, now: Instant, send: &mut dyn FnMut(Vec<u8>)) {
        loop {
            let now = instant(now);
            self.interface
                .poll(now, &mut self.device, &mut self.sockets);
            let mut moved = false;
            for (&handle, received) in self.handles.iter().zip(&mut self.received) {
                let socket = self.sockets.get_mut::<Socket>(handle);
                while socket.can_recv() {
                    let read = socket.recv(|bytes| (bytes.len(), bytes.len()));
                    *received += read.unwrap_or(0) as u64;
                    moved = true;
                }
                // The receiver has nothing to say.
                while socket
                    .local_endpoint()
                    .is_some_and(|local| local.port != PORT)
                    && socket.can_send()
                {
                    let _ = socket.send(|room| (room.len(), ()));
                    moved = true;
                }
            }
            while let Some(frame) = self.device.sent.pop_front() {
                send(frame);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    fn next_deadline(&mut self, now: Instant) -> Option<Instant> {
        let at = self.interface.poll_at(instant(now), &self.sockets)?;
        Some(Instant::from_micros(
            u64::try_from(at.total_micros()).unwrap_or(0),
        ))
    }

    fn received(&self) -> &[u64] {
        &self.received
    }
}
