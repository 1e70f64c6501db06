//! What a scenario is written with: hosts, their sockets, the wire, and claims.
//!
//! ```text
//! let (client, server) = lab.pair();
//! let listener = server.listen(80);
//! let near = client.connect(&listener);
//! lab.settle();
//! lab.claim("...", near.is(State::Established), ...);
//! ```

use crate::engine::Engine;
use crate::fault::Fault;
use crate::kernel::{Far, KernelError};
use crate::parameters::{RTT, Values};
use crate::record::{Record, Segment, Shows, Side};
use crate::roles::Role;
use crate::scenario::{Claim, KernelIs, Table};
use crate::segment::Packet;
use crate::socket::{Host, Stagehand};
use crate::stage::Stage;
use crate::station::Station;
use crate::wire::{Fate, Middlebox};
use ringmill_core::driver::link::Link;
use ringmill_core::flow::FlowKey;
use ringmill_core::stack::{Config, InterfaceAddress};
use ringmill_core::tcp::TcpConfig;
use ringmill_core::time::{Duration, Instant};
use ringmill_core::wire::ethernet::MacAddress;
use std::cell::{Ref, RefCell, RefMut};
use std::net::Ipv4Addr;
use std::rc::Rc;

/// A run of a scenario.
pub(crate) struct Lab {
    stage: Stagehand,
    values: Values,
    fault: Option<Fault>,
    /// The kernel, until it has entered, and whom it plays.
    far: Option<(Far, Side)>,
    /// Why the kernel could not enter.
    refused: Option<KernelError>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) tables: Vec<Table>,
}

/// The engine's timers are as coarse, and rounded twice.
const MILLISECOND: Duration = Duration::from_millis(2);
/// A busy machine may keep a process waiting for so long.
const SCHEDULER: Duration = Duration::from_millis(60);

/// The round trip where a scenario has no parameter for it.
const RTT_DEFAULT: Duration = Duration::from_millis(100);

impl Lab {
    pub(crate) fn new(values: Values, fault: Option<Fault>, far: Option<(Far, KernelIs)>) -> Lab {
        let stage = Rc::new(RefCell::new(Stage::new(far.is_some())));
        Lab {
            stage,
            values,
            fault,
            far: far.map(|(far, plays)| match plays {
                KernelIs::Client => (far, Side::Left),
                KernelIs::Server => (far, Side::Right),
            }),
            refused: None,
            claims: Vec::new(),
            tables: Vec::new(),
        }
    }

    /// The stage, for as long as a statement.
    fn stage(&self) -> RefMut<'_, Stage> {
        self.stage.borrow_mut()
    }

    /// The values of the parameters.
    pub(crate) fn values(&self) -> &Values {
        &self.values
    }

    /// The round-trip time of the wire.
    pub(crate) fn rtt(&self) -> Duration {
        if self.values.has(RTT) {
            self.values.time(RTT)
        } else {
            RTT_DEFAULT
        }
    }

    /// A client on the left and a server on the right.
    pub(crate) fn pair(&mut self) -> (Host, Host) {
        self.pair_with(|_| {})
    }

    /// The same, with such a TCP on both.
    pub(crate) fn pair_with(&mut self, set: impl Fn(&mut TcpConfig)) -> (Host, Host) {
        let client = self.host("client", Side::Left, &set);
        (client, self.host("server", Side::Right, &set))
    }

    /// One more host on a side.
    pub(crate) fn host(&mut self, name: &str, side: Side, set: impl Fn(&mut TcpConfig)) -> Host {
        self.host_with(name, side, None, set)
    }

    /// The same, with a second address.
    pub(crate) fn host_with(
        &mut self,
        name: &str,
        side: Side,
        second: Option<Ipv4Addr>,
        set: impl Fn(&mut TcpConfig),
    ) -> Host {
        let number = self.stage().record.hosts.len();
        let station = u8::try_from(number + 1).unwrap_or(u8::MAX);
        let address = Ipv4Addr::new(198, 18, 0, station);
        let link = Link {
            delay: self.rtt() / 2,
            ..Link::default()
        };
        let mut tcp = TcpConfig::default();
        set(&mut tcp);
        if let Some(fault) = &self.fault {
            (fault.setting)(&mut tcp);
        }
        let kernel = self.far.take_if(|(_, plays)| *plays == side);
        let kernel = kernel.map(|(far, _)| far.enter(address, &tcp));
        let (station, mac, tcp): (Box<dyn Station>, _, _) = match kernel {
            Some(Ok((kernel, mac))) => (Box::new(kernel), mac, "kernel"),
            other => {
                // The run goes on without it, and ends with why.
                self.refused = self.refused.take().or(other.and_then(Result::err));
                let mac = MacAddress([2, 0, 0, 0, 0, station]);
                let mut config = Config::new(mac, address, 24);
                config.seed = 1_000 + u64::from(station);
                config.tcp = tcp;
                let second = second.map(|ip| InterfaceAddress {
                    ip: ip.into(),
                    prefix_len: 24,
                });
                config.addresses.extend(second);
                let engine = Engine::new(config, self.now());
                (Box::new(engine), mac, "engine")
            }
        };
        self.stage()
            .enter(name, (side, tcp), (address, mac), link, station);
        if number == 0
            && let Some(swallow) = self.fault.as_ref().and_then(|fault| fault.swallow)
        {
            self.on_segments(move |segment| {
                if swallow(segment) {
                    Fate::Lose
                } else {
                    Fate::Pass
                }
            });
        }
        if let Some(address) = second {
            self.stage().wire.add_address(address, number);
        }
        Host::new(self.stage.clone(), number)
    }

    /// Numbers by which connections begin, if the engine under test has none of its
    /// own.
    pub(crate) fn other_iss(&self) -> Option<fn(Instant, &FlowKey) -> u32> {
        self.fault.as_ref().and_then(|fault| fault.iss)
    }

    /// The kernel is on the stage, or will be.
    pub(crate) fn has_kernel(&self) -> bool {
        let entered = |stage: &Stage| stage.record.hosts.iter().any(|host| host.tcp == "kernel");
        self.far.is_some() || entered(&self.stage())
    }

    /// Now.
    pub(crate) fn now(&self) -> Instant {
        self.stage.borrow().now()
    }

    /// Lets time pass.
    pub(crate) fn wait(&self, length: Duration) {
        let end = self.now() + length;
        self.stage().run_until(end);
    }

    /// Lets time pass until nothing is on its way.
    pub(crate) fn settle(&self) {
        self.stage().settle();
    }

    /// Lets time pass until something is so, at most `patience`: whether it is.
    pub(crate) fn until(&self, patience: Duration, is_so: impl Fn() -> bool) -> bool {
        let end = self.now() + patience;
        let look = (patience / 2_000).max(Duration::from_millis(1));
        while self.now() < end {
            if is_so() {
                return true;
            }
            self.wait(look);
        }
        is_so()
    }

    /// The narrator speaks.
    pub(crate) fn note(&self, text: impl Into<String>) {
        self.stage().note(text);
    }

    /// Does something that is not in the picture; a line stands for it.
    pub(crate) fn quietly<T>(&mut self, line: &str, act: impl FnOnce(&mut Lab) -> T) -> T {
        let before = self.stage().record.untold;
        self.stage().tell(false);
        let done = act(self);
        self.stage().tell(true);
        let count = self.stage().record.untold - before;
        self.note(format!("{line} ({count} segments)"));
        done
    }

    /// A rule about segments.
    pub(crate) fn on_segments(&self, rule: impl FnMut(&Segment) -> Fate + 'static) {
        self.stage().wire.add_rule(Box::new(rule));
    }

    /// The `nth` segment of a role from a host, counted from 1, has this fate.
    pub(crate) fn fate_of(&self, nth: usize, role: Role, from: &Host, fate: Fate) {
        let (mut seen, from) = (0, from.number());
        self.on_segments(move |segment| {
            let is_one = segment.role == role && segment.from == from;
            seen += usize::from(is_one);
            if is_one && seen == nth {
                fate
            } else {
                Fate::Pass
            }
        });
    }

    /// The first segment of a role is lost, from whoever it comes.
    pub(crate) fn lose_first(&self, role: Role) {
        let mut is_lost = false;
        self.on_segments(move |segment| {
            let is_first = segment.role == role && !is_lost;
            is_lost |= is_first;
            if is_first { Fate::Lose } else { Fate::Pass }
        });
    }

    /// A device in the way of all segments.
    pub(crate) fn middlebox(&self, pass: impl FnMut(&mut Packet) -> bool + 'static) {
        let pass: Middlebox = Box::new(pass);
        self.stage().wire.add_middlebox(pass);
    }

    /// A segment that no host sent enters the wire where this host is.
    pub(crate) fn inject(&self, near: &Host, packet: Packet) {
        let now = self.now();
        let mut stage = self.stage();
        let Stage {
            wire, record, told, ..
        } = &mut *stage;
        wire.inject(now, near.number(), packet, record, *told);
    }

    /// The way from a host is like this from now on.
    pub(crate) fn set_link(&self, from: &Host, set: impl FnOnce(&mut Link)) {
        let mut stage = self.stage();
        let mut link = stage.wire.link(from.number());
        set(&mut link);
        stage.wire.set_link(from.number(), link);
    }

    /// Segments and bytes that a host has sent so far.
    pub(crate) fn sent_by(&self, host: &Host) -> (u64, u64) {
        self.stage.borrow().wire.sent[host.number()]
    }

    /// What happened so far.
    pub(crate) fn record(&self) -> Ref<'_, Record> {
        Ref::map(self.stage.borrow(), |stage| &stage.record)
    }

    /// What the picture says of every segment.
    pub(crate) fn show(&self, show: impl FnOnce(&mut Shows)) {
        show(&mut self.stage().record.shows);
    }

    /// Something that must hold, and what was measured.
    pub(crate) fn claim(
        &mut self,
        text: impl Into<String>,
        holds: bool,
        measured: impl Into<String>,
    ) {
        self.claims.push(Claim {
            text: text.into(),
            holds,
            measured: measured.into(),
        });
    }

    /// A measured time is what it should be, but for the engine's millisecond; on a
    /// real machine also for what its scheduler takes.
    pub(crate) fn is_about(&self, measured: Duration, expected: Duration) -> bool {
        self.is_within(measured, expected, MILLISECOND)
    }

    /// The same where looking takes time too, or a coarse timer is in it.
    pub(crate) fn is_roughly(&self, measured: Duration, expected: Duration) -> bool {
        self.is_within(
            measured,
            expected,
            Duration::from_millis(15) + expected / 20,
        )
    }

    fn is_within(&self, measured: Duration, expected: Duration, late: Duration) -> bool {
        let scheduler = if self.has_kernel() {
            SCHEDULER
        } else {
            Duration::ZERO
        };
        measured + MILLISECOND >= expected && measured <= expected + late + scheduler
    }

    /// A table of figures.
    pub(crate) fn table<const N: usize>(&mut self, head: [&str; N], rows: Vec<[String; N]>) {
        self.tables.push(Table {
            head: head.map(str::to_owned).to_vec(),
            rows: rows.into_iter().map(|row| row.to_vec()).collect(),
        });
    }

    /// Ends the run: what happened, or why the kernel had no part in it.
    pub(crate) fn into_record(self) -> Result<Record, KernelError> {
        let record = std::mem::take(&mut self.stage().record);
        self.refused.map_or(Ok(record), Err)
    }
}

/// A length of time, as people read it.
pub(crate) fn ms(length: Duration) -> String {
    crate::picture::time(length)
}
