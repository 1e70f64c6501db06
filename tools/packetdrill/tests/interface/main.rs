//! The adapter as packetdrill uses it: through the shared object and its table
//! of C functions, in virtual time, with packets injected and read back.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

mod script;

use libc::{c_int, c_void};
use ringmill_core::wire::fast_open::FastOpenCookie;
use ringmill_core::wire::tcp::Flags;
use script::{PEER_PORT, PORT, Script};
use std::time::{Duration, Instant};

#[test]
fn a_server_accepts_reads_writes_and_closes() {
    let mut script = Script::new("");
    let (listener, connection) = script.accepted();

    script.inject(Flags::PSH | Flags::ACK, 1, 1, b"hello");
    assert_eq!(script.receive().unwrap().ack, 6, "as Linux, at once");
    assert_eq!(script.write(connection, b"and back"), 8);
    let sent = script.receive().unwrap();
    assert_eq!(
        (sent.flags, sent.data.as_slice()),
        (Flags::PSH | Flags::ACK, &b"and back"[..])
    );
    assert_eq!((sent.seq, sent.ack), (1, 6));
    script.inject(Flags::ACK, 6, 9, b"");

    script.inject(Flags::FIN | Flags::ACK, 6, 9, b"");
    assert_eq!(script.receive().unwrap().ack, 7);
    let mut buffer = [0; 16];
    assert_eq!(script.read(connection, &mut buffer), 5);
    assert_eq!(&buffer[..5], b"hello");
    assert_eq!(
        script.read(connection, &mut buffer),
        0,
        "the end of the stream"
    );
    assert_eq!(script.close(connection), 0);
    let fin = script.receive().unwrap();
    assert_eq!((fin.flags, fin.seq), (Flags::FIN | Flags::ACK, 9));
    script.inject(Flags::ACK, 7, 10, b"");
    // The connection is gone, and what still comes for it is refused.
    script.inject(Flags::ACK, 7, 10, b"");
    assert_eq!(script.receive().unwrap().flags, Flags::RST);
    assert_eq!(script.close(listener), 0);
}

#[test]
fn a_blocking_accept_on_a_second_thread_ends_at_the_instant_of_the_handshake() {
    let mut script = Script::new("");
    let listener = script.listening();
    let start_us = script.clock_us();
    let accepting = script.on_second_thread(move |script| {
        let accepted = script.accept(listener);
        (accepted, script.clock_us())
    });
    script.wait_until_blocked(&accepting);
    script.sleep(100_000);
    script.handshake();
    // Time goes on at once, yet the other thread reads the instant of its end.
    script.sleep(5_000_000);
    let (accepted, end_us) = accepting.join();
    assert!(accepted >= 0, "accepted {accepted}");
    let took_us = end_us - start_us;
    assert!((100_000..100_100).contains(&took_us), "took {took_us} us");
}

#[test]
fn a_blocking_read_goes_on_with_the_packet_that_brings_data() {
    let mut script = Script::new("");
    let (_, connection) = script.accepted();
    let reading = script.on_second_thread(move |script| {
        let mut buffer = [0; 4];
        let read = script.read(connection, &mut buffer);
        (read, buffer, script.clock_us())
    });
    script.wait_until_blocked(&reading);
    let before_us = script.clock_us();
    script.inject(Flags::PSH | Flags::ACK, 1, 1, b"data");
    let (read, buffer, end_us) = reading.join();
    assert_eq!((read, &buffer), (4, b"data"));
    assert!(end_us - before_us < 100, "{} us later", end_us - before_us);
}

#[test]
fn a_blocking_connect_sends_its_syn_and_ends_with_the_answer() {
    let mut script = Script::new("");
    let socket = script.socket();
    let connecting = script.on_second_thread(move |script| {
        let connected = script.connect(socket);
        script.clock_us();
        connected
    });
    script.wait_until_blocked(&connecting);
    let syn = script.receive().unwrap();
    assert_eq!(syn.flags, Flags::SYN);
    script.answer_syn(&syn);
    assert_eq!(connecting.join(), 0);
    assert_eq!(script.receive().unwrap().flags, Flags::ACK);
}

#[test]
fn a_refused_connect_says_so() {
    let mut script = Script::new("");
    let socket = script.socket();
    script.set_nonblocking(socket);
    assert_eq!(script.connect(socket), -1);
    assert_eq!(script.errno(), libc::EINPROGRESS);
    let syn = script.receive().unwrap();
    script.refuse_syn(&syn);
    assert_eq!(
        script.poll(socket, libc::POLLOUT, 0),
        libc::POLLOUT | libc::POLLERR | libc::POLLHUP
    );
    assert_eq!(
        script.option(socket, libc::SOL_SOCKET, libc::SO_ERROR),
        Ok(libc::ECONNREFUSED)
    );
    assert_eq!(
        script.option(socket, libc::SOL_SOCKET, libc::SO_ERROR),
        Ok(0),
        "told once"
    );
}

#[test]
fn an_hour_of_virtual_time_takes_no_time() {
    let mut script = Script::new("");
    let (_, connection) = script.accepted();
    let started = Instant::now();
    assert_eq!(script.write(connection, b"lost"), 4);
    let first = script.receive().unwrap();
    let again = script.receive().unwrap();
    assert_eq!(
        (first.seq, &first.data),
        (again.seq, &again.data),
        "retransmitted"
    );
    let after_us = again.time_us - first.time_us;
    assert!(
        (200_000..1_500_000).contains(&after_us),
        "after {after_us} us"
    );
    script.sleep(3_600_000_000);
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
}

#[test]
fn nothing_that_will_leave_is_no_packet() {
    let mut script = Script::new("");
    script.accepted();
    assert!(script.receive().is_none());
}

#[test]
fn a_nonblocking_call_does_not_wait() {
    let mut script = Script::new("");
    let listener = script.listening();
    script.set_nonblocking(listener);
    assert_eq!(script.accept(listener), -1);
    assert_eq!(script.errno(), libc::EAGAIN);
    script.handshake();
    assert_eq!(script.poll(listener, libc::POLLIN, 0), libc::POLLIN);
    assert!(script.accept(listener) >= 0);
}

#[test]
fn poll_waits_in_virtual_time() {
    let mut script = Script::new("");
    let (_, connection) = script.accepted();
    let before_us = script.clock_us();
    assert_eq!(script.poll(connection, libc::POLLIN, 30), 0);
    let waited_us = script.clock_us() - before_us;
    assert!(
        (30_000..30_100).contains(&waited_us),
        "waited {waited_us} us"
    );
    script.inject(Flags::PSH | Flags::ACK, 1, 1, b"x");
    assert_eq!(script.poll(connection, libc::POLLIN, -1), libc::POLLIN);
}

#[test]
fn an_edge_is_told_once_and_a_level_as_long_as_it_lasts() {
    let mut script = Script::new("");
    let (_, connection) = script.accepted();
    let (input, edge) = (libc::EPOLLIN.cast_unsigned(), libc::EPOLLET.cast_unsigned());
    let (level_triggered, edge_triggered) = (script.epoll(), script.epoll());
    assert_eq!(script.watch(level_triggered, connection, input), 0);
    assert_eq!(script.watch(edge_triggered, connection, input | edge), 0);
    script.inject(Flags::PSH | Flags::ACK, 1, 1, b"one");
    assert_eq!(script.epoll_wait(edge_triggered), Some((input, 77)));
    assert_eq!(script.epoll_wait(edge_triggered), None);
    assert_eq!(script.epoll_wait(level_triggered), Some((input, 77)));
    assert_eq!(script.epoll_wait(level_triggered), Some((input, 77)));
    script.inject(Flags::PSH | Flags::ACK, 4, 1, b"two");
    assert_eq!(script.epoll_wait(edge_triggered), Some((input, 77)));
    let mut buffer = [0; 16];
    assert_eq!(script.read(connection, &mut buffer), 6);
    assert_eq!(script.epoll_wait(level_triggered), None);
}

/// A connection that does not block.
fn nonblocking(script: &mut Script) -> c_int {
    let (_, connection) = script.accepted();
    script.set_nonblocking(connection);
    connection
}

/// Takes `count` segments and acknowledges them.
fn acknowledge(script: &mut Script, count: u32) {
    for _ in 0..count {
        let sent = script.receive().unwrap();
        script.inject(Flags::ACK, 1, sent.seq + 1_460, b"");
    }
}

/// Packets of 22 segments, which are half a window: ten are sent of the first, it is filled
/// again, and where the memory of two is below the buffer's size there is a third.
#[test]
fn a_write_takes_whole_packets_as_long_as_their_memory_is_below_the_buffer_s_size() {
    let mut script = Script::new("tcp_wmem=4096 50000 4194304");
    let connection = nonblocking(&mut script);
    assert_eq!(script.write(connection, &[7; 100_000]), 54 * 1_460);
    assert_eq!(script.write(connection, b"x"), -1);
    assert_eq!(script.errno(), libc::EAGAIN);
    // Once the congestion window is not full the buffer grows to twice as much.
    acknowledge(&mut script, 22);
    assert_eq!(script.poll(connection, libc::POLLOUT, 0), 0);
    acknowledge(&mut script, 1);
    assert_eq!(script.poll(connection, libc::POLLOUT, 0), libc::POLLOUT);
    // One whose size was set does not grow: a third of it has to be free.
    let mut script = Script::new("");
    let connection = nonblocking(&mut script);
    script.set_option(connection, libc::SOL_SOCKET, libc::SO_SNDBUF, 25_000);
    assert_eq!(script.write(connection, &[7; 100_000]), 54 * 1_460);
    acknowledge(&mut script, 30);
    assert_eq!(script.poll(connection, libc::POLLOUT, 0), 0);
    acknowledge(&mut script, 10);
    assert_eq!(script.poll(connection, libc::POLLOUT, 0), libc::POLLOUT);
}

/// One packet is begun while less than that waits, and there is room where half of it does.
#[test]
fn no_packet_is_begun_while_more_than_notsent_lowat_waits() {
    let mut script = Script::new("");
    let connection = nonblocking(&mut script);
    let lowat = 20 * 1_460;
    script.set_option(
        connection,
        libc::IPPROTO_TCP,
        libc::TCP_NOTSENT_LOWAT,
        lowat,
    );
    let edge = libc::EPOLLET.cast_unsigned();
    let out = libc::EPOLLOUT.cast_unsigned();
    let epoll = script.epoll();
    script.watch(epoll, connection, out | edge);
    assert_eq!(script.epoll_wait(epoll), Some((out, 77)));
    assert_eq!(script.write(connection, &[7; 100_000]), 32 * 1_460);
    assert_eq!(script.epoll_wait(epoll), None);
    // Each lets two go; 22 wait, and then ten.
    acknowledge(&mut script, 6);
    assert_eq!(script.epoll_wait(epoll), None);
    acknowledge(&mut script, 1);
    assert_eq!(script.epoll_wait(epoll), Some((out, 77)));
    assert_eq!(script.epoll_wait(epoll), None, "told once");
}

/// What a device refuses was not sent: nothing is in flight.
#[test]
fn a_device_refuses_what_leaves_while_its_file_is_there() {
    let name = format!("ringmill-packetdrill-test-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let mut script = Script::new(&format!("device_refuses={}", file.display()));
    let (_, connection) = script.accepted();
    let start_us = script.clock_us();
    std::fs::write(&file, b"").unwrap();
    assert_eq!(script.write(connection, b"data"), 4);
    script.sleep(1_000_000);
    let info = script.bytes(connection, libc::IPPROTO_TCP, libc::TCP_INFO, 104);
    assert_eq!(info[24..28], [0; 4], "tcpi_unacked");
    std::fs::remove_file(&file).unwrap();
    let sent = script.receive().unwrap();
    assert_eq!(sent.data, b"data");
    assert!(sent.time_us - start_us >= 1_000_000);
    script.inject(Flags::ACK, 1, 5, b"");
    assert!(script.receive().is_none());
}

#[test]
fn bad_pointers_and_numbers_are_errors() {
    let mut script = Script::new("");
    let (_, connection) = script.accepted();
    assert_eq!(script.write_at(connection, std::ptr::null(), 10), -1);
    assert_eq!(script.errno(), libc::EFAULT);
    assert_eq!(script.close(connection), 0);
    assert_eq!(script.write(connection, b"x"), -1);
    assert_eq!(script.errno(), libc::EBADF);
    assert_eq!(
        script.option(connection, libc::SOL_SOCKET, libc::SO_ERROR),
        Err(libc::EBADF)
    );
}

#[test]
fn a_long_burst_carries_the_push_that_offload_sets() {
    let mut script = Script::new("");
    let (_, connection) = script.accepted();
    assert_eq!(script.write(connection, &[7; 5 * 1_460]), 5 * 1_460);
    let pushed: Vec<bool> = (0..5)
        .map(|_| script.receive().unwrap().flags.contains(Flags::PSH))
        .collect();
    // Pairs end in PSH, and so does what was queued. (Reading it back has
    // verified the checksum over the bit.)
    assert_eq!(pushed, [false, true, false, true, true]);
}

/// What is sent again is one packet only where it was one before.
#[test]
fn a_pair_that_is_sent_again_carries_the_push_as_before() {
    let mut script = Script::new("");
    let (_, connection) = script.accepted();
    script.write(connection, &[7; 5 * 1_460]);
    for _ in 0..5 {
        script.receive().unwrap();
    }
    // All is lost but the first; after the timeout slow start brings the rest.
    script.inject(Flags::ACK, 1, 1_461, b"");
    let first = script.receive().unwrap();
    script.inject(Flags::ACK, 1, 1_461 + 1_460, b"");
    let rest = [script.receive().unwrap(), script.receive().unwrap()];
    let pushed = |segment: &script::Segment| segment.flags.contains(Flags::PSH);
    assert_eq!(
        (first.seq, pushed(&first)),
        (1_461, false),
        "half of a pair"
    );
    assert_eq!(rest.each_ref().map(pushed), [false, true]);
}

/// A connection each way, over `script`'s addresses.
fn connects_both_ways(mut script: Script) {
    let (_, connection) = script.accepted();
    script.inject(Flags::PSH | Flags::ACK, 1, 1, b"hello");
    assert_eq!(script.receive().unwrap().ack, 6);
    let mut buffer = [0; 16];
    assert_eq!(script.read(connection, &mut buffer), 5);
    let socket = script.socket();
    script.set_nonblocking(socket);
    script.connect(socket);
    let syn = script.receive().unwrap();
    assert_eq!(syn.flags, Flags::SYN);
    script.answer_syn(&syn);
    assert_eq!(script.receive().unwrap().flags, Flags::ACK);
    assert_eq!(script.poll(socket, libc::POLLOUT, 0), libc::POLLOUT);
}

#[test]
fn ipv6_is_spoken_both_ways() {
    connects_both_ways(Script::new("local=fd3d:fa7b:d17d::1"));
}

/// RFC 3493 section 3.7.
#[test]
fn sockets_of_ipv6_speak_ipv4_by_mapped_addresses() {
    connects_both_ways(Script::mapped());
    let mut script = Script::mapped();
    let listener = script.listening();
    script.handshake();
    let (mut address, mut len) = ([0u8; 28], 28);
    script.accept_from(listener, address.as_mut_ptr().cast::<c_void>(), &mut len);
    assert_eq!(len, 28);
    assert_eq!(
        address[8..24],
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 192, 0, 2, 1]
    );
}

/// The cookies that the runner writes into scripts in the place of Linux's.
#[test]
fn cookies_are_those_that_scripts_are_given() {
    let expected = [
        ("", "6de0eadbf415bd6f"),
        ("local=fd3d:fa7b:d17d::1", "dfe53c16de830a2d"),
    ];
    for (flags, expected) in expected {
        let mut script = Script::new(flags);
        script.listening();
        script.inject_with(Flags::SYN, 0, 0, b"", Some(FastOpenCookie::REQUEST));
        let answer = script.receive().unwrap();
        let cookie = answer.header.options.fast_open.unwrap();
        let digits: String = cookie
            .as_slice()
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert_eq!(digits, expected);
    }
}

/// Once there is a cookie, what fits into the SYN goes with it.
#[test]
fn a_fast_open_sends_with_its_syn() {
    let mut script = Script::new("");
    let first = script.socket();
    script.set_nonblocking(first);
    assert_eq!(script.open_and_send(first, b"GET"), -1);
    assert_eq!(script.errno(), libc::EINPROGRESS);
    let syn = script.receive().unwrap();
    assert!(syn.data.is_empty());
    let cookie = FastOpenCookie::new(&[7; 8]);
    script.inject_with(Flags::SYN | Flags::ACK, 0, 1, b"", cookie);
    script.receive().unwrap();
    let second = script.socket();
    script.set_nonblocking(second);
    // The MSS, less the options that a SYN may have.
    assert_eq!(script.open_and_send(second, &[b'x'; 5_000]), 1_420);
    let syn = script.receive().unwrap();
    assert_eq!(
        (syn.header.options.fast_open, syn.data.len()),
        (cookie, 1_420)
    );
    assert_eq!(script.poll(second, libc::POLLOUT, 0), 0, "the SYN has left");
    script.inject(Flags::SYN | Flags::ACK, 0, 1_421, b"");
    assert_eq!(script.poll(second, libc::POLLOUT, 0), libc::POLLOUT);
}

#[test]
fn descriptors_are_real_and_closed_by_close() {
    let mut script = Script::new("");
    let socket = script.socket();
    // SAFETY: fcntl looks at a number and at nothing else.
    assert!(unsafe { libc::fcntl(socket, libc::F_GETFD) } >= 0);
    assert_eq!(script.close(socket), 0);
}

#[test]
fn two_engines_do_not_know_of_each_other() {
    let (mut one, mut other) = (Script::new(""), Script::new("local=192.168.7.7"));
    let listener = one.listening();
    other.set_nonblocking(listener);
    assert_eq!(other.errno(), libc::EBADF);
    other.handshake_refused();
    let connection: c_int = {
        one.handshake();
        one.accept(listener)
    };
    assert!(connection >= 0);
}

#[test]
fn ports_and_addresses_come_back_in_the_form_of_c() {
    let mut script = Script::new("");
    let listener = script.listening();
    script.handshake();
    let mut address = [0u8; 16];
    let mut len = 16;
    let accepted = script.accept_from(listener, address.as_mut_ptr().cast::<c_void>(), &mut len);
    assert!(accepted >= 0);
    assert_eq!(len, 16);
    assert_eq!(u16::from_ne_bytes([address[0], address[1]]), 2, "AF_INET");
    assert_eq!(u16::from_be_bytes([address[2], address[3]]), PEER_PORT);
    assert_eq!(address[4..8], [192, 0, 2, 1]);
    assert_ne!(PEER_PORT, PORT);
}

#[test]
fn tcp_info_has_the_layout_of_linux() {
    let mut script = Script::new("");
    let (_, connection) = script.accepted();
    let info = script.bytes(connection, libc::IPPROTO_TCP, libc::TCP_INFO, 104);
    let word = |at: usize| u32::from_ne_bytes(info[at..at + 4].try_into().unwrap());
    assert_eq!((info[0], info[1]), (1, 0), "TCP_ESTABLISHED, TCP_CA_Open");
    assert_eq!(word(16), 1_460, "tcpi_snd_mss");
    assert_eq!(
        (word(80), word(84)),
        (10, 1_460),
        "tcpi_snd_cwnd, tcpi_advmss"
    );
}
