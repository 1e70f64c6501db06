//! What a script needs, and the same script without its commands.

use anyhow::Context as _;
use std::path::Path;

/// What a script needs of a stack, the most that it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Needs {
    /// Socket calls that every system has.
    Portable,
    /// TCP_INFO, for what it asserts in Python.
    TcpInfo,
    /// Settings of the kernel.
    Settings,
    /// Options and flags of Linux that the engine has, or epoll.
    Options,
    /// TCP Fast Open.
    FastOpen,
    /// Calls and options that Linux alone has.
    Linux,
}

impl Needs {
    pub(crate) const ALL: [Needs; 6] = [
        Needs::Portable,
        Needs::TcpInfo,
        Needs::Settings,
        Needs::Options,
        Needs::FastOpen,
        Needs::Linux,
    ];
}

/// Marks of what only Linux has, and the engine has not.
const LINUX: [&str; 6] = [
    "ZEROCOPY",
    "TCP_MD5SIG",
    "TIMESTAMPING",
    "TCP_INQ",
    "splice(",
    "sendfile(",
];
/// A file in the directory that a script runs in: while it is there the device refuses
/// what is to leave.
pub(crate) const REFUSES: &str = "device-refuses";
const REFUSE: &str = "touch device-refuses";
/// Marks of Fast Open.
const FAST_OPEN: [&str; 3] = ["FASTOPEN", "FO ", "FOEXP"];
/// Marks of what Linux has and the engine too.
const OPTIONS: [&str; 5] = [
    "epoll_",
    "TCP_CORK",
    "MSG_MORE",
    "MSG_EOR",
    "TCP_NOTSENT_LOWAT",
];

/// A script, read.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) needs: Needs,
    /// What its commands would set, as flags of the library.
    pub(crate) flags: Vec<String>,
    /// The engine's address, where the script names it.
    pub(crate) local: Option<String>,
    /// The script, with a command of ours in the place of each of its own, and all lines
    /// in place.
    pub(crate) text: String,
}

impl Script {
    pub(crate) fn read(path: &Path) -> anyhow::Result<Script> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        Ok(Script::parse(&text))
    }

    fn parse(source: &str) -> Script {
        let (mut text, mut commands) = (String::new(), Vec::new());
        // Those at a time of the script would set what the engine has from the start.
        let mut first = Vec::new();
        for (index, piece) in source.split('`').enumerate() {
            if index % 2 == 0 {
                text.push_str(piece);
                continue;
            }
            commands.push(piece);
            if text.ends_with('\n') || text.is_empty() {
                first.push(piece);
            }
            text.push('`');
            text.push_str(instead_of(piece));
            text.extend(piece.matches('\n'));
            text.push('`');
        }
        let calls: String = text
            .lines()
            .map(|line| line.split("//").next().unwrap_or(""))
            .collect();
        let flags: Vec<String> = first.iter().flat_map(|command| settings(command)).collect();
        let has = |marks: &[&str]| marks.iter().any(|mark| calls.contains(mark));
        let sets = |prefix: &str| {
            let all = commands.iter().flat_map(|command| settings(command));
            all.into_iter().any(|flag| flag.starts_with(prefix))
        };
        let needs = if has(&LINUX) {
            Needs::Linux
        } else if has(&FAST_OPEN) || sets("tcp_fastopen") {
            Needs::FastOpen
        } else if has(&OPTIONS) || sets("tcp_notsent_lowat") {
            Needs::Options
        } else if commands.iter().any(|command| !is_idle(command)) {
            Needs::Settings
        } else if calls.contains("tcpi_") {
            Needs::TcpInfo
        } else {
            Needs::Portable
        };
        let local = source
            .lines()
            .find_map(|line| line.strip_prefix("--local_ip="));
        Script {
            needs,
            flags,
            local: local.map(str::to_owned),
            text,
        }
    }
}

/// The words of a command, without the scripts that set defaults or set back.
fn words(command: &str) -> impl Iterator<Item = &str> {
    command
        .lines()
        .map(|line| line.split(" #").next().unwrap_or(""))
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split_whitespace())
        .filter(|word| {
            !word.ends_with("common/defaults.sh") && !word.starts_with("/tmp/sysctl_restore")
        })
}

/// What is run in the place of a command: nothing, or what tells the library of a device
/// that takes no packets from now on.
fn instead_of(command: &str) -> &'static str {
    if command.contains("pfifo limit 0") {
        REFUSE
    } else {
        "true"
    }
}

fn is_idle(command: &str) -> bool {
    words(command).next().is_none()
}

/// Sysctls of TCP as `name=value`, whatever sets them.
fn settings(command: &str) -> Vec<String> {
    let quoted: Vec<&str> = command.split('"').collect();
    let mut settings: Vec<String> = Vec::new();
    for (index, piece) in quoted.iter().enumerate() {
        if index % 2 == 1 {
            // A value of several words belongs to the name in front of it.
            if let Some(last) = settings.last_mut().filter(|last| last.ends_with('=')) {
                last.push_str(piece);
            }
            continue;
        }
        for word in words(piece) {
            let name = word.rsplit(['/', '.']).next().unwrap_or("");
            let is_whole = word.contains("net/ipv4/") || word.contains("net.ipv4.");
            if is_whole && name.starts_with("tcp_") && name.contains('=') {
                settings.push(name.to_owned());
            }
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_become_flags_and_lines_stay() {
        let script = Script::parse(concat!(
            "`../common/defaults.sh\n",
            "../common/set_sysctls.py /proc/sys/net/ipv4/tcp_wmem=\"4096 50000 4194304\" \\\n",
            "  /proc/sys/net/ipv4/tcp_min_tso_segs=10\n",
            "sysctl -q net.ipv4.tcp_ecn=2 # server agrees`\n",
            "0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3\n",
        ));
        assert_eq!(
            script.flags,
            [
                "tcp_wmem=4096 50000 4194304",
                "tcp_min_tso_segs=10",
                "tcp_ecn=2"
            ]
        );
        assert_eq!(script.needs, Needs::Settings);
        assert_eq!(script.text.lines().count(), 5);
        assert_eq!(
            script.text.lines().last(),
            Some("0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3")
        );
        assert!(script.text.starts_with("`true\n"));
    }

    #[test]
    fn a_device_that_takes_nothing_is_told_of_and_other_commands_are_not_run() {
        let script = Script::parse(concat!(
            "+0 `tc qdisc replace dev tun0 root pfifo limit 0`\n",
            "+0 `tc qdisc replace dev tun0 root pfifo`\n",
        ));
        assert_eq!(script.text, format!("+0 `touch {REFUSES}`\n+0 `true`\n"));
    }

    #[test]
    fn what_a_script_needs_is_the_most_of_it() {
        let needs = |text: &str| Script::parse(text).needs;
        let defaults = "`../common/defaults.sh`\n";
        assert_eq!(
            needs(&format!("{defaults}0 close(3) = 0 // epoll_wait\n")),
            Needs::Portable
        );
        assert_eq!(
            needs(&format!("{defaults}+0 %{{ assert tcpi_unacked == 0 }}%\n")),
            Needs::TcpInfo
        );
        assert_eq!(
            needs("`sysctl -q net.ipv4.tcp_ecn=1`\n+0 %{ tcpi_unacked }%\n"),
            Needs::Settings
        );
        assert_eq!(
            needs("`sysctl -q net.ipv4.tcp_ecn=1`\n0 epoll_create(1) = 5\n"),
            Needs::Options
        );
        assert_eq!(
            needs("0 epoll_create(1) = 5\n0 < S 0:0(0) win 1 <FO 1234>\n"),
            Needs::FastOpen
        );
        assert_eq!(
            needs("0 < S 0:0(0) win 1 <FO 1234>\n0 splice(4, 5) = 1\n"),
            Needs::Linux
        );
    }
}
