//! Buffers and the window between them.

use crate::lab::{Lab, ms};
use crate::parameters::{BUFFER, RTT};
use crate::scenario::{Played, Scenario, Theme};
use crate::socket::{is_refused, said};
use crate::station::Errno;
use crate::themes::{bytes, connected};
use ringmill_core::sockets::SocketOption;
use ringmill_core::time::Duration;

pub(crate) const SCENARIOS: &[Scenario] = &[SEND_BUFFER, RECEIVE_BUFFER, WINDOW];

const SEND_BUFFER: Scenario = Scenario {
    name: "send-buffer",
    theme: Theme::Data,
    title: "a write returns when its bytes are buffered, not when they are sent",
    why: "send copies into the send buffer and returns. Nothing is known then of the peer, and a \
          success does not mean that anything was received, or even sent. Bytes stay in the buffer \
          until they are acknowledged, for they may have to be sent again. When it is full a call \
          that must not block says EAGAIN; one that may, waits. An acknowledgment makes room.",
    rfc: "RFC 9293 sections 3.9.1.2 and 3.10.2",
    parameters: &[(BUFFER, "65536"), (RTT, "100ms")],
    kernel: None,
    play: send_buffer,
};

fn send_buffer(lab: &mut Lab) -> Played {
    let size = bytes(lab.values().number(BUFFER));
    let (client, server) = lab.pair();
    let (near, far) = connected(lab, &client, &server, &[SocketOption::SendBuffer(size)])?;
    let (before, at) = (lab.record().segments.len(), lab.now());
    let taken = near.send(&vec![1; size as usize * 4])?;
    let took = lab.now().since(at);
    let sent: usize = lab.record().segments[before..]
        .iter()
        .map(|segment| segment.len)
        .sum();
    lab.claim(
        "the write takes what the buffer has room for, at once",
        taken == size as usize && took.is_zero(),
        format!("{taken} bytes after {}", ms(took)),
    );
    lab.claim(
        "only a window of them has been sent, and nothing was received",
        sent > 0 && sent < taken && far.info().is_some_and(|info| info.receive_queue == 0),
        format!("{sent} bytes on the wire"),
    );
    let full = near.send(b"more");
    lab.claim(
        "with the buffer full a write would block",
        is_refused(&full, Errno::Again),
        said(&full),
    );
    lab.quietly("the rest leaves as acknowledgments come in", |lab| {
        lab.wait(lab.rtt() * 8)
    });
    let queued = near.info().map_or(u32::MAX, |info| info.send_queue);
    let again = near.send(b"more");
    lab.claim(
        "acknowledged bytes make room",
        queued == 0 && again == Ok(4),
        format!("{queued} bytes unacknowledged; send: {}", said(&again)),
    );
    Ok(())
}

const RECEIVE_BUFFER: Scenario = Scenario {
    name: "receive-buffer",
    theme: Theme::Data,
    title: "a read takes what has come, and an empty buffer would block",
    why: "receive takes bytes out of the receive buffer, as many as are there: what was one write \
          may be several reads, and two writes one. With nothing there it says EAGAIN, or waits; \
          zero bytes mean the end of the stream and nothing else. A reader that is slow does not \
          lose anything: the buffer fills, the window closes, and the sender has to wait.",
    rfc: "RFC 9293 sections 3.8.6 and 3.9.1.3",
    parameters: &[(BUFFER, "65536"), (RTT, "100ms")],
    kernel: None,
    play: receive_buffer,
};

fn receive_buffer(lab: &mut Lab) -> Played {
    let size = bytes(lab.values().number(BUFFER));
    let (client, server) = lab.pair();
    let (near, far) = connected(lab, &client, &server, &[SocketOption::ReceiveBuffer(size)])?;
    let empty = far.receive();
    lab.claim(
        "an empty buffer would block",
        is_refused(&empty, Errno::Again),
        said(&empty),
    );
    near.set(SocketOption::NoDelay(true))?;
    near.send(b"two ")?;
    near.send(b"writes")?;
    lab.settle();
    let read = far.receive()?;
    lab.claim(
        "two writes are read as one: a stream has no messages",
        read == b"two writes",
        format!("{} bytes", read.len()),
    );
    let total = size as usize * 4;
    let mut sent = 0;
    lab.quietly("the client writes on, and nobody reads", |lab| {
        for _ in 0..20 {
            sent += near.send(&vec![1; total - sent]).unwrap_or(0);
            lab.wait(lab.rtt());
        }
    });
    let held = far.info().map_or(0, |info| info.receive_queue);
    lab.claim(
        "the buffer fills, and no byte more is taken",
        held <= size && held + 2_048 > size,
        format!("{held} bytes wait in a buffer of {size}"),
    );
    let mut read = 0;
    lab.quietly("now the server reads", |lab| {
        for _ in 0..60 {
            read += far.receive().map_or(0, |bytes| bytes.len());
            sent += near.send(&vec![1; total - sent]).unwrap_or(0);
            lab.wait(lab.rtt());
        }
    });
    lab.claim(
        "a slow reader loses nothing",
        read == total,
        format!("{read} of {total} bytes read"),
    );
    Ok(())
}

const WINDOW: Scenario = Scenario {
    name: "window",
    theme: Theme::Data,
    title: "the window is the room that is left: it closes, is probed, and opens",
    why: "Each ACK says how much its sender has room for. With 20 KiB unread in a buffer of 64 KiB \
          that is 44 KiB. When there is no room at all the sender stops; and since the ACK that \
          opens the window again may be lost and nobody would ever know, it asks: a small segment \
          now and then, which a receiver must answer. When the application has read, a window \
          update lets the sender go on.",
    rfc: "RFC 9293 sections 3.8.6 and 3.8.6.1, MUST-36",
    parameters: &[(BUFFER, "65536"), (RTT, "100ms")],
    kernel: None,
    play: window,
};

#[expect(clippy::too_many_lines, reason = "a script is read from its top down")]
fn window(lab: &mut Lab) -> Played {
    /// What is written last, and seen.
    const LAST: usize = 480;
    /// By then whatever is to be acknowledged is.
    const DELAYED_ACK: Duration = Duration::from_millis(100);
    let size = bytes(lab.values().number(BUFFER));
    let unread = size / 16 * 5;
    let (client, server) = lab.pair();
    lab.show(|shows| shows.windows = true);
    let (near, far) = connected(lab, &client, &server, &[SocketOption::ReceiveBuffer(size)])?;
    let s = server.number();
    lab.quietly("the client writes, and nobody reads", |lab| -> Played {
        near.send(&vec![1; unread as usize - LAST])?;
        lab.wait(lab.rtt() * 4 + DELAYED_ACK);
        Ok(())
    })?;
    near.send(&[1; LAST])?;
    lab.wait(lab.rtt() * 2 + DELAYED_ACK);
    let offered = lab
        .record()
        .segments
        .iter()
        .rev()
        .find(|segment| segment.from == s)
        .map(|ack| ack.window);
    lab.claim(
        format!(
            "{} KiB with {} KiB unread leave {} KiB",
            size / 1_024,
            unread / 1_024,
            (size - unread) / 1_024
        ),
        offered == Some(size - unread),
        format!("the last ACK offers {} bytes", offered.unwrap_or(0)),
    );
    lab.quietly(
        "the client writes more than there is room for",
        |lab| -> Played {
            near.send(&vec![1; size as usize])?;
            lab.wait(lab.rtt() * 6 + DELAYED_ACK);
            Ok(())
        },
    )?;
    let before = lab.record().segments.len();
    lab.wait(Duration::from_secs(4));
    let probes: Vec<_> = lab.record().segments[before..]
        .iter()
        .filter(|segment| segment.from != s)
        .map(|probe| probe.sent)
        .collect();
    let answers = lab.record().segments[before..]
        .iter()
        .filter(|segment| segment.from == s && segment.window == 0 && segment.arrived.is_some())
        .count();
    let waits: Vec<String> = probes
        .windows(2)
        .map(|pair| ms(pair[1].since(pair[0])))
        .collect();
    lab.claim(
        "with the window closed it is probed, more seldom each time, and each probe is answered",
        probes.len() >= 2
            && answers == probes.len()
            && probes
                .windows(3)
                .all(|w| w[2].since(w[1]) >= w[1].since(w[0])),
        format!(
            "{} probes, {} apart, {answers} answers of window 0",
            probes.len(),
            waits.join(", ")
        ),
    );
    let before = lab.record().segments.len();
    let read = far.receive()?.len();
    let update = lab.record().segments[before..]
        .iter()
        .find(|segment| segment.from == s)
        .map(|ack| ack.window);
    lab.quietly("the rest comes", |lab| {
        lab.wait(lab.rtt() * 2 + DELAYED_ACK)
    });
    let rest = far.receive()?.len();
    lab.claim(
        "reading opens it, the client is told at once, and the rest comes",
        update.is_some_and(|window| window > 0) && read + rest == (size + unread) as usize,
        format!(
            "window update to {}; {read} and {rest} bytes read",
            update.unwrap_or(0)
        ),
    );
    Ok(())
}
