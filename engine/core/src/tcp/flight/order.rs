//! The order in which what is held to be in the network was sent last: a list
//! through the records.

use super::{Flight, NONE, Sent};
use std::cmp::Ordering;

impl Flight {
    pub(super) fn link(&mut self, name: u64) {
        let older = std::mem::replace(&mut self.newest, name);
        if let Some(record) = self.get_mut(name) {
            record.older = older;
            record.newer = NONE;
        }
        match older {
            NONE => self.oldest = name,
            _ => {
                if let Some(record) = self.get_mut(older) {
                    record.newer = name;
                }
            }
        }
    }

    pub(super) fn unlink(&mut self, name: u64) {
        let Some(&Sent { older, newer, .. }) = self.get(name) else {
            return;
        };
        match older {
            NONE => self.oldest = newer,
            _ => {
                if let Some(record) = self.get_mut(older) {
                    record.newer = newer;
                }
            }
        }
        match newer {
            NONE => self.newest = older,
            _ => {
                if let Some(record) = self.get_mut(newer) {
                    record.older = older;
                }
            }
        }
    }

    /// Makes the order of sending anew; for what happens seldom.
    pub(super) fn relink(&mut self) {
        (self.oldest, self.newest) = (NONE, NONE);
        let mut order: Vec<usize> = (0..self.records.len())
            .filter(|&at| self.records[at].is_linked())
            .collect();
        order.sort_by(|&a, &b| {
            let (a, b) = (&self.records[a], &self.records[b]);
            if a.is_sent_before(b.sent_us, b.end) {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        });
        for at in order {
            self.link(self.name(at));
        }
    }
}
