//! One run: engines and a network in virtual time, and the rules that must hold
//! at every step.

use super::Effort;
use super::meddling;
use super::network::{Network, mac};
use super::node::Node;
use super::observer::Observer;
use super::plan::{End, Ledger};
use super::port::Port;
use super::scenario::{Host, Scenario};
use super::segment::Seen;
use ringmill_core::frame::FramePool;
use ringmill_core::rng::Rng;
use ringmill_core::shard::Shard;
use ringmill_core::stack::{Config, InterfaceAddress};
use ringmill_core::tcp::State;
use ringmill_core::time::{Duration, Instant};
use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::rc::Rc;

/// Bytes of a host's frames: headroom and an Ethernet frame of 1,500 bytes of IP.
const FRAME_CAPACITY: usize = 2_048;
/// Steps without a frame or the passing of time before a host is said to spin.
const SPINS_MAX: u32 = 1_000;
/// Steps of a run that ends; those that do take a hundredth.
const STEPS_MAX: u64 = 3_000_000;

/// What was seen on the wire, for whoever wants to print it.
pub(crate) trait Watcher {
    fn sent(&mut self, now: Instant, host: usize, frame: &[u8]);
    fn delivered(&mut self, now: Instant, host: usize, frame: &[u8]);
}

/// Nobody watches.
impl Watcher for () {
    fn sent(&mut self, _: Instant, _: usize, _: &[u8]) {}
    fn delivered(&mut self, _: Instant, _: usize, _: &[u8]) {}
}

/// A host's engine, and when it is to be stepped.
struct Machine {
    shard: Shard<Port, Node>,
    nap: Duration,
    wake: Option<Instant>,
    /// Steps in a row that moved nothing at the same instant.
    spins: u32,
    last_step: Option<Instant>,
}

pub(crate) struct World<'a, W> {
    scenario: &'a Scenario,
    ledger: Rc<RefCell<Ledger>>,
    machines: Vec<Machine>,
    network: Network,
    observer: Observer,
    watcher: &'a mut W,
    rng: Rng,
    now: Instant,
    effort: Effort,
}

/// A host's address of either family.
fn address_of(host: usize, is_v6: bool) -> IpAddr {
    let number = u8::try_from(host + 1).unwrap_or(u8::MAX);
    if is_v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, number.into()).into()
    } else {
        Ipv4Addr::new(198, 18, 0, number).into()
    }
}

type Outcome<T = ()> = Result<T, String>;

/// Runs a scenario to its end: what it took, or the first rule that was broken.
pub(crate) fn run(scenario: &Scenario, watcher: &mut impl Watcher) -> Outcome<Effort> {
    let mut world = World::new(scenario, watcher);
    let told = world.run();
    // When and after how much it happened helps to find it in the trace.
    told.map_err(|wrong| format!("at {:?}: {wrong}", world.now.since(Instant::ZERO)))?;
    Ok(world.effort)
}

impl<'a, W: Watcher> World<'a, W> {
    fn new(scenario: &'a Scenario, watcher: &'a mut W) -> World<'a, W> {
        let mut rng = Rng::from_seed(scenario.seed);
        let ledger = Rc::new(RefCell::new(Ledger {
            ends: vec![[End::default(); 2]; scenario.plans.len()],
            wrong: None,
        }));
        let plans: Rc<[_]> = scenario.plans.clone().into();
        let machines = scenario.hosts.iter().enumerate().map(|(number, host)| {
            let node = Node::new(
                number,
                address_of,
                plans.clone(),
                ledger.clone(),
                host.accepting,
            );
            Machine::new(number, host, node, rng.next_u64())
        });
        let machines = machines.collect();
        let network = Network::new(
            scenario.topology,
            scenario.hosts.len(),
            scenario.changes.clone(),
            scenario.filter,
            Rng::from_seed(rng.next_u64()),
        );
        World {
            scenario,
            ledger,
            machines,
            network,
            observer: Observer::default(),
            watcher,
            rng,
            now: Instant::ZERO,
            effort: Effort {
                seeds: 1,
                connections: scenario.plans.len() as u64,
                ..Effort::default()
            },
        }
    }

    fn run(&mut self) -> Outcome {
        self.until_quiet()?;
        self.judge()?;
        // Some may be left whose peer is gone and can't tell: TCP without
        // keep-alive keeps these for ever, so the applications let go of them.
        for host in 0..self.machines.len() {
            self.check_held(host)?;
            let now = self.now;
            let machine = &mut self.machines[host];
            machine
                .shard
                .with_app(now, |node, sockets| node.abort_open_sides(sockets));
            machine.wake = Some(now);
        }
        self.until_quiet()?;
        self.check_home()?;
        self.effort.lost = self.network.lost();
        self.effort.virtual_time = self.now.since(Instant::ZERO);
        Ok(())
    }

    /// Runs until nothing will ever happen again.
    fn until_quiet(&mut self) -> Outcome {
        loop {
            self.deliver();
            let now = self.now;
            let due = |machine: &Machine| machine.wake.is_some_and(|wake| wake <= now);
            let mut is_due = false;
            for host in 0..self.machines.len() {
                if due(&self.machines[host]) {
                    is_due = true;
                    self.step(host)?;
                }
            }
            if is_due {
                continue;
            }
            let wakes = self.machines.iter().filter_map(|machine| machine.wake);
            match wakes.chain(self.network.next_event()).min() {
                Some(next) => self.now = next,
                None => return Ok(()),
            }
        }
    }

    fn deliver(&mut self) {
        while let Some((host, bytes)) = self.network.arrival(self.now) {
            self.watcher.delivered(self.now, host, &bytes);
            let mut forged = None;
            if let Some(seen) = Seen::parse(&bytes) {
                self.observer.delivered(&seen);
                if self.scenario.hosts[host].accepting.by_cookies {
                    self.observer.may_open_again(&seen);
                }
                if self.rng.chance(self.scenario.forgeries)
                    && let Some(target) = self.observer.target(&seen.flow)
                {
                    forged = Some(meddling::forge(&seen, &target, &mut self.rng, [host; 2]));
                }
            }
            let machine = &mut self.machines[host];
            machine.shard.driver_mut().arrive(bytes);
            if let Some(forged) = forged {
                if let Some(seen) = Seen::parse(&forged) {
                    self.observer.forged(&seen);
                }
                self.watcher.delivered(self.now, host, &forged);
                machine.shard.driver_mut().arrive(forged);
            }
            machine.wake(self.now);
        }
    }

    fn step(&mut self, host: usize) -> Outcome {
        let machine = &mut self.machines[host];
        let moved = machine.shard.step(self.now);
        let is_same = machine.last_step == Some(self.now);
        machine.spins = if is_same && !moved {
            machine.spins + 1
        } else {
            0
        };
        machine.last_step = Some(self.now);
        machine.wake = None;
        if let Some(deadline) = machine.shard.next_deadline() {
            machine.wake(deadline.max(self.now));
        }
        if machine.shard.driver().has_arrivals() {
            machine.wake(self.now);
        }
        let spins = machine.spins;
        self.effort.steps += 1;
        while let Some(bytes) = self.machines[host].shard.driver_mut().take_sent() {
            self.effort.frames += 1;
            self.watcher.sent(self.now, host, &bytes);
            if let Some(seen) = Seen::parse(&bytes) {
                self.observer.sent(&seen)?;
            }
            self.network.send(self.now, host, &bytes);
        }
        self.check_step(host, spins)
    }
}

impl Machine {
    fn new(number: usize, host: &Host, node: Node, seed: u64) -> Machine {
        let mut config = Config::new(mac(number), address_of(number, false), 24);
        config.addresses.push(InterfaceAddress {
            ip: address_of(number, true),
            prefix_len: 64,
        });
        config.mtu = host.mtu;
        config.seed = seed;
        config.tcp = host.tcp.clone();
        let pool = FramePool::on_heap(host.frames, FRAME_CAPACITY);
        let port = Port::new(host.ring_size);
        let mut shard = Shard::new(config, Instant::ZERO, port, pool, node);
        shard.with_app(Instant::ZERO, |node, sockets| {
            node.listen(sockets, host.options)
        });
        Machine {
            shard,
            nap: host.nap,
            wake: Some(Instant::ZERO),
            spins: 0,
            last_step: None,
        }
    }

    /// Is to be stepped at `at`, or when it has slept.
    fn wake(&mut self, at: Instant) {
        let rested = self.last_step.map_or(at, |last| last + self.nap);
        let at = at.max(rested);
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

/// The rules.
impl<W: Watcher> World<'_, W> {
    /// What must hold after every step of a host.
    fn check_step(&self, host: usize, spins: u32) -> Outcome {
        let shard = &self.machines[host].shard;
        let wrong = |what: &dyn std::fmt::Display| Err(format!("host {host}: {what}"));
        if let Some(objection) = self.ledger.borrow().wrong.as_ref() {
            return wrong(objection);
        }
        if let Err(broken) = shard.check(self.now) {
            return wrong(&broken);
        }
        match shard.frames_missing() {
            0 => {}
            missing => return wrong(&format_args!("{missing} frames are missing")),
        }
        if spins > SPINS_MAX {
            return wrong(&"it spins: something is due and nothing is done");
        }
        if self.effort.steps > STEPS_MAX {
            return wrong(&"it never ends");
        }
        Ok(())
    }

    /// Everything was delivered, or did not have to be.
    fn judge(&self) -> Outcome {
        let ledger = self.ledger.borrow();
        for (number, (plan, ends)) in self.scenario.plans.iter().zip(&ledger.ends).enumerate() {
            super::judge::verdict(self.scenario, plan, ends)
                .map_err(|wrong| format!("connection {number}: {wrong}: {ends:?}"))?;
        }
        Ok(())
    }

    /// At rest an engine holds what its application holds, and nothing else.
    fn check_held(&self, host: usize) -> Outcome {
        let Machine { shard, .. } = &self.machines[host];
        let open: Vec<Option<usize>> = shard.app().open_sides().collect();
        let gauges = shard.gauges();
        if gauges.live() != open.len() {
            return Err(format!(
                "host {host}: at rest it holds {} connections of the application's {}: {gauges:?}",
                gauges.live(),
                open.len()
            ));
        }
        let ledger = self.ledger.borrow();
        let has_lost_peer = |number: usize| {
            let plan = &self.scenario.plans[number];
            plan.server == host && ledger.ends[number][0].failed()
        };
        // The others were judged by their plans.
        let is_unnamed = shard.app().holds_unnamed();
        if is_unnamed && !(0..self.scenario.plans.len()).any(has_lost_peer) {
            return Err(format!("host {host}: a connection never said a word"));
        }
        Ok(())
    }

    /// After the end everything is home.
    fn check_home(&self) -> Outcome {
        for (host, Machine { shard, .. }) in self.machines.iter().enumerate() {
            let gauges = shard.gauges();
            let held = [
                gauges.live(),
                gauges.of(State::TimeWait),
                gauges.chunks,
                gauges.held_frames,
                gauges.timers,
                gauges.ports,
                shard.frames_missing(),
            ];
            if held != [0; 7] {
                return Err(format!("host {host}: not everything came home: {gauges:?}"));
            }
        }
        Ok(())
    }
}
