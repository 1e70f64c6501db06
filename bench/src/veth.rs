//! Over veth pairs of their own, a core a side: the raw limit of AF_XDP, the kernel's
//! TCP with wrk and nginx, and the engine at either end or both.

pub mod bulk;
pub mod cpu;
pub mod held;
pub mod http;
pub mod kernel;
pub mod latency;
pub mod port;
pub mod raw;
pub mod runner;
pub mod syns;
pub mod ways;

use crate::figures::Samples;
use crate::reach::{Effort, Measure};

/// Connections at a time, where one or a million are not asked for.
const CONNECTIONS: usize = 64;

/// A measurement that keeps nothing from round to round.
struct Task {
    name: &'static str,
    is_once: bool,
    effort: Effort,
    run: fn(&Effort, &mut Samples) -> anyhow::Result<()>,
}

impl Measure for Task {
    fn name(&self) -> &'static str {
        self.name
    }

    fn is_once(&self) -> bool {
        self.is_once
    }

    fn run(&mut self, samples: &mut Samples) -> anyhow::Result<()> {
        (self.run)(&self.effort, samples)
    }
}

/// What a run with this effort measures.
pub fn all(effort: &Effort) -> Vec<Box<dyn Measure>> {
    let task = |name, run| Task {
        name,
        is_once: false,
        effort: *effort,
        run,
    };
    let tasks = [
        task("raw ping-pong", raw::limits),
        task("wrk to nginx, keep-alive", http::wrk_to_nginx),
        task(
            "ringmill to ringmill, keep-alive",
            http::ringmill_to_ringmill,
        ),
        task("ringmill load to nginx", http::ringmill_to_nginx),
        task("wrk to ringmill serve", http::wrk_to_ringmill),
        task("wrk to nginx, close", http::wrk_to_nginx_close),
        task(
            "ringmill to ringmill, close",
            http::ringmill_to_ringmill_close,
        ),
        task("one connection's round trips", latency::run),
        task("raw frames one way", raw::one_way),
        task("bulk", bulk::run),
        task("a flood of SYNs", syns::run),
        Task {
            is_once: true,
            ..task("a million held connections", held::run)
        },
    ];
    tasks
        .into_iter()
        .map(|task| Box::new(task) as Box<dyn Measure>)
        .collect()
}
