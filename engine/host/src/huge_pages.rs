//! The program's heap, of which large allocations ask for huge pages.
//!
//! The engine's tables reach over hundreds of megabytes at a million connections
//! and are entered at random: with pages of 4 KiB a look misses the
//! translation buffer too, and walks page tables that may be in no cache either. The
//! kernel backs memory by pages of 2 MiB where it is asked to (madvise(2); most
//! distributions have `madvise` or `always` in
//! `/sys/kernel/mm/transparent_hugepage/enabled`) and where it has some; memory that
//! is reserved and not touched still takes none.
//!
//! Unsafe here: an allocator is, as a trait. It is the system's, and advice about
//! memory changes nothing that a program can see.

use std::alloc::{GlobalAlloc, Layout, System};

/// Allocations of a table, not of a record: below it huge pages would be a small
/// part of the memory, or pages that are mostly empty.
const LARGE: usize = 4 << 20;

/// The smallest page that any machine has.
const PAGE: usize = 4_096;

/// The system's allocator with advice, to be a program's `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HugePages;

/// Asks for huge pages under `size` bytes at `memory`, if there are any.
fn advise(memory: *mut u8, size: usize) {
    if size < LARGE || memory.is_null() {
        return;
    }
    // Whole pages of the allocation: the first may be shared with the allocator.
    let lead = memory.align_offset(PAGE);
    // SAFETY: the range is inside the allocation, and this advice keeps its content.
    // A kernel without huge pages refuses it, which is no fault.
    let _ = unsafe {
        libc::madvise(
            memory.wrapping_add(lead).cast(),
            size - lead,
            libc::MADV_HUGEPAGE,
        )
    };
}

// SAFETY: every call is the system allocator's, with the caller's own promises.
unsafe impl GlobalAlloc for HugePages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        let memory = unsafe { System.alloc(layout) };
        advise(memory, layout.size());
        memory
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises.
        let memory = unsafe { System.alloc_zeroed(layout) };
        advise(memory, layout.size());
        memory
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
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
