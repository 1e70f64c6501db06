//! Prints what passes the wire, a line a segment.

use super::segment::Seen;
use super::world::Watcher;
use ringmill_core::time::Instant;

pub(crate) struct Printer;

impl Printer {
    fn print(now: Instant, host: usize, what: &str, frame: &[u8]) {
        let at = now.since(Instant::ZERO).as_secs_f64();
        match Seen::parse(frame) {
            Some(seen) => println!("{at:>13.6} {what} {host} {seen}"),
            None => println!("{at:>13.6} {what} {host} {} bytes", frame.len()),
        }
    }
}

impl Watcher for Printer {
    fn sent(&mut self, now: Instant, host: usize, frame: &[u8]) {
        Printer::print(now, host, "from", frame);
    }

    fn delivered(&mut self, now: Instant, host: usize, frame: &[u8]) {
        Printer::print(now, host, "  to", frame);
    }
}
