//! A hash of names that grows label by label from the right, so that one walk gives those of all suffixes.

use crate::wire::Name;

/// The hash of no label at all.
pub const SEED: u64 = 0x9e37_79b9_7f4a_7c15;

/// Adds a label to the hash of the labels to its right.
#[inline]
pub fn extend(state: u64, label: &[u8]) -> u64 {
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

/// Ends the hash, so that every bit of it can be used.
#[inline]
pub fn finish(state: u64) -> u64 {
    fold(state ^ 0x2545_f491_4f6c_dd1d)
}

/// The hash of a whole name.
pub fn of(name: &Name) -> u64 {
    let labels = (0..name.labels()).rev();
    finish(labels.fold(SEED, |state, at| extend(state, name.label(at))))
}

/// Multiplies to twice the width and folds, so that every bit of the input reaches every bit of the hash.
#[inline]
fn fold(value: u64) -> u64 {
    let wide = u128::from(value) * 0xd6e8_feb8_6659_fd93_u128;
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Spreads hashes over any number of places without a division, in their own order.
#[inline]
pub fn place(hash: u64, places: usize) -> usize {
    ((u128::from(hash) * places as u128) >> 64) as usize
}
