//! The functions that packetdrill calls, and the one that it finds by name.
//!
//! Each takes C's arguments apart, calls the host, and answers as libc does: the
//! result, or -1 and `errno`. The user data is a number that names a host, so
//! that a wrong one is an error and not a wild pointer.

mod memory;
mod packets;
mod transfer;
mod watch;

use crate::descriptors::{Kind, Socket};
use crate::errno::{Errno, Outcome};
use crate::flags::Settings;
use crate::host::Host;
use crate::interface::{Interface, UserData};
use libc::{c_char, c_int, c_ulong, c_void, sockaddr, socklen_t};
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

/// The hosts in use, by the number that is their user data.
static HOSTS: Mutex<BTreeMap<usize, Arc<Host>>> = Mutex::new(BTreeMap::new());

/// Fills in the table for an engine as `flags` (or nothing, when null) describe
/// it. Flags that can't be taken end the process, as they do in packetdrill: the
/// function has no way to answer.
///
/// # Safety
/// `flags` is null or a C string, and `interface` is null or the caller's to
/// write.
// SAFETY: the name is packetdrill's own, and nothing else in the process has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn packetdrill_interface_init(
    flags: *const c_char,
    interface: *mut Interface,
) {
    let flags = if flags.is_null() {
        String::new()
    } else {
        // SAFETY: this function's own condition.
        let flags = unsafe { CStr::from_ptr(flags) };
        flags.to_string_lossy().into_owned()
    };
    let settings = Settings::parse(&flags).unwrap_or_else(|error| {
        eprintln!("ringmill-packetdrill: --so_flags: {error}");
        std::process::exit(2);
    });
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    let number = hosts.last_key_value().map_or(1, |(last, _)| last + 1);
    hosts.insert(number, Arc::new(Host::new(settings)));
    // SAFETY: this function's own condition.
    if let Ok(place) = unsafe { memory::place(interface) } {
        *place = table(ptr::without_provenance_mut(number));
    }
}

fn table(userdata: UserData) -> Interface {
    Interface {
        userdata,
        free: Some(free),
        socket: Some(socket),
        bind: Some(bind),
        listen: Some(listen),
        accept: Some(accept),
        connect: Some(connect),
        read: Some(transfer::read),
        readv: Some(transfer::readv),
        recv: Some(transfer::recv),
        recvfrom: Some(transfer::recvfrom),
        recvmsg: Some(transfer::recvmsg),
        write: Some(transfer::write),
        writev: Some(transfer::writev),
        send: Some(transfer::send),
        sendto: Some(transfer::sendto),
        sendmsg: Some(transfer::sendmsg),
        fcntl: Some(fcntl),
        ioctl: Some(ioctl),
        close: Some(close),
        shutdown: Some(shutdown),
        getsockopt: Some(getsockopt),
        setsockopt: Some(setsockopt),
        poll: Some(watch::poll),
        netdev_send: Some(packets::netdev_send),
        netdev_receive: Some(packets::netdev_receive),
        usleep: Some(packets::usleep),
        gettimeofday: Some(packets::gettimeofday),
        epoll_create: Some(watch::epoll_create),
        epoll_ctl: Some(watch::epoll_ctl),
        epoll_wait: Some(watch::epoll_wait),
        pipe: Some(pipe),
        splice: Some(transfer::splice),
    }
}

fn host(userdata: UserData) -> Outcome<Arc<Host>> {
    let hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.get(&userdata.addr()).cloned().ok_or(Errno::INVALID)
}

/// A call's result as libc gives it.
fn answer<T: From<i8>>(result: Outcome<T>) -> T {
    result.unwrap_or_else(|errno| {
        // SAFETY: the address of this thread's errno.
        let place = unsafe { libc::__errno_location() };
        // SAFETY: errno is this thread's own.
        unsafe { place.write(errno.0) };
        T::from(-1)
    })
}

/// 0 for success.
fn done(result: Outcome<()>) -> c_int {
    answer(result.map(|()| 0))
}

extern "C" fn free(userdata: UserData) {
    let mut hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
    hosts.remove(&userdata.addr());
}

extern "C" fn socket(userdata: UserData, domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let open = || {
        if !matches!(domain, libc::AF_INET | libc::AF_INET6) {
            return Err(Errno(libc::EAFNOSUPPORT));
        }
        let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        if kind & !flags != libc::SOCK_STREAM || !matches!(protocol, 0 | libc::IPPROTO_TCP) {
            return Err(Errno(libc::EPROTONOSUPPORT));
        }
        host(userdata)?.call(|world| {
            let socket = Socket {
                is_v6: domain == libc::AF_INET6,
                ..Socket::default()
            };
            let number = world.descriptors.open(Kind::Socket(Box::new(socket)))?;
            world.descriptors.at(number)?.is_nonblocking = kind & libc::SOCK_NONBLOCK != 0;
            Ok(number)
        })
    };
    answer(open())
}

unsafe extern "C" fn bind(
    userdata: UserData,
    number: c_int,
    at: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: libc's contract of bind.
    let address = unsafe { memory::address(at, len) };
    done(address.and_then(|address| host(userdata)?.call(|world| world.bind(number, address))))
}

extern "C" fn listen(userdata: UserData, number: c_int, backlog: c_int) -> c_int {
    let backlog = usize::try_from(backlog).unwrap_or(0);
    done(host(userdata).and_then(|host| host.call(|world| world.listen(number, backlog))))
}

unsafe extern "C" fn accept(
    userdata: UserData,
    number: c_int,
    at: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    let accepted =
        host(userdata).and_then(|host| host.call_on(number, false, |world| world.accept(number)));
    answer(accepted.and_then(|(accepted, peer)| {
        // SAFETY: libc's contract of accept.
        unsafe { memory::put_address(peer, at, len) }?;
        Ok(accepted)
    }))
}

unsafe extern "C" fn connect(
    userdata: UserData,
    number: c_int,
    at: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: libc's contract of connect.
    let address = unsafe { memory::address(at, len) };
    let connect = || {
        let host = host(userdata)?;
        let address = address?;
        let room = host.call(|world| {
            world.connect(number, address)?;
            world.syn_room(number)
        })?;
        if room > 0 {
            // The handshake begins with what is written first.
            return Ok(());
        }
        match host.call_on(number, false, |world| world.connected(number)) {
            Err(Errno::AGAIN) => Err(Errno(libc::EINPROGRESS)),
            result => result,
        }
    };
    done(connect())
}

extern "C" fn fcntl(userdata: UserData, number: c_int, command: c_int, argument: c_ulong) -> c_int {
    const NONBLOCK: c_ulong = libc::O_NONBLOCK.cast_unsigned() as c_ulong;
    let call = || {
        host(userdata)?.call(|world| {
            let descriptor = world.descriptors.at(number)?;
            match command {
                libc::F_GETFL if descriptor.is_nonblocking => Ok(libc::O_RDWR | libc::O_NONBLOCK),
                libc::F_GETFL => Ok(libc::O_RDWR),
                libc::F_SETFL => {
                    descriptor.is_nonblocking = argument & NONBLOCK != 0;
                    Ok(0)
                }
                libc::F_GETFD | libc::F_SETFD => Ok(0),
                _ => Err(Errno::INVALID),
            }
        })
    };
    answer(call())
}

unsafe extern "C" fn ioctl(
    userdata: UserData,
    number: c_int,
    request: c_ulong,
    value: *mut c_int,
) -> c_int {
    // The same number for SIOCINQ, of which libc has no name.
    const SIOCINQ: c_ulong = libc::FIONREAD;
    let answered = host(userdata).and_then(|host| {
        host.call(|world| match request {
            SIOCINQ => world.readable_bytes(number),
            _ => Err(Errno(libc::ENOTTY)),
        })
    });
    done(answered.and_then(|bytes| {
        // SAFETY: the contract of these requests: an int to write.
        *unsafe { memory::place(value) }? = c_int::try_from(bytes).unwrap_or(c_int::MAX);
        Ok(())
    }))
}

extern "C" fn close(userdata: UserData, number: c_int) -> c_int {
    done(host(userdata).and_then(|host| host.call(|world| world.close(number))))
}

extern "C" fn shutdown(userdata: UserData, number: c_int, how: c_int) -> c_int {
    done(host(userdata).and_then(|host| host.call(|world| world.shutdown(number, how))))
}

unsafe extern "C" fn getsockopt(
    userdata: UserData,
    number: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let option =
        host(userdata).and_then(|host| host.call(|world| world.option(number, level, name)));
    done(option.and_then(|option| {
        // SAFETY: libc's contract of getsockopt.
        let len = unsafe { memory::place(len) }?;
        // SAFETY: libc's contract of getsockopt.
        let into = unsafe { memory::bytes_mut(value, *len as usize) }?;
        let fits = into.len().min(option.len());
        into[..fits].copy_from_slice(&option[..fits]);
        *len = socklen_t::try_from(fits).unwrap_or(0);
        Ok(())
    }))
}

/// libc's getsockopt, for a process that has this library in front of libc
/// (`LD_PRELOAD`): packetdrill asks libc, not the table, for TCP_INFO. Numbers
/// that are not the engine's go on to the kernel.
///
/// # Safety
/// As getsockopt(2).
// SAFETY: it does what libc's function of this name does.
#[unsafe(export_name = "getsockopt")]
pub unsafe extern "C" fn getsockopt_in_front_of_libc(
    number: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    let owner = {
        let hosts = HOSTS.lock().unwrap_or_else(PoisonError::into_inner);
        hosts
            .iter()
            .find(|(_, host)| host.owns(number))
            .map(|(&id, _)| id)
    };
    if let Some(id) = owner {
        // SAFETY: this function's own condition.
        return unsafe {
            getsockopt(
                ptr::without_provenance_mut(id),
                number,
                level,
                name,
                value,
                len,
            )
        };
    }
    // SAFETY: this function's own condition; the kernel checks the pointers.
    let result = unsafe { libc::syscall(libc::SYS_getsockopt, number, level, name, value, len) };
    c_int::try_from(result).unwrap_or(-1)
}

unsafe extern "C" fn setsockopt(
    userdata: UserData,
    number: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: libc's contract of setsockopt.
    let value = unsafe { memory::bytes(value, len as usize) };
    done(value.and_then(|value| {
        host(userdata)?.call(|world| world.set_option(number, level, name, value))
    }))
}

unsafe extern "C" fn pipe(userdata: UserData, into: *mut c_int) -> c_int {
    let open = || {
        let host = host(userdata)?;
        // SAFETY: libc's contract of pipe: two numbers to write.
        let numbers = unsafe { memory::place(into.cast::<[c_int; 2]>()) }?;
        *numbers = [host.open(Kind::Pipe)?, host.open(Kind::Pipe)?];
        Ok(())
    };
    done(open())
}
