//! What can't be opened says why, and how to help it.

use crate::{NAME, Port, Wire};
use ringmill::netns::Namespace;
use ringmill::{Category, Interface, Steering, XdpConfig, XdpDriver, XdpError, XdpMode};

fn open(namespace: &Namespace, config: &XdpConfig) -> XdpError {
    let opened = namespace.within(|| XdpDriver::open(config)).unwrap();
    opened.expect_err("the port can't be opened")
}

fn attach(namespace: &Namespace, mode: XdpMode) -> Result<Steering, XdpError> {
    namespace
        .within(|| Steering::attach(&Interface::find(NAME).unwrap(), mode, None, &[]))
        .unwrap()
}

#[test]
fn a_queue_that_is_taken() {
    let Some(wire) = Wire::lay("taken", 1, 1_500) else {
        return;
    };
    let port = Port::open(&wire.near, &[]);
    let error = open(&wire.near, &XdpConfig::new(NAME));
    assert_eq!(error.category(), Category::Busy);
    assert_eq!(
        error.to_string(),
        "queue 0 of veth0 is taken by another program (EBUSY): end that one, or use another queue"
    );
    let error = attach(&wire.near, XdpMode::Auto).unwrap_err();
    assert_eq!(error.category(), Category::Busy);
    assert_eq!(
        error.to_string(),
        "veth0 has an XDP program of another owner (EBUSY): `ip link set veth0 xdp off` detaches it"
    );
    port.close();
}

#[test]
fn an_interface_that_is_not_there_or_down_and_a_queue_that_it_does_not_have() {
    let Some(wire) = Wire::lay("absent", 1, 1_500) else {
        return;
    };
    let error = open(&wire.near, &XdpConfig::new("veth7"));
    assert!(matches!(error, XdpError::UnknownInterface(_)), "{error}");

    let third = XdpConfig {
        queues: vec![0, 2],
        ..XdpConfig::new(NAME)
    };
    let error = open(&wire.near, &third);
    assert!(
        matches!(
            error,
            XdpError::NoSuchQueue {
                queue: 2,
                count: 1,
                ..
            }
        ),
        "{error}"
    );

    wire.near.ip(&["link", "set", NAME, "down"]).unwrap();
    let error = open(&wire.near, &XdpConfig::new(NAME));
    assert!(matches!(error, XdpError::InterfaceDown(_)), "{error}");
    assert_eq!(error.category(), Category::Missing);
}

#[test]
fn a_device_that_takes_vlan_tags_out_of_frames() {
    let Some(wire) = Wire::lay("rxvlan", 1, 1_500) else {
        return;
    };
    let takes = |on| {
        let mut ethtool = wire.near.command("ethtool");
        let status = ethtool.args(["-K", NAME, "rxvlan", on]).status().unwrap();
        assert!(status.success(), "ethtool");
        wire.near.within(|| Interface::find(NAME)).unwrap().unwrap()
    };
    assert!(!takes("off").takes_vlan_tags);
    let veth = takes("on");
    assert!(veth.takes_vlan_tags);
    // A veth says so and does not do it; a card would.
    let card = Interface {
        is_veth: false,
        ..veth
    };
    let attach = |vlan| {
        let attach = || Steering::attach(&card, XdpMode::Auto, vlan, &[]);
        wire.near.within(attach).unwrap()
    };
    let error = attach(Some(5)).unwrap_err();
    assert_eq!(error.category(), Category::Unsupported);
    assert!(error.to_string().contains("rxvlan off"), "{error}");
    attach(None).unwrap();
}

#[test]
fn zero_copy_is_given_up_where_the_device_has_none() {
    let Some(wire) = Wire::lay("copy", 1, 1_500) else {
        return;
    };
    let port = Port::open(&wire.near, &[]);
    let told = port.driver.describe();
    assert!(
        told.starts_with("veth0 (veth), queue 0, copy mode, need_wakeup, no busy polling"),
        "{told}"
    );
    assert_eq!(port.steering.mode(), XdpMode::Native);
    port.close();
}
