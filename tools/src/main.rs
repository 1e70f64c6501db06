//! `ringmill`: serve and load over AF_XDP from one command.
//!
//! ```text
//! cli, values   what was asked          exit      how it ended
//! serve, load   the commands            demo      both, over a veth of its own
//! iperf3        a service of serve
//! port          interface -> shards     job       shards on threads
//! engine        the loop around Shard::step
//! live          a line a second         report    text and JSON at the end
//! ss            the sockets of a running process, and where it is asked for them
//! states        the state machine         requirements  of RFC 9293, where they are done
//! sim           a hunt for faults in virtual time
//! lab           TCP's behaviours, shown and checked
//! ```

mod capture;
mod cli;
mod demo;
mod engine;
mod exit;
mod iperf3;
mod job;
mod lab;
mod live;
mod load;
mod port;
mod report;
mod requirements;
mod serve;
mod sim;
mod ss;
mod states;
mod values;

use clap::Parser as _;
use cli::{Cli, Command};
use exit::Exit;
use ringmill::huge_pages::HugePages;
use std::process::ExitCode;

#[global_allocator]
static HEAP: HugePages = HugePages;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let outcome = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Serve(arguments) => serve::run(&arguments),
        Command::Load(arguments) => load::run(&arguments),
        Command::Ss(arguments) => ss::run(&arguments),
        Command::States(arguments) => states::run(&arguments),
        Command::Requirements(arguments) => requirements::run(&arguments),
        Command::Sim(arguments) => sim::run(&arguments),
        Command::Lab(arguments) => lab::run(&arguments),
    };
    match outcome {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("ringmill: {error:#}");
            Exit::of(&error).into()
        }
    }
}
