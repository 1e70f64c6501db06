//! Shards on threads of their own: each steps until all have come to their end,
//! and the thread that started them puts together what they tell.

use crate::cli::OutputArguments;
use crate::engine::{Control, Ended, Part, Run, Snapshot, Workload};
use crate::exit::Failure;
use crate::ss::{Desk, Inquiries};
use anyhow::{Context as _, anyhow};
use ringmill::affinity;
use ringmill::clock::Clock;
use ringmill_core::driver::Driver;
use ringmill_core::frame::FramePool;
use ringmill_core::shard::{self, Shard};
use ringmill_core::sockets::Sockets;
use ringmill_core::stack::Config;
use ringmill_core::time::Duration;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread;

/// How to run an application, whatever it runs on.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) clock: Clock,
    pub(crate) control: Control,
    pub(crate) duration: Option<Duration>,
    /// The core of the first shard; the others' are those after it.
    pub(crate) core: Option<usize>,
    /// Cores that the process may use: asked for before a thread is pinned to one.
    pub(crate) cores: Vec<usize>,
    pub(crate) pcap: Option<PathBuf>,
    /// While it runs `ringmill ss` can ask for its sockets.
    pub(crate) has_desk: bool,
}

/// What one shard runs on.
pub(crate) struct Seat<D> {
    pub(crate) config: Config,
    pub(crate) driver: D,
    pub(crate) pool: FramePool,
}

impl Job {
    pub(crate) fn new(
        duration: Option<Duration>,
        core: Option<usize>,
        output: &OutputArguments,
    ) -> anyhow::Result<Job> {
        let control = Control::default();
        control.on_signals()?;
        Ok(Job {
            clock: Clock::start(),
            control,
            duration,
            core,
            cores: affinity::cores(),
            pcap: output.pcap.clone(),
            has_desk: false,
        })
    }

    /// The same with a desk, the only one of its process.
    pub(crate) fn with_desk(self) -> Job {
        Job {
            has_desk: true,
            ..self
        }
    }

    /// Runs an application on shards, one for each seat, to its end: what they ran
    /// on, and how they ended together. `app` makes one for each, by its number,
    /// and `begin` is its first call; a snapshot a second goes to `tell`.
    pub(crate) fn run<D: Driver + Send, A: Workload + Send>(
        &self,
        seats: Vec<Seat<D>>,
        mut app: impl FnMut(usize) -> A,
        mut begin: impl FnMut(&mut A, &mut Sockets) -> anyhow::Result<()>,
        mut tell: impl FnMut(&Snapshot),
    ) -> anyhow::Result<(Vec<(D, FramePool)>, Ended)> {
        let cores = self.cores_of(seats.len())?;
        let now = self.clock.now();
        let mut shards: Vec<Shard<D, A>> = seats
            .into_iter()
            .enumerate()
            .map(|(number, seat)| Shard::new(seat.config, now, seat.driver, seat.pool, app(number)))
            .collect();
        shard::join(&mut shards);
        for shard in &mut shards {
            shard.with_app(now, &mut begin)?;
        }
        let count = shards.len();
        let inquiries: Vec<Inquiries> = shards.iter().map(|_| Inquiries::default()).collect();
        let _desk = self.open_desk(&inquiries);
        let (teller, told) = mpsc::channel();
        let ends = thread::scope(|scope| {
            let parts = shards
                .into_iter()
                .zip(cores)
                .zip(inquiries)
                .zip(Part::of(count, &self.control));
            let threads: Vec<_> = parts
                .enumerate()
                .map(|(number, (((shard, core), inquiries), part))| {
                    let teller = teller.clone();
                    let tell = move |snapshot| {
                        // Nobody listens any more: nobody misses it.
                        let _ = teller.send((number, snapshot));
                    };
                    scope.spawn(move || self.run_one(shard, core, (part, inquiries), tell))
                })
                .collect();
            drop(teller);
            tell_together(count, &told, &mut tell);
            let ends = threads.into_iter().map(|thread| {
                let end = thread.join();
                end.unwrap_or_else(|_| Err(anyhow!("a shard's thread panicked")))
            });
            ends.collect::<anyhow::Result<Vec<_>>>()
        })?;
        let mut together: Option<Ended> = None;
        let mut parts = Vec::new();
        for (driver, pool, ended) in ends {
            parts.push((driver, pool));
            match &mut together {
                Some(sum) => sum.add(&ended),
                None => together = Some(ended),
            }
        }
        Ok((parts, together.context("no shard ran")?))
    }

    fn open_desk(&self, inquiries: &[Inquiries]) -> Option<Desk> {
        let desk = self.has_desk.then(|| Desk::open(inquiries))?;
        let told = |error| eprintln!("ringmill: `ringmill ss` won't see this process: {error}");
        desk.map_err(told).ok()
    }

    /// Runs one shard on this thread.
    fn run_one<D: Driver, A: Workload>(
        &self,
        mut shard: Shard<D, A>,
        core: Option<usize>,
        (part, inquiries): (Part, Inquiries),
        tell: impl FnMut(Snapshot),
    ) -> anyhow::Result<(D, FramePool, Ended)> {
        if let Some(core) = core
            && !affinity::pin_thread(core)
        {
            return Err(not_allowed(core));
        }
        let run = Run {
            shard: &mut shard,
            clock: self.clock,
            duration: self.duration,
            part,
            inquiries,
        };
        let ended = run.until_end(tell);
        let (driver, pool, _) = shard.into_parts();
        Ok((driver, pool, ended))
    }

    /// The core of each of `count` shards. A single one stays where the kernel puts
    /// it unless told otherwise; where there are more than cores, they share.
    fn cores_of(&self, count: usize) -> anyhow::Result<Vec<Option<usize>>> {
        let first = match self.core {
            Some(core) => {
                let at = self.cores.iter().position(|&usable| usable == core);
                at.ok_or_else(|| not_allowed(core))?
            }
            None if count == 1 => return Ok(vec![None]),
            None => 0,
        };
        let cores = self.cores.iter().copied().cycle();
        Ok(cores.skip(first).take(count).map(Some).collect())
    }
}

fn not_allowed(core: usize) -> anyhow::Error {
    Failure::usage(format!("this process may not run on core {core}"))
}

/// Puts together what `count` shards tell, as soon as all have, until they end.
fn tell_together(
    count: usize,
    told: &mpsc::Receiver<(usize, Snapshot)>,
    tell: &mut impl FnMut(&Snapshot),
) {
    let mut latest: Vec<Option<Snapshot>> = vec![None; count];
    for (number, snapshot) in told {
        latest[number] = Some(snapshot);
        if latest.iter().all(Option::is_some) {
            let together = latest.iter_mut().filter_map(Option::take);
            let together = together.reduce(|mut sum, part| {
                sum.add(&part);
                sum
            });
            together.iter().for_each(&mut *tell);
        }
    }
}
