//! Names to small numbers, exactly: the table that every lookup goes through.
//!
//! The table is made once, by [`build`](super::build), and is one run of bytes without pointers, in memory or
//! mapped from a file:
//!
//! * a filter, ten bits a name in words of 64: a name that no rule covers nearly always ends here, after one
//!   word for each of its suffixes;
//! * the places where buckets begin, four bytes each;
//! * the buckets, four names each on average, in the order of their hashes. A name is its number of letters,
//!   its value (seven bits a byte), and its letters as [`packed`](super::packed) has them. Names are compared
//!   in full: the filter may err, the table does not.

use std::ops::{Deref, Range};

use super::hash::{self, place};
use super::packed::{Packed, bytes_for, letters_of, unpack};
use crate::sys::mapped::Mapped;
use crate::sys::prefetch;
use crate::wire::Name;

/// The largest value that a name can be given.
pub const MAX_VALUE: u32 = 0x00ff_ffff;

/// Bits of the filter per name, and names per bucket.
const FILTER_BITS: usize = 10;
const BUCKET: usize = 4;

/// What a table consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Shape {
    /// Names.
    pub len: usize,
    /// Words of the filter.
    pub words: usize,
    /// Buckets.
    pub buckets: usize,
    /// A bit for every number of labels that a name of the table has; the last one stands for all above.
    pub depths: u64,
}

impl Shape {
    /// The shape for up to so many names.
    pub fn for_names(names: usize) -> Self {
        Self {
            len: 0,
            words: (names * FILTER_BITS).div_ceil(64).max(1),
            buckets: names.div_ceil(BUCKET).max(1),
            depths: 0,
        }
    }

    /// Where the buckets' places begin.
    pub fn places_at(&self) -> usize {
        self.words * 8
    }

    /// Where the buckets begin.
    pub fn buckets_at(&self) -> usize {
        self.places_at() + (self.buckets + 1) * 4
    }

    /// The bit for names of so many labels.
    pub fn depth_bit(labels: usize) -> u64 {
        1 << labels.min(63)
    }
}

/// The filter's word for a hash, and the bits in it.
#[inline]
pub fn filter_bits(hash: u64, words: usize) -> (usize, u64) {
    let word = place(hash.wrapping_mul(0x9e6c_63d0_876a_68ee | 1), words);
    let bit = |shift: u32| 1u64 << ((hash >> shift) & 63);
    (word, bit(0) | bit(6) | bit(12) | bit(18))
}

/// The bytes of a table.
pub enum Bytes {
    /// In memory.
    Heap(Box<[u8]>),
    /// In a file, between these bytes.
    Mapped(Mapped, Range<usize>),
}

impl Deref for Bytes {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(file, range) => file.get(range.clone()).unwrap_or_default(),
        }
    }
}

/// A map from names to values of up to [`MAX_VALUE`].
pub struct Table {
    bytes: Bytes,
    shape: Shape,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            bytes: Bytes::Heap(Box::default()),
            shape: Shape::default(),
        }
    }
}

impl Table {
    /// A table of this shape; `None` if the bytes cannot be it.
    pub fn new(bytes: Bytes, shape: Shape) -> Option<Self> {
        let long_enough = shape.len == 0
            || (shape.words > 0 && shape.buckets > 0 && bytes.len() >= shape.buckets_at());
        long_enough.then_some(Self { bytes, shape })
    }

    /// How many names the table holds.
    pub fn len(&self) -> usize {
        self.shape.len
    }

    /// Whether the table holds no name.
    pub fn is_empty(&self) -> bool {
        self.shape.len == 0
    }

    /// How many bytes the table takes.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Calls `found` with the value of every suffix of `name` that the table holds, and how many labels
    /// that suffix has: the root first, the whole name last.
    #[inline]
    pub fn each_suffix(&self, name: &Name, mut found: impl FnMut(u32, usize)) {
        if self.is_empty() {
            return;
        }
        let bytes: &[u8] = &self.bytes;
        let mut packed = None;
        self.each_hash(name, |hash, depth| {
            if !self.may_hold(bytes, hash) {
                return;
            }
            let packed = packed.get_or_insert_with(|| Packed::of(name));
            let letters = letters_of(name.suffix(name.labels() - depth));
            let value = self
                .bucket(place(hash, self.shape.buckets))
                .find(|stored| stored.letters == letters && packed.ends_in(letters, stored.bytes));
            if let Some(stored) = value {
                found(stored.value, depth);
            }
        });
    }

    /// The hash of every suffix that has as many labels as some name of the table.
    #[inline]
    fn each_hash(&self, name: &Name, mut visit: impl FnMut(u64, usize)) {
        let labels = name.labels();
        let mut state = hash::SEED;
        for depth in 0..=labels {
            if depth > 0 {
                state = hash::extend(state, name.label(labels - depth));
            }
            if self.shape.depths & Shape::depth_bit(depth) != 0 {
                visit(hash::finish(state), depth);
            }
        }
    }

    #[inline]
    fn may_hold(&self, bytes: &[u8], hash: u64) -> bool {
        let (word, bits) = filter_bits(hash, self.shape.words);
        word_at(bytes, word) & bits == bits
    }

    /// Has the memory fetched that looking `names` up will need. For many names at once: what one has to
    /// wait for, step by step, comes for all of them together.
    pub fn fetch_ahead<'n>(&self, names: impl Iterator<Item = &'n Name>, hashes: &mut Vec<u64>) {
        hashes.clear();
        if self.is_empty() {
            return;
        }
        let bytes: &[u8] = &self.bytes;
        for name in names {
            self.each_hash(name, |hash, _| {
                let (word, _) = filter_bits(hash, self.shape.words);
                prefetch::fetch(bytes, word * 8);
                hashes.push(hash);
            });
        }
        hashes.retain(|&hash| {
            let held = self.may_hold(bytes, hash);
            if held {
                prefetch::fetch(bytes, self.place_at(hash));
            }
            held
        });
        for &hash in hashes.iter() {
            let bucket = u32_at(bytes, self.place_at(hash)) as usize;
            prefetch::fetch(bytes, self.shape.buckets_at() + bucket);
        }
    }

    /// Where it stands at which place the bucket for a hash begins.
    #[inline]
    fn place_at(&self, hash: u64) -> usize {
        self.shape.places_at() + place(hash, self.shape.buckets) * 4
    }

    /// Every name in the table with its value, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (Name, u32)> + '_ {
        let buckets = if self.is_empty() {
            0
        } else {
            self.shape.buckets
        };
        (0..buckets)
            .flat_map(|at| self.bucket(at))
            .filter_map(|stored| {
                let name = Name::from_text(&unpack(stored.letters, stored.bytes)).ok()?;
                Some((name, stored.value))
            })
    }

    #[inline]
    fn bucket(&self, at: usize) -> Bucket<'_> {
        let bytes: &[u8] = &self.bytes;
        let places = self.shape.places_at() + at * 4;
        let from = self.shape.buckets_at();
        let place = |at: usize| from + u32_at(bytes, at) as usize;
        let rest = bytes.get(place(places)..place(places + 4));
        Bucket {
            rest: rest.unwrap_or_default(),
        }
    }
}

/// The names of a bucket.
struct Bucket<'t> {
    rest: &'t [u8],
}

struct Stored<'t> {
    letters: usize,
    value: u32,
    bytes: &'t [u8],
}

impl<'t> Iterator for Bucket<'t> {
    type Item = Stored<'t>;

    #[inline]
    fn next(&mut self) -> Option<Stored<'t>> {
        let (&letters, mut rest) = self.rest.split_first()?;
        let letters = usize::from(letters);
        let mut value = 0;
        let mut shift = 0;
        loop {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 || shift > 14 {
                break;
            }
            shift += 7;
        }
        let (bytes, rest) = rest.split_at_checked(bytes_for(letters))?;
        self.rest = rest;
        Some(Stored {
            letters,
            value,
            bytes,
        })
    }
}

/// Appends a name as a bucket has it.
pub(super) fn write_stored(to: &mut Vec<u8>, letters: u8, value: u32, bytes: &[u8]) {
    to.push(letters);
    let mut value = value;
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
    to.extend_from_slice(bytes);
}

#[inline]
fn word_at(bytes: &[u8], word: usize) -> u64 {
    let at = word * 8;
    let word = bytes.get(at..at + 8).and_then(|word| word.try_into().ok());
    u64::from_le_bytes(word.unwrap_or_default())
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let place = bytes
        .get(at..at + 4)
        .and_then(|place| place.try_into().ok());
    u32::from_le_bytes(place.unwrap_or_default())
}
