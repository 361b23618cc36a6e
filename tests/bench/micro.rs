//! The parts of the path of a query by themselves: `cargo bench --bench micro`.
//!
//! A round goes through many names, so that no figure is that of a warm processor cache alone.

#[path = "peers/names.rs"]
#[allow(
    dead_code,
    reason = "shared with the other benchmark, which uses the rest"
)]
mod names;

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use names::{POPULAR, Queries, Workload, listed, popular};
use taciturn::cache::{Cache, Entry, Limits};
use taciturn::config::{self, LogScope};
use taciturn::policy::{
    Action, ListInfo, Pattern, Policy, Rule, RuleSet, RuleSetBuilder, Scope, Tier,
};
use taciturn::record::{Keep, Names, Recorder};
use taciturn::resolve::{Quick, Resolver, Source, Via};
use taciturn::server;
use taciturn::wire::reply::Reply;
use taciturn::wire::{Name, Query, rcode};

/// Names that a round goes through: a figure is for all of them, the rate beside it for one.
const SAMPLE: usize = 1 << 16;

fn main() {
    divan::main();
}

/// The catalogue, and so many made-up names beside it.
fn rules(count: u64) -> RuleSet {
    let mut builder = RuleSetBuilder::new(None);
    builder.list(ListInfo {
        name: "million".to_owned(),
        tier: Tier::List,
        category: None,
        vendor: None,
    });
    for n in 0..count {
        let name = Name::from_text(&listed(n)).expect("a made-up name is a name");
        builder.add(Rule::new(Pattern::Name(name, Scope::Suffix)), Action::Block);
    }
    taciturn::lists::catalogue::add_to(&mut builder).expect("our own catalogue");
    builder.build().expect("names alone always build")
}

static MILLION: LazyLock<Arc<RuleSet>> = LazyLock::new(|| Arc::new(rules(1_000_000)));

fn name(text: &str) -> Name {
    Name::from_text(text).expect("a made-up name is a name")
}

/// Each of `asked` in turn.
fn decide(bencher: Bencher<'_, '_>, rules: &RuleSet, asked: &[Name]) {
    let policy = Policy::default();
    bencher
        .counter(ItemsCount::new(asked.len()))
        .bench_local(|| {
            for name in asked {
                black_box(rules.decide(&policy, name));
            }
        });
}

/// A name of no list, as most are.
#[divan::bench(args = [10_000, 100_000, 1_000_000, 10_000_000])]
fn match_miss(bencher: Bencher<'_, '_>, count: u64) {
    let asked: Vec<Name> = (0..SAMPLE as u64).map(|n| name(&popular(n))).collect();
    match count {
        1_000_000 => decide(bencher, &MILLION, &asked),
        _ => decide(bencher, &rules(count), &asked),
    }
}

/// A name below a listed one.
#[divan::bench]
fn match_hit(bencher: Bencher<'_, '_>) {
    let asked: Vec<Name> = (0..SAMPLE as u64)
        .map(|n| name(&format!("www.{}", listed(n * 15))))
        .collect();
    decide(bencher, &MILLION, &asked);
}

/// Puts an answer for each popular name into a cache.
fn fill(cache: &Cache) {
    let limits = Limits {
        min_ttl: 0,
        max_ttl: 86_400,
        negative_max_ttl: 3600,
        stale: 86_400,
        failure_ttl: 5,
    };
    for n in 0..POPULAR {
        let asked = names::query(&popular(n));
        let query = Query::parse(&asked).expect("our own query");
        let mut response = Vec::new();
        let mut reply = Reply::new(&mut response, &query, rcode::NOERROR);
        reply.address([192, 0, 2, 1].into(), 3600);
        reply.finish([]);
        let entry = Entry::from_response(&response, &query, &limits, cache.now());
        cache.insert(&query, Arc::new(entry.expect("our own answer")));
    }
}

/// Queries of a workload, one after the other.
fn queries(workload: Workload) -> Vec<Vec<u8>> {
    let mut source = Queries::new(workload, 1_000_000, POPULAR, 1);
    let next = || {
        let mut query = Vec::new();
        source.next(&mut query);
        query
    };
    std::iter::repeat_with(next).take(SAMPLE).collect()
}

/// A cached answer found and written with its identifier and its times to live.
#[divan::bench]
fn cache_hit(bencher: Bencher<'_, '_>) {
    let cache = Cache::new(64 << 20);
    fill(&cache);
    let asked = queries(Workload::Cached);
    let mut out = Vec::with_capacity(4096);
    bencher
        .counter(ItemsCount::new(asked.len()))
        .bench_local(|| {
            for message in &asked {
                let query = Query::parse(message).expect("our own query");
                let held = cache.hold();
                let entry = held.get(&query).expect("every popular name is there");
                entry.write(&mut out, &query, cache.now());
                black_box(out.len());
            }
        });
}

/// From a datagram's bytes to the answer's, counted: all but the system calls.
#[divan::bench(args = [Workload::Blocked, Workload::Cached])]
fn wire_answer(bencher: Bencher<'_, '_>, workload: Workload) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = config::parse("", "bench".as_ref()).expect("an empty configuration");
    let router = server::router(&config).expect("the default upstreams");
    let live = server::live(&config, MILLION.clone(), router, 1);
    let keep = Keep {
        log: LogScope::Matched,
        log_for: Duration::from_secs(3600),
        counts_for: Duration::from_secs(3600),
    };
    let (recorder, writer) = Recorder::start(folder.path(), 4096, keep);
    let names = Names {
        generation: 1,
        rules: live.rules.clone(),
        devices: live.devices.clone(),
    };
    recorder.publish(names, keep);
    let resolver = Arc::new(Resolver::new(live, 64 << 20, recorder));
    fill(&resolver.cache);
    let asked = queries(workload);
    let source = Source {
        address: SocketAddr::from(([127, 0, 0, 1], 5353)),
        label: None,
        via: Via::Udp(1232),
    };
    let mut out = Vec::with_capacity(4096);
    bencher
        .counter(ItemsCount::new(asked.len()))
        .bench_local(|| {
            for message in &asked {
                let mut tally = resolver.recorder.tally();
                let quick = resolver.quick(message, &source, &mut tally, &mut out);
                assert_eq!(quick, Quick::Answered);
                black_box(out.len());
            }
        });
    writer.stop();
}
