//! The flow table: one writer, any number of readers, no lock.
//!
//! The key stays in the record. The table holds, for each flow, one word with a
//! 32-bit tag of its keyed hash and the 32-bit value that names the record, and
//! asks the record whether it is the right one:
//!
//! ```text
//! bucket (64 bytes, one cache line)
//! | passed | tag value | tag value | ... seven slots |
//! ```
//!
//! A flow lives in the first bucket with room from its home on. `passed` counts
//! the flows that went by because the bucket was full, and a lookup stops at the
//! first bucket that none has passed: no tombstones, and probes stay short.
//! The home bucket is the low bits of the tag, so a bucket can be moved to a
//! larger array without asking its records. Growth moves a few buckets at each
//! change, and never all at once.
//!
//! The writer is the shard that owns the flows. Readers are other threads, which
//! see tags and values and never a record: they learn that the shard may have a
//! flow, and ask it. A flow that is there during the whole of a look is found:
//!
//! - Each slot is one atomic word. A flow stays in its slot until it is removed or
//!   moved, and a change of its value is one store, so there is nothing to tear.
//! - Every bucket before a flow's own counts it as passed for as long as it is
//!   there.
//! - A flow is moved by putting it into the larger array first and taking it out
//!   of the smaller one then. Readers look in the smaller one first, so who comes
//!   too late there is in time for the larger. Its link to the larger array was
//!   made before anything was moved.
//!
//! The writer's loads and stores are plain ones of the machine; it never waits.
//!
//! Its own thread can walk over all flows, a few at a time between changes. A walk
//! goes by the tags, and by their lowest bits first, as if they were written
//! backwards. So the homes of one bucket's flows in an array of twice the size come
//! right after each other, and what is behind the walk and what is before it stays
//! so, whatever comes, goes or moves meanwhile:
//!
//! ```text
//! of four   00          10          01          11
//! of eight  000   100   010   110   001   101   011   111
//! ```

#[cfg(loom)]
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::hint::black_box;
#[cfg(not(loom))]
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};
use std::sync::{Arc, OnceLock};

/// A cache line of them. In the model (engine/core/model) tables must be small.
const SLOTS: usize = if cfg!(loom) { 2 } else { 7 };
/// Buckets that one change moves while the table grows. Growth starts at 6/7 of
/// the slots and doubles them, so it is over long before the next can start.
const MOVES: usize = 2;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket {
    passed: AtomicU64,
    /// Tag in the upper half, value + 1 in the lower; 0 is empty.
    slots: [AtomicU64; SLOTS],
}

#[cfg(not(loom))]
const _: () = assert!(size_of::<Bucket>() == 64);

fn slot(tag: u32, value: u32) -> u64 {
    u64::from(tag) << 32 | u64::from(value + 1)
}

#[expect(clippy::cast_possible_truncation, reason = "the two halves of a slot")]
fn halves(slot: u64) -> (u32, u32) {
    ((slot >> 32) as u32, (slot as u32).wrapping_sub(1))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the tag is one half of the hash"
)]
fn tag_of(hash: u64) -> u32 {
    hash as u32
}

/// One array of buckets, a power of two of them.
#[derive(Clone, Debug)]
struct Array {
    buckets: Arc<[Bucket]>,
    growth: Arc<Growth>,
}

/// What becomes of an array that is too small.
#[derive(Debug, Default)]
struct Growth {
    /// Where its flows go, from before the first one moves on.
    larger: OnceLock<Array>,
    /// All have gone there.
    is_over: AtomicBool,
}

impl Array {
    fn new(count: usize) -> Array {
        Array {
            buckets: (0..count).map(|_| Bucket::default()).collect(),
            growth: Arc::default(),
        }
    }

    /// The buckets to look at for a tag: its home and those after it.
    #[inline]
    fn path(&self, tag: u32) -> impl Iterator<Item = (usize, &Bucket)> {
        self.path_from(tag as usize)
    }

    #[inline]
    fn path_from(&self, home: usize) -> impl Iterator<Item = (usize, &Bucket)> {
        let mask = self.buckets.len() - 1;
        (0..self.buckets.len()).map(move |step| {
            let at = (home + step) & mask;
            (at, &self.buckets[at])
        })
    }

    /// The values of the flows whose home this bucket is.
    fn visit(&self, home: usize, visit: &mut impl FnMut(u32)) {
        let mask = self.buckets.len() - 1;
        for (_, bucket) in self.path_from(home) {
            for slot in &bucket.slots {
                let word = slot.load(Ordering::Relaxed);
                let (tag, value) = halves(word);
                if word != 0 && tag as usize & mask == home {
                    visit(value);
                }
            }
            if bucket.passed.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
    }

    #[inline]
    fn find(&self, tag: u32, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        for (_, bucket) in self.path(tag) {
            for slot in &bucket.slots {
                let word = slot.load(Ordering::Relaxed);
                let (its_tag, value) = halves(word);
                if its_tag == tag && word != 0 && is_it(value) {
                    return Some(value);
                }
            }
            if bucket.passed.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
        None
    }

    fn insert(&self, word: u64) {
        for (_, bucket) in self.path(halves(word).0) {
            let mut slots = bucket.slots.iter();
            if let Some(free) = slots.find(|slot| slot.load(Ordering::Relaxed) == 0) {
                free.store(word, Ordering::Release);
                return;
            }
            bucket.pass(1);
        }
    }

    /// Bucket and slot of a word.
    fn locate(&self, word: u64) -> Option<(usize, &AtomicU64)> {
        for (at, bucket) in self.path(halves(word).0) {
            let mut slots = bucket.slots.iter();
            if let Some(slot) = slots.find(|slot| slot.load(Ordering::Relaxed) == word) {
                return Some((at, slot));
            }
            if bucket.passed.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
        None
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        let Some((_, slot)) = self.locate(old) else {
            return false;
        };
        slot.store(new, Ordering::Release);
        true
    }

    fn remove(&self, word: u64) -> bool {
        let Some((at, slot)) = self.locate(word) else {
            return false;
        };
        slot.store(0, Ordering::Release);
        let before = self.path(halves(word).0);
        for (_, bucket) in before.take_while(|&(before, _)| before != at) {
            bucket.pass(-1);
        }
        true
    }
}

impl Bucket {
    /// Counts a flow that goes by, or one that did and is gone. Nobody else writes,
    /// so that needs no read-modify-write of the machine.
    fn pass(&self, flows: i64) {
        let passed = self.passed.load(Ordering::Relaxed);
        self.passed
            .store(passed.wrapping_add_signed(flows), Ordering::Relaxed);
    }
}

/// Where a walk over all flows is: a tag, its bits in reverse. It begins at the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place(u32);

/// The flows of one shard.
#[derive(Debug)]
pub struct FlowTable {
    array: Array,
    /// While the table grows: the array before, and how many of its buckets have
    /// been moved.
    old: Option<Array>,
    moved: usize,
    len: usize,
}

impl FlowTable {
    /// A table that takes `flows` flows before it grows.
    pub fn with_capacity(flows: usize) -> FlowTable {
        let count = (flows * 7 / 6).div_ceil(SLOTS).next_power_of_two();
        FlowTable {
            array: Array::new(count),
            old: None,
            moved: 0,
            len: 0,
        }
    }

    /// The value of the flow with this hash that `is_it` says yes to.
    #[inline]
    pub fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let tag = tag_of(hash);
        match (self.array.find(tag, &mut is_it), &self.old) {
            (None, Some(old)) => old.find(tag, is_it),
            (found, _) => found,
        }
    }

    /// Reads a word of the bucket that a flow with this hash is in, or is not.
    #[inline]
    pub fn touch(&self, hash: u64) {
        let home = self.array.path(tag_of(hash)).next();
        black_box(home.map(|(_, bucket)| bucket.passed.load(Ordering::Relaxed)));
    }

    /// Adds a flow that is not in the table; `value` is less than 2^32 - 1.
    pub fn insert(&mut self, hash: u64, value: u32) {
        self.grow();
        self.array.insert(slot(tag_of(hash), value));
        self.len += 1;
    }

    /// Takes a flow out; false if it was not there.
    pub fn remove(&mut self, hash: u64, value: u32) -> bool {
        let word = slot(tag_of(hash), value);
        let removed =
            self.array.remove(word) || self.old.as_ref().is_some_and(|old| old.remove(word));
        self.len -= usize::from(removed);
        self.grow();
        removed
    }

    /// Gives a flow another value, where it is; false if it was not there.
    pub fn replace(&mut self, hash: u64, old: u32, new: u32) -> bool {
        let tag = tag_of(hash);
        let (before, after) = (slot(tag, old), slot(tag, new));
        let replace = |array: &Array| array.replace(before, after);
        replace(&self.array) || self.old.as_ref().is_some_and(replace)
    }

    /// Visits the flows of one bucket, and tells the place of the next; none after the
    /// last. A walk from place to place visits no flow twice, and each that is there
    /// from its beginning to its end, wherever the table keeps it meanwhile.
    pub fn visit(&self, place: Place, mut visit: impl FnMut(u32)) -> Option<Place> {
        let smallest = self.old.as_ref().unwrap_or(&self.array);
        let count = smallest.buckets.len();
        let home = place.0.reverse_bits() as usize & (count - 1);
        for array in self.old.iter().chain([&self.array]) {
            for home in (home..array.buckets.len()).step_by(count) {
                array.visit(home, &mut visit);
            }
        }
        let next = u64::from(place.0) + (1 << 32) / count as u64;
        u32::try_from(next).ok().map(Place)
    }

    /// Flows in the table.
    pub fn len(&self) -> usize {
        self.len
    }

    /// None is.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A view of the table for another thread.
    pub fn reader(&self) -> FlowReader {
        FlowReader {
            first: self.old.as_ref().unwrap_or(&self.array).clone(),
        }
    }

    /// Starts to grow where it is time, and goes on with growing.
    fn grow(&mut self) {
        let is_full = self.len * 7 >= self.array.buckets.len() * SLOTS * 6;
        if self.old.is_some() || is_full {
            self.move_some();
        }
    }

    fn move_some(&mut self) {
        let old = self.old.get_or_insert_with(|| {
            let larger = Array::new(self.array.buckets.len() * 2);
            let small = std::mem::replace(&mut self.array, larger);
            // The only place that sets it, once for each array.
            let _ = small.growth.larger.set(self.array.clone());
            self.moved = 0;
            small
        });
        for bucket in old.buckets.iter().skip(self.moved).take(MOVES) {
            // The old bucket's `passed` stays, for readers that are on their way
            // through it: it ends with the old array.
            for slot in &bucket.slots {
                let word = slot.load(Ordering::Relaxed);
                if word != 0 {
                    self.array.insert(word);
                    slot.store(0, Ordering::Release);
                }
            }
        }
        self.moved += MOVES;
        if self.moved >= old.buckets.len() {
            old.growth.is_over.store(true, Ordering::Release);
            self.old = None;
        }
    }
}

/// What another thread sees of a [`FlowTable`].
#[derive(Clone, Debug)]
pub struct FlowReader {
    /// The smallest array that may still hold flows.
    first: Array,
}

impl FlowReader {
    /// A flow with this hash may be in the table; if not, then it was not there
    /// during the whole of this call.
    pub fn may_have(&mut self, hash: u64) -> bool {
        while self.first.growth.is_over.load(Ordering::Acquire)
            && let Some(larger) = self.first.growth.larger.get().cloned()
        {
            self.first = larger;
        }
        let mut array = &self.first;
        loop {
            if array.find(tag_of(hash), |_| true).is_some() {
                return true;
            }
            // Who saw a slot that a flow was moved out of sees where it went.
            fence(Ordering::Acquire);
            match array.growth.larger.get() {
                Some(larger) => array = larger,
                None => return false,
            }
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::flow::{FlowHasher, FlowKey};
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet, HashMap};
    use std::net::Ipv4Addr;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// Few different tags, so that buckets overflow and tags collide, while the
        /// table grows from two buckets and flows come and go in any order.
        #[test]
        fn agrees_with_a_map(tags in 1u64..40, ops in prop::collection::vec((any::<u64>(), 0u8..8), 0..900)) {
            let mut table = FlowTable::with_capacity(8);
            let mut reader = table.reader();
            let mut model: HashMap<u32, u64> = HashMap::new();
            let mut next = 0;
            for (pick, op) in ops {
                let picked = model.iter().min_by_key(|(value, _)| u64::from(**value) ^ (pick % 64)).map(|(&v, &h)| (v, h));
                match (op, picked) {
                    (0..4, _) => {
                        let hash = pick % tags * 0x9e37_79b9;
                        table.insert(hash, next);
                        model.insert(next, hash);
                        next += 1;
                    }
                    (4..6, Some((value, hash))) => {
                        prop_assert!(table.remove(hash, value));
                        prop_assert!(!table.remove(hash, value));
                        model.remove(&value);
                    }
                    (6, Some((value, hash))) => {
                        prop_assert!(table.replace(hash, value, next));
                        model.remove(&value);
                        model.insert(next, hash);
                        next += 1;
                    }
                    _ => prop_assert_eq!(table.find(pick, |_| false), None),
                }
                prop_assert_eq!(table.len(), model.len());
                let hash = pick % tags * 0x9e37_79b9;
                prop_assert_eq!(reader.may_have(hash), model.values().any(|&h| h == hash));
            }
            for (&value, &hash) in &model {
                prop_assert_eq!(table.find(hash, |v| v == value), Some(value));
            }
            for (value, hash) in model {
                prop_assert!(table.remove(hash, value));
            }
            prop_assert!(table.is_empty());
            let passed = |bucket: &Bucket| bucket.passed.load(Ordering::Relaxed);
            prop_assert!(table.array.buckets.iter().all(|bucket| passed(bucket) == 0), "no trace is left");
        }
    }

    /// A table, and what is in it: each flow has a number of its own, its hash and its
    /// value.
    struct Modelled {
        table: FlowTable,
        flows: BTreeMap<u32, (u64, u32)>,
        changes: u32,
    }

    impl Modelled {
        fn insert(&mut self, hash: u64) {
            self.table.insert(hash, self.changes);
            self.flows.insert(self.changes, (hash, self.changes));
            self.changes += 1;
        }

        /// Takes a flow out, gives one another value, or puts some in.
        fn change(&mut self, hash: u64, nth: u8, op: u8) {
            let picked = self.flows.iter().cycle().nth(usize::from(nth));
            match (
                op,
                picked.map(|(&number, &(hash, value))| (number, hash, value)),
            ) {
                (0..3, Some((number, hash, value))) => {
                    assert!(self.table.remove(hash, value));
                    self.flows.remove(&number);
                }
                (3, Some((number, hash, value))) => {
                    assert!(self.table.replace(hash, value, self.changes));
                    self.flows.insert(number, (hash, self.changes));
                    self.changes += 1;
                }
                _ => (0..u64::from(op)).for_each(|n| self.insert(hash ^ n << 20)),
            }
        }

        fn number_of(&self, value: u32) -> Option<u32> {
            let mut flows = self.flows.iter();
            flows.find_map(|(&number, flow)| (flow.1 == value).then_some(number))
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        /// Flows come, go and change their values, and the table grows, while it is
        /// walked over.
        #[test]
        fn a_walk_misses_no_flow_and_visits_none_twice(
            at_first in prop::collection::vec(any::<u64>(), 0..60),
            ops in prop::collection::vec((any::<u64>(), any::<u8>(), 0u8..8), 0..200),
        ) {
            let table = FlowTable::with_capacity(8);
            let mut model = Modelled { table, flows: BTreeMap::new(), changes: 0 };
            at_first.into_iter().for_each(|hash| model.insert(hash));
            let mut all_along: BTreeSet<u32> = model.flows.keys().copied().collect();
            let (mut place, mut seen) = (Some(Place::default()), BTreeSet::new());
            let mut ops = ops.into_iter();
            while let Some(at) = place {
                let mut values = Vec::new();
                place = model.table.visit(at, |value| values.push(value));
                for value in values {
                    let number = model.number_of(value);
                    prop_assert!(number.is_some_and(|number| seen.insert(number)), "twice, or none's");
                }
                for (hash, nth, op) in ops.by_ref().take(3) {
                    model.change(hash, nth, op);
                }
                all_along.retain(|number| model.flows.contains_key(number));
            }
            prop_assert!(all_along.is_subset(&seen), "missed");
        }
    }

    /// Attack case 42 (HashDoS): flows that were chosen to meet in one bucket under a key
    /// that is known make each other's lookup long under that key, and under another one
    /// no longer than flows that nobody chose.
    #[test]
    fn flows_that_were_chosen_to_collide_are_found_as_fast_as_others() {
        let (known, secret) = (FlowHasher::new([1; 16]), FlowHasher::new([2; 16]));
        let key = |n: u32| FlowKey {
            local: 0,
            remote: Ipv4Addr::from(n >> 14).into(),
            local_port: 80,
            remote_port: u16::try_from(n % (1 << 14)).unwrap(),
        };
        let chosen = (0..).filter(|&n| known.hash(&key(n)) % 256 == 0);
        let chosen: Vec<u32> = chosen.take(1_000).collect();
        // How many buckets a lookup of each flow looks at: the most, and all together.
        let cost = |hasher: &FlowHasher, flows: &[u32]| {
            let hashes: Vec<u64> = flows.iter().map(|&n| hasher.hash(&key(n))).collect();
            let mut table = FlowTable::with_capacity(1_000);
            for (&hash, value) in hashes.iter().zip(0..) {
                table.insert(hash, value);
            }
            assert!(table.old.is_none() && table.array.buckets.len() == 256);
            let buckets = hashes.iter().zip(0..).map(|(&hash, value)| {
                let tag = tag_of(hash);
                let (at, _) = table.array.locate(slot(tag, value)).unwrap();
                1 + (at.wrapping_sub(tag as usize) & 255)
            });
            buckets.fold((0, 0), |(most, sum), count| (count.max(most), sum + count))
        };
        let (most, sum) = cost(&known, &chosen);
        assert!(most > 100 && sum > 50_000, "{most} {sum}");
        let any: Vec<u32> = (0..1_000).collect();
        for flows in [&chosen, &any] {
            let (most, sum) = cost(&secret, flows);
            assert!(most <= 5 && sum <= 1_200, "{most} {sum}");
        }
    }

    #[test]
    fn every_flow_is_found_at_every_moment_of_growth() {
        let hasher = FlowHasher::new([9; 16]);
        let key = |n: u32| FlowKey {
            local: 0,
            remote: Ipv4Addr::from(n).into(),
            local_port: 1,
            remote_port: 2,
        };
        let mut table = FlowTable::with_capacity(8);
        for n in 0..5_000 {
            table.insert(hasher.hash(&key(n)), n);
            for seen in (0..=n).step_by(97) {
                assert_eq!(
                    table.find(hasher.hash(&key(seen)), |v| v == seen),
                    Some(seen),
                    "{seen} of {n}"
                );
            }
        }
    }

    /// Readers on another thread look for flows that are always there, while others
    /// come and go around them and the table grows many times.
    #[test]
    fn readers_miss_no_flow_while_the_table_grows() {
        let hash = |n: u32| u64::from(n.wrapping_mul(0x9e37_79b9));
        for _ in 0..20 {
            let mut table = FlowTable::with_capacity(8);
            for n in 0..8 {
                table.insert(hash(n), n);
            }
            let mut reader = table.reader();
            let is_done = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let looking = scope.spawn(|| {
                    // Once more when all is done, however late this thread came.
                    loop {
                        let is_last = is_done.load(Ordering::Acquire);
                        for n in 0..8 {
                            assert!(reader.may_have(hash(n)), "{n} is missed");
                        }
                        if is_last {
                            return reader.first.buckets.len();
                        }
                    }
                });
                for n in 8..20_000 {
                    table.insert(hash(n), n);
                    if n % 3 == 0 {
                        assert!(table.remove(hash(n), n));
                    }
                    assert!(table.replace(hash(n % 8), n % 8, n % 8));
                }
                is_done.store(true, Ordering::Release);
                assert!(looking.join().unwrap() > 8, "the reader moved on");
            });
        }
    }
}
