//! Anything may come over the network: reading a query, reading a response, serving it again.
//!
//! Run with `cargo +nightly fuzz run --fuzz-dir tests/fuzz wire`, or see README.md beside this folder.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taciturn::answer::{BlockAnswer, own};
use taciturn::cache::{Entry, Limits};
use taciturn::wire::cookie::Cookies;
use taciturn::wire::reply::{self, Ede};
use taciturn::wire::{Query, records};

const LIMITS: Limits = Limits {
    min_ttl: 5,
    max_ttl: 86_400,
    negative_max_ttl: 3600,
    stale: 1000,
    failure_ttl: 5,
};

fuzz_target!(|input: (&[u8], &[u8], u16)| {
    let (message, response, limit) = input;
    let mut out = Vec::new();
    reply::error_without_question(&mut out, message, 1);
    let _ = records::walk(response, |record| {
        records::target(response, &record);
        records::each_address(response, &record, |_| {});
    });
    records::extended_errors(response);
    let Some(query) = Query::parse(message) else {
        return;
    };
    assert!(query.name.wire().len() <= 255);
    assert_eq!(query.name.to_string().is_empty(), false);
    if let Some(cookie) = &query.options.cookie {
        Cookies::new([7; 16]).reply(cookie, [127, 0, 0, 1].into(), 1000);
    }
    own::write_unusual(&mut out, &query);
    let error = Ede { code: 15, text: "list" };
    BlockAnswer::default().write(&mut out, &query, error);
    records::walk(&out, |_| {}).expect("what we write can be read");
    // The response as it is, and with the query's own question, which gets further.
    let mut fitting = response.to_vec();
    if fitting.len() > 12 {
        fitting[4..6].copy_from_slice(&[0, 1]);
        fitting[2] &= !2;
        fitting.splice(12..12, query.question.iter().copied());
    }
    for response in [response, &fitting] {
        let Ok(entry) = Entry::from_response(response, &query, &LIMITS, 100) else {
            continue;
        };
        for now in [100, 105, 2000] {
            entry.age(now);
            entry.write(&mut out, &query, now);
            assert_eq!(out[..2], message[..2]);
            records::walk(&out, |_| {}).expect("what we serve can be read");
            reply::truncate(&mut out, &query, limit.max(512).into());
            reply::add_cookie(&mut out, &[7; 24]);
            reply::add_keepalive(&mut out, std::time::Duration::from_secs(9));
            reply::pad(&mut out);
            let padded = out.len() % 468 == 0 || query.edns.is_none() || out.len() > 65_000;
            assert!(padded, "{}", out.len());
            records::walk(&out, |_| {}).expect("what we add to can be read");
        }
    }
});
