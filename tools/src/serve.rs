//! `ringmill serve`: an application on an interface.

use crate::cli::{ServeArguments, Service};
use crate::engine::{Ended, Snapshot};
use crate::exit::{Exit, Failure};
use crate::iperf3::Iperf3;
use crate::job::Job;
use crate::live::Live;
use crate::port::Port;
use crate::report::Report;
use anyhow::Context as _;
use ringmill_core::app::echo::Echo;
use ringmill_core::app::http::{Http, HttpConfig};
use ringmill_core::ports::PortRange;
use ringmill_core::sockets::{Body, REFERENCED_MAX, SocketOptions};
use std::path::Path;
use std::time::Duration;

pub(crate) fn run(arguments: &ServeArguments) -> anyhow::Result<Exit> {
    let body = match &arguments.file {
        Some(path) => file_body(path)?,
        None => body_of(arguments.body)?,
    };
    let job = Job::new(
        arguments.duration,
        arguments.network.core,
        &arguments.output,
    )?
    .with_desk();
    let port = Port::open(
        &arguments.interface,
        &arguments.network,
        PortRange::default(),
    )?;
    let (description, mtu) = (port.description.clone(), u32::from(port.config.mtu));
    let listen_port = arguments.port.unwrap_or(match arguments.service {
        Service::Http => 80,
        Service::Echo => 7,
        Service::Iperf3 => 5_201,
    });
    let addresses = &port.config.addresses;
    eprintln!(
        "serving {:?} on {} through {description}",
        arguments.service,
        std::net::SocketAddr::new(addresses[0].ip, listen_port)
    );
    let start = job.clock.now();
    let mut live = Live::new(start, arguments.output.quiet);
    let tell = |snapshot: &Snapshot| live.tell(snapshot);
    let backlog = arguments.backlog;
    let ended = match arguments.service {
        Service::Http => {
            let http = |_| {
                http(
                    body.clone(),
                    (listen_port, backlog),
                    arguments.file.is_some(),
                    arguments.idle,
                )
            };
            port.run(
                http,
                &job,
                |http, sockets| Ok(http.start(sockets).map(drop)?),
                tell,
            )?
        }
        Service::Echo => {
            let listen = |_: &mut Echo, sockets: &mut ringmill_core::sockets::Sockets| {
                Ok(sockets
                    .listen(None, listen_port, backlog, SocketOptions::default())
                    .map(drop)?)
            };
            port.run(|_| Echo, &job, listen, tell)?
        }
        Service::Iperf3 => port.run(
            |_| Iperf3::new(),
            &job,
            |iperf3, sockets| iperf3.start(sockets, listen_port, backlog),
            tell,
        )?,
    };
    let report = Report::new(&ended, start, &description, mtu, job.cores.len());
    print!("{}", report.text());
    if let Some(path) = &arguments.output.json {
        report.write_json(path)?;
    }
    Ok(exit_of(&ended))
}

/// A served run is whole however it was ended, unless something leaked.
fn exit_of(ended: &Ended) -> Exit {
    if ended.leaks().is_empty() {
        Exit::Success
    } else {
        Exit::Internal
    }
}

/// The responder for a body.
pub(crate) fn http(
    body: Body,
    (port, backlog): (u16, usize),
    is_file: bool,
    idle: Option<Duration>,
) -> Http {
    let content_type = if is_file {
        "application/octet-stream"
    } else {
        "text/plain"
    }
    .to_owned();
    Http::new(HttpConfig {
        address: None,
        port,
        backlog,
        body,
        content_type,
        idle,
    })
}

fn file_body(path: &Path) -> anyhow::Result<Body> {
    let metadata = std::fs::metadata(path)
        .map_err(|error| Failure::usage(format!("can't read {}: {error}", path.display())))?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!(
            "{} is a directory: name one file",
            path.display()
        )));
    }
    check_size(metadata.len())?;
    Ok(std::fs::read(path)
        .with_context(|| format!("can't read {}", path.display()))?
        .into())
}

/// A body of `size` bytes: text, so that it looks harmless wherever it lands.
pub(crate) fn body_of(size: u64) -> anyhow::Result<Body> {
    check_size(size)?;
    // What caches hold, however long the body is.
    const LINES: usize = 1_024;
    let line = b"The quick brown fox jumps over the lazy dog, again and again.\r\n";
    Ok(Body::repeated(&line.repeat(LINES), size))
}

fn check_size(size: u64) -> anyhow::Result<()> {
    // The response's head comes on top.
    if size >= u64::from(REFERENCED_MAX) - 1_024 {
        return Err(Failure::usage(
            "a body must be less than 1 GiB: serve a smaller one",
        ));
    }
    Ok(())
}
