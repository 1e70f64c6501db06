//! The kernel's sockets with their states, queues and timers, as it tells them
//! over netlink (sock_diag), to `ss` and to us.

use super::KernelError;
use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags, Timer,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use ringmill::netns::Namespace;
use ringmill_core::tcp::{RunningTimer, SocketInfo, State, TimerKind};
use ringmill_core::time::Duration;
use std::io;
use std::net::SocketAddr;

/// A socket to ask of one namespace.
pub(super) struct Diagnostics(netlink_sys::Socket);

impl Diagnostics {
    pub(super) fn open(namespace: &Namespace) -> Result<Diagnostics, KernelError> {
        let open = || {
            let mut socket = netlink_sys::Socket::new(NETLINK_SOCK_DIAG)?;
            socket.bind_auto()?;
            socket.connect(&netlink_sys::SocketAddr::new(0, 0))?;
            Ok(Diagnostics(socket))
        };
        namespace
            .within(open)?
            .map_err(KernelError::refused("socket diagnostics"))
    }

    /// All TCP sockets over IPv4; none where the kernel does not tell.
    pub(super) fn sockets(&self) -> Vec<SocketInfo> {
        self.ask().unwrap_or_default()
    }

    fn ask(&self) -> io::Result<Vec<SocketInfo>> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let request = InetRequest {
            family: AF_INET,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::empty(),
            states: StateFlags::all(),
            socket_id: SocketId::new_v4(),
        };
        let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.0.send(&bytes, 0)?;
        let mut sockets = Vec::new();
        loop {
            let (answer, _) = self.0.recv_from_full()?;
            let mut rest = &answer[..];
            while !rest.is_empty() {
                let message =
                    NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(|error| {
                        io::Error::new(io::ErrorKind::InvalidData, error.to_string())
                    })?;
                match &message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        sockets.push(info(&response.header));
                    }
                    NetlinkPayload::Done(_) => return Ok(sockets),
                    NetlinkPayload::Error(refusal) => return Err(refusal.to_io()),
                    _ => {}
                }
                // Messages are aligned to words.
                let len = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(len.max(1)..).unwrap_or_default();
            }
        }
    }
}

fn info(header: &InetResponseHeader) -> SocketInfo {
    let id = &header.socket_id;
    let state = numbered(header.state);
    let remote = SocketAddr::new(id.destination_address, id.destination_port);
    SocketInfo {
        local: SocketAddr::new(id.source_address, id.source_port),
        remote: (state != State::Listen).then_some(remote),
        state,
        receive_queue: header.recv_queue,
        send_queue: header.send_queue,
        timer: header.timer.as_ref().map(timer),
        info: None,
    }
}

fn timer(timer: &Timer) -> RunningTimer {
    let (kind, left, retransmits) = match timer {
        Timer::Retransmit(left, retransmits) => (TimerKind::Retransmit, *left, *retransmits),
        Timer::KeepAlive(left) => (TimerKind::KeepAlive, *left, 0),
        Timer::TimeWait => (TimerKind::TimeWait, Duration::ZERO, 0),
        Timer::Probe(left) => (TimerKind::Persist, *left, 0),
    };
    RunningTimer {
        kind,
        left,
        retransmits,
        probes: 0,
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
