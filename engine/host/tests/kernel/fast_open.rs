//! Fast Open (RFC 7413) between the engine and the kernel, each as client and as
//! server.

use crate::host::{Family, Host, PORT, wait_until};
use crate::lab::{Lab, clean};
use ringmill_core::driver::link::Link;
use ringmill_core::tcp::State;

/// Opens, asks, is answered and closes: did the question travel with the SYN? Both
/// must know the same.
fn ask(opener: &dyn Host, acceptor: &dyn Host, family: Family, question: &[u8]) -> bool {
    let target = (acceptor.address(family), PORT).into();
    let opened = opener.connect_with(target, question).unwrap();
    let accepted = acceptor.accept(family);
    let mut asked = Vec::new();
    while asked.len() < question.len() {
        asked.extend(accepted.receive().unwrap());
    }
    assert!(asked == question);
    accepted.send(b"answer").unwrap();
    accepted.shutdown();
    assert_eq!(opened.receive_to_end().unwrap(), b"answer");
    let took = [&opened, &accepted].map(|socket| socket.took_syn_data());
    opened.close();
    assert_eq!(accepted.receive_to_end().unwrap(), []);
    accepted.close();
    assert_eq!(took[0], took[1], "client and server");
    took[0]
}

fn for_each_way(lab: &Lab, converse: impl Fn(&dyn Host, &dyn Host, Family)) {
    let (engine, kernel) = lab.hosts();
    for family in Family::BOTH {
        for [opener, acceptor] in [[&engine as &dyn Host, &kernel], [&kernel, &engine]] {
            println!("{family:?}, opened by the {}", opener.name());
            converse(opener, acceptor, family);
        }
    }
    wait_until("only TIME-WAIT is left", || {
        let states = [&engine as &dyn Host, &kernel].map(Host::states).concat();
        states.iter().all(|&state| state == State::TimeWait)
    });
}

/// The first connection gives a cookie, and each that follows takes its question
/// along: one that fits the SYN, and one whose rest comes behind it.
#[test]
fn each_understands_the_others_cookies() {
    let Some(lab) = Lab::open("fast-open", clean()) else {
        return;
    };
    for_each_way(&lab, |opener, acceptor, family| {
        assert!(!ask(opener, acceptor, family, b"first"));
        assert!(ask(opener, acceptor, family, b"second"));
        assert!(ask(opener, acceptor, family, &[b'x'; 20_000]));
    });
}

/// SYNs, SYN-ACKs and ACKs get lost. Nothing is repeated on the way: the data of a
/// SYN that comes twice may be a connection of its own.
#[test]
fn every_question_is_answered_over_a_wire_that_loses() {
    let link = Link {
        loss: 100_000,
        ..clean()
    };
    let Some(lab) = Lab::open("fast-open-loss", link) else {
        return;
    };
    for_each_way(&lab, |opener, acceptor, family| {
        for n in 0..12 {
            ask(opener, acceptor, family, &[n; 3_000]);
        }
    });
    assert!(lab.lost() > 10, "the loss was real");
}
