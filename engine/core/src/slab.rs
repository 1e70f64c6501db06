//! Records that are found by index: a bounded slab.
//!
//! The bound is the budget of the record type. Its address space is reserved at
//! the start and its pages are touched as records are made, so growth never
//! moves a record, never pauses and never allocates.

/// A record, or its place while it is free: then it names the next free one, so that
/// the list of them takes no memory of its own.
#[derive(Debug)]
enum Entry<T> {
    Used(T),
    Free(u32),
}

/// The end of the list of free entries.
const NONE: u32 = u32::MAX;

/// Up to `limit` records, each at an index that stays its own until removed.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Entry<T>>,
    /// The entry freed last.
    free: u32,
    len: usize,
    limit: usize,
}

impl<T> Slab<T> {
    /// Bytes of a record in its place.
    pub(crate) const ENTRY_LEN: usize = size_of::<Entry<T>>();

    pub(crate) fn new(limit: usize) -> Slab<T> {
        // Indices share a 32-bit word with two bits of kind in the flow table.
        assert!(limit < 1 << 30, "more records than an index can name");
        Slab {
            entries: Vec::with_capacity(limit),
            free: NONE,
            len: 0,
            limit,
        }
    }

    /// Puts a record in and tells its index; gives it back when the slab is full.
    pub(crate) fn insert(&mut self, record: T) -> Result<u32, T> {
        // The most recently freed entry is the one most likely to be in cache.
        if let Some(entry) = self.entries.get_mut(self.free as usize) {
            let index = self.free;
            if let Entry::Free(next) = *entry {
                self.free = next;
            }
            *entry = Entry::Used(record);
            self.len += 1;
            return Ok(index);
        }
        let Ok(index) = u32::try_from(self.entries.len()) else {
            return Err(record);
        };
        if self.is_full() {
            return Err(record);
        }
        self.entries.push(Entry::Used(record));
        self.len += 1;
        Ok(index)
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let entry = self.entries.get_mut(index as usize)?;
        if matches!(entry, Entry::Free(_)) {
            return None;
        }
        let Entry::Used(record) = std::mem::replace(entry, Entry::Free(self.free)) else {
            return None;
        };
        self.free = index;
        self.len -= 1;
        Some(record)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        match self.entries.get(index as usize)? {
            Entry::Used(record) => Some(record),
            Entry::Free(_) => None,
        }
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        match self.entries.get_mut(index as usize)? {
            Entry::Used(record) => Some(record),
            Entry::Free(_) => None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..)
            .zip(&self.entries)
            .filter_map(|(index, entry)| match entry {
                Entry::Used(record) => Some((index, record)),
                Entry::Free(_) => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn behaves_as_a_map_with_a_bound(ops in prop::collection::vec(prop::option::of(0u32..12), 0..200)) {
            let mut slab = Slab::new(8);
            let mut model = BTreeMap::new();
            for (n, op) in ops.into_iter().enumerate() {
                match op {
                    None => match slab.insert(n) {
                        Ok(index) => prop_assert_eq!(model.insert(index, n), None),
                        Err(_) => prop_assert_eq!(model.len(), 8),
                    },
                    Some(index) => prop_assert_eq!(slab.remove(index), model.remove(&index)),
                }
                prop_assert_eq!(slab.len(), model.len());
                prop_assert!(slab.iter().eq(model.iter().map(|(&i, r)| (i, r))));
            }
        }
    }
}
