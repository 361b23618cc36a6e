//! Counts and the log of matched lookups, kept off the path of a query.
//!
//! The path adds to the [`tally`] of its own thread. A thread of the record's own (`writer`) comes by twenty
//! times a second, takes what was noted, turns it into rows and writes them in batches to a [`store`]. More
//! different lookups than a tally has room for lose their details, and that is counted. The writer is the
//! only one; readers open the store on their own.

pub mod sqlite;
pub mod store;
pub mod tally;
pub mod totals;
mod writer;

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use store::{CountQuery, CountRow, Grouping, LogQuery, LogRow, Reader, StoreError};
pub use tally::{Lookup, Tally};
pub use totals::Totals;
pub use writer::WriterHandle;

use crate::config::LogScope;
use crate::device::Devices;
use crate::policy::RuleSet;

/// Milliseconds since 1970.
#[inline]
pub fn unix_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// What turns an event's numbers into names: the rules and devices of a generation.
#[derive(Clone)]
pub struct Names {
    /// The generation.
    pub generation: u32,
    /// Its rules.
    pub rules: Arc<RuleSet>,
    /// Its devices.
    pub devices: Arc<Devices>,
}

/// How long things are kept, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// Which lookups are logged.
    pub log: LogScope,
    /// For how long.
    pub log_for: Duration,
    /// How long counts are kept.
    pub counts_for: Duration,
}

pub(crate) enum Message {
    Names(Names, Keep),
    Flush(std::sync::mpsc::SyncSender<()>),
    Stop,
}

/// A tally on cache lines of its own, so that threads do not slow each other down.
#[derive(Default)]
#[repr(align(128))]
struct Shard(Mutex<Tally>);

/// The way into the record; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    shards: Arc<[Shard]>,
    messages: Sender<Message>,
}

impl Recorder {
    /// Starts the writing thread on the store in `folder`. Each thread can hold so many different lookups
    /// between two visits of the writer.
    pub fn start(folder: &std::path::Path, lookups: usize, keep: Keep) -> (Self, WriterHandle) {
        let (messages, receiver) = channel();
        // Half of them for the threads that take datagrams, half for those that do the rest.
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let shards = (0..2 * cores + 2).map(|_| Shard(Mutex::new(Tally::new(lookups))));
        let recorder = Self {
            shards: shards.collect(),
            messages,
        };
        let handle = writer::start(folder.to_owned(), receiver, recorder.clone(), lookups, keep);
        (recorder, handle)
    }

    /// This thread's tally. To be given back before anything is waited for; a thread that answers many
    /// queries at once takes it once.
    #[inline]
    pub fn tally(&self) -> MutexGuard<'_, Tally> {
        let shard = &self.shards[thread_number() % self.shards.len()];
        let mut tally = lock(&shard.0);
        tally.now = unix_millis();
        tally
    }

    /// What was counted without details since the start.
    pub fn totals(&self) -> Totals {
        let mut sum = Totals::default();
        for shard in self.shards.iter() {
            sum.merge(&lock(&shard.0).totals);
        }
        sum
    }

    /// Makes the names of a new generation known, before lookups of it are noted.
    pub fn publish(&self, names: Names, keep: Keep) {
        let _ = self.messages.send(Message::Names(names, keep));
    }

    /// Waits, for at most two seconds, until what was noted so far is in the store.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.messages.send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(2));
        }
    }

    pub(crate) fn stop(&self) {
        let _ = self.messages.send(Message::Stop);
    }
}

/// A tally is good after every single change, so that a panic elsewhere in its thread does not spoil it.
fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Threads are numbered as they first come by.
fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Relaxed));
        }
        mine.get()
    })
}
