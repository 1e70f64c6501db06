//! Which core a thread runs on.

/// Cores that this process may use, in the order of their numbers.
pub fn cores() -> Vec<usize> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    cores.into_iter().map(|core| core.id).collect()
}

/// Keeps the calling thread on `core`. False when the process may not use it.
#[must_use]
pub fn pin_thread(core: usize) -> bool {
    // The package writes past its bit set for a core that can't exist.
    let may_exist = usize::try_from(libc::CPU_SETSIZE).is_ok_and(|count| core < count);
    may_exist && core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_pinned_to_a_core_that_exists_and_to_no_other() {
        let core = cores()[0];
        std::thread::spawn(move || {
            assert!(pin_thread(core));
            assert_eq!(cores(), [core], "the thread's mask is that core alone");
            assert!(!pin_thread(1_023) && !pin_thread(1_000_000));
        })
        .join()
        .unwrap();
    }
}
