//! Questions of the ethtool ioctl (linux/ethtool.h): driver, channels, offloads.
//!
//! Unsafe here: one ioctl on structures whose layouts are the kernel's.

use std::ffi::{CStr, c_char};
use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;

const SIOCETHTOOL: libc::Ioctl = 0x8946;
const ETHTOOL_GDRVINFO: u32 = 0x03;
const ETHTOOL_GFLAGS: u32 = 0x25;
const ETH_FLAG_RXVLAN: u32 = 1 << 8;
const ETHTOOL_GCHANNELS: u32 = 0x3c;

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

/// Structures that start with an ethtool command and that the kernel's answer
/// to that command fits in exactly.
trait Question {}
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
        assert_eq!(size_of::<Request<Channels>>(), size_of::<libc::ifreq>());
    }
}
