//! poll and epoll.

use super::{answer, done, host, memory};
use crate::descriptors::Kind;
use crate::errno::{Errno, Outcome};
use crate::interface::UserData;
use crate::readiness::Epoll;
use libc::{c_int, c_short, epoll_event, nfds_t, pollfd};
use ringmill_core::time::Duration;
use std::slice;

/// libc's milliseconds, of which a negative number means for ever.
fn timeout(timeout_ms: c_int) -> Option<Duration> {
    u64::try_from(timeout_ms).ok().map(Duration::from_millis)
}

pub(super) unsafe extern "C" fn poll(
    userdata: UserData,
    at: *mut pollfd,
    count: nfds_t,
    timeout_ms: c_int,
) -> c_int {
    let count = usize::try_from(count).unwrap_or(0);
    if at.is_null() && count > 0 {
        return answer(Err(Errno::FAULT));
    }
    let watched: &mut [pollfd] = if count == 0 {
        &mut []
    } else {
        // SAFETY: libc's contract of poll: `count` elements to read and write.
        unsafe { slice::from_raw_parts_mut(at, count) }
    };
    let polled = host(userdata).and_then(|host| {
        host.call_within(timeout(timeout_ms), |world| {
            let mut ready = 0;
            for one in watched.iter_mut() {
                let asked = u32::from(one.events.cast_unsigned());
                let bits = match world.readiness(one.fd) {
                    Ok(readiness) => readiness.among(asked),
                    Err(_) => u32::from(libc::POLLNVAL.cast_unsigned()),
                };
                one.revents = c_short::try_from(bits).unwrap_or(0);
                ready += c_int::from(bits != 0);
            }
            or_again(ready, ready == 0)
        })
    });
    answer(none_if_late(polled))
}

pub(super) extern "C" fn epoll_create(userdata: UserData, size: c_int) -> c_int {
    let open = || {
        if size <= 0 {
            return Err(Errno::INVALID);
        }
        host(userdata)?.open(Kind::Epoll(Epoll::default()))
    };
    answer(open())
}

pub(super) unsafe extern "C" fn epoll_ctl(
    userdata: UserData,
    epoll: c_int,
    operation: c_int,
    number: c_int,
    event: *mut epoll_event,
) -> c_int {
    // SAFETY: libc's contract of epoll_ctl.
    let event = unsafe { memory::place(event) };
    let event = event.ok().map(|event| (event.events, event.u64));
    done(
        host(userdata).and_then(|host| {
            host.call(|world| world.epoll_control(epoll, operation, number, event))
        }),
    )
}

pub(super) unsafe extern "C" fn epoll_wait(
    userdata: UserData,
    epoll: c_int,
    at: *mut epoll_event,
    limit: c_int,
    timeout_ms: c_int,
) -> c_int {
    let wait = || {
        let limit = usize::try_from(limit).unwrap_or(0);
        if limit == 0 || at.is_null() {
            return Err(Errno::INVALID);
        }
        let ready = host(userdata)?.call_within(timeout(timeout_ms), |world| {
            let ready = world.epoll_ready(epoll, limit)?;
            let is_empty = ready.is_empty();
            or_again(ready, is_empty)
        });
        let ready = none_if_late(ready)?;
        // SAFETY: libc's contract of epoll_wait: `limit` elements to write.
        let into = unsafe { slice::from_raw_parts_mut(at, limit) };
        for (place, &(events, data)) in into.iter_mut().zip(&ready) {
            *place = epoll_event { events, u64: data };
        }
        Ok(c_int::try_from(ready.len()).unwrap_or(c_int::MAX))
    };
    answer(wait())
}

fn or_again<T>(value: T, is_nothing: bool) -> Outcome<T> {
    if is_nothing {
        Err(Errno::AGAIN)
    } else {
        Ok(value)
    }
}

/// Nothing became ready in time: that is no error here.
fn none_if_late<T: Default>(result: Outcome<T>) -> Outcome<T> {
    match result {
        Err(Errno::AGAIN) => Ok(T::default()),
        result => result,
    }
}
