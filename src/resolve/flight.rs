//! Upstream queries under way: the same question is asked once, however many wait for it.

use std::collections::HashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;

use crate::cache::Entry;
use crate::wire::Query;

type Landing = Option<Arc<Entry>>;

/// A place to wait for an upstream query's answer.
pub(super) struct Flight(watch::Receiver<Landing>);

impl Flight {
    /// The answer; `None` only when the task that asked was ended.
    pub async fn wait(&mut self) -> Landing {
        let landed = self.0.wait_for(Option::is_some).await.ok()?;
        landed.clone()
    }
}

/// All queries under way, by key.
#[derive(Default)]
pub(super) struct Flights {
    under_way: Mutex<HashMap<Box<[u8]>, watch::Receiver<Landing>>>,
}

/// The duty to land a flight. Dropped without an answer, it wakes those who wait all the same.
pub(super) struct Pilot {
    key: Box<[u8]>,
    landing: watch::Sender<Landing>,
}

impl Flights {
    /// Joins the query under way for a key, or starts one: then the second value is the duty to do it.
    pub fn join(&self, query: &Query<'_>) -> (Flight, Option<Pilot>) {
        let key = key(query);
        let mut under_way = self.under_way.lock().unwrap_or_else(|e| e.into_inner());
        match under_way.entry(key.clone()) {
            // A flight whose pilot is gone will not land; it makes room for a new one.
            MapEntry::Occupied(flight) if flight.get().has_changed().is_ok() => {
                (Flight(flight.get().clone()), None)
            }
            place => {
                let (landing, flight) = watch::channel(None);
                place.insert_entry(flight.clone());
                (Flight(flight), Some(Pilot { key, landing }))
            }
        }
    }

    /// Hands the answer to all who wait.
    pub fn land(&self, pilot: Pilot, entry: Arc<Entry>) {
        self.forget(&pilot.key);
        pilot.landing.send_replace(Some(entry));
    }

    fn forget(&self, key: &[u8]) {
        let mut under_way = self.under_way.lock().unwrap_or_else(|e| e.into_inner());
        under_way.remove(key);
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.under_way
            .lock()
            .unwrap_or_else(|e| e.into_inner())
            .is_empty()
    }
}

/// What makes two questions one for an upstream: name, type, DO and CD.
fn key(query: &Query<'_>) -> Box<[u8]> {
    let [high, low] = query.qtype.to_be_bytes();
    [query.name.wire(), &[high, low, query.variant()]]
        .concat()
        .into()
}
