//! What is steered to the engine, and what stays the kernel's.

use crate::packets::{
    FRAGMENT, HOP_BY_HOP, OPTIONS, ROUTING, arp, icmp, icmpv6_echo, neighbor_advertisement,
    neighbor_solicitation, router_advertisement, tagged, tcp, tcp_behind, tcp_behind_options,
    tcp_fragment, tcp_fragment_over_ipv6, tcp_over_ipv6, udp, udp_over_ipv6,
};
use crate::{NAME, Port, Wire};
use ringmill::netns::Namespace;
use ringmill::steer::Verdicts;
use ringmill::{Owned, XdpMode};
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

const KERNEL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const FAR_KERNEL: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 9);
const ENGINE: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
const KERNEL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const ENGINE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The verdicts of what arrives at a port that owns `owned`, packet by packet.
fn judge(test: &str, owned: &[Owned], cases: &[(&str, Vec<u8>, bool)]) {
    judge_in(test, None, owned, cases);
}

/// The same, of a port that owns it in a VLAN.
fn judge_in(test: &str, vlan: Option<u16>, owned: &[Owned], cases: &[(&str, Vec<u8>, bool)]) {
    let Some(wire) = Wire::lay(test, 1, 1_500) else {
        return;
    };
    let mut near = Port::open_as(&wire.near, owned, &[], XdpMode::Auto, vlan);
    let mut far = Port::open(&wire.far, &[]);
    for (name, packet, is_taken) in cases {
        let before = near.steering.verdicts().unwrap();
        far.send(packet);
        let after = wait_for_verdict(&near, before);
        assert_eq!(after.taken - before.taken, u64::from(*is_taken), "{name}");
        assert_eq!(after.passed - before.passed, u64::from(!is_taken), "{name}");
        if *is_taken {
            assert_eq!(near.receive(1), [packet.as_slice()], "{name}");
        }
    }
    near.close();
}

fn wait_for_verdict(port: &Port, before: Verdicts) -> Verdicts {
    for _ in 0..200 {
        let now = port.steering.verdicts().unwrap();
        if now != before {
            return now;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("the packet did not arrive");
}

#[test]
fn an_owned_address_is_the_engines_and_no_other_is() {
    let owned = [Owned::Address(IpAddr::V4(ENGINE))];
    let cases = [
        ("ARP request", arp(1, ENGINE), true),
        ("ARP reply", arp(2, ENGINE), true),
        ("ARP for another", arp(1, KERNEL), false),
        ("ICMP", icmp(ENGINE), true),
        ("ICMP to another", icmp(KERNEL), false),
        ("TCP", tcp(ENGINE, 80, 0), true),
        ("TCP to another", tcp(KERNEL, 80, 0), false),
        ("TCP behind options", tcp_behind_options(ENGINE, 80), true),
        ("a later fragment", tcp_fragment(ENGINE, 80, 64), true),
        ("UDP", udp(ENGINE), false),
        ("a runt", tcp(ENGINE, 80, 0)[..20].to_vec(), false),
    ];
    judge("own-address", &owned, &cases);
}

#[test]
fn an_owned_ipv6_address_is_the_engines_with_its_discovery_and_no_other_is() {
    let owned = [Owned::Address(IpAddr::V6(ENGINE_V6))];
    let behind = |headers: &[u8]| tcp_behind(ENGINE_V6, 80, headers);
    let cut = |len: usize| behind(&[HOP_BY_HOP, OPTIONS])[..14 + 40 + len].to_vec();
    let answer = neighbor_advertisement(ENGINE_V6, KERNEL_V6);
    let answer_to_another = neighbor_advertisement(KERNEL_V6, ENGINE_V6);
    let announcement = neighbor_advertisement(ALL_NODES, KERNEL_V6);
    let fragment = |offset| tcp_fragment_over_ipv6(ENGINE_V6, 80, offset);
    let cases = [
        ("solicitation", neighbor_solicitation(ENGINE_V6), true),
        ("of another", neighbor_solicitation(KERNEL_V6), false),
        ("advertisement", answer, true),
        ("to another", answer_to_another, false),
        ("to all nodes", announcement, false),
        ("router advertisement", router_advertisement(), false),
        ("ICMPv6", icmpv6_echo(ENGINE_V6), true),
        ("ICMPv6 to another", icmpv6_echo(KERNEL_V6), false),
        ("TCP", tcp_over_ipv6(ENGINE_V6, 80), true),
        ("TCP to another", tcp_over_ipv6(KERNEL_V6, 80), false),
        ("UDP", udp_over_ipv6(ENGINE_V6), false),
        ("one header", behind(&[OPTIONS]), true),
        (
            "four",
            behind(&[HOP_BY_HOP, OPTIONS, ROUTING, OPTIONS]),
            true,
        ),
        ("five: too many to look", behind(&[OPTIONS; 5]), true),
        ("a header that is cut", cut(20), true),
        ("a header that is not there", cut(16), true),
        ("a first fragment", fragment(0), true),
        ("a later fragment", fragment(8), true),
    ];
    judge("own-ipv6", &owned, &cases);
}

#[test]
fn a_vlan_is_the_engines_and_neither_the_others_nor_what_is_untagged() {
    let owned = [
        Owned::Address(IpAddr::V4(ENGINE)),
        Owned::Address(IpAddr::V6(ENGINE_V6)),
    ];
    let segment = || tcp(ENGINE, 80, 0);
    let cases = [
        ("TCP", tagged(segment(), 5), true),
        ("TCP to another", tagged(tcp(KERNEL, 80, 0), 5), false),
        ("ARP", tagged(arp(1, ENGINE), 5), true),
        (
            "TCP over IPv6",
            tagged(tcp_behind(ENGINE_V6, 80, &[OPTIONS]), 5),
            true,
        ),
        (
            "solicitation",
            tagged(neighbor_solicitation(ENGINE_V6), 5),
            true,
        ),
        ("another VLAN", tagged(segment(), 6), false),
        ("a priority alone", tagged(segment(), 0), false),
        ("untagged", segment(), false),
        ("two tags", tagged(tagged(segment(), 5), 5), false),
        ("a cut tag", tagged(segment(), 5)[..16].to_vec(), false),
    ];
    judge_in("in-vlan", Some(5), &owned, &cases);
    let cases = [
        ("a VLAN", tagged(segment(), 5), false),
        ("a priority alone", tagged(segment(), 0), true),
    ];
    judge_in("in-no-vlan", None, &owned, &cases);
}

#[test]
fn the_interface_hears_solicitations_while_steering_is_attached() {
    let Some(wire) = Wire::lay("groups", 1, 1_500) else {
        return;
    };
    let hears = || {
        let groups = wire.near.ip(&["-6", "maddress", "show", "dev", NAME]);
        groups.unwrap().contains("ff02::1:ff00:2")
    };
    let owned = [
        Owned::Address(IpAddr::V4(ENGINE)),
        Owned::Address(IpAddr::V6(ENGINE_V6)),
    ];
    let port = Port::open(&wire.near, &owned);
    assert!(hears());
    port.close();
    assert!(!hears());
}

fn ports(address: IpAddr, first: u16, last: u16) -> Owned {
    Owned::Ports {
        address,
        first,
        last,
    }
}

#[test]
fn owned_ports_are_the_engines_and_the_rest_of_the_address_is_not() {
    let owned = [
        ports(IpAddr::V4(KERNEL), 8_000, 8_010),
        ports(IpAddr::V4(KERNEL), 443, 443),
    ];
    let cases = [
        ("below", tcp(KERNEL, 7_999, 0), false),
        ("first", tcp(KERNEL, 8_000, 0), true),
        ("last", tcp(KERNEL, 8_010, 0), true),
        ("above", tcp(KERNEL, 8_011, 0), false),
        ("a second range", tcp(KERNEL, 443, 0), true),
        ("of another address", tcp(ENGINE, 8_000, 0), false),
        ("behind options", tcp_behind_options(KERNEL, 8_000), true),
        (
            "behind options, not owned",
            tcp_behind_options(KERNEL, 80),
            false,
        ),
        ("a first fragment", tcp_fragment(KERNEL, 8_000, 0), true),
        ("a later fragment", tcp_fragment(KERNEL, 8_000, 64), false),
        ("ARP", arp(1, KERNEL), false),
        ("ICMP", icmp(KERNEL), false),
    ];
    judge("own-ports", &owned, &cases);
}

#[test]
fn owned_ports_of_an_ipv6_address_are_found_behind_headers_and_its_discovery_is_the_kernels() {
    let owned = [ports(IpAddr::V6(KERNEL_V6), 8_000, 8_010)];
    let behind = |headers: &[u8]| tcp_behind(KERNEL_V6, 8_005, headers);
    let fragment = |offset| tcp_fragment_over_ipv6(KERNEL_V6, 8_005, offset);
    let cases = [
        ("owned", tcp_over_ipv6(KERNEL_V6, 8_005), true),
        ("not owned", tcp_over_ipv6(KERNEL_V6, 80), false),
        ("behind a header", behind(&[OPTIONS]), true),
        (
            "behind four",
            behind(&[HOP_BY_HOP, ROUTING, FRAGMENT, OPTIONS]),
            true,
        ),
        (
            "behind four, not owned",
            tcp_behind(KERNEL_V6, 80, &[OPTIONS; 4]),
            false,
        ),
        (
            "behind five: too many to look",
            behind(&[OPTIONS; 5]),
            false,
        ),
        ("a first fragment", fragment(0), true),
        ("a later fragment", fragment(8), false),
        ("solicitation", neighbor_solicitation(KERNEL_V6), false),
        ("ICMPv6", icmpv6_echo(KERNEL_V6), false),
    ];
    judge("own-ports-ipv6", &owned, &cases);
}

#[test]
fn a_queue_without_a_socket_leaves_its_frames_to_the_kernel_and_counts_them() {
    let Some(wire) = Wire::lay("no-socket", 2, 1_500) else {
        return;
    };
    let near = Port::open_queues(&wire.near, &[Owned::Address(IpAddr::V4(ENGINE))], &[0]);
    let mut far = Port::open_queues(&wire.far, &[], &[1]);
    far.send(&tcp(ENGINE, 80, 0));
    let verdicts = wait_for_verdict(&near, Verdicts::default());
    let expected = Verdicts {
        undeliverable: 1,
        ..Verdicts::default()
    };
    assert_eq!(verdicts, expected);
    near.close();
    far.close();
}

/// Addresses for both kernels.
fn number_kernels(wire: &Wire) {
    for (namespace, address) in [(&wire.near, "198.18.0.1/24"), (&wire.far, "198.18.0.9/24")] {
        namespace
            .ip(&["address", "add", address, "dev", NAME])
            .unwrap();
    }
}

fn connect(from: &Namespace, to: Ipv4Addr, port: u16) -> std::io::Result<TcpStream> {
    let to = SocketAddr::from((to, port));
    from.within(|| TcpStream::connect_timeout(&to, Duration::from_millis(300)))
        .unwrap()
}

#[test]
fn the_kernel_goes_on_serving_its_address_beside_the_engine() {
    let Some(wire) = Wire::lay("beside", 1, 1_500) else {
        return;
    };
    number_kernels(&wire);
    let listener = wire
        .near
        .within(|| TcpListener::bind((KERNEL, 9_000)).unwrap())
        .unwrap();
    let owned = [
        Owned::Address(IpAddr::V4(ENGINE)),
        Owned::Ports {
            address: IpAddr::V4(KERNEL),
            first: 8_000,
            last: 8_010,
        },
    ];
    let mut near = Port::open(&wire.near, &owned);

    connect(&wire.far, KERNEL, 9_000).unwrap();
    listener.accept().unwrap();
    // A closed port is reported by ICMP, which has to come back to the kernel.
    let refused = wire.near.within(|| {
        let socket = UdpSocket::bind((KERNEL, 0)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(2)))
            .unwrap();
        socket.connect((FAR_KERNEL, 9)).unwrap();
        socket.send(b"anyone?").unwrap();
        socket.recv(&mut [0; 8]).unwrap_err().kind()
    });
    assert_eq!(refused.unwrap(), ErrorKind::ConnectionRefused);

    // Nobody answers for the engine here: its frames arrive, and that is all.
    connect(&wire.far, KERNEL, 8_005).unwrap_err();
    let syn = &near.receive(1)[0];
    assert_eq!(syn[36..38], 8_005_u16.to_be_bytes());
    connect(&wire.far, ENGINE, 80).unwrap_err();
    let request = &near.receive(1)[0];
    assert_eq!(
        request[38..42],
        ENGINE.octets(),
        "an ARP request for the engine's address"
    );
}

#[test]
fn steering_ends_when_it_is_dropped() {
    let Some(wire) = Wire::lay("detach", 1, 1_500) else {
        return;
    };
    let port = Port::open(&wire.near, &[]);
    assert!(
        wire.near
            .ip(&["link", "show", NAME])
            .unwrap()
            .contains("xdp")
    );
    drop(port.steering);
    // A child that another test has just forked holds the link until it executes `ip`.
    let is_attached = || {
        wire.near
            .ip(&["link", "show", NAME])
            .unwrap()
            .contains("xdp")
    };
    let start = Instant::now();
    while is_attached() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "still attached when it was dropped"
        );
        thread::sleep(Duration::from_millis(10));
    }
    port.driver.close(port.pool).unwrap();
}
