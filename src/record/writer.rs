//! The thread that turns events into rows and writes them.

use std::collections::{HashSet, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::sqlite::SqliteStore;
use super::store::{Batch, CountKey, NewLogRow, RuleKey, Store, StoreError};
use super::{Event, Keep, Message, Names, Recorder, unix_millis};
use crate::config::LogScope;
use crate::device::unnamed;
use crate::policy::Action;

/// How often the queue is emptied. Senders never wake the thread: that would cost each of them a system
/// call.
const NAP: Duration = Duration::from_millis(50);
/// How often rows are written: what a killed process loses at most.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// How long to wait before trying again after a failed write.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often old rows are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// Log rows written at once at most; a flood is counted, not logged.
const LOG_ROWS: usize = 5000;
/// Different counts held in memory at most, while the store cannot be written.
const COUNTS_HELD: usize = 100_000;
/// Different names and devices counted per hour at most; beyond that they are counted together.
const NAMES_PER_HOUR: usize = 20_000;
const DEVICES_PER_HOUR: usize = 2_000;
/// What names and devices beyond the limit are counted under.
const OTHERS: &str = "(others)";

/// The thread, and what it has to say.
pub struct WriterHandle {
    recorder: Recorder,
    thread: Mutex<Option<JoinHandle<()>>>,
    trouble: Arc<Mutex<Option<String>>>,
}

impl WriterHandle {
    /// Why nothing can be written at the moment, if so.
    pub fn trouble(&self) -> Option<String> {
        self.trouble.lock().ok()?.clone()
    }

    /// Writes what is left and ends the thread.
    pub fn stop(&self) {
        self.recorder.stop();
        let thread = self.thread.lock().ok().and_then(|mut thread| thread.take());
        if let Some(thread) = thread {
            let _ = thread.join();
        }
    }
}

pub(super) fn start(
    folder: PathBuf,
    queue: Receiver<Message>,
    recorder: Recorder,
    keep: Keep,
) -> WriterHandle {
    let trouble = Arc::new(Mutex::new(None));
    let mut writer = Writer {
        folder,
        store: None,
        names: VecDeque::new(),
        keep,
        batch: Batch::default(),
        seen: Seen::default(),
        recorder: recorder.clone(),
        trouble: trouble.clone(),
        next_try: Instant::now(),
        next_prune: Instant::now() + Duration::from_secs(5),
        collected: [0; 2],
    };
    let thread = std::thread::Builder::new()
        .name("record".to_owned())
        .spawn(move || writer.run(&queue));
    WriterHandle {
        recorder,
        thread: Mutex::new(thread.ok()),
        trouble,
    }
}

/// The names and devices of the current hour.
#[derive(Default)]
struct Seen {
    hour: i64,
    names: HashSet<String>,
    devices: HashSet<String>,
}

impl Seen {
    /// `text`, or [`OTHERS`] when the hour has had too many different ones.
    fn admit(set: &mut HashSet<String>, limit: usize, text: String) -> String {
        if set.contains(&text) {
            return text;
        }
        if set.len() >= limit {
            return OTHERS.to_owned();
        }
        set.insert(text.clone());
        text
    }

    fn turn(&mut self, hour: i64) {
        if hour != self.hour {
            *self = Self {
                hour,
                ..Self::default()
            };
        }
    }
}

struct Writer {
    folder: PathBuf,
    store: Option<Box<dyn Store>>,
    /// The latest generations, newest first: events of the one before may still be on their way.
    names: VecDeque<Names>,
    keep: Keep,
    batch: Batch,
    seen: Seen,
    recorder: Recorder,
    trouble: Arc<Mutex<Option<String>>>,
    next_try: Instant,
    next_prune: Instant,
    /// How many lookups without details were counted so far, blocked and recorded.
    collected: [u64; 2],
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Message>) {
        // The store is there from the start, so that readers find it, and trouble shows at once.
        let opened = self.open();
        self.settle(opened);
        let mut next_write = Instant::now() + WRITE_EVERY;
        loop {
            match queue.try_recv() {
                Ok(Message::Event(event)) => self.take(event),
                Ok(Message::Names(names, keep)) => {
                    self.keep = keep;
                    self.names.push_front(names);
                    self.names.truncate(3);
                }
                Ok(Message::Flush(done)) => self.flush(&done),
                Ok(Message::Stop) | Err(TryRecvError::Disconnected) => {
                    self.write();
                    return;
                }
                Err(TryRecvError::Empty) => std::thread::sleep(NAP),
            }
            if Instant::now() >= next_write {
                self.write();
                self.prune();
                next_write = Instant::now() + WRITE_EVERY;
            }
        }
    }

    fn flush(&mut self, done: &SyncSender<()>) {
        self.write();
        let _ = done.try_send(());
    }

    /// Turns an event into a count and, if it is to be logged, a row.
    fn take(&mut self, event: Event) {
        let Some(names) = self.names.iter().find(|n| n.generation == event.generation) else {
            self.recorder.totals.dropped(event.verdict.action);
            return;
        };
        let name = event.name.unpack();
        let hour = event.at.div_euclid(3_600_000);
        let device = match event.device.and_then(|id| names.devices.get(id)) {
            Some(device) => device.name.to_string(),
            None if names.unnamed_by_address => unnamed(event.client),
            None => String::new(),
        };
        let rule = match &event.verdict.hit {
            None => RuleKey {
                action: event.verdict.action.as_str(),
                ..RuleKey::default()
            },
            Some(hit) => RuleKey {
                action: event.verdict.action.as_str(),
                vendor: names.rules.vendor(hit).unwrap_or_default().to_owned(),
                category: names
                    .rules
                    .category(hit)
                    .map_or("", |c| c.as_str())
                    .to_owned(),
                entry: names
                    .rules
                    .rule_text(hit, event.via.as_deref().unwrap_or(&name)),
                list: names.rules.list_name(hit).to_owned(),
            },
        };
        self.seen.turn(hour);
        let device = Seen::admit(&mut self.seen.devices, DEVICES_PER_HOUR, device);
        let matched = event.verdict.is_matched();
        let logged = match self.keep.log {
            LogScope::None => false,
            LogScope::Matched => matched,
            LogScope::All => true,
        };
        if logged && self.batch.log.len() < LOG_ROWS {
            self.batch.log.push(NewLogRow {
                at: event.at,
                device: device.clone(),
                rule: rule.clone(),
                name: name.to_string(),
                qtype: event.qtype,
                via: event.via.map(|via| via.to_string()).unwrap_or_default(),
            });
        } else if logged {
            self.recorder.totals.dropped_log.add();
        }
        if matched {
            let name = Seen::admit(&mut self.seen.names, NAMES_PER_HOUR, name.to_string());
            self.count(
                CountKey {
                    hour,
                    device,
                    rule,
                    name,
                },
                1,
            );
        }
    }

    fn count(&mut self, key: CountKey, n: u64) {
        if self.batch.counts.len() >= COUNTS_HELD && !self.batch.counts.contains_key(&key) {
            // The store has been away for long. The sum per action and hour still holds.
            let key = CountKey {
                device: OTHERS.to_owned(),
                name: OTHERS.to_owned(),
                rule: RuleKey {
                    action: key.rule.action,
                    ..RuleKey::default()
                },
                ..key
            };
            *self.batch.counts.entry(key).or_default() += n;
            return;
        }
        *self.batch.counts.entry(key).or_default() += n;
    }

    /// Lookups counted without details become rows, too: those that no list knows, by device, and those
    /// whose details were dropped.
    fn collect(&mut self) {
        let hour = unix_millis().div_euclid(3_600_000);
        let key = |device: String, action: Action, name: &str| CountKey {
            hour,
            device,
            rule: RuleKey {
                action: action.as_str(),
                ..RuleKey::default()
            },
            name: name.to_owned(),
        };
        for names in self.names.clone() {
            for (id, n) in names.unlisted.take() {
                let device = id.and_then(|id| names.devices.get(id));
                let device = device.map(|device| device.name.to_string());
                self.count(key(device.unwrap_or_default(), Action::Allow, ""), n);
            }
        }
        let totals = self.recorder.totals.clone();
        let counters = [
            (totals.dropped_blocked.get(), Action::Block),
            (totals.dropped_recorded.get(), Action::Record),
        ];
        for (at, (sum, action)) in counters.into_iter().enumerate() {
            let n = sum - std::mem::replace(&mut self.collected[at], sum);
            if n > 0 {
                self.count(key(OTHERS.to_owned(), action, OTHERS), n);
            }
        }
    }

    fn write(&mut self) {
        self.collect();
        if self.batch.is_empty() || Instant::now() < self.next_try {
            self.bound();
            return;
        }
        let outcome = self.try_write();
        if outcome.is_ok() {
            self.batch = Batch::default();
        }
        self.settle(outcome);
    }

    fn try_write(&mut self) -> Result<(), StoreError> {
        self.open()?;
        match &mut self.store {
            Some(store) => store.write(&self.batch),
            None => Ok(()),
        }
    }

    fn open(&mut self) -> Result<(), StoreError> {
        if self.store.is_none() {
            self.store = Some(Box::new(SqliteStore::open(&self.folder)?));
        }
        Ok(())
    }

    /// Takes note of how the store fared; after trouble it is opened anew some time later.
    fn settle(&mut self, outcome: Result<(), StoreError>) {
        let error = outcome.err().map(|error| error.to_string());
        if error.is_some() {
            self.store = None;
            self.next_try = Instant::now() + RETRY_AFTER;
            self.bound();
        }
        let Ok(mut trouble) = self.trouble.lock() else {
            return;
        };
        match (&*trouble, &error) {
            (None, Some(error)) => {
                tracing::error!("counts and log cannot be written, they wait in memory: {error}");
            }
            (Some(_), None) => tracing::info!("counts and log are written again"),
            _ => {}
        }
        *trouble = error;
    }

    /// While the store is away counts are held and log rows are not.
    fn bound(&mut self) {
        if Instant::now() < self.next_try {
            for _ in self.batch.log.drain(..) {
                self.recorder.totals.dropped_log.add();
            }
        }
    }

    fn prune(&mut self) {
        let Some(store) = &mut self.store else {
            return;
        };
        if Instant::now() < self.next_prune {
            return;
        }
        let now = unix_millis();
        let log_before = now - self.keep.log_for.as_millis() as i64;
        let counts_before = (now - self.keep.counts_for.as_millis() as i64).div_euclid(3_600_000);
        let more = store
            .prune(log_before, counts_before)
            .unwrap_or_else(|error| {
                tracing::warn!("old rows cannot be removed: {error}");
                false
            });
        // In small steps, so that new rows are not held up.
        self.next_prune = Instant::now() + if more { WRITE_EVERY } else { PRUNE_EVERY };
    }
}
