//! Questions of the ethtool ioctl (linux/ethtool.h): driver, channels, offloads, RSS.
//!
//! Unsafe here: one ioctl on structures whose layouts are the kernel's.

use ringmill_core::rss::Rss;
use std::ffi::{CStr, c_char};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETHTOOL_GRXFH: u32 = 0x29;
const ETHTOOL_GCHANNELS: u32 = 0x3c;
const ETHTOOL_GRSSH: u32 = 0x46;
const TCP_V4_FLOW: u32 = 0x01;
const TCP_V6_FLOW: u32 = 0x05;
/// RXH_IP_SRC, RXH_IP_DST, RXH_L4_B_0_1 and RXH_L4_B_2_3.
const ADDRESSES_AND_PORTS: u64 = 0xf0;
/// ETH_RSS_HASH_TOP.
const TOEPLITZ: u8 = 1;

/// `struct ethtool_drvinfo`, of which only the driver's name is read.
#[repr(C)]
struct DriverInfo {
    command: u32,
    driver: [u8; 32],
    rest: [u8; 160],
}

/// `struct ethtool_value`.
#[repr(C)]
struct Flags {
    command: u32,
    flags: u32,
}

/// `struct ethtool_channels`.
#[derive(Default)]
#[repr(C)]
struct Channels {
    command: u32,
    most: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

/// `struct ethtool_rxnfc` up to what this question fills.
#[repr(C)]
struct HashFields {
    command: u32,
    flow: u32,
    fields: u64,
}

/// `struct ethtool_rxfh`: the indirection table and the key follow each other in
/// `config`, as long as asked for.
#[repr(C)]
struct Indirection {
    command: u32,
    context: u32,
    queues: u32,
    key_len: u32,
    function: u8,
    /// Done to the input before it is hashed.
    transform: u8,
    rest: [u8; 6],
    config: [u8; CONFIG_MAX],
}

/// Room for 2,048 queues and a key.
const CONFIG_MAX: usize = 4 * 2_048 + 256;

/// `struct ifreq` with a pointer in its union.
#[repr(C)]
struct Request<'question, Question> {
    name: [c_char; libc::IFNAMSIZ],
    question: &'question mut Question,
    padding: [u64; 2],
}

/// The name of the interface's driver.
pub(super) fn driver(interface: &str) -> io::Result<String> {
    let mut info = DriverInfo {
        command: ETHTOOL_GDRVINFO,
        driver: [0; 32],
        rest: [0; 160],
    };
    ask(interface, &mut info)?;
    let name = CStr::from_bytes_until_nul(&info.driver).unwrap_or_default();
    Ok(name.to_string_lossy().into_owned())
}

/// Channels that receive, whether or not they also send.
pub(super) fn rx_channels(interface: &str) -> io::Result<u32> {
    let mut channels = Channels {
        command: ETHTOOL_GCHANNELS,
        ..Channels::default()
    };
    ask(interface, &mut channels)?;
    Ok(channels.rx + channels.combined)
}

/// Whether tags are taken out of received frames (rx-vlan-offload).
pub(super) fn takes_vlan_tags(interface: &str) -> io::Result<bool> {
    let mut flags = Flags {
        command: ETHTOOL_GFLAGS,
        flags: 0,
    };
    ask(interface, &mut flags)?;
    Ok(flags.flags & ETH_FLAG_RXVLAN != 0)
}

/// How TCP flows are spread over receive queues; none where the device does not
/// say, or has another way than RSS does it.
pub(super) fn rss(interface: &str) -> io::Result<Option<Rss>> {
    let mut table = Indirection {
        command: ETHTOOL_GRSSH,
        context: 0,
        queues: 0,
        key_len: 0,
        function: 0,
        transform: 0,
        rest: [0; 6],
        config: [0; CONFIG_MAX],
    };
    // First how much there is, then the same with room for it.
    ask(interface, &mut table)?;
    let (Ok(queues), Ok(key_len)) = (
        usize::try_from(table.queues),
        usize::try_from(table.key_len),
    ) else {
        return Ok(None);
    };
    let fits = queues.saturating_mul(4).saturating_add(key_len) <= CONFIG_MAX;
    if !fits || table.function != TOEPLITZ || table.transform != 0 {
        return Ok(None);
    }
    ask(interface, &mut table)?;
    // A device that can't be asked hashes as RSS has it for TCP.
    let hashes_ports = |flow| {
        let mut hash = HashFields {
            command: ETHTOOL_GRXFH,
            flow,
            fields: 0,
        };
        ask(interface, &mut hash).is_err() || hash.fields == ADDRESSES_AND_PORTS
    };
    if !(hashes_ports(TCP_V4_FLOW) && hashes_ports(TCP_V6_FLOW)) {
        return Ok(None);
    }
    let (words, key) = table.config.split_at(queues * 4);
    let queues = words
        .chunks_exact(4)
        .map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
    Ok(Rss::new(&key[..key_len], queues.collect()))
}

/// Structures that start with an ethtool command and that the kernel's answer
/// to that command fits in: exactly, or as far as their own fields ask for it.
trait Question {}
impl Question for HashFields {}
impl Question for Indirection {}
impl Question for DriverInfo {}
impl Question for Flags {}
impl Question for Channels {}

fn ask<Q: Question>(interface: &str, question: &mut Q) -> io::Result<()> {
    let mut name = [0; libc::IFNAMSIZ];
    if interface.len() >= name.len() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    for (to, from) in name.iter_mut().zip(interface.bytes()) {
        *to = c_char::from_ne_bytes([from]);
    }
    let mut request = Request {
        name,
        question,
        padding: [0; 2],
    };
    // Any socket of this network namespace will do.
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    // SAFETY: the request has the size and layout of struct ifreq, its name ends
    // in NUL, and its pointer is to a structure, alive during the call, that the
    // kernel's answer fits in (see Question).
    let status = unsafe { libc::ioctl(socket.as_raw_fd(), SIOCETHTOOL, &raw mut request) };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_are_those_of_the_kernel() {
        assert_eq!(size_of::<DriverInfo>(), 196);
        assert_eq!(size_of::<Flags>(), 8);
        assert_eq!(size_of::<Channels>(), 36);
        assert_eq!(size_of::<HashFields>(), 16);
        assert_eq!(std::mem::offset_of!(Indirection, config), 24);
        assert_eq!(size_of::<Request<Channels>>(), size_of::<libc::ifreq>());
    }
}
