//! The way between the stage and the kernel's veth: an AF_XDP socket at its other
//! end, which takes all that the kernel sends to the lab's hosts.

use super::KernelError;
use ringmill::netns::Namespace;
use ringmill::{Interface, Owned, Steering, XdpConfig, XdpDriver, XdpError, XdpMode};
use ringmill_core::driver::Driver as _;
use ringmill_core::frame::{Batch, FramePool};
use ringmill_core::time::Instant;
use std::collections::VecDeque;
use std::net::Ipv4Addr;

pub(super) struct Gate {
    /// Both go when the gate is closed.
    port: Option<(XdpDriver, FramePool)>,
    steering: Option<Steering>,
    received: Batch,
    leaving: Batch,
    from_kernel: VecDeque<Vec<u8>>,
    to_kernel: VecDeque<Vec<u8>>,
}

impl Gate {
    /// Opens it for all addresses of the lab's network but the kernel's own.
    pub(super) fn open(
        lab: &Namespace,
        interface: &str,
        kernel: Ipv4Addr,
    ) -> Result<Gate, KernelError> {
        let [a, b, c, own] = kernel.octets();
        let others = (1..=254).filter(|&last| last != own);
        let owned: Vec<Owned> = others
            .map(|last| Owned::Address(Ipv4Addr::new(a, b, c, last).into()))
            .collect();
        let (driver, pool, steering) = lab.within(|| -> Result<_, XdpError> {
            let interface = Interface::find_up(interface)?;
            let mut steering = Steering::attach(&interface, XdpMode::Auto, None, &owned)?;
            let (driver, pool) = XdpDriver::open(&XdpConfig::new(&interface.name))?;
            steering.deliver_to(&driver)?;
            Ok((driver, pool, steering))
        })??;
        Ok(Gate {
            port: Some((driver, pool)),
            steering: Some(steering),
            received: Batch::new(),
            leaving: Batch::new(),
            from_kernel: VecDeque::new(),
            to_kernel: VecDeque::new(),
        })
    }

    /// A frame for the kernel.
    pub(super) fn put(&mut self, frame: Vec<u8>) {
        self.to_kernel.push_back(frame);
    }

    /// The next frame of the kernel's.
    pub(super) fn take(&mut self) -> Option<Vec<u8>> {
        self.from_kernel.pop_front()
    }

    /// Moves what there is, both ways: whether there was anything.
    pub(super) fn pass(&mut self, now: Instant) -> bool {
        let Some((driver, pool)) = &mut self.port else {
            return false;
        };
        while self.leaving.room() > 0
            && let Some(bytes) = self.to_kernel.pop_front()
        {
            let Some(mut frame) = pool.alloc() else {
                self.to_kernel.push_front(bytes);
                break;
            };
            frame.set_window(0, bytes.len());
            frame.data_mut().copy_from_slice(&bytes);
            self.leaving.push(frame);
        }
        let has_sent = !self.leaving.is_empty();
        driver.tx(now, pool, &mut self.leaving);
        driver.rx(now, pool, &mut self.received);
        let has_received = !self.received.is_empty();
        for frame in self.received.drain(Batch::CAPACITY) {
            self.from_kernel.push_back(frame.data().to_vec());
            pool.free(frame);
        }
        has_sent || has_received
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.steering = None;
        if let Some((driver, mut pool)) = self.port.take() {
            for frame in self.leaving.drain(Batch::CAPACITY) {
                pool.free(frame);
            }
            // Frames that do not come home keep their memory mapped: there is
            // nothing else to do about it.
            let _ = driver.close(pool);
        }
    }
}
