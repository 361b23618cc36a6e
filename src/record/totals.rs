//! Counters that the path of a query adds to: spread over cache lines by thread, summed when read.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use crate::device::DeviceId;
use crate::policy::Action;

const SHARDS: usize = 8;

#[derive(Default)]
#[repr(align(64))]
struct Shard(AtomicU64);

/// A count that threads add to without getting in each other's way.
#[derive(Default)]
pub struct Counter([Shard; SHARDS]);

fn shard() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed) % SHARDS);
        }
        mine.get()
    })
}

impl Counter {
    /// Adds one.
    #[inline]
    pub fn add(&self) {
        self.0[shard()].0.fetch_add(1, Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.iter().map(|shard| shard.0.load(Relaxed)).sum()
    }
}

macro_rules! totals {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Counts since the start, for metrics and status.
        #[derive(Default)]
        pub struct Totals {
            $($(#[doc = $doc])* pub $name: Counter,)*
        }

        impl Totals {
            /// Every count with its name and what it means.
            pub fn all(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc,)*).trim(), self.$name.get()),)*]
            }
        }
    };
}

totals! {
    /// Queries received over UDP
    udp_queries,
    /// Queries received over TCP
    tcp_queries,
    /// Lookups blocked
    blocked,
    /// Lookups recorded
    recorded,
    /// Lookups that no rule acts on
    allowed,
    /// Answers from local records and special-use names
    local,
    /// Answers from the cache
    cache_hits,
    /// Lookups that the cache had no answer for
    cache_misses,
    /// Answers served past their end
    stale,
    /// Answers renewed before their end
    prefetched,
    /// Lookups that joined another's upstream query
    coalesced,
    /// Upstream queries that failed
    upstream_failures,
    /// Queries refused because the client may not ask
    refused,
    /// Messages that could not be read
    malformed,
    /// Queries answered SERVFAIL because too many were waiting
    overloaded,
    /// TCP connections taken
    connections,
    /// TCP connections turned away by a limit
    connections_refused,
    /// Blocked lookups whose details were dropped
    dropped_blocked,
    /// Recorded lookups whose details were dropped
    dropped_recorded,
    /// Log rows dropped because too many came at once
    dropped_log,
}

impl Totals {
    /// Counts a lookup whose details found no room in the queue.
    pub fn dropped(&self, action: Action) {
        match action {
            Action::Block => self.dropped_blocked.add(),
            _ => self.dropped_recorded.add(),
        }
    }

    /// Counts a decision.
    #[inline]
    pub fn decided(&self, action: Action) {
        match action {
            Action::Block => self.blocked.add(),
            Action::Record => self.recorded.add(),
            Action::Allow => self.allowed.add(),
        }
    }
}

/// A count per registered device, and one for everybody else.
pub struct PerDevice(Vec<AtomicU64>);

impl PerDevice {
    /// For so many devices.
    pub fn new(devices: usize) -> Self {
        Self((0..=devices).map(|_| AtomicU64::new(0)).collect())
    }

    /// Adds one.
    #[inline]
    pub fn add(&self, device: Option<DeviceId>) {
        let at = device.map_or(0, |id| usize::from(id) + 1);
        if let Some(count) = self.0.get(at) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// The counts that are not zero; all start over.
    pub fn take(&self) -> Vec<(Option<DeviceId>, u64)> {
        let counts = self.0.iter().enumerate();
        counts
            .map(|(at, count)| {
                (
                    at.checked_sub(1).map(|id| id as DeviceId),
                    count.swap(0, Relaxed),
                )
            })
            .filter(|(_, count)| *count > 0)
            .collect()
    }
}
