//! Counts and the log of matched lookups, kept off the path of a query.
//!
//! The path hands over an [`Event`] by a bounded queue ([`Recorder::note`]) or adds to a counter
//! ([`totals`]); a thread of its own (`writer`) turns events into rows and writes them in batches to a
//! [`store`]. A full queue drops the details of a lookup and counts that it did. The thread is the only
//! writer; readers open the store on their own.

pub mod sqlite;
pub mod store;
pub mod totals;
mod writer;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub use store::{CountQuery, CountRow, Grouping, LogQuery, LogRow, Reader, StoreError};
pub use totals::Totals;
pub use writer::WriterHandle;

use crate::config::LogScope;
use crate::device::{DeviceId, Devices};
use crate::policy::{RuleSet, Verdict};
use crate::wire::Name;

/// A name as an event carries it: the wire form without the places of its labels.
#[derive(Clone)]
pub struct PackedName {
    len: u8,
    bytes: [u8; 255],
}

impl PackedName {
    /// Packs a name.
    #[inline]
    pub fn new(name: &Name) -> Self {
        let wire = name.wire();
        let mut bytes = [0; 255];
        bytes[..wire.len()].copy_from_slice(wire);
        Self {
            len: wire.len() as u8,
            bytes,
        }
    }

    /// The name again.
    pub fn unpack(&self) -> Name {
        Name::read(&self.bytes[..usize::from(self.len)]).unwrap_or(Name::ROOT)
    }
}

/// One lookup that is to be counted and logged.
#[derive(Clone)]
pub struct Event {
    /// When, in milliseconds since 1970.
    pub at: i64,
    /// Who asked.
    pub client: IpAddr,
    /// Which registered device that is.
    pub device: Option<DeviceId>,
    /// The name that was asked for.
    pub name: PackedName,
    /// The type that was asked for.
    pub qtype: u16,
    /// What was decided.
    pub verdict: Verdict,
    /// The name in the answer that the rule fits, when it is not the one asked for.
    pub via: Option<Box<Name>>,
    /// Under which rules the verdict was made.
    pub generation: u32,
}

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
    /// Lookups that no list knows, per device.
    pub unlisted: Arc<totals::PerDevice>,
    /// Whether clients that are no device are counted under their address.
    pub unnamed_by_address: bool,
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

#[expect(
    clippy::large_enum_variant,
    reason = "nearly all messages are events, and a box would be an allocation on the path of a query"
)]
pub(crate) enum Message {
    Event(Event),
    Names(Names, Keep),
    Flush(SyncSender<()>),
    Stop,
}

/// The way into the record; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: SyncSender<Message>,
    /// What is counted without details.
    pub totals: Arc<Totals>,
}

impl Recorder {
    /// Starts the writing thread on the store in `folder`. `queue` lookups may wait to be written.
    pub fn start(folder: &std::path::Path, queue: usize, keep: Keep) -> (Self, WriterHandle) {
        let (sender, receiver) = sync_channel(queue);
        let totals = Arc::new(Totals::default());
        let recorder = Self {
            queue: sender,
            totals: totals.clone(),
        };
        let handle = writer::start(folder.to_owned(), receiver, recorder.clone(), keep);
        (recorder, handle)
    }

    /// Hands over a lookup; never waits.
    #[inline]
    pub fn note(&self, event: Event) {
        let action = event.verdict.action;
        if let Err(TrySendError::Full(_)) = self.queue.try_send(Message::Event(event)) {
            self.totals.dropped(action);
        }
    }

    /// Makes the names of a new generation known, before events of it come.
    pub fn publish(&self, names: Names, keep: Keep) {
        let _ = self.queue.send(Message::Names(names, keep));
    }

    /// Waits, for at most two seconds, until what was noted so far is in the store.
    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(Duration::from_secs(2));
        }
    }

    pub(crate) fn stop(&self) {
        let _ = self.queue.send(Message::Stop);
    }
}
