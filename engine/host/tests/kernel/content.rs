//! What one side sends the other receives: all of it, once, in order.

use crate::host::{Family, Host, PORT, Socket, open_pair, wait_for_time_waits, wait_until};
use crate::lab::{Lab, bad, clean};
use ringmill_core::rng::Rng;
use ringmill_core::tcp::State;
use std::thread;

/// Connections that are open at a time, and how many each place opens in turn.
const PLACES: u64 = 8;
const TURNS: u64 = 8;

/// Bytes without a pattern that a lost or repeated segment could hide in.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::from_seed(seed);
    let words = std::iter::repeat_with(|| rng.next_u64().to_le_bytes());
    words.flatten().take(len).collect()
}

/// Both send at the same time, and close when they are done.
fn stream_both_ways(opened: &dyn Socket, accepted: &dyn Socket, len: usize) {
    let (there, back) = (noise(1, len), noise(2, len));
    thread::scope(|scope| {
        for (socket, bytes) in [(opened, &there), (accepted, &back)] {
            scope.spawn(move || {
                socket.send(bytes).unwrap();
                socket.shutdown();
            });
        }
        let came_back = scope.spawn(|| opened.receive_to_end().unwrap());
        assert!(accepted.receive_to_end().unwrap() == there, "there");
        assert!(came_back.join().unwrap() == back, "and back");
    });
}

/// What connection `number` asks and is answered: of some length, also none.
fn question(number: u64) -> Vec<u8> {
    let len = Rng::from_seed(number).below(3_000);
    let noise = noise(number, usize::try_from(len).unwrap());
    [&number.to_be_bytes()[..], &noise].concat()
}

fn answer(number: u64) -> Vec<u8> {
    question(!number)
}

/// Many small connections, several at a time: the opener asks and closes, the
/// acceptor answers and closes.
fn ask_many(opener: &dyn Host, acceptor: &dyn Host, family: Family) {
    let target = (acceptor.address(family), PORT).into();
    thread::scope(|scope| {
        for place in 0..PLACES {
            scope.spawn(move || {
                for turn in 0..TURNS {
                    let number = place * TURNS + turn;
                    let socket = opener.connect(target).unwrap();
                    socket.send(&question(number)).unwrap();
                    socket.shutdown();
                    let answered = socket.receive_to_end().unwrap();
                    assert!(answered == answer(number), "connection {number}");
                    socket.close();
                }
            });
            scope.spawn(move || {
                for _ in 0..TURNS {
                    let socket = acceptor.accept(family);
                    let asked = socket.receive_to_end().unwrap();
                    let number = u64::from_be_bytes(asked[..8].try_into().unwrap());
                    assert!(asked == question(number), "connection {number}");
                    socket.send(&answer(number)).unwrap();
                    socket.close();
                }
            });
        }
    });
}

fn converse(lab: &Lab, stream_len: usize) {
    let (engine, kernel) = lab.hosts();
    for family in Family::BOTH {
        for [opener, acceptor] in [[&engine as &dyn Host, &kernel], [&kernel, &engine]] {
            println!("{family:?}, opened by the {}", opener.name());
            let (opened, accepted) = open_pair(opener, acceptor, family);
            stream_both_ways(&*opened, &*accepted, stream_len);
            opened.close();
            accepted.close();
            // Who closed first waits; here it may have been either, or both.
            wait_until("the end of the stream", || {
                let states = [opener, acceptor].map(Host::states).concat();
                states.iter().all(|&state| state == State::TimeWait)
            });

            let [at_opener, at_acceptor] = [opener, acceptor].map(Host::time_waits);
            ask_many(opener, acceptor, family);
            let count = usize::try_from(PLACES * TURNS).unwrap();
            let expected = [at_opener + count, at_acceptor];
            wait_for_time_waits("many", [opener, acceptor], expected);
        }
    }
}

#[test]
fn both_directions_are_exact_over_a_clean_wire() {
    let Some(lab) = Lab::open("content-clean", clean()) else {
        return;
    };
    converse(&lab, 4 << 20);
}

#[test]
fn both_directions_are_exact_over_a_bad_wire() {
    let Some(lab) = Lab::open("content-bad", bad()) else {
        return;
    };
    converse(&lab, 1 << 20);
    assert!(lab.lost() > 100, "the loss was real");
}
