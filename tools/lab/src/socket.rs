//! Hosts and their sockets, as a scenario holds them. Every call is told.

use crate::engine::Engine;
use crate::stage::Stage;
use crate::station::{Connect, Errno, Fd, Listen, Outcome, Station};
use ringmill_core::app::http::Http;
use ringmill_core::sockets::{SocketOption, SocketOptions};
use ringmill_core::stats::Stats;
use ringmill_core::tcp::{SocketInfo, State};
use ringmill_core::time::{Duration, Instant};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

/// The stage, shared by all who act on it.
pub(crate) type Stagehand = Rc<RefCell<Stage>>;

/// A host.
#[derive(Clone)]
pub(crate) struct Host {
    stage: Stagehand,
    number: usize,
}

/// A listening socket.
#[derive(Clone)]
pub(crate) struct Listener {
    host: Host,
    fd: Fd,
    pub(crate) port: u16,
}

/// A connected socket, or one that connects.
#[derive(Clone)]
pub(crate) struct Connection {
    host: Host,
    fd: Fd,
    addresses: Rc<Cell<Option<(SocketAddr, SocketAddr)>>>,
}

impl Host {
    pub(crate) fn new(stage: Stagehand, number: usize) -> Host {
        Host { stage, number }
    }

    /// Its place in the record.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn name(&self) -> String {
        self.stage.borrow().record.hosts[self.number].name.clone()
    }

    pub(crate) fn address(&self) -> Ipv4Addr {
        match self.stage.borrow().record.hosts[self.number].address.ip() {
            IpAddr::V4(address) => address,
            IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
        }
    }

    /// Calls the station; the application's call is told with its answer.
    fn call<T>(
        &self,
        call: impl FnOnce(&mut dyn Station, Instant) -> T,
        tell: impl FnOnce(&T) -> String,
    ) -> T {
        let mut stage = self.stage.borrow_mut();
        let answer = stage.call(self.number, call);
        stage.called(self.number, tell(&answer));
        answer
    }

    /// Asks the station something; it is not told.
    fn ask<T>(&self, call: impl FnOnce(&mut dyn Station, Instant) -> T) -> T {
        self.stage.borrow_mut().call(self.number, call)
    }

    /// The engine, if that is what it is.
    pub(crate) fn with_engine<T>(&self, call: impl FnOnce(&mut Engine, Instant) -> T) -> Option<T> {
        self.ask(|station, now| station.as_engine().map(|engine| call(engine, now)))
    }

    /// Listens on a port of all addresses, with room enough.
    pub(crate) fn listen(&self, port: u16) -> Outcome<Listener> {
        self.listen_with(port, 128, &[])
    }

    pub(crate) fn listen_with(
        &self,
        port: u16,
        backlog: usize,
        options: &[SocketOption],
    ) -> Outcome<Listener> {
        self.listen_on(None, port, backlog, options)
    }

    pub(crate) fn listen_on(
        &self,
        address: Option<Ipv4Addr>,
        port: u16,
        backlog: usize,
        options: &[SocketOption],
    ) -> Outcome<Listener> {
        let listen = Listen {
            address,
            port,
            backlog,
            options,
        };
        let options: String = options
            .iter()
            .map(|option| format!(", {}", spelled(*option)))
            .collect();
        let fd = self.call(
            |station, now| station.listen(now, listen),
            |answer| format!("listen({port}{options}){}", failure(answer)),
        )?;
        Ok(Listener {
            host: self.clone(),
            fd,
            port,
        })
    }

    /// Connects to a listener.
    pub(crate) fn connect(&self, to: &Listener) -> Outcome<Connection> {
        self.connect_with(to, &[])
    }

    pub(crate) fn connect_with(
        &self,
        to: &Listener,
        options: &[SocketOption],
    ) -> Outcome<Connection> {
        self.connect_to((to.host.address(), to.port).into(), None, options)
    }

    /// Connects from a port of its own choice.
    pub(crate) fn connect_from(&self, port: u16, to: &Listener) -> Outcome<Connection> {
        let to = (to.host.address(), to.port).into();
        self.connect_to(to, Some((Ipv4Addr::UNSPECIFIED, port).into()), &[])
    }

    pub(crate) fn connect_to(
        &self,
        to: SocketAddr,
        from: Option<SocketAddr>,
        options: &[SocketOption],
    ) -> Outcome<Connection> {
        let connect = Connect { from, to, options };
        let bind = from.map_or(String::new(), |from| format!("bind({}), ", from.port()));
        let name = self.name_of(to);
        let fd = self.call(
            |station, now| station.connect(now, connect),
            |answer| format!("{bind}connect({name}){}", failure(answer)),
        )?;
        Ok(Connection::new(self.clone(), fd))
    }

    fn name_of(&self, to: SocketAddr) -> String {
        let stage = self.stage.borrow();
        let named = stage
            .record
            .hosts
            .iter()
            .find(|host| host.address.ip() == to.ip());
        let name = named.map_or(to.ip().to_string(), |host| host.name.clone());
        format!("{name}:{}", to.port())
    }

    /// All sockets, listeners too.
    pub(crate) fn sockets(&self) -> Vec<SocketInfo> {
        self.stage.borrow_mut().sockets(self.number)
    }

    /// How many sockets are in a state.
    pub(crate) fn count(&self, state: State) -> usize {
        self.sockets()
            .iter()
            .filter(|socket| socket.state == state)
            .count()
    }

    /// Starts the engine's own HTTP server.
    pub(crate) fn serve(&self, http: Http) {
        let port = 80;
        let served = self.with_engine(|engine, now| engine.serve(now, http));
        assert_eq!(served, Some(Ok(())), "{} serves HTTP", self.name());
        self.stage
            .borrow_mut()
            .called(self.number, format!("serve HTTP on port {port}"));
    }

    /// What its connections have read that close at their end.
    pub(crate) fn read(&self) -> u64 {
        self.with_engine(|engine, _| engine.read()).unwrap_or(0)
    }

    /// What its engine has counted.
    pub(crate) fn stats(&self) -> Stats {
        self.with_engine(|engine, _| engine.stats())
            .unwrap_or_default()
    }
}

impl Listener {
    /// A listener's place that somebody else made, to connect to.
    pub(crate) fn of(host: &Host, port: u16) -> Listener {
        Listener {
            host: host.clone(),
            fd: Fd(usize::MAX),
            port,
        }
    }

    /// The head of the queue of completed connections.
    pub(crate) fn accept(&self) -> Outcome<Connection> {
        let fd = self.host.call(
            |station, now| station.accept(now, self.fd),
            |answer| format!("accept({}){}", self.port, failure(answer)),
        )?;
        Ok(Connection::new(self.host.clone(), fd))
    }

    pub(crate) fn close(&self) {
        self.host.call(
            |station, now| station.close(now, self.fd),
            |()| format!("close(listener {})", self.port),
        );
    }

    pub(crate) fn set(&self, option: SocketOption) -> Outcome<()> {
        self.host.call(
            |station, now| station.set(now, self.fd, option),
            |answer| format!("setsockopt({}){}", spelled(option), failure(answer)),
        )
    }

    /// The socket as netstat shows it.
    pub(crate) fn info(&self) -> Option<SocketInfo> {
        let sockets = self.host.sockets();
        sockets
            .into_iter()
            .find(|socket| socket.remote.is_none() && socket.local.port() == self.port)
    }

    pub(crate) fn options(&self) -> Option<SocketOptions> {
        self.host
            .with_engine(|engine, now| engine.options(now, self.fd))
            .flatten()
    }
}

impl Connection {
    fn new(host: Host, fd: Fd) -> Connection {
        let addresses = host.ask(|station, now| station.addresses(now, fd));
        Connection {
            host,
            fd,
            addresses: Rc::new(Cell::new(addresses)),
        }
    }

    /// Its own address and its peer's. They are remembered when it is gone.
    pub(crate) fn addresses(&self) -> Option<(SocketAddr, SocketAddr)> {
        if self.addresses.get().is_none() {
            let told = self
                .host
                .ask(|station, now| station.addresses(now, self.fd));
            self.addresses.set(told);
        }
        self.addresses.get()
    }

    pub(crate) fn local_port(&self) -> u16 {
        self.addresses().map_or(0, |(local, _)| local.port())
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> Outcome<usize> {
        self.host.call(
            |station, now| station.send(now, self.fd, bytes),
            |answer| match answer {
                Ok(count) => format!("send({}) = {count}", bytes.len()),
                Err(errno) => format!("send({}) = {errno}", bytes.len()),
            },
        )
    }

    /// Reads all that has come, and the end of the stream if that is all.
    pub(crate) fn receive(&self) -> Outcome<Vec<u8>> {
        self.receive_at_most(usize::MAX)
    }

    pub(crate) fn receive_at_most(&self, most: usize) -> Outcome<Vec<u8>> {
        self.host.call(
            |station, now| station.receive(now, self.fd, most),
            |answer| match answer {
                Ok(bytes) if bytes.is_empty() => "receive() = end of file".to_owned(),
                Ok(bytes) => format!("receive() = {} bytes", bytes.len()),
                Err(errno) => format!("receive() = {errno}"),
            },
        )
    }

    /// SHUT_WR.
    pub(crate) fn shutdown(&self) {
        let _ = self.host.call(
            |station, now| station.shutdown(now, self.fd),
            |answer| format!("shutdown(SHUT_WR){}", failure(answer)),
        );
    }

    pub(crate) fn close(&self) {
        self.addresses();
        self.host.call(
            |station, now| station.close(now, self.fd),
            |()| "close()".to_owned(),
        );
    }

    /// One more descriptor of the same connection, as dup or fork make one.
    pub(crate) fn duplicate(&self) -> Outcome<Connection> {
        self.addresses();
        let fd = self.host.call(
            |station, _| station.duplicate(self.fd),
            |answer| format!("dup(){}", failure(answer)),
        )?;
        Ok(Connection {
            host: self.host.clone(),
            fd,
            addresses: self.addresses.clone(),
        })
    }

    /// Has the engine send so many bytes without regard to its send buffer.
    pub(crate) fn send_bulk(&self, len: usize) -> Outcome<()> {
        self.host.call(
            |station, now| match station.as_engine() {
                Some(engine) => engine.send_bulk(now, self.fd, len),
                None => Err(Errno::BadDescriptor),
            },
            |answer| format!("send({len}){}", failure(answer)),
        )
    }

    /// From now on the application, which must be an engine's, reads what comes and
    /// closes as soon as it reads the end of the stream.
    pub(crate) fn close_at_end(&self) {
        self.addresses();
        let mut stage = self.host.stage.borrow_mut();
        stage.call(self.host.number, |station, now| {
            if let Some(engine) = station.as_engine() {
                engine.close_at_end(now, self.fd);
            }
        });
        stage.called(self.host.number, "read, close() at end of file".to_owned());
    }

    /// Closes by a RST: SO_LINGER with no time.
    pub(crate) fn reset(&self) {
        let _ = self.set(SocketOption::Linger(Some(Duration::ZERO)));
        self.close();
    }

    pub(crate) fn set(&self, option: SocketOption) -> Outcome<()> {
        self.host.call(
            |station, now| station.set(now, self.fd, option),
            |answer| format!("setsockopt({}){}", spelled(option), failure(answer)),
        )
    }

    pub(crate) fn options(&self) -> Option<SocketOptions> {
        self.host
            .with_engine(|engine, now| engine.options(now, self.fd))
            .flatten()
    }

    /// The connect is done: well, or not.
    pub(crate) fn connected(&self) -> Option<Outcome<()>> {
        self.host
            .ask(|station, now| station.connected(now, self.fd))
    }

    /// How it ended, if it did without this side's close, or after a lingering one.
    pub(crate) fn ended(&self) -> Option<Outcome<()>> {
        self.host.ask(|station, now| station.ended(now, self.fd))
    }

    /// The socket as netstat shows it; TIME-WAIT too, long after it was closed.
    pub(crate) fn info(&self) -> Option<SocketInfo> {
        let (local, remote) = self.addresses()?;
        let mut sockets = self.host.sockets().into_iter();
        sockets.find(|socket| socket.local == local && socket.remote == Some(remote))
    }

    pub(crate) fn state(&self) -> State {
        self.info().map_or(State::Closed, |socket| socket.state)
    }

    pub(crate) fn is(&self, state: State) -> bool {
        self.state() == state
    }
}

/// An option as setsockopt knows it.
fn spelled(option: SocketOption) -> String {
    let on = |name: &str, on: bool| format!("{name} {}", if on { "on" } else { "off" });
    let long = |name: &str, length: Duration| format!("{name} {} s", length.as_secs_f64());
    match option {
        SocketOption::NoDelay(is_on) => on("TCP_NODELAY", is_on),
        SocketOption::QuickAck(is_on) => on("TCP_QUICKACK", is_on),
        SocketOption::ReuseAddress(is_on) => on("SO_REUSEADDR", is_on),
        SocketOption::KeepAlive(is_on) => on("SO_KEEPALIVE", is_on),
        SocketOption::KeepIdle(length) => long("TCP_KEEPIDLE", length),
        SocketOption::KeepInterval(length) => long("TCP_KEEPINTVL", length),
        SocketOption::KeepCount(count) => format!("TCP_KEEPCNT {count}"),
        SocketOption::Linger(Some(length)) => long("SO_LINGER", length),
        SocketOption::Linger(None) => on("SO_LINGER", false),
        SocketOption::SendBuffer(bytes) => format!("SO_SNDBUF {bytes}"),
        SocketOption::ReceiveBuffer(bytes) => format!("SO_RCVBUF {bytes}"),
        SocketOption::SynCount(count) => format!("TCP_SYNCNT {count}"),
        SocketOption::Ttl(ttl) => format!("IP_TTL {ttl}"),
        other => format!("{other:?}"),
    }
}

fn failure<T>(answer: &Outcome<T>) -> String {
    match answer {
        Ok(_) => String::new(),
        Err(errno) => format!(" = {errno}"),
    }
}

/// What a call said, for a claim.
pub(crate) fn said<T>(answer: &Outcome<T>) -> String {
    match answer {
        Ok(_) => "success".to_owned(),
        Err(errno) => errno.to_string(),
    }
}

/// A call was refused with this.
pub(crate) fn is_refused<T>(answer: &Outcome<T>, with: Errno) -> bool {
    answer.as_ref().err() == Some(&with)
}
