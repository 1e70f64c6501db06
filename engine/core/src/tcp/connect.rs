//! Opening: active opens, initial sequence numbers, and the one place where a
//! control block is made.

use super::congestion::Congestion;
use super::flight::Delivered;
use super::input::micros;
use super::options::window_scale;
use super::settings::SettingsId;
use super::state::State;
use super::tcb::{Millis, Minutes, Tcb, TcbFlags};
use super::transitions::Event;
use super::{ConnectionId, Cx, Flow, Shared, SocketOptions, Tcp};
use crate::flow::{FlowHasher, FlowKey};
use crate::seq::Seq;
use crate::time::Instant;
use crate::wire::tcp::{Options, Timestamps};
use std::net::{IpAddr, SocketAddr};

/// What a peer takes that offers no MSS (RFC 9293 section 3.7.1, MUST-15): on
/// IPv4, and on IPv6.
const MSS_DEFAULT: [u16; 2] = [536, 1_220];
/// An IP header without options and a TCP header without options: on IPv4, and
/// on IPv6.
const HEADERS: [u16; 2] = [40, 60];
/// No peer can make us send segments of less (CVE-2019-11479); Linux has 48.
pub(crate) const MSS_FLOOR: u16 = 88;
/// Each data segment carries NOP, NOP and the timestamps option.
const TIMESTAMPS_LEN: u16 = 12;

/// Initial sequence numbers (RFC 6528): a clock of 4 us and a keyed hash of the
/// flow, so they grow for a flow and tell nothing about another's.
/// RFC 9293 section 3.4.1: MUST-8, MUST-9 and SHLD-1.
#[derive(Debug)]
pub struct IssGenerator(FlowHasher);

impl IssGenerator {
    /// Numbers under a secret key.
    pub fn new(key: [u8; 16]) -> IssGenerator {
        IssGenerator(FlowHasher::new(key))
    }

    #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 by definition")]
    /// The number that a connection of this flow begins with now.
    pub fn iss(&self, now: Instant, key: &FlowKey) -> Seq {
        let clock = (now.as_micros() / 4) as u32;
        Seq(clock.wrapping_add(self.0.hash(key) as u32))
    }
}

/// What is known of a connection when its control block is made.
pub(crate) struct Opening {
    pub(crate) key: FlowKey,
    /// The state that it opens from.
    pub(crate) state: State,
    pub(crate) iss: Seq,
    pub(crate) flags: TcbFlags,
    pub(crate) settings: SettingsId,
}

/// Why a connect was refused at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// EADDRNOTAVAIL: the local port or every local port towards this destination is
    /// taken, by a connection or by TIME-WAIT, or the address is none of ours.
    #[error("no local port is free towards this destination (EADDRNOTAVAIL)")]
    AddressNotAvailable,
    /// ENOBUFS: the budget of connections, or of sets of options, is used up.
    #[error("no room for another connection (ENOBUFS)")]
    NoBuffers,
    /// EADDRINUSE: the local port is listened on.
    #[error("the local port is in use (EADDRINUSE)")]
    AddressInUse,
    /// EINVAL: broadcast, multicast, an own address or otherwise impossible (RFC 9293,
    /// MUST-46).
    #[error("that address can't be connected to (EINVAL)")]
    InvalidAddress,
}

impl Tcp {
    /// Active OPEN (RFC 9293 section 3.9.1.1 and 3.10.1) from `local`, to where it
    /// may be.
    pub(crate) fn connect(
        &mut self,
        cx: &mut Cx,
        (local, port): (u16, Option<u16>),
        remote: SocketAddr,
        token: u32,
        options: SocketOptions,
    ) -> Result<ConnectionId, ConnectError> {
        if self.connections.is_full() {
            return Err(ConnectError::NoBuffers);
        }
        // The address was chosen before the SYN (RFC 9293 section 3.9.1.1, MUST-44); it
        // is part of the key, so every later segment has it (MUST-45).
        let (key, past) = self.take_port(cx.now, (local, remote), port, options.reuse_address)?;
        let Some(settings) = self.shared.settings.intern(options) else {
            self.shared.ports.release(&key);
            return Err(ConnectError::NoBuffers);
        };
        let iss = self.shared.iss.iss(cx.now, &key);
        let mut tcb = self.shared.make_tcb(Opening {
            key,
            iss: past.map_or(iss, |past| iss.max(past)),
            state: State::Closed,
            flags: TcbFlags::ACTIVE,
            settings,
        });
        tcb.on(Event::ActiveOpen);
        tcb.token = token;
        self.shared.ask_fast_open(cx.now, &mut tcb);
        tcb.set(TcbFlags::SYN_DUE);
        let generation = tcb.generation;
        let index = match self.connections.insert(tcb) {
            Ok(index) => index,
            Err(tcb) => {
                self.shared.ports.release(&key);
                self.shared.settings.release(tcb.settings);
                return Err(ConnectError::NoBuffers);
            }
        };
        let hash = self.shared.hasher.hash(&key);
        self.shared
            .table
            .insert(hash, Flow::Connection(index).value());
        self.shared.stats.active_opens += 1;
        if let Some(tcb) = self.connections.get_mut(index) {
            self.shared.queue_output(index, tcb);
        }
        Ok(ConnectionId { index, generation })
    }
}

/// Ports that are looked at before a connect is refused: those of passive
/// connections towards the same place, and those that are listened on.
const PORT_TRIES: usize = 64;

impl Tcp {
    /// Takes the given port towards `remote`, or one that nobody can guess (RFC
    /// 6056). No flow has two owners, TIME-WAIT included; where one gives way, the
    /// sequence number that the new connection must begin past is told too.
    fn take_port(
        &mut self,
        now: Instant,
        (local, remote): (u16, SocketAddr),
        port: Option<u16>,
        reuse_address: bool,
    ) -> Result<(FlowKey, Option<Seq>), ConnectError> {
        let key = |local_port| FlowKey {
            local,
            remote: remote.ip().into(),
            local_port,
            remote_port: remote.port(),
        };
        if let Some(key) = port.map(key) {
            if self.is_listened_on(&key, reuse_address) {
                return Err(ConnectError::AddressInUse);
            }
            let past = self.take_over(now, &key);
            if self.lookup(&key).is_some() || !self.shared.ports.reserve(&key) {
                return Err(ConnectError::AddressNotAvailable);
            }
            return Ok((key, past));
        }
        for _ in 0..PORT_TRIES {
            let ports = &mut self.shared.ports;
            let Some(port) = ports.allocate(local, remote.ip().into(), remote.port()) else {
                break;
            };
            let key = key(port);
            if self.lookup(&key).is_none() && !self.is_listened_on(&key, false) {
                return Ok((key, None));
            }
            self.shared.ports.release(&key);
        }
        for port in self.shared.ports.next(&key(0), PORT_TRIES) {
            let key = key(port);
            if !self.is_listened_on(&key, false)
                && let Some(past) = self.take_over(now, &key)
                && self.shared.ports.reserve(&key)
            {
                return Ok((key, Some(past)));
            }
        }
        Err(ConnectError::AddressNotAvailable)
    }

    /// A listener has the flow's local port, and does not share it.
    fn is_listened_on(&self, key: &FlowKey, reuse_address: bool) -> bool {
        let listener = self.listener_for(key);
        let options = listener.and_then(|id| self.listener_options(id));
        options.is_some_and(|options| !(reuse_address && options.reuse_address))
    }
}

impl Shared {
    /// A control block in the state of `opening`, with nothing of the peer in it.
    pub(crate) fn make_tcb(&mut self, opening: Opening) -> Tcb {
        self.next_generation = self.next_generation.wrapping_add(1);
        let mss = self.mss(&opening.key);
        let initial_window = self.initial_window(mss);
        // What is set later changes no scale that a SYN has offered.
        let scale = self.syn_scale(&opening.settings);
        let mut tcb = Tcb::new(opening, self.next_generation, mss, initial_window);
        tcb.set_scales(0, scale.unwrap_or(0));
        if self.config.quick_acks > 0 {
            self.warm(&mut tcb).quick_acks = self.config.quick_acks;
        }
        tcb
    }

    /// The window that a SYN offers: it is never scaled (RFC 7323 section 2.2).
    pub(crate) fn syn_window(&self, settings: &SettingsId) -> u16 {
        u16::try_from(self.receive_buffer(settings)).unwrap_or(u16::MAX)
    }

    /// The window scale that goes with it, where we use any.
    pub(crate) fn syn_scale(&self, settings: &SettingsId) -> Option<u8> {
        let most = self.receive_buffer_max(settings);
        self.config.window_scaling.then(|| window_scale(most))
    }

    /// The options that a SYN of ours offers.
    /// An MSS is always among them (RFC 9293 section 3.7.1: MUST-14, SHLD-5, MAY-3), and
    /// on no other segment (MUST-65).
    pub(crate) fn syn_options(
        &self,
        now: Instant,
        key: &FlowKey,
        settings: &SettingsId,
    ) -> Options {
        Options {
            mss: Some(self.mss(key).min(self.max_segment(settings))),
            window_scale: self.syn_scale(settings),
            timestamps: self.config.timestamps.then(|| self.timestamps(now, 0)),
            sack_permitted: self.config.sack,
            order: self.config.option_order,
            ..Options::default()
        }
    }

    /// What our MTU lets a peer of this family send in one segment (RFC 9293
    /// section 3.7.1, MUST-67). There is one interface, and its MTU is the smallest
    /// that there is (section 3.7.3, SHLD-6).
    pub(crate) fn mss(&self, key: &FlowKey) -> u16 {
        self.mtu.saturating_sub(HEADERS[family(key)])
    }

    /// What a peer takes by its MSS option or the want of one, and no less than can
    /// be borne (RFC 9293 section 3.7.1, MUST-15).
    pub(crate) fn offered_mss(&self, key: &FlowKey, offered: Option<u16>) -> u16 {
        offered.unwrap_or(MSS_DEFAULT[family(key)]).max(MSS_FLOOR)
    }

    /// The segment size that a peer's MSS option, the path and TCP_MAXSEG leave us
    /// (RFC 9293 section 3.7.1, MUST-16; RFC 6691).
    pub(crate) fn effective_mss(&self, now: Instant, tcb: &Tcb, offered: Option<u16>) -> u16 {
        let peer = self.offered_mss(&tcb.key, offered);
        let most = peer.min(self.max_segment(&tcb.settings));
        let timestamps = tcb.is(TcbFlags::TIMESTAMPS);
        let most = most - if timestamps { TIMESTAMPS_LEN } else { 0 };
        most.min(self.path_mss(now, &tcb.key, timestamps))
    }

    /// Data that a segment of this flow may carry by what is known of its path.
    pub(crate) fn path_mss(&self, now: Instant, key: &FlowKey, timestamps: bool) -> u16 {
        let path = self.paths.lookup(now, key.remote).unwrap_or(self.mtu);
        let options = if timestamps { TIMESTAMPS_LEN } else { 0 };
        path.min(self.mtu)
            .saturating_sub(HEADERS[family(key)] + options)
            .max(MSS_FLOOR - TIMESTAMPS_LEN)
    }

    /// Takes over what the peer's SYN says: sequence numbers, and the options
    /// that both sides offered.
    pub(crate) fn take_syn(
        &self,
        now: Instant,
        tcb: &mut Tcb,
        irs: Seq,
        options: &Options,
        window: u16,
    ) {
        tcb.rcv_nxt = irs + 1;
        tcb.rcv_edge = tcb.rcv_nxt + u32::from(self.syn_window(&tcb.settings));
        tcb.last_ack_sent = tcb.rcv_nxt;
        tcb.snd_wl1 = irs;
        tcb.snd_wnd = u32::from(window);
        let scale = options.window_scale;
        match scale.filter(|_| self.config.window_scaling) {
            Some(scale) => tcb.set_scales(scale, tcb.rcv_scale()),
            None => tcb.set_scales(0, 0),
        }
        // Kept in the units of later windows.
        tcb.snd_wnd_max = window >> tcb.snd_scale();
        if let Some(timestamps) = options.timestamps.filter(|_| self.config.timestamps) {
            tcb.set(TcbFlags::TIMESTAMPS);
            tcb.ts_recent = timestamps.value;
            tcb.ts_recent_at = Minutes::at(now);
        }
        if options.sack_permitted && self.config.sack {
            tcb.set(TcbFlags::SACK);
        }
        tcb.mss = self.effective_mss(now, tcb, options.mss);
        tcb.congestion = Congestion::new(self.initial_window(tcb.mss));
    }

    /// The handshake is complete by `event`: SND.UNA passes our SYN.
    pub(crate) fn establish(
        &mut self,
        now: Instant,
        tcb: &mut Tcb,
        event: Event,
        echoed: Option<Timestamps>,
    ) {
        tcb.on(event);
        tcb.set(TcbFlags::ESTABLISHED);
        if tcb.is(TcbFlags::FIN_QUEUED) {
            // A CLOSE during a simultaneous open takes effect now (section 3.10.4).
            tcb.on(Event::Close);
        }
        if !self.end_early(now, tcb) {
            tcb.snd_una += 1;
            tcb.snd_nxt = tcb.snd_una;
            let mut delivered = Delivered::default();
            if tcb.is(TcbFlags::LONE) {
                tcb.deliver_lone(now);
            } else if let Some(cold) = tcb.cold.as_deref_mut() {
                cold.fast_open = None;
                cold.flight.acknowledge(tcb.snd_una, &mut delivered);
                if let Some(sent_us) = delivered.sample_us {
                    tcb.rtt.sample(micros(now).wrapping_sub(sent_us));
                }
            }
        }
        if tcb.backoff > 0 {
            self.open_after_timeout(now, tcb, tcb.backoff, echoed);
        }
        tcb.disarm(now);
        tcb.backoff = 0;
        tcb.ack_at = Millis::in_time(now, self.config.delayed_ack);
        self.restart_timer(now, tcb);
        self.stats.established += 1;
    }

    /// A SYN of ours was sent more than once. It gives no round trip, unless a
    /// timestamp came back (RFC 7323 section 4).
    pub(crate) fn open_after_timeout(
        &self,
        now: Instant,
        tcb: &mut Tcb,
        retransmits: u8,
        echoed: Option<Timestamps>,
    ) {
        match echoed.filter(|_| tcb.is(TcbFlags::TIMESTAMPS)) {
            Some(Timestamps { echo, .. }) => {
                let ticks = self.timestamp(now).wrapping_sub(echo);
                tcb.rtt.sample(ticks.min(1 << 20) * 1_000);
            }
            None => tcb.rtt.assume_slow(),
        }
        if retransmits > 1 {
            // RFC 6928 section 2: one such loss is no sign of congestion, more are.
            tcb.congestion.on_timeout(tcb.mss);
        }
    }
}

/// Where a flow's family stands in a table of both.
fn family(key: &FlowKey) -> usize {
    usize::from(!key.remote.is_v4())
}

/// Neither broadcast nor multicast, and somewhere (RFC 9293, MUST-46). A mapped
/// IPv4 address is no place on an IPv6 network.
pub(crate) fn may_connect_to(remote: SocketAddr) -> bool {
    let is_place = match remote.ip() {
        IpAddr::V4(ip) => !(ip.is_broadcast() || ip.is_multicast() || ip.is_unspecified()),
        IpAddr::V6(ip) => {
            !(ip.is_multicast() || ip.is_unspecified() || ip.to_ipv4_mapped().is_some())
        }
    };
    is_place && remote.port() != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    /// RFC 6528: for one flow they grow with the clock, over flows they scatter.
    /// RFC 9293 section 3.4.1: MUST-8, MUST-9 and SHLD-1.
    #[test]
    fn initial_sequence_numbers_grow_per_flow_and_scatter_over_flows() {
        let generator = IssGenerator::new([7; 16]);
        let key = |port| FlowKey {
            local: 0,
            remote: Ipv4Addr::new(198, 18, 0, 2).into(),
            local_port: port,
            remote_port: 80,
        };
        let (first, later) = (Instant::ZERO, Instant::ZERO + Duration::from_millis(8));
        let grown = generator
            .iss(later, &key(1))
            .bytes_since(generator.iss(first, &key(1)));
        assert_eq!(grown, 2_000);
        let tops: HashSet<u32> = (1..=4_096)
            .map(|p| generator.iss(first, &key(p)).0 >> 24)
            .collect();
        assert_eq!(tops.len(), 256, "the upper byte takes every value");
    }

    /// Attack case 23: over a million flows at one moment every value of the upper
    /// byte comes up as often as chance has it, within six standard deviations.
    #[test]
    fn initial_sequence_numbers_are_even_over_a_million_flows() {
        let generator = IssGenerator::new([23; 16]);
        let mut counts = [0_i32; 256];
        for n in 0..1_000_000_u32 {
            let iss = generator.iss(Instant::ZERO, &flow(n));
            counts[usize::try_from(iss.0 >> 24).unwrap()] += 1;
        }
        // 1,000,000 / 256, and six times its square root.
        assert!(
            counts.iter().all(|count| (count - 3_906).abs() < 375),
            "{counts:?}"
        );
    }

    /// The flow of a million that an attacker would count through.
    fn flow(n: u32) -> FlowKey {
        FlowKey {
            local: 0,
            remote: Ipv4Addr::from(n >> 8).into(),
            local_port: 1 + u16::try_from(n % 256).unwrap(),
            remote_port: 80,
        }
    }

    /// A million values that are drawn from 2^32 at random repeat n^2 / 2^33 = 116
    /// times, and each of their bits is set in half of them: within six standard
    /// deviations.
    #[track_caller]
    fn are_as_if_drawn(mut values: Vec<u32>) {
        assert_eq!(values.len(), 1_000_000);
        for bit in 0..32 {
            let set = values.iter().filter(|&value| value >> bit & 1 == 1).count();
            assert!(
                set.abs_diff(500_000) < 3_000,
                "bit {bit} is set {set} times"
            );
        }
        values.sort_unstable();
        let repeats = values.windows(2).filter(|pair| pair[0] == pair[1]).count();
        assert!(repeats.abs_diff(116) < 65, "{repeats} repeat");
    }

    /// Attack case 23 (NUMBER:JACK): who knows the numbers of a million flows knows nothing
    /// of the next one's, nor of the same flow's under another secret. Their differences
    /// are as if they were drawn, and so is what one bit of a flow changes (RFC 6528).
    #[test]
    fn an_initial_sequence_number_tells_nothing_of_another() {
        let [ours, others] = [[23; 16], [24; 16]].map(IssGenerator::new);
        let iss = |n| ours.iss(Instant::ZERO, &flow(n)).0;
        let millions = 0..1_000_000_u32;
        let next = |n: u32| iss(n + 1).wrapping_sub(iss(n));
        are_as_if_drawn(millions.clone().map(next).collect());
        let of_next = |n: u32| next(n + 1).wrapping_sub(next(n));
        are_as_if_drawn(millions.clone().map(of_next).collect());
        let under_another = |n| others.iss(Instant::ZERO, &flow(n)).0.wrapping_sub(iss(n));
        are_as_if_drawn(millions.clone().map(under_another).collect());
        let of_the_peers_port = |n| {
            let other = FlowKey {
                remote_port: 81,
                ..flow(n)
            };
            ours.iss(Instant::ZERO, &other).0 ^ iss(n)
        };
        are_as_if_drawn(millions.map(of_the_peers_port).collect());
    }

    /// Attack case 23: of one flow they only ever grow, a quarter of a million a second,
    /// also where the clock of 4 us goes round.
    #[test]
    fn the_numbers_of_one_flow_grow_with_the_clock() {
        let generator = IssGenerator::new([23; 16]);
        for n in 0..100 {
            let mut before = generator.iss(Instant::ZERO, &flow(n));
            for step in 1..=300_u64 {
                let now = Instant::ZERO + Duration::from_secs(60 * step);
                let iss = generator.iss(now, &flow(n));
                assert_eq!(iss.bytes_since(before), 60 * 250_000);
                before = iss;
            }
        }
    }
}
