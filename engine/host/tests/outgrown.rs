//! What a table has grown out of is the kernel's again at once, in a program with this
//! allocator.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use ringmill::huge_pages::HugePages;
use std::fs;
use std::hint::black_box;

#[global_allocator]
static HEAP: HugePages = HugePages;

const MIB: usize = 1 << 20;

/// MiB of this process in memory, without its code.
fn resident() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.unwrap().split_whitespace().next().unwrap();
    kib.parse::<usize>().unwrap() >> 10
}

fn array(len: usize) -> Vec<u8> {
    black_box(vec![1; len])
}

/// A mapping that was freed is what has glibc keep such sizes from then on.
#[test]
fn an_array_that_a_table_grew_out_of_is_given_back() {
    drop(array(30 * MIB));
    let before = resident();
    let smaller = array(16 * MIB);
    let behind = array(64 << 10);
    let larger = array(32 * MIB);
    let both = resident() - before;
    assert!(both >= 47, "{both} MiB");
    drop(smaller);
    let grown = resident() - before;
    assert!((31..=34).contains(&grown), "{grown} MiB");
    drop((behind, larger));
}
