//! Sets of socket options, shared by all connections that have the same: a
//! connection holds two bytes that name its set, so a million that a listener
//! accepted own no options of their own.
//!
//! Setting one option of one connection moves it to another set.

use super::congestion::{Algorithm, initial_window};
use super::connect::MSS_FLOOR;
use super::tcb::TcbFlags;
use super::{ConnectionId, OptionError, Shared, SocketOption, SocketOptions, Tcb, Tcp};
use crate::time::Instant;
use crate::wire::ip::Service;
use std::collections::BTreeMap;

/// A set of options in the table. Whoever keeps one is counted, and gives it
/// back by [`Settings::release`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SettingsId(u16);

#[derive(Debug)]
struct Entry {
    options: SocketOptions,
    users: u32,
}

/// All sets that are in use, each once.
#[derive(Debug)]
pub(crate) struct Settings {
    entries: Vec<Entry>,
    free: Vec<u16>,
    by_options: BTreeMap<SocketOptions, u16>,
    limit: usize,
}

impl Settings {
    /// Room for `limit` different sets, 65,536 at most.
    pub(crate) fn new(limit: usize) -> Settings {
        Settings {
            entries: Vec::new(),
            free: Vec::new(),
            by_options: BTreeMap::new(),
            limit: limit.min(1 << 16),
        }
    }

    /// The set of these options; none when the table is full (ENOBUFS).
    pub(crate) fn intern(&mut self, options: SocketOptions) -> Option<SettingsId> {
        if let Some(&id) = self.by_options.get(&options) {
            self.entries[usize::from(id)].users += 1;
            return Some(SettingsId(id));
        }
        let entry = Entry { options, users: 1 };
        let id = if let Some(id) = self.free.pop() {
            self.entries[usize::from(id)] = entry;
            id
        } else {
            let id = u16::try_from(self.entries.len()).ok()?;
            if self.entries.len() >= self.limit {
                return None;
            }
            self.entries.push(entry);
            id
        };
        self.by_options.insert(options, id);
        Some(SettingsId(id))
    }

    /// One more user of a set.
    pub(crate) fn share(&mut self, id: &SettingsId) -> SettingsId {
        self.entries[usize::from(id.0)].users += 1;
        SettingsId(id.0)
    }

    /// One user less; the set goes with its last.
    pub(crate) fn release(&mut self, id: SettingsId) {
        let entry = &mut self.entries[usize::from(id.0)];
        entry.users -= 1;
        if entry.users == 0 {
            self.by_options.remove(&entry.options);
            self.free.push(id.0);
        }
    }

    /// Moves a user to the set that differs in one option.
    pub(crate) fn change(
        &mut self,
        id: &mut SettingsId,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        let options = self.get(id).with(option)?;
        let new = self.intern(options).ok_or(OptionError::NoBuffers)?;
        self.release(std::mem::replace(id, new));
        Ok(())
    }

    /// The options of a set.
    pub(crate) fn get(&self, id: &SettingsId) -> &SocketOptions {
        &self.entries[usize::from(id.0)].options
    }

    /// Sets in use.
    pub(crate) fn len(&self) -> usize {
        self.by_options.len()
    }
}

impl Tcp {
    /// Sets an option of a connection; what waits for it leaves now. Those of Fast
    /// Open come too late: the connection is open, or about to be.
    pub(crate) fn set_option(
        &mut self,
        now: Instant,
        id: ConnectionId,
        option: SocketOption,
    ) -> Result<(), OptionError> {
        if matches!(
            option,
            SocketOption::FastOpen(_) | SocketOption::FastOpenConnect(_)
        ) {
            return Err(OptionError::Invalid);
        }
        let Tcp {
            connections,
            shared,
            ..
        } = self;
        let tcb = connections
            .get_mut(id.index)
            .filter(|tcb| tcb.generation == id.generation && !tcb.is(TcbFlags::ORPHAN))
            .ok_or(OptionError::BadDescriptor)?;
        shared.settings.change(&mut tcb.settings, option)?;
        if let SocketOption::MaxSegment(mss) = option {
            tcb.mss = tcb.mss.min(mss);
        }
        if let SocketOption::ReceiveBuffer(_) = option
            && let Some(cold) = tcb.cold.as_deref_mut()
        {
            cold.right_sizing = None;
        }
        if option == SocketOption::NoDelay(true) && tcb.unsent() > 0 {
            // As Linux: what is queued goes now, even corked.
            tcb.set(TcbFlags::FLUSH);
        }
        tcb.restart_watch();
        shared.schedule(now, id.index, tcb);
        shared.wake_writer(id.index, tcb);
        shared.queue_output(id.index, tcb);
        Ok(())
    }
}

impl Shared {
    /// The options of a connection.
    pub(crate) fn options(&self, tcb: &Tcb) -> &SocketOptions {
        self.settings.get(&tcb.settings)
    }

    /// TCP_CONGESTION of a connection, or what the shard gives.
    pub(crate) fn congestion(&self, tcb: &Tcb) -> Algorithm {
        self.options(tcb)
            .congestion
            .unwrap_or(self.config.congestion)
    }

    /// The initial congestion window of a connection with such segments.
    pub(crate) fn initial_window(&self, mss: u16) -> u32 {
        initial_window(self.config.initial_window, mss)
    }

    /// IP_TTL and IP_TOS of a connection (RFC 9293 sections 3.9.1.9 and 3.9.2,
    /// MUST-48, MUST-49 and SHLD-22).
    pub(crate) fn service(&self, tcb: &Tcb) -> Service {
        self.service_of(&tcb.settings)
    }

    /// The same of a set.
    pub(crate) fn service_of(&self, settings: &SettingsId) -> Service {
        let options = self.settings.get(settings);
        Service {
            ttl: options.ttl,
            tos: options.tos,
        }
    }

    /// TCP_MAXSEG of a set as a bound: no segment in either direction is to carry
    /// more.
    pub(crate) fn max_segment(&self, settings: &SettingsId) -> u16 {
        let options = self.settings.get(settings);
        options
            .max_segment
            .map_or(u16::MAX, |mss| mss.max(MSS_FLOOR))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(send_buffer: u32) -> SocketOptions {
        SocketOptions {
            send_buffer: Some(send_buffer),
            ..SocketOptions::default()
        }
    }

    proptest! {
        /// Whatever is interned, shared and released: equal options are one set,
        /// different ones are not, and the table holds those in use.
        #[test]
        fn sets_live_as_long_as_their_users(ops in prop::collection::vec((0u8..3, 0u32..10, 0usize..40), 0..200)) {
            let mut table = Settings::new(8);
            let mut held: Vec<(u32, SettingsId)> = Vec::new();
            for (op, value, pick) in ops {
                let at = pick % held.len().max(1);
                match op {
                    0 => match table.intern(options(value)) {
                        Some(id) => held.push((value, id)),
                        None => prop_assert_eq!(table.len(), 8, "ENOBUFS only when full"),
                    },
                    1 if !held.is_empty() => {
                        let (value, id) = &held[at];
                        let more = (*value, table.share(id));
                        held.push(more);
                    }
                    _ if !held.is_empty() => table.release(held.swap_remove(at).1),
                    _ => {}
                }
                let mut values: Vec<u32> = held.iter().map(|(value, _)| *value).collect();
                values.sort_unstable();
                values.dedup();
                prop_assert_eq!(table.len(), values.len());
                for (value, id) in &held {
                    prop_assert_eq!(table.get(id), &options(*value));
                }
            }
        }
    }
}
