//! The lock around a world, blocking calls, and the hand on its clock.
//!
//! packetdrill has two threads. The main one runs the script; the other makes the
//! calls that a script expects to block, and waits here until something has
//! happened that lets them go on:
//!
//! ```text
//! main:  netdev_send, usleep -> world changes -> wake, and wait until the
//!                                                 other is blocked again, or has
//! other: accept ... blocked -----------> try again returned and read the clock
//! ```
//!
//! The one that changes the world waits so that the other reads the instant at
//! which its call ended, not one that a later event has moved on to.

use crate::descriptors::Kind;
use crate::errno::{Errno, Outcome};
use crate::flags::Settings;
use crate::port::Departure;
use crate::world::World;
use ringmill_core::time::{Duration, Instant};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// How long, in real time, one thread waits for the other.
const HAND_OVER_MAX: Duration = Duration::from_secs(1);
/// How far a wait for a packet that may never leave moves the clock.
const PATIENCE: Duration = Duration::from_secs(600);
/// Every reading of the clock takes this long, so that a loop around it ends.
const READING: Duration = Duration::from_micros(1);

/// One world and the threads that use it.
pub(crate) struct Host {
    main: ThreadId,
    state: Mutex<Shared>,
    changed: Condvar,
}

struct Shared {
    world: World,
    /// Threads in a blocking call, each with its own end in time if it has one.
    blocked: Vec<(ThreadId, Option<Instant>)>,
    /// Those of them that have not tried again since the last change.
    unchecked: Vec<ThreadId>,
    /// Threads whose call blocked and has ended, and that have not read the clock.
    returning: Vec<ThreadId>,
}

impl Host {
    /// The calling thread is the main one.
    pub(crate) fn new(settings: Settings) -> Host {
        Host {
            main: thread::current().id(),
            state: Mutex::new(Shared {
                world: World::new(settings),
                blocked: Vec::new(),
                unchecked: Vec::new(),
                returning: Vec::new(),
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that never blocks.
    pub(crate) fn call<T>(&self, call: impl FnOnce(&mut World) -> Outcome<T>) -> Outcome<T> {
        let mut shared = self.lock();
        let result = call(&mut shared.world);
        drop(self.hand_over(shared));
        result
    }

    /// A call on a descriptor that answers EAGAIN when it has to wait: it waits,
    /// unless the descriptor or `never_waits` says that it must not.
    pub(crate) fn call_on<T>(
        &self,
        number: i32,
        never_waits: bool,
        call: impl FnMut(&mut World) -> Outcome<T>,
    ) -> Outcome<T> {
        let is_nonblocking = self
            .lock()
            .world
            .descriptors
            .at(number)
            .is_ok_and(|descriptor| descriptor.is_nonblocking);
        let timeout = (never_waits || is_nonblocking).then_some(Duration::ZERO);
        self.call_within(timeout, call)
    }

    /// The same for at most `timeout`, for ever if there is none.
    pub(crate) fn call_within<T>(
        &self,
        timeout: Option<Duration>,
        mut call: impl FnMut(&mut World) -> Outcome<T>,
    ) -> Outcome<T> {
        let mut shared = self.lock();
        let until = timeout.map(|timeout| shared.world.after(timeout));
        let me = thread::current().id();
        let mut has_blocked = false;
        loop {
            let result = call(&mut shared.world);
            let is_late = until.is_some_and(|until| until <= shared.world.now());
            if !matches!(result, Err(Errno::AGAIN)) || is_late {
                if has_blocked && me != self.main {
                    shared.returning.push(me);
                    shared.unchecked.retain(|&id| id != me);
                    self.changed.notify_all();
                } else {
                    drop(self.hand_over(shared));
                }
                return result;
            }
            has_blocked = true;
            shared = if me == self.main {
                match self.pass_alone(shared, until) {
                    Ok(shared) => shared,
                    // Nothing will ever change: as a signal would end the call.
                    Err(_) => return Err(Errno(libc::EINTR)),
                }
            } else {
                self.wait(shared, me, until)
            };
        }
    }

    /// Waits until another thread has changed something.
    fn wait<'a>(
        &'a self,
        mut shared: MutexGuard<'a, Shared>,
        me: ThreadId,
        until: Option<Instant>,
    ) -> MutexGuard<'a, Shared> {
        shared.blocked.push((me, until));
        shared.unchecked.retain(|&id| id != me);
        self.changed.notify_all();
        let mut shared = self
            .changed
            .wait_while(shared, |s| !s.unchecked.contains(&me))
            .unwrap_or_else(PoisonError::into_inner);
        shared.blocked.retain(|(id, _)| *id != me);
        shared
    }

    /// The main thread blocks itself, so only time can help it.
    fn pass_alone<'a>(
        &'a self,
        shared: MutexGuard<'a, Shared>,
        until: Option<Instant>,
    ) -> Result<MutexGuard<'a, Shared>, MutexGuard<'a, Shared>> {
        let next = shared.world.next_deadline().into_iter().chain(until).min();
        match next {
            Some(next) => Ok(self.pass(shared, next)),
            None => Err(shared),
        }
    }

    /// After a change: wakes the blocked threads, and waits until each is blocked
    /// again or has read the clock.
    fn hand_over<'a>(&'a self, mut shared: MutexGuard<'a, Shared>) -> MutexGuard<'a, Shared> {
        if shared.blocked.is_empty() {
            return shared;
        }
        shared.unchecked = shared.blocked.iter().map(|(id, _)| *id).collect();
        self.changed.notify_all();
        let (mut shared, _) = self
            .changed
            .wait_timeout_while(shared, HAND_OVER_MAX, |s| {
                !(s.unchecked.is_empty() && s.returning.is_empty())
            })
            .unwrap_or_else(PoisonError::into_inner);
        shared.returning.clear();
        shared
    }

    /// Moves the clock to `until`, from one deadline to the next.
    fn pass<'a>(
        &'a self,
        mut shared: MutexGuard<'a, Shared>,
        until: Instant,
    ) -> MutexGuard<'a, Shared> {
        while let Some(next) = shared.next_deadline().filter(|next| *next <= until) {
            shared.world.pass(next);
            shared = self.hand_over(shared);
        }
        shared.world.pass(until);
        shared
    }

    pub(crate) fn sleep(&self, length: Duration) {
        let shared = self.lock();
        let until = shared.world.after(length);
        drop(self.pass(shared, until));
    }

    pub(crate) fn read_clock(&self) -> Instant {
        let mut shared = self.lock();
        let me = thread::current().id();
        let now = shared.world.now();
        if shared.returning.contains(&me) {
            shared.returning.retain(|&id| id != me);
            self.changed.notify_all();
        } else {
            let until = shared.world.after(READING);
            drop(self.pass(shared, until));
        }
        now
    }

    pub(crate) fn arrive(&self, packet: &[u8]) {
        let mut shared = self.lock();
        shared.world.arrive(packet);
        drop(self.hand_over(shared));
    }

    /// The next packet that leaves; time passes until there is one.
    pub(crate) fn depart(&self) -> Option<Departure> {
        let mut shared = self.lock();
        let until = shared.world.after(PATIENCE);
        loop {
            if let Some(departure) = shared.world.depart() {
                return Some(departure);
            }
            let next = shared.next_deadline().filter(|next| *next <= until)?;
            shared = self.pass(shared, next);
        }
    }

    /// The number is a descriptor of this host.
    pub(crate) fn owns(&self, number: i32) -> bool {
        self.lock().world.descriptors.contains(number)
    }

    /// Opens a descriptor.
    pub(crate) fn open(&self, kind: Kind) -> Outcome<i32> {
        self.call(|world| world.descriptors.open(kind))
    }
}

impl Shared {
    /// When the engine or a blocked call next has something to do.
    fn next_deadline(&self) -> Option<Instant> {
        let ends = self.blocked.iter().filter_map(|(_, until)| *until);
        self.world.next_deadline().into_iter().chain(ends).min()
    }
}
