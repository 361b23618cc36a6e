//! How fast a client may ask over UDP, where nobody can be sure who it is: a token bucket for each, in a table
//! of a fixed size, without locks.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use foldhash::fast::RandomState;

use super::limits::client_of;
use crate::policy::Networks;

/// Buckets. Clients whose hashes meet share one; nobody can choose with whom.
const BUCKETS: usize = 1 << 16;

/// What is done with a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowance {
    /// It is answered.
    Pass,
    /// It is answered with TC, so that a real client comes back over TCP.
    Slip,
    /// It is not answered.
    Drop,
}

/// The buckets.
pub struct Rate {
    /// Until when, in microseconds since the start, each bucket is used up.
    buckets: Box<[AtomicU64]>,
    secret: RandomState,
    started: Instant,
    /// Microseconds that one query costs, and that a bucket holds.
    cost: u64,
    room: u64,
    slips: AtomicU64,
    unlimited: Networks<()>,
}

impl Rate {
    /// So many queries a second for each client, and so many at once after a pause, but for those of the
    /// networks that have no limit; `None` when nobody has one.
    pub fn new(rate: u32, burst: u32, unlimited: Networks<()>) -> Option<Self> {
        if rate == 0 {
            return None;
        }
        let cost = (1_000_000 / u64::from(rate)).max(1);
        Some(Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            secret: RandomState::default(),
            started: Instant::now(),
            cost,
            room: cost * u64::from(burst.max(1)),
            slips: AtomicU64::new(0),
            unlimited,
        })
    }

    /// Now, for [`take`](Self::take): once for many queries.
    pub fn now(&self) -> u64 {
        self.started.elapsed().as_micros() as u64
    }

    /// Takes a query of a client out of its bucket.
    pub fn take(&self, client: IpAddr, now: u64) -> Allowance {
        if self.unlimited.find(client).is_some() {
            return Allowance::Pass;
        }
        let hash = self.secret.hash_one(client_of(client));
        let bucket = &self.buckets[hash as usize % BUCKETS];
        let taken = bucket.fetch_update(Relaxed, Relaxed, |used_until| {
            let until = used_until.max(now) + self.cost;
            (until - now <= self.room).then_some(until)
        });
        match taken {
            Ok(_) => Allowance::Pass,
            Err(_) if self.slips.fetch_add(1, Relaxed).is_multiple_of(2) => Allowance::Slip,
            Err(_) => Allowance::Drop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_burst_passes_then_the_rate() {
        let rate = Rate::new(100, 20, Networks::default()).unwrap();
        let client = address("192.0.2.1");
        let passed = |count: usize, now: u64| {
            (0..count)
                .filter(|_| rate.take(client, now) == Allowance::Pass)
                .count()
        };
        assert_eq!(passed(50, 0), 20);
        // A tenth of a second is worth ten queries.
        assert_eq!(passed(50, 100_000), 10);
        assert_eq!(passed(50, 60_000_000), 20);
        assert_eq!(rate.take(address("192.0.2.2"), 60_000_000), Allowance::Pass);
    }

    #[test]
    fn every_other_one_may_come_back_over_tcp() {
        let mut unlimited = Networks::default();
        unlimited.add("127.0.0.0/8".parse().unwrap(), ());
        let rate = Rate::new(1, 1, unlimited).unwrap();
        let client = address("2001:db8::1");
        assert_eq!(rate.take(client, 0), Allowance::Pass);
        // One IPv6 network is one client.
        let other = address("2001:db8::2");
        let taken: Vec<Allowance> = (0..4).map(|_| rate.take(other, 0)).collect();
        use Allowance::{Drop, Slip};
        assert_eq!(taken, [Slip, Drop, Slip, Drop]);
        for _ in 0..3 {
            assert_eq!(rate.take(address("127.0.0.1"), 0), Allowance::Pass);
        }
        assert!(Rate::new(0, 5, Networks::default()).is_none());
    }
}
