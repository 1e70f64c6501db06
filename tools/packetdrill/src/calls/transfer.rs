//! The calls that move data: all of read's and write's names.

use super::{answer, host, memory};
use crate::errno::{Errno, Outcome};
use crate::interface::UserData;
use crate::sending::Transfer;
use libc::{c_int, c_uint, c_void, iovec, loff_t, msghdr, sockaddr, socklen_t, ssize_t};
use ringmill_core::sockets::Ending;
use std::net::SocketAddr;

fn receive(userdata: UserData, number: c_int, into: &mut [u8], flags: c_int) -> Outcome<usize> {
    let peek = flags & libc::MSG_PEEK != 0;
    host(userdata)?.call_on(number, flags & libc::MSG_DONTWAIT != 0, |world| {
        world.receive(number, into, peek)
    })
}

/// Receives into one part after the other, as long as they are filled.
fn scatter(
    userdata: UserData,
    number: c_int,
    parts: &mut [&mut [u8]],
    flags: c_int,
) -> Outcome<usize> {
    let mut all = vec![0; parts.iter().map(|part| part.len()).sum()];
    let received = receive(userdata, number, &mut all, flags)?;
    let mut rest = &all[..received];
    for part in parts {
        let (here, later) = rest.split_at(part.len().min(rest.len()));
        part[..here.len()].copy_from_slice(here);
        rest = later;
    }
    Ok(received)
}

/// MSG_FASTOPEN: connects and sends.
fn open_and_transmit(
    userdata: UserData,
    number: c_int,
    bytes: &[u8],
    flags: c_int,
    to: Outcome<SocketAddr>,
) -> Outcome<usize> {
    let to = to.map_err(|_| Errno::NOT_SUPPORTED)?;
    host(userdata)?.call(|world| world.open_to_send(number, to))?;
    match transmit(userdata, number, bytes, flags & !libc::MSG_FASTOPEN) {
        Err(Errno::AGAIN) => Err(Errno(libc::EINPROGRESS)),
        sent => sent,
    }
}

fn transmit(userdata: UserData, number: c_int, bytes: &[u8], flags: c_int) -> Outcome<usize> {
    const KNOWN: c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL | libc::MSG_MORE | libc::MSG_EOR;
    if flags & !KNOWN != 0 {
        return Err(Errno::NOT_SUPPORTED);
    }
    let mut transfer = Transfer::new(if flags & libc::MSG_MORE != 0 {
        Ending::More
    } else if flags & libc::MSG_EOR != 0 {
        Ending::Record
    } else {
        Ending::Push
    });
    let sent = host(userdata)?.call_on(number, flags & libc::MSG_DONTWAIT != 0, |world| {
        world.send(number, bytes, &mut transfer)
    });
    match sent {
        // What was taken counts, whatever came after it.
        Err(errno) if transfer.done == 0 => Err(errno),
        _ => Ok(transfer.done),
    }
}

fn size(result: Outcome<usize>) -> ssize_t {
    answer(result.map(|size| ssize_t::try_from(size).unwrap_or(ssize_t::MAX)))
}

pub(super) unsafe extern "C" fn read(
    userdata: UserData,
    number: c_int,
    at: *mut c_void,
    len: usize,
) -> ssize_t {
    // SAFETY: libc's contract of read.
    let into = unsafe { memory::bytes_mut(at, len) };
    size(into.and_then(|into| receive(userdata, number, into, 0)))
}

pub(super) unsafe extern "C" fn readv(
    userdata: UserData,
    number: c_int,
    at: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: libc's contract of readv.
    let parts = unsafe { memory::vectors_mut(at, usize::try_from(count).unwrap_or(0)) };
    size(parts.and_then(|mut parts| scatter(userdata, number, &mut parts, 0)))
}

pub(super) unsafe extern "C" fn recv(
    userdata: UserData,
    number: c_int,
    at: *mut c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    // SAFETY: libc's contract of recv.
    let into = unsafe { memory::bytes_mut(at, len) };
    size(into.and_then(|into| receive(userdata, number, into, flags)))
}

pub(super) unsafe extern "C" fn recvfrom(
    userdata: UserData,
    number: c_int,
    at: *mut c_void,
    len: usize,
    flags: c_int,
    _from: *mut sockaddr,
    _from_len: *mut socklen_t,
) -> ssize_t {
    // A connected socket does not say where from (recvfrom(2) fills in nothing).
    // SAFETY: libc's contract of recvfrom.
    unsafe { recv(userdata, number, at, len, flags) }
}

pub(super) unsafe extern "C" fn recvmsg(
    userdata: UserData,
    number: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: libc's contract of recvmsg.
    let Ok(message) = (unsafe { memory::place(message) }) else {
        return size(Err(Errno::FAULT));
    };
    // SAFETY: libc's contract of recvmsg.
    let parts = unsafe { memory::vectors_mut(message.msg_iov, message.msg_iovlen) };
    message.msg_flags = 0;
    message.msg_controllen = 0;
    size(parts.and_then(|mut parts| scatter(userdata, number, &mut parts, flags)))
}

pub(super) unsafe extern "C" fn write(
    userdata: UserData,
    number: c_int,
    at: *const c_void,
    len: usize,
) -> ssize_t {
    // SAFETY: libc's contract of write.
    unsafe { send(userdata, number, at, len, 0) }
}

pub(super) unsafe extern "C" fn writev(
    userdata: UserData,
    number: c_int,
    at: *const iovec,
    count: c_int,
) -> ssize_t {
    // SAFETY: libc's contract of writev.
    let bytes = unsafe { memory::gathered(at, usize::try_from(count).unwrap_or(0)) };
    size(bytes.and_then(|bytes| transmit(userdata, number, &bytes, 0)))
}

pub(super) unsafe extern "C" fn send(
    userdata: UserData,
    number: c_int,
    at: *const c_void,
    len: usize,
    flags: c_int,
) -> ssize_t {
    // SAFETY: libc's contract of send.
    let bytes = unsafe { memory::bytes(at, len) };
    size(bytes.and_then(|bytes| transmit(userdata, number, bytes, flags)))
}

pub(super) unsafe extern "C" fn sendto(
    userdata: UserData,
    number: c_int,
    at: *const c_void,
    len: usize,
    flags: c_int,
    to: *const sockaddr,
    to_len: socklen_t,
) -> ssize_t {
    if flags & libc::MSG_FASTOPEN != 0 {
        // SAFETY: libc's contract of sendto.
        let to = unsafe { memory::address(to, to_len) };
        // SAFETY: libc's contract of sendto.
        let bytes = unsafe { memory::bytes(at, len) };
        return size(bytes.and_then(|bytes| open_and_transmit(userdata, number, bytes, flags, to)));
    }
    // A connected socket does not look at where to (sendto(2)).
    // SAFETY: libc's contract of sendto.
    unsafe { send(userdata, number, at, len, flags) }
}

pub(super) unsafe extern "C" fn sendmsg(
    userdata: UserData,
    number: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: libc's contract of sendmsg; it is only read.
    let Ok(message) = (unsafe { memory::place(message.cast_mut()) }) else {
        return size(Err(Errno::FAULT));
    };
    // SAFETY: libc's contract of sendmsg.
    let bytes = unsafe { memory::gathered(message.msg_iov, message.msg_iovlen) };
    if flags & libc::MSG_FASTOPEN != 0 {
        // SAFETY: libc's contract of sendmsg.
        let to = unsafe { memory::address(message.msg_name.cast(), message.msg_namelen) };
        return size(
            bytes.and_then(|bytes| open_and_transmit(userdata, number, &bytes, flags, to)),
        );
    }
    size(bytes.and_then(|bytes| transmit(userdata, number, &bytes, flags)))
}

/// Refused: pages can't be moved between a stack in user space and a pipe.
pub(super) extern "C" fn splice(
    _userdata: UserData,
    _from: c_int,
    _from_offset: *mut loff_t,
    _to: c_int,
    _to_offset: *mut loff_t,
    _len: usize,
    _flags: c_uint,
) -> ssize_t {
    size(Err(Errno::INVALID))
}
