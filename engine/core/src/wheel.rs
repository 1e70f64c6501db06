//! STAND-IN
use crate::time::{Duration, Instant};
use std::collections::{BTreeMap, BTreeSet};
#[derive(Debug)]
pub struct Wheel { by_time: BTreeSet<(Instant, u32)>, by_id: BTreeMap<u32, Instant> }
impl Wheel {
    pub fn new(_tick: Duration, _now: Instant) -> Self { Self { by_time: BTreeSet::new(), by_id: BTreeMap::new() } }
    pub fn schedule(&mut self, id: u32, at: Instant) { self.cancel(id); self.by_time.insert((at, id)); self.by_id.insert(id, at); }
    pub fn cancel(&mut self, id: u32) -> bool { if let Some(at) = self.by_id.remove(&id) { self.by_time.remove(&(at, id)); true } else { false } }
    pub fn scheduled_at(&self, id: u32) -> Option<Instant> { self.by_id.get(&id).copied() }
    pub fn pop_expired(&mut self, now: Instant) -> Option<u32> { let &(at, id) = self.by_time.first()?; if at > now { return None } self.cancel(id); Some(id) }
    pub fn next_deadline(&self) -> Option<Instant> { self.by_time.first().map(|&(at, _)| at) }
    pub fn len(&self) -> usize { self.by_id.len() }
}
