//! A hierarchical timing wheel: one node per record, found by the record's index.
//!
//! ```text
//! level 0   64 slots of 1 tick        |.|.|x|.|.|x| ...     due soon
//! level 1   64 slots of 64 ticks      |.|x|.|.| ...
//!   ...
//! level 6   64 slots of 2^36 ticks    |.|.|.| ...           due in years
//! ```
//!
//! A node lies on the level of the highest six-bit digit in which its tick
//! differs from now, so every node of a lower level is due before any node of a
//! higher one, and a bitmap a level finds the next slot without a walk over
//! empty ones. Lists are circular and each slot has a sentinel among the nodes,
//! so a node is taken out without knowing its slot. After Varghese and Lauck
//! (1987); the bitmaps as in tokio's wheel.

use crate::time::Instant;

const LEVELS: usize = 7;
const SLOTS: usize = 64;
/// Sentinels of all slots, and one of the list of nodes that are due.
const SENTINELS: usize = LEVELS * SLOTS + 1;
#[expect(clippy::cast_possible_truncation, reason = "448")]
const DUE: u32 = (LEVELS * SLOTS) as u32;
const LAST_TICK: u64 = (1 << (6 * LEVELS)) - 1;
/// How far ahead a node can lie: 24 days of milliseconds.
const FURTHEST: u64 = (1 << 31) - 1;

/// Twelve bytes, since each connection has one, whether it is in use or not.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Modulo 2^32: no node is further away from now than half of that.
    tick: u32,
    previous: u32,
    /// Itself when the node is in no list.
    next: u32,
}

/// The wheel. Times are rounded up to a tick of so many milliseconds, so nothing fires
/// early but what is more than 2^31 ticks away: that fires then.
#[derive(Debug)]
pub struct Wheel<const TICK_MS: u64> {
    /// Everything before this tick has been moved to the list of due nodes.
    elapsed: u64,
    occupied: [u64; LEVELS],
    nodes: Vec<Node>,
    len: usize,
}

impl<const TICK_MS: u64> Wheel<TICK_MS> {
    /// Known when compiled, for to divide by a variable takes longer than all else here.
    const TICK_NANOS: u64 = TICK_MS * 1_000_000;

    /// An empty wheel whose time is `now`, for ids below `ids`. Address space is
    /// reserved for these, and memory taken as they are first used.
    pub fn new(now: Instant, ids: usize) -> Self {
        let mut wheel = Wheel {
            elapsed: now.as_nanos() / Self::TICK_NANOS,
            occupied: [0; LEVELS],
            nodes: Vec::with_capacity(SENTINELS + ids),
            len: 0,
        };
        wheel.grow_to(SENTINELS);
        wheel
    }

    fn grow_to(&mut self, len: usize) {
        let from = self.nodes.len();
        self.nodes.extend((from..len).map(|at| {
            let this = u32::try_from(at).unwrap_or(u32::MAX);
            Node {
                tick: 0,
                previous: this,
                next: this,
            }
        }));
    }

    fn node_of(id: u32) -> u32 {
        id + DUE + 1
    }

    /// Schedules `id` at `at`, or moves it there.
    pub fn schedule(&mut self, id: u32, at: Instant) {
        let node = Self::node_of(id);
        if self.nodes.len() <= node as usize {
            self.grow_to(node as usize + 1);
        }
        if !self.unlink(node) {
            self.len += 1;
        }
        let furthest = LAST_TICK.min(self.elapsed + FURTHEST);
        let tick = at.as_nanos().div_ceil(Self::TICK_NANOS).min(furthest);
        // One that is due already lies in no slot, so when it was due is not needed.
        self.place(node, tick.max(self.elapsed));
    }

    /// `id` is scheduled, and fires at this tick, counted modulo 2^32, or before it.
    #[inline]
    pub fn fires_by(&self, id: u32, tick: u32) -> bool {
        let of = Self::node_of(id);
        let node = self.nodes.get(of as usize);
        node.is_some_and(|node| node.next != of && tick.wrapping_sub(node.tick) < 1 << 31)
    }

    /// Takes `id` out; false if it was not scheduled.
    pub fn cancel(&mut self, id: u32) -> bool {
        let node = Self::node_of(id);
        let was_scheduled = self.nodes.len() > node as usize && self.unlink(node);
        self.len -= usize::from(was_scheduled);
        was_scheduled
    }

    /// When `id` fires, if it is scheduled.
    pub fn scheduled_at(&self, id: u32) -> Option<Instant> {
        let at = Self::node_of(id);
        let node = self.nodes.get(at as usize)?;
        (node.next != at).then(|| self.instant(self.tick_of(node)))
    }

    /// The tick of a node, from its lower half.
    fn tick_of(&self, node: &Node) -> u64 {
        let behind = low(self.elapsed).wrapping_sub(node.tick);
        if behind < 1 << 31 {
            self.elapsed.saturating_sub(u64::from(behind))
        } else {
            self.elapsed + u64::from(behind.wrapping_neg())
        }
    }

    /// The next id whose time has come. One at a time, so that the caller bounds
    /// its work; moving a node to a lower level happens at most six times in its
    /// life. Once there is none, the wheel's time is `now`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<u32> {
        let now = now.as_nanos() / Self::TICK_NANOS;
        loop {
            let due = self.nodes[DUE as usize].next;
            if due != DUE {
                self.unlink(due);
                self.len -= 1;
                return Some(due - DUE - 1);
            }
            if now <= self.elapsed {
                return None;
            }
            match self.next_slot() {
                Some((level, slot, tick)) if tick <= now => {
                    self.elapsed = self.elapsed.max(tick);
                    self.empty_slot(level, slot);
                }
                _ => {
                    self.elapsed = self.elapsed.max(now);
                    return None;
                }
            }
        }
    }

    /// When something may be due: never later than the earliest deadline.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.nodes[DUE as usize].next != DUE {
            return Some(self.instant(self.elapsed));
        }
        self.next_slot().map(|(_, _, tick)| self.instant(tick))
    }

    /// How many ids are scheduled.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    fn instant(&self, tick: u64) -> Instant {
        Instant::from_nanos(tick.saturating_mul(Self::TICK_NANOS))
    }

    /// The next occupied slot and its first tick. Lower levels come first.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&slots| slots != 0)?;
        let shift = 6 * level;
        // All slots of a level lie after the current one, within the same turn.
        let slot = self.occupied[level].trailing_zeros() as usize;
        let turn = self.elapsed >> (shift + 6) << (shift + 6);
        Some((level, slot, turn + ((slot as u64) << shift)))
    }

    /// Moves a slot's nodes to where they belong now that its time has come.
    fn empty_slot(&mut self, level: usize, slot: usize) {
        let sentinel = sentinel(level, slot);
        loop {
            let node = self.nodes[sentinel as usize].next;
            if node == sentinel {
                return;
            }
            self.unlink(node);
            let tick = self.tick_of(&self.nodes[node as usize]);
            self.place(node, tick);
        }
    }

    fn place(&mut self, node: u32, tick: u64) {
        self.nodes[node as usize].tick = low(tick);
        if tick <= self.elapsed {
            return self.link(node, DUE);
        }
        let differing = (self.elapsed ^ tick) | 1;
        let level = ((63 - differing.leading_zeros()) / 6) as usize;
        let slot = ((tick >> (6 * level)) & 63) as usize;
        self.occupied[level] |= 1 << slot;
        self.link(node, sentinel(level, slot));
    }

    /// Links a node in before a sentinel: at the end of its list.
    fn link(&mut self, node: u32, sentinel: u32) {
        let last = self.nodes[sentinel as usize].previous;
        self.nodes[node as usize].previous = last;
        self.nodes[node as usize].next = sentinel;
        self.nodes[last as usize].next = node;
        self.nodes[sentinel as usize].previous = node;
    }

    /// False if the node was in no list.
    fn unlink(&mut self, node: u32) -> bool {
        let Node { previous, next, .. } = self.nodes[node as usize];
        if next == node {
            return false;
        }
        self.nodes[previous as usize].next = next;
        self.nodes[next as usize].previous = previous;
        self.nodes[node as usize].previous = node;
        self.nodes[node as usize].next = node;
        if previous == next && next < DUE {
            // Only a sentinel has the same node on both sides: the slot is empty.
            let slot = next as usize;
            self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
        }
        true
    }
}

#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 by definition")]
fn low(tick: u64) -> u32 {
    tick as u32
}

fn sentinel(level: usize, slot: usize) -> u32 {
    u32::try_from(level * SLOTS + slot).unwrap_or(DUE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TICK: Duration = Duration::from_millis(1);
    type Wheel = super::Wheel<1>;

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Schedule(u32, u64),
        Cancel(u32),
        Advance(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        // Lengths from microseconds to weeks: as far as a node can lie ahead.
        let nanos = (0u32..50, any::<u64>()).prop_map(|(bits, n)| n & ((1 << bits) - 1));
        prop_oneof![
            3 => (0u32..24, nanos.clone()).prop_map(|(id, after)| Op::Schedule(id, after)),
            1 => (0u32..24).prop_map(Op::Cancel),
            2 => nanos.prop_map(Op::Advance),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn agrees_with_a_sorted_map(ops in prop::collection::vec(op(), 1..80)) {
            let mut now = Instant::from_millis(123);
            let mut wheel = Wheel::new(now, 0);
            let mut model: BTreeMap<u32, Instant> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Schedule(id, after) => {
                        let at = now + Duration::from_nanos(after);
                        wheel.schedule(id, at);
                        model.insert(id, at);
                        prop_assert!(wheel.scheduled_at(id).unwrap() >= at);
                        let tick = low(at.as_nanos().div_ceil(1_000_000));
                        prop_assert!(wheel.fires_by(id, tick));
                    }
                    Op::Cancel(id) if !model.contains_key(&id) => {
                        prop_assert!(!wheel.fires_by(id, low(now.as_millis()).wrapping_add(1 << 30)));
                    }
                    Op::Cancel(id) => prop_assert_eq!(wheel.cancel(id), model.remove(&id).is_some()),
                    Op::Advance(length) => {
                        now += Duration::from_nanos(length);
                        while let Some(id) = wheel.pop_expired(now) {
                            let due = model.remove(&id).unwrap();
                            prop_assert!(due <= now, "{id} fired {:?} early", due.since(now));
                        }
                        prop_assert!(model.values().all(|&due| due + TICK > now), "late at {now:?}: {model:?}");
                    }
                }
                prop_assert_eq!(wheel.len(), model.len());
                let earliest = model.values().min().map(|&due| due + TICK);
                match wheel.next_deadline() {
                    Some(bound) => prop_assert!(Some(bound) <= earliest, "{bound:?} after {earliest:?}"),
                    None => prop_assert!(model.is_empty()),
                }
            }
        }
    }

    #[test]
    fn sleeping_until_the_bound_always_gets_there() {
        let mut wheel = Wheel::new(Instant::ZERO, 0);
        wheel.schedule(3, Instant::from_millis(3_600_000));
        let mut wakes = 0;
        while let Some(at) = wheel.next_deadline() {
            wakes += 1;
            assert_eq!(wheel.pop_expired(at).is_some(), wheel.is_empty());
        }
        assert!(wakes <= LEVELS, "{wakes} wakes for one deadline");
    }

    #[test]
    fn the_due_come_in_the_order_of_their_ticks() {
        let mut wheel = Wheel::new(Instant::ZERO, 0);
        for id in 0..200 {
            wheel.schedule(id, Instant::from_millis(u64::from(id * 7_919 % 5_003)));
        }
        let mut last = Instant::ZERO;
        for now in (0..5_010).map(Instant::from_millis) {
            while let Some(id) = wheel.pop_expired(now) {
                let at = Instant::from_millis(u64::from(id * 7_919 % 5_003));
                assert!(at >= last);
                last = at;
            }
        }
        assert!(wheel.is_empty());
    }
}
