//! Huge pages: the program's heap, of which large allocations ask for some and go back
//! to the kernel once they are free, and what the machine's pool has.
//!
//! The engine's tables reach over hundreds of megabytes at a million connections
//! and are entered at random: with pages of 4 KiB a look misses the
//! translation buffer too, and walks page tables that may be in no cache either. The
//! kernel backs memory by pages of 2 MiB where it is asked to (madvise(2); most
//! distributions have `madvise` or `always` in
//! `/sys/kernel/mm/transparent_hugepage/enabled`) and where it has some; memory that
//! is reserved and not touched still takes none. The pool of hugetlbfs is another
//! matter: its pages are set aside by hand, and asked for at a mapping.
//!
//! Unsafe here: an allocator is, as a trait. It is the system's, and neither advice
//! about memory nor where it maps some changes anything that a program can see.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

/// Allocations of a table, not of a record: below it huge pages would be a small
/// part of the memory, or pages that are mostly empty.
const LARGE: usize = 4 << 20;

/// An allocation of so much or more is a mapping of its own: where glibc begins.
const MAPPED: u32 = 128 << 10;

/// The smallest page that any machine has.
const PAGE: usize = 4_096;

/// The system's allocator with advice, to be a program's `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

/// Large allocations want huge pages, or not.
static WANTED: AtomicBool = AtomicBool::new(true);

/// What `make` tells; large allocations of this process are meanwhile on pages of the
/// usual size, so that what huge pages bring can be measured.
pub fn without<T>(make: impl FnOnce() -> T) -> T {
    WANTED.store(false, Ordering::Relaxed);
    let made = make();
    WANTED.store(true, Ordering::Relaxed);
    made
}

/// Bytes of a page of the machine's pool of huge pages (hugetlbfs), if one is free.
pub(crate) fn page_in_pool() -> Option<u64> {
    let told = fs::read_to_string("/proc/meminfo").ok()?;
    let number = |field: &str| {
        let rest = told.lines().find_map(|line| line.strip_prefix(field))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    let is_free = number("HugePages_Free:")? > number("HugePages_Rsvd:")?;
    Some(number("Hugepagesize:")? * 1_024).filter(|_| is_free)
}

/// Keeps glibc's threshold of mappings where it is, before the first of them. By itself
/// it follows what was freed, up to 32 MiB (mallopt(3)), and then keeps the arrays that a
/// table has grown out of: together as much as the table itself.
fn keep_threshold(size: usize) {
    static IS_KEPT: AtomicBool = AtomicBool::new(false);
    if size < MAPPED as usize || IS_KEPT.swap(true, Ordering::Relaxed) {
        return;
    }
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes the allocator's lock itself, and moves nothing.
    let _ = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED as libc::c_int) };
}

/// Asks for huge pages under `size` bytes at `memory`, if they are wanted and there are any.
fn advise(memory: *mut u8, size: usize) {
    if size < LARGE || memory.is_null() {
        return;
    }
    let advice = if WANTED.load(Ordering::Relaxed) {
        libc::MADV_HUGEPAGE
    } else {
        libc::MADV_NOHUGEPAGE
    };
    // Whole pages of the allocation: the first may be shared with the allocator.
    let lead = memory.align_offset(PAGE);
    // SAFETY: the range is inside the allocation, and this advice keeps its content.
    // A kernel without huge pages refuses it, which is no fault.
    let _ = unsafe { libc::madvise(memory.wrapping_add(lead).cast(), size - lead, advice) };
}

// SAFETY: every call is the system allocator's, with the caller's own promises.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        keep_threshold(layout.size());
        // SAFETY: the caller's promises.
        let memory = unsafe { System.alloc(layout) };
        advise(memory, layout.size());
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        keep_threshold(layout.size());
        // SAFETY: the caller's promises.
        let memory = unsafe { System.alloc_zeroed(layout) };
        advise(memory, layout.size());
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        keep_threshold(size);
        // SAFETY: the caller's promises.
        let memory = unsafe { System.realloc(memory, layout, size) };
        advise(memory, size);
        memory
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises.
        unsafe { System.dealloc(memory, layout) };
    }
}
