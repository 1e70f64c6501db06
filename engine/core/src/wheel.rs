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
//! empty ones. After Varghese and Lauck (1987); the bitmaps as in tokio's wheel.
//!
//! A slot is a stack of ids, in chunks that are linked, and not a list through the
//! nodes: there each node would be found by the one before it, and of a million
//! each would be waited for by itself. A node knows its place among the chunks; one
//! that is taken out has it filled by the last of its slot.

use crate::time::Instant;

const LEVELS: usize = 7;
const SLOTS: usize = 64;
/// The slot of what is due.
const DUE: usize = LEVELS * SLOTS;
const LAST_TICK: u64 = (1 << (6 * LEVELS)) - 1;
/// How far ahead a node can lie: 24 days of milliseconds.
const FURTHEST: u64 = (1 << 31) - 1;

/// Places of a chunk: two cache lines. The first holds the end of the chunk below,
/// the others ids.
const CHUNK: u32 = 32;
/// No place of an id: the first place of a chunk that is not used.
const NONE: u32 = 0;

/// Eight bytes, since each connection has one, whether it is in use or not.
#[derive(Clone, Copy, Debug)]
struct Node {
    /// Modulo 2^32: no node is further away from now than half of that.
    tick: u32,
    /// Where its id lies, if it is in a slot.
    place: u32,
}

/// The wheel. Times are rounded up to a tick of so many milliseconds, so nothing fires
/// early but what is more than 2^31 ticks away: that fires then.
#[derive(Debug)]
pub struct Wheel<const TICK_MS: u64> {
    /// Everything before this tick has been moved to what is due.
    elapsed: u64,
    occupied: [u64; LEVELS],
    /// The place past the last id of each slot. Its chunk is filled so far, those
    /// below are full.
    ends: [u32; DUE + 1],
    nodes: Vec<Node>,
    chunks: Vec<u32>,
    /// The first of the chunks that no slot has.
    free: u32,
    len: usize,
}

impl<const TICK_MS: u64> Wheel<TICK_MS> {
    /// Known when compiled, for to divide by a variable takes longer than all else here.
    const TICK_NANOS: u64 = TICK_MS * 1_000_000;

    /// An empty wheel whose time is `now`, for ids below `ids`. Address space is
    /// reserved for these, and memory taken as they are first used.
    pub fn new(now: Instant, ids: usize) -> Self {
        let mut chunks = Vec::with_capacity(chunks_max(ids) * CHUNK as usize);
        chunks.resize(CHUNK as usize, NONE);
        Wheel {
            elapsed: now.as_nanos() / Self::TICK_NANOS,
            occupied: [0; LEVELS],
            ends: [NONE; DUE + 1],
            nodes: Vec::with_capacity(ids),
            chunks,
            free: NONE,
            len: 0,
        }
    }

    /// Schedules `id` at `at`, or moves it there.
    pub fn schedule(&mut self, id: u32, at: Instant) {
        if self.nodes.len() <= id as usize {
            let unused = Node {
                tick: 0,
                place: NONE,
            };
            self.nodes.resize(id as usize + 1, unused);
        }
        self.cancel(id);
        self.len += 1;
        let furthest = LAST_TICK.min(self.elapsed + FURTHEST);
        let tick = at.as_nanos().div_ceil(Self::TICK_NANOS).min(furthest);
        // For one that is due already it is not needed when it was.
        self.place(id, tick.max(self.elapsed));
    }

    /// `id` is scheduled, and fires at this tick, counted modulo 2^32, or before it.
    #[inline]
    pub fn fires_by(&self, id: u32, tick: u32) -> bool {
        let node = self.nodes.get(id as usize);
        node.is_some_and(|node| node.place != NONE && tick.wrapping_sub(node.tick) < 1 << 31)
    }

    /// Takes `id` out; false if it was not scheduled.
    pub fn cancel(&mut self, id: u32) -> bool {
        let Some(&node) = self.nodes.get(id as usize) else {
            return false;
        };
        if node.place == NONE {
            return false;
        }
        self.len -= 1;
        let slot = self.slot_of(self.tick_of(&node));
        // Its place goes to the last of the slot, which may be itself.
        let last = self.pop(slot);
        self.chunks[node.place as usize] = last;
        self.nodes[last as usize].place = node.place;
        self.nodes[id as usize].place = NONE;
        true
    }

    /// When `id` fires, if it is scheduled.
    pub fn scheduled_at(&self, id: u32) -> Option<Instant> {
        let node = self.nodes.get(id as usize)?;
        (node.place != NONE).then(|| self.instant(self.tick_of(node)))
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

    /// The next id whose time has come, in the order of ticks, and in none that is
    /// promised within a tick. One at a time, so that the caller bounds its work;
    /// moving a node to a lower level happens at most six times in its life. Once
    /// there is none, the wheel's time is `now`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<u32> {
        let now = now.as_nanos() / Self::TICK_NANOS;
        loop {
            if self.ends[DUE] != NONE {
                let id = self.pop(DUE);
                // Written and not read, so it is not waited for.
                self.nodes[id as usize].place = NONE;
                self.len -= 1;
                return Some(id);
            }
            if now <= self.elapsed {
                return None;
            }
            match self.next_slot() {
                Some((level, slot, tick)) if tick <= now => {
                    self.elapsed = self.elapsed.max(tick);
                    self.occupied[level] &= !(1 << slot);
                    let end = std::mem::replace(&mut self.ends[level * SLOTS + slot], NONE);
                    if level == 0 {
                        self.ends[DUE] = end;
                    } else {
                        self.move_down(end);
                    }
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
        if self.ends[DUE] != NONE {
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

    /// Moves the nodes of what was a slot to where they belong now that its time has
    /// come.
    fn move_down(&mut self, mut end: u32) {
        while end != NONE {
            let base = base_of(end);
            let mut ids = [0; CHUNK as usize - 1];
            let ids = &mut ids[..(end - base - 1) as usize];
            ids.copy_from_slice(&self.chunks[base as usize + 1..end as usize]);
            end = self.free_chunk(base);
            for &id in &*ids {
                let tick = self.tick_of(&self.nodes[id as usize]);
                self.place(id, tick);
            }
        }
    }

    /// The slot of a node with this tick.
    fn slot_of(&self, tick: u64) -> usize {
        if tick <= self.elapsed {
            return DUE;
        }
        let differing = (self.elapsed ^ tick) | 1;
        let level = ((63 - differing.leading_zeros()) / 6) as usize;
        level * SLOTS + ((tick >> (6 * level)) & 63) as usize
    }

    fn place(&mut self, id: u32, tick: u64) {
        let slot = self.slot_of(tick);
        let place = self.push(slot, id);
        self.nodes[id as usize] = Node {
            tick: low(tick),
            place,
        };
    }

    /// Puts an id on top of a slot's: where it is.
    fn push(&mut self, slot: usize, id: u32) -> u32 {
        let mut place = self.ends[slot];
        if place.is_multiple_of(CHUNK) {
            // All its chunks are full, or it has none.
            if place == NONE && slot != DUE {
                self.occupied[slot / SLOTS] |= 1 << (slot % SLOTS);
            }
            let base = self.take_chunk();
            self.chunks[base as usize] = place;
            place = base + 1;
        }
        self.chunks[place as usize] = id;
        self.ends[slot] = place + 1;
        place
    }

    /// The id on top of a slot that is not empty, taken from it.
    fn pop(&mut self, slot: usize) -> u32 {
        let place = self.ends[slot] - 1;
        let id = self.chunks[place as usize];
        let base = base_of(place);
        self.ends[slot] = place;
        if place == base + 1 {
            let below = self.free_chunk(base);
            self.ends[slot] = below;
            if below == NONE && slot != DUE {
                self.occupied[slot / SLOTS] &= !(1 << (slot % SLOTS));
            }
        }
        id
    }

    /// A chunk that no slot has.
    fn take_chunk(&mut self) -> u32 {
        let base = self.free;
        if base != NONE {
            self.free = self.chunks[base as usize];
            return base;
        }
        let len = self.chunks.len();
        self.chunks.resize(len + CHUNK as usize, NONE);
        u32::try_from(len).unwrap_or(u32::MAX)
    }

    /// Gives a chunk back: the end of the one below it.
    fn free_chunk(&mut self, base: u32) -> u32 {
        let below = std::mem::replace(&mut self.chunks[base as usize], self.free);
        self.free = base;
        below
    }
}

/// Chunks that so many ids need at most: each slot has one that is not full, and the
/// first is nobody's.
fn chunks_max(ids: usize) -> usize {
    1 + (DUE + 1) + ids / (CHUNK as usize - 1)
}

/// The first place of the chunk that a place is in, or that ends there.
fn base_of(place: u32) -> u32 {
    (place - 1) & !(CHUNK - 1)
}

#[expect(clippy::cast_possible_truncation, reason = "modulo 2^32 by definition")]
fn low(tick: u64) -> u32 {
    tick as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const TICK: Duration = Duration::from_millis(1);
    type Wheel = super::Wheel<1>;
    const IDS: u32 = 100;

    /// Each node is where it says, each slot is as full as it says, and no chunk is lost.
    fn check(wheel: &Wheel) -> Result<(), TestCaseError> {
        let mut chunks = 1;
        let mut ids = 0;
        for (slot, &top) in wheel.ends.iter().enumerate() {
            if slot != DUE {
                let is_occupied = wheel.occupied[slot / SLOTS] >> (slot % SLOTS) & 1 == 1;
                prop_assert_eq!(is_occupied, top != NONE);
            }
            let mut end = top;
            while end != NONE {
                let base = base_of(end);
                prop_assert!(end == top || end == base + CHUNK, "full below the top");
                for place in base + 1..end {
                    let node = wheel.nodes[wheel.chunks[place as usize] as usize];
                    prop_assert_eq!(node.place, place);
                    prop_assert_eq!(wheel.slot_of(wheel.tick_of(&node)), slot);
                    ids += 1;
                }
                chunks += 1;
                end = wheel.chunks[base as usize];
            }
        }
        prop_assert_eq!(ids, wheel.len());
        let mut free = wheel.free;
        while free != NONE {
            chunks += 1;
            free = wheel.chunks[free as usize];
        }
        prop_assert_eq!(chunks * CHUNK as usize, wheel.chunks.len());
        prop_assert!(chunks <= chunks_max(IDS as usize), "more than was reserved");
        Ok(())
    }

    #[derive(Clone, Copy, Debug)]
    enum Op {
        Schedule(u32, u64),
        /// All ids below, so that slots have several chunks.
        ScheduleBelow(u32, u64),
        Cancel(u32),
        Advance(u64),
    }

    fn op() -> impl Strategy<Value = Op> {
        // Lengths from microseconds to weeks: as far as a node can lie ahead.
        let nanos = (0u32..50, any::<u64>()).prop_map(|(bits, n)| n & ((1 << bits) - 1));
        prop_oneof![
            3 => (0..IDS, nanos.clone()).prop_map(|(id, after)| Op::Schedule(id, after)),
            1 => (0..IDS, nanos.clone()).prop_map(|(id, after)| Op::ScheduleBelow(id, after)),
            3 => (0..IDS).prop_map(Op::Cancel),
            2 => nanos.prop_map(Op::Advance),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_000))]
        #[test]
        fn agrees_with_a_sorted_map(ops in prop::collection::vec(op(), 1..80)) {
            let mut now = Instant::from_millis(123);
            let mut wheel = Wheel::new(now, IDS as usize);
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
                    Op::ScheduleBelow(ids, after) => {
                        let at = now + Duration::from_nanos(after);
                        for id in 0..ids {
                            wheel.schedule(id, at);
                            model.insert(id, at);
                        }
                    }
                    Op::Cancel(id) if !model.contains_key(&id) => {
                        prop_assert!(!wheel.fires_by(id, low(now.as_millis()).wrapping_add(1 << 30)));
                        prop_assert!(!wheel.cancel(id));
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
                check(&wheel)?;
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
