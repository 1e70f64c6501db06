//! HTTP over 64 connections with a body of 64 bytes: wrk and nginx on the kernel's
//! TCP, the engine's generator and server, and each with the other's peer.

use super::port::{Net, SERVER};
use super::runner::{self, Runner};
use super::{CONNECTIONS, cpu, kernel};
use crate::figures::{Samples, Series};
use crate::reach::Effort;
use anyhow::ensure;
use ringmill::XdpDriver;
use ringmill_core::app::http::{Http, HttpConfig};
use ringmill_core::app::load::{CloseMode, Load, LoadConfig};
use ringmill_core::sockets::{Body, Sockets};
use std::time::Duration;

/// wrk to nginx, requests over the same connections.
pub const WRK_NGINX: Series = Series::new("wrk to nginx, keep-alive", "requests/s");
/// What one of those costs wrk.
pub const WRK_CPU: Series = Series::new("wrk's time for a request to nginx", "us");
/// wrk to nginx, a connection for each.
pub const WRK_NGINX_CLOSE: Series = Series::new("wrk to nginx, close", "connections/s");
/// The engine at both ends.
pub const BOTH: Series = Series::new("ringmill to ringmill, keep-alive", "requests/s");
/// The engine at both ends, a connection for each request.
pub const BOTH_CLOSE: Series = Series::new("ringmill to ringmill, close", "connections/s");
/// The engine's generator against nginx.
pub const LOAD_NGINX: Series = Series::new("ringmill load to nginx, keep-alive", "requests/s");
/// What one of those costs the generator.
pub const LOAD_CPU: Series = Series::new("ringmill load's time for a request to nginx", "us");
/// wrk against the engine's server.
pub const WRK_SERVE: Series = Series::new("wrk to ringmill serve, keep-alive", "requests/s");

/// Not measured, at the start.
const WARM_UP: Duration = Duration::from_millis(500);
/// Bytes of a body.
const BODY: usize = 64;

pub(super) fn wrk_to_nginx(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let net = Net::create()?;
    let _nginx = kernel::Nginx::start(&net, BODY)?;
    net.give_kernel(&net.near, super::port::CLIENT)?;
    let report = kernel::wrk(&net, CONNECTIONS, effort.veth_length, CloseMode::KeepAlive)?;
    samples.add(WRK_NGINX, report.rate);
    samples.add(WRK_CPU, report.cpu_us);
    Ok(())
}

pub(super) fn wrk_to_nginx_close(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let net = Net::create()?;
    let _nginx = kernel::Nginx::start(&net, BODY)?;
    net.give_kernel(&net.near, super::port::CLIENT)?;
    let report = kernel::wrk(&net, CONNECTIONS, effort.veth_length, CloseMode::Server)?;
    samples.add(WRK_NGINX_CLOSE, report.rate);
    Ok(())
}

pub(super) fn wrk_to_ringmill(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let net = Net::create()?;
    net.give_kernel(&net.near, super::port::CLIENT)?;
    let work = || kernel::wrk(&net, CONNECTIONS, effort.veth_length, CloseMode::KeepAlive);
    let report = runner::serving(net.server()?, http(BODY), start, work)?;
    samples.add(WRK_SERVE, report.rate);
    Ok(())
}

pub(super) fn ringmill_to_nginx(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let net = Net::create()?;
    let port = net.client()?;
    // Asked over the kernel's own client, before the engine takes the wire.
    let _nginx = kernel::Nginx::start(&net, BODY)?;
    let load = load(CONNECTIONS, CloseMode::KeepAlive);
    let told = runner::client(
        port,
        |driver| driver,
        load,
        |runner| measure(runner, effort.veth_length),
    )?;
    samples.add(LOAD_NGINX, told.rate);
    samples.add(LOAD_CPU, told.cpu_us);
    Ok(())
}

pub(super) fn ringmill_to_ringmill(effort: &Effort, samples: &mut Samples) -> anyhow::Result<()> {
    let told = both(CloseMode::KeepAlive, effort.veth_length)?;
    samples.add(BOTH, told.rate);
    Ok(())
}

pub(super) fn ringmill_to_ringmill_close(
    effort: &Effort,
    samples: &mut Samples,
) -> anyhow::Result<()> {
    let told = both(CloseMode::Server, effort.veth_length)?;
    samples.add(BOTH_CLOSE, told.rate);
    Ok(())
}

/// What a generator tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Report {
    /// Requests a second.
    pub(super) rate: f64,
    /// Microseconds of its core for a request.
    pub(super) cpu_us: f64,
}

/// The engine at both ends.
fn both(close: CloseMode, length: Duration) -> anyhow::Result<Report> {
    let net = Net::create()?;
    let client = net.client()?;
    runner::serving(net.server()?, http(BODY), start, || {
        let load = load(CONNECTIONS, close);
        runner::client(
            client,
            |driver| driver,
            load,
            |runner| measure(runner, length),
        )
    })
}

fn measure(runner: &mut Runner<XdpDriver, Load>, length: Duration) -> anyhow::Result<Report> {
    runner.run_for(WARM_UP.min(length));
    let before = (runner.shard.app().stats().responses(), cpu::of_thread()?);
    let seconds = runner.run_for(length);
    let stats = runner.shard.app().stats();
    ensure!(
        stats.errors.total() == 0,
        "the run had errors: {:?}",
        stats.errors
    );
    let done = (stats.responses() - before.0) as f64;
    Ok(Report {
        rate: done / seconds,
        cpu_us: (cpu::of_thread()? - before.1) * 1e6 / done,
    })
}

/// The generator.
fn load(connections: usize, close: CloseMode) -> Load {
    Load::new(LoadConfig {
        target: (SERVER, 80).into(),
        host: SERVER.to_string(),
        path: "/".to_owned(),
        connections,
        close,
    })
}

/// The server, with a body of that many bytes.
pub(super) fn http(body: usize) -> Http {
    Http::new(HttpConfig {
        address: None,
        port: 80,
        backlog: 4_096,
        body: Body::repeated(&[b'x'; 64 << 10], body as u64),
        content_type: "text/plain".to_owned(),
        idle: None,
    })
}

pub(super) fn start(http: &mut Http, sockets: &mut Sockets) -> anyhow::Result<()> {
    http.start(sockets)?;
    Ok(())
}

/// The generator with one connection, which asks for one body after another.
pub(super) fn one_connection() -> Load {
    load(1, CloseMode::KeepAlive)
}
