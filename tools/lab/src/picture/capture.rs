//! The segments of a run as a capture (pcapng), each once, when it was sent.

use crate::record::Record;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::{DataLink, PcapError};
use ringmill_core::time::Instant;
use std::borrow::Cow;
use std::io::Write;

/// if_tsresol: stamps are in units of 10^-9 s.
const NANOSECONDS: u8 = 9;

pub(crate) fn write(record: &Record, to: impl Write) -> Result<(), PcapError> {
    let mut writer = PcapNgWriter::new(to)?;
    writer.write_pcapng_block(InterfaceDescriptionBlock {
        linktype: DataLink::ETHERNET,
        snaplen: 0,
        options: vec![InterfaceDescriptionOption::IfTsResol(NANOSECONDS)],
    })?;
    for (at, frame) in &record.frames {
        writer.write_pcapng_block(EnhancedPacketBlock {
            interface_id: 0,
            timestamp: at.since(Instant::ZERO),
            original_len: u32::try_from(frame.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(frame),
            options: Vec::new(),
        })?;
    }
    Ok(())
}
