//! Every order in which the flow table's writer and a reader can meet, by loom.
//!
//! The table's own source is compiled here once more, with loom's atomics in the
//! place of the machine's (build.rs sets `cfg(loom)` for this package alone) and
//! with buckets of two slots, so that few flows overflow one and make it grow.

#[path = "../../src/flow/table.rs"]
pub mod table;

#[cfg(test)]
mod tests {
    use super::table::FlowTable;
    use loom::sync::atomic::{AtomicBool, Ordering};
    use std::sync::Arc;

    /// Hashes whose home is the first bucket of one, two or four.
    const FIRST: [u64; 4] = [4, 8, 12, 16];

    /// Runs `change` on a table that holds the first `count` flows, beside a reader
    /// that looks for those in `kept`, in every order.
    fn check(count: usize, kept: &'static [usize], change: fn(&mut FlowTable)) {
        loom::model(move || {
            let mut table = FlowTable::with_capacity(1);
            for (value, &hash) in (0..).zip(&FIRST[..count]) {
                table.insert(hash, value);
            }
            let mut reader = table.reader();
            let looking = loom::thread::spawn(move || {
                for &flow in kept {
                    assert!(reader.may_have(FIRST[flow]), "flow {flow} is missed");
                }
            });
            change(&mut table);
            looking.join().unwrap();
        });
    }

    #[test]
    fn a_flow_is_found_while_it_moves_to_a_larger_array() {
        check(2, &[0, 1], |table| table.insert(FIRST[2], 2));
    }

    #[test]
    fn a_flow_behind_a_full_bucket_is_found_while_others_leave_it() {
        check(4, &[3, 2], |table| {
            assert!(table.remove(FIRST[0], 0));
            assert!(table.remove(FIRST[1], 1));
        });
    }

    #[test]
    fn a_flow_is_found_while_its_value_changes_and_another_takes_a_place() {
        check(2, &[1], |table| {
            assert!(table.replace(FIRST[1], 1, 9));
            assert!(table.remove(FIRST[0], 0));
            table.insert(FIRST[3], 3);
        });
    }

    #[test]
    fn a_flow_is_found_while_it_moves_twice() {
        check(2, &[1], |table| {
            table.insert(FIRST[2], 2);
            table.insert(FIRST[3], 3);
            assert!(table.remove(FIRST[3], 3));
        });
    }

    #[test]
    fn a_flow_is_seen_from_the_moment_that_its_insertion_is() {
        loom::model(|| {
            let mut table = FlowTable::with_capacity(1);
            let mut reader = table.reader();
            let is_in = Arc::new(AtomicBool::new(false));
            let seen = Arc::clone(&is_in);
            let looking = loom::thread::spawn(move || {
                if seen.load(Ordering::Acquire) {
                    assert!(reader.may_have(FIRST[0]));
                }
            });
            table.insert(FIRST[0], 0);
            is_in.store(true, Ordering::Release);
            looking.join().unwrap();
        });
    }
}
