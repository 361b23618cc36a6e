//! What one thread counted since the writer last came by.
//!
//! The path of a query adds to its own thread's tally and nothing else: equal lookups become one event with
//! a number, in tables of a fixed size. When there are more different lookups than fit, those that are left
//! over are counted without their names, and beyond that by action alone.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::Totals;
use crate::device::DeviceId;
use crate::policy::{Action, Effect, Verdict};
use crate::wire::Name;

/// Different sums without names that a thread holds.
const SUMS: usize = 1024;

/// One lookup that is to be counted and logged.
#[derive(Debug, Clone, Copy)]
pub struct Lookup<'a> {
    /// Who asked; `None` where nobody wants to know.
    pub client: Option<IpAddr>,
    /// Which registered device that is.
    pub device: Option<DeviceId>,
    /// The name that was asked for.
    pub name: &'a Name,
    /// The type that was asked for.
    pub qtype: u16,
    /// What was decided.
    pub verdict: Verdict,
    /// The name in the answer that the rule fits, when it is not the one asked for.
    pub via: Option<&'a Name>,
    /// Under which rules the verdict was made.
    pub generation: u32,
}

/// Equal lookups. The name lies in [`Noted`], see [`Noted::name`].
#[derive(Debug, Clone)]
pub struct Event {
    /// When the first was, in milliseconds since 1970.
    pub at: i64,
    /// How many there were.
    pub n: u64,
    /// As in [`Lookup`].
    pub client: Option<IpAddr>,
    /// As in [`Lookup`].
    pub device: Option<DeviceId>,
    /// As in [`Lookup`].
    pub qtype: u16,
    /// As in [`Lookup`].
    pub verdict: Verdict,
    /// As in [`Lookup`].
    pub via: Option<Box<Name>>,
    /// As in [`Lookup`].
    pub generation: u32,
    name: (u32, u8),
    hash: u32,
}

/// Lookups counted without their names: by device and by what the rule asks for.
#[derive(Debug, Clone)]
pub struct Sum {
    /// How many there were.
    pub n: u64,
    /// As in [`Lookup`].
    pub device: Option<DeviceId>,
    /// As in [`Lookup`], for one of them.
    pub verdict: Verdict,
    /// As in [`Lookup`].
    pub generation: u32,
    hash: u32,
}

/// Places by hash in a table of a fixed size; the table itself is the caller's.
#[derive(Debug, Default)]
struct Places {
    slots: Box<[u32]>,
    limit: usize,
}

impl Places {
    fn new(limit: usize) -> Self {
        Self {
            slots: Box::default(),
            limit,
        }
    }

    /// The place of the item with this hash that `is_it` accepts, or the one that the next item gets as the
    /// `taken`-th. `None` when the table is full.
    #[inline]
    fn find(&mut self, hash: u32, taken: usize, is_it: impl Fn(usize) -> bool) -> Option<Place> {
        if self.slots.is_empty() {
            self.slots = vec![0; (self.limit * 2).next_power_of_two()].into();
        }
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            match self.slots[at] {
                0 if taken >= self.limit => return None,
                0 => {
                    self.slots[at] = taken as u32 + 1;
                    return Some(Place::New);
                }
                item if is_it(item as usize - 1) => return Some(Place::Known(item as usize - 1)),
                _ => at = (at + 1) & mask,
            }
        }
    }

    fn clear(&mut self) {
        self.slots.fill(0);
    }
}

enum Place {
    Known(usize),
    New,
}

/// Lookups since the writer last came by.
#[derive(Debug, Default)]
pub struct Noted {
    places: Places,
    events: Vec<Event>,
    names: Vec<u8>,
    sum_places: Places,
    sums: Vec<Sum>,
    /// Blocked and recorded lookups that are in none of the tables.
    rest: [u64; 2],
    /// Lookups that no list knows: by generation, then by device, everybody else first.
    unlisted: Vec<(u32, Vec<u64>)>,
    /// Seeded anew in each process, so that nobody can choose names that collide.
    hasher: RandomState,
}

impl Noted {
    /// Room for so many different lookups.
    pub fn new(limit: usize) -> Self {
        Self {
            places: Places::new(limit),
            sum_places: Places::new(SUMS),
            ..Self::default()
        }
    }

    /// The events, oldest first.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The name that an event's lookups asked for, in lower-case wire form.
    pub fn name(&self, event: &Event) -> &[u8] {
        let (start, len) = (event.name.0 as usize, usize::from(event.name.1));
        &self.names[start..start + len]
    }

    /// Lookups that found no room among the events.
    pub fn sums(&self) -> &[Sum] {
        &self.sums
    }

    /// Lookups that found no room among the sums either, by action.
    pub fn rest(&self) -> [(Action, u64); 2] {
        [
            (Action::Block, self.rest[0]),
            (Action::Record, self.rest[1]),
        ]
    }

    /// Lookups that no list knows: generation, device, number.
    pub fn unlisted(&self) -> impl Iterator<Item = (u32, Option<DeviceId>, u64)> + '_ {
        self.unlisted.iter().flat_map(|(generation, counts)| {
            let counts = counts.iter().enumerate().filter(|(_, n)| **n > 0);
            counts.map(|(at, n)| (*generation, at.checked_sub(1).map(|id| id as DeviceId), *n))
        })
    }

    /// Whether nothing was noted.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.unlisted.is_empty()
    }

    /// Forgets everything, and keeps the room.
    pub fn clear(&mut self) {
        if !self.events.is_empty() {
            self.places.clear();
            self.events.clear();
            self.names.clear();
        }
        if !self.sums.is_empty() {
            self.sum_places.clear();
            self.sums.clear();
        }
        self.rest = [0; 2];
        self.unlisted.clear();
    }

    fn hash_of(&self, key: impl Hash) -> u32 {
        self.hasher.hash_one(key) as u32
    }

    /// Notes a lookup; `false` if there was no room for its details.
    #[inline]
    fn note(&mut self, lookup: &Lookup<'_>, at: i64) -> bool {
        let hash = self.hash_of((lookup.name.wire(), lookup.device, lookup.qtype));
        let (events, names) = (&self.events, &self.names);
        let is_it = |item: usize| {
            let event: &Event = &events[item];
            let (start, len) = (event.name.0 as usize, usize::from(event.name.1));
            event.hash == hash
                && names[start..start + len] == *lookup.name.wire()
                && event.verdict == lookup.verdict
                && event.device == lookup.device
                && event.client == lookup.client
                && event.qtype == lookup.qtype
                && event.via.as_deref() == lookup.via
                && event.generation == lookup.generation
        };
        match self.places.find(hash, self.events.len(), is_it) {
            Some(Place::Known(item)) => self.events[item].n += 1,
            Some(Place::New) => {
                let name = lookup.name.wire();
                self.events.push(Event {
                    at,
                    n: 1,
                    client: lookup.client,
                    device: lookup.device,
                    qtype: lookup.qtype,
                    verdict: lookup.verdict,
                    via: lookup.via.cloned().map(Box::new),
                    generation: lookup.generation,
                    name: (self.names.len() as u32, name.len() as u8),
                    hash,
                });
                self.names.extend_from_slice(name);
            }
            None => {
                self.sum(lookup);
                return false;
            }
        }
        true
    }

    fn sum(&mut self, lookup: &Lookup<'_>) {
        let key = |verdict: &Verdict| verdict.hit.map(|hit| (hit.effect, hit.list));
        let rule: Option<(Effect, u16)> = key(&lookup.verdict);
        let hash = self.hash_of((rule, lookup.device));
        let sums = &self.sums;
        let is_it = |item: usize| {
            let sum: &Sum = &sums[item];
            sum.hash == hash
                && key(&sum.verdict) == rule
                && sum.verdict.action == lookup.verdict.action
                && sum.device == lookup.device
                && sum.generation == lookup.generation
        };
        match self.sum_places.find(hash, self.sums.len(), is_it) {
            Some(Place::Known(item)) => self.sums[item].n += 1,
            Some(Place::New) => self.sums.push(Sum {
                n: 1,
                device: lookup.device,
                verdict: lookup.verdict,
                generation: lookup.generation,
                hash,
            }),
            None => self.rest[usize::from(lookup.verdict.action != Action::Block)] += 1,
        }
    }
}

/// One thread's counts.
#[derive(Debug, Default)]
pub struct Tally {
    /// What is counted without details.
    pub totals: Totals,
    /// The lookups since the writer last came by.
    pub(super) noted: Noted,
    /// Now, in milliseconds since 1970.
    pub(super) now: i64,
}

impl Tally {
    /// Room for so many different lookups.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            noted: Noted::new(limit),
            ..Self::default()
        }
    }

    /// Notes a lookup that a rule acts on, or any when all are logged.
    #[inline]
    pub fn note(&mut self, lookup: &Lookup<'_>) {
        if !self.noted.note(lookup, self.now) {
            self.totals.dropped(lookup.verdict.action, 1);
        }
    }

    /// Counts a lookup that no list knows.
    #[inline]
    pub fn unlisted(&mut self, generation: u32, device: Option<DeviceId>) {
        let unlisted = &mut self.noted.unlisted;
        if unlisted.last().is_none_or(|(last, _)| *last != generation) {
            unlisted.push((generation, Vec::new()));
        }
        if let Some((_, counts)) = unlisted.last_mut() {
            let at = device.map_or(0, |id| usize::from(id) + 1);
            if counts.len() <= at {
                counts.resize(at + 1, 0);
            }
            counts[at] += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Hit, HitKind, Scope};

    fn verdict(list: u16) -> Verdict {
        Verdict {
            action: Action::Block,
            hit: Some(Hit {
                kind: HitKind::Literal(2, Scope::Suffix),
                effect: Effect::Act(Action::Block),
                list,
            }),
        }
    }

    fn lookup(name: &Name, list: u16) -> Lookup<'_> {
        Lookup {
            client: None,
            device: None,
            name,
            qtype: 1,
            verdict: verdict(list),
            via: None,
            generation: 1,
        }
    }

    #[test]
    fn equal_lookups_are_one_event() {
        let mut tally = Tally::new(10);
        let names: Vec<Name> = ["a.test", "b.test", "a.test"]
            .iter()
            .map(|name| Name::from_text(name).unwrap())
            .collect();
        for name in &names {
            tally.note(&lookup(name, 0));
        }
        tally.note(&Lookup {
            qtype: 28,
            ..lookup(&names[0], 0)
        });
        let events = tally.noted.events();
        let seen: Vec<_> = events.iter().map(|event| (event.qtype, event.n)).collect();
        assert_eq!(seen, [(1, 2), (1, 1), (28, 1)]);
        assert_eq!(tally.noted.name(&events[1]), names[1].wire());
        tally.noted.clear();
        tally.note(&lookup(&names[1], 0));
        assert_eq!(tally.noted.events().len(), 1);
    }

    /// Whatever comes, nothing is lost from the sums and nothing grows past its limit.
    #[test]
    fn what_does_not_fit_is_counted_with_less_and_less_detail() {
        let mut tally = Tally::new(100);
        for n in 0..5000u16 {
            let name = Name::from_text(&format!("host{n}.test")).unwrap();
            tally.note(&lookup(&name, n % 2000));
        }
        let noted = &tally.noted;
        assert_eq!(noted.events().len(), 100);
        assert_eq!(noted.sums().len(), SUMS);
        let counted: u64 = noted.events().iter().map(|event| event.n).sum::<u64>()
            + noted.sums().iter().map(|sum| sum.n).sum::<u64>()
            + noted.rest().iter().map(|(_, n)| n).sum::<u64>();
        assert_eq!(counted, 5000);
        assert_eq!(tally.totals.dropped_blocked, 4900);
    }

    #[test]
    fn unlisted_lookups_by_generation_and_device() {
        let mut tally = Tally::new(1);
        for (generation, device) in [(1, None), (1, Some(2)), (1, None), (2, None)] {
            tally.unlisted(generation, device);
        }
        let all: Vec<_> = tally.noted.unlisted().collect();
        assert_eq!(all, [(1, None, 2), (1, Some(2), 1), (2, None, 1)]);
    }
}
