//! Names to small numbers, exactly: the table that every lookup goes through.
//!
//! Names lie back to back in one block of bytes, each behind the three bytes of its value. An open-addressing
//! table holds where each starts, and beside it one byte of every name's hash. A look-up hashes the name label
//! by label from the right and, for each suffix, reads that byte first: a name that no rule covers touches
//! nothing else.

use crate::wire::Name;

/// The largest value that a name can be given.
pub const MAX_VALUE: u32 = 0x00ff_ffff;

const EMPTY: u8 = 0;
const VALUE_BYTES: usize = 3;

/// A map from names to values of up to [`MAX_VALUE`].
#[derive(Default)]
pub struct Table {
    tags: Vec<u8>,
    slots: Vec<u32>,
    names: Vec<u8>,
    len: usize,
}

impl Table {
    /// How many names the table holds.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether the table holds no name.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes the table takes.
    pub fn bytes(&self) -> usize {
        self.tags.capacity() + 4 * self.slots.capacity() + self.names.capacity()
    }

    /// The value of a name in wire form.
    pub fn get(&self, name: &Name) -> Option<u32> {
        if self.is_empty() {
            return None;
        }
        self.probe(full_hash(name), name.wire())
            .ok()
            .map(|at| self.value_at(self.slots[at]))
    }

    /// Gives a name a value, replacing the one it had.
    pub fn set(&mut self, name: &Name, value: u32) {
        debug_assert!(value <= MAX_VALUE);
        if (self.len + 1) * 5 > self.slots.len() * 4 {
            self.resize(capacity_for((self.len + 1) * 3 / 2));
        }
        let hash = full_hash(name);
        let bytes = &value.to_le_bytes()[..VALUE_BYTES];
        match self.probe(hash, name.wire()) {
            Ok(at) => {
                let start = self.slots[at] as usize;
                self.names[start..start + VALUE_BYTES].copy_from_slice(bytes);
            }
            Err(at) => {
                self.tags[at] = tag(hash);
                self.slots[at] = self.names.len() as u32;
                self.names.extend_from_slice(bytes);
                self.names.extend_from_slice(name.wire());
                self.len += 1;
            }
        }
    }

    /// Gives back memory that was set aside for growing.
    pub fn shrink(&mut self) {
        let tight = capacity_for(self.len);
        if self.slots.len() > tight {
            self.resize(tight);
        }
        self.names.shrink_to_fit();
    }

    /// Calls `found` with the value of every suffix of `name` that the table holds, and how many labels
    /// that suffix has: the root first, the whole name last.
    #[inline]
    pub fn each_suffix(&self, name: &Name, mut found: impl FnMut(u32, usize)) {
        if self.is_empty() {
            return;
        }
        let labels = name.labels();
        let mut state = SEED;
        for depth in 0..=labels {
            if depth > 0 {
                state = extend(state, name.label(labels - depth));
            }
            let hash = finish(state);
            if let Ok(at) = self.probe(hash, name.suffix(labels - depth)) {
                found(self.value_at(self.slots[at]), depth);
            }
        }
    }

    /// Every name in the table with its value, in the order of insertion.
    pub fn iter(&self) -> impl Iterator<Item = (Name, u32)> + '_ {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at >= self.names.len() {
                return None;
            }
            let value = self.value_at(at as u32);
            let name = Name::read(&self.names[at + VALUE_BYTES..]).ok()?;
            at += VALUE_BYTES + name.wire().len();
            Some((name, value))
        })
    }

    fn value_at(&self, start: u32) -> u32 {
        let bytes = &self.names[start as usize..][..VALUE_BYTES];
        u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0])
    }

    /// The slot that holds `name`, or the free slot where it would go.
    #[inline]
    fn probe(&self, hash: u64, name: &[u8]) -> Result<usize, usize> {
        debug_assert!(!self.slots.is_empty());
        let tag = tag(hash);
        let mut at = start(hash, self.slots.len());
        loop {
            match self.tags[at] {
                EMPTY => return Err(at),
                found if found == tag => {
                    let from = self.slots[at] as usize + VALUE_BYTES;
                    if self.names.get(from..from + name.len()) == Some(name) {
                        return Ok(at);
                    }
                }
                _ => {}
            }
            at += 1;
            if at == self.slots.len() {
                at = 0;
            }
        }
    }

    fn resize(&mut self, slots: usize) {
        self.tags = vec![EMPTY; slots];
        self.slots = vec![0; slots];
        let mut at = 0;
        while at < self.names.len() {
            // The names were checked when they came in.
            let Ok(name) = Name::read(&self.names[at + VALUE_BYTES..]) else {
                break;
            };
            let hash = full_hash(&name);
            let mut slot = start(hash, slots);
            while self.tags[slot] != EMPTY {
                slot = if slot + 1 == slots { 0 } else { slot + 1 };
            }
            self.tags[slot] = tag(hash);
            self.slots[slot] = at as u32;
            at += VALUE_BYTES + name.wire().len();
        }
    }
}

/// At most four slots of five are taken, so that a run of taken slots stays short.
fn capacity_for(names: usize) -> usize {
    (names * 5 / 4).max(8) + 1
}

/// Spreads hashes over any number of slots without a division.
#[inline]
fn start(hash: u64, slots: usize) -> usize {
    ((u128::from(hash) * slots as u128) >> 64) as usize
}

/// One byte of the hash that the slot number hardly depends on; zero means a free slot.
#[inline]
fn tag(hash: u64) -> u8 {
    (hash as u8) | 1
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Adds a label to the hash of the labels to its right.
#[inline]
fn extend(state: u64, label: &[u8]) -> u64 {
    let mut state = (state ^ label.len() as u64).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let mut chunks = label.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes([
            chunk[0], chunk[1], chunk[2], chunk[3], chunk[4], chunk[5], chunk[6], chunk[7],
        ]);
        state = fold(state ^ word);
    }
    let mut last = 0u64;
    for &byte in chunks.remainder() {
        last = last << 8 | u64::from(byte);
    }
    fold(state ^ last)
}

/// Multiplies to twice the width and folds, so that every bit of the input reaches every bit of the hash.
#[inline]
fn fold(value: u64) -> u64 {
    let wide = u128::from(value) * 0xd6e8_feb8_6659_fd93_u128;
    (wide as u64) ^ ((wide >> 64) as u64)
}

#[inline]
fn finish(state: u64) -> u64 {
    fold(state ^ 0x2545_f491_4f6c_dd1d)
}

fn full_hash(name: &Name) -> u64 {
    let labels = name.labels();
    finish(
        (0..labels)
            .rev()
            .fold(SEED, |state, at| extend(state, name.label(at))),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn finds_suffixes_root_first() {
        let mut table = Table::default();
        for (value, text) in ["com", "a.com", "b.a.com", "xa.com", "."]
            .into_iter()
            .enumerate()
        {
            table.set(&name(text), value as u32);
        }
        let mut found = Vec::new();
        table.each_suffix(&name("c.b.a.com"), |value, labels| {
            found.push((value, labels))
        });
        assert_eq!(found, [(4, 0), (0, 1), (1, 2), (2, 3)]);
    }

    #[test]
    fn many_names_stay_exact_and_small() {
        let mut table = Table::default();
        let text = |i: u32| format!("host-{i}.sub{}.example", i % 97);
        for i in 0..50_000 {
            table.set(&name(&text(i)), i % 1000);
        }
        table.shrink();
        for i in 0..50_000 {
            assert_eq!(table.get(&name(&text(i))), Some(i % 1000));
            assert_eq!(table.get(&name(&format!("x{}", text(i)))), None);
        }
        assert_eq!(table.len(), 50_000);
        assert_eq!(table.iter().count(), 50_000);
    }

    proptest! {
        #[test]
        fn agrees_with_a_hash_map(names in prop::collection::vec(("([ab]{1,2}\\.){0,3}[ab]{1,9}", 0u32..9), 0..60),
                                  asked in "([ab]{1,2}\\.){0,3}[ab]{1,9}") {
            let mut table = Table::default();
            let mut reference = HashMap::new();
            for (text, value) in &names {
                table.set(&name(text), *value);
                reference.insert(text.clone(), *value);
            }
            table.shrink();
            prop_assert_eq!(table.len(), reference.len());
            let mut found = Vec::new();
            table.each_suffix(&name(&asked), |value, labels| found.push((value, labels)));
            let labels: Vec<&str> = asked.split('.').collect();
            let expected: Vec<_> = (1..=labels.len())
                .filter_map(|n| {
                    let suffix = labels[labels.len() - n..].join(".");
                    reference.get(&suffix).map(|value| (*value, n))
                })
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
