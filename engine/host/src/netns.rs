//! Network namespaces and veth pairs for demonstrations, tests and measurements.
//!
//! A namespace is called `ringmill-<process>-<name>`, so that everyone can see
//! whose it is and `ip netns exec` reaches it. It goes when its owner drops it;
//! what a killed process leaves behind goes at the next [`sweep`]. Veths live in
//! namespaces and go with them. iproute2 does the making: this is not on any hot
//! path, and its messages are the ones that people know.
//!
//! ```text
//! ringmill-4711-client               ringmill-4711-server
//!   +-----------------+                +-----------------+
//!   |  veth0 =========|================|========= veth0  |
//!   +-----------------+                +-----------------+
//! ```

mod kernel;

use std::fs::{self, File};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

const PREFIX: &str = "ringmill-";
const FOLDER: &str = "/run/netns";

/// Why a namespace or veth could not be made, entered or removed.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// iproute2 is not installed.
    #[error("can't run `ip` ({0}): `apt-get install iproute2`")]
    NoIproute(io::Error),
    /// iproute2 refused.
    #[error("`ip {command}`: {message}")]
    Refused {
        /// The arguments.
        command: String,
        /// What it said.
        message: String,
    },
    /// The thread can't change its namespace.
    #[error("can't enter network namespace {name} ({source}): run as root")]
    Enter {
        /// The namespace.
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A network namespace that goes when this is dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes an empty namespace `ringmill-<process>-<name>` with its loopback up.
    pub fn create(name: &str) -> Result<Namespace, NetnsError> {
        let name = format!("{PREFIX}{}-{name}", process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Namespace { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// The full name, as `ip netns list` shows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs `work` with the calling thread inside the namespace. Sockets and
    /// threads made by `work` stay inside; the calling thread comes back out,
    /// also when `work` panics.
    ///
    /// # Panics
    /// When the way back is barred: going on in the wrong namespace is worse.
    pub fn within<T>(&self, work: impl FnOnce() -> T) -> Result<T, NetnsError> {
        let entered = || -> io::Result<Outside> {
            let outside = Outside(File::open("/proc/thread-self/ns/net")?);
            kernel::enter(&File::open(self.path())?)?;
            Ok(outside)
        };
        let _outside = entered().map_err(|source| NetnsError::Enter {
            name: self.name.clone(),
            source,
        })?;
        Ok(work())
    }

    /// A child process of `program` inside the namespace, to be spawned.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// `ip -netns <this> <arguments>`; its output.
    pub fn ip(&self, arguments: &[&str]) -> Result<String, NetnsError> {
        ip(&[&["-netns", &self.name], arguments].concat())
    }

    /// Gives an interface inside an address of the kernel's, which works at once:
    /// nobody is asked whether it is taken (no duplicate address detection).
    pub fn add_address(
        &self,
        interface: &str,
        address: IpAddr,
        prefix_len: u8,
    ) -> Result<(), NetnsError> {
        let address_and_length = format!("{address}/{prefix_len}");
        let add = ["address", "add", &address_and_length, "dev", interface];
        let at_once: &[&str] = if address.is_ipv6() { &["nodad"] } else { &[] };
        self.ip(&[&add[..], at_once].concat()).map(drop)
    }

    fn path(&self) -> PathBuf {
        Path::new(FOLDER).join(&self.name)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Whoever still runs inside would keep the namespace alive, unseen.
        remove(&self.name);
    }
}

/// The namespace that a thread came from, which it goes back to.
struct Outside(File);

impl Drop for Outside {
    fn drop(&mut self) {
        kernel::enter(&self.0).expect("a thread may go back to the namespace it came from");
    }
}

/// Two interfaces joined by a wire. They go with their namespaces.
#[derive(Debug)]
pub struct VethPair;

impl VethPair {
    /// Makes interface `name_a` in `namespace_a` and `name_b` in `namespace_b`,
    /// both up, with `queues` receive and transmit queues, and of `mtu` bytes.
    /// Neither has an address, and neither sends anything by itself (no IPv6
    /// link-local address, so no router solicitations).
    pub fn create(
        (namespace_a, name_a): (&Namespace, &str),
        (namespace_b, name_b): (&Namespace, &str),
        queues: u32,
        mtu: u32,
    ) -> Result<VethPair, NetnsError> {
        let (queues, mtu) = (queues.to_string(), mtu.to_string());
        let size = ["mtu", &mtu, "numrxqueues", &queues, "numtxqueues", &queues];
        let near = [&["link", "add", "name", name_a], &size[..]].concat();
        let far = [
            "type",
            "veth",
            "peer",
            "name",
            name_b,
            "netns",
            &namespace_b.name,
        ];
        namespace_a.ip(&[&near[..], &far, &size].concat())?;
        for (namespace, name) in [(namespace_a, name_a), (namespace_b, name_b)] {
            // A kernel without IPv6 refuses this, and sends nothing anyway.
            let _ = namespace.ip(&["link", "set", "dev", name, "addrgenmode", "none"]);
            namespace.ip(&["link", "set", "dev", name, "up"])?;
        }
        Ok(VethPair)
    }
}

/// Removes the namespaces, with all that runs inside, of processes that are
/// gone. Returns their names.
pub fn sweep() -> Vec<String> {
    let Ok(entries) = fs::read_dir(FOLDER) else {
        return Vec::new(); // No namespace was ever made here.
    };
    let names = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok());
    let stale: Vec<String> = names.filter(|name| is_stale(name)).collect();
    for name in &stale {
        remove(name);
    }
    stale
}

fn is_stale(namespace: &str) -> bool {
    let owner = namespace
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.split('-').next());
    owner
        .and_then(|process| process.parse::<u32>().ok())
        .is_some_and(|process| !Path::new("/proc").join(process.to_string()).exists())
}

/// Ends what runs inside and deletes the name. There is no one to tell of a
/// failure: what stays is named, and the next sweep tries again.
fn remove(namespace: &str) {
    let inside = ip(&["netns", "pids", namespace]).unwrap_or_default();
    for process in inside.lines().filter_map(|line| line.trim().parse().ok()) {
        // A thread of this process may be inside: that is our caller's business.
        if u32::try_from(process) != Ok(process::id()) {
            kernel::kill(process);
        }
    }
    let _ = ip(&["netns", "delete", namespace]);
}

fn ip(arguments: &[&str]) -> Result<String, NetnsError> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(NetnsError::NoIproute)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(NetnsError::Refused {
        command: arguments.join(" "),
        message: String::from_utf8_lossy(&output.stderr)
            .trim()
            .replace('\n', "; "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_dead_processes_are_stale() {
        assert!(!is_stale(&format!("ringmill-{}-a", process::id())));
        // One past the largest process number that Linux gives out (2^22).
        assert!(is_stale("ringmill-4194305-a"));
        assert!(!is_stale("ringmill-x-a"));
        assert!(!is_stale("other-4194305-a"));
    }
}
