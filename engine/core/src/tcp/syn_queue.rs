//! The SYN queue: what is kept of a passive open between its SYN and the ACK of ours, 48
//! bytes and 12 for its timer.
//!
//! A passive open has no control block before its handshake is complete, and a
//! listener no more records than its bound, so a flood of SYNs costs bounded,
//! small memory.

use super::ListenerId;
use super::cookie::Extras;
use super::input::micros;
use super::settings::SettingsId;
use crate::flow::FlowKey;
use crate::seq::Seq;
use crate::slab::Slab;
use crate::time::Instant;
use crate::wheel::Wheel;
use std::num::NonZeroU16;

/// A passive open between its SYN and the ACK of ours.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    pub(crate) key: FlowKey,
    /// The listener's options when the SYN came: what its SYN-ACK says holds.
    pub(super) settings: SettingsId,
    pub(super) irs: Seq,
    pub(super) iss: Seq,
    /// TSval of the SYN, where `offered` has it.
    ts_value: u32,
    pub(super) sent_us: u32,
    pub(super) window: u16,
    /// What the SYN offers, or what one takes that offers none.
    pub(super) mss: NonZeroU16,
    pub(super) listener: ListenerId,
    pub(super) retransmits: u8,
    offered: Offered,
}

const _: () = assert!(Slab::<HalfOpen>::ENTRY_LEN == 48);

/// The rest of what a SYN offered, in a byte: that of [`Extras`], and
#[derive(Clone, Copy, Debug)]
struct Offered(u8);

impl Offered {
    /// timestamps, where we use them;
    const TIMESTAMPS: u8 = 1 << 6;
    /// and that the SYN-ACK is to give a Fast Open cookie.
    const COOKIE: u8 = 1 << 7;

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }
}

/// What a SYN said, or a cookie in its place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Syn {
    pub(super) irs: Seq,
    pub(super) iss: Seq,
    /// TSval, when it had one and we use timestamps.
    pub(super) ts_recent: Option<u32>,
    pub(super) window: u16,
    pub(super) mss: u16,
    pub(super) extras: Extras,
}

impl HalfOpen {
    /// The record of a SYN that came `now`.
    pub(super) fn new(
        now: Instant,
        key: FlowKey,
        listener: ListenerId,
        settings: SettingsId,
        syn: Syn,
    ) -> HalfOpen {
        let timestamps = syn.ts_recent.map_or(0, |_| Offered::TIMESTAMPS);
        HalfOpen {
            key,
            settings,
            irs: syn.irs,
            iss: syn.iss,
            ts_value: syn.ts_recent.unwrap_or(0),
            sent_us: micros(now),
            window: syn.window,
            mss: NonZeroU16::new(syn.mss).unwrap_or(NonZeroU16::MIN),
            listener,
            retransmits: 0,
            offered: Offered(syn.extras.bits() | timestamps),
        }
    }

    pub(super) fn ts_recent(&self) -> Option<u32> {
        let has = self.offered.has(Offered::TIMESTAMPS);
        has.then_some(self.ts_value)
    }

    pub(super) fn extras(&self) -> Extras {
        Extras::from_bits(self.offered.0)
    }

    /// The SYN-ACK is to give a Fast Open cookie.
    pub(super) fn owe_cookie(&mut self) {
        self.offered.0 |= Offered::COOKIE;
    }

    /// It gives it now, and owes it no longer.
    pub(super) fn take_owed_cookie(&mut self) -> bool {
        let owes = self.offered.has(Offered::COOKIE);
        self.offered.0 &= !Offered::COOKIE;
        owes
    }
}

/// The half-open records of all listeners of a shard.
#[derive(Debug)]
pub(crate) struct SynQueue {
    records: Slab<HalfOpen>,
    wheel: Wheel<16>,
}

impl SynQueue {
    pub(crate) fn new(limit: usize, now: Instant) -> SynQueue {
        SynQueue {
            records: Slab::new(limit),
            wheel: Wheel::new(now, limit),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.records.is_full()
    }

    /// A record that is looked at again at `due`, and where it is; given back when there
    /// is no room.
    pub(super) fn insert(&mut self, record: HalfOpen, due: Instant) -> Result<u32, HalfOpen> {
        let index = self.records.insert(record)?;
        self.wheel.schedule(index, due);
        Ok(index)
    }

    pub(super) fn remove(&mut self, index: u32) -> Option<HalfOpen> {
        self.wheel.cancel(index);
        self.records.remove(index)
    }

    /// The records of one listener.
    pub(super) fn of(&self, listener: ListenerId) -> Vec<u32> {
        self.records
            .iter()
            .filter(|(_, record)| record.listener == listener)
            .map(|(index, _)| index)
            .collect()
    }

    pub(super) fn get_mut(&mut self, index: u32) -> Option<&mut HalfOpen> {
        self.records.get_mut(index)
    }

    /// A record is looked at at `due`, no sooner and no later.
    pub(super) fn schedule(&mut self, index: u32, due: Instant) {
        self.wheel.schedule(index, due);
    }

    /// The next record that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<u32> {
        self.wheel.pop_expired(now)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&HalfOpen> {
        self.records.get(index)
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    /// When a record is looked at next.
    pub(super) fn due_at(&self, index: u32) -> Option<Instant> {
        self.wheel.scheduled_at(index)
    }

    pub(crate) fn timers(&self) -> usize {
        self.wheel.len()
    }

    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.wheel.next_deadline()
    }
}
