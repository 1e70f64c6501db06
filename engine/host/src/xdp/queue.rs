//! The four rings of one queue, and who has how many frames.
//!
//! ```text
//!            fill ->             -> receive
//!   frames            kernel                  frames
//!            send ->             -> complete
//! ```
//!
//! Unsafe here: a descriptor that is put into a ring is a chunk given away, and
//! one that comes out is a chunk got back. Both directions take and give frames,
//! which have one owner, so that no chunk is in two places.

use crate::error::{Operation, XdpError};
use crate::xdp::umem::{Chunks, error_source};
use crate::xdp::{BATCH, RING};
use ringmill_core::driver::DriverDrops;
use ringmill_core::frame::{Batch, Frame, FramePool};
use ringmill_core::wire::joined::Joined;
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::ptr;
use xsk_rs::config::{BindFlags, Interface, LibxdpFlags, QueueSize, SocketConfig};
use xsk_rs::{CompQueue, FillQueue, FrameDesc, RxQueue, Socket, TxQueue};

/// Wake-ups of one call at most. In copy mode the kernel sends up to 32 frames a
/// wake-up: these are two batches. What is left waits for the next call.
const WAKE_UPS: usize = 4;
/// Frames worth a write to the fill ring, whose lines the kernel is reading on
/// another core.
const REFILL: usize = 16;
const RING_USIZE: usize = RING as usize;

/// A packet of several buffers.
enum Several {
    Joined(Joined),
    Refused,
}

pub(super) struct Queue {
    pub(super) number: u32,
    rx: RxQueue,
    fill: FillQueue,
    tx: TxQueue,
    completion: CompQueue,
    /// Frames in the fill ring, in the receive ring, or between them.
    receiving: usize,
    /// Frames in the transmit ring, in the completion ring, or between them.
    sending: usize,
    /// The packet whose next buffer comes, if it is one of several.
    under_way: Option<Several>,
    /// Packets of several buffers that were refused.
    refused: u64,
    /// Whoever looks for frames does the device's receive work.
    busy_poll: bool,
    /// Descriptors on their way between a ring and frames.
    scratch: [FrameDesc; Batch::CAPACITY],
}

impl Queue {
    /// Binds a socket to queue `number` of `interface`.
    pub(super) fn bind(
        chunks: &Chunks,
        interface: &str,
        number: u32,
        copying: BindFlags,
        busy_poll: bool,
    ) -> Result<Queue, XdpError> {
        let ring = QueueSize::new(RING).map_err(|reason| XdpError::Invalid(reason.to_string()))?;
        let config = SocketConfig::builder()
            .rx_queue_size(ring)
            .tx_queue_size(ring)
            .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
            .bind_flags(copying | BindFlags::XDP_USE_NEED_WAKEUP)
            .build();
        let unknown = |_| XdpError::UnknownInterface(interface.to_owned());
        let name: Interface = interface.parse().map_err(unknown)?;
        // SAFETY: no program is loaded by libxdp, as the flag says.
        let bound = unsafe { Socket::new(config, chunks.umem(), &name, number) };
        let (tx, rx, rings) = bound.map_err(|error| {
            let source = error_source(&error);
            match source.raw_os_error() {
                Some(libc::EBUSY) => queue_taken(interface, number),
                _ => XdpError::refused(Operation::SOCKET, interface, source),
            }
        })?;
        // No rings: this very UMEM is bound to the queue, so it was named twice.
        let (fill, completion) = rings.ok_or_else(|| queue_taken(interface, number))?;
        if busy_poll {
            prefer_busy_poll(rx.fd().as_raw_fd())
                .map_err(|reason| XdpError::refused(Operation::BUSY_POLL, interface, reason))?;
        }
        Ok(Queue {
            number,
            rx,
            fill,
            tx,
            completion,
            receiving: 0,
            sending: 0,
            under_way: None,
            refused: 0,
            busy_poll,
            scratch: [FrameDesc::default(); Batch::CAPACITY],
        })
    }

    pub(super) fn socket(&self) -> RawFd {
        self.rx.fd().as_raw_fd()
    }

    /// Frames that the kernel has.
    pub(super) fn held(&self) -> usize {
        self.receiving + self.sending
    }

    /// Moves received frames into `batch`, up to its room.
    pub(super) fn receive(&mut self, chunks: &mut Chunks, pool: &mut FramePool, batch: &mut Batch) {
        // SAFETY: the queue is bound to the UMEM of `chunks`.
        let count = unsafe { self.rx.consume(&mut self.scratch[..batch.room()]) };
        if count == 0 && self.busy_poll {
            poll_device(self.rx.fd().as_raw_fd());
        }
        self.receiving -= count;
        for descriptor in self.scratch.into_iter().take(count) {
            // SAFETY: the kernel just gave this chunk back, which was lent it.
            let mut frame = unsafe { chunks.frame(&descriptor) };
            let has_more = descriptor.has_more_frames();
            if (has_more || self.under_way.is_some()) && !self.cut(&mut frame, has_more) {
                pool.free(frame);
                continue;
            }
            batch.push(frame);
        }
    }

    /// Makes one of several buffers a packet of its own, if it can.
    fn cut(&mut self, frame: &mut Frame, has_more: bool) -> bool {
        let several = match self.under_way.take() {
            None => match Joined::begin(frame) {
                Some(joined) => Several::Joined(joined),
                None => {
                    self.refused += 1;
                    Several::Refused
                }
            },
            Some(Several::Joined(mut joined)) => {
                joined.piece(frame, !has_more);
                Several::Joined(joined)
            }
            Some(Several::Refused) => Several::Refused,
        };
        let is_cut = matches!(several, Several::Joined(_));
        self.under_way = Some(several).filter(|_| has_more);
        is_cut
    }

    /// Hands free frames to the kernel to receive into, until it has `target` or
    /// the pool is down to `reserve`.
    pub(super) fn refill(
        &mut self,
        chunks: &mut Chunks,
        pool: &mut FramePool,
        target: usize,
        reserve: usize,
    ) {
        loop {
            let spare = pool.available().saturating_sub(reserve);
            let wanted = target.saturating_sub(self.receiving).min(spare);
            if wanted == 0 || (wanted < REFILL && self.receiving >= REFILL) {
                break;
            }
            // The kernel may say that it emptied a slot later than it gives the
            // frame back: there can be less room than frames came out.
            let count = wanted.min(room(self.fill.nb_free(BATCH)));
            if count == 0 {
                break;
            }
            let descriptors = &mut self.scratch[..count];
            for (descriptor, frame) in descriptors.iter_mut().zip(pool_frames(pool)) {
                *descriptor = chunks.incoming(frame);
            }
            // SAFETY: each descriptor is of a frame of the bound UMEM, lent above.
            let filled = unsafe { self.fill.produce(descriptors) };
            assert_eq!(filled, count, "there was room in the fill ring");
            self.receiving += count;
        }
        if self.fill.needs_wakeup() {
            // A failing poll shows up as frames that don't arrive, with a counter.
            let _ = self.fill.wakeup(self.rx.fd_mut(), 0);
        }
    }

    /// Frames that [`send`](Queue::send) takes now.
    pub(super) fn room(&mut self) -> usize {
        // The completion ring must have room for all that is under way.
        room(self.tx.nb_free(BATCH)).min(RING_USIZE - self.sending)
    }

    /// Puts frames, at most [`room`](Queue::room), into the transmit ring.
    pub(super) fn send(&mut self, descriptors: &[FrameDesc]) {
        // SAFETY: made by Chunks::outgoing, each is of a frame that was lent.
        let sent = unsafe { self.tx.produce(descriptors) };
        assert_eq!(
            sent,
            descriptors.len(),
            "there was room in the transmit ring"
        );
        self.sending += sent;
    }

    /// Makes the kernel send what is in the transmit ring.
    pub(super) fn wake_up(&mut self) -> io::Result<()> {
        if self.sending == 0 {
            return Ok(());
        }
        for _ in 0..WAKE_UPS {
            if self.tx.nb_free_exact() == RING || !self.tx.needs_wakeup() {
                break;
            }
            self.tx.wakeup()?;
        }
        Ok(())
    }

    /// Gives frames whose sending is complete back to `pool`.
    pub(super) fn complete(&mut self, chunks: &mut Chunks, pool: &mut FramePool) {
        while self.sending > 0 {
            // SAFETY: the queue is bound to the UMEM of `chunks`.
            let count = unsafe { self.completion.consume(&mut self.scratch) };
            self.sending -= count;
            for descriptor in &self.scratch[..count] {
                // SAFETY: the kernel just gave this chunk back, which was lent it.
                pool.free(unsafe { chunks.frame(descriptor) });
            }
            if count < Batch::CAPACITY {
                break;
            }
        }
    }

    /// What the kernel dropped (XDP_STATISTICS); nothing if it does not say.
    pub(super) fn drops(&self) -> DriverDrops {
        let counts = self.rx.fd().xdp_statistics().unwrap_or_default();
        let no_frame = counts.rx_fill_ring_empty_descs();
        DriverDrops {
            rx_ring_full: counts.rx_ring_full(),
            rx_no_frame: no_frame,
            // In copy mode a frame that found the fill ring empty is in `rx_dropped` too.
            rx_invalid: self.refused
                + counts.rx_invalid_descs()
                + counts.rx_dropped().saturating_sub(no_frame),
            tx_invalid: counts.tx_invalid_descs(),
        }
    }
}

/// SO_PREFER_BUSY_POLL (Linux 5.11), and the least time that turns busy polling on: a
/// call that does not wait looks once anyway.
fn prefer_busy_poll(socket: RawFd) -> io::Result<()> {
    // Of asm-generic/socket.h; libc has them for few machines.
    const SO_BUSY_POLL: libc::c_int = 46;
    const SO_PREFER_BUSY_POLL: libc::c_int = 69;
    const OPTION_LEN: libc::socklen_t = 4;
    for option in [SO_PREFER_BUSY_POLL, SO_BUSY_POLL] {
        let on: libc::c_int = 1;
        // SAFETY: the value is an int, and outlives the call.
        let answer = unsafe {
            libc::setsockopt(
                socket,
                libc::SOL_SOCKET,
                option,
                (&raw const on).cast(),
                OPTION_LEN,
            )
        };
        if answer != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Does the receive work of the socket's queue now, in this thread.
fn poll_device(socket: RawFd) {
    // SAFETY: nothing is written: there is no buffer. Whatever goes wrong shows up as
    // frames that don't arrive.
    let _ = unsafe { libc::recv(socket, ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
}

/// Free slots of a ring, as far as one batch needs them.
fn room(free: u32) -> usize {
    usize::try_from(free)
        .unwrap_or(usize::MAX)
        .min(Batch::CAPACITY)
}

fn pool_frames(pool: &mut FramePool) -> impl Iterator<Item = Frame> {
    std::iter::from_fn(|| pool.alloc())
}

fn queue_taken(interface: &str, queue: u32) -> XdpError {
    XdpError::QueueTaken {
        interface: interface.to_owned(),
        queue,
    }
}
