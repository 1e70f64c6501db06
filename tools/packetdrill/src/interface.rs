//! packetdrill's table of functions, declared anew after its documentation.
//!
//! The order and the types of the fields are the contract; a field's name is the
//! libc call that it stands for, with the user data in front of libc's own
//! arguments.

use libc::{
    c_int, c_longlong, c_uint, c_ulong, c_void, epoll_event, iovec, loff_t, msghdr, nfds_t, pollfd,
    size_t, sockaddr, socklen_t, ssize_t, timeval, useconds_t,
};

/// What every function gets first.
pub type UserData = *mut c_void;

macro_rules! interface {
    ($($(#[doc = $doc:literal])* $name:ident($($argument:ty),*) $(-> $result:ty)?;)+) => {
        /// `struct packetdrill_interface`: filled in by the library under test.
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct Interface {
            /// Handed back as the first argument of every call.
            pub userdata: UserData,
            $($(#[doc = $doc])* pub $name: Option<unsafe extern "C" fn(UserData, $($argument),*) $(-> $result)?>,)+
        }
    };
}

interface! {
    /// Ends the use of the library.
    free();
    /// socket(2)
    socket(c_int, c_int, c_int) -> c_int;
    /// bind(2)
    bind(c_int, *const sockaddr, socklen_t) -> c_int;
    /// listen(2)
    listen(c_int, c_int) -> c_int;
    /// accept(2)
    accept(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
    /// connect(2)
    connect(c_int, *const sockaddr, socklen_t) -> c_int;
    /// read(2)
    read(c_int, *mut c_void, size_t) -> ssize_t;
    /// readv(2)
    readv(c_int, *const iovec, c_int) -> ssize_t;
    /// recv(2)
    recv(c_int, *mut c_void, size_t, c_int) -> ssize_t;
    /// recvfrom(2)
    recvfrom(c_int, *mut c_void, size_t, c_int, *mut sockaddr, *mut socklen_t) -> ssize_t;
    /// recvmsg(2)
    recvmsg(c_int, *mut msghdr, c_int) -> ssize_t;
    /// write(2)
    write(c_int, *const c_void, size_t) -> ssize_t;
    /// writev(2)
    writev(c_int, *const iovec, c_int) -> ssize_t;
    /// send(2)
    send(c_int, *const c_void, size_t, c_int) -> ssize_t;
    /// sendto(2)
    sendto(c_int, *const c_void, size_t, c_int, *const sockaddr, socklen_t) -> ssize_t;
    /// sendmsg(2)
    sendmsg(c_int, *const msghdr, c_int) -> ssize_t;
    /// fcntl(2). C declares it with `...` after the command; on x86-64 and
    /// AArch64 a third argument comes where a declared one would, and when there
    /// is none, what is there instead is not looked at.
    fcntl(c_int, c_int, c_ulong) -> c_int;
    /// ioctl(2), with the same remark.
    ioctl(c_int, c_ulong, *mut c_int) -> c_int;
    /// close(2)
    close(c_int) -> c_int;
    /// shutdown(2)
    shutdown(c_int, c_int) -> c_int;
    /// getsockopt(2)
    getsockopt(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;
    /// setsockopt(2)
    setsockopt(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;
    /// poll(2)
    poll(*mut pollfd, nfds_t, c_int) -> c_int;
    /// A bare IP packet arrives.
    netdev_send(*const c_void, size_t) -> c_int;
    /// The next bare IP packet that leaves: time passes until there is one. The
    /// length is the buffer's and becomes the packet's, 0 if none will leave.
    netdev_receive(*mut c_void, *mut size_t, *mut c_longlong) -> c_int;
    /// usleep(3)
    usleep(useconds_t) -> c_int;
    /// gettimeofday(2); the time zone is not filled in.
    gettimeofday(*mut timeval, *mut c_void) -> c_int;
    /// epoll_create(2)
    epoll_create(c_int) -> c_int;
    /// epoll_ctl(2)
    epoll_ctl(c_int, c_int, c_int, *mut epoll_event) -> c_int;
    /// epoll_wait(2)
    epoll_wait(c_int, *mut epoll_event, c_int, c_int) -> c_int;
    /// pipe(2)
    pipe(*mut c_int) -> c_int;
    /// splice(2)
    splice(c_int, *mut loff_t, c_int, *mut loff_t, size_t, c_uint) -> ssize_t;
}

// The user data and 32 functions, a pointer each.
const _: () = assert!(size_of::<Interface>() == 33 * size_of::<usize>());
