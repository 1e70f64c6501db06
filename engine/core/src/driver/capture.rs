//! A capture: writes what passes a driver as pcapng, for any tool that reads it.
//!
//! A write that fails ends the capture, never the traffic; the error is told at
//! the end.

use super::{Driver, DriverDrops};
use crate::frame::{Batch, Frame, FramePool};
use crate::time::{Duration, Instant};
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};
use std::borrow::Cow;
use std::io::Write;

/// if_tsresol: stamps are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;
/// The direction bits of epb_flags (pcapng, section 4.3.1).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;

/// A driver whose frames are written down as they pass.
pub struct Capture<D, W: Write> {
    driver: D,
    writer: Option<PcapNgWriter<W>>,
    error: Option<PcapError>,
    /// Frames at the front of the batch to send that are written already: they
    /// found no room when they were first offered, and will come again.
    waiting: usize,
    /// What to add to an instant to stamp a frame.
    wall_clock_offset: Duration,
}

impl<D: Driver, W: Write> Capture<D, W> {
    /// Captures what passes `driver` into `writer`. `wall_clock_offset` is the
    /// time from 1970-01-01 UTC to [`Instant::ZERO`].
    pub fn new(
        driver: D,
        writer: W,
        wall_clock_offset: Duration,
    ) -> Result<Capture<D, W>, PcapError> {
        let mut writer = PcapNgWriter::new(writer)?;
        writer.write_pcapng_block(InterfaceDescriptionBlock {
            linktype: DataLink::ETHERNET,
            snaplen: 0,
            options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
        })?;
        Ok(Capture {
            driver,
            writer: Some(writer),
            error: None,
            waiting: 0,
            wall_clock_offset,
        })
    }

    /// Ends the capture: the driver, and the writer or why writing to it failed.
    pub fn finish(mut self) -> (D, Result<W, PcapError>) {
        let written = match (self.writer.take(), self.error) {
            (Some(writer), None) => Ok(writer.into_inner()),
            (_, Some(error)) => Err(error),
            (None, None) => Err(PcapError::IncompleteBuffer),
        };
        (self.driver, written)
    }

    /// The driver.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    fn write(&mut self, now: Instant, frame: &Frame, direction: u32) {
        let Some(writer) = &mut self.writer else {
            return;
        };
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: now.since(Instant::ZERO) + self.wall_clock_offset,
            original_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(frame.data()),
            options: vec![EnhancedPacketOption::Flags(direction)],
        };
        if let Err(error) = writer.write_pcapng_block(block) {
            self.error = Some(error);
            self.writer = None;
        }
    }
}

impl<D: Driver, W: Write> Driver for Capture<D, W> {
    fn rx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        let before = batch.len();
        self.driver.rx(now, pool, batch);
        for frame in batch.iter().skip(before) {
            self.write(now, frame, INBOUND);
        }
    }

    fn tx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        // Written when it is first offered, for afterwards it is the driver's.
        for frame in batch.iter().skip(self.waiting) {
            self.write(now, frame, OUTBOUND);
        }
        self.driver.tx(now, pool, batch);
        self.waiting = batch.len();
    }

    fn next_arrival(&self) -> Option<Instant> {
        self.driver.next_arrival()
    }

    fn held(&self) -> usize {
        self.driver.held()
    }

    fn drops(&self) -> DriverDrops {
        self.driver.drops()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::memory::MemoryDriver;
    use pcap_file::pcapng::{Block, PcapNgReader};

    fn frame(bytes: &[u8]) -> Frame {
        let mut frame = Frame::pooled(64);
        frame.set_window(0, bytes.len());
        frame.data_mut().copy_from_slice(bytes);
        frame
    }

    #[test]
    fn both_directions_are_written_with_their_time_and_read_back() {
        let mut pool = FramePool::on_heap(4, 64);
        let mut capture =
            Capture::new(MemoryDriver::new(), Vec::new(), Duration::from_secs(1_000)).unwrap();
        let mut batch = Batch::new();
        batch.push(frame(b"out"));
        capture.tx(Instant::from_nanos(5), &mut pool, &mut batch);
        capture.driver.arrive(frame(b"in"));
        capture.rx(Instant::from_nanos(7), &mut pool, &mut batch);
        assert_eq!(batch.len(), 1);

        let (_, written) = capture.finish();
        let written = written.unwrap();
        let mut reader = PcapNgReader::new(&written[..]).unwrap();
        let mut seen: Vec<(u128, Vec<u8>, Vec<EnhancedPacketOption<'static>>)> = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                seen.push((
                    packet.timestamp.as_nanos(),
                    packet.data.to_vec(),
                    packet
                        .options
                        .into_iter()
                        .map(EnhancedPacketOption::into_owned)
                        .collect(),
                ));
            }
        }
        let flags = |direction| vec![EnhancedPacketOption::Flags(direction)];
        assert_eq!(
            seen[0],
            (1_000_000_000_005, b"out".to_vec(), flags(OUTBOUND))
        );
        assert_eq!(seen[1], (1_000_000_000_007, b"in".to_vec(), flags(INBOUND)));
        assert_eq!(seen.len(), 2);
    }

    /// Takes the headers and then no more.
    struct FullDisk(usize);

    impl Write for FullDisk {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self
                .0
                .checked_sub(bytes.len())
                .ok_or(std::io::ErrorKind::StorageFull)?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// Takes one frame at a time, as a transmit ring that is nearly full.
    struct Narrow(MemoryDriver);

    impl Driver for Narrow {
        fn rx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
            self.0.rx(now, pool, batch);
        }
        fn tx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
            let mut first = Batch::new();
            for frame in batch.drain(1) {
                first.push(frame);
            }
            self.0.tx(now, pool, &mut first);
        }
        fn held(&self) -> usize {
            self.0.held()
        }
        fn drops(&self) -> DriverDrops {
            self.0.drops()
        }
    }

    #[test]
    fn a_frame_that_waits_for_room_is_written_once() {
        let mut pool = FramePool::on_heap(4, 64);
        let narrow = Narrow(MemoryDriver::new());
        let mut capture = Capture::new(narrow, Vec::new(), Duration::ZERO).unwrap();
        let mut batch = Batch::new();
        batch.push(frame(b"first"));
        batch.push(frame(b"second"));
        capture.tx(Instant::ZERO, &mut pool, &mut batch);
        batch.push(frame(b"third"));
        while !batch.is_empty() {
            capture.tx(Instant::ZERO, &mut pool, &mut batch);
        }
        let written = capture.finish().1.unwrap();
        let mut reader = PcapNgReader::new(&written[..]).unwrap();
        let mut seen = Vec::new();
        while let Some(block) = reader.next_block() {
            if let Block::EnhancedPacket(packet) = block.unwrap() {
                seen.push(packet.data.to_vec());
            }
        }
        assert_eq!(seen, [&b"first"[..], b"second", b"third"]);
    }

    #[test]
    fn a_full_disk_ends_the_capture_and_not_the_traffic() {
        let mut pool = FramePool::on_heap(4, 64);
        let mut capture = Capture::new(MemoryDriver::new(), FullDisk(80), Duration::ZERO).unwrap();
        for _ in 0..3 {
            let mut batch = Batch::new();
            batch.push(frame(&[0; 60]));
            capture.tx(Instant::ZERO, &mut pool, &mut batch);
            assert!(batch.is_empty());
        }
        let (mut driver, written) = capture.finish();
        assert!(written.is_err());
        assert_eq!(std::iter::from_fn(|| driver.take_sent()).count(), 3);
    }
}
