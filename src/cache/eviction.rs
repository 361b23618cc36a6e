//! Which answers go when there is no more room: S3-FIFO (Yang et al., SOSP 2023).
//!
//! New answers stand in a short queue; those that nobody asked for again by its end go, so that a flood of
//! names asked for once does not push out the others. The rest stand in a long queue and go round in it for
//! as long as they are asked for. Reading an answer only sets a mark on it.

use std::collections::{HashSet, VecDeque};

/// Bytes that an entry costs besides its own: the map's, the queue's and the allocator's.
const OVERHEAD: u64 = 96;

/// The two queues, and the sum of bytes.
pub(super) struct Order {
    /// How many bytes there may be.
    pub capacity: u64,
    bytes: u64,
    new: VecDeque<u64>,
    proven: VecDeque<u64>,
    /// Left the short queue lately: asked for again, they go straight into the long one.
    ghosts: VecDeque<u64>,
    is_ghost: HashSet<u64, foldhash::fast::RandomState>,
}

impl Order {
    pub fn new(capacity: u64) -> Self {
        Self {
            capacity,
            bytes: 0,
            new: VecDeque::new(),
            proven: VecDeque::new(),
            ghosts: VecDeque::new(),
            is_ghost: HashSet::default(),
        }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// An answer came to a place that is in a queue already.
    pub fn replaced(&mut self, old: usize, new: usize) {
        self.bytes = (self.bytes + new as u64).saturating_sub(old as u64);
    }

    /// A new answer came.
    pub fn added(&mut self, hash: u64, bytes: usize) {
        self.bytes += bytes as u64 + OVERHEAD;
        match self.is_ghost.remove(&hash) {
            true => self.proven.push_back(hash),
            false => self.new.push_back(hash),
        }
    }

    /// The victim was forgotten.
    pub fn removed(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes as u64 + OVERHEAD);
    }

    pub fn clear(&mut self) {
        *self = Self::new(self.capacity);
    }

    /// Who has to go; `None` when all fits. `take_uses` says how often an answer was asked for since the
    /// last time, up to three.
    pub fn next_victim(&mut self, take_uses: impl Fn(u64) -> u8) -> Option<u64> {
        while self.bytes > self.capacity {
            let many_new = self.new.len() > (self.new.len() + self.proven.len()) / 10;
            let from_new = (many_new || self.proven.is_empty())
                .then(|| self.new.pop_front())
                .flatten();
            if let Some(hash) = from_new {
                if take_uses(hash) == 0 || self.capacity == 0 {
                    self.haunt(hash);
                    return Some(hash);
                }
                self.proven.push_back(hash);
            } else if let Some(hash) = self.proven.pop_front() {
                if take_uses(hash) == 0 || self.capacity == 0 {
                    return Some(hash);
                }
                self.proven.push_back(hash);
            } else {
                self.bytes = 0;
            }
        }
        None
    }

    fn haunt(&mut self, hash: u64) {
        if self.is_ghost.insert(hash) {
            self.ghosts.push_back(hash);
        }
        while self.ghosts.len() > self.new.len() + self.proven.len() {
            if let Some(oldest) = self.ghosts.pop_front() {
                self.is_ghost.remove(&oldest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::HashMap;

    use super::*;

    /// A cache of `room` answers of one byte each.
    struct Model {
        order: Order,
        uses: RefCell<HashMap<u64, u8>>,
    }

    impl Model {
        fn new(room: u64) -> Self {
            Self {
                order: Order::new(room * (1 + OVERHEAD)),
                uses: RefCell::default(),
            }
        }

        /// Asks for an answer; `true` if it was there.
        fn ask(&mut self, hash: u64) -> bool {
            if let Some(uses) = self.uses.get_mut().get_mut(&hash) {
                *uses = 1;
                return true;
            }
            self.uses.get_mut().insert(hash, 0);
            self.order.added(hash, 1);
            let uses = &self.uses;
            let take = |hash| uses.borrow_mut().insert(hash, 0).unwrap_or(0);
            while let Some(victim) = self.order.next_victim(take) {
                self.uses.borrow_mut().remove(&victim);
                self.order.removed(1);
            }
            false
        }
    }

    #[test]
    fn a_flood_of_names_asked_for_once_leaves_the_others_alone() {
        let mut model = Model::new(100);
        for _ in 0..3 {
            for hash in 0..50 {
                model.ask(hash);
            }
        }
        for flood in 1000..100_000 {
            model.ask(flood);
            if flood % 20 == 0 {
                model.ask(flood / 20 % 50);
            }
        }
        assert!(model.uses.borrow().len() <= 100);
        let kept = (0..50)
            .filter(|hash| model.uses.borrow().contains_key(hash))
            .count();
        assert!(kept >= 49, "{kept}");
    }

    #[test]
    fn never_more_than_fits() {
        for room in [0, 1, 3, 10] {
            let mut model = Model::new(room);
            let mut state = 1u64;
            for _ in 0..10_000 {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                model.ask(state >> 60);
                assert!(model.uses.borrow().len() as u64 <= room);
                assert!(model.order.bytes() <= model.order.capacity);
            }
            let order = &model.order;
            assert_eq!(
                order.new.len() + order.proven.len(),
                model.uses.borrow().len()
            );
            assert!(order.ghosts.len() <= 16 && order.is_ghost.len() <= order.ghosts.len());
        }
    }
}
