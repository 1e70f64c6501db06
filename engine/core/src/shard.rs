//! One shard: a driver, a stack and an application on one thread.

use crate::app::App;
use crate::driver::{Driver, DriverDrops};
use crate::frame::{Batch, FramePool};
use crate::siblings::Siblings;
use crate::sockets::Sockets;
use crate::stack::{Config, Stack};
use crate::stats::Stats;
use crate::tcp::{Broken, Gauges, Listing, SocketInfo};
use crate::time::Instant;

/// Makes shards siblings: each has a queue, or several, of one device, and what
/// arrives at another than its flow's is handed over. They may then go to threads
/// of their own, where each must be stepped until all are done. One alone has none.
///
/// # Panics
/// When they differ in seed, addresses or VLAN: a flow must have one name in all.
pub fn join<D: Driver, A: App>(shards: &mut [Shard<D, A>]) {
    for pair in shards.windows(2) {
        assert!(
            pair[0].stack.may_join(&pair[1].stack),
            "shards of one host have one seed and the same addresses"
        );
    }
    if shards.len() < 2 {
        return;
    }
    let siblings = Siblings::of(shards.iter().map(|shard| shard.stack.flows()));
    for (shard, siblings) in shards.iter_mut().zip(siblings) {
        shard.stack.join(siblings);
    }
}

/// Everything between one queue's receive ring and its transmit ring.
pub struct Shard<D, A> {
    driver: D,
    app: A,
    stack: Stack,
    pool: FramePool,
    rx: Batch,
    tx: Batch,
}

impl<D: Driver, A: App> Shard<D, A> {
    /// A shard that takes its frames from `pool`, all of which are free or in the
    /// driver's rings.
    pub fn new(config: Config, now: Instant, driver: D, pool: FramePool, app: A) -> Shard<D, A> {
        Shard {
            driver,
            app,
            stack: Stack::new(config, now),
            pool,
            rx: Batch::new(),
            tx: Batch::new(),
        }
    }

    /// Takes a batch of frames all the way from the receive ring to the transmit
    /// ring. True when anything moved: if not, nothing will before
    /// [`next_deadline`](Shard::next_deadline) or the next frame.
    pub fn step(&mut self, now: Instant) -> bool {
        self.driver.rx(now, &mut self.pool, &mut self.rx);
        let received = self.rx.len();
        self.stack.input(now, &mut self.pool, &mut self.rx);
        let strays = self.stack.input_strays(now, &mut self.pool);
        self.stack.expire(now, &mut self.pool);
        self.stack.call(now, &mut self.pool, &mut self.app);
        self.stack.output(now, &mut self.pool, &mut self.tx);
        let sent = self.tx.len();
        self.driver.tx(now, &mut self.pool, &mut self.tx);
        received + strays + sent > 0
    }

    /// Something waits to be sent or told in the next step.
    pub fn has_work(&self) -> bool {
        self.stack.has_work() || !self.tx.is_empty()
    }

    /// When something will be due if no frame arrives; never too late, and stale
    /// after any call but this.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.has_work() {
            return Some(Instant::ZERO);
        }
        let deadlines = [
            self.stack.next_deadline(),
            self.app.next_deadline(),
            self.driver.next_arrival(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Calls the application from outside, as if in a step: to listen, to connect.
    pub fn with_app<T>(&mut self, now: Instant, call: impl FnOnce(&mut A, &mut Sockets) -> T) -> T {
        self.stack
            .with_sockets(now, &mut self.pool, |sockets| call(&mut self.app, sockets))
    }

    /// The application.
    pub fn app(&self) -> &A {
        &self.app
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    /// The driver, to be worked on between steps.
    pub fn driver_mut(&mut self) -> &mut D {
        &mut self.driver
    }

    /// What was counted so far.
    pub fn stats(&self) -> Stats {
        self.stack.stats()
    }

    /// What the driver lost so far.
    pub fn driver_drops(&self) -> DriverDrops {
        self.driver.drops()
    }

    /// What is held now, by state.
    pub fn gauges(&self) -> Gauges {
        self.stack.gauges()
    }

    /// Every socket with its state, queues and timer, as netstat shows them. It walks
    /// all records: for people and tools, not for every step.
    pub fn sockets(&self, now: Instant) -> Vec<SocketInfo> {
        self.stack.sockets(now)
    }

    /// Goes on with a list of the same: a part of bounded work, no more than that of a
    /// step, so that a shard with millions of connections lists them between its steps.
    pub fn list(&self, now: Instant, listing: &mut Listing) {
        self.stack.list(now, listing);
    }

    /// Frames that are neither free, nor in the driver's rings, nor in a queue:
    /// zero between steps, or some were lost.
    pub fn frames_missing(&self) -> usize {
        let accounted = self.pool.available()
            + self.driver.held()
            + self.rx.len()
            + self.tx.len()
            + self.stack.frames_held();
        self.pool.total().saturating_sub(accounted)
    }

    /// Checks what must hold of all records between two steps. It walks everything:
    /// for simulators and tests.
    pub fn check(&self, now: Instant) -> Result<(), Broken> {
        self.stack.check(now)
    }

    /// Drops all TIME-WAIT records, as a host does that shuts down: how many.
    pub fn abandon_time_wait(&mut self) -> usize {
        self.stack.abandon_time_wait()
    }

    /// Ends the shard and gives its parts back.
    pub fn into_parts(self) -> (D, FramePool, A) {
        (self.driver, self.pool, self.app)
    }
}
