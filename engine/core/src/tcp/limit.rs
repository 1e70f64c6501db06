//! A limit on segments that anybody can provoke.
//!
//! The allowance of each second is drawn anew, between half the limit and all of
//! it: a limit of a known size that all share would tell an observer how many
//! segments others provoked (CVE-2016-5696).

use crate::rng::Rng;
use crate::time::{Duration, Instant};

/// So many a second, at most.
#[derive(Debug)]
pub(crate) struct RateLimit {
    per_second: u32,
    ends: Instant,
    left: u64,
    rng: Rng,
}

impl RateLimit {
    pub(crate) fn new(per_second: u32, seed: u64) -> RateLimit {
        RateLimit {
            per_second,
            ends: Instant::ZERO,
            left: 0,
            rng: Rng::from_seed(seed),
        }
    }

    /// Takes one of the allowance; false when it is used up.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        if now >= self.ends {
            let half = u64::from(self.per_second / 2);
            self.left = u64::from(self.per_second) - self.rng.below(half + 1);
            self.ends = now + Duration::from_secs(1);
        }
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Attack case 22: how much of the shared allowance is left tells nothing certain of
    /// what others provoked.
    #[test]
    fn each_second_allows_between_half_and_all_and_not_always_the_same() {
        let mut limit = RateLimit::new(1_000, 7);
        let allowed: BTreeSet<usize> = (0..20)
            .map(|second| {
                let now = Instant::from_millis(second * 1_000);
                (0..2_000).filter(|_| limit.take(now)).count()
            })
            .collect();
        assert!(allowed.iter().all(|count| (500..=1_000).contains(count)));
        assert!(allowed.len() > 10, "{allowed:?}");
        assert!(!RateLimit::new(0, 7).take(Instant::ZERO));
    }
}
