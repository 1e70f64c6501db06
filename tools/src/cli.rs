//! The command line.

use crate::values::{self, Addresses, Url};
use clap::{Arg, ArgMatches, Args, FromArgMatches, Parser, Subcommand, ValueEnum};
use ringmill_core::app::load::CloseMode;
use ringmill_core::ports::PortRange;
use ringmill_core::tcp::{Profile, State};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// A TCP load generator and server on AF_XDP, outside the kernel.
#[derive(Debug, Parser)]
#[command(name = "ringmill", version, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve and load over a veth pair of its own, report, and clean up.
    Demo(DemoArguments),
    /// Serve on an interface.
    Serve(ServeArguments),
    /// Load an HTTP server through an interface.
    Load(LoadArguments),
    /// List the sockets of a running serve or load, as ss lists the kernel's.
    Ss(SsArguments),
    /// Print the state machine that the engine runs by.
    States(StatesArguments),
    /// Print the requirements of RFC 9293: where each is done and tested.
    Requirements(RequirementsArguments),
    /// Hunt for faults of the engine with seeds, in virtual time.
    Sim(SimArguments),
    /// Show, check and explain a behaviour of TCP; alone, list them.
    Lab(LabArguments),
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Connections at a time.
    #[arg(short = 'c', long, value_name = "N", default_value = "64", value_parser = values::positive)]
    pub(crate) connections: usize,
    /// How long to load.
    #[arg(short = 'd', long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    pub(crate) duration: Duration,
    /// Bytes of the response body.
    #[arg(long, value_name = "SIZE", default_value = "64", value_parser = values::count)]
    pub(crate) body: u64,
    #[command(flatten)]
    pub(crate) close: CloseArgument,
    /// Over IPv6.
    #[arg(short = '6', long)]
    pub(crate) ipv6: bool,
    /// Run both ends over memory instead of a veth pair: needs no privilege.
    #[arg(long)]
    pub(crate) memory: bool,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Debug, Args)]
pub(crate) struct CloseArgument {
    /// Open a connection for every request. It ends by this side's FIN, by the
    /// server after `Connection: close`, or by this side's RST.
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "fin")]
    close: Option<Close>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Close {
    Fin,
    Server,
    Rst,
}

impl CloseArgument {
    pub(crate) fn mode(&self) -> CloseMode {
        match self.close {
            None => CloseMode::KeepAlive,
            Some(Close::Fin) => CloseMode::Fin,
            Some(Close::Server) => CloseMode::Server,
            Some(Close::Rst) => CloseMode::Rst,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Service {
    /// Answers GET and HEAD with one body.
    Http,
    /// Sends back what it receives (RFC 862).
    Echo,
    /// The server of iperf3's TCP test, both ways (`iperf3 -c`, with or without `-R`).
    Iperf3,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// What to serve.
    pub(crate) service: Service,
    /// The interface.
    pub(crate) interface: String,
    #[command(flatten)]
    pub(crate) network: NetworkArguments,
    /// The port [default: 80 for http, 7 for echo, 5201 for iperf3].
    #[arg(short = 'p', long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Connections that may wait to be accepted.
    #[arg(long, value_name = "N", default_value = "4096", value_parser = values::positive)]
    pub(crate) backlog: usize,
    /// Bytes of the response body.
    #[arg(long, value_name = "SIZE", default_value = "64", value_parser = values::count, conflicts_with = "file")]
    pub(crate) body: u64,
    /// A file to serve as the response body.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Close an HTTP connection over which no request comes for this long [default:
    /// never].
    #[arg(long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) idle: Option<Duration>,
    /// End after this long [default: until interrupted].
    #[arg(short = 'd', long, value_name = "TIME", value_parser = values::duration)]
    pub(crate) duration: Option<Duration>,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Debug, Args)]
pub(crate) struct LoadArguments {
    /// What to load, as `http://198.18.0.1:80/path` or `http://[2001:db8::1]/`;
    /// port and path may be left out.
    #[arg(value_parser = values::url)]
    pub(crate) url: Url,
    /// The interface.
    #[arg(short = 'i', long, value_name = "IFACE")]
    pub(crate) interface: String,
    #[command(flatten)]
    pub(crate) network: NetworkArguments,
    /// Connections at a time.
    #[arg(short = 'c', long, value_name = "N", default_value = "64", value_parser = values::positive)]
    pub(crate) connections: usize,
    /// How long to load.
    #[arg(short = 'd', long, value_name = "TIME", default_value = "10s", value_parser = values::duration)]
    pub(crate) duration: Duration,
    #[command(flatten)]
    pub(crate) close: CloseArgument,
    /// Local ports to use.
    #[arg(long, value_name = "FIRST-LAST", default_value = "1024-65535", value_parser = values::ports)]
    pub(crate) ports: PortRange,
    #[command(flatten)]
    pub(crate) output: OutputArguments,
}

#[derive(Debug, Args)]
pub(crate) struct SsArguments {
    /// Only those that listen: connections that wait to be accepted, and the backlog.
    #[arg(short = 'l', long, conflicts_with = "states")]
    pub(crate) listening: bool,
    /// Only those in this state, by the name of RFC 9293 or of ss; more than once for more.
    #[arg(long = "state", value_name = "NAME", value_parser = values::state)]
    pub(crate) states: Vec<State>,
    /// How many are in each state.
    #[arg(short = 's', long, conflicts_with_all = ["timers", "info", "json"])]
    pub(crate) summary: bool,
    /// With the timer that runs: what for, how long yet, how often it went off.
    #[arg(short = 'o', long)]
    pub(crate) timers: bool,
    /// With what TCP_INFO says of each connection.
    #[arg(short = 'i', long)]
    pub(crate) info: bool,
    /// A line of JSON for each (tools/REPORT.md tells its fields).
    #[arg(long)]
    pub(crate) json: bool,
    /// The process to ask [default: the only one].
    #[arg(long, value_name = "N")]
    pub(crate) pid: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct StatesArguments {
    /// As a graph for Graphviz: `ringmill states --dot | dot -Tsvg`.
    #[arg(long)]
    pub(crate) dot: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RequirementsArguments {
    /// Print the attacks and bad input instead, with the tests that send them.
    #[arg(long)]
    pub(crate) attacks: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SimArguments {
    /// How many seeds to run [default: 1 with --seed, else 1000].
    #[arg(long, value_name = "N", value_parser = values::count)]
    pub(crate) seeds: Option<u64>,
    /// The first seed [default: 0].
    #[arg(long, value_name = "S", value_parser = values::count)]
    pub(crate) seed: Option<u64>,
    /// Threads to run them on [default: one a core].
    #[arg(long, value_name = "N", value_parser = values::positive)]
    pub(crate) threads: Option<usize>,
    /// Print what the first seed stands for and every segment of its run.
    #[arg(long, conflicts_with_all = ["seeds", "threads"])]
    pub(crate) trace: bool,
}

#[derive(Debug, Args)]
pub(crate) struct LabArguments {
    /// The scenario, or `states` for the state machine; none lists all.
    pub(crate) name: Option<String>,
    /// Run all of them, a line each.
    #[arg(long, conflicts_with_all = ["name", "svg", "html", "json", "pcap", "path"])]
    pub(crate) all: bool,
    /// Against the Linux kernel, over a veth pair, in real time: needs root.
    #[arg(long)]
    pub(crate) veth: bool,
    /// Do not cut a long picture.
    #[arg(long)]
    pub(crate) full: bool,
    /// Write the picture as a drawing.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Write the picture and its words as a page.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write everything that happened as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the segments as pcapng.
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// With `states`: the scenario whose way through them is shown.
    #[arg(long, value_name = "NAME")]
    pub(crate) path: Option<String>,
    #[command(flatten)]
    pub(crate) parameters: LabParameters,
}

/// What scenarios may be given, by name; each has some of them.
#[derive(Debug)]
pub(crate) struct LabParameters(pub(crate) Vec<(String, String)>);

impl Args for LabParameters {
    fn augment_args(command: clap::Command) -> clap::Command {
        let args = ringmill_lab::PARAMETERS.iter().map(|parameter| {
            Arg::new(parameter.name)
                .long(parameter.name)
                .value_name(parameter.value)
                .help(parameter.about)
                .help_heading("Parameters of scenarios")
        });
        command.args(args)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        LabParameters::augment_args(command)
    }
}

impl FromArgMatches for LabParameters {
    fn from_arg_matches(matches: &ArgMatches) -> Result<LabParameters, clap::Error> {
        let given = ringmill_lab::PARAMETERS.iter().filter_map(|parameter| {
            let value = matches.get_one::<String>(parameter.name)?;
            Some((parameter.name.to_owned(), value.clone()))
        });
        Ok(LabParameters(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = LabParameters::from_arg_matches(matches)?;
        Ok(())
    }
}

/// How the engine stands in its network.
#[derive(Debug, Args)]
pub(crate) struct NetworkArguments {
    /// An address of the engine's own, IPv4 or IPv6, or a range (A-B/LEN); more
    /// than once for more. It must not be one of the kernel's.
    #[arg(long = "addr", value_name = "A/LEN", required = true, value_parser = values::addresses)]
    pub(crate) addresses: Vec<Addresses>,
    /// Where packets for other networks go; one for IPv4 and one for IPv6.
    #[arg(long = "gateway", value_name = "G")]
    pub(crate) gateways: Vec<IpAddr>,
    /// The VLAN that all of this is in (802.1Q); untagged without it.
    #[arg(long, value_name = "ID", value_parser = values::vlan)]
    pub(crate) vlan: Option<u16>,
    /// How frames pass the kernel.
    #[arg(long, value_name = "MODE", default_value = "auto")]
    pub(crate) mode: Mode,
    /// Look for frames in the device itself (SO_PREFER_BUSY_POLL): for a card whose
    /// interrupts come to the engine's core. Set napi_defer_hard_irqs and
    /// gro_flush_timeout of the interface too. A veth has no interrupts.
    #[arg(long)]
    pub(crate) busy_poll: bool,
    /// Which TCP checksums to accept [default: partial on a veth, else full].
    #[arg(long, value_name = "WHICH")]
    pub(crate) checksum: Option<Checksum>,
    /// Timers, buffers and SYN options of a known stack: ringmill, linux or freebsd.
    #[arg(long, value_name = "NAME", default_value_t)]
    pub(crate) profile: Profile,
    /// How the congestion window grows and shrinks (TCP_CONGESTION) [default: as
    /// the profile has it].
    #[arg(long, value_name = "WHICH")]
    pub(crate) congestion: Option<Congestion>,
    /// Ask for explicit congestion notification; a peer that asks gets it anyway.
    #[arg(long)]
    pub(crate) ecn: bool,
    /// How long TIME-WAIT lasts: twice the MSL.
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::duration)]
    pub(crate) time_wait: Duration,
    /// Shards: each has a thread, a core and queues of the interface of its own.
    #[arg(long, value_name = "N", default_value = "1", value_parser = values::positive)]
    pub(crate) shards: usize,
    /// Keep the engine on this core, and further shards on those after it [default:
    /// several shards are kept on the first cores].
    #[arg(long, value_name = "CORE")]
    pub(crate) core: Option<usize>,
    /// Seed of all randomness [default: from the operating system].
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
}

impl NetworkArguments {
    /// One address, and the defaults.
    pub(crate) fn of(address: IpAddr, prefix_len: u8) -> NetworkArguments {
        NetworkArguments {
            addresses: vec![Addresses {
                first: address,
                count: 1,
                prefix_len,
            }],
            gateways: Vec::new(),
            vlan: None,
            mode: Mode::Auto,
            busy_poll: false,
            checksum: None,
            profile: Profile::default(),
            congestion: None,
            ecn: false,
            time_wait: Duration::from_secs(60),
            shards: 1,
            core: None,
            seed: None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Zero copy if the device can, native XDP if it can.
    Auto,
    /// Native XDP and zero copy, or nothing.
    Zerocopy,
    /// Native XDP if the device can; the kernel copies each frame.
    Copy,
    /// Generic XDP: works on every device.
    Skb,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Checksum {
    /// Whole ones only.
    Full,
    /// Also those that a kernel leaves to its device.
    Partial,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Congestion {
    /// RFC 5681 and RFC 6582.
    Newreno,
    /// RFC 9438.
    Cubic,
}

#[derive(Debug, Args)]
pub(crate) struct OutputArguments {
    /// Write the report as JSON (tools/REPORT.md tells its fields).
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write every frame as pcapng; several shards write a file each, FILE.0 and so
    /// on with the number in front of the extension.
    #[arg(long, value_name = "FILE")]
    pub(crate) pcap: Option<PathBuf>,
    /// No line a second.
    #[arg(short = 'q', long)]
    pub(crate) quiet: bool,
}
