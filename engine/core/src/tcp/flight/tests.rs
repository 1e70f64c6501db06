//! The scoreboard against counts made anew.

use super::*;
use proptest::prelude::*;

const START: Seq = Seq(u32::MAX - 5_000);

#[derive(Clone, Debug)]
enum Op {
    Send(u32),
    Acknowledge(u32),
    Sack(u32, u32),
    DetectLost(u32),
    Timeout,
    Resend,
    Forgive,
    Cut,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (1u32..1_500).prop_map(Op::Send),
        2 => (0u32..4_000).prop_map(Op::Acknowledge),
        3 => (0u32..9_000, 1u32..4_000).prop_map(|(at, len)| Op::Sack(at, len)),
        2 => (0u32..400).prop_map(Op::DetectLost),
        1 => Just(Op::Timeout),
        3 => Just(Op::Resend),
        1 => Just(Op::Forgive),
        1 => Just(Op::Cut),
    ]
}

proptest! {
    /// Whatever happens in whatever order, each byte is delivered once, the
    /// counters are what a count says, and the pipe holds no more than is out.
    #[test]
    fn every_byte_is_delivered_once_and_the_counters_agree(ops in prop::collection::vec(op(), 1..150)) {
        let mut flight = Flight::default();
        let (mut una, mut nxt) = (START, START);
        let mut now = 0;
        let mut delivered_bytes = 0;
        for op in ops {
            now += 50;
            let mut delivered = Delivered::default();
            match op {
                Op::Send(len) => {
                    flight.push(nxt, nxt + len, now);
                    nxt += len;
                }
                Op::Acknowledge(len) => {
                    una = (una + len).min(nxt);
                    flight.acknowledge(una, &mut delivered);
                }
                Op::Sack(at, len) => {
                    let left = (una + 1 + at).min(nxt);
                    flight.sack(SackBlock { left, right: (left + len).min(nxt) }, &mut delivered);
                }
                Op::DetectLost(allowance) => {
                    if let Some((_, back)) = flight.back() {
                        flight.detect_lost(now, back.sent_us, back.end, allowance);
                    }
                }
                Op::Timeout => flight.mark_all_lost(now, 100),
                Op::Resend => if let Some((name, _)) = flight.next_lost() {
                    flight.sent_again(name, now);
                },
                Op::Forgive => flight.forgive(),
                Op::Cut => flight.cut(400),
            }
            delivered_bytes += delivered.bytes;
            prop_assert!(flight.is_consistent(), "{flight:?}");
            let out = nxt.bytes_since(una);
            prop_assert!(flight.pipe() <= out);
            // What is out is delivered above a gap, or not at all; reneging
            // (a timeout with the front delivered) may deliver a byte again.
            prop_assert!(delivered_bytes >= una.bytes_since(START) + flight.sacked());
        }
        let mut delivered = Delivered::default();
        flight.acknowledge(nxt, &mut delivered);
        prop_assert!(flight.is_empty() && flight.pipe() == 0);
        prop_assert!(flight.next_lost().is_none());
    }
}

fn three_sent() -> Flight {
    let mut flight = Flight::default();
    for n in 0..3 {
        flight.push(Seq(n * 100), Seq((n + 1) * 100), n * 10);
    }
    flight
}

#[test]
fn what_was_sent_before_a_delivered_segment_is_lost_in_time() {
    let mut flight = three_sent();
    let mut delivered = Delivered::default();
    flight.sack(
        SackBlock {
            left: Seq(200),
            right: Seq(300),
        },
        &mut delivered,
    );
    let newest = delivered.newest.unwrap();
    assert_eq!(
        (newest.seq, delivered.bytes, flight.pipe()),
        (Seq(200), 100, 200)
    );
    // At 110 the first two are 110 and 100 old.
    assert_eq!(
        flight.detect_lost(110, newest.sent_us, newest.end, 105),
        Some(5)
    );
    assert_eq!(flight.next_lost().map(|(_, lost)| lost.seq), Some(Seq(0)));
    assert_eq!(
        flight.detect_lost(115, newest.sent_us, newest.end, 105),
        None
    );
    assert_eq!(flight.pipe(), 0);
    // Sent again, it is in the pipe, and later in the order of sending.
    flight.sent_again(0, 120);
    assert_eq!(
        (flight.pipe(), flight.next_lost().map(|(_, lost)| lost.seq)),
        (100, Some(Seq(100)))
    );
    assert_eq!(
        flight.detect_lost(500, newest.sent_us, newest.end, 105),
        None
    );
}

/// Attack case 39 (CVE-2019-11478): acknowledgments that name all that was delivered
/// again and again, from one byte on or from any, cost no walk over all of it.
#[test]
fn an_acknowledgment_costs_what_it_changes() {
    const SEGMENTS: u32 = 10_000;
    for step in [0, 37] {
        let mut flight = Flight::default();
        for n in 0..SEGMENTS {
            flight.push(Seq(n * 100), Seq((n + 1) * 100), n);
        }
        for n in 1..SEGMENTS {
            let left = Seq(100 * (1 + step * n % n));
            let right = Seq(100 * (n + 1));
            flight.sack(SackBlock { left, right }, &mut Delivered::default());
        }
        assert_eq!(flight.sacked_segments(), SEGMENTS - 1);
        let most = 20 * u64::from(SEGMENTS);
        assert!(flight.walked <= most, "{}", flight.walked);
    }
}

#[test]
fn a_segment_that_arrives_below_a_delivered_one_shows_reordering() {
    let mut flight = three_sent();
    let mut delivered = Delivered::default();
    flight.sack(
        SackBlock {
            left: Seq(100),
            right: Seq(300),
        },
        &mut delivered,
    );
    assert_eq!(delivered.reordered, 0);
    flight.acknowledge(Seq(300), &mut delivered);
    assert_eq!(delivered.reordered, 300);
}

#[test]
fn a_peer_that_takes_back_a_selective_acknowledgment_is_sent_all_of_it() {
    let mut flight = three_sent();
    let mut delivered = Delivered::default();
    flight.sack(
        SackBlock {
            left: Seq(100),
            right: Seq(200),
        },
        &mut delivered,
    );
    flight.acknowledge(Seq(100), &mut delivered);
    flight.mark_all_lost(1_000, 100);
    let lost: Vec<Seq> = std::iter::from_fn(|| {
        let (name, lost) = flight.next_lost()?;
        flight.sent_again(name, 1_000);
        Some(lost.seq)
    })
    .collect();
    assert_eq!(lost, [Seq(100), Seq(200)]);
}

impl Flight {
    /// What the counters say, counted anew.
    fn is_consistent(&self) -> bool {
        let sum = |is_it: fn(&Sent) -> bool| -> u32 {
            self.records
                .iter()
                .filter(|r| is_it(r))
                .map(Sent::len)
                .sum()
        };
        let linked = self.records.iter().filter(|r| r.is_linked()).count();
        let mut walked = Vec::new();
        let mut name = self.oldest;
        while let Some(record) = self.get(name)
            && walked.len() <= linked
        {
            walked.push(*record);
            name = record.newer;
        }
        walked.len() == linked
            && walked.is_sorted_by(|a, b| !b.is_sent_before(a.sent_us, a.end))
            && self.sacked == sum(|r| r.is_sacked)
            && self.lost == sum(|r| r.is_lost)
            && self.again == sum(|r| r.is_again)
            && self.records.iter().all(|r| !(r.is_sacked && r.is_lost))
            && self.runs_are_sound()
    }

    /// What a delivered record skips is delivered.
    fn runs_are_sound(&self) -> bool {
        (0..self.records.len()).all(|at| {
            let record = &self.records[at];
            let skipped = at..self.at(record.newer);
            !record.is_sacked || self.records.range(skipped).all(|r| r.is_sacked)
        })
    }
}
