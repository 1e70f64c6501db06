//! The engine's settings, as far as the kernel has them for a namespace.

use super::KernelError;
use ringmill::netns::Namespace;
use ringmill_core::ports::PortRange;
use ringmill_core::tcp::{AcceptOverflow, SynCookies, TcpConfig};
use std::fs;

/// Sets them for a namespace. The length of TIME-WAIT is none of them: it is 60 s
/// in every Linux.
pub(super) fn apply(namespace: &Namespace, tcp: &TcpConfig) -> Result<(), KernelError> {
    let cookies = match tcp.syn_cookies {
        SynCookies::Never => "0",
        SynCookies::OnOverflow => "1",
        SynCookies::Always => "2",
    };
    let overflow = match tcp.accept_overflow {
        AcceptOverflow::Ignore => "0",
        AcceptOverflow::Reset => "1",
    };
    set(namespace, "tcp_syncookies", cookies)?;
    set(namespace, "tcp_abort_on_overflow", overflow)?;
    set(
        namespace,
        "tcp_max_syn_backlog",
        &tcp.syn_backlog.to_string(),
    )?;
    let reuse = if tcp.time_wait_reuse { "1" } else { "0" };
    set(namespace, "tcp_tw_reuse", reuse)?;
    set(
        namespace,
        "tcp_fin_timeout",
        &tcp.fin_wait_2.as_secs().max(1).to_string(),
    )?;
    // A RST must not end TIME-WAIT (RFC 1337); the engine has it so anyway.
    set(namespace, "tcp_rfc1337", "1")?;
    if tcp.ports != PortRange::default() {
        let PortRange { first, last } = tcp.ports;
        set(namespace, "ip_local_port_range", &format!("{first} {last}"))?;
    }
    Ok(())
}

fn set(namespace: &Namespace, name: &str, value: &str) -> Result<(), KernelError> {
    let path = format!("/proc/sys/net/ipv4/{name}");
    namespace
        .within(|| fs::write(&path, value))?
        .map_err(KernelError::refused(&format!("{name} = {value}")))
}
