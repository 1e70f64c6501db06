//! Two namespaces, a wire, and programs on it.

use ringmill::netns::{Namespace, VethPair};
use ringmill::relay::{Relay, RelayEnd};
use ringmill::testing;
use ringmill_core::driver::link::Link;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The engine's address.
pub(crate) const ENGINE: &str = "198.18.0.1";
/// The kernel's address at the other end.
pub(crate) const PEER: &str = "198.18.0.2";

/// The same two over IPv6.
pub(crate) const ENGINE_V6: &str = "2001:db8::1";
pub(crate) const PEER_V6: &str = "2001:db8::2";

/// A version of IP on the command lines of programs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Family {
    pub(crate) name: &'static str,
    /// `--addr` of the engine.
    pub(crate) engine: &'static str,
    /// The host of a URL to the engine, and to the peer.
    pub(crate) engine_host: &'static str,
    pub(crate) peer_host: &'static str,
}

pub(crate) const FAMILIES: [Family; 2] = [
    Family {
        name: "IPv4",
        engine: "198.18.0.1/24",
        engine_host: ENGINE,
        peer_host: PEER,
    },
    Family {
        name: "IPv6",
        engine: "2001:db8::1/64",
        engine_host: "[2001:db8::1]",
        peer_host: "[2001:db8::2]",
    },
];

/// One test at a time: each wants the machine's two cores.
static MACHINE: Mutex<()> = Mutex::new(());

/// A wire between the engine's namespace and a kernel's.
pub(crate) struct Net {
    pub(crate) engine: Namespace,
    pub(crate) peer: Namespace,
    relay: Option<Relay>,
    folder: PathBuf,
    _machine: MutexGuard<'static, ()>,
}

impl Net {
    /// A net for the test of this name; none where the machine can't run it.
    pub(crate) fn new(test: &str) -> Option<Net> {
        Net::of(test, 1, None)
    }

    /// The same with so many queues at both ends.
    pub(crate) fn with_queues(test: &str, queues: u32) -> Option<Net> {
        Net::of(test, queues, None)
    }

    /// The same with such a wire in both directions, which a relay makes.
    pub(crate) fn over(test: &str, link: Option<Link>) -> Option<Net> {
        Net::of(test, 1, link)
    }

    fn of(test: &str, queues: u32, link: Option<Link>) -> Option<Net> {
        let machine = MACHINE.lock().unwrap_or_else(PoisonError::into_inner);
        if !testing::machine_can_run(test) {
            return None;
        }
        let engine = Namespace::create(&format!("{test}-e")).unwrap();
        let peer = Namespace::create(&format!("{test}-p")).unwrap();
        let [v4, v6] = [PEER, PEER_V6].map(|address| address.parse().unwrap());
        let relay = link.map(|link| lay_relay(test, link, &engine, &peer));
        if relay.is_none() {
            VethPair::create((&engine, "veth0"), (&peer, "veth0"), queues, 1_500).unwrap();
        }
        peer.add_address("veth0", v4, 24).unwrap();
        peer.add_address("veth0", v6, 64).unwrap();
        let folder = std::env::temp_dir().join(format!("ringmill-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Some(Net {
            engine,
            peer,
            relay,
            folder,
            _machine: machine,
        })
    }

    /// Frames that the relay lost.
    pub(crate) fn lost(&self) -> u64 {
        self.relay.as_ref().map_or(0, Relay::lost)
    }

    /// A file of this test's own.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Starts `ringmill` in the engine's namespace, and waits until it says that
    /// it is on its way.
    pub(crate) fn ringmill(&self, arguments: &[&str]) -> Engine {
        Engine::start(&self.engine, arguments)
    }

    /// The same at the peer's end.
    pub(crate) fn peer_ringmill(&self, arguments: &[&str]) -> Engine {
        Engine::start(&self.peer, arguments)
    }

    /// Runs `ringmill` to its end.
    pub(crate) fn ringmill_to_end(&self, arguments: &[&str]) -> Output {
        self.engine
            .command(env!("CARGO_BIN_EXE_ringmill"))
            .args(arguments)
            .output()
            .unwrap()
    }

    /// Runs a program at the peer's end to its end, which must be a success.
    pub(crate) fn peer(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.peer.command(program).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }

    /// Loses one in `per` of the frames that reach the peer's TCP.
    pub(crate) fn lose_one_in(&self, per: u32) {
        self.lose(&format!("numgen random mod {per} == 0"));
    }

    /// Loses those of the frames that reach the peer's TCP that match.
    pub(crate) fn lose(&self, which: &str) {
        let rules = format!(
            "table inet loss {{\nchain input {{\ntype filter hook input priority 0\n\
             ip saddr {ENGINE} {which} drop\n}}\n}}\n"
        );
        let mut nft = self
            .peer
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        nft.stdin
            .take()
            .unwrap()
            .write_all(rules.as_bytes())
            .unwrap();
        assert!(nft.wait().unwrap().success(), "nft");
    }

    /// Starts nginx at the peer's end with one worker, an access log and a body
    /// of 64 bytes; it ends with the namespace.
    pub(crate) fn nginx(&self) -> Nginx {
        let root = self.file("www");
        std::fs::create_dir_all(&root).unwrap();
        std::fs::write(root.join("index.html"), [b'x'; 64]).unwrap();
        let log = self.file("access.log");
        let _ = std::fs::remove_file(&log);
        let config = format!(
            "worker_processes 1; daemon off; user root; pid {pid}; error_log {error};
             events {{ worker_connections 8192; }}
             http {{ access_log {log} combined buffer=64k flush=200ms; keepalive_requests 1000000000;
             server {{ listen 80 backlog=8192; listen [::]:80 backlog=8192; root {root}; }} }}",
            pid = self.file("nginx.pid").display(),
            error = self.file("error.log").display(),
            log = log.display(),
            root = root.display(),
        );
        let path = self.file("nginx.conf");
        std::fs::write(&path, config).unwrap();
        let mut command = self.peer.command("nginx");
        let child = command
            .arg("-c")
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let nginx = Nginx { child, log };
        let url = format!("http://{PEER}/");
        wait_until("nginx answers", || {
            self.peer
                .command("curl")
                .args(["-s", "-o", "/dev/null", &url])
                .status()
                .unwrap()
                .success()
        });
        // What it has logged until here is not the test's.
        wait_until("nginx has logged it", || nginx.logged().len() == 1);
        nginx
    }
}

fn lay_relay(test: &str, link: Link, engine: &Namespace, peer: &Namespace) -> Relay {
    let addresses = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap());
    let (at_engine, at_peer) = (addresses([ENGINE, ENGINE_V6]), addresses([PEER, PEER_V6]));
    let end = |namespace, addresses| RelayEnd {
        namespace,
        interface: "veth0",
        addresses,
        link,
    };
    let (engine, peer) = (end(engine, &at_engine), end(peer, &at_peer));
    let seed = u64::from(std::process::id());
    println!("{test}: the relay's seed is {seed}");
    Relay::lay(&format!("{test}-r"), seed, &engine, &peer).unwrap()
}

impl Drop for Net {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Bytes without a pattern that a lost or repeated segment could hide in.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(&mut next)
        .flatten()
        .take(len)
        .collect()
}

/// A report of an engine that ended in good order.
pub(crate) fn assert_clean((status, report): (i32, String)) {
    assert_eq!(status, 0, "{report}");
    assert!(report.contains("everything else came home"), "{report}");
}

/// Waits up to ten seconds.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "waited in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An nginx that ends when it is dropped.
pub(crate) struct Nginx {
    child: Child,
    log: PathBuf,
}

impl Nginx {
    /// The lines of the access log.
    pub(crate) fn logged(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log)
            .unwrap_or_default()
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// Stops it in good order, so that the whole log is written: how many 2xx it
    /// has logged, but for the first, which was our own.
    pub(crate) fn count_2xx(mut self) -> u64 {
        // SAFETY: a plain system call on a child that has not been waited for.
        unsafe { libc::kill(self.child.id().try_into().unwrap(), libc::SIGQUIT) };
        self.child.wait().unwrap();
        let is_2xx = |line: &String| {
            line.split('"')
                .nth(2)
                .is_some_and(|rest| rest.trim_start().starts_with('2'))
        };
        u64::try_from(self.logged().iter().filter(|line| is_2xx(line)).count()).unwrap() - 1
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `ringmill`.
pub(crate) struct Engine {
    child: Child,
    stderr: String,
}

impl Engine {
    fn start(namespace: &Namespace, arguments: &[&str]) -> Engine {
        let mut command = namespace.command(env!("CARGO_BIN_EXE_ringmill"));
        let child = command
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        Engine {
            child,
            stderr: String::new(),
        }
        .on_its_way()
    }

    fn on_its_way(mut self) -> Engine {
        let mut line = String::new();
        let mut stderr = BufReader::new(self.child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        assert!(
            line.starts_with("serving") || line.starts_with("loading"),
            "{line}"
        );
        self.stderr = line;
        self
    }

    /// What it said when it started.
    pub(crate) fn said(&self) -> &str {
        &self.stderr
    }

    /// Its process: `ip netns exec` has become it.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: i32) {
        // SAFETY: a plain system call on a child that has not been waited for.
        unsafe { libc::kill(self.child.id().try_into().unwrap(), signal) };
    }

    /// Interrupts it: its exit status and report.
    pub(crate) fn interrupt(self) -> (i32, String) {
        self.signal(libc::SIGINT);
        self.wait()
    }

    /// Waits for its end: its exit status and report.
    pub(crate) fn wait(self) -> (i32, String) {
        let output = self.child.wait_with_output().unwrap();
        (
            output.status.code().unwrap_or(-1),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// A program in the background that ends when it is dropped.
pub(crate) struct Background(pub(crate) Child);

impl Background {
    pub(crate) fn spawn(mut command: Command) -> Background {
        Background(
            command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
