//! A scenario: what it shows, and the function that plays it.

use crate::lab::Lab;
use crate::parameters::Defaults;
use crate::record::Record;
use crate::station::Errno;

/// What a scenario is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Theme {
    /// Three segments, and what could go wrong with two.
    Opening,
    /// Four segments, half a connection, and peers that do not play along.
    Closing,
    /// Why the side that closes first waits.
    TimeWait,
    /// Buffers, windows, and small segments.
    Data,
    /// Backlogs, floods and options of a listener.
    Listening,
    /// Local ports, and who runs out of them.
    Ports,
    /// What all of it costs an application.
    Applications,
}

impl Theme {
    /// The heading over its scenarios.
    pub const fn title(self) -> &'static str {
        match self {
            Theme::Opening => "Opening",
            Theme::Closing => "Closing",
            Theme::TimeWait => "TIME-WAIT",
            Theme::Data => "Data",
            Theme::Listening => "Listening",
            Theme::Ports => "Local ports",
            Theme::Applications => "Applications",
        }
    }
}

/// Which host is the kernel in a run over a veth pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelIs {
    /// The one who asks.
    Client,
    /// The one who is asked.
    Server,
}

/// One behaviour of TCP.
#[derive(Debug)]
pub struct Scenario {
    /// What the command line calls it.
    pub name: &'static str,
    /// What it is about.
    pub theme: Theme,
    /// What it shows, in a line.
    pub title: &'static str,
    /// Why it is so, in plain words.
    pub why: &'static str,
    /// Where that is written.
    pub rfc: &'static str,
    /// Its parameters and their values where none are given.
    pub parameters: Defaults,
    /// Where the kernel plays, if it can.
    pub kernel: Option<KernelIs>,
    pub(crate) play: fn(&mut Lab) -> Played,
}

/// A script goes to its end, or stops at a call that was refused.
pub(crate) type Played = Result<(), Errno>;

/// Something that must hold.
#[derive(Clone, Debug)]
pub struct Claim {
    /// What.
    pub text: String,
    /// It does.
    pub holds: bool,
    /// What was measured.
    pub measured: String,
}

/// A table of figures.
#[derive(Clone, Debug)]
pub struct Table {
    /// The columns' names.
    pub head: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What was played.
    pub scenario: &'static Scenario,
    /// With which values.
    pub parameters: String,
    /// What happened.
    pub record: Record,
    /// What was claimed.
    pub claims: Vec<Claim>,
    /// Figures beside the claims.
    pub tables: Vec<Table>,
}

impl Outcome {
    /// Every claim holds, and there are some.
    pub fn holds(&self) -> bool {
        !self.claims.is_empty() && self.claims.iter().all(|claim| claim.holds)
    }
}
