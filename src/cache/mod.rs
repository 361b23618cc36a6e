//! Answers by question, as wire bytes, bounded in bytes.
//!
//! [`entry`] is one answer: made from an upstream's response once, served many times by copying and patching.
//! An entry past its end stays as long as it may be served stale (RFC 8767); who serves it and when is the
//! business of [`resolve`](super).

pub mod entry;

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache as QuickCache;

pub use entry::{Age, Entry, Kind, Uncacheable};

use crate::wire::{Query, name::MAX_NAME};

/// Bytes that an entry costs besides its own: the map's and the allocator's.
const OVERHEAD: usize = 160;

/// What an answer is found by: the name, the type, and the two header bits that change what an upstream
/// answers (DO and CD). On the stack, so that asking allocates nothing.
#[derive(Clone)]
pub struct Key {
    bytes: [u8; MAX_NAME + 3],
    len: u16,
}

impl Key {
    /// The key of a question of class IN.
    #[inline]
    pub fn of(query: &Query<'_>) -> Self {
        let name = query.name.wire();
        let mut bytes = [0; MAX_NAME + 3];
        bytes[..name.len()].copy_from_slice(name);
        bytes[name.len()..name.len() + 2].copy_from_slice(&query.qtype.to_be_bytes());
        bytes[name.len() + 2] =
            u8::from(query.dnssec_ok()) | u8::from(query.checking_disabled) << 1;
        Self {
            bytes,
            len: (name.len() + 3) as u16,
        }
    }

    /// The key as bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<Box<[u8]>, Arc<Entry>> for ByBytes {
    fn weight(&self, key: &Box<[u8]>, entry: &Arc<Entry>) -> u64 {
        (key.len() + entry.bytes() + OVERHEAD) as u64
    }
}

/// How long answers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// At least, in seconds.
    pub min_ttl: u32,
    /// At most, in seconds.
    pub max_ttl: u32,
    /// Denials at most, in seconds (RFC 2308 section 5).
    pub negative_max_ttl: u32,
    /// Past their end, in seconds (RFC 8767).
    pub stale: u32,
    /// Failures, at first, in seconds (RFC 9520 section 3.2).
    pub failure_ttl: u32,
}

/// The answer cache.
pub struct Cache {
    answers: QuickCache<Box<[u8]>, Arc<Entry>, ByBytes>,
    started: Instant,
}

impl Cache {
    /// A cache of about so many bytes; none at all for zero.
    pub fn new(bytes: u64) -> Self {
        // The estimate only sizes the first tables.
        let items = (bytes / 512).clamp(16, 1 << 20) as usize;
        Self {
            answers: QuickCache::with_weighter(items, bytes, ByBytes),
            started: Instant::now(),
        }
    }

    /// Seconds since the cache was made: the clock of its entries.
    #[inline]
    pub fn now(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }

    /// The entry for a key, fresh or not.
    #[inline]
    pub fn get(&self, key: &Key) -> Option<Arc<Entry>> {
        self.answers.get(key.as_bytes())
    }

    /// Keeps an answer.
    pub fn insert(&self, key: &Key, entry: Arc<Entry>) {
        self.answers.insert(key.as_bytes().into(), entry);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.answers.clear();
    }

    /// Changes the size in bytes.
    pub fn resize(&self, bytes: u64) {
        self.answers.set_capacity(bytes);
    }

    /// How many answers there are, and how many bytes they take.
    pub fn size(&self) -> (usize, u64) {
        (self.answers.len(), self.answers.weight())
    }
}

/// How long to remember the `failures`-th failure in a row: doubling, up to a minute (RFC 9520 section
/// 3.2 wants back-off and at most five).
pub fn failure_period(first: u32, failures: u32) -> Duration {
    let seconds = first.saturating_mul(1 << failures.min(6)).min(60);
    Duration::from_secs(seconds.into())
}
