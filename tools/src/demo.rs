//! `ringmill demo`: both ends, over a veth pair of its own, or over memory where
//! the machine or the user's rights allow no more.

use crate::cli::DemoArguments;
use crate::engine::{Control, Ended, Part, Run};
use crate::exit::Exit;
use crate::job::{Job, Seat};
use crate::live::Live;
use crate::port::Port;
use crate::report::{Report, books_differ};
use crate::ss::Inquiries;
use crate::{load, serve};
use anyhow::Context as _;
use ringmill::affinity;
use ringmill::netns::{self, Namespace, VethPair};
use ringmill_core::app::http::Http;
use ringmill_core::app::load::{Load, LoadConfig};
use ringmill_core::driver::memory::{MemoryDriver, carry};
use ringmill_core::driver::{Driver, DriverDrops};
use ringmill_core::frame::{Batch, FramePool};
use ringmill_core::ports::PortRange;
use ringmill_core::shard::Shard;
use ringmill_core::sockets::Body;
use ringmill_core::stack::Config;
use ringmill_core::time::Instant;
use ringmill_core::wire::ethernet::MacAddress;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses of both ends, of one version of IP.
#[derive(Clone, Copy)]
struct Ends {
    server: IpAddr,
    client: IpAddr,
    prefix_len: u8,
}

const IPV4: Ends = Ends {
    server: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 1)),
    client: IpAddr::V4(Ipv4Addr::new(198, 18, 0, 2)),
    prefix_len: 24,
};
const IPV6: Ends = Ends {
    server: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
    client: IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2)),
    prefix_len: 64,
};

impl Ends {
    fn of(arguments: &DemoArguments) -> Ends {
        if arguments.ipv6 { IPV6 } else { IPV4 }
    }
}

const INTERFACE: &str = "veth0";
const MTU: u32 = 1_500;

pub(crate) fn run(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    netns::sweep();
    let reason = if arguments.memory {
        Some("as asked".to_owned())
    } else {
        why_not_here()
    };
    match reason {
        None => over_veth(arguments),
        Some(reason) => {
            println!(
                "over memory instead of a veth pair ({reason}): one core runs both ends, no kernel is in between"
            );
            over_memory(arguments)
        }
    }
}

/// Why this machine or user can't run the demo on a veth pair.
fn why_not_here() -> Option<String> {
    let probe = match Namespace::create("probe") {
        Ok(probe) => probe,
        Err(error) => return Some(error.to_string()),
    };
    match probe.within(ringmill::xdp::has_af_xdp) {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

fn load_app(arguments: &DemoArguments) -> Load {
    let target = SocketAddr::from((Ends::of(arguments).server, 80));
    Load::new(LoadConfig {
        target,
        host: target.to_string(),
        path: "/".to_owned(),
        connections: arguments.connections,
        close: arguments.close.mode(),
    })
}

fn http_app(arguments: &DemoArguments, body: &Body) -> Http {
    let backlog = arguments.connections.max(1_024);
    serve::http(body.clone(), (80, backlog), false, None)
}

fn over_veth(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    let server_side = Namespace::create("server")?;
    let client_side = Namespace::create("client")?;
    VethPair::create((&server_side, INTERFACE), (&client_side, INTERFACE), 1, MTU)?;
    println!(
        "veth pair between namespaces {} and {}",
        server_side.name(),
        client_side.name()
    );
    let cores = affinity::cores();
    let client_job = Job::new(
        Some(arguments.duration),
        cores.first().copied(),
        &arguments.output,
    )?;
    let server_job = Job {
        // The server's turn to stop comes when the client is done.
        control: Control::default(),
        duration: None,
        core: cores.get(1).or(cores.first()).copied(),
        pcap: None,
        ..client_job.clone()
    };
    let start = client_job.clock.now();
    let mut live = Live::new(start, arguments.output.quiet);
    let body = serve::body_of(arguments.body)?;
    let ends = Ends::of(arguments);
    let server_port = open(&server_side, ends.server, ends.prefix_len)?;
    let client_port = open(&client_side, ends.client, ends.prefix_len)?;
    println!(
        "client {}, server {}",
        client_port.description, server_port.description
    );
    let (description, stop) = (client_port.description.clone(), server_job.control.clone());
    let (client, server) = std::thread::scope(|scope| -> anyhow::Result<(Ended, Ended)> {
        let server = scope.spawn(move || {
            server_port.run(
                |_| http_app(arguments, &body),
                &server_job,
                |http, sockets| Ok(http.start(sockets).map(drop)?),
                |_| {},
            )
        });
        let client = client_port.run(
            |_| load_app(arguments),
            &client_job,
            |_, _| Ok(()),
            |snapshot| live.tell(snapshot),
        );
        stop.stop();
        let server = server
            .join()
            .map_err(|_| anyhow::anyhow!("the server's thread panicked"))?;
        Ok((client?, server?))
    })?;
    conclude(
        arguments,
        &client,
        &server,
        &Report::new(&client, start, &description, MTU, client_job.cores.len()),
    )
}

fn open(namespace: &Namespace, address: IpAddr, prefix_len: u8) -> anyhow::Result<Port> {
    let network = crate::cli::NetworkArguments::of(address, prefix_len);
    namespace.within(|| Port::open(INTERFACE, &network, PortRange::default()))?
}

fn over_memory(arguments: &DemoArguments) -> anyhow::Result<Exit> {
    let job = Job::new(Some(arguments.duration), None, &arguments.output)?;
    let start = job.clock.now();
    let ends = Ends::of(arguments);
    let mut server = Shard::new(
        config(ends.server, ends.prefix_len),
        start,
        MemoryDriver::new(),
        memory_pool(),
        http_app(arguments, &serve::body_of(arguments.body)?),
    );
    server.with_app(start, |http, sockets| http.start(sockets).map(drop))?;
    let mut live = Live::new(start, arguments.output.quiet);
    let wire = Wire {
        port: MemoryDriver::new(),
        server,
    };
    let seat = Seat {
        config: config(ends.client, ends.prefix_len),
        driver: wire,
        pool: memory_pool(),
    };
    let (wires, client) = job.run(
        vec![seat],
        |_| load_app(arguments),
        |_, _| Ok(()),
        |snapshot| live.tell(snapshot),
    )?;
    let wire = wires.into_iter().next().context("the wire is gone")?.0;
    let mut server = wire.server;
    let control = Control::default();
    control.stop();
    let server = Run {
        shard: &mut server,
        clock: job.clock,
        duration: None,
        part: Part::alone(&control),
        inquiries: Inquiries::default(),
    }
    .until_end(drop);
    conclude(
        arguments,
        &client,
        &server,
        &Report::new(&client, start, "memory", MTU, job.cores.len()),
    )
}

fn memory_pool() -> FramePool {
    FramePool::on_heap(16_384, 2_048)
}

/// A wire in memory with the server at its other end, on the client's thread.
struct Wire {
    port: MemoryDriver,
    server: Shard<MemoryDriver, Http>,
}

impl Driver for Wire {
    fn rx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        self.port.rx(now, pool, batch);
    }

    fn tx(&mut self, now: Instant, pool: &mut FramePool, batch: &mut Batch) {
        self.port.tx(now, pool, batch);
        carry(&mut self.port, self.server.driver_mut());
        self.server.step(now);
        carry(&mut self.port, self.server.driver_mut());
    }

    fn next_arrival(&self) -> Option<Instant> {
        if self.port.is_idle() {
            self.server.next_deadline()
        } else {
            Some(Instant::ZERO)
        }
    }

    fn held(&self) -> usize {
        self.port.held()
    }

    fn drops(&self) -> DriverDrops {
        self.port.drops()
    }
}

fn config(address: IpAddr, prefix_len: u8) -> Config {
    // Both versions of each end's address end in its number.
    let number = match address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    };
    let mac = MacAddress([2, 0, 0, 0, 0, number]);
    let mut config = Config::new(mac, address, prefix_len);
    config.seed = u64::from(number);
    config
}

fn conclude(
    arguments: &DemoArguments,
    client: &Ended,
    server: &Ended,
    report: &Report,
) -> anyhow::Result<Exit> {
    print!("{}", report.text());
    if let Some(path) = &arguments.output.json {
        report
            .write_json(path)
            .with_context(|| format!("can't write {}", path.display()))?;
    }
    let differ = books_differ(client, server);
    if !differ.is_empty() {
        println!("  books      DIFFER: {}", differ.join("; "));
        return Ok(Exit::Internal);
    }
    let (tcp, other) = (&client.last.stats.tcp, &server.last.stats.tcp);
    println!(
        "  books      both ends agree: {} connections opened and closed, {} and {} bytes acknowledged and received",
        tcp.closed, tcp.bytes_acked, other.bytes_acked
    );
    if !server.leaks().is_empty() {
        println!("  server     LEAKED {:?}", server.leaks());
        return Ok(Exit::Internal);
    }
    Ok(load::exit_of(client))
}
