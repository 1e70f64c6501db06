//! Large allocations of a program with this allocator are on huge pages.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use ringmill::huge_pages::{HugePages, without};
use std::fs;

#[global_allocator]
static HEAP: HugePages = HugePages;

/// Kilobytes of this process on huge pages.
fn on_huge_pages() -> u64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let line = rollup
        .lines()
        .find(|line| line.starts_with("AnonHugePages:"));
    let words = line.unwrap().split_whitespace();
    words.rev().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_large_table_is_on_huge_pages_once_it_is_touched_and_a_small_one_is_not() {
    let setting = "/sys/kernel/mm/transparent_hugepage/enabled";
    let enabled = fs::read_to_string(setting).unwrap_or_default();
    if enabled.is_empty() || enabled.contains("[never]") {
        eprintln!("skipped: this kernel gives no huge pages ({setting})");
        return;
    }
    let before = on_huge_pages();
    let mut table: Vec<u8> = Vec::with_capacity(64 << 20);
    assert_eq!(on_huge_pages(), before, "reserved memory is not taken");
    table.resize(32 << 20, 1);
    let after = on_huge_pages();
    // Its ends may not fill a huge page.
    assert!(after >= before + (28 << 10), "{after} kB");
    assert!(
        after <= before + (36 << 10),
        "what is not touched: {after} kB"
    );
    table.reserve_exact(128 << 20);
    table.resize(128 << 20, 2);
    assert!(on_huge_pages() > after, "after it has grown");
    assert!(table[..32 << 20].iter().all(|&byte| byte == 1));
    drop(table);
    assert_eq!(on_huge_pages(), before);

    let table = without(|| vec![3_u8; 32 << 20]);
    assert_eq!(on_huge_pages(), before, "not where they are not wanted");
    drop(table);
    let table = vec![4_u8; 32 << 20];
    assert!(on_huge_pages() >= before + (28 << 10), "and wanted again");
    drop(table);
}
