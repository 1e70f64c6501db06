//! `ringmill lab`: the TCP lab at the command line.

use crate::cli::LabArguments;
use crate::exit::{self, Exit, Failure};
use anyhow::Context as _;
use ringmill_lab::{Outcome, PlayError, Scenario, Theme};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::Path;

pub(crate) fn run(arguments: &LabArguments) -> anyhow::Result<Exit> {
    let name = arguments.name.as_deref();
    if arguments.path.is_some() && name != Some("states") {
        return Err(Failure::usage("--path goes with `ringmill lab states`"));
    }
    match name {
        _ if arguments.all => all(arguments),
        None => exit::print(&list()),
        Some("states") => states(arguments),
        Some(name) => {
            let outcome = play(find(name)?, arguments)?;
            let printed = exit::print(&outcome.text(arguments.full))?;
            write(&outcome, arguments)?;
            Ok(if outcome.holds() {
                printed
            } else {
                Exit::Internal
            })
        }
    }
}

fn find(name: &str) -> anyhow::Result<&'static Scenario> {
    ringmill_lab::find(name).ok_or_else(|| {
        Failure::usage(format!(
            "there is no scenario {name}: `ringmill lab` lists them"
        ))
    })
}

fn play(scenario: &'static Scenario, arguments: &LabArguments) -> anyhow::Result<Outcome> {
    let given = &arguments.parameters.0;
    let played = if arguments.veth {
        ringmill_lab::play_with_kernel(scenario, given)
    } else {
        ringmill_lab::play(scenario, given, None)
    };
    played.map_err(|error| match error {
        PlayError::Parameter(_) | PlayError::NoKernel(_) => Failure::usage(error.to_string()),
        PlayError::Kernel(error) => Failure::environment(format!(
            "--veth needs root and a kernel with AF_XDP: {error}"
        )),
    })
}

/// Every scenario by its theme, a line each.
fn list() -> String {
    let mut text = String::new();
    let mut theme: Option<Theme> = None;
    for scenario in ringmill_lab::scenarios() {
        if theme.replace(scenario.theme) != Some(scenario.theme) {
            let _ = writeln!(text, "\n{}", scenario.theme.title());
        }
        let kernel = if scenario.kernel.is_some() { "V" } else { " " };
        let _ = writeln!(text, "  {kernel} {:20} {}", scenario.name, scenario.title);
    }
    text.push_str(
        "\nringmill lab NAME runs one; V: with --veth against the Linux kernel, as root.\n\
         ringmill lab states draws the state machine, with --path NAME the way of one through it.\n",
    );
    text
}

/// Runs every scenario: a line for each.
fn all(arguments: &LabArguments) -> anyhow::Result<Exit> {
    let (mut count, mut failed) = (0, 0);
    for scenario in ringmill_lab::scenarios() {
        if arguments.veth && scenario.kernel.is_none() {
            continue;
        }
        let outcome = play(scenario, arguments)?;
        count += 1;
        let mut text = String::new();
        let mark = if outcome.holds() { "holds" } else { "FAILS" };
        let _ = writeln!(text, "{mark}  {:20} {}", scenario.name, scenario.title);
        for claim in outcome.claims.iter().filter(|claim| !claim.holds) {
            let _ = writeln!(text, "       {}: {}", claim.text, claim.measured);
        }
        failed += usize::from(!outcome.holds());
        exit::print(&text)?;
    }
    exit::print(&format!("{count} scenarios, {failed} of them fail\n"))?;
    Ok(if failed == 0 {
        Exit::Success
    } else {
        Exit::Internal
    })
}

/// The state machine as a drawing, to the file of `--svg` or to standard output.
fn states(arguments: &LabArguments) -> anyhow::Result<Exit> {
    let path = match &arguments.path {
        Some(name) => Some(play(find(name)?, arguments)?),
        None => None,
    };
    let drawing = ringmill_lab::states(path.as_ref());
    match &arguments.svg {
        Some(file) => {
            save(file, &drawing)?;
            Ok(Exit::Success)
        }
        None => exit::print(&drawing),
    }
}

fn write(outcome: &Outcome, arguments: &LabArguments) -> anyhow::Result<()> {
    if let Some(file) = &arguments.svg {
        save(file, &outcome.svg())?;
    }
    if let Some(file) = &arguments.html {
        save(file, &outcome.html())?;
    }
    if let Some(file) = &arguments.json {
        save(file, &format!("{:#}\n", outcome.json()))?;
    }
    if let Some(file) = &arguments.pcap {
        let opened = File::create(file).with_context(|| format!("can't write {}", file.display()));
        outcome.write_pcap(opened?)?;
    }
    Ok(())
}

fn save(file: &Path, text: &str) -> anyhow::Result<()> {
    fs::write(file, text).with_context(|| format!("can't write {}", file.display()))
}
