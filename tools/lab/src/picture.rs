//! Pictures of a record: for a terminal, as a drawing, as data, as a capture.

pub(crate) mod capture;
pub(crate) mod drawing;
pub(crate) mod json;
pub(crate) mod page;
mod rows;
pub(crate) mod svg;
pub(crate) mod terminal;

use crate::record::{Record, Segment};
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::tcp::Flags;

/// What is said of a segment: its flags, its relative numbers, its data.
pub(crate) fn label(record: &Record, segment: &Segment) -> String {
    let mut words = vec![flags(segment)];
    if segment.seq_len > 0 || segment.flags.contains(Flags::RST) {
        words.push(format!("seq {}", segment.seq));
    }
    if segment.flags.contains(Flags::ACK) {
        words.push(format!("ack {}", segment.ack));
    }
    if record.shows.windows && !segment.flags.contains(Flags::RST) {
        words.push(format!("win {}", segment.window));
    }
    if record.shows.timestamps
        && let Some(timestamps) = segment.options.timestamps
    {
        words.push(format!("ts {}", timestamps.value));
    }
    if record.shows.ports {
        let client = segment.source.port().max(segment.destination.port());
        words.push(format!(":{client}"));
    }
    if segment.is_stray {
        words.push("(old)".to_owned());
    } else if segment.again {
        words.push("(again)".to_owned());
    }
    words.join(" ")
}

/// "SYN, ACK", "100 bytes, FIN": that an ACK is there beside data goes without
/// saying, as its number is told.
fn flags(segment: &Segment) -> String {
    let mut words = Vec::new();
    if segment.len > 0 {
        let unit = if segment.len == 1 { "byte" } else { "bytes" };
        words.push(format!("{} {unit}", segment.len));
    }
    let names = [
        (Flags::SYN, "SYN"),
        (Flags::FIN, "FIN"),
        (Flags::RST, "RST"),
    ];
    let named = names
        .iter()
        .filter(|(flag, _)| segment.flags.contains(*flag));
    words.extend(named.map(|(_, name)| (*name).to_owned()));
    let is_plain = segment.len == 0 && !segment.flags.contains(Flags::RST);
    if segment.flags.contains(Flags::ACK) && is_plain {
        words.push("ACK".to_owned());
    }
    words.join(", ")
}

/// A call, with the caller's name where several stand on its side.
fn called(record: &Record, host: usize, text: &str) -> String {
    if record.names(record.hosts[host].side).len() > 1 {
        format!("{}: {text}", record.hosts[host].name)
    } else {
        text.to_owned()
    }
}

/// A time on the time line, which begins with the first thing that happens.
pub(crate) fn clock(record: &Record, at: Instant) -> String {
    let origin = record
        .events
        .first()
        .map_or(Instant::ZERO, |event| event.at);
    time(at.since(origin))
}

/// A length of time, in milliseconds or seconds.
pub(crate) fn time(length: Duration) -> String {
    let seconds = length.as_secs_f64();
    if seconds < 1.0 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.3} s")
    }
}
