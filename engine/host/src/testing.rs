//! Whether this machine can run the tests that need a real one.

use crate::netns;
use std::env;
use std::sync::atomic::{AtomicU32, Ordering};

/// True when network namespaces, veths and AF_XDP sockets can be made here.
/// Else says on standard error which test is skipped and why, and answers false.
/// Leftovers of killed test runs are removed on the way.
///
/// # Panics
/// When the environment variable `CI` is set: there, skipping is failing.
pub fn machine_can_run(test: &str) -> bool {
    match try_namespace() {
        Ok(()) => true,
        Err(reason) if env::var_os("CI").is_some() => panic!("{test} can't run: {reason}"),
        Err(reason) => {
            eprintln!("{test}: SKIPPED: {reason}");
            false
        }
    }
}

fn try_namespace() -> Result<(), String> {
    netns::sweep();
    static PROBES: AtomicU32 = AtomicU32::new(0);
    let probe = PROBES.fetch_add(1, Ordering::Relaxed);
    let namespace =
        netns::Namespace::create(&format!("probe{probe}")).map_err(|reason| reason.to_string())?;
    namespace
        .within(crate::xdp::has_af_xdp)
        .map_err(|reason| reason.to_string())?
        .map_err(|reason| reason.to_string())
}
