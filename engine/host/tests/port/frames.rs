//! Frames between two ports: all arrive, in order, and none is lost on the way.

use crate::packets::{number, tcp};
use crate::{NAME, Port, Wire};
use ringmill::xdp::MTU_MAX;
use ringmill::{Interface, Owned, XdpConfig, XdpMode};
use ringmill_core::driver::{Driver as _, DriverDrops};
use ringmill_core::frame::{Batch, Frame, HEADROOM};
use ringmill_core::time::Instant;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const NEAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const FAR: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);

fn own(address: Ipv4Addr) -> [Owned; 1] {
    [Owned::Address(IpAddr::V4(address))]
}

/// Sends packets `first..first + count` in one batch.
fn send_batch(from: &mut Port, to: Ipv4Addr, first: u32, count: u32) {
    let mut batch = Batch::new();
    for number in first..first + count {
        let packet = tcp(to, 80, number);
        let mut frame = from.pool.alloc().unwrap();
        frame.set_window(HEADROOM, packet.len());
        frame.data_mut().copy_from_slice(&packet);
        batch.push(frame);
    }
    while !batch.is_empty() {
        from.driver.tx(Instant::ZERO, &mut from.pool, &mut batch);
    }
}

#[test]
fn ten_thousand_frames_each_way_arrive_in_order_and_the_port_can_be_opened_again() {
    let Some(wire) = Wire::lay("both-ways", 1, 1_500) else {
        return;
    };
    for _opening in 0..2 {
        let mut near = Port::open(&wire.near, &own(NEAR));
        let mut far = Port::open(&wire.far, &own(FAR));
        let (mut at_near, mut at_far) = (Vec::new(), Vec::new());
        for first in (0..10_000).step_by(50) {
            send_batch(&mut near, FAR, first, 50);
            send_batch(&mut far, NEAR, first, 50);
            at_near.extend(near.receive(50).iter().map(|packet| number(packet)));
            at_far.extend(far.receive(50).iter().map(|packet| number(packet)));
        }
        let all: Vec<u32> = (0..10_000).collect();
        assert_eq!(at_near, all);
        assert_eq!(at_far, all);
        assert_eq!(near.steering.verdicts().unwrap().taken, 10_000);
        near.close();
        far.close();
    }
}

#[test]
fn a_packet_goes_out_whole_wherever_it_lies_and_whatever_it_lies_in() {
    let Some(wire) = Wire::lay("anywhere", 1, 1_500) else {
        return;
    };
    let mut near = Port::open(&wire.near, &own(NEAR));
    let mut far = Port::open(&wire.far, &own(FAR));
    let mut packet = tcp(NEAR, 80, 7);
    packet.extend((0..1_400_u16).map(|i| i.to_be_bytes()[1]));

    let mut batch = Batch::new();
    for head in [0, HEADROOM - 1, HEADROOM, HEADROOM + 100] {
        let mut frame = far.pool.alloc().unwrap();
        frame.set_window(head, packet.len());
        frame.data_mut().copy_from_slice(&packet);
        batch.push(frame);
    }
    batch.push(Frame::copied(&packet));
    far.driver.tx(Instant::ZERO, &mut far.pool, &mut batch);

    assert_eq!(near.receive(5), vec![packet; 5]);
    near.close();
    far.close();
}

#[test]
fn a_received_frame_has_its_headroom_and_can_be_sent_back_as_it_is() {
    let Some(wire) = Wire::lay("bounce", 1, 1_500) else {
        return;
    };
    let mut near = Port::open(&wire.near, &own(NEAR));
    let mut far = Port::open(&wire.far, &own(FAR));
    far.send(&tcp(NEAR, 80, 1));

    let mut batch = Batch::new();
    while batch.is_empty() {
        near.driver.rx(Instant::ZERO, &mut near.pool, &mut batch);
    }
    let mut frame = batch.drain(1).next().unwrap();
    assert_eq!(frame.head(), HEADROOM);
    frame.data_mut()[30..34].copy_from_slice(&FAR.octets());
    batch.push(frame);
    near.driver.tx(Instant::ZERO, &mut near.pool, &mut batch);

    assert_eq!(far.receive(1), [tcp(FAR, 80, 1)]);
    near.close();
    far.close();
}

#[test]
fn frames_of_every_queue_are_received() {
    let Some(wire) = Wire::lay("two-queues", 2, 1_500) else {
        return;
    };
    let mut near = Port::open(&wire.near, &own(NEAR));
    assert_eq!(near.driver.interface().rx_queues, 2);
    // A sender's queue number picks the receiver's queue.
    for queue in [0, 1] {
        let mut far = Port::open_queues(&wire.far, &own(FAR), &[queue]);
        send_batch(&mut far, NEAR, 100 * queue, 50);
        let numbers: Vec<u32> = near
            .receive(50)
            .iter()
            .map(|packet| number(packet))
            .collect();
        assert_eq!(numbers, (100 * queue..100 * queue + 50).collect::<Vec<_>>());
        far.close();
    }
    near.close();
}

#[test]
fn a_port_that_is_closed_while_a_frame_is_out_says_so_and_the_frame_stays_good() {
    let Some(wire) = Wire::lay("missing", 1, 1_500) else {
        return;
    };
    let mut near = Port::open(&wire.near, &own(NEAR));
    let mut kept = near.pool.alloc().unwrap();
    kept.set_window(0, 4);
    let missing = near.driver.close(near.pool).unwrap_err();
    assert_eq!(missing.missing, 1);
    kept.data_mut().copy_from_slice(b"kept");
    assert_eq!(kept.data(), b"kept");
}

#[test]
fn mtus_up_to_a_page_get_frames_that_they_fit_in() {
    let Some(wire) = Wire::lay("mtu", 1, 3_506) else {
        return;
    };
    let mut near = Port::open(&wire.near, &own(NEAR));
    let mut far = Port::open(&wire.far, &own(FAR));
    let mut packet = tcp(NEAR, 80, 0);
    packet.resize(14 + 3_506, 0xab);
    far.send(&packet);
    assert_eq!(near.receive(1), [packet]);
    near.close();
    far.close();
}

#[test]
fn on_a_larger_mtu_packets_that_fit_no_frame_are_dropped_and_counted() {
    let Some(wire) = Wire::lay("jumbo", 1, 9_000) else {
        return;
    };
    // Only the kernel can send more than a frame holds.
    wire.far
        .ip(&["address", "add", "198.18.0.2/24", "dev", NAME])
        .unwrap();
    let mac = wire.near.within(|| Interface::find(NAME)).unwrap().unwrap();
    let mac = mac.mac.map(|byte| format!("{byte:02x}")).join(":");
    let neighbor = ["neighbor", "add", "198.18.0.1", "lladdr", &mac, "dev", NAME];
    wire.far.ip(&neighbor).unwrap();
    let mut near = Port::open(&wire.near, &own(NEAR));
    assert_eq!(near.steering.mode(), XdpMode::Native);
    let icmp = || Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::ICMPV4));
    let icmp = wire.far.within(icmp).unwrap().unwrap();
    let to = SockAddr::from(SocketAddr::from((NEAR, 0)));
    // The kernel writes the IP header.
    let ping = |packet: u32| icmp.send_to(&vec![8; packet as usize - 20], &to).unwrap();
    ping(MTU_MAX);
    let echo = near.receive(1).pop().expect("what fits comes");
    assert_eq!(echo.len(), 14 + MTU_MAX as usize);
    assert_eq!(near.driver.drops(), DriverDrops::default());
    // A tag may be in it too, so the room is a little larger than what is promised.
    ping(MTU_MAX + 5);
    assert!(near.receive(1).is_empty());
    let drops = near.driver.drops();
    assert_eq!(drops.rx_invalid, 1, "{drops:?}");
    near.driver.close(near.pool).unwrap();
}

#[test]
fn skb_mode_delivers_too() {
    let Some(wire) = Wire::lay("skb", 1, 1_500) else {
        return;
    };
    let mut near = Port::open_as(&wire.near, &own(NEAR), &[], XdpMode::Skb, None);
    let mut far = Port::open_as(&wire.far, &own(FAR), &[], XdpMode::Skb, None);
    send_batch(&mut far, NEAR, 0, 64);
    send_batch(&mut near, FAR, 0, 64);
    assert_eq!(near.receive(64).len(), 64);
    assert_eq!(far.receive(64).len(), 64);
    near.close();
    far.close();
}

#[test]
fn an_interface_that_goes_away_shows_as_a_fault_and_loses_no_frame() {
    let Some(wire) = Wire::lay("gone", 1, 1_500) else {
        return;
    };
    let mut near = Port::open(&wire.near, &own(NEAR));
    assert!(near.driver.fault().is_none());
    wire.near.ip(&["link", "delete", NAME]).unwrap();
    near.send(&tcp(FAR, 80, 0));
    let fault = near.driver.fault().expect("the kernel refuses to send");
    assert!(fault.raw_os_error().is_some(), "{fault}");
    near.close();
}

#[test]
fn busy_polling_brings_frames_too() {
    let Some(wire) = Wire::lay("busy-poll", 1, 1_500) else {
        return;
    };
    let config = XdpConfig {
        busy_poll: true,
        ..XdpConfig::new(NAME)
    };
    let mut near = Port::open_with(&wire.near, &own(NEAR), &config, XdpMode::Auto, None);
    let mut far = Port::open(&wire.far, &own(FAR));
    assert!(near.driver.describe().contains(", busy polling"));
    for first in (0..1_000).step_by(50) {
        send_batch(&mut far, NEAR, first, 50);
        assert_eq!(near.receive(50).len(), 50);
        send_batch(&mut near, FAR, first, 50);
        assert_eq!(far.receive(50).len(), 50);
    }
    near.close();
    far.close();
}
