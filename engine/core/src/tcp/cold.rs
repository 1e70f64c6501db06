//! The part of a connection that exists only while it is needed: while more than one
//! segment is in flight or data waits for data before it, and what congestion has taught.
//!
//! A connection that rests owns none of this. Cold parts are recycled, with the
//! memory that they have grown to, so they are seldom allocated.

use super::Shared;
use super::chunks::List;
use super::congestion::Growth;
use super::fast_open::FastOpening;
use super::flight::Flight;
use super::held_up::Account;
use super::icmp::SoftError;
use super::probing::Search;
use super::rack::Rack;
use super::recovery::Recovery;
use super::right_sizing::RightSizing;
use super::sack::Report;
use super::tcb::Tcb;
use super::watch::Watch;
use crate::seq::Seq;

/// Cold parts that wait to be used again; more than these are freed.
const SPARE_MAX: usize = 4_096;

/// The cold part of a connection.
#[derive(Debug)]
pub(crate) struct Cold {
    /// What was sent and is not acknowledged.
    pub(crate) flight: Flight,
    pub(crate) rack: Rack,
    pub(crate) recovery: Recovery,
    pub(crate) growth: Growth,
    /// The chunk that what is sent next is in, or will be behind, and the sequence number
    /// of its start: a queue of many chunks is not walked for each segment.
    pub(crate) next_chunk: Option<(u32, Seq)>,
    /// The end of the newest segment that was not full.
    pub(crate) small: Option<Seq>,
    /// The search for the path's MTU, once there is doubt.
    pub(crate) search: Option<Search>,
    /// Data past a gap, and how many chunks of it.
    pub(crate) reassembly: List,
    pub(crate) reassembly_len: u32,
    /// The chunk that was put in last.
    pub(crate) reassembly_hint: Option<u32>,
    /// What the next acknowledgment reports.
    pub(crate) report: Report,
    /// The receive buffer that has grown, or that is measured whether it should.
    pub(crate) right_sizing: Option<RightSizing>,
    /// SND.UP and RCV.UP, while there is urgent data.
    pub(crate) snd_up: Option<Seq>,
    pub(crate) rcv_up: Option<Seq>,
    /// An ICMP error that the application has not asked for yet.
    pub(crate) soft_error: Option<SoftError>,
    /// Acknowledgments that are still not delayed, of a young connection.
    pub(crate) quick_acks: u8,
    /// The slow deadline: keep-alive, user timeout, linger.
    pub(crate) watch: Watch,
    /// Fast Open, until the handshake is complete.
    pub(crate) fast_open: Option<FastOpening>,
    /// How long what held data up.
    pub(crate) account: Account,
}

impl Default for Cold {
    fn default() -> Cold {
        Cold {
            flight: Flight::default(),
            rack: Rack::default(),
            recovery: Recovery::default(),
            growth: Growth::default(),
            next_chunk: None,
            small: None,
            search: None,
            reassembly: List::EMPTY,
            reassembly_len: 0,
            reassembly_hint: None,
            report: Report::default(),
            right_sizing: None,
            snd_up: None,
            rcv_up: None,
            soft_error: None,
            quick_acks: 0,
            watch: Watch::default(),
            fast_open: None,
            account: Account::default(),
        }
    }
}

impl Cold {
    fn is_needed(&self) -> bool {
        !(self.flight.is_empty()
            && self.reassembly.is_empty()
            && self.report.is_empty()
            && self.right_sizing.is_none()
            && self.snd_up.is_none()
            && self.rcv_up.is_none()
            && self.soft_error.is_none()
            && self.quick_acks == 0
            && !self.recovery.is_waiting()
            && self.search.is_none()
            && self.watch.is_off()
            && self.fast_open.is_none()
            && !self.account.is_held_up()
            && self.growth.is_blank())
    }

    fn reset(&mut self) {
        let mut flight = std::mem::take(&mut self.flight);
        flight.reset();
        *self = Cold {
            flight,
            ..Cold::default()
        };
    }

    /// The same for one that is not needed: most of it is as new.
    fn reset_blank(&mut self) {
        self.flight.reset();
        self.rack = Rack::default();
        self.recovery = Recovery::default();
        self.growth = Growth::default();
        self.next_chunk = None;
        self.small = None;
        self.reassembly_hint = None;
        self.account = Account::default();
    }
}

impl Tcb {
    /// The cold part, if there is one.
    pub(crate) fn cold(&self) -> Option<&Cold> {
        self.cold.as_deref()
    }

    /// Data past a gap.
    pub(crate) fn reassembly(&self) -> List {
        self.cold().map_or(List::EMPTY, |cold| cold.reassembly)
    }

    /// Data is kept past a gap.
    pub(crate) fn has_reassembly(&self) -> bool {
        self.cold().is_some_and(|cold| !cold.reassembly.is_empty())
    }
}

impl Shared {
    /// The cold part, made if there is none.
    pub(crate) fn warm<'a>(&mut self, tcb: &'a mut Tcb) -> &'a mut Cold {
        let lone = tcb.take_lone();
        let spare = &mut self.spare;
        let cold = tcb
            .cold
            .get_or_insert_with(|| spare.pop().unwrap_or_default());
        if let Some(lone) = lone {
            cold.take_over(&lone);
        }
        cold
    }

    /// Gives up the cold part when nothing is in it.
    pub(crate) fn cool(&mut self, tcb: &mut Tcb) {
        if let Some(mut cold) = tcb.cold.take_if(|cold| !cold.is_needed()) {
            cold.reset_blank();
            self.keep_spare(cold);
        }
    }

    /// Gives up the cold part. Its reassembly queue is the caller's to empty.
    pub(crate) fn drop_cold(&mut self, tcb: &mut Tcb) {
        if let Some(mut cold) = tcb.cold.take() {
            cold.reset();
            self.keep_spare(cold);
        }
    }

    fn keep_spare(&mut self, cold: Box<Cold>) {
        if self.spare.len() < SPARE_MAX {
            self.spare.push(cold);
        }
    }
}
