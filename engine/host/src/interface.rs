//! A network interface as the kernel describes it.
//!
//! Everything is asked over sockets of the calling thread's network namespace:
//! netlink for the link itself, ethtool for driver and queues. /sys is of no use
//! here, since it shows the namespace that it was mounted in.

mod ethtool;
mod groups;

pub(crate) use groups::Groups;

use crate::error::{Operation, XdpError};
use netlink_packet_core::{NLM_F_REQUEST, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_sys::protocols::NETLINK_ROUTE;
use ringmill_core::rss::Rss;
use std::io;

/// An interface as it was when it was looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its number in its network namespace.
    pub index: u32,
    /// Its Ethernet address; zeros if it has none.
    pub mac: [u8; 6],
    /// The largest IP packet, in bytes.
    pub mtu: u32,
    /// It is administratively up.
    pub is_up: bool,
    /// Its other end answers.
    pub has_carrier: bool,
    /// Receive queues in use, numbered from 0.
    pub rx_queues: u32,
    /// It is one end of a veth pair.
    pub is_veth: bool,
    /// It takes VLAN tags out of received frames (rx-vlan-offload), where an XDP
    /// program can't see them. A veth says so too and leaves them in.
    pub takes_vlan_tags: bool,
    /// The name of its driver; empty if it has none.
    pub driver: String,
}

impl Interface {
    /// Looks the interface up in the calling thread's network namespace.
    pub fn find(name: &str) -> Result<Interface, XdpError> {
        let link = match query(name) {
            Ok(link) => link,
            Err(reason) if is_unknown(&reason) => {
                return Err(XdpError::UnknownInterface(name.to_owned()));
            }
            Err(reason) => return Err(XdpError::refused(Operation::LOOK_UP, name, reason)),
        };
        let mut interface = Interface {
            name: name.to_owned(),
            index: link.header.index,
            mac: [0; 6],
            mtu: 0,
            is_up: link.header.flags.contains(LinkFlags::Up),
            has_carrier: link.header.flags.contains(LinkFlags::LowerUp),
            // A device without ethtool's channels has one queue.
            rx_queues: ethtool::rx_channels(name).unwrap_or(1).max(1),
            is_veth: false,
            takes_vlan_tags: ethtool::takes_vlan_tags(name).unwrap_or(false),
            driver: ethtool::driver(name).unwrap_or_default(),
        };
        for attribute in &link.attributes {
            match attribute {
                LinkAttribute::Mtu(mtu) => interface.mtu = *mtu,
                LinkAttribute::Address(address) => {
                    interface.mac = address.as_slice().try_into().unwrap_or_default();
                }
                LinkAttribute::LinkInfo(info) => {
                    interface.is_veth = info.contains(&LinkInfo::Kind(InfoKind::Veth));
                }
                _ => {}
            }
        }
        Ok(interface)
    }

    /// How it spreads received flows over its queues, if it says so.
    pub fn rss(&self) -> Option<Rss> {
        ethtool::rss(&self.name).ok().flatten()
    }

    /// The same, and refuses an interface that is down.
    pub fn find_up(name: &str) -> Result<Interface, XdpError> {
        let interface = Interface::find(name)?;
        if interface.is_up {
            Ok(interface)
        } else {
            Err(XdpError::InterfaceDown(name.to_owned()))
        }
    }
}

/// ENODEV when there is none; ERANGE and EINVAL when no interface may have that name.
fn is_unknown(reason: &io::Error) -> bool {
    matches!(
        reason.raw_os_error(),
        Some(libc::ENODEV | libc::ERANGE | libc::EINVAL)
    )
}

/// RTM_GETLINK by name: one question, one answer.
fn query(name: &str) -> io::Result<LinkMessage> {
    let mut question = LinkMessage::default();
    question.attributes = vec![LinkAttribute::IfName(name.to_owned())];
    let mut message = NetlinkMessage::from(RouteNetlinkMessage::GetLink(question));
    message.header.flags = NLM_F_REQUEST;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = netlink_sys::Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send(&bytes, 0)?;
    let (answer, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&answer)
        .map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason.to_string()))?;
    match answer.payload {
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) => Ok(link),
        NetlinkPayload::Error(refusal) => Err(refusal.to_io()),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Category;

    #[test]
    fn the_loopback_interface_is_found_and_described() {
        let lo = Interface::find("lo").unwrap();
        assert_eq!((lo.index, lo.is_veth, lo.rx_queues), (1, false, 1));
        assert_eq!(lo.mac, [0; 6]);
        assert!(lo.mtu > 0);
        assert_eq!(lo.rss(), None, "it has nothing to spread");
    }

    #[test]
    fn a_name_that_no_interface_has_is_said_to_be_unknown() {
        for name in ["ringmill-none", "a name of more than fifteen bytes", ""] {
            let error = Interface::find(name).unwrap_err();
            assert_eq!(error.category(), Category::Missing, "{error}");
            assert!(error.to_string().contains("no interface"), "{error}");
        }
    }
}
