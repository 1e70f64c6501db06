//! Where a running `serve` or `load` is asked for its sockets: a Unix socket that is
//! named after the process.
//!
//! Who connects sends a query, a line of JSON, and gets a line of JSON for each socket
//! and an empty one at the end: a list without that is not whole.

use super::inquiry::Inquiries;
use super::row::Row;
use crate::exit::Failure;
use ringmill_core::tcp::{Listing, State};
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, BufRead as _, BufReader, BufWriter, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::{process, thread};

const FOLDER: &str = "/run/ringmill";
/// A query is shorter.
const QUERY_MAX: u64 = 4_096;

/// What is asked for.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Query {
    /// Names of the states to list; all when there is none.
    pub(super) states: Vec<String>,
    /// With what TCP_INFO says.
    pub(super) info: bool,
}

impl Query {
    fn wants(&self, state: State) -> bool {
        self.states.is_empty() || self.states.iter().any(|name| name == state.name())
    }

    /// What is still to come is not wanted.
    fn is_answered_by(&self, listing: &Listing) -> bool {
        let is_of_flow = |name: &String| name != State::Listen.name();
        let wants_flows = self.states.is_empty() || self.states.iter().any(is_of_flow);
        listing.is_whole() || (listing.is_past_listeners() && !wants_flows)
    }
}

/// An open desk, which closes when this is dropped. Those who are served then are cut
/// off by the end of the process.
#[derive(Debug)]
pub(crate) struct Desk {
    path: PathBuf,
}

impl Desk {
    /// Opens the desk of this process for shards with these inquiries. Those of dead
    /// processes are removed on the way.
    pub(crate) fn open(inquiries: &[Inquiries]) -> io::Result<Desk> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(FOLDER)?;
        let is_gone = |process: &u32| !Path::new("/proc").join(process.to_string()).exists();
        // One of them may have had this process's number.
        let gone = processes()?.into_iter().filter(is_gone);
        for process in gone.chain([process::id()]) {
            let _ = fs::remove_file(path_of(process));
        }
        let path = path_of(process::id());
        let listener = UnixListener::bind(&path)?;
        let desk = Desk { path };
        fs::set_permissions(&desk.path, Permissions::from_mode(0o600))?;
        let inquiries = inquiries.to_vec();
        thread::spawn(move || {
            while let Ok((client, _)) = listener.accept() {
                let inquiries = inquiries.clone();
                // A client that goes away or speaks nonsense is its own business.
                thread::spawn(move || serve(&client, &inquiries));
            }
        });
        Ok(desk)
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn path_of(process: u32) -> PathBuf {
    Path::new(FOLDER).join(format!("{process}.sock"))
}

/// Processes that have, or had, a desk.
fn processes() -> io::Result<Vec<u32>> {
    let names = match fs::read_dir(FOLDER) {
        Ok(entries) => entries
            .flatten()
            .filter_map(|entry| entry.file_name().into_string().ok()),
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let numbers = names.filter_map(|name| name.strip_suffix(".sock")?.parse().ok());
    Ok(numbers.collect())
}

fn serve(client: &UnixStream, inquiries: &[Inquiries]) -> io::Result<()> {
    let mut query = String::new();
    BufReader::new(client.take(QUERY_MAX)).read_line(&mut query)?;
    let query: Query = serde_json::from_str(&query)?;
    let mut lines = BufWriter::with_capacity(1 << 16, client);
    for (shard, inquiries) in inquiries.iter().enumerate() {
        let mut listing = Listing::new(query.info);
        while !query.is_answered_by(&listing) {
            listing = inquiries.ask(listing);
            for socket in listing.drain().filter(|socket| query.wants(socket.state)) {
                serde_json::to_writer(&mut lines, &Row::of(shard, &socket))?;
                lines.write_all(b"\n")?;
            }
        }
    }
    lines.write_all(b"\n")?;
    lines.flush()
}

/// The lines of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    lines: BufReader<UnixStream>,
    line: String,
}

impl Answer {
    /// Asks a process, or the one that has a desk.
    pub(super) fn of(process: Option<u32>, query: &Query) -> anyhow::Result<Answer> {
        let mut desk = match process {
            Some(process) => connect(process).map_err(|error| match is_nobody(&error) {
                true => Failure::unreachable(format!(
                    "process {process} is no `ringmill serve` or `ringmill load` that runs here"
                )),
                false => barred(&error),
            })?,
            None => the_only_one()?,
        };
        desk.write_all(serde_json::to_string(query)?.as_bytes())?;
        desk.write_all(b"\n")?;
        Ok(Answer {
            lines: BufReader::with_capacity(1 << 16, desk),
            line: String::new(),
        })
    }

    /// The next socket's line; none after the last.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<&str>> {
        self.line.clear();
        self.lines.read_line(&mut self.line)?;
        match self.line.strip_suffix('\n') {
            Some("") => Ok(None),
            Some(line) => Ok(Some(line)),
            None => Err(Failure::partial("the process ended before it had told all")),
        }
    }
}

fn connect(process: u32) -> io::Result<UnixStream> {
    UnixStream::connect(path_of(process))
}

/// Nobody is there: no such process, or what a killed one has left.
fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ConnectionRefused
    )
}

fn barred(error: &io::Error) -> anyhow::Error {
    Failure::environment(format!("can't use {FOLDER} ({error}): run as root"))
}

fn the_only_one() -> anyhow::Result<UnixStream> {
    let mut open = Vec::new();
    for process in processes().map_err(|error| barred(&error))? {
        match connect(process) {
            Ok(desk) => open.push((process, desk)),
            Err(error) if is_nobody(&error) => {}
            Err(error) => return Err(barred(&error)),
        }
    }
    if open.len() > 1 {
        let numbers: Vec<String> = open
            .iter()
            .map(|(process, _)| process.to_string())
            .collect();
        return Err(Failure::usage(format!(
            "several processes run ({}): choose one with --pid",
            numbers.join(", ")
        )));
    }
    match open.pop() {
        Some((_, desk)) => Ok(desk),
        None => Err(Failure::unreachable(
            "no `ringmill serve` or `ringmill load` runs here",
        )),
    }
}
