//! One run of packetdrill, with a limit.

use crate::script::{REFUSES, Script};
use anyhow::{Context as _, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// How long one script may take in real time; in virtual time it takes what it takes.
const LIMIT: Duration = Duration::from_secs(20);

/// What Linux gives as a cookie in scripts for IPv4.
const LINUX_COOKIE: &str = "3021b9d889017eeb";

/// What a script's packets and sockets are (`--ip_version`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V4,
    V6,
    /// IPv4 packets, and sockets of IPv6 (RFC 3493 section 3.7).
    Mapped,
}

impl Version {
    pub(crate) const ALL: [Version; 3] = [Version::V4, Version::V6, Version::Mapped];

    /// The name that packetdrill has for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Version::V4 => "ipv4",
            Version::V6 => "ipv6",
            Version::Mapped => "ipv4-mapped-ipv6",
        }
    }

    /// A script whose name ends in a version is of that alone.
    /// So is one that names its addresses.
    pub(crate) fn runs(self, path: &Path, script: &Script) -> bool {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let is_v6 = stem.ends_with("v6");
        let is_v4 = !is_v6 && (stem.ends_with("v4") || script.local.is_some());
        match self {
            Version::V6 => !is_v4,
            Version::V4 | Version::Mapped => !is_v6,
        }
    }

    /// The cookie that the engine gives to packetdrill's remote address. It is the
    /// server's to choose (RFC 7413 section 4.1.2): scripts name Linux's.
    pub(crate) fn cookie(self) -> &'static str {
        match self {
            Version::V4 | Version::Mapped => "6de0eadbf415bd6f",
            Version::V6 => "dfe53c16de830a2d",
        }
    }

    /// The address that scripts run on; by itself packetdrill draws some.
    fn local(self) -> &'static str {
        match self {
            Version::V4 | Version::Mapped => "192.168.0.1",
            Version::V6 => "fd3d:fa7b:d17d::1",
        }
    }

    /// What its own runner gives to packetdrill besides.
    fn arguments(self) -> &'static [&'static str] {
        match self {
            Version::V4 => &[
                "-DCODE=host_unreachable",
                "-DCMSG_LEVEL_IP=SOL_IP",
                "-DCMSG_TYPE_RECVERR=IP_RECVERR",
            ],
            Version::V6 => &[
                "--mtu=1520",
                "-DCODE=address_unreachable",
                "-DCMSG_LEVEL_IP=SOL_IPV6",
                "-DCMSG_TYPE_RECVERR=IPV6_RECVERR",
            ],
            Version::Mapped => &[
                "-DCODE=host_unreachable",
                "-DCMSG_LEVEL_IP=SOL_IPV6",
                "-DCMSG_TYPE_RECVERR=IPV6_RECVERR",
            ],
        }
    }
}

pub(crate) struct Runner {
    packetdrill: PathBuf,
    library: PathBuf,
    /// Where the copies are.
    scratch: PathBuf,
}

impl Runner {
    pub(crate) fn new(packetdrill: &Path) -> anyhow::Result<Runner> {
        let packetdrill = packetdrill
            .canonicalize()
            .with_context(|| format!("no packetdrill at {}", packetdrill.display()))?;
        // Cargo puts both into one directory.
        let library = std::env::current_exe()?.with_file_name("libringmill_packetdrill.so");
        if !library.exists() {
            bail!("no {}: build the library as well", library.display());
        }
        let scratch =
            std::env::temp_dir().join(format!("ringmill-packetdrill-{}", std::process::id()));
        fs::create_dir_all(&scratch)?;
        Ok(Runner {
            packetdrill,
            library,
            scratch,
        })
    }

    /// Runs one script: what packetdrill said if it failed.
    pub(crate) fn run(
        &self,
        path: &Path,
        script: &Script,
        version: Version,
    ) -> anyhow::Result<Result<(), String>> {
        let name = path.file_name().context("a script has a name")?;
        let copy = self.scratch.join(name);
        let output = self.scratch.join("output");
        fs::write(&copy, script.text.replace(LINUX_COOKIE, version.cookie()))?;
        let writer = fs::File::create(&output)?;
        let local = script.local.as_deref().unwrap_or(version.local());
        let mut flags = vec![format!("local={local}")];
        if script.text.contains(REFUSES) {
            let _ = fs::remove_file(self.scratch.join(REFUSES)); // Of an earlier run.
            flags.push(format!("device_refuses={REFUSES}"));
        }
        flags.extend_from_slice(&script.flags);
        let mut child = Command::new(&self.packetdrill)
            .arg(format!("--so_filename={}", self.library.display()))
            .arg(format!("--so_flags={}", flags.join(",")))
            .arg(format!("--ip_version={}", version.name()))
            .arg(format!("--local_ip={local}"))
            .arg(format!("-DTFO_COOKIE={}", version.cookie()))
            .args(version.arguments())
            .arg(name)
            .current_dir(&self.scratch)
            // TCP_INFO is asked of libc, which the library answers for when it
            // stands in front of it.
            .env("LD_PRELOAD", &self.library)
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .with_context(|| format!("{} can't be run", self.packetdrill.display()))?;
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break Some(status);
            }
            if started.elapsed() > LIMIT {
                child.kill()?;
                child.wait()?;
                break None;
            }
            thread::sleep(Duration::from_millis(5));
        };
        let said = String::from_utf8_lossy(&fs::read(&output)?).into_owned();
        Ok(match status {
            Some(status) if status.success() => Ok(()),
            Some(_) => Err(said),
            None => Err(format!("still running after {} s\n{said}", LIMIT.as_secs())),
        })
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.scratch);
    }
}
