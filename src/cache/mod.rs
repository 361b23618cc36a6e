//! Answers by question, as wire bytes, bounded in bytes.
//!
//! [`entry`] is one answer: made from an upstream's response once, served many times by copying and patching.
//! An entry past its end stays as long as it may be served stale (RFC 8767); who serves it and when is the
//! business of [`resolve`](super).
//!
//! Reading takes no lock: the map is papaya's, and what a reader holds is not freed under it. Writing, which
//! only an upstream's answer causes, takes one, and keeps the books of `eviction`.

pub mod entry;
mod eviction;

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use papaya::{HashMap, LocalGuard};

pub use entry::{Age, Entry, Kind, Uncacheable};

use crate::wire::Query;
use eviction::Order;

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
///
/// Answers are found by a hash of 64 bits with a secret of this process, and every answer knows its question:
/// two questions with one hash take turns in the cache, and are never taken for each other.
pub struct Cache {
    answers: HashMap<u64, Arc<Entry>, RandomState>,
    order: Mutex<Order>,
    secret: RandomState,
    started: Instant,
}

/// A reader's hold on the cache: entries found under it stay. To be let go soon.
pub struct Held<'c> {
    cache: &'c Cache,
    guard: LocalGuard<'c>,
}

impl Held<'_> {
    /// The answer to a question, fresh or not.
    #[inline]
    pub fn get(&self, query: &Query<'_>) -> Option<&Arc<Entry>> {
        let hash = self.cache.hash(query);
        let entry = self.cache.answers.get(&hash, &self.guard)?;
        entry.answers(query).then_some(entry)
    }
}

impl Cache {
    /// A cache of about so many bytes; none at all for zero.
    pub fn new(bytes: u64) -> Self {
        Self {
            answers: HashMap::default(),
            order: Mutex::new(Order::new(bytes)),
            secret: RandomState::default(),
            started: Instant::now(),
        }
    }

    /// Seconds since the cache was made: the clock of its entries.
    #[inline]
    pub fn now(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }

    /// Takes hold, to look answers up.
    #[inline]
    pub fn hold(&self) -> Held<'_> {
        Held {
            cache: self,
            guard: self.answers.guard(),
        }
    }

    /// The answer to a question, fresh or not, to be kept.
    pub fn get(&self, query: &Query<'_>) -> Option<Arc<Entry>> {
        self.hold().get(query).cloned()
    }

    /// Keeps the answer to a question.
    pub fn insert(&self, query: &Query<'_>, entry: Arc<Entry>) {
        let hash = self.hash(query);
        let bytes = entry.bytes();
        let mut order = self.order();
        let guard = self.answers.guard();
        match self.answers.insert(hash, entry, &guard) {
            Some(old) => order.replaced(old.bytes(), bytes),
            None => order.added(hash, bytes),
        }
        self.evict(&mut order);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut order = self.order();
        self.answers.pin().clear();
        order.clear();
    }

    /// Changes the size in bytes.
    pub fn resize(&self, bytes: u64) {
        let mut order = self.order();
        order.capacity = bytes;
        self.evict(&mut order);
    }

    /// How many answers there are, and how many bytes they take.
    pub fn size(&self) -> (usize, u64) {
        (self.answers.len(), self.order().bytes())
    }

    /// Forgets answers until the rest fits.
    fn evict(&self, order: &mut Order) {
        let guard = self.answers.guard();
        while let Some(hash) = order.next_victim(|hash| {
            let entry = self.answers.get(&hash, &guard);
            entry.map_or(0, |entry| entry.take_uses())
        }) {
            let gone = self.answers.remove(&hash, &guard);
            order.removed(gone.map_or(0, |entry| entry.bytes()));
        }
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        // Only numbers: a panic between two of them leaves the sum a little off, no more.
        self.order.lock().unwrap_or_else(|e| e.into_inner())
    }

    #[inline]
    fn hash(&self, query: &Query<'_>) -> u64 {
        let mut hasher = self.secret.build_hasher();
        query.name.wire().hash(&mut hasher);
        hasher.write_u32(u32::from(query.qtype) << 8 | u32::from(query.variant()));
        hasher.finish()
    }
}

/// How long to remember the `failures`-th failure in a row: doubling, up to a minute (RFC 9520 section
/// 3.2 wants back-off and at most five).
pub fn failure_period(first: u32, failures: u32) -> Duration {
    let seconds = first.saturating_mul(1 << failures.min(6)).min(60);
    Duration::from_secs(seconds.into())
}
