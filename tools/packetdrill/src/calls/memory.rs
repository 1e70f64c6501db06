//! C's pointers as Rust's slices: the one place where memory of the caller is
//! taken at its word.

use crate::errno::{Errno, Outcome};
use libc::{c_void, iovec, sockaddr, socklen_t};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::slice;

/// The `len` bytes at `at`.
///
/// # Safety
/// `at` is null or points to `len` bytes that stay readable during the call.
pub(super) unsafe fn bytes<'a>(at: *const c_void, len: usize) -> Outcome<&'a [u8]> {
    if at.is_null() {
        return if len == 0 { Ok(&[]) } else { Err(Errno::FAULT) };
    }
    // SAFETY: not null, and the rest is this function's own condition.
    Ok(unsafe { slice::from_raw_parts(at.cast(), len) })
}

/// The `len` bytes at `at`, to write.
///
/// # Safety
/// `at` is null or points to `len` bytes that are the caller's alone to write
/// during the call.
pub(super) unsafe fn bytes_mut<'a>(at: *mut c_void, len: usize) -> Outcome<&'a mut [u8]> {
    if at.is_null() {
        return if len == 0 {
            Ok(&mut [])
        } else {
            Err(Errno::FAULT)
        };
    }
    // SAFETY: not null, and the rest is this function's own condition.
    Ok(unsafe { slice::from_raw_parts_mut(at.cast(), len) })
}

/// The value at `at`, to write.
///
/// # Safety
/// `at` is null or points to a `T` that is the caller's alone to write.
pub(super) unsafe fn place<'a, T>(at: *mut T) -> Outcome<&'a mut T> {
    // SAFETY: this function's own condition.
    unsafe { at.as_mut() }.ok_or(Errno::FAULT)
}

/// The parts of a vector, to write.
///
/// # Safety
/// `at` is null or points to `count` vectors that [`bytes_mut`] may take.
pub(super) unsafe fn vectors_mut<'a>(at: *const iovec, count: usize) -> Outcome<Vec<&'a mut [u8]>> {
    if at.is_null() && count > 0 {
        return Err(Errno::FAULT);
    }
    let mut parts = Vec::new();
    for index in 0..count {
        let vector = at.wrapping_add(index);
        // SAFETY: one of the `count` vectors at `at`.
        let vector = unsafe { vector.read() };
        // SAFETY: this function's own condition.
        parts.push(unsafe { bytes_mut(vector.iov_base, vector.iov_len) }?);
    }
    Ok(parts)
}

/// The parts of a vector, one after the other.
///
/// # Safety
/// As [`vectors_mut`], to read.
pub(super) unsafe fn gathered(at: *const iovec, count: usize) -> Outcome<Vec<u8>> {
    // SAFETY: this function's own condition; nothing is written.
    Ok(unsafe { vectors_mut(at, count) }?.concat())
}

const FAMILY_V4: libc::sa_family_t = family(libc::AF_INET);
const FAMILY_V6: libc::sa_family_t = family(libc::AF_INET6);

#[expect(clippy::cast_possible_truncation, reason = "a family is of this type")]
const fn family(domain: libc::c_int) -> libc::sa_family_t {
    domain.cast_unsigned() as libc::sa_family_t
}

/// The internet address at `at`.
///
/// # Safety
/// As [`bytes`].
pub(super) unsafe fn address(at: *const sockaddr, len: socklen_t) -> Outcome<SocketAddr> {
    // SAFETY: this function's own condition.
    let bytes = unsafe { bytes(at.cast(), len as usize) }?;
    let family = bytes
        .first_chunk()
        .map(|&family| u16::from_ne_bytes(family));
    let octets = |at: usize, len: usize| bytes.get(at..at + len).ok_or(Errno::INVALID);
    let port = octets(2, 2)?;
    let ip: IpAddr = match family {
        Some(FAMILY_V4) => {
            let octets: [u8; 4] = octets(4, 4)?.try_into().map_err(|_| Errno::INVALID)?;
            Ipv4Addr::from(octets).into()
        }
        Some(FAMILY_V6) => {
            let octets: [u8; 16] = octets(8, 16)?.try_into().map_err(|_| Errno::INVALID)?;
            // An IPv4-mapped address is IPv4 on the wire (RFC 4291 section 2.5.5.2).
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return Err(Errno(libc::EAFNOSUPPORT)),
    };
    Ok(SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]])))
}

/// Writes an internet address where libc's calls do: cut to the room that there
/// is, with its whole length told.
///
/// # Safety
/// `len` is null or the caller's alone to write, and `at` is null or points to as
/// many bytes as `len` says.
pub(super) unsafe fn put_address(
    address: SocketAddr,
    at: *mut sockaddr,
    len: *mut socklen_t,
) -> Outcome<()> {
    if at.is_null() || len.is_null() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend(FAMILY_V4.to_ne_bytes());
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend(FAMILY_V6.to_ne_bytes());
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(v6.ip().octets());
            bytes.extend([0; 4]);
        }
    }
    // SAFETY: this function's own condition.
    let len = unsafe { place(len) }?;
    // SAFETY: this function's own condition.
    let into = unsafe { bytes_mut(at.cast(), *len as usize) }?;
    let fits = into.len().min(bytes.len());
    into[..fits].copy_from_slice(&bytes[..fits]);
    *len = socklen_t::try_from(bytes.len()).unwrap_or(0);
    Ok(())
}
