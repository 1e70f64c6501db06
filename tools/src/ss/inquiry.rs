//! What a shard is asked for between its steps: its sockets, a part at a time.
//!
//! ```text
//! one who asks --(empty list)--> queue --> shard: a part, then back into the queue
//!      ^                           ^___________|   |
//!      |_______________(list that is full or whole)
//! ```
//!
//! The list and its memory are the asker's. Where nobody asks, a step costs the shard a
//! look at an empty queue: two loads.

use crossbeam_queue::ArrayQueue;
use ringmill_core::app::App;
use ringmill_core::driver::Driver;
use ringmill_core::shard::Shard;
use ringmill_core::tcp::Listing;
use ringmill_core::time::Instant;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Who may ask a shard at a time; others wait.
const ASKERS_MAX: usize = 16;
/// How often one who waits looks again.
const NAP: Duration = Duration::from_micros(100);

#[derive(Debug)]
struct Inquiry {
    listing: Listing,
    answer: Arc<ArrayQueue<Listing>>,
}

/// The inquiries to one shard.
#[derive(Clone, Debug)]
pub(crate) struct Inquiries(Arc<ArrayQueue<Inquiry>>);

impl Default for Inquiries {
    fn default() -> Inquiries {
        Inquiries(Arc::new(ArrayQueue::new(ASKERS_MAX)))
    }
}

impl Inquiries {
    /// Has the shard go on with a list until it is full or whole. The shard must be
    /// stepped meanwhile, by another thread.
    pub(crate) fn ask(&self, listing: Listing) -> Listing {
        let answer = Arc::new(ArrayQueue::new(1));
        let mut inquiry = Inquiry {
            listing,
            answer: Arc::clone(&answer),
        };
        while let Err(refused) = self.0.push(inquiry) {
            inquiry = refused;
            thread::sleep(NAP);
        }
        loop {
            match answer.pop() {
                Some(listing) => return listing,
                None => thread::sleep(NAP),
            }
        }
    }

    /// Does a part of what one asks for, between two steps of the shard.
    #[inline]
    pub(crate) fn answer<D: Driver, A: App>(&self, now: Instant, shard: &Shard<D, A>) {
        if !self.0.is_empty() {
            self.answer_one(now, shard);
        }
    }

    #[cold]
    fn answer_one<D: Driver, A: App>(&self, now: Instant, shard: &Shard<D, A>) {
        let Some(mut inquiry) = self.0.pop() else {
            return;
        };
        shard.list(now, &mut inquiry.listing);
        let is_done = inquiry.listing.is_whole() || !inquiry.listing.has_room();
        // Others had their turn meanwhile. Where they fill the queue this one asks again.
        let done = if is_done {
            Some(inquiry)
        } else {
            self.0.push(inquiry).err()
        };
        if let Some(Inquiry { listing, answer }) = done {
            // There is room: it is the only answer.
            let _ = answer.push(listing);
        }
    }
}
