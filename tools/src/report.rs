//! The report at the end: text for people, JSON for programs. Both say the same;
//! tools/REPORT.md tells what each field means.

use crate::engine::{Ended, Figures, Share};
use hdrhistogram::Histogram;
use ringmill_core::app::load::LoadStats;
use ringmill_core::driver::DriverDrops;
use ringmill_core::time::{Duration, Instant};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

/// Version of the JSON: raised when a field changes its meaning or goes.
const SCHEMA: u32 = 1;

type Counts = BTreeMap<&'static str, u64>;

#[derive(Debug, Serialize)]
pub(crate) struct Report {
    schema: u32,
    program: &'static str,
    version: &'static str,
    /// The command line that repeats the run.
    command: Vec<String>,
    environment: Environment,
    run: RunFigures,
    shards: Vec<ShardFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load: Option<LoadFigures>,
    #[serde(skip_serializing_if = "Option::is_none")]
    serve: Option<Counts>,
    tcp: Counts,
    link: Counts,
    drops: Counts,
    driver_drops: Counts,
    end: EndFigures,
}

#[derive(Debug, Serialize)]
struct Environment {
    kernel: String,
    cores: usize,
    /// The interface and how frames pass it.
    port: String,
    mtu: u32,
}

#[derive(Debug, Serialize)]
struct RunFigures {
    seconds: f64,
    /// Share of the shards' time in steps that moved something.
    busy: f64,
    interrupted: bool,
    /// Frames both ways for each request, or for each connection of a server.
    frames_per_unit: Option<f64>,
}

/// What one shard did.
#[derive(Debug, Serialize)]
struct ShardFigures {
    busy: f64,
    established: u64,
    rx_frames: u64,
    tx_frames: u64,
    strays_in: u64,
    strays_out: u64,
}

#[derive(Debug, Serialize)]
struct LoadFigures {
    requests: u64,
    responses: u64,
    responses_per_second: f64,
    unanswered: u64,
    body_bytes: u64,
    statuses: Counts,
    errors: Counts,
    connect_ns: Option<Percentiles>,
    first_byte_ns: Option<Percentiles>,
    /// Closed loop: service time, not response time.
    service_time_ns: Option<Percentiles>,
}

/// A percentile is there only if at least ten samples lie beyond it.
#[derive(Debug, Serialize)]
struct Percentiles {
    samples: u64,
    min: u64,
    mean: u64,
    at: BTreeMap<&'static str, u64>,
    max: u64,
}

#[derive(Debug, Serialize)]
struct EndFigures {
    /// Connections that did not end by themselves and were reset.
    aborted: usize,
    /// TIME-WAIT records cut short by the end of the process.
    time_wait: usize,
    /// What was still held: empty, or something leaked.
    leaks: BTreeMap<&'static str, usize>,
}

const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.5),
    ("p75", 0.75),
    ("p90", 0.9),
    ("p99", 0.99),
    ("p99.9", 0.999),
    ("p99.99", 0.9999),
];

fn percentiles(histogram: &Histogram<u64>) -> Option<Percentiles> {
    let samples = histogram.len();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a sample count is far below 2^53"
    )]
    let beyond = |quantile: f64| (1.0 - quantile) * samples as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "nanoseconds"
    )]
    let mean = histogram.mean() as u64;
    (samples > 0).then(|| Percentiles {
        samples,
        min: histogram.min(),
        mean,
        at: QUANTILES
            .into_iter()
            .filter(|&(_, quantile)| beyond(quantile) >= 10.0)
            .map(|(name, quantile)| (name, histogram.value_at_quantile(quantile)))
            .collect(),
        max: histogram.max(),
    })
}

impl Report {
    /// The report of a run that started at `start` on a port described by `port`.
    pub(crate) fn new(ended: &Ended, start: Instant, port: &str, mtu: u32, cores: usize) -> Report {
        let last = &ended.last;
        let seconds = ended.drained_at.since(start).as_secs_f64().max(1e-9);
        let load = match &last.figures {
            Figures::Load(stats) => Some(load_figures(stats, seconds)),
            _ => None,
        };
        let serve = match &last.figures {
            Figures::Http(http) => Some(Counts::from([
                ("ok", http.ok),
                ("refused", http.refused),
                ("accepted", http.accepted),
            ])),
            _ => None,
        };
        let link = last.stats.link;
        let units = match &last.figures {
            Figures::Load(stats) => stats.responses(),
            Figures::Http(http) => http.ok,
            Figures::Echo | Figures::Iperf3 => last.stats.tcp.established,
        };
        #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
        let frames_per_unit =
            (units > 0).then(|| (link.rx_frames + link.tx_frames) as f64 / units as f64);
        let alive = last.at.since(start).as_secs_f64().max(1e-9);
        Report {
            schema: SCHEMA,
            program: "ringmill",
            version: env!("CARGO_PKG_VERSION"),
            command: std::env::args().collect(),
            environment: Environment {
                kernel: std::fs::read_to_string("/proc/sys/kernel/osrelease")
                    .unwrap_or_default()
                    .trim()
                    .to_owned(),
                cores,
                port: port.to_owned(),
                mtu,
            },
            run: RunFigures {
                seconds,
                busy: last.busy().as_secs_f64() / alive,
                interrupted: ended.interrupted,
                frames_per_unit,
            },
            shards: last
                .shares
                .iter()
                .map(|share| shard_figures(share, alive))
                .collect(),
            load,
            serve,
            tcp: last.stats.tcp.iter().collect(),
            link: link.iter().collect(),
            drops: last
                .stats
                .drops
                .iter()
                .map(|(reason, count)| (reason.label(), count))
                .collect(),
            driver_drops: driver_drops(&last.drops),
            end: EndFigures {
                aborted: ended.aborted,
                time_wait: ended.time_wait,
                leaks: ended.leaks().into_iter().collect(),
            },
        }
    }

    /// Writes the JSON.
    pub(crate) fn write_json(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = crate::port::create(path)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        Ok(writeln!(file)?)
    }

    /// The text, several lines.
    pub(crate) fn text(&self) -> String {
        let mut out = String::new();
        // Writing to a string does not fail.
        let _ = self.write_text(&mut out);
        out
    }

    fn dropped_text(&self) -> String {
        let dropped: Counts = self
            .drops
            .iter()
            .chain(&self.driver_drops)
            .filter(|(_, count)| **count > 0)
            .map(|(&n, &c)| (n, c))
            .collect();
        if dropped.is_empty() {
            "nothing".to_owned()
        } else {
            counts_text(&dropped)
        }
    }

    fn write_shards(&self, out: &mut String) -> std::fmt::Result {
        let busy: Vec<String> = self
            .shards
            .iter()
            .map(|shard| format!("{:.0} %", shard.busy * 100.0))
            .collect();
        writeln!(
            out,
            "  shards     {}: busy {}; {} of {} segments came to another than their flow's, and were handed over",
            self.shards.len(),
            busy.join(", "),
            self.tcp["strays_out"],
            self.tcp["segments_in"],
        )
    }

    fn write_text(&self, out: &mut String) -> std::fmt::Result {
        let RunFigures {
            seconds,
            busy,
            frames_per_unit,
            ..
        } = &self.run;
        writeln!(
            out,
            "\n  ran        {seconds:.2} s on {}, busy {:.0} %",
            self.environment.port,
            busy * 100.0
        )?;
        if self.shards.len() > 1 {
            self.write_shards(out)?;
        }
        if let Some(load) = &self.load {
            write_load(out, load)?;
        }
        if let Some(serve) = &self.serve {
            writeln!(out, "  served     {}", counts_text(serve))?;
        }
        writeln!(
            out,
            "  tcp        opened {} established {} closed {}, retransmitted {} of {} segments, resets {} in {} out",
            self.tcp["active_opens"] + self.tcp["passive_opens"],
            self.tcp["established"],
            self.tcp["closed"],
            self.tcp["retransmits"],
            self.tcp["segments_out"],
            self.tcp["resets_received"],
            self.tcp["resets_out"],
        )?;
        let per_unit =
            frames_per_unit.map_or(String::new(), |frames| format!(", {frames:.2} a request"));
        writeln!(
            out,
            "  frames     {} in {} out{per_unit}",
            self.link["rx_frames"], self.link["tx_frames"]
        )?;
        writeln!(out, "  dropped    {}", self.dropped_text())?;
        let Environment { kernel, cores, .. } = &self.environment;
        writeln!(out, "  machine    Linux {kernel}, {cores} cores")?;
        writeln!(out, "  repeat     {}", self.command.join(" "))?;
        let EndFigures {
            aborted,
            time_wait,
            leaks,
        } = &self.end;
        write!(
            out,
            "  at the end {aborted} connections aborted, {time_wait} in TIME-WAIT, "
        )?;
        if leaks.is_empty() {
            writeln!(out, "everything else came home")
        } else {
            writeln!(out, "LEAKED {leaks:?}")
        }
    }
}

fn driver_drops(drops: &DriverDrops) -> Counts {
    Counts::from([
        ("rx_ring_full", drops.rx_ring_full),
        ("rx_no_frame", drops.rx_no_frame),
        ("rx_invalid", drops.rx_invalid),
        ("tx_invalid", drops.tx_invalid),
    ])
}

fn shard_figures(share: &Share, alive: f64) -> ShardFigures {
    let Share { busy, stats } = share;
    ShardFigures {
        busy: busy.as_secs_f64() / alive,
        established: stats.tcp.established,
        rx_frames: stats.link.rx_frames,
        tx_frames: stats.link.tx_frames,
        strays_in: stats.tcp.strays_in,
        strays_out: stats.tcp.strays_out,
    }
}

fn load_figures(stats: &LoadStats, seconds: f64) -> LoadFigures {
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"];
    let responses = stats.responses();
    #[expect(clippy::cast_precision_loss, reason = "a rate for people to read")]
    let responses_per_second = responses as f64 / seconds;
    LoadFigures {
        requests: stats.requests,
        responses,
        responses_per_second,
        unanswered: stats.unanswered,
        body_bytes: stats.body_bytes,
        statuses: classes
            .into_iter()
            .zip(stats.statuses)
            .filter(|&(_, count)| count > 0)
            .collect(),
        errors: stats
            .errors
            .iter()
            .filter(|&(_, count)| count > 0)
            .collect(),
        connect_ns: percentiles(&stats.connect),
        first_byte_ns: percentiles(&stats.first_byte),
        service_time_ns: percentiles(&stats.response),
    }
}

fn write_load(out: &mut String, load: &LoadFigures) -> std::fmt::Result {
    writeln!(
        out,
        "  responses  {} in all, {}/s: {}",
        load.responses,
        rate_text(load.responses_per_second),
        counts_text(&load.statuses)
    )?;
    let errors = if load.errors.is_empty() {
        "none".to_owned()
    } else {
        counts_text(&load.errors)
    };
    writeln!(out, "  errors     {errors}, unanswered {}", load.unanswered)?;
    for (name, figures) in [
        ("connect", &load.connect_ns),
        ("first byte", &load.first_byte_ns),
        ("service", &load.service_time_ns),
    ] {
        let Some(figures) = figures else { continue };
        let at: Vec<String> = figures
            .at
            .iter()
            .map(|(name, nanos)| format!("{name} {}", duration_text(*nanos)))
            .collect();
        writeln!(
            out,
            "  {name:<10} {} max {}",
            at.join(" "),
            duration_text(figures.max)
        )?;
    }
    writeln!(
        out,
        "             closed loop: service time, not what users would wait at a given rate"
    )
}

fn counts_text(counts: &Counts) -> String {
    let parts: Vec<String> = counts
        .iter()
        .map(|(name, count)| format!("{name} {count}"))
        .collect();
    parts.join(", ")
}

/// Nanoseconds as people write them.
pub(crate) fn duration_text(nanos: u64) -> String {
    let duration = Duration::from_nanos(nanos);
    match nanos {
        0..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{:.1}us", duration.as_secs_f64() * 1e6),
        1_000_000..1_000_000_000 => format!("{:.2}ms", duration.as_secs_f64() * 1e3),
        _ => format!("{:.2}s", duration.as_secs_f64()),
    }
}

/// A rate as people write it.
pub(crate) fn rate_text(rate: f64) -> String {
    match rate {
        0.0..1e3 => format!("{rate:.0}"),
        1e3..1e6 => format!("{:.1}k", rate / 1e3),
        _ => format!("{:.2}m", rate / 1e6),
    }
}

/// Where both ends are ours, their books must agree: what one side opened it
/// closed, and each received what the other's data was acknowledged. Where a RST
/// ended connections, acknowledgments may have stayed unsent.
pub(crate) fn books_differ(client: &Ended, server: &Ended) -> Vec<String> {
    let (client, server) = (&client.last.stats.tcp, &server.last.stats.tcp);
    let has_resets = client.aborts + server.aborts > 0;
    let mut differ = Vec::new();
    for (who, end) in [("client", client), ("server", server)] {
        if end.established != end.closed {
            differ.push(format!(
                "{} connections of the {who} established, {} closed",
                end.established, end.closed
            ));
        }
    }
    for (who, sender, receiver) in [("client", client, server), ("server", server, client)] {
        let (acked, received) = (sender.bytes_acked, receiver.bytes_received);
        if acked > received || (acked < received && !has_resets) {
            differ.push(format!(
                "{acked} bytes of the {who} acknowledged, {received} received"
            ));
        }
    }
    differ
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_with_fewer_than_ten_samples_beyond_it_is_not_told() {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for nanos in 1..=999 {
            histogram.record(nanos).unwrap();
        }
        let names: Vec<&str> = percentiles(&histogram).unwrap().at.into_keys().collect();
        assert_eq!(names, ["p50", "p75", "p90"]);
        histogram.record(1_000).unwrap();
        assert!(
            percentiles(&histogram).unwrap().at.contains_key("p99"),
            "ten of a thousand"
        );
        assert!(percentiles(&Histogram::<u64>::new(3).unwrap()).is_none());
    }

    #[test]
    fn figures_are_written_in_the_unit_that_fits() {
        assert_eq!(duration_text(999), "999ns");
        assert_eq!(duration_text(1_500), "1.5us");
        assert_eq!(duration_text(1_500_000), "1.50ms");
        assert_eq!(duration_text(1_500_000_000), "1.50s");
        assert_eq!(rate_text(999.0), "999");
        assert_eq!(rate_text(161_234.0), "161.2k");
    }
}
