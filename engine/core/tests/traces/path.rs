//! Path MTU discovery by probing (RFC 4821, RFC 8899).

use crate::peer::{Peer, seg};

/// The peer at the end of a path on which segments of more than `most` bytes
/// vanish.
struct Narrow {
    most: usize,
    next: u32,
    past: Vec<(u32, u32)>,
    largest: usize,
}

impl Narrow {
    /// Takes what comes through and acknowledges it.
    fn acknowledges(&mut self, peer: &mut Peer) {
        let came = peer.takes_all();
        let iss = peer.iss.unwrap();
        self.largest = came.iter().map(|(_, data)| data.len()).max().unwrap_or(0);
        for (header, data) in &came {
            if (1..=self.most).contains(&data.len()) {
                let seq = header.seq.bytes_since(iss);
                self.past
                    .push((seq, seq + u32::try_from(data.len()).unwrap()));
            }
        }
        self.past.sort_unstable();
        for &(left, right) in &self.past {
            if left <= self.next {
                self.next = self.next.max(right);
            }
        }
        self.past.retain(|&(left, _)| left > self.next);
        let blocks: Vec<_> = self.past.iter().rev().take(4).copied().collect();
        peer.sends(seg("A").seq(1).ack(self.next).sack(&blocks));
    }
}

/// No ICMP ever comes. After two timeouts segments are small and get through;
/// then probes find what the path takes, and losing a probe costs no window.
#[test]
fn a_black_hole_is_left_and_the_largest_size_that_fits_is_found() {
    let mut peer = Peer::new().listening().handshake_sack();
    let mut path = Narrow {
        most: 1_400,
        next: 1,
        past: Vec::new(),
        largest: 0,
    };
    let id = peer.id();
    for _ in 0..400 {
        while let Ok(1..) = peer.sockets(|_, sockets| sockets.send(id, &[b'x'; 20_000])) {}
        path.acknowledges(&mut peer);
        peer.wait_ms(20);
    }
    let tcp = peer.stats().tcp;
    assert_eq!(tcp.black_holes, 1);
    assert!(path.next > 1_000_000, "{}", path.next);
    assert!((1_385..=1_400).contains(&path.largest), "{}", path.largest);
    assert_eq!(tcp.rto_expired, 2, "only the two that raised the suspicion");
}

/// Two timeouts of small segments say nothing of the path.
#[test]
fn lost_small_segments_are_no_black_hole() {
    let mut peer = Peer::established();
    peer.engine_sends(&[b'x'; 900]);
    peer.wait_ms(1_000);
    assert!(peer.stats().tcp.rto_expired >= 2);
    assert_eq!(peer.stats().tcp.black_holes, 0);
    peer.takes_all();
}
