//! Two system calls that the standard library has no names for.
//!
//! Unsafe here: calls into libc with plain numbers.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd as _;

/// Moves the calling thread into the network namespace behind `file`.
pub(super) fn enter(file: &File) -> io::Result<()> {
    // SAFETY: takes a descriptor, open during the call, and a flag; touches no memory.
    match unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Kills a process. One that is gone already is not an error.
pub(super) fn kill(process: libc::pid_t) {
    // SAFETY: takes two numbers and touches no memory.
    unsafe { libc::kill(process, libc::SIGKILL) };
}
