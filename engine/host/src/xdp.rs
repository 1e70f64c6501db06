//! The AF_XDP driver: the engine's port onto a real interface.
//!
//! One socket a queue, all of them over one UMEM, so that a frame received on
//! one queue is sent on another without a copy. Frames are sent through the
//! first queue. The driver looks into no packet, but to have one that comes in
//! several buffers cut into segments, and attaches no program: without a
//! [`Steering`](crate::steer::Steering) that delivers to it, it receives nothing.
//!
//! ```text
//! pool --> fill ring ----> kernel ----> receive ring ----> batch
//! batch -> transmit ring -> kernel ---> completion ring -> pool
//! ```

mod queue;
mod umem;

use crate::error::XdpError;
use crate::interface::Interface;
use queue::Queue;
use ringmill_core::driver::{Driver, DriverDrops};
use ringmill_core::frame::{Batch, Frame, FramePool, HEADROOM};
use ringmill_core::time::Instant;
use std::fmt;
use std::io;
use std::os::fd::RawFd;
use umem::{Chunks, KERNEL_HEADROOM};
use xsk_rs::FrameDesc;
use xsk_rs::config::BindFlags;

/// Entries of each ring: 2 ms of a million frames a second, for a receiver that
/// loses its core for a moment.
const RING: u32 = 2_048;
/// [`Batch::CAPACITY`] in the type of ring counts.
const BATCH: u32 = 64;
const _: () = assert!(BATCH as usize == Batch::CAPACITY);
/// Ethernet header and one VLAN tag.
const LINK_HEADER: u32 = 18;
/// Chunk sizes: half a page, and a page, which is the most that AF_XDP has.
const CHUNKS: [u32; 2] = [2_048, 4_096];
/// Bytes of a chunk that are no IP packet.
const OVERHEAD: u32 = KERNEL_HEADROOM as u32 + LINK_HEADER;

/// The largest IP packet, in bytes, that can be sent or received: what fits in a frame.
/// An interface may have a larger MTU; longer packets that arrive are then dropped and
/// counted.
pub const MTU_MAX: u32 = CHUNKS[1] - OVERHEAD;

/// What to open.
#[derive(Clone, Debug)]
pub struct XdpConfig {
    /// The interface, in the calling thread's network namespace.
    pub interface: String,
    /// The queues to receive on; all of the interface's when empty. Sending goes
    /// through the first.
    pub queues: Vec<u32>,
    /// How many frames there are.
    pub frames: FrameBudget,
    /// Try zero copy; without it, or where the device can't, the kernel copies
    /// each frame. Zero copy wants native XDP.
    pub zero_copy: bool,
    /// Do the device's receive work in the thread that looks for frames, not in an
    /// interrupt: for a device whose interrupts would come to the same core.
    pub busy_poll: bool,
}

impl XdpConfig {
    /// All queues of `interface`, with the default budget, zero copy if it can.
    pub fn new(interface: &str) -> XdpConfig {
        XdpConfig {
            interface: interface.to_owned(),
            queues: Vec::new(),
            frames: FrameBudget::default(),
            zero_copy: true,
            busy_poll: false,
        }
    }
}

/// Where the frames of a port can be, which adds up to how many it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameBudget {
    /// Waiting for arrivals, for each queue; at most a ring (2,048) is used.
    pub receiving: u32,
    /// Under way to the wire; at most a ring (2,048) is used.
    pub sending: u32,
    /// In the hands of one step: a batch that came in and one that goes out.
    pub working: u32,
    /// Kept by the engine: out of order, unread, or unacknowledged data.
    pub kept: u32,
}

impl Default for FrameBudget {
    fn default() -> FrameBudget {
        FrameBudget {
            receiving: RING,
            sending: RING,
            working: 2 * BATCH,
            kept: 4_096,
        }
    }
}

impl FrameBudget {
    /// The sum.
    pub fn total(&self, queues: usize) -> u32 {
        let queues = u32::try_from(queues).unwrap_or(u32::MAX);
        let receiving = self.receiving.saturating_mul(queues);
        [self.sending, self.working, self.kept]
            .into_iter()
            .fold(receiving, u32::saturating_add)
    }
}

/// How a port runs, which the kernel and the device have a say in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Modes {
    /// The device moves frames without copying them.
    pub zero_copy: bool,
    /// The frames are on pages of the machine's pool of huge ones.
    pub huge_pages: bool,
    /// The thread that looks for frames does the device's receive work.
    pub busy_poll: bool,
}

impl fmt::Display for Modes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.zero_copy {
            true => "zero copy",
            false => "copy mode",
        })?;
        // Asked for of every socket, and no kernel with AF_XDP in use lacks it.
        f.write_str(", need_wakeup")?;
        f.write_str(match self.busy_poll {
            true => ", busy polling",
            false => ", no busy polling",
        })?;
        f.write_str(match self.huge_pages {
            true => ", frames on huge pages",
            false => "",
        })
    }
}

/// Frames could not be given back when a port was closed.
#[derive(Debug, thiserror::Error)]
#[error("{missing} frames are still in use: the port's memory stays mapped")]
pub struct FramesMissing {
    /// How many.
    pub missing: usize,
}

/// One port onto an interface.
///
/// Closed by [`close`](XdpDriver::close). When it is dropped instead, nobody
/// knows where its frames are: their memory then stays mapped, and the first
/// queue taken, until the process ends.
pub struct XdpDriver {
    // Before `chunks`: the sockets go first, then the memory that they use.
    queues: Vec<Queue>,
    chunks: Chunks,
    interface: Interface,
    zero_copy: bool,
    busy_poll: bool,
    receiving: usize,
    /// Descriptors of the batch that is being sent; empty between calls.
    descriptors: Vec<FrameDesc>,
    /// The queue whose turn it is to be received from first.
    turn: usize,
    /// Frames that were too long to be sent, or on the heap with no frame to copy them to.
    tx_dropped: u64,
    fault: Option<io::Error>,
}

impl XdpDriver {
    /// Opens a port, and the pool of its frames.
    pub fn open(config: &XdpConfig) -> Result<(XdpDriver, FramePool), XdpError> {
        let interface = Interface::find_up(&config.interface)?;
        let numbers = chosen_queues(&interface, &config.queues)?;
        let size = chunk_size(&interface);
        let total = config.frames.total(numbers.len());
        let (mut chunks, frames) = Chunks::map(&interface.name, total, size)?;
        let bound = bind_as_possible(&chunks, config, &numbers);
        let (queues, zero_copy) = match bound {
            Ok(bound) => bound,
            Err(reason) => {
                let _ = chunks.come_home(FramePool::new(frames), 0);
                return Err(reason);
            }
        };
        let mut driver = XdpDriver {
            queues,
            chunks,
            interface,
            zero_copy,
            busy_poll: config.busy_poll,
            receiving: config.frames.receiving.min(RING) as usize,
            descriptors: Vec::with_capacity(Batch::CAPACITY),
            turn: 0,
            tx_dropped: 0,
            fault: None,
        };
        let mut pool = FramePool::new(frames);
        driver.refill(&mut pool);
        Ok((driver, pool))
    }

    /// Queue numbers and their sockets, for the steering program.
    pub fn sockets(&self) -> impl Iterator<Item = (u32, RawFd)> {
        self.queues
            .iter()
            .map(|queue| (queue.number, queue.socket()))
    }

    /// The interface as it was when the port was opened.
    pub fn interface(&self) -> &Interface {
        &self.interface
    }

    /// How it runs.
    pub fn modes(&self) -> Modes {
        Modes {
            zero_copy: self.zero_copy,
            huge_pages: self.chunks.are_on_huge_pages(),
            busy_poll: self.busy_poll,
        }
    }

    /// What was opened and chosen, in one line for people.
    pub fn describe(&self) -> String {
        let Interface { name, driver, .. } = &self.interface;
        let numbers: Vec<_> = self
            .queues
            .iter()
            .map(|queue| queue.number.to_string())
            .collect();
        let (queues, modes) = (numbers.join(" and "), self.modes());
        format!("{name} ({driver}), queue {queues}, {modes}")
    }

    /// Why the kernel refuses to send, if it does: the interface is gone, say.
    pub fn fault(&self) -> Option<&io::Error> {
        self.fault.as_ref()
    }

    /// Closes the port. When all its frames are in `pool` or in its own rings,
    /// queues and memory are free at once.
    pub fn close(self, pool: FramePool) -> Result<(), FramesMissing> {
        let held = self.held();
        let XdpDriver {
            queues, mut chunks, ..
        } = self;
        drop(queues);
        chunks
            .come_home(pool, held)
            .map_err(|missing| FramesMissing { missing })
    }

    fn refill(&mut self, pool: &mut FramePool) {
        // The last batch of free frames is for sending: without it, an engine
        // that keeps many frames could not send the acknowledgements that free them.
        for queue in &mut self.queues {
            queue.refill(&mut self.chunks, pool, self.receiving, Batch::CAPACITY);
        }
    }

    /// The descriptor to send `frame` by; none if it was dropped.
    fn outgoing(&mut self, frame: Frame, pool: &mut FramePool) -> Option<FrameDesc> {
        if frame.len() > self.chunks.packet_max() {
            self.tx_dropped += 1;
            pool.free(frame);
            return None;
        }
        match self.chunks.outgoing(frame) {
            Ok(descriptor) => Some(descriptor),
            Err(on_heap) => {
                let Some(mut copy) = pool.alloc() else {
                    self.tx_dropped += 1;
                    return None;
                };
                copy.set_window(HEADROOM, on_heap.len());
                copy.data_mut().copy_from_slice(on_heap.data());
                self.chunks.outgoing(copy).ok()
            }
        }
    }
}

impl Driver for XdpDriver {
    fn rx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        for offset in 0..self.queues.len() {
            let queue = (self.turn + offset) % self.queues.len();
            self.queues[queue].receive(&mut self.chunks, pool, batch);
        }
        // A queue that fills whole batches must not starve the others.
        self.turn = (self.turn + 1) % self.queues.len();
        self.refill(pool);
    }

    fn tx(&mut self, _now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        self.queues[0].complete(&mut self.chunks, pool);
        if !batch.is_empty() {
            let room = self.queues[0].room();
            let mut descriptors = std::mem::take(&mut self.descriptors);
            let frames = batch.drain(room);
            descriptors.extend(frames.filter_map(|frame| self.outgoing(frame, pool)));
            self.queues[0].send(&descriptors);
            descriptors.clear();
            self.descriptors = descriptors;
        }
        let queue = &mut self.queues[0];
        if let Err(fault) = queue.wake_up() {
            self.fault = Some(fault);
        }
        queue.complete(&mut self.chunks, pool);
    }

    fn held(&self) -> usize {
        self.queues.iter().map(Queue::held).sum()
    }

    fn drops(&self) -> DriverDrops {
        let mut sum = DriverDrops {
            tx_invalid: self.tx_dropped,
            ..DriverDrops::default()
        };
        for drops in self.queues.iter().map(Queue::drops) {
            sum.rx_ring_full += drops.rx_ring_full;
            sum.rx_no_frame += drops.rx_no_frame;
            sum.rx_invalid += drops.rx_invalid;
            sum.tx_invalid += drops.tx_invalid;
        }
        sum
    }
}

impl fmt::Debug for XdpDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "XdpDriver({})", self.describe())
    }
}

/// Whether this kernel has AF_XDP sockets and lets this thread open one.
pub fn has_af_xdp() -> Result<(), XdpError> {
    let (mut chunks, frames) = Chunks::map("no interface", BATCH, CHUNKS[0])?;
    // All of them were just made.
    let _ = chunks.come_home(FramePool::new(frames), 0);
    Ok(())
}

/// Sockets of all queues, and whether they are zero copy.
fn bind_as_possible(
    chunks: &Chunks,
    config: &XdpConfig,
    numbers: &[u32],
) -> Result<(Vec<Queue>, bool), XdpError> {
    // A device may do zero copy and not with packets of several buffers. Those came
    // with Linux 6.6.
    let ways = [
        BindFlags::XDP_ZEROCOPY,
        BindFlags::XDP_COPY | BindFlags::XDP_USE_SG,
        BindFlags::XDP_COPY,
    ];
    let mut ways = ways.into_iter().skip(usize::from(!config.zero_copy));
    loop {
        let way = ways.next().unwrap_or(BindFlags::XDP_COPY);
        let bind = |&number| Queue::bind(chunks, &config.interface, number, way, config.busy_poll);
        match numbers.iter().map(bind).collect() {
            // What it does not have: EOPNOTSUPP, or EINVAL of some drivers and kernels.
            Err(XdpError::Kernel { source, .. })
                if ways.len() > 0
                    && matches!(source.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EINVAL)) => {}
            bound => return Ok((bound?, way.contains(BindFlags::XDP_ZEROCOPY))),
        }
    }
}

fn chosen_queues(interface: &Interface, asked: &[u32]) -> Result<Vec<u32>, XdpError> {
    if let Some(&queue) = asked.iter().find(|&&queue| queue >= interface.rx_queues) {
        return Err(XdpError::NoSuchQueue {
            interface: interface.name.clone(),
            queue,
            count: interface.rx_queues,
        });
    }
    match asked {
        [] => Ok((0..interface.rx_queues).collect()),
        asked => Ok(asked.to_vec()),
    }
}

/// The smallest chunk that a frame of the interface's MTU fits in, else the largest:
/// then the engine's own MTU is [`MTU_MAX`].
fn chunk_size(interface: &Interface) -> u32 {
    let fits = |size: &u32| interface.mtu <= size - OVERHEAD;
    CHUNKS.into_iter().find(fits).unwrap_or(CHUNKS[1])
}
