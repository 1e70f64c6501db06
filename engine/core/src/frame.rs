//! Frames: the buffers that packets live in, as move-only tokens.
//!
//! A [`Frame`] owns its memory. Whoever holds it may read and write it, handing
//! it on moves it, and giving it back to its pool takes it by value, so a frame
//! with two owners, or one that is used after it was given away, does not
//! compile. The memory is one of three kinds, and only the pool asks which:
//!
//! ```text
//! pooled  heap memory of a pool            memory and simulated drivers
//! umem    a chunk of an AF_XDP UMEM        the AF_XDP driver
//! copied  heap memory, freed when dropped  bytes kept out of a scarce pool
//! ```
//!
//! A frame changes hands a dozen times on its way through the engine, so it is one
//! word, and what there is to know of it stays where it is.
//!
//! Inside a frame the packet is a window, so that headers can be put in front
//! of it and trailing padding cut off without moving a byte:
//!
//! ```text
//! |<------------------ capacity ------------------>|
//! |  headroom  |<------- data ------->|  tailroom  |
//!              head                   head + len
//! ```

use std::fmt;

/// Where packets start that the engine builds, and those that an AF_XDP driver
/// receives: one place for both lets a frame leave as it lies.
pub const HEADROOM: usize = 128;

enum Memory {
    Pooled(Box<[u8]>),
    Umem(&'static mut [u8]),
    Copied(Box<[u8]>),
}

/// One buffer and the window of it that is the packet.
pub struct Frame(Box<Buffer>);

struct Buffer {
    memory: Memory,
    head: u32,
    len: u32,
}

impl Frame {
    /// A pooled frame of `capacity` bytes (at most 65,535) on the heap, empty.
    pub fn pooled(capacity: usize) -> Frame {
        assert!(capacity <= usize::from(u16::MAX), "frame too large");
        Frame::empty(Memory::Pooled(vec![0; capacity].into_boxed_slice()))
    }

    /// A frame over `memory`, which is a chunk of a UMEM, empty.
    ///
    /// # Panics
    /// When the chunk is larger than 65,535 bytes.
    pub fn umem(memory: &'static mut [u8]) -> Frame {
        assert!(memory.len() <= usize::from(u16::MAX), "frame too large");
        Frame::empty(Memory::Umem(memory))
    }

    /// A frame outside any pool that holds a copy of `bytes`.
    ///
    /// # Panics
    /// When there are more than 65,535 bytes.
    pub fn copied(bytes: &[u8]) -> Frame {
        let mut frame = Frame::empty(Memory::Copied(bytes.into()));
        frame.set_window(0, bytes.len());
        frame
    }

    fn empty(memory: Memory) -> Frame {
        Frame(Box::new(Buffer {
            memory,
            head: 0,
            len: 0,
        }))
    }

    /// The chunk behind a UMEM frame, whole; none for other kinds.
    pub fn chunk(&mut self) -> Option<&mut [u8]> {
        match &mut self.0.memory {
            Memory::Umem(memory) => Some(memory),
            Memory::Pooled(_) | Memory::Copied(_) => None,
        }
    }

    /// Takes the chunk of a UMEM frame out, to be lent to the kernel: the frame is
    /// without memory until it gets [one again](Frame::restore).
    pub fn lend(&mut self) -> Option<&'static mut [u8]> {
        match &mut self.0.memory {
            Memory::Umem(memory) => {
                (self.0.head, self.0.len) = (0, 0);
                Some(std::mem::take(memory))
            }
            Memory::Pooled(_) | Memory::Copied(_) => None,
        }
    }

    /// Gives a frame that was [lent](Frame::lend) a chunk again, any of its UMEM.
    pub fn restore(&mut self, memory: &'static mut [u8]) {
        self.0.memory = Memory::Umem(memory);
    }

    /// The frame is of no pool: dropping it is freeing it.
    pub(crate) fn is_copied(&self) -> bool {
        matches!(self.0.memory, Memory::Copied(_))
    }

    /// The packet.
    pub fn data(&self) -> &[u8] {
        let window = self.window();
        match &self.0.memory {
            Memory::Pooled(memory) | Memory::Copied(memory) => &memory[window],
            Memory::Umem(memory) => &memory[window],
        }
    }

    /// The packet, to write.
    pub fn data_mut(&mut self) -> &mut [u8] {
        let window = self.window();
        match &mut self.0.memory {
            Memory::Pooled(memory) | Memory::Copied(memory) => &mut memory[window],
            Memory::Umem(memory) => &mut memory[window],
        }
    }

    fn window(&self) -> std::ops::Range<usize> {
        let head = self.head();
        head..head + self.len()
    }

    /// Bytes of the packet.
    pub fn len(&self) -> usize {
        self.0.len as usize
    }

    /// The packet has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Where in the buffer the packet starts.
    pub fn head(&self) -> usize {
        self.0.head as usize
    }

    /// Bytes of the whole buffer.
    pub fn capacity(&self) -> usize {
        match &self.0.memory {
            Memory::Pooled(memory) | Memory::Copied(memory) => memory.len(),
            Memory::Umem(memory) => memory.len(),
        }
    }

    /// Makes the packet the `len` bytes from `head` of the buffer on.
    ///
    /// # Panics
    /// When that is not within the buffer.
    pub fn set_window(&mut self, head: usize, len: usize) {
        assert!(head + len <= self.capacity(), "window outside the frame");
        // In range: the capacity is at most u16::MAX.
        self.0.head = u32::try_from(head).unwrap_or(0);
        self.0.len = u32::try_from(len).unwrap_or(0);
    }

    /// Makes the packet the `len` bytes from its byte `offset` on.
    ///
    /// # Panics
    /// When that is not within the packet.
    #[inline]
    pub fn narrow(&mut self, offset: usize, len: usize) {
        assert!(offset + len <= self.len(), "window outside the packet");
        // In range: both are within a length of 16 bits.
        self.0.head += u32::try_from(offset).unwrap_or(0);
        self.0.len = u32::try_from(len).unwrap_or(0);
    }

    /// Cuts the packet to its first `len` bytes; nothing if it is shorter.
    pub fn truncate(&mut self, len: usize) {
        self.0.len = self.0.len.min(u32::try_from(len).unwrap_or(u32::MAX));
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Frame({} of {} B at {})",
            self.0.len,
            self.capacity(),
            self.0.head
        )
    }
}

/// Frames under way between two stages, in order, at most [`Batch::CAPACITY`].
#[derive(Debug, Default)]
pub struct Batch(Vec<Frame>);

impl Batch {
    /// Frames of one batch: enough to amortise a ring operation, few enough to
    /// stay in the first-level cache (64 x 2 lines of headers).
    pub const CAPACITY: usize = 64;

    /// An empty batch.
    pub fn new() -> Batch {
        Batch(Vec::with_capacity(Batch::CAPACITY))
    }

    /// How many frames may still be pushed.
    pub fn room(&self) -> usize {
        Batch::CAPACITY - self.0.len()
    }

    /// Adds a frame at the end.
    ///
    /// # Panics
    /// When there is no [`room`](Batch::room).
    pub fn push(&mut self, frame: Frame) {
        assert!(self.room() > 0, "batch is full");
        self.0.push(frame);
    }

    /// Frames in the batch.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// No frame is in the batch.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The frames in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Frame> {
        self.0.iter()
    }

    /// Takes the first `count` frames out; all of them if there are fewer.
    pub fn drain(&mut self, count: usize) -> std::vec::Drain<'_, Frame> {
        self.0.drain(..count.min(self.0.len()))
    }
}

/// The frames of one shard that are not in use.
///
/// The pool never grows: its size is the shard's budget (see
/// `ringmill_core::shard::Config`), and running out is a counted drop, not an
/// allocation.
#[derive(Debug)]
pub struct FramePool {
    free: Vec<Frame>,
    total: usize,
}

impl FramePool {
    /// A pool of the given frames.
    pub fn new(frames: Vec<Frame>) -> FramePool {
        FramePool {
            total: frames.len(),
            free: frames,
        }
    }

    /// A pool of `count` heap frames of `capacity` bytes each.
    pub fn on_heap(count: usize, capacity: usize) -> FramePool {
        FramePool::new((0..count).map(|_| Frame::pooled(capacity)).collect())
    }

    /// A free frame with an empty window, or none.
    pub fn alloc(&mut self) -> Option<Frame> {
        let mut frame = self.free.pop()?;
        frame.set_window(0, 0);
        Some(frame)
    }

    /// Gives a frame back. A copied frame is not of any pool and is dropped.
    pub fn free(&mut self, frame: Frame) {
        if !frame.is_copied() {
            debug_assert!(
                self.free.len() < self.total,
                "more frames freed than the pool has"
            );
            self.free.push(frame);
        }
    }

    /// Frames that [`alloc`](FramePool::alloc) can give now.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Frames of the pool, in use or not.
    pub fn total(&self) -> usize {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_moves_without_copying() {
        let mut frame = Frame::pooled(256);
        frame.set_window(HEADROOM, 4);
        frame.data_mut().copy_from_slice(b"data");
        frame.set_window(HEADROOM - 2, 6);
        frame.data_mut()[..2].copy_from_slice(b"h:");
        assert_eq!(frame.data(), b"h:data");
        frame.truncate(3);
        assert_eq!(frame.data(), b"h:d");
    }

    #[test]
    #[should_panic(expected = "window outside the frame")]
    fn a_window_past_the_buffer_is_refused() {
        Frame::pooled(64).set_window(60, 5);
    }

    #[test]
    fn the_pool_counts_its_own_frames_only() {
        let mut pool = FramePool::on_heap(2, 64);
        let (a, b) = (pool.alloc().unwrap(), pool.alloc().unwrap());
        assert!(pool.alloc().is_none());
        pool.free(Frame::copied(b"kept elsewhere"));
        assert_eq!(pool.available(), 0);
        pool.free(a);
        pool.free(b);
        assert_eq!((pool.available(), pool.total()), (2, 2));
    }

    #[test]
    fn a_umem_chunk_goes_in_and_out() {
        let chunk: &'static mut [u8] = Box::leak(vec![7; 32].into_boxed_slice());
        let address = chunk.as_ptr();
        let mut frame = Frame::umem(chunk);
        frame.set_window(8, 8);
        let lent = frame.lend().unwrap();
        assert_eq!((lent.as_ptr(), lent.len(), frame.len()), (address, 32, 0));
        frame.restore(lent);
        assert_eq!(frame.chunk().unwrap().as_ptr(), address);
        assert!(Frame::pooled(8).lend().is_none());
    }
}
