//! An engine without a behaviour: to show that a scenario notices.

use crate::record::Segment;
use ringmill_core::flow::FlowKey;
use ringmill_core::tcp::TcpConfig;
use ringmill_core::time::Instant;

/// What is taken from every engine on the stage.
#[derive(Clone, Copy)]
pub struct Fault {
    /// A setting that switches it off.
    pub setting: fn(&mut TcpConfig),
    /// Segments that an engine without it would not send.
    pub swallow: Option<fn(&Segment) -> bool>,
    /// Initial sequence numbers in place of its own.
    pub iss: Option<fn(Instant, &FlowKey) -> u32>,
}

impl Fault {
    /// A behaviour that a setting switches off.
    pub const fn of_setting(setting: fn(&mut TcpConfig)) -> Fault {
        Fault {
            setting,
            swallow: None,
            iss: None,
        }
    }

    /// A behaviour that is to send such segments.
    pub const fn of_segments(swallow: fn(&Segment) -> bool) -> Fault {
        Fault {
            setting: |_| {},
            swallow: Some(swallow),
            iss: None,
        }
    }

    /// Initial sequence numbers that are chosen otherwise.
    pub const fn of_iss(iss: fn(Instant, &FlowKey) -> u32) -> Fault {
        Fault {
            setting: |_| {},
            swallow: None,
            iss: Some(iss),
        }
    }
}
