//! The kernel's sockets, none of whose calls blocks.

use super::errno;
use crate::station::{Connect, Errno, Fd, Listen, Outcome};
use ringmill::netns::Namespace;
use ringmill_core::sockets::SocketOption;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};

/// One of them.
struct File {
    /// Until it is closed.
    socket: Option<Socket>,
    remote: Option<SocketAddr>,
    is_connected: bool,
    /// The error that ended it; the kernel tells it once.
    error: Option<Errno>,
}

/// All of a namespace's that this station has opened.
pub(super) struct Sockets {
    files: Vec<File>,
    /// Goes after them.
    namespace: Namespace,
}

impl Sockets {
    pub(super) fn new(namespace: Namespace) -> Sockets {
        Sockets {
            files: Vec::new(),
            namespace,
        }
    }

    fn create(&self, options: &[SocketOption]) -> Outcome<Socket> {
        let create = || Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP));
        let socket = self.namespace.within(create);
        let socket = socket
            .map_err(|_| Errno::Other(0))?
            .map_err(|error| errno(&error))?;
        socket
            .set_nonblocking(true)
            .map_err(|error| errno(&error))?;
        for &option in options {
            set(&socket, option).map_err(|error| errno(&error))?;
        }
        Ok(socket)
    }

    fn open(&mut self, socket: Socket, remote: Option<SocketAddr>, is_connected: bool) -> Fd {
        self.files.push(File {
            socket: Some(socket),
            remote,
            is_connected,
            error: None,
        });
        Fd(self.files.len() - 1)
    }

    pub(super) fn listen(&mut self, listen: Listen) -> Outcome<Fd> {
        let socket = self.create(listen.options)?;
        let address = listen.address.unwrap_or(Ipv4Addr::UNSPECIFIED);
        let address: SocketAddr = (address, listen.port).into();
        let backlog = i32::try_from(listen.backlog).unwrap_or(i32::MAX);
        let bound = socket
            .bind(&address.into())
            .and_then(|()| socket.listen(backlog));
        bound.map_err(|error| errno(&error))?;
        Ok(self.open(socket, None, false))
    }

    pub(super) fn accept(&mut self, listener: Fd) -> Outcome<Fd> {
        let socket = self.socket(listener)?;
        let (accepted, remote) = socket.accept().map_err(|error| errno(&error))?;
        accepted
            .set_nonblocking(true)
            .map_err(|error| errno(&error))?;
        Ok(self.open(accepted, remote.as_socket(), true))
    }

    pub(super) fn connect(&mut self, connect: Connect) -> Outcome<Fd> {
        let socket = self.create(connect.options)?;
        if let Some(from) = connect.from {
            socket.bind(&from.into()).map_err(|error| errno(&error))?;
        }
        match socket.connect(&connect.to.into()) {
            Err(error) if errno(&error) != Errno::Again => Err(errno(&error)),
            _ => Ok(self.open(socket, Some(connect.to), false)),
        }
    }

    pub(super) fn connected(&mut self, fd: Fd) -> Option<Outcome<()>> {
        self.look(fd);
        let file = self.files.get_mut(fd.0)?;
        if let Some(error) = file.error {
            return Some(Err(error));
        }
        file.is_connected |= file.socket.as_ref()?.peer_addr().is_ok();
        file.is_connected.then_some(Ok(()))
    }

    pub(super) fn ended(&mut self, fd: Fd) -> Option<Outcome<()>> {
        self.look(fd);
        self.files.get(fd.0)?.error.map(Err)
    }

    /// Takes over the error that the kernel has for a socket.
    fn look(&mut self, fd: Fd) {
        if let Some(file) = self.files.get_mut(fd.0)
            && let Some(socket) = &file.socket
            && let Ok(Some(error)) = socket.take_error()
        {
            file.error = Some(errno(&error));
        }
    }

    pub(super) fn send(&mut self, fd: Fd, bytes: &[u8]) -> Outcome<usize> {
        self.transfer(fd, |mut socket| socket.write(bytes))
    }

    pub(super) fn receive(&mut self, fd: Fd, most: usize) -> Outcome<Vec<u8>> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let mut buffer = vec![0; most.min(1 << 16).min(most - taken.len())];
            match self.transfer(fd, |mut socket| socket.read(&mut buffer)) {
                Ok(0) => break,
                Ok(count) => taken.extend_from_slice(&buffer[..count]),
                Err(Errno::Again) if !taken.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    fn transfer(
        &mut self,
        fd: Fd,
        act: impl FnOnce(&Socket) -> io::Result<usize>,
    ) -> Outcome<usize> {
        let done = act(self.socket(fd)?).map_err(|error| errno(&error));
        if let Err(error) = done
            && error != Errno::Again
        {
            self.files[fd.0].error.get_or_insert(error);
        }
        done
    }

    pub(super) fn shutdown(&mut self, fd: Fd) -> Outcome<()> {
        let socket = self.socket(fd)?;
        socket
            .shutdown(Shutdown::Write)
            .map_err(|error| errno(&error))
    }

    pub(super) fn duplicate(&mut self, fd: Fd) -> Outcome<Fd> {
        let socket = self.socket(fd)?.try_clone();
        let remote = self.files[fd.0].remote;
        Ok(self.open(socket.map_err(|error| errno(&error))?, remote, true))
    }

    pub(super) fn close(&mut self, fd: Fd) {
        if let Some(file) = self.files.get_mut(fd.0) {
            file.socket = None;
        }
    }

    pub(super) fn set(&mut self, fd: Fd, option: SocketOption) -> Outcome<()> {
        set(self.socket(fd)?, option).map_err(|error| errno(&error))
    }

    pub(super) fn addresses(&self, fd: Fd) -> Option<(SocketAddr, SocketAddr)> {
        let file = self.files.get(fd.0)?;
        let local = file.socket.as_ref()?.local_addr().ok();
        Some((local.as_ref().and_then(SockAddr::as_socket)?, file.remote?))
    }

    fn socket(&self, fd: Fd) -> Outcome<&Socket> {
        let file = self.files.get(fd.0).and_then(|file| file.socket.as_ref());
        file.ok_or(Errno::BadDescriptor)
    }
}

/// Sets an option that both TCPs have.
fn set(socket: &Socket, option: SocketOption) -> io::Result<()> {
    match option {
        SocketOption::NoDelay(on) => socket.set_tcp_nodelay(on),
        SocketOption::Cork(on) => socket.set_tcp_cork(on),
        SocketOption::QuickAck(on) => socket.set_tcp_quickack(on),
        SocketOption::ReuseAddress(on) => socket.set_reuse_address(on),
        SocketOption::KeepAlive(on) => socket.set_keepalive(on),
        SocketOption::KeepIdle(idle) => {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(idle))
        }
        SocketOption::Linger(length) => socket.set_linger(length),
        SocketOption::SendBuffer(bytes) => socket.set_send_buffer_size(bytes as usize),
        SocketOption::ReceiveBuffer(bytes) => socket.set_recv_buffer_size(bytes as usize),
        _ => Err(io::Error::from_raw_os_error(libc::ENOPROTOOPT)),
    }
}
