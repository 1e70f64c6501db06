//! How connections open, other than by the plain handshake: with data in their SYN
//! (RFC 7413), from both ends at a time (RFC 9293 section 3.5), without window scaling
//! or with more of it than there is window yet (RFC 7323), and with which initial
//! window (RFC 6928).

use super::meddling::Filter;
use super::plan::Crossing;
use super::scenario::{Draw, Scenario};
use ringmill_core::time::Duration;

/// The first port of ends that connect to each other: none that a listener or a
/// connect takes.
const CROSSING_PORT: u16 = 100;

/// A server's cookie is good for one to two of these.
const COOKIE_HOURS: u64 = 3_600_000_000;

impl Scenario {
    /// The second edition.
    pub(crate) fn draw_openings(&mut self, draw: &mut Draw) {
        for host in &mut self.hosts {
            host.tcp.window_scaling = !draw.is(15);
            host.tcp.receive_buffer_max *= draw.of(&[1, 1, 4, 64]);
            host.tcp.initial_window = draw.of(&[10, 10, 10, 4, 1]);
        }
        if draw.is(30) {
            self.draw_fast_open(draw);
        }
        if draw.is(20) {
            self.draw_crossings(draw);
        }
    }

    fn draw_fast_open(&mut self, draw: &mut Draw) {
        for host in &mut self.hosts {
            host.options.fast_open = draw.of(&[0, 1, 16, 16]);
        }
        // One connection is given the cookie that the next may show: soon, when it has
        // been replaced, or when it has expired.
        for _ in 0..draw.size(1, 4) {
            let mut again = self.plans[draw.size(0, self.plans.len() - 1)].clone();
            let span = draw.of(&[1_000_000, 60_000_000, COOKIE_HOURS, 3 * COOKIE_HOURS]);
            again.at += Duration::from_micros(draw.below(span));
            self.plans.push(again);
        }
        self.filter = draw.of(&[
            Filter::Passes,
            Filter::Passes,
            Filter::Passes,
            Filter::Strips,
            Filter::Drops,
        ]);
        for plan in &mut self.plans {
            plan.options.fast_open_connect = draw.is(80);
            if draw.is(20) {
                plan.hesitates = draw.micros(2_000_000);
            }
        }
    }

    fn draw_crossings(&mut self, draw: &mut Draw) {
        for (plan, port) in self.plans.iter_mut().zip((CROSSING_PORT..).step_by(2)) {
            let lag = if draw.is(40) {
                draw.micros(200_000)
            } else {
                Duration::ZERO
            };
            plan.crossing = draw.is(50).then_some(Crossing {
                ports: [port, port + 1],
                lag,
            });
        }
    }
}
