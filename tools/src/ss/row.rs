//! A socket on its way from the process that has it to the one that shows it, a line
//! of JSON: tools/REPORT.md tells its fields.

use ringmill_core::tcp::{Info, Repair, RunningTimer, SocketInfo, TimerKind};
use ringmill_core::time::Duration;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row<'a> {
    pub(super) shard: usize,
    pub(super) state: &'a str,
    pub(super) recv_q: u32,
    pub(super) send_q: u32,
    pub(super) local: SocketAddr,
    pub(super) peer: Option<SocketAddr>,
    pub(super) timer: Option<Timer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) info: Option<TcpInfo<'a>>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Timer<'a> {
    kind: &'a str,
    left_ms: u64,
    retrans: u8,
}

/// What TCP_INFO says, with the names that ss has for it.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct TcpInfo<'a> {
    ca_state: &'a str,
    ts: bool,
    sack: bool,
    wscale: (u8, u8),
    rto_us: u64,
    rtt_us: Option<u64>,
    rttvar_us: u64,
    backoff: u8,
    mss: u16,
    advmss: u16,
    cwnd: u32,
    ssthresh: Option<u32>,
    lastrcv_ms: u64,
    busy_us: u64,
    rwnd_limited_us: u64,
    sndbuf_limited_us: u64,
    notsent: u32,
    unacked: u32,
    retrans: u32,
    lost: u32,
    sacked: u32,
    reordering: u32,
    snd_wnd: u32,
    rcv_wnd: u32,
    rcv_buf: u32,
}

fn micros(length: Duration) -> u64 {
    u64::try_from(length.as_micros()).unwrap_or(u64::MAX)
}

fn millis(length: Duration) -> u64 {
    micros(length) / 1_000
}

impl Row<'static> {
    pub(super) fn of(shard: usize, socket: &SocketInfo) -> Row<'static> {
        Row {
            shard,
            state: socket.state.name(),
            recv_q: socket.receive_queue,
            send_q: socket.send_queue,
            local: socket.local,
            peer: socket.remote,
            timer: socket.timer.map(Timer::of),
            info: socket.info.as_ref().map(TcpInfo::of),
        }
    }
}

impl Timer<'static> {
    fn of(timer: RunningTimer) -> Timer<'static> {
        let (kind, retrans) = match timer.kind {
            // What netstat calls probe.
            TimerKind::Persist => ("persist", timer.retransmits),
            TimerKind::KeepAlive => (timer.kind.name(), timer.probes),
            kind => (kind.name(), timer.retransmits),
        };
        Timer {
            kind,
            left_ms: millis(timer.left),
            retrans,
        }
    }
}

impl TcpInfo<'static> {
    fn of(info: &Info) -> TcpInfo<'static> {
        TcpInfo {
            ca_state: match info.repair {
                Repair::Open => "open",
                Repair::Disorder => "disorder",
                Repair::Reduced => "cwr",
                Repair::Recovery => "recovery",
                Repair::Loss => "loss",
            },
            ts: info.timestamps,
            sack: info.sack,
            wscale: info.scales,
            rto_us: micros(info.rto),
            rtt_us: info.srtt.map(micros),
            rttvar_us: micros(info.rttvar),
            backoff: info.backoff,
            mss: info.mss,
            advmss: info.advertised_mss,
            cwnd: info.cwnd,
            ssthresh: info.ssthresh,
            lastrcv_ms: millis(info.since_received),
            busy_us: micros(info.held_up.busy),
            rwnd_limited_us: micros(info.held_up.window),
            sndbuf_limited_us: micros(info.held_up.buffer),
            notsent: info.unsent,
            unacked: info.unacked,
            retrans: info.retransmitted,
            lost: info.lost,
            sacked: info.sacked,
            reordering: info.reordering,
            snd_wnd: info.snd_wnd,
            rcv_wnd: info.rcv_wnd,
            rcv_buf: info.receive_buffer,
        }
    }
}

impl fmt::Display for Timer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, ms) = (self.left_ms / 1_000, self.left_ms % 1_000);
        let left = match seconds {
            0 => format!("{ms}ms"),
            1..10 => format!("{seconds}.{ms:03}sec"),
            10..60 => format!("{seconds}sec"),
            60..600 => format!("{}min{}sec", seconds / 60, seconds % 60),
            _ => format!("{}min", seconds / 60),
        };
        write!(f, "timer:({},{left},{})", self.kind, self.retrans)
    }
}

/// Microseconds in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

impl fmt::Display for TcpInfo<'_> {
    /// As ss has it: what is nothing to speak of is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.ca_state)?;
        for (name, is_so) in [("ts", self.ts), ("sack", self.sack)] {
            if is_so {
                write!(f, " {name}")?;
            }
        }
        let (snd, rcv) = self.wscale;
        write!(f, " wscale:{snd},{rcv} rto:{}", ms(self.rto_us))?;
        if let Some(rtt_us) = self.rtt_us {
            write!(f, " rtt:{}/{}", ms(rtt_us), ms(self.rttvar_us))?;
        }
        write!(
            f,
            " mss:{} advmss:{} cwnd:{}",
            self.mss, self.advmss, self.cwnd
        )?;
        if let Some(ssthresh) = self.ssthresh {
            write!(f, " ssthresh:{ssthresh}")?;
        }
        write!(f, " lastrcv:{}", self.lastrcv_ms)?;
        let times = [
            ("busy", self.busy_us),
            ("rwnd_limited", self.rwnd_limited_us),
            ("sndbuf_limited", self.sndbuf_limited_us),
        ];
        for (name, us) in times.into_iter().filter(|&(_, us)| us > 0) {
            write!(f, " {name}:{}ms", ms(us))?;
        }
        let counts = [
            ("backoff", u32::from(self.backoff)),
            ("notsent", self.notsent),
            ("unacked", self.unacked),
            ("retrans", self.retrans),
            ("lost", self.lost),
            ("sacked", self.sacked),
        ];
        for (name, count) in counts.into_iter().filter(|&(_, count)| count > 0) {
            write!(f, " {name}:{count}")?;
        }
        let Self {
            reordering,
            snd_wnd,
            rcv_wnd,
            rcv_buf,
            ..
        } = self;
        write!(
            f,
            " reordering:{reordering} snd_wnd:{snd_wnd} rcv_wnd:{rcv_wnd} rcv_buf:{rcv_buf}"
        )
    }
}
