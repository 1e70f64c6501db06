//! Ringmill against Ringmill over a veth pair, a core a side.

use crate::Closing;
use anyhow::{Context as _, ensure};
use ringmill::clock::Clock;
use ringmill::netns::{Namespace, VethPair};
use ringmill::{Interface, Owned, Steering, XdpConfig, XdpDriver, XdpMode, affinity};
use ringmill_core::app::App;
use ringmill_core::app::http::{Http, HttpConfig};
use ringmill_core::app::load::{CloseMode, Load, LoadConfig};
use ringmill_core::frame::FramePool;
use ringmill_core::shard::Shard;
use ringmill_core::stack::Config;
use ringmill_core::wire::ChecksumPolicy;
use ringmill_core::wire::ethernet::MacAddress;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

const SERVER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 2);
/// Not measured, at the start.
const WARM_UP: Duration = Duration::from_millis(500);

/// Requests a second of `connections` connections, with a body of 64 bytes.
///
/// # Errors
/// When the machine can't: no root, no AF_XDP, fewer than two cores. When there
/// was any error, since the rate then means nothing.
pub fn run(closing: Closing, connections: usize, duration: Duration) -> anyhow::Result<f64> {
    let [client_core, server_core, ..] = affinity::cores()[..] else {
        anyhow::bail!("two cores are needed");
    };
    let (near, far) = (Namespace::create("client")?, Namespace::create("server")?);
    VethPair::create((&near, "veth0"), (&far, "veth0"), 1, 1_500)?;
    let server = Port::open(&far, SERVER)?;
    let client = Port::open(&near, CLIENT)?;
    let body: Vec<u8> = b"The quick brown fox jumps. "
        .iter()
        .copied()
        .cycle()
        .take(64)
        .collect();
    let http = Http::new(HttpConfig {
        address: None,
        port: 80,
        backlog: 4_096,
        body: body.into(),
        content_type: "text/plain".to_owned(),
        idle: None,
    });
    let load = Load::new(LoadConfig {
        target: (SERVER, 80).into(),
        host: SERVER.to_string(),
        path: "/".to_owned(),
        connections,
        close: match closing {
            Closing::KeepAlive => CloseMode::KeepAlive,
            Closing::Close => CloseMode::Server,
        },
    });
    let clock = Clock::start();
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let serving = scope.spawn(|| serve(server, http, clock, server_core, &stop));
        let loading = scope.spawn(|| {
            let rate = measure(client, load, clock, client_core, duration);
            stop.store(true, Ordering::Relaxed);
            rate
        });
        let rate = loading
            .join()
            .ok()
            .context("the client's thread panicked")?;
        serving
            .join()
            .ok()
            .context("the server's thread panicked")??;
        rate
    })
}

fn serve(
    port: Port,
    http: Http,
    clock: Clock,
    core: usize,
    stop: &AtomicBool,
) -> anyhow::Result<()> {
    ensure!(affinity::pin_thread(core), "core {core} can't be used");
    let (mut shard, steering) = port.into_shard(http, clock);
    shard.with_app(clock.now(), |http, sockets| http.start(sockets))?;
    while !stop.load(Ordering::Relaxed) {
        shard.step(clock.now());
    }
    close(shard, steering, clock)
}

fn measure(
    port: Port,
    load: Load,
    clock: Clock,
    core: usize,
    duration: Duration,
) -> anyhow::Result<f64> {
    ensure!(affinity::pin_thread(core), "core {core} can't be used");
    let (mut shard, steering) = port.into_shard(load, clock);
    let mut step_for = |length: Duration| {
        let start = clock.now();
        let before = shard.app().stats().responses();
        while clock.now().since(start) < length {
            shard.step(clock.now());
        }
        let done = shard.app().stats().responses() - before;
        #[expect(clippy::cast_precision_loss, reason = "a rate")]
        let rate = done as f64 / clock.now().since(start).as_secs_f64();
        rate
    };
    step_for(WARM_UP);
    let rate = step_for(duration);
    let errors = shard.app().stats().errors;
    ensure!(errors.total() == 0, "the run had errors: {errors:?}");
    close(shard, steering, clock)?;
    Ok(rate)
}

/// Resets what is open, lets it leave, and gives the port back.
fn close<A: App>(
    mut shard: Shard<XdpDriver, A>,
    steering: Steering,
    clock: Clock,
) -> anyhow::Result<()> {
    shard.with_app(clock.now(), |_, sockets| {
        sockets.close_all_listeners();
        sockets.abort_all();
    });
    let start = clock.now();
    while clock.now().since(start) < Duration::from_millis(20) {
        shard.step(clock.now());
    }
    ensure!(
        shard.frames_missing() == 0,
        "{} frames are missing",
        shard.frames_missing()
    );
    let (driver, pool, _) = shard.into_parts();
    drop(steering);
    Ok(driver.close(pool)?)
}

/// An open port that no engine runs on yet.
struct Port {
    config: Config,
    driver: XdpDriver,
    pool: FramePool,
    steering: Steering,
}

impl Port {
    fn open(namespace: &Namespace, address: Ipv4Addr) -> anyhow::Result<Port> {
        namespace.within(|| {
            let interface = Interface::find("veth0")?;
            let owned = [Owned::Address(IpAddr::V4(address))];
            let mut steering = Steering::attach(&interface, XdpMode::Auto, None, &owned)?;
            let (driver, pool) = XdpDriver::open(&XdpConfig::new("veth0"))?;
            steering.deliver_to(&driver)?;
            let mut config = Config::new(MacAddress(interface.mac), address, 24);
            config.checksum = ChecksumPolicy::Full;
            config.seed = u64::from(u32::from(address));
            Ok(Port {
                config,
                driver,
                pool,
                steering,
            })
        })?
    }

    fn into_shard<A: App>(self, app: A, clock: Clock) -> (Shard<XdpDriver, A>, Steering) {
        let Port {
            config,
            driver,
            pool,
            steering,
        } = self;
        (Shard::new(config, clock.now(), driver, pool, app), steering)
    }
}
