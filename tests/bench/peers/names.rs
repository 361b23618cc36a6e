//! Names and queries, the same in every run: made from numbers, not drawn.

use std::io::{BufWriter, Write};
use std::path::Path;

use taciturn::wire::query::write_query;
use taciturn::wire::{Edns, Name, rtype};

/// A stream of numbers that look random (SplitMix64).
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(limit)) >> 64) as u64
    }

    /// From zero up to one.
    fn fraction(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The `n`-th name of the blocklist: shaped like those of the large public lists, 21 letters on average.
pub fn listed(n: u64) -> String {
    const SUBDOMAINS: [&str; 8] = [
        "ads", "track", "metrics", "stats", "cdn", "pixel", "log", "t",
    ];
    const ENDINGS: [&str; 8] = ["com", "com", "com", "net", "org", "info", "ru", "co.uk"];
    let mut numbers = Numbers(n.wrapping_mul(0x2545_f491_4f6c_dd1d));
    let mut name = String::new();
    if numbers.below(10) < 4 {
        name += SUBDOMAINS[numbers.below(8) as usize];
        if numbers.below(2) == 0 {
            name += &numbers.below(100).to_string();
        }
        name.push('.');
    }
    for _ in 0..7 + numbers.below(8) {
        name.push((b'a' + numbers.below(26) as u8) as char);
    }
    // The number itself, so that no two are alike.
    name += &format!("{:x}.", n & 0xff);
    name += ENDINGS[numbers.below(8) as usize];
    name
}

/// The `n`-th name that the upstream answers.
pub fn popular(n: u64) -> String {
    format!("www.site{n}.example")
}

/// Writes `count` listed names, each put into words by `line`.
pub fn write_list(
    path: &Path,
    count: u64,
    head: &str,
    line: impl Fn(&str) -> String,
    tail: &str,
) -> std::io::Result<()> {
    let mut file = BufWriter::new(std::fs::File::create(path)?);
    file.write_all(head.as_bytes())?;
    for n in 0..count {
        writeln!(file, "{}", line(&listed(n)))?;
    }
    file.write_all(tail.as_bytes())?;
    file.flush()
}

/// A query for A with EDNS, as phones send it.
pub fn query(name: &str) -> Vec<u8> {
    let edns = Edns {
        payload: 1232,
        dnssec_ok: false,
    };
    let name = Name::from_text(name).expect("a made-up name is a name");
    write_query(0, &name, rtype::A, Some(edns))
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Workload {
    /// Names of the list, all alike likely.
    Blocked,
    /// 100,000 names that are in the cache, by Zipf's law.
    Cached,
    /// Names that nobody asked for before.
    Miss,
    /// A fifth blocked, one in twenty a miss, the rest cached.
    Mixed,
}

/// Names in the cache.
pub const POPULAR: u64 = 100_000;

/// An endless stream of queries.
pub struct Queries {
    workload: Workload,
    listed: Vec<Vec<u8>>,
    popular: Vec<Vec<u8>>,
    numbers: Numbers,
    fresh: u64,
}

impl Queries {
    /// `run` makes misses of one load different from those of the others.
    pub fn new(workload: Workload, names: u64, cached: u64, run: u64) -> Self {
        let mut numbers = Numbers(run);
        // Enough different ones that neither side's processor caches hold them.
        let sample = names.min(300_000);
        let listed = match workload {
            Workload::Blocked | Workload::Mixed => (0..sample)
                .map(|_| query(&listed(numbers.below(names))))
                .collect(),
            _ => Vec::new(),
        };
        let popular = match workload {
            Workload::Cached | Workload::Mixed => (0..cached).map(|n| query(&popular(n))).collect(),
            _ => Vec::new(),
        };
        Self {
            workload,
            listed,
            popular,
            numbers,
            // What one workload missed, another would find in the cache.
            fresh: run << 32 | (workload as u64) << 28,
        }
    }

    /// Appends the next query.
    pub fn next(&mut self, to: &mut Vec<u8>) {
        let kind = match self.workload {
            Workload::Mixed => match self.numbers.below(20) {
                0 => Workload::Miss,
                1..=4 => Workload::Blocked,
                _ => Workload::Cached,
            },
            other => other,
        };
        match kind {
            Workload::Blocked => {
                let at = self.numbers.below(self.listed.len() as u64) as usize;
                to.extend_from_slice(&self.listed[at]);
            }
            Workload::Cached => {
                let at = self.zipf();
                to.extend_from_slice(&self.popular[at]);
            }
            _ => {
                self.fresh += 1;
                to.extend_from_slice(&query(&format!("m{}.fresh.example", self.fresh)));
            }
        }
    }

    /// A rank by Zipf's law with exponent 1: its logarithm is evenly spread.
    fn zipf(&mut self) -> usize {
        let count = self.popular.len() as f64;
        let rank = (count + 1.0).powf(self.numbers.fraction());
        (rank as usize - 1).min(self.popular.len() - 1)
    }
}
