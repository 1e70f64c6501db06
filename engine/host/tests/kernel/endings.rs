//! Connections end in the right state on both sides, whoever opened them and
//! whoever ends them.

use crate::host::{Family, Host, Socket, look, open_pair, wait_for_time_waits, wait_until};
use crate::lab::{Lab, bad, clean, far};
use ringmill_core::tcp::State;
use std::io::ErrorKind;
use std::time::Duration;

/// A way to end a connection.
struct Ending {
    name: &'static str,
    /// The first acts, the second answers.
    play: fn(Box<dyn Socket>, Box<dyn Socket>),
    /// How many TIME-WAITs that makes at the first's and at the second's.
    time_waits: [usize; 2],
}

const ENDINGS: [Ending; 7] = [
    Ending {
        name: "the first shuts down, then the second closes",
        play: shuts_down_first,
        time_waits: [1, 0],
    },
    Ending {
        name: "the first lets go, then the second closes",
        play: lets_go_first,
        time_waits: [1, 0],
    },
    Ending {
        name: "the second goes on sending after the first's FIN",
        play: half_closes,
        time_waits: [1, 0],
    },
    Ending {
        name: "the first aborts",
        play: aborts,
        time_waits: [0, 0],
    },
    Ending {
        name: "the first aborts while its data is under way",
        play: aborts_amid_data,
        time_waits: [0, 0],
    },
    Ending {
        name: "the first lets go of unread data",
        play: leaves_data_unread,
        time_waits: [0, 0],
    },
    Ending {
        name: "data comes for a first that has let go",
        play: is_sent_to_after_it_let_go,
        time_waits: [0, 0],
    },
];

fn shuts_down_first(first: Box<dyn Socket>, second: Box<dyn Socket>) {
    first.shutdown();
    assert_eq!(second.receive_to_end().unwrap(), []);
    second.close();
    assert_eq!(first.receive_to_end().unwrap(), []);
    first.close();
}

fn lets_go_first(first: Box<dyn Socket>, second: Box<dyn Socket>) {
    first.close();
    assert_eq!(second.receive_to_end().unwrap(), []);
    second.close();
}

fn half_closes(first: Box<dyn Socket>, second: Box<dyn Socket>) {
    first.shutdown();
    assert_eq!(second.receive_to_end().unwrap(), []);
    assert_eq!(second.state(), Some(State::CloseWait));
    wait_until("FIN-WAIT-2", || first.state() == Some(State::FinWait2));
    let bytes = vec![7; 200_000];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            second.send(&bytes).unwrap();
            second.close();
        });
        assert!(first.receive_to_end().unwrap() == bytes);
    });
    first.close();
}

fn aborts(first: Box<dyn Socket>, second: Box<dyn Socket>) {
    first.abort();
    assert_was_reset(&*second);
}

fn aborts_amid_data(first: Box<dyn Socket>, second: Box<dyn Socket>) {
    first.send(&[7; 50_000]).unwrap();
    first.abort();
    assert_was_reset(&*second);
}

fn leaves_data_unread(first: Box<dyn Socket>, second: Box<dyn Socket>) {
    second.send(&[7; 1_000]).unwrap();
    wait_until("data to leave unread", || first.is_readable());
    first.close();
    assert_was_reset(&*second);
}

fn is_sent_to_after_it_let_go(first: Box<dyn Socket>, second: Box<dyn Socket>) {
    first.close();
    assert_eq!(second.receive_to_end().unwrap(), []);
    assert_was_reset(&*second);
}

/// It is told of a reset, at the latest when it sends: a RST may be lost, and the
/// next segment calls for another one (RFC 9293, 3.5.2).
fn assert_was_reset(socket: &dyn Socket) {
    let refusal = look(|| {
        std::thread::sleep(Duration::from_millis(2));
        socket.send(&[7]).err()
    });
    let kind = refusal.expect("sending is refused").kind();
    // After the peer's FIN the kernel says EPIPE.
    let is_reset = matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe);
    assert!(is_reset, "{kind:?}");
}

/// Who opens, who acts first, in which family.
fn for_each_cast(lab: &Lab, mut play: impl FnMut(Family, [&dyn Host; 2], usize)) {
    let (engine, kernel) = lab.hosts();
    for family in Family::BOTH {
        for hosts in [[&engine as &dyn Host, &kernel], [&kernel, &engine]] {
            for first in [0, 1] {
                play(family, hosts, first);
            }
        }
    }
}

fn play_all(lab: &Lab) {
    for_each_cast(lab, |family, [opener, acceptor], first| {
        let cast = if first == 0 {
            [opener, acceptor]
        } else {
            [acceptor, opener]
        };
        for ending in &ENDINGS {
            let what = format!(
                "{family:?}, opened by the {}, first is the {}: {}",
                opener.name(),
                cast[0].name(),
                ending.name
            );
            println!("{what}");
            let before = cast.map(Host::time_waits);
            let (opened, accepted) = open_pair(opener, acceptor, family);
            if first == 0 {
                (ending.play)(opened, accepted);
            } else {
                (ending.play)(accepted, opened);
            }
            let [first, second] = ending.time_waits;
            wait_for_time_waits(&what, cast, [before[0] + first, before[1] + second]);
        }
    });
}

#[test]
fn every_ending_leaves_the_right_states_over_a_clean_wire() {
    let Some(lab) = Lab::open("end-clean", clean()) else {
        return;
    };
    play_all(&lab);
}

#[test]
fn every_ending_leaves_the_right_states_over_a_bad_wire() {
    let Some(lab) = Lab::open("end-bad", bad()) else {
        return;
    };
    play_all(&lab);
    assert!(lab.lost() > 0, "the loss was real");
}

#[test]
fn nobody_listens_on_a_closed_port() {
    let Some(lab) = Lab::open("refused", bad()) else {
        return;
    };
    for_each_cast(&lab, |family, [opener, acceptor], _| {
        let refusal = opener.connect(acceptor.closed_port(family)).err();
        let kind = refusal.expect("nobody listens there").kind();
        assert_eq!(
            kind,
            ErrorKind::ConnectionRefused,
            "by the {}",
            acceptor.name()
        );
        wait_for_time_waits("refused", [opener, acceptor], [0, 0]);
    });
}

/// The wire is so long that both FINs are on it at once.
#[test]
fn both_close_at_once_and_both_wait() {
    let Some(lab) = Lab::open("at-once", far()) else {
        return;
    };
    let mut crossed = 0;
    for_each_cast(&lab, |family, [opener, acceptor], _| {
        let hosts = [opener, acceptor];
        let before = hosts.map(Host::time_waits);
        let (opened, accepted) = open_pair(opener, acceptor, family);
        opened.shutdown();
        accepted.shutdown();
        let have_crossed = [&opened, &accepted]
            .iter()
            .all(|socket| socket.state() == Some(State::FinWait1));
        assert_eq!(opened.receive_to_end().unwrap(), []);
        assert_eq!(accepted.receive_to_end().unwrap(), []);
        opened.close();
        accepted.close();
        if have_crossed {
            crossed += 1;
            let expected = before.map(|time_waits| time_waits + 1);
            wait_for_time_waits("both closed at once", hosts, expected);
        } else {
            // This machine held one of them up: the other's FIN was there first.
            wait_until("one to wait", || {
                let after: usize = hosts.map(Host::time_waits).iter().sum();
                let all = hosts.map(Host::states).concat();
                all.len() == after && after > before.iter().sum()
            });
        }
    });
    assert!(crossed > 0, "no FINs have crossed on their way");
}
