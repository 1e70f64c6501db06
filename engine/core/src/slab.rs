//! Records that are found by index: a bounded slab.
//!
//! The bound is the budget of the record type. Its address space is reserved at
//! the start and its pages are touched as records are made, so growth never
//! moves a record and never pauses.

/// Up to `limit` records, each at an index that stays its own until removed.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    entries: Vec<Option<T>>,
    free: Vec<u32>,
    limit: usize,
}

impl<T> Slab<T> {
    pub(crate) fn new(limit: usize) -> Slab<T> {
        // Indices share a 32-bit word with two bits of kind in the flow table.
        assert!(limit < 1 << 30, "more records than an index can name");
        Slab {
            entries: Vec::with_capacity(limit),
            free: Vec::new(),
            limit,
        }
    }

    /// Puts a record in and tells its index; gives it back when the slab is full.
    pub(crate) fn insert(&mut self, record: T) -> Result<u32, T> {
        // The most recently freed entry is the one most likely to be in cache.
        if let Some(index) = self.free.pop() {
            self.entries[index as usize] = Some(record);
            return Ok(index);
        }
        let Ok(index) = u32::try_from(self.entries.len()) else {
            return Err(record);
        };
        if self.is_full() {
            return Err(record);
        }
        self.entries.push(Some(record));
        Ok(index)
    }

    pub(crate) fn remove(&mut self, index: u32) -> Option<T> {
        let record = self.entries.get_mut(index as usize)?.take()?;
        self.free.push(index);
        Some(record)
    }

    pub(crate) fn get(&self, index: u32) -> Option<&T> {
        self.entries.get(index as usize)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, index: u32) -> Option<&mut T> {
        self.entries.get_mut(index as usize)?.as_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.len() >= self.limit
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        (0u32..)
            .zip(&self.entries)
            .filter_map(|(i, e)| Some((i, e.as_ref()?)))
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
