//! TIME-WAIT: small records on a coarse timing wheel, reaped a slot at a time
//! (RFC 9293 section 3.6.1; RFC 1337; RFC 6191).
//!
//! ```text
//! slot  0   1   2  ...  now  now+1 ...            each slot a list of records,
//!       |   |   |        |     |                  a quarter of a second wide
//!       .   o   o        x     o
//!           |            |
//!           o            x  <- due: reaped, a bounded number a step
//! ```

use super::state::State;
use super::tcb::{Tcb, TcbFlags};
use super::transitions::{Action, Event};
use super::{Cx, Flow, Segment, Tcp};
use crate::flow::FlowKey;
use crate::frame::Frame;
use crate::seq::Seq;
use crate::slab::Slab;
use crate::stats::DropReason;
use crate::time::{Duration, Instant};
use crate::wire::tcp::{Flags, Header, Options};

/// What is left of a connection in TIME-WAIT.
/// They last 2 MSL (RFC 9293 section 3.6.1, MUST-13).
#[derive(Debug)]
pub(crate) struct TimeWait {
    pub(crate) key: FlowKey,
    snd_nxt: Seq,
    rcv_nxt: Seq,
    ts_recent: u32,
    next: u32,
    previous: u32,
    window: u16,
    /// The tick at which 2 MSL are over, modulo 2^16.
    expires: u16,
    timestamps: bool,
    active: bool,
}

const _: () = assert!(Slab::<TimeWait>::ENTRY_LEN == 48);

impl TimeWait {
    pub(crate) fn of(tcb: &Tcb, window: u16) -> TimeWait {
        TimeWait {
            key: tcb.key,
            snd_nxt: tcb.snd_nxt,
            rcv_nxt: tcb.rcv_nxt,
            ts_recent: tcb.ts_recent,
            next: NONE,
            previous: NONE,
            window,
            expires: 0,
            timestamps: tcb.is(TcbFlags::TIMESTAMPS),
            active: tcb.is(TcbFlags::ACTIVE),
        }
    }
}

const NONE: u32 = u32::MAX;
const TICK: Duration = Duration::from_millis(250);
/// 128 s of slots; a longer TIME-WAIT goes round more than once.
const SLOTS: usize = 512;
/// The longest TIME-WAIT, in ticks: a deadline of 16 bits is told from the past
/// by its half of the circle, 2 h 16 min.
const LONGEST: u64 = 1 << 15;

/// A connect takes over a flow no earlier: by then the timestamp clock of any stack
/// has moved on (RFC 7323 section 5.4: a tick a second or faster).
const REUSE_AFTER: Duration = Duration::from_secs(1);

/// Records that one step looks at, at most.
const REAPED_MAX: usize = 256;

/// All TIME-WAIT records of a shard.
#[derive(Debug)]
pub(crate) struct TimeWaitTable {
    records: Slab<TimeWait>,
    slots: Vec<u32>,
    /// The tick whose slot is being reaped; those before it are clean.
    tick: u32,
    /// Where in that slot reaping goes on.
    cursor: u32,
    /// Records whose time is over and that the flow table still names: none between
    /// two calls.
    over: Vec<(u32, u64, TimeWait)>,
}

impl TimeWaitTable {
    pub(crate) fn new(limit: usize, now: Instant) -> TimeWaitTable {
        TimeWaitTable {
            records: Slab::new(limit),
            slots: vec![NONE; SLOTS],
            tick: tick_at(now),
            cursor: NONE,
            over: Vec::with_capacity(REAPED_MAX),
        }
    }

    pub(crate) fn get(&self, index: u32) -> Option<&TimeWait> {
        self.records.get(index)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &FlowKey> {
        self.records.iter().map(|(_, record)| &record.key)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// Starts 2 MSL for a record; none when the table is full.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        mut record: TimeWait,
        length: Duration,
    ) -> Option<u32> {
        record.expires = expiry(now, length);
        let index = self.records.insert(record).ok()?;
        self.link(index);
        Some(index)
    }

    fn restart(&mut self, now: Instant, index: u32, length: Duration) {
        self.unlink(index);
        if let Some(record) = self.records.get_mut(index) {
            record.expires = expiry(now, length);
        }
        self.link(index);
    }

    fn link(&mut self, index: u32) {
        let Some(record) = self.records.get_mut(index) else {
            return;
        };
        let slot = &mut self.slots[usize::from(record.expires) % SLOTS];
        let head = std::mem::replace(slot, index);
        record.next = head;
        record.previous = NONE;
        if let Some(next) = self.records.get_mut(head) {
            next.previous = index;
        }
    }

    fn unlink(&mut self, index: u32) {
        let Some(record) = self.records.get(index) else {
            return;
        };
        let (previous, next, slot) = (
            record.previous,
            record.next,
            usize::from(record.expires) % SLOTS,
        );
        if self.cursor == index {
            self.cursor = next;
        }
        match self.records.get_mut(previous) {
            Some(record) => record.next = next,
            None => self.slots[slot] = next,
        }
        if let Some(record) = self.records.get_mut(next) {
            record.previous = previous;
        }
    }

    fn remove(&mut self, index: u32) -> Option<TimeWait> {
        self.unlink(index);
        self.records.remove(index)
    }

    /// The next record whose time is over. `budget` bounds the records looked at.
    fn pop_expired(&mut self, now: Instant, budget: &mut usize) -> Option<(u32, TimeWait)> {
        let now = tick_at(now);
        loop {
            while self.cursor != NONE && *budget > 0 {
                *budget -= 1;
                let index = self.cursor;
                let record = self.records.get(index)?;
                self.cursor = record.next;
                if is_past(record.expires, now) {
                    return self.remove(index).map(|record| (index, record));
                }
            }
            if *budget == 0 || !is_after(now, self.tick) {
                return None;
            }
            // After a long sleep one round over the slots finds everything.
            let behind = now
                .wrapping_sub(self.tick)
                .min(u32::try_from(SLOTS).unwrap_or(u32::MAX));
            self.tick = now.wrapping_sub(behind).wrapping_add(1);
            self.cursor = self.slots[self.tick as usize % SLOTS];
        }
    }

    /// When the next slot is due; a bound, as its records may be of a later round.
    fn next_deadline(&self) -> Option<Instant> {
        (self.len() > 0).then(|| {
            let tick = u64::from(self.tick) + u64::from(self.cursor == NONE);
            Instant::ZERO + TICK * u32::try_from(tick).unwrap_or(u32::MAX)
        })
    }
}

#[expect(clippy::cast_possible_truncation, reason = "2^32 ticks are 34 years")]
fn tick_at(now: Instant) -> u32 {
    (now.as_nanos() / 250_000_000) as u32
}

/// The first tick that lies wholly after `now + length`.
#[expect(clippy::cast_possible_truncation, reason = "modulo 2^16 by definition")]
fn expiry(now: Instant, length: Duration) -> u16 {
    let longest = TICK * u32::try_from(LONGEST - 2).unwrap_or(0);
    tick_at(now + length.min(longest)).wrapping_add(1) as u16
}

/// An expiry tick of 16 bits is `now` or before it.
#[expect(clippy::cast_possible_truncation, reason = "modulo 2^16 by definition")]
fn is_past(expires: u16, now: u32) -> bool {
    u64::from((now as u16).wrapping_sub(expires)) < LONGEST
}

/// From `now` to the beginning of an expiry tick; zero when it has come.
#[expect(clippy::cast_possible_truncation, reason = "modulo 2^16 by definition")]
fn left_until(expires: u16, now: Instant) -> Duration {
    let tick = tick_at(now);
    if is_past(expires, tick) {
        return Duration::ZERO;
    }
    let ticks = expires.wrapping_sub(tick as u16);
    (TICK * u32::from(ticks)).saturating_sub(now.since(Instant::ZERO + TICK * tick))
}

fn is_after(a: u32, b: u32) -> bool {
    Seq(a).follows(Seq(b))
}

impl Tcp {
    /// A segment for a connection in TIME-WAIT (RFC 9293 section 3.10.7.4).
    pub(crate) fn input_time_wait(
        &mut self,
        cx: &mut Cx,
        index: u32,
        segment: &Segment,
        frame: &mut Option<Frame>,
    ) -> Result<(), DropReason> {
        let Some(record) = self.time_wait.get(index) else {
            return Ok(());
        };
        let event = record.event(segment);
        let action = State::TimeWait.on(event).action;
        match action {
            Action::Ignore if event == Event::Reset => return Err(DropReason::BadReset),
            Action::Ignore => return Ok(()),
            // Where nobody listens the record stays, or any SYN would end it.
            Action::Reopen if self.listener_for(&segment.key).is_some() => {
                self.shared.stats.time_wait_reused += 1;
                self.forget_time_wait(index);
                return self.input_no_connection(cx, segment, frame).map(|_| ());
            }
            _ => {}
        }
        let options = Options {
            timestamps: record
                .timestamps
                .then(|| self.shared.timestamps(cx.now, record.ts_recent)),
            ..Options::default()
        };
        let ack = super::reset::header(
            record.key,
            Flags::ACK,
            record.snd_nxt,
            record.rcv_nxt,
            record.window,
            options,
        );
        self.shared.reply(segment.key, ack);
        if action == Action::StartTimeWait {
            self.time_wait
                .restart(cx.now, index, self.shared.config.time_wait());
        }
        Ok(())
    }

    /// A connect takes over a flow in TIME-WAIT, where it may (`time_wait_reuse`):
    /// the sequence number that it must begin past. Its timestamps are later than
    /// all that the old connection sent, so neither peer takes one for the other
    /// (RFC 6191 section 2).
    pub(crate) fn take_over(&mut self, now: Instant, key: &FlowKey) -> Option<Seq> {
        let Some(Flow::TimeWait(index)) = self.lookup(key) else {
            return None;
        };
        let config = &self.shared.config;
        let record = self.time_wait.get(index)?;
        let waited = config.time_wait().saturating_sub(record.left(now));
        if !config.time_wait_reuse || !record.timestamps || waited < REUSE_AFTER {
            return None;
        }
        let snd_nxt = record.snd_nxt;
        self.forget_time_wait(index);
        self.shared.stats.time_wait_reused += 1;
        Some(snd_nxt)
    }

    fn forget_time_wait(&mut self, index: u32) {
        if let Some(record) = self.time_wait.remove(index) {
            self.forget_flow(index, self.hash(&record.key), &record);
        }
    }

    fn forget_flow(&mut self, index: u32, hash: u64, record: &TimeWait) {
        self.shared
            .table
            .remove(hash, Flow::TimeWait(index).value());
        if record.active {
            self.shared.ports.release(&record.key);
        }
    }

    /// Ends the records whose 2 MSL are over, as many as one step may. Their places in
    /// the flow table are waited for together.
    pub(crate) fn reap_time_wait(&mut self, now: Instant) {
        let mut budget = REAPED_MAX;
        let mut over = std::mem::take(&mut self.time_wait.over);
        while let Some((index, record)) = self.time_wait.pop_expired(now, &mut budget) {
            let hash = self.hash(&record.key);
            self.shared.table.touch(hash);
            over.push((index, hash, record));
        }
        for (index, hash, record) in over.drain(..) {
            self.forget_flow(index, hash, &record);
            self.shared.stats.time_wait_expired += 1;
        }
        self.time_wait.over = over;
    }

    pub(crate) fn time_wait_deadline(&self) -> Option<Instant> {
        self.time_wait.next_deadline()
    }

    /// Drops every TIME-WAIT record, as a host does that shuts down.
    pub(crate) fn abandon_time_wait(&mut self) -> usize {
        let indices: Vec<u32> = self
            .time_wait
            .records
            .iter()
            .map(|(index, _)| index)
            .collect();
        for &index in &indices {
            self.forget_time_wait(index);
        }
        indices.len()
    }
}

impl TimeWait {
    /// What is left of its 2 MSL.
    pub(super) fn left(&self, now: Instant) -> Duration {
        left_until(self.expires, now)
    }

    /// What a segment is to the record.
    fn event(&self, segment: &Segment) -> Event {
        let Header { flags, seq, .. } = segment.header;
        let (len, end) = (segment.len(), seq + segment.len());
        match flags {
            _ if flags.contains(Flags::RST) => Event::Reset,
            _ if flags.contains(Flags::SYN) && !flags.contains(Flags::ACK) => {
                // A FIN beside the SYN is no connection request of any stack's.
                if self.may_reopen(segment) && !flags.contains(Flags::FIN) {
                    Event::Syn
                } else {
                    Event::OutOfWindow
                }
            }
            _ if len == 0 && seq == self.rcv_nxt => Event::AckOfFin,
            _ if flags.contains(Flags::FIN) && end == self.rcv_nxt => Event::Fin,
            _ => Event::OutOfWindow,
        }
    }

    /// A SYN may open a new connection when it cannot be an old duplicate: its
    /// timestamp is later (RFC 6191 section 2), or, without timestamps, its
    /// sequence number is past all that was received (RFC 9293 section 3.6.1, MAY-2).
    /// With timestamps TIME-WAIT is as short as a peer wants (SHLD-4).
    fn may_reopen(&self, segment: &Segment) -> bool {
        match segment.header.options.timestamps {
            Some(offered) if self.timestamps => {
                let (new, old) = (Seq(offered.value), Seq(self.ts_recent));
                new.follows(old) || (new == old && segment.header.seq.follows(self.rcv_nxt))
            }
            _ => segment.header.seq.follows(self.rcv_nxt),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    fn record(port: u16) -> TimeWait {
        TimeWait {
            key: FlowKey {
                local: 0,
                remote: Ipv4Addr::new(198, 18, 0, 2).into(),
                local_port: port,
                remote_port: 80,
            },
            snd_nxt: Seq(0),
            rcv_nxt: Seq(0),
            ts_recent: 0,
            next: NONE,
            previous: NONE,
            window: 0,
            expires: 0,
            timestamps: false,
            active: false,
        }
    }

    proptest! {
        /// Records end at or after their time, in at most two ticks more, whatever
        /// is inserted, restarted and removed, with lengths past the wheel's round.
        #[test]
        fn reaping_agrees_with_a_sorted_map(ops in prop::collection::vec((0u8..4, 0u64..200_000, 0u16..32), 1..120)) {
            let mut now = Instant::from_millis(77);
            let mut table = TimeWaitTable::new(64, now);
            let mut model: BTreeMap<u32, Instant> = BTreeMap::new();
            for (op, millis, pick) in ops {
                let length = Duration::from_millis(millis);
                let picked = model.keys().nth(usize::from(pick) % model.len().max(1)).copied();
                match (op, picked) {
                    (0, _) => if let Some(index) = table.insert(now, record(pick), length) {
                        model.insert(index, now + length);
                    },
                    (1, Some(index)) => {
                        table.restart(now, index, length);
                        model.insert(index, now + length);
                    }
                    (2, Some(index)) => {
                        table.remove(index);
                        model.remove(&index);
                    }
                    _ => now += length / 8,
                }
                let mut budget = usize::MAX;
                while let Some((index, _)) = table.pop_expired(now, &mut budget) {
                    let due = model.remove(&index).unwrap();
                    prop_assert!(due <= now, "reaped {:?} early", due.since(now));
                }
                prop_assert!(model.values().all(|&due| due + 2 * TICK > now), "reaped late");
                prop_assert_eq!(table.len(), model.len());
            }
        }
    }

    #[test]
    fn a_budget_bounds_a_step_and_nothing_is_forgotten() {
        let mut table = TimeWaitTable::new(64, Instant::ZERO);
        for port in 0..20 {
            table
                .insert(Instant::ZERO, record(port), Duration::from_secs(1))
                .unwrap();
        }
        let now = Instant::from_millis(5_000);
        let mut reaped = Vec::new();
        for _ in 0..10 {
            let mut budget = 3;
            while let Some((index, _)) = table.pop_expired(now, &mut budget) {
                reaped.push(index);
            }
            assert!(reaped.len() % 3 == 0 || reaped.len() == 20);
        }
        assert_eq!(reaped.len(), 20);
    }
}
