//! The TCP lab: every behaviour of TCP shown, checked and explained, on the real
//! engine.
//!
//! ```text
//! themes/     the scenarios: read these to learn
//! lab         what they are written with: hosts, sockets, wire, claims
//! stage       stations, wire and time       station   a host: engine, or kernel
//! record      what happened                 picture/  drawn for a terminal, as SVG ...
//! states      the state machine as a drawing, with the path of a scenario
//! ```
//!
//! A scenario runs in virtual time, on two hosts or three that are whole engines;
//! those of which it makes sense also run against the Linux kernel, over a veth
//! pair, in real time. What is claimed is measured on what happened.

mod engine;
mod fault;
mod kernel;
mod lab;
mod parameters;
mod picture;
mod record;
mod roles;
mod scenario;
mod segment;
mod socket;
mod stage;
mod states;
mod station;
mod themes;
mod wire;

pub use fault::Fault;
pub use kernel::KernelError;
pub use parameters::{BadParameter, PARAMETERS, Parameter};
pub use record::{Change, Event, Lifeline, Record, Segment, Shows, Side, What};
pub use roles::Role;
pub use scenario::{Claim, KernelIs, Outcome, Scenario, Table, Theme};

use lab::Lab;
use parameters::Values;

/// Every scenario, by theme.
pub fn scenarios() -> impl Iterator<Item = &'static Scenario> {
    themes::ALL.iter().flat_map(|theme| theme.iter())
}

/// The scenario of a name.
pub fn find(name: &str) -> Option<&'static Scenario> {
    scenarios().find(|scenario| scenario.name == name)
}

/// Why a scenario was not played.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// A parameter makes no sense.
    #[error(transparent)]
    Parameter(#[from] BadParameter),
    /// The kernel has no part in it.
    #[error("{0} has no part for the kernel: run it without --veth")]
    NoKernel(&'static str),
    /// The kernel can't play here.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Plays a scenario in virtual time, with `parameters` in place of its defaults,
/// and with engines that lack something if there is a `fault`.
pub fn play(
    scenario: &'static Scenario,
    parameters: &[(String, String)],
    fault: Option<Fault>,
) -> Result<Outcome, PlayError> {
    let values = Values::new(scenario.name, scenario.parameters, parameters)?;
    play_in(scenario, &values, Lab::new(values.clone(), fault, None))
}

/// Plays a scenario in real time, the Linux kernel in the part of one host. It
/// takes root and a kernel with AF_XDP.
pub fn play_with_kernel(
    scenario: &'static Scenario,
    parameters: &[(String, String)],
) -> Result<Outcome, PlayError> {
    let plays = scenario.kernel.ok_or(PlayError::NoKernel(scenario.name))?;
    let values = Values::new(scenario.name, scenario.parameters, parameters)?;
    let far = kernel::Far::open()?;
    play_in(
        scenario,
        &values,
        Lab::new(values.clone(), None, Some((far, plays))),
    )
}

fn play_in(
    scenario: &'static Scenario,
    values: &Values,
    mut lab: Lab,
) -> Result<Outcome, PlayError> {
    if let Err(errno) = (scenario.play)(&mut lab) {
        lab.claim("the script goes to its end", false, errno.to_string());
    }
    Ok(Outcome {
        scenario,
        parameters: values.line(),
        claims: std::mem::take(&mut lab.claims),
        tables: std::mem::take(&mut lab.tables),
        record: lab.into_record()?,
    })
}

/// The state machine as a drawing, with the path of a run in it.
pub fn states(path: Option<&Outcome>) -> String {
    states::svg(path)
}

impl Outcome {
    /// The run for a terminal; a long picture is cut unless it is to be whole.
    pub fn text(&self, is_whole: bool) -> String {
        picture::terminal::text(self, is_whole)
    }

    /// The run as a drawing, whole in itself.
    pub fn svg(&self) -> String {
        picture::drawing::svg(self)
    }

    /// The run as a page to read.
    pub fn html(&self) -> String {
        picture::page::page(self)
    }

    /// The run as data.
    pub fn json(&self) -> serde_json::Value {
        picture::json::json(self)
    }

    /// Its segments as a capture.
    pub fn write_pcap(&self, to: impl std::io::Write) -> std::io::Result<()> {
        picture::capture::write(&self.record, to).map_err(std::io::Error::other)
    }
}
