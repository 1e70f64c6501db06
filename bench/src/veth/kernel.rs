//! wrk and nginx, on the kernel's TCP, each on a core.

use super::http::Report;
use super::port::{Net, SERVER};
use super::{cpu, runner};
use anyhow::{Context as _, ensure};
use ringmill::netns::Namespace;
use ringmill_core::app::load::CloseMode;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What wrk tells of a run against the server.
pub(super) fn wrk(
    net: &Net,
    connections: usize,
    length: Duration,
    close: CloseMode,
) -> anyhow::Result<Report> {
    let mut wrk = pinned(&net.near, runner::cores()?[0], "wrk");
    wrk.args([
        "-t1",
        &format!("-c{connections}"),
        &format!("-d{}s", length.as_secs().max(1)),
    ]);
    if close == CloseMode::Server {
        wrk.args(["-H", "Connection: close"]);
    }
    let before = cpu::of_children()?;
    let output = wrk.arg(format!("http://{SERVER}/")).output()?;
    let used = cpu::of_children()? - before;
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(
        output.status.success() && !report.contains("Socket errors") && !report.contains("Non-2xx"),
        "wrk: {report}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    read(&report, used).with_context(|| format!("wrk told this: {report}"))
}

/// ```text
///   460423 requests in 3.10s, 97.48MB read
/// Requests/sec: 148523.39
/// ```
fn read(report: &str, used: f64) -> Option<Report> {
    let mut lines = report.lines().map(str::trim);
    let rate = lines
        .clone()
        .find_map(|line| line.strip_prefix("Requests/sec:"))?;
    let (count, _) = lines.find_map(|line| line.split_once(" requests in "))?;
    Some(Report {
        rate: rate.trim().parse().ok()?,
        cpu_us: used * 1e6 / count.parse::<f64>().ok()?,
    })
}

fn pinned(namespace: &Namespace, core: usize, program: &str) -> Command {
    let mut command = namespace.command("taskset");
    command.args(["-c", &core.to_string(), program]);
    command
}

/// nginx with one worker and no log, at the server's end; it ends when it is dropped.
pub(super) struct Nginx {
    child: Child,
    folder: PathBuf,
}

impl Nginx {
    /// Answers every request with `body` bytes.
    pub(super) fn start(net: &Net, body: usize) -> anyhow::Result<Nginx> {
        net.give_kernel(&net.far, SERVER)?;
        let folder = std::env::temp_dir().join(format!("{}-nginx", net.far.name()));
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("nginx.conf");
        std::fs::write(&config, configuration(&folder, body))?;
        let mut command = pinned(&net.far, runner::cores()?[1], "nginx");
        let child = command
            .arg("-c")
            .arg(&config)
            .stderr(Stdio::null())
            .spawn()?;
        let nginx = Nginx { child, folder };
        let start = Instant::now();
        loop {
            // From its own namespace: at the other end may be an engine.
            let mut curl = net.far.command("curl");
            let url = format!("http://{SERVER}/");
            if curl
                .args(["-s", "-o", "/dev/null", &url])
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
fn configuration(folder: &Path, body: usize) -> String {
    let (folder, body) = (folder.display(), "x".repeat(body));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_wrk_is_read() {
        let report = "Running 1s test @ http://198.18.0.1/\n  200000 requests in 1.10s, 37.96MB read\nRequests/sec: 181818.18\nTransfer/sec:     34.51MB\n";
        let told = read(report, 0.5).unwrap();
        assert_eq!((told.rate, told.cpu_us), (181_818.18, 2.5));
        assert!(read("Requests/sec: 1", 0.5).is_none());
    }
}
