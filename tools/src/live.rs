//! The line a second.

use crate::engine::{Figures, Snapshot};
use crate::report::{duration_text, rate_text};
use ringmill_core::time::{Duration, Instant};

/// Prints what each second brought.
#[derive(Debug)]
pub(crate) struct Live {
    start: Instant,
    quiet: bool,
    last: Option<Snapshot>,
}

impl Live {
    pub(crate) fn new(start: Instant, quiet: bool) -> Live {
        Live {
            start,
            quiet,
            last: None,
        }
    }

    pub(crate) fn tell(&mut self, snapshot: &Snapshot) {
        if !self.quiet {
            println!("{}", self.line(snapshot));
        }
        self.last = Some(snapshot.clone());
    }

    fn line(&self, now: &Snapshot) -> String {
        let since = self.last.as_ref().map_or(self.start, |last| last.at);
        let span = now.at.since(since).as_secs_f64().max(1e-9);
        let second = now.at.since(self.start).as_secs();
        let tcp = |snapshot: &Snapshot| snapshot.stats.tcp;
        let before = self.last.as_ref().map(tcp).unwrap_or_default();
        let tcp = tcp(now);
        let busy_before = self.last.as_ref().map_or(Duration::ZERO, Snapshot::busy);
        let busy = (now.busy() - busy_before).as_secs_f64() / span * 100.0;
        let drops = now.stats.drops.total() + now.drops.total()
            - self
                .last
                .as_ref()
                .map_or(0, |last| last.stats.drops.total() + last.drops.total());
        let tail = format!(
            "conns {} rexmit {} rst {} drop {drops} busy {busy:.0}%",
            now.gauges.live(),
            tcp.retransmits - before.retransmits,
            tcp.resets_received - before.resets_received,
        );
        let per_second = |count: u64| {
            #[expect(clippy::cast_precision_loss, reason = "for people to read")]
            let rate = count as f64 / span;
            rate_text(rate)
        };
        match (&now.figures, self.last.as_ref().map(|last| &last.figures)) {
            (Figures::Load(load), last) => {
                let (mut response, mut done, mut errors) =
                    (load.response.clone(), load.responses(), load.errors.total());
                if let Some(Figures::Load(last)) = last {
                    // The earlier histogram is a part of the later one.
                    let _ = response.subtract(&last.response);
                    done -= last.responses();
                    errors -= last.errors.total();
                }
                let at = |quantile| duration_text(response.value_at_quantile(quantile));
                format!(
                    "{second:>4}s  done {}/s  p50 {} p99 {} max {}  err {errors} {tail}",
                    per_second(done),
                    at(0.5),
                    at(0.99),
                    at(1.0),
                )
            }
            (Figures::Http(http), last) => {
                let before = if let Some(Figures::Http(last)) = last {
                    last.ok
                } else {
                    0
                };
                format!(
                    "{second:>4}s  served {}/s  {tail}",
                    per_second(http.ok - before)
                )
            }
            (Figures::Iperf3, _) => {
                format!(
                    "{second:>4}s  received {} B/s sent {} B/s  {tail}",
                    per_second(tcp.bytes_received - before.bytes_received),
                    per_second(tcp.bytes_sent - before.bytes_sent)
                )
            }
            (Figures::Echo, _) => {
                format!(
                    "{second:>4}s  echoed {} B/s  {tail}",
                    per_second(tcp.bytes_sent - before.bytes_sent)
                )
            }
        }
    }
}
