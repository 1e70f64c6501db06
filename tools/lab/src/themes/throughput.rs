//! What a window carries over a distance.

use crate::lab::{Lab, ms};
use crate::parameters::{BANDWIDTH, BUFFER, RTT};
use crate::scenario::{Played, Scenario, Theme};
use crate::station::Errno;
use crate::themes::{bytes, connected};
use ringmill_core::sockets::{REFERENCED_MAX, SocketOption};
use ringmill_core::time::Duration;

pub(crate) const SCENARIOS: &[Scenario] = &[SLIDING_WINDOW, BDP];

/// What a transfer came to: bytes in a time, in Mbit/s.
fn mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / 1e6 / time.as_secs_f64().max(1e-9)
}

const SLIDING_WINDOW: Scenario = Scenario {
    name: "sliding-window",
    theme: Theme::Data,
    title: "a window in flight carries more than one segment at a time",
    why: "Who waits for the ACK of each segment before sending the next gets one segment through in \
          a round trip, however fast the wire is. A window lets many be on their way at once: each \
          ACK moves it forward by what it acknowledges, and the wire stays busy. The goodput is \
          then window / round trip, so a longer way needs a larger window.",
    rfc: "RFC 9293 section 3.8.6; RFC 7323 section 1.1",
    parameters: &[(BUFFER, "65536")],
    kernel: None,
    play: sliding_window,
};

/// The least that SO_RCVBUF can be: one full segment fits, and no second one.
const ONE_SEGMENT: u32 = 2_048;

/// A few round trips with a window of so many bytes, for all to see.
fn shown(lab: &mut Lab, line: &str, window: u32) -> Played {
    let (client, server) = lab.pair_with(|tcp| {
        tcp.receive_buffer = window;
        tcp.receive_buffer_max = window;
    });
    let options = [SocketOption::QuickAck(true)];
    let (near, far) = lab.quietly(line, |lab| connected(lab, &client, &server, &options))?;
    far.close_at_end();
    near.send(&[1; 12 * 1_448])?;
    lab.wait(lab.rtt() * 3);
    lab.quietly("and so on", |lab| {
        lab.wait(lab.rtt() * 30);
        near.close();
        lab.wait(lab.rtt() * 3);
    });
    Ok(())
}

fn sliding_window(lab: &mut Lab) -> Played {
    shown(
        lab,
        "a connection whose window has room for one segment",
        ONE_SEGMENT,
    )?;
    shown(lab, "one whose window has room for four", 4 * 1_448)?;
    let size = bytes(lab.values().number(BUFFER));
    let mut rows = Vec::new();
    let mut is_so = true;
    for rtt in [1, 10, 100] {
        let rtt = Duration::from_millis(rtt);
        let (mut measure, mut goodput) = (
            Measure {
                rtt,
                ..Measure::default()
            },
            [0.0; 2],
        );
        for (at, window) in [ONE_SEGMENT, size].into_iter().enumerate() {
            measure.buffer = window;
            goodput[at] = measure.run(lab)?;
            let expected = mbit(u64::from(if at == 0 { 1_448 } else { window }), rtt);
            is_so &= (0.7..1.1).contains(&(goodput[at] / expected));
        }
        rows.push([
            ms(rtt),
            format!("{:.2} Mbit/s", goodput[0]),
            format!("{:.2} Mbit/s", goodput[1]),
            format!("{:.0} x", goodput[1] / goodput[0].max(1e-9)),
        ]);
    }
    lab.claim(
        "one at a time gives a segment in a round trip, the window a window in one",
        is_so,
        format!("as 1448 and {size} bytes by the round trip, within 30 %"),
    );
    lab.table(
        [
            "round trip",
            "stop and wait",
            &format!("window of {size}"),
            "gain",
        ],
        rows,
    );
    Ok(())
}

const BDP: Scenario = Scenario {
    name: "bdp",
    theme: Theme::Data,
    title: "bandwidth times delay: the buffer that fills the wire",
    why: "While an ACK is on its way back, the sender may go on only as far as the window lets it. \
          To keep a wire busy all the time the window must hold what the wire carries in a round \
          trip: 1 Gbit/s for 100 ms are 12.5 MB. With less the wire idles, in proportion; with \
          more, nothing is gained. Both buffers must be that large, and the window scaled.",
    rfc: "RFC 7323 sections 1.1 and 2",
    parameters: &[(BANDWIDTH, "1g"), (RTT, "100ms")],
    kernel: None,
    play: bdp,
};

fn bdp(lab: &mut Lab) -> Played {
    let (bandwidth, rtt) = (lab.values().number(BANDWIDTH), lab.rtt());
    // Bytes that the wire carries in a round trip.
    let product = bandwidth / 8 * u64::try_from(rtt.as_millis()).unwrap_or(0) / 1_000;
    let line = bandwidth as f64 / 1e6;
    let mut rows = Vec::new();
    let mut filled = Vec::new();
    for (part, of) in [(1, 64), (1, 16), (1, 4), (1, 2), (1, 1), (5, 4)] {
        let share = part as f64 / of as f64;
        let buffer = (product * part / of).clamp(4_096, 1 << 30);
        let measure = Measure {
            rtt,
            bandwidth,
            buffer: bytes(buffer),
        };
        let goodput = measure.run(lab)?;
        rows.push([
            format!("{:.2} MB", buffer as f64 / 1e6),
            format!("{share:.3}"),
            format!("{goodput:.0} Mbit/s"),
            format!("{:.0} %", goodput / line * 100.0),
        ]);
        filled.push((share, goodput / line));
    }
    // Headers take 78 of 1526 bytes, the last round trips of growth a little more.
    let below = filled.iter().filter(|(share, _)| *share < 0.9);
    let in_proportion = below
        .clone()
        .all(|(share, filled)| (0.75..1.1).contains(&(filled / share)));
    lab.claim(
        format!(
            "the product is {:.2} MB; below it goodput is in proportion to the buffer",
            product as f64 / 1e6
        ),
        in_proportion,
        below
            .map(|(share, filled)| format!("{share:.3} gives {filled:.3}"))
            .collect::<Vec<_>>()
            .join(", "),
    );
    let above = filled
        .iter()
        .filter(|(share, _)| *share > 1.1)
        .map(|(_, filled)| *filled);
    let most = above.fold(0.0, f64::max);
    lab.claim(
        "a buffer above it fills the wire, and less leaves it idle",
        most > 0.85,
        format!("{:.0} % of {line:.0} Mbit/s", most * 100.0),
    );
    lab.table(["buffer", "of the product", "goodput", "of the wire"], rows);
    Ok(())
}

/// A transfer whose goodput is measured once it has come up to speed.
#[derive(Clone, Copy, Default)]
struct Measure {
    rtt: Duration,
    /// Bits a second; none if 0.
    bandwidth: u64,
    buffer: u32,
}

impl Measure {
    /// In Mbit/s.
    fn run(self, lab: &mut Lab) -> Result<f64, Errno> {
        const ROUNDS: u32 = 2;
        let name = format!("{} KiB", self.buffer / 1_024);
        let tune = |tcp: &mut ringmill_core::tcp::TcpConfig| {
            tcp.receive_buffer = self.buffer;
            tcp.receive_buffer_max = self.buffer;
            tcp.send_buffer = REFERENCED_MAX;
            // Every segment that comes is acknowledged at once: it is the window that
            // is measured.
            tcp.quick_acks = u8::MAX;
        };
        let (client, server) = lab.pair_with(tune);
        lab.set_link(&server, |link| link.delay = self.rtt / 2);
        lab.set_link(&client, |link| {
            link.delay = self.rtt / 2;
            link.bandwidth = self.bandwidth;
        });
        let quick = [SocketOption::QuickAck(true)];
        let line = format!("{name} of buffer, a round trip of {}", ms(self.rtt));
        lab.quietly(&line, |lab| {
            let listener = server.listen_with(80, 1, &quick)?;
            let near = client.connect_with(&listener, &quick)?;
            lab.wait(self.rtt * 3);
            listener.accept()?.close_at_end();
            near.send_bulk((self.buffer as usize * 8).min(REFERENCED_MAX as usize / 2))?;
            // Slow start doubles: ten segments become the window in so many rounds.
            let doublings = (self.buffer / 14_480).max(1).ilog2() + 2;
            lab.wait(self.rtt * doublings);
            let before = server.read();
            lab.wait(self.rtt * ROUNDS);
            let read = server.read() - before;
            near.reset();
            lab.wait(self.rtt);
            Ok(mbit(read, self.rtt * ROUNDS))
        })
    }
}
