//! The engine on a thread of its own, and sockets to use it from others.

use crate::host::{FAST_OPENS, Family, Host, PORT, Socket, look};
use ringmill::clock::Clock;
use ringmill::netns::Namespace;
use ringmill::{Interface, Owned, Steering, XdpConfig, XdpDriver, XdpMode};
use ringmill_core::app::App;
use ringmill_core::frame::FramePool;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::{
    Closed, ConnectionId, ListenerId, SocketError, SocketOptions, Sockets,
};
use ringmill_core::stack::{Config, InterfaceAddress};
use ringmill_core::tcp::State;
use ringmill_core::wire::ethernet::MacAddress;
use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long the engine sleeps when no frame moves and nobody calls.
const NAP: Duration = Duration::from_micros(50);

/// Remembers what only a callback tells.
#[derive(Default)]
struct Memory {
    connected: HashSet<ConnectionId>,
    closed: HashMap<ConnectionId, Closed>,
}

impl App for Memory {
    fn on_connected(&mut self, _: &mut Sockets, connection: ConnectionId) {
        self.connected.insert(connection);
    }

    fn on_closed(&mut self, _: &mut Sockets, connection: ConnectionId, _: u32, why: Closed) {
        self.closed.insert(connection, why);
    }
}

impl Memory {
    /// The error of a connection that has ended.
    fn reason(&self, connection: ConnectionId) -> io::Error {
        match self.closed.get(&connection) {
            Some(Closed::Refused) => io::ErrorKind::ConnectionRefused.into(),
            Some(Closed::Reset) => io::ErrorKind::ConnectionReset.into(),
            Some(Closed::TimedOut) => io::ErrorKind::TimedOut.into(),
            other => io::Error::other(format!("{other:?}")),
        }
    }
}

type Call = Box<dyn FnOnce(&mut Memory, &mut Sockets) + Send>;

/// The way to the engine's thread.
#[derive(Clone)]
struct Line(Sender<Call>);

impl Line {
    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Memory, &mut Sockets) -> T + Send + 'static,
    ) -> T {
        let (answer, answered) = mpsc::channel();
        let call = Box::new(move |memory: &mut Memory, sockets: &mut Sockets| {
            // Who asked waits for it.
            let _ = answer.send(work(memory, sockets));
        });
        self.0.send(call).expect("the engine runs");
        answered.recv().expect("the engine answers")
    }
}

/// An engine that runs until it is dropped.
pub(crate) struct Engine {
    line: Option<Line>,
    addresses: Vec<IpAddr>,
    listener: ListenerId,
    thread: Option<JoinHandle<()>>,
}

impl Engine {
    /// Starts an engine on `interface` with these addresses, listening.
    pub(crate) fn start(
        namespace: &Namespace,
        interface: &str,
        addresses: &[InterfaceAddress],
        seed: u64,
    ) -> Engine {
        let owned: Vec<Owned> = addresses.iter().map(|a| Owned::Address(a.ip)).collect();
        let (driver, pool, steering) = namespace
            .within(|| {
                let interface = Interface::find(interface).unwrap();
                let mut steering =
                    Steering::attach(&interface, XdpMode::Auto, None, &owned).unwrap();
                let (driver, pool) = XdpDriver::open(&XdpConfig::new(&interface.name)).unwrap();
                steering.deliver_to(&driver).unwrap();
                (driver, pool, steering)
            })
            .unwrap();
        let mac = MacAddress(driver.interface().mac);
        let mut config = Config::new(mac, addresses[0].ip, addresses[0].prefix_len);
        config.addresses = addresses.to_vec();
        config.seed = seed;
        let (calls, called) = mpsc::channel();
        let thread = std::thread::spawn(move || run(config, driver, pool, &called, steering));
        let line = Line(calls);
        let listener = line.call(move |_, sockets| {
            let options = SocketOptions {
                fast_open: FAST_OPENS,
                ..SocketOptions::default()
            };
            sockets.listen(None, PORT, 256, options).unwrap()
        });
        Engine {
            line: Some(line),
            addresses: addresses.iter().map(|a| a.ip).collect(),
            listener,
            thread: Some(thread),
        }
    }

    fn line(&self) -> &Line {
        self.line.as_ref().unwrap()
    }

    /// Connects, sends `bytes` in the same step, and waits for the connection.
    fn open(
        &self,
        to: SocketAddr,
        options: SocketOptions,
        bytes: &[u8],
    ) -> io::Result<Box<dyn Socket>> {
        let line = self.line().clone();
        let bytes: Arc<[u8]> = bytes.into();
        let id = line.call(move |_, sockets| {
            let id = sockets.connect(to, 0, options).expect("a port is free");
            assert_eq!(sockets.send(id, &bytes), Ok(bytes.len()));
            id
        });
        let outcome = look(|| {
            line.call(move |memory, _| {
                if memory.closed.contains_key(&id) {
                    return Some(Err(memory.reason(id)));
                }
                memory.connected.contains(&id).then_some(Ok(()))
            })
        });
        outcome.unwrap_or(Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Box::new(EngineSocket { line, id }))
    }
}

/// The engine's thread: until nobody can call any more.
fn run(
    config: Config,
    driver: XdpDriver,
    pool: FramePool,
    calls: &Receiver<Call>,
    steering: Steering,
) {
    let clock = Clock::start();
    let mut shard = Shard::new(config, clock.now(), driver, pool, Memory::default());
    loop {
        let has_moved = shard.step(clock.now());
        let call = if has_moved || shard.has_work() {
            match calls.try_recv() {
                Err(mpsc::TryRecvError::Empty) => None,
                Err(mpsc::TryRecvError::Disconnected) => break,
                Ok(call) => Some(call),
            }
        } else {
            match calls.recv_timeout(NAP) {
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Ok(call) => Some(call),
            }
        };
        if let Some(call) = call {
            shard.with_app(clock.now(), |memory, sockets| call(memory, sockets));
        }
    }
    shard.with_app(clock.now(), |_, sockets| sockets.abort_all());
    for _ in 0..100 {
        shard.step(clock.now());
    }
    assert_eq!(shard.frames_missing(), 0, "a frame is lost");
    drop(steering);
    let (driver, pool, _) = shard.into_parts();
    driver.close(pool).expect("all frames come home");
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.line = None;
        let ended = self.thread.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "the engine died");
    }
}

impl Host for Engine {
    fn name(&self) -> &'static str {
        "engine"
    }

    fn address(&self, family: Family) -> IpAddr {
        let mut addresses = self.addresses.iter().copied();
        addresses.find(|&address| family.is_of(address)).unwrap()
    }

    fn connect(&self, to: SocketAddr) -> io::Result<Box<dyn Socket>> {
        self.open(to, SocketOptions::default(), &[])
    }

    fn connect_with(&self, to: SocketAddr, bytes: &[u8]) -> io::Result<Box<dyn Socket>> {
        let options = SocketOptions {
            fast_open_connect: true,
            ..SocketOptions::default()
        };
        self.open(to, options, bytes)
    }

    fn accept(&self, family: Family) -> Box<dyn Socket> {
        let line = self.line().clone();
        let listener = self.listener;
        let id = look(|| line.call(move |_, sockets| sockets.accept(listener)));
        let id = id.expect("a connection to accept");
        let remote = line.call(move |_, sockets| sockets.remote(id));
        assert!(remote.is_none_or(|remote| family.is_of(remote.ip())));
        Box::new(EngineSocket { line, id })
    }

    fn states(&self) -> Vec<State> {
        let gauges = self.line().call(|_, sockets| sockets.gauges());
        let states = State::ALL.iter().zip(gauges.states);
        states
            .filter(|&(&state, _)| state != State::Listen)
            .flat_map(|(&state, count)| std::iter::repeat_n(state, count))
            .collect()
    }
}

struct EngineSocket {
    line: Line,
    id: ConnectionId,
}

impl EngineSocket {
    /// Asks until it would not block.
    fn until<T: Send + 'static>(
        &self,
        call: impl Fn(&mut Sockets, ConnectionId) -> Result<T, SocketError> + Send + Clone + 'static,
    ) -> io::Result<T> {
        let id = self.id;
        let outcome = look(|| {
            let call = call.clone();
            self.line
                .call(move |memory, sockets| match call(sockets, id) {
                    Ok(done) => Some(Ok(done)),
                    Err(SocketError::WouldBlock) => None,
                    Err(SocketError::BadDescriptor) => Some(Err(memory.reason(id))),
                    Err(other) => Some(Err(io::Error::other(other))),
                })
        });
        outcome.unwrap_or(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// Everything that has arrived.
fn take_all(sockets: &mut Sockets, id: ConnectionId) -> Result<Vec<u8>, SocketError> {
    let mut taken = Vec::new();
    loop {
        let len = match sockets.receive(id) {
            Ok([]) => return Ok(taken),
            Ok(bytes) => {
                taken.extend_from_slice(bytes);
                bytes.len()
            }
            Err(SocketError::WouldBlock) if !taken.is_empty() => return Ok(taken),
            Err(error) => return Err(error),
        };
        sockets.consume(id, len);
    }
}

impl Socket for EngineSocket {
    fn send(&self, bytes: &[u8]) -> io::Result<()> {
        let bytes: Arc<[u8]> = bytes.into();
        let mut sent = 0;
        while sent < bytes.len() {
            let rest = bytes.clone();
            sent += self.until(move |sockets, id| sockets.send(id, &rest[sent..]))?;
        }
        Ok(())
    }

    fn receive(&self) -> io::Result<Vec<u8>> {
        self.until(take_all)
    }

    fn shutdown(&self) {
        let id = self.id;
        // One that has ended has nothing to close.
        let _ = self.line.call(move |_, sockets| sockets.shutdown(id));
    }

    fn close(self: Box<Self>) {
        let id = self.id;
        self.line.call(move |_, sockets| sockets.close(id));
    }

    fn abort(self: Box<Self>) {
        let id = self.id;
        self.line.call(move |_, sockets| sockets.abort(id));
    }

    fn is_readable(&self) -> bool {
        let id = self.id;
        self.line
            .call(move |_, sockets| sockets.receive(id).is_ok_and(|bytes| !bytes.is_empty()))
    }

    fn took_syn_data(&self) -> bool {
        let id = self.id;
        let info = self.line.call(move |_, sockets| sockets.info(id));
        info.is_some_and(|info| info.syn_data)
    }

    fn state(&self) -> Option<State> {
        let id = self.id;
        self.line.call(move |_, sockets| sockets.state(id))
    }
}
