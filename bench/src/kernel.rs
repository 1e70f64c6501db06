//! wrk against nginx on the kernel's TCP over a veth pair, a core a side.

use crate::Closing;
use anyhow::{Context as _, ensure};
use ringmill::affinity;
use ringmill::netns::{Namespace, VethPair};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Requests a second of `connections` connections, with a body of 64 bytes.
///
/// # Errors
/// When wrk or nginx is missing, or when wrk reports an error.
pub fn run(closing: Closing, connections: usize, duration: Duration) -> anyhow::Result<f64> {
    let [client_core, server_core, ..] = affinity::cores()[..] else {
        anyhow::bail!("two cores are needed");
    };
    let (near, far) = (Namespace::create("wrk")?, Namespace::create("nginx")?);
    VethPair::create((&near, "veth0"), (&far, "veth0"), 1, 1_500)?;
    near.ip(&["addr", "add", "198.18.0.2/24", "dev", "veth0"])?;
    far.ip(&["addr", "add", "198.18.0.1/24", "dev", "veth0"])?;
    let _nginx = Nginx::start(&far, server_core)?;
    let mut wrk = pinned(&near, client_core, "wrk");
    wrk.args([
        "-t1",
        &format!("-c{connections}"),
        &format!("-d{}s", duration.as_secs().max(1)),
    ]);
    if closing == Closing::Close {
        wrk.args(["-H", "Connection: close"]);
    }
    let output = wrk.arg("http://198.18.0.1/").output()?;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() && !report.contains("Socket errors") && !report.contains("Non-2xx"),
        "wrk: {report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rate = report
        .lines()
        .find_map(|line| line.strip_prefix("Requests/sec:"));
    Ok(rate.context("wrk told no rate")?.trim().parse()?)
}

fn pinned(namespace: &Namespace, core: usize, program: &str) -> Command {
    let mut command = namespace.command("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

/// nginx with one worker and no log; it ends when it is dropped.
struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    fn start(namespace: &Namespace, core: usize) -> anyhow::Result<Nginx> {
        let folder = std::env::temp_dir().join(format!("{}-nginx", namespace.name()));
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("nginx.conf");
        std::fs::write(&config, configuration(&folder))?;
        let mut command = pinned(namespace, core, "nginx");
        let child = command
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()?;
        let nginx = Nginx { child, folder };
        let start = Instant::now();
        loop {
            let mut curl = namespace.command("curl");
            if curl
                .args(["-s", "-o", "/dev/null", "http://198.18.0.1/"])
                .status()?
                .success()
            {
                return Ok(nginx);
            }
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "nginx does not answer"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The body comes from nginx's memory, as ours does from ours.
fn configuration(folder: &Path) -> String {
    let (folder, body) = (folder.display(), "x".repeat(64));
    format!(
        "worker_processes 1; daemon off; master_process off; user root; pid {folder}/pid; error_log {folder}/error;
         events {{ worker_connections 8192; }}
         http {{ access_log off; keepalive_requests 1000000000;
         server {{ listen 80 backlog=8192; location / {{ return 200 '{body}'; }} }} }}"
    )
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The namespace that it runs in goes at the same time; neither needs the other.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
