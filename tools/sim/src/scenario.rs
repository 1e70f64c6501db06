//! What a seed stands for: hosts, links and how they change, options, and what
//! the applications are to do. All of it is drawn before the run begins.

use super::Edition;
use super::meddling::Filter;
use super::network::{Change, Topology, pipes_of};
use super::node::Accepting;
use super::plan::{Dialogue, NAME_LEN, Pace, Plan, Role};
use ringmill_core::driver::link::{Burst, Link};
use ringmill_core::ports::PortRange;
use ringmill_core::rng::Rng;
use ringmill_core::sockets::SocketOptions;
use ringmill_core::tcp::{Algorithm, Ecn, SynCookies, TcpConfig};
use ringmill_core::time::{Duration, Instant};

/// One host.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    pub(crate) mtu: u16,
    pub(crate) tcp: TcpConfig,
    pub(crate) frames: usize,
    /// Frames that its transmit ring takes at a time.
    pub(crate) ring_size: usize,
    /// It sleeps this long between two steps.
    pub(crate) nap: Duration,
    pub(crate) accepting: Accepting,
    /// Of what it accepts.
    pub(crate) options: SocketOptions,
}

#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) topology: Topology,
    pub(crate) hosts: Vec<Host>,
    /// In the order of time.
    pub(crate) changes: Vec<Change>,
    /// From then on no frame is lost but for want of room.
    pub(crate) heals_at: Instant,
    pub(crate) plans: Vec<Plan>,
    /// Of all that is sent.
    pub(crate) filter: Filter,
    /// Segments that come with a forged one behind, in millionths.
    pub(crate) forgeries: u32,
    /// Seeds the network and the hosts.
    pub(crate) seed: u64,
}

impl Scenario {
    /// The scenario of a seed, in one edition.
    pub(crate) fn draw(seed: u64, edition: Edition) -> Scenario {
        let mut scenario = Scenario::first(seed);
        // Each from a generator of its own: it draws nothing away from the rest.
        if edition >= Edition::Openings {
            scenario.draw_openings(&mut Draw(Rng::from_seed(!seed)));
        }
        if edition >= Edition::Habits {
            scenario.draw_habits(&mut Draw(Rng::from_seed(seed ^ 1 << 63)));
        }
        scenario
    }

    /// The third edition: what profiles differ in.
    fn draw_habits(&mut self, draw: &mut Draw) {
        for Host { tcp, .. } in &mut self.hosts {
            tcp.zero_window_probe_data = draw.is(50);
            tcp.quick_acks = draw.of(&[0, 0, 16]);
            tcp.restart_after_idle = draw.is(80);
            tcp.slow_start_limit = draw.of(&[8, 2, u32::MAX]);
            tcp.cubic_from_cwnd = draw.is(30);
            tcp.rto.min_variation = Duration::from_millis(draw.of(&[0, 0, 200]));
        }
    }

    fn first(seed: u64) -> Scenario {
        let mut draw = Draw(Rng::from_seed(seed));
        let (topology, hosts) = match draw.below(10) {
            0..=3 => (Topology::Row(1), 2),
            4..=5 => (Topology::Row(draw.size(2, 4)), 2),
            6..=7 => (Topology::Star, draw.size(2, 5)),
            _ => (Topology::Dumbbell, draw.size(3, 6)),
        };
        let weather = Weather::draw(&mut draw);
        let pipes = pipes_of(topology, hosts);
        let changes = weather.changes(&mut draw, pipes);
        let hosts: Vec<Host> = (0..hosts).map(|_| draw.host()).collect();
        let plans = draw.plans(&hosts, weather.heals_at);
        Scenario {
            topology,
            hosts,
            changes,
            heals_at: weather.heals_at,
            plans,
            filter: Filter::Passes,
            forgeries: draw.fault(20, 200_000),
            seed: draw.0.next_u64(),
        }
    }
}

/// Draws in the terms of scenarios.
pub(crate) struct Draw(Rng);

impl Draw {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    pub(crate) fn is(&mut self, percent: u32) -> bool {
        self.0.chance(percent * 10_000)
    }

    /// `least` to `most`, both included.
    pub(crate) fn size(&mut self, least: usize, most: usize) -> usize {
        let span = (most - least + 1) as u64;
        least + usize::try_from(self.below(span)).unwrap_or(0)
    }

    /// The same, every order of magnitude as likely.
    fn magnitude(&mut self, least: u64, most: u64) -> u64 {
        let doublings = u64::from((most / least.max(1)).max(1).ilog2()) + 1;
        let bound = least.max(1) << self.below(doublings + 1).min(62);
        least + self.below(bound.min(most - least + 1))
    }

    /// Up to `most`, and large ones more likely.
    fn much(&mut self, most: u64) -> u64 {
        self.magnitude(0, most).max(self.magnitude(0, most))
    }

    pub(crate) fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.magnitude(0, most))
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.size(0, choices.len() - 1)]
    }

    /// A probability in millionths; most often none.
    fn fault(&mut self, percent: u32, most: u64) -> u32 {
        if self.is(percent) {
            u32::try_from(self.magnitude(1_000, most)).unwrap_or(0)
        } else {
            0
        }
    }

    fn host(&mut self) -> Host {
        let frames = self.of(&[128, 256, 512]);
        let tcp = self.tcp(frames);
        let by_cookies = tcp.syn_cookies != SynCookies::Never;
        Host {
            mtu: self.of(&[1_500, 1_500, 1_500, 1_492, 1_280, 576]),
            tcp,
            frames,
            ring_size: self.of(&[1, 8, 64, 64]),
            nap: Duration::from_micros(self.of(&[0, 0, 0, 50, 1_000])),
            accepting: Accepting {
                backlog: self.of(&[1, 2, 16, 64]),
                at_a_time: self.of(&[1, 64, 64]),
                pause: Duration::from_millis(self.below(50)),
                by_cookies,
            },
            options: self.options(),
        }
    }

    fn tcp(&mut self, frames: usize) -> TcpConfig {
        let default = TcpConfig::default();
        let first = 1_024 + u16::try_from(self.below(60_000)).unwrap_or(0);
        let ports = self.of(&[4, 16, 1_000]);
        let config = TcpConfig {
            max_connections: 64,
            max_half_open: self.of(&[2, 64, 64]),
            max_time_wait: self.of(&[2, 64, 64]),
            max_chunks: 8_192,
            max_held_frames: frames / self.of(&[2, 4, 100]),
            receive_buffer: self.of(&[2_000, 8_192, 65_535, 65_536, 262_144]),
            receive_buffer_max: self.of(&[0, 0, 1 << 20]),
            send_buffer: self.of(&[2_000, 16_384, 262_144]),
            ports: PortRange {
                first,
                last: first + ports,
            },
            timestamps: self.is(60),
            syn_cookies: self.of(&[
                SynCookies::Never,
                SynCookies::OnOverflow,
                SynCookies::Always,
            ]),
            sack: self.is(70),
            congestion: self.of(&[Algorithm::NewReno, Algorithm::Cubic]),
            mtu_probing: self.is(50),
            delayed_ack: Duration::from_millis(self.below(200)),
            // Longer than any frame is on its way.
            msl: Duration::from_secs(10 + self.below(21)),
            // Longer than the slowest reader reads on.
            fin_wait_2: Duration::from_secs(3_600),
            packet_economy: self.is(80),
            ecn: self.of(&[Ecn::Off, Ecn::Passive, Ecn::Active]),
            ..default
        };
        TcpConfig {
            // Nothing grows in the first edition.
            receive_buffer_max: config.receive_buffer,
            ..config
        }
    }

    fn options(&mut self) -> SocketOptions {
        SocketOptions {
            nodelay: self.is(50),
            cork: self.is(5),
            quickack: self.is(20),
            keepalive: self.is(20),
            keep_idle: Duration::from_secs(1 + self.below(30)),
            // All probes together outlast the weather.
            keep_interval: Duration::from_secs(10),
            ..SocketOptions::default()
        }
    }

    fn plans(&mut self, hosts: &[Host], heals_at: Instant) -> Vec<Plan> {
        let count = match self.below(10) {
            0..=4 => 1,
            5..=7 => self.size(2, 4),
            _ => self.size(5, 24),
        };
        let most = 400_000 / count as u64;
        // Most often they begin while the weather is bad.
        let span = self.magnitude(0, heals_at.as_micros() + 2_000_000);
        (0..count).map(|_| self.plan(hosts, most, span)).collect()
    }

    fn plan(&mut self, all: &[Host], most: u64, span: u64) -> Plan {
        let hosts = all.len();
        let client = self.size(0, hosts - 1);
        let server = (client + self.size(1, hosts - 1)) % hosts;
        // IPv6 needs links of 1,280 bytes (RFC 8200 section 5).
        let mtu = all[client].mtu.min(all[server].mtu);
        let (up, down) = (self.much(most), self.much(most));
        let (dialogue, totals) = match self.below(4) {
            0 => (Dialogue::Echo, [NAME_LEN + up; 2]),
            1 => (Dialogue::Bulk, [NAME_LEN + up, 0]),
            2 => (Dialogue::Bulk, [NAME_LEN + up, down]),
            _ => {
                let rounds = 1 + self.below(8);
                let (request, response) = (1 + up / rounds, 1 + down / rounds);
                (
                    Dialogue::Rounds { request, response },
                    [NAME_LEN + rounds * request, rounds * response],
                )
            }
        };
        let is_echo = dialogue == Dialogue::Echo;
        let aborts = self.is(8);
        let closer = if self.is(50) || is_echo {
            Role::Client
        } else {
            Role::Server
        };
        let aborter = if self.is(50) || is_echo {
            Role::Client
        } else {
            Role::Server
        };
        let after = self.below(totals[aborter.other() as usize] + 1);
        Plan {
            client,
            server,
            at: Instant::from_micros(self.below(span + 1)),
            crossing: None,
            hesitates: Duration::ZERO,
            dialogue,
            totals,
            paces: [self.pace(), self.pace()],
            half_close: self.is(30),
            closer,
            abort: aborts.then_some((aborter, after)),
            options: self.options(),
            is_v6: mtu >= 1_280 && self.is(50),
        }
    }

    fn pace(&mut self) -> Pace {
        let is_slow = self.is(20);
        Pace {
            call: self.of(&[100, 1_000, 5_000, 65_000]),
            burst: if is_slow {
                self.magnitude(1_000, 60_000)
            } else {
                u64::MAX
            },
            pause: Duration::from_millis(self.magnitude(1, 3_000)),
            by_reference: self.is(40),
        }
    }

    /// What a link is like at its best.
    fn good_link(&mut self) -> Link {
        let is_narrow = self.is(40);
        Link {
            delay: self.micros(100_000),
            jitter: self.micros(2_000),
            bandwidth: if is_narrow {
                self.magnitude(1_000_000, 1_000_000_000)
            } else {
                0
            },
            queue: self.size(10, 200),
            ..Link::default()
        }
    }

    /// The same link with faults.
    fn bad_link(&mut self, good: Link) -> Link {
        Link {
            loss: self.fault(60, 300_000),
            burst: Burst {
                begins: self.fault(20, 50_000),
                ends: 20_000 + u32::try_from(self.below(500_000)).unwrap_or(0),
                loss: 1_000_000,
            },
            duplication: self.fault(30, 200_000),
            corruption: self.fault(30, 100_000),
            reordering: self.fault(30, 300_000),
            reordering_delay: self.micros(50_000),
            mtu: if self.is(5) { self.size(400, 1_400) } else { 0 },
            is_down: self.is(5),
            ..good
        }
    }
}

/// How bad the links are, and until when.
struct Weather {
    /// Times at which each link may change.
    turns: Vec<Instant>,
    heals_at: Instant,
}

impl Weather {
    /// The longest that it stays bad. Well within R2 (RFC 9293 section 3.8.3), so
    /// that no open connection may be given up.
    const LENGTH_MAX: u64 = 40_000_000;

    fn draw(draw: &mut Draw) -> Weather {
        let length = if draw.is(15) {
            0
        } else {
            draw.magnitude(10_000, Weather::LENGTH_MAX)
        };
        let turns = draw.size(0, 3);
        let mut turns: Vec<Instant> = (0..turns)
            .map(|_| Instant::from_micros(draw.below(length + 1)))
            .collect();
        turns.sort();
        Weather {
            turns,
            heals_at: Instant::from_micros(length),
        }
    }

    fn changes(&self, draw: &mut Draw, pipes: usize) -> Vec<Change> {
        let marks = draw.fault(30, 300_000);
        let tells = draw.is(50);
        let change = |at, pipe, link| Change {
            at,
            pipe,
            link,
            marks,
            tells,
        };
        let good: Vec<Link> = (0..pipes).map(|_| draw.good_link()).collect();
        let is_bad = self.heals_at > Instant::ZERO;
        let mut changes = Vec::new();
        for (pipe, &link) in good.iter().enumerate() {
            let link = if is_bad { draw.bad_link(link) } else { link };
            changes.push(change(Instant::ZERO, pipe, link));
        }
        for &at in self.turns.iter().filter(|_| is_bad) {
            let pipe = draw.size(0, pipes - 1);
            let link = draw.bad_link(good[pipe]);
            changes.push(change(at, pipe, link));
        }
        if is_bad {
            let healed = good.into_iter().enumerate();
            changes.extend(healed.map(|(pipe, link)| change(self.heals_at, pipe, link)));
        }
        changes
    }
}
