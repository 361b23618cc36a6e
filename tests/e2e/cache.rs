//! Answers are remembered as long as they say, and longer when there is nobody to ask.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;

use crate::common::client::{edns, query, type_number};
use crate::common::{Taciturn, Upstream, ask, eventually, web};
use taciturn::wire::{Edns, Name, query::write_query};

#[test]
fn ttls_count_down() {
    let upstream = Upstream::start();
    upstream.state.ttl.store(100, Relaxed);
    let server = Taciturn::start(upstream.address, "");
    assert_eq!(
        ask(server.dns, "www.example", "A").message.answers[0].ttl,
        100
    );
    eventually("the TTL to fall", || {
        ask(server.dns, "www.example", "A").message.answers[0].ttl < 100
    });
    assert_eq!(upstream.asked("www.example"), 1);
}

#[test]
fn rfc2308_denials_keep_their_soa_and_are_cached() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    for (name, code) in [
        ("nx.example", ResponseCode::NXDomain),
        ("empty.example", ResponseCode::NoError),
    ] {
        for _ in 0..2 {
            let answer = ask(server.dns, name, "A");
            assert_eq!(answer.rcode(), code);
            let soa = &answer.message.authorities[0];
            assert_eq!(soa.record_type().to_string(), "SOA");
            assert!(soa.ttl <= 60, "bounded by the SOA's MINIMUM");
        }
        assert_eq!(upstream.asked(name), 1, "{name}");
    }
}

#[test]
fn ad_and_extended_errors_come_through() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    assert_eq!(
        ask(server.dns, "ede.example", "A").errors(),
        [(29, "synthesized".to_owned())]
    );
    let name = Name::from_text("signed.example").expect("a name");
    let wants = Edns {
        dnssec_ok: true,
        ..edns()
    };
    for (edns, seen) in [(wants, true), (edns(), false)] {
        let message = write_query(1, &name, type_number("A"), Some(edns));
        let answer = crate::common::client::ask_with(server.dns, &message).expect("an answer");
        assert_eq!(answer.message.metadata.authentic_data, seen);
    }
}

#[test]
fn rfc8767_a_dead_upstream_leaves_stale_answers() {
    let upstream = Upstream::start();
    upstream.state.ttl.store(1, Relaxed);
    let config = "
        upstream.timeout = \"300ms\"
        upstream.deadline = \"600ms\"
        [cache]
        stale_after = \"200ms\"
    ";
    let server = Taciturn::start(upstream.address, config);
    assert_eq!(ask(server.dns, "www.example", "A").data(), ["192.0.2.1"]);
    upstream.state.silent.store(true, Relaxed);
    std::thread::sleep(Duration::from_millis(2100));
    let stale = ask(server.dns, "www.example", "A");
    assert_eq!(stale.data(), ["192.0.2.1"]);
    assert_eq!(stale.errors()[0].0, 3);
    assert_eq!(stale.message.answers[0].ttl, 30);
    let again = Instant::now();
    assert_eq!(ask(server.dns, "www.example", "A").errors()[0].0, 3);
    assert!(
        again.elapsed() < Duration::from_millis(150),
        "upstreams are left alone for a while"
    );
    // What was never known cannot be stale.
    let unknown = ask(server.dns, "other.example", "A");
    assert_eq!(unknown.rcode(), ResponseCode::ServFail);
    assert_eq!(unknown.errors()[0].0, 22);
}

#[test]
fn rfc9520_failures_are_remembered_briefly() {
    let upstream = Upstream::start();
    upstream.state.failing.store(true, Relaxed);
    let config = "[cache]\nfailure_ttl = \"1s\"";
    let server = Taciturn::start(upstream.address, config);
    for _ in 0..20 {
        assert_eq!(
            ask(server.dns, "www.example", "A").rcode(),
            ResponseCode::ServFail
        );
    }
    assert_eq!(upstream.asked("www.example"), 1);
    upstream.state.failing.store(false, Relaxed);
    eventually("the failure to be forgotten", || {
        ask(server.dns, "www.example", "A").rcode() == ResponseCode::NoError
    });
}

#[test]
fn identical_questions_are_asked_once() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "");
    let dns = server.dns;
    let threads: Vec<_> = (0..30)
        .map(|_| std::thread::spawn(move || ask(dns, "slow200.example", "A").data()))
        .collect();
    for thread in threads {
        assert_eq!(thread.join().expect("an answer"), ["192.0.2.1"]);
    }
    assert_eq!(upstream.asked("slow200.example"), 1);
    let status = web::json(server.web, "/api/v1/status");
    assert_eq!(status["totals"]["coalesced"], 29);
}

#[test]
fn popular_answers_are_renewed_before_they_end() {
    let upstream = Upstream::start();
    upstream.state.ttl.store(10, Relaxed);
    let server = Taciturn::start(upstream.address, "");
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(11_500) {
        let answer = ask(server.dns, "www.example", "A");
        assert!(answer.errors().is_empty());
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(upstream.asked("www.example"), 2);
    let status = web::json(server.web, "/api/v1/status");
    assert_eq!(status["totals"]["prefetched"], 1);
    assert_eq!(status["totals"]["cache_misses"], 1);
}

#[test]
fn the_cache_stays_within_its_size() {
    let upstream = Upstream::start();
    let server = Taciturn::start(upstream.address, "[cache]\nsize = \"200 KiB\"");
    for n in 0..1500 {
        ask(server.dns, &format!("host{n}.example"), "A");
    }
    let status = web::json(server.web, "/api/v1/status");
    let bytes = status["cache"]["bytes"].as_u64().expect("a size");
    assert!(bytes > 50_000 && bytes <= 200 << 10, "{bytes}");
    // Zero is no cache at all.
    let server = Taciturn::start(upstream.address, "[cache]\nsize = 0");
    for _ in 0..2 {
        let message = query(1, "nocache.example", "A");
        crate::common::client::ask_with(server.dns, &message).expect("an answer");
    }
    assert_eq!(upstream.asked("nocache.example"), 2);
}
