//! The frames of a port are on huge pages where the machine's pool has enough, and
//! all of those come back. Alone in its process: the pool is the machine's.

// A test that can't go on ends.
#![allow(clippy::unwrap_used)]

use ringmill::netns::{Namespace, VethPair};
use ringmill::{XdpConfig, XdpDriver, testing};
use std::fs;
use std::time::{Duration, Instant};

const POOL: &str = "/proc/sys/vm/nr_hugepages";
/// Pages of 2 MiB for one port, with as many frames as it has by default.
const PAGES: u64 = 9;

/// The machine's pool of huge pages, of another size for a while.
struct Pool {
    before: u64,
}

impl Pool {
    /// So many pages are free; none when the machine has not as many in one piece.
    fn with_free(pages: u64) -> Option<Pool> {
        let pool = Pool { before: total() };
        let in_use = pool.before - free();
        fs::write(POOL, (in_use + pages).to_string()).ok()?;
        (free() == pages).then_some(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        let _ = fs::write(POOL, self.before.to_string());
    }
}

fn total() -> u64 {
    fs::read_to_string(POOL).unwrap().trim().parse().unwrap()
}

fn free() -> u64 {
    let told = fs::read_to_string("/proc/meminfo").unwrap();
    let mut lines = told.lines();
    let line = lines.find_map(|line| line.strip_prefix("HugePages_Free:"));
    line.unwrap().trim().parse().unwrap()
}

/// The kernel lets go of a UMEM's pages a little after its last socket.
fn wait_until_free(pages: u64) -> bool {
    let start = Instant::now();
    while free() != pages && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(10));
    }
    free() == pages
}

#[test]
fn frames_are_on_huge_pages_while_the_pool_has_some_and_all_come_back() {
    if !testing::machine_can_run("umem-pages") {
        return;
    }
    let (near, far) = (
        Namespace::create("pages-near").unwrap(),
        Namespace::create("pages-far").unwrap(),
    );
    VethPair::create((&near, "veth0"), (&far, "veth0"), 1, 1_500).unwrap();
    let open = |namespace: &Namespace| {
        let open = || XdpDriver::open(&XdpConfig::new("veth0"));
        namespace.within(open).unwrap().unwrap()
    };
    let Some(_pool) = Pool::with_free(PAGES + PAGES / 2) else {
        eprintln!("umem-pages: SKIPPED: the machine's pool of huge pages can't be changed");
        return;
    };
    let (first, first_pool) = open(&near);
    assert!(first.modes().huge_pages, "{first:?}");
    assert_eq!(free(), PAGES / 2);
    let (second, second_pool) = open(&far);
    assert!(!second.modes().huge_pages, "half of what it needs is left");
    assert!(first.describe().ends_with("frames on huge pages"));
    assert!(!second.describe().contains("huge"));

    first.close(first_pool).unwrap();
    second.close(second_pool).unwrap();
    assert!(wait_until_free(PAGES + PAGES / 2), "{} are free", free());
}
