//! How the program ended, as its exit status tells scripts.

use ringmill::XdpError;
use ringmill::netns::NetnsError;
use std::io::Write as _;
use std::process::ExitCode;

/// Exit statuses; they are part of the command line's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It did what was asked.
    Success = 0,
    /// A fault of the program's own.
    Internal = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// This machine, as it is, can't do it.
    Environment = 3,
    /// The target does not answer, or refuses.
    Unreachable = 4,
    /// It ran, and its result is not whole.
    Partial = 5,
    /// Interrupted before it was done.
    Interrupted = 130,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// An error that names its own exit status.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
        Failure {
            exit: Exit::Usage,
            message: message.into(),
        }
        .into()
    }

    pub(crate) fn environment(message: impl Into<String>) -> anyhow::Error {
        Failure {
            exit: Exit::Environment,
            message: message.into(),
        }
        .into()
    }

    pub(crate) fn unreachable(message: impl Into<String>) -> anyhow::Error {
        Failure {
            exit: Exit::Unreachable,
            message: message.into(),
        }
        .into()
    }

    pub(crate) fn partial(message: impl Into<String>) -> anyhow::Error {
        Failure {
            exit: Exit::Partial,
            message: message.into(),
        }
        .into()
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl Exit {
    /// The status for an error.
    pub(crate) fn of(error: &anyhow::Error) -> Exit {
        if let Some(failure) = error.downcast_ref::<Failure>() {
            return failure.exit;
        }
        if error.is::<XdpError>() || error.is::<NetnsError>() {
            return Exit::Environment;
        }
        Exit::Internal
    }
}

/// Prints a text that was asked for.
pub(crate) fn print(text: &str) -> anyhow::Result<Exit> {
    match std::io::stdout().write_all(text.as_bytes()) {
        // A reader that has seen enough is no reason to fail.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(Exit::Success),
    }
}

/// Prints what clap has to say: help as it is, an error as one line.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
    };
    if matches!(
        error.kind(),
        DisplayHelp | DisplayVersion | DisplayHelpOnMissingArgumentOrSubcommand
    ) {
        // A closed standard output is no reason to fail.
        let _ = error.print();
        let is_asked_for = error.kind() != DisplayHelpOnMissingArgumentOrSubcommand;
        return if is_asked_for {
            Exit::Success
        } else {
            Exit::Usage
        }
        .into();
    }
    let text = error.to_string();
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let message: Vec<&str> = lines
        .take_while(|line| !line.starts_with("Usage:"))
        .collect();
    let message = message.join(" ");
    eprintln!(
        "ringmill: {} (see `ringmill --help`)",
        message.trim_start_matches("error: ")
    );
    Exit::Usage.into()
}
