//! The thread that turns events into rows and writes them.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use foldhash::{HashMap, HashSet};

use super::sqlite::SqliteStore;
use super::store::{Batch, CountKey, NewLogRow, RuleKey, Store, StoreError};
use super::tally::{Event, Noted};
use super::{Keep, Message, Names, Recorder, lock, unix_millis};
use crate::config::LogScope;
use crate::device::{DeviceId, unnamed};
use crate::policy::{Action, Effect, Hit, Verdict};
use crate::wire::Name;

/// How often the tallies are emptied. Who adds to them never wakes the thread: that would cost a system call.
const NAP: Duration = Duration::from_millis(50);
/// How often rows are written: what a killed process loses at most, but for a flood.
const WRITE_EVERY: Duration = Duration::from_millis(500);
/// A write is followed by a pause of so many times its length: under a flood of different names the record
/// takes no more than a twentieth of a core.
const PAUSE: u32 = 20;
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// How long to wait before trying again after a failed write.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often old rows are looked for.
const PRUNE_EVERY: Duration = Duration::from_secs(600);
/// Log rows per write in the long run, and at once after a quiet time; a flood is counted, not logged.
const LOG_ROWS: usize = 500;
const LOG_BURST: usize = 5000;
/// Emptied tallies that are kept for the next visit.
const SPARES: usize = 4;
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
    lookups: usize,
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
        spares: Vec::new(),
        lookups,
        log_left: LOG_BURST,
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
    names: HashSet<Box<[u8]>>,
    devices: HashSet<Box<[u8]>>,
}

impl Seen {
    /// Whether `text` is one of the hour's, or can become one of them.
    fn admit(set: &mut HashSet<Box<[u8]>>, limit: usize, text: &[u8]) -> bool {
        set.contains(text) || (set.len() < limit && set.insert(text.into()))
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

/// Lookups that are counted without their names.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Group {
    hour: i64,
    generation: u32,
    device: Option<DeviceId>,
    client: Option<IpAddr>,
    action: Action,
    rule: Option<(Effect, u16)>,
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
    /// One changes places with a thread's, so that the thread waits only for a swap.
    spares: Vec<Noted>,
    /// How many different lookups a thread can hold.
    lookups: usize,
    /// Rows that the log may still get.
    log_left: usize,
}

impl Writer {
    fn run(&mut self, queue: &Receiver<Message>) {
        // The store is there from the start, so that readers find it, and trouble shows at once.
        let opened = self.open();
        self.settle(opened);
        let mut next_write = Instant::now() + WRITE_EVERY;
        loop {
            // What was noted is taken before the messages: the names that it needs were sent before it.
            let noted = self.collect();
            let mut flushed = Vec::new();
            let mut stop = false;
            loop {
                match queue.try_recv() {
                    Ok(Message::Names(names, keep)) => {
                        self.keep = keep;
                        self.names.push_front(names);
                        self.names.truncate(3);
                    }
                    Ok(Message::Flush(done)) => flushed.push(done),
                    Ok(Message::Stop) | Err(TryRecvError::Disconnected) => {
                        stop = true;
                        break;
                    }
                    Err(TryRecvError::Empty) => break,
                }
            }
            self.take_all(noted);
            if !flushed.is_empty() || stop {
                // Noted before they asked, but after it was collected.
                let noted = self.collect();
                self.take_all(noted);
            }
            let now = Instant::now();
            if now >= next_write || !flushed.is_empty() || stop {
                self.write();
                self.prune();
                let pause = now.elapsed() * PAUSE;
                next_write = now + pause.clamp(WRITE_EVERY, LONGEST_PAUSE);
                self.log_left = (self.log_left + LOG_ROWS).min(LOG_BURST);
            }
            for done in flushed {
                let _ = done.try_send(());
            }
            if stop {
                return;
            }
            std::thread::sleep(NAP);
        }
    }

    /// Takes what every thread noted.
    fn collect(&mut self) -> Vec<Noted> {
        let shards = self.recorder.shards.clone();
        let mut all = Vec::new();
        for shard in shards.iter() {
            let spare = self.spares.pop();
            let mut noted = spare.unwrap_or_else(|| Noted::new(self.lookups));
            std::mem::swap(&mut lock(&shard.0).noted, &mut noted);
            match noted.is_empty() {
                true => self.spares.push(noted),
                false => all.push(noted),
            }
        }
        all
    }

    fn take_all(&mut self, all: Vec<Noted>) {
        let mut groups: HashMap<Group, (Verdict, u64)> = HashMap::default();
        for mut noted in all {
            let hour = unix_millis().div_euclid(3_600_000);
            for event in noted.events() {
                let name = noted.name(event);
                let hour = event.at.div_euclid(3_600_000);
                self.seen.turn(hour);
                self.log(event, name);
                if !event.verdict.is_matched() {
                    continue;
                }
                if Seen::admit(&mut self.seen.names, NAMES_PER_HOUR, name) {
                    self.take(event, name, hour);
                } else {
                    let group = Group {
                        hour,
                        generation: event.generation,
                        device: event.device,
                        client: event.client,
                        action: event.verdict.action,
                        rule: event.verdict.hit.map(|hit| (hit.effect, hit.list)),
                    };
                    groups.entry(group).or_insert((event.verdict, 0)).1 += event.n;
                }
            }
            for sum in noted.sums() {
                let group = Group {
                    hour,
                    generation: sum.generation,
                    device: sum.device,
                    client: None,
                    action: sum.verdict.action,
                    rule: sum.verdict.hit.map(|hit| (hit.effect, hit.list)),
                };
                groups.entry(group).or_insert((sum.verdict, 0)).1 += sum.n;
            }
            for (action, n) in noted.rest() {
                if n > 0 {
                    self.count(others(hour, action), n);
                }
            }
            for (generation, device, n) in noted.unlisted() {
                let device = self.names_of(generation).and_then(|names| {
                    let device = names.devices.get(device?)?;
                    Some(device.name.to_string())
                });
                let key = CountKey {
                    device: device.unwrap_or_default(),
                    name: String::new(),
                    ..others(hour, Action::Allow)
                };
                self.count(key, n);
            }
            noted.clear();
            if self.spares.len() < SPARES {
                self.spares.push(noted);
            }
        }
        for (group, (verdict, n)) in groups {
            self.take_group(&group, &verdict, n);
        }
    }

    fn names_of(&self, generation: u32) -> Option<&Names> {
        let mut names = self.names.iter();
        names.find(|names| names.generation == generation)
    }

    /// Turns equal lookups into rows of the log, if they belong there and it has room.
    fn log(&mut self, event: &Event, name: &[u8]) {
        let logged = match self.keep.log {
            LogScope::None => false,
            LogScope::Matched => event.verdict.is_matched(),
            LogScope::All => true,
        };
        if !logged {
            return;
        }
        let rows = (event.n as usize).min(self.log_left);
        self.log_left -= rows;
        let dropped = event.n - rows as u64;
        if dropped > 0 {
            self.recorder.tally().totals.dropped_log += dropped;
        }
        let Some(names) = self.names_of(event.generation).filter(|_| rows > 0) else {
            return;
        };
        let name = Name::read(name).unwrap_or(Name::ROOT);
        let row = NewLogRow {
            at: event.at,
            device: device_of(names, event.device, event.client),
            rule: rule_of(names, event, &name),
            name: name.to_string(),
            qtype: event.qtype,
            via: event
                .via
                .as_ref()
                .map_or_else(String::new, |via| via.to_string()),
        };
        self.batch.log.extend(std::iter::repeat_n(row, rows));
    }

    /// Turns equal lookups into a count.
    fn take(&mut self, event: &Event, name: &[u8], hour: i64) {
        let Some(names) = self.names_of(event.generation) else {
            let action = event.verdict.action;
            self.recorder.tally().totals.dropped(action, event.n);
            return self.count(others(hour, action), event.n);
        };
        let name = Name::read(name).unwrap_or(Name::ROOT);
        let mut key = CountKey {
            hour,
            device: device_of(names, event.device, event.client),
            rule: rule_of(names, event, &name),
            name: name.to_string(),
        };
        self.admit_device(&mut key);
        self.count(key, event.n);
    }

    /// Counts lookups whose names are not kept.
    fn take_group(&mut self, group: &Group, verdict: &Verdict, n: u64) {
        let mut key = others(group.hour, group.action);
        if let Some(names) = self.names_of(group.generation) {
            if let Some(hit) = &verdict.hit {
                // What a list has under the name would be as many rules as there are names.
                let entry = names.rules.entry(hit);
                let entry = entry.map_or_else(|| OTHERS.to_owned(), |entry| entry.pattern.clone());
                key.rule = rule_key(names, group.action, hit, entry);
            }
            if group.device.is_some() || group.client.is_some() {
                key.device = device_of(names, group.device, group.client);
            }
        }
        self.admit_device(&mut key);
        self.count(key, n);
    }

    fn admit_device(&mut self, key: &mut CountKey) {
        if !Seen::admit(
            &mut self.seen.devices,
            DEVICES_PER_HOUR,
            key.device.as_bytes(),
        ) {
            key.device = OTHERS.to_owned();
        }
    }

    fn count(&mut self, key: CountKey, n: u64) {
        if self.batch.counts.len() >= COUNTS_HELD && !self.batch.counts.contains_key(&key) {
            // The store has been away for long. The sum per action and hour still holds.
            let action = key.rule.action;
            let key = CountKey {
                device: OTHERS.to_owned(),
                name: OTHERS.to_owned(),
                rule: RuleKey {
                    action,
                    ..RuleKey::default()
                },
                ..key
            };
            *self.batch.counts.entry(key).or_default() += n;
            return;
        }
        *self.batch.counts.entry(key).or_default() += n;
    }

    fn write(&mut self) {
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
            Some(store) => {
                // Every thread's events are in order; those of several are not.
                self.batch.log.sort_by_key(|row| row.at);
                store.write(&self.batch)
            }
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
            let dropped = self.batch.log.drain(..).count() as u64;
            self.recorder.tally().totals.dropped_log += dropped;
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

/// The count of lookups of which only hour and action are known.
fn others(hour: i64, action: Action) -> CountKey {
    CountKey {
        hour,
        device: OTHERS.to_owned(),
        rule: RuleKey {
            action: action.as_str(),
            ..RuleKey::default()
        },
        name: OTHERS.to_owned(),
    }
}

fn device_of(names: &Names, device: Option<DeviceId>, client: Option<IpAddr>) -> String {
    match device.and_then(|id| names.devices.get(id)) {
        Some(device) => device.name.to_string(),
        None => client.map(unnamed).unwrap_or_default(),
    }
}

/// The rule behind lookups of a name.
fn rule_of(names: &Names, event: &Event, name: &Name) -> RuleKey {
    let action = event.verdict.action;
    match &event.verdict.hit {
        None => RuleKey {
            action: action.as_str(),
            ..RuleKey::default()
        },
        Some(hit) => {
            let about = event.via.as_deref().unwrap_or(name);
            rule_key(names, action, hit, names.rules.rule_text(hit, about))
        }
    }
}

fn rule_key(names: &Names, action: Action, hit: &Hit, entry: String) -> RuleKey {
    let category = names.rules.category(hit);
    RuleKey {
        action: action.as_str(),
        vendor: names.rules.vendor(hit).unwrap_or_default().to_owned(),
        category: category.map_or("", |category| category.as_str()).to_owned(),
        entry,
        list: names.rules.list_name(hit).to_owned(),
    }
}
