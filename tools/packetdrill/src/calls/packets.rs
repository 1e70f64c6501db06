//! The calls that move packets and time.

use super::{answer, done, host, memory};
use crate::interface::UserData;
use libc::{c_int, c_longlong, c_void, timeval, useconds_t};
use ringmill_core::time::{Duration, Instant};

pub(super) unsafe extern "C" fn netdev_send(
    userdata: UserData,
    at: *const c_void,
    len: usize,
) -> c_int {
    // SAFETY: the contract of the table: a packet of that length.
    let packet = unsafe { memory::bytes(at, len) };
    done(packet.and_then(|packet| {
        host(userdata)?.arrive(packet);
        Ok(())
    }))
}

pub(super) unsafe extern "C" fn netdev_receive(
    userdata: UserData,
    at: *mut c_void,
    len: *mut usize,
    time_us: *mut c_longlong,
) -> c_int {
    let receive = || {
        let departure = host(userdata)?.depart();
        // SAFETY: the contract of the table: a length to write.
        let len = unsafe { memory::place(len) }?;
        // SAFETY: the contract of the table: a buffer of that length.
        let into = unsafe { memory::bytes_mut(at, *len) }?;
        *len = 0;
        if let Some(departure) = departure {
            let fits = into.len().min(departure.packet.len());
            into[..fits].copy_from_slice(&departure.packet[..fits]);
            *len = fits;
            // SAFETY: the contract of the table: a time to write.
            *unsafe { memory::place(time_us) }? = micros(departure.at);
        }
        Ok(())
    };
    done(receive())
}

pub(super) extern "C" fn usleep(userdata: UserData, length_us: useconds_t) -> c_int {
    done(host(userdata).map(|host| host.sleep(Duration::from_micros(length_us.into()))))
}

pub(super) unsafe extern "C" fn gettimeofday(
    userdata: UserData,
    into: *mut timeval,
    _zone: *mut c_void,
) -> c_int {
    let read = || {
        let now = micros(host(userdata)?.read_clock());
        // SAFETY: libc's contract of gettimeofday.
        *unsafe { memory::place(into) }? = timeval {
            tv_sec: now / 1_000_000,
            tv_usec: now % 1_000_000,
        };
        Ok(0)
    };
    answer(read())
}

fn micros(at: Instant) -> i64 {
    i64::try_from(at.as_micros()).unwrap_or(i64::MAX)
}
