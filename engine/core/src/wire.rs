//! Wire formats: what is in a packet, without state and without opinion.
//!
//! `parse` takes any bytes, never panics, reads nothing past its slice, and
//! answers with a small value and the payload, or with what is [`Malformed`].
//! `emit` writes into a slice that the caller has sized, and panics when it is
//! too small.

pub mod arp;
pub mod checksum;
pub mod ethernet;
pub mod fast_open;
pub mod icmp;
pub mod icmpv4;
pub mod icmpv6;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
pub mod joined;
pub mod ndp;
pub mod tcp;

/// Why bytes are not the packet that they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Fewer bytes than the header takes.
    #[error("truncated")]
    Truncated,
    /// Another IP version than that of the Ethernet type.
    #[error("wrong IP version")]
    Version,
    /// A header length below its minimum or past its packet.
    #[error("impossible header length")]
    HeaderLength,
    /// An IP total length below the header's or past the frame.
    #[error("impossible total length")]
    TotalLength,
    /// A checksum that does not hold.
    #[error("bad checksum")]
    Checksum,
    /// A fragment of an IP packet.
    #[error("fragment")]
    Fragment,
    /// More IPv6 extension headers than a packet may have, or one out of place.
    #[error("impossible extension headers")]
    Extension,
    /// A source route that is to be followed.
    #[error("source route")]
    SourceRoute,
    /// A TCP or IP option of an impossible length, or one that must be understood
    /// and is not.
    #[error("impossible option length")]
    Option,
    /// ARP for other hardware or protocols than Ethernet and IPv4.
    #[error("not Ethernet and IPv4")]
    Hardware,
}

/// Which TCP checksums are accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumPolicy {
    /// Only whole ones (RFC 9293 section 3.1, MUST-3).
    #[default]
    Full,
    /// Also one that was left to an offloading interface: then the field holds
    /// the folded sum of the pseudo-header alone. A kernel at the other end of a
    /// veth sends such frames, which no wire has touched.
    AcceptPartial,
}

#[inline]
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[inline]
fn put_u16(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Writes words of 32 bits over the whole of `bytes`.
#[inline]
fn put_words<const N: usize>(bytes: &mut [u8], words: [u32; N]) {
    let (places, _) = bytes.as_chunks_mut::<4>();
    for (place, word) in places[..N].iter_mut().zip(words) {
        *place = word.to_be_bytes();
    }
}

#[inline]
fn put_u32(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_be_bytes());
}

#[inline]
fn ipv4_at(bytes: &[u8], at: usize) -> std::net::Ipv4Addr {
    u32_at(bytes, at).into()
}

#[inline]
fn ipv6_at(bytes: &[u8], at: usize) -> std::net::Ipv6Addr {
    let mut address = [0; 16];
    address.copy_from_slice(&bytes[at..at + 16]);
    address.into()
}
