//! The memory of a port: UMEM chunks, each of which is a frame or is the kernel's.
//!
//! ```text
//! chunk |<- LEAD ->|<-------------- frame -------------->|
//!       |<--- the kernel's headroom --->| packet ...     |
//!       0         128                  256            2048
//!                  |<---- HEADROOM ---->|
//! ```
//!
//! A received packet starts where the kernel's headroom ends, which is
//! [`HEADROOM`] into the frame. xsk-rs can name a chunk to the kernel by that
//! place only, so a packet to be sent must start there too: one that does is
//! sent as it lies, one that does not is moved there first.
//!
//! Unsafe here: chunks are turned into frames and back.

use crate::error::{Operation, XdpError};
use crate::huge_pages;
use crate::xdp::RING;
use ringmill_core::frame::{Frame, FramePool, HEADROOM};
use std::error::Error;
use std::io;
use std::mem::ManuallyDrop;
use std::num::NonZeroU32;
use std::ptr;
use std::slice;
use xsk_rs::config::{FrameSize, QueueSize, UmemConfig};
use xsk_rs::{FrameDesc, Umem};

/// What the kernel leaves free in front of a received packet (XDP_PACKET_HEADROOM).
pub(super) const KERNEL_HEADROOM: u16 = 256;
const LEAD: usize = KERNEL_HEADROOM as usize - HEADROOM;

/// All chunks of one UMEM.
pub(super) struct Chunks {
    umem: ManuallyDrop<Umem>,
    /// Descriptors by chunk number; xsk-rs makes them only once.
    descriptors: Vec<FrameDesc>,
    base: usize,
    size: usize,
    /// Frames whose memory the kernel has.
    lent: Vec<Frame>,
    on_huge_pages: bool,
    are_home: bool,
}

impl Chunks {
    /// Maps and registers at least `count` chunks of `size` bytes, on huge pages if
    /// the machine's pool has enough, which they then fill. All are the caller's, as
    /// frames.
    pub(super) fn map(
        interface: &str,
        count: u32,
        size: u32,
    ) -> Result<(Chunks, Vec<Frame>), XdpError> {
        let invalid = |reason: &dyn Error| XdpError::Invalid(reason.to_string());
        let ring = QueueSize::new(RING).map_err(|reason| invalid(&reason))?;
        let config = UmemConfig::builder()
            .frame_size(FrameSize::new(size).map_err(|reason| invalid(&reason))?)
            .fill_queue_size(ring)
            .comp_queue_size(ring)
            .build()
            .map_err(|reason| invalid(&reason))?;
        let none = || XdpError::Invalid("a port needs at least one frame".to_owned());
        let count = NonZeroU32::new(count).ok_or_else(none)?;
        let on_huge_pages =
            filling_huge_pages(count, size).and_then(|count| Umem::new(config, count, true).ok());
        let is_on_huge_pages = on_huge_pages.is_some();
        let (umem, mut descriptors) = match on_huge_pages {
            Some(made) => made,
            None => Umem::new(config, count, false).map_err(|error| {
                umem_error(interface, u64::from(count.get()) * u64::from(size), &error)
            })?,
        };
        // SAFETY: the descriptor is of this UMEM, and nobody else has its chunk.
        let mut first = unsafe { umem.data_mut(&mut descriptors[0]) };
        let base = first.contents_mut().as_mut_ptr().addr() - usize::from(KERNEL_HEADROOM);
        let chunks = Chunks {
            umem: ManuallyDrop::new(umem),
            lent: Vec::with_capacity(descriptors.len()),
            descriptors,
            base,
            size: size as usize,
            on_huge_pages: is_on_huge_pages,
            are_home: false,
        };
        // SAFETY: no frame exists yet, and each descriptor is used once.
        let frames = chunks
            .descriptors
            .iter()
            .map(|desc| Frame::umem(unsafe { chunks.memory(desc) }));
        let frames = frames.collect();
        Ok((chunks, frames))
    }

    /// The UMEM, to bind sockets to.
    pub(super) fn umem(&self) -> &Umem {
        &self.umem
    }

    /// The chunks are on pages of the machine's pool of huge ones.
    pub(super) fn are_on_huge_pages(&self) -> bool {
        self.on_huge_pages
    }

    /// The longest packet, in bytes, that can be sent.
    pub(super) fn packet_max(&self) -> usize {
        self.size - usize::from(KERNEL_HEADROOM)
    }

    /// What the frame has of the chunk that `descriptor` names.
    ///
    /// # Safety
    /// The descriptor is of this UMEM, and its chunk is neither the kernel's nor
    /// part of a frame.
    unsafe fn memory(&self, descriptor: &FrameDesc) -> &'static mut [u8] {
        let start = descriptor.addr() & !(self.size - 1);
        // The mapping was made by C, which exposes its provenance.
        let memory = ptr::with_exposed_provenance_mut(self.base + start + LEAD);
        // SAFETY: inside the mapping, which outlives every frame (see Drop), and
        // owned by nobody else, as the caller promises.
        unsafe { slice::from_raw_parts_mut(memory, self.size - LEAD) }
    }

    /// The frame of a chunk that the kernel gives back, its window the packet that
    /// `descriptor` names.
    ///
    /// # Safety
    /// The descriptor is of this UMEM, and its chunk was lent to the kernel and is
    /// not the kernel's any more.
    pub(super) unsafe fn frame(&mut self, descriptor: &FrameDesc) -> Frame {
        let mut frame = self.lent.pop().expect("the kernel was lent a frame");
        let start = descriptor.addr() & !(self.size - 1);
        // SAFETY: what was lent is part of no frame.
        frame.restore(unsafe { self.memory(descriptor) });
        frame.set_window(
            descriptor.addr() - start - LEAD,
            descriptor.lengths().data(),
        );
        frame
    }

    /// Lends a frame to the kernel, to receive into.
    ///
    /// # Panics
    /// When it is not a frame of this UMEM: a frame came into the wrong pool.
    pub(super) fn incoming(&mut self, mut frame: Frame) -> FrameDesc {
        let chunk = frame.lend().and_then(|memory| self.chunk_of(memory));
        self.lent.push(frame);
        self.descriptors[chunk.expect("a frame of this port")]
    }

    /// Lends a frame to the kernel, to be sent; the frame itself when it is on the
    /// heap.
    ///
    /// # Panics
    /// When it is a frame of another UMEM, or longer than [`Chunks::packet_max`].
    pub(super) fn outgoing(&mut self, mut frame: Frame) -> Result<FrameDesc, Frame> {
        let packet = frame.head()..frame.head() + frame.len();
        let Some(memory) = frame.lend() else {
            return Err(frame);
        };
        self.lent.push(frame);
        let length = packet.len();
        if packet.start != HEADROOM {
            memory.copy_within(packet, HEADROOM);
        }
        let chunk = self.chunk_of(memory).expect("a frame of this port");
        let mut descriptor = self.descriptors[chunk];
        // SAFETY: the descriptor is of this UMEM, and its memory was lent above.
        let mut packet = unsafe { self.umem.data_mut(&mut descriptor) };
        packet.cursor().set_pos(length);
        Ok(descriptor)
    }

    fn chunk_of(&self, memory: &[u8]) -> Option<usize> {
        let offset = memory.as_ptr().addr().checked_sub(self.base)?;
        Some(offset / self.size).filter(|&chunk| chunk < self.descriptors.len())
    }

    /// Takes frames back for good. When they and the `held` ones that the kernel
    /// has are all there are, the memory is unmapped with this.
    pub(super) fn come_home(&mut self, mut pool: FramePool, held: usize) -> Result<(), usize> {
        let mut frames: Vec<Frame> = std::iter::from_fn(|| pool.alloc()).collect();
        let ours = frames
            .iter_mut()
            .filter_map(Frame::chunk)
            .filter(|memory| self.chunk_of(memory).is_some());
        let missing = self.descriptors.len() - held - ours.count();
        self.are_home = missing == 0;
        if self.are_home { Ok(()) } else { Err(missing) }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        // A frame is a `&'static mut`, true only while the mapping is there. While
        // a frame may still be somewhere, the mapping stays, for as long as the
        // process lives, and with it the UMEM's socket on the first queue.
        if self.are_home {
            // SAFETY: done once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.umem) };
        }
    }
}

/// The least number of chunks, not below `count`, that fills pages of the machine's
/// pool: a mapping of another length can't be unmapped (mmap(2), MAP_HUGETLB). None
/// when the pool is empty, or one page of it is more than all of them.
fn filling_huge_pages(count: NonZeroU32, size: u32) -> Option<NonZeroU32> {
    let page = huge_pages::page_in_pool()?;
    let chunks = (page / u64::from(size)).try_into().ok()?;
    let filling = count.get().checked_next_multiple_of(chunks)?;
    NonZeroU32::new(filling).filter(|_| chunks <= count.get())
}

fn umem_error(interface: &str, bytes: u64, error: &dyn Error) -> XdpError {
    let source = error_source(error);
    match source.raw_os_error() {
        Some(libc::EAFNOSUPPORT) => XdpError::NoAfXdp,
        Some(libc::ENOBUFS) => XdpError::LockedMemory { kib: bytes / 1_024 },
        _ => XdpError::refused(Operation::SOCKET, interface, source),
    }
}

/// The kernel's answer, which xsk-rs keeps as the reason of its own error.
pub(super) fn error_source(error: &dyn Error) -> io::Error {
    let answer = error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>());
    match answer.and_then(io::Error::raw_os_error) {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error.to_string()),
    }
}
